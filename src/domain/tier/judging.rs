//! Judging what a member has: windows, what was reached in them, until when it is held, and what a review makes of it. Days are civil ones in
//! the programme's time zone; a window is a range of them, from the first inclusive to the last exclusive.

use std::ops::Range;

use jiff::{Timestamp, civil::Date};

use super::super::{
    Header, LifetimeTotals, Overflow, Period, Program, ProgramHistory, ReviewOutcome, StatusEnd, Tier, TierId, TierReview, TierThreshold,
    TierValidity, TierWindow, calendar,
};

/// A member under a version of the rule book.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    pub program: &'a Program,
    pub header: &'a Header,
}

/// A place in the ranking, and until when it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    pub rank: usize,
    pub end: Option<StatusEnd>,
}

/// What a review comes to.
pub(in crate::domain) struct Reviewed {
    pub to: Rank,
    pub review: TierReview,
}

impl<'a> Judge<'a> {
    pub fn held(&self) -> Rank {
        let tier = &self.header.tier;
        Rank { rank: self.rank_of(tier.current().map(|held| &held.tier)), end: tier.end }
    }

    pub fn rank_of(&self, tier: Option<&TierId>) -> usize {
        self.program.rank(tier)
    }

    pub fn tier(&self, rank: usize) -> Option<&'a Tier> {
        self.program.tiers.get(rank)
    }

    pub fn day(&self, instant: Timestamp) -> Date {
        calendar::local_date(&self.program.time_zone, instant)
    }

    /// The window that a day lies in, if a part of all time is counted.
    pub fn window(&self, day: Date) -> Result<Option<Range<Date>>, Overflow> {
        let policy = &self.program.tier_policy;
        let after = calendar::add_days(day, 1)?;
        let standing = &self.header.tier;
        let reset = standing.reset_until(day).filter(|_| policy.reset_at_review);
        match policy.window {
            // What is told late counts from the review before it to the one after it.
            TierWindow::Lifetime if policy.reset_at_review => {
                let first = || standing.reset_after(day).and_then(|_| self.header.tier_counts.last_day_until(day));
                Ok(Some(reset.or_else(first).unwrap_or(Date::MIN)..standing.reset_after(day).unwrap_or(Date::MAX)))
            }
            TierWindow::Lifetime => Ok(None),
            TierWindow::CalendarYear | TierWindow::CalendarQuarter | TierWindow::MembershipYear => self.period(day).map(Some),
            TierWindow::RollingMonths(months) => {
                let from = calendar::subtract_months(after, months)?;
                Ok(Some(reset.map_or(from, |reset| from.max(reset))..after))
            }
        }
    }

    /// Of a window that has periods; of another one a day alone.
    fn period(&self, day: Date) -> Result<Range<Date>, Overflow> {
        let calendar = |period| {
            let start = calendar::period_start(day, period).ok_or(Overflow)?;
            Ok(start..calendar::period_end(start, period).ok_or(Overflow)?)
        };
        match self.program.tier_policy.window {
            TierWindow::CalendarYear => calendar(Period::Year),
            TierWindow::CalendarQuarter => calendar(Period::Quarter),
            TierWindow::MembershipYear => {
                let enrolled = self.day(self.header.create_time);
                let anniversary = |year| calendar::yearly_date(year, enrolled.month(), enrolled.day());
                let this = anniversary(day.year())?;
                Ok(match this <= day {
                    true => this..anniversary(day.year().checked_add(1).ok_or(Overflow)?)?,
                    false => anniversary(day.year().checked_sub(1).ok_or(Overflow)?)?..this,
                })
            }
            TierWindow::Lifetime | TierWindow::RollingMonths(_) => Ok(day..calendar::add_days(day, 1)?),
        }
    }

    /// What was counted in a window; without one since enrolment.
    pub fn totals(&self, window: Option<&Range<Date>>) -> Result<LifetimeTotals, Overflow> {
        match window {
            Some(window) => self.header.tier_counts.total(window.start, window.end),
            None => Ok(self.header.lifetime.clone()),
        }
    }

    /// What an event would be counted in that is to be counted; `None`: nothing but the totals since enrolment counts.
    pub(in crate::domain) fn count_day(&self, day: Date) -> Option<Date> {
        let policy = &self.program.tier_policy;
        if !policy.keeps_counts() {
            return None;
        }
        let has_periods = matches!(policy.window, TierWindow::CalendarYear | TierWindow::CalendarQuarter);
        let by_month = has_periods && self.reviews_begin_months();
        match policy.window {
            // All between two reviews is one.
            TierWindow::Lifetime => {
                let counts = &self.header.tier_counts;
                // The review of a day does not look at what comes on that day, though that is entered before it.
                let next_review = self.header.tier.end.map(|end| self.day(end.review_time)).filter(|review| *review <= day);
                // Of before the first review all is counted where the first of it was, though it is told in another order.
                let first = || counts.first_day().filter(|first| self.header.tier.reset_after(day).is_none_or(|reset| *first < reset));
                Some(
                    next_review
                        .or_else(|| self.header.tier.reset_until(day))
                        .or_else(|| counts.last_day_until(day))
                        .or_else(first)
                        .unwrap_or(day),
                )
            }
            _ if by_month => calendar::period_start(day, Period::Month),
            TierWindow::CalendarYear | TierWindow::CalendarQuarter | TierWindow::MembershipYear | TierWindow::RollingMonths(_) => Some(day),
        }
    }

    /// All reviews that may come are at the start of a month, as are those that what is told late may come after. One within a month counts what
    /// occurred before it in that month, and nothing that occurred after it.
    fn reviews_begin_months(&self) -> bool {
        let policy = &self.program.tier_policy;
        let ends_within = matches!(policy.validity, TierValidity::Months(_)) || policy.grace_days > 0;
        !ends_within && self.header.tier.ends().all(|end| self.day(end.review_time).day() == 1)
    }

    /// The highest tier that was reached in the window that a day lies in, with the end that it has from that day on.
    pub fn reached(&self, day: Date) -> Result<Rank, Overflow> {
        let rank = self.highest_rank(day)?;
        Ok(Rank { rank, end: self.end_from(rank, day)? })
    }

    /// Its rank alone.
    pub fn highest_rank(&self, day: Date) -> Result<usize, Overflow> {
        let window = self.window(day)?;
        Ok(reached_rank(self.program, &self.totals(window.as_ref())?))
    }

    /// What the windows of a day, and before it those whose status lasts to it, give.
    pub fn earned(&self, day: Date) -> Result<Rank, Overflow> {
        let now = self.reached(day)?;
        let policy = &self.program.tier_policy;
        if policy.validity != TierValidity::EndOfNextPeriod {
            return Ok(now);
        }
        let before = self.reached(self.period(day)?.start.yesterday().map_err(|_| Overflow)?)?;
        Ok(if before.rank > now.rank { before } else { now })
    }

    pub fn end_from(&self, rank: usize, day: Date) -> Result<Option<StatusEnd>, Overflow> {
        let end = match self.program.tier_policy.validity {
            _ if rank == 0 => return Ok(None),
            TierValidity::Unlimited => return Ok(None),
            TierValidity::EndOfPeriod => self.period(day)?.end,
            TierValidity::EndOfNextPeriod => self.period(self.period(day)?.end)?.end,
            TierValidity::Months(months) => calendar::add_months(day, months)?,
        };
        self.ending(end).map(Some)
    }

    /// The end of a status that a review at an end leads to.
    fn next_end(&self, rank: usize, end: Date) -> Result<Option<StatusEnd>, Overflow> {
        let next = match self.program.tier_policy.validity {
            _ if rank == 0 => return Ok(None),
            TierValidity::Unlimited => return Ok(None),
            TierValidity::EndOfPeriod | TierValidity::EndOfNextPeriod => self.period(end)?.end,
            TierValidity::Months(months) => calendar::add_months(end, months)?,
        };
        self.ending(next).map(Some)
    }

    fn ending(&self, end: Date) -> Result<StatusEnd, Overflow> {
        let zone = &self.program.time_zone;
        let end_time = calendar::start_of_day(zone, end)?;
        let review_time = match self.program.tier_policy.grace_days {
            0 => end_time,
            days => calendar::start_of_day(zone, calendar::add_days(end, days)?)?,
        };
        Ok(StatusEnd { end_time, review_time })
    }

    /// The day that is over at an instant at which a day begins. One that the zone has left out before it is not the last of the window that
    /// has ended: nothing occurred on it.
    fn last_day_before(&self, end: Timestamp) -> Result<Date, Overflow> {
        let moment = end.checked_sub(jiff::SignedDuration::from_nanos(1)).map_err(|_| Overflow)?;
        // In another zone than the one in which it was reckoned an end lies within a day.
        Ok(self.day(moment).min(self.day(end).yesterday().map_err(|_| Overflow)?))
    }

    /// What a status that has come to its end is reviewed by: what lies in the window that ended, and in the days of grace. Where it ends
    /// within a period, the one before it is looked at too.
    fn review_windows(&self, end: StatusEnd) -> Result<Vec<Option<Range<Date>>>, Overflow> {
        let (day, to) = (self.day(end.end_time), self.day(end.review_time));
        let last = self.last_day_before(end.end_time)?;
        let window = self.window(last)?;
        // All between two reviews is counted as one, whichever day of it a review would have come that did not.
        let counts_as_one = self.program.tier_policy.window == TierWindow::Lifetime && self.header.tier.end != Some(end);
        let until = |window: &Range<Date>| if counts_as_one { window.end } else { to.max(day) };
        let mut windows = vec![window.clone().map(|window| window.start..until(&window))];
        if let Some(running) = window.filter(|window| self.program.tier_policy.window.has_periods() && window.end > day) {
            windows.push(self.window(running.start.yesterday().map_err(|_| Overflow)?)?);
        }
        Ok(windows)
    }

    /// The review of a status that has come to its end: not below what was set by hand and lasts.
    pub(in crate::domain) fn review(&self, rank: usize, end: StatusEnd) -> Result<Reviewed, Overflow> {
        let Reviewed { to, review } = self.review_of_earned(rank, end)?;
        Ok(Reviewed { to: self.not_below_floor(to, end.review_time), review })
    }

    /// What the review makes of what was earned.
    fn review_of_earned(&self, rank: usize, end: StatusEnd) -> Result<Reviewed, Overflow> {
        let mut best: Option<(usize, Option<Range<Date>>, LifetimeTotals)> = None;
        for window in self.review_windows(end)? {
            let totals = self.totals(window.as_ref())?;
            let outcome = self.outcome(rank, reached_rank(self.program, &totals), &totals);
            if best.as_ref().is_none_or(|(best, ..)| outcome > *best) {
                best = Some((outcome, window, totals));
            }
        }
        let (outcome, window, totals) = best.expect("there is a window to look at");
        let next = self.next_end(outcome, self.day(end.end_time))?;
        let from = window.as_ref().map(|window| window.start).filter(|from| *from != Date::MIN);
        let last = self.day(end.review_time).max(self.day(end.end_time));
        let to = window.map_or(last, |window| window.end.min(last));
        let review = TierReview { from, to, totals, resets: self.program.tier_policy.reset_at_review };
        Ok(Reviewed { to: Rank { rank: outcome, end: next }, review })
    }

    fn outcome(&self, rank: usize, earned: usize, totals: &LifetimeTotals) -> usize {
        if self.retains(rank, totals) {
            return rank.max(earned);
        }
        match self.program.tier_policy.outcome {
            ReviewOutcome::Earned => earned,
            ReviewOutcome::OneDown => earned.max(rank.saturating_sub(1)),
            ReviewOutcome::NeverDown => rank.max(earned),
        }
    }

    /// What was set by hand has come to its end: what was earned by then, or what was held before if that goes on. Where that has ended
    /// meanwhile it is reviewed now.
    pub(in crate::domain) fn floor_ended(&self, end: Timestamp) -> Result<Reviewed, Overflow> {
        let to = self.day(end);
        let last = self.last_day_before(end)?;
        let window = self.window(last)?;
        let earned = self.by(self.earned(last)?, end)?;
        let before = self.header.tier.reached.as_ref().and_then(|reached| reached.before.as_ref());
        let before = before.map(|before| Rank { rank: self.rank_of(Some(&before.tier)), end: before.end });
        let now = StatusEnd { end_time: end, review_time: end };
        let has_ended = |before: &Rank| before.end.is_some_and(|until| until.review_time <= end);
        let before = match before {
            Some(before) if has_ended(&before) => Some(self.review_of_earned(before.rank, now)?.to),
            Some(_) | None => before,
        };
        let best = before.filter(|before| before.rank > earned.rank).unwrap_or(earned);
        let totals = self.totals(window.as_ref())?;
        let from = window.map(|window| window.start).filter(|from| *from != Date::MIN);
        Ok(Reviewed { to: best, review: TierReview { from, to, totals, resets: false } })
    }

    /// Another version of the rule book is in force from an instant on.
    pub(in crate::domain) fn changed(&self, instant: Timestamp) -> Result<Reviewed, Overflow> {
        let (held, day) = (self.held(), self.day(instant));
        let window = self.window(day)?;
        let totals = self.totals(window.as_ref())?;
        let earned = self.earned(day)?;
        let rank = self.outcome(held.rank, earned.rank, &totals);
        // What the period before has earned lasts through this one, and no longer.
        let own = if rank == earned.rank { earned.end } else { self.end_from(rank, day)? };
        let end = if rank == held.rank { held.end.or(own) } else { own };
        let to = self.not_below_floor(Rank { rank, end }, instant);
        let to = if to.rank == held.rank && self.header.tier.is_on_floor() { held } else { to };
        let from = window.map(|window| window.start).filter(|from| *from != Date::MIN);
        Ok(Reviewed { to, review: TierReview { from, to: calendar::add_days(day, 1)?, totals, resets: false } })
    }

    /// Whether what was counted is enough to keep a tier.
    pub fn retains(&self, rank: usize, totals: &LifetimeTotals) -> bool {
        self.tier(rank).and_then(Tier::retained_by).is_none_or(|threshold| is_met(threshold, totals))
    }

    /// What the tier held is reviewed by as things stand, and when.
    pub fn next_review(&self) -> Result<Option<(LifetimeTotals, StatusEnd)>, Overflow> {
        let Some(end) = self.header.tier.end else { return Ok(None) };
        let held = self.held().rank;
        let all: Vec<LifetimeTotals> =
            self.review_windows(end)?.iter().map(|window| self.totals(window.as_ref())).collect::<Result<_, _>>()?;
        let enough = all.iter().find(|totals| self.retains(held, totals)).or(all.first());
        Ok(enough.map(|totals| (totals.clone(), end)))
    }

    /// What is set by hand and lasts at an instant holds the member up.
    pub(in crate::domain) fn not_below_floor(&self, rank: Rank, instant: Timestamp) -> Rank {
        let floor = self.header.tier.floor_at(instant).map(|tier| self.rank_of(Some(tier)));
        match floor {
            Some(floor) if floor > rank.rank => Rank { rank: floor, end: None },
            Some(_) | None => rank,
        }
    }

    /// What has become of a status by an instant, with all reviews that it would have had; what was set by hand meanwhile is not part of it.
    pub(in crate::domain) fn by(&self, mut status: Rank, now: Timestamp) -> Result<Rank, Overflow> {
        while let Some(end) = status.end.filter(|end| end.review_time <= now) {
            status = self.review_of_earned(status.rank, end)?.to;
        }
        Ok(status)
    }
}

