//! Callers that are known by the certificate of their connection, behind a real handshake.

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use loyaltyd::{
    grpc::{self, Access, AdminFrom, Besides, Door, Gate, Guard, Health},
    ledger::ManualClock,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig},
};

use crate::support::{
    access::{call, key, principal},
    authority, noon, refused,
};

const METHOD: &str = "/loyalty.v1.ProgramService/ListPrograms";

/// An authority, and what it gives out.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_pem(self.0.pem())
    }

    /// With its fingerprint, as the access file has it.
    fn identity(&self, names: &[SanType], end: (i32, u8, u8)) -> (Identity, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = names.to_vec();
        params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf.der());
        let print: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        (Identity::from_pem(leaf.pem(), key.serialize_pem()), print.join(":"))
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("a URI"))
}

struct Guarded {
    address: SocketAddr,
    authority: Authority,
    clock: Arc<ManualClock>,
    access: Arc<Access>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Guarded {
    /// The services as they are, behind a gate that is not open: who is let in is told that the service is starting.
    async fn start(authority: Authority, text: &str) -> Self {
        let clock = Arc::new(ManualClock::new(noon()));
        let access = Access::open(text, Arc::clone(&clock) as _).expect("a file without mistakes");
        let door = Door::Guarded(Guard { access: Arc::clone(&access), is_reflection_open: true, is_health_open: true });
        let health = Health::starting(false).await;
        let services = grpc::services(&Arc::new(Gate::default()), &health, &Besides::Admin(AdminFrom::Loopback), door, 4 << 20);
        let (identity, _) = authority.identity(&[dns("localhost")], (2040, 1, 1));
        let tls = ServerTlsConfig::new().identity(identity).client_ca_root(authority.certificate()).client_auth_optional(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let server = Server::builder().tls_config(tls).expect("TLS").serve_with_incoming_shutdown(
            services,
            TcpListenerStream::new(listener),
            async {
                let _ = stopped.await;
            },
        );
        Self { address, authority, clock, access, stop, task: tokio::spawn(server) }
    }

    async fn connect(&self, identity: Option<Identity>) -> Channel {
        let tls = ClientTlsConfig::new().ca_certificate(self.authority.certificate()).domain_name("localhost");
        let tls = identity.into_iter().fold(tls, ClientTlsConfig::identity);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).expect("an address").tls_config(tls).expect("TLS");
        endpoint.connect_lazy()
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("it ends").expect("it ends in order");
    }
}

/// `STARTING`: it is let in.
async fn outcome(channel: &Channel, credential: Option<&str>) -> String {
    let status: Status = call(channel, METHOD, credential, Vec::new()).await.expect_err("the gate is closed");
    refused(&status).reason
}

fn line(id: &str, role: &str, certificates: &str) -> String {
    format!("  - {{principal_id: {id}, roles: [{role}], programs: [vietnam], certificates: [{certificates}]}}\n")
}

#[tokio::test]
async fn a_certificate_stands_for_its_principal_by_name_or_fingerprint() {
    let authority = Authority::new();
    let far = (2040, 1, 1);
    let (by_print, print) = authority.identity(&[], far);
    let text = format!(
        "principals:\n{}{}{}",
        line("till-1", "pos", "{dns: Till-1.example.com}"),
        line("till-2", "pos", "{uri: \"spiffe://example.com/till-2\"}"),
        line("till-3", "pos", &format!("{{sha256: \"{print}\"}}")),
    );
    let names = [
        (vec![dns("till-1.example.com")], "STARTING"),
        (vec![dns("TILL-1.EXAMPLE.COM")], "STARTING"),
        (vec![uri("spiffe://example.com/till-2")], "STARTING"),
        (vec![dns("other.example.com"), dns("till-1.example.com")], "STARTING"),
        (vec![dns("till-11.example.com")], "CREDENTIAL_INVALID"),
        (vec![dns("*.example.com")], "CREDENTIAL_INVALID"),
        (vec![dns("evil.till-1.example.com")], "CREDENTIAL_INVALID"),
        (vec![uri("spiffe://example.com/TILL-2")], "CREDENTIAL_INVALID"),
        (vec![uri("spiffe://till-1.example.com")], "CREDENTIAL_INVALID"),
        (vec![], "CREDENTIAL_INVALID"),
        // Of two principals at once: what was done could be put down to either.
        (vec![dns("till-1.example.com"), uri("spiffe://example.com/till-2")], "CREDENTIAL_INVALID"),
    ];
    let server = Guarded::start(authority, &text).await;
    for (names, expected) in names {
        let (identity, _) = server.authority.identity(&names, far);
        assert_eq!(outcome(&server.connect(Some(identity)).await, None).await, expected, "{names:?}");
    }
    assert_eq!(outcome(&server.connect(Some(by_print)).await, None).await, "STARTING");
    assert_eq!(outcome(&server.connect(None).await, None).await, "CREDENTIAL_MISSING");
    // Another authority's does not come through the handshake.
    let (foreign, _) = Authority::new().identity(&[dns("till-1.example.com")], far);
    let status = call(&server.connect(Some(foreign)).await, METHOD, None, Vec::new()).await.unwrap_err();
    assert!(refused(&status).reason.is_empty(), "{status:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_beside_a_key_must_not_be_another_principals() {
    let authority = Authority::new();
    let (own, own_hash) = key();
    let (other, other_line) = principal("other", "pos", "vietnam", "");
    let text = format!(
        "principals:\n  - {{principal_id: till, roles: [pos], programs: [vietnam], certificates: [{{dns: till.example.com}}], api_keys: \
         [{{key_id: one, hash: \"{own_hash}\"}}]}}\n{other_line}"
    );
    let server = Guarded::start(authority, &text).await;
    let (till, _) = server.authority.identity(&[dns("till.example.com")], (2040, 1, 1));
    let (machine, _) = server.authority.identity(&[dns("machine.example.com")], (2040, 1, 1));
    let till = server.connect(Some(till)).await;
    assert_eq!(outcome(&till, None).await, "STARTING");
    assert_eq!(outcome(&till, Some(&own)).await, "STARTING");
    assert_eq!(outcome(&till, Some(&other)).await, "CREDENTIAL_INVALID");
    // A bad key is not made good by a certificate.
    assert_eq!(outcome(&till, Some(&key().0)).await, "CREDENTIAL_INVALID");
    // A certificate of nobody in particular, as a machine has one, leaves it to the key.
    let machine = server.connect(Some(machine)).await;
    assert_eq!(outcome(&machine, Some(&other)).await, "STARTING");
    assert_eq!(outcome(&machine, None).await, "CREDENTIAL_INVALID");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_ends_and_is_withdrawn_on_the_connection_that_was_made_with_it() {
    let authority = Authority::new();
    let text = format!("principals:\n{}", line("till", "pos", "{dns: till.example.com}"));
    let server = Guarded::start(authority, &text).await;
    // The handshake goes by the machine's clock, calls by the one that the tests set.
    let (identity, _) = server.authority.identity(&[dns("till.example.com")], (2040, 1, 1));
    let channel = server.connect(Some(identity)).await;
    assert_eq!(outcome(&channel, None).await, "STARTING");
    let end: Timestamp = "2040-01-01T00:00:00Z".parse().unwrap();
    server.clock.set(end);
    assert_eq!(outcome(&channel, None).await, "CREDENTIAL_EXPIRED");
    server.clock.set(noon());
    assert_eq!(outcome(&channel, None).await, "STARTING");
    server.access.replace(&format!("principals:\n{}", line("till", "pos", "{dns: another.example.com}"))).expect("no mistakes");
    assert_eq!(outcome(&channel, None).await, "CREDENTIAL_INVALID");
    server.stop().await;
}

/// The same through the whole service: its own listener, and the access file and the certificates as files.
#[tokio::test]
async fn the_service_knows_callers_by_the_certificate_of_its_own_listener() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let authority = authority::Authority::new("ours");
    let mut tls = authority.issue(&["localhost"]).write(folder.path(), "server");
    tls.client_ca = Some(authority.write(folder.path(), "ca.pem"));
    let (key, with_key) = principal("by-key", "manager", "vietnam", "");
    let lines = [
        line("till-1", "pos", "{dns: till-1.example.com}"),
        // Of another programme, and one that backs up.
        line("till-2", "pos", "{dns: till-2.example.com}").replace("vietnam", "elsewhere"),
        line("backups", "operator", "{dns: backups.example.com}").replace("[vietnam]", "[\"*\"]"),
    ];
    let file = authority::write(folder.path(), "access.yaml", format!("principals:\n{}{with_key}", lines.concat()));
    let access = loyaltyd::config::AccessConfig { file: Some(file), ..Default::default() };
    let mut config = loyaltyd::config::Config { access, ..crate::support::config(folder.path(), vec![crate::support::rule_book()]) };
    config.connections.tls = Some(tls);
    let mut server = loyaltyd::app::start(config, Arc::new(ManualClock::new(noon()))).await.expect("it starts");
    server.ready().await.expect("it reads its ledger");
    let connect = |name: Option<&str>| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem)).domain_name("localhost");
        let shown = name.map(|name| authority.issue(&[name]));
        let tls = shown.iter().fold(tls, |tls, shown| tls.identity(Identity::from_pem(&shown.certificate, &shown.key)));
        let endpoint = Endpoint::from_shared(format!("https://{}", server.address)).expect("an address");
        endpoint.tls_config(tls).expect("TLS").connect_lazy()
    };
    let ask = async |channel: &Channel, credential: Option<&str>| match call(channel, METHOD, credential, Vec::new()).await {
        Ok(answers) => String::from_utf8_lossy(&answers.concat()).contains("vietnam").to_string(),
        Err(status) => refused(&status).reason,
    };
    for (name, credential, expected) in [
        (Some("till-1.example.com"), None, "true"),
        (Some("till-2.example.com"), None, "false"),
        (Some("till-3.example.com"), None, "CREDENTIAL_INVALID"),
        (None, None, "CREDENTIAL_MISSING"),
        (None, Some(key.as_str()), "true"),
        // A certificate of nobody beside a key is no harm, one of somebody else's is.
        (Some("till-3.example.com"), Some(key.as_str()), "true"),
        (Some("till-1.example.com"), Some(key.as_str()), "CREDENTIAL_INVALID"),
    ] {
        assert_eq!(ask(&connect(name), credential).await, expected, "{name:?} {}", credential.is_some());
    }
    let backup = async |name: &str| call(&connect(Some(name)), "/loyalty.v1.AdminService/StreamBackup", None, Vec::new()).await;
    assert!(backup("backups.example.com").await.expect("a backup").len() > 1);
    assert_eq!(refused(&backup("till-1.example.com").await.unwrap_err()).reason, "ROLE_MISSING");
    // What it enters is put down to the certificate's principal.
    let mut desk = loyaltyd::contract::v1::member_service_client::MemberServiceClient::new(connect(Some("till-1.example.com")));
    desk.enroll_member(crate::support::enrolment("c-1")).await.expect("it enrols");
    server.shutdown().await.expect("it stops in order");
    let mut entered = Vec::new();
    let read = |entry: &loyaltyd::domain::Entry| entered.push(entry.principal.as_ref().map(ToString::to_string));
    loyaltyd::store::embedded::read_entries(&folder.path().join("data"), None, read).expect("the journal is read");
    assert_eq!(entered, [Some("till-1".to_owned())]);
}
