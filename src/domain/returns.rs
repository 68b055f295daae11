//! Returns: taking back exactly what was earned.
//!
//! What a return takes is the difference between what the rest of the purchase earned before it and after it, under the rules of the sale.
//! It is taken from the sale's pending points, from its lots, and then as the programme says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    AccruedLot, Allocation, Counter, Entry, EntryKind, EntryRef, Header, Lot, LotKey, MAX_LOTS, MAX_RETURNS, Member, Overflow, PendingKey,
    PendingLot, PendingTaken, Points, Program, ProgramHistory, PromotionCounts, PurchaseAccrued, Rejection, ReturnRequest, ReturnTotals,
    Returned, ReturnedLine, SaleState, Shortfall, Tallies, Thread, Voucher, VoucherCause, VoucherCode,
    accrual::{self, Remaining},
    calendar, money, taking,
};

/// A purchase, and what has become of it.
pub(super) struct Sale<'a> {
    pub entry: &'a Entry,
    pub accrued: &'a PurchaseAccrued,
    pub state: SaleState,
}

impl<'a> Sale<'a> {
    /// `None`: the thread is not a purchase's.
    pub fn of(thread: &'a Thread) -> Option<Self> {
        let EntryKind::PurchaseAccrued(accrued) = &thread.origin.kind else { return None };
        let state = match thread.latest.as_ref().map(|latest| &latest.kind) {
            Some(EntryKind::PurchaseReturned(returned)) => returned.sale.clone(),
            Some(EntryKind::PointsActivated(activated)) => activated.confirmed.as_ref()?.sale.clone(),
            _ => SaleState { sale: thread.origin.reference(), activated: Vec::new(), returned: ReturnTotals::default() },
        };
        Some(Self { entry: &thread.origin, accrued, state })
    }

    /// Where the sale's points may be that can be spent.
    pub fn lots(&self) -> impl Iterator<Item = LotKey> {
        let lots = self.accrued.accrual.lots.iter().map(AccruedLot::key);
        lots.chain(self.state.activated.iter().copied())
    }

    fn check_left(&self, programs: &ProgramHistory, request: &ReturnRequest) -> Result<(), Rejection> {
        let accrual = &self.accrued.accrual;
        accrual::check_left(self.program(programs)?, &self.accrued.purchase, accrual, &self.state.returned, request)
    }

    /// A published version never goes away.
    fn program<'b>(&self, programs: &'b ProgramHistory) -> Result<&'b Program, Rejection> {
        programs.version(self.accrued.accrual.program_version).map(|program| &**program).ok_or(Rejection::Overflow)
    }

    /// Whether the promotion that gave a voucher with the sale has what it asks for, in what is left.
    pub fn still_gives(&self, programs: &ProgramHistory, issued: EntryRef) -> Result<bool, Rejection> {
        let behind = issued.sequence.checked_sub(self.entry.sequence).and_then(|behind| usize::try_from(behind).ok()?.checked_sub(1));
        let issuing = self.accrued.accrual.promotions.iter().enumerate().filter(|(_, award)| award.voucher().is_some());
        let Some(place) = behind.and_then(|behind| issuing.map(|(place, _)| place).nth(behind)) else { return Ok(true) };
        let left = self.remaining(programs, &self.state.returned)?;
        Ok(left.promotions.get(place).is_some_and(|left| left.stands))
    }

    fn remaining(&self, programs: &ProgramHistory, returned: &ReturnTotals) -> Result<Remaining, Rejection> {
        let accrual = &self.accrued.accrual;
        let program = self.program(programs)?;
        accrual::remaining(program, &self.accrued.purchase, accrual, self.entry.occurred_time, returned)
    }
}

/// What a return comes to, before it is known where the points are.
pub(super) struct Due {
    pub totals: ReturnTotals,
    pub points: Points,
    pub qualifying_points: Points,
    pub basis: Decimal,
    pub counters: Vec<Counter>,
    pub promotion_counts: PromotionCounts,
    /// Of promotions of which nothing is left; neither used nor held.
    pub lost_vouchers: Vec<VoucherCode>,
    /// The same, but held.
    pub held_vouchers: Vec<VoucherCode>,
    pub voids: bool,
    /// What is left after it.
    pub rest: Remaining,
}

