//! Rewards, as they are shown.

use super::{
    amount::points_text,
    entry::allocations,
    member::{MAX_SHOWN, count},
    time::timestamp,
};
use crate::{
    contract::v1::{self, listed_reward::Reason},
    domain::{
        Allocation, Header, Period, Points, Program, Reward, RewardFreed, RewardObstacle, RewardPaid, RewardRejection, RewardStanding,
        VoucherValidity,
    },
};

/// As the rule book has it.
fn reward(reward: &Reward, program: &Program) -> v1::Reward {
    let tier_costs = reward.tier_points.iter();
    let tier_costs =
        tier_costs.map(|(tier, points)| v1::RewardTierCost { tier_id: tier.to_string(), points: points_text(*points, program) });
    let (valid_days, valid_months) = match reward.validity {
        None => (None, 0),
        Some(VoucherValidity::Days(days)) => (Some(small(days)), 0),
        Some(VoucherValidity::Months(months)) => (None, small(months)),
    };
    v1::Reward {
        reward_id: reward.id.to_string(),
        display_name: reward.display_name.clone(),
        description: reward.description.clone(),
        voucher_kind_id: reward.voucher.to_string(),
        points: points_text(reward.points, program),
        tier_costs: tier_costs.collect(),
        tier_ids: reward.tiers.iter().map(ToString::to_string).collect(),
        segment_ids: reward.segments.iter().map(ToString::to_string).collect(),
        start_time: reward.start_time.map(timestamp),
        end_time: reward.end_time.map(timestamp),
        stock: reward.stock.map(count),
        member_limit: reward
            .limit
            .map(|limit| v1::RewardLimit { redemptions: small(limit.redemptions), period: period(limit.period).into() }),
        valid_days,
        valid_months,
        maximum_quantity: small(reward.maximum_quantity),
    }
}

/// What is bounded in a rule book fits into the wire's type.
pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn period(period: Period) -> v1::Period {
    match period {
        Period::Day => v1::Period::Day,
        Period::Week => v1::Period::Week,
        Period::Month => v1::Period::Month,
        Period::Quarter => v1::Period::Quarter,
        Period::Year => v1::Period::Year,
        Period::Lifetime => v1::Period::Lifetime,
    }
}

pub fn listed_reward(one: &Reward, standing: &RewardStanding, program: &Program) -> v1::ListedReward {
    let next = standing
        .why_not
        .iter()
        .find_map(|why| if let RewardObstacle::Refused(RewardRejection::Limit { next_time, .. }) = why { *next_time } else { None });
    v1::ListedReward {
        reward: Some(reward(one, program)),
        points: standing.points.0,
        in_reach: standing.why_not.is_empty(),
        reasons: standing.why_not.iter().map(|why| reason(why).into()).collect(),
        missing_points: standing.missing.0,
        stock_left: standing.stock_left.map(count),
        member_left: standing.member_left.map(small),
        next_time: next.map(timestamp),
        redeemed: small(standing.redeemed),
    }
}

fn reason(why: &RewardObstacle) -> Reason {
    match why {
        RewardObstacle::MemberSuspended => Reason::MemberSuspended,
        RewardObstacle::MemberErased => Reason::MemberErased,
        RewardObstacle::Refused(RewardRejection::NotOffered { end_time: Some(_), .. }) => Reason::NoLongerOffered,
        RewardObstacle::Refused(RewardRejection::NotOffered { end_time: None, .. }) => Reason::NotYetOffered,
        RewardObstacle::Refused(RewardRejection::Tier { .. }) => Reason::Tier,
        RewardObstacle::Refused(RewardRejection::Segment { .. }) => Reason::Segment,
        RewardObstacle::Refused(RewardRejection::Limit { .. }) => Reason::MemberLimit,
        RewardObstacle::Refused(RewardRejection::OutOfStock { .. }) => Reason::OutOfStock,
        RewardObstacle::TooManyVouchers => Reason::TooManyVouchers,
        RewardObstacle::InDebt { .. } => Reason::InDebt,
        RewardObstacle::InsufficientPoints { .. } => Reason::InsufficientPoints,
        RewardObstacle::TooManyLots { .. } => Reason::TooManyLots,
        // One of a reward that there is, is asked for, for the member that stays.
        RewardObstacle::MemberMerged | RewardObstacle::Refused(RewardRejection::NotFound { .. } | RewardRejection::Quantity { .. }) => {
            Reason::Unspecified
        }
    }
}

/// The reward for which points alone are missing, and the fewest.
pub fn next_reward<'a>(listed: impl Iterator<Item = (&'a Reward, &'a RewardStanding)>) -> Option<(&'a Reward, Points)> {
    let short = listed.filter(|(_, standing)| matches!(standing.why_not.as_slice(), [RewardObstacle::InsufficientPoints { .. }]));
    short.map(|(reward, standing)| (reward, standing.missing)).min_by_key(|(_, missing)| *missing)
}

/// What a member has had of each.
pub fn redeemed_rewards(header: &Header) -> Vec<v1::RedeemedReward> {
    let shown = header.rewards.iter().take(MAX_SHOWN);
    shown.map(|(reward, tally)| v1::RedeemedReward { reward_id: reward.to_string(), redeemed: small(tally.redeemed()) }).collect()
}

/// The points that a reward cost.
pub fn with_reward_paid(issued: v1::VoucherIssued, paid: Option<&RewardPaid>) -> v1::VoucherIssued {
    let Some(paid) = paid else { return issued };
    let taken: Vec<Allocation> = paid.portions.iter().map(Allocation::from).collect();
    v1::VoucherIssued { reward_id: paid.reward.to_string(), points: paid.points.0, allocations: allocations(&taken), ..issued }
}

pub fn with_reward_freed(cancelled: v1::VoucherCancelled, freed: Option<&RewardFreed>) -> v1::VoucherCancelled {
    let Some(freed) = freed else { return cancelled };
    v1::VoucherCancelled { reward_id: freed.reward.to_string(), ..cancelled }
}
