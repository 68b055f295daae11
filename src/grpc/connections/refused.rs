//! How many connections were ended before they were served, and why.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// So many are open.
    Connections,
    /// So many are open from its address.
    Address,
    /// So many have not begun.
    Handshakes,
    /// TLS could not be agreed on, or its certificate is refused.
    Tls,
    /// It was not ready in time.
    Late,
    /// The system had no file or memory for it.
    System,
}

const ALL: [Why; 6] = [Why::Connections, Why::Address, Why::Handshakes, Why::Tls, Why::Late, Why::System];

impl Why {
    /// As metrics have it: where a flag sets the bound, its name.
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Address => "max_connections_per_address",
            Self::Handshakes => "max_handshakes",
            Self::Tls => "tls",
            Self::Late => "handshake_seconds",
            Self::System => "system",
        }
    }
}

/// Counted since the listener was opened.
#[derive(Debug, Default)]
pub struct Refused([AtomicU64; ALL.len()]);

impl Refused {
    pub(super) fn count(&self, why: Why) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// By the name of the reason, each of them.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        ALL.iter().map(|why| (why.name(), self.0[*why as usize].load(Ordering::Relaxed))).collect()
    }
}