pub(super) fn due(
    programs: &ProgramHistory,
    (member, tallies): (&Member, &Tallies),
    sale: &Sale<'_>,
    request: &ReturnRequest,
) -> Result<Due, Rejection> {
    let old = &sale.state.returned;
    let mut before = sale.remaining(programs, old)?;
    before.bound(old.promotions.iter().copied())?;
    if before.is_all {
        return Err(Rejection::PurchaseReturned);
    }
    let mut totals = with(old, request)?;
    if totals == *old {
        return Err(Rejection::NothingReturned);
    }
    if old.returns >= MAX_RETURNS && !request.whole {
        return Err(Rejection::TooManyReturns { limit: MAX_RETURNS });
    }
    sale.check_left(programs, request)?;
    let mut after = sale.remaining(programs, &totals)?;
    let unbound = after.promotions.clone();
    after.bound(before.promotions.iter().copied().enumerate())?;
    let bound = after.promotions.iter().copied().enumerate();
    totals.promotions = bound.filter(|(place, left)| unbound.get(*place) != Some(left)).collect();
    let accrual = &sale.accrued.accrual;
    let points = accrual.points.minus(after.points)?.minus(old.points)?.max(Points::ZERO);
    let qualifying_points = accrual.qualifying_points.minus(after.qualifying_points)?.minus(old.qualifying_points)?.max(Points::ZERO);
    let taken_back = accrual.basis.checked_sub(after.basis).ok_or(Overflow)?;
    let basis = taken_back.checked_sub(old.basis).ok_or(Overflow)?;
    totals.points = old.points.plus(points)?;
    totals.qualifying_points = old.qualifying_points.plus(qualifying_points)?;
    totals.basis = taken_back;
    totals.is_void = after.is_void;
    totals.returns = old.returns.checked_add(1).ok_or(Overflow)?;
    let counters = counters(&member.header, sale, &before, &after)?;
    let (held, lost): (Vec<_>, Vec<_>) =
        lost_vouchers(member, sale, (&before, &after)).into_iter().partition(|(_, code)| is_held(member, code));
    let promotion_counts = promotion_counts(sale.program(programs)?, (&member.header, tallies), sale, (&before, &after), &lost)?;
    let lost_vouchers = lost.into_iter().map(|(_, code)| code).collect();
    let held_vouchers = held.into_iter().map(|(_, code)| code).collect();
    let voids = after.is_void && !before.is_void;
    Ok(Due { points, qualifying_points, basis, counters, promotion_counts, lost_vouchers, held_vouchers, voids, totals, rest: after })
}

/// Of so many points that paid the purchase, how many go back in all: in proportion to the value that has come back. Shipping and tip bear
/// their share, which goes back with them.
pub(super) fn reinstated(programs: &ProgramHistory, sale: &Sale<'_>, rest: &Remaining, points: Points) -> Result<Points, Rejection> {
    if rest.is_all || rest.value == 0 {
        return Ok(if rest.is_all { points } else { Points::ZERO });
    }
    let purchase = &sale.accrued.purchase;
    let digits = sale.program(programs)?.currency.digits();
    let total = money::to_units(purchase.total, digits)?;
    let goods = total - money::to_units(purchase.shipping, digits)? - money::to_units(purchase.tip, digits)?;
    let of = |points: i128, part: i128, whole: i128| Ok::<_, Overflow>(points.checked_mul(part).ok_or(Overflow)? / whole.max(1));
    let part = of(of(i128::from(points.0), goods, total)?, rest.returned_value, rest.value)?;
    Ok(Points(i64::try_from(part).map_err(|_| Overflow)?))
}

