//! Points that one member gives to another: both sides in one commit, with the expiry that they have.

use std::sync::Arc;

use loyaltyd::{
    contract::v1,
    store::embedded::{self, Options},
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    redemption::start_with,
    support::{PROGRAM, Refused, TestServer, adjustment, by_card, by_id, refused, rule_book},
};

fn giving() -> v1::Program {
    let transfers = v1::TransferPolicy { minimum_points: "5".into(), maximum_points: "500".into() };
    v1::Program { transfers: Some(transfers), ..rule_book() }
}

fn give(from: &str, to: &str, request: &str, points: i64) -> v1::TransferPointsRequest {
    v1::TransferPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(from),
        recipient: by_id(to),
        points,
        reason: "family".into(),
        ..Default::default()
    }
}

async fn family() -> (TestServer, String, String) {
    let server = start_with(giving()).await;
    let (one, other) = (server.enroll("c-1").await, server.enroll("c-2").await);
    server.points().adjust_points(adjustment(&one, "a-1", 100)).await.unwrap();
    server.days_later(10);
    server.points().adjust_points(adjustment(&one, "a-2", 100)).await.unwrap();
    (server, one, other)
}

async fn available(server: &TestServer, member: &str) -> i64 {
    server.member(member).await.balance.unwrap().available
}

#[tokio::test]
async fn points_change_hands_with_their_expiry_and_a_retry_gives_the_first_answer() {
    let (server, one, other) = family().await;
    let before = server.member(&one).await;
    let request = give(&one, &other, "t-1", 150);
    let given = server.points().transfer_points(request.clone()).await.unwrap().into_inner();
    assert_eq!(given.entry.as_ref().unwrap().points, -150);
    assert_eq!(server.points().transfer_points(request.clone()).await.unwrap().into_inner(), given);
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (50, 150));
    let (gave, got) = (server.member(&one).await, server.member(&other).await);
    assert_eq!((gave.balance.unwrap().transferred_out, got.balance.unwrap().transferred_in), (150, 150));
    let dates = |member: &v1::Member| member.expiring.iter().map(|expiring| expiring.expire_time).collect::<Vec<_>>();
    assert_eq!(dates(&got), dates(&before), "those that lapse soonest go first, and keep their dates");
    let points: Vec<i64> = got.expiring.iter().map(|expiring| expiring.points).collect();
    assert_eq!(points, [100, 50]);
    let other_payload = v1::TransferPointsRequest { points: 10, ..request };
    assert_eq!(refused(&server.points().transfer_points(other_payload).await.unwrap_err()).reason, "REQUEST_ID_REUSED");
    let server = server.restart_with(giving()).await;
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (50, 150));
    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&other), sequence: 2 };
    let explained = server.points().explain_entry(explain).await.unwrap().into_inner();
    assert!(explained.explanation[0].contains(&one), "{:?}", explained.explanation);
    let data = server.data();
    let (folder, _) = server.end().await;
    let report = embedded::check(&data, &Options::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.differences);
    drop(folder);
}

