//! What a purchase earns: what of it counts, which rules give on which lines, how much, and in which lots.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{self, rounding},
    domain::{EntryRef, LineKind, Purchase, TenderKind},
};
use rust_decimal::Decimal;

use super::{
    Act,
    book::{Book, Fraction, Gives, Lapse, Policy, Rounds, Rule, Waits, days_later},
    facts::{Fact, LotSaid, PromotionSaid},
    months::Months,
    prices::Effect,
    promotions::{self, Promoted, Share, Shares, There},
    units,
};

/// Fractions that wait are kept in parts of this.
const PLACES: i128 = 1_000_000_000_000;
const NONE: Fraction = Fraction { over: 0, under: 1 };

/// What a purchase has earned, as it was reckoned at the sale.
#[derive(Debug, Clone)]
pub struct Earned {
    pub points: i64,
    pub qualifying: i64,
    pub basis: i128,
    /// Share of the order discount and basis, of each line, of shipping and of the tip.
    pub lines: Vec<(i128, i128)>,
    pub awards: Vec<Award>,
    pub lots: Vec<EarnedLot>,
    pub tier: Option<String>,
    pub multiplier: Fraction,
    /// What waits afterwards.
    pub fractions: Vec<(Option<String>, i128)>,
    /// What counted towards caps.
    pub given: Vec<(String, Option<Date>, i64)>,
    /// The fraction of the whole order that came in.
    pub order_fraction: i128,
    pub promoted: Vec<Promoted>,
    /// Purchases of the member before it.
    pub visits: u64,
    /// The segments that the member was in before it.
    pub segments: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Award {
    /// Place in the rule book.
    pub rule: usize,
    pub lines: Vec<usize>,
    pub points: i64,
    pub qualifying: i64,
    /// What the rule saw.
    pub seen: Seen,
}

/// What a rule sees of the member's past.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub fraction: i128,
    pub cap_left: Option<i64>,
    pub had_once: bool,
}

#[derive(Debug, Clone)]
pub struct EarnedLot {
    pub said: LotSaid,
    pub policy: Policy,
}

/// A rule, and what it counts on which lines.
#[derive(Debug, Clone)]
pub struct Match {
    pub rule: usize,
    pub lines: Vec<(usize, i128)>,
    pub seen: Seen,
}

impl Match {
    fn count(&self) -> i128 {
        self.lines.iter().map(|(_, count)| count).sum()
    }
}

impl Earned {
    /// `standing`: the tier that the member has then.
    pub fn fact(&self, book: &Book, standing: Option<String>, redemptions: Vec<EntryRef>, paid: (Arc<Purchase>, Vec<Effect>)) -> Fact {
        let money = |units: i128| Decimal::from_i128_with_scale(units, book.digits);
        let award = |award: &Award| (book.rules[award.rule].id.clone(), award.points, award.qualifying);
        Fact::Accrued {
            points: self.points,
            qualifying: self.qualifying,
            basis: money(self.basis),
            lines: self.lines.iter().map(|(share, basis)| (money(*share), money(*basis))).collect(),
            awards: self.awards.iter().map(award).collect(),
            lots: self.lots.iter().map(|lot| lot.said.clone()).collect(),
            tier: self.tier.clone(),
            standing,
            redemptions,
            promoted: self
                .promoted
                .iter()
                .map(|one| PromotionSaid {
                    promotion: book.document.promotions[one.place].promotion_id.clone(),
                    uncapped: one.uncapped,
                    points: one.points,
                    qualifying: one.qualifying,
                    limit: one.limit,
                    arm: one.arm.as_ref().map(|arm| arm.arm_id.clone()),
                })
                .collect(),
            purchase: paid.0,
            effects: paid.1,
            referral: None,
            shared: None,
        }
    }
}

/// Largest remainder; of equal ones the first. Nothing but zeros counts as equal weights.
pub fn shares(total: i128, weights: &[i128]) -> Vec<i128> {
    let sum: i128 = weights.iter().sum();
    if sum == 0 {
        return if total == 0 || weights.is_empty() { vec![0; weights.len()] } else { shares(total, &vec![1; weights.len()]) };
    }
    let mut shares: Vec<i128> = weights.iter().map(|weight| total * weight / sum).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|place| -(total * weights[*place] % sum));
    let left = total - shares.iter().sum::<i128>();
    for place in order.into_iter().take(usize::try_from(left).expect("not negative")) {
        shares[place] += 1;
    }
    shares
}

