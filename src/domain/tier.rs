//! Tiers: what it takes to reach one.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{Header, LifetimeTotals, Points, Program, ProgramHistory, Tier, TierCause, TierChange, TierId, TierThreshold};

/// The way to the next tier. What is missing is 0 where a bound is met already, and `None` where the tier has no such bound.
#[derive(Debug, Clone)]
pub struct NextTier<'a> {
    pub tier: &'a Tier,
    pub missing_points: Option<Points>,
    pub missing_spend: Option<Decimal>,
    pub missing_visits: Option<u64>,
}

/// `None` at the highest tier and without tiers.
pub fn next_tier<'a>(program: &'a Program, header: &Header) -> Option<NextTier<'a>> {
    let tier = program.tiers.get(held_rank(program, header) + 1)?;
    let threshold = tier.threshold.as_ref()?;
    let totals = &header.lifetime;
    let missing_points = threshold.qualifying_points.map(|bound| Points(bound.0.saturating_sub(totals.qualifying_points.0).max(0)));
    let missing_spend = threshold.spend.map(|bound| (bound - totals.spend.min(bound)).max(Decimal::ZERO));
    let missing_visits = threshold.visits.map(|bound| bound.saturating_sub(totals.visits));
    Some(NextTier { tier, missing_points, missing_spend, missing_visits })
}

/// The change to the highest tier whose threshold is met, if that is above the one held.
pub(super) fn upgrade(program: &Program, header: &Header) -> Option<TierChange> {
    let held = held_rank(program, header);
    let reached = reached_rank(program, &header.lifetime);
    if reached <= held {
        return None;
    }
    let from = program.tiers.get(held).map(|tier| tier.id.clone());
    Some(TierChange { from, to: program.tiers[reached].id.clone(), cause: TierCause::Upgrade, reason: String::new() })
}

/// From when on the upgrade counts that an event at an instant leads to. Not before the points that gave it, nor before there was a
/// rule book that gives this tier for them: sales of those days were, and will be, rated without it.
pub(super) fn upgrade_start(programs: &ProgramHistory, header: &Header, to: &TierId, instant: Timestamp) -> Timestamp {
    let gives = |program: &Program| program.tiers.get(reached_rank(program, &header.lifetime)).is_some_and(|tier| tier.id == *to);
    let in_force = programs.since(instant).find(|(program, _)| gives(program)).map(|(_, start)| start);
    [in_force, header.latest_occurred_time, Some(instant)].into_iter().flatten().max().unwrap_or(instant)
}

/// The rank of the highest tier whose threshold is met; a tier may be skipped.
pub(super) fn reached_rank(program: &Program, totals: &LifetimeTotals) -> usize {
    program.tiers.iter().rposition(|tier| tier.threshold.as_ref().is_none_or(|threshold| is_met(threshold, totals))).unwrap_or(0)
}

fn held_rank(program: &Program, header: &Header) -> usize {
    program.rank(header.tier.current().map(|held| &held.tier))
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
