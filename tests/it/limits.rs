//! What a connection may ask for, and what becomes of it when it asks for more. After each the service answers a usual call.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use loyaltyd::{
    cli::client::{ApiChannel, ReachArgs, ServerArgs},
    config::Connections,
    contract::v1::{self, program_service_client::ProgramServiceClient},
    ledger::ManualClock,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::support::{
    self, PROGRAM, TestServer, by_id,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, call,
        call_with, frame, goaway,
    },
    loyaltyd, noon, refused, rule_book, sale,
};

const SHORT: Duration = Duration::from_millis(300);
/// As far as a test waits for what comes soon.
pub const PATIENCE: Duration = Duration::from_secs(30);
const GET_MEMBER: &str = "/loyalty.v1.MemberService/GetMember";
const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

async fn start(change: impl FnOnce(&mut Connections)) -> TestServer {
    let folder = TempDir::new().expect("a folder");
    let mut config = support::config(folder.path(), vec![rule_book()]);
    change(&mut config.connections);
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

/// A new connection is served.
async fn serves(server: &TestServer) {
    let channel = fresh(server).await.expect("a connection");
    ask(channel).await.expect("an answer");
}

async fn fresh(server: &TestServer) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{}", server.address())).expect("an address").connect().await
}

async fn ask(channel: Channel) -> Result<(), tonic::Status> {
    let request = v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 };
    ProgramServiceClient::new(channel).get_program(request).await.map(drop)
}

