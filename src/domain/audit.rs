//! Administrative acts: what somebody did by hand, as an audit asks for it. Which entries are acts is decided here and nowhere else.
//!
//! An act is an entry that names an actor, of a kind that a person decides on: points adjusted, transferred, redeemed, held, let go or given
//! back, a purchase returned, an activity told of, a member suspended, reactivated, erased or merged, a tier set, a reward redeemed, a voucher
//! issued, held, let go, used or cancelled, an offer assigned, activated or withdrawn. What such an entry leads to in the same commit (a tier
//! that was reached, a voucher of a goal, a hold that ended, the other side of a transfer, a merge or a referral) is no act of its own. What
//! members, tills and time do is none either where it names nobody; and a purchase with the vouchers and points that pay for it is a sale, and no act,
//! also where a till names its cashier. Where callers are authenticated, those that are neither tills nor shops have to name somebody, so that nothing is
//! missing (`grpc/access`). Every version of a rule book that is published is an act beside these.

use super::{ActivitySide, Entry, EntryKind, MemberId, OfferChange, ReleaseCause, TierCause, VoucherCause, VoucherChange, VoucherRelease};

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
    PointsRedeemed,
    PointsHeld,
    HoldReleased,
    RewardRedeemed,
    VoucherHeld,
    VoucherReleased,
    VoucherUsed,
    OfferActivated,
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
    /// The administrative act that it records; `None`: it records none. `next` is the entry right behind it in the member's ledger, if the
    /// same commit has one.
    pub fn act_before(&self, next: Option<&Entry>) -> Option<Act<'_>> {
        self.act().filter(|_| !self.pays_for_what_follows(next))
    }

    /// The vouchers and points that pay for a purchase are right before it in its request.
    fn pays_for_what_follows(&self, next: Option<&Entry>) -> bool {
        let is_payment = |entry: &Entry| {
            matches!(entry.kind, EntryKind::PointsRedeemed(_))
                || entry.voucher_change().is_some_and(|changed| matches!(changed.change, VoucherChange::Used { .. }))
        };
        let is_sale = |entry: &Entry| matches!(entry.kind, EntryKind::PurchaseAccrued(_));
        is_payment(self)
            && next.is_some_and(|next| next.key == self.key && next.request == self.request && (is_payment(next) || is_sale(next)))
    }

    /// The same, but that vouchers and points which pay for a purchase count as used and redeemed by themselves.
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
            EntryKind::VoucherChanged(changed) => voucher_act(&changed.change).and_then(|(kind, reason)| act(kind, reason)),
            EntryKind::OfferChanged(changed) => match &changed.change {
                OfferChange::Assigned { reason } => act(ActKind::OfferAssigned, reason),
                OfferChange::Withdrawn { reason } => act(ActKind::OfferWithdrawn, reason),
                OfferChange::Activated => act(ActKind::OfferActivated, ""),
            },
            EntryKind::PointsRedeemed(_) => act(ActKind::PointsRedeemed, ""),
            EntryKind::PointsHeld(_) => act(ActKind::PointsHeld, ""),
            EntryKind::HoldReleased(released) => match released.cause {
                ReleaseCause::Request => act(ActKind::HoldReleased, &released.reason),
                ReleaseCause::Expired | ReleaseCause::Erased => None,
            },
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::PurchaseAccrued(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
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

/// Of a change to a voucher: what was done, and why.
fn voucher_act(change: &VoucherChange) -> Option<(ActKind, &str)> {
    match change {
        VoucherChange::Issued { reward: Some(_), .. } => Some((ActKind::RewardRedeemed, "")),
        VoucherChange::Issued { voucher, reason, reward: None, .. } => {
            (voucher.cause == VoucherCause::Manual).then_some((ActKind::VoucherIssued, reason))
        }
        // Also those that a return takes back, if somebody is named for that: it is for an audit to see what else it cost.
        VoucherChange::Cancelled { reason, .. } => Some((ActKind::VoucherCancelled, reason)),
        VoucherChange::Held(_) => Some((ActKind::VoucherHeld, "")),
        VoucherChange::Released { cause: VoucherRelease::Request, reason } => Some((ActKind::VoucherReleased, reason)),
        VoucherChange::Used { .. } => Some((ActKind::VoucherUsed, "")),
        VoucherChange::Released { cause: VoucherRelease::Expired, .. } | VoucherChange::Expired | VoucherChange::Reinstated { .. } => None,
    }
}
