//! What entries say of points that are spent, set aside, or given to another member, and of those that come back.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{AccruedLot, EntryRef, Hold, HoldId, LotKey, MemberId, OrderKey, Points, Portion};

/// Points spent as money, out of lots or out of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    pub points: Points,
    pub value: Decimal,
    pub order: Option<OrderKey>,
    /// Empty: none.
    pub reference: String,
    /// So many of the points were not there when the till gave goods for them without asking, and are owed.
    pub owed: Points,
    /// Where the others came from.
    pub portions: Vec<Portion>,
    /// The hold that they came out of, which ends with that. `None`: they came out of the lots.
    pub captured: Option<Captured>,
    /// Out of lots: when the next of those that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
}

/// A hold that ends by being captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub hold: HoldId,
    /// What was not captured, and goes back.
    pub released: Vec<Portion>,
    /// So many of the points that go back, the first ones, paid debt.
    pub debt_paid: Points,
    /// When the next of the member's other holds ends.
    pub next_hold_expiry_time: Option<Timestamp>,
}

/// A redemption goes back, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversed {
    /// The entry that redeemed.
    pub redemption: EntryRef,
    pub points: Points,
    /// Their part of the redemption's value.
    pub value: Decimal,
    /// So many of them, the first ones, had been owed.
    pub owed: Points,
    /// What of those does not pay debt: their debt was paid meanwhile.
    pub lot: Option<AccruedLot>,
    /// Of the others those that were taken last first.
    pub put_back: Vec<PutBack>,
    /// Points of the redemption that have gone back, with these.
    pub so_far: Points,
    /// So many of the points that go back, the first ones, paid debt.
    pub debt_paid: Points,
    pub reason: String,
    /// The one that the redemption was for.
    pub order: Option<OrderKey>,
}

/// Points that go back into the lot that they came from, or into a new one, if that has lapsed and there is grace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    pub portion: Portion,
    pub into: LotKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub hold: Hold,
    /// When the next of the lots that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
}

/// A hold ends, and its points go back to their lots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub hold: HoldId,
    pub portions: Vec<Portion>,
    /// So many of the points, the first ones, paid debt.
    pub debt_paid: Points,
    pub cause: ReleaseCause,
    /// Empty unless by request.
    pub reason: String,
    /// When the next of the member's other holds ends.
    pub next_hold_expiry_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseCause {
    Request,
    /// Its time was over.
    Expired,
    /// The member was erased.
    Erased,
}

/// Points given to another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferredOut {
    pub to: MemberId,
    pub points: Points,
    pub portions: Vec<Portion>,
    pub reason: String,
    /// Empty: none.
    pub reference: String,
    /// When the next of the lots that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
}

/// Points got from another member, in the commit that took them there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferredIn {
    pub from: MemberId,
    /// Of the entry that took them.
    pub sequence: u64,
    pub points: Points,
    /// With the instant at which they were earned.
    pub lots: Vec<(AccruedLot, Timestamp)>,
    pub reason: String,
    pub reference: String,
}
