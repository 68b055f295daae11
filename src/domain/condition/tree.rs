//! What a condition is compiled to: a tree by type, so that nothing can be of a wrong type when it is judged. Judging it allocates nothing.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};

use super::fields::{
    AmountField, CalendarField, Facts, LineAmountField, LineListField, LineTextField, ListField, NumberField, SegmentWindow, TextField,
    TimeField, TruthField,
};
use crate::domain::{LatelyKind, Overflow};

/// Lists of strings that are gone through inside one another, at most.
pub(super) const MAX_ITEMS: usize = 2;

/// True or false.
#[derive(Debug)]
pub(super) enum Truth {
    Literal(bool),
    Fact(TruthField),
    Lately(LatelyKind, Box<str>, u32),
    Not(Box<Truth>),
    All(Box<[Truth]>),
    Any(Box<[Truth]>),
    If(Box<(Truth, Truth, Truth)>),
    Same(Box<(Truth, Truth)>),
    Numbers(Comparison, Box<(Number, Number)>),
    Amounts(Comparison, Box<(Amount, Amount)>),
    Texts(Comparison, Box<(Text, Text)>),
    Times(Comparison, Box<(Time, Time)>),
    Durations(Comparison, Box<(Duration, Duration)>),
    Search(Search, Box<(Text, Text)>),
    /// Sorted.
    NumberIn(Box<(Number, Box<[i64]>)>),
    /// Sorted.
    TextIn(Box<(Text, Box<[Box<str>]>)>),
    InList(Box<(Text, List)>),
    OfLines(Quantifier, Box<Truth>),
    /// Each item is named by the place.
    OfList(Quantifier, Box<(List, usize, Truth)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

/// A whole number.
#[derive(Debug)]
pub(super) enum Number {
    Literal(i64),
    Fact(NumberField),
    Calendar(CalendarField),
    Negated(Box<Number>),
    Of(Arithmetic, Box<(Number, Number)>),
    If(Box<(Truth, Number, Number)>),
    /// Unicode characters.
    Length(Text),
    Size(List),
    Lines,
    /// Lines of which something holds.
    LinesWith(Box<Truth>),
    /// Purchases of the last so many days.
    Window(SegmentWindow),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    pub fn of(self, a: i64, b: i64) -> Result<i64, Overflow> {
        let result = match self {
            Self::Add => a.checked_add(b),
            Self::Subtract => a.checked_sub(b),
            Self::Multiply => a.checked_mul(b),
            Self::Divide => a.checked_div(b),
            Self::Remainder => a.checked_rem(b),
        };
        result.ok_or(Overflow)
    }
}

/// In the smallest unit of what it is counted in.
#[derive(Debug)]
pub(super) enum Amount {
    Literal(i128),
    Fact(AmountField),
    Line(LineAmountField),
    Negated(Box<Amount>),
    Sum(Box<(Amount, Amount)>),
    Difference(Box<(Amount, Amount)>),
    Times(Box<(Number, Amount)>),
    If(Box<(Truth, Amount, Amount)>),
    /// Spent in the last so many days.
    Window(SegmentWindow),
}

#[derive(Debug)]
pub(super) enum Text {
    Literal(Box<str>),
    Fact(TextField),
    Line(LineTextField),
    /// Of a list that is gone through.
    Item(usize),
    If(Box<(Truth, Text, Text)>),
}

#[derive(Debug)]
pub(super) enum List {
    Literal(Box<[Box<str>]>),
    Fact(ListField),
    Line(LineListField),
}

#[derive(Debug)]
pub(super) enum Time {
    Literal(Timestamp),
    Fact(TimeField),
    Later(Box<(Time, Duration)>),
    Earlier(Box<(Time, Duration)>),
    If(Box<(Truth, Time, Time)>),
}

#[derive(Debug)]
pub(super) enum Duration {
    Literal(SignedDuration),
    Between(Box<(Time, Time)>),
    Negated(Box<Duration>),
    Sum(Box<(Duration, Duration)>),
    Difference(Box<(Duration, Duration)>),
    If(Box<(Truth, Duration, Duration)>),
}

/// What is looked at.
pub(super) struct View<'a, F: ?Sized> {
    pub facts: &'a F,
    /// Meant by `line`, or by the name of the line that is looked at.
    pub line: usize,
    pub items: [&'a str; MAX_ITEMS],
}

impl<F: ?Sized> Clone for View<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for View<'_, F> {}

impl<'a, F: ?Sized> View<'a, F> {
    fn at_line(mut self, line: usize) -> Self {
        self.line = line;
        self
    }

    fn at_item(mut self, place: usize, item: &'a str) -> Self {
        self.items[place] = item;
        self
    }
}

impl Truth {
    pub fn holds<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>) -> Result<bool, Overflow> {
        match self {
            Self::Literal(value) => Ok(*value),
            Self::Fact(field) => view.facts.truth(*field),
            Self::Lately(kind, id, days) => Ok(view.facts.did_lately(*kind, id, *days)),
            Self::Not(inner) => Ok(!inner.holds(view)?),
            Self::All(parts) => decided(parts.iter().map(|part| part.holds(view)), false),
            Self::Any(parts) => decided(parts.iter().map(|part| part.holds(view)), true),
            Self::If(parts) => if parts.0.holds(view)? { &parts.1 } else { &parts.2 }.holds(view),
            Self::Same(sides) => Ok(sides.0.holds(view)? == sides.1.holds(view)?),
            Self::Numbers(comparison, sides) => Ok(comparison.holds(sides.0.value(view)?.cmp(&sides.1.value(view)?))),
            Self::Amounts(comparison, sides) => Ok(comparison.holds(sides.0.value(view)?.cmp(&sides.1.value(view)?))),
            Self::Texts(comparison, sides) => Ok(comparison.holds(sides.0.value(view)?.cmp(sides.1.value(view)?))),
            Self::Times(comparison, sides) => Ok(comparison.holds(sides.0.value(view)?.cmp(&sides.1.value(view)?))),
            Self::Durations(comparison, sides) => Ok(comparison.holds(sides.0.value(view)?.cmp(&sides.1.value(view)?))),
            Self::Search(search, sides) => {
                let (text, part) = (sides.0.value(view)?, sides.1.value(view)?);
                Ok(match search {
                    Search::StartsWith => text.starts_with(part),
                    Search::EndsWith => text.ends_with(part),
                    Search::Contains => text.contains(part),
                })
            }
            Self::NumberIn(sides) => Ok(sides.1.binary_search(&sides.0.value(view)?).is_ok()),
            Self::TextIn(sides) => {
                let text = sides.0.value(view)?;
                Ok(sides.1.binary_search_by(|known| (**known).cmp(text)).is_ok())
            }
            Self::InList(sides) => {
                let text = sides.0.value(view)?;
                Ok((0..sides.1.count(view)).any(|index| sides.1.item(view, index) == text))
            }
            Self::OfLines(quantifier, inner) => quantifier.judge((0..view.facts.lines()).map(|line| inner.holds(view.at_line(line)))),
            Self::OfList(quantifier, parts) => {
                let (list, place, inner) = &**parts;
                let named = |index| inner.holds(view.at_item(*place, list.item(view, index)));
                quantifier.judge((0..list.count(view)).map(named))
            }
        }
    }
}

impl Quantifier {
    fn judge(self, parts: impl Iterator<Item = Result<bool, Overflow>>) -> Result<bool, Overflow> {
        match self {
            Self::All => decided(parts, false),
            Self::Exists => decided(parts, true),
            Self::ExistsOne => Ok(number_of(parts)? == 1),
        }
    }
}

/// One part that is `decisive` decides, whatever the others are, an overflow of another included: as CEL wants && and ||.
fn decided(parts: impl Iterator<Item = Result<bool, Overflow>>, decisive: bool) -> Result<bool, Overflow> {
    let mut undecided = Ok(!decisive);
    for part in parts {
        match part {
            Ok(value) if value == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(overflow) => undecided = Err(overflow),
        }
    }
    undecided
}

fn number_of(parts: impl Iterator<Item = Result<bool, Overflow>>) -> Result<i64, Overflow> {
    let mut number = 0;
    for part in parts {
        number += i64::from(part?);
    }
    Ok(number)
}

impl Number {
    fn value<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>) -> Result<i64, Overflow> {
        match self {
            Self::Literal(value) => Ok(*value),
            Self::Fact(field) => view.facts.number(*field),
            Self::Calendar(field) => {
                let time = view.facts.local_time();
                Ok(match field {
                    CalendarField::Year => i64::from(time.year()),
                    CalendarField::Month => i64::from(time.month()),
                    CalendarField::Day => i64::from(time.day()),
                    CalendarField::Weekday => i64::from(time.weekday().to_monday_one_offset()),
                    CalendarField::Hour => i64::from(time.hour()),
                    CalendarField::Minute => i64::from(time.minute()),
                })
            }
            Self::Negated(inner) => inner.value(view)?.checked_neg().ok_or(Overflow),
            Self::Of(arithmetic, sides) => arithmetic.of(sides.0.value(view)?, sides.1.value(view)?),
            Self::If(parts) => if parts.0.holds(view)? { &parts.1 } else { &parts.2 }.value(view),
            Self::Length(text) => i64::try_from(text.value(view)?.chars().count()).map_err(|_| Overflow),
            Self::Size(list) => i64::try_from(list.count(view)).map_err(|_| Overflow),
            Self::Lines => i64::try_from(view.facts.lines()).map_err(|_| Overflow),
            Self::Window(window) => view.facts.purchases_in(*window),
            Self::LinesWith(inner) => number_of((0..view.facts.lines()).map(|line| inner.holds(view.at_line(line)))),
        }
    }
}

