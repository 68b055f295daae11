//! Tokens of an identity provider: what is taken, and what is tried against it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{rsa, signature::KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::{Code, Status};

use crate::support::{
    Refused,
    access::{Guarded, guarded, principal},
    noon, refused,
};

const ISSUER: &str = "https://id.example.com";

/// A key of the issuer's, with the public half as a JSON Web Key.
pub struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

/// The points of a curve, as a JSON Web Key has them, stand at the end of what rcgen gives.
pub fn signer(algorithm: Algorithm, kid: &str) -> Signer {
    match algorithm {
        Algorithm::RS256 => {
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
            let pkcs8: Vec<u8> =
                aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).expect("a form").as_ref().to_vec();
            // The key itself comes after the 26 bytes that say what it is.
            let key = EncodingKey::from_rsa_der(&pkcs8[26..]);
            let public = pair.public_key();
            let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let (n, e) =
                (part(public.modulus().big_endian_without_leading_zero()), part(public.exponent().big_endian_without_leading_zero()));
            Signer { algorithm, key, jwk: json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": e}) }
        }
        Algorithm::ES256 => {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
            let point = pair.public_key_raw();
            let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
            let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y, "alg": "ES256"});
            Signer { algorithm, key: EncodingKey::from_ec_der(&pair.serialize_der()), jwk }
        }
        Algorithm::EdDSA => {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw())});
            Signer { algorithm, key: EncodingKey::from_ed_der(&pair.serialize_der()), jwk }
        }
        other => panic!("no signer of {other:?}"),
    }
}

impl Signer {
    pub fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).expect("it is signed")
    }
}

pub fn set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk.clone()).collect::<Vec<_>>()}).to_string()
}

