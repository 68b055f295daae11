//! Collects the mistakes of a document, each with its path.

use std::fmt::Display;

use rust_decimal::Decimal;

use crate::{
    contract::Violation,
    domain::{DecimalError, Points, parse_decimal},
};

/// So many are named; a document with more is not a rule book with mistakes but something else.
const MAX_VIOLATIONS: usize = 1_000;

/// Bound of the points of thresholds and limits, in digits of whole points.
const MAX_POINTS_DIGITS: usize = 12;

/// Digits of the points of a rule: before the decimal point, after it.
const RATE_DIGITS: (usize, u32) = (9, 6);

#[derive(Default)]
pub(super) struct Mistakes(Vec<Violation>);

impl Mistakes {
    pub fn note(&mut self, path: impl Into<String>, message: impl Display) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(Violation { path: path.into(), message: message.to_string() });
        }
    }

    /// Those noted so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value, if nothing was wrong with it and with all that was read beside it.
    pub fn result<T>(self, value: Option<T>) -> Result<T, Vec<Violation>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => {
                debug_assert!(!self.0.is_empty(), "a value is missing only where a mistake was noted");
                Err(self.0)
            }
        }
    }

    pub fn into_violations(self) -> Vec<Violation> {
        self.0
    }

    /// Notes an error and goes on without the value.
    pub fn take<T, E: Display>(&mut self, path: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.note(path, error)).ok()
    }

    /// The number of an enum as its value; 0 and numbers that it does not have are refused.
    pub fn choice<E: TryFrom<i32> + Default + PartialEq>(&mut self, path: impl Into<String>, number: i32) -> Option<E> {
        match E::try_from(number) {
            Ok(value) if value != E::default() => Some(value),
            Ok(_) => {
                self.note(path, "is required");
                None
            }
            Err(_) => {
                self.note(path, format_args!("has no value with the number {number}"));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&mut self, path: impl Into<String>, number: i32, bounds: std::ops::RangeInclusive<i32>) -> Option<u32> {
        if !bounds.contains(&number) {
            self.note(path, format_args!("is {number}; it must be {} to {}", bounds.start(), bounds.end()));
            return None;
        }
        u32::try_from(number).ok()
    }

    /// Text for people.
    pub fn text(&mut self, path: impl Into<String>, text: &str, min_chars: usize, max_chars: usize) -> Option<String> {
        let chars = text.chars().count();
        if chars < min_chars {
            self.note(path, "is required");
        } else if chars > max_chars {
            self.note(path, format_args!("has {chars} characters; at most {max_chars} are allowed"));
        } else if text.chars().any(char::is_control) {
            self.note(path, "has a control character");
        } else {
            return Some(text.to_owned());
        }
        None
    }

    /// What a rule gives: whole points with a fraction, more than 0.
    pub fn rate(&mut self, path: impl Into<String>, text: &str) -> Option<Decimal> {
        let path = path.into();
        let (integer, fraction) = RATE_DIGITS;
        let points = self.take(&path, parse_decimal(text, integer, fraction))?;
        self.more_than_zero(path, points)
    }

    pub fn more_than_zero(&mut self, path: impl Into<String>, number: Decimal) -> Option<Decimal> {
        if number.is_zero() {
            self.note(path, "must be more than 0");
            return None;
        }
        Some(number.normalize())
    }

    /// A number of points in whole points, as many decimal places as a point has. Empty: no such bound.
    pub fn points(&mut self, path: impl Into<String>, text: &str, precision: u32) -> Option<Points> {
        if text.is_empty() {
            return None;
        }
        let path = path.into();
        let points = match parse_decimal(text, MAX_POINTS_DIGITS, precision) {
            Ok(points) => points,
            Err(DecimalError::FractionDigits { found, .. }) => {
                self.note(path, format_args!("has {found} decimal places; points_precision allows {precision}"));
                return None;
            }
            Err(error @ (DecimalError::Missing | DecimalError::Syntax | DecimalError::IntegerDigits { .. })) => {
                self.note(path, error);
                return None;
            }
        };
        // At most 12 digits and 2 decimal places: far from the bounds of 64 bits.
        let units = points.mantissa() * 10i128.pow(precision - points.scale());
        i64::try_from(units).ok().map(Points)
    }

    /// As [`Mistakes::points`], more than 0, and there must be one.
    pub fn required_points(&mut self, path: impl Into<String>, text: &str, precision: u32) -> Option<Points> {
        let path = path.into();
        let points = match text {
            "" => Some(Points::ZERO),
            text => self.points(&path, text, precision),
        }?;
        if points.is_zero() {
            self.note(path, "is required: more than 0");
            return None;
        }
        Some(points)
    }

    /// As [`Mistakes::points`], more than 0.
    pub fn points_above_zero(&mut self, path: impl Into<String>, text: &str, precision: u32) -> Option<Points> {
        let path = path.into();
        let points = self.points(&path, text, precision)?;
        if points.is_zero() {
            self.note(path, "must be more than 0; leave it out for no bound");
            return None;
        }
        Some(points)
    }
}
