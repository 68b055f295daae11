//! Price effects and hints as they are shown.

use super::amount::{decimal, money};
use crate::{
    contract::v1,
    domain::{Currency, EffectSource, Hint, PriceEffect, Purchase},
};

pub fn price_effects(effects: &[PriceEffect], currency: &Currency) -> Vec<v1::PriceEffect> {
    effects.iter().map(|effect| price_effect(effect, currency)).collect()
}

fn price_effect(effect: &PriceEffect, currency: &Currency) -> v1::PriceEffect {
    use v1::price_effect::Source;
    let line = |line: &crate::domain::EffectLine| v1::PriceEffectLine {
        line_index: i32::try_from(line.line).unwrap_or(i32::MAX),
        amount: decimal(line.amount),
    };
    let shown = v1::PriceEffect {
        amount: Some(money(effect.amount, currency)),
        off_shipping: effect.off_shipping,
        lines: effect.lines.iter().map(line).collect(),
        ..Default::default()
    };
    match &effect.source {
        EffectSource::TierDiscount { tier, percent } => {
            v1::PriceEffect { source: Source::TierDiscount.into(), tier_id: tier.to_string(), discount_percent: decimal(*percent), ..shown }
        }
        EffectSource::TierShipping { tier } => {
            v1::PriceEffect { source: Source::TierFreeShipping.into(), tier_id: tier.to_string(), ..shown }
        }
        EffectSource::Voucher { code } => v1::PriceEffect { source: Source::Voucher.into(), voucher_code: code.to_string(), ..shown },
    }
}

/// What is paid, of a purchase that was priced here.
pub fn paid(purchase: &Purchase, currency: &Currency) -> Option<v1::PricedPurchase> {
    purchase.apply_effects.then(|| v1::PricedPurchase {
        total: Some(money(purchase.total, currency)),
        shipping: Some(money(purchase.shipping, currency)),
        lines: purchase
            .lines
            .iter()
            .map(|line| v1::PricedLine { price: decimal(line.amount - line.discount), tax: decimal(line.tax) })
            .collect(),
    })
}

pub fn hint(hint: &Hint, currency: &Currency) -> v1::Hint {
    v1::Hint {
        spend: Some(money(hint.spend, currency)),
        points: hint.points.0,
        rule_ids: hint.rules.iter().map(ToString::to_string).collect(),
        promotion_ids: hint.promotions.iter().map(ToString::to_string).collect(),
    }
}
