//! Returns: what the rest of a purchase would have earned, and where what was too much is taken from.

use std::sync::Arc;

use loyaltyd::{
    contract::v1::return_policy::Shortfall,
    domain::{EntryRef, LineKind, Points, Rejection, ReturnRequest},
};
use rust_decimal::Decimal;

use super::{
    Act, Lot, Sale,
    book::{Fraction, Gives},
    earning::{self, EarnedLot, Match},
    facts::Fact,
    parts,
    promotions::{self, Share, Shares, There},
    referrals::Earning,
    units,
};

/// All that has come back of a purchase.
#[derive(Debug, Clone, Default)]
pub struct SoFar {
    /// Line, quantity in 1/1000, amount.
    lines: Vec<(usize, i128, i128)>,
    amount: i128,
    whole: bool,
    points: i64,
    qualifying: i64,
    basis: i128,
    reinstated: Vec<(EntryRef, i64)>,
    /// The least that was left of each promotion; empty before the first return.
    promoted: Vec<(i64, i64, bool)>,
}

/// What is left of a purchase, and what it would have earned.
struct Rest {
    points: i64,
    qualifying: i64,
    awards: Vec<i64>,
    promoted: Vec<(i64, i64, bool)>,
    basis: i128,
    value: i128,
    value_back: i128,
    /// No goods are left.
    is_void: bool,
    /// Nothing at all is left.
    is_all: bool,
}

impl Rest {
    fn bound(&mut self, before: &[(i64, i64, bool)]) {
        let sums = |left: &[(i64, i64, bool)]| (left.iter().map(|one| one.0).sum::<i64>(), left.iter().map(|one| one.1).sum::<i64>());
        let (points, qualifying) = sums(&self.promoted);
        promotions::least(&mut self.promoted, before);
        let (points_left, qualifying_left) = sums(&self.promoted);
        self.points -= points - points_left;
        self.qualifying -= qualifying - qualifying_left;
    }
}

struct Line {
    value: i128,
    units: i128,
    units_back: i128,
    amount_back: i128,
}

impl Line {
    /// Of what was paid for it; units whose price was reduced before are worth the less when they come back.
    fn left(&self) -> i128 {
        let units_worth = if self.units_back == 0 { 0 } else { nearest(self.value, self.units_back, self.units) };
        (self.value - units_worth - self.amount_back).max(0)
    }

    fn is_gone(&self) -> bool {
        let without_units = self.units > 0 && self.units_back == self.units;
        without_units || (self.amount_back > 0 && self.left() == 0)
    }

    fn is_nothing(&self) -> bool {
        self.units == 0 && self.value == 0
    }
}

/// What is left of the goods.
struct Goods {
    lines: Vec<Line>,
    amount_back: i128,
    whole: bool,
}

/// amount x over / under, to the nearest, a half up.
fn nearest(amount: i128, over: i128, under: i128) -> i128 {
    let part = Fraction::new(amount * over, under);
    (2 * part.over + part.under) / (2 * part.under)
}

impl SoFar {
    fn with(&self, request: &ReturnRequest, digits: u32) -> Self {
        let mut sum = self.clone();
        for back in &request.lines {
            let (quantity, amount) = (units(back.quantity, 3), units(back.amount, digits));
            match sum.lines.iter_mut().find(|(line, ..)| *line == back.line) {
                Some((_, quantity_so_far, amount_so_far)) => {
                    *quantity_so_far += quantity;
                    *amount_so_far += amount;
                }
                None => sum.lines.push((back.line, quantity, amount)),
            }
        }
        sum.lines.sort_unstable();
        sum.amount += units(request.amount, digits);
        sum.whole |= request.whole;
        sum
    }
}

impl Goods {
    fn after(sale: &Sale, back: &SoFar) -> Self {
        let digits = sale.book.digits;
        let mut goods = Self { lines: Vec::new(), amount_back: back.amount, whole: back.whole };
        for (line, (share, _)) in sale.purchase.lines.iter().zip(&sale.earned.lines) {
            let value = units(line.amount, digits) - units(line.discount, digits) - share;
            goods.lines.push(Line { value, units: units(line.quantity, 3), units_back: 0, amount_back: 0 });
        }
        for (place, quantity, amount) in &back.lines {
            goods.lines[*place].units_back = *quantity;
            goods.lines[*place].amount_back = *amount;
        }
        goods
    }

