//! Offers, as they are shown.

use super::{
    reward::{period, small},
    time::timestamp,
};
use crate::{
    contract::v1::{
        self,
        listed_offer::{Reason, State},
        offer::{Gift, OfferVoucher},
    },
    domain::{
        Offer, OfferAudience, OfferChange, OfferChanged, OfferGift, OfferObstacle, OfferRejection, OfferStanding, OfferState, TierId,
        VoucherValidity,
    },
};

/// As the rule book has it.
fn offer(offer: &Offer) -> v1::Offer {
    let gift = match &offer.gift {
        OfferGift::Promotion(promotion) => Gift::PromotionId(promotion.to_string()),
        OfferGift::Voucher { kind, validity } => {
            let (valid_days, valid_months) = match validity {
                None => (None, 0),
                Some(VoucherValidity::Days(days)) => (Some(small(*days)), 0),
                Some(VoucherValidity::Months(months)) => (None, small(*months)),
            };
            Gift::Voucher(OfferVoucher { voucher_kind_id: kind.to_string(), valid_days, valid_months })
        }
    };
    let shown = v1::Offer {
        offer_id: offer.id.to_string(),
        display_name: offer.display_name.clone(),
        description: offer.description.clone(),
        start_time: offer.start_time.map(timestamp),
        end_time: offer.end_time.map(timestamp),
        requires_activation: offer.requires_activation,
        member_limit: offer.limit.map(|limit| v1::OfferLimit { uses: small(limit.times), period: period(limit.period).into() }),
        valid_days: offer.valid_days.map(small),
        gift: Some(gift),
        ..Default::default()
    };
    match &offer.audience {
        OfferAudience::Personal => v1::Offer { personal: true, ..shown },
        OfferAudience::Members { tiers, segments, new_days } => v1::Offer {
            tier_ids: tiers.iter().map(TierId::to_string).collect(),
            segment_ids: segments.iter().map(ToString::to_string).collect(),
            new_member_days: new_days.map_or(0, small),
            ..shown
        },
    }
}

pub fn listed_offer(one: &Offer, standing: &OfferStanding) -> v1::ListedOffer {
    let state = match standing.state {
        OfferState::Available => State::Available,
        OfferState::NeedsActivation => State::NeedsActivation,
        OfferState::Active => State::Active,
        OfferState::UsedUp => State::UsedUp,
        OfferState::Ended => State::Ended,
        OfferState::Unavailable => State::Unavailable,
    };
    let next = standing
        .why_not
        .iter()
        .find_map(|why| if let OfferObstacle::Refused(OfferRejection::Limit { next_time, .. }) = why { *next_time } else { None });
    v1::ListedOffer {
        offer: Some(offer(one)),
        state: state.into(),
        reasons: standing.why_not.iter().map(|why| reason(why).into()).collect(),
        end_time: standing.until.map(timestamp),
        uses: small(standing.uses),
        uses_left: standing.uses_left.map(small),
        next_time: next.map(timestamp),
    }
}

fn reason(why: &OfferObstacle) -> Reason {
    match why {
        OfferObstacle::MemberSuspended => Reason::MemberSuspended,
        OfferObstacle::MemberErased => Reason::MemberErased,
        OfferObstacle::Refused(OfferRejection::NotOffered { end_time: Some(_), .. }) => Reason::NoLongerOffered,
        OfferObstacle::Refused(OfferRejection::NotOffered { end_time: None, .. }) => Reason::NotYetOffered,
        OfferObstacle::Refused(OfferRejection::NotAssigned { .. }) => Reason::NotAssigned,
        OfferObstacle::Refused(OfferRejection::Tier { .. }) => Reason::Tier,
        OfferObstacle::Refused(OfferRejection::Segment { .. }) => Reason::Segment,
        OfferObstacle::Refused(OfferRejection::NotNew { .. }) => Reason::NotNew,
        OfferObstacle::Refused(OfferRejection::Ended { .. }) => Reason::Ended,
        OfferObstacle::Refused(OfferRejection::Limit { .. }) => Reason::MemberLimit,
        OfferObstacle::TooManyVouchers => Reason::TooManyVouchers,
        // Of an offer that there is, for the member that stays; and what commands alone are refused with.
        OfferObstacle::MemberMerged
        | OfferObstacle::Refused(
            OfferRejection::NotFound { .. }
            | OfferRejection::NotPersonal { .. }
            | OfferRejection::EndPast { .. }
            | OfferRejection::NoActivation { .. }
            | OfferRejection::Active { .. },
        ) => Reason::Unspecified,
    }
}

pub fn offer_change_kind(changed: &OfferChanged) -> v1::EntryKind {
    match &changed.change {
        OfferChange::Assigned { .. } => v1::EntryKind::OfferAssigned,
        OfferChange::Activated => v1::EntryKind::OfferActivated,
        OfferChange::Withdrawn { .. } => v1::EntryKind::OfferWithdrawn,
    }
}

pub fn offer_changed(changed: &OfferChanged) -> v1::entry::Kind {
    use v1::entry::Kind;
    let (offer_id, held) = (changed.offer.to_string(), &changed.held);
    match &changed.change {
        OfferChange::Assigned { reason } => Kind::OfferAssigned(v1::OfferAssigned {
            offer_id,
            reason: reason.clone(),
            start_time: held.assigned.last().map(|time| timestamp(time.from)),
            end_time: held.assigned.last().and_then(|time| time.until).map(timestamp),
        }),
        OfferChange::Activated => {
            Kind::OfferActivated(v1::OfferActivated { offer_id, end_time: held.activated_now().and_then(|time| time.until).map(timestamp) })
        }
        OfferChange::Withdrawn { reason } => Kind::OfferWithdrawn(v1::OfferWithdrawn { offer_id, reason: reason.clone() }),
    }
}
