//! The promotions of a rule book.

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::{Mistakes, Scope as Book, amount, birthday, check_own_id, keep, policy, reward, rule, v1};
use crate::domain::{
    ALL_MEMBERS, Arm, ArmId, BirthdayCondition, Condition, Digits, Field, LineTextField, ListField, Named, Promotion, PromotionCombination,
    PromotionEffect, PromotionGroup, PromotionLimits, RoundingMode, RuleId, Scope, TextField, TimesLimit, VoucherKindId, parse_decimal,
    promotion_code,
};

const MAX_PROMOTIONS: usize = 200;
const MAX_GROUPS: usize = 50;
const MAX_MULTIPLIER: Decimal = Decimal::ONE_THOUSAND;
const MAX_TIMES: i32 = 1_000_000;
const MAX_ARMS: usize = 10;
const MAX_SHARE: i32 = 10_000;
/// Digits of a number of units: before the decimal point, after it. As of purchases.
const QUANTITY_DIGITS: (usize, u32) = (7, 3);

/// Promotions and their groups.
pub(super) fn all<'a>(
    document: &'a v1::Program,
    known: &birthday::Known<'_>,
    scope: &Book,
    ids: &mut HashSet<&'a str>,
    mistakes: &mut Mistakes,
) -> (Option<Vec<Promotion>>, Option<Vec<PromotionGroup>>) {
    let groups = groups(&document.promotion_groups, mistakes);
    (promotions(&document.promotions, (known, groups.as_deref()), scope, ids, mistakes), groups)
}

fn groups(documents: &[v1::PromotionGroup], mistakes: &mut Mistakes) -> Option<Vec<PromotionGroup>> {
    if documents.len() > MAX_GROUPS {
        mistakes.note("promotion_groups", format_args!("has {} groups; at most {MAX_GROUPS} are allowed", documents.len()));
    }
    let (mut ids, mut groups) = (HashSet::new(), Some(Vec::new()));
    for (index, document) in documents.iter().take(MAX_GROUPS).enumerate() {
        let path = format!("promotion_groups[{index}]");
        let id = mistakes.take(format!("{path}.group_id"), RuleId::new(&document.group_id));
        if id.is_some() && !ids.insert(&document.group_id) {
            mistakes.note(format!("{path}.group_id"), "is the id of an earlier group too");
        }
        let combination = combination(format!("{path}.combination"), document.combination, mistakes);
        keep(&mut groups, id.zip(combination).map(|(id, combination)| PromotionGroup { id, combination }));
    }
    groups
}

fn combination(path: String, number: i32, mistakes: &mut Mistakes) -> Option<PromotionCombination> {
    use v1::promotion_group::Combination;
    match mistakes.choice(path, number)? {
        Combination::Unspecified => None,
        Combination::All => Some(PromotionCombination::All),
        Combination::Exclusive => Some(PromotionCombination::Exclusive),
        Combination::Best => Some(PromotionCombination::Best),
    }
}

/// What promotions may name: with tiers and kinds of vouchers the groups, if they are known.
type Known<'a> = (&'a birthday::Known<'a>, Option<&'a [PromotionGroup]>);

fn promotions<'a>(
    documents: &'a [v1::Promotion],
    known: Known<'_>,
    scope: &Book,
    ids: &mut HashSet<&'a str>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Promotion>> {
    if documents.len() > MAX_PROMOTIONS {
        mistakes.note("promotions", format_args!("has {} promotions; at most {MAX_PROMOTIONS} are allowed", documents.len()));
    }
    let mut promotions = Some(Vec::new());
    for (index, document) in documents.iter().take(MAX_PROMOTIONS).enumerate() {
        let path = format!("promotions[{index}]");
        let promotion = promotion(&path, document, known, scope, mistakes);
        check_own_id(format!("{path}.promotion_id"), &document.promotion_id, ids, mistakes);
        keep(&mut promotions, promotion);
    }
    promotions
}

