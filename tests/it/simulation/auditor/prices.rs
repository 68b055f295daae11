//! Price effects: the goods lie on the shelf with their prices, and what a tier and vouchers take off is taken off there, in the currency's smallest
//! unit. And what was promised of a purchase by a quote.

use std::sync::Arc;

use jiff::Timestamp;
use loyaltyd::domain::{
    EffectSource, EntryRef, Line, LineKind, MemberId, OwnDiscounts, PriceEffect, Purchase, QuotePart, Rejection, VoucherBenefit,
    VoucherCause, VoucherCode, VoucherRejection,
};
use rust_decimal::Decimal;

use super::{
    Account, Act, Books,
    book::{Book, Fraction},
    earning::shares,
    facts::{Change, Fact, LotSaid, Said},
    units,
    vouchers::{Terms, keep_to_minimum, nearest},
};

/// What one source takes off.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    pub by: By,
    pub amount: Decimal,
    pub off_shipping: bool,
    /// From which lines.
    pub lines: Vec<(usize, Decimal)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum By {
    Tier(String, Decimal),
    TierShipping(String),
    Voucher(VoucherCode),
}

pub fn effect(effect: &PriceEffect) -> Effect {
    let by = match &effect.source {
        EffectSource::TierDiscount { tier, percent } => By::Tier(tier.to_string(), *percent),
        EffectSource::TierShipping { tier } => By::TierShipping(tier.to_string()),
        EffectSource::Voucher { code } => By::Voucher(*code),
    };
    let lines = effect.lines.iter().map(|line| (line.line, line.amount)).collect();
    Effect { by, amount: effect.amount, off_shipping: effect.off_shipping, lines }
}

pub fn met(effect: &Effect) -> &'static str {
    match (&effect.by, effect.off_shipping, effect.lines.len()) {
        (By::Tier(..), ..) => "discount of a tier",
        (By::TierShipping(_), ..) => "shipping of a tier",
        (By::Voucher(_), true, _) => "voucher off shipping",
        (By::Voucher(_), false, 0) => "voucher off nothing",
        (By::Voucher(_), false, 1) => "voucher off a line",
        (By::Voucher(_), false, _) => "voucher off the goods",
    }
}

/// A line on the shelf.
struct Lying<'a> {
    line: &'a Line,
    /// What it costs after the till's own discounts, and what of that is left.
    before: i128,
    left: i128,
    /// Units that were for nothing; and what all others cost then.
    given: i128,
    others: Option<Fraction>,
}

impl Lying<'_> {
    fn is_goods(&self) -> bool {
        self.line.kind == LineKind::Goods
    }

    /// What the units that nobody was given cost together, and one of them; of a part of a unit all of it counts. `None`: there are none.
    fn next_unit(&self) -> Option<(Fraction, Fraction)> {
        let count = units(self.line.quantity, 3);
        if self.given >= (count / 1_000).max(1) {
            return None;
        }
        let (together, count) = match self.others {
            Some(others) => (others, count - 1_000 * self.given),
            None => (Fraction::new(self.left, 1), count),
        };
        Some((together, together.times(Fraction::new(1_000, count.max(1_000)))))
    }

    /// Off all of its units.
    fn reduce(&mut self, by: i128) {
        if self.left > 0 {
            let part = Fraction::new(self.left - by, self.left);
            self.others = self.others.map(|others| others.times(part));
        }
        self.left -= by;
    }

    /// Of a unit that is given, by how much is its price lower.
    fn give_unit(&mut self) {
        let (together, unit) = self.next_unit().expect("there is one");
        let unit = nearest(unit);
        let others = together.over - unit * together.under;
        (self.given, self.others) = (self.given + 1, Some(Fraction::new(others.max(0), together.under)));
    }
}

struct Shelf<'a> {
    lying: Vec<Lying<'a>>,
    shipping: i128,
    digits: u32,
    effects: Vec<Effect>,
}

impl<'a> Shelf<'a> {
    fn new(book: &Book, purchase: &'a Purchase) -> Self {
        let money = |amount: Decimal| units(amount, book.digits);
        let nets: Vec<i128> = purchase.lines.iter().map(|line| money(line.amount) - money(line.discount)).collect();
        let off = shares(money(purchase.order_discount), &nets);
        let lying = purchase.lines.iter().zip(nets.iter().zip(off));
        let lying = lying.map(|(line, (net, off))| Lying { line, before: net - off, left: net - off, given: 0, others: None }).collect();
        Self { lying, shipping: money(purchase.shipping), digits: book.digits, effects: Vec::new() }
    }

