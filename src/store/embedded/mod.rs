//! The default store: a journal that is the ledger, and sled tables to look things up.

mod decode;
mod encode;
mod journal;
mod keys;
mod overlay;
mod programs;
mod reads;
mod replay;
mod rows;
mod sealing;
mod segment;
mod tables;
mod trust;
mod unit;
mod wire;

/// The stored messages, as generated from `proto/loyalty/storage/v1`.
#[allow(clippy::all, clippy::pedantic)]
mod stored {
    tonic::include_proto!("loyalty.storage.v1");
}

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use self::{
    journal::{Appender, Journal, segment_paths},
    keys::{KeyFile, SlotWriter},
    overlay::Overlay,
    programs::Programs,
    rows::Index,
    segment::io_error,
};
use crate::store::{Name, Store, StoreError, Unit};

/// How the store uses disk and memory.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of the journal's files.
    pub segment_bytes: u64,
    /// Of rows that wait to be written to the tables; commits wait when there are more.
    pub overlay_bytes: usize,
    /// Of what the tables keep in memory.
    pub sled_cache_bytes: u64,
    /// Wraps the members' keys.
    pub operator_key: Option<[u8; 32]>,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, overlay_bytes: 256 << 20, sled_cache_bytes: 256 << 20, operator_key: None }
    }
}

/// A data folder, open for this process alone.
pub struct EmbeddedStore {
    engine: Engine,
    writer: Mutex<Writer>,
    /// Its lock goes when it is closed, last of all.
    _lock: File,
}

/// What reading needs, and the thread that writes rows out.
struct Engine {
    folder: PathBuf,
    parts: Parts,
    programs: Programs,
    overlay: Arc<Overlay>,
    row_writer: Option<JoinHandle<()>>,
}

/// What stays when the tables are made again.
#[derive(Clone)]
struct Parts {
    journal: Arc<Journal>,
    keys: Arc<KeyFile>,
    index: Arc<Index>,
}

impl std::ops::Deref for Engine {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// What a unit of work has for itself.
struct Writer {
    appender: Appender,
    slots: SlotWriter,
    /// The record that is being made; kept for its memory.
    record: Vec<u8>,
}

const LOCK: &str = "LOCK";
const JOURNAL: &str = "journal";
const KEYS: &str = "keys";

impl EmbeddedStore {
    /// Opens the store in a folder, or makes one there. What the tables lack is brought up from the journal, which can take long.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|source| io_error("creating", folder, source))?;
        let lock = lock(folder)?;
        create_if_new(folder, &options)?;
        let (keys, slots) = KeyFile::open(&folder.join(KEYS), options.operator_key.as_ref())?;
        let journal = Arc::new(Journal::open(&folder.join(JOURNAL))?);
        if journal.store_id() != keys.store_id() {
            return Err(StoreError::Damaged(format!(
                "{}: the key file belongs to another store than the journal; restore the one that belongs to it",
                folder.join(KEYS).display()
            )));
        }
        let mut appender = journal.appender(options.segment_bytes)?;
        let parts = Parts { index: Arc::new(Index(keys.index_key()?)), journal, keys: Arc::new(keys) };
        let engine = replay::bring_up(folder, &options, &parts, &appender)?;
        appender.prepare()?;
        Ok(Self { engine, writer: Mutex::new(Writer { appender, slots, record: Vec::new() }), _lock: lock })
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|source| io_error("opening", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(source)) => Err(io_error("locking", &path, source)),
    }
}

/// First the keys, then the journal: a crash in between leaves keys of nobody, never a journal without keys.
fn create_if_new(folder: &Path, options: &Options) -> Result<(), StoreError> {
    let (keys, journal) = (folder.join(KEYS), folder.join(JOURNAL));
    let has_journal = !segment_paths(&journal)?.is_empty();
    match (keys.exists(), has_journal) {
        (true, true) => return Ok(()),
        (false, true) => {
            return Err(StoreError::Damaged(format!(
                "{}: the key file is missing, without which nothing personal in the journal can be read; restore it from a backup of this store",
                keys.display()
            )));
        }
        (false, false) => {
            let mut store_id = [0; 16];
            keys::fill_random(&mut store_id)?;
            KeyFile::create(&keys, store_id, options.operator_key.as_ref())?;
        }
        (true, false) => {}
    }
    let (file, _) = KeyFile::open(&keys, options.operator_key.as_ref())?;
    if file.has_members()? {
        return Err(StoreError::Damaged(format!(
            "{}: the journal is missing, but there are keys of its members; restore it",
            journal.display()
        )));
    }
    Journal::create(&journal, file.store_id(), options.segment_bytes)
}

impl Store for EmbeddedStore {
    fn begin<'a>(&'a self, _names: &[Name<'_>]) -> Result<Box<dyn Unit + 'a>, StoreError> {
        let writer = self.writer.lock().map_err(|_| StoreError::Tables("a unit of work panicked; the process must end".to_owned()))?;
        Ok(Box::new(unit::EmbeddedUnit::new(&self.engine, writer)))
    }

    fn flush(&self) -> Result<(), StoreError> {
        // No commit meanwhile: what is marked as clean must be all there is.
        let _writer = self.writer.lock().map_err(|_| StoreError::Tables("a unit of work panicked; the process must end".to_owned()))?;
        self.engine.flush()
    }
}

impl Engine {
    fn flush(&self) -> Result<(), StoreError> {
        self.overlay.drain()?;
        self.overlay.tables().sync()?;
        replay::mark_clean(&self.folder)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.overlay.stop();
        if let Some(thread) = self.row_writer.take() {
            // It contains its panics; there is nobody to tell of one here.
            let _ = thread.join();
        }
    }
}
