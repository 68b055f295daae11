//! All that is promised of speed and size, measured in one run, part by part. Each part settles first: the server has written out what it
//! held back, so that every part begins alike and none pays for the one before it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Args,
    books::Book,
    child::OwnServer,
    load::{self, Shape},
    machine::{Machine, disk_bytes},
    midnight, overload, pace,
    report::{Figure, Measured, Target},
    secured,
    session::{Session, Step},
    timers::{self, Beside},
    workload::{Scenario, Workload},
};
use crate::cli::CliError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// One call at a time: what a purchase takes beyond the empty call and one fdatasync
    Alone,
    /// RecordPurchase with 8 connections and 32 in flight, 60 s
    Unary,
    /// The same at half of that rate, at its own pace
    Half,
    /// GetMember
    GetMember,
    /// StreamPurchases, 20 s and 60 s
    Stream,
    /// BatchRecordPurchases, 20 s and 60 s
    Batch,
    /// Each member of many holds points, captures them, redeems and returns once, beside RecordPurchase
    Spend,
    /// A member with 10,000 purchases beside one with 10: buying, and redeeming from their lots
    History,
    /// Four times as many calls as the server can take
    Overload,
    /// Memory and disk
    Size,
    /// Time until it serves after a clean stop and after SIGKILL
    Restart,
    /// The look-up tables made again from the journal
    Rebuild,
    /// Few members and many: rate, memory, start
    Scale,
    /// Tiers that are reviewed, birthdays and expiry: what they cost a purchase
    Timers,
    /// Birthdays and reviews of all members at one midnight, while tills go on selling; and at the next one, without tills
    Midnight,
    /// A hundred promotions of which five give something: what they cost a purchase
    Promotions,
    /// TLS, API keys and metrics beside a plain server: what they cost a purchase
    Secured,
}

const ALL: [Part; 17] = [
    Part::Alone,
    Part::Unary,
    Part::Half,
    Part::GetMember,
    Part::Stream,
    Part::Batch,
    Part::Spend,
    Part::History,
    Part::Overload,
    Part::Size,
    Part::Restart,
    Part::Rebuild,
    Part::Scale,
    Part::Timers,
    Part::Midnight,
    Part::Promotions,
    Part::Secured,
];

pub(super) const CONNECTIONS: usize = 8;
pub(super) const IN_FLIGHT: usize = 32;
/// On a stream, purchases that wait for their answers; of batches, batches.
const STREAM_IN_FLIGHT: usize = 256;
const BATCH_IN_FLIGHT: usize = 2;
/// Members of long and short histories have numbers from here on.
const LONG_FROM: u64 = 5_000_000_000;
const SHORT_FROM: u64 = 6_000_000_000;
/// And those who do each thing once.
const ONCE_FROM: u64 = 7_000_000_000;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// A run of the suite.
pub(super) struct Suite<'a> {
    args: &'a Args,
    pub session: Session,
    pub figures: Vec<Figure>,
    /// On disk when the members were enrolled.
    disk_before: Disk,
}

#[derive(Debug, Clone, Copy, Default)]
struct Disk {
    journal: u64,
    tables: u64,
}

pub(super) async fn run(args: &Args, machine: &Machine) -> Result<(), CliError> {
    let parts: BTreeSet<Part> = if args.only.is_empty() { ALL.into() } else { args.only.iter().copied().collect() };
    let mut suite = Suite::open(args, args.members.unwrap_or(if args.quick { 2_000 } else { 1_000_000 })).await?;
    args.print_head(machine, suite.session.own.as_ref());
    if parts.iter().any(|part| !part.has_own_ledger()) {
        suite.fill().await?;
    }
    for part in &parts {
        suite.session.settle().await;
        suite.part(*part).await?;
    }
    args.print_end(machine, &suite.session, &suite.figures);
    match suite.session.measured.iter().map(Measured::failed).sum() {
        0 => Ok(()),
        failed => Err(CliError::Failed(format!("{failed} calls failed"))),
    }
}

impl<'a> Suite<'a> {
    async fn open(args: &'a Args, members: u64) -> Result<Self, CliError> {
        Self::open_as(args, members, false).await
    }

