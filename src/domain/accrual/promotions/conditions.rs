//! What conditions of promotions read: of the goods all, or what is left of them; of the member what was so at the sale.

use std::cell::OnceCell;

use jiff::{Timestamp, civil::DateTime};

use super::{QUANTITY_DIGITS, Sale};
use crate::domain::{
    AmountField, Facts, LineAmountField, LineKind, LineListField, LineTextField, ListField, MemberFacts, NumberField, Overflow, Promotion,
    SegmentId, TenderKind, TextField, TierId, TimeField, TruthField, accrual::remaining::Rest, calendar, money,
};

/// A purchase, all of it or what is left, with what promotions see of the member.
pub(in crate::domain::accrual) struct Ground<'s, 'a> {
    pub sale: &'s Sale<'a>,
    /// `None`: nothing has come back.
    pub rest: Option<&'s Rest<'s>>,
    /// By which the sale is rated.
    pub tier: Option<&'s TierId>,
    pub member: &'s MemberFacts,
    /// The lines of goods that are left; empty where nothing has come back.
    left: Vec<usize>,
    /// What takes all lines to say is found once, however often it is asked for: units of all of them, and the value that has come back.
    quantity: OnceCell<Result<i128, Overflow>>,
    value_back: OnceCell<i128>,
}

impl<'s, 'a> Ground<'s, 'a> {
    pub fn new(sale: &'s Sale<'a>, rest: Option<&'s Rest<'s>>, tier: Option<&'s TierId>, member: &'s MemberFacts) -> Self {
        let left = rest.map_or_else(Vec::new, |rest| (0..sale.purchase.lines.len()).filter(|line| !rest.is_gone(*line)).collect());
        Self { sale, rest, tier, member, left, quantity: OnceCell::new(), value_back: OnceCell::new() }
    }

    /// Nothing of a line is left that a promotion could count. Shipping and tip count for amounts until the whole sale comes back, as they do for
    /// rules; what is given for goods goes with the last of them.
    pub fn is_gone(&self, promotion: &Promotion, line: usize) -> bool {
        self.rest.is_some_and(|rest| if promotion.goes_by_amount() { rest.is_amount_gone(line) } else { rest.is_gone(line) })
    }

    /// In 1/1000; of shipping and tip none.
    pub fn units(&self, line: usize) -> Result<i128, Overflow> {
        match (self.rest, self.sale.purchase.lines.get(line)) {
            (Some(rest), _) => Ok(rest.quantity_left(line)),
            (None, Some(goods)) => money::to_units(goods.quantity, QUANTITY_DIGITS),
            (None, None) => Ok(0),
        }
    }

    /// The number of a line of the purchase among those that are left.
    pub fn number(&self, line: usize) -> usize {
        if self.rest.is_some() { self.left.binary_search(&line).unwrap_or(line) } else { line }
    }

    /// The line of the purchase with a number among those that are left.
    fn line(&self, number: usize) -> usize {
        if self.rest.is_some() { self.left.get(number).copied().unwrap_or(number) } else { number }
    }

    fn lines_left(&self) -> impl Iterator<Item = usize> {
        (0..self.lines()).map(|number| self.line(number))
    }
}

impl Facts for Ground<'_, '_> {
    fn local_time(&self) -> DateTime {
        self.sale.local_time
    }

    fn truth(&self, field: TruthField) -> Result<bool, Overflow> {
        Ok(match field {
            TruthField::PurchaseIsFirst => self.member.is_first,
            TruthField::PurchaseOffline => self.sale.purchase.offline,
        })
    }

    fn number(&self, field: NumberField) -> Result<i64, Overflow> {
        let days_since = |instant: Timestamp| {
            let (then, today) = (calendar::local_date(&self.sale.program.time_zone, instant), self.sale.local_time.date());
            calendar::days_between(then, today).map(|days| days.max(0))
        };
        match field {
            NumberField::MemberTierRank => i64::try_from(self.sale.program.rank(self.tier)).map_err(|_| Overflow),
            NumberField::MemberAgeDays => days_since(self.member.create_time),
            NumberField::MemberDaysSinceLastPurchase => days_since(self.member.last_purchase_time.unwrap_or(self.member.create_time)),
            NumberField::MemberPurchases => i64::try_from(self.member.purchases).map_err(|_| Overflow),
        }
    }

