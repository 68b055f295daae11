//! What becomes of a purchase after it was recorded, as it is shown: pending points that become active, and returns.

use super::{
    amount::{decimal, money},
    entry::allocations,
    member::count,
    merge::other,
    time::timestamp,
};
use crate::{
    contract::v1,
    domain::{
        AccruedLot, Activated, ActivatedLot, Currency, Entry, EntryKind, EntryRef, MemberId, PendingLot, PendingTaken, Returned,
        ReturnedLine,
    },
};

pub fn accrued_lot(lot: &AccruedLot) -> v1::AccruedLot {
    v1::AccruedLot {
        lot_id: lot.id.to_string(),
        points: lot.points.0,
        expire_time: lot.expiry.time().map(timestamp),
        lapses_with_inactivity: lot.expiry.is_with_inactivity(),
        debt_paid: lot.debt_paid.0,
        pending: lot.pending.is_some(),
        activate_time: lot.pending.and_then(|pending| pending.activate_time).map(timestamp),
    }
}

pub fn pending_lot(lot: &PendingLot) -> v1::PendingLot {
    v1::PendingLot {
        lot_id: lot.id.to_string(),
        issued_points: lot.issued.0,
        remaining_points: lot.remaining.0,
        earn_time: Some(timestamp(lot.earn_time)),
        activate_time: lot.activate_time.map(timestamp),
        expire_time: lot.expiry.time().map(timestamp),
        lapses_with_inactivity: lot.expiry.is_with_inactivity(),
        entry_sequence: count(lot.entry_sequence),
    }
}

pub fn points_activated(activated: &Activated) -> v1::PointsActivated {
    let order = activated.confirmed.as_ref().map(|confirmed| &confirmed.order);
    v1::PointsActivated {
        lots: activated.lots.iter().map(activated_lot).collect(),
        store_id: order.map_or_else(String::new, |order| order.store.to_string()),
        order_id: order.map_or_else(String::new, |order| order.order.to_string()),
        qualifying_points: activated.lots.iter().map(|active| active.qualifying_points.0).sum(),
    }
}

fn activated_lot(active: &ActivatedLot) -> v1::ActivatedLot {
    v1::ActivatedLot {
        lot_id: active.lot.id.to_string(),
        points: active.lot.points.0,
        expire_time: active.lot.expiry.time().map(timestamp),
        lapses_with_inactivity: active.lot.expiry.is_with_inactivity(),
        debt_paid: active.lot.debt_paid.0,
        entry_sequence: count(active.entry_sequence),
    }
}

pub(super) fn pending_allocation(taken: &PendingTaken) -> v1::Allocation {
    v1::Allocation { lot_id: taken.lot.id().to_string(), points: taken.points.0, entry_sequence: 0 }
}

pub fn purchase_returned(returned: &Returned, own: MemberId, currency: &Currency) -> v1::PurchaseReturned {
    let totals = &returned.sale.returned;
    v1::PurchaseReturned {
        store_id: returned.order.store.to_string(),
        order_id: returned.order.order.to_string(),
        sale_sequence: count(returned.sale.sale.sequence),
        sale_member_id: other(returned.sale.sale, own),
        reason: returned.reason.clone(),
        reference: returned.reference.clone(),
        points: returned.points.0,
        qualifying_points: returned.qualifying_points.0,
        basis: Some(money(returned.basis, currency)),
        from_pending: returned.from_pending.iter().map(pending_allocation).collect(),
        from_sale: allocations(&returned.from_sale),
        from_others: allocations(&returned.from_others),
        debt: returned.debt.0,
        forgiven: returned.forgiven.0,
        withheld: returned.withheld.0,
        withheld_value: returned.withheld_value.map(|value| money(value, currency)),
        returned_lines: totals.lines.iter().map(|line| line_out(line, currency)).collect(),
        returned_amount: (!totals.amount.is_zero()).then(|| money(totals.amount, currency)),
        returned_points: totals.points.0,
        is_void: totals.is_void,
    }
}

/// All that has come back of a purchase. `None`: the entry is not one of a return.
/// `own`: in whose ledger the purchase is.
pub fn purchase_returns(own: MemberId, latest: &Entry, currency: &Currency) -> Option<v1::PurchaseReturns> {
    let EntryKind::PurchaseReturned(returned) = &latest.kind else { return None };
    let totals = &returned.sale.returned;
    Some(v1::PurchaseReturns {
        // There are 1,000 at most.
        count: i32::try_from(totals.returns).unwrap_or(i32::MAX),
        latest_sequence: count(latest.sequence),
        lines: totals.lines.iter().map(|line| line_out(line, currency)).collect(),
        amount: (!totals.amount.is_zero()).then(|| money(totals.amount, currency)),
        points: totals.points.0,
        whole_purchase: totals.whole,
        is_void: totals.is_void,
        latest_member_id: other(EntryRef { member: latest.key.member, sequence: latest.sequence }, own),
    })
}

fn line_out(line: &ReturnedLine, currency: &Currency) -> v1::ReturnLine {
    v1::ReturnLine {
        // A purchase has at most 10,000 lines.
        line_index: i32::try_from(line.line).unwrap_or(i32::MAX),
        quantity: if line.quantity.is_zero() { String::new() } else { decimal(line.quantity) },
        amount: (!line.amount.is_zero()).then(|| money(line.amount, currency)),
    }
}
