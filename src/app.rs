//! The composition root: the only file that knows every room. Opens the store beside a listener that already answers health, lets calls
//! through when the ledger is read, and ends in order.

mod certificate;
mod observing;

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tonic::transport::Server;

use crate::{
    config::{
        Config, Connections, Openness,
        connections::Origins,
        read_text, reread,
        tls::{self, TlsError},
    },
    contract::{Violation, v1},
    domain::{Fingerprint, ProgramId, Request, RequestId},
    grpc::{
        self, About, Access, AdminFrom, Besides, Door, Front, Gate, Guard, Health, RequestBounds, RequestMemory, Services, Valve,
        connections::{Bounds, Incoming},
    },
    ledger::{Clock, Ledger, LedgerError, SandboxClock, SandboxError, refuse_sandbox},
    store::{
        StoreError,
        embedded::{EmbeddedStore, Options},
    },
    telemetry::traces::TracesError,
};

use observing::Observing;

/// What a connection may send before it is read: by call, and in all.
const CALL_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// While the service stops.
const WATCHES_ENDED_EVERY: Duration = Duration::from_millis(200);

/// What to do about it, where that is known.
fn to_listen(error: &std::io::Error, flag: &str) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!(". Another process listens there, this service perhaps: stop it, or name another port with {flag}"),
        ErrorKind::AddrNotAvailable => format!(". This machine has no such address: name one of its own with {flag}"),
        ErrorKind::PermissionDenied => format!(". Ports below 1024 are for those who may: name another one with {flag}"),
        _ => String::new(),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot listen on {address}: {source}{}", to_listen(source, "--listen"))]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("--access {}: {why}", path.display())]
    Access { path: PathBuf, why: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address} for metrics: {source}{}", to_listen(source, "--metrics-listen"))]
    MetricsListen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Traces(#[from] TracesError),
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
    /// Where metrics are read, if they are.
    pub metrics_address: Option<SocketAddr>,
    drain: Duration,
    gate: Arc<Gate>,
    health: Health,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    opening: Option<JoinHandle<Result<Ledger, AppError>>>,
    ledger: Option<Ledger>,
    /// Enters what is due by time alone, once calls are let through.
    schedule: Option<JoinHandle<()>>,
    /// Takes changes of the access file, and reads the keys of issuers again.
    access: Option<JoinHandle<()>>,
    observing: Observing,
}

/// Binds the listener and begins to open the store. Health answers from now on; calls are let through when [`RunningServer::ready`]
/// returns.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<RunningServer, AppError> {
    // By the machine's clock, whatever a sandbox's says.
    let (door, access) = door(&config, &clock)?;
    let (clock, besides) = clock_and_besides(&config, clock)?;
    let mut observing = Observing::start(&config.observe).await?;
    let failed = |source| AppError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let memory = RequestMemory::of(request_bounds(&config.connections));
    let gate = Arc::new(Gate::of(about(&config)).with_stall(config.connections.stall).with_memory(memory));
    let health = Health::starting(config.sandbox).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let valve = Valve::new(&gate);
    let services = grpc::services(&gate, &health, &besides, door, config.connections.request_bytes).watched_by(observing.watch());
    let services = services.with_longest(config.connections.call);
    let (incoming, following) = incoming(listener, &config, &valve)?;
    observing.serve(&gate, (&valve, incoming.refused()), &config);
    let serving = serve(services, incoming, config.connections.clone(), stopped);
    let server = tokio::spawn(async move {
        tokio::select! {
            served = serving => served,
            never = valve.run() => match never {},
            never = following => match never {},
        }
    });
    tracing::info!("listening on {address}");
    let (drain, metrics_address) = (config.drain, observing.metrics_address());
    let access = access.map(|keeping| tokio::spawn(keeping));
    let opening = tokio::spawn(open(config, clock, Arc::clone(&gate), health.clone()));
    Ok(RunningServer {
        address,
        metrics_address,
        drain,
        gate,
        health,
        stop,
        server,
        opening: Some(opening),
        ledger: None,
        schedule: None,
        access,
        observing,
    })
}

fn request_bounds(connections: &Connections) -> RequestBounds {
    let Connections { request_memory_bytes: bytes, request_bytes: message, call: patience, .. } = *connections;
    RequestBounds { bytes, message, patience }
}

/// What callers are told of this server.
fn about(config: &Config) -> About {
    About {
        start_time: jiff::Timestamp::now(),
        sandbox: config.sandbox,
        tls: config.connections.tls.is_some(),
        callers_authenticated: config.access.file.is_some(),
        queue_commands: config.limits.queue,
        connection_calls: config.connections.streams,
        request_bytes: config.connections.request_bytes,
    }
}

/// Who is let in; and what keeps the access file as it is on disk.
fn door(config: &Config, clock: &Arc<dyn Clock>) -> Result<(Door, Option<impl Future<Output = ()> + use<>>), AppError> {
    let Some(path) = config.access.file.clone() else {
        let is_loopback = config.listen.ip().to_canonical().is_loopback();
        let reach = if is_loopback { "from this machine alone" } else { "from other machines too, as --insecure allows" };
        tracing::warn!(
            "callers are not authenticated: whoever reaches the service, {reach}, may do everything (--access FILE says who may do what)"
        );
        return Ok((Door::open_to_all(config.access.requests_per_second), None));
    };
    // Before it is read, so that no change is missed.
    let (changed, changes) = watch::channel(());
    let following = reread::whenever_changed(vec![path.clone()], config.access.look_every, move || changed.send_replace(()));
    let text = read_access(&path).map_err(|why| AppError::Access { path: path.clone(), why })?;
    let access = Access::open_limited(&text, Arc::clone(clock), config.access.requests_per_second);
    let access = access.map_err(|mistakes| AppError::Access { path: path.clone(), why: all_mistakes(&mistakes) })?;
    let (api_keys, certificates, issuers) = access.counts();
    tracing::info!(api_keys, certificates, issuers, "callers are authenticated, as {} says", path.display());
    let is_open = |openness| match openness {
        Openness::Open => true,
        Openness::Closed => false,
    };
    let guard = Guard {
        access: Arc::clone(&access),
        is_reflection_open: is_open(config.access.reflection),
        is_health_open: is_open(config.access.health),
    };
    let keeping = async move {
        let taking = take_changes(Arc::clone(&access), path, changes);
        tokio::join!(following, taking, access.keep_keys());
    };
    Ok((Door::Guarded(guard), Some(keeping)))
}

