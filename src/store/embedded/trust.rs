//! Whether the tables on disk are what was written to them. sled calls no fsync, so after a cut of power its files may be anything, also
//! something that opens. A mark beside them, which is made durable before they change, says how they were left:
//!
//! - clean: they were made durable and have not changed since;
//! - open: they were in use. The kernel keeps what was handed to it when only the process ends, so they can be trusted by the same
//!   running kernel, and in the same file: a copy may have been taken while they changed;
//! - no mark: they failed while they were in use, or held what cannot be right.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::{journal::sync_folder, segment::io_error};
use crate::store::StoreError;

const CLEAN: &str = "clean";
const MARK: &str = "CHECKPOINT";

/// False: they have to be made again.
pub(super) fn may_be_trusted(folder: &Path, log: &Path) -> bool {
    match fs::read_to_string(folder.join(MARK)) {
        Ok(mark) => mark.trim() == CLEAN || open_mark(log).is_some_and(|now| mark.trim() == now),
        Err(_) => false,
    }
}

pub(super) fn mark_clean(folder: &Path) -> Result<(), StoreError> {
    write_mark(folder, CLEAN)
}

/// Before anything is written to the tables.
pub(super) fn mark_open(folder: &Path, log: &Path) -> Result<(), StoreError> {
    write_mark(folder, &open_mark(log).unwrap_or_default())
}

/// Nobody trusts them any more.
pub(super) fn unmark(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(MARK);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error("removing", &path, source)),
        Ok(()) | Err(_) => sync_folder(folder),
    }
}

/// Which kernel runs and which file it is; `None` where that cannot be known.
fn open_mark(log: &Path) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let file = fs::metadata(log).ok()?;
    Some(format!("open {} {} {}", boot.trim(), file.dev(), file.ino()))
}

fn write_mark(folder: &Path, mark: &str) -> Result<(), StoreError> {
    let path = folder.join(MARK);
    let unfinished = folder.join("CHECKPOINT.new");
    let write = || {
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{mark}")?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    };
    write().map_err(|source| io_error("writing", &path, source))?;
    sync_folder(folder)
}
