//! A server of the load generator's own: this binary in another process, with a data folder that goes when it ends.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::storage::Storage;
use crate::cli::{CliError, client::ServerArgs};

/// How long the server may take to start.
const START: Duration = Duration::from_secs(30);

pub struct OwnServer {
    process: Child,
    folder: PathBuf,
    pub address: ServerArgs,
    pub storage: Storage,
}

impl OwnServer {
    /// `parent`: where the data folder is made; the place decides how fast a commit is durable.
    pub async fn start(parent: &Path) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::Failed(format!("cannot start a server of its own: {error}"));
        let folder = parent.join(format!("loyaltyd-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut started = Self::spawn(&folder).map_err(|error| {
            // The folder is of no use without the process; that starting failed is what the user needs to know.
            let _ = fs::remove_dir_all(&folder);
            failed(error)
        })?;
        started.ready().await?;
        Ok(started)
    }

    fn spawn(folder: &Path) -> std::io::Result<Self> {
        let storage = Storage::measure(folder)?;
        let port = free_port()?;
        let log = File::create(folder.join("server.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(folder.join("data"));
        // What is meant for the user's own service would publish programmes, change ports or keys: this one has its flags alone.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOYALTYD_")) {
            command.env_remove(name);
        }
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { process, folder: folder.to_owned(), address: ServerArgs { server: format!("127.0.0.1:{port}") }, storage })
    }

    async fn ready(&mut self) -> Result<(), CliError> {
        let deadline = Instant::now() + START;
        loop {
            let stopped = self.process.try_wait().is_ok_and(|status| status.is_some());
            if stopped || Instant::now() >= deadline {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(CliError::Failed(format!("the server did not start:\n{log}")));
            }
            if self.serving().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl OwnServer {
    async fn serving(&self) -> bool {
        let Ok(channel) = self.address.connect().await else { return false };
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
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

/// One that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