fn promotion(path: &str, document: &v1::Promotion, known: Known<'_>, scope: &Book, mistakes: &mut Mistakes) -> Option<Promotion> {
    let before = mistakes.count();
    let id = mistakes.take(format!("{path}.promotion_id"), RuleId::new(&document.promotion_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let description = mistakes.text(format!("{path}.description"), &document.description, 0, 500);
    let group = group(path, &document.group_id, known.1, mistakes);
    let priority = mistakes.number(format!("{path}.priority"), document.priority, 0..=1_000_000);
    let times = reward::times(path, (document.start_time.as_ref(), document.end_time.as_ref()), mistakes);
    let filter = rule::filter(&format!("{path}.filter"), document.filter.as_ref(), scope, mistakes);
    let tiers = reward::tiers(path, &document.tier_ids, known.0, mistakes);
    let birthday = document.birthday.as_ref().map(|it| self::birthday(&format!("{path}.birthday"), it, mistakes));
    let minimum_spend = match document.minimum_spend.as_str() {
        "" => Some(Decimal::ZERO),
        text => amount(&format!("{path}.minimum_spend"), text, scope, mistakes).ok(),
    };
    let minimum_quantity = quantity(format!("{path}.minimum_quantity"), &document.minimum_quantity, mistakes);
    let code = code(path, &document.code, mistakes);
    let judged = condition(&format!("{path}.condition"), &document.condition, (Scope::Purchase, known.0), scope, mistakes);
    let line_condition = condition(&format!("{path}.line_condition"), &document.line_condition, (Scope::Line, known.0), scope, mistakes);
    let effect = effect(path, document, known.0, scope, mistakes);
    let limits = limits(&format!("{path}.limits"), document.limits.as_ref(), scope, mistakes);
    let rounding = rounding(path, document, scope, mistakes);
    let expiry = match &document.expiry {
        Some(own) => policy::own_expiry(&format!("{path}.expiry"), own, scope.expiry, mistakes),
        None => scope.expiry,
    };
    let activation = match &document.activation {
        Some(own) => policy::activation(&format!("{path}.activation"), Some(own), mistakes),
        None => scope.activation,
    };
    let arms = arms(&format!("{path}.arms"), &document.arms, mistakes);
    check_together(path, document, mistakes);
    let (start_time, end_time) = times?;
    Some(Promotion {
        id: id?,
        display_name: display_name?,
        description: description?,
        group: group?,
        only_with_offer: document.only_with_offer,
        // Offers name their promotions.
        offer: None,
        priority: priority?,
        start_time,
        end_time,
        filter: filter?,
        tiers: tiers?,
        first_purchase: document.first_purchase,
        birthday: birthday.flatten(),
        minimum_spend: minimum_spend?,
        minimum_quantity: minimum_quantity?,
        code: code?,
        condition: judged?,
        line_condition: line_condition?,
        effect: effect?,
        limits: limits?,
        rounding: rounding?,
        expiry: expiry?,
        has_own_expiry: document.expiry.is_some(),
        activation: activation?,
        qualifying: !document.without_qualifying,
        arms: arms?,
    })
    .filter(|_| mistakes.count() == before)
}

fn arms(path: &str, documents: &[v1::PromotionArm], mistakes: &mut Mistakes) -> Option<Vec<Arm>> {
    if documents.len() > MAX_ARMS {
        mistakes.note(path, format_args!("has {} arms; at most {MAX_ARMS} are allowed", documents.len()));
        return None;
    }
    let (mut ids, mut arms) = (HashSet::new(), Some(Vec::new()));
    for (index, document) in documents.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let id = mistakes.take(format!("{path}.arm_id"), ArmId::new(&document.arm_id));
        if id.is_some() && !ids.insert(&document.arm_id) {
            mistakes.note(format!("{path}.arm_id"), "is the id of an earlier arm too");
        }
        let share = mistakes.number(format!("{path}.share_basis_points"), document.share_basis_points, 1..=MAX_SHARE);
        keep(&mut arms, id.zip(share).map(|(id, share)| Arm { id, share, is_control: document.control }));
    }
    let sum: u32 = arms.iter().flatten().map(|arm| arm.share).sum();
    if sum > ALL_MEMBERS {
        mistakes.note(path, format_args!("have {sum} basis points together; all members are {ALL_MEMBERS}"));
    }
    if !documents.is_empty() && documents.iter().all(|document| document.control) {
        mistakes.note(path, "are controls alone: nobody is given anything");
    }
    arms
}

/// The outer `None`: a mistake was noted.
fn group(path: &str, text: &str, groups: Option<&[PromotionGroup]>, mistakes: &mut Mistakes) -> Option<Option<usize>> {
    let Some(groups) = groups.filter(|_| !text.is_empty()) else { return Some(None) };
    let place = groups.iter().position(|group| group.id.as_str() == text);
    if place.is_none() {
        mistakes.note(format!("{path}.group_id"), "is not one of promotion_groups");
    }
    place.map(Some)
}

fn birthday(path: &str, document: &v1::promotion::Birthday, mistakes: &mut Mistakes) -> Option<BirthdayCondition> {
    let window = birthday::window(path, (document.window, document.days_before, document.days_after), mistakes);
    let leap_day = birthday::leap_day_in_march(&format!("{path}.leap_day"), document.leap_day, mistakes);
    Some(BirthdayCondition { window: window?, leap_day_in_march: leap_day? })
}

/// Empty: any number.
fn quantity(path: String, text: &str, mistakes: &mut Mistakes) -> Option<Decimal> {
    if text.is_empty() {
        return Some(Decimal::ZERO);
    }
    let (integer, fraction) = QUANTITY_DIGITS;
    let quantity = mistakes.take(&path, parse_decimal(text, integer, fraction))?;
    mistakes.more_than_zero(path, quantity)
}

/// The outer `None`: a mistake was noted.
fn code(path: &str, text: &str, mistakes: &mut Mistakes) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let code = promotion_code(text);
    if code.is_none() {
        mistakes.note(format!("{path}.code"), "is not a code of 1 to 64 characters, none of them a control character");
    }
    code.map(Some)
}

