//! What a group of commands has decided so far, on top of what is stored.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::{
    domain::{
        self, Command, Context, Decision, Entry, EntryKind, Header, Identifier, Member, MemberId, MemberKey, OrderKey, ProgramHistory,
        ProgramId, Rejection, RequestId, Sealed,
    },
    store::{Commit, MemberChange, MemberDemand, PurchaseRow, Read},
};

use super::{LedgerError, MemberTarget, Outcome, Submission, idempotency, writer::Answer};

/// The commands of one commit.
pub(super) struct Staging<'a, R: Read + ?Sized> {
    store: &'a R,
    now: Timestamp,
    /// In the order in which they were first changed.
    members: Vec<Staged>,
    /// Places in `members`.
    places: HashMap<MemberKey, usize, RandomState>,
    requests: HashSet<(ProgramId, RequestId), RandomState>,
    purchases: HashMap<(ProgramId, OrderKey), PurchaseRow, RandomState>,
    identifiers: HashMap<(ProgramId, Identifier), StagedIdentifier, RandomState>,
    /// An upper estimate of what the entries take when they are stored.
    bytes: usize,
}

/// Bytes of entries in one commit, by estimate, unless a single command has more; far below what the store takes.
const MAX_BYTES: usize = 8 << 20;

struct Staged {
    member: Member,
    entries: Vec<Entry>,
    /// All live lots are loaded.
    lots_complete: bool,
}

/// An identifier that the group has given or taken away.
struct StagedIdentifier {
    by: MemberId,
    /// Not any more if it was taken away.
    held: bool,
}

/// What became of a command.
pub(super) enum Verdict {
    Done(Result<Answer, LedgerError>),
    /// It needs what this group has changed but not yet stored: it goes first in the next group.
    NextGroup,
}

impl<'a, R: Read + ?Sized> Staging<'a, R> {
    /// `commands`: how many the group has, at most.
    pub fn new(store: &'a R, now: Timestamp, commands: usize) -> Self {
        Self {
            store,
            now,
            members: Vec::with_capacity(commands),
            places: HashMap::with_capacity_and_hasher(commands, RandomState::default()),
            requests: HashSet::with_capacity_and_hasher(commands, RandomState::default()),
            purchases: HashMap::with_capacity_and_hasher(commands, RandomState::default()),
            identifiers: HashMap::default(),
            bytes: 0,
        }
    }

    pub fn into_commit(self) -> Commit {
        let members = self.members.into_iter().map(|staged| MemberChange { entries: staged.entries, after: staged.member }).collect();
        Commit { publications: Vec::new(), members }
    }

    /// Decides a command on top of the group. `new_member` is the id to give if it enrols one.
    pub fn decide(&mut self, programs: &Arc<ProgramHistory>, submission: &Submission, new_member: impl FnOnce() -> MemberId) -> Verdict {
        let program = &programs.newest().id;
        let request_key = (program.clone(), submission.request.id.clone());
        if self.requests.contains(&request_key) {
            return Verdict::NextGroup;
        }
        match self.store.request(program, &submission.request.id) {
            Ok(Some(row)) => {
                let repeat = idempotency::repeat(programs, &submission.request, &submission.command, &row);
                return Verdict::Done(repeat.map(Answer::Repeat));
            }
            Ok(None) => {}
            Err(error) => return Verdict::Done(Err(error.into())),
        }
        match self.decide_new(programs, submission, new_member) {
            Ok(Some(outcome)) => {
                self.requests.insert(request_key);
                Verdict::Done(Ok(Answer::New(outcome)))
            }
            Ok(None) => Verdict::NextGroup,
            Err(error) => Verdict::Done(Err(error)),
        }
    }

    fn decide_new(
        &mut self,
        programs: &Arc<ProgramHistory>,
        submission: &Submission,
        new_member: impl FnOnce() -> MemberId,
    ) -> Result<Option<Outcome>, LedgerError> {
        let program = &programs.newest().id;
        let member = match &submission.member {
            MemberTarget::New => new_member(),
            MemberTarget::Id(member) => *member,
            MemberTarget::Identifier(identifier) => self.member_by_identifier(program, identifier)?.ok_or(Rejection::MemberNotFound)?,
        };
        let key = MemberKey { program: program.clone(), member };
        if self.moves_identifier(&key, &submission.command) {
            return Ok(None);
        }
        let Some(state) = self.load(&key, &submission.command)? else { return Ok(None) };
        self.check_unique(&key, &submission.command)?;
        let context = Context { programs, now: self.now, request: Some(&submission.request), actor: submission.actor.as_ref() };
        let decision = domain::decide(context, state, &submission.command)?;
        let bytes = decision.entries.iter().map(Entry::stored_size_estimate).sum::<usize>();
        if self.bytes > 0 && self.bytes + bytes > MAX_BYTES {
            return Ok(None);
        }
        self.bytes += bytes;
        Ok(Some(self.stage(programs, key, decision, &submission.command)))
    }

    /// Whether the command is about an identifier that the group has given to, or taken from, another member. The entries of a commit are
    /// ordered by member, so the last word on it must be one member's.
    fn moves_identifier(&self, key: &MemberKey, command: &Command) -> bool {
        let moves = |identifier: &Identifier| {
            !self.identifiers.is_empty()
                && self.identifiers.get(&(key.program.clone(), identifier.clone())).is_some_and(|staged| staged.by != key.member)
        };
        match command {
            Command::Enroll { person } => person.identifiers.iter().any(moves),
            Command::AddIdentifier { identifier } | Command::RemoveIdentifier { identifier } => moves(identifier),
            Command::UpdateProfile(_)
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::RecordPurchase(_)
            | Command::AdjustPoints(_) => false,
        }
    }

