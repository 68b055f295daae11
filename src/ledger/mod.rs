//! The imperative shell round the domain: [`Ledger::submit`] for commands, and queries.
//!
//! A command waits in a bounded queue until the one writer takes it (`writer.rs`), in a group with all that waits beside it: the group
//! is decided (`staging.rs`), committed once, and only then answered. Queries (`query.rs`) read the store beside the writer. What a
//! retried command gets is in `idempotency.rs`.

mod audit;
mod clock;
mod export;
mod idempotency;
mod journey;
mod loading;
mod moves;
mod programs;
mod query;
mod referring;
mod sandbox;
mod schedule;
mod staging;
mod statistics;
mod stock;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::{
    contract::{Violation, v1},
    domain::{
        ActorId, Command, Decision, Entry, Hint, Identifier, Member, MemberId, MemberKey, OfferStanding, OrderKey, PrincipalId, Program,
        ProgramHistory, ProgramId, QuoteId, Rejection, Request, RewardStanding, Usable, Voucher, VoucherCode,
    },
    store::{Store, StoreError},
};

pub use audit::RecordedAct;
use clock::SteadyClock;
pub use clock::{Clock, ManualClock, SystemClock};
pub use export::Snapshot;
use journey::Journey;
pub use journey::Tracing;
pub use moves::TierMove;
use programs::Programs;
pub use query::DATES;
pub use sandbox::{Advance, AdvanceError, SandboxClock, SandboxError, refuse_sandbox};
use schedule::DueWalk;
pub use schedule::{Advanced, BirthdayWalk};
use statistics::Counters;
pub use statistics::{ProgramStatistics, Statistics};
use writer::{Answer, Job, Writer};

/// Commands sent one by one that may wait for the writer; a purchase with many lines counts as several. More are refused with
/// [`LedgerError::QueueFull`]. So many wait for a tenth of a second or less on a machine of two processors: who is refused knows soon, and
/// who is not is answered before giving up.
pub const QUEUE_BOUND: u32 = 2_048;

/// A queue must take the heaviest command, with 10,000 lines.
pub const MIN_QUEUE: u32 = 512;

/// The same of commands that are submitted together, which wait for room instead. Apart, so that an import does not keep tills out.
const BULK_BOUND: usize = 4_096;

/// Lines that a purchase may have to count as one command more.
const LINES_PER_WEIGHT: usize = 32;

/// Of commands that are submitted together.
const MAX_CHUNK_WEIGHT: u32 = 512;

/// How long a caller should wait before it tries a full queue again.
pub const RETRY_DELAY: Duration = Duration::from_millis(250);

/// How long a caller should wait while the disk is full.
const NO_SPACE_DELAY: Duration = Duration::from_secs(5);

/// Handle to the ledger; clones share it.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<SteadyClock>,
    programs: Arc<Programs>,
    /// Unbounded by itself: `room` and `bulk` bound it, counted in commands.
    queue: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    queue_bound: u32,
    /// Commands that ever found room.
    entered: AtomicU64,
    bulk: Arc<Semaphore>,
    /// Held while what is due is looked up and entered.
    advancing: tokio::sync::Mutex<DueWalk>,
    /// Held while members are looked at for what other rules make of them: how far that has come.
    planning: tokio::sync::Mutex<BirthdayWalk>,
    /// Where the schedule is in the order of what is due.
    passed: Mutex<schedule::Passed>,
    counters: Arc<Counters>,
    /// Commands were answered and have left the queue.
    relief: Arc<Notify>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The queue of commands that are sent one by one, counted in commands.
#[derive(Debug, Default, Clone, Copy)]
pub struct Queue {
    pub bound: u64,
    pub taken: u64,
    /// Ever.
    pub entered: u64,
}

impl Queue {
    /// Half of it is taken.
    pub fn is_crowded(&self) -> bool {
        self.taken > self.bound / 2
    }

    /// Ever left it.
    pub fn left(&self) -> u64 {
        // Who enters takes room first.
        self.entered.saturating_sub(self.taken)
    }
}

