//! What the figures were taken on, and what processes used of it, as Linux tells in `/proc`. Elsewhere the figures are absent.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// Of `/proc/PID/stat`, which counts in ticks of a hundredth of a second whatever the kernel's own are.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
pub struct Machine {
    model: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
}

impl Machine {
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Self {
            model: value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: value(&read("/proc/meminfo"), "MemTotal").and_then(|text| kibibytes(&text)).unwrap_or(0),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned()).filter(|text| !text.is_empty()).unwrap_or_else(unknown),
        }
    }

    pub fn as_json(&self) -> Value {
        json!({
            "cpu": self.model, "cores": self.cores, "memory_bytes": self.memory_bytes, "kernel": self.kernel,
            "rustc": env!("LOYALTYD_RUSTC"), "sled": env!("LOYALTYD_SLED"),
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        writeln!(f, "machine: {}, {} cores, {gib:.1} GiB, Linux {}", self.model, self.cores, self.kernel)?;
        let (version, rustc, sled) = (env!("CARGO_PKG_VERSION"), env!("LOYALTYD_RUSTC"), env!("LOYALTYD_SLED"));
        write!(f, "versions: loyaltyd {version}, {rustc}, sled {sled}")
    }
}

/// A process by its number.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// Time on processors so far, of all its threads, in the kernel too.
    pub fn cpu(self) -> Option<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name stands in brackets and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
        Some(TICK * ticks)
    }

    /// Resident memory now, and the most so far, in bytes.
    pub fn memory(self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let bytes = |name| value(&text, name).and_then(|text| kibibytes(&text));
        Some((bytes("VmRSS")?, bytes("VmHWM")?))
    }

    /// Keeps all its threads to these processors. False where the system has no word for it.
    pub fn keep_to(self, processors: &str) -> bool {
        let mut command = Command::new("taskset");
        command.args(["-a", "-c", "-p", processors, &self.0.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the files of a folder take on disk.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(files) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    files.flatten().map(size).sum()
}
