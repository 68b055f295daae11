//! The offers of a rule book.

use std::collections::HashSet;

use super::{Mistakes, Scope, birthday::Known, keep, promotion, reward, rule, v1};
use crate::domain::{MAX_OFFERS, Offer, OfferAudience, OfferGift, OfferId, Promotion, PromotionGroup, RuleId, TimesLimit};

const MAX_USES: i32 = 1_000_000;
const MAX_DAYS: i32 = 3_650;

/// What of them is without mistakes.
type All = (Option<Vec<Promotion>>, Option<Vec<PromotionGroup>>, Option<Vec<Offer>>);

/// Promotions and their groups, and the offers that give some of them.
pub(super) fn all<'a>(
    document: &'a v1::Program,
    known: &Known<'_>,
    scope: &Scope,
    ids: &mut HashSet<&'a str>,
    mistakes: &mut Mistakes,
) -> All {
    let (mut promotions, groups) = promotion::all(document, known, scope, ids, mistakes);
    let offers = offers(&document.offers, known, &mut promotions, mistakes);
    (promotions, groups, offers)
}

/// Each offer with a promotion is noted with that one, and gives it its limit. `promotions`: those that offers may name, if they are known.
fn offers(
    documents: &[v1::Offer],
    known: &Known<'_>,
    promotions: &mut Option<Vec<Promotion>>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Offer>> {
    if documents.len() > MAX_OFFERS {
        mistakes.note("offers", format_args!("has {} offers; at most {MAX_OFFERS} are allowed", documents.len()));
    }
    let mut ids = HashSet::new();
    let mut offers = Some(Vec::new());
    for (index, document) in documents.iter().take(MAX_OFFERS).enumerate() {
        let path = format!("offers[{index}]");
        let offer = offer(&path, document, known, mistakes);
        if OfferId::new(&document.offer_id).is_ok() && !ids.insert(&document.offer_id) {
            mistakes.note(format!("{path}.offer_id"), "is the id of an earlier offer too");
        }
        if let Some(promotions) = promotions.as_mut() {
            gate(&path, document, index, promotions, mistakes);
        }
        keep(&mut offers, offer);
    }
    offers
}

fn offer(path: &str, document: &v1::Offer, known: &Known<'_>, mistakes: &mut Mistakes) -> Option<Offer> {
    let before = mistakes.count();
    let id = mistakes.take(format!("{path}.offer_id"), OfferId::new(&document.offer_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 1, 120);
    let description = mistakes.text(format!("{path}.description"), &document.description, 0, 500);
    let times = reward::times(path, (document.start_time.as_ref(), document.end_time.as_ref()), mistakes);
    let audience = audience(path, document, known, mistakes);
    let limit = document.member_limit.as_ref().map(|limit| self::limit(&format!("{path}.member_limit"), limit, mistakes));
    let valid_days = document.valid_days.map(|days| mistakes.number(format!("{path}.valid_days"), days, 0..=MAX_DAYS));
    let gift = gift(path, document, known, mistakes);
    check_together(path, document, mistakes);
    let (start_time, end_time) = times?;
    Some(Offer {
        id: id?,
        display_name: display_name?,
        description: description?,
        start_time,
        end_time,
        audience: audience?,
        requires_activation: document.requires_activation,
        limit: match limit {
            None => None,
            Some(limit) => Some(limit?),
        },
        valid_days: match valid_days {
            None => None,
            Some(days) => Some(days?),
        },
        gift: gift?,
    })
    .filter(|_| mistakes.count() == before)
}

fn audience(path: &str, document: &v1::Offer, known: &Known<'_>, mistakes: &mut Mistakes) -> Option<OfferAudience> {
    let tiers = reward::tiers(path, &document.tier_ids, known, mistakes);
    let segments = reward::segments(path, &document.segment_ids, known, mistakes);
    let new_days = match document.new_member_days {
        0 => Some(None),
        days => mistakes.number(format!("{path}.new_member_days"), days, 1..=MAX_DAYS).map(Some),
    };
    if !document.personal {
        return Some(OfferAudience::Members { tiers: tiers?, segments: segments?, new_days: new_days? });
    }
    for (name, is_named) in [
        ("tier_ids", !document.tier_ids.is_empty()),
        ("segment_ids", !document.segment_ids.is_empty()),
        ("new_member_days", document.new_member_days != 0),
    ] {
        if is_named {
            mistakes.note(format!("{path}.{name}"), "is given, but a personal offer is for those to whom it is given by AssignOffer");
        }
    }
    Some(OfferAudience::Personal)
}

fn limit(path: &str, document: &v1::OfferLimit, mistakes: &mut Mistakes) -> Option<TimesLimit> {
    let times = mistakes.number(format!("{path}.uses"), document.uses, 1..=MAX_USES);
    let period = rule::period(&format!("{path}.period"), document.period, mistakes);
    Some(TimesLimit { times: times?, period: period? })
}

fn gift(path: &str, document: &v1::Offer, known: &Known<'_>, mistakes: &mut Mistakes) -> Option<OfferGift> {
    use v1::offer::Gift;
    match document.gift.as_ref() {
        None => {
            mistakes.note(path, "needs promotion_id or voucher: what the offer gives");
            None
        }
        Some(Gift::PromotionId(promotion)) => {
            mistakes.take(format!("{path}.promotion_id"), RuleId::new(promotion)).map(OfferGift::Promotion)
        }
        Some(Gift::Voucher(voucher)) => {
            let path = format!("{path}.voucher");
            let (id, kind) = reward::kind(&path, &voucher.voucher_kind_id, known, mistakes)?;
            let validity = reward::own_validity(&path, (voucher.valid_days, voucher.valid_months), kind, mistakes)?;
            Some(OfferGift::Voucher { kind: id, validity })
        }
    }
}

/// What does not go with something else.
fn check_together(path: &str, document: &v1::Offer, mistakes: &mut Mistakes) {
    let is_voucher = matches!(document.gift, Some(v1::offer::Gift::Voucher(_)));
    if is_voucher && document.requires_activation {
        mistakes.note(format!("{path}.requires_activation"), "is for promotions: a voucher is always asked for, by ActivateOffer");
    }
    if document.valid_days.is_some() && !document.requires_activation && !document.personal {
        let message = "counts from when the offer is activated or given to a member, and this one is neither";
        mistakes.note(format!("{path}.valid_days"), message);
    }
}

/// The promotion works for who has the offer alone, and as often as the offer may be used.
fn gate(path: &str, document: &v1::Offer, place: usize, promotions: &mut [Promotion], mistakes: &mut Mistakes) {
    let Some(v1::offer::Gift::PromotionId(id)) = &document.gift else { return };
    let place_of_id = format!("{path}.promotion_id");
    let Some((number, promotion)) = promotions.iter_mut().enumerate().find(|(_, promotion)| promotion.id.as_str() == id) else {
        if RuleId::new(id).is_ok() {
            mistakes.note(place_of_id, "is not a promotion of the programme");
        }
        return;
    };
    if promotion.offer.replace(place).is_some() {
        mistakes.note(place_of_id, "is the promotion of an earlier offer too");
        return;
    }
    // It says so itself: else it would be for everybody as soon as the offer is taken out.
    if !promotion.only_with_offer {
        let message = "has this promotion, which then gives to those alone who have an offer";
        mistakes.note(format!("promotions[{number}].only_with_offer"), format_args!("must be true: {path} {message}"));
        return;
    }
    // Mistakes of it have been noted with the offer.
    let Some(limit) = &document.member_limit else { return };
    promotion.limits.times = self::limit(path, limit, &mut Mistakes::default());
}