    fn left_of_lines(&self) -> i128 {
        self.lines.iter().map(Line::left).sum()
    }

    fn left(&self) -> i128 {
        if self.whole { 0 } else { (self.left_of_lines() - self.amount_back).max(0) }
    }

    fn are_gone(&self) -> bool {
        self.whole || (self.lines.iter().all(|line| line.is_gone() || line.is_nothing()) && self.lines.iter().any(Line::is_gone))
    }

    fn is_gone(&self, line: usize) -> bool {
        self.are_gone() || self.lines[line].is_gone()
    }

    /// Takes off what comes back, if so much is there: line by line, and of a line the units first.
    fn give(mut self, request: &ReturnRequest, digits: u32) -> Result<(), Rejection> {
        for back in &request.lines {
            let line = self.lines.get_mut(back.line).ok_or(Rejection::ReturnLineNotFound { line: back.line })?;
            let too_large = |left, requested| Err(Rejection::ReturnTooLarge { line: Some(back.line), left, requested });
            let there = line.units - line.units_back;
            if units(back.quantity, 3) > there {
                return too_large(Decimal::from_i128_with_scale(there, 3), back.quantity);
            }
            line.units_back += units(back.quantity, 3);
            let left = line.left();
            if units(back.amount, digits) > left {
                return too_large(Decimal::from_i128_with_scale(left, digits), back.amount);
            }
            line.amount_back += units(back.amount, digits);
        }
        let left = self.left();
        if units(request.amount, digits) > left {
            let left = Decimal::from_i128_with_scale(left, digits);
            return Err(Rejection::ReturnTooLarge { line: None, left, requested: request.amount });
        }
        Ok(())
    }
}

fn rest(sale: &Sale, back: &SoFar) -> Rest {
    let goods = Goods::after(sale, back);
    let (left_of_lines, left) = (goods.left_of_lines(), goods.left());
    let mut bases = Vec::new();
    for (place, (_, basis)) in sale.earned.lines.iter().enumerate() {
        bases.push(match goods.lines.get(place) {
            _ if goods.whole => 0,
            // Shipping and tip stay to the end.
            None => *basis,
            Some(_) if goods.is_gone(place) => 0,
            Some(line) => {
                let basis = if line.value == 0 { *basis } else { nearest(*basis, line.left(), line.value) };
                if goods.amount_back > 0 && left_of_lines > 0 { nearest(basis, left, left_of_lines) } else { basis }
            }
        });
    }
    let value = goods.lines.iter().map(|line| line.value).sum();
    let has_more = !sale.purchase.shipping.is_zero() || !sale.purchase.tip.is_zero();
    let mut rest = Rest {
        points: 0,
        qualifying: 0,
        awards: vec![0; sale.earned.awards.len()],
        promoted: Vec::new(),
        basis: bases.iter().sum(),
        value,
        value_back: value - left,
        is_void: goods.are_gone(),
        is_all: goods.whole || (goods.are_gone() && !has_more),
    };
    earn_again(sale, &goods, &bases, &mut rest);
    rest
}

