//! Adjustments: points added or taken by hand, with a reason.

use jiff::Timestamp;

use super::{
    AccruedLot, Adjusted, Adjustment, Allocation, LotId, MAX_LOTS, Member, Points, Program, Rejection, expiry,
    taking::{Taken, Taking},
};

/// Added points make a lot that lapses as the adjustment says, or else the programme; taken points come from lots in the programme's order. What counts for tiers is
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
        let policy = adjustment.expiry.unwrap_or(program.expiry);
        let expiry = expiry::lot_expiry(policy, &program.time_zone, now, now)?;
        let id = LotId(member.header.last_lot.0.checked_add(1).ok_or(Rejection::Overflow)?);
        let debt_paid = member.header.balance.debt.min(size);
        adjusted.lot = Some(AccruedLot { debt_paid, ..AccruedLot::new(id, size, expiry) });
    } else {
        let taken = if program.adjust_into_debt { size.min(member.header.balance.available.max(Points::ZERO)) } else { size };
        adjusted.debt = size.minus(taken)?;
        let Taken { portions, next_expiry_time } = Taking::of(program, member, MAX_LOTS, now).take(taken)?;
        adjusted.allocations = portions.iter().map(Allocation::from).collect();
        adjusted.next_expiry_time = next_expiry_time;
    }
    Ok(adjusted)
}
