//! Files that people bring: CSV of members and purchases, and backups. What comes is imported or restored, or refused with words.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use loyaltyd::{
    cli::{CliError, import},
    store::{
        StoreError,
        backup::Part,
        embedded::{Backup, BackupPlace, EmbeddedStore, Options, Until, restore, verify},
    },
};

use super::{entropy::Entropy, journal::last_release, requests::Shop};

#[derive(clap::Parser)]
struct Words {
    #[command(flatten)]
    import: import::Args,
}

const MEMBERS: &str =
    "customer,mobile,mail,name,born\nlan,+84901234568,lan@example.com,Lan,1990-05-20\nminh,,,\"Minh, the \"\"elder\"\"\",--02-29\n";
const PURCHASES: &str = "order,customer,when,price,quantity,sku\nA-1,lan,2026-03-09T12:00:00Z,150000,1,tea\nA-1,lan,2026-03-09T12:00:00Z,50000,2,cup\n\
                         A-2,minh,2026-03-09T12:00:00+07:00,25000,0.5,\"ca phe\"\n";

/// A file of either kind, into a service of its own or one that is there.
pub fn csv(shop: &Shop, data: &[u8]) {
    let mut entropy = Entropy::new(data);
    let is_members = entropy.below(2) == 0;
    let mut content = if is_members { MEMBERS } else { PURCHASES }.as_bytes().to_vec();
    match entropy.below(4) {
        0 => content = entropy.rest().to_vec(),
        1 => {
            let header = content.iter().position(|byte| *byte == b'\n').expect("there is a header") + 1;
            content.truncate(header);
            content.extend_from_slice(entropy.rest());
        }
        _ => {
            while !entropy.is_empty() {
                entropy.spoil(&mut content);
            }
        }
    }
    let folder = super::scratch();
    let file = folder.path().join("file.csv");
    fs::write(&file, &content).expect("a file is written");
    let (file, rejects, server) =
        (file.display().to_string(), folder.path().join("rejects").display().to_string(), shop.address().to_string());
    let mut words = vec!["fuzz", if is_members { "members" } else { "purchases" }, &file, "--program", "vietnam", "--server", &server];
    words.extend(["--rejects", &rejects, "--retry-for", "5s"]);
    let maps: &[&str] = match is_members {
        true => &["member=customer", "phone=mobile", "email=mail", "name=name", "birth_date=born"],
        false => &["order=order", "member=customer", "time=when", "amount=price", "quantity=quantity", "sku=sku"],
    };
    maps.iter().for_each(|map| words.extend(["--map", map]));
    if !is_members {
        words.extend(["--store", "store-csv", "--enroll"]);
    }
    let args = <Words as clap::Parser>::try_parse_from(words).expect("the words are right");
    match shop.runtime().block_on(import::run(args.import)) {
        Ok(()) => {}
        Err(CliError::Failed(message) | CliError::Usage(message)) => assert!(!message.is_empty()),
    }
}

fn options() -> Options {
    Options { segment_bytes: 64 << 10, overlay_bytes: 1 << 20, sled_cache_bytes: 1 << 20, compress: false, ..Options::default() }
}

/// A backup of what the last release left, file by file, and the parts that it came in.
struct Taken {
    files: Vec<(PathBuf, Vec<u8>)>,
    parts: Vec<Part>,
}

