//! The part of the table of rejections that is about offers.

use jiff::Timestamp;
use tonic::Code;

use super::Row;
use crate::domain::{OfferId, OfferRejection};

pub(super) fn row(rejection: &OfferRejection) -> Row {
    let row = |code, reason, field, metadata| Row { code, reason, field, metadata };
    let refused = |reason, metadata| row(Code::FailedPrecondition, reason, None, metadata);
    let named = |offer: &OfferId| ("offer_id", offer.to_string());
    let with = |offer: &OfferId, more: Vec<(&'static str, Option<String>)>| {
        let more = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
        std::iter::once(named(offer)).chain(more).collect::<Vec<_>>()
    };
    let time = |time: &Option<Timestamp>| time.as_ref().map(Timestamp::to_string);
    match rejection {
        OfferRejection::NotFound { offer } => row(Code::NotFound, "OFFER_NOT_FOUND", None, vec![named(offer)]),
        OfferRejection::NotOffered { offer, start_time, end_time } => {
            refused("OFFER_NOT_OFFERED", with(offer, vec![("start_time", time(start_time)), ("end_time", time(end_time))]))
        }
        OfferRejection::NotPersonal { offer } => refused("OFFER_NOT_PERSONAL", vec![named(offer)]),
        OfferRejection::EndPast { offer, end_time } => {
            let metadata = with(offer, vec![("end_time", Some(end_time.to_string()))]);
            row(Code::InvalidArgument, "OFFER_END_PAST", Some("end_time"), metadata)
        }
        OfferRejection::NotAssigned { offer } => refused("OFFER_NOT_ASSIGNED", vec![named(offer)]),
        OfferRejection::Tier { offer, tier } => {
            refused("OFFER_TIER", with(offer, vec![("tier_id", tier.as_ref().map(ToString::to_string))]))
        }
        OfferRejection::Segment { offer } => refused("OFFER_SEGMENT", vec![named(offer)]),
        OfferRejection::NotNew { offer, end_time } => refused("OFFER_NOT_NEW", with(offer, vec![("end_time", Some(end_time.to_string()))])),
        OfferRejection::NoActivation { offer } => refused("OFFER_NO_ACTIVATION", vec![named(offer)]),
        OfferRejection::Active { offer, end_time } => refused("OFFER_ACTIVE", with(offer, vec![("end_time", time(end_time))])),
        OfferRejection::Ended { offer } => refused("OFFER_ENDED", vec![named(offer)]),
        OfferRejection::Limit { offer, limit, next_time } => {
            refused("OFFER_LIMIT", with(offer, vec![("limit", Some(limit.to_string())), ("next_time", time(next_time))]))
        }
    }
}
