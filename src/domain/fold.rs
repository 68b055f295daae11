//! Folding entries into a member's state.

mod lots;
mod merged;
mod referral;

use lots::{add_lot, open_lot, put_back, refill, take_from_lots};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Accrual, AccruedLot, Activated, ActivityAccrued, ActivitySide, Adjusted, Allocation, BirthDate, BirthdayChanged, BirthdayGiven,
    Birthdays, Captured, Counter, Entry, EntryKind, Expired, Goals, Header, Held, HoldId, LatelyKind, Lot, Member, MemberState,
    OfferChanged, Overflow, PendingTaken, PeriodStart, Person, Points, Portion, Profile, PurchaseAccrued, PutBack, Redeemed, Released,
    Returned, Reversed, RuleId, Sealed, TierCount, TransferredIn, TransferredOut, VoucherChanged, Watched, offer, voucher,
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
    #[error("entry {sequence} ends hold {hold}, which is not there or is another one")]
    Hold { sequence: u64, hold: HoldId },
    #[error("entry {sequence} changes a voucher that is not there or is in another state")]
    Voucher { sequence: u64 },
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
    fold_counted(member, entry).map_err(|fault| match fault {
        Fault::Overflow => FoldError::Overflow { sequence },
        Fault::NotLoaded => FoldError::NotLoaded { sequence },
        Fault::Lot(lot) => FoldError::Lot { sequence, lot },
        Fault::Hold(hold) => FoldError::Hold { sequence, hold },
        Fault::Voucher => FoldError::Voucher { sequence },
    })?;
    if let Some(watched) = &entry.watched {
        fold_watched(&mut member.header, watched);
    }
    if let Some(time) = entry.inactivity_time {
        member.header.inactivity.set(time, entry.occurred_time, entry.record_time);
    }
    if let Some(record) = &entry.inactive_months {
        member.header.inactive_months.record.clone_from(record);
    }
    member.header.last_sequence = sequence;
    member.header.update_time = entry.record_time;
    if member.header.balance.is_conserved() { Ok(()) } else { Err(FoldError::NotConserved { sequence }) }
}

enum Fault {
    Overflow,
    NotLoaded,
    Lot(u64),
    Hold(HoldId),
    Voucher,
}

impl From<Overflow> for Fault {
    fn from(Overflow: Overflow) -> Self {
        Fault::Overflow
    }
}

/// What the entry adds to the totals since enrolment counts in its day or month too, for tiers and for segments.
fn fold_counted(member: &mut Member, entry: &Entry) -> Result<(), Fault> {
    if entry.counted.is_none() && entry.day_counted.is_none() {
        return fold_kind(member, entry);
    }
    let before = member.header.lifetime.clone();
    fold_kind(member, entry)?;
    let header = &mut member.header;
    let count = TierCount::between(&before, &header.lifetime)?;
    if let Some(counted) = entry.counted {
        header.tier_counts.count(counted, &count)?;
    }
    if let Some(counted) = entry.day_counted {
        // Windows look at no points.
        header.day_counts.count(counted, &TierCount { qualifying_points: Points::ZERO, ..count })?;
    }
    Ok(())
}

