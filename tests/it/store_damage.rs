//! What the embedded store does about damage: what was acknowledged is there, or the store refuses and says where and what to do.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use loyaltyd::{
    domain::{Command, EntryKind, Identifier, IdentifierKind, ProfileUpdate, TierId},
    store::{
        MemberDemand, Read, Store, StoreError,
        embedded::{EmbeddedStore, Options, check, repair},
    },
};
use tempfile::TempDir;

use crate::support::{
    files,
    histories::{World, adjustment, commit, hours, key, member_id, person, phone, purchase},
};

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, options()).expect("the store opens")
}

fn refusal(folder: &Path) -> String {
    match EmbeddedStore::open(folder, options()) {
        Ok(_) => panic!("the store opened"),
        Err(StoreError::Damaged(message)) => message,
        Err(other) => panic!("another error: {other}"),
    }
}

/// A store with a few commits, closed as a killed process leaves it.
fn filled() -> (TempDir, World) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut world = World::new();
    let store = open(folder.path());
    world.publish(&store, 1);
    for number in 1..=3 {
        world.enroll(&store, number);
        world.decide(number, &purchase(u64::from(number), 10_00, None)).expect("a purchase");
        world.commit(&store);
    }
    drop(store);
    (folder, world)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder is made");
    for item in fs::read_dir(from).expect("a folder is listed") {
        let item = item.expect("a folder is listed");
        if item.path().is_dir() {
            copy(&item.path(), &to.join(item.file_name()));
        } else {
            fs::copy(item.path(), to.join(item.file_name())).expect("a file is copied");
        }
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder.join("journal")).expect("a folder is listed").map(|item| item.expect("a folder is listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// What was cut off the journal's end and is kept.
fn cuts(folder: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(folder.join("journal")).expect("a folder is listed");
    let paths = items.map(|item| item.expect("a folder is listed").path());
    paths.filter(|path| path.to_string_lossy().contains(".seg.cut-")).collect()
}

/// Where the journal's last segment ends: behind the last byte that is not 0.
fn end(segment: &[u8]) -> usize {
    segment.iter().rposition(|byte| *byte != 0).expect("the segment is not empty") + 1
}

fn forget_tables(folder: &Path) {
    fs::remove_dir_all(folder.join("tables")).expect("the tables are removed");
}

#[test]
fn tables_are_made_again_from_the_journal() {
    let (folder, world) = filled();
    forget_tables(folder.path());
    world.check(&open(folder.path()));
}

/// Start reads of each entry only what rows follow from, a check reads all of it: of every kind both make the same rows.
#[test]
fn rows_are_the_same_whether_entries_are_read_in_part_or_whole() {
    let (folder, mut world) = filled();
    let store = open(folder.path());
    let gold = TierId::new("gold").expect("a valid id");
    let commands = [
        Command::UpdateProfile(ProfileUpdate { display_name: Some("Another name".to_owned()), ..ProfileUpdate::default() }),
        Command::AddIdentifier { identifier: phone(700) },
        Command::RemoveIdentifier { identifier: phone(700) },
        Command::SetTier { tier: gold, reason: "goodwill".to_owned(), last_date: None },
        Command::Suspend { reason: "lost card".to_owned() },
        Command::Reactivate { reason: "found".to_owned() },
        purchase(801, 12_345, Some(world.now - hours(1))),
        adjustment(70),
        adjustment(-30),
    ];
    for command in &commands {
        world.decide(1, command).expect("a command");
        world.commit(&store);
    }
    // All lots lapse, and what was counted for a cap is forgotten.
    world.now += hours(24 * 40);
    for number in 1..=3 {
        world.decide(number, &purchase(900 + u64::from(number), 7_777, None)).expect("a purchase");
        world.commit(&store);
    }
    drop(store);
    let kinds: HashSet<_> = world.entries.values().flatten().map(|entry| std::mem::discriminant(&entry.kind)).collect();
    assert_eq!(kinds.len(), 10, "every kind of entry is there");
    let accruals = || {
        world.entries.values().flatten().filter_map(|entry| match &entry.kind {
            EntryKind::PurchaseAccrued(accrued) => Some(&accrued.accrual),
            _ => None,
        })
    };
    assert!(accruals().any(|accrual| accrual.qualifying_points != accrual.points));
    assert!(accruals().any(|accrual| !accrual.carries.is_empty()));
    assert!(accruals().any(|accrual| !accrual.counters.is_empty()));
    assert!(accruals().any(|accrual| !accrual.dropped_counters.is_empty()));
    forget_tables(folder.path());
    world.check(&open(folder.path()));
    let report = check(folder.path(), &options()).expect("the journal is whole");
    assert!(report.is_sound(), "{:?}", report.differences);
}

#[test]
fn tables_that_are_rubbish_are_moved_aside() {
    let (folder, world) = filled();
    let store = open(folder.path());
    store.flush().expect("rows are written out");
    drop(store);
    let log = folder.path().join("tables/sled/db");
    let mut bytes = fs::read(&log).expect("the log is read");
    let middle = bytes.len() / 2;
    bytes[..middle].fill(0xA5);
    // In place: the file stays the one that the mark names.
    fs::write(&log, bytes).expect("the log is written");
    let rubbish = open(folder.path());
    world.check(&rubbish);
    assert!(folder.path().join("tables.broken-1").exists());
}

#[test]
fn tables_of_another_store_are_moved_aside() {
    let (folder, world) = filled();
    let (other, _) = filled();
    open(other.path()).flush().expect("rows are written out");
    forget_tables(folder.path());
    copy(&other.path().join("tables"), &folder.path().join("tables"));
    world.check(&open(folder.path()));
    assert!(folder.path().join("tables.broken-1").exists());
}

#[test]
fn an_older_copy_of_the_tables_is_brought_up() {
    let (folder, mut world) = filled();
    let store = open(folder.path());
    store.flush().expect("rows are written out");
    drop(store);
    let old = tempfile::tempdir().expect("a temporary folder");
    copy(&folder.path().join("tables"), old.path());
    let store = open(folder.path());
    for step in 0..5 {
        world.decide(1, &purchase(100 + step, 700, None)).expect("a purchase");
        world.decide(2, &adjustment(-2)).expect("an adjustment");
        world.commit(&store);
    }
    store.flush().expect("rows are written out");
    drop(store);
    forget_tables(folder.path());
    copy(old.path(), &folder.path().join("tables"));
    world.check(&open(folder.path()));
    assert!(!folder.path().join("tables.broken-1").exists());
}

#[test]
fn a_copy_taken_while_serving_opens() {
    let (folder, mut world) = filled();
    let store = open(folder.path());
    let before = tempfile::tempdir().expect("a temporary folder");
    for step in 0..20 {
        world.decide(2, &purchase(200 + step, 700, None)).expect("a purchase");
        world.commit(&store);
    }
    copy(folder.path(), before.path());
    world.check(&open(before.path()));
    world.decide(2, &purchase(300, 700, None)).expect("a purchase");
    world.commit(&store);
    world.check(&store);
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let (folder, world) = filled();
    let segment = segments(folder.path()).pop().expect("a segment");
    let whole = end(&fs::read(&segment).expect("the segment is read"));
    let mut torn_world = world;
    let store = open(folder.path());
    torn_world.decide(1, &adjustment(5)).expect("an adjustment");
    let torn = torn_world.take();
    commit(&store, torn.clone());
    drop(store);
    forget_tables(folder.path());
    let bytes = fs::read(&segment).expect("the segment is read");
    let last = end(&bytes);
    for cut in whole..last {
        let mut cut_bytes = bytes.clone();
        // Cut by a shorter file, or by blocks that never reached the disk.
        if cut % 2 == 0 {
            cut_bytes.truncate(cut)
        } else {
            cut_bytes[cut..].fill(0)
        }
        fs::write(&segment, &cut_bytes).expect("the segment is written");
        let store = EmbeddedStore::open(folder.path(), options()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let entries = store.entries(&key(1), 1, u64::MAX).expect("entries are read");
        assert_eq!(entries.len() + 1, torn_world.entries[&member_id(1)].len(), "cut at {cut}");
        // What was not acknowledged can be committed again.
        if cut % 16 == 0 {
            commit(&store, torn.clone());
            torn_world.check(&store);
        }
        drop(store);
        forget_tables(folder.path());
    }
}

#[test]
fn what_is_cut_off_is_kept_beside_the_journal() {
    let (folder, _) = filled();
    let segment = segments(folder.path()).pop().expect("a segment");
    let whole = fs::read(&segment).expect("the segment is read");
    let last = end(&whole);
    let mut damaged = whole.clone();
    // Not by a bit that may be the only one of the byte: what ends with zeros is taken for shorter.
    damaged[last - 1] ^= 0x80;
    let start = damaged.windows(4).rposition(|window| window == b"LREC").expect("a record");
    for cut in 1..=12 {
        fs::write(&segment, &damaged).expect("the segment is written");
        forget_tables(folder.path());
        drop(open(folder.path()));
        let kept = cuts(folder.path());
        assert_eq!(kept.len(), cut.min(8));
        assert!(kept.iter().all(|path| fs::read(path).expect("it is read") == damaged[start..last]));
        assert!(fs::read(&segment).expect("the segment is read")[start..].iter().all(|byte| *byte == 0));
    }
    let name = format!("{}.cut-{start}", segment.file_name().expect("a name").to_string_lossy());
    assert!(cuts(folder.path()).iter().all(|path| path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(&name))));
    assert!(check(folder.path(), &options()).expect("the journal is whole").is_sound());
}

#[test]
fn a_flipped_byte_before_the_last_record_refuses_and_says_where() {
    let (folder, _) = filled();
    let segment = segments(folder.path()).pop().expect("a segment");
    let bytes = fs::read(&segment).expect("the segment is read");
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    forget_tables(folder.path());
    for place in (0..end(&bytes) / 2).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        fs::write(&segment, damaged).expect("the segment is written");
        // Reserved bytes of a header are covered by its checksum as well.
        let message = refusal(folder.path());
        assert!(message.contains(&name) && message.contains("byte") || place < 12, "{place}: {message}");
        assert!(message.contains("loyaltyd check --data"), "{place}: {message}");
    }
}

/// As a process that is just being started has them for a moment after the store was closed.
#[test]
fn tables_that_are_locked_are_waited_for_and_not_made_again() {
    let (folder, _) = filled();
    open(folder.path()).flush().expect("rows are written out");
    let log = folder.path().join("tables/sled/db");
    let locked = fs::File::open(&log).expect("sled's file");
    locked.lock().expect("it is locked as soon as sled lets go of it");
    let Err(StoreError::InUse(what)) = EmbeddedStore::open(folder.path(), options()) else { panic!("they are locked") };
    assert_eq!(what, log.display().to_string());
    let opening = std::thread::spawn({
        let data = folder.path().to_owned();
        move || EmbeddedStore::open(&data, options()).map(drop)
    });
    drop(locked);
    opening.join().expect("it ends").expect("they are free again");
    assert!(!folder.path().join("tables.broken-1").exists());
}

#[test]
fn an_acknowledged_commit_that_cannot_be_read_is_not_cut_off() {
    let (folder, _) = filled();
    open(folder.path()).flush().expect("rows are written out");
    let segment = segments(folder.path()).pop().expect("a segment");
    let mut bytes = fs::read(&segment).expect("the segment is read");
    let last = end(&bytes) - 1;
    bytes[last] ^= 1;
    fs::write(&segment, &bytes).expect("the segment is written");
    assert!(refusal(folder.path()).contains("acknowledged"));
    assert_eq!(fs::read(&segment).expect("the segment is read"), bytes, "nothing was changed");
}

#[test]
fn a_missing_segment_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let small = Options { segment_bytes: 2 << 10, ..Options::default() };
    let store = EmbeddedStore::open(folder.path(), small.clone()).expect("the store opens");
    let mut world = World::new();
    world.enroll(&store, 1);
    for step in 0..40 {
        world.decide(1, &purchase(step, 300, None)).expect("a purchase");
        world.commit(&store);
    }
    drop(store);
    world.check(&EmbeddedStore::open(folder.path(), small).expect("the store opens"));
    let all = segments(folder.path());
    assert!(all.len() > 4);
    for missing in [&all[0], &all[all.len() / 2]] {
        let bytes = fs::read(missing).expect("the segment is read");
        fs::remove_file(missing).expect("the segment is removed");
        assert!(refusal(folder.path()).contains("missing"));
        fs::write(missing, bytes).expect("the segment is written");
    }
    forget_tables(folder.path());
    let middle = &all[all.len() / 2];
    let mut bytes = fs::read(middle).expect("the segment is read");
    let last = end(&bytes) - 1;
    bytes[last] ^= 1;
    fs::write(middle, bytes).expect("the segment is written");
    assert!(refusal(folder.path()).contains(&*middle.file_name().expect("a name").to_string_lossy()));
}