/// What of a purchase earns.
pub fn basis(book: &Book, purchase: &Purchase) -> i128 {
    bases(book, purchase).into_iter().map(|(_, basis, _)| basis).sum()
}

/// Of each line: its share of the order discount, its basis, and whether rules see it.
fn bases(book: &Book, purchase: &Purchase) -> Vec<(i128, i128, bool)> {
    let policy = book.document.basis.unwrap_or_default();
    let money = |amount: Decimal| units(amount, book.digits);
    let nets: Vec<i128> = purchase.lines.iter().map(|line| money(line.amount) - money(line.discount)).collect();
    let discounts = shares(money(purchase.order_discount), &nets);
    let (mut weights, mut goods) = (Vec::new(), Vec::new());
    for ((line, net), discount) in purchase.lines.iter().zip(&nets).zip(&discounts) {
        let paid = net - discount;
        let tax = if purchase.prices_include_tax { money(line.tax).min(paid) } else { money(line.tax) };
        let without = if purchase.prices_include_tax { paid - tax } else { paid };
        goods.push((without, tax));
        weights.extend([without, tax]);
    }
    let (shipping, tip) = (money(purchase.shipping), money(purchase.tip));
    weights.extend([shipping, tip]);
    let spent = purchase.tenders.iter().filter(|tender| matches!(tender.kind, TenderKind::Points | TenderKind::Voucher));
    let spent: i128 = if policy.include_points_and_vouchers { 0 } else { spent.map(|tender| money(tender.amount)).sum() };
    let off = shares(spent, &weights);
    let mut lines = Vec::new();
    for (place, line) in purchase.lines.iter().enumerate() {
        let tax = if policy.include_tax { goods[place].1 - off[2 * place + 1] } else { 0 };
        let earns = line.kind == LineKind::Goods || policy.include_gift_cards;
        lines.push((discounts[place], if earns { goods[place].0 - off[2 * place] + tax } else { 0 }, earns));
    }
    let extra = weights.len() - 2;
    for (place, included) in [(extra, policy.include_shipping), (extra + 1, policy.include_tips)] {
        if included && weights[place] > 0 {
            lines.push((0, weights[place] - off[place], true));
        }
    }
    lines
}

/// Whether the rule asks for such a purchase.
fn asks_for(book: &Book, rule: &Rule, purchase: &Purchase, occurred_time: Timestamp, basis: i128) -> bool {
    filter_asks(book, &rule.document.filter.clone().unwrap_or_default(), purchase, occurred_time) && basis >= rule.minimum_order
}

/// The same without what it must come to.
pub fn filter_asks(book: &Book, filter: &v1::Filter, purchase: &Purchase, occurred_time: Timestamp) -> bool {
    let local = book.zone.to_datetime(occurred_time);
    let weekday = i32::from(local.weekday().to_monday_one_offset());
    let hour = i32::from(local.hour());
    let in_hours = |range: &v1::HourRange| match range.start_hour < range.end_hour {
        true => range.start_hour <= hour && hour < range.end_hour,
        false => range.start_hour <= hour || hour < range.end_hour,
    };
    let kind = |kind: TenderKind| match kind {
        TenderKind::Cash => v1::tender::Kind::Cash,
        TenderKind::Card => v1::tender::Kind::Card,
        TenderKind::StoreCard => v1::tender::Kind::StoreCard,
        TenderKind::GiftCard => v1::tender::Kind::GiftCard,
        TenderKind::Points => v1::tender::Kind::Points,
        TenderKind::Voucher => v1::tender::Kind::Voucher,
        TenderKind::Other => v1::tender::Kind::Other,
    };
    let paid = |wanted: i32| purchase.tenders.iter().any(|it| it.amount > Decimal::ZERO && i32::from(kind(it.kind)) == wanted);
    let store = purchase.order.as_ref().map_or("", |order| order.store.as_str());
    (filter.store_ids.is_empty() || filter.store_ids.iter().any(|id| id == store))
        && (filter.channels.is_empty() || filter.channels.contains(&purchase.channel))
        && (filter.tenders.is_empty() || filter.tenders.iter().any(|wanted| paid(*wanted)))
        && !filter.excluded_labels.iter().any(|label| purchase.labels.contains(label))
        && (filter.weekdays.is_empty() || filter.weekdays.contains(&weekday))
        && (filter.hours.is_empty() || filter.hours.iter().any(in_hours))
}

