//! The rewards of a rule book.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::{Mistakes, Scope, birthday::Known, instant, rule, v1, voucher};
use crate::domain::{
    MAX_REWARD_QUANTITY, MAX_SEGMENTS, Points, Reward, RewardId, RewardLimit, SegmentId, TierId, VoucherKind, VoucherKindId,
    VoucherValidity,
};

const MAX_REWARDS: usize = 500;
const MAX_REDEMPTIONS: i32 = 1_000_000;

pub(super) fn rewards(
    documents: &[v1::Reward],
    known: &Known<'_>,
    scope: &Scope,
    mistakes: &mut Mistakes,
) -> Option<BTreeMap<RewardId, Reward>> {
    if documents.len() > MAX_REWARDS {
        mistakes.note("rewards", format_args!("has {} rewards; at most {MAX_REWARDS} are allowed", documents.len()));
    }
    let (mut ids, mut rewards) = (HashSet::new(), Some(BTreeMap::new()));
    for (index, document) in documents.iter().take(MAX_REWARDS).enumerate() {
        let path = format!("rewards[{index}]");
        let reward = reward(&path, document, known, scope, mistakes);
        if RewardId::new(&document.reward_id).is_ok() && !ids.insert(&document.reward_id) {
            mistakes.note(format!("{path}.reward_id"), "is the id of an earlier reward too");
        }
        match (rewards.as_mut(), reward) {
            (Some(rewards), Some(reward)) => drop(rewards.insert(reward.id.clone(), reward)),
            (Some(_), None) => rewards = None,
            (None, _) => {}
        }
    }
    rewards
}

fn reward(path: &str, document: &v1::Reward, known: &Known<'_>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Reward> {
    let id = mistakes.take(format!("{path}.reward_id"), RewardId::new(&document.reward_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 1, 120);
    let description = mistakes.text(format!("{path}.description"), &document.description, 0, 500);
    let kind = kind(path, &document.voucher_kind_id, known, mistakes);
    let points = mistakes.required_points(format!("{path}.points"), &document.points, scope.precision);
    let tier_points = tier_points(path, &document.tier_costs, known, scope, mistakes);
    let tiers = tiers(path, &document.tier_ids, known, mistakes);
    let segments = segments(path, &document.segment_ids, known, mistakes);
    let (start_time, end_time) = times(path, (document.start_time.as_ref(), document.end_time.as_ref()), mistakes)?;
    let stock = document.stock.map(u64::try_from).transpose();
    if stock.is_err() {
        mistakes.note(format!("{path}.stock"), "is negative; leave it out for no bound");
    }
    let limit = document.member_limit.as_ref().map(|limit| self::limit(&format!("{path}.member_limit"), limit, mistakes));
    let validity = own_validity(path, (document.valid_days, document.valid_months), kind.as_ref().and_then(|(_, kind)| *kind), mistakes);
    let most = i32::try_from(MAX_REWARD_QUANTITY).unwrap_or(i32::MAX);
    let maximum_quantity = match document.maximum_quantity {
        0 => Some(1),
        maximum => mistakes.number(format!("{path}.maximum_quantity"), maximum, 1..=most),
    };
    Some(Reward {
        id: id?,
        display_name: display_name?,
        description: description?,
        voucher: kind?.0,
        validity: validity?,
        points: points?,
        tier_points: tier_points?,
        tiers: tiers?,
        segments: segments?,
        start_time,
        end_time,
        stock: stock.ok()?,
        limit: match limit {
            None => None,
            Some(limit) => Some(limit?),
        },
        maximum_quantity: maximum_quantity?,
    })
}

/// With the kind that is meant, if it is known.
pub(super) fn kind<'a>(
    path: &str,
    text: &str,
    known: &Known<'a>,
    mistakes: &mut Mistakes,
) -> Option<(VoucherKindId, Option<&'a VoucherKind>)> {
    let place = format!("{path}.voucher_kind_id");
    let id = mistakes.take(&place, VoucherKindId::new(text))?;
    let kind = known.kinds.and_then(|kinds| kinds.iter().find(|kind| kind.id == id));
    if known.kinds.is_some() && kind.is_none() {
        mistakes.note(place, "is not a kind of vouchers of the programme");
    }
    Some((id, kind))
}

fn tier(place: String, text: &str, known: &Known<'_>, mistakes: &mut Mistakes) -> Option<TierId> {
    let tier = mistakes.take(&place, TierId::new(text))?;
    if known.tiers.is_some_and(|tiers| !tiers.iter().any(|known| known.id == tier)) {
        mistakes.note(place, "is not a tier of the programme");
    }
    Some(tier)
}

