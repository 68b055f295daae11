//! Traces: what a collector gets of a call, under the trace of its caller, and that none waits for a collector.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use loyaltyd::{
    config::{Config, Observe},
    contract::v1::{self, identifier::Kind, purchase_service_client::PurchaseServiceClient},
    ledger::ManualClock,
    telemetry::traces::Collector,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use crate::support::{
    self, TestServer,
    access::{bearer, file_of, principal},
    authority::Authority,
    enrolment, identifier, loyaltyd, noon, rule_book, sale,
    scrape::scrape,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const PHONE: &str = "+84901230456";
const NAME: &str = "Nguyen Thi Planted";

/// What came, as it came.
#[derive(Clone, Default)]
pub struct Taken(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("nobody panics").push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Taken {
    pub async fn listen(&self) -> (SocketAddr, JoinHandle<()>) {
        self.listen_as(Server::builder()).await
    }

    async fn listen_as(&self, mut server: Server) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = server.add_service(TraceServiceServer::new(self.clone()));
        let task = tokio::spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it listens") });
        (address, task)
    }

    pub fn spans(&self) -> Vec<Span> {
        let taken = self.0.lock().expect("nobody panics");
        let scopes = taken.iter().flat_map(|request| &request.resource_spans).flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All of it, in words, but for the times: so many digits have any number in them once in a while.
    pub fn text(&self) -> String {
        let mut taken = self.0.lock().expect("nobody panics").clone();
        let scopes = taken.iter_mut().flat_map(|request| &mut request.resource_spans).flat_map(|resource| &mut resource.scope_spans);
        for span in scopes.flat_map(|scope| &mut scope.spans) {
            (span.start_time_unix_nano, span.end_time_unix_nano) = (0, 0);
            span.events.iter_mut().for_each(|event| event.time_unix_nano = 0);
        }
        format!("{taken:?}")
    }
}

async fn start(collector: SocketAddr, ratio: f64) -> TestServer {
    let folder = TempDir::new().expect("a temporary folder");
    let metrics = Some("127.0.0.1:0".parse().expect("an address"));
    let traces = Some(Collector { endpoint: format!("http://{collector}"), ratio });
    let config = Config { observe: Observe { metrics, traces }, ..support::config(folder.path(), vec![rule_book()]) };
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

fn traced<T>(message: T, parent: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().append("traceparent", parent.parse().expect("metadata"));
    request
}

fn attribute(span: &Span, name: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value
}

fn text(span: &Span, name: &str) -> Option<String> {
    match attribute(span, name)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}

fn text_of(span: &Span, name: &str) -> String {
    text(span, name).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const RECORD: &str = "loyalty.v1.PurchaseService/RecordPurchase";

#[tokio::test]
async fn a_call_is_a_span_under_its_callers_with_its_way_through_the_queue_below_it() {
    let taken = Taken::default();
    let (collector, task) = taken.listen().await;
    let server = start(collector, 0.0).await;
    let member = server.enroll("c-1").await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let mut till = PurchaseServiceClient::new(server.channel.clone());
    let mut request = traced(sale(&member, "o-1", "100000"), &parent);
    request.metadata_mut().insert("tracestate", "shop=1".parse().expect("metadata"));
    till.record_purchase(request).await.expect("it is recorded");
    let bad = v1::RecordPurchaseRequest { purchase: None, ..sale(&member, "o-2", "1") };
    till.record_purchase(traced(bad, &parent)).await.expect_err("it is refused");
    // A caller who says that it is not traced, and callers who say nothing, are not.
    till.record_purchase(traced(sale(&member, "o-3", "100000"), &format!("00-{TRACE}-{PARENT}-00"))).await.expect("it is recorded");
    till.record_purchase(sale(&member, "o-4", "100000")).await.expect("it is recorded");
    server.stop().await;
    let spans = taken.spans();
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == RECORD).collect();
    let [recorded, refused] = calls.as_slice() else { panic!("{spans:#?}") };
    for (span, outcome, code) in [(recorded, "OK", 0), (refused, "INVALID_FIELD", 3)] {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        assert_eq!(span.kind(), SpanKind::Server);
        assert_eq!(text(span, "rpc.system").as_deref(), Some("grpc"));
        assert_eq!(text(span, "rpc.service").as_deref(), Some("loyalty.v1.PurchaseService"));
        assert_eq!(text(span, "rpc.method").as_deref(), Some("RecordPurchase"));
        assert_eq!(text(span, "loyaltyd.program").as_deref(), Some("vietnam"));
        assert_eq!(text(span, "loyaltyd.outcome").as_deref(), Some(outcome));
        assert_eq!(attribute(span, "rpc.grpc.status_code"), Some(Value::IntValue(code)));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        // What a caller did wrong is no fault of the server.
        assert!(span.status.as_ref().is_none_or(|status| status.code() != StatusCode::Error), "{span:?}");
    }
    assert_eq!((recorded.trace_state.as_str(), refused.trace_state.as_str()), ("shop=1", ""));
    let parts: Vec<&Span> = spans.iter().filter(|span| span.name != RECORD).collect();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["queue", "decide", "commit"], "only what was recorded came to the writer");
    for part in &parts {
        assert_eq!((&part.trace_id, &part.parent_span_id), (&recorded.trace_id, &recorded.span_id));
        assert!(part.start_time_unix_nano >= recorded.start_time_unix_nano && part.end_time_unix_nano <= recorded.end_time_unix_nano);
    }
    assert!(parts.windows(2).all(|pair| pair[0].end_time_unix_nano <= pair[1].start_time_unix_nano), "one after the other");
    task.abort();
}

#[tokio::test]
async fn of_callers_who_say_nothing_a_share_is_traced_and_what_is_no_context_says_nothing() {
    let taken = Taken::default();
    let (collector, task) = taken.listen().await;
    let server = start(collector, 1.0).await;
    let member = server.enroll("c-1").await;
    let bad = [
        "00",
        "garbage",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    for (number, parent) in bad.into_iter().enumerate() {
        let request = traced(sale(&member, &format!("o-{number}"), "100000"), parent);
        server.purchases().record_purchase(request).await.expect("it is recorded all the same");
    }
    server.stop().await;
    let spans = taken.spans();
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == RECORD).collect();
    assert_eq!(calls.len(), bad.len());
    assert!(calls.iter().all(|span| span.parent_span_id.is_empty() && hex(&span.trace_id) != TRACE), "{calls:?}");
    task.abort();
}

/// A stranger cannot fill the queue of spans by asking for traces.
#[tokio::test]
async fn who_is_not_let_in_is_counted_and_not_traced() {
    let taken = Taken::default();
    let (collector, task) = taken.listen().await;
    let folder = TempDir::new().expect("a temporary folder");
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let file = folder.path().join("access.yaml");
    std::fs::write(&file, file_of(&[&line])).expect("a file can be written");
    let access = loyaltyd::config::AccessConfig { file: Some(file), ..Default::default() };
    let metrics = Some("127.0.0.1:0".parse().expect("an address"));
    let traces = Some(Collector { endpoint: format!("http://{collector}"), ratio: 1.0 });
    let config = Config { access, observe: Observe { metrics, traces }, ..support::config(folder.path(), vec![rule_book()]) };
    let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
    let address = server.metrics_address().expect("metrics are served");
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let get = v1::GetProgramRequest { program_id: support::PROGRAM.into(), ..Default::default() };
    let known = |mut request: Request<v1::GetProgramRequest>| {
        request.metadata_mut().insert("authorization", bearer(&key));
        request
    };
    for _ in 0..5 {
        server.programs().get_program(traced(get.clone(), &parent)).await.expect_err("it has no credential");
    }
    // Health is open to everybody, and nobody from the street is traced for it.
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel.clone());
    health.check(traced(tonic_health::pb::HealthCheckRequest::default(), &parent)).await.expect("it is open");
    server.programs().get_program(known(traced(get.clone(), &parent))).await.expect("it is let in");
    let seen = scrape(address).await;
    let of_get = "service=\"loyalty.v1.ProgramService\",method=\"GetProgram\"";
    assert_eq!(seen.value(&format!("loyaltyd_rpc_requests_total{{{of_get},code=\"UNAUTHENTICATED\"}}")), 5.0);
    server.stop().await;
    let names: Vec<String> = taken.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["loyalty.v1.ProgramService/GetProgram"]);
    task.abort();
}

