//! Bounds of one rule: minimum, maximum, cap per member and period, once per member, in this order.
//!
//! A rule that is rounded together with the others has no award of its own to bound: rule books that ask for both are refused.

use std::collections::{BTreeMap, BTreeSet, btree_map::Range};

use jiff::{Timestamp, civil::Date};

use crate::domain::{
    Counter, Header, LimitKind, Limits, MAX_COUNTERS_PER_RULE, Overflow, PeriodStart, Points, ProgramHistory, RuleId, calendar,
};

/// Says of a rule that awards once that it has.
pub(super) const GIVEN: Points = Points(1);

/// What a rule gives within its limits.
pub(in crate::domain) struct Limited {
    pub points: Points,
    /// The last that changed them.
    pub limit: Option<LimitKind>,
    /// What the rule's counters stand at then, if they moved.
    pub counters: Vec<(PeriodStart, Points)>,
}

/// Limits what a rule would give on a civil date.
pub(in crate::domain) fn limit(header: &Header, date: Date, rule: &RuleId, limits: &Limits, uncapped: Points) -> Result<Limited, Overflow> {
    let mut limited = Limited { points: uncapped, limit: None, counters: Vec::new() };
    let mut change = |points, limit| {
        limited.points = points;
        limited.limit = Some(limit);
        points
    };
    let mut points = uncapped;
    if let Some(minimum) = limits.minimum.filter(|minimum| points > Points::ZERO && points < *minimum) {
        points = change(minimum, LimitKind::Minimum);
    }
    if let Some(maximum) = limits.maximum.filter(|maximum| points > *maximum) {
        points = change(maximum, LimitKind::Maximum);
    }
    let counted = |period| header.counters.get(&(rule.clone(), period)).copied().unwrap_or_default();
    let period = limits.cap.map(|cap| calendar::period_start(date, cap.period));
    if let Some((cap, period)) = limits.cap.zip(period) {
        let left =
            if is_forgotten(&header.counters, rule, period) { Points::ZERO } else { cap.points.minus(counted(period))?.max(Points::ZERO) };
        if points > left {
            points = change(left, LimitKind::Cap);
        }
    }
    if limits.once_per_member && points > Points::ZERO && counted(None) > Points::ZERO {
        points = change(Points::ZERO, LimitKind::OncePerMember);
    }
    if points > Points::ZERO {
        if let Some(period) = period {
            limited.counters.push((period, counted(period).plus(points)?));
        }
        if limits.once_per_member && period != Some(None) {
            limited.counters.push((None, counted(None).plus(points)?));
        }
    }
    Ok(limited)
}

/// A rule's counters of periods that end, the oldest first.
fn counters<'a, V>(kept: &'a BTreeMap<(RuleId, PeriodStart), V>, rule: &RuleId) -> Range<'a, (RuleId, PeriodStart), V> {
    kept.range((rule.clone(), Some(Date::MIN))..=(rule.clone(), Some(Date::MAX)))
}

/// Whether the counter of a period may have been dropped because there were too many. Then the cap counts as used up.
pub(super) fn is_forgotten<V>(all: &BTreeMap<(RuleId, PeriodStart), V>, rule: &RuleId, period: PeriodStart) -> bool {
    let mut kept = counters(all, rule);
    let oldest = kept.next().map(|((_, start), _)| *start);
    // A member has few of them, as a rule: what is counted here is counted rarely.
    period.is_some() && oldest.is_some_and(|oldest| period < oldest) && kept.count() + 1 >= MAX_COUNTERS_PER_RULE
}

/// Counters that are not kept after a purchase or an activity that changes `changed`.
pub(in crate::domain) fn dropped_counters(
    programs: &ProgramHistory,
    header: &Header,
    changed: &[Counter],
    oldest: Timestamp,
) -> Vec<(RuleId, PeriodStart)> {
    dropped(programs, &header.counters, changed.iter().map(|counter| (&counter.rule, counter.period)), oldest)
}

/// Those of periods that ended more than a day (for the change between time zones) before the oldest that may still come, and the oldest of
/// rules that have too many. What period a cap has may change, and periods that begin on the same day are one counter: it is kept as long as
/// the longest of them.
pub(super) fn dropped<'a, V>(
    programs: &ProgramHistory,
    all: &BTreeMap<(RuleId, PeriodStart), V>,
    changed: impl Iterator<Item = (&'a RuleId, PeriodStart)>,
    oldest: Timestamp,
) -> Vec<(RuleId, PeriodStart)> {
    if all.is_empty() {
        return Vec::new();
    }
    let oldest = calendar::local_date(&programs.newest().time_zone, oldest);
    let has_ended = |start: PeriodStart| {
        let end = start.and_then(|start| calendar::period_end(start, calendar::longest_period_from(start)));
        end.and_then(|end| calendar::add_days(end, 1).ok()).is_some_and(|end| end <= oldest)
    };
    let mut dropped: Vec<_> = all.keys().filter(|(_, start)| has_ended(*start)).cloned().collect();
    for (rule, period) in changed.filter(|(_, period)| period.is_some()) {
        let kept = || counters(all, rule).map(|(key, _)| key).filter(|(_, start)| !has_ended(*start));
        let is_new = !all.contains_key(&(rule.clone(), period));
        let surplus = (kept().count() + usize::from(is_new)).saturating_sub(MAX_COUNTERS_PER_RULE);
        dropped.extend(kept().take(surplus).cloned());
    }
    dropped
}

/// The oldest counters of some rules that have too many.
pub(in crate::domain) fn surplus<'a, V>(
    all: &BTreeMap<(RuleId, PeriodStart), V>,
    rules: impl Iterator<Item = &'a RuleId>,
) -> BTreeSet<(RuleId, PeriodStart)> {
    let (mut surplus, mut done) = (BTreeSet::new(), None);
    for rule in rules {
        if done.replace(rule) != Some(rule) {
            let count = counters(all, rule).count().saturating_sub(MAX_COUNTERS_PER_RULE);
            surplus.extend(counters(all, rule).take(count).map(|(key, _)| key.clone()));
        }
    }
    surplus
}
