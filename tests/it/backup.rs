//! Backups, restores, and the compressed segments that they are made of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::v1::{self, admin_service_client::AdminServiceClient},
    domain::{MemberId, Sealed},
    ledger::ManualClock,
    store::{
        CommitSeq, LotDemand, MemberDemand, Read, Store, StoreError,
        backup::{Held, Part},
        embedded::{Accepted, Backup, BackupPlace, EmbeddedStore, Options, Until, check, check_backup, is_backup, repair, restore, verify},
    },
};
use tempfile::TempDir;

use crate::support::{
    self, PROGRAM, TestServer, adjustment as adjust, by_id,
    histories::{World, adjustment, erasure, key, member_id, program_id, purchase},
    noon, sale,
};

/// So small that a history has many segments.
fn options() -> Options {
    Options { segment_bytes: 4 << 10, compress: false, ..Options::default() }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, options()).expect("the store opens")
}

fn message<T>(done: Result<T, StoreError>) -> String {
    match done {
        Ok(_) => panic!("it was done"),
        Err(error) => error.to_string(),
    }
}

/// A store over many segments, with three members who buy.
struct Shop {
    folder: TempDir,
    world: World,
    store: EmbeddedStore,
    next: u64,
}

impl Shop {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = open(&folder.path().join("data"));
        let mut shop = Self { folder, world: World::new(), store, next: 0 };
        shop.world.publish(&shop.store, 1);
        for number in 1..=3 {
            shop.world.enroll(&shop.store, number);
        }
        shop
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Commits of several purchases each; time goes on.
    fn sell(&mut self, commits: u64) {
        for _ in 0..commits {
            for number in 1..=3 {
                self.next += 1;
                self.world.decide(number, &purchase(self.next, 12_00, None)).expect("a purchase");
            }
            self.world.decide(1, &adjustment(-1)).expect("an adjustment");
            self.world.commit(&self.store);
            self.world.now = self.world.now.checked_add(SignedDuration::from_mins(7)).expect("within the calendar");
        }
    }

    fn reopen(self) -> Self {
        let Self { folder, world, store, next } = self;
        drop(store);
        let store = open(&folder.path().join("data"));
        Self { folder, world, store, next }
    }
}

/// All that a store answers about its members.
fn answers(store: &dyn Store) -> String {
    let demand = MemberDemand {
        lots: LotDemand::All,
        holds: true,
        pending: true,
        vouchers: true,
        person: true,
        ..MemberDemand::read(Timestamp::MAX)
    };
    let members = store.members(&program_id(), None, usize::MAX).expect("members are listed");
    let member = |id: &MemberId| {
        let key = key(id.0[0]);
        let member = store.member(&key, demand).expect("a member is read");
        format!("{member:?} {:?}\n", store.entries(&key, 1, u64::MAX).expect("entries are read"))
    };
    let members: String = members.iter().map(member).collect();
    format!("{members}{:?}", store.publications().expect("publications are read"))
}

/// Stores at most so many parts. Bytes of the journal, and blocks of keys, that came.
fn take_parts(store: &dyn Store, folder: &Path, parts: usize) -> Result<(usize, usize), StoreError> {
    let mut backup = Backup::open(folder, None, true)?;
    let mut source = store.backup(backup.held().clone())?;
    let (mut bytes, mut blocks) = (0, 0);
    for _ in 0..parts {
        let Some(part) = source.next()? else { break };
        match &part {
            Part::Journal { content, .. } => bytes += content.len(),
            Part::KeyBlock { .. } => blocks += 1,
            Part::Start { .. } | Part::End { .. } => {}
        }
        backup.store(part)?;
    }
    assert!(parts < usize::MAX || backup.is_whole());
    Ok((bytes, blocks))
}

pub fn take(store: &dyn Store, folder: &Path) -> (usize, usize) {
    take_parts(store, folder, usize::MAX).expect("the backup is taken")
}

