//! Points spent as money, and given back: at the desk, and as tender of a purchase.

use std::sync::Arc;

use loyaltyd::{
    contract::v1::{self, points_payment::Payment as Pays},
    domain::{
        Adjustment, Command, Entry, EntryKind, OrderId, OrderKey, Payment, Points, Purchase, RedeemRequest, Redeemed, Rejection,
        ReversalRequest, Reversed, StoreId, Tender, TenderKind, usable,
    },
    ledger::ManualClock,
};
use rust_decimal::Decimal;
use tonic::Code;

use crate::{
    accrual::{Shop, at, dec, line, purchase, rule_book_with},
    support::{self, PROGRAM, Refused, TestServer, actor, adjustment, by_id, noon, refused, rule_book, sale, vnd},
};

/// A point is worth 100 VND. Five at least, in fives, for half of an order.
pub fn terms() -> v1::RedemptionPolicy {
    v1::RedemptionPolicy {
        points: "10".into(),
        amount: "1000".into(),
        minimum_points: "5".into(),
        step_points: "5".into(),
        maximum_share_percent: "50".into(),
        ..Default::default()
    }
}

pub fn spending() -> v1::Program {
    v1::Program { redemption: Some(terms()), ..rule_book() }
}

pub async fn start() -> TestServer {
    start_with(spending()).await
}

pub async fn start_with(program: v1::Program) -> TestServer {
    let clock = Arc::new(ManualClock::new(noon()));
    TestServer::start_in(tempfile::tempdir().expect("a temporary folder"), clock, vec![program]).await
}

/// A member with so many points in one lot.
pub async fn member_with(server: &TestServer, card: &str, points: i64) -> String {
    let member = server.enroll(card).await;
    server.points().adjust_points(adjustment(&member, &format!("gift-{card}"), points)).await.expect("points are added");
    member
}

pub fn redeem(member: &str, request: &str, points: i64, total: &str) -> v1::RedeemPointsRequest {
    v1::RedeemPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points,
        order_total: if total.is_empty() { None } else { vnd(total) },
        ..Default::default()
    }
}

fn reversal(member: &str, request: &str, redemption_sequence: i64, points: Option<i64>) -> v1::ReverseRedemptionRequest {
    v1::ReverseRedemptionRequest {
        redemption_member_id: String::new(),
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        redemption_sequence,
        points,
        reason: "goods came back".into(),
        actor: actor(),
    }
}

/// A sale of which points, named by these payments, pay so much, and a card the rest.
pub fn paid_sale(member: &str, order: &str, total: i64, by_points: i64, payments: Vec<Pays>) -> v1::RecordPurchaseRequest {
    use v1::tender::Kind;
    let mut request = sale(member, order, &total.to_string());
    let purchase = request.purchase.as_mut().expect("a purchase");
    let tender = |kind: Kind, amount: i64| v1::Tender { kind: kind.into(), amount: vnd(&amount.to_string()) };
    purchase.tenders = vec![tender(Kind::Points, by_points), tender(Kind::Card, total - by_points)];
    purchase.points_payments = payments.into_iter().map(|payment| v1::PointsPayment { payment: Some(payment) }).collect();
    request
}

/// So many points can pay for an order of so much, and are worth so much.
pub fn offered(shop: &Shop, total: &str) -> Option<(Points, Decimal)> {
    let usable = usable(shop.programs.newest(), &shop.member.header, dec(total)).expect("small numbers");
    usable.map(|usable| (usable.points, usable.value))
}

pub async fn balance(server: &TestServer, member: &str) -> v1::Balance {
    server.member(member).await.balance.expect("a balance")
}

