//! A rule book as the auditor reads it: out of the published document, with numbers of its own.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use loyaltyd::{
    contract::v1::{self, expiry_policy::CountedActivity},
    domain::{CalendarPeriod, Expiry, Extension},
};
use rust_decimal::Decimal;

use super::{
    birthdays::{Birthday, Gift},
    goals::Goal,
    months::{self, Month},
    referrals::Terms,
    standing::MissingSaid,
};

/// A fraction that is not negative, in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    pub over: i128,
    pub under: i128,
}

impl Fraction {
    pub fn new(over: i128, under: i128) -> Self {
        let (mut a, mut b) = (over, under);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { over: over / a.max(1), under: under / a.max(1) }
    }

    pub fn plus(self, other: Self) -> Self {
        Self::new(self.over * other.under + other.over * self.under, self.under * other.under)
    }

    pub fn times(self, other: Self) -> Self {
        let (a, b) = (Self::new(self.over, other.under), Self::new(other.over, self.under));
        Self { over: a.over * b.over, under: a.under * b.under }
    }

    pub fn is_more_than(self, other: Self) -> bool {
        self.over * other.under > other.over * self.under
    }
}

/// When points lapse, in the order in which they are used up where the soonest go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lapse {
    On(Timestamp),
    /// Earned in this month, and gone after so many without activity.
    Month(Month),
    /// When the member has not been active for long.
    Inactive,
    Never,
}

/// How long a member may be idle, what counts as being active, and whether each month of that adds one to the life of the points.
#[derive(Debug, Clone)]
pub struct Idle {
    pub months: i32,
    pub counted: Vec<CountedActivity>,
    pub by_month: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Never,
    Inactive,
    ByMonth,
    Days { days: i64, from_activation: bool },
    Months { months: i32, from_activation: bool },
    EndOf { months: i32, more: i32 },
    Yearly { month: i8, day: i8, at_least: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    No,
    Days(i64),
    Confirmation,
}

#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    pub mode: v1::rounding::Mode,
    pub stage: v1::rounding::Stage,
    pub carry: bool,
}

#[derive(Debug, Clone)]
pub enum Gives {
    /// The amount in the currency's smallest unit.
    Amount {
        amount: i128,
        blocks: bool,
    },
    Unit,
    Order,
    Product,
}

pub struct Rule {
    pub id: String,
    pub document: v1::AccrualRule,
    pub gives: Gives,
    /// In the smallest unit of a point.
    pub points: Fraction,
    pub minimum_order: i128,
    pub rounds: Rounds,
    /// Its own.
    pub expiry: Option<Policy>,
    pub waits: Waits,
    pub minimum: Option<i64>,
    pub maximum: Option<i64>,
    pub cap: Option<(i64, v1::Period)>,
    pub once: bool,
}

/// What it takes to reach or to keep a tier.
pub struct Takes {
    points: Option<i64>,
    spend: Option<i128>,
    visits: Option<u64>,
    all: bool,
}

impl Takes {
    fn read(document: &v1::TierThreshold, precision: u32, digits: u32) -> Self {
        Self {
            points: points(&document.qualifying_points, precision),
            spend: smallest(&document.spend, digits),
            visits: Some(document.visits as u64).filter(|visits| *visits > 0),
            all: document.require_all,
        }
    }

    /// What is missing of each bound, and whether all are asked for.
    pub fn missing(&self, (points, spend, visits): (i64, i128, u64)) -> MissingSaid {
        let of = |bound: Option<i128>, there: i128| bound.map(|bound| (bound - there).max(0));
        let count = |missing: i128| missing.try_into().expect("it fits");
        let points = of(self.points.map(i128::from), points.into()).map(|points| points as i64);
        (points, of(self.spend, spend), of(self.visits.map(i128::from), visits.into()).map(count), self.all)
    }

