//! Damage to each kind of file in the data folder: bytes that change, blocks that are lost, files that are cut or gone. What happens is one
//! of what the table in the README says, and never a wrong answer.

mod table;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use jiff::SignedDuration;
use loyaltyd::store::{
    Read, Store, StoreError,
    embedded::{EmbeddedStore, Options, check},
};
use tempfile::TempDir;

use crate::{
    power::{
        dice::Dice,
        store_cuts::{Told, is_long, patiently, seed},
    },
    support::{
        doings, files,
        histories::{World, adjustment, hold, hours, program_id, purchase},
    },
};
use table::{Damage, Kind, Outcome, State, expected};

fn options() -> Options {
    // What is compressed is decided here, not by a thread's luck.
    Options { segment_bytes: 12 << 10, overlay_bytes: 12 << 10, sled_cache_bytes: 1 << 20, compress: false, ..Options::default() }
}

/// A folder as it was left, and what its store must answer.
struct Fixture {
    folder: TempDir,
    world: World,
    /// As it was after each of the commits before.
    before: Vec<World>,
    /// Requests that were written to the tables.
    known: usize,
    state: State,
}

impl Fixture {
    fn new(state: State, dice: &mut Dice) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open(folder.path(), options()).expect("the store opens");
        let mut world = World::with_all();
        world.publish(&store, 1);
        doings::each_once(&mut world, &store);
        assert_eq!(doings::missing_kinds(&world), [0; 0], "each kind of entry is there");
        // What is personal of who was erased is gone with the key, whatever becomes of the journal's end.
        store.flush().expect("rows are written out");
        let (mut before, mut known) = (vec![world.clone()], world.requests.len());
        for number in 100..400 {
            // How long commands are is for the dice: it goes on until there are two segments that are closed and plain, beside the last one.
            if number >= 210 && table::plain_segments(folder.path()) > 2 {
                break;
            }
            world.now += hours(i64::from(dice.below(10) == 0)) + SignedDuration::from_secs(1);
            let member = doings::somebody(&world, dice).expect("some are there");
            let command = doings::anything(&world, member, number, dice);
            // What the member cannot do is refused and leaves nothing.
            let _ = world.decide(member, &command);
            if number % 3 == 0 {
                world.commit(&store);
                before.push(world.clone());
            }
            if number % 50 == 30 {
                store.flush().expect("rows are written out");
                known = before.last().map_or(0, |world: &World| world.requests.len());
            }
            if number == 160 {
                // Those that are closed by now; the later ones stay plain.
                store.compress_closed();
            }
        }
        world.commit(&store);
        before.push(world.clone());
        // Whatever was captured, released or lapsed before: points of somebody are held.
        let holder = 200;
        world.enroll(&store, holder);
        before.push(world.clone());
        for command in [adjustment(1_000), hold(100, 24)] {
            world.decide(holder, &command).expect("a new member's points can be held");
        }
        world.commit(&store);
        before.push(world.clone());
        world.decide(1, &adjustment(3)).expect("an adjustment");
        world.commit(&store);
        world.check_each_kind_of_row();
        if state == State::Stopped {
            store.flush().expect("rows are written out");
            known = world.requests.len();
        }
        drop(store);
        Self { folder, world, before, known, state }
    }

    /// A copy that the store takes for the folder itself.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_folder(self.folder.path(), copy.path());
        if self.state == State::Killed {
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the kernel has a boot id");
            let log = fs::metadata(copy.path().join("tables/sled/db")).expect("the log is there");
            let mark = format!("open {} {} {}\n", boot.trim(), log.dev(), log.ino());
            fs::write(copy.path().join("tables/CHECKPOINT"), mark).expect("a mark is written");
        }
        copy
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder is made");
    for item in fs::read_dir(from).expect("a folder is listed") {
        let item = item.expect("a folder is listed");
        if item.path().is_dir() {
            copy_folder(&item.path(), &to.join(item.file_name()));
        } else {
            fs::copy(item.path(), to.join(item.file_name())).expect("a file is copied");
        }
    }
}

/// In place, and says what was done. `None`: there is nothing to damage.
fn damage(path: &Path, kind: Kind, damage: Damage, dice: &mut Dice) -> Option<String> {
    let bytes = fs::read(path).expect("a file is read");
    let file = fs::File::options().write(true).open(path).expect("a file is opened");
    // What is behind the last byte that is not 0 is mostly room.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let end = if dice.below(6) == 0 { bytes.len() } else { used };
    match damage {
        Damage::Delete => {
            fs::remove_file(path).expect("a file is removed");
            Some("gone".to_owned())
        }
        Damage::Cut => {
            if end == 0 {
                return None;
            }
            let length = dice.below(end as u64);
            file.set_len(length).expect("a file is cut");
            Some(format!("cut to {length} of {used} bytes in use"))
        }
        Damage::Flip => {
            if end == 0 {
                return None;
            }
            let place = kind.place(end as u64, dice);
            let byte = bytes[place as usize] ^ (1 << dice.below(8)) as u8;
            file.write_all_at(&[byte], place).expect("a byte is written");
            Some(format!("byte {place} of {used} in use changed"))
        }
        Damage::Block => {
            let place = dice.below(end as u64 / 512 + 1) * 512;
            let length = 512.min(bytes.len().checked_sub(place as usize)?);
            if bytes[place as usize..place as usize + length].iter().all(|byte| *byte == 0) {
                return None;
            }
            file.write_all_at(&vec![0; length], place).expect("a block is written");
            Some(format!("{length} bytes at {place} of {used} in use are zeros"))
        }
    }
}

