//! What is sent to the service, what it answers, and what may be concluded from an error.

use std::time::Duration;

use loyaltyd::contract::v1::{
    self, member_service_client::MemberServiceClient, offer_service_client::OfferServiceClient, points_service_client::PointsServiceClient,
    program_service_client::ProgramServiceClient, purchase_service_client::PurchaseServiceClient,
    reward_service_client::RewardServiceClient,
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

#[derive(Debug, Clone)]
pub enum Call {
    Enroll(v1::EnrollMemberRequest),
    Record(Box<v1::RecordPurchaseRequest>),
    Adjust(Box<v1::AdjustPointsRequest>),
    Update(Box<v1::UpdateMemberRequest>),
    AddIdentifier(v1::AddIdentifierRequest),
    RemoveIdentifier(v1::RemoveIdentifierRequest),
    Publish(Box<v1::PublishProgramRequest>),
    Issue(v1::IssueVoucherRequest),
    Hold(v1::HoldVoucherRequest),
    Use(v1::UseVoucherRequest),
    Redeem(v1::RedeemRewardRequest),
    Cancel(v1::CancelVoucherRequest),
    SetTier(Box<v1::SetMemberTierRequest>),
    Merge(Box<v1::MergeMembersRequest>),
    Assign(v1::AssignOfferRequest),
    Activate(v1::ActivateOfferRequest),
    Withdraw(v1::WithdrawOfferRequest),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Enrolled(Box<v1::EnrollMemberResponse>),
    Recorded(Box<v1::RecordPurchaseResponse>),
    Adjusted(Box<v1::AdjustPointsResponse>),
    Updated(Box<v1::UpdateMemberResponse>),
    IdentifierAdded(Box<v1::AddIdentifierResponse>),
    IdentifierRemoved(Box<v1::RemoveIdentifierResponse>),
    Published(Box<v1::PublishProgramResponse>),
    Issued(Box<v1::IssueVoucherResponse>),
    Held(Box<v1::HoldVoucherResponse>),
    Used(Box<v1::UseVoucherResponse>),
    Redeemed(Box<v1::RedeemRewardResponse>),
    Cancelled(Box<v1::CancelVoucherResponse>),
    TierSet(Box<v1::SetMemberTierResponse>),
    Merged(Box<v1::MergeMembersResponse>),
    Assigned(Box<v1::AssignOfferResponse>),
    Activated(Box<v1::ActivateOfferResponse>),
    Withdrawn(Box<v1::WithdrawOfferResponse>),
}

/// What the caller knows after a call.
#[derive(Debug, Clone)]
pub enum Outcome {
    Answered(Answer),
    /// For a reason of business: nothing was changed.
    Refused(String),
    /// Not carried out, and it says so.
    NotTaken,
    /// No answer, or none that says what became of it.
    Unknown,
}

impl Call {
    pub fn request_id(&self) -> &str {
        match self {
            Self::Enroll(request) => &request.request_id,
            Self::Record(request) => &request.request_id,
            Self::Adjust(request) => &request.request_id,
            Self::Update(request) => &request.request_id,
            Self::AddIdentifier(request) => &request.request_id,
            Self::RemoveIdentifier(request) => &request.request_id,
            Self::Publish(request) => &request.request_id,
            Self::Issue(request) => &request.request_id,
            Self::Hold(request) => &request.request_id,
            Self::Use(request) => &request.request_id,
            Self::Redeem(request) => &request.request_id,
            Self::Cancel(request) => &request.request_id,
            Self::SetTier(request) => &request.request_id,
            Self::Merge(request) => &request.request_id,
            Self::Assign(request) => &request.request_id,
            Self::Activate(request) => &request.request_id,
            Self::Withdraw(request) => &request.request_id,
        }
    }

    pub fn is_of_voucher(&self) -> bool {
        matches!(self, Self::Issue(_) | Self::Hold(_) | Self::Use(_) | Self::Redeem(_) | Self::Cancel(_))
    }

    pub fn is_of_offer(&self) -> bool {
        matches!(self, Self::Assign(_) | Self::Activate(_) | Self::Withdraw(_))
    }

    /// A purchase whose prices the service makes.
    pub fn is_priced(&self) -> bool {
        let Self::Record(request) = self else { return false };
        request.purchase.as_ref().is_some_and(|purchase| purchase.apply_price_effects)
    }

    /// The store and the order of a purchase.
    pub fn order(&self) -> Option<(String, String)> {
        let Self::Record(request) = self else { return None };
        let purchase = request.purchase.as_ref()?;
        Some((purchase.store_id.clone(), purchase.order_id.clone()))
    }
}

/// Whoever calls gives up after a time: a call that is never answered is a failure of its own.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    pub limit: Duration,
}

