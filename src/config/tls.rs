//! Certificates and keys: PEM files become what the service proves itself with, and what it proves its callers by. Every fault names the
//! flag, the file, and what to do.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};

use super::{read_bounded, reread};

/// What is asked for in the handshake, and what a client that knows gRPC-Web alone asks for.
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// The flags, as faults name them.
pub const CERTIFICATE: &str = "--tls-cert";
const KEY: &str = "--tls-key";
const CLIENT_CA: &str = "--tls-client-ca";

/// Where the service's certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Client certificates are verified against it, and are optional; without it nobody is asked for one.
    pub client_ca: Option<PathBuf>,
}

/// A file that cannot be served with.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {}: {why}", path.display())]
pub struct TlsError {
    flag: &'static str,
    path: PathBuf,
    why: String,
}

impl TlsError {
    fn new(flag: &'static str, path: &Path, why: impl Into<String>) -> Self {
        Self { flag, path: path.to_owned(), why: why.into() }
    }
}

/// What was read.
pub struct Loaded {
    pub server: Arc<ServerConfig>,
    pub validity: Validity,
    /// The first certificate is an authority's own.
    is_authority: bool,
}

impl Loaded {
    /// Why clients will refuse it now.
    pub fn fault(&self, now: Timestamp) -> Option<&'static str> {
        let as_authority = "it is an authority's own (CA:TRUE), and clients that are strict, this program among them, will refuse it: make one \
                            with basicConstraints=CA:FALSE";
        self.validity.fault(now).or(self.is_authority.then_some(as_authority))
    }
}

/// When a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "valid from {} until {}", self.from, self.until)
    }
}

impl Validity {
    fn fault(self, now: Timestamp) -> Option<&'static str> {
        if now > self.until {
            Some("it has expired, and clients will refuse it: put a new one in its place, which is read without a restart")
        } else if now < self.from {
            Some("it is not valid yet, and clients will refuse it until then")
        } else {
            None
        }
    }
}

impl TlsFiles {
    /// Those that are read again when they change.
    pub fn paths(&self) -> Vec<PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).cloned().collect()
    }

    /// Reads and checks all of them. HTTP/1.1 is offered where gRPC-Web is.
    pub fn load(&self, http_1: bool) -> Result<Loaded, TlsError> {
        let certificates = certificates(CERTIFICATE, &self.certificate)?;
        let (validity, is_authority) = first_of(CERTIFICATE, &self.certificate, &certificates)?;
        let key = private_key(KEY, &self.key)?;
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider has the suites of TLS 1.2 and 1.3");
        let builder = match &self.client_ca {
            Some(path) => builder.with_client_cert_verifier(client_verifier(path)?),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(certificates, key).map_err(|error| self.unfit(&error))?;
        server.alpn_protocols = if http_1 { vec![HTTP_2.to_vec(), HTTP_1.to_vec()] } else { vec![HTTP_2.to_vec()] };
        if self.client_ca.is_some() {
            // A session that is resumed brings a certificate that was verified earlier: here each connection is verified anew.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        Ok(Loaded { server: Arc::new(server), validity, is_authority })
    }

    fn unfit(&self, error: &rustls::Error) -> TlsError {
        let why = match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("is not the key of the first certificate in {}: give the two that were issued together", self.certificate.display())
            }
            other => format!("cannot be used with {}: {other}", self.certificate.display()),
        };
        TlsError::new(KEY, &self.key, why)
    }
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = roots(CLIENT_CA, path)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated().build();
    verifier.map_err(|error| TlsError::new(CLIENT_CA, path, format!("cannot verify certificates: {error}")))
}

/// All cryptography is done by this one, here and in every library that asks for the one of the process.
pub fn provider() -> Arc<CryptoProvider> {
    loop {
        if let Some(provider) = CryptoProvider::get_default() {
            return Arc::clone(provider);
        }
        // Of two who install it at the same time one is refused, and finds the other's.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}

/// Certificates of authorities that are trusted.
pub fn roots(flag: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(flag, path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::new(flag, path, format!("has a certificate that no authority can have: {error}")))?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, one at least.
pub fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(flag, path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| TlsError::new(flag, path, format!("is not well-formed PEM: {error}")))?;
    if found.is_empty() {
        let why = "has no certificate: it takes PEM, with -----BEGIN CERTIFICATE-----, the server's own first and then those that lead to \
                   the authority";
        return Err(TlsError::new(flag, path, why));
    }
    for certificate in &found {
        x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| TlsError::new(flag, path, "has a certificate that cannot be read: make the file anew"))?;
    }
    Ok(found)
}

/// The private key of a PEM file: PKCS#8, PKCS#1 or SEC1.
pub fn private_key(flag: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(flag, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = String::from_utf8_lossy(&text).contains("ENCRYPTED");
        let why = match error {
            pem::Error::NoItemsFound if encrypted => {
                "is encrypted, and nobody is asked for a passphrase: write it in the clear, such as `openssl pkey` does, and keep it from \
                 others by its permissions"
                    .to_owned()
            }
            pem::Error::NoItemsFound => "has no private key: it takes PEM, with -----BEGIN PRIVATE KEY----- (PKCS#8), RSA PRIVATE KEY \
                                         (PKCS#1) or EC PRIVATE KEY (SEC1)"
                .to_owned(),
            other => format!("is not well-formed PEM: {other}"),
        };
        TlsError::new(flag, path, why)
    })
}

/// What the first one says of itself.
fn first_of(flag: &'static str, path: &Path, certificates: &[CertificateDer<'static>]) -> Result<(Validity, bool), TlsError> {
    let unreadable = || TlsError::new(flag, path, "has a certificate whose dates cannot be read: make the file anew");
    let (_, first) = x509_parser::parse_x509_certificate(&certificates[0]).map_err(|_| unreadable())?;
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|_| unreadable());
    let validity = Validity { from: time(first.validity().not_before)?, until: time(first.validity().not_after)? };
    Ok((validity, first.is_ca()))
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_bounded(path, reread::MAX_BYTES).map_err(|why| TlsError::new(flag, path, why))
}
