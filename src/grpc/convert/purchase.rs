//! Purchases.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Mistakes, Path,
    amount::{decimal, money, parse_money, parse_optional_money, parse_points, parse_quantity},
    member::count,
    promotion::promotion_codes,
    required_text, text, time,
    voucher::voucher_codes,
};
use crate::{
    contract::v1,
    domain::{
        Currency, HoldId, Line, LineKind, MAX_LABELS, MAX_LINES, MAX_PAYMENTS, MAX_TENDERS, OrderId, OrderKey, Payment, Purchase,
        PurchaseMistake, QuoteId, StoreId, Tender, TenderKind,
    },
};

/// Whether store and order must be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Required,
    /// In a quote the sale may have no number yet.
    Optional,
}

const MAX_TEXT: usize = 64;

pub fn purchase(value: Option<v1::Purchase>, order: Order, currency: &Currency, mistakes: &mut Mistakes) -> Option<Purchase> {
    purchase_at(Path::Root.field("purchase"), value, order, currency, mistakes)
}

pub fn purchase_at(
    path: Path<'_>,
    value: Option<v1::Purchase>,
    order: Order,
    currency: &Currency,
    mistakes: &mut Mistakes,
) -> Option<Purchase> {
    let value = mistakes.require(path, value)?;
    let before = mistakes.found.len();
    let order = match order {
        Order::Required => order_key(path, &value.store_id, &value.order_id, mistakes).map(Some),
        Order::Optional => quoted_order(path, &value.store_id, &value.order_id, mistakes),
    };
    let occurred_time = match &value.occurred_time {
        None => Some(None),
        Some(instant) => time::parse_timestamp(path.field("occurred_time"), instant, mistakes).map(Some),
    };
    let mut amount = |name, money: &Option<v1::Money>| parse_optional_money(path.field(name), money.as_ref(), currency, mistakes);
    let order_discount = amount("order_discount", &value.order_discount);
    let shipping = amount("shipping", &value.shipping);
    let tip = amount("tip", &value.tip);
    let total = required_money(path.field("total"), value.total.as_ref(), currency, mistakes);
    let channel = text(path.field("channel"), value.channel, MAX_TEXT, mistakes);
    let lines = lines(path, value.lines, currency, mistakes);
    let tenders = tenders(path, &value.tenders, currency, mistakes);
    let labels = labels(path, value.labels, mistakes);
    let payments = payments(path, &value.points_payments, mistakes);
    let vouchers = voucher_codes(path, &value.voucher_codes, mistakes);
    let codes = promotion_codes(path, &value.codes, mistakes);
    let purchase = Purchase {
        order: order?,
        occurred_time: occurred_time?,
        channel: channel?,
        lines: lines?,
        order_discount: order_discount?,
        prices_include_tax: value.prices_include_tax,
        shipping: shipping?,
        tip: tip?,
        total: total?,
        tenders: tenders?,
        labels: labels?,
        payments: payments?,
        offline: value.offline,
        vouchers: vouchers?,
        codes: codes?,
        apply_effects: value.apply_price_effects,
        own_discounts: None,
        quote: None,
    };
    if value.price_effects_applied {
        mistakes.add(
            path.field("price_effects_applied"),
            "says of a recorded purchase that price effects are in its prices; to record such prices as they are, leave it out",
        );
    }
    // Sums of amounts that were refused would only confuse.
    if mistakes.found.len() == before
        && let Err(mistake) = purchase.check()
    {
        add_mistake(path, &mistake, mistakes);
    }
    Some(purchase)
}

