//! Goals: how what is reached, what a voucher took, and what comes back with it are stored.

use super::{
    decode::{Decoded, Malformed, optional_time, time},
    decode_holds::{portions, put_backs},
    encode_points::{portion, put_back},
    stored,
    wire::Writer,
};
use crate::domain::{GoalChanged, GoalId, GoalPaid, GoalRefund, GoalWaiting, Points};

pub(super) fn changed(w: &mut Writer, changed: &GoalChanged) {
    w.text(1, changed.goal.as_ref().map_or("", GoalId::as_str));
    waiting(w, 2, &changed.waiting);
    w.sint(3, changed.vouchers);
}

pub(super) fn waiting(w: &mut Writer, field: u32, waiting: &[GoalWaiting]) {
    for one in waiting {
        w.message(field, |w| {
            w.time(1, one.due_time);
            w.uint(2, u64::from(one.vouchers));
        });
    }
}

pub(super) fn paid(w: &mut Writer, paid: &GoalPaid) {
    w.text(1, paid.goal.as_str());
    w.sint(2, paid.points.0);
    for one in &paid.portions {
        w.message(3, |w| portion(w, one));
    }
    w.optional_time(4, paid.next_expiry_time);
    w.uint(5, u64::from(paid.waited));
    w.uint(6, paid.reached_by);
}

pub(super) fn refund(w: &mut Writer, refund: &GoalRefund) {
    w.sint(1, refund.points.0);
    w.sint(2, refund.debt_paid.0);
    for one in &refund.put_back {
        w.message(3, |w| put_back(w, one));
    }
}

fn goal_id(text: &str) -> Decoded<GoalId> {
    GoalId::new(text).map_err(|_| Malformed("goal_id"))
}

pub(super) fn read_changed(changed: &stored::GoalChanged) -> Decoded<GoalChanged> {
    let goal = match changed.goal_id.as_str() {
        "" => None,
        text => Some(goal_id(text)?),
    };
    Ok(GoalChanged { goal, waiting: read_waiting(&changed.waiting)?, vouchers: changed.vouchers })
}

pub(super) fn read_waiting(waiting: &[stored::GoalWaiting]) -> Decoded<Vec<GoalWaiting>> {
    waiting.iter().map(|one| Ok(GoalWaiting { due_time: time(one.due_time)?, vouchers: one.vouchers })).collect()
}

pub(super) fn read_paid(paid: &stored::GoalPaid) -> Decoded<GoalPaid> {
    Ok(GoalPaid {
        goal: goal_id(&paid.goal_id)?,
        points: Points(paid.points),
        portions: portions(&paid.portions)?,
        next_expiry_time: optional_time(paid.next_expiry_time)?,
        waited: paid.waited,
        reached_by: paid.reached_by,
    })
}

pub(super) fn read_refund(refund: &stored::GoalRefund) -> Decoded<GoalRefund> {
    Ok(GoalRefund { points: Points(refund.points), debt_paid: Points(refund.debt_paid), put_back: put_backs(&refund.put_back)? })
}
