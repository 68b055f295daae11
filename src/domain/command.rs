//! What can be asked of a member.

use std::{fmt, sync::Arc};

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use super::{
    ActivityId, ActivityRejection, BirthDate, Expiry, HoldId, Identifier, Member, MemberId, OfferId, OrderKey, Payment, Person, Points,
    Purchase, Rejection, ReturnedLine, RewardId, Sealed, TierId, VoucherCode, VoucherKindId,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Enroll { person: Person },
    UpdateProfile(ProfileUpdate),
    AddIdentifier { identifier: Identifier },
    RemoveIdentifier { identifier: Identifier },
    SetTier { tier: TierId, reason: String, last_date: Option<Date> },
    Suspend { reason: String },
    Reactivate { reason: String },
    Erase { reason: String },
    RecordPurchase(Arc<Purchase>),
    AdjustPoints(Adjustment),
    RedeemPoints(RedeemRequest),
    ReverseRedemption(ReversalRequest),
    HoldPoints(HoldRequest),
    CaptureHold(CaptureRequest),
    ReleaseHold { hold: HoldId, reason: String },
    ConfirmPurchase { order: OrderKey },
    ReturnPurchase(Arc<ReturnRequest>),
    TransferPoints(TransferRequest),
    RecordActivity(ActivityRequest),
    Voucher(VoucherRequest),
    Offer(OfferRequest),
    MergeMembers(MergeRequest),
}

/// The other member of a command that is about two: who gets points, referred the member, or stays in a merge. An identifier is looked up
/// when the command has its turn, and an id takes its place before it is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    Id(MemberId),
    Identifier(Identifier),
}

/// Points for another member of the programme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRequest {
    pub to: Recipient,
    /// More than 0.
    pub points: Points,
    pub reason: String,
    /// Empty: none.
    pub reference: String,
}

/// The member becomes a part of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeRequest {
    pub into: Recipient,
    pub reason: String,
}

/// What is asked of one voucher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoucherRequest {
    Issue {
        kind: VoucherKindId,
        reason: String,
    },
    /// So many vouchers for points.
    Redeem {
        reward: RewardId,
        /// At least 1.
        quantity: u32,
    },
    Hold {
        code: VoucherCode,
        /// The only one that it can be used for until the hold ends.
        order: OrderKey,
        /// `None`: as long as the programme says.
        seconds: Option<u32>,
    },
    Release {
        code: VoucherCode,
        reason: String,
    },
    Use {
        code: VoucherCode,
        order: Option<OrderKey>,
        /// What the goods come to; asked for if the voucher has a minimum order.
        order_total: Option<Decimal>,
        /// The discount that it gave, if somebody says.
        value: Option<Decimal>,
    },
    Cancel {
        code: VoucherCode,
        reason: String,
    },
}

/// What is asked about one offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferRequest {
    /// Gives a personal one to the member.
    Assign {
        offer: OfferId,
        reason: String,
        /// Until then, exclusive; `None`: as long as the offer says.
        end_time: Option<Timestamp>,
    },
    Activate {
        offer: OfferId,
    },
    /// Takes a personal one away.
    Withdraw {
        offer: OfferId,
        reason: String,
    },
}

impl VoucherRequest {
    /// `None`: there is none yet.
    pub fn code(&self) -> Option<VoucherCode> {
        match self {
            Self::Issue { .. } | Self::Redeem { .. } => None,
            Self::Hold { code, .. } | Self::Release { code, .. } | Self::Use { code, .. } | Self::Cancel { code, .. } => Some(*code),
        }
    }
}

/// What a member did beside buying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityRequest {
    pub activity: ActivityId,
    /// What tells it from other activities of its kind that the member does. Not empty.
    pub reference: String,
    pub referrer: Option<Recipient>,
    /// `None`: now.
    pub occurred_time: Option<Timestamp>,
}

/// What of a purchase comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnRequest {
    pub order: OrderKey,
    /// Each line once.
    pub lines: Vec<ReturnedLine>,
    /// Off the whole order, beside the lines; 0: none.
    pub amount: Decimal,
    /// All that has not come back yet, with shipping and tip.
    pub whole: bool,
    pub reason: String,
    /// Such as the number of the return; empty: none.
    pub reference: String,
    /// What is bought instead, recorded in the same commit.
    pub exchange: Option<Arc<Purchase>>,
}