    async fn open_as(args: &'a Args, members: u64, sandbox: bool) -> Result<Self, CliError> {
        let parent = args.folder();
        let own = if sandbox { OwnServer::start_sandbox(parent).await? } else { OwnServer::start(parent).await? };
        own.storage.warn();
        let mut session = Session::open(own.address.clone(), Some(own), CONNECTIONS, args.settings()).await?;
        session.members = members;
        Ok(Self { args, session, figures: Vec::new(), disk_before: Disk::default() })
    }

    async fn fill(&mut self) -> Result<(), CliError> {
        self.session.publish().await?;
        self.session.preload(self.session.members).await?;
        self.session.settle().await;
        self.disk_before = self.disk();
        Ok(())
    }

    async fn part(&mut self, part: Part) -> Result<(), CliError> {
        match part {
            Part::Alone => self.alone().await,
            Part::Unary => self.unary().await,
            Part::Half => self.half().await,
            Part::GetMember => self.get_member().await,
            Part::Stream => self.many(part, Scenario::Stream, STREAM_IN_FLIGHT).await,
            Part::Batch => self.many(part, Scenario::Batch, BATCH_IN_FLIGHT).await,
            Part::Spend => self.spend().await,
            Part::History => self.history().await,
            Part::Overload => overload::measure(self).await,
            Part::Size => self.size(),
            Part::Restart => self.restart(part.name(), "").await,
            Part::Rebuild => self.rebuild().await,
            Part::Scale => self.scale().await,
            Part::Timers => {
                let target = Target::AtLeast(0.95);
                timers::measure(self, Beside { part: part.name(), book: Book::Timed, what: "timers", target }).await
            }
            Part::Promotions => {
                let target = Target::AtLeast(0.7);
                timers::measure(self, Beside { part: part.name(), book: Book::Promoted, what: "promotions", target }).await
            }
            Part::Midnight => midnight::measure(self).await,
            Part::Secured => secured::measure(self).await,
        }
    }

    /// How long a figure is measured.
    pub fn seconds(&self, seconds: u64) -> Duration {
        match self.args.duration {
            Some(duration) => duration,
            None if self.args.quick => Duration::from_secs(1),
            None => Duration::from_secs(seconds),
        }
    }

    pub fn figure(&mut self, part: &'static str, name: impl Into<String>, value: f64, unit: &'static str, target: Option<Target>) {
        let figure = Figure { part, name: name.into(), value, unit, target };
        if self.session.settings.prints {
            figure.print();
        }
        self.figures.push(figure);
    }

    async fn alone(&mut self) -> Result<(), CliError> {
        let duration = self.seconds(20);
        let empty = self.session.beside_empty(Step(Scenario::Empty, 1, 1, duration)).await?.milliseconds(0.5);
        let record = self.session.beside_empty(Step(Scenario::Record, 1, 1, duration)).await?.milliseconds(0.5);
        let fdatasync = self.session.own.as_ref().map_or(0.0, |own| own.storage.fdatasync_milliseconds());
        let name = format!("p50 beyond the empty call ({empty:.3}) and one fdatasync ({fdatasync:.3})");
        self.figure("alone", name, record - empty - fdatasync, "ms", Some(Target::AtMost(0.25)));
        Ok(())
    }

    async fn unary(&mut self) -> Result<(), CliError> {
        let ratio = self.ratio(Scenario::Record, 60).await?;
        self.figure("unary", "RecordPurchase, of the empty call", ratio, "", Some(Target::AtLeast(0.6)));
        Ok(())
    }

    async fn get_member(&mut self) -> Result<(), CliError> {
        let ratio = self.ratio(Scenario::GetMember, 20).await?;
        self.figure("get-member", "GetMember, of the empty call", ratio, "", Some(Target::AtLeast(0.8)));
        Ok(())
    }

    async fn ratio(&mut self, scenario: Scenario, seconds: u64) -> Result<f64, CliError> {
        let duration = self.seconds(seconds);
        Ok(self.session.beside_empty(Step(scenario, CONNECTIONS, IN_FLIGHT, duration)).await?.ratio().unwrap_or(0.0))
    }

