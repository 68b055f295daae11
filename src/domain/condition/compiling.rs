//! From the syntax tree to the typed one. All that can be wrong with a condition is found here, with its place.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, ListExpr, LiteralValue, SelectExpr},
};

use super::{
    ConditionMistake, Named,
    fields::{self, Digits, Field, MAX_FIELD_BYTES, Scope, TimeField, Unit},
    literals,
    parsing::{MAX_CONDITION_BYTES, Parsed},
    tree::{Amount, Arithmetic, Comparison, Duration, List, MAX_ITEMS, Number, Quantifier, Search, Text, Time, Truth},
    turning::{self, Turning},
    typed::{Typed, arithmetic, compared, comparison, items, longest, scanned, searched, unit_of},
};
use crate::domain::MAX_LINES;

/// Parts of a condition, at most: names, literals, operators and calls.
pub const MAX_CONDITION_NODES: usize = 400;

/// What judging a condition may cost at most, in steps of some nanoseconds each, for the largest purchase that there is: of [`MAX_LINES`] lines
/// with as many labels as there may be, and texts as long as they may be. That is some milliseconds, tens of them where all steps look for one text
/// in another; for a purchase of 20 lines it is a five-hundredth of that.
pub const MAX_CONDITION_STEPS: u64 = 1_000_000;

/// Lines of a purchase, as steps are counted.
const LINES: u64 = MAX_LINES as u64;

pub(super) struct Compiler<'a> {
    pub(super) parsed: &'a Parsed<'a>,
    pub(super) scope: Scope,
    digits: Digits,
    /// What has been named by what is gone through.
    bound: Vec<(&'a str, Bound)>,
    /// How often the part that is compiled is judged.
    times: u64,
    steps: u64,
    nodes: usize,
    pub reads: BTreeSet<Field>,
    pub named: Vec<Named>,
    pub turnings: BTreeSet<Turning>,
    /// Where days are read that have not been compared yet.
    pub(super) days_read: Vec<&'a IdedExpr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Line,
    /// A string of a list: its place among those that are named, and how many bytes it may have.
    Item(usize, usize),
}

type Result<T> = std::result::Result<T, ConditionMistake>;

impl<'a> Compiler<'a> {
    pub fn new(parsed: &'a Parsed<'a>, scope: Scope, digits: Digits) -> Self {
        let times = if scope == Scope::Line { LINES } else { 1 };
        let (bound, reads, named) = (Vec::new(), BTreeSet::new(), Vec::new());
        let (turnings, days_read) = (BTreeSet::new(), Vec::new());
        Self { parsed, scope, digits, bound, times, steps: 0, nodes: 0, reads, named, turnings, days_read }
    }

