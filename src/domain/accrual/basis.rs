//! The basis: what of a purchase earns.

use crate::domain::{BasisPolicy, LineBasis, LineKind, Overflow, Purchase, TenderKind, money};

/// What earns, in the currency's smallest unit.
pub(super) struct Bases {
    /// Of each line, after them shipping and tip if they earn.
    pub lines: Vec<Basis>,
    pub total: i128,
}

pub(super) struct Basis {
    /// Gift cards may not; then no rule sees the line.
    pub earns: bool,
    pub amount: i128,
    pub order_discount_share: i128,
    pub tender_share: i128,
}

impl Bases {
    pub fn explained(&self, digits: u32) -> Result<Vec<LineBasis>, Overflow> {
        let explain = |basis: &Basis| {
            Ok(LineBasis {
                order_discount_share: money::from_units(basis.order_discount_share, digits)?,
                tender_share: money::from_units(basis.tender_share, digits)?,
                basis: money::from_units(basis.amount, digits)?,
            })
        };
        self.lines.iter().map(explain).collect()
    }
}

/// A line before tenders: what was paid for the goods themselves, and the tax on them.
struct Part {
    order_discount_share: i128,
    goods: i128,
    tax: i128,
}

/// basis = amount - discount - share of the order discount - tax (unless it earns) - share of what points and vouchers paid.
///
/// Points and vouchers pay for the whole order: goods, taxes, shipping and tip each bear their share, and what does not earn
/// takes its share with it. So the basis is never negative, and nothing is taken off twice.
pub(super) fn bases(policy: &BasisPolicy, purchase: &Purchase, digits: u32) -> Result<Bases, Overflow> {
    let parts = parts(purchase, digits)?;
    let shipping = money::to_units(purchase.shipping, digits)?;
    let tip = money::to_units(purchase.tip, digits)?;
    let spent = if policy.include_points_and_vouchers { 0 } else { points_and_vouchers(purchase, digits)? };
    let shares = tender_shares(&parts, shipping, tip, spent)?;

    let mut lines = Vec::with_capacity(parts.len() + 2);
    for (index, (part, line)) in parts.iter().zip(&purchase.lines).enumerate() {
        let (mut amount, mut tender_share) = (part.goods, shares.goods(index));
        if policy.include_tax {
            amount += part.tax;
            tender_share += shares.tax(index);
        }
        let earns = match line.kind {
            LineKind::Goods => true,
            LineKind::GiftCard => policy.include_gift_cards,
        };
        let amount = if earns { amount - tender_share } else { 0 };
        lines.push(Basis { earns, amount, order_discount_share: part.order_discount_share, tender_share });
    }
    for (included, amount, tender_share) in
        [(policy.include_shipping, shipping, shares.shipping()), (policy.include_tips, tip, shares.tip())]
    {
        if included && amount > 0 {
            lines.push(Basis { earns: true, amount: amount - tender_share, order_discount_share: 0, tender_share });
        }
    }
    let total = lines.iter().try_fold(0i128, |total, line| total.checked_add(line.amount)).ok_or(Overflow)?;
    Ok(Bases { lines, total })
}

fn parts(purchase: &Purchase, digits: u32) -> Result<Vec<Part>, Overflow> {
    let mut parts = Vec::with_capacity(purchase.lines.len());
    for line in &purchase.lines {
        parts.push(Part { order_discount_share: 0, goods: money::to_units(line.net()?, digits)?, tax: money::to_units(line.tax, digits)? });
    }
    if !purchase.order_discount.is_zero() {
        let nets: Vec<i128> = parts.iter().map(|part| part.goods).collect();
        let shares = money::share_units(money::to_units(purchase.order_discount, digits)?, &nets)?;
        for (part, share) in parts.iter_mut().zip(shares) {
            part.order_discount_share = share;
            part.goods -= share;
        }
    }
    if purchase.prices_include_tax {
        for part in &mut parts {
            part.tax = part.tax.min(part.goods);
            part.goods -= part.tax;
        }
    }
    Ok(parts)
}

fn points_and_vouchers(purchase: &Purchase, digits: u32) -> Result<i128, Overflow> {
    let mut spent = 0i128;
    for tender in &purchase.tenders {
        match tender.kind {
            TenderKind::Points | TenderKind::Voucher => {
                spent = spent.checked_add(money::to_units(tender.amount, digits)?).ok_or(Overflow)?;
            }
            TenderKind::Cash | TenderKind::Card | TenderKind::StoreCard | TenderKind::GiftCard | TenderKind::Other => {}
        }
    }
    Ok(spent)
}

/// What points and vouchers paid of the goods of each line, of its tax, of shipping and of the tip, in this order. Empty: nothing.
struct TenderShares(Vec<i128>);

impl TenderShares {
    fn of(&self, index: usize) -> i128 {
        self.0.get(index).copied().unwrap_or(0)
    }
    fn goods(&self, line: usize) -> i128 {
        self.of(2 * line)
    }
    fn tax(&self, line: usize) -> i128 {
        self.of(2 * line + 1)
    }
    fn shipping(&self) -> i128 {
        self.of(self.0.len().wrapping_sub(2))
    }
    fn tip(&self) -> i128 {
        self.of(self.0.len().wrapping_sub(1))
    }
}

fn tender_shares(parts: &[Part], shipping: i128, tip: i128, spent: i128) -> Result<TenderShares, Overflow> {
    if spent == 0 {
        return Ok(TenderShares(Vec::new()));
    }
    let mut weights = Vec::with_capacity(2 * parts.len() + 2);
    for part in parts {
        weights.extend([part.goods, part.tax]);
    }
    weights.extend([shipping, tip]);
    money::share_units(spent, &weights).map(TenderShares)
}
