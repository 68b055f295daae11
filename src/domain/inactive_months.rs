//! Inactivity by calendar months: points lapse at the end of so many months without activity after the month in which they were earned, so that
//! each month with activity adds one to the life of those that are older.
//!
//! A member's months are one record for all such points. A lot's key says when it was earned, and its end follows from the record: an activity
//! moves the ends of all lots without touching one. What has lapsed stays so, whatever is reported late. While a tier is held that pauses it,
//! nothing lapses; when that tier is lost, the months are counted from then on, for all of them.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    Allocation, EntryKind, Extension, InactivityPolicy, Lot, LotExpiry, LotKey, Month, Overflow, Points, Portion, calendar,
    inactivity::{brings, counts},
};

/// Months without activity after which points lapse by them, at most: a member's record names each.
pub const MAX_COUNTED_MONTHS: u32 = 120;

/// What the member's months are, and what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InactiveMonths {
    pub record: MonthRecord,
    /// Those that are available, by the month in which they were earned.
    pub points: BTreeMap<Month, Points>,
}

/// Which months were without activity. Entries carry it whole when it changes, so that folding them needs no rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonthRecord {
    /// So many without activity after the month in which they were earned, and points lapse. It does not become fewer while there are any.
    pub months: u32,
    /// The one from which on they are counted: nothing is known of those before it. `None`: nothing has begun it yet.
    pub first: Option<Month>,
    /// The latest with activity, or the first. `None`: as that.
    pub latest: Option<Month>,
    /// Those between the two without, in their order: the last ones, as [`MonthRecord::keep_the_last`] says.
    pub inactive: Vec<Month>,
    pub paused: bool,
    /// What had lapsed when an activity came last, whether there was any.
    pub ran_out: Option<RanOut>,
    /// When the first of the points lapse, unless the member is active before. `None`: there are none, or it is paused.
    pub lapse_time: Option<Timestamp>,
}

/// Points earned in a month or before it had lapsed, the last ones at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RanOut {
    pub through: Month,
    pub time: Timestamp,
}

impl RanOut {
    /// Portions that were taken out of their lots before that, and come back after it, have lapsed meanwhile.
    pub(super) fn has_ended(&self, lot: LotKey, taken: Timestamp) -> bool {
        matches!(lot.expiry(), LotExpiry::InactiveMonths(earned) if earned <= self.through) && self.time > taken
    }
}

impl MonthRecord {
    /// The last month in which points are valid, as things are.
    pub(super) fn last_month(&self, earned: Month) -> Result<Month, Overflow> {
        let gone = self.inactive.iter().filter(|month| **month > earned);
        match gone.clone().nth((self.months as usize).saturating_sub(1)) {
            Some(last) => Ok(*last),
            None => {
                let left = self.months.saturating_sub(gone.count() as u32);
                self.latest.map_or(earned, |latest| latest.max(earned)).after(left)
            }
        }
    }

    /// The first instant after those points.
    pub(super) fn end(&self, earned: Month, zone: &TimeZone) -> Result<Timestamp, Overflow> {
        self.last_month(earned)?.after(1)?.start(zone)
    }

    /// What had lapsed last by an instant, before any activity at it.
    pub(super) fn ran_out_by(&self, instant: Timestamp, zone: &TimeZone) -> Result<Option<RanOut>, Overflow> {
        let (Some(latest), false) = (self.latest, self.paused) else { return Ok(self.ran_out) };
        let current = Month::of(calendar::local_date(zone, instant));
        // The months without activity that are over, the last one first. A till that is ahead can have bought in one that is not yet.
        let since = (latest.0 + 1..current.0).rev().map(Month);
        let before = self.inactive.iter().rev().copied().filter(|month| *month < current);
        let mut over = since.chain(before).take(self.months as usize);
        let Some(last) = over.next() else { return Ok(self.ran_out) };
        let first = if self.months == 1 { Some(last) } else { over.nth(self.months as usize - 2) };
        let Some(first) = first else { return Ok(self.ran_out) };
        let ran_out = RanOut { through: Month(first.0 - 1), time: last.after(1)?.start(zone)? };
        Ok(Some(self.ran_out.filter(|known| known.time >= ran_out.time).unwrap_or(ran_out)))
    }

    fn activity(&mut self, month: Month) {
        match self.latest {
            Some(latest) if month > latest => {
                let first = (latest.0 + 1).max(month.0.saturating_sub_unsigned(2 * self.months));
                self.inactive.extend((first..month.0).map(Month));
                self.latest = Some(month);
            }
            // One that is reported late.
            Some(_) => self.inactive.retain(|inactive| *inactive != month),
            None => self.latest = Some(month),
        }
        self.first = self.first.map_or(Some(month), |first| Some(first.min(month)));
        self.keep_the_last();
    }

