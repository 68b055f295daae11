//! What a group of commands has decided so far, on top of what is stored.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::{
    domain::{
        self, ActivityId, ActivityRejection, ActivityRequest, ActorId, Command, Context, Decision, Entry, EntryKind, EntryRef, Header,
        History, Identifier, Member, MemberId, MemberKey, MergeRequest, OperatorDay, OrderKey, ProgramHistory, ProgramId, Recipient,
        Rejection, RequestId, Sealed, VoucherRejection,
    },
    store::{Before, Commit, MemberChange, MemberDemand, Read},
};

use super::{
    LedgerError, MemberTarget, Outcome, Submission, idempotency,
    loading::{self, Loaded, Named},
    referring::{self, Headers, OtherSide},
    stock::{Sizes, StagedTallies, Stocks},
    writer::Answer,
};

/// The commands of one commit.
pub(super) struct Staging<'a, R: Read + ?Sized> {
    store: &'a R,
    now: Timestamp,
    /// In the order in which they were first changed.
    members: Vec<Staged>,
    /// Places in `members`.
    places: HashMap<MemberKey, usize, RandomState>,
    requests: HashSet<(ProgramId, RequestId), RandomState>,
    purchases: HashMap<(ProgramId, OrderKey), EntryRef, RandomState>,
    /// Sequences of their entries, by what they are found by.
    activities: HashMap<(MemberKey, ActivityId, Option<String>), u64, RandomState>,
    identifiers: HashMap<(ProgramId, Identifier), StagedIdentifier, RandomState>,
    operators: HashMap<(ProgramId, ActorId), StagedOperator, RandomState>,
    stocks: Stocks,
    tallies: StagedTallies,
    sizes: Sizes,
    /// An upper estimate of what the entries of commands take when they are stored.
    bytes: usize,
    /// The same of what was due by time alone. Apart, so that commands never keep it out.
    due_bytes: usize,
    /// Nothing may come after what it has.
    closed: bool,
}

/// Bytes of entries of commands in one commit, by estimate, unless a single command has more, and at most as many of what is due by time alone;
/// both together are far below what the store takes.
pub(super) const MAX_BYTES: usize = 8 << 20;

struct Staged {
    member: Member,
    entries: Vec<Entry>,
    /// All live lots are loaded.
    lots_complete: bool,
    /// As the member was before the group.
    before: Before,
}

/// An identifier that the group has given or taken away.
struct StagedIdentifier {
    by: MemberId,
    /// Not any more if it was taken away.
    held: bool,
}

/// What an operator has adjusted with the group, and of whom last.
struct StagedOperator {
    of: MemberId,
    day: OperatorDay,
}

/// Whose adjustments are counted.
#[derive(Default)]
struct Operator {
    /// Of whom the group has adjusted points last.
    of: Option<MemberId>,
    /// `None`: nothing was counted yet.
    day: Option<OperatorDay>,
}

/// What became of a command.
pub(super) enum Verdict {
    Done(Result<Answer, LedgerError>),
    /// It needs what this group has changed but not yet stored: it goes first in the next group.
    NextGroup,
}

