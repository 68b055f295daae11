//! Accrual: a purchase becomes points.

use jiff::Timestamp;

use super::{Accrual, Header, Program, Purchase, Rejection};

/// What the purchase earns under a version of the rule book, for the tier held when it occurred.
pub(super) fn accrue(
    _program: &Program,
    _header: &Header,
    _purchase: &Purchase,
    _occurred_time: Timestamp,
    _now: Timestamp,
) -> Result<Accrual, Rejection> {
    Err(Rejection::Overflow)
}
