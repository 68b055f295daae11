//! What entries say of a purchase after the sale: its points become active, and goods come back.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{AccruedLot, Allocation, Counter, EntryRef, LotKey, OrderKey, PendingKey, Points, PromotionCounts, VoucherCode};

/// Pending points become active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    pub lots: Vec<ActivatedLot>,
    /// The purchase that was confirmed; `None`: their time had come.
    pub confirmed: Option<Confirmed>,
    /// When the next of the member's pending lots becomes active; not later than that.
    pub next_activation_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    pub sale: SaleState,
    pub order: OrderKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivatedLot {
    pub pending: PendingKey,
    /// With the number that the pending lot had.
    pub lot: AccruedLot,
    pub qualifying_points: Points,
    pub earn_time: Timestamp,
    pub entry_sequence: u64,
}

/// What has become of a purchase since it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleState {
    /// The entry that recorded it.
    pub sale: EntryRef,
    /// Where the points are that its confirmation made active.
    pub activated: Vec<LotKey>,
    pub returned: ReturnTotals,
}

/// All that has been returned of a purchase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReturnTotals {
    /// In the order of the lines.
    pub lines: Vec<ReturnedLine>,
    /// Of the whole order, beside the lines.
    pub amount: Decimal,
    /// All of it, with shipping and tip.
    pub whole: bool,
    pub points: Points,
    pub qualifying_points: Points,
    pub basis: Decimal,
    /// Points that went back, of each redemption that paid it.
    pub reinstated: Vec<(EntryRef, Points)>,
    /// All goods have come back: it counts as a visit no more.
    pub is_void: bool,
    /// How many returns that were.
    pub returns: u32,
    /// Promotions of the sale, by their places in it, of which less was left after an earlier return than the goods that are left now would give: a
    /// condition may hold again when more has come back. What was taken back is not given again.
    pub promotions: Vec<(usize, RestOfPromotion)>,
}

/// What is left of a promotion's award when goods have come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestOfPromotion {
    pub points: Points,
    pub qualifying_points: Points,
    /// Something is: of a voucher the voucher.
    pub stands: bool,
}

/// Returns of one purchase, beside one of all that is left: each of them stores the lines of all before it.
pub const MAX_RETURNS: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnedLine {
    /// Place in the purchase, from 0.
    pub line: usize,
    pub quantity: Decimal,
    /// Beside the quantity.
    pub amount: Decimal,
}

/// A return takes back what was earned, the points of the sale first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    pub order: OrderKey,
    pub reason: String,
    /// Such as the number of the return; empty: none.
    pub reference: String,
    /// With this return.
    pub sale: SaleState,
    /// What this return should take: the sum from `from_pending` to `withheld`.
    pub points: Points,
    /// Negative where so many that were to count later count now.
    pub qualifying_points: Points,
    pub basis: Decimal,
    pub from_pending: Vec<PendingTaken>,
    pub from_sale: Vec<Allocation>,
    pub from_others: Vec<Allocation>,
    pub debt: Points,
    /// Not taken: let go.
    pub forgiven: Points,
    /// Not taken: the cashier keeps their worth back.
    pub withheld: Points,
    /// What the withheld points are worth; `None`: the programme does not redeem points.
    pub withheld_value: Option<Decimal>,
    /// What counters stand at after it, for those that it touched.
    pub counters: Vec<Counter>,
    /// What is counted of promotions after it, of what it takes back.
    pub promotion_counts: PromotionCounts,
    /// Vouchers that came with the purchase and whose promotion asks for what has come back, but that are held: they go when their holds end.
    pub lost_vouchers: Vec<VoucherCode>,
    /// The purchase is void with this return.
    pub voids: bool,
    /// What a referral gave is for other purchases too, which took goods in exchange: the basis of all that is left of them.
    pub referral_basis: Option<(EntryRef, Decimal)>,
    /// When the next of the lots that are left lapses; not later than that.
    pub next_expiry_time: Option<Timestamp>,
    pub next_activation_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTaken {
    pub lot: PendingKey,
    pub points: Points,
    /// Of what was to count for tiers.
    pub qualifying_points: Points,
}
