//! Cuts of power under a backup that is being written: what is there afterwards is gone on from, and ends as the whole backup.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loyaltyd::store::{
    Store, StoreError,
    embedded::{Backup, BackupPlace, EmbeddedStore, verify},
};

use super::{
    dice::Dice,
    disk::Left,
    mount::{Drive, Moment, Mounted, Plan, can_mount},
    store_cuts::{Story, Told, is_long, options, patiently, seed},
};

/// Runs of the backup, between which the store goes on.
const RUNS: usize = 3;

/// The store is beside the drive: the power of its machine stays on.
struct Shop {
    _folder: tempfile::TempDir,
    store: EmbeddedStore,
    story: Story,
}

impl Shop {
    fn open(dice: &mut Dice) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = patiently(|| EmbeddedStore::open(folder.path(), options())).expect("the store opens");
        let mut shop = Self { _folder: folder, store, story: Story::new() };
        shop.work(60, dice);
        shop
    }

    fn work(&mut self, steps: u64, dice: &mut Dice) {
        for _ in 0..steps {
            self.story.step(&self.store, dice).expect("the store's disk does not fail");
        }
    }

    fn back_up(&self, mounted: &Mounted) -> Result<(), StoreError> {
        let mut backup = patiently(|| Backup::open(&mounted.data(), None, true))?;
        let mut source = self.store.backup(backup.held().clone())?;
        while let Some(part) = source.next()? {
            backup.store(part)?;
        }
        assert!(backup.is_whole());
        Ok(())
    }

    /// The last commit that a backup holds is the last one of the store.
    fn is_in(&self, mounted: &Mounted) {
        let place = BackupPlace { folder: &mounted.data(), keys: None, operator_key: None };
        let found = verify(&place).unwrap_or_else(|error| panic!("the backup is not whole: {error}"));
        let held = Backup::open(&mounted.data(), None, true).expect("the backup opens").held().clone();
        assert_eq!((found.commits, found.torn_bytes), (held.last.0, 0));
        let mut rest = self.store.backup(held).expect("the backup is of this store");
        while let Some(part) = rest.next().expect("the store is read") {
            assert!(!matches!(part, loyaltyd::store::backup::Part::Journal { .. }), "the backup lacks a part of the journal");
        }
    }
}

/// Gives the number of fsyncs of all runs together.
fn cut_at(moment: Option<Moment>, seed: u64, left: Left) -> u64 {
    let mut dice = Dice(seed);
    let mut shop = Shop::open(&mut dice);
    let mounted = Mounted::new(Drive { plan: Plan { cut: moment, ..Plan::default() }, ..Drive::default() });
    let mut told = Told(format!("seed {seed}, cut at {moment:?}, left {left:?}"));
    for _ in 0..RUNS {
        let run = catch_unwind(AssertUnwindSafe(|| shop.back_up(&mounted)));
        assert!(mounted.drive().is_off || matches!(run, Ok(Ok(()))), "with power on: {run:?}");
        if mounted.drive().is_off {
            break;
        }
        shop.work(12, &mut dice);
    }
    told.0 += &format!("; before it:\n{}", mounted.drive().told());
    let syncs = mounted.drive().syncs;
    let disk = mounted.drive().disk.after_cut(left, &mut dice);
    drop(mounted);
    let mounted = Mounted::new(Drive::new(disk));
    shop.back_up(&mounted).unwrap_or_else(|error| panic!("the backup does not go on after the cut: {error}"));
    shop.is_in(&mounted);
    shop.work(3, &mut dice);
    shop.back_up(&mounted).expect("the next run goes on as well");
    shop.is_in(&mounted);
    syncs
}

#[test]
fn power_is_cut_at_every_fsync_of_a_backup() {
    if !can_mount("that a backup goes on after the power was cut while it was written") {
        return;
    }
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    let syncs = cut_at(None, seed, Left::Everything);
    assert!(syncs > 20, "{syncs}");
    let mut dice = Dice::child(seed, 0);
    let mut cuts = 0;
    for number in 0..syncs {
        for moment in [Moment::BeforeSync(number), Moment::AfterSync(number)] {
            if long || dice.below(6) == 0 {
                cut_at(Some(moment), seed, dice.one_of(&Left::ALL));
                cuts += 1;
            }
        }
    }
    println!("{cuts} cuts at {syncs} fsyncs of a backup: each went on and was whole");
}
