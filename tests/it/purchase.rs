//! A member's story at the till: quote, record, climb, read back; batches and streams of offline tills.

use loyaltyd::contract::v1::{self, purchase_result::Result as Judged};
use tonic::Code;

use crate::support::{PROGRAM, Refused, TestServer, by_card, by_id, purchase, refused, sale};

#[tokio::test]
async fn a_quote_says_what_the_record_then_does() {
    let server = TestServer::start().await;
    server.enroll("c-1").await;
    let basket = purchase("o-1", "259000");
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_card("c-1"), purchase: Some(basket.clone()) };
    let quoted = server.purchases().quote_purchase(quote).await.unwrap().into_inner();
    let record = v1::RecordPurchaseRequest {
        request_id: "r-1".into(),
        program_id: PROGRAM.into(),
        member: by_card("c-1"),
        purchase: Some(basket),
        ..Default::default()
    };
    let mut recorded = server.purchases().record_purchase(record).await.unwrap().into_inner();
    assert_eq!(quoted.accrual.as_ref().unwrap().points, 25);
    assert_eq!(recorded.accrual.as_ref().unwrap().awards[0].lot_id, "1");
    let accrual = recorded.accrual.as_mut().unwrap();
    accrual.awards[0].lot_id.clear();
    accrual.lots[0].lot_id.clear();
    assert_eq!(quoted.accrual, recorded.accrual);
    assert_eq!(quoted.balance, recorded.balance);
    assert_eq!((quoted.tier_id, quoted.tier_change), (recorded.tier_id, recorded.tier_change));
    server.stop().await;
}

#[tokio::test]
async fn a_member_climbs_and_every_point_is_explained() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut till = server.purchases();
    let first = till.record_purchase(sale(&member, "o-1", "4999999")).await.unwrap().into_inner();
    assert_eq!((first.accrual.unwrap().points, first.tier_id.as_str(), first.tier_change), (499, "member", None));
    let second = till.record_purchase(sale(&member, "o-2", "10000")).await.unwrap().into_inner();
    let change = second.tier_change.unwrap();
    assert_eq!((change.from_tier_id.as_str(), change.to_tier_id.as_str(), second.tier_id.as_str()), ("member", "silver", "silver"));
    // Silver earns 1.2 times: 10 whole blocks give 12.
    let third = till.record_purchase(sale(&member, "o-3", "109999")).await.unwrap().into_inner();
    let accrual = third.accrual.unwrap();
    assert_eq!((accrual.points, accrual.tier_id.as_str()), (12, "silver"));
    assert_eq!(third.balance.unwrap().available, 512);

    let standing = server.member(&member).await.tier.unwrap();
    assert_eq!((standing.tier_id.as_str(), standing.next_tier_id.as_str(), standing.next_missing_points), ("silver", "gold", Some(488)));

    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence: third.entry_sequence };
    let explained = server.points().explain_entry(explain).await.unwrap().into_inner();
    let text = explained.explanation.join("\n");
    for part in
        ["Purchase o-3 of store hcm-1", "2026-03-10 12:00:00", "109999 VND", "1 per 10000", "multiplier 1.2 of tier silver", "lot 3"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(text.contains("valid until the end of 2027-03-10"), "{text}");
    assert_eq!((explained.lots.len(), explained.lots[0].remaining_points), (1, 12));

    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-3".into() };
    let got = till.get_purchase(get).await.unwrap().into_inner();
    assert_eq!((got.member_id, got.entry_sequence, got.accrual), (member, third.entry_sequence, Some(accrual)));
    assert_eq!(got.purchase.unwrap().total.unwrap().amount, "109999");
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_again_even_after_a_restart() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let request = sale(&member, "o-1", "6000000");
    let first = server.purchases().record_purchase(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.tier_id, "silver");
    server.purchases().record_purchase(sale(&member, "o-2", "6000000")).await.unwrap();
    assert_eq!(server.purchases().record_purchase(request.clone()).await.unwrap().into_inner(), first);
    let before = server.member(&member).await;
    let server = server.restart().await;
    server.days_later(40);
    assert_eq!(server.purchases().record_purchase(request).await.unwrap().into_inner(), first);
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_sent_twice_doubles_nothing_and_names_its_bad_item() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut purchases: Vec<_> = (0..20).map(|n| sale(&member, &format!("o-{n}"), "20000")).collect();
    purchases[7].purchase.as_mut().unwrap().lines[0].amount.as_mut().unwrap().amount = "1.5".into();
    purchases[9].program_id = "nowhere".into();
    let batch = v1::BatchRecordPurchasesRequest { purchases };
    let first = server.purchases().batch_record_purchases(batch.clone()).await.unwrap().into_inner();
    assert_eq!(first.results.len(), 20);
    for (index, result) in first.results.iter().enumerate() {
        assert_eq!(result.request_id, format!("sale-o-{index}"));
        match (index, result.result.as_ref().unwrap()) {
            (7, Judged::Error(error)) => {
                assert_eq!((error.code, error.reason.as_str()), (Code::InvalidArgument as i32, "INVALID_FIELD"));
                assert_eq!(error.field_violations[0].field, "purchase.lines[0].amount.amount");
            }
            (9, Judged::Error(error)) => {
                assert_eq!((error.code, error.reason.as_str()), (Code::NotFound as i32, "PROGRAM_NOT_FOUND"));
                assert_eq!(error.metadata["program_id"], "nowhere");
            }
            (_, Judged::Recorded(recorded)) => assert_eq!(recorded.accrual.as_ref().unwrap().points, 2),
            (index, Judged::Error(error)) => panic!("item {index}: {error:?}"),
        }
    }
    let before = server.member(&member).await;
    assert_eq!(before.balance.as_ref().unwrap().available, 36);
    assert_eq!(server.purchases().batch_record_purchases(batch).await.unwrap().into_inner(), first);
    // The same purchase by another way is the same request.
    let unary = server.purchases().record_purchase(sale(&member, "o-3", "20000")).await.unwrap().into_inner();
    assert_eq!(first.results[3].result, Some(Judged::Recorded(unary)));
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}

