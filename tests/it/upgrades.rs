//! What a newer version wrote is refused, with nothing changed: not misread, and not read by half. What an older one wrote is read, and
//! tables of another version are made again.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path, sync::Arc};

use loyaltyd::{
    app,
    contract::rule_book,
    ledger::{Clock, ManualClock},
    store::{
        Store as _, StoreError,
        backup::Held,
        embedded::{Backup, BackupPlace, EmbeddedStore, Options, Until, check, read_entries, repair, restore, verify},
    },
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use tempfile::TempDir;

use crate::support::{
    self, TestServer, copy_folder, files,
    histories::{World, adjustment, person, phone, purchase},
    noon, raw,
    segments::{self, payload, records, seal, with_payloads},
};

fn options() -> Options {
    Options { segment_bytes: 64 << 10, compress: false, ..Options::default() }
}

/// A folder that was left in order, in one segment or several.
fn left(segment_bytes: u64) -> (TempDir, World) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(folder.path(), Options { segment_bytes, ..options() }).expect("the store opens");
    let mut world = World::new();
    world.publish(&store, 1);
    for number in 1..=3 {
        let person = person("Somebody", &[phone(u32::from(number))]);
        world.decide(number, &loyaltyd::domain::Command::Enroll { person }).expect("a new member enrols");
        world.commit(&store);
        world.decide(number, &purchase(u64::from(number), 10_00, None)).expect("a purchase");
        world.commit(&store);
    }
    world.decide(1, &adjustment(3)).expect("an adjustment");
    world.commit(&store);
    store.compress_closed();
    store.flush().expect("rows are written out");
    drop(store);
    (folder, world)
}

/// All files with what is in them, but for the tables' own.
fn content(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = Vec::new();
    files(folder, &mut found);
    found.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file is read"))).collect()
}

fn newer<T>(done: Result<T, StoreError>) -> String {
    match done {
        Ok(_) => panic!("it was done"),
        Err(StoreError::Newer(message)) => message,
        Err(other) => panic!("another error: {other}"),
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file is read");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file is written");
}

/// Whoever opens the folder refuses it with these words, and leaves it as it is.
fn is_refused(folder: &Path, words: &[&str]) {
    let before = content(folder);
    let refusals = [
        newer(EmbeddedStore::open(folder, options()).map(drop)),
        newer(check(folder, &options()).map(drop)),
        newer(repair(folder, false, &options(), |_| ()).map(drop)),
        newer(repair(folder, true, &options(), |_| ()).map(drop)),
        newer(read_entries(folder, None, |_| ())),
    ];
    for refusal in refusals {
        let to_do = ["newer version wrote it", "Use the version that wrote it", "restore a backup", env!("CARGO_PKG_VERSION")];
        for word in words.iter().chain(&to_do) {
            assert!(refusal.contains(word), "{word} is not in: {refusal}");
        }
        assert!(content(folder) == before, "something was changed");
    }
}

#[test]
fn segments_of_a_newer_format_are_refused() {
    let (folder, _) = left(64 << 10);
    let last = segments::paths(folder.path()).pop().expect("a segment");
    edit(&last, |bytes| bytes[8] = 2);
    is_refused(folder.path(), &["the segment has format 2", "knows formats up to 1", last.to_str().expect("a path")]);
    // Of what another has written in the meantime nothing is known, not even that it is a torn tail.
    edit(&last, |bytes| bytes[200..].fill(7));
    is_refused(folder.path(), &["the segment has format 2"]);
    edit(&last, |bytes| bytes[8] = 0);
    assert!(matches!(EmbeddedStore::open(folder.path(), options()).map(drop), Err(StoreError::Damaged(_))));
}

#[test]
fn compressed_segments_of_a_newer_format_are_refused() {
    let (folder, _) = left(512);
    let first = segments::paths(folder.path()).remove(0);
    edit(&first, |bytes| {
        assert_eq!(&bytes[..8], b"LOYLJNZ\n", "it is compressed");
        bytes[8..10].copy_from_slice(&300_u16.to_le_bytes());
    });
    is_refused(folder.path(), &["the segment has format 300"]);
}

