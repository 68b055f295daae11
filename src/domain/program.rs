//! The rule book of a programme, validated: one published version. Which of several judges what is in [`versions`].

mod versions;

pub use versions::{EarlierTurn, ProgramHistory};

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{Timestamp, ToSpan as _, civil::Weekday, tz::TimeZone};
use rust_decimal::Decimal;

use super::{
    ActivityId, BirthdayPolicy, Currency, FraudLimit, FraudLimits, Goal, Offer, Points, ProgramId, Promotion, PromotionGroup,
    ReferralTerms, Reward, RewardId, RuleId, Segment, TenderKind, Tier, TierId, TierPolicy, VoucherKind, VoucherKindId,
};

/// One published version. Everything in it has been checked; `contract::program` is where it is parsed.
#[derive(Debug, Clone)]
pub struct Program {
    pub id: ProgramId,
    pub display_name: String,
    /// 1, 2, 3, ...
    pub version: u32,
    pub publish_time: Timestamp,
    /// When it takes effect, if that is not when it is published.
    pub effective_time: Option<Timestamp>,
    pub currency: Currency,
    pub time_zone: TimeZone,
    /// Decimal places of a point, 0 to 2.
    pub points_precision: u32,
    pub basis: BasisPolicy,
    pub rounding: Rounding,
    /// In the order of the file.
    pub rules: Vec<AccrualRule>,
    /// What members do beside buying, and what it earns; in the order of the file.
    pub activity_rules: Vec<ActivityRule>,
    pub combination: Combination,
    pub expiry: Expiry,
    pub consumption_order: ConsumptionOrder,
    /// From the lowest to the highest; empty in a programme without tiers.
    pub tiers: Vec<Tier>,
    pub tier_policy: TierPolicy,
    pub purchase_time: PurchaseTimePolicy,
    /// The most that one adjustment may move, either way.
    pub maximum_adjustment: Option<Points>,
    /// Points may be taken by an adjustment beyond the balance, and are owed then.
    pub adjust_into_debt: bool,
    /// `None`: points are not spent as money.
    pub redemption: Option<RedemptionPolicy>,
    pub returns: ReturnPolicy,
    /// `None`: members cannot give points away.
    pub transfers: Option<TransferPolicy>,
    pub fraud_limits: FraudLimits,
    pub offline: OfflinePolicy,
    /// In the order of the file.
    pub voucher_kinds: Vec<VoucherKind>,
    /// `None`: nothing is given for birthdays.
    pub birthday: Option<BirthdayPolicy>,
    /// `None`: points do not turn into vouchers by themselves.
    pub goal: Option<Goal>,
    /// What members can have for points, if they ask for it.
    pub rewards: BTreeMap<RewardId, Reward>,
    /// In the order of the file.
    pub promotions: Vec<Promotion>,
    pub promotion_groups: Vec<PromotionGroup>,
    /// In the order of the file.
    pub segments: Vec<Segment>,
    /// In the order of the file.
    pub offers: Vec<Offer>,
    /// `None`: a referral gives at once what the activity rules say.
    pub referral: Option<ReferralTerms>,
}

/// How long something is held if a rule book does not say: a quarter of an hour, and a day at most.
pub const DEFAULT_HOLD_SECONDS: u32 = 900;
pub const DEFAULT_MAXIMUM_HOLD_SECONDS: u32 = 86_400;

/// Points that a till gives for goods while it cannot ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfflinePolicy {
    /// The most of one sale; 0: none.
    pub floor_limit: Points,
    /// What the balance lacks of them is owed. Otherwise the sale is refused.
    pub into_debt: bool,
}

/// Which lots a debit takes points from first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumptionOrder {
    /// As [`super::LotKey`] orders them.
    SoonestExpiry,
    /// By the instant at which they were earned, then by number. All lots of the member are loaded for it.
    OldestFirst,
}

/// Points that members give to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferPolicy {
    /// The fewest at a time; at least 1.
    pub minimum: Points,
    /// The most at a time.
    pub maximum: Option<Points>,
}

/// What happens where a return takes points that are not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnPolicy {
    /// What the sale's own points lack is taken from other lots.
    pub from_other_lots: bool,
    pub shortfall: Shortfall,
}

/// What becomes of points that a return should take and that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// They are owed, and later points pay.
    Debt,
    /// They are let go.
    Forgive,
    /// The return is refused.
    Refuse,
    /// The cashier keeps their worth back from the refund.
    Withhold,
}

