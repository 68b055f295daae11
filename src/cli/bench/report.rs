//! The numbers, for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::{load::Shape, machine::Machine, storage::Storage, tally::Tally, workload::Scenario};

/// One measured scenario.
pub struct Measured {
    pub scenario: Scenario,
    pub connections: usize,
    pub shape: Shape,
    pub tally: Tally,
    /// Empty calls per second with the same connections and calls in flight, in the same run; `None` for the empty call itself.
    pub empty_rate: Option<f64>,
    /// Time on processors from the first request to the last answer.
    pub server_cpu: Option<Duration>,
    pub client_cpu: Option<Duration>,
}

impl Measured {
    pub fn rate(&self) -> f64 {
        self.tally.done as f64 / self.shape.duration.as_secs_f64()
    }

    pub fn failed(&self) -> u64 {
        self.tally.errors.values().sum()
    }

    pub fn ratio(&self) -> Option<f64> {
        self.empty_rate.filter(|rate| *rate > 0.0).map(|rate| self.rate() / rate)
    }

    pub fn milliseconds(&self, quantile: f64) -> f64 {
        self.tally.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Microseconds of a processor for each call or purchase.
    pub fn each(&self, cpu: Option<Duration>) -> Option<f64> {
        cpu.filter(|_| self.tally.all > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / self.tally.all as f64)
    }
}

pub fn print_header() {
    println!(
        "{:<11} {:>5} {:>9} {:>11} {:>7} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}  errors",
        "scenario", "conns", "in flight", "per second", "ratio", "p50 ms", "p90 ms", "p99 ms", "max ms", "server us", "client us"
    );
}

pub fn print_row(measured: &Measured) {
    let ratio = measured.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}"));
    let errors = measured.tally.errors.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ");
    let each = |cpu| measured.each(cpu).map_or_else(String::new, |each| format!("{each:.1}"));
    println!(
        "{:<11} {:>5} {:>9} {:>11.0} {ratio:>7} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>10} {:>10}  {errors}",
        measured.scenario.name(),
        measured.connections,
        measured.shape.in_flight,
        measured.rate(),
        measured.milliseconds(0.5),
        measured.milliseconds(0.9),
        measured.milliseconds(0.99),
        measured.tally.latency.max() as f64 / 1000.0,
        each(measured.server_cpu),
        each(measured.client_cpu),
    );
}

/// What a run was about.
pub struct About<'a> {
    pub machine: &'a Machine,
    /// Of the own server; of another one it is not known.
    pub storage: Option<&'a Storage>,
    pub members: u64,
    pub skew: String,
}

pub fn as_json(about: &About<'_>, all: &[Measured], figures: &[Figure]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "machine": about.machine.as_json(),
        "members": about.members,
        "skew": about.skew,
        "storage": about.storage.map(Storage::as_json),
        "scenarios": all.iter().map(row).collect::<Vec<_>>(),
        "figures": figures.iter().map(Figure::as_json).collect::<Vec<_>>(),
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
        "cpu_microseconds_each": {"server": measured.each(measured.server_cpu), "client": measured.each(measured.client_cpu)},
        "errors": measured.tally.errors,
    })
}

/// What the suite is run for.
#[derive(Debug, Clone)]
pub struct Figure {
    pub part: &'static str,
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Option<Target>,
}

#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl Figure {
    fn as_json(&self) -> Value {
        let target = self.target.map(|target| match target {
            Target::AtLeast(bound) => json!({"at_least": bound}),
            Target::AtMost(bound) => json!({"at_most": bound}),
        });
        let met = self.target.map(|target| target.is_met(self.value));
        json!({"part": self.part, "name": self.name, "value": self.value, "unit": self.unit, "target": target, "met": met})
    }

    pub fn print(&self) {
        let target = match self.target {
            None => String::new(),
            Some(Target::AtLeast(bound)) => format!("at least {}", number(bound)),
            Some(Target::AtMost(bound)) => format!("at most {}", number(bound)),
        };
        let met = self.target.map_or("", |target| if target.is_met(self.value) { "met" } else { "MISSED" });
        let shown = format!("{} {}", number(self.value), self.unit);
        println!("{:<10} {:<66} {shown:>20}  {target:<16} {met}", self.part, self.name);
    }
}

/// With as many places as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
