//! Expiry: when lots lapse, and the entries that say so.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Allocation, Expired, Expiry, Extension, LotExpiry, LotId, LotKey, MAX_LOTS, Member, Month, Overflow, calendar, fold::sooner};

/// The next lapse that is due, with its instant: of the loaded lots that lapse at the earliest due instant so many, the first ones. `room`: how
/// many may still lapse in this commit; others that have lapsed stay due then.
pub(super) fn next_lapse(member: &Member, now: Timestamp, room: usize) -> Option<(Expired, Timestamp)> {
    let dated = member.lots.values().next().filter(|lot| lot.has_lapsed(now)).and_then(|lot| lot.expiry.time());
    let inactive = member.header.inactivity.due_time().filter(|time| *time <= now);
    let months = &member.header.inactive_months;
    let monthly = months.due_time().filter(|time| *time <= now);
    let instant = [dated, monthly, inactive].into_iter().flatten().min()?;
    let most = if room == 0 { MAX_LOTS } else { room.min(MAX_LOTS) };
    let is_dated = dated == Some(instant);
    let allocations = if is_dated || monthly != Some(instant) {
        let expiry = if is_dated { LotExpiry::At(instant) } else { LotExpiry::Inactivity };
        let lapsed = member.lots.range(LotKey::new(expiry, LotId(0))..=LotKey::new(expiry, LotId(u64::MAX)));
        lapsed.take(most).map(|(_, lot)| Allocation::of(lot, lot.remaining)).collect()
    } else {
        months.lapsing(&member.lots, most)
    };
    assert!(!allocations.is_empty(), "what lapses is loaded");
    let is_full = allocations.len() == room;
    let left = member.lots.values().skip(if is_dated { allocations.len() } else { 0 });
    // Lots that have lapsed too are loaded, and next; they must not hide when those that are not loaded will lapse.
    let next_loaded = left.into_iter().find(|lot| is_full || !lot.has_lapsed(now)).and_then(|lot| lot.expiry.time());
    // The header's time was right for the lots that are not loaded, unless it is what has just become due.
    let next_other = member.header.next_expiry_time.filter(|next| *next > now);
    Some((Expired { allocations, next_expiry_time: sooner(next_loaded, next_other) }, instant))
}

/// When points lapse that were earned at `earned`: with a date they are valid until the start of a local day, exclusive. Of points that
/// become active later, `active` says when.
pub(super) fn lot_expiry(expiry: Expiry, zone: &TimeZone, earned: Timestamp, active: Timestamp) -> Result<LotExpiry, Overflow> {
    let day = || calendar::local_date(zone, earned);
    let active_day = || calendar::local_date(zone, active);
    let after = match expiry {
        Expiry::Never => return Ok(LotExpiry::Never),
        Expiry::Inactivity(policy) => {
            return Ok(match policy.extension {
                Extension::Restart => LotExpiry::Inactivity,
                Extension::Month => LotExpiry::InactiveMonths(Month::of(day())),
            });
        }
        Expiry::AfterDays(days) => day_after(calendar::add_days(day(), days)?)?,
        Expiry::DaysAfterActivation(days) => day_after(calendar::add_days(active_day(), days)?)?,
        Expiry::AfterMonths(months) => day_after(calendar::add_months(day(), months)?)?,
        Expiry::MonthsAfterActivation(months) => day_after(calendar::add_months(active_day(), months)?)?,
        Expiry::EndOfPeriod { period, additional_periods } => calendar::after_calendar_period(day(), period, additional_periods)?,
        Expiry::FixedDate { month, day: day_of_month, minimum_days } => {
            day_after(next_fixed_date(day(), month, day_of_month, minimum_days)?)?
        }
    };
    calendar::start_of_day(zone, after).map(LotExpiry::At)
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
