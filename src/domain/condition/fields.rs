//! What a condition can read: the variables and their fields, by type, and [`Facts`], which answers them on demand.

use jiff::{Timestamp, civil::DateTime};

use crate::domain::{LatelyKind, MAX_ID_CHARS, Overflow};

/// Where a condition stands, which says what it can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Judged once for a purchase: `purchase`, with its lines, `member` and `now`.
    Purchase,
    /// Judged for each line of a purchase: `line`, `purchase` without its lines, `member` and `now`.
    Line,
    /// Judged for a member, whenever something about it changes or a local day begins: `member`, and of `now` the day.
    Segment,
}

/// What an amount is counted in. Amounts of different units are never compared or added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The programme's currency.
    Money,
    /// Points; a literal is in whole points.
    Points,
    /// Units of goods.
    Quantity,
}

/// Decimal places that literals of an amount can have, and that [`Facts`] answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    /// Of the currency.
    pub money: u32,
    /// Of a point.
    pub points: u32,
}

/// Decimal places of a quantity.
pub const QUANTITY_DIGITS: u32 = 3;

impl Digits {
    pub(super) fn of(self, unit: Unit) -> u32 {
        match unit {
            Unit::Money => self.money,
            Unit::Points => self.points,
            Unit::Quantity => QUANTITY_DIGITS,
        }
    }
}

/// Anything that a condition can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Truth(TruthField),
    Number(NumberField),
    Amount(AmountField),
    Text(TextField),
    List(ListField),
    Time(TimeField),
    Calendar(CalendarField),
    /// `purchase.lines`.
    Lines,
    LineText(LineTextField),
    LineAmount(LineAmountField),
    LineList(LineListField),
    /// `member.purchases_in_days(n)` and `member.purchases_in_months(n)`.
    PurchasesIn(SegmentWindow),
    /// `member.spend_in_days(n)` and `member.spend_in_months(n)`.
    SpendIn(SegmentWindow),
}

/// The last local days or months, today included. A month is over on the day before the one of its number, and at the end of a month that is
/// too short to have that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentWindow {
    Days(u32),
    Months(u32),
}

impl SegmentWindow {
    /// Days that it has at most.
    pub fn days(self) -> u32 {
        match self {
            Self::Days(days) => days,
            Self::Months(months) => months.saturating_mul(31),
        }
    }
}

/// Bytes of a string that is no literal, at most: ids, labels and codes have 64 characters.
pub(super) const MAX_FIELD_BYTES: usize = 4 * MAX_ID_CHARS;

