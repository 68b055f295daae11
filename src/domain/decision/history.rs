//! What happened before that a command refers to.

use std::collections::BTreeMap;

use crate::domain::{
    Entry, EntryKind, EntryRef, LotKey, MemberId, MemberState, Numbered, OrderKey, RewardId, RewardStock, Tallies, VoucherCode,
    referral::{self, Bonus},
    returns::Sale,
};

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
    /// Who referred the member by what waits for its purchase, as that one is called now.
    pub referrer: Option<(MemberId, MemberState)>,
    /// Of an activity: who is said to have referred the member, who referred that one, and so on, at most [`MAX_REFERRAL_CHAIN`].
    ///
    /// [`MAX_REFERRAL_CHAIN`]: crate::domain::MAX_REFERRAL_CHAIN
    pub referrers: Vec<MemberId>,
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
        referrer: None,
        referrers: Vec::new(),
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
            EntryKind::ActivityAccrued(_) => referral::lots(&thread.origin),
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
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
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

    /// What a referral gave, by the entry that did. It is loaded with the purchase that earned it.
    pub(super) fn bonus(&self, bonus: EntryRef) -> Option<(Bonus<'_>, &Thread)> {
        let thread = self.threads.get(&bonus)?;
        Some((Bonus::of(&thread.origin)?, thread))
    }

    /// The entry that gave its part to who referred the member, of what a referral gave for the purchase of an order, which is loaded.
    pub fn referrer_bonus(&self, order: &OrderKey) -> Option<EntryRef> {
        let (_, thread) = self.bonus(self.sale(order)?.accrued.referral?)?;
        thread.referrer_bonus()
    }

    /// The purchase that a command is about.
    pub(super) fn sale(&self, order: &OrderKey) -> Option<Sale<'_>> {
        let sales = self.threads.values().filter_map(Sale::of);
        sales.into_iter().find(|sale| sale.accrued.purchase.order.as_ref() == Some(order))
    }
}
