//! Compressing closed segments, behind the service's back: a segment is written anew in compressed form under another name, read back and
//! compared with the chain, and only then renamed over the plain one. Whenever the process or the machine stops, there is one of both, whole.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use super::{
    journal::{Cursor, Journal, UNFINISHED, sync_folder},
    packed::{self, FrameCache},
    segment::{Segment, SegmentHeader, damaged, io_error},
};
use crate::store::StoreError;

/// Of niceness; the most there is.
const LOWEST_PRIORITY: i32 = 19;

/// The thread that does it, and what others need to do it at once.
pub(super) struct Compressor {
    journal: Arc<Journal>,
    stop: Arc<AtomicBool>,
    /// Held by whoever compresses; segments that could not be.
    given_up: Arc<Mutex<HashSet<u64>>>,
    thread: Option<JoinHandle<()>>,
}

impl Compressor {
    /// `background`: a thread of low priority compresses what is closed already, and each segment when it is closed.
    pub(super) fn start(journal: &Arc<Journal>, background: bool) -> Result<Self, StoreError> {
        let mut compressor = Self { journal: journal.clone(), stop: Arc::default(), given_up: Arc::default(), thread: None };
        if background {
            let (journal, stop, given_up) = (compressor.journal.clone(), compressor.stop.clone(), compressor.given_up.clone());
            let work = move || {
                // Without it the work is done all the same.
                let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
                while !stop.load(Ordering::Relaxed) {
                    compress_closed(&journal, &given_up, &stop);
                    journal.closed.wait();
                }
            };
            let thread = thread::Builder::new().name("compressor".to_owned()).spawn(work);
            let path = journal_folder(&compressor.journal);
            compressor.thread = Some(thread.map_err(|source| io_error("starting a thread for", &path, source))?);
        }
        Ok(compressor)
    }

    /// Compresses here and now what is closed.
    pub(super) fn run(&self) {
        compress_closed(&self.journal, &self.given_up, &self.stop);
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.journal.closed.give();
        if let Some(thread) = self.thread.take() {
            // What it had begun is removed at the next start, also if it panicked.
            let _ = thread.join();
        }
    }
}

fn journal_folder(journal: &Journal) -> std::path::PathBuf {
    let segments = journal.segments();
    segments[0].path.parent().unwrap_or(Path::new("")).to_owned()
}

/// A segment that cannot be compressed stays as it is: the ledger does not depend on it.
fn compress_closed(journal: &Journal, given_up: &Mutex<HashSet<u64>>, stop: &AtomicBool) {
    let Ok(mut given_up) = given_up.lock() else { return };
    let segments = journal.segments();
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        let first_seq = segment.header.first_seq;
        if stop.load(Ordering::Relaxed) || segment.packed.is_some() || given_up.contains(&first_seq) {
            continue;
        }
        let started = Instant::now();
        match compress(segment, &next.header, &journal.frames, stop) {
            Ok(Some(packed)) => {
                let bytes = packed.file.metadata().map_or(0, |about| about.len());
                let milliseconds = started.elapsed().as_millis() as u64;
                tracing::debug!(file = %packed.path.display(), bytes, milliseconds, "compressed a segment of the journal");
                journal.replace(packed);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, file = %segment.path.display(), "a segment of the journal stays uncompressed until the next start");
                given_up.insert(first_seq);
            }
        }
    }
}

/// Puts the compressed form of a closed segment in the place of the plain one. `None`: it was told to stop.
pub(super) fn compress(
    segment: &Segment,
    next: &SegmentHeader,
    cache: &Arc<FrameCache>,
    stop: &AtomicBool,
) -> Result<Option<Segment>, StoreError> {
    let end = end_of(segment, next)?;
    let unfinished = segment.path.with_extension(format!("packed.{UNFINISHED}"));
    let written = write_and_verify(segment, next, &end, &unfinished, stop);
    match written {
        Ok(true) => {}
        Ok(false) | Err(_) => {
            // If it stays, the next start removes it.
            let _ = fs::remove_file(&unfinished);
            return written.map(|_| None);
        }
    }
    fs::rename(&unfinished, &segment.path).map_err(|source| io_error("renaming", &unfinished, source))?;
    sync_folder(segment.path.parent().unwrap_or(&segment.path))?;
    Segment::open(&segment.path, false, cache).map(Some)
}

fn write_and_verify(segment: &Segment, next: &SegmentHeader, end: &Cursor, target: &Path, stop: &AtomicBool) -> Result<bool, StoreError> {
    if !packed::write(segment, end.offset, target, stop)? {
        return Ok(false);
    }
    // With a cache of its own: what was written is what is read.
    let packed = Segment::open(target, false, &Arc::default())?;
    let same = packed.header == segment.header && end_of(&packed, next)?.offset == end.offset;
    if same { Ok(true) } else { Err(damaged(target, 0, "what was compressed is not what the segment holds")) }
}

/// Walks to the end of a closed segment, which the next one continues.
pub(super) fn end_of(segment: &Segment, next: &SegmentHeader) -> Result<Cursor, StoreError> {
    let end = Cursor::behind(segment, u64::MAX)?;
    if end.seq != next.first_seq || end.previous != next.previous {
        return Err(gap(segment, &end, next));
    }
    Ok(end)
}

/// Commits are missing between the end of a segment and the next one.
pub(super) fn gap(segment: &Segment, end: &Cursor, next: &SegmentHeader) -> StoreError {
    let what = format!("the record cannot be read; commits {} to {} are missing", end.seq, next.first_seq.saturating_sub(1));
    damaged(&segment.path, end.offset, &what)
}
