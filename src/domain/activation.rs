//! Activation: pending points become points that can be spent, when their time has come or when the purchase is confirmed.

use jiff::Timestamp;

use super::{
    AccruedLot, Activated, ActivatedLot, Confirmed, Expiry, LotExpiry, Member, Overflow, PendingLot, Points, Program, Rejection, SaleState,
    expiry, fold::sooner, returns::Sale, tier,
};

/// The next activation that is due, with its instant: all loaded lots that become active at the earliest due instant.
pub(super) fn next_activation(member: &Member, now: Timestamp) -> Result<Option<(Activated, Timestamp)>, Overflow> {
    let Some(instant) = member.pending.values().next().filter(|lot| lot.is_active(now)).and_then(|lot| lot.activate_time) else {
        return Ok(None);
    };
    let mut debt = member.header.balance.debt;
    let due = member.pending.values().take_while(|lot| lot.activate_time == Some(instant));
    let lots = due.map(|lot| activated(lot, lot.expiry, &mut debt)).collect::<Result<_, _>>()?;
    // Others that have become active too are loaded, and next; they must not hide when those that are not loaded will.
    let next_loaded = member.pending.values().find(|lot| !lot.is_active(now)).and_then(|lot| lot.activate_time);
    // The header's time was right for the lots that are not loaded, unless it is what has just become due.
    let next_other = member.header.next_activation_time.filter(|next| *next > now);
    Ok(Some((Activated { lots, confirmed: None, next_activation_time: sooner(next_loaded, next_other) }, instant)))
}

/// What of a purchase waits for its confirmation becomes active. All pending lots are loaded.
pub(super) fn confirm(program: &Program, member: &Member, sale: &Sale<'_>, now: Timestamp) -> Result<Activated, Rejection> {
    let mut debt = member.header.balance.debt;
    let mut lots = Vec::new();
    for accrued in sale.accrued.accrual.lots.iter().filter(|lot| lot.pending.is_some_and(|pending| pending.activate_time.is_none())) {
        let Some(lot) = accrued.pending_key().and_then(|key| member.pending.get(&key)) else { continue };
        lots.push(activated(lot, expiry(program, sale, accrued, now)?, &mut debt)?);
    }
    if lots.is_empty() {
        return Err(Rejection::NothingPending);
    }
    let state = SaleState { activated: lots.iter().map(|active| active.lot.key()).collect(), ..sale.state.clone() };
    let order = sale.accrued.purchase.order.clone().ok_or(Rejection::NothingPending)?;
    let confirmed = Some(Confirmed { sale: state, order });
    Ok(Activated { lots, confirmed, next_activation_time: member.header.next_activation_time })
}

fn activated(lot: &PendingLot, expiry: LotExpiry, debt: &mut Points) -> Result<ActivatedLot, Overflow> {
    let debt_paid = lot.remaining.min(*debt);
    *debt = debt.minus(debt_paid)?;
    Ok(ActivatedLot {
        pending: lot.key(),
        lot: AccruedLot { debt_paid, ..AccruedLot::new(lot.id, lot.remaining, expiry) },
        qualifying_points: lot.qualifying_points,
        earn_time: lot.earn_time,
        entry_sequence: lot.entry_sequence,
    })
}

/// As the rule or the promotion says that awarded the points; `program` is the version of the sale.
fn expiry(program: &Program, sale: &Sale<'_>, lot: &AccruedLot, now: Timestamp) -> Result<LotExpiry, Overflow> {
    let accrual = &sale.accrued.accrual;
    let award = accrual.awards.iter().find(|award| award.lot == Some(lot.id));
    let rule = award.and_then(|award| program.rules.iter().find(|rule| rule.id == award.rule));
    let of_rule = rule.map(|rule| (rule.expiry, rule.has_own_expiry));
    let promoted = || accrual.promotions.iter().find(|award| award.lot == Some(lot.id));
    let of_promotion = || promoted().and_then(|award| program.promotion(&award.promotion));
    let policy = of_rule.or_else(|| of_promotion().map(|promotion| (promotion.expiry, promotion.has_own_expiry)));
    match policy.map(|(expiry, is_own)| tier::expiry_in_tier(program, accrual.tier.as_ref(), expiry, is_own)) {
        Some(policy @ (Expiry::DaysAfterActivation(_) | Expiry::MonthsAfterActivation(_))) => {
            expiry::lot_expiry(policy, &program.time_zone, sale.entry.occurred_time, now)
        }
        _ => Ok(lot.expiry),
    }
}