/// When points of a purchase can be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Immediate,
    /// From the beginning of the local day so many days after the sale.
    AfterDays(u32),
    /// When the purchase is confirmed.
    Confirmation,
}

/// Points as money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedemptionPolicy {
    /// So many points are worth `amount`. More than 0, both.
    pub points: Points,
    pub amount: Decimal,
    /// The fewest at a time.
    pub minimum: Points,
    /// Only multiples of it; at least 1.
    pub step: Points,
    /// The part of an order that may be paid with points, in per cent. `None`: all of it, and the order's total need not be said.
    pub maximum_share: Option<Decimal>,
    /// Points that go back and have lapsed meanwhile are valid for so many days more; 0: they lapse.
    pub grace_days: u32,
    pub default_hold_seconds: u32,
    pub maximum_hold_seconds: u32,
}

/// Which part of a purchase earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BasisPolicy {
    pub include_tax: bool,
    pub include_shipping: bool,
    pub include_tips: bool,
    pub include_gift_cards: bool,
    pub include_points_and_vouchers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding {
    pub mode: RoundingMode,
    pub stage: RoundingStage,
    /// The fraction waits for the next purchase; only with [`RoundingMode::Floor`].
    pub carry: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundingMode {
    Floor,
    HalfUp,
    HalfEven,
    Ceiling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundingStage {
    Line,
    Rule,
    Order,
}

#[derive(Debug, Clone)]
pub struct AccrualRule {
    pub id: RuleId,
    pub display_name: String,
    pub priority: u32,
    pub rate: super::Rate,
    pub filter: Filter,
    pub limits: Limits,
    /// The rule's own, or the programme's.
    pub rounding: Rounding,
    /// The rule's own, or the programme's.
    pub expiry: Expiry,
    /// It is the rule's own, which goes before that of a tier.
    pub has_own_expiry: bool,
    /// The rule's own, or the programme's.
    pub activation: Activation,
    pub with_tier_multiplier: bool,
    pub qualifying: bool,
}

/// Points for an activity. Several rules of one activity sum.
#[derive(Debug, Clone)]
pub struct ActivityRule {
    pub id: RuleId,
    pub display_name: String,
    pub activity: ActivityId,
    pub earner: Earner,
    /// More than 0.
    pub points: Points,
    /// A cap, and once per member; of who earns.
    pub limits: Limits,
    /// The rule's own, or the programme's.
    pub expiry: Expiry,
    /// It is the rule's own, which goes before that of a tier.
    pub has_own_expiry: bool,
    /// The rule's own, or the programme's; never [`Activation::Confirmation`].
    pub activation: Activation,
    pub qualifying: bool,
    /// From when on what is done counts; `None`: since ever.
    pub start_time: Option<Timestamp>,
    /// Until when, exclusive; `None`: for ever.
    pub end_time: Option<Timestamp>,
}

/// Whom an activity rule gives points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earner {
    /// Who does it.
    Member,
    /// The member who referred the one who does it.
    Referrer,
}

/// What a rule asks for; empty means any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub skus: BTreeSet<String>,
    pub categories: BTreeSet<String>,
    pub labels: BTreeSet<String>,
    pub excluded_skus: BTreeSet<String>,
    pub excluded_categories: BTreeSet<String>,
    pub excluded_labels: BTreeSet<String>,
    pub stores: BTreeSet<String>,
    pub channels: BTreeSet<String>,
    pub tenders: BTreeSet<TenderKind>,
    pub weekdays: Vec<Weekday>,
    pub hours: Vec<HourRange>,
    /// Of the basis, all lines together.
    pub minimum_order: Decimal,
}

/// From `start` inclusive to `end` exclusive; `start` after `end` spans midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourRange {
    pub start: i8,
    pub end: i8,
}

#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub minimum: Option<Points>,
    pub maximum: Option<Points>,
    pub cap: Option<PointsCap>,
    pub once_per_member: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct PointsCap {
    pub points: Points,
    pub period: Period,
}

/// From the shortest to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Lifetime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combination {
    Sum,
    Exclusive,
    Best,
}