/// What has come back with this return.
fn with(old: &ReturnTotals, request: &ReturnRequest) -> Result<ReturnTotals, Rejection> {
    let mut totals = old.clone();
    let mut lines: BTreeMap<usize, ReturnedLine> = totals.lines.iter().map(|line| (line.line, *line)).collect();
    for back in &request.lines {
        let line = lines.entry(back.line).or_insert(ReturnedLine { line: back.line, quantity: Decimal::ZERO, amount: Decimal::ZERO });
        line.quantity = line.quantity.checked_add(back.quantity).ok_or(Overflow)?;
        line.amount = line.amount.checked_add(back.amount).ok_or(Overflow)?;
    }
    totals.lines = lines.into_values().collect();
    totals.amount = totals.amount.checked_add(request.amount).ok_or(Overflow)?;
    totals.whole |= request.whole;
    Ok(totals)
}

/// A cap has room again for what is taken back.
fn counters(header: &Header, sale: &Sale<'_>, before: &Remaining, after: &Remaining) -> Result<Vec<Counter>, Overflow> {
    let accrual = &sale.accrued.accrual;
    let mut counters = Vec::new();
    for (award, (before, after)) in accrual.awards.iter().zip(before.awards.iter().zip(&after.awards)) {
        let taken = before.minus(*after)?;
        if taken <= Points::ZERO {
            continue;
        }
        for counter in accrual.counters.iter().filter(|counter| counter.rule == award.rule) {
            // Those of periods that nothing can count in any more are gone.
            if let Some(now) = header.counters.get(&(counter.rule.clone(), counter.period)) {
                let points = now.minus(taken)?.max(Points::ZERO);
                counters.push(Counter { rule: counter.rule.clone(), period: counter.period, points });
            }
        }
    }
    Ok(counters)
}

fn is_held(member: &Member, code: &VoucherCode) -> bool {
    member.vouchers.get(code).is_some_and(|voucher| voucher.hold.is_some())
}

/// The live vouchers that came with the sale and whose promotion asks for what has come back, by the promotion's place in the sale.
fn lost_vouchers(member: &Member, sale: &Sale<'_>, (before, after): (&Remaining, &Remaining)) -> Vec<(usize, VoucherCode)> {
    let issuing = sale.accrued.accrual.promotions.iter().enumerate().filter(|(_, award)| award.voucher().is_some());
    let mut lost = Vec::new();
    for (behind, (place, _)) in (1..).zip(issuing) {
        let was_there = before.promotions.get(place).is_some_and(|left| left.stands);
        let is_there = after.promotions.get(place).is_some_and(|left| left.stands);
        let issued = EntryRef { sequence: sale.entry.sequence.saturating_add(behind), ..sale.entry.reference() };
        let is_it = |voucher: &&Voucher| voucher.issued == issued && voucher.cause == VoucherCause::Promotion;
        if was_there && !is_there {
            lost.extend(member.vouchers.values().find(is_it).map(|voucher| (place, voucher.code)));
        }
    }
    lost
}

/// What promotions have given less by what is taken back: caps, budgets and the number of times have room again.
fn promotion_counts(
    program: &Program,
    (header, tallies): (&Header, &Tallies),
    sale: &Sale<'_>,
    (before, after): (&Remaining, &Remaining),
    lost: &[(usize, VoucherCode)],
) -> Result<PromotionCounts, Overflow> {
    let mut counts = PromotionCounts::default();
    let accrual = &sale.accrued.accrual;
    if accrual.promotions.is_empty() {
        return Ok(counts);
    }
    let day = calendar::local_date(&program.time_zone, sale.entry.occurred_time);
    for (place, (award, (before, after))) in accrual.promotions.iter().zip(before.promotions.iter().zip(&after.promotions)).enumerate() {
        let Some(promotion) = program.promotion(&award.promotion) else { continue };
        let taken = before.points.minus(after.points)?.max(Points::ZERO);
        let is_gone = match award.voucher() {
            Some(_) => lost.iter().any(|(lost, _)| *lost == place),
            None => before.stands && !after.stands,
        };
        let (of_points, of_times) = promotion.counters(day);
        for period in of_points.into_iter().chain(of_times.filter(|period| of_points != Some(*period))) {
            let key = (promotion.id.clone(), period);
            // Those of periods that nothing can count in any more are gone.
            let Some(mut count) = header.promotions.get(&key).copied() else { continue };
            if of_points == Some(period) {
                count.points = count.points.minus(taken)?.max(Points::ZERO);
            }
            if of_times == Some(period) && is_gone {
                count.times = count.times.saturating_sub(1);
            }
            if header.promotions.get(&key) != Some(&count) {
                counts.counters.push((key, count));
            }
        }
        if taken > Points::ZERO {
            for key in promotion.tallies(day) {
                // Those of days that no sale can count in any more are gone.
                if key.1.is_none() || tallies.contains_key(&key) {
                    let tally = tallies.get(&key).copied().unwrap_or_default().moved(taken.negated()?)?;
                    counts.tallies.push((key, tally));
                }
            }
        }
    }
    Ok(counts)
}