#[tokio::test]
async fn batches_of_none_and_of_too_many_are_refused() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for count in [0, 1_001] {
        let purchases = (0..count).map(|n| sale(&member, &format!("o-{n}"), "20000")).collect();
        let status = server.purchases().batch_record_purchases(v1::BatchRecordPurchasesRequest { purchases }).await.unwrap_err();
        let expected = Refused { code: Code::InvalidArgument, reason: "INVALID_FIELD".into(), fields: vec!["purchases".into()] };
        assert_eq!(refused(&status), expected);
    }
    let purchases = (0..11).map(|n| {
        let mut sale = sale(&member, &format!("o-{n}"), "10000");
        sale.purchase.as_mut().unwrap().lines = vec![crate::support::line("rice", "10"); 1_000];
        sale
    });
    let too_long = v1::BatchRecordPurchasesRequest { purchases: purchases.collect() };
    let status = server.purchases().batch_record_purchases(too_long).await.unwrap_err();
    assert_eq!((status.code(), refused(&status).fields), (Code::InvalidArgument, vec!["purchases".to_owned()]));
    assert!(status.message().contains("11000 lines"), "{status:?}");
    assert_eq!(server.member(&member).await.last_sequence, 1);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_is_not_as_large_as_a_wrong_request() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let wrong = v1::RecordPurchaseRequest { request_id: "é".repeat(1 << 20), ..sale(&member, "o-1", "10000") };
    let requests = vec![v1::StreamPurchasesRequest { purchase: Some(wrong) }];
    let result = stream(&server, requests).await.pop().unwrap();
    assert_eq!(result.request_id, "é".repeat(64));
    let Some(Judged::Error(error)) = result.result else { panic!("it is refused") };
    assert_eq!(error.field_violations[0].field, "request_id");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_answers_in_order_and_can_be_sent_again() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let requests: Vec<_> = (0..3_000)
        .map(|n| {
            let mut purchase = sale(&member, &format!("o-{n}"), "10000");
            if n == 1_234 {
                purchase.purchase.as_mut().unwrap().total = None;
            }
            v1::StreamPurchasesRequest { purchase: Some(purchase) }
        })
        .collect();
    let first = stream(&server, requests.clone()).await;
    assert_eq!(first.len(), 3_000);
    for (index, result) in first.iter().enumerate() {
        assert_eq!(result.request_id, format!("sale-o-{index}"));
        match result.result.as_ref().unwrap() {
            Judged::Recorded(recorded) => assert_ne!((index, recorded.member_id.as_str()), (1_234, member.as_str())),
            Judged::Error(error) => {
                assert_eq!(index, 1_234, "{error:?}");
                assert_eq!(error.field_violations[0].field, "purchase.total");
            }
        }
    }
    let before = server.member(&member).await;
    assert_eq!(before.lifetime.as_ref().unwrap().visits, 2_999);
    assert_eq!(stream(&server, requests).await, first);
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}

