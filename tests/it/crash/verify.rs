//! After a kill: finds out what became of the requests without an answer, and holds all of the service against the model.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use loyaltyd::contract::v1;
use tokio::task::JoinSet;

use super::{
    call::{Answer, Call, Caller, Outcome},
    fold::Verified,
    lives::CAMPAIGN_BUDGET,
    load::Shared,
    model::{Fate, MemberNo, OpId},
    random::Random,
};
use crate::support::{PROGRAM, by_id, identifier};

/// Calls in flight.
const AT_ONCE: usize = 48;
/// Of the requests of a round, so many of the last ones are sent again, and so many of all before.
const LAST: usize = 150;
const SAMPLE: usize = 50;

#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Answers that were given before the kill, and asked for again.
    pub repeated: usize,
    /// Requests without an answer that turned out to have been carried out, and those that had not.
    pub carried_out: usize,
    pub absent: usize,
    pub members: usize,
    pub entries: usize,
    pub purchases: usize,
    /// Answers about vouchers and rewards, tiers that were set by hand, members that became others', offers, and sales whose prices the service
    /// made.
    pub vouchers: usize,
    pub tiers: usize,
    pub merges: usize,
    pub offers: usize,
    pub priced: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.repeated += other.repeated;
        self.carried_out += other.carried_out;
        self.absent += other.absent;
        self.members += other.members;
        self.entries += other.entries;
        self.purchases += other.purchases;
        self.vouchers += other.vouchers;
        self.tiers += other.tiers;
        self.merges += other.merges;
        self.offers += other.offers;
        self.priced += other.priced;
    }
}

/// What changed since the last time; `whole`: all that was ever sent.
pub async fn verify(shared: &Shared, caller: &Caller, random: &mut Random, whole: bool) -> Counts {
    let mut counts = Counts::default();
    settle_unknown(shared, caller, random, &mut counts).await;
    let (ops, members) = to_verify(shared, random, whole);
    counts.members = members.len();
    counts.entries = in_parallel(members, |member| verify_member(shared.clone(), caller.clone(), member, whole)).await;
    verify_budget(shared);
    let calls: Vec<(OpId, Call)> = {
        let model = shared.model();
        let calls = model.answered(ops.iter().copied()).into_iter().map(|op| (op, model.ops[op].call.clone()));
        calls.collect()
    };
    counts.repeated = calls.len();
    let of = |is_it: fn(&Call) -> bool| calls.iter().filter(|(_, call)| is_it(call)).count();
    counts.vouchers = of(Call::is_of_voucher);
    (counts.offers, counts.priced) = (of(Call::is_of_offer), of(Call::is_priced));
    (counts.tiers, counts.merges) = (of(|call| matches!(call, Call::SetTier(_))), of(|call| matches!(call, Call::Merge(_))));
    counts.purchases = in_parallel(ops, |op| verify_trace(shared.clone(), caller.clone(), op)).await;
    in_parallel(calls, |(op, call)| repeat(shared.clone(), caller.clone(), op, call)).await;
    verify_rule_books(shared, caller, whole).await;
    let mut model = shared.model();
    model.verified_ops = model.ops.len();
    counts
}

/// All that members have of the campaign, each as its ledger says, is what there was of it, and once it is said to be over just that.
fn verify_budget(shared: &Shared) {
    let model = shared.model();
    let given: i64 = model.campaign.values().sum();
    let is_right = if model.campaign_is_over { given == CAMPAIGN_BUDGET } else { given <= CAMPAIGN_BUDGET };
    assert!(is_right, "the campaign has given {given} points of {CAMPAIGN_BUDGET}; over: {}", model.campaign_is_over);
}

/// The ledgers that may have changed, wholly; of the requests those that were sent last, and some of the others.
fn to_verify(shared: &Shared, random: &mut Random, whole: bool) -> (Vec<OpId>, Vec<MemberNo>) {
    let model = shared.model();
    let members = (0..model.members.len()).filter(|member| whole || model.members[*member].is_dirty).collect();
    let count = model.ops.len();
    let last = if whole { 0 } else { model.verified_ops.max(count.saturating_sub(LAST)) };
    let mut ops: Vec<OpId> = (last..count).collect();
    ops.extend((0..SAMPLE.min(last)).map(|_| random.below(last)));
    (ops, members)
}