    pub fn is_met(&self, (points, spend, visits): (i64, i128, u64)) -> bool {
        let bounds =
            [self.points.map(|bound| points >= bound), self.spend.map(|bound| spend >= bound), self.visits.map(|bound| visits >= bound)];
        let mut bounds = bounds.into_iter().flatten();
        if self.all { bounds.all(|met| met) } else { bounds.any(|met| met) }
    }
}

pub struct Tier {
    pub id: String,
    pub multiplier: Fraction,
    /// Neither of the lowest.
    pub reach: Option<Takes>,
    pub keep: Option<Takes>,
    /// Of what is earned in it by what has none of its own.
    pub expiry: Option<Policy>,
    /// Whoever holds it may be idle for ever.
    pub pauses: bool,
    /// For whoever rises to it: points with their own expiry, and a voucher.
    pub reward: Option<TierGift>,
}

/// At least one of both.
#[derive(Clone)]
pub struct TierGift {
    pub points: Option<(i64, Option<Policy>)>,
    pub voucher: Option<String>,
}

pub struct Redemption {
    pub points: i64,
    pub amount: i128,
    pub minimum: i64,
    pub step: i64,
    pub share: Option<Fraction>,
    pub grace_days: i64,
    pub default_hold: u32,
    pub maximum_hold: u32,
}

