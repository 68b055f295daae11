//! What support staff and apps read: what lapses next, all that a member has, how it stood, one order's entries, and where points went.

use loyaltyd::contract::v1;
use tonic::Code;

use crate::{
    redemption::{redeem, start},
    support::{PROGRAM, adjustment, by_id, refused, sale},
};

fn ask(member: &str) -> v1::GetMemberRequest {
    v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() }
}

fn list(member: &str) -> v1::ListEntriesRequest {
    v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() }
}

#[tokio::test]
async fn a_member_is_told_of_the_next_three_dates_on_which_points_lapse() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    for (n, points) in [10, 20, 5, 7, 9].into_iter().enumerate() {
        server.points().adjust_points(adjustment(&member, &format!("a-{n}"), points)).await.unwrap();
        // Two on the second day, which lapse together.
        if n != 1 {
            server.days_later(1);
        }
    }
    let shown = server.member(&member).await;
    let points: Vec<i64> = shown.expiring.iter().map(|expiring| expiring.points).collect();
    assert_eq!(points, [10, 25, 7]);
    let days = |n: usize| shown.expiring[n].expire_time.as_ref().unwrap().seconds / 86_400;
    assert_eq!((days(1) - days(0), days(2) - days(1)), (1, 1));
    assert!(shown.lots.is_empty() && shown.holds.is_empty(), "{shown:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_full_view_shows_lots_and_holds_of_one_instant() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    server.points().adjust_points(adjustment(&member, "a-1", 100)).await.unwrap();
    let hold = v1::HoldPointsRequest {
        request_id: "h-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        points: 30,
        order_total: crate::support::vnd("1000000"),
        ..Default::default()
    };
    server.points().hold_points(hold).await.unwrap();
    let full = v1::GetMemberRequest { view: v1::MemberView::Full.into(), ..ask(&member) };
    let shown = server.members().get_member(full).await.unwrap().into_inner().member.unwrap();
    assert_eq!((shown.lots.len(), shown.lots[0].remaining_points), (1, 70));
    assert_eq!((shown.holds.len(), shown.holds[0].points), (1, 30));
    server.stop().await;
}

#[tokio::test]
async fn of_a_member_with_very_many_lots_the_first_thousand_are_shown() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let sales = (0..1_003).map(|n| sale(&member, &format!("o-{n}"), "30000")).collect::<Vec<_>>();
    for purchases in sales.chunks(900) {
        let batch = v1::BatchRecordPurchasesRequest { purchases: purchases.to_vec() };
        server.purchases().batch_record_purchases(batch).await.unwrap();
    }
    let full = v1::GetMemberRequest { view: v1::MemberView::Full.into(), ..ask(&member) };
    let shown = server.members().get_member(full).await.unwrap().into_inner().member.unwrap();
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let list = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 500, page_token: token };
        let page = server.points().list_lots(list).await.unwrap().into_inner();
        listed.extend(page.lots);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((listed.len(), shown.lots.len()), (1_003, 1_000));
    assert_eq!(shown.lots, listed[..1_000]);
    server.stop().await;
}

#[tokio::test]
async fn a_purchase_tells_what_has_come_back_of_it() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "1000000")).await.unwrap();
    let ask = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    let mut tills = server.purchases();
    assert_eq!(tills.get_purchase(ask.clone()).await.unwrap().into_inner().returns, None);
    let back = |request: &str, lines: Vec<v1::ReturnLine>| v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: lines.is_empty(),
        lines,
        ..Default::default()
    };
    let half = v1::ReturnLine { line_index: 0, quantity: "0.5".into(), amount: None };
    let first = tills.return_purchase(back("b-1", vec![half.clone()])).await.unwrap().into_inner().entry.unwrap();
    let shown = tills.get_purchase(ask.clone()).await.unwrap().into_inner().returns.expect("a half came back");
    let expected = v1::PurchaseReturns {
        count: 1,
        latest_sequence: first.sequence,
        lines: vec![half],
        amount: None,
        points: 50,
        whole_purchase: false,
        is_void: false,
        latest_member_id: String::new(),
    };
    assert_eq!(shown, expected);
    let second = tills.return_purchase(back("b-2", vec![])).await.unwrap().into_inner().entry.unwrap();
    let shown = tills.get_purchase(ask).await.unwrap().into_inner().returns.expect("all came back");
    let (count, sequence) = (shown.count, shown.latest_sequence);
    assert_eq!((count, sequence, shown.points, shown.whole_purchase, shown.is_void), (2, second.sequence, 100, true, true));
    server.stop().await;
}

