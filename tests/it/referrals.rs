//! Referrals that wait for a purchase: Anna shows her code, Binh enrols with it, and both get points when Binh has really bought something; they
//! lose them when it goes back.

use std::fs;

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::{
        rule_book,
        v1::{self, entry::Kind, return_policy::Shortfall},
    },
    ledger::Clock as _,
    store::embedded,
};
use tonic::Code;

use crate::{
    redemption::{paid_sale, start_with},
    support::{PROGRAM, Refused, TestServer, actor, adjustment, by_id, options, purchase, refused, rule_book as shop, sale, vnd},
};

/// 10 points for who is referred, 20 for who refers, with the first purchase of 100,000 VND or more within 30 days. A purchase earns a point
/// for each 10,000 VND besides.
fn club(more: &str) -> v1::Program {
    let text = format!(
        r#"
activity_rules:
  - {{ rule_id: joined, display_name: Joined, activity: referral, points: 10 }}
  - {{ rule_id: brought, display_name: Brought a friend, activity: referral, earner: EARNER_REFERRER, points: 20 }}
  - {{ rule_id: review, activity: review, points: 5 }}
referral: {{ activity: referral, minimum_amount: 100000, within_days: 30 }}
{more}
"#
    );
    let read = rule_book::read(&text).expect("well-formed rules");
    v1::Program {
        activity_rules: read.activity_rules,
        referral: read.referral,
        voucher_kinds: read.voucher_kinds,
        goals: read.goals,
        returns: read.returns,
        fraud_limits: read.fraud_limits,
        redemption: read.redemption,
        offline: read.offline,
        activation: read.activation,
        ..shop()
    }
}

/// A server, who refers, and who was referred.
async fn two_with(program: v1::Program) -> (TestServer, String, String) {
    let server = start_with(program).await;
    let (anna, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    refer(&server, &binh, &anna).await;
    (server, anna, binh)
}

async fn two() -> (TestServer, String, String) {
    two_with(club("")).await
}

fn referred(member: &str, referrer: &str) -> v1::RecordActivityRequest {
    v1::RecordActivityRequest {
        request_id: format!("refer-{}-{}", &member[member.len() - 12..], &referrer[referrer.len() - 12..]),
        program_id: PROGRAM.into(),
        member: by_id(member),
        activity: "referral".into(),
        reference: "code".into(),
        referrer: by_id(referrer),
        ..Default::default()
    }
}

async fn refer(server: &TestServer, member: &str, referrer: &str) -> v1::Entry {
    let answer = server.points().record_activity(referred(member, referrer)).await.expect("it is recorded").into_inner();
    answer.entry.expect("an entry")
}

async fn refusal(server: &TestServer, member: &str, referrer: &str) -> tonic::Status {
    server.points().record_activity(referred(member, referrer)).await.expect_err("it is refused")
}

async fn buys(server: &TestServer, member: &str, order: &str, amount: &str) -> v1::RecordPurchaseResponse {
    server.purchases().record_purchase(sale(member, order, amount)).await.expect("it is recorded").into_inner()
}

fn back(order: &str, amount: &str) -> v1::ReturnPurchaseRequest {
    let whole = amount.is_empty();
    v1::ReturnPurchaseRequest {
        request_id: format!("back-{order}-{amount}"),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        amount: if whole { None } else { vnd(amount) },
        whole_purchase: whole,
        reason: "too small".into(),
        ..Default::default()
    }
}

async fn returns(server: &TestServer, request: v1::ReturnPurchaseRequest) -> v1::ReturnPurchaseResponse {
    server.purchases().return_purchase(request).await.expect("it is taken back").into_inner()
}

async fn balance(server: &TestServer, member: &str) -> v1::Balance {
    server.member(member).await.balance.expect("a balance")
}

async fn available<const N: usize>(server: &TestServer, members: [&str; N]) -> [i64; N] {
    let mut points = [0; N];
    for (place, member) in members.into_iter().enumerate() {
        points[place] = balance(server, member).await.available;
    }
    points
}

async fn waits(server: &TestServer, member: &str) -> bool {
    server.member(member).await.waiting_referral.is_some()
}

async fn entries(server: &TestServer, member: &str) -> Vec<v1::Entry> {
    let request = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
    let mut entries = server.points().list_entries(request).await.expect("entries").into_inner().entries;
    entries.reverse();
    entries
}

/// The newest entry that takes back what a referral gave.
async fn taken_back(server: &TestServer, member: &str) -> v1::ReferralTakenBack {
    let found = entries(server, member).await.into_iter().rev().find_map(|entry| match entry.kind {
        Some(Kind::ReferralTakenBack(back)) => Some(back),
        _ => None,
    });
    found.expect("something was taken back")
}

/// The newest entry of what a referral gave.
async fn given(server: &TestServer, member: &str) -> v1::ActivityAccrued {
    let found = entries(server, member).await.into_iter().rev().find_map(|entry| match entry.kind {
        Some(Kind::ActivityAccrued(accrued)) if accrued.referral.is_some() => Some(accrued),
        _ => None,
    });
    found.expect("something was given")
}

async fn explained(server: &TestServer, member: &str, sequence: i64) -> String {
    let request = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(member), sequence };
    server.points().explain_entry(request).await.expect("it is explained").into_inner().explanation.join("\n")
}

async fn merge(server: &TestServer, gone: &str, into: &str) {
    let request = v1::MergeMembersRequest {
        request_id: format!("merge-{gone}"),
        program_id: PROGRAM.into(),
        member: by_id(gone),
        into: by_id(into),
        reason: "the same person".into(),
        actor: actor(),
    };
    server.members().merge_members(request).await.expect("they become one");
}

