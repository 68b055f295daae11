//! `loyaltyd bench`: how fast is the service here, and compared to a call that does nothing?
//!
//! [`workload`] says what is sent, [`load`] and [`pace`] send it through [`wire`], [`report`] tells. Every measurement is taken beside one of
//! the empty call with the same connections and calls in flight, so that machines can be compared by the ratio. [`suite`] measures all that
//! is promised, [`overload`] what becomes of it when too many come, [`midnight`] when everything is due at once, [`timers`] what it costs that
//! things become due at all, [`secured`] what it costs that callers are kept out and the service is watched. [`books`] has the programmes.

mod books;
mod child;
mod codec;
mod load;
mod machine;
mod midnight;
mod overload;
mod pace;
mod random;
mod report;
mod secured;
mod session;
mod storage;
mod suite;
mod tally;
mod timers;
mod wire;
mod workload;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CliError, client,
    client::{ReachArgs, ServerArgs},
};
use child::OwnServer;
use machine::Machine;
use random::Skew;
use report::{About, Figure, Measured};
use session::{Session, Settings, Step};
use workload::{Scenario, Workload};

const HELP: &str = "\
Without --server it starts a server of its own in another process, with a data folder that is
deleted at the end. Where that folder is decides how fast a change is durable, so folder, file
system and the median of an fdatasync are printed; on a file system in memory nothing is
durable. LOYALTYD_* variables do not reach that server. With --server it publishes a programme
`bench` there and enrols members in it: do not point it at a server in use.

Each scenario is measured beside the empty call (ServerService/GetServerInfo) with the same
connections and calls in flight; `ratio` is its rate divided by that one's. `stream` and `batch`
count purchases, not messages; the latency of a batch is the whole batch's. Latencies are of
calls that succeeded, by the time at which they were sent. `server us` and `client us` are the
microseconds of a processor that each call or purchase took there, warm-up included: they say
more than a rate does where others use the machine too. The loop is closed: a call is sent
when one before it is answered, so a server that stalls is also asked less, and latencies are
lower than customers would see that come at their own pace (coordinated omission). Build with
--release to measure.

EXIT CODE
  0 measured   1 it failed, or calls failed   2 the command line is wrong

EXAMPLES
  loyaltyd bench
  loyaltyd bench --scenario record --connections 1 --in-flight 1
  loyaltyd bench --suite
  loyaltyd bench --suite --only midnight --members 10000000
  loyaltyd bench --suite --only unary,get-member,stream --members 100000 --json
  loyaltyd bench --server 127.0.0.1:50051 --scenario get-member,quote --skew zipf:0.99 --duration 30s";

/// Measure the rate and latency of a server (load generator)
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A running server: host:port, or https://host:port for TLS [default: start one]
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    #[command(flatten)]
    how: ReachArgs,
    /// Where the own server's data folder is made [default: the current folder]
    #[arg(long, value_name = "FOLDER", conflicts_with = "server")]
    data: Option<PathBuf>,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_value = "record", conflicts_with = "suite")]
    scenario: Vec<Scenario>,
    /// Everything that is promised of speed and size, with what was promised, part by part; takes an hour at full size
    #[arg(long, conflicts_with = "server")]
    suite: bool,
    /// Of the suite: these parts alone
    #[arg(long, value_delimiter = ',', requires = "suite")]
    only: Vec<suite::Part>,
    /// Of the suite: all parts, small and short, to see that they run; says nothing of speed
    #[arg(long, requires = "suite")]
    quick: bool,
    /// Of the suite: the members of its smallest and its largest ledger [default: 100,000 and 10,000,000]
    #[arg(long, requires = "suite", num_args = 2, value_names = ["FEW", "MANY"], value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    scale: Vec<u64>,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024), conflicts_with = "suite")]
    connections: u16,
    /// Calls in flight on each connection; of a stream: purchases not yet answered
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096), conflicts_with = "suite")]
    in_flight: u16,
    /// How long each scenario is measured [default: 10s; in the suite what each figure asks for, 10 to 60 s]
    #[arg(long, value_parser = super::import::parse_duration)]
    duration: Option<Duration>,
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
    if args.duration().is_zero() {
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
    let machine = Machine::look();
    if args.suite {
        return suite::run(args, &machine).await;
    }
    let (address, own) = match &args.server {
        Some(server) => (ServerArgs { server: server.clone(), how: args.how.clone() }, None),
        None => {
            let server = OwnServer::start(args.folder()).await?;
            (server.address.clone(), Some(server))
        }
    };
    if let Some(own) = &own {
        own.storage.warn();
    }
    let mut session = Session::open(address, own, usize::from(args.connections), args.settings()).await?;
    let needs = |scenarios: &[Scenario]| args.scenario.iter().any(|scenario| !scenarios.contains(scenario));
    if needs(&[Scenario::Empty]) {
        session.publish().await?;
    }
    session.members = args.members.unwrap_or(10_000);
    if needs(&[Scenario::Empty, Scenario::Enroll]) {
        session.preload(session.members).await?;
    }
    if args.scenario.contains(&Scenario::Redeem) {
        session.once(Workload::once(Scenario::Record, session.members), usize::from(args.in_flight)).await?;
    }
    args.print_head(&machine, session.own.as_ref());
    for scenario in &args.scenario {
        let step = Step(*scenario, usize::from(args.connections), usize::from(args.in_flight), args.duration());
        session.beside_empty(step).await?;
    }
    args.print_end(&machine, &session, &[]);
    match session.measured.iter().map(Measured::failed).sum() {
        0 => Ok(()),
        failed => Err(CliError::Failed(format!("{failed} calls failed"))),
    }
}

impl Args {
    /// Where data folders are made.
    fn folder(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("."))
    }

    fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }

    fn settings(&self) -> Settings {
        let Self { warm_up, skew, seed, quick, .. } = *self;
        Settings { warm_up, skew, batch: usize::from(self.batch), seed, prints: !self.json, quick }
    }

    fn print_head(&self, machine: &Machine, own: Option<&OwnServer>) {
        if self.json {
            return;
        }
        if let Some(own) = own {
            println!("{}", own.storage);
        }
        println!("{machine}");
        report::print_header();
    }

    fn print_end(&self, machine: &Machine, session: &Session, figures: &[Figure]) {
        if !self.json {
            return;
        }
        let skew = match self.skew {
            Skew::Uniform => "uniform".to_owned(),
            Skew::Zipf(exponent) => format!("zipf:{exponent}"),
        };
        let storage = session.own.as_ref().map(|own| &own.storage);
        let about = About { machine, storage, members: session.members, skew };
        println!("{:#}", report::as_json(&about, &session.measured, figures));
    }
}
