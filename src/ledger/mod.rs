//! The imperative shell round the domain: [`Ledger::submit`] for commands, and queries. Cheap to clone.

mod clock;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    contract::{Violation, v1},
    domain::{
        ActorId, Command, Decision, Entry, Identifier, Lot, LotKey, Member, MemberId, MemberKey, OrderKey, ProgramHistory, ProgramId,
        Purchase, Rejection, Request,
    },
    store::{Store, StoreError},
};

pub use clock::{Clock, ManualClock, SystemClock};

/// A command for a member, as it enters the queue.
#[derive(Debug, Clone)]
pub struct Submission {
    pub program: Arc<ProgramHistory>,
    pub member: MemberTarget,
    pub request: Request,
    pub actor: Option<ActorId>,
    pub command: Command,
}

/// Which member a command or query is for.
#[derive(Debug, Clone)]
pub enum MemberTarget {
    /// Enrolment: a new one.
    New,
    Id(MemberId),
    Identifier(Identifier),
}

/// What a command led to: the same the first time and every time it is repeated.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub key: MemberKey,
    /// Those that carry the request, in their order; never empty.
    pub entries: Vec<Entry>,
    /// The state right after them. `None` for purchases and adjustments, whose answers the entries hold.
    pub member: Option<Member>,
}

#[derive(Debug, Clone)]
pub struct Published {
    /// With version and publish time.
    pub document: v1::Program,
    pub changed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("there is no programme {program}; publish its rule book first, or check the program_id")]
    ProgramNotFound { program: ProgramId },
    #[error("the programme has no version {version}")]
    VersionNotFound { version: u32 },
    #[error("the rule book has {} mistakes", .0.len())]
    ProgramInvalid(Vec<Violation>),
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the member has no entry {sequence}")]
    EntryNotFound { sequence: u64 },
    #[error("no purchase {} of store {} is recorded", order.order, order.store)]
    PurchaseNotFound { order: OrderKey },
    #[error("more commands wait than the service takes; try again in {} ms", retry_delay.as_millis())]
    QueueFull { retry_delay: Duration },
    #[error("the service is stopping; try again")]
    Closing,
    #[error(transparent)]
    Store(#[from] StoreError),
}