async fn suspend(server: &TestServer, member: &str) {
    let request = v1::SuspendMemberRequest {
        request_id: format!("suspend-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        reason: "lost card".into(),
        actor: actor(),
    };
    server.members().suspend_member(request).await.expect("it is suspended");
}

async fn erase(server: &TestServer, member: &str) {
    let request = v1::EraseMemberRequest {
        request_id: format!("erase-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        reason: "asked for it".into(),
        actor: actor(),
    };
    server.members().erase_member(request).await.expect("it is erased");
}

async fn publish(server: &TestServer, program: v1::Program) {
    let request = v1::PublishProgramRequest { request_id: "publish".into(), program: Some(program), ..Default::default() };
    server.programs().publish_program(request).await.expect("it is published");
}

/// The ledger and its tables agree, and tables that are made again from the journal say the same of all members.
async fn end(server: TestServer, program: v1::Program, members: &[&str]) {
    let mut before = Vec::new();
    for member in members {
        before.push(server.member(member).await);
    }
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = embedded::check(&data, &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
    fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
    let server = TestServer::start_in(folder, clock, vec![program]).await;
    for (member, before) in members.iter().zip(before) {
        assert_eq!(server.member(member).await, before);
    }
    server.stop().await;
}

#[tokio::test]
async fn both_sides_get_their_points_with_the_first_purchase_that_is_large_enough_and_lose_them_when_it_comes_back() {
    let (server, anna, binh) = two().await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0], "nobody earns for showing a code");
    let waiting = server.member(&binh).await.waiting_referral.expect("it waits");
    assert_eq!((waiting.referrer_member_id.as_str(), waiting.minimum_amount.clone()), (anna.as_str(), vnd("100000")));
    // 30 days after 10 March, to the end of 9 April in Ho Chi Minh City.
    let until: Timestamp = "2026-04-09T17:00:00Z".parse().expect("an instant");
    assert_eq!(waiting.until_time.map(|time| time.seconds), Some(until.as_second()));
    let small = buys(&server, &binh, "o-1", "90000").await;
    assert_eq!((small.referral, available(&server, [&anna, &binh]).await), (None, [0, 9]));
    let large = buys(&server, &binh, "o-2", "100000").await;
    let earned = large.referral.expect("it is what was waited for");
    let why = earned.referral.clone().expect("what for");
    assert_eq!((earned.points, earned.referrer_member_id.as_str(), why.order_id.as_str()), (10, anna.as_str(), "o-2"));
    assert_eq!((why.sale_sequence, large.balance.expect("a balance").available), (large.entry_sequence, 9 + 10 + 10));
    assert_eq!((available(&server, [&anna, &binh]).await, waits(&server, &binh).await), ([20, 29], false));
    let third = buys(&server, &binh, "o-3", "200000").await;
    assert_eq!((third.referral, available(&server, [&anna, &binh]).await), (None, [20, 49]), "once");
    // Both sides tell what it was for.
    let own = entries(&server, &binh).await.into_iter().find(|entry| entry.sequence == large.entry_sequence + 1).expect("the next entry");
    let said = explained(&server, &binh, own.sequence).await;
    for part in ["activity referral with reference code", "Member", "entry 4", "order o-2 of store hcm-1", "joined (Joined): 10 points"] {
        assert!(said.to_lowercase().contains(&part.to_lowercase()), "{part:?} is not in:\n{said}");
    }
    let other = entries(&server, &anna).await.pop().expect("an entry");
    assert_eq!((other.points, other.record_time, other.request_id.as_str()), (20, own.record_time, ""));
    let said = explained(&server, &anna, other.sequence).await;
    assert!(said.contains(&format!("It was done by member {binh}, in entry {}", own.sequence)) && said.contains("order o-2"), "{said}");

    let answer = returns(&server, back("o-2", "")).await;
    assert_eq!(answer.referrals_taken_back.len(), 1);
    assert_eq!((available(&server, [&anna, &binh]).await, waits(&server, &binh).await), ([0, 29], true));
    let (ours, theirs) = (taken_back(&server, &binh).await, taken_back(&server, &anna).await);
    assert_eq!((ours.points, ours.from_given.len(), ours.order_id.as_str(), ours.debt), (10, 1, "o-2", 0));
    assert_eq!((theirs.points, theirs.from_given.len(), theirs.referred_member_id.as_str()), (20, 1, binh.as_str()));
    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-2".into() };
    let shown = server.purchases().get_purchase(get).await.expect("it is there").into_inner().referral_entries;
    let of: Vec<_> = shown.iter().map(|one| (one.member_id.as_str(), one.entry.as_ref().expect("an entry").points)).collect();
    assert_eq!(of, [(binh.as_str(), 10), (anna.as_str(), 20), (binh.as_str(), -10), (anna.as_str(), -20)]);
    let said = explained(&server, &anna, entries(&server, &anna).await.pop().expect("an entry").sequence).await;
    assert!(said.contains("20 points of a referral are taken back") && said.contains("Reason: too small"), "{said}");

    // The next purchase earns them anew.
    buys(&server, &binh, "o-4", "150000").await;
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 29 + 15 + 10]);
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn a_quote_names_the_points_that_the_purchase_then_earns_and_its_id_holds_them_to_it() {
    let (server, anna, binh) = two().await;
    let asked = sale(&binh, "o-1", "120000");
    let request = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&binh), purchase: asked.purchase.clone() };
    let quoted = server.purchases().quote_purchase(request.clone()).await.expect("a quote").into_inner();
    let promised = quoted.referral.clone().expect("what the referral gives");
    assert_eq!((promised.points, promised.lots.len(), quoted.balance.expect("a balance").available), (10, 0, 22));
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0], "a quote changes nothing");
    let recorded = v1::RecordPurchaseRequest { quote_id: quoted.quote_id.clone(), ..asked.clone() };
    let recorded = server.purchases().record_purchase(recorded).await.expect("as quoted").into_inner();
    assert_eq!(recorded.referral.expect("it is given").points, promised.points);
    // What was promised once is not there any more.
    let other = v1::QuotePurchaseRequest { purchase: Some(purchase("o-2", "120000")), ..request };
    let again = server.purchases().quote_purchase(other).await.expect("a quote").into_inner();
    assert_eq!(again.referral, None);
    let stale = v1::RecordPurchaseRequest { quote_id: quoted.quote_id, ..sale(&binh, "o-2", "120000") };
    let status = server.purchases().record_purchase(stale).await.expect_err("it would be another result");
    assert_eq!(refused(&status).reason, "QUOTE_CHANGED");
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_referred_after_a_purchase_or_twice_or_in_a_ring() {
    let (server, anna, binh) = two().await;
    let chi = server.enroll("c-3").await;
    let dung = server.enroll("c-4").await;
    buys(&server, &chi, "o-1", "50000").await;
    let status = refusal(&server, &chi, &anna).await;
    let reason = |reason: &str| Refused { code: Code::FailedPrecondition, reason: reason.into(), fields: vec![] };
    assert_eq!(refused(&status), reason("REFERRAL_TOO_LATE"));
    let other = v1::RecordActivityRequest { reference: "another".into(), ..referred(&binh, &chi) };
    let status = server.points().record_activity(other).await.expect_err("once");
    assert_eq!(refused(&status).reason, "ACTIVITY_EXISTS");
    // Anna refers Binh, Binh refers Dung.
    refer(&server, &dung, &binh).await;
    assert_eq!(refused(&refusal(&server, &anna, &binh).await), reason("REFERRAL_RING"));
    assert_eq!(refused(&refusal(&server, &anna, &dung).await), reason("REFERRAL_RING"));
    refer(&server, &anna, &chi).await;
    // Without a name there is nobody to wait with.
    let nobody = v1::RecordActivityRequest { referrer: None, request_id: "alone".into(), ..referred(&server.enroll("c-5").await, &anna) };
    let status = server.points().record_activity(nobody).await.expect_err("a referrer is asked for");
    assert_eq!(refused(&status).reason, "REFERRER_REQUIRED");
    suspend(&server, &chi).await;
    assert_eq!(refused(&refusal(&server, &server.enroll("c-6").await, &chi).await).reason, "REFERRER_SUSPENDED");
    assert_eq!(available(&server, [&anna, &binh, &chi, &dung]).await, [0, 0, 5, 0]);
    server.stop().await;
}

