//! Referrals that wait for a purchase: how they, what they gave, and what was taken back of it, are stored.

use rust_decimal::Decimal;

use super::{
    activities,
    decode::{Decoded, Malformed, allocation, counter, decimal, member_id, optional_time, order, time},
    decode_fraud::fraud_limit as read_limit,
    decode_returns::pending_taken as read_pending_taken,
    encode,
    encode_fraud::fraud_limit,
    encode_points::pending_taken,
    index::Index,
    rows::{self, Change, ProgramNumber},
    stored,
    wire::Writer,
};
use crate::domain::{
    ActivityId, ActivitySide, EntryRef, MemberId, OrderKey, Points, Referral, ReferralEarned, ReferralHeld, ReferralTakenBack,
    ReferrerAbsent,
};

/// The rows that the member's activity is found by.
pub(super) fn look_ups<'a>(
    index: &'a Index,
    number: ProgramNumber,
    member: &'a MemberId,
    sequence: u64,
    made: &'a Referral,
) -> impl Iterator<Item = Change> + 'a {
    let key = move |reference| activities::row(number, member, &index.activity(&made.activity, reference));
    made.keys().map(move |reference| (key(reference), Some(rows::value(|w| w.varint(sequence)))))
}

pub(super) fn referral(w: &mut Writer, referral: &Referral) {
    w.bytes(1, &referral.referrer.0);
    w.text(2, referral.activity.as_str());
    w.text(3, &referral.reference);
    w.time(4, referral.occurred_time);
    w.optional_time(5, referral.until);
    w.decimal(6, referral.minimum_amount);
    w.uint(7, u64::from(referral.program_version));
    w.message(8, |w| entry(w, referral.made));
}

pub(super) fn read_referral(referral: &stored::Referral) -> Decoded<Referral> {
    Ok(Referral {
        referrer: member_id(&referral.referrer_member_id)?,
        activity: ActivityId::new(&referral.activity).map_err(|_| Malformed("referral.activity"))?,
        reference: referral.reference.clone(),
        occurred_time: time(referral.occurred_time)?,
        until: optional_time(referral.until)?,
        minimum_amount: decimal(&referral.minimum_amount)?,
        program_version: referral.program_version,
        made: read_entry(referral.made.as_ref())?,
    })
}

pub(super) fn held(w: &mut Writer, held: &ReferralHeld) {
    w.message(1, |w| referral(w, &held.referral));
    w.uint(2, u64::from(held.waits));
}

pub(super) fn read_held(held: &stored::ReferralHeld) -> Decoded<ReferralHeld> {
    Ok(ReferralHeld { referral: read_some(held.referral.as_ref())?, waits: held.waits })
}

pub(super) fn earned(w: &mut Writer, earned: &ReferralEarned) {
    w.message(1, |w| referral(w, &earned.referral));
    w.message(2, |w| entry(w, earned.sale));
    order_fields(w, earned.order.as_ref(), (3, 4));
    if let Some(refused) = earned.refused {
        w.uint(5, fraud_limit(refused) + 1);
    }
    w.uint(
        6,
        earned.absent.map_or(0, |absent| match absent {
            ReferrerAbsent::Suspended => 1,
            ReferrerAbsent::Erased => 2,
        }),
    );
}

pub(super) fn read_earned(earned: stored::ReferralEarned) -> Decoded<ReferralEarned> {
    Ok(ReferralEarned {
        referral: read_some(earned.referral.as_ref())?,
        sale: read_entry(earned.sale.as_ref())?,
        order: order(&earned.store_id, &earned.order_id)?,
        refused: earned.refused_limit.checked_sub(1).map(read_limit).transpose()?,
        absent: match earned.absent {
            0 => None,
            1 => Some(ReferrerAbsent::Suspended),
            2 => Some(ReferrerAbsent::Erased),
            _ => return Err(Malformed("referral_earned.absent")),
        },
    })
}