async fn stream(server: &TestServer, requests: Vec<v1::StreamPurchasesRequest>) -> Vec<v1::PurchaseResult> {
    let mut answers = server.purchases().stream_purchases(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut results = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        results.push(answer.result.unwrap());
    }
    results
}

/// A rule book in which each of so many rules awards every line, with fractions as long as they get.
fn crowded(rules: usize) -> v1::Program {
    let base = crate::support::rule_book();
    let rule = |number: usize| v1::AccrualRule {
        rule_id: format!("goods-{number}"),
        rounding: Some(v1::Rounding {
            mode: v1::rounding::Mode::Floor.into(),
            stage: v1::rounding::Stage::Line.into(),
            fraction: v1::rounding::Fraction::Carry.into(),
        }),
        award: Some(v1::accrual_rule::Award::PerAmount(v1::PerAmount { amount: "7".into(), points: "1".into(), whole_blocks: false })),
        ..base.accrual_rules[0].clone()
    };
    v1::Program { accrual_rules: (0..rules).map(rule).collect(), ..base }
}

#[tokio::test]
async fn the_largest_purchase_is_answered_and_a_larger_one_refused() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let publish = |rules: usize| v1::PublishProgramRequest {
        request_id: format!("publish-{rules}"),
        program: Some(crowded(rules)),
        ..Default::default()
    };
    server.programs().publish_program(publish(5)).await.unwrap();
    let many = |order: &str| {
        let mut request = sale(&member, order, "100000");
        let purchase = request.purchase.as_mut().unwrap();
        purchase.lines = vec![crate::support::line("rice", "10"); 10_000];
        request
    };
    // As a client takes answers that sets no limits of its own: 4 MiB.
    let answer = server.purchases().record_purchase(many("o-1")).await.unwrap().into_inner();
    let accrual = answer.accrual.unwrap();
    assert_eq!(accrual.awards.iter().map(|award| award.lines.len()).sum::<usize>(), 50_000);
    assert_eq!(accrual.points, 5 * 14_285);

    server.programs().publish_program(publish(6)).await.unwrap();
    let status = server.purchases().record_purchase(many("o-2")).await.unwrap_err();
    let fields = vec![];
    assert_eq!(refused(&status), Refused { code: Code::FailedPrecondition, reason: "PURCHASE_TOO_COMPLEX".into(), fields });
    server.stop().await;
}

#[tokio::test]
async fn a_quote_with_an_order_needs_its_store_and_all_labels_are_judged() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut wrong = purchase("o-1", "10000");
    wrong.store_id.clear();
    wrong.labels = vec![String::new(), "x".repeat(65)];
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: Some(wrong) };
    let status = server.purchases().quote_purchase(quote).await.unwrap_err();
    assert_eq!(refused(&status).fields, ["purchase.store_id", "purchase.labels[0]", "purchase.labels[1]"]);
    server.stop().await;
}
