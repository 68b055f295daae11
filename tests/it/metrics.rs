//! Metrics: what Prometheus reads follows what happened, equals the ledger, holds nothing personal, and is had from a port that is hard to
//! hold on to.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use loyaltyd::{
    app::{self, RunningServer},
    config::{AccessConfig, Config, Connections, Observe, Openness},
    contract::v1::{self, identifier::Kind},
    ledger::{Clock, ManualClock},
    store::embedded,
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::Code;

use crate::{
    redemption::{redeem, spending},
    support::{
        self, PROGRAM, TestServer, access, adjustment,
        authority::Authority,
        enrolment,
        frames::Raw,
        identifier, noon, sale,
        scrape::{Scraped, ask, parse, scrape},
    },
};

/// No wait takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const PHONE: &str = "+84901230456";
const NAME: &str = "Nguyen Thi Planted";

pub fn watched(folder: &Path, programs: Vec<v1::Program>) -> Config {
    let metrics = Some("127.0.0.1:0".parse().expect("an address"));
    Config { observe: Observe { metrics, traces: None }, ..support::config(folder, programs) }
}

pub async fn start() -> TestServer {
    let folder = TempDir::new().expect("a temporary folder");
    let config = watched(folder.path(), vec![spending()]);
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

pub fn port(server: &TestServer) -> SocketAddr {
    server.metrics_address().expect("metrics are served")
}

/// Reads again and again until what is waited for is there.
pub async fn wait_for(address: SocketAddr, is_there: impl Fn(&Scraped) -> bool) -> Scraped {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let scraped = scrape(address).await;
            if is_there(&scraped) {
                return scraped;
            }
        }
    });
    waited.await.expect("it comes in time")
}

const OF_RECORD: &str = "service=\"loyalty.v1.PurchaseService\",method=\"RecordPurchase\"";

#[tokio::test]
async fn calls_count_by_method_and_code_also_those_that_no_handler_sees() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    for number in 0..7 {
        server.purchases().record_purchase(sale(&member, &format!("o-{number}"), "100000")).await.expect("it is recorded");
    }
    for number in 0..3 {
        let bad = v1::RecordPurchaseRequest { purchase: None, ..sale(&member, &format!("bad-{number}"), "1") };
        server.purchases().record_purchase(bad).await.expect_err("it is refused");
    }
    let mut strange = tonic::client::Grpc::new(server.channel.clone());
    for path in ["/loyalty.v1.PurchaseService/+84901230456", "/Nguyen/Lan", "/loyalty.v9.X/Y"] {
        strange.ready().await.expect("the connection lives");
        let path = http::uri::PathAndQuery::from_static(path);
        let codec = tonic_prost::ProstCodec::<String, ()>::default();
        let status = strange.unary(tonic::Request::new(String::new()), path, codec).await.expect_err("nobody has it");
        assert_eq!(status.code(), Code::Unimplemented);
    }
    let batch =
        v1::BatchRecordPurchasesRequest { purchases: (0..4).map(|number| sale(&member, &format!("b-{number}"), "100000")).collect() };
    server.purchases().batch_record_purchases(batch).await.expect("they are recorded");
    let requests = (0..2).map(|number| v1::StreamPurchasesRequest { purchase: Some(sale(&member, &format!("s-{number}"), "100000")) });
    let requests: Vec<_> = requests.collect();
    let mut answers = server.purchases().stream_purchases(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    while answers.message().await.expect("an answer").is_some() {}
    let is_ended = |seen: &Scraped| {
        let stream = "service=\"loyalty.v1.PurchaseService\",method=\"StreamPurchases\",code=\"OK\"";
        seen.find(&format!("loyaltyd_rpc_requests_total{{{stream}}}")) == Some(1.0)
    };
    let seen = wait_for(port(&server), is_ended).await;
    let count = |labels: &str| seen.value(&format!("loyaltyd_rpc_requests_total{{{labels}}}"));
    assert_eq!(count(&format!("{OF_RECORD},code=\"OK\"")), 7.0);
    assert_eq!(count(&format!("{OF_RECORD},code=\"INVALID_ARGUMENT\"")), 3.0);
    assert_eq!(count("service=\"unknown\",method=\"unknown\",code=\"UNIMPLEMENTED\""), 3.0);
    assert_eq!(count("service=\"loyalty.v1.PurchaseService\",method=\"BatchRecordPurchases\",code=\"OK\""), 1.0);
    assert_eq!(count("service=\"loyalty.v1.MemberService\",method=\"EnrollMember\",code=\"OK\""), 1.0);
    assert_eq!(
        count("service=\"loyalty.v1.MemberService\",method=\"EraseMember\",code=\"OK\""),
        0.0,
        "one that nobody called is there too"
    );
    for code in ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"] {
        assert_eq!(count(&format!("{OF_RECORD},code=\"{code}\"")), 0.0, "a rate of {code} has something to begin from");
    }
    assert_eq!(seen.find(&format!("loyaltyd_rpc_requests_total{{{OF_RECORD},code=\"NOT_FOUND\"}}")), None);
    assert_eq!(seen.value(&format!("loyaltyd_rpc_duration_seconds_count{{{OF_RECORD}}}")), 10.0);
    assert!(seen.value(&format!("loyaltyd_rpc_duration_seconds_sum{{{OF_RECORD}}}")) > 0.0);
    assert_eq!(seen.value(&format!("loyaltyd_rpc_in_flight{{{OF_RECORD}}}")), 0.0);
    assert_eq!(seen.value("loyaltyd_connections_open"), 1.0);
    for stranger in ["Nguyen", "v9", "84901230456"] {
        assert!(!seen.text.contains(stranger), "what a caller wrote is no label: {stranger}");
    }
    // 1 enrolment, 7 purchases one by one, 4 + 2 together.
    assert_eq!(seen.value("loyaltyd_queue_entered_commands_total"), 8.0);
    assert_eq!(seen.value("loyaltyd_commit_commands_sum"), 14.0);
    assert_eq!(seen.value("loyaltyd_queue_commands{queue=\"single\"}"), 0.0);
    assert_eq!(seen.value("loyaltyd_queue_bound_commands{queue=\"single\"}"), 2_048.0);
    server.stop().await;
}

