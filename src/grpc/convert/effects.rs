//! Price effects and hints as they are shown.

use super::amount::{decimal, money};
use crate::{
    contract::v1,
    domain::{Currency, EffectSource, Hint, PriceEffect, Program, Purchase, RuleId, TierId},
};

/// `program`: the version that the purchase was judged by.
pub fn price_effects(effects: &[PriceEffect], program: &Program) -> Vec<v1::PriceEffect> {
    effects.iter().map(|effect| price_effect(effect, program)).collect()
}

fn price_effect(effect: &PriceEffect, program: &Program) -> v1::PriceEffect {
    use v1::price_effect::Source;
    let of_tier = |source: Source, tier: &TierId| {
        let known = program.tiers.iter().find(|known| known.id == *tier);
        let display_name = known.map_or_else(String::new, |known| known.display_name.clone());
        v1::PriceEffect { source: source.into(), tier_id: tier.to_string(), display_name, ..Default::default() }
    };
    let line = |line: &crate::domain::EffectLine| v1::PriceEffectLine {
        line_index: i32::try_from(line.line).unwrap_or(i32::MAX),
        amount: decimal(line.amount),
    };
    let from = match &effect.source {
        EffectSource::TierDiscount { tier, percent } => {
            v1::PriceEffect { discount_percent: decimal(*percent), ..of_tier(Source::TierDiscount, tier) }
        }
        EffectSource::TierShipping { tier } => of_tier(Source::TierFreeShipping, tier),
        EffectSource::Voucher { code } => {
            v1::PriceEffect { source: Source::Voucher.into(), voucher_code: code.to_string(), ..Default::default() }
        }
    };
    v1::PriceEffect {
        amount: Some(money(effect.amount, &program.currency)),
        off_shipping: effect.off_shipping,
        lines: effect.lines.iter().map(line).collect(),
        ..from
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

/// `program`: the version that the purchase was judged by.
pub fn hint(hint: &Hint, program: &Program) -> v1::Hint {
    let rule = |id: &RuleId| program.rules.iter().find(|rule| rule.id == *id).map(|rule| rule.display_name.clone());
    let promotion = |id: &RuleId| program.promotion(id).map(|promotion| promotion.display_name.clone());
    v1::Hint {
        spend: Some(money(hint.spend, &program.currency)),
        points: hint.points.0,
        rule_ids: hint.rules.iter().map(ToString::to_string).collect(),
        promotion_ids: hint.promotions.iter().map(ToString::to_string).collect(),
        rule_display_names: hint.rules.iter().map(|id| rule(id).unwrap_or_default()).collect(),
        promotion_display_names: hint.promotions.iter().map(|id| promotion(id).unwrap_or_default()).collect(),
    }
}
