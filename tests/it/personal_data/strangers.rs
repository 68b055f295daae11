//! What strangers show of themselves is nowhere: credentials, certificates, names in TLS, metadata, paths, origins, and bytes that are no message
//! are in no log, no metric, no trace and no refusal, in whatever form a number or a name comes.

use std::{net::SocketAddr, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use loyaltyd::contract::v1;
use prost::Message as _;
use rustls_pki_types::ServerName;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::refusals::{Server, told};
use crate::{
    access_tokens::{Signer, set, signer},
    support::{
        access::{file_of, principal, send},
        authority::{Authority, write},
        scrape::{Scraped, scrape},
    },
    traces::Taken,
};

const ISSUER: &str = "https://id.example.com";
const LIST: &str = "/loyalty.v1.ProgramService/ListPrograms";
/// Complaints that are logged in a second: more than that at once are counted, and would show nothing.
const AT_ONCE: usize = 8;

/// A number that is in nothing else, as a phone has it.
fn number(of: usize) -> String {
    format!("8497{of:07}")
}

/// The forms in which it could be kept: as it is, in hexadecimal digits, in base64 at each of the three places that it can begin at.
fn forms(number: &str) -> Vec<String> {
    let hex = number.bytes().map(|byte| format!("{byte:02x}")).collect();
    // The first and the last letters depend on what is around it.
    let encoded = (0..3).map(|before| {
        let text = URL_SAFE_NO_PAD.encode(format!("{}{number}", "x".repeat(before)));
        text[4..text.len() - 2].to_owned()
    });
    [number.to_owned(), hex].into_iter().chain(encoded).collect()
}

fn is_in(text: &str, number: &str) -> bool {
    forms(number).iter().any(|form| text.contains(form))
}

/// A server that is watched in every way, and who watches it.
struct Watched {
    server: Server,
    metrics: SocketAddr,
    taken: Taken,
    collector: JoinHandle<()>,
}

impl Watched {
    async fn start(folder: &Path, more: &[&str]) -> Self {
        let taken = Taken::default();
        let (address, collector) = taken.listen().await;
        let endpoint = format!("http://{address}");
        let access = folder.join("access.yaml");
        let watched = ["--metrics-listen", "127.0.0.1:0", "--otlp-endpoint", &endpoint, "--otlp-sample-ratio", "1"];
        let arguments = [&watched[..], &["--access", access.to_str().expect("text")], more].concat();
        let data = TempDir::new_in(folder).expect("a folder").keep();
        let server = Server::start(&data.join("data"), "json", &arguments);
        let metrics = server.metrics.expect("metrics are served");
        while scrape(metrics).await.value("loyaltyd_state{state=\"serving\"}") != 1.0 {}
        Self { server, metrics, taken, collector }
    }

    /// Where none of the numbers is; what was told in all.
    async fn stop(self, planted: &[String]) -> (String, Scraped, usize) {
        let metrics = scrape(self.metrics).await;
        let log = self.server.stop();
        self.collector.abort();
        let (traces, spans) = (self.taken.text(), self.taken.spans().len());
        for number in planted {
            for (place, text) in [("the log", &log), ("the metrics", &metrics.text), ("the traces", &traces)] {
                assert!(!is_in(text, number), "{number} is in {place}:\n{text}");
            }
        }
        (log, metrics, spans)
    }
}

/// What a stranger sends.
struct Call {
    path: String,
    metadata: Vec<(&'static str, String)>,
    message: Vec<u8>,
    /// A refusal may name the programme that it is about.
    is_program: bool,
}

fn forged(header: &serde_json::Value, claims: &serde_json::Value) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode([7; 64]))
}

