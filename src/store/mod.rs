//! Where the ledger lives. A unit of work begins with the rows that a batch of commands names and ends with one commit, all or
//! nothing, durable when it returns. Nothing in here speaks of sled or SQL, and nothing above assumes that this process is the only
//! writer. The contract tests in `tests/it/store_contract.rs` run the same for every store.

pub mod backup;
pub mod embedded;
pub mod statistics;
mod totals;

pub use statistics::{Behind, Histogram, Seen, Statistics};
pub use totals::{Before, Totals};

use jiff::Timestamp;

use crate::domain::{
    ActKind, ActivityId, ActorId, ConsumptionOrder, Entry, EntryRef, Fingerprint, FoldError, Identifier, Lot, LotKey, MAX_LOTS, Member,
    MemberId, MemberKey, OperatorDay, OrderKey, Points, PrincipalId, ProgramHistory, ProgramId, PromotionTally, Request, RequestId,
    RewardId, RewardStock, SegmentId, SegmentSize, TallyKey, VoucherCode, VoucherCodeKey,
};

/// Counts commits, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitSeq(pub u64);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Names the file, the place in it, and the command to run.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: String, source: std::io::Error },
    /// The disk is full. Nothing was changed, and the same may be tried again.
    #[error("{action} {path}: no space is left on the disk; nothing was changed, and it goes on when there is space again")]
    NoSpace { action: &'static str, path: String },
    /// Another process has the data folder open.
    #[error("{0} is in use by another process: stop that one first, or name another folder")]
    InUse(String),
    #[error("the ledger contradicts itself: {0}")]
    Fold(#[from] FoldError),
    /// The look-up tables failed; they can be rebuilt from the journal.
    #[error("look-up tables: {0}")]
    Tables(String),
    /// A newer version of the program wrote what is there. Names the formats, and says what to do.
    #[error("{0}")]
    Newer(String),
    /// What was asked for cannot be done with what is there; says what to do.
    #[error("{0}")]
    Refused(String),
    #[error("the backup is of another store: take a backup of this one into another folder")]
    OtherStore,
    #[error(
        "the backup ends with a commit {} that this store does not have: one of both was taken back to an earlier point, and what happened \
         since is another history. Keep the backup, and take one of this store into another folder",
        commit.0
    )]
    OtherHistory { commit: CommitSeq },
}

/// Look-ups. Each call sees whole commits only, and only durable ones.
pub trait Read {
    /// A member at one instant, loaded as far as asked.
    fn member(&self, key: &MemberKey, demand: MemberDemand) -> Result<Option<Member>, StoreError>;
    fn member_by_identifier(&self, program: &ProgramId, identifier: &Identifier) -> Result<Option<MemberId>, StoreError>;
    fn request(&self, program: &ProgramId, request: &RequestId) -> Result<Option<RequestRow>, StoreError>;
    /// The entry that recorded a purchase.
    fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<Option<Entry>, StoreError>;
    /// The entry of a member's activity: its sequence. By its reference; without one, of the activity of this kind by which the member was
    /// referred.
    fn activity(&self, key: &MemberKey, activity: &ActivityId, reference: Option<&str>) -> Result<Option<u64>, StoreError>;
    /// The entry that issued a voucher.
    fn voucher(&self, program: &ProgramId, code: &VoucherCode) -> Result<Option<EntryRef>, StoreError>;
    /// What an operator had adjusted on the last day on which that was counted, with the newest entry that says so. Entries of one commit
    /// say so in the order of its members.
    fn operator(&self, program: &ProgramId, actor: &ActorId) -> Result<Option<OperatorDay>, StoreError>;
    /// How many of a reward are taken, over all members; `None`: none ever was. Of several entries of one commit the one whose stock has the
    /// highest number of changes says so.
    fn reward_stock(&self, program: &ProgramId, reward: &RewardId) -> Result<Option<RewardStock>, StoreError>;
    /// What a promotion has given over all members, in all or on a day; `None`: nothing was counted. As [`Read::reward_stock`] of several
    /// entries of one commit.
    fn promotion_tally(&self, program: &ProgramId, key: &TallyKey) -> Result<Option<PromotionTally>, StoreError>;
    /// Entries `first` to `last`, both inclusive, in their order; those that do not exist are absent. The caller bounds the range.
    fn entries(&self, key: &MemberKey, first: u64, last: u64) -> Result<Vec<Entry>, StoreError>;
    /// One live lot.
    fn lot(&self, key: &MemberKey, lot: &LotKey) -> Result<Option<Lot>, StoreError>;
    /// The newest entry that goes on with the story of an entry ([`Entry::continues`]); after a merge it may be another member's.
    fn story(&self, key: &MemberKey, origin: u64) -> Result<Option<EntryRef>, StoreError>;
    /// Live lots in the order of their expiry, those behind `after`.
    fn lots(&self, key: &MemberKey, after: Option<LotKey>, limit: usize) -> Result<Vec<Lot>, StoreError>;
    /// Members with something due by now, in the order of time, those behind `after`. To go on behind the last one costs nothing of what was
    /// done before it; from the beginning, what has been done since it was last written out is passed over row by row.
    fn due(&self, now: Timestamp, after: Option<&Due>, limit: usize) -> Result<Vec<Due>, StoreError>;
    /// Members in the order of their ids, those behind `after`.
    fn members(&self, program: &ProgramId, after: Option<MemberId>, limit: usize) -> Result<Vec<MemberId>, StoreError>;
    /// Who is in a segment, in the order of their ids, those behind `after`. As was entered: what is due of them is not looked at.
    fn in_segment(&self, program: &ProgramId, id: &SegmentId, after: Option<MemberId>, limit: usize) -> Result<Vec<MemberId>, StoreError>;
    /// How many are in a segment, as was entered; `None`: nobody ever was. Of several entries of one commit the one whose size has the highest
    /// number of changes says so.
    fn segment_size(&self, program: &ProgramId, id: &SegmentId) -> Result<Option<SegmentSize>, StoreError>;
    /// Administrative acts of a programme ([`crate::domain::Entry::act`], and each version that was published), the newest first: by record time,
    /// commit, and place in the commit. Those behind `after`, at most `limit`.
    fn acts(&self, program: &ProgramId, recorded: RecordedIn, after: Option<ActPlace>, limit: usize) -> Result<Vec<FoundAct>, StoreError>;
    /// All versions of all programmes, in the order in which they were published.
    fn publications(&self) -> Result<Vec<Publication>, StoreError>;
}