    fn money(&self, units: i128) -> Decimal {
        Decimal::from_i128_with_scale(units, self.digits)
    }

    fn goods(&self) -> i128 {
        self.lying.iter().filter(|lying| lying.is_goods()).map(|lying| lying.left).sum()
    }

    fn percent(&self, percent: Decimal) -> i128 {
        nearest(Fraction::new(self.goods() * units(percent, 4), 1_000_000))
    }

    fn off_goods(&mut self, by: By, amount: i128) {
        let weights: Vec<i128> = self.lying.iter().map(|lying| if lying.is_goods() { lying.left } else { 0 }).collect();
        let mut lines = Vec::new();
        for (place, share) in shares(amount, &weights).into_iter().enumerate().filter(|(_, share)| *share > 0) {
            self.lying[place].reduce(share);
            lines.push((place, self.money(share)));
        }
        self.effects.push(Effect { by, amount: self.money(amount), off_shipping: false, lines });
    }

    fn off_shipping(&mut self, by: By) -> i128 {
        let shipping = std::mem::take(&mut self.shipping);
        self.effects.push(Effect { by, amount: self.money(shipping), off_shipping: true, lines: Vec::new() });
        shipping
    }

    /// The dearest unit that is there, for nothing or for as much less as is allowed; how much that is.
    fn give_unit(&mut self, by: By, is_wanted: impl Fn(&Line) -> bool, most: Option<i128>) -> Option<i128> {
        let mut dearest: Option<(usize, Fraction)> = None;
        for (place, lying) in self.lying.iter().enumerate().filter(|(_, lying)| lying.is_goods() && is_wanted(lying.line)) {
            let Some((_, unit)) = lying.next_unit() else { continue };
            if dearest.is_none_or(|(_, other)| unit.is_more_than(other)) {
                dearest = Some((place, unit));
            }
        }
        let (place, unit) = dearest?;
        let lying = &mut self.lying[place];
        lying.give_unit();
        let worth = nearest(unit).min(most.unwrap_or(i128::MAX)).min(lying.left);
        lying.left -= worth;
        let lines = if worth > 0 { vec![(place, self.money(worth))] } else { Vec::new() };
        self.effects.push(Effect { by, amount: self.money(worth), off_shipping: false, lines });
        Some(worth)
    }

    fn tier(&mut self, tier: &loyaltyd::contract::v1::Tier) {
        let benefits = tier.benefits.clone().unwrap_or_default();
        if !benefits.discount_percent.is_empty() {
            let percent: Decimal = benefits.discount_percent.parse().expect("a number");
            let amount = self.percent(percent);
            if amount > 0 {
                self.off_goods(By::Tier(tier.tier_id.clone(), percent), amount);
            }
        }
        if benefits.free_shipping && self.shipping > 0 {
            self.off_shipping(By::TierShipping(tier.tier_id.clone()));
        }
    }

    fn voucher(&mut self, code: VoucherCode, gives: &VoucherBenefit) -> Result<i128, VoucherRejection> {
        let (by, digits) = (By::Voucher(code), self.digits);
        let most = |maximum: &Option<Decimal>| maximum.map(|maximum| units(maximum, digits));
        Ok(match gives {
            VoucherBenefit::AmountOff { amount } => {
                let amount = units(*amount, digits).min(self.goods());
                self.off_goods(by, amount);
                amount
            }
            VoucherBenefit::PercentOff { percent, maximum } => {
                let amount = self.percent(*percent).min(most(maximum).unwrap_or(i128::MAX));
                self.off_goods(by, amount);
                amount
            }
            VoucherBenefit::FreeItem { sku } => {
                let given = self.give_unit(by, |line| line.sku == *sku, None);
                given.ok_or_else(|| VoucherRejection::ItemMissing { sku: sku.clone() })?
            }
            VoucherBenefit::FreeItemOf { category, maximum } => {
                let given = self.give_unit(by, |line| line.category == *category, most(maximum));
                given.ok_or_else(|| VoucherRejection::CategoryMissing { category: category.clone() })?
            }
            VoucherBenefit::FreeShipping => self.off_shipping(by),
            VoucherBenefit::Custom { .. } => {
                self.effects.push(Effect { by, amount: Decimal::ZERO, off_shipping: false, lines: Vec::new() });
                0
            }
        })
    }