    /// All points from before the last `months` of them have lapsed. Twice as many are kept, since those that are reported late take some away.
    fn keep_the_last(&mut self) {
        let surplus = self.inactive.len().saturating_sub(2 * self.months as usize);
        self.inactive.drain(..surplus);
    }

    /// They are counted from then on.
    fn begin(&mut self, month: Month) {
        (self.first, self.latest) = (Some(month), Some(month));
    }

    /// All months until then are as if there had been activity in them.
    fn begin_anew(&mut self, month: Month) {
        self.inactive.clear();
        self.first = Some(Month(0));
        self.latest = self.latest.max(Some(month));
    }

    /// It is known to have been without activity, or nothing is known of it.
    fn is_without(&self, month: Month) -> bool {
        let is_counted = self.first.is_some_and(|first| month >= first) && self.latest.is_some_and(|latest| month <= latest);
        !is_counted || self.inactive.contains(&month)
    }

    /// Points have lapsed by a day, as things are.
    pub fn is_over_by(&self, earned: Month, day: Date) -> bool {
        self.last_month(earned).is_ok_and(|last| last < Month::of(day))
    }
}

impl InactiveMonths {
    /// When the first of them lapse, if there are any.
    pub fn due_time(&self) -> Option<Timestamp> {
        self.record.lapse_time
    }

    /// When points lapse, unless the member is active before. `None`: it is paused, or nothing has begun it.
    pub fn lapse_time(&self, earned: Month, zone: &TimeZone) -> Option<Timestamp> {
        let is_counted = self.record.latest.is_some() && !self.record.paused;
        self.record.end(earned, zone).ok().filter(|_| is_counted)
    }

    /// What an entry makes of the record, of a member whose tier behind it pauses it or does not, but for when the first points lapse then. `now`
    /// is when it is known.
    pub(super) fn moved_by(
        &self,
        kind: &EntryKind,
        (policy, pauses, has_held): (InactivityPolicy, bool, bool),
        zone: &TimeZone,
        (occurred_time, now): (Timestamp, Timestamp),
    ) -> Result<Option<MonthRecord>, Overflow> {
        let old = &self.record;
        let brings_points = || brings(kind, |expiry| matches!(expiry, LotExpiry::InactiveMonths(_)));
        // Points lapse as they were earned: those of before, and those that are reported later, or given.
        if policy.extension == Extension::Restart && old.latest.is_none() && !brings_points() {
            return Ok(None);
        }
        let months = self.months_under(policy, has_held);
        let record = |ran_out| MonthRecord { months, ran_out, ..old.clone() };
        let current = Month::of(calendar::local_date(zone, now));
        let mut moved = match (old.paused, pauses) {
            (true, true) => return Ok(None),
            // A tier that is entered late has kept them from lapsing meanwhile.
            (false, true) => MonthRecord { paused: true, ..record(old.ran_out_by(occurred_time, zone)?) },
            // What occurred while it was paused does not matter any more.
            (true, false) => MonthRecord { paused: false, ..record(old.ran_out) },
            (false, false) => {
                let is_active = counts(kind, policy.activities);
                let is_first = self.points.is_empty() && brings_points();
                if !is_active && !is_first {
                    return Ok(None);
                }
                let mut moved = record(old.ran_out_by(now, zone)?);
                if is_active {
                    moved.activity(Month::of(calendar::local_date(zone, occurred_time)));
                }
                moved
            }
        };
        if old.paused {
            moved.begin_anew(current);
        } else if moved.latest.is_none() {
            moved.begin(current);
        }
        Ok(Some(moved))
    }

    /// How many months without activity there are from now on. Fewer than before only where no such points are there, or could come back out of
    /// a hold. A policy that does not count them leaves them.
    fn months_under(&self, policy: InactivityPolicy, has_held: bool) -> u32 {
        let months = policy.months.min(MAX_COUNTED_MONTHS);
        match (policy.extension, self.record.latest) {
            (Extension::Restart, Some(_)) => self.record.months,
            (Extension::Month, _) if self.points.is_empty() && !has_held => months,
            (Extension::Month | Extension::Restart, _) => months.max(self.record.months),
        }
    }

    /// The record as an entry of now leaves it that brings points and is no activity.
    fn with_points(&self, (policy, has_held): (InactivityPolicy, bool), current: Month) -> MonthRecord {
        let mut record = MonthRecord { months: self.months_under(policy, has_held), ..self.record.clone() };
        if record.latest.is_none() {
            record.begin(current);
        }
        record
    }

    /// When the first points lapse, by the record.
    pub(super) fn first_end(&self, record: &MonthRecord, zone: &TimeZone) -> Result<Option<Timestamp>, Overflow> {
        match self.points.keys().next().filter(|_| !record.paused) {
            Some(earned) => record.end(*earned, zone).map(Some),
            None => Ok(None),
        }
    }

