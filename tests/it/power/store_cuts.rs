//! Cuts of power under the store, opened in this process, so that there can be many: at every fsync in turn, and at random moments, also
//! while it starts after the cut before.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use loyaltyd::store::{
    Commit, Store, StoreError,
    embedded::{EmbeddedStore, Options, check},
};

use super::{
    dice::Dice,
    disk::{Disk, Left},
    mount::{Drive, Moment, Mounted, Plan, can_mount},
};
use crate::support::{
    doings,
    histories::{World, forget, hours, program_id},
};

/// Small segments and a small bound: segments change and rows are written out all the time.
pub fn options() -> Options {
    Options { segment_bytes: 6 << 10, overlay_bytes: 4 << 10, sled_cache_bytes: 1 << 20, ..Options::default() }
}

/// From the environment, so that a run can be repeated, or by the clock.
pub fn seed() -> u64 {
    let given = env::var("LOYALTYD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64 % 1_000_000_000))
}

/// The long form of the tests of power and damage.
pub fn is_long() -> bool {
    env::var_os("LOYALTYD_TEST_LONG").is_some()
}

/// Histories, with what was acknowledged of them.
#[derive(Clone)]
pub struct Story {
    /// After the last commit that was acknowledged.
    acknowledged: World,
    /// After the one that was tried last.
    tried: World,
    /// It was tried, and the answer was an error.
    open: Option<Commit>,
    orders: u64,
    versions: u32,
}

impl Story {
    pub fn new() -> Self {
        let world = World::with_all();
        Self { acknowledged: world.clone(), tried: world, open: None, orders: 0, versions: 0 }
    }

    fn commit(&mut self, store: &dyn Store, commit: Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        self.open = Some(commit.clone());
        store.begin(&[])?.commit(commit)?;
        self.open = None;
        self.acknowledged = self.tried.clone();
        Ok(())
    }

    /// One commit, or another thing that happens to a store.
    pub fn step(&mut self, store: &dyn Store, dice: &mut Dice) -> Result<(), StoreError> {
        let world = &mut self.tried;
        world.now += SignedDuration::from_secs(1);
        let members = world.members.len() as u8;
        match dice.below(16) {
            0 | 1 if members < 60 => doings::comes(world, members + 1),
            2 => return store.flush(),
            3 => {
                self.versions += 1;
                let publication = world.publication(self.versions);
                return self.commit(store, publication);
            }
            4 => world.now += hours(dice.below(30) as i64),
            5 if members > 6 => {
                let gone = doings::somebody(world, dice).expect("some are there");
                doings::goes(world, gone, dice);
            }
            _ if members > 0 => {
                for _ in 0..=dice.below(4) {
                    self.orders += 1;
                    let Some(member) = doings::somebody(world, dice) else { break };
                    let command = doings::anything(world, member, self.orders, dice);
                    // What the member cannot do is refused and leaves nothing.
                    let _ = world.decide(member, &command);
                }
            }
            _ => {}
        }
        let commit = self.tried.take();
        self.commit(store, commit)
    }

    /// Everything acknowledged is there; what was not is there whole or not at all.
    pub fn verify(&mut self, store: &dyn Store) {
        if let Some(open) = self.open.take() {
            let found = open.publications.iter().map(|publication| is_published(store, publication)).chain(
                open.members.iter().flat_map(|change| &change.entries).map(|entry| {
                    let entries = store.entries(&entry.key, entry.sequence, entry.sequence).expect("entries are read");
                    // What was personal of who was erased is gone from it.
                    let mut forgotten = entry.clone();
                    forget(&mut forgotten);
                    entries.first().is_some_and(|found| found == entry || *found == forgotten)
                }),
            );
            let found: Vec<bool> = found.collect();
            assert!(found.iter().all(|there| *there == found[0]), "half of a commit is there: {found:?}");
            if found[0] {
                self.acknowledged = self.tried.clone();
            } else {
                let known = self.acknowledged.requests.len();
                for (request, _) in &self.tried.requests[known..] {
                    assert_eq!(store.request(&program_id(), request).expect("a request is read"), None);
                }
                self.tried = self.acknowledged.clone();
            }
        } else {
            self.tried = self.acknowledged.clone();
        }
        self.acknowledged.check(store);
    }
}

fn is_published(store: &dyn Store, publication: &loyaltyd::store::Publication) -> bool {
    store.publications().expect("publications are read").contains(publication)
}

/// A process that another test is just starting holds every lock of this one for an instant, until it becomes another program.
pub fn patiently<T>(work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let since = Instant::now();
    loop {
        match work() {
            Err(StoreError::InUse(_)) if since.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            other => return other,
        }
    }
}

fn open(folder: &Path) -> Result<EmbeddedStore, StoreError> {
    patiently(|| EmbeddedStore::open(folder, options()))
}

/// Lives until all is done or the power is off. What a process does without power is nobody's business: sled panics.
fn live_through(story: &mut Story, mounted: &Mounted, steps: u64, dice: &mut Dice) {
    match catch_unwind(AssertUnwindSafe(|| live(story, mounted, steps, dice))) {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) if mounted.drive().is_off => {}
        Ok(Err(error)) => panic!("with power on: {error}"),
        Err(panic) => resume_unwind(panic),
    }
}