impl Caller {
    pub async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.expect("the server listens");
        Self { channel, limit: Duration::from_secs(30) }
    }

    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.limit);
        request
    }

    pub fn members(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.channel.clone())
    }

    pub fn purchases(&self) -> PurchaseServiceClient<Channel> {
        PurchaseServiceClient::new(self.channel.clone())
    }

    pub fn points(&self) -> PointsServiceClient<Channel> {
        PointsServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    fn offers(&self) -> OfferServiceClient<Channel> {
        OfferServiceClient::new(self.channel.clone())
    }

    fn rewards(&self) -> RewardServiceClient<Channel> {
        RewardServiceClient::new(self.channel.clone())
    }

    pub fn programs(&self) -> ProgramServiceClient<Channel> {
        ProgramServiceClient::new(self.channel.clone())
    }

    pub async fn call(&self, call: Call) -> Outcome {
        match tokio::time::timeout(self.limit, self.answer(call)).await {
            Ok(Ok(answer)) => Outcome::Answered(answer),
            Ok(Err(status)) => concluded(&status),
            Err(_) => Outcome::Unknown,
        }
    }

    async fn answer(&self, call: Call) -> Result<Answer, Status> {
        Ok(match call {
            Call::Enroll(request) => Answer::Enrolled(Box::new(self.members().enroll_member(self.request(request)).await?.into_inner())),
            Call::Record(request) => {
                Answer::Recorded(Box::new(self.purchases().record_purchase(self.request(*request)).await?.into_inner()))
            }
            Call::Adjust(request) => Answer::Adjusted(Box::new(self.points().adjust_points(self.request(*request)).await?.into_inner())),
            Call::Update(request) => Answer::Updated(Box::new(self.members().update_member(self.request(*request)).await?.into_inner())),
            Call::AddIdentifier(request) => {
                Answer::IdentifierAdded(Box::new(self.members().add_identifier(self.request(request)).await?.into_inner()))
            }
            Call::RemoveIdentifier(request) => {
                Answer::IdentifierRemoved(Box::new(self.members().remove_identifier(self.request(request)).await?.into_inner()))
            }
            Call::Publish(request) => {
                Answer::Published(Box::new(self.programs().publish_program(self.request(*request)).await?.into_inner()))
            }
            Call::Issue(request) => Answer::Issued(Box::new(self.rewards().issue_voucher(self.request(request)).await?.into_inner())),
            Call::Hold(request) => Answer::Held(Box::new(self.rewards().hold_voucher(self.request(request)).await?.into_inner())),
            Call::Use(request) => Answer::Used(Box::new(self.rewards().use_voucher(self.request(request)).await?.into_inner())),
            Call::Redeem(request) => Answer::Redeemed(Box::new(self.rewards().redeem_reward(self.request(request)).await?.into_inner())),
            Call::Cancel(request) => Answer::Cancelled(Box::new(self.rewards().cancel_voucher(self.request(request)).await?.into_inner())),
            Call::SetTier(request) => Answer::TierSet(Box::new(self.members().set_member_tier(self.request(*request)).await?.into_inner())),
            Call::Merge(request) => Answer::Merged(Box::new(self.members().merge_members(self.request(*request)).await?.into_inner())),
            Call::Assign(request) => Answer::Assigned(Box::new(self.offers().assign_offer(self.request(request)).await?.into_inner())),
            Call::Activate(request) => Answer::Activated(Box::new(self.offers().activate_offer(self.request(request)).await?.into_inner())),
            Call::Withdraw(request) => Answer::Withdrawn(Box::new(self.offers().withdraw_offer(self.request(request)).await?.into_inner())),
        })
    }
}

/// What an error says. The contract: a refusal with a reason changed nothing; without an answer nobody knows.
pub fn concluded(status: &Status) -> Outcome {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    match (reason, status.code()) {
        ("QUEUE_FULL", Code::ResourceExhausted) => Outcome::NotTaken,
        ("STARTING" | "STOPPING", Code::Unavailable) => Outcome::Unknown,
        ("DEADLINE_EXCEEDED", Code::DeadlineExceeded) => Outcome::Unknown,
        ("", Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal) => Outcome::Unknown,
        ("" | "INTERNAL" | "INVALID_FIELD", _) => panic!("the service must not say this here: {status:?}"),
        (reason, _) => Outcome::Refused(reason.to_owned()),
    }
}

/// What became of one purchase of a batch or a stream.
pub fn concluded_item(result: v1::PurchaseResult) -> Outcome {
    match result.result.expect("a result says what became of the purchase") {
        v1::purchase_result::Result::Recorded(recorded) => Outcome::Answered(Answer::Recorded(Box::new(recorded))),
        // The contract says of these: not judged.
        v1::purchase_result::Result::Error(error) if error.code == Code::Unavailable as i32 => Outcome::NotTaken,
        v1::purchase_result::Result::Error(error) => {
            assert!(!["", "INTERNAL", "INVALID_FIELD"].contains(&error.reason.as_str()), "the service must not say this here: {error:?}");
            Outcome::Refused(error.reason)
        }
    }
}
