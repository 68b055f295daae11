//! What was counted.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::cli::client;

/// Latencies are kept up to here, in microseconds.
const LONGEST: u64 = 60_000_000;

/// What was counted between the warm-up and the end.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Purchases, members or calls that succeeded.
    pub done: u64,
    /// The same with what was answered before and after it was measured.
    pub all: u64,
    /// The same by the second in which they were answered.
    pub by_second: Vec<u64>,
    /// Of calls that succeeded, in microseconds.
    pub latency: Histogram<u64>,
    /// Of calls that were refused with RESOURCE_EXHAUSTED and a delay after which to come back.
    pub refusal: Histogram<u64>,
    /// By the code's name.
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    pub fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order");
        Self { done: 0, all: 0, by_second: Vec::new(), latency: histogram(), refusal: histogram(), errors: BTreeMap::new() }
    }

    pub fn done(&mut self, count: u64, after: Duration) {
        self.done += count;
        let second = usize::try_from(after.as_secs()).unwrap_or(usize::MAX).min(1 << 20);
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += count;
    }

    pub fn call(&mut self, took: Duration) {
        self.latency.saturating_record(microseconds(took));
    }

    pub fn error(&mut self, status: &Status, took: Duration) {
        if status.code() == Code::ResourceExhausted && retry_delay(status).is_some() {
            self.refusal.saturating_record(microseconds(took));
        }
        self.refused(status.code());
    }

    pub fn refused(&mut self, code: Code) {
        *self.errors.entry(client::code_name(code)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.all += other.all;
        if self.by_second.len() < other.by_second.len() {
            self.by_second.resize(other.by_second.len(), 0);
        }
        self.by_second.iter_mut().zip(&other.by_second).for_each(|(sum, count)| *sum += count);
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.refusal.add(&other.refusal).expect("both have the same bounds");
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// Rate of the first seconds.
    pub fn first(&self, seconds: usize) -> f64 {
        let counted = &self.by_second[..self.by_second.len().min(seconds)];
        counted.iter().sum::<u64>() as f64 / seconds.max(1) as f64
    }
}

/// When to come back, if the server said so.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LONGEST).max(1)
}
