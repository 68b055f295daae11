//! A server under measurement, and the connections to it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    books::Book,
    child::OwnServer,
    load::{self, Shape},
    machine::Process,
    random::Skew,
    report::{self, Measured},
    wire::Connection,
    workload::{Scenario, Workload},
};
use crate::{
    cli::{CliError, client, client::ServerArgs},
    contract::v1::{self, program_service_client::ProgramServiceClient},
};

/// Calls in flight on each connection while members are enrolled before measuring.
const PRELOAD_IN_FLIGHT: usize = 64;
/// How long a server that has nothing to do may go on writing out before the next measurement begins.
const SETTLE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// It has settled when so many looks in turn found it quiet. It writes rows when nothing was committed for two seconds, and looks for that every
/// two seconds: it can begin four seconds after the last commit.
const QUIET_LOOKS: u32 = 10;

pub struct Session {
    address: ServerArgs,
    pub own: Option<OwnServer>,
    /// The programme that is published and whose members buy.
    pub book: Book,
    pub connections: Vec<Connection>,
    pub settings: Settings,
    pub members: u64,
    /// Recorded so far.
    pub purchases: u64,
    pub measured: Vec<Measured>,
}

/// What stays the same through a run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub warm_up: Duration,
    pub skew: Skew,
    pub batch: usize,
    pub seed: u64,
    /// Rows are printed when they are measured.
    pub prints: bool,
    /// What is measured says nothing of speed.
    pub quick: bool,
}

/// What is measured: a scenario, connections, calls in flight on each, how long.
#[derive(Debug, Clone, Copy)]
pub struct Step(pub Scenario, pub usize, pub usize, pub Duration);

impl Session {
    pub async fn open(address: ServerArgs, own: Option<OwnServer>, connections: usize, settings: Settings) -> Result<Self, CliError> {
        let mut session =
            Self { address, own, book: Book::Usual, connections: Vec::new(), settings, members: 0, purchases: 0, measured: Vec::new() };
        session.connect(connections).await?;
        Ok(session)
    }

    /// Connects anew, as after a start of the server.
    pub async fn connect(&mut self, connections: usize) -> Result<(), CliError> {
        if let Some(own) = &self.own {
            self.address = own.address.clone();
        }
        self.connections.clear();
        for _ in 0..connections {
            self.connections.push(self.another().await?);
        }
        Ok(())
    }

    pub async fn another(&self) -> Result<Connection, CliError> {
        Connection::open(&self.address).await
    }

    pub async fn channel(&self) -> Result<client::ApiChannel, CliError> {
        self.address.connect().await
    }

    /// Goes on with another server; what was measured stays.
    pub fn replace(&mut self, other: Self) {
        let Self { address, own, book, connections, settings, members, purchases, measured: _ } = other;
        (self.address, self.own, self.book, self.connections) = (address, own, book, connections);
        (self.settings, self.members, self.purchases) = (settings, members, purchases);
    }

    pub fn server_address(&self) -> ServerArgs {
        self.address.clone()
    }

    pub fn server(&self) -> Option<Process> {
        self.own.as_ref().map(OwnServer::process)
    }

    pub async fn publish(&self) -> Result<(), CliError> {
        // A new id each time: publishing what is there changes nothing.
        let request_id = format!("bench-{}", uuid::Uuid::now_v7());
        let request = v1::PublishProgramRequest { request_id, program: Some(self.book.program()), ..Default::default() };
        let mut client = ProgramServiceClient::new(self.channel().await?);
        client.publish_program(request).await.map_err(|status| client::failed(&status))?;
        Ok(())
    }

    /// Enrols the members that the scenarios use, and says how many it came to in a second.
    pub async fn preload(&mut self, members: u64) -> Result<f64, CliError> {
        let style = ProgressStyle::with_template("enrolling {bar:32} {pos}/{len}  {per_sec}  {elapsed}");
        // It draws on standard error, and only if that is a terminal.
        let bar = ProgressBar::new(members).with_style(style.expect("the template is well formed"));
        let workload = Arc::new(Workload::once_in(self.book, Scenario::Enroll, members));
        let (counter, begun) = (bar.clone(), std::time::Instant::now());
        let done = load::preload(&self.connections, workload, PRELOAD_IN_FLIGHT, move || counter.inc(1)).await;
        bar.finish_and_clear();
        done?;
        self.members = members;
        Ok(members as f64 / begun.elapsed().as_secs_f64())
    }

