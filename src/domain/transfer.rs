//! Transfers: points of one member become another's, with the expiry that they have.

use jiff::Timestamp;

use super::{
    AccruedLot, Entry, Header, LotExpiry, LotId, MAX_LOTS, Member, MemberState, Month, Points, Portion, Program, ProgramHistory, Recipient,
    Rejection, TransferRequest, TransferredIn, TransferredOut, calendar,
    taking::{Taken, Taking},
};

/// What the giver loses.
pub(super) fn send(program: &Program, member: &Member, request: &TransferRequest, now: Timestamp) -> Result<TransferredOut, Rejection> {
    let policy = program.transfers.ok_or(Rejection::TransfersNotOffered)?;
    let Recipient::Id(to) = request.to else { return Err(Rejection::RecipientNotFound) };
    if to == member.key.member {
        return Err(Rejection::TransferToSelf);
    }
    if let Some(limit) = policy.maximum.filter(|limit| request.points > *limit) {
        return Err(Rejection::TransferTooLarge { limit, requested: request.points });
    }
    let debt = member.header.balance.debt;
    if debt > Points::ZERO {
        return Err(Rejection::InDebt { debt });
    }
    if request.points < policy.minimum {
        return Err(Rejection::BelowMinimum { minimum: policy.minimum, requested: request.points });
    }
    let Taken { portions, next_expiry_time } = Taking::of(program, member, MAX_LOTS, now).take(request.points)?;
    Ok(TransferredOut {
        to,
        points: request.points,
        portions,
        reason: request.reason.clone(),
        reference: request.reference.clone(),
        next_expiry_time,
    })
}

/// What the other one gets: a lot for each that the points came from. The first of them pay debt.
pub(super) fn receive(
    programs: &ProgramHistory,
    member: &Member,
    (giver, entry): (&Header, &Entry),
    sent: &TransferredOut,
    now: Timestamp,
) -> Result<TransferredIn, Rejection> {
    match member.header.state {
        MemberState::Active => {}
        MemberState::Suspended => return Err(Rejection::RecipientSuspended),
        MemberState::Merged { .. } => return Err(Rejection::RecipientNotFound),
        MemberState::Erased => return Err(Rejection::RecipientErased),
    }
    let (mut debt, mut last_lot) = (member.header.balance.debt, member.header.last_lot);
    let newest = programs.newest();
    let current = Month::of(calendar::local_date(&newest.time_zone, now));
    let months = |earned: Month| match programs.newest_inactivity() {
        Some(policy) => {
            let policy = (policy, member.header.has_held());
            member.header.inactive_months.month_of_given(policy, (&giver.inactive_months.record, earned), current)
        }
        None => Ok(earned),
    };
    let mut lots = Vec::with_capacity(sent.portions.len());
    for Portion { lot, points, earn_time, .. } in &sent.portions {
        last_lot = LotId(last_lot.0.checked_add(1).ok_or(Rejection::Overflow)?);
        let debt_paid = debt.min(*points);
        debt = debt.minus(debt_paid)?;
        let expiry = match lot.expiry() {
            LotExpiry::InactiveMonths(earned) => LotExpiry::InactiveMonths(months(earned)?),
            expiry @ (LotExpiry::At(_) | LotExpiry::Inactivity | LotExpiry::Never) => expiry,
        };
        lots.push((AccruedLot { debt_paid, ..AccruedLot::new(last_lot, *points, expiry) }, *earn_time));
    }
    let (from, sequence) = (entry.key.member, entry.sequence);
    Ok(TransferredIn { from, sequence, points: sent.points, lots, reason: sent.reason.clone(), reference: sent.reference.clone() })
}
