//! How work that nobody waits for gives way to the work that somebody waits for: it is done in short portions with pauses between them, and
//! what it writes goes to the disk in small parts. Otherwise it takes a processor for seconds, and the kernel writes hundreds of megabytes
//! at once when it thinks fit, behind which the fsync of a commit waits.

use std::{
    fs::File,
    io, thread,
    time::{Duration, Instant},
};

/// Of work between two pauses. Shorter than what a thread that has become ready waits for anyway.
const PORTION: Duration = Duration::from_millis(1);
/// So that the work takes a quarter of a processor's time.
const PAUSE: Duration = Duration::from_millis(3);
/// Bytes written between two syncs: the disk is busy with them about as long as with a few commits.
const PART: usize = 256 << 10;
/// The same where there is a hurry: a sync costs more than the bytes, but there must be no more of them than the disk takes in a moment.
const URGENT_PART: usize = 8 << 20;

/// A piece of work.
pub(super) struct Background<'a> {
    /// Whether it must go on without pauses, when so many thousandths of it are done.
    is_urgent: &'a dyn Fn(usize) -> bool,
    was_urgent: bool,
    /// Steps that are done, and all of them.
    done: usize,
    all: usize,
    /// When the portion began.
    begun: Instant,
    unsynced: usize,
}

impl<'a> Background<'a> {
    pub(super) fn new(all: usize, is_urgent: &'a dyn Fn(usize) -> bool) -> Self {
        Self { is_urgent, was_urgent: false, done: 0, all: all.max(1), begun: Instant::now(), unsynced: 0 }
    }

    /// Somebody waits for it.
    pub(super) fn urgent() -> Self {
        Self { was_urgent: true, ..Self::new(1, &|_| true) }
    }

    /// After some steps of the work: makes a pause if it is time for one.
    pub(super) fn step(&mut self, steps: usize) {
        self.done += steps;
        if self.begun.elapsed() < PORTION {
            return;
        }
        self.was_urgent = (self.is_urgent)(self.done.saturating_mul(1000) / self.all);
        if !self.was_urgent {
            thread::sleep(PAUSE);
        }
        self.begun = Instant::now();
    }

    /// After bytes were written: syncs the file if it is time for that.
    pub(super) fn written(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.unsynced += bytes;
        let part = if self.was_urgent { URGENT_PART } else { PART };
        if self.unsynced < part {
            return Ok(());
        }
        self.unsynced = 0;
        file.sync_data()
    }
}
