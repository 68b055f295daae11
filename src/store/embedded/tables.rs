//! The look-up tables: the only file that names sled. What they hold may be behind the journal, never ahead of it, and can always be
//! made again from it.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, mpsc},
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
    mark: Mutex<Mark>,
}

/// What the mark beside them says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// They are durable. Must be marked otherwise before they change.
    Clean,
    Open,
    /// Nothing: what they hold is wrong, and the next start makes them again.
    Distrusted,
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
        let tables = Self { db, folder: folder.to_owned(), mark: Mutex::new(Mark::Open) };
        if existed {
            tables.redo().map_err(|error| error.to_string())?;
        }
        Ok(tables)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(contained("reading", || self.db.get(key))?.map(|value| value.as_ref().into()))
    }

    /// Rows from `from` inclusive to `to` exclusive, in their order.
    pub(super) fn scan(&self, from: &RowKey, to: &RowKey) -> impl Iterator<Item = Result<(RowKey, Box<[u8]>), StoreError>> + use<> {
        let mut rows = self.db.range(from.as_bytes()..to.as_bytes());
        std::iter::from_fn(move || {
            let row = contained("reading", || rows.next().transpose()).transpose()?;
            Some(row.and_then(|(key, value)| {
                let key = RowKey::from_bytes(&key).ok_or_else(|| StoreError::Tables("a key has no known form".to_owned()))?;
                Ok((key, value.as_ref().into()))
            }))
        })
    }

    /// Writes rows, which come in their order, and last how far the tables have come. When the process ends in between, the next start
    /// ends it ([`Tables::redo`]). Not in batches of sled's: those keep all readers waiting.
    pub(super) fn write<'a>(
        &self,
        rows: impl Iterator<Item = (&'a RowKey, Option<&'a [u8]>)> + Clone,
        applied: &[u8],
    ) -> Result<(), StoreError> {
        {
            let mut mark = self.mark();
            if *mark == Mark::Clean {
                trust::mark_open(&self.folder, &log(&self.folder))?;
                *mark = Mark::Open;
            }
        }
        // sled keeps what was last written to it in memory: the redo file is all that is left of that when the process is killed.
        contained("flushing", || self.db.flush())?;
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
        contained("writing", || {
            for (key, value) in rows {
                match value {
                    Some(value) => self.db.insert(key, value)?,
                    None => self.db.remove(key)?,
                };
            }
            self.db.insert(APPLIED, applied).map(drop)
        })
    }

    /// Makes what was written durable, and says so. sled itself never calls fsync. Nothing may be written meanwhile.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        contained("flushing", || self.db.flush())?;
        // What it says is durable now, and must not be said again when it is old.
        remove(&self.folder.join(REDO))?;
        sync_tree(&self.folder)?;
        let mut mark = self.mark();
        if *mark == Mark::Distrusted {
            return Err(StoreError::Tables("they are wrong, and are made again at the next start".to_owned()));
        }
        trust::mark_clean(&self.folder)?;
        *mark = Mark::Clean;
        Ok(())
    }

    /// They failed, or hold what is not theirs: the next start makes them again.
    pub(super) fn distrust(&self, error: &StoreError) {
        let mut mark = self.mark();
        if *mark != Mark::Distrusted {
            tracing::error!(%error, "the look-up tables failed; they are made again from the journal at the next start");
            *mark = Mark::Distrusted;
            if let Err(error) = trust::unmark(&self.folder) {
                tracing::error!(%error, folder = %self.folder.display(), "the look-up tables are wrong, but still marked as right: remove them before the next start");
            }
        }
    }

    fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().expect("nobody panics while holding the mark")
    }
}

/// sled's errors, and its panics, as errors of the tables.
fn contained<T>(doing: &str, work: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| StoreError::Tables(error.to_string())),
        Err(_) => Err(StoreError::Tables(format!("{doing} them panicked"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (RowKey, Option<&'static [u8]>);

    fn write(tables: &Tables, rows: &[Row], applied: &[u8]) {
        tables.write(rows.iter().map(|(key, value)| (key, *value)), applied).expect("rows are written");
    }

    fn value(tables: &Tables, key: &[u8]) -> Option<Box<[u8]>> {
        tables.get(key).expect("a row is read")
    }

    fn open(folder: &Path) -> Tables {
        Tables::open(folder, 1 << 20).expect("the tables open")
    }

    /// What the kernel has of the tables' files: what a killed process leaves.
    fn killed(folder: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        for part in [Path::new(""), Path::new(SLED)] {
            fs::create_dir_all(copy.path().join(part)).expect("a folder");
            for item in fs::read_dir(folder.join(part)).expect("a folder is listed") {
                let path = item.expect("a folder is listed").path();
                if path.is_file() {
                    fs::copy(&path, copy.path().join(part).join(path.file_name().expect("a name"))).expect("a file is copied");
                }
            }
        }
        copy
    }

    #[test]
    fn a_kill_in_the_middle_of_writing_rows_is_made_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys: Vec<RowKey> = (1..=4).map(RowKey::program).collect();
        let tables = open(folder.path());
        write(&tables, &[(keys[0], Some(b"old")), (keys[1], Some(b"old")), (keys[2], Some(b"old"))], b"1");
        // The next group reaches the redo file, and one of its rows reaches the tables.
        let group: [Row; 3] = [(keys[0], Some(b"new")), (keys[1], None), (keys[3], Some(b"new"))];
        redo::write(&folder.path().join(REDO), group.iter().map(|(key, value)| (key, *value)), b"2").expect("a write");
        tables.db.insert(keys[0].as_bytes(), b"new").expect("a row is written");
        assert_eq!(value(&tables, APPLIED).as_deref(), Some(&b"1"[..]));
        drop(tables);
        let tables = open(folder.path());
        let found = keys.iter().map(|key| value(&tables, key.as_bytes())).collect::<Vec<_>>();
        assert_eq!(found, [Some(b"new"[..].into()), None, Some(b"old"[..].into()), Some(b"new"[..].into())]);
        assert_eq!(value(&tables, APPLIED).as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn a_kill_loses_no_rows_of_groups_before_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = open(folder.path());
        let keys: Vec<RowKey> = (1..=5).map(RowKey::program).collect();
        for (place, key) in keys.iter().enumerate() {
            write(&tables, &[(*key, Some(b"row"))], &[place as u8]);
        }
        let copy = killed(folder.path());
        let left = open(copy.path());
        assert_eq!(value(&left, APPLIED).as_deref(), Some(&[4][..]));
        for (place, key) in keys.iter().enumerate() {
            assert!(value(&left, key.as_bytes()).is_some(), "group {place}");
        }
    }
}
