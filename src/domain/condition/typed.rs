//! Parts of a condition with their types, and what joins them.

use super::{
    fields::{LineListField, ListField, MAX_FIELD_BYTES, Unit},
    tree::{Amount, Arithmetic, Comparison, Duration, List, Number, Text, Time, Truth},
};
use crate::domain::{MAX_LABELS, MAX_PROMOTION_CODES, MAX_SEGMENTS, MAX_TENDERS};

/// A part of a condition with its type.
pub(super) enum Typed {
    Truth(Truth),
    Number(Number),
    Amount(Unit, Amount),
    Text(Text),
    List(List),
    Time(Time),
    Duration(Duration),
    /// `purchase.lines`, of which something holds or is not asked.
    Lines(Option<Truth>),
    Numbers(Vec<i64>),
    /// A literal with decimal places, which is an amount of what it is compared with.
    Decimal(String),
}

impl Typed {
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Truth(_) => "true or false",
            Self::Number(_) => "a whole number",
            Self::Amount(Unit::Money, _) => "an amount of money",
            Self::Amount(Unit::Points, _) => "points",
            Self::Amount(Unit::Quantity, _) => "a quantity",
            Self::Text(_) => "a string",
            Self::List(_) => "a list of strings",
            Self::Time(_) => "an instant",
            Self::Duration(_) => "a duration",
            Self::Lines(_) => "lines",
            Self::Numbers(_) => "a list of whole numbers",
            Self::Decimal(_) => "a number with decimal places, which only an amount can be compared with",
        }
    }
}

/// Items of a list, at most.
pub(super) fn items(list: &List) -> u64 {
    let most = match list {
        List::Literal(texts) => texts.len(),
        List::Fact(ListField::PurchaseLabels) | List::Line(LineListField::Labels) => MAX_LABELS,
        // Of each tender its kind, and no more kinds than tenders.
        List::Fact(ListField::PurchaseTenders) => MAX_TENDERS,
        List::Fact(ListField::PurchaseCodes) => MAX_PROMOTION_CODES,
        List::Fact(ListField::MemberSegments) => MAX_SEGMENTS,
    };
    most as u64
}

/// Steps of looking for something among so many in order.
pub(super) fn searched(items: usize) -> u64 {
    u64::from(items.checked_ilog2().unwrap_or(0)) + 1
}

/// Bytes of texts that are gone through in a step.
const STEP_BYTES: usize = 16;

/// Steps of comparing two texts that may have so many bytes.
pub(super) fn compared(one: usize, other: usize) -> u64 {
    scanned(one.min(other))
}

/// Steps of going through so many bytes.
pub(super) fn scanned(bytes: usize) -> u64 {
    (bytes / STEP_BYTES) as u64
}

/// As many bytes as a text may have; `of_item`: one of a list.
pub(super) fn longest(text: &Text, of_item: &impl Fn(usize) -> usize) -> usize {
    match text {
        Text::Literal(text) => text.len(),
        Text::Fact(_) | Text::Line(_) => MAX_FIELD_BYTES,
        Text::Item(place) => of_item(*place),
        Text::If(parts) => longest(&parts.1, of_item).max(longest(&parts.2, of_item)),
    }
}

/// What a pair is counted in, if one of it is an amount.
pub(super) fn unit_of(sides: &(Typed, Typed)) -> Option<Unit> {
    match sides {
        (Typed::Amount(unit, _), _) | (_, Typed::Amount(unit, _)) => Some(*unit),
        _ => None,
    }
}

pub(super) fn comparison(name: &str) -> Option<Comparison> {
    match name {
        "_==_" => Some(Comparison::Equal),
        "_!=_" => Some(Comparison::NotEqual),
        "_<_" => Some(Comparison::Less),
        "_<=_" => Some(Comparison::LessOrEqual),
        "_>_" => Some(Comparison::Greater),
        "_>=_" => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

pub(super) fn arithmetic(name: &str) -> Option<Arithmetic> {
    match name {
        "_+_" => Some(Arithmetic::Add),
        "_-_" => Some(Arithmetic::Subtract),
        "_*_" => Some(Arithmetic::Multiply),
        "_/_" => Some(Arithmetic::Divide),
        "_%_" => Some(Arithmetic::Remainder),
        _ => None,
    }
}
