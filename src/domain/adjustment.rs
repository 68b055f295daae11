//! Adjustments: points added or taken by hand, with a reason.

use jiff::Timestamp;

use super::{AccruedLot, Adjusted, Adjustment, Allocation, LotId, Member, Points, Program, Rejection, expiry};

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
        next_expiry_time: None,
    };
    if requested > Points::ZERO {
        let expire_time = expiry::expire_time(program.expiry, &program.time_zone, now)?;
        let id = LotId(member.header.last_lot.0.checked_add(1).ok_or(Rejection::Overflow)?);
        adjusted.lot = Some(AccruedLot { id, points: size, expire_time });
    } else {
        (adjusted.allocations, adjusted.next_expiry_time) = allocate(member, size)?;
    }
    Ok(adjusted)
}

/// Takes points from the live lots in their order, never below zero, and says when the first lot that is left lapses.
fn allocate(member: &Member, wanted: Points) -> Result<(Vec<Allocation>, Option<Timestamp>), Rejection> {
    let available = member.header.balance.available;
    if wanted > available {
        return Err(Rejection::InsufficientPoints { available, requested: wanted });
    }
    let mut left = wanted;
    let mut allocations = Vec::new();
    for (key, lot) in &member.lots {
        if left.is_zero() {
            return Ok((allocations, key.expire_time()));
        }
        let points = lot.remaining.min(left);
        left = left.minus(points)?;
        allocations.push(Allocation { lot: *key, points });
        if points < lot.remaining {
            return Ok((allocations, key.expire_time()));
        }
    }
    assert!(left.is_zero(), "the live lots sum to the available points");
    Ok((allocations, None))
}
