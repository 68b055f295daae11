//! The look-up tables: the only file that names sled. What they hold may be behind the journal, never ahead of it, and can always be
//! made again from it.

use std::{
    fs::{self, File},
    io::ErrorKind,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, mpsc},
    thread,
    time::Duration,
};

use super::{
    background::Background,
    layer::Sorted,
    leaves, redo,
    rows::{APPLIED, RowKey},
    segment::{io_error, refusable},
    space, trust,
};
use crate::store::StoreError;

/// Opening takes milliseconds for each gigabyte; one that takes longer than this hangs.
const OPENING: Duration = Duration::from_secs(120);
/// Rows that are merged into a leaf at a time: new ones, of which any number can belong into the last leaf.
const MAX_MERGED: usize = 4_096;
/// Steps that a row is when it is written to sled; to the redo file it is one, which takes about as much less.
const STEPS: usize = 4;
const SLED: &str = "sled";
const LOG: &str = "db";
const REDO: &str = "REDO";

pub(super) struct Tables {
    db: Db,
    folder: PathBuf,
    mark: Mutex<Mark>,
    /// Another descriptor of sled's file, to sync it by.
    log: File,
}

/// sled panics when it is closed after it failed: nobody would hear why.
struct Db(Option<sled::Db>);

impl std::ops::Deref for Db {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let db = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!("closing the look-up tables panicked; what they lack is in the journal");
        }
    }
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

