//! More comes than can be taken: what is refused says when to come back and changed nothing, what is not is recorded once, and health is
//! told meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loyaltyd::{contract::v1, ledger::QUEUE_BOUND};
use tokio::task::JoinSet;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::support::{TestServer, sale};

/// Connections that each send as much as one may have under way.
const CONNECTIONS: usize = 6;
const CALLS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_refused_where_it_must_be_and_counted_once_where_not() {
    let server = TestServer::start().await;
    let member = server.enroll("m1").await;
    let flooding = Arc::new(AtomicBool::new(true));
    let watch = tokio::spawn(watch_health(server.address(), flooding.clone()));
    let mut calls = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let client = v1::purchase_service_client::PurchaseServiceClient::new(connect(server.address()).await);
        for call in 0..CALLS {
            let (mut client, sale) = (client.clone(), sale(&member, &format!("{connection}-{call}"), "10000"));
            calls.spawn(async move { client.record_purchase(sale).await.map(drop) });
        }
    }
    let (mut recorded, mut refused) = (0, 0);
    while let Some(outcome) = calls.join_next().await {
        match outcome.expect("the task ends") {
            Ok(()) => recorded += 1,
            Err(status) => {
                check_refusal(&status);
                refused += 1;
            }
        }
    }
    flooding.store(false, Ordering::Relaxed);
    assert!(watch.await.expect("the task ends") > 0, "health was told");
    assert_eq!(recorded + refused, CONNECTIONS * CALLS);
    assert!(recorded >= QUEUE_BOUND, "{recorded} recorded, {refused} refused");
    // What was refused changed nothing, and who comes back is taken.
    let visits = server.member(&member).await.lifetime.map(|lifetime| lifetime.visits);
    assert_eq!(visits, Some(i64::try_from(recorded).expect("a small number")));
    server.purchases().record_purchase(sale(&member, "after", "10000")).await.expect("it is recorded");
    server.stop().await;
}

async fn connect(address: std::net::SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("the server listens")
}

fn check_refusal(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.get_details_error_info().map(|info| info.reason).as_deref(), Some("QUEUE_FULL"));
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(delay.is_some_and(|delay| delay > Duration::ZERO), "{status:?}");
}

/// How often it was told that the service serves, which it does.
async fn watch_health(address: std::net::SocketAddr, flooding: Arc<AtomicBool>) -> usize {
    let mut health = HealthClient::new(connect(address).await);
    let mut told = 0;
    while flooding.load(Ordering::Relaxed) {
        let answer = health.check(HealthCheckRequest::default()).await.expect("it is told").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        told += 1;
    }
    told
}
