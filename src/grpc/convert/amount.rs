//! Money, quantities and points.

use rust_decimal::Decimal;

use super::{Mistakes, Path};
use crate::{
    contract::v1,
    domain::{Currency, Points, Program, parse_amount},
};

/// Parses an amount in the programme's currency, strictly: no sign, exponent or surplus digits.
pub fn parse_money(path: Path<'_>, money: &v1::Money, currency: &Currency, mistakes: &mut Mistakes) -> Option<Decimal> {
    let code = currency.code();
    let expected = money.currency_code == code;
    if !expected {
        let message = if money.currency_code.is_empty() {
            format!("is required: {code}, the programme's currency")
        } else {
            format!("is not the programme's currency, which is {code}")
        };
        mistakes.add(path.field("currency_code"), message);
    }
    let amount = mistakes.take(path.field("amount"), parse_amount(&money.amount, currency.digits()));
    amount.filter(|_| expected)
}

/// Money that may be absent, which is 0.
pub fn parse_optional_money(path: Path<'_>, money: Option<&v1::Money>, currency: &Currency, mistakes: &mut Mistakes) -> Option<Decimal> {
    match money {
        Some(money) => parse_money(path, money, currency, mistakes),
        None => Some(Decimal::ZERO),
    }
}

/// Points that are asked for, in the smallest unit.
pub fn parse_points(path: Path<'_>, points: i64, mistakes: &mut Mistakes) -> Option<Points> {
    if points <= 0 {
        mistakes.add(path, "is required: more than 0");
        return None;
    }
    Some(Points(points))
}

const MAX_QUANTITY: i64 = 1_000_000;

/// Empty is 1.
pub fn parse_quantity(path: Path<'_>, text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    if text.is_empty() {
        return Some(Decimal::ONE);
    }
    let quantity = mistakes.take(path, parse_amount(text, 3))?;
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
    v1::Money { currency_code: currency.code().to_string(), amount: text(amount, false) }
}

/// A number without trailing zeros.
pub fn decimal(number: Decimal) -> String {
    text(number, true)
}

/// Digits of a number that fits 64 bits, with a zero before the point and the point.
const SHORT: usize = 24;

/// An answer to a purchase has a dozen numbers and more: those of usual size are written here, others by their own type.
fn text(number: Decimal, shortest: bool) -> String {
    let scale = number.scale();
    let (Ok(mut rest), 0..=18) = (u64::try_from(number.mantissa()), scale) else {
        return if shortest { number.normalize().to_string() } else { number.to_string() };
    };
    let mut places = scale;
    while shortest && places > 0 && rest % 10 == 0 {
        rest /= 10;
        places -= 1;
    }
    let mut bytes = [b'0'; SHORT];
    let mut at = SHORT;
    for place in 0_u32.. {
        if place == places && place > 0 {
            at -= 1;
            bytes[at] = b'.';
        }
        at -= 1;
        bytes[at] = b'0' + u8::try_from(rest % 10).expect("a digit is small");
        rest /= 10;
        if rest == 0 && place >= places {
            break;
        }
    }
    String::from_utf8(bytes[at..].to_vec()).expect("digits and a point")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_their_own_type_writes_them() {
        let mantissas =
            [0, 1, 9, 10, 100, 101, 1_234_500, 99_999_999_999_999_999, i128::from(u64::MAX), i128::from(u64::MAX) + 1, -5, -1_500];
        for (mantissa, scale) in mantissas.iter().flat_map(|mantissa| (0..=28).map(move |scale| (*mantissa, scale))) {
            let number = Decimal::from_i128_with_scale(mantissa, scale);
            assert_eq!(text(number, false), number.to_string());
            assert_eq!(decimal(number), number.normalize().to_string());
        }
    }
}