fn place(folder: &Path) -> BackupPlace<'_> {
    BackupPlace { folder, keys: None, operator_key: None }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(folder.join("journal")).expect("a folder is listed");
    let mut paths: Vec<PathBuf> = items.map(|item| item.expect("a folder is listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

pub fn is_compressed(path: &Path) -> bool {
    fs::read(path).expect("a segment is read").starts_with(b"LOYLJNZ\n")
}

fn forget_tables(folder: &Path) {
    fs::remove_dir_all(folder.join("tables")).expect("the tables are removed");
}

#[test]
fn compressed_segments_read_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Several frames in each.
    let large = |compress| Options { segment_bytes: 500 << 10, compress, ..Options::default() };
    let store = EmbeddedStore::open(folder.path(), large(false)).expect("the store opens");
    let mut world = World::new();
    world.publish(&store, 1);
    world.enroll(&store, 1);
    for commit in 0..30 {
        for order in 0..150 {
            world.decide(1, &purchase(commit * 1_000 + order, 300, None)).expect("a purchase");
        }
        world.commit(&store);
    }
    let plain: Vec<u64> = segments(folder.path()).iter().map(|path| fs::metadata(path).expect("a file").len()).collect();
    assert!(plain.len() > 3);
    store.compress_closed();
    world.check(&store);
    let paths = segments(folder.path());
    let (last, closed) = paths.split_last().expect("segments");
    assert!(!is_compressed(last) && closed.iter().all(|path| is_compressed(path)));
    for (path, plain) in closed.iter().zip(&plain) {
        assert!(fs::metadata(path).expect("a file").len() * 2 < *plain, "{}", path.display());
    }
    drop(store);
    // The same after a start, and after one that reads all of the journal; and the next purchase follows.
    for forget in [false, true] {
        if forget {
            forget_tables(folder.path());
        }
        let store = EmbeddedStore::open(folder.path(), large(false)).expect("the store opens");
        world.check(&store);
        world.decide(1, &purchase(100_000 + u64::from(forget), 300, None)).expect("a purchase");
        world.commit(&store);
        world.check(&store);
    }
    assert!(check(folder.path(), &large(false)).expect("the journal is whole").is_sound());
}

#[test]
fn the_store_compresses_by_itself_what_is_closed() {
    let mut shop = Shop::open();
    shop.sell(30);
    let Shop { folder, world, store, .. } = shop;
    drop(store);
    let data = folder.path().join("data");
    let store = EmbeddedStore::open(&data, Options { compress: true, ..options() }).expect("the store opens");
    // Behind the thread that began at the start, whatever is left is done here.
    store.compress_closed();
    let paths = segments(&data);
    assert!(paths.len() > 4 && paths[..paths.len() - 1].iter().all(|path| is_compressed(path)));
    world.check(&store);
}

#[test]
fn a_compression_that_was_cut_off_leaves_the_plain_segment() {
    let mut shop = Shop::open();
    shop.sell(30);
    let paths = segments(&shop.data());
    let half = paths[1].with_extension("packed.new");
    let shop = {
        let Shop { folder, world, store, next } = shop;
        drop(store);
        fs::write(&half, b"LOYLJNZ\n").expect("a file is written");
        let store = open(&folder.path().join("data"));
        Shop { folder, world, store, next }
    };
    assert!(!half.exists());
    shop.world.check(&shop.store);
    shop.store.compress_closed();
    // Who goes back to an older journal on purpose may be left with a compressed segment as the last one.
    let (data, before) = (shop.data(), shop.world.entries[&member_id(2)].len());
    let Shop { folder: _folder, store, .. } = shop;
    drop(store);
    for path in &paths[3..] {
        fs::remove_file(path).expect("a segment is removed");
    }
    forget_tables(&data);
    assert!(is_compressed(&paths[2]));
    let store = open(&data);
    let entries = store.entries(&key(2), 1, u64::MAX).expect("entries are read").len();
    assert!(entries > 1 && entries < before);
    drop(store);
    assert!(!is_compressed(&paths[2]));
    assert!(check(&data, &options()).expect("the journal is whole").is_sound());
}

#[test]
fn damage_in_a_compressed_segment_is_named() {
    let mut shop = Shop::open();
    shop.sell(30);
    shop.store.compress_closed();
    let data = shop.data();
    let Shop { folder: _folder, world, store, .. } = shop;
    drop(store);
    let victim = segments(&data)[2].clone();
    let name = victim.file_name().expect("a name").to_string_lossy().into_owned();
    let whole = fs::read(&victim).expect("the segment is read");
    let refused = |how: &str| {
        // They are not made while the journal cannot be opened.
        let _ = fs::remove_dir_all(data.join("tables"));
        let why = message(EmbeddedStore::open(&data, options()));
        for part in [&*name, " at byte ", "loyaltyd check --data", "restore"] {
            assert!(why.contains(part), "{how}: {part}: {why}");
        }
    };
    for at in (12..whole.len()).step_by(37).chain([80, 88, 92, 128, 132, whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        fs::write(&victim, damaged).expect("the segment is written");
        refused(&format!("byte {at}"));
    }
    for length in [0, 100, 130, whole.len() / 2, whole.len() - 1] {
        fs::write(&victim, &whole[..length]).expect("the segment is written");
        refused(&format!("cut to {length}"));
    }
    fs::write(&victim, &whole).expect("the segment is written");
    world.check(&open(&data));
}

#[test]
fn a_backup_taken_again_fetches_only_what_is_missing() {
    let mut shop = Shop::open();
    let backup = shop.path("backup");
    shop.sell(20);
    let (first, blocks) = take(&shop.store, &backup);
    assert!(first > 20 << 10 && blocks == 1, "{first} {blocks}");
    assert_eq!(take(&shop.store, &backup), (0, 0));
    // Whatever form the server has its segments in meanwhile.
    shop.sell(1);
    shop.store.compress_closed();
    let (second, blocks) = take(&shop.store, &backup);
    assert!(second < 6 << 10 && blocks == 0, "{second} {blocks}");
    shop.world.enroll(&shop.store, 4);
    shop.sell(20);
    assert_eq!(take(&shop.store, &backup).1, 1);
    let found = verify(&place(&backup)).expect("the backup is whole");
    assert_eq!((found.commits, found.members, found.erased, found.torn_bytes), (46, 4, 0, 0));
    assert_eq!(found.entries as usize, shop.world.entries.values().map(Vec::len).sum::<usize>());
    let paths = segments(&backup);
    assert!(paths[..paths.len() - 1].iter().all(|path| is_compressed(path)));
    restore(&place(&backup), &shop.path("restored"), Until::End).expect("it is restored");
    shop.world.check(&open(&shop.path("restored")));
    // A closed segment that is damaged can be taken from there, compressed or not.
    let data = shop.data();
    let Shop { folder: _folder, world, store, .. } = shop;
    drop(store);
    for place in [1, paths.len() - 2] {
        let victim = data.join("journal").join(paths[place].file_name().expect("a name"));
        fs::write(&victim, fs::read(&victim).expect("a segment is read").split_at(150).0).expect("a segment is written");
        let _ = fs::remove_dir_all(data.join("tables"));
        assert!(message(EmbeddedStore::open(&data, options())).contains("restore"));
        fs::copy(&paths[place], &victim).expect("a segment is copied");
    }
    world.check(&open(&data));
}

#[test]
fn a_backup_that_is_cut_off_anywhere_goes_on_there() {
    let mut shop = Shop::open();
    shop.sell(12);
    let mut parts = 0;
    loop {
        let backup = shop.path(&format!("backup-{parts}"));
        let whole = take_parts(&shop.store, &backup, parts).is_ok()
            && fs::read_to_string(backup.join("BACKUP")).is_ok_and(|it| !it.contains("last 0 "));
        // What was written last may be there in part, or as zeros and what is behind them.
        if let Some(last) = backup.join("journal").exists().then(|| segments(&backup).pop()).flatten() {
            let bytes = fs::read(&last).expect("a segment is read");
            let mut torn = bytes.clone();
            match parts % 3 {
                0 => torn.truncate((bytes.len() - parts * 7 % 300).max(128)),
                1 if bytes.len() > 700 => torn[bytes.len() - 500..bytes.len() - 300].fill(0),
                _ => torn.extend_from_slice(b"LREC"),
            }
            fs::write(&last, torn).expect("a segment is written");
        }
        take(&shop.store, &backup);
        let found = verify(&place(&backup)).expect("the backup is whole");
        assert_eq!((found.commits, found.torn_bytes), (16, 0));
        restore(&place(&backup), &shop.path(&format!("restored-{parts}")), Until::End).expect("it is restored");
        if parts % 4 == 0 {
            shop.world.check(&open(&shop.path(&format!("restored-{parts}"))));
        }
        if whole {
            break;
        }
        parts += 1;
    }
    assert!(parts > 6, "{parts}");
}

#[test]
fn a_restore_to_a_commit_or_a_time_answers_as_the_original_did_then() {
    let mut shop = Shop::open();
    let mut then = Vec::new();
    for _ in 0..25 {
        let time = shop.world.now;
        shop.sell(1);
        then.push((time, answers(&shop.store)));
    }
    shop.store.compress_closed();
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    let now = |seconds: i64, time: Timestamp| time.checked_add(SignedDuration::from_secs(seconds)).expect("within the calendar");
    for (place_of, (time, expected)) in then.iter().enumerate() {
        let seq = CommitSeq(4 + place_of as u64 + 1);
        for (name, until) in [("commit", Until::Commit(seq)), ("time", Until::Time(*time)), ("later", Until::Time(now(200, *time)))] {
            let target = shop.path(&format!("{name}-{place_of}"));
            let restored = restore(&place(&backup), &target, until).expect("it is restored");
            assert_eq!((restored.last, restored.last_time), (seq, Some(*time)));
            if name == "commit" || place_of % 5 == 0 {
                let store = open(&target);
                assert_eq!(&answers(&store), expected, "{name} {place_of}");
                drop(store);
            }
            if place_of % 8 == 0 {
                assert!(check(&target, &options()).expect("the journal is whole").is_sound());
            }
        }
    }
    let why = message(restore(&place(&backup), &shop.path("none"), Until::Commit(CommitSeq(30))));
    assert!(why.contains("ends with commit 29"), "{why}");
    let early = now(-1, support::histories::start());
    let why = message(restore(&place(&backup), &shop.path("none"), Until::Time(early)));
    assert!(why.contains("nothing was recorded"), "{why}");
    let why = message(restore(&place(&backup), &shop.path("commit-0"), Until::End));
    assert!(why.contains("not empty"), "{why}");
    assert!(!shop.path("none").exists());
}

/// The clock may step back: what follows the first commit after the time asked for is not wanted, whatever it says.
#[test]
fn a_time_ends_before_the_first_commit_that_is_later() {
    let mut shop = Shop::open();
    let start = shop.world.now;
    let at = |minutes: i64| start.checked_add(SignedDuration::from_mins(minutes)).expect("within the calendar");
    for minutes in [1, 10, 8, 9, 12] {
        shop.world.now = at(minutes);
        shop.sell(1);
    }
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    for (until, last) in [(1, 5), (8, 5), (9, 5), (10, 8), (11, 8), (12, 9)] {
        let restored = restore(&place(&backup), &shop.path(&format!("until-{until}")), Until::Time(at(until))).expect("it is restored");
        assert_eq!(restored.last.0, last, "{until}");
    }
}

#[test]
fn a_store_that_was_taken_back_does_not_go_on_in_the_same_backup() {
    let mut shop = Shop::open();
    shop.sell(10);
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    // To the end: the same history goes on.
    restore(&place(&backup), &shop.path("whole"), Until::End).expect("it is restored");
    let whole = open(&shop.path("whole"));
    shop.world.decide(1, &adjustment(-1)).expect("an adjustment");
    shop.world.commit(&whole);
    let longer = shop.path("longer");
    copy(&backup, &longer);
    take(&whole, &longer);
    // Earlier: shorter at first, then another history of the same length.
    restore(&place(&backup), &shop.path("earlier"), Until::Commit(CommitSeq(10))).expect("it is restored");
    let earlier = open(&shop.path("earlier"));
    let refused = |store: &dyn Store| {
        let why = message(take_parts(store, &backup, usize::MAX));
        assert!(why.contains("commit 14") && why.contains("another folder"), "{why}");
    };
    refused(&earlier);
    let mut world = World::new();
    for _ in 0..6 {
        world.publish(&earlier, 1);
    }
    refused(&earlier);
    take(&earlier, &shop.path("another"));
    assert_eq!(verify(&place(&backup)).expect("the backup is as it was").commits, 14);
}

fn copy(from: &Path, to: &Path) {
    assert!(Process::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs").success());
}

#[test]
fn a_folder_that_is_no_backup_of_this_store_is_left_alone() {
    let mut shop = Shop::open();
    let mut other = Shop::open();
    shop.sell(3);
    other.sell(3);
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    let before = fs::read(backup.join("keys")).expect("the keys are read");
    let why = message(take_parts(&other.store, &backup, usize::MAX));
    assert!(why.contains("another store"), "{why}");
    assert_eq!(fs::read(backup.join("keys")).expect("the keys are read"), before);
    let full = shop.path("full");
    fs::create_dir(&full).expect("a folder is made");
    fs::write(full.join("diary"), "x").expect("a file is written");
    assert!(message(take_parts(&shop.store, &full, usize::MAX)).contains("not empty"));
    let data = other.data();
    let Shop { folder: _folder, store, .. } = other;
    drop(store);
    assert!(message(take_parts(&shop.store, &data, usize::MAX)).contains("no backup"));
    assert!(message(verify(&place(&data))).contains("no backup"));
    // Nor does a service take a backup for its data.
    assert!(message(EmbeddedStore::open(&backup, options())).contains("loyaltyd restore"));
    assert!(is_backup(&backup) && !is_backup(&data));
}

#[test]
fn damage_in_a_backup_is_named() {
    let mut shop = Shop::open();
    shop.sell(14);
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    let paths = segments(&backup);
    for path in [&paths[0], &paths[2], paths.last().expect("a segment")] {
        let whole = fs::read(path).expect("a segment is read");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        for at in (12..whole.len()).step_by(whole.len() / 9) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x04;
            fs::write(path, damaged).expect("a segment is written");
            let why = message(verify(&place(&backup)));
            assert!(why.contains(&name) && why.contains(" at byte ") && why.contains("loyaltyd backup"), "{at}: {why}");
            assert!(restore(&place(&backup), &shop.path("none"), Until::End).is_err());
        }
        fs::remove_file(path).expect("a segment is removed");
        assert!(message(verify(&place(&backup))).contains("missing"));
        fs::write(path, &whole).expect("a segment is written");
    }
    let keys = backup.join("keys");
    let whole = fs::read(&keys).expect("the keys are read");
    for at in [0, 9, 64, 130, 2 * 64, 3 * 64 + 20] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x04;
        fs::write(&keys, damaged).expect("the keys are written");
        let why = message(verify(&place(&backup)));
        assert!(why.contains("keys"), "{at}: {why}");
    }
    // What is wrong in the keys and at the journal's end is sent again.
    let last = paths.last().expect("a segment");
    let mut bytes = fs::read(last).expect("a segment is read");
    bytes[200] ^= 1;
    fs::write(last, bytes).expect("a segment is written");
    take(&shop.store, &backup);
    verify(&place(&backup)).expect("the backup is whole");
    // And so is a segment that is removed with those behind it.
    for path in &paths[1..] {
        fs::remove_file(path).expect("a segment is removed");
    }
    take(&shop.store, &backup);
    assert_eq!(verify(&place(&backup)).expect("the backup is whole").commits, 18);
}

#[test]
fn an_erased_member_is_erased_in_the_next_backup() {
    let mut shop = Shop::open();
    shop.sell(2);
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    let old = shop.path("old");
    copy(&backup, &old);
    let before = verify(&place(&backup)).expect("the backup is whole").commits;
    shop.world.decide(2, &erasure()).expect("anyone may go");
    shop.world.commit(&shop.store);
    let (_, key_blocks) = take(&shop.store, &backup);
    assert_eq!(key_blocks, 1, "the block with the wiped key is sent again");
    assert_eq!(verify(&place(&backup)).expect("the backup is whole").erased, 1);
    assert_eq!(verify(&place(&old)).expect("the backup is whole").erased, 0);
    assert!(check_backup(&place(&backup), &shop.path("scratch"), &options()).expect("the backup is whole").is_sound());
    let expected = answers(&shop.store);
    let restored = |name: &str, from: &BackupPlace<'_>, until| restore(from, &shop.path(name), until).expect("it is restored").gone;
    assert_eq!(restored("restored", &place(&backup), Until::End), 0);
    assert_eq!(answers(&open(&shop.path("restored"))), expected);
    assert!(expected.contains("Erased"));
    assert!(check(&shop.path("restored"), &options()).expect("the journal is whole").is_sound());
    // An older copy of the keys beside the newer journal: the journal's word counts, and the key goes again.
    let old_keys = old.join("keys");
    fs::copy(&old_keys, backup.join("keys")).expect("the keys are copied");
    assert_eq!(restored("older", &place(&backup), Until::End), 0);
    assert_eq!(answers(&open(&shop.path("older"))), expected);
    assert_eq!(fs::read(shop.path("older/keys")).expect("keys"), fs::read(shop.path("restored/keys")).expect("keys"));
    // Before the erasure, with the keys of today: the person stays gone, and that is said. With those of then it is there.
    assert_eq!(restored("then", &place(&backup), Until::Commit(CommitSeq(before))), 0);
    take(&shop.store, &backup);
    assert_eq!(restored("now", &place(&backup), Until::Commit(CommitSeq(before))), 1);
    let person = |name: &str| {
        let demand = MemberDemand { person: true, ..MemberDemand::header(noon()) };
        open(&shop.path(name)).member(&key(2), demand).expect("a read").expect("the member is there").person
    };
    assert!(matches!(person("then"), Some(Sealed::Open(_))));
    assert_eq!(person("now"), Some(Sealed::Erased));
}

fn take_keys_to(store: &dyn Store, folder: &Path, keys: Option<&Path>) -> Result<(), StoreError> {
    let mut backup = Backup::open(folder, keys, true)?;
    let mut source = store.backup(backup.held().clone())?;
    while let Some(part) = source.next()? {
        backup.store(part)?;
    }
    Ok(())
}

#[test]
fn a_key_file_of_another_store_is_not_overwritten() {
    let (mut one, mut other) = (Shop::open(), Shop::open());
    one.sell(1);
    other.sell(1);
    let (keys, other_keys) = (one.path("safe/one.keys"), one.path("safe/other.keys"));
    take_keys_to(&one.store, &one.path("backup"), Some(&keys)).expect("the backup is taken");
    take_keys_to(&other.store, &one.path("other"), Some(&other_keys)).expect("the backup is taken");
    one.world.enroll(&one.store, 4);
    one.sell(1);
    let before = fs::read(&other_keys).expect("the keys are read");
    let why = message(take_keys_to(&one.store, &one.path("backup"), Some(&other_keys)));
    assert!(why.contains("other.keys") && why.contains("--keys-to"), "{why}");
    assert_eq!(fs::read(&other_keys).expect("the keys are read"), before);
    let diary = one.path("diary");
    fs::write(&diary, "dear diary").expect("a file is written");
    assert!(message(take_keys_to(&one.store, &one.path("backup"), Some(&diary))).contains("diary"));
    assert_eq!(fs::read(&diary).expect("a file is read"), b"dear diary");
    // What a run that was cut off before the first key came leaves is none of that, whoever may read it.
    for left in [vec![], vec![0; 64 * 5]] {
        fs::write(&keys, left).expect("a file is written");
        fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("all may read it");
        take_keys_to(&one.store, &one.path("backup"), Some(&keys)).expect("the backup is taken");
        assert_eq!(mode(&keys), 0o600);
        let backup = one.path("backup");
        assert_eq!(verify(&BackupPlace { keys: Some(&keys), ..place(&backup) }).expect("the backup is whole").members, 4);
    }
}

#[test]
fn a_backup_of_which_no_run_came_to_its_end_is_not_called_whole() {
    let mut shop = Shop::open();
    shop.sell(12);
    let (backup, scratch) = (shop.path("backup"), shop.path("scratch"));
    // The start, the keys, and a part of the journal.
    take_parts(&shop.store, &backup, 5).expect("parts are stored");
    let commits = segments(&backup).len();
    assert!(commits > 0);
    let restored = |name: &str, until| restore(&place(&backup), &shop.path(name), until);
    for why in [
        message(verify(&place(&backup))),
        message(check_backup(&place(&backup), &scratch, &options())),
        message(restored("none", Until::End)),
        message(restored("none", Until::Time(Timestamp::MAX))),
    ] {
        assert!(why.contains("come to its end") && why.contains("again"), "{why}");
    }
    assert!(!shop.path("none").exists());
    // Who says how far it goes knows what it is.
    let found = restored("two", Until::Commit(CommitSeq(2))).expect("it is restored");
    assert_eq!((found.last, found.last_run), (CommitSeq(2), CommitSeq(0)));
    assert!(message(restored("none", Until::Commit(CommitSeq(0)))).contains("no commit 0"));
    take(&shop.store, &backup);
    assert_eq!(verify(&place(&backup)).expect("the backup is whole").last_run, CommitSeq(16));
    assert_eq!(restored("all", Until::End).expect("it is restored").last_run, CommitSeq(16));
    assert!(message(restored("none", Until::Commit(CommitSeq(0)))).contains("no commit 0"));
}

#[test]
fn a_restore_that_was_cut_off_does_not_open_even_without_members() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let store = open(&path("data"));
    World::new().publish(&store, 1);
    take(&store, &path("backup"));
    restore(&place(&path("backup")), &path("restored"), Until::End).expect("it is restored");
    fs::rename(path("restored/journal"), path("restored/journal.new")).expect("the journal is renamed");
    let why = message(EmbeddedStore::open(&path("restored"), options()));
    assert!(why.contains("restore") && why.contains("remove"), "{why}");
    fs::remove_file(path("restored/keys")).expect("the keys are removed");
    assert!(message(EmbeddedStore::open(&path("restored"), options())).contains("restore"));
    assert!(!path("restored/journal").exists() && !path("restored/keys").exists());
}

