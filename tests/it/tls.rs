//! TLS: who is believed, what is said when somebody is not, and certificates that change while the service runs.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    task::Poll,
    time::{Duration, Instant},
};

use clap::{Args as _, FromArgMatches as _};
use loyaltyd::{
    app::{self, RunningServer},
    cli::client::{ReachArgs, ServerArgs, failed},
    config::{Connections, ServeArgs, tls::TlsFiles},
    contract::v1::{
        self, admin_service_client::AdminServiceClient, member_service_client::MemberServiceClient,
        program_service_client::ProgramServiceClient, purchase_service_client::PurchaseServiceClient,
    },
    grpc::{
        Front, Gate, Valve,
        connections::{Bounds, Incoming},
    },
    ledger::ManualClock,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::{
    Code,
    body::Body,
    codegen::{BoxFuture, Service},
    transport::{
        Certificate, Channel, ClientTlsConfig, Endpoint, Identity,
        server::{TcpConnectInfo, TlsConnectInfo},
    },
};

use crate::support::{
    self, PROGRAM, TestServer,
    authority::{Authority, Issued, write},
    enrolment,
    frames::{PREFACE, Raw, SETTINGS, frame},
    loyaltyd, noon, rule_book, sale,
};

const SHORT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

/// A service with TLS.
struct Served {
    server: RunningServer,
    folder: TempDir,
    authority: Authority,
}

impl Served {
    async fn start(change: impl FnOnce(&mut Connections, &Path)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let authority = Authority::new("ours");
        let mut config = support::config(folder.path(), vec![rule_book()]);
        config.connections.tls = Some(authority.issue(&["localhost", "127.0.0.1"]).write(folder.path(), "server"));
        config.connections.tls_read_every = Duration::from_millis(10);
        change(&mut config.connections, folder.path());
        let mut server = app::start(config, Arc::new(ManualClock::new(noon()))).await.expect("it starts");
        server.ready().await.expect("it reads its ledger");
        Self { server, folder, authority }
    }

    fn trust(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority.pem)).domain_name("localhost")
    }

    async fn connect(&self, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.server.address)).expect("an address");
        endpoint.tls_config(tls).expect("a configuration").connect().await
    }

    /// A caller of its authority gets an answer on a new connection.
    async fn serves(&self) {
        ask(self.connect(self.trust()).await.expect("a connection")).await.expect("an answer");
    }

    async fn stop(self) {
        self.server.shutdown().await.expect("it stops");
    }
}

async fn ask(channel: Channel) -> Result<(), tonic::Status> {
    let request = v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 };
    ProgramServiceClient::new(channel).get_program(request).await.map(drop)
}

fn identity(issued: &Issued) -> Identity {
    Identity::from_pem(&issued.certificate, &issued.key)
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    loyaltyd::cli::client::chain(error)
}