#[test]
fn a_journal_that_ends_before_what_the_tables_know_refuses() {
    let (folder, mut world) = filled();
    let old = tempfile::tempdir().expect("a temporary folder");
    copy(&folder.path().join("journal"), old.path());
    let store = open(folder.path());
    world.decide(1, &purchase(100, 700, None)).expect("a purchase");
    world.commit(&store);
    store.flush().expect("rows are written out");
    drop(store);
    let new = tempfile::tempdir().expect("a temporary folder");
    copy(&folder.path().join("journal"), new.path());
    copy(old.path(), &folder.path().join("journal"));
    let message = refusal(folder.path());
    for part in ["commit 8", "commit 7", "journal", "remove", "tables", "restore"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!folder.path().join("tables.broken-1").exists());
    copy(new.path(), &folder.path().join("journal"));
    world.check(&open(folder.path()));
    // Whoever wants the older state says so by removing the tables.
    copy(old.path(), &folder.path().join("journal"));
    forget_tables(folder.path());
    let entries = open(folder.path()).entries(&key(1), 1, u64::MAX).expect("entries are read");
    assert_eq!(entries, world.entries[&member_id(1)][..entries.len()]);
    assert!(entries.len() < world.entries[&member_id(1)].len());
}

#[test]
fn a_missing_newest_segment_refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let small = Options { segment_bytes: 2 << 10, ..Options::default() };
    let store = EmbeddedStore::open(folder.path(), small.clone()).expect("the store opens");
    let mut world = World::new();
    world.enroll(&store, 1);
    for step in 0..40 {
        world.decide(1, &purchase(step, 300, None)).expect("a purchase");
        world.commit(&store);
    }
    store.flush().expect("rows are written out");
    drop(store);
    let newest = segments(folder.path()).pop().expect("a segment");
    fs::remove_file(newest).expect("the segment is removed");
    assert!(refusal(folder.path()).contains("its end is missing"));
}