#[tokio::test]
async fn a_purchase_counts_from_the_referral_to_the_end_of_the_last_local_day_also_if_it_is_told_late() {
    let at = |time: Timestamp| Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 });
    let dated = |member: &str, order: &str, time: Timestamp| {
        let mut request = sale(member, order, "100000");
        request.purchase.as_mut().expect("a purchase").occurred_time = at(time);
        request
    };
    let end_of_days: Timestamp = "2026-04-09T17:00:00Z".parse().expect("an instant");
    for (seconds, earns) in [(-1, true), (0, false)] {
        let (server, anna, binh) = two().await;
        server.clock.set(end_of_days + 2.hours());
        assert!(!waits(&server, &binh).await, "nothing of now can earn it");
        server.purchases().record_purchase(dated(&binh, "o-1", end_of_days + seconds.seconds())).await.expect("it is recorded");
        let expected = if earns { [20, 20] } else { [0, 10] };
        assert_eq!(available(&server, [&anna, &binh]).await, expected);
        if earns {
            returns(&server, back("o-1", "")).await;
            assert_eq!((available(&server, [&anna, &binh]).await, waits(&server, &binh).await), ([0, 0], false), "its days are over");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_purchase_of_before_the_referral_that_is_told_after_it_shows_an_old_customer() {
    let (server, anna, binh) = two().await;
    let mut late = sale(&binh, "o-1", "50000");
    let before = server.clock_now().seconds - 1;
    late.purchase.as_mut().expect("a purchase").occurred_time = Some(prost_types::Timestamp { seconds: before, nanos: 0 });
    server.purchases().record_purchase(late).await.expect("it is recorded");
    assert!(!waits(&server, &binh).await);
    assert_eq!(buys(&server, &binh, "o-2", "100000").await.referral, None);
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 15]);
    let again = v1::RecordActivityRequest { request_id: "again".into(), reference: "another".into(), ..referred(&binh, &anna) };
    let status = server.points().record_activity(again).await.expect_err("once");
    assert_eq!(refused(&status).reason, "ACTIVITY_EXISTS");
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn in_a_batch_the_first_purchase_by_its_time_earns_it() {
    let (server, anna, binh) = two_with(club("offline: {}")).await;
    server.clock.set(server.clock.now() + 5.hours());
    let now = server.clock_now().seconds;
    let at = |order: &str, ago: i64| {
        let mut request = sale(&binh, order, "100000");
        let bought = request.purchase.as_mut().expect("a purchase");
        (bought.occurred_time, bought.offline) = (Some(prost_types::Timestamp { seconds: now - ago, nanos: 0 }), true);
        request
    };
    let batch = v1::BatchRecordPurchasesRequest { purchases: vec![at("o-2", 60), at("o-1", 3_600), at("o-3", 30)] };
    let results = server.purchases().batch_record_purchases(batch).await.expect("a batch").into_inner().results;
    let earned = results.into_iter().map(|result| match result.result {
        Some(v1::purchase_result::Result::Recorded(recorded)) => recorded.referral.is_some(),
        other => panic!("{other:?}"),
    });
    assert_eq!(earned.collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 40]);
    server.stop().await;
}

#[tokio::test]
async fn a_part_that_comes_back_takes_nothing_until_too_little_is_left() {
    let (server, anna, binh) = two().await;
    buys(&server, &binh, "o-1", "150000").await;
    returns(&server, back("o-1", "50000")).await;
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 20]);
    let answer = returns(&server, back("o-1", "10000")).await;
    assert_eq!((answer.referrals_taken_back.len(), available(&server, [&anna, &binh]).await), (1, [0, 9]));
    let answer = returns(&server, back("o-1", "")).await;
    assert_eq!((answer.referrals_taken_back.len(), available(&server, [&anna, &binh]).await), (0, [0, 0]), "it is taken once");
    let (ours, theirs) = (balance(&server, &binh).await, balance(&server, &anna).await);
    assert_eq!([ours.issued - ours.clawed_back, theirs.issued - theirs.clawed_back], [0, 0]);
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn an_exchange_for_enough_keeps_the_points_and_one_for_less_takes_them() {
    let (server, anna, binh) = two().await;
    buys(&server, &binh, "o-1", "120000").await;
    let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-2", "110000")), ..back("o-1", "") };
    let answer = returns(&server, exchange).await;
    assert!(answer.referrals_taken_back.is_empty() && answer.exchange.expect("an exchange").referral.is_none());
    assert_eq!((available(&server, [&anna, &binh]).await, entries(&server, &anna).await.len()), ([20, 21], 2), "nothing happened to Anna");
    let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-3", "50000")), ..back("o-2", "") };
    let answer = returns(&server, exchange).await;
    assert_eq!((answer.referrals_taken_back.len(), available(&server, [&anna, &binh]).await), (1, [0, 5]));
    // What waits again can be earned with an exchange too.
    let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-4", "100000")), ..back("o-3", "") };
    assert_eq!(returns(&server, exchange).await.exchange.expect("an exchange").referral.expect("it is earned").points, 10);
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 20]);
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn an_exchange_after_the_days_keeps_what_was_earned_within_them() {
    let (server, anna, binh) = two().await;
    server.days_later(26);
    buys(&server, &binh, "o-1", "120000").await;
    server.days_later(7);
    let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-2", "120000")), ..back("o-1", "") };
    assert!(returns(&server, exchange).await.referrals_taken_back.is_empty());
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 22]);
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn what_is_kept_and_what_was_taken_in_exchange_are_enough_together_until_too_little_of_both_is_left() {
    // 90,000 of the first purchase are kept, and 30,000 come for another 30,000.
    for (last, other) in [("o-1", "o-2"), ("o-2", "o-1")] {
        let (server, anna, binh) = two().await;
        buys(&server, &binh, "o-1", "120000").await;
        let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-2", "30000")), ..back("o-1", "30000") };
        let answer = returns(&server, exchange).await;
        assert_eq!((answer.referrals_taken_back.len(), available(&server, [&anna, &binh]).await), (0, [20, 22]));
        let said = explained(&server, &binh, answer.exchange.expect("an exchange").entry_sequence).await;
        assert!(
            said.contains(&format!("what a referral gave in entry 4 of member {binh}: the goods kept for that have a basis of ")),
            "{said}"
        );
        // Both parts are the member's still when it becomes another.
        let chi = server.enroll("c-3").await;
        merge(&server, &binh, &chi).await;
        returns(&server, back("o-2", "10000")).await;
        returns(&server, back("o-1", "10000")).await;
        assert_eq!(available(&server, [&anna, &chi]).await, [20, 20], "100,000 are left");
        assert_eq!(returns(&server, back(last, "")).await.referrals_taken_back.len(), 1);
        let left = if last == "o-1" { 2 } else { 8 };
        assert_eq!((available(&server, [&anna, &chi]).await, waits(&server, &chi).await), ([0, left], true));
        assert!(returns(&server, back(other, "")).await.referrals_taken_back.is_empty(), "it is taken once");
        assert_eq!(available(&server, [&anna, &chi]).await, [0, 0]);
        buys(&server, &chi, "o-3", "100000").await;
        assert_eq!(available(&server, [&anna, &chi]).await, [20, 20]);
        end(server, club(""), &[&anna, &chi]).await;
    }
}

