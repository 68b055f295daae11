//! As `decode.rs`: what redemptions, holds and transfers store.

use super::{
    decode::{Decoded, Malformed, accrued_lot, decimal, entry_ref, expiry, member_id, message, optional_time, order, time},
    stored,
};
use crate::domain::{
    Captured, Hold, HoldId, LotId, LotKey, MemberId, Points, Portion, PutBack, Redeemed, ReleaseCause, Released, Reversed, TransferredIn,
    TransferredOut,
};

fn portion(portion: &stored::Portion) -> Decoded<Portion> {
    Ok(Portion {
        lot: LotKey::new(expiry(portion.expire_time)?, LotId(portion.lot)),
        points: Points(portion.points),
        issued: Points(portion.issued.unwrap_or(portion.points)),
        earn_time: time(portion.earn_time)?,
        entry_sequence: portion.entry_sequence,
    })
}

pub(super) fn portions(stored: &[stored::Portion]) -> Decoded<Vec<Portion>> {
    stored.iter().map(portion).collect()
}

pub(super) fn put_backs(stored: &[stored::PutBack]) -> Decoded<Vec<PutBack>> {
    let put_back = |back: &stored::PutBack| {
        let portion = portion(back.portion.as_ref().ok_or(Malformed("put_back.portion"))?)?;
        let into = back.into.as_ref().map(accrued_lot).transpose()?;
        Ok(PutBack { into: into.map_or(portion.lot, |lot| lot.key()), portion })
    };
    stored.iter().map(put_back).collect()
}

pub(super) fn redeemed(redeemed: stored::PointsRedeemed) -> Decoded<Redeemed> {
    let captured = redeemed.captured.map(|captured| {
        Ok(Captured {
            hold: HoldId(captured.hold),
            released: portions(&captured.released)?,
            debt_paid: Points(captured.debt_paid),
            next_hold_expiry_time: optional_time(captured.next_hold_expiry_time)?,
        })
    });
    Ok(Redeemed {
        points: Points(redeemed.points),
        value: decimal(&redeemed.value)?,
        order: order(&redeemed.store_id, &redeemed.order_id)?,
        owed: Points(redeemed.owed),
        portions: portions(&redeemed.portions)?,
        captured: captured.transpose()?,
        next_expiry_time: optional_time(redeemed.next_expiry_time)?,
        reference: redeemed.reference,
    })
}

pub(super) fn reversed(own: MemberId, reversed: stored::RedemptionReversed) -> Decoded<Reversed> {
    Ok(Reversed {
        redemption: entry_ref(own, &reversed.redemption_member_id, reversed.redemption)?,
        points: Points(reversed.points),
        value: decimal(&reversed.value)?,
        owed: Points(reversed.owed),
        lot: reversed.lot.as_ref().map(accrued_lot).transpose()?,
        put_back: put_backs(&reversed.put_back)?,
        so_far: Points(reversed.so_far),
        debt_paid: Points(reversed.debt_paid),
        order: order(&reversed.store_id, &reversed.order_id)?,
        reason: reversed.reason,
    })
}

pub(super) fn hold(id: HoldId, hold: stored::Hold) -> Decoded<Hold> {
    Ok(Hold {
        id,
        points: Points(hold.points),
        value: decimal(&hold.value)?,
        portions: portions(&hold.portions)?,
        hold_time: time(hold.hold_time)?,
        expire_time: time(hold.expire_time)?,
        order: order(&hold.store_id, &hold.order_id)?,
        reference: hold.reference,
        program_version: hold.program_version,
    })
}

pub(super) fn hold_row(id: HoldId, bytes: &[u8]) -> Decoded<Hold> {
    hold(id, message(bytes)?)
}

pub(super) fn released(released: stored::HoldReleased) -> Decoded<Released> {
    Ok(Released {
        hold: HoldId(released.hold),
        portions: portions(&released.portions)?,
        debt_paid: Points(released.debt_paid),
        cause: match released.cause {
            0 => ReleaseCause::Request,
            1 => ReleaseCause::Expired,
            2 => ReleaseCause::Erased,
            _ => return Err(Malformed("hold_released.cause")),
        },
        reason: released.reason,
        next_hold_expiry_time: optional_time(released.next_hold_expiry_time)?,
    })
}

pub(super) fn transferred_out(sent: stored::PointsTransferredOut) -> Decoded<TransferredOut> {
    Ok(TransferredOut {
        to: member_id(&sent.to_member_id)?,
        points: Points(sent.points),
        portions: portions(&sent.portions)?,
        next_expiry_time: optional_time(sent.next_expiry_time)?,
        reason: sent.reason,
        reference: sent.reference,
    })
}

pub(super) fn transferred_in(got: stored::PointsTransferredIn) -> Decoded<TransferredIn> {
    let lot = |one: &stored::TransferredLot| {
        let lot = accrued_lot(one.lot.as_ref().ok_or(Malformed("transferred.lot"))?)?;
        Ok((lot, time(one.earn_time)?))
    };
    Ok(TransferredIn {
        from: member_id(&got.from_member_id)?,
        sequence: got.sequence,
        points: Points(got.points),
        lots: got.lots.iter().map(lot).collect::<Decoded<_>>()?,
        reason: got.reason,
        reference: got.reference,
    })
}