#[tokio::test]
async fn nothing_personal_is_in_a_trace() {
    let taken = Taken::default();
    let (collector, task) = taken.listen().await;
    let server = start(collector, 1.0).await;
    let mut enrolment = enrolment("c-planted");
    enrolment.identifiers.push(identifier(Kind::Phone, PHONE));
    enrolment.profile = Some(v1::Profile { display_name: NAME.into(), ..Default::default() });
    let member = server.members().enroll_member(enrolment.clone()).await.expect("it enrols").into_inner().member.expect("a member");
    // Refusals name what they refuse, but not to the collector.
    enrolment.request_id = "another".into();
    server.members().enroll_member(enrolment).await.expect_err("the phone number is taken");
    let odd = v1::GetMemberRequest { program_id: NAME.into(), ..Default::default() };
    server.members().get_member(odd).await.expect_err("there is no such programme");
    // What has the form of an id is shown if there is such a programme: in a batch, which is not refused, and in a rule book that is.
    let other = v1::RecordPurchaseRequest { program_id: "planted-84901230456".into(), ..sale(&member.member_id, "o-planted", "100000") };
    server.purchases().batch_record_purchases(v1::BatchRecordPurchasesRequest { purchases: vec![other] }).await.expect("it is answered");
    let program = Some(v1::Program { program_id: "planted-84901230456".into(), ..Default::default() });
    let publish = v1::PublishProgramRequest { request_id: "p-planted".into(), program, ..Default::default() };
    server.programs().publish_program(publish).await.expect_err("it says nothing");
    let mut strange = tonic::client::Grpc::new(server.channel.clone());
    strange.ready().await.expect("the connection lives");
    let path = http::uri::PathAndQuery::from_static("/loyalty.v1.MemberService/+84901230456");
    let codec = tonic_prost::ProstCodec::<String, ()>::default();
    strange.unary(tonic::Request::new(String::new()), path, codec).await.expect_err("nobody has it");
    drop(strange);
    server.purchases().record_purchase(sale(&member.member_id, "order-planted", "100000")).await.expect("it is recorded");
    server.stop().await;
    let (text, spans) = (taken.text(), taken.spans());
    assert!(spans.iter().any(|span| span.name == "unknown") && spans.len() >= 7, "{spans:#?}");
    let programs = |method: &str| {
        let called = spans.iter().filter(|span| text_of(span, "rpc.method") == method);
        called.map(|span| text_of(span, "loyaltyd.program")).collect::<Vec<_>>()
    };
    assert_eq!(programs("BatchRecordPurchases"), ["unknown"]);
    assert_eq!(programs("PublishProgram"), ["unknown"]);
    assert_eq!(programs("EnrollMember"), [support::PROGRAM, support::PROGRAM]);
    for personal in [PHONE, &PHONE[3..], NAME, "Planted", "planted", member.member_id.as_str()] {
        assert!(!text.contains(personal), "{personal} is in {text}");
    }
    task.abort();
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_no_call_and_no_stop() {
    // It takes connections, and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = deaf.local_addr().expect("an address");
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    for collector in [address, nobody] {
        let server = start(collector, 1.0).await;
        let member = server.enroll("c-1").await;
        let started = Instant::now();
        let batches: Vec<_> = (0..40)
            .map(|number| {
                let (mut till, member) = (server.purchases(), member.clone());
                tokio::spawn(async move {
                    for part in 0..40 {
                        till.record_purchase(sale(&member, &format!("o-{number}-{part}"), "10000")).await.expect("it is recorded");
                    }
                })
            })
            .collect();
        for batch in batches {
            batch.await.expect("all are recorded");
        }
        // 1,600 calls of four spans each are more than wait: the others are dropped, and counted.
        let seen = scrape(server.metrics_address().expect("metrics are served")).await;
        let lost = |result: &str| seen.value(&format!("loyaltyd_trace_spans_total{{result=\"{result}\"}}"));
        assert_eq!(lost("exported"), 0.0);
        assert!(lost("dropped") + lost("failed") > 0.0, "after {:?}: {}", started.elapsed(), seen.text);
        let stopping = Instant::now();
        server.stop().await;
        assert!(stopping.elapsed() < Duration::from_secs(30), "{:?}", stopping.elapsed());
    }
    drop(deaf);
}

#[tokio::test]
async fn without_the_flag_nothing_is_made() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let request = traced(sale(&member, "o-1", "100000"), &format!("00-{TRACE}-{PARENT}-01"));
    server.purchases().record_purchase(request).await.expect("it is recorded");
    assert_eq!(server.metrics_address(), None);
    server.stop().await;
}

