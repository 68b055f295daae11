//! Redemption: points spent as money, out of lots, and put back into them.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    AccruedLot, Entry, Header, Hold, LotExpiry, LotId, Member, Overflow, Points, Portion, Program, Purchase, PutBack, RedeemRequest,
    Redeemed, RedemptionPolicy, Rejection, Reversed, calendar, expiry, money,
    taking::{Taken, Taking},
};

/// What a redemption takes out of the lots.
pub(super) struct Drawn {
    pub points: Points,
    pub value: Decimal,
    /// Of the points, those that are not there.
    pub owed: Points,
    pub portions: Vec<Portion>,
    /// When the first lot that is left lapses.
    pub next_expiry_time: Option<Timestamp>,
}

pub(super) fn policy(program: &Program) -> Result<&RedemptionPolicy, Rejection> {
    program.redemption.as_ref().ok_or(Rejection::RedemptionNotOffered)
}

/// A programme that bounds the part of an order must know what the order comes to.
pub(super) fn require_order_total(policy: &RedemptionPolicy, request: &RedeemRequest) -> Result<(), Rejection> {
    match (request.order_total, policy.maximum_share) {
        (None, Some(_)) => Err(Rejection::OrderTotalRequired),
        (Some(_), _) | (None, None) => Ok(()),
    }
}

/// What a till may redeem without asking.
pub(super) fn check_floor(program: &Program, purchase: &Purchase) -> Result<(), Rejection> {
    let (limit, requested) = (program.offline.floor_limit, purchase.redeemed_points()?);
    if requested > limit { Err(Rejection::OverFloorLimit { limit, requested }) } else { Ok(()) }
}

/// Judges what is asked for, and takes it from the live lots in their order. As many lots as that needs are loaded. `may_owe`: what the
/// balance lacks is owed, and so may be more than is owed already.
pub(super) fn draw(program: &Program, lots: &Taking<'_>, request: &RedeemRequest, may_owe: bool) -> Result<Drawn, Rejection> {
    let policy = policy(program)?;
    require_order_total(policy, request)?;
    let digits = program.currency.digits();
    let limit = request.order_total.map(|total| order_limit(policy, total, digits)).transpose()?;
    let debt = lots.member.header.balance.debt;
    if debt > Points::ZERO && !may_owe {
        return Err(Rejection::InDebt { debt });
    }
    let available = lots.spendable()?;
    let points = if request.up_to {
        let wanted = request.points.unwrap_or(available).min(available).min(lots.within_reach()?);
        let wanted = limit.map_or(wanted, |limit| wanted.min(limit.points));
        Points(wanted.0 - wanted.0 % policy.step.0)
    } else {
        request.points.unwrap_or(available)
    };
    if points < policy.minimum.max(policy.step) {
        return Err(Rejection::BelowMinimum { minimum: policy.minimum.max(policy.step), requested: points });
    }
    if points.0 % policy.step.0 != 0 {
        return Err(Rejection::NotInSteps { step: policy.step, requested: points });
    }
    let value = policy.value(points, digits)?;
    require_worth(value, points)?;
    check_limit(limit, value)?;
    let taken = if may_owe { points.min(available.max(Points::ZERO)) } else { points };
    let Taken { portions, next_expiry_time } = lots.take(taken)?;
    Ok(Drawn { points, value, owed: points.minus(taken)?, portions, next_expiry_time })
}

/// Nobody gives points away for nothing.
pub(super) fn require_worth(value: Decimal, points: Points) -> Result<(), Rejection> {
    if value.is_zero() { Err(Rejection::WorthNothing { requested: points }) } else { Ok(()) }
}

/// Several payments for one order keep to what of it may be paid with points, together.
pub(super) fn check_order(program: &Program, total: Decimal, paid: Decimal) -> Result<(), Rejection> {
    check_limit(Some(order_limit(policy(program)?, total, program.currency.digits())?), paid)
}

