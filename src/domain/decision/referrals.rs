//! Referrals that wait for a purchase: how they come to be, what they give on both sides, and how that is taken back.

use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    super::{
        Accrual, AccruedLot, ActivityRejection, ActivityRequest, ActivitySide, Entry, EntryKind, EntryRef, FraudLimit, LotKey, MAX_LOTS,
        MemberId, MemberState, OrderKey, Program, Purchase, PurchaseAccrued, Referral, ReferralEarned, ReferralTakenBack, ReferralTerms,
        ReferrerAbsent, Rejection, ReturnRequest, accrual, activity,
        activity::Done,
        fraud,
        referral::{self, Bonus},
        returns::{Due, Sale},
    },
    Decision, Draft, History, Thread,
};

/// What a referral gave for a sale of which goods come back.
#[derive(Clone, Copy)]
pub(super) struct Borne<'a> {
    bonus: Bonus<'a>,
    /// The entry of the other side, whosever it is.
    other: Option<EntryRef>,
    /// The other side of it, where the member has become the one who referred it.
    referrer: Option<Bonus<'a>>,
    /// What is left of the sale, and of others that share what was given with it.
    basis: Decimal,
    is_shared: bool,
}

/// What a referral has to do with a purchase that is recorded.
#[derive(Clone, Copy)]
pub(super) enum Earning<'a> {
    /// It can be what a referral waits for.
    First,
    /// It is an exchange of goods for which a referral gave something, and that stays.
    GoesOn(Borne<'a>),
    /// It is one after which too little is left: what was given is gone.
    Nothing,
}

impl Borne<'_> {
    fn is_enough_with(&self, basis: Decimal) -> Result<bool, Rejection> {
        let left = self.basis.checked_add(basis).ok_or(Rejection::Overflow)?;
        Ok(self.bonus.earned.referral.is_enough(left))
    }

    /// For the entry of the return.
    pub fn shared_basis(&self) -> Option<(EntryRef, Decimal)> {
        self.is_shared.then(|| (self.bonus.entry.reference(), self.basis))
    }
}

impl Decision {
    /// The command's own entry that has another side, in the ledger of another member.
    pub fn for_other_side(&self) -> Option<&Entry> {
        let own = self.entries.get(self.own.clone())?;
        own.iter().find(|entry| has_other_side(&entry.kind))
    }
}

fn has_other_side(kind: &EntryKind) -> bool {
    if let EntryKind::ActivityAccrued(accrued) = kind {
        let is_absent = accrued.referral.as_ref().is_some_and(|earned| earned.absent.is_some());
        return matches!(accrued.side, ActivitySide::Member { referrer: Some(_) }) && !is_absent;
    }
    if let EntryKind::ReferralTakenBack(back) = kind {
        return matches!(back.side, ActivitySide::Member { .. });
    }
    matches!(kind, EntryKind::PointsTransferredOut(_) | EntryKind::ReferralMade(_))
}

impl<'a> Draft<'a> {
    /// What a referral gave for a sale, if it has not been taken back.
    pub(super) fn borne(&self, sale: &Sale<'_>, due: &Due) -> Result<Option<Borne<'a>>, Rejection> {
        let history: &'a History = self.context.history;
        let Some(given) = sale.accrued.referral else { return Ok(None) };
        let Some((bonus, other)) = history.threads.get(&given).and_then(Thread::standing_bonus) else { return Ok(None) };
        let referrer = other.and_then(|other| history.threads.get(&other)).and_then(|thread| Bonus::of(&thread.origin));
        let shared = self.member.header.referral_bases.get(&given);
        let basis = match shared {
            Some(basis) => basis.checked_sub(due.basis).ok_or(Rejection::Overflow)?,
            None => due.rest.basis,
        };
        Ok(Some(Borne { bonus, other, referrer, basis, is_shared: shared.is_some() }))
    }

    /// Whether it stays with what is left of the goods and of those that take their place.
    fn stays(&self, borne: &Borne<'_>, exchange: Option<&Arc<Purchase>>) -> Result<bool, Rejection> {
        if borne.is_enough_with(Decimal::ZERO)? {
            return Ok(true);
        }
        let Some(purchase) = exchange else { return Ok(false) };
        // An exchange comes with its prices: none is left to tier and vouchers.
        let program = self.context.programs.at(self.require_sale(purchase)?);
        borne.is_enough_with(accrual::basis(program, purchase)?)
    }
}

impl Draft<'_> {
    /// It waits for the member's first qualifying purchase.
    pub(super) fn refer(
        &mut self,
        (program, terms): (&Program, &ReferralTerms),
        request: &ActivityRequest,
        referrer: MemberId,
        occurred_time: Timestamp,
    ) -> Result<(), Rejection> {
        let header = &self.member.header;
        if let Some(held) = &header.referral {
            let (activity, EntryRef { member, sequence }) = (held.referral.activity.clone(), held.referral.made);
            return Err(ActivityRejection::Exists { activity, member, entry_sequence: sequence, referred: true }.into());
        }
        if header.purchases > 0 {
            return Err(ActivityRejection::ReferralTooLate { purchases: header.purchases }.into());
        }
        if self.context.history.referrers.contains(&self.member.key.member) {
            return Err(ActivityRejection::ReferralRing { referrer }.into());
        }
        let referral = Referral {
            referrer,
            activity: request.activity.clone(),
            reference: request.reference.clone(),
            occurred_time,
            until: terms.until(program, occurred_time)?,
            minimum_amount: terms.minimum_amount,
            program_version: program.version,
            made: self.own(header.last_sequence.checked_add(1).ok_or(Rejection::Overflow)?),
        };
        self.enter(EntryKind::ReferralMade(Box::new(referral)), occurred_time, program)
    }

