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

/// An instant that is not after now.
pub fn past(path: Path<'_>, time: &prost_types::Timestamp, now: Timestamp, mistakes: &mut Mistakes) -> Option<Timestamp> {
    let instant = parse_timestamp(path, time, mistakes)?;
    if instant > now {
        mistakes.add(path, "is in the future");
        return None;
    }
    Some(instant)
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

/// A day of the calendar, of the years that can be reckoned with.
pub fn parse_date(path: Path<'_>, date: &v1::Date, mistakes: &mut Mistakes) -> Option<Date> {
    let parts = i16::try_from(date.year).ok().zip(i8::try_from(date.month).ok()).zip(i8::try_from(date.day).ok());
    let day = parts.and_then(|((year, month), day)| Date::new(year, month, day).ok()).filter(|day| (1900..=9997).contains(&day.year()));
    if day.is_none() {
        mistakes.add(path, "is no day of the years 1900 to 9997");
    }
    day
}

pub fn birth_date(date: BirthDate) -> v1::Date {
    v1::Date { year: date.year.map_or(0, i32::from), month: i32::from(date.month), day: i32::from(date.day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_to_the_microsecond() {
        let parse = |seconds, nanos| {
            let time = prost_types::Timestamp { seconds, nanos };
            parse_timestamp(Path::Root.field("time"), &time, &mut Mistakes::default())
        };
        for (seconds, nanos) in [(0, 0), (-1, 999_999_000), (FIRST_SECOND, 0), (END_SECOND - 1, 999_999_000)] {
            let shown = timestamp(parse(seconds, nanos).expect("within the bounds"));
            assert_eq!((shown.seconds, shown.nanos), (seconds, nanos));
        }
        assert_eq!(parse(0, 1_999), parse(0, 1_000));
        assert_eq!([parse(FIRST_SECOND - 1, 0), parse(END_SECOND, 0), parse(0, -1), parse(0, 1_000_000_000)], [None; 4]);
        assert_eq!(parse(FIRST_SECOND, 0).map(|time| time.to_string()), Some("1900-01-01T00:00:00Z".to_owned()));
        assert_eq!(parse(END_SECOND - 1, 0).map(|time| time.to_string()), Some("9998-12-31T23:59:59Z".to_owned()));
    }
}