/// Whether the rule asks for such a line; of shipping and tip only amounts count.
pub fn asks_for_line(rule: &Rule, purchase: &Purchase, line: usize) -> bool {
    let is_goods = line < purchase.lines.len();
    (is_goods || matches!(rule.gives, Gives::Amount { .. }))
        && filter_takes(&rule.document.filter.clone().unwrap_or_default(), purchase, line)
}

/// Whether such a line, or shipping or tip, is asked for.
pub fn filter_takes(filter: &v1::Filter, purchase: &Purchase, line: usize) -> bool {
    let goods = purchase.lines.get(line);
    let (sku, category) = goods.map_or(("", ""), |goods| (&*goods.sku, &*goods.category));
    let own = goods.map_or(&[][..], |goods| &goods.labels);
    let has = |text: &str, list: &[String]| list.iter().any(|item| item == text);
    let labelled = |list: &[String]| own.iter().any(|label| has(label, list));
    (filter.skus.is_empty() || has(sku, &filter.skus))
        && (filter.categories.is_empty() || has(category, &filter.categories))
        && (filter.labels.is_empty() || labelled(&filter.labels) || purchase.labels.iter().any(|label| has(label, &filter.labels)))
        && !has(sku, &filter.excluded_skus)
        && !has(category, &filter.excluded_categories)
        && !labelled(&filter.excluded_labels)
}

/// What a rule counts on a line, if it is the first line of its goods.
fn count(rule: &Rule, purchase: &Purchase, line: usize, basis: i128, is_first: bool) -> i128 {
    match rule.gives {
        Gives::Amount { .. } => basis,
        Gives::Unit => purchase.lines.get(line).map_or(0, |goods| units(goods.quantity, 3)),
        Gives::Order | Gives::Product => i128::from(is_first),
    }
}

/// The SKU, where there is one, of a rule that counts products: each counts once.
fn is_new_product(purchase: &Purchase, line: usize, counted: &[(usize, i128)]) -> bool {
    let sku = &purchase.lines[line].sku;
    !sku.is_empty() && !counted.iter().any(|(other, _)| purchase.lines[*other].sku == *sku)
}

fn take(rule: &Rule, purchase: &Purchase, line: usize, basis: i128, counted: &mut Vec<(usize, i128)>) {
    let is_first = match rule.gives {
        Gives::Product => is_new_product(purchase, line, counted),
        Gives::Amount { .. } | Gives::Unit | Gives::Order => counted.is_empty(),
    };
    let count = count(rule, purchase, line, basis, is_first);
    if count > 0 || matches!(rule.gives, Gives::Order) {
        counted.push((line, count));
    }
}

/// Points for a count; blocks count whole, or by their part where rules are compared line by line.
pub fn exact(rule: &Rule, multiplier: Fraction, count: i128, whole_blocks: bool) -> Fraction {
    let times = match rule.gives {
        Gives::Amount { amount, blocks: true } if whole_blocks => Fraction::new(count / amount, 1),
        Gives::Amount { amount, .. } => Fraction::new(count, amount),
        Gives::Unit => Fraction::new(count, 1_000),
        Gives::Order | Gives::Product => Fraction::new(count, 1),
    };
    let multiplier = if rule.document.without_tier_multiplier { Fraction { over: 1, under: 1 } } else { multiplier };
    times.times(rule.points).times(multiplier)
}

