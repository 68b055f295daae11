//! `loyaltyd serve`.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CliError;
use crate::{app, config::ServeArgs, ledger::SystemClock, telemetry, version};

pub const EXAMPLES: &str = "\
Examples:
  loyaltyd serve --program examples/programs/vietnam.yaml
  loyaltyd serve --listen 127.0.0.1:6000 --data /var/lib/loyaltyd --log-format json
  LOYALTYD_DATA=/var/lib/loyaltyd LOYALTYD_PROGRAM=a.yaml,b.yaml loyaltyd serve

SIGTERM or SIGINT stops the service in order: it says that it is not ready, waits for the calls under way for --drain-seconds at \
most, writes the store out (which takes seconds at most times, longer on a slow disk) and exits with 0. Give it both times before it is \
killed. A second signal, or a kill, ends it at once and loses nothing that was answered: the next start reads it from the journal.";

pub fn run(args: &ServeArgs) -> Result<(), CliError> {
    let usage = |error: crate::config::ConfigError| CliError::Usage(error.to_string());
    let filter = args.log_filter().map_err(usage)?;
    let config = args.config().map_err(usage)?;
    telemetry::start(filter, args.log_format);
    tracing::info!("loyaltyd {}", version::long());
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        builder.worker_threads(threads.get());
    }
    let runtime = builder.enable_all().build().map_err(failed)?;
    let result = runtime.block_on(async {
        let mut stop = Stop::new().map_err(failed)?;
        let mut server = app::start(config, Arc::new(SystemClock)).await.map_err(not_started)?;
        tokio::select! {
            opened = server.ready() => opened.map_err(failed)?,
            signal = stop.signal() => return end(server, signal, stop).await,
        }
        tokio::select! {
            error = server.failed() => Err(failed(error)),
            signal = stop.signal() => end(server, signal, stop).await,
        }
    });
    // A ledger that is still being read is left alone: nothing waits for it.
    runtime.shutdown_background();
    result
}

async fn end(server: app::RunningServer, signal: &'static str, mut stop: Stop) -> Result<(), CliError> {
    tracing::info!("{signal}: stopping");
    tokio::select! {
        ended = server.shutdown() => ended.map_err(failed),
        signal = stop.signal() => Err(CliError::Failed(format!("{signal} while stopping: ended at once"))),
    }
}

fn not_started(error: app::AppError) -> CliError {
    match error {
        error @ app::AppError::Access { .. } => CliError::Usage(error.to_string()),
        error => failed(error),
    }
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

/// The signals that stop the service.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
