//! Birthdays of a rule book.

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::{Mistakes, Scope, policy, v1};
use crate::domain::{
    BirthdayGift, BirthdayPolicy, BirthdayReward, BirthdayWindow, Segment, Tier, TierId, VoucherKind, VoucherKindId, parse_decimal,
};

const MAX_REWARDS: usize = 21;
/// Windows of two years do not touch.
const MAX_WINDOW_DAYS: i32 = 90;
const MAX_MULTIPLIER: Decimal = Decimal::ONE_THOUSAND;

/// What the rewards may name.
pub(super) struct Known<'a> {
    pub tiers: Option<&'a [Tier]>,
    pub kinds: Option<&'a [VoucherKind]>,
    pub segments: Option<&'a [Segment]>,
}

/// The outer `None`: a mistake was noted.
pub(super) fn policy(
    document: Option<&v1::BirthdayPolicy>,
    known: &Known<'_>,
    scope: &Scope,
    mistakes: &mut Mistakes,
) -> Option<Option<BirthdayPolicy>> {
    use v1::birthday_policy::LateDate;
    let Some(document) = document else { return Some(None) };
    let window = window("birthday", (document.window, document.days_before, document.days_after), mistakes);
    let leap_day_in_march = leap_day_in_march("birthday.leap_day", document.leap_day, mistakes);
    let late_at_once = match LateDate::try_from(document.late_date) {
        Ok(LateDate::Unspecified | LateDate::NextYear) => Some(false),
        Ok(LateDate::AtOnce) => Some(true),
        Err(_) => no_value("birthday.late_date", document.late_date, mistakes),
    };
    let rewards = rewards(&document.rewards, known, scope, mistakes);
    let notice_days = mistakes.number("birthday.notice_days", document.notice_days, 0..=180);
    let member_days = mistakes.number("birthday.member_for_days", document.member_for_days, 0..=3_650);
    let active_months = mistakes.number("birthday.active_within_months", document.active_within_months, 0..=120);
    let maximum_changes = match document.maximum_changes {
        None => Some(None),
        Some(maximum) => mistakes.number("birthday.maximum_changes", maximum, 0..=100).map(Some),
    };
    Some(Some(BirthdayPolicy {
        window: window?,
        leap_day_in_march: leap_day_in_march?,
        rewards: rewards?,
        notice_days: notice_days?,
        late_at_once: late_at_once?,
        member_days: member_days?,
        active_months: active_months.map(|months| (months > 0).then_some(months))?,
        maximum_changes: maximum_changes?,
    }))
}

fn no_value<T>(path: &str, number: i32, mistakes: &mut Mistakes) -> Option<T> {
    mistakes.note(path, format_args!("has no value with the number {number}"));
    None
}

pub(super) fn leap_day_in_march(path: &str, number: i32, mistakes: &mut Mistakes) -> Option<bool> {
    use v1::birthday_policy::LeapDay;
    match LeapDay::try_from(number) {
        Ok(LeapDay::Unspecified | LeapDay::February28) => Some(false),
        Ok(LeapDay::March1) => Some(true),
        Err(_) => no_value(path, number, mistakes),
    }
}

/// Window, days before and days after.
pub(super) fn window(path: &str, (window, before, after): (i32, i32, i32), mistakes: &mut Mistakes) -> Option<BirthdayWindow> {
    use v1::birthday_policy::Window;
    let days_before = mistakes.number(format!("{path}.days_before"), before, 0..=MAX_WINDOW_DAYS);
    let days_after = mistakes.number(format!("{path}.days_after"), after, 0..=MAX_WINDOW_DAYS);
    let window = mistakes.choice(format!("{path}.window"), window)?;
    let (days_before, days_after) = (days_before?, days_after?);
    match window {
        Window::Around => Some(BirthdayWindow::Around { days_before, days_after }),
        Window::Day | Window::Month if days_before + days_after > 0 => {
            mistakes.note(format!("{path}.window"), "must be WINDOW_AROUND where days_before or days_after are given");
            None
        }
        Window::Day => Some(BirthdayWindow::Day),
        Window::Month => Some(BirthdayWindow::Month),
        Window::Unspecified => None,
    }
}

fn rewards(documents: &[v1::BirthdayReward], known: &Known<'_>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Vec<BirthdayReward>> {
    if !(1..=MAX_REWARDS).contains(&documents.len()) {
        mistakes.note("birthday.rewards", format_args!("has {} rewards; 1 to {MAX_REWARDS} are allowed", documents.len()));
        return None;
    }
    let mut seen = HashSet::new();
    let mut rewards = Some(Vec::new());
    for (index, document) in documents.iter().enumerate() {
        let path = format!("birthday.rewards[{index}]");
        if !seen.insert(&document.tier_id) {
            mistakes.note(format!("{path}.tier_id"), "has a reward before too");
        }
        super::keep(&mut rewards, reward(&path, document, known, scope, mistakes));
    }
    rewards
}

fn reward(path: &str, document: &v1::BirthdayReward, known: &Known<'_>, scope: &Scope, mistakes: &mut Mistakes) -> Option<BirthdayReward> {
    let tier = match document.tier_id.as_str() {
        "" => Some(None),
        text => mistakes.take(format!("{path}.tier_id"), TierId::new(text)).map(Some),
    };
    if let (Some(Some(tier)), Some(tiers)) = (&tier, known.tiers)
        && !tiers.iter().any(|known| known.id == *tier)
    {
        mistakes.note(format!("{path}.tier_id"), "is not a tier of the programme");
    }
    let gift = gift(path, document, known, scope, mistakes);
    Some(BirthdayReward { tier: tier?, gift: gift? })
}

fn gift(path: &str, document: &v1::BirthdayReward, known: &Known<'_>, scope: &Scope, mistakes: &mut Mistakes) -> Option<BirthdayGift> {
    use v1::birthday_reward::Reward;
    match &document.reward {
        Some(Reward::Points(gift)) => {
            let points = mistakes.required_points(format!("{path}.points.points"), &gift.points, scope.precision);
            let expiry = match &gift.expiry {
                Some(own) => policy::own_expiry(&format!("{path}.points.expiry"), own, scope.expiry, mistakes),
                None => scope.expiry,
            };
            Some(BirthdayGift::Points { points: points?, expiry: expiry? })
        }
        Some(Reward::VoucherKindId(text)) => {
            let place = format!("{path}.voucher_kind_id");
            let kind = mistakes.take(&place, VoucherKindId::new(text))?;
            if known.kinds.is_some_and(|kinds| !kinds.iter().any(|known| known.id == kind)) {
                mistakes.note(place, "is not a kind of vouchers of the programme");
            }
            Some(BirthdayGift::Voucher(kind))
        }
        Some(Reward::Multiplier(text)) => {
            let place = format!("{path}.multiplier");
            let multiplier = mistakes.take(&place, parse_decimal(text, 4, 6))?;
            if multiplier <= Decimal::ONE || multiplier > MAX_MULTIPLIER {
                mistakes.note(place, format_args!("is {multiplier}; it must be more than 1, and {MAX_MULTIPLIER} at most"));
                return None;
            }
            Some(BirthdayGift::Multiplier(multiplier.normalize()))
        }
        None => {
            mistakes.note(path, "needs one of points, voucher_kind_id, multiplier");
            None
        }
    }
}
