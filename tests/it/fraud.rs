//! Fraud limits: what exceeds one is refused, or booked with a flag.

use std::{fs, sync::Arc};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::v1::{self, fraud_limits::Action, purchase_result::Result as Judged},
    domain::{Command, FraudLimit, MAX_FRAUD_COUNTERS, Program, Purchase, Rejection},
    ledger::Clock as _,
    store::embedded::{self, Options},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    accrual::{Shop, at, line, purchase, rule_book_with},
    redemption::{explained, start_with},
    support::{PROGRAM, TestServer, actor, adjustment, by_card, by_id, card, refused, rule_book, sale},
};

fn count(maximum: i32, action: Action) -> Option<v1::fraud_limits::CountLimit> {
    Some(v1::fraud_limits::CountLimit { maximum, action: action.into() })
}

fn points(maximum: &str, action: Action) -> Option<v1::fraud_limits::PointsLimit> {
    Some(v1::fraud_limits::PointsLimit { maximum: maximum.into(), action: action.into() })
}

fn book(limits: v1::FraudLimits) -> v1::Program {
    v1::Program { fraud_limits: Some(limits), ..rule_book() }
}

fn purchases(action: Action) -> v1::Program {
    book(v1::FraudLimits { purchases_per_hour: count(2, action), ..Default::default() })
}

/// Not right after the first rule book was published: what was sold before that is history.
async fn open(program: v1::Program) -> (TestServer, String) {
    let server = start_with(program).await;
    server.days_later(10);
    let member = server.enroll("c-1").await;
    (server, member)
}

/// At noon of the shop and so many minutes more, on the server's day.
fn dated(server: &TestServer, minutes: i64, mut sale: v1::RecordPurchaseRequest) -> v1::RecordPurchaseRequest {
    let time = server.clock.now() + minutes.minutes();
    sale.purchase.as_mut().unwrap().occurred_time = Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 });
    sale
}

fn limits(flags: &[v1::FraudFlag]) -> Vec<(v1::FraudLimit, i64, i64)> {
    flags.iter().map(|flag| (flag.limit(), flag.maximum, flag.count)).collect()
}

fn told(status: &Status, name: &str) -> String {
    status.get_error_details().error_info().expect("an ErrorInfo").metadata[name].clone()
}

#[track_caller]
fn is_fraud(status: &Status, limit: &str, maximum: &str, count: &str) {
    assert_eq!((status.code(), refused(status).reason.as_str()), (Code::FailedPrecondition, "FRAUD_LIMIT"), "{status:?}");
    assert_eq!(["limit", "maximum", "count"].map(|name| told(status, name)), [limit, maximum, count]);
}

