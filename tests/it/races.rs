//! Two tills that send the same: one purchase each.

use loyaltyd::contract::v1;
use tonic::Code;

use crate::support::{Refused, TestServer, refused, sale};

const RACES: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_with_the_same_request_id_record_one_purchase_each_time() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for race in 0..RACES {
        let request = sale(&member, &format!("o-{race}"), "10000");
        let (mut one, mut other) = (server.purchases(), server.purchases());
        let (one, other) = tokio::join!(
            tokio::spawn({
                let request = request.clone();
                async move { one.record_purchase(request).await }
            }),
            tokio::spawn(async move { other.record_purchase(request).await }),
        );
        assert_eq!(one.unwrap().unwrap().into_inner(), other.unwrap().unwrap().into_inner(), "race {race}");
    }
    assert_eq!(server.member(&member).await.lifetime.unwrap().visits, RACES as i64);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_with_the_same_order_record_one_purchase_each_time() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for race in 0..RACES {
        let request =
            |till: &str| v1::RecordPurchaseRequest { request_id: format!("{till}-{race}"), ..sale(&member, &format!("o-{race}"), "10000") };
        let (one, other) = (request("a"), request("b"));
        let (mut first, mut second) = (server.purchases(), server.purchases());
        let (one, other) = tokio::join!(
            tokio::spawn(async move { first.record_purchase(one).await }),
            tokio::spawn(async move { second.record_purchase(other).await }),
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        let expected = Refused { code: Code::AlreadyExists, reason: "PURCHASE_EXISTS".into(), fields: vec![] };
        match (&one, &other) {
            (Ok(_), Err(late)) | (Err(late), Ok(_)) => assert_eq!(refused(late), expected),
            _ => panic!("race {race}: {one:?} {other:?}"),
        }
    }
    assert_eq!(server.member(&member).await.lifetime.unwrap().visits, RACES as i64);
    server.stop().await;
}

#[tokio::test]
async fn the_same_request_id_with_another_payload_is_refused() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "10000")).await.unwrap();
    let before = server.member(&member).await;
    let expected = Refused { code: Code::AlreadyExists, reason: "REQUEST_ID_REUSED".into(), fields: vec![] };
    let other = v1::RecordPurchaseRequest { request_id: "sale-o-1".into(), ..sale(&member, "o-2", "10000") };
    assert_eq!(refused(&server.purchases().record_purchase(other).await.unwrap_err()), expected);
    // The id is used up for other methods too.
    let adjust = crate::support::adjustment(&member, "sale-o-1", 5);
    assert_eq!(refused(&server.points().adjust_points(adjust).await.unwrap_err()), expected);
    let enrol = v1::EnrollMemberRequest { request_id: "sale-o-1".into(), ..crate::support::enrolment("c-2") };
    assert_eq!(refused(&server.members().enroll_member(enrol).await.unwrap_err()), expected);
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}
