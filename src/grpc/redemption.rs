//! The part of PointsService that spends points as money and sets them aside.

use super::{
    Named, Refusal, access,
    convert::{self, Mistakes, Path},
    named,
};
use crate::{
    contract::v1,
    domain::{CaptureRequest, Command, Entry, EntryKind, HoldRequest, Points, ProgramHistory, RedeemRequest, Redeemed, ReversalRequest},
    ledger::{Ledger, Outcome, Submission},
};

pub async fn redeem(ledger: &Ledger, mut request: v1::RedeemPointsRequest) -> Result<v1::RedeemPointsResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let terms = Terms {
        points: request.points,
        up_to: request.up_to,
        order_total: request.order_total.as_ref(),
        store_id: &request.store_id,
        order_id: &request.order_id,
        reference: request.reference,
    };
    let terms = terms.parse(&program, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let (((id, member), actor), terms) = mistakes.settle(id.zip(target).zip(actor).zip(terms))?;
    let command = Command::RedeemPoints(terms);
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let (entry, redeemed) = redemption_of(&outcome)?;
    Ok(v1::RedeemPointsResponse {
        entry: Some(convert::entry(entry, &outcome.programs)),
        points: redeemed.points.0,
        value: Some(convert::money(redeemed.value, &outcome.programs.newest().currency)),
        balance: Some(convert::balance(&entry.balance)),
    })
}

pub async fn reverse(ledger: &Ledger, mut request: v1::ReverseRedemptionRequest) -> Result<v1::ReverseRedemptionResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let redemption = convert::sequence(Path::Root.field("redemption_sequence"), request.redemption_sequence, &mut mistakes);
    let points = some_points(request.points, &mut mistakes);
    let holder = convert::optional_member_id(Path::Root.field("redemption_member_id"), &request.redemption_member_id, &mut mistakes);
    let reason = convert::reason(request.reason, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let parsed = id.zip(target).zip(actor).zip(redemption.zip(holder).zip(points).zip(reason));
    let (((id, member), actor), (((redemption, holder), points), reason)) = mistakes.settle(parsed)?;
    let command = Command::ReverseRedemption(ReversalRequest { redemption, ledger: holder, points, reason });
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let entry = only_entry(&outcome)?;
    let EntryKind::RedemptionReversed(reversed) = &entry.kind else { return Err(other_entry()) };
    Ok(v1::ReverseRedemptionResponse {
        entry: Some(convert::entry(entry, &outcome.programs)),
        value: Some(convert::money(reversed.value, &outcome.programs.newest().currency)),
        balance: Some(convert::balance(&entry.balance)),
    })
}

pub async fn hold(ledger: &Ledger, mut request: v1::HoldPointsRequest) -> Result<v1::HoldPointsResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let terms = Terms {
        points: request.points,
        up_to: request.up_to,
        order_total: request.order_total.as_ref(),
        store_id: &request.store_id,
        order_id: &request.order_id,
        reference: request.reference,
    };
    let terms = terms.parse(&program, &mut mistakes);
    let seconds = convert::hold_seconds(request.duration.as_ref(), &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let (((id, member), actor), (redeem, seconds)) = mistakes.settle(id.zip(target).zip(actor).zip(terms.zip(seconds)))?;
    let command = Command::HoldPoints(HoldRequest { redeem, seconds });
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let entry = only_entry(&outcome)?;
    let EntryKind::PointsHeld(held) = &entry.kind else { return Err(other_entry()) };
    Ok(v1::HoldPointsResponse {
        entry: Some(convert::entry(entry, &outcome.programs)),
        hold: Some(convert::hold(&held.hold, &outcome.programs.newest().currency)),
        balance: Some(convert::balance(&entry.balance)),
    })
}

