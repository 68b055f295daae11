//! Administrative acts: what somebody did by hand, as an audit asks for it. Which entries are acts is decided here and nowhere else.
//!
//! An act is an entry that names an actor, of a kind that a person decides on: points adjusted, transferred or given back, a purchase
//! returned, an activity told of, a member suspended, reactivated, erased or merged, a tier set, a voucher issued or cancelled, an offer
//! assigned or withdrawn. What such an entry leads to in the same commit (a tier that was reached, a voucher of a goal, a hold that ended,
//! the other side of a transfer, a merge or a referral) is no act of its own. What members, tills and time do is
//! none either: it names nobody. Where callers are authenticated, those that are neither tills nor shops have to name somebody, so that nothing is
//! missing (`grpc/access`). Every version of a rule book that is published is an act beside these.

use super::{ActivitySide, Entry, EntryKind, MemberId, OfferChange, TierCause, VoucherCause, VoucherChange};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActKind {
    PointsAdjusted,
    PointsTransferred,
    RedemptionReversed,
    PurchaseReturned,
    ActivityRecorded,
    MemberSuspended,
    MemberReactivated,
    MemberErased,
    MembersMerged,
    TierSet,
    VoucherIssued,
    VoucherCancelled,
    OfferAssigned,
    OfferWithdrawn,
    ProgramPublished,
}

/// What an entry says of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act<'a> {
    pub kind: ActKind,
    /// Whom else it concerns: who got the points, who was merged into the entry's member, who referred it.
    pub other: Option<MemberId>,
    /// As it was given; empty: none was asked for.
    pub reason: &'a str,
}

impl Entry {
    /// The administrative act that it records; `None`: it records none.
    pub fn act(&self) -> Option<Act<'_>> {
        self.actor.as_ref()?;
        let act = |kind, reason| Some(Act { kind, other: None, reason });
        match &self.kind {
            EntryKind::PointsAdjusted(adjusted) => act(ActKind::PointsAdjusted, &adjusted.reason),
            EntryKind::PointsTransferredOut(sent) => {
                Some(Act { kind: ActKind::PointsTransferred, other: Some(sent.to), reason: &sent.reason })
            }
            EntryKind::RedemptionReversed(reversed) => act(ActKind::RedemptionReversed, &reversed.reason),
            EntryKind::PurchaseReturned(returned) => act(ActKind::PurchaseReturned, &returned.reason),
            EntryKind::ActivityAccrued(accrued) => match accrued.side {
                ActivitySide::Member { referrer } if accrued.referral.is_none() => {
                    Some(Act { kind: ActKind::ActivityRecorded, other: referrer, reason: "" })
                }
                ActivitySide::Member { .. } | ActivitySide::Referrer { .. } => None,
            },
            EntryKind::ReferralMade(made) => Some(Act { kind: ActKind::ActivityRecorded, other: Some(made.referrer), reason: "" }),
            EntryKind::MemberSuspended { reason } => act(ActKind::MemberSuspended, reason),
            EntryKind::MemberReactivated { reason } => act(ActKind::MemberReactivated, reason),
            EntryKind::MemberErased { reason } => act(ActKind::MemberErased, reason),
            EntryKind::MergedFrom(got) => Some(Act { kind: ActKind::MembersMerged, other: Some(got.from), reason: &got.reason }),
            EntryKind::TierChanged(change) => match change.cause {
                TierCause::Manual => act(ActKind::TierSet, &change.reason),
                TierCause::Upgrade | TierCause::Review | TierCause::Return | TierCause::RuleBook => None,
            },
            EntryKind::VoucherChanged(changed) => match &changed.change {
                VoucherChange::Issued { voucher, reason, .. } => {
                    if voucher.cause == VoucherCause::Manual {
                        act(ActKind::VoucherIssued, reason)
                    } else {
                        None
                    }
                }
                // Also those that a return takes back, if somebody is named for that: it is for an audit to see what else it cost.
                VoucherChange::Cancelled { reason, .. } => act(ActKind::VoucherCancelled, reason),
                VoucherChange::Held(_)
                | VoucherChange::Released { .. }
                | VoucherChange::Used { .. }
                | VoucherChange::Expired
                | VoucherChange::Reinstated { .. } => None,
            },
            EntryKind::OfferChanged(changed) => match &changed.change {
                OfferChange::Assigned { reason } => act(ActKind::OfferAssigned, reason),
                OfferChange::Withdrawn { reason } => act(ActKind::OfferWithdrawn, reason),
                OfferChange::Activated => None,
            },
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::PointsRedeemed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::MergedInto(_)
            | EntryKind::BirthdayChanged(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralTakenBack(_) => None,
        }
    }
}
