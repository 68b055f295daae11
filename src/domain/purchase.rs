//! A sale as the till sees it, with sums that agree.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{HoldId, OrderId, Overflow, Points, Program, PurchaseTimePolicy, QuoteId, Rejection, StoreId, VoucherCode};

pub const MAX_LINES: usize = 10_000;
pub const MAX_TENDERS: usize = 20;
pub const MAX_LABELS: usize = 20;
pub const MAX_PAYMENTS: usize = 10;
/// Lines of all awards of a purchase. Bounds the entry that explains it to what clients take in one message (4 MiB), and the work.
pub const MAX_AWARD_LINES: usize = 50_000;

/// What the promotions of a purchase may look at: each line of it counts one step for each promotion that must look at its lines, and each line
/// of a rule's award [`RECKONING_STEPS`] for each promotion that multiplies what rules gave on some lines. That is the most lines for the most
/// promotions, and half as much again. What a return looks at is what its sale did, twice.
pub const MAX_PROMOTION_STEPS: usize = 3_000_000;

/// To reckon a line costs more than to look at it.
pub const RECKONING_STEPS: usize = 4;

/// A sale whose sums agree: [`Purchase::check`] has been asked. Amounts are in the programme's currency, not negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// `None` only in quotes.
    pub order: Option<OrderKey>,
    /// `None`: now.
    pub occurred_time: Option<Timestamp>,
    /// Empty: not said.
    pub channel: String,
    pub lines: Vec<Line>,
    pub order_discount: Decimal,
    pub prices_include_tax: bool,
    pub shipping: Decimal,
    pub tip: Decimal,
    pub total: Decimal,
    pub tenders: Vec<Tender>,
    pub labels: Vec<String>,
    /// Where the tenders of points come from, if this service is to know; then they are worth as much in sum.
    pub payments: Vec<Payment>,
    /// The till could not ask the service: points that it redeemed are given already.
    pub offline: bool,
    /// Used with it, each once; what they take off is in discounts and tenders as the till says.
    pub vouchers: Vec<VoucherCode>,
    /// Of promotions, as [`super::promotion_code`] writes them, each once; at most [`super::MAX_PROMOTION_CODES`]. One that no promotion asks
    /// for changes nothing.
    pub codes: Vec<String>,
    /// Its prices are those before what the member's tier and vouchers take off, and so is its total; one that is recorded has the prices and
    /// the total after it, with which its tenders agree.
    pub apply_effects: bool,
    /// Of one that is recorded with effects: what its discounts were before. `None`: all of them are the till's.
    pub own_discounts: Option<Box<OwnDiscounts>>,
    /// What was promised for it, if that is to be kept; a purchase that is recorded has none.
    pub quote: Option<QuoteId>,
}

/// What the till took off itself, where more has been taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDiscounts {
    pub order_discount: Decimal,
    /// By the places of the lines; the others had none.
    pub lines: BTreeMap<usize, Decimal>,
}

/// Points that pay a part of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Spent with the purchase, in one commit.
    Redeem { points: Points },
    /// Of a hold, which ends; `None`: all of it.
    Capture { hold: HoldId, points: Option<Points> },
    /// Spent before: sequence of the entry.
    Redeemed { redemption: u64 },
}

/// What makes a purchase unique in its programme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey {
    pub store: StoreId,
    pub order: OrderId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub sku: String,
    pub category: String,
    pub labels: Vec<String>,
    pub quantity: Decimal,
    /// For all units together, before discounts.
    pub amount: Decimal,
    pub discount: Decimal,
    /// Inside `amount` if the purchase's prices include tax, otherwise on top.
    pub tax: Decimal,
    pub kind: LineKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Goods,
    GiftCard,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tender {
    pub kind: TenderKind,
    pub amount: Decimal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TenderKind {
    Cash,
    Card,
    StoreCard,
    GiftCard,
    Points,
    Voucher,
    Other,
}

/// Why the sums of a purchase do not agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PurchaseMistake {
    #[error("has no lines; at least one is required")]
    NoLines,
    #[error("the discount {discount} is more than the line's amount {amount}")]
    LineDiscount { line: usize, amount: Decimal, discount: Decimal },
    #[error("the tax {tax} is more than the line's amount after discount, {net}, which is said to include it")]
    LineTax { line: usize, net: Decimal, tax: Decimal },
    #[error("the order discount {discount} is more than the lines come to, {lines}")]
    OrderDiscount { lines: Decimal, discount: Decimal },
    #[error("is {total}, but lines, discounts, tax, shipping and tip come to {sum}")]
    Total { total: Decimal, sum: Decimal },
    #[error("sum to {sum}, but the total is {total}")]
    Tenders { total: Decimal, sum: Decimal },
    #[error("is required of an offline purchase")]
    OfflineTime,
    #[error("is not for an offline purchase: the till has given its prices already")]
    OfflineEffects,
    #[error(
        "is a voucher's, but with apply_price_effects the vouchers of voucher_codes are in the prices already; a tender of another kind pays the rest, \
         KIND_OTHER for paper that this service does not know"
    )]
    EffectsTender { tender: usize },
    #[error("cannot be captured offline: the points are set aside in the service")]
    OfflineCapture { payment: usize },
    #[error("the amounts are too large")]
    Overflow,
}