impl Amount {
    fn value<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>) -> Result<i128, Overflow> {
        match self {
            Self::Literal(value) => Ok(*value),
            Self::Fact(field) => view.facts.amount(*field),
            Self::Line(field) => view.facts.line_amount(*field, view.line),
            Self::Negated(inner) => inner.value(view)?.checked_neg().ok_or(Overflow),
            Self::Sum(sides) => sides.0.value(view)?.checked_add(sides.1.value(view)?).ok_or(Overflow),
            Self::Difference(sides) => sides.0.value(view)?.checked_sub(sides.1.value(view)?).ok_or(Overflow),
            Self::Window(window) => view.facts.spend_in(*window),
            Self::Times(sides) => i128::from(sides.0.value(view)?).checked_mul(sides.1.value(view)?).ok_or(Overflow),
            Self::If(parts) => if parts.0.holds(view)? { &parts.1 } else { &parts.2 }.value(view),
        }
    }
}

impl Text {
    fn value<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>) -> Result<&'a str, Overflow> {
        match self {
            Self::Literal(text) => Ok(text),
            Self::Fact(field) => Ok(view.facts.text(*field)),
            Self::Line(field) => Ok(view.facts.line_text(*field, view.line)),
            Self::Item(place) => Ok(view.items[*place]),
            Self::If(parts) => if parts.0.holds(view)? { &parts.1 } else { &parts.2 }.value(view),
        }
    }
}

