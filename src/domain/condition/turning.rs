//! When the condition of a segment can turn though nothing happens but that days pass: it is looked at again then, and not every day.

use cel::IdedExpr;

use super::{
    ConditionMistake,
    compiling::Compiler,
    fields::{CalendarField, Field, NumberField, Scope, SegmentWindow, Unit},
    tree::{Amount, Number, Text, Truth},
    typed::Typed,
};
use crate::domain::{LatelyKind, MAX_LATELY};

/// Local days that a window of a segment can have, at most; today is one of them.
pub const MAX_WINDOW_DAYS: u32 = 400;
/// The same in months.
pub const MAX_WINDOW_MONTHS: u32 = 13;

/// A function that looks at a window.
pub(super) fn is_window(name: &str) -> bool {
    let of_counts = matches!(name, "purchases_in_days" | "spend_in_days" | "purchases_in_months" | "spend_in_months");
    of_counts || matches!(name, "used_channel_in_days" | "did_activity_in_days")
}

/// What can turn a segment's condition as days pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turning {
    /// The member's age is compared with so many days.
    AgeDays(i64),
    /// The days since the latest purchase are.
    DaysSinceLastPurchase(i64),
    /// What was counted leaves a window.
    Window(SegmentWindow),
    /// What was done last leaves the last so many days.
    Lately(LatelyKind, Box<str>, u32),
    Calendar(CalendarField),
}

impl<'a> Compiler<'a> {
    /// A field that changes as days pass is read.
    pub(super) fn read_in_time(&mut self, node: &'a IdedExpr, field: Field) {
        if self.scope != Scope::Segment {
            return;
        }
        match field {
            Field::Number(NumberField::MemberAgeDays | NumberField::MemberDaysSinceLastPurchase) => self.days_read.push(node),
            Field::Calendar(field) => drop(self.turnings.insert(Turning::Calendar(field))),
            Field::Number(NumberField::MemberTierRank | NumberField::MemberPurchases)
            | Field::Truth(_)
            | Field::Amount(_)
            | Field::Text(_)
            | Field::List(_)
            | Field::Time(_)
            | Field::Lines
            | Field::LineText(_)
            | Field::LineAmount(_)
            | Field::LineList(_)
            | Field::PurchasesIn(_)
            | Field::SpendIn(_) => {}
        }
    }

    /// What was read is compared with a number that is written there.
    pub(super) fn compared_in_time(&mut self, node: &IdedExpr, read: &Number, with: &Number) {
        let (Number::Fact(field), Number::Literal(days)) = (read, with) else { return };
        let turning = match field {
            NumberField::MemberAgeDays => Turning::AgeDays(*days),
            NumberField::MemberDaysSinceLastPurchase => Turning::DaysSinceLastPurchase(*days),
            NumberField::MemberTierRank | NumberField::MemberPurchases => return,
        };
        if self.scope == Scope::Segment {
            self.turnings.insert(turning);
            self.days_read.retain(|known| !std::ptr::eq(*known, node));
        }
    }

    /// Days that are compared with anything else could turn the condition on any day.
    pub(super) fn check_days_read(&self) -> Result<(), ConditionMistake> {
        match self.days_read.first() {
            None => Ok(()),
            Some(node) => {
                let message = "a segment compares this only with numbers that are written there, such as `member.age_days < 30`";
                Err(self.parsed.mistake(node, message))
            }
        }
    }

    /// What was counted in the last days or months.
    pub(super) fn window(
        &mut self,
        node: &'a IdedExpr,
        name: &str,
        of: &'a IdedExpr,
        args: &'a [IdedExpr],
    ) -> Result<Typed, ConditionMistake> {
        if !self.is_variable(of, "member") {
            return Err(self.parsed.mistake(node, format!("`{name}` is asked of `member`")));
        }
        if self.scope != Scope::Segment {
            let message = format!("`{name}` is known in segments alone: make one, and ask for it by `\"...\" in member.segments`");
            return Err(self.parsed.mistake(node, message));
        }
        let by_month = name.ends_with("_months");
        let (what, most) = if by_month { ("months", MAX_WINDOW_MONTHS) } else { ("days", MAX_WINDOW_DAYS) };
        let of_text = matches!(name, "used_channel_in_days" | "did_activity_in_days");
        let (text, count) = match (of_text, args) {
            (false, [count]) => (None, self.compile(count)?),
            (true, [text, count]) => (Some(self.compile(text)?), self.compile(count)?),
            _ => return Err(self.parsed.mistake(node, format!("`{name}` is not asked so many things"))),
        };
        let Some(count) = literal_count(&count).filter(|count| (1..=most).contains(count)) else {
            return Err(self.parsed.mistake(node, format!("`{name}` takes a number of {what} that is written here, 1 to {most}")));
        };
        if let Some(text) = text {
            let Typed::Text(Text::Literal(id)) = text else {
                return Err(self.parsed.mistake(node, format!("`{name}` takes a string that is written here, and a number of days")));
            };
            let kind = if name == "used_channel_in_days" { LatelyKind::Channel } else { LatelyKind::Activity };
            self.turnings.insert(Turning::Lately(kind, id.clone(), count));
            // Each that is kept may have to be compared.
            self.spend(node, 2 * MAX_LATELY as u64)?;
            return Ok(Typed::Truth(Truth::Lately(kind, id, count)));
        }
        let window = if by_month { SegmentWindow::Months(count) } else { SegmentWindow::Days(count) };
        self.turnings.insert(Turning::Window(window));
        // Each day of the window may have to be added.
        self.spend(node, u64::from(window.days()))?;
        Ok(match name {
            "spend_in_days" | "spend_in_months" => {
                self.reads.insert(Field::SpendIn(window));
                Typed::Amount(Unit::Money, Amount::Window(window))
            }
            _ => {
                self.reads.insert(Field::PurchasesIn(window));
                Typed::Number(Number::Window(window))
            }
        })
    }
}

/// A number of days or months, if it is written there.
fn literal_count(count: &Typed) -> Option<u32> {
    match count {
        Typed::Number(Number::Literal(count)) => u32::try_from(*count).ok(),
        Typed::Truth(_)
        | Typed::Number(_)
        | Typed::Amount(..)
        | Typed::Text(_)
        | Typed::List(_)
        | Typed::Time(_)
        | Typed::Duration(_)
        | Typed::Lines(_)
        | Typed::Numbers(_)
        | Typed::Decimal(_) => None,
    }
}