impl From<Overflow> for PurchaseMistake {
    fn from(Overflow: Overflow) -> Self {
        PurchaseMistake::Overflow
    }
}

impl Line {
    /// What the customer pays for the line before order discounts; not negative in a checked purchase.
    pub fn net(&self) -> Result<Decimal, Overflow> {
        self.amount.checked_sub(self.discount).ok_or(Overflow)
    }
}

impl Purchase {
    /// What the till took off the order itself.
    pub(super) fn own_order_discount(&self) -> Decimal {
        self.own_discounts.as_ref().map_or(self.order_discount, |own| own.order_discount)
    }

    /// What the till took off a line itself.
    pub(super) fn own_line_discount(&self, place: usize) -> Decimal {
        match &self.own_discounts {
            Some(own) => own.lines.get(&place).copied().unwrap_or_default(),
            None => self.lines.get(place).map_or(Decimal::ZERO, |line| line.discount),
        }
    }

    /// What is paid with points.
    pub fn points_tender(&self) -> Result<Decimal, Overflow> {
        let tenders = self.tenders.iter().filter(|tender| tender.kind == TenderKind::Points);
        tenders.map(|tender| tender.amount).try_fold(Decimal::ZERO, add)
    }

    /// What all tenders come to.
    pub fn tendered(&self) -> Result<Decimal, Overflow> {
        self.tenders.iter().map(|tender| tender.amount).try_fold(Decimal::ZERO, add)
    }

    /// The points that are redeemed with it.
    pub fn redeemed_points(&self) -> Result<Points, Overflow> {
        let redeemed = self.payments.iter().filter_map(|payment| match payment {
            Payment::Redeem { points } => Some(*points),
            Payment::Capture { .. } | Payment::Redeemed { .. } => None,
        });
        Points::total(redeemed)
    }

    /// Says whether the sums agree; every mistake of the first kind found.
    pub fn check(&self) -> Result<(), PurchaseMistake> {
        if self.lines.is_empty() {
            return Err(PurchaseMistake::NoLines);
        }
        let mut nets = Decimal::ZERO;
        let mut taxes = Decimal::ZERO;
        for (index, line) in self.lines.iter().enumerate() {
            let net = line.net()?;
            if net < Decimal::ZERO {
                return Err(PurchaseMistake::LineDiscount { line: index, amount: line.amount, discount: line.discount });
            }
            if self.prices_include_tax && line.tax > net {
                return Err(PurchaseMistake::LineTax { line: index, net, tax: line.tax });
            }
            nets = add(nets, net)?;
            taxes = add(taxes, line.tax)?;
        }
        if self.order_discount > nets {
            return Err(PurchaseMistake::OrderDiscount { lines: nets, discount: self.order_discount });
        }
        let mut sum = add(add(nets - self.order_discount, self.shipping)?, self.tip)?;
        if !self.prices_include_tax {
            sum = add(sum, taxes)?;
        }
        if sum != self.total {
            return Err(PurchaseMistake::Total { total: self.total, sum });
        }
        // What is to be paid shows when the effects are known.
        if self.apply_effects {
            self.check_no_voucher_pays_twice()?;
        } else {
            self.check_tenders()?;
        }
        self.check_offline()
    }

    fn check_offline(&self) -> Result<(), PurchaseMistake> {
        if !self.offline {
            return Ok(());
        }
        if self.occurred_time.is_none() {
            return Err(PurchaseMistake::OfflineTime);
        }
        if self.apply_effects {
            return Err(PurchaseMistake::OfflineEffects);
        }
        match self.payments.iter().position(|payment| matches!(payment, Payment::Capture { .. })) {
            Some(payment) => Err(PurchaseMistake::OfflineCapture { payment }),
            None => Ok(()),
        }
    }

    fn check_no_voucher_pays_twice(&self) -> Result<(), PurchaseMistake> {
        let tender = self.tenders.iter().position(|tender| tender.kind == TenderKind::Voucher).filter(|_| !self.vouchers.is_empty());
        tender.map_or(Ok(()), |tender| Err(PurchaseMistake::EffectsTender { tender }))
    }

    fn check_tenders(&self) -> Result<(), PurchaseMistake> {
        if self.tenders.is_empty() {
            return Ok(());
        }
        let sum = self.tendered()?;
        if sum == self.total { Ok(()) } else { Err(PurchaseMistake::Tenders { total: self.total, sum }) }
    }
}

fn add(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    a.checked_add(b).ok_or(Overflow)
}

/// Bounds how old and how far ahead a purchase may be.
pub(super) fn check_time(program: &Program, occurred_time: Timestamp, now: Timestamp) -> Result<(), Rejection> {
    let PurchaseTimePolicy { max_age_days, max_ahead_seconds } = program.purchase_time;
    match program.purchase_time.judge(occurred_time, now) {
        Ordering::Less => Err(Rejection::PurchaseTooOld { occurred_time, max_age_days }),
        Ordering::Greater => Err(Rejection::PurchaseInFuture { occurred_time, max_ahead_seconds }),
        Ordering::Equal => Ok(()),
    }
}
