//! Rows of a purchase file become requests: adjacent rows with the same store and order are the lines of one purchase.

use rust_decimal::Decimal;
use tokio::sync::mpsc;

use super::{
    file::{Refusal, Row, Table},
    mapping::Columns,
    request_id,
    time::TimeReader,
};
use crate::{cli::CliError, contract::v1};

/// The service takes no more lines in a purchase; what is beyond is not kept in memory.
const MOST_LINES: usize = 10_000;

/// What a purchase file can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum PurchaseField {
    Order,
    Member,
    Time,
    Amount,
    Store,
    Quantity,
    Sku,
    Category,
    Discount,
    Tax,
    Channel,
}

/// What is the same for all rows.
#[derive(Debug, Clone)]
pub struct Settings {
    pub program: String,
    pub currency: String,
    /// The store of rows that name none.
    pub store: Option<String>,
    pub channel: Option<String>,
    pub prices_include_tax: bool,
    pub limit_discount: bool,
    pub time: TimeReader,
}

/// A purchase as the file has it.
#[derive(Debug)]
pub struct Basket {
    /// Of the first row.
    pub start: csv::Position,
    pub rows: u64,
    pub order: String,
    pub member: String,
    pub request: Result<v1::RecordPurchaseRequest, Refusal>,
    /// Rows whose discount was lowered to the amount.
    pub limited: u64,
    /// Bytes of the file up to the end of its rows.
    pub position: u64,
}

/// Reads the whole file into the channel, as fast as baskets are taken out. Ends early when nobody listens any more.
pub fn read(mut table: Table<PurchaseField>, settings: &Settings, baskets: &mpsc::Sender<Basket>) -> Result<(), CliError> {
    let columns = table.columns.clone();
    let mut open: Option<Builder> = None;
    while let Some(row) = table.next_row()? {
        let order = columns.get(&row.fields, PurchaseField::Order).unwrap_or_default();
        let store = columns.get(&row.fields, PurchaseField::Store).or(settings.store.as_deref()).unwrap_or_default();
        let same = !order.is_empty() && open.as_ref().is_some_and(|basket| basket.order == order && basket.store == store);
        if !same {
            let next = Builder::new(order, store, &columns, &row, settings);
            if let Some(done) = open.replace(next)
                && baskets.blocking_send(done.finish(settings)).is_err()
            {
                return Ok(());
            }
        }
        open.as_mut().expect("a basket is open").add(&columns, &row, settings);
    }
    if let Some(done) = open {
        // Nobody listens any more: the import was stopped.
        let _ = baskets.blocking_send(done.finish(settings));
    }
    Ok(())
}

/// A purchase whose rows are being read.
struct Builder {
    start: csv::Position,
    rows: u64,
    order: String,
    store: String,
    /// What all rows of a purchase must agree on, as the first one has it.
    member: String,
    time: String,
    channel: String,
    lines: Vec<v1::PurchaseLine>,
    total: Decimal,
    limited: u64,
    refusal: Option<Refusal>,
    position: u64,
}

impl Builder {
    fn new(order: &str, store: &str, columns: &Columns<PurchaseField>, row: &Row, settings: &Settings) -> Self {
        let text = |field| columns.get(&row.fields, field).unwrap_or_default().to_owned();
        let channel = columns.get(&row.fields, PurchaseField::Channel).or(settings.channel.as_deref()).unwrap_or_default();
        Self {
            start: row.start.clone(),
            rows: 0,
            order: order.to_owned(),
            store: store.to_owned(),
            member: text(PurchaseField::Member),
            time: text(PurchaseField::Time),
            channel: channel.to_owned(),
            lines: Vec::new(),
            total: Decimal::ZERO,
            limited: 0,
            refusal: None,
            position: row.position,
        }
    }

    fn add(&mut self, columns: &Columns<PurchaseField>, row: &Row, settings: &Settings) {
        self.rows += 1;
        self.position = row.position;
        if self.refusal.is_some() {
            return;
        }
        if let Err(refusal) = self.add_line(columns, row, settings) {
            let message = format!("line {}: {}", row.line, refusal.message);
            self.refusal = Some(Refusal { message, ..refusal });
            self.lines = Vec::new();
        }
    }