fn add_mistake(path: Path<'_>, mistake: &PurchaseMistake, mistakes: &mut Mistakes) {
    let message = mistake.to_string();
    match mistake {
        PurchaseMistake::NoLines => mistakes.add(path.field("lines"), message),
        PurchaseMistake::LineDiscount { line, .. } => mistakes.add(path.item("lines", *line).field("discount"), message),
        PurchaseMistake::LineTax { line, .. } => mistakes.add(path.item("lines", *line).field("tax"), message),
        PurchaseMistake::OrderDiscount { .. } => mistakes.add(path.field("order_discount"), message),
        PurchaseMistake::Total { .. } => mistakes.add(path.field("total"), message),
        PurchaseMistake::Tenders { .. } => mistakes.add(path.field("tenders"), message),
        PurchaseMistake::OfflineTime => mistakes.add(path.field("occurred_time"), message),
        PurchaseMistake::OfflineCapture { payment } => {
            mistakes.add(path.item("points_payments", *payment).field("capture_hold"), message);
        }
        PurchaseMistake::EffectsTender { tender } => mistakes.add(path.item("tenders", *tender).field("kind"), message),
        PurchaseMistake::OfflineEffects => mistakes.add(path.field("apply_price_effects"), message),
        PurchaseMistake::Overflow => mistakes.add(path, message),
    }
}

/// Of a purchase that is to be recorded as it was quoted; empty: however it comes out.
pub fn quote_id(text: &str, mistakes: &mut Mistakes) -> Option<Option<QuoteId>> {
    if text.is_empty() { Some(None) } else { mistakes.take(Path::Root.field("quote_id"), text.parse()).map(Some) }
}

pub fn order_key(path: Path<'_>, store: &str, order: &str, mistakes: &mut Mistakes) -> Option<OrderKey> {
    let store = mistakes.take(path.field("store_id"), StoreId::new(store));
    let order = mistakes.take(path.field("order_id"), OrderId::new(order));
    Some(OrderKey { store: store?, order: order? })
}

/// Both or none.
pub fn optional_order(path: Path<'_>, store: &str, order: &str, mistakes: &mut Mistakes) -> Option<Option<OrderKey>> {
    match (store, order) {
        ("", "") => Some(None),
        (store, order) => order_key(path, store, order, mistakes).map(Some),
    }
}

/// What a quote says of store and order. A store alone is kept, since rules ask for it.
fn quoted_order(path: Path<'_>, store: &str, order: &str, mistakes: &mut Mistakes) -> Option<Option<OrderKey>> {
    match (store, order) {
        ("", "") => Some(None),
        ("", _) => {
            mistakes.add(path.field("store_id"), "is required beside order_id");
            None
        }
        (store, "") => {
            let store = mistakes.take(path.field("store_id"), StoreId::new(store))?;
            Some(Some(OrderKey { store, order: OrderId::unnumbered() }))
        }
        (store, order) => order_key(path, store, order, mistakes).map(Some),
    }
}

fn required_money(path: Path<'_>, value: Option<&v1::Money>, currency: &Currency, mistakes: &mut Mistakes) -> Option<Decimal> {
    let value = mistakes.require(path, value)?;
    parse_money(path, value, currency, mistakes)
}

fn lines(path: Path<'_>, lines: Vec<v1::PurchaseLine>, currency: &Currency, mistakes: &mut Mistakes) -> Option<Vec<Line>> {
    if !(1..=MAX_LINES).contains(&lines.len()) {
        mistakes.add(path.field("lines"), format!("has {} lines; 1 to {MAX_LINES} are allowed", lines.len()));
        return None;
    }
    let parsed = lines.into_iter().enumerate().map(|(index, value)| line(path.item("lines", index), value, currency, mistakes));
    // All lines are looked at, so that all mistakes are named.
    let parsed: Vec<Option<Line>> = parsed.collect();
    parsed.into_iter().collect()
}

fn line(path: Path<'_>, value: v1::PurchaseLine, currency: &Currency, mistakes: &mut Mistakes) -> Option<Line> {
    use v1::purchase_line::Kind;
    let kind = match Kind::try_from(value.kind) {
        Ok(Kind::Unspecified | Kind::Goods) => Some(LineKind::Goods),
        Ok(Kind::GiftCard) => Some(LineKind::GiftCard),
        Err(_) => {
            mistakes.add(path.field("kind"), format!("has no value {}", value.kind));
            None
        }
    };
    let sku = text(path.field("sku"), value.sku, MAX_TEXT, mistakes);
    let category = text(path.field("category"), value.category, MAX_TEXT, mistakes);
    let labels = labels(path, value.labels, mistakes);
    let quantity = parse_quantity(path.field("quantity"), &value.quantity, mistakes);
    let amount = required_money(path.field("amount"), value.amount.as_ref(), currency, mistakes);
    let discount = parse_optional_money(path.field("discount"), value.discount.as_ref(), currency, mistakes);
    let tax = parse_optional_money(path.field("tax"), value.tax.as_ref(), currency, mistakes);
    Some(Line {
        sku: sku?,
        category: category?,
        labels: labels?,
        quantity: quantity?,
        amount: amount?,
        discount: discount?,
        tax: tax?,
        kind: kind?,
    })
}

