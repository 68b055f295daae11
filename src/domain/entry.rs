//! Entries: the append-only ledger of a member. They carry resolved amounts and instants, so that folding them needs no rule, clock or
//! time-zone table.

use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Accrual, AccruedLot, Activated, ActivityAccrued, ActorId, Allocation, Balance, BirthdayChanged, BirthdayGiven, Counted, EntryRef,
    FraudFlag, GoalChanged, Held, HoldId, Identifier, LotId, LotKey, MemberKey, MergedFrom, MergedInto, MonthRecord, OfferChanged,
    OrderKey, PendingKey, PendingLot, Person, Points, Portion, PriceEffect, PrincipalId, Profile, PromotionCounts, Purchase, Redeemed,
    Referral, ReferralTakenBack, Released, RequestId, Returned, Reversed, Sealed, SegmentsChanged, TierChange, TierId, TierKept,
    TierRewarded, TransferredIn, TransferredOut, VoucherChanged, Watched,
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
    /// Whose credential the call had that caused it; `None`: time alone did, or callers were not authenticated.
    pub principal: Option<PrincipalId>,
    /// The rule book that it was decided by.
    pub program_version: u32,
    /// After this entry.
    pub balance: Balance,
    /// `None`: no fraud limit counted it.
    pub watched: Option<Box<Watched>>,
    /// It moves the clock of the points that lapse with inactivity: they lapse then, unless the member is active before.
    pub inactivity_time: Option<Timestamp>,
    /// The record of months without activity, where it changes it.
    pub inactive_months: Option<Box<MonthRecord>>,
    /// What it adds to the totals since enrolment counts in this day or month too; `None`: in none.
    pub counted: Option<Counted>,
    /// It counts in this day too, for windows of segments; `None`: no segment has looked at one yet.
    pub day_counted: Option<Counted>,
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
    /// What is personal is gone for good, here and in all entries before; points and entries stay.
    MemberErased {
        reason: String,
    },
    PurchaseAccrued(Arc<PurchaseAccrued>),
    PointsAdjusted(Adjusted),
    PointsExpired(Expired),
    TierChanged(TierChange),
    TierKept(TierKept),
    TierRewarded(TierRewarded),
    PointsRedeemed(Redeemed),
    RedemptionReversed(Reversed),
    PointsHeld(Held),
    HoldReleased(Released),
    PointsActivated(Activated),
    PurchaseReturned(Arc<Returned>),
    PointsTransferredOut(TransferredOut),
    PointsTransferredIn(TransferredIn),
    ActivityAccrued(Arc<ActivityAccrued>),
    MergedInto(MergedInto),
    MergedFrom(Arc<MergedFrom>),
    VoucherChanged(VoucherChanged),
    BirthdayChanged(Box<BirthdayChanged>),
    GoalChanged(GoalChanged),
    SegmentsChanged(SegmentsChanged),
    OfferChanged(OfferChanged),
    /// It waits for the member's first qualifying purchase.
    ReferralMade(Box<Referral>),
    /// What a referral gave is taken back, on one of its sides.
    ReferralTakenBack(Box<ReferralTakenBack>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseAccrued {
    pub purchase: Arc<Purchase>,
    pub accrual: Accrual,
    /// The tier held when this was recorded, before any change by it; `None` in a programme without tiers.
    pub tier: Option<TierId>,
    /// The entries that paid the tenders of points.
    pub redemptions: Vec<EntryRef>,
    /// What led from the till's prices to those of the purchase, in their order.
    pub effects: Vec<PriceEffect>,
    /// The entry that gave the member what a referral gives for it; of an exchange, what it gave for the purchase that goods came back of.
    /// `None`: it is no referral's qualifying purchase.
    pub referral: Option<EntryRef>,
    /// Of an exchange that goes on with what a referral gave: the basis of all goods that are left of that, with these.
    pub referral_basis: Option<Decimal>,
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
    /// Of taken points: those that were not there, and are owed.
    pub debt: Points,
    /// Of taken points: when the next of the lots that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    pub allocations: Vec<Allocation>,
    /// When the next of the member's lots with a date does that has not lapsed when this is recorded, if one will; not later than that. Where
    /// more have lapsed than one commit takes, when the next of those did.
    pub next_expiry_time: Option<Timestamp>,
}

impl Entry {
    /// What was paid, if it is a purchase.
    pub fn purchase_total(&self) -> Option<Decimal> {
        if let EntryKind::PurchaseAccrued(accrued) = &self.kind { Some(accrued.purchase.total) } else { None }
    }

    pub fn reference(&self) -> EntryRef {
        EntryRef { member: self.key.member, sequence: self.sequence }
    }

    /// The change of the available points.
    pub fn points(&self) -> Points {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => received(&accrued.accrual.lots),
            EntryKind::ActivityAccrued(accrued) => received(&accrued.lots),
            EntryKind::PointsAdjusted(adjusted) => match &adjusted.lot {
                Some(lot) => lot.available(),
                None => taken(&adjusted.allocations),
            },
            EntryKind::PointsExpired(expired) => taken(&expired.allocations),
            EntryKind::BirthdayChanged(changed) => changed.lot().map_or(Points::ZERO, AccruedLot::available),
            EntryKind::PointsActivated(activated) => Points(activated.lots.iter().map(|active| active.lot.available().0).sum()),
            EntryKind::PurchaseReturned(returned) => Points(taken(&returned.from_sale).0 + taken(&returned.from_others).0),
            EntryKind::PointsRedeemed(redeemed) => match &redeemed.captured {
                Some(captured) => Points(sum(&captured.released).0 - captured.debt_paid.0),
                None => Points(redeemed.owed.0 - redeemed.points.0),
            },
            EntryKind::RedemptionReversed(reversed) => Points(reversed.points.0 - reversed.debt_paid.0),
            EntryKind::PointsHeld(held) => Points(-held.hold.points.0),
            EntryKind::HoldReleased(released) => Points(sum(&released.portions).0 - released.debt_paid.0),
            EntryKind::PointsTransferredOut(sent) => Points(-sent.points.0),
            EntryKind::PointsTransferredIn(got) => Points(got.lots.iter().map(|(lot, _)| lot.available().0).sum()),
            EntryKind::MergedInto(gone) => taken(&gone.allocations),
            EntryKind::MergedFrom(got) => Points(sum(&got.lots).0 - got.debt_paid.0 + taken(&got.allocations).0),
            EntryKind::TierRewarded(rewarded) => rewarded.lot.as_ref().map_or(Points::ZERO, AccruedLot::available),
            EntryKind::VoucherChanged(changed) => changed.points(),
            EntryKind::ReferralTakenBack(back) => Points(taken(&back.from_bonus).0 + taken(&back.from_others).0),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_) => Points::ZERO,
        }
    }

    /// The lots that folding this entry changes or makes.
    pub fn touched_lots(&self) -> Vec<LotKey> {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => opened(&accrued.accrual.lots),
            EntryKind::ActivityAccrued(accrued) => opened(&accrued.lots),
            EntryKind::BirthdayChanged(changed) => changed.lot().map(AccruedLot::key).into_iter().collect(),
            EntryKind::PointsActivated(activated) => activated.lots.iter().map(|active| active.lot.key()).collect(),
            EntryKind::PurchaseReturned(returned) => {
                returned.from_sale.iter().chain(&returned.from_others).map(|taken| taken.lot).collect()
            }
            EntryKind::PointsAdjusted(adjusted) => {
                let made = adjusted.lot.iter().map(AccruedLot::key);
                made.chain(adjusted.allocations.iter().map(|taken| taken.lot)).collect()
            }
            EntryKind::PointsExpired(expired) => expired.allocations.iter().map(|taken| taken.lot).collect(),
            EntryKind::PointsRedeemed(redeemed) => match &redeemed.captured {
                Some(captured) => lots(&captured.released),
                None => lots(&redeemed.portions),
            },
            EntryKind::RedemptionReversed(reversed) => {
                reversed.lot.iter().map(AccruedLot::key).chain(reversed.put_back.iter().map(|back| back.into)).collect()
            }
            EntryKind::PointsHeld(held) => lots(&held.hold.portions),
            EntryKind::HoldReleased(released) => lots(&released.portions),
            EntryKind::PointsTransferredOut(sent) => lots(&sent.portions),
            EntryKind::PointsTransferredIn(got) => got.lots.iter().map(|(lot, _)| lot.key()).collect(),
            EntryKind::MergedInto(gone) => gone.allocations.iter().map(|taken| taken.lot).collect(),
            EntryKind::MergedFrom(got) => lots(&got.lots).into_iter().chain(got.allocations.iter().map(|taken| taken.lot)).collect(),
            EntryKind::TierRewarded(rewarded) => rewarded.lot.iter().map(AccruedLot::key).collect(),
            EntryKind::VoucherChanged(changed) => changed.touched_lots(),
            EntryKind::ReferralTakenBack(back) => back.from_bonus.iter().chain(&back.from_others).map(|taken| taken.lot).collect(),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_) => Vec::new(),
        }
    }

    /// The numbers of the lots that it made.
    pub fn made_lots(&self) -> Vec<LotId> {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.accrual.lots.iter().map(|lot| lot.id).collect(),
            EntryKind::ActivityAccrued(accrued) => accrued.lots.iter().map(|lot| lot.id).collect(),
            EntryKind::BirthdayChanged(changed) => changed.lot().map(|lot| lot.id).into_iter().collect(),
            EntryKind::PointsAdjusted(adjusted) => adjusted.lot.iter().map(|lot| lot.id).collect(),
            EntryKind::PointsTransferredIn(got) => got.lots.iter().map(|(lot, _)| lot.id).collect(),
            EntryKind::MergedFrom(got) => {
                got.lots.iter().map(|portion| portion.lot.id()).chain(got.pending.iter().map(|lot| lot.id)).collect()
            }
            EntryKind::RedemptionReversed(reversed) => {
                let moved = reversed.put_back.iter().filter(|back| back.into != back.portion.lot).map(|back| back.into.id());
                reversed.lot.iter().map(|lot| lot.id).chain(moved).collect()
            }
            EntryKind::TierRewarded(rewarded) => rewarded.lot.iter().map(|lot| lot.id).collect(),
            EntryKind::VoucherChanged(changed) => changed.made_lots(),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PurchaseReturned(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::MergedInto(_) => Vec::new(),
        }
    }

    /// The lots that the points of a hold came from which it redeems.
    pub fn captured_lots(&self) -> Vec<LotId> {
        if let EntryKind::PointsRedeemed(Redeemed { captured: Some(_), portions, .. }) = &self.kind {
            return portions.iter().map(|portion| portion.lot.id()).collect();
        }
        Vec::new()
    }

    /// The order that it belongs to.
    pub fn order(&self) -> Option<&OrderKey> {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.purchase.order.as_ref(),
            EntryKind::PointsRedeemed(redeemed) => redeemed.order.as_ref(),
            EntryKind::RedemptionReversed(reversed) => reversed.order.as_ref(),
            EntryKind::PointsHeld(held) => held.hold.order.as_ref(),
            EntryKind::PointsActivated(activated) => activated.confirmed.as_ref().map(|confirmed| &confirmed.order),
            EntryKind::PurchaseReturned(returned) => Some(&returned.order),
            EntryKind::VoucherChanged(changed) => changed.order(),
            EntryKind::ActivityAccrued(accrued) => accrued.referral.as_ref()?.order.as_ref(),
            EntryKind::ReferralTakenBack(back) => Some(&back.order),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_) => None,
        }
    }

    /// The pending lots that folding this entry changes or makes.
    pub fn touched_pending(&self) -> Vec<PendingKey> {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.accrual.lots.iter().filter_map(AccruedLot::pending_key).collect(),
            EntryKind::ActivityAccrued(accrued) => accrued.lots.iter().filter_map(AccruedLot::pending_key).collect(),
            EntryKind::PointsActivated(activated) => activated.lots.iter().map(|active| active.pending).collect(),
            EntryKind::PurchaseReturned(returned) => returned.from_pending.iter().map(|taken| taken.lot).collect(),
            EntryKind::MergedInto(gone) => gone.pending.iter().map(|taken| taken.lot).collect(),
            EntryKind::MergedFrom(got) => got.pending.iter().map(PendingLot::key).collect(),
            EntryKind::ReferralTakenBack(back) => back.from_pending.iter().map(|taken| taken.lot).collect(),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::VoucherChanged(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::PointsTransferredIn(_) => Vec::new(),
        }
    }

    /// The hold that folding this entry makes or ends.
    pub fn touched_hold(&self) -> Option<HoldId> {
        match &self.kind {
            EntryKind::PointsRedeemed(redeemed) => redeemed.captured.as_ref().map(|captured| captured.hold),
            EntryKind::PointsHeld(held) => Some(held.hold.id),
            EntryKind::HoldReleased(released) => Some(released.hold),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PurchaseReturned(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::ActivityAccrued(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::VoucherChanged(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_) => None,
        }
    }

    /// The entry whose story this one goes on with: a redemption that goes back, a hold that ends, a purchase that is confirmed or
    /// returned, a voucher that was issued, what a referral gave.
    pub fn continues(&self) -> Option<EntryRef> {
        let own = |hold: HoldId| EntryRef { member: self.key.member, sequence: hold.0 };
        match &self.kind {
            EntryKind::PointsActivated(activated) => activated.confirmed.as_ref().map(|confirmed| confirmed.sale.sale),
            EntryKind::PurchaseReturned(returned) => Some(returned.sale.sale),
            EntryKind::PointsRedeemed(redeemed) => redeemed.captured.as_ref().map(|captured| own(captured.hold)),
            EntryKind::RedemptionReversed(reversed) => Some(reversed.redemption),
            EntryKind::HoldReleased(released) => Some(own(released.hold)),
            EntryKind::VoucherChanged(changed) => changed.continues(),
            EntryKind::ActivityAccrued(accrued) => accrued.continues(),
            EntryKind::ReferralTakenBack(back) => Some(back.bonus),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_) => None,
        }
    }

    /// Folding this entry changes what is personal.
    pub fn touches_person(&self) -> bool {
        match &self.kind {
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::MemberErased { .. } => true,
            EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PurchaseReturned(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::VoucherChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::ActivityAccrued(_) => false,
        }
    }
}

impl BirthdayChanged {
    /// The points that were given.
    pub(super) fn lot(&self) -> Option<&AccruedLot> {
        match &self.granted.as_ref()?.given {
            BirthdayGiven::Points(lot) => Some(lot),
            BirthdayGiven::Voucher(_) | BirthdayGiven::Multiplier(_) => None,
        }
    }
}

impl Entry {
    /// What it changes of what promotions have given.
    pub fn promotion_counts(&self) -> Option<&PromotionCounts> {
        match &self.kind {
            EntryKind::PurchaseAccrued(accrued) => Some(&accrued.accrual.promotion_counts),
            EntryKind::PurchaseReturned(returned) => Some(&returned.promotion_counts),
            EntryKind::MergedFrom(got) => Some(&got.promotions),
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::ActivityAccrued(_)
            | EntryKind::VoucherChanged(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::MergedInto(_) => None,
        }
    }

    /// The fraud limits that it exceeds.
    pub fn flags(&self) -> &[FraudFlag] {
        self.watched.as_ref().map_or(&[], |watched| &watched.flags)
    }
}

/// Those that can be spent.
fn opened(lots: &[AccruedLot]) -> Vec<LotKey> {
    lots.iter().filter(|lot| lot.pending.is_none()).map(AccruedLot::key).collect()
}

fn received(lots: &[AccruedLot]) -> Points {
    Points(lots.iter().map(|lot| lot.available().0).sum())
}

fn taken(allocations: &[Allocation]) -> Points {
    Points(-allocations.iter().map(|taken| taken.points.0).sum::<i64>())
}

fn sum(portions: &[Portion]) -> Points {
    Points(portions.iter().map(|portion| portion.points.0).sum())
}

fn lots(portions: &[Portion]) -> Vec<LotKey> {
    portions.iter().map(|portion| portion.lot).collect()
}
