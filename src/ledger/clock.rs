//! The only place that reads the time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

/// By as much the machine's clock may go back, as clocks that are adjusted do, without the ledger's time going back.
const SMALL_STEP: SignedDuration = SignedDuration::from_secs(60);

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock, to the microsecond.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = Timestamp::now().as_microsecond();
        Timestamp::from_microsecond(micros).expect("an instant of the machine's clock is within the calendar")
    }
}

/// A clock that stands still until it is set: for tests and sandboxes.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_microsecond()))
    }

    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_microsecond(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).expect("the clock was set to an instant within the calendar")
    }
}

/// What the whole ledger goes by, reads and commits alike: what one of them has seen take effect has done so for the other. A clock that is
/// set back a little stands still for as long. One that is set back far had been wrong before, and is followed.
pub(super) struct SteadyClock {
    clock: Arc<dyn Clock>,
    /// The time that it told last, in microseconds.
    last: AtomicI64,
}

impl SteadyClock {
    /// `last`: of the latest commit, if there is one.
    pub fn new(clock: Arc<dyn Clock>, last: Option<Timestamp>) -> Self {
        Self { clock, last: AtomicI64::new(last.map_or(i64::MIN, Timestamp::as_microsecond)) }
    }

    pub fn now(&self) -> Timestamp {
        let mut is_certain = false;
        loop {
            let now = self.clock.now();
            let last = self.last.fetch_max(now.as_microsecond(), Ordering::SeqCst);
            let last = Timestamp::from_microsecond(last).unwrap_or(Timestamp::MIN).max(now);
            if last.duration_since(now) <= SMALL_STEP {
                return last;
            }
            // Who was held up between reading the clock and this reads it once more.
            if !std::mem::replace(&mut is_certain, true) {
                continue;
            }
            let (from, to) = (last.as_microsecond(), now.as_microsecond());
            if self.last.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                tracing::warn!(from = %last, to = %now, "the clock was set back; times of entries follow it");
                return now;
            }
        }
    }
}
