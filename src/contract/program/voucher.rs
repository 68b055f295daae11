//! Kinds of vouchers of a rule book.

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::{Mistakes, Scope, amount, keep, v1};
use crate::domain::{VoucherBenefit, VoucherKind, VoucherKindId, VoucherValidity, parse_decimal};

const MAX_KINDS: usize = 100;
const MAX_DAYS: i32 = 3_650;
const MAX_MONTHS: i32 = 120;
/// Characters.
const MAX_KEY: usize = 64;
const MAX_TEXT: usize = 500;

pub(super) fn kinds(documents: &[v1::VoucherKind], scope: &Scope, mistakes: &mut Mistakes) -> Option<Vec<VoucherKind>> {
    if documents.len() > MAX_KINDS {
        mistakes.note("voucher_kinds", format_args!("has {} kinds; at most {MAX_KINDS} are allowed", documents.len()));
    }
    let (mut ids, mut kinds) = (HashSet::new(), Some(Vec::new()));
    for (index, document) in documents.iter().take(MAX_KINDS).enumerate() {
        let path = format!("voucher_kinds[{index}]");
        let kind = kind(&path, document, scope, mistakes);
        if VoucherKindId::new(&document.voucher_kind_id).is_ok() && !ids.insert(&document.voucher_kind_id) {
            mistakes.note(format!("{path}.voucher_kind_id"), "is the id of an earlier kind too");
        }
        keep(&mut kinds, kind);
    }
    kinds
}

fn kind(path: &str, document: &v1::VoucherKind, scope: &Scope, mistakes: &mut Mistakes) -> Option<VoucherKind> {
    let id = mistakes.take(format!("{path}.voucher_kind_id"), VoucherKindId::new(&document.voucher_kind_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let benefit = benefit(&format!("{path}.benefit"), document.benefit.as_ref(), scope, mistakes);
    let minimum_order = match document.minimum_order.as_str() {
        "" => Some(Decimal::ZERO),
        text => amount(&format!("{path}.minimum_order"), text, scope, mistakes).ok(),
    };
    let after_days = mistakes.number(format!("{path}.after_days"), document.after_days, 0..=MAX_DAYS);
    let validity = validity(path, (document.valid_days, document.valid_months), mistakes);
    let last = validity.map(fewest_days);
    if let (Some(after), Some(last)) = (after_days, last)
        && after > last
    {
        mistakes.note(format!("{path}.after_days"), "is more than the days for which it is valid: it could never be used");
        return None;
    }
    Some(VoucherKind {
        id: id?,
        display_name: display_name?,
        benefit: benefit?,
        minimum_order: minimum_order?,
        after_days: after_days?,
        validity: validity?,
    })
}

/// Through which day it is valid: days or months, one of both.
pub(super) fn validity(path: &str, (days, months): (Option<i32>, i32), mistakes: &mut Mistakes) -> Option<VoucherValidity> {
    match (days, months) {
        (None, 0) => {
            mistakes.note(path, "needs valid_days or valid_months");
            None
        }
        (Some(days), 0) => mistakes.number(format!("{path}.valid_days"), days, 0..=MAX_DAYS).map(VoucherValidity::Days),
        (None, months) => mistakes.number(format!("{path}.valid_months"), months, 1..=MAX_MONTHS).map(VoucherValidity::Months),
        (Some(_), _) => {
            mistakes.note(path, "has both valid_days and valid_months; only one is possible");
            None
        }
    }
}

/// The shortest month has 28 days.
pub(super) fn fewest_days(validity: VoucherValidity) -> u32 {
    match validity {
        VoucherValidity::Days(days) => days,
        VoucherValidity::Months(months) => months * 28,
    }
}

fn benefit(path: &str, document: Option<&v1::VoucherBenefit>, scope: &Scope, mistakes: &mut Mistakes) -> Option<VoucherBenefit> {
    use v1::voucher_benefit::Benefit;
    match document.and_then(|document| document.benefit.as_ref()) {
        Some(Benefit::AmountOff(off)) => {
            let place = format!("{path}.amount_off.amount");
            let amount = amount(&place, &off.amount, scope, mistakes).ok()?;
            Some(VoucherBenefit::AmountOff { amount: mistakes.more_than_zero(place, amount)? })
        }
        Some(Benefit::PercentOff(off)) => percent_off(&format!("{path}.percent_off"), off, scope, mistakes),
        Some(Benefit::FreeItem(item)) => free_item(&format!("{path}.free_item"), item, scope, mistakes),
        Some(Benefit::FreeShipping(_)) => Some(VoucherBenefit::FreeShipping),
        Some(Benefit::Custom(custom)) => {
            let key = mistakes.text(format!("{path}.custom.key"), &custom.key, 1, MAX_KEY);
            let text = mistakes.text(format!("{path}.custom.text"), &custom.text, 0, MAX_TEXT);
            Some(VoucherBenefit::Custom { key: key?, text: text? })
        }
        None => {
            mistakes.note(path, "needs one of amount_off, percent_off, free_item, free_shipping, custom");
            None
        }
    }
}

fn percent_off(path: &str, off: &v1::voucher_benefit::PercentOff, scope: &Scope, mistakes: &mut Mistakes) -> Option<VoucherBenefit> {
    let place = format!("{path}.percent");
    let percent = mistakes.take(&place, parse_decimal(&off.percent, 3, 4));
    let percent = percent.and_then(|percent| mistakes.more_than_zero(&place, percent));
    if percent.is_some_and(|percent| percent > Decimal::ONE_HUNDRED) {
        mistakes.note(place, "is more than 100");
        return None;
    }
    let maximum = maximum_amount(format!("{path}.maximum_amount"), &off.maximum_amount, scope, mistakes);
    Some(VoucherBenefit::PercentOff { percent: percent?, maximum: maximum? })
}

/// The outer `None`: a mistake was noted.
fn maximum_amount(place: String, text: &str, scope: &Scope, mistakes: &mut Mistakes) -> Option<Option<Decimal>> {
    if text.is_empty() {
        return Some(None);
    }
    let amount = amount(&place, text, scope, mistakes).ok()?;
    mistakes.more_than_zero(place, amount).map(Some)
}

fn free_item(path: &str, item: &v1::voucher_benefit::FreeItem, scope: &Scope, mistakes: &mut Mistakes) -> Option<VoucherBenefit> {
    if item.category.is_empty() {
        if !item.maximum_amount.is_empty() {
            mistakes.note(format!("{path}.maximum_amount"), "is for a category alone");
        }
        let sku = mistakes.text(format!("{path}.sku"), &item.sku, 1, MAX_KEY)?;
        return Some(VoucherBenefit::FreeItem { sku });
    }
    if !item.sku.is_empty() {
        mistakes.note(path, "has both sku and category; only one is possible");
    }
    let category = mistakes.text(format!("{path}.category"), &item.category, 1, MAX_KEY);
    let maximum = maximum_amount(format!("{path}.maximum_amount"), &item.maximum_amount, scope, mistakes);
    Some(VoucherBenefit::FreeItemOf { category: category?, maximum: maximum? })
}