/// Again and again, for places are given back a moment after connections end. Of a call whose connection is closed at once for want of a place
/// the client does not always hear, so that each has a time of its own.
async fn serves_soon(server: &TestServer) {
    let begun = Instant::now();
    let try_once = async || ask(fresh(server).await.ok()?).await.ok();
    loop {
        if let Ok(Some(())) = tokio::time::timeout(PATIENCE / 10, try_once()).await {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "there is no place");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_does_not_begin_to_speak_http_is_ended_and_who_sends_garbage_at_once() {
    let server = start(|connections| connections.handshake = SHORT).await;
    let nothing: &[u8] = b"";
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let cut = [PREFACE, &settings[..settings.len() - 1]].concat();
    for begin in [nothing, &PREFACE[..10], PREFACE, &cut] {
        let begun = Instant::now();
        let mut raw = Raw::connect(server.address()).await;
        raw.send(begin).await;
        raw.rest().await;
        assert!((SHORT..PATIENCE).contains(&begun.elapsed()), "{begin:?}: {:?}", begun.elapsed());
    }
    serves(&server).await;
    // Who has begun may be silent for longer.
    let mut quiet = Raw::open(server.address()).await;
    tokio::time::sleep(SHORT * 2).await;
    quiet.send(&frame(PING, 0, 0, &[7; 8])).await;
    assert_eq!(quiet.until(PING).await.expect("it is served").payload, [7; 8]);
    server.stop().await;

    let server = start(|connections| connections.handshake = PATIENCE).await;
    for garbage in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3], &[0; 64]] {
        let begun = Instant::now();
        let mut raw = Raw::connect(server.address()).await;
        raw.send(garbage).await;
        raw.rest().await;
        assert!(begun.elapsed() < PATIENCE / 2, "{garbage:?}");
    }
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_byte_now_and_then_is_not_enough() {
    let server = start(|connections| connections.handshake = SHORT).await;
    let begun = Instant::now();
    let mut raw = Raw::connect(server.address()).await;
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, &[0; 600])].concat();
    let mut byte = [0; 1];
    for next in settings.chunks(1) {
        raw.send(next).await;
        // The server speaks first, and then ends.
        if let Ok(read) = tokio::time::timeout(SHORT / 20, raw.0.read(&mut byte)).await
            && read.is_ok_and(|read| read == 0)
        {
            break;
        }
    }
    raw.rest().await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_in_all_by_address_and_while_they_open() {
    type Change = fn(&mut Connections);
    let bounds: [(Change, bool); 3] = [
        (|connections| connections.most = 3, true),
        (|connections| connections.most_per_address = 3, true),
        (|connections| connections.most_handshakes = 2, false),
    ];
    for (change, open) in bounds {
        let server = start(change).await;
        // The test's own channel is the first.
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut raw = if open { Raw::open(server.address()).await } else { Raw::connect(server.address()).await };
            raw.next().await.expect("the server's settings");
            held.push(raw);
        }
        let mut above = Raw::open(server.address()).await;
        assert!(above.next().await.is_none(), "it is closed at once");
        ask(server.channel.clone()).await.expect("those who are there are served on");
        held.clear();
        serves_soon(&server).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_silent_connection_is_asked_whether_it_lives_and_ended_if_it_says_nothing() {
    let server = start(|connections| connections.keepalive = SHORT).await;
    let begun = Instant::now();
    let mut dead = Raw::open(server.address()).await;
    let frames = dead.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == PING), "it was asked");
    assert!(begun.elapsed() >= SHORT * 2 && begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let mut alive = Raw::open(server.address()).await;
    let mut asked = 0;
    while asked < 4 {
        let ping = alive.until(PING).await.expect("it is open");
        if ping.flags == 0 {
            alive.send(&frame(PING, 1, 0, &ping.payload)).await;
            asked += 1;
        }
    }
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn metadata_has_a_largest_size() {
    let server = start(|connections| connections.header_bytes = 4_096).await;
    let ask_with = async |bytes: usize| {
        let mut request = tonic::Request::new(v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 });
        request.metadata_mut().insert("x-much", "x".repeat(bytes).parse().expect("a header"));
        server.programs().get_program(request).await.map(drop)
    };
    ask_with(3_000).await.expect("it fits");
    let status = ask_with(8_000).await.expect_err("it does not");
    assert!(matches!(status.code(), Code::Unknown | Code::Internal | Code::Unavailable), "{status:?}");
    ask(server.channel.clone()).await.expect("the connection is served on");

    // A head that never ends ends the connection.
    let mut raw = Raw::open(server.address()).await;
    raw.send(&frame(HEADERS, END_STREAM, 1, &call(GET_MEMBER))).await;
    let filler = block(&[("x-filler", &"y".repeat(1_000))]);
    for _ in 0..200 {
        raw.send(&frame(CONTINUATION, 0, 1, &filler)).await;
    }
    let (code, why) = goaway(&raw.rest().await).unwrap_or((ENHANCE_YOUR_CALM, "the connection was reset before it was read".into()));
    assert_eq!(code, ENHANCE_YOUR_CALM, "{why}");
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn calls_above_the_bound_are_refused_and_those_below_go_on() {
    let server = start(|connections| connections.streams = 5).await;
    let mut raw = Raw::open(server.address()).await;
    let settings = raw.until(SETTINGS).await.expect("the server's settings");
    let told = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("its most streams");
    assert_eq!(told[2..], 5_u32.to_be_bytes());
    for n in 0..8 {
        raw.send(&frame(HEADERS, END_HEADERS, 2 * n + 1, &call(GET_MEMBER))).await;
    }
    for n in 5..8 {
        let reset = raw.until(RST_STREAM).await.expect("a refusal");
        assert_eq!((reset.stream, reset.payload.as_slice()), (2 * n + 1, &REFUSED_STREAM.to_be_bytes()[..]));
    }
    // The first is finished: an empty message, which names no programme.
    raw.send(&frame(DATA, END_STREAM, 1, &[0; 5])).await;
    assert_eq!(raw.until(HEADERS).await.expect("an answer").stream, 1);
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_and_not_the_service() {
    let server = start(|connections| connections.resets = 50).await;
    let mut raw = Raw::open(server.address()).await;
    let head = call(GET_MEMBER);
    let mut burst = Vec::new();
    for n in 0..20_000 {
        burst.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &head));
        burst.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    raw.send(&burst).await;
    let ended = goaway(&raw.rest().await);
    assert!(ended.as_ref().is_none_or(|(code, _)| *code == ENHANCE_YOUR_CALM), "{ended:?}");
    ask(server.channel.clone()).await.expect("other connections are served on");

    // Calls that break the protocol are reset by the service, and there is a bound on these too.
    let mut raw = Raw::open(server.address()).await;
    let wrong = block(&[(":method", "POST"), (":path", GET_MEMBER), (":path", GET_MEMBER)]);
    let mut burst = Vec::new();
    for n in 0..20_000 {
        burst.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &wrong));
    }
    raw.send(&burst).await;
    let ended = goaway(&raw.rest().await);
    assert!(ended.as_ref().is_none_or(|(code, _)| *code == ENHANCE_YOUR_CALM), "{ended:?}");
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_whose_body_never_comes_has_an_end() {
    let server = start(|connections| connections.call = SHORT).await;
    let begun = Instant::now();
    let mut raw = Raw::open(server.address()).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &call(GET_MEMBER))).await;
    raw.send(&frame(DATA, 0, 1, &[0, 0, 0, 0, 9, 1])).await;
    let answer = raw.until(HEADERS).await.expect("an answer");
    assert_eq!((answer.stream, answer.flags & END_STREAM), (1, END_STREAM));
    // It says so a tick of the timer before, so that nobody says it in other words.
    assert!(begun.elapsed() + Duration::from_millis(1) >= SHORT, "{:?}", begun.elapsed());
    serves(&server).await;

    // With a library's client, to read what it says.
    let (_never, body) = tokio::sync::mpsc::channel::<v1::GetMemberRequest>(1);
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.expect("it is connected");
    let path = http::uri::PathAndQuery::from_static(GET_MEMBER);
    let codec = tonic_prost::ProstCodec::<v1::GetMemberRequest, v1::GetMemberResponse>::default();
    let request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(body));
    let status = client.client_streaming(request, path, codec).await.expect_err("it has an end");
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{status:?}");
    // Streams have none.
    let (_open, body) = tokio::sync::mpsc::channel(1);
    let mut till = server.purchases();
    let mut answers = till.stream_purchases(tokio_stream::wrappers::ReceiverStream::new(body)).await.expect("a stream").into_inner();
    assert!(tokio::time::timeout(SHORT * 3, answers.message()).await.is_err(), "it is open, and nothing comes");
    server.stop().await;
}