/// Points for something that a member does beside buying.
pub struct Doing {
    pub id: String,
    pub activity: String,
    /// Whoever referred the member gets them.
    pub for_referrer: bool,
    pub points: i64,
    pub cap: Option<(i64, v1::Period)>,
    pub once: bool,
    /// Its own.
    pub expiry: Option<Policy>,
    pub waits: Waits,
    pub qualifies: bool,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

/// The fewest and the most points at a time that one member gives another.
pub struct Transfers {
    pub fewest: i64,
    pub most: Option<i64>,
}

pub struct Book {
    pub version: u32,
    pub since: Timestamp,
    pub document: v1::Program,
    pub digits: u32,
    pub zone: TimeZone,
    pub rounds: Rounds,
    pub rules: Vec<Rule>,
    pub doings: Vec<Doing>,
    /// What the first purchase of who was referred must be.
    pub referral: Option<Terms>,
    pub expiry: Policy,
    pub tiers: Vec<Tier>,
    pub redemption: Option<Redemption>,
    pub transfers: Option<Transfers>,
    /// By its name in the document: the maximum, and whether what exceeds it is refused.
    pub limits: BTreeMap<&'static str, (i64, bool)>,
    /// What a till may redeem by itself, and whether what is not there is owed.
    pub floor: i64,
    pub owes_offline: bool,
    pub inactivity: Option<Idle>,
    pub oldest_first: bool,
    pub maximum_adjustment: Option<i64>,
    pub max_age_days: u32,
    pub max_ahead_seconds: u32,
    pub birthday: Option<Birthday>,
    pub goal: Option<Goal>,
}

/// Of a decimal text, "" being nothing.
pub fn fraction(text: &str) -> Option<Fraction> {
    let decimal: Decimal = text.parse().ok()?;
    (!decimal.is_zero()).then(|| Fraction::new(decimal.mantissa(), 10i128.pow(decimal.scale())))
}

pub fn smallest(text: &str, digits: u32) -> Option<i128> {
    let parts = fraction(text)?.times(Fraction::new(10i128.pow(digits), 1));
    assert_eq!(parts.under, 1, "{text} has no more than {digits} decimal places");
    Some(parts.over)
}

pub fn points(text: &str, precision: u32) -> Option<i64> {
    smallest(text, precision).map(|points| i64::try_from(points).expect("points fit"))
}

fn rounds(document: &v1::Rounding) -> Rounds {
    Rounds { mode: document.mode(), stage: document.stage(), carry: document.fraction() == v1::rounding::Fraction::Carry }
}

fn policy(document: Option<&v1::ExpiryPolicy>) -> Policy {
    use v1::expiry_policy::{CalendarPeriod, Extension, Policy as P};
    match document.and_then(|document| document.policy.as_ref()) {
        None | Some(P::Never(_)) => Policy::Never,
        Some(P::Inactivity(idle)) => {
            if idle.extension() == Extension::Month {
                Policy::ByMonth
            } else {
                Policy::Inactive
            }
        }
        Some(P::After(after)) if after.days > 0 => Policy::Days { days: after.days.into(), from_activation: after.from_activation },
        Some(P::After(after)) => Policy::Months { months: after.months, from_activation: after.from_activation },
        Some(P::EndOfPeriod(end)) => {
            let months = match end.period() {
                CalendarPeriod::Unspecified => panic!("a period is named"),
                CalendarPeriod::Month => 1,
                CalendarPeriod::Quarter => 3,
                CalendarPeriod::HalfYear => 6,
                CalendarPeriod::Year => 12,
            };
            Policy::EndOf { months, more: end.additional_periods }
        }
        Some(P::FixedDate(date)) => Policy::Yearly { month: date.month as i8, day: date.day as i8, at_least: date.minimum_days.into() },
    }
}

fn own_policy(document: Option<&v1::ExpiryPolicy>) -> Option<Policy> {
    document.map(|document| policy(Some(document)))
}

fn inactivity(document: Option<&v1::ExpiryPolicy>) -> Option<Idle> {
    match document.and_then(|document| document.policy.as_ref()) {
        Some(v1::expiry_policy::Policy::Inactivity(policy)) => Some(Idle {
            months: policy.months,
            counted: policy.activities().collect(),
            by_month: policy.extension() == v1::expiry_policy::Extension::Month,
        }),
        Some(_) | None => None,
    }
}

/// The policy of a single grant.
pub fn granted(expiry: Expiry) -> Policy {
    let days = |days: u32, from_activation| Policy::Days { days: days.into(), from_activation };
    let months = |months: u32, from_activation| Policy::Months { months: months as i32, from_activation };
    match expiry {
        Expiry::Never => Policy::Never,
        Expiry::Inactivity(idle) if idle.extension == Extension::Month => Policy::ByMonth,
        Expiry::Inactivity(_) => Policy::Inactive,
        Expiry::AfterDays(count) => days(count, false),
        Expiry::DaysAfterActivation(count) => days(count, true),
        Expiry::AfterMonths(count) => months(count, false),
        Expiry::MonthsAfterActivation(count) => months(count, true),
        Expiry::EndOfPeriod { period, additional_periods } => {
            let months = match period {
                CalendarPeriod::Month => 1,
                CalendarPeriod::Quarter => 3,
                CalendarPeriod::HalfYear => 6,
                CalendarPeriod::Year => 12,
            };
            Policy::EndOf { months, more: additional_periods as i32 }
        }
        Expiry::FixedDate { month, day, minimum_days } => Policy::Yearly { month, day, at_least: minimum_days.into() },
    }
}

fn waits(document: Option<&v1::ActivationPolicy>) -> Waits {
    use v1::activation_policy::Policy as P;
    match document.and_then(|document| document.policy.as_ref()) {
        None | Some(P::Immediate(_)) => Waits::No,
        Some(P::AfterDays(days)) => Waits::Days((*days).into()),
        Some(P::OnConfirmation(_)) => Waits::Confirmation,
    }
}

/// When the points of a promotion lapse, and what they wait for.
pub fn of_document(book: &Book, tier: usize, document: &v1::Promotion) -> (Policy, Waits) {
    let activation = document.activation.as_ref().or(book.document.activation.as_ref());
    (book.expiry_in(tier, own_policy(document.expiry.as_ref())), waits(activation))
}

fn rule(document: &v1::AccrualRule, program: &v1::Program, digits: u32) -> Rule {
    use v1::accrual_rule::Award;
    let precision = program.points_precision as u32;
    let (gives, rate) = match document.award.as_ref().expect("a rule gives something") {
        Award::PerAmount(per) => {
            let amount = smallest(&per.amount, digits).expect("an amount");
            (Gives::Amount { amount, blocks: per.whole_blocks }, &per.points)
        }
        Award::PerUnit(per) => (Gives::Unit, &per.points),
        Award::PerOrder(per) => (Gives::Order, &per.points),
        Award::PerProduct(per) => (Gives::Product, &per.points),
    };
    let limits = document.limits.clone().unwrap_or_default();
    Rule {
        id: document.rule_id.clone(),
        gives,
        points: fraction(rate).expect("a rate").times(Fraction::new(10i128.pow(precision), 1)),
        minimum_order: document.filter.as_ref().and_then(|filter| smallest(&filter.minimum_order, digits)).unwrap_or(0),
        rounds: rounds(document.rounding.as_ref().or(program.rounding.as_ref()).expect("it is required")),
        expiry: own_policy(document.expiry.as_ref()),
        waits: waits(document.activation.as_ref().or(program.activation.as_ref())),
        minimum: points(&limits.minimum_points, precision),
        maximum: points(&limits.maximum_points, precision),
        cap: limits.cap.as_ref().map(|cap| (points(&cap.points, precision).expect("a cap"), cap.period())),
        once: limits.once_per_member,
        document: document.clone(),
    }
}

fn instant(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).expect("within the calendar")
}

