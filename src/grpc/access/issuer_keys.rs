//! The public keys of an issuer of tokens: read from a file or fetched, kept, and read again.

use std::{
    fs::File,
    io::Read,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::TokioExecutor,
};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use tokio::time::Instant;
use tonic::codegen::Bytes;

use super::key::{Hash, sha256};

/// Of a document of keys.
const MAX_BYTES: usize = 1 << 20;
const MAX_KEYS: usize = 100;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two fetches, whatever tokens come: strangers cannot make this service call the issuer as often as they like.
pub const FETCH_GAP: Duration = Duration::from_secs(5);
/// Keys that could not be read again for so long, or for two of their refreshings if that is more, are believed no longer: one of them may
/// have been withdrawn meanwhile.
const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Bits of an RSA key below which nobody relies on it any more.
const MIN_RSA_BYTES: usize = 256;

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Url(Uri),
}

/// The keys of one issuer. They outlive the reading of a new access file that names the same source.
pub struct IssuerKeys {
    pub source: Source,
    /// Of a URL.
    refresh: Duration,
    kept: Arc<Kept>,
}

/// What was read, however often it is to be read again.
struct Kept {
    current: RwLock<Arc<KeySet>>,
    tried: Mutex<Tried>,
    /// A token came whose key is not among them.
    wanted: AtomicBool,
    is_reading: AtomicBool,
}

/// Keys that are being read, of which one reading goes on at a time.
pub struct Look(Arc<IssuerKeys>);

#[derive(Default)]
struct Tried {
    at: Option<Instant>,
    /// They were read last; `None`: never, or too long ago.
    good_at: Option<Instant>,
    /// Of what was read last.
    content: Option<Hash>,
    /// The last try failed, which the log has said.
    failed: bool,
}

/// What was read at one time.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Those that may have signed a token: of the id, or, if the token names none, the only one of the algorithm.
    pub fn fitting(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<&DecodingKey> {
        let of_algorithm = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => of_algorithm.filter(|key| key.id.as_deref() == Some(id)).map(|key| &key.key).collect(),
            None => {
                let all: Vec<&DecodingKey> = of_algorithm.map(|key| &key.key).collect();
                if all.len() == 1 { all } else { Vec::new() }
            }
        }
    }
}

