//! What a purchase earns, and why: as its entry says it.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    LotExpiry, LotId, LotKey, MemberFacts, PendingKey, PeriodStart, Points, PromotionAward, PromotionCounts, RoundingMode, RuleId, TierId,
};

/// What a purchase earns, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accrual {
    pub points: Points,
    pub qualifying_points: Points,
    /// Of the whole purchase.
    pub basis: Decimal,
    /// The rule book that was in force when the purchase occurred.
    pub program_version: u32,
    /// The tier whose multiplier was used; `None` in a programme without tiers.
    pub tier: Option<TierId>,
    /// What a birthday multiplied by, beside the tier.
    pub birthday_multiplier: Option<Decimal>,
    pub awards: Vec<Award>,
    /// Of each line of the purchase; after them shipping and tip, if they earn.
    pub line_bases: Vec<LineBasis>,
    /// Set if the sum of all awards was rounded once.
    pub order_rounding: Option<RoundingStep>,
    /// The lots that hold the awards.
    pub lots: Vec<AccruedLot>,
    /// Fractions that wait after this purchase, for the rules that it touched; 0 is gone.
    pub carries: Vec<(Option<RuleId>, Decimal)>,
    /// What counters stand at after this purchase, for those that it touched.
    pub counters: Vec<Counter>,
    /// Counters that no purchase that may still come can need.
    pub dropped_counters: Vec<(RuleId, PeriodStart)>,
    /// What promotions gave beside the rules, in the order of the file; also those of which nothing was left.
    pub promotions: Vec<PromotionAward>,
    /// What is counted of them.
    pub promotion_counts: PromotionCounts,
    /// Where a condition of theirs reads it.
    pub member_facts: Option<Box<MemberFacts>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub rule: RuleId,
    pub period: PeriodStart,
    pub points: Points,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccruedLot {
    pub id: LotId,
    pub points: Points,
    pub expiry: LotExpiry,
    /// So many of the points paid debt, and are not in the lot.
    pub debt_paid: Points,
    /// They cannot be spent yet.
    pub pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// `None`: when the purchase is confirmed.
    pub activate_time: Option<Timestamp>,
    /// What counts for tiers only then.
    pub qualifying_points: Points,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineBasis {
    pub order_discount_share: Decimal,
    pub tender_share: Decimal,
    pub basis: Decimal,
}

/// One rule's part of an accrual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Award {
    pub rule: RuleId,
    pub display_name: String,
    /// What the rule counted: money, units, orders or products.
    pub basis: Decimal,
    pub rate: Rate,
    pub multiplier: Decimal,
    /// One, or one for each line; none if the order was rounded as a whole.
    pub roundings: Vec<RoundingStep>,
    pub uncapped_points: Points,
    pub limit: Option<LimitKind>,
    pub points: Points,
    pub qualifying_points: Points,
    pub lines: Vec<AwardLine>,
    pub expiry: LotExpiry,
    /// The lot that holds the points; `None` where there are none.
    pub lot: Option<LotId>,
}

/// What a rule gives; points in whole points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rate {
    PerAmount { amount: Decimal, points: Decimal, whole_blocks: bool },
    PerUnit { points: Decimal },
    PerOrder { points: Decimal },
    PerProduct { points: Decimal },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    Minimum,
    Maximum,
    Cap,
    OncePerMember,
    /// Of a promotion: the member has had it as often as it may.
    Times,
    /// Of a promotion: what it gives in a day, over all members.
    DailyCap,
    /// Of a promotion: what it gives in all.
    Budget,
    /// Of a promotion: the member has as many vouchers as anybody may.
    Vouchers,
    /// Of a promotion: the member is in the control arm of its trial.
    Control,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwardLine {
    /// Place in the purchase, from 0; after the last line shipping, then tip.
    pub line: usize,
    pub basis: Decimal,
    pub points: Points,
}

/// How a fraction was treated, in the smallest unit of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundingStep {
    pub exact: Decimal,
    pub carried_in: Decimal,
    pub mode: RoundingMode,
    pub rounded: Points,
    pub carried_out: Decimal,
}

impl AccruedLot {
    pub fn new(id: LotId, points: Points, expiry: LotExpiry) -> Self {
        Self { id, points, expiry, debt_paid: Points::ZERO, pending: None }
    }

    /// Of a lot that is pending.
    pub fn pending_key(&self) -> Option<PendingKey> {
        self.pending.map(|pending| PendingKey::new(pending.activate_time, self.id))
    }

    /// The points that can be spent.
    pub fn available(&self) -> Points {
        if self.pending.is_some() { Points::ZERO } else { Points(self.points.0 - self.debt_paid.0) }
    }

    pub fn key(&self) -> LotKey {
        LotKey::new(self.expiry, self.id)
    }
}
