//! The journal: the ledger itself, append-only, in segment files. The layout is in the docs of the parent module.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    compress::gap,
    packed::FrameCache,
    segment::{
        Found, Hash, MAX_PAYLOAD, RECORD_HEADER, Record, SEGMENT_HEADER, Segment, SegmentHeader, Tail, damaged, io_error, refusable,
        seal_record,
    },
    spare::Spare,
    torn,
};
use crate::store::{Histogram, Statistics, StoreError, statistics::TIMES};

const EXTENSION: &str = "seg";
/// A segment that is being made; it becomes one when it is renamed.
pub(super) const UNFINISHED: &str = "new";
const SPARE: &str = "spare.new";

/// Where some bytes lie in the journal, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The first commit of the segment, which names its file.
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// Reading, from any thread.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// In their order; never empty.
    segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) frames: Arc<FrameCache>,
    /// Number of the last commit that is known to be on disk.
    durable: AtomicU64,
    /// Told whenever a segment is closed.
    pub(super) closed: Signal,
    /// Bytes that were appended since the start.
    appended: AtomicU64,
    /// How long it took to make each record durable, in nanoseconds.
    syncs: Histogram,
}

/// Lets a thread sleep until there is something to do.
#[derive(Debug, Default)]
pub(super) struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(super) fn give(&self) {
        *self.given.lock().expect("nobody panics while holding the signal") = true;
        self.changed.notify_all();
    }

    /// Until it is given the next time.
    pub(super) fn wait(&self) {
        let given = self.given.lock().expect("nobody panics while holding the signal");
        *self.changed.wait_while(given, |given| !*given).expect("nobody panics while holding the signal") = false;
    }
}

/// Writing: one of a kind.
#[derive(Debug)]
pub(super) struct Appender {
    journal: Arc<Journal>,
    segment: Arc<Segment>,
    segment_bytes: u64,
    /// The next segment's file, in the making.
    spare: Option<Spare>,
    /// Where the next record goes.
    offset: u64,
    next_seq: u64,
    last_hash: Hash,
    /// Where what was not wholly written at the end of the segment ends, until it is cut off.
    torn: Option<u64>,
    /// The segment's last record and where it is, until it is known to be on disk.
    unsure: Option<(u64, Vec<u8>)>,
}

/// Where a record has been written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) seq: u64,
    pub(super) hash: Hash,
    pub(super) segment: u64,
    /// Number of the segment, from 1.
    pub(super) segment_index: u64,
    /// Of the payload in the segment.
    pub(super) payload_offset: u64,
}