pub async fn capture(ledger: &Ledger, mut request: v1::CaptureHoldRequest) -> Result<v1::CaptureHoldResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let hold = convert::hold_id(Path::Root.field("hold_id"), &request.hold_id, &mut mistakes);
    let points = some_points(request.points, &mut mistakes);
    let order = convert::optional_order(Path::Root, &request.store_id, &request.order_id, &mut mistakes);
    let reference = reference(request.reference, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let parsed = id.zip(target).zip(actor).zip(hold.zip(points).zip(order.zip(reference)));
    let (((id, member), actor), ((hold, points), (order, reference))) = mistakes.settle(parsed)?;
    let command = Command::CaptureHold(CaptureRequest { hold, points, order, reference });
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let (entry, redeemed) = redemption_of(&outcome)?;
    Ok(v1::CaptureHoldResponse {
        entry: Some(convert::entry(entry, &outcome.programs)),
        points: redeemed.points.0,
        value: Some(convert::money(redeemed.value, &outcome.programs.newest().currency)),
        balance: Some(convert::balance(&entry.balance)),
    })
}

pub async fn release(ledger: &Ledger, mut request: v1::ReleaseHoldRequest) -> Result<v1::ReleaseHoldResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let hold = convert::hold_id(Path::Root.field("hold_id"), &request.hold_id, &mut mistakes);
    let reason = convert::text(Path::Root.field("reason"), request.reason, 500, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let (((id, member), actor), (hold, reason)) = mistakes.settle(id.zip(target).zip(actor).zip(hold.zip(reason)))?;
    let command = Command::ReleaseHold { hold, reason };
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let entry = only_entry(&outcome)?;
    Ok(v1::ReleaseHoldResponse { entry: Some(convert::entry(entry, &outcome.programs)), balance: Some(convert::balance(&entry.balance)) })
}

pub fn list(ledger: &Ledger, request: &v1::ListHoldsRequest) -> Result<v1::ListHoldsResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let holds = ledger.holds(&ledger.find(&program, &mistakes.settle(target)?)?)?;
    Ok(v1::ListHoldsResponse { holds: holds.iter().map(|hold| convert::hold(hold, &history.newest().currency)).collect() })
}

/// What RedeemPoints and HoldPoints both ask.
struct Terms<'a> {
    points: i64,
    up_to: bool,
    order_total: Option<&'a v1::Money>,
    store_id: &'a str,
    order_id: &'a str,
    reference: String,
}

impl Terms<'_> {
    fn parse(self, program: &ProgramHistory, mistakes: &mut Mistakes) -> Option<RedeemRequest> {
        let points = match self.points {
            0 if self.up_to => Some(None),
            points => convert::parse_points(Path::Root.field("points"), points, mistakes).map(Some),
        };
        let order_total = match self.order_total {
            None => Some(None),
            Some(total) => convert::parse_money(Path::Root.field("order_total"), total, &program.newest().currency, mistakes).map(Some),
        };
        let order = convert::optional_order(Path::Root, self.store_id, self.order_id, mistakes);
        let reference = reference(self.reference, mistakes);
        Some(RedeemRequest { points: points?, up_to: self.up_to, order_total: order_total?, order: order?, reference: reference? })
    }
}

fn reference(text: String, mistakes: &mut Mistakes) -> Option<String> {
    convert::text(Path::Root.field("reference"), text, 120, mistakes)
}

/// Unset: all there are.
fn some_points(points: Option<i64>, mistakes: &mut Mistakes) -> Option<Option<Points>> {
    match points {
        None => Some(None),
        Some(points) => convert::parse_points(Path::Root.field("points"), points, mistakes).map(Some),
    }
}

fn redemption_of(outcome: &Outcome) -> Result<(&Entry, &Redeemed), Refusal> {
    convert::redeemed(&outcome.entries).next().ok_or_else(other_entry)
}

fn only_entry(outcome: &Outcome) -> Result<&Entry, Refusal> {
    outcome.entries.first().ok_or_else(other_entry)
}

fn other_entry() -> Refusal {
    Refusal::internal(&"a redemption or hold was answered without its entry")
}