/// What became of what was due of a member.
pub(super) enum Turn {
    Had {
        entries: usize,
        /// More is due than one commit takes.
        is_due: bool,
    },
    /// A command of the group has entered it.
    HadByCommand {
        /// The same. The command waits for the rest, but its caller may go away.
        is_due: bool,
    },
    /// The commit has enough.
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
            activities: HashMap::default(),
            identifiers: HashMap::default(),
            operators: HashMap::default(),
            stocks: Stocks::default(),
            tallies: StagedTallies::default(),
            sizes: Sizes::default(),
            bytes: 0,
            due_bytes: 0,
            closed: false,
        }
    }

    pub fn into_commit(self) -> Commit {
        let change = |Staged { member, entries, before, .. }| MemberChange { entries, after: member, before };
        let members = self.members.into_iter().map(change).collect();
        Commit { publications: Vec::new(), members }
    }

    /// Decides a command on top of the group. `new_member` is the id to give if it enrols one.
    pub fn decide(&mut self, programs: &Arc<ProgramHistory>, submission: &Submission, new_member: impl FnOnce() -> MemberId) -> Verdict {
        let program = &programs.newest().id;
        let request_key = (program.clone(), submission.request.id.clone());
        if self.closed || self.requests.contains(&request_key) {
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
        let Some(named) = self.named(program, &submission.member, new_member)? else { return Ok(None) };
        let member = named.key.member;
        if let Command::MergeMembers(request) = &submission.command {
            return self.merge(programs, submission, &named.key, request);
        }
        let operator = self.operator(programs, submission)?;
        if self.moves_identifier(&named.key, &submission.command) || operator.of.is_some_and(|of| of != member) {
            return Ok(None);
        }
        let Some(Loaded { member, mut history }) = self.load(programs, &named, &submission.command)? else { return Ok(None) };
        history.stocks = self.stocks.of_command(self.store, program, &submission.command, &history)?;
        history.tallies = self.tallies.of_command(self.store, programs, (&member.header, &submission.command), &history, self.now)?;
        let key = member.key.clone();
        self.check_unique(&member, &submission.command)?;
        let other = self.other_side(program, &submission.command)?;
        let staged = |key: &MemberKey| self.places.get(key).map(|place| &self.members[*place].member.header);
        let (headers, command) = (Headers { store: self.store, staged: &staged }, (&submission.command, other.as_ref()));
        let referring = referring::find(headers, self.now, &member, command, &mut history)?;
        let before = Before::of(&member.header);
        let freed = submission.command.frees(&member);
        let (request, actor, operator) = (Some(&submission.request), submission.actor.as_ref(), operator.day);
        let principal = submission.principal.as_ref();
        let context = Context { programs, now: self.now, request, actor, principal, operator, history: &history };
        let named = other.as_ref().map(|(_, command)| command);
        let decision = domain::decide(context, member, named.unwrap_or(&submission.command))?;
        if decision.still_due {
            self.keep(key, before, decision.entries, decision.member)?;
            return Ok(None);
        }
        let side = |sent| other.as_ref().map(|(other, _)| OtherSide::Of(*other)).or_else(|| referring.other_side(sent));
        let other = match decision.for_other_side().and_then(|sent| Some((sent, side(sent)?))) {
            Some((_, to)) if !self.may_receive(programs, &to) => return Ok(None),
            Some((sent, to)) => Some(self.receive(Context { request: None, ..context }, to, (&decision.member.header, sent))?),
            None => None,
        };
        if let Some((key, before, other)) = other.as_ref().filter(|(.., other)| other.still_due).cloned() {
            self.keep(key, before, other.entries, other.member)?;
            return Ok(None);
        }
        let entries = decision.entries.iter().chain(other.iter().flat_map(|(_, _, other)| &other.entries));
        let bytes = entries.map(Entry::stored_size_estimate).sum::<usize>();
        if self.bytes > 0 && self.bytes + bytes > MAX_BYTES {
            return Ok(None);
        }
        self.bytes += bytes;
        if let Some((key, before, other)) = other {
            self.keep(key, before, other.entries, other.member)?;
        }
        for identifier in freed {
            self.identifiers.insert((program.clone(), identifier), StagedIdentifier { by: key.member, held: false });
        }
        self.stage(programs, key, before, decision, &submission.command).map(Some)
    }

    /// Who is meant. `None`: what finds them is of this group.
    fn named(
        &self,
        program: &ProgramId,
        target: &MemberTarget,
        new_member: impl FnOnce() -> MemberId,
    ) -> Result<Option<Named>, LedgerError> {
        let mut purchase = None;
        let member = match target {
            MemberTarget::New => new_member(),
            MemberTarget::Id(member) => *member,
            MemberTarget::Identifier(identifier) => self.member_by_identifier(program, identifier)?.ok_or(Rejection::MemberNotFound)?,
            // What the group has just recorded cannot be read yet.
            MemberTarget::Order(order) if self.purchases.contains_key(&(program.clone(), order.clone())) => return Ok(None),
            MemberTarget::Order(order) => {
                let found = self.store.purchase(program, order)?;
                let entry = found.ok_or_else(|| LedgerError::PurchaseNotFound { order: order.clone() })?;
                purchase.insert(entry).key.member
            }
            MemberTarget::Voucher(code) => {
                let issued = self.store.voucher(program, code)?;
                issued.ok_or_else(|| Rejection::from(VoucherRejection::NotFound))?.member
            }
        };
        Ok(Some(Named { purchase, ..Named::new(program, member, target) }))
    }

    /// Who adjusts points, if that is counted. The entries of a commit are ordered by member, so the last word on what an operator has
    /// adjusted must be one member's.
    fn operator(&self, programs: &ProgramHistory, submission: &Submission) -> Result<Operator, LedgerError> {
        let (Command::AdjustPoints(_), Some(actor)) = (&submission.command, &submission.actor) else { return Ok(Operator::default()) };
        if !programs.newest().watches_operators() {
            return Ok(Operator::default());
        }
        let program = &programs.newest().id;
        Ok(match self.operators.get(&(program.clone(), actor.clone())) {
            Some(staged) => Operator { of: Some(staged.of), day: Some(staged.day) },
            None => Operator { of: None, day: self.store.operator(program, actor)? },
        })
    }

    /// The other member whose ledger a command writes to, and the command with that id in it.
    fn other_side(&self, program: &ProgramId, command: &Command) -> Result<Option<(MemberId, Command)>, LedgerError> {
        let Some((other, not_found)) = command.other_side() else { return Ok(None) };
        let other = match other {
            Recipient::Id(other) => *other,
            Recipient::Identifier(identifier) => match self.member_by_identifier(program, identifier)? {
                Some(other) => other,
                None => return Err(not_found.into()),
            },
        };
        let key = MemberKey { program: program.clone(), member: other };
        // What the group has is merged into nobody: a merge is alone in its group.
        let other = match self.places.contains_key(&key) {
            true => other,
            false => loading::current(self.store, &key)?.ok_or(not_found)?.0.member,
        };
        Ok(Some((other, command.with_other_side(other))))
    }

    /// Whether what is needed is loaded of a member that the group has changed, such as what a goal may take points from.
    fn may_receive(&self, programs: &ProgramHistory, to: &OtherSide) -> bool {
        let member = match to {
            OtherSide::Of(member) => *member,
            OtherSide::GivesBack(key, _) => return !self.places.contains_key(key),
        };
        let key = MemberKey { program: programs.newest().id.clone(), member };
        let staged = self.places.get(&key).map(|place| &self.members[*place]);
        !programs.has_goals() || staged.is_none_or(|staged| staged.lots_complete)
    }

    /// What the other side of a transfer or a referral gets, with the member as it was before.
    fn receive(&self, context: Context<'_>, to: OtherSide, sent: (&Header, &Entry)) -> Result<(MemberKey, Before, Decision), LedgerError> {
        let to = match to {
            OtherSide::Of(to) => to,
            OtherSide::GivesBack(key, bonus) => {
                let loaded = loading::load_referrer(self.store, context.programs, &key, bonus, self.now)?;
                let Loaded { member, history } = loaded.ok_or(Rejection::RecipientNotFound)?;
                let before = Before::of(&member.header);
                return Ok((key, before, domain::receive(Context { history: &history, ..context }, member, sent)?));
            }
        };
        let key = MemberKey { program: context.programs.newest().id.clone(), member: to };
        let member = match self.places.get(&key) {
            Some(place) => self.members[*place].member.clone(),
            None => self.store.member(&key, MemberDemand::header(self.now).under(context.programs))?.ok_or(Rejection::RecipientNotFound)?,
        };
        let before = Before::of(&member.header);
        Ok((key, before, domain::receive(context, member, sent)?))
    }

    /// A merge is alone in its group, so that nothing before it in the group, and nothing after it, is about one of both.
    fn merge(
        &mut self,
        programs: &Arc<ProgramHistory>,
        submission: &Submission,
        gone: &MemberKey,
        request: &MergeRequest,
    ) -> Result<Option<Outcome>, LedgerError> {
        if !self.members.is_empty() {
            return Ok(None);
        }
        let (gone, stays) = loading::load_both(self.store, gone, request, (programs, self.now))?;
        let (before, own_before) = (Before::of(&gone.header), Before::of(&stays.header));
        let (asked, actor, principal) = (Some(&submission.request), submission.actor.as_ref(), submission.principal.as_ref());
        let context = Context { programs, now: self.now, request: asked, actor, principal, operator: None, history: History::NONE };
        let (gone, stays) = domain::merge(context, gone, stays, &request.reason)?;
        self.closed = true;
        self.keep(gone.member.key.clone(), before, gone.entries, gone.member)?;
        if gone.still_due || stays.still_due {
            self.keep(stays.member.key.clone(), own_before, stays.entries, stays.member)?;
            return Ok(None);
        }
        self.stage(programs, stays.member.key.clone(), own_before, stays, &submission.command).map(Some)
    }

    /// Enters what is due of a member by time alone, as much of it as one commit takes; the rest stays due. Of several members no more than so
    /// many `bytes`, by estimate. `person`: what is personal is looked at too, for what other rules make of it.
    pub fn advance(&mut self, programs: &Arc<ProgramHistory>, key: &MemberKey, person: bool, bytes: usize) -> Result<Turn, LedgerError> {
        if let Some(place) = self.places.get(key) {
            return Ok(Turn::HadByCommand { is_due: self.is_due(&self.members[*place].member) });
        }
        let demand = MemberDemand { person, ..MemberDemand::header(self.now).under(programs) };
        let Some(member) = self.store.member(key, demand)? else { return Ok(Turn::Had { entries: 0, is_due: false }) };
        let before = Before::of(&member.header);
        let decision = domain::advance(programs, self.now, member)?;
        let own = decision.entries.iter().map(Entry::stored_size_estimate).sum::<usize>();
        if self.due_bytes > 0 && self.due_bytes + own > bytes {
            return Ok(Turn::NextGroup);
        }
        self.due_bytes += own;
        let (entries, is_due) = (decision.entries.len(), self.is_due(&decision.member));
        self.keep(key.clone(), before, decision.entries, decision.member)?;
        Ok(Turn::Had { entries, is_due })
    }

    fn is_due(&self, member: &Member) -> bool {
        member.header.next_due_time().is_some_and(|time| time <= self.now)
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
            | Command::Erase { .. }
            | Command::RecordPurchase(_)
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::ReturnPurchase(_)
            | Command::TransferPoints(_)
            | Command::RecordActivity(_)
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::MergeMembers(_) => false,
        }
    }

    /// The member as the group has left it; `None` if more is needed than can be loaded under what the group has changed.
    fn load(&self, programs: &ProgramHistory, named: &Named, command: &Command) -> Result<Option<Loaded>, LedgerError> {
        let person = command.answers_with_member() || loading::asks_for_birthday(programs, command, self.now);
        let key = &named.key;
        if let Some(staged) = self.places.get(key).map(|place| &self.members[*place]) {
            let demand = command.demand();
            let person = !(person || demand.person) || staged.member.person.is_some();
            let lots = (demand.points.is_none() && !programs.has_goals()) || staged.lots_complete;
            let vouchers = !demand.vouchers && demand.codes.is_empty();
            let enough = person && lots && vouchers && !demand.holds && demand.threads.is_empty() && demand.sale.is_none();
            return Ok(enough.then(|| Loaded { member: staged.member.clone(), history: History::default() }));
        }
        if let Command::Enroll { .. } = command {
            let member = Member::bare(key.clone(), Header::new(self.now));
            return Ok(Some(Loaded { member, history: History::default() }));
        }
        let beside = MemberDemand { person, ..MemberDemand::header(self.now).under(programs) };
        let loaded = loading::load(self.store, programs.newest(), named, command, beside)?.ok_or(Rejection::MemberNotFound)?;
        // By another id the group may have changed the same member.
        Ok((!self.places.contains_key(&loaded.member.key)).then_some(loaded))
    }

    /// What must be unique in the programme, beyond what the member's own state shows.
    fn check_unique(&self, member: &Member, command: &Command) -> Result<(), LedgerError> {
        let key = &member.key;
        if let Some(order) = command.purchase().and_then(|purchase| purchase.order.as_ref())
            && let Some(EntryRef { member, sequence: entry_sequence }) = self.purchase(&key.program, order)?
        {
            let order = order.clone();
            return Err(Rejection::PurchaseExists { order, member, entry_sequence }.into());
        }
        match command {
            Command::Enroll { person } => person.identifiers.iter().try_for_each(|identifier| self.check_free(key, identifier)),
            Command::AddIdentifier { identifier } => self.check_free(key, identifier),
            Command::RecordActivity(request) => self.check_new(member, request),
            Command::UpdateProfile(_)
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::Erase { .. }
            | Command::RecordPurchase(_)
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::ReturnPurchase(_)
            | Command::TransferPoints(_)
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::MergeMembers(_) => Ok(()),
        }
    }

    /// What was done by one that is a part of the member now was done by it.
    fn check_new(&self, member: &Member, request: &ActivityRequest) -> Result<(), LedgerError> {
        let referred = request.referrer.as_ref().map(|_| None);
        for reference in std::iter::once(Some(request.reference.as_str())).chain(referred) {
            let merged = member.header.merged.iter().map(|merged| MemberKey { member: merged.member, ..member.key.clone() });
            for key in std::iter::once(member.key.clone()).chain(merged) {
                let staged = self.activities.get(&(key.clone(), request.activity.clone(), reference.map(str::to_owned)));
                let found = match staged {
                    Some(sequence) => Some(*sequence),
                    None => self.store.activity(&key, &request.activity, reference)?,
                };
                if let Some(entry_sequence) = found {
                    let (activity, member, referred) = (request.activity.clone(), key.member, reference.is_none());
                    return Err(Rejection::from(ActivityRejection::Exists { activity, member, entry_sequence, referred }).into());
                }
            }
        }
        Ok(())
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

    fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<Option<EntryRef>, LedgerError> {
        if let Some(staged) = self.purchases.get(&(program.clone(), order.clone())) {
            return Ok(Some(*staged));
        }
        Ok(self.store.purchase(program, order)?.map(|entry| entry.reference()))
    }

    fn stage(
        &mut self,
        programs: &Arc<ProgramHistory>,
        key: MemberKey,
        before: Before,
        decision: Decision,
        command: &Command,
    ) -> Result<Outcome, LedgerError> {
        let Decision { entries, own, member, done_before, still_due: _, shown } = decision;
        for entry in &entries {
            self.stage_lookups(entry);
        }
        let answered = entries[own].iter().chain(&done_before).cloned().collect();
        let shown = command.answers_with_member().then(|| shown.unwrap_or_else(|| Box::new(member.clone())));
        self.keep(key.clone(), before, entries, member)?;
        Ok(Outcome { programs: Arc::clone(programs), key, entries: answered, member: shown })
    }

    fn keep(&mut self, key: MemberKey, before: Before, mut entries: Vec<Entry>, member: Member) -> Result<(), LedgerError> {
        self.sizes.complete(self.store, &mut entries)?;
        let lots_complete = domain::Points::total(member.lots.values().map(|lot| lot.remaining)) == Ok(member.header.balance.available);
        match self.places.get(&key) {
            None if entries.is_empty() => {}
            Some(place) => {
                let staged = &mut self.members[*place];
                staged.entries.extend(entries);
                staged.member = member;
                staged.lots_complete = lots_complete;
            }
            None => {
                self.places.insert(key.clone(), self.members.len());
                self.members.push(Staged { member, entries, lots_complete, before });
            }
        }
        Ok(())
    }

    /// Later commands of the group must find what this entry makes findable.
    fn stage_lookups(&mut self, entry: &Entry) {
        let program = &entry.key.program;
        let by = entry.key.member;
        self.tallies.keep(entry);
        let mut stage = |identifier: &Identifier, held| {
            self.identifiers.insert((program.clone(), identifier.clone()), StagedIdentifier { by, held });
        };
        if let Some(day) = entry.watched.as_ref().and_then(|watched| watched.operator)
            && let Some(actor) = &entry.actor
        {
            self.operators.insert((program.clone(), actor.clone()), StagedOperator { of: by, day });
        }
        match &entry.kind {
            EntryKind::MemberEnrolled { person: Sealed::Open(person) } => {
                person.identifiers.iter().for_each(|identifier| stage(identifier, true));
            }
            EntryKind::IdentifierAdded { identifier: Sealed::Open(identifier) } => stage(identifier, true),
            EntryKind::IdentifierRemoved { identifier: Sealed::Open(identifier) } => stage(identifier, false),
            EntryKind::PurchaseAccrued(accrued) => {
                let order = accrued.purchase.order.clone().expect("a recorded purchase has an order");
                self.purchases.insert((program.clone(), order), entry.reference());
            }
            EntryKind::ReferralMade(made) => {
                let found_by = made.keys().map(|reference| (entry.key.clone(), made.activity.clone(), reference.map(str::to_owned)));
                self.activities.extend(found_by.map(|key| (key, entry.sequence)));
            }
            EntryKind::ActivityAccrued(accrued) => {
                let found_by = accrued.keys().map(|reference| (entry.key.clone(), accrued.activity.clone(), reference.map(str::to_owned)));
                self.activities.extend(found_by.map(|key| (key, entry.sequence)));
            }
            // Whoever calls one by its code waits for the next group.
            EntryKind::VoucherChanged(_) => self.stocks.keep(entry),
            EntryKind::MemberEnrolled { person: Sealed::Erased }
            | EntryKind::IdentifierAdded { identifier: Sealed::Erased }
            | EntryKind::IdentifierRemoved { identifier: Sealed::Erased }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PurchaseReturned(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            // Nothing comes after it in the group.
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_) => {}
        }
    }
}
