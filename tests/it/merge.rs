//! Two members who are the same customer become one: nothing is lost, counted twice or unexplained by that, and what either did before can
//! still be confirmed, returned and reversed.

use std::sync::Arc;

use jiff::ToSpan;
use loyaltyd::{
    contract::{
        rule_book,
        v1::{self, identifier::Kind, points_payment::Payment as Pays},
    },
    domain::{
        Command, EntryKind, Identifier, IdentifierKind, MemberId, MergeRequest, Points, Recipient, RedeemRequest, Rejection,
        ReversalRequest, Sealed,
    },
    ledger::{Ledger, LedgerError, MemberTarget, Outcome, Submission},
    store::embedded::{self, EmbeddedStore, Options},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    ledger::{Shop, key},
    redemption::{balance, explained, paid_sale, start_with},
    support::{
        self, PROGRAM, Refused, TestServer, actor, adjustment, by_card, by_id, identifier, noon, refused, rule_book as shop_rules, sale,
        vnd,
    },
};

/// A point is 100 VND, and may pay all of an order. On the web points wait for the confirmation; the app gives 7 points once, and at most 3
/// a day for the order.
fn program() -> v1::Program {
    use v1::accrual_rule::Award;
    let mut program = shop_rules();
    let filter = |channel: &str| Some(v1::Filter { channels: vec![channel.into()], ..Default::default() });
    let per_order = |points: &str| Some(Award::PerOrder(v1::PerOrder { points: points.into() }));
    let confirmed = v1::activation_policy::Policy::OnConfirmation(v1::activation_policy::Confirmation {});
    program.accrual_rules.extend([
        v1::AccrualRule {
            rule_id: "web".into(),
            award: program.accrual_rules[0].award.clone(),
            filter: filter("web"),
            activation: Some(v1::ActivationPolicy { policy: Some(confirmed) }),
            ..Default::default()
        },
        v1::AccrualRule {
            rule_id: "welcome".into(),
            award: per_order("7"),
            filter: filter("app"),
            limits: Some(v1::Limits { once_per_member: true, ..Default::default() }),
            ..Default::default()
        },
        v1::AccrualRule {
            rule_id: "daily".into(),
            award: per_order("2"),
            filter: filter("app"),
            limits: Some(v1::Limits {
                cap: Some(v1::PointsCap { points: "3".into(), period: v1::Period::Day.into() }),
                ..Default::default()
            }),
            ..Default::default()
        },
    ]);
    let activities = "activity_rules: [{ rule_id: review, activity: review, points: 20 }, { rule_id: joined, activity: referral, points: 10 }, \
                      { rule_id: brought, activity: referral, earner: EARNER_REFERRER, points: 5 }]";
    program.activity_rules = rule_book::read(activities).expect("well-formed rules").activity_rules;
    program.redemption = Some(v1::RedemptionPolicy { points: "1".into(), amount: "100".into(), ..Default::default() });
    program.adjustments = Some(v1::AdjustmentPolicy { into_debt: true, ..Default::default() });
    program
}

fn merging(member: &str, into: &str, request: &str) -> v1::MergeMembersRequest {
    v1::MergeMembersRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        into: by_id(into),
        reason: "two cards".into(),
        actor: actor(),
    }
}

async fn merge(server: &TestServer, member: &str, into: &str) -> v1::MergeMembersResponse {
    let request = merging(member, into, &format!("merge-{member}"));
    server.members().merge_members(request).await.expect("they become one").into_inner()
}

async fn two() -> (TestServer, String, String) {
    let server = start_with(program()).await;
    let (old, new) = (server.enroll("c-1").await, server.enroll("c-2").await);
    (server, old, new)
}

async fn buys(server: &TestServer, member: &str, order: &str, amount: &str, channel: &str) -> v1::RecordPurchaseResponse {
    let mut request = sale(member, order, amount);
    request.purchase.as_mut().unwrap().channel = channel.into();
    server.purchases().record_purchase(request).await.expect("it is recorded").into_inner()
}

async fn gets(server: &TestServer, member: &str, request: &str, points: i64) {
    server.points().adjust_points(adjustment(member, request, points)).await.expect("points are adjusted");
}

fn back(order: &str, request: &str, quantity: &str) -> v1::ReturnPurchaseRequest {
    let line = v1::ReturnLine { line_index: 0, quantity: quantity.into(), amount: None };
    v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        lines: if quantity.is_empty() { vec![] } else { vec![line] },
        whole_purchase: quantity.is_empty(),
        ..Default::default()
    }
}

async fn returns(server: &TestServer, order: &str, request: &str, quantity: &str) -> (String, v1::PurchaseReturned) {
    let answer = server.purchases().return_purchase(back(order, request, quantity)).await.expect("it comes back").into_inner();
    let Some(v1::entry::Kind::PurchaseReturned(returned)) = answer.entry.unwrap().kind else { panic!("a return") };
    (answer.member_id, returned)
}

fn spend(member: Option<v1::MemberRef>, request: &str, points: i64) -> v1::RedeemPointsRequest {
    v1::RedeemPointsRequest { request_id: request.into(), program_id: PROGRAM.into(), member, points, ..Default::default() }
}

async fn spends(server: &TestServer, member: &str, request: &str, points: i64) -> i64 {
    server.points().redeem_points(spend(by_id(member), request, points)).await.unwrap().into_inner().entry.unwrap().sequence
}

fn reversing(member: Option<v1::MemberRef>, request: &str, sequence: i64) -> v1::ReverseRedemptionRequest {
    v1::ReverseRedemptionRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member,
        redemption_sequence: sequence,
        reason: "goods came back".into(),
        ..Default::default()
    }
}

async fn reverses(server: &TestServer, member: Option<v1::MemberRef>, request: &str, sequence: i64) -> Result<v1::Entry, Status> {
    server.points().reverse_redemption(reversing(member, request, sequence)).await.map(|answer| answer.into_inner().entry.unwrap())
}

async fn entries(server: &TestServer, member: &str) -> Vec<v1::Entry> {
    let request = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
    server.points().list_entries(request).await.unwrap().into_inner().entries
}

async fn whole(server: &TestServer, member: &str) -> v1::Member {
    let request =
        v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(member), view: v1::MemberView::Full.into(), ..Default::default() };
    server.members().get_member(request).await.unwrap().into_inner().member.unwrap()
}

/// Stops, makes the tables again from the journal, compares all, and starts.
async fn rebuilt(server: TestServer) -> TestServer {
    rebuilt_with(server, program()).await
}

