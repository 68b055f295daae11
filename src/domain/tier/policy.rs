//! What a rule book says of tiers.

use std::collections::BTreeMap;

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use rust_decimal::Decimal;

use super::super::{Expiry, Points, Program, TierId, VoucherKindId, calendar};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    pub id: TierId,
    pub display_name: String,
    /// `None` for the lowest.
    pub threshold: Option<TierThreshold>,
    /// What it takes to keep it at a review; `None`: its threshold.
    pub retention: Option<TierThreshold>,
    pub multiplier: Decimal,
    /// Of what is earned in it under rules that have no expiry of their own; `None`: the programme's.
    pub expiry: Option<Expiry>,
    /// While it is held, points that lapse with inactivity do not.
    pub pauses_inactivity: bool,
    pub entry_reward: Option<EntryReward>,
    pub benefits: TierBenefits,
}

impl Tier {
    /// What it takes to keep it; `None` for the lowest.
    pub fn retained_by(&self) -> Option<&TierThreshold> {
        self.retention.as_ref().or(self.threshold.as_ref())
    }
}

/// At least one bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierThreshold {
    pub qualifying_points: Option<Points>,
    pub spend: Option<Decimal>,
    pub visits: Option<u64>,
    pub require_all: bool,
}

/// What a member gets who rises to a tier: points, a voucher, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryReward {
    /// More than 0, and when they lapse: as the reward says itself, or the tier, or the programme.
    pub points: Option<(Points, Expiry)>,
    pub voucher: Option<VoucherKindId>,
}

/// What whoever holds a tier has beside points. The service reckons with discounts and shipping where a till asks for that, and says the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierBenefits {
    /// On every day.
    pub discount_percent: Option<Decimal>,
    pub price_days: Vec<PriceDays>,
    pub free_shipping: bool,
    pub early_access: bool,
    pub custom: BTreeMap<String, String>,
}

impl TierBenefits {
    /// What is off a purchase that occurs at an instant, in per cent: the most of what holds then. Discounts do not add up.
    pub fn discount_at(&self, instant: Timestamp, zone: &TimeZone) -> Option<Decimal> {
        let today = calendar::local_date(zone, instant);
        let on_days = self.price_days.iter().filter(|days| days.hold(instant, today)).map(|days| days.percent);
        on_days.chain(self.discount_percent).max()
    }
}

/// Days on which the members of a tier pay less. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceDays {
    pub display_name: String,
    /// More than 0, at most 100.
    pub percent: Decimal,
    pub start_time: Option<Timestamp>,
    /// Exclusive.
    pub end_time: Option<Timestamp>,
    /// None: all.
    pub weekdays: Vec<Weekday>,
    /// 1 to 31: the first and the last one.
    pub days_of_month: Option<(i8, i8)>,
}

impl PriceDays {
    fn hold(&self, instant: Timestamp, today: Date) -> bool {
        self.start_time.is_none_or(|start| start <= instant)
            && self.end_time.is_none_or(|end| instant < end)
            && (self.weekdays.is_empty() || self.weekdays.contains(&today.weekday()))
            && self.days_of_month.is_none_or(|(first, last)| (first..=last).contains(&today.day()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierPolicy {
    /// The tier that a purchase leads to sets the rate, not the one before it.
    pub rate_at_tier_after: bool,
    /// Points count for tiers as they would be without a tier's multiplier.
    pub qualify_unmultiplied: bool,
    /// Points count for tiers while they are pending.
    pub qualify_pending: bool,
    pub window: TierWindow,
    pub validity: TierValidity,
    pub outcome: ReviewOutcome,
    /// A review comes so many days after the end of the status, and counts what occurred until then.
    pub grace_days: u32,
    /// What counts begins anew at each review; only of windows without periods.
    pub reset_at_review: bool,
    /// A return that leaves less than the threshold takes the tier away at once that was reached with it.
    pub review_returns_at_once: bool,
    /// Members are reviewed under a version of the rule book from when it is in force.
    pub review_at_change: bool,
}

/// Over what is counted what tiers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierWindow {
    #[default]
    Lifetime,
    CalendarYear,
    CalendarQuarter,
    /// From one anniversary of the enrolment to the next.
    MembershipYear,
    /// The last so many months, to the day.
    RollingMonths(u32),
}

/// How long a tier is held before it is reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierValidity {
    #[default]
    Unlimited,
    /// To the end of the window's period.
    EndOfPeriod,
    EndOfNextPeriod,
    /// Until the start of the day so many months after the day of reaching it.
    Months(u32),
}

/// What becomes of a tier that is not kept at a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReviewOutcome {
    /// The tier that was earned follows.
    #[default]
    Earned,
    /// The next lower one, but not less than what was earned.
    OneDown,
    NeverDown,
}

impl TierPolicy {
    /// What is counted is kept by day or month, beside what is counted since enrolment.
    pub fn keeps_counts(&self) -> bool {
        self.window != TierWindow::Lifetime || self.reset_at_review
    }
}

impl TierWindow {
    /// It has periods that follow one another.
    pub fn has_periods(self) -> bool {
        match self {
            TierWindow::CalendarYear | TierWindow::CalendarQuarter | TierWindow::MembershipYear => true,
            TierWindow::Lifetime | TierWindow::RollingMonths(_) => false,
        }
    }

    /// Its length; 0: it has none.
    pub fn months(self) -> u32 {
        match self {
            TierWindow::Lifetime => 0,
            TierWindow::CalendarYear | TierWindow::MembershipYear => 12,
            TierWindow::CalendarQuarter => 3,
            TierWindow::RollingMonths(months) => months,
        }
    }
}

/// What all versions of a rule book together ask of the reviews of tiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TierBounds {
    /// Of the longest window, and where it has periods of the one before it.
    pub months: u32,
    pub grace_days: u32,
    /// What counted since the review before the last is looked at, however long ago that was.
    pub forever: bool,
    /// The versions under which members are reviewed from when they are in force.
    pub at_change: Vec<(u32, Timestamp)>,
}

impl TierBounds {
    pub(in crate::domain) fn add(&mut self, last: Option<&Program>, next: &Program) {
        let policy = &next.tier_policy;
        let periods = if policy.window.has_periods() { 2 } else { 1 };
        self.months = self.months.max(policy.window.months() * periods);
        self.grace_days = self.grace_days.max(policy.grace_days);
        self.forever |= policy.window == TierWindow::Lifetime && policy.reset_at_review;
        let judged = |program: &Program| {
            let judged = |tier: &Tier| (tier.id.clone(), tier.threshold.clone(), tier.retention.clone(), tier.pauses_inactivity);
            (program.tiers.iter().map(judged).collect::<Vec<_>>(), program.tier_policy)
        };
        if policy.review_at_change && !next.tiers.is_empty() && last.is_some_and(|last| judged(last) != judged(next)) {
            self.at_change.push((next.version, next.takes_effect()));
        }
    }
}