/// Points to be spent as money.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedeemRequest {
    /// `None`: all that are available; as a rule with `up_to`.
    pub points: Option<Points>,
    /// As many of them as balance, order and programme allow.
    pub up_to: bool,
    /// What the order comes to.
    pub order_total: Option<Decimal>,
    pub order: Option<OrderKey>,
    /// Empty: none.
    pub reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReversalRequest {
    /// Sequence of the entry that redeemed.
    pub redemption: u64,
    /// Whose ledger it is in, of members that were merged. `None`: of that one in whose the number fits.
    pub ledger: Option<MemberId>,
    /// `None`: all that has not gone back yet.
    pub points: Option<Points>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRequest {
    pub redeem: RedeemRequest,
    /// `None`: as long as the programme says.
    pub seconds: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRequest {
    pub hold: HoldId,
    /// `None`: all of it.
    pub points: Option<Points>,
    pub order: Option<OrderKey>,
    /// Empty: none.
    pub reference: String,
}

/// An earlier entry as a command calls it: by a number alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Numbered {
    Hold(HoldId),
    Redemption(u64),
}

impl Numbered {
    /// The sequence of the entry.
    pub fn sequence(self) -> u64 {
        match self {
            Self::Hold(hold) => hold.0,
            Self::Redemption(redemption) => redemption,
        }
    }
}

/// What must be loaded beside the header for a command to be decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// So many points' worth of lots.
    pub points: Option<Points>,
    pub holds: bool,
    pub person: bool,
    /// Earlier entries that it refers to.
    pub threads: Vec<Numbered>,
    /// Whose ledger they are in, if that was said.
    pub ledger: Option<MemberId>,
    /// The purchase that it is about, with what paid it.
    pub sale: Option<OrderKey>,
    /// As many lots as the return of the purchase may take from.
    pub takes_back: bool,
    /// All live vouchers.
    pub vouchers: bool,
    /// Vouchers that it calls by their codes, with what became of them.
    pub codes: Vec<VoucherCode>,
}

/// The fields that are to change, each with its new value; an empty one is cleared.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ProfileUpdate {
    pub display_name: Option<String>,
    pub birth_date: Option<Option<BirthDate>>,
    pub language_code: Option<String>,
}

/// Says which fields change, and nothing personal.
impl fmt::Debug for ProfileUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileUpdate")
            .field("display_name", &self.display_name.is_some())
            .field("birth_date", &self.birth_date.is_some())
            .field("language_code", &self.language_code.is_some())
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Positive or negative, not 0.
    pub points: Points,
    pub qualifying: bool,
    pub reason: String,
    /// Empty: none.
    pub reference: String,
    /// Of added points, in place of the programme's.
    pub expiry: Option<Expiry>,
}

impl Command {
    /// The purchase that it records.
    pub fn purchase(&self) -> Option<&Arc<Purchase>> {
        match self {
            Command::RecordPurchase(purchase) => Some(purchase),
            Command::ReturnPurchase(request) => request.exchange.as_ref(),
            Command::Enroll { .. }
            | Command::UpdateProfile(_)
            | Command::AddIdentifier { .. }
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::Erase { .. }
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::TransferPoints(_)
            | Command::RecordActivity(_)
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::MergeMembers(_) => None,
        }
    }

    /// Identifiers that nobody has any more when it is done, though its entries do not name them.
    pub fn frees(&self, member: &Member) -> Vec<Identifier> {
        let person = member.person.as_ref().and_then(Sealed::open);
        match person {
            Some(person) if matches!(self, Command::Erase { .. }) => person.identifiers.clone(),
            Some(_) | None => Vec::new(),
        }
    }

    /// The other member whose ledger it writes to, and why it is refused if there is no such member.
    pub fn other_side(&self) -> Option<(&Recipient, Rejection)> {
        match self {
            Command::TransferPoints(request) => Some((&request.to, Rejection::RecipientNotFound)),
            Command::RecordActivity(request) => Some((request.referrer.as_ref()?, ActivityRejection::ReferrerNotFound.into())),
            Command::MergeMembers(request) => Some((&request.into, Rejection::MergeTargetNotFound)),
            Command::Enroll { .. }
            | Command::UpdateProfile(_)
            | Command::AddIdentifier { .. }
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::Erase { .. }
            | Command::RecordPurchase(_)
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::ReturnPurchase(_) => None,
        }
    }