/// The program in a process of its own, for its environment says whom it trusts; the lines of its log.
fn serve(folder: &Path, collector: SocketAddr, authority: &Path) -> (Child, mpsc::Receiver<String>) {
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/programs/vietnam.yaml");
    let mut process = loyaltyd()
        .args(["serve", "--listen", "127.0.0.1:0", "--otlp-sample-ratio", "1", "--program", book])
        .args(["--otlp-endpoint", &format!("https://{collector}"), "--data"])
        .arg(folder.join("data"))
        .env("SSL_CERT_FILE", authority)
        .env_remove("SSL_CERT_DIR")
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let log = BufReader::new(process.stderr.take().expect("its log")).lines();
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || log.map_while(Result::ok).try_for_each(|line| send.send(line)));
    (process, lines)
}

/// The first line of the log that says so.
fn line_with(lines: &mpsc::Receiver<String>, part: &str) -> String {
    loop {
        let line = lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("the log does not say {part}"));
        if line.contains(part) {
            return line;
        }
    }
}

#[tokio::test]
async fn a_collector_with_a_certificate_of_a_private_authority_is_trusted_if_ssl_cert_file_names_that() {
    let files = TempDir::new().expect("a temporary folder");
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let issued = ours.issue(&["127.0.0.1"]);
    let identity = Identity::from_pem(issued.certificate, issued.key);
    let taken = Taken::default();
    let secured = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).expect("a certificate");
    let (collector, task) = taken.listen_as(secured).await;
    for (authority, is_trusted) in [(other.write(files.path(), "other"), false), (ours.write(files.path(), "ours"), true)] {
        let folder = TempDir::new().expect("a temporary folder");
        let (mut process, lines) = serve(folder.path(), collector, &authority);
        let (log, said) = tokio::task::spawn_blocking(move || (line_with(&lines, "listening on "), lines)).await.expect("it listens");
        let address = log.rsplit(' ').next().expect("an address").to_owned();
        let lines = tokio::task::spawn_blocking(move || (line_with(&said, ": serving"), said).1).await.expect("it serves");
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await;
        let mut members = v1::member_service_client::MemberServiceClient::new(channel.expect("it is reached"));
        members.enroll_member(enrolment("c-1")).await.expect("it enrols");
        if is_trusted {
            let came = async {
                while !taken.spans().iter().any(|span| span.name == "loyalty.v1.MemberService/EnrollMember") {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), came).await.expect("the collector gets it");
        } else {
            let line = tokio::task::spawn_blocking(move || line_with(&lines, "the collector takes no traces")).await.expect("it says so");
            assert!(line.contains("UnknownIssuer") && line.contains("SSL_CERT_FILE"), "{line}");
            assert_eq!(taken.spans(), Vec::new());
        }
        process.kill().expect("it can be ended");
        process.wait().expect("it ends");
    }
    task.abort();
}
