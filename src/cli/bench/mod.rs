//! `loyaltyd bench`: how fast is the service here, and compared to a call that does nothing?
//!
//! [`workload`] says what is sent, [`load`] sends it, [`report`] tells. Every measurement is taken beside one of the empty call with
//! the same connections and calls in flight, so that machines can be compared by the ratio.

mod child;
mod codec;
mod load;
mod random;
mod report;
mod storage;
mod workload;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use tonic::transport::Channel;

use super::{CliError, client, client::ServerArgs};
use crate::contract::v1::{self, program_service_client::ProgramServiceClient};
use child::OwnServer;
use load::Shape;
use random::Skew;
use report::Measured;
use storage::Storage;
use workload::{Scenario, Workload};

/// Calls in flight on each connection while members are enrolled before measuring.
const PRELOAD_IN_FLIGHT: usize = 64;

const HELP: &str = "\
Without --server it starts a server of its own in another process, with a data folder that is
deleted at the end. Where that folder is decides how fast a change is durable, so folder, file
system and the median of an fdatasync are printed; on a file system in memory nothing is
durable. LOYALTYD_* variables do not reach that server. With --server it publishes a programme
`bench` there and enrols members in it: do not point it at a server in use.

Each scenario is measured beside the empty call (grpc.health.v1.Health/Check) with the same
connections and calls in flight; `ratio` is its rate divided by that one's. `stream` and `batch`
count purchases, not messages; the latency of a batch is the whole batch's. Latencies are of
calls that succeeded, by the time at which they were sent. The loop is closed: a call is sent
when one before it is answered, so a server that stalls is also asked less, and latencies are
lower than customers would see that come at their own pace (coordinated omission). Build with
--release to measure.

EXIT CODE
  0 measured   1 it failed, or calls failed   2 the command line is wrong

EXAMPLES
  loyaltyd bench
  loyaltyd bench --scenario record --connections 1 --in-flight 1
  loyaltyd bench --suite --members 1000000 --json
  loyaltyd bench --server 127.0.0.1:50051 --scenario get-member,quote --skew zipf:0.99 --duration 30s";

/// Measure the rate and latency of a server (load generator)
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A running server: host:port [default: start one]
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    /// Where the own server's data folder is made [default: the current folder]
    #[arg(long, value_name = "FOLDER", conflicts_with = "server")]
    data: Option<PathBuf>,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_value = "record", conflicts_with = "suite")]
    scenario: Vec<Scenario>,
    /// Record with 1 connection and 1 in flight, then record, stream, batch, get-member and quote with 8 connections
    #[arg(long)]
    suite: bool,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024), conflicts_with = "suite")]
    connections: u16,
    /// Calls in flight on each connection; of a stream: purchases not yet answered
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096), conflicts_with = "suite")]
    in_flight: u16,
    /// How long each scenario is measured
    #[arg(long, default_value = "10s", value_parser = super::import::parse_duration)]
    duration: Duration,
    /// Before each measurement, not counted
    #[arg(long, default_value = "2s", value_parser = super::import::parse_duration)]
    warm_up: Duration,
    /// Members to enrol first [default: 1,000,000 with --suite, else 10,000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    members: Option<u64>,
    /// Which members are busy: uniform, or zipf:EXPONENT
    #[arg(long, default_value = "uniform", value_parser = Skew::parse)]
    skew: Skew,
    /// Purchases in one BatchRecordPurchases
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// For members and baskets to come in the same order again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> Result<(), CliError> {
    if args.duration.is_zero() {
        return Err(CliError::Usage("--duration must be more than 0".into()));
    }
    let stop = client::stop_signal()?;
    tokio::select! {
        outcome = measure(&args) => outcome,
        signal = stop => Err(CliError::Failed(format!("{signal}: stopped"))),
    }
}

