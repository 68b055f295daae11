//! Instants and dates.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Mistakes, Path};
use crate::{contract::v1, domain::BirthDate};

/// 1900-01-01T00:00:00Z and 9999-01-01T00:00:00Z: what lies between can be reckoned with in every time zone.
const FIRST_SECOND: i64 = -2_208_988_800;
const END_SECOND: i64 = 253_370_764_800;

/// The ledger counts microseconds; what is finer is cut off.
pub fn parse_timestamp(path: Path<'_>, time: &prost_types::Timestamp, mistakes: &mut Mistakes) -> Option<Timestamp> {
    if !(FIRST_SECOND..END_SECOND).contains(&time.seconds) {
        mistakes.add(path, "is outside the years 1900 to 9998");
        return None;
    }
    if !(0..1_000_000_000).contains(&time.nanos) {
        mistakes.add(path, "has nanos outside 0 to 999999999");
        return None;
    }
    let micros = time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
    mistakes.take(path, Timestamp::from_microsecond(micros))
}

pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_microsecond();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("less than a second in nanoseconds fits");
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A birth date exists, is not before 1900 and not after today, as the programme's time zone counts days; without a year it exists in a
/// leap year.
pub fn parse_birth_date(path: Path<'_>, date: &v1::Date, zone: &TimeZone, now: Timestamp, mistakes: &mut Mistakes) -> Option<BirthDate> {
    const LEAP_YEAR: i16 = 2000;
    let year = match date.year {
        0 => None,
        year @ 1900..=9998 => i16::try_from(year).ok(),
        _ => {
            mistakes.add(path.field("year"), "is before 1900; use 0 where the year is not known");
            return None;
        }
    };
    let parts = i8::try_from(date.month).ok().zip(i8::try_from(date.day).ok());
    let day = parts.and_then(|(month, day)| Date::new(year.unwrap_or(LEAP_YEAR), month, day).ok());
    let Some(day) = day else {
        mistakes.add(path, "does not exist in the calendar");
        return None;
    };
    if year.is_some() && day > now.to_zoned(zone.clone()).date() {
        mistakes.add(path, "is in the future");
        return None;
    }
    Some(BirthDate { year, month: day.month(), day: day.day() })
}

pub fn birth_date(date: BirthDate) -> v1::Date {
    v1::Date { year: date.year.map_or(0, i32::from), month: i32::from(date.month), day: i32::from(date.day) }
}