fn fold_kind(member: &mut Member, entry: &Entry) -> Result<(), Fault> {
    match &entry.kind {
        EntryKind::MemberEnrolled { person } => {
            member.person = Some(person.clone());
            member.header.create_time = entry.record_time;
            member.header.birthday.known_since = birth_date(member).map(|_| entry.record_time);
            Ok(())
        }
        EntryKind::ProfileUpdated { profile } => fold_profile(member, entry, profile),
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
        EntryKind::MemberErased { .. } => {
            fold_erased(member);
            Ok(())
        }
        EntryKind::PurchaseAccrued(accrued) => fold_purchase(member, entry, accrued),
        EntryKind::ActivityAccrued(accrued) => fold_activity(member, entry, accrued),
        EntryKind::ReferralMade(made) => referral::fold_made(member, entry, made),
        EntryKind::ReferralTakenBack(back) => referral::fold_taken_back(member, entry, back),
        EntryKind::PointsAdjusted(adjusted) => fold_adjustment(member, entry, adjusted),
        EntryKind::PointsExpired(expired) => fold_expiry(member, expired),
        EntryKind::TierChanged(change) => {
            member.header.tier.change(change, entry.occurred_time, entry.program_version);
            Ok(())
        }
        EntryKind::TierKept(kept) => {
            member.header.tier.keep(kept, entry.occurred_time, entry.program_version);
            Ok(())
        }
        EntryKind::TierRewarded(rewarded) => {
            member.header.tier.reward(rewarded);
            rewarded.lot.iter().try_for_each(|lot| add_lot(member, entry, lot))
        }
        EntryKind::PointsRedeemed(redeemed) => fold_redemption(member, entry, redeemed),
        EntryKind::RedemptionReversed(reversed) => fold_reversal(member, entry, reversed),
        EntryKind::PointsHeld(held) => fold_hold(member, held),
        EntryKind::HoldReleased(released) => fold_release(member, entry, released),
        EntryKind::PointsActivated(activated) => fold_activation(member, entry, activated),
        EntryKind::PurchaseReturned(returned) => fold_return(member, entry, returned),
        EntryKind::PointsTransferredOut(sent) => fold_transfer_out(member, sent),
        EntryKind::PointsTransferredIn(got) => fold_transfer_in(member, entry, got),
        EntryKind::MergedInto(gone) => merged::fold_merged_into(member, gone),
        EntryKind::MergedFrom(got) => merged::fold_merged_from(member, entry, got),
        EntryKind::BirthdayChanged(changed) => fold_birthday(member, entry, changed),
        EntryKind::VoucherChanged(changed) => fold_voucher(member, entry, changed),
        EntryKind::SegmentsChanged(changed) => {
            member.header.segments.fold(changed, entry.occurred_time);
            Ok(())
        }
        EntryKind::OfferChanged(changed) => fold_offer(member, changed),
        EntryKind::GoalChanged(changed) => {
            member.header.goals.waiting.clone_from(&changed.waiting);
            Ok(())
        }
    }
}

fn fold_erased(member: &mut Member) {
    let header = &mut member.header;
    header.state = MemberState::Erased;
    header.birthday = Birthdays::default();
    header.goals = Goals::default();
    header.offers.clear();
    header.referral = None;
    member.person = Some(Sealed::Erased);
}

fn fold_offer(member: &mut Member, changed: &OfferChanged) -> Result<(), Fault> {
    offer::fold(&mut member.header, changed);
    Ok(())
}

/// With the points that turned into it, or that come back.
fn fold_voucher(member: &mut Member, entry: &Entry, changed: &VoucherChanged) -> Result<(), Fault> {
    voucher::fold(member, changed).ok_or(Fault::Voucher)?;
    if let Some((_, portions, next_expiry_time)) = changed.paid() {
        let taken = take_from_lots(member, &allocations(portions))?;
        member.header.balance.redeem(taken)?;
        member.header.next_expiry_time = next_expiry_time;
    }
    if changed.goal_paid().is_some_and(|paid| paid.waited) {
        member.header.goals.deliver().ok_or(Fault::Voucher)?;
    }
    let Some(refund) = changed.refund() else { return Ok(()) };
    member.header.balance.reinstate(refund.points, refund.debt_paid)?;
    fold_put_back(member, entry, &refund.put_back, refund.debt_paid)
}

fn fold_transfer_out(member: &mut Member, sent: &TransferredOut) -> Result<(), Fault> {
    let taken = take_from_lots(member, &allocations(&sent.portions))?;
    member.header.balance.transfer_out(taken)?;
    member.header.next_expiry_time = sent.next_expiry_time;
    Ok(())
}

fn fold_transfer_in(member: &mut Member, entry: &Entry, got: &TransferredIn) -> Result<(), Fault> {
    for (lot, earn_time) in &got.lots {
        member.header.last_lot = lot.id.max(member.header.last_lot);
        member.header.balance.transfer_in(lot.points, lot.debt_paid)?;
        open_lot(member, entry, lot, *earn_time, entry.sequence)?;
    }
    Ok(())
}

