//! Rule books: a document becomes a [`domain::Program`], or the list of all its mistakes.

mod activity;
mod birthday;
mod fraud;
mod goal;
mod mistakes;
mod offer;
mod policy;
mod promotion;
mod redemption;
mod reward;
mod rule;
mod segment;
mod tier;
mod tier_policy;
mod voucher;

use std::collections::HashSet;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use self::mistakes::Mistakes;
use super::{Violation, v1};
use crate::domain::{self, Currency, Overflow, ProgramId, RuleId, TierId};

pub const MAX_RULES: usize = 200;
pub const MAX_ACTIVITY_RULES: usize = 100;
pub const MAX_TIERS: usize = 20;
/// So many days ahead a version can take effect, at most.
pub const MAX_DAYS_AHEAD: i64 = 366;
/// So many versions can wait for their time, at most.
pub const MAX_WAITING: usize = 16;

/// Parses a rule book as it is published: `version` and `publish_time` of the document itself do not count. Names every mistake at once.
pub fn parse(document: &v1::Program, version: u32, publish_time: Timestamp) -> Result<domain::Program, Vec<Violation>> {
    let mut mistakes = Mistakes::default();
    let program = read(document, version, publish_time, &mut mistakes);
    mistakes.result(program)
}

/// When points that are granted one by one lapse, under a rule book: as `expiry` says in a request.
pub fn grant_expiry(document: &v1::ExpiryPolicy, program: &domain::Program) -> Result<domain::Expiry, Vec<Violation>> {
    let mut mistakes = Mistakes::default();
    let expiry = policy::own_expiry("expiry", document, Some(program.expiry), &mut mistakes);
    mistakes.result(expiry)
}

/// What a new version of a rule book may not change.
pub fn check_successor(old: &domain::Program, new: &domain::Program) -> Vec<Violation> {
    let mut mistakes = Mistakes::default();
    let mut unchanged = |path: &str, old: &str, new: &str| {
        if old != new {
            mistakes.note(path, format_args!("is {new:?}, but earlier versions have {old:?}, and it cannot change"));
        }
    };
    unchanged("program_id", old.id.as_str(), new.id.as_str());
    unchanged("currency_code", old.currency.code(), new.currency.code());
    unchanged("time_zone", zone_name(&old.time_zone), zone_name(&new.time_zone));
    unchanged("points_precision", &old.points_precision.to_string(), &new.points_precision.to_string());
    for tier in &old.tiers {
        if !new.tiers.iter().any(|kept| kept.id == tier.id) {
            mistakes.note("tiers", format_args!("lack tier {}, which earlier versions have and members may hold", tier.id));
        }
    }
    mistakes.into_violations()
}

/// From when on a version may hold that is published now: `waiting` others wait. The first one of a programme holds at once, for there is none
/// to judge before it.
pub fn check_effective_time(new: &domain::Program, waiting: usize) -> Vec<Violation> {
    let mut mistakes = Mistakes::default();
    let Some(time) = new.effective_time else { return Vec::new() };
    let last = new.publish_time.checked_add((MAX_DAYS_AHEAD * 24).hours()).unwrap_or(Timestamp::MAX);
    let path = "effective_time";
    if time < new.publish_time {
        mistakes.note(path, format_args!("is in the past: it is {} now; leave it out to publish at once", new.publish_time));
    } else if time > last {
        mistakes.note(path, format_args!("is more than {MAX_DAYS_AHEAD} days ahead: it must be {last} at the latest"));
    } else if new.version == 1 && new.is_deferred() {
        mistakes.note(path, "is given, but the first version of a programme takes effect when it is published: leave it out");
    } else if waiting >= MAX_WAITING && new.is_deferred() {
        mistakes.note(path, format_args!("is given, but {waiting} versions wait for their time already, and no more can"));
    }
    mistakes.into_violations()
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or_default()
}

/// What the parts of a rule book need to know of the whole. Where a part of it is wrong, something takes its place that lets the rest be
/// read, so that no mistake hides another.
struct Scope {
    /// Where the currency is not known, nothing is said of the decimal places of amounts.
    digits: u32,
    precision: u32,
    rounding: Option<domain::Rounding>,
    expiry: Option<domain::Expiry>,
    activation: Option<domain::Activation>,
    qualify_unmultiplied: bool,
}