pub async fn explained(server: &TestServer, member: &str, sequence: i64) -> String {
    let request = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(member), sequence };
    server.points().explain_entry(request).await.expect("the entry is there").into_inner().explanation.join("\n")
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[tokio::test]
async fn points_are_spent_as_money_and_given_back() {
    let server = start().await;
    let member = member_with(&server, "c-1", 100).await;
    let mut desk = server.points();
    let request = v1::RedeemPointsRequest {
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        reference: "till 4".into(),
        ..redeem(&member, "r-1", 40, "100000")
    };
    let spent = desk.redeem_points(request.clone()).await.unwrap().into_inner();
    assert_eq!((spent.points, spent.value.clone()), (40, vnd("4000")));
    let after = spent.balance.unwrap();
    assert_eq!((after.available, after.redeemed), (60, 40));
    let entry = spent.entry.clone().unwrap();
    let Some(v1::entry::Kind::PointsRedeemed(kind)) = entry.kind.clone() else { panic!("{entry:?}") };
    assert_eq!((entry.points, kind.order_id.as_str(), kind.reference.as_str()), (-40, "o-1", "till 4"));
    assert_eq!(kind.allocations, [v1::Allocation { lot_id: "1".into(), points: 40, entry_sequence: 2 }]);
    // The same request again gives the same answer.
    assert_eq!(desk.redeem_points(request).await.unwrap().into_inner(), spent);
    let text = explained(&server, &member, entry.sequence).await;
    says(
        &text,
        &["40 points were redeemed, worth 4000 VND, for order o-1 of store hcm-1. Reference: till 4.", "40 points came from lot 1."],
    );

    let first = desk.reverse_redemption(reversal(&member, "b-1", entry.sequence, Some(15))).await.unwrap().into_inner();
    assert_eq!((first.value, first.balance.unwrap().available), (vnd("1500"), 75));
    let rest = desk.reverse_redemption(reversal(&member, "b-2", entry.sequence, None)).await.unwrap().into_inner();
    let balance = rest.balance.unwrap();
    assert_eq!((rest.value, balance.available, balance.redeemed, balance.reinstated), (vnd("2500"), 100, 40, 40));
    let text = explained(&server, &member, rest.entry.unwrap().sequence).await;
    let expected = [
        "25 points of the redemption in entry 3 went back, worth 2500 VND, for order o-1 of store hcm-1. Reason: goods came back.",
        "25 points went back to lot 1, valid until",
        "40 points have gone back in all.",
        "Done by staff-7.",
    ];
    says(&text, &expected);
    server.stop().await;
}

#[tokio::test]
async fn every_refusal_says_which_rule_it_is() {
    let server = start().await;
    let member = member_with(&server, "c-1", 100).await;
    let mut desk = server.points();
    let spent = desk.redeem_points(redeem(&member, "r-0", 10, "100000")).await.unwrap().into_inner().entry.unwrap().sequence;
    // Points, total, up to; code, reason, numbers.
    let precondition = Code::FailedPrecondition;
    let table = [
        (0, "100000", false, Code::InvalidArgument, "INVALID_FIELD", vec![]),
        (-5, "100000", true, Code::InvalidArgument, "INVALID_FIELD", vec![]),
        (20, "", false, Code::InvalidArgument, "ORDER_TOTAL_REQUIRED", vec![]),
        (4, "100000", false, precondition, "BELOW_MINIMUM", vec![("minimum", "5"), ("requested", "4")]),
        (0, "900", true, precondition, "BELOW_MINIMUM", vec![("minimum", "5"), ("requested", "0")]),
        (12, "100000", false, precondition, "NOT_IN_STEPS", vec![("step", "5"), ("requested", "12")]),
        (20, "3999", false, precondition, "OVER_ORDER", vec![("limit", "1999"), ("requested", "2000")]),
        (95, "100000", false, precondition, "INSUFFICIENT_POINTS", vec![("available", "90"), ("requested", "95")]),
    ];
    for (index, (points, total, up_to, code, reason, numbers)) in table.into_iter().enumerate() {
        let request = v1::RedeemPointsRequest { up_to, ..redeem(&member, &format!("r-{}", index + 1), points, total) };
        let status = desk.redeem_points(request).await.unwrap_err();
        assert_refused(&status, code, reason, &numbers);
    }
    let back = desk.reverse_redemption(reversal(&member, "b-1", spent, Some(11))).await.unwrap_err();
    assert_refused(&back, precondition, "MORE_THAN_REDEEMED", &[("left", "10"), ("requested", "11")]);
    for other in [1, 2, 99] {
        let status = desk.reverse_redemption(reversal(&member, "b-1", other, None)).await.unwrap_err();
        assert_refused(&status, Code::NotFound, "REDEMPTION_NOT_FOUND", &[("redemption_sequence", &other.to_string())]);
    }
    let one_sided = v1::RedeemPointsRequest { store_id: "hcm-1".into(), ..redeem(&member, "r-9", 5, "100000") };
    assert_eq!(refused(&desk.redeem_points(one_sided).await.unwrap_err()).fields, ["order_id"]);
    server.members().suspend_member(suspension(&member)).await.unwrap();
    assert_refused(&desk.redeem_points(redeem(&member, "r-9", 5, "100000")).await.unwrap_err(), precondition, "MEMBER_SUSPENDED", &[]);
    // What was spent wrongly goes back all the same.
    desk.reverse_redemption(reversal(&member, "b-1", spent, None)).await.unwrap();
    assert_refused(
        &desk.reverse_redemption(reversal(&member, "b-2", spent, None)).await.unwrap_err(),
        precondition,
        "MORE_THAN_REDEEMED",
        &[("left", "0"), ("requested", "0")],
    );
    assert_eq!(balance(&server, &member).await.available, 100);
    server.stop().await;

    let server = TestServer::start().await;
    let member = member_with(&server, "c-1", 100).await;
    let status = server.points().redeem_points(redeem(&member, "r-1", 5, "100000")).await.unwrap_err();
    assert_refused(&status, precondition, "REDEMPTION_NOT_OFFERED", &[]);
    server.stop().await;
}

