//! What is cut off at the end of the journal. Mostly it is a commit that was not finished and that nobody was told of; but whether a record
//! that cannot be read was once whole cannot be seen, so its bytes are kept beside the segment for whoever has to find out.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    journal::{create_file, sync, sync_folder},
    segment::{Segment, damaged, io_error, refusable},
};
use crate::store::StoreError;

/// Behind a segment's name, before the offset.
const MARK: &str = ".seg.cut-";
/// Files of what was cut off; the oldest goes when there is one more.
const KEPT: usize = 8;

/// Overwrites what is behind the last record with zeros, durably, once it is kept. `last`: the commit that the journal ends with.
pub(super) fn cut_off(segment: &Segment, from: u64, to: u64, last: u64) -> Result<(), StoreError> {
    let kept = match keep(segment, from, to) {
        Ok(path) => path.display().to_string(),
        // A disk that became full is often why the commit was not finished, and no reason not to serve.
        Err(StoreError::NoSpace { .. }) => "nowhere: there is no space".to_owned(),
        Err(error) => return Err(error),
    };
    tracing::warn!(
        file = %segment.path.display(),
        offset = from,
        bytes = to - from,
        kept_in = kept,
        "cut off a commit that was not finished, or whose record was damaged; if the disk is suspect compare commit {} with a backup",
        last + 1
    );
    wipe(segment, from, to)
}

fn keep(segment: &Segment, from: u64, to: u64) -> Result<PathBuf, StoreError> {
    let folder = segment.path.parent().unwrap_or(Path::new(""));
    let mut bytes = vec![0; usize::try_from(to - from).expect("a segment fits into memory")];
    if !segment.read(&mut bytes, from)? {
        return Err(damaged(&segment.path, from, "the segment changed while it was read"));
    }
    remove_oldest(folder)?;
    let first = segment.path.with_extension(format!("seg.cut-{from}"));
    let more = (2..).map(|number| segment.path.with_extension(format!("seg.cut-{from}-{number}")));
    let path = std::iter::once(first).chain(more).find(|path| !path.exists()).expect("there are few such files");
    let write = || {
        let file = create_file(&path)?;
        file.write_all_at(&bytes, 0).map_err(|source| io_error("writing", &path, source))?;
        sync(&file, &path)
    };
    if let Err(error) = write() {
        // A part of it would be taken for all of it.
        let _ = fs::remove_file(&path);
        return Err(refusable(error));
    }
    sync_folder(folder)?;
    Ok(path)
}

/// So that there is room for one more.
fn remove_oldest(folder: &Path) -> Result<(), StoreError> {
    let failed = |source| io_error("listing", folder, source);
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for item in fs::read_dir(folder).map_err(failed)? {
        let item = item.map_err(failed)?;
        if item.file_name().to_string_lossy().contains(MARK) {
            kept.push((item.metadata().and_then(|about| about.modified()).map_err(failed)?, item.path()));
        }
    }
    kept.sort();
    for (_, path) in kept.iter().take((kept.len() + 1).saturating_sub(KEPT)) {
        fs::remove_file(path).map_err(|source| io_error("removing", path, source))?;
    }
    Ok(())
}

fn wipe(segment: &Segment, from: u64, to: u64) -> Result<(), StoreError> {
    let zeros = vec![0; usize::try_from(to - from).expect("a segment fits into memory")];
    segment.file.write_all_at(&zeros, from).map_err(|source| io_error("writing", &segment.path, source))?;
    sync(&segment.file, &segment.path)
}
