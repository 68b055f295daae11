//! Fraud limits: what exceeds one is refused, or booked with a flag.
//!
//! What a member buys and earns is counted in civil hours and days of when it occurred, under the rule book of then: a till that delivers
//! two days at once is no fraud, and neither are sales from before the first rule book, which only an import brings. What an operator
//! adjusts is counted by the service's clock, over all members. Entries carry what the counters stand at with them, so that folding them
//! needs no rule. What is returned later stays counted.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Header, Overflow, Points, Program, ProgramHistory, Rejection, calendar};

/// Periods in which a limit counts for a member, at most. With more, the oldest is dropped; in a period before those that are kept the
/// limit counts as reached, so that nobody gets round it by being late.
pub const MAX_FRAUD_COUNTERS: usize = 200;

/// Longer than any period, on whatever day the clocks change.
const LONGEST_PERIOD_HOURS: i64 = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FraudLimit {
    /// Purchases of a member.
    PurchasesPerHour,
    /// Points that a member earns, by purchases and by activities.
    PointsPerDay,
    /// Adjustments of an operator.
    AdjustmentsPerDay,
    /// Points that an operator adds and takes.
    AdjustedPointsPerDay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FraudAction {
    Refuse,
    Flag,
}

/// More than `maximum` looks like fraud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FraudBound {
    pub maximum: i64,
    pub action: FraudAction,
}

pub type FraudLimits = BTreeMap<FraudLimit, FraudBound>;

/// What a limit has counted of a member in the period that begins at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FraudCounter {
    pub limit: FraudLimit,
    pub period_start: Timestamp,
    pub count: i64,
}

/// A limit that an entry exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FraudFlag {
    pub limit: FraudLimit,
    pub maximum: i64,
    /// With the entry.
    pub count: i64,
    pub period_start: Timestamp,
}

/// What an operator has adjusted on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorDay {
    pub day: Date,
    pub adjustments: i64,
    /// Added and taken ones together.
    pub points: Points,
}

/// What fraud limits counted with an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watched {
    /// What the member's counters stand at, of those that it touched.
    pub counters: Vec<FraudCounter>,
    /// Counters that no purchase that may still come can need.
    pub dropped: Vec<(FraudLimit, Timestamp)>,
    /// Of an adjustment: what its actor has adjusted on the day, with it.
    pub operator: Option<OperatorDay>,
    pub flags: Vec<FraudFlag>,
}

impl FraudLimit {
    /// As the rule book calls it.
    pub fn name(self) -> &'static str {
        match self {
            FraudLimit::PurchasesPerHour => "purchases_per_hour",
            FraudLimit::PointsPerDay => "points_per_day",
            FraudLimit::AdjustmentsPerDay => "adjustments_per_day",
            FraudLimit::AdjustedPointsPerDay => "adjusted_points_per_day",
        }
    }

    fn period_start(self, zone: &TimeZone, instant: Timestamp) -> Result<Timestamp, Overflow> {
        match self {
            FraudLimit::PurchasesPerHour => calendar::start_of_hour(zone, instant),
            FraudLimit::PointsPerDay | FraudLimit::AdjustmentsPerDay | FraudLimit::AdjustedPointsPerDay => {
                calendar::start_of_day(zone, calendar::local_date(zone, instant))
            }
        }
    }
}

