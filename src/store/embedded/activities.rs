//! Activities: how entries of them are stored, and the rows that they are found by.

use super::{
    decode::{Decoded, Malformed, accrued_lot, counter, dropped_counters, expiry, limit_kind, member_id, rule_id},
    encode,
    index::Index,
    referrals,
    rows::{self, ACTIVITY, Change, ProgramNumber, RowKey},
    stored,
    wire::Writer,
};
use crate::domain::{ActivityAccrued, ActivityAward, ActivityId, ActivitySide, LotId, MemberId, Points};

/// The rows that a member's activity is found by.
pub(super) fn look_ups<'a>(
    index: &'a Index,
    number: ProgramNumber,
    member: &'a MemberId,
    sequence: u64,
    accrued: &'a ActivityAccrued,
) -> impl Iterator<Item = Change> + 'a {
    let key = move |reference| row(number, member, &index.activity(&accrued.activity, reference));
    accrued.keys().map(move |reference| (key(reference), Some(rows::value(|w| w.varint(sequence)))))
}

pub(super) fn row(number: ProgramNumber, member: &MemberId, hash: &[u8; 32]) -> RowKey {
    let mut own = [ACTIVITY; 17];
    own[1..].copy_from_slice(&hash[..16]);
    RowKey::of_member(&rows::owner(number, member), &own)
}

pub(super) fn accrued(w: &mut Writer, accrued: &ActivityAccrued) {
    w.text(1, accrued.activity.as_str());
    w.text(2, &accrued.reference);
    match accrued.side {
        ActivitySide::Member { referrer: None } => {}
        ActivitySide::Member { referrer: Some(referrer) } => w.bytes(3, &referrer.0),
        ActivitySide::Referrer { member, sequence } => {
            w.bytes(4, &member.0);
            w.uint(5, sequence);
        }
    }
    w.sint(6, accrued.points.0);
    w.sint_unless(7, accrued.qualifying_points.0, accrued.points.0);
    for one in &accrued.awards {
        w.message(8, |w| award(w, one));
    }
    for lot in &accrued.lots {
        w.message(9, |w| encode::accrued_lot(w, lot));
    }
    for counter in &accrued.counters {
        w.message(10, |w| encode::counter(w, counter));
    }
    for (rule, period) in &accrued.dropped_counters {
        w.message(11, |w| encode::counter_fields(w, rule, *period, Points::ZERO));
    }
    if let Some(earned) = &accrued.referral {
        w.message(12, |w| referrals::earned(w, earned));
    }
}

fn award(w: &mut Writer, award: &ActivityAward) {
    w.text(1, award.rule.as_str());
    w.text(2, &award.display_name);
    w.sint_unless(3, award.uncapped_points.0, award.points.0);
    w.uint(4, encode::limit_kind(award.limit));
    w.sint(5, award.points.0);
    w.sint_unless(6, award.qualifying_points.0, award.points.0);
    w.expiry(7, award.expiry);
    if let Some(lot) = award.lot {
        w.uint(8, lot.0);
    }
}

pub(super) fn read_accrued(accrued: stored::ActivityAccrued) -> Decoded<ActivityAccrued> {
    let side = match (accrued.referrer_member_id.as_slice(), accrued.referred_member_id.as_slice()) {
        ([], []) => ActivitySide::Member { referrer: None },
        (referrer, []) => ActivitySide::Member { referrer: Some(member_id(referrer)?) },
        ([], member) => ActivitySide::Referrer { member: member_id(member)?, sequence: accrued.referred_sequence },
        (_, _) => return Err(Malformed("activity_accrued.referred_member_id")),
    };
    Ok(ActivityAccrued {
        referral: accrued.referral.map(|earned| referrals::read_earned(earned).map(Box::new)).transpose()?,
        activity: ActivityId::new(&accrued.activity).map_err(|_| Malformed("activity"))?,
        reference: accrued.reference,
        side,
        points: Points(accrued.points),
        qualifying_points: Points(accrued.qualifying_points.unwrap_or(accrued.points)),
        awards: accrued.awards.into_iter().map(read_award).collect::<Decoded<_>>()?,
        lots: accrued.lots.iter().map(accrued_lot).collect::<Decoded<_>>()?,
        counters: accrued.counters.iter().map(counter).collect::<Decoded<_>>()?,
        dropped_counters: dropped_counters(&accrued.dropped_counters)?,
    })
}

fn read_award(award: stored::ActivityAward) -> Decoded<ActivityAward> {
    Ok(ActivityAward {
        rule: rule_id(&award.rule_id)?,
        display_name: award.display_name,
        uncapped_points: Points(award.uncapped_points.unwrap_or(award.points)),
        limit: limit_kind(award.limit)?,
        points: Points(award.points),
        qualifying_points: Points(award.qualifying_points.unwrap_or(award.points)),
        expiry: expiry(award.expire_time)?,
        lot: (award.lot != 0).then_some(LotId(award.lot)),
    })
}
