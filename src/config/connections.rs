//! What connections are taken and how much each may ask for; TLS; callers that are browsers.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use http::HeaderValue;

use super::{
    ConfigError, path, reread, switch,
    tls::{TlsError, TlsFiles},
};

/// Flags of `loyaltyd serve` about connections.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    /// Serve TLS with this certificate: PEM, the service's own first, then those that lead to the authority. Read again when it changes
    #[arg(long, env = "LOYALTYD_TLS_CERT", value_name = "FILE", value_parser = path())]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key: PEM of PKCS#8, PKCS#1 or SEC1, not encrypted. Read again when it changes
    #[arg(long, env = "LOYALTYD_TLS_KEY", value_name = "FILE", value_parser = path())]
    pub tls_key: Option<PathBuf>,

    /// Authorities (PEM) whose client certificates are good. A client need not have one; a bad one ends the handshake
    #[arg(long, env = "LOYALTYD_TLS_CLIENT_CA", value_name = "FILE", value_parser = path())]
    pub tls_client_ca: Option<PathBuf>,

    /// Answer gRPC-Web too, over HTTP/1.1 and HTTP/2, for browsers and edge runtimes
    #[arg(long, env = "LOYALTYD_GRPC_WEB", value_parser = switch)]
    pub grpc_web: bool,

    /// With --grpc-web: an origin such as https://shop.example.com whose pages may read answers; any number of times, in the variable
    /// separated by commas. * lets all, for no answer depends on cookies
    #[arg(long = "cors-origin", env = "LOYALTYD_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Connections at the same time; who comes above is closed at once
    #[arg(long, env = "LOYALTYD_MAX_CONNECTIONS", default_value_t = 10_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Of them from one address (of IPv6: from one network of 64 bits)
    #[arg(long, env = "LOYALTYD_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 2_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_address: u32,

    /// Of them that have not come as far as their first request could be read
    #[arg(long, env = "LOYALTYD_MAX_HANDSHAKES", default_value_t = 1_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_handshakes: u32,

    /// Seconds from the connection to the end of TLS's handshake and of HTTP/2's opening
    #[arg(long, env = "LOYALTYD_HANDSHAKE_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub handshake_seconds: u64,

    /// With --access: seconds from the connection until a call on it has a good credential; a connection that has none by then is closed
    #[arg(long, env = "LOYALTYD_CREDENTIAL_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub credential_seconds: u64,

    /// Seconds of silence after which a connection is asked whether it lives; it has as long to answer
    #[arg(long, env = "LOYALTYD_KEEPALIVE_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub keepalive_seconds: u64,

    /// Seconds for which a connection may take nothing of what is sent to it
    #[arg(long, env = "LOYALTYD_STALL_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stall_seconds: u64,

    /// Calls under way on one connection; more wait at the client
    #[arg(long, env = "LOYALTYD_MAX_STREAMS", default_value_t = 128, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_streams: u32,

    /// Calls on a connection that were given up before they were looked at; one more ends the connection
    #[arg(long, env = "LOYALTYD_MAX_RESETS", default_value_t = 1_024, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_resets: u32,

    /// Size of a request's metadata, unpacked
    #[arg(long, env = "LOYALTYD_MAX_HEADER_BYTES", default_value_t = 16_384, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1_024..=1 << 20))]
    pub max_header_bytes: u32,

    /// Size of one message of a request
    #[arg(long, env = "LOYALTYD_MAX_REQUEST_BYTES", default_value_t = 4 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(65_536..=64 << 20))]
    pub max_request_bytes: u32,

    /// Memory for messages of requests, from when they begin until they are answered; what comes above is refused with RESOURCE_EXHAUSTED.
    /// One principal has half of it, and large messages leave an eighth to small ones
    #[arg(long, env = "LOYALTYD_REQUEST_MEMORY_BYTES", default_value_t = 256 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 36))]
    pub request_memory_bytes: u64,

    /// Seconds until a call is answered with DEADLINE_EXCEEDED, unless its own deadline is shorter. Streams have no end
    #[arg(long, env = "LOYALTYD_MAX_CALL_SECONDS", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub max_call_seconds: u64,
}

/// The same, checked.
#[derive(Debug, Clone)]
pub struct Connections {
    pub tls: Option<TlsFiles>,
    /// How often its files are looked at.
    pub tls_read_every: Duration,
    pub web: Option<Web>,
    pub most: u32,
    pub most_per_address: u32,
    pub most_handshakes: u32,
    pub handshake: Duration,
    pub credential: Duration,
    pub keepalive: Duration,
    pub stall: Duration,
    pub streams: u32,
    pub resets: u32,
    pub header_bytes: u32,
    pub request_bytes: usize,
    pub request_memory_bytes: usize,
    pub call: Duration,
}