    fn add_line(&mut self, columns: &Columns<PurchaseField>, row: &Row, settings: &Settings) -> Result<(), Refusal> {
        if let Some(broken) = &row.broken {
            return Err(broken.clone());
        }
        if self.lines.len() == MOST_LINES {
            return Err(Refusal::row(format!("a purchase has at most {MOST_LINES} lines")));
        }
        self.agree(columns, row)?;
        let text = |field| columns.get(&row.fields, field);
        let amount = decimal(text(PurchaseField::Amount), "amount")?.ok_or_else(|| Refusal::row("the amount is missing"))?;
        let mut discount = decimal(text(PurchaseField::Discount), "discount")?;
        if settings.limit_discount && discount.is_some_and(|discount| discount > amount) {
            discount = Some(amount);
            self.limited += 1;
        }
        let tax = decimal(text(PurchaseField::Tax), "tax")?;
        let on_top = if settings.prices_include_tax { None } else { tax };
        self.total = (|| {
            let net = amount.checked_sub(discount.unwrap_or_default())?;
            self.total.checked_add(net)?.checked_add(on_top.unwrap_or_default())
        })()
        .ok_or_else(|| Refusal::row("the amounts are too large"))?;
        let money = |amount: Decimal| v1::Money { currency_code: settings.currency.clone(), amount: amount.normalize().to_string() };
        self.lines.push(v1::PurchaseLine {
            sku: text(PurchaseField::Sku).unwrap_or_default().to_owned(),
            category: text(PurchaseField::Category).unwrap_or_default().to_owned(),
            quantity: decimal(text(PurchaseField::Quantity), "quantity")?
                .map(|quantity| quantity.normalize().to_string())
                .unwrap_or_default(),
            amount: Some(money(amount)),
            discount: discount.filter(|discount| !discount.is_zero()).map(money),
            tax: tax.filter(|tax| !tax.is_zero()).map(money),
            ..Default::default()
        });
        Ok(())
    }

    fn agree(&self, columns: &Columns<PurchaseField>, row: &Row) -> Result<(), Refusal> {
        let first = [(PurchaseField::Member, &self.member, "member"), (PurchaseField::Time, &self.time, "time")];
        for (field, first, name) in first {
            if columns.get(&row.fields, field).unwrap_or_default() != *first {
                return Err(Refusal::row(format!("its {name} is another than in line {}, the first one of the order", self.start.line())));
            }
        }
        Ok(())
    }

    fn finish(mut self, settings: &Settings) -> Basket {
        let refusal = self.refusal.take();
        let lines = std::mem::take(&mut self.lines);
        let request = match refusal {
            Some(refusal) => Err(refusal),
            None => self.request(lines, settings),
        };
        let Self { start, rows, order, member, limited, position, .. } = self;
        Basket { start, rows, order, member, request, limited, position }
    }

    fn request(&self, lines: Vec<v1::PurchaseLine>, settings: &Settings) -> Result<v1::RecordPurchaseRequest, Refusal> {
        for (text, name) in [(&self.order, "order"), (&self.store, "store"), (&self.member, "member"), (&self.time, "time")] {
            if text.is_empty() {
                return Err(Refusal::row(format!("the {name} is missing")));
            }
        }
        let purchase = v1::Purchase {
            store_id: self.store.clone(),
            order_id: self.order.clone(),
            occurred_time: Some(settings.time.instant(&self.time)?),
            channel: self.channel.clone(),
            lines,
            prices_include_tax: settings.prices_include_tax,
            total: Some(v1::Money { currency_code: settings.currency.clone(), amount: self.total.normalize().to_string() }),
            ..Default::default()
        };
        Ok(v1::RecordPurchaseRequest {
            request_id: request_id(&["purchase", &settings.program, &self.store, &self.order]),
            program_id: settings.program.clone(),
            member: Some(super::member_ref(&self.member)),
            purchase: Some(purchase),
            ..Default::default()
        })
    }
}

/// A number that is not negative. Trailing zeros do not matter: 10000.00 is 10000.
fn decimal(text: Option<&str>, name: &str) -> Result<Option<Decimal>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let number = Decimal::from_str_exact(text).map_err(|_| Refusal::row(format!("the {name} {text:?} is not a decimal number")))?;
    if number.is_sign_negative() && !number.is_zero() {
        return Err(Refusal::row(format!("the {name} {text} is negative; returns cannot be imported")));
    }
    Ok(Some(number.abs()))
}
