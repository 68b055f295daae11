//! Birthdays, as they are shown.

use super::{amount::decimal, returned::accrued_lot, time::timestamp};
use crate::{
    contract::v1,
    domain::{BirthdayChanged, BirthdayGiven, BirthdayGranted},
};

pub fn birthday_change_kind(changed: &BirthdayChanged) -> v1::EntryKind {
    match changed.granted {
        Some(_) => v1::EntryKind::BirthdayGranted,
        None => v1::EntryKind::BirthdayPlanned,
    }
}

pub fn birthday_changed(changed: &BirthdayChanged) -> v1::entry::Kind {
    use v1::entry::Kind;
    if let Some(granted) = &changed.granted {
        return Kind::BirthdayGranted(birthday_granted(granted));
    }
    let changes = i32::try_from(changed.changes).unwrap_or(i32::MAX);
    let Some(plan) = changed.plan.open().copied().flatten() else {
        return Kind::BirthdayPlanned(v1::BirthdayPlanned { changes, ..Default::default() });
    };
    Kind::BirthdayPlanned(v1::BirthdayPlanned {
        birthday_year: i32::from(plan.year),
        due_time: Some(timestamp(plan.due_time)),
        start_time: Some(timestamp(plan.start_time)),
        end_time: Some(timestamp(plan.end_time)),
        changes,
    })
}

fn birthday_granted(granted: &BirthdayGranted) -> v1::BirthdayGranted {
    use v1::birthday_granted::Given;
    let given = match &granted.given {
        BirthdayGiven::Points(lot) => Given::Points(accrued_lot(lot)),
        BirthdayGiven::Voucher(kind) => Given::VoucherKindId(kind.to_string()),
        BirthdayGiven::Multiplier(one) => Given::Multiplier(v1::BirthdayMultiplier {
            multiplier: decimal(one.multiplier),
            start_time: Some(timestamp(one.start_time)),
            end_time: Some(timestamp(one.end_time)),
        }),
    };
    v1::BirthdayGranted {
        birthday_year: i32::from(granted.year),
        tier_id: granted.tier.as_ref().map_or_else(String::new, ToString::to_string),
        given: Some(given),
    }
}
