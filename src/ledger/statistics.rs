//! What the ledger counts of itself, and what it can say of its programmes when somebody asks.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::{BULK_BOUND, Ledger, LedgerError, Queue, schedule::Passed};
use crate::{
    domain::ProgramId,
    store::{
        self, Histogram, Seen, Totals,
        statistics::{SIZES, TIMES},
    },
};

/// Members with something due that are counted, at most: to count is not to cost more than to do it.
const MAX_DUE: usize = 100_000;
/// Of these at once: commits wait as long.
const DUE_PAGE: usize = 500;

/// What the writer counts.
#[derive(Debug)]
pub(super) struct Counters {
    /// How long commands were in the queue before the writer took them.
    pub waits: Histogram,
    /// Commands decided in each commit that had any.
    pub commands: Histogram,
    /// How long each commit took, from the store's side.
    pub commits: Histogram,
    entries: AtomicU64,
    /// Commits that there was no space for.
    no_space: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let (entries, no_space) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { waits: Histogram::new(TIMES), commands: Histogram::new(SIZES), commits: Histogram::new(TIMES), entries, no_space }
    }
}

impl Counters {
    pub fn committed(&self, commands: usize, entries: usize, took: Duration) {
        if commands > 0 {
            self.commands.observe(commands as u64);
        }
        self.commits.observe_time(took);
        self.entries.fetch_add(entries as u64, Ordering::Relaxed);
    }

    pub fn refused_for_space(&self) {
        self.no_space.fetch_add(1, Ordering::Relaxed);
    }
}

/// The ledger as it stands. Durations are in nanoseconds.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Commands sent one by one.
    pub queue: Queue,
    /// Commands sent together, and what is due by time.
    pub bulk: Queue,
    pub waits: Seen,
    pub commands: Seen,
    pub commits: Seen,
    /// Written since the start.
    pub entries: u64,
    /// Commits that were refused since the start because the disk was full.
    pub no_space: u64,
    /// How long what is due has waited that has waited longest; `None`: nothing is due.
    pub oldest_due: Option<Duration>,
    pub programs: Vec<ProgramStatistics>,
    pub store: store::Statistics,
}

/// A programme as it stands.
#[derive(Debug, Clone)]
pub struct ProgramStatistics {
    pub program: ProgramId,
    /// The version in effect.
    pub version: u32,
    /// Of the points: as many digits are behind the point.
    pub digits: u32,
    pub totals: Totals,
    /// Members with something due that is not entered yet; of all programmes not more than 100,000 are counted.
    pub due: u64,
}

/// Members with something due, by programme, and since when the first has.
type Backlog = (BTreeMap<ProgramId, u64>, Option<Duration>);

impl Ledger {
    /// Reads the store where that is needed, beside the writer: for a thread that may wait.
    pub fn statistics(&self) -> Result<Statistics, LedgerError> {
        let (mut due, oldest_due) = self.backlog()?;
        let store = self.0.store.statistics();
        let totals: BTreeMap<_, _> = store.totals.iter().cloned().collect();
        let mut programs = Vec::new();
        for id in self.programs() {
            let program = self.program(&id)?;
            let (version, digits) = (program.newest().version, program.newest().points_precision);
            let (totals, due) = (totals.get(&id).copied().unwrap_or_default(), due.remove(&id).unwrap_or_default());
            programs.push(ProgramStatistics { program: id, version, digits, totals, due });
        }
        let counters = &self.0.counters;
        let taken = BULK_BOUND.saturating_sub(self.0.bulk.available_permits()) as u64;
        Ok(Statistics {
            queue: self.queue(),
            bulk: Queue { bound: BULK_BOUND as u64, taken, entered: 0 },
            waits: counters.waits.seen(),
            commands: counters.commands.seen(),
            commits: counters.commits.seen(),
            entries: counters.entries.load(Ordering::Relaxed),
            no_space: counters.no_space.load(Ordering::Relaxed),
            oldest_due,
            programs,
            store,
        })
    }

    /// From where the schedule is: what it has passed is done, but for those it counts, and rows of that are in the way until they are written
    /// out.
    fn backlog(&self) -> Result<Backlog, LedgerError> {
        let now = self.now();
        let passed = self.0.passed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // By a clock that was set back it begins anew.
        let Passed { mut after, stuck } = if passed.after.as_ref().is_some_and(|due| due.time > now) { Passed::default() } else { passed };
        let waited = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let (mut members, mut oldest, mut counted) = (stuck.members, stuck.oldest.map(waited), 0);
        while counted < MAX_DUE {
            let page = self.0.store.due(now, after.as_ref(), DUE_PAGE)?;
            let (is_last, length) = (page.len() < DUE_PAGE, page.len());
            for due in page {
                oldest = oldest.or_else(|| Some(waited(due.time)));
                *members.entry(due.key.program.clone()).or_default() += 1;
                after = Some(due);
            }
            counted += length;
            if is_last {
                break;
            }
        }
        Ok((members, oldest))
    }
}
