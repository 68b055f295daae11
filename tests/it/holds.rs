//! Points set aside for a checkout: captured, given back, or over.

use std::sync::Arc;

use jiff::ToSpan;
use loyaltyd::{
    contract::v1::{self, points_payment::Payment as Pays},
    domain::{
        Adjustment, CaptureRequest, Command, EntryKind, HoldId, HoldRequest, OrderId, OrderKey, Payment, Points, RedeemRequest, Rejection,
        ReversalRequest, StoreId, Tender, TenderKind,
    },
    ledger::{Clock as _, MemberTarget},
    store::embedded::check,
};
use proptest::{collection::vec, prelude::*};
use rust_decimal::Decimal;
use tonic::Code;

use crate::{
    accrual::{self, at, rule_book_with},
    ledger,
    redemption::{assert_refused, balance, explained, member_with, paid_sale, spending, start, start_with, terms},
    support::{PROGRAM, TestServer, adjustment, by_id, refused, vnd},
};

fn hold(member: &str, request: &str, points: i64, total: &str) -> v1::HoldPointsRequest {
    v1::HoldPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points,
        order_total: vnd(total),
        ..Default::default()
    }
}

fn capture(member: &str, request: &str, hold_id: &str, points: Option<i64>) -> v1::CaptureHoldRequest {
    v1::CaptureHoldRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        hold_id: hold_id.into(),
        points,
        ..Default::default()
    }
}

fn release(member: &str, request: &str, hold_id: &str) -> v1::ReleaseHoldRequest {
    v1::ReleaseHoldRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        hold_id: hold_id.into(),
        reason: String::new(),
        actor: None,
    }
}

async fn held(server: &TestServer, request: v1::HoldPointsRequest) -> v1::Hold {
    server.points().hold_points(request).await.expect("points are held").into_inner().hold.expect("a hold")
}

async fn open_holds(server: &TestServer, member: &str) -> Vec<v1::Hold> {
    let request = v1::ListHoldsRequest { program_id: PROGRAM.into(), member: by_id(member) };
    server.points().list_holds(request).await.expect("holds are listed").into_inner().holds
}

