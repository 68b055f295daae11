//! Referrals that wait for a purchase.

use super::{
    activity::activity_accrued,
    amount::money,
    entry::{allocations, entry, fraud_limit},
    member::count,
    returned::pending_allocation,
    time::timestamp,
};
use crate::{
    contract::v1,
    domain::{
        ActivitySide, Currency, Entry, EntryKind, OrderKey, ProgramHistory, Referral, ReferralEarned, ReferralTakenBack, ReferrerAbsent,
    },
};

pub fn waiting_referral(referral: &Referral, currency: &Currency) -> v1::WaitingReferral {
    v1::WaitingReferral {
        activity: referral.activity.to_string(),
        reference: referral.reference.clone(),
        referrer_member_id: referral.referrer.to_string(),
        referred_time: Some(timestamp(referral.occurred_time)),
        until_time: referral.until.map(timestamp),
        minimum_amount: (!referral.minimum_amount.is_zero()).then(|| money(referral.minimum_amount, currency)),
    }
}

pub fn referral_earned(earned: &ReferralEarned) -> v1::ReferralEarned {
    let (store_id, order_id) = order(earned.order.as_ref());
    let referrer_state = earned.absent.map_or(v1::member::State::Unspecified, |absent| match absent {
        ReferrerAbsent::Suspended => v1::member::State::Suspended,
        ReferrerAbsent::Erased => v1::member::State::Erased,
    });
    v1::ReferralEarned {
        sale_member_id: earned.sale.member.to_string(),
        sale_sequence: count(earned.sale.sequence),
        store_id,
        order_id,
        referred_time: Some(timestamp(earned.referral.occurred_time)),
        refused_by: earned.refused.map_or(v1::FraudLimit::Unspecified, fraud_limit).into(),
        referrer_state: referrer_state.into(),
    }
}

pub fn referral_taken_back(back: &ReferralTakenBack, currency: &Currency) -> v1::ReferralTakenBack {
    let (store_id, order_id) = order(Some(&back.order));
    let (referrer_member_id, referred_member_id, referred_sequence) = match back.side {
        ActivitySide::Member { .. } => (back.referral.referrer.to_string(), String::new(), 0),
        ActivitySide::Referrer { member, sequence } => (String::new(), member.to_string(), count(sequence)),
    };
    v1::ReferralTakenBack {
        activity: back.referral.activity.to_string(),
        reference: back.referral.reference.clone(),
        given_member_id: back.bonus.member.to_string(),
        given_sequence: count(back.bonus.sequence),
        referrer_member_id,
        referred_member_id,
        referred_sequence,
        store_id,
        order_id,
        reason: back.reason.clone(),
        points: back.points.0,
        qualifying_points: back.qualifying_points.0,
        from_pending: back.from_pending.iter().map(pending_allocation).collect(),
        from_given: allocations(&back.from_bonus),
        from_others: allocations(&back.from_others),
        debt: back.debt.0,
        forgiven: back.forgiven.0,
        withheld: back.withheld.0,
        withheld_value: back.withheld_value.map(|value| money(value, currency)),
    }
}

/// What a purchase earned the member by a referral, of the entries that it led to.
pub fn referral_bonus(entries: &[Entry]) -> Option<v1::ActivityAccrued> {
    entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::ActivityAccrued(accrued) if accrued.referral.is_some() => Some(activity_accrued(accrued)),
        _ => None,
    })
}

/// Those of a return that take back what a referral gave.
pub fn referrals_taken_back(entries: &[Entry], history: &ProgramHistory) -> Vec<v1::Entry> {
    let back = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::ReferralTakenBack(_)));
    back.map(|one| entry(one, history)).collect()
}

pub fn referral_entries(entries: &[Entry], history: &ProgramHistory) -> Vec<v1::PurchaseReferralEntry> {
    let shown = |one: &Entry| v1::PurchaseReferralEntry { member_id: one.key.member.to_string(), entry: Some(entry(one, history)) };
    entries.iter().map(shown).collect()
}

fn order(order: Option<&OrderKey>) -> (String, String) {
    order.map_or_else(Default::default, |order| (order.store.to_string(), order.order.to_string()))
}
