//! Writing protobuf's wire format straight from domain types: the hot path makes no intermediate messages. Reading goes through the
//! generated types.

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::domain::LotExpiry;

/// In place of the instant at which points lapse: they do so with the member's inactivity.
pub(super) const WITH_INACTIVITY: i64 = i64::MAX;

/// And more: they do so after months without activity, after the month of that number above it.
pub(super) const BY_MONTHS: i64 = i64::MAX - (1 << 20) + 1;

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

/// Appends fields to a buffer. Values that are the default are left out, as proto3 does.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    pub(super) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    /// Of a list, unpacked.
    pub(super) fn item_uint(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    pub(super) fn sint(&mut self, field: u32, value: i64) {
        if value != 0 {
            self.present_sint(field, value);
        }
    }

    /// For fields with presence: 0 is written too.
    pub(super) fn present_uint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    pub(super) fn present_sint(&mut self, field: u32, value: i64) {
        self.tag(field, VARINT);
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// For fields with presence: written unless it is what absence means.
    pub(super) fn sint_unless(&mut self, field: u32, value: i64, meant_by_absence: i64) {
        if value != meant_by_absence {
            self.present_sint(field, value);
        }
    }

    pub(super) fn time(&mut self, field: u32, value: Timestamp) {
        self.sint(field, value.as_microsecond());
    }

    pub(super) fn optional_time(&mut self, field: u32, value: Option<Timestamp>) {
        if let Some(value) = value {
            self.present_sint(field, value.as_microsecond());
        }
    }

    pub(super) fn expiry(&mut self, field: u32, value: LotExpiry) {
        match value {
            LotExpiry::At(time) => self.present_sint(field, time.as_microsecond()),
            LotExpiry::InactiveMonths(earned) => self.present_sint(field, BY_MONTHS + i64::from(earned.0)),
            LotExpiry::Inactivity => self.present_sint(field, WITH_INACTIVITY),
            LotExpiry::Never => {}
        }
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.present_bytes(field, value);
        }
    }

    pub(super) fn present_bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// An item of a repeated field: an empty one is written too.
    pub(super) fn item_text(&mut self, field: u32, value: &str) {
        self.present_bytes(field, value.as_bytes());
    }

    pub(super) fn decimal(&mut self, field: u32, value: Decimal) {
        let (bytes, length) = decimal_bytes(value);
        self.bytes(field, &bytes[..length]);
    }

    /// A number alone, without a field: small ones of either sign are short.
    pub(super) fn zigzag(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A decimal alone, after its length.
    pub(super) fn bare_decimal(&mut self, value: Decimal) {
        let (bytes, length) = decimal_bytes(value);
        self.varint(length as u64);
        self.bytes.extend_from_slice(&bytes[..length]);
    }

    /// For fields with presence whose absence means 1.
    pub(super) fn present_decimal(&mut self, field: u32, value: Decimal) {
        let (bytes, length) = decimal_bytes(value);
        self.present_bytes(field, &bytes[..length]);
    }

    pub(super) fn decimal_unless_one(&mut self, field: u32, value: Decimal) {
        if value != Decimal::ONE || value.scale() != 0 {
            let (bytes, length) = decimal_bytes(value);
            self.present_bytes(field, &bytes[..length]);
        }
    }

    /// Writes a message, which is then the last so many bytes. Its length is known only afterwards: one byte is kept free for it, and
    /// what was written moves if that is not enough.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) -> usize {
        self.tag(field, LENGTH_DELIMITED);
        let place = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len() - place - 1;
        let mut prefix = Writer::default();
        if length < 0x80 {
            self.bytes[place] = length as u8;
        } else {
            prefix.varint(length as u64);
            let more = prefix.bytes.len() - 1;
            let end = self.bytes.len();
            self.bytes.resize(end + more, 0);
            self.bytes.copy_within(place + 1..end, place + 1 + more);
            self.bytes[place..place + 1 + more].copy_from_slice(&prefix.bytes);
        }
        length
    }
}

const NEGATIVE: u8 = 0x80;

/// Scale and sign, then the digits in big-endian bytes without leading zeros; nothing for a plain 0.
fn decimal_bytes(value: Decimal) -> ([u8; 13], usize) {
    let mut out = [0; 13];
    let magnitude = value.mantissa().unsigned_abs();
    let scale = value.scale() as u8 | if value.is_sign_negative() { NEGATIVE } else { 0 };
    if magnitude == 0 && scale == 0 {
        return (out, 0);
    }
    out[0] = scale;
    let digits = magnitude.to_be_bytes();
    let first = (magnitude.leading_zeros() / 8) as usize;
    let length = digits.len() - first;
    out[1..1 + length].copy_from_slice(&digits[first..]);
    (out, 1 + length)
}

/// `None`: these bytes are no decimal.
pub(super) fn read_decimal(bytes: &[u8]) -> Option<Decimal> {
    let Some((first, digits)) = bytes.split_first() else { return Some(Decimal::ZERO) };
    let scale = first & !NEGATIVE;
    if digits.len() > 12 || scale > 28 {
        return None;
    }
    let mut all = [0; 12];
    all[12 - digits.len()..].copy_from_slice(digits);
    let part = |from: usize| u32::from_be_bytes([all[from], all[from + 1], all[from + 2], all[from + 3]]);
    Some(Decimal::from_parts(part(8), part(4), part(0), first & NEGATIVE != 0, u32::from(scale)))
}

/// A field that was read: its number and value.
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) value: Value,
}

pub(super) enum Value {
    Number(u64),
    /// Where in the bytes.
    Bytes(std::ops::Range<usize>),
}

/// The fields of the message that lies in `span` of `bytes`. `None` in place of what is no field; then there are no more.
pub(super) fn fields(bytes: &[u8], span: std::ops::Range<usize>) -> impl Iterator<Item = Option<Field>> {
    let mut at = span.start;
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || at >= span.end {
            return None;
        }
        let field = read_field(&bytes[..span.end], &mut at);
        broken = field.is_none();
        Some(field)
    })
}

fn read_field(bytes: &[u8], at: &mut usize) -> Option<Field> {
    let tag = read_varint(bytes, at)?;
    let number = u32::try_from(tag >> 3).ok()?;
    let value = read_varint(bytes, at)?;
    let value = match (tag & 7) as u32 {
        VARINT => Value::Number(value),
        LENGTH_DELIMITED => {
            let end = at.checked_add(usize::try_from(value).ok()?).filter(|end| *end <= bytes.len())?;
            Value::Bytes(std::mem::replace(at, end)..end)
        }
        _ => return None,
    };
    Some(Field { number, value })
}

fn read_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut rest = bytes.get(*at..)?;
    let value = prost::encoding::decode_varint(&mut rest).ok()?;
    *at = bytes.len() - rest.len();
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_value_scale_and_sign() {
        for text in
            ["0", "0.00", "1", "12.50", "-0.000001", "79228162514264337593543950335", "-7.9228162514264337593543950335", "255", "256"]
        {
            let value: Decimal = text.parse().expect("a decimal");
            let (bytes, length) = decimal_bytes(value);
            let back = read_decimal(&bytes[..length]).expect("what was written is read");
            assert_eq!((back.to_string(), back.scale()), (value.to_string(), value.scale()), "{text}");
        }
        assert_eq!(read_decimal(&[29]), None);
        assert_eq!(read_decimal(&[0; 14]), None);
    }
}
