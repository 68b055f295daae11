//! What keeps the service from being talked to death. To refuse a call costs little, but not nothing: who sends four times as many as can
//! be taken would have the processors refuse instead of record. So while half of the queue is taken, connections that send much are read
//! in turn, at a pace; what they send meanwhile waits with them, and HTTP/2 and TCP tell them to wait. Connections that send little, such as
//! a till or a probe of health, are read at once as ever.
//!
//! - Nobody waits longer than [`LONGEST`] turns, 100 ms, for one, however many there are, as long as the service gets its processors: where
//!   more wait, more are read each turn. By as much a call may be looked at later, a ping of HTTP/2 answered later, and a deadline of a
//!   call begin later, for a server counts it from where it has read of it.
//! - The server never idles for it: what half a queue holds is more than is done in a turn, and as soon as less is taken, all who wait are
//!   read at once.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::interval,
};

use super::Gate;

/// One connection a turn, as long as not more than [`LONGEST`] wait: some thousand calls a second, of which the queue takes what it can.
const TURN: Duration = Duration::from_millis(2);
/// Turns that a connection waits at most.
const LONGEST: usize = 50;
/// Who sent as much the last time sends much.
pub(super) const MUCH: usize = 2_048;

pub struct Valve {
    gate: Arc<Gate>,
    waiting: Mutex<Waiting>,
    /// Somebody waits.
    begins: Notify,
}

/// Connections that wait to be read, in the order in which they came.
#[derive(Default)]
struct Waiting {
    connections: VecDeque<oneshot::Sender<()>>,
    /// Read each turn. It only grows while somebody waits, so that each is read within [`LONGEST`] turns, whoever comes behind it.
    pace: usize,
    /// Nobody gives turns any more.
    has_ended: bool,
}

impl Valve {
    pub fn new(gate: &Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { gate: Arc::clone(gate), waiting: Mutex::default(), begins: Notify::new() })
    }

    /// A turn to wait for, if it is not the time to read from those who send much.
    pub(super) fn turn(&self) -> Option<oneshot::Receiver<()>> {
        if !self.gate.is_crowded() {
            return None;
        }
        let turn = self.waiting().join()?;
        self.begins.notify_one();
        Some(turn)
    }

    /// Gives turns, for as long as it is polled; whoever waits when it is dropped is let through. Before it is polled nobody is.
    pub async fn run(&self) -> Infallible {
        let _end = End(self);
        loop {
            self.begins.notified().await;
            // Turns that come late, on a machine that is short of processors, are made up for.
            let mut turns = interval(TURN);
            loop {
                let is_turn = tokio::select! {
                    _ = turns.tick() => true,
                    () = self.gate.relieved() => false,
                };
                let is_crowded = self.gate.is_crowded();
                if is_turn || !is_crowded {
                    self.waiting().give(is_crowded);
                }
                if self.waiting().connections.is_empty() {
                    break;
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn join(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.has_ended {
            return None;
        }
        let (turn, waits) = oneshot::channel();
        self.connections.push_back(turn);
        self.pace = self.pace.max(self.connections.len().div_ceil(LONGEST));
        Some(waits)
    }

    /// One turn; all who wait, if there is room again.
    fn give(&mut self, is_crowded: bool) {
        let mut left = if is_crowded { self.pace } else { usize::MAX };
        while left > 0
            && let Some(turn) = self.connections.pop_front()
        {
            // A connection that broke while it waited takes nobody's turn.
            left -= usize::from(turn.send(()).is_ok());
        }
        if self.connections.is_empty() {
            self.pace = 0;
        }
    }
}

/// Lets everybody through.
struct End<'v>(&'v Valve);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.waiting() = Waiting { has_ended: true, ..Waiting::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::{Receiver, error::TryRecvError};

    fn joined(waiting: &mut Waiting, count: usize) -> Vec<Receiver<()>> {
        (0..count).map(|_| waiting.join().expect("turns are given")).collect()
    }

    /// How many were let through, who are the first.
    fn through(turns: &mut [Receiver<()>]) -> usize {
        let through: Vec<bool> = turns.iter_mut().map(|turn| turn.try_recv().is_ok()).collect();
        let first = through.iter().take_while(|it| **it).count();
        assert!(!through[first..].contains(&true), "they are read in their order: {through:?}");
        turns.rotate_left(first);
        first
    }

    #[test]
    fn a_few_who_wait_are_read_one_a_turn_and_in_their_order() {
        let mut waiting = Waiting::default();
        let mut turns = joined(&mut waiting, LONGEST);
        assert_eq!(through(&mut turns), 0);
        for left in (1..=LONGEST).rev() {
            waiting.give(true);
            assert_eq!(through(&mut turns[..left]), 1);
        }
        assert!(waiting.connections.is_empty());
    }

    #[test]
    fn however_many_wait_nobody_waits_longer_than_the_longest() {
        let mut waiting = Waiting::default();
        for count in [1, 51, 999, 1_000, 10_000] {
            let mut turns = joined(&mut waiting, count);
            // Those who come behind them, and go before they are read, change nothing.
            for turn in 0..LONGEST {
                waiting.give(true);
                let late = joined(&mut waiting, turn % 3);
                drop(late);
            }
            assert!(turns.iter_mut().all(|turn| turn.try_recv().is_ok()), "{count}");
            waiting.give(false);
        }
        let mut turns = joined(&mut waiting, 2);
        waiting.give(true);
        assert_eq!(through(&mut turns), 1, "the pace is that of few again");
    }

    #[test]
    fn all_are_read_when_there_is_room_again() {
        let mut waiting = Waiting::default();
        let mut turns = joined(&mut waiting, 300);
        waiting.give(false);
        assert_eq!(through(&mut turns), 300);
    }

    #[test]
    fn who_broke_off_takes_nobodys_turn() {
        let mut waiting = Waiting::default();
        let mut turns = joined(&mut waiting, 3);
        drop(turns.remove(0));
        waiting.give(true);
        assert_eq!(through(&mut turns), 1);
    }

    #[tokio::test]
    async fn who_waits_is_let_through_by_the_task_and_when_it_ends() {
        // A gate without a ledger is never crowded: there is room.
        let valve = Valve::new(&Arc::new(Gate::default()));
        assert!(valve.turn().is_none(), "there is nothing to wait for");
        let mut turns = joined(&mut valve.waiting(), 10);
        let task = {
            let valve = Arc::clone(&valve);
            tokio::spawn(async move { valve.run().await })
        };
        valve.begins.notify_one();
        for turn in &mut turns {
            turn.await.expect("it is given");
        }
        let mut late = joined(&mut valve.waiting(), 1);
        assert_eq!(late[0].try_recv(), Err(TryRecvError::Empty));
        task.abort();
        assert!(task.await.expect_err("it runs for ever").is_cancelled());
        assert_eq!(late[0].try_recv(), Err(TryRecvError::Closed), "a connection takes that as its turn");
        assert!(valve.waiting().join().is_none(), "nobody waits any more");
    }
}