/// A command for a member, as it enters the queue.
#[derive(Debug, Clone)]
pub struct Submission {
    pub program: Arc<ProgramHistory>,
    pub member: MemberTarget,
    pub request: Request,
    pub actor: Option<ActorId>,
    /// Whose credential the call had; `None`: callers are not authenticated.
    pub principal: Option<PrincipalId>,
    pub command: Command,
}

impl Submission {
    /// Its part of [`QUEUE_BOUND`] or [`BULK_BOUND`].
    fn weight(&self) -> u32 {
        let lines = match &self.command {
            Command::RecordPurchase(purchase) => purchase.lines.len(),
            Command::Enroll { .. }
            | Command::UpdateProfile(_)
            | Command::AddIdentifier { .. }
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::Erase { .. }
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::TransferPoints(_)
            | Command::RecordActivity(_)
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::MergeMembers(_) => 0,
            Command::ReturnPurchase(request) => request.lines.len() + request.exchange.as_ref().map_or(0, |purchase| purchase.lines.len()),
        };
        u32::try_from(1 + lines / LINES_PER_WEIGHT).expect("the number of lines is bounded")
    }
}

/// Which member a command or query is for.
#[derive(Debug, Clone)]
pub enum MemberTarget {
    /// Enrolment: a new one.
    New,
    Id(MemberId),
    Identifier(Identifier),
    /// Who bought.
    Order(OrderKey),
    /// Who was issued the voucher.
    Voucher(VoucherCode),
}

/// What a command led to: the same the first time and every time it is repeated.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Has every version that the entries were decided by.
    pub programs: Arc<ProgramHistory>,
    pub key: MemberKey,
    /// Those that carry the request, in their order; never empty: of one that had been done before, by another request, the entry that did.
    pub entries: Vec<Entry>,
    /// The state right after them. `None` where the entries hold the whole answer.
    pub member: Option<Box<Member>>,
}

/// A voucher, and what has become of it.
#[derive(Debug, Clone)]
pub struct FoundVoucher {
    /// As it was issued; as it is now, as long as it is live.
    pub voucher: Voucher,
    pub is_live: bool,
    /// Whose it is now.
    pub member: Member,
    /// The newest entry of its story.
    pub latest: Listed,
    pub now: Timestamp,
}

/// The rewards of a programme, and how each stands.
#[derive(Debug, Clone)]
pub struct Rewards {
    /// The version in effect.
    pub program: Arc<Program>,
    /// Of each of its rewards, in their order.
    pub standings: Vec<RewardStanding>,
}

/// Offers, as they stand for a member.
#[derive(Debug, Clone)]
pub struct Offers {
    /// The version in effect.
    pub program: Arc<Program>,
    /// Of each of its offers, in their order.
    pub standings: Vec<OfferStanding>,
}

/// An entry of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    pub entry: Entry,
    /// False: it is due by now, and will be recorded with the member's next change.
    pub is_recorded: bool,
}

/// What a purchase would lead to.
#[derive(Debug, Clone)]
pub struct Quote {
    pub decision: Decision,
    /// As many points as could pay for it, before its own payments, and what they are worth; `None` where none are redeemed.
    pub usable: Option<Usable>,
    pub hints: Vec<Hint>,
    /// For whoever records the purchase as it was quoted.
    pub id: QuoteId,
}

/// Who publishes a rule book: whom the caller names, and whose credential the call had. The service itself at its start is neither.
#[derive(Debug, Clone, Default)]
pub struct Publisher {
    pub actor: Option<ActorId>,
    pub principal: Option<PrincipalId>,
}