fn suspension(member: &str) -> v1::SuspendMemberRequest {
    v1::SuspendMemberRequest {
        request_id: "suspend".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        reason: "fraud".into(),
        actor: actor(),
    }
}

#[track_caller]
pub fn assert_refused(status: &tonic::Status, code: Code, reason: &str, numbers: &[(&str, &str)]) {
    let Refused { code: found, reason: why, fields } = refused(status);
    assert_eq!((found, why.as_str()), (code, reason), "{status:?}");
    assert_eq!(code == Code::InvalidArgument, !fields.is_empty(), "{status:?}");
    let details = tonic_types::StatusExt::get_error_details(status);
    for (name, value) in numbers {
        assert_eq!(details.error_info().unwrap().metadata[*name], *value, "{status:?}");
    }
}

#[tokio::test]
async fn as_many_as_possible_is_bounded_by_balance_order_and_steps() {
    let server = start().await;
    let member = member_with(&server, "c-1", 73).await;
    let mut desk = server.points();
    // Half of 5,400 is worth 27 points: 25 in whole steps. Then what is asked for, 17, and at last what is there.
    for (request, points, total, used) in [("r-1", 0, "5400", 25), ("r-2", 17, "90000", 15), ("r-3", 0, "90000", 30)] {
        let redeem = v1::RedeemPointsRequest { up_to: true, ..redeem(&member, request, points, total) };
        let spent = desk.redeem_points(redeem).await.unwrap().into_inner();
        assert_eq!((spent.points, spent.value), (used, vnd(&(used * 100).to_string())));
    }
    assert_eq!(balance(&server, &member).await.available, 3);
    server.stop().await;
}

/// In US dollars, a cent a point and no bounds, unless it says otherwise; a point a dollar, which lapses after 10 days.
fn shop(redemption: &str) -> Shop {
    let redemption = if redemption.is_empty() { "points: 100, amount: 1" } else { redemption };
    Shop::open(rule_book_with(&format!(
        "expiry: {{ after: {{ days: 10 }} }}\naccrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]\nredemption: {{ \
         {redemption} }}\n"
    )))
}

fn gift(shop: &mut Shop, points: i64) {
    let gift = Adjustment { points: Points(points), qualifying: false, reason: "gift".into(), reference: String::new(), expiry: None };
    shop.does(&Command::AdjustPoints(gift)).expect("points are added");
}

fn spends(shop: &mut Shop, points: i64) -> (u64, Redeemed) {
    let request = RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() };
    let entries = shop.does(&Command::RedeemPoints(request)).expect("points are spent");
    let found = entries.into_iter().find_map(|entry| match entry.kind {
        EntryKind::PointsRedeemed(redeemed) => Some((entry.sequence, redeemed)),
        _ => None,
    });
    found.expect("an entry that redeems")
}

fn goes_back(shop: &mut Shop, redemption: u64, points: Option<i64>) -> (Reversed, Vec<Entry>) {
    let request = ReversalRequest { ledger: None, redemption, points: points.map(Points), reason: "back".into() };
    let mut entries = shop.does(&Command::ReverseRedemption(request)).expect("points go back");
    let EntryKind::RedemptionReversed(reversed) = entries.remove(0).kind else { panic!("{entries:?}") };
    (reversed, entries)
}

