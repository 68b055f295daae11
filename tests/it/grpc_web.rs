//! Callers that are browsers or edge runtimes: gRPC-Web over HTTP/1.1 as it is on the wire, and what browsers are told of origins.

use std::sync::Arc;

use http::HeaderValue;
use loyaltyd::{
    config::connections::{Origins, Web},
    contract::v1,
    ledger::ManualClock,
};
use prost::Message;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{self, PROGRAM, TestServer, by_id, frames::Raw, noon, rule_book};

pub const SHOP: &str = "https://shop.example.com";

async fn start(origins: Origins) -> TestServer {
    let folder = TempDir::new().expect("a folder");
    let mut config = support::config(folder.path(), vec![rule_book()]);
    config.connections.web = Some(Web { origins });
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

pub fn shop() -> Origins {
    Origins::These(vec![HeaderValue::from_static(SHOP)])
}

/// What comes back on a connection of its own: the head in small letters, and the body with its chunks put together.
async fn ask(server: &TestServer, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    exchange(TcpStream::connect(server.address()).await.expect("the server listens"), head, body).await
}

/// The same on a connection that there is.
pub async fn exchange(mut socket: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let request = format!("{head}host: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(&[request.as_bytes(), body].concat()).await.expect("it is read");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).expect("a head").to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { whole(&answer[end..]) } else { answer[end..].to_vec() };
    (head, body)
}

fn whole(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|bytes| bytes == b"\r\n").expect("a chunk");
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).expect("a number"), 16).expect("a number");
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[line + 2..line + 2 + length]);
        chunks = &chunks[line + 2 + length + 2..];
    }
}

pub fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).expect("small").to_be_bytes(), &message].concat()
}

/// The messages, and the trailers that come as the last one.
pub fn parts(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while body.len() >= 5 {
        let length = usize::try_from(u32::from_be_bytes(body[1..5].try_into().expect("four bytes"))).expect("small");
        let (part, rest) = body[5..].split_at(length);
        if body[0] & 0x80 != 0 {
            assert!(rest.is_empty(), "trailers come last");
            return (messages, String::from_utf8(part.to_vec()).expect("text"));
        }
        messages.push(part.to_vec());
        body = rest;
    }
    (messages, String::new())
}

fn post(method: &str) -> String {
    format!("POST /loyalty.v1.{method} HTTP/1.1\r\norigin: {SHOP}\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n")
}

#[tokio::test]
async fn a_storefront_calls_over_http_1() {
    let server = start(shop()).await;
    let member = server.enroll("c-1").await;
    let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let (head, body) = ask(&server, &post("MemberService/GetMember"), &framed(&request)).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {SHOP}")), "{head}");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        let exposed = head.lines().find(|line| line.starts_with("access-control-expose-headers")).unwrap_or_default();
        assert!(exposed.contains(name), "{head}");
    }
    assert!(!head.contains("access-control-allow-credentials"), "{head}");
    let (messages, trailers) = parts(&body);
    let answer = v1::GetMemberResponse::decode(messages[0].as_slice()).expect("an answer");
    assert_eq!(answer.member.expect("a member").member_id, member);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    // A refusal, with its details.
    let request = v1::GetMemberRequest { program_id: "nowhere".into(), member: by_id(&member), ..Default::default() };
    let (head, body) = ask(&server, &post("MemberService/GetMember"), &framed(&request)).await;
    let told = head + &parts(&body).1;
    assert!(told.contains("grpc-status: 5") || told.contains("grpc-status:5"), "{told}");
    assert!(told.contains("grpc-status-details-bin"), "{told}");

    // One that is refused before it is decoded.
    let elements = crate::elements::empty(1, 2_000_000);
    let sent = [&[0][..], &u32::try_from(elements.len()).expect("small").to_be_bytes(), &elements].concat();
    let (head, body) = ask(&server, &post("PurchaseService/BatchRecordPurchases"), &sent).await;
    let told = head + &parts(&body).1;
    assert!(told.contains("grpc-status: 3") && told.contains("elements") && told.contains("grpc-status-details-bin"), "{told}");

    // A stream of the server: two parts of an export at least.
    let request = v1::ExportMemberRequest { program_id: PROGRAM.into(), member: by_id(&member) };
    let (_, body) = ask(&server, &post("MemberService/ExportMember"), &framed(&request)).await;
    let (messages, trailers) = parts(&body);
    assert!(messages.len() >= 2 && trailers.contains("grpc-status:0"), "{} {trailers}", messages.len());
    assert!(v1::ExportMemberResponse::decode(messages[0].as_slice()).expect("a part").part.is_some());

    // Usual callers are served beside.
    server.member(&member).await;
    server.stop().await;
}

