//! A clock with which a test holds up the writer.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
};

use jiff::Timestamp;
use loyaltyd::ledger::{Clock, ManualClock};

use super::noon;

/// Stands still, and holds up the writer before it begins with what it took, as long as the gate is held.
pub struct Held {
    clock: ManualClock,
    gate: Mutex<()>,
}

impl Clock for Held {
    fn now(&self) -> Timestamp {
        if thread::current().name() == Some("writer") {
            let _through = self.gate.lock().unwrap();
        }
        self.clock.now()
    }
}

impl Held {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { clock: ManualClock::new(noon()), gate: Mutex::new(()) })
    }

    /// From now on, until what is given is dropped, or the test fails.
    pub fn hold(self: &Arc<Self>) -> Hold {
        let (held, hold) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let clock = Arc::clone(self);
        let holder = thread::spawn(move || {
            let _gate = clock.gate.lock().unwrap();
            held.send(()).unwrap();
            let _ = released.recv();
        });
        hold.recv().unwrap();
        Hold { release: Some(release), holder: Some(holder) }
    }
}

/// The writer begins with nothing.
pub struct Hold {
    release: Option<mpsc::Sender<()>>,
    holder: Option<thread::JoinHandle<()>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release.take();
        if let Some(holder) = self.holder.take() {
            holder.join().unwrap();
        }
    }
}
