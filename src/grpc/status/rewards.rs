//! The part of the table of rejections that is about rewards.

use tonic::Code;

use super::Row;
use crate::domain::{RewardId, RewardRejection};

pub(super) fn row(rejection: &RewardRejection) -> Row {
    let row = |code, reason, field, metadata| Row { code, reason, field, metadata };
    let refused = |reason, metadata| row(Code::FailedPrecondition, reason, None, metadata);
    let named = |reward: &RewardId| ("reward_id", reward.to_string());
    let asked = |requested: u32| ("requested", requested.to_string());
    match rejection {
        RewardRejection::NotFound { reward } => row(Code::NotFound, "REWARD_NOT_FOUND", None, vec![named(reward)]),
        RewardRejection::NotOffered { reward, start_time, end_time } => {
            let mut metadata = vec![named(reward)];
            metadata.extend(start_time.map(|time| ("start_time", time.to_string())));
            metadata.extend(end_time.map(|time| ("end_time", time.to_string())));
            refused("REWARD_NOT_OFFERED", metadata)
        }
        RewardRejection::Tier { reward, tier } => {
            let mut metadata = vec![named(reward)];
            metadata.extend(tier.as_ref().map(|tier| ("tier_id", tier.to_string())));
            refused("REWARD_TIER", metadata)
        }
        RewardRejection::Segment { reward } => refused("REWARD_SEGMENT", vec![named(reward)]),
        RewardRejection::Quantity { reward, maximum, requested } => {
            let metadata = vec![named(reward), ("maximum", maximum.to_string()), asked(*requested)];
            row(Code::InvalidArgument, "REWARD_QUANTITY", Some("quantity"), metadata)
        }
        RewardRejection::Limit { reward, limit, left, requested, next_time } => {
            let mut metadata = vec![named(reward), ("limit", limit.to_string()), ("left", left.to_string()), asked(*requested)];
            metadata.extend(next_time.map(|time| ("next_time", time.to_string())));
            refused("REWARD_LIMIT", metadata)
        }
        RewardRejection::OutOfStock { reward, left, requested } => {
            refused("REWARD_OUT_OF_STOCK", vec![named(reward), ("left", left.to_string()), asked(*requested)])
        }
    }
}
