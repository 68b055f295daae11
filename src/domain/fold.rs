//! Folding entries into a member's state.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Accrual, AccruedLot, Adjusted, Allocation, Entry, EntryKind, Expired, Header, Lot, MAX_TIER_HISTORY, Member, MemberState, Overflow,
    Person, Points, Sealed, TierCause, TierChange, TierSince, TierStanding,
};

/// A ledger that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("entry {found} follows entry {last}")]
    Sequence { last: u64, found: u64 },
    #[error("entry {sequence} states another balance than the fold of the entries")]
    Balance { sequence: u64 },
    #[error("entry {sequence} takes more from lot {lot} than is there")]
    Lot { sequence: u64, lot: u64 },
    #[error("entry {sequence} needs what was not loaded")]
    NotLoaded { sequence: u64 },
    #[error("entry {sequence} breaks the conservation of points")]
    NotConserved { sequence: u64 },
    #[error("entry {sequence} leaves the range of numbers")]
    Overflow { sequence: u64 },
}

/// Folds the next entry into the state. Reads no rule, clock or time-zone table (invariant 3). The lots that the entry touches and, if
/// [`Entry::touches_person`], what is personal must be loaded.
pub fn apply(member: &mut Member, entry: &Entry) -> Result<(), FoldError> {
    fold(member, entry)?;
    if member.header.balance != entry.balance {
        return Err(FoldError::Balance { sequence: entry.sequence });
    }
    Ok(())
}

/// As [`apply`], for an entry whose balance is about to be filled in.
pub(super) fn fold(member: &mut Member, entry: &Entry) -> Result<(), FoldError> {
    let sequence = entry.sequence;
    let last = member.header.last_sequence;
    if last.checked_add(1) != Some(sequence) {
        return Err(FoldError::Sequence { last, found: sequence });
    }
    fold_kind(member, entry).map_err(|fault| match fault {
        Fault::Overflow => FoldError::Overflow { sequence },
        Fault::NotLoaded => FoldError::NotLoaded { sequence },
        Fault::Lot(lot) => FoldError::Lot { sequence, lot },
    })?;
    member.header.last_sequence = sequence;
    member.header.update_time = entry.record_time;
    if member.header.balance.is_conserved() { Ok(()) } else { Err(FoldError::NotConserved { sequence }) }
}

enum Fault {
    Overflow,
    NotLoaded,
    Lot(u64),
}

impl From<Overflow> for Fault {
    fn from(Overflow: Overflow) -> Self {
        Fault::Overflow
    }
}

fn fold_kind(member: &mut Member, entry: &Entry) -> Result<(), Fault> {
    match &entry.kind {
        EntryKind::MemberEnrolled { person } => {
            member.person = Some(person.clone());
            member.header.create_time = entry.record_time;
            Ok(())
        }
        EntryKind::ProfileUpdated { profile } => change_person(member, profile, |person, profile| person.profile = profile.clone()),
        EntryKind::IdentifierAdded { identifier } => {
            change_person(member, identifier, |person, identifier| person.identifiers.push(identifier.clone()))
        }
        EntryKind::IdentifierRemoved { identifier } => {
            change_person(member, identifier, |person, identifier| person.identifiers.retain(|held| held != identifier))
        }
        EntryKind::MemberSuspended { .. } => {
            member.header.state = MemberState::Suspended;
            Ok(())
        }
        EntryKind::MemberReactivated { .. } => {
            member.header.state = MemberState::Active;
            Ok(())
        }
        EntryKind::PurchaseAccrued(accrued) => fold_accrual(member, entry, &accrued.accrual),
        EntryKind::PointsAdjusted(adjusted) => fold_adjustment(member, entry, adjusted),
        EntryKind::PointsExpired(expired) => fold_expiry(member, expired),
        EntryKind::TierChanged(change) => {
            fold_tier_change(&mut member.header.tier, change, entry.occurred_time);
            Ok(())
        }
    }
}