/// The journal's segments in a folder, sorted; none if there is no folder.
pub(super) fn segment_paths(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for item in fs::read_dir(folder).map_err(|source| io_error("listing", folder, source))? {
        let path = item.map_err(|source| io_error("listing", folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Journal {
    /// Makes the first segment.
    pub(super) fn create(folder: &Path, store_id: [u8; 16], segment_bytes: u64) -> Result<(), StoreError> {
        fs::create_dir_all(folder).map_err(|source| io_error("creating", folder, source))?;
        sync_folder(folder.parent().unwrap_or(folder))?;
        let header = SegmentHeader { store_id, index: 1, first_seq: 1, previous: [0; 32] };
        create_segment(folder, header, segment_bytes, None).map(|_| ())
    }

    /// Opens the segments that there are; at least one.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let journal = Self::open_segments(folder, true)?;
        remove_unfinished(folder)?;
        Ok(journal)
    }

    /// The same, without changing anything, now or later.
    pub(super) fn open_to_read(folder: &Path) -> Result<Self, StoreError> {
        Self::open_segments(folder, false)
    }

    fn open_segments(folder: &Path, writable: bool) -> Result<Self, StoreError> {
        let frames = Arc::new(FrameCache::default());
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for path in segment_paths(folder)? {
            let segment = Segment::open(&path, writable, &frames)?;
            let header = &segment.header;
            if path.file_stem().and_then(|stem| stem.to_str()) != Some(&file_stem(header.first_seq)) {
                return Err(damaged(&path, 0, "the file's name is not that of its first commit"));
            }
            match segments.last() {
                Some(before) if before.header.store_id != header.store_id => {
                    return Err(damaged(&path, 0, "the segment belongs to another store than the one before it"));
                }
                Some(before) if before.header.index + 1 != header.index => {
                    return Err(damaged(&path, 0, &format!("segment {} is missing before it", before.header.index + 1)));
                }
                None if header.index != 1 => return Err(damaged(&path, 0, "the segments before it are missing")),
                Some(_) | None => {}
            }
            segments.push(Arc::new(segment));
        }
        if segments.is_empty() {
            return Err(StoreError::Damaged(format!("{} has no segments", folder.display())));
        }
        let (segments, durable, closed) = (RwLock::new(segments), AtomicU64::new(0), Signal::default());
        let (appended, syncs) = (AtomicU64::new(0), Histogram::new(TIMES));
        Ok(Self { folder: folder.to_owned(), segments, frames, durable, closed, appended, syncs })
    }

    pub(super) fn store_id(&self) -> [u8; 16] {
        self.segments()[0].header.store_id
    }

    /// All of them as of now, in their order.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().expect("no reader of the list panics").clone()
    }

    /// Number of the last commit that is on disk: a copy may go that far and no further.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Puts another form of the same segment in its place; readers that have the old one go on with it.
    pub(super) fn replace(&self, segment: Segment) -> Arc<Segment> {
        let segment = Arc::new(segment);
        let mut segments = self.segments.write().expect("no reader of the list panics");
        let place = segments.binary_search_by_key(&segment.header.first_seq, |segment| segment.header.first_seq);
        segments[place.expect("a journal loses no segment")] = segment.clone();
        segment
    }

    /// Finds the end. Changes nothing yet.
    pub(super) fn appender(self: &Arc<Self>, segment_bytes: u64) -> Result<Appender, StoreError> {
        let segment = self.segments().pop().expect("a journal has a segment");
        let mut end = Cursor::at_start(&segment);
        let mut unsure = None;
        while let Some(record) = end.next(&segment)? {
            let previous = end.previous;
            end.pass(&record);
            unsure = Some((record, previous));
        }
        let unsure = unsure.map(|(record, previous)| (record.offset, record.to_bytes(&previous)));
        let torn = match segment.tail(end.offset)? {
            Tail::Empty => None,
            Tail::Torn { end } => Some(end),
            Tail::RecordBehind(_) => {
                return Err(damaged(&segment.path, end.offset, "the record cannot be read, and whole records follow it"));
            }
        };
        let (offset, next_seq, last_hash) = (end.offset, end.seq, end.previous);
        Ok(Appender { journal: self.clone(), segment, segment_bytes, spare: None, offset, next_seq, last_hash, torn, unsure })
    }

    /// Reads all records from `first` on, in their order, and verifies the chain of those in the segments that it reads.
    pub(super) fn replay(&self, first: u64, mut each: impl FnMut(&Segment, Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let segments = self.segments();
        let from = segments.iter().rposition(|segment| segment.header.first_seq <= first).unwrap_or(0);
        for (index, segment) in segments.iter().enumerate().skip(from) {
            let mut cursor = Cursor::at_start(segment);
            while let Some(record) = cursor.next(segment)? {
                cursor.pass(&record);
                if record.seq >= first {
                    each(segment, record)?;
                }
            }
            match segments.get(index + 1).map(|next| &next.header) {
                Some(next) if next.first_seq != cursor.seq || next.previous != cursor.previous => {
                    return Err(gap(segment, &cursor, next));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// The hash of a record, by reading its segment; zeros for number 0.
    pub(super) fn hash_of(&self, seq: u64) -> Result<Option<Hash>, StoreError> {
        let segments = self.segments();
        if let Some(next) = segments.iter().find(|segment| segment.header.first_seq == seq + 1) {
            return Ok(Some(next.header.previous));
        }
        let Some(segment) = segments.iter().rfind(|segment| segment.header.first_seq <= seq) else { return Ok(None) };
        let cursor = Cursor::behind(segment, seq)?;
        Ok((cursor.seq == seq + 1).then_some(cursor.previous))
    }

    /// Reads what lies at a position and verifies it.
    pub(super) fn read(&self, position: &Position) -> Result<Vec<u8>, StoreError> {
        if position.length as usize > MAX_PAYLOAD {
            return Err(StoreError::Tables("a row names a place that cannot be in the journal".to_owned()));
        }
        let segments = self.segments.read().expect("no reader of the list panics");
        let place = segments.binary_search_by_key(&position.segment, |segment| segment.header.first_seq);
        let segment = segments.get(place.unwrap_or(usize::MAX)).cloned();
        drop(segments);
        let segment = segment.ok_or_else(|| StoreError::Tables("a row names a segment that the journal does not have".to_owned()))?;
        let mut bytes = vec![0; position.length as usize];
        if !segment.read(&mut bytes, position.offset)? || crc32c::crc32c(&bytes) != position.crc {
            return Err(damaged(&segment.path, position.offset, "an entry does not match its checksum"));
        }
        Ok(bytes)
    }

    /// What it knows of itself; of the tables nothing.
    pub(super) fn statistics(&self) -> Statistics {
        let segments = self.segments();
        Statistics {
            commits: self.durable.load(Ordering::Acquire),
            journal_files: segments.len() as u64,
            // A file that cannot be asked counts nothing: this is no place to fail.
            journal_bytes: segments.iter().filter_map(|segment| Some(segment.file.metadata().ok()?.len())).sum(),
            appended_bytes: self.appended.load(Ordering::Relaxed),
            syncs: self.syncs.seen(),
            ..Statistics::default()
        }
    }

    /// The file that a position is in.
    pub(super) fn path_of(&self, position: &Position) -> PathBuf {
        segment_path(&self.folder, position.segment)
    }
}

/// Walks along the records of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub(super) offset: u64,
    /// Of the record that comes next.
    pub(super) seq: u64,
    pub(super) previous: Hash,
}

impl Cursor {
    /// Behind record number `last`, or behind the last one that is whole.
    pub(super) fn behind(segment: &Segment, last: u64) -> Result<Self, StoreError> {
        let mut cursor = Self::at_start(segment);
        while cursor.seq <= last
            && let Some(record) = cursor.next(segment)?
        {
            cursor.pass(&record);
        }
        Ok(cursor)
    }

    pub(super) fn at_start(segment: &Segment) -> Self {
        Self { offset: SEGMENT_HEADER as u64, seq: segment.header.first_seq, previous: segment.header.previous }
    }

    pub(super) fn next(&self, segment: &Segment) -> Result<Option<Record>, StoreError> {
        match segment.record(self.offset, self.seq, &self.previous)? {
            Found::Record(record) => Ok(Some(record)),
            Found::Nothing => Ok(None),
            Found::Foreign => Err(damaged(&segment.path, self.offset, "the record does not continue the chain of those before it")),
        }
    }

    pub(super) fn pass(&mut self, record: &Record) {
        *self = Self { offset: record.end(), seq: record.seq + 1, previous: record.hash };
    }
}

impl Appender {
    pub(super) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Number of the segment that is written to, from 1.
    pub(super) fn segment_index(&self) -> u64 {
        self.segment.header.index
    }

    /// The error that it is when a commit behind the end is known to have been acknowledged.
    pub(super) fn lacks_acknowledged(&self, seq: u64) -> StoreError {
        if self.torn.is_some() {
            return damaged(&self.segment.path, self.offset, "the record cannot be read, but its commit was acknowledged");
        }
        self.end_is_missing(&format!("commits up to commit {seq} were acknowledged"))
    }

    fn end_is_missing(&self, but: &str) -> StoreError {
        let (folder, last) = (self.journal.folder.display(), self.last_seq());
        StoreError::Damaged(format!(
            "{folder}: the journal ends with commit {last}, but {but}: its end is missing. Nothing was changed. Find the newest segments, \
             or restore them from a backup. If the store was meant to go back to commit {last}, remove the folder `tables` beside the \
             journal: then the commits after it are given up"
        ))
    }

    /// Goes on with the last segment, if it is the last one. With tables, one that was compressed says that newer ones are missing: only
    /// closed ones are. (That one was cut to its end says nothing: a restore leaves it so, and segments may have been smaller.) Without
    /// tables, whatever was behind it was given up, and it is made as one that is written to.
    pub(super) fn reopen_last(&mut self, has_tables: bool) -> Result<(), StoreError> {
        if has_tables {
            return match self.segment.packed.is_some() {
                true => Err(self.end_is_missing("the segment that it is in was closed, and newer ones were there")),
                false => Ok(()),
            };
        }
        if self.segment.packed.is_some() {
            self.segment = self.journal.replace(unpack(&self.segment, self.offset, &self.journal.frames)?);
        }
        self.make_room()
    }

    /// Most have it: they were made with all their room, and a sync here would wait for whatever else is being written to the disk.
    fn make_room(&self) -> Result<(), StoreError> {
        if self.segment.length()? >= self.segment_bytes {
            return Ok(());
        }
        let path = &self.segment.path;
        allocate(&self.segment.file, path, self.segment_bytes)?;
        sync(&self.segment.file, path)
    }

    /// Makes sure of the last record, before anything else knows of it. It may come from the kernel's memory alone: if a sync failed, which
    /// ended the process before this one, Linux takes the pages as written all the same, and another sync would write nothing. Each
    /// record before it was synced before the next was written.
    pub(super) fn secure(&mut self) -> Result<(), StoreError> {
        let unsure = self.unsure.take();
        let durable = self.last_seq();
        // A compressed segment was synced before it was given its name.
        let Some((offset, record)) = unsure.filter(|_| self.segment.packed.is_none()) else {
            self.journal.durable.store(durable, Ordering::Release);
            return Ok(());
        };
        let path = &self.segment.path;
        self.segment.file.write_all_at(&record, offset).map_err(|source| io_error("writing", path, source))?;
        self.segment.file.sync_data().map_err(|source| io_error("syncing", path, source))?;
        self.journal.durable.store(durable, Ordering::Release);
        Ok(())
    }

    /// Cuts a torn tail off, and makes room for what comes. Behind [`Appender::reopen_last`].
    pub(super) fn prepare(&mut self) -> Result<(), StoreError> {
        if let Some(torn) = self.torn.take() {
            torn::cut_off(&self.segment, self.offset, torn, self.next_seq - 1)?;
        }
        self.make_room()
    }

    /// Appends a record and makes it durable. [`StoreError::NoSpace`]: the record is not there, and the next goes to its place. After any
    /// other error nothing may be appended: what is on disk is not known. The first [`RECORD_HEADER`] bytes are kept free for its header.
    pub(super) fn append(&mut self, record: &mut [u8]) -> Result<Appended, StoreError> {
        if self.offset + record.len() as u64 > self.segment_bytes && self.offset > SEGMENT_HEADER as u64 {
            self.start_segment(record.len() as u64)?;
        }
        let hash = seal_record(record, self.next_seq, &self.last_hash);
        let path = &self.segment.path;
        // A part of it that was written is as good as nothing: it is no whole record.
        let written = self.segment.file.write_all_at(record, self.offset);
        written.map_err(|source| refusable(io_error("appending to", path, source)))?;
        let begun = Instant::now();
        self.segment.file.sync_data().map_err(|source| io_error("syncing", path, source))?;
        self.journal.syncs.observe_time(begun.elapsed());
        self.journal.appended.fetch_add(record.len() as u64, Ordering::Relaxed);
        let appended = Appended {
            seq: self.next_seq,
            hash,
            segment: self.segment.header.first_seq,
            segment_index: self.segment.header.index,
            payload_offset: self.offset + RECORD_HEADER as u64,
        };
        self.journal.durable.store(self.next_seq, Ordering::Release);
        self.offset += record.len() as u64;
        self.next_seq += 1;
        self.last_hash = hash;
        match &self.spare {
            None if self.offset > self.segment_bytes / 4 => self.make_spare()?,
            Some(spare) if self.offset > self.segment_bytes / 4 * 3 => spare.hurry(),
            None | Some(_) => {}
        }
        Ok(appended)
    }

    fn make_spare(&mut self) -> Result<(), StoreError> {
        let spare = Spare::begin(self.journal.folder.join(SPARE), self.segment_bytes);
        self.spare = Some(spare.map_err(|source| io_error("starting a thread for", &self.journal.folder, source))?);
        Ok(())
    }

    fn start_segment(&mut self, record: u64) -> Result<(), StoreError> {
        let old = &self.segment;
        let header = SegmentHeader {
            store_id: old.header.store_id,
            index: old.header.index + 1,
            first_seq: self.next_seq,
            previous: self.last_hash,
        };
        let size = self.segment_bytes.max(SEGMENT_HEADER as u64 + record);
        // Without the spare one, for whatever reason, the file is made here and now.
        let spare = self.spare.take().and_then(Spare::file).filter(|_| size == self.segment_bytes);
        let segment = Arc::new(create_segment(&self.journal.folder, header, size, spare)?);
        // What was preallocated and not used; a crash before this does no harm.
        old.file.set_len(self.offset).map_err(|source| io_error("cutting", &old.path, source))?;
        self.journal.segments.write().expect("no reader of the list panics").push(segment.clone());
        self.segment = segment;
        self.offset = SEGMENT_HEADER as u64;
        self.journal.closed.give();
        Ok(())
    }
}

fn file_stem(first_seq: u64) -> String {
    format!("{first_seq:020}")
}

pub(super) fn segment_path(folder: &Path, first_seq: u64) -> PathBuf {
    folder.join(file_stem(first_seq)).with_extension(EXTENSION)
}

pub(super) fn remove_unfinished(folder: &Path) -> Result<(), StoreError> {
    for item in fs::read_dir(folder).map_err(|source| io_error("listing", folder, source))? {
        let path = item.map_err(|source| io_error("listing", folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(&path).map_err(|source| io_error("removing", &path, source))?;
        }
    }
    Ok(())
}

/// Puts the plain form of a segment, as far as `end`, in the place of its compressed form.
pub(super) fn unpack(segment: &Segment, end: u64, frames: &Arc<FrameCache>) -> Result<Segment, StoreError> {
    let unfinished = segment.path.with_extension(UNFINISHED);
    copy_plain(segment, end, &unfinished)?;
    fs::rename(&unfinished, &segment.path).map_err(|source| io_error("renaming", &unfinished, source))?;
    sync_folder(segment.path.parent().unwrap_or(&segment.path))?;
    Segment::open(&segment.path, true, frames)
}

/// Writes the plain form of a segment, as far as `end`, to a file, durably.
pub(super) fn copy_plain(segment: &Segment, end: u64, target: &Path) -> Result<(), StoreError> {
    let file = create_file(target)?;
    let mut part = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < end {
        let length = part.len().min(usize::try_from(end - offset).unwrap_or(part.len()));
        if !segment.read(&mut part[..length], offset)? {
            return Err(damaged(&segment.path, offset, "the segment changed while it was read"));
        }
        file.write_all_at(&part[..length], offset).map_err(|source| io_error("writing", target, source))?;
        offset += length as u64;
    }
    sync(&file, target)
}

/// Makes a segment under another name, and renames it when it is durable: what has a segment's name has a whole header.
fn create_segment(folder: &Path, header: SegmentHeader, size: u64, spare: Option<File>) -> Result<Segment, StoreError> {
    let path = segment_path(folder, header.first_seq);
    let unfinished = if spare.is_some() { folder.join(SPARE) } else { path.with_extension(UNFINISHED) };
    let make = || {
        let file = match spare {
            Some(file) => file,
            None => {
                let file = create_file(&unfinished)?;
                allocate(&file, &unfinished, size)?;
                file
            }
        };
        file.write_all_at(&header.to_bytes(), 0).map_err(|source| io_error("writing", &unfinished, source))?;
        sync(&file, &unfinished)?;
        fs::rename(&unfinished, &path).map_err(|source| io_error("renaming", &unfinished, source))?;
        Ok(file)
    };
    let file = make().map_err(|error| {
        // Whatever it was, nothing that counts was touched yet.
        let _ = fs::remove_file(&unfinished);
        refusable(error)
    })?;
    sync_folder(folder)?;
    Ok(Segment { path, file, header, packed: None })
}

pub(super) fn create_file(path: &Path) -> Result<File, StoreError> {
    let opened = File::options().read(true).write(true).create(true).truncate(true).open(path);
    opened.map_err(|source| io_error("creating", path, source))
}

/// So that the file system has the blocks, and fdatasync has no metadata to write.
fn allocate(file: &File, path: &Path, size: u64) -> Result<(), StoreError> {
    let failed = |source| io_error("allocating", path, source);
    fs4::FileExt::allocate(file, size).map_err(failed)?;
    // It leaves the length alone if the file has enough blocks already.
    if file.metadata().map_err(failed)?.len() < size { file.set_len(size).map_err(failed) } else { Ok(()) }
}

pub(super) fn sync(file: &File, path: &Path) -> Result<(), StoreError> {
    file.sync_all().map_err(|source| io_error("syncing", path, source))
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    // The parent of a relative path of one component is empty and means the working folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let file = File::open(folder).map_err(|source| io_error("opening", folder, source))?;
    sync(&file, folder)
}
