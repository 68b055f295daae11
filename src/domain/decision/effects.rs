//! A purchase becomes what is paid: the only place where prices change, for quotes and for what is recorded.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    super::{PriceEffect, Purchase, Rejection, VoucherChange, effects::Basket},
    Draft,
    vouchers::check_minimum,
};

impl Draft<'_> {
    /// Uses the vouchers of a purchase. One that asks for it comes out with the prices that they and the member's tier leave, and why.
    pub(super) fn price(
        &mut self,
        purchase: &Arc<Purchase>,
        occurred_time: Timestamp,
    ) -> Result<(Arc<Purchase>, Vec<PriceEffect>), Rejection> {
        if !purchase.apply_effects {
            self.use_vouchers(purchase, occurred_time)?;
            return Ok((without_quote(purchase), Vec::new()));
        }
        let program = self.context.programs.at(occurred_time);
        let mut basket = Basket::new(purchase, program.currency.digits())?;
        // What it comes to at the till, before tier and vouchers.
        let goods = basket.goods()?;
        // The tier before the purchase: what is paid decides on the one after it.
        if let Some(tier) = program.tiers.get(program.rank(self.member.header.tier.at(occurred_time))) {
            basket.apply_tier(tier, tier.benefits.discount_at(occurred_time, &program.time_zone))?;
        }
        for code in &purchase.vouchers {
            let voucher = self.usable_voucher(*code, purchase.order.as_ref(), occurred_time)?;
            check_minimum(voucher.minimum_order, goods)?;
            let (value, issued) = (basket.apply_voucher(voucher)?, voucher.issued);
            let change = VoucherChange::Used { order: purchase.order.clone(), value: Some(value) };
            self.change_voucher((*code, issued), change, occurred_time)?;
        }
        let (priced, effects) = basket.finish()?;
        let tendered = priced.tendered()?;
        if !priced.tenders.is_empty() && tendered != priced.total {
            return Err(Rejection::TendersMismatch { total: priced.total, tendered });
        }
        Ok((Arc::new(priced), effects))
    }
}

/// As it is recorded: the quote has been kept, or nothing is.
fn without_quote(purchase: &Arc<Purchase>) -> Arc<Purchase> {
    if purchase.quote.is_none() { Arc::clone(purchase) } else { Arc::new(Purchase { quote: None, ..Purchase::clone(purchase) }) }
}
