//! Referrals that are earned with a purchase: whoever was referred buys for the first time, and both sides get points for it. They are taken
//! back with the goods.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    ActivityAccrued, ActivityId, ActivitySide, Allocation, Counter, Entry, EntryKind, EntryRef, FraudLimit, Header, LotKey, Member,
    MemberId, OrderKey, Overflow, PendingTaken, Points, Program, Rejection, Shortfall, Thread, calendar, returns,
};

/// Days that a referral waits for a purchase, at most; about ten years.
pub const MAX_REFERRAL_DAYS: u32 = 3_660;

/// Of whoever refers a member so many are looked at in a row, each referred by the next: none of them may be the member.
pub const MAX_REFERRAL_CHAIN: usize = 8;

/// What a rule book asks for before a referral gives anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralTerms {
    /// Its activity rules say what both sides get.
    pub activity: ActivityId,
    /// Of the purchase's basis; 0: any basis above zero.
    pub minimum_amount: Decimal,
    /// Local days after the one of the referral on which the purchase may occur; 0: without end.
    pub within_days: u32,
}

impl ReferralTerms {
    /// When a referral of an instant ends, exclusive.
    pub(super) fn until(&self, program: &Program, occurred_time: Timestamp) -> Result<Option<Timestamp>, Overflow> {
        if self.within_days == 0 {
            return Ok(None);
        }
        let day = calendar::local_date(&program.time_zone, occurred_time);
        let end = calendar::add_days(calendar::add_days(day, self.within_days)?, 1)?;
        calendar::start_of_day(&program.time_zone, end).map(Some)
    }
}

/// A member was referred, under the terms of then, whatever later versions of the rule book say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// As the member was called then: it may have become a part of another.
    pub referrer: MemberId,
    pub activity: ActivityId,
    pub reference: String,
    pub occurred_time: Timestamp,
    /// The purchase must occur before; `None`: whenever.
    pub until: Option<Timestamp>,
    pub minimum_amount: Decimal,
    /// Whose rules say what both sides get.
    pub program_version: u32,
    /// The entry that says so.
    pub made: EntryRef,
}

impl Referral {
    /// Whether a purchase of an instant is what it waits for; `basis`: what of it earns.
    pub(super) fn is_met(&self, occurred_time: Timestamp, basis: Decimal) -> bool {
        self.counts_at(occurred_time) && self.is_enough(basis)
    }

    /// Whether a purchase of an instant may be what it waits for.
    pub fn counts_at(&self, occurred_time: Timestamp) -> bool {
        occurred_time >= self.occurred_time && !self.is_over_at(occurred_time)
    }

    fn is_over_at(&self, instant: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= instant)
    }

    pub(super) fn is_enough(&self, basis: Decimal) -> bool {
        basis > Decimal::ZERO && basis >= self.minimum_amount
    }
}

/// How a member was referred. There is one at most, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralHeld {
    pub referral: Referral,
    /// No purchase has earned it yet, or what it gave was taken back.
    pub waits: bool,
}

impl Referral {
    /// By what it is found again in its member's ledger, so that nobody is referred twice: as [`ActivityAccrued::keys`].
    pub fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        [Some(self.reference.as_str()), None].into_iter()
    }

    pub fn is_found_by(&self, activity: &ActivityId, key: Option<&str>) -> bool {
        self.activity == *activity && self.keys().any(|own| own == key)
    }
}

impl ReferralHeld {
    /// The referral that a purchase of now can earn.
    pub fn waiting_at(&self, now: Timestamp) -> Option<&Referral> {
        Some(&self.referral).filter(|referral| self.waits && !referral.is_over_at(now))
    }
}

/// What a referral gave, beside the points: why, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralEarned {
    pub referral: Referral,
    /// The purchase of the referred member that earned it.
    pub sale: EntryRef,
    /// `None` in a quote of one that has none.
    pub order: Option<OrderKey>,
    /// This side gets nothing, since that would exceed a fraud limit which refuses.
    pub refused: Option<FraudLimit>,
    /// On the side of who was referred: the other side gets nothing.
    pub absent: Option<ReferrerAbsent>,
}