#[tokio::test]
async fn an_exchange_of_exchanged_goods_goes_on_with_them() {
    let (server, anna, binh) = two().await;
    buys(&server, &binh, "o-1", "120000").await;
    let swap = async |of: &str, part: &str, order: &str, amount: &str| {
        let request = v1::ReturnPurchaseRequest { exchange: Some(purchase(order, amount)), ..back(of, part) };
        returns(&server, request).await.referrals_taken_back.len()
    };
    // What stays is enough alone, and the new goods count all the same when more goes.
    assert_eq!(swap("o-1", "20000", "o-2", "20000").await, 0);
    assert_eq!(swap("o-1", "10000", "o-3", "10000").await, 0);
    assert_eq!(swap("o-2", "", "o-4", "10000").await, 0);
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 21]);
    assert_eq!(swap("o-4", "", "o-5", "1000").await, 0, "101,000 are left");
    assert_eq!(swap("o-3", "", "o-6", "8000").await, 1, "a thousand is missing");
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 9]);
    end(server, club(""), &[&anna, &binh]).await;
}

/// Two who were referred by two have bought, and are one member now, whose first purchase has come back: what the first one gave waits again.
async fn two_referred_that_became_one() -> (TestServer, [String; 4]) {
    let server = start_with(club("")).await;
    let (anna, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let (chi, dung) = (server.enroll("c-3").await, server.enroll("c-4").await);
    refer(&server, &chi, &anna).await;
    refer(&server, &dung, &binh).await;
    buys(&server, &chi, "o-1", "120000").await;
    buys(&server, &dung, "o-2", "240000").await;
    assert_eq!(available(&server, [&anna, &binh, &chi, &dung]).await, [20, 20, 22, 34]);
    merge(&server, &dung, &chi).await;
    returns(&server, back("o-1", "")).await;
    assert_eq!((available(&server, [&anna, &binh, &chi]).await, waits(&server, &chi).await), ([0, 20, 34], true));
    (server, [anna, binh, chi, dung])
}

#[tokio::test]
async fn an_exchange_gives_its_points_to_who_brought_the_member_of_what_waits_and_not_to_who_was_paid_for_the_goods_that_come_back() {
    for is_suspended in [false, true] {
        let (server, [anna, binh, chi, _]) = two_referred_that_became_one().await;
        if is_suspended {
            suspend(&server, &binh).await;
        }
        // 100,000 stay, enough for Binh's part, and the new goods are what Anna's waits for.
        let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-3", "100000")), ..back("o-2", "140000") };
        let answer = returns(&server, exchange).await;
        let earned = answer.exchange.expect("an exchange").referral.expect("it is earned");
        assert_eq!((earned.referrer_member_id, answer.referrals_taken_back.len()), (anna.clone(), 0));
        assert_eq!(available(&server, [&anna, &binh, &chi]).await, [20, 20, 40]);
        returns(&server, back("o-3", "")).await;
        assert_eq!(available(&server, [&anna, &binh, &chi]).await, [0, 20, 20]);
        returns(&server, back("o-2", "")).await;
        assert_eq!(available(&server, [&anna, &binh, &chi]).await, [0, 0, 0]);
        end(server, club(""), &[&anna, &binh, &chi]).await;
    }
}

#[tokio::test]
async fn what_is_taken_back_of_a_member_that_was_its_own_referrer_is_taken_of_nobody_else() {
    let (server, [anna, binh, chi, _]) = two_referred_that_became_one().await;
    merge(&server, &binh, &chi).await;
    assert_eq!((available(&server, [&anna, &chi]).await, waits(&server, &chi).await), ([0, 54], true));
    let exchange = v1::ReturnPurchaseRequest { exchange: Some(purchase("o-3", "50000")), ..back("o-2", "") };
    assert_eq!(returns(&server, exchange).await.referrals_taken_back.len(), 2);
    let (theirs, ours) = (balance(&server, &anna).await, balance(&server, &chi).await);
    assert_eq!((theirs.available, theirs.debt, ours.available, ours.debt), (0, 0, 5, 0));
    end(server, club(""), &[&anna, &chi]).await;
}

#[tokio::test]
async fn a_tier_is_not_reached_with_points_that_go_with_the_same_return() {
    let mut program = club("");
    program.activity_rules[0].points = "450".into();
    let toys = "accrual_rules: [{ rule_id: toys, filter: { skus: [toy] }, per_amount: { amount: 500, points: 1 } }]";
    program.accrual_rules.extend(rule_book::read(toys).expect("a rule").accrual_rules);
    let (server, anna, binh) = two_with(program.clone()).await;
    let answer = buys(&server, &binh, "o-1", "100000").await;
    assert_eq!((answer.tier_id.as_str(), available(&server, [&binh]).await), ("member", [460]));
    // 5 and 100 for toys: with the 450 that would be 555, and from 500 on it is silver.
    let mut toy = purchase("o-2", "50000");
    toy.lines[0].sku = "toy".into();
    let answer = returns(&server, v1::ReturnPurchaseRequest { exchange: Some(toy), ..back("o-1", "") }).await;
    let exchange = answer.exchange.expect("an exchange");
    assert_eq!((exchange.tier_id.as_str(), exchange.tier_change), ("member", None));
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 105]);
    let changes = entries(&server, &binh).await.into_iter().filter(|entry| matches!(entry.kind, Some(Kind::TierChanged(_)))).count();
    assert_eq!((changes, answer.referrals_taken_back.len()), (0, 1));
    end(server, program, &[&anna, &binh]).await;
}