/// How many points a return finds where it takes from.
pub(super) fn within_reach(
    program: &Program,
    member: &Member,
    (accrued, own): (&[AccruedLot], &[LotKey]),
    now: Timestamp,
) -> Result<Points, Overflow> {
    let keys = accrued.iter().filter_map(AccruedLot::pending_key);
    let pending = Points::total(keys.filter_map(|key| member.pending.get(&key)).map(|lot| lot.remaining))?;
    let lots = taking::in_order(program, &member.lots, now).into_iter();
    let lots = lots.filter(|lot| program.returns.from_other_lots || own.contains(&lot.key()));
    pending.plus(Points::total(lots.map(|lot| lot.remaining))?)
}

/// Takes what is due from where it is. All pending lots, the lots of the sale and as many others as that needs are loaded.
pub(super) fn take(
    program: &Program,
    member: &Member,
    sale: &Sale<'_>,
    due: Due,
    request: &ReturnRequest,
    now: Timestamp,
) -> Result<Returned, Rejection> {
    let accrued = (sale.accrued.accrual.lots.as_slice(), sale.lots());
    let gathered = gather(program, member, accrued, (due.points, due.qualifying_points), MAX_LOTS, now)?;
    let left = gathered.left;
    if gathered.is_cut {
        return Err(taking::too_many(due.points.minus(left)?, due.points));
    }
    let (mut debt, mut forgiven, mut withheld) = (Points::ZERO, Points::ZERO, Points::ZERO);
    match program.returns.shortfall {
        Shortfall::Debt => debt = left,
        Shortfall::Forgive => forgiven = left,
        Shortfall::Withhold => withheld = left,
        Shortfall::Refuse if left > Points::ZERO => {
            return Err(Rejection::ReturnShortfall { shortfall: left, requested: due.points });
        }
        Shortfall::Refuse => {}
    }
    let digits = program.currency.digits();
    let worth = program.redemption.as_ref().filter(|_| withheld > Points::ZERO);
    Ok(Returned {
        referral_basis: None,
        order: request.order.clone(),
        reason: request.reason.clone(),
        reference: request.reference.clone(),
        sale: SaleState { returned: due.totals, ..sale.state.clone() },
        points: due.points,
        // What was to count later is not taken from what counts.
        qualifying_points: due.qualifying_points.minus(gathered.waiting)?.min(member.header.lifetime.qualifying_points.max(Points::ZERO)),
        basis: due.basis,
        from_pending: gathered.from_pending,
        from_sale: gathered.from_own,
        from_others: gathered.from_others,
        debt,
        forgiven,
        withheld,
        withheld_value: worth.map(|policy| policy.value(withheld, digits)).transpose()?,
        counters: due.counters,
        promotion_counts: due.promotion_counts,
        lost_vouchers: due.held_vouchers,
        voids: due.voids,
        next_expiry_time: gathered.next_expiry_time,
        next_activation_time: gathered.next_activation_time,
    })
}