fn check_limit(limit: Option<OrderLimit>, value: Decimal) -> Result<(), Rejection> {
    match limit {
        Some(limit) if value > limit.amount => Err(Rejection::OverOrder { limit: limit.amount, requested: value }),
        Some(_) | None => Ok(()),
    }
}

/// What of an order may be paid with points.
#[derive(Debug, Clone, Copy)]
struct OrderLimit {
    amount: Decimal,
    /// The fewest points that are worth it; if none are worth just that, the most that are worth less.
    points: Points,
}

fn order_limit(policy: &RedemptionPolicy, total: Decimal, digits: u32) -> Result<OrderLimit, Overflow> {
    let share = policy.maximum_share.unwrap_or(Decimal::ONE_HUNDRED);
    let units = money::to_units(total, digits)?.checked_mul(share.mantissa()).ok_or(Overflow)?;
    let units = units / (100 * money::power_of_ten(share.scale())?);
    let (block, worth) = (i128::from(policy.points.0), money::to_units(policy.amount, digits)?);
    let exact = units.checked_mul(block).ok_or(Overflow)?;
    let enough = exact.checked_add(worth - 1).ok_or(Overflow)? / worth;
    // A point can be worth more than the smallest unit of money.
    let is_too_much = enough.checked_mul(worth).ok_or(Overflow)? / block > units;
    let points = if is_too_much { exact / worth } else { enough };
    let points = Points(i64::try_from(points).unwrap_or(i64::MAX));
    Ok(OrderLimit { amount: money::from_units(units, digits)?, points })
}

/// What a member can pay of an order with points, and on which terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// As many as one redemption can use; 0 if there are too few.
    pub points: Points,
    pub value: Decimal,
    pub minimum: Points,
    pub step: Points,
    /// What the programme lets of the order be paid with points, whoever's.
    pub order_limit: Decimal,
}

/// How many points a member could use for an order of so much, and what they are worth; nothing where the programme redeems none.
pub fn usable(program: &Program, header: &Header, order_total: Decimal) -> Result<Option<Usable>, Overflow> {
    let Some(policy) = &program.redemption else { return Ok(None) };
    let digits = program.currency.digits();
    let limit = order_limit(policy, order_total, digits)?;
    let most = if header.balance.debt > Points::ZERO { Points::ZERO } else { header.balance.available.min(limit.points).max(Points::ZERO) };
    let most = Points(most.0 - most.0 % policy.step.0);
    let value = policy.value(most, digits)?;
    let (points, value) = if most < policy.minimum || value.is_zero() { (Points::ZERO, Decimal::ZERO) } else { (most, value) };
    Ok(Some(Usable { points, value, minimum: policy.minimum.max(policy.step), step: policy.step, order_limit: limit.amount }))
}

/// Puts points of a redemption back: first those that were owed, then those that were taken last. They pay debt first, whatever it is for.
/// `so_far`: how many went back before.
pub(super) fn reverse(
    program: &Program,
    member: &Member,
    (origin, redeemed): (&Entry, &Redeemed),
    so_far: Points,
    points: Option<Points>,
    now: Timestamp,
) -> Result<Reversed, Rejection> {
    let left = redeemed.points.minus(so_far)?;
    let points = points.unwrap_or(left);
    if points > left || left.is_zero() {
        return Err(Rejection::MoreThanRedeemed { left, requested: points });
    }
    let owed_before = so_far.min(redeemed.owed);
    let owed = points.min(redeemed.owed.minus(owed_before)?);
    let mut backwards = member.header.coming_back(&redeemed.portions, (origin.record_time, now), &program.time_zone)?;
    backwards.reverse();
    let (_, rest) = super::lot::split(&backwards, so_far.minus(owed_before)?)?;
    let (portions, _) = super::lot::split(&rest, points.minus(owed)?)?;
    let digits = program.currency.digits();
    let total = so_far.plus(points)?;
    // By what is back in all, so that parts sum to the whole.
    let value = redeemed.share(total, digits)?.checked_sub(redeemed.share(so_far, digits)?).ok_or(Overflow)?;
    let debt_paid = member.header.balance.debt.min(points);
    let mut last_lot = member.header.last_lot;
    let lot = owed_lot(program, owed.minus(owed.min(debt_paid))?, &mut last_lot, now)?;
    let put_back = put_back(program, portions, &mut last_lot, now)?;
    Ok(Reversed {
        redemption: origin.reference(),
        points,
        value,
        owed,
        lot,
        put_back,
        so_far: total,
        debt_paid,
        reason: String::new(),
        order: redeemed.order.clone(),
    })
}