/// Opens, works, stops and opens again.
pub fn live(story: &mut Story, mounted: &Mounted, steps: u64, dice: &mut Dice) -> Result<(), StoreError> {
    for part in 0..2 {
        let store = open(&mounted.data())?;
        if story.open.is_some() {
            // Looking is not disturbed; what it finds decides how the story goes on.
            let cut = mounted.drive().plan.cut.take();
            if mounted.drive().is_off {
                return Ok(());
            }
            story.verify(&store);
            mounted.drive().plan.cut = cut;
        }
        for _ in 0..steps / 2 {
            story.step(&store, dice)?;
        }
        if part == 0 {
            // In order, as SIGTERM does.
            store.flush()?;
        }
    }
    Ok(())
}

/// What is found after a cut opens, is right, goes on, and passes the check.
pub fn recover(story: &mut Story, disk: Disk, dice: &mut Dice) -> Mounted {
    let mounted = Mounted::new(Drive::new(disk));
    let store = open(&mounted.data()).unwrap_or_else(|error| panic!("it does not open after the cut: {error}"));
    story.verify(&store);
    for _ in 0..3 {
        story.step(&store, dice).expect("writing goes on");
    }
    story.verify(&store);
    drop(store);
    let report = patiently(|| check(&mounted.data(), &options())).expect("the journal is whole");
    assert!(report.is_sound(), "{:?}", report.differences);
    mounted
}

pub struct Told(pub String);

/// Says what led to a failure.
impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// Tables that are marked as clean are those that readers saw, at any moment. True: they were so marked.
fn clean_tables_are_durable(disk: &Disk, dice: &mut Dice) -> bool {
    let is_table = |path: &String| path.contains("/tables/") && !path.contains("CHECKPOINT");
    let mut durable = disk.after_cut(Left::Nothing, dice).files();
    let is_clean = durable.get("data/tables/CHECKPOINT").is_some_and(|mark| mark.starts_with(b"clean"));
    if is_clean {
        let mut seen = disk.files();
        seen.retain(|path, _| is_table(path));
        durable.retain(|path, _| is_table(path));
        let differ: Vec<&String> = seen.keys().filter(|path| durable.get(*path) != seen.get(*path)).collect();
        assert!(durable == seen, "the tables are marked as clean, but {differ:?} would not be what they are after a cut");
    }
    is_clean
}