/// The rules that give something, with what each counts.
fn matches(book: &Book, purchase: &Purchase, time: Timestamp, lines: &[(i128, i128, bool)], multiplier: Fraction) -> Vec<Match> {
    let basis: i128 = lines.iter().map(|(_, basis, _)| basis).sum();
    let mut counted: Vec<Vec<(usize, i128)>> = vec![Vec::new(); book.rules.len()];
    let asked: Vec<usize> = (0..book.rules.len()).filter(|place| asks_for(book, &book.rules[*place], purchase, time, basis)).collect();
    let combination = book.document.combination();
    let mut order = asked.clone();
    order.sort_by_key(|place| book.rules[*place].document.priority);
    let per_order = |place: &usize| matches!(book.rules[*place].gives, Gives::Order);
    for (line, (_, on_line, earns)) in lines.iter().enumerate() {
        let wants = |place: usize| *earns && asks_for_line(&book.rules[place], purchase, line);
        let take = |place: usize, counted: &mut Vec<Vec<(usize, i128)>>| {
            take(&book.rules[place], purchase, line, *on_line, &mut counted[place]);
        };
        if matches!(combination, v1::Combination::Sum | v1::Combination::Unspecified) {
            asked.iter().filter(|place| wants(**place)).for_each(|place| take(*place, &mut counted));
            continue;
        }
        order.iter().filter(|place| per_order(place) && wants(**place)).for_each(|place| take(*place, &mut counted));
        let mut best: Option<(usize, Fraction)> = None;
        for place in order.iter().copied().filter(|place| !per_order(place) && wants(*place)) {
            let rule = &book.rules[place];
            let is_first = !matches!(rule.gives, Gives::Product) || is_new_product(purchase, line, &counted[place]);
            let count = count(rule, purchase, line, *on_line, is_first);
            let gives = exact(rule, multiplier, count, rule.rounds.stage == rounding::Stage::Line);
            let is_better = combination == v1::Combination::Best && best.is_some_and(|(_, most)| gives.is_more_than(most));
            if best.is_none() || is_better {
                best = Some((place, gives));
            }
        }
        if let Some((place, _)) = best {
            take(place, &mut counted);
        }
    }
    if !matches!(combination, v1::Combination::Sum | v1::Combination::Unspecified) {
        keep_one_per_order(book, &order, multiplier, &mut counted);
    }
    let found = counted.into_iter().enumerate().filter(|(_, lines)| !lines.is_empty());
    found.map(|(rule, lines)| Match { rule, lines, seen: Seen::default() }).collect()
}

/// Of the rules per order that give something the first, or the one that gives most.
fn keep_one_per_order(book: &Book, order: &[usize], multiplier: Fraction, counted: &mut [Vec<(usize, i128)>]) {
    let mut kept: Option<(usize, Fraction)> = None;
    for place in order.iter().copied() {
        if !matches!(book.rules[place].gives, Gives::Order) || counted[place].is_empty() {
            continue;
        }
        let gives = exact(&book.rules[place], multiplier, 1, true);
        let best = book.document.combination() == v1::Combination::Best;
        match kept {
            Some((_, most)) if !best || !gives.is_more_than(most) => counted[place].clear(),
            Some((loser, _)) => {
                counted[loser].clear();
                kept = Some((place, gives));
            }
            None => kept = Some((place, gives)),
        }
    }
}

/// The whole number, and the fraction that waits.
pub fn rounded(exact: Fraction, rounds: Rounds, fraction: i128) -> (i64, i128) {
    let (whole, rest) = (exact.over / exact.under, exact.over % exact.under);
    let number = |number: i128| i64::try_from(number).expect("it fits");
    if rounds.carry {
        let part = (rest * PLACES + exact.under - 1) / exact.under + fraction;
        return (number(whole + part / PLACES), part % PLACES);
    }
    let up = match rounds.mode {
        rounding::Mode::Unspecified => panic!("a mode is named"),
        rounding::Mode::Floor => false,
        rounding::Mode::HalfUp => 2 * rest >= exact.under,
        rounding::Mode::HalfEven => 2 * rest > exact.under || (2 * rest == exact.under && whole % 2 == 1),
        rounding::Mode::Ceiling => rest > 0,
    };
    (number(whole + i128::from(up)), 0)
}

/// Minimum, maximum, cap, once, in this order.
fn limited(rule: &Rule, seen: &Seen, points: i64) -> i64 {
    let points = if points > 0 { points.max(rule.minimum.unwrap_or(0)) } else { points };
    let points = points.min(rule.maximum.unwrap_or(i64::MAX));
    let points = points.min(seen.cap_left.unwrap_or(i64::MAX));
    if rule.once && seen.had_once { 0 } else { points }
}

/// What the rules give, and the fractions that wait afterwards.
#[derive(Default)]
pub struct Priced {
    pub points: Vec<i64>,
    pub fractions: Vec<(Option<String>, i128)>,
}

