//! More calls than the service can carry out: it refuses at once and says when to come back, does not work for callers who have given up,
//! says the truth about its health, and keeps what it acknowledged. How fast that is, is the benchmark's business.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loyaltyd::{
    app::{self, RunningServer},
    config::{Config, Limits},
    contract::v1::{self, member_service_client::MemberServiceClient, purchase_service_client::PurchaseServiceClient},
    domain::{Command, Fingerprint, Identifier, IdentifierKind, Person, ProgramId, Request, RequestId},
    ledger::{Clock, Ledger, LedgerError, MIN_QUEUE, ManualClock, MemberTarget, Submission},
    store::{Store, embedded::EmbeddedStore},
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::support::{self, PROGRAM, Refused, held::Held, noon, refused, sale};

const MEMBERS: usize = 40;
/// Enough that each may have its part of [`CALLS`] under way at once: what a client keeps to itself is not refused.
const CONNECTIONS: usize = 32;
/// Clients who send batches.
const BATCHES: usize = 3;
/// Four times what may wait.
const CALLS: usize = 4 * MIN_QUEUE as usize;
/// Until the test fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// Purchases in a batch: the most there may be.
const BATCH: usize = 1_000;

/// The order, and what became of it.
type Answered = (String, Result<v1::RecordPurchaseResponse, Status>);

/// A server with the shortest queue, connections to it, and clients who send large batches as long as it lives.
struct Busy {
    server: RunningServer,
    clock: Arc<Held>,
    channel: Channel,
    channels: Vec<Channel>,
    members: Vec<String>,
    batches: JoinSet<usize>,
    stop: Arc<AtomicBool>,
}

impl Busy {
    async fn start(folder: &TempDir) -> Self {
        let config = support::config(folder.path(), vec![support::rule_book()]);
        let config = Config { limits: Limits { queue: MIN_QUEUE, ..config.limits }, ..config };
        let clock = Held::new();
        let mut server = app::start(config, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        server.ready().await.unwrap();
        let channel = support::connect(&server).await;
        let (mut members, mut desk) = (Vec::new(), MemberServiceClient::new(channel.clone()));
        for n in 0..MEMBERS {
            let enrolled = desk.enroll_member(support::enrolment(&format!("c-{n}"))).await.unwrap().into_inner();
            members.push(enrolled.member.unwrap().member_id);
        }
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(support::connect(&server).await);
        }
        let (mut batches, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for client in 0..BATCHES {
            batches.spawn(send_batches(support::connect(&server).await, client, members[0].clone(), Arc::clone(&stop)));
        }
        Self { server, clock, channel, channels, members, batches, stop }
    }

    /// One sale for each, all at once.
    fn wave(&self, orders: &[String]) -> JoinSet<Answered> {
        let mut calls = JoinSet::new();
        for (n, order) in orders.iter().enumerate() {
            let mut till = PurchaseServiceClient::new(self.channels[n % CONNECTIONS].clone());
            let (request, order) = (self.sale(order), order.clone());
            calls.spawn(async move { (order, till.record_purchase(request).await.map(tonic::Response::into_inner)) });
        }
        calls
    }

    fn sale(&self, order: &str) -> v1::RecordPurchaseRequest {
        let number: usize = order.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap();
        sale(&self.members[number % MEMBERS], order, "10000")
    }

    async fn is_recorded(&self, order: &str) -> bool {
        let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: order.into() };
        match PurchaseServiceClient::new(self.channel.clone()).get_purchase(request).await {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                false
            }
        }
    }

    async fn is_serving(&self) -> bool {
        let mut health = HealthClient::new(self.channel.clone());
        let answer = health.check(HealthCheckRequest { service: "loyalty.v1.PurchaseService".into() }).await.unwrap();
        answer.into_inner().status() == ServingStatus::Serving
    }

    /// Counts the purchases of all members: as many as were acknowledged.
    async fn end(mut self, acknowledged: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let recorded: usize = std::mem::take(&mut self.batches).join_all().await.into_iter().sum();
        let sum = acknowledged + recorded;
        let (mut visits, mut desk) = (0, MemberServiceClient::new(self.channel.clone()));
        for member in &self.members {
            let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: support::by_id(member), ..Default::default() };
            let member = desk.get_member(request).await.unwrap().into_inner().member.unwrap();
            visits += member.lifetime.map_or(0, |lifetime| lifetime.visits);
        }
        assert_eq!(visits, i64::try_from(sum).unwrap(), "all that was acknowledged is there, once, and nothing else");
        drop((desk, self.channel, self.channels));
        self.server.shutdown().await.unwrap();
    }
}

