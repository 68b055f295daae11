//! How a member stands: what is counted now, what is missing to the next tier and to keep the present one, and what the next review will do.

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use super::super::{Header, Judge, LifetimeTotals, Overflow, Points, Program, StatusEnd, Tier, TierThreshold};

/// What is missing: 0 where a bound is met already, and `None` where there is no such bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    pub points: Option<Points>,
    pub spend: Option<Decimal>,
    pub visits: Option<u64>,
    pub require_all: bool,
}

impl Missing {
    fn of(threshold: &TierThreshold, totals: &LifetimeTotals) -> Self {
        Self {
            points: threshold.qualifying_points.map(|bound| Points(bound.0.saturating_sub(totals.qualifying_points.0).max(0))),
            spend: threshold.spend.map(|bound| (bound - totals.spend.min(bound)).max(Decimal::ZERO)),
            visits: threshold.visits.map(|bound| bound.saturating_sub(totals.visits)),
            require_all: threshold.require_all,
        }
    }
}

#[derive(Debug, Clone)]
pub struct TierProgress<'a> {
    pub tier: &'a Tier,
    /// The first day of what is counted now; `None`: all since enrolment.
    pub window_start: Option<Date>,
    /// The first day after it; `None`: it has no end, or moves on with each day.
    pub window_end: Option<Date>,
    pub totals: LifetimeTotals,
    /// `None` at the highest tier.
    pub next: Option<(&'a Tier, Missing)>,
    /// Of the status, or of what was set by hand.
    pub end: Option<StatusEnd>,
    /// What is missing by the review to keep the tier.
    pub keep: Option<Missing>,
    /// The lower tier that the review leads to with what is there now, and when.
    pub falls_to: Option<(&'a Tier, Timestamp)>,
}

/// `None` in a programme without tiers. All that is due by now is entered.
pub fn tier_progress<'a>(program: &'a Program, header: &'a Header, now: Timestamp) -> Result<Option<TierProgress<'a>>, Overflow> {
    let judge = Judge { program, header };
    let held = judge.held();
    let Some(tier) = judge.tier(held.rank) else { return Ok(None) };
    let window = judge.window(judge.day(now))?;
    let totals = judge.totals(window.as_ref())?;
    let next = judge.tier(held.rank + 1).and_then(|next| Some((next, Missing::of(next.threshold.as_ref()?, &totals))));
    let standing = &header.tier;
    let floor_end = standing.floor.as_ref().filter(|_| standing.is_on_floor()).and_then(|floor| floor.end_time);
    let (mut keep, mut falls) = (None, None);
    if let Some((counted, end)) = judge.next_review()? {
        keep = tier.retained_by().map(|threshold| Missing::of(threshold, &counted));
        falls = Some((judge.review(held.rank, end)?.to.rank, end.review_time));
    } else if let Some(end) = floor_end {
        falls = Some((judge.floor_ended(end)?.to.rank, end));
    }
    let has_periods = program.tier_policy.window.has_periods();
    Ok(Some(TierProgress {
        tier,
        window_start: window.as_ref().map(|window| window.start).filter(|start| *start != Date::MIN),
        window_end: window.map(|window| window.end).filter(|_| has_periods),
        totals,
        next,
        end: standing.end.or(floor_end.map(|end| StatusEnd { end_time: end, review_time: end })),
        keep,
        falls_to: falls.filter(|(rank, _)| *rank < held.rank).and_then(|(rank, time)| Some((judge.tier(rank)?, time))),
    }))
}
