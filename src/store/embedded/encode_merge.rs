//! As `encode.rs`: what is written of members that become one.

use super::{
    birthdays,
    encode::{allocation, carry, counter, counter_fields, inactivity, tier_since},
    encode_points::{pending_taken, portion},
    goals, months, offers, promotions, referrals, rewards, segments, tiers, vouchers,
    wire::Writer,
};
use crate::domain::{Inactivity, Merged, MergedFrom, MergedInto, PendingLot, Points};

pub(super) fn merged_into(w: &mut Writer, gone: &MergedInto) {
    w.bytes(1, &gone.into.0);
    for taken in &gone.allocations {
        w.message(2, |w| allocation(w, taken));
    }
    for taken in &gone.pending {
        w.message(3, |w| pending_taken(w, taken));
    }
    w.sint(4, gone.debt.0);
    w.text(5, &gone.reason);
    for code in &gone.vouchers {
        w.bytes(40, code.as_bytes());
    }
}

pub(super) fn merged_from(w: &mut Writer, got: &MergedFrom) {
    w.bytes(1, &got.from.0);
    w.uint(2, got.sequence);
    for one in &got.lots {
        w.message(3, |w| portion(w, one));
    }
    for one in &got.pending {
        w.message(4, |w| pending_lot(w, one));
    }
    w.sint(5, got.debt_paid.0);
    for taken in &got.allocations {
        w.message(6, |w| allocation(w, taken));
    }
    w.sint(7, got.debt.0);
    w.uint(8, got.last_lot.0);
    w.sint(9, got.lifetime.qualifying_points.0);
    w.decimal(10, got.lifetime.spend);
    w.uint(11, got.lifetime.visits);
    w.optional_time(12, got.latest_occurred_time);
    for (rule, fraction) in &got.carries {
        w.message(13, |w| carry(w, rule.as_ref(), *fraction));
    }
    for one in &got.counters {
        w.message(14, |w| counter(w, one));
    }
    for (rule, period) in &got.dropped_counters {
        w.message(15, |w| counter_fields(w, rule, *period, Points::ZERO));
    }
    for since in &got.tier.history {
        w.message(16, |w| tier_since(w, since));
    }
    w.uint(17, u64::from(got.tier.manual));
    w.uint(18, u64::from(got.suspended));
    for one in &got.merged {
        w.message(19, |w| merged(w, one));
    }
    w.optional_time(20, got.next_expiry_time);
    w.optional_time(21, got.next_activation_time);
    w.text(22, &got.reason);
    if got.inactivity != Inactivity::default() {
        w.message(23, |w| inactivity(w, &got.inactivity));
    }
    months::months(w, 74, &got.inactive_months);
    tiers::status(w, 30, &got.tier);
    if !got.tier_counts.is_empty() {
        w.bytes(31, &tiers::counts(&got.tier_counts));
    }
    for one in &got.vouchers {
        w.message(40, |w| vouchers::voucher(w, one));
    }
    w.optional_time(41, got.next_voucher_due_time);
    if let Some(year) = got.birthday.last_year {
        w.present_sint(42, i64::from(year));
    }
    w.uint(43, u64::from(got.birthday.changes));
    if let Some(one) = &got.birthday.multiplier {
        w.message(44, |w| birthdays::multiplier(w, one));
    }
    w.optional_time(45, got.birthday.known_since);
    from_the_rule_book(w, got);
}

/// What goals, rewards, offers, promotions and segments have counted.
fn from_the_rule_book(w: &mut Writer, got: &MergedFrom) {
    goals::waiting(w, 50, &got.goals.waiting);
    for (reward, tally) in &got.rewards {
        w.message(51, |w| rewards::tally(w, reward, Some(tally)));
    }
    for (offer, held) in &got.offers {
        w.message(70, |w| offers::held(w, offer, held));
    }
    got.dropped_offers.iter().for_each(|offer| w.item_text(71, offer.as_str()));
    if let Some(held) = &got.referral {
        w.message(72, |w| referrals::held(w, held));
    }
    referrals::bases(w, 73, &got.referral_bases);
    promotions::counts(w, 52, &got.promotions);
    w.present_uint(53, got.purchases);
    w.optional_time(54, got.last_purchase_time);
    segments::lately(w, 55, &got.lately);
    if !got.day_counts.is_empty() {
        w.bytes(56, &tiers::counts(&got.day_counts));
    }
}

pub(super) fn merged(w: &mut Writer, merged: &Merged) {
    w.bytes(1, &merged.member.0);
    w.uint(2, merged.lots_before);
    w.uint(3, merged.sequence);
    w.time(4, merged.time);
    if let Some((last, earlier)) = merged.ran_out_times.split_last() {
        w.optional_time(5, Some(*last));
        for time in earlier {
            w.optional_time(6, Some(*time));
        }
    }
    for one in &merged.ran_out_months {
        w.message(7, |w| months::ran_out(w, one));
    }
}

fn pending_lot(w: &mut Writer, lot: &PendingLot) {
    w.uint(1, lot.id.0);
    w.optional_time(2, lot.activate_time);
    w.sint(3, lot.issued.0);
    w.sint_unless(4, lot.remaining.0, lot.issued.0);
    w.time(5, lot.earn_time);
    w.expiry(6, lot.expiry);
    w.sint(7, lot.qualifying_points.0);
    w.uint(8, lot.entry_sequence);
}
