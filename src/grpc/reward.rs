//! RewardService.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Gate, Named, Refusal, access, catalogue,
    convert::{self, Mistakes, Path},
    named,
    observe::observe,
    page::{Filling, List},
    program_named,
};
use crate::{
    contract::v1::{self, reward_service_server::RewardService},
    domain::{Command, Entry, MemberState, Rejection, Voucher, VoucherChange, VoucherCode, VoucherKindId, VoucherRequest},
    ledger::{FoundVoucher, Ledger, MemberTarget, Outcome, Submission},
};

pub struct Rewards(pub Arc<Gate>);

#[tonic::async_trait]
impl RewardService for Rewards {
    async fn list_rewards(&self, request: Request<v1::ListRewardsRequest>) -> Result<Response<v1::ListRewardsResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/ListRewards", &request.program_id).run(async { catalogue::list(self.0.ledger()?, &request) }).await
    }

    async fn redeem_reward(&self, request: Request<v1::RedeemRewardRequest>) -> Result<Response<v1::RedeemRewardResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/RedeemReward", &request.program_id.clone())
            .run(async { catalogue::redeem(self.0.ledger()?, request).await })
            .await
    }

    async fn issue_voucher(&self, request: Request<v1::IssueVoucherRequest>) -> Result<Response<v1::IssueVoucherResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/IssueVoucher", &request.program_id.clone()).run(async { issue(self.0.ledger()?, request).await }).await
    }

    async fn list_vouchers(&self, request: Request<v1::ListVouchersRequest>) -> Result<Response<v1::ListVouchersResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/ListVouchers", &request.program_id).run(async { list(self.0.ledger()?, &request).await }).await
    }

    async fn get_voucher(&self, request: Request<v1::GetVoucherRequest>) -> Result<Response<v1::GetVoucherResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/GetVoucher", &request.program_id).run(async { get(self.0.ledger()?, &request) }).await
    }

    async fn hold_voucher(&self, request: Request<v1::HoldVoucherRequest>) -> Result<Response<v1::HoldVoucherResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/HoldVoucher", &request.program_id.clone()).run(async { hold(self.0.ledger()?, request).await }).await
    }

    async fn release_voucher(&self, request: Request<v1::ReleaseVoucherRequest>) -> Result<Response<v1::ReleaseVoucherResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/ReleaseVoucher", &request.program_id.clone()).run(async { release(self.0.ledger()?, request).await }).await
    }

    async fn use_voucher(&self, request: Request<v1::UseVoucherRequest>) -> Result<Response<v1::UseVoucherResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/UseVoucher", &request.program_id.clone()).run(async { use_up(self.0.ledger()?, request).await }).await
    }

    async fn cancel_voucher(&self, request: Request<v1::CancelVoucherRequest>) -> Result<Response<v1::CancelVoucherResponse>, Status> {
        let request = request.into_inner();
        observe("RewardService/CancelVoucher", &request.program_id.clone()).run(async { cancel(self.0.ledger()?, request).await }).await
    }
}

async fn issue(ledger: &Ledger, mut request: v1::IssueVoucherRequest) -> Result<v1::IssueVoucherResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let kind = mistakes.take(Path::Root.field("voucher_kind_id"), VoucherKindId::new(&request.voucher_kind_id));
    let reason = convert::reason(request.reason, &mut mistakes);
    let actor = convert::actor(request.actor, &mut mistakes);
    let ((id, member), ((kind, reason), actor)) = mistakes.settle(id.zip(target).zip(kind.zip(reason).zip(actor)))?;
    let command = Command::Voucher(VoucherRequest::Issue { kind, reason });
    let outcome =
        ledger.submit(Submission { program, member, request: id, actor: Some(actor), principal: access::principal(), command }).await?;
    let entry = only_entry(&outcome)?;
    let Some(VoucherChange::Issued { voucher, .. }) = entry.voucher_change().map(|changed| &changed.change) else {
        return Err(other_entry());
    };
    Ok(v1::IssueVoucherResponse {
        voucher: Some(convert::voucher_issued(voucher, entry, &outcome.programs.newest().currency)),
        entry: Some(convert::entry(entry, &outcome.programs)),
    })
}

