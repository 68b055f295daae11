//! The composition root: the only file that knows every room. Opens the store beside a listener that already answers health, lets calls
//! through when the ledger is read, and ends in order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::StreamExt;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    config::Config,
    contract::v1,
    domain::{Fingerprint, ProgramId, Request, RequestId},
    grpc::{self, AdminFrom, Besides, Gate, Gathering, Health, Valve},
    ledger::{Clock, Ledger, LedgerError, SandboxClock, SandboxError, refuse_sandbox},
    store::{
        StoreError,
        embedded::{EmbeddedStore, Options},
    },
};

/// Calls under way on one connection; a client keeps more to itself until some are answered. As many do not make a burst that fills the
/// queue, and are more than keep a connection busy.
const MAX_CALLS_PER_CONNECTION: u32 = 128;
/// Calls on a connection that were given up before they were looked at.
const MAX_RESET_UNSEEN: usize = 1_024;
/// What a connection may send before it is read: by call, and in all.
const CALL_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// A silent connection is asked whether it still lives, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// While the service stops.
const WATCHES_ENDED_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the rule book of programme {program} cannot be published: {why}")]
    Publish { program: String, why: String },
    #[error("the server failed: {0}")]
    Server(#[from] tonic::transport::Error),
    #[error("a task of the service failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A service that listens.
pub struct RunningServer {
    pub address: SocketAddr,
    drain: Duration,
    gate: Arc<Gate>,
    health: Health,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    opening: Option<JoinHandle<Result<Ledger, AppError>>>,
    ledger: Option<Ledger>,
    /// Enters what is due by time alone, once calls are let through.
    schedule: Option<JoinHandle<()>>,
}

/// Binds the listener and begins to open the store. Health answers from now on; calls are let through when [`RunningServer::ready`]
/// returns.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<RunningServer, AppError> {
    let (clock, besides) = clock_and_besides(&config, clock)?;
    let failed = |source| AppError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let gate = Arc::new(Gate::default());
    let health = Health::starting(config.sandbox).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let valve = Valve::new(&gate);
    let turns = Arc::clone(&valve);
    let gathering = move |connection| Gathering::new(connection).with_valve(&valve);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).map(move |connection| connection.map(&gathering));
    let services = grpc::services(&gate, &health, &besides);
    let server = Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
        // With the usual bound of 20 a burst of deadlines that pass under load ends the connection, and with it the calls of everybody else
        // on it.
        .http2_max_pending_accept_reset_streams(Some(MAX_RESET_UNSEEN))
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .serve_with_incoming_shutdown(services, incoming, async {
            // A dropped sender means the same: stop.
            let _ = stopped.await;
        });
    let server = tokio::spawn(async move {
        tokio::select! {
            served = server => served,
            never = turns.run() => match never {},
        }
    });
    tracing::info!("listening on {address}");
    let drain = config.drain;
    let opening = tokio::spawn(open(config, clock, Arc::clone(&gate), health.clone()));
    Ok(RunningServer { address, drain, gate, health, stop, server, opening: Some(opening), ledger: None, schedule: None })
}

/// A sandbox's clock, or the one that was given; and the services that come with it.
fn clock_and_besides(config: &Config, clock: Arc<dyn Clock>) -> Result<(Arc<dyn Clock>, Besides), AppError> {
    if config.sandbox {
        let sandbox = Arc::new(SandboxClock::open(clock, &config.data)?);
        tracing::warn!("this is a sandbox: its clock can be set forward, and there are no backups");
        return Ok((Arc::clone(&sandbox) as Arc<dyn Clock>, Besides::Sandbox(sandbox)));
    }
    refuse_sandbox(&config.data)?;
    let from = if config.admin_from_anywhere { AdminFrom::Anywhere } else { AdminFrom::Loopback };
    Ok((clock, Besides::Admin(from)))
}

/// Reads the ledger, publishes the rule books that were given, and opens the gate.
async fn open(config: Config, clock: Arc<dyn Clock>, gate: Arc<Gate>, health: Health) -> Result<Ledger, AppError> {
    let options = Options {
        segment_bytes: config.limits.segment_bytes,
        overlay_bytes: usize::try_from(config.limits.waiting_bytes).unwrap_or(usize::MAX),
        operator_key: config.operator_key,
        compress: config.compress,
        ..Options::default()
    };
    let queue = config.limits.queue;
    let opened = tokio::task::spawn_blocking(move || {
        let store = EmbeddedStore::open(&config.data, options)?;
        Ok::<_, AppError>(Ledger::open_bounded(Arc::new(store), clock, queue)?)
    });
    let ledger = opened.await??;
    for document in config.programs {
        publish(&ledger, document).await?;
    }
    gate.open(ledger.clone());
    health.serving().await;
    tracing::info!("serving");
    Ok(ledger)
}