#[derive(Debug, Clone)]
pub struct Published {
    /// With version and publish time.
    pub document: v1::Program,
    pub changed: bool,
    /// Versions that waited and never take effect because of it.
    pub replaced: Vec<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("there is no programme {program}; publish its rule book first, or check the program_id")]
    ProgramNotFound { program: ProgramId },
    #[error("the programme has no version {version}")]
    VersionNotFound { version: u32 },
    #[error("the rule book has {} mistakes", .0.len())]
    ProgramInvalid(Vec<Violation>),
    #[error(
        "version {version} waits to take effect at {effective_time}, and this one would take effect before it or with it; give it a later \
         effective_time, or set replace_waiting if version {version}, and all that wait behind it, are to take effect never"
    )]
    VersionWaiting { version: u32, effective_time: Timestamp },
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the member has no entry {sequence}")]
    EntryNotFound { sequence: u64 },
    #[error("no purchase {} of store {} is recorded", order.order, order.store)]
    PurchaseNotFound { order: OrderKey },
    #[error("more commands wait than the service takes; try again in {} ms", retry_delay.as_millis())]
    QueueFull { retry_delay: Duration },
    #[error("the service's disk is full: nothing was changed; try again with the same request_id in {} s", retry_delay.as_secs())]
    NoSpace { retry_delay: Duration },
    #[error("the service is stopping; try again")]
    Closing,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// Reads the programmes and starts the writer.
    pub fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        Self::open_bounded(store, clock, QUEUE_BOUND)
    }

    /// With another bound than [`QUEUE_BOUND`]; below [`MIN_QUEUE`] it is that.
    pub fn open_bounded(store: Arc<dyn Store>, clock: Arc<dyn Clock>, queue_bound: u32) -> Result<Self, LedgerError> {
        let latest = store.latest_time();
        let clock = Arc::new(SteadyClock::new(clock, latest));
        let programs = Arc::new(Programs::load(store.publications()?, store.voucher_code_key(), latest)?);
        let (queue, waiting) = mpsc::unbounded_channel();
        let relief = Arc::new(Notify::new());
        let counters = Arc::<Counters>::default();
        let shared = (Arc::clone(&counters), Arc::clone(&relief));
        let writer = Writer::start(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&programs), waiting, shared);
        let queue_bound = queue_bound.max(MIN_QUEUE);
        let room = Arc::new(Semaphore::new(queue_bound as usize));
        let bulk = Arc::new(Semaphore::new(BULK_BOUND));
        let (entered, writer) = (AtomicU64::new(0), Mutex::new(Some(writer)));
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            programs,
            queue,
            room,
            queue_bound,
            entered,
            bulk,
            advancing: tokio::sync::Mutex::default(),
            planning: tokio::sync::Mutex::default(),
            passed: Mutex::default(),
            counters,
            relief,
            writer,
        })))
    }

    /// What is in the queue or being decided, counted as the bounds count it.
    pub fn waiting(&self) -> usize {
        self.0.queue_bound as usize - self.0.room.available_permits() + BULK_BOUND - self.0.bulk.available_permits()
    }

    /// What all that is asked goes by: see [`SteadyClock`].
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A command would be refused now.
    pub fn is_full(&self) -> bool {
        self.0.room.available_permits() == 0
    }

    /// How the queue stands now.
    pub fn queue(&self) -> Queue {
        // First, so that never more seem to have left it than have.
        let entered = self.0.entered.load(Ordering::Relaxed);
        let bound = u64::from(self.0.queue_bound);
        Queue { bound, taken: bound.saturating_sub(self.0.room.available_permits() as u64), entered }
    }

    /// Returns when commands have left the queue, be it since the last time; one can wait for that.
    pub async fn relieved(&self) {
        self.0.relief.notified().await;
    }

    /// Decides and commits one command. Refused at once when the queue is full.
    pub async fn submit(&self, submission: Submission) -> Result<Outcome, LedgerError> {
        let weight = submission.weight();
        let permit = Arc::clone(&self.0.room).try_acquire_many_owned(weight).map_err(|error| match error {
            TryAcquireError::NoPermits => LedgerError::QueueFull { retry_delay: RETRY_DELAY },
            TryAcquireError::Closed => LedgerError::Closing,
        })?;
        self.0.entered.fetch_add(u64::from(weight), Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let journey = Journey::begin();
        let way = journey.clone();
        self.send(Job::Commands { submissions: vec![submission], permit, reply, sent: Instant::now(), journey: way })?;
        let mut results = answer.await.map_err(|_| LedgerError::Closing)?;
        if let Some(journey) = journey {
            journey.end();
        }
        self.finish(results.pop().expect("one submission has one result")?).await
    }

    /// Decides commands in their order, and waits for room in the queue. One that is refused does not stop the others.
    pub async fn submit_all(&self, submissions: Vec<Submission>) -> Vec<Result<Outcome, LedgerError>> {
        let mut results = Vec::with_capacity(submissions.len());
        let mut submissions = submissions.into_iter().peekable();
        while submissions.peek().is_some() {
            let (mut chunk, mut weight) = (Vec::new(), 0);
            while let Some(next) = submissions.next_if(|next| chunk.is_empty() || weight + next.weight() <= MAX_CHUNK_WEIGHT) {
                weight += next.weight();
                chunk.push(next);
            }
            let size = chunk.len();
            match self.submit_chunk(chunk, weight).await {
                Ok(answers) => {
                    for answer in answers {
                        results.push(match answer {
                            Ok(answer) => self.finish(answer).await,
                            Err(error) => Err(error),
                        });
                    }
                }
                Err(()) => results.extend(std::iter::repeat_with(|| Err(LedgerError::Closing)).take(size)),
            }
        }
        results
    }

    async fn submit_chunk(&self, chunk: Vec<Submission>, weight: u32) -> Result<Vec<Result<Answer, LedgerError>>, ()> {
        let permit = Arc::clone(&self.0.bulk).acquire_many_owned(weight).await.map_err(|_| ())?;
        let (reply, answer) = oneshot::channel();
        self.send(Job::Commands { submissions: chunk, permit, reply, sent: Instant::now(), journey: None }).map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }

    /// Reads the first answer of a command that was repeated. The writer has better things to do.
    async fn finish(&self, answer: Answer) -> Result<Outcome, LedgerError> {
        match answer {
            Answer::New(outcome) => Ok(outcome),
            Answer::Repeat(repeat) if repeat.is_long() => {
                let store = Arc::clone(&self.0.store);
                let read = tokio::task::spawn_blocking(move || repeat.answer(&*store)).await;
                // It is cut short only when the runtime ends.
                read.unwrap_or(Err(LedgerError::Closing))
            }
            Answer::Repeat(repeat) => repeat.answer(&*self.0.store),
        }
    }

    /// Publishes a rule book as the next version, unless the last one, or the one in effect, says the same.
    pub async fn publish(&self, request: Request, document: v1::Program) -> Result<Published, LedgerError> {
        self.publish_next(request, document, false).await
    }

    /// The same; `replace`: versions that wait and would take effect with it or after it make room.
    pub async fn publish_next(&self, request: Request, document: v1::Program, replace: bool) -> Result<Published, LedgerError> {
        self.publish_by(request, Publisher::default(), document, replace).await
    }

    /// The same, with who did it.
    pub async fn publish_by(
        &self,
        request: Request,
        by: Publisher,
        document: v1::Program,
        replace: bool,
    ) -> Result<Published, LedgerError> {
        let permit = Arc::clone(&self.0.bulk).acquire_owned().await.map_err(|_| LedgerError::Closing)?;
        let (reply, answer) = oneshot::channel();
        self.send(Job::Publish { request, by, document: Box::new(document), replace, permit, reply })?;
        answer.await.map_err(|_| LedgerError::Closing)?
    }

    /// From here on a request's fingerprint is the one that the store keeps.
    fn send(&self, mut job: Job) -> Result<(), LedgerError> {
        let keep = |request: &mut Request| request.fingerprint = self.0.store.keyed(request.fingerprint);
        match &mut job {
            Job::Commands { submissions, .. } => submissions.iter_mut().for_each(|submission| keep(&mut submission.request)),
            Job::Publish { request, .. } => keep(request),
            Job::Advance(_) | Job::Stop => {}
        }
        self.0.queue.send(job).map_err(|_| LedgerError::Closing)
    }

    /// Takes no more commands, answers those that wait, and writes the store out. Blocks until that is done.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.0.room.close();
        self.0.bulk.close();
        // The writer is gone if this was called before.
        let _ = self.0.queue.send(Job::Stop);
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.join().expect("a writer that panics ends the process");
        }
        Ok(self.0.store.flush()?)
    }
}