#[test]
fn a_record_of_a_newer_format_is_refused_also_in_a_segment_of_this_one() {
    let (folder, _) = left(64 << 10);
    let last = segments::paths(folder.path()).pop().expect("a segment");
    edit(&last, |bytes| {
        let offset = records(bytes).iter().rev().skip(1).map(|record| record.len()).sum::<usize>() + segments::HEADER;
        let length = records(bytes).last().expect("a record").len();
        bytes[offset + 12] = 2;
        seal(&mut bytes[offset..offset + length]);
    });
    is_refused_to_open(folder.path(), &["the record at byte", "has format 2"]);
}

/// As [`is_refused`], for what only whoever reads the records notices; the tables are none of the ledger.
fn is_refused_to_open(folder: &Path, words: &[&str]) {
    let ledger = |folder: &Path| {
        let content = content(folder);
        content.into_iter().filter(|(path, _)| path.starts_with(folder.join("journal")) || path.ends_with("keys")).collect::<Vec<_>>()
    };
    let before = ledger(folder);
    let refusals = [newer(EmbeddedStore::open(folder, options()).map(drop)), newer(read_entries(folder, None, |_| ()))];
    for refusal in refusals {
        for word in words.iter().chain(&["newer version wrote it", "Use the version that wrote it"]) {
            assert!(refusal.contains(word), "{word} is not in: {refusal}");
        }
        assert!(ledger(folder) == before, "something was changed");
    }
}

#[test]
fn keys_of_a_newer_format_are_refused() {
    let (folder, _) = left(64 << 10);
    edit(&folder.path().join("keys"), |bytes| {
        bytes[4] = 2;
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    });
    is_refused(folder.path(), &["keys: the key file has format 2"]);
    // Without the checksum it is no newer format, it is damage.
    edit(&folder.path().join("keys"), |bytes| bytes[4] = 3);
    assert!(matches!(EmbeddedStore::open(folder.path(), options()).map(drop), Err(StoreError::Damaged(_))));
}

fn back_up(data: &Path, target: &Path) {
    let store = EmbeddedStore::open(data, options()).expect("the store opens");
    let mut source = store.backup(Held::default()).expect("a backup begins");
    let mut backup = Backup::open(target, None, true).expect("a backup is made");
    while let Some(part) = source.next().expect("a part") {
        backup.store(part).expect("a part is stored");
    }
}

#[test]
fn backups_of_a_newer_format_are_refused() {
    let (folder, _) = left(512);
    let backup = folder.path().join("backup");
    back_up(folder.path(), &backup);
    let place = BackupPlace { folder: &backup, keys: None, operator_key: None };
    let target = folder.path().join("restored");
    let refused = |words: &str| {
        let before = content(&backup);
        let refusals = [newer(verify(&place).map(drop)), newer(restore(&place, &target, Until::End).map(drop))];
        let refusals = refusals.into_iter().chain([newer(Backup::open(&backup, None, true).map(drop))]);
        for refusal in refusals {
            assert!(refusal.contains(words) && refusal.contains("Use the version that wrote it"), "{refusal}");
        }
        assert!(content(&backup) == before && !target.join("journal").exists(), "something was changed");
    };
    let whole = fs::read(backup.join("BACKUP")).expect("the marker is read");
    let text = String::from_utf8(whole.clone()).expect("text").replace("format 1", "format 2");
    let body = &text[..text.rfind("crc ").expect("a checksum")];
    fs::write(backup.join("BACKUP"), format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()))).expect("a marker is written");
    refused("the backup has format 2");
    fs::write(backup.join("BACKUP"), whole).expect("a marker is written");
    verify(&place).expect("it is whole again");
    edit(&segments::paths(&backup).pop().expect("a segment"), |bytes| bytes[8] = 2);
    refused("the segment has format 2");
}