/// Each award of the sale again, on what is left of its lines, with what its rule saw then; none grows.
fn earn_again(sale: &Sale, goods: &Goods, bases: &[i128], rest: &mut Rest) {
    let lines = &sale.purchase.lines;
    let with_gift_cards = sale.book.document.basis.unwrap_or_default().include_gift_cards;
    let earns = |line: usize| with_gift_cards || lines[line].kind == LineKind::Goods;
    let mut matches = Vec::new();
    let mut places = Vec::new();
    for (place, award) in sale.earned.awards.iter().enumerate() {
        let rule = &sale.book.rules[award.rule];
        if rest.basis < rule.minimum_order {
            continue;
        }
        let mut counted = Vec::new();
        for line in award.lines.iter().copied() {
            match rule.gives {
                Gives::Order if goods.is_gone(line) => {}
                Gives::Order => counted.push((line, i128::from(counted.is_empty()))),
                Gives::Amount { .. } => counted.push((line, bases[line])),
                Gives::Unit if goods.is_gone(line) => {}
                Gives::Unit => counted.push((line, goods.lines[line].units - goods.lines[line].units_back)),
                Gives::Product => {
                    // The product may be on other lines too that the rule asks for.
                    let is_asked = |other: usize| earns(other) && earning::asks_for_line(rule, &sale.purchase, other);
                    let is_same = |other: usize| other == line || (lines[other].sku == lines[line].sku && is_asked(other));
                    let stays = (0..lines.len()).any(|other| is_same(other) && !goods.is_gone(other));
                    counted.push((line, i128::from(stays)));
                }
            }
        }
        counted.retain(|(_, count)| *count > 0 || matches!(rule.gives, Gives::Order));
        if !counted.is_empty() {
            matches.push(Match { rule: award.rule, lines: counted, seen: award.seen });
            places.push(place);
        }
    }
    let (book, one) = (&sale.book, Fraction { over: 1, under: 1 });
    let policy = book.document.tier_policy.unwrap_or_default();
    let (multiplier, fraction) = (sale.earned.multiplier, sale.earned.order_fraction);
    let points = earning::price(book, &matches, multiplier, fraction).points;
    let unmultiplied = policy.qualifying_basis() == loyaltyd::contract::v1::tier_policy::QualifyingBasis::Unmultiplied;
    let counts = if unmultiplied { earning::price(book, &matches, one, fraction).points } else { points.clone() };
    let (mut rules, mut stood) = (Vec::new(), Vec::new());
    for (found, place) in places.into_iter().enumerate() {
        let award = &sale.earned.awards[place];
        let without = book.rules[award.rule].document.without_qualifying;
        let qualifying = if without { 0 } else { counts[found].min(award.qualifying) };
        let (given, stood_on) = (points[found].min(award.points), award.lines.clone());
        rules.push(Share { rule: award.rule, stood_on, counts: matches[found].lines.clone(), points: given, qualifying, part: None });
        stood.push(place);
    }
    let mut shares = Shares { rules, multiplier, counting: if unmultiplied { one } else { multiplier } };
    promotions::bound_sums(sale, (&points, &counts), &mut shares);
    for (share, place) in shares.rules.iter().zip(stood) {
        rest.awards[place] = share.points;
        rest.points += share.points;
        rest.qualifying += share.qualifying;
    }
    promote_again(sale, goods, bases, shares, rest);
}

/// And each promotion.
fn promote_again(sale: &Sale, goods: &Goods, bases: &[i128], shares: Shares, rest: &mut Rest) {
    let lines = &sale.purchase.lines;
    let with_gift_cards = sale.book.document.basis.unwrap_or_default().include_gift_cards;
    let there = |line: usize| match lines.get(line) {
        Some(sold) => !goods.is_gone(line) && (with_gift_cards || sold.kind == LineKind::Goods),
        None => !goods.whole,
    };
    let units = |line: usize| goods.lines.get(line).map_or(0, |line| line.units - line.units_back);
    let there = There {
        purchase: &sale.purchase,
        time: sale.occurred_time,
        lines: bases.iter().enumerate().map(|(line, basis)| (*basis, units(line), there(line))).collect(),
        goods: (0..lines.len()).map(|line| !goods.is_gone(line)).collect(),
        visits: sale.earned.visits,
        segments: sale.earned.segments.clone(),
        only_extras: goods.are_gone(),
    };
    rest.promoted = promotions::left_of(sale, &there, &shares);
    rest.points += rest.promoted.iter().map(|(points, ..)| points).sum::<i64>();
    rest.qualifying += rest.promoted.iter().map(|(_, qualifying, _)| qualifying).sum::<i64>();
}

/// What was taken, and what was not there.
pub struct Gone {
    pub pending: Vec<(u64, i64, i64)>,
    pub own: Vec<Lot>,
    pub others: Vec<Lot>,
    pub left: i64,
    /// What was to count for tiers later.
    pub later: i64,
}

