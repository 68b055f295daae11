//! Tills that could not reach the service: what they sold, what they delivered late, and what they redeemed without asking.

use std::{fs, sync::Arc};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::v1::{self, points_payment::Payment as Pays, purchase_result::Result as Judged},
    domain::{
        Command, EntryKind, LotExpiry, OrderId, OrderKey, Payment, Points, Purchase, Redeemed, Rejection, ReversalRequest, Reversed,
        StoreId, Tender, TenderKind,
    },
    store::embedded::{self, Options},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    accrual::{Shop, at, dec, line, purchase, rule_book_with},
    redemption::{balance, explained, member_with, paid_sale, spending, start_with},
    support::{PROGRAM, TestServer, by_card, by_id, refused, rule_book, sale, vnd},
};

/// A point is worth 100 VND; so many may be redeemed offline.
fn book(floor: &str, shortfall: v1::offline_policy::Shortfall) -> v1::Program {
    let offline = v1::OfflinePolicy { floor_limit_points: floor.into(), shortfall: shortfall.into() };
    v1::Program { offline: Some(offline), ..spending() }
}

use v1::offline_policy::Shortfall::{Debt, Refuse};

fn stamp(instant: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: instant.as_second(), nanos: 0 })
}

/// Of so many hours ago.
fn hours_ago(server: &TestServer, hours: i64, mut sale: v1::RecordPurchaseRequest) -> v1::RecordPurchaseRequest {
    let now = loyaltyd::ledger::Clock::now(&*server.clock);
    sale.purchase.as_mut().unwrap().occurred_time = stamp(now - hours.hours());
    sale
}

/// An offline sale of 100,000 VND, an hour ago, of which points pay a part.
fn redeemed_offline(server: &TestServer, member: &str, order: &str, points: i64) -> v1::RecordPurchaseRequest {
    let sale = paid_sale(member, order, 100_000, points * 100, vec![Pays::RedeemPoints(points)]);
    let mut sale = hours_ago(server, 1, sale);
    sale.purchase.as_mut().unwrap().offline = true;
    sale
}

async fn deliver(server: &TestServer, purchases: Vec<v1::RecordPurchaseRequest>) -> Vec<v1::PurchaseResult> {
    let batch = v1::BatchRecordPurchasesRequest { purchases };
    server.purchases().batch_record_purchases(batch).await.expect("the batch is judged").into_inner().results
}

fn recorded(result: &v1::PurchaseResult) -> &v1::RecordPurchaseResponse {
    match result.result.as_ref().expect("a result") {
        Judged::Recorded(recorded) => recorded,
        Judged::Error(error) => panic!("{}: {error:?}", result.request_id),
    }
}

fn reason(result: &v1::PurchaseResult) -> &str {
    match result.result.as_ref().expect("a result") {
        Judged::Recorded(_) => panic!("{} is recorded", result.request_id),
        Judged::Error(error) => &error.reason,
    }
}

fn metadata(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let mut metadata: Vec<_> = details.error_info().expect("an ErrorInfo").metadata.clone().into_iter().collect();
    metadata.sort();
    metadata
}

/// A member, and the sales of two days: the first of them makes silver, the others earn by it.
async fn two_days(server: &TestServer) -> (String, Vec<v1::RecordPurchaseRequest>) {
    server.days_later(5);
    let member = server.enroll("c-1").await;
    server.days_later(3);
    let sales = [(40, "5000000"), (30, "100000"), (20, "200000"), (10, "300000")];
    let sale = |(place, (hours, amount)): (usize, (i64, &str))| hours_ago(server, hours, sale(&member, &format!("o-{place}"), amount));
    let sales = sales.into_iter().enumerate().map(sale).collect();
    (member, sales)
}

