//! Vouchers: their codes as they come in, and what is shown of them.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Mistakes, Path,
    amount::{decimal, money},
    entry::version,
    goal::{with_goal_paid, with_goal_refund},
    member::count,
    redemption::order_out,
    reward::{with_reward_freed, with_reward_paid},
    time::timestamp,
};
use crate::{
    contract::v1,
    domain::{
        Currency, Entry, MAX_PURCHASE_VOUCHERS, Voucher, VoucherBenefit, VoucherCause, VoucherChange, VoucherChanged, VoucherCode,
        VoucherHold, VoucherRelease,
    },
};

pub fn voucher_code(path: Path<'_>, text: &str, mistakes: &mut Mistakes) -> Option<VoucherCode> {
    mistakes.take(path, VoucherCode::parse(text))
}

/// Of a purchase: each once.
pub fn voucher_codes(path: Path<'_>, texts: &[String], mistakes: &mut Mistakes) -> Option<Vec<VoucherCode>> {
    if texts.len() > MAX_PURCHASE_VOUCHERS {
        mistakes.add(path.field("voucher_codes"), format!("has {} of at most {MAX_PURCHASE_VOUCHERS}", texts.len()));
        return None;
    }
    let mut codes: Vec<VoucherCode> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let path = path.item("voucher_codes", index);
        if let Some(code) = voucher_code(path, text, mistakes) {
            if codes.contains(&code) {
                mistakes.add(path, "is named before too");
            }
            codes.push(code);
        }
    }
    (codes.len() == texts.len()).then_some(codes)
}

/// A live voucher as it is at an instant.
pub fn voucher(voucher: &Voucher, member: String, now: Timestamp, currency: &Currency) -> v1::Voucher {
    use v1::voucher::State;
    let state = match &voucher.hold {
        Some(_) => State::Held,
        None if now < voucher.valid_from_time => State::NotYetValid,
        None => State::Usable,
    };
    v1::Voucher { state: state.into(), ..terms(voucher, member, currency) }
}

/// One that is gone, by the newest entry of its story.
pub fn ended_voucher(voucher: &Voucher, member: String, latest: &Entry, currency: &Currency) -> v1::Voucher {
    use v1::voucher::State;
    let state = match latest.voucher_change().map(|changed| &changed.change) {
        Some(VoucherChange::Used { .. }) => State::Used,
        Some(VoucherChange::Cancelled { .. }) => State::Cancelled,
        Some(VoucherChange::Expired) => State::Expired,
        Some(VoucherChange::Issued { .. } | VoucherChange::Held(_) | VoucherChange::Released { .. } | VoucherChange::Reinstated { .. })
        | None => State::Unspecified,
    };
    v1::Voucher { state: state.into(), hold: None, ..terms(voucher, member, currency) }
}

fn terms(voucher: &Voucher, member_id: String, currency: &Currency) -> v1::Voucher {
    use v1::voucher::Cause;
    let cause = match voucher.cause {
        VoucherCause::Manual => Cause::Manual,
        VoucherCause::Birthday => Cause::Birthday,
        VoucherCause::Tier => Cause::Tier,
        VoucherCause::Reward => Cause::Reward,
        VoucherCause::Goal => Cause::Goal,
        VoucherCause::Offer => Cause::Offer,
        VoucherCause::Promotion => Cause::Promotion,
    };
    v1::Voucher {
        code: voucher.code.to_string(),
        member_id,
        voucher_kind_id: voucher.kind.to_string(),
        display_name: voucher.display_name.clone(),
        benefit: Some(benefit(&voucher.benefit)),
        minimum_order: (!voucher.minimum_order.is_zero()).then(|| money(voucher.minimum_order, currency)),
        issue_time: Some(timestamp(voucher.issue_time)),
        valid_from_time: Some(timestamp(voucher.valid_from_time)),
        expire_time: Some(timestamp(voucher.expire_time)),
        cause: cause.into(),
        program_version: version(voucher.program_version),
        state: 0,
        hold: voucher.hold.as_ref().map(hold),
    }
}

fn benefit(benefit: &VoucherBenefit) -> v1::VoucherBenefit {
    use v1::voucher_benefit::{AmountOff, Benefit, Custom, FreeItem, FreeShipping, PercentOff};
    let benefit = match benefit {
        VoucherBenefit::AmountOff { amount } => Benefit::AmountOff(AmountOff { amount: decimal(*amount) }),
        VoucherBenefit::PercentOff { percent, maximum } => {
            Benefit::PercentOff(PercentOff { percent: decimal(*percent), maximum_amount: maximum.map_or_else(String::new, decimal) })
        }
        VoucherBenefit::FreeItem { sku } => Benefit::FreeItem(FreeItem { sku: sku.clone(), ..Default::default() }),
        VoucherBenefit::FreeItemOf { category, maximum } => {
            let maximum_amount = maximum.map_or_else(String::new, decimal);
            Benefit::FreeItem(FreeItem { sku: String::new(), category: category.clone(), maximum_amount })
        }
        VoucherBenefit::FreeShipping => Benefit::FreeShipping(FreeShipping {}),
        VoucherBenefit::Custom { key, text } => Benefit::Custom(Custom { key: key.clone(), text: text.clone() }),
    };
    v1::VoucherBenefit { benefit: Some(benefit) }
}