/// Calls with a number in each place where one can be.
fn calls(key: &str, signer: &Signer) -> Vec<(String, Call)> {
    type Build<'b> = Box<dyn Fn(&str) -> Call + 'b>;
    let with = |path: &str, metadata: Vec<(&'static str, String)>, message: Vec<u8>| Call {
        path: path.to_owned(),
        metadata,
        message,
        is_program: false,
    };
    let shows = |text: String| with(LIST, vec![("authorization", text)], Vec::new());
    let knows = |more: Vec<(&'static str, String)>| {
        let own = ("authorization", format!("Bearer {key}"));
        with("/loyalty.v1.MemberService/GetMember", [vec![own], more].concat(), Vec::new())
    };
    let says = |path: &str, message: Vec<u8>| with(path, vec![("authorization", format!("Bearer {key}"))], message);
    let far = 4_102_444_800_u64;
    let claims = |iss: &str, aud: &str, sub: &str, exp: u64| json!({"iss": iss, "aud": aud, "sub": sub, "exp": exp});
    let signs = |kid: &str, claims: serde_json::Value| shows(format!("Bearer {}", signer.sign(Some(kid), &claims)));
    let cut = |text: &str| [&[0x0a, 0x7f][..], text.as_bytes()].concat();
    let no_text = |text: &str| [&[0x0a, text.len() as u8 + 1][..], text.as_bytes(), &[0xff]].concat();
    let builds: Vec<Build> = vec![
        Box::new(|n| shows(format!("Bearer ldk_{n}"))),
        Box::new(|n| shows(format!("Bearer +{n}"))),
        Box::new(|n| shows(format!("Basic {n}"))),
        Box::new(|n| shows(format!("+{n}"))),
        Box::new(|n| shows(format!("Bearer a.{n}.c"))),
        Box::new(|n| with(LIST, vec![("authorization", format!("Bearer {key}")), ("authorization", format!("Bearer {n}"))], Vec::new())),
        Box::new(|n| shows(format!("Bearer {}", forged(&json!({"alg": "none", "kid": n}), &claims(ISSUER, "loyaltyd", n, far))))),
        Box::new(|n| shows(format!("Bearer {}", forged(&json!({"alg": n}), &claims(ISSUER, "loyaltyd", n, far))))),
        Box::new(|n| shows(format!("Bearer {}", forged(&json!({"alg": "ES256", "kid": "e"}), &claims(ISSUER, "loyaltyd", n, far))))),
        Box::new(|n| shows(format!("Bearer {}", forged(&json!({"alg": "ES256", "kid": n}), &json!({"iss": ISSUER, "phone": n}))))),
        Box::new(|n| shows(format!("Bearer {}", forged(&json!({"alg": "ES256", "kid": "e"}), &json!([n, {"iss": n}]))))),
        Box::new(|n| signs("e", claims(ISSUER, "loyaltyd", n, far))),
        Box::new(|n| signs("e", claims(ISSUER, n, n, far))),
        Box::new(|n| signs("e", claims(&format!("https://{n}.example.com"), "loyaltyd", n, far))),
        Box::new(|n| signs("e", claims(ISSUER, "loyaltyd", n, 1))),
        Box::new(|n| signs(n, claims(ISSUER, "loyaltyd", n, far))),
        Box::new(|n| signs("e", json!({"iss": ISSUER, "aud": "loyaltyd", "sub": "x", "exp": n}))),
        Box::new(|n| signs("e", json!({"iss": [n], "aud": {"a": n}, "sub": "x", "exp": far, "nbf": n}))),
        Box::new(|n| with(&format!("/{n}/x"), Vec::new(), Vec::new())),
        Box::new(|n| says(&format!("/{n}/+{n}"), Vec::new())),
        Box::new(|n| says(&format!("/loyalty.v1.MemberService/{n}"), Vec::new())),
        Box::new(|n| knows(vec![("x-phone", n.to_owned()), ("cookie", n.to_owned()), ("from", n.to_owned())])),
        Box::new(|n| knows(vec![("traceparent", n.to_owned()), ("baggage", format!("phone={n}"))])),
        Box::new(|n| knows(vec![("grpc-timeout", format!("{n}x")), ("x-user-agent", n.to_owned())])),
        Box::new(|n| knows(vec![("grpc-accept-encoding", n.to_owned()), ("grpc-encoding", n.to_owned())])),
        Box::new(|n| says("/loyalty.v1.MemberService/EnrollMember", cut(n))),
        Box::new(|n| says("/loyalty.v1.PurchaseService/RecordPurchase", no_text(n))),
        Box::new(|n| says("/loyalty.v1.PurchaseService/StreamPurchases", no_text(n))),
        Box::new(|n| says("/loyalty.v1.MemberService/GetMember", cut(n))),
        Box::new(|n| Call {
            is_program: true,
            ..says(
                "/loyalty.v1.ProgramService/GetProgram",
                v1::GetProgramRequest { program_id: format!("shop-{n}"), version: 0 }.encode_to_vec(),
            )
        }),
    ];
    builds.iter().enumerate().map(|(place, build)| (number(place), build(&number(place)))).collect()
}

