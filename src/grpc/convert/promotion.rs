//! Promotions: their codes as they come in, and what is shown of their awards.

use rust_decimal::Decimal;

use super::{
    Mistakes, Path,
    amount::{decimal, whole_points},
    entry::{award_lines, limit, rounding_step},
    time::timestamp,
};
use crate::{
    contract::v1,
    domain::{MAX_ID_CHARS, MAX_PROMOTION_CODES, Program, PromotionAward, PromotionEffect, promotion_code},
};

/// Of a purchase: each once.
pub fn promotion_codes(path: Path<'_>, texts: &[String], mistakes: &mut Mistakes) -> Option<Vec<String>> {
    if texts.len() > MAX_PROMOTION_CODES {
        mistakes.add(path.field("codes"), format!("has {} of at most {MAX_PROMOTION_CODES}", texts.len()));
        return None;
    }
    let mut codes: Vec<String> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let path = path.item("codes", index);
        match promotion_code(text) {
            Some(code) => {
                if codes.contains(&code) {
                    mistakes.add(path, "is named before too");
                }
                codes.push(code);
            }
            None => mistakes.add(path, format!("is not a code of 1 to {MAX_ID_CHARS} characters, none of them a control character")),
        }
    }
    (codes.len() == texts.len()).then_some(codes)
}

/// One of the awards that stand behind those of the rules.
pub fn promotion_award(award: &PromotionAward, program: &Program) -> v1::Award {
    let multiplier = match &award.effect {
        PromotionEffect::Multiply { multiplier, .. } => *multiplier,
        PromotionEffect::PerAmount { .. } | PromotionEffect::Fixed { .. } | PromotionEffect::Voucher(_) => Decimal::ONE,
    };
    let kind = match &award.effect {
        PromotionEffect::Voucher(kind) => kind.to_string(),
        PromotionEffect::Multiply { .. } | PromotionEffect::PerAmount { .. } | PromotionEffect::Fixed { .. } => String::new(),
    };
    v1::Award {
        rule_id: String::new(),
        promotion_id: award.promotion.to_string(),
        voucher_kind_id: kind,
        display_name: award.display_name.clone(),
        basis: decimal(award.basis),
        rate: effect(award, program),
        multiplier: decimal(multiplier),
        roundings: award.rounding.iter().map(rounding_step).collect(),
        uncapped_points: award.uncapped_points.0,
        limit: limit(award.limit).into(),
        points: award.points.0,
        qualifying_points: award.qualifying_points.0,
        lines: award_lines(&award.lines),
        expire_time: award.expiry.time().map(timestamp),
        lapses_with_inactivity: award.expiry.is_with_inactivity(),
        lot_id: award.lot.map_or_else(String::new, |lot| lot.to_string()),
        arm_id: award.arm.as_ref().map_or_else(String::new, |arm| arm.to_string()),
    }
}

/// In words, as `Award.rate` says.
pub fn effect(award: &PromotionAward, program: &Program) -> String {
    let whole = |points: i64| decimal(whole_points(Decimal::from(points), program));
    match &award.effect {
        PromotionEffect::Multiply { multiplier, .. } => format!("{} times", decimal(*multiplier)),
        PromotionEffect::PerAmount { amount, points, .. } => format!("{} per {}", decimal(*points), decimal(*amount)),
        PromotionEffect::Fixed { points, each_quantity: true } => {
            let units = program.promotion(&award.promotion).map_or(Decimal::ONE, |promotion| promotion.minimum_quantity);
            format!("{} per {} units", whole(points.0), decimal(units))
        }
        PromotionEffect::Fixed { points, each_quantity: false } => format!("{} per order", whole(points.0)),
        PromotionEffect::Voucher(kind) => format!("voucher {kind}"),
    }
}