#[tokio::test]
async fn a_browser_is_told_what_it_may_send_and_pages_of_others_may_not_read() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /loyalty.v1.MemberService/GetMember HTTP/1.1\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: authorization,content-type,x-grpc-web\r\n"
        )
    };
    let server = start(shop()).await;
    let (head, _) = ask(&server, &preflight(SHOP), &[]).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains(&format!("access-control-allow-origin: {SHOP}")) && head.contains("access-control-allow-methods: post"),
        "{head}"
    );
    let allowed = head.lines().find(|line| line.starts_with("access-control-allow-headers")).expect("headers");
    for name in ["authorization", "content-type", "grpc-timeout", "x-grpc-web"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(head.contains("access-control-max-age: 3600"), "{head}");
    for other in ["https://evil.example.com", "https://shop.example.com.evil.example", "http://shop.example.com", "null"] {
        let (head, _) = ask(&server, &preflight(other), &[]).await;
        assert!(!head.contains("access-control-allow-origin"), "{other}: {head}");
    }
    server.stop().await;

    let server = start(Origins::All).await;
    let (head, _) = ask(&server, &preflight("https://anyone.example"), &[]).await;
    assert!(head.contains("access-control-allow-origin: *") && !head.contains("allow-credentials"), "{head}");
    server.stop().await;

    let server = start(Origins::These(Vec::new())).await;
    let (head, _) = ask(&server, &preflight(SHOP), &[]).await;
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_grpc_web_is_refused_and_without_the_flag_http_1_is() {
    let server = start(shop()).await;
    let (head, _) = ask(&server, "GET / HTTP/1.1\r\n", &[]).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    let (head, _) = ask(&server, "GET /loyalty.v1.MemberService/GetMember HTTP/1.1\r\ncontent-type: application/grpc-web\r\n", &[]).await;
    assert!(head.starts_with("http/1.1 405"), "{head}");
    server.stop().await;

    let server = TestServer::start().await;
    let mut raw = Raw::connect(server.address()).await;
    raw.send(format!("{}host: test\r\n\r\n", post("MemberService/GetMember")).as_bytes()).await;
    let answered = raw.rest().await;
    assert!(answered.iter().all(|frame| frame.kind != super::support::frames::HEADERS), "there is no HTTP/1.1");
    server.stop().await;
}

/// A page of whomever that finds the service on the machine of the one who looks at it, as DNS rebinding lets it.
#[tokio::test]
async fn no_page_takes_a_backup_however_it_asks() {
    let server = start(Origins::All).await;
    let backup = framed(&v1::StreamBackupRequest::default());
    for head in [post("AdminService/StreamBackup"), post("SandboxService/GetClock"), post("AdminService/Nothing")] {
        let (head, body) = ask(&server, &head, &backup).await;
        let told = head + &parts(&body).1;
        assert!(told.contains("grpc-status: 7") || told.contains("grpc-status:7"), "{told}");
        assert!(told.contains("gRPC-Web") || told.to_ascii_lowercase().contains("grpc-web"), "{told}");
        assert!(parts(&body).0.is_empty(), "nothing of the ledger");
    }
    // A browser that speaks HTTP/2 says where its page is from.
    let path = "/loyalty.v1.AdminService/StreamBackup";
    for said in [("origin", "http://rebound.example"), ("sec-fetch-site", "same-origin"), ("content-type", "application/grpc-web")] {
        let (status, messages) = over_http_2(&server, path, &[said], &backup).await;
        assert_eq!((status.as_deref(), messages), (Some("7"), 0), "{said:?}");
    }
    let (status, messages) = over_http_2(&server, path, &[], &backup).await;
    assert!(status.is_none() && messages > 0, "a usual caller on this machine is answered: {status:?}");
    server.stop().await;
}

/// The status in the head of the answer, if it is there, and the bytes that follow.
async fn over_http_2(server: &TestServer, path: &str, more: &[(&str, &str)], body: &[u8]) -> (Option<String>, usize) {
    let socket = TcpStream::connect(server.address()).await.expect("the server listens");
    let (mut send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(async move { drop(connection.await) });
    let mut request = http::Request::post(format!("http://test{path}")).header("te", "trailers");
    if more.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let (answer, mut sending) = send.send_request(request.body(()).expect("a request"), false).expect("it is sent");
    sending.send_data(body.to_vec().into(), true).expect("it is sent");
    let answer = answer.await.expect("an answer");
    let status = answer.headers().get("grpc-status").map(|status| status.to_str().expect("a number").to_owned());
    let mut body = answer.into_body();
    let mut bytes = 0;
    if status.is_none() {
        bytes = body.data().await.expect("a part").expect("it comes").len();
    }
    connection.abort();
    (status, bytes)
}