    /// The member as the group has left it; `None` if more of it is needed than can be loaded under what the group has changed.
    fn load(&self, key: &MemberKey, command: &Command) -> Result<Option<Member>, LedgerError> {
        let person = command.reads_person() || command.answers_with_member();
        let points = command.takes_points();
        if let Some(staged) = self.places.get(key).map(|place| &self.members[*place]) {
            let enough = (!person || staged.member.person.is_some()) && (points.is_none() || staged.lots_complete);
            return Ok(enough.then(|| staged.member.clone()));
        }
        if let Command::Enroll { .. } = command {
            let header = Header::new(self.now);
            return Ok(Some(Member { key: key.clone(), header, person: None, lots: Default::default() }));
        }
        let demand = MemberDemand { now: self.now, points, person };
        Ok(Some(self.store.member(key, demand)?.ok_or(Rejection::MemberNotFound)?))
    }

    /// What must be unique in the programme, beyond what the member's own state shows.
    fn check_unique(&self, key: &MemberKey, command: &Command) -> Result<(), LedgerError> {
        match command {
            Command::RecordPurchase(purchase) => {
                let order = purchase.order.as_ref().expect("the edge asks for store and order before it submits");
                match self.purchase(&key.program, order)? {
                    Some(row) => {
                        Err(Rejection::PurchaseExists { order: order.clone(), member: row.member, entry_sequence: row.entry_sequence }
                            .into())
                    }
                    None => Ok(()),
                }
            }
            Command::Enroll { person } => person.identifiers.iter().try_for_each(|identifier| self.check_free(key, identifier)),
            Command::AddIdentifier { identifier } => self.check_free(key, identifier),
            Command::UpdateProfile(_)
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::AdjustPoints(_) => Ok(()),
        }
    }

    fn check_free(&self, key: &MemberKey, identifier: &Identifier) -> Result<(), LedgerError> {
        match self.member_by_identifier(&key.program, identifier)? {
            Some(holder) if holder == key.member => Err(Rejection::IdentifierHeld { kind: identifier.kind }.into()),
            Some(member) => Err(Rejection::IdentifierTaken { kind: identifier.kind, member }.into()),
            None => Ok(()),
        }
    }

    fn member_by_identifier(&self, program: &ProgramId, identifier: &Identifier) -> Result<Option<MemberId>, LedgerError> {
        if !self.identifiers.is_empty()
            && let Some(staged) = self.identifiers.get(&(program.clone(), identifier.clone()))
        {
            return Ok(staged.held.then_some(staged.by));
        }
        Ok(self.store.member_by_identifier(program, identifier)?)
    }

    fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<Option<PurchaseRow>, LedgerError> {
        if let Some(staged) = self.purchases.get(&(program.clone(), order.clone())) {
            return Ok(Some(staged.clone()));
        }
        Ok(self.store.purchase(program, order)?)
    }

    fn stage(&mut self, programs: &Arc<ProgramHistory>, key: MemberKey, decision: Decision, command: &Command) -> Outcome {
        let Decision { entries, member } = decision;
        for entry in &entries {
            self.stage_lookups(entry);
        }
        let answered = entries.iter().filter(|entry| entry.request.is_some()).cloned().collect();
        let shown = command.answers_with_member().then(|| Box::new(member.clone()));
        let lots_complete = domain::Points::total(member.lots.values().map(|lot| lot.remaining)) == Ok(member.header.balance.available);
        match self.places.get(&key) {
            Some(place) => {
                let staged = &mut self.members[*place];
                staged.entries.extend(entries);
                staged.member = member;
                staged.lots_complete = lots_complete;
            }
            None => {
                self.places.insert(key.clone(), self.members.len());
                self.members.push(Staged { member, entries, lots_complete });
            }
        }
        Outcome { programs: Arc::clone(programs), key, entries: answered, member: shown }
    }

    /// Later commands of the group must find what this entry makes findable.
    fn stage_lookups(&mut self, entry: &Entry) {
        let program = &entry.key.program;
        let by = entry.key.member;
        let mut stage = |identifier: &Identifier, held| {
            self.identifiers.insert((program.clone(), identifier.clone()), StagedIdentifier { by, held });
        };
        match &entry.kind {
            EntryKind::MemberEnrolled { person: Sealed::Open(person) } => {
                person.identifiers.iter().for_each(|identifier| stage(identifier, true));
            }
            EntryKind::IdentifierAdded { identifier: Sealed::Open(identifier) } => stage(identifier, true),
            EntryKind::IdentifierRemoved { identifier: Sealed::Open(identifier) } => stage(identifier, false),
            EntryKind::PurchaseAccrued(accrued) => {
                let order = accrued.purchase.order.clone().expect("a recorded purchase has an order");
                let row = PurchaseRow { member: entry.key.member, entry_sequence: entry.sequence };
                self.purchases.insert((program.clone(), order), row);
            }
            EntryKind::MemberEnrolled { person: Sealed::Erased }
            | EntryKind::IdentifierAdded { identifier: Sealed::Erased }
            | EntryKind::IdentifierRemoved { identifier: Sealed::Erased }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_) => {}
        }
    }
}