impl IssuerKeys {
    /// Reads a file at once, and says what is wrong with it; a URL is fetched by [`IssuerKeys::look`].
    pub fn open(source: Source, refresh: Duration) -> Result<Self, String> {
        let (set, content) = match &source {
            Source::File(path) => {
                let content = read_file(path)?;
                let set = parse(&content)?;
                if set.keys.is_empty() {
                    return Err("it has no key".to_owned());
                }
                (set, Some(sha256(&content)))
            }
            Source::Url(_) => (KeySet::default(), None),
        };
        let at = content.map(|_| Instant::now());
        let tried = Mutex::new(Tried { at, good_at: at, content, failed: false });
        let (wanted, is_reading) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { source, refresh, kept: Arc::new(Kept { current: RwLock::new(Arc::new(set)), tried, wanted, is_reading }) })
    }

    /// The same keys, refreshed as often as is said now.
    pub fn with_refresh(&self, refresh: Duration) -> Self {
        Self { source: self.source.clone(), refresh, kept: Arc::clone(&self.kept) }
    }

    fn tried(&self) -> MutexGuard<'_, Tried> {
        self.kept.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.kept.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A token came whose key is not there; `true`: the key may be there soon, for the keys are being read or will be, or what they are now is
    /// not known. `false`: they were read just before, and it was not among them.
    pub fn want(&self) -> bool {
        let tried = self.tried();
        let gap = match &self.source {
            Source::File(_) => LOOK_EVERY,
            Source::Url(_) => FETCH_GAP,
        };
        let may = tried.at.is_none_or(|at| at.elapsed() >= gap);
        if may {
            self.kept.wanted.store(true, Ordering::Relaxed);
        }
        may || tried.failed || tried.good_at.is_none() || self.kept.is_reading.load(Ordering::Relaxed)
    }

    /// If it is time to read them again, and nobody does.
    pub fn look(self: &Arc<Self>) -> Option<Look> {
        (self.is_due() && !self.kept.is_reading.swap(true, Ordering::Relaxed)).then(|| Look(Arc::clone(self)))
    }

    fn is_due(&self) -> bool {
        let tried = self.tried();
        let Some(since) = tried.at.map(|at| at.elapsed()) else { return true };
        match &self.source {
            Source::File(_) => since >= LOOK_EVERY,
            Source::Url(_) => {
                let is_urgent = self.kept.wanted.load(Ordering::Relaxed) || tried.failed;
                since >= if is_urgent { FETCH_GAP.min(self.refresh) } else { self.refresh }
            }
        }
    }

    /// Takes what was read. `Ok(true)`: it could not be read before, and is the same.
    fn take(&self, content: &[u8], issuer: &str) -> Result<bool, String> {
        let hash = sha256(content);
        let mut tried = self.tried();
        if tried.content == Some(hash) {
            tried.good_at = Some(Instant::now());
            return Ok(std::mem::take(&mut tried.failed));
        }
        let set = parse(content)?;
        (tried.content, tried.failed, tried.good_at) = (Some(hash), false, Some(Instant::now()));
        let keys = set.keys.len();
        *self.kept.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        if keys == 0 {
            tracing::error!(issuer, "the issuer has withdrawn all its keys: none of its tokens is taken until it has others");
        } else {
            tracing::info!(issuer, keys, "the issuer's keys were read");
        }
        Ok(false)
    }

    /// Keys that are too old are dropped.
    fn fail(&self, why: &str, issuer: &str) {
        let mut tried = self.tried();
        let before = std::mem::replace(&mut tried.failed, true);
        let most = MAX_AGE.max(self.refresh * 2);
        if tried.good_at.is_some_and(|at| at.elapsed() >= most) {
            (tried.good_at, tried.content) = (None, None);
            *self.kept.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
            let hours = most.as_secs() / 3_600;
            return tracing::error!(
                issuer,
                "the issuer's keys could not be read for {hours} h, and none of its tokens is taken any more: {why}"
            );
        }
        let keys = self.current().keys.len();
        // A file is looked at every other second: what is wrong with it is said once.
        if !before || matches!(self.source, Source::Url(_)) {
            tracing::warn!(issuer, keys, "the issuer's keys cannot be read, and those that were read before stay in use: {why}");
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.0.kept.is_reading.store(false, Ordering::Relaxed);
    }
}

impl Look {
    /// Reads the keys again. What was read before stays in use if that fails, unless it is too old, and the log says so.
    pub async fn read(self, issuer: &str) {
        let content = content(self.0.source.clone());
        self.take(content, issuer).await;
    }

    async fn take(self, content: impl Future<Output = Result<Vec<u8>, String>>, issuer: &str) {
        let keys = &self.0;
        keys.tried().at = Some(Instant::now());
        keys.kept.wanted.store(false, Ordering::Relaxed);
        match content.await.and_then(|content| keys.take(&content, issuer)) {
            Ok(true) => tracing::info!(issuer, "the issuer's keys can be read again, and are the same"),
            Ok(false) => {}
            Err(why) => keys.fail(&why, issuer),
        }
    }
}

async fn content(source: Source) -> Result<Vec<u8>, String> {
    match source {
        // It is cut short only when the runtime ends.
        Source::File(path) => tokio::task::spawn_blocking(move || read_file(&path)).await.unwrap_or_else(|error| Err(error.to_string())),
        Source::Url(url) => fetch(&url).await,
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, String> {
    // To open a pipe waits until somebody writes to it, which may be for ever.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(format!("{} is not a file", path.display()));
    }
    let file = File::open(path).map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    let mut content = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut content).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if content.len() > MAX_BYTES { Err(format!("{} has more than {MAX_BYTES} bytes", path.display())) } else { Ok(content) }
}

async fn fetch(url: &Uri) -> Result<Vec<u8>, String> {
    let fetched = async {
        if url.scheme_str() == Some("http") {
            // On this machine alone, as the access file's check sees to.
            return get(Client::builder(TokioExecutor::new()).build(HttpConnector::new()), url).await;
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| format!("this machine's root certificates cannot be read: {error}"))?
            .https_only()
            .enable_http1()
            .build();
        get(Client::builder(TokioExecutor::new()).build(connector), url).await
    };
    let seconds = FETCH_TIMEOUT.as_secs();
    tokio::time::timeout(FETCH_TIMEOUT, fetched).await.unwrap_or_else(|_| Err(format!("{url} did not answer within {seconds} s")))
}

