//! The server in a process of its own, and how to see what it is doing the instant before it is killed: it is stopped (SIGSTOP), looked at
//! from outside (its log, its threads, its files), and killed without having gone on.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{self, loyaltyd};

/// No step of a server's life takes longer here, not even to make all tables again in a debug build on a busy machine, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Threads by which is told what a server is doing.
pub const TABLES_OPEN: &str = "tables-open";
pub const ROW_WRITER: &str = "row-writer";
pub const WRITER: &str = "writer";
const SEGMENT_MAKER: &str = "segment-maker";

/// Those that were seen in any server's life so far.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What no server was ever seen to have, though it is looked for: it may have another name now, and then a phase is told wrongly.
pub fn never_seen() -> Vec<&'static str> {
    let seen = SEEN.lock().expect("nobody panics with it");
    [TABLES_OPEN, ROW_WRITER, WRITER, SEGMENT_MAKER].into_iter().filter(|name| !seen.contains(*name)).collect()
}

/// What a server was doing when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before it listened, or while the journal was opened.
    Start,
    /// While sled opened.
    TablesOpen,
    /// While the tables were brought up from the journal.
    Replay,
    /// While the tables were made again from nothing.
    Rebuild,
    /// Answering, and none of the following.
    Serving,
    /// While the file of the next segment was made.
    SegmentMade,
    /// Between the first sight of a new segment and its first record.
    SegmentChange,
    /// While a closed segment was compressed.
    Compression,
    /// While rows were written to the tables.
    RowWriting,
    /// While a backup was taken.
    Backup,
    /// After SIGTERM, with calls under way.
    Drain,
    /// After SIGTERM, while the store was written out.
    WritingOut,
    /// Of `loyaltyd check`.
    Check,
    /// Of `loyaltyd check --repair`.
    Repair,
    /// Of `loyaltyd restore`.
    Restore,
}

impl Phase {
    pub const ALL: [Self; 15] = [
        Self::Start,
        Self::TablesOpen,
        Self::Replay,
        Self::Rebuild,
        Self::Serving,
        Self::SegmentMade,
        Self::SegmentChange,
        Self::Compression,
        Self::RowWriting,
        Self::Backup,
        Self::Drain,
        Self::WritingOut,
        Self::Check,
        Self::Repair,
        Self::Restore,
    ];
}

/// What is made small, so that it happens often.
#[derive(Debug, Clone, Copy)]
pub struct Knobs {
    pub segment_bytes: u64,
    pub waiting_bytes: u64,
}

pub struct Server {
    process: Child,
    data: PathBuf,
    log: PathBuf,
    /// There were no tables when it was started.
    from_nothing: bool,
    told_to_stop: bool,
    /// A process that takes a backup of it.
    backup: Option<Child>,
}

pub fn backup(address: &str, to: &Path) -> Command {
    let mut command = loyaltyd();
    command.args(["backup", "--server", address, "--to"]).arg(to);
    command
}

/// Name and state of a thread.
fn state(stat: &str) -> Option<(String, char)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    Some((name.to_owned(), rest.trim_start().chars().next()?))
}

fn wait(child: &mut Child, what: &str) -> ExitStatus {
    support::wait(child, PATIENCE).unwrap_or_else(|| panic!("{what} does not end"))
}

impl Server {
    pub fn spawn(data: &Path, log: &Path, knobs: Knobs) -> Self {
        let from_nothing = !data.join("tables").exists();
        let said = fs::File::create(log).expect("a log is made");
        let process = loyaltyd()
            .args(["serve", "--listen", "127.0.0.1:0", "--drain-seconds", "5", "--data"])
            .arg(data)
            .env("LOYALTYD_SEGMENT_BYTES", knobs.segment_bytes.to_string())
            .env("LOYALTYD_WAITING_BYTES", knobs.waiting_bytes.to_string())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("the server starts");
        Self { process, data: data.to_owned(), log: log.to_owned(), from_nothing, told_to_stop: false, backup: None }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("the log is read")
    }

    /// Where it listens, once it says that it serves.
    pub fn serving(&mut self) -> String {
        self.wait_for("to serve", |server| {
            let said = server.said();
            let address = said.split_once("listening on ")?.1.lines().next()?.to_owned();
            said.contains(": serving").then_some(address)
        })
    }

    /// Looks often; a server that ends by itself meanwhile is a failure.
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            if let Some(status) = self.process.try_wait().expect("a child can be asked") {
                panic!("the server ended by itself ({status}) where it was {what}; its log:\n{}", self.said());
            }
            assert!(since.elapsed() < PATIENCE, "the server took too long {what}; its log:\n{}", self.said());
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    pub fn terminate(&mut self) {
        self.told_to_stop = true;
        self.signal(Signal::TERM);
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a child can be asked").is_some()
    }

    /// After [`Server::terminate`]: in order, with 0.
    pub fn ended(mut self) {
        let status = wait(&mut self.process, "the server");
        assert_in_order(status, &self.said());
    }

