//! What the system says of this process and of the disk that its data is on. What it does not say is left out.

use std::{fs, path::Path};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    pub resident_bytes: Option<u64>,
    pub open_files: Option<u64>,
    pub disk_free_bytes: Option<u64>,
    pub disk_bytes: Option<u64>,
}

impl Process {
    /// With the disk that a folder is on.
    pub fn now(folder: &Path) -> Self {
        Self {
            resident_bytes: resident_bytes(),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            disk_free_bytes: fs4::available_space(folder).ok(),
            disk_bytes: fs4::total_space(folder).ok(),
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_files_and_a_disk() {
        let Process { resident_bytes, open_files, disk_free_bytes, disk_bytes } = Process::now(&std::env::temp_dir());
        assert!(resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{resident_bytes:?}");
        assert!(open_files.is_some_and(|files| files > 2), "{open_files:?}");
        assert!(disk_free_bytes.zip(disk_bytes).is_some_and(|(free, all)| free <= all), "{disk_free_bytes:?} of {disk_bytes:?}");
    }
}