fn fold_watched(header: &mut Header, watched: &Watched) {
    for dropped in &watched.dropped {
        header.fraud_counters.remove(dropped);
    }
    for counter in &watched.counters {
        header.fraud_counters.insert((counter.limit, counter.period_start), counter.count);
    }
}

fn birth_date(member: &Member) -> Option<BirthDate> {
    member.person.as_ref().and_then(Sealed::open).and_then(|person| person.profile.birth_date)
}

fn fold_profile(member: &mut Member, entry: &Entry, profile: &Sealed<Profile>) -> Result<(), Fault> {
    let before = birth_date(member);
    change_person(member, profile, |person, profile| person.profile = profile.clone())?;
    let date = birth_date(member);
    if date != before {
        member.header.birthday.known_since = date.map(|_| entry.record_time);
    }
    Ok(())
}

/// A person that was erased stays so, whatever the entries said before.
fn change_person<T>(member: &mut Member, change: &Sealed<T>, with: impl FnOnce(&mut Person, &T)) -> Result<(), Fault> {
    match (member.person.as_mut().ok_or(Fault::NotLoaded)?, change) {
        (Sealed::Open(person), Sealed::Open(change)) => with(person, change),
        (Sealed::Open(_) | Sealed::Erased, _) => member.person = Some(Sealed::Erased),
    }
    Ok(())
}

fn fold_purchase(member: &mut Member, entry: &Entry, accrued: &PurchaseAccrued) -> Result<(), Fault> {
    member.header.lately.note(LatelyKind::Channel, &accrued.purchase.channel, entry.occurred_time);
    referral::fold_purchase(&mut member.header, entry, accrued);
    fold_accrual(member, entry, &accrued.accrual)
}

fn fold_accrual(member: &mut Member, entry: &Entry, accrual: &Accrual) -> Result<(), Fault> {
    fold_lots(member, entry, &accrual.lots, accrual.qualifying_points)?;
    let header = &mut member.header;
    header.lifetime.spend = header.lifetime.spend.checked_add(accrual.basis).ok_or(Overflow)?;
    header.lifetime.visits = header.lifetime.visits.checked_add(1).ok_or(Overflow)?;
    header.latest_occurred_time = header.latest_occurred_time.max(Some(entry.occurred_time));
    fold_carries(header, &accrual.carries);
    fold_counters(header, &accrual.counters, &accrual.dropped_counters);
    accrual.promotion_counts.fold(header);
    header.purchases = header.purchases.checked_add(1).ok_or(Overflow)?;
    header.last_purchase_time = header.last_purchase_time.max(Some(entry.occurred_time));
    Ok(())
}

fn fold_carries(header: &mut Header, carries: &[(Option<RuleId>, Decimal)]) {
    for (rule, fraction) in carries {
        if *fraction == Decimal::ZERO {
            header.carries.remove(rule);
        } else {
            header.carries.insert(rule.clone(), *fraction);
        }
    }
}

fn fold_activity(member: &mut Member, entry: &Entry, accrued: &ActivityAccrued) -> Result<(), Fault> {
    let counted = fold_lots(member, entry, &accrued.lots, accrued.qualifying_points)?;
    if !counted.is_zero() {
        member.header.latest_occurred_time = member.header.latest_occurred_time.max(Some(entry.occurred_time));
    }
    fold_counters(&mut member.header, &accrued.counters, &accrued.dropped_counters);
    if let ActivitySide::Member { .. } = accrued.side {
        if let Some(earned) = &accrued.referral {
            referral::waits(&mut member.header, earned.referral.made, false);
            return Ok(());
        }
        member.header.lately.note(LatelyKind::Activity, accrued.activity.as_str(), entry.occurred_time);
    }
    Ok(())
}

/// New lots, and what of their points counts for tiers; how much does so now.
fn fold_lots(member: &mut Member, entry: &Entry, lots: &[AccruedLot], qualifying_points: Points) -> Result<Points, Fault> {
    for lot in lots {
        add_lot(member, entry, lot)?;
    }
    let waiting = Points::total(lots.iter().filter_map(|lot| lot.pending).map(|pending| pending.qualifying_points))?;
    let counted = qualifying_points.minus(waiting)?;
    let lifetime = &mut member.header.lifetime;
    lifetime.qualifying_points = lifetime.qualifying_points.plus(counted)?;
    Ok(counted)
}