/// Runs them beside each other and adds up what they give.
async fn in_parallel<T, F>(items: Vec<T>, work: impl Fn(T) -> F) -> usize
where
    F: Future<Output = usize> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut sum = 0;
    let ended = |done: Result<usize, tokio::task::JoinError>| done.expect("what was found is told above");
    for item in items {
        if running.len() >= AT_ONCE {
            sum += running.join_next().await.map_or(0, ended);
        }
        running.spawn(work(item));
    }
    while let Some(done) = running.join_next().await {
        sum += ended(done);
    }
    sum
}

/// Half of them are sent again: then they are carried out, now if not before. The other half is looked for, and what is not there is not
/// sent again: it must never appear.
async fn settle_unknown(shared: &Shared, caller: &Caller, random: &mut Random, counts: &mut Counts) {
    let mut look = Vec::new();
    let mut send = Vec::new();
    {
        let model = shared.model();
        for op in model.unknown() {
            let must_be_known = matches!(model.ops[op].call, Call::Publish(_));
            if random.percent(50) && !must_be_known { look.push(op) } else { send.push(op) }
        }
    }
    let mut ledgers: HashMap<MemberNo, HashSet<String>> = HashMap::new();
    for op in look {
        let (call, member) = {
            let model = shared.model();
            (model.ops[op].call.clone(), model.ops[op].member)
        };
        let is_there = match (&call, member) {
            (Call::Enroll(request), _) => is_enrolled(caller, request).await,
            (_, Some(member)) => {
                if let std::collections::hash_map::Entry::Vacant(ledger) = ledgers.entry(member) {
                    let entries = entries(shared, caller, member, 0).await;
                    ledger.insert(entries.into_iter().map(|entry| entry.request_id).collect());
                }
                ledgers[&member].contains(call.request_id())
            }
            (_, None) => panic!("it is a member's: {call:?}"),
        };
        if is_there {
            counts.carried_out += 1;
            let outcome = caller.call(call.clone()).await;
            let is_answered = matches!(outcome, Outcome::Answered(_));
            assert!(is_answered, "a request that was carried out is not answered when it is repeated: {call:?} {outcome:?}");
            shared.model().settle(op, outcome);
        } else {
            counts.absent += 1;
            shared.model().absent(op);
        }
    }
    for op in send {
        let call = shared.model().ops[op].call.clone();
        let outcome = caller.call(call.clone()).await;
        let is_known = matches!(outcome, Outcome::Answered(_) | Outcome::Refused(_));
        assert!(is_known, "a request that is sent again after a kill has no answer: {call:?} {outcome:?}");
        shared.model().settle(op, outcome);
    }
}

/// Found by the first card: one that somebody else holds is no enrolment of this request.
async fn is_enrolled(caller: &Caller, request: &v1::EnrollMemberRequest) -> bool {
    let asked = v1::GetMemberRequest {
        program_id: PROGRAM.into(),
        member: Some(v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(request.identifiers[0].clone())) }),
        ..Default::default()
    };
    let found = match caller.members().get_member(caller.request(asked)).await {
        Ok(answer) => answer.into_inner().member.expect("a member is shown"),
        Err(status) if status.code() == tonic::Code::NotFound => return false,
        Err(status) => panic!("an identifier cannot be looked up: {status:?}"),
    };
    let list = v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(&found.member_id),
        page_size: 500,
        page_token: String::new(),
        ..Default::default()
    };
    let mut token = String::new();
    loop {
        let page = caller.points().list_entries(caller.request(v1::ListEntriesRequest { page_token: token, ..list.clone() })).await;
        let page = page.expect("entries are listed").into_inner();
        token = page.next_page_token;
        if token.is_empty() {
            return page.entries.last().is_some_and(|first| first.request_id == request.request_id);
        }
    }
}

/// Those behind `after`, oldest first.
async fn entries(shared: &Shared, caller: &Caller, member: MemberNo, after: i64) -> Vec<v1::Entry> {
    let id = shared.model().members[member].id.clone();
    let mut token = String::new();
    let mut found = Vec::new();
    loop {
        let request = v1::ListEntriesRequest {
            program_id: PROGRAM.into(),
            member: by_id(&id),
            page_size: 500,
            page_token: token,
            ..Default::default()
        };
        let page = caller.points().list_entries(caller.request(request)).await;
        let page = page.unwrap_or_else(|status| panic!("the entries of member {id} cannot be listed: {status:?}")).into_inner();
        let is_enough = page.entries.last().is_none_or(|entry| entry.sequence <= after + 1);
        found.extend(page.entries.into_iter().filter(|entry| entry.sequence > after));
        token = page.next_page_token;
        if is_enough || token.is_empty() {
            found.reverse();
            return found;
        }
    }
}

