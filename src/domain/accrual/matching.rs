//! Which rule earns on which line.

use std::collections::{BTreeSet, HashSet};

use jiff::civil::DateTime;
use rust_decimal::Decimal;

use super::{Sale, count_digits, pricing::Factor, ratio::Ratio, readable};
use crate::domain::{
    AccrualRule, Combination, Filter, HourRange, Line, MAX_AWARD_LINES, Overflow, Purchase, Rate, Rejection, TooComplex, money,
};

/// Decimal places of a quantity.
pub(super) const QUANTITY_DIGITS: u32 = 3;

/// A rule and what it counts in this purchase.
pub(super) struct Matched<'a> {
    pub rule: &'a AccrualRule,
    /// Never empty; what they count is more than 0 in sum.
    pub lines: Vec<Counted>,
}

/// What a rule counts on a line.
pub(super) struct Counted {
    pub line: usize,
    /// In the smallest unit of what the rule counts: money, 1/1000 of a unit of goods, orders, products.
    pub count: i128,
    /// Of an award for the whole order each line has its share by its basis; otherwise the same as `count`.
    pub weight: i128,
}

impl Matched<'_> {
    pub fn count(&self) -> Result<i128, Overflow> {
        self.lines.iter().try_fold(0i128, |sum, line| sum.checked_add(line.count)).ok_or(Overflow)
    }

    pub fn counted(&self, currency_digits: u32) -> Result<Decimal, Overflow> {
        let count = money::from_units(self.count()?, count_digits(&self.rule.rate, currency_digits))?;
        Ok(readable(&self.rule.rate, count))
    }
}

/// The rules that count something, in the order of the file, each with its lines.
pub(super) fn matched<'a>(sale: &Sale<'a>, multiplier: Decimal) -> Result<Vec<Matched<'a>>, Rejection> {
    let rules = &sale.program.rules;
    let mut candidates = Vec::with_capacity(rules.len());
    for rule in rules {
        if applies(&rule.filter, sale)? {
            candidates.push(Candidate::new(rule, sale));
        }
    }
    match sale.program.combination {
        Combination::Sum => {
            let mut award_lines = 0;
            for candidate in &mut candidates {
                for line in 0..sale.bases.lines.len() {
                    candidate.take(sale, line)?;
                }
                award_lines += candidate.matched.lines.len();
                if award_lines > MAX_AWARD_LINES {
                    return Err(Rejection::PurchaseTooComplex(TooComplex::AwardLines { award_lines, limit: MAX_AWARD_LINES }));
                }
            }
        }
        // At most one rule for each line, and one for the order: never near the bound.
        Combination::Exclusive => one_rule_each(sale, &mut candidates, Choice::First)?,
        Combination::Best => {
            for candidate in &mut candidates {
                candidate.factor = Some(Factor::new(candidate.matched.rule, sale.program, multiplier)?);
            }
            one_rule_each(sale, &mut candidates, Choice::Most)?;
        }
    }
    Ok(candidates.into_iter().map(|candidate| candidate.matched).filter(|matched| !matched.lines.is_empty()).collect())
}

/// Whether a line meets what a rule that applies to the purchase asks of it.
pub(super) fn is_counted<'a>(rule: &'a AccrualRule, sale: &Sale<'a>, line: usize) -> bool {
    Candidate::new(rule, sale).matches(sale, line)
}

struct Candidate<'a> {
    matched: Matched<'a>,
    /// The rule asks for no label, or the purchase has it: then each of its lines has it.
    labelled: bool,
    /// The SKUs that a rule per product has counted.
    products: HashSet<&'a str>,
    /// What the rule gives; set where rules are compared.
    factor: Option<Factor>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// By priority.
    First,
    /// That gives most; of equal ones the first.
    Most,
}