/// Where points are that are taken back.
pub(super) struct Gathered {
    pub from_pending: Vec<PendingTaken>,
    pub from_own: Vec<Allocation>,
    pub from_others: Vec<Allocation>,
    /// So many are nowhere.
    pub left: Points,
    /// More lots were there than may be taken from.
    pub is_cut: bool,
    /// What was to count for tiers later, and does not any more.
    pub waiting: Points,
    pub next_expiry_time: Option<Timestamp>,
    pub next_activation_time: Option<Timestamp>,
}

/// From the pending lots that something accrued, from its own lots, and from others, if the programme takes from those. `room`: so many lots may be
/// taken from.
pub(super) fn gather(
    program: &Program,
    member: &Member,
    (accrued, own): (&[AccruedLot], impl Iterator<Item = LotKey>),
    (points, qualifying_points): (Points, Points),
    room: usize,
    now: Timestamp,
) -> Result<Gathered, Overflow> {
    let (mut left, mut is_cut) = (points, false);
    let mut pending = member.pending.clone();
    let (from_pending, waiting) = take_pending(&mut pending, accrued, &mut left, qualifying_points)?;
    let mut lots = member.lots.clone();
    let mut from_own = Vec::new();
    for key in own {
        if let Some(lot) = lots.get_mut(&key).filter(|lot| !lot.has_lapsed(now)) {
            from_own.extend(take_from(lot, &mut left)?);
        }
    }
    let mut from_others = Vec::new();
    if program.returns.from_other_lots {
        // What has just gone back into a lot that has lapsed lapses, and pays nothing.
        for lot in taking::in_order(program, &member.lots, now) {
            let Some(lot) = lots.get_mut(&lot.key()).filter(|lot| lot.remaining > Points::ZERO) else { continue };
            if left.is_zero() {
                break;
            }
            if from_own.len() + from_others.len() >= room {
                is_cut = true;
                break;
            }
            from_others.extend(take_from(lot, &mut left)?);
        }
    }
    let next_expiry_time = lots.values().find(|lot| lot.remaining > Points::ZERO && !lot.has_lapsed(now)).and_then(|lot| lot.expiry.time());
    let next_activation_time = pending.values().find(|lot| lot.remaining > Points::ZERO).and_then(|lot| lot.activate_time);
    Ok(Gathered { from_pending, from_own, from_others, left, is_cut, waiting, next_expiry_time, next_activation_time })
}

/// Its own points that are pending go first, with what waits to count for tiers.
fn take_pending(
    pending: &mut BTreeMap<PendingKey, PendingLot>,
    accrued: &[AccruedLot],
    left: &mut Points,
    qualifying_points: Points,
) -> Result<(Vec<PendingTaken>, Points), Overflow> {
    let (mut taken, mut waiting) = (Vec::new(), Points::ZERO);
    for key in accrued.iter().filter_map(AccruedLot::pending_key) {
        let Some(lot) = pending.get_mut(&key) else { continue };
        let points = lot.remaining.min(*left);
        *left = left.minus(points)?;
        lot.remaining = lot.remaining.minus(points)?;
        // Of a lot that is gone nothing counts later. What counts can be due alone: it may be reckoned without a tier's multiplier.
        let counts = if lot.remaining.is_zero() {
            lot.qualifying_points
        } else {
            lot.qualifying_points.min(qualifying_points.minus(waiting)?).max(Points::ZERO)
        };
        lot.qualifying_points = lot.qualifying_points.minus(counts)?;
        waiting = waiting.plus(counts)?;
        if points > Points::ZERO || counts > Points::ZERO {
            taken.push(PendingTaken { lot: key, points, qualifying_points: counts });
        }
    }
    Ok((taken, waiting))
}

fn take_from(lot: &mut Lot, left: &mut Points) -> Result<Option<Allocation>, Overflow> {
    let points = lot.remaining.min(*left);
    if points <= Points::ZERO {
        return Ok(None);
    }
    lot.remaining = lot.remaining.minus(points)?;
    *left = left.minus(points)?;
    Ok(Some(Allocation::of(lot, points)))
}