async fn publish(ledger: &Ledger, mut document: v1::Program) -> Result<(), AppError> {
    let program = document.program_id.clone();
    // What was to hold from then on holds now.
    let now = ledger.now();
    document.effective_time.take_if(|time| (time.seconds, time.nanos) <= (now.as_second(), now.subsec_nanosecond()));
    if document.effective_time.is_some() && holds_already(ledger, &document) {
        tracing::info!(%program, "the first version of the rule book holds at once, whatever its effective_time says");
        document.effective_time = None;
    }
    let failed = |why: String| AppError::Publish { program: program.clone(), why };
    let invalid = |error: LedgerError| match error {
        LedgerError::ProgramInvalid(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {}: {}", mistake.path, mistake.message)).collect();
            failed(format!("it has {} mistakes:{}", mistakes.len(), lines.concat()))
        }
        other => failed(other.to_string()),
    };
    let newest = match ledger.validate(&document) {
        // What somebody has published to hold later is not taken back by a start, nor kept from starting.
        Err(error @ LedgerError::VersionWaiting { .. }) => {
            tracing::warn!(%program, "the rule book is not published: {error}");
            return Ok(());
        }
        validated => validated.map_err(invalid)?,
    };
    if !newest.changed {
        tracing::info!(%program, version = newest.document.version, "rule book unchanged");
        return Ok(());
    }
    // Each start is an intention of its own: a book that was published before and then replaced is published again.
    let id = RequestId::new(&format!("serve-{}", uuid::Uuid::now_v7())).expect("a prefix and a UUID are a request id");
    let request = Request { id, fingerprint: Fingerprint([0; 16]) };
    ledger.publish(request, document).await.map_err(invalid)?;
    Ok(())
}

/// The programme does not exist yet, and there is no version to judge before this one; or the first version was published so, says the same,
/// and is the only one.
fn holds_already(ledger: &Ledger, document: &v1::Program) -> bool {
    let Ok(id) = ProgramId::new(&document.program_id) else { return false };
    let undated = v1::Program { effective_time: None, ..document.clone() };
    match ledger.document(&id, None) {
        Err(_) => true,
        Ok((published, waiting)) => {
            published.version == 1 && waiting.is_empty() && ledger.validate(&undated).is_ok_and(|validated| !validated.changed)
        }
    }
}

impl RunningServer {
    /// Returns when the ledger is read and calls are let through.
    pub async fn ready(&mut self) -> Result<(), AppError> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            let ledger = opened??;
            let scheduled = ledger.clone();
            self.schedule = Some(tokio::spawn(async move { scheduled.keep_schedule().await }));
            self.ledger = Some(ledger);
        }
        Ok(())
    }

    /// Returns only if the listener fails.
    pub async fn failed(&mut self) -> AppError {
        match (&mut self.server).await {
            Ok(Ok(())) => AppError::Listen { address: self.address, source: std::io::ErrorKind::ConnectionAborted.into() },
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        }
    }

    /// Not ready; no new connections and calls; waits for the calls under way, for as long as the configuration says; then closes the
    /// ledger.
    pub async fn shutdown(mut self) -> Result<(), AppError> {
        if let Some(opening) = self.opening.take() {
            // First of all, or it could say that it serves after this has said that it stops. A ledger that is still being read has nothing
            // to lose; one that was ready already is closed below.
            opening.abort();
            self.ledger = opening.await.ok().and_then(Result::ok);
        }
        self.health.stopping().await;
        self.gate.close();
        // The server has ended by itself if nobody takes this.
        let _ = self.stop.send(());
        let drained = async {
            loop {
                // Again and again: who watches health may come back on a connection that has not been told yet.
                self.health.end_watches().await;
                if tokio::time::timeout(WATCHES_ENDED_EVERY, &mut self.server).await.is_ok() {
                    break;
                }
            }
        };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!("calls were still under way after {} s; they are cut off", self.drain.as_secs());
            self.server.abort();
        }
        if let Some(schedule) = self.schedule.take() {
            schedule.abort();
            // Aborted, or ended before.
            let _ = schedule.await;
        }
        if let Some(ledger) = self.ledger.take() {
            tokio::task::spawn_blocking(move || ledger.close()).await??;
        }
        tracing::info!("stopped");
        Ok(())
    }
}
