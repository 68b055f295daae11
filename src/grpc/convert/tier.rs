//! Tiers: how a member stands, and what entries say of it.

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use super::{
    amount::{decimal, money},
    member::count,
    time::{self, timestamp},
};
use crate::{
    contract::v1,
    domain::{
        self, Currency, Header, LifetimeTotals, PriceDays, Program, StatusEnd, Tier, TierCause, TierChange, TierId, TierKept, TierReview,
        TierRewarded, start_of_day,
    },
};

/// As of now; empty in a programme without tiers.
pub(super) fn tier_standing(program: &Program, header: &Header, now: Timestamp) -> v1::TierStanding {
    // What overflows here is no member's: all that was entered was reckoned with before.
    let Ok(Some(progress)) = domain::tier_progress(program, header, now) else { return v1::TierStanding::default() };
    let standing = &header.tier;
    let mut shown = v1::TierStanding {
        tier_id: progress.tier.id.to_string(),
        display_name: progress.tier.display_name.clone(),
        start_time: Some(timestamp(standing.current().map_or(header.create_time, |held| held.start_time))),
        manual: standing.is_on_floor(),
        window_start: progress.window_start.map(date),
        window_end: progress.window_end.map(date),
        window_totals: Some(totals(&progress.totals, &program.currency)),
        end_time: progress.end.map(|end| timestamp(end.end_time)),
        review_time: progress.end.map(|end| timestamp(end.review_time)),
        history: history(header),
        benefits: Some(every_day_benefits(progress.tier)),
        ..v1::TierStanding::default()
    };
    if let Some((next, missing)) = &progress.next {
        shown.next_tier_id = next.id.to_string();
        shown.next_missing_points = missing.points.map(|points| points.0);
        shown.next_missing_spend = missing.spend.map(|spend| money(spend, &program.currency));
        shown.next_missing_visits = missing.visits.map(count);
        shown.next_require_all = missing.require_all;
        let by = progress.window_end.and_then(|end| start_of_day(&program.time_zone, end).ok());
        shown.next_by_time = by.map(timestamp);
    }
    if let Some(missing) = &progress.keep {
        shown.keep_missing_points = missing.points.map(|points| points.0);
        shown.keep_missing_spend = missing.spend.map(|spend| money(spend, &program.currency));
        shown.keep_missing_visits = missing.visits.map(count);
        shown.keep_require_all = missing.require_all;
    }
    if let Some((tier, time)) = progress.falls_to {
        shown.falls_to_tier_id = tier.id.to_string();
        shown.falls_time = Some(timestamp(time));
    }
    shown
}

fn history(header: &Header) -> Vec<v1::TierHeld> {
    let held = &header.tier.history;
    let ends = held.iter().skip(1).map(|next| Some(timestamp(next.start_time))).chain([None]);
    let shown = held.iter().zip(ends).map(|(held, end_time)| v1::TierHeld {
        tier_id: held.tier.to_string(),
        start_time: Some(timestamp(held.start_time)),
        end_time,
    });
    shown.collect()
}

fn date(date: Date) -> v1::Date {
    v1::Date { year: i32::from(date.year()), month: i32::from(date.month()), day: i32::from(date.day()) }
}

fn totals(totals: &LifetimeTotals, currency: &Currency) -> v1::QualifyingTotals {
    v1::QualifyingTotals { points: totals.qualifying_points.0, spend: Some(money(totals.spend, currency)), visits: count(totals.visits) }
}

/// Of the tier that a purchase was rated by, with the discount of when it occurred: no till that asks for it needs all price days.
pub(super) fn tier_benefits(program: Option<&Program>, tier: Option<&TierId>, occurred_time: Timestamp) -> Option<v1::TierBenefits> {
    let program = program?;
    let tier = program.tiers.iter().find(|candidate| Some(&candidate.id) == tier)?;
    Some(benefits(tier, tier.benefits.discount_at(occurred_time, &program.time_zone), &[]))
}

fn every_day_benefits(tier: &Tier) -> v1::TierBenefits {
    benefits(tier, tier.benefits.discount_percent, &tier.benefits.price_days)
}

fn benefits(tier: &Tier, discount_percent: Option<Decimal>, days: &[PriceDays]) -> v1::TierBenefits {
    let benefits = &tier.benefits;
    v1::TierBenefits {
        discount_percent: discount_percent.map_or_else(String::new, decimal),
        free_shipping: benefits.free_shipping,
        early_access: benefits.early_access,
        custom: benefits.custom.clone(),
        price_days: days.iter().map(price_days).collect(),
    }
}

fn price_days(days: &PriceDays) -> v1::PriceDays {
    let (first, last) = days.days_of_month.unwrap_or_default();
    v1::PriceDays {
        display_name: days.display_name.clone(),
        discount_percent: decimal(days.percent),
        start_time: days.start_time.map(timestamp),
        end_time: days.end_time.map(timestamp),
        // The contract numbers them as ISO 8601 does.
        weekdays: days.weekdays.iter().map(|day| i32::from(day.to_monday_one_offset())).collect(),
        first_day_of_month: i32::from(first),
        last_day_of_month: i32::from(last),
    }
}

fn ends(end: Option<StatusEnd>) -> (Option<prost_types::Timestamp>, Option<prost_types::Timestamp>) {
    (end.map(|end| timestamp(end.end_time)), end.map(|end| timestamp(end.review_time)))
}

pub(super) fn tier_changed(change: &TierChange, currency: &Currency) -> v1::TierChanged {
    use v1::tier_changed::Cause;
    let cause = match change.cause {
        TierCause::Upgrade => Cause::Upgrade,
        TierCause::Manual => Cause::Manual,
        TierCause::Review => Cause::Review,
        TierCause::Return => Cause::Return,
        TierCause::RuleBook => Cause::RuleBook,
    };
    let by_hand = change.floor.as_ref().and_then(|floor| floor.end_time).map(|end| StatusEnd { end_time: end, review_time: end });
    let (end_time, review_time) = ends(change.end.or(by_hand));
    v1::TierChanged {
        from_tier_id: change.from.as_ref().map_or_else(String::new, ToString::to_string),
        to_tier_id: change.to.to_string(),
        cause: cause.into(),
        reason: change.reason.clone(),
        end_time,
        review_time,
        review: change.review.as_ref().map(|review| tier_review(review, currency)),
    }
}

pub(super) fn tier_kept(kept: &TierKept, currency: &Currency) -> v1::TierKept {
    let (end_time, review_time) = ends(kept.end);
    v1::TierKept { tier_id: kept.tier.to_string(), end_time, review_time, review: Some(tier_review(&kept.review, currency)) }
}

fn tier_review(review: &TierReview, currency: &Currency) -> v1::TierReview {
    v1::TierReview {
        window_start: review.from.map(date),
        window_end: Some(date(review.to)),
        totals: Some(totals(&review.totals, currency)),
    }
}

pub(super) fn tier_rewarded(rewarded: &TierRewarded) -> v1::TierRewarded {
    let lot = rewarded.lot.as_ref();
    v1::TierRewarded {
        tier_id: rewarded.tier.to_string(),
        points: lot.map_or(0, |lot| lot.points.0),
        lot_id: lot.map_or_else(String::new, |lot| lot.id.to_string()),
        expire_time: lot.and_then(|lot| lot.expiry.time()).map(time::timestamp),
        lapses_with_inactivity: lot.is_some_and(|lot| lot.expiry.is_with_inactivity()),
        debt_paid: lot.map_or(0, |lot| lot.debt_paid.0),
        voucher_kind_id: rewarded.voucher.as_ref().map_or_else(String::new, ToString::to_string),
    }
}
