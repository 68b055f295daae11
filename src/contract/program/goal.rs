//! The goal of a rule book.

use super::{Mistakes, Scope, v1};
use crate::domain::{Goal, GoalId, MAX_GOAL_DELAY_DAYS, MAX_GOAL_VOUCHERS, VoucherKind, VoucherKindId};

/// Several would take the same points.
const MAX_GOALS: usize = 1;

/// The outer `None`: a mistake was noted. `kinds`: those that the goal may name, if they are known.
pub(super) fn goal(documents: &[v1::Goal], kinds: Option<&[VoucherKind]>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Option<Goal>> {
    if documents.len() > MAX_GOALS {
        mistakes.note("goals", format_args!("has {} goals; at most {MAX_GOALS} is allowed", documents.len()));
    }
    let Some(document) = documents.first() else { return Some(None) };
    let id = mistakes.take("goals[0].goal_id", GoalId::new(&document.goal_id));
    let display_name = mistakes.text("goals[0].display_name", &document.display_name, 0, 120);
    let points = mistakes.required_points("goals[0].points", &document.points, scope.precision);
    let voucher = voucher(&document.voucher_kind_id, kinds, mistakes);
    let delay_days = mistakes.number("goals[0].delay_days", document.delay_days, 0..=bound(MAX_GOAL_DELAY_DAYS));
    let most = bound(MAX_GOAL_VOUCHERS);
    let maximum_at_once = match document.maximum_at_once {
        0 => Some(MAX_GOAL_VOUCHERS),
        maximum => mistakes.number("goals[0].maximum_at_once", maximum, 1..=most),
    };
    Some(Some(Goal {
        id: id?,
        display_name: display_name?,
        points: points?,
        voucher: voucher?,
        delay_days: delay_days?,
        maximum_at_once: maximum_at_once?,
    }))
}

fn voucher(text: &str, kinds: Option<&[VoucherKind]>, mistakes: &mut Mistakes) -> Option<VoucherKindId> {
    let place = "goals[0].voucher_kind_id";
    let kind = mistakes.take(place, VoucherKindId::new(text))?;
    if kinds.is_some_and(|kinds| !kinds.iter().any(|known| known.id == kind)) {
        mistakes.note(place, "is not a kind of vouchers of the programme");
    }
    Some(kind)
}

fn bound(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
