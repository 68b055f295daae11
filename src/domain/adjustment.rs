//! Adjustments: points added or taken by hand, with a reason.

use jiff::Timestamp;

use super::{AccruedLot, Adjusted, Adjustment, Allocation, LotId, Member, Points, Program, Rejection, expiry, redemption};

/// Added points make a lot that lapses as the programme says; taken points come from the lots that lapse soonest. What counts for tiers is
/// not taken below zero.
pub(super) fn adjust(program: &Program, member: &Member, adjustment: &Adjustment, now: Timestamp) -> Result<Adjusted, Rejection> {
    let requested = adjustment.points;
    let size = if requested < Points::ZERO { requested.negated()? } else { requested };
    if let Some(limit) = program.maximum_adjustment.filter(|limit| size > *limit) {
        return Err(Rejection::AdjustmentTooLarge { limit, requested });
    }
    let counted = member.header.lifetime.qualifying_points.max(Points::ZERO);
    let mut adjusted = Adjusted {
        points: requested,
        qualifying_points: if adjustment.qualifying { requested.max(counted.negated()?) } else { Points::ZERO },
        reason: adjustment.reason.clone(),
        reference: adjustment.reference.clone(),
        lot: None,
        allocations: Vec::new(),
        debt: Points::ZERO,
        next_expiry_time: None,
    };
    if requested > Points::ZERO {
        let expire_time = expiry::expire_time(program.expiry, &program.time_zone, now, now)?;
        let id = LotId(member.header.last_lot.0.checked_add(1).ok_or(Rejection::Overflow)?);
        let debt_paid = member.header.balance.debt.min(size);
        adjusted.lot = Some(AccruedLot { debt_paid, ..AccruedLot::new(id, size, expire_time) });
    } else {
        let taken = if program.adjust_into_debt { size.min(member.header.balance.available.max(Points::ZERO)) } else { size };
        adjusted.debt = size.minus(taken)?;
        let (portions, next_expiry_time) = redemption::take(member, taken, now)?;
        adjusted.allocations = portions.iter().map(Allocation::from).collect();
        adjusted.next_expiry_time = next_expiry_time;
    }
    Ok(adjusted)
}