#[test]
fn a_check_makes_nothing_in_a_folder_without_a_journal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    for with_journal in [false, true] {
        if with_journal {
            fs::create_dir(path.join("journal")).expect("a folder is made");
        }
        for why in [
            message(check(path, &options())),
            message(repair(path, false, &options(), |_| {})),
            message(repair(path, true, &options(), |_| {})),
        ] {
            assert!(why.contains("is no data folder: it has no journal"), "{why}");
        }
        assert_eq!(fs::read_dir(path).expect("a folder is listed").count(), usize::from(with_journal));
    }
}

#[test]
fn keys_that_are_kept_apart_stay_apart() {
    let mut shop = Shop::open();
    shop.sell(2);
    let (backup, keys) = (shop.path("backup"), shop.path("safe/keys"));
    let take = |keys| take_keys_to(&shop.store, &backup, keys);
    take(Some(&keys)).expect("the backup is taken");
    assert!(keys.exists() && !backup.join("keys").exists());
    assert!(message(take(None)).contains("--keys-to"));
    take(Some(&keys)).expect("the backup is taken");
    assert!(message(verify(&place(&backup))).contains("--keys"));
    let place = BackupPlace { keys: Some(&keys), ..place(&backup) };
    assert_eq!(verify(&place).expect("the backup is whole").members, 3);
    let report = check_backup(&place, &shop.path("scratch"), &options()).expect("the journal is whole");
    assert!(report.is_sound() && report.commits == 6 && report.programs[0].members == 3);
    assert!(!shop.path("scratch").exists());
    restore(&place, &shop.path("restored"), Until::End).expect("it is restored");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(shop.path("restored/keys")).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    shop.world.check(&open(&shop.path("restored")));
    // Who opens a folder that a restore left behind when it was killed is told so.
    fs::remove_dir_all(shop.path("restored/journal")).expect("the journal is removed");
    assert!(message(EmbeddedStore::open(&shop.path("restored"), options())).contains("journal is missing"));
}