/// Callers that are browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    pub origins: Origins,
}

/// Whose pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    All,
    /// None: programs that are no browsers, such as edge runtimes, alone.
    These(Vec<HeaderValue>),
}

impl Default for Connections {
    fn default() -> Self {
        let words = <ConnectionArgs as Args>::augment_args(clap::Command::new("serve"));
        // As the flags say, whatever the environment.
        let words = words.mut_args(|argument| argument.env(None::<&str>));
        let flags = words.get_matches_from(["serve"]);
        let args = <ConnectionArgs as clap::FromArgMatches>::from_arg_matches(&flags).expect("each flag has a default");
        args.checked().expect("the defaults are good")
    }
}

impl ConnectionArgs {
    /// Reads the files too, so that a start with bad ones ends at once.
    pub fn checked(&self) -> Result<Connections, ConfigError> {
        let web = self.web()?;
        let tls = self.tls_files()?;
        if let Some(files) = &tls {
            files.load(web.is_some())?;
        }
        Ok(Connections {
            tls,
            tls_read_every: reread::LOOK_EVERY,
            web,
            most: self.max_connections,
            most_per_address: self.max_connections_per_address,
            most_handshakes: self.max_handshakes,
            handshake: Duration::from_secs(self.handshake_seconds),
            credential: Duration::from_secs(self.credential_seconds),
            keepalive: Duration::from_secs(self.keepalive_seconds),
            stall: Duration::from_secs(self.stall_seconds),
            streams: self.max_streams,
            resets: self.max_resets,
            header_bytes: self.max_header_bytes,
            request_bytes: self.max_request_bytes as usize,
            request_memory_bytes: self.request_memory()?,
            call: Duration::from_secs(self.max_call_seconds),
        })
    }

    /// What one may send must fit into the half that a principal has, and leave an eighth of that to what is small.
    fn request_memory(&self) -> Result<usize, ConfigError> {
        let least = u64::from(self.max_request_bytes) * 5 / 2;
        match usize::try_from(self.request_memory_bytes) {
            Ok(bytes) if self.request_memory_bytes >= least => Ok(bytes),
            Ok(_) | Err(_) => Err(ConfigError::RequestMemory { bytes: self.request_memory_bytes, least, largest: self.max_request_bytes }),
        }
    }

    /// An empty path, as an empty variable gives it, is none.
    fn tls_files(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        match (given(&self.tls_cert), given(&self.tls_key), given(&self.tls_client_ca)) {
            (Some(certificate), Some(key), client_ca) => Ok(Some(TlsFiles { certificate, key, client_ca })),
            (None, None, None) => Ok(None),
            (None, None, Some(_)) => Err(ConfigError::Tls("--tls-client-ca needs --tls-cert and --tls-key too".to_owned())),
            (Some(_), None, _) => Err(ConfigError::Tls("--tls-cert needs the certificate's key too: give --tls-key".to_owned())),
            (None, Some(_), _) => Err(ConfigError::Tls("--tls-key needs the certificate too: give --tls-cert".to_owned())),
        }
    }

    fn web(&self) -> Result<Option<Web>, ConfigError> {
        let origins: Vec<&str> = self.cors_origins.iter().map(|origin| origin.trim()).filter(|origin| !origin.is_empty()).collect();
        if !self.grpc_web {
            let unused = || ConfigError::Cors { origin: origins.join(","), why: "is of no use without --grpc-web: give both".to_owned() };
            return if origins.is_empty() { Ok(None) } else { Err(unused()) };
        }
        if origins == ["*"] {
            return Ok(Some(Web { origins: Origins::All }));
        }
        let these: Result<Vec<HeaderValue>, ConfigError> = origins.into_iter().map(origin).collect();
        Ok(Some(Web { origins: Origins::These(these?) }))
    }
}

/// What a browser sends as `Origin`: scheme, host, and the port if it is not the scheme's own.
fn origin(text: &str) -> Result<HeaderValue, ConfigError> {
    let wrong = |why: &str| ConfigError::Cors { origin: text.to_owned(), why: why.to_owned() };
    if text == "*" {
        return Err(wrong("lets all origins, so that others beside it are of no use: give it alone, or the origins alone"));
    }
    let uri: http::Uri = text.parse().map_err(|_| wrong("is not an origin such as https://shop.example.com"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    if !matches!(scheme, "http" | "https") || text != format!("{scheme}://{authority}") || authority.contains('@') {
        return Err(wrong(
            "is not an origin such as https://shop.example.com: scheme and host alone, without a path or a slash at the end",
        ));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("is written in small letters by browsers: write it so"));
    }
    HeaderValue::from_str(text).map_err(|_| wrong("has characters that no origin has"))
}

impl From<TlsError> for ConfigError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}