async fn rebuilt_with(server: TestServer, program: v1::Program) -> TestServer {
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = embedded::check(&data, &Options::default()).expect("the store can be checked");
    assert!(report.is_sound(), "{:?}", report.differences);
    let totals = &report.programs[0];
    assert_eq!(totals.transferred_in, totals.transferred_out, "what one gives another gets");
    std::fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
    TestServer::start_in(folder, clock, vec![program]).await
}

fn metadata(status: &Status) -> std::collections::HashMap<String, String> {
    status.get_error_details().error_info().expect("an ErrorInfo").metadata.clone()
}

#[tokio::test]
async fn a_customer_with_two_cards_becomes_one_member() {
    let (server, old, new) = two().await;
    let update = v1::UpdateMemberRequest {
        request_id: "u-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&old),
        profile: Some(v1::Profile { display_name: "Lan".into(), language_code: "vi".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into(), "language_code".into()] }),
        ..Default::default()
    };
    server.members().update_member(update.clone()).await.unwrap();
    let own = v1::Profile { display_name: "Ms Lan".into(), ..Default::default() };
    let update = v1::UpdateMemberRequest { request_id: "u-2".into(), member: by_id(&new), profile: Some(own), ..update };
    server
        .members()
        .update_member(v1::UpdateMemberRequest {
            update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
            ..update
        })
        .await
        .unwrap();
    buys(&server, &old, "o-1", "400000", "pos").await;
    server.days_later(20);
    buys(&server, &old, "o-2", "300000", "web").await;
    buys(&server, &new, "o-3", "500000", "pos").await;
    spends(&server, &old, "s-1", 15).await;
    let (before, own) = (whole(&server, &old).await, whole(&server, &new).await);
    let asked_before = server.clock_now();
    server.days_later(1);

    let request = merging(&old, &new, "m-1");
    let merged = server.members().merge_members(request.clone()).await.unwrap().into_inner();
    let member = merged.member.clone().unwrap();
    assert_eq!((member.member_id.as_str(), &member.merged_member_ids), (new.as_str(), &vec![old.clone()]));
    let profile = member.profile.clone().unwrap();
    assert_eq!((profile.display_name.as_str(), profile.language_code.as_str()), ("Ms Lan", "vi"), "what is empty is filled");
    let cards: Vec<&str> = member.identifiers.iter().map(|card| card.value.as_str()).collect();
    assert_eq!(cards, ["c-2", "c-1"]);
    let (had, has) = (own.balance.unwrap(), member.balance.unwrap());
    assert_eq!((has.available, has.pending), (had.available + 40 + 30 - 15, 30));
    assert_eq!((has.transferred_in, has.issued), (40 + 30 - 15 + 30, had.issued));
    let (was, totals) = (before.lifetime.unwrap(), member.lifetime.unwrap());
    assert_eq!((totals.visits, totals.spend), (3, vnd("1200000")));
    assert_eq!(totals.qualifying_points, was.qualifying_points + own.lifetime.unwrap().qualifying_points);
    // Lots keep their expiry and instant, and are found by an addition.
    let Some(v1::entry::Kind::MergedFrom(got)) = merged.merged_from.clone().unwrap().kind else { panic!("a merge") };
    let now = whole(&server, &new).await;
    for lot in before.lots.iter() {
        let id = lot.lot_id.parse::<i64>().unwrap() + got.lots_before;
        let moved = now.lots.iter().find(|moved| moved.lot_id == id.to_string()).expect("the lot is there");
        assert_eq!((moved.issued_points, moved.remaining_points), (lot.issued_points, lot.remaining_points));
        assert_eq!((moved.earn_time, moved.expire_time), (lot.earn_time, lot.expire_time));
    }
    assert_eq!((now.pending_lots.len(), now.pending_lots[0].remaining_points), (1, 30));

    // A retry gives the first answer, and another payload is refused.
    gets(&server, &new, "a-1", 5).await;
    assert_eq!(server.members().merge_members(request.clone()).await.unwrap().into_inner(), merged);
    let other = v1::MergeMembersRequest { reason: "another".into(), ..request.clone() };
    assert_eq!(refused(&server.members().merge_members(other).await.unwrap_err()).reason, "REQUEST_ID_REUSED");
    // Also a retry of what was asked of the old one before.
    let again = server.purchases().record_purchase(sale(&old, "o-1", "400000")).await.unwrap().into_inner();
    assert_eq!((again.member_id.as_str(), again.accrual.unwrap().points), (old.as_str(), 40));

    let server = rebuilt(server).await;
    assert_eq!(server.members().merge_members(request).await.unwrap().into_inner(), merged);
    // Whoever has the old id or the old card means the one that stayed.
    for named in [by_id(&old), by_card("c-1"), by_card("c-2")] {
        let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: named, ..Default::default() };
        let found = server.members().get_member(request).await.unwrap().into_inner().member.unwrap();
        assert_eq!((found.member_id.as_str(), found.balance.unwrap().available), (new.as_str(), has.available + 5));
    }
    let look_up = v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: Some(identifier(Kind::Card, "c-1")) };
    assert_eq!(server.members().lookup_member(look_up).await.unwrap().into_inner().member_id, new);
    assert_eq!(buys(&server, &old, "o-4", "100000", "pos").await.member_id, new);
    let free = v1::EnrollMemberRequest { request_id: "e-9".into(), ..crate::support::enrolment("c-1") };
    let taken = server.members().enroll_member(free).await.unwrap_err();
    assert_eq!((refused(&taken).reason.as_str(), metadata(&taken)["member_id"].as_str()), ("IDENTIFIER_TAKEN", new.as_str()));

    // The old ledger stays explainable, to its last entry.
    let ledger = entries(&server, &old).await;
    assert_eq!(ledger.len(), before.last_sequence as usize + 1);
    let last = &ledger[0];
    assert_eq!((last, last.points), (merged.merged_into.as_ref().unwrap(), -(has.available - had.available)));
    let left = last.balance.unwrap();
    assert_eq!((left.available, left.pending, left.held, left.debt), (0, 0, 0, 0));
    assert!(explained(&server, &old, last.sequence).await.contains(&format!("became a part of member {new}")));
    assert!(explained(&server, &old, 3).await.contains("Purchase o-1"));
    let sequence = merged.merged_from.as_ref().unwrap().sequence;
    let text = explained(&server, &new, sequence).await;
    assert!(text.contains(&format!("Member {old} became a part of this one, with its entry {}.", last.sequence)), "{text}");
    assert!(text.contains("25 points of its lot 1 are in lot 2"), "{text}");

    // It is listed as what it is; as of before the merge it is what it was.
    let request = v1::ListMembersRequest { program_id: PROGRAM.into(), ..Default::default() };
    let listed = server.members().list_members(request).await.unwrap().into_inner().members;
    let gone = listed.iter().find(|listed| listed.member_id == old).expect("it is listed");
    assert_eq!((gone.state(), gone.merged_into_member_id.as_str()), (v1::member::State::Merged, new.as_str()));
    assert!(gone.identifiers.is_empty() && gone.profile.is_none() && gone.lifetime.as_ref().unwrap().visits == 0);
    let as_of =
        |instant| v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&old), as_of: Some(instant), ..Default::default() };
    let then = server.members().get_member(as_of(asked_before)).await.unwrap().into_inner().member.unwrap();
    assert_eq!((then.member_id.as_str(), &then.lots, then.balance), (old.as_str(), &before.lots, before.balance));
    let later = server.members().get_member(as_of(server.clock_now())).await.unwrap().into_inner().member.unwrap();
    assert_eq!(later.member_id, new);
    server.stop().await;
}

