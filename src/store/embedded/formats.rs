//! Formats of what is on disk, and what happens when another version of the program wrote it.
//!
//! - The key file, the file of a backup, and segments with their records have a format each. A higher one than this version knows is
//!   refused before anything is changed: what it says could only be misread. A lower one is read for ever.
//! - A version that writes another format of records begins a new segment with it, and never writes it into a segment of a lower one. So
//!   the headers of the segments, which are all read before anything else is done, say whether there is a newer record anywhere.
//! - A record whose message has another field than the version before knows is a record of another format. `tests/it/released.rs` holds
//!   us to it: it compares the messages with those of the last release.
//! - The tables have a format too (`rows.rs`). Whatever it is, tables of another one are made again from the journal.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use super::{
    JOURNAL, KEYS,
    journal::segment_paths,
    keys,
    segment::{SEGMENT_HEADER, SegmentHeader, io_error},
};
use crate::{contract::known_fields::UnknownField, store::StoreError};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Before anything in a folder is changed: whether a newer version wrote the journal or the keys. Damage is for others to find.
pub(super) fn refuse_newer(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(KEYS);
    let mut header = [0; keys::SLOT];
    if is_read(&path, &mut header)? {
        keys::refuse_newer(&path, &header)?;
    }
    for path in segment_paths(&folder.join(JOURNAL))? {
        let mut header = [0; SEGMENT_HEADER];
        if is_read(&path, &mut header)? {
            SegmentHeader::refuse_newer(&path, &header)?;
        }
    }
    Ok(())
}

/// False: there are not so many bytes.
fn is_read(path: &Path, bytes: &mut [u8]) -> Result<bool, StoreError> {
    let read = File::open(path).and_then(|file| file.read_exact_at(bytes, 0));
    match read {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof) => Ok(false),
        Err(source) => Err(io_error("reading", path, source)),
    }
}

/// A format that this version does not know. If the bytes that say so are under a checksum, it is no damage.
pub(super) fn newer(path: &Path, what: &str, found: u32, known: u32, is_checked: bool) -> StoreError {
    let or_damage = match is_checked {
        true => "",
        false => " If no newer version ever ran here, these bytes are damaged: then restore the file from a backup.",
    };
    StoreError::Newer(format!(
        "{}: {what} has format {found}, and loyaltyd {VERSION} knows formats up to {known}: a newer version wrote it. Nothing was changed. \
         Use the version that wrote it, or a newer one; to go back to {VERSION}, restore a backup that was taken before the newer one \
         ran.{or_damage}",
        path.display()
    ))
}

/// A record of a known format that says more than this version knows.
pub(super) fn unknown_field(path: &Path, offset: u64, field: &UnknownField) -> StoreError {
    StoreError::Newer(format!(
        "{} at byte {offset}: the record has {field}, which loyaltyd {VERSION} does not know: a newer version wrote it, and without it \
         balances would be wrong. The journal and the keys were not changed. Use the version that wrote it, or a newer one; to go back to \
         {VERSION}, restore a backup that was taken before the newer one ran",
        path.display()
    ))
}