/// Gives the number of purchases that were recorded.
async fn send_batches(channel: Channel, client: usize, member: String, stop: Arc<AtomicBool>) -> usize {
    let mut till = PurchaseServiceClient::new(channel);
    let mut recorded = 0;
    for batch in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let purchases = (0..BATCH).map(|n| sale(&member, &format!("batch-{client}-{batch}-{n}"), "10000")).collect();
        let results = till.batch_record_purchases(v1::BatchRecordPurchasesRequest { purchases }).await.unwrap().into_inner().results;
        for result in results {
            // Batches wait for room, and are not refused.
            assert!(matches!(result.result, Some(v1::purchase_result::Result::Recorded(_))), "{result:?}");
            recorded += 1;
        }
    }
    recorded
}

/// While the writer is held nothing leaves the queue, so that exactly as many calls as it takes wait, and all others are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_queue_does_not_take_is_refused_with_a_delay_and_what_it_takes_is_kept() {
    let folder = TempDir::new().unwrap();
    let busy = Busy::start(&folder).await;
    let hold = busy.clock.hold();
    let orders: Vec<String> = (0..CALLS).map(|n| format!("wave-{n}")).collect();
    let (mut calls, mut turned_away) = (busy.wave(&orders), Vec::new());
    while turned_away.len() < CALLS - MIN_QUEUE as usize {
        let answered = tokio::time::timeout(PATIENCE, calls.join_next()).await;
        let answered = answered.unwrap_or_else(|_| panic!("only {} are refused, though nothing leaves the queue", turned_away.len()));
        let (order, answer) = answered.unwrap().unwrap();
        let status = answer.expect_err("nothing is carried out now");
        assert_eq!(refused(&status), Refused { code: Code::ResourceExhausted, reason: "QUEUE_FULL".into(), fields: vec![] });
        let delay = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
        assert!(delay.is_some_and(|delay| delay > Duration::ZERO), "{status:?}");
        turned_away.push(order);
    }
    assert!(busy.is_serving().await, "it serves, though not everybody");
    drop(hold);
    let mut acknowledged = 0;
    for (order, answer) in calls.join_all().await {
        answer.unwrap_or_else(|status| panic!("{order} was in the queue: {status:?}"));
        acknowledged += 1;
    }
    assert_eq!(acknowledged, MIN_QUEUE as usize);
    for order in &turned_away {
        assert!(!busy.is_recorded(order).await, "{order} was refused, so it is not there");
    }
    // Those who come back are served in the end, with the request that they had.
    busy.stop.store(true, Ordering::Relaxed);
    while !turned_away.is_empty() {
        let again = busy.wave(&turned_away[..turned_away.len().min(200)]).join_all().await;
        let served: Vec<String> = again.into_iter().filter_map(|(order, answer)| answer.ok().map(|_| order)).collect();
        acknowledged += served.len();
        turned_away.retain(|order| !served.contains(order));
    }
    busy.end(acknowledged).await;
}

/// The status that a sale is refused with.
async fn send_with_its_deadline(
    send: h2::client::SendRequest<prost::bytes::Bytes>,
    sale: tonic::Request<v1::RecordPurchaseRequest>,
) -> Status {
    let (metadata, _, sale) = sale.into_parts();
    let message = prost::Message::encode_to_vec(&sale);
    let framed = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let mut request = http::Request::post("http://test/loyalty.v1.PurchaseService/RecordPurchase").body(()).unwrap();
    *request.headers_mut() = metadata.into_headers();
    request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert("te", http::HeaderValue::from_static("trailers"));
    let mut send = send.ready().await.unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.send_data(framed.into(), true).unwrap();
    Status::from_header_map(answer.await.unwrap().headers()).expect("a status alone: nothing is carried out now")
}

