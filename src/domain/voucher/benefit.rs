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
        let rounded = |amount: Decimal| amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero);
        match self {
            Self::AmountOff { amount } => Ok((*amount).min(left)),
            Self::PercentOff { percent, maximum } => {
                let share = goods.checked_mul(*percent).ok_or(Overflow)?.checked_div(Decimal::ONE_HUNDRED).ok_or(Overflow)?;
                Ok(maximum.map_or(rounded(share), |maximum| rounded(share).min(maximum)).min(left))
            }
            Self::FreeItem { sku } => {
                let unit = free.give(purchase, |line| line.sku == *sku)?;
                Ok(rounded(unit.ok_or_else(|| VoucherRejection::ItemMissing { sku: sku.clone() })?).min(left))
            }
            Self::FreeItemOf { category, maximum } => {
                let unit = free.give(purchase, |line| line.category == *category)?;
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

/// What a unit costs. Of a part of a unit all of it counts.
fn unit_price(line: &Line) -> Result<Decimal, Overflow> {
    let net = line.net()?;
    if line.quantity > Decimal::ONE { net.checked_div(line.quantity).ok_or(Overflow) } else { Ok(net) }
}

/// The units of an order that its vouchers have given away, by the place of the line: one is not given twice.
#[derive(Default)]
pub(in crate::domain) struct FreeUnits(BTreeMap<usize, u32>);

impl FreeUnits {
    /// The dearest unit that is left of some of the goods: what it costs. A line that is not of whole units has as many as are whole, and one
    /// at least.
    fn give(&mut self, purchase: &Purchase, is_wanted: impl Fn(&Line) -> bool) -> Result<Option<Decimal>, Overflow> {
        let mut dearest: Option<(usize, Decimal)> = None;
        for (place, line) in purchase.lines.iter().enumerate() {
            let given = self.0.get(&place).copied().unwrap_or_default();
            if line.kind == LineKind::Goods && is_wanted(line) && Decimal::from(given) < line.quantity.floor().max(Decimal::ONE) {
                let price = unit_price(line)?;
                if dearest.is_none_or(|(_, other)| price > other) {
                    dearest = Some((place, price));
                }
            }
        }
        if let Some((place, _)) = dearest {
            let given = self.0.entry(place).or_default();
            *given = given.saturating_add(1);
        }
        Ok(dearest.map(|(_, price)| price))
    }
}
