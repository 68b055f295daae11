//! Deciding: a command and a state become entries, or a rejection.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};

use super::{
    ActorId, Command, Entry, EntryKind, FoldError, Identifier, MAX_IDENTIFIERS, Member, MemberState, Person, Profile, ProfileUpdate,
    Program, ProgramHistory, Purchase, PurchaseAccrued, Rejection, Request, Sealed, TierCause, TierChange, TierId, accrual, adjustment,
    expiry, fold::fold, tier,
};

/// What a decision may look at beside the member.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub programs: &'a ProgramHistory,
    pub now: Timestamp,
    /// `None` in a quote, and for what time alone causes.
    pub request: Option<&'a Request>,
    pub actor: Option<&'a ActorId>,
}

/// Entries, and the state after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub entries: Vec<Entry>,
    pub member: Member,
}

/// Decides a command. The member must be loaded as [`Command::reads_person`], [`Command::takes_points`] and what is due ask; a member
/// that is about to enrol has a new header.
pub fn decide(context: Context<'_>, member: Member, command: &Command) -> Result<Decision, Rejection> {
    let mut draft = Draft::new(context, member);
    draft.enter_what_is_due()?;
    match command {
        Command::Enroll { person } => draft.enroll(person),
        Command::UpdateProfile(update) => draft.update_profile(update),
        Command::AddIdentifier { identifier } => draft.add_identifier(identifier),
        Command::RemoveIdentifier { identifier } => draft.remove_identifier(identifier),
        Command::SetTier { tier, reason } => draft.set_tier(tier, reason),
        Command::Suspend { reason } => draft.suspend(reason),
        Command::Reactivate { reason } => draft.reactivate(reason),
        Command::RecordPurchase(purchase) => draft.record_purchase(purchase),
        Command::AdjustPoints(adjustment) => {
            draft.require_active()?;
            let adjusted = adjustment::adjust(context.programs.newest(), &draft.member, adjustment, context.now)?;
            draft.enter(EntryKind::PointsAdjusted(adjusted), context.now, context.programs.newest())?;
            draft.upgrade(context.now)
        }
    }?;
    // A late sale can earn points that have lapsed since.
    draft.enter_what_is_due()?;
    Ok(draft.finish())
}

/// Turns all that is due at or before now into entries, in order of time. The lots that are due must be loaded, and the one after them.
pub fn advance(programs: &ProgramHistory, now: Timestamp, member: Member) -> Result<Decision, Rejection> {
    let mut draft = Draft::new(Context { programs, now, request: None, actor: None }, member);
    draft.enter_what_is_due()?;
    Ok(draft.finish())
}

struct Draft<'a> {
    context: Context<'a>,
    member: Member,
    entries: Vec<Entry>,
}

impl<'a> Draft<'a> {
    fn new(context: Context<'a>, member: Member) -> Self {
        Self { context, member, entries: Vec::new() }
    }

    fn finish(self) -> Decision {
        Decision { entries: self.entries, member: self.member }
    }

    /// The only way an entry comes to be: numbered, folded, and with the balance after it.
    fn enter(&mut self, kind: EntryKind, occurred_time: Timestamp, program: &Program) -> Result<(), Rejection> {
        let by_request = !matches!(kind, EntryKind::PointsExpired(_));
        let mut entry = Entry {
            key: self.member.key.clone(),
            sequence: self.member.header.last_sequence.checked_add(1).ok_or(Rejection::Overflow)?,
            record_time: self.context.now,
            occurred_time,
            request: self.context.request.filter(|_| by_request).cloned(),
            actor: self.context.actor.filter(|_| by_request).cloned(),
            program_version: program.version,
            balance: self.member.header.balance.clone(),
            kind,
        };
        fold(&mut self.member, &entry).map_err(|error| match error {
            FoldError::Overflow { .. } => Rejection::Overflow,
            other => panic!("a decision contradicts the ledger: {other}"),
        })?;
        entry.balance = self.member.header.balance.clone();
        self.entries.push(entry);
        Ok(())
    }

    fn enter_what_is_due(&mut self) -> Result<(), Rejection> {
        while let Some((expired, instant)) = expiry::next_lapse(&self.member, self.context.now) {
            let program = self.context.programs.at(instant);
            self.enter(EntryKind::PointsExpired(expired), instant, program)?;
        }
        Ok(())
    }

    fn enter_now(&mut self, kind: EntryKind) -> Result<(), Rejection> {
        self.enter(kind, self.context.now, self.context.programs.newest())
    }