/// Why nothing is given to who referred a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferrerAbsent {
    Suspended,
    Erased,
}

/// What a referral gave is taken back, on one of its sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralTakenBack {
    /// The entry that gave it.
    pub bonus: EntryRef,
    pub referral: Referral,
    /// Of the referrer's side, with the other side's entry that takes back.
    pub side: ActivitySide,
    /// Of the member's side: the entry that gave the other side its part, if one did.
    pub other_bonus: Option<EntryRef>,
    /// Of the goods that came back.
    pub order: OrderKey,
    pub reason: String,
    /// All that was given on this side: the sum from `from_pending` to `withheld`.
    pub points: Points,
    pub qualifying_points: Points,
    pub from_pending: Vec<PendingTaken>,
    pub from_bonus: Vec<Allocation>,
    pub from_others: Vec<Allocation>,
    pub debt: Points,
    /// Not taken: let go.
    pub forgiven: Points,
    /// Not taken: the cashier keeps their worth back.
    pub withheld: Points,
    /// What the withheld points are worth; `None`: the programme does not redeem points.
    pub withheld_value: Option<Decimal>,
    /// What counters stand at after it, for those that it touched.
    pub counters: Vec<Counter>,
    /// When the next of the lots that are left lapses; not later than that.
    pub next_expiry_time: Option<Timestamp>,
    pub next_activation_time: Option<Timestamp>,
}

/// What a referral gave on one side, as it is looked up.
#[derive(Clone, Copy)]
pub(super) struct Bonus<'a> {
    pub entry: &'a Entry,
    pub accrued: &'a ActivityAccrued,
    pub earned: &'a ReferralEarned,
}

impl<'a> Bonus<'a> {
    /// `None`: the entry is none.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        let EntryKind::ActivityAccrued(accrued) = &entry.kind else { return None };
        Some(Self { entry, accrued, earned: accrued.referral.as_deref()? })
    }

    fn counters(&self, header: &Header) -> Result<Vec<Counter>, Overflow> {
        let mut counters = Vec::new();
        for award in self.accrued.awards.iter().filter(|award| award.points > Points::ZERO) {
            for counter in self.accrued.counters.iter().filter(|counter| counter.rule == award.rule) {
                // Those of periods that nothing can count in any more are gone.
                if let Some(now) = header.counters.get(&(counter.rule.clone(), counter.period)) {
                    let points = now.minus(award.points)?.max(Points::ZERO);
                    counters.push(Counter { rule: counter.rule.clone(), period: counter.period, points });
                }
            }
        }
        Ok(counters)
    }
}

impl Thread {
    /// What a referral gave, and nobody has taken back, with the entry that gave its part to the one who referred, if one did.
    pub(super) fn standing_bonus(&self) -> Option<(Bonus<'_>, Option<EntryRef>)> {
        let is_gone = matches!(self.latest.as_ref().map(|latest| &latest.kind), Some(EntryKind::ReferralTakenBack(_)));
        Some((Bonus::of(&self.origin)?, self.referrer_bonus())).filter(|_| !is_gone)
    }

    /// The entry that gave its part to who referred the member, of what a referral gave the member.
    pub fn referrer_bonus(&self) -> Option<EntryRef> {
        let latest = self.latest.as_ref()?;
        let bonus = Bonus::of(latest)?;
        matches!(bonus.accrued.side, ActivitySide::Referrer { .. }).then(|| latest.reference())
    }
}

/// What of points that should be taken back and are not there is owed, let go, and withheld.
fn short(shortfall: Shortfall, side: ActivitySide, left: Points, requested: Points) -> Result<[Points; 3], Rejection> {
    let (debt, forgiven, withheld) =
        ([left, Points::ZERO, Points::ZERO], [Points::ZERO, left, Points::ZERO], [Points::ZERO, Points::ZERO, left]);
    match (shortfall, side) {
        (Shortfall::Debt, _) => Ok(debt),
        (Shortfall::Forgive, _) => Ok(forgiven),
        // Who referred is not at the till, and nobody's return is refused for what they have spent.
        (Shortfall::Refuse | Shortfall::Withhold, ActivitySide::Referrer { .. }) => Ok(debt),
        (Shortfall::Withhold, ActivitySide::Member { .. }) => Ok(withheld),
        (Shortfall::Refuse, ActivitySide::Member { .. }) if left > Points::ZERO => {
            Err(Rejection::ReturnShortfall { shortfall: left, requested })
        }
        (Shortfall::Refuse, ActivitySide::Member { .. }) => Ok(debt),
    }
}