#[tokio::test]
async fn points_that_go_with_a_return_do_not_pay_its_exchange() {
    let policy = "returns: { shortfall: SHORTFALL_FORGIVE }\nredemption: { points: 1, amount: 1000 }\n";
    let (server, anna, binh) = two_with(club(policy)).await;
    buys(&server, &binh, "o-1", "100000").await;
    let paid = paid_sale(&binh, "o-2", 20_000, 10_000, vec![v1::points_payment::Payment::RedeemPoints(10)]).purchase;
    let exchange = v1::ReturnPurchaseRequest { exchange: paid, ..back("o-1", "") };
    let status = server.purchases().return_purchase(exchange).await.expect_err("the points are gone");
    assert_eq!(refused(&status).reason, "INSUFFICIENT_POINTS");
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 20]);
    server.stop().await;
}

const CARD: &str = "voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]\n\
                    goals: [{ goal_id: card, display_name: Tea card, points: 20, voucher_kind_id: tea }]\n";

#[tokio::test]
async fn a_stamp_card_that_the_purchase_and_its_referral_filled_together_is_empty_again_on_both_sides_after_the_return() {
    let (server, anna, binh) = two_with(club(CARD)).await;
    buys(&server, &binh, "o-1", "100000").await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0], "20 points are a tea");
    assert_eq!([server.member(&anna).await.live_vouchers, server.member(&binh).await.live_vouchers], [1, 1]);
    returns(&server, back("o-1", "")).await;
    assert_eq!([server.member(&anna).await.live_vouchers, server.member(&binh).await.live_vouchers], [0, 0]);
    for member in [&anna, &binh] {
        let now = balance(&server, member).await;
        assert_eq!((now.available, now.debt, now.issued - now.clawed_back, now.redeemed - now.reinstated), (0, 0, 0, 0), "{now:?}");
    }
    end(server, club(CARD), &[&anna, &binh]).await;
}

#[tokio::test]
async fn a_part_of_the_purchase_that_filled_the_card_with_its_referral_comes_back() {
    let (server, anna, binh) = two_with(club(CARD)).await;
    buys(&server, &binh, "o-1", "110000").await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 1]);
    // 100,000 are left: the referral stays, a point goes, which is there.
    returns(&server, back("o-1", "10000")).await;
    assert_eq!((server.member(&binh).await.live_vouchers, available(&server, [&anna, &binh]).await), (1, [0, 0]));
    // Another point is not there but in the tea, and with it the referral goes.
    returns(&server, v1::ReturnPurchaseRequest { request_id: "another".into(), ..back("o-1", "10000") }).await;
    assert_eq!([server.member(&anna).await.live_vouchers, server.member(&binh).await.live_vouchers], [0, 0]);
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 9]);
    end(server, club(CARD), &[&anna, &binh]).await;
}

#[tokio::test]
async fn what_was_spent_is_owed_and_nobody_s_return_is_refused_for_what_the_other_side_has() {
    use Shortfall::{Debt, Forgive, Refuse, Withhold};
    for (shortfall, debt, forgiven) in [(Debt, 20, 0), (Forgive, 0, 20), (Withhold, 20, 0), (Refuse, 20, 0)] {
        let program = v1::Program { returns: Some(v1::ReturnPolicy { shortfall: shortfall.into(), ..Default::default() }), ..club("") };
        let (server, anna, binh) = two_with(program.clone()).await;
        buys(&server, &binh, "o-1", "100000").await;
        server.points().adjust_points(adjustment(&anna, "spent", -20)).await.expect("Anna has spent them");
        returns(&server, back("o-1", "")).await;
        let now = balance(&server, &anna).await;
        assert_eq!((now.available, now.debt), (0, debt), "{shortfall:?}");
        let theirs = taken_back(&server, &anna).await;
        assert_eq!((theirs.points, theirs.debt, theirs.forgiven, theirs.withheld), (20, debt, forgiven, 0));
        assert_eq!(available(&server, [&binh]).await, [0]);
        end(server, program, &[&anna, &binh]).await;
    }
    // One's own points are what the policy is about.
    let refuse = v1::Program { returns: Some(v1::ReturnPolicy { shortfall: Refuse.into(), ..Default::default() }), ..club("") };
    let (server, _, binh) = two_with(refuse).await;
    buys(&server, &binh, "o-1", "100000").await;
    server.points().adjust_points(adjustment(&binh, "spent", -15)).await.expect("Binh has spent them");
    let status = server.purchases().return_purchase(back("o-1", "")).await.expect_err("the points are not there");
    assert_eq!(refused(&status).reason, "RETURN_SHORTFALL");
    assert_eq!(available(&server, [&binh]).await, [5]);
    server.stop().await;
}

#[tokio::test]
async fn a_suspended_or_erased_referrer_gets_nothing_and_the_purchase_is_recorded_all_the_same() {
    for state in [v1::member::State::Suspended, v1::member::State::Erased] {
        let (server, anna, binh) = two().await;
        match state {
            v1::member::State::Erased => erase(&server, &anna).await,
            _ => suspend(&server, &anna).await,
        }
        let earned = buys(&server, &binh, "o-1", "100000").await.referral.expect("Binh's part");
        assert_eq!((earned.points, earned.referral.expect("why").referrer_state()), (10, state));
        assert_eq!(available(&server, [&anna, &binh]).await, [0, 20]);
        let said = explained(&server, &binh, entries(&server, &binh).await.pop().expect("an entry").sequence).await;
        assert!(said.contains("Who referred the member gets nothing"), "{said}");
        returns(&server, back("o-1", "")).await;
        assert_eq!(available(&server, [&anna, &binh]).await, [0, 0]);
        end(server, club(""), &[&anna, &binh]).await;
    }
}

#[tokio::test]
async fn what_was_given_is_taken_back_of_sides_that_were_erased_or_suspended_since() {
    let (server, anna, binh) = two().await;
    buys(&server, &binh, "o-1", "100000").await;
    erase(&server, &anna).await;
    erase(&server, &binh).await;
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 20]);
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0]);
    assert!(!waits(&server, &binh).await, "nobody waits");
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn an_erased_member_s_referral_is_gone() {
    let (server, anna, binh) = two().await;
    erase(&server, &binh).await;
    assert!(!waits(&server, &binh).await);
    end(server, club(""), &[&anna, &binh]).await;
}