async fn refusal(channel: &Channel, call: &Call) -> Status {
    let mut request = Request::new(tokio_stream::once(call.message.clone()));
    for (name, value) in &call.metadata {
        request.metadata_mut().append(*name, value.parse().expect("metadata"));
    }
    send(channel, &call.path, request).await.expect_err("it is refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_a_call_shows_is_kept_when_it_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let signer = signer(Algorithm::ES256, "e");
    let keys = write(folder.path(), "jwks.json", set(&[&signer]));
    let (key, line) = principal("tills", "pos, support", "vietnam", "");
    let issuers = format!("issuers:\n  - {{issuer: \"{ISSUER}\", audience: loyaltyd, jwks_file: {}}}\n", keys.display());
    write(folder.path(), "access.yaml", file_of(&[&line]) + &issuers);
    let (mut reasons, mut spans_in_all, mut logs) = (std::collections::BTreeSet::new(), 0, String::new());
    let calls = calls(&key, &signer);
    for calls in calls.chunks(AT_ONCE) {
        let watched = Watched::start(folder.path(), &["--grpc-web", "--cors-origin", "https://shop.example.com"]).await;
        let endpoint = Endpoint::from_shared(format!("http://{}", watched.server.address)).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        for (number, call) in calls {
            let status = refusal(&channel, call).await;
            assert_ne!(status.code(), Code::Internal, "{status:?}");
            assert!(call.is_program || !is_in(&told(&status), number), "{number} is repeated: {status:?}");
            reasons.insert(crate::support::refused(&status).reason);
        }
        let origins = origins(&watched.server.address).await;
        let planted: Vec<String> = calls.iter().map(|(number, _)| number.clone()).chain(origins).collect();
        let (log, metrics, spans) = watched.stop(&planted).await;
        logs.push_str(&log);
        let counted: f64 =
            metrics.samples.iter().filter(|(name, _)| name.starts_with("loyaltyd_rpc_requests_total{")).map(|(_, n)| n).sum();
        assert!(counted >= calls.len() as f64, "{counted} calls are counted");
        spans_in_all += spans;
    }
    assert!((1..calls.len()).contains(&spans_in_all), "who is let in is traced, and nobody else: {spans_in_all} calls");
    for reason in ["CREDENTIAL_MISSING", "CREDENTIAL_INVALID", "PROGRAM_NOT_ALLOWED", "MALFORMED_REQUEST", "INVALID_FIELD"] {
        assert!(reasons.contains(reason), "{reason} is none of {reasons:?}");
        // What never comes to a handler is counted and traced alone.
        let is_logged = reason.starts_with("CREDENTIAL_") || reason == "PROGRAM_NOT_ALLOWED";
        assert!(!is_logged || logs.contains(&format!("\"reason\":\"{reason}\"")), "{reason} is not logged");
    }
}

/// Pages of other origins, and bodies that are no gRPC-Web; the numbers in them.
async fn origins(address: &str) -> Vec<String> {
    let numbers = [number(9_000_001), number(9_000_002), number(9_000_003)];
    let [origin, header, body] = &numbers;
    let requests = [
        format!(
            "OPTIONS {LIST} HTTP/1.1\r\nhost: x\r\norigin: https://{origin}.example.com\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: x-{header}\r\nconnection: close\r\n\r\n"
        ),
        format!(
            "POST {LIST} HTTP/1.1\r\nhost: {origin}\r\norigin: https://{origin}.example.com\r\nreferer: https://x/{header}\r\n\
             content-type: application/grpc-web-text\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
        format!("POST /{origin} HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n"),
    ];
    for request in requests {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        // It may end with or without a word.
        let _ = socket.read_to_end(&mut answer).await;
        assert!(!is_in(&String::from_utf8_lossy(&answer), origin), "{}", String::from_utf8_lossy(&answer));
    }
    numbers.to_vec()
}

/// How a stranger comes to a port with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// A certificate of the right authority, of no principal.
    Certificate,
    Expired,
    OfStrangers,
    /// As the name that it asks for.
    ServerName,
    /// As the protocol that it wants to speak.
    Protocol,
    /// Without TLS.
    Plain,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_tls_shows_is_kept_when_it_fails_or_says_nobody() {
    use Shown::{Certificate, Expired, OfStrangers, Plain, Protocol, ServerName};
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::new("ours");
    let files = authority.issue(&["localhost"]).write(folder.path(), "server");
    let (_, line) = principal("tills", "pos", "vietnam", "");
    write(folder.path(), "access.yaml", file_of(&[&line]));
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let ca = text(&authority.write(folder.path(), "ca.pem"));
    let (certificate, key) = (text(&files.certificate), text(&files.key));
    for (place, shown) in [Certificate, Expired, OfStrangers, ServerName, Protocol, Plain].into_iter().enumerate() {
        let planted = number(5_000_000 + place);
        let name = format!("{planted}.example.com");
        let watched = Watched::start(folder.path(), &["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &ca]).await;
        let address = watched.server.address.clone();
        match shown {
            Certificate => {
                let status = ask(&address, &authority, "localhost", Some(authority.issue(&[&name, &planted]))).await.expect_err("nobody");
                assert_eq!(crate::support::refused(&status).reason, "CREDENTIAL_INVALID");
                assert!(!is_in(&told(&status), &planted), "{status:?}");
            }
            Expired => drop(ask(&address, &authority, "localhost", Some(authority.issue_until(&[&name], 2_020))).await.expect_err("late")),
            OfStrangers => {
                let stranger = Authority::new(&planted).issue(&[&name]);
                drop(ask(&address, &authority, "localhost", Some(stranger)).await.expect_err("nobody knows it"));
            }
            ServerName => drop(ask(&address, &authority, &name, None).await.expect_err("it is not its name")),
            Protocol => speak(&address, &ca, &planted).await,
            Plain => {
                let mut socket = TcpStream::connect(&address).await.expect("it listens");
                socket.write_all(planted.as_bytes()).await.expect("it is sent");
                let _ = socket.read_to_end(&mut Vec::new()).await;
            }
        }
        if shown != Certificate {
            while scrape(watched.metrics).await.value("loyaltyd_connections_refused_total{reason=\"tls\"}") == 0.0 {}
        }
        let (log, ..) = watched.stop(&[planted]).await;
        let said = if shown == Certificate { "a caller was refused" } else { "TLS failed" };
        assert!(log.contains(said), "{shown:?} is told of:\n{log}");
    }
}

/// Calls over TLS; what goes wrong on the way there is a status, too.
async fn ask(
    address: &str,
    authority: &Authority,
    name: &str,
    shown: Option<crate::support::authority::Issued>,
) -> Result<Vec<Vec<u8>>, Status> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem)).domain_name(name);
    let tls = shown.iter().fold(tls, |tls, shown| tls.identity(Identity::from_pem(&shown.certificate, &shown.key)));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address").tls_config(tls).expect("TLS");
    send(&endpoint.connect_lazy(), LIST, Request::new(tokio_stream::once(Vec::new()))).await
}

/// Offers a protocol of this name.
async fn speak(address: &str, ca: &str, protocol: &str) {
    let roots = loyaltyd::config::tls::roots("--ca", Path::new(ca)).expect("roots");
    let builder = rustls::ClientConfig::builder_with_provider(loyaltyd::config::tls::provider()).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let socket = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    assert!(stream.is_err(), "it speaks HTTP/2 alone");
}

#[test]
fn what_is_looked_for_is_found_in_each_form() {
    let number = number(7);
    let token = forged(&json!({"alg": "none"}), &json!({"sub": number}));
    assert!(is_in(&token, &number) && is_in(&format!("x{number}y"), &number));
    assert!((0..3).all(|before| is_in(&URL_SAFE_NO_PAD.encode(format!("{}{number}abc", "-".repeat(before))), &number)));
    assert!(!is_in("Bearer 84970000008", &number));
}