    /// What RecordPurchase came to under full load, measured if it was not yet.
    async fn capacity(&mut self) -> Result<f64, CliError> {
        let known = self.session.measured.iter().find(|it| it.scenario == Scenario::Record && it.shape.in_flight == IN_FLIGHT);
        if let Some(rate) = known.map(Measured::rate) {
            return Ok(rate);
        }
        let duration = self.seconds(20);
        let rate = self.session.beside_empty(Step(Scenario::Record, CONNECTIONS, IN_FLIGHT, duration)).await?.rate();
        self.session.settle().await;
        Ok(rate)
    }

    async fn half(&mut self) -> Result<(), CliError> {
        let rate = self.capacity().await? / 2.0;
        let workload = Arc::new(self.session.workload(Scenario::Record));
        let shape = Shape { in_flight: 0, warm_up: self.args.warm_up, duration: self.seconds(30), seed: self.args.seed };
        let paced = pace::run(&self.session.connections, workload, shape, rate, Duration::from_secs(10)).await?;
        self.session.purchases += paced.tally.all;
        let milliseconds = |quantile| paced.tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
        self.figure("half", format!("p50 at {rate:.0} purchases per second"), milliseconds(0.5), "ms", None);
        self.figure("half", "p99", milliseconds(0.99), "ms", Some(Target::AtMost(5.0)));
        let missing = paced.unsent + paced.tally.errors.values().sum::<u64>();
        self.figure("half", "not sent or refused", missing as f64, "calls", Some(Target::AtMost(0.0)));
        Ok(())
    }

    async fn many(&mut self, part: Part, scenario: Scenario, in_flight: usize) -> Result<(), CliError> {
        let duration = self.seconds(60);
        let measured = self.session.beside_empty(Step(scenario, CONNECTIONS, in_flight, duration)).await?;
        let burst = measured.tally.first(20.min(usize::try_from(duration.as_secs()).unwrap_or(20)));
        let sustained = measured.rate();
        self.figure(part.name(), "purchases per second, the first 20 s", burst, "/s", Some(Target::AtLeast(100_000.0)));
        let name = format!("purchases per second, {} s", duration.as_secs());
        self.figure(part.name(), name, sustained, "/s", Some(Target::AtLeast(40_000.0)));
        Ok(())
    }

    /// What the same members do one thing after another, each of them once. RecordPurchase is measured in the same way.
    async fn spend(&mut self) -> Result<(), CliError> {
        let members = if self.args.quick { 1_000 } else { 200_000 };
        let workload = |scenario| Workload::once(scenario, members).among(ONCE_FROM);
        self.session.once(workload(Scenario::Enroll), IN_FLIGHT).await?;
        self.session.settle().await;
        let (record, record_cost) = self.session.once(workload(Scenario::Record), IN_FLIGHT).await?;
        self.figure("spend", format!("record, {record_cost:.1} us of the server's processors each"), record, "/s", None);
        for scenario in [Scenario::Hold, Scenario::Capture, Scenario::Redeem, Scenario::Return] {
            self.session.settle().await;
            let (rate, cost) = self.session.once(workload(scenario), IN_FLIGHT).await?;
            let name = format!("{}, {cost:.1} us each, {rate:.0}/s: of record", scenario.name());
            self.figure("spend", name, rate / record, "", Some(Target::AtLeast(0.5)));
        }
        Ok(())
    }

    /// The same calls on members with long histories and with short ones, in turn.
    async fn history(&mut self) -> Result<(), CliError> {
        let (members, long, short) = if self.args.quick { (10, 50, 10) } else { (300, 10_000, 10) };
        for (from, purchases) in [(LONG_FROM, long), (SHORT_FROM, short)] {
            let enrol = Arc::new(Workload::once(Scenario::Enroll, members).among(from));
            load::preload(&self.session.connections, enrol, 1, || {}).await?;
            let batches = (members * purchases).div_ceil(self.session.settings.batch as u64);
            let workload = Arc::new(self.few(Scenario::Batch, from, members));
            load::send(&self.session.connections, workload, BATCH_IN_FLIGHT, batches).await?;
            self.session.purchases += batches * self.session.settings.batch as u64;
        }
        self.session.settle().await;
        self.long_beside_short(Scenario::Record, members, ("a purchase", long, short), 1.1).await?;
        self.long_beside_short(Scenario::Redeem, members, ("a redemption", long, short), 2.0).await
    }

