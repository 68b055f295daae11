//! Folding what makes two members one.

use super::{
    super::{
        Birthdays, Entry, Header, Member, MemberState, MergedFrom, MergedInto, Overflow, PendingTaken, Points, Portion, Sealed, voucher,
    },
    Fault, change_person, fold_carries, fold_counters,
    lots::{put_back, take_from_lots},
};

/// Nothing is left but the ledger, and who the member is now.
pub(super) fn fold_merged_into(member: &mut Member, gone: &MergedInto) -> Result<(), Fault> {
    let taken = take_from_lots(member, &gone.allocations)?;
    let pending = take_pending(member, &gone.pending)?;
    let balance = &mut member.header.balance;
    balance.transfer_out(taken)?;
    balance.hand_over(pending, gone.debt)?;
    voucher::leave(member, &gone.vouchers).ok_or(Fault::Voucher)?;
    member.person = Some(Sealed::Erased);
    let old = &member.header;
    member.header = Header {
        state: MemberState::Merged { into: gone.into },
        last_lot: old.last_lot,
        balance: old.balance.clone(),
        merged: old.merged.clone(),
        ..Header::new(old.create_time)
    };
    Ok(())
}

/// Whole pending lots.
fn take_pending(member: &mut Member, taken: &[PendingTaken]) -> Result<Points, Fault> {
    let mut sum = Points::ZERO;
    for PendingTaken { lot, points, .. } in taken {
        let pending = member.pending.remove(lot).ok_or(Fault::NotLoaded)?;
        if pending.remaining != *points {
            return Err(Fault::Lot(lot.id().0));
        }
        sum = sum.plus(*points)?;
    }
    Ok(sum)
}

pub(super) fn fold_merged_from(member: &mut Member, entry: &Entry, got: &MergedFrom) -> Result<(), Fault> {
    put_back(member, entry, &got.lots, got.debt_paid)?;
    member.pending.extend(got.pending.iter().map(|lot| (lot.key(), lot.clone())));
    let pending = Points::total(got.pending.iter().map(|lot| lot.remaining))?;
    let taken = take_from_lots(member, &got.allocations)?;
    change_person(member, &got.person, |person, joined| person.clone_from(joined))?;
    voucher::join(member, &got.vouchers, got.next_voucher_due_time).ok_or(Fault::Voucher)?;
    let header = &mut member.header;
    header.balance.transfer_in(Portion::total(&got.lots)?, got.debt_paid)?;
    header.balance.transfer_out(taken)?;
    header.balance.take_over(pending, got.debt)?;
    header.last_lot = got.last_lot;
    let (lifetime, more) = (&mut header.lifetime, &got.lifetime);
    lifetime.qualifying_points = lifetime.qualifying_points.plus(more.qualifying_points)?;
    lifetime.spend = lifetime.spend.checked_add(more.spend).ok_or(Overflow)?;
    lifetime.visits = lifetime.visits.checked_add(more.visits).ok_or(Overflow)?;
    header.latest_occurred_time = header.latest_occurred_time.max(got.latest_occurred_time);
    fold_carries(header, &got.carries);
    fold_counters(header, &got.counters, &got.dropped_counters);
    for (day, count) in got.tier_counts.iter() {
        header.tier_counts.add(*day, count)?;
    }
    for (day, count) in got.day_counts.iter() {
        header.day_counts.add(*day, count)?;
    }
    header.tier = got.tier.clone();
    header.state = if got.suspended { MemberState::Suspended } else { MemberState::Active };
    header.merged.extend_from_slice(&got.merged);
    header.next_expiry_time = got.next_expiry_time;
    header.next_activation_time = got.next_activation_time;
    header.inactivity = got.inactivity;
    header.inactive_months.clone_from(&got.inactive_months);
    header.goals = got.goals.clone();
    header.rewards.extend(got.rewards.iter().cloned());
    for offer in &got.dropped_offers {
        header.offers.remove(offer);
    }
    header.offers.extend(got.offers.iter().cloned());
    got.promotions.fold(header);
    header.purchases = header.purchases.checked_add(got.purchases).ok_or(Overflow)?;
    header.last_purchase_time = header.last_purchase_time.max(got.last_purchase_time);
    header.referral.clone_from(&got.referral);
    header.referral_bases.extend(&got.referral_bases);
    header.lately.join(&got.lately);
    header.birthday = Birthdays { next: header.birthday.next, policy_version: header.birthday.policy_version, ..got.birthday.clone() };
    Ok(())
}
