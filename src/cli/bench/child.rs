//! A server of the load generator's own: this binary in another process, with a data folder that goes when it ends.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use http::Uri;
use tokio::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{machine::Process, secured::Guard, storage::Storage};
use crate::cli::{CliError, client::ServerArgs};

/// How long the server may take to start in an empty folder.
const START: Duration = Duration::from_secs(30);
/// How long it may take to start from what it wrote, and to stop.
pub const LONG: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct OwnServer {
    process: Child,
    folder: PathBuf,
    /// Beside where it listens and what it serves.
    flags: Vec<OsString>,
    guard: Guard,
    pub address: ServerArgs,
    pub storage: Storage,
}

impl OwnServer {
    /// `parent`: where the data folder is made; the place decides how fast a commit is durable.
    pub async fn start(parent: &Path) -> Result<Self, CliError> {
        Self::start_new(parent, "", Vec::new(), |_| Ok(Guard::none())).await
    }

    /// One with a clock that can be set forward.
    pub async fn start_sandbox(parent: &Path) -> Result<Self, CliError> {
        Self::start_new(parent, "", vec!["--sandbox".into()], |_| Ok(Guard::none())).await
    }

    /// One as it is run where strangers can reach it, beside another one.
    pub async fn start_guarded(parent: &Path) -> Result<Self, CliError> {
        Self::start_new(parent, "-guarded", Vec::new(), Guard::all).await
    }

    async fn start_new(
        parent: &Path,
        name: &str,
        flags: Vec<OsString>,
        guard: impl Fn(&Path) -> Result<Guard, CliError>,
    ) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::Failed(format!("cannot start a server of its own: {error}"));
        let folder = parent.join(format!("loyaltyd-bench-{}{name}", std::process::id()));
        fs::create_dir_all(&folder).map_err(failed)?;
        let started = guard(&folder).and_then(|guard| Self::first(&folder, flags, guard).map_err(failed));
        let mut started = started.inspect_err(|_| {
            // The folder is of no use without the process; that starting failed is what the user needs to know.
            let _ = fs::remove_dir_all(&folder);
        })?;
        started.ready(START).await?;
        Ok(started)
    }

    fn first(folder: &Path, mut flags: Vec<OsString>, guard: Guard) -> std::io::Result<Self> {
        flags.extend(guard.flags.iter().cloned());
        let storage = Storage::measure(folder)?;
        let port = free_port()?;
        let process = spawn(folder, port, &flags)?;
        Ok(Self { process, folder: folder.to_owned(), flags, address: guard.address(port), guard, storage })
    }

    /// Waits until it serves.
    async fn ready(&mut self, within: Duration) -> Result<(), CliError> {
        let deadline = Instant::now() + within;
        loop {
            let stopped = self.process.try_wait().is_ok_and(|status| status.is_some());
            if stopped || Instant::now() >= deadline {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(CliError::Failed(format!("the server did not start:\n{log}")));
            }
            if self.serving().await {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn serving(&self) -> bool {
        let Ok(channel) = self.address.connect().await else { return false };
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }

    pub fn process(&self) -> Process {
        Process(self.process.id())
    }

    /// Where its metrics are, if it serves them.
    pub fn metrics(&self) -> Option<&Uri> {
        self.guard.metrics.as_ref()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Asks it to stop in order, and says how long that took.
    pub async fn stop(&mut self) -> Result<Duration, CliError> {
        let begun = Instant::now();
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        told.map_err(|error| CliError::Failed(format!("cannot tell the server to stop: {error}")))?;
        let status = self.ended().await?;
        if status.success() { Ok(begun.elapsed()) } else { Err(CliError::Failed(format!("the server stopped with {status}"))) }
    }

    /// Takes it away without a warning, as a cut of power does to a process.
    pub async fn kill(&mut self) -> Result<(), CliError> {
        self.process.kill().map_err(|error| CliError::Failed(format!("cannot kill the server: {error}")))?;
        self.ended().await.map(drop)
    }

    async fn ended(&mut self) -> Result<ExitStatus, CliError> {
        let deadline = Instant::now() + LONG;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(CliError::Failed(format!("cannot wait for the server: {error}"))),
            }
        }
        Err(CliError::Failed(format!("the server did not end within {} s", LONG.as_secs())))
    }

    /// Starts it from what it wrote, and says how long it took until it served.
    pub async fn start_again(&mut self) -> Result<Duration, CliError> {
        let failed = |error: std::io::Error| CliError::Failed(format!("cannot start the server again: {error}"));
        let begun = Instant::now();
        let port = free_port().map_err(failed)?;
        self.process = spawn(&self.folder, port, &self.flags).map_err(failed)?;
        self.address = self.guard.address(port);
        self.ready(LONG).await?;
        Ok(begun.elapsed())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // Its data is thrown away, so nothing needs to be saved.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path, port: u16, flags: &[OsString]) -> std::io::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("server.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    // What is measured is what the server can do, not what it allows.
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--requests-per-second", "0", "--data"]);
    command.arg(folder.join("data")).args(flags);
    // What is meant for the user's own service would publish programmes, change ports or keys: this one has its flags alone.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOYALTYD_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// One that was free a moment ago.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