/// A call that never gets its message, with this deadline of its caller; what it is answered.
async fn late(send: h2::client::SendRequest<prost::bytes::Bytes>, timeout: &str) -> tonic::Status {
    let mut send = send.ready().await.expect("it is open");
    let request =
        http::Request::post(format!("http://test{GET_MEMBER}")).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.header("grpc-timeout", timeout).body(()).expect("a request");
    let (answer, body) = send.send_request(request, false).expect("it is sent");
    let answer = answer.await.expect("an answer");
    drop(body);
    tonic::Status::from_header_map(answer.headers()).expect("a status alone")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passes_is_answered_in_our_words_each_time() {
    let server = TestServer::start().await;
    let socket = TcpStream::connect(server.address()).await.expect("the server listens");
    let (send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(async move { drop(connection.await) });
    for timeout in ["50m", "1m", "50000u", "0n"] {
        let calls: tokio::task::JoinSet<_> = (0..50).map(|_| late(send.clone(), timeout)).collect();
        for status in calls.join_all().await {
            assert_eq!(
                (status.code(), refused(&status).reason.as_str()),
                (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
                "{timeout}: {status:?}"
            );
        }
    }
    connection.abort();
    server.stop().await;
}

/// A connection from another address of this machine, on which HTTP does not begin.
async fn from(address: [u8; 4], server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(server.address()).await.expect("the server listens")
}

#[tokio::test]
async fn who_opens_and_never_begins_fills_its_own_share_and_no_other() {
    // An eighth of them, but 16 at least.
    let server = start(|connections| (connections.most_handshakes, connections.handshake) = (64, PATIENCE * 4)).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut socket = from([127, 0, 0, 2], &server).await;
        // Its place is taken when the server speaks.
        socket.read_u8().await.expect("the server's settings");
        held.push(socket);
    }
    for _ in 0..40 {
        let mut above = from([127, 0, 0, 2], &server).await;
        assert!(!matches!(above.read(&mut [0]).await, Ok(1)), "it is closed at once");
    }
    serves(&server).await;
    let mut other = from([127, 0, 0, 3], &server).await;
    other.read_u8().await.expect("a third is let in");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn health_and_reflection_take_small_messages_and_so_many_streams_of_one_address() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let long = health.check(HealthCheckRequest { service: "x".repeat(9_000) }).await.expect_err("it is too long");
    assert_eq!(long.code(), Code::OutOfRange, "{long:?}");
    let message = [&[0x3a, 0xa8, 0x46][..], &[b'x'; 9_000]].concat();
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let answer = support::access::call(&server.channel, &path, None, message.clone()).await;
        assert!(answer.is_err() || answer.is_ok_and(|answers| answers.is_empty()), "{version}");
    }
    // Watches stay, in a number that is bounded; who asks once is answered beside them.
    let (mut watches, begun) = (Vec::new(), Instant::now());
    let refusal = loop {
        match health.watch(HealthCheckRequest::default()).await {
            Ok(watch) => watches.push(watch.into_inner()),
            Err(refusal) => break refusal,
        }
        assert!(watches.len() < 1_000 && begun.elapsed() < PATIENCE, "nothing bounds them");
    };
    assert_eq!((refusal.code(), refused(&refusal).reason.as_str()), (Code::ResourceExhausted, "TOO_MANY_OPEN_CALLS"), "{refusal:?}");
    assert_eq!(watches.len(), 64);
    for watch in &mut watches {
        assert!(watch.message().await.expect("it is told").is_some());
    }
    health.check(HealthCheckRequest::default()).await.expect("an answer");
    drop(watches);
    let begun = Instant::now();
    while health.watch(HealthCheckRequest::default()).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "places do not come back");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_of_reflection_has_an_end() {
    let server = start(|connections| connections.call = SHORT).await;
    let (_open, body) = tokio::sync::mpsc::channel(1);
    let mut client = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::wrappers::ReceiverStream::new(body)).await;
    let status = answers.expect("a stream").into_inner().message().await.expect_err("it has an end");
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{status:?}");
    server.stop().await;
}

