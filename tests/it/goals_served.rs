//! Goals as tills and support staff see them, over the real store.

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{self, entry::Kind as Said, purchase_result::Result as Judged, voucher::Cause},
    },
    ledger::Clock as _,
    store::embedded::check,
};

use crate::{
    redemption::{balance, explained, start_with},
    support::{PROGRAM, TestServer, actor, adjustment, by_id, options, rule_book, sale, vnd},
};

/// A point is 10,000 VND; ten are a tea, and a point is worth 100 VND besides.
fn book(goal: &str) -> v1::Program {
    let fields = format!(
        "voucher_kinds: [{{ voucher_kind_id: tea, display_name: A tea, benefit: {{ free_item: {{ sku: tea }} }}, valid_days: 30 }}]\ngoals: [{{ \
         goal_id: card, display_name: Tea card, points: 10, voucher_kind_id: tea{goal} }}]\nredemption: {{ points: 1, amount: 100 }}\ntransfers: \
         {{}}\noffline: {{ floor_limit_points: 5 }}\n"
    );
    let read = text::read(&fields).expect("well-formed fields");
    v1::Program {
        voucher_kinds: read.voucher_kinds,
        goals: read.goals,
        redemption: read.redemption,
        transfers: read.transfers,
        offline: read.offline,
        ..rule_book()
    }
}

async fn buys(server: &TestServer, member: &str, order: &str, points: i64) -> v1::RecordPurchaseResponse {
    let request = sale(member, order, &(points * 10_000).to_string());
    server.purchases().record_purchase(request).await.expect("it is recorded").into_inner()
}

async fn vouchers(server: &TestServer, member: &str) -> Vec<v1::Voucher> {
    let request = v1::ListVouchersRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
    server.rewards().list_vouchers(request).await.expect("vouchers are listed").into_inner().vouchers
}

async fn entries(server: &TestServer, member: &str, kinds: &[v1::EntryKind]) -> Vec<v1::Entry> {
    let kinds = kinds.iter().map(|kind| i32::from(*kind)).collect();
    let request = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), kinds, ..Default::default() };
    server.points().list_entries(request).await.expect("entries are listed").into_inner().entries
}

fn cancel(code: &str, request: &str) -> v1::CancelVoucherRequest {
    v1::CancelVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        reason: "wants the points".into(),
        actor: actor(),
    }
}

async fn progress(server: &TestServer, member: &str) -> v1::GoalProgress {
    server.member(member).await.goal.expect("there is a goal")
}