/// Without luck but for this: when the service hears that a caller has gone, each of its two threads may be at work for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_whose_deadline_has_passed_while_they_waited_are_not_carried_out() {
    let folder = TempDir::new().unwrap();
    let clock = Held::new();
    let config = support::config(folder.path(), vec![support::rule_book()]);
    let mut server = app::start(config, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    server.ready().await.unwrap();
    let channel = support::connect(&server).await;
    let mut members = MemberServiceClient::new(channel.clone());
    let member = members.enroll_member(support::enrolment("c-1")).await.unwrap().into_inner().member.unwrap().member_id;
    let mut till = PurchaseServiceClient::new(channel.clone());

    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    let hold = clock.hold();
    let (mut patient, mut hasty) = (JoinSet::new(), JoinSet::new());
    for n in 0..40 {
        let (mut till, mut request) = (till.clone(), tonic::Request::new(sale(&member, &format!("order-{n}"), "10000")));
        if n % 2 == 0 {
            patient.spawn(async move { till.record_purchase(request).await });
        } else {
            // Not by the client's own clock, which would end it before the service does.
            request.metadata_mut().insert("grpc-timeout", "20m".parse().expect("a header"));
            hasty.spawn(send_with_its_deadline(send.clone(), request));
        }
    }
    for status in hasty.join_all().await {
        assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{status:?}");
    }
    assert!(patient.try_join_next().is_none(), "nothing is carried out now");
    // What is sent later on the connection is answered, so the service has heard of those who gave up; and it serves.
    for _ in 0..10 {
        let program_id = PROGRAM.into();
        let quote =
            v1::QuotePurchaseRequest { program_id, member: support::by_id(&member), purchase: Some(support::purchase("quoted", "10000")) };
        till.quote_purchase(quote).await.unwrap();
    }
    drop(hold);
    for answer in patient.join_all().await {
        answer.expect("who waits is served");
    }
    let mut late = 0;
    for n in 0..40 {
        let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: format!("order-{n}") };
        match till.get_purchase(request).await {
            Ok(_) => late += n % 2,
            Err(status) => assert!(n % 2 == 1 && status.code() == Code::NotFound, "order-{n}: {status:?}"),
        }
    }
    assert!(late <= 2, "work was done for {late} of 20 callers who had gone");
    connection.abort();
    drop((till, members, channel));
    server.shutdown().await.unwrap();
}

/// The same without gRPC: the store is kept busy by the test itself, which holds its only unit of work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_caller_gives_up_before_it_is_decided_is_dropped() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(EmbeddedStore::open(&folder.path().join("data"), support::options()).unwrap());
    let clock = Arc::new(ManualClock::new(noon()));
    let ledger = Ledger::open(Arc::clone(&store) as Arc<dyn Store>, clock).unwrap();
    ledger.publish(request("publish"), support::rule_book()).await.unwrap();
    let submissions: Vec<Submission> = (0..10).map(|n| enrolment(&ledger, &format!("c-{n}"))).collect();
    let (patient, hasty) = {
        let (ledger, store) = (ledger.clone(), Arc::clone(&store));
        tokio::task::spawn_blocking(move || {
            let unit = store.begin(&[]).unwrap();
            let tasks: Vec<_> = submissions
                .into_iter()
                .map(|submission| {
                    let ledger = ledger.clone();
                    tokio::spawn(async move { ledger.submit(submission).await })
                })
                .collect();
            // Each is in the queue, or taken from it, before half of them give up.
            while ledger.waiting() < tasks.len() {
                std::thread::yield_now();
            }
            let (mut patient, mut hasty) = (Vec::new(), Vec::new());
            for (n, task) in tasks.into_iter().enumerate() {
                if n % 2 == 0 { patient.push(task) } else { hasty.push(task) }
            }
            hasty.iter().for_each(tokio::task::JoinHandle::abort);
            while !hasty.iter().all(tokio::task::JoinHandle::is_finished) {
                std::thread::yield_now();
            }
            drop(unit);
            (patient, hasty.len())
        })
        .await
        .unwrap()
    };
    for task in patient {
        task.await.unwrap().unwrap();
    }
    assert_eq!(hasty, 5);
    let program = ProgramId::new(PROGRAM).unwrap();
    for n in 0..10 {
        let found = ledger.find(&program, &MemberTarget::Identifier(identifier(&format!("c-{n}"))));
        match n % 2 {
            0 => assert!(found.is_ok(), "c-{n} is enrolled"),
            _ => assert!(matches!(found, Err(LedgerError::Rejected(_))), "c-{n} is not enrolled, but {found:?}"),
        }
    }
    ledger.close().unwrap();
    assert_eq!(ledger.waiting(), 0, "what was dropped takes no room");
}

fn request(id: &str) -> Request {
    Request { id: RequestId::new(id).unwrap(), fingerprint: Fingerprint([7; 16]) }
}

fn identifier(card: &str) -> Identifier {
    Identifier::new(IdentifierKind::Card, card).unwrap()
}

fn enrolment(ledger: &Ledger, card: &str) -> Submission {
    let person = Person { identifiers: vec![identifier(card)], ..Person::default() };
    let program = ledger.program(&ProgramId::new(PROGRAM).unwrap()).unwrap();
    Submission {
        program,
        member: MemberTarget::New,
        request: request(card),
        actor: None,
        principal: None,
        command: Command::Enroll { person },
    }
}
