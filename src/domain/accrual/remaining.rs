//! What is left of an accrual when a part of the purchase has come back: each award of the sale is reckoned again on what remains, with the
//! rules, the tier, the carried fractions and the caps of then. No award grows by that, and none begins: so the points of several
//! partial returns sum to those of a single one, whatever their order.

use std::collections::HashSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Sale, Seen,
    basis::{Bases, Basis},
    limits,
    matching::{self, Counted, Matched, QUANTITY_DIGITS},
    multiplied,
    pricing::{self, Factor, Prices},
    promotions::{self, RuleShare, Shares},
};
use crate::domain::{
    Accrual, AccrualRule, Award, Header, LimitKind, Line, LineKind, Overflow, Points, Program, Purchase, Rate, Rejection, RestOfPromotion,
    ReturnRequest, ReturnTotals, Tallies, calendar, money,
};

/// What the rest of a purchase would have earned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) struct Remaining {
    pub points: Points,
    pub qualifying_points: Points,
    pub basis: Decimal,
    /// Points of each award of the sale.
    pub awards: Vec<Points>,
    /// Of each promotion of the sale.
    pub promotions: Vec<RestOfPromotion>,
    /// Value of the goods that have come back, and of all, in the currency's smallest unit.
    pub returned_value: i128,
    pub value: i128,
    /// No goods are left.
    pub is_void: bool,
    /// Neither goods nor shipping nor tip are left.
    pub is_all: bool,
}

/// `program` is the version of the rule book that the accrual was made under.
pub(in crate::domain) fn remaining(
    program: &Program,
    purchase: &Purchase,
    accrual: &Accrual,
    occurred_time: Timestamp,
    returned: &ReturnTotals,
) -> Result<Remaining, Rejection> {
    let rest = Rest::of(program, purchase, accrual, returned)?;
    let header = header_then(program, accrual, occurred_time)?;
    let local_time = program.time_zone.to_datetime(occurred_time);
    // What is left is bounded by what was given, and by nothing else.
    let tallies = Tallies::new();
    let seen = Seen { member: None, birth_date: None, tallies: &tallies, now: occurred_time, inactivity: None };
    let sale = Sale { program, header: &header, seen, purchase, occurred_time, local_time, bases: rest.bases(program, accrual)? };
    let of_tier = program.tier(accrual.tier.as_ref()).map_or(Decimal::ONE, |tier| tier.multiplier);
    let multiplier = multiplied(of_tier, accrual.birthday_multiplier)?;
    let (mut places, mut matched) = (Vec::new(), Vec::new());
    for (place, award) in accrual.awards.iter().enumerate() {
        if let Some(still) = still_matched(&sale, &rest, award)? {
            places.push(place);
            matched.push(still);
        }
    }
    let shares = left_of_rules(&sale, accrual, (&places, &matched), multiplier)?;
    let mut awards = vec![Points::ZERO; accrual.awards.len()];
    for (place, share) in places.iter().zip(&shares.rules) {
        awards[*place] = share.points;
    }
    let counts = Points::total(shares.rules.iter().map(|rule| rule.counts))?;
    let promotions = promotions::promotions_left(&sale, &rest, accrual, &shares)?;
    let given = awards.iter().copied().chain(promotions.iter().map(|left| left.points));
    Ok(Remaining {
        points: Points::total(given)?,
        qualifying_points: counts.plus(Points::total(promotions.iter().map(|left| left.qualifying_points))?)?,
        basis: money::from_units(sale.bases.total, program.currency.digits())?,
        awards,
        promotions,
        returned_value: rest.value - rest.left(),
        value: rest.value,
        is_void: rest.is_void(),
        is_all: rest.whole || (rest.goods_gone && purchase.shipping.is_zero() && purchase.tip.is_zero()),
    })
}