/// The outer `None`: a mistake was noted.
fn condition(
    path: &str,
    text: &str,
    (over, known): (Scope, &birthday::Known<'_>),
    scope: &Book,
    mistakes: &mut Mistakes,
) -> Option<Option<Condition>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = Digits { money: scope.digits, points: scope.precision };
    let condition = mistakes.take(path, Condition::compile(text, over, digits))?;
    let before = mistakes.count();
    for named in condition.named() {
        if let Some(message) = not_there(named, known) {
            mistakes.note(path, format_args!("line {}, column {}: {message}", named.line, named.column));
        }
    }
    (mistakes.count() == before).then_some(Some(condition))
}

/// Why nothing can be what a condition compares with it.
pub(super) fn not_there(named: &Named, known: &birthday::Known<'_>) -> Option<String> {
    let text = &*named.text;
    match named.field {
        Field::Text(TextField::MemberTier) => {
            let is_known = text.is_empty() || known.tiers?.iter().any(|tier| tier.id.as_str() == text);
            (!is_known).then(|| format!("{text:?} is not a tier of the programme"))
        }
        Field::List(ListField::MemberSegments) => {
            let is_known = known.segments?.iter().any(|segment| segment.id.as_str() == text);
            (!is_known).then(|| format!("{text:?} is not a segment of the programme"))
        }
        Field::List(ListField::PurchaseTenders) => {
            let kinds = ["cash", "card", "store_card", "gift_card", "points", "voucher", "other"];
            (!kinds.contains(&text)).then(|| format!("{text:?} is not a kind of tenders: {}", kinds.join(", ")))
        }
        Field::List(ListField::PurchaseCodes) => {
            let code = promotion_code(text)?;
            (code != text).then(|| format!("codes are compared in capitals: {code:?}"))
        }
        Field::LineText(LineTextField::Kind) => {
            (!["goods", "gift_card"].contains(&text)).then(|| format!("{text:?} is not a kind of lines: goods, gift_card"))
        }
        Field::Truth(_)
        | Field::Number(_)
        | Field::Amount(_)
        | Field::Text(TextField::PurchaseStoreId | TextField::PurchaseChannel)
        | Field::List(ListField::PurchaseLabels)
        | Field::Time(_)
        | Field::Calendar(_)
        | Field::Lines
        | Field::LineText(LineTextField::Sku | LineTextField::Category)
        | Field::LineAmount(_)
        | Field::LineList(_)
        // Known in segments alone.
        | Field::PurchasesIn(_)
        | Field::SpendIn(_) => None,
    }
}

fn effect(
    path: &str,
    document: &v1::Promotion,
    known: &birthday::Known<'_>,
    scope: &Book,
    mistakes: &mut Mistakes,
) -> Option<PromotionEffect> {
    use v1::promotion::Effect;
    match document.effect.as_ref() {
        Some(Effect::Multiply(effect)) => {
            let place = format!("{path}.multiply.multiplier");
            let multiplier = mistakes.take(&place, parse_decimal(&effect.multiplier, 4, 6))?.normalize();
            if multiplier <= Decimal::ONE || multiplier > MAX_MULTIPLIER {
                mistakes.note(place, format_args!("is {multiplier}; it must be more than 1, and {MAX_MULTIPLIER} at most"));
                return None;
            }
            Some(PromotionEffect::Multiply { multiplier, whole_order: effect.whole_order })
        }
        Some(Effect::AddPerAmount(effect)) => {
            let place = format!("{path}.add_per_amount.amount");
            let amount = amount(&place, &effect.amount, scope, mistakes).ok();
            let amount = amount.and_then(|amount| mistakes.more_than_zero(place, amount));
            let points = mistakes.rate(format!("{path}.add_per_amount.points"), &effect.points);
            let (whole_blocks, whole_order) = (effect.whole_blocks, effect.whole_order);
            Some(PromotionEffect::PerAmount { amount: amount?, points: points?, whole_blocks, whole_order })
        }
        Some(Effect::AddFixed(effect)) => {
            if effect.each_minimum_quantity && document.minimum_quantity.is_empty() {
                mistakes.note(format!("{path}.minimum_quantity"), "is required with each_minimum_quantity");
            }
            let points = mistakes.required_points(format!("{path}.add_fixed.points"), &effect.points, scope.precision)?;
            Some(PromotionEffect::Fixed { points, each_quantity: effect.each_minimum_quantity })
        }
        Some(Effect::VoucherKindId(kind)) => {
            let (kind, _): (VoucherKindId, _) = reward::kind(path, kind, known, mistakes)?;
            Some(PromotionEffect::Voucher(kind))
        }
        None => {
            mistakes.note(path, "needs one of multiply, add_per_amount, add_fixed, voucher_kind_id");
            None
        }
    }
}

