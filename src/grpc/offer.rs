//! OfferService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Gate, Named, Refusal, access,
    convert::{self, Mistakes, Path},
    named,
    observe::observe,
};
use crate::{
    contract::v1::{self, offer_service_server::OfferService},
    domain::{Command, Entry, Offer, OfferId, OfferRequest, OfferState, Program, VoucherChange},
    ledger::{Ledger, Outcome, Submission},
};

pub struct Offers(pub Arc<Gate>);

#[tonic::async_trait]
impl OfferService for Offers {
    async fn list_offers(&self, request: Request<v1::ListOffersRequest>) -> Result<Response<v1::ListOffersResponse>, Status> {
        let request = request.into_inner();
        observe("OfferService/ListOffers", &request.program_id).run(async { list(self.0.ledger()?, &request) }).await
    }

    async fn activate_offer(&self, request: Request<v1::ActivateOfferRequest>) -> Result<Response<v1::ActivateOfferResponse>, Status> {
        let request = request.into_inner();
        observe("OfferService/ActivateOffer", &request.program_id.clone()).run(async { activate(self.0.ledger()?, request).await }).await
    }

    async fn assign_offer(&self, request: Request<v1::AssignOfferRequest>) -> Result<Response<v1::AssignOfferResponse>, Status> {
        let request = request.into_inner();
        observe("OfferService/AssignOffer", &request.program_id.clone()).run(async { assign(self.0.ledger()?, request).await }).await
    }

    async fn withdraw_offer(&self, request: Request<v1::WithdrawOfferRequest>) -> Result<Response<v1::WithdrawOfferResponse>, Status> {
        let request = request.into_inner();
        observe("OfferService/WithdrawOffer", &request.program_id.clone()).run(async { withdraw(self.0.ledger()?, request).await }).await
    }
}

fn list(ledger: &Ledger, request: &v1::ListOffersRequest) -> Result<v1::ListOffersResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let Named { program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let channel = convert::text(Path::Root.field("channel"), request.channel.clone(), 64, &mut mistakes);
    let store = convert::text(Path::Root.field("store_id"), request.store_id.clone(), 64, &mut mistakes);
    let (target, (channel, store)) = mistakes.settle(target.zip(channel.zip(store)))?;
    let key = ledger.find(&program, &target)?;
    let found = ledger.offers(&key)?;
    let listed = found.program.offers.iter().zip(&found.standings);
    let listed = listed.filter(|(offer, _)| works_at(&found.program, offer, &channel, &store));
    let listed = listed.filter(|(_, standing)| {
        request.include_unavailable
            || match standing.state {
                OfferState::Available | OfferState::NeedsActivation | OfferState::Active => true,
                OfferState::UsedUp | OfferState::Ended | OfferState::Unavailable => false,
            }
    });
    Ok(v1::ListOffersResponse { offers: listed.map(|(offer, standing)| convert::listed_offer(offer, standing)).collect() })
}

/// As far as the place alone says.
fn works_at(program: &Program, offer: &Offer, channel: &str, store: &str) -> bool {
    let Some(promotion) = offer.promotion().and_then(|promotion| program.promotion(promotion)) else { return true };
    let filter = &promotion.filter;
    (channel.is_empty() || filter.channels.is_empty() || filter.channels.contains(channel))
        && (store.is_empty() || filter.stores.is_empty() || filter.stores.contains(store))
}

async fn activate(ledger: &Ledger, mut request: v1::ActivateOfferRequest) -> Result<v1::ActivateOfferResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let offer = offer_id(&request.offer_id, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let (((id, member), actor), offer) = mistakes.settle(id.zip(target).zip(actor).zip(offer))?;
    let command = Command::Offer(OfferRequest::Activate { offer });
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let currency = &outcome.programs.newest().currency;
    let voucher = outcome.entries.iter().find_map(|entry| match &entry.voucher_change()?.change {
        VoucherChange::Issued { voucher, offer: Some(_), .. } => Some(convert::voucher_issued(voucher, entry, currency)),
        _ => None,
    });
    Ok(v1::ActivateOfferResponse { entry: Some(shown(&outcome)?), voucher })
}

async fn assign(ledger: &Ledger, mut request: v1::AssignOfferRequest) -> Result<v1::AssignOfferResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let offer = offer_id(&request.offer_id, &mut mistakes);
    let end_time = match &request.end_time {
        None => Some(None),
        Some(instant) => convert::parse_timestamp(Path::Root.field("end_time"), instant, &mut mistakes).map(Some),
    };
    let reason = convert::reason(request.reason, &mut mistakes);
    let actor = convert::actor(request.actor, &mut mistakes);
    let ((id, member), ((offer, end_time), (reason, actor))) =
        mistakes.settle(id.zip(target).zip(offer.zip(end_time).zip(reason.zip(actor))))?;
    let command = Command::Offer(OfferRequest::Assign { offer, reason, end_time });
    let outcome =
        ledger.submit(Submission { program, member, request: id, actor: Some(actor), principal: access::principal(), command }).await?;
    Ok(v1::AssignOfferResponse { entry: Some(shown(&outcome)?) })
}

async fn withdraw(ledger: &Ledger, mut request: v1::WithdrawOfferRequest) -> Result<v1::WithdrawOfferResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let offer = offer_id(&request.offer_id, &mut mistakes);
    let reason = convert::reason(request.reason, &mut mistakes);
    let actor = convert::actor(request.actor, &mut mistakes);
    let ((id, member), ((offer, reason), actor)) = mistakes.settle(id.zip(target).zip(offer.zip(reason).zip(actor)))?;
    let command = Command::Offer(OfferRequest::Withdraw { offer, reason });
    let outcome =
        ledger.submit(Submission { program, member, request: id, actor: Some(actor), principal: access::principal(), command }).await?;
    Ok(v1::WithdrawOfferResponse { entry: Some(shown(&outcome)?) })
}

fn offer_id(text: &str, mistakes: &mut Mistakes) -> Option<OfferId> {
    mistakes.take(Path::Root.field("offer_id"), OfferId::new(text))
}

/// The entry that says what became of the offer.
fn shown(outcome: &Outcome) -> Result<v1::Entry, Refusal> {
    let entry: &Entry = outcome.entries.first().ok_or_else(|| Refusal::internal(&"an offer was answered without its entry"))?;
    Ok(convert::entry(entry, &outcome.programs))
}
