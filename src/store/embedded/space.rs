//! Room on the disk, which is asked for before the tables are written: sled cannot go on after a write that failed, and a disk that is
//! full is no reason to make the tables again.

use std::path::Path;

/// sled writes whole leaves, snapshots and segments of half a megabyte of its own; the redo file comes on top.
const FOR_EACH_BYTE: u64 = 4;
const ALWAYS: u64 = 8 << 20;

/// Whether rows of so many bytes can be written to the tables. Where that cannot be known, it is tried.
pub(super) fn is_left_for(rows: usize, folder: &Path) -> bool {
    let needed = (rows as u64).saturating_mul(FOR_EACH_BYTE).saturating_add(ALWAYS);
    fs4::available_space(folder).map_or(true, |free| free >= needed)
}
