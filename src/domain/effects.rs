//! Price effects: what a tier and vouchers take off a purchase, if its till asks for that.
//!
//! They come in one order, each on what those before it have left: the till's own discounts, the discount of the tier, its free shipping, and
//! the vouchers in the order in which they are named. What is off the goods is shared over their lines by largest remainder. What is left is
//! the purchase that is recorded: its lines have all discounts, so that accrual and returns need not know of effects.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{
    LineKind, Overflow, OwnDiscounts, Purchase, Rejection, Tier, TierId, TooComplex, Voucher, VoucherBenefit, VoucherCode, money,
    voucher::FreeUnits,
};

/// Shares of lines that the effects of a purchase have in all. Bounds the entry that explains it, beside [`super::MAX_AWARD_LINES`].
pub const MAX_EFFECT_LINES: usize = 50_000;

/// What one source takes off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceEffect {
    pub source: EffectSource,
    /// 0 for a voucher that takes nothing off.
    pub amount: Decimal,
    /// It is off shipping, and not off lines.
    pub off_shipping: bool,
    /// Those that bear something of it; they sum to the amount.
    pub lines: Vec<EffectLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectSource {
    TierDiscount { tier: TierId, percent: Decimal },
    TierShipping { tier: TierId },
    Voucher { code: VoucherCode },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectLine {
    /// Place in the purchase, from 0.
    pub line: usize,
    pub amount: Decimal,
}

/// A purchase on its way from the shelf's prices to what is paid. Amounts are in the currency's smallest unit.
pub(super) struct Basket {
    /// With what the effects so far have taken off.
    purchase: Purchase,
    digits: u32,
    /// Of each line, less the till's own discounts.
    before: Vec<i128>,
    prices: Vec<i128>,
    free: FreeUnits,
    effects: Vec<PriceEffect>,
    shares: usize,
}

impl Basket {
    /// The till's discount of the order goes into its lines, by the shares that they would bear of it anyway.
    pub fn new(purchase: &Purchase, digits: u32) -> Result<Self, Overflow> {
        let mut purchase = Purchase { quote: None, ..purchase.clone() };
        let discounts = purchase.lines.iter().map(|line| line.discount).enumerate().filter(|(_, discount)| !discount.is_zero());
        let own = OwnDiscounts { order_discount: purchase.order_discount, lines: discounts.collect() };
        purchase.own_discounts = Some(Box::new(own));
        let nets = purchase.lines.iter().map(|line| money::to_units(line.net()?, digits)).collect::<Result<Vec<_>, Overflow>>()?;
        let mut basket = Self {
            digits,
            before: Vec::new(),
            prices: nets,
            free: FreeUnits::of_what_is_left(),
            effects: Vec::new(),
            shares: 0,
            purchase: Purchase { order_discount: Decimal::ZERO, ..purchase.clone() },
        };
        let order_discount = std::mem::take(&mut purchase.order_discount);
        if !order_discount.is_zero() {
            for (line, share) in money::share_units(money::to_units(order_discount, digits)?, &basket.prices)?.into_iter().enumerate() {
                basket.take(line, share)?;
            }
        }
        basket.before.clone_from(&basket.prices);
        Ok(basket)
    }

    /// What a tier gives, with its discount of the day.
    pub fn apply_tier(&mut self, tier: &Tier, percent: Option<Decimal>) -> Result<(), Rejection> {
        if let Some(percent) = percent {
            let share = self.goods()?.checked_mul(percent).and_then(|share| share.checked_div(Decimal::ONE_HUNDRED)).ok_or(Overflow)?;
            let amount = share.round_dp_with_strategy(self.digits, RoundingStrategy::MidpointAwayFromZero);
            if !amount.is_zero() {
                self.off_goods(EffectSource::TierDiscount { tier: tier.id.clone(), percent }, amount)?;
            }
        }
        if tier.benefits.free_shipping && !self.purchase.shipping.is_zero() {
            self.off_shipping(EffectSource::TierShipping { tier: tier.id.clone() });
        }
        Ok(())
    }

    /// What a voucher takes off: what it was worth.
    pub fn apply_voucher(&mut self, voucher: &Voucher) -> Result<Decimal, Rejection> {
        let left = self.goods()?;
        let value = voucher.benefit.worth(&self.purchase, (left, left), &mut self.free, self.digits)?;
        let source = EffectSource::Voucher { code: voucher.code };
        match &voucher.benefit {
            VoucherBenefit::AmountOff { .. } | VoucherBenefit::PercentOff { .. } => self.off_goods(source, value)?,
            VoucherBenefit::FreeItem { .. } | VoucherBenefit::FreeItemOf { .. } => {
                let line = self.free.latest().ok_or(Overflow)?;
                return self.off_line(source, line, value);
            }
            VoucherBenefit::FreeShipping => self.off_shipping(source),
            VoucherBenefit::Custom { .. } => {
                self.effects.push(PriceEffect { source, amount: Decimal::ZERO, off_shipping: false, lines: Vec::new() });
            }
        }
        Ok(value)
    }

    /// The purchase as it is paid, and what led to it. Taxes go down in the proportion of their lines' prices, a half unit up.
    pub fn finish(mut self) -> Result<(Purchase, Vec<PriceEffect>), Rejection> {
        let is_inside = self.purchase.prices_include_tax;
        let (mut sum, mut taxes) = (0i128, 0i128);
        for (line, (price, before)) in self.purchase.lines.iter_mut().zip(self.prices.iter().zip(&self.before)) {
            let mut tax = money::to_units(line.tax, self.digits)?;
            if price != before {
                let twice = tax.checked_mul(*price).and_then(|tax| tax.checked_mul(2)).ok_or(Overflow)?;
                tax = twice.checked_add(*before).ok_or(Overflow)? / before.checked_mul(2).ok_or(Overflow)?;
            }
            if is_inside {
                tax = tax.min(*price);
            }
            line.tax = money::from_units(tax, self.digits)?;
            sum = sum.checked_add(*price).ok_or(Overflow)?;
            taxes = taxes.checked_add(tax).ok_or(Overflow)?;
        }
        let paid = if is_inside { sum } else { sum.checked_add(taxes).ok_or(Overflow)? };
        let more = self.purchase.shipping.checked_add(self.purchase.tip).ok_or(Overflow)?;
        self.purchase.total = money::from_units(paid, self.digits)?.checked_add(more).ok_or(Overflow)?;
        Ok((self.purchase, self.effects))
    }

    /// What the goods come to so far, without gift cards, which are money.
    pub fn goods(&self) -> Result<Decimal, Overflow> {
        let mut goods = self.purchase.lines.iter().zip(&self.prices).filter(|(line, _)| line.kind == LineKind::Goods);
        let sum = goods.try_fold(0i128, |sum, (_, price)| sum.checked_add(*price)).ok_or(Overflow)?;
        money::from_units(sum, self.digits)
    }

    /// Not more than the goods come to, so that no line bears more than its price.
    fn off_goods(&mut self, source: EffectSource, amount: Decimal) -> Result<(), Rejection> {
        let goods = self.purchase.lines.iter().zip(&self.prices).map(|(line, price)| match line.kind {
            LineKind::Goods => *price,
            LineKind::GiftCard => 0,
        });
        let weights: Vec<i128> = goods.collect();
        let shares = money::share_units(money::to_units(amount, self.digits)?, &weights)?;
        let bear: Vec<(usize, i128)> = shares.into_iter().enumerate().filter(|(_, share)| *share > 0).collect();
        for (line, share) in &bear {
            self.free.shrink(*line, self.prices.get(*line).copied().unwrap_or_default(), *share)?;
        }
        self.bear(source, amount, &bear)
    }

    fn off_line(&mut self, source: EffectSource, line: usize, value: Decimal) -> Result<Decimal, Rejection> {
        let left = self.prices.get(line).copied().unwrap_or_default();
        let units = money::to_units(value, self.digits)?.min(left);
        let amount = money::from_units(units, self.digits)?;
        let bear = [(line, units)];
        self.bear(source, amount, if units > 0 { &bear } else { &[] })?;
        Ok(amount)
    }

    fn bear(&mut self, source: EffectSource, amount: Decimal, shares: &[(usize, i128)]) -> Result<(), Rejection> {
        self.shares = self.shares.saturating_add(shares.len());
        let (effect_lines, limit) = (self.shares, MAX_EFFECT_LINES);
        if effect_lines > limit {
            return Err(Rejection::PurchaseTooComplex(TooComplex::EffectLines { effect_lines, limit }));
        }
        let mut lines = Vec::with_capacity(shares.len());
        for (line, share) in shares {
            self.take(*line, *share)?;
            lines.push(EffectLine { line: *line, amount: money::from_units(*share, self.digits)? });
        }
        self.effects.push(PriceEffect { source, amount, off_shipping: false, lines });
        Ok(())
    }

    fn off_shipping(&mut self, source: EffectSource) {
        let amount = std::mem::take(&mut self.purchase.shipping);
        self.effects.push(PriceEffect { source, amount, off_shipping: true, lines: Vec::new() });
    }

    fn take(&mut self, line: usize, units: i128) -> Result<(), Overflow> {
        if units == 0 {
            return Ok(());
        }
        let (Some(price), Some(goods)) = (self.prices.get_mut(line), self.purchase.lines.get_mut(line)) else { return Err(Overflow) };
        *price = price.checked_sub(units).ok_or(Overflow)?;
        goods.discount = goods.discount.checked_add(money::from_units(units, self.digits)?).ok_or(Overflow)?;
        Ok(())
    }
}
