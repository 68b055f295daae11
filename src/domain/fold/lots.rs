//! Folding lots: points come into them, and are taken out of them, and the header knows when the next of them lapse.

use std::collections::btree_map;

use jiff::Timestamp;

use super::{
    super::{AccruedLot, Allocation, Entry, Header, Lot, LotExpiry, Member, Overflow, PendingLot, Points, Portion, lot::split},
    Fault, sooner,
};

/// Points return to the lots that they came from, or come with them in a but for those that pay debt: the first ones.
pub(super) fn put_back(member: &mut Member, entry: &Entry, portions: &[Portion], debt_paid: Points) -> Result<(), Fault> {
    let (_, back) = split(portions, debt_paid)?;
    back.iter().try_for_each(|portion| refill(member, entry, portion.lot()))
}

/// What remains of a lot that is gone, or more for one that is there.
pub(super) fn refill(member: &mut Member, entry: &Entry, lot: Lot) -> Result<(), Fault> {
    let (id, points) = (lot.id, lot.remaining);
    expect_lapse(&mut member.header, entry, lot.expiry, points)?;
    match member.lots.entry(lot.key()) {
        btree_map::Entry::Vacant(place) => {
            place.insert(lot);
        }
        btree_map::Entry::Occupied(mut place) => {
            let there = place.get_mut();
            there.remaining = there.remaining.plus(points)?;
            if there.remaining > there.issued {
                return Err(Fault::Lot(id.0));
            }
        }
    }
    Ok(())
}

pub(super) fn add_lot(member: &mut Member, entry: &Entry, lot: &AccruedLot) -> Result<(), Fault> {
    member.header.last_lot = lot.id.max(member.header.last_lot);
    if let Some(pending) = lot.pending {
        member.header.balance.issue_pending(lot.points)?;
        // Of a late sale the time may have passed: it becomes active with the same commit, and must not hide when others do.
        let activation = pending.activate_time.filter(|time| *time > entry.record_time);
        member.header.next_activation_time = sooner(member.header.next_activation_time, activation);
        let waiting = PendingLot {
            id: lot.id,
            issued: lot.points,
            remaining: lot.points,
            earn_time: entry.occurred_time,
            activate_time: pending.activate_time,
            expiry: lot.expiry,
            qualifying_points: pending.qualifying_points,
            entry_sequence: entry.sequence,
        };
        member.pending.insert(waiting.key(), waiting);
        return Ok(());
    }
    member.header.balance.issue(lot.points, lot.debt_paid)?;
    open_lot(member, entry, lot, entry.occurred_time, entry.sequence)
}

/// A lot with the points that did not pay debt.
pub(super) fn open_lot(
    member: &mut Member,
    entry: &Entry,
    lot: &AccruedLot,
    earn_time: Timestamp,
    entry_sequence: u64,
) -> Result<(), Fault> {
    let remaining = lot.points.minus(lot.debt_paid)?;
    if remaining.is_zero() {
        return Ok(());
    }
    let expiry = lot.expiry;
    expect_lapse(&mut member.header, entry, expiry, remaining)?;
    member.lots.insert(lot.key(), Lot { id: lot.id, issued: lot.points, remaining, earn_time, expiry, entry_sequence });
    Ok(())
}

/// So many points more lapse in some way. What has lapsed already does so with the same commit, and must not hide when others do.
fn expect_lapse(header: &mut Header, entry: &Entry, expiry: LotExpiry, points: Points) -> Result<(), Overflow> {
    match expiry {
        LotExpiry::At(time) if time > entry.record_time => header.next_expiry_time = sooner(header.next_expiry_time, Some(time)),
        LotExpiry::At(_) | LotExpiry::Never => {}
        LotExpiry::InactiveMonths(earned) => {
            let all = header.inactive_months.points.entry(earned).or_default();
            *all = all.plus(points)?;
        }
        LotExpiry::Inactivity => header.inactivity.points = header.inactivity.points.plus(points)?,
    }
    Ok(())
}

pub(super) fn take_from_lots(member: &mut Member, allocations: &[Allocation]) -> Result<Points, Fault> {
    let mut taken = Points::ZERO;
    for allocation in allocations {
        let lot = member.lots.get_mut(&allocation.lot).ok_or(Fault::NotLoaded)?;
        lot.remaining = lot.remaining.minus(allocation.points)?;
        match lot.remaining {
            left if left < Points::ZERO || allocation.points <= Points::ZERO => return Err(Fault::Lot(allocation.lot.id().0)),
            Points::ZERO => {
                member.lots.remove(&allocation.lot);
            }
            _ => {}
        }
        lapse_less(&mut member.header, allocation)?;
        taken = taken.plus(allocation.points)?;
    }
    Ok(taken)
}

/// So many points do not lapse with inactivity any more.
fn lapse_less(header: &mut Header, taken: &Allocation) -> Result<(), Fault> {
    match taken.lot.expiry() {
        LotExpiry::At(_) | LotExpiry::Never => {}
        LotExpiry::InactiveMonths(earned) => {
            let all = header.inactive_months.points.get_mut(&earned).ok_or(Fault::Lot(taken.lot.id().0))?;
            *all = all.minus(taken.points)?;
            if all.is_zero() {
                header.inactive_months.points.remove(&earned);
            }
        }
        LotExpiry::Inactivity => header.inactivity.points = header.inactivity.points.minus(taken.points)?,
    }
    Ok(())
}