#[tokio::test]
async fn calls_over_tls_are_answered_in_both_versions() {
    let served = Served::start(|_, _| {}).await;
    let channel = served.connect(served.trust()).await.expect("a connection");
    let member = MemberServiceClient::new(channel.clone()).enroll_member(enrolment("c-1")).await.expect("it enrols");
    let member = member.into_inner().member.expect("a member").member_id;
    PurchaseServiceClient::new(channel.clone()).record_purchase(sale(&member, "o-1", "10000")).await.expect("it is recorded");
    // Services know where callers are, as without TLS: this one is for those on this machine.
    let backup = AdminServiceClient::new(channel).stream_backup(v1::StreamBackupRequest::default()).await;
    assert!(backup.expect("a backup").into_inner().message().await.expect("a part").is_some());

    for (version, name) in [(&rustls::version::TLS12, "TLSv1_2"), (&rustls::version::TLS13, "TLSv1_3")] {
        let roots = loyaltyd::config::tls::roots("--ca", &served.authority.write(served.folder.path(), "ca.pem")).expect("roots");
        let provider = loyaltyd::config::tls::provider();
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).expect("a version");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let socket = TcpStream::connect(served.server.address).await.expect("it listens");
        let name_of = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name_of.clone(), socket).await.expect("a handshake");
        assert_eq!(format!("{:?}", stream.get_ref().1.protocol_version().expect("a version")), name);
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "there is no HTTP/1.1 without gRPC-Web");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::post("https://localhost/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        let (answer, mut body) = send.send_request(request, false).expect("it is sent");
        body.send_data(vec![0_u8; 5].into(), true).expect("it is sent");
        assert_eq!(answer.await.expect("an answer").status(), 200);
    }
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_ends_its_connection_and_the_clients_say_what_is_wrong() {
    let served = Served::start(|connections, _| connections.handshake = SHORT).await;
    let address = served.server.address;
    // Plain text, garbage, silence, half of a handshake, and silence after it.
    let plain = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for bytes in [&plain[..], &[0; 600], b"GET / HTTP/1.1\r\n\r\n", &[], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let begun = Instant::now();
        let mut raw = Raw::connect(address).await;
        raw.send(bytes).await;
        raw.rest().await;
        assert!(begun.elapsed() < PATIENCE / 2, "{bytes:?}");
    }
    let server = |name: &str, ca: Option<&str>| ServerArgs {
        server: name.replace("PORT", &address.port().to_string()),
        how: ReachArgs { ca: ca.map(|name| served.folder.path().join(name)), ..ReachArgs::default() },
    };
    served.authority.write(served.folder.path(), "ours.pem");
    Authority::new("others").write(served.folder.path(), "others.pem");
    let refused = async |args: ServerArgs| args.connect().await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(server("https://localhost:PORT", Some("ours.pem")).connect().await.is_ok());
    let wrong = refused(server("https://localhost:PORT", Some("others.pem"))).await;
    assert!(wrong.contains("--ca FILE"), "{wrong}");
    let wrong = refused(ServerArgs {
        how: ReachArgs { server_name: Some("elsewhere.example".into()), ..server("", Some("ours.pem")).how },
        ..server("https://localhost:PORT", None)
    })
    .await;
    assert!(wrong.contains("--server-name"), "{wrong}");
    // Without TLS there is a connection, and no answer on it.
    let channel = server("localhost:PORT", None).connect().await.expect("the port is open");
    let mut programs = v1::program_service_client::ProgramServiceClient::new(channel);
    let status = programs.list_programs(v1::ListProgramsRequest::default()).await.expect_err("nobody answers");
    let said = failed(&status).to_string();
    assert!(said.contains("named with https://"), "{said}");
    let plain = TestServer::start().await;
    let wrong = refused(ServerArgs { server: format!("https://{}", plain.address()), ..server("", Some("ours.pem")) }).await;
    assert!(wrong.contains("does not speak TLS"), "{wrong}");
    plain.stop().await;
    served.serves().await;
    served.stop().await;

    let expired = Served::start(|connections, folder| {
        let authority = Authority::new("late");
        authority.write(folder, "late.pem");
        connections.tls = Some(authority.issue_until(&["localhost"], 2_020).write(folder, "late-server"));
    })
    .await;
    let how = ReachArgs { ca: Some(expired.folder.path().join("late.pem")), ..ReachArgs::default() };
    let wrong = refused(ServerArgs { server: format!("https://localhost:{}", expired.server.address.port()), how }).await;
    assert!(wrong.contains("has expired"), "{wrong}");
    expired.stop().await;

    // As `openssl req -x509` makes them if it is not told otherwise.
    let own = Served::start(|connections, folder| {
        let (certificate, key) = Authority::of(&["localhost"]);
        let files = TlsFiles { certificate: write(folder, "own.pem", certificate), key: write(folder, "own.key", key), client_ca: None };
        let fault = files.load(false).expect("it can be served with").fault(jiff::Timestamp::now());
        assert!(fault.is_some_and(|fault| fault.contains("CA:FALSE")), "{fault:?}");
        connections.tls = Some(files);
    })
    .await;
    let how = ReachArgs { ca: Some(own.folder.path().join("own.pem")), ..ReachArgs::default() };
    let wrong = refused(ServerArgs { server: format!("https://localhost:{}", own.server.address.port()), how }).await;
    assert!(wrong.contains("CA:FALSE"), "{wrong}");
    own.stop().await;
}

