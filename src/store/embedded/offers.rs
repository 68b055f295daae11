//! Offers: how entries of them, and what a member has of them, are stored.

use super::{
    decode::{Decoded, Malformed, date, optional_time, time},
    encode::date_number,
    stored,
    wire::Writer,
};
use crate::domain::{OfferChange, OfferChanged, OfferHeld, OfferId, OfferTime, RewardTally, TALLIED};

pub(super) fn changed(w: &mut Writer, changed: &OfferChanged) {
    w.message(1, |w| held(w, &changed.offer, &changed.held));
    changed.dropped.iter().for_each(|offer| w.item_text(2, offer.as_str()));
    match &changed.change {
        OfferChange::Assigned { reason } => w.message(3, |w| w.text(1, reason)),
        OfferChange::Activated => w.message(4, |_| {}),
        OfferChange::Withdrawn { reason } => w.message(5, |w| w.text(1, reason)),
    };
}

pub(super) fn read_changed(changed: stored::OfferChanged) -> Decoded<OfferChanged> {
    use stored::offer_changed::Change;
    let (offer, held) = read_held(&changed.held.ok_or(Malformed("offer_changed.held"))?)?;
    let change = match changed.change.ok_or(Malformed("offer_changed.change"))? {
        Change::Assigned(one) => OfferChange::Assigned { reason: one.reason },
        Change::Activated(_) => OfferChange::Activated,
        Change::Withdrawn(one) => OfferChange::Withdrawn { reason: one.reason },
    };
    let dropped = changed.dropped.iter().map(|text| offer_id(text)).collect::<Decoded<_>>()?;
    Ok(OfferChanged { offer, change, held, dropped })
}

pub(super) fn held(w: &mut Writer, offer: &OfferId, held: &OfferHeld) {
    w.text(1, offer.as_str());
    w.time(2, held.time);
    for (field, times) in [(3, &held.assigned), (4, &held.activated)] {
        for time in times {
            w.message(field, |w| {
                w.time(1, time.from);
                w.optional_time(2, time.until);
            });
        }
    }
    if let Some(RewardTally { day, counts }) = held.vouchers {
        w.sint(5, date_number(day));
        counts.iter().for_each(|count| w.item_uint(6, u64::from(*count)));
    }
}

pub(super) fn read_held(held: &stored::OfferHeld) -> Decoded<(OfferId, OfferHeld)> {
    let times = |times: &[stored::OfferTime]| {
        let one = |it: &stored::OfferTime| Ok(OfferTime { from: time(it.from)?, until: optional_time(it.until)? });
        times.iter().map(one).collect::<Decoded<Vec<_>>>()
    };
    let counts = match held.voucher_counts.as_slice() {
        [] => None,
        counts => Some(<[u32; TALLIED.len()]>::try_from(counts).map_err(|_| Malformed("offer_held.voucher_counts"))?),
    };
    let vouchers = counts.map(|counts| Ok(RewardTally { day: date(held.voucher_day)?, counts })).transpose()?;
    let (assigned, activated) = (times(&held.assigned)?, times(&held.activated)?);
    Ok((offer_id(&held.offer_id)?, OfferHeld { time: time(held.time)?, assigned, activated, vouchers }))
}

pub(super) fn offer_id(text: &str) -> Decoded<OfferId> {
    OfferId::new(text).map_err(|_| Malformed("offer_id"))
}
