//! What makes a request safe to retry.

use prost::Message;

use super::{Mistakes, Path};
use crate::{
    contract::v1,
    domain::{Fingerprint, Request, RequestId},
};

/// A message that changes something.
pub trait Mutation: Message {
    /// Names the method in the fingerprint. It must never change, or retries across an upgrade would be refused.
    const METHOD: &'static str;

    fn request_id(&mut self) -> &mut String;
}

macro_rules! mutation {
    ($($message:ident: $method:literal),* $(,)?) => {$(
        impl Mutation for v1::$message {
            const METHOD: &'static str = $method;

            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
        }
    )*};
}

mutation! {
    PublishProgramRequest: "ProgramService/PublishProgram",
    EnrollMemberRequest: "MemberService/EnrollMember",
    UpdateMemberRequest: "MemberService/UpdateMember",
    AddIdentifierRequest: "MemberService/AddIdentifier",
    RemoveIdentifierRequest: "MemberService/RemoveIdentifier",
    SetMemberTierRequest: "MemberService/SetMemberTier",
    SuspendMemberRequest: "MemberService/SuspendMember",
    ReactivateMemberRequest: "MemberService/ReactivateMember",
    MergeMembersRequest: "MemberService/MergeMembers",
    EraseMemberRequest: "MemberService/EraseMember",
    RecordPurchaseRequest: "PurchaseService/RecordPurchase",
    AdjustPointsRequest: "PointsService/AdjustPoints",
    TransferPointsRequest: "PointsService/TransferPoints",
    RecordActivityRequest: "PointsService/RecordActivity",
    ConfirmPurchaseRequest: "PurchaseService/ConfirmPurchase",
    ReturnPurchaseRequest: "PurchaseService/ReturnPurchase",
    RedeemPointsRequest: "PointsService/RedeemPoints",
    ReverseRedemptionRequest: "PointsService/ReverseRedemption",
    HoldPointsRequest: "PointsService/HoldPoints",
    CaptureHoldRequest: "PointsService/CaptureHold",
    ReleaseHoldRequest: "PointsService/ReleaseHold",
    RedeemRewardRequest: "RewardService/RedeemReward",
    IssueVoucherRequest: "RewardService/IssueVoucher",
    HoldVoucherRequest: "RewardService/HoldVoucher",
    ReleaseVoucherRequest: "RewardService/ReleaseVoucher",
    UseVoucherRequest: "RewardService/UseVoucher",
    CancelVoucherRequest: "RewardService/CancelVoucher",
    ActivateOfferRequest: "OfferService/ActivateOffer",
    AssignOfferRequest: "OfferService/AssignOffer",
    WithdrawOfferRequest: "OfferService/WithdrawOffer",
    AdvanceClockRequest: "SandboxService/AdvanceClock",
}

/// The id, and the fingerprint of method and payload without it, which the ledger keys before anything keeps it. A purchase in a batch or a stream is a `RecordPurchaseRequest` too, so
/// that it is the same request by whichever way it comes.
pub fn request<M: Mutation>(message: &mut M, mistakes: &mut Mistakes) -> Option<Request> {
    let id = std::mem::take(message.request_id());
    let mut hasher = blake3::Hasher::new();
    hasher.update(M::METHOD.as_bytes());
    hasher.update(&[0]);
    hasher.update(&message.encode_to_vec());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    let parsed = mistakes.take(Path::Root.field("request_id"), RequestId::new(&id));
    *message.request_id() = id;
    Some(Request { id: parsed?, fingerprint: Fingerprint(fingerprint) })
}