/// A killed process leaves tables that are far behind: they do not know the commits of a segment that is lost.
#[test]
fn a_missing_newest_segment_is_noticed_when_the_tables_are_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let small = || Options { segment_bytes: 2 << 10, compress: false, ..Options::default() };
    let store = EmbeddedStore::open(folder.path(), small()).expect("the store opens");
    let mut world = World::new();
    world.enroll(&store, 1);
    store.flush().expect("rows are written out");
    drop(store);
    let behind = tempfile::tempdir().expect("a temporary folder");
    copy(&folder.path().join("tables"), behind.path());
    let store = EmbeddedStore::open(folder.path(), small()).expect("the store opens");
    for step in 0..40 {
        world.decide(1, &purchase(step, 300, None)).expect("a purchase");
        world.commit(&store);
    }
    store.compress_closed();
    drop(store);
    forget_tables(folder.path());
    copy(behind.path(), &folder.path().join("tables"));
    let newest = segments(folder.path()).pop().expect("a segment");
    let bytes = fs::read(&newest).expect("the segment is read");
    fs::remove_file(&newest).expect("the segment is removed");
    for options in [small(), options()] {
        let message = match EmbeddedStore::open(folder.path(), options) {
            Err(StoreError::Damaged(message)) => message,
            other => panic!("{:?}", other.err()),
        };
        for part in ["its end is missing", "was closed", "`tables`", "backup"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    // A repair would hide it.
    assert!(repair(folder.path(), false, &options(), |_| {}).is_err_and(|why| why.to_string().contains("was closed")));
    assert!(folder.path().join("tables").exists());
    fs::write(&newest, bytes).expect("the segment is written");
    world.check(&EmbeddedStore::open(folder.path(), small()).expect("the store opens"));
    // On purpose, and from then on it goes on there.
    fs::remove_file(&newest).expect("the segment is removed");
    forget_tables(folder.path());
    for _ in 0..2 {
        let store = EmbeddedStore::open(folder.path(), small()).expect("the store opens");
        let entries = store.entries(&key(1), 1, u64::MAX).expect("entries are read");
        assert!(entries.len() > 1 && entries.len() < world.entries[&member_id(1)].len());
    }
}

/// A restore leaves the last segment without room behind its end, and segments may be smaller than they were.
#[test]
fn a_last_segment_that_ends_with_its_last_record_is_no_missing_end() {
    let (folder, world) = filled();
    forget_tables(folder.path());
    let last = segments(folder.path()).pop().expect("a segment");
    let length = end(&fs::read(&last).expect("the segment is read")) as u64;
    fs::File::options().write(true).open(&last).and_then(|file| file.set_len(length)).expect("the segment is cut");
    let small = Options { segment_bytes: 512, ..Options::default() };
    world.check(&EmbeddedStore::open(folder.path(), small).expect("the store opens"));
    world.check(&open(folder.path()));
}

/// Overwrites values of rows in the look-up tables, which nobody has open.
fn spoil(folder: &Path, which: impl Fn(&[u8]) -> bool) {
    let db = sled::open(folder.join("tables/sled")).expect("sled opens");
    let mut spoiled = 0;
    for leaf in db.iter().map(|leaf| leaf.expect("a leaf is read")).filter(|(key, _)| &**key != b"a") {
        let mut rows = rows(&leaf.1);
        for (_, value) in rows.iter_mut().filter(|(key, _)| which(key)) {
            *value = b"\xffrubbish".to_vec();
            spoiled += 1;
        }
        let mut bytes = Vec::new();
        for (key, value) in rows {
            bytes.extend([0, key.len() as u8]);
            bytes.extend(key);
            prost::encoding::encode_varint(value.len() as u64, &mut bytes);
            bytes.extend(value);
        }
        db.insert(leaf.0, bytes).expect("a leaf is written");
    }
    assert!(spoiled > 0);
    db.flush().expect("leaves are written");
}

/// Keys and values of a leaf, as `leaves.rs` packs them.
fn rows(mut leaf: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let number = |leaf: &mut &[u8]| prost::encoding::decode_varint(leaf).expect("a number") as usize;
    while !leaf.is_empty() {
        let (shared, own) = (number(&mut leaf), number(&mut leaf));
        let key = [&rows.last().map_or(&[][..], |(key, _)| key)[..shared], &leaf[..own]].concat();
        leaf = &leaf[own..];
        let length = number(&mut leaf);
        rows.push((key, leaf[..length].to_vec()));
        leaf = &leaf[length..];
    }
    rows
}

#[test]
fn rows_that_start_cannot_read_lead_to_new_tables() {
    let (folder, world) = filled();
    open(folder.path()).flush().expect("rows are written out");
    spoil(folder.path(), |key| key[0] == b'g');
    world.check(&open(folder.path()));
    assert!(folder.path().join("tables.broken-1").exists());
}

#[test]
fn headers_that_a_replay_cannot_read_lead_to_new_tables() {
    let (folder, mut world) = filled();
    let store = open(folder.path());
    store.flush().expect("rows are written out");
    drop(store);
    let old = tempfile::tempdir().expect("a temporary folder");
    spoil(folder.path(), |key| key[0] == b'm' && key.len() == 22);
    copy(&folder.path().join("tables"), old.path());
    // The journal goes on, with tables that are whole.
    forget_tables(folder.path());
    let store = open(folder.path());
    world.decide(1, &purchase(100, 700, None)).expect("a purchase");
    world.commit(&store);
    drop(store);
    forget_tables(folder.path());
    copy(old.path(), &folder.path().join("tables"));
    world.check(&open(folder.path()));
    assert!(folder.path().join("tables.broken-1").exists());
}

#[test]
fn rows_that_a_reader_cannot_read_lead_to_new_tables_at_the_next_start() {
    let (folder, world) = filled();
    open(folder.path()).flush().expect("rows are written out");
    spoil(folder.path(), |key| key[0] == b'm' && key.len() == 22);
    let store = open(folder.path());
    let demand = MemberDemand::header(world.now);
    assert!(matches!(store.member(&key(1), demand), Err(StoreError::Tables(_))));
    // Making them durable does not make them right.
    assert!(store.flush().is_err());
    drop(store);
    world.check(&open(folder.path()));
    assert!(folder.path().join("tables.broken-1").exists());
}

#[test]
fn tables_that_could_not_be_written_are_made_again_at_the_next_start() {
    let (folder, mut world) = filled();
    let store = open(folder.path());
    let obstacle = folder.path().join("tables/REDO");
    let _ = fs::remove_file(&obstacle);
    fs::create_dir(&obstacle).expect("a folder is in the way");
    world.decide(1, &purchase(100, 700, None)).expect("a purchase");
    world.commit(&store);
    assert!(matches!(store.flush(), Err(StoreError::Tables(_))));
    drop(store);
    fs::remove_dir(&obstacle).expect("the folder is removed");
    world.check(&open(folder.path()));
    assert!(folder.path().join("tables.broken-1").exists());
}

/// When a sync failed, the kernel may hold the last record as written although the disk never got it.
#[test]
fn the_last_record_is_written_again_at_start() {
    let (folder, world) = filled();
    let segment = segments(folder.path()).pop().expect("a segment");
    let before = fs::read(&segment).expect("the segment is read");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options().write(true).open(&segment).and_then(|file| file.set_modified(long_ago)).expect("the time is set");
    world.check(&open(folder.path()));
    assert_eq!(fs::read(&segment).expect("the segment is read"), before);
    assert!(fs::metadata(&segment).and_then(|about| about.modified()).expect("a time") > long_ago);
}

/// How long a file says that it is costs neither memory nor time.
#[test]
fn a_segment_that_says_it_is_endless_is_refused() {
    let (folder, world) = filled();
    let last = segments(folder.path()).pop().expect("a segment");
    let file = fs::File::options().write(true).open(&last).expect("a segment is opened");
    let length = file.metadata().expect("it is measured").len();
    file.set_len(1 << 43).expect("a hole takes no space");
    assert!(refusal(folder.path()).contains("is larger than a segment can be"));
    // What a segment may have at most is looked through.
    file.set_len(100 << 20).expect("a hole takes no space");
    world.check(&open(folder.path()));
    file.set_len(length).expect("the segment is cut");
    world.check(&open(folder.path()));
}

#[test]
fn a_folder_in_use_is_not_opened_twice() {
    let (folder, _) = filled();
    let _first = open(folder.path());
    assert!(matches!(EmbeddedStore::open(folder.path(), options()), Err(StoreError::InUse(_))));
}

#[test]
fn a_commit_that_fails_is_not_visible_and_nothing_follows_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let small = Options { segment_bytes: 2 << 10, ..Options::default() };
    let store = EmbeddedStore::open(folder.path(), small).expect("the store opens");
    let mut world = World::new();
    world.enroll(&store, 1);
    fs::rename(folder.path().join("journal"), folder.path().join("elsewhere")).expect("the journal is moved away");
    let mut acknowledged = world.entries[&member_id(1)].len();
    let failed = (0..100).any(|step| {
        world.decide(1, &purchase(step, 300, None)).expect("a purchase");
        let all = world.take();
        let done = store.begin(&[]).expect("a unit of work begins").commit(all);
        if done.is_ok() {
            acknowledged = world.entries[&member_id(1)].len();
        }
        done.is_err()
    });
    assert!(failed, "the next segment cannot be made");
    assert_eq!(store.entries(&key(1), 1, u64::MAX).expect("entries are read"), world.entries[&member_id(1)][..acknowledged]);
    world.decide(1, &purchase(1000, 300, None)).expect("a purchase");
    assert!(store.begin(&[]).expect("a unit of work begins").commit(world.take()).is_err());
}