/// It says which file, and what to do.
fn is_clear(error: &StoreError, name: &str) -> bool {
    let text = error.to_string();
    let what_to_do = ["restore", "remove", "loyaltyd check", "Use the version", "start with"].iter().any(|word| text.contains(word));
    matches!(error, StoreError::Damaged(_) | StoreError::Newer(_)) && text.contains(name) && what_to_do
}

/// What a start after the damage does, and the one after it.
fn outcome(fixture: &Fixture, data: &Path, name: &str) -> Outcome {
    let store = match patiently(|| EmbeddedStore::open(data, options())) {
        Ok(store) => store,
        Err(error) => {
            assert!(is_clear(&error, name), "the refusal is not clear: {error}");
            return Outcome::Refused;
        }
    };
    // Commits at the end may be what was cut off, and are missing wholly then.
    let has_last = |world: &&World| {
        let last = world.requests.last().expect("there are requests");
        !matches!(store.request(&program_id(), &last.0), Ok(None))
    };
    let mut worlds = fixture.before.iter().chain([&fixture.world]).rev();
    let world = worlds.find(has_last).expect("not all is gone");
    let has_last = std::ptr::eq(world, &fixture.world);
    let last = world.requests.len();
    assert!(last >= fixture.known, "of {} requests that the tables had, {last} are there", fixture.known);
    for (request, _) in &fixture.world.requests[last..] {
        let found = store.request(&program_id(), request);
        assert!(matches!(found, Ok(None)), "what is gone is not the end alone: {found:?}");
    }
    let refused = world.refused(&store);
    // sled panics when it is closed after it failed.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
    if let Some(error) = refused.iter().find(|error| !matches!(error, StoreError::Tables(_))) {
        assert!(refused.iter().all(|error| is_clear(error, name) || matches!(error, StoreError::Tables(_))), "not clear: {error}");
        let found = patiently(|| check(data, &options()));
        assert!(found.is_err() || !found.as_ref().is_ok_and(|report| report.is_sound()), "a check finds nothing");
        return Outcome::AnswersRefused;
    }
    let mut world = world.clone();
    let store = patiently(|| EmbeddedStore::open(data, options())).expect("it opens again");
    assert_eq!(world.refused(&store).len(), 0, "what the tables could not answer is answered after the next start");
    world.decide(2, &purchase(9_999, 700, None)).expect("a purchase");
    world.commit(&store);
    world.check(&store);
    drop(store);
    if !is_long() && fixture.state == State::Killed && refused.is_empty() && has_last && name != "journal" {
        // The rest takes long, and is the same after a stop in order.
        return Outcome::Healed;
    }
    match patiently(|| check(data, &options())) {
        Ok(report) => assert!(report.is_sound(), "{:?}", report.differences),
        Err(error) => {
            assert!(is_clear(&error, name) && refused.is_empty() && has_last, "a check is not clear: {error}");
            return Outcome::FoundByCheck;
        }
    }
    match (has_last, refused.is_empty()) {
        (false, _) => Outcome::EndGone,
        (true, true) => Outcome::Healed,
        (true, false) => Outcome::HealedAtNextStart,
    }
}

fn one(fixture: &Fixture, relative: &Path, kind: Kind, how: Damage, told: &mut Told, dice: &mut Dice) -> Option<Outcome> {
    let copy = fixture.copy();
    let path = copy.path().join(relative);
    let original = fs::read(&path).expect("a file is read");
    told.0 = format!("{:?} {} {how:?}", fixture.state, relative.display());
    let done = damage(&path, kind, how, dice)?;
    told.0 += &format!(": {done}");
    let name = if relative.starts_with("journal") { "journal".into() } else { relative.to_string_lossy() };
    let outcome = outcome(fixture, copy.path(), &name);
    if matches!(outcome, Outcome::Refused | Outcome::AnswersRefused) {
        // Refusing changed nothing: with the file restored all is there.
        fs::write(&path, original).expect("the file is restored");
        let store =
            patiently(|| EmbeddedStore::open(copy.path(), options())).unwrap_or_else(|error| panic!("with the file restored: {error}"));
        fixture.world.check(&store);
    }
    Some(outcome)
}

#[test]
fn damage_is_healed_or_refused_and_never_answered_wrongly() {
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    let mut dice = Dice::child(seed, 2);
    let mut told = Told(String::new());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for state in [State::Stopped, State::Killed] {
        let fixture = Fixture::new(state, &mut dice);
        let mut paths = Vec::new();
        files(fixture.folder.path(), &mut paths);
        let relative: Vec<PathBuf> =
            paths.iter().map(|path| path.strip_prefix(fixture.folder.path()).expect("it is inside").to_owned()).collect();
        for (number, (path, kind)) in table::kinds(fixture.folder.path(), &relative, &mut dice).into_iter().enumerate() {
            for (place, how) in [Damage::Flip, Damage::Block, Damage::Cut, Damage::Delete].into_iter().enumerate() {
                // In the short form what is only made again is damaged in one of both states, in turn.
                let is_turn = (number + place) % 2 == usize::from(state == State::Stopped);
                let times = match (how, long) {
                    (_, false) => usize::from(is_turn || !kind.is_made_again()),
                    (Damage::Delete, true) => 1,
                    (_, true) => 12,
                };
                for _ in 0..times {
                    let Some(outcome) = one(&fixture, &path, kind, how, &mut told, &mut dice) else { continue };
                    assert!(expected(kind, how, state).contains(&outcome), "{outcome:?} is not what the table says");
                    *counts.entry(format!("{kind:?} {how:?} {state:?}: {outcome:?}")).or_default() += 1;
                }
            }
        }
    }
    counts.iter().for_each(|(what, count)| println!("{count:>5} {what}"));
    println!("{} damages: no wrong answer", counts.values().sum::<usize>());
}
