//! What is left of promotions when a part of the purchase has come back. What a promotion asks of the goods is judged again on what is left of
//! them; what it asked of the member, and of the time, was so at the sale and stays so. No award grows, and none begins.

use super::{Ground, Marks, Shares, reckon};
use crate::domain::{
    Accrual, MemberFacts, Overflow, Points, PromotionAward, PromotionEffect, RestOfPromotion,
    accrual::{Sale, remaining::Rest},
};

/// Of each award of the sale.
pub(in crate::domain::accrual) fn promotions_left(
    sale: &Sale<'_>,
    rest: &Rest<'_>,
    accrual: &Accrual,
    shares: &Shares<'_, '_>,
) -> Result<Vec<RestOfPromotion>, Overflow> {
    if accrual.promotions.is_empty() {
        return Ok(Vec::new());
    }
    // Where nothing is kept of the member, no condition reads it.
    let member = accrual.member_facts.as_deref().cloned().unwrap_or_else(|| MemberFacts::of(sale.header, sale.occurred_time));
    let ground = Ground::new(sale, Some(rest), accrual.tier.as_ref(), &member);
    accrual.promotions.iter().map(|award| left(&ground, award, shares)).collect()
}

fn left(ground: &Ground<'_, '_>, award: &PromotionAward, shares: &Shares<'_, '_>) -> Result<RestOfPromotion, Overflow> {
    let sale = ground.sale;
    // A published version never changes, so it has the promotion. What gave nothing gives nothing.
    let Some(promotion) = sale.program.promotion(&award.promotion).filter(|_| award.gave()) else { return Ok(RestOfPromotion::default()) };
    let then: Vec<usize> = award.lines.iter().map(|line| line.line).collect();
    let (found, now) = ground.found(promotion, !then.is_empty())?;
    if !ground.is_met(promotion, &found)? {
        return Ok(RestOfPromotion::default());
    }
    let then = Marks::of(sale, &then);
    let now: Vec<usize> = now.into_iter().filter(|line| then.has(*line)).collect();
    let reckoned = reckon(sale, shares, promotion, &found, (&Marks::of(sale, &now), &then))?;
    let points = reckoned.uncapped.min(award.points);
    let stands = match promotion.effect {
        PromotionEffect::Voucher(_) => award.voucher().is_some(),
        PromotionEffect::Multiply { .. } | PromotionEffect::PerAmount { .. } | PromotionEffect::Fixed { .. } => points > Points::ZERO,
    };
    Ok(RestOfPromotion { points, qualifying_points: reckoned.counts.min(award.qualifying_points), stands })
}