fn read(document: &v1::Program, version: u32, publish_time: Timestamp, mistakes: &mut Mistakes) -> Option<domain::Program> {
    let (id, display_name) = names(document, mistakes);
    let currency = currency(&document.currency_code, mistakes);
    let time_zone = time_zone(&document.time_zone, mistakes);
    let precision = mistakes.number("points_precision", document.points_precision, 0..=2);
    let rounding = rounding(document.rounding.as_ref(), mistakes);
    let effective_time = instant("effective_time", document.effective_time.as_ref(), mistakes);
    let tier_policy = tier_policy::tier_policy(document.tier_policy.as_ref(), mistakes);
    let scope = Scope {
        digits: currency.map_or(4, |currency| currency.digits()),
        precision: precision.unwrap_or(2),
        rounding,
        expiry: policy::expiry("expiry", document.expiry.as_ref(), mistakes),
        activation: policy::activation("activation", document.activation.as_ref(), mistakes),
        qualify_unmultiplied: tier_policy.is_some_and(|policy| policy.qualify_unmultiplied),
    };
    let mut rule_ids = HashSet::new();
    let rules = rules(&document.accrual_rules, &scope, &mut rule_ids, mistakes);
    let (activity_rules, referral) = activity::all(document, &scope, &mut rule_ids, mistakes);
    let combination = policy::combination(document.combination, mistakes);
    let voucher_kinds = voucher::kinds(&document.voucher_kinds, &scope, mistakes);
    let tiers = tiers(&document.tiers, (&scope, voucher_kinds.as_deref()), mistakes);
    let purchase_time = policy::purchase_time(document.purchase_time.as_ref(), mistakes);
    let ((maximum_adjustment, adjust_into_debt), returns) = corrections(document, &scope, mistakes);
    let consumption_order = policy::consumption_order(document.consumption_order, mistakes);
    let fraud_limits = fraud::limits(document.fraud_limits.as_ref(), &scope, mistakes);
    let segments = segment::segments(&document.segments, tiers.as_deref(), &scope, mistakes);
    let known = birthday::Known { tiers: tiers.as_deref(), kinds: voucher_kinds.as_deref(), segments: segments.as_deref() };
    let birthday = birthday::policy(document.birthday.as_ref(), &known, &scope, mistakes);
    let goal = goal::goal(&document.goals, voucher_kinds.as_deref(), &scope, mistakes);
    let rewards = reward::rewards(&document.rewards, &known, &scope, mistakes);
    let (promotions, promotion_groups, offers) = offer::all(document, &known, &scope, &mut rule_ids, mistakes);
    let (redemption, offline, transfers) = spending(document, &scope, mistakes);
    Some(domain::Program {
        id: id?,
        display_name: display_name?,
        version,
        publish_time,
        effective_time: effective_time?,
        currency: currency?,
        time_zone: time_zone?,
        points_precision: precision?,
        basis: policy::basis(document.basis.as_ref()),
        rounding: scope.rounding?,
        rules: rules?,
        activity_rules: activity_rules?,
        combination: combination?,
        expiry: scope.expiry?,
        consumption_order: consumption_order?,
        tiers: tiers?,
        tier_policy: tier_policy?,
        purchase_time: purchase_time?,
        maximum_adjustment,
        adjust_into_debt,
        redemption: redemption?,
        returns: returns?,
        transfers,
        fraud_limits: fraud_limits?,
        offline: offline?,
        voucher_kinds: voucher_kinds?,
        birthday: birthday?,
        goal: goal?,
        rewards: rewards?,
        promotions: promotions?,
        promotion_groups: promotion_groups?,
        segments: segments?,
        offers: offers?,
        referral: referral?,
    })
}

fn names(document: &v1::Program, mistakes: &mut Mistakes) -> (Option<ProgramId>, Option<String>) {
    let id = mistakes.take("program_id", ProgramId::new(&document.program_id));
    (id, mistakes.text("display_name", &document.display_name, 1, 120))
}

/// Points as money, what tills give of them while they cannot ask, and what members give away.
fn spending(
    document: &v1::Program,
    scope: &Scope,
    mistakes: &mut Mistakes,
) -> (Option<Option<domain::RedemptionPolicy>>, Option<domain::OfflinePolicy>, Option<domain::TransferPolicy>) {
    let redemption = redemption::policy(document.redemption.as_ref(), scope, mistakes);
    let offline = redemption::offline(document.offline.as_ref(), scope, mistakes);
    (redemption, offline, transfers(document.transfers.as_ref(), scope, mistakes))
}

fn rounding(document: Option<&v1::Rounding>, mistakes: &mut Mistakes) -> Option<domain::Rounding> {
    if document.is_none() {
        mistakes.note("rounding", "is required");
    }
    policy::rounding("rounding", document?, mistakes)
}

/// What is corrected by hand, and what returns take.
fn corrections(
    document: &v1::Program,
    scope: &Scope,
    mistakes: &mut Mistakes,
) -> ((Option<domain::Points>, bool), Option<domain::ReturnPolicy>) {
    let adjustments = adjustments(document.adjustments.as_ref(), scope, mistakes);
    (adjustments, policy::returns(document.returns.as_ref(), mistakes))
}

fn adjustments(policy: Option<&v1::AdjustmentPolicy>, scope: &Scope, mistakes: &mut Mistakes) -> (Option<domain::Points>, bool) {
    let Some(policy) = policy else { return (None, false) };
    (mistakes.points_above_zero("adjustments.maximum_points", &policy.maximum_points, scope.precision), policy.into_debt)
}

