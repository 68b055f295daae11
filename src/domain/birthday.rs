//! Birthdays: what a member is given for one, at most once for each year's birthday. The date itself is sealed with the person; what is
//! planned from it is an instant, which the header keeps and which goes with an erasure.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rust_decimal::Decimal;

use super::{AccruedLot, BirthDate, Expiry, Header, Overflow, Points, Sealed, TierId, VoucherKindId, calendar};

/// What a programme gives for birthdays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BirthdayPolicy {
    pub window: BirthdayWindow,
    /// In common years a birthday of 29 February is on 1 March; otherwise on 28 February.
    pub leap_day_in_march: bool,
    /// At most one for each tier, and one for all others.
    pub rewards: Vec<BirthdayReward>,
    /// A date that becomes known so many days before the window, or in it, is late.
    pub notice_days: u32,
    /// A late date is rewarded as long as the window is not over; otherwise from the next year on.
    pub late_at_once: bool,
    /// For so many days the member must have been one.
    pub member_days: u32,
    /// Within so many months before it the member must have bought something, or earned what counts for tiers. `None`: need not.
    pub active_months: Option<u32>,
    /// So many times a member may change its date. `None`: any number.
    pub maximum_changes: Option<u32>,
}

/// When a birthday is celebrated. It belongs to the year of the birthday, though it may begin in the year before or end in the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BirthdayWindow {
    Day,
    Month,
    Around { days_before: u32, days_after: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BirthdayReward {
    /// `None`: of the tiers that have none of their own.
    pub tier: Option<TierId>,
    pub gift: BirthdayGift,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BirthdayGift {
    Points {
        points: Points,
        expiry: Expiry,
    },
    Voucher(VoucherKindId),
    /// Of what purchases in the window earn.
    Multiplier(Decimal),
}

/// The birthday that comes next. Personal: who knows it knows the day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BirthdayPlan {
    /// Of the birthday.
    pub year: i16,
    /// When its reward is due.
    pub due_time: Timestamp,
    pub start_time: Timestamp,
    /// Exclusive.
    pub end_time: Timestamp,
}

impl std::fmt::Debug for BirthdayPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BirthdayPlan").field("year", &self.year).finish_non_exhaustive()
    }
}

/// What a header knows of birthdays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Birthdays {
    pub next: Option<BirthdayPlan>,
    /// The version of the rule book since which birthdays have been as it was planned by; 0: nothing was planned yet.
    pub policy_version: u32,
    /// Of the latest birthday that was rewarded.
    pub last_year: Option<i16>,
    /// How often the date was changed.
    pub changes: u32,
    /// When the date that there is was entered, or changed to what it is; `None`: there is none.
    pub known_since: Option<Timestamp>,
    /// The latest that there was.
    pub multiplier: Option<BirthdayMultiplier>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BirthdayMultiplier {
    pub multiplier: Decimal,
    pub start_time: Timestamp,
    /// Exclusive.
    pub end_time: Timestamp,
}

/// A birthday is planned, and perhaps one was rewarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BirthdayChanged {
    pub plan: Sealed<Option<BirthdayPlan>>,
    pub policy_version: u32,
    pub changes: u32,
    pub granted: Option<BirthdayGranted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BirthdayGranted {
    /// Of the birthday.
    pub year: i16,
    /// Held then; `None` in a programme without tiers.
    pub tier: Option<TierId>,
    pub given: BirthdayGiven,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BirthdayGiven {
    Points(AccruedLot),
    /// The next entry issues it.
    Voucher(VoucherKindId),
    Multiplier(BirthdayMultiplier),
}

impl Birthdays {
    /// What purchases of an instant earn more by.
    pub fn multiplier_at(&self, instant: Timestamp) -> Option<Decimal> {
        let running = self.multiplier.filter(|it| (it.start_time..it.end_time).contains(&instant));
        running.map(|it| it.multiplier)
    }

    pub(super) fn fold(&mut self, changed: &BirthdayChanged) {
        self.next = changed.plan.open().copied().flatten();
        self.policy_version = changed.policy_version;
        self.changes = changed.changes;
        if let Some(granted) = &changed.granted {
            self.last_year = self.last_year.max(Some(granted.year));
            if let BirthdayGiven::Multiplier(multiplier) = granted.given {
                self.multiplier = Some(multiplier);
            }
        }
    }

    /// Of two members who are one from now on: what either was given counts for both.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let end = |birthdays: &Self| birthdays.multiplier.map(|it| it.end_time);
        Self {
            last_year: self.last_year.max(other.last_year),
            changes: self.changes.max(other.changes),
            multiplier: if end(other) > end(self) { other.multiplier } else { self.multiplier },
            ..self.clone()
        }
    }
}

/// Why a birthday is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planning {
    /// The date was entered or changed.
    Entered,
    /// The date was known, and the rules or the member are others.
    Known,
    /// This year's birthday was dealt with.
    After(i16),
}