impl List {
    fn count<F: Facts + ?Sized>(&self, view: View<'_, F>) -> usize {
        match self {
            Self::Literal(items) => items.len(),
            Self::Fact(field) => view.facts.count(*field),
            Self::Line(field) => view.facts.line_count(*field, view.line),
        }
    }

    fn item<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>, index: usize) -> &'a str {
        match self {
            Self::Literal(items) => &items[index],
            Self::Fact(field) => view.facts.item(*field, index),
            Self::Line(field) => view.facts.line_item(*field, view.line, index),
        }
    }
}

impl Time {
    fn value<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>) -> Result<Timestamp, Overflow> {
        match self {
            Self::Literal(time) => Ok(*time),
            Self::Fact(field) => Ok(view.facts.time(*field)),
            Self::Later(sides) => sides.0.value(view)?.checked_add(sides.1.value(view)?).map_err(|_| Overflow),
            Self::Earlier(sides) => sides.0.value(view)?.checked_sub(sides.1.value(view)?).map_err(|_| Overflow),
            Self::If(parts) => if parts.0.holds(view)? { &parts.1 } else { &parts.2 }.value(view),
        }
    }
}

impl Duration {
    fn value<'a, F: Facts + ?Sized>(&'a self, view: View<'a, F>) -> Result<SignedDuration, Overflow> {
        match self {
            Self::Literal(duration) => Ok(*duration),
            Self::Between(sides) => Ok(sides.0.value(view)?.duration_since(sides.1.value(view)?)),
            Self::Negated(inner) => inner.value(view)?.checked_neg().ok_or(Overflow),
            Self::Sum(sides) => sides.0.value(view)?.checked_add(sides.1.value(view)?).ok_or(Overflow),
            Self::Difference(sides) => sides.0.value(view)?.checked_sub(sides.1.value(view)?).ok_or(Overflow),
            Self::If(parts) => if parts.0.holds(view)? { &parts.1 } else { &parts.2 }.value(view),
        }
    }
}