fn read_access(path: &Path) -> Result<String, String> {
    read_text(path, grpc::access::MAX_FILE_BYTES as u64)
}

fn all_mistakes(mistakes: &[Violation]) -> String {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {}: {}", mistake.path, mistake.message)).collect();
    format!("the file has {} mistakes:{}", mistakes.len(), lines.concat())
}

/// A large file takes longer to read than other tasks can wait.
async fn take_changes(access: Arc<Access>, path: PathBuf, mut changes: watch::Receiver<()>) {
    while changes.changed().await.is_ok() {
        let (access, path) = (Arc::clone(&access), path.clone());
        // It is cut short only when the runtime ends.
        if tokio::task::spawn_blocking(move || take_access(&access, &path)).await.is_err() {
            return;
        }
    }
}

/// The file has changed.
fn take_access(access: &Access, path: &Path) {
    let taken = read_access(path).and_then(|text| access.replace(&text).map_err(|mistakes| all_mistakes(&mistakes)));
    let path = path.display();
    match taken {
        Ok(()) => {
            let (api_keys, certificates, issuers) = access.counts();
            tracing::info!(api_keys, certificates, issuers, "--access {path}: the file has changed, and holds from now on");
        }
        Err(why) => tracing::error!("--access {path}: the file has changed, and what it said before stays in force, for {why}"),
    }
}

/// The listener's connections, and the work of keeping up with the certificate's files.
fn incoming(
    listener: TcpListener,
    config: &Config,
    valve: &Arc<Valve>,
) -> Result<(Incoming, impl Future<Output = Infallible> + use<>), TlsError> {
    tls::provider();
    let connections = &config.connections;
    let http_1 = connections.web.is_some();
    let followed = connections.tls.clone().map(|files| certificate::follow(files, http_1, connections.tls_read_every)).transpose()?;
    let (certificate, following) = followed.unzip();
    let bounds = Bounds {
        connections: connections.most as usize,
        per_address: connections.most_per_address as usize,
        handshakes: connections.most_handshakes as usize,
        handshake: connections.handshake,
        stall: connections.stall,
        credential: config.access.file.is_some().then_some(connections.credential),
    };
    let following = async move {
        if let Some(following) = following {
            following.await;
        }
        std::future::pending().await
    };
    Ok((Incoming::new(listener, certificate, bounds, valve), following))
}

/// Until it is told to stop, and the connections have ended.
async fn serve(
    services: Services,
    incoming: Incoming,
    connections: Connections,
    stopped: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let web = connections.web.as_ref().map(|web| match &web.origins {
        Origins::All => grpc::Origins::All,
        Origins::These(origins) => grpc::Origins::These(origins.clone()),
    });
    let resets = Some(connections.resets as usize);
    Server::builder()
        .accept_http1(web.is_some())
        .max_concurrent_streams(connections.streams)
        // With the usual bound of 20 a burst of deadlines that pass under load ends the connection, and with it the calls of everybody else
        // on it.
        .http2_max_pending_accept_reset_streams(resets)
        // Of calls that are refused by the protocol. Tonic sets no bound if none is given, whatever those below it do.
        .http2_max_local_error_reset_streams(resets)
        .http2_max_header_list_size(connections.header_bytes)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(connections.keepalive))
        .http2_keepalive_timeout(Some(connections.keepalive))
        .serve_with_incoming_shutdown(Front::new(services, connections.call, web), incoming, async {
            // A dropped sender means the same: stop.
            let _ = stopped.await;
        })
        .await
}

/// A sandbox's clock, or the one that was given; and the services that come with it.
fn clock_and_besides(config: &Config, clock: Arc<dyn Clock>) -> Result<(Arc<dyn Clock>, Besides), AppError> {
    if config.sandbox {
        let sandbox = Arc::new(SandboxClock::open(clock, &config.data)?);
        tracing::warn!("this is a sandbox: its clock can be set forward, and there are no backups");
        return Ok((Arc::clone(&sandbox) as Arc<dyn Clock>, Besides::Sandbox(sandbox)));
    }
    refuse_sandbox(&config.data)?;
    // Operators, wherever they are; or, of callers that nobody knows, those on this machine.
    let from = if config.access.file.is_some() || config.access.admin_from_anywhere { AdminFrom::Anywhere } else { AdminFrom::Loopback };
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
        for task in [self.schedule.take(), self.access.take()].into_iter().flatten() {
            task.abort();
            // Aborted, or ended before.
            let _ = task.await;
        }
        if let Some(ledger) = self.ledger.take() {
            tokio::task::spawn_blocking(move || ledger.close()).await??;
        }
        self.observing.stop(self.drain).await;
        tracing::info!("stopped");
        Ok(())
    }
}