/// Lot and points.
fn lots(shop: &Shop) -> Vec<(u64, i64)> {
    shop.member.lots.values().map(|lot| (lot.id.0, lot.remaining.0)).collect()
}

fn day(shop: &mut Shop, day: &str) {
    shop.now = at(&format!("2026-03-{day}T15:00:00Z"));
}

#[test]
fn the_soonest_to_lapse_go_first_and_come_back_last_first() {
    let mut shop = shop("");
    gift(&mut shop, 10);
    day(&mut shop, "11");
    gift(&mut shop, 20);
    day(&mut shop, "12");
    gift(&mut shop, 30);
    let before = lots(&shop);
    let (sequence, redeemed) = spends(&mut shop, 45);
    let portions: Vec<_> = redeemed.portions.iter().map(|portion| (portion.lot.id().0, portion.points.0)).collect();
    assert_eq!((portions, redeemed.value), (vec![(1, 10), (2, 20), (3, 15)], dec("0.45")));
    assert_eq!(lots(&shop), [(3, 15)]);
    let (first, _) = goes_back(&mut shop, sequence, Some(18));
    assert_eq!((first.value, lots(&shop)), (dec("0.18"), vec![(2, 3), (3, 30)]));
    let (second, _) = goes_back(&mut shop, sequence, Some(17));
    assert_eq!((second.so_far.0, lots(&shop)), (35, vec![(2, 20), (3, 30)]));
    goes_back(&mut shop, sequence, None);
    assert_eq!(lots(&shop), before);
    // With their old expiry: the first lot lapses on its day.
    day(&mut shop, "21");
    gift(&mut shop, 1);
    assert_eq!((lots(&shop), shop.member.header.balance.expired.0), (vec![(2, 20), (3, 30), (4, 1)], 10));
}

#[test]
fn parts_of_a_value_that_does_not_divide_sum_to_it() {
    let mut shop = shop("points: 3, amount: 0.10");
    gift(&mut shop, 10);
    let (sequence, redeemed) = spends(&mut shop, 10);
    assert_eq!(redeemed.value, dec("0.33"));
    let parts: Vec<String> = [3, 3, 3, 1].map(|points| goes_back(&mut shop, sequence, Some(points)).0.value.to_string()).to_vec();
    assert_eq!(parts, ["0.09", "0.10", "0.10", "0.04"]);
}

#[test]
fn what_has_lapsed_meanwhile_lapses_or_gets_days_of_grace() {
    for (terms, available, expired) in [("", 5, 10), ("points: 100, amount: 1, grace_days: 3", 15, 0)] {
        let mut shop = shop(terms);
        gift(&mut shop, 10);
        day(&mut shop, "15");
        gift(&mut shop, 5);
        let (sequence, _) = spends(&mut shop, 15);
        day(&mut shop, "22");
        let (reversed, after) = goes_back(&mut shop, sequence, None);
        let balance = &shop.member.header.balance;
        assert_eq!((balance.available.0, balance.expired.0, balance.reinstated.0), (available, expired, 15));
        assert_eq!(after.len(), usize::from(expired > 0));
        let into: Vec<_> = reversed.put_back.iter().map(|back| (back.portion.lot.id().0, back.into.id().0)).collect();
        if expired > 0 {
            assert_eq!((into, lots(&shop)), (vec![(2, 2), (1, 1)], vec![(2, 5)]));
            continue;
        }
        // Three whole days more, to the end of the 25th in New York.
        assert_eq!((into, lots(&shop)), (vec![(2, 2), (1, 3)], vec![(2, 5), (3, 10)]));
        assert_eq!(shop.member.lots.values().last().unwrap().expiry.time(), Some(at("2026-03-26T04:00:00Z")));
        // They can be spent and given back again, also after the grace.
        let (again, _) = spends(&mut shop, 15);
        goes_back(&mut shop, again, Some(12));
        shop.now = at("2026-03-26T04:00:00Z");
        gift(&mut shop, 1);
        assert_eq!((shop.member.header.balance.available.0, shop.member.header.balance.expired.0), (1, 12));
    }
}