/// When points lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Never,
    AfterDays(u32),
    AfterMonths(u32),
    /// Counted from the day on which they become active.
    DaysAfterActivation(u32),
    MonthsAfterActivation(u32),
    EndOfPeriod {
        period: CalendarPeriod,
        additional_periods: u32,
    },
    FixedDate {
        month: i8,
        day: i8,
        minimum_days: u32,
    },
    /// When the member has not been active for some time. Of a whole programme: its rules cannot have another.
    Inactivity(InactivityPolicy),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InactivityPolicy {
    pub months: u32,
    pub activities: CountedActivities,
    pub extension: Extension,
}

/// What an activity does for points that lapse with inactivity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The months begin anew for all of them, which lapse together.
    Restart,
    /// A calendar month with any adds a month to the life of each point of before.
    Month,
}

/// What counts as being active; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountedActivities {
    pub purchase: bool,
    /// Out of lots or out of a hold.
    pub redemption: bool,
    /// Something done beside purchases; of a referral not the part of the one who referred.
    pub activity: bool,
    /// By hand, either way.
    pub adjustment: bool,
    /// Of the one who gives.
    pub transfer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarPeriod {
    Month,
    Quarter,
    HalfYear,
    Year,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurchaseTimePolicy {
    pub max_age_days: u32,
    pub max_ahead_seconds: u32,
}

impl PurchaseTimePolicy {
    /// Less: an instant is too long ago; greater: it is too far ahead.
    pub(super) fn judge(self, occurred_time: Timestamp, now: Timestamp) -> Ordering {
        let oldest = now.checked_sub((i64::from(self.max_age_days) * 24).hours()).unwrap_or(Timestamp::MIN);
        let newest = now.checked_add(i64::from(self.max_ahead_seconds).seconds()).unwrap_or(Timestamp::MAX);
        if occurred_time < oldest {
            Ordering::Less
        } else if occurred_time > newest {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }
}

impl Program {
    /// When it takes effect.
    pub fn takes_effect(&self) -> Timestamp {
        self.effective_time.unwrap_or(self.publish_time)
    }

    /// It takes effect later than it is published, by time alone.
    pub fn is_deferred(&self) -> bool {
        self.takes_effect() > self.publish_time
    }

    fn inactivity(&self) -> Option<InactivityPolicy> {
        match self.expiry {
            Expiry::Inactivity(policy) => Some(policy),
            Expiry::Never
            | Expiry::AfterDays(_)
            | Expiry::AfterMonths(_)
            | Expiry::DaysAfterActivation(_)
            | Expiry::MonthsAfterActivation(_)
            | Expiry::EndOfPeriod { .. }
            | Expiry::FixedDate { .. } => None,
        }
    }

    /// The place of a tier in the ranking; the lowest for `None` and for a tier that the rule book does not have.
    pub fn rank(&self, tier: Option<&TierId>) -> usize {
        tier.and_then(|tier| self.tiers.iter().position(|candidate| candidate.id == *tier)).unwrap_or(0)
    }

    pub fn voucher_kind(&self, id: &VoucherKindId) -> Option<&VoucherKind> {
        self.voucher_kinds.iter().find(|kind| kind.id == *id)
    }

    /// How long a voucher is held if nobody says, and at most: as points, where they are redeemed.
    pub(super) fn hold_seconds(&self) -> (u32, u32) {
        match &self.redemption {
            Some(policy) => (policy.default_hold_seconds, policy.maximum_hold_seconds),
            None => (DEFAULT_HOLD_SECONDS, DEFAULT_MAXIMUM_HOLD_SECONDS),
        }
    }

    /// Of the longest window of its segments; 0: none has one.
    pub(super) fn segment_days(&self) -> u32 {
        self.segments.iter().map(Segment::window_days).max().unwrap_or(0)
    }

    /// Counts what operators adjust.
    pub fn watches_operators(&self) -> bool {
        let limits = [FraudLimit::AdjustmentsPerDay, FraudLimit::AdjustedPointsPerDay];
        limits.iter().any(|limit| self.fraud_limits.contains_key(limit))
    }

    /// `None` in a programme without tiers.
    pub fn tier(&self, tier: Option<&TierId>) -> Option<&Tier> {
        self.tiers.get(self.rank(tier))
    }

    /// Whoever rises to one of them gets a voucher.
    pub fn has_tier_vouchers(&self) -> bool {
        self.tiers.iter().filter_map(|tier| tier.entry_reward.as_ref()).any(|reward| reward.voucher.is_some())
    }
}
