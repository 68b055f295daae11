//! Promotions: how awards of them are stored, what is counted of them, and the rows that say what they have given over all members.
//!
//! What is counted over all members may be changed by several of one commit: see `rewards.rs`.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    Engine,
    decode::{Decoded, Malformed, award_line, date, decimal, expiry, limit_kind, message, optional_time, rounding_step, rule_id, time},
    encode::{award_line as write_award_line, date_number, limit_kind as limit_number, rounding_step as write_rounding_step},
    index::Index,
    rows::{Change, ProgramNumber, RowKey, value},
    segments, stored,
    wire::Writer,
};
use crate::{
    domain::{
        ArmId, Entry, LotId, MemberFacts, PeriodStart, Points, ProgramId, PromotionAward, PromotionCount, PromotionCounts, PromotionEffect,
        PromotionTally, RuleId, TallyKey, VoucherKindId,
    },
    store::StoreError,
};

/// What a promotion has given.
pub(super) const TALLY: u8 = b'j';

pub(super) fn tally_row(index: &Index, number: ProgramNumber, key: &TallyKey) -> RowKey {
    RowKey::new(&[&[TALLY], &number.to_be_bytes(), &index.promotion(key)[..16]])
}

impl Engine {
    /// The rows of all that a commit counts of promotions over all members.
    pub(super) fn tally_rows<'a>(&self, entries: impl Iterator<Item = &'a Entry>, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        let mut latest: BTreeMap<(&ProgramId, &TallyKey), PromotionTally> = BTreeMap::new();
        let mut kept_from: BTreeMap<&ProgramId, Date> = BTreeMap::new();
        for entry in entries {
            let counts = entry.promotion_counts();
            if let Some(day) = counts.and_then(|counts| counts.days_before) {
                let kept = kept_from.entry(&entry.key.program).or_insert(day);
                *kept = day.max(*kept);
            }
            for (key, tally) in counts.iter().flat_map(|counts| &counts.tallies) {
                let kept = latest.entry((&entry.key.program, key)).or_insert(*tally);
                if tally.change > kept.change {
                    *kept = *tally;
                }
            }
        }
        for (program, first) in &kept_from {
            latest.retain(|(of, (_, day)), _| of != program || day.is_none_or(|day| day >= *first));
            let number = self.programs.number_or_new(program, changes);
            self.forget_days(number, *first, changes)?;
        }
        for ((program, key), one) in latest {
            let number = self.programs.number_or_new(program, changes);
            let row = value(|w| {
                w.message(1, |w| tally(w, key, one));
            });
            changes.push((tally_row(&self.index, number, key), Some(row)));
        }
        Ok(())
    }

    /// There are as many rows as promotions with a daily cap have days on which a sale may still count, and this is asked once a promotion and day.
    fn forget_days(&self, number: ProgramNumber, first: Date, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        let row = |hash: [u8; 16]| RowKey::new(&[&[TALLY], &number.to_be_bytes(), &hash]);
        let view = self.overlay.view();
        for found in view.scan(row([0; 16]), row([u8::MAX; 16]).next()) {
            let (key, bytes) = found?;
            let row: stored::PromotionTallyRow = message(&bytes)?;
            let ((_, day), _) = read_tally(row.tally.as_ref().ok_or(Malformed("promotion_tally"))?)?;
            if day.is_some_and(|day| day < first) {
                changes.push((key, None));
            }
        }
        Ok(())
    }
}

/// The row of a tally; `None`: it is another one's, whose hash is the same.
pub(super) fn read_tally_row(key: &TallyKey, bytes: &[u8]) -> Decoded<Option<PromotionTally>> {
    let row: stored::PromotionTallyRow = message(bytes)?;
    let (found, tally) = read_tally(row.tally.as_ref().ok_or(Malformed("promotion_tally"))?)?;
    Ok((found == *key).then_some(tally))
}

fn tally(w: &mut Writer, (promotion, day): &TallyKey, tally: PromotionTally) {
    w.text(1, promotion.as_str());
    if let Some(day) = day {
        w.present_sint(2, date_number(*day));
    }
    w.uint(3, tally.change);
    w.sint(4, tally.points.0);
}

fn read_tally(tally: &stored::PromotionTally) -> Decoded<(TallyKey, PromotionTally)> {
    let day = tally.day.map(date).transpose()?;
    Ok(((rule_id(&tally.promotion_id)?, day), PromotionTally { change: tally.change, points: Points(tally.points) }))
}

pub(super) fn counter(w: &mut Writer, promotion: &RuleId, period: PeriodStart, count: PromotionCount) {
    w.text(1, promotion.as_str());
    if let Some(start) = period {
        w.present_sint(2, date_number(start));
    }
    w.sint(3, count.points.0);
    w.uint(4, u64::from(count.times));
}

pub(super) fn read_counter(counter: &stored::PromotionCounter) -> Decoded<((RuleId, PeriodStart), PromotionCount)> {
    let key = (rule_id(&counter.promotion_id)?, counter.period_start.map(date).transpose()?);
    Ok((key, PromotionCount { points: Points(counter.points), times: counter.times }))
}

/// Nothing if there are none.
pub(super) fn counts(w: &mut Writer, field: u32, counts: &PromotionCounts) {
    if counts.is_empty() {
        return;
    }
    w.message(field, |w| {
        for ((promotion, period), count) in &counts.counters {
            w.message(1, |w| counter(w, promotion, *period, *count));
        }
        for (promotion, period) in &counts.dropped {
            w.message(2, |w| counter(w, promotion, *period, PromotionCount::default()));
        }
        for (key, one) in &counts.tallies {
            w.message(3, |w| tally(w, key, *one));
        }
        if let Some(day) = counts.days_before {
            w.present_sint(90, date_number(day));
        }
    });
}