#[test]
fn debt_blocks_spending_and_is_paid_by_what_goes_back() {
    let mut shop = shop("");
    gift(&mut shop, 10);
    let (sequence, _) = spends(&mut shop, 8);
    // As a return leaves it that found nothing to take.
    shop.member.header.balance.debt = Points(5);
    shop.member.header.balance.clawed_back = Points(5);
    let request = RedeemRequest { points: Some(Points(1)), ..RedeemRequest::default() };
    assert_eq!(shop.decide(&Command::RedeemPoints(request)).map(drop), Err(Rejection::InDebt { debt: Points(5) }));
    assert_eq!(offered(&shop, "10"), Some((Points(0), dec("0.00"))));
    let (reversed, _) = goes_back(&mut shop, sequence, None);
    let balance = &shop.member.header.balance;
    assert_eq!((reversed.debt_paid.0, balance.debt.0, balance.available.0), (5, 0, 5));
    assert_eq!(lots(&shop), [(1, 5)]);
}

/// A point that is worth more than the smallest unit of money: what is left of the order's part is not worth another one.
#[test]
fn as_many_as_possible_never_comes_to_more_than_the_order() {
    for (terms, total, used, worth) in [
        ("points: 1, amount: 0.05", "0.12", 2, "0.10"),
        ("points: 1, amount: 0.05", "0.15", 3, "0.15"),
        ("points: 2, amount: 0.03", "0.04", 3, "0.04"),
        ("points: 3, amount: 0.02", "0.03", 5, "0.03"),
        ("points: 3, amount: 0.01", "0.02", 6, "0.02"),
        ("points: 1, amount: 0.05, maximum_share_percent: 33.3333", "1", 6, "0.30"),
    ] {
        let mut shop = shop(terms);
        gift(&mut shop, 50);
        let offered = offered(&shop, total).expect("points are redeemed");
        assert_eq!(offered, (Points(used), dec(worth)), "{terms} {total}");
        let request = RedeemRequest { up_to: true, order_total: Some(dec(total)), ..RedeemRequest::default() };
        let entries = shop.does(&Command::RedeemPoints(request)).expect("it is bounded, not refused");
        assert!(
            matches!(&entries[0].kind, EntryKind::PointsRedeemed(redeemed) if (redeemed.points, redeemed.value) == (Points(used), dec(worth)))
        );
    }
}

fn order(number: &str) -> Option<OrderKey> {
    Some(OrderKey { store: StoreId::new("s").expect("an id"), order: OrderId::new(number).expect("an id") })
}

/// A basket of so many dollars, some of it paid with points.
fn basket(number: &str, dollars: &str, by_points: &str, payments: Vec<Payment>) -> Command {
    let sale = purchase(vec![line(dollars)]);
    let tenders = vec![
        Tender { kind: TenderKind::Points, amount: dec(by_points) },
        Tender { kind: TenderKind::Card, amount: sale.total - dec(by_points) },
    ];
    Command::RecordPurchase(Arc::new(Purchase { order: order(number), tenders, payments, ..sale }))
}

/// Two payments, each within the part of the order that points may pay, are not together more than that.
#[test]
fn several_payments_together_keep_to_the_orders_part() {
    let mut shop = shop("points: 100, amount: 1, maximum_share_percent: 50");
    gift(&mut shop, 2_000);
    let two = |each: i64| vec![Payment::Redeem { points: Points(each) }, Payment::Redeem { points: Points(each) }];
    let refused = shop.decide(&basket("o-1", "10", "10", two(500))).map(drop);
    assert_eq!(refused, Err(Rejection::OverOrder { limit: dec("5.00"), requested: dec("10.00") }));
    shop.does(&basket("o-1", "10", "5", two(250))).expect("half of it is paid with points");
    assert_eq!(shop.member.header.balance.redeemed.0, 500);
}

/// What time brings may be entered with a later command only.
#[test]
fn the_number_of_an_entry_that_is_no_redemption_pays_nothing_whether_it_is_entered_yet_or_not() {
    let mut shop = shop("");
    gift(&mut shop, 2_000);
    let lapse = shop.member.header.last_sequence + 1;
    shop.now = at("2026-04-01T12:00:00Z");
    let pays = basket("o-1", "10", "5", vec![Payment::Redeemed { redemption: lapse }]);
    let not_found = Err(Rejection::RedemptionNotFound { redemption: lapse });
    assert_eq!(shop.decide(&pays).map(drop), not_found);
    gift(&mut shop, 100);
    let is_lapse = |entry: &Entry| entry.sequence == lapse && matches!(entry.kind, EntryKind::PointsExpired(_));
    assert!(shop.entries.iter().any(is_lapse));
    assert_eq!(shop.decide(&pays).map(drop), not_found);
}