fn labels(path: Path<'_>, labels: Vec<String>, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    if labels.len() > MAX_LABELS {
        mistakes.add(path.field("labels"), format!("has {} of at most {MAX_LABELS}", labels.len()));
        return None;
    }
    let parsed = labels.into_iter().enumerate().map(|(index, label)| required_text(path.item("labels", index), label, MAX_TEXT, mistakes));
    let parsed: Vec<Option<String>> = parsed.collect();
    parsed.into_iter().collect()
}

fn tenders(path: Path<'_>, tenders: &[v1::Tender], currency: &Currency, mistakes: &mut Mistakes) -> Option<Vec<Tender>> {
    if tenders.len() > MAX_TENDERS {
        mistakes.add(path.field("tenders"), format!("has {} of at most {MAX_TENDERS}", tenders.len()));
        return None;
    }
    let parsed = tenders.iter().enumerate().map(|(index, tender)| {
        let path = path.item("tenders", index);
        let kind = tender_kind(path.field("kind"), tender.kind, mistakes);
        let amount = required_money(path.field("amount"), tender.amount.as_ref(), currency, mistakes);
        Some(Tender { kind: kind?, amount: amount? })
    });
    let parsed: Vec<Option<Tender>> = parsed.collect();
    parsed.into_iter().collect()
}

fn tender_kind(path: Path<'_>, kind: i32, mistakes: &mut Mistakes) -> Option<TenderKind> {
    use v1::tender::Kind;
    match Kind::try_from(kind) {
        Ok(Kind::Cash) => Some(TenderKind::Cash),
        Ok(Kind::Card) => Some(TenderKind::Card),
        Ok(Kind::StoreCard) => Some(TenderKind::StoreCard),
        Ok(Kind::GiftCard) => Some(TenderKind::GiftCard),
        Ok(Kind::Points) => Some(TenderKind::Points),
        Ok(Kind::Voucher) => Some(TenderKind::Voucher),
        Ok(Kind::Other) => Some(TenderKind::Other),
        Ok(Kind::Unspecified) => {
            mistakes.add(path, "is required");
            None
        }
        Err(_) => {
            mistakes.add(path, format!("has no value {kind}"));
            None
        }
    }
}

fn payments(path: Path<'_>, payments: &[v1::PointsPayment], mistakes: &mut Mistakes) -> Option<Vec<Payment>> {
    if payments.len() > MAX_PAYMENTS {
        mistakes.add(path.field("points_payments"), format!("has {} of at most {MAX_PAYMENTS}", payments.len()));
        return None;
    }
    let parsed = payments.iter().enumerate().map(|(index, value)| payment(path.item("points_payments", index), value, mistakes));
    let parsed: Vec<Option<Payment>> = parsed.collect();
    parsed.into_iter().collect()
}

fn payment(path: Path<'_>, value: &v1::PointsPayment, mistakes: &mut Mistakes) -> Option<Payment> {
    use v1::points_payment::Payment as Document;
    match &value.payment {
        Some(Document::RedeemPoints(points)) => {
            let points = parse_points(path.field("redeem_points"), *points, mistakes)?;
            Some(Payment::Redeem { points })
        }
        Some(Document::CaptureHold(capture)) => {
            let path = path.field("capture_hold");
            let hold = hold_id(path.field("hold_id"), &capture.hold_id, mistakes);
            let points = match capture.points {
                None => Some(None),
                Some(points) => parse_points(path.field("points"), points, mistakes).map(Some),
            };
            Some(Payment::Capture { hold: hold?, points: points? })
        }
        Some(Document::RedemptionSequence(redemption)) => {
            let redemption = sequence(path.field("redemption_sequence"), *redemption, mistakes)?;
            Some(Payment::Redeemed { redemption })
        }
        None => {
            mistakes.add(path, "needs one of redeem_points, capture_hold, redemption_sequence");
            None
        }
    }
}