#[tokio::test]
async fn sales_of_a_batch_are_judged_in_the_order_of_time_and_answered_in_the_order_given() {
    let server = TestServer::start().await;
    let (member, mut sales) = two_days(&server).await;
    // One that says no time is of now, whatever its place.
    sales.insert(0, sale(&member, "now", "100000"));
    sales.reverse();
    // By card and by id: one member.
    sales[1].member = by_card("c-1");
    sales[2].purchase.as_mut().unwrap().total = vnd("7");
    let results = deliver(&server, sales).await;
    let ids: Vec<&str> = results.iter().map(|result| result.request_id.as_str()).collect();
    assert_eq!(ids, ["sale-o-3", "sale-o-2", "sale-o-1", "sale-o-0", "sale-now"]);
    let points = [0, 1, 3, 4].map(|place: usize| recorded(&results[place]).accrual.as_ref().unwrap().points);
    assert_eq!(points, [36, 24, 500, 12], "silver since the first sale");
    assert_eq!(reason(&results[2]), "INVALID_FIELD", "the others are recorded all the same");
    let mut order: Vec<(i64, usize)> = [0, 1, 3, 4].map(|place| (recorded(&results[place]).entry_sequence, place)).to_vec();
    order.sort_unstable();
    assert_eq!(order.into_iter().map(|(_, place)| place).collect::<Vec<_>>(), [3, 1, 0, 4]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_sent_again_in_another_order_and_by_two_tills_doubles_nothing() {
    let server = TestServer::start().await;
    let (member, sales) = two_days(&server).await;
    let (one, other) = tokio::join!(deliver(&server, sales.clone()), deliver(&server, sales.clone()));
    assert_eq!(one, other, "two tills at once");
    let before = server.member(&member).await;
    assert_eq!((before.lifetime.as_ref().unwrap().visits, before.balance.as_ref().unwrap().available), (4, 500 + 12 + 24 + 36));
    assert_eq!(deliver(&server, sales.clone()).await, one);
    let mut backwards = deliver(&server, sales.iter().rev().cloned().collect()).await;
    backwards.reverse();
    assert_eq!(backwards, one);
    let mut changed = sales.clone();
    changed[1].purchase.as_mut().unwrap().channel = "app".into();
    changed[2].request_id = "another".into();
    let results = deliver(&server, changed).await;
    assert_eq!((&results[0], &results[3]), (&one[0], &one[3]));
    assert_eq!([reason(&results[1]), reason(&results[2])], ["REQUEST_ID_REUSED", "PURCHASE_EXISTS"]);
    let Some(Judged::Error(error)) = &results[2].result else { panic!("it is refused") };
    assert_eq!((error.code, error.metadata["order_id"].as_str()), (Code::AlreadyExists as i32, "o-2"));
    assert_eq!(server.member(&member).await, before);
    // Also after a restart over look-up tables that are made again.
    let data = server.data();
    let (folder, clock) = server.end().await;
    fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
    let server = TestServer::start_in(folder, clock, vec![rule_book()]).await;
    assert_eq!(deliver(&server, sales).await, one);
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}

#[tokio::test]
async fn sales_that_are_too_old_or_too_far_ahead_are_named_and_the_others_recorded() {
    let server = TestServer::start().await;
    server.days_later(60);
    let member = server.enroll("c-1").await;
    let at = |order: &str, seconds: i64| {
        let mut sale = sale(&member, order, "10000");
        let time = loyaltyd::ledger::Clock::now(&*server.clock) + seconds.seconds();
        sale.purchase.as_mut().unwrap().occurred_time = stamp(time);
        sale
    };
    const DAY: i64 = 86_400;
    let sales = vec![at("future", 301), at("old", -30 * DAY - 1), at("oldest", -30 * DAY), at("ahead", 300), at("usual", -DAY)];
    let results = deliver(&server, sales).await;
    assert_eq!([reason(&results[0]), reason(&results[1])], ["PURCHASE_IN_FUTURE", "PURCHASE_TOO_OLD"]);
    assert!(results[2..].iter().all(|result| recorded(result).accrual.is_some()));
    let Some(Judged::Error(error)) = &results[1].result else { panic!("it is refused") };
    assert_eq!(error.metadata["max_age_days"], "30");
    server.stop().await;
}

#[tokio::test]
async fn a_late_sale_earns_and_redeems_by_the_rule_book_of_its_time() {
    let server = start_with(book("50", Debt)).await;
    let member = member_with(&server, "c-1", 100).await;
    server.days_later(1);
    let mut twice = book("20", Debt);
    let Some(v1::accrual_rule::Award::PerAmount(per)) = &mut twice.accrual_rules[0].award else { panic!("it gives by amount") };
    per.points = "2".into();
    twice.redemption.as_mut().unwrap().amount = "2000".into();
    let publish = v1::PublishProgramRequest { request_id: "v2".into(), program: Some(twice), ..Default::default() };
    server.programs().publish_program(publish).await.expect("it is published");
    server.days_later(1);
    // A point was worth 100 VND before the change, and 200 after it; 40 points are within the floor limit of then.
    let mut before = redeemed_offline(&server, &member, "o-1", 40);
    before.purchase.as_mut().unwrap().occurred_time = hours_ago(&server, 30, before.clone()).purchase.unwrap().occurred_time;
    let after = redeemed_offline(&server, &member, "o-2", 20);
    let results = deliver(&server, vec![after.clone(), before]).await;
    assert_eq!(reason(&results[0]), "PAYMENT_MISMATCH", "paid at the old rate");
    let first = recorded(&results[1]);
    let accrual = first.accrual.as_ref().unwrap();
    assert_eq!((accrual.program_version, accrual.points, first.redemptions[0].points), (1, 9, 40));
    assert_eq!(first.redemptions[0].value, vnd("4000"));
    let mut paid = paid_sale(&member, "o-2", 100_000, 4_000, vec![Pays::RedeemPoints(20)]);
    paid.purchase.as_mut().unwrap().offline = true;
    paid.purchase.as_mut().unwrap().occurred_time = after.purchase.unwrap().occurred_time;
    let second = server.purchases().record_purchase(paid).await.expect("by the new rate").into_inner();
    let accrual = second.accrual.unwrap();
    assert_eq!((accrual.program_version, accrual.points), (2, 18));
    server.stop().await;
}

#[tokio::test]
async fn a_till_redeems_up_to_the_floor_limit_without_asking() {
    let server = start_with(book("50", Debt)).await;
    let member = member_with(&server, "c-1", 200).await;
    let mut till = server.purchases();
    let over = till.record_purchase(redeemed_offline(&server, &member, "o-1", 55)).await.unwrap_err();
    assert_eq!((over.code(), refused(&over).reason.as_str()), (Code::FailedPrecondition, "OVER_FLOOR_LIMIT"));
    assert_eq!(metadata(&over), [("limit".into(), "50".into()), ("requested".into(), "55".into())]);
    // Several payments of one sale count together.
    let pays = vec![Pays::RedeemPoints(30), Pays::RedeemPoints(25)];
    let mut split = hours_ago(&server, 1, paid_sale(&member, "o-1", 100_000, 5_500, pays));
    split.purchase.as_mut().unwrap().offline = true;
    assert_eq!(refused(&till.record_purchase(split).await.unwrap_err()).reason, "OVER_FLOOR_LIMIT");
    let request = redeemed_offline(&server, &member, "o-1", 50);
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: request.purchase.clone() };
    let quoted = till.quote_purchase(quote).await.expect("a quote").into_inner();
    let sold = till.record_purchase(request.clone()).await.expect("within the limit").into_inner();
    assert_eq!(quoted.balance, sold.balance);
    assert_eq!((sold.redemptions[0].points, sold.redemptions[0].owed), (50, 0));
    assert_eq!(till.record_purchase(request.clone()).await.unwrap().into_inner(), sold);
    // It is dated at the sale.
    let list = v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(&member),
        kinds: vec![v1::EntryKind::PointsRedeemed.into()],
        ..Default::default()
    };
    let listed = server.points().list_entries(list).await.unwrap().into_inner().entries;
    assert_eq!(listed[0].occurred_time, request.purchase.as_ref().unwrap().occurred_time);
    let got = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    assert!(till.get_purchase(got).await.unwrap().into_inner().purchase.unwrap().offline);
    // Online the same sale may redeem more.
    let online = paid_sale(&member, "o-2", 100_000, 10_000, vec![Pays::RedeemPoints(100)]);
    till.record_purchase(online).await.expect("the service was asked");
    server.stop().await;
}