#[tokio::test]
async fn compressed_requests_are_refused() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(server.address()).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &call_with(GET_MEMBER, &[("grpc-encoding", "gzip")]))).await;
    // Whatever it would become: what is not unpacked cannot be a bomb.
    raw.send(&frame(DATA, END_STREAM, 1, &[1, 0, 0, 0, 4, 0x1f, 0x8b, 8, 0])).await;
    let answer = raw.until(HEADERS).await.expect("an answer");
    assert_eq!(answer.flags & END_STREAM, END_STREAM, "nothing but a status");
    let mut request = tonic::Request::new(v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 });
    request.metadata_mut().insert("grpc-encoding", "gzip".parse().expect("a header"));
    let status = server.programs().get_program(request).await.expect_err("it says that it is compressed");
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn who_takes_nothing_of_what_it_asked_for_is_ended() {
    // The test's own channel and one more.
    let server = start(|connections| {
        (connections.stall, connections.most) = (SHORT, 2);
        // Nothing else ends it.
        (connections.streams, connections.resets) = (100_000, 1_000_000);
    })
    .await;
    let took = ends_who_takes_nothing(&server).await;
    assert!(took >= SHORT, "{took:?}");
    server.stop().await;
}

/// Of a service that has two places for connections, one of which is the test's own: how long it took until the other was free again.
pub async fn ends_who_takes_nothing(server: &TestServer) -> Duration {
    let begun = Instant::now();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut raw = Raw(socket.connect(server.address()).await.expect("the server listens"));
    // As much as can be said is allowed to come.
    let window = (1_u32 << 31) - 1;
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await;
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &(window - 65_535).to_be_bytes())).await;
    // What answers much: the largest file of the contract.
    let (request, symbol) = (tonic_reflection::pb::v1::ServerReflectionRequest::default(), "loyalty.v1.Program".to_owned());
    let message_request = Some(tonic_reflection::pb::v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol));
    let request = tonic_reflection::pb::v1::ServerReflectionRequest { message_request, ..request };
    let request = prost::Message::encode_to_vec(&request);
    let message = [&[0, 0, 0, 0, u8::try_from(request.len()).expect("short")][..], &request].concat();
    let head = call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let sending = async {
        for stream in (1..).step_by(2).take(20_000) {
            let call = [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, END_STREAM, stream, &message)].concat();
            if raw.0.write_all(&call).await.is_err() {
                return;
            }
        }
    };
    // It sends for as long as it is read; none of what comes is taken.
    tokio::select! {
        () = sending => {}
        () = serves_soon(server) => {}
    }
    serves_soon(server).await;
    let took = begun.elapsed();
    drop(raw);
    took
}

