//! Requests, in few words.

use loyaltyd::contract::v1::{self, accrual_rule::Award, identifier::Kind, member_ref::Ref};

use super::PROGRAM;

/// As the Vietnamese example: 1 point per whole 10,000 VND; silver at 500 points earns 1.2 times, gold at 1,000 1.5 times, diamond at
/// 4,000 twice. Points are valid for 12 months.
pub fn rule_book() -> v1::Program {
    use v1::rounding::{Fraction, Mode, Stage};
    let tier = |id: &str, points: &str, multiplier: &str| v1::Tier {
        tier_id: id.into(),
        display_name: id.to_uppercase(),
        threshold: (!points.is_empty()).then(|| v1::TierThreshold { qualifying_points: points.into(), ..Default::default() }),
        multiplier: multiplier.into(),
        ..Default::default()
    };
    v1::Program {
        program_id: PROGRAM.into(),
        display_name: "Vietnam".into(),
        currency_code: "VND".into(),
        time_zone: "Asia/Ho_Chi_Minh".into(),
        rounding: Some(v1::Rounding { mode: Mode::Floor.into(), stage: Stage::Rule.into(), fraction: Fraction::Drop.into() }),
        accrual_rules: vec![v1::AccrualRule {
            rule_id: "goods".into(),
            display_name: "1 point per 10,000".into(),
            award: Some(Award::PerAmount(v1::PerAmount { amount: "10000".into(), points: "1".into(), whole_blocks: true })),
            ..Default::default()
        }],
        expiry: Some(v1::ExpiryPolicy {
            policy: Some(v1::expiry_policy::Policy::After(v1::expiry_policy::After { days: 0, months: 12, from_activation: false })),
        }),
        tiers: vec![tier("member", "", ""), tier("silver", "500", "1.2"), tier("gold", "1000", "1.5"), tier("diamond", "4000", "2")],
        adjustments: Some(v1::AdjustmentPolicy { maximum_points: "10000".into(), into_debt: false }),
        ..Default::default()
    }
}

pub fn vnd(amount: &str) -> Option<v1::Money> {
    Some(v1::Money { currency_code: "VND".into(), amount: amount.into() })
}

pub fn by_id(id: &str) -> Option<v1::MemberRef> {
    Some(v1::MemberRef { r#ref: Some(Ref::MemberId(id.into())) })
}

pub fn by_card(card: &str) -> Option<v1::MemberRef> {
    Some(v1::MemberRef { r#ref: Some(Ref::Identifier(self::card(card))) })
}

pub fn card(value: &str) -> v1::Identifier {
    identifier(Kind::Card, value)
}

pub fn identifier(kind: Kind, value: &str) -> v1::Identifier {
    v1::Identifier { kind: kind.into(), value: value.into() }
}

pub fn actor() -> Option<v1::Actor> {
    Some(v1::Actor { actor_id: "staff-7".into() })
}

pub fn enrolment(card: &str) -> v1::EnrollMemberRequest {
    v1::EnrollMemberRequest {
        request_id: format!("enrol-{card}"),
        program_id: PROGRAM.into(),
        profile: None,
        identifiers: vec![self::card(card)],
        ..Default::default()
    }
}

/// One line of goods.
pub fn purchase(order: &str, amount: &str) -> v1::Purchase {
    v1::Purchase {
        store_id: "hcm-1".into(),
        order_id: order.into(),
        channel: "pos".into(),
        lines: vec![line("rice", amount)],
        total: vnd(amount),
        ..Default::default()
    }
}

pub fn line(sku: &str, amount: &str) -> v1::PurchaseLine {
    v1::PurchaseLine { sku: sku.into(), amount: vnd(amount), ..Default::default() }
}

/// The order's number is part of the request id.
pub fn sale(member: &str, order: &str, amount: &str) -> v1::RecordPurchaseRequest {
    v1::RecordPurchaseRequest {
        request_id: format!("sale-{order}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        purchase: Some(purchase(order, amount)),
        ..Default::default()
    }
}

pub fn adjustment(member: &str, request: &str, points: i64) -> v1::AdjustPointsRequest {
    v1::AdjustPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points,
        reason: "goodwill".into(),
        actor: actor(),
        ..Default::default()
    }
}