    /// Of the loaded lots the first so many of those that lapse at the next instant.
    pub(super) fn lapsing(&self, lots: &BTreeMap<LotKey, Lot>, most: usize) -> Vec<Allocation> {
        let Some(first) = self.points.keys().next() else { return Vec::new() };
        let last_month = |expiry| match expiry {
            LotExpiry::InactiveMonths(earned) => self.record.last_month(earned).ok(),
            LotExpiry::At(_) | LotExpiry::Inactivity | LotExpiry::Never => None,
        };
        let next = last_month(LotExpiry::InactiveMonths(*first));
        let lots = lots.range(LotKey::new(LotExpiry::InactiveMonths(*first), super::LotId(0))..);
        let lapsing = lots.take_while(|(key, _)| next.is_some() && last_month(key.expiry()) == next);
        lapsing.take(most).map(|(_, lot)| Allocation::of(lot, lot.remaining)).collect()
    }

    /// As a lot is that was earned at one instant and is known, or becomes active, at a later one: what has lapsed by then did so at a fixed
    /// instant.
    pub(super) fn settled(
        &self,
        expiry: LotExpiry,
        policy: (InactivityPolicy, bool),
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<LotExpiry, Overflow> {
        match expiry {
            LotExpiry::InactiveMonths(earned) if self.record.latest.is_some() && !self.record.paused => {
                let current = Month::of(calendar::local_date(zone, now));
                let end = self.with_points(policy, current).end(earned, zone)?;
                Ok(if end <= now { LotExpiry::At(end) } else { expiry })
            }
            LotExpiry::At(_) | LotExpiry::InactiveMonths(_) | LotExpiry::Inactivity | LotExpiry::Never => Ok(expiry),
        }
    }

    /// The month for points that another member gives: one in which those are earned that last as long here as these do there, or longer.
    pub(super) fn month_of_given(
        &self,
        policy: (InactivityPolicy, bool),
        (giver, earned): (&MonthRecord, Month),
        current: Month,
    ) -> Result<Month, Overflow> {
        let own = self.with_points(policy, current);
        let there = if giver.paused { current.after(giver.months)? } else { giver.last_month(earned)? };
        let mut here = earned;
        while here < there && own.last_month(here)? < there {
            here = here.after(1)?;
        }
        Ok(here)
    }

    /// Of two members who are one from now on, with these points: a month is without activity that was so for both.
    pub(super) fn joined(
        &self,
        other: &Self,
        points: BTreeMap<Month, Points>,
        rules: Option<(InactivityPolicy, bool, &TimeZone)>,
        now: Timestamp,
    ) -> Result<Self, Overflow> {
        let (own, gone) = (&self.record, &other.record);
        let Some((_, pauses, zone)) = rules.filter(|_| own.latest.or(gone.latest).is_some()) else {
            return Ok(Self { points, ..Self::default() });
        };
        let (first, latest) = ([own.first, gone.first].into_iter().flatten().min(), own.latest.max(gone.latest));
        let (ran_out, months) = (own.ran_out_by(now, zone)?, own.months.max(gone.months));
        let mut record = MonthRecord { months, first, latest, inactive: Vec::new(), paused: pauses, ran_out, lapse_time: None };
        if let (Some(first), Some(latest)) = (first, latest) {
            let both = |month: &Month| own.is_without(*month) && gone.is_without(*month);
            // More than are kept were without, and what is before them has lapsed.
            let known = (first.0..latest.0).rev().map(Month).filter(both).take(2 * months as usize);
            record.inactive = known.collect();
            record.inactive.reverse();
        }
        if !pauses && (own.paused || gone.paused) {
            record.begin_anew(Month::of(calendar::local_date(zone, now)));
        }
        let mut joined = Self { record, points };
        joined.record.lapse_time = joined.first_end(&joined.record, zone)?;
        Ok(joined)
    }

    /// Portions that were taken out of their lots at one instant and come back at a later one. Those that have lapsed meanwhile come back with an
    /// instant at which they had, as points with a date would.
    pub(super) fn coming_back(
        &self,
        portions: Vec<Portion>,
        (taken, back): (Timestamp, Timestamp),
        zone: &TimeZone,
    ) -> Result<Vec<Portion>, Overflow> {
        let Some(ran_out) = self.record.ran_out_by(back, zone)? else { return Ok(portions) };
        let settled = |portion: Portion| match ran_out.has_ended(portion.lot, taken) {
            true => Portion { lot: LotKey::new(LotExpiry::At(ran_out.time), portion.lot.id()), ..portion },
            false => portion,
        };
        Ok(portions.into_iter().map(settled).collect())
    }
}