#[tokio::test]
async fn a_fraud_limit_keeps_the_points_back_and_not_the_purchase() {
    let limits = "fraud_limits: { points_per_day: { maximum: 15, action: ACTION_REFUSE } }";
    let (server, anna, binh) = two_with(club(limits)).await;
    // 10 for the goods are within the limit, 10 more are not; and 20 are not for Anna.
    let recorded = buys(&server, &binh, "o-1", "100000").await;
    let earned = recorded.referral.expect("it says why not");
    assert_eq!((earned.points, earned.referral.expect("why").refused_by()), (0, v1::FraudLimit::PointsPerDay));
    let theirs = given(&server, &anna).await;
    assert_eq!((theirs.points, theirs.referral.expect("why").refused_by()), (0, v1::FraudLimit::PointsPerDay));
    assert_eq!((available(&server, [&anna, &binh]).await, waits(&server, &binh).await), ([0, 10], false));
    let said = explained(&server, &anna, entries(&server, &anna).await.pop().expect("an entry").sequence).await;
    assert!(said.contains("exceed the limit points_per_day"), "{said}");
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0]);
    end(server, club(limits), &[&anna, &binh]).await;
}

#[tokio::test]
async fn the_cap_of_who_refers_has_room_again_after_a_return() {
    let mut program = club("");
    program.activity_rules[1].cap = Some(v1::PointsCap { points: "30".into(), period: v1::Period::Month.into() });
    let (server, anna, binh) = two_with(program.clone()).await;
    let (chi, dung) = (server.enroll("c-3").await, server.enroll("c-4").await);
    refer(&server, &chi, &anna).await;
    refer(&server, &dung, &anna).await;
    buys(&server, &binh, "o-1", "100000").await;
    buys(&server, &chi, "o-2", "100000").await;
    assert_eq!(available(&server, [&anna, &binh, &chi]).await, [30, 20, 20]);
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&anna]).await, [10]);
    buys(&server, &dung, "o-3", "100000").await;
    assert_eq!(available(&server, [&anna]).await, [30]);
    end(server, program, &[&anna, &binh, &chi, &dung]).await;
}

#[tokio::test]
async fn points_that_wait_some_days_are_taken_back_while_they_do_and_after() {
    for days in [0, 3] {
        let program = club("activation: { after_days: 2 }");
        let (server, anna, binh) = two_with(program.clone()).await;
        buys(&server, &binh, "o-1", "100000").await;
        assert_eq!([balance(&server, &anna).await.pending, balance(&server, &binh).await.pending], [20, 20]);
        server.days_later(days);
        returns(&server, back("o-1", "")).await;
        for member in [&anna, &binh] {
            let now = balance(&server, member).await;
            assert_eq!((now.available, now.pending, now.debt, now.issued - now.clawed_back), (0, 0, 0, 0), "{now:?}");
        }
        let totals = server.member(&anna).await.lifetime.expect("totals");
        assert_eq!(totals.qualifying_points, 0, "nor do they count for a tier");
        end(server, program, &[&anna, &binh]).await;
    }
}

#[tokio::test]
async fn points_that_waited_and_went_back_count_for_no_tier_of_the_year() {
    let mut program = club("");
    let year = "tier_policy: { window: WINDOW_MEMBERSHIP_YEAR, validity: VALIDITY_END_OF_PERIOD }";
    program.tier_policy = rule_book::read(year).expect("a policy").tier_policy;
    let waits = rule_book::read("activation: { after_days: 2 }").expect("a policy").activation;
    (program.activity_rules[1].points, program.activity_rules[1].activation) = ("450".into(), waits);
    let (server, anna, binh) = two_with(program.clone()).await;
    buys(&server, &binh, "o-1", "100000").await;
    server.days_later(3);
    assert_eq!(available(&server, [&anna, &binh]).await, [450, 20]);
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0]);
    // With the 450 that went back it would be 550, and from 500 on it is silver.
    buys(&server, &anna, "o-2", "1000000").await;
    let now = server.member(&anna).await;
    assert_eq!((now.tier.expect("a tier").tier_id.as_str(), now.lifetime.expect("totals").qualifying_points), ("member", 100));
    end(server, program, &[&anna, &binh]).await;
}

#[tokio::test]
async fn a_purchase_that_is_confirmed_later_earns_its_referral_when_it_is_recorded() {
    let mut program = club("");
    program.accrual_rules[0].activation = rule_book::read("activation: { on_confirmation: {} }").expect("a policy").activation;
    let (server, anna, binh) = two_with(program.clone()).await;
    buys(&server, &binh, "o-1", "100000").await;
    assert_eq!((available(&server, [&anna, &binh]).await, balance(&server, &binh).await.pending), ([20, 10], 10));
    let confirm = v1::ConfirmPurchaseRequest {
        request_id: "confirm".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        actor: None,
    };
    server.purchases().confirm_purchase(confirm).await.expect("it is confirmed");
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 20]);
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&anna, &binh]).await, [0, 0]);
    end(server, program, &[&anna, &binh]).await;
}

#[tokio::test]
async fn a_tier_that_the_points_led_to_goes_with_them() {
    let mut program = club("");
    for rule in &mut program.activity_rules[..2] {
        rule.points = "500".into();
    }
    let (server, anna, binh) = two_with(program.clone()).await;
    let answer = buys(&server, &binh, "o-1", "100000").await;
    assert_eq!((answer.tier_id.as_str(), server.member(&anna).await.tier.expect("a tier").tier_id.as_str()), ("silver", "silver"));
    returns(&server, back("o-1", "")).await;
    let counts = |member: &v1::Member| member.lifetime.as_ref().expect("totals").qualifying_points;
    assert_eq!([counts(&server.member(&anna).await), counts(&server.member(&binh).await)], [0, 0]);
    end(server, program, &[&anna, &binh]).await;
}

#[tokio::test]
async fn who_the_referrer_has_become_gets_the_points_and_gives_them_back() {
    let (server, anna, binh) = two().await;
    let (chi, dung) = (server.enroll("c-3").await, server.enroll("c-4").await);
    merge(&server, &anna, &chi).await;
    let earned = buys(&server, &binh, "o-1", "100000").await.referral.expect("it is earned");
    assert_eq!((earned.referrer_member_id.as_str(), available(&server, [&chi, &binh]).await), (chi.as_str(), [20, 20]));
    // And on.
    server.points().adjust_points(adjustment(&dung, "gift", 3)).await.expect("points are added");
    merge(&server, &chi, &dung).await;
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&dung, &binh]).await, [3, 0]);
    let theirs = taken_back(&server, &dung).await;
    assert_eq!((theirs.from_given.len(), theirs.from_others.len(), theirs.given_member_id.as_str()), (1, 0, chi.as_str()));
    end(server, club(""), &[&dung, &binh]).await;
}