/// Gives the number of entries.
async fn verify_member(shared: Shared, caller: Caller, member: MemberNo, whole: bool) -> usize {
    let (id, before) = {
        let model = shared.model();
        (model.members[member].id.clone(), model.members[member].verified.clone())
    };
    let mut sum = if whole { Verified::default() } else { before.clone() };
    let entries = entries(&shared, &caller, member, sum.sequence).await;
    let count = entries.len();
    {
        let mut model = shared.model();
        for entry in &entries {
            let added = sum.add(&mut model, member, entry);
            added.unwrap_or_else(|fault| panic!("member {id}: {fault}\n{entry:#?}"));
            assert!(sum.sequence != before.sequence || sum == before, "member {id}: entries that were verified have changed since");
        }
        sum.ends().unwrap_or_else(|fault| panic!("member {id}: {fault}"));
        let is_merged = model.merges.get(&member).is_some_and(|merge| matches!(model.ops[*merge].fate, Fate::Answered(_)));
        assert!(is_merged == sum.merged_into.is_some(), "member {id}: it was merged, or was not, and its ledger says otherwise");
        let seen = model.members[member].seen_sequence;
        assert!(sum.sequence >= seen.max(before.sequence), "member {id}: entry {seen} was told of, and the last one is {}", sum.sequence);
        for op in &model.members[member].ops {
            let (found, fate) = (model.op_sequences.get(op), &model.ops[*op].fate);
            let is_right = match fate {
                Fate::Answered(_) => found.is_some(),
                Fate::Absent(_) => found.is_none(),
                Fate::Unknown => false,
            };
            assert!(is_right, "member {id}: entry {found:?} belongs to {:?}, which counts as {fate:?}", model.ops[*op].call);
        }
        model.members[member].verified = sum.clone();
        model.members[member].is_dirty = false;
    }
    verify_state(&caller, &id, &sum).await;
    count
}

/// The state, not the history: the member, the lots, and what the identifiers find.
async fn verify_state(caller: &Caller, id: &str, sum: &Verified) {
    let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(id), ..Default::default() };
    let shown = caller.members().get_member(caller.request(request)).await.expect("a member is shown").into_inner();
    if let Some(into) = &sum.merged_into {
        assert_eq!(shown.member.map(|member| member.member_id).as_ref(), Some(into), "who member {id} is now");
        return;
    }
    sum.is_member(&shown.member.expect("a member is shown")).unwrap_or_else(|fault| panic!("member {id}: {fault}"));
    let mut lots = Vec::new();
    let mut token = String::new();
    loop {
        let request = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(id), page_size: 500, page_token: token };
        let page = caller.points().list_lots(caller.request(request)).await.expect("lots are listed").into_inner();
        lots.extend(page.lots);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let held: i64 = lots.iter().map(|lot| lot.remaining_points).sum();
    assert_eq!(held, sum.available, "member {id}: the lots hold something else than the balance");
    for (kind, value) in &sum.identifiers {
        let kind = v1::identifier::Kind::try_from(*kind).expect("a known kind");
        let request = v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: Some(identifier(kind, value)) };
        let found = caller.members().lookup_member(caller.request(request)).await;
        let found = found.unwrap_or_else(|status| panic!("member {id} is not found by {kind:?} {value}: {status:?}")).into_inner();
        assert_eq!(found.member_id, id, "the member that {kind:?} {value} finds");
    }
}

/// What must be found of a request beside its member's ledger.
enum Trace {
    Nothing,
    /// Nobody has it.
    NoOwner(v1::Identifier),
    /// Recorded with this answer, or not at all.
    Order((String, String), Option<Box<v1::RecordPurchaseResponse>>),
}

