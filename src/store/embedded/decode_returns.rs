//! Reading what comes after a sale: pending points that become active, and returns. The way back is in `encode.rs`.

use super::{
    decode::{Decoded, Malformed, accrued_lot, allocation, counter, decimal, entry_ref, expiry, message, optional_time, order, time},
    promotions, referrals, stored, vouchers,
};
use crate::domain::{
    Activated, ActivatedLot, Confirmed, LotId, MemberId, PendingKey, PendingLot, PendingTaken, Points, RestOfPromotion, ReturnTotals,
    Returned, ReturnedLine, SaleState,
};

pub(super) fn activated(own: MemberId, activated: stored::PointsActivated) -> Decoded<Activated> {
    let active = |active: &stored::ActivatedLot| {
        let lot = accrued_lot(active.lot.as_ref().ok_or(Malformed("activated.lot"))?)?;
        Ok(ActivatedLot {
            pending: PendingKey::new(optional_time(active.activate_time)?, lot.id),
            lot,
            qualifying_points: Points(active.qualifying_points),
            earn_time: time(active.earn_time)?,
            entry_sequence: active.entry_sequence,
        })
    };
    let confirmed = activated.confirmed.map(|confirmed| {
        let order = order(&confirmed.store_id, &confirmed.order_id)?.ok_or(Malformed("confirmed.order_id"))?;
        Ok(Confirmed { sale: sale_state(own, confirmed.sale.unwrap_or_default())?, order })
    });
    Ok(Activated {
        lots: activated.lots.iter().map(active).collect::<Decoded<_>>()?,
        confirmed: confirmed.transpose()?,
        next_activation_time: optional_time(activated.next_activation_time)?,
    })
}

fn sale_state(own: MemberId, state: stored::SaleState) -> Decoded<SaleState> {
    let activated = state.activated.iter().map(|lot| Ok(accrued_lot(lot)?.key())).collect::<Decoded<_>>()?;
    let sale = entry_ref(own, &state.sale_member_id, state.sale)?;
    Ok(SaleState { sale, activated, returned: return_totals(own, state.returned.unwrap_or_default())? })
}

fn return_totals(own: MemberId, totals: stored::ReturnTotals) -> Decoded<ReturnTotals> {
    let line = |line: &stored::ReturnedLine| {
        Ok(ReturnedLine { line: line.line as usize, quantity: decimal(&line.quantity)?, amount: decimal(&line.amount)? })
    };
    let reinstated = |back: &stored::Reinstated| Ok((entry_ref(own, &back.redemption_member_id, back.redemption)?, Points(back.points)));
    Ok(ReturnTotals {
        lines: totals.lines.iter().map(line).collect::<Decoded<_>>()?,
        amount: decimal(&totals.amount)?,
        whole: totals.whole,
        points: Points(totals.points),
        qualifying_points: Points(totals.qualifying_points),
        basis: decimal(&totals.basis)?,
        reinstated: totals.reinstated.iter().map(reinstated).collect::<Decoded<_>>()?,
        is_void: totals.is_void,
        returns: totals.returns,
        promotions: totals.promotions.iter().map(rest_of_promotion).collect(),
    })
}

fn rest_of_promotion(left: &stored::RestOfPromotion) -> (usize, RestOfPromotion) {
    let (points, qualifying_points) = (Points(left.points), Points(left.qualifying_points));
    (left.place as usize, RestOfPromotion { points, qualifying_points, stands: left.stands })
}

pub(super) fn pending_taken(taken: &stored::PendingTaken) -> Decoded<PendingTaken> {
    Ok(PendingTaken {
        lot: PendingKey::new(optional_time(taken.activate_time)?, LotId(taken.lot)),
        points: Points(taken.points),
        qualifying_points: Points(taken.qualifying_points),
    })
}

pub(super) fn returned(own: MemberId, returned: stored::PurchaseReturned) -> Decoded<Returned> {
    Ok(Returned {
        order: order(&returned.store_id, &returned.order_id)?.ok_or(Malformed("purchase_returned.order_id"))?,
        sale: sale_state(own, returned.sale.unwrap_or_default())?,
        points: Points(returned.points),
        qualifying_points: Points(returned.qualifying_points),
        basis: decimal(&returned.basis)?,
        from_pending: returned.from_pending.iter().map(pending_taken).collect::<Decoded<_>>()?,
        from_sale: returned.from_sale.iter().map(allocation).collect::<Decoded<_>>()?,
        from_others: returned.from_others.iter().map(allocation).collect::<Decoded<_>>()?,
        debt: Points(returned.debt),
        forgiven: Points(returned.forgiven),
        withheld: Points(returned.withheld),
        withheld_value: returned.withheld_value.as_deref().map(decimal).transpose()?,
        counters: returned.counters.iter().map(counter).collect::<Decoded<_>>()?,
        lost_vouchers: returned.lost_voucher_codes.iter().map(|code| vouchers::read_code(code)).collect::<Decoded<_>>()?,
        promotion_counts: promotions::read_counts(returned.promotion_counts.as_ref())?,
        voids: returned.voids,
        referral_basis: returned.referral_basis.as_ref().map(referrals::read_basis).transpose()?,
        next_expiry_time: optional_time(returned.next_expiry_time)?,
        next_activation_time: optional_time(returned.next_activation_time)?,
        reason: returned.reason,
        reference: returned.reference,
    })
}

pub(super) fn pending_lot(key: PendingKey, bytes: &[u8]) -> Decoded<PendingLot> {
    let row: stored::PendingRow = message(bytes)?;
    Ok(PendingLot {
        id: key.id(),
        issued: Points(row.issued),
        remaining: Points(row.remaining.unwrap_or(row.issued)),
        earn_time: time(row.earn_time)?,
        activate_time: key.activate_time(),
        expiry: expiry(row.expire_time)?,
        qualifying_points: Points(row.qualifying_points),
        entry_sequence: row.entry_sequence,
    })
}
