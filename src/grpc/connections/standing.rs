//! What the service thinks of a connection: whether a call on it had a credential that was accepted, and how often one had none. Who is at
//! the door judges the calls; the connection looks here whether it is to go on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Calls in a row without a good credential, after which a connection ends.
const MAX_REFUSALS: u32 = 100;

#[derive(Debug, Default)]
pub struct Standing {
    is_known: AtomicBool,
    /// Since a credential was accepted last.
    refusals: AtomicU32,
    /// Calls that may stay for as long as they like.
    watches: AtomicU32,
}

/// A call that watches health.
pub struct Watching(Arc<Standing>);

impl Standing {
    pub fn accepted(&self) {
        self.is_known.store(true, Ordering::Relaxed);
        self.refusals.store(0, Ordering::Relaxed);
    }

    pub fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Until what is given is dropped.
    pub fn watch(self: &Arc<Self>) -> Watching {
        self.watches.fetch_add(1, Ordering::Relaxed);
        Watching(Arc::clone(self))
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    pub(super) fn is_watching(&self) -> bool {
        self.watches.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_refused_too_often(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) >= MAX_REFUSALS
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_in_a_row_are_too_many() {
        let standing = Standing::default();
        (1..MAX_REFUSALS).for_each(|_| standing.refused());
        assert!(!standing.is_refused_too_often() && !standing.is_known());
        standing.accepted();
        (1..MAX_REFUSALS).for_each(|_| standing.refused());
        assert!(!standing.is_refused_too_often() && standing.is_known());
        standing.refused();
        assert!(standing.is_refused_too_often());
    }
}
