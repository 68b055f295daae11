//! What counts for tiers, by the day or month in which it occurred.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::super::{LifetimeTotals, Overflow, Points};

/// Days or months of a member that are kept at most: with a day for each of a window of 60 months, and more. Of more the oldest are let go.
pub const MAX_TIER_COUNTS: usize = 2_000;

/// That an entry counts for tiers, and when. How much is what it adds to the totals since enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The first day of what it counts in, as the programme's time zone counts days.
    pub day: Date,
    /// No review can look at what was counted before this day any more; `None`: nothing is let go.
    pub kept_since: Option<Date>,
}

/// Of a day or a month. A return can leave less than nothing where its points had counted on another day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierCount {
    pub qualifying_points: Points,
    pub spend: Decimal,
    pub visits: i64,
}

impl TierCount {
    /// What lies between the totals before and after.
    pub fn between(before: &LifetimeTotals, after: &LifetimeTotals) -> Result<Self, Overflow> {
        let visits = |totals: &LifetimeTotals| i64::try_from(totals.visits).map_err(|_| Overflow);
        Ok(Self {
            qualifying_points: after.qualifying_points.minus(before.qualifying_points)?,
            spend: after.spend.checked_sub(before.spend).ok_or(Overflow)?,
            visits: visits(after)?.checked_sub(visits(before)?).ok_or(Overflow)?,
        })
    }

    pub fn plus(self, other: &Self) -> Result<Self, Overflow> {
        Ok(Self {
            qualifying_points: self.qualifying_points.plus(other.qualifying_points)?,
            spend: self.spend.checked_add(other.spend).ok_or(Overflow)?,
            visits: self.visits.checked_add(other.visits).ok_or(Overflow)?,
        })
    }

    fn is_zero(&self) -> bool {
        self.qualifying_points.is_zero() && self.spend.is_zero() && self.visits == 0
    }
}

/// In the order of the days.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierCounts(Vec<(Date, TierCount)>);

impl TierCounts {
    /// As they were stored.
    pub fn from_stored(counts: Vec<(Date, TierCount)>) -> Self {
        Self(counts)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Date, TierCount)> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, day: Date) -> bool {
        self.0.binary_search_by_key(&day, |(day, _)| *day).is_ok()
    }

    pub(in crate::domain) fn count(&mut self, counted: Counted, count: &TierCount) -> Result<(), Overflow> {
        if let Some(since) = counted.kept_since {
            self.0.retain(|(day, _)| *day >= since);
        }
        self.add(counted.day, count)
    }

    pub(in crate::domain) fn add(&mut self, day: Date, count: &TierCount) -> Result<(), Overflow> {
        match self.0.binary_search_by_key(&day, |(day, _)| *day) {
            Ok(place) => {
                let sum = self.0[place].1.plus(count)?;
                self.0[place].1 = sum;
                if sum.is_zero() {
                    self.0.remove(place);
                }
            }
            Err(_) if count.is_zero() => {}
            Err(place) => self.0.insert(place, (day, *count)),
        }
        if self.0.len() > MAX_TIER_COUNTS {
            self.0.remove(0);
        }
        Ok(())
    }

    /// From a day inclusive to another exclusive; never less than nothing.
    pub fn total(&self, from: Date, to: Date) -> Result<LifetimeTotals, Overflow> {
        let first = self.0.partition_point(|(day, _)| *day < from);
        let within = self.0[first..].iter().take_while(|(day, _)| *day < to);
        let sum = within.map(|(_, count)| count).try_fold(TierCount::default(), TierCount::plus)?;
        Ok(LifetimeTotals {
            qualifying_points: sum.qualifying_points.max(Points::ZERO),
            spend: sum.spend.max(Decimal::ZERO),
            visits: u64::try_from(sum.visits).unwrap_or(0),
        })
    }

    /// The newest day that is not after another.
    pub fn last_day_until(&self, day: Date) -> Option<Date> {
        self.0.iter().rev().map(|(own, _)| *own).find(|own| *own <= day)
    }

    /// Of the days from one to another, both inclusive, those that there is anything of.
    pub fn days(&self, from: Date, to: Date) -> impl Iterator<Item = Date> {
        self.0.iter().map(|(day, _)| *day).filter(move |day| (from..=to).contains(day))
    }

    /// The first day that there is anything of.
    pub fn first_day(&self) -> Option<Date> {
        self.0.first().map(|(day, _)| *day)
    }
}