/// Takes all back that a referral gave on a side: from its own lots, and then as from a return. All pending lots, the lots of the bonus and as
/// many others as that needs are loaded. `room`: so many lots of others may be taken from.
pub(super) fn take_back(
    program: &Program,
    member: &Member,
    bonus: Bonus<'_>,
    (side, order, reason): (ActivitySide, &OrderKey, &str),
    room: usize,
    now: Timestamp,
) -> Result<ReferralTakenBack, Rejection> {
    let accrued = bonus.accrued;
    let due = (accrued.points, accrued.qualifying_points);
    let own = accrued.lots.iter().map(super::AccruedLot::key);
    let gathered = returns::gather(program, member, (accrued.lots.as_slice(), own), due, room, now)?;
    if gathered.is_cut && matches!(side, ActivitySide::Member { .. }) {
        return Err(super::taking::too_many(accrued.points.minus(gathered.left)?, accrued.points));
    }
    let [debt, forgiven, withheld] = short(program.returns.shortfall, side, gathered.left, accrued.points)?;
    let worth = program.redemption.as_ref().filter(|_| withheld > Points::ZERO);
    let counted = member.header.lifetime.qualifying_points.max(Points::ZERO);
    Ok(ReferralTakenBack {
        bonus: bonus.entry.reference(),
        referral: bonus.earned.referral.clone(),
        side,
        other_bonus: None,
        order: order.clone(),
        reason: reason.to_owned(),
        points: accrued.points,
        // What was to count later is not taken from what counts.
        qualifying_points: accrued.qualifying_points.minus(gathered.waiting)?.min(counted),
        from_pending: gathered.from_pending,
        from_bonus: gathered.from_own,
        from_others: gathered.from_others,
        debt,
        forgiven,
        withheld,
        withheld_value: worth.map(|policy| policy.value(withheld, program.currency.digits())).transpose()?,
        counters: bonus.counters(&member.header)?,
        next_expiry_time: gathered.next_expiry_time,
        next_activation_time: gathered.next_activation_time,
    })
}

/// The lots of what a referral gave.
pub(super) fn lots(entry: &Entry) -> Vec<LotKey> {
    Bonus::of(entry).map_or_else(Vec::new, |bonus| bonus.accrued.lots.iter().map(super::AccruedLot::key).collect())
}

/// Of two members who are one from now on. What waits of one ends where the other has bought before, who is a customer already, and where it was
/// the other who referred; of two the one that is earned counts, or one whose days are not over, or the earlier one. One whose days are over can be
/// earned by a purchase that is told late.
pub(super) fn join(own: (MemberId, &Header), gone: (MemberId, &Header), now: Timestamp) -> Option<ReferralHeld> {
    let merged = |header: &Header| header.merged.iter().map(|merged| merged.member).collect::<Vec<_>>();
    let they: BTreeSet<MemberId> = merged(own.1).into_iter().chain(merged(gone.1)).chain([own.0, gone.0]).collect();
    let kept = |held: &Option<ReferralHeld>, other: &Header| {
        let ends = |held: &ReferralHeld| they.contains(&held.referral.referrer) || (held.waits && other.purchases > 0);
        held.clone().filter(|held| !ends(held))
    };
    match (kept(&own.1.referral, gone.1), kept(&gone.1.referral, own.1)) {
        (Some(own), Some(gone)) => {
            let order = |held: &ReferralHeld| (held.waits, held.referral.is_over_at(now), held.referral.occurred_time);
            Some(if order(&gone) < order(&own) { gone } else { own })
        }
        (own, gone) => own.or(gone),
    }
}