/// Follows no redirection: the file names the issuer's own address.
async fn get<C: Connect + Clone + Send + Sync + 'static>(client: Client<C, Empty<Bytes>>, url: &Uri) -> Result<Vec<u8>, String> {
    let answer = client.get(url.clone()).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{url} cannot be fetched: {error}{cause}")
    })?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("{url} answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    Ok(body.map_err(|error| format!("{url} cannot be read: {error}"))?.to_bytes().to_vec())
}

/// Takes what a token can be verified with; the rest is left out, and the log says why. A set without keys is one: the issuer has withdrawn
/// them. `Err`: nothing is left of those that it has, or it is no such document.
fn parse(content: &[u8]) -> Result<KeySet, String> {
    #[derive(serde::Deserialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    let document: Document = serde_json::from_slice(content).map_err(|error| format!("it is not a JSON Web Key Set: {error}"))?;
    if document.keys.len() > MAX_KEYS {
        return Err(format!("it has {} keys; at most {MAX_KEYS} are taken", document.keys.len()));
    }
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for (index, value) in document.keys.into_iter().enumerate() {
        match public_key(value) {
            Ok(key) => keys.push(key),
            Err(why) => left_out.push(format!("keys[{index}] {why}")),
        }
    }
    let left_out = left_out.join("; ");
    if keys.is_empty() && !left_out.is_empty() {
        return Err(format!("it has no key that tokens can be verified with: {left_out}"));
    }
    if !left_out.is_empty() {
        tracing::warn!("keys of an issuer are left out: {left_out}");
    }
    Ok(KeySet { keys })
}

