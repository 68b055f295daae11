//! Each limit that has a flag holds as the flag says: a service that was started with another value than the usual one does as that value says.
//! How each limit works is told by the tests of limits; here it is that none of the flags is lost on its way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args as _, Command, FromArgMatches as _};
use loyaltyd::{
    config::ServeArgs,
    contract::v1::{self, server_service_client::ServerServiceClient},
    ledger::ManualClock,
};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    limits::{PATIENCE, ends_who_takes_nothing},
    metrics::wait_for,
    request_memory::Line,
    support::{
        TestServer,
        access::{call as send, file_of, principal},
        frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, block, call, frame},
        noon, refused, rule_book,
        scrape::scrape,
    },
};

const GET_PROGRAM: &str = "/loyalty.v1.ProgramService/GetProgram";
const SECOND: Duration = Duration::from_secs(1);
/// Of a limit of seconds in these tests: shorter than each default.
const LESS_THAN_USUAL: Duration = Duration::from_secs(9);

/// How it is seen that a limit holds.
enum Shows {
    /// Of the server's SETTINGS this one has the flag's value.
    Setting(u16),
    /// So many connections there are, begun or not, and no more.
    Places { begun: bool },
    /// A connection that does not begin ends after a second.
    HandshakeEnds,
    /// A connection on which no good credential is shown ends after a second.
    StrangerEnds,
    /// A connection that is silent for a second is asked whether it lives.
    Asks,
    /// A connection that takes nothing for a second ends.
    TakesNothing,
    /// So many calls that the protocol refuses are refused, and one more ends the connection; so do many more that are given up.
    Resets,
    /// A message of so many bytes is read, and one of more is not.
    Bytes,
    /// Messages that are not whole take so many bytes together, and no more.
    RequestMemory,
    /// A call that is not finished is answered after a second.
    CallEnds,
    /// The ledger's queue takes so many.
    Queue,
    /// So many calls a second are answered.
    Rate,
}

const ROWS: [(&str, u32, Shows); 17] = [
    ("max-connections", 3, Shows::Places { begun: true }),
    ("max-connections-per-address", 4, Shows::Places { begun: true }),
    ("max-handshakes", 2, Shows::Places { begun: false }),
    ("handshake-seconds", 1, Shows::HandshakeEnds),
    ("credential-seconds", 1, Shows::StrangerEnds),
    ("keepalive-seconds", 1, Shows::Asks),
    ("stall-seconds", 1, Shows::TakesNothing),
    ("max-streams", 7, Shows::Setting(3)),
    ("max-resets", 5, Shows::Resets),
    ("max-resets", 20, Shows::Resets),
    ("max-header-bytes", 2_048, Shows::Setting(6)),
    ("max-request-bytes", 65_536, Shows::Bytes),
    ("max-request-bytes", 6 << 20, Shows::Bytes),
    ("request-memory-bytes", 12 << 20, Shows::RequestMemory),
    ("max-call-seconds", 1, Shows::CallEnds),
    ("queue", 700, Shows::Queue),
    ("requests-per-second", 2, Shows::Rate),
];

/// What is no limit of what callers may ask for.
const OTHERS: [&str; 25] = [
    "listen",
    "data",
    "program",
    "access",
    "reflection",
    "health",
    "insecure",
    "admin-from-anywhere",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "grpc-web",
    "cors-origin",
    "sandbox",
    "operator-key",
    "no-compression",
    "drain-seconds",
    "segment-bytes",
    "waiting-bytes",
    "threads",
    "log",
    "log-format",
    "metrics-listen",
    "otlp-endpoint",
    "otlp-sample-ratio",
];

fn flags() -> Command {
    ServeArgs::augment_args(Command::new("serve")).mut_args(|argument| argument.env(None::<&str>))
}

#[test]
fn each_flag_that_is_a_limit_has_a_row_with_another_value_than_its_default() {
    let command = flags();
    for flag in command.get_arguments().filter_map(|argument| argument.get_long()) {
        let (is_limit, is_other) = (ROWS.iter().any(|(row, _, _)| *row == flag), OTHERS.contains(&flag));
        assert!(is_limit != is_other, "--{flag} is new: give it a row that shows that it holds, or say that it is no limit");
    }
    for (flag, value, _) in &ROWS {
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(*flag));
        let argument = argument.unwrap_or_else(|| panic!("there is no --{flag}"));
        let usual: Vec<_> = argument.get_default_values().iter().filter_map(|value| value.to_str()).collect();
        assert!(usual.len() == 1 && usual != [value.to_string()], "--{flag} {usual:?}");
    }
    // And each that the README names among the limits.
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let section = readme.split("\n## Limits\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the README has limits");
    let told: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | `--").nth(1)).collect();
    let told: Vec<&str> = told.into_iter().filter_map(|rest| rest.split('`').next()).collect();
    assert!(told.len() > 10, "{told:?}");
    for flag in &told {
        assert!(ROWS.iter().any(|(row, _, _)| row == flag), "--{flag} of the README's limits has no row");
    }
    for (flag, _, _) in &ROWS {
        assert!(told.contains(flag), "the README's limits have no row of --{flag}");
    }
}