#[tokio::test]
async fn without_a_policy_nothing_is_redeemed_offline() {
    let server = start_with(spending()).await;
    let member = member_with(&server, "c-1", 200).await;
    let refusal = server.purchases().record_purchase(redeemed_offline(&server, &member, "o-1", 5)).await.unwrap_err();
    assert_eq!(refused(&refusal).reason, "OVER_FLOOR_LIMIT");
    assert_eq!(metadata(&refusal), [("limit".into(), "0".into()), ("requested".into(), "5".into())]);
    let mut plain = hours_ago(&server, 1, sale(&member, "o-1", "100000"));
    plain.purchase.as_mut().unwrap().offline = true;
    server.purchases().record_purchase(plain).await.expect("a sale without points");
    server.stop().await;
}

#[tokio::test]
async fn what_the_balance_lacks_is_owed_and_later_points_pay_it() {
    let server = start_with(book("50", Debt)).await;
    let member = member_with(&server, "c-1", 30).await;
    let mut till = server.purchases();
    let sold = till.record_purchase(redeemed_offline(&server, &member, "o-1", 50)).await.unwrap().into_inner();
    assert_eq!((sold.redemptions[0].points, sold.redemptions[0].owed), (50, 20));
    let after = sold.balance.unwrap();
    // 95,000 VND earn 9 points, which pay debt.
    assert_eq!((after.available, after.debt, after.redeemed, after.issued), (0, 11, 50, 39));
    let text = explained(&server, &member, sold.redemptions[0].entry_sequence).await;
    assert!(text.contains("20 of them were not there and are owed"), "{text}");
    let online = paid_sale(&member, "o-2", 100_000, 500, vec![Pays::RedeemPoints(5)]);
    assert_eq!(refused(&till.record_purchase(online).await.unwrap_err()).reason, "IN_DEBT");
    // The goods are gone, also of a member who owes points.
    let again = till.record_purchase(redeemed_offline(&server, &member, "o-3", 10)).await.unwrap().into_inner();
    assert_eq!((again.redemptions[0].owed, again.balance.unwrap().debt), (10, 11 + 10 - 9));
    // The first sale comes back: its points pay what is owed, and the rest is where it came from.
    let whole = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        ..Default::default()
    };
    let returned = till.return_purchase(whole).await.expect("it comes back").into_inner();
    let Some(v1::entry::Kind::RedemptionReversed(reversed)) = &returned.reversals[0].kind else { panic!("a reversal") };
    assert_eq!((reversed.points, reversed.owed, reversed.debt_paid), (50, 20, 12));
    assert_eq!(reversed.lot.as_ref().map(|lot| lot.points), Some(8));
    let text = explained(&server, &member, returned.reversals[0].sequence).await;
    assert!(text.contains("20 of them had been owed") && text.contains("The debt of 8 of those had been paid"), "{text}");
    let after = balance(&server, &member).await;
    // What the sale had earned is taken back.
    assert_eq!((after.available, after.debt), (38 - 9, 0));
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = embedded::check(&data, &Options::default()).expect("it can be checked");
    assert!(report.is_sound(), "{:?}", report.differences);
    fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
    let server = TestServer::start_in(folder, clock, vec![book("50", Debt)]).await;
    assert_eq!(balance(&server, &member).await, after);
    server.stop().await;
}

