//! Money, quantities and points.

use rust_decimal::Decimal;

use super::{Mistakes, Path};
use crate::{
    contract::v1,
    domain::{Currency, Points, Program},
};

/// Parses an amount in the programme's currency, strictly: no sign, exponent or surplus digits.
pub fn parse_money(path: Path<'_>, money: &v1::Money, currency: &Currency, mistakes: &mut Mistakes) -> Option<Decimal> {
    let code = currency.code();
    if money.currency_code != code {
        let message = if money.currency_code.is_empty() {
            format!("is required: {code}, the programme's currency")
        } else {
            format!("is not the programme's currency, which is {code}")
        };
        mistakes.add(path.field("currency_code"), message);
        return None;
    }
    mistakes.take(path.field("amount"), crate::domain::parse_amount(&money.amount, currency.digits()))
}

/// Money that may be absent, which is 0.
pub fn parse_optional_money(path: Path<'_>, money: Option<&v1::Money>, currency: &Currency, mistakes: &mut Mistakes) -> Option<Decimal> {
    match money {
        Some(money) => parse_money(path, money, currency, mistakes),
        None => Some(Decimal::ZERO),
    }
}

const MAX_QUANTITY: i64 = 1_000_000;

/// Empty is 1.
pub fn parse_quantity(path: Path<'_>, text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    if text.is_empty() {
        return Some(Decimal::ONE);
    }
    let quantity = mistakes.take(path, crate::domain::parse_amount(text, 3))?;
    if quantity > Decimal::from(MAX_QUANTITY) {
        mistakes.add(path, format!("is more than {MAX_QUANTITY}"));
        return None;
    }
    Some(quantity)
}

/// With as many decimal places as the currency has.
pub fn money(amount: Decimal, currency: &Currency) -> v1::Money {
    let mut amount = amount;
    // An amount of the ledger has no digits beyond those of its currency, so this adds zeros and rounds nothing.
    amount.rescale(currency.digits());
    v1::Money { currency_code: currency.code().to_string(), amount: amount.to_string() }
}

/// A number without trailing zeros.
pub fn decimal(number: Decimal) -> String {
    number.normalize().to_string()
}

/// Points of the smallest unit, in whole points as a person writes them: 150 with a precision of 2 is `1.50`.
pub fn points_text(points: Points, program: &Program) -> String {
    whole_points(Decimal::from(points.0), program).to_string()
}

/// A number in the smallest unit of a point, in whole points.
pub fn whole_points(number: Decimal, program: &Program) -> Decimal {
    // Precision is at most 2 and the scale of what is shown at most 12, far from the 28 that a decimal holds.
    let scale = (number.scale() + program.points_precision).min(Decimal::MAX_SCALE);
    let mut whole = number;
    match whole.set_scale(scale) {
        Ok(()) => whole,
        Err(_) => number,
    }
}
