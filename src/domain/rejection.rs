//! Every business "no", in order of precedence: where several apply, the first of this list is given.

use jiff::Timestamp;

use super::{IdentifierKind, MemberId, OrderKey, Points, TierId};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the request id was used before with another payload; take a new id for a new intention")]
    RequestIdReused,
    #[error("no member of the programme has this id or identifier; enrol the member first, or check what was scanned or typed")]
    MemberNotFound,
    #[error("the purchase {} of store {} is recorded already, for member {member}, under another request id", order.order, order.store)]
    PurchaseExists { order: OrderKey, member: MemberId, entry_sequence: u64 },
    #[error("another member has this identifier; look it up, or remove it there first")]
    IdentifierTaken { kind: IdentifierKind, member: MemberId },
    #[error("the member has this identifier already")]
    IdentifierHeld { kind: IdentifierKind },
    #[error("the member does not have this identifier")]
    IdentifierNotHeld { kind: IdentifierKind },
    #[error("a member can have at most {limit} identifiers; remove one first")]
    TooManyIdentifiers { limit: usize },
    #[error("the member is suspended; reactivate it first")]
    MemberSuspended,
    #[error("the member is not suspended")]
    MemberNotSuspended,
    #[error("the purchase occurred at {occurred_time}, more than {max_age_days} days ago, which is the programme's bound")]
    PurchaseTooOld { occurred_time: Timestamp, max_age_days: u32 },
    #[error(
        "the purchase is dated {occurred_time}, more than {max_ahead_seconds} seconds ahead of the service's clock; check the till's clock"
    )]
    PurchaseInFuture { occurred_time: Timestamp, max_ahead_seconds: u32 },
    #[error(
        "the purchase comes to {award_lines} award lines or more (each line counts once for each rule that awards it), and at most {limit} are \
         possible; record it as several purchases, or combine rules"
    )]
    PurchaseTooComplex { award_lines: usize, limit: usize },
    #[error("the programme's rule book has no tier {tier}")]
    TierNotFound { tier: TierId },
    #[error("the member has tier {tier} already")]
    TierHeld { tier: TierId },
    #[error("one adjustment may move at most {limit} points (smallest unit), {requested} were asked for")]
    AdjustmentTooLarge { limit: Points, requested: Points },
    #[error("{requested} points are asked for, {available} are available (smallest unit)")]
    InsufficientPoints { available: Points, requested: Points },
    #[error("a number would leave the range that the ledger can hold")]
    Overflow,
}

impl From<super::Overflow> for Rejection {
    fn from(super::Overflow: super::Overflow) -> Self {
        Rejection::Overflow
    }
}
