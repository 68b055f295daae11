//! Goals, as they are shown.

use super::{
    entry::{allocations, program_of},
    member::count,
    time::timestamp,
    voucher::voucher_issued,
};
use crate::{
    contract::v1,
    domain::{
        Allocation, Entry, EntryKind, GoalChanged, GoalId, GoalPaid, GoalRefund, GoalWaiting, Header, Program, ProgramHistory,
        VoucherChange,
    },
};

/// Unset in a programme without a goal.
pub fn goal_progress(program: &Program, header: &Header) -> Option<v1::GoalProgress> {
    let goal = program.goal.as_ref()?;
    Some(v1::GoalProgress {
        goal_id: goal.id.to_string(),
        display_name: goal.display_name.clone(),
        goal_points: goal.points.0,
        // Out of the range of numbers is far away.
        missing_points: goal.progress(header).map_or(i64::MAX, |progress| progress.missing.0),
        waiting: waiting(&header.goals.waiting),
    })
}

fn waiting(waiting: &[GoalWaiting]) -> Vec<v1::GoalWaiting> {
    let shown = |one: &GoalWaiting| v1::GoalWaiting { vouchers: number(one.vouchers.into()), due_time: Some(timestamp(one.due_time)) };
    waiting.iter().map(shown).collect()
}

/// Vouchers are fewer than the wire's type counts.
fn number(vouchers: i64) -> i32 {
    i32::try_from(vouchers).unwrap_or(i32::MAX)
}

pub fn goal_change_kind(changed: &GoalChanged) -> v1::EntryKind {
    if changed.vouchers > 0 { v1::EntryKind::GoalReached } else { v1::EntryKind::GoalMissed }
}

pub fn goal_changed(changed: &GoalChanged) -> v1::entry::Kind {
    use v1::entry::Kind;
    if changed.vouchers > 0 {
        return Kind::GoalReached(goal_reached(changed));
    }
    Kind::GoalMissed(v1::GoalMissed {
        goal_id: changed.goal.as_ref().map_or_else(String::new, GoalId::to_string),
        vouchers: number(changed.vouchers.saturating_neg()),
        waiting: waiting(&changed.waiting),
    })
}

fn goal_reached(changed: &GoalChanged) -> v1::GoalReached {
    v1::GoalReached {
        goal_id: changed.goal.as_ref().map_or_else(String::new, GoalId::to_string),
        vouchers: number(changed.vouchers),
        waiting: waiting(&changed.waiting),
    }
}

/// The points that turned into a voucher.
pub fn with_goal_paid(issued: v1::VoucherIssued, paid: Option<&GoalPaid>) -> v1::VoucherIssued {
    let Some(paid) = paid else { return issued };
    let taken: Vec<Allocation> = paid.portions.iter().map(Allocation::from).collect();
    v1::VoucherIssued {
        goal_id: paid.goal.to_string(),
        points: paid.points.0,
        allocations: allocations(&taken),
        reached_sequence: count(paid.reached_by),
        ..issued
    }
}

/// The points that come back.
pub fn with_goal_refund(cancelled: v1::VoucherCancelled, refund: Option<&GoalRefund>) -> v1::VoucherCancelled {
    let Some(refund) = refund else { return cancelled };
    let back = refund.put_back.iter().map(|back| Allocation { lot: back.into, ..Allocation::from(&back.portion) });
    let back: Vec<Allocation> = back.collect();
    v1::VoucherCancelled { points: refund.points.0, debt_paid: refund.debt_paid.0, put_back: allocations(&back), ..cancelled }
}

/// The vouchers that a request led to.
pub fn issued_vouchers(history: &ProgramHistory, entries: &[Entry]) -> Vec<v1::Voucher> {
    let shown = entries.iter().filter_map(|entry| match entry.voucher_change().map(|changed| &changed.change) {
        Some(VoucherChange::Issued { voucher, .. }) => Some(voucher_issued(voucher, entry, &program_of(history, entry).currency)),
        Some(_) | None => None,
    });
    shown.collect()
}

/// What a request led to that is delivered later.
pub fn goal_reached_by(entries: &[Entry]) -> Option<v1::GoalReached> {
    let reached = |entry: &Entry| match &entry.kind {
        EntryKind::GoalChanged(changed) if changed.vouchers > 0 => Some(goal_reached(changed)),
        _ => None,
    };
    entries.iter().find_map(reached)
}
