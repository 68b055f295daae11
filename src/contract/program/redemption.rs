//! Points as money.

use rust_decimal::Decimal;

use super::{Mistakes, Scope, amount, v1};
use crate::domain::{DEFAULT_HOLD_SECONDS, DEFAULT_MAXIMUM_HOLD_SECONDS, OfflinePolicy, Points, RedemptionPolicy, parse_decimal};

/// 30 days.
const LONGEST_HOLD_SECONDS: i32 = 2_592_000;

/// The outer `None`: a mistake was noted.
pub(super) fn policy(document: Option<&v1::RedemptionPolicy>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Option<RedemptionPolicy>> {
    let Some(document) = document else { return Some(None) };
    if document.points.is_empty() {
        mistakes.note("redemption.points", "is required");
    }
    let before = mistakes.count();
    let points = mistakes.points_above_zero("redemption.points", &document.points, scope.precision);
    let worth = amount("redemption.amount", &document.amount, scope, mistakes).ok();
    let worth = worth.and_then(|worth| mistakes.more_than_zero("redemption.amount", worth));
    let minimum = mistakes.points_above_zero("redemption.minimum_points", &document.minimum_points, scope.precision);
    let step = mistakes.points_above_zero("redemption.step_points", &document.step_points, scope.precision);
    let maximum_share = share(&document.maximum_share_percent, mistakes);
    let grace_days = mistakes.number("redemption.grace_days", document.grace_days, 0..=3_650);
    let default_hold_seconds = seconds("redemption.default_hold_seconds", document.default_hold_seconds, DEFAULT_HOLD_SECONDS, mistakes);
    let maximum = document.maximum_hold_seconds;
    let maximum_hold_seconds = seconds("redemption.maximum_hold_seconds", maximum, DEFAULT_MAXIMUM_HOLD_SECONDS, mistakes);
    if let (Some(default), Some(maximum)) = (default_hold_seconds, maximum_hold_seconds)
        && default > maximum
    {
        let message = format_args!("is {default}, more than the longest hold, {maximum}");
        mistakes.note("redemption.default_hold_seconds", message);
    }
    let policy = RedemptionPolicy {
        points: points?,
        amount: worth?,
        minimum: minimum.unwrap_or(Points(1)),
        step: step.unwrap_or(Points(1)),
        maximum_share,
        grace_days: grace_days?,
        default_hold_seconds: default_hold_seconds?,
        maximum_hold_seconds: maximum_hold_seconds?,
    };
    (mistakes.count() == before).then_some(Some(policy))
}

/// Without a document tills redeem nothing by themselves.
pub(super) fn offline(document: Option<&v1::OfflinePolicy>, scope: &Scope, mistakes: &mut Mistakes) -> Option<OfflinePolicy> {
    use v1::offline_policy::Shortfall;
    let Some(document) = document else { return Some(OfflinePolicy { floor_limit: Points::ZERO, into_debt: false }) };
    let floor_limit = match document.floor_limit_points.as_str() {
        "" => Some(Points::ZERO),
        text => mistakes.points("offline.floor_limit_points", text, scope.precision),
    };
    let into_debt = match Shortfall::try_from(document.shortfall) {
        Ok(Shortfall::Unspecified | Shortfall::Debt) => Some(true),
        Ok(Shortfall::Refuse) => Some(false),
        Err(_) => {
            mistakes.note("offline.shortfall", format_args!("has no value with the number {}", document.shortfall));
            None
        }
    };
    Some(OfflinePolicy { floor_limit: floor_limit?, into_debt: into_debt? })
}

/// A part in per cent. Empty: no bound.
fn share(text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    const PATH: &str = "redemption.maximum_share_percent";
    if text.is_empty() {
        return None;
    }
    let share = mistakes.take(PATH, parse_decimal(text, 3, 4))?;
    let share = mistakes.more_than_zero(PATH, share)?;
    if share > Decimal::ONE_HUNDRED {
        mistakes.note(PATH, "is more than 100");
        return None;
    }
    Some(share)
}

fn seconds(path: &str, seconds: i32, unset: u32, mistakes: &mut Mistakes) -> Option<u32> {
    match seconds {
        0 => Some(unset),
        seconds => mistakes.number(path, seconds, 1..=LONGEST_HOLD_SECONDS),
    }
}