#[tokio::test]
async fn calls_that_access_refuses_count_by_method_and_code() {
    let (till, line) = access::principal("tills", "pos", "vietnam", "limits: {requests_per_second: 5}, ");
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("access.yaml");
    std::fs::write(&file, access::file_of(&[&line])).expect("a file can be written");
    let access = AccessConfig { file: Some(file), health: Openness::Closed, ..AccessConfig::default() };
    let config = Config { access, ..watched(folder.path(), vec![spending()]) };
    let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
    let call = async |path: &str, credential: Option<&str>, message: Vec<u8>| {
        access::call(&server.channel, path, credential, message).await.expect_err("it is refused").code()
    };
    for _ in 0..3 {
        assert_eq!(call("/loyalty.v1.PurchaseService/RecordPurchase", None, Vec::new()).await, Code::Unauthenticated);
    }
    let wrong = Some("ldk_+84901230456");
    assert_eq!(call("/loyalty.v1.PurchaseService/StreamPurchases", wrong, Vec::new()).await, Code::Unauthenticated);
    assert_eq!(call("/grpc.health.v1.Health/Check", None, Vec::new()).await, Code::Unauthenticated);
    assert_eq!(call("/+84901230456/Nguyen", None, Vec::new()).await, Code::Unauthenticated);
    assert_eq!(call("/loyalty.v1.PointsService/AdjustPoints", Some(&till), Vec::new()).await, Code::PermissionDenied);
    let elsewhere = v1::GetMemberRequest { program_id: "elsewhere".into(), member: support::by_card("c-1"), ..Default::default() };
    assert_eq!(call("/loyalty.v1.MemberService/GetMember", Some(&till), elsewhere.encode_to_vec()).await, Code::PermissionDenied);
    // More than the principal may.
    let limited =
        async { while access::call(&server.channel, "/loyalty.v1.ProgramService/ListPrograms", Some(&till), Vec::new()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, limited).await.expect("it may call five times a second");
    let seen = scrape(port(&server)).await;
    let count = |method: &str, code: &str| {
        let (service, method) = method.split_once('/').expect("a service and a method");
        seen.value(&format!("loyaltyd_rpc_requests_total{{service=\"{service}\",method=\"{method}\",code=\"{code}\"}}"))
    };
    assert_eq!(count("loyalty.v1.PurchaseService/RecordPurchase", "UNAUTHENTICATED"), 3.0);
    assert_eq!(count("loyalty.v1.PurchaseService/StreamPurchases", "UNAUTHENTICATED"), 1.0);
    assert_eq!(count("grpc.health.v1.Health/Check", "UNAUTHENTICATED"), 1.0);
    assert_eq!(count("unknown/unknown", "UNAUTHENTICATED"), 1.0);
    assert_eq!(count("loyalty.v1.PointsService/AdjustPoints", "PERMISSION_DENIED"), 1.0);
    assert_eq!(count("loyalty.v1.MemberService/GetMember", "PERMISSION_DENIED"), 1.0);
    assert_eq!(count("loyalty.v1.ProgramService/ListPrograms", "RESOURCE_EXHAUSTED"), 1.0);
    for stranger in ["ldk_", "84901230456", "Nguyen", "tills", "elsewhere"] {
        assert!(!seen.text.contains(stranger), "what a caller wrote or is called is no label: {stranger}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_the_services_own_deadline_ends_counts_as_late_and_not_as_given_up() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut config = watched(folder.path(), vec![spending()]);
    config.connections.call = Duration::from_millis(50);
    let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
    let never = tonic::Request::new(tokio_stream::pending());
    let status = access::send(&server.channel, "/loyalty.v1.MemberService/GetMember", never).await.expect_err("its message never comes");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let of =
        |code: &str| format!("loyaltyd_rpc_requests_total{{service=\"loyalty.v1.MemberService\",method=\"GetMember\",code=\"{code}\"}}");
    let seen = wait_for(port(&server), |seen| seen.find(&of("DEADLINE_EXCEEDED")) == Some(1.0)).await;
    assert_eq!(seen.find(&of("CANCELLED")), None);
    // A stream that is open longer than that, and then given up by its caller, is no deadline's.
    let (requests, waiting) = tokio::sync::mpsc::channel::<v1::StreamPurchasesRequest>(1);
    let waiting = tokio_stream::wrappers::ReceiverStream::new(waiting);
    let mut answers = server.purchases().stream_purchases(waiting).await.expect("a stream").into_inner();
    let purchase = Some(sale("00000000-0000-0000-0000-000000000000", "o-1", "1000"));
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(100) {
        requests.send(v1::StreamPurchasesRequest { purchase: purchase.clone() }).await.expect("the stream is read");
        answers.message().await.expect("it goes on").expect("an answer, if only that there is no such member");
    }
    drop((requests, answers));
    let of_stream = |code: &str| {
        format!("loyaltyd_rpc_requests_total{{service=\"loyalty.v1.PurchaseService\",method=\"StreamPurchases\",code=\"{code}\"}}")
    };
    let has_ended = |seen: &Scraped| seen.find("loyaltyd_rpc_in_flight{service=\"loyalty.v1.PurchaseService\",method=\"StreamPurchases\"}");
    let seen = wait_for(port(&server), |seen| has_ended(seen) == Some(0.0)).await;
    assert_eq!(seen.find(&of_stream("DEADLINE_EXCEEDED")), Some(0.0), "{}", seen.text);
    server.stop().await;
}

#[tokio::test]
async fn connections_that_are_not_served_count_by_the_reason() {
    type Change = fn(&mut Connections);
    let bounds: [(&str, Change); 5] = [
        ("max_connections", |connections| connections.most = 1),
        ("max_connections_per_address", |connections| connections.most_per_address = 1),
        ("max_handshakes", |connections| connections.most_handshakes = 1),
        ("handshake_seconds", |connections| connections.handshake = Duration::from_millis(50)),
        ("tls", |_| {}),
    ];
    for (reason, change) in bounds {
        let folder = TempDir::new().expect("a temporary folder");
        let mut config = watched(folder.path(), vec![spending()]);
        change(&mut config.connections);
        if reason == "tls" {
            config.connections.tls = Some(Authority::new("ours").issue(&["localhost"]).write(folder.path(), "server"));
        }
        let mut server = app::start(config, Arc::new(ManualClock::new(noon()))).await.expect("it starts");
        server.ready().await.expect("it reads its ledger");
        let address = server.metrics_address.expect("metrics are served");
        let of = |reason: &str| format!("loyaltyd_connections_refused_total{{reason=\"{reason}\"}}");
        let before = scrape(address).await;
        for known in ["max_connections", "max_connections_per_address", "max_handshakes", "handshake_seconds", "tls", "system"] {
            assert_eq!(before.value(&of(known)), 0.0, "{known} is told from the beginning");
        }
        // One that is let in, and two more; what comes is no TLS.
        let mut held = vec![Raw::open(server.address).await];
        for _ in 0..2 {
            held.push(Raw::connect(server.address).await);
        }
        let seen = wait_for(address, |seen| seen.value(&of(reason)) > 0.0).await;
        let others: f64 = ["max_connections", "max_connections_per_address", "max_handshakes", "tls", "system"]
            .into_iter()
            .filter(|other| *other != reason)
            .map(|other| seen.value(&of(other)))
            .sum();
        assert_eq!(others, 0.0, "{reason}:\n{}", seen.text);
        drop(held);
        server.shutdown().await.expect("it stops in order");
    }
}

#[tokio::test]
async fn points_members_and_the_store_are_told_as_they_are_and_stay_so_through_a_restart() {
    let server = start().await;
    let (first, second) = (server.enroll("c-1").await, server.enroll("c-2").await);
    server.purchases().record_purchase(sale(&first, "o-1", "2000000")).await.expect("it is recorded");
    server.purchases().record_purchase(sale(&second, "o-2", "500000")).await.expect("it is recorded");
    server.points().adjust_points(adjustment(&first, "up", 120)).await.expect("points are added");
    server.points().adjust_points(adjustment(&first, "down", -20)).await.expect("points are taken");
    server.points().redeem_points(redeem(&first, "r-1", 60, "1000000")).await.expect("points are redeemed");
    let suspension = v1::SuspendMemberRequest {
        request_id: "suspend".into(),
        program_id: PROGRAM.into(),
        member: support::by_id(&second),
        reason: "asked for".into(),
        actor: support::actor(),
    };
    server.members().suspend_member(suspension).await.expect("it is suspended");
    let expected = [
        ("loyaltyd_points_issued_total{program=\"vietnam\"}", 200.0 + 50.0 + 120.0),
        ("loyaltyd_points_redeemed_total{program=\"vietnam\"}", 60.0),
        ("loyaltyd_points_expired_total{program=\"vietnam\"}", 0.0),
        ("loyaltyd_points_clawed_back_total{program=\"vietnam\"}", 20.0),
        ("loyaltyd_points_added_by_hand_total{program=\"vietnam\"}", 120.0),
        ("loyaltyd_points_taken_by_hand_total{program=\"vietnam\"}", 20.0),
        ("loyaltyd_points_outstanding{program=\"vietnam\"}", 290.0),
        ("loyaltyd_points{program=\"vietnam\",state=\"available\"}", 290.0),
        ("loyaltyd_members{program=\"vietnam\",state=\"active\"}", 1.0),
        ("loyaltyd_members{program=\"vietnam\",state=\"suspended\"}", 1.0),
        ("loyaltyd_program_version{program=\"vietnam\"}", 1.0),
        ("loyaltyd_due_members{program=\"vietnam\"}", 0.0),
        ("loyaltyd_state{state=\"serving\"}", 1.0),
        ("loyaltyd_state{state=\"reading\"}", 0.0),
    ];
    let check = |seen: &Scraped| expected.iter().for_each(|(sample, value)| assert_eq!(seen.value(sample), *value, "{sample}"));
    let seen = scrape(port(&server)).await;
    check(&seen);
    // A publication and eight commands, one after the other.
    assert_eq!(seen.value("loyaltyd_journal_commits_total"), 9.0);
    assert_eq!(seen.value("loyaltyd_journal_fsync_duration_seconds_count"), 9.0);
    assert!(seen.value("loyaltyd_journal_fsync_duration_seconds_sum") > 0.0);
    assert!(seen.value("loyaltyd_journal_appended_bytes_total") > 9.0 * 56.0);
    let on_disk: u64 = std::fs::read_dir(server.data().join("journal"))
        .expect("the journal is there")
        .map(|item| item.expect("the folder is listed"))
        .filter(|item| item.path().extension().is_some_and(|extension| extension == "seg"))
        .map(|item| item.metadata().expect("a file").len())
        .sum();
    assert_eq!(seen.value("loyaltyd_journal_bytes"), on_disk as f64);
    assert!(seen.value("loyaltyd_tables_lag_commits") <= 9.0 && seen.find("loyaltyd_tables_lag_bytes").is_some());
    assert!(seen.value("process_resident_memory_bytes") > 1e6 && seen.value("loyaltyd_data_disk_free_bytes") > 0.0);
    assert!(seen.value("process_start_time_seconds") > 1.7e9);
    let build = seen.samples.keys().find(|sample| sample.starts_with("loyaltyd_build_info{")).expect("it says which version it is");
    assert!(build.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), "{build}");
    // Again, from the tables.
    let (folder, clock) = server.end().await;
    let config = watched(folder.path(), vec![spending()]);
    let data = config.data.clone();
    let server = TestServer::start_with(folder, clock, config.clone()).await;
    check(&scrape(port(&server)).await);
    let (folder, clock) = server.end().await;
    // And from the journal alone.
    std::fs::remove_dir_all(data.join("tables")).expect("the tables are removed");
    let server = TestServer::start_with(folder, clock, config).await;
    check(&scrape(port(&server)).await);
    let (_folder, _) = server.end().await;
    let report = embedded::check(&data, &support::options()).expect("the store is sound");
    assert!(report.is_sound(), "{:?}", report.differences);
    let [totals] = report.programs.as_slice() else { panic!("there is one programme") };
    assert_eq!((totals.issued, totals.redeemed, totals.clawed_back, totals.available, totals.members), (370, 60, 20, 290, 2));
}

#[tokio::test]
async fn what_is_due_is_told_before_the_schedule_enters_it_and_is_gone_after() {
    let folder = TempDir::new().expect("a temporary folder");
    let clock = Arc::new(ManualClock::new(noon()));
    let config = watched(folder.path(), vec![spending()]);
    let server = TestServer::start_with(folder, Arc::clone(&clock), config.clone()).await;
    for card in ["c-1", "c-2", "c-3"] {
        let member = server.enroll(card).await;
        server.purchases().record_purchase(sale(&member, card, "300000")).await.expect("it is recorded");
    }
    let (folder, clock) = server.end().await;
    // All of it lapses after twelve months; the schedule begins when the server is told that it is ready.
    clock.set(clock.now().checked_add(jiff::SignedDuration::from_hours(24 * 400)).expect("within the calendar"));
    let mut server = app::start(config, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("it starts");
    let address = server.metrics_address.expect("metrics are served");
    let before = wait_for(address, |seen| seen.find("loyaltyd_state{state=\"serving\"}") == Some(1.0)).await;
    assert_eq!(before.value("loyaltyd_due_members{program=\"vietnam\"}"), 3.0);
    assert!(before.value("loyaltyd_due_oldest_seconds") > 86_400.0);
    assert_eq!(before.value("loyaltyd_points_expired_total{program=\"vietnam\"}"), 0.0);
    assert_eq!(before.value("loyaltyd_points_outstanding{program=\"vietnam\"}"), 90.0);
    server.ready().await.expect("it reads its ledger");
    let after = wait_for(address, |seen| seen.value("loyaltyd_due_members{program=\"vietnam\"}") == 0.0).await;
    assert_eq!(after.value("loyaltyd_due_oldest_seconds"), 0.0);
    assert_eq!(after.value("loyaltyd_points_expired_total{program=\"vietnam\"}"), 90.0);
    assert_eq!(after.value("loyaltyd_points_outstanding{program=\"vietnam\"}"), 0.0);
    server.shutdown().await.expect("it stops in order");
    drop(folder);
}

#[tokio::test]
async fn while_the_ledger_is_read_the_metrics_say_so() {
    let folder = TempDir::new().expect("a temporary folder");
    let clock = Arc::new(ManualClock::new(noon()));
    // The folder is held by another server, so that this one never gets ready.
    let mut holder = app::start(support::config(folder.path(), vec![]), clock.clone()).await.expect("it starts");
    holder.ready().await.expect("it reads its ledger");
    let mut late = app::start(watched(folder.path(), vec![]), clock).await.expect("it starts");
    assert!(late.ready().await.is_err());
    let seen = scrape(late.metrics_address.expect("metrics are served")).await;
    assert_eq!(seen.value("loyaltyd_state{state=\"reading\"}"), 1.0);
    assert_eq!(seen.value("loyaltyd_state{state=\"serving\"}"), 0.0);
    assert_eq!(seen.find("loyaltyd_journal_bytes"), None, "nobody knows yet");
    let stop = |server: RunningServer| async { server.shutdown().await.expect("it stops in order") };
    stop(late).await;
    stop(holder).await;
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start_and_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address");
    let config = Config { observe: Observe { metrics: Some(address), traces: None }, ..support::config(folder.path(), vec![]) };
    let Err(error) = app::start(config, Arc::new(ManualClock::new(noon()))).await else { panic!("the port is taken") };
    let said = error.to_string();
    assert!(said.contains(&address.to_string()) && said.contains("for metrics") && said.contains("--metrics-listen"), "{said}");
    let config = Config { listen: address, ..support::config(folder.path(), vec![]) };
    let Err(error) = app::start(config, Arc::new(ManualClock::new(noon()))).await else { panic!("the port is taken") };
    assert!(error.to_string().contains("Another process listens there") && error.to_string().contains("--listen"), "{error}");
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn the_port_answers_one_question_and_lets_nobody_hold_it() {
    let server = start().await;
    let address = port(&server);
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("GET /metrics/more HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let (head, _) = ask(address, request).await;
        assert!(head.starts_with(expected), "{request:?}: {head}");
    }
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    // Whoever listens may hang up before all of it is sent.
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "a head that is too large is not answered");
    // As many as may be open say nothing; who comes after them is answered when they are cut off.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.expect("the port is open"));
    }
    let seen = tokio::time::timeout(PATIENCE, scrape(address)).await.expect("they do not hold it for ever");
    assert_eq!(seen.value("loyaltyd_state{state=\"serving\"}"), 1.0);
    for mut stream in silent {
        let mut rest = Vec::new();
        // Cut off, with or without a word.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it was cut off");
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_personal_is_told() {
    let server = start().await;
    let mut enrolment = enrolment("c-1");
    enrolment.identifiers.push(identifier(Kind::Phone, PHONE));
    enrolment.profile = Some(v1::Profile { display_name: NAME.into(), ..Default::default() });
    let member = server.members().enroll_member(enrolment).await.expect("it enrols").into_inner().member.expect("a member").member_id;
    let odd = v1::GetMemberRequest { program_id: NAME.into(), ..Default::default() };
    server.members().get_member(odd).await.expect_err("there is no such programme");
    let text = scrape(port(&server)).await.text;
    for personal in [PHONE, &PHONE[3..], NAME, "Planted", "c-1", &member] {
        assert!(!text.contains(personal), "{personal} is in the metrics");
    }
    server.stop().await;
}

/// Each metric that is there after a life of calls.
async fn all_metrics() -> Scraped {
    let folder = TempDir::new().expect("a temporary folder");
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", nobody.local_addr().expect("an address"));
    drop(nobody);
    let mut config = watched(folder.path(), vec![spending()]);
    config.observe.traces = Some(loyaltyd::telemetry::traces::Collector { endpoint, ratio: 0.0 });
    let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "100000")).await.expect("it is recorded");
    let seen = scrape(port(&server)).await;
    server.stop().await;
    seen
}

/// The words of an expression that can only be names of metrics.
fn metrics_named(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // What is in quotes is the value of a label.
    let expression: String = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let is_word = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    for word in expression.split(|character| !is_word(character)) {
        if word.starts_with("loyaltyd") || word.starts_with("process_") {
            names.insert(word.to_owned());
        }
    }
    names
}

/// All expressions of a file: of Grafana's targets and variables, or of Prometheus' rules.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text) if name == "expr" || name == "query" || name == "definition" => found.push(text.to_owned()),
                    Some(_) | None => expressions(field, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => {}
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test]
async fn dashboard_alerts_and_readme_name_metrics_that_there_are() {
    let seen = all_metrics().await;
    let there = seen.names();
    let dashboard: serde_json::Value = serde_json::from_str(&read("helm/files/dashboard.json")).expect("the dashboard is JSON");
    let alerts: serde_json::Value = serde_saphyr::from_str(&read("helm/files/alerts.yaml")).expect("the alerts are YAML");
    for (file, value, least) in [("dashboard.json", &dashboard, 25), ("alerts.yaml", &alerts, 10)] {
        let mut found = Vec::new();
        expressions(value, &mut found);
        assert!(found.len() >= least, "{file} has {} expressions", found.len());
        let names: BTreeSet<String> = found.iter().flat_map(|expression| metrics_named(expression)).collect();
        assert!(names.len() >= 8, "{file}: {names:?}");
        for name in &names {
            assert!(there.contains(name.as_str()), "{file} names {name}, which is not in\n{}", seen.text);
        }
        let misspelt = metrics_named(&found.join(" ").replace("loyaltyd_rpc_requests_total", "loyaltyd_rpc_request_total"));
        assert!(misspelt.iter().any(|name| !there.contains(name.as_str())), "{file}: one that is misspelt would be seen");
    }
    check_dashboard(&dashboard);
    check_alerts(&alerts);
    let readme = read("README.md");
    let table: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .map(|cell| cell.split('{').next().expect("there is a first part"))
        .filter(|name| name.starts_with("loyaltyd_") || name.starts_with("process_"))
        .collect();
    let families: BTreeSet<String> = seen.types.iter().map(|(name, kind)| told_as(name, kind)).collect();
    let families: BTreeSet<&str> = families.iter().map(String::as_str).collect();
    assert_eq!(table, families, "the README's table has all metrics, and no others");
}

/// As one asks for it.
fn told_as(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

/// What Grafana needs to import it.
fn check_dashboard(dashboard: &serde_json::Value) {
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string() && dashboard["schemaVersion"].as_u64() >= Some(36));
    assert!(dashboard["id"].is_null(), "Grafana gives the id");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|variable| variable["type"] == "datasource" && variable["query"] == "prometheus"));
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().zip(place["w"].as_u64()).is_some_and(|(x, w)| x + w <= 24), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["title"].is_string() && panel["description"].is_string(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{panel}");
    }
    assert!(panels.iter().filter(|panel| panel["type"] == "row").count() >= 6);
}