fn hold(hold: &VoucherHold) -> v1::VoucherHold {
    v1::VoucherHold {
        store_id: hold.order.store.to_string(),
        order_id: hold.order.order.to_string(),
        hold_time: Some(timestamp(hold.hold_time)),
        expire_time: Some(timestamp(hold.expire_time)),
    }
}

/// The vouchers that a purchase used, among the entries of its request. `names`: theirs, in the same order.
pub fn used_vouchers(entries: &[Entry], names: Vec<String>, currency: &Currency) -> Vec<v1::UsedVoucher> {
    let mut names = names.into_iter();
    let shown = entries.iter().filter_map(|entry| match entry.voucher_change() {
        Some(VoucherChanged { code, change: VoucherChange::Used { value, .. }, .. }) => Some(v1::UsedVoucher {
            code: code.to_string(),
            value: value.map(|value| money(value, currency)),
            entry_sequence: count(entry.sequence),
            display_name: names.next().unwrap_or_default(),
        }),
        Some(_) | None => None,
    });
    shown.collect()
}

pub fn voucher_issued(voucher_as_issued: &Voucher, entry: &Entry, currency: &Currency) -> v1::Voucher {
    voucher(voucher_as_issued, entry.key.member.to_string(), entry.occurred_time, currency)
}

pub fn voucher_change_kind(changed: &VoucherChanged) -> v1::EntryKind {
    match &changed.change {
        VoucherChange::Issued { .. } => v1::EntryKind::VoucherIssued,
        VoucherChange::Held(_) => v1::EntryKind::VoucherHeld,
        VoucherChange::Released { .. } | VoucherChange::Reinstated { .. } => v1::EntryKind::VoucherReleased,
        VoucherChange::Used { .. } => v1::EntryKind::VoucherUsed,
        VoucherChange::Cancelled { .. } => v1::EntryKind::VoucherCancelled,
        VoucherChange::Expired => v1::EntryKind::VoucherExpired,
    }
}

pub fn voucher_changed(changed: &VoucherChanged, entry: &Entry, currency: &Currency) -> v1::entry::Kind {
    use v1::{entry::Kind, voucher_released::Cause};
    let code = changed.code.to_string();
    match &changed.change {
        VoucherChange::Issued { voucher, reason, goal, reward, promotion, offer } => {
            let voucher = Some(voucher_issued(voucher, entry, currency));
            let issued = v1::VoucherIssued { voucher, reason: reason.clone(), ..Default::default() };
            let promotion_id = promotion.as_ref().map_or_else(String::new, ToString::to_string);
            let offer_id = offer.as_ref().map_or_else(String::new, ToString::to_string);
            let issued = v1::VoucherIssued { promotion_id, offer_id, ..issued };
            Kind::VoucherIssued(with_reward_paid(with_goal_paid(issued, goal.as_deref()), reward.as_deref()))
        }
        VoucherChange::Held(held) => Kind::VoucherHeld(v1::VoucherHeld { code, hold: Some(hold(held)) }),
        VoucherChange::Released { cause, reason } => {
            let cause = match cause {
                VoucherRelease::Request => Cause::Request,
                VoucherRelease::Expired => Cause::Expired,
            };
            Kind::VoucherReleased(v1::VoucherReleased { code, cause: cause.into(), reason: reason.clone(), ..Default::default() })
        }
        VoucherChange::Used { order, value } => {
            let (store_id, order_id) = order_out(order.as_ref());
            let value = value.map(|value: Decimal| money(value, currency));
            Kind::VoucherUsed(v1::VoucherUsed { code, store_id, order_id, value })
        }
        VoucherChange::Cancelled { reason, refund, freed } => {
            let cancelled = v1::VoucherCancelled { code, reason: reason.clone(), ..Default::default() };
            Kind::VoucherCancelled(with_reward_freed(with_goal_refund(cancelled, refund.as_deref()), freed.as_deref()))
        }
        VoucherChange::Expired => Kind::VoucherExpired(v1::VoucherExpired { code }),
        VoucherChange::Reinstated { order, .. } => {
            let (store_id, order_id) = order_out(Some(order));
            let cause = Cause::PurchaseReturned.into();
            Kind::VoucherReleased(v1::VoucherReleased { code, cause, reason: String::new(), store_id, order_id })
        }
    }
}