/// What is left of each rule's award that still stands: `places` are those of `matched` in the sale.
fn left_of_rules<'s, 'a>(
    sale: &Sale<'_>,
    accrual: &'s Accrual,
    (places, matched): (&[usize], &'s [Matched<'a>]),
    multiplier: Decimal,
) -> Result<Shares<'s, 'a>, Overflow> {
    let awards: Vec<&'s Award> = places.iter().map(|place| &accrual.awards[*place]).collect();
    let sold = accrual.awards.iter().filter_map(|award| sale.program.rules.iter().find(|rule| rule.id == award.rule));
    let together: Vec<&AccrualRule> = sold.filter(|rule| pricing::is_together(rule)).collect();
    let prices = pricing::prices(sale, matched, multiplier)?;
    let unmultiplied = match sale.program.tier_policy.qualify_unmultiplied && multiplier != Decimal::ONE {
        true => Some(pricing::prices(sale, matched, Decimal::ONE)?),
        false => None,
    };
    let counts_multiplier = if unmultiplied.is_some() { Decimal::ONE } else { multiplier };
    let most: Vec<Points> = awards.iter().map(|award| award.points).collect();
    let points = within(matched, &prices, &most)?;
    let most: Vec<Points> = awards.iter().map(|award| award.qualifying_points).collect();
    let mut counts = within(matched, unmultiplied.as_ref().unwrap_or(&prices), &most)?;
    if together.iter().any(|rule| rule.qualifying) && together.iter().any(|rule| !rule.qualifying) {
        // The part of their sum that counts for tiers is nobody's but by the shares, which may grow: each counts as if it were rounded alone.
        for ((counts, matched), most) in counts.iter_mut().zip(matched).zip(&most).filter(|((_, of), _)| pricing::is_together(of.rule)) {
            let factor = Factor::new(matched.rule, sale.program, counts_multiplier)?;
            *counts = pricing::rounded(matched.rule, factor, matched.lines.iter().map(|line| line.count))?.min(*most);
        }
    }
    let mut rules = Vec::with_capacity(matched.len());
    for (((matched, award), points), counts) in matched.iter().zip(awards).zip(points).zip(counts) {
        let is_shared = together.len() > 1 && pricing::is_together(matched.rule);
        let share = is_shared.then_some((award.points, award.qualifying_points));
        rules.push(RuleShare { matched, points, counts, sold: Some(&award.lines), share });
    }
    Ok(Shares { rules, multiplier, counts_multiplier })
}