    /// The whole condition.
    pub fn condition(&mut self) -> Result<Truth> {
        let truth = self.truth(&self.parsed.root)?;
        self.check_days_read()?;
        Ok(truth)
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn truth(&mut self, node: &'a IdedExpr) -> Result<Truth> {
        match self.compile(node)? {
            Typed::Truth(truth) => Ok(truth),
            other => Err(self.parsed.mistake(node, format!("this is {}; it must be true or false", other.describe()))),
        }
    }

    fn text(&mut self, node: &'a IdedExpr) -> Result<Text> {
        match self.compile(node)? {
            Typed::Text(text) => Ok(text),
            other => Err(self.parsed.mistake(node, format!("this is {}; it must be a string", other.describe()))),
        }
    }

    pub(super) fn compile(&mut self, node: &'a IdedExpr) -> Result<Typed> {
        self.nodes += 1;
        if self.nodes > MAX_CONDITION_NODES {
            let message = format!("the condition has more than {MAX_CONDITION_NODES} names, literals and operators: make it simpler");
            return Err(self.parsed.mistake(node, message));
        }
        self.spend(node, 1)?;
        match &node.expr {
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Ident(name) => self.variable(node, name),
            Expr::Select(select) => self.field(node, select),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => self.list(node, list),
            Expr::Map(_) | Expr::Struct(_) => Err(self.parsed.mistake(node, "maps and messages are not supported")),
            Expr::Unspecified | Expr::Comprehension(_) => Err(self.parsed.mistake(node, "this is not supported")),
        }
    }

    pub(super) fn spend(&mut self, node: &IdedExpr, steps: u64) -> Result<()> {
        self.steps = self.steps.saturating_add(steps.saturating_mul(self.times));
        if self.steps > MAX_CONDITION_STEPS {
            let message = format!(
                "the condition costs more than {MAX_CONDITION_STEPS} steps for a purchase of {LINES} lines: ask less of each line, and less of \
                 texts that are long"
            );
            return Err(self.parsed.mistake(node, message));
        }
        Ok(())
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Result<Typed> {
        match literal {
            LiteralValue::Boolean(value) => Ok(Typed::Truth(Truth::Literal(*value.inner()))),
            LiteralValue::Int(value) => Ok(Typed::Number(Number::Literal(*value.inner()))),
            LiteralValue::String(text) => Ok(Typed::Text(Text::Literal(text.inner().into()))),
            LiteralValue::Double(value) => {
                let sign = if value.inner().is_sign_negative() { "-" } else { "" };
                Ok(Typed::Decimal(format!("{sign}{}", self.parsed.written(node))))
            }
            LiteralValue::Bytes(_) => Err(self.parsed.mistake(node, "bytes are not supported")),
            LiteralValue::Null => Err(self.parsed.mistake(node, "null is not supported: every field has a value")),
            LiteralValue::UInt(_) => Err(self.parsed.mistake(node, "write the number without u")),
        }
    }

    fn list(&mut self, node: &'a IdedExpr, list: &'a ListExpr) -> Result<Typed> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        // They are there before anything is judged.
        let times = std::mem::take(&mut self.times);
        for element in &list.elements {
            match self.compile(element)? {
                Typed::Text(Text::Literal(text)) => texts.push(text),
                Typed::Number(Number::Literal(number)) => numbers.push(number),
                _ => return Err(self.parsed.mistake(element, "a list has strings, or whole numbers, as they are written")),
            }
        }
        self.times = times;
        match (texts.is_empty(), numbers.is_empty()) {
            (false, true) => Ok(Typed::List(List::Literal(texts.into()))),
            (true, false) => Ok(Typed::Numbers(numbers)),
            (true, true) => Err(self.parsed.mistake(node, "the list is empty")),
            (false, false) => Err(self.parsed.mistake(node, "a list has either strings or whole numbers")),
        }
    }

    fn variable(&mut self, node: &IdedExpr, name: &str) -> Result<Typed> {
        match self.bound(name) {
            Some(Bound::Item(place, _)) => return Ok(Typed::Text(Text::Item(place))),
            Some(Bound::Line) => return Err(self.fieldless(node, name, "line")),
            None => {}
        }
        if name == "now" && self.scope != Scope::Segment {
            self.reads.insert(Field::Time(TimeField::Now));
            return Ok(Typed::Time(Time::Fact(TimeField::Now)));
        }
        match fields::variables(self.scope).contains(&name) {
            true => Err(self.fieldless(node, name, name)),
            false => Err(self.unknown_variable(node, name)),
        }
    }

    fn fieldless(&self, node: &IdedExpr, name: &str, variable: &str) -> ConditionMistake {
        let names = fields::names(variable, self.scope).join(", ");
        self.parsed.mistake(node, format!("`{name}` is not a value itself; it has {names}"))
    }

    fn unknown_variable(&self, node: &IdedExpr, name: &str) -> ConditionMistake {
        let variables = fields::variables(self.scope).join(", ");
        let message = match (name, self.scope) {
            ("line", Scope::Purchase) => "`line` is not known here; go through them with purchase.lines.exists(line, ...)".to_owned(),
            ("purchase" | "line", Scope::Segment) => format!("a segment knows no `{name}`; there are {variables}"),
            _ => format!("`{name}` is not known; there are {variables}"),
        };
        self.parsed.mistake(node, message)
    }

    fn bound(&self, name: &str) -> Option<Bound> {
        self.bound.iter().rev().find(|(known, _)| *known == name).map(|(_, bound)| *bound)
    }

    /// It names a variable itself.
    pub(super) fn is_variable(&self, node: &IdedExpr, variable: &str) -> bool {
        matches!(&node.expr, Expr::Ident(name) if name == variable && self.bound(name).is_none())
    }

    fn field(&mut self, node: &'a IdedExpr, select: &'a SelectExpr) -> Result<Typed> {
        let Expr::Ident(name) = &select.operand.expr else {
            let found = self.compile(&select.operand)?;
            let hint = match found {
                Typed::Lines(_) => "; go through them with exists(line, ...) or all(line, ...)",
                Typed::Truth(_)
                | Typed::Number(_)
                | Typed::Amount(..)
                | Typed::Text(_)
                | Typed::List(_)
                | Typed::Time(_)
                | Typed::Duration(_)
                | Typed::Numbers(_)
                | Typed::Decimal(_) => "",
            };
            return Err(self.parsed.mistake(node, format!("what this is asked of is {}, and has no fields{hint}", found.describe())));
        };
        let variable = match self.bound(name) {
            Some(Bound::Line) => "line",
            Some(Bound::Item(..)) => return Err(self.parsed.mistake(node, format!("`{name}` is a string, and has no fields"))),
            None if fields::variables(self.scope).contains(&name.as_str()) => name.as_str(),
            None => return Err(self.unknown_variable(&select.operand, name)),
        };
        let Some(field) = fields::find(variable, &select.field, self.scope) else {
            let names = fields::names(variable, self.scope).join(", ");
            let message = match (select.field.as_str(), self.scope) {
                ("lines", Scope::Line) => {
                    "the condition is judged for each line: `line` is the line, and there is no `purchase.lines`".into()
                }
                (field, _) => format!("`{name}` has no `{field}`; it has {names}"),
            };
            return Err(self.parsed.mistake(node, message));
        };
        self.reads.insert(field);
        self.read_in_time(node, field);
        Ok(match field {
            Field::Truth(field) => Typed::Truth(Truth::Fact(field)),
            Field::Number(field) => Typed::Number(Number::Fact(field)),
            Field::Amount(field) => Typed::Amount(field.unit(), Amount::Fact(field)),
            Field::Text(field) => Typed::Text(Text::Fact(field)),
            Field::List(field) => Typed::List(List::Fact(field)),
            Field::Time(field) => Typed::Time(Time::Fact(field)),
            Field::Calendar(field) => Typed::Number(Number::Calendar(field)),
            Field::Lines => Typed::Lines(None),
            Field::LineText(field) => Typed::Text(Text::Line(field)),
            Field::LineAmount(field) => Typed::Amount(field.unit(), Amount::Line(field)),
            Field::LineList(field) => Typed::List(List::Line(field)),
            Field::PurchasesIn(window) => Typed::Number(Number::Window(window)),
            Field::SpendIn(window) => Typed::Amount(Unit::Money, Amount::Window(window)),
        })
    }

    fn call(&mut self, node: &'a IdedExpr, call: &'a CallExpr) -> Result<Typed> {
        let name = call.func_name.as_str();
        match (name, call.target.as_deref(), call.args.as_slice()) {
            ("_&&_", None, [a, b]) => Ok(Typed::Truth(Truth::All(self.joined(name, [a, b])?.into()))),
            ("_||_", None, [a, b]) => Ok(Typed::Truth(Truth::Any(self.joined(name, [a, b])?.into()))),
            ("!_", None, [inner]) => Ok(Typed::Truth(Truth::Not(Box::new(self.truth(inner)?)))),
            ("-_", None, [inner]) => self.negated(node, inner),
            ("_?_:_", None, [condition, yes, no]) => self.choice(node, condition, yes, no),
            ("@in", None, [item, list]) => self.membership(node, item, list),
            ("_[_]", None, _) => Err(self.parsed.mistake(node, "one of many cannot be picked; use in, exists or all")),
            (_, None, [a, b]) if comparison(name).is_some() || arithmetic(name).is_some() => self.operation(node, name, a, b),
            ("size", None, [of]) | ("size", Some(of), []) => self.size(of),
            ("startsWith", Some(text), [part]) => self.search(Search::StartsWith, text, part),
            ("endsWith", Some(text), [part]) => self.search(Search::EndsWith, text, part),
            ("contains", Some(text), [part]) => self.search(Search::Contains, text, part),
            ("all", Some(range), [name, inner]) => self.quantified(node, Quantifier::All, range, name, inner),
            ("exists", Some(range), [name, inner]) => self.quantified(node, Quantifier::Exists, range, name, inner),
            ("exists_one" | "existsOne", Some(range), [name, inner]) => self.quantified(node, Quantifier::ExistsOne, range, name, inner),
            ("filter", Some(range), [name, inner]) => self.filtered(node, range, name, inner),
            (_, Some(of), args) if turning::is_window(name) => self.window(node, name, of, args),
            ("duration", None, [text]) => self.constant(text, literals::duration).map(|value| Typed::Duration(Duration::Literal(value))),
            ("timestamp", None, [text]) => self.constant(text, literals::timestamp).map(|value| Typed::Time(Time::Literal(value))),
            _ => Err(self.unknown_function(node, call)),
        }
    }

    fn operation(&mut self, node: &'a IdedExpr, name: &str, a: &'a IdedExpr, b: &'a IdedExpr) -> Result<Typed> {
        match (comparison(name), arithmetic(name)) {
            (Some(comparison), _) => self.comparison(node, comparison, a, b),
            (None, Some(arithmetic)) => self.arithmetic(node, arithmetic, a, b),
            (None, None) => Err(self.parsed.mistake(node, "this operator is not supported")),
        }
    }

    fn unknown_function(&self, node: &IdedExpr, call: &CallExpr) -> ConditionMistake {
        let name = call.func_name.as_str();
        let message = match name {
            "matches" => "regular expressions are not supported; use startsWith, endsWith, contains or in".to_owned(),
            "has" => "has() is not needed: every field has a value".to_owned(),
            "map" => "map is not supported: nothing is made of lines and lists but true, false and how many there are".to_owned(),
            "int" | "uint" | "double" | "string" | "bool" | "bytes" | "dyn" | "type" => {
                format!("`{name}` is not supported: types are not changed")
            }
            _ if name.starts_with("get") => {
                "ask `now` for its fields: now.year, now.month, now.day, now.weekday, now.hour, now.minute".to_owned()
            }
            _ => {
                let functions = "size(x), x.startsWith(y), x.endsWith(y), x.contains(y), x.exists(name, ...), x.all(name, ...), \
                                 x.exists_one(name, ...), size(x.filter(name, ...)), duration(\"24h\"), timestamp(\"2026-01-31T00:00:00Z\")";
                format!("there is no function `{name}` of this form; there are {functions}")
            }
        };
        self.parsed.mistake(node, message)
    }

    /// Chains of one operator become one part.
    fn joined(&mut self, name: &str, sides: [&'a IdedExpr; 2]) -> Result<Vec<Truth>> {
        let mut parts = Vec::new();
        for side in sides {
            match &side.expr {
                Expr::Call(call) if call.func_name == name && call.args.len() == 2 => {
                    parts.extend(self.joined(name, [&call.args[0], &call.args[1]])?);
                }
                _ => parts.push(self.truth(side)?),
            }
        }
        Ok(parts)
    }

    fn negated(&mut self, node: &'a IdedExpr, inner: &'a IdedExpr) -> Result<Typed> {
        match self.compile(inner)? {
            Typed::Number(Number::Literal(value)) => match value.checked_neg() {
                Some(value) => Ok(Typed::Number(Number::Literal(value))),
                None => Err(self.parsed.mistake(node, "the number is too large")),
            },
            Typed::Decimal(text) => Ok(Typed::Decimal(text.strip_prefix('-').map_or(format!("-{text}"), str::to_owned))),
            Typed::Number(number) => Ok(Typed::Number(Number::Negated(Box::new(number)))),
            Typed::Amount(unit, amount) => Ok(Typed::Amount(unit, Amount::Negated(Box::new(amount)))),
            Typed::Duration(duration) => Ok(Typed::Duration(Duration::Negated(Box::new(duration)))),
            other => Err(self.parsed.mistake(node, format!("- cannot be put before {}", other.describe()))),
        }
    }

    fn choice(&mut self, node: &'a IdedExpr, condition: &'a IdedExpr, yes: &'a IdedExpr, no: &'a IdedExpr) -> Result<Typed> {
        let condition = self.truth(condition)?;
        let sides = (self.compile(yes)?, self.compile(no)?);
        if let Some(unit) = unit_of(&sides) {
            let (yes, no) = (self.amount(yes, sides.0, unit)?, self.amount(no, sides.1, unit)?);
            return Ok(Typed::Amount(unit, Amount::If(Box::new((condition, yes, no)))));
        }
        Ok(match sides {
            (Typed::Truth(yes), Typed::Truth(no)) => Typed::Truth(Truth::If(Box::new((condition, yes, no)))),
            (Typed::Number(yes), Typed::Number(no)) => Typed::Number(Number::If(Box::new((condition, yes, no)))),
            (Typed::Text(yes), Typed::Text(no)) => Typed::Text(Text::If(Box::new((condition, yes, no)))),
            (Typed::Time(yes), Typed::Time(no)) => Typed::Time(Time::If(Box::new((condition, yes, no)))),
            (Typed::Duration(yes), Typed::Duration(no)) => Typed::Duration(Duration::If(Box::new((condition, yes, no)))),
            (yes, no) => return Err(self.mismatch(node, "? and : choose between", &yes, &no)),
        })
    }

    fn mismatch(&self, node: &IdedExpr, verb: &str, a: &Typed, b: &Typed) -> ConditionMistake {
        self.parsed.mistake(node, format!("{verb} {} and {}: they must be of one kind", a.describe(), b.describe()))
    }

    /// An amount, or a literal as one.
    fn amount(&self, node: &IdedExpr, typed: Typed, unit: Unit) -> Result<Amount> {
        let digits = self.digits.of(unit);
        let parsed = match &typed {
            Typed::Number(Number::Literal(value)) => literals::whole_amount(*value, digits),
            Typed::Decimal(text) => literals::amount(text, unit, digits),
            _ => match typed {
                Typed::Amount(own, amount) if own == unit => return Ok(amount),
                other => {
                    let wanted = Typed::Amount(unit, Amount::Literal(0));
                    return Err(self.parsed.mistake(node, format!("this is {}; it must be {}", other.describe(), wanted.describe())));
                }
            },
        };
        parsed.map(Amount::Literal).map_err(|message| self.parsed.mistake(node, message))
    }

    fn comparison(&mut self, node: &'a IdedExpr, comparison: Comparison, a: &'a IdedExpr, b: &'a IdedExpr) -> Result<Typed> {
        let sides = (self.compile(a)?, self.compile(b)?);
        if let Some(unit) = unit_of(&sides) {
            let sides = Box::new((self.amount(a, sides.0, unit)?, self.amount(b, sides.1, unit)?));
            return Ok(Typed::Truth(Truth::Amounts(comparison, sides)));
        }
        Ok(Typed::Truth(match sides {
            (Typed::Truth(a), Typed::Truth(b)) => match comparison {
                Comparison::Equal => Truth::Same(Box::new((a, b))),
                Comparison::NotEqual => Truth::Not(Box::new(Truth::Same(Box::new((a, b))))),
                Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
                    return Err(self.parsed.mistake(node, "true and false are only compared by == and !="));
                }
            },
            (Typed::Number(left), Typed::Number(right)) => {
                self.compared_in_time(a, &left, &right);
                self.compared_in_time(b, &right, &left);
                Truth::Numbers(comparison, Box::new((left, right)))
            }
            (Typed::Text(left), Typed::Text(right)) => {
                self.spend(node, compared(self.bytes(&left), self.bytes(&right)))?;
                self.name(&left, b, &right);
                self.name(&right, a, &left);
                Truth::Texts(comparison, Box::new((left, right)))
            }
            (Typed::Time(a), Typed::Time(b)) => Truth::Times(comparison, Box::new((a, b))),
            (Typed::Duration(a), Typed::Duration(b)) => Truth::Durations(comparison, Box::new((a, b))),
            (a, b) => return Err(self.mismatch(node, "this compares", &a, &b)),
        }))
    }

    /// As many bytes as a text may have.
    fn bytes(&self, text: &Text) -> usize {
        let of_item = |place: usize| {
            let known = self.bound.iter().find_map(|(_, bound)| match bound {
                Bound::Item(own, bytes) if *own == place => Some(*bytes),
                Bound::Item(..) | Bound::Line => None,
            });
            known.unwrap_or(MAX_CONDITION_BYTES)
        };
        longest(text, &of_item)
    }

    /// Notes what a field is compared with.
    fn name(&mut self, of: &Text, node: &IdedExpr, literal: &Text) {
        let field = match of {
            Text::Fact(field) => Field::Text(*field),
            Text::Line(field) => Field::LineText(*field),
            Text::Literal(_) | Text::Item(_) | Text::If(_) => return,
        };
        if let Text::Literal(text) = literal {
            self.note(field, node, text);
        }
    }

    fn note(&mut self, field: Field, node: &IdedExpr, text: &str) {
        let ConditionMistake { line, column, .. } = self.parsed.mistake(node, "");
        self.named.push(Named { field, text: text.into(), line, column });
    }

    fn arithmetic(&mut self, node: &'a IdedExpr, arithmetic: Arithmetic, a: &'a IdedExpr, b: &'a IdedExpr) -> Result<Typed> {
        let sides = (self.compile(a)?, self.compile(b)?);
        let is_sum = matches!(arithmetic, Arithmetic::Add | Arithmetic::Subtract);
        if let (true, Some(unit)) = (is_sum, unit_of(&sides)) {
            let sides = Box::new((self.amount(a, sides.0, unit)?, self.amount(b, sides.1, unit)?));
            let amount = if arithmetic == Arithmetic::Add { Amount::Sum(sides) } else { Amount::Difference(sides) };
            return Ok(Typed::Amount(unit, amount));
        }
        match (arithmetic, sides) {
            (_, (Typed::Number(a), Typed::Number(b))) => self.of_numbers(node, arithmetic, a, b),
            (Arithmetic::Multiply, (Typed::Number(by), Typed::Amount(unit, amount)) | (Typed::Amount(unit, amount), Typed::Number(by))) => {
                Ok(Typed::Amount(unit, Amount::Times(Box::new((by, amount)))))
            }
            (Arithmetic::Add, (Typed::Time(time), Typed::Duration(by)) | (Typed::Duration(by), Typed::Time(time))) => {
                Ok(Typed::Time(Time::Later(Box::new((time, by)))))
            }
            (Arithmetic::Subtract, (Typed::Time(time), Typed::Duration(by))) => Ok(Typed::Time(Time::Earlier(Box::new((time, by))))),
            (Arithmetic::Subtract, (Typed::Time(a), Typed::Time(b))) => Ok(Typed::Duration(Duration::Between(Box::new((a, b))))),
            (Arithmetic::Add, (Typed::Duration(a), Typed::Duration(b))) => Ok(Typed::Duration(Duration::Sum(Box::new((a, b))))),
            (Arithmetic::Subtract, (Typed::Duration(a), Typed::Duration(b))) => Ok(Typed::Duration(Duration::Difference(Box::new((a, b))))),
            (Arithmetic::Divide | Arithmetic::Remainder, (Typed::Amount(..), _)) => {
                Err(self.parsed.mistake(node, "an amount cannot be divided; multiply the other side instead"))
            }
            (_, (Typed::Text(_), Typed::Text(_))) => Err(self.parsed.mistake(node, "strings cannot be joined; compare their parts")),
            (_, (a, b)) => {
                let message = format!("this cannot be reckoned with {} and {}", a.describe(), b.describe());
                Err(self.parsed.mistake(node, message))
            }
        }
    }

    /// What is reckoned of literals is a literal.
    fn of_numbers(&self, node: &IdedExpr, arithmetic: Arithmetic, a: Number, b: Number) -> Result<Typed> {
        if matches!(arithmetic, Arithmetic::Divide | Arithmetic::Remainder) && !matches!(b, Number::Literal(by) if by != 0) {
            return Err(self.parsed.mistake(node, "a number is only divided by one that is written here and is not 0"));
        }
        if let (Number::Literal(a), Number::Literal(b)) = (&a, &b) {
            let folded = arithmetic.of(*a, *b).map_err(|_| self.parsed.mistake(node, "the number is too large"))?;
            return Ok(Typed::Number(Number::Literal(folded)));
        }
        Ok(Typed::Number(Number::Of(arithmetic, Box::new((a, b)))))
    }

    fn membership(&mut self, node: &'a IdedExpr, item: &'a IdedExpr, list: &'a IdedExpr) -> Result<Typed> {
        Ok(Typed::Truth(match (self.compile(item)?, self.compile(list)?) {
            (Typed::Number(number), Typed::Numbers(mut numbers)) => {
                self.spend(node, searched(numbers.len()))?;
                numbers.iter().for_each(|days| self.compared_in_time(item, &number, &Number::Literal(*days)));
                numbers.sort_unstable();
                Truth::NumberIn(Box::new((number, numbers.into())))
            }
            (Typed::Text(text), Typed::List(List::Literal(mut texts))) => {
                let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
                self.spend(node, searched(texts.len()) * (1 + compared(self.bytes(&text), longest)))?;
                if let Expr::List(written) = &list.expr {
                    for (element, literal) in written.elements.iter().zip(&texts) {
                        self.name(&text, element, &Text::Literal(literal.clone()));
                    }
                }
                texts.sort_unstable();
                Truth::TextIn(Box::new((text, texts)))
            }
            (Typed::Text(text), Typed::List(own)) => {
                self.spend(node, items(&own) * (1 + compared(self.bytes(&text), MAX_FIELD_BYTES)))?;
                match (&text, &own) {
                    (Text::Literal(text), List::Fact(field)) => self.note(Field::List(*field), item, text),
                    (Text::Literal(text), List::Line(field)) => self.note(Field::LineList(*field), item, text),
                    (Text::Fact(_) | Text::Line(_) | Text::Item(_) | Text::If(_), _) | (Text::Literal(_), List::Literal(_)) => {}
                }
                Truth::InList(Box::new((text, own)))
            }
            (item, list) => {
                let message = format!("this looks for {} in {}", item.describe(), list.describe());
                return Err(self.parsed.mistake(node, message));
            }
        }))
    }

    fn size(&mut self, of: &'a IdedExpr) -> Result<Typed> {
        Ok(Typed::Number(match self.compile(of)? {
            Typed::Text(text) => {
                self.spend(of, scanned(self.bytes(&text)))?;
                Number::Length(text)
            }
            Typed::List(list) => Number::Size(list),
            Typed::Lines(None) => Number::Lines,
            Typed::Lines(Some(with)) => Number::LinesWith(Box::new(with)),
            other => return Err(self.parsed.mistake(of, format!("{} has no size; a string, a list and lines have", other.describe()))),
        }))
    }

    fn search(&mut self, search: Search, text: &'a IdedExpr, part: &'a IdedExpr) -> Result<Typed> {
        let sides = (self.text(text)?, self.text(part)?);
        let (of, in_it) = (self.bytes(&sides.0), self.bytes(&sides.1));
        self.spend(
            text,
            match search {
                Search::StartsWith | Search::EndsWith => compared(of, in_it),
                Search::Contains => scanned(of.saturating_add(in_it)),
            },
        )?;
        Ok(Typed::Truth(Truth::Search(search, Box::new(sides))))
    }

    fn quantified(
        &mut self,
        node: &'a IdedExpr,
        quantifier: Quantifier,
        range: &'a IdedExpr,
        name: &'a IdedExpr,
        inner: &'a IdedExpr,
    ) -> Result<Typed> {
        match self.compile(range)? {
            Typed::Lines(None) => {
                let inner = self.within(node, name, inner, Bound::Line, LINES)?;
                Ok(Typed::Truth(Truth::OfLines(quantifier, Box::new(inner))))
            }
            Typed::List(list) => {
                let place = self.bound.iter().filter(|(_, bound)| *bound != Bound::Line).count();
                let (items, bytes) = match &list {
                    List::Literal(texts) => (items(&list), texts.iter().map(|text| text.len()).max().unwrap_or(0)),
                    List::Fact(_) | List::Line(_) => (items(&list), MAX_FIELD_BYTES),
                };
                let inner = self.within(node, name, inner, Bound::Item(place, bytes), items)?;
                Ok(Typed::Truth(Truth::OfList(quantifier, Box::new((list, place, inner)))))
            }
            other => {
                let message = format!("this goes through {}; lines and lists of strings can be gone through", other.describe());
                Err(self.parsed.mistake(node, message))
            }
        }
    }

    fn filtered(&mut self, node: &'a IdedExpr, range: &'a IdedExpr, name: &'a IdedExpr, inner: &'a IdedExpr) -> Result<Typed> {
        match self.compile(range)? {
            Typed::Lines(None) => Ok(Typed::Lines(Some(self.within(node, name, inner, Bound::Line, LINES)?))),
            other => Err(self
                .parsed
                .mistake(node, format!("filter is for purchase.lines, of which to take the size; this is {}", other.describe()))),
        }
    }

    /// What is judged for each of so many.
    fn within(&mut self, node: &IdedExpr, name: &'a IdedExpr, inner: &'a IdedExpr, bound: Bound, items: u64) -> Result<Truth> {
        let Expr::Ident(own) = &name.expr else {
            return Err(self.parsed.mistake(name, "a name for one of them belongs here"));
        };
        let is_line_name = own == "line" && bound == Bound::Line && self.scope == Scope::Purchase;
        if self.bound(own).is_some() || (["purchase", "member", "now", "line"].contains(&own.as_str()) && !is_line_name) {
            return Err(self.parsed.mistake(name, format!("the name `{own}` is taken; choose another")));
        }
        if self.bound.len() >= MAX_ITEMS || (bound == Bound::Line && !self.bound.is_empty()) {
            return Err(self
                .parsed
                .mistake(node, "lines cannot be gone through for each of something, nor lists more than one within another"));
        }
        let times = self.times;
        self.times = times.saturating_mul(items);
        self.bound.push((own, bound));
        let truth = self.truth(inner);
        self.bound.pop();
        self.times = times;
        truth
    }

    fn constant<T>(&mut self, node: &'a IdedExpr, read: impl Fn(&str) -> std::result::Result<T, String>) -> Result<T> {
        match self.compile(node)? {
            Typed::Text(Text::Literal(text)) => read(&text).map_err(|message| self.parsed.mistake(node, message)),
            other => Err(self.parsed.mistake(node, format!("this is {}; it must be a string that is written here", other.describe()))),
        }
    }
}