#[test]
fn a_repair_makes_the_tables_again() {
    let mut shop = Shop::open();
    shop.sell(5);
    shop.store.flush().expect("rows are written out");
    let shop = shop.reopen();
    let data = shop.data();
    let Shop { folder: _folder, world, store, .. } = shop;
    drop(store);
    let report = repair(&data, false, &options(), |_| panic!("no keys are declared erased")).expect("the journal is whole");
    assert!(report.is_sound() && report.rows > 0, "{report:?}");
    assert!(data.join("tables.broken-1").exists());
    world.check(&open(&data));
}

/// Declares lost keys erased.
fn accept(data: &Path) -> Accepted {
    let mut accepted = None;
    let report = repair(data, true, &options(), |done| accepted = Some(done.clone())).expect("the journal is whole");
    assert!(report.is_sound(), "{report:?}");
    accepted.expect("it was told")
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).expect("a file").permissions()) & 0o777
}

#[test]
fn lost_keys_can_be_given_up_and_the_points_stay() {
    let mut shop = Shop::open();
    shop.sell(2);
    let data = shop.data();
    let older = fs::read(data.join("keys")).expect("the keys are read");
    shop.world.enroll(&shop.store, 4);
    shop.sell(2);
    let Shop { folder: _folder, mut world, store, .. } = shop;
    let demand = MemberDemand { person: true, ..MemberDemand::header(world.now) };
    let shown = |store: &dyn Store, world: &World, number: u8| {
        let member = store.member(&key(number), demand).expect("a member is read").expect("the member is there");
        let is_erased = matches!(member.person, Some(Sealed::Erased));
        let mut expected = world.members[&member_id(number)].header.clone();
        // Nobody can read any more that there was a birth date.
        expected.birthday.known_since = expected.birthday.known_since.filter(|_| !is_erased);
        assert_eq!(member.header, expected);
        is_erased
    };
    drop(store);
    // An older key file lacks the last member; a damaged slot is another one's.
    let mut damaged = older;
    damaged[64 * 3 + 30] ^= 1;
    fs::write(data.join("keys"), &damaged).expect("the keys are written");
    assert!(message(EmbeddedStore::open(&data, options())).contains("keys"));
    let command = format!("`loyaltyd check --data {} --repair --accept-erased`", data.display());
    let why = message(repair(&data, false, &options(), |_| {}));
    assert!(why.contains("keys") && why.contains(&command), "{why}");
    let accepted = accept(&data);
    let copy = accepted.copy.clone().expect("the keys are kept");
    assert_eq!((accepted.lost, accepted.before, &copy), (2, 4, &data.join("keys.before-accept")));
    assert_eq!(fs::read(&copy).expect("the copy is read"), damaged);
    assert_eq!(mode(&copy), 0o600);
    // Nothing more is lost, and the first copy is not overwritten.
    assert!(message(repair(&data, true, &options(), |_| {})).contains("keys.before-accept"));
    fs::remove_file(&copy).expect("the copy is removed");
    assert_eq!(accept(&data), Accepted { lost: 0, before: 2, copy: None });
    assert!(!copy.exists());
    let store = open(&data);
    assert_eq!([1, 2, 3, 4].map(|number| shown(&store, &world, number)), [false, true, false, true]);
    drop(store);
    fs::remove_file(data.join("keys")).expect("the keys are removed");
    assert!(message(EmbeddedStore::open(&data, options())).contains(&command));
    assert_eq!(accept(&data), Accepted { lost: 4, before: 4, copy: None });
    let store = open(&data);
    assert_eq!([1, 2, 3, 4].map(|number| shown(&store, &world, number)), [true; 4]);
    // Who comes new is somebody.
    world.enroll(&store, 5);
    let member = store.member(&key(5), demand).expect("a member is read").expect("the member is there");
    assert!(matches!(member.person, Some(Sealed::Open(_))));
}