/// What rules give now, none more than it gave. Of those that are rounded together one's share may grow when something of another one comes back:
/// what that bound leaves of their sum stays with the others, so that the sum is what it is after one return of all of that.
fn within(matched: &[Matched<'_>], prices: &Prices, most: &[Points]) -> Result<Vec<Points>, Overflow> {
    let mut left: Vec<Points> = prices.rules.iter().zip(most).map(|(price, most)| price.points.min(*most)).collect();
    let Some((sum, _)) = &prices.order else { return Ok(left) };
    let together: Vec<usize> = (0..matched.len()).filter(|index| pricing::is_together(matched[*index].rule)).collect();
    let mut missing = sum.rounded.minus(Points::total(together.iter().map(|index| left[*index]))?)?;
    for index in together {
        let more = missing.min(most[index].minus(left[index])?);
        left[index] = left[index].plus(more)?;
        missing = missing.minus(more)?;
    }
    Ok(left)
}

impl Remaining {
    /// Of no promotion more is left than there was.
    pub fn bound(&mut self, before: impl IntoIterator<Item = (usize, RestOfPromotion)>) -> Result<(), Overflow> {
        for (place, before) in before {
            let Some(left) = self.promotions.get_mut(place) else { continue };
            let bound = RestOfPromotion {
                points: left.points.min(before.points),
                qualifying_points: left.qualifying_points.min(before.qualifying_points),
                stands: left.stands && before.stands,
            };
            self.points = self.points.minus(left.points.minus(bound.points)?)?;
            self.qualifying_points = self.qualifying_points.minus(left.qualifying_points.minus(bound.qualifying_points)?)?;
            *left = bound;
        }
        Ok(())
    }
}

/// Refuses a return of more than is left of the purchase after what came back before it.
pub(in crate::domain) fn check_left(
    program: &Program,
    purchase: &Purchase,
    accrual: &Accrual,
    before: &ReturnTotals,
    request: &ReturnRequest,
) -> Result<(), Rejection> {
    let digits = program.currency.digits();
    let mut rest = Rest::of(program, purchase, accrual, before)?;
    let too_large = |line, left, requested| Err(Rejection::ReturnTooLarge { line, left, requested });
    for back in &request.lines {
        let line = rest.lines.get_mut(back.line).ok_or(Rejection::ReturnLineNotFound { line: back.line })?;
        let (units, amount) = (money::to_units(back.quantity, QUANTITY_DIGITS)?, money::to_units(back.amount, digits)?);
        if units > line.quantity_left {
            let left = money::from_units(line.quantity_left, QUANTITY_DIGITS)?.normalize();
            return too_large(Some(back.line), left, back.quantity);
        }
        line.take(units, 0)?;
        if amount > line.left {
            return too_large(Some(back.line), money::from_units(line.left, digits)?, back.amount);
        }
        line.take(0, amount)?;
    }
    if money::to_units(request.amount, digits)? > rest.left() {
        return too_large(None, money::from_units(rest.left(), digits)?, request.amount);
    }
    Ok(())
}

/// What is left of the lines.
pub(super) struct Rest<'a> {
    lines: Vec<RestOfLine<'a>>,
    /// Of all lines as sold.
    value: i128,
    /// Of the whole order, beside the lines.
    amount: i128,
    whole: bool,
    /// No goods are left.
    goods_gone: bool,
}

struct RestOfLine<'a> {
    line: &'a Line,
    /// What the customer paid for it, and how much of that has not come back.
    value: i128,
    left: i128,
    /// What came back beside units.
    amount: i128,
    /// In 1/1000 of a unit.
    sold: i128,
    quantity_left: i128,
}

impl<'a> Rest<'a> {
    fn of(program: &Program, purchase: &'a Purchase, accrual: &Accrual, returned: &ReturnTotals) -> Result<Self, Rejection> {
        let digits = program.currency.digits();
        let mut lines = Vec::with_capacity(purchase.lines.len());
        for (index, line) in purchase.lines.iter().enumerate() {
            let share = accrual.line_bases.get(index).map_or(Decimal::ZERO, |basis| basis.order_discount_share);
            let value = money::to_units(line.net()?.checked_sub(share).ok_or(Overflow)?, digits)?;
            let sold = money::to_units(line.quantity, QUANTITY_DIGITS)?;
            lines.push(RestOfLine { line, value, left: value, amount: 0, sold, quantity_left: sold });
        }
        for back in &returned.lines {
            let rest = lines.get_mut(back.line).ok_or(Rejection::ReturnLineNotFound { line: back.line })?;
            rest.take(money::to_units(back.quantity, QUANTITY_DIGITS)?, money::to_units(back.amount, digits)?)?;
        }
        let value = lines.iter().map(|rest| rest.value).sum();
        // A line of no units and no price cannot come back by itself.
        let goods_gone = lines.iter().any(RestOfLine::is_gone) && lines.iter().all(|rest| rest.is_gone() || rest.is_nothing());
        Ok(Self { lines, value, amount: money::to_units(returned.amount, digits)?, whole: returned.whole, goods_gone })
    }

    fn left_of_lines(&self) -> i128 {
        self.lines.iter().map(|rest| rest.left).sum()
    }

    /// A price that was reduced before the goods come back is not taken off twice.
    fn left(&self) -> i128 {
        if self.whole { 0 } else { (self.left_of_lines() - self.amount).max(0) }
    }

    fn is_void(&self) -> bool {
        self.whole || self.goods_gone
    }