#[tokio::test]
async fn a_client_certificate_is_optional_and_a_bad_one_ends_the_handshake() {
    let clients = Authority::new("clients");
    let served = Served::start(|connections, folder| {
        let files = connections.tls.take().expect("files");
        connections.tls = Some(TlsFiles { client_ca: Some(clients.write(folder, "clients.pem")), ..files });
    })
    .await;
    let good = clients.issue(&["till-1.example.com"]);
    let with = |issued: &Issued| served.trust().identity(identity(issued));
    ask(served.connect(with(&good)).await.expect("a connection")).await.expect("an answer");
    served.serves().await;
    let foreign = Authority::new("foreign").issue(&["till-1.example.com"]);
    let expired = clients.issue_until(&["till-1.example.com"], 2_020);
    // With a good certificate and another's key nothing can be proven; libraries refuse to try.
    for (bad, why) in [(&foreign, "UnknownCA"), (&expired, "Expired")] {
        let outcome = match served.connect(with(bad)).await {
            Ok(channel) => ask(channel).await.map_err(|status| format!("{status:?} {}", told(&status))),
            Err(error) => Err(told(&error)),
        };
        let error = outcome.expect_err("it is refused");
        assert!(error.contains(why) || error.contains("fatal alert") || error.contains("closed") || error.contains("reset"), "{error}");
    }
    served.serves().await;
    served.stop().await;
}

/// Says who called.
#[derive(Clone, Default)]
struct Probe(Arc<Mutex<Vec<Seen>>>);

#[derive(Debug)]
struct Seen {
    address: bool,
    certificates: Option<Vec<Vec<u8>>>,
    authorization: Option<String>,
}

impl Service<http::Request<Body>> for Probe {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let tls = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        self.0.lock().expect("nobody panicked").push(Seen {
            address: request.extensions().get::<TcpConnectInfo>().is_some_and(|peer| peer.remote_addr().is_some()),
            certificates: tls.map(|peer| peer.peer_certs().map(|all| all.iter().map(|one| one.to_vec()).collect()).unwrap_or_default()),
            authorization: request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned),
        });
        Box::pin(std::future::ready(Ok(tonic::Status::unimplemented("a probe").into_http())))
    }
}

/// Serves a probe until the test ends.
async fn probe(files: Option<TlsFiles>) -> (Probe, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let certificate = files.map(|files| watch::channel(files.load(false).expect("good files").server).1);
    let bounds = Bounds { connections: 10, per_address: 10, handshakes: 10, handshake: PATIENCE, stall: PATIENCE, credential: None };
    let incoming = Incoming::new(listener, certificate, bounds, &Valve::new(&Arc::new(Gate::default())));
    let probe = Probe::default();
    let front = Front::new(probe.clone(), PATIENCE, None);
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(front, incoming));
    (probe, address)
}

#[tokio::test]
async fn services_are_told_the_certificate_of_who_calls() {
    let folder = TempDir::new().expect("a folder");
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let client = clients.issue(&["till-1.example.com"]);
    let files = servers.issue(&["localhost"]).write(folder.path(), "server");
    let files = TlsFiles { client_ca: Some(clients.write(folder.path(), "clients.pem")), ..files };
    let TlsFiles { certificate, key, .. } = client.write(folder.path(), "client");
    let key_file = write(folder.path(), "api.key", "ldk_abc\n");
    let (probe, address) = probe(Some(files)).await;
    let trust = ReachArgs { ca: Some(servers.write(folder.path(), "servers.pem")), ..ReachArgs::default() };
    let shown = ReachArgs { client_cert: Some(certificate), client_key: Some(key), api_key_file: Some(key_file), ..trust.clone() };
    for how in [trust, shown] {
        let channel = ServerArgs { server: format!("https://localhost:{}", address.port()), how }.connect().await.expect("a connection");
        let mut members = MemberServiceClient::new(channel);
        let status = members.get_member(v1::GetMemberRequest::default()).await.expect_err("it is a probe");
        assert_eq!(status.code(), Code::Unimplemented);
    }
    let seen = probe.0.lock().expect("nobody panicked");
    assert!(seen.iter().all(|seen| seen.address), "{seen:?}");
    assert_eq!((&seen[0].certificates, &seen[0].authorization), (&Some(Vec::new()), &None));
    assert_eq!(seen[1].certificates, Some(vec![client.der]));
    assert_eq!(seen[1].authorization.as_deref(), Some("Bearer ldk_abc"));
}

