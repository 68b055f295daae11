//! Rows of commits that are durable in the journal but not yet in the tables. Readers look here first; a thread of its own writes them
//! late, merged and in key order.
//!
//! Two layers: new rows go to the upper one. To write them out it becomes the lower one, which no longer changes; its rows hide the
//! tables' until all of them are written, so nobody sees them half written.

use std::{
    collections::BTreeMap,
    iter::Peekable,
    ops::Bound,
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard},
    time::Duration,
};

use super::{
    rows::{Change, RowKey},
    tables::Tables,
    warm::Warm,
};
use crate::store::StoreError;

type Rows = BTreeMap<RowKey, Option<Box<[u8]>>>;

/// What a row costs in memory beside its value.
const ROW_COST: usize = 96;
/// How long a row waits at most before it is written.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Overlay {
    tables: Tables,
    layers: RwLock<Layers>,
    progress: Mutex<Progress>,
    /// Something may be there to write.
    wake: Condvar,
    /// Something was written.
    written: Condvar,
    /// Of bytes that may wait.
    bound: usize,
    warm: Warm,
}

#[derive(Default)]
struct Layers {
    upper: Rows,
    lower: Arc<Rows>,
    /// The tables' own row after the upper layer is written.
    applied: Box<[u8]>,
}

#[derive(Default)]
struct Progress {
    waiting_bytes: usize,
    /// How often something was published, and how much of that is in the tables.
    published: u64,
    written: u64,
    /// Somebody waits for all that was published.
    urgent: bool,
    stop: bool,
    failure: Option<String>,
}

impl Overlay {
    pub(super) fn new(tables: Tables, bound: usize, warm_bytes: usize) -> Self {
        let (layers, progress) = (RwLock::default(), Mutex::default());
        let warm = Warm::new(warm_bytes);
        Self { tables, layers, progress, wake: Condvar::new(), written: Condvar::new(), bound, warm }
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics while holding the progress")
    }

    /// Waits until there is room for another commit. The bound may be passed by one commit.
    pub(super) fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut progress = self.progress();
        while progress.waiting_bytes > self.bound {
            check(&progress)?;
            self.wake.notify_all();
            progress = self.written.wait(progress).expect("nobody panics while holding the progress");
        }
        check(&progress)
    }

    /// Lets readers see a durable commit. `applied` is what the tables' own row must say once its rows are written.
    pub(super) fn publish(&self, changes: Vec<Change>, applied: Box<[u8]>) {
        let bytes = changes.iter().map(|(_, value)| ROW_COST + value.as_ref().map_or(0, |value| value.len())).sum::<usize>();
        // Both locks, always in this order: what waits is counted exactly.
        let mut progress = self.progress();
        let mut layers = self.layers.write().expect("nobody panics while holding the layers");
        layers.upper.extend(changes);
        layers.applied = applied;
        drop(layers);
        progress.waiting_bytes += bytes;
        progress.published += 1;
        if progress.waiting_bytes >= self.bound / 4 {
            self.wake.notify_all();
        }
    }

    /// Waits until all that was published so far is in the tables.
    pub(super) fn drain(&self) -> Result<(), StoreError> {
        let mut progress = self.progress();
        let target = progress.published;
        while progress.written < target {
            check(&progress)?;
            progress.urgent = true;
            self.wake.notify_all();
            progress = self.written.wait(progress).expect("nobody panics while holding the progress");
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.progress().stop = true;
        self.wake.notify_all();
    }

    /// Writes rows out until it is told to stop or the tables fail.
    pub(super) fn write_out(&self) {
        while self.wait_for_work() {
            if let Err(error) = self.write_once() {
                self.tables.distrust(&error);
                self.progress().failure = Some(error.to_string());
                self.written.notify_all();
                return;
            }
        }
    }

    /// False: stop.
    fn wait_for_work(&self) -> bool {
        let mut progress = self.progress();
        loop {
            if progress.stop {
                return false;
            }
            let behind = progress.written < progress.published;
            if behind && (progress.urgent || progress.waiting_bytes >= self.bound / 4) {
                return true;
            }
            let (guard, timeout) = self.wake.wait_timeout(progress, PATIENCE).expect("nobody panics while holding the progress");
            progress = guard;
            if timeout.timed_out() && progress.written < progress.published {
                return !progress.stop;
            }
        }
    }

    fn write_once(&self) -> Result<(), StoreError> {
        let (rows, applied, published, bytes) = {
            let mut progress = self.progress();
            let mut layers = self.layers.write().expect("nobody panics while holding the layers");
            progress.urgent = false;
            layers.lower = Arc::new(std::mem::take(&mut layers.upper));
            (layers.lower.clone(), layers.applied.clone(), progress.published, progress.waiting_bytes)
        };
        self.tables.write(rows.iter().map(|(key, value)| (key, value.as_deref())), &applied)?;
        let headers = rows.iter().filter(|(key, _)| key.is_header());
        // Before readers look behind the lower layer, so that none of them finds a header from before it there.
        self.warm.put_all(headers.filter_map(|(key, value)| Some((key, value.as_deref()?))));
        self.layers.write().expect("nobody panics while holding the layers").lower = Arc::default();
        let mut progress = self.progress();
        progress.waiting_bytes -= bytes;
        progress.written = published;
        drop(progress);
        self.written.notify_all();
        Ok(())
    }

    /// One instant of all rows. Commits wait for it to be dropped.
    pub(super) fn view(&self) -> View<'_> {
        View { layers: self.layers.read().expect("nobody panics while holding the layers"), tables: &self.tables, warm: &self.warm }
    }
}