pub fn price(book: &Book, matches: &[Match], multiplier: Fraction, order_fraction: i128) -> Priced {
    let mut priced = Priced::default();
    let mut together: Vec<(usize, Fraction)> = Vec::new();
    for (place, found) in matches.iter().enumerate() {
        let rule = &book.rules[found.rule];
        let by_line = rule.rounds.stage == rounding::Stage::Line && !matches!(rule.gives, Gives::Order);
        if rule.rounds.stage == rounding::Stage::Order {
            together.push((place, exact(rule, multiplier, found.count(), true)));
            priced.points.push(0);
            continue;
        }
        let counts: Vec<i128> = if by_line { found.lines.iter().map(|(_, count)| *count).collect() } else { vec![found.count()] };
        let (mut points, mut fraction) = (0, if rule.rounds.carry { found.seen.fraction } else { 0 });
        for count in counts {
            let (whole, rest) = rounded(exact(rule, multiplier, count, true), rule.rounds, fraction);
            points += whole;
            fraction = rest;
        }
        if rule.rounds.carry {
            priced.fractions.push((Some(rule.id.clone()), fraction));
        }
        priced.points.push(limited(rule, &found.seen, points));
    }
    if !together.is_empty() {
        let sum = together.iter().fold(NONE, |sum, (_, exact)| sum.plus(*exact));
        let (points, rest) = rounded(sum, book.rounds, if book.rounds.carry { order_fraction } else { 0 });
        let weights: Vec<i128> = together.iter().map(|(_, exact)| (2 * exact.over * PLACES / exact.under + 1) / 2).collect();
        for ((place, _), share) in together.iter().zip(shares(points.into(), &weights)) {
            priced.points[*place] = i64::try_from(share).expect("it fits");
        }
        if book.rounds.carry {
            priced.fractions.push((None, rest));
        }
    }
    priced
}

/// What the purchase earns by the rule book and tier of its time.
pub fn earn(act: &Act<'_>, book: &Book, purchase: &Purchase, occurred_time: Timestamp) -> Earned {
    let lines = bases(book, purchase);
    let before = act.account.place_at(book, occurred_time);
    let earned = earn_at(act, book, purchase, occurred_time, &lines, before);
    if book.document.tier_policy.unwrap_or_default().rate_tier() != v1::tier_policy::RateTier::After {
        return earned;
    }
    let (points, spend, visits) = act.totals_of(book, book.date(occurred_time));
    let totals = (points + earned.qualifying, spend + earned.basis, visits + 1);
    let after = act.reached(book, totals).max(before);
    if after == before { earned } else { earn_at(act, book, purchase, occurred_time, &lines, after) }
}

