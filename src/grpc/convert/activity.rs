//! Activities.

use super::{
    Mistakes, Path,
    entry::limit,
    member::{count, recipient},
    referral::referral_earned,
    required_text,
    returned::accrued_lot,
    time::{parse_timestamp, timestamp},
};
use crate::{
    contract::v1,
    domain::{ActivityAccrued, ActivityAward, ActivityId, ActivityRequest, ActivitySide},
};

/// What a member did.
pub fn activity(request: v1::RecordActivityRequest, mistakes: &mut Mistakes) -> Option<ActivityRequest> {
    let activity = mistakes.take(Path::Root.field("activity"), ActivityId::new(&request.activity));
    let reference = required_text(Path::Root.field("reference"), request.reference, 120, mistakes);
    let referrer = match &request.referrer {
        None => Some(None),
        referrer => recipient(Path::Root.field("referrer"), referrer.as_ref(), mistakes).map(Some),
    };
    let occurred_time = match &request.occurred_time {
        None => Some(None),
        Some(instant) => parse_timestamp(Path::Root.field("occurred_time"), instant, mistakes).map(Some),
    };
    Some(ActivityRequest { activity: activity?, reference: reference?, referrer: referrer?, occurred_time: occurred_time? })
}

pub fn activity_accrued(accrued: &ActivityAccrued) -> v1::ActivityAccrued {
    let (referrer_member_id, referred_member_id, referred_sequence) = match accrued.side {
        ActivitySide::Member { referrer } => (referrer.map_or_else(String::new, |member| member.to_string()), String::new(), 0),
        ActivitySide::Referrer { member, sequence } => (String::new(), member.to_string(), count(sequence)),
    };
    v1::ActivityAccrued {
        activity: accrued.activity.to_string(),
        reference: accrued.reference.clone(),
        referrer_member_id,
        referred_member_id,
        referred_sequence,
        points: accrued.points.0,
        qualifying_points: accrued.qualifying_points.0,
        awards: accrued.awards.iter().map(award).collect(),
        lots: accrued.lots.iter().map(accrued_lot).collect(),
        referral: accrued.referral.as_deref().map(referral_earned),
    }
}

fn award(award: &ActivityAward) -> v1::ActivityAward {
    v1::ActivityAward {
        rule_id: award.rule.to_string(),
        display_name: award.display_name.clone(),
        uncapped_points: award.uncapped_points.0,
        limit: limit(award.limit).into(),
        points: award.points.0,
        qualifying_points: award.qualifying_points.0,
        expire_time: award.expiry.time().map(timestamp),
        lapses_with_inactivity: award.expiry.is_with_inactivity(),
        lot_id: award.lot.map_or_else(String::new, |lot| lot.to_string()),
    }
}
