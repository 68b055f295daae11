//! Flags and environment become one [`Config`], in which everything has been checked before anything starts.

pub mod access;
pub mod connections;
pub mod observe;
pub mod reread;
pub mod tls;

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Read},
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

pub use access::{AccessArgs, AccessConfig, Openness};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use rustix::fs::{OFlags, fcntl_setfl};
use tracing_subscriber::EnvFilter;

pub use connections::{ConnectionArgs, Connections};

use crate::{
    contract::{program, rule_book, v1},
    ledger::{MIN_QUEUE, QUEUE_BOUND},
    store::embedded::Options,
    telemetry::LogFormat,
};

pub use observe::Observe;
use observe::ObserveArgs;

/// What `loyaltyd serve` takes.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one, which the log names
    #[arg(long, env = "LOYALTYD_LISTEN", default_value = "127.0.0.1:50051", value_name = "ADDRESS:PORT")]
    pub listen: String,

    /// Folder of the ledger; it is made if it is missing
    #[arg(long, env = "LOYALTYD_DATA", default_value = "./data", value_name = "FOLDER")]
    pub data: PathBuf,

    /// Rule book (YAML or JSON) to publish at start if it differs from the newest version; any number of times [env: LOYALTYD_PROGRAM=
    /// files separated by commas]
    #[arg(long = "program", value_name = "FILE")]
    pub programs: Vec<PathBuf>,

    #[command(flatten)]
    pub access: AccessArgs,

    /// Serve a sandbox: SandboxService sets its clock forward, so that a year can be tried out in a minute. Its data folder is for sandboxes
    /// alone, and has no backups
    #[arg(long, env = "LOYALTYD_SANDBOX", value_parser = switch)]
    pub sandbox: bool,

    /// File of 32 bytes that wraps the members' keys; without it they lie in the data folder as they are
    #[arg(long, env = "LOYALTYD_OPERATOR_KEY", value_name = "FILE", value_parser = path())]
    pub operator_key: Option<PathBuf>,

    /// Leave the journal's files uncompressed when they are closed
    #[arg(long, env = "LOYALTYD_NO_COMPRESSION", value_parser = switch)]
    pub no_compression: bool,

    /// Seconds that calls under way have to end when the service stops
    #[arg(long, env = "LOYALTYD_DRAIN_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,

    /// Size of the journal's files; smaller ones are for tests
    #[arg(long, env = "LOYALTYD_SEGMENT_BYTES", default_value_t = Limits::default().segment_bytes, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(65_536..=1 << 32))]
    pub segment_bytes: u64,

    /// Memory for changes that are durable and wait to be written to the look-up tables; half of it filled starts the writing
    #[arg(long, env = "LOYALTYD_WAITING_BYTES", default_value_t = Limits::default().waiting_bytes, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(65_536..=1 << 36))]
    pub waiting_bytes: u64,

    /// Commands sent one by one that may wait to be decided; more are refused with RESOURCE_EXHAUSTED
    #[arg(long, env = "LOYALTYD_QUEUE", default_value_t = Limits::default().queue, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(i64::from(MIN_QUEUE)..=1_000_000))]
    pub queue: u32,

    /// Threads that answer requests; by default as many as there are cores
    #[arg(long, env = "LOYALTYD_THREADS", value_name = "NUMBER")]
    pub threads: Option<NonZeroUsize>,

    /// What is logged: error, warn, info, debug, trace, or by module such as "info,loyaltyd::grpc=debug"
    #[arg(long, env = "LOYALTYD_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// How log lines look
    #[arg(long, env = "LOYALTYD_LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub connections: ConnectionArgs,

    #[command(flatten)]
    pub observe: ObserveArgs,
}

/// A service that can start.
#[derive(Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub programs: Vec<v1::Program>,
    pub operator_key: Option<[u8; 32]>,
    /// The clock can be set forward, and there is no AdminService.
    pub sandbox: bool,
    pub access: AccessConfig,
    /// Of the journal's closed files.
    pub compress: bool,
    pub drain: Duration,
    pub limits: Limits,
    pub connections: Connections,
    pub observe: Observe,
}

