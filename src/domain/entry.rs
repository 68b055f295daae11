//! Entries: the append-only ledger of a member. They carry resolved amounts and instants, so that folding them needs no rule, clock or
//! time-zone table.

use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    ActorId, Allocation, Balance, Identifier, LotId, LotKey, MemberKey, PeriodStart, Person, Points, Profile, Purchase, RequestId,
    RoundingMode, RuleId, Sealed, TierId,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: MemberKey,
    /// 1, 2, 3, ... for each member.
    pub sequence: u64,
    /// When the service learnt of it.
    pub record_time: Timestamp,
    /// When it happened.
    pub occurred_time: Timestamp,
    /// `None`: time alone caused it.
    pub request: Option<Request>,
    pub actor: Option<ActorId>,
    /// The rule book that it was decided by.
    pub program_version: u32,
    /// After this entry.
    pub balance: Balance,
    pub kind: EntryKind,
}

/// What makes a command safe to retry: the same id with the same fingerprint is the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: RequestId,
    pub fingerprint: Fingerprint,
}

/// Hash of a request's method and payload; from the ledger on, and in entries, the keyed one of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    MemberEnrolled {
        person: Sealed<Person>,
    },
    /// As it is after the update.
    ProfileUpdated {
        profile: Sealed<Profile>,
    },
    IdentifierAdded {
        identifier: Sealed<Identifier>,
    },
    IdentifierRemoved {
        identifier: Sealed<Identifier>,
    },
    MemberSuspended {
        reason: String,
    },
    MemberReactivated {
        reason: String,
    },
    PurchaseAccrued(Arc<PurchaseAccrued>),
    PointsAdjusted(Adjusted),
    PointsExpired(Expired),
    TierChanged(TierChange),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseAccrued {
    pub purchase: Arc<Purchase>,
    pub accrual: Accrual,
    /// The tier held when this was recorded, before any change by it; `None` in a programme without tiers.
    pub tier: Option<TierId>,
}

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
    pub expire_time: Option<Timestamp>,
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
    pub expire_time: Option<Timestamp>,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjusted {
    /// Positive or negative.
    pub points: Points,
    pub qualifying_points: Points,
    pub reason: String,
    /// Empty: none.
    pub reference: String,
    /// Of added points.
    pub lot: Option<AccruedLot>,
    /// Of taken points.
    pub allocations: Vec<Allocation>,
    /// Of taken points: when the next of the lots that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    pub allocations: Vec<Allocation>,
    /// When the next of the member's lots that have not lapsed when this is recorded does, if one will; not later than that.
    pub next_expiry_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierChange {
    /// `None`: the programme had no tiers when the member last got one.
    pub from: Option<TierId>,
    pub to: TierId,
    pub cause: TierCause,
    /// Empty unless by hand.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierCause {
    Upgrade,
    Manual,
}

impl Entry {
    /// The change of the available points.
    pub fn points(&self) -> Points {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.accrual.points,
            EntryKind::PointsAdjusted(adjusted) => adjusted.points,
            EntryKind::PointsExpired(expired) => {
                let taken: i64 = expired.allocations.iter().map(|taken| taken.points.0).sum();
                Points(-taken)
            }
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::TierChanged(_) => Points::ZERO,
        }
    }

    /// The lots that folding this entry changes or makes.
    pub fn touched_lots(&self) -> Vec<LotKey> {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.accrual.lots.iter().map(AccruedLot::key).collect(),
            EntryKind::PointsAdjusted(adjusted) => {
                let made = adjusted.lot.iter().map(AccruedLot::key);
                made.chain(adjusted.allocations.iter().map(|taken| taken.lot)).collect()
            }
            EntryKind::PointsExpired(expired) => expired.allocations.iter().map(|taken| taken.lot).collect(),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::TierChanged(_) => Vec::new(),
        }
    }

    /// Folding this entry changes what is personal.
    pub fn touches_person(&self) -> bool {
        match &self.kind {
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. } => true,
            EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired { .. }
            | EntryKind::TierChanged(_) => false,
        }
    }
}

impl Entry {
    /// An upper estimate of the bytes that the entry takes when it is stored.
    pub fn stored_size_estimate(&self) -> usize {
        const ENTRY: usize = 512;
        const LINE: usize = 96;
        const AWARD: usize = 256;
        const ALLOCATION: usize = 32;
        ENTRY
            + match &self.kind {
                EntryKind::PurchaseAccrued(accrued) => {
                    let texts = |labels: &[String]| labels.iter().map(|label| label.len() + 4).sum::<usize>();
                    let purchase = &accrued.purchase;
                    let line = |line: &super::Line| LINE + line.sku.len() + line.category.len() + texts(&line.labels);
                    let award = |award: &Award| AWARD + award.display_name.len() + LINE * (award.lines.len() + award.roundings.len());
                    texts(&purchase.labels)
                        + purchase.channel.len()
                        + LINE * (purchase.tenders.len() + accrued.accrual.line_bases.len() + accrued.accrual.counters.len())
                        + purchase.lines.iter().map(line).sum::<usize>()
                        + accrued.accrual.awards.iter().map(award).sum::<usize>()
                }
                EntryKind::PointsAdjusted(adjusted) => {
                    adjusted.reason.len() + adjusted.reference.len() + ALLOCATION * adjusted.allocations.len()
                }
                EntryKind::PointsExpired(expired) => ALLOCATION * expired.allocations.len(),
                EntryKind::MemberEnrolled { person } => person.open().map_or(0, |person| LINE * 4 + 512 * person.identifiers.len()),
                EntryKind::ProfileUpdated { .. } => LINE * 16,
                EntryKind::IdentifierAdded { .. } | EntryKind::IdentifierRemoved { .. } => LINE * 12,
                EntryKind::MemberSuspended { reason } | EntryKind::MemberReactivated { reason } => reason.len(),
                EntryKind::TierChanged(change) => change.reason.len(),
            }
    }
}

impl AccruedLot {
    pub fn key(&self) -> LotKey {
        LotKey::new(self.expire_time, self.id)
    }
}