/// Nothing in the store contradicts the ledger, nor do tables that are made from it again.
async fn end(server: TestServer) {
    let (folder, _) = server.end().await;
    let report = check(&folder.path().join("data"), &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
}

fn seconds(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.map(|time| Timestamp::from_second(time.seconds).expect("within the calendar"))
}

#[tokio::test]
async fn a_quote_tells_of_the_voucher_that_the_sale_then_gives_and_a_retry_gives_no_second_one() {
    let server = start_with(book("")).await;
    let member = server.enroll("c-1").await;
    buys(&server, &member, "o-1", 9).await;
    assert_eq!((progress(&server, &member).await.missing_points, balance(&server, &member).await.available), (1, 9));
    let asked = sale(&member, "o-2", "140000");
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: asked.purchase.clone() };
    let quoted = server.purchases().quote_purchase(quote).await.expect("a quote").into_inner();
    assert!(vouchers(&server, &member).await.is_empty());
    let recorded = server.purchases().record_purchase(asked.clone()).await.expect("recorded").into_inner();
    let bare = |vouchers: &[v1::Voucher]| {
        let bare = |voucher: &v1::Voucher| v1::Voucher { code: String::new(), ..voucher.clone() };
        vouchers.iter().map(bare).collect::<Vec<_>>()
    };
    assert_eq!(quoted.issued_vouchers, bare(&recorded.issued_vouchers));
    assert_eq!((quoted.balance, recorded.issued_vouchers.len()), (recorded.balance, 2));
    assert_eq!(recorded.issued_vouchers[0].cause(), Cause::Goal);
    let again = server.purchases().record_purchase(asked).await.expect("the first answer").into_inner();
    assert_eq!(again, recorded);
    assert_eq!((vouchers(&server, &member).await.len(), balance(&server, &member).await.available), (2, 3));
    let progress = progress(&server, &member).await;
    assert_eq!((progress.goal_id.as_str(), progress.display_name.as_str(), progress.goal_points), ("card", "Tea card", 10));
    assert_eq!((progress.missing_points, progress.waiting.len()), (7, 0));
    // Support sees where each came from.
    let issued = entries(&server, &member, &[v1::EntryKind::VoucherIssued]).await;
    let Some(Said::VoucherIssued(first)) = issued[1].kind.clone() else { panic!("{issued:#?}") };
    assert_eq!((issued[1].points, issued[1].request_id.as_str(), first.points, first.goal_id.as_str()), (-10, "sale-o-2", 10, "card"));
    let lots: Vec<(i64, i64)> = first.allocations.iter().map(|taken| (taken.points, taken.entry_sequence)).collect();
    assert_eq!((lots, first.reached_sequence), (vec![(9, 2), (1, 3)], 3));
    let text = explained(&server, &member, issued[1].sequence).await;
    for part in ["10 points turned into it for goal card (Tea card), when entry 3 brought", "9 points came from lot 1", "for points: A tea"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    end(server).await;
}

#[tokio::test]
async fn a_cancelled_voucher_gives_the_points_back_and_says_where_to() {
    let server = start_with(book("")).await;
    let member = server.enroll("c-1").await;
    let recorded = buys(&server, &member, "o-1", 12).await;
    let code = &recorded.issued_vouchers[0].code;
    let cancelled = server.rewards().cancel_voucher(cancel(code, "cancel-1")).await.expect("cancelled").into_inner();
    assert_eq!(server.rewards().cancel_voucher(cancel(code, "cancel-1")).await.expect("again").into_inner(), cancelled);
    let entry = cancelled.entry.expect("an entry");
    let Some(Said::VoucherCancelled(said)) = entry.kind else { panic!("{:?}", entry.kind) };
    let back: Vec<(&str, i64)> = said.put_back.iter().map(|back| (back.lot_id.as_str(), back.points)).collect();
    assert_eq!((entry.points, said.points, said.debt_paid, back), (10, 10, 0, vec![("1", 10)]));
    let text = explained(&server, &member, entry.sequence).await;
    assert!(text.contains("The 10 points that had turned into it came back.") && text.contains("10 points went back to lot 1"), "{text}");
    let now = balance(&server, &member).await;
    assert_eq!((now.available, now.redeemed, now.reinstated, vouchers(&server, &member).await.len()), (12, 10, 10, 0));
    assert_eq!(progress(&server, &member).await.missing_points, 0);
    // It has to be asked for by nobody: the next sale brings it.
    assert_eq!(buys(&server, &member, "o-2", 1).await.issued_vouchers.len(), 1);
    end(server).await;
}

#[tokio::test]
async fn sales_of_one_batch_and_of_a_till_that_was_offline_reach_the_goal_together() {
    let server = start_with(book("")).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let now = server.clock_now();
    let offline = |member: &str, order: &str, amount: &str, hours: i64| {
        let mut sale = sale(member, order, amount);
        let purchase = sale.purchase.as_mut().expect("a purchase");
        purchase.occurred_time = Some(prost_types::Timestamp { seconds: now.seconds - hours * 3_600, nanos: 0 });
        purchase.offline = true;
        sale
    };
    let purchases = vec![
        offline(&an, "o-1", "40000", 5),
        offline(&binh, "o-2", "250000", 4),
        offline(&an, "o-3", "40000", 3),
        offline(&an, "o-4", "40000", 2),
        offline(&an, "o-5", "110000", 1),
    ];
    let batch = v1::BatchRecordPurchasesRequest { purchases };
    let results = server.purchases().batch_record_purchases(batch.clone()).await.expect("judged").into_inner().results;
    let issued = results.iter().map(|result| match result.result.as_ref().expect("a result") {
        Judged::Recorded(recorded) => recorded.issued_vouchers.len(),
        Judged::Error(error) => panic!("{error:?}"),
    });
    assert_eq!(issued.collect::<Vec<_>>(), [0, 2, 0, 1, 1]);
    // The delivery is sent again.
    assert_eq!(server.purchases().batch_record_purchases(batch).await.expect("judged").into_inner().results, results);
    let of = async |member: &str| (vouchers(&server, member).await.len(), balance(&server, member).await.available);
    assert_eq!((of(&an).await, of(&binh).await), ((2, 3), (2, 5)));
    // They are issued when the service learnt of it.
    assert_eq!(seconds(results_time(&results).as_ref()), Some(server.clock.now()));
    end(server).await;
}

fn results_time(results: &[v1::PurchaseResult]) -> Option<prost_types::Timestamp> {
    match results[1].result.as_ref()? {
        Judged::Recorded(recorded) => recorded.issued_vouchers[0].issue_time,
        Judged::Error(_) => None,
    }
}

#[tokio::test]
async fn a_merge_reaches_the_goal_and_what_one_card_had_can_be_cancelled_for_both() {
    let server = start_with(book("")).await;
    let (old, new) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let code = buys(&server, &old, "o-1", 16).await.issued_vouchers[0].code.clone();
    buys(&server, &new, "o-2", 7).await;
    let request = v1::MergeMembersRequest {
        request_id: "merge-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&old),
        into: by_id(&new),
        reason: "two cards".into(),
        actor: actor(),
    };
    let merged = server.members().merge_members(request.clone()).await.expect("one").into_inner();
    assert_eq!(server.members().merge_members(request).await.expect("the first answer").into_inner(), merged);
    assert_eq!((balance(&server, &new).await.available, vouchers(&server, &new).await.len()), (3, 2));
    server.rewards().cancel_voucher(cancel(&code, "cancel-1")).await.expect("cancelled");
    assert_eq!((balance(&server, &new).await.available, vouchers(&server, &new).await.len()), (13, 1));
    // The lot has the number that it has since the merge.
    let cancelled = entries(&server, &new, &[v1::EntryKind::VoucherCancelled]).await;
    let Some(Said::VoucherCancelled(said)) = cancelled[0].kind.clone() else { panic!("{cancelled:#?}") };
    assert_eq!(said.put_back.iter().map(|back| back.lot_id.as_str()).collect::<Vec<_>>(), ["2"]);
    end(server).await;
}

#[tokio::test]
async fn both_sides_of_a_transfer_and_an_adjustment_reach_the_goal() {
    let server = start_with(book(", delay_days: 3")).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    server.points().adjust_points(adjustment(&an, "gift", 14)).await.expect("adjusted");
    assert_eq!(progress(&server, &an).await.waiting.iter().map(|one| one.vouchers).collect::<Vec<_>>(), [1]);
    let transfer = v1::TransferPointsRequest {
        request_id: "t-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        recipient: by_id(&binh),
        points: 11,
        reason: "a present".into(),
        ..Default::default()
    };
    server.points().transfer_points(transfer).await.expect("given");
    assert_eq!((progress(&server, &an).await.waiting.len(), progress(&server, &binh).await.waiting.len()), (0, 1));
    let missed = entries(&server, &an, &[v1::EntryKind::GoalMissed]).await;
    let Some(Said::GoalMissed(said)) = missed[0].kind.clone() else { panic!("{missed:#?}") };
    assert_eq!((said.vouchers, said.waiting.len()), (1, 0));
    let text = explained(&server, &an, missed[0].sequence).await;
    assert!(text.contains("1 voucher of goal card (Tea card) that waited will not be issued"), "{text}");
    end(server).await;
}

#[tokio::test]
async fn a_voucher_that_waits_is_shown_with_its_day_and_there_on_time_also_after_a_stop() {
    let server = start_with(book(", delay_days: 3")).await;
    let member = server.enroll("c-1").await;
    let recorded = buys(&server, &member, "o-1", 23).await;
    let reached = recorded.goal_reached.clone().expect("the goal is reached");
    assert_eq!((reached.vouchers, recorded.issued_vouchers.len(), recorded.balance.map(|it| it.available)), (2, 0, Some(23)));
    // Midnight of 13 March in Ho Chi Minh City.
    let due: Timestamp = "2026-03-12T17:00:00Z".parse().expect("an instant");
    let shown = progress(&server, &member).await;
    assert_eq!((seconds(shown.waiting[0].due_time.as_ref()), shown.waiting[0].vouchers, shown.missing_points), (Some(due), 2, 7));
    let reached = entries(&server, &member, &[v1::EntryKind::GoalReached]).await;
    let text = explained(&server, &member, reached[0].sequence).await;
    assert!(text.contains("reached goal card (Tea card), for 2 vouchers") && text.contains("2026-03-13 00:00:00"), "{text}");
    let before = server.clock_now();
    let back = v1::ReturnPurchaseRequest {
        request_id: "back-1".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        amount: vnd("50000"),
        ..Default::default()
    };
    server.clock.set(due - 1.hours());
    server.purchases().return_purchase(back).await.expect("a return");
    assert_eq!(progress(&server, &member).await.waiting[0].vouchers, 1);
    let server = server.restart_with(book(", delay_days: 3")).await;
    server.clock.set(due + 5.hours());
    assert_eq!((balance(&server, &member).await.available, progress(&server, &member).await.waiting.len()), (8, 0));
    let issued = vouchers(&server, &member).await;
    assert_eq!((issued.len(), seconds(issued[0].issue_time.as_ref())), (1, Some(due)));
    let entry = &entries(&server, &member, &[v1::EntryKind::VoucherIssued]).await[0];
    assert_eq!((seconds(entry.occurred_time.as_ref()), entry.request_id.as_str(), entry.record_time.is_some()), (Some(due), "", true));
    // As it was known then.
    let as_of = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&member), as_of: Some(before), ..Default::default() };
    let then = server.members().get_member(as_of).await.expect("known").into_inner().member.expect("a member");
    assert_eq!((then.live_vouchers, then.goal.map(|goal| goal.waiting[0].vouchers)), (0, Some(2)));
    end(server).await;
}