#[test]
fn a_redemption_pays_once() {
    let mut shop = shop("");
    gift(&mut shop, 2_000);
    let request = RedeemRequest { points: Some(Points(500)), order: order("o-1"), ..RedeemRequest::default() };
    let made = shop.does(&Command::RedeemPoints(request)).expect("points are spent")[0].reference();
    let redemption = made.sequence;
    let paid = |times| vec![Payment::Redeemed { redemption }; times];
    let unusable = Err(Rejection::RedemptionUnusable { redemption });
    assert_eq!(shop.decide(&basket("o-1", "10", "10", paid(2))).map(drop), unusable);
    assert_eq!(shop.decide(&basket("o-2", "10", "5", paid(1))).map(drop), unusable);
    let accrued = shop.does(&basket("o-1", "10", "5", paid(1))).expect("it pays its order");
    assert!(matches!(&accrued[0].kind, EntryKind::PurchaseAccrued(accrued) if accrued.redemptions == [made]));
    // Five dollars of money earn.
    assert_eq!(accrued[0].points(), Points(5));
    goes_back(&mut shop, redemption, Some(1));
    assert_eq!(shop.decide(&basket("o-1", "10", "5", paid(1))).map(drop), unusable);
}

#[tokio::test]
async fn a_purchase_is_paid_with_points_and_a_card() {
    let server = start().await;
    let member = member_with(&server, "c-1", 300).await;
    let mut till = server.purchases();
    let quote = |request: &v1::RecordPurchaseRequest| v1::QuotePurchaseRequest {
        program_id: PROGRAM.into(),
        member: by_id(&member),
        purchase: request.purchase.clone(),
    };
    let offered = till.quote_purchase(quote(&sale(&member, "o-1", "50999"))).await.unwrap().into_inner().usable_points.unwrap();
    assert_eq!((offered.points, offered.value.clone()), (250, vnd("25000")));
    // A step more is too much; what was offered is accepted.
    let more = paid_sale(&member, "o-1", 50_999, 25_500, vec![Pays::RedeemPoints(255)]);
    for status in [till.quote_purchase(quote(&more)).await.unwrap_err(), till.record_purchase(more).await.unwrap_err()] {
        assert_refused(&status, Code::FailedPrecondition, "OVER_ORDER", &[("limit", "25499"), ("requested", "25500")]);
    }
    let payments = vec![Pays::RedeemPoints(100), Pays::RedeemPoints(150)];
    let sale = paid_sale(&member, "o-1", 50_999, 25_000, payments.clone());
    let quoted = till.quote_purchase(quote(&sale)).await.unwrap().into_inner();
    assert_eq!(quoted.usable_points.as_ref(), Some(&offered), "before its own payments");
    let recorded = till.record_purchase(sale.clone()).await.unwrap().into_inner();
    assert_eq!(quoted.balance, recorded.balance);
    let made: Vec<_> = recorded.redemptions.iter().map(|made| (made.entry_sequence, made.points, made.value.clone())).collect();
    assert_eq!(made, [(3, 100, vnd("10000")), (4, 150, vnd("15000"))]);
    // 25,999 VND of money earn 2 points.
    assert_eq!((recorded.accrual.as_ref().unwrap().points, recorded.balance.as_ref().unwrap().available), (2, 52));
    assert_eq!(till.record_purchase(sale).await.unwrap().into_inner(), recorded);
    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    let got = till.get_purchase(get).await.unwrap().into_inner();
    assert_eq!(got.redemption_sequences, [3, 4]);
    let shown: Vec<_> = got.purchase.unwrap().points_payments.into_iter().filter_map(|payment| payment.payment).collect();
    assert_eq!(shown, payments);
    says(&explained(&server, &member, recorded.entry_sequence).await, &["redeemed in the entries 3, 4", "25000 VND paid with points"]);
    server.stop().await;
}