    fn amount(&self, field: AmountField) -> Result<i128, Overflow> {
        let (purchase, digits) = (self.sale.purchase, self.sale.digits());
        match field {
            AmountField::PurchaseBasis => Ok(self.sale.bases.total),
            AmountField::PurchaseTotal => {
                let back = *self.value_back.get_or_init(|| self.rest.map_or(0, Rest::value_back));
                Ok((money::to_units(purchase.total, digits)? - back).max(0))
            }
            AmountField::PurchaseOrderDiscount => money::to_units(purchase.own_order_discount(), digits),
            AmountField::PurchaseQuantity => {
                let sum = || self.lines_left().try_fold(0i128, |sum, line| sum.checked_add(self.units(line)?).ok_or(Overflow));
                *self.quantity.get_or_init(sum)
            }
            AmountField::MemberSpend => money::to_units(self.member.spend, digits),
            AmountField::MemberAvailablePoints => Ok(i128::from(self.member.available_points.0)),
            AmountField::MemberPendingPoints => Ok(i128::from(self.member.pending_points.0)),
            AmountField::MemberQualifyingPoints => Ok(i128::from(self.member.qualifying_points.0)),
        }
    }

    fn text(&self, field: TextField) -> &str {
        match field {
            TextField::PurchaseStoreId => self.sale.purchase.order.as_ref().map_or("", |order| order.store.as_str()),
            TextField::PurchaseChannel => &self.sale.purchase.channel,
            TextField::MemberTier => self.tier.map_or("", TierId::as_str),
        }
    }

    fn time(&self, field: TimeField) -> Timestamp {
        match field {
            TimeField::Now => self.sale.occurred_time,
            TimeField::MemberCreateTime => self.member.create_time,
        }
    }

    fn count(&self, field: ListField) -> usize {
        let purchase = self.sale.purchase;
        match field {
            ListField::PurchaseLabels => purchase.labels.len(),
            ListField::PurchaseTenders => purchase.tenders.iter().filter(|tender| !tender.amount.is_zero()).count(),
            ListField::PurchaseCodes => purchase.codes.len(),
            ListField::MemberSegments => self.member.segments.len(),
        }
    }

    fn item(&self, field: ListField, index: usize) -> &str {
        let purchase = self.sale.purchase;
        match field {
            ListField::PurchaseLabels => purchase.labels.get(index).map_or("", String::as_str),
            ListField::PurchaseTenders => {
                let mut paid = purchase.tenders.iter().filter(|tender| !tender.amount.is_zero());
                paid.nth(index).map_or("", |tender| tender_name(tender.kind))
            }
            ListField::PurchaseCodes => purchase.codes.get(index).map_or("", String::as_str),
            ListField::MemberSegments => self.member.segments.get(index).map_or("", SegmentId::as_str),
        }
    }

    fn lines(&self) -> usize {
        if self.rest.is_some() { self.left.len() } else { self.sale.purchase.lines.len() }
    }

    fn line_text(&self, field: LineTextField, number: usize) -> &str {
        let Some(line) = self.sale.purchase.lines.get(self.line(number)) else { return "" };
        match field {
            LineTextField::Sku => &line.sku,
            LineTextField::Category => &line.category,
            LineTextField::Kind => kind_name(line.kind),
        }
    }

    fn line_amount(&self, field: LineAmountField, number: usize) -> Result<i128, Overflow> {
        let (place, digits) = (self.line(number), self.sale.digits());
        let Some(line) = self.sale.purchase.lines.get(place) else { return Ok(0) };
        let left = |amount| {
            let amount = money::to_units(amount, digits)?;
            self.rest.map_or(Ok(amount), |rest| rest.part_of_line(place, amount))
        };
        match field {
            LineAmountField::Quantity => self.units(place),
            LineAmountField::Amount => left(line.amount),
            LineAmountField::Discount => left(self.sale.purchase.own_line_discount(place)),
            LineAmountField::Basis => Ok(self.sale.bases.lines.get(place).map_or(0, |basis| basis.amount)),
        }
    }

    fn line_count(&self, field: LineListField, number: usize) -> usize {
        match field {
            LineListField::Labels => self.sale.purchase.lines.get(self.line(number)).map_or(0, |line| line.labels.len()),
        }
    }

    fn line_item(&self, field: LineListField, number: usize, index: usize) -> &str {
        match field {
            LineListField::Labels => {
                let line = self.sale.purchase.lines.get(self.line(number));
                line.and_then(|line| line.labels.get(index)).map_or("", String::as_str)
            }
        }
    }
}

fn kind_name(kind: LineKind) -> &'static str {
    match kind {
        LineKind::Goods => "goods",
        LineKind::GiftCard => "gift_card",
    }
}

fn tender_name(kind: TenderKind) -> &'static str {
    match kind {
        TenderKind::Cash => "cash",
        TenderKind::Card => "card",
        TenderKind::StoreCard => "store_card",
        TenderKind::GiftCard => "gift_card",
        TenderKind::Points => "points",
        TenderKind::Voucher => "voucher",
        TenderKind::Other => "other",
    }
}