#[tokio::test]
async fn the_referred_one_takes_the_purchase_along_to_the_member_that_it_becomes() {
    let (server, anna, binh) = two().await;
    let chi = server.enroll("c-3").await;
    buys(&server, &binh, "o-1", "100000").await;
    server.points().adjust_points(adjustment(&chi, "gift", 3)).await.expect("points are added");
    merge(&server, &binh, &chi).await;
    returns(&server, back("o-1", "")).await;
    assert_eq!(available(&server, [&anna, &chi]).await, [0, 3]);
    assert_eq!(taken_back(&server, &chi).await.from_given.len(), 1);
    // What waits again waits with the one that stays.
    buys(&server, &chi, "o-2", "100000").await;
    assert_eq!(available(&server, [&anna, &chi]).await, [20, 23]);
    end(server, club(""), &[&anna, &chi]).await;
}

#[tokio::test]
async fn what_waits_ends_with_a_merge_into_an_old_customer_and_with_the_referrer() {
    // Into one who has bought, and that one into the member.
    for into_old in [true, false] {
        let (server, anna, binh) = two().await;
        let old = server.enroll("c-3").await;
        buys(&server, &old, "o-1", "100000").await;
        let (gone, stays) = if into_old { (&binh, &old) } else { (&old, &binh) };
        merge(&server, gone, stays).await;
        assert!(!waits(&server, stays).await);
        assert_eq!(buys(&server, stays, "o-2", "100000").await.referral, None);
        assert_eq!(available(&server, [&anna, stays]).await, [0, 20]);
        let again = v1::RecordActivityRequest { request_id: "again".into(), ..referred(stays, &anna) };
        let status = server.points().record_activity(again).await.expect_err("once");
        assert!(["ACTIVITY_EXISTS", "REFERRAL_TOO_LATE"].contains(&refused(&status).reason.as_str()), "{status:?}");
        end(server, club(""), &[&anna, stays]).await;
    }
    // The referrer and the referred are one, either way, or by way of a third.
    for way in 0..3 {
        let (server, anna, binh) = two().await;
        let stays = match way {
            0 => {
                merge(&server, &anna, &binh).await;
                &binh
            }
            1 => {
                merge(&server, &binh, &anna).await;
                &anna
            }
            _ => {
                let chi = server.enroll("c-3").await;
                merge(&server, &anna, &chi).await;
                merge(&server, &chi, &binh).await;
                &binh
            }
        };
        assert!(!waits(&server, stays).await);
        assert_eq!(buys(&server, stays, "o-1", "100000").await.referral, None);
        assert_eq!(available(&server, [stays]).await, [10]);
        end(server, club(""), &[stays]).await;
    }
}

#[tokio::test]
async fn of_two_that_wait_the_earlier_one_does_after_a_merge_and_one_that_waits_survives_one_without_purchases() {
    let (server, anna, binh) = two().await;
    let (chi, dung) = (server.enroll("c-3").await, server.enroll("c-4").await);
    server.days_later(1);
    refer(&server, &dung, &chi).await;
    merge(&server, &binh, &dung).await;
    assert_eq!(server.member(&dung).await.waiting_referral.expect("one waits").referrer_member_id, anna);
    let nobody = server.enroll("c-5").await;
    merge(&server, &nobody, &dung).await;
    buys(&server, &dung, "o-1", "100000").await;
    assert_eq!(available(&server, [&anna, &chi, &dung]).await, [20, 0, 20]);
    end(server, club(""), &[&anna, &chi, &dung]).await;
}

#[tokio::test]
async fn of_two_the_one_whose_days_last_waits_after_a_merge() {
    for into_old in [true, false] {
        let (server, anna, binh) = two().await;
        server.days_later(40);
        let (chi, dung) = (server.enroll("c-3").await, server.enroll("c-4").await);
        refer(&server, &dung, &chi).await;
        let (gone, stays) = if into_old { (&dung, &binh) } else { (&binh, &dung) };
        merge(&server, gone, stays).await;
        assert_eq!(server.member(stays).await.waiting_referral.expect("one waits").referrer_member_id, chi);
        buys(&server, stays, "o-1", "100000").await;
        assert_eq!(available(&server, [&anna, &chi, stays]).await, [0, 20, 20]);
        end(server, club(""), &[&anna, &chi, stays]).await;
    }
}

#[tokio::test]
async fn where_both_sides_have_become_one_the_return_takes_both_parts() {
    for into_anna in [true, false] {
        let (server, anna, binh) = two_with(club(CARD)).await;
        server.points().adjust_points(adjustment(&anna, "gift", 7)).await.expect("points are added");
        buys(&server, &binh, "o-1", "120000").await;
        let (gone, stays) = if into_anna { (&binh, &anna) } else { (&anna, &binh) };
        merge(&server, gone, stays).await;
        let answer = returns(&server, back("o-1", "")).await;
        assert_eq!(answer.referrals_taken_back.len(), 2);
        let now = balance(&server, stays).await;
        assert_eq!((now.available, now.debt, server.member(stays).await.live_vouchers), (7, 0, 0), "{now:?}");
        end(server, club(CARD), &[stays]).await;
    }
}

#[tokio::test]
async fn the_rule_book_of_the_referral_says_what_it_gives_whatever_later_ones_say() {
    let (server, anna, binh) = two().await;
    let chi = server.enroll("c-3").await;
    let mut other = club("");
    other.activity_rules.truncate(1);
    (other.activity_rules[0].activity, other.activity_rules[0].points) = ("friendship".into(), "99".into());
    other.referral = Some(v1::Referral { activity: "friendship".into(), minimum_amount: "500000".into(), within_days: 1 });
    server.days_later(10);
    publish(&server, other.clone()).await;
    assert_eq!(refused(&refusal(&server, &chi, &anna).await).reason, "ACTIVITY_NOT_OFFERED");
    assert_eq!(buys(&server, &binh, "o-1", "100000").await.referral.expect("as it was promised").awards[0].rule_id, "joined");
    assert_eq!(available(&server, [&anna, &binh]).await, [20, 20]);
    returns(&server, back("o-1", "")).await;
    assert_eq!((available(&server, [&anna, &binh]).await, waits(&server, &binh).await), ([0, 0], true));
    end(server, other, &[&anna, &binh]).await;
}