#[tokio::test]
async fn what_one_of_them_owes_is_paid_from_what_both_have() {
    // Owed by the one that goes, owed by the one that stays, what each has; what is left, and what is owed then.
    let cases = [(30, 0, 0, 50, 20, 0), (30, 0, 0, 10, 0, 20), (0, 30, 50, 0, 20, 0), (0, 30, 20, 0, 0, 10), (30, 20, 0, 0, 0, 50)];
    for (owed, own_owed, has, own_has, left, debt) in cases {
        let (server, old, new) = two().await;
        for (member, owed, has) in [(&old, owed, has), (&new, own_owed, own_has)] {
            for (name, points) in [("owes", -owed), ("has", has)] {
                if points != 0 {
                    gets(&server, member, &format!("{name}-{member}"), points).await;
                }
            }
        }
        let merged = merge(&server, &old, &new).await;
        let now = merged.member.unwrap().balance.unwrap();
        assert_eq!((now.available, now.debt), (left, debt));
        let entry = merged.merged_into.unwrap();
        assert_eq!((entry.balance.unwrap().debt, entry.balance.unwrap().transferred_in), (0, owed));
        gets(&server, &old, "later", 100).await;
        assert_eq!(balance(&server, &new).await.available, left + 100 - debt, "later points pay what is owed");
        rebuilt(server).await.stop().await;
    }
}