#[tokio::test]
async fn where_the_programme_refuses_debt_the_sale_is_refused_by_name() {
    let server = start_with(book("50", Refuse)).await;
    let member = member_with(&server, "c-1", 30).await;
    let short = redeemed_offline(&server, &member, "short", 50);
    let fits = redeemed_offline(&server, &member, "fits", 30);
    let results = deliver(&server, vec![short, fits]).await;
    assert_eq!(reason(&results[0]), "INSUFFICIENT_POINTS");
    assert_eq!(recorded(&results[1]).redemptions[0].owed, 0);
    server.stop().await;
}

// What becomes of points that were owed, as tables.

const OFFLINE: &str = "\naccrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\nredemption: { points: 1, amount: \"0.01\" }\n\
    offline: { floor_limit_points: 100 }\nexpiry: { after: { days: 30 } }\n";

fn order(id: &str) -> OrderKey {
    OrderKey { store: StoreId::new("s").expect("an id"), order: OrderId::new(id).expect("an id") }
}

/// A sale of a dollar's worth more than so many points pay; it earns a point.
fn offline(shop: &Shop, id: &str, points: i64) -> Purchase {
    let paid = rust_decimal::Decimal::new(points, 2);
    let total = paid + dec("1");
    let tenders = vec![Tender { kind: TenderKind::Points, amount: paid }, Tender { kind: TenderKind::Cash, amount: dec("1") }];
    let payments = vec![Payment::Redeem { points: Points(points) }];
    let occurred_time = Some(shop.now - 2.hours());
    Purchase { order: Some(order(id)), tenders, payments, occurred_time, offline: true, ..purchase(vec![line(&total.to_string())]) }
}

fn buys(shop: &mut Shop, sale: Purchase) -> (u64, Redeemed) {
    let entries = shop.does(&Command::RecordPurchase(Arc::new(sale))).expect("the sale is taken");
    let redeemed = entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::PointsRedeemed(redeemed) => Some((entry.sequence, redeemed.clone())),
        _ => None,
    });
    redeemed.expect("points are redeemed")
}

