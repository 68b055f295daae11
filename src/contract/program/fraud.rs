//! Bounds beyond which something looks like fraud.

use super::{Mistakes, Scope, v1};
use crate::domain::{FraudAction, FraudBound, FraudLimit, FraudLimits};

const PATH: &str = "fraud_limits";
const MAX_COUNT: i32 = 1_000_000;

pub(super) fn limits(document: Option<&v1::FraudLimits>, scope: &Scope, mistakes: &mut Mistakes) -> Option<FraudLimits> {
    let Some(document) = document else { return Some(FraudLimits::new()) };
    let mut limits = FraudLimits::new();
    let mut sound = true;
    let counts =
        [(FraudLimit::PurchasesPerHour, &document.purchases_per_hour), (FraudLimit::AdjustmentsPerDay, &document.adjustments_per_day)];
    for (limit, document) in counts {
        let Some(document) = document else { continue };
        let path = format!("{PATH}.{}", limit.name());
        let maximum = mistakes.number(format!("{path}.maximum"), document.maximum, 1..=MAX_COUNT).map(i64::from);
        sound &= add(&mut limits, limit, maximum, action(&path, document.action, mistakes));
    }
    let points =
        [(FraudLimit::PointsPerDay, &document.points_per_day), (FraudLimit::AdjustedPointsPerDay, &document.adjusted_points_per_day)];
    for (limit, document) in points {
        let Some(document) = document else { continue };
        let path = format!("{PATH}.{}", limit.name());
        let maximum = mistakes.required_points(format!("{path}.maximum"), &document.maximum, scope.precision);
        sound &= add(&mut limits, limit, maximum.map(|points| points.0), action(&path, document.action, mistakes));
    }
    sound.then_some(limits)
}

/// False: a mistake was noted.
fn add(limits: &mut FraudLimits, limit: FraudLimit, maximum: Option<i64>, action: Option<FraudAction>) -> bool {
    let Some((maximum, action)) = maximum.zip(action) else { return false };
    limits.insert(limit, FraudBound { maximum, action });
    true
}

fn action(path: &str, number: i32, mistakes: &mut Mistakes) -> Option<FraudAction> {
    use v1::fraud_limits::Action;
    match mistakes.choice(format!("{path}.action"), number) {
        Some(Action::Refuse) => Some(FraudAction::Refuse),
        Some(Action::Flag) => Some(FraudAction::Flag),
        Some(Action::Unspecified) | None => None,
    }
}