fn transfers(policy: Option<&v1::TransferPolicy>, scope: &Scope, mistakes: &mut Mistakes) -> Option<domain::TransferPolicy> {
    let policy = policy?;
    let minimum = mistakes.points_above_zero("transfers.minimum_points", &policy.minimum_points, scope.precision);
    let maximum = mistakes.points_above_zero("transfers.maximum_points", &policy.maximum_points, scope.precision);
    let minimum = minimum.unwrap_or(domain::Points(1));
    if maximum.is_some_and(|maximum| maximum < minimum) {
        mistakes.note("transfers.maximum_points", "is less than minimum_points: no transfer is possible");
    }
    Some(domain::TransferPolicy { minimum, maximum })
}

/// The ledger counts microseconds; what is finer is cut off.
fn instant(path: &str, time: Option<&prost_types::Timestamp>, mistakes: &mut Mistakes) -> Option<Option<Timestamp>> {
    let Some(time) = time else { return Some(None) };
    let micros = (0..1_000_000_000).contains(&time.nanos).then(|| i64::from(time.nanos) / 1_000);
    let micros = micros.and_then(|micros| time.seconds.checked_mul(1_000_000)?.checked_add(micros));
    let instant = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    if instant.is_none() {
        mistakes.note(path, "is not an instant such as \"2026-12-01T00:00:00+07:00\"");
    }
    instant.map(Some)
}

fn currency(code: &str, mistakes: &mut Mistakes) -> Option<Currency> {
    let currency = Currency::parse(code);
    match currency {
        Some(_) => {}
        None if code.is_empty() => mistakes.note("currency_code", "is required"),
        None => mistakes.note("currency_code", "is not an ISO 4217 code such as \"VND\" or \"USD\""),
    }
    currency
}

fn time_zone(name: &str, mistakes: &mut Mistakes) -> Option<TimeZone> {
    if name.is_empty() {
        mistakes.note("time_zone", "is required");
        return None;
    }
    let zone = TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some() && !zone.is_unknown());
    if zone.is_none() {
        mistakes.note("time_zone", "is not an IANA time zone such as \"Asia/Ho_Chi_Minh\"");
    }
    zone
}

fn rules<'a>(
    documents: &'a [v1::AccrualRule],
    scope: &Scope,
    ids: &mut HashSet<&'a str>,
    mistakes: &mut Mistakes,
) -> Option<Vec<domain::AccrualRule>> {
    match documents.len() {
        0 => mistakes.note("accrual_rules", "is required: at least one rule"),
        found if found > MAX_RULES => mistakes.note("accrual_rules", format_args!("has {found} rules; at most {MAX_RULES} are allowed")),
        _ => {}
    }
    let mut rules = Some(Vec::new());
    for (index, document) in documents.iter().take(MAX_RULES).enumerate() {
        let path = format!("accrual_rules[{index}]");
        let rule = rule::rule(&path, document, scope, mistakes);
        check_own_id(format!("{path}.rule_id"), &document.rule_id, ids, mistakes);
        keep(&mut rules, rule);
    }
    rules
}

/// What a member has had by a rule is counted under its id: no two rules can share one.
fn check_own_id<'a>(path: impl Into<String>, id: &'a str, ids: &mut HashSet<&'a str>, mistakes: &mut Mistakes) {
    if RuleId::new(id).is_ok() && !ids.insert(id) {
        mistakes.note(path, "is the id of an earlier rule too");
    }
}

fn tiers(documents: &[v1::Tier], known: (&Scope, Option<&[domain::VoucherKind]>), mistakes: &mut Mistakes) -> Option<Vec<domain::Tier>> {
    if documents.len() > MAX_TIERS {
        mistakes.note("tiers", format_args!("has {} tiers; at most {MAX_TIERS} are allowed", documents.len()));
    }
    let mut ids = HashSet::new();
    let mut bounds = tier::Bounds::default();
    let mut tiers = Some(Vec::new());
    for (index, document) in documents.iter().take(MAX_TIERS).enumerate() {
        let path = format!("tiers[{index}]");
        let tier = tier::tier(&path, document, index == 0, known, &mut bounds, mistakes);
        if TierId::new(&document.tier_id).is_ok() && !ids.insert(&document.tier_id) {
            mistakes.note(format!("{path}.tier_id"), "is the id of a lower tier too");
        }
        keep(&mut tiers, tier);
    }
    tiers
}

/// All of them, or none if one is missing.
fn keep<T>(all: &mut Option<Vec<T>>, one: Option<T>) {
    match (all.as_mut(), one) {
        (Some(all), Some(one)) => all.push(one),
        (Some(_), None) => *all = None,
        (None, _) => {}
    }
}

/// The amounts of a rule book are bounded as those of purchases are.
fn amount(path: &str, text: &str, scope: &Scope, mistakes: &mut Mistakes) -> Result<rust_decimal::Decimal, Overflow> {
    mistakes.take(path, domain::parse_amount(text, scope.digits)).ok_or(Overflow)
}