#[test]
fn a_backup_of_a_newer_server_is_refused_by_the_client() {
    let (folder, _) = left(64 << 10);
    let store = EmbeddedStore::open(folder.path(), options()).expect("the store opens");
    let mut source = store.backup(Held::default()).expect("a backup begins");
    let mut backup = Backup::open(&folder.path().join("backup"), None, true).expect("a backup is made");
    let refusal = loop {
        let mut part = source.next().expect("a part").expect("the journal comes before the end");
        if let loyaltyd::store::backup::Part::Journal { offset: 0, content, .. } = &mut part {
            content[8] = 2;
        }
        if let Err(error) = backup.store(part) {
            break newer(Err::<(), _>(error));
        }
    };
    assert!(refusal.contains("the segment has format 2"), "{refusal}");
    assert!(!backup.is_whole());
}

/// Writes the journal's one segment anew, each payload changed, and forgets the tables.
fn rewrite(folder: &Path, mut change: impl FnMut(usize, &[u8]) -> Vec<u8>) {
    let path = segments::paths(folder).pop().expect("a segment");
    let before = fs::read(&path).expect("a segment is read");
    let payloads = records(&before).into_iter().enumerate().map(|(place, record)| Cow::Owned(change(place, payload(record))));
    let mut after = with_payloads(&before, payloads);
    // With the room that it had.
    after.resize(after.len().max(before.len()), 0);
    fs::write(&path, after).expect("a segment is written");
    fs::remove_dir_all(folder.join("tables")).expect("there are tables");
}

/// A field that no version knows yet, in a message that is reached by the names of fields.
fn with_unknown(message: &mut DynamicMessage, path: &[&str], field: u32) {
    let Some((name, path)) = path.split_first() else {
        let mut bytes = message.encode_to_vec();
        prost::encoding::encode_key(field, prost::encoding::WireType::Varint, &mut bytes);
        prost::encoding::encode_varint(5, &mut bytes);
        *message = DynamicMessage::decode(message.descriptor(), &*bytes).expect("unknown fields are kept");
        return;
    };
    match message.get_field_by_name_mut(name).expect("the field is there") {
        Value::List(items) => with_unknown(items.last_mut().and_then(Value::as_message_mut).expect("an item"), path, field),
        Value::Message(inner) => with_unknown(inner, path, field),
        other => panic!("{other:?} is no message"),
    }
}

#[test]
fn what_this_version_does_not_know_in_a_record_is_refused() {
    let commit = raw::storage().get_message_by_name("loyalty.storage.v1.Commit").expect("the message is there");
    let cases: [(&[&str], u32, &str); 6] = [
        (&[], 9, "field 9 of loyalty.storage.v1.Commit"),
        (&["members"], 4, "field 4 of loyalty.storage.v1.MemberChange"),
        (&["members", "entries"], 200, "field 200 of loyalty.storage.v1.Entry"),
        // As a kind of entry.
        (&["members", "entries"], 41, "field 41 of loyalty.storage.v1.Entry"),
        (&["members", "entries", "balance"], 15, "field 15 of loyalty.storage.v1.Balance"),
        (&["members", "entries", "points_adjusted", "lot"], 10, "field 10 of loyalty.storage.v1.AccruedLot"),
    ];
    for (path, field, words) in cases {
        let (folder, _) = left(64 << 10);
        let last = records(&fs::read(segments::paths(folder.path()).pop().expect("a segment")).expect("it is read")).len() - 1;
        rewrite(folder.path(), |place, payload| {
            let mut message = DynamicMessage::decode(commit.clone(), payload).expect("a commit");
            if place == last {
                with_unknown(&mut message, path, field);
            }
            message.encode_to_vec()
        });
        is_refused_to_open(folder.path(), &[words, "balances would be wrong"]);
    }
    // The same without anything new is what was written.
    let (folder, world) = left(64 << 10);
    rewrite(folder.path(), |_, payload| payload.to_vec());
    world.check(&EmbeddedStore::open(folder.path(), options()).expect("the store opens"));
}