/// Gives the number of fsyncs, and whether the tables were clean at the cut.
fn cut_at(moment: Option<Moment>, (seed, steps): (u64, u64), left: Left) -> (u64, bool) {
    let mut dice = Dice(seed);
    let mut story = Story::new();
    let mounted = Mounted::new(Drive { plan: Plan { cut: moment, ..Plan::default() }, ..Drive::default() });
    live_through(&mut story, &mounted, steps, &mut dice);
    let drive = mounted.drive();
    let _told = Told(format!("seed {seed}, {steps} steps, cut at {moment:?}, left {left:?}; before it:\n{}", drive.told()));
    let syncs = drive.syncs;
    let was_clean = clean_tables_are_durable(&drive.disk, &mut dice);
    let disk = drive.disk.after_cut(left, &mut dice);
    drop(drive);
    drop(mounted);
    recover(&mut story, disk, &mut dice);
    (syncs, was_clean)
}

const WHAT: &str = "that nothing acknowledged is lost when the power is cut";

#[test]
fn power_is_cut_at_every_fsync() {
    if !can_mount(WHAT) {
        return;
    }
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    // A story of few changes goes on for longer.
    let lived = [40, 60, 80, 120].map(|steps| (steps, move || cut_at(None, (seed, steps), Left::Everything).0));
    let enough = lived.into_iter().map(|(steps, syncs)| (steps, syncs())).find(|(_, syncs)| *syncs > 60);
    let (steps, syncs) = enough.expect("120 steps have more than 60 fsyncs");
    let mut dice = Dice::child(seed, 0);
    let (mut cuts, mut clean) = (0, 0);
    for number in 0..syncs {
        for moment in [Moment::BeforeSync(number), Moment::AfterSync(number)] {
            if long || dice.below(5) == 0 {
                let (_, was_clean) = cut_at(Some(moment), (seed, steps), dice.one_of(&Left::ALL));
                cuts += 1;
                clean += u64::from(was_clean);
            }
        }
    }
    println!("{cuts} cuts at {syncs} fsyncs, {clean} of them with clean tables: nothing lost");
}

#[test]
fn power_is_cut_again_and_again() {
    if !can_mount(WHAT) {
        return;
    }
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    let (stories, cuts) = if long { (40, 10) } else { (4, 5) };
    let (mut early, mut kills) = (0, 0);
    for number in 0..stories {
        let mut dice = Dice::child(seed, number);
        let mut story = Story::new();
        let mut told = Told(format!("seed {seed}, story {number}"));
        let mut disk = Disk::default();
        for _ in 0..cuts {
            let bound = dice.one_of(&[60, 600, 600]);
            let cut = Moment::BeforeOperation(dice.below(bound));
            let left = dice.one_of(&Left::ALL);
            let mounted = Mounted::new(Drive { plan: Plan { cut: Some(cut), ..Plan::default() }, ..Drive::new(disk) });
            live_through(&mut story, &mounted, 60, &mut dice);
            if dice.below(2) == 0 {
                // Only the process ended so far: its successor sees all that the kernel has. Then the power is cut.
                let drive = &mut *mounted.drive();
                drive.plan.cut = Some(Moment::BeforeOperation(drive.operations + dice.below(bound)));
                drive.is_off = false;
                kills += 1;
            }
            live_through(&mut story, &mounted, 60, &mut dice);
            mounted.switch_off();
            let drive = mounted.drive();
            told.0 = format!("seed {seed}, story {number}, cut at {cut:?}, left {left:?}; before it:\n{}", drive.told());
            clean_tables_are_durable(&drive.disk, &mut dice);
            early += u64::from(drive.syncs < 10);
            disk = drive.disk.after_cut(left, &mut dice);
            drop(drive);
            drop(mounted);
            // Half of the time the next cut may come while the store starts.
            if dice.below(2) == 0 {
                let recovered = recover(&mut story, disk, &mut dice);
                disk = std::mem::take(&mut recovered.drive().disk);
            }
        }
        recover(&mut story, disk, &mut dice);
    }
    println!("{} cuts, {kills} of them after a kill, {early} while the store was made or started: nothing lost", stories * cuts);
}