#[tokio::test]
async fn the_corner_shop_gives_fifty_points_to_both_for_ten_friends_a_year() {
    let shop = rule_book::read(include_str!("../../examples/programs/corner-shop.yaml")).expect("a rule book");
    let program = v1::Program { program_id: PROGRAM.into(), currency_code: "VND".into(), ..shop };
    let server = start_with(program.clone()).await;
    let anna = server.enroll("c-0").await;
    let mut earned = Vec::new();
    for number in 1..=11 {
        let friend = server.enroll(&format!("c-{number}")).await;
        refer(&server, &friend, &anna).await;
        // Ten points for the visit, one for each unit of money, and 50 from 10 on.
        buys(&server, &friend, &format!("o-{number}"), "9").await;
        let [first] = available(&server, [&friend]).await;
        buys(&server, &friend, &format!("p-{number}"), "10").await;
        let [second] = available(&server, [&friend]).await;
        earned.push((first, second - first, available(&server, [&anna]).await[0]));
    }
    let expected: Vec<_> = (1..=11).map(|number| (19, 60, 50 * number.min(10))).collect();
    assert_eq!(earned, expected);
    end(server, program, &[&anna]).await;
}

#[tokio::test]
async fn rules_for_a_time_give_more_for_what_is_done_then_and_for_who_is_referred_then() {
    let instant =
        |text: &str| Some(prost_types::Timestamp { seconds: text.parse::<Timestamp>().expect("an instant").as_second(), nanos: 0 });
    let mut program = club("");
    let review = program.activity_rules[2].clone();
    let may = v1::ActivityRule {
        rule_id: "reviews-in-march".into(),
        start_time: instant("2026-03-10T17:00:00Z"),
        end_time: instant("2026-03-11T17:00:00Z"),
        ..review
    };
    let friends = v1::ActivityRule { rule_id: "friends-in-march".into(), activity: "referral".into(), points: "30".into(), ..may.clone() };
    program.activity_rules.extend([may, friends]);
    let (server, anna, binh) = two_with(program.clone()).await;
    let reviews = async |reference: &str| {
        let request =
            v1::RecordActivityRequest { activity: "review".into(), referrer: None, reference: reference.into(), ..referred(&anna, &binh) };
        let request = v1::RecordActivityRequest { request_id: reference.into(), ..request };
        server.points().record_activity(request).await.expect("it is recorded").into_inner().entry.expect("an entry").points
    };
    let mut earned = Vec::new();
    let chi = server.enroll("c-3").await;
    for (time, reference) in [("16:59:59", "r-1"), ("17:00:00", "r-2")] {
        server.clock.set(format!("2026-03-10T{time}Z").parse().expect("an instant"));
        earned.push(reviews(reference).await);
    }
    refer(&server, &chi, &anna).await;
    server.clock.set("2026-03-11T17:00:00Z".parse().expect("an instant"));
    earned.push(reviews("r-3").await);
    assert_eq!(earned, [5, 10, 5]);
    // Chi was referred while it lasted, Binh before.
    let points = async |member: &str, order: &str| buys(&server, member, order, "100000").await.referral.expect("it is earned").points;
    assert_eq!([points(&chi, "o-1").await, points(&binh, "o-2").await], [40, 10]);
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_referred_once_the_rules_have_ended_and_the_one_time_is_left_for_later() {
    let mut program = club("");
    let end_time = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let server = TestServer::start().await;
    let soon = server.clock_now().seconds + 3_600;
    server.stop().await;
    for rule in &mut program.activity_rules[..2] {
        rule.end_time = end_time(soon);
    }
    let (server, anna, binh) = two_with(program.clone()).await;
    let chi = server.enroll("c-3").await;
    server.days_later(1);
    assert_eq!(refused(&refusal(&server, &chi, &anna).await).reason, "ACTIVITY_NOT_OFFERED");
    publish(&server, club("")).await;
    let again = v1::RecordActivityRequest { request_id: "again".into(), ..referred(&chi, &anna) };
    server.points().record_activity(again).await.expect("it is offered again");
    for (friend, order) in [(&chi, "o-1"), (&binh, "o-2")] {
        assert_eq!(buys(&server, friend, order, "100000").await.referral.expect("it is earned").points, 10);
    }
    assert_eq!(available(&server, [&anna, &binh, &chi]).await, [40, 20, 20]);
    end(server, club(""), &[&anna, &binh, &chi]).await;
}

#[tokio::test]
async fn a_rule_book_that_contradicts_itself_is_refused() {
    let server = TestServer::start().await;
    type Spoil = fn(&mut v1::Program);
    let cases: [(&str, Spoil); 6] = [
        ("referral.activity", |program| program.referral.as_mut().expect("terms").activity = "dance".into()),
        ("referral.activity", |program| program.referral.as_mut().expect("terms").activity = String::new()),
        ("referral.minimum_amount", |program| program.referral.as_mut().expect("terms").minimum_amount = "1.5".into()),
        ("referral.within_days", |program| program.referral.as_mut().expect("terms").within_days = -1),
        ("referral.within_days", |program| program.referral.as_mut().expect("terms").within_days = 3_661),
        ("activity_rules[0].end_time", |program| {
            let time = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 });
            (program.activity_rules[0].start_time, program.activity_rules[0].end_time) = (time, time);
        }),
    ];
    for (number, (field, spoil)) in cases.into_iter().enumerate() {
        let mut program = club("");
        spoil(&mut program);
        let request = v1::PublishProgramRequest { request_id: format!("p-{number}"), program: Some(program), ..Default::default() };
        let status = server.programs().publish_program(request).await.expect_err("it is refused");
        let fields = refused(&status).fields;
        assert!(fields.iter().any(|path| path.ends_with(field)), "{field}: {fields:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_purchases_at_once_one_earns_it_and_all_friends_of_one_member_are_counted() {
    let server = start_with(club("")).await;
    let anna = server.enroll("c-0").await;
    let mut friends = Vec::new();
    for number in 1..=10 {
        let friend = server.enroll(&format!("c-{number}")).await;
        refer(&server, &friend, &anna).await;
        friends.push(friend);
    }
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..60 {
        let request = sale(&friends[number % 10], &format!("o-{number}"), "100000");
        let mut client = server.purchases();
        calls.spawn(async move { client.record_purchase(request).await.expect("it is recorded").into_inner().referral.is_some() });
    }
    let mut earned = 0;
    while let Some(one) = calls.join_next().await {
        earned += usize::from(one.expect("a call ends"));
    }
    assert_eq!((earned, available(&server, [&anna]).await), (10, [200]));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..60 {
        let mut client = server.purchases();
        let request = back(&format!("o-{number}"), "");
        calls
            .spawn(async move { client.return_purchase(request).await.expect("it is taken back").into_inner().referrals_taken_back.len() });
    }
    let mut taken = 0;
    while let Some(one) = calls.join_next().await {
        taken += one.expect("a call ends");
    }
    assert_eq!((taken, available(&server, [&anna]).await), (10, [0]));
    let members: Vec<&str> = friends.iter().map(String::as_str).chain([anna.as_str()]).collect();
    end(server, club(""), &members).await;
}
