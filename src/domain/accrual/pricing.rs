//! What each rule gives: exact, rounded at its stage, then limited.

use rust_decimal::Decimal;

use super::{
    Sale, limits,
    matching::{Matched, QUANTITY_DIGITS},
    ratio::{Ratio, points},
};
use crate::domain::{AccrualRule, LimitKind, Overflow, PeriodStart, Points, Program, Rate, Rounding, RoundingStage, RoundingStep, money};

/// What all rules give.
pub(super) struct Prices {
    /// In the order of the matched rules.
    pub rules: Vec<Price>,
    /// How the sum was rounded, with the fraction that waits, where rules are rounded together.
    pub order: Option<(RoundingStep, Option<Decimal>)>,
}

/// What one rule gives.
#[derive(Default)]
pub(super) struct Price {
    pub roundings: Vec<RoundingStep>,
    pub uncapped: Points,
    pub limit: Option<LimitKind>,
    pub points: Points,
    /// The fraction that waits, if the rule carries it.
    pub carry: Option<Decimal>,
    /// What the rule's counters stand at, if they moved.
    pub counters: Vec<(PeriodStart, Points)>,
}

impl Price {
    /// The points of each line. They are as they were rounded line by line, or shares of the award.
    pub fn line_shares(&self, matched: &Matched<'_>) -> Result<Vec<Points>, Overflow> {
        let by_line = self.roundings.len() == matched.lines.len();
        if by_line && self.points == self.uncapped {
            return Ok(self.roundings.iter().map(|step| step.rounded).collect());
        }
        let weights: Vec<i128> = if by_line {
            self.roundings.iter().map(|step| i128::from(step.rounded.0)).collect()
        } else {
            matched.lines.iter().map(|line| line.weight).collect()
        };
        money::share_units(i128::from(self.points.0), &weights)?.into_iter().map(points).collect()
    }
}

/// points = count / blocks x numerator / denominator, in the smallest unit of a point.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    /// Only whole multiples of this count.
    block: Option<i128>,
    numerator: i128,
    denominator: i128,
}

impl Factor {
    pub fn new(rule: &AccrualRule, program: &Program, multiplier: Decimal) -> Result<Self, Overflow> {
        let multiplier = if rule.with_tier_multiplier { multiplier } else { Decimal::ONE };
        Self::of(&rule.rate, program, multiplier)
    }

    pub fn of(rate: &Rate, program: &Program, multiplier: Decimal) -> Result<Self, Overflow> {
        let digits = program.currency.digits();
        let (points, block, divisor) = match *rate {
            Rate::PerAmount { amount, points, whole_blocks: true } => (points, Some(money::to_units(amount, digits)?), 1),
            Rate::PerAmount { amount, points, whole_blocks: false } => (points, None, money::to_units(amount, digits)?),
            Rate::PerUnit { points } => (points, None, money::power_of_ten(QUANTITY_DIGITS)?),
            Rate::PerOrder { points } | Rate::PerProduct { points } => (points, None, 1),
        };
        let numerator = points.mantissa().checked_mul(multiplier.mantissa()).ok_or(Overflow)?;
        let (scale, precision) = (points.scale() + multiplier.scale(), program.points_precision);
        let numerator = numerator.checked_mul(money::power_of_ten(precision.saturating_sub(scale))?).ok_or(Overflow)?;
        let denominator = money::power_of_ten(scale.saturating_sub(precision))?.checked_mul(divisor).ok_or(Overflow)?;
        Ok(Self { block, numerator, denominator })
    }

    pub fn exact(self, count: i128) -> Result<Ratio, Overflow> {
        let count = self.block.map_or(count, |block| count / block);
        Ok(Ratio { numerator: count.checked_mul(self.numerator).ok_or(Overflow)?, denominator: self.denominator })
    }

    /// What a line gives by itself. Blocks that are counted over several lines count here by their part.
    pub fn for_line(self, count: i128, stage: RoundingStage) -> Result<Ratio, Overflow> {
        match (stage, self.block) {
            (RoundingStage::Rule | RoundingStage::Order, Some(block)) => {
                let denominator = self.denominator.checked_mul(block).ok_or(Overflow)?;
                Factor { block: None, denominator, ..self }.exact(count)
            }
            (RoundingStage::Line | RoundingStage::Rule | RoundingStage::Order, _) => self.exact(count),
        }
    }
}