    fn require_active(&self) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active => Ok(()),
            MemberState::Suspended => Err(Rejection::MemberSuspended),
        }
    }

    fn enroll(&mut self, person: &Person) -> Result<(), Rejection> {
        self.enter_now(EntryKind::MemberEnrolled { person: Sealed::Open(person.clone()) })
    }

    /// An erased person is nobody: there is nothing to change.
    fn person(&self) -> Result<&Person, Rejection> {
        self.member.person.as_ref().and_then(Sealed::open).ok_or(Rejection::MemberNotFound)
    }

    fn update_profile(&mut self, update: &ProfileUpdate) -> Result<(), Rejection> {
        let old = &self.person()?.profile;
        let profile = Profile {
            display_name: update.display_name.as_ref().unwrap_or(&old.display_name).clone(),
            birth_date: update.birth_date.unwrap_or(old.birth_date),
            language_code: update.language_code.as_ref().unwrap_or(&old.language_code).clone(),
        };
        self.enter_now(EntryKind::ProfileUpdated { profile: Sealed::Open(profile) })
    }

    fn add_identifier(&mut self, identifier: &Identifier) -> Result<(), Rejection> {
        let held = &self.person()?.identifiers;
        if held.contains(identifier) {
            return Err(Rejection::IdentifierHeld { kind: identifier.kind });
        }
        if held.len() >= MAX_IDENTIFIERS {
            return Err(Rejection::TooManyIdentifiers { limit: MAX_IDENTIFIERS });
        }
        self.enter_now(EntryKind::IdentifierAdded { identifier: Sealed::Open(identifier.clone()) })
    }

    fn remove_identifier(&mut self, identifier: &Identifier) -> Result<(), Rejection> {
        if !self.person()?.identifiers.contains(identifier) {
            return Err(Rejection::IdentifierNotHeld { kind: identifier.kind });
        }
        self.enter_now(EntryKind::IdentifierRemoved { identifier: Sealed::Open(identifier.clone()) })
    }

    fn suspend(&mut self, reason: &str) -> Result<(), Rejection> {
        self.require_active()?;
        self.enter_now(EntryKind::MemberSuspended { reason: reason.to_owned() })
    }

    fn reactivate(&mut self, reason: &str) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active => Err(Rejection::MemberNotSuspended),
            MemberState::Suspended => self.enter_now(EntryKind::MemberReactivated { reason: reason.to_owned() }),
        }
    }

    fn set_tier(&mut self, to: &TierId, reason: &str) -> Result<(), Rejection> {
        let program = self.context.programs.newest();
        if !program.tiers.iter().any(|tier| tier.id == *to) {
            return Err(Rejection::TierNotFound { tier: to.clone() });
        }
        let from = program.tier(self.member.header.tier.current().map(|held| &held.tier)).map(|tier| tier.id.clone());
        if from.as_ref() == Some(to) && self.member.header.tier.manual {
            return Err(Rejection::TierHeld { tier: to.clone() });
        }
        let change = TierChange { from, to: to.clone(), cause: TierCause::Manual, reason: reason.to_owned() };
        self.enter(EntryKind::TierChanged(change), self.tier_start(self.context.now), program)
    }

    /// Tier times never go back, however late a sale is reported.
    fn tier_start(&self, instant: Timestamp) -> Timestamp {
        self.member.header.tier.current().map_or(instant, |held| held.start_time.max(instant))
    }

    /// To the tier that the newest rule book gives, after an event at an instant.
    fn upgrade(&mut self, instant: Timestamp) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let Some(change) = tier::upgrade(programs.newest(), &self.member.header) else { return Ok(()) };
        let start = self.tier_start(tier::upgrade_start(programs, &self.member.header, &change.to, instant));
        self.enter(EntryKind::TierChanged(change), start, programs.newest())
    }

    fn record_purchase(&mut self, purchase: &Arc<Purchase>) -> Result<(), Rejection> {
        self.require_active()?;
        let occurred_time = purchase.occurred_time.unwrap_or(self.context.now);
        let newest = self.context.programs.newest();
        check_time(newest, occurred_time, self.context.now)?;
        let program = self.context.programs.at(occurred_time);
        let oldest = days_before(self.context.now, self.context.programs.max_age_days());
        let accrual = accrual::accrue(self.context.programs, &self.member.header, purchase, occurred_time, oldest)?;
        let accrued = PurchaseAccrued {
            purchase: Arc::clone(purchase),
            accrual,
            // The rule book of a late sale may not have it.
            tier: newest.tier(self.member.header.tier.current().map(|held| &held.tier)).map(|tier| tier.id.clone()),
        };
        self.enter(EntryKind::PurchaseAccrued(Arc::new(accrued)), occurred_time, program)?;
        self.upgrade(occurred_time)
    }
}

/// Bounds how old and how far ahead a purchase may be.
fn check_time(program: &Program, occurred_time: Timestamp, now: Timestamp) -> Result<(), Rejection> {
    let policy = program.purchase_time;
    if occurred_time < days_before(now, policy.max_age_days) {
        return Err(Rejection::PurchaseTooOld { occurred_time, max_age_days: policy.max_age_days });
    }
    let newest = now.checked_add(i64::from(policy.max_ahead_seconds).seconds()).unwrap_or(Timestamp::MAX);
    if occurred_time > newest {
        return Err(Rejection::PurchaseInFuture { occurred_time, max_ahead_seconds: policy.max_ahead_seconds });
    }
    Ok(())
}

fn days_before(now: Timestamp, days: u32) -> Timestamp {
    now.checked_sub((i64::from(days) * 24).hours()).unwrap_or(Timestamp::MIN)
}