#[tokio::test]
async fn a_rule_book_of_a_newer_version_is_not_held_to_by_half() {
    let server = TestServer::start().await;
    let (folder, clock) = server.end().await;
    let data = folder.path().join("data");
    let commit = raw::storage().get_message_by_name("loyalty.storage.v1.Commit").expect("the message is there");
    rewrite(&data, |place, payload| {
        let mut message = DynamicMessage::decode(commit.clone(), payload).expect("a commit");
        if place == 0 {
            let publications = message.get_field_by_name_mut("publications").and_then(Value::as_list_mut).expect("a rule book");
            let publication = publications[0].as_message_mut().expect("a publication");
            let document = publication.get_field_by_name_mut("document").expect("a document");
            let mut bytes = document.as_bytes().expect("bytes").to_vec();
            // Field 90, a message: a policy to come.
            bytes.extend_from_slice(&[0xd2, 0x05, 2, 0x08, 1]);
            *document = Value::Bytes(bytes.into());
        }
        message.encode_to_vec()
    });
    let config = support::config(folder.path(), Vec::new());
    let mut server = app::start(config, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("it listens");
    let error = server.ready().await.expect_err("it does not serve").to_string();
    for word in ["rule book vietnam version 1", "field 90 of loyalty.v1.Program", "points would be wrong", "Use that version"] {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
    server.shutdown().await.expect("it stops");
}

#[test]
fn every_example_is_read_strictly() {
    let mut count = 0;
    for item in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/programs")).expect("the examples are there") {
        let text = fs::read_to_string(item.expect("an example").path()).expect("an example is read");
        let program = rule_book::read(&text).expect("a rule book");
        assert_eq!(rule_book::decode(&program.encode_to_vec()), Ok(program));
        count += 1;
    }
    assert!(count >= 16);
}

/// Gives the tables another format, as if another version had left them in order.
fn set_format(folder: &Path, format: u32) {
    let row = raw::storage().get_message_by_name("loyalty.storage.v1.AppliedRow").expect("the message is there");
    let db = sled::open(folder.join("tables/sled")).expect("sled opens");
    let before = db.get("a").expect("a row is read").expect("the tables know how far they are");
    let mut row = DynamicMessage::decode(row, &*before).expect("a row");
    row.set_field_by_name("format", Value::U32(format));
    let after = row.encode_to_vec();
    db.insert("a", after.clone()).expect("a row is written");
    db.flush().expect("rows are written");
    drop(db);
    // It says the same, or the tables would be made again for want of it.
    let mut redo = [&b"LOYRED2\n"[..], &after, &after, &0_u64.to_le_bytes(), &(after.len() as u64).to_le_bytes()].concat();
    let crc = crc32c::crc32c(&redo);
    redo.extend(crc.to_le_bytes());
    fs::write(folder.join("tables/REDO"), redo).expect("a file is written");
}

#[test]
fn tables_of_another_version_are_made_again_from_the_journal() {
    for format in [1, 1_000] {
        let (folder, world) = left(512);
        set_format(folder.path(), format);
        world.check(&EmbeddedStore::open(folder.path(), options()).expect("the store opens"));
        assert!(folder.path().join("tables.broken-1").exists(), "they are kept aside");
        assert!(check(folder.path(), &options()).expect("a check").is_sound());
    }
    // Of this version they are used.
    let (folder, world) = left(512);
    let copy = tempfile::tempdir().expect("a temporary folder");
    copy_folder(folder.path(), copy.path());
    world.check(&EmbeddedStore::open(copy.path(), options()).expect("the store opens"));
    assert!(!copy.path().join("tables.broken-1").exists());
}

#[tokio::test]
async fn a_server_says_what_to_do_about_a_newer_folder() {
    let (folder, _) = left(64 << 10);
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder is made");
    for name in ["journal", "keys", "tables"] {
        fs::rename(folder.path().join(name), data.join(name)).expect("it moves");
    }
    edit(&segments::paths(&data).pop().expect("a segment"), |bytes| bytes[8] = 9);
    let clock = Arc::new(ManualClock::new(noon()));
    let mut server = app::start(support::config(folder.path(), Vec::new()), clock as Arc<dyn Clock>).await.expect("it listens");
    let error = server.ready().await.expect_err("it does not serve").to_string();
    assert!(error.contains("the segment has format 9") && error.contains("Use the version that wrote it"), "{error}");
    server.shutdown().await.expect("it stops");
}
