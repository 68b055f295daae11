//! As `encode.rs`: what is written of points that are spent, held, returned or transferred.

use super::{
    encode::{accrued_lot, allocation, counter, lot_key, order, other},
    promotions, referrals,
    wire::Writer,
};
use crate::domain::{
    Activated, Hold, MemberId, PendingTaken, Portion, PutBack, Redeemed, ReleaseCause, Released, ReturnTotals, Returned, Reversed,
    SaleState, TransferredIn, TransferredOut,
};

pub(super) fn portion(w: &mut Writer, portion: &Portion) {
    w.uint(1, portion.lot.id().0);
    w.sint(2, portion.points.0);
    w.expiry(3, portion.lot.expiry());
    w.sint_unless(4, portion.issued.0, portion.points.0);
    w.time(5, portion.earn_time);
    w.uint(6, portion.entry_sequence);
}

pub(super) fn redeemed(w: &mut Writer, redeemed: &Redeemed) {
    w.sint(1, redeemed.points.0);
    w.decimal(2, redeemed.value);
    order(w, 3, redeemed.order.as_ref());
    w.text(5, &redeemed.reference);
    for one in &redeemed.portions {
        w.message(6, |w| portion(w, one));
    }
    if let Some(captured) = &redeemed.captured {
        w.message(7, |w| {
            w.uint(1, captured.hold.0);
            for one in &captured.released {
                w.message(2, |w| portion(w, one));
            }
            w.optional_time(3, captured.next_hold_expiry_time);
            w.sint(4, captured.debt_paid.0);
        });
    }
    w.optional_time(8, redeemed.next_expiry_time);
    w.sint(9, redeemed.owed.0);
}

pub(super) fn reversed(w: &mut Writer, own: MemberId, reversed: &Reversed) {
    w.uint(1, reversed.redemption.sequence);
    w.sint(2, reversed.points.0);
    w.decimal(3, reversed.value);
    for back in &reversed.put_back {
        w.message(4, |w| put_back(w, back));
    }
    w.sint(5, reversed.so_far.0);
    w.sint(6, reversed.debt_paid.0);
    w.text(7, &reversed.reason);
    order(w, 8, reversed.order.as_ref());
    w.sint(10, reversed.owed.0);
    if let Some(lot) = &reversed.lot {
        w.message(11, |w| accrued_lot(w, lot));
    }
    w.bytes(12, other(&reversed.redemption.member, own));
}

pub(super) fn put_back(w: &mut Writer, back: &PutBack) {
    w.message(1, |w| portion(w, &back.portion));
    if back.into != back.portion.lot {
        w.message(2, |w| lot_key(w, &back.into));
    }
}

pub(super) fn hold(w: &mut Writer, hold: &Hold) {
    w.sint(1, hold.points.0);
    w.decimal(2, hold.value);
    for one in &hold.portions {
        w.message(3, |w| portion(w, one));
    }
    w.time(4, hold.hold_time);
    w.time(5, hold.expire_time);
    order(w, 6, hold.order.as_ref());
    w.text(8, &hold.reference);
    w.uint(9, u64::from(hold.program_version));
}

pub(super) fn released(w: &mut Writer, released: &Released) {
    w.uint(1, released.hold.0);
    for one in &released.portions {
        w.message(2, |w| portion(w, one));
    }
    let cause = match released.cause {
        ReleaseCause::Request => 0,
        ReleaseCause::Expired => 1,
        ReleaseCause::Erased => 2,
    };
    w.uint(3, cause);
    w.text(4, &released.reason);
    w.optional_time(5, released.next_hold_expiry_time);
    w.sint(6, released.debt_paid.0);
}

pub(super) fn activated(w: &mut Writer, own: MemberId, activated: &Activated) {
    for active in &activated.lots {
        w.message(1, |w| {
            w.optional_time(1, active.pending.activate_time());
            w.message(2, |w| accrued_lot(w, &active.lot));
            w.sint(3, active.qualifying_points.0);
            w.time(4, active.earn_time);
            w.uint(5, active.entry_sequence);
        });
    }
    if let Some(confirmed) = &activated.confirmed {
        w.message(2, |w| {
            w.message(1, |w| sale_state(w, own, &confirmed.sale));
            order(w, 2, Some(&confirmed.order));
        });
    }
    w.optional_time(3, activated.next_activation_time);
}

