//! Log lines that strangers can cause: the first at once, of the others how many there were, so that nobody fills the log.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Seldom(Mutex<State>);

#[derive(Default)]
struct State {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Says so if it has not for a while, and how many were passed over since.
    pub fn warn(&self, what: impl Display) {
        match self.due(Instant::now()) {
            None => {}
            Some(0) => tracing::warn!("{what}"),
            Some(unsaid) => tracing::warn!("{what} ({unsaid} more of this kind since the line before)"),
        }
    }

    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            state.unsaid += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_are_counted() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due(start), Some(0));
        assert_eq!(seldom.due(start), None);
        assert_eq!(seldom.due(start + EVERY / 2), None);
        assert_eq!(seldom.due(start + EVERY), Some(2));
        assert_eq!(seldom.due(start + 3 * EVERY), Some(0));
    }
}
