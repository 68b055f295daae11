//! Exact fractions of points, and how they are rounded.

use std::cmp::Ordering;

use rust_decimal::Decimal;

use crate::domain::{Overflow, Points, Rounding, RoundingMode, RoundingStep, money};

/// Decimal places to which a fraction is shown, and to which it is carried.
const PLACES: u32 = 12;
const ONE: i128 = 1_000_000_000_000;

/// An exact number of points in the smallest unit, not negative.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ratio {
    pub numerator: i128,
    /// More than 0.
    pub denominator: i128,
}

impl Ratio {
    pub const ZERO: Ratio = Ratio { numerator: 0, denominator: 1 };

    /// The sum, exact unless its denominator leaves the range of numbers: then to 12 decimal places.
    pub fn plus(self, other: Ratio) -> Result<Ratio, Overflow> {
        if self.denominator == other.denominator {
            let numerator = self.numerator.checked_add(other.numerator).ok_or(Overflow)?;
            return Ok(Ratio { numerator, ..self });
        }
        let exact = || {
            let a = self.numerator.checked_mul(other.denominator)?;
            let b = other.numerator.checked_mul(self.denominator)?;
            Some(Ratio { numerator: a.checked_add(b)?, denominator: self.denominator.checked_mul(other.denominator)? }.reduced())
        };
        match exact() {
            Some(sum) => Ok(sum),
            None => {
                let numerator = self.in_places()?.checked_add(other.in_places()?).ok_or(Overflow)?;
                Ok(Ratio { numerator, denominator: ONE })
            }
        }
    }

    pub fn compare(self, other: Ratio) -> Result<Ordering, Overflow> {
        let crossed = self.numerator.checked_mul(other.denominator).zip(other.numerator.checked_mul(self.denominator));
        match crossed {
            Some((a, b)) => Ok(a.cmp(&b)),
            None => Ok(self.in_places()?.cmp(&other.in_places()?)),
        }
    }

    /// In 10^-12 of the smallest unit, a half up.
    pub fn in_places(self) -> Result<i128, Overflow> {
        let (whole, rest) = self.split();
        let (fraction, left) = self.places_of(rest)?;
        let fraction = if left >= self.denominator - left { fraction + 1 } else { fraction };
        whole.checked_mul(ONE).and_then(|whole| whole.checked_add(fraction)).ok_or(Overflow)
    }

    /// Drops the fraction or carries it: with `carry`, what came in is added and what is left goes out.
    pub fn round(self, rounding: Rounding, carried_in: Decimal) -> Result<RoundingStep, Overflow> {
        let (whole, rest) = self.split();
        let exact = if rest == 0 { money::from_units(whole, 0)? } else { shown(self.in_places()?)? };
        if rounding.carry {
            // Rounded up, so that three thirds of a point make a point.
            let (fraction, left) = self.places_of(rest)?;
            let fraction = if left == 0 { fraction } else { fraction + 1 };
            let sum = fraction.checked_add(money::to_units(carried_in, PLACES)?).ok_or(Overflow)?;
            let rounded = points(whole.checked_add(sum / ONE).ok_or(Overflow)?)?;
            return Ok(RoundingStep { exact, carried_in, mode: rounding.mode, rounded, carried_out: shown(sum % ONE)? });
        }
        let twice = rest.cmp(&(self.denominator - rest));
        let up = match rounding.mode {
            RoundingMode::Floor => false,
            RoundingMode::Ceiling => rest > 0,
            RoundingMode::HalfUp => twice != Ordering::Less,
            RoundingMode::HalfEven => twice == Ordering::Greater || (twice == Ordering::Equal && whole % 2 == 1),
        };
        let rounded = points(whole + i128::from(up))?;
        Ok(RoundingStep { exact, carried_in: Decimal::ZERO, mode: rounding.mode, rounded, carried_out: Decimal::ZERO })
    }

    /// A remainder in 10^-12, and what is left of it then.
    fn places_of(self, rest: i128) -> Result<(i128, i128), Overflow> {
        let (places, left) = money::multiply_and_divide(ONE.unsigned_abs(), rest.unsigned_abs(), self.denominator.unsigned_abs());
        Ok((i128::try_from(places).map_err(|_| Overflow)?, i128::try_from(left).map_err(|_| Overflow)?))
    }

    fn split(self) -> (i128, i128) {
        // Most numbers fit 64 bits, where a division is many times faster.
        match (u64::try_from(self.numerator), u64::try_from(self.denominator)) {
            (Ok(a), Ok(b)) => (i128::from(a / b), i128::from(a % b)),
            (Ok(_) | Err(_), _) => (self.numerator / self.denominator, self.numerator % self.denominator),
        }
    }

    fn reduced(self) -> Ratio {
        let (mut a, mut b) = (self.numerator, self.denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Ratio { numerator: self.numerator / a, denominator: self.denominator / a }
    }
}

pub(super) fn points(number: i128) -> Result<Points, Overflow> {
    i64::try_from(number).map(Points).map_err(|_| Overflow)
}

fn shown(places: i128) -> Result<Decimal, Overflow> {
    if places == 0 {
        return Ok(Decimal::ZERO);
    }
    Ok(money::from_units(places, PLACES)?.normalize())
}
