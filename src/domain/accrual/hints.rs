//! Hints: how much more would earn more. Only what a minimum or the next whole block lacks is tried, each by judging the purchase with so much
//! more of one of its goods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{Sale, Seen, accrue, basis, matching};
use crate::domain::{
    Accrual, Filter, Header, LimitKind, Overflow, Points, ProgramHistory, Promotion, PromotionEffect, Purchase, Rate, RoundingStage,
    RuleId, money,
};

/// Of one quote.
pub const MAX_HINTS: usize = 3;
/// Amounts that are tried for them, the smallest ones.
const MAX_TRIED: usize = 8;
/// Purchases with more lines get none.
const MAX_LINES_HINTED: usize = 500;

/// If so much more were paid for goods, so many more points would be earned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub spend: Decimal,
    /// 0 where it is vouchers alone.
    pub points: Points,
    /// Whose minimum or next block that reaches; one of both at least.
    pub rules: Vec<RuleId>,
    pub promotions: Vec<RuleId>,
}

/// Who may give more.
enum Source<'a> {
    Rule(&'a RuleId),
    Promotion(&'a Promotion),
}

/// The purchase with as much more as any minimum can lack, to know of which promotions a hint may be about.
pub(in crate::domain) fn enlarged(purchase: &Purchase) -> Option<Purchase> {
    if purchase.lines.len() > MAX_LINES_HINTED {
        return None;
    }
    let mut more = purchase.clone();
    let first = more.lines.first_mut()?;
    first.amount = first.amount.checked_add(Decimal::from(10u64.pow(15)))?;
    Some(more)
}

pub(in crate::domain) fn hints(
    programs: &ProgramHistory,
    (header, seen): (&Header, Seen<'_>),
    (purchase, accrual): (&Purchase, &Accrual),
    occurred_time: Timestamp,
    oldest: Timestamp,
) -> Result<Vec<Hint>, Overflow> {
    if purchase.lines.len() > MAX_LINES_HINTED {
        return Ok(Vec::new());
    }
    let program = programs.at(occurred_time);
    let digits = program.currency.digits();
    let bases = basis::bases(&program.basis, purchase, digits)?;
    let local_time = program.time_zone.to_datetime(occurred_time);
    let sale = Sale { program, header, seen, purchase, occurred_time, local_time, bases };
    let mut hints = Vec::new();
    for ((lacks, line), sources) in sale.lacking(accrual)?.into_iter().take(MAX_TRIED) {
        let spend = money::from_units(lacks, digits)?;
        let mut more = purchase.clone();
        let Some(goods) = more.lines.get_mut(line) else { continue };
        goods.amount = goods.amount.checked_add(spend).ok_or(Overflow)?;
        more.total = more.total.checked_add(spend).ok_or(Overflow)?;
        // One that cannot be judged is no hint.
        let Ok(judged) = accrue(programs, (header, seen), &more, occurred_time, oldest) else { continue };
        let gives_more = |source: &&Source<'_>| source.given(&judged) > source.given(accrual);
        let (mut rules, mut promotions) = (Vec::new(), Vec::new());
        for source in sources.iter().filter(gives_more) {
            match source {
                Source::Rule(rule) => rules.push((*rule).clone()),
                Source::Promotion(promotion) => promotions.push(promotion.id.clone()),
            }
        }
        if rules.len() + promotions.len() > 0 && judged.points >= accrual.points {
            hints.push(Hint { spend, points: judged.points.minus(accrual.points)?, rules, promotions });
        }
        if hints.len() == MAX_HINTS {
            break;
        }
    }
    Ok(hints)
}

impl Source<'_> {
    /// Points, and whether a voucher.
    fn given(&self, accrual: &Accrual) -> (Points, bool) {
        match self {
            Self::Rule(rule) => {
                let awards = accrual.awards.iter().filter(|award| award.rule == **rule);
                (Points(awards.map(|award| award.points.0).fold(0, i64::saturating_add)), false)
            }
            Self::Promotion(promotion) => {
                let award = accrual.promotions.iter().find(|award| award.promotion == promotion.id);
                let is_had = |limit: Option<LimitKind>| limit.is_none();
                award.map_or((Points::ZERO, false), |award| (award.points, award.voucher().is_some() && is_had(award.limit)))
            }
        }
    }
}

impl<'a> Sale<'a> {
    /// What is lacking, in the smallest unit, and of which line it would be; each with who would give more.
    fn lacking(&self, accrual: &Accrual) -> Result<BTreeMap<(i128, usize), Vec<Source<'a>>>, Overflow> {
        let mut lacking: BTreeMap<(i128, usize), Vec<Source<'a>>> = BTreeMap::new();
        let units = |amount: Decimal| money::to_units(amount, self.digits());
        for rule in &self.program.rules {
            if !matching::may_apply(&rule.filter, self.purchase, self.local_time) {
                continue;
            }
            let Some((line, _)) = self.dearest(&rule.filter) else { continue };
            let below = units(rule.filter.minimum_order)? - self.bases.total;
            let lacks = match (&rule.rate, accrual.awards.iter().find(|award| award.rule == rule.id)) {
                _ if below > 0 => below,
                (Rate::PerAmount { amount, whole_blocks: true, .. }, Some(award)) => {
                    let counted = match rule.rounding.stage {
                        RoundingStage::Line => self.bases.lines[line].amount,
                        RoundingStage::Rule | RoundingStage::Order => units(award.basis)?,
                    };
                    next_block(counted, units(*amount)?)
                }
                (Rate::PerAmount { amount, whole_blocks: true, .. }, None) => next_block(self.found(&rule.filter)?, units(*amount)?),
                (Rate::PerAmount { .. } | Rate::PerUnit { .. } | Rate::PerOrder { .. } | Rate::PerProduct { .. }, _) => continue,
            };
            lacking.entry((lacks, line)).or_default().push(Source::Rule(&rule.id));
        }
        for promotion in &self.program.promotions {
            if !promotion.is_running(self.occurred_time) || !super::may_give(promotion, self.purchase, self.local_time) {
                continue;
            }
            let Some((line, _)) = self.dearest(&promotion.filter) else { continue };
            let spend = if promotion.looks_at_lines() { self.found(&promotion.filter)? } else { self.bases.total };
            let below = (units(promotion.filter.minimum_order)? - self.bases.total).max(units(promotion.minimum_spend)? - spend);
            let lacks = match &promotion.effect {
                _ if below > 0 => below,
                PromotionEffect::PerAmount { amount, whole_blocks: true, whole_order, .. } => {
                    next_block(if *whole_order { self.bases.total } else { spend }, units(*amount)?)
                }
                PromotionEffect::PerAmount { .. }
                | PromotionEffect::Multiply { .. }
                | PromotionEffect::Fixed { .. }
                | PromotionEffect::Voucher(_) => continue,
            };
            lacking.entry((lacks, line)).or_default().push(Source::Promotion(promotion));
        }
        Ok(lacking)
    }

    /// Of the goods that match the dearest ones; of equal ones the first.
    fn dearest(&self, filter: &Filter) -> Option<(usize, i128)> {
        let matching = self.matching(filter).map(|line| (line, self.bases.lines[line].amount));
        matching.min_by_key(|(line, amount)| (std::cmp::Reverse(*amount), *line))
    }

    /// What the goods that match come to.
    fn found(&self, filter: &Filter) -> Result<i128, Overflow> {
        self.matching(filter).try_fold(0i128, |sum, line| sum.checked_add(self.bases.lines[line].amount)).ok_or(Overflow)
    }

    fn matching(&self, filter: &Filter) -> impl Iterator<Item = usize> {
        let labelled = matching::is_labelled(filter, self.purchase);
        (0..self.purchase.lines.len()).filter(move |line| matching::passes_line(filter, labelled, self, *line))
    }
}

/// An amount that does not reach the first block lacks the rest of it.
fn next_block(counted: i128, block: i128) -> i128 {
    if block > 0 { block - counted.max(0) % block } else { 1 }
}
