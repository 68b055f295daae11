//! Where the own server's data lies and how fast a change is durable there: without that a rate of durable changes says nothing.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Value, json};

/// Syncs that are measured.
const SYNCS: usize = 101;
/// Written before each: about a small group of purchases.
const WRITTEN: [u8; 4096] = [0; 4096];

#[derive(Debug, Clone)]
pub struct Storage {
    folder: PathBuf,
    /// Such as `ext4`; `unknown` where the system does not tell.
    file_system: String,
    fdatasync_p50_microseconds: u64,
}

impl Storage {
    /// Measures in the folder; takes a moment on a slow disk.
    pub fn measure(folder: &Path) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        let probe = folder.join("fdatasync");
        let mut file = File::create_new(&probe)?;
        let mut taken = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            file.write_all(&WRITTEN)?;
            let started = Instant::now();
            file.sync_data()?;
            taken.push(started.elapsed());
        }
        fs::remove_file(&probe)?;
        taken.sort_unstable();
        let median = taken[SYNCS / 2].as_micros();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let file_system = file_system(&mounts, &folder).unwrap_or("unknown").to_owned();
        Ok(Self { folder, file_system, fdatasync_p50_microseconds: u64::try_from(median).unwrap_or(u64::MAX) })
    }

    /// On standard error, if nothing is durable there.
    pub fn warn(&self) {
        if matches!(self.file_system.as_str(), "tmpfs" | "ramfs" | "devtmpfs") {
            eprintln!(
                "warning: {} lies in memory ({}): nothing is durable there; name a folder on a disk with --data",
                self.folder.display(),
                self.file_system
            );
        }
    }

    /// The median.
    pub fn fdatasync_milliseconds(&self) -> f64 {
        self.fdatasync_p50_microseconds as f64 / 1000.0
    }

    pub fn as_json(&self) -> Value {
        json!({
            "folder": self.folder.to_string_lossy(),
            "file_system": self.file_system,
            "fdatasync_p50_microseconds": self.fdatasync_p50_microseconds,
        })
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.fdatasync_milliseconds();
        write!(formatter, "storage: {} ({}), fdatasync p50 {milliseconds:.3} ms", self.folder.display(), self.file_system)
    }
}

/// The type of the innermost mount around the folder, from the text of Linux' `mountinfo`.
fn file_system<'m>(mounts: &'m str, folder: &Path) -> Option<&'m str> {
    let around = mounts.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        folder.starts_with(&point).then_some((point.len(), rest.split(' ').next()?))
    });
    // Of two mounts at one point the later one is in force, which is also what max_by_key takes.
    around.max_by_key(|(length, _)| *length).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "20 1 0:1 / / rw - overlay none rw\n21 20 0:2 / /data rw shared:1 - ext4 /dev/x rw\n\
                      22 21 0:3 / /data/my\\040disk rw - xfs /dev/y rw\n23 20 0:4 / /data2 rw - tmpfs none rw\n24 20 0:5 / /data2 rw - btrfs z rw\n";
        let told = |folder| file_system(mounts, Path::new(folder));
        assert_eq!(
            ["/data/a", "/data/my disk/a", "/database", "/data2"].map(told),
            [Some("ext4"), Some("xfs"), Some("overlay"), Some("btrfs")]
        );
        assert_eq!(file_system("", Path::new("/data")), None);
    }
}