impl Watched {
    fn into_some(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Counts what a member does at an instant: of each limit, by how much. No purchase that may still come occurred before `oldest`.
pub(super) fn watch(
    programs: &ProgramHistory,
    header: &Header,
    occurred_time: Timestamp,
    oldest: Timestamp,
    counted: &[(FraudLimit, i64)],
) -> Result<Option<Box<Watched>>, Rejection> {
    let mut watched = Watched::default();
    if let Some(program) = programs.in_force(occurred_time) {
        for (limit, more) in counted.iter().copied().filter(|(_, more)| *more > 0) {
            let Some(bound) = program.fraud_limits.get(&limit) else { continue };
            let period_start = limit.period_start(&program.time_zone, occurred_time)?;
            let is_forgotten = is_forgotten(header, limit, period_start);
            let kept = header.fraud_counters.get(&(limit, period_start)).copied().unwrap_or_default();
            let before = if is_forgotten { bound.maximum } else { kept };
            let count = before.checked_add(more).ok_or(Overflow)?;
            judge(FraudFlag { limit, maximum: bound.maximum, count, period_start }, bound.action, &mut watched.flags)?;
            if !is_forgotten {
                watched.counters.push(FraudCounter { limit, period_start, count });
            }
        }
    }
    watched.dropped = dropped(header, &watched.counters, oldest);
    Ok(watched.into_some())
}

/// What the counters stand at of two members that become one: in periods in which both were counted, at the sum.
pub(super) fn join(own: &Header, other: &Header, oldest: Timestamp) -> Result<Option<Box<Watched>>, Overflow> {
    let mut joined = own.fraud_counters.clone();
    for (counter, count) in &other.fraud_counters {
        let sum = joined.entry(*counter).or_default();
        *sum = sum.checked_add(*count).ok_or(Overflow)?;
    }
    let is_kept = |(limit, start): &(FraudLimit, Timestamp)| {
        let newer = joined.range((*limit, *start)..=(*limit, Timestamp::MAX));
        !has_ended(*start, oldest) && newer.count() <= MAX_FRAUD_COUNTERS
    };
    let counter = |key: &(FraudLimit, Timestamp)| FraudCounter { limit: key.0, period_start: key.1, count: joined[key] };
    let watched = Watched {
        counters: other.fraud_counters.keys().filter(|key| is_kept(key)).map(counter).collect(),
        dropped: own.fraud_counters.keys().filter(|key| !is_kept(key)).copied().collect(),
        ..Watched::default()
    };
    Ok(watched.into_some())
}

/// Counts an adjustment of so many points by an operator, who has adjusted `before` when one was last counted.
pub(super) fn watch_adjustment(
    program: &Program,
    before: Option<OperatorDay>,
    points: Points,
    now: Timestamp,
) -> Result<Option<Box<Watched>>, Rejection> {
    if !program.watches_operators() {
        return Ok(None);
    }
    let day = calendar::local_date(&program.time_zone, now);
    let before = before.filter(|before| before.day == day).unwrap_or(OperatorDay { day, adjustments: 0, points: Points::ZERO });
    let size = if points < Points::ZERO { points.negated()? } else { points };
    let adjustments = before.adjustments.checked_add(1).ok_or(Overflow)?;
    let operator = OperatorDay { day, adjustments, points: before.points.plus(size)? };
    let mut watched = Watched { operator: Some(operator), ..Watched::default() };
    for (limit, count) in [(FraudLimit::AdjustmentsPerDay, adjustments), (FraudLimit::AdjustedPointsPerDay, operator.points.0)] {
        let Some(bound) = program.fraud_limits.get(&limit) else { continue };
        let period_start = limit.period_start(&program.time_zone, now)?;
        judge(FraudFlag { limit, maximum: bound.maximum, count, period_start }, bound.action, &mut watched.flags)?;
    }
    Ok(watched.into_some())
}

fn judge(flag: FraudFlag, action: FraudAction, flags: &mut Vec<FraudFlag>) -> Result<(), Rejection> {
    if flag.count > flag.maximum {
        match action {
            FraudAction::Refuse => return Err(Rejection::FraudLimit(flag)),
            FraudAction::Flag => flags.push(flag),
        }
    }
    Ok(())
}

/// Whether a period is over for all that may still come.
fn has_ended(start: Timestamp, oldest: Timestamp) -> bool {
    oldest.duration_since(start) > jiff::SignedDuration::from_hours(LONGEST_PERIOD_HOURS)
}

/// Starts of the periods in which a limit has counted, the oldest first.
fn periods(header: &Header, limit: FraudLimit) -> impl Iterator<Item = Timestamp> {
    header.fraud_counters.range((limit, Timestamp::MIN)..=(limit, Timestamp::MAX)).map(|((_, start), _)| *start)
}

/// Whether the counter of a period may have been dropped because there were too many.
fn is_forgotten(header: &Header, limit: FraudLimit, period_start: Timestamp) -> bool {
    periods(header, limit).next().is_some_and(|oldest| period_start < oldest) && periods(header, limit).count() >= MAX_FRAUD_COUNTERS
}

/// Counters that are not kept after `changed`: those of periods that ended before `oldest`, and the oldest of a limit that has too many.
fn dropped(header: &Header, changed: &[FraudCounter], oldest: Timestamp) -> Vec<(FraudLimit, Timestamp)> {
    let mut dropped: Vec<_> = header.fraud_counters.keys().filter(|(_, start)| has_ended(*start, oldest)).copied().collect();
    for counter in changed {
        let kept = || periods(header, counter.limit).filter(|start| !has_ended(*start, oldest));
        let is_new = !header.fraud_counters.contains_key(&(counter.limit, counter.period_start));
        let surplus = (kept().count() + usize::from(is_new)).saturating_sub(MAX_FRAUD_COUNTERS);
        dropped.extend(kept().take(surplus).map(|start| (counter.limit, start)));
    }
    dropped
}