fn trace(shared: &Shared, op: OpId) -> Trace {
    let model = shared.model();
    let found = &model.ops[op];
    match (&found.call, &found.fate) {
        (Call::RemoveIdentifier(request), Fate::Answered(_)) => request.identifier.clone().map_or(Trace::Nothing, Trace::NoOwner),
        (Call::AddIdentifier(request), Fate::Absent(_)) => request.identifier.clone().map_or(Trace::Nothing, Trace::NoOwner),
        (Call::Enroll(request), Fate::Absent(_)) if !found.may_be_taken() => Trace::NoOwner(request.identifiers[0].clone()),
        (Call::Record(_), _) => {
            let order = found.call.order().expect("a purchase has an order");
            let recorded = model.answered(model.orders[&order].iter().copied());
            assert!(recorded.len() <= 1, "the order {order:?} was recorded twice");
            let answer = recorded.first().map(|op| match &model.ops[*op].fate {
                Fate::Answered(Answer::Recorded(answer)) => answer.clone(),
                other => panic!("a purchase has the answer of one, not {other:?}"),
            });
            // Who was told that the order exists was told the truth.
            let told = model.orders[&order].iter().any(|op| model.ops[*op].fate == Fate::Absent("PURCHASE_EXISTS".to_owned()));
            assert!(answer.is_some() || !told, "the order {order:?} was said to exist, and nobody recorded it");
            Trace::Order(order, answer)
        }
        _ => Trace::Nothing,
    }
}

/// The order of a purchase finds the one that was recorded, or none; what was removed or never there finds nobody. Gives the number of
/// purchases found.
async fn verify_trace(shared: Shared, caller: Caller, op: OpId) -> usize {
    let trace = trace(&shared, op);
    match trace {
        Trace::Nothing => 0,
        Trace::NoOwner(identifier) => {
            let request = v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: Some(identifier.clone()) };
            match caller.members().lookup_member(caller.request(request)).await {
                Err(status) if status.code() == tonic::Code::NotFound => 0,
                found => panic!("{identifier:?} must find nobody, and finds {found:?}"),
            }
        }
        Trace::Order((store_id, order_id), expected) => {
            let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id, order_id: order_id.clone() };
            match (caller.purchases().get_purchase(caller.request(request)).await, expected) {
                (Ok(found), Some(expected)) => {
                    let found = found.into_inner();
                    let found = (found.member_id, found.entry_sequence, found.record_time, found.accrual);
                    let expected = (expected.member_id, expected.entry_sequence, expected.record_time, expected.accrual);
                    assert_eq!(found, expected, "the order {order_id}");
                    1
                }
                (Err(status), None) if status.code() == tonic::Code::NotFound => 0,
                (found, expected) => panic!("the order {order_id} must be {expected:?}, and is {found:?}"),
            }
        }
    }
}

/// The same request gets the answer that it got.
async fn repeat(shared: Shared, caller: Caller, op: OpId, call: Call) -> usize {
    let outcome = caller.within(Duration::from_secs(60)).call(call.clone()).await;
    assert!(matches!(outcome, Outcome::Answered(_)), "an answered request is not answered again: {call:?} {outcome:?}");
    shared.model().settle(op, outcome);
    1
}

/// All versions are there, and no other ones.
async fn verify_rule_books(shared: &Shared, caller: &Caller, whole: bool) {
    let (mut expected, newest): (Vec<v1::Program>, i32) = {
        let model = shared.model();
        let published = model.ops.iter().filter_map(|op| match &op.fate {
            Fate::Answered(Answer::Published(answer)) => answer.program.clone(),
            _ => None,
        });
        (published.collect(), model.rates.len() as i32)
    };
    expected.sort_by_key(|program| program.version);
    let versions: Vec<i32> = expected.iter().map(|program| program.version).collect();
    assert_eq!(versions, (1..=newest).collect::<Vec<_>>(), "versions of the rule book that were answered");
    let last = v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 };
    let last = caller.programs().get_program(caller.request(last)).await.expect("the rule book is there").into_inner();
    assert_eq!(last.program.as_ref(), expected.last(), "the newest rule book");
    let from = if whole { 0 } else { expected.len().saturating_sub(10) };
    for program in expected.split_off(from) {
        let request = v1::GetProgramRequest { program_id: PROGRAM.into(), version: program.version };
        let stored = caller.programs().get_program(caller.request(request)).await.expect("a version is there").into_inner();
        assert_eq!(stored.program, Some(program));
    }
}