#[tokio::test]
async fn a_third_purchase_within_the_hour_is_booked_and_flagged() {
    let (server, member) = open(purchases(Action::Flag)).await;
    let add = v1::AddIdentifierRequest {
        request_id: "second".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        identifier: Some(card("c-2")),
        ..Default::default()
    };
    server.members().add_identifier(add).await.expect("a second card");
    let mut till = server.purchases();
    let first = till.record_purchase(sale(&member, "o-1", "10000")).await.unwrap().into_inner();
    assert_eq!(first.flags, []);
    // Two cards are one person.
    let second = v1::RecordPurchaseRequest { member: by_card("c-2"), ..sale(&member, "o-2", "10000") };
    assert_eq!(till.record_purchase(second).await.unwrap().into_inner().flags, []);
    let third = sale(&member, "o-3", "10000");
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_card("c-1"), purchase: third.purchase.clone() };
    let quoted = till.quote_purchase(quote).await.unwrap().into_inner();
    let flagged = till.record_purchase(third.clone()).await.unwrap().into_inner();
    assert_eq!(limits(&flagged.flags), [(v1::FraudLimit::PurchasesPerHour, 2, 3)]);
    assert_eq!(flagged.flags[0].period_start, Some(server.clock_now()), "it is noon");
    assert_eq!(quoted.flags, flagged.flags);
    assert_eq!(till.record_purchase(third).await.unwrap().into_inner(), flagged);
    let text = explained(&server, &member, flagged.entry_sequence).await;
    let says = "fraud limit purchases_per_hour allows 2, and this makes 3 purchases of the member since 2026-03-20 12:00";
    assert!(text.contains(says), "{text}");
    // The next hour is another one.
    let next = dated(&server, 60, sale(&member, "o-4", "10000"));
    server.clock.set(server.clock.now() + 60.minutes());
    assert_eq!(till.record_purchase(next).await.unwrap().into_inner().flags, []);
    let list = |flagged| v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), flagged, ..Default::default() };
    let all = server.points().list_entries(list(false)).await.unwrap().into_inner().entries;
    let found = server.points().list_entries(list(true)).await.unwrap().into_inner().entries;
    assert_eq!((all.len(), found.len(), found[0].sequence), (6, 1, flagged.entry_sequence));
    assert_eq!(found[0].flags, flagged.flags);
    // A page of the one list is no page of the other.
    let page = v1::ListEntriesRequest { page_size: 1, ..list(false) };
    let token = server.points().list_entries(page).await.unwrap().into_inner().next_page_token;
    let other = v1::ListEntriesRequest { page_token: token, page_size: 1, ..list(true) };
    assert_eq!(refused(&server.points().list_entries(other).await.unwrap_err()).fields, ["page_token"]);
    server.stop().await;
}

#[tokio::test]
async fn a_third_purchase_is_refused_where_the_rule_book_says_so_and_does_not_count() {
    let (server, member) = open(purchases(Action::Refuse)).await;
    let mut till = server.purchases();
    for order in ["o-1", "o-2"] {
        till.record_purchase(sale(&member, order, "10000")).await.unwrap();
    }
    let third = sale(&member, "o-3", "10000");
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: third.purchase.clone() };
    let refusal = till.quote_purchase(quote).await.unwrap_err();
    is_fraud(&refusal, "purchases_per_hour", "2", "3");
    for _ in 0..3 {
        let refusal = till.record_purchase(third.clone()).await.unwrap_err();
        is_fraud(&refusal, "purchases_per_hour", "2", "3");
        assert_eq!(told(&refusal, "period_start"), "2026-03-20T05:00:00Z");
    }
    // An exchange is a purchase; the return that it belongs to is refused with it.
    let exchange = v1::ReturnPurchaseRequest {
        request_id: "x".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        exchange: third.purchase.clone(),
        ..Default::default()
    };
    is_fraud(&till.return_purchase(exchange).await.unwrap_err(), "purchases_per_hour", "2", "3");
    assert_eq!(server.member(&member).await.last_sequence, 3);
    // What comes back stays counted.
    let back = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        ..Default::default()
    };
    till.return_purchase(back).await.expect("goods can come back");
    is_fraud(&till.record_purchase(third.clone()).await.unwrap_err(), "purchases_per_hour", "2", "3");
    server.clock.set(server.clock.now() + 60.minutes());
    till.record_purchase(third).await.expect("in the next hour");
    server.stop().await;
}