pub(super) fn taken_back(w: &mut Writer, back: &ReferralTakenBack) {
    w.message(1, |w| entry(w, back.bonus));
    w.message(2, |w| referral(w, &back.referral));
    match back.side {
        ActivitySide::Member { referrer } => w.bytes(3, referrer.as_ref().map_or(&[], |referrer| &referrer.0)),
        ActivitySide::Referrer { member, sequence } => {
            w.message(4, |w| entry(w, EntryRef { member, sequence }));
        }
    }
    order_fields(w, Some(&back.order), (5, 6));
    w.text(7, &back.reason);
    w.sint(8, back.points.0);
    w.sint(9, back.qualifying_points.0);
    for taken in &back.from_pending {
        w.message(10, |w| pending_taken(w, taken));
    }
    for taken in &back.from_bonus {
        w.message(11, |w| encode::allocation(w, taken));
    }
    for taken in &back.from_others {
        w.message(12, |w| encode::allocation(w, taken));
    }
    w.sint(13, back.debt.0);
    w.sint(14, back.forgiven.0);
    w.sint(15, back.withheld.0);
    if let Some(value) = back.withheld_value {
        w.present_decimal(16, value);
    }
    for one in &back.counters {
        w.message(17, |w| encode::counter(w, one));
    }
    w.optional_time(18, back.next_expiry_time);
    w.optional_time(19, back.next_activation_time);
    if let Some(other) = back.other_bonus {
        w.message(20, |w| entry(w, other));
    }
}

pub(super) fn read_taken_back(back: stored::ReferralTakenBack) -> Decoded<ReferralTakenBack> {
    let side = match (back.referrer_member_id.as_slice(), back.other_side.as_ref()) {
        (referrer, None) => ActivitySide::Member { referrer: Some(member_id(referrer)?) },
        (_, other @ Some(_)) => {
            let EntryRef { member, sequence } = read_entry(other)?;
            ActivitySide::Referrer { member, sequence }
        }
    };
    Ok(ReferralTakenBack {
        bonus: read_entry(back.bonus.as_ref())?,
        referral: read_some(back.referral.as_ref())?,
        side,
        other_bonus: back.other_bonus.as_ref().map(|entry| read_entry(Some(entry))).transpose()?,
        order: order(&back.store_id, &back.order_id)?.ok_or(Malformed("referral_taken_back.order_id"))?,
        points: Points(back.points),
        qualifying_points: Points(back.qualifying_points),
        from_pending: back.from_pending.iter().map(read_pending_taken).collect::<Decoded<_>>()?,
        from_bonus: back.from_bonus.iter().map(allocation).collect::<Decoded<_>>()?,
        from_others: back.from_others.iter().map(allocation).collect::<Decoded<_>>()?,
        debt: Points(back.debt),
        forgiven: Points(back.forgiven),
        withheld: Points(back.withheld),
        withheld_value: back.withheld_value.as_deref().map(decimal).transpose()?,
        counters: back.counters.iter().map(counter).collect::<Decoded<_>>()?,
        next_expiry_time: optional_time(back.next_expiry_time)?,
        next_activation_time: optional_time(back.next_activation_time)?,
        reason: back.reason,
    })
}

/// For what of goods referrals gave something together.
pub(super) fn bases<'a>(w: &mut Writer, field: u32, bases: impl IntoIterator<Item = (&'a EntryRef, &'a Decimal)>) {
    for (bonus, basis) in bases {
        w.message(field, |w| {
            w.message(1, |w| entry(w, *bonus));
            w.decimal(2, *basis);
        });
    }
}

pub(super) fn read_basis(basis: &stored::ReferralBasis) -> Decoded<(EntryRef, Decimal)> {
    Ok((read_entry(basis.bonus.as_ref())?, decimal(&basis.basis)?))
}

fn read_some(referral: Option<&stored::Referral>) -> Decoded<Referral> {
    read_referral(referral.ok_or(Malformed("referral"))?)
}

pub(super) fn entry(w: &mut Writer, entry: EntryRef) {
    w.bytes(1, &entry.member.0);
    w.uint(2, entry.sequence);
}

pub(super) fn read_entry(entry: Option<&stored::EntryName>) -> Decoded<EntryRef> {
    let entry = entry.ok_or(Malformed("an entry of a referral"))?;
    Ok(EntryRef { member: member_id(&entry.member_id)?, sequence: entry.sequence })
}

fn order_fields(w: &mut Writer, order: Option<&OrderKey>, (store, number): (u32, u32)) {
    if let Some(order) = order {
        w.text(store, order.store.as_str());
        w.text(number, order.order.as_str());
    }
}