    /// The purchase as it is paid.
    fn paid(self, purchase: &Purchase) -> (Purchase, Vec<Effect>) {
        let mut paid = Purchase { quote: None, order_discount: Decimal::ZERO, ..purchase.clone() };
        let own = purchase.lines.iter().map(|line| line.discount).enumerate().filter(|(_, discount)| *discount > Decimal::ZERO);
        paid.own_discounts = Some(Box::new(OwnDiscounts { order_discount: purchase.order_discount, lines: own.collect() }));
        paid.shipping = self.money(self.shipping);
        let mut total = paid.shipping + paid.tip;
        for (line, lying) in paid.lines.iter_mut().zip(&self.lying) {
            let mut tax = units(line.tax, self.digits);
            if lying.before > 0 {
                tax = nearest(Fraction::new(tax * lying.left, lying.before));
            }
            if purchase.prices_include_tax {
                tax = tax.min(lying.left);
            } else {
                total += self.money(tax);
            }
            total += self.money(lying.left);
            (line.discount, line.tax) = (line.amount - self.money(lying.left), self.money(tax));
        }
        paid.total = total;
        (paid, self.effects)
    }
}

impl Act<'_> {
    /// The purchase as it is paid, and what led to that. Its vouchers are used.
    pub fn price(&mut self, purchase: &Purchase, time: Timestamp) -> Result<(Arc<Purchase>, Vec<Effect>), Rejection> {
        if !purchase.apply_effects {
            self.use_vouchers(purchase, time)?;
            return Ok((Arc::new(Purchase { quote: None, ..purchase.clone() }), Vec::new()));
        }
        let book = Arc::clone(self.books.at(time));
        let mut shelf = Shelf::new(&book, purchase);
        let goods = self.money(shelf.goods());
        let held = self.account.tiers.iter().rev().find(|(_, since)| *since <= time).map(|(tier, _)| tier);
        if let Some(tier) = book.document.tiers.get(book.place_of_tier(held)) {
            shelf.tier(tier);
        }
        for code in &purchase.vouchers {
            let issued = self.usable(*code, purchase.order.as_ref(), time)?;
            let Terms { minimum, gives, .. } = self.account.vouchers[&issued].terms.clone();
            keep_to_minimum(minimum, goods)?;
            let worth = shelf.voucher(*code, &gives)?;
            self.use_up(issued, purchase.order.as_ref(), Some(self.money(worth)), time);
        }
        let (paid, effects) = shelf.paid(purchase);
        let tendered: Decimal = paid.tenders.iter().map(|tender| tender.amount).sum();
        if !paid.tenders.is_empty() && tendered != paid.total {
            return Err(Rejection::TendersMismatch { total: paid.total, tendered });
        }
        Ok((Arc::new(paid), effects))
    }
}

/// What is to be paid of a purchase that has no tenders yet, if its vouchers can be used.
pub fn due(account: &Account, books: &Books, now: Timestamp, purchase: &Purchase) -> Option<Decimal> {
    let paid = Act::new(account, books, now).price(purchase, purchase.occurred_time.unwrap_or(now));
    paid.ok().map(|(paid, _)| paid.total)
}

/// What a quote has said that a purchase leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    /// `None`: of nothing that could be.
    member: Option<MemberId>,
    price: (Option<Decimal>, Vec<Effect>, Vec<(EntryRef, Decimal)>),
    points: Vec<Gives>,
    /// When they can be spent, of the purchase and of its referral: at once, some day, once it is confirmed.
    spendable: Vec<[i64; 3]>,
    vouchers: Vec<Issues>,
    tier: (Option<String>, Option<String>, Vec<String>, Vec<i64>),
    payments: Vec<(i64, i64, Decimal)>,
}

/// All together under no name, and of each rule and promotion: points, and those that count for tiers.
type Gives = (Option<String>, i64, i64);

#[derive(Debug, Clone, PartialEq)]
enum Issues {
    AtOnce { kind: String, name: String, cause: VoucherCause, minimum: Decimal, gives: VoucherBenefit, promotion: Option<String> },
    Later(Option<String>, i64),
}