async fn list(ledger: &Ledger, request: &v1::ListVouchersRequest) -> Result<v1::ListVouchersResponse, Refusal> {
    use v1::voucher::State;
    let mut mistakes = Mistakes::default();
    let Named { program, history, target } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let mut states = Vec::with_capacity(request.states.len().min(8));
    for (index, number) in request.states.iter().take(MAX_STATES).enumerate() {
        match State::try_from(*number) {
            Ok(state @ (State::NotYetValid | State::Usable | State::Held)) => states.push(i32::from(state)),
            Ok(State::Unspecified | State::Used | State::Cancelled | State::Expired) | Err(_) => {
                mistakes.add(Path::Root.item("states", index), "is not a state of live vouchers: not yet valid, usable, held");
            }
        }
    }
    if request.states.len() > MAX_STATES {
        mistakes.add(Path::Root.field("states"), format!("has {} of at most {MAX_STATES}", request.states.len()));
    }
    let target = std::mem::take(&mut mistakes).settle(target)?;
    let key = ledger.find(&program, &target)?;
    let filter: Vec<u8> = states.iter().flat_map(|state| state.to_le_bytes()).collect();
    let list = List { method: "ListVouchers", filter: &[program.as_str().as_bytes(), &key.member.0, &filter] };
    let page = mistakes_of_page(&list, request, mistakes)?;
    let (member, now, currency) = (ledger.vouchers_to_show(&key).await?, ledger.now(), &history.newest().currency);
    let (mut filling, mut last) = (Filling::new(), None);
    let mut next_page_token = String::new();
    for voucher in member.vouchers.values().filter(|voucher| page.after.is_none_or(|after| voucher.code > after)) {
        let shown = convert::voucher(voucher, key.member.to_string(), now, currency);
        if !states.is_empty() && !states.contains(&shown.state) {
            continue;
        }
        if filling.items.len() == page.size || !filling.add(shown) {
            next_page_token = last.map_or_else(String::new, |last: VoucherCode| list.token(&last));
            break;
        }
        last = Some(voucher.code);
    }
    Ok(v1::ListVouchersResponse { vouchers: filling.items, next_page_token })
}

/// More than there are.
const MAX_STATES: usize = 10;

fn mistakes_of_page(
    list: &List<'_>,
    request: &v1::ListVouchersRequest,
    mut mistakes: Mistakes,
) -> Result<super::page::Page<VoucherCode>, Refusal> {
    let page = list.page(request.page_size, &request.page_token, &mut mistakes);
    Ok(mistakes.settle(page)?)
}

fn get(ledger: &Ledger, request: &v1::GetVoucherRequest) -> Result<v1::GetVoucherResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let (program, history) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let code = convert::voucher_code(Path::Root.field("code"), &request.code, &mut mistakes);
    let found = ledger.voucher(&program, &mistakes.settle(code)?)?;
    let (member, currency) = (found.member.key.member.to_string(), &history.newest().currency);
    let voucher = match found.is_live {
        true => convert::voucher(&found.voucher, member, found.now, currency),
        false => convert::ended_voucher(&found.voucher, member, &found.latest.entry, currency),
    };
    let unusable_reason = unusable_reason(&found).map(|rejection| Refusal::from(rejection).reason().to_owned()).unwrap_or_default();
    Ok(v1::GetVoucherResponse {
        voucher: Some(voucher),
        usable: unusable_reason.is_empty(),
        unusable_reason,
        entry_member_id: found.latest.entry.key.member.to_string(),
        entry: Some(convert::listed(&found.latest, &history)),
    })
}

/// What a use would be refused with now, by its member and for the order that it is held for.
fn unusable_reason(found: &FoundVoucher) -> Option<Rejection> {
    match found.member.header.state {
        MemberState::Active => {}
        MemberState::Suspended => return Some(Rejection::MemberSuspended),
        MemberState::Erased => return Some(Rejection::MemberErased),
        MemberState::Merged { .. } => return Some(Rejection::MemberNotFound),
    }
    let Voucher { hold, .. } = &found.voucher;
    if found.is_live {
        return found.voucher.check(hold.as_ref().map(|hold| &hold.order), found.now).err().map(Rejection::from);
    }
    found.latest.entry.why_voucher_ended().map(Rejection::from)
}