/// On each line only one rule earns; of the rules per order only one awards.
fn one_rule_each<'a>(sale: &Sale<'a>, candidates: &mut [Candidate<'a>], choice: Choice) -> Result<(), Overflow> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|index| candidates[*index].matched.rule.priority);
    for line in 0..sale.bases.lines.len() {
        let mut chosen: Option<(usize, Ratio)> = None;
        for index in order.iter().copied().filter(|index| !candidates[*index].is_per_order()) {
            if !candidates[index].matches(sale, line) {
                continue;
            }
            let gives = candidates[index].gives(sale, line)?;
            if chosen.is_none_or_less(gives)? {
                chosen = Some((index, gives));
            }
            if choice == Choice::First {
                break;
            }
        }
        if let Some((index, _)) = chosen {
            candidates[index].take(sale, line)?;
        }
    }
    let mut chosen: Option<(usize, Ratio)> = None;
    for index in order.into_iter().filter(|index| candidates[*index].is_per_order()).collect::<Vec<_>>() {
        for line in 0..sale.bases.lines.len() {
            candidates[index].take(sale, line)?;
        }
        if candidates[index].matched.lines.is_empty() {
            continue;
        }
        let gives = candidates[index].gives(sale, 0)?;
        let better = match choice {
            Choice::First => chosen.is_none(),
            Choice::Most => chosen.is_none_or_less(gives)?,
        };
        let loser = if better { chosen.replace((index, gives)).map(|(loser, _)| loser) } else { Some(index) };
        if let Some(loser) = loser {
            candidates[loser].matched.lines.clear();
        }
    }
    Ok(())
}

trait IsNoneOrLess {
    fn is_none_or_less(&self, gives: Ratio) -> Result<bool, Overflow>;
}

impl IsNoneOrLess for Option<(usize, Ratio)> {
    fn is_none_or_less(&self, gives: Ratio) -> Result<bool, Overflow> {
        match self {
            None => Ok(true),
            Some((_, most)) => Ok(most.compare(gives)?.is_lt()),
        }
    }
}

impl<'a> Candidate<'a> {
    fn new(rule: &'a AccrualRule, sale: &Sale<'a>) -> Self {
        let labelled = is_labelled(&rule.filter, sale.purchase);
        Self { matched: Matched { rule, lines: Vec::new() }, labelled, products: HashSet::new(), factor: None }
    }

    fn is_per_order(&self) -> bool {
        match self.matched.rule.rate {
            Rate::PerOrder { .. } => true,
            Rate::PerAmount { .. } | Rate::PerUnit { .. } | Rate::PerProduct { .. } => false,
        }
    }

    /// Shipping and tip are no goods: only amounts count there.
    fn matches(&self, sale: &Sale<'a>, line: usize) -> bool {
        let rule = self.matched.rule;
        let basis = &sale.bases.lines[line];
        let Some(goods) = sale.purchase.lines.get(line) else {
            return matches!(rule.rate, Rate::PerAmount { .. }) && passes(&rule.filter, self.labelled, "", "", &[]);
        };
        basis.earns && passes(&rule.filter, self.labelled, &goods.sku, &goods.category, &goods.labels)
    }

    /// What the rule counts on a line that it matches.
    fn count(&self, sale: &Sale<'a>, line: usize) -> Result<i128, Overflow> {
        match self.matched.rule.rate {
            Rate::PerAmount { .. } => Ok(sale.bases.lines[line].amount),
            Rate::PerUnit { .. } => {
                sale.purchase.lines.get(line).map_or(Ok(0), |goods: &Line| money::to_units(goods.quantity, QUANTITY_DIGITS))
            }
            // The order is counted at its first line.
            Rate::PerOrder { .. } => Ok(i128::from(self.matched.lines.is_empty())),
            Rate::PerProduct { .. } => {
                let sku = sale.purchase.lines.get(line).map_or("", |goods| goods.sku.as_str());
                Ok(i128::from(!sku.is_empty() && !self.products.contains(sku)))
            }
        }
    }

    /// What the rule would give for a line, to compare rules by; 0 where they are not compared.
    fn gives(&self, sale: &Sale<'a>, line: usize) -> Result<Ratio, Overflow> {
        let Some(factor) = self.factor else { return Ok(Ratio::ZERO) };
        let count = if self.is_per_order() { 1 } else { self.count(sale, line)? };
        factor.for_line(count, self.matched.rule.rounding.stage)
    }