/// The number of an entry.
pub fn sequence(path: Path<'_>, sequence: i64, mistakes: &mut Mistakes) -> Option<u64> {
    let parsed = u64::try_from(sequence).ok().filter(|sequence| *sequence > 0);
    if parsed.is_none() {
        mistakes.add(path, "is required: 1 or more");
    }
    parsed
}

pub fn hold_id(path: Path<'_>, text: &str, mistakes: &mut Mistakes) -> Option<HoldId> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| is_number).map(HoldId);
    if parsed.is_none() {
        mistakes
            .add(path, if text.is_empty() { "is required" } else { "is not the id of a hold, which is a number as HoldPoints returns it" });
    }
    parsed
}

fn payment_out(payment: &Payment) -> v1::PointsPayment {
    use v1::points_payment::{HoldCapture, Payment as Document};
    let payment = match payment {
        Payment::Redeem { points } => Document::RedeemPoints(points.0),
        Payment::Capture { hold, points } => {
            Document::CaptureHold(HoldCapture { hold_id: hold.to_string(), points: points.map(|points| points.0) })
        }
        Payment::Redeemed { redemption } => Document::RedemptionSequence(count(*redemption)),
    };
    v1::PointsPayment { payment: Some(payment) }
}

/// As it was recorded: with the time that counts, and without amounts of 0.
pub fn purchase_out(purchase: &Purchase, occurred_time: Timestamp, currency: &Currency) -> v1::Purchase {
    let optional = |amount: Decimal| (!amount.is_zero()).then(|| money(amount, currency));
    let order = purchase.order.as_ref();
    v1::Purchase {
        store_id: order.map_or_else(String::new, |order| order.store.to_string()),
        order_id: order.map_or_else(String::new, |order| order.order.to_string()),
        occurred_time: Some(time::timestamp(occurred_time)),
        channel: purchase.channel.clone(),
        lines: purchase.lines.iter().map(|line| line_out(line, currency)).collect(),
        order_discount: optional(purchase.order_discount),
        prices_include_tax: purchase.prices_include_tax,
        shipping: optional(purchase.shipping),
        tip: optional(purchase.tip),
        total: Some(money(purchase.total, currency)),
        tenders: purchase.tenders.iter().map(|tender| tender_out(tender, currency)).collect(),
        labels: purchase.labels.clone(),
        points_payments: purchase.payments.iter().map(payment_out).collect(),
        offline: purchase.offline,
        voucher_codes: purchase.vouchers.iter().map(ToString::to_string).collect(),
        codes: purchase.codes.clone(),
        // That asks for effects, and these prices have them.
        apply_price_effects: false,
        price_effects_applied: purchase.apply_effects,
    }
}

fn line_out(line: &Line, currency: &Currency) -> v1::PurchaseLine {
    let optional = |amount: Decimal| (!amount.is_zero()).then(|| money(amount, currency));
    let kind = match line.kind {
        LineKind::Goods => v1::purchase_line::Kind::Goods,
        LineKind::GiftCard => v1::purchase_line::Kind::GiftCard,
    };
    v1::PurchaseLine {
        sku: line.sku.clone(),
        category: line.category.clone(),
        labels: line.labels.clone(),
        quantity: decimal(line.quantity),
        amount: Some(money(line.amount, currency)),
        discount: optional(line.discount),
        tax: optional(line.tax),
        kind: kind.into(),
    }
}

fn tender_out(tender: &Tender, currency: &Currency) -> v1::Tender {
    use v1::tender::Kind;
    let kind = match tender.kind {
        TenderKind::Cash => Kind::Cash,
        TenderKind::Card => Kind::Card,
        TenderKind::StoreCard => Kind::StoreCard,
        TenderKind::GiftCard => Kind::GiftCard,
        TenderKind::Points => Kind::Points,
        TenderKind::Voucher => Kind::Voucher,
        TenderKind::Other => Kind::Other,
    };
    v1::Tender { kind: kind.into(), amount: Some(money(tender.amount, currency)) }
}
