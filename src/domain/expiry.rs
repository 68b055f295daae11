//! Expiry: when lots lapse, and the entries that say so.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Allocation, Expired, Expiry, Lot, Member, Overflow, calendar, fold::sooner};

/// The next lapse that is due, with its instant: all loaded lots that lapse at the earliest due instant.
pub(super) fn next_lapse(member: &Member, now: Timestamp) -> Option<(Expired, Timestamp)> {
    let instant = member.lots.values().next().filter(|lot| lot.has_lapsed(now))?.expire_time?;
    let lapsed = |lot: &&Lot| lot.expire_time == Some(instant);
    let allocations = member.lots.values().take_while(lapsed).map(|lot| Allocation::of(lot, lot.remaining)).collect();
    // Lots that have lapsed too are loaded, and next; they must not hide when those that are not loaded will lapse.
    let next_loaded = member.lots.values().find(|lot| !lot.has_lapsed(now)).and_then(|lot| lot.expire_time);
    // The header's time was right for the lots that are not loaded, unless it is what has just become due.
    let next_other = member.header.next_expiry_time.filter(|next| *next > now);
    Some((Expired { allocations, next_expiry_time: sooner(next_loaded, next_other) }, instant))
}

/// The instant until which points earned at `earned` are valid, exclusive: the start of a local day. `None`: for ever. Of points that
/// become active later, `active` says when.
pub(super) fn expire_time(expiry: Expiry, zone: &TimeZone, earned: Timestamp, active: Timestamp) -> Result<Option<Timestamp>, Overflow> {
    let counts_from = match expiry {
        Expiry::DaysAfterActivation(_) | Expiry::MonthsAfterActivation(_) => active,
        Expiry::Never | Expiry::AfterDays(_) | Expiry::AfterMonths(_) | Expiry::EndOfPeriod { .. } | Expiry::FixedDate { .. } => earned,
    };
    let day = calendar::local_date(zone, counts_from);
    let after = match expiry {
        Expiry::Never => return Ok(None),
        Expiry::AfterDays(days) | Expiry::DaysAfterActivation(days) => day_after(calendar::add_days(day, days)?)?,
        Expiry::AfterMonths(months) | Expiry::MonthsAfterActivation(months) => day_after(calendar::add_months(day, months)?)?,
        Expiry::EndOfPeriod { period, additional_periods } => calendar::after_calendar_period(day, period, additional_periods)?,
        Expiry::FixedDate { month, day: day_of_month, minimum_days } => {
            day_after(next_fixed_date(day, month, day_of_month, minimum_days)?)?
        }
    };
    calendar::start_of_day(zone, after).map(Some)
}

fn day_after(last_valid: Date) -> Result<Date, Overflow> {
    calendar::add_days(last_valid, 1)
}

/// The first of the yearly dates that is more than `minimum_days` after a day.
fn next_fixed_date(earned: Date, month: i8, day: i8, minimum_days: u32) -> Result<Date, Overflow> {
    let earliest = calendar::add_days(earned, minimum_days)?;
    let this_year = calendar::yearly_date(earliest.year(), month, day)?;
    if this_year > earliest { Ok(this_year) } else { calendar::yearly_date(earliest.year().checked_add(1).ok_or(Overflow)?, month, day) }
}
