//! gRPC-Web as browsers speak it: over TLS, in HTTP/1.1 and in HTTP/2, whichever the two agree on.

use std::sync::Arc;

use http::Method;
use loyaltyd::{app, app::RunningServer, config::connections::Web, contract::v1, ledger::ManualClock};
use prost::Message as _;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    grpc_web::{SHOP, exchange, framed, parts, shop},
    support::{self, PROGRAM, authority::Authority, noon, rule_book},
};

const GET: &str = "/loyalty.v1.ProgramService/GetProgram";
const OTHER: &str = "https://evil.example.com";
const HTTP_1: &str = "http/1.1";
const HTTP_2: &str = "h2";

/// A service with TLS, which a page of the shop may call unless it is to be without.
struct Served {
    server: RunningServer,
    folder: TempDir,
}

impl Served {
    async fn start(web: Option<Web>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let authority = Authority::new("ours");
        authority.write(folder.path(), "ca.pem");
        let mut config = support::config(folder.path(), vec![rule_book()]);
        config.connections.tls = Some(authority.issue(&["localhost"]).write(folder.path(), "server"));
        config.connections.web = web;
        let mut server = app::start(config, Arc::new(ManualClock::new(noon()))).await.expect("it starts");
        server.ready().await.expect("it reads its ledger");
        Self { server, folder }
    }

    /// A connection that offers these protocols.
    async fn connect(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let roots = loyaltyd::config::tls::roots("--ca", &self.folder.path().join("ca.pem")).expect("roots");
        let builder = rustls::ClientConfig::builder_with_provider(loyaltyd::config::tls::provider());
        let mut config =
            builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(self.server.address).await.expect("it listens");
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), socket).await
    }

    /// What comes back over that protocol: the status and the head in small letters, a line each, and the body. Over HTTP/2 nothing
    /// follows the body: a page could not read it.
    async fn ask(&self, protocol: &str, method: Method, headers: &[(&str, &str)], body: &[u8]) -> (String, Vec<u8>) {
        let stream = self.connect(&[protocol]).await.expect("a connection");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        if protocol == HTTP_1 {
            let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let (head, body) = exchange(stream, &format!("{method} {GET} HTTP/1.1\r\n{lines}"), body).await;
            return (head.strip_prefix("http/1.1 ").expect("a status").to_owned(), body);
        }
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = http::Request::builder().method(method).uri(format!("https://localhost{GET}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = send.ready().await.expect("it is open");
        let (answer, mut sending) = send.send_request(request.body(()).expect("a request"), body.is_empty()).expect("it is sent");
        if !body.is_empty() {
            sending.send_data(body.to_vec().into(), true).expect("it is sent");
        }
        let (head, mut answer) = answer.await.expect("an answer").into_parts();
        let lines: String = head.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().expect("text"))).collect();
        let mut whole = Vec::new();
        while let Some(part) = answer.data().await {
            whole.extend_from_slice(&part.expect("it comes"));
        }
        assert!(answer.trailers().await.expect("it ends").is_none(), "trailers are in the body");
        connection.abort();
        (format!("{}\n{lines}", head.status.as_str()).to_ascii_lowercase(), whole)
    }
}

fn page(origin: &str) -> Vec<(&str, &str)> {
    vec![("origin", origin), ("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")]
}

#[tokio::test]
async fn a_page_calls_over_tls_in_both_versions_of_http() {
    let served = Served::start(Some(Web { origins: shop() })).await;
    let known = framed(&v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 });
    let unknown = framed(&v1::GetProgramRequest { program_id: "nowhere".into(), version: 0 });
    for protocol in [HTTP_1, HTTP_2] {
        let (head, body) = served.ask(protocol, Method::POST, &page(SHOP), &known).await;
        assert!(head.starts_with("200"), "{protocol}: {head}");
        assert!(head.contains(&format!("access-control-allow-origin: {SHOP}")), "{protocol}: {head}");
        assert!(head.contains("content-type: application/grpc-web"), "{protocol}: {head}");
        let (messages, trailers) = parts(&body);
        let answer = v1::GetProgramResponse::decode(messages[0].as_slice()).expect("an answer");
        assert_eq!(answer.program.expect("a rule book").program_id, PROGRAM, "{protocol}");
        assert!(trailers.contains("grpc-status:0"), "{protocol}: {trailers}");
        // A refusal is a status in the head or in the body's trailers, and has its details.
        let (head, body) = served.ask(protocol, Method::POST, &page(SHOP), &unknown).await;
        let told = head + &parts(&body).1;
        assert!(told.contains("grpc-status: 5") || told.contains("grpc-status:5"), "{protocol}: {told}");
        assert!(told.contains("grpc-status-details-bin"), "{protocol}: {told}");
        // The page of another reads nothing: the browser keeps from it what does not name its origin.
        let (head, _) = served.ask(protocol, Method::POST, &page(OTHER), &known).await;
        assert!(!head.contains("access-control-allow-origin"), "{protocol}: {head}");
    }
    served.server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_browser_asks_before_it_calls_over_tls_and_hears_whose_pages_may() {
    let served = Served::start(Some(Web { origins: shop() })).await;
    let asks = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization,content-type,x-grpc-web")];
    for protocol in [HTTP_1, HTTP_2] {
        let (head, body) = served.ask(protocol, Method::OPTIONS, &[&[("origin", SHOP)][..], &asks].concat(), &[]).await;
        assert!(head.starts_with("200") && body.is_empty(), "{protocol}: {head}");
        for line in [&format!("access-control-allow-origin: {SHOP}"), "access-control-allow-methods: post", "access-control-max-age: 3600"]
        {
            assert!(head.contains(line), "{protocol}: {line}: {head}");
        }
        let allowed = head.lines().find(|line| line.starts_with("access-control-allow-headers")).expect("headers");
        assert!(["authorization", "content-type", "x-grpc-web"].iter().all(|name| allowed.contains(name)), "{protocol}: {allowed}");
        assert!(!head.contains("access-control-allow-credentials"), "{protocol}: {head}");
        for other in [OTHER, "http://shop.example.com", "null"] {
            let (head, _) = served.ask(protocol, Method::OPTIONS, &[&[("origin", other)][..], &asks].concat(), &[]).await;
            assert!(!head.contains("access-control-allow-origin"), "{protocol}: {other}: {head}");
        }
    }
    served.server.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn the_two_agree_on_http_2_if_both_can_and_on_http_1_only_where_pages_may_call() {
    let served = Served::start(Some(Web { origins: shop() })).await;
    let both = served.connect(&[HTTP_1, HTTP_2]).await.expect("a connection");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(HTTP_2.as_bytes()));
    served.server.shutdown().await.expect("it stops");
    let served = Served::start(None).await;
    assert!(served.connect(&[HTTP_1]).await.is_err(), "there is no HTTP/1.1 without the flag");
    served.connect(&[HTTP_2]).await.expect("a connection");
    served.server.shutdown().await.expect("it stops");
}