pub(super) fn tiers(path: &str, texts: &[String], known: &Known<'_>, mistakes: &mut Mistakes) -> Option<BTreeSet<TierId>> {
    let mut tiers = Some(BTreeSet::new());
    for (index, text) in texts.iter().take(super::MAX_TIERS).enumerate() {
        let place = format!("{path}.tier_ids[{index}]");
        match (tiers.as_mut(), tier(place.clone(), text, known, mistakes)) {
            (Some(all), Some(tier)) => {
                if !all.insert(tier) {
                    mistakes.note(place, "is named before too");
                }
            }
            (Some(_), None) => tiers = None,
            (None, _) => {}
        }
    }
    if texts.len() > super::MAX_TIERS {
        mistakes.note(format!("{path}.tier_ids"), format_args!("has {} tiers; a programme has at most {}", texts.len(), super::MAX_TIERS));
    }
    tiers
}

pub(super) fn segments(path: &str, texts: &[String], known: &Known<'_>, mistakes: &mut Mistakes) -> Option<BTreeSet<SegmentId>> {
    let before = mistakes.count();
    let mut segments = BTreeSet::new();
    for (index, text) in texts.iter().take(MAX_SEGMENTS).enumerate() {
        let place = format!("{path}.segment_ids[{index}]");
        let Some(segment) = mistakes.take(&place, SegmentId::new(text)) else { continue };
        if known.segments.is_some_and(|segments| !segments.iter().any(|known| known.id == segment)) {
            mistakes.note(place, "is not a segment of the programme");
        } else if !segments.insert(segment) {
            mistakes.note(place, "is named before too");
        }
    }
    if texts.len() > MAX_SEGMENTS {
        mistakes.note(format!("{path}.segment_ids"), format_args!("has {}; a programme has at most {MAX_SEGMENTS} segments", texts.len()));
    }
    (mistakes.count() == before).then_some(segments)
}

fn tier_points(
    path: &str,
    costs: &[v1::RewardTierCost],
    known: &Known<'_>,
    scope: &Scope,
    mistakes: &mut Mistakes,
) -> Option<BTreeMap<TierId, Points>> {
    let mut all = Some(BTreeMap::new());
    for (index, cost) in costs.iter().take(super::MAX_TIERS).enumerate() {
        let path = format!("{path}.tier_costs[{index}]");
        let tier = tier(format!("{path}.tier_id"), &cost.tier_id, known, mistakes);
        if cost.points.is_empty() {
            mistakes.note(format!("{path}.points"), "is required; 0 for nothing");
        }
        let points = mistakes.points(format!("{path}.points"), &cost.points, scope.precision);
        match (all.as_mut(), tier.zip(points)) {
            (Some(all), Some((tier, points))) => {
                if all.insert(tier, points).is_some() {
                    mistakes.note(format!("{path}.tier_id"), "is named before too");
                }
            }
            (Some(_), None) => all = None,
            (None, _) => {}
        }
    }
    if costs.len() > super::MAX_TIERS {
        mistakes.note(
            format!("{path}.tier_costs"),
            format_args!("has {} costs; a programme has at most {} tiers", costs.len(), super::MAX_TIERS),
        );
    }
    all
}

/// From when on, and until when.
pub(super) fn times(
    path: &str,
    (start, end): (Option<&prost_types::Timestamp>, Option<&prost_types::Timestamp>),
    mistakes: &mut Mistakes,
) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
    let start = instant(&format!("{path}.start_time"), start, mistakes);
    let end = instant(&format!("{path}.end_time"), end, mistakes);
    if let (Some(Some(start)), Some(Some(end))) = (start, end)
        && end <= start
    {
        mistakes.note(format!("{path}.end_time"), "is not after start_time: it could never be had");
    }
    start.zip(end)
}

fn limit(path: &str, document: &v1::RewardLimit, mistakes: &mut Mistakes) -> Option<RewardLimit> {
    let redemptions = mistakes.number(format!("{path}.redemptions"), document.redemptions, 1..=MAX_REDEMPTIONS);
    let period = rule::period(&format!("{path}.period"), document.period, mistakes);
    Some(RewardLimit { redemptions: redemptions?, period: period? })
}

/// The outer `None`: a mistake was noted.
pub(super) fn own_validity(
    path: &str,
    (days, months): (Option<i32>, i32),
    kind: Option<&VoucherKind>,
    mistakes: &mut Mistakes,
) -> Option<Option<VoucherValidity>> {
    if days.is_none() && months == 0 {
        return Some(None);
    }
    let validity = voucher::validity(path, (days, months), mistakes)?;
    if let Some(kind) = kind
        && kind.after_days > voucher::fewest_days(validity)
    {
        let name = if days.is_some() { "valid_days" } else { "valid_months" };
        let message = format_args!("ends before its voucher is valid, which is {} days after it is issued", kind.after_days);
        mistakes.note(format!("{path}.{name}"), message);
        return None;
    }
    Some(Some(validity))
}
