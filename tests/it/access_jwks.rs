//! Keys of issuers over https: whose page is believed, and which answers are none.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use jsonwebtoken::Algorithm;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tonic::transport::Endpoint;

use crate::{
    access_tokens::{set, signer},
    support::{
        access::call,
        authority::{Authority, Issued, write},
        loyaltyd, refused,
    },
};

const LIST: &str = "/loyalty.v1.ProgramService/ListPrograms";
const PATIENCE: Duration = Duration::from_secs(120);
/// More than a document of keys may have.
const TOO_LARGE: usize = (1 << 20) + 1;

/// What a page answers.
#[derive(Clone)]
enum Says {
    Keys(String),
    /// Another page.
    Moved(String),
    /// More than a megabyte, which begins like keys.
    Much,
    /// A head and the beginning of a body, and no more.
    Slow,
}

/// An issuer's page over TLS, which counts how often it is asked.
struct Page {
    url: String,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

async fn page(shown: &Issued, says: Says) -> Page {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(shown.certificate.as_bytes()).collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key");
    let builder = rustls::ServerConfig::builder_with_provider(loyaltyd::config::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("they fit")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/keys", listener.local_addr().expect("an address").port());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, says, count) = (acceptor.clone(), says.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                // Who does not believe it says so, and asks nothing.
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let read = stream.read(&mut [0; 4_096]).await;
                if read.is_err() || read.is_ok_and(|bytes| bytes == 0) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&answer(&says)).await;
                let _ = stream.flush().await;
                if let Says::Slow = says {
                    std::future::pending::<()>().await;
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    Page { url, asked, task }
}

fn answer(says: &Says) -> Vec<u8> {
    let with = |status: &str, more: &str, length: usize, body: &str| {
        format!("HTTP/1.1 {status}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
    };
    match says {
        Says::Keys(keys) => with("200 OK", "", keys.len(), keys),
        Says::Moved(url) => with("302 Found", &format!("location: {url}\r\n"), 0, ""),
        Says::Much => with("200 OK", "", TOO_LARGE, &format!("{{\"keys\":[]{}}}", " ".repeat(TOO_LARGE - 11))),
        Says::Slow => with("200 OK", "", 1_000, "{\"keys\":["),
    }
}

/// Blocking: the log until it has said all of that.
fn until_said(lines: &mpsc::Receiver<String>, said: &mut String, parts: &[String]) {
    let begun = std::time::Instant::now();
    while !parts.iter().all(|part| said.lines().any(|line| line.contains(part))) {
        let left = PATIENCE.checked_sub(begun.elapsed()).unwrap_or_else(|| panic!("{parts:?} is not said:\n{said}"));
        let line = lines.recv_timeout(left).unwrap_or_else(|error| panic!("{error}: {parts:?} is not said:\n{said}"));
        said.push_str(&line);
        said.push('\n');
    }
}

#[test]
fn keys_come_from_a_page_whose_certificate_is_trusted_and_from_no_other() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = TempDir::new().expect("a folder");
    let (ours, strangers) = (Authority::new("ours"), Authority::new("strangers"));
    let roots = ours.write(folder.path(), "roots.pem");
    let one = signer(Algorithm::ES256, "e");
    let keys = || Says::Keys(set(&[&one]));
    let (good, elsewhere) = (ours.issue(&["localhost"]), ours.issue(&["other.example.com"]));
    let pages: BTreeMap<&str, Page> = runtime.block_on(async {
        let target = page(&good, keys()).await;
        let moved = Says::Moved(target.url.clone());
        BTreeMap::from([
            ("good", page(&good, keys()).await),
            ("target", target),
            ("untrusted", page(&strangers.issue(&["localhost"]), keys()).await),
            ("expired", page(&ours.issue_until(&["localhost"], 2_020), keys()).await),
            ("misnamed", page(&elsewhere, keys()).await),
            ("moved", page(&good, moved).await),
            ("much", page(&good, Says::Much).await),
            ("slow", page(&good, Says::Slow).await),
        ])
    });
    let named: Vec<&str> = pages.keys().copied().filter(|name| *name != "target").collect();
    let issuer = |name: &str| format!("https://{name}.example.com");
    let mut access = "principals:\n".to_owned();
    for name in &named {
        let token = format!("{{issuer: \"{}\", subject: {name}}}", issuer(name));
        access.push_str(&format!("  - {{principal_id: {name}, roles: [pos], programs: [\"*\"], tokens: [{token}]}}\n"));
    }
    access.push_str("issuers:\n");
    for name in &named {
        access.push_str(&format!("  - {{issuer: \"{}\", audience: loyaltyd, jwks_url: \"{}\"}}\n", issuer(name), pages[name].url));
    }
    let access = write(folder.path(), "access.yaml", access);
    let mut command = loyaltyd();
    command.args(["serve", "--listen", "127.0.0.1:0", "--segment-bytes", "65536", "--data"]).arg(folder.path().join("data"));
    // Two ways to say whom this machine trusts; the folder would be added to the file.
    command.arg("--access").arg(access).env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
    let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let log = BufReader::new(process.stderr.take().expect("a log")).lines();
    let (to, lines) = mpsc::channel();
    let reading = std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| drop(to.send(line))));
    let mut said = String::new();
    let of =
        |name: &str, why: &str| format!("{}:{}/keys {why}", "https://localhost", pages[name].url.split([':', '/']).nth(4).expect("a port"));
    until_said(
        &lines,
        &mut said,
        &[
            "the issuer's keys were read".to_owned(),
            of("untrusted", "cannot be fetched: client error (Connect): invalid peer certificate: UnknownIssuer"),
            of("expired", "cannot be fetched: client error (Connect): invalid peer certificate: certificate expired"),
            of("misnamed", "cannot be fetched: client error (Connect): invalid peer certificate: certificate not valid for name"),
            of("moved", "answers 302"),
            of("much", "cannot be read: length limit exceeded"),
            of("slow", "did not answer within 5 s"),
            ": serving".to_owned(),
        ],
    );
    for name in ["untrusted", "expired", "misnamed", "target"] {
        assert_eq!(pages[name].asked.load(Ordering::SeqCst), 0, "{name} is asked for nothing");
    }
    let address = said.split("listening on ").nth(1).and_then(|rest| rest.lines().next()).expect("an address").trim().to_owned();
    let channel = runtime.block_on(Endpoint::from_shared(format!("http://{address}")).expect("an address").connect()).expect("it listens");
    for name in named {
        let claims = json!({"iss": issuer(name), "aud": "loyaltyd", "sub": name, "exp": 4_102_444_800_u64});
        let answer = runtime.block_on(call(&channel, LIST, Some(&one.sign(Some("e"), &claims)), Vec::new()));
        match answer {
            Ok(_) => assert_eq!(name, "good"),
            Err(status) => assert_eq!(refused(&status).reason, "ISSUER_KEYS_AWAITED", "{name}: {status:?}"),
        }
        assert!(name != "good" || pages[name].asked.load(Ordering::SeqCst) == 1);
    }
    process.kill().expect("it runs");
    process.wait().expect("it ended");
    reading.join().expect("the log is read");
    pages.values().for_each(|page| page.task.abort());
}