#[tokio::test]
async fn a_purchase_that_is_not_paid_rightly_changes_nothing() {
    let server = start().await;
    let member = member_with(&server, "c-1", 300).await;
    let before = server.member(&member).await;
    let mut till = server.purchases();
    let precondition = Code::FailedPrecondition;
    let capture = |hold_id: &str| Pays::CaptureHold(v1::points_payment::HoldCapture { hold_id: hold_id.into(), points: None });
    let table = [
        (vec![Pays::RedeemPoints(100)], precondition, "PAYMENT_MISMATCH", vec![("tendered", "20000"), ("paid", "10000")]),
        (vec![Pays::RedeemPoints(200), Pays::RedeemPoints(100)], precondition, "PAYMENT_MISMATCH", vec![("paid", "30000")]),
        (vec![Pays::RedeemPoints(305)], precondition, "INSUFFICIENT_POINTS", vec![("available", "300")]),
        (vec![Pays::RedeemPoints(200), Pays::RedeemPoints(200)], precondition, "INSUFFICIENT_POINTS", vec![("available", "100")]),
        (vec![Pays::RedemptionSequence(7)], Code::NotFound, "REDEMPTION_NOT_FOUND", vec![("redemption_sequence", "7")]),
        // Points were given with it.
        (vec![Pays::RedemptionSequence(2)], Code::NotFound, "REDEMPTION_NOT_FOUND", vec![("redemption_sequence", "2")]),
        (vec![capture("2")], Code::NotFound, "HOLD_NOT_FOUND", vec![("hold_id", "2")]),
    ];
    for (payments, code, reason, numbers) in table {
        let status = till.record_purchase(paid_sale(&member, "o-1", 100_000, 20_000, payments)).await.unwrap_err();
        assert_refused(&status, code, reason, &numbers);
    }
    let bad = [
        (vec![Pays::RedeemPoints(0)], "purchase.points_payments[0].redeem_points"),
        (vec![Pays::RedeemPoints(5), Pays::RedemptionSequence(-1)], "purchase.points_payments[1].redemption_sequence"),
        (vec![capture("")], "purchase.points_payments[0].capture_hold.hold_id"),
        (vec![capture("+5")], "purchase.points_payments[0].capture_hold.hold_id"),
        (vec![Pays::RedeemPoints(5); 11], "purchase.points_payments"),
    ];
    for (payments, field) in bad {
        let status = till.record_purchase(paid_sale(&member, "o-1", 100_000, 20_000, payments)).await.unwrap_err();
        assert_eq!(refused(&status).fields, [field]);
    }
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}

#[tokio::test]
async fn points_that_were_redeemed_for_an_order_pay_its_purchase() {
    let server = start().await;
    let member = member_with(&server, "c-1", 300).await;
    let for_order = |request: &str, order: &str| v1::RedeemPointsRequest {
        store_id: "hcm-1".into(),
        order_id: order.into(),
        ..redeem(&member, request, 100, "100000")
    };
    let mut desk = server.points();
    let first = desk.redeem_points(for_order("r-1", "o-1")).await.unwrap().into_inner().entry.unwrap().sequence;
    let other = desk.redeem_points(for_order("r-2", "o-2")).await.unwrap().into_inner().entry.unwrap().sequence;
    let mut till = server.purchases();
    let wrong = paid_sale(&member, "o-1", 100_000, 10_000, vec![Pays::RedemptionSequence(other)]);
    assert_refused(&till.record_purchase(wrong).await.unwrap_err(), Code::FailedPrecondition, "REDEMPTION_UNUSABLE", &[]);
    let payments = vec![Pays::RedemptionSequence(first), Pays::RedeemPoints(50)];
    let recorded = till.record_purchase(paid_sale(&member, "o-1", 100_000, 15_000, payments)).await.unwrap().into_inner();
    assert_eq!(recorded.redemptions.len(), 1, "the other was made before");
    let balance = recorded.balance.unwrap();
    assert_eq!((recorded.accrual.unwrap().points, balance.redeemed, balance.available), (8, 250, 58));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_redemptions_at_once_spend_what_there_is_and_no_more() {
    let server = start().await;
    let member = member_with(&server, "c-1", 3_333).await;
    let tasks: Vec<_> = (0..1_000)
        .map(|n| {
            let (mut desk, request) = (server.points(), redeem(&member, &format!("r-{n}"), 5, "100000"));
            tokio::spawn(async move { desk.redeem_points(request).await })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert!(answer.balance.unwrap().available >= 0);
                spent += answer.points;
            }
            Err(status) => assert_refused(&status, Code::FailedPrecondition, "INSUFFICIENT_POINTS", &[("requested", "5")]),
        }
    }
    let after = balance(&server, &member).await;
    assert_eq!((spent, after.redeemed, after.available), (3_330, 3_330, 3));
    server.stop().await;
}