#[test]
fn with_an_older_key_file_a_backup_is_restored_and_what_it_lacks_can_be_given_up() {
    let mut shop = Shop::open();
    shop.sell(2);
    let backup = shop.path("backup");
    take(&shop.store, &backup);
    let older = fs::read(backup.join("keys")).expect("the keys are read");
    shop.world.enroll(&shop.store, 4);
    take(&shop.store, &backup);
    fs::write(backup.join("keys"), &older).expect("the keys are written");
    let restored = shop.path("restored");
    restore(&place(&backup), &restored, Until::End).expect("it is restored");
    assert!(message(EmbeddedStore::open(&restored, options())).contains("--accept-erased"));
    assert_eq!(accept(&restored).lost, 1);
    let member = open(&restored).member(&key(4), MemberDemand { person: true, ..MemberDemand::header(noon()) });
    assert_eq!(member.expect("a member is read").expect("the member is there").person, Some(Sealed::Erased));
}

#[test]
fn what_a_caller_says_it_has_is_not_trusted() {
    let mut shop = Shop::open();
    shop.sell(2);
    let id = match shop.store.backup(Held::default()).expect("a backup").next().expect("a part") {
        Some(Part::Start { store_id, .. }) => Some(store_id),
        other => panic!("{other:?}"),
    };
    for (last, hash) in [(0, [1; 32]), (3, [0; 32]), (6, [9; 32]), (7, [0; 32]), (u64::MAX - 1, [0; 32]), (u64::MAX, [0; 32])] {
        let held = Held { store_id: id, last: CommitSeq(last), hash, key_blocks: Vec::new() };
        assert!(matches!(shop.store.backup(held), Err(StoreError::OtherHistory { .. })), "{last}");
    }
}