fn public_key(value: serde_json::Value) -> Result<PublicKey, String> {
    // Such a key is known to all who can read the set: whatever it signs proves nothing.
    if value.get("d").is_some() {
        return Err("is a private key, which must not be published: the issuer has to replace it".to_owned());
    }
    let jwk: Jwk = serde_json::from_value(value).map_err(|error| format!("is not a JSON Web Key: {error}"))?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, rsa.n.trim_end_matches('='));
            match bytes.map_err(|_| "has no modulus in base64url")?.iter().skip_while(|byte| **byte == 0).count() {
                MIN_RSA_BYTES.. => Algorithm::RS256,
                bytes => return Err(format!("is an RSA key of {} bits; 2048 are the least", bytes * 8)),
            }
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => return Err("is a shared secret, which is never taken".to_owned()),
        _ => return Err("is of a kind or curve that is not taken: RSA, P-256 and Ed25519 are".to_owned()),
    };
    let said = jwk.common.key_algorithm;
    let fits = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        _ => KeyAlgorithm::EdDSA,
    };
    if said.is_some_and(|said| said != fits) {
        return Err(format!("is for an `alg` that is not taken with its kind; {fits} is"));
    }
    let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let verifies = jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_signatures || !verifies {
        return Err("is not for signatures".to_owned());
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(PublicKey { id: jwk.common.key_id, algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 7517, appendix A.1, and RFC 8037, appendix A.2.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1""#;
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"1""#;

    fn set(keys: &[String]) -> Result<KeySet, String> {
        parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn a_key_is_taken_for_the_algorithm_of_its_kind_alone() {
        let keys = set(&[format!("{EC}}}"), format!("{ED}}}")]).expect("two keys");
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
            assert_eq!(keys.fitting(Some("1"), algorithm).len(), 1, "a kid that two kinds share is not ambiguous");
            assert_eq!(keys.fitting(None, algorithm).len(), 1, "the only one of its kind needs no kid");
        }
        for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES384] {
            assert!(keys.fitting(Some("1"), algorithm).is_empty(), "{algorithm:?}");
        }
        assert!(keys.fitting(Some("2"), Algorithm::ES256).is_empty());
        let twins = set(&[format!("{EC}}}"), format!("{EC}}}")]).expect("two keys");
        assert!(twins.fitting(None, Algorithm::ES256).is_empty(), "which of them is not said");
    }

    #[test]
    fn what_proves_nothing_is_left_out_and_a_set_of_it_refused() {
        let short = r#"{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbg","e":"AQAB""#;
        for (key, why) in [
            (format!(r#"{EC},"d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}}"#), "private"),
            (r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"}"#.to_owned(), "shared secret"),
            (format!(r#"{EC},"use":"enc"}}"#), "not for signatures"),
            (format!(r#"{EC},"key_ops":["sign"]}}"#), "not for signatures"),
            (format!(r#"{EC},"alg":"HS256"}}"#), "`alg`"),
            (format!("{short}}}"), "2048"),
            (r#"{"kty":"EC","crv":"P-384","x":"a","y":"b"}"#.to_owned(), "not taken"),
            ("7".to_owned(), "not a JSON Web Key"),
        ] {
            let refused = set(std::slice::from_ref(&key)).err().expect("nothing is left");
            assert!(refused.contains(why), "{key}: {refused}");
            assert_eq!(set(&[key, format!("{ED}}}")]).expect("one is left").keys.len(), 1);
        }
        assert!(parse(b"[]").is_err() && parse(br#"{"keys":[]}"#).is_ok_and(|set| set.keys.is_empty()));
        assert!(set(&vec![format!("{ED}}}"); MAX_KEYS + 1]).is_err());
    }

    /// From a file with one key; what the file says from now on is taken with the next look.
    struct Kept {
        folder: tempfile::TempDir,
        keys: Arc<IssuerKeys>,
    }

    impl Kept {
        fn open() -> Self {
            let folder = tempfile::TempDir::new().expect("a folder");
            let file = folder.path().join("keys.json");
            std::fs::write(&file, format!(r#"{{"keys":[{EC}}}]}}"#)).expect("it is written");
            let keys = IssuerKeys::open(Source::File(file), Duration::from_secs(300)).expect("a key");
            Self { folder, keys: Arc::new(keys) }
        }

        async fn says(&self, content: &str) -> usize {
            std::fs::write(self.folder.path().join("keys.json"), content).expect("it is written");
            tokio::time::advance(LOOK_EVERY).await;
            self.keys.look().expect("it is time").read("an issuer").await;
            self.keys.current().keys.len()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_not_there_is_awaited_unless_it_was_just_looked_for() {
        let Kept { folder: _folder, keys } = &Kept::open();
        assert!(!keys.want(), "the file was read just now");
        tokio::time::advance(LOOK_EVERY).await;
        let look = keys.look().expect("it is time");
        assert!(keys.want() && keys.look().is_none(), "it is being read, once");
        look.read("an issuer").await;
        assert!(!keys.want());
        let kept = Kept::open();
        assert_eq!(kept.says("{").await, 1);
        assert!(kept.keys.want(), "what the keys are now is not known");
        let url = IssuerKeys::open(Source::Url(Uri::from_static("https://id.example.com/keys")), Duration::from_secs(300))
            .expect("it is not asked");
        assert!(url.want() && url.want(), "none was ever read");
        // Only how often they are read is another.
        let other = Arc::new(kept.keys.with_refresh(Duration::from_secs(10)));
        assert_eq!(other.current().keys.len(), 1);
        kept.says(&format!(r#"{{"keys":[{EC}}},{ED}}}]}}"#)).await;
        assert_eq!(other.current().keys.len(), 2);
    }

    /// From a page that says what the test says, and is asked when it is time.
    struct Fetched {
        keys: Arc<IssuerKeys>,
        times: usize,
    }

    impl Fetched {
        fn every(refresh: Duration) -> Self {
            let url = Source::Url(Uri::from_static("https://id.example.com/keys"));
            Self { keys: Arc::new(IssuerKeys::open(url, refresh).expect("it is not asked")), times: 0 }
        }

        /// A second after another; the page is asked in each in which it is time.
        async fn seconds(&mut self, seconds: u64, says: Result<&str, &str>) {
            for _ in 0..seconds {
                tokio::time::advance(Duration::from_secs(1)).await;
                self.look(says).await;
            }
        }

        async fn look(&mut self, says: Result<&str, &str>) {
            let Some(look) = self.keys.look() else { return };
            self.times += 1;
            let content = says.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned);
            look.take(async { content }, "an issuer").await;
        }

        fn has(&self, algorithm: Algorithm) -> bool {
            !self.keys.current().fitting(Some("1"), algorithm).is_empty()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_asked_each_time_that_its_refreshing_is_due_and_what_it_says_then_holds() {
        let (ec, ed) = (format!(r#"{{"keys":[{EC}}}]}}"#), format!(r#"{{"keys":[{ED}}}]}}"#));
        let mut page = Fetched::every(Duration::from_secs(60));
        page.look(Ok(&ec)).await;
        assert!(page.times == 1 && page.has(Algorithm::ES256));
        page.seconds(59, Ok(&ed)).await;
        assert!(page.times == 1 && page.has(Algorithm::ES256), "it is not time");
        page.seconds(1, Ok(&ed)).await;
        assert!(page.times == 2 && page.has(Algorithm::EdDSA) && !page.has(Algorithm::ES256), "the issuer has another key");
        page.seconds(600, Ok(&ed)).await;
        assert_eq!(page.times, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_of_a_key_that_there_is_not_lead_to_one_fetch_and_no_flood() {
        let (ec, ed) = (format!(r#"{{"keys":[{EC}}}]}}"#), format!(r#"{{"keys":[{ED}}}]}}"#));
        let mut page = Fetched::every(Duration::from_secs(86_400));
        page.look(Ok(&ec)).await;
        assert!((0..1_000).all(|_| !page.keys.want()), "it was asked just now: the key is not there");
        page.seconds(3_600, Ok(&ec)).await;
        assert_eq!(page.times, 1);
        assert!((0..1_000).all(|_| page.keys.want()), "it may be there meanwhile");
        page.look(Ok(&ed)).await;
        assert!(page.times == 2 && page.has(Algorithm::EdDSA));
        // Whatever tokens come: one in each gap.
        for _ in 0..60 {
            for _ in 0..1_000 {
                page.keys.want();
            }
            page.seconds(1, Ok(&ed)).await;
        }
        assert!(page.times <= 2 + 60 / FETCH_GAP.as_secs() as usize, "{}", page.times);
        let asked = page.times;
        page.seconds(3_600, Ok(&ed)).await;
        assert!(page.times <= asked + 1, "and when none comes, none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_cannot_be_read_leaves_the_keys_and_the_log_says_why() {
        let log = Log::default();
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || to.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let ec = format!(r#"{{"keys":[{EC}}}]}}"#);
        let mut page = Fetched::every(Duration::from_secs(60));
        page.look(Ok(&ec)).await;
        page.seconds(60, Err("https://id.example.com/keys answers 503")).await;
        assert!(page.times == 2 && page.has(Algorithm::ES256), "those from before stay");
        assert!(log.text().contains("stay in use: https://id.example.com/keys answers 503"), "{}", log.text());
        page.seconds(60, Ok("{")).await;
        assert!(page.times > 2 && page.has(Algorithm::ES256));
        assert!(log.text().contains("not a JSON Web Key Set"), "{}", log.text());
        // It is tried again sooner than usual, but no oftener than strangers could have it.
        assert!(page.times <= 2 + 60 / FETCH_GAP.as_secs() as usize, "{}", page.times);
        page.seconds(FETCH_GAP.as_secs(), Ok(&ec)).await;
        assert!(log.text().contains("can be read again, and are the same"), "{}", log.text());
    }

    /// What the log gets.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("nobody failed with it").clone()).expect("text")
        }
    }

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody failed with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_withdrawn_or_too_old_are_not_believed() {
        let kept = Kept::open();
        assert_eq!(kept.says(r#"{"keys":[]}"#).await, 0, "the issuer has withdrawn them");
        assert_eq!(kept.says(&format!(r#"{{"keys":[{EC}}}]}}"#)).await, 1);
        assert_eq!(kept.says("{").await, 1, "nobody knows");
        tokio::time::advance(MAX_AGE - LOOK_EVERY * 3).await;
        assert_eq!(kept.says("{").await, 1, "for less than a day");
        tokio::time::advance(LOOK_EVERY * 2).await;
        assert_eq!(kept.says("{").await, 0, "for a day");
        assert!(kept.keys.want());
        assert_eq!(kept.says(&format!(r#"{{"keys":[{EC}}}]}}"#)).await, 1, "the same are good again");
    }
}
