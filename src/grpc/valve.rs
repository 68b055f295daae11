//! What keeps the service from being talked to death. To refuse a call costs little, but not nothing: who sends four times as many as can
//! be taken would have the processors refuse instead of record. So when the queue fills, connections that send much are read one after the
//! other, at a pace; what they send meanwhile waits with them, and HTTP/2 and TCP tell them to wait. Connections that send little, such as
//! a till or a probe of health, are read at once as ever.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::Gate;

/// One connection a turn: some thousand calls a second, of which the queue takes what it can.
const TURN: Duration = Duration::from_millis(2);
/// Who sent as much the last time sends much.
pub(super) const MUCH: usize = 2_048;

pub struct Valve {
    gate: Arc<Gate>,
    waiting: Mutex<VecDeque<oneshot::Sender<()>>>,
    /// Somebody waits.
    begins: Notify,
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
        let (turn, waits) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(turn);
        self.begins.notify_one();
        Some(waits)
    }

    /// Gives turns, for as long as it is polled. Without it nobody who waits would ever be read.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.begins.notified().await;
            while self.give() {
                tokio::time::sleep(TURN).await;
            }
        }
    }

    /// One turn, or all that wait if there is room again. False when nobody waits any more.
    fn give(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = if self.gate.is_crowded() { waiting.len().min(1) } else { waiting.len() };
        for turn in waiting.drain(..turns) {
            // The connection may have broken while it waited.
            let _ = turn.send(());
        }
        !waiting.is_empty()
    }
}
