//! A backup's folder: the journal's segments, as in a data folder, and, there or elsewhere, the key file. It is written in the order in
//! which the parts come and made durable as it goes, so that whoever writes it can be killed at any time: the next run goes on behind the
//! last whole record.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    FolderLock, JOURNAL, KEYS,
    compress::{compress, end_of},
    create_folder,
    journal::{Cursor, Journal, UNFINISHED, create_file, remove_unfinished, segment_path, segment_paths, sync, sync_folder, unpack},
    keys::{check_copy, restrict},
    marker::{self, Marker},
    segment::{SEGMENT_HEADER, Segment, SegmentHeader, damaged, io_error},
};
use crate::store::{
    CommitSeq, StoreError,
    backup::{Held, KEY_BLOCK, Part, key_block_hash},
};

/// Written between two syncs.
const SYNC_EVERY: u64 = 16 << 20;

/// A backup that is being written; no other process writes it.
pub struct Backup {
    folder: PathBuf,
    keys: PathBuf,
    marker: Option<Marker>,
    held: Held,
    compress: bool,
    /// The segment that grows, and where it ends.
    current: Option<(Arc<Segment>, u64)>,
    unsynced: u64,
    key_file: Option<File>,
    ended: bool,
    _lock: FolderLock,
}

impl Backup {
    /// Opens the backup in a folder, or prepares to make one there. `keys`: where the key file is kept if not in the folder.
    pub fn open(folder: &Path, keys: Option<&Path>, compress: bool) -> Result<Self, StoreError> {
        create_folder(folder)?;
        let lock = super::lock(folder)?;
        let marker = Marker::read(folder)?;
        match &marker {
            None if !is_empty(folder)? => {
                return Err(StoreError::Refused(format!(
                    "{} is not empty and no backup: name a folder that is empty or not there yet, or one that holds a backup of the same store",
                    folder.display()
                )));
            }
            Some(marker) => marker.check_keys(folder, keys)?,
            None => {}
        }
        let keys = keys.map_or_else(|| folder.join(KEYS), Path::to_owned);
        if marker.is_none() && keys.exists() {
            let why = "is there already, and a new backup does not overwrite it: name another file with --keys-to, or move it away";
            return Err(StoreError::Refused(format!("{} {why}", keys.display())));
        }
        if let Some(marker) = marker.as_ref().filter(|marker| marker.keys_apart) {
            check_copy(&keys, &marker.store_id)?;
        }
        let mut backup = Self {
            folder: folder.to_owned(),
            keys,
            held: Held::default(),
            compress,
            current: None,
            unsynced: 0,
            key_file: None,
            ended: false,
            marker,
            _lock: lock,
        };
        backup.find_held()?;
        Ok(backup)
    }

    /// What is there already.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Stores a part. The parts come as [`crate::store::backup::Source`] gives them.
    pub fn store(&mut self, part: Part) -> Result<(), StoreError> {
        match part {
            Part::Start { store_id, key_bytes, .. } => self.start(store_id, key_bytes),
            Part::KeyBlock { offset, content } => {
                let path = &self.keys;
                let file = self.key_file.as_ref().ok_or_else(out_of_order)?;
                file.write_all_at(&content, offset).map_err(|source| io_error("writing", path, source))
            }
            Part::Journal { segment, offset, content } => {
                self.finish_keys()?;
                if offset == 0 { self.start_segment(segment, &content) } else { self.append(segment, offset, &content) }
            }
            Part::End { last, hash } => {
                self.finish_keys()?;
                self.end(last, hash)
            }
        }
    }

    /// Whether the last part has been stored: then the backup is whole.
    pub fn is_whole(&self) -> bool {
        self.ended
    }
}

impl Backup {
    fn find_held(&mut self) -> Result<(), StoreError> {
        let Some(marker) = &self.marker else { return Ok(()) };
        self.held.store_id = Some(marker.store_id);
        self.held.key_blocks = key_blocks(&self.keys)?;
        let journal = self.folder.join(JOURNAL);
        if segment_paths(&journal)?.is_empty() {
            return Ok(());
        }
        remove_unfinished(&journal)?;
        let opened = Journal::open(&journal)?;
        if opened.store_id() != marker.store_id {
            return Err(StoreError::Refused(format!("{}: the segments there belong to another store", journal.display())));
        }
        let last = opened.segments().pop().expect("a journal has a segment");
        let end = Cursor::behind(&last, u64::MAX)?;
        self.held.last = CommitSeq(end.seq - 1);
        self.held.hash = end.previous;
        let last = match &last.packed {
            Some(_) => Arc::new(unpack(&last, end.offset, &opened.frames)?),
            None => last,
        };
        // What was not whole when a run ended: it is sent again.
        last.file.set_len(end.offset).map_err(|source| io_error("cutting", &last.path, source))?;
        self.current = Some((last, end.offset));
        if self.compress {
            let segments = opened.segments();
            for pair in segments.windows(2).filter(|pair| pair[0].packed.is_none()) {
                compress(&pair[0], &pair[1].header, &Arc::default(), &AtomicBool::new(false))?;
            }
        }
        Ok(())
    }

