//! Tiers: what it takes to reach one, how long it is held, and what a review makes of it.
//!
//! [`policy`] is what the rule book says, [`counts`] what a member has counted by day or month, [`standing`] which tier is held since and until
//! when, [`judging`] how the one follows from the others, and [`progress`] how that is told. A status comes to its end at the start of a local
//! day; the review comes then, or so many days of grace later, and is an entry of that instant.

mod counts;
mod joining;
mod judging;
mod policy;
mod progress;
mod standing;

pub use counts::{Counted, MAX_TIER_COUNTS, TierCount, TierCounts};
pub(super) use joining::join;
pub use judging::{Judge, Rank};
pub(super) use judging::{kept_since, reached_rank};
pub use policy::*;
pub use progress::{Missing, TierProgress, tier_progress};
pub use standing::*;

use jiff::{Timestamp, civil::Date};

use super::{EntryKind, Expiry, Header, Overflow, Points, Program, ProgramHistory, TierId};

/// Why and where a member rises.
pub(super) struct Risen {
    pub to: Rank,
    pub cause: TierCause,
    pub day: Date,
}

/// The highest tier that an event at an instant leads to and that is still held by now, if that is above the one held. What is told late is
/// reviewed again: in the windows that it counts in, and as what a review has taken away that it would have kept.
pub(super) fn risen(program: &Program, header: &Header, instant: Timestamp, now: Timestamp) -> Result<Option<Risen>, Overflow> {
    let judge = Judge { program, header };
    let held = judge.held();
    let policy = &program.tier_policy;
    let mut best: Option<Risen> = None;
    let mut offer = |to: Rank, cause, day| {
        if to.rank > held.rank && best.as_ref().is_none_or(|best| to.rank > best.to.rank) {
            best = Some(Risen { to, cause, day });
        }
    };
    if policy.window == TierWindow::Lifetime && !policy.reset_at_review && policy.validity == TierValidity::Unlimited {
        let rank = reached_rank(program, &header.lifetime);
        if rank > held.rank {
            offer(Rank { rank, end: None }, TierCause::Upgrade, judge.day(instant));
        }
        return Ok(best);
    }
    let day = judge.day(instant);
    let later = match policy.window {
        TierWindow::RollingMonths(months) => {
            let last = super::calendar::add_months(day, months).unwrap_or(Date::MAX).min(judge.day(now));
            super::calendar::add_days(day, 1).ok().map(|next| header.tier_counts.days(next, last))
        }
        TierWindow::Lifetime | TierWindow::CalendarYear | TierWindow::CalendarQuarter | TierWindow::MembershipYear => None,
    };
    for lost in header.tier.lost.iter().filter(|lost| instant < lost.end.review_time) {
        let kept = judge.by(Rank { rank: judge.rank_of(Some(&lost.tier)), end: Some(lost.end) }, now)?;
        offer(kept, TierCause::Review, day);
    }
    for day in std::iter::once(day).chain(later.into_iter().flatten()) {
        // Most events lead no higher: then it does not matter until when.
        let rank = judge.highest_rank(day)?;
        if rank > held.rank {
            let reached = Rank { rank, end: judge.end_from(rank, day)? };
            offer(judge.by(reached, now)?, TierCause::Upgrade, day);
        }
    }
    Ok(best)
}

/// From when on the upgrade counts that an event at an instant leads to. Not before the points that gave it, nor before there was a
/// rule book that gives this tier for them: sales of those days were, and will be, rated without it.
pub(super) fn upgrade_start(programs: &ProgramHistory, header: &Header, to: &TierId, instant: Timestamp) -> Timestamp {
    let gives = |program: &Program| {
        let judge = Judge { program, header };
        judge.highest_rank(judge.day(instant)).is_ok_and(|rank| judge.tier(rank).is_some_and(|tier| tier.id == *to))
    };
    let in_force = programs.since(instant).find(|(program, _)| gives(program)).map(|(_, start)| start);
    [in_force, header.latest_occurred_time, Some(instant)].into_iter().flatten().max().unwrap_or(instant)
}