/// Each says what is wrong, what to do, and where to read on.
fn check_alerts(alerts: &serde_json::Value) {
    let readme = read("README.md");
    let anchors: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace([',', '\'', '`', '.', ':'], ""))
        .collect();
    let rules = alerts["groups"].as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(names.insert(name), "{name}");
        assert!(rule["for"].is_string() && rule["labels"]["severity"].is_string(), "{name}");
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(), "{name}");
        let anchor =
            rule["annotations"]["runbook"].as_str().and_then(|runbook| runbook.strip_prefix("README.md#")).expect("a place to read on");
        assert!(anchors.contains(anchor), "{name}: the README has no {anchor}: {anchors:?}");
    }
    assert!(names.len() >= 9, "{names:?}");
    check_expressions(alerts);
}

/// What those are made of that would else be silent when it matters.
fn check_expressions(alerts: &serde_json::Value) {
    let groups = alerts["groups"].as_array().expect("groups");
    let expression = |name: &str| {
        let mut rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        let rule = rules.find(|rule| rule["alert"] == name).unwrap_or_else(|| panic!("there is {name}"));
        rule["expr"].as_str().expect("an expression").to_owned()
    };
    assert!(expression("LoyaltydDown").contains("or absent(up{"), "a target that is gone is down");
    let errors = expression("LoyaltydErrors");
    assert_eq!(errors.matches("loyaltyd_rpc_requests_total").count(), errors.matches("service!=\"grpc.health.v1.Health\"").count());
    let backlog = expression("LoyaltydDueBacklog");
    assert!(backlog.contains("delta(loyaltyd_due_oldest_seconds[30m])"), "what is counted ends at a bound, how long it waits does not");
}

#[test]
fn the_reader_of_metrics_takes_nothing_that_prometheus_would_not() {
    let good = "# HELP a_b What.\n# TYPE a_b counter\na_b_total{c=\"d\"} 1.0\n# EOF\n";
    assert_eq!(parse(good).value("a_b_total{c=\"d\"}"), 1.0);
    for bad in [
        good.replace("# EOF\n", ""),
        good.replace("_total", ""),
        good.replace("1.0", "x"),
        good.replace("c=", "c"),
        good.replace("counter", "number"),
        good.replace("# EOF", "a_b_total{c=\"d\"} 1.0\n# EOF"),
    ] {
        assert!(std::panic::catch_unwind(|| parse(&bad)).is_err(), "{bad}");
    }
}