    fn start(&mut self, store_id: [u8; 16], key_bytes: u64) -> Result<(), StoreError> {
        match &self.marker {
            Some(marker) if marker.store_id != store_id => return Err(StoreError::OtherStore),
            Some(_) => {}
            None => {
                let keys_apart = self.keys != self.folder.join(KEYS);
                let marker = Marker { store_id, keys_apart, last: CommitSeq(0), hash: [0; 32] };
                marker.write(&self.folder)?;
                self.marker = Some(marker);
            }
        }
        if let Some(parent) = self.keys.parent() {
            create_folder(parent)?;
        }
        let path = &self.keys;
        let opened = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = opened.map_err(|source| io_error("opening", path, source))?;
        restrict(&file, path)?;
        file.set_len(key_bytes).map_err(|source| io_error("cutting", path, source))?;
        self.key_file = Some(file);
        Ok(())
    }

    /// The keys are durable before what names them.
    fn finish_keys(&mut self) -> Result<(), StoreError> {
        if let Some(file) = self.key_file.take() {
            sync(&file, &self.keys)?;
            sync_folder(self.keys.parent().unwrap_or(&self.keys))?;
        }
        Ok(())
    }

    fn start_segment(&mut self, first_seq: u64, content: &[u8]) -> Result<(), StoreError> {
        let header = content.get(..SEGMENT_HEADER).and_then(|bytes| bytes.try_into().ok()).ok_or_else(out_of_order)?;
        SegmentHeader::refuse_newer(&segment_path(&self.folder.join(JOURNAL), first_seq), header)?;
        let header = SegmentHeader::from_bytes(header).map_err(|_| out_of_order())?;
        let journal = self.folder.join(JOURNAL);
        let store_id = self.marker.as_ref().ok_or_else(out_of_order)?.store_id;
        if header.store_id != store_id || header.first_seq != first_seq {
            return Err(out_of_order());
        }
        self.close_segment(&header)?;
        fs::create_dir_all(&journal).map_err(|source| io_error("creating", &journal, source))?;
        sync_folder(&self.folder)?;
        let path = segment_path(&journal, first_seq);
        let unfinished = path.with_extension(UNFINISHED);
        let file = create_file(&unfinished)?;
        file.write_all_at(content, 0).map_err(|source| io_error("writing", &unfinished, source))?;
        sync(&file, &unfinished)?;
        fs::rename(&unfinished, &path).map_err(|source| io_error("renaming", &unfinished, source))?;
        sync_folder(&journal)?;
        self.current = Some((Arc::new(Segment { path, file, header, packed: None }), content.len() as u64));
        self.unsynced = 0;
        Ok(())
    }

    /// The next segment has this header: the one that grew until now is whole.
    fn close_segment(&mut self, next: &SegmentHeader) -> Result<(), StoreError> {
        let Some((segment, _)) = self.current.take() else {
            return if next.index == 1 { Ok(()) } else { Err(out_of_order()) };
        };
        if segment.header == *next {
            // Only its header had come.
            return Ok(());
        }
        sync(&segment.file, &segment.path)?;
        let end = end_of(&segment, next)?;
        if segment.header.index + 1 != next.index {
            return Err(damaged(&segment.path, end.offset, "the segment behind it is missing"));
        }
        if self.compress {
            compress(&segment, next, &Arc::default(), &AtomicBool::new(false))?;
        }
        Ok(())
    }

    fn append(&mut self, first_seq: u64, offset: u64, content: &[u8]) -> Result<(), StoreError> {
        let (segment, end) = self.current.as_mut().ok_or_else(out_of_order)?;
        if segment.header.first_seq != first_seq || *end != offset {
            return Err(out_of_order());
        }
        let path = &segment.path;
        segment.file.write_all_at(content, offset).map_err(|source| io_error("writing", path, source))?;
        *end += content.len() as u64;
        self.unsynced += content.len() as u64;
        if self.unsynced >= SYNC_EVERY {
            segment.file.sync_data().map_err(|source| io_error("syncing", path, source))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn end(&mut self, last: CommitSeq, hash: [u8; 32]) -> Result<(), StoreError> {
        let (segment, end) = self.current.as_ref().ok_or_else(out_of_order)?;
        sync(&segment.file, &segment.path)?;
        let found = Cursor::behind(segment, u64::MAX)?;
        if (found.seq, found.previous, found.offset) != (last.0 + 1, hash, *end) {
            return Err(damaged(&segment.path, found.offset, "the record is not what was sent; run the backup again"));
        }
        let marker = self.marker.as_mut().ok_or_else(out_of_order)?;
        (marker.last, marker.hash) = (last, hash);
        marker.write(&self.folder)?;
        (self.held.last, self.held.hash) = (last, hash);
        self.ended = true;
        Ok(())
    }
}

fn key_blocks(path: &Path) -> Result<Vec<[u8; 16]>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(io_error("opening", path, source)),
    };
    let length = file.metadata().map_err(|source| io_error("measuring", path, source))?.len();
    let mut block = vec![0; KEY_BLOCK];
    let mut hashes = Vec::new();
    let mut offset = 0;
    while offset < length {
        let part = &mut block[..(length - offset).min(KEY_BLOCK as u64) as usize];
        file.read_exact_at(part, offset).map_err(|source| io_error("reading", path, source))?;
        hashes.push(key_block_hash(part));
        offset += part.len() as u64;
    }
    Ok(hashes)
}

/// But for the lock.
fn is_empty(folder: &Path) -> Result<bool, StoreError> {
    let failed = |source| io_error("listing", folder, source);
    for item in fs::read_dir(folder).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        if name != super::LOCK && name != marker::UNFINISHED_NAME {
            return Ok(false);
        }
    }
    Ok(true)
}

fn out_of_order() -> StoreError {
    StoreError::Refused("what the server sent does not follow what was there before; run the backup again".to_owned())
}