/// The lower tier that a return leaves of the one that is held: what was held before it, or what is earned without what has come back. Where the
/// window that the tier was reached in is not kept whole any more, nobody can tell: it is left to the next review.
pub(super) fn fallen(programs: &ProgramHistory, header: &Header, sale: Timestamp, now: Timestamp) -> Result<Option<Rank>, Overflow> {
    let program = programs.newest();
    let judge = Judge { program, header };
    let (held, standing) = (judge.held(), &header.tier);
    let Some(reached) = standing.reached.as_ref().filter(|_| program.tier_policy.review_returns_at_once && !standing.is_on_floor()) else {
        return Ok(None);
    };
    let window = judge.window(reached.day)?;
    let counts = window.as_ref().is_none_or(|window| window.contains(&judge.day(sale)));
    let since = kept_since(programs, judge.day(now))?;
    let is_whole = window.as_ref().zip(since).is_none_or(|(window, since)| window.start >= since);
    if !counts || !is_whole || reached_rank(program, &judge.totals(window.as_ref())?) >= held.rank {
        return Ok(None);
    }
    let before = reached.before.as_ref().map(|before| Rank { rank: judge.rank_of(Some(&before.tier)), end: before.end });
    let before = judge.by(before.unwrap_or(Rank { rank: 0, end: None }), now)?;
    let earned = judge.earned(judge.day(now))?;
    let best = if before.rank >= earned.rank { before } else { earned };
    Ok(Some(judge.not_below_floor(best, now)).filter(|to| to.rank < held.rank))
}

/// When a version of the rule book wants the member reviewed, if one does by now that did not yet.
pub(super) fn next_change(programs: &ProgramHistory, header: &Header, now: Timestamp) -> Option<Timestamp> {
    let changes = &programs.tier_bounds().at_change;
    let mut open = changes.iter().filter(|(version, _)| *version > header.tier.reviewed_version).map(|(_, time)| *time);
    // Who enrols begins under the rule book of then.
    open.find(|time| *time > header.create_time && *time <= now)
}

/// Whether an entry adds something to what tiers look at.
pub(super) fn qualifies(kind: &EntryKind) -> bool {
    match kind {
        EntryKind::PurchaseAccrued(_) | EntryKind::PurchaseReturned(_) => true,
        EntryKind::ActivityAccrued(accrued) => !accrued.qualifying_points.is_zero(),
        EntryKind::ReferralTakenBack(back) => !back.qualifying_points.is_zero(),
        EntryKind::PointsAdjusted(adjusted) => !adjusted.qualifying_points.is_zero(),
        EntryKind::PointsActivated(activated) => activated.lots.iter().any(|lot| lot.qualifying_points != Points::ZERO),
        EntryKind::MemberEnrolled { .. }
        | EntryKind::ProfileUpdated { .. }
        | EntryKind::IdentifierAdded { .. }
        | EntryKind::IdentifierRemoved { .. }
        | EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::MemberErased { .. }
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_)
        | EntryKind::TierKept(_)
        | EntryKind::TierRewarded(_)
        | EntryKind::VoucherChanged(_)
        | EntryKind::BirthdayChanged(_)
        | EntryKind::OfferChanged(_)
        | EntryKind::SegmentsChanged(_)
        | EntryKind::ReferralMade(_)
        | EntryKind::GoalChanged(_)
        | EntryKind::PointsRedeemed(_)
        | EntryKind::RedemptionReversed(_)
        | EntryKind::PointsHeld(_)
        | EntryKind::HoldReleased(_)
        | EntryKind::PointsTransferredOut(_)
        | EntryKind::PointsTransferredIn(_)
        | EntryKind::MergedInto(_)
        | EntryKind::MergedFrom(_) => false,
    }
}

/// When points lapse that a rule gives to a member of a tier: as the rule says, then the tier, then the programme.
pub(super) fn expiry_in_tier(program: &Program, tier: Option<&TierId>, rules: Expiry, is_own: bool) -> Expiry {
    let of_tier = program.tier(tier).and_then(|tier| tier.expiry);
    if is_own { rules } else { of_tier.unwrap_or(rules) }
}

/// From which place in the ranking to which one the newest version moves a member when it takes effect, or else with the next event.
pub fn tier_move(programs: &ProgramHistory, header: &Header) -> Result<Option<(usize, usize)>, Overflow> {
    let newest = programs.newest();
    let (judge, instant) = (Judge { program: newest, header }, newest.takes_effect());
    if newest.tiers.is_empty() || !header.state.is_reviewed() {
        return Ok(None);
    }
    let held = judge.held().rank;
    let is_at_once = programs.tier_bounds().at_change.last().is_some_and(|(version, _)| *version == newest.version);
    let to = match is_at_once {
        true => judge.changed(instant)?.to.rank,
        false => risen(newest, header, instant, instant)?.map_or(held, |risen| risen.to.rank),
    };
    Ok((to != held).then_some((held, to)))
}