fn issued(change: &Change) -> Option<(&Terms, Option<&String>)> {
    match change {
        Change::Issued(terms) | Change::Turned(terms, _) | Change::Rewarded(terms, _) | Change::Offered(terms, _) => Some((terms, None)),
        Change::Promoted(terms, promotion) => Some((terms, Some(promotion))),
        Change::Held(..)
        | Change::Released { .. }
        | Change::Used(..)
        | Change::Cancelled
        | Change::Undone(..)
        | Change::CameBack { .. }
        | Change::Expired
        | Change::Reinstated(..) => None,
    }
}

impl Promise {
    pub fn of_nothing() -> Self {
        Self::new(None)
    }

    fn new(member: Option<MemberId>) -> Self {
        let price = (None, Vec::new(), Vec::new());
        let tier = (None, None, Vec::new(), Vec::new());
        let (points, vouchers, payments) = (Vec::new(), Vec::new(), Vec::new());
        Self { member, price, points, spendable: Vec::new(), vouchers, tier, payments }
    }

    /// Of what the purchase itself leads to.
    pub fn of(member: MemberId, said: &[Said]) -> Self {
        let mut promise = Self::new(Some(member));
        said.iter().filter(|said| !said.by_time).for_each(|said| promise.note(&said.fact));
        promise
    }

    fn note(&mut self, fact: &Fact) {
        if let Fact::Accrued { points, qualifying, awards, lots, tier, standing, promoted, purchase, effects, .. } = fact {
            (self.price.0, self.price.1) = (Some(purchase.total), effects.clone());
            self.points.push((None, *points, *qualifying));
            self.points
                .extend(awards.iter().filter(|award| award.1 != 0).map(|(rule, points, counts)| (Some(rule.clone()), *points, *counts)));
            let given = promoted.iter().filter(|one| one.points != 0);
            self.points.extend(given.map(|one| (Some(one.promotion.clone()), one.points, one.qualifying)));
            self.note_lots(lots);
            (self.tier.0, self.tier.1) = (tier.clone(), standing.clone());
        }
        match fact {
            Fact::Did { activity, points, qualifying, awards, lots, .. } => {
                self.points.push((Some(activity.clone()), *points, *qualifying));
                let given = awards.iter().filter(|award| award.points != 0);
                self.points.extend(given.map(|award| (Some(award.rule.clone()), award.points, award.qualifying)));
                self.note_lots(lots);
            }
            Fact::Tier { to, .. } => {
                self.tier.1 = Some(to.clone());
                self.tier.2.push(to.clone());
            }
            Fact::TierRewarded { lot, .. } => self.tier.3.push(lot.as_ref().map_or(0, |lot| lot.points)),
            Fact::Redeemed { points, owed, value, .. } => self.payments.push((*points, *owed, *value)),
            Fact::Goal { goal, vouchers, .. } if *vouchers > 0 => self.vouchers.push(Issues::Later(goal.clone(), *vouchers)),
            Fact::Voucher { issued: entry, change: Change::Used(_, worth) } => self.price.2.push((*entry, worth.unwrap_or_default())),
            Fact::Voucher { change, .. } => {
                let new = issued(change).map(|(terms, promotion)| Issues::AtOnce {
                    kind: terms.kind.clone(),
                    name: terms.name.clone(),
                    cause: terms.cause,
                    minimum: terms.minimum,
                    gives: terms.gives.clone(),
                    promotion: promotion.cloned(),
                });
                self.vouchers.extend(new);
            }
            _ => {}
        }
    }

    fn note_lots(&mut self, lots: &[LotSaid]) {
        let mut spendable = [0; 3];
        for lot in lots {
            let place = lot.waits.map_or(0, |(until, _)| if until.is_some() { 1 } else { 2 });
            spendable[place] += lot.points;
        }
        self.spendable.push(spendable);
    }

    /// The parts in which another result differs. Of another member nothing was promised.
    pub fn differs(&self, now: &Self) -> Vec<QuotePart> {
        let is_other = self.member != now.member;
        let parts = [
            (QuotePart::Price, self.price != now.price),
            (QuotePart::Points, (&self.points, &self.spendable) != (&now.points, &now.spendable)),
            (QuotePart::Vouchers, self.vouchers != now.vouchers),
            (QuotePart::Tier, self.tier != now.tier),
            (QuotePart::Payments, self.payments != now.payments),
        ];
        parts.into_iter().filter(|(_, differs)| is_other || *differs).map(|(part, _)| part).collect()
    }
}
