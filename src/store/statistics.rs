//! What the service counts of itself: plain numbers, which whoever watches reads when asked. Counting costs a few additions, and never waits.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Totals;
use crate::domain::ProgramId;

/// Upper bounds of durations, in nanoseconds: 100 µs to 10 s.
pub const TIMES: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Upper bounds of how many there are in a group.
pub const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// How often a number was in which range. Its size is that of its bounds, whatever comes.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds: what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub bounds: &'static [u64],
    /// Of each range by itself; the last one is above all bounds.
    pub counts: Vec<u64>,
    pub sum: u64,
}

impl Histogram {
    /// Of numbers up to each of the bounds, which rise.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, number: u64) {
        let range = self.bounds.partition_point(|bound| *bound < number);
        self.counts[range].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    /// In nanoseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn seen(&self) -> Seen {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Seen { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl Seen {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What a store counts of itself. What a store does not have is 0.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// Durable commits, ever.
    pub commits: u64,
    pub journal_files: u64,
    /// Bytes of the journal's files, with what is allocated ahead.
    pub journal_bytes: u64,
    /// Bytes that were appended to the journal since the start.
    pub appended_bytes: u64,
    /// How long it took to make each commit durable, in nanoseconds.
    pub syncs: Seen,
    pub behind: Behind,
    /// Of each programme that has something stored.
    pub totals: Vec<(ProgramId, Totals)>,
}

/// How far what is looked up in is behind what is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    pub commits: u64,
    pub bytes: u64,
    /// Commits wait when there are more bytes.
    pub bound: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_in_the_first_range_that_holds_it() {
        let histogram = Histogram::new(&[10, 20]);
        for number in [0, 10, 11, 20, 21, 1_000] {
            histogram.observe(number);
        }
        let seen = histogram.seen();
        assert_eq!((seen.counts.as_slice(), seen.sum, seen.count()), ([2, 2, 2].as_slice(), 1_062, 6));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [TIMES, SIZES] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        }
    }
}
