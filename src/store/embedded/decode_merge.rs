//! As `decode.rs`: what is stored of members that become one.

use super::{
    birthdays,
    decode::{Decoded, allocation, carry, counter, decimal, dropped_counters, expiry, inactivity, member_id, optional_time, time},
    decode_holds::portions,
    decode_returns::pending_taken,
    goals, months, offers, promotions, referrals, rewards, segments, stored, tiers, vouchers,
};
use crate::domain::{Birthdays, Goals, LifetimeTotals, LotId, Merged, MergedFrom, MergedInto, PendingLot, Person, Points, Sealed};

pub(super) fn merged_into(gone: stored::MergedInto) -> Decoded<MergedInto> {
    Ok(MergedInto {
        into: member_id(&gone.into_member_id)?,
        allocations: gone.allocations.iter().map(allocation).collect::<Decoded<_>>()?,
        pending: gone.pending.iter().map(pending_taken).collect::<Decoded<_>>()?,
        debt: Points(gone.debt),
        vouchers: gone.voucher_codes.iter().map(|code| vouchers::read_code(code)).collect::<Decoded<_>>()?,
        reason: gone.reason,
    })
}

pub(super) fn merged_from(got: stored::MergedFrom, person: Sealed<Person>) -> Decoded<MergedFrom> {
    Ok(MergedFrom {
        from: member_id(&got.from_member_id)?,
        sequence: got.sequence,
        lots: portions(&got.lots)?,
        pending: got.pending.iter().map(pending_lot).collect::<Decoded<_>>()?,
        debt_paid: Points(got.debt_paid),
        allocations: got.allocations.iter().map(allocation).collect::<Decoded<_>>()?,
        debt: Points(got.debt),
        last_lot: LotId(got.last_lot),
        lifetime: LifetimeTotals { qualifying_points: Points(got.qualifying_points), spend: decimal(&got.spend)?, visits: got.visits },
        latest_occurred_time: optional_time(got.latest_occurred_time)?,
        carries: got.carries.iter().map(carry).collect::<Decoded<_>>()?,
        counters: got.counters.iter().map(counter).collect::<Decoded<_>>()?,
        dropped_counters: dropped_counters(&got.dropped_counters)?,
        tier: tiers::read_standing(&got.tiers, got.tier_manual, got.tier_status)?,
        tier_counts: tiers::read_counts(&got.tier_counts)?,
        day_counts: tiers::read_counts(&got.day_counts)?,
        suspended: got.suspended,
        merged: got.merged.iter().map(merged).collect::<Decoded<_>>()?,
        person,
        next_expiry_time: optional_time(got.next_expiry_time)?,
        next_activation_time: optional_time(got.next_activation_time)?,
        inactivity: inactivity(got.inactivity.unwrap_or_default())?,
        inactive_months: got.inactive_months.as_ref().map(months::read).transpose()?.unwrap_or_default(),
        vouchers: got.vouchers.into_iter().map(vouchers::read_voucher).collect::<Decoded<_>>()?,
        next_voucher_due_time: optional_time(got.next_voucher_due_time)?,
        birthday: Birthdays {
            last_year: got.last_birthday_year.map(birthdays::year).transpose()?,
            changes: got.birth_date_changes,
            multiplier: got.birthday_multiplier.as_ref().map(birthdays::read_multiplier).transpose()?,
            known_since: optional_time(got.birth_date_known_since)?,
            ..Birthdays::default()
        },
        goals: Goals { waiting: goals::read_waiting(&got.goals_waiting)? },
        rewards: rewards::read_tallies(&got.rewards)?,
        offers: got.offers.iter().map(offers::read_held).collect::<Decoded<_>>()?,
        dropped_offers: got.dropped_offers.iter().map(|text| offers::offer_id(text)).collect::<Decoded<_>>()?,
        promotions: promotions::read_counts(got.promotion_counts.as_ref())?,
        purchases: got.purchases.unwrap_or(got.visits),
        last_purchase_time: optional_time(got.last_purchase_time)?,
        referral: got.referral.as_ref().map(referrals::read_held).transpose()?,
        referral_bases: got.referral_bases.iter().map(referrals::read_basis).collect::<Decoded<_>>()?,
        lately: segments::read_lately(&got.lately)?,
        reason: got.reason,
    })
}

pub(super) fn merged(merged: &stored::Merged) -> Decoded<Merged> {
    Ok(Merged {
        member: member_id(&merged.member_id)?,
        lots_before: merged.lots_before,
        sequence: merged.sequence,
        time: time(merged.time)?,
        ran_out_times: merged.earlier_ran_out_times.iter().copied().chain(merged.ran_out_time).map(time).collect::<Decoded<_>>()?,
        ran_out_months: merged.ran_out_months.iter().map(months::read_ran_out).collect::<Decoded<_>>()?,
    })
}

fn pending_lot(lot: &stored::PendingLot) -> Decoded<PendingLot> {
    Ok(PendingLot {
        id: LotId(lot.lot),
        issued: Points(lot.issued),
        remaining: Points(lot.remaining.unwrap_or(lot.issued)),
        earn_time: time(lot.earn_time)?,
        activate_time: optional_time(lot.activate_time)?,
        expiry: expiry(lot.expire_time)?,
        qualifying_points: Points(lot.qualifying_points),
        entry_sequence: lot.entry_sequence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of before purchases were counted.
    #[test]
    fn who_was_merged_before_purchases_were_counted_brings_along_its_visits() {
        let old = stored::MergedFrom { from_member_id: vec![1; 16], visits: 3, ..Default::default() };
        let counted = stored::MergedFrom { purchases: Some(0), ..old.clone() };
        let purchases = |got| merged_from(got, Sealed::Erased).map(|got| got.purchases).map_err(|_| ());
        assert_eq!((purchases(old), purchases(counted)), (Ok(3), Ok(0)));
    }
}