/// The first day that a review which may still come, or what is told late, can look at. `None`: nothing is kept.
pub(in crate::domain) fn kept_since(programs: &ProgramHistory, today: Date) -> Result<Option<Date>, Overflow> {
    let bounds = programs.tier_bounds();
    if bounds.forever {
        return Ok(None);
    }
    let late = programs.max_age_days().saturating_add(bounds.grace_days);
    // A month more, since a month can be counted as one.
    let months = bounds.months.saturating_add(1);
    match calendar::subtract_days(today, late).and_then(|day| calendar::subtract_months(day, months)) {
        Ok(day) => Ok(Some(day)),
        // Before the calendar begins there is nothing.
        Err(Overflow) => Ok(None),
    }
}

/// The rank of the highest tier whose threshold is met; a tier may be skipped.
pub(in crate::domain) fn reached_rank(program: &Program, totals: &LifetimeTotals) -> usize {
    program.tiers.iter().rposition(|tier| tier.threshold.as_ref().is_none_or(|threshold| is_met(threshold, totals))).unwrap_or(0)
}

fn is_met(threshold: &TierThreshold, totals: &LifetimeTotals) -> bool {
    let bounds = [
        threshold.qualifying_points.map(|bound| totals.qualifying_points >= bound),
        threshold.spend.map(|bound| totals.spend >= bound),
        threshold.visits.map(|bound| totals.visits >= bound),
    ];
    let mut given = bounds.into_iter().flatten();
    if threshold.require_all { given.all(|met| met) } else { given.any(|met| met) }
}