fn doing(document: &v1::ActivityRule, program: &v1::Program) -> Doing {
    let precision = program.points_precision as u32;
    Doing {
        id: document.rule_id.clone(),
        activity: document.activity.clone(),
        for_referrer: document.earner() == v1::activity_rule::Earner::Referrer,
        points: points(&document.points, precision).expect("it is required"),
        cap: document.cap.as_ref().map(|cap| (points(&cap.points, precision).expect("a cap"), cap.period())),
        once: document.once_per_member,
        expiry: own_policy(document.expiry.as_ref()),
        waits: waits(document.activation.as_ref().or(program.activation.as_ref())),
        qualifies: !document.without_qualifying,
        start: document.start_time.as_ref().map(instant),
        end: document.end_time.as_ref().map(instant),
    }
}

fn tier(document: &v1::Tier, precision: u32, digits: u32) -> Tier {
    let takes = |document: &Option<v1::TierThreshold>| document.as_ref().map(|takes| Takes::read(takes, precision, digits));
    let multiplier = if document.multiplier.is_empty() { "1" } else { &document.multiplier };
    Tier {
        id: document.tier_id.clone(),
        multiplier: fraction(multiplier).unwrap_or(Fraction { over: 0, under: 1 }),
        reach: takes(&document.threshold),
        keep: takes(&document.retention).or(takes(&document.threshold)),
        expiry: own_policy(document.expiry.as_ref()),
        pauses: document.pauses_inactivity,
        reward: document.entry_reward.as_ref().map(|reward| TierGift {
            points: points(&reward.points, precision).map(|points| (points, own_policy(reward.expiry.as_ref()))),
            voucher: Some(reward.voucher_kind_id.clone()).filter(|kind| !kind.is_empty()),
        }),
    }
}

fn redemption(document: &v1::RedemptionPolicy, precision: u32, digits: u32) -> Redemption {
    let step = points(&document.step_points, precision).unwrap_or(1);
    let or = |seconds: i32, unset: u32| if seconds == 0 { unset } else { seconds as u32 };
    Redemption {
        points: points(&document.points, precision).expect("it is required"),
        amount: smallest(&document.amount, digits).expect("it is required"),
        minimum: points(&document.minimum_points, precision).unwrap_or(1).max(step),
        step,
        share: fraction(&document.maximum_share_percent).map(|percent| percent.times(Fraction::new(1, 100))),
        grace_days: document.grace_days.into(),
        default_hold: or(document.default_hold_seconds, 900),
        maximum_hold: or(document.maximum_hold_seconds, 86_400),
    }
}