fn check(progress: &Progress) -> Result<(), StoreError> {
    match &progress.failure {
        Some(failure) => Err(StoreError::Tables(failure.clone())),
        None => Ok(()),
    }
}

pub(super) struct View<'a> {
    layers: RwLockReadGuard<'a, Layers>,
    tables: &'a Tables,
    warm: &'a Warm,
}

impl View<'_> {
    pub(super) fn get(&self, key: &RowKey) -> Result<Option<Box<[u8]>>, StoreError> {
        match self.layers.upper.get(key).or_else(|| self.layers.lower.get(key)) {
            Some(value) => Ok(value.clone()),
            None if key.is_header() => self.header(key),
            None => self.tables.get(key.as_bytes()),
        }
    }

    /// What neither layer has is not being written, and cannot be as long as this view holds the layers: so what is put here is not old.
    fn header(&self, key: &RowKey) -> Result<Option<Box<[u8]>>, StoreError> {
        if let Some(value) = self.warm.get(key) {
            return Ok(Some(value));
        }
        let stored = self.tables.get(key.as_bytes())?;
        if let Some(value) = &stored {
            self.warm.put(*key, value.clone());
        }
        Ok(stored)
    }

    /// Rows from `from` inclusive to `to` exclusive, in their order.
    pub(super) fn scan(&self, from: RowKey, to: RowKey) -> impl Iterator<Item = Result<(RowKey, Box<[u8]>), StoreError>> {
        let layers = &*self.layers;
        Merged {
            upper: range(&layers.upper, from, to).map(|(key, value)| (*key, value.clone())).peekable(),
            lower: range(&layers.lower, from, to).map(|(key, value)| (*key, value.clone())).peekable(),
            tables: self.tables.scan(&from, &to).peekable(),
        }
    }
}

fn range(rows: &Rows, from: RowKey, to: RowKey) -> impl Iterator<Item = (&RowKey, &Option<Box<[u8]>>)> {
    // An empty range is no panic here.
    let to = to.max(from);
    rows.range((Bound::Included(from), Bound::Excluded(to)))
}

/// Three sorted sources; of rows with the same key the uppermost counts.
struct Merged<A: Iterator, B: Iterator, C: Iterator> {
    upper: Peekable<A>,
    lower: Peekable<B>,
    tables: Peekable<C>,
}

impl<A, B, C> Iterator for Merged<A, B, C>
where
    A: Iterator<Item = Change>,
    B: Iterator<Item = Change>,
    C: Iterator<Item = Result<(RowKey, Box<[u8]>), StoreError>>,
{
    type Item = Result<(RowKey, Box<[u8]>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let stored = match self.tables.peek() {
                Some(Err(_)) => return self.tables.next(),
                Some(Ok((key, _))) => Some(*key),
                None => None,
            };
            let upper = self.upper.peek().map(|(key, _)| *key);
            let lower = self.lower.peek().map(|(key, _)| *key);
            let key = [upper, lower, stored].into_iter().flatten().min()?;
            // Each source that has the key moves on; the uppermost gives the value.
            let stored = self.tables.next_if(|row| row.as_ref().is_ok_and(|(found, _)| *found == key));
            let lower = self.lower.next_if(|(found, _)| *found == key);
            let upper = self.upper.next_if(|(found, _)| *found == key);
            match upper.or(lower) {
                Some((_, Some(value))) => return Some(Ok((key, value))),
                Some((_, None)) => {}
                None => return stored,
            }
        }
    }
}