fn goes_back(shop: &mut Shop, redemption: u64, points: i64) -> Result<Reversed, Rejection> {
    let request = ReversalRequest { ledger: None, redemption, points: Some(Points(points)), reason: "mistake".into() };
    let entries = shop.does(&Command::ReverseRedemption(request))?;
    match &entries[0].kind {
        EntryKind::RedemptionReversed(reversed) => Ok(reversed.clone()),
        other => panic!("{other:?}"),
    }
}

fn earns(shop: &mut Shop, id: &str, dollars: &str) {
    shop.buys(Purchase { order: Some(order(id)), ..purchase(vec![line(dollars)]) });
}

fn standing(shop: &Shop) -> (i64, i64) {
    (shop.member.header.balance.available.0, shop.member.header.balance.debt.0)
}

#[test]
fn what_was_owed_goes_back_first_and_never_more_than_was_spent() {
    let mut shop = Shop::open(rule_book_with(OFFLINE));
    earns(&mut shop, "o-1", "40");
    let sale = offline(&shop, "o-2", 60);
    let (sequence, redeemed) = buys(&mut shop, sale);
    assert_eq!((redeemed.points, redeemed.owed, redeemed.portions.len()), (Points(60), Points(20), 1));
    assert_eq!(standing(&shop), (0, 19), "the sale's own point pays debt");
    let back = goes_back(&mut shop, sequence, 15).expect("a part goes back");
    assert_eq!((back.owed, back.debt_paid, back.lot.clone()), (Points(15), Points(15), None));
    assert_eq!(standing(&shop), (0, 4));
    // Of five that were owed four still are; the fifth was paid by the sale's own point and comes back as a new one.
    let back = goes_back(&mut shop, sequence, 25).expect("a part goes back");
    assert_eq!((back.owed, back.debt_paid), (Points(5), Points(4)));
    let lot = back.lot.expect("a new lot");
    assert_eq!((lot.points, lot.expiry), (Points(1), LotExpiry::At(at("2026-04-10T04:00:00Z"))));
    assert_eq!(back.put_back[0].portion.points, Points(20));
    assert_eq!(standing(&shop), (21, 0));
    let too_many = goes_back(&mut shop, sequence, 21);
    assert_eq!(too_many, Err(Rejection::MoreThanRedeemed { left: Points(20), requested: Points(21) }));
    goes_back(&mut shop, sequence, 20).expect("the rest goes back");
    assert_eq!(standing(&shop), (41, 0));
    assert!(shop.member.header.balance.is_conserved());
}

#[test]
fn points_that_were_owed_pay_other_debt_before_they_come_back() {
    let mut shop = Shop::open(rule_book_with(OFFLINE));
    let sale = offline(&shop, "o-1", 30);
    let (first, redeemed) = buys(&mut shop, sale);
    assert_eq!((redeemed.owed, redeemed.portions.len()), (Points(30), 0));
    earns(&mut shop, "o-2", "29");
    assert_eq!(standing(&shop), (0, 0), "all is paid");
    let sale = offline(&shop, "o-3", 10);
    buys(&mut shop, sale);
    assert_eq!(standing(&shop), (0, 9));
    let back = goes_back(&mut shop, first, 30).expect("it goes back");
    assert_eq!((back.debt_paid, back.lot.map(|lot| lot.points)), (Points(9), Some(Points(21))));
    assert_eq!(standing(&shop), (21, 0));
}

#[test]
fn points_that_have_lapsed_meanwhile_are_not_there() {
    let mut shop = Shop::open(rule_book_with(OFFLINE));
    earns(&mut shop, "o-1", "40");
    let sale = offline(&shop, "o-2", 30);
    // The till comes back a month later, and the points were there when it sold.
    let late = Purchase { occurred_time: Some(shop.now + 1.hours()), ..sale };
    shop.now += (24 * 31).hours();
    let old = shop.does(&Command::RecordPurchase(Arc::new(late.clone()))).expect_err("it is too old");
    assert!(matches!(old, Rejection::PurchaseTooOld { .. }), "{old:?}");
    let mut shop = Shop::open(rule_book_with(&format!("{OFFLINE}purchase_time: {{ max_age_days: 60 }}\n")));
    earns(&mut shop, "o-1", "40");
    shop.now += (24 * 31).hours();
    let (_, redeemed) = buys(&mut shop, late);
    assert_eq!(redeemed.owed, Points(30), "they lapsed before the ledger knew");
}