#[tokio::test]
async fn a_sale_from_before_comes_back_as_if_nothing_had_been_merged() {
    let server = start_with(program()).await;
    let mut ids = Vec::new();
    for card in ["alone", "a", "b", "c"] {
        let member = server.enroll(card).await;
        gets(&server, &member, &format!("gift-{card}"), 10).await;
        ids.push(member);
    }
    let [alone, a, b, c] = <[String; 4]>::try_from(ids).unwrap();
    for (member, order) in [(&alone, "o-alone"), (&a, "o-a")] {
        let mut request = sale(member, order, "605000");
        let purchase = request.purchase.as_mut().unwrap();
        purchase.lines[0].quantity = "3".into();
        server.purchases().record_purchase(request).await.unwrap();
        spends(&server, member, &format!("spend-{order}"), 20).await;
    }
    let mut taken = Vec::new();
    for order in ["o-alone", "o-a"] {
        taken.push(returns(&server, order, &format!("r-1-{order}"), "1").await.1.points);
    }
    merge(&server, &a, &b).await;
    for order in ["o-alone", "o-a"] {
        taken.push(returns(&server, order, &format!("r-2-{order}"), "1").await.1.points);
    }
    // And once more, with another ledger between.
    merge(&server, &b, &c).await;
    let server = rebuilt(server).await;
    for order in ["o-alone", "o-a"] {
        let (member, returned) = returns(&server, order, &format!("r-3-{order}"), "").await;
        taken.push(returned.points);
        let (owner, of) = if order == "o-a" { (&c, a.as_str()) } else { (&alone, "") };
        assert_eq!((&member, returned.sale_member_id.as_str(), returned.returned_points), (owner, of, 60));
        let last = entries(&server, &member).await[0].sequence;
        let text = explained(&server, &member, last).await;
        assert!(of.is_empty() || text.contains(&format!("the sale in entry 3 of member {a}")), "{text}");
    }
    assert_eq!([taken[0], taken[2], taken[4]], [taken[1], taken[3], taken[5]], "{taken:?}");
    assert_eq!(refused(&server.purchases().return_purchase(back("o-a", "r-4", "")).await.unwrap_err()).reason, "PURCHASE_RETURNED");
    // 10 + 60 - 20 - 60: alone that is a debt, with the gifts of the others it is paid.
    let (one, all) = (balance(&server, &alone).await, balance(&server, &a).await);
    assert_eq!((one.available, one.debt, all.available, all.debt), (0, 10, 10, 0));
    let twice = v1::RecordPurchaseRequest { request_id: "again".into(), ..sale(&c, "o-a", "10000") };
    assert_eq!(metadata(&server.purchases().record_purchase(twice).await.unwrap_err())["member_id"], a);
    let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-a".into() };
    let shown = server.purchases().get_purchase(request).await.unwrap().into_inner();
    assert_eq!((shown.member_id, shown.entry_sequence), (a, 3));
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn a_parcel_of_the_other_card_arrives_and_its_points_can_be_spent() {
    let (server, old, new) = two().await;
    gets(&server, &new, "a-1", 10).await;
    buys(&server, &old, "o-1", "200000", "web").await;
    merge(&server, &old, &new).await;
    let server = rebuilt(server).await;
    let confirm = v1::ConfirmPurchaseRequest {
        request_id: "k-1".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        actor: None,
    };
    let confirmed = server.purchases().confirm_purchase(confirm.clone()).await.unwrap().into_inner();
    let now = confirmed.balance.unwrap();
    assert_eq!((confirmed.member_id.as_str(), now.available, now.pending), (new.as_str(), 50, 0));
    assert_eq!(server.purchases().confirm_purchase(confirm.clone()).await.unwrap().into_inner().entry, confirmed.entry);
    let once_more = v1::ConfirmPurchaseRequest { request_id: "k-2".into(), ..confirm };
    assert_eq!(refused(&server.purchases().confirm_purchase(once_more).await.unwrap_err()).reason, "NOTHING_PENDING");
    // The lot that the confirmation made is the sale's, so a return takes it, not the gift.
    let (_, returned) = returns(&server, "o-1", "r-1", "").await;
    let from_sale: i64 = returned.from_sale.iter().map(|taken| taken.points).sum();
    assert_eq!((from_sale, returned.from_others.len(), balance(&server, &old).await.available), (40, 0, 10));
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn points_that_were_spent_with_the_other_card_go_back_and_pay_orders() {
    let (server, old, new) = two().await;
    gets(&server, &old, "a-1", 100).await;
    let first = spends(&server, &old, "s-1", 100).await;
    gets(&server, &old, "a-2", 50).await;
    let tender = v1::RedeemPointsRequest { store_id: "hcm-1".into(), order_id: "o-1".into(), ..spend(by_id(&old), "s-2", 50) };
    let paying = server.points().redeem_points(tender).await.unwrap().into_inner().entry.unwrap().sequence;
    merge(&server, &old, &new).await;
    // The till, which still goes by the old card, records the order that was paid.
    let mut request = paid_sale(&old, "o-1", 105_000, 5_000, vec![Pays::RedemptionSequence(paying)]);
    request.member = by_card("c-1");
    let recorded = server.purchases().record_purchase(request).await.unwrap().into_inner();
    assert_eq!((recorded.member_id.as_str(), recorded.accrual.unwrap().points), (new.as_str(), 10));
    let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    let shown = server.purchases().get_purchase(request).await.unwrap().into_inner();
    assert_eq!((shown.redemption_sequences, shown.redemption_member_ids), (vec![paying], vec![old.clone()]));
    assert!(explained(&server, &new, recorded.entry_sequence).await.contains(&format!("entry {paying} of member {old}")));
    let server = rebuilt(server).await;
    // The lot that the points came from is gone; it comes back under its new number, with its expiry.
    let reversed = reverses(&server, by_id(&old), "b-1", first).await.unwrap();
    let Some(v1::entry::Kind::RedemptionReversed(kind)) = reversed.kind else { panic!("a reversal") };
    assert_eq!((kind.redemption_member_id, kind.redemption_sequence, kind.points), (old.clone(), first, 100));
    let again = reverses(&server, by_card("c-2"), "b-2", first).await.unwrap_err();
    assert_eq!(refused(&again).reason, "MORE_THAN_REDEEMED");
    let (_, returned) = returns(&server, "o-1", "r-1", "").await;
    assert_eq!((returned.points, balance(&server, &new).await.available), (10, 150));
    let unknown = reverses(&server, by_id(&new), "b-3", 99).await.unwrap_err();
    assert_eq!(refused(&unknown).reason, "REDEMPTION_NOT_FOUND");
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn what_was_owed_offline_with_the_other_card_goes_back_as_new_points_once_it_is_paid() {
    let offline = v1::OfflinePolicy { floor_limit_points: "100".into(), shortfall: v1::offline_policy::Shortfall::Debt.into() };
    let server = start_with(v1::Program { offline: Some(offline), ..program() }).await;
    let (old, new) = (server.enroll("c-1").await, server.enroll("c-2").await);
    gets(&server, &old, "a-1", 30).await;
    let mut request = paid_sale(&old, "o-1", 100_000, 10_000, vec![Pays::RedeemPoints(100)]);
    let purchase = request.purchase.as_mut().unwrap();
    (purchase.offline, purchase.occurred_time) = (true, Some(server.clock_now()));
    let sold = server.purchases().record_purchase(request).await.unwrap().into_inner();
    // 70 are owed, of which the goods that were paid with money pay 9.
    assert_eq!((sold.accrual.unwrap().points, balance(&server, &old).await.debt), (9, 61));
    gets(&server, &new, "a-2", 200).await;
    merge(&server, &old, &new).await;
    assert_eq!((balance(&server, &new).await.available, balance(&server, &new).await.debt), (139, 0));
    let server = rebuilt(server).await;
    let (_, returned) = returns(&server, "o-1", "r-1", "").await;
    assert_eq!(returned.points, 9);
    let reversed = entries(&server, &new).await.into_iter().find_map(|entry| match entry.kind {
        Some(v1::entry::Kind::RedemptionReversed(kind)) => Some(kind),
        _ => None,
    });
    let reversed = reversed.expect("what was redeemed goes back");
    let lot = reversed.lot.expect("the debt was paid: what was owed is new");
    assert_eq!((reversed.redemption_member_id, reversed.points, reversed.owed, lot.points), (old, 100, 70, 70));
    assert_eq!((balance(&server, &new).await.available, balance(&server, &new).await.debt), (139 + 100 - 9, 0));
    let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    let shown = server.purchases().get_purchase(request).await.unwrap().into_inner();
    let back = shown.returns.expect("all came back");
    assert_eq!((back.latest_member_id, back.count, back.whole_purchase), (new, 1, true));
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn fraud_limits_count_what_was_done_with_both_cards() {
    use v1::fraud_limits::{Action, CountLimit};
    let limit = |maximum, action: Action| Some(CountLimit { maximum, action: action.into() });
    let limits = v1::FraudLimits { purchases_per_hour: limit(3, Action::Refuse), ..Default::default() };
    let watched = v1::Program { fraud_limits: Some(limits), ..program() };
    let server = start_with(watched.clone()).await;
    server.days_later(2);
    let (old, new) = (server.enroll("c-1").await, server.enroll("c-2").await);
    for (member, order) in [(&old, "o-1"), (&old, "o-2"), (&new, "o-3")] {
        buys(&server, member, order, "10000", "").await;
    }
    merge(&server, &old, &new).await;
    let server = rebuilt_with(server, watched.clone()).await;
    let refusal = server.purchases().record_purchase(sale(&old, "o-4", "10000")).await.unwrap_err();
    let told = metadata(&refusal);
    assert_eq!((refused(&refusal).reason.as_str(), told["maximum"].as_str(), told["count"].as_str()), ("FRAUD_LIMIT", "3", "4"));
    // The next day is another one.
    server.days_later(1);
    buys(&server, &new, "o-5", "10000", "").await;
    rebuilt_with(server, watched).await.stop().await;
}

#[tokio::test]
async fn a_number_that_fits_entries_of_both_is_asked_for_by_id() {
    let (server, old, new) = two().await;
    for member in [&old, &new] {
        gets(&server, member, &format!("a-{member}"), 100).await;
        assert_eq!(spends(&server, member, &format!("s-{member}"), 40).await, 3);
    }
    for n in 0..5 {
        gets(&server, &old, &format!("more-{n}"), 1).await;
    }
    let late = spends(&server, &old, "s-late", 5).await;
    merge(&server, &old, &new).await;
    let both = reverses(&server, by_card("c-1"), "b-1", 3).await.unwrap_err();
    assert_eq!(refused(&both), Refused { code: Code::FailedPrecondition, reason: "ENTRY_AMBIGUOUS".into(), fields: vec![] });
    let told = metadata(&both);
    assert_eq!((told["sequence"].as_str(), told["member_ids"].clone()), ("3", format!("{old},{new}")));
    for (member, request) in [(&old, "b-2"), (&new, "b-3")] {
        let Some(v1::entry::Kind::RedemptionReversed(kind)) = reverses(&server, by_id(member), request, 3).await.unwrap().kind else {
            panic!("a reversal")
        };
        assert_eq!(kind.redemption_member_id, if *member == old { old.clone() } else { String::new() });
    }
    // By the old id what was spent since counts too, and then may fit as well.
    while spends(&server, &old, &format!("since-{}", entries(&server, &new).await.len()), 1).await < late {}
    assert_eq!(refused(&reverses(&server, by_id(&old), "b-4", late).await.unwrap_err()).reason, "ENTRY_AMBIGUOUS");
    let of = |member: &str, request: &str| v1::ReverseRedemptionRequest {
        redemption_member_id: member.into(),
        ..reversing(by_card("c-1"), request, late)
    };
    let stranger = server.points().reverse_redemption(of(&server.enroll("c-9").await, "b-5")).await.unwrap_err();
    assert_eq!(refused(&stranger).reason, "REDEMPTION_NOT_FOUND");
    let wrong = server.points().reverse_redemption(of("nobody", "b-5")).await.unwrap_err();
    assert_eq!(refused(&wrong).fields, ["redemption_member_id"]);
    assert!(server.points().reverse_redemption(of(&old, "b-5")).await.is_ok());
    assert!(reverses(&server, by_id(&new), "b-7", late).await.is_ok());
    assert!(reverses(&server, by_id(&old), "b-6", late - 1).await.is_ok(), "only one redeemed there");
    server.stop().await;
}

#[tokio::test]
async fn a_checkout_that_knows_the_old_id_goes_on() {
    let (server, old, new) = two().await;
    gets(&server, &old, "a-1", 100).await;
    let hold = |member: &str, request: &str| v1::HoldPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points: 30,
        ..Default::default()
    };
    let capture = |member: &str, request: &str, hold_id: &str| v1::CaptureHoldRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        hold_id: hold_id.into(),
        ..Default::default()
    };
    let first = server.points().hold_points(hold(&old, "h-1")).await.unwrap().into_inner().hold.unwrap();
    let open = server.members().merge_members(merging(&old, &new, "m")).await.unwrap_err();
    assert_eq!((refused(&open).reason.as_str(), metadata(&open)["holds"].as_str()), ("HOLDS_OPEN", "1"));
    server.points().capture_hold(capture(&old, "k-1", &first.hold_id)).await.unwrap();
    merge(&server, &old, &new).await;
    let second = server.points().hold_points(hold(&old, "h-2")).await.unwrap().into_inner();
    assert_eq!(second.balance.unwrap().held, 30);
    // It has the number that the other had, which has ended: the open one is meant.
    let second = second.hold.unwrap().hold_id;
    assert_eq!(second, first.hold_id);
    server.points().capture_hold(capture(&old, "k-2", &second)).await.unwrap();
    let ended = server.points().capture_hold(capture(&old, "k-3", &first.hold_id)).await.unwrap_err();
    assert_eq!(refused(&ended).reason, "ENTRY_AMBIGUOUS");
    let ended = server.points().capture_hold(capture(&new, "k-4", &second)).await.unwrap_err();
    assert_eq!((refused(&ended).reason.as_str(), metadata(&ended)["end"].as_str()), ("HOLD_ENDED", "captured"));
    assert_eq!(balance(&server, &new).await.available, 40);
    // A hold that is over by the time is none.
    gets(&server, &new, "a-2", 100).await;
    let third = server.enroll("c-3").await;
    server.points().hold_points(hold(&new, "h-3")).await.unwrap();
    server.days_later(1);
    merge(&server, &new, &third).await;
    assert_eq!(balance(&server, &old).await.held, 0);
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn a_hold_of_the_old_id_is_not_taken_for_one_of_the_same_number_that_has_just_run_out() {
    let (server, old, new) = two().await;
    let hold = |member: &str| v1::HoldPointsRequest {
        request_id: format!("h-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points: 30,
        ..Default::default()
    };
    let capture = |request: &str, hold_id: &str| v1::CaptureHoldRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&old),
        hold_id: hold_id.into(),
        ..Default::default()
    };
    gets(&server, &old, "a-1", 100).await;
    gets(&server, &new, "a-2", 100).await;
    let captured = server.points().hold_points(hold(&old)).await.unwrap().into_inner().hold.unwrap().hold_id;
    let open = server.points().hold_points(hold(&new)).await.unwrap().into_inner().hold.unwrap().hold_id;
    assert_eq!(captured, open);
    server.points().capture_hold(capture("k-1", &captured)).await.unwrap();
    merge(&server, &old, &new).await;
    server.days_later(1);
    let ended = server.points().capture_hold(capture("k-2", &captured)).await.unwrap_err();
    assert_eq!((refused(&ended).reason.as_str(), metadata(&ended)["end"].as_str()), ("HOLD_ENDED", "captured"));
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn the_higher_tier_stays_and_both_together_may_give_a_higher_one() {
    let (server, old, new) = two().await;
    buys(&server, &old, "o-1", "6000000", "pos").await;
    assert_eq!(server.member(&old).await.tier.unwrap().tier_id, "silver");
    server.days_later(5);
    let merged = merge(&server, &old, &new).await;
    assert_eq!(merged.tier_change, None);
    let tier = merged.member.unwrap().tier.unwrap();
    assert_eq!((tier.tier_id.as_str(), tier.manual), ("silver", false));
    // A sale from before the merge, by either card, is rated by it: 12 and not 10 points.
    let mut late = sale(&new, "o-2", "100000");
    late.purchase.as_mut().unwrap().occurred_time = Some(timestamp(noon() + 48.hours()));
    let accrual = server.purchases().record_purchase(late).await.unwrap().into_inner().accrual.unwrap();
    assert_eq!((accrual.points, accrual.tier_id.as_str()), (12, "silver"));
    // Two halves of gold.
    let third = server.enroll("c-3").await;
    buys(&server, &third, "o-3", "4500000", "pos").await;
    let merged = merge(&server, &new, &third).await;
    let change = merged.tier_change.expect("the tier rose");
    assert_eq!((change.from_tier_id.as_str(), change.to_tier_id.as_str()), ("silver", "gold"));
    // One that was set by hand is not left, and stays so.
    let fourth = server.enroll("c-4").await;
    let set = v1::SetMemberTierRequest {
        request_id: "t-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&fourth),
        tier_id: "diamond".into(),
        reason: "friend of the house".into(),
        actor: actor(),
        last_date: None,
    };
    server.members().set_member_tier(set).await.unwrap();
    let tier = merge(&server, &fourth, &third).await.member.unwrap().tier.unwrap();
    assert_eq!((tier.tier_id.as_str(), tier.manual), ("diamond", true));
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn nothing_is_given_twice_because_somebody_had_two_cards() {
    let (server, old, new) = two().await;
    let points = |recorded: v1::RecordPurchaseResponse| recorded.accrual.unwrap().points;
    // 7 once, and 2 of the 3 points of the day.
    assert_eq!(points(buys(&server, &old, "o-1", "9000", "app").await), 9);
    merge(&server, &old, &new).await;
    assert_eq!(points(buys(&server, &new, "o-2", "9000", "app").await), 1, "what is left of the day");
    assert_eq!(points(buys(&server, &old, "o-3", "9000", "app").await), 0);
    // What comes back makes room again, whoever had it.
    returns(&server, "o-1", "r-1", "").await;
    assert_eq!(points(buys(&server, &new, "o-4", "9000", "app").await), 9);
    rebuilt(server).await.stop().await;
}

#[tokio::test]
async fn what_was_done_with_the_other_card_does_not_count_again_and_nobody_refers_themselves() {
    let (server, old, new) = two().await;
    let did = |member: &str, request: &str, activity: &str, referrer: Option<v1::MemberRef>| v1::RecordActivityRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        activity: activity.into(),
        reference: "r-1".into(),
        referrer,
        ..Default::default()
    };
    let friend = server.enroll("c-3").await;
    server.points().record_activity(did(&old, "d-1", "review", None)).await.unwrap();
    server.points().record_activity(did(&old, "d-2", "referral", by_id(&friend))).await.unwrap();
    let both = balance(&server, &old).await.available;
    merge(&server, &old, &new).await;
    let server = rebuilt(server).await;
    let mut again = Vec::new();
    for (member, request, activity, referrer) in
        [(&new, "d-3", "review", None), (&old, "d-4", "review", None), (&new, "d-5", "referral", by_id(&friend))]
    {
        let status = server.points().record_activity(did(member, request, activity, referrer)).await.unwrap_err();
        again.push((refused(&status).reason, metadata(&status)["member_id"].clone()));
    }
    assert_eq!(again, vec![("ACTIVITY_EXISTS".to_owned(), old.clone()); 3]);
    let other = v1::RecordActivityRequest { reference: "r-2".into(), ..did(&new, "d-6", "referral", by_id(&old)) };
    let themselves = server.points().record_activity(other).await.unwrap_err();
    assert!(["REFERRAL_TO_SELF", "ACTIVITY_EXISTS"].contains(&refused(&themselves).reason.as_str()));
    let third = server.enroll("c-4").await;
    let brought = v1::RecordActivityRequest { reference: "r-2".into(), ..did(&third, "d-7", "referral", by_id(&old)) };
    server.points().record_activity(brought).await.unwrap();
    assert_eq!(balance(&server, &new).await.available, both + 5, "who is referred by the old id brings points to the one that stayed");
    server.stop().await;
}

#[tokio::test]
async fn if_one_is_suspended_the_one_that_stays_is_so_too() {
    for suspended in [0, 1] {
        let (server, old, new) = two().await;
        let of = [&old, &new][suspended];
        let suspend = v1::SuspendMemberRequest {
            request_id: "s".into(),
            program_id: PROGRAM.into(),
            member: by_id(of),
            reason: "card was stolen".into(),
            actor: actor(),
        };
        server.members().suspend_member(suspend).await.unwrap();
        assert_eq!(merge(&server, &old, &new).await.member.unwrap().state(), v1::member::State::Suspended);
        let refusal = server.purchases().record_purchase(sale(&old, "o-1", "10000")).await.unwrap_err();
        assert_eq!(refused(&refusal).reason, "MEMBER_SUSPENDED");
        let reactivate = v1::ReactivateMemberRequest {
            request_id: "r".into(),
            program_id: PROGRAM.into(),
            member: by_id(&old),
            reason: "all is well".into(),
            actor: actor(),
        };
        let member = server.members().reactivate_member(reactivate).await.unwrap().into_inner().member.unwrap();
        assert_eq!((member.member_id, member.state), (new, v1::member::State::Active.into()));
        server.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_merged_is_refused_with_the_reason() {
    let (server, old, new) = two().await;
    let mut desk = server.members();
    let nobody = "0198c0de-0000-7000-8000-000000000001";
    let cases = [
        (merging(&old, &old, "m"), Code::InvalidArgument, "MERGE_WITH_SELF", vec!["into".to_owned()]),
        (
            v1::MergeMembersRequest { into: by_card("c-1"), ..merging(&old, &new, "m") },
            Code::InvalidArgument,
            "MERGE_WITH_SELF",
            vec!["into".to_owned()],
        ),
        (merging(&old, nobody, "m"), Code::NotFound, "MERGE_TARGET_NOT_FOUND", vec![]),
        (v1::MergeMembersRequest { into: by_card("c-9"), ..merging(&old, &new, "m") }, Code::NotFound, "MERGE_TARGET_NOT_FOUND", vec![]),
        (merging(nobody, &new, "m"), Code::NotFound, "MEMBER_NOT_FOUND", vec![]),
    ];
    for (request, code, reason, fields) in cases {
        let status = desk.merge_members(request).await.unwrap_err();
        assert_eq!(refused(&status), Refused { code, reason: reason.into(), fields }, "{status:?}");
    }
    merge(&server, &old, &new).await;
    let again = desk.merge_members(merging(&old, &new, "m")).await.unwrap_err();
    assert_eq!((refused(&again).reason.as_str(), metadata(&again)["member_id"].as_str()), ("MEMBER_MERGED", new.as_str()));
    // 20 identifiers together are as many as there may be.
    let many = server.enroll("c-3").await;
    for n in 0..18 {
        let add = v1::AddIdentifierRequest {
            request_id: format!("i-{n}"),
            program_id: PROGRAM.into(),
            member: by_id(&many),
            identifier: Some(identifier(Kind::ExternalId, &format!("x-{n}"))),
            ..Default::default()
        };
        desk.add_identifier(add).await.unwrap();
    }
    let status = desk.merge_members(merging(&many, &new, "m")).await.unwrap_err();
    assert_eq!((refused(&status).reason.as_str(), metadata(&status)["limit"].as_str()), ("TOO_MANY_IDENTIFIERS", "20"));
    server.stop().await;
}

#[tokio::test]
async fn at_most_32_become_one_and_each_old_id_means_it() {
    let server = start_with(program()).await;
    let mut last = server.enroll("c-0").await;
    let mut ids = vec![last.clone()];
    // Each into the next: a chain of aliases.
    for n in 1..=32 {
        let request = v1::EnrollMemberRequest { request_id: format!("e-{n}"), program_id: PROGRAM.into(), ..Default::default() };
        let next = server.members().enroll_member(request).await.unwrap().into_inner().member.unwrap().member_id;
        gets(&server, &last, &format!("a-{n}"), 1).await;
        merge(&server, &last, &next).await;
        ids.push(next.clone());
        last = next;
    }
    let more = server.enroll("c-more").await;
    let status = server.members().merge_members(merging(&last, &more, "m")).await.unwrap_err();
    assert_eq!((refused(&status).reason.as_str(), metadata(&status)["limit"].as_str()), ("TOO_MANY_MERGED", "32"));
    let server = rebuilt(server).await;
    for id in &ids {
        let member = server.member(id).await;
        assert_eq!((&member.member_id, member.balance.unwrap().available), (&last, 32));
        assert_eq!(member.merged_member_ids, ids[..32]);
    }
    server.stop().await;
}

fn join(shop: &Shop, member: MemberId, into: MemberId, request: &str) -> Submission {
    let merge = MergeRequest { into: Recipient::Id(into), reason: "enrolled again".into() };
    shop.submission(MemberTarget::Id(member), request, Command::MergeMembers(merge))
}

/// Loses the key of the n-th member that enrolled, and declares that.
fn without_key(shop: Shop, number: usize) -> Shop {
    let Shop { ledger, clock, folder } = shop;
    ledger.close().expect("the ledger closes");
    drop(ledger);
    let keys = folder.path().join("keys");
    let mut damaged = std::fs::read(&keys).expect("the keys are read");
    damaged[64 * (number + 1) + 30] ^= 1;
    std::fs::write(&keys, damaged).expect("the keys are written");
    let report = embedded::repair(folder.path(), true, &support::options(), |accepted| assert_eq!(accepted.lost, 1));
    assert!(report.expect("the journal is whole").is_sound());
    std::fs::remove_file(folder.path().join("keys.before-accept")).expect("the copy is removed");
    let store = EmbeddedStore::open(folder.path(), support::options()).expect("the store opens");
    let ledger = Ledger::open(Arc::new(store), Arc::clone(&clock) as _).expect("the ledger opens");
    Shop { ledger, clock, folder }
}

fn is_sound_when_made_again(shop: Shop) -> Shop {
    let Shop { ledger, clock, folder } = shop;
    ledger.close().expect("the ledger closes");
    drop(ledger);
    let report = embedded::check(folder.path(), &support::options()).expect("the store can be checked");
    assert!(report.is_sound(), "{:?}", report.differences);
    std::fs::remove_dir_all(folder.path().join("tables")).expect("the tables can be removed");
    let store = EmbeddedStore::open(folder.path(), support::options()).expect("the store opens");
    let ledger = Ledger::open(Arc::new(store), Arc::clone(&clock) as _).expect("the ledger opens");
    Shop { ledger, clock, folder }
}

#[tokio::test]
async fn somebody_whose_key_was_lost_and_who_enrolled_again_has_the_points_of_before() {
    let shop = Shop::open().await;
    let old = shop.enroll("card-1").await;
    shop.ledger.submit(shop.adjust(old, "gift", 100)).await.expect("points are added");
    let shop = without_key(shop, 1);
    let new = shop.enroll("card-2").await;
    // Nobody is merged into somebody who is nobody any more.
    let refusal = shop.ledger.submit(join(&shop, new, old, "m-1")).await;
    assert!(matches!(refusal, Err(LedgerError::Rejected(Rejection::MemberErased))), "{refusal:?}");
    let merged = shop.ledger.submit(join(&shop, old, new, "m-2")).await.expect("they become one");
    let member = merged.member.expect("a merge shows the member");
    let identifiers = member.person.as_ref().and_then(Sealed::open).map(|person| person.identifiers.len());
    assert_eq!((member.key.member, member.header.balance.available.0, identifiers), (new, 100, Some(1)));
    // When the key of the one that stays is lost too, nothing finds it by what either had; and then it is erased.
    let card = |value: &str| MemberTarget::Identifier(Identifier::new(IdentifierKind::Card, value).expect("a card"));
    let third = shop.enroll("card-3").await;
    shop.ledger.submit(join(&shop, new, third, "m-3")).await.expect("they become one");
    let program = key(third).program;
    assert_eq!(shop.ledger.find(&program, &card("card-2")).expect("it is found").member, third);
    let shop = is_sound_when_made_again(without_key(shop, 3));
    let nobody_is_found = |shop: &Shop| {
        for value in ["card-1", "card-2", "card-3"] {
            assert!(shop.ledger.find(&program, &card(value)).is_err(), "{value}");
        }
        assert_eq!(shop.available(third), 100);
    };
    nobody_is_found(&shop);
    let erase = Command::Erase { reason: "asked for".to_owned() };
    shop.ledger.submit(shop.submission(MemberTarget::Id(old), "e-1", erase)).await.expect("anyone may go");
    let shop = is_sound_when_made_again(shop);
    nobody_is_found(&shop);
    is_sound_when_made_again(shop);
}

#[tokio::test]
async fn merges_wait_together_with_what_is_asked_of_both() {
    let shop = Shop::open().await;
    let (old, new, third) = (shop.enroll("card-1").await, shop.enroll("card-2").await, shop.enroll("card-3").await);
    let asked = vec![
        shop.adjust(old, "a-1", 10),
        shop.adjust(new, "a-2", 20),
        join(&shop, old, new, "m-1"),
        shop.adjust(old, "a-3", 3),
        shop.adjust(new, "a-4", 4),
        join(&shop, old, new, "m-1"),
        join(&shop, new, third, "m-2"),
        shop.adjust(new, "a-5", 5),
        shop.adjust(old, "a-6", 6),
        shop.adjust(third, "a-7", 7),
    ];
    let outcomes = shop.ledger.submit_all(asked).await;
    let members: Vec<MemberId> = outcomes.iter().map(|outcome| outcome.as_ref().expect("all are done").key.member).collect();
    assert_eq!(members, [old, new, new, new, new, new, third, third, third, third]);
    assert_eq!(shop.available(third), 10 + 20 + 3 + 4 + 5 + 6 + 7);
    let entries = |outcome: &Result<Outcome, LedgerError>| outcome.as_ref().expect("it is done").entries.clone();
    assert_eq!(entries(&outcomes[2]), entries(&outcomes[5]), "the same request twice at once");
    let shop = shop.reopen();
    assert_eq!(shop.available(third), 55);
}

fn timestamp(instant: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: instant.as_second(), nanos: 0 }
}

/// Points lapse three months after the last adjustment.
const IDLE: &str = r#"
program_id: shop
display_name: Shop
currency_code: USD
time_zone: America/New_York
rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
accrual_rules: [{ rule_id: base, per_amount: { amount: 1, points: 1 } }]
expiry: { inactivity: { months: 3, activities: [COUNTED_ACTIVITY_ADJUSTMENT] } }
redemption: { points: 1, amount: "0.01" }
"#;

fn instant(text: &str) -> jiff::Timestamp {
    text.parse().expect("an instant")
}

#[tokio::test]
async fn points_that_lapse_with_inactivity_do_so_when_the_longer_of_both_has_been_idle() {
    let shop = Shop::open_with(IDLE).await;
    let (old, new) = (shop.enroll("card-1").await, shop.enroll("card-2").await);
    let asks = async |member: MemberId, request: &str, command: Command| {
        shop.ledger.submit(shop.submission(MemberTarget::Id(member), request, command)).await.expect("it is done").entries
    };
    let spends = async |request: &str, points: i64| {
        let redeem = RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() };
        asks(old, request, Command::RedeemPoints(redeem)).await[0].sequence
    };
    let back = async |request: &str, redemption: u64| {
        let reversal = ReversalRequest { ledger: None, redemption, points: None, reason: "cancelled".into() };
        asks(old, request, Command::ReverseRedemption(reversal)).await;
    };
    shop.ledger.submit(shop.adjust(old, "a-1", 100)).await.expect("points are added");
    shop.ledger.submit(shop.adjust(new, "a-2", 50)).await.expect("points are added");
    let early = spends("s-1", 40).await;
    // Both have been idle for too long, and one of them is active again.
    shop.clock.set(instant("2026-06-20T16:00:00Z"));
    shop.ledger.submit(shop.adjust(old, "a-3", 10)).await.expect("points are added");
    let late = spends("s-2", 3).await;
    shop.clock.set(instant("2026-07-01T16:00:00Z"));
    let entries = shop.ledger.submit(join(&shop, old, new, "m-1")).await.expect("they become one").entries;
    assert_eq!(entries.last().expect("an entry").inactivity_time, Some(instant("2026-09-21T04:00:00Z")));
    let has = |shop: &Shop| {
        let header = shop.ledger.member(&key(new)).expect("the member is there").header;
        (header.balance.available.0, header.balance.expired.0, header.inactivity.points.0)
    };
    assert_eq!(has(&shop), (7, 50, 7));
    // What had been spent before its card was idle for too long has lapsed with it, what was spent later has not.
    back("b-1", early).await;
    assert_eq!(has(&shop), (7, 90, 7));
    back("b-2", late).await;
    assert_eq!(has(&shop), (10, 90, 10));
    shop.clock.set(instant("2026-09-21T03:59:59Z"));
    assert_eq!(has(&shop), (10, 90, 10));
    shop.clock.set(instant("2026-09-21T04:00:00Z"));
    assert_eq!(has(&shop), (0, 100, 0));
    let shop = is_sound_when_made_again(shop);
    assert_eq!(has(&shop), (0, 100, 0));
}

#[tokio::test]
async fn points_of_a_card_that_was_merged_twice_lapsed_when_the_clock_ran_out_that_it_had_then() {
    let shop = Shop::open_with(IDLE).await;
    let cards = [shop.enroll("card-1").await, shop.enroll("card-2").await, shop.enroll("card-3").await, shop.enroll("card-4").await];
    let [first, second, third, last] = cards;
    let spends = async |member: MemberId, request: &str, points: i64| {
        let redeem = RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() };
        let submission = shop.submission(MemberTarget::Id(member), request, Command::RedeemPoints(redeem));
        shop.ledger.submit(submission).await.expect("points are spent").entries[0].sequence
    };
    let gets = async |member: MemberId, request: &str| {
        shop.ledger.submit(shop.adjust(member, request, 10)).await.expect("points are added");
    };
    let merges = async |member: MemberId, into: MemberId, request: &str| {
        shop.ledger.submit(join(&shop, member, into, request)).await.expect("they become one");
    };
    // The first card is idle for too long before it is merged into the second, the second before it is merged into the third, and so on.
    gets(first, "a-1").await;
    let spent_early = spends(first, "s-1", 4).await;
    shop.clock.set(instant("2026-06-20T16:00:00Z"));
    gets(first, "a-2").await;
    let spent_later = spends(first, "s-2", 3).await;
    gets(second, "a-3").await;
    let spent_of_second = spends(second, "s-3", 2).await;
    merges(first, second, "m-1").await;
    shop.clock.set(instant("2026-10-01T16:00:00Z"));
    gets(third, "a-4").await;
    merges(second, third, "m-2").await;
    let spent_of_third = spends(third, "s-4", 1).await;
    shop.clock.set(instant("2027-01-10T16:00:00Z"));
    gets(last, "a-5").await;
    merges(third, last, "m-3").await;
    let shop = is_sound_when_made_again(shop);
    let lapsed = async |member: MemberId, request: &str, redemption: u64| {
        let reversal = ReversalRequest { ledger: Some(member), redemption, points: None, reason: "cancelled".into() };
        let submission = shop.submission(MemberTarget::Id(last), request, Command::ReverseRedemption(reversal));
        let entries = shop.ledger.submit(submission).await.expect("points go back").entries;
        let EntryKind::RedemptionReversed(reversed) = &entries[0].kind else { panic!("a reversal") };
        reversed.put_back[0].into.expire_time().map(|time| time.to_string())
    };
    let ran_out = |text: &str| Some(text.to_owned());
    assert_eq!(lapsed(first, "b-1", spent_early).await, ran_out("2026-06-11T04:00:00Z"));
    assert_eq!(lapsed(first, "b-2", spent_later).await, ran_out("2026-09-21T04:00:00Z"));
    assert_eq!(lapsed(second, "b-3", spent_of_second).await, ran_out("2026-09-21T04:00:00Z"));
    assert_eq!(lapsed(third, "b-4", spent_of_third).await, ran_out("2027-01-02T05:00:00Z"));
    assert_eq!(shop.available(last), 10, "nothing of it lives again");
}

#[tokio::test]
async fn a_card_that_has_been_idle_for_longer_does_not_shorten_the_others_time() {
    let shop = Shop::open_with(IDLE).await;
    let (old, new) = (shop.enroll("card-1").await, shop.enroll("card-2").await);
    shop.ledger.submit(shop.adjust(old, "a-1", 30)).await.expect("points are added");
    shop.clock.set(instant("2026-05-01T16:00:00Z"));
    shop.ledger.submit(shop.adjust(new, "a-2", 10)).await.expect("points are added");
    let entries = shop.ledger.submit(join(&shop, old, new, "m-1")).await.expect("they become one").entries;
    assert_eq!(entries.last().expect("an entry").inactivity_time, None);
    shop.clock.set(instant("2026-08-02T03:59:59Z"));
    assert_eq!(shop.available(new), 40);
    shop.clock.set(instant("2026-08-02T04:00:00Z"));
    assert_eq!(shop.available(new), 0);
}