    /// Sends one request for each of a workload's members, or for each batch of them: how many members it came to in a second, and
    /// microseconds of the server's processors each.
    pub async fn once(&mut self, workload: Workload, in_flight: usize) -> Result<(f64, f64), CliError> {
        let members = workload.members();
        if matches!(workload.scenario, Scenario::Record | Scenario::Batch) {
            self.purchases += members;
        }
        let (before, begun) = (self.cpu().0, std::time::Instant::now());
        load::preload(&self.connections, Arc::new(workload), in_flight, || {}).await?;
        let took = begun.elapsed();
        let used = self.cpu().0.zip(before).map_or(Duration::ZERO, |(after, before)| after.saturating_sub(before));
        Ok((members as f64 / took.as_secs_f64(), used.as_secs_f64() * 1e6 / members as f64))
    }

    pub fn workload(&self, scenario: Scenario) -> Workload {
        let run = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
        let Settings { skew, batch, seed, .. } = self.settings;
        Workload::new(scenario, (self.book, &run), self.members.max(1), skew, batch, seed)
    }

    /// Measures a step beside the empty call with the same connections and calls in flight, which is measured once a run.
    pub async fn beside_empty(&mut self, step: Step) -> Result<&Measured, CliError> {
        let Step(scenario, connections, in_flight, duration) = step;
        let same = |measured: &&Measured| {
            let empty = measured.scenario == Scenario::Empty;
            empty && (measured.connections, measured.shape.in_flight) == (connections, in_flight)
        };
        let mut empty_rate = self.measured.iter().find(same).map(Measured::rate);
        if empty_rate.is_none() {
            let short = duration.min(Duration::from_secs(10));
            let empty = self.step(Step(Scenario::Empty, connections, in_flight, short), self.workload(Scenario::Empty), None).await?;
            empty_rate = Some(empty.rate());
        }
        if scenario == Scenario::Empty {
            return Ok(self.measured.iter().find(same).expect("it was measured above"));
        }
        self.step(step, self.workload(scenario), empty_rate).await
    }

    pub async fn step(&mut self, step: Step, workload: Workload, empty_rate: Option<f64>) -> Result<&Measured, CliError> {
        let Step(scenario, connections, in_flight, duration) = step;
        let Settings { warm_up, seed, .. } = self.settings;
        let shape = Shape { in_flight, warm_up, duration, seed };
        let before = self.cpu();
        let tally = load::run(&self.connections[..connections], Arc::new(workload), shape).await?;
        let after = self.cpu();
        let used = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
        let (server_cpu, client_cpu) = (used(before.0, after.0), used(before.1, after.1));
        let measured = Measured { scenario, connections, shape, tally, empty_rate, server_cpu, client_cpu };
        match scenario {
            Scenario::Record | Scenario::Stream | Scenario::Batch => self.purchases += measured.tally.all,
            Scenario::Empty
            | Scenario::Health
            | Scenario::GetMember
            | Scenario::Quote
            | Scenario::Enroll
            | Scenario::Redeem
            | Scenario::Hold
            | Scenario::Capture
            | Scenario::Return => {}
        }
        if self.settings.prints {
            report::print_row(&measured);
        }
        self.measured.push(measured);
        Ok(self.measured.last().expect("it was pushed"))
    }

    /// Of the own server and of this process.
    pub fn cpu(&self) -> (Option<Duration>, Option<Duration>) {
        (self.server().and_then(Process::cpu), Process::own().cpu())
    }

    /// Waits until the own server has written out what it holds back, so that each measurement begins alike.
    pub async fn settle(&self) {
        let Some(server) = self.server() else { return };
        let deadline = tokio::time::Instant::now() + SETTLE;
        let enough = if self.settings.quick { 1 } else { QUIET_LOOKS };
        let (mut last, mut quiet) = (server.cpu(), 0);
        while quiet < enough && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = server.cpu();
            let Some(used) = now.zip(last).map(|(now, last)| now.saturating_sub(last)) else { return };
            quiet = if used <= Duration::from_millis(10) { quiet + 1 } else { 0 };
            last = now;
        }
    }
}
