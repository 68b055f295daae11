//! Money: currencies, strict decimals and exact shares. An amount is a `Decimal` in the programme's currency.

use std::fmt;

use rust_decimal::Decimal;

use super::Overflow;

/// Digits before the point that an amount of money can have.
pub const MAX_AMOUNT_DIGITS: usize = 15;

/// An ISO 4217 currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    code: [u8; 3],
    /// Decimal places.
    digits: u32,
}

/// ISO 4217, currencies in circulation, by their number of decimal places. Metals, test codes and funds are left out: nobody pays a till
/// with them.
const CODES: [(u32, &str); 4] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK \
         DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP \
         LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD \
         RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD \
         XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

impl Currency {
    /// `None`: not a currency that ISO 4217 lists.
    pub fn parse(code: &str) -> Option<Self> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        let (digits, _) = CODES.iter().find(|(_, codes)| codes.split_ascii_whitespace().any(|known| known == code))?;
        Some(Self { code: bytes, digits: *digits })
    }

    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).expect("codes of the table are ASCII")
    }

    /// Decimal places of an amount.
    pub fn digits(&self) -> u32 {
        self.digits
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a text is not a decimal number that is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("is required")]
    Missing,
    #[error("is not a decimal number such as \"12\" or \"12.5\": digits and at most one point, no sign, exponent, space or separator")]
    Syntax,
    #[error("has {found} digits before the point; at most {limit} are allowed")]
    IntegerDigits { found: usize, limit: usize },
    #[error("has {found} decimal places; at most {limit} are allowed")]
    FractionDigits { found: usize, limit: u32 },
}

/// An amount of money: at most [`MAX_AMOUNT_DIGITS`] digits before the point and the currency's decimal places after it.
pub fn parse_amount(text: &str, digits: u32) -> Result<Decimal, DecimalError> {
    parse_decimal(text, MAX_AMOUNT_DIGITS, digits)
}

/// A number that is not negative, taken to the letter: no sign, exponent, spaces or separators. Its scale is that of the text.
pub fn parse_decimal(text: &str, max_integer_digits: usize, max_fraction_digits: u32) -> Result<Decimal, DecimalError> {
    if text.is_empty() {
        return Err(DecimalError::Missing);
    }
    let (integer, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(DecimalError::Syntax),
        Some(parts) => parts,
        None => (text, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if integer.is_empty() || !all_digits(integer) || !all_digits(fraction) {
        return Err(DecimalError::Syntax);
    }
    if integer.len() > max_integer_digits {
        return Err(DecimalError::IntegerDigits { found: integer.len(), limit: max_integer_digits });
    }
    if fraction.len() > max_fraction_digits as usize {
        return Err(DecimalError::FractionDigits { found: fraction.len(), limit: max_fraction_digits });
    }
    let number = integer
        .bytes()
        .chain(fraction.bytes())
        .try_fold(0i128, |number, digit| number.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    let scale = fraction.len() as u32;
    number.and_then(|number| Decimal::try_from_i128_with_scale(number, scale).ok()).ok_or(DecimalError::Syntax)
}

/// An amount as a whole number of 1/10^`digits`. `Overflow` also for an amount with more decimal places.
pub(super) fn to_units(amount: Decimal, digits: u32) -> Result<i128, Overflow> {
    let (mantissa, scale) = (amount.mantissa(), amount.scale());
    if scale <= digits {
        return mantissa.checked_mul(power_of_ten(digits - scale)?).ok_or(Overflow);
    }
    let surplus = power_of_ten(scale - digits)?;
    if mantissa % surplus == 0 { Ok(mantissa / surplus) } else { Err(Overflow) }
}

/// The opposite of [`to_units`].
pub(super) fn from_units(units: i128, digits: u32) -> Result<Decimal, Overflow> {
    Decimal::try_from_i128_with_scale(units, digits).map_err(|_| Overflow)
}

pub(super) fn power_of_ten(exponent: u32) -> Result<i128, Overflow> {
    10i128.checked_pow(exponent).ok_or(Overflow)
}

/// Shares `total` by `weights`, each share a multiple of 1/10^`digits`: largest remainder, of equal remainders the lower index first.
/// The shares sum to `total` exactly. A weight of 0 gets nothing, unless all are 0: then they count as equal. No weights, no shares.
pub fn share(total: Decimal, weights: &[Decimal], digits: u32) -> Result<Vec<Decimal>, Overflow> {
    let scale = weights.iter().map(Decimal::scale).max().unwrap_or(0);
    let weights = weights.iter().map(|weight| to_units(*weight, scale)).collect::<Result<Vec<_>, _>>()?;
    let shares = share_units(to_units(total, digits)?, &weights)?;
    shares.into_iter().map(|share| from_units(share, digits)).collect()
}

/// As [`share`], of whole numbers that are not negative.
pub(super) fn share_units(total: i128, weights: &[i128]) -> Result<Vec<i128>, Overflow> {
    if let [_] = weights {
        return Ok(vec![total]);
    }
    let sum = weights.iter().try_fold(0i128, |sum, weight| sum.checked_add(*weight)).ok_or(Overflow)?;
    if sum == 0 {
        return if weights.is_empty() || total == 0 { Ok(vec![0; weights.len()]) } else { share_units(total, &vec![1; weights.len()]) };
    }
    if total == 0 {
        return Ok(vec![0; weights.len()]);
    }
    let (total, sum) = (u128::try_from(total).map_err(|_| Overflow)?, sum.unsigned_abs());
    let mut shares = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    let mut shared = 0u128;
    for (index, weight) in weights.iter().enumerate() {
        let (whole, remainder) = multiply_and_divide(total, u128::try_from(*weight).map_err(|_| Overflow)?, sum);
        shared += whole;
        shares.push(i128::try_from(whole).map_err(|_| Overflow)?);
        remainders.push((remainder, index));
    }
    // Fewer units are left than there are remainders above 0, so that none goes to a weight of 0.
    let left = usize::try_from(total - shared).map_err(|_| Overflow)?;
    if left > 0 {
        remainders.select_nth_unstable_by(left - 1, |a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, index) in &remainders[..left] {
            shares[*index] += 1;
        }
    }
    Ok(shares)
}

/// Quotient and remainder of a x b / c where b <= c < 2^127, exact even if the product does not fit.
fn multiply_and_divide(a: u128, b: u128, c: u128) -> (u128, u128) {
    if let Some(product) = a.checked_mul(b) {
        return (product / c, product % c);
    }
    let (mut quotient, mut remainder) = (0, 0);
    for bit in (0..u128::BITS).rev() {
        quotient = quotient * 2 + remainder * 2 / c;
        remainder = remainder * 2 % c;
        if a >> bit & 1 == 1 {
            quotient += b / c + (remainder + b % c) / c;
            remainder = (remainder + b % c) % c;
        }
    }
    (quotient, remainder)
}