fn limits(path: &str, document: Option<&v1::PromotionLimits>, scope: &Book, mistakes: &mut Mistakes) -> Option<PromotionLimits> {
    let Some(document) = document else { return Some(PromotionLimits::default()) };
    let mut points = |name: &str, text: &str| mistakes.points_above_zero(format!("{path}.{name}"), text, scope.precision);
    let maximum = points("maximum_points", &document.maximum_points);
    let daily_cap = points("daily_cap_points", &document.daily_cap_points);
    let budget = points("budget_points", &document.budget_points);
    let cap = match &document.cap {
        Some(cap) => Some(rule::points_cap(&format!("{path}.cap"), cap, scope, mistakes)?),
        None => None,
    };
    let times = match &document.times {
        Some(times) => Some(self::times(&format!("{path}.times"), times, mistakes)?),
        None => None,
    };
    Some(PromotionLimits { maximum, cap, times, daily_cap, budget })
}

fn times(path: &str, document: &v1::PromotionTimes, mistakes: &mut Mistakes) -> Option<TimesLimit> {
    let times = mistakes.number(format!("{path}.times"), document.times, 1..=MAX_TIMES);
    let period = rule::period(&format!("{path}.period"), document.period, mistakes);
    Some(TimesLimit { times: times?, period: period? })
}

/// The promotion's own, or the programme's.
fn rounding(path: &str, document: &v1::Promotion, scope: &Book, mistakes: &mut Mistakes) -> Option<RoundingMode> {
    use v1::rounding::Mode;
    match Mode::try_from(document.rounding_mode) {
        Ok(Mode::Unspecified) => scope.rounding.map(|rounding| rounding.mode),
        Ok(Mode::Floor) => Some(RoundingMode::Floor),
        Ok(Mode::HalfUp) => Some(RoundingMode::HalfUp),
        Ok(Mode::HalfEven) => Some(RoundingMode::HalfEven),
        Ok(Mode::Ceiling) => Some(RoundingMode::Ceiling),
        Err(_) => {
            mistakes.note(format!("{path}.rounding_mode"), format_args!("has no value with the number {}", document.rounding_mode));
            None
        }
    }
}

/// What is right by itself, but not together.
fn check_together(path: &str, document: &v1::Promotion, mistakes: &mut Mistakes) {
    use v1::promotion::Effect;
    let (is_voucher, is_rounded) = match document.effect.as_ref() {
        Some(Effect::VoucherKindId(_)) => (true, false),
        Some(Effect::AddFixed(_)) => (false, false),
        Some(Effect::Multiply(_) | Effect::AddPerAmount(_)) | None => (false, true),
    };
    let has_times = document.limits.as_ref().is_some_and(|limits| limits.times.is_some());
    let of_offer = [
        ("limits.times", "member_limit", has_times),
        ("start_time", "start_time", document.start_time.is_some()),
        ("end_time", "end_time", document.end_time.is_some()),
        ("tier_ids", "tier_ids", !document.tier_ids.is_empty()),
    ];
    for (name, offers_name, _) in of_offer.into_iter().filter(|(_, _, is_set)| *is_set && document.only_with_offer) {
        mistakes
            .note(format!("{path}.{name}"), format_args!("is for its offer to say, with only_with_offer: give that one's {offers_name}"));
    }
    if document.rounding_mode != 0 && !is_rounded {
        mistakes.note(format!("{path}.rounding_mode"), "is of no use: nothing is rounded");
    }
    if !is_voucher {
        return;
    }
    let limits = document.limits.clone().unwrap_or_default();
    let of_points = [
        ("limits.maximum_points", !limits.maximum_points.is_empty()),
        ("limits.cap", limits.cap.is_some()),
        ("limits.daily_cap_points", !limits.daily_cap_points.is_empty()),
        ("limits.budget_points", !limits.budget_points.is_empty()),
        ("expiry", document.expiry.is_some()),
        ("activation", document.activation.is_some()),
        ("without_qualifying", document.without_qualifying),
    ];
    for (name, _) in of_points.into_iter().filter(|(_, is_set)| *is_set) {
        mistakes.note(format!("{path}.{name}"), "is of points, and a voucher gives none");
    }
}
