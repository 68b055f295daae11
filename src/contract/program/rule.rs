//! Accrual rules of a rule book.

use std::collections::BTreeSet;

use jiff::civil::Weekday;
use rust_decimal::Decimal;

use super::{Mistakes, Scope, amount, policy, v1};
use crate::domain::{
    AccrualRule, Filter, HourRange, Limits, MAX_ID_CHARS, Period, PointsCap, Rate, Rounding, RoundingStage, RuleId, TenderKind,
};

const MAX_FILTER_VALUES: usize = 10_000;

pub(super) fn rule(path: &str, document: &v1::AccrualRule, scope: &Scope, mistakes: &mut Mistakes) -> Option<AccrualRule> {
    let id = mistakes.take(format!("{path}.rule_id"), RuleId::new(&document.rule_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let priority = mistakes.number(format!("{path}.priority"), document.priority, 0..=1_000_000);
    let rate = rate(path, document.award.as_ref(), scope, mistakes);
    let filter = filter(&format!("{path}.filter"), document.filter.as_ref(), scope, mistakes);
    let limits = limits(&format!("{path}.limits"), document.limits.as_ref(), scope, mistakes);
    let rounding = match &document.rounding {
        Some(own) => own_rounding(&format!("{path}.rounding"), own, mistakes),
        None => scope.rounding,
    };
    let expiry = match &document.expiry {
        Some(own) => policy::own_expiry(&format!("{path}.expiry"), own, scope.expiry, mistakes),
        None => scope.expiry,
    };
    let activation = match &document.activation {
        Some(own) => policy::activation(&format!("{path}.activation"), Some(own), mistakes),
        None => scope.activation,
    };
    check_together(path, document, rounding, scope, mistakes);
    Some(AccrualRule {
        id: id?,
        display_name: display_name?,
        priority: priority?,
        rate: rate?,
        filter: filter?,
        limits: limits?,
        rounding: rounding?,
        expiry: expiry?,
        has_own_expiry: document.expiry.is_some(),
        activation: activation?,
        with_tier_multiplier: !document.without_tier_multiplier,
        qualifying: !document.without_qualifying,
    })
}

fn own_rounding(path: &str, document: &v1::Rounding, mistakes: &mut Mistakes) -> Option<Rounding> {
    let rounding = policy::rounding(path, document, mistakes)?;
    if rounding.stage == RoundingStage::Order {
        mistakes.note(format!("{path}.stage"), "STAGE_ORDER is for a whole programme only, not for a single rule");
        return None;
    }
    Some(rounding)
}

/// What is right by itself, but not together.
fn check_together(path: &str, document: &v1::AccrualRule, rounding: Option<Rounding>, scope: &Scope, mistakes: &mut Mistakes) {
    let is_limited = document.limits.as_ref().is_some_and(|limits| *limits != v1::Limits::default());
    if is_limited && rounding.is_some_and(|rounding| rounding.stage == RoundingStage::Order) {
        mistakes.note(
            format!("{path}.limits"),
            "are not possible with STAGE_ORDER, where a rule has no award of its own to limit; give the rule a rounding of its own",
        );
    }
    let counts_unmultiplied = scope.qualify_unmultiplied && !document.without_tier_multiplier && !document.without_qualifying;
    if counts_unmultiplied && rounding.is_some_and(|rounding| rounding.carry) {
        mistakes.note(
            format!("{path}.rounding"),
            "FRACTION_CARRY is not possible with QUALIFYING_BASIS_UNMULTIPLIED, since fractions without the multiplier are not kept; \
             set without_tier_multiplier or without_qualifying, or drop fractions",
        );
    }
}

fn rate(path: &str, award: Option<&v1::accrual_rule::Award>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Rate> {
    use v1::accrual_rule::Award;
    match award {
        Some(Award::PerAmount(rule)) => {
            let amount_path = format!("{path}.per_amount.amount");
            let amount = amount(&amount_path, &rule.amount, scope, mistakes).ok();
            let amount = amount.and_then(|amount| mistakes.more_than_zero(amount_path, amount));
            let points = mistakes.rate(format!("{path}.per_amount.points"), &rule.points);
            Some(Rate::PerAmount { amount: amount?, points: points?, whole_blocks: rule.whole_blocks })
        }
        Some(Award::PerUnit(rule)) => mistakes.rate(format!("{path}.per_unit.points"), &rule.points).map(|points| Rate::PerUnit { points }),
        Some(Award::PerOrder(rule)) => {
            mistakes.rate(format!("{path}.per_order.points"), &rule.points).map(|points| Rate::PerOrder { points })
        }
        Some(Award::PerProduct(rule)) => {
            mistakes.rate(format!("{path}.per_product.points"), &rule.points).map(|points| Rate::PerProduct { points })
        }
        None => {
            mistakes.note(path, "needs one of per_amount, per_unit, per_order, per_product");
            None
        }
    }
}

fn limits(path: &str, document: Option<&v1::Limits>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Limits> {
    let Some(document) = document else { return Some(Limits::default()) };
    let minimum = mistakes.points_above_zero(format!("{path}.minimum_points"), &document.minimum_points, scope.precision);
    let maximum = mistakes.points_above_zero(format!("{path}.maximum_points"), &document.maximum_points, scope.precision);
    if minimum.zip(maximum).is_some_and(|(minimum, maximum)| minimum > maximum) {
        mistakes.note(format!("{path}.minimum_points"), "is more than maximum_points");
    }
    let cap = match &document.cap {
        Some(cap) => Some(points_cap(&format!("{path}.cap"), cap, scope, mistakes)?),
        None => None,
    };
    Some(Limits { minimum, maximum, cap, once_per_member: document.once_per_member })
}

pub(super) fn points_cap(path: &str, document: &v1::PointsCap, scope: &Scope, mistakes: &mut Mistakes) -> Option<PointsCap> {
    let points_path = format!("{path}.points");
    if document.points.is_empty() {
        mistakes.note(&points_path, "is required");
    }
    let points = mistakes.points_above_zero(points_path, &document.points, scope.precision);
    let period = period(&format!("{path}.period"), document.period, mistakes);
    Some(PointsCap { points: points?, period: period? })
}

pub(super) fn period(path: &str, number: i32, mistakes: &mut Mistakes) -> Option<Period> {
    match mistakes.choice(path, number) {
        Some(v1::Period::Day) => Some(Period::Day),
        Some(v1::Period::Week) => Some(Period::Week),
        Some(v1::Period::Month) => Some(Period::Month),
        Some(v1::Period::Quarter) => Some(Period::Quarter),
        Some(v1::Period::Year) => Some(Period::Year),
        Some(v1::Period::Lifetime) => Some(Period::Lifetime),
        Some(v1::Period::Unspecified) | None => None,
    }
}

pub(super) fn filter(path: &str, document: Option<&v1::Filter>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Filter> {
    let Some(document) = document else { return Some(Filter::default()) };
    let mut texts = |name: &str, values: &[String]| texts(&format!("{path}.{name}"), values, mistakes);
    let skus = texts("skus", &document.skus);
    let categories = texts("categories", &document.categories);
    let labels = texts("labels", &document.labels);
    let excluded_skus = texts("excluded_skus", &document.excluded_skus);
    let excluded_categories = texts("excluded_categories", &document.excluded_categories);
    let excluded_labels = texts("excluded_labels", &document.excluded_labels);
    let stores = texts("store_ids", &document.store_ids);
    let channels = texts("channels", &document.channels);
    let tenders = each(&format!("{path}.tenders"), &document.tenders, mistakes, tender);
    let weekdays = weekdays(&format!("{path}.weekdays"), &document.weekdays, mistakes);
    let hours = each(&format!("{path}.hours"), &document.hours, mistakes, hour_range);
    let minimum_order = match document.minimum_order.as_str() {
        "" => Some(Decimal::ZERO),
        text => amount(&format!("{path}.minimum_order"), text, scope, mistakes).ok(),
    };
    Some(Filter {
        skus,
        categories,
        labels,
        excluded_skus,
        excluded_categories,
        excluded_labels,
        stores,
        channels,
        tenders: tenders.into_iter().collect(),
        weekdays,
        hours,
        minimum_order: minimum_order?,
    })
}

fn texts(path: &str, values: &[String], mistakes: &mut Mistakes) -> BTreeSet<String> {
    each(path, values, mistakes, |path, value, mistakes| mistakes.text(path, value, 1, MAX_ID_CHARS)).into_iter().collect()
}

/// The values that are right; the others are noted.
fn each<T, U>(path: &str, values: &[T], mistakes: &mut Mistakes, mut parse: impl FnMut(String, &T, &mut Mistakes) -> Option<U>) -> Vec<U> {
    if values.len() > MAX_FILTER_VALUES {
        mistakes.note(path, format_args!("has {} values; at most {MAX_FILTER_VALUES} are allowed", values.len()));
    }
    let values = values.iter().take(MAX_FILTER_VALUES).enumerate();
    values.filter_map(|(index, value)| parse(format!("{path}[{index}]"), value, mistakes)).collect()
}

fn tender(path: String, number: &i32, mistakes: &mut Mistakes) -> Option<TenderKind> {
    use v1::tender::Kind;
    match mistakes.choice(path, *number)? {
        Kind::Unspecified => None,
        Kind::Cash => Some(TenderKind::Cash),
        Kind::Card => Some(TenderKind::Card),
        Kind::StoreCard => Some(TenderKind::StoreCard),
        Kind::GiftCard => Some(TenderKind::GiftCard),
        Kind::Points => Some(TenderKind::Points),
        Kind::Voucher => Some(TenderKind::Voucher),
        Kind::Other => Some(TenderKind::Other),
    }
}

pub(super) fn weekdays(path: &str, numbers: &[i32], mistakes: &mut Mistakes) -> Vec<Weekday> {
    each(path, numbers, mistakes, weekday)
}

fn weekday(path: String, number: &i32, mistakes: &mut Mistakes) -> Option<Weekday> {
    match mistakes.choice(path, *number)? {
        v1::Weekday::Unspecified => None,
        v1::Weekday::Monday => Some(Weekday::Monday),
        v1::Weekday::Tuesday => Some(Weekday::Tuesday),
        v1::Weekday::Wednesday => Some(Weekday::Wednesday),
        v1::Weekday::Thursday => Some(Weekday::Thursday),
        v1::Weekday::Friday => Some(Weekday::Friday),
        v1::Weekday::Saturday => Some(Weekday::Saturday),
        v1::Weekday::Sunday => Some(Weekday::Sunday),
    }
}

fn hour_range(path: String, document: &v1::HourRange, mistakes: &mut Mistakes) -> Option<HourRange> {
    let start = mistakes.number(format!("{path}.start_hour"), document.start_hour, 0..=24);
    let end = mistakes.number(format!("{path}.end_hour"), document.end_hour, 0..=24);
    let (start, end) = (i8::try_from(start?).ok()?, i8::try_from(end?).ok()?);
    if start == end {
        mistakes.note(path, "begins and ends at the same hour; leave it out for the whole day");
        return None;
    }
    Some(HourRange { start, end })
}
