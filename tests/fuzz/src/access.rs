//! Access files of any kind, and credentials of any kind in front of a service that has one: nobody is let in but who shows what the file says.

use std::sync::{Arc, LazyLock};

use http::{HeaderValue, Request};
use jiff::Timestamp;
use loyaltyd::{
    grpc::{self, Access, AdminFrom, Besides, Door, Gate, Guard, Health, Services, access::key},
    ledger::ManualClock,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{Code, body::Body, codegen::Service as _};

use super::entropy::Entropy;

/// Of EdDSA, by the first key of RFC 8032, for the tills until 2100.
const TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoibG95YWx0eWQiLCJzdWIiOiJ0aWxscyIsImV4cC\
                     I6NDEwMjQ0NDgwMH0.z9maokCKuNEE1ajz06K6PvFehHSG9A0r8eQvkvz3c9-OfpzTwRAQRfiiEPzM7ntwZAiNOYo4oTc8HYZOu_-UAA";
const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// As many are said, and that there are more.
const MAX_MISTAKES: usize = 101;

/// Bytes as they may come: the first one says what of.
pub fn run(data: &[u8]) {
    static GATEHOUSE: LazyLock<Gatehouse> = LazyLock::new(Gatehouse::open);
    let mut entropy = Entropy::new(data);
    match entropy.below(4) {
        0 => text(&String::from_utf8_lossy(entropy.rest())),
        // The example, or the file in force, spoilt by what follows.
        1 => {
            let files = [include_str!("../../../examples/access.yaml"), &GATEHOUSE.file];
            let mut file = (*entropy.pick(&files)).as_bytes().to_vec();
            while !entropy.is_empty() {
                entropy.spoil(&mut file);
            }
            text(&String::from_utf8_lossy(&file));
        }
        2 => GATEHOUSE.knock(entropy.rest()),
        _ => {
            let good = [GATEHOUSE.header_of_key(), format!("Bearer {TOKEN}")];
            let mut header = entropy.pick(&good).clone().into_bytes();
            while !entropy.is_empty() {
                entropy.spoil(&mut header);
            }
            GATEHOUSE.knock(&header);
        }
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-03-10T05:00:00Z".parse::<Timestamp>().expect("an instant")))
}

/// Taken or refused, the same each time, also in the place of another one.
pub fn text(text: &str) {
    match (Access::open(text, clock()), Access::open(text, clock())) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.counts(), other.counts());
            assert!(one.replace(text).is_ok_and(|()| one.counts() == other.counts()));
        }
        (Err(mistakes), Err(again)) => {
            assert!(!mistakes.is_empty() && mistakes.len() <= MAX_MISTAKES, "{} mistakes", mistakes.len());
            assert!(mistakes.iter().all(|mistake| !mistake.message.is_empty() && mistake.message.len() < 2_000), "{mistakes:?}");
            assert_eq!(format!("{mistakes:?}"), format!("{again:?}"));
        }
        (one, other) => panic!("{:?} and {:?}", one.map(|one| one.counts()), other.map(|other| other.counts())),
    }
}

/// A service that knows one principal, by a key and a token.
struct Gatehouse {
    runtime: Runtime,
    services: Services,
    key: String,
    file: String,
    _keys: TempDir,
}

impl Gatehouse {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let folder = super::scratch();
        let keys = folder.path().join("jwks.json");
        std::fs::write(&keys, KEYS).expect("a file can be written");
        let key = key::make().expect("randomness");
        let file = format!(
            "principals:
  - principal_id: tills
    roles: [pos]
    programs: [vietnam]
    api_keys: [{{key_id: one, hash: \"{}\", expire_time: \"2099-01-01T00:00:00Z\"}}]
    certificates: [{{dns: till-1.example.com}}]
    tokens: [{{issuer: \"https://id.example.com\", subject: tills}}]
issuers:
  - {{issuer: \"https://id.example.com\", audience: loyaltyd, jwks_file: {}, algorithms: [RS256, ES256, EdDSA]}}
",
            key::hash_text(&key),
            keys.display()
        );
        let access = Access::open(&file, clock()).expect("a file without mistakes");
        let door = Door::Guarded(Guard { access, is_reflection_open: false, is_health_open: false });
        let health = runtime.block_on(Health::starting(false));
        let services = grpc::services(&Arc::new(Gate::default()), &health, &Besides::Admin(AdminFrom::Loopback), door, 4 << 20);
        let gatehouse = Self { runtime, services, key, file, _keys: folder };
        // What is right is let in, or the rest would say nothing.
        gatehouse.knock(gatehouse.header_of_key().as_bytes());
        gatehouse.knock(format!("bearer {TOKEN}").as_bytes());
        gatehouse
    }

    fn header_of_key(&self) -> String {
        format!("Bearer {}", self.key)
    }

    /// Only the one key and the one token open, as they are: the scheme in any case, with blanks round what follows it.
    fn is_right(&self, header: &[u8]) -> bool {
        std::str::from_utf8(header).ok().and_then(|text| text.split_once(' ')).is_some_and(|(scheme, credential)| {
            scheme.eq_ignore_ascii_case("bearer") && [self.key.as_str(), TOKEN].contains(&credential.trim_matches(' '))
        })
    }

    /// Asks whether the service serves, which is not open to all.
    fn knock(&self, header: &[u8]) {
        // HTTP takes nothing else in a header's value.
        let Ok(value) = HeaderValue::from_bytes(header) else { return };
        let request = Request::post("http://loyaltyd/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("authorization", value)
            .body(Body::new(http_body_util::Full::from(vec![0_u8; 5])))
            .expect("a request");
        let answer = self.runtime.block_on(self.services.clone().call(request)).expect("services answer each call");
        let code = answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        // Of a key that the issuer does not have by now, since another may have been published just now.
        let told = answer.headers().get("grpc-message").and_then(|told| told.to_str().ok());
        let is_awaited = told.is_some_and(|told| told.contains("its%20keys%20are%20being%20read%20again"));
        let expected = match self.is_right(header) {
            true => Code::Ok,
            false if code == Code::Unavailable && is_awaited => return,
            false => Code::Unauthenticated,
        };
        assert_eq!(code, expected, "{:?} {:?}", String::from_utf8_lossy(header), answer.headers());
        if code == Code::Unauthenticated {
            let told = format!("{:?}", answer.headers());
            assert!(!told.contains(&self.key), "{told}");
        }
    }
}
