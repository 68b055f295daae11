//! PointsService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Gate, Named, Refusal, access, aside,
    convert::{self, Mistakes, Path},
    entries, named,
    observe::observe,
    page::List,
    redemption,
};
use crate::{
    contract::{
        self,
        v1::{self, points_service_server::PointsService},
    },
    domain::{Adjustment, Command, Expiry, LotKey, Points, Program, TransferRequest},
    ledger::{Ledger, Submission},
};

pub struct PointsRoom(pub Arc<Gate>);

#[tonic::async_trait]
impl PointsService for PointsRoom {
    async fn redeem_points(&self, request: Request<v1::RedeemPointsRequest>) -> Result<Response<v1::RedeemPointsResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("PointsService/RedeemPoints", &request.program_id);
        observed.run(async { redemption::redeem(self.0.ledger()?, request).await }).await
    }

    async fn reverse_redemption(
        &self,
        request: Request<v1::ReverseRedemptionRequest>,
    ) -> Result<Response<v1::ReverseRedemptionResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("PointsService/ReverseRedemption", &request.program_id);
        observed.run(async { redemption::reverse(self.0.ledger()?, request).await }).await
    }

    async fn hold_points(&self, request: Request<v1::HoldPointsRequest>) -> Result<Response<v1::HoldPointsResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("PointsService/HoldPoints", &request.program_id);
        observed.run(async { redemption::hold(self.0.ledger()?, request).await }).await
    }

    async fn capture_hold(&self, request: Request<v1::CaptureHoldRequest>) -> Result<Response<v1::CaptureHoldResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("PointsService/CaptureHold", &request.program_id);
        observed.run(async { redemption::capture(self.0.ledger()?, request).await }).await
    }

    async fn release_hold(&self, request: Request<v1::ReleaseHoldRequest>) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        let request = request.into_inner();
        let observed = observe("PointsService/ReleaseHold", &request.program_id);
        observed.run(async { redemption::release(self.0.ledger()?, request).await }).await
    }

    async fn list_holds(&self, request: Request<v1::ListHoldsRequest>) -> Result<Response<v1::ListHoldsResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ListHolds", &request.program_id).run(async { redemption::list(self.0.ledger()?, &request) }).await
    }

    async fn adjust_points(&self, request: Request<v1::AdjustPointsRequest>) -> Result<Response<v1::AdjustPointsResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/AdjustPoints", &request.program_id.clone()).run(self.adjust(request)).await
    }

    async fn transfer_points(&self, request: Request<v1::TransferPointsRequest>) -> Result<Response<v1::TransferPointsResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/TransferPoints", &request.program_id.clone()).run(self.transfer(request)).await
    }

    async fn record_activity(&self, request: Request<v1::RecordActivityRequest>) -> Result<Response<v1::RecordActivityResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/RecordActivity", &request.program_id.clone()).run(self.record(request)).await
    }

    async fn list_entries(&self, request: Request<v1::ListEntriesRequest>) -> Result<Response<v1::ListEntriesResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ListEntries", &request.program_id.clone())
            .run(aside(self.0.ledger().cloned(), move |ledger| entries::list(ledger, &request)))
            .await
    }

    async fn explain_entry(&self, request: Request<v1::ExplainEntryRequest>) -> Result<Response<v1::ExplainEntryResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ExplainEntry", &request.program_id.clone())
            .run(aside(self.0.ledger().cloned(), move |ledger| entries::explain(ledger, &request)))
            .await
    }

    async fn list_lots(&self, request: Request<v1::ListLotsRequest>) -> Result<Response<v1::ListLotsResponse>, Status> {
        let request = request.into_inner();
        observe("PointsService/ListLots", &request.program_id).run(async { self.lots(&request) }).await
    }
}