/// Runs the binary against a server.
fn loyaltyd(server: &TestServer, words: &[&str]) -> Process {
    let mut command = Process::new(env!("CARGO_BIN_EXE_loyaltyd"));
    command.args(words).env("LOYALTYD_SERVER", server.address().to_string()).stdin(Stdio::null());
    command
}

async fn output(mut command: Process) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_under_load_is_backed_up_and_restored() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut config = support::config(folder.path(), vec![support::rule_book()]);
    config.limits.segment_bytes = 64 << 10;
    let clock = Arc::new(ManualClock::new(noon()));
    let server = TestServer::start_with(folder, clock, config).await;
    let aside = TempDir::new().expect("a temporary folder");
    let path = |name: &str| aside.path().join(name).to_str().expect("text").to_owned();
    let member = server.enroll("c-1").await;
    let load: Vec<_> = (0..4)
        .map(|till| {
            let (mut purchases, member) = (server.purchases(), member.clone());
            tokio::spawn(async move {
                for number in 0..300 {
                    purchases.record_purchase(sale(&member, &format!("{till}-{number}"), "20000")).await.expect("it is recorded");
                }
            })
        })
        .collect();
    let (backup, keys) = (path("backup"), path("keys"));
    let words = ["backup", "--to", &backup, "--keys-to", &keys];
    let mut killed = 0;
    while load.iter().any(|till| !till.is_finished()) {
        // Killed at some point, then run to its end.
        let mut child = loyaltyd(&server, &words).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
        tokio::task::yield_now().await;
        for _ in 0..killed {
            // So long that the runs are killed at different points.
            let wait = adjust(&member, &format!("wait-{killed}"), 1);
            server.points().adjust_points(wait).await.expect("it is recorded");
        }
        killed += 1;
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let done = output(loyaltyd(&server, &words)).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        let verified = output(loyaltyd(&server, &["backup", "verify", &backup, "--keys", &keys])).await;
        assert!(verified.status.success(), "{}", text(&verified.stderr));
    }
    for till in load {
        till.await.expect("all purchases are recorded");
    }
    let done = output(loyaltyd(&server, &words)).await;
    assert!(done.status.success() && text(&done.stdout).contains("up to commit"), "{}", text(&done.stderr));
    server.points().adjust_points(adjust(&member, "after", 500)).await.expect("it is recorded");
    let restored = TempDir::new().expect("a temporary folder");
    let data = restored.path().join("data").to_str().expect("text").to_owned();
    let done = output(loyaltyd(&server, &["restore", "--from", &backup, "--keys", &keys, "--to", &data])).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    let checked = output(loyaltyd(&server, &["check", "--data", &backup, "--keys", &keys])).await;
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let checked = output(loyaltyd(&server, &["check", "--data", &data, "--repair"])).await;
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let again = TestServer::start_in(restored, Arc::clone(&server.clock), vec![support::rule_book()]).await;
    let (now, then) = (server.member(&member).await, again.member(&member).await);
    assert_eq!(then.lifetime.as_ref().expect("totals").visits, 1_200);
    assert_eq!(then.profile, now.profile);
    let points = |member: &v1::Member| member.balance.as_ref().expect("a balance").available;
    assert_eq!(points(&then) + 500, points(&now));
    let repeat = again.purchases().record_purchase(sale(&member, "0-0", "20000")).await.expect("the first answer").into_inner();
    let first = server.purchases().record_purchase(sale(&member, "0-0", "20000")).await.expect("the first answer").into_inner();
    assert_eq!(repeat, first);
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 100, ..Default::default() };
    let newest = again.points().list_entries(list).await.expect("entries").into_inner().entries;
    assert_eq!(newest.len(), 100);
    again.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_backed_up_says_why_and_leaves_nothing() {
    let server = TestServer::start().await;
    let aside = TempDir::new().expect("a temporary folder");
    let path = |name: &str| aside.path().join(name).to_str().expect("text").to_owned();
    let nobody = output({
        let mut command = Process::new(env!("CARGO_BIN_EXE_loyaltyd"));
        command.args(["backup", "--server", "127.0.0.1:1", "--to", &path("nobody")]);
        command
    })
    .await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(!aside.path().join("nobody").exists());
    let usage = output(loyaltyd(&server, &["backup"])).await;
    assert_eq!(usage.status.code(), Some(2), "{}", text(&usage.stderr));
    let until = output(loyaltyd(&server, &["restore", "--from", "x", "--to", "y", "--until", "yesterday"])).await;
    assert!(until.status.code() == Some(2) && text(&until.stderr).contains("2026-03-01T14:00:00Z"), "{}", text(&until.stderr));
    assert!(output(loyaltyd(&server, &["backup", "--to", &path("one")])).await.status.success());
    let other = TestServer::start().await;
    let refused = output(loyaltyd(&other, &["backup", "--to", &path("one")])).await;
    assert!(text(&refused.stderr).contains("BACKUP_OF_OTHER_STORE"), "{}", text(&refused.stderr));
    let mut admin = AdminServiceClient::new(server.channel.clone());
    let ask = v1::StreamBackupRequest::default;
    for (wrong, field) in [
        (v1::StreamBackupRequest { last_commit: -1, ..ask() }, "last_commit"),
        (v1::StreamBackupRequest { last_commit: 1, ..ask() }, "store_id"),
        (v1::StreamBackupRequest { store_id: vec![1; 3], ..ask() }, "store_id"),
        (v1::StreamBackupRequest { store_id: vec![1; 16], last_commit: 1, ..ask() }, "last_commit_hash"),
        (v1::StreamBackupRequest { key_block_hashes: vec![vec![1; 3]], ..ask() }, "key_block_hashes"),
        (v1::StreamBackupRequest { key_block_hashes: vec![Vec::new(); 131_073], ..ask() }, "key_block_hashes"),
    ] {
        let status = admin.stream_backup(wrong).await.expect_err("it is refused");
        assert_eq!(support::refused(&status).fields, [field]);
    }
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn backups_that_nobody_reads_are_few_and_do_not_hold_up_the_end() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for number in 0..60 {
        let mut sale = sale(&member, &format!("o-{number}"), "10000");
        let purchase = sale.purchase.as_mut().expect("a purchase");
        // A few MiB in all.
        let labels: Vec<String> = (0..10).map(|label| format!("label-{label}-{}", "x".repeat(50))).collect();
        let article = |line: usize| v1::PurchaseLine { labels: labels.clone(), ..support::line(&format!("article-{line}"), "0") };
        purchase.lines.extend((0..150).map(article));
        server.purchases().record_purchase(sale).await.expect("it is recorded");
    }
    let mut admin = AdminServiceClient::new(server.channel.clone());
    let mut ask = async || admin.stream_backup(v1::StreamBackupRequest::default()).await;
    let streams = (ask().await.expect("a stream"), ask().await.expect("a stream"));
    let status = ask().await.expect_err("there are two");
    assert_eq!(support::refused(&status).reason, "TOO_MANY_BACKUPS");
    assert!(tonic_types::StatusExt::get_error_details(&status).retry_info().is_some());
    // One that goes makes room for another.
    let (one, two) = streams;
    drop(one);
    while ask().await.is_err() {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    let mut two = two.into_inner();
    // On this one thread it is read once the service has been told to stop.
    let last = tokio::spawn(async move {
        loop {
            match two.message().await {
                Ok(Some(part)) => assert!(!matches!(part.part, Some(v1::stream_backup_response::Part::End(_)))),
                Ok(None) => panic!("it ended as if it were whole"),
                Err(status) => return status,
            }
        }
    });
    server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(4), "the open streams did not hold up the end");
    assert_eq!(support::refused(&last.await.expect("it ends early")).reason, "STOPPING");
}