    /// What was paid for the goods that have come back.
    pub(super) fn value_back(&self) -> i128 {
        self.value - self.left()
    }

    /// What is left of an amount of a line, in the part of its value that is left.
    pub(super) fn part_of_line(&self, line: usize, amount: i128) -> Result<i128, Overflow> {
        self.lines.get(line).map_or(Ok(0), |rest| rest.part_of(amount))
    }

    /// In 1/1000 of a unit.
    pub(super) fn quantity_left(&self, line: usize) -> i128 {
        self.lines.get(line).map_or(0, |rest| rest.quantity_left)
    }

    pub(super) fn is_gone(&self, line: usize) -> bool {
        self.is_void() || self.lines.get(line).is_some_and(RestOfLine::is_gone)
    }

    /// The amount of a line has come back: shipping and tip stay until the whole sale comes back.
    pub(super) fn is_amount_gone(&self, line: usize) -> bool {
        if line < self.lines.len() { self.is_gone(line) } else { self.whole }
    }

    /// Each line's basis in the part of its value that is left, a half up; an amount for the order is taken from all alike.
    fn bases(&self, program: &Program, accrual: &Accrual) -> Result<Bases, Overflow> {
        let (digits, include_gift_cards) = (program.currency.digits(), program.basis.include_gift_cards);
        let left = self.left_of_lines();
        let mut lines = Vec::with_capacity(accrual.line_bases.len());
        for (index, basis) in accrual.line_bases.iter().enumerate() {
            let sold = money::to_units(basis.basis, digits)?;
            let amount = match self.lines.get(index) {
                _ if self.whole => 0,
                Some(_) if self.is_gone(index) => 0,
                Some(rest) => {
                    let amount = rest.part_of(sold)?;
                    if self.amount > 0 && left > 0 { part(amount, self.left(), left)? } else { amount }
                }
                // Shipping and tip stay until the whole sale comes back.
                None => sold,
            };
            let is_gift_card = self.lines.get(index).is_some_and(|rest| rest.line.kind == LineKind::GiftCard);
            let earns = include_gift_cards || !is_gift_card;
            lines.push(Basis { earns, amount, order_discount_share: 0, tender_share: 0 });
        }
        let total = lines.iter().try_fold(0i128, |total, line| total.checked_add(line.amount)).ok_or(Overflow)?;
        Ok(Bases { lines, total })
    }
}

impl RestOfLine<'_> {
    fn take(&mut self, units: i128, amount: i128) -> Result<(), Overflow> {
        self.quantity_left = self.quantity_left.checked_sub(units).ok_or(Overflow)?;
        self.amount = self.amount.checked_add(amount).ok_or(Overflow)?;
        let units_back = self.sold - self.quantity_left;
        let value_back = if units_back == 0 { 0 } else { part(self.value, units_back, self.sold)? };
        // Units whose price was reduced before are worth less when they come back.
        self.left = (self.value - value_back).checked_sub(self.amount).ok_or(Overflow)?.max(0);
        Ok(())
    }

    /// All units have come back, or all that was paid for it.
    fn is_gone(&self) -> bool {
        (self.sold > 0 && self.quantity_left == 0) || (self.amount > 0 && self.left == 0)
    }

    fn is_nothing(&self) -> bool {
        self.sold == 0 && self.value == 0
    }

    fn part_of(&self, basis: i128) -> Result<i128, Overflow> {
        if self.value == 0 { Ok(basis) } else { part(basis, self.left, self.value) }
    }
}

/// amount x numerator / denominator, a half up; none of them negative.
fn part(amount: i128, numerator: i128, denominator: i128) -> Result<i128, Overflow> {
    let product = amount.checked_mul(numerator).and_then(|product| product.checked_mul(2)).ok_or(Overflow)?;
    Ok(product.checked_add(denominator).ok_or(Overflow)? / (2 * denominator))
}