async fn lots(server: &TestServer, member: &str) -> Vec<(String, i64)> {
    let request = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 2, page_token: String::new() };
    let (mut lots, mut request) = (Vec::new(), request);
    loop {
        let page = server.points().list_lots(request.clone()).await.expect("lots are listed").into_inner();
        lots.extend(page.lots.into_iter().map(|lot| (lot.lot_id, lot.remaining_points)));
        if page.next_page_token.is_empty() {
            return lots;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn a_part_of_a_hold_is_captured_and_the_rest_goes_back() {
    let server = start().await;
    let member = member_with(&server, "c-1", 100).await;
    let mut desk = server.points();
    let request = v1::HoldPointsRequest {
        store_id: "web".into(),
        order_id: "o-1".into(),
        reference: "cart 7".into(),
        ..hold(&member, "h-1", 60, "12000")
    };
    let answer = desk.hold_points(request.clone()).await.unwrap().into_inner();
    let held = answer.hold.clone().unwrap();
    assert_eq!((held.hold_id.as_str(), held.points, held.value.clone()), ("3", 60, vnd("6000")));
    assert_eq!(held.expire_time.unwrap().seconds - held.hold_time.unwrap().seconds, 900);
    let balance = answer.balance.unwrap();
    assert_eq!((balance.available, balance.held), (40, 60));
    assert_eq!(desk.hold_points(request).await.unwrap().into_inner(), answer);
    assert_eq!(open_holds(&server, &member).await, std::slice::from_ref(&held));
    assert_eq!(lots(&server, &member).await, [("1".into(), 40)]);
    let text = explained(&server, &member, 3).await;
    for part in
        ["60 points were set aside in hold 3, worth 6000 VND, for order o-1 of store web, until 2026-03-10 12:15:00", "Reference: cart 7."]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }

    let captured = desk.capture_hold(capture(&member, "k-1", "3", Some(25))).await.unwrap().into_inner();
    assert_eq!((captured.points, captured.value.clone()), (25, vnd("2500")));
    let balance = captured.balance.unwrap();
    assert_eq!((balance.available, balance.held, balance.redeemed), (75, 0, 25));
    let entry = captured.entry.clone().unwrap();
    let Some(v1::entry::Kind::PointsRedeemed(kind)) = &entry.kind else { panic!("{entry:?}") };
    // 25 are spent, but they were not available: 35 have become so again.
    assert_eq!((entry.points, kind.hold_id.as_str(), kind.order_id.as_str(), kind.reference.as_str()), (35, "3", "o-1", "cart 7"));
    assert_eq!(kind.released, [v1::Allocation { lot_id: "1".into(), points: 35, entry_sequence: 2 }]);
    assert!(open_holds(&server, &member).await.is_empty());
    assert_eq!(lots(&server, &member).await, [("1".into(), 75)]);
    let text = explained(&server, &member, entry.sequence).await;
    for part in ["captured from hold 3", "25 points came from lot 1.", "35 points went back to lot 1, valid until the end of 2027-03-10."] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(desk.capture_hold(capture(&member, "k-1", "3", Some(25))).await.unwrap().into_inner(), captured);
    // What was captured is a redemption, and can go back.
    let back = v1::ReverseRedemptionRequest {
        request_id: "b-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        redemption_sequence: entry.sequence,
        reason: "returned".into(),
        ..Default::default()
    };
    assert_eq!(desk.reverse_redemption(back).await.unwrap().into_inner().balance.unwrap().available, 100);
    server.stop().await;
}

#[tokio::test]
async fn a_hold_ends_once() {
    let server = start().await;
    let member = member_with(&server, "c-1", 100).await;
    let mut desk = server.points();
    let precondition = Code::FailedPrecondition;
    let first = held(&server, hold(&member, "h-1", 20, "9000")).await.hold_id;
    let released = desk.release_hold(v1::ReleaseHoldRequest { reason: "cart emptied".into(), ..release(&member, "l-1", &first) });
    let released = released.await.unwrap().into_inner();
    let entry = released.entry.clone().unwrap();
    assert_eq!((entry.points, released.balance.as_ref().unwrap().available), (20, 100));
    assert!(explained(&server, &member, entry.sequence).await.contains("Hold 3 was released (reason: cart emptied)"));
    // Again, by another request: the same answer, and nothing new.
    for request in ["l-2", "l-2", "l-3"] {
        assert_eq!(desk.release_hold(release(&member, request, &first)).await.unwrap().into_inner(), released);
    }
    let late = desk.capture_hold(capture(&member, "k-1", &first, None)).await.unwrap_err();
    assert_refused(&late, precondition, "HOLD_ENDED", &[("hold_id", "3"), ("end", "released"), ("entry_sequence", "4")]);

    let second = held(&server, hold(&member, "h-2", 20, "9000")).await.hold_id;
    let spent = desk.capture_hold(capture(&member, "k-2", &second, None)).await.unwrap().into_inner().entry.unwrap().sequence;
    let numbers = [("hold_id", second.as_str()), ("end", "captured"), ("entry_sequence", &spent.to_string())];
    assert_refused(&desk.release_hold(release(&member, "l-4", &second)).await.unwrap_err(), precondition, "HOLD_ENDED", &numbers);
    assert_refused(&desk.capture_hold(capture(&member, "k-3", &second, None)).await.unwrap_err(), precondition, "HOLD_ENDED", &numbers);
    let after = balance(&server, &member).await;
    assert_eq!((after.available, after.redeemed, after.held), (80, 20, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_hold_that_is_over_gives_its_points_back_by_itself() {
    let server = start().await;
    let member = member_with(&server, "c-1", 50).await;
    server.days_later(1);
    server.points().adjust_points(adjustment(&member, "a-2", 30)).await.unwrap();
    server.points().adjust_points(adjustment(&member, "a-3", 10)).await.unwrap();
    let mut request = hold(&member, "h-1", 60, "90000");
    request.duration = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let first = held(&server, request).await.hold_id;
    assert_eq!(lots(&server, &member).await, [("2".into(), 20), ("3".into(), 10)]);
    server.clock.set(server.clock.now() + 59.seconds());
    assert_eq!((balance(&server, &member).await.held, open_holds(&server, &member).await.len()), (60, 1));
    server.clock.set(server.clock.now() + 1.second());
    // Nothing is written yet, and every read knows.
    let after = balance(&server, &member).await;
    assert_eq!((after.held, after.available), (0, 90));
    assert!(open_holds(&server, &member).await.is_empty());
    assert_eq!(lots(&server, &member).await, [("1".into(), 50), ("2".into(), 30), ("3".into(), 10)]);
    let list = v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(&member),
        page_size: 1,
        page_token: String::new(),
        ..Default::default()
    };
    let due = server.points().list_entries(list).await.unwrap().into_inner().entries.remove(0);
    let Some(v1::entry::Kind::HoldReleased(kind)) = &due.kind else { panic!("{due:?}") };
    assert_eq!((kind.cause(), kind.points, due.points, &due.record_time), (v1::hold_released::Cause::Expired, 60, 60, &None));
    assert!(explained(&server, &member, due.sequence).await.contains("Hold 5 was over at 2026-03-11 12:01:00"));
    server.days_later(1);
    let late = server.points().capture_hold(capture(&member, "k-1", &first, None)).await.unwrap_err();
    assert_refused(&late, Code::FailedPrecondition, "HOLD_ENDED", &[("end", "released"), ("entry_sequence", "6")]);
    let released = server.points().release_hold(release(&member, "l-1", &first)).await.unwrap().into_inner().entry.unwrap();
    assert_eq!((released.sequence, released.occurred_time, released.request_id.as_str()), (6, due.occurred_time, ""));
    assert!(released.record_time.is_some());
    let again = server.points().release_hold(release(&member, "l-2", &first)).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(again, released);
    assert_eq!(balance(&server, &member).await, after);
    server.stop().await;
}

#[tokio::test]
async fn holds_are_bounded_in_length_and_number() {
    let server = start_with(v1::Program {
        redemption: Some(v1::RedemptionPolicy { step_points: String::new(), minimum_points: String::new(), ..terms() }),
        ..spending()
    })
    .await;
    let member = member_with(&server, "c-1", 200).await;
    let mut desk = server.points();
    let lasting = |seconds, nanos| {
        let duration = Some(prost_types::Duration { seconds, nanos });
        v1::HoldPointsRequest { duration, ..hold(&member, "h-x", 5, "9000") }
    };
    for (seconds, nanos) in [(0, 0), (-1, 0), (1, 1)] {
        assert_eq!(refused(&desk.hold_points(lasting(seconds, nanos)).await.unwrap_err()).fields, ["duration"]);
    }
    for seconds in [86_401, i64::MAX] {
        let status = desk.hold_points(lasting(seconds, 0)).await.unwrap_err();
        assert_refused(&status, Code::FailedPrecondition, "HOLD_TOO_LONG", &[("maximum_seconds", "86400")]);
    }
    let much = desk.hold_points(hold(&member, "h-x", 90, "900")).await.unwrap_err();
    assert_refused(&much, Code::FailedPrecondition, "OVER_ORDER", &[("limit", "450"), ("requested", "9000")]);
    for number in 0..100 {
        held(&server, hold(&member, &format!("h-{number}"), 1, "9000")).await;
    }
    let status = desk.hold_points(hold(&member, "h-x", 1, "9000")).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, "TOO_MANY_HOLDS", &[("limit", "100")]);
    assert_eq!(open_holds(&server, &member).await.len(), 100);
    let precondition = Code::FailedPrecondition;
    let status = desk.capture_hold(capture(&member, "k-1", "7", Some(2))).await.unwrap_err();
    assert_refused(&status, precondition, "MORE_THAN_HELD", &[("held", "1"), ("requested", "2")]);
    for hold in ["2", "999", "18446744073709551615"] {
        let captured = desk.capture_hold(capture(&member, "k-1", hold, None)).await.unwrap_err();
        assert_refused(&captured, Code::NotFound, "HOLD_NOT_FOUND", &[("hold_id", hold)]);
        let released = desk.release_hold(release(&member, "l-1", hold)).await.unwrap_err();
        assert_refused(&released, Code::NotFound, "HOLD_NOT_FOUND", &[("hold_id", hold)]);
    }
    for hold in ["", "x", "-1", "18446744073709551616"] {
        assert_eq!(refused(&desk.release_hold(release(&member, "l-1", hold)).await.unwrap_err()).fields, ["hold_id"]);
    }
    desk.release_hold(release(&member, "l-1", "7")).await.unwrap();
    held(&server, hold(&member, "h-x", 1, "9000")).await;
    server.stop().await;
}

/// What a storefront does, with the service gone between any two steps.
#[tokio::test]
async fn a_checkout_survives_restarts_between_its_steps() {
    let mut server = start().await;
    let member = member_with(&server, "c-1", 300).await;
    let request = v1::HoldPointsRequest { store_id: "web".into(), order_id: "o-1".into(), ..hold(&member, "h-1", 150, "50000") };
    let first = server.points().hold_points(request.clone()).await.unwrap().into_inner();
    server = again(server).await;
    assert_eq!(server.points().hold_points(request).await.unwrap().into_inner(), first);
    let held = first.hold.unwrap();
    assert_eq!(open_holds(&server, &member).await, std::slice::from_ref(&held));
    let payments = vec![
        Pays::CaptureHold(v1::points_payment::HoldCapture { hold_id: held.hold_id.clone(), points: Some(100) }),
        Pays::RedeemPoints(20),
    ];
    let mut sale = paid_sale(&member, "o-1", 40_000, 12_000, payments);
    sale.purchase.as_mut().unwrap().store_id = "web".into();
    let recorded = server.purchases().record_purchase(sale.clone()).await.unwrap().into_inner();
    let made: Vec<_> = recorded.redemptions.iter().map(|made| (made.points, made.value.clone())).collect();
    assert_eq!(made, [(100, vnd("10000")), (20, vnd("2000"))]);
    // 28,000 VND of money earn 2 points; 50 of the hold came back.
    let balance = recorded.balance.unwrap();
    assert_eq!((balance.available, balance.held, balance.redeemed), (182, 0, 120));
    server = again(server).await;
    assert_eq!(server.purchases().record_purchase(sale).await.unwrap().into_inner(), recorded);
    // A capture that the storefront sends by mistake afterwards is told what became of the hold.
    let status = server.points().capture_hold(capture(&member, "k-1", &held.hold_id, None)).await.unwrap_err();
    let by = recorded.redemptions[0].entry_sequence.to_string();
    assert_refused(&status, Code::FailedPrecondition, "HOLD_ENDED", &[("end", "captured"), ("entry_sequence", &by)]);
    let data = server.data();
    let (folder, _) = server.end().await;
    assert!(check(&data, &crate::support::options()).expect("the journal is whole").is_sound());
    drop(folder);
}

async fn again(server: TestServer) -> TestServer {
    let (folder, clock) = server.end().await;
    TestServer::start_in(folder, clock, vec![spending()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_race_for_a_hold_one_wins() {
    let server = start().await;
    let member = member_with(&server, "c-1", 5_000).await;
    let mut captured = 0;
    for race in 0..200 {
        let mut request = hold(&member, &format!("h-{race}"), 20, "9000");
        request.duration = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let hold = held(&server, request).await.hold_id;
        let capture = |n: i32| capture(&member, &format!("k{n}-{race}"), &hold, Some(5));
        let release = release(&member, &format!("l-{race}"), &hold);
        let (mut one, mut two, mut three) = (server.points(), server.points(), server.points());
        let (first, second) = (capture(1), capture(2));
        // Every third time the hold is over in the midst of it.
        if race % 3 == 0 {
            server.clock.set(server.clock.now() + 1.second());
        }
        let (first, second, released) = tokio::join!(
            tokio::spawn(async move { one.capture_hold(first).await }),
            tokio::spawn(async move { two.capture_hold(second).await }),
            tokio::spawn(async move { three.release_hold(release).await }),
        );
        let (first, second, released) = (first.unwrap(), second.unwrap(), released.unwrap());
        let won = [first.is_ok(), second.is_ok(), released.is_ok()].into_iter().filter(|won| *won).count();
        assert_eq!(won, 1, "race {race}: {first:?} {second:?} {released:?}");
        let end = if released.is_ok() { "released" } else { "captured" };
        for late in [first.as_ref().err(), second.as_ref().err(), released.as_ref().err()].into_iter().flatten() {
            assert_refused(late, Code::FailedPrecondition, "HOLD_ENDED", &[("end", end)]);
        }
        captured += i64::from(end == "captured") * 5;
    }
    let after = balance(&server, &member).await;
    assert_eq!((after.held, after.redeemed, after.available), (0, captured, 5_000 - captured));
    server.stop().await;
}

/// A cent a point; points lapse after 10 days, holds after up to 30.
const LASTING: &str = "expiry: { after: { days: 10 } }
accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]
redemption: { points: 100, amount: 1, maximum_hold_seconds: 2592000 }
";

fn gift(points: i64) -> Command {
    Command::AdjustPoints(Adjustment {
        points: Points(points),
        qualifying: false,
        reason: "gift".into(),
        reference: String::new(),
        expiry: None,
    })
}

fn holding(points: i64, seconds: u32) -> Command {
    let redeem = RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() };
    Command::HoldPoints(HoldRequest { redeem, seconds: Some(seconds) })
}

fn capturing(hold: u64, points: Option<i64>) -> Command {
    Command::CaptureHold(CaptureRequest { hold: HoldId(hold), points: points.map(Points), order: None, reference: String::new() })
}

#[test]
fn a_lot_that_lapses_in_a_hold_can_be_captured_until_the_hold_ends() {
    const DAYS: u32 = 86_400;
    // How the hold ends on the 25th, when the lot has lapsed on the 21st; what is redeemed, what lapses, and when.
    let table = [
        (capturing(3, None), 30, 0, None),
        (capturing(3, Some(12)), 12, 18, Some("2026-03-25T15:00:00Z")),
        (Command::ReleaseHold { hold: HoldId(3), reason: String::new() }, 0, 30, Some("2026-03-25T15:00:00Z")),
    ];
    for (end, redeemed, expired, lapses) in table {
        let mut shop = accrual::Shop::open(rule_book_with(LASTING));
        shop.does(&gift(40)).expect("points are added");
        shop.does(&holding(30, 20 * DAYS)).expect("points are held");
        shop.now = at("2026-03-25T15:00:00Z");
        shop.does(&gift(1)).expect("points are added");
        let balance = &shop.member.header.balance;
        assert_eq!((balance.held.0, balance.expired.0), (30, 10), "what is not held lapses on its day");
        let entries = shop.does(&end).expect("the hold ends");
        let balance = &shop.member.header.balance;
        assert_eq!((balance.held.0, balance.redeemed.0, balance.expired.0, balance.available.0), (0, redeemed, 10 + expired, 1));
        let lapse = entries.iter().find(|entry| matches!(entry.kind, EntryKind::PointsExpired(_)));
        assert_eq!(lapse.map(|entry| entry.occurred_time), lapses.map(at));
    }
    // Over by itself, on the 30th, and seen later: both are dated then.
    let mut shop = accrual::Shop::open(rule_book_with(LASTING));
    shop.does(&gift(40)).expect("points are added");
    shop.does(&holding(30, 20 * DAYS)).expect("points are held");
    shop.now = at("2026-04-20T15:00:00Z");
    let entries = shop.does(&gift(1)).expect("points are added");
    let told: Vec<_> = entries.iter().map(|entry| (entry.points().0, entry.occurred_time)).collect();
    let expected =
        [(-10, "2026-03-21T04:00:00Z"), (30, "2026-03-30T15:00:00Z"), (-30, "2026-03-30T15:00:00Z"), (1, "2026-04-20T15:00:00Z")];
    assert_eq!(told, expected.map(|(points, time)| (points, at(time))));
}

/// Points are either available or owed: whatever comes back pays first.
#[test]
fn what_a_hold_gives_back_pays_debt_first() {
    let release = Command::ReleaseHold { hold: HoldId(3), reason: String::new() };
    // How the hold of 30 ends where 15 are owed; what is redeemed, owed and available then.
    let table = [
        (release, None, (0, 0, 15)),
        (capturing(3, Some(20)), None, (20, 5, 0)),
        (capturing(3, Some(10)), None, (10, 0, 5)),
        (capturing(3, None), None, (30, 15, 0)),
        (gift(1), Some("2026-03-11T15:00:00Z"), (0, 0, 16)),
    ];
    for (end, later, expected) in table {
        let mut shop = accrual::Shop::open(rule_book_with(&format!("{LASTING}adjustments: {{ into_debt: true }}\n")));
        shop.does(&gift(40)).expect("points are added");
        shop.does(&holding(30, 3_600)).expect("points are held");
        shop.does(&gift(-25)).expect("points are taken, and owed");
        assert_eq!((shop.member.header.balance.available.0, shop.member.header.balance.debt.0), (0, 15));
        shop.now = later.map_or(shop.now, at);
        let entries = shop.does(&end).expect("the hold ends");
        let balance = &shop.member.header.balance;
        assert_eq!((balance.redeemed.0, balance.debt.0, balance.available.0), expected, "{end:?}");
        let change: i64 = entries.iter().map(|entry| entry.points().0).sum();
        assert_eq!(change, balance.available.0, "{end:?}");
        assert_eq!(shop.member.lots.values().map(|lot| lot.remaining.0).sum::<i64>(), balance.available.0);
    }
}

/// The rate may change while points are held: they are worth what was promised.
#[test]
fn a_hold_keeps_its_value_when_the_programmes_rate_changes() {
    let mut shop = accrual::Shop::open(rule_book_with(LASTING));
    shop.does(&gift(100)).expect("points are added");
    shop.does(&holding(60, 3_600)).expect("points are held");
    let dearer = rule_book_with(&LASTING.replace("amount: 1, maximum", "amount: 0.50, maximum"));
    let next = loyaltyd::domain::Program { version: 2, publish_time: shop.now, ..dearer };
    shop.programs = shop.programs.with(Arc::new(next));
    let entries = shop.does(&capturing(3, Some(50))).expect("it is captured");
    assert!(matches!(&entries[0].kind, EntryKind::PointsRedeemed(redeemed) if redeemed.value == accrual::dec("0.50")));
}

/// What may happen to a member, many of them in one group of commands.
#[derive(Debug, Clone)]
enum Step {
    Gift(i64),
    Buy { dollars: i64, pay: Option<i64>, capture: Option<usize> },
    Redeem { points: i64, up_to: bool },
    Hold { points: i64, hours: u32 },
    Capture { which: usize, points: Option<i64> },
    Release { which: usize },
    Reverse { which: usize, points: Option<i64> },
}

fn any_step() -> impl Strategy<Value = Step> {
    let some = || proptest::option::of(1i64..60);
    prop_oneof![
        3 => (1i64..80).prop_map(Step::Gift),
        1 => (-50i64..0).prop_map(Step::Gift),
        3 => (1i64..100, some(), proptest::option::of(0usize..20)).prop_map(|(dollars, pay, capture)| Step::Buy { dollars, pay, capture }),
        3 => (1i64..90, any::<bool>()).prop_map(|(points, up_to)| Step::Redeem { points, up_to }),
        4 => (1i64..60, 1u32..400).prop_map(|(points, hours)| Step::Hold { points, hours }),
        3 => (0usize..20, some()).prop_map(|(which, points)| Step::Capture { which, points }),
        2 => (0usize..20).prop_map(|which| Step::Release { which }),
        3 => (0usize..20, some()).prop_map(|(which, points)| Step::Reverse { which, points }),
    ]
}

/// The entries of a kind, counted round.
fn nth(sequences: &[u64], which: usize) -> u64 {
    if sequences.is_empty() { 1 } else { sequences[which % sequences.len()] }
}

fn command(step: &Step, number: usize, holds: &[u64], redemptions: &[u64]) -> Command {
    match *step {
        Step::Gift(points) => gift(points),
        Step::Buy { dollars, pay, capture } => {
            let mut sale = ledger::purchase(&format!("o{number}"), dollars);
            let redeem = pay.map(|points| Payment::Redeem { points: Points(points) });
            let capture = capture.map(|which| Payment::Capture { hold: HoldId(nth(holds, which)), points: Some(Points(1)) });
            sale.payments = redeem.into_iter().chain(capture).collect();
            // A cent a point.
            let cents = pay.unwrap_or(0) + i64::from(capture.is_some());
            let amount = Decimal::new(cents, 2);
            let tender = |kind, amount| Tender { kind, amount };
            sale.tenders = vec![tender(TenderKind::Points, amount), tender(TenderKind::Cash, sale.total - amount)];
            Command::RecordPurchase(Arc::new(sale))
        }
        Step::Redeem { points, up_to } => {
            Command::RedeemPoints(RedeemRequest { points: Some(Points(points)), up_to, ..RedeemRequest::default() })
        }
        Step::Hold { points, hours } => holding(points, hours * 3_600),
        Step::Capture { which, points } => capturing(nth(holds, which), points),
        Step::Release { which } => Command::ReleaseHold { hold: HoldId(nth(holds, which)), reason: String::new() },
        Step::Reverse { which, points } => Command::ReverseRedemption(ReversalRequest {
            ledger: None,
            redemption: nth(redemptions, which),
            points: points.map(Points),
            reason: "back".into(),
        }),
    }
}

async fn live(groups: Vec<(Vec<Step>, i64, bool)>) {
    let lasting = LASTING.replace("redemption: {", "redemption: { grace_days: 2,");
    let fields = "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\nrounding: { mode: MODE_FLOOR, stage: \
                  STAGE_RULE, fraction: FRACTION_DROP }\n";
    let mut shop = ledger::Shop::open_with(&format!("{fields}{lasting}")).await;
    let member = shop.enroll("m").await;
    let key = ledger::key(member);
    let (mut holds, mut redemptions, mut number) = (Vec::new(), Vec::new(), 0);
    for (steps, hours, restart) in groups {
        let submissions = steps.iter().map(|step| {
            number += 1;
            shop.submission(MemberTarget::Id(member), &format!("r{number}"), command(step, number, &holds, &redemptions))
        });
        let submissions: Vec<_> = submissions.collect();
        let first = shop.ledger.submit_all(submissions.clone()).await;
        for (outcome, submission) in first.into_iter().zip(submissions) {
            let Ok(outcome) = outcome else { continue };
            for entry in &outcome.entries {
                match &entry.kind {
                    EntryKind::PointsHeld(_) => holds.push(entry.sequence),
                    EntryKind::PointsRedeemed(_) => redemptions.push(entry.sequence),
                    _ => {}
                }
            }
            // A retry gets the first answer.
            let again = shop.ledger.submit(submission).await.expect("it was carried out");
            assert_eq!(again.entries, outcome.entries);
        }
        shop.clock.set(shop.clock.now() + hours.hours());
        let seen = shop.ledger.member(&key).expect("the member is there");
        assert!(seen.header.balance.is_conserved() && seen.header.balance.available >= Points::ZERO);
        let open = shop.ledger.holds(&key).expect("holds are listed");
        assert_eq!(open.iter().map(|hold| hold.points.0).sum::<i64>(), seen.header.balance.held.0);
        let lots = shop.ledger.lots(&key, None, usize::MAX).expect("lots are listed");
        assert_eq!(lots.iter().map(|lot| lot.remaining.0).sum::<i64>(), seen.header.balance.available.0);
        let pages: Vec<_> = (0..lots.len())
            .map(|place| shop.ledger.lots(&key, place.checked_sub(1).map(|before| lots[before].key()), 1).expect("a lot").remove(0))
            .collect();
        assert_eq!(pages, lots, "one by one they are the same");
        if restart {
            shop = shop.reopen();
            assert_eq!(shop.ledger.member(&key).expect("the member is there"), seen);
            assert_eq!(shop.ledger.holds(&key).expect("holds are listed"), open);
        }
    }
    let ledger::Shop { ledger, folder, .. } = shop;
    ledger.close().expect("the ledger closes");
    drop(ledger);
    let report = check(folder.path(), &crate::support::options()).expect("the journal is whole");
    assert!(report.is_sound(), "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Over random lives in random groups: balances are conserved and what is listed sums to them, retries and restarts change nothing,
    /// and the check of the store finds that its tables are what the journal says.
    #[test]
    fn random_lives_with_holds_and_redemptions_stay_sound(
        groups in vec((vec(any_step(), 1..12), prop_oneof![Just(0i64), 1i64..200], proptest::bool::weighted(0.2)), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(live(groups));
    }
}

#[test]
fn a_hold_for_an_order_says_so_to_the_redemption() {
    let mut shop = accrual::Shop::open(rule_book_with(LASTING));
    shop.does(&gift(100)).expect("points are added");
    let order = Some(OrderKey { store: StoreId::new("s").expect("an id"), order: OrderId::new("o-1").expect("an id") });
    let redeem = RedeemRequest { points: Some(Points(10)), order: order.clone(), reference: "cart".into(), ..RedeemRequest::default() };
    shop.does(&Command::HoldPoints(HoldRequest { redeem, seconds: None })).expect("points are held");
    let entries = shop.does(&capturing(3, None)).expect("it is captured");
    assert!(matches!(&entries[0].kind, EntryKind::PointsRedeemed(redeemed) if redeemed.order == order && redeemed.reference == "cart"));
    let ended = Rejection::HoldEnded { hold: HoldId(3), captured: true, entry_sequence: 4 };
    assert_eq!(shop.decide(&capturing(3, None)).map(drop), Err(ended));
}