fn sale_state(w: &mut Writer, own: MemberId, state: &SaleState) {
    w.uint(1, state.sale.sequence);
    for lot in &state.activated {
        w.message(2, |w| lot_key(w, lot));
    }
    w.message(3, |w| return_totals(w, own, &state.returned));
    w.bytes(4, other(&state.sale.member, own));
}

fn return_totals(w: &mut Writer, own: MemberId, totals: &ReturnTotals) {
    for line in &totals.lines {
        w.message(1, |w| {
            w.uint(1, line.line as u64);
            w.decimal(2, line.quantity);
            w.decimal(3, line.amount);
        });
    }
    w.decimal(2, totals.amount);
    w.uint(3, u64::from(totals.whole));
    w.sint(4, totals.points.0);
    w.sint(5, totals.qualifying_points.0);
    w.decimal(6, totals.basis);
    for (redemption, points) in &totals.reinstated {
        w.message(7, |w| {
            w.uint(1, redemption.sequence);
            w.sint(2, points.0);
            w.bytes(3, other(&redemption.member, own));
        });
    }
    w.uint(8, u64::from(totals.is_void));
    w.uint(9, u64::from(totals.returns));
    for (place, left) in &totals.promotions {
        w.message(10, |w| {
            w.uint(1, *place as u64);
            w.sint(2, left.points.0);
            w.sint(3, left.qualifying_points.0);
            w.uint(4, u64::from(left.stands));
        });
    }
}

pub(super) fn returned(w: &mut Writer, own: MemberId, returned: &Returned) {
    order(w, 1, Some(&returned.order));
    w.text(3, &returned.reason);
    w.text(4, &returned.reference);
    w.message(5, |w| sale_state(w, own, &returned.sale));
    w.sint(6, returned.points.0);
    w.sint(7, returned.qualifying_points.0);
    w.decimal(8, returned.basis);
    for taken in &returned.from_pending {
        w.message(9, |w| pending_taken(w, taken));
    }
    for (field, allocations) in [(10, &returned.from_sale), (11, &returned.from_others)] {
        for taken in allocations {
            w.message(field, |w| allocation(w, taken));
        }
    }
    w.sint(12, returned.debt.0);
    w.sint(13, returned.forgiven.0);
    w.sint(14, returned.withheld.0);
    if let Some(value) = returned.withheld_value {
        w.present_decimal(15, value);
    }
    for one in &returned.counters {
        w.message(16, |w| counter(w, one));
    }
    w.uint(17, u64::from(returned.voids));
    w.optional_time(18, returned.next_expiry_time);
    w.optional_time(19, returned.next_activation_time);
    promotions::counts(w, 20, &returned.promotion_counts);
    for code in &returned.lost_vouchers {
        w.bytes(21, code.as_bytes());
    }
    referrals::bases(w, 22, returned.referral_basis.iter().map(|(bonus, basis)| (bonus, basis)));
}

pub(super) fn pending_taken(w: &mut Writer, taken: &PendingTaken) {
    w.uint(1, taken.lot.id().0);
    w.optional_time(2, taken.lot.activate_time());
    w.sint(3, taken.points.0);
    w.sint(4, taken.qualifying_points.0);
}

pub(super) fn transferred_out(w: &mut Writer, sent: &TransferredOut) {
    w.bytes(1, &sent.to.0);
    w.sint(2, sent.points.0);
    for one in &sent.portions {
        w.message(3, |w| portion(w, one));
    }
    w.text(4, &sent.reason);
    w.text(5, &sent.reference);
    w.optional_time(6, sent.next_expiry_time);
}

pub(super) fn transferred_in(w: &mut Writer, got: &TransferredIn) {
    w.bytes(1, &got.from.0);
    w.uint(2, got.sequence);
    w.sint(3, got.points.0);
    for (lot, earn_time) in &got.lots {
        w.message(4, |w| {
            w.message(1, |w| accrued_lot(w, lot));
            w.time(2, *earn_time);
        });
    }
    w.text(5, &got.reason);
    w.text(6, &got.reference);
}
