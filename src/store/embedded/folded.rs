//! What `fold.proto` reads of an entry, in the form of the whole entry. What it leaves out is empty, which no row shows.

use super::stored::{
    Accrual, Entry, FoldedAccrual, FoldedEntry, FoldedPurchase, FoldedPurchaseAccrued, Purchase, PurchaseAccrued, entry::Kind,
    folded_entry::Kind as FoldedKind,
};

impl From<FoldedEntry> for Entry {
    fn from(entry: FoldedEntry) -> Self {
        let FoldedEntry {
            sequence,
            record_time,
            delay,
            request_uuid,
            request_id,
            fingerprint,
            actor_id,
            program_version,
            balance,
            sealed,
            watched,
            inactivity_time,
            inactive_months,
            counted,
            day_counted,
            principal_id,
            kind,
        } = entry;
        Self {
            principal_id,
            day_counted,
            sequence,
            record_time,
            delay,
            request_uuid,
            request_id,
            fingerprint,
            actor_id,
            program_version,
            balance,
            sealed,
            watched,
            inactivity_time,
            inactive_months,
            counted,
            kind: kind.map(Kind::from),
        }
    }
}

impl From<FoldedKind> for Kind {
    fn from(kind: FoldedKind) -> Self {
        match kind {
            FoldedKind::PurchaseAccrued(one) => Self::PurchaseAccrued(one.into()),
            FoldedKind::PointsAdjusted(one) => Self::PointsAdjusted(one),
            FoldedKind::PointsExpired(one) => Self::PointsExpired(one),
            FoldedKind::TierChanged(one) => Self::TierChanged(one),
            FoldedKind::TierKept(one) => Self::TierKept(one),
            FoldedKind::TierRewarded(one) => Self::TierRewarded(one),
            FoldedKind::MemberEnrolled(one) => Self::MemberEnrolled(one),
            FoldedKind::ProfileUpdated(one) => Self::ProfileUpdated(one),
            FoldedKind::IdentifierAdded(one) => Self::IdentifierAdded(one),
            FoldedKind::IdentifierRemoved(one) => Self::IdentifierRemoved(one),
            FoldedKind::MemberSuspended(one) => Self::MemberSuspended(one),
            FoldedKind::MemberReactivated(one) => Self::MemberReactivated(one),
            FoldedKind::MemberErased(one) => Self::MemberErased(one),
            FoldedKind::PointsRedeemed(one) => Self::PointsRedeemed(one),
            FoldedKind::RedemptionReversed(one) => Self::RedemptionReversed(one),
            FoldedKind::PointsHeld(one) => Self::PointsHeld(one),
            FoldedKind::HoldReleased(one) => Self::HoldReleased(one),
            FoldedKind::PointsActivated(one) => Self::PointsActivated(one),
            FoldedKind::PurchaseReturned(one) => Self::PurchaseReturned(one),
            FoldedKind::PointsTransferredOut(one) => Self::PointsTransferredOut(one),
            FoldedKind::PointsTransferredIn(one) => Self::PointsTransferredIn(one),
            FoldedKind::ActivityAccrued(one) => Self::ActivityAccrued(one),
            FoldedKind::MergedInto(one) => Self::MergedInto(one),
            FoldedKind::MergedFrom(one) => Self::MergedFrom(one),
            FoldedKind::VoucherChanged(one) => Self::VoucherChanged(one),
            FoldedKind::BirthdayChanged(one) => Self::BirthdayChanged(one),
            FoldedKind::GoalChanged(one) => Self::GoalChanged(one),
            FoldedKind::ReferralMade(one) => Self::ReferralMade(one),
            FoldedKind::ReferralTakenBack(one) => Self::ReferralTakenBack(one),
            FoldedKind::OfferChanged(one) => Self::OfferChanged(one),
            FoldedKind::SegmentsChanged(one) => Self::SegmentsChanged(one),
        }
    }
}

impl From<FoldedPurchaseAccrued> for PurchaseAccrued {
    fn from(accrued: FoldedPurchaseAccrued) -> Self {
        let FoldedPurchaseAccrued { purchase, accrual, referral, referral_basis } = accrued;
        let (purchase, accrual) = (purchase.map(Purchase::from), accrual.map(Accrual::from));
        Self { purchase, accrual, referral, referral_basis, ..Self::default() }
    }
}

impl From<FoldedPurchase> for Purchase {
    fn from(purchase: FoldedPurchase) -> Self {
        let FoldedPurchase { store_id, order_id, channel } = purchase;
        Self { store_id, order_id, channel, ..Self::default() }
    }
}

impl From<FoldedAccrual> for Accrual {
    fn from(accrual: FoldedAccrual) -> Self {
        let FoldedAccrual { points, qualifying_points, basis, lots, carries, counters, dropped_counters, promotion_counts } = accrual;
        Self { points, qualifying_points, basis, lots, carries, counters, dropped_counters, promotion_counts, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::stored;
    use prost::Message as _;

    #[test]
    fn what_rows_are_made_of_is_read_as_it_was_written() {
        let entry = Entry {
            sequence: 7,
            record_time: 1_700_000_000_000_000,
            delay: 12,
            request_uuid: vec![1; 16],
            fingerprint: vec![2; 16],
            actor_id: "staff-7".into(),
            principal_id: "desk-hanoi".into(),
            program_version: 3,
            inactivity_time: Some(5),
            inactive_months: Some(stored::MonthRecord { latest: Some(24_315), inactive: vec![24_312, 24_314], ..Default::default() }),
            kind: Some(Kind::PointsAdjusted(stored::PointsAdjusted::default())),
            ..Entry::default()
        };
        let folded = FoldedEntry::decode(entry.encode_to_vec().as_slice()).expect("it is a part of the same message");
        assert_eq!(Entry::from(folded), entry);
    }
}
