//! The access file: who calls, by which credentials, and what they may do. Read as rule books are: one closed schema, and every mistake
//! is said at once with its path.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::Uri;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::{
    certificate::CertificateName,
    issuer_keys::{IssuerKeys, Source},
    key::{self, Hash},
    principal::{Principal, Programs, Rate},
    roles::{ROLES, Role},
    snapshot::{ApiKey, Snapshot},
    token::Issuer,
};
use crate::{
    contract::Violation,
    domain::{PrincipalId, ProgramId},
    grpc::request_memory::Holding,
};

/// Of the file.
pub const MAX_BYTES: usize = 4 << 20;
const MAX_PRINCIPALS: usize = 10_000;
const MAX_PROGRAMS: usize = 1_000;
const MAX_KEYS: usize = 8;
const MAX_CERTIFICATES: usize = 16;
const MAX_TOKENS: usize = 16;
const MAX_ISSUERS: usize = 16;
const MAX_TEXT_CHARS: usize = 512;
const MAX_KEY_ID_CHARS: usize = 64;
const MAX_REQUESTS_PER_SECOND: u32 = 1_000_000;
const MAX_LEEWAY_SECONDS: u64 = 300;
const REFRESH_SECONDS: std::ops::RangeInclusive<u64> = 10..=86_400;
/// Of what is said of one file.
const MAX_MISTAKES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    principals: Vec<PrincipalDocument>,
    #[serde(default)]
    issuers: Vec<IssuerDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalDocument {
    principal_id: String,
    roles: Vec<String>,
    programs: Vec<String>,
    #[serde(default)]
    limits: LimitsDocument,
    #[serde(default)]
    api_keys: Vec<KeyDocument>,
    #[serde(default)]
    certificates: Vec<CertificateDocument>,
    #[serde(default)]
    tokens: Vec<TokenDocument>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LimitsDocument {
    adjustment_points: Option<i64>,
    requests_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    key_id: String,
    hash: String,
    expire_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateDocument {
    dns: Option<String>,
    uri: Option<String>,
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenDocument {
    issuer: String,
    subject: Option<String>,
    claim: Option<ClaimDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimDocument {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerDocument {
    issuer: String,
    audience: String,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<String>,
    algorithms: Option<Vec<String>>,
    leeway_seconds: Option<u64>,
    refresh_seconds: Option<u64>,
}

/// What was read before, of which keys of issuers and what principals have used of their rates stay. `usual`: the calls in a second of
/// principals of whom the file says none.
pub fn read(text: &str, before: Option<&Snapshot>, usual: Option<NonZeroU32>) -> Result<Snapshot, Vec<Violation>> {
    let whole = |message: String| vec![Violation { path: "the file".to_owned(), message }];
    if text.len() > MAX_BYTES {
        return Err(whole(format!("has more than {MAX_BYTES} bytes")));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 8, max_aliases: 0, max_anchors: 0, max_merge_keys: 0, max_documents: 1, max_nodes: 2_000_000, max_events: 4_000_000 },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        // A key that stands in the file by mistake is not to come into the log.
        with_snippet: false,
    };
    let document: Document =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| whole(format!("cannot be read: {error}")))?;
    let mut reading = Reading { before, usual, mistakes: Vec::new(), snapshot: Snapshot::empty(), used: HashMap::new() };
    reading.whole(document);
    if reading.mistakes.is_empty() { Ok(reading.snapshot) } else { Err(reading.mistakes) }
}

struct Reading<'a> {
    before: Option<&'a Snapshot>,
    usual: Option<NonZeroU32>,
    mistakes: Vec<Violation>,
    snapshot: Snapshot,
    /// What stands for one principal alone, and where it was found first.
    used: HashMap<String, String>,
}

impl Reading<'_> {
    fn add(&mut self, path: impl Display, message: impl Into<String>) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(Violation { path: path.to_string(), message: message.into() });
        }
    }

    /// `what` may not be found at two places.
    fn once(&mut self, path: &str, what: String) {
        if let Some(first) = self.used.get(&what) {
            let message = format!("is the same as {first}: each stands for one alone");
            return self.add(path, message);
        }
        self.used.insert(what, path.to_owned());
    }

    fn count(&mut self, path: &str, found: usize, bounds: std::ops::RangeInclusive<usize>) {
        if !bounds.contains(&found) {
            let (least, most) = bounds.into_inner();
            self.add(path, format!("has {found} items; {least} to {most} are allowed"));
        }
    }

    fn text(&mut self, path: &str, text: &str, most: usize) {
        let chars = text.chars().count();
        if chars == 0 {
            self.add(path, "is required");
        } else if chars > most {
            self.add(path, format!("has {chars} characters; at most {most} are allowed"));
        } else if text.chars().any(char::is_control) {
            self.add(path, "has a control character");
        }
    }

    fn whole(&mut self, document: Document) {
        self.count("issuers", document.issuers.len(), 0..=MAX_ISSUERS);
        for (index, issuer) in document.issuers.into_iter().take(MAX_ISSUERS).enumerate() {
            self.issuer(&format!("issuers[{index}]"), issuer);
        }
        self.count("principals", document.principals.len(), 1..=MAX_PRINCIPALS);
        for (index, principal) in document.principals.into_iter().take(MAX_PRINCIPALS).enumerate() {
            self.principal(&format!("principals[{index}]"), principal);
        }
    }

    fn issuer(&mut self, path: &str, document: IssuerDocument) {
        self.text(&format!("{path}.issuer"), &document.issuer, MAX_TEXT_CHARS);
        self.once(&format!("{path}.issuer"), format!("issuer {}", document.issuer));
        self.text(&format!("{path}.audience"), &document.audience, MAX_TEXT_CHARS);
        let leeway = document.leeway_seconds.unwrap_or(60);
        if leeway > MAX_LEEWAY_SECONDS {
            self.add(format!("{path}.leeway_seconds"), format!("is {leeway}; at most {MAX_LEEWAY_SECONDS} are allowed"));
        }
        let refresh = document.refresh_seconds.unwrap_or(300);
        if !REFRESH_SECONDS.contains(&refresh) {
            self.add(format!("{path}.refresh_seconds"), format!("is {refresh}; 10 to 86400 are allowed"));
        }
        let algorithms = self.algorithms(&format!("{path}.algorithms"), document.algorithms);
        let source = match (document.jwks_file, document.jwks_url) {
            (Some(file), None) => Some((format!("{path}.jwks_file"), Source::File(file))),
            (None, Some(url)) => self.url(&format!("{path}.jwks_url"), &url).map(|url| (format!("{path}.jwks_url"), Source::Url(url))),
            (Some(_), Some(_)) | (None, None) => {
                self.add(path, "needs one of jwks_file and jwks_url, from which its public keys are read");
                None
            }
        };
        let Some((place, source)) = source else { return };
        let refresh = Duration::from_secs(refresh);
        let known = self.before.and_then(|before| before.issuers.get(&document.issuer)).map(|issuer| Arc::clone(&issuer.keys));
        let known = known.filter(|known| known.source == source).map(|known| known.with_refresh(refresh));
        let keys = match known.map_or_else(|| IssuerKeys::open(source, refresh), Ok) {
            Ok(keys) => Arc::new(keys),
            Err(why) => return self.add(place, why),
        };
        let issuer = Issuer {
            name: document.issuer.clone(),
            audience: document.audience,
            algorithms,
            leeway: SignedDuration::from_secs(i64::try_from(leeway).unwrap_or(0)),
            keys,
            subjects: HashMap::new(),
            claims: HashMap::new(),
        };
        self.snapshot.issuers.insert(document.issuer, issuer);
    }

    fn algorithms(&mut self, path: &str, names: Option<Vec<String>>) -> Vec<Algorithm> {
        let Some(names) = names else { return vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] };
        self.count(path, names.len(), 1..=3);
        let mut algorithms = Vec::new();
        for (index, name) in names.iter().take(3).enumerate() {
            match name.as_str() {
                "RS256" => algorithms.push(Algorithm::RS256),
                "ES256" => algorithms.push(Algorithm::ES256),
                "EdDSA" => algorithms.push(Algorithm::EdDSA),
                _ => self.add(format!("{path}[{index}]"), format!("is {name}; RS256, ES256 and EdDSA are taken")),
            }
        }
        algorithms
    }

    fn url(&mut self, path: &str, text: &str) -> Option<Uri> {
        let Ok(url) = text.parse::<Uri>() else {
            self.add(path, "is not a URL such as https://id.example.com/keys");
            return None;
        };
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match url.scheme_str() {
            Some("https") if !host.is_empty() => Some(url),
            Some("http") if is_here => Some(url),
            Some("http") => {
                self.add(
                    path,
                    "is http://, over which anybody on the way can put keys of their own in place of the issuer's: use https://",
                );
                None
            }
            _ => {
                self.add(path, "is not a URL such as https://id.example.com/keys");
                None
            }
        }
    }

    fn principal(&mut self, path: &str, document: PrincipalDocument) {
        let id = match PrincipalId::new(&document.principal_id) {
            Ok(id) => id,
            Err(error) => {
                self.add(format!("{path}.principal_id"), error.to_string());
                // The rest is looked at all the same.
                PrincipalId::new("unnamed").expect("it is an id")
            }
        };
        self.once(&format!("{path}.principal_id"), format!("principal {}", document.principal_id));
        let roles = self.roles(&format!("{path}.roles"), &document.roles);
        let programs = self.programs(&format!("{path}.programs"), &document.programs);
        let adjustment_points = document.limits.adjustment_points.map(|points| {
            u64::try_from(points).unwrap_or_else(|_| {
                self.add(format!("{path}.limits.adjustment_points"), "is negative: give the most points that may be added or taken");
                0
            })
        });
        let per_second = match document.limits.requests_per_second {
            Some(per_second) => self.per_second(path, per_second),
            None => self.usual,
        };
        let rate = per_second.map(|per_second| self.rate(&id, per_second));
        let holding = self.holding(&id);
        let principal = Arc::new(Principal { id, roles, programs, adjustment_points, rate, holding });
        if document.api_keys.is_empty() && document.certificates.is_empty() && document.tokens.is_empty() {
            self.add(path, "has no credential: give api_keys, certificates or tokens, or leave it out");
        }
        self.keys(path, &document.api_keys, &principal);
        self.certificates(path, document.certificates, &principal);
        self.count(&format!("{path}.tokens"), document.tokens.len(), 0..=MAX_TOKENS);
        for (index, token) in document.tokens.into_iter().take(MAX_TOKENS).enumerate() {
            self.token(&format!("{path}.tokens[{index}]"), token, &principal);
        }
    }

    fn roles(&mut self, path: &str, names: &[String]) -> Vec<Role> {
        self.count(path, names.len(), 1..=ROLES.len());
        let mut roles = Vec::new();
        for (index, name) in names.iter().take(ROLES.len()).enumerate() {
            match Role::parse(name) {
                Some(role) if roles.contains(&role) => self.add(format!("{path}[{index}]"), format!("is {name} once more")),
                Some(role) => roles.push(role),
                None => {
                    let known = ROLES.map(Role::name).join(", ");
                    self.add(format!("{path}[{index}]"), format!("is {name}, which is no role: use {known}"));
                }
            }
        }
        roles
    }

    fn programs(&mut self, path: &str, ids: &[String]) -> Programs {
        self.count(path, ids.len(), 1..=MAX_PROGRAMS);
        if ids == ["*"] {
            return Programs::All;
        }
        let mut programs = HashSet::new();
        for (index, id) in ids.iter().take(MAX_PROGRAMS).enumerate() {
            let path = format!("{path}[{index}]");
            if id == "*" {
                self.add(path, "stands for all programmes: give it alone");
            } else if let Err(error) = ProgramId::new(id) {
                self.add(path, error.to_string());
            } else if !programs.insert(id.clone()) {
                self.add(path, format!("is {id} once more"));
            }
        }
        Programs::These(programs)
    }

    fn per_second(&mut self, path: &str, per_second: u32) -> Option<NonZeroU32> {
        let good = NonZeroU32::new(per_second).filter(|per_second| per_second.get() <= MAX_REQUESTS_PER_SECOND);
        if good.is_none() {
            let path = format!("{path}.limits.requests_per_second");
            self.add(path, format!("must be 1 to {MAX_REQUESTS_PER_SECOND}; to lock a principal out, leave it out"));
        }
        good
    }

    fn rate(&mut self, id: &PrincipalId, per_second: NonZeroU32) -> Arc<Rate> {
        // Reading the file anew gives nobody a second's worth of calls more.
        let known = self.before.and_then(|before| before.rates.get(id)).filter(|known| known.per_second == per_second);
        let rate = known.map_or_else(|| Arc::new(Rate::new(per_second)), Arc::clone);
        self.snapshot.rates.insert(id.clone(), Arc::clone(&rate));
        rate
    }

    /// Calls that go on when the file is read anew still count.
    fn holding(&mut self, id: &PrincipalId) -> Arc<Holding> {
        let holding = self.before.and_then(|before| before.holdings.get(id)).map(Arc::clone).unwrap_or_default();
        self.snapshot.holdings.insert(id.clone(), Arc::clone(&holding));
        holding
    }

    fn keys(&mut self, path: &str, documents: &[KeyDocument], principal: &Arc<Principal>) {
        self.count(&format!("{path}.api_keys"), documents.len(), 0..=MAX_KEYS);
        for (index, document) in documents.iter().take(MAX_KEYS).enumerate() {
            let path = format!("{path}.api_keys[{index}]");
            self.text(&format!("{path}.key_id"), &document.key_id, MAX_KEY_ID_CHARS);
            self.once(&format!("{path}.key_id"), format!("key {} {}", principal.id, document.key_id));
            let end = document.expire_time.as_ref().and_then(|text| match text.parse::<Timestamp>() {
                Ok(end) => Some(end),
                Err(_) => {
                    self.add(format!("{path}.expire_time"), "is not an instant such as 2027-01-01T00:00:00Z");
                    None
                }
            });
            let Some(hash) = self.hash(&format!("{path}.hash"), &document.hash) else { continue };
            let key = ApiKey { principal: Arc::clone(principal), end };
            self.snapshot.keys.insert(hash, key);
        }
    }

    fn hash(&mut self, path: &str, text: &str) -> Option<Hash> {
        if text.starts_with(key::PREFIX) {
            self.add(
                path,
                "is a key itself: write its hash, which `loyaltyd key new` prints with it, and make a new key, for this one was shown",
            );
            return None;
        }
        let hash = text.strip_prefix("sha256:").and_then(key::parse_hex);
        match hash {
            Some(hash) => {
                self.once(path, format!("hash {hash:?}"));
                Some(hash)
            }
            None => {
                self.add(path, "is not `sha256:` and 64 hexadecimal digits, as `loyaltyd key new` prints it");
                None
            }
        }
    }

    fn certificates(&mut self, path: &str, documents: Vec<CertificateDocument>, principal: &Arc<Principal>) {
        self.count(&format!("{path}.certificates"), documents.len(), 0..=MAX_CERTIFICATES);
        for (index, document) in documents.into_iter().take(MAX_CERTIFICATES).enumerate() {
            let path = format!("{path}.certificates[{index}]");
            let name = match (document.dns, document.uri, document.sha256) {
                (Some(dns), None, None) => {
                    self.text(&path, &dns, MAX_TEXT_CHARS);
                    if dns.contains('*') {
                        self.add(&path, "has a *: names are compared as a whole");
                    }
                    CertificateName::Dns(dns.to_ascii_lowercase())
                }
                (None, Some(uri), None) => {
                    self.text(&path, &uri, MAX_TEXT_CHARS);
                    CertificateName::Uri(uri)
                }
                // As openssl prints it, or without colons.
                (None, None, Some(digits)) => match key::parse_hex(&digits.replace(':', "")) {
                    Some(hash) => CertificateName::Sha256(hash),
                    None => {
                        self.add(path, "has no sha256 of 64 hexadecimal digits, such as `openssl x509 -fingerprint -sha256` prints");
                        continue;
                    }
                },
                _ => {
                    self.add(path, "needs one of dns, uri and sha256");
                    continue;
                }
            };
            self.once(&path, format!("certificate {name:?}"));
            self.snapshot.certificates.insert(name, Arc::clone(principal));
        }
    }

    fn token(&mut self, path: &str, document: TokenDocument, principal: &Arc<Principal>) {
        let names_issuer = self.used.contains_key(&format!("issuer {}", document.issuer));
        if !names_issuer {
            self.add(
                format!("{path}.issuer"),
                format!("is {}, which is not under issuers: it is compared letter by letter", document.issuer),
            );
        }
        match (document.subject, document.claim) {
            (Some(subject), None) => {
                self.text(&format!("{path}.subject"), &subject, MAX_TEXT_CHARS);
                self.once(&format!("{path}.subject"), format!("subject {} {subject}", document.issuer));
                if let Some(issuer) = self.snapshot.issuers.get_mut(&document.issuer) {
                    issuer.subjects.insert(subject, Arc::clone(principal));
                }
            }
            (None, Some(ClaimDocument { name, value })) => {
                self.text(&format!("{path}.claim.name"), &name, MAX_TEXT_CHARS);
                self.text(&format!("{path}.claim.value"), &value, MAX_TEXT_CHARS);
                self.once(&format!("{path}.claim"), format!("claim {} {name:?} {value:?}", document.issuer));
                if let Some(issuer) = self.snapshot.issuers.get_mut(&document.issuer) {
                    issuer.claims.entry(name).or_default().insert(value, Arc::clone(principal));
                }
            }
            (Some(_), Some(_)) | (None, None) => self.add(path, "needs one of subject and claim"),
        }
    }
}