pub trait Store: Read + Send + Sync + 'static {
    /// Begins a unit of work on the rows that a batch names: loads them and, where a store has other writers, locks them until the commit.
    /// At most one unit of work at a time.
    fn begin<'a>(&'a self, names: &[Name<'_>]) -> Result<Box<dyn Unit + 'a>, StoreError>;
    /// A request's fingerprint as it is kept, under a key of the store's: whoever has what is stored, but not the key, cannot try payloads
    /// (there are few phone numbers) until one matches. The same for the same fingerprint, for ever. What is committed holds these.
    fn keyed(&self, fingerprint: Fingerprint) -> Fingerprint;
    /// A secret that codes of vouchers are made with, the same as long as the store lives.
    fn voucher_code_key(&self) -> VoucherCodeKey;
    /// The latest time of all commits that there ever were: of their entries, and of the versions of rule books that they publish. `None`: there
    /// is none yet.
    fn latest_time(&self) -> Option<Timestamp>;
    /// What it counts of itself, and each programme's totals: for whoever watches. Cheap, but for a question to the disk or two.
    fn statistics(&self) -> Statistics;
    /// Writes out what start would otherwise have to catch up with. Durability does not depend on it.
    fn flush(&self) -> Result<(), StoreError>;
    /// What a backup lacks of all that is durable now. Commits go on meanwhile.
    fn backup(&self, held: backup::Held) -> Result<Box<dyn backup::Source>, StoreError>;
}

/// A unit of work: reads what was named, and ends with a commit or, when dropped, with nothing.
pub trait Unit: Read {
    /// All or nothing, durable when this returns; nor can what was personal of a member who is erased with it be read any more, in any
    /// entry. [`StoreError::NoSpace`] means nothing. Any other error means that the process must end:
    /// what is on disk is not known.
    fn commit(self: Box<Self>, commit: Commit) -> Result<CommitSeq, StoreError>;
}

/// What a batch is going to read.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    Member(&'a ProgramId, MemberId),
    Identifier(&'a ProgramId, &'a Identifier),
    Request(&'a ProgramId, &'a RequestId),
    Order(&'a ProgramId, &'a OrderKey),
    Operator(&'a ProgramId, &'a ActorId),
    /// How many of it are taken. Of a voucher that is cancelled the reward is known only when it is loaded.
    Reward(&'a ProgramId, &'a RewardId),
    Voucher(&'a ProgramId, VoucherCode),
}

/// How far a member is to be loaded. The header always is.
#[derive(Debug, Clone, Copy)]
pub struct MemberDemand {
    /// If lots have lapsed by now, they are loaded, and the one after them.
    pub now: Timestamp,
    /// But no more lots than so many that have lapsed, and one more.
    pub lapsed: usize,
    pub lots: LotDemand,
    /// All lots that lapse at the next so many instants.
    pub dates: usize,
    /// All open holds, and what is left of the lots that they came from. If one has ended by now, they are loaded as well.
    pub holds: bool,
    /// All pending lots. If some have become active by now, these are loaded, and the one after them.
    pub pending: bool,
    /// All live vouchers. If one has lapsed by now, or its hold has ended, or the reward of a birthday may be due by now, they are loaded as
    /// well.
    pub vouchers: bool,
    /// What is personal. If the reward of a birthday is due by now, it is loaded as well.
    pub person: bool,
    /// Also if a birthday is planned by rules that are others than those since this version of the rule book; 0: whatever it is planned by.
    pub birthdays_since: u32,
    /// The version since which segments are as they are; who was not judged by it is looked at as if something were due.
    pub segments_since: u32,
    /// The newest version that reviews all tiers at once, and since when.
    pub reviewed_since: Option<(u32, Timestamp)>,
    /// The lots that a goal may take points from.
    pub goals: LotDemand,
    /// The same where something is due, which goals of earlier versions may take points for, from other lots first.
    pub due_goals: LotDemand,
    /// The version in effect has a tier that gives a voucher. Who rises to it by what is told late, or since a version of before, has it since
    /// then, and it can have lapsed: what comes next is known only beside all others.
    pub tier_vouchers: bool,
    /// The version in effect has a goal. Otherwise lots for goals are loaded only where something waits, or may be due by earlier versions.
    pub has_goal: bool,
}