    /// Kills it. `None`: it had ended before, in order, because it was told to.
    pub fn kill(self) -> Option<Phase> {
        // Who sleeps now is not at work; a stopped thread does not tell any more.
        let writing = self.threads().iter().any(|(name, state)| name == ROW_WRITER && *state != 'S');
        self.kill_at(writing)
    }

    /// Kills it as soon as rows are written; if that does not come in this time, after it.
    pub fn kill_writing_rows(self, within: Duration) -> Option<Phase> {
        let named = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == ROW_WRITER);
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).ok();
        let thread = tasks.and_then(|tasks| tasks.flatten().map(|task| task.path()).find(named));
        let since = Instant::now();
        let mut writing = false;
        while !writing && since.elapsed() < within {
            let stat = thread.as_ref().and_then(|task| fs::read_to_string(task.join("stat")).ok());
            writing = stat.and_then(|stat| state(&stat)).is_some_and(|(_, state)| state != 'S');
        }
        self.kill_at(writing)
    }

    fn kill_at(mut self, writing: bool) -> Option<Phase> {
        if self.has_ended() {
            assert!(self.told_to_stop, "the server ended by itself; its log:\n{}", self.said());
            self.ended();
            return None;
        }
        self.signal(Signal::STOP);
        let backing_up = self.backup.as_mut().is_some_and(|backup| backup.try_wait().expect("a child can be asked").is_none());
        let phase = if backing_up { Phase::Backup } else { self.phase(writing) };
        self.process.kill().expect("a child can be killed");
        let status = self.process.wait().expect("a child ends");
        if let Some(backup) = &mut self.backup {
            // Whole, or told what is wrong: the next one goes on where it ended.
            wait(backup, "a backup");
        }
        if status.signal() != Some(9) {
            // It was just ending when it was stopped.
            assert_in_order(status, &self.said());
            return None;
        }
        Some(phase)
    }

    fn phase(&self, writing: bool) -> Phase {
        let said = self.said();
        let threads = self.threads();
        let has = |name: &str| threads.iter().any(|(thread, _)| thread == name);
        if said.contains(": stopping") {
            return if has(WRITER) { Phase::Drain } else { Phase::WritingOut };
        }
        if said.contains(": serving") {
            return match self.newest_segment() {
                Some((_, false)) => Phase::SegmentChange,
                _ if has(SEGMENT_MAKER) => Phase::SegmentMade,
                _ if self.is_compressing() => Phase::Compression,
                _ if writing => Phase::RowWriting,
                Some((_, true)) | None => Phase::Serving,
            };
        }
        match (has(TABLES_OPEN), has(ROW_WRITER)) {
            (true, _) => Phase::TablesOpen,
            (false, true) if self.from_nothing || said.contains("made again from the journal") => Phase::Rebuild,
            (false, true) => Phase::Replay,
            (false, false) => Phase::Start,
        }
    }

    /// Names and states, as the kernel has them.
    pub fn threads(&self) -> Vec<(String, char)> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.process.id())) else { return Vec::new() };
        let stat = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let threads: Vec<(String, char)> = stat.filter_map(|stat| state(&stat)).collect();
        SEEN.lock().expect("nobody panics with it").extend(threads.iter().map(|(name, _)| name.clone()));
        threads
    }

    pub fn has_thread(&self, name: &str) -> bool {
        self.threads().iter().any(|(thread, _)| thread == name)
    }

    /// Its name, and whether it has a record.
    pub fn newest_segment(&self) -> Option<(PathBuf, bool)> {
        use std::os::unix::fs::FileExt;
        let segments = fs::read_dir(self.data.join("journal")).ok()?.flatten().map(|item| item.path());
        let newest = segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max()?;
        let mut magic = [0; 4];
        let read = fs::File::open(&newest).and_then(|file| file.read_exact_at(&mut magic, 128));
        Some((newest, read.is_ok() && &magic == b"LREC"))
    }

    /// Tells one file that is to be the next segment from another.
    pub fn next_segment(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.data.join("journal/spare.new")).map(|made| made.ino()).ok()
    }

    pub fn is_compressing(&self) -> bool {
        let Ok(files) = fs::read_dir(self.data.join("journal")) else { return false };
        files.flatten().any(|item| item.file_name().to_string_lossy().ends_with(".packed.new"))
    }

    /// Begins to take a backup.
    pub fn back_up(&mut self, address: &str, to: &Path) {
        self.backup = Some(backup(address, to).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a backup starts"));
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a process has a small number")).expect("a child has a number");
        // It may have ended; who waits for it sees how.
        let _ = kill_process(pid, signal);
    }
}

fn assert_in_order(status: ExitStatus, said: &str) {
    assert!(status.success(), "the server was told to stop and ended with {status}; its log:\n{said}");
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only after a failure is it still there.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(backup) = &mut self.backup {
            let _ = backup.kill();
            let _ = backup.wait();
        }
    }
}