    async fn long_beside_short(
        &mut self,
        scenario: Scenario,
        members: u64,
        (what, long, short): (&str, u64, u64),
        most: f64,
    ) -> Result<(), CliError> {
        let duration = self.seconds(5);
        let (mut cost, mut median) = ([0.0; 2], [0.0; 2]);
        for (place, from) in [(0, SHORT_FROM), (1, LONG_FROM), (0, SHORT_FROM), (1, LONG_FROM)] {
            let workload = self.few(scenario, from, members);
            let measured = self.session.step(Step(scenario, 1, 4, duration), workload, None).await?;
            cost[place] += measured.each(measured.server_cpu).unwrap_or(0.0) / 2.0;
            median[place] += measured.milliseconds(0.5) / 2.0;
        }
        let ratio = |pair: [f64; 2]| if pair[0] > 0.0 { pair[1] / pair[0] } else { 0.0 };
        let name = |figure| format!("{figure} of {what} after {long} purchases, to one after {short}");
        self.figure("history", name("processor time"), ratio(cost), "", Some(Target::AtMost(most)));
        self.figure("history", name("p50"), ratio(median), "", Some(Target::AtMost(most)));
        Ok(())
    }

    fn few(&self, scenario: Scenario, from: u64, members: u64) -> Workload {
        self.session.workload(scenario).of(members).among(from)
    }

    fn disk(&self) -> Disk {
        let data = self.session.own.as_ref().map(OwnServer::data).unwrap_or_default();
        Disk { journal: disk_bytes(&data.join("journal")), tables: disk_bytes(&data.join("tables")) }
    }

    fn size(&mut self) -> Result<(), CliError> {
        let (before, after) = (self.disk_before, self.disk());
        let purchases = self.session.purchases as f64;
        if purchases > 0.0 {
            let each = |before: u64, after: u64| (after as f64 - before as f64) / purchases;
            let name = |what| format!("{what}, each of {purchases} purchases");
            self.figure("size", name("journal"), each(before.journal, after.journal), "bytes", None);
            self.figure("size", name("look-up tables"), each(before.tables, after.tables), "bytes", None);
        }
        self.memory("size", "", None);
        Ok(())
    }

    fn memory(&mut self, part: &'static str, of: &str, target: Option<Target>) {
        if let Some((resident, most)) = self.session.server().and_then(|server| server.memory()) {
            self.figure(part, format!("resident memory{of}"), resident as f64 / GIB, "GiB", None);
            self.figure(part, format!("resident memory{of}, at most so far"), most as f64 / GIB, "GiB", target);
        }
    }

    /// Starts again after a stop in order, and after a kill in the middle of the load.
    async fn restart(&mut self, part: &'static str, of: &str) -> Result<(), CliError> {
        let stopped = self.own()?.stop().await?;
        let clean = self.own()?.start_again().await?;
        self.figure(part, format!("to stop in order{of}"), stopped.as_secs_f64(), "s", None);
        self.figure(part, format!("to serve after that{of}"), clean.as_secs_f64(), "s", Some(Target::AtMost(10.0)));
        self.session.connect(CONNECTIONS).await?;
        let duration = self.seconds(20);
        let workload = self.session.workload(Scenario::Record);
        self.session.step(Step(Scenario::Record, CONNECTIONS, IN_FLIGHT, duration), workload, None).await?;
        self.own()?.kill().await?;
        let killed = self.own()?.start_again().await?;
        self.figure(part, format!("to serve after SIGKILL{of}"), killed.as_secs_f64(), "s", Some(Target::AtMost(30.0)));
        self.session.connect(CONNECTIONS).await
    }