/// Which lots that have not lapsed are to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LotDemand {
    None,
    /// So many points' worth in the order of their expiry, but not more than [`MAX_LOTS`], and the one after them.
    Points(Points),
    /// So many, in the order of their expiry, and the one after them; as many pending ones.
    Count(usize),
    All,
}

impl MemberDemand {
    /// The header, and what is due by now; of lots that have lapsed as many as one commit takes.
    pub fn header(now: Timestamp) -> Self {
        Self {
            now,
            lapsed: MAX_LOTS,
            lots: LotDemand::None,
            dates: 0,
            holds: false,
            pending: false,
            vouchers: false,
            person: false,
            birthdays_since: 0,
            segments_since: 0,
            reviewed_since: None,
            goals: LotDemand::None,
            due_goals: LotDemand::None,
            tier_vouchers: false,
            has_goal: false,
        }
    }

    /// With what it takes to plan a birthday by the newest rules, to rise to a tier, and to reach a goal.
    pub fn under(self, programs: &ProgramHistory) -> Self {
        let goals = match (programs.has_goals(), programs.newest().consumption_order) {
            (false, _) => LotDemand::None,
            (true, ConsumptionOrder::SoonestExpiry) => LotDemand::Points(Points(i64::MAX)),
            (true, ConsumptionOrder::OldestFirst) => LotDemand::All,
        };
        let due_goals = if programs.has_goals_oldest_first() { LotDemand::All } else { goals };
        let (birthdays_since, segments_since) = (programs.birthday_version(), programs.segment_version());
        let reviewed_since = programs.review_at_once();
        let (tier_vouchers, has_goal) = (programs.newest().has_tier_vouchers(), programs.newest().goal.is_some());
        Self { birthdays_since, segments_since, reviewed_since, goals, due_goals, tier_vouchers, has_goal, ..self }
    }

    /// The header, and all that is due by now: what a read sees.
    pub fn read(now: Timestamp) -> Self {
        Self { lapsed: usize::MAX, ..Self::header(now) }
    }
}

/// All that one commit writes. What else has to be written (look-ups by identifier, order, request) follows from the entries.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub publications: Vec<Publication>,
    pub members: Vec<MemberChange>,
}

impl Commit {
    pub fn is_empty(&self) -> bool {
        self.publications.is_empty() && self.members.is_empty()
    }
}

/// Each member at most once in a commit.
#[derive(Debug, Clone)]
pub struct MemberChange {
    /// Not empty, in their order.
    pub entries: Vec<Entry>,
    /// The state after them; whatever they touch is loaded in it.
    pub after: Member,
    /// The member as they found it.
    pub before: Before,
}

/// A published version of a rule book. The store does not look into the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub program: ProgramId,
    pub version: u32,
    pub publish_time: Timestamp,
    pub request: Request,
    /// Who published it, as the caller said; `None`: nobody was named.
    pub actor: Option<ActorId>,
    /// Whose credential the call had that published it; `None`: callers were not authenticated, or the service did so at its start.
    pub principal: Option<PrincipalId>,
    /// The `loyalty.v1.Program` message as published.
    pub document: Vec<u8>,
}

/// When something was recorded: from the first instant on, until the second, exclusive; each may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordedIn {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

/// A place in the order of a programme's administrative acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActPlace {
    pub record_time: Timestamp,
    pub commit: CommitSeq,
    /// Of a publication or an entry among those of its commit.
    pub place: u32,
}

/// An administrative act, with what it takes to tell whether it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAct {
    pub place: ActPlace,
    pub kind: ActKind,
    pub actor: Option<ActorId>,
    /// Whose credential the call had.
    pub principal: Option<PrincipalId>,
    pub of: ActOf,
}

/// Where the whole of an act is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActOf {
    /// With another member whom it concerns.
    Entry {
        entry: EntryRef,
        other: Option<MemberId>,
    },
    Publication {
        version: u32,
    },
}

/// Who has something due, and since when: a place in the order of all that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub time: Timestamp,
    pub key: MemberKey,
}

/// What a request id led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    pub fingerprint: Fingerprint,
    pub outcome: RequestOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Entries `first` to `last` of a member, both inclusive.
    Entries {
        member: MemberId,
        first: u64,
        last: u64,
    },
    Publication {
        version: u32,
    },
}