static TAKEN: LazyLock<Taken> = LazyLock::new(|| {
    let unpacked = super::scratch();
    let archive = last_release().join("ledger.tar.gz");
    let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(unpacked.path()).status().expect("there is tar");
    assert!(done.success());
    let store = EmbeddedStore::open(&unpacked.path().join("ledger/data"), options()).expect("the store opens");
    let mut source = loyaltyd::store::Store::backup(&store, loyaltyd::store::backup::Held::default()).expect("a backup begins");
    let folder = super::scratch();
    let mut backup = Backup::open(&folder.path().join("backup"), None, true).expect("a backup is made");
    let mut parts = Vec::new();
    while let Some(part) = source.next().expect("a part") {
        parts.push(part.clone());
        backup.store(part).expect("a part is stored");
    }
    drop(backup);
    let mut files = Vec::new();
    for name in ["BACKUP", "keys"] {
        files.push(PathBuf::from(name));
    }
    let segments = fs::read_dir(folder.path().join("backup/journal")).expect("a folder is listed");
    files.extend(segments.map(|item| Path::new("journal").join(item.expect("a file").file_name())));
    files.sort();
    let read = |name: PathBuf| {
        let content = fs::read(folder.path().join("backup").join(&name)).expect("a file is read");
        (name, content)
    };
    Taken { files: files.into_iter().map(read).collect(), parts }
});

/// A backup in which something was changed, or parts of one that a server should not send.
pub fn backups(data: &[u8]) {
    let mut entropy = Entropy::new(data);
    let taken = &*TAKEN;
    let folder = super::scratch();
    let target = folder.path().join("backup");
    if entropy.below(2) == 0 {
        fs::create_dir_all(target.join("journal")).expect("a folder is made");
        for (name, content) in &taken.files {
            fs::write(target.join(name), content).expect("a file is written");
        }
        let (name, content) = entropy.pick(&taken.files);
        let mut bytes = content.clone();
        if entropy.one_in(8) {
            bytes = entropy.rest().to_vec();
        }
        while !entropy.is_empty() {
            entropy.spoil(&mut bytes);
        }
        fs::write(target.join(name), bytes).expect("a file is written");
    } else {
        stream(&target, &taken.parts, &mut entropy);
    }
    let place = BackupPlace { folder: &target, keys: None, operator_key: None };
    let verified = verify(&place);
    let restored = restore(&place, &folder.path().join("restored"), Until::End);
    for error in [verified.as_ref().err(), restored.as_ref().err()].into_iter().flatten() {
        assert!(error.to_string().len() > 10, "{error}");
    }
    // What is restored of a backup that is whole is opened.
    if let (Ok(_), Ok(_)) = (verified, restored) {
        match EmbeddedStore::open(&folder.path().join("restored"), options()) {
            Ok(_) | Err(StoreError::Damaged(_) | StoreError::Fold(_) | StoreError::Newer(_)) => {}
            Err(error) => panic!("what was restored does not open: {error}"),
        }
    }
}

fn stream(target: &Path, parts: &[Part], entropy: &mut Entropy<'_>) {
    let mut parts = parts.to_vec();
    for _ in 0..=entropy.below(4) {
        let place = entropy.below(parts.len());
        match entropy.below(4) {
            0 => drop(parts.remove(place)),
            1 => {
                let again = parts[place].clone();
                parts.insert(entropy.below(parts.len()), again);
            }
            _ => match &mut parts[place] {
                Part::Start { store_id, key_bytes, .. } => {
                    store_id[0] = entropy.byte();
                    *key_bytes = u64::from(entropy.byte()) << 8;
                }
                Part::KeyBlock { offset, content } => {
                    *offset = u64::from(entropy.byte()) << 4;
                    content.truncate(entropy.below(65_536));
                }
                Part::Journal { segment, offset, content } => match entropy.below(3) {
                    0 => *segment = u64::from(entropy.byte()),
                    1 => *offset = u64::from(entropy.byte()) << 4,
                    _ => entropy.spoil(content),
                },
                Part::End { last, hash } => {
                    last.0 = u64::from(entropy.byte());
                    hash[0] = entropy.byte();
                }
            },
        }
        if parts.is_empty() {
            break;
        }
    }
    let mut backup = Backup::open(target, None, entropy.below(2) == 0).expect("a backup is made");
    for part in parts {
        if let Err(error) = backup.store(part) {
            assert!(error.to_string().len() > 10, "{error}");
            break;
        }
    }
}
