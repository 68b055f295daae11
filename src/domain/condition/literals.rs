//! Literals of types that CEL's grammar does not know.

use jiff::{SignedDuration, Timestamp};

use super::fields::Unit;
use crate::domain::{
    DecimalError,
    money::{MAX_AMOUNT_DIGITS, parse_decimal, power_of_ten},
};

/// A whole number as an amount in the smallest unit.
pub(super) fn whole_amount(value: i64, digits: u32) -> Result<i128, String> {
    let amount = power_of_ten(digits).ok().and_then(|unit| i128::from(value).checked_mul(unit));
    amount.ok_or_else(|| "the number is too large".to_owned())
}

/// A number with decimal places, with a sign perhaps, as an amount in the smallest unit.
pub(super) fn amount(text: &str, unit: Unit, digits: u32) -> Result<i128, String> {
    let (sign, number) = text.strip_prefix('-').map_or((1, text), |number| (-1, number));
    let what = match unit {
        Unit::Money => "an amount of money here",
        Unit::Points => "a number of points here",
        Unit::Quantity => "a quantity",
    };
    let decimal = parse_decimal(number, MAX_AMOUNT_DIGITS, digits).map_err(|error| match error {
        DecimalError::FractionDigits { found, limit } => format!("`{text}` has {found} decimal places; {what} has at most {limit}"),
        DecimalError::IntegerDigits { .. } => format!("`{text}` is too large"),
        DecimalError::Missing | DecimalError::Syntax => format!("`{text}` is not a number such as 12.50: digits, a point, digits"),
    })?;
    let units = power_of_ten(digits - decimal.scale()).ok().and_then(|surplus| decimal.mantissa().checked_mul(surplus * sign));
    units.ok_or_else(|| format!("`{text}` is too large"))
}

pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an instant such as \"2026-01-31T00:00:00Z\""))
}

/// Hours, minutes and seconds.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("\"{text}\" is not a duration such as \"36h\", \"1h30m\" or \"90s\"");
    let (sign, mut rest) = text.strip_prefix('-').map_or((1i64, text), |rest| (-1, rest));
    let mut seconds = 0i64;
    let mut units = ['h', 'm', 's'].into_iter();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit = rest[end..].chars().next().ok_or_else(wrong)?;
        // In this order, each at most once.
        units.find(|known| *known == unit).ok_or_else(wrong)?;
        let length = match unit {
            'h' => 3_600,
            'm' => 60,
            _ => 1,
        };
        seconds = number.checked_mul(length).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[end + unit.len_utf8()..];
    }
    Ok(SignedDuration::from_secs(sign * seconds))
}