/// What the matched rules give at a tier's multiplier.
pub(super) fn prices(sale: &Sale<'_>, matched: &[Matched<'_>], multiplier: Decimal) -> Result<Prices, Overflow> {
    let mut rules = Vec::with_capacity(matched.len());
    let mut together: Vec<(usize, Ratio)> = Vec::new();
    for (index, matched) in matched.iter().enumerate() {
        let factor = Factor::new(matched.rule, sale.program, multiplier)?;
        let mut price = match stage(matched.rule) {
            RoundingStage::Line => rounded_by_line(sale, matched, factor)?,
            RoundingStage::Rule => rounded_once(sale, matched, factor)?,
            RoundingStage::Order => {
                together.push((index, factor.exact(matched.count()?)?));
                Price::default()
            }
        };
        let (date, rule) = (sale.local_time.date(), matched.rule);
        let limited = limits::limit(sale.header, date, &rule.id, &rule.limits, price.uncapped)?;
        (price.points, price.limit, price.counters) = (limited.points, limited.limit, limited.counters);
        rules.push(price);
    }
    let order = round_together(sale, &mut rules, &together)?;
    Ok(Prices { rules, order })
}

/// An award for the whole order has no lines to round one by one.
fn stage(rule: &AccrualRule) -> RoundingStage {
    match (rule.rounding.stage, &rule.rate) {
        (RoundingStage::Line, Rate::PerOrder { .. }) => RoundingStage::Rule,
        (stage, Rate::PerAmount { .. } | Rate::PerUnit { .. } | Rate::PerOrder { .. } | Rate::PerProduct { .. }) => stage,
    }
}

/// A fraction goes from line to line, and from the last to the next purchase, if the rule carries it.
fn rounded_by_line(sale: &Sale<'_>, matched: &Matched<'_>, factor: Factor) -> Result<Price, Overflow> {
    let rounding = matched.rule.rounding;
    let mut price = Price { roundings: Vec::with_capacity(matched.lines.len()), ..Price::default() };
    let mut carried = carried_in(sale, matched.rule);
    for line in &matched.lines {
        let step = factor.exact(line.count)?.round(rounding, carried)?;
        carried = step.carried_out;
        price.uncapped = price.uncapped.plus(step.rounded)?;
        price.roundings.push(step);
    }
    price.carry = rounding.carry.then_some(carried);
    Ok(price)
}

fn rounded_once(sale: &Sale<'_>, matched: &Matched<'_>, factor: Factor) -> Result<Price, Overflow> {
    let rounding = matched.rule.rounding;
    let step = factor.exact(matched.count()?)?.round(rounding, carried_in(sale, matched.rule))?;
    Ok(Price { uncapped: step.rounded, carry: rounding.carry.then_some(step.carried_out), roundings: vec![step], ..Price::default() })
}

/// The rule is rounded in one sum with the others that are.
pub(super) fn is_together(rule: &AccrualRule) -> bool {
    rule.rounding.stage == RoundingStage::Order
}

/// What a rule gives on some of its lines, where nothing is carried and it is rounded by itself.
pub(super) fn rounded(rule: &AccrualRule, factor: Factor, counts: impl Iterator<Item = i128>) -> Result<Points, Overflow> {
    let rounding = Rounding { carry: false, ..rule.rounding };
    let round = |count| Ok::<_, Overflow>(factor.exact(count)?.round(rounding, Decimal::ZERO)?.rounded);
    match stage(rule) {
        RoundingStage::Line => Points::total(counts.map(round).collect::<Result<Vec<_>, _>>()?),
        RoundingStage::Rule | RoundingStage::Order => {
            round(counts.into_iter().try_fold(0i128, |sum, count| sum.checked_add(count)).ok_or(Overflow)?)
        }
    }
}

fn carried_in(sale: &Sale<'_>, rule: &AccrualRule) -> Decimal {
    if !rule.rounding.carry || sale.header.carries.is_empty() {
        return Decimal::ZERO;
    }
    sale.header.carries.get(&Some(rule.id.clone())).copied().unwrap_or_default()
}

/// Rounds the sum of the rules that are rounded with the order, and gives each its share of it.
fn round_together(
    sale: &Sale<'_>,
    rules: &mut [Price],
    together: &[(usize, Ratio)],
) -> Result<Option<(RoundingStep, Option<Decimal>)>, Overflow> {
    if together.is_empty() {
        return Ok(None);
    }
    let rounding = sale.program.rounding;
    let exact = together.iter().try_fold(Ratio::ZERO, |sum, (_, exact)| sum.plus(*exact))?;
    let carried = if rounding.carry { sale.header.carries.get(&None).copied().unwrap_or_default() } else { Decimal::ZERO };
    let step = exact.round(rounding, carried)?;
    let weights = together.iter().map(|(_, exact)| exact.in_places()).collect::<Result<Vec<_>, _>>()?;
    let shares = money::share_units(i128::from(step.rounded.0), &weights)?;
    for ((index, _), share) in together.iter().zip(shares) {
        rules[*index].uncapped = points(share)?;
        rules[*index].points = rules[*index].uncapped;
    }
    let carry = rounding.carry.then_some(step.carried_out);
    Ok(Some((step, carry)))
}
