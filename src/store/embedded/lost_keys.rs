//! When keys are lost for good: the members whose keys they were are declared erased, which is what they are.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    JOURNAL, KEYS, Options,
    decode::Unreadable,
    journal::{Journal, sync, sync_folder},
    keys::KeyFile,
    known, sealing,
    segment::io_error,
};
use crate::store::StoreError;

/// Of the key file, as it was.
const COPY: &str = "keys.before-accept";

/// Where the copy of a key file lies, if there is one.
pub(super) fn copy_of(keys: &Path) -> PathBuf {
    keys.with_file_name(COPY)
}

/// What became of the key file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Members whose keys were declared erased.
    pub lost: u64,
    /// Members that were not erased before, by the journal.
    pub before: u64,
    /// The key file as it was before, if there was one and it was changed. It holds keys: whoever keeps it can undo erasures.
    pub copy: Option<PathBuf>,
}

/// Marks each slot that the journal names and the key file lacks or cannot read as wiped, and keeps a copy of the file as it was. Without a
/// key file it makes one. The tables must be gone: they may hold what was found with the lost keys.
pub(super) fn accept(folder: &Path, options: &Options) -> Result<Accepted, StoreError> {
    let journal = Journal::open_to_read(&folder.join(JOURNAL))?;
    let last = last_slot(&journal)?;
    let path = folder.join(KEYS);
    let copy = path.exists().then(|| copy_of(&path));
    if copy.is_none() {
        KeyFile::create(&path, journal.store_id(), options.operator_key.as_ref())?;
    }
    let (keys, _) = KeyFile::open(&path, options.operator_key.as_ref())?;
    // With another operator's key nothing could be read, though nothing is lost.
    keys.index_key()?;
    if keys.store_id() != journal.store_id() {
        return Err(StoreError::Refused(format!("{} is of another store than the journal: move it away", path.display())));
    }
    if let Some(copy) = &copy {
        keep(&path, copy)?;
    }
    let (lost, wiped) = keys.wipe_lost(last)?;
    let before = u64::from(last).saturating_sub(1) - wiped;
    match copy {
        Some(copy) if lost == 0 => {
            fs::remove_file(&copy).map_err(|source| io_error("removing", &copy, source))?;
            Ok(Accepted { lost, before, copy: None })
        }
        copy => Ok(Accepted { lost, before, copy }),
    }
}

/// Copies the key file, durably.
fn keep(keys: &Path, copy: &Path) -> Result<(), StoreError> {
    let opened = File::options().write(true).create_new(true).mode(0o600).open(copy);
    let mut to = opened.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => {
            let what = "is there from before: move it away if its keys may be needed, or destroy it, and run this again";
            StoreError::Refused(format!("{} {what}", copy.display()))
        }
        _ => io_error("creating", copy, source),
    })?;
    let mut from = File::open(keys).map_err(|source| io_error("opening", keys, source))?;
    std::io::copy(&mut from, &mut to).map_err(|source| io_error("copying", keys, source))?;
    sync(&to, copy)?;
    sync_folder(keys.parent().unwrap_or(keys))
}

/// The highest that the journal names; 0 if it names none.
fn last_slot(journal: &Journal) -> Result<u32, StoreError> {
    let mut last = 0;
    journal.replay(1, |segment, record| {
        let slot = highest(&record.payload).map_err(|fault| fault.in_journal(&segment.path, record.offset))?;
        last = last.max(slot);
        Ok(())
    })?;
    Ok(last)
}

fn highest(payload: &[u8]) -> Result<u32, Unreadable> {
    let commit = known::commit(payload)?;
    let sealed = commit.members.iter().flat_map(|change| &change.entries).map(|entry| &entry.sealed).filter(|sealed| !sealed.is_empty());
    sealed.map(|sealed| sealing::slot_of(sealed)).try_fold(0, |last, slot| Ok(last.max(slot?)))
}
