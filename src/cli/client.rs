//! What the subcommands that talk to a running server share: how to connect ([`reach`]), how to try again.

mod reach;

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub use crate::grpc::code_name;

use super::CliError;

pub use reach::{ApiChannel, Credential, Reach, ReachArgs, ServerArgs, Stream};

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
    match std::error::Error::source(status) {
        // Who is not trusted does not become another one by waiting.
        Some(cause) => reach::advice(cause).is_none(),
        None => matches!(status.code(), Code::Unavailable | Code::ResourceExhausted),
    }
}

/// When the same request may be sent again at the earliest, as the service says.
pub fn asked(status: &Status) -> Duration {
    status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default().min(LONGEST_ASKED)
}

/// The `reason` of google.rpc.ErrorInfo, or the code's name.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(|| code_name(status.code()), |info| info.reason)
}

/// Of a connection that was there.
const LOST: &str = "The connection ended without an answer: is the server there yet? One with TLS is named with https://";

/// An answer that ends the subcommand.
pub fn failed(status: &Status) -> CliError {
    let cause = std::error::Error::source(status);
    let causes = cause.map(|cause| format!(" ({})", chain(cause))).unwrap_or_default();
    let advice = cause.map(|cause| format!(". {}", reach::advice(cause).unwrap_or(LOST))).unwrap_or_default();
    CliError::Failed(format!("{}: {}{causes}{advice}", reason(status), status.message()))
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
