//! The text that Prometheus reads, as OpenMetrics has it. The library writes it; here is what makes a line of each metric short.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::store::Seen;

const NANOS: f64 = 1e9;

/// The labels of a sample.
type Labels<'l> = Vec<(&'l str, &'l str)>;

/// What is told of one instant.
pub(super) trait Told: fmt::Debug + Send + Sync + 'static {
    fn tell(&self, page: &mut Page<'_>) -> fmt::Result;
}

pub(super) fn text(told: impl Told) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(told)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Collected<T>(T);

impl<T: Told> Collector for Collected<T> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.tell(&mut Page(encoder))
    }
}

/// A page of metrics that is being written.
pub(super) struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    /// Labels that say what something is; the name gets `_info` behind it.
    pub fn info(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub fn gauges<'l>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'l>, f64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// The name gets `_total` behind it.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// The same of several.
    pub fn counters<'l>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'l>, f64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Of durations.
    pub fn times(&mut self, name: &str, help: &str, seen: &Seen) -> fmt::Result {
        self.histograms(name, help, NANOS, [(Vec::new(), seen)])
    }

    pub fn sizes(&mut self, name: &str, help: &str, seen: &Seen) -> fmt::Result {
        self.histograms(name, help, 1.0, [(Vec::new(), seen)])
    }

    pub fn times_of<'l>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'l>, &'l Seen)>) -> fmt::Result {
        self.histograms(name, help, NANOS, samples)
    }

    fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: f64,
        samples: impl IntoIterator<Item = (Labels<'l>, &'l Seen)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, seen) in samples {
            let bounds = seen.bounds.iter().map(|bound| *bound as f64 / unit).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(seen.counts.iter().copied()).collect();
            let sum = seen.sum as f64 / unit;
            match labels.is_empty() {
                true => histogram(&mut family, sum, seen.count(), &buckets)?,
                false => histogram(&mut family.encode_family(&labels)?, sum, seen.count(), &buckets)?,
            }
        }
        Ok(())
    }
}

fn histogram(encoder: &mut MetricEncoder<'_>, sum: f64, count: u64, buckets: &[(f64, u64)]) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
}
