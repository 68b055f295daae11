//! A sale as the till sees it, with sums that agree.

use std::cmp::Ordering;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{HoldId, OrderId, Overflow, Points, Program, PurchaseTimePolicy, Rejection, StoreId, VoucherCode};

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
    /// What is paid with points.
    pub fn points_tender(&self) -> Result<Decimal, Overflow> {
        let tenders = self.tenders.iter().filter(|tender| tender.kind == TenderKind::Points);
        tenders.map(|tender| tender.amount).try_fold(Decimal::ZERO, add)
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
        self.check_tenders()?;
        self.check_offline()
    }

    fn check_offline(&self) -> Result<(), PurchaseMistake> {
        if !self.offline {
            return Ok(());
        }
        if self.occurred_time.is_none() {
            return Err(PurchaseMistake::OfflineTime);
        }
        match self.payments.iter().position(|payment| matches!(payment, Payment::Capture { .. })) {
            Some(payment) => Err(PurchaseMistake::OfflineCapture { payment }),
            None => Ok(()),
        }
    }

    fn check_tenders(&self) -> Result<(), PurchaseMistake> {
        if self.tenders.is_empty() {
            return Ok(());
        }
        let sum = self.tenders.iter().try_fold(Decimal::ZERO, |sum, tender| add(sum, tender.amount))?;
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