#[tokio::test]
async fn a_key_is_not_sent_where_it_can_be_read_and_bad_files_are_named() {
    let folder = TempDir::new().expect("a folder");
    let (probe, address) = probe(None).await;
    let file = |name: &str, content: &str| write(folder.path(), name, content);
    let with = |server: &str, key: &str| ServerArgs {
        server: server.to_owned(),
        how: ReachArgs { api_key_file: Some(file("key", key)), ..ReachArgs::default() },
    };
    let refused = |args: ServerArgs| args.channel().err().map(|error| error.to_string()).unwrap_or_default();
    for server in ["192.0.2.1:50051", "http://loyalty.example.com:50051", "[2001:db8::1]:50051"] {
        let said = refused(with(server, "ldk_abc"));
        assert!(said.contains("https://") && said.contains("--insecure"), "{server}: {said}");
        let mut args = with(server, "ldk_abc");
        args.how.insecure = true;
        assert!(args.channel().is_ok(), "{server}");
    }
    assert!(with("localhost:50051", "ldk_abc").channel().is_ok());
    for key in ["", "\n \n", "two words", "two\nlines", "schlüssel"] {
        assert!(refused(with("127.0.0.1:1", key)).contains("--api-key-file"), "{key:?}");
    }
    let mut missing = with("127.0.0.1:1", "x");
    missing.how.api_key_file = Some(folder.path().join("missing"));
    assert!(refused(missing).contains("cannot be read"));
    for server in ["ftp://localhost:1", "https://", "localhost:port", "a b"] {
        assert!(refused(with(server, "ldk_abc")).contains("is not an address"), "{server}");
    }
    let without = ServerArgs { how: ReachArgs { ca: Some(file("ca", "x")), ..ReachArgs::default() }, ..with("127.0.0.1:1", "x") };
    assert!(refused(without).contains("https://"));

    // Every subcommand sends it.
    let key = file("key", " ldk_abc \n");
    let csv = file("sales.csv", "order,member,time,amount\n1,2,2026-01-01,3\n");
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/programs/vietnam.yaml");
    let backup = folder.path().join("backup");
    let csv = csv.to_str().expect("text");
    let commands: [&[&str]; 5] = [
        &["program", "show"],
        &["program", "publish", book],
        &["backup", "--to", backup.to_str().expect("text")],
        &[
            "import",
            "purchases",
            csv,
            "--program",
            "p",
            "--store",
            "s",
            "--map",
            "order=order",
            "--map",
            "member=member",
            "--map",
            "time=time",
            "--map",
            "amount=amount",
        ],
        &["bench", "--members", "1", "--duration", "1s"],
    ];
    for words in commands {
        let before = probe.0.lock().expect("nobody panicked").len();
        let mut command = loyaltyd();
        command
            .args(words)
            .args(["--server", &address.to_string(), "--api-key-file"])
            .arg(&key)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let seen = probe.0.lock().expect("nobody panicked");
        assert!(seen.len() > before, "{words:?}: it called");
        assert!(seen[before..].iter().all(|seen| seen.authorization.as_deref() == Some("Bearer ldk_abc")), "{words:?}: {seen:?}");
    }
}

fn configured(words: &[&str]) -> Result<loyaltyd::config::Config, String> {
    let command = ServeArgs::augment_args(clap::Command::new("serve")).no_binary_name(true);
    let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
    ServeArgs::from_arg_matches(&matches).expect("flags").config().map_err(|error| error.to_string())
}

