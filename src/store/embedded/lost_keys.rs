//! When keys are lost for good: the members whose keys they were are declared erased, which is what they are.

use std::path::Path;

use prost::Message as _;

use super::{JOURNAL, KEYS, Options, decode::Malformed, decode::Unreadable, journal::Journal, keys::KeyFile, sealing, stored};
use crate::store::StoreError;

/// Marks each slot that the journal names and the key file lacks or cannot read as wiped. Without a key file it makes one. Gives the number
/// of slots. The tables must be gone: they may hold what was found with the lost keys.
pub(super) fn accept(folder: &Path, options: &Options) -> Result<u64, StoreError> {
    let journal = Journal::open_to_read(&folder.join(JOURNAL))?;
    let last = last_slot(&journal)?;
    let path = folder.join(KEYS);
    if !path.exists() {
        KeyFile::create(&path, journal.store_id(), options.operator_key.as_ref())?;
    }
    let (keys, _) = KeyFile::open(&path, options.operator_key.as_ref())?;
    // With another operator's key nothing could be read, though nothing is lost.
    keys.index_key()?;
    if keys.store_id() != journal.store_id() {
        return Err(StoreError::Refused(format!("{} is of another store than the journal: move it away", path.display())));
    }
    keys.wipe_lost(last)
}

/// The highest that the journal names; 0 if it names none.
fn last_slot(journal: &Journal) -> Result<u32, StoreError> {
    let mut last = 0;
    journal.replay(1, |segment, record| {
        let slot = highest(&record.payload).map_err(|fault| Unreadable::from(fault).in_journal(&segment.path, record.offset))?;
        last = last.max(slot);
        Ok(())
    })?;
    Ok(last)
}

fn highest(payload: &[u8]) -> Result<u32, Malformed> {
    let commit = stored::Commit::decode(payload).map_err(|_| Malformed("a commit"))?;
    let sealed = commit.members.iter().flat_map(|change| &change.entries).map(|entry| &entry.sealed).filter(|sealed| !sealed.is_empty());
    sealed.map(|sealed| sealing::slot_of(sealed)).try_fold(0, |last, slot| Ok(last.max(slot?)))
}