fn limits(document: &v1::FraudLimits, precision: u32) -> BTreeMap<&'static str, (i64, bool)> {
    use v1::fraud_limits::{Action, CountLimit, PointsLimit};
    let count = |limit: &CountLimit| (limit.maximum.into(), limit.action() == Action::Refuse);
    let number = |limit: &PointsLimit| (points(&limit.maximum, precision).expect("it is required"), limit.action() == Action::Refuse);
    let limits = [
        ("purchases_per_hour", document.purchases_per_hour.as_ref().map(count)),
        ("points_per_day", document.points_per_day.as_ref().map(number)),
        ("adjustments_per_day", document.adjustments_per_day.as_ref().map(count)),
        ("adjusted_points_per_day", document.adjusted_points_per_day.as_ref().map(number)),
    ];
    limits.into_iter().filter_map(|(name, limit)| Some((name, limit?))).collect()
}

fn birthday(document: &v1::BirthdayPolicy, program: &v1::Program) -> Birthday {
    use v1::birthday_reward::Reward;
    let gift = |reward: &v1::BirthdayReward| match reward.reward.as_ref().expect("it is required") {
        Reward::Points(gift) => {
            let expiry = gift.expiry.as_ref().or(program.expiry.as_ref());
            let idle = expiry.filter(|expiry| inactivity(Some(expiry)).is_some()).cloned();
            Gift::Points(points(&gift.points, program.points_precision as u32).expect("it is required"), policy(expiry), idle)
        }
        Reward::VoucherKindId(kind) => Gift::Voucher(kind.clone()),
        Reward::Multiplier(multiplier) => Gift::Multiplier(multiplier.parse().expect("a number")),
    };
    let gifts = document.rewards.iter().map(|reward| (reward.tier_id.clone(), gift(reward))).collect();
    // Their rewards are compared by what they give.
    Birthday { document: v1::BirthdayPolicy { rewards: Vec::new(), ..document.clone() }, gifts }
}

impl Book {
    pub fn read(document: &v1::Program, version: u32, since: Timestamp) -> Self {
        let precision = document.points_precision as u32;
        let digits = if document.currency_code == "VND" { 0 } else { 2 };
        let adjustments = document.adjustments.clone().unwrap_or_default();
        let time = document.purchase_time.unwrap_or_default();
        let or = |number: i32, unset: u32| if number == 0 { unset } else { number as u32 };
        Self {
            version,
            since,
            digits,
            zone: TimeZone::get(&document.time_zone).expect("a time zone"),
            rounds: rounds(document.rounding.as_ref().expect("it is required")),
            rules: document.accrual_rules.iter().map(|rule| self::rule(rule, document, digits)).collect(),
            referral: document.referral.as_ref().map(|referral| Terms::read(referral, digits)),
            doings: document.activity_rules.iter().map(|rule| doing(rule, document)).collect(),
            expiry: policy(document.expiry.as_ref()),
            tiers: document.tiers.iter().map(|tier| self::tier(tier, precision, digits)).collect(),
            redemption: document.redemption.as_ref().map(|policy| redemption(policy, precision, digits)),
            transfers: document.transfers.as_ref().map(|policy| Transfers {
                fewest: points(&policy.minimum_points, precision).unwrap_or(1),
                most: points(&policy.maximum_points, precision),
            }),
            limits: document.fraud_limits.as_ref().map_or_else(BTreeMap::new, |limits| self::limits(limits, precision)),
            floor: document.offline.as_ref().and_then(|policy| points(&policy.floor_limit_points, precision)).unwrap_or(0),
            owes_offline: document.offline.as_ref().is_some_and(|policy| policy.shortfall() != v1::offline_policy::Shortfall::Refuse),
            inactivity: inactivity(document.expiry.as_ref()),
            oldest_first: document.consumption_order() == v1::ConsumptionOrder::OldestFirst,
            maximum_adjustment: points(&adjustments.maximum_points, precision),
            max_age_days: or(time.max_age_days, 30),
            max_ahead_seconds: or(time.max_ahead_seconds, 300),
            birthday: document.birthday.as_ref().map(|birthday| self::birthday(birthday, document)),
            goal: document
                .goals
                .first()
                .map(|goal| Goal { points: points(&goal.points, precision).expect("it is required"), document: goal.clone() }),
            document: document.clone(),
        }
    }