    async fn rebuild(&mut self) -> Result<(), CliError> {
        // Each member's enrolment and each purchase is an entry; changes of tiers come on top and are not counted.
        let entries = self.session.members + self.session.purchases;
        self.own()?.stop().await?;
        let tables = self.own()?.data().join("tables");
        fs::remove_dir_all(&tables).map_err(|error| CliError::Failed(format!("{}: {error}", tables.display())))?;
        let took = self.own()?.start_again().await?;
        let rate = entries as f64 / took.as_secs_f64();
        let name = format!("{entries} entries read again in {:.1} s, each second", took.as_secs_f64());
        self.figure("rebuild", name, rate, "entries", Some(Target::AtLeast(150_000.0)));
        self.session.connect(CONNECTIONS).await
    }

    /// Two ledgers of their own, one after the other, in place of the one before.
    async fn scale(&mut self) -> Result<(), CliError> {
        let (few, many) = match (self.args.scale.as_slice(), self.args.quick) {
            ([few, many], _) => (*few, *many),
            (_, true) => (500, 2_000),
            (_, false) => (100_000, 10_000_000),
        };
        let mut rates = Vec::new();
        for members in [few, many] {
            self.renew(members, false).await?;
            self.session.publish().await?;
            let begun = Instant::now();
            self.session.preload(members).await?;
            let each_second = members as f64 / begun.elapsed().as_secs_f64();
            self.figure("scale", format!("{members} members enrolled, each second"), each_second, "/s", None);
            self.session.settle().await;
            let duration = self.seconds(30);
            let workload = self.session.workload(Scenario::Record);
            let rate = self.session.step(Step(Scenario::Record, CONNECTIONS, IN_FLIGHT, duration), workload, None).await?.rate();
            self.figure("scale", format!("RecordPurchase at {members} members"), rate, "/s", None);
            rates.push(rate);
        }
        let ratio = rates[1] / rates[0].max(1.0);
        self.figure("scale", format!("rate at {many} members, of the one at {few}"), ratio, "", Some(Target::AtLeast(0.8)));
        let of = format!(" at {many} members");
        self.memory("scale", &of, Some(Target::AtMost(4.0)));
        self.restart("scale", &of).await
    }

    /// Another server with an empty ledger, in place of the one before.
    pub async fn renew(&mut self, members: u64, sandbox: bool) -> Result<(), CliError> {
        self.session.own = None;
        let fresh = Self::open_as(self.args, members, sandbox).await?;
        self.session.replace(fresh.session);
        Ok(())
    }

    /// Where its servers' data folders are made.
    pub fn parent(&self) -> &'a Path {
        self.args.folder()
    }

    /// How many members a part with a ledger of its own has.
    pub fn members(&self, usual: u64) -> u64 {
        self.args.members.unwrap_or(if self.is_quick() { 1_000 } else { usual })
    }

    pub fn is_quick(&self) -> bool {
        self.args.quick
    }

    pub fn own(&mut self) -> Result<&mut OwnServer, CliError> {
        self.session.own.as_mut().ok_or_else(|| CliError::Usage("the suite measures a server of its own".into()))
    }
}

impl Part {
    /// It needs none of the members that are enrolled first.
    fn has_own_ledger(self) -> bool {
        match self {
            Self::Scale | Self::Timers | Self::Midnight | Self::Promotions | Self::Secured => true,
            Self::Alone
            | Self::Unary
            | Self::Half
            | Self::GetMember
            | Self::Stream
            | Self::Batch
            | Self::Spend
            | Self::History
            | Self::Overload
            | Self::Size
            | Self::Restart
            | Self::Rebuild => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Unary => "unary",
            Self::Half => "half",
            Self::GetMember => "get-member",
            Self::Stream => "stream",
            Self::Batch => "batch",
            Self::Spend => "spend",
            Self::History => "history",
            Self::Overload => "overload",
            Self::Size => "size",
            Self::Restart => "restart",
            Self::Rebuild => "rebuild",
            Self::Scale => "scale",
            Self::Timers => "timers",
            Self::Midnight => "midnight",
            Self::Promotions => "promotions",
            Self::Secured => "secured",
        }
    }
}