impl PointsRoom {
    async fn adjust(&self, request: v1::AdjustPointsRequest) -> Result<v1::AdjustPointsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let submission = adjustment(ledger, request)?;
        let outcome = ledger.submit(submission).await?;
        let entry = outcome.entries.first().map(|entry| convert::entry(entry, &outcome.programs));
        Ok(v1::AdjustPointsResponse { entry, tier_change: convert::tier_change(&outcome.programs, &outcome.entries) })
    }

    async fn transfer(&self, mut request: v1::TransferPointsRequest) -> Result<v1::TransferPointsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let id = convert::request(&mut request, &mut mistakes);
        let Named { history, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let recipient = convert::recipient(Path::Root.field("recipient"), request.recipient.as_ref(), &mut mistakes);
        let reason = convert::reason(request.reason, &mut mistakes);
        let reference = convert::text(Path::Root.field("reference"), request.reference, 120, &mut mistakes);
        let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
        if request.points <= 0 {
            mistakes.add(Path::Root.field("points"), "is required: more than 0");
        }
        let parsed = id.zip(target.zip(recipient)).zip(actor).zip(reason.zip(reference));
        let (((id, (member, recipient)), actor), (reason, reference)) = mistakes.settle(parsed)?;
        let command = Command::TransferPoints(TransferRequest { to: recipient, points: Points(request.points), reason, reference });
        let outcome =
            ledger.submit(Submission { program: history, member, request: id, actor, principal: access::principal(), command }).await?;
        let entry = outcome.entries.first().map(|entry| convert::entry(entry, &outcome.programs));
        Ok(v1::TransferPointsResponse { entry })
    }

    async fn record(&self, mut request: v1::RecordActivityRequest) -> Result<v1::RecordActivityResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let id = convert::request(&mut request, &mut mistakes);
        let Named { history, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let actor = convert::actor_if_any(request.actor.take(), access::must_name_actor(), &mut mistakes);
        let activity = convert::activity(request, &mut mistakes);
        let parsed = id.zip(target).zip(actor).zip(activity);
        let (((id, member), actor), activity) = mistakes.settle(parsed)?;
        let command = Command::RecordActivity(activity);
        let outcome =
            ledger.submit(Submission { program: history, member, request: id, actor, principal: access::principal(), command }).await?;
        let entry = outcome.entries.first().map(|entry| convert::entry(entry, &outcome.programs));
        Ok(v1::RecordActivityResponse { entry, tier_change: convert::tier_change(&outcome.programs, &outcome.entries) })
    }

    fn lots(&self, request: &v1::ListLotsRequest) -> Result<v1::ListLotsResponse, Refusal> {
        let ledger = self.0.ledger()?;
        let mut mistakes = Mistakes::default();
        let Named { program, target, history } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
        let key = ledger.find(&program, &settle_target(target, &mut mistakes)?)?;
        let list = List { method: "ListLots", filter: &[program.as_str().as_bytes(), &key.member.0] };
        let page = list.page::<LotKey>(request.page_size, &request.page_token, &mut mistakes);
        let page = mistakes.settle(page)?;
        // One more than asked for shows whether there is a next page.
        let mut lots = ledger.lots(&key, page.after, page.size + 1)?;
        let more = lots.len() > page.size;
        lots.truncate(page.size);
        let next_page_token = lots.last().filter(|_| more).map_or_else(String::new, |last| list.token(&last.key()));
        Ok(v1::ListLotsResponse { lots: entries::shown_lots(ledger, &key, (&lots, &history.newest().time_zone))?, next_page_token })
    }
}

/// Whose list is asked for must be known before its token can be judged.
fn settle_target<T>(target: Option<T>, mistakes: &mut Mistakes) -> Result<T, Refusal> {
    Ok(std::mem::take(mistakes).settle(target)?)
}

fn adjustment(ledger: &Ledger, mut request: v1::AdjustPointsRequest) -> Result<Submission, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    access::check_adjustment(request.points)?;
    let expiry = expiry_of(&request, program.newest(), &mut mistakes);
    let reason = convert::reason(request.reason, &mut mistakes);
    let reference = convert::text(Path::Root.field("reference"), request.reference, 120, &mut mistakes);
    let actor = convert::actor(request.actor, &mut mistakes);
    if request.points == 0 {
        mistakes.add(Path::Root.field("points"), "is required: positive to add, negative to take");
    }
    let parsed = id.zip(target).zip(reason.zip(reference));
    let ((id, member), (reason, reference)) = mistakes.settle(parsed)?;
    let (points, qualifying) = (Points(request.points), request.qualifying);
    let command = Command::AdjustPoints(Adjustment { points, qualifying, reason, reference, expiry });
    Ok(Submission { program, member, request: id, actor, principal: access::principal(), command })
}

/// When the points of one grant lapse.
fn expiry_of(request: &v1::AdjustPointsRequest, program: &Program, mistakes: &mut Mistakes) -> Option<Expiry> {
    let document = request.expiry.as_ref()?;
    if request.points < 0 {
        mistakes.add(Path::Root.field("expiry"), "is only for points that are added");
        return None;
    }
    contract::program::grant_expiry(document, program).map_err(|violations| mistakes.extend(violations)).ok()
}
