//! The numbers, for people and as JSON.

use serde_json::{Value, json};

use super::{
    load::{Shape, Tally},
    storage::Storage,
    workload::Scenario,
};

/// One measured scenario.
pub struct Measured {
    pub scenario: Scenario,
    pub connections: usize,
    pub shape: Shape,
    pub tally: Tally,
    /// Empty calls per second with the same connections and calls in flight, in the same run; `None` for the empty call itself.
    pub empty_rate: Option<f64>,
}

impl Measured {
    pub fn rate(&self) -> f64 {
        self.tally.done as f64 / self.shape.duration.as_secs_f64()
    }

    pub fn failed(&self) -> u64 {
        self.tally.errors.values().sum()
    }

    fn ratio(&self) -> Option<f64> {
        self.empty_rate.filter(|rate| *rate > 0.0).map(|rate| self.rate() / rate)
    }
}

pub fn print_header() {
    println!(
        "{:<11} {:>5} {:>9} {:>11} {:>7} {:>9} {:>9} {:>9} {:>9}  errors",
        "scenario", "conns", "in flight", "per second", "ratio", "p50 ms", "p90 ms", "p99 ms", "max ms"
    );
}

pub fn print_row(measured: &Measured) {
    let ratio = measured.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}"));
    let milliseconds = |quantile| measured.tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let errors = measured.tally.errors.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ");
    println!(
        "{:<11} {:>5} {:>9} {:>11.0} {ratio:>7} {:>9.3} {:>9.3} {:>9.3} {:>9.3}  {errors}",
        measured.scenario.name(),
        measured.connections,
        measured.shape.in_flight,
        measured.rate(),
        milliseconds(0.5),
        milliseconds(0.9),
        milliseconds(0.99),
        measured.tally.latency.max() as f64 / 1000.0,
    );
}

/// `storage` of the own server; of another one it is not known.
pub fn as_json(all: &[Measured], members: u64, skew: &str, storage: Option<&Storage>) -> Value {
    let rows: Vec<Value> = all.iter().map(row).collect();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "processors": processors,
        "members": members,
        "skew": skew,
        "storage": storage.map(Storage::as_json),
        "scenarios": rows,
    })
}

fn row(measured: &Measured) -> Value {
    let latency = &measured.tally.latency;
    json!({
        "scenario": measured.scenario.name(),
        "connections": measured.connections,
        "in_flight": measured.shape.in_flight,
        "seconds": measured.shape.duration.as_secs_f64(),
        "done": measured.tally.done,
        "per_second": measured.rate(),
        "empty_per_second": measured.empty_rate,
        "ratio_to_empty": measured.ratio(),
        "latency_microseconds": {
            "p50": latency.value_at_quantile(0.5),
            "p90": latency.value_at_quantile(0.9),
            "p99": latency.value_at_quantile(0.99),
            "max": latency.max(),
        },
        "errors": measured.tally.errors,
    })
}