#[tokio::test]
async fn many_small_messages_of_a_stream_are_bounded_and_others_are_answered() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let socket = TcpStream::connect(server.address()).await.expect("the server listens");
    let (send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(async move { drop(connection.await) });
    let mut send = send.ready().await.expect("it is open");
    let request = http::Request::post("http://test/loyalty.v1.PurchaseService/StreamPurchases")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let (answer, mut body) = send.send_request(request, false).expect("it is sent");
    for _ in 0..50_000 {
        // A message without a purchase, and never a look at what it is answered.
        if body.send_data(vec![0_u8; 5].into(), false).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    for n in 0..3 {
        server.purchases().record_purchase(sale(&member, &format!("o-{n}"), "10000")).await.expect("others are answered");
    }
    let get = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    server.members().get_member(get).await.expect("an answer");
    drop((answer, body, send));
    connection.abort();
    serves(&server).await;
    server.stop().await;
}

#[test]
fn a_process_without_file_descriptors_goes_on_and_accepts_again_when_it_has_some() {
    let folder = TempDir::new().expect("a folder");
    let mut command = loyaltyd();
    let few = || Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: Some(128) })?);
    // SAFETY: all it does between fork and exec is one system call.
    unsafe { command.pre_exec(few) };
    command.args(["serve", "--listen", "127.0.0.1:0", "--segment-bytes", "65536", "--data"]).arg(folder.path().join("data"));
    let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(process.stderr.take().expect("a log")).lines();
    let mut until = |part: &str| loop {
        let line = log.next().expect("the log goes on").expect("a line");
        if line.contains(part) {
            return line;
        }
    };
    let line = until("listening on ");
    let address = line.split("listening on ").nth(1).expect("an address").trim().to_owned();
    until(": serving");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let args = ServerArgs { server: address.clone(), how: ReachArgs::default() };
    let before = runtime.block_on(args.connect()).expect("a connection");
    let held: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(&address).expect("the system takes it")).collect();
    let said = until("cannot be accepted");
    assert!(said.contains("ulimit -n"), "{said}");
    let ask = |channel: ApiChannel| runtime.block_on(ProgramServiceClient::new(channel).list_programs(v1::ListProgramsRequest::default()));
    ask(before).expect("who was there is served on");
    drop(held);
    let begun = Instant::now();
    while runtime.block_on(args.connect()).ok().and_then(|channel| ask(channel).ok()).is_none() {
        assert!(begun.elapsed() < PATIENCE, "it accepts no more");
    }
    process.kill().expect("it runs");
    process.wait().expect("it ended");
}