/// A service that was started with these flags, on a port and in a folder of its own.
async fn started(words: &[&str]) -> TestServer {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path of this test");
    let usual = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--segment-bytes", "65536", "--data", data];
    let matches = flags().try_get_matches_from(usual.iter().chain(words)).expect("flags");
    let config = ServeArgs::from_arg_matches(&matches).expect("flags").config().expect("a configuration");
    let config = loyaltyd::config::Config { programs: vec![rule_book()], ..config };
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

async fn one_works(flag: &str, value: u32, shows: &Shows) {
    let (name, text) = (format!("--{flag}"), value.to_string());
    let mut words = vec![name.as_str(), text.as_str()];
    let folder = TempDir::new().expect("a folder");
    let access = folder.path().join("access.yaml");
    match shows {
        Shows::StrangerEnds => {
            std::fs::write(&access, file_of(&[&principal("tills", "pos", "vietnam", "").1])).expect("it is written");
            words.extend(["--access", access.to_str().expect("a path of this test")]);
        }
        // Nothing else ends it.
        Shows::TakesNothing => words.extend(["--max-connections", "2", "--max-streams", "10000", "--max-resets", "1000000"]),
        _ => {}
    }
    let server = started(&words).await;
    shows.on(&server, value).await;
    server.stop().await;
}

impl Shows {
    async fn on(&self, server: &TestServer, value: u32) {
        match self {
            Self::Setting(id) => {
                let settings = Raw::open(server.address()).await.until(SETTINGS).await.expect("the server's settings").payload;
                let told = settings.chunks(6).find(|setting| setting[..2] == id.to_be_bytes()).expect("it is told");
                assert_eq!(told[2..], value.to_be_bytes());
            }
            Self::Places { begun } => places(server, value, *begun).await,
            Self::HandshakeEnds => ends(Raw::connect(server.address()).await).await,
            Self::StrangerEnds => ends(Raw::open(server.address()).await).await,
            Self::Asks => {
                let start = Instant::now();
                Raw::open(server.address()).await.until(PING).await.expect("it is asked");
                assert!((SECOND..LESS_THAN_USUAL).contains(&start.elapsed()), "{:?}", start.elapsed());
            }
            Self::TakesNothing => {
                let took = ends_who_takes_nothing(server).await;
                assert!((SECOND..LESS_THAN_USUAL * 3).contains(&took), "{took:?}");
            }
            Self::Resets => resets(server, value).await,
            Self::Bytes => bytes(server, value as usize).await,
            Self::RequestMemory => request_memory(server, value as usize).await,
            Self::CallEnds => {
                let start = Instant::now();
                let mut raw = Raw::open(server.address()).await;
                raw.send(&frame(HEADERS, END_HEADERS, 1, &call(GET_PROGRAM))).await;
                raw.until(HEADERS).await.expect("an answer");
                assert!((SECOND * 9 / 10..LESS_THAN_USUAL).contains(&start.elapsed()), "{:?}", start.elapsed());
            }
            Self::Queue => {
                let metrics = scrape(server.metrics_address().expect("it has metrics")).await;
                assert_eq!(metrics.value("loyaltyd_queue_bound_commands{queue=\"single\"}"), f64::from(value));
                let mut client = ServerServiceClient::new(server.channel.clone());
                let info = client.get_server_info(v1::GetServerInfoRequest {}).await.expect("an answer").into_inner().server_info;
                assert_eq!(info.and_then(|info| info.limits).map(|limits| limits.queue_commands), Some(i64::from(value)));
            }
            Self::Rate => rate(server, value).await,
        }
    }
}

/// The test's own channel is the first that has begun.
async fn places(server: &TestServer, most: u32, begun: bool) {
    let mut held = Vec::new();
    for _ in u32::from(begun)..most {
        let mut raw = if begun { Raw::open(server.address()).await } else { Raw::connect(server.address()).await };
        raw.next().await.expect("the server's settings");
        held.push(raw);
    }
    assert!(Raw::open(server.address()).await.next().await.is_none(), "one more is closed at once");
}

async fn ends(mut raw: Raw) {
    let start = Instant::now();
    raw.rest().await;
    assert!((SECOND * 9 / 10..LESS_THAN_USUAL).contains(&start.elapsed()), "{:?}", start.elapsed());
}

async fn resets(server: &TestServer, most: u32) {
    let wrong = block(&[(":method", "POST"), (":path", GET_PROGRAM), (":path", GET_PROGRAM)]);
    let mut raw = Raw::open(server.address()).await;
    for n in 0..most {
        raw.send(&frame(HEADERS, END_HEADERS, 2 * n + 1, &wrong)).await;
        assert_eq!(raw.until(RST_STREAM).await.expect("it is refused").stream, 2 * n + 1);
    }
    raw.send(&frame(PING, 0, 0, &[7; 8])).await;
    assert_eq!(raw.until(PING).await.expect("it is served on").payload, [7; 8]);
    raw.send(&frame(HEADERS, END_HEADERS, 2 * most + 1, &wrong)).await;
    assert!(raw.until(GOAWAY).await.is_some(), "one more ends it");
    // Given up before they are looked at: ten times as many at once, and a fifth of what may be without the flag.
    let mut raw = Raw::open(server.address()).await;
    let call = call(GET_PROGRAM);
    let given_up = |n: u32| [frame(HEADERS, END_HEADERS, 2 * n + 1, &call), frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes())].concat();
    raw.send(&(0..most * 10).flat_map(given_up).collect::<Vec<u8>>()).await;
    raw.send(&frame(PING, 0, 0, &[9; 8])).await;
    // With GOAWAY, or reset before that could be read.
    let answered = raw.rest().await.iter().any(|frame| frame.kind == PING && frame.payload == [9; 8]);
    assert!(!answered, "it ends before it is asked whether it lives");
}

