//! The real server in a process of its own, on a mounted drive.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

use crate::support::{self, loyaltyd};

/// No start and no end takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One point for each whole 10,000 dong, no tiers, nothing lapses: what a member has is easily added up.
pub const RULE_BOOK: &str = r#"
programId: shop
displayName: Shop
currencyCode: VND
timeZone: Asia/Ho_Chi_Minh
rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
accrualRules:
  - ruleId: goods
    displayName: 1 point per 10,000
    perAmount: { amount: "10000", points: "1", wholeBlocks: true }
adjustments: { maximumPoints: "10000" }
"#;

pub struct Server {
    process: Child,
    said: Arc<Mutex<String>>,
    lines: mpsc::Receiver<String>,
}

impl Server {
    pub fn spawn(data: &Path, rule_book: &Path) -> Self {
        let mut process = loyaltyd()
            .args(["serve", "--listen", "127.0.0.1:0", "--drain-seconds", "2", "--program"])
            .arg(rule_book)
            .arg("--data")
            .arg(data)
            // Segments change and rows are written out all the time.
            .env("LOYALTYD_SEGMENT_BYTES", (64 << 10).to_string())
            .env("LOYALTYD_WAITING_BYTES", (64 << 10).to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let kept = said.clone();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
                // Nobody listens any more once it serves.
                let _ = sender.send(line);
            }
        });
        Self { process, said, lines }
    }

    /// Where it listens, once it serves; `None`: it ended before.
    pub fn serving(&self) -> Option<String> {
        let mut address = None;
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.ends_with(": serving") => return address,
                Ok(line) => address = line.split_once("listening on ").map(|(_, address)| address.to_owned()).or(address),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server takes too long to start:\n{}", self.said()),
            }
        }
    }

    pub async fn connect(&self) -> Option<Channel> {
        let address = tokio::task::block_in_place(|| self.serving())?;
        Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.ok()
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// It is told to stop, and does so in order.
    pub fn stop(self) {
        let (status, said) = self.terminated();
        assert!(status.success(), "{status}: {said}");
    }

    pub fn terminated(mut self) -> (ExitStatus, String) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
        self.end()
    }

    /// It ends by itself, which is waited for.
    pub fn ended(mut self) -> (ExitStatus, String) {
        self.end()
    }

    fn end(&mut self) -> (ExitStatus, String) {
        let status = support::wait(&mut self.process, PATIENCE);
        let status = status.unwrap_or_else(|| panic!("the server does not end:\n{}", self.said()));
        (status, self.whole_log())
    }

    fn whole_log(&self) -> String {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.said()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("a child can be asked").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A second time does no harm.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `loyaltyd check` finds nothing.
pub fn check(data: &Path) {
    let output = loyaltyd().arg("check").arg("--data").arg(data).output().expect("a check runs");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "check failed: {failed}\n{said}");
}
