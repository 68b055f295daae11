//! What messages of requests take in memory is bounded, whoever sends them: what comes above is refused at once, and others are served.

use std::{sync::Arc, time::Duration};

use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use loyaltyd::{
    config::{AccessConfig, Config},
    contract::v1,
    ledger::ManualClock,
};
use prost::Message as _;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::Code;

use crate::{
    limits::PATIENCE,
    metrics::{wait_for, watched},
    support::{
        TestServer,
        access::{by, file_of, principal},
        noon, refused, rule_book, sale,
        scrape::{Scraped, scrape},
    },
};

const MIB: usize = 1 << 20;
/// That there is for all: messages that are large leave an eighth of it.
const BOUND: usize = 24 * MIB;
const BATCH: &str = "/loyalty.v1.PurchaseService/BatchRecordPurchases";
const STREAM: &str = "/loyalty.v1.PurchaseService/StreamPurchases";

async fn start(change: impl FnOnce(TempDir, &mut Config) -> TempDir) -> TestServer {
    let folder = TempDir::new().expect("a folder");
    let mut config = watched(folder.path(), vec![rule_book()]);
    config.connections.request_memory_bytes = BOUND;
    let folder = change(folder, &mut config);
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

/// A connection on which messages are sent in parts.
pub struct Line {
    send: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

/// A call of which something has been sent.
pub type Begun = (ResponseFuture, SendStream<Bytes>);

impl Line {
    pub async fn open(server: &TestServer) -> Self {
        let socket = TcpStream::connect(server.address()).await.expect("the server listens");
        let (send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        Self { send, connection: tokio::spawn(async move { drop(connection.await) }) }
    }

    /// Nothing of the message is sent.
    async fn call(&mut self, path: &str, credential: Option<&str>) -> Begun {
        let mut request =
            http::Request::post(format!("http://test{path}")).header("content-type", "application/grpc").header("te", "trailers");
        if let Some(credential) = credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        let mut send = self.send.clone().ready().await.expect("there is a place");
        send.send_request(request.body(()).expect("a request"), false).expect("it is sent")
    }

    /// Three MiB of a message of four.
    pub async fn part(&mut self, path: &str, credential: Option<&str>) -> Begun {
        let (answer, mut body) = self.call(path, credential).await;
        let part = [&[0], &u32::try_from(4 * MIB).expect("small").to_be_bytes()[..], &vec![7; 3 * MIB]].concat();
        // Whoever is not let in may have been told so.
        let _ = body.send_data(part.into(), false);
        (answer, body)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn refusal(answer: ResponseFuture) -> tonic::Status {
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("at once").expect("an answer");
    tonic::Status::from_header_map(answer.headers()).expect("it is refused")
}

fn is_full(status: &tonic::Status) -> bool {
    use tonic_types::StatusExt as _;
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let refused = refused(status);
    (refused.code, refused.reason.as_str()) == (Code::ResourceExhausted, "REQUEST_MEMORY_FULL")
        && delay.is_some_and(|delay| delay > Duration::ZERO)
}

fn taken(seen: &Scraped) -> usize {
    seen.value("loyaltyd_request_memory_bytes") as usize
}

async fn until_taken(server: &TestServer, bytes: usize) -> Scraped {
    wait_for(server.metrics_address().expect("it has metrics"), |seen| taken(seen) == bytes).await
}

/// A purchase with a field that there is not of so many bytes.
fn padded(purchase: v1::RecordPurchaseRequest, bytes: usize) -> Vec<u8> {
    let message = v1::StreamPurchasesRequest { purchase: Some(purchase) };
    let mut content = message.encode_to_vec();
    prost::encoding::encode_key(999, prost::encoding::WireType::LengthDelimited, &mut content);
    prost::encoding::encode_varint(bytes as u64, &mut content);
    content.resize(content.len() + bytes, 7);
    [&[0], &u32::try_from(content.len()).expect("small").to_be_bytes()[..], &content].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_do_not_end_take_no_more_than_there_is_and_others_are_answered() {
    let server = start(|folder, _| folder).await;
    let member = server.enroll("c-1").await;
    // As much as its head says.
    let part = 4 * MIB + 5;
    for path in [BATCH, STREAM] {
        let mut line = Line::open(&server).await;
        let mut held = Vec::new();
        for n in 1..=5 {
            held.push(line.part(path, None).await);
            until_taken(&server, n * part).await;
        }
        let before = scrape(server.metrics_address().expect("it has metrics")).await.value("loyaltyd_request_memory_refused_total");
        let (answer, _body) = line.part(path, None).await;
        // A stream's answer begins before its first message is read.
        if path == BATCH {
            let status = refusal(answer).await;
            assert!(is_full(&status), "{status:?}");
        } else {
            let answer = tokio::time::timeout(PATIENCE, answer).await.expect("at once").expect("an answer");
            let mut body = answer.into_body();
            let trailers = tokio::time::timeout(PATIENCE, body.trailers()).await.expect("at once").expect("an end").expect("a status");
            let status = tonic::Status::from_header_map(&trailers).expect("a status");
            assert!(is_full(&status), "{status:?}");
        }
        let seen = until_taken(&server, 5 * part).await;
        assert_eq!(seen.value("loyaltyd_request_memory_refused_total"), before + 1.0);
        assert_eq!(seen.value("loyaltyd_request_memory_bound_bytes") as usize, BOUND);
        server.purchases().record_purchase(sale(&member, &format!("o-{path}"), "10000")).await.expect("there is room for what is small");
        // Given up by their callers.
        drop(held);
        until_taken(&server, 0).await;
        drop(line);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_as_many_large_messages_as_it_likes_one_after_the_other() {
    let server = start(|folder, _| folder).await;
    let member = server.enroll("c-1").await;
    let mut line = Line::open(&server).await;
    let (answer, mut body) = line.call(STREAM, None).await;
    for n in 0..12 {
        body.send_data(padded(sale(&member, &format!("o-{n}"), "10000"), 3 * MIB).into(), false).expect("it is sent");
    }
    body.send_data(Bytes::new(), true).expect("it is sent");
    let mut answers = tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer").into_body();
    let mut bytes = Vec::new();
    while let Some(data) = tokio::time::timeout(PATIENCE, answers.data()).await.expect("in time") {
        let data = data.expect("it goes on");
        answers.flow_control().release_capacity(data.len()).expect("it was taken");
        bytes.extend(data);
    }
    let trailers = answers.trailers().await.expect("an end").expect("a status");
    assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    let mut rest = &bytes[..];
    let mut recorded = 0;
    while let Some((head, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
        let answer = v1::StreamPurchasesResponse::decode(&after[..length]).expect("an answer");
        let result = answer.result.and_then(|result| result.result).expect("a result");
        assert!(matches!(result, v1::purchase_result::Result::Recorded(_)), "{result:?}");
        (rest, recorded) = (&after[length..], recorded + 1);
    }
    assert_eq!(recorded, 12);
    until_taken(&server, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_principal_leaves_half_to_others_also_when_the_access_file_is_read_again() {
    let ((tills, first), (shop, second), (witness, third)) =
        (principal("tills", "pos", "vietnam", ""), principal("shop", "pos", "vietnam", ""), principal("desk", "support", "vietnam", ""));
    let mut file = None;
    let server = start(|folder, config| {
        let path = folder.path().join("access.yaml");
        std::fs::write(&path, file_of(&[&first, &second])).expect("it is written");
        config.access = AccessConfig { file: Some(path.clone()), look_every: Duration::from_millis(10), ..AccessConfig::default() };
        file = Some(path);
        folder
    })
    .await;
    let guarded = crate::support::access::Guarded { server, file: file.expect("it is made") };
    let server = &guarded.server;
    // As much as its head says.
    let part = 4 * MIB + 5;
    let mut line = Line::open(server).await;
    let held = [line.part(BATCH, Some(&tills)).await, line.part(STREAM, Some(&tills)).await];
    until_taken(server, 2 * part).await;
    let full = async |line: &mut Line, credential: &str| {
        let (answer, _body) = line.part(BATCH, Some(credential)).await;
        let status = refusal(answer).await;
        assert!(is_full(&status), "{status:?}");
    };
    full(&mut line, &tills).await;
    guarded.replace(&file_of(&[&first, &second, &third]), &witness).await;
    full(&mut line, &tills).await;
    // On the same connection and on another one.
    let mut other = Line::open(server).await;
    let others = [line.part(BATCH, Some(&shop)).await, other.part(BATCH, Some(&shop)).await];
    until_taken(server, 4 * part).await;
    full(&mut other, &shop).await;
    // Without a credential nothing is read of a message.
    let (answer, _body) = other.part(BATCH, None).await;
    assert_eq!(refused(&refusal(answer).await).reason, "CREDENTIAL_MISSING");
    server
        .members()
        .list_members(by(&witness, v1::ListMembersRequest { program_id: "vietnam".into(), ..Default::default() }))
        .await
        .expect("others are answered");
    until_taken(server, 4 * part).await;
    drop((held, others));
    until_taken(server, 0).await;
    drop((line, other));
    guarded.server.stop().await;
}

/// Purchases of streams that wait to be decided have room in common; answers that nobody takes are not of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_whose_answers_nobody_takes_keep_no_other_from_going_on() {
    // As little as it can be: what one stream may have under way.
    let server = start(|folder, config| {
        config.connections.request_memory_bytes = MIB;
        folder
    })
    .await;
    let member = server.enroll("c-1").await;
    let mut line = Line::open(&server).await;
    let mut deaf = Vec::new();
    for stream in 0..3 {
        let (answer, mut body) = line.call(STREAM, None).await;
        for n in 0..1_200 {
            body.send_data(padded(sale(&member, &format!("deaf-{stream}-{n}"), "10000"), 0).into(), false).expect("it is sent");
        }
        deaf.push((answer, body));
    }
    let requests: Vec<_> =
        (0..1_500).map(|n| v1::StreamPurchasesRequest { purchase: Some(sale(&member, &format!("o-{n}"), "10000")) }).collect();
    let mut answers = server.purchases().stream_purchases(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    let mut recorded = 0;
    while let Some(answer) = tokio::time::timeout(PATIENCE, answers.message()).await.expect("it goes on").expect("an answer") {
        let result = answer.result.and_then(|result| result.result).expect("a result");
        assert!(matches!(result, v1::purchase_result::Result::Recorded(_)), "{result:?}");
        recorded += 1;
    }
    assert_eq!(recorded, 1_500);
    drop((deaf, line));
    server.stop().await;
}