async fn measure(args: &Args) -> Result<(), CliError> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; its numbers say nothing");
    }
    let (address, own) = match &args.server {
        Some(server) => (ServerArgs { server: server.clone() }, None),
        None => {
            let server = OwnServer::start(args.data.as_deref().unwrap_or(Path::new("."))).await?;
            (server.address.clone(), Some(server))
        }
    };
    let storage = own.as_ref().map(|server| &server.storage);
    if let Some(storage) = storage {
        storage.warn();
    }
    let plan = args.plan();
    let most = plan.iter().map(|(_, connections, _)| *connections).max().unwrap_or(1);
    let mut channels = Vec::new();
    for _ in 0..most {
        channels.push(address.connect().await?);
    }
    let members = args.members.unwrap_or(if args.suite { 1_000_000 } else { 10_000 });
    if plan.iter().any(|(scenario, ..)| !matches!(scenario, Scenario::Empty | Scenario::Enroll)) {
        publish(channels[0].clone()).await?;
        preload(&channels, members).await?;
    } else if plan.iter().any(|(scenario, ..)| *scenario == Scenario::Enroll) {
        publish(channels[0].clone()).await?;
    }
    let measured = args.measure_all(&plan, &channels, members, storage).await?;
    let failed: u64 = measured.iter().map(Measured::failed).sum();
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Failed(format!("{failed} calls failed"))),
    }
}

/// A scenario, its connections, and the calls in flight on each.
type Step = (Scenario, usize, usize);

impl Args {
    fn plan(&self) -> Vec<Step> {
        use Scenario::{Batch, GetMember, Quote, Record, Stream};
        if self.suite {
            return vec![(Record, 1, 1), (Record, 8, 32), (Stream, 8, 32), (Batch, 8, 1), (GetMember, 8, 32), (Quote, 8, 32)];
        }
        let step = |scenario: &Scenario| (*scenario, usize::from(self.connections), usize::from(self.in_flight));
        self.scenario.iter().map(step).collect()
    }

    async fn measure_all(
        &self,
        plan: &[Step],
        channels: &[Channel],
        members: u64,
        storage: Option<&Storage>,
    ) -> Result<Vec<Measured>, CliError> {
        let mut all: Vec<Measured> = Vec::new();
        if !self.json {
            if let Some(storage) = storage {
                println!("{storage}");
            }
            report::print_header();
        }
        for (scenario, connections, in_flight) in plan {
            let same = |measured: &&Measured| {
                let empty = measured.scenario == Scenario::Empty;
                empty && (measured.connections, measured.shape.in_flight) == (*connections, *in_flight)
            };
            let mut empty_rate = all.iter().find(same).map(Measured::rate);
            if empty_rate.is_none() {
                let empty = self.one(Scenario::Empty, &channels[..*connections], *in_flight, members, None).await?;
                empty_rate = Some(empty.rate());
                all.push(empty);
            }
            if *scenario != Scenario::Empty {
                all.push(self.one(*scenario, &channels[..*connections], *in_flight, members, empty_rate).await?);
            }
        }
        if self.json {
            let skew = match self.skew {
                Skew::Uniform => "uniform".to_owned(),
                Skew::Zipf(exponent) => format!("zipf:{exponent}"),
            };
            println!("{:#}", report::as_json(&all, members, &skew, storage));
        }
        Ok(all)
    }

    async fn one(
        &self,
        scenario: Scenario,
        channels: &[Channel],
        in_flight: usize,
        members: u64,
        empty_rate: Option<f64>,
    ) -> Result<Measured, CliError> {
        let run = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
        let workload = Workload::new(scenario, &run, members, self.skew, usize::from(self.batch), self.seed);
        let shape = Shape { in_flight, warm_up: self.warm_up, duration: self.duration, seed: self.seed };
        let tally = load::run(channels, Arc::new(workload), shape).await?;
        let measured = Measured { scenario, connections: channels.len(), shape, tally, empty_rate };
        if !self.json {
            report::print_row(&measured);
        }
        Ok(measured)
    }
}

async fn publish(channel: Channel) -> Result<(), CliError> {
    let program = workload::program();
    // A new id each time: publishing what is there changes nothing.
    let request_id = format!("bench-{}", uuid::Uuid::now_v7());
    let request = v1::PublishProgramRequest { request_id, program: Some(program), validate_only: false };
    ProgramServiceClient::new(channel).publish_program(request).await.map_err(|status| client::failed(&status))?;
    Ok(())
}

async fn preload(channels: &[Channel], members: u64) -> Result<(), CliError> {
    let style = ProgressStyle::with_template("enrolling {bar:32} {pos}/{len}  {per_sec}  {elapsed}");
    // It draws on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(members).with_style(style.expect("the template is well formed"));
    let workload = Arc::new(Workload::preload(members));
    let counter = bar.clone();
    let done = load::preload(channels, workload, PRELOAD_IN_FLIGHT, move || counter.inc(1)).await;
    bar.finish_and_clear();
    done
}