async fn bytes(server: &TestServer, most: usize) {
    let ask = async |bytes: usize| {
        let message = v1::GetProgramRequest { program_id: "x".repeat(bytes - 5), version: 0 };
        let message = prost::Message::encode_to_vec(&message);
        let status = send(&server.channel, GET_PROGRAM, None, message).await.expect_err("there is no such programme");
        status.code()
    };
    assert_eq!(ask(most - 10).await, Code::InvalidArgument, "it is read");
    assert_eq!(ask(most + 10).await, Code::OutOfRange);
}

async fn request_memory(server: &TestServer, most: usize) {
    let mut line = Line::open(server).await;
    let held = [line.part(GET_PROGRAM, None).await, line.part(GET_PROGRAM, None).await, line.part(GET_PROGRAM, None).await];
    // Of what there is an eighth is left to what is small, so that two of four MiB have room.
    let metrics = server.metrics_address().expect("it has metrics");
    let seen = wait_for(metrics, |seen| seen.value("loyaltyd_request_memory_refused_total") == 1.0).await;
    assert_eq!(seen.value("loyaltyd_request_memory_bound_bytes") as usize, most);
    drop(held);
}

async fn rate(server: &TestServer, most: u32) {
    let request = || v1::GetProgramRequest { program_id: "vietnam".into(), version: 0 };
    let start = Instant::now();
    let mut answered = 0;
    let status = loop {
        match server.programs().get_program(request()).await {
            Ok(_) => answered += 1,
            Err(status) => break status,
        }
        assert!(start.elapsed() < PATIENCE, "nothing bounds them");
    };
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::ResourceExhausted, "RATE_LIMITED"), "{status:?}");
    // A second's worth at once, and then as many in each second.
    let most = f64::from(most) * (start.elapsed().as_secs_f64() + 1.0);
    assert!((2.0..=most.ceil()).contains(&f64::from(answered)), "{answered} of {most}");
    // A probe is not counted.
    let mut raw = Raw::open(server.address()).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &call("/grpc.health.v1.Health/Check"))).await;
    raw.send(&frame(DATA, END_STREAM, 1, &[0; 5])).await;
    assert_eq!(raw.until(HEADERS).await.expect("health is answered").flags & END_STREAM, 0, "with a message, not with a refusal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_limit_holds_as_its_flag_says() {
    for (flag, value, shows) in &ROWS {
        eprintln!("--{flag} {value}");
        let shown = tokio::time::timeout(PATIENCE * 4, one_works(flag, *value, shows)).await;
        assert!(shown.is_ok(), "nothing is seen of --{flag} {value} in time");
    }
}