impl BirthdayWindow {
    /// First day, and the first one behind it, of a year's birthday.
    pub(super) fn days(self, leap_day_in_march: bool, date: BirthDate, year: i16) -> Result<(Date, Date), Overflow> {
        let month = Date::new(year, date.month, 1).map_err(|_| Overflow)?;
        let is_missing = date.day > month.days_in_month();
        let day = match is_missing && leap_day_in_march {
            true => calendar::add_months(month, 1)?,
            false => calendar::yearly_date(year, date.month, date.day)?,
        };
        match self {
            Self::Day => Ok((day, calendar::add_days(day, 1)?)),
            Self::Month => Ok((month, calendar::add_months(month, 1)?)),
            Self::Around { days_before, days_after } => {
                let end = calendar::add_days(day, days_after.checked_add(1).ok_or(Overflow)?)?;
                Ok((calendar::subtract_days(day, days_before)?, end))
            }
        }
    }
}

impl BirthdayPolicy {
    /// The next birthday to reward, as things are at an instant.
    pub(super) fn plan(
        &self,
        zone: &TimeZone,
        date: BirthDate,
        known: &Birthdays,
        planning: Planning,
        now: Timestamp,
    ) -> Result<Option<BirthdayPlan>, Overflow> {
        let this_year = calendar::local_date(zone, now).year();
        let done = match planning {
            Planning::After(year) => known.last_year.max(Some(year)),
            Planning::Entered | Planning::Known => known.last_year,
        };
        // A window may belong to the year before or the next one; and one of them may be done.
        for year in this_year.saturating_sub(1)..=this_year.saturating_add(3) {
            let (first, end) = self.window.days(self.leap_day_in_march, date, year)?;
            let (start_time, end_time) = (calendar::start_of_day(zone, first)?, calendar::start_of_day(zone, end)?);
            if end_time <= now || done.is_some_and(|done| year <= done) {
                continue;
            }
            // A date that came too late for a birthday stays too late for it, whatever it is planned anew for.
            let notice = calendar::start_of_day(zone, calendar::subtract_days(first, self.notice_days)?)?;
            let came_late = known.known_since.is_some_and(|since| notice < since);
            let is_late = match planning {
                Planning::Entered => came_late,
                Planning::Known => came_late || start_time < now,
                Planning::After(_) => false,
            };
            if !is_late || self.late_at_once {
                return Ok(Some(BirthdayPlan { year, due_time: start_time.max(now), start_time, end_time }));
            }
        }
        Ok(None)
    }

    /// What a member of a tier is given.
    pub(super) fn gift(&self, tier: Option<&TierId>) -> Option<&BirthdayGift> {
        let of = |wanted: Option<&TierId>| self.rewards.iter().find(|reward| reward.tier.as_ref() == wanted);
        tier.and_then(|tier| of(Some(tier))).or_else(|| of(None)).map(|reward| &reward.gift)
    }

    /// Whether the member has been one for long enough, and has bought lately.
    pub(super) fn is_met(&self, zone: &TimeZone, header: &Header, instant: Timestamp) -> Result<bool, Overflow> {
        let day = calendar::local_date(zone, instant);
        let joined = calendar::local_date(zone, header.create_time);
        let is_long = calendar::add_days(joined, self.member_days)? <= day;
        let is_active = match (self.active_months, header.latest_occurred_time) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(months), Some(latest)) => calendar::add_months(calendar::local_date(zone, latest), months)? >= day,
        };
        Ok(is_long && is_active)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = BirthdayPolicy> {
        let window = prop_oneof![
            Just(BirthdayWindow::Day),
            Just(BirthdayWindow::Month),
            (0..=90_u32, 0..=90_u32).prop_map(|(days_before, days_after)| BirthdayWindow::Around { days_before, days_after }),
        ];
        (window, any::<bool>(), any::<bool>(), 0..=180_u32).prop_map(|(window, leap_day_in_march, late_at_once, notice_days)| {
            BirthdayPolicy {
                window,
                leap_day_in_march,
                rewards: Vec::new(),
                notice_days,
                late_at_once,
                member_days: 0,
                active_months: None,
                maximum_changes: None,
            }
        })
    }

    fn dates() -> impl Strategy<Value = BirthDate> {
        (1..=12_i8, 1..=31_i8).prop_filter_map("a day that some year has", |(month, day)| {
            Date::new(2000, month, day).ok().map(|_| BirthDate { year: None, month, day })
        })
    }

    proptest! {
        #[test]
        fn each_year_has_one_birthday_and_none_is_left_out(policy in policies(), date in dates(), second in 0..3_000_000_000_i64, zone in 0..3_usize) {
            let zone = ["Pacific/Kiritimati", "America/Santiago", "Pacific/Pago_Pago"][zone];
            let zone = TimeZone::get(zone).expect("a zone");
            let now = Timestamp::from_second(second).expect("an instant");
            for planning in [Planning::Entered, Planning::Known] {
                let mut known = Birthdays { known_since: Some(now), ..Birthdays::default() };
                let mut plan = policy.plan(&zone, date, &known, planning, now).expect("it can be reckoned").expect("there is a next one");
                prop_assert!(now <= plan.due_time && plan.start_time <= plan.due_time && plan.due_time < plan.end_time);
                prop_assert!(policy.late_at_once || plan.due_time == plan.start_time);
                for _ in 0..9 {
                    known.last_year = Some(plan.year);
                    let next = policy.plan(&zone, date, &known, Planning::After(plan.year), plan.due_time);
                    let next = next.expect("it can be reckoned").expect("there is a next one");
                    prop_assert_eq!(next.year, plan.year + 1);
                    prop_assert!(plan.end_time <= next.start_time && next.due_time == next.start_time);
                    plan = next;
                }
            }
        }
    }
}