    pub fn date(&self, instant: Timestamp) -> Date {
        self.zone.to_datetime(instant).date()
    }

    /// The first instant of a day on the shop's clock.
    pub fn dawn(&self, date: Date) -> Timestamp {
        self.zone.to_timestamp(date.at(0, 0, 0, 0)).expect("within the calendar")
    }

    /// The first instant of the hour on the shop's clock.
    pub fn hour(&self, instant: Timestamp) -> Timestamp {
        let offset = i64::from(self.zone.to_offset(instant).seconds());
        let second = instant.as_second();
        Timestamp::from_second(second - (second + offset).rem_euclid(3_600)).expect("within the calendar")
    }

    pub fn place_of_tier(&self, id: Option<&String>) -> usize {
        id.and_then(|id| self.tiers.iter().position(|tier| tier.id == *id)).unwrap_or(0)
    }

    /// How points lapse that are earned in a tier: as what gives them says itself, or as the tier does, or else the programme.
    pub fn expiry_in(&self, tier: usize, own: Option<Policy>) -> Policy {
        own.or(self.tiers.get(tier).and_then(|tier| tier.expiry)).unwrap_or(self.expiry)
    }

    /// When points lapse that were earned then and could be spent from then on.
    pub fn lapse(&self, policy: Policy, earned_at: Timestamp, active: Timestamp) -> Lapse {
        let (earned, active) = (self.date(earned_at), self.date(active));
        let first_invalid = match policy {
            Policy::Never => return Lapse::Never,
            Policy::Inactive => return Lapse::Inactive,
            Policy::ByMonth => return Lapse::Month(months::month(self, earned_at)),
            Policy::Days { days, from_activation } => days_later(if from_activation { active } else { earned }, days + 1),
            Policy::Months { months, from_activation } => {
                days_later(months_later(if from_activation { active } else { earned }, months), 1)
            }
            Policy::EndOf { months, more } => {
                let into = (i32::from(earned.month()) - 1) % months;
                months_later(earned.first_of_month(), (more + 1) * months - into)
            }
            Policy::Yearly { month, day, at_least } => {
                let after = days_later(earned, at_least);
                let of = |year: i16| Date::new(year, month, day.min(days_of(year, month))).expect("a date");
                let this = of(after.year());
                days_later(if this.cmp(&after) == Ordering::Greater { this } else { of(after.year() + 1) }, 1)
            }
        };
        Lapse::On(self.dawn(first_invalid))
    }

    /// The first day of the period that a day is in.
    pub fn period(&self, date: Date, period: v1::Period) -> Option<Date> {
        let (year, month) = (date.year(), date.month());
        let first = |month: i8| Date::new(year, month, 1).expect("a date");
        match period {
            v1::Period::Unspecified => panic!("a period is named"),
            v1::Period::Day => Some(date),
            v1::Period::Week => Some(days_later(date, -i64::from(date.weekday().to_monday_zero_offset()))),
            v1::Period::Month => Some(first(month)),
            v1::Period::Quarter => Some(first([1, 4, 7, 10][(month as usize - 1) / 3])),
            v1::Period::Year => Some(first(1)),
            v1::Period::Lifetime => None,
        }
    }
}

pub fn days_later(date: Date, days: i64) -> Date {
    date.checked_add(days.days()).expect("within the calendar")
}

pub fn months_later(date: Date, months: i32) -> Date {
    let count = i32::from(date.year()) * 12 + i32::from(date.month()) - 1 + months;
    let (year, month) = ((count / 12) as i16, (count % 12 + 1) as i8);
    Date::new(year, month, date.day().min(days_of(year, month))).expect("a date")
}

pub fn days_of(year: i16, month: i8) -> i8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
