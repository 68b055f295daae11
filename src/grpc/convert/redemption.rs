//! Redemptions, holds and transfers, as they are shown.

use super::{Mistakes, Path, amount::money, member::count, merge::other, returned::accrued_lot, time::timestamp};
use crate::{
    contract::v1,
    domain::{
        Currency, Entry, EntryKind, Held, Hold, MemberId, OrderKey, Portion, PutBack, Redeemed, ReleaseCause, Released, Reversed,
        TransferredIn, TransferredOut, Usable,
    },
};

/// The redemptions among the entries of a request.
pub fn redeemed(entries: &[Entry]) -> impl Iterator<Item = (&Entry, &Redeemed)> {
    entries.iter().filter_map(|entry| if let EntryKind::PointsRedeemed(redeemed) = &entry.kind { Some((entry, redeemed)) } else { None })
}

pub fn purchase_redemptions(entries: &[Entry], currency: &Currency) -> Vec<v1::PurchaseRedemption> {
    let shown = redeemed(entries).map(|(entry, redeemed)| v1::PurchaseRedemption {
        entry_sequence: count(entry.sequence),
        points: redeemed.points.0,
        value: Some(money(redeemed.value, currency)),
        owed: redeemed.owed.0,
    });
    shown.collect()
}

pub fn usable(usable: Usable, currency: &Currency) -> v1::UsablePoints {
    let Usable { points, value, minimum, step, order_limit } = usable;
    v1::UsablePoints {
        points: points.0,
        value: Some(money(value, currency)),
        minimum_points: minimum.0,
        step_points: step.0,
        order_limit: Some(money(order_limit, currency)),
    }
}

pub fn points_redeemed(redeemed: &Redeemed, currency: &Currency) -> v1::PointsRedeemed {
    let (store_id, order_id) = order_out(redeemed.order.as_ref());
    let captured = redeemed.captured.as_ref();
    v1::PointsRedeemed {
        points: redeemed.points.0,
        value: Some(money(redeemed.value, currency)),
        store_id,
        order_id,
        reference: redeemed.reference.clone(),
        allocations: portions(&redeemed.portions),
        hold_id: captured.map_or_else(String::new, |captured| captured.hold.to_string()),
        released: captured.map_or_else(Vec::new, |captured| portions(&captured.released)),
        owed: redeemed.owed.0,
        debt_paid: captured.map_or(0, |captured| captured.debt_paid.0),
    }
}

pub fn redemption_reversed(reversed: &Reversed, own: MemberId, currency: &Currency) -> v1::RedemptionReversed {
    let (store_id, order_id) = order_out(reversed.order.as_ref());
    v1::RedemptionReversed {
        redemption_sequence: count(reversed.redemption.sequence),
        redemption_member_id: other(reversed.redemption, own),
        points: reversed.points.0,
        value: Some(money(reversed.value, currency)),
        put_back: reversed.put_back.iter().map(put_back).collect(),
        reversed_points: reversed.so_far.0,
        debt_paid: reversed.debt_paid.0,
        reason: reversed.reason.clone(),
        store_id,
        order_id,
        owed: reversed.owed.0,
        lot: reversed.lot.as_ref().map(accrued_lot),
    }
}

fn put_back(back: &PutBack) -> v1::redemption_reversed::PutBack {
    let moved = back.into != back.portion.lot;
    v1::redemption_reversed::PutBack {
        lot_id: back.into.id().to_string(),
        points: back.portion.points.0,
        expire_time: back.into.expire_time().map(timestamp),
        lapses_with_inactivity: back.into.expiry().is_with_inactivity(),
        former_lot_id: if moved { back.portion.lot.id().to_string() } else { String::new() },
    }
}

pub fn points_held(held: &Held, currency: &Currency) -> v1::PointsHeld {
    v1::PointsHeld { hold: Some(hold(&held.hold, currency)), allocations: portions(&held.hold.portions) }
}

pub fn hold_released(released: &Released) -> v1::HoldReleased {
    use v1::hold_released::Cause;
    let cause = match released.cause {
        ReleaseCause::Request => Cause::Request,
        ReleaseCause::Expired => Cause::Expired,
        ReleaseCause::Erased => Cause::Erased,
    };
    v1::HoldReleased {
        hold_id: released.hold.to_string(),
        points: released.portions.iter().map(|portion| portion.points.0).sum(),
        allocations: portions(&released.portions),
        cause: cause.into(),
        reason: released.reason.clone(),
        debt_paid: released.debt_paid.0,
    }
}

pub fn hold(hold: &Hold, currency: &Currency) -> v1::Hold {
    let (store_id, order_id) = order_out(hold.order.as_ref());
    v1::Hold {
        hold_id: hold.id.to_string(),
        points: hold.points.0,
        value: Some(money(hold.value, currency)),
        hold_time: Some(timestamp(hold.hold_time)),
        expire_time: Some(timestamp(hold.expire_time)),
        store_id,
        order_id,
        reference: hold.reference.clone(),
    }
}

pub fn transferred_out(sent: &TransferredOut) -> v1::PointsTransferredOut {
    v1::PointsTransferredOut {
        to_member_id: sent.to.to_string(),
        points: sent.points.0,
        allocations: portions(&sent.portions),
        reason: sent.reason.clone(),
        reference: sent.reference.clone(),
    }
}

pub fn transferred_in(got: &TransferredIn) -> v1::PointsTransferredIn {
    v1::PointsTransferredIn {
        from_member_id: got.from.to_string(),
        from_sequence: count(got.sequence),
        points: got.points.0,
        lots: got.lots.iter().map(|(lot, _)| accrued_lot(lot)).collect(),
        reason: got.reason.clone(),
        reference: got.reference.clone(),
    }
}

/// Unset: as long as the programme says. More than it allows is for the ledger to refuse.
pub fn hold_seconds(duration: Option<&prost_types::Duration>, mistakes: &mut Mistakes) -> Option<Option<u32>> {
    let Some(duration) = duration else { return Some(None) };
    let path = Path::Root.field("duration");
    if duration.seconds < 1 || duration.nanos != 0 {
        mistakes.add(path, "is not a whole number of seconds, 1 or more");
        return None;
    }
    // What does not fit is longer than any programme allows.
    Some(Some(u32::try_from(duration.seconds).unwrap_or(u32::MAX)))
}

fn portions(portions: &[Portion]) -> Vec<v1::Allocation> {
    let shown = portions.iter().map(|portion| v1::Allocation {
        lot_id: portion.lot.id().to_string(),
        points: portion.points.0,
        entry_sequence: count(portion.entry_sequence),
    });
    shown.collect()
}

/// Store and order; both empty where there is none.
pub(super) fn order_out(order: Option<&OrderKey>) -> (String, String) {
    order.map_or_else(Default::default, |order| (order.store.to_string(), order.order.to_string()))
}