fn fold_tier_change(standing: &mut TierStanding, change: &TierChange, start_time: Timestamp) {
    standing.history.push(TierSince { tier: change.to.clone(), start_time });
    if standing.history.len() > MAX_TIER_HISTORY {
        let dropped = standing.history.remove(0);
        // Otherwise the lowest would count as held in its place.
        if let Some(oldest) = standing.history.first_mut() {
            oldest.start_time = dropped.start_time;
        }
    }
    standing.manual = change.cause == TierCause::Manual;
}

/// A person that was erased stays so, whatever the entries said before.
fn change_person<T>(member: &mut Member, change: &Sealed<T>, with: impl FnOnce(&mut Person, &T)) -> Result<(), Fault> {
    match (member.person.as_mut().ok_or(Fault::NotLoaded)?, change) {
        (Sealed::Open(person), Sealed::Open(change)) => with(person, change),
        (Sealed::Open(_) | Sealed::Erased, _) => member.person = Some(Sealed::Erased),
    }
    Ok(())
}

fn fold_accrual(member: &mut Member, entry: &Entry, accrual: &Accrual) -> Result<(), Fault> {
    for lot in &accrual.lots {
        add_lot(member, entry, lot)?;
    }
    let header = &mut member.header;
    header.lifetime.qualifying_points = header.lifetime.qualifying_points.plus(accrual.qualifying_points)?;
    header.lifetime.spend = header.lifetime.spend.checked_add(accrual.basis).ok_or(Overflow)?;
    header.lifetime.visits = header.lifetime.visits.checked_add(1).ok_or(Overflow)?;
    header.latest_occurred_time = header.latest_occurred_time.max(Some(entry.occurred_time));
    fold_rule_state(header, accrual);
    Ok(())
}

fn fold_rule_state(header: &mut Header, accrual: &Accrual) {
    for (rule, fraction) in &accrual.carries {
        if *fraction == Decimal::ZERO {
            header.carries.remove(rule);
        } else {
            header.carries.insert(rule.clone(), *fraction);
        }
    }
    for dropped in &accrual.dropped_counters {
        header.counters.remove(dropped);
    }
    for counter in &accrual.counters {
        header.counters.insert((counter.rule.clone(), counter.period), counter.points);
    }
}

fn fold_adjustment(member: &mut Member, entry: &Entry, adjusted: &Adjusted) -> Result<(), Fault> {
    if let Some(lot) = &adjusted.lot {
        add_lot(member, entry, lot)?;
    }
    if !adjusted.allocations.is_empty() {
        let taken = take_from_lots(member, &adjusted.allocations)?;
        member.header.balance.claw_back(taken)?;
        member.header.next_expiry_time = adjusted.next_expiry_time;
    }
    if !adjusted.qualifying_points.is_zero() {
        let header = &mut member.header;
        header.lifetime.qualifying_points = header.lifetime.qualifying_points.plus(adjusted.qualifying_points)?;
        header.latest_occurred_time = header.latest_occurred_time.max(Some(entry.occurred_time));
    }
    Ok(())
}

fn fold_expiry(member: &mut Member, expired: &Expired) -> Result<(), Fault> {
    let lapsed = take_from_lots(member, &expired.allocations)?;
    member.header.balance.expire(lapsed)?;
    member.header.next_expiry_time = expired.next_expiry_time;
    Ok(())
}

fn add_lot(member: &mut Member, entry: &Entry, lot: &AccruedLot) -> Result<(), Fault> {
    member.header.balance.issue(lot.points)?;
    member.header.last_lot = lot.id.max(member.header.last_lot);
    member.header.next_expiry_time = sooner(member.header.next_expiry_time, lot.expire_time.filter(|expiry| *expiry > entry.record_time));
    member.lots.insert(
        lot.key(),
        Lot {
            id: lot.id,
            issued: lot.points,
            remaining: lot.points,
            earn_time: entry.occurred_time,
            expire_time: lot.expire_time,
            entry_sequence: entry.sequence,
        },
    );
    Ok(())
}

fn take_from_lots(member: &mut Member, allocations: &[Allocation]) -> Result<Points, Fault> {
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
        taken = taken.plus(allocation.points)?;
    }
    Ok(taken)
}

/// The earlier of two instants, `None` being never.
pub(super) fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