/// Good for the tills, for an hour from noon on.
fn claims() -> Value {
    let now = noon().as_second();
    json!({"iss": ISSUER, "aud": "loyaltyd", "sub": "tills", "iat": now, "nbf": now, "exp": now + 3_600})
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("changes") {
        match value {
            Value::Null => claims.as_object_mut().expect("claims").remove(name),
            value => claims.as_object_mut().expect("claims").insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// Principals by subject and by group, under one issuer.
fn text(keys: &str, more: &str) -> String {
    format!(
        "principals:
  - {{principal_id: tills, roles: [pos], programs: [vietnam], tokens: [{{issuer: \"{ISSUER}\", subject: tills}}]}}
  - {{principal_id: desk, roles: [support], programs: [vietnam], tokens: [{{issuer: \"{ISSUER}\", claim: {{name: groups, value: desk}}}}]}}
  - {{principal_id: head, roles: [manager], programs: [vietnam], tokens: [{{issuer: \"{ISSUER}\", claim: {{name: groups, value: heads}}}}]}}
{more}issuers:
  - {{issuer: \"{ISSUER}\", audience: loyaltyd, {keys}, leeway_seconds: 60}}
"
    )
}

/// A server that knows these keys from a file.
async fn knowing(signers: &[&Signer], algorithms: &str) -> (Guarded, TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set(signers)).expect("a file can be written");
    let server = guarded(&text(&format!("jwks_file: {}{algorithms}", file.display()), "")).await;
    (server, folder, file)
}

fn told(status: &Status) -> (Code, String) {
    let Refused { code, reason, .. } = refused(status);
    (code, reason)
}

async fn outcome(server: &Guarded, token: &str) -> Option<String> {
    server.list_programs(token).await.err().map(|status| told(&status).1)
}

fn said(reason: &str) -> Option<String> {
    Some(reason.to_owned())
}

#[tokio::test]
async fn tokens_of_each_algorithm_are_taken_for_whom_they_stand() {
    let signers = [signer(Algorithm::RS256, "r"), signer(Algorithm::ES256, "e"), signer(Algorithm::EdDSA, "d")];
    let (server, _folder, _) = knowing(&signers.each_ref(), "").await;
    for signer in &signers {
        let kid = signer.jwk["kid"].as_str();
        assert_eq!(outcome(&server, &signer.sign(kid, &claims())).await, None, "{:?}", signer.algorithm);
        // The only key of its kind need not be named.
        assert_eq!(outcome(&server, &signer.sign(None, &claims())).await, None, "{:?}", signer.algorithm);
        // Another one's name is no use.
        let foreign = if kid == Some("r") { "e" } else { "r" };
        assert_ne!(outcome(&server, &signer.sign(Some(foreign), &claims())).await, None);
    }
    for (changes, expected) in [
        (json!({"sub": "nobody", "groups": ["other", "desk"]}), None),
        (json!({"sub": null, "groups": "heads"}), None),
        (json!({"aud": ["another", "loyaltyd"]}), None),
        // Its subject goes before its groups.
        (json!({"groups": ["desk", "heads"]}), None),
        (json!({"sub": "nobody"}), said("CREDENTIAL_INVALID")),
        (json!({"sub": "nobody", "groups": ["desk", "heads"]}), said("CREDENTIAL_INVALID")),
        (json!({"sub": "nobody", "groups": {"desk": true}}), said("CREDENTIAL_INVALID")),
        (json!({"sub": ["tills"]}), said("CREDENTIAL_INVALID")),
        (json!({"sub": "TILLS"}), said("CREDENTIAL_INVALID")),
        (json!({"aud": "another"}), said("CREDENTIAL_INVALID")),
        (json!({"aud": ["another"]}), said("CREDENTIAL_INVALID")),
        (json!({"aud": []}), said("CREDENTIAL_INVALID")),
        (json!({"aud": null}), said("CREDENTIAL_INVALID")),
        (json!({"iss": null}), said("CREDENTIAL_INVALID")),
        (json!({"iss": "https://id.example.com/"}), said("CREDENTIAL_INVALID")),
        (json!({"iss": "https://ID.example.com"}), said("CREDENTIAL_INVALID")),
        (json!({"iss": [ISSUER, "https://evil.example.com"]}), said("CREDENTIAL_INVALID")),
        (json!({"exp": null}), said("CREDENTIAL_INVALID")),
        (json!({"exp": "never"}), said("CREDENTIAL_INVALID")),
        (json!({"nbf": "soon"}), said("CREDENTIAL_INVALID")),
    ] {
        let claims = with(changes);
        assert_eq!(outcome(&server, &signers[1].sign(Some("e"), &claims)).await, expected, "{claims}");
    }
    server.server.stop().await;
}

#[tokio::test]
async fn a_token_holds_from_its_beginning_to_its_end_give_or_take_the_leeway() {
    let one = signer(Algorithm::ES256, "e");
    let (server, _folder, _) = knowing(&[&one], "").await;
    let now = noon().as_second();
    for (changes, expected) in [
        (json!({"exp": now - 59}), None),
        (json!({"exp": now - 60}), said("CREDENTIAL_EXPIRED")),
        (json!({"exp": now - 61}), said("CREDENTIAL_EXPIRED")),
        (json!({"exp": now as f64 - 59.5}), None),
        (json!({"exp": 0}), said("CREDENTIAL_EXPIRED")),
        (json!({"exp": -1}), said("CREDENTIAL_INVALID")),
        (json!({"exp": i64::MAX}), None),
        (json!({"nbf": now + 60}), None),
        (json!({"nbf": now + 61}), said("CREDENTIAL_INVALID")),
        (json!({"nbf": i64::MAX}), said("CREDENTIAL_INVALID")),
        (json!({"nbf": null}), None),
    ] {
        let claims = with(changes);
        assert_eq!(outcome(&server, &one.sign(Some("e"), &claims)).await, expected, "{claims}");
    }
    // One that was taken before ends too.
    let token = one.sign(Some("e"), &claims());
    assert_eq!(outcome(&server, &token).await, None);
    server.server.clock.set(noon().checked_add(Duration::from_secs(3_659)).unwrap());
    assert_eq!(outcome(&server, &token).await, None);
    server.server.clock.set(noon().checked_add(Duration::from_secs(3_660)).unwrap());
    assert_eq!(outcome(&server, &token).await, said("CREDENTIAL_EXPIRED"));
    server.server.stop().await;
}

/// A token put together by hand.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn what_is_not_signed_by_the_issuer_is_refused_however_it_is_dressed() {
    let (rsa, ec, stranger) = (signer(Algorithm::RS256, "r"), signer(Algorithm::ES256, "e"), signer(Algorithm::ES256, "e"));
    let (server, _folder, _) = knowing(&[&rsa, &ec], "").await;
    let good = ec.sign(Some("e"), &claims());
    assert_eq!(outcome(&server, &good).await, None);
    let mut forgeries: Vec<String> = ["none", "None", "NONE", "nOnE", ""]
        .into_iter()
        .flat_map(|alg| [&[][..], b"x"].map(|signature| forged(&json!({"alg": alg, "kid": "e"}), &claims(), signature)))
        .collect();
    // The public key as if it were a secret.
    for secret in [rsa.jwk["n"].as_str().unwrap().as_bytes(), rsa.jwk.to_string().as_bytes(), b""] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            for kid in ["r", "e"] {
                let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
                forgeries.push(encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap());
            }
        }
    }
    // A key of its own, named as the issuer's, or brought along.
    forgeries.push(stranger.sign(Some("e"), &claims()));
    for header in [json!({"jwk": stranger.jwk}), json!({"jku": "http://127.0.0.1:1/keys"}), json!({"x5u": "http://127.0.0.1:1/"})] {
        let mut parts = stranger.sign(Some("e"), &claims());
        let mut dressed = header.as_object().unwrap().clone();
        dressed.insert("alg".into(), "ES256".into());
        dressed.insert("kid".into(), "e".into());
        let rest = parts.split_off(parts.find('.').unwrap());
        forgeries.push(format!("{}{rest}", URL_SAFE_NO_PAD.encode(Value::Object(dressed).to_string())));
    }
    // Other claims under a good signature, and a good token with something changed.
    let parts: Vec<&str> = good.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(with(json!({"sub": "head"})).to_string());
    forgeries.push(format!("{}.{other}.{}", parts[0], parts[2]));
    forgeries.push(format!("{}.{}.", parts[0], parts[1]));
    forgeries.push(format!("{}.{}", parts[0], parts[1]));
    forgeries.push(format!("{good}.{}", parts[2]));
    forgeries.push(format!("{good}A"));
    forgeries.push(format!("{}==", good));
    // A header that asks for what nobody understands.
    forgeries.push(forged(&json!({"alg": "ES256", "kid": "e", "crit": ["b64"], "b64": false}), &claims(), b"x"));
    for kid in ["", "../../etc/passwd", "e' OR '1'='1", "e\u{0}", "r"] {
        forgeries.push(ec.sign(Some(kid), &claims()));
    }
    forgeries.push(ec.sign(Some("e"), &with(json!({"padding": "x".repeat(9_000)}))));
    for forgery in forgeries {
        let answer = outcome(&server, &forgery).await;
        let is_refused = matches!(answer.as_deref(), Some("CREDENTIAL_INVALID" | "ISSUER_KEYS_AWAITED"));
        // HTTP/2 itself may find it too long.
        assert!(is_refused || (forgery.len() > 8_192 && answer.is_some()), "{forgery}: {answer:?}");
    }
    assert_eq!(outcome(&server, &good).await, None, "the good one is none the worse");
    server.server.stop().await;
}

#[tokio::test]
async fn an_algorithm_that_the_file_does_not_name_is_not_taken() {
    let (rsa, ec) = (signer(Algorithm::RS256, "r"), signer(Algorithm::ES256, "e"));
    let (server, _folder, _) = knowing(&[&rsa, &ec], ", algorithms: [ES256]").await;
    assert_eq!(outcome(&server, &ec.sign(Some("e"), &claims())).await, None);
    assert_eq!(outcome(&server, &rsa.sign(Some("r"), &claims())).await, said("CREDENTIAL_INVALID"));
    server.server.stop().await;
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_and_a_bad_one_leaves_the_old_keys() {
    let (old, new) = (signer(Algorithm::ES256, "old"), signer(Algorithm::ES256, "new"));
    let (server, _folder, file) = knowing(&[&old], "").await;
    let (of_old, of_new) = (old.sign(Some("old"), &claims()), new.sign(Some("new"), &claims()));
    assert_eq!(outcome(&server, &of_old).await, None);
    std::fs::write(&file, "{\"keys\": [").unwrap();
    assert!(matches!(outcome(&server, &of_new).await.as_deref(), Some("CREDENTIAL_INVALID" | "ISSUER_KEYS_AWAITED")));
    let written = file.with_extension("next");
    std::fs::write(&written, set(&[&new])).unwrap();
    std::fs::rename(&written, &file).unwrap();
    until(async || outcome(&server, &of_new).await.is_none()).await;
    // Verified before, and yet gone with its key.
    assert_ne!(outcome(&server, &of_old).await, None);
    server.server.stop().await;
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let patience = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), patience).await.expect("it comes to be so");
}

/// An issuer's page of keys, which counts how often it is asked. Empty: it fails.
struct Page {
    url: String,
    shown: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

async fn page(content: String) -> Page {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let (shown, asked) = (Arc::new(Mutex::new(content)), Arc::new(AtomicUsize::new(0)));
    let (said, count) = (Arc::clone(&shown), Arc::clone(&asked));
    let task = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = connection.read(&mut request).await;
            count.fetch_add(1, Ordering::SeqCst);
            let body = said.lock().expect("a lock").clone();
            let status = if body.is_empty() { "503 Service Unavailable" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    Page { url, shown, asked, task }
}

#[tokio::test]
async fn keys_are_fetched_and_strangers_cannot_make_it_fetch_as_they_like() {
    let (old, new) = (signer(Algorithm::ES256, "old"), signer(Algorithm::RS256, "new"));
    let page = page(set(&[&old])).await;
    let server = guarded(&text(&format!("jwks_url: \"{}\", refresh_seconds: 86400", page.url), "")).await;
    let (of_old, of_new) = (old.sign(Some("old"), &claims()), new.sign(Some("new"), &claims()));
    until(async || outcome(&server, &of_old).await.is_none()).await;
    let asked = page.asked.load(Ordering::SeqCst);
    // Right after a fetch no token leads to another, whatever it names.
    let start = std::time::Instant::now();
    for n in 0..50 {
        let answer = outcome(&server, &old.sign(Some(&format!("made-up-{n}")), &claims())).await;
        assert!(answer.is_some());
    }
    let most = asked + 1 + start.elapsed().as_secs() as usize / 5;
    assert!(page.asked.load(Ordering::SeqCst) <= most, "{} fetches, {:?}", page.asked.load(Ordering::SeqCst), start.elapsed());
    // The issuer's page fails, and the keys that were read stay in use.
    page.shown.lock().unwrap().clear();
    assert_eq!(outcome(&server, &of_old).await, None);
    *page.shown.lock().unwrap() = set(&[&old, &new]);
    // A new key is found when a token names it, though the refreshing is a day away.
    until(async || outcome(&server, &of_new).await.is_none()).await;
    assert_eq!(outcome(&server, &of_old).await, None);
    page.task.abort();
    server.server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_replaced_is_taken_up_when_the_refreshing_is_due() {
    let (old, new) = (signer(Algorithm::ES256, "old"), signer(Algorithm::ES256, "new"));
    let page = page(set(&[&old])).await;
    let server = guarded(&text(&format!("jwks_url: \"{}\", refresh_seconds: 3600", page.url), "")).await;
    let (of_old, of_new) = (old.sign(Some("old"), &claims()), new.sign(Some("new"), &claims()));
    until(async || outcome(&server, &of_old).await.is_none()).await;
    *page.shown.lock().unwrap() = set(&[&new]);
    let asked = page.asked.load(Ordering::SeqCst);
    assert_eq!(outcome(&server, &of_old).await, None, "nobody has asked again");
    assert_eq!(page.asked.load(Ordering::SeqCst), asked);
    // An hour goes by for what waits, at once. No token of the new key has come, which would have led to a fetch by itself.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_601)).await;
    tokio::time::resume();
    until(async || page.asked.load(Ordering::SeqCst) > asked).await;
    until(async || outcome(&server, &of_old).await.is_some()).await;
    assert_eq!(outcome(&server, &of_new).await, None);
    assert_eq!(page.asked.load(Ordering::SeqCst), asked + 1, "once");
    page.task.abort();
    server.server.stop().await;
}

#[tokio::test]
async fn until_the_keys_are_there_callers_are_told_to_come_back_and_keys_still_open() {
    let one = signer(Algorithm::ES256, "e");
    let page = page(String::new()).await;
    let (key, line) = principal("by-key", "pos", "vietnam", "");
    let server = guarded(&text(&format!("jwks_url: \"{}\"", page.url), &line)).await;
    let token = one.sign(Some("e"), &claims());
    let answer = outcome(&server, &token).await;
    assert!(matches!(answer.as_deref(), Some("ISSUER_KEYS_AWAITED" | "CREDENTIAL_INVALID")), "{answer:?}");
    assert_eq!(outcome(&server, &key).await, None, "who needs no issuer is let in");
    page.task.abort();
    server.server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let one = signer(Algorithm::ES256, "e");
    let (server, _folder, _) = knowing(&[&one], "").await;
    let token = one.sign(Some("e"), &claims());
    let (requests, waiting) = tokio::sync::mpsc::channel(10);
    let request = crate::support::access::by(&token, tokio_stream::wrappers::ReceiverStream::new(waiting));
    let mut till = server.server.purchases();
    let mut answers = till.stream_purchases(request).await.unwrap().into_inner();
    let ask = |order: &str| {
        let purchase = Some(crate::support::sale("00000000-0000-0000-0000-000000000000", order, "10000"));
        loyaltyd::contract::v1::StreamPurchasesRequest { purchase }
    };
    requests.send(ask("o-1")).await.unwrap();
    answers.message().await.unwrap().expect("an answer, if only that there is no such member");
    server.server.clock.set(noon().checked_add(Duration::from_secs(3_660)).unwrap());
    requests.send(ask("o-2")).await.unwrap();
    assert_eq!(told(&answers.message().await.unwrap_err()), (Code::Unauthenticated, "CREDENTIAL_EXPIRED".to_owned()));
    server.server.stop().await;
}