impl Act<'_> {
    pub fn take_back(&mut self, request: &ReturnRequest) -> Result<(), Rejection> {
        if let Some(purchase) = &request.exchange {
            self.may_buy(purchase)?;
        }
        let sale = self.account.sales.get(&request.order).cloned().ok_or(Rejection::PurchaseReturned)?;
        let old = &sale.so_far;
        let mut before = rest(&sale, old);
        before.bound(&old.promoted);
        if before.is_all {
            return Err(Rejection::PurchaseReturned);
        }
        let mut so_far = old.with(request, sale.book.digits);
        if (&old.lines, old.amount, old.whole) == (&so_far.lines, so_far.amount, so_far.whole) {
            return Err(Rejection::NothingReturned);
        }
        Goods::after(&sale, old).give(request, sale.book.digits)?;
        let mut after = rest(&sale, &so_far);
        after.bound(&before.promoted);
        so_far.promoted.clone_from(&after.promoted);
        let earned = &sale.earned;
        let points = (earned.points - after.points - old.points).max(0);
        let qualifying = (earned.qualifying - after.qualifying - old.qualifying).max(0);
        let basis = earned.basis - after.basis - old.basis;
        so_far.points += points;
        so_far.qualifying += qualifying;
        so_far.basis += basis;
        self.reinstate(&sale, &mut so_far, &after);
        self.lose_promoted(&sale, &before.promoted, &after.promoted);
        let voids = after.is_void && !before.is_void;
        let by: Vec<EntryRef> = sale.bonus.into_iter().chain([sale.entry]).collect();
        self.turn_back_for(&by, &sale.earned.lots, points);
        let kept = self.left_for_bonus(&sale, after.basis, basis);
        let shared = kept.and_then(|(bonus, _, shared)| Some((bonus, shared?)));
        let counts_now = self.collect_back(&sale, (points, qualifying, basis), shared, voids)?;
        if voids {
            self.give_vouchers_back(&sale);
        }
        self.make_room(&sale, &before, &after);
        let sale = Sale {
            sequence: sale.sequence,
            entry: sale.entry,
            book: Arc::clone(&sale.book),
            purchase: Arc::clone(&sale.purchase),
            occurred_time: sale.occurred_time,
            earned: sale.earned.clone(),
            redemptions: sale.redemptions.clone(),
            so_far,
            bonus: sale.bonus,
        };
        Arc::make_mut(&mut self.account.sales).insert(request.order.clone(), Arc::new(sale));
        let sold = self.account.sales[&request.order].occurred_time;
        let earning = self.judge_bonus(kept, request)?;
        match &request.exchange {
            Some(purchase) => self.buy(purchase, earning)?,
            None if counts_now => self.promote(self.now),
            None => {}
        }
        if let Earning::Nothing { since } = earning {
            self.judge_return(since);
        }
        self.judge_return(sold);
        Ok(())
    }

    /// Points that paid for goods go back in proportion to the value that has come back; those that paid for shipping and tip with all.
    fn reinstate(&mut self, sale: &Sale, so_far: &mut SoFar, rest: &Rest) {
        let old = std::mem::take(&mut so_far.reinstated);
        let total = units(sale.purchase.total, sale.book.digits);
        let extra = units(sale.purchase.shipping + sale.purchase.tip, sale.book.digits);
        for id in &sale.redemptions {
            let spent = Arc::clone(&self.account.spent[id]);
            let for_goods = i128::from(spent.points) * (total - extra) / total.max(1);
            let in_all = match (rest.is_all, rest.value) {
                (true, _) => spent.points,
                (false, 0) => 0,
                (false, value) => i64::try_from(for_goods * rest.value_back / value).expect("it fits"),
            };
            let before = old.iter().find(|(other, _)| other == id).map_or(0, |(_, points)| *points);
            so_far.reinstated.push((*id, in_all));
            let points = (in_all - before).min(spent.points - spent.gone_back);
            if points > 0 {
                self.give_back(*id, points);
            }
        }
    }

    /// Pending points of the sale first, then its lots, then as the programme says. Whether some that waited to count for tiers count now.
    fn collect_back(
        &mut self,
        sale: &Sale,
        (points, qualifying, basis): (i64, i64, i128),
        shared: Option<(EntryRef, i128)>,
        voids: bool,
    ) -> Result<bool, Rejection> {
        let policy = self.books.newest().document.returns.unwrap_or_default();
        let Gone { pending, own, others, left, later } = self.gather(&sale.earned.lots, points, qualifying);
        let (mut debt, mut forgiven, mut withheld) = (0, 0, 0);
        match policy.shortfall() {
            Shortfall::Unspecified | Shortfall::Debt => debt = left,
            Shortfall::Forgive => forgiven = left,
            Shortfall::Withhold => withheld = left,
            Shortfall::Refuse if left > 0 => {
                return Err(Rejection::ReturnShortfall { shortfall: Points(left), requested: Points(points) });
            }
            Shortfall::Refuse => {}
        }
        let sold = sale.occurred_time;
        let account = &mut self.account;
        account.debt += debt;
        account.clawed_back += points - forgiven - withheld;
        let qualifying = (qualifying - later).min(account.qualifying.max(0));
        account.qualifying -= qualifying;
        account.spend -= basis;
        account.visits -= u64::from(voids);
        account.latest = account.latest.max(Some(self.now));
        self.count(sold, -qualifying, -basis, -i64::from(voids));
        let (sale, others) = (parts(&own), parts(&others));
        let shared = shared.map(|(bonus, basis)| (bonus, self.money(basis)));
        let (basis, withheld_value) = (self.money(basis), self.worth_withheld(withheld));
        self.enter_now(Fact::Returned {
            points,
            qualifying,
            basis,
            pending,
            sale,
            others,
            debt,
            forgiven,
            withheld,
            withheld_value,
            voids,
            shared,
        });
        Ok(qualifying < 0)
    }

    /// So many points that these lots had brought, and what of them counts for tiers: pending ones first, then from the lots, then from others
    /// if the programme says so.
    pub fn gather(&mut self, lots: &[EarnedLot], points: i64, qualifying: i64) -> Gone {
        let (mut left, mut later, mut pending) = (points, 0, Vec::new());
        for lot in lots {
            let Some(waiting) = self.account.waiting.iter_mut().find(|waiting| waiting.id == lot.said.id) else { continue };
            let part = waiting.points.min(left);
            waiting.points -= part;
            left -= part;
            // All of a lot that is gone; of another what is due, if that is not taken yet.
            let due = (qualifying - later).clamp(0, waiting.qualifying);
            let counts = if waiting.points == 0 { waiting.qualifying } else { due };
            waiting.qualifying -= counts;
            later += counts;
            if (part, counts) != (0, 0) {
                pending.push((lot.said.id, part, counts));
            }
        }
        self.account.waiting.retain(|waiting| waiting.points > 0);
        // Those that got their expiry with the confirmation come last.
        let changed = |lot: &&EarnedLot| {
            let said = &lot.said;
            self.account.lots.iter().any(|there| there.id == said.id && there.lapse != said.lapse)
        };
        let (later_dated, as_sold): (Vec<_>, Vec<_>) = lots.iter().partition(changed);
        let own: Vec<u64> = as_sold.into_iter().chain(later_dated).map(|lot| lot.said.id).collect();
        let (mut own_parts, mut others) = (Vec::new(), Vec::new());
        for id in &own {
            self.take_from(*id, &mut left, &mut own_parts);
        }
        if !self.books.newest().document.returns.unwrap_or_default().own_lots_only {
            for (id, _) in self.order() {
                self.take_from(id, &mut left, &mut others);
            }
        }
        Gone { pending, own: own_parts, others, left, later }
    }

    pub fn worth_withheld(&self, withheld: i64) -> Option<Decimal> {
        let worth = self.books.newest().redemption.as_ref().filter(|_| withheld > 0);
        worth.map(|policy| self.money(i128::from(withheld) * policy.amount / i128::from(policy.points)))
    }

    fn take_from(&mut self, id: u64, left: &mut i64, taken: &mut Vec<Lot>) {
        let now = self.now;
        for lot in self.account.lots.iter_mut().filter(|lot| lot.id == id && lot.is_valid(now)) {
            let part = lot.points.min(*left);
            lot.points -= part;
            *left -= part;
            if part > 0 {
                taken.push(Lot { points: part, ..lot.clone() });
            }
        }
        self.account.lots.retain(|lot| lot.points > 0);
    }

    /// Caps have room again for what was taken back.
    fn make_room(&mut self, sale: &Sale, before: &Rest, after: &Rest) {
        for (place, award) in sale.earned.awards.iter().enumerate() {
            let taken = (before.awards[place] - after.awards[place]).max(0);
            let id = &sale.book.rules[award.rule].id;
            for (_, period, _) in sale.earned.given.iter().filter(|(rule, ..)| rule == id) {
                if let Some(given) = self.account.given.get_mut(&(id.clone(), *period)) {
                    *given = (*given - taken).max(0);
                }
            }
        }
    }
}
