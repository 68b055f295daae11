//! Holds: points set aside for a time, until they are captured or go back to their lots.

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use super::{
    CaptureRequest, Captured, Held, Hold, HoldId, HoldRequest, MAX_LOTS, Member, Overflow, Portion, Program, Rejection, ReleaseCause,
    Released, fold::sooner, lot, redemption, taking::Taking,
};

/// Open holds that a member can have at most.
pub const MAX_HOLDS: usize = 100;

/// Sets points aside under the rules of a redemption, which it is about to become.
pub(super) fn hold(program: &Program, member: &Member, request: &HoldRequest, now: Timestamp) -> Result<Held, Rejection> {
    let policy = redemption::policy(program)?;
    redemption::require_order_total(policy, &request.redeem)?;
    let seconds = request.seconds.unwrap_or(policy.default_hold_seconds);
    if seconds > policy.maximum_hold_seconds {
        return Err(Rejection::HoldTooLong { seconds, maximum_seconds: policy.maximum_hold_seconds });
    }
    if member.holds.len() >= MAX_HOLDS {
        return Err(Rejection::TooManyHolds { limit: MAX_HOLDS });
    }
    let drawn = redemption::draw(program, &Taking::of(program, member, MAX_LOTS, now), &request.redeem, false)?;
    Ok(Held {
        hold: Hold {
            id: HoldId(member.header.last_sequence.checked_add(1).ok_or(Overflow)?),
            points: drawn.points,
            value: drawn.value,
            portions: drawn.portions,
            hold_time: now,
            expire_time: now.checked_add(i64::from(seconds).seconds()).map_err(|_| Overflow)?,
            order: request.redeem.order.clone(),
            reference: request.redeem.reference.clone(),
            program_version: program.version,
        },
        next_expiry_time: drawn.next_expiry_time,
    })
}

/// Of the points that were taken first so many are redeemed; the rest goes back.
pub(super) fn capture(
    zone: &TimeZone,
    member: &Member,
    (hold, request): (&Hold, &CaptureRequest),
    now: Timestamp,
) -> Result<(Vec<Portion>, Captured), Rejection> {
    let points = request.points.unwrap_or(hold.points);
    if points > hold.points {
        return Err(Rejection::MoreThanHeld { held: hold.points, requested: points });
    }
    let held = member.header.coming_back(&hold.portions, (hold.hold_time, now), zone)?;
    let (portions, released) = lot::split(&held, points)?;
    // What comes back pays debt first, as all points do that come to the member: none are available beside a debt.
    let debt_paid = member.header.balance.debt.min(Portion::total(&released)?);
    Ok((portions, Captured { hold: hold.id, released, debt_paid, next_hold_expiry_time: next_without(member, hold.id) }))
}

/// All of it goes back at an instant, and pays debt first.
pub(super) fn release(
    zone: &TimeZone,
    member: &Member,
    hold: &Hold,
    (cause, reason): (ReleaseCause, &str),
    end: Timestamp,
) -> Result<Released, Overflow> {
    Ok(Released {
        hold: hold.id,
        portions: member.header.coming_back(&hold.portions, (hold.hold_time, end), zone)?,
        debt_paid: member.header.balance.debt.min(hold.points),
        cause,
        reason: reason.to_owned(),
        next_hold_expiry_time: next_without(member, hold.id),
    })
}

/// The hold that ends first, if it has ended by now.
pub(super) fn next_end(member: &Member, now: Timestamp) -> Option<&Hold> {
    member.holds.values().filter(|hold| hold.expire_time <= now).min_by_key(|hold| (hold.expire_time, hold.id))
}

/// When the next of the member's other holds ends; all are loaded.
fn next_without(member: &Member, ends: HoldId) -> Option<Timestamp> {
    let others = member.holds.values().filter(|hold| hold.id != ends);
    others.map(|hold| Some(hold.expire_time)).fold(None, sooner)
}