/// Where points go back into: their own lots, or, if these have lapsed meanwhile and there is grace, new ones.
pub(super) fn put_back(program: &Program, portions: Vec<Portion>, last_lot: &mut LotId, now: Timestamp) -> Result<Vec<PutBack>, Overflow> {
    let grace_end = grace_end(program, now)?;
    let mut put_back = Vec::with_capacity(portions.len());
    for portion in portions {
        let has_lapsed = portion.lot.expire_time().is_some_and(|expiry| expiry <= now);
        let into = match grace_end.filter(|_| has_lapsed) {
            Some(end) => super::LotKey::new(LotExpiry::At(end), next_lot(last_lot)?),
            None => portion.lot,
        };
        put_back.push(PutBack { portion, into });
    }
    Ok(put_back)
}

/// Points that had been owed, and whose debt later points have paid: they come back as new ones.
fn owed_lot(program: &Program, points: Points, last_lot: &mut LotId, now: Timestamp) -> Result<Option<AccruedLot>, Overflow> {
    if points.is_zero() {
        return Ok(None);
    }
    let expiry = expiry::lot_expiry(program.expiry, &program.time_zone, now, now)?;
    Ok(Some(AccruedLot::new(next_lot(last_lot)?, points, expiry)))
}

fn next_lot(last_lot: &mut LotId) -> Result<LotId, Overflow> {
    *last_lot = LotId(last_lot.0.checked_add(1).ok_or(Overflow)?);
    Ok(*last_lot)
}

/// Until when points that have lapsed meanwhile are given back for; `None`: they lapse.
fn grace_end(program: &Program, now: Timestamp) -> Result<Option<Timestamp>, Overflow> {
    let days = program.redemption.as_ref().map_or(0, |policy| policy.grace_days);
    if days == 0 {
        return Ok(None);
    }
    let today = calendar::local_date(&program.time_zone, now);
    let after = calendar::add_days(calendar::add_days(today, days)?, 1)?;
    calendar::start_of_day(&program.time_zone, after).map(Some)
}

impl RedemptionPolicy {
    /// What points are worth, rounded down to the currency's smallest unit.
    pub fn value(&self, points: Points, digits: u32) -> Result<Decimal, Overflow> {
        let worth = money::to_units(self.amount, digits)?;
        let units = i128::from(points.0).checked_mul(worth).ok_or(Overflow)? / i128::from(self.points.0);
        money::from_units(units, digits)
    }
}

impl Redeemed {
    /// The part of the value that so many of the points are, rounded down.
    pub fn share(&self, points: Points, digits: u32) -> Result<Decimal, Overflow> {
        share((self.points, self.value), points, digits)
    }
}

impl Hold {
    /// The part of the value that so many of the points are, rounded down.
    pub fn share(&self, points: Points, digits: u32) -> Result<Decimal, Overflow> {
        share((self.points, self.value), points, digits)
    }
}

fn share((whole, value): (Points, Decimal), points: Points, digits: u32) -> Result<Decimal, Overflow> {
    if points == whole {
        return Ok(value);
    }
    let units = money::to_units(value, digits)?.checked_mul(i128::from(points.0)).ok_or(Overflow)?;
    money::from_units(units / i128::from(whole.0), digits)
}
