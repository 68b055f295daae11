//! What stands between the services and the ledger: closed while the store is opened, open while the service serves, closed again when it
//! stops.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::status::Refusal;
use crate::ledger::{Ledger, Queue};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    Stopping,
}

pub struct Gate {
    ledger: OnceLock<Ledger>,
    state: watch::Sender<State>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { ledger: OnceLock::new(), state: watch::Sender::new(State::Serving) }
    }
}

impl Gate {
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
