//! What stands between the services and the ledger: closed while the store is opened, open while the service serves, closed again when it
//! stops.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{request_memory::RequestMemory, server::About, status::Refusal};
use crate::ledger::{Ledger, Queue};

/// Unless something else is said.
const STALL: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    Stopping,
}

/// What callers are told of the service as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// The ledger is being read.
    Reading,
    Serving,
    Stopping,
}

pub struct Gate {
    about: OnceLock<About>,
    ledger: OnceLock<Ledger>,
    state: watch::Sender<State>,
    stall: Duration,
    memory: Arc<RequestMemory>,
}

impl Default for Gate {
    fn default() -> Self {
        let state = watch::Sender::new(State::Serving);
        Self { about: OnceLock::new(), ledger: OnceLock::new(), state, stall: STALL, memory: Arc::default() }
    }
}

impl Gate {
    /// With what it tells of the server.
    pub fn of(about: About) -> Self {
        Self { about: OnceLock::from(about), ..Self::default() }
    }

    /// For which a caller may take nothing of a long answer.
    pub fn with_stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// For messages of requests.
    pub fn with_memory(self, memory: RequestMemory) -> Self {
        Self { memory: Arc::new(memory), ..self }
    }

    pub fn memory(&self) -> &Arc<RequestMemory> {
        &self.memory
    }

    /// Hands a part of a long answer on. `Ok(false)`: nobody listens any more.
    pub(super) async fn send<T>(&self, answer: &mpsc::Sender<T>, part: T) -> Result<bool, Refusal> {
        match tokio::time::timeout(self.stall, answer.send(part)).await {
            Ok(sent) => Ok(sent.is_ok()),
            Err(_) => Err(Refusal::stalled(self.stall)),
        }
    }

    pub(super) fn about(&self) -> Option<&About> {
        self.about.get()
    }

    pub fn state(&self) -> ServerState {
        match (*self.state.borrow(), self.ledger.get()) {
            (State::Stopping, _) => ServerState::Stopping,
            (State::Serving, Some(_)) => ServerState::Serving,
            (State::Serving, None) => ServerState::Reading,
        }
    }

    /// Of the process; `None`: nobody has told.
    pub fn start_time(&self) -> Option<jiff::Timestamp> {
        Some(self.about()?.start_time)
    }

    /// The ledger once it is read, whether or not calls are let through to it.
    pub fn opened(&self) -> Option<&Ledger> {
        self.ledger.get()
    }

    /// Lets calls through to the ledger. The first ledger stays.
    pub fn open(&self, ledger: Ledger) {
        let _ = self.ledger.set(ledger);
    }

    /// Lets no new call through; those under way go on.
    pub fn close(&self) {
        self.state.send_replace(State::Stopping);
    }

    pub(super) fn ledger(&self) -> Result<&Ledger, Refusal> {
        if *self.state.borrow() == State::Stopping {
            return Err(Refusal::stopping());
        }
        self.ledger.get().ok_or_else(Refusal::starting)
    }

    /// The ledger's queue takes no more purchases now.
    pub(super) fn is_full(&self) -> bool {
        self.ledger.get().is_some_and(Ledger::is_full)
    }

    /// An empty one as long as there is no ledger.
    pub(super) fn queue(&self) -> Queue {
        self.ledger.get().map(Ledger::queue).unwrap_or_default()
    }

    /// Returns when commands have left the queue, perhaps some time ago.
    pub(super) async fn relieved(&self) {
        match self.ledger.get() {
            Some(ledger) => ledger.relieved().await,
            None => std::future::pending().await,
        }
    }

    /// Returns when the service stops: a stream ends then.
    pub(super) async fn closed(&self) {
        // The sender lives in this gate, so that waiting cannot fail.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Stopping).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_a_long_answer_is_given_up() {
        let gate = Gate::default().with_stall(Duration::from_secs(7));
        let (answer, mut answers) = mpsc::channel(1);
        assert_eq!(gate.send(&answer, 1).await.ok(), Some(true));
        let begun = tokio::time::Instant::now();
        assert_eq!(gate.send(&answer, 2).await.expect_err("nobody takes the first").reason(), "STALLED");
        assert_eq!(begun.elapsed().as_secs(), 7);
        assert_eq!(answers.recv().await, Some(1));
        assert_eq!(gate.send(&answer, 3).await.ok(), Some(true), "who takes something has time again");
        drop(answers);
        assert_eq!(gate.send(&answer, 4).await.ok(), Some(false));
    }
}