    /// The same with that member's id.
    pub fn with_other_side(&self, other: MemberId) -> Self {
        let mut command = self.clone();
        if let Command::TransferPoints(request) = &mut command {
            request.to = Recipient::Id(other);
        }
        if let Command::RecordActivity(request) = &mut command {
            request.referrer = Some(Recipient::Id(other));
        }
        if let Command::MergeMembers(request) = &mut command {
            request.into = Recipient::Id(other);
        }
        command
    }

    pub fn demand(&self) -> Demand {
        let redeem = |request: &RedeemRequest| Some(request.points.unwrap_or(Points(i64::MAX)));
        match self {
            Command::UpdateProfile(_) | Command::AddIdentifier { .. } | Command::RemoveIdentifier { .. } => {
                Demand { person: true, ..Demand::default() }
            }
            // Its holds end, and its identifiers become free.
            Command::Erase { .. } => Demand { holds: true, person: true, ..Demand::default() },
            Command::Enroll { .. } | Command::SetTier { .. } | Command::Suspend { .. } | Command::Reactivate { .. } => Demand::default(),
            Command::MergeMembers(_) => {
                Demand { points: Some(Points(i64::MAX)), holds: true, person: true, vouchers: true, ..Demand::default() }
            }
            // What it costs the rule book says.
            Command::Voucher(VoucherRequest::Redeem { .. }) => Demand { points: Some(Points(i64::MAX)), ..Demand::default() },
            Command::Voucher(request) => match request.code() {
                None => Demand::default(),
                Some(code) => Demand { vouchers: true, codes: vec![code], ..Demand::default() },
            },
            Command::RecordPurchase(purchase) => purchase.demand(),
            Command::AdjustPoints(adjustment) if adjustment.points < Points::ZERO => {
                // The lowest number has no positive counterpart; it is more than any balance anyway.
                Demand { points: Some(adjustment.points.negated().unwrap_or(Points(i64::MAX))), ..Demand::default() }
            }
            Command::AdjustPoints(_) | Command::RecordActivity(_) | Command::Offer(_) => Demand::default(),
            Command::TransferPoints(request) => Demand { points: Some(request.points), ..Demand::default() },
            Command::RedeemPoints(request) => Demand { points: redeem(request), ..Demand::default() },
            Command::ReverseRedemption(request) => {
                Demand { threads: vec![Numbered::Redemption(request.redemption)], ledger: request.ledger, ..Demand::default() }
            }
            Command::HoldPoints(request) => Demand { points: redeem(&request.redeem), holds: true, ..Demand::default() },
            Command::CaptureHold(CaptureRequest { hold, .. }) | Command::ReleaseHold { hold, .. } => {
                Demand { holds: true, threads: vec![Numbered::Hold(*hold)], ..Demand::default() }
            }
            Command::ConfirmPurchase { order } => Demand { sale: Some(order.clone()), ..Demand::default() },
            Command::ReturnPurchase(request) => {
                let bought = request.exchange.as_ref().map_or_else(Demand::default, |purchase| purchase.demand());
                Demand { sale: Some(request.order.clone()), takes_back: true, ..bought }
            }
        }
    }

    /// Whether the answer shows the member; the answers to the others are in their entries.
    pub fn answers_with_member(&self) -> bool {
        match self {
            Command::Enroll { .. }
            | Command::UpdateProfile(_)
            | Command::AddIdentifier { .. }
            | Command::RemoveIdentifier { .. }
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::MergeMembers(_)
            | Command::Erase { .. } => true,
            Command::RecordPurchase(_)
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::ReturnPurchase(_)
            | Command::TransferPoints(_)
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::RecordActivity(_) => false,
        }
    }
}

impl Purchase {
    fn demand(&self) -> Demand {
        let mut demand = Demand { vouchers: !self.vouchers.is_empty(), codes: self.vouchers.clone(), ..Demand::default() };
        for payment in &self.payments {
            match payment {
                Payment::Redeem { points } => {
                    let sum = demand.points.unwrap_or(Points::ZERO).plus(*points);
                    demand.points = Some(sum.unwrap_or(Points(i64::MAX)));
                }
                Payment::Capture { hold, .. } => {
                    demand.holds = true;
                    demand.threads.push(Numbered::Hold(*hold));
                }
                Payment::Redeemed { redemption } => demand.threads.push(Numbered::Redemption(*redemption)),
            }
        }
        demand
    }
}