#[test]
fn files_that_cannot_be_served_with_are_named_with_what_to_do() {
    let folder = TempDir::new().expect("a folder");
    let (one, other) = (Authority::new("a").issue(&["localhost"]), Authority::new("b").issue(&["localhost"]));
    let TlsFiles { certificate, key, .. } = one.write(folder.path(), "one");
    let foreign = other.write(folder.path(), "other").key;
    let file = |name: &str, content: &str| write(folder.path(), name, content).to_str().expect("text").to_owned();
    let (certificate, key) = (certificate.to_str().expect("text").to_owned(), key.to_str().expect("text").to_owned());
    let empty = file("empty.pem", "");
    let encrypted = file("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let broken = file("broken.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let missing = folder.path().join("missing.pem").to_str().expect("text").to_owned();
    configured(&["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &certificate]).expect("good files");
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--tls-cert", &certificate], &["--tls-key"]),
        (&["--tls-key", &key], &["--tls-cert"]),
        (&["--tls-client-ca", &certificate], &["--tls-cert"]),
        (&["--tls-cert", &certificate, "--tls-key", foreign.to_str().expect("text")], &["other.key", "one.pem", "issued together"]),
        (&["--tls-cert", &empty, "--tls-key", &key], &["--tls-cert", "empty.pem", "BEGIN CERTIFICATE"]),
        (&["--tls-cert", &key, "--tls-key", &key], &["--tls-cert", "one.key", "has no certificate"]),
        (&["--tls-cert", &broken, "--tls-key", &key], &["broken.pem", "cannot be read"]),
        (&["--tls-cert", &missing, "--tls-key", &key], &["missing.pem", "cannot be opened"]),
        (&["--tls-cert", &certificate, "--tls-key", &certificate], &["--tls-key", "one.pem", "no private key"]),
        (&["--tls-cert", &certificate, "--tls-key", &encrypted], &["encrypted.key", "is encrypted"]),
        (&["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &empty], &["--tls-client-ca", "empty.pem"]),
        (&["--tls-cert", "/dev/zero", "--tls-key", &key], &["/dev/zero", "more than"]),
    ];
    for (words, expected) in cases {
        let said = configured(words).err().unwrap_or_default();
        assert!(expected.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    }
}

#[test]
fn keys_are_read_in_their_three_forms() {
    let folder = TempDir::new().expect("a folder");
    for (algorithm, inner) in [(&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY"), (&rcgen::PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY")] {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let certificate =
            rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name").self_signed(&key).expect("a certificate");
        // Each older form is what PKCS#8 wraps.
        let wrapped = key.serialize_der();
        let naked = (0..60).find_map(|at| inner_key(&wrapped, at)).expect("a key within");
        let older = format!("-----BEGIN {inner}-----\n{}\n-----END {inner}-----\n", base64(naked));
        for (form, text) in [("PKCS#8", key.serialize_pem()), (inner, older)] {
            PrivateKeyDer::from_pem_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{form}: {error}"));
            let files = TlsFiles {
                certificate: write(folder.path(), "a.pem", certificate.pem()),
                key: write(folder.path(), "a.key", &text),
                client_ca: None,
            };
            files.load(false).unwrap_or_else(|error| panic!("{form}: {error}"));
        }
    }
}

/// An octet string there that reaches to the end, or to where PKCS#8 has nothing but attributes.
fn inner_key(wrapped: &[u8], at: usize) -> Option<&[u8]> {
    let (content, length) = match wrapped.get(at..at + 4)? {
        [4, 0x82, high, low] => (at + 4, usize::from(*high) << 8 | usize::from(*low)),
        [4, 0x81, length, _] => (at + 3, usize::from(*length)),
        [4, length, 0x30, _] if *length < 0x80 => (at + 2, usize::from(*length)),
        _ => return None,
    };
    let key = wrapped.get(content..content + length)?;
    (key.first() == Some(&0x30) && length > 60).then_some(key)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn an_address_that_others_reach_needs_what_keeps_strangers_out() {
    let folder = TempDir::new().expect("a folder");
    let TlsFiles { certificate, key, .. } = Authority::new("a").issue(&["localhost"]).write(folder.path(), "one");
    let tls = ["--tls-cert", certificate.to_str().expect("text"), "--tls-key", key.to_str().expect("text")];
    let said = configured(&["--listen", "0.0.0.0:0"]).err().unwrap_or_default();
    assert!(
        said.contains("neither are callers authenticated") && said.contains("nor is anything encrypted") && said.contains("--insecure"),
        "{said}"
    );
    let said = configured(&[&["--listen", "0.0.0.0:0"], &tls[..]].concat()).err().unwrap_or_default();
    assert!(said.contains("not authenticated") && !said.contains("encrypted") && said.contains("--insecure"), "{said}");
    configured(&["--listen", "0.0.0.0:0", "--insecure"]).expect("as was said");
    configured(&["--listen", "127.0.0.1:0"]).expect("this machine alone");
    for (words, expected) in [
        (&["--cors-origin", "https://a.example"][..], "--grpc-web"),
        (&["--grpc-web", "--cors-origin", "*,https://a.example"], "alone"),
        (&["--grpc-web", "--cors-origin", "https://a.example/"], "without a path"),
        (&["--grpc-web", "--cors-origin", "a.example"], "such as"),
        (&["--grpc-web", "--cors-origin", "https://A.example"], "small letters"),
        (&["--grpc-web", "--cors-origin", "null"], "such as"),
        (&["--max-header-bytes", "10"], "--max-header-bytes"),
    ] {
        let said = configured(words).err().unwrap_or_default();
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    let web = ["--grpc-web", "--cors-origin", "https://a.example", "--cors-origin", "http://localhost:3000"];
    let said = configured(&web).err().unwrap_or_default();
    assert!(said.contains("--access") && said.contains("--insecure"), "{said}");
    let config = configured(&[&web[..], &["--insecure"]].concat()).expect("good origins");
    assert!(config.connections.web.is_some());
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_old_connections_live_on() {
    let served = Served::start(|_, _| {}).await;
    let old = served.connect(served.trust()).await.expect("a connection");
    let next = Authority::new("next");
    next.issue(&["localhost"]).write(served.folder.path(), "server");
    let trust_next = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&next.pem)).domain_name("localhost");
    let begun = Instant::now();
    let new = loop {
        match served.connect(trust_next()).await {
            Ok(channel) => break channel,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{}", told(&error)),
        }
    };
    ask(new).await.expect("an answer");
    assert!(served.connect(served.trust()).await.is_err(), "the old one is not served any more");
    ask(old).await.expect("a connection that was open goes on");
    served.stop().await;
}

#[tokio::test]
async fn another_authority_of_clients_holds_without_a_restart_and_old_connections_live_on() {
    let (before, next) = (Authority::new("before"), Authority::new("next"));
    let served = Served::start(|connections, folder| {
        let files = connections.tls.take().expect("files");
        connections.tls = Some(TlsFiles { client_ca: Some(before.write(folder, "clients.pem")), ..files });
    })
    .await;
    // With TLS 1.3 a client hears of a certificate that is refused only when it asks for something.
    let till = async |authority: &Authority| {
        let issued = authority.issue(&["till-1.example.com"]);
        let channel = served.connect(served.trust().identity(identity(&issued))).await.map_err(|error| told(&error))?;
        ask(channel.clone()).await.map_err(|status| told(&status))?;
        Ok::<_, String>(channel)
    };
    let open = till(&before).await.expect("it is known");
    till(&next).await.expect_err("nobody trusts it yet");
    next.write(served.folder.path(), "clients.pem");
    let begun = Instant::now();
    while let Err(error) = till(&next).await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
    till(&before).await.expect_err("nobody trusts it any more");
    ask(open).await.expect("a connection that was open goes on");
    served.stop().await;
}

#[test]
fn files_that_are_broken_leave_the_old_certificate_in_force_and_the_log_says_so() {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::new("ours");
    let TlsFiles { certificate, key, .. } = authority.issue(&["localhost"]).write(folder.path(), "server");
    let mut process = loyaltyd()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .arg("--tls-cert")
        .arg(&certificate)
        .arg("--tls-key")
        .arg(&key)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(process.stderr.take().expect("a log")).lines();
    let mut until = |part: &str| loop {
        let line = log.next().expect("the log goes on").expect("a line");
        if line.contains(part) {
            return line;
        }
    };
    let line = until("listening on ");
    let port = line.rsplit(':').next().expect("a port").trim().to_owned();
    until(": serving");
    let how = ReachArgs { ca: Some(authority.write(folder.path(), "ca.pem")), ..ReachArgs::default() };
    let args = ServerArgs { server: format!("https://localhost:{port}"), how };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let serves = || runtime.block_on(args.connect()).map(drop);
    serves().expect("a connection");
    write(folder.path(), "server.key", "");
    let line = until("stays in force");
    assert!(line.contains("server.key") && line.contains("ERROR"), "{line}");
    serves().expect("the old one");
    let again = authority.issue_until(&["localhost"], 2_020).write(folder.path(), "server");
    assert_eq!(again.key, key);
    // The two files are written one after the other, and may be looked at between.
    let line = until("has expired");
    assert!(line.contains("server.pem") && line.contains("WARN"), "{line}");
    assert!(serves().expect_err("it is refused").to_string().contains("has expired"));
    process.kill().expect("it runs");
    process.wait().expect("it ended");
}

#[test]
fn the_suite_measures_a_guarded_server_beside_a_plain_one() {
    let folder = TempDir::new().expect("a folder");
    let words = ["bench", "--suite", "--quick", "--only", "secured", "--members", "20", "--warm-up", "0s", "--json", "--data"];
    let output = loyaltyd().args(words).arg(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let figures = report["figures"].as_array().expect("figures");
    let figure = |begin: &str| {
        let found = figures.iter().find(|figure| figure["name"].as_str().is_some_and(|name| name.starts_with(begin)));
        found.and_then(|figure| figure["value"].as_f64())
    };
    assert!(figure("rate with TLS, API keys and metrics").is_some_and(|ratio| ratio > 0.0), "{report}");
    assert!(figure("metrics were read").is_some_and(|times| times > 0.0), "{report}");
    assert_eq!(report["scenarios"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left behind");
}