/// How much the service takes at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of the journal's files.
    pub segment_bytes: u64,
    /// Of changes that wait to be written to the look-up tables.
    pub waiting_bytes: u64,
    /// Of commands that wait to be decided, from [`MIN_QUEUE`] on.
    pub queue: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let store = Options::default();
        Self { segment_bytes: store.segment_bytes, waiting_bytes: store.overlay_bytes as u64, queue: QUEUE_BOUND }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs: Vec<&str> = self.programs.iter().map(|program| program.program_id.as_str()).collect();
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("data", &self.data)
            .field("programs", &programs)
            .field("operator_key", &self.operator_key.map(|_| "given"))
            .field("sandbox", &self.sandbox)
            .field("access", &self.access)
            .field("compress", &self.compress)
            .field("drain", &self.drain)
            .field("limits", &self.limits)
            .field("connections", &self.connections)
            .field("observe", &self.observe)
            .finish()
    }
}

/// What is wrong with the configuration, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("--listen {listen}: {why}")]
    Listen { listen: String, why: String },
    #[error(
        "--listen {0} can be reached from other machines, and neither are callers authenticated (--access) nor is anything encrypted \
         (TLS): listen on 127.0.0.1, or give --insecure where a proxy or the network keeps strangers out"
    )]
    Exposed(SocketAddr),
    #[error(
        "--listen {0} can be reached from other machines, and callers are not authenticated: give --access FILE, listen on 127.0.0.1, or give \
         --insecure where the network keeps strangers out"
    )]
    Unauthenticated(SocketAddr),
    #[error(
        "--listen {0} can be reached from other machines, and credentials and members would go over the network in the clear: serve with TLS, \
         listen on 127.0.0.1, or give --insecure where a proxy before it encrypts"
    )]
    Unencrypted(SocketAddr),
    #[error(
        "--admin-from-anywhere is for callers that are not authenticated; with --access AdminService answers principals of the role operator, \
         wherever they are: leave the flag out"
    )]
    AdminNeedless,
    #[error(
        "--grpc-web without --access lets any page that a browser on this machine or its network shows call the service, wherever it listens: \
         give --access FILE, or --insecure where no browser that others' pages are shown in can reach it"
    )]
    WebUnauthenticated,
    #[error("{0} closed shuts everybody out without --access FILE, which says who has a credential")]
    ClosedToAll(&'static str),
    #[error("{0}")]
    Tls(String),
    #[error(
        "--request-memory-bytes {bytes} is too little for requests as large as --max-request-bytes {largest} allows, which have to fit \
         into the half that one principal has: give {least} at least, or a smaller --max-request-bytes"
    )]
    RequestMemory { bytes: u64, least: u64, largest: u32 },
    #[error("--cors-origin {origin}: {why}")]
    Cors { origin: String, why: String },
    #[error("--program {}: {why}", path.display())]
    Program { path: PathBuf, why: String },
    #[error("--operator-key {}: {why}", path.display())]
    OperatorKey { path: PathBuf, why: String },
    #[error("--metrics-listen {listen}: {why}")]
    MetricsListen { listen: String, why: String },
    #[error(
        "--otlp-endpoint is not a URL such as http://127.0.0.1:4317: it has http or https, a host and a port, and no name and password, which \
         go into the variable OTEL_EXPORTER_OTLP_HEADERS"
    )]
    OtlpEndpoint,
    #[error("--log {filter}: {why}")]
    Log { filter: String, why: String },
}

/// Files of rule books, for want of `--program`; read here and not by the flags, so that commas separate in the variable alone.
const PROGRAM_VARIABLE: &str = "LOYALTYD_PROGRAM";

impl ServeArgs {
    /// What is logged.
    pub fn log_filter(&self) -> Result<EnvFilter, ConfigError> {
        EnvFilter::try_new(&self.log).map_err(|error| ConfigError::Log { filter: self.log.clone(), why: error.to_string() })
    }