#[tokio::test]
async fn a_till_that_delivers_two_days_at_once_is_no_fraud_and_of_an_hour_the_first_count() {
    let (server, member) = open(purchases(Action::Refuse)).await;
    let mut sales: Vec<_> = (0..40).map(|n| dated(&server, -n * 60, sale(&member, &format!("o-{n}"), "10000"))).collect();
    // Three within the hour, the last of them given first.
    sales.insert(0, dated(&server, -125, sale(&member, "late", "10000")));
    sales.insert(0, dated(&server, -130, sale(&member, "early", "10000")));
    sales.insert(0, dated(&server, -122, sale(&member, "latest", "10000")));
    let batch = v1::BatchRecordPurchasesRequest { purchases: sales };
    let results = server.purchases().batch_record_purchases(batch).await.unwrap().into_inner().results;
    let refused: Vec<_> = results.iter().filter(|result| matches!(result.result, Some(Judged::Error(_)))).collect();
    // Of the hour from nine on, those of 09:00 and 09:50 are booked.
    let ids: Vec<&str> = refused.iter().map(|result| result.request_id.as_str()).collect();
    assert_eq!(ids, ["sale-latest", "sale-late"]);
    let Some(Judged::Error(error)) = &refused[0].result else { panic!("it is refused") };
    assert_eq!((error.reason.as_str(), error.metadata["period_start"].as_str()), ("FRAUD_LIMIT", "2026-03-20T02:00:00Z"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tills_at_once_book_no_more_than_the_limit() {
    let (server, member) = open(purchases(Action::Refuse)).await;
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let (mut till, request) = (server.purchases(), sale(&member, &format!("o-{n}"), "10000"));
        tasks.spawn(async move { till.record_purchase(request).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|refusal| is_fraud(refusal, "purchases_per_hour", "2", "3"));
    server.stop().await;
}

#[tokio::test]
async fn points_earned_are_counted_by_the_day_of_the_shop() {
    let per_day = v1::FraudLimits { points_per_day: points("100", Action::Flag), ..Default::default() };
    let (server, member) = open(book(per_day)).await;
    let mut till = server.purchases();
    // Noon in Ho Chi Minh City; the day there began at 17:00 UTC the day before.
    let sold = async |till: &mut v1::purchase_service_client::PurchaseServiceClient<_>, order: &str, minutes, amount: &str| {
        let sale = dated(&server, minutes, sale(&member, order, amount));
        limits(&till.record_purchase(sale).await.unwrap().into_inner().flags)
    };
    assert_eq!(sold(&mut till, "o-1", -12 * 60, "600000").await, []);
    assert_eq!(sold(&mut till, "o-2", -12 * 60 - 1, "600000").await, [], "a minute before midnight");
    assert_eq!(sold(&mut till, "o-3", 0, "400000").await, [], "a hundred in all");
    assert_eq!(sold(&mut till, "o-4", 0, "9999").await, [], "it earns nothing");
    assert_eq!(sold(&mut till, "o-5", 0, "10000").await, [(v1::FraudLimit::PointsPerDay, 100, 101)]);
    assert_eq!(sold(&mut till, "o-6", 0, "50000").await, [(v1::FraudLimit::PointsPerDay, 100, 106)], "what is flagged counts");
    server.stop().await;
}

#[tokio::test]
async fn what_activities_earn_counts_with_what_purchases_do_on_both_sides_of_a_referral() {
    let rules = "activity_rules:\n- { rule_id: joined, activity: referral, points: 30 }\n\
        - { rule_id: brought, activity: referral, earner: EARNER_REFERRER, points: 60 }\n";
    let activity_rules = loyaltyd::contract::rule_book::read(rules).expect("well-formed rules").activity_rules;
    let limited = |action| {
        let per_day = v1::FraudLimits { points_per_day: points("100", action), ..Default::default() };
        v1::Program { activity_rules: activity_rules.clone(), ..book(per_day) }
    };
    let joins = |member: &str, referrer: &str| v1::RecordActivityRequest {
        request_id: format!("join-{member}"),
        program_id: PROGRAM.into(),
        member: by_card(member),
        activity: "referral".into(),
        reference: "friend".into(),
        referrer: by_id(referrer),
        ..Default::default()
    };
    let (server, host) = open(limited(Action::Refuse)).await;
    for card in ["f-1", "f-2"] {
        server.enroll(card).await;
    }
    let mut desk = server.points();
    desk.record_activity(joins("f-1", &host)).await.expect("sixty points");
    let refusal = desk.record_activity(joins("f-2", &host)).await.unwrap_err();
    is_fraud(&refusal, "points_per_day", "100", "120");
    let over = server.purchases().record_purchase(sale(&host, "o-1", "410000")).await.unwrap_err();
    is_fraud(&over, "points_per_day", "100", "101");
    server.purchases().record_purchase(sale(&host, "o-1", "400000")).await.expect("a hundred in all");
    server.stop().await;
    let (server, host) = open(limited(Action::Flag)).await;
    for card in ["f-1", "f-2"] {
        server.enroll(card).await;
        let done = server.points().record_activity(joins(card, &host)).await.expect("it is recorded").into_inner();
        assert_eq!(done.entry.unwrap().flags, [], "of the new member");
    }
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&host), flagged: true, ..Default::default() };
    let found = server.points().list_entries(list).await.unwrap().into_inner().entries;
    assert_eq!((found.len(), limits(&found[0].flags)), (1, vec![(v1::FraudLimit::PointsPerDay, 100, 120)]));
    server.stop().await;
}

fn desk(limits: v1::FraudLimits) -> v1::Program {
    book(limits)
}

fn by(actor: &str, mut adjustment: v1::AdjustPointsRequest) -> v1::AdjustPointsRequest {
    adjustment.actor = Some(v1::Actor { actor_id: actor.into() });
    adjustment
}

#[tokio::test]
async fn what_an_operator_adjusts_is_counted_over_all_members_and_by_the_day() {
    let limits = v1::FraudLimits {
        adjustments_per_day: count(3, Action::Refuse),
        adjusted_points_per_day: points("100", Action::Flag),
        ..Default::default()
    };
    let (server, one) = open(desk(limits.clone())).await;
    let other = server.enroll("c-2").await;
    let mut points = server.points();
    let first = points.adjust_points(by("ann", adjustment(&one, "a-1", 60))).await.unwrap().into_inner();
    assert_eq!(first.entry.unwrap().flags, []);
    // Taken points count as added ones do.
    let second = points.adjust_points(by("ann", adjustment(&one, "a-2", -30))).await.unwrap().into_inner();
    assert_eq!(second.entry.unwrap().flags, []);
    let third = by("ann", adjustment(&other, "a-3", 11));
    let entry = points.adjust_points(third.clone()).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(self::limits(&entry.flags), [(v1::FraudLimit::AdjustedPointsPerDay, 100, 101)]);
    let text = explained(&server, &other, entry.sequence).await;
    assert!(text.contains("this makes 101 points adjusted by the actor since 2026-03-20 00:00"), "{text}");
    let fourth = by("ann", adjustment(&one, "a-4", 1));
    is_fraud(&points.adjust_points(fourth.clone()).await.unwrap_err(), "adjustments_per_day", "3", "4");
    // What the store knows of her follows from the entries alone.
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = embedded::check(&data, &Options::default()).expect("it can be checked");
    assert!(report.is_sound(), "{:?}", report.differences);
    fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
    let server = TestServer::start_in(folder, clock, vec![desk(limits)]).await;
    let mut points = server.points();
    is_fraud(&points.adjust_points(fourth.clone()).await.unwrap_err(), "adjustments_per_day", "3", "4");
    assert_eq!(points.adjust_points(third).await.unwrap().into_inner().entry, Some(entry), "a retry is the first answer");
    points.adjust_points(by("bob", adjustment(&one, "b-1", 1))).await.expect("another operator");
    // Midnight there is at 17:00 UTC.
    server.clock.set(server.clock.now() + (11 * 60 + 59).minutes());
    is_fraud(&points.adjust_points(fourth.clone()).await.unwrap_err(), "adjustments_per_day", "3", "4");
    server.clock.set(server.clock.now() + 1.minutes());
    let next = points.adjust_points(fourth).await.expect("the next day").into_inner();
    assert_eq!(next.entry.unwrap().flags, []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_at_many_desks_at_once_adjusts_no_more_than_the_limit() {
    let limits = v1::FraudLimits { adjusted_points_per_day: points("100", Action::Refuse), ..Default::default() };
    let (server, _) = open(desk(limits)).await;
    let mut members = Vec::new();
    for n in 0..5 {
        members.push(server.enroll(&format!("m-{n}")).await);
    }
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let (mut desk, request) = (server.points(), adjustment(&members[n % 5], &format!("a-{n}"), 9));
        assert_eq!(request.actor, actor());
        tasks.spawn(async move { desk.adjust_points(request).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 11);
    answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|refusal| {
        is_fraud(refusal, "adjusted_points_per_day", "100", "108");
    });
    let mut sum = 0;
    for member in &members {
        sum += server.member(member).await.balance.unwrap().available;
    }
    assert_eq!(sum, 99);
    server.stop().await;
}

#[tokio::test]
async fn history_from_before_the_first_rule_book_trips_nothing() {
    let server = start_with(purchases(Action::Refuse)).await;
    let member = server.enroll("c-1").await;
    let sales = (0..50).map(|n| dated(&server, -1, sale(&member, &format!("o-{n}"), "10000"))).collect();
    let batch = v1::BatchRecordPurchasesRequest { purchases: sales };
    let results = server.purchases().batch_record_purchases(batch).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| matches!(result.result, Some(Judged::Recorded(_)))), "{results:?}");
    server.stop().await;
}

// What is counted where clocks change, and for how long it is remembered.

const RULE: &str = "\naccrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\n";

fn shop(fields: &str) -> Shop {
    Shop::open(rule_book_with(&format!("{RULE}{fields}")))
}

/// The limits that a sale of so many dollars exceeds, with what they have counted.
fn sells(shop: &mut Shop, dollars: &str, occurred: &str) -> Result<Vec<(FraudLimit, i64)>, Rejection> {
    let sale = Purchase { occurred_time: Some(at(occurred)), ..purchase(vec![line(dollars)]) };
    let entries = shop.does(&Command::RecordPurchase(Arc::new(sale)))?;
    Ok(entries.iter().flat_map(|entry| entry.flags()).map(|flag| (flag.limit, flag.count)).collect())
}

#[test]
fn an_hour_that_the_clocks_show_twice_is_two_hours() {
    let mut shop = shop("fraud_limits: { purchases_per_hour: { maximum: 1, action: ACTION_FLAG } }\n");
    shop.now = at("2026-11-02T12:00:00Z");
    // In New York 01:30 comes twice on 1 November 2026.
    assert_eq!(sells(&mut shop, "1", "2026-11-01T05:30:00Z"), Ok(vec![]));
    assert_eq!(sells(&mut shop, "1", "2026-11-01T06:30:00Z"), Ok(vec![]));
    assert_eq!(sells(&mut shop, "1", "2026-11-01T05:59:59Z"), Ok(vec![(FraudLimit::PurchasesPerHour, 2)]));
    // The day has 25 hours.
    let limit = "fraud_limits: { points_per_day: { maximum: 10, action: ACTION_FLAG } }\n";
    let mut shop = self::shop(limit);
    shop.now = at("2026-11-02T12:00:00Z");
    assert_eq!(sells(&mut shop, "10", "2026-11-01T04:00:00Z"), Ok(vec![]));
    assert_eq!(sells(&mut shop, "1", "2026-11-02T04:59:59Z"), Ok(vec![(FraudLimit::PointsPerDay, 11)]));
    assert_eq!(sells(&mut shop, "1", "2026-11-02T05:00:00Z"), Ok(vec![]));
}

#[test]
fn a_zone_that_is_half_an_hour_off_has_its_own_hours() {
    let mut shop = shop("time_zone: Asia/Kathmandu\nfraud_limits: { purchases_per_hour: { maximum: 1, action: ACTION_FLAG } }\n");
    // 12:45 and 13:00 there are 07:00 and 07:15 UTC.
    assert_eq!(sells(&mut shop, "1", "2026-03-10T07:00:00Z"), Ok(vec![]));
    assert_eq!(sells(&mut shop, "1", "2026-03-10T07:15:00Z"), Ok(vec![]));
    assert_eq!(sells(&mut shop, "1", "2026-03-10T07:14:59Z"), Ok(vec![(FraudLimit::PurchasesPerHour, 2)]));
}

#[test]
fn the_limits_are_those_of_the_time_of_the_sale() {
    let mut shop = shop("");
    let limited = rule_book_with(&format!("{RULE}fraud_limits: {{ purchases_per_hour: {{ maximum: 1, action: ACTION_REFUSE }} }}\n"));
    shop.programs = shop.programs.with(Arc::new(Program { version: 2, publish_time: at("2026-03-10T14:00:00Z"), ..limited }));
    for _ in 0..3 {
        assert_eq!(sells(&mut shop, "1", "2026-03-10T13:59:00Z"), Ok(vec![]));
    }
    assert_eq!(sells(&mut shop, "1", "2026-03-10T14:00:00Z"), Ok(vec![]));
    assert!(matches!(sells(&mut shop, "1", "2026-03-10T14:01:00Z"), Err(Rejection::FraudLimit(flag)) if flag.count == 2));
}

#[test]
fn a_limit_that_refuses_goes_before_one_that_flags() {
    let limits = "fraud_limits: { purchases_per_hour: { maximum: 1, action: ACTION_FLAG }, points_per_day: { maximum: 5, action: ACTION_REFUSE } }\n";
    let mut shop = shop(limits);
    assert_eq!(sells(&mut shop, "4", "2026-03-10T14:00:00Z"), Ok(vec![]));
    let refusal = sells(&mut shop, "2", "2026-03-10T14:01:00Z").expect_err("six points");
    assert!(matches!(refusal, Rejection::FraudLimit(flag) if (flag.limit, flag.count) == (FraudLimit::PointsPerDay, 6)));
    assert_eq!(sells(&mut shop, "1", "2026-03-10T14:02:00Z"), Ok(vec![(FraudLimit::PurchasesPerHour, 2)]));
}

#[test]
fn counters_are_bounded_and_a_limit_that_is_forgotten_counts_as_reached() {
    let fields = "purchase_time: { max_age_days: 36500 }\nfraud_limits: { purchases_per_hour: { maximum: 1, action: ACTION_FLAG } }\n";
    let mut shop = shop(fields);
    let first = at("2020-01-01T17:00:00Z");
    let hour = |hour: usize| (first + (hour as i64).hours()).to_string();
    for number in 1..=MAX_FRAUD_COUNTERS + 10 {
        assert_eq!(sells(&mut shop, "1", &hour(number)), Ok(vec![]), "{number}");
        assert_eq!(shop.member.header.fraud_counters.len(), number.min(MAX_FRAUD_COUNTERS));
    }
    let second = Ok(vec![(FraudLimit::PurchasesPerHour, 2)]);
    assert_eq!(sells(&mut shop, "1", &hour(5)), second, "it is forgotten");
    assert_eq!(sells(&mut shop, "1", &hour(5)), second, "and is not counted");
    assert_eq!(sells(&mut shop, "1", &hour(11)), second, "it is remembered");
    assert_eq!(shop.member.header.fraud_counters.len(), MAX_FRAUD_COUNTERS);
}

#[test]
fn counters_that_no_sale_can_need_any_more_go() {
    let fields =
        "fraud_limits: { purchases_per_hour: { maximum: 9, action: ACTION_FLAG }, points_per_day: { maximum: 9, action: ACTION_FLAG } }\n";
    let mut shop = shop(fields);
    let opened: Timestamp = shop.now;
    for day in 0..100 {
        shop.now = opened + (24 * day).hours();
        let now = shop.now.to_string();
        assert_eq!(sells(&mut shop, "1", &now), Ok(vec![]));
    }
    // Sales may be 30 days late, and what began up to two days before is kept: 33 hours and 32 days.
    assert_eq!(shop.member.header.fraud_counters.len(), 33 + 32);
}
