//! Points, in the programme's smallest unit.

use std::fmt;

/// A number of points in the programme's smallest unit: with a precision of 2, 150 is 1.50 points. May be negative as a change.
/// Arithmetic is checked: what does not fit is [`Overflow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Points(pub i64);

/// A number left the range of 64 bits (points) or 96 bits (money).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number is too large")]
pub struct Overflow;

impl Points {
    pub const ZERO: Points = Points(0);

    pub fn plus(self, other: Points) -> Result<Points, Overflow> {
        self.0.checked_add(other.0).map(Points).ok_or(Overflow)
    }

    pub fn minus(self, other: Points) -> Result<Points, Overflow> {
        self.0.checked_sub(other.0).map(Points).ok_or(Overflow)
    }

    pub fn negated(self) -> Result<Points, Overflow> {
        self.0.checked_neg().map(Points).ok_or(Overflow)
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, checked.
    pub fn total(points: impl IntoIterator<Item = Points>) -> Result<Points, Overflow> {
        points.into_iter().try_fold(Points::ZERO, Points::plus)
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