fn earn_at(act: &Act<'_>, book: &Book, purchase: &Purchase, time: Timestamp, lines: &[(i128, i128, bool)], tier: usize) -> Earned {
    let one = Fraction { over: 1, under: 1 };
    let multiplier = book.tiers.get(tier).map_or(one, |tier| tier.multiplier);
    let multiplier = multiplier.times(act.account.birthday_multiplier(time).unwrap_or(one));
    let mut found = matches(book, purchase, time, lines, multiplier);
    for found in &mut found {
        found.seen = seen(act, book, &book.rules[found.rule], time);
    }
    let order_fraction = act.account.fractions.get(&None).copied().unwrap_or(0);
    let priced = price(book, &found, multiplier, order_fraction);
    let policy = book.document.tier_policy.unwrap_or_default();
    let unmultiplied = policy.qualifying_basis() == v1::tier_policy::QualifyingBasis::Unmultiplied && multiplier != one;
    let counts = if unmultiplied { price(book, &found, one, order_fraction).points } else { priced.points.clone() };
    let mut earned = Earned {
        points: priced.points.iter().sum(),
        qualifying: 0,
        basis: lines.iter().map(|(_, basis, _)| basis).sum(),
        lines: lines.iter().map(|(share, basis, _)| (*share, *basis)).collect(),
        awards: Vec::new(),
        lots: Vec::new(),
        tier: book.tiers.get(tier).map(|tier| tier.id.clone()),
        multiplier,
        fractions: priced.fractions,
        given: Vec::new(),
        order_fraction,
        promoted: Vec::new(),
        visits: act.account.visits,
        segments: act.account.segments_at_sale(time),
    };
    let mut next = act.account.last_lot + 1;
    let mut rules = Vec::new();
    let in_sum = found.iter().filter(|found| book.rules[found.rule].rounds.stage == rounding::Stage::Order).count();
    for (place, found) in found.into_iter().enumerate() {
        let (rule, points) = (&book.rules[found.rule], priced.points[place]);
        let qualifying = if rule.document.without_qualifying { 0 } else { counts[place] };
        earned.qualifying += qualifying;
        if points > 0 {
            note_given(&mut earned, book, rule, time, points);
            let later = if policy.qualify_pending { 0 } else { qualifying };
            let policies = (book.expiry_in(tier, rule.expiry), rule.waits);
            into_lot(&mut earned.lots, (book, &act.account.months, act.most_now(), act.now), policies, time, (points, later), &mut next);
        }
        let lines: Vec<usize> = found.lines.iter().map(|(line, _)| *line).collect();
        let part = (in_sum > 1 && rule.rounds.stage == rounding::Stage::Order).then_some((points, qualifying));
        rules.push(Share { rule: found.rule, stood_on: lines.clone(), counts: found.lines.clone(), points, qualifying, part });
        earned.awards.push(Award { rule: found.rule, lines, points, qualifying, seen: found.seen });
    }
    let units = |line: usize| promotions::sold_units(purchase, line);
    let there = There {
        purchase,
        time,
        lines: lines.iter().enumerate().map(|(line, (_, basis, earns))| (*basis, units(line), *earns)).collect(),
        goods: vec![true; purchase.lines.len()],
        visits: act.account.visits,
        segments: act.account.segments_at_sale(time),
        only_extras: false,
    };
    let shares = Shares { rules, multiplier, counting: if unmultiplied { one } else { multiplier } };
    promotions::promote(act, book, &there, &shares, &mut earned, &mut next);
    earned
}

fn seen(act: &Act<'_>, book: &Book, rule: &Rule, time: Timestamp) -> Seen {
    let given = |period: Option<Date>| act.account.given.get(&(rule.id.clone(), period)).copied().unwrap_or(0);
    Seen {
        fraction: act.account.fractions.get(&Some(rule.id.clone())).copied().unwrap_or(0),
        cap_left: rule.cap.map(|(cap, period)| (cap - given(book.period(book.date(time), period))).max(0)),
        had_once: given(None) > 0,
    }
}

fn note_given(earned: &mut Earned, book: &Book, rule: &Rule, time: Timestamp, points: i64) {
    let period = rule.cap.map(|(_, period)| book.period(book.date(time), period));
    let ever = (rule.once && period != Some(None)).then_some(None);
    for period in period.into_iter().chain(ever) {
        earned.given.push((rule.id.clone(), period, points));
    }
}

/// Points that can be spent and lapse at the same time share a lot; of those that wait for a confirmation also the policy is the same.
pub fn into_lot(
    lots: &mut Vec<EarnedLot>,
    (book, months, most, now): (&Book, &Months, i32, Timestamp),
    (policy, waits): (Policy, Waits),
    time: Timestamp,
    (points, later): (i64, i64),
    next: &mut u64,
) {
    let from_activation = matches!(policy, Policy::Days { from_activation: true, .. } | Policy::Months { from_activation: true, .. });
    let (until, lapse) = match waits {
        Waits::No => (None, book.lapse(policy, time, time)),
        Waits::Days(days) => {
            let active = book.dawn(days_later(book.date(time), days));
            (Some(Some(active)), book.lapse(policy, time, active))
        }
        Waits::Confirmation if from_activation => (Some(None), Lapse::Never),
        Waits::Confirmation => (Some(None), book.lapse(policy, time, time)),
    };
    let lapse = months.lapse_told(book, most, lapse, now);
    let same = |lot: &&mut EarnedLot| {
        lot.said.lapse == lapse && lot.said.waits.map(|(until, _)| until) == until && (until != Some(None) || lot.policy == policy)
    };
    if let Some(lot) = lots.iter_mut().find(same) {
        lot.said.points += points;
        if let Some((_, qualifying)) = &mut lot.said.waits {
            *qualifying += later;
        }
        return;
    }
    let said = LotSaid { id: *next, points, lapse, debt_paid: 0, waits: until.map(|until| (until, later)) };
    lots.push(EarnedLot { said, policy });
    *next += 1;
}