#[tokio::test]
async fn what_a_programme_or_a_balance_does_not_allow_is_refused() {
    let (server, one, other) = family().await;
    let mut desk = server.points();
    let nobody = "0198c0de-0000-7000-8000-000000000001";
    let cases = [
        (give(&one, &one, "t", 10), Code::InvalidArgument, "TRANSFER_TO_SELF", "recipient"),
        (give(&one, nobody, "t", 10), Code::NotFound, "RECIPIENT_NOT_FOUND", ""),
        (v1::TransferPointsRequest { recipient: by_card("c-9"), ..give(&one, &other, "t", 10) }, Code::NotFound, "RECIPIENT_NOT_FOUND", ""),
        (give(nobody, &other, "t", 10), Code::NotFound, "MEMBER_NOT_FOUND", ""),
        (give(&one, &other, "t", 4), Code::FailedPrecondition, "BELOW_MINIMUM", ""),
        (give(&one, &other, "t", 501), Code::FailedPrecondition, "TRANSFER_TOO_LARGE", ""),
        (give(&one, &other, "t", 201), Code::FailedPrecondition, "INSUFFICIENT_POINTS", ""),
        (give(&one, &other, "t", -10), Code::InvalidArgument, "INVALID_FIELD", "points"),
        (v1::TransferPointsRequest { recipient: None, ..give(&one, &other, "t", 10) }, Code::InvalidArgument, "INVALID_FIELD", "recipient"),
    ];
    for (request, code, reason, field) in cases {
        let fields = if field.is_empty() { vec![] } else { vec![field.to_owned()] };
        let status = desk.transfer_points(request).await.unwrap_err();
        assert_eq!(refused(&status), Refused { code, reason: reason.into(), fields }, "{status:?}");
    }
    let suspend = v1::SuspendMemberRequest {
        request_id: "s-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&other),
        reason: "lost card".into(),
        actor: crate::support::actor(),
    };
    server.members().suspend_member(suspend).await.unwrap();
    assert_eq!(refused(&desk.transfer_points(give(&one, &other, "t", 10)).await.unwrap_err()).reason, "RECIPIENT_SUSPENDED");
    assert_eq!(refused(&desk.transfer_points(give(&other, &one, "t", 10)).await.unwrap_err()).reason, "MEMBER_SUSPENDED");
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (200, 0));
    server.stop().await;
    let closed = start_with(rule_book()).await;
    let (one, other) = (closed.enroll("c-1").await, closed.enroll("c-2").await);
    let refusal = closed.points().transfer_points(give(&one, &other, "t", 10)).await.unwrap_err();
    assert_eq!(refused(&refusal).reason, "TRANSFERS_NOT_OFFERED");
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_give_to_each_other_at_once_lose_and_double_nothing() {
    let (server, one, other) = family().await;
    server.points().adjust_points(adjustment(&other, "a-3", 200)).await.unwrap();
    let server = Arc::new(server);
    let mut calls = JoinSet::new();
    for n in 0..200 {
        let (from, to) = if n % 2 == 0 { (one.clone(), other.clone()) } else { (other.clone(), one.clone()) };
        let server = Arc::clone(&server);
        calls.spawn(async move { server.points().transfer_points(give(&from, &to, &format!("t-{n}"), 5 + n % 90)).await });
    }
    let mut net = 0;
    while let Some(outcome) = calls.join_next().await {
        match outcome.unwrap() {
            Ok(given) => {
                let entry = given.into_inner().entry.unwrap();
                let Some(v1::entry::Kind::PointsTransferredOut(sent)) = entry.kind else { panic!("{entry:?}") };
                net += if sent.to_member_id == other { sent.points } else { -sent.points };
            }
            Err(status) => assert_eq!(refused(&status).reason, "INSUFFICIENT_POINTS", "{status:?}"),
        }
    }
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (200 - net, 200 + net));
    Arc::into_inner(server).expect("all calls have ended").stop().await;
}

#[tokio::test]
async fn the_most_points_that_there_can_be_change_hands_and_come_back() {
    let server = start_with(v1::Program { adjustments: None, ..giving_without_bound() }).await;
    let (one, other) = (server.enroll("c-1").await, server.enroll("c-2").await);
    server.points().adjust_points(adjustment(&one, "a-1", i64::MAX)).await.unwrap();
    server.points().transfer_points(give(&one, &other, "t-1", 10)).await.unwrap();
    // What came and what was issued fit by themselves; their sum would not.
    server.points().transfer_points(give(&other, &one, "t-2", 10)).await.unwrap();
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (i64::MAX, 0));
    server.points().adjust_points(adjustment(&other, "a-2", 10)).await.unwrap();
    let too_many = server.points().transfer_points(give(&other, &one, "t-3", 10)).await.unwrap_err();
    assert_eq!(refused(&too_many), Refused { code: Code::OutOfRange, reason: "NUMBER_TOO_LARGE".into(), fields: vec![] });
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (i64::MAX, 10));
    server.stop().await;
}

fn giving_without_bound() -> v1::Program {
    v1::Program { transfers: Some(v1::TransferPolicy::default()), ..rule_book() }
}

#[tokio::test]
async fn a_retry_gives_the_first_answer_though_the_recipient_goes_by_another_card_now() {
    let (server, one, other) = family().await;
    let request = v1::TransferPointsRequest { recipient: by_card("c-2"), ..give(&one, &other, "t-1", 50) };
    let given = server.points().transfer_points(request.clone()).await.unwrap().into_inner();
    let remove = v1::RemoveIdentifierRequest {
        request_id: "i-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&other),
        identifier: Some(v1::Identifier { kind: v1::identifier::Kind::Card.into(), value: "c-2".into() }),
        ..Default::default()
    };
    server.members().remove_identifier(remove).await.unwrap();
    assert_eq!(server.points().transfer_points(request.clone()).await.unwrap().into_inner(), given);
    let reused = v1::TransferPointsRequest { points: 60, ..request };
    assert_eq!(refused(&server.points().transfer_points(reused).await.unwrap_err()).reason, "REQUEST_ID_REUSED");
    assert_eq!((available(&server, &one).await, available(&server, &other).await), (150, 50));
    server.stop().await;
}