    /// The other side of it: nothing, but that there must be somebody who can get something.
    pub(super) fn require_referrer(&self) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active => Ok(()),
            MemberState::Suspended => Err(Rejection::ReferrerSuspended),
            MemberState::Merged { .. } => Err(ActivityRejection::ReferrerNotFound.into()),
            MemberState::Erased => Err(Rejection::ReferrerErased),
        }
    }

    /// Which entry gives what a referral gives for a sale that is about to be entered, if one does, and the basis of all goods for which it does, if
    /// there are others.
    pub(super) fn bonus_of(
        &self,
        accrual: &Accrual,
        occurred_time: Timestamp,
        earning: Earning<'_>,
    ) -> Result<(Option<EntryRef>, Option<Decimal>), Rejection> {
        let waits = self.member.header.referral.as_ref().filter(|held| held.waits);
        let is_met = waits.is_some_and(|held| held.referral.is_met(occurred_time, accrual.basis));
        match earning {
            Earning::Nothing => return Ok((None, None)),
            // Goods that are not needed for what was given can be what another referral waits for.
            Earning::GoesOn(borne) if !is_met || !borne.is_enough_with(Decimal::ZERO)? => {
                let basis = borne.basis.checked_add(accrual.basis).ok_or(Rejection::Overflow)?;
                return Ok((Some(borne.bonus.entry.reference()), Some(basis)));
            }
            Earning::First if !is_met => return Ok((None, None)),
            Earning::GoesOn(_) | Earning::First => {}
        }
        // It comes behind the vouchers that come right behind the sale.
        let program = self.context.programs.version(accrual.program_version);
        let kinds = accrual.promotions.iter().filter_map(|award| award.voucher());
        let vouchers = kinds.filter(|kind| program.is_some_and(|program| program.voucher_kind(kind).is_some())).count();
        let behind = u64::try_from(vouchers).map_err(|_| Rejection::Overflow)?.checked_add(2).ok_or(Rejection::Overflow)?;
        Ok((Some(self.own(self.member.header.last_sequence.checked_add(behind).ok_or(Rejection::Overflow)?)), None))
    }

    /// The member's side of what a referral gives for a sale that was entered, if it is this one that earns it.
    pub(super) fn earn_referral(&mut self, accrued: &PurchaseAccrued, sale: EntryRef, occurred_time: Timestamp) -> Result<(), Rejection> {
        let next = self.own(self.member.header.last_sequence.checked_add(1).ok_or(Rejection::Overflow)?);
        let Some(held) = self.member.header.referral.as_ref().filter(|held| held.waits && accrued.referral == Some(next)) else {
            return Ok(());
        };
        let referral = held.referral.clone();
        let (referrer, state) = self.context.history.referrer.expect("who referred the member is loaded where a purchase may earn it");
        let absent = match state {
            MemberState::Active | MemberState::Merged { .. } => None,
            MemberState::Suspended => Some(ReferrerAbsent::Suspended),
            MemberState::Erased => Some(ReferrerAbsent::Erased),
        };
        let order = accrued.purchase.order.clone();
        let earned = ReferralEarned { referral, sale, order, refused: None, absent };
        self.enter_bonus(ActivitySide::Member { referrer: Some(referrer) }, earned, occurred_time)
    }

    /// The side of who referred the member.
    pub(super) fn referrer_earns(&mut self, sent: &Entry, earned: &ReferralEarned) -> Result<(), Rejection> {
        self.require_referrer()?;
        let side = ActivitySide::Referrer { member: sent.key.member, sequence: sent.sequence };
        self.enter_bonus(side, ReferralEarned { refused: None, ..earned.clone() }, sent.occurred_time)?;
        self.upgrade(sent.occurred_time)
    }

    /// A sale is never refused for what its referral would give: then that side gets nothing.
    fn enter_bonus(&mut self, side: ActivitySide, earned: ReferralEarned, occurred_time: Timestamp) -> Result<(), Rejection> {
        let (programs, oldest) = (self.context.programs, self.oldest());
        let referral = &earned.referral;
        let program = programs.version(referral.program_version).unwrap_or_else(|| programs.newest());
        let (activity, reference, time) = (&referral.activity, referral.reference.as_str(), referral.occurred_time);
        let done = Done { activity, reference, side, time, program };
        let header = &self.member.header;
        let mut accrued = activity::accrue(programs, header, done, (occurred_time, self.context.now), oldest)?;
        let mut refused = None;
        match fraud::watch(programs, header, occurred_time, oldest, &[(FraudLimit::PointsPerDay, accrued.points.0)]) {
            Ok(watched) => self.watched = watched,
            Err(Rejection::FraudLimit(flag)) => {
                refused = Some(flag.limit);
                accrued = accrued.without_points();
            }
            Err(other) => return Err(other),
        }
        accrued.referral = Some(Box::new(ReferralEarned { refused, ..earned }));
        self.enter(EntryKind::ActivityAccrued(Arc::new(accrued)), occurred_time, program)
    }

    /// What becomes of it when goods come back. What is taken back goes before the exchange is recorded: it neither pays for that nor leads to a tier
    /// with it.
    pub(super) fn go_on<'b>(&mut self, borne: Option<Borne<'b>>, request: &ReturnRequest) -> Result<Earning<'b>, Rejection> {
        let Some(borne) = borne else { return Ok(Earning::First) };
        if self.stays(&borne, request.exchange.as_ref())? {
            return Ok(Earning::GoesOn(borne));
        }
        self.take_bonus_back(&borne, request)?;
        Ok(Earning::Nothing)
    }

    /// Takes it back, and the referral waits again: of who referred the member too, where the member has become that one.
    fn take_bonus_back(&mut self, borne: &Borne<'_>, request: &ReturnRequest) -> Result<(), Rejection> {
        let Borne { bonus, other, referrer, .. } = *borne;
        self.take_side_back(bonus, (bonus.accrued.side, other), (&request.order, &request.reason))?;
        if let Some(other) = referrer {
            let back = self.own(self.member.header.last_sequence);
            let side = ActivitySide::Referrer { member: back.member, sequence: back.sequence };
            self.take_side_back(other, (side, None), (&request.order, &request.reason))?;
        }
        Ok(())
    }

    /// The tier that was reached with it.
    pub(super) fn review_bonus(&mut self, borne: &Borne<'_>) -> Result<(), Rejection> {
        self.review_return(borne.bonus.entry.occurred_time)
    }

    /// The side of who referred the member.
    pub(super) fn referrer_gives_back(&mut self, sent: &Entry, back: &ReferralTakenBack) -> Result<(), Rejection> {
        let history = self.context.history;
        let is_of = |bonus: &Bonus<'_>| bonus.accrued.continues() == Some(back.bonus);
        let Some(bonus) = history.threads.values().filter_map(|thread| Bonus::of(&thread.origin)).find(is_of) else { return Ok(()) };
        let side = ActivitySide::Referrer { member: sent.key.member, sequence: sent.sequence };
        self.take_side_back(bonus, (side, None), (&back.order, &back.reason))?;
        self.review_return(bonus.entry.occurred_time)
    }

    fn take_side_back(
        &mut self,
        bonus: Bonus<'_>,
        (side, other_bonus): (ActivitySide, Option<EntryRef>),
        (order, reason): (&OrderKey, &str),
    ) -> Result<(), Rejection> {
        let accrued = bonus.accrued;
        let own: Vec<LotKey> = accrued.lots.iter().map(AccruedLot::key).collect();
        self.cancel_reached(&[bonus.entry.reference(), bonus.earned.sale], (&accrued.lots, &own), accrued.points, reason)?;
        let (newest, now) = (self.context.programs.newest(), self.context.now);
        let room = self.lots_left.min(MAX_LOTS);
        let back = referral::take_back(newest, &self.member, bonus, (side, order, reason), room, now)?;
        self.lots_left = self.lots_left.saturating_sub(back.from_bonus.len() + back.from_others.len());
        self.sale_counted = bonus.entry.counted.map(|counted| counted.day);
        self.enter_now(EntryKind::ReferralTakenBack(Box::new(ReferralTakenBack { other_bonus, ..back })))
    }
}
