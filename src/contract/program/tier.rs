//! Tiers of a rule book.

use rust_decimal::Decimal;

use super::{Mistakes, Scope, amount, v1};
use crate::domain::{Points, Tier, TierId, TierThreshold, parse_decimal};

const MAX_MULTIPLIER: Decimal = Decimal::ONE_THOUSAND;

/// The bounds of the tiers below, each kind for itself.
#[derive(Default)]
pub(super) struct Bounds {
    qualifying_points: Option<Points>,
    spend: Option<Decimal>,
    visits: Option<u64>,
}

pub(super) fn tier(
    path: &str,
    document: &v1::Tier,
    is_lowest: bool,
    scope: &Scope,
    below: &mut Bounds,
    mistakes: &mut Mistakes,
) -> Option<Tier> {
    let id = mistakes.take(format!("{path}.tier_id"), TierId::new(&document.tier_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let multiplier = multiplier(&format!("{path}.multiplier"), &document.multiplier, mistakes);
    let threshold_path = format!("{path}.threshold");
    let threshold = match (&document.threshold, is_lowest) {
        (None, true) => Some(None),
        (Some(_), true) => {
            mistakes.note(threshold_path, "is not possible for the first tier: every member begins there");
            None
        }
        (None, false) => {
            mistakes.note(threshold_path, "is required for every tier but the first");
            None
        }
        (Some(document), false) => threshold(&threshold_path, document, scope, below, mistakes).map(Some),
    };
    Some(Tier { id: id?, display_name: display_name?, threshold: threshold?, multiplier: multiplier? })
}

fn multiplier(path: &str, text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    if text.is_empty() {
        return Some(Decimal::ONE);
    }
    let multiplier = mistakes.take(path, parse_decimal(text, 4, 6))?;
    if multiplier > MAX_MULTIPLIER {
        mistakes.note(path, format_args!("is {multiplier}; at most {MAX_MULTIPLIER} is allowed"));
        return None;
    }
    Some(multiplier.normalize())
}

/// A wrong bound is noted and counts as one, so that it is not said to be missing too.
fn threshold(
    path: &str,
    document: &v1::TierThreshold,
    scope: &Scope,
    below: &mut Bounds,
    mistakes: &mut Mistakes,
) -> Option<TierThreshold> {
    let points_path = format!("{path}.qualifying_points");
    let spend_path = format!("{path}.spend");
    let visits_path = format!("{path}.visits");
    let is_given = |text: &str| text.bytes().any(|byte| byte != b'0' && byte != b'.');
    if !is_given(&document.qualifying_points) && !is_given(&document.spend) && document.visits == 0 {
        mistakes.note(path, "needs at least one of qualifying_points, spend, visits");
        return None;
    }
    let qualifying_points = mistakes.points(&points_path, &document.qualifying_points, scope.precision).filter(|bound| !bound.is_zero());
    let spend = match document.spend.as_str() {
        "" => None,
        text => amount(&spend_path, text, scope, mistakes).ok().filter(|bound| !bound.is_zero()),
    };
    let visits = match u64::try_from(document.visits) {
        Ok(visits) => Some(visits).filter(|bound| *bound != 0),
        Err(_) => {
            mistakes.note(&visits_path, "must not be negative");
            None
        }
    };
    rises(points_path, qualifying_points, &mut below.qualifying_points, mistakes);
    rises(spend_path, spend, &mut below.spend, mistakes);
    rises(visits_path, visits, &mut below.visits, mistakes);
    Some(TierThreshold { qualifying_points, spend, visits, require_all: document.require_all })
}

fn rises<T: PartialOrd + Copy>(path: String, bound: Option<T>, below: &mut Option<T>, mistakes: &mut Mistakes) {
    if bound.zip(*below).is_some_and(|(bound, below)| bound < below) {
        mistakes.note(path, "is lower than that of a lower tier; tiers go from the lowest to the highest");
    } else {
        *below = bound.or(*below);
    }
}