fn fold_counters(header: &mut Header, counters: &[Counter], dropped: &[(RuleId, PeriodStart)]) {
    for dropped in dropped {
        header.counters.remove(dropped);
    }
    for counter in counters {
        header.counters.insert((counter.rule.clone(), counter.period), counter.points);
    }
}

fn fold_adjustment(member: &mut Member, entry: &Entry, adjusted: &Adjusted) -> Result<(), Fault> {
    if let Some(lot) = &adjusted.lot {
        add_lot(member, entry, lot)?;
    }
    if adjusted.lot.is_none() {
        let taken = take_from_lots(member, &adjusted.allocations)?;
        member.header.balance.claw_back(taken)?;
        member.header.balance.owe(adjusted.debt)?;
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

fn fold_redemption(member: &mut Member, entry: &Entry, redeemed: &Redeemed) -> Result<(), Fault> {
    match &redeemed.captured {
        None => {
            let taken = take_from_lots(member, &allocations(&redeemed.portions))?;
            member.header.balance.redeem(taken)?;
            member.header.balance.redeem_owed(redeemed.owed)?;
            member.header.next_expiry_time = redeemed.next_expiry_time;
        }
        Some(Captured { hold, released, debt_paid, next_hold_expiry_time }) => {
            let captured = Portion::total(&redeemed.portions)?;
            let back = Portion::total(released)?;
            end_hold(member, *hold, captured.plus(back)?, *next_hold_expiry_time)?;
            // What is captured is available for a moment, and pays no debt.
            member.header.balance.release(captured.plus(back)?, *debt_paid)?;
            member.header.balance.redeem(captured)?;
            put_back(member, entry, released, *debt_paid)?;
        }
    }
    Ok(())
}

fn fold_reversal(member: &mut Member, entry: &Entry, reversed: &Reversed) -> Result<(), Fault> {
    member.header.balance.reinstate(reversed.points, reversed.debt_paid)?;
    let debt = reversed.debt_paid.minus(reversed.debt_paid.min(reversed.owed))?;
    if let Some(lot) = &reversed.lot {
        member.header.last_lot = lot.id.max(member.header.last_lot);
        open_lot(member, entry, lot, entry.occurred_time, entry.sequence)?;
    }
    fold_put_back(member, entry, &reversed.put_back, debt)
}

/// Points go back to where they came from, or into new lots, but for those that pay debt: the first ones.
fn fold_put_back(member: &mut Member, entry: &Entry, put_back: &[PutBack], mut debt: Points) -> Result<(), Fault> {
    for back in put_back {
        let paid = debt.min(back.portion.points);
        debt = debt.minus(paid)?;
        let points = back.portion.points.minus(paid)?;
        if points.is_zero() {
            continue;
        }
        let lot = Lot { remaining: points, ..back.portion.lot() };
        let is_new = back.into != back.portion.lot;
        let lot = if is_new {
            Lot { id: back.into.id(), issued: back.portion.points, expiry: back.into.expiry(), entry_sequence: entry.sequence, ..lot }
        } else {
            lot
        };
        member.header.last_lot = member.header.last_lot.max(lot.id);
        refill(member, entry, lot)?;
    }
    Ok(())
}

fn fold_hold(member: &mut Member, held: &Held) -> Result<(), Fault> {
    let hold = &held.hold;
    let taken = take_from_lots(member, &allocations(&hold.portions))?;
    member.header.balance.hold(taken)?;
    member.header.next_expiry_time = held.next_expiry_time;
    member.header.next_hold_expiry_time = sooner(member.header.next_hold_expiry_time, Some(hold.expire_time));
    member.holds.insert(hold.id, hold.clone());
    Ok(())
}

fn fold_release(member: &mut Member, entry: &Entry, released: &Released) -> Result<(), Fault> {
    let points = Portion::total(&released.portions)?;
    end_hold(member, released.hold, points, released.next_hold_expiry_time)?;
    member.header.balance.release(points, released.debt_paid)?;
    put_back(member, entry, &released.portions, released.debt_paid)
}

fn end_hold(member: &mut Member, hold: HoldId, points: Points, next: Option<Timestamp>) -> Result<(), Fault> {
    match member.holds.remove(&hold) {
        Some(ended) if ended.points == points => {
            member.header.next_hold_expiry_time = next;
            Ok(())
        }
        Some(_) | None => Err(Fault::Hold(hold)),
    }
}

fn allocations(portions: &[Portion]) -> Vec<Allocation> {
    portions.iter().map(Allocation::from).collect()
}

fn fold_activation(member: &mut Member, entry: &Entry, activated: &Activated) -> Result<(), Fault> {
    for active in &activated.lots {
        let pending = member.pending.remove(&active.pending).ok_or(Fault::NotLoaded)?;
        if pending.remaining != active.lot.points {
            return Err(Fault::Lot(pending.id.0));
        }
        member.header.balance.activate(active.lot.points, active.lot.debt_paid)?;
        let lifetime = &mut member.header.lifetime;
        lifetime.qualifying_points = lifetime.qualifying_points.plus(active.qualifying_points)?;
        open_lot(member, entry, &active.lot, active.earn_time, active.entry_sequence)?;
    }
    member.header.next_activation_time = activated.next_activation_time;
    member.header.latest_occurred_time = member.header.latest_occurred_time.max(Some(entry.occurred_time));
    Ok(())
}

fn fold_return(member: &mut Member, entry: &Entry, returned: &Returned) -> Result<(), Fault> {
    take_from_pending(member, &returned.from_pending)?;
    let from_lots = take_from_lots(member, &returned.from_sale)?.plus(take_from_lots(member, &returned.from_others)?)?;
    let header = &mut member.header;
    header.balance.claw_back(from_lots)?;
    header.balance.owe(returned.debt)?;
    header.lifetime.qualifying_points = header.lifetime.qualifying_points.minus(returned.qualifying_points)?;
    header.lifetime.spend = header.lifetime.spend.checked_sub(returned.basis).ok_or(Overflow)?;
    header.lifetime.visits = header.lifetime.visits.checked_sub(u64::from(returned.voids)).ok_or(Overflow)?;
    for counter in &returned.counters {
        header.counters.insert((counter.rule.clone(), counter.period), counter.points);
    }
    returned.promotion_counts.fold(header);
    voucher::lose(member, &returned.lost_vouchers).ok_or(Fault::Voucher)?;
    let header = &mut member.header;
    header.next_expiry_time = returned.next_expiry_time;
    header.next_activation_time = returned.next_activation_time;
    referral::fold_basis(header, returned.referral_basis);
    header.latest_occurred_time = header.latest_occurred_time.max(Some(entry.occurred_time));
    Ok(())
}

/// Parts of pending lots, or whole ones.
fn take_from_pending(member: &mut Member, from_pending: &[PendingTaken]) -> Result<(), Fault> {
    for taken in from_pending {
        let lot = member.pending.get_mut(&taken.lot).ok_or(Fault::NotLoaded)?;
        lot.remaining = lot.remaining.minus(taken.points)?;
        lot.qualifying_points = lot.qualifying_points.minus(taken.qualifying_points)?;
        match lot.remaining {
            left if left < Points::ZERO => return Err(Fault::Lot(taken.lot.id().0)),
            Points::ZERO => {
                member.pending.remove(&taken.lot);
            }
            _ => {}
        }
        member.header.balance.claw_back_pending(taken.points)?;
    }
    Ok(())
}

fn fold_birthday(member: &mut Member, entry: &Entry, changed: &BirthdayChanged) -> Result<(), Fault> {
    member.header.birthday.fold(changed);
    match changed.granted.as_ref().map(|granted| &granted.given) {
        Some(BirthdayGiven::Points(lot)) => add_lot(member, entry, lot),
        Some(BirthdayGiven::Voucher(_) | BirthdayGiven::Multiplier(_)) | None => Ok(()),
    }
}

/// The earlier of two instants, `None` being never.
pub(super) fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
