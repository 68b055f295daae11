//! The tiers of two members who become one.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::{
    super::{Program, TierId},
    LostTier, MAX_EARLIER_RESETS, MAX_LOST_TIERS, RewardGiven, TierFloor, TierSince, TierStanding,
};

/// With the history that both have together: the higher tier until its end, of the same tier until the later end.
pub(in crate::domain) fn join(program: &Program, own: &TierStanding, other: &TierStanding, history: Vec<TierSince>) -> TierStanding {
    let rank = |tier: Option<&TierId>| program.rank(tier);
    let held = |standing: &TierStanding| rank(standing.current().map(|held| &held.tier));
    let is_others = match held(own).cmp(&held(other)) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => match (own.next_review_time(), other.next_review_time()) {
            (Some(own), Some(other)) => other > own,
            (Some(_), None) => true,
            (None, _) => false,
        },
        std::cmp::Ordering::Greater => false,
    };
    let higher = if is_others { other } else { own };
    let manual = match held(own).cmp(&held(other)) {
        std::cmp::Ordering::Less => other.manual,
        std::cmp::Ordering::Equal => own.manual || other.manual,
        std::cmp::Ordering::Greater => own.manual,
    };
    let floor = match (floor(own), floor(other)) {
        (Some(one), Some(two)) => {
            let (one_rank, two_rank) = (rank(Some(&one.tier)), rank(Some(&two.tier)));
            let is_later = match (one.end_time, two.end_time) {
                (Some(one), Some(two)) => two > one,
                (Some(_), None) => true,
                (None, _) => false,
            };
            Some(if two_rank > one_rank || (two_rank == one_rank && is_later) { two } else { one })
        }
        (one, two) => one.or(two),
    };
    // A status without end is not one that ends with what was set by hand.
    let is_needless = |floor: &TierFloor| higher.end.is_none() && !higher.is_on_floor() && rank(Some(&floor.tier)) == held(higher);
    let (floor, manual) = if floor.as_ref().is_some_and(is_needless) { (None, false) } else { (floor, manual) };
    let resets: BTreeSet<Date> = [own, other].into_iter().flat_map(|one| one.earlier_resets.iter().copied().chain(one.reset_day)).collect();
    TierStanding {
        history,
        manual,
        end: higher.end,
        floor,
        reached: higher.reached.clone(),
        lost: join_lost(own, other),
        reset_day: resets.last().copied(),
        earlier_resets: resets.iter().rev().skip(1).take(MAX_EARLIER_RESETS).rev().copied().collect(),
        rewards: join_rewards(own, other),
        reviewed_version: own.reviewed_version.max(other.reviewed_version),
    }
}

/// What was set by hand before floors were kept is one without end.
fn floor(standing: &TierStanding) -> Option<TierFloor> {
    let by_hand = || standing.current().filter(|_| standing.manual).map(|held| TierFloor { tier: held.tier.clone(), end_time: None });
    standing.floor.clone().or_else(by_hand)
}

fn join_lost(own: &TierStanding, other: &TierStanding) -> Vec<LostTier> {
    let mut lost: Vec<LostTier> = own.lost.iter().chain(&other.lost).cloned().collect();
    lost.sort_by_key(|lost| lost.end.review_time);
    let surplus = lost.len().saturating_sub(MAX_LOST_TIERS);
    lost.drain(..surplus);
    lost
}

/// What one of both was given, both were.
fn join_rewards(own: &TierStanding, other: &TierStanding) -> Vec<RewardGiven> {
    let mut rewards = own.rewards.clone();
    for given in &other.rewards {
        match rewards.iter_mut().find(|own| own.tier == given.tier) {
            Some(own) => own.until = own.until.zip(given.until).map(|(own, other)| own.max(other)),
            None => rewards.push(given.clone()),
        }
    }
    rewards
}
