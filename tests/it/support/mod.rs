//! A server in this process, on a port of the system's choice, over a temporary folder, with a clock that stands still.

pub mod access;
pub mod authority;
mod build;
pub mod doings;
pub mod frames;
pub mod held;
pub mod histories;
pub mod raw;
pub mod scrape;
pub mod segments;

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    app::{self, RunningServer},
    config::{AccessConfig, Config, Connections, Limits, Observe},
    contract::v1::{
        self, member_service_client::MemberServiceClient, offer_service_client::OfferServiceClient,
        points_service_client::PointsServiceClient, program_service_client::ProgramServiceClient,
        purchase_service_client::PurchaseServiceClient, reward_service_client::RewardServiceClient,
    },
    ledger::{Clock, ManualClock},
    store::embedded::Options,
};
use tempfile::TempDir;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

pub use build::*;

/// The programme that the rule book of [`build::rule_book`] makes.
pub const PROGRAM: &str = "vietnam";

/// A store begins with two segments full of zeros: the usual ones take longer to write than most tests take.
const SEGMENT_BYTES: u64 = 4 << 20;

/// The usual ones but for that.
pub fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

pub struct TestServer {
    server: RunningServer,
    pub clock: Arc<ManualClock>,
    pub channel: Channel,
    folder: TempDir,
}

impl TestServer {
    /// With the rule book published and nobody enrolled.
    pub async fn start() -> Self {
        let clock = Arc::new(ManualClock::new(noon()));
        let folder = TempDir::new().expect("a temporary folder");
        Self::start_in(folder, clock, vec![rule_book()]).await
    }

    pub async fn start_in(folder: TempDir, clock: Arc<ManualClock>, programs: Vec<v1::Program>) -> Self {
        let config = config(folder.path(), programs);
        Self::start_with(folder, clock, config).await
    }

    pub async fn start_with(folder: TempDir, clock: Arc<ManualClock>, config: Config) -> Self {
        let mut server = app::start(config, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("it starts");
        server.ready().await.expect("it reads its ledger");
        let channel = connect(&server).await;
        Self { server, clock, channel, folder }
    }

    /// Stops it in order and starts it again over the same folder.
    pub async fn restart(self) -> Self {
        self.restart_with(rule_book()).await
    }

    /// With another rule book than the usual one.
    pub async fn restart_with(self, program: v1::Program) -> Self {
        let (folder, clock) = self.end().await;
        Self::start_in(folder, clock, vec![program]).await
    }

    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.server.metrics_address
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address
    }

    /// Of the store.
    pub fn data(&self) -> PathBuf {
        config(self.folder.path(), Vec::new()).data
    }

    /// Stops it in order; what another one needs to go on.
    pub async fn end(self) -> (TempDir, Arc<ManualClock>) {
        let Self { server, clock, channel, folder } = self;
        drop(channel);
        server.shutdown().await.expect("it stops in order");
        (folder, clock)
    }

    pub async fn stop(self) {
        drop(self.channel);
        self.server.shutdown().await.expect("it stops in order");
    }

    pub fn programs(&self) -> ProgramServiceClient<Channel> {
        ProgramServiceClient::new(self.channel.clone())
    }

    pub fn members(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.channel.clone())
    }

    pub fn purchases(&self) -> PurchaseServiceClient<Channel> {
        PurchaseServiceClient::new(self.channel.clone()).max_encoding_message_size(64 << 20)
    }

    pub fn rewards(&self) -> RewardServiceClient<Channel> {
        RewardServiceClient::new(self.channel.clone())
    }

    pub fn offers(&self) -> OfferServiceClient<Channel> {
        OfferServiceClient::new(self.channel.clone())
    }

    pub fn points(&self) -> PointsServiceClient<Channel> {
        PointsServiceClient::new(self.channel.clone())
    }

    /// A new member with a card; the id.
    pub async fn enroll(&self, card: &str) -> String {
        let answer = self.members().enroll_member(enrolment(card)).await.expect("a new card enrols");
        answer.into_inner().member.expect("a member").member_id
    }

    pub async fn member(&self, id: &str) -> v1::Member {
        let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(id), ..Default::default() };
        self.members().get_member(request).await.expect("the member is there").into_inner().member.expect("a member")
    }

    pub fn clock_now(&self) -> prost_types::Timestamp {
        let micros = self.clock.now().as_microsecond();
        prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32 }
    }

    pub fn days_later(&self, days: i64) {
        self.clock.set(self.clock.now().checked_add((days * 24).hours()).expect("within the calendar"));
    }
}

/// The binary, with no settings but those that are given here. It is killed when the thread that starts it ends, so that nothing lives on
/// if the tests are killed: only for tests that start it on their own thread, not on one of a pool, which may end before.
pub fn loyaltyd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOYALTYD_")) {
        command.env_remove(name);
    }
    let ends_with_its_parent = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: all it does between fork and exec is one system call.
    unsafe { command.pre_exec(ends_with_its_parent) };
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

/// A child that ends by itself, but not later than this. `None`: it did not.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let since = Instant::now();
    while since.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// All files in a folder and those in it.
pub fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for item in std::fs::read_dir(folder).expect("a folder is listed") {
        let path = item.expect("a folder is listed").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// With all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder is made");
    for item in std::fs::read_dir(from).expect("a folder is listed") {
        let item = item.expect("a folder is listed");
        if item.path().is_dir() {
            copy_folder(&item.path(), &to.join(item.file_name()));
        } else {
            std::fs::copy(item.path(), to.join(item.file_name())).expect("a file is copied");
        }
    }
}

pub fn config(folder: &Path, programs: Vec<v1::Program>) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        data: folder.join("data"),
        programs,
        operator_key: None,
        compress: true,
        sandbox: false,
        access: AccessConfig::default(),
        drain: Duration::from_secs(5),
        limits: Limits { segment_bytes: SEGMENT_BYTES, ..Limits::default() },
        connections: Connections::default(),
        observe: Observe::default(),
    }
}

pub async fn connect(server: &RunningServer) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("an address");
    endpoint.connect().await.expect("the server listens")
}

/// 12:00 in Ho Chi Minh City.
pub fn noon() -> Timestamp {
    "2026-03-10T05:00:00Z".parse().expect("an instant")
}

/// What a refusal says: the code, the reason, and the fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    pub reason: String,
    pub fields: Vec<String>,
}

pub fn refused(status: &Status) -> Refused {
    let details = status.get_error_details();
    let fields = details.bad_request().map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect());
    let info = details.error_info();
    assert!(info.is_none_or(|info| info.domain == "loyaltyd"), "{info:?}");
    Refused { code: status.code(), reason: info.map_or_else(String::new, |info| info.reason.clone()), fields: fields.unwrap_or_default() }
}
