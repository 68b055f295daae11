//! Points: adjust, list, explain, lapse.

use loyaltyd::contract::v1;
use tonic::Code;

use crate::support::{PROGRAM, Refused, TestServer, adjustment, by_id, refused, sale};

#[tokio::test]
async fn points_are_added_and_taken_by_hand() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut desk = server.points();
    let qualifying = v1::AdjustPointsRequest { qualifying: true, ..adjustment(&member, "a-1", 600) };
    let added = desk.adjust_points(qualifying.clone()).await.unwrap().into_inner();
    assert_eq!(added.tier_change.as_ref().unwrap().to_tier_id, "silver");
    assert_eq!(added.entry.as_ref().unwrap().balance.as_ref().unwrap().available, 600);
    let taken = desk.adjust_points(adjustment(&member, "a-2", -250)).await.unwrap().into_inner().entry.unwrap();
    assert_eq!((taken.points, taken.balance.as_ref().unwrap().available, taken.balance.as_ref().unwrap().clawed_back), (-250, 350, 250));
    let too_much = desk.adjust_points(adjustment(&member, "a-3", -351)).await.unwrap_err();
    let expected = Refused { code: Code::FailedPrecondition, reason: "INSUFFICIENT_POINTS".into(), fields: vec![] };
    assert_eq!(refused(&too_much), expected);
    let details = tonic_types::StatusExt::get_error_details(&too_much);
    assert_eq!(details.error_info().unwrap().metadata["available"], "350");
    assert_eq!(details.precondition_failure().unwrap().violations[0].r#type, "INSUFFICIENT_POINTS");
    let expected = Refused { code: Code::FailedPrecondition, reason: "ADJUSTMENT_TOO_LARGE".into(), fields: vec![] };
    let too_large = desk.adjust_points(adjustment(&member, "a-4", i64::MIN + 1)).await.unwrap_err();
    assert_eq!(refused(&too_large), expected);
    let details = tonic_types::StatusExt::get_error_details(&too_large);
    assert_eq!(details.precondition_failure().unwrap().violations[0].subject, "program");
    assert_eq!(desk.adjust_points(qualifying).await.unwrap().into_inner(), added);

    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence: taken.sequence };
    let explained = desk.explain_entry(explain).await.unwrap().into_inner();
    let text = explained.explanation.join("\n");
    for part in ["-250 points by hand. Reason: goodwill.", "250 points came from lot 1.", "Done by staff-7.", "balance after this is 350"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(explained.lots[0].remaining_points, 350);
    server.stop().await;
}

#[tokio::test]
async fn entries_and_lots_are_listed_page_by_page() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for n in 0..5 {
        server.days_later(1);
        server.purchases().record_purchase(sale(&member, &format!("o-{n}"), "30000")).await.unwrap();
    }
    let mut sequences = Vec::new();
    let mut token = String::new();
    loop {
        let request = v1::ListEntriesRequest {
            program_id: PROGRAM.into(),
            member: by_id(&member),
            page_size: 4,
            page_token: token,
            ..Default::default()
        };
        let page = server.points().list_entries(request).await.unwrap().into_inner();
        sequences.push(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(sequences, [vec![6, 5, 4, 3], vec![2, 1]]);
    let mut lots = Vec::new();
    loop {
        let request = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 2, page_token: token };
        let page = server.points().list_lots(request).await.unwrap().into_inner();
        lots.push(page.lots.iter().map(|lot| lot.lot_id.clone()).collect::<Vec<_>>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(lots, [vec!["1", "2"], vec!["3", "4"], vec!["5"]]);
    server.stop().await;
}

#[tokio::test]
async fn points_lapse_on_time_and_say_so() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "50000")).await.unwrap();
    // Valid until the end of 10 March 2027 in Ho Chi Minh City.
    server.clock.set("2027-03-10T16:59:59Z".parse().unwrap());
    assert_eq!(server.member(&member).await.balance.unwrap().available, 5);
    server.clock.set("2027-03-10T17:00:00Z".parse().unwrap());
    let balance = server.member(&member).await.balance.unwrap();
    assert_eq!((balance.available, balance.expired), (0, 5));
    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence: 3 };
    let explained = server.points().explain_entry(explain.clone()).await.unwrap().into_inner();
    assert_eq!(explained.explanation[0], "Points lapsed at 2027-03-11 00:00:00 (Asia/Ho_Chi_Minh).");
    assert!(explained.lots.is_empty());
    let lots = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 0, page_token: String::new() };
    assert!(server.points().list_lots(lots).await.unwrap().into_inner().lots.is_empty());
    let missing = server.points().explain_entry(v1::ExplainEntryRequest { sequence: 4, ..explain }).await.unwrap_err();
    let expected = Refused { code: Code::NotFound, reason: "ENTRY_NOT_FOUND".into(), fields: vec![] };
    assert_eq!(refused(&missing), expected);
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_long_purchases_ends_early_and_goes_on() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for n in 0..5 {
        let mut sale = sale(&member, &format!("o-{n}"), "50000");
        sale.purchase.as_mut().unwrap().lines = vec![crate::support::line("rice", "10"); 5_000];
        server.purchases().record_purchase(sale).await.unwrap();
    }
    let (mut pages, mut sequences, mut token) = (0, Vec::new(), String::new());
    loop {
        let request = v1::ListEntriesRequest {
            program_id: PROGRAM.into(),
            member: by_id(&member),
            page_size: 0,
            page_token: token,
            ..Default::default()
        };
        let page = server.points().list_entries(request).await.unwrap().into_inner();
        assert!(prost::Message::encoded_len(&page) < 1_100_000);
        sequences.extend(page.entries.iter().map(|entry| entry.sequence));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(sequences, [6, 5, 4, 3, 2, 1]);
    assert!((2..=6).contains(&pages), "{pages}");
    server.stop().await;
}

#[tokio::test]
async fn a_negative_adjustment_takes_what_counted_for_tiers_and_no_more() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut desk = server.points();
    let qualifying = |request, points| v1::AdjustPointsRequest { qualifying: true, ..adjustment(&member, request, points) };
    desk.adjust_points(adjustment(&member, "a-1", 100)).await.unwrap();
    let mut counted = Vec::new();
    for (request, points) in [("a-2", 40), ("a-3", -60), ("a-4", -20)] {
        let entry = desk.adjust_points(qualifying(request, points)).await.unwrap().into_inner().entry.unwrap();
        let Some(v1::entry::Kind::PointsAdjusted(adjusted)) = entry.kind else { panic!("{entry:?}") };
        counted.push((adjusted.points, adjusted.qualifying_points));
    }
    assert_eq!(counted, [(40, 40), (-60, -40), (-20, 0)]);
    assert_eq!(server.member(&member).await.lifetime.unwrap().qualifying_points, 0);
    server.stop().await;
}
