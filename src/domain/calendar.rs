//! Civil time in a programme's time zone. Days are civil dates; a day begins at the first instant that the zone's clocks show of it,
//! which is 01:00 where daylight saving time takes the hour before.

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone},
};

use super::{CalendarPeriod, Overflow, Period, PeriodStart};

/// A calendar month: so many months after January of the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i32);

impl Month {
    pub fn of(date: Date) -> Self {
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    pub fn after(self, months: u32) -> Result<Self, Overflow> {
        self.0.checked_add_unsigned(months).map(Self).ok_or(Overflow)
    }

    /// `None`: it is not from the year 0 on, or leaves the calendar.
    pub fn in_calendar(self) -> Option<Self> {
        Some(self).filter(|month| month.0 >= 0 && month.first_day().is_ok())
    }

    pub fn first_day(self) -> Result<Date, Overflow> {
        let year = i16::try_from(self.0.div_euclid(12)).map_err(|_| Overflow)?;
        Date::new(year, self.0.rem_euclid(12) as i8 + 1, 1).map_err(|_| Overflow)
    }

    /// Its first instant.
    pub fn start(self, zone: &TimeZone) -> Result<Timestamp, Overflow> {
        start_of_day(zone, self.first_day()?)
    }
}

/// The civil date of an instant.
pub fn local_date(zone: &TimeZone, instant: Timestamp) -> Date {
    zone.to_datetime(instant).date()
}

/// The first instant of a day; of one that the zone left out, the first after it.
pub fn start_of_day(zone: &TimeZone, date: Date) -> Result<Timestamp, Overflow> {
    let midnight = date.to_datetime(Time::midnight());
    match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(midnight).map_err(|_| Overflow),
        // Where clocks are set at midnight it takes more to say which instant is the first.
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => {
            let midnight = midnight.to_zoned(zone.clone()).map_err(|_| Overflow)?;
            Ok(midnight.start_of_day().map_err(|_| Overflow)?.timestamp())
        }
    }
}

/// The first instant of the hour that the zone's clocks show at an instant. Where they are set within it, each of its parts has its own.
pub fn start_of_hour(zone: &TimeZone, instant: Timestamp) -> Result<Timestamp, Overflow> {
    let local = zone.to_datetime(instant);
    let into = i64::from(local.minute()) * 60 + i64::from(local.second());
    let into = SignedDuration::new(into, local.subsec_nanosecond());
    instant.checked_sub(into).map_err(|_| Overflow)
}

pub fn add_days(date: Date, days: u32) -> Result<Date, Overflow> {
    date.checked_add(i64::from(days).days()).map_err(|_| Overflow)
}

/// Days from one date to another; less than 0 if that is earlier.
pub fn days_between(from: Date, to: Date) -> Result<i64, Overflow> {
    from.until((jiff::Unit::Day, to)).map(|span| i64::from(span.get_days())).map_err(|_| Overflow)
}

pub fn subtract_days(date: Date, days: u32) -> Result<Date, Overflow> {
    date.checked_sub(i64::from(days).days()).map_err(|_| Overflow)
}

/// Clamps: 31 January and 1 month is the last of February.
pub fn add_months(date: Date, months: u32) -> Result<Date, Overflow> {
    // Spans of jiff panic beyond their own bounds; more months than this leave the calendar anyway.
    if months > 12 * 10_000 {
        return Err(Overflow);
    }
    date.checked_add(i64::from(months).months()).map_err(|_| Overflow)
}

/// Clamps as [`add_months`].
pub fn subtract_months(date: Date, months: u32) -> Result<Date, Overflow> {
    if months > 12 * 10_000 {
        return Err(Overflow);
    }
    date.checked_sub(i64::from(months).months()).map_err(|_| Overflow)
}

/// The first day of the period that a date lies in; `None` of a lifetime.
pub fn period_start(date: Date, period: Period) -> PeriodStart {
    match period {
        Period::Day => Some(date),
        Period::Week => {
            let days = date.weekday().to_monday_zero_offset();
            // The calendar begins on a Monday, so that each of its weeks does.
            Some(date.checked_sub(i64::from(days).days()).unwrap_or(date))
        }
        Period::Month => Some(first_of_months(date, 1)),
        Period::Quarter => Some(first_of_months(date, 3)),
        Period::Year => Some(first_of_months(date, 12)),
        Period::Lifetime => None,
    }
}

/// The longest period, but for a lifetime, that begins on a day.
pub fn longest_period_from(start: Date) -> Period {
    let periods = [Period::Year, Period::Quarter, Period::Month, Period::Week];
    periods.into_iter().find(|period| period_start(start, *period) == Some(start)).unwrap_or(Period::Day)
}

/// The first day after the period that begins at `start`; `None` of a lifetime and at the end of the calendar.
pub fn period_end(start: Date, period: Period) -> Option<Date> {
    match period {
        Period::Day => add_days(start, 1).ok(),
        Period::Week => add_days(start, 7).ok(),
        Period::Month => add_months(start, 1).ok(),
        Period::Quarter => add_months(start, 3).ok(),
        Period::Year => add_months(start, 12).ok(),
        Period::Lifetime => None,
    }
}

/// The first day after the period that a date lies in and `additional` periods more.
pub fn after_calendar_period(date: Date, period: CalendarPeriod, additional: u32) -> Result<Date, Overflow> {
    let months = match period {
        CalendarPeriod::Month => 1,
        CalendarPeriod::Quarter => 3,
        CalendarPeriod::HalfYear => 6,
        CalendarPeriod::Year => 12,
    };
    let periods = additional.checked_add(1).ok_or(Overflow)?;
    add_months(first_of_months(date, months as i8), periods.checked_mul(months).ok_or(Overflow)?)
}

/// A day of each year; 29 February is the 28th in common years.
pub fn yearly_date(year: i16, month: i8, day: i8) -> Result<Date, Overflow> {
    let first = Date::new(year, month, 1).map_err(|_| Overflow)?;
    Date::new(year, month, day.min(first.days_in_month())).map_err(|_| Overflow)
}

/// The first day of the run of `months` months, counted from January, that a date lies in.
fn first_of_months(date: Date, months: i8) -> Date {
    let month = (date.month() - 1) / months * months + 1;
    Date::new(date.year(), month, 1).expect("every month of a year that has a date has a first day")
}
