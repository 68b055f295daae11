//! Birthdays: how entries of them are stored, what of them is sealed, and what headers keep.

use super::{
    decode::{Decoded, Malformed, accrued_lot, decimal, optional_tier, optional_time, time},
    encode, known, stored,
    wire::Writer,
};
use crate::domain::{BirthdayChanged, BirthdayGiven, BirthdayGranted, BirthdayMultiplier, BirthdayPlan, Birthdays, Sealed, VoucherKindId};

/// Without the plan, which is sealed.
pub(super) fn changed(w: &mut Writer, changed: &BirthdayChanged) {
    w.uint(1, u64::from(changed.policy_version));
    w.uint(2, u64::from(changed.changes));
    if let Some(one) = &changed.granted {
        w.message(3, |w| granted(w, one));
    }
}

fn granted(w: &mut Writer, granted: &BirthdayGranted) {
    w.sint(1, i64::from(granted.year));
    if let Some(tier) = &granted.tier {
        w.text(2, tier.as_str());
    }
    match &granted.given {
        BirthdayGiven::Points(lot) => w.message(3, |w| encode::accrued_lot(w, lot)),
        BirthdayGiven::Voucher(kind) => w.message(4, |w| w.text(1, kind.as_str())),
        BirthdayGiven::Multiplier(one) => w.message(5, |w| multiplier(w, one)),
    };
}

pub(super) fn multiplier(w: &mut Writer, multiplier: &BirthdayMultiplier) {
    w.decimal(1, multiplier.multiplier);
    w.time(2, multiplier.start_time);
    w.time(3, multiplier.end_time);
}

fn plan(w: &mut Writer, plan: &BirthdayPlan) {
    w.sint(1, i64::from(plan.year));
    w.time(2, plan.due_time);
    w.time(3, plan.start_time);
    w.time(4, plan.end_time);
}

/// What is sealed of an entry.
pub(super) fn sealed_plan(w: &mut Writer, one: Option<&BirthdayPlan>) {
    if let Some(one) = one {
        w.message(1, |w| plan(w, one));
    }
}

pub(super) fn header(w: &mut Writer, birthday: &Birthdays) {
    if let Some(next) = &birthday.next {
        w.message(42, |w| plan(w, next));
    }
    w.uint(43, u64::from(birthday.policy_version));
    if let Some(year) = birthday.last_year {
        w.present_sint(44, i64::from(year));
    }
    w.uint(45, u64::from(birthday.changes));
    if let Some(one) = &birthday.multiplier {
        w.message(46, |w| multiplier(w, one));
    }
    w.optional_time(47, birthday.known_since);
}

pub(super) fn read_changed(changed: stored::BirthdayChanged, plan: Sealed<Option<BirthdayPlan>>) -> Decoded<BirthdayChanged> {
    Ok(BirthdayChanged {
        plan,
        policy_version: changed.policy_version,
        changes: changed.changes,
        granted: changed.granted.map(read_granted).transpose()?,
    })
}

fn read_granted(granted: stored::BirthdayGranted) -> Decoded<BirthdayGranted> {
    use stored::birthday_granted::Given;
    Ok(BirthdayGranted {
        year: year(granted.year)?,
        tier: optional_tier(&granted.tier_id)?,
        given: match granted.given.ok_or(Malformed("birthday_granted.given"))? {
            Given::Points(lot) => BirthdayGiven::Points(accrued_lot(&lot)?),
            Given::Voucher(voucher) => {
                BirthdayGiven::Voucher(VoucherKindId::new(&voucher.voucher_kind_id).map_err(|_| Malformed("voucher_kind_id"))?)
            }
            Given::Multiplier(one) => BirthdayGiven::Multiplier(read_multiplier(&one)?),
        },
    })
}

pub(super) fn read_multiplier(multiplier: &stored::BirthdayMultiplier) -> Decoded<BirthdayMultiplier> {
    Ok(BirthdayMultiplier {
        multiplier: decimal(&multiplier.multiplier)?,
        start_time: time(multiplier.start_time)?,
        end_time: time(multiplier.end_time)?,
    })
}

fn read_plan(plan: &stored::BirthdayPlan) -> Decoded<BirthdayPlan> {
    Ok(BirthdayPlan {
        year: year(plan.year)?,
        due_time: time(plan.due_time)?,
        start_time: time(plan.start_time)?,
        end_time: time(plan.end_time)?,
    })
}

pub(super) fn read_sealed_plan(bytes: &[u8]) -> Decoded<Option<BirthdayPlan>> {
    let sealed: stored::SealedBirthday = known::sealed(&known::SEALED_BIRTHDAY, bytes)?;
    sealed.plan.as_ref().map(read_plan).transpose()
}

pub(super) fn read_header(row: &stored::HeaderRow) -> Decoded<Birthdays> {
    Ok(Birthdays {
        next: row.next_birthday.as_ref().map(read_plan).transpose()?,
        policy_version: row.birthday_policy_version,
        last_year: row.last_birthday_year.map(year).transpose()?,
        changes: row.birth_date_changes,
        multiplier: row.birthday_multiplier.as_ref().map(read_multiplier).transpose()?,
        known_since: optional_time(row.birth_date_known_since)?,
    })
}

pub(super) fn year(year: i32) -> Decoded<i16> {
    i16::try_from(year).map_err(|_| Malformed("a birthday's year"))
}
