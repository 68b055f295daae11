//! Activity rules of a rule book.

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::{MAX_ACTIVITY_RULES, Mistakes, Scope, amount, check_own_id, keep, policy, reward, rule, v1};
use crate::domain::{Activation, ActivityId, ActivityRule, Earner, Limits, MAX_REFERRAL_DAYS, ReferralTerms, RuleId};

/// With what a referral waits for, if it does. The outer `None`s: a mistake was noted. `ids`: those of the accrual rules.
pub(super) fn all<'a>(
    document: &'a v1::Program,
    scope: &Scope,
    ids: &mut HashSet<&'a str>,
    mistakes: &mut Mistakes,
) -> (Option<Vec<ActivityRule>>, Option<Option<ReferralTerms>>) {
    let rules = rules(&document.activity_rules, scope, ids, mistakes);
    let referral = match &document.referral {
        Some(referral) => terms(referral, rules.as_deref(), scope, mistakes).map(Some),
        None => Some(None),
    };
    (rules, referral)
}

fn terms(document: &v1::Referral, rules: Option<&[ActivityRule]>, scope: &Scope, mistakes: &mut Mistakes) -> Option<ReferralTerms> {
    let activity = mistakes.take("referral.activity", ActivityId::new(&document.activity));
    if let (Some(activity), Some(rules)) = (&activity, rules)
        && !rules.iter().any(|rule| rule.activity == *activity)
    {
        mistakes.note("referral.activity", "is named by no activity rule, so that a referral would give nothing");
    }
    let minimum_amount = match document.minimum_amount.as_str() {
        "" => Some(Decimal::ZERO),
        text => amount("referral.minimum_amount", text, scope, mistakes).ok(),
    };
    let most = i32::try_from(MAX_REFERRAL_DAYS).unwrap_or(i32::MAX);
    let within_days = mistakes.number("referral.within_days", document.within_days, 0..=most);
    Some(ReferralTerms { activity: activity?, minimum_amount: minimum_amount?, within_days: within_days? })
}

fn rules<'a>(
    documents: &'a [v1::ActivityRule],
    scope: &Scope,
    ids: &mut HashSet<&'a str>,
    mistakes: &mut Mistakes,
) -> Option<Vec<ActivityRule>> {
    if documents.len() > MAX_ACTIVITY_RULES {
        mistakes.note("activity_rules", format_args!("has {} rules; at most {MAX_ACTIVITY_RULES} are allowed", documents.len()));
    }
    let mut rules = Some(Vec::new());
    for (index, document) in documents.iter().take(MAX_ACTIVITY_RULES).enumerate() {
        let path = format!("activity_rules[{index}]");
        let rule = activity_rule(&path, document, scope, mistakes);
        check_own_id(format!("{path}.rule_id"), &document.rule_id, ids, mistakes);
        keep(&mut rules, rule);
    }
    rules
}

fn activity_rule(path: &str, document: &v1::ActivityRule, scope: &Scope, mistakes: &mut Mistakes) -> Option<ActivityRule> {
    use v1::activity_rule::Earner as Document;
    let id = mistakes.take(format!("{path}.rule_id"), RuleId::new(&document.rule_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let activity = mistakes.take(format!("{path}.activity"), ActivityId::new(&document.activity));
    let earner = match Document::try_from(document.earner) {
        Ok(Document::Unspecified | Document::Member) => Some(Earner::Member),
        Ok(Document::Referrer) => Some(Earner::Referrer),
        Err(_) => {
            mistakes.note(format!("{path}.earner"), format_args!("has no value with the number {}", document.earner));
            None
        }
    };
    let points_path = format!("{path}.points");
    if document.points.is_empty() {
        mistakes.note(&points_path, "is required");
    }
    let points = mistakes.points_above_zero(points_path, &document.points, scope.precision);
    let cap = match &document.cap {
        Some(cap) => rule::points_cap(&format!("{path}.cap"), cap, scope, mistakes).map(Some),
        None => Some(None),
    };
    let expiry = match &document.expiry {
        Some(own) => policy::own_expiry(&format!("{path}.expiry"), own, scope.expiry, mistakes),
        None => scope.expiry,
    };
    let activation = activation(&format!("{path}.activation"), document.activation.as_ref(), scope, mistakes);
    let times = reward::times(path, (document.start_time.as_ref(), document.end_time.as_ref()), mistakes);
    let (start_time, end_time) = times?;
    Some(ActivityRule {
        id: id?,
        display_name: display_name?,
        activity: activity?,
        earner: earner?,
        points: points?,
        limits: Limits { cap: cap?, once_per_member: document.once_per_member, ..Limits::default() },
        expiry: expiry?,
        has_own_expiry: document.expiry.is_some(),
        activation: activation?,
        qualifying: !document.without_qualifying,
        start_time,
        end_time,
    })
}

fn activation(path: &str, document: Option<&v1::ActivationPolicy>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Activation> {
    let activation = match document {
        Some(own) => policy::activation(path, Some(own), mistakes),
        None => scope.activation,
    };
    match activation? {
        Activation::Confirmation if document.is_some() => {
            mistakes.note(path, "cannot be on_confirmation: nobody confirms an activity");
            None
        }
        Activation::Confirmation => {
            mistakes.note(path, "is required: the programme's is on_confirmation, and nobody confirms an activity");
            None
        }
        possible @ (Activation::Immediate | Activation::AfterDays(_)) => Some(possible),
    }
}
