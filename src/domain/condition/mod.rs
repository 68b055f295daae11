//! The conditions of a rule book: CEL expressions (<https://cel.dev>) over `purchase`, `line`, `member` and `now`.
//!
//! Syntax, precedence and positions are those of the crate `cel`, whose parser reads the text. Its interpreter is not used: it knows types
//! only while it runs, reckons with floating point, gathers all that an expression could read into maps for each run, and has no bound of
//! what a run costs. Here an expression is checked when the rule book is published, becomes a tree by type ([`tree`]), and is judged
//! without allocation, asking for only what it reads ([`Facts`]), within [`MAX_CONDITION_STEPS`].
//!
//! - Types: true or false, whole numbers, strings, lists of strings, instants, durations, lines, and three kinds of amounts: money, points
//!   and quantities, which are exact and not mixed with one another. A literal beside an amount is one of its kind: of money in the
//!   programme's currency, of points in whole points, with no more decimal places than there are. There are no other numbers with decimal
//!   places.
//! - Operators: `&& || ! ?: == != < <= > >= + - * in`; `/` and `%` of whole numbers, by a literal. Amounts are added, subtracted and
//!   multiplied by whole numbers.
//! - Functions: `size`, `startsWith`, `endsWith`, `contains`, `duration("36h")`, `timestamp("2026-01-31T00:00:00Z")`; `exists`, `all` and
//!   `exists_one` over lines and lists of strings, and `size(purchase.lines.filter(l, ...))`. No regular expressions, maps, null.
//! - In a segment `member.purchases_in_days(90)` and `member.spend_in_days(90)` look at the last so many local days, and the same
//!   with `_in_months` at months. What grows by a day each
//!   day is compared with numbers that are written there, so that it is known when a condition turns ([`Turning`]).
//! - The one thing that can go wrong when a condition is judged is a number that is too large. As CEL wants it, what decides `&&`, `||`,
//!   `exists` and `all` goes before that, on whichever side it stands.

mod compiling;
mod fields;
mod literals;
mod parsing;
mod tree;
mod turning;
mod typed;

use std::{fmt, sync::Arc};

pub use compiling::{MAX_CONDITION_NODES, MAX_CONDITION_STEPS};
pub use fields::{
    AmountField, CalendarField, Digits, Facts, Field, LineAmountField, LineListField, LineTextField, ListField, NumberField,
    QUANTITY_DIGITS, Scope, SegmentWindow, TextField, TimeField, TruthField, Unit,
};
pub use parsing::MAX_CONDITION_BYTES;
pub use turning::{MAX_WINDOW_DAYS, MAX_WINDOW_MONTHS, Turning};

use super::Overflow;
use compiling::Compiler;
use tree::{MAX_ITEMS, Truth, View};

/// A condition that has been checked. Cloning it is cheap.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    root: Truth,
    /// Sorted.
    reads: Box<[Field]>,
    named: Box<[Named]>,
    turnings: Box<[Turning]>,
    steps: u64,
}

/// What is wrong with a condition, and where: line and column are counted from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {text}")]
pub struct ConditionMistake {
    pub line: usize,
    pub column: usize,
    pub text: String,
}

/// A string that a field is compared with, or that is looked for in a list: so that a rule book can say that it has no such tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub field: Field,
    pub text: Box<str>,
    pub line: usize,
    pub column: usize,
}

impl Condition {
    /// Checks and compiles a text, as a rule book is published and when it is loaded. What people write takes less than a millisecond. Length and
    /// depth are bounded before the parser sees it, which takes the longer the less a text is one: tests allow two seconds for hostile ones, in
    /// a build that is not optimized.
    pub fn compile(text: &str, scope: Scope, digits: Digits) -> Result<Self, ConditionMistake> {
        let parsed = parsing::parse(text)?;
        let mut compiler = Compiler::new(&parsed, scope, digits);
        let root = compiler.condition()?;
        let (steps, reads, named) = (compiler.steps(), compiler.reads.into_iter().collect(), compiler.named.into());
        let turnings = compiler.turnings.into_iter().collect();
        Ok(Self(Arc::new(Compiled { text: text.into(), root, reads, named, turnings, steps })))
    }

    /// Judges one that is not of [`Scope::Line`].
    pub fn holds(&self, facts: &(impl Facts + ?Sized)) -> Result<bool, Overflow> {
        self.holds_for_line(facts, 0)
    }

    /// Judges one of [`Scope::Line`] for a line, which there must be.
    pub fn holds_for_line(&self, facts: &(impl Facts + ?Sized), line: usize) -> Result<bool, Overflow> {
        self.0.root.holds(View { facts, line, items: [""; MAX_ITEMS] })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// All that it can read, sorted.
    pub fn fields(&self) -> &[Field] {
        &self.0.reads
    }

    pub fn reads(&self, field: Field) -> bool {
        self.0.reads.binary_search(&field).is_ok()
    }

    /// The strings that fields are compared with.
    pub fn named(&self) -> &[Named] {
        &self.0.named
    }

    /// What can turn one of [`Scope::Segment`] as days pass.
    pub fn turnings(&self) -> &[Turning] {
        &self.0.turnings
    }

    /// What judging it costs at most, for the largest purchase that there is; one of [`Scope::Line`], for all lines of it.
    pub fn steps(&self) -> u64 {
        self.0.steps
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.0.text).finish()
    }
}