    /// Counts a line if the rule matches it.
    fn take(&mut self, sale: &Sale<'a>, line: usize) -> Result<(), Overflow> {
        if !self.matches(sale, line) {
            return Ok(());
        }
        let count = self.count(sale, line)?;
        if self.is_per_order() {
            self.matched.lines.push(Counted { line, count, weight: sale.bases.lines[line].amount });
        } else if count > 0 {
            self.matched.lines.push(Counted { line, count, weight: count });
            if matches!(self.matched.rule.rate, Rate::PerProduct { .. }) {
                self.products.insert(&sale.purchase.lines[line].sku);
            }
        }
        Ok(())
    }
}

/// Whether a line meets the conditions. `labelled`: as [`is_labelled`] says.
fn passes(filter: &Filter, labelled: bool, sku: &str, category: &str, labels: &[String]) -> bool {
    (filter.skus.is_empty() || filter.skus.contains(sku))
        && (filter.categories.is_empty() || filter.categories.contains(category))
        && (labelled || has_label(&filter.labels, labels))
        && (filter.excluded_skus.is_empty() || !filter.excluded_skus.contains(sku))
        && (filter.excluded_categories.is_empty() || !filter.excluded_categories.contains(category))
        && (filter.excluded_labels.is_empty() || !has_label(&filter.excluded_labels, labels))
}

/// The filter asks for no label, or the purchase has it: then each of its lines has it.
pub(super) fn is_labelled(filter: &Filter, purchase: &Purchase) -> bool {
    filter.labels.is_empty() || has_label(&filter.labels, &purchase.labels)
}

/// Whether a line that earns meets the conditions; shipping and tip, which are no goods, where none asks for goods.
pub(super) fn passes_line(filter: &Filter, labelled: bool, sale: &Sale<'_>, line: usize) -> bool {
    match sale.purchase.lines.get(line) {
        Some(goods) => sale.bases.lines[line].earns && passes(filter, labelled, &goods.sku, &goods.category, &goods.labels),
        None => passes(filter, labelled, "", "", &[]),
    }
}

/// Whether a line of a purchase may meet the conditions, or its shipping or tip.
pub(super) fn may_pass(filter: &Filter, purchase: &Purchase) -> bool {
    let labelled = is_labelled(filter, purchase);
    let has_more = !purchase.shipping.is_zero() || !purchase.tip.is_zero();
    (has_more && passes(filter, labelled, "", "", &[]))
        || purchase.lines.iter().any(|line| passes(filter, labelled, &line.sku, &line.category, &line.labels))
}

/// Whether the purchase as a whole meets the conditions.
fn applies(filter: &Filter, sale: &Sale<'_>) -> Result<bool, Overflow> {
    Ok(may_apply(filter, sale.purchase, sale.local_time)
        && (filter.minimum_order.is_zero() || sale.bases.total >= money::to_units(filter.minimum_order, sale.digits())?))
}

/// The same without what it must come to.
pub(super) fn may_apply(filter: &Filter, purchase: &Purchase, local_time: DateTime) -> bool {
    (filter.weekdays.is_empty() || filter.weekdays.contains(&local_time.weekday()))
        && (filter.hours.is_empty() || filter.hours.iter().any(|range| is_within(*range, local_time)))
        && (filter.stores.is_empty() || purchase.order.as_ref().is_some_and(|order| filter.stores.contains(order.store.as_str())))
        && (filter.channels.is_empty() || filter.channels.contains(&purchase.channel))
        && (filter.tenders.is_empty() || is_paid_with(filter, purchase))
        // A label of the purchase is a label of each of its lines.
        && (filter.excluded_labels.is_empty() || !has_label(&filter.excluded_labels, &purchase.labels))
}

fn is_paid_with(filter: &Filter, purchase: &Purchase) -> bool {
    purchase.tenders.iter().any(|tender| !tender.amount.is_zero() && filter.tenders.contains(&tender.kind))
}

fn is_within(range: HourRange, time: DateTime) -> bool {
    let hour = time.hour();
    if range.start < range.end { range.start <= hour && hour < range.end } else { range.start <= hour || hour < range.end }
}

fn has_label(labels: &BTreeSet<String>, found: &[String]) -> bool {
    found.iter().any(|label| labels.contains(label))
}
