//! The part of RewardService that is about the catalogue.

use super::{
    Named, Refusal, access,
    convert::{self, Mistakes, Path},
    named,
    page::{Filling, List},
    program_named,
};
use crate::{
    contract::v1,
    domain::{Command, Currency, Entry, RewardId, VoucherChange, VoucherRequest},
    ledger::{Ledger, MemberTarget, Submission},
};

pub fn list(ledger: &Ledger, request: &v1::ListRewardsRequest) -> Result<v1::ListRewardsResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let target: Option<Option<MemberTarget>> = match &request.member {
        None => Some(None),
        member => convert::member_target(member.as_ref(), &mut mistakes).map(Some),
    };
    let (program, _) = program_named(ledger, &request.program_id, &mut mistakes)?;
    let target = std::mem::take(&mut mistakes).settle(target)?;
    let key = target.map(|target| ledger.find(&program, &target)).transpose()?;
    let member = key.as_ref().map_or(&[][..], |key| &key.member.0);
    let list = List { method: "ListRewards", filter: &[program.as_str().as_bytes(), member] };
    let page = list.page::<RewardId>(request.page_size, &request.page_token, &mut mistakes);
    let page = mistakes.settle(page)?;
    let found = ledger.rewards(&program, key.as_ref())?;
    let listed = || found.program.rewards.values().zip(&found.standings);
    let next = convert::next_reward(listed());
    let (mut filling, mut last, mut next_page_token) = (Filling::new(), None, String::new());
    for (reward, standing) in listed().filter(|(reward, _)| page.after.as_ref().is_none_or(|after| reward.id > *after)) {
        if filling.items.len() == page.size || !filling.add(convert::listed_reward(reward, standing, &found.program)) {
            next_page_token = last.map_or_else(String::new, |last: &RewardId| list.token(last));
            break;
        }
        last = Some(&reward.id);
    }
    Ok(v1::ListRewardsResponse {
        rewards: filling.items,
        next_page_token,
        next_reward_id: next.map_or_else(String::new, |(reward, _)| reward.id.to_string()),
        next_missing_points: next.map_or(0, |(_, missing)| missing.0),
    })
}

pub async fn redeem(ledger: &Ledger, mut request: v1::RedeemRewardRequest) -> Result<v1::RedeemRewardResponse, Refusal> {
    let mut mistakes = Mistakes::default();
    let id = convert::request(&mut request, &mut mistakes);
    let Named { history: program, target, .. } = named(ledger, &request.program_id, request.member.as_ref(), &mut mistakes)?;
    let reward = mistakes.take(Path::Root.field("reward_id"), RewardId::new(&request.reward_id));
    let quantity = match u32::try_from(request.quantity) {
        Ok(0) => Some(1),
        Ok(quantity) => Some(quantity),
        Err(_) => {
            mistakes.add(Path::Root.field("quantity"), "is negative");
            None
        }
    };
    let actor = convert::actor_if_any(request.actor, access::must_name_actor(), &mut mistakes);
    let (((id, member), actor), (reward, quantity)) = mistakes.settle(id.zip(target).zip(actor).zip(reward.zip(quantity)))?;
    let command = Command::Voucher(VoucherRequest::Redeem { reward, quantity });
    let outcome = ledger.submit(Submission { program, member, request: id, actor, principal: access::principal(), command }).await?;
    let currency = &outcome.programs.newest().currency;
    Ok(v1::RedeemRewardResponse {
        vouchers: outcome.entries.iter().filter_map(|entry| issued(entry, currency)).collect(),
        // What it leads to beside them is in the ledger.
        entries: outcome.entries.iter().filter(|entry| is_issue(entry)).map(|entry| convert::entry(entry, &outcome.programs)).collect(),
        balance: convert::last_balance(&outcome.entries),
    })
}

fn is_issue(entry: &Entry) -> bool {
    entry.voucher_change().is_some_and(|changed| changed.reward_paid().is_some())
}

fn issued(entry: &Entry, currency: &Currency) -> Option<v1::Voucher> {
    let VoucherChange::Issued { voucher, reward: Some(_), .. } = &entry.voucher_change()?.change else { return None };
    Some(convert::voucher_issued(voucher, entry, currency))
}