pub(super) fn read_counts(counts: Option<&stored::PromotionCounts>) -> Decoded<PromotionCounts> {
    let Some(counts) = counts else { return Ok(PromotionCounts::default()) };
    Ok(PromotionCounts {
        counters: counts.counters.iter().map(read_counter).collect::<Decoded<_>>()?,
        dropped: counts.dropped.iter().map(|dropped| Ok(read_counter(dropped)?.0)).collect::<Decoded<_>>()?,
        tallies: counts.tallies.iter().map(read_tally).collect::<Decoded<_>>()?,
        days_before: counts.days_before.map(date).transpose()?,
    })
}

pub(super) fn facts(w: &mut Writer, facts: &MemberFacts) {
    w.time(1, facts.create_time);
    w.optional_time(2, facts.last_purchase_time);
    w.uint(3, facts.purchases);
    w.decimal(4, facts.spend);
    w.sint(5, facts.available_points.0);
    w.sint(6, facts.pending_points.0);
    w.sint(7, facts.qualifying_points.0);
    w.uint(8, u64::from(facts.is_first));
    facts.segments.iter().for_each(|segment| w.item_text(9, segment.as_str()));
}

pub(super) fn read_facts(facts: &stored::MemberFacts) -> Decoded<MemberFacts> {
    Ok(MemberFacts {
        create_time: time(facts.create_time)?,
        last_purchase_time: optional_time(facts.last_purchase_time)?,
        purchases: facts.purchases,
        spend: decimal(&facts.spend)?,
        available_points: Points(facts.available_points),
        pending_points: Points(facts.pending_points),
        qualifying_points: Points(facts.qualifying_points),
        is_first: facts.is_first,
        segments: facts.segments.iter().map(|text| segments::segment_id(text)).collect::<Decoded<_>>()?,
    })
}

pub(super) fn award(w: &mut Writer, award: &PromotionAward) {
    w.text(1, award.promotion.as_str());
    w.text(2, &award.display_name);
    w.message(3, |w| effect(w, &award.effect));
    w.decimal(4, award.basis);
    if let Some(step) = &award.rounding {
        w.message(5, |w| write_rounding_step(w, step));
    }
    w.sint_unless(6, award.uncapped_points.0, award.points.0);
    w.uint(7, limit_number(award.limit));
    w.sint(8, award.points.0);
    w.sint_unless(9, award.qualifying_points.0, award.points.0);
    for line in &award.lines {
        w.message(10, |w| write_award_line(w, line));
    }
    w.expiry(11, award.expiry);
    if let Some(lot) = award.lot {
        w.uint(12, lot.0);
    }
    if let Some(arm) = &award.arm {
        w.text(90, arm.as_str());
    }
}

fn effect(w: &mut Writer, effect: &PromotionEffect) {
    match effect {
        PromotionEffect::Multiply { multiplier, whole_order } => {
            w.decimal(2, *multiplier);
            w.uint(6, u64::from(*whole_order));
        }
        PromotionEffect::PerAmount { amount, points, whole_blocks, whole_order } => {
            w.uint(1, if *whole_blocks { 2 } else { 1 });
            w.decimal(2, *points);
            w.decimal(3, *amount);
            w.uint(6, u64::from(*whole_order));
        }
        PromotionEffect::Fixed { points, each_quantity } => {
            w.uint(1, if *each_quantity { 4 } else { 3 });
            w.sint(4, points.0);
        }
        PromotionEffect::Voucher(kind) => {
            w.uint(1, 5);
            w.text(5, kind.as_str());
        }
    }
}

fn read_effect(effect: &stored::PromotionEffect) -> Decoded<PromotionEffect> {
    let stored::PromotionEffect { kind, number, amount, points, voucher_kind_id, whole_order } = effect;
    let whole_order = *whole_order;
    Ok(match kind {
        0 => PromotionEffect::Multiply { multiplier: decimal(number)?, whole_order },
        1 | 2 => PromotionEffect::PerAmount { amount: decimal(amount)?, points: decimal(number)?, whole_blocks: *kind == 2, whole_order },
        3 | 4 => PromotionEffect::Fixed { points: Points(*points), each_quantity: *kind == 4 },
        5 => PromotionEffect::Voucher(VoucherKindId::new(voucher_kind_id).map_err(|_| Malformed("voucher_kind_id"))?),
        _ => return Err(Malformed("promotion_effect.kind")),
    })
}

pub(super) fn read_award(award: stored::PromotionAward) -> Decoded<PromotionAward> {
    Ok(PromotionAward {
        promotion: rule_id(&award.promotion_id)?,
        display_name: award.display_name,
        effect: read_effect(&award.effect.unwrap_or_default())?,
        basis: decimal(&award.basis)?,
        rounding: award.rounding.as_ref().map(rounding_step).transpose()?,
        uncapped_points: Points(award.uncapped_points.unwrap_or(award.points)),
        limit: limit_kind(award.limit)?,
        points: Points(award.points),
        qualifying_points: Points(award.qualifying_points.unwrap_or(award.points)),
        lines: award.lines.iter().map(award_line).collect::<Decoded<_>>()?,
        expiry: expiry(award.expire_time)?,
        lot: (award.lot != 0).then_some(LotId(award.lot)),
        arm: match award.arm_id.as_str() {
            "" => None,
            arm => Some(ArmId::new(arm).map_err(|_| Malformed("promotion_award.arm_id"))?),
        },
    })
}