const NAME: &str = "Nguyen Thi Planted";
const EMAIL: &str = "planted.person@example.com";
const PHONE: &str = "+84987654321";

#[test]
fn nothing_personal_is_readable_in_any_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let mut world = World::new();
    let email = Identifier::new(IdentifierKind::Email, EMAIL).expect("an e-mail address");
    let number = Identifier::new(IdentifierKind::Phone, PHONE).expect("a phone number");
    world.decide(1, &Command::Enroll { person: person(NAME, &[email]) }).expect("a new member");
    world.commit(&store);
    world.decide(1, &Command::AddIdentifier { identifier: number }).expect("an identifier");
    world.commit(&store);
    world.check(&store);
    store.flush().expect("rows are written out");
    drop(store);
    let mut paths = Vec::new();
    files(folder.path(), &mut paths);
    assert!(paths.len() >= 5);
    for path in paths {
        let bytes = fs::read(&path).expect("a file is read");
        for planted in [NAME, EMAIL, PHONE, "987654321", "planted", "vi-VN", "19900228"] {
            let found = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!found, "{planted} is in {}", path.display());
        }
    }
}

#[test]
fn keys_are_asked_for_when_they_are_missing_older_or_wrapped() {
    let (folder, mut world) = filled();
    let keys = folder.path().join("keys");
    let old = fs::read(&keys).expect("the keys are read");
    fs::remove_file(&keys).expect("the keys are removed");
    let message = refusal(folder.path());
    assert!(message.contains("key file is missing") && message.contains("restore"), "{message}");
    fs::write(&keys, &old).expect("the keys are written");
    let store = open(folder.path());
    world.enroll(&store, 9);
    store.flush().expect("rows are written out");
    drop(store);
    let new = fs::read(&keys).expect("the keys are read");
    fs::write(&keys, &old).expect("the keys are written");
    // Neither tables that are up to date nor a replay hide it.
    assert!(refusal(folder.path()).contains("older than the journal"));
    assert!(!folder.path().join("tables.broken-1").exists());
    forget_tables(folder.path());
    assert!(refusal(folder.path()).contains("older than the journal"));
    fs::write(&keys, &new).expect("the keys are written");
    world.check(&open(folder.path()));

    let wrapped = tempfile::tempdir().expect("a temporary folder");
    let with = |operator_key| Options { operator_key, ..options() };
    drop(EmbeddedStore::open(wrapped.path(), with(Some([1; 32]))).expect("the store opens"));
    assert!(matches!(EmbeddedStore::open(wrapped.path(), with(None)), Err(StoreError::Damaged(_))));
    assert!(matches!(EmbeddedStore::open(wrapped.path(), with(Some([2; 32]))), Err(StoreError::Damaged(_))));
    drop(EmbeddedStore::open(wrapped.path(), with(Some([1; 32]))).expect("the store opens"));
}

