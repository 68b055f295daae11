//! Tiers: how what counts for them, standings and reviews are stored.

use jiff::civil::Date;
use prost::encoding::decode_varint;

use super::{
    decode::{Decoded, Malformed, accrued_lot, date, decimal, optional_tier, tier_id, time},
    encode::{accrued_lot as encode_lot, date_number},
    stored,
    wire::{Writer, read_decimal},
};
use crate::domain::{
    Counted, LifetimeTotals, LostTier, Points, Reached, RewardGiven, Status, StatusEnd, TierCause, TierChange, TierCount, TierCounts,
    TierFloor, TierKept, TierReview, TierRewarded, TierStanding, VoucherKindId,
};

pub(super) fn counted(w: &mut Writer, counted: &Counted) {
    w.sint(1, date_number(counted.day));
    optional_date(w, 2, counted.kept_since);
}

pub(super) fn read_counted(counted: &stored::Counted) -> Decoded<Counted> {
    Ok(Counted { day: date(counted.day)?, kept_since: read_date(counted.kept_since)? })
}

fn optional_date(w: &mut Writer, field: u32, date: Option<Date>) {
    if let Some(date) = date {
        w.present_sint(field, date_number(date));
    }
}

fn read_date(number: Option<i32>) -> Decoded<Option<Date>> {
    number.map(date).transpose()
}

/// Packed, since each change of a member writes all of them: of each day the difference of its number to the one before it, the points, the
/// spend after its length, and the visits.
pub(super) fn counts(counts: &TierCounts) -> Vec<u8> {
    let (mut w, mut before) = (Writer::default(), 0);
    for (day, count) in counts.iter() {
        let number = date_number(*day);
        w.zigzag(number - before);
        w.zigzag(count.qualifying_points.0);
        w.bare_decimal(count.spend);
        w.zigzag(count.visits);
        before = number;
    }
    w.bytes
}

pub(super) fn read_counts(mut bytes: &[u8]) -> Decoded<TierCounts> {
    let (mut counts, mut before) = (Vec::new(), 0_i64);
    while !bytes.is_empty() {
        let number = before.checked_add(zigzag(&mut bytes)?).ok_or(Malformed("tier_counts"))?;
        let day = date(i32::try_from(number).map_err(|_| Malformed("tier_counts"))?)?;
        let qualifying_points = Points(zigzag(&mut bytes)?);
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let (spend, rest) = length.and_then(|length| bytes.split_at_checked(length)).ok_or(Malformed("tier_counts"))?;
        bytes = rest;
        let spend = read_decimal(spend).ok_or(Malformed("tier_counts"))?;
        counts.push((day, TierCount { qualifying_points, spend, visits: zigzag(&mut bytes)? }));
        before = number;
    }
    Ok(TierCounts::from_stored(counts))
}