#[tokio::test]
async fn a_rule_book_says_what_is_wrong_with_its_terms() {
    let wrong = v1::RedemptionPolicy {
        points: "0.5".into(),
        amount: "0".into(),
        minimum_points: "0".into(),
        step_points: "-1".into(),
        maximum_share_percent: "100.01".into(),
        grace_days: 3_651,
        default_hold_seconds: 2_592_001,
        maximum_hold_seconds: -1,
    };
    let too_long = v1::RedemptionPolicy { default_hold_seconds: 61, maximum_hold_seconds: 60, ..terms() };
    let table = [
        (
            wrong,
            vec![
                "points",
                "amount",
                "minimum_points",
                "step_points",
                "maximum_share_percent",
                "grace_days",
                "default_hold_seconds",
                "maximum_hold_seconds",
            ],
        ),
        (v1::RedemptionPolicy::default(), vec!["points", "amount"]),
        (too_long, vec!["default_hold_seconds"]),
        (v1::RedemptionPolicy { maximum_hold_seconds: 60, ..terms() }, vec!["default_hold_seconds"]),
        (v1::RedemptionPolicy { maximum_share_percent: "0".into(), ..terms() }, vec!["maximum_share_percent"]),
    ];
    let server = TestServer::start().await;
    for (policy, fields) in table {
        let program = Some(v1::Program { redemption: Some(policy), ..support::rule_book() });
        let request = v1::PublishProgramRequest { request_id: "p-1".into(), program, ..Default::default() };
        let status = server.programs().publish_program(request).await.unwrap_err();
        let fields: Vec<String> = fields.into_iter().map(|field| format!("program.redemption.{field}")).collect();
        assert_eq!(refused(&status), Refused { code: Code::InvalidArgument, reason: "PROGRAM_INVALID".into(), fields });
    }
    server.stop().await;
}

/// What the README tells of, in its numbers.
#[tokio::test]
async fn the_vietnamese_example_redeems_as_the_readme_says() {
    let example = loyaltyd::contract::rule_book::read(include_str!("../../examples/programs/vietnam.yaml")).expect("the example reads");
    let server = start_with(example).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "5250000")).await.unwrap();
    let spent = server.points().redeem_points(redeem(&member, "r-1", 100, "180000")).await.unwrap().into_inner();
    assert_eq!((spent.value, spent.balance.unwrap().available), (vnd("50000"), 425));
    let hold = v1::HoldPointsRequest {
        request_id: "h-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        up_to: true,
        order_total: vnd("300000"),
        store_id: "hcm-1".into(),
        order_id: "o-2".into(),
        ..Default::default()
    };
    let held = server.points().hold_points(hold).await.unwrap().into_inner();
    assert_eq!((held.hold.unwrap().hold_id.as_str(), held.balance.unwrap().held), ("5", 300));
    let capture = v1::points_payment::HoldCapture { hold_id: "5".into(), points: Some(200) };
    let recorded = server.purchases().record_purchase(paid_sale(&member, "o-2", 300_000, 100_000, vec![Pays::CaptureHold(capture)])).await;
    let recorded = recorded.unwrap().into_inner();
    assert_eq!((recorded.accrual.unwrap().points, recorded.balance.unwrap().available), (20, 245));
    let coffee = v1::RedeemRewardRequest {
        request_id: "reward-0001".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        reward_id: "coffee".into(),
        quantity: 0,
        actor: None,
    };
    let coffee = server.rewards().redeem_reward(coffee).await.unwrap().into_inner();
    // Silver pays what is not said otherwise.
    assert_eq!((coffee.vouchers[0].voucher_kind_id.as_str(), coffee.balance.unwrap().available), ("coffee", 145));
    server.stop().await;
}
