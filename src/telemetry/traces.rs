//! Traces leave by OTLP over gRPC. Spans wait in a bounded queue for a thread that sends them in batches; when the collector does not take them
//! they are lost and counted, and no call waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanLimits,
        SpanProcessor,
    },
};
use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::version;

/// Spans that wait or are being sent, at most.
const MAX_WAITING: usize = 2_048;
const BATCH: usize = 512;
/// Spans wait so long for others.
const DELAY: Duration = Duration::from_secs(1);
/// For the collector to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A span has a handful.
const MAX_ATTRIBUTES: u32 = 16;

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// http://host:port, or https.
    pub endpoint: String,
    /// Of calls whose caller does not say: from 0 to 1.
    pub ratio: f64,
}

#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to {endpoint}: {why}")]
pub struct TracesError {
    endpoint: String,
    why: String,
}

/// What became of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    pub exported: u64,
    /// The collector did not take them.
    pub failed: u64,
    /// Too many waited.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// Traces that are being sent.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

impl Traces {
    /// The collector is not asked for yet: one that is not there is found out with the first spans. Within a runtime.
    pub fn start(collector: &Collector) -> Result<Self, TracesError> {
        let wrong = |why: String| TracesError { endpoint: collector.endpoint.clone(), why };
        let endpoint = Endpoint::from_shared(collector.endpoint.clone()).map_err(|error| wrong(error.to_string()))?;
        let mut endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(|error| wrong(error.to_string()))?;
        }
        let exporter =
            opentelemetry_otlp::SpanExporter::builder().with_tonic().with_channel(endpoint.connect_lazy()).with_timeout(PATIENCE);
        let exporter = exporter.build().map_err(|error| wrong(error.to_string()))?;
        let counts = Arc::<Counts>::default();
        let reported =
            Reported { exporter, counts: Arc::clone(&counts), endpoint: collector.endpoint.clone(), is_failing: AtomicBool::new(false) };
        let config =
            BatchConfigBuilder::default().with_max_queue_size(MAX_WAITING).with_max_export_batch_size(BATCH).with_scheduled_delay(DELAY);
        let batches = BatchSpanProcessor::builder(reported).with_batch_config(config.build()).build();
        let limits =
            SpanLimits { max_attributes_per_span: MAX_ATTRIBUTES, max_events_per_span: 0, max_links_per_span: 0, ..SpanLimits::default() };
        let resource = Resource::builder().with_service_name("loyaltyd").with_attribute(KeyValue::new("service.version", version::VERSION));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(collector.ratio))))
            .with_span_limits(limits)
            .with_resource(resource.build())
            .with_span_processor(Bounded { batches, counts: Arc::clone(&counts) })
            .build();
        Ok(Self { provider, counts })
    }

    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("loyaltyd")
    }

    /// To read what became of spans, for as long as somebody asks.
    pub fn counted(&self) -> impl Fn() -> SpanCounts + Send + Sync + 'static {
        let counts = Arc::clone(&self.counts);
        move || counts.read()
    }

    /// Sends what waits, within the time; what is not sent then is lost. Blocks.
    pub fn stop(self, within: Duration) {
        // What went wrong was told by the exporter already.
        let _ = self.provider.shutdown_with_timeout(within.min(PATIENCE));
        let SpanCounts { exported, failed, dropped } = self.counts.read();
        let waiting = self.counts.waiting.load(Ordering::Relaxed);
        if failed > 0 || dropped > 0 || waiting > 0 {
            tracing::warn!(exported, failed, dropped, unsent = waiting, "spans of traces were lost");
        }
    }
}

impl Counts {
    fn read(&self) -> SpanCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SpanCounts { exported: load(&self.exported), failed: load(&self.failed), dropped: load(&self.dropped) }
    }
}

/// Lets no more spans wait than the bound, and counts those that it turns away: the library would not tell of them.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.batches.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING {
            self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
            if self.counts.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("more spans of traces come than the collector takes: some are dropped from here on, and counted");
            }
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what was sent, and tells of it when the collector begins to fail and when it takes spans again.
#[derive(Debug)]
struct Reported {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
    endpoint: String,
    is_failing: AtomicBool,
}

/// What to do where it is known.
fn hint(error: &str) -> &'static str {
    if error.contains("UnknownIssuer") {
        ": its certificate is of an authority that is not trusted here; name the file of that (PEM) in the variable SSL_CERT_FILE"
    } else {
        ""
    }
}

impl SpanExporter for Reported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.exporter.export(batch).await;
        self.counts.waiting.fetch_sub(count, Ordering::AcqRel);
        let (counter, fails) = match &sent {
            Ok(()) => (&self.counts.exported, false),
            Err(_) => (&self.counts.failed, true),
        };
        counter.fetch_add(count as u64, Ordering::Relaxed);
        if self.is_failing.swap(fails, Ordering::Relaxed) != fails {
            match &sent {
                Ok(()) => tracing::info!(endpoint = self.endpoint, "traces are sent again"),
                Err(error) => {
                    let hint = hint(&error.to_string());
                    tracing::warn!(endpoint = self.endpoint, %error, "the collector takes no traces; spans are lost until it does{hint}")
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
