//! What a voucher gives, and what that is worth on an order.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};

use super::super::{Line, LineKind, Overflow, Purchase, Rejection, VoucherRejection};

/// What a voucher gives. Amounts are in the programme's currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoucherBenefit {
    AmountOff {
        amount: Decimal,
    },
    PercentOff {
        percent: Decimal,
        /// The most that it is worth.
        maximum: Option<Decimal>,
    },
    /// One unit.
    FreeItem {
        sku: String,
    },
    /// One unit of a category, of several the dearest one.
    FreeItemOf {
        category: String,
        /// The most that it is worth.
        maximum: Option<Decimal>,
    },
    FreeShipping,
    /// What the retailer makes of it.
    Custom {
        key: String,
        text: String,
    },
}

impl VoucherBenefit {
    /// What it takes off an order. `goods`: what the goods come to; `left`: what other vouchers have left of that; `free`: what they gave.
    pub(in crate::domain) fn worth(
        &self,
        purchase: &Purchase,
        (goods, left): (Decimal, Decimal),
        free: &mut FreeUnits,
        digits: u32,
    ) -> Result<Decimal, Rejection> {
        let rounded = |amount: Decimal| rounded(amount, digits);
        match self {
            Self::AmountOff { amount } => Ok((*amount).min(left)),
            Self::PercentOff { percent, maximum } => {
                let share = goods.checked_mul(*percent).ok_or(Overflow)?.checked_div(Decimal::ONE_HUNDRED).ok_or(Overflow)?;
                Ok(maximum.map_or(rounded(share), |maximum| rounded(share).min(maximum)).min(left))
            }
            Self::FreeItem { sku } => {
                let unit = free.give((purchase, digits), |line| line.sku == *sku)?;
                Ok(rounded(unit.ok_or_else(|| VoucherRejection::ItemMissing { sku: sku.clone() })?).min(left))
            }
            Self::FreeItemOf { category, maximum } => {
                let unit = free.give((purchase, digits), |line| line.category == *category)?;
                let unit = rounded(unit.ok_or_else(|| VoucherRejection::CategoryMissing { category: category.clone() })?);
                Ok(maximum.map_or(unit, |maximum| unit.min(maximum)).min(left))
            }
            Self::FreeShipping => Ok(purchase.shipping),
            Self::Custom { .. } => Ok(Decimal::ZERO),
        }
    }

    /// It takes something off the goods.
    pub(in crate::domain) fn is_off_goods(&self) -> bool {
        match self {
            Self::AmountOff { .. } | Self::PercentOff { .. } | Self::FreeItem { .. } | Self::FreeItemOf { .. } => true,
            Self::FreeShipping | Self::Custom { .. } => false,
        }
    }
}

fn rounded(amount: Decimal, digits: u32) -> Decimal {
    amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
}

/// What one of some units costs that cost so much together. Of a part of a unit all of it counts.
fn unit_price(together: Decimal, units: Decimal) -> Result<Decimal, Overflow> {
    if units > Decimal::ONE { together.checked_div(units).ok_or(Overflow) } else { Ok(together) }
}

/// The units of an order that its vouchers have given away, by the place of the line: one is not given twice.
#[derive(Default)]
pub(in crate::domain) struct FreeUnits {
    given: BTreeMap<usize, u32>,
    /// Where lines are charged for what is left of them: of those of which something was given, what the other units cost together. A unit
    /// that was given may still cost what its voucher left of it.
    others: Option<BTreeMap<usize, Decimal>>,
    latest: Option<usize>,
}

impl FreeUnits {
    /// Of lines that are charged for what is left of them, each time that something is given.
    pub fn of_what_is_left() -> Self {
        Self { others: Some(BTreeMap::new()), ..Self::default() }
    }

    /// The place of the line of which a unit was given last.
    pub fn latest(&self) -> Option<usize> {
        self.latest
    }

    /// The dearest unit that is left of some of the goods: what it costs. A line that is not of whole units has as many as are whole, and one
    /// at least.
    fn give(&mut self, (purchase, digits): (&Purchase, u32), is_wanted: impl Fn(&Line) -> bool) -> Result<Option<Decimal>, Overflow> {
        // Its place, what it costs, and what it and those like it cost together.
        let mut dearest: Option<(usize, Decimal, Decimal)> = None;
        for (place, line) in purchase.lines.iter().enumerate() {
            let given = self.given.get(&place).copied().unwrap_or_default();
            if line.kind == LineKind::Goods && is_wanted(line) && Decimal::from(given) < line.quantity.floor().max(Decimal::ONE) {
                let (together, units) = match self.others.as_ref().and_then(|others| others.get(&place)) {
                    Some(others) => (*others, line.quantity - Decimal::from(given)),
                    None => (line.net()?, line.quantity),
                };
                let price = unit_price(together, units)?;
                if dearest.is_none_or(|(_, other, _)| price > other) {
                    dearest = Some((place, price, together));
                }
            }
        }
        if let Some((place, price, together)) = dearest {
            let given = self.given.entry(place).or_default();
            *given = given.saturating_add(1);
            self.latest = Some(place);
            if let Some(others) = &mut self.others {
                others.insert(place, together.checked_sub(rounded(price, digits).min(together)).ok_or(Overflow)?);
            }
        }
        Ok(dearest.map(|(_, price, _)| price))
    }

    /// So much of a line's price goes off all of its units, in proportion.
    pub fn shrink(&mut self, place: usize, price: i128, share: i128) -> Result<(), Overflow> {
        if let Some(others) = self.others.as_mut().and_then(|others| others.get_mut(&place))
            && price > 0
        {
            let (price, left) = (decimal(price)?, decimal(price - share)?);
            let exact = others.checked_mul(left).and_then(|product| product.checked_div(price));
            // The product of large amounts may be too large.
            let shrunk = exact.or_else(|| others.checked_div(price).and_then(|share| share.checked_mul(left)));
            *others = shrunk.ok_or(Overflow)?;
        }
        Ok(())
    }
}

fn decimal(units: i128) -> Result<Decimal, Overflow> {
    Decimal::try_from_i128_with_scale(units, 0).map_err(|_| Overflow)
}
