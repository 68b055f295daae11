//! Flags of what leaves the process for those who watch it: metrics and traces.

use std::net::SocketAddr;

use http::Uri;

use super::{ConfigError, address};
use crate::telemetry::traces::Collector;

#[derive(Debug, Clone, clap::Args)]
pub struct ObserveArgs {
    /// Serve metrics for Prometheus at http://ADDRESS:PORT/metrics. They hold no personal data, but tell of the business: keep strangers from it
    #[arg(long, env = "LOYALTYD_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,

    /// Send traces to a collector by OTLP over gRPC, such as http://127.0.0.1:4317
    #[arg(long, env = "LOYALTYD_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Share of the calls that are traced of those whose caller does not say by traceparent, from 0 to 1
    #[arg(long, env = "LOYALTYD_OTLP_SAMPLE_RATIO", default_value = "0.01", value_name = "RATIO", value_parser = ratio)]
    pub otlp_sample_ratio: f64,
}

/// Who watches; by default nobody.
#[derive(Debug, Clone, Default)]
pub struct Observe {
    pub metrics: Option<SocketAddr>,
    pub traces: Option<Collector>,
}

impl ObserveArgs {
    pub(super) fn config(&self) -> Result<Observe, ConfigError> {
        // An empty variable is one that is not set.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let wrong = |(listen, why)| ConfigError::MetricsListen { listen, why };
        let metrics = given(&self.metrics_listen).map(|listen| address(&listen).map_err(|why| wrong((listen, why)))).transpose()?;
        let traces = given(&self.otlp_endpoint).map(|endpoint| self.collector(endpoint)).transpose()?;
        Ok(Observe { metrics, traces })
    }

    fn collector(&self, endpoint: String) -> Result<Collector, ConfigError> {
        let uri = endpoint.parse::<Uri>().ok();
        let is_url = |uri: Uri| {
            let is_bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()) && is_bare
        };
        match uri.is_some_and(is_url) {
            true => Ok(Collector { endpoint, ratio: self.otlp_sample_ratio }),
            false => Err(ConfigError::OtlpEndpoint),
        }
    }
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("is no number from 0 to 1")
}