    /// Checks everything that can be checked without starting, the rule books with every mistake named.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let listen = address(&self.listen).map_err(|why| ConfigError::Listen { listen: self.listen.clone(), why })?;
        let connections = self.connections.checked()?;
        let (has_tls, has_web) = (connections.tls.is_some(), connections.web.is_some());
        Ok(Config {
            connections,
            listen,
            data: self.data.clone(),
            programs: self.rule_books()?,
            sandbox: self.sandbox,
            access: self.access.config(listen, has_tls, has_web)?,
            operator_key: operator_key(self.operator_key.as_deref())?,
            compress: !self.no_compression,
            drain: Duration::from_secs(self.drain_seconds),
            limits: Limits { segment_bytes: self.segment_bytes, waiting_bytes: self.waiting_bytes, queue: self.queue },
            observe: self.observe.config()?,
        })
    }
}

impl ServeArgs {
    /// One for a programme: two would take each other's place at every start.
    fn rule_books(&self) -> Result<Vec<v1::Program>, ConfigError> {
        let mut programs: Vec<v1::Program> = Vec::new();
        let listed = if self.programs.is_empty() { listed_programs() } else { Vec::new() };
        for path in self.programs.iter().chain(&listed) {
            let program = read_rule_book(path)?;
            if programs.iter().any(|other| other.program_id == program.program_id) {
                let why = format!("another file is a rule book of programme {} too", program.program_id);
                return Err(ConfigError::Program { path: path.clone(), why });
            }
            programs.push(program);
        }
        Ok(programs)
    }
}

fn listed_programs() -> Vec<PathBuf> {
    let list = std::env::var_os(PROGRAM_VARIABLE).unwrap_or_default();
    let files = list.as_bytes().split(|byte| *byte == b',').filter(|file| !file.is_empty());
    files.map(|file| PathBuf::from(OsStr::from_bytes(file))).collect()
}

/// A flag as the environment gives it; an empty variable is one that is not set.
fn switch(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("neither 1, true, yes or on, nor 0, false, no or off"),
    }
}

fn address(listen: &str) -> Result<SocketAddr, String> {
    let mut addresses = listen.to_socket_addrs().map_err(|error| format!("is not an address and port: {error}"))?;
    addresses.next().ok_or_else(|| "names no address".to_owned())
}

fn read_rule_book(path: &Path) -> Result<v1::Program, ConfigError> {
    let wrong = |why: String| ConfigError::Program { path: path.to_owned(), why };
    let text = read_text(path, rule_book::MAX_BYTES as u64).map_err(wrong)?;
    let document = rule_book::read(&text).map_err(|error| wrong(error.to_string()))?;
    // The version and time that it will have do not bear on its mistakes.
    program::parse(&document, 1, jiff::Timestamp::UNIX_EPOCH).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {}: {}", mistake.path, mistake.message)).collect();
        wrong(format!("the rule book has {} mistakes:{}", mistakes.len(), lines.concat()))
    })?;
    Ok(document)
}

/// Takes an empty path too, as an empty variable gives it.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Reads the key that wraps the keys of members: a file of 32 bytes. An empty path is none.
pub fn operator_key(path: Option<&Path>) -> Result<Option<[u8; 32]>, ConfigError> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
    let wrong = |why: String| ConfigError::OperatorKey { path: path.to_owned(), why };
    let bytes = read_bounded(path, 4_096).map_err(wrong)?;
    let length = bytes.len();
    let key = <[u8; 32]>::try_from(bytes);
    key.map(Some).map_err(|_| wrong(format!("has {length} bytes; a key has 32, such as `head -c 32 /dev/urandom` makes")))
}

/// Reads a file of text as a whole.
pub fn read_text(path: &Path, bound: u64) -> Result<String, String> {
    String::from_utf8(read_bounded(path, bound)?).map_err(|_| "is not UTF-8 text".to_owned())
}

fn read_bounded(path: &Path, bound: u64) -> Result<Vec<u8>, String> {
    let file = open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut content = Vec::new();
    file.take(bound + 1).read_to_end(&mut content).map_err(|error| format!("cannot be read: {error}"))?;
    if content.len() as u64 > bound { Err(format!("has more than {bound} bytes")) } else { Ok(content) }
}

/// A pipe that nobody writes to has nothing in it, and a start does not wait for somebody who might; who writes is waited for.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}