/// True or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TruthField {
    /// The member has bought nothing before that is recorded.
    PurchaseIsFirst,
    /// The till could not reach the service.
    PurchaseOffline,
}

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NumberField {
    /// Place of the member's tier in the ranking: 0 for the lowest, and in a programme without tiers.
    MemberTierRank,
    /// Local days since the member enrolled: 0 on that day.
    MemberAgeDays,
    /// Local days since the latest purchase before this one occurred, whatever of it has come back; since enrolment if there was none. Never
    /// less than 0.
    MemberDaysSinceLastPurchase,
    /// Purchases before this one, those that were returned whole not counted.
    MemberPurchases,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AmountField {
    /// What of the whole purchase earns.
    PurchaseBasis,
    /// What the customer pays.
    PurchaseTotal,
    /// Off the whole order.
    PurchaseOrderDiscount,
    /// Units of all lines together.
    PurchaseQuantity,
    /// The basis of all purchases before this one, less what was returned.
    MemberSpend,
    /// That can be spent.
    MemberAvailablePoints,
    MemberPendingPoints,
    /// Counted for tiers since enrolment.
    MemberQualifyingPoints,
}

impl AmountField {
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::PurchaseBasis | Self::PurchaseTotal | Self::PurchaseOrderDiscount | Self::MemberSpend => Unit::Money,
            Self::PurchaseQuantity => Unit::Quantity,
            Self::MemberAvailablePoints | Self::MemberPendingPoints | Self::MemberQualifyingPoints => Unit::Points,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextField {
    PurchaseStoreId,
    PurchaseChannel,
    /// Empty in a programme without tiers.
    MemberTier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListField {
    PurchaseLabels,
    /// How it was paid, each kind with an amount above 0: `cash`, `card`, `store_card`, `gift_card`, `points`, `voucher`, `other`.
    PurchaseTenders,
    /// Promotion codes that the till sent, in their normal form.
    PurchaseCodes,
    /// Ids of the segments that the member was in before this purchase.
    MemberSegments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeField {
    /// When the purchase occurred.
    Now,
    /// When the member enrolled.
    MemberCreateTime,
}

/// What the programme's clocks and calendar show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalendarField {
    Year,
    /// 1 to 12.
    Month,
    /// 1 to 31.
    Day,
    /// 1 for Monday to 7 for Sunday.
    Weekday,
    /// 0 to 23.
    Hour,
    /// 0 to 59.
    Minute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineTextField {
    Sku,
    Category,
    /// `goods` or `gift_card`.
    Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineAmountField {
    Quantity,
    /// For all units together, before discounts.
    Amount,
    Discount,
    /// What of the line earns.
    Basis,
}

impl LineAmountField {
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Quantity => Unit::Quantity,
            Self::Amount | Self::Discount | Self::Basis => Unit::Money,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineListField {
    Labels,
}

/// What a condition is judged by. Only what it reads is asked for, perhaps more than once. Amounts are in the smallest unit: of the
/// currency, of a point, 1/1000 of a unit of goods. Lines are counted from 0; of items of a list and of lines none is asked for that there
/// is not. What the scope of a condition leaves out is never asked for.
pub trait Facts {
    /// What `now` is.
    fn local_time(&self) -> DateTime;
    fn truth(&self, field: TruthField) -> Result<bool, Overflow>;
    fn number(&self, field: NumberField) -> Result<i64, Overflow>;
    fn amount(&self, field: AmountField) -> Result<i128, Overflow>;
    fn text(&self, field: TextField) -> &str;
    fn time(&self, field: TimeField) -> Timestamp;
    fn count(&self, field: ListField) -> usize;
    fn item(&self, field: ListField, index: usize) -> &str;
    fn lines(&self) -> usize;
    fn line_text(&self, field: LineTextField, line: usize) -> &str;
    fn line_amount(&self, field: LineAmountField, line: usize) -> Result<i128, Overflow>;
    fn line_count(&self, field: LineListField, line: usize) -> usize;
    fn line_item(&self, field: LineListField, line: usize, index: usize) -> &str;
    /// Purchases of a window that ends today. Asked for segments alone.
    fn purchases_in(&self, _window: SegmentWindow) -> Result<i64, Overflow> {
        Ok(0)
    }
    /// Whether the member bought through a channel, or did an activity, in the last so many local days. Asked for segments alone.
    fn did_lately(&self, _kind: LatelyKind, _id: &str, _days: u32) -> bool {
        false
    }
    /// The basis of the purchases of a window. Asked for segments alone.
    fn spend_in(&self, _window: SegmentWindow) -> Result<i128, Overflow> {
        Ok(0)
    }
}

/// All fields by variable and name, with the scopes that have them.
pub(super) const FIELDS: &[(&str, &str, Field, &[Scope])] = &[
    ("purchase", "basis", Field::Amount(AmountField::PurchaseBasis), SALE),
    ("purchase", "total", Field::Amount(AmountField::PurchaseTotal), SALE),
    ("purchase", "order_discount", Field::Amount(AmountField::PurchaseOrderDiscount), SALE),
    ("purchase", "quantity", Field::Amount(AmountField::PurchaseQuantity), SALE),
    ("purchase", "store_id", Field::Text(TextField::PurchaseStoreId), SALE),
    ("purchase", "channel", Field::Text(TextField::PurchaseChannel), SALE),
    ("purchase", "labels", Field::List(ListField::PurchaseLabels), SALE),
    ("purchase", "tenders", Field::List(ListField::PurchaseTenders), SALE),
    ("purchase", "codes", Field::List(ListField::PurchaseCodes), SALE),
    ("purchase", "is_first", Field::Truth(TruthField::PurchaseIsFirst), SALE),
    ("purchase", "offline", Field::Truth(TruthField::PurchaseOffline), SALE),
    ("purchase", "lines", Field::Lines, &[Scope::Purchase]),
    ("line", "sku", Field::LineText(LineTextField::Sku), LINE),
    ("line", "category", Field::LineText(LineTextField::Category), LINE),
    ("line", "kind", Field::LineText(LineTextField::Kind), LINE),
    ("line", "labels", Field::LineList(LineListField::Labels), LINE),
    ("line", "quantity", Field::LineAmount(LineAmountField::Quantity), LINE),
    ("line", "amount", Field::LineAmount(LineAmountField::Amount), LINE),
    ("line", "discount", Field::LineAmount(LineAmountField::Discount), LINE),
    ("line", "basis", Field::LineAmount(LineAmountField::Basis), LINE),
    ("member", "tier", Field::Text(TextField::MemberTier), ALL),
    ("member", "tier_rank", Field::Number(NumberField::MemberTierRank), ALL),
    ("member", "segments", Field::List(ListField::MemberSegments), SALE),
    ("member", "age_days", Field::Number(NumberField::MemberAgeDays), ALL),
    ("member", "days_since_last_purchase", Field::Number(NumberField::MemberDaysSinceLastPurchase), ALL),
    ("member", "purchases", Field::Number(NumberField::MemberPurchases), ALL),
    ("member", "spend", Field::Amount(AmountField::MemberSpend), ALL),
    ("member", "available_points", Field::Amount(AmountField::MemberAvailablePoints), ALL),
    ("member", "pending_points", Field::Amount(AmountField::MemberPendingPoints), ALL),
    ("member", "qualifying_points", Field::Amount(AmountField::MemberQualifyingPoints), ALL),
    ("member", "create_time", Field::Time(TimeField::MemberCreateTime), SALE),
    ("now", "year", Field::Calendar(CalendarField::Year), ALL),
    ("now", "month", Field::Calendar(CalendarField::Month), ALL),
    ("now", "day", Field::Calendar(CalendarField::Day), ALL),
    ("now", "weekday", Field::Calendar(CalendarField::Weekday), ALL),
    ("now", "hour", Field::Calendar(CalendarField::Hour), SALE),
    ("now", "minute", Field::Calendar(CalendarField::Minute), SALE),
];

const ALL: &[Scope] = &[Scope::Purchase, Scope::Line, Scope::Segment];
const SALE: &[Scope] = &[Scope::Purchase, Scope::Line];
const LINE: &[Scope] = &[Scope::Line];

/// The names of a variable's fields. A line's are the same wherever a line is named.
pub(super) fn names(variable: &str, scope: Scope) -> Vec<&'static str> {
    fields(variable, scope).map(|(_, name, ..)| *name).collect()
}

pub(super) fn find(variable: &str, name: &str, scope: Scope) -> Option<Field> {
    fields(variable, scope).find(|(_, known, ..)| *known == name).map(|(_, _, field, _)| *field)
}

fn fields(variable: &str, scope: Scope) -> impl Iterator<Item = &'static (&'static str, &'static str, Field, &'static [Scope])> {
    let scope = if variable == "line" { Scope::Line } else { scope };
    FIELDS.iter().filter(move |(known, _, _, scopes)| *known == variable && scopes.contains(&scope))
}

/// The variables of a scope.
pub(super) fn variables(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::Purchase => &["purchase", "member", "now"],
        Scope::Line => &["line", "purchase", "member", "now"],
        Scope::Segment => &["member", "now"],
    }
}
