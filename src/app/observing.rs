//! Brings together who watches the service and what it counts of itself: the rooms keep plain numbers, `telemetry` knows what they are called
//! outside.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

use super::AppError;
use crate::{
    config::{Config, Observe},
    grpc::{CallStatistics, Calls, Gate, ServerState, Valve, Watch, connections::Refused},
    telemetry::{
        metrics::{CallSeries, RequestMemory, Scrape, State},
        process::Process,
        scraping::{self, Render},
        traces::{SpanCounts, Traces},
    },
};

/// Who watches, from before the service listens until it has stopped.
pub(super) struct Observing {
    watch: Watch,
    listener: Option<(SocketAddr, TcpListener)>,
    metrics: Option<(SocketAddr, JoinHandle<()>)>,
    traces: Option<Traces>,
}

impl Observing {
    /// Binds the port of the metrics, so that a start that cannot have it fails before anything else is done.
    pub async fn start(observe: &Observe) -> Result<Self, AppError> {
        let listener = match observe.metrics {
            Some(address) => {
                let failed = |source| AppError::MetricsListen { address, source };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                Some((listener.local_addr().map_err(failed)?, listener))
            }
            None => None,
        };
        let traces = observe.traces.as_ref().map(Traces::start).transpose()?;
        let calls = listener.as_ref().map(|_| Arc::<Calls>::default());
        let watch = Watch { calls, tracer: traces.as_ref().map(Traces::tracer) };
        Ok(Self { watch, listener, metrics: None, traces })
    }

    /// What watches the calls.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Answers who reads metrics, from now on.
    pub fn serve(&mut self, gate: &Arc<Gate>, (valve, refused): (&Arc<Valve>, &Arc<Refused>), config: &Config) {
        if let Some((address, listener)) = self.listener.take() {
            let counted = self.traces.as_ref().map(|traces| Box::new(traces.counted()) as Spans);
            let calls = self.watch.calls.clone().unwrap_or_default();
            let (gate, valve, refused) = (Arc::clone(gate), Arc::clone(valve), Arc::clone(refused));
            let sources = Sources { gate, valve, refused, calls, counted, data: config.data.clone() };
            let render: Render = Arc::new(move || sources.scrape().text());
            let task = tokio::spawn(async move { match scraping::serve(listener, render).await {} });
            tracing::info!("metrics are at http://{address}/metrics");
            if !address.ip().to_canonical().is_loopback() {
                tracing::warn!(
                    "--metrics-listen {address} answers whoever reaches it, without a credential and in the clear, and its numbers tell of the \
                     business: let only those who watch reach it, or listen on 127.0.0.1"
                );
            }
            self.metrics = Some((address, task));
        }
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// Sends the traces that wait, within the time, and answers nobody any more.
    pub async fn stop(self, within: Duration) {
        if let Some(traces) = self.traces {
            // It is cut short only when the runtime ends.
            let _ = tokio::task::spawn_blocking(move || traces.stop(within)).await;
        }
        if let Some((_, task)) = self.metrics {
            task.abort();
            // Aborted, or ended before.
            let _ = task.await;
        }
    }
}

type Spans = Box<dyn Fn() -> SpanCounts + Send + Sync>;

/// Where numbers are from.
struct Sources {
    gate: Arc<Gate>,
    valve: Arc<Valve>,
    refused: Arc<Refused>,
    calls: Arc<Calls>,
    counted: Option<Spans>,
    data: PathBuf,
}

impl Sources {
    fn scrape(&self) -> Scrape {
        let calls = self.calls.statistics();
        let state = match self.gate.state() {
            ServerState::Reading => State::Reading,
            ServerState::Serving => State::Serving,
            ServerState::Stopping => State::Stopping,
        };
        let ledger = self.gate.opened().and_then(|ledger| match ledger.statistics() {
            Ok(statistics) => Some(statistics),
            Err(error) => {
                tracing::warn!(%error, "the ledger cannot be asked for its numbers; the other metrics are told without them");
                None
            }
        });
        Scrape {
            start_time: self.gate.start_time().map_or(0.0, |time| time.as_microsecond() as f64 / 1e6),
            state,
            connections: self.valve.connections(),
            refused: self.refused.counts(),
            request_memory: request_memory(&self.gate),
            backups: calls.iter().filter(|call| call.method == "StreamBackup").map(|call| call.under_way).sum(),
            calls: calls.into_iter().map(series).collect(),
            ledger,
            spans: self.counted.as_ref().map(|counted| counted()),
            process: Process::now(existing(&self.data)),
        }
    }
}

fn request_memory(gate: &Gate) -> RequestMemory {
    let memory = gate.memory();
    RequestMemory { taken: memory.taken() as u64, bound: memory.bound() as u64, refused: memory.refused() }
}

fn series(call: CallStatistics) -> CallSeries {
    let CallStatistics { service, method, under_way, codes, durations } = call;
    let codes = codes.into_iter().map(|(code, count)| (crate::grpc::code_name(code), count)).collect();
    CallSeries { service, method, under_way, codes, durations }
}

/// The folder, or the one that it will be made in.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."))
}
