//! What happened before that a command refers to.

use std::collections::BTreeMap;

use crate::domain::{Entry, EntryKind, EntryRef, LotKey, Numbered, OrderKey, RewardId, RewardStock, Tallies, VoucherCode, returns::Sale};

/// Earlier entries that a command refers to. The lots of members that were merged into this one have the numbers that they have now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// By the first entry of each story.
    pub threads: BTreeMap<EntryRef, Thread>,
    /// The entries that the command calls by a number alone.
    pub numbers: BTreeMap<Numbered, EntryRef>,
    /// The entries that issued the vouchers that it calls by their codes.
    pub vouchers: BTreeMap<VoucherCode, EntryRef>,
    /// What has been taken of the rewards that it takes or frees; of one that is not among them, nothing.
    pub stocks: BTreeMap<RewardId, RewardStock>,
    /// What promotions have given of budgets and daily caps that it counts in.
    pub tallies: Tallies,
}

/// An entry, and the newest of those that go on with its story ([`Entry::continues`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    pub origin: Entry,
    pub latest: Option<Entry>,
}

impl History {
    pub const NONE: &'static Self = &Self {
        threads: BTreeMap::new(),
        numbers: BTreeMap::new(),
        vouchers: BTreeMap::new(),
        stocks: BTreeMap::new(),
        tallies: BTreeMap::new(),
    };

    pub(super) fn named(&self, number: Numbered) -> Option<&Thread> {
        self.threads.get(self.numbers.get(&number)?)
    }

    pub(super) fn voucher(&self, code: VoucherCode) -> Option<&Thread> {
        self.threads.get(self.vouchers.get(&code)?)
    }

    /// The lots that points may go back into, or be taken back from.
    pub fn lots(&self) -> Vec<LotKey> {
        let of = |thread: &Thread| match &thread.origin.kind {
            EntryKind::PointsRedeemed(redeemed) => redeemed.portions.iter().map(|portion| portion.lot).collect(),
            EntryKind::VoucherChanged(changed) => changed.paid_lots().collect(),
            EntryKind::PurchaseAccrued(_) => Sale::of(thread).map_or_else(Vec::new, |sale| sale.lots().collect()),
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
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsActivated(_)
            | EntryKind::PurchaseReturned(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::ActivityAccrued(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::BirthdayChanged(_) => Vec::new(),
        };
        self.threads.values().flat_map(of).collect()
    }

    /// The purchase that a voucher came with, of those that are loaded: the nearest one before it.
    pub(super) fn came_with(&self, issued: EntryRef) -> Option<Sale<'_>> {
        let before = self.threads.range(..issued).rev().take_while(|(origin, _)| origin.member == issued.member);
        before.into_iter().find_map(|(_, thread)| Sale::of(thread))
    }

    /// The purchase that a command is about.
    pub(super) fn sale(&self, order: &OrderKey) -> Option<Sale<'_>> {
        let sales = self.threads.values().filter_map(Sale::of);
        sales.into_iter().find(|sale| sale.accrued.purchase.order.as_ref() == Some(order))
    }
}
