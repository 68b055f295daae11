//! Tiers of a rule book.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{Mistakes, Scope, amount, policy, reward, rule, v1};
use crate::domain::{
    EntryReward, Expiry, Points, PriceDays, Tier, TierBenefits, TierId, TierThreshold, VoucherKind, VoucherKindId, parse_decimal,
};

const MAX_MULTIPLIER: Decimal = Decimal::ONE_THOUSAND;

/// The bounds of the tiers below, each kind for itself.
#[derive(Default)]
pub(super) struct Bounds {
    qualifying_points: Option<Points>,
    spend: Option<Decimal>,
    visits: Option<u64>,
}

pub(super) fn tier(
    path: &str,
    document: &v1::Tier,
    is_lowest: bool,
    (scope, kinds): (&Scope, Option<&[VoucherKind]>),
    below: &mut Bounds,
    mistakes: &mut Mistakes,
) -> Option<Tier> {
    let id = mistakes.take(format!("{path}.tier_id"), TierId::new(&document.tier_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let multiplier = multiplier(&format!("{path}.multiplier"), &document.multiplier, mistakes);
    let threshold_path = format!("{path}.threshold");
    let threshold = match (&document.threshold, is_lowest) {
        (None, true) => Some(None),
        (Some(_), true) => {
            mistakes.note(threshold_path, "is not possible for the first tier: every member begins there");
            None
        }
        (None, false) => {
            mistakes.note(threshold_path, "is required for every tier but the first");
            None
        }
        (Some(document), false) => threshold(&threshold_path, document, scope, below, mistakes).map(Some),
    };
    let retention = retention(&format!("{path}.retention"), document, is_lowest, scope, mistakes);
    let expiry = match &document.expiry {
        Some(own) => policy::own_expiry(&format!("{path}.expiry"), own, scope.expiry, mistakes).map(Some),
        None => Some(None),
    };
    let expires = expiry.flatten().or(scope.expiry);
    if document.pauses_inactivity && !matches!(scope.expiry, None | Some(Expiry::Inactivity(_))) {
        mistakes.note(
            format!("{path}.pauses_inactivity"),
            "is possible only where the programme's expiry is inactivity: there is nothing to pause",
        );
    }
    let reward_path = format!("{path}.entry_reward");
    let entry_reward = match &document.entry_reward {
        None => Some(None),
        Some(_) if is_lowest => {
            mistakes.note(reward_path, "is not possible for the first tier: nobody rises to it");
            None
        }
        Some(reward) => entry_reward(&reward_path, reward, expires, (scope, kinds), mistakes).map(Some),
    };
    let benefits = benefits(&format!("{path}.benefits"), document.benefits.as_ref(), mistakes);
    Some(Tier {
        id: id?,
        display_name: display_name?,
        threshold: threshold?,
        retention: retention?,
        multiplier: multiplier?,
        expiry: expiry?,
        pauses_inactivity: document.pauses_inactivity,
        entry_reward: entry_reward?,
        benefits: benefits?,
    })
}

fn multiplier(path: &str, text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    if text.is_empty() {
        return Some(Decimal::ONE);
    }
    let multiplier = mistakes.take(path, parse_decimal(text, 4, 6))?;
    if multiplier > MAX_MULTIPLIER {
        mistakes.note(path, format_args!("is {multiplier}; at most {MAX_MULTIPLIER} is allowed"));
        return None;
    }
    Some(multiplier.normalize())
}

/// What it takes to keep a tier is not more than what it takes to reach it: who reached it anew would lose it.
fn retention(path: &str, document: &v1::Tier, is_lowest: bool, scope: &Scope, mistakes: &mut Mistakes) -> Option<Option<TierThreshold>> {
    let Some(own) = &document.retention else { return Some(None) };
    if is_lowest {
        mistakes.note(path, "is not possible for the first tier: nobody falls below it");
        return None;
    }
    let own = bounds(path, own, scope, mistakes)?;
    let reach = document.threshold.as_ref().and_then(|reach| bounds(path, reach, scope, &mut Mistakes::default()));
    if let Some(reach) = reach {
        let points = own.qualifying_points.zip(reach.qualifying_points).is_some_and(|(own, reach)| own > reach);
        let spend = own.spend.zip(reach.spend).is_some_and(|(own, reach)| own > reach);
        let visits = own.visits.zip(reach.visits).is_some_and(|(own, reach)| own > reach);
        for (field, is_higher) in [("qualifying_points", points), ("spend", spend), ("visits", visits)] {
            if is_higher {
                mistakes
                    .note(format!("{path}.{field}"), "is higher than that of the threshold: who reached the tier anew would not keep it");
            }
        }
    }
    Some(Some(own))
}

fn entry_reward(
    path: &str,
    document: &v1::EntryReward,
    expires: Option<Expiry>,
    (scope, kinds): (&Scope, Option<&[VoucherKind]>),
    mistakes: &mut Mistakes,
) -> Option<EntryReward> {
    let expiry = match &document.expiry {
        Some(own) => policy::own_expiry(&format!("{path}.expiry"), own, scope.expiry, mistakes),
        None => expires,
    };
    if document.points.is_empty() && document.voucher_kind_id.is_empty() {
        mistakes.note(path, "needs points, voucher_kind_id, or both");
        return None;
    }
    let points = match document.points.as_str() {
        "" if document.expiry.is_some() => {
            mistakes.note(format!("{path}.expiry"), "is that of points, and there are none");
            None
        }
        "" => Some(None),
        text => mistakes.required_points(format!("{path}.points"), text, scope.precision).zip(expiry).map(Some),
    };
    let place = format!("{path}.voucher_kind_id");
    let voucher = match document.voucher_kind_id.as_str() {
        "" => Some(None),
        text => mistakes.take(&place, VoucherKindId::new(text)).map(Some),
    };
    if let (Some(Some(kind)), Some(kinds)) = (&voucher, kinds)
        && !kinds.iter().any(|known| known.id == *kind)
    {
        mistakes.note(place, "is not a kind of vouchers of the programme");
        return None;
    }
    Some(EntryReward { points: points?, voucher: voucher? })
}

const MAX_CUSTOM_BENEFITS: usize = 20;

const MAX_PRICE_DAYS: usize = 20;

fn benefits(path: &str, document: Option<&v1::TierBenefits>, mistakes: &mut Mistakes) -> Option<TierBenefits> {
    let Some(document) = document else { return Some(TierBenefits::default()) };
    let before = mistakes.count();
    let discount_percent = match document.discount_percent.as_str() {
        "" => None,
        text => percent(format!("{path}.discount_percent"), text, mistakes),
    };
    if document.price_days.len() > MAX_PRICE_DAYS {
        let found = document.price_days.len();
        mistakes.note(format!("{path}.price_days"), format_args!("has {found} items; at most {MAX_PRICE_DAYS} are allowed"));
    }
    let listed = document.price_days.iter().take(MAX_PRICE_DAYS).enumerate();
    let every_day = discount_percent;
    let price_days =
        listed.filter_map(|(index, days)| price_days(&format!("{path}.price_days[{index}]"), days, every_day, mistakes)).collect();
    if document.custom.len() > MAX_CUSTOM_BENEFITS {
        mistakes
            .note(format!("{path}.custom"), format_args!("has {} keys; at most {MAX_CUSTOM_BENEFITS} are allowed", document.custom.len()));
    }
    let mut custom = BTreeMap::new();
    for (key, value) in document.custom.iter().take(MAX_CUSTOM_BENEFITS) {
        mistakes.text(format!("{path}.custom"), key, 1, 64);
        mistakes.text(format!("{path}.custom[{key:?}]"), value, 0, 200);
        custom.insert(key.clone(), value.clone());
    }
    let (free_shipping, early_access) = (document.free_shipping, document.early_access);
    let benefits = TierBenefits { discount_percent, price_days, free_shipping, early_access, custom };
    (mistakes.count() == before).then_some(benefits)
}

fn percent(path: String, text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    let percent = mistakes.take(&path, parse_decimal(text, 3, 4)).and_then(|share| mistakes.more_than_zero(&path, share))?;
    if percent > Decimal::ONE_HUNDRED {
        mistakes.note(path, "is more than 100");
        return None;
    }
    Some(percent)
}

/// `every_day`: what the tier has on all days, in per cent.
fn price_days(path: &str, document: &v1::PriceDays, every_day: Option<Decimal>, mistakes: &mut Mistakes) -> Option<PriceDays> {
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let percent_path = format!("{path}.discount_percent");
    let percent = percent(percent_path.clone(), &document.discount_percent, mistakes);
    if let Some((percent, every_day)) = percent.zip(every_day)
        && percent <= every_day
    {
        mistakes.note(percent_path, format_args!("is not more than the {every_day} % of every day: it would never be off"));
    }
    let times = reward::times(path, (document.start_time.as_ref(), document.end_time.as_ref()), mistakes);
    let weekdays = rule::weekdays(&format!("{path}.weekdays"), &document.weekdays, mistakes);
    let days_of_month = days_of_month(path, (document.first_day_of_month, document.last_day_of_month), mistakes);
    let (start_time, end_time) = times?;
    Some(PriceDays { display_name: display_name?, percent: percent?, start_time, end_time, weekdays, days_of_month: days_of_month? })
}

fn days_of_month(path: &str, days: (i32, i32), mistakes: &mut Mistakes) -> Option<Option<(i8, i8)>> {
    if days == (0, 0) {
        return Some(None);
    }
    let first = mistakes.number(format!("{path}.first_day_of_month"), days.0, 1..=31);
    let last = mistakes.number(format!("{path}.last_day_of_month"), days.1, 1..=31);
    let (first, last) = (i8::try_from(first?).ok()?, i8::try_from(last?).ok()?);
    if last < first {
        mistakes.note(format!("{path}.last_day_of_month"), "is before first_day_of_month");
        return None;
    }
    Some(Some((first, last)))
}

/// A wrong bound is noted and counts as one, so that it is not said to be missing too.
fn threshold(
    path: &str,
    document: &v1::TierThreshold,
    scope: &Scope,
    below: &mut Bounds,
    mistakes: &mut Mistakes,
) -> Option<TierThreshold> {
    let threshold = bounds(path, document, scope, mistakes)?;
    rises(format!("{path}.qualifying_points"), threshold.qualifying_points, &mut below.qualifying_points, mistakes);
    rises(format!("{path}.spend"), threshold.spend, &mut below.spend, mistakes);
    rises(format!("{path}.visits"), threshold.visits, &mut below.visits, mistakes);
    Some(threshold)
}

fn bounds(path: &str, document: &v1::TierThreshold, scope: &Scope, mistakes: &mut Mistakes) -> Option<TierThreshold> {
    let points_path = format!("{path}.qualifying_points");
    let spend_path = format!("{path}.spend");
    let visits_path = format!("{path}.visits");
    let is_given = |text: &str| text.bytes().any(|byte| byte != b'0' && byte != b'.');
    if !is_given(&document.qualifying_points) && !is_given(&document.spend) && document.visits == 0 {
        mistakes.note(path, "needs at least one of qualifying_points, spend, visits");
        return None;
    }
    let qualifying_points = mistakes.points(&points_path, &document.qualifying_points, scope.precision).filter(|bound| !bound.is_zero());
    let spend = match document.spend.as_str() {
        "" => None,
        text => amount(&spend_path, text, scope, mistakes).ok().filter(|bound| !bound.is_zero()),
    };
    let visits = match u64::try_from(document.visits) {
        Ok(visits) => Some(visits).filter(|bound| *bound != 0),
        Err(_) => {
            mistakes.note(&visits_path, "must not be negative");
            None
        }
    };
    Some(TierThreshold { qualifying_points, spend, visits, require_all: document.require_all })
}

fn rises<T: PartialOrd + Copy>(path: String, bound: Option<T>, below: &mut Option<T>, mistakes: &mut Mistakes) {
    if bound.zip(*below).is_some_and(|(bound, below)| bound < below) {
        mistakes.note(path, "is lower than that of a lower tier; tiers go from the lowest to the highest");
    } else {
        *below = bound.or(*below);
    }
}