/// An award on what is left of its lines; `None`: its condition is lost.
fn still_matched<'a>(sale: &Sale<'a>, rest: &Rest<'_>, award: &Award) -> Result<Option<Matched<'a>>, Overflow> {
    // A published version never changes, so it has the rule.
    let Some(rule) = sale.program.rules.iter().find(|rule| rule.id == award.rule) else { return Ok(None) };
    if sale.bases.total < money::to_units(rule.filter.minimum_order, sale.digits())? {
        return Ok(None);
    }
    let products = match rule.rate {
        Rate::PerProduct { .. } => products_left(sale, rest, rule),
        Rate::PerAmount { .. } | Rate::PerUnit { .. } | Rate::PerOrder { .. } => HashSet::new(),
    };
    let mut lines = Vec::with_capacity(award.lines.len());
    for line in &award.lines {
        let amount = sale.bases.lines.get(line.line).map_or(0, |basis| basis.amount);
        let count = match rule.rate {
            Rate::PerAmount { .. } => amount,
            Rate::PerUnit { .. } if rest.is_gone(line.line) => 0,
            Rate::PerUnit { .. } => rest.lines.get(line.line).map_or(0, |rest| rest.quantity_left),
            Rate::PerProduct { .. } => {
                let sku = sale.purchase.lines.get(line.line).map_or("", |sold| sold.sku.as_str());
                i128::from(products.contains(sku) || !rest.is_gone(line.line))
            }
            Rate::PerOrder { .. } => i128::from(lines.is_empty()),
        };
        let stays = match rule.rate {
            Rate::PerOrder { .. } => !rest.is_gone(line.line),
            Rate::PerAmount { .. } | Rate::PerUnit { .. } | Rate::PerProduct { .. } => count > 0,
        };
        if stays {
            let weight = if matches!(rule.rate, Rate::PerOrder { .. }) { amount } else { count };
            lines.push(Counted { line: line.line, count, weight });
        }
    }
    Ok((!lines.is_empty()).then_some(Matched { rule, lines }))
}

/// The products of which something is left on a line that the rule counts: of one that was sold on several lines the award stands at one
/// of them.
fn products_left<'a>(sale: &Sale<'a>, rest: &Rest<'_>, rule: &'a AccrualRule) -> HashSet<&'a str> {
    let left = |index: &usize| !rest.is_gone(*index) && matching::is_counted(rule, sale, *index);
    (0..sale.purchase.lines.len()).filter(left).map(|index| sale.purchase.lines[index].sku.as_str()).collect()
}

/// What the rules saw of the member then: the fractions that waited, and what was left of the caps.
fn header_then(program: &Program, accrual: &Accrual, occurred_time: Timestamp) -> Result<Header, Overflow> {
    let mut header = Header::new(occurred_time);
    if let Some(step) = &accrual.order_rounding {
        header.carries.insert(None, step.carried_in);
    }
    let date = program.time_zone.to_datetime(occurred_time).date();
    for award in &accrual.awards {
        if let Some(step) = award.roundings.first() {
            header.carries.insert(Some(award.rule.clone()), step.carried_in);
        }
        let Some(rule) = program.rules.iter().find(|rule| rule.id == award.rule) else { continue };
        for counter in accrual.counters.iter().filter(|counter| counter.rule == award.rule) {
            header.counters.insert((counter.rule.clone(), counter.period), counter.points.minus(award.points)?);
        }
        // Where nothing was left, no counter moved.
        if award.points.is_zero() {
            match (award.limit, rule.limits.cap) {
                (Some(LimitKind::Cap), Some(cap)) => {
                    header.counters.insert((rule.id.clone(), calendar::period_start(date, cap.period)), cap.points);
                }
                (Some(LimitKind::OncePerMember), _) => {
                    header.counters.insert((rule.id.clone(), None), limits::GIVEN);
                }
                _ => {}
            }
        }
    }
    Ok(header)
}