#[tokio::test]
async fn a_member_is_shown_as_it_stood_at_any_instant_of_the_past() {
    let server = start().await;
    let enrolled = server.clock_now();
    let member = server.enroll("c-1").await;
    let mut stood = vec![(server.clock_now(), server.member(&member).await)];
    for n in 0..4 {
        server.days_later(200);
        server.purchases().record_purchase(sale(&member, &format!("o-{n}"), "30000000")).await.unwrap();
        stood.push((server.clock_now(), server.member(&member).await));
    }
    server.days_later(500);
    for (instant, then) in stood {
        let as_of = v1::GetMemberRequest { as_of: Some(instant), ..ask(&member) };
        let shown = server.members().get_member(as_of).await.unwrap().into_inner().member.unwrap();
        let lots: i64 = shown.lots.iter().map(|lot| lot.remaining_points).sum();
        assert_eq!(lots, shown.balance.as_ref().unwrap().available);
        let known = v1::Member { lots: Vec::new(), ..shown };
        assert_eq!(known, then, "at {instant:?}");
    }
    let before = prost_types::Timestamp { seconds: enrolled.seconds - 1, nanos: 0 };
    let missing = server.members().get_member(v1::GetMemberRequest { as_of: Some(before), ..ask(&member) }).await.unwrap_err();
    assert_eq!((missing.code(), refused(&missing).reason.as_str()), (Code::NotFound, "MEMBER_NOT_FOUND"));
    let now = server.clock_now();
    let future = prost_types::Timestamp { seconds: now.seconds + 60, nanos: 0 };
    let unknown = server.members().get_member(v1::GetMemberRequest { as_of: Some(future), ..ask(&member) }).await.unwrap_err();
    assert_eq!(refused(&unknown).fields, ["as_of"]);
    server.stop().await;
}

#[tokio::test]
async fn entries_are_filtered_by_kind_time_and_order_page_by_page() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    for n in 0..40 {
        server.days_later(1);
        server.purchases().record_purchase(sale(&member, &format!("o-{n}"), "30000")).await.unwrap();
        server.points().adjust_points(adjustment(&member, &format!("a-{n}"), 1)).await.unwrap();
    }
    let mut desk = server.points();
    let mut pages = Vec::new();
    let mut request = v1::ListEntriesRequest { kinds: vec![v1::EntryKind::PointsAdjusted.into()], page_size: 15, ..list(&member) };
    loop {
        let page = desk.list_entries(request.clone()).await.unwrap().into_inner();
        assert!(page.entries.iter().all(|entry| matches!(entry.kind, Some(v1::entry::Kind::PointsAdjusted(_)))));
        pages.push(page.entries.len());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().sum::<usize>(), 40, "{pages:?}");
    let order = v1::ListEntriesRequest { store_id: "hcm-1".into(), order_id: "o-7".into(), ..list(&member) };
    let of_order = desk.list_entries(order.clone()).await.unwrap().into_inner().entries;
    assert_eq!(of_order.len(), 1);
    let from = of_order[0].record_time;
    let until = from.map(|time| prost_types::Timestamp { seconds: time.seconds + 3 * 86_400, ..time });
    let days = v1::ListEntriesRequest { start_time: from, end_time: until, ..list(&member) };
    assert_eq!(desk.list_entries(days).await.unwrap().into_inner().entries.len(), 6, "three days with two entries each");
    let other_filter = v1::ListEntriesRequest { page_token: desk_token(&mut desk, &member).await, ..order };
    assert_eq!(refused(&desk.list_entries(other_filter).await.unwrap_err()).fields, ["page_token"]);
    let unknown = v1::ListEntriesRequest { kinds: vec![0], ..list(&member) };
    assert_eq!(refused(&desk.list_entries(unknown).await.unwrap_err()).fields, ["kinds[0]"]);
    server.stop().await;
}

type Desk = v1::points_service_client::PointsServiceClient<tonic::transport::Channel>;

async fn desk_token(desk: &mut Desk, member: &str) -> String {
    desk.list_entries(v1::ListEntriesRequest { page_size: 1, ..list(member) }).await.unwrap().into_inner().next_page_token
}

#[tokio::test]
async fn a_lot_names_the_debits_that_used_it_and_a_debit_the_entries_that_earned_it() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let mut desk = server.points();
    let earned = desk.adjust_points(adjustment(&member, "a-1", 100)).await.unwrap().into_inner().entry.unwrap().sequence;
    let spent = desk.redeem_points(redeem(&member, "r-1", 30, "1000000")).await.unwrap().into_inner().entry.unwrap();
    let taken = desk.adjust_points(adjustment(&member, "a-2", -20)).await.unwrap().into_inner().entry.unwrap();
    let explain = |sequence| v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence };
    let explained = desk.explain_entry(explain(earned)).await.unwrap().into_inner();
    let uses: Vec<(i64, i32)> = explained.uses.iter().map(|used| (used.entry_sequence, used.kind)).collect();
    let (redeemed, adjusted) = (v1::EntryKind::PointsRedeemed.into(), v1::EntryKind::PointsAdjusted.into());
    assert_eq!(uses, [(spent.sequence, redeemed), (taken.sequence, adjusted)]);
    assert!(!explained.uses_incomplete);
    let Some(v1::entry::Kind::PointsRedeemed(redemption)) = spent.kind else { panic!("{:?}", spent.kind) };
    assert_eq!(redemption.allocations[0].entry_sequence, earned);
    let Some(v1::entry::Kind::PointsAdjusted(adjustment)) = taken.kind else { panic!("{:?}", taken.kind) };
    assert_eq!(adjustment.allocations[0].entry_sequence, earned);
    server.stop().await;
}