/// sled's file, which it locks.
pub(super) fn log(folder: &Path) -> PathBuf {
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
        let path = log(folder);
        let log_file = File::open(&path).map_err(|source| io_error("opening", &path, source).to_string())?;
        let tables = Self { db: Db(Some(db)), folder: folder.to_owned(), mark: Mutex::new(Mark::Open), log: log_file };
        let ready = if existed {
            tables.redo()
        } else {
            tables.write_redo(std::iter::empty(), &[], &mut Background::urgent()).and_then(|()| trust::mark_open(folder, &log(folder)))
        };
        ready.map(|()| tables).map_err(|error| error.to_string())
    }

    /// How far they have come, as [`Tables::write`] was told.
    pub(super) fn applied(&self) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(contained("reading", || self.db.get(APPLIED))?.map(|value| value.as_ref().into()))
    }

    pub(super) fn get(&self, key: &RowKey) -> Result<Option<Box<[u8]>>, StoreError> {
        let mut searched = None;
        // sled looks for the leaf node by node: one that is split in between may be found when its row is in the new leaf behind it already.
        // That one was there before, so that it is found the second time.
        while let Some((leaf_key, leaf)) = self.leaf_of(key)?
            && searched.replace(leaf_key) != Some(leaf_key)
        {
            match leaves::Rows::starting(&leaf, key)?.next().transpose()? {
                Some((found, value)) if found == *key => return Ok(Some(value.into())),
                // Its place is in this leaf.
                Some(_) => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// Rows from `from` inclusive to `to` exclusive, in their order.
    pub(super) fn scan(&self, from: &RowKey, to: &RowKey) -> impl Iterator<Item = Row> + use<> {
        let mut scan = Scan {
            tree: sled::Tree::clone(&self.db),
            behind: *from,
            leaves: None,
            leaf: None,
            given: None,
            fault: None,
            from: *from,
            to: *to,
        };
        match self.leaf_of(from) {
            Ok(Some((key, leaf))) => scan.read(key, leaf),
            Ok(None) => {}
            Err(fault) => scan.fault = Some(fault),
        }
        scan
    }

    /// The leaf that a row is in, if it is there at all.
    fn leaf_of(&self, key: &RowKey) -> Result<Option<(RowKey, sled::IVec)>, StoreError> {
        let leaf = contained("reading", || self.db.range(..=key.as_bytes()).next_back().transpose())?;
        match leaf {
            Some((key, _)) if key == APPLIED => Ok(None),
            Some((key, leaf)) => Ok(Some((leaf_key(&key)?, leaf))),
            None => Ok(None),
        }
    }

    /// Key of the leaf behind a key.
    fn leaf_behind(&self, key: &RowKey) -> Result<Option<RowKey>, StoreError> {
        let leaf = contained("reading", || self.db.get_gt(key.as_bytes()))?;
        leaf.map(|(key, _)| leaf_key(&key)).transpose()
    }

    /// Asked before rows are written, so that a full disk leaves the tables as they are.
    pub(super) fn has_space_for(&self, rows: usize) -> bool {
        space::is_left_for(rows, &self.folder)
    }

    pub(super) fn no_space(&self) -> StoreError {
        StoreError::NoSpace { action: "writing rows to", path: self.folder.display().to_string() }
    }

    /// Writes rows, and last how far the tables have come. When the process ends in between, the next start ends it ([`Tables::redo`]).
    /// Not in batches of sled's: those keep all readers waiting. [`StoreError::NoSpace`]: nothing was written, and it can be tried again.
    pub(super) fn write(&self, rows: &Sorted<'_>, applied: &[u8], work: &mut Background<'_>) -> Result<(), StoreError> {
        {
            let mut mark = self.mark();
            if *mark == Mark::Clean {
                trust::mark_open(&self.folder, &log(&self.folder)).map_err(refusable)?;
                *mark = Mark::Open;
            }
        }
        // sled keeps what was last written to it in memory: the redo file is all that is left of that when the process is killed.
        contained("flushing", || self.db.flush())?;
        // Until here nothing of these rows is in sled.
        self.write_redo(rows.rows(), applied, work).map_err(refusable)?;
        self.put(rows.rows(), applied, work)
    }

    /// How many steps of work it is to write so many rows.
    pub(super) fn steps(rows: usize) -> usize {
        rows * (1 + STEPS)
    }

    fn write_redo<'a>(
        &self,
        rows: impl Iterator<Item = (RowKey, Option<&'a [u8]>)>,
        applied: &[u8],
        work: &mut Background<'_>,
    ) -> Result<(), StoreError> {
        redo::write(&self.folder.join(REDO), rows, &self.applied()?.unwrap_or_default(), applied, work)
    }

    /// Ends a write that the end of the process cut short. Writing rows a second time changes nothing.
    fn redo(&self) -> Result<(), StoreError> {
        let fault = |what: &str| StoreError::Tables(what.to_owned());
        let redo = redo::read(&self.folder.join(REDO))?.ok_or_else(|| fault("the file REDO is gone or damaged"))?;
        let applied = self.applied()?.unwrap_or_default();
        if redo.is_empty() && *applied == *redo.applied() {
            return Ok(());
        }
        if *applied != *redo.applied() && *applied != *redo.before() {
            return Err(fault("rows that were written to them are not there any more"));
        }
        self.put(redo.rows(), redo.applied(), &mut Background::urgent())
    }

    /// Rows come in runs that each are in order. A leaf that is split gets its new neighbours first: a reader finds each row at any time,
    /// and so does a redo of a write that was cut short in between.
    fn put<'a>(
        &self,
        rows: impl Iterator<Item = (RowKey, Option<&'a [u8]>)>,
        applied: &[u8],
        work: &mut Background<'_>,
    ) -> Result<(), StoreError> {
        let mut rows = rows.peekable();
        while let Some((first, _)) = rows.peek() {
            let (key, leaf) = self.leaf_of(first)?.unwrap_or((*first, sled::IVec::default()));
            let end = self.leaf_behind(&key)?;
            let (mut last, mut left) = (key, MAX_MERGED);
            let own = std::iter::from_fn(|| {
                let row = rows.next_if(|(row, _)| left > 0 && *row >= last && end.is_none_or(|end| *row < end))?;
                (last, left) = (row.0, left - 1);
                Some(row)
            });
            let merged = leaves::merge(key, &leaf, end.as_ref(), own)?;
            for (key, leaf) in merged.into_iter().rev() {
                let bytes = leaf.len();
                contained("writing", || self.db.insert(key.as_bytes(), leaf))?;
                // After a sync that failed, what sled reads back may be anything.
                let synced = work.written(&self.log, bytes);
                synced.map_err(|source| StoreError::Tables(io_error("syncing", &log(&self.folder), source).to_string()))?;
            }
            work.step(STEPS * (MAX_MERGED - left));
        }
        contained("writing", || self.db.insert(APPLIED, applied).map(drop))
    }

    /// Makes what was written durable, and says so. sled itself never calls fsync. Nothing may be written meanwhile.
    /// [`StoreError::NoSpace`]: nothing is lost, and it can be tried again.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        // They would be changed while they are marked as clean.
        if *self.mark() == Mark::Clean {
            return Ok(());
        }
        // sled has something to write as well, and does not survive that there is no space for it.
        if !self.has_space_for(0) {
            return Err(self.no_space());
        }
        contained("flushing", || self.db.flush())?;
        // Its rows are there, and must not be written again when they are old.
        let redo = self.write_redo(std::iter::empty(), &self.applied()?.unwrap_or_default(), &mut Background::urgent());
        redo.map_err(refusable)?;
        sync_tree(&self.folder)?;
        let mut mark = self.mark();
        if *mark == Mark::Distrusted {
            return Err(StoreError::Tables("they are wrong, and are made again at the next start".to_owned()));
        }
        trust::mark_clean(&self.folder).map_err(refusable)?;
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

/// Walks along leaves. One that is split meanwhile may be read before its new neighbour, which has some of its rows as well: only those
/// behind what was given already are given.
struct Scan {
    tree: sled::Tree,
    /// Key of the leaf that was read first.
    behind: RowKey,
    /// Those behind it. Most scans end in the first one, and sled takes longer to begin than to go on.
    leaves: Option<sled::Iter>,
    leaf: Option<Reading>,
    given: Option<RowKey>,
    fault: Option<StoreError>,
    from: RowKey,
    to: RowKey,
}

type Row = Result<(RowKey, Box<[u8]>), StoreError>;

struct Reading {
    leaf: sled::IVec,
    /// Bytes that are not read yet, and the key before them.
    rest: usize,
    key: RowKey,
}

impl Scan {
    fn read(&mut self, key: RowKey, leaf: sled::IVec) {
        let from = self.given.unwrap_or(self.from);
        match leaves::Rows::starting(&leaf, &from) {
            Ok(rows) => {
                let rest = rows.rest();
                self.leaf = Some(Reading { rest, leaf, key: from });
            }
            Err(fault) => self.fault = Some(fault),
        }
        self.behind = key;
    }

    /// False: there is none.
    fn next_leaf(&mut self) -> bool {
        let range = (Bound::Excluded(self.behind.as_bytes()), Bound::Excluded(self.to.as_bytes()));
        if self.leaves.is_none() && self.behind < self.to {
            self.leaves = Some(self.tree.range::<&[u8], _>(range));
        }
        let Some(leaves) = &mut self.leaves else { return false };
        match contained("reading", || leaves.next().transpose()) {
            Ok(Some((key, _))) if key == APPLIED => true,
            Ok(Some((key, leaf))) => {
                match leaf_key(&key) {
                    Ok(key) => self.read(key, leaf),
                    Err(fault) => self.fault = Some(fault),
                }
                true
            }
            Ok(None) => false,
            Err(fault) => {
                self.fault = Some(fault);
                true
            }
        }
    }

    /// From the leaf that is read.
    fn row(&mut self) -> Option<Row> {
        let reading = self.leaf.as_mut()?;
        let mut rows = leaves::Rows::resume(&reading.leaf, reading.rest, reading.key);
        let row = rows.next()?.map(|(key, value)| (key, value.into()));
        let rest = rows.rest();
        if let Ok((key, _)) = &row {
            (reading.rest, reading.key) = (rest, *key);
        }
        Some(row)
    }
}

impl Iterator for Scan {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while self.fault.is_none() {
            match self.row() {
                Some(Ok((key, _))) if key >= self.to => break,
                Some(Ok((key, _))) if self.given == Some(key) => {}
                Some(Ok((key, value))) => {
                    self.given = Some(key);
                    return Some(Ok((key, value)));
                }
                Some(Err(fault)) => self.fault = Some(fault),
                None if self.next_leaf() => {}
                None => break,
            }
        }
        (self.leaf, self.leaves, self.behind) = (None, None, self.to);
        self.fault.take().map(Err)
    }
}

fn leaf_key(key: &[u8]) -> Result<RowKey, StoreError> {
    RowKey::from_bytes(key).ok_or_else(|| StoreError::Tables("a key has no known form".to_owned()))
}

/// sled's errors, and its panics, as errors of the tables.
fn contained<T>(doing: &str, work: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        // No space: what is on disk is still what was written, and the redo file ends it at the next start.
        Ok(Err(sled::Error::Io(source))) if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Err(StoreError::Io { action: "writing", path: "the look-up tables".to_owned(), source })
        }
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
    use super::{super::layer::Layer, *};

    type Row = (RowKey, Option<&'static [u8]>);

    fn write(tables: &Tables, rows: &[Row], applied: &[u8]) {
        let mut layer = Layer::default();
        for (key, value) in rows {
            layer.put((*key, value.map(Into::into)));
        }
        tables.write(&layer.sorted(), applied, &mut Background::urgent()).expect("rows are written");
    }

    fn value(tables: &Tables, key: &RowKey) -> Option<Box<[u8]>> {
        tables.get(key).expect("a row is read")
    }

    fn applied(tables: &Tables) -> Option<Box<[u8]>> {
        tables.applied().expect("a row is read")
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
        redo::write(&folder.path().join(REDO), group.into_iter(), b"1", b"2", &mut Background::urgent()).expect("a write");
        tables.put(group.into_iter().take(1), b"1", &mut Background::urgent()).expect("a row is written");
        assert_eq!(applied(&tables).as_deref(), Some(&b"1"[..]));
        drop(tables);
        let tables = open(folder.path());
        let found = keys.iter().map(|key| value(&tables, key)).collect::<Vec<_>>();
        assert_eq!(found, [Some(b"new"[..].into()), None, Some(b"old"[..].into()), Some(b"new"[..].into())]);
        assert_eq!(applied(&tables).as_deref(), Some(&b"2"[..]));
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
        assert_eq!(applied(&left).as_deref(), Some(&[4][..]));
        for (place, key) in keys.iter().enumerate() {
            assert!(value(&left, key).is_some(), "group {place}");
        }
    }

    fn all(tables: &Tables) -> Vec<(RowKey, Box<[u8]>)> {
        let (from, to) = RowKey::all();
        tables.scan(&from, &to).map(|row| row.expect("a row is read")).collect()
    }

    /// Keys and values of many rows, more than a leaf holds.
    fn many(step: usize, value: u8) -> Vec<(RowKey, Option<Vec<u8>>)> {
        (0..600).step_by(step).map(|number| (RowKey::publication(number as u64, 7), Some(vec![value; 100]))).collect()
    }

    #[test]
    fn a_split_that_was_cut_short_is_made_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = open(folder.path());
        let given = |rows: &[(RowKey, Option<Vec<u8>>)]| rows.to_vec();
        let (old, new) = (given(&many(10, 1)), given(&many(1, 2)));
        fn rows(rows: &[(RowKey, Option<Vec<u8>>)]) -> impl Iterator<Item = (RowKey, Option<&[u8]>)> {
            rows.iter().map(|(key, value)| (*key, value.as_deref()))
        }
        tables.put(rows(&old), b"1", &mut Background::urgent()).expect("rows are written");
        let (key, leaf) = tables.leaf_of(&old[0].0).expect("a read").expect("there is a leaf");
        let split = leaves::merge(key, &leaf, None, rows(&new)).expect("a leaf is merged");
        assert!(split.len() > 3);
        // As many of the new leaves as there may be when the process ends, from the last one on.
        for written in (1..split.len()).rev() {
            let (key, leaf) = &split[written];
            tables.db.insert(key.as_bytes(), leaf.as_slice()).expect("a leaf is written");
            let found = all(&tables);
            assert!(found.is_sorted_by(|(a, _), (b, _)| a < b), "no row is found twice");
            assert!(old.iter().all(|(key, _)| value(&tables, key).is_some()), "no row is lost");
            if written == 2 {
                tables.put(rows(&new), b"2", &mut Background::urgent()).expect("rows are written");
                assert_eq!(all(&tables), new.iter().map(|(key, value)| (*key, value.clone().expect("a value").into())).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn readers_find_every_row_while_leaves_are_split() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = open(folder.path());
        let key = |number: u64| RowKey::publication(number, 7);
        let steady: Vec<_> = (0..200).map(|number| (key(number * 100), Some(&[0; 50][..]))).collect();
        tables.put(steady.iter().copied(), b"1", &mut Background::urgent()).expect("rows are written");
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            let (tables, done, steady) = (&tables, &done, &steady);
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(steady.iter().all(|(key, _)| value(tables, key).is_some()));
                    let found = all(tables);
                    assert!(found.is_sorted_by(|(a, _), (b, _)| a < b));
                    assert!(steady.iter().all(|(key, _)| found.binary_search_by_key(key, |(found, _)| *found).is_ok()));
                }
            });
            for round in 1..100 {
                let rows: Vec<_> = (0..200).map(|number| (key(number * 100 + round), Some(&[1; 50][..]))).collect();
                tables.put(rows.into_iter(), b"1", &mut Background::urgent()).expect("rows are written");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