fn zigzag(bytes: &mut &[u8]) -> Decoded<i64> {
    let value = decode_varint(bytes).map_err(|_| Malformed("tier_counts"))?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

pub(super) fn change(w: &mut Writer, change: &TierChange) {
    if let Some(from) = &change.from {
        w.text(1, from.as_str());
    }
    w.text(2, change.to.as_str());
    let cause = match change.cause {
        TierCause::Upgrade => 0,
        TierCause::Manual => 1,
        TierCause::Review => 2,
        TierCause::Return => 3,
        TierCause::RuleBook => 4,
    };
    w.uint(3, cause);
    w.text(4, &change.reason);
    if let Some(one) = &change.end {
        w.message(5, |w| end(w, one));
    }
    if let Some(one) = &change.floor {
        w.message(6, |w| floor(w, one));
    }
    optional_date(w, 7, change.reached_day);
    if let Some(one) = &change.review {
        w.message(8, |w| review(w, one));
    }
}

pub(super) fn read_change(change: stored::TierChanged) -> Decoded<TierChange> {
    Ok(TierChange {
        from: optional_tier(&change.from_tier_id)?,
        to: tier_id(&change.to_tier_id)?,
        cause: match change.cause {
            0 => TierCause::Upgrade,
            1 => TierCause::Manual,
            2 => TierCause::Review,
            3 => TierCause::Return,
            4 => TierCause::RuleBook,
            _ => return Err(Malformed("tier_changed.cause")),
        },
        reason: change.reason,
        end: read_end(change.end.as_ref())?,
        floor: change.floor.as_ref().map(read_floor).transpose()?,
        reached_day: read_date(change.reached_day)?,
        review: change.review.as_ref().map(read_review).transpose()?,
    })
}

fn end(w: &mut Writer, end: &StatusEnd) {
    w.time(1, end.end_time);
    w.sint(2, end.review_time.as_microsecond() - end.end_time.as_microsecond());
}

fn read_end(end: Option<&stored::StatusEnd>) -> Decoded<Option<StatusEnd>> {
    let read = |end: &stored::StatusEnd| {
        let review = end.end_time.checked_add(end.grace).ok_or(Malformed("status_end.grace"))?;
        Ok(StatusEnd { end_time: time(end.end_time)?, review_time: time(review)? })
    };
    end.map(read).transpose()
}

fn floor(w: &mut Writer, floor: &TierFloor) {
    w.text(1, floor.tier.as_str());
    w.optional_time(2, floor.end_time);
}

fn read_floor(floor: &stored::TierFloor) -> Decoded<TierFloor> {
    Ok(TierFloor { tier: tier_id(&floor.tier_id)?, end_time: floor.end_time.map(time).transpose()? })
}

fn review(w: &mut Writer, review: &TierReview) {
    optional_date(w, 1, review.from);
    w.sint(2, date_number(review.to));
    w.sint(3, review.totals.qualifying_points.0);
    w.decimal(4, review.totals.spend);
    w.uint(5, review.totals.visits);
    w.uint(6, u64::from(review.resets));
}

fn read_review(review: &stored::TierReview) -> Decoded<TierReview> {
    let qualifying_points = Points(review.qualifying_points);
    let totals = LifetimeTotals { qualifying_points, spend: decimal(&review.spend)?, visits: review.visits };
    Ok(TierReview { from: read_date(review.from)?, to: date(review.to)?, totals, resets: review.resets })
}

pub(super) fn kept(w: &mut Writer, kept: &TierKept) {
    w.text(1, kept.tier.as_str());
    if let Some(one) = &kept.end {
        w.message(2, |w| end(w, one));
    }
    w.message(3, |w| review(w, &kept.review));
}

pub(super) fn read_kept(kept: &stored::TierKept) -> Decoded<TierKept> {
    let review = read_review(kept.review.as_ref().ok_or(Malformed("tier_kept.review"))?)?;
    Ok(TierKept { tier: tier_id(&kept.tier_id)?, end: read_end(kept.end.as_ref())?, review })
}

pub(super) fn rewarded(w: &mut Writer, rewarded: &TierRewarded) {
    w.text(1, rewarded.tier.as_str());
    optional_date(w, 2, rewarded.until);
    if let Some(lot) = &rewarded.lot {
        w.message(3, |w| encode_lot(w, lot));
    }
    if let Some(kind) = &rewarded.voucher {
        w.text(4, kind.as_str());
    }
}

pub(super) fn read_rewarded(rewarded: &stored::TierRewarded) -> Decoded<TierRewarded> {
    let lot = rewarded.lot.as_ref().map(accrued_lot).transpose()?;
    let voucher = match rewarded.voucher_kind_id.as_str() {
        "" => None,
        id => Some(VoucherKindId::new(id).map_err(|_| Malformed("tier_rewarded.voucher_kind_id"))?),
    };
    Ok(TierRewarded { tier: tier_id(&rewarded.tier_id)?, until: read_date(rewarded.until)?, lot, voucher })
}

/// What a standing has beside the tiers that were held and whether it was set by hand. Nothing in programmes whose tiers have no end.
pub(super) fn status(w: &mut Writer, field: u32, standing: &TierStanding) {
    if standing.is_plain() {
        return;
    }
    w.message(field, |w| {
        if let Some(one) = &standing.end {
            w.message(1, |w| end(w, one));
        }
        if let Some(one) = &standing.floor {
            w.message(2, |w| floor(w, one));
        }
        if let Some(one) = &standing.reached {
            w.message(3, |w| {
                w.sint(1, date_number(one.day));
                if let Some(before) = &one.before {
                    w.message(2, |w| tier_and_end(w, before));
                }
            });
        }
        for lost in &standing.lost {
            let lost = Status { tier: lost.tier.clone(), end: Some(lost.end) };
            w.message(4, |w| tier_and_end(w, &lost));
        }
        optional_date(w, 5, standing.reset_day);
        for given in &standing.rewards {
            w.message(6, |w| {
                w.text(1, given.tier.as_str());
                optional_date(w, 2, given.until);
            });
        }
        w.uint(7, u64::from(standing.reviewed_version));
        for reset in &standing.earlier_resets {
            w.present_sint(8, date_number(*reset));
        }
    });
}

fn tier_and_end(w: &mut Writer, status: &Status) {
    w.text(1, status.tier.as_str());
    if let Some(one) = &status.end {
        w.message(2, |w| end(w, one));
    }
}

fn read_tier_and_end(status: &stored::TierAndEnd) -> Decoded<Status> {
    Ok(Status { tier: tier_id(&status.tier_id)?, end: read_end(status.end.as_ref())? })
}

pub(super) fn read_standing(tiers: &[stored::TierSince], manual: bool, status: Option<stored::TierStatus>) -> Decoded<TierStanding> {
    let status = status.unwrap_or_default();
    let reached =
        |one: &stored::Reached| Ok(Reached { day: date(one.day)?, before: one.before.as_ref().map(read_tier_and_end).transpose()? });
    let lost = |one: &stored::TierAndEnd| {
        let Status { tier, end } = read_tier_and_end(one)?;
        Ok(LostTier { tier, end: end.ok_or(Malformed("lost.end"))? })
    };
    let given = |one: &stored::RewardGiven| Ok(RewardGiven { tier: tier_id(&one.tier_id)?, until: read_date(one.until)? });
    Ok(TierStanding {
        history: tiers.iter().map(super::decode::tier_since).collect::<Decoded<_>>()?,
        manual,
        end: read_end(status.end.as_ref())?,
        floor: status.floor.as_ref().map(read_floor).transpose()?,
        reached: status.reached.as_ref().map(reached).transpose()?,
        lost: status.lost.iter().map(lost).collect::<Decoded<_>>()?,
        reset_day: read_date(status.reset_day)?,
        earlier_resets: status.earlier_resets.iter().map(|reset| date(*reset)).collect::<Decoded<_>>()?,
        rewards: status.rewards.iter().map(given).collect::<Decoded<_>>()?,
        reviewed_version: status.reviewed_version,
    })
}