async fn hold(ledger: &Ledger, mut request: v1::HoldVoucherRequest) -> Result<v1::HoldVoucherResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let (_, program) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let code = convert::voucher_code(Path::Root.field("code"), &request.code, &mut mistakes);
    let order = convert::order_key(Path::Root, &request.store_id, &request.order_id, &mut mistakes);
    let seconds = convert::hold_seconds(request.duration.as_ref(), &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let ((id, actor), ((code, order), seconds)) = mistakes.settle(id.zip(actor).zip(code.zip(order).zip(seconds)))?;
    let command = Command::Voucher(VoucherRequest::Hold { code, order, seconds });
    let member = MemberTarget::Voucher(code);
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    Ok(v1::HoldVoucherResponse { entry: Some(convert::entry(only_entry(&outcome)?, &outcome.programs)) })
}

async fn release(ledger: &Ledger, mut request: v1::ReleaseVoucherRequest) -> Result<v1::ReleaseVoucherResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let (_, program) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let code = convert::voucher_code(Path::Root.field("code"), &request.code, &mut mistakes);
    let reason = convert::text(Path::Root.field("reason"), request.reason, 500, &mut mistakes);
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let ((id, actor), (code, reason)) = mistakes.settle(id.zip(actor).zip(code.zip(reason)))?;
    let command = Command::Voucher(VoucherRequest::Release { code, reason });
    let member = MemberTarget::Voucher(code);
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    Ok(v1::ReleaseVoucherResponse { entry: Some(convert::entry(only_entry(&outcome)?, &outcome.programs)) })
}

async fn use_up(ledger: &Ledger, mut request: v1::UseVoucherRequest) -> Result<v1::UseVoucherResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let (_, program) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let code = convert::voucher_code(Path::Root.field("code"), &request.code, &mut mistakes);
    let order = convert::optional_order(Path::Root, &request.store_id, &request.order_id, &mut mistakes);
    let mut amount = |name, money: Option<&v1::Money>| match money {
        None => Some(None),
        Some(money) => convert::parse_money(Path::Root.field(name), money, &program.newest().currency, &mut mistakes).map(Some),
    };
    let (order_total, value) = (amount("order_total", request.order_total.as_ref()), amount("value", request.value.as_ref()));
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let parsed = id.zip(actor).zip(code).zip(order.zip(order_total.zip(value)));
    let (((id, actor), code), (order, (order_total, value))) = mistakes.settle(parsed)?;
    let command = Command::Voucher(VoucherRequest::Use { code, order, order_total, value });
    let member = MemberTarget::Voucher(code);
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let entry = only_entry(&outcome)?;
    Ok(v1::UseVoucherResponse { entry: Some(convert::entry(entry, &outcome.programs)), member_id: entry.key.member.to_string() })
}

async fn cancel(ledger: &Ledger, mut request: v1::CancelVoucherRequest) -> Result<v1::CancelVoucherResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let (_, program) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let code = convert::voucher_code(Path::Root.field("code"), &request.code, &mut mistakes);
    let reason = convert::reason(request.reason, &mut mistakes);
    let actor = convert::actor(request.actor, &mut mistakes);
    let (id, ((code, reason), actor)) = mistakes.settle(id.zip(code.zip(reason).zip(actor)))?;
    let command = Command::Voucher(VoucherRequest::Cancel { code, reason });
    let submission = Submission {
        program,
        member: MemberTarget::Voucher(code),
        request: id,
        actor: Some(actor),
        principal: access::principal(),
        command,
    };
    let outcome = ledger.submit(submission).await?;
    Ok(v1::CancelVoucherResponse { entry: Some(convert::entry(only_entry(&outcome)?, &outcome.programs)) })
}

fn only_entry(outcome: &Outcome) -> Result<&Entry, Refusal> {
    outcome.entries.first().ok_or_else(other_entry)
}

fn other_entry() -> Refusal {
    Refusal::internal(&"a voucher was answered without its entry")
}
