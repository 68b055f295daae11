//! Money: currencies and exact shares. An amount is a `Decimal` in the programme's currency.

use rust_decimal::Decimal;

use super::Overflow;

/// An ISO 4217 currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    code: [u8; 3],
    /// Decimal places.
    digits: u32,
}
