//! What the subcommands that talk to a running server share: where it is, how to connect, how to try again.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::CliError;

/// The longest pause between two attempts, unless the service asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// However long a server asks to wait.
const LONGEST_ASKED: Duration = Duration::from_secs(30);
/// The first pause; it doubles from attempt to attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a silent connection is trusted.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// The running server: host:port or http://host:port
    #[arg(long, value_name = "ADDRESS", env = "LOYALTYD_SERVER", default_value = "127.0.0.1:50051")]
    pub server: String,
}

impl ServerArgs {
    /// A channel that connects when it is first used and again whenever the connection breaks.
    pub fn channel(&self) -> Result<Channel, CliError> {
        Ok(endpoint(&self.server)?.connect_lazy())
    }

    /// A connected channel.
    pub async fn connect(&self) -> Result<Channel, CliError> {
        let endpoint = endpoint(&self.server)?;
        endpoint.connect().await.map_err(|error| {
            CliError::Failed(format!(
                "no server answers at {} ({}). Start one with `loyaltyd serve`, or name it with --server",
                self.server,
                chain(&error)
            ))
        })
    }
}

fn endpoint(server: &str) -> Result<Endpoint, CliError> {
    if server.starts_with("https://") {
        return Err(CliError::Usage(
            "--server: TLS is not supported by this client; name a plain-text address, such as a proxy's on this machine".into(),
        ));
    }
    let uri = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let endpoint =
        Endpoint::from_shared(uri).map_err(|_| CliError::Usage(format!("--server: {server} is not an address such as 127.0.0.1:50051")))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20))
}

/// Ends with the name of the signal when the user or the system asks to stop. It listens from the call on.
pub fn stop_signal() -> Result<impl Future<Output = &'static str>, CliError> {
    let listen = |kind| signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Whether the same request may be sent again: the service said so, or the connection broke and nobody knows what became of it.
pub fn transient(status: &Status) -> bool {
    let broken = std::error::Error::source(status).is_some();
    broken || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// When the same request may be sent again at the earliest, as the service says.
pub fn asked(status: &Status) -> Duration {
    status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default().min(LONGEST_ASKED)
}

/// The `reason` of google.rpc.ErrorInfo, or the code's name.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| code_name(status.code()), |info| info.reason)
}

/// Such as `NOT_FOUND`.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// An answer that ends the subcommand.
pub fn failed(status: &Status) -> CliError {
    let causes = std::error::Error::source(status).map(|cause| format!(" ({})", chain(cause))).unwrap_or_default();
    CliError::Failed(format!("{}: {}{causes}", reason(status), status.message()))
}

/// Tries again with growing pauses, for a bounded time without progress.
#[derive(Debug, Clone)]
pub struct Backoff {
    budget: Duration,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    pub fn new(budget: Duration) -> Self {
        Self { budget, failing_since: None, pause: FIRST_PAUSE }
    }

    /// Something worked: the time starts anew.
    pub fn progress(&mut self) {
        self.failing_since = None;
        self.pause = FIRST_PAUSE;
    }

    /// Waits before the next attempt, or returns the failure for good when it is final or the time is over.
    pub async fn wait(&mut self, status: Status) -> Result<(), Status> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if !transient(&status) || since.elapsed() >= self.budget {
            return Err(status);
        }
        tokio::time::sleep(self.pause.max(asked(&status))).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
