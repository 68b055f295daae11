//! The look-up tables: the only file that names sled. What they hold may be behind the journal, never ahead of it, and can always be
//! made again from it.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{
    redo,
    rows::{APPLIED, RowKey},
    segment::io_error,
    trust,
};
use crate::store::StoreError;

/// Opening takes milliseconds for each gigabyte; one that takes longer than this hangs.
const OPENING: Duration = Duration::from_secs(120);
const SLED: &str = "sled";
const LOG: &str = "db";
const REDO: &str = "REDO";

pub(super) struct Tables {
    db: sled::Db,
    folder: PathBuf,
    /// They are marked as durable, and must be marked otherwise before they change.
    clean: AtomicBool,
}

/// Whether there are tables in the folder, and whether they are what was written to them.
pub(super) fn exist(folder: &Path) -> bool {
    log(folder).exists()
}

pub(super) fn may_be_trusted(folder: &Path) -> bool {
    trust::may_be_trusted(folder, &log(folder))
}

fn log(folder: &Path) -> PathBuf {
    folder.join(SLED).join(LOG)
}

impl Tables {
    /// Why it failed, in words, if it did; then the folder can be moved aside.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, String> {
        let existed = exist(folder);
        prepare(folder, existed).map_err(|error| error.to_string())?;
        let config =
            sled::Config::new().path(folder.join(SLED)).cache_capacity(cache_bytes).flush_every_ms(None).mode(sled::Mode::HighThroughput);
        let (done, opened) = mpsc::channel();
        let open = move || {
            // The receiver is gone when the time limit has passed.
            let _ = done.send(catch_unwind(AssertUnwindSafe(|| config.open())));
        };
        thread::Builder::new().name("tables-open".to_owned()).spawn(open).map_err(|error| error.to_string())?;
        let db = match opened.recv_timeout(OPENING) {
            Ok(Ok(Ok(db))) => db,
            Ok(Ok(Err(error))) => return Err(error.to_string()),
            Ok(Err(_)) => return Err("opening them panicked".to_owned()),
            Err(_) => return Err(format!("opening them took longer than {} seconds", OPENING.as_secs())),
        };
        if !existed {
            trust::mark_open(folder, &log(folder)).map_err(|error| error.to_string())?;
        }
        let tables = Self { db, folder: folder.to_owned(), clean: AtomicBool::new(false) };
        if existed {
            tables.redo().map_err(|error| error.to_string())?;
        }
        Ok(tables)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(self.db.get(key).map_err(fault)?.map(|value| value.as_ref().into()))
    }

    /// Rows from `from` inclusive to `to` exclusive, in their order.
    pub(super) fn scan(&self, from: &RowKey, to: &RowKey) -> impl Iterator<Item = Result<(RowKey, Box<[u8]>), StoreError>> + use<> {
        self.db.range(from.as_bytes()..to.as_bytes()).map(|row| {
            let (key, value) = row.map_err(fault)?;
            let key = RowKey::from_bytes(&key).ok_or_else(|| StoreError::Tables("a key has no known form".to_owned()))?;
            Ok((key, value.as_ref().into()))
        })
    }

    /// Writes rows, which come in their order, and last how far the tables have come. When the process ends in between, the next start
    /// ends it ([`Tables::redo`]). Not in batches of sled's: those keep all readers waiting.
    pub(super) fn write<'a>(
        &self,
        rows: impl Iterator<Item = (&'a RowKey, Option<&'a [u8]>)> + Clone,
        applied: &[u8],
    ) -> Result<(), StoreError> {
        if self.clean.swap(false, Ordering::SeqCst) {
            trust::mark_open(&self.folder, &log(&self.folder))?;
        }
        redo::write(&self.folder.join(REDO), rows.clone(), applied)?;
        self.put(rows.map(|(key, value)| (key.as_bytes(), value)), applied)
    }

    /// Ends a write that the end of the process cut short. Writing rows a second time changes nothing.
    fn redo(&self) -> Result<(), StoreError> {
        match redo::read(&self.folder.join(REDO))? {
            Some(redo) => self.put(redo.rows(), redo.applied()),
            None => Ok(()),
        }
    }

    fn put<'a>(&self, rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>, applied: &[u8]) -> Result<(), StoreError> {
        let put = AssertUnwindSafe(|| {
            for (key, value) in rows {
                match value {
                    Some(value) => self.db.insert(key, value)?,
                    None => self.db.remove(key)?,
                };
            }
            self.db.insert(APPLIED, applied)
        });
        match catch_unwind(put) {
            Ok(done) => done.map(drop).map_err(fault),
            Err(_) => Err(StoreError::Tables("writing them panicked".to_owned())),
        }
    }

    /// Makes what was written durable, and says so. sled itself never calls fsync. Nothing may be written meanwhile.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        catch_unwind(AssertUnwindSafe(|| self.db.flush()))
            .map_err(|_| StoreError::Tables("flushing them panicked".to_owned()))?
            .map_err(fault)?;
        // What it says is durable now, and must not be said again when it is old.
        remove(&self.folder.join(REDO))?;
        sync_tree(&self.folder)?;
        trust::mark_clean(&self.folder)?;
        self.clean.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Marks tables that are about to change.
fn prepare(folder: &Path, existed: bool) -> Result<(), StoreError> {
    if existed {
        trust::mark_open(folder, &log(folder))?;
        return remove_unfinished_snapshots(&folder.join(SLED));
    }
    fs::create_dir_all(folder).map_err(|source| io_error("creating", folder, source))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io_error("removing", path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fault(error: sled::Error) -> StoreError {
    StoreError::Tables(error.to_string())
}

/// A process that is killed while sled opens leaves half a snapshot, which the next open takes for a whole one. All data is in the log.
fn remove_unfinished_snapshots(folder: &Path) -> Result<(), StoreError> {
    if !folder.exists() {
        return Ok(());
    }
    for item in fs::read_dir(folder).map_err(|source| io_error("listing", folder, source))? {
        let path = item.map_err(|source| io_error("listing", folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).map_err(|source| io_error("removing", &path, source))?;
        }
    }
    Ok(())
}

fn sync_tree(folder: &Path) -> Result<(), StoreError> {
    for item in fs::read_dir(folder).map_err(|source| io_error("listing", folder, source))? {
        let path = item.map_err(|source| io_error("listing", folder, source))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            sync_file(&path)?;
        }
    }
    sync_file(folder)
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Ok(()) => Ok(()),
        // sled removes blobs and snapshots that it has replaced.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error("syncing", path, source)),
    }
}