#[test]
fn options_do_not_print_the_operators_key() {
    let with_key = Options { operator_key: Some([0xA7; 32]), ..options() };
    let printed = format!("{with_key:?} {with_key:#?}");
    assert!(printed.contains("operator_key: Some(\"not shown\")"), "{printed}");
    assert!(!printed.contains("167") && !printed.to_lowercase().contains("a7"), "{printed}");
}

#[test]
fn a_folder_is_made_with_those_that_it_is_in() {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let folder = outer.path().join("srv/loyalty/./data");
    let mut world = World::new();
    let store = open(&folder);
    world.enroll(&store, 1);
    drop(store);
    world.check(&open(&folder));
}

#[test]
fn check_counts_and_compares() {
    let (folder, world) = filled();
    let report = check(folder.path(), &options()).expect("the journal is whole");
    assert!(report.is_sound(), "{:?}", report.differences);
    let entries: usize = world.entries.values().map(Vec::len).sum();
    assert_eq!((report.commits, report.entries), (7, entries as u64));
    let issued: i64 = world.members.values().map(|member| member.header.balance.issued.0).sum();
    assert_eq!((report.programs[0].members, report.programs[0].issued), (3, i128::from(issued)));
    assert!(issued > 0);
    // A state that is not what the entries lead to.
    let store = open(folder.path());
    let mut world = world;
    world.decide(2, &purchase(500, 700, None)).expect("a purchase");
    let mut wrong = world.take();
    wrong.members[0].after.header.lifetime.visits += 1;
    commit(&store, wrong);
    store.flush().expect("rows are written out");
    drop(store);
    let report = check(folder.path(), &options()).expect("the journal is whole");
    assert_eq!((report.is_sound(), report.difference_count), (false, 1));
    assert!(report.differences[0].starts_with("header of member 02020202-"), "{:?}", report.differences);
}
