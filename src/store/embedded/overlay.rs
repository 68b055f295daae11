//! Rows of commits that are durable in the journal but not yet in the tables. Readers look here first; a thread of its own writes them
//! late, merged and in key order.
//!
//! Two layers: new rows go to the upper one. To write them out it becomes the lower one, which no longer changes; its rows hide the
//! tables' until all of them are written, so nobody sees them half written.

use std::{
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    absent::Absent,
    background::Background,
    layer::Layer,
    rows::{Change, Generation, RowKey},
    tables::Tables,
    view::View,
    warm::Warm,
};
use crate::store::StoreError;

/// While the disk is full; who frees space does not tell.
const SPACE_ASKED_EVERY: Duration = Duration::from_millis(500);
/// Rows are written when nothing was committed for so long, or when they fill half of the bound.
const PATIENCE: Duration = Duration::from_secs(2);

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
    absent: Absent,
    /// The newest one that any row of the index is in.
    generation: AtomicU32,
}

#[derive(Default)]
pub(super) struct Layers {
    pub(super) upper: Layer,
    pub(super) lower: Arc<Layer>,
    /// An empty one, with memory to be used again.
    spare: Layer,
    /// The tables' own row after the upper layer is written.
    applied: Box<[u8]>,
}

#[derive(Default)]
struct Progress {
    waiting_bytes: usize,
    /// How often something was published, and how much of that is in the tables.
    published: u64,
    written: u64,
    /// Somebody waits for what was published so far.
    awaited: u64,
    stop: bool,
    /// Rows wait until there is space on the disk.
    is_full: bool,
    /// How often that was found out, one way or the other.
    looked_for_space: u64,
    failure: Option<String>,
}

impl Progress {
    fn is_awaited(&self) -> bool {
        self.written < self.awaited
    }

    /// Whether rows of so many bytes have to be written without pauses, when so many thousandths of them are: somebody waits, or new ones
    /// come so fast that there would be no room for them before these are written.
    fn is_urgent(&self, bound: usize, writing: usize, done: usize) -> bool {
        let new = self.waiting_bytes.saturating_sub(writing);
        let room = bound.saturating_sub(writing);
        self.is_awaited() || self.stop || self.waiting_bytes > bound || new.saturating_mul(1000) >= room.saturating_mul(done)
    }
}

impl Overlay {
    /// `newest`: generation of the index that the tables may have rows in.
    pub(super) fn new(tables: Tables, newest: Generation, bound: usize, warm_bytes: usize) -> Self {
        Self {
            tables,
            layers: RwLock::default(),
            progress: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            bound,
            warm: Warm::new(warm_bytes),
            absent: Absent::default(),
            generation: AtomicU32::new(newest),
        }
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
            self.check(&progress)?;
            self.wake.notify_all();
            progress = self.written.wait(progress).expect("nobody panics while holding the progress");
        }
        match &progress.failure {
            Some(failure) => Err(StoreError::Tables(failure.clone())),
            None => Ok(()),
        }
    }

    /// Whether it makes sense to wait for rows to be written.
    fn check(&self, progress: &Progress) -> Result<(), StoreError> {
        match &progress.failure {
            Some(failure) => Err(StoreError::Tables(failure.clone())),
            None if progress.is_full => Err(self.tables.no_space()),
            None => Ok(()),
        }
    }

    /// Lets readers see a durable commit. `applied` is what the tables' own row must say once its rows are written.
    pub(super) fn publish(&self, generation: Generation, changes: Vec<Change>, applied: Box<[u8]>) {
        changes.iter().filter_map(|(key, _)| key.looked_up_hash()).for_each(|hash| self.absent.insert(&hash));
        // Both locks, always in this order: what waits is counted exactly.
        let mut progress = self.progress();
        let mut layers = self.layers.write().expect("nobody panics while holding the layers");
        let bytes = changes.into_iter().map(|change| layers.upper.put(change)).sum::<usize>();
        layers.applied = applied;
        self.generation.fetch_max(generation, Ordering::Release);
        drop(layers);
        progress.waiting_bytes += bytes;
        progress.published += 1;
        if progress.waiting_bytes >= self.bound / 2 {
            self.wake.notify_all();
        }
    }

    /// Commits that readers see and the tables do not have yet, and the bytes of their rows.
    pub(super) fn behind(&self) -> (u64, u64) {
        let progress = self.progress();
        (progress.published - progress.written, progress.waiting_bytes as u64)
    }

    /// Of bytes that may wait.
    pub(super) fn bound(&self) -> u64 {
        self.bound as u64
    }

    /// Waits until all that was published so far is in the tables.
    pub(super) fn drain(&self) -> Result<(), StoreError> {
        let mut progress = self.progress();
        let (target, looked) = (progress.published, progress.looked_for_space);
        while progress.written < target {
            // That there was no space before says nothing: it is looked for again first.
            if progress.failure.is_some() || progress.looked_for_space > looked {
                self.check(&progress)?;
            }
            progress.awaited = progress.awaited.max(target);
            self.wake.notify_all();
            progress = self.written.wait(progress).expect("nobody panics while holding the progress");
        }
        Ok(())
    }

    /// Reads the tables once: what is looked up by hash for the filter, and as many headers and identifiers as are kept in memory. What is published
    /// meanwhile comes by itself.
    pub(super) fn warm_up(&self) {
        // Without it all is looked up in the tables, and who looks sees the fault.
        let _ = self.fill_filter().and_then(|()| self.fill_warm());
    }

    fn fill_filter(&self) -> Result<(), StoreError> {
        for range in RowKey::looked_up_ranges() {
            for (count, row) in self.tables.scan(&range.start, &range.end).enumerate() {
                row?.0.looked_up_hash().iter().for_each(|hash| self.absent.insert(hash));
                if count % 4_096 == 0 && self.progress().stop {
                    return Ok(());
                }
            }
        }
        self.absent.set_filled();
        Ok(())
    }

    fn fill_warm(&self) -> Result<(), StoreError> {
        self.fill(RowKey::all_identifiers(), Warm::is_full_of_identifiers)?;
        self.fill(RowKey::all_members(), Warm::is_full_of_headers)
    }

    fn fill(&self, rows: Range<RowKey>, is_full: fn(&Warm) -> bool) -> Result<(), StoreError> {
        let mut from = Some(rows.start);
        while let Some(first) = from.take()
            && !is_full(&self.warm)
            && !self.progress().stop
        {
            // As long as the view holds the layers, what is in neither of them cannot be written: what is read here is not old.
            let view = self.view();
            for row in self.tables.scan(&first, &rows.end).take(256) {
                let (key, value) = row?;
                from = Some(key.next());
                view.keep_warm(&key, &value);
            }
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
            if self.waits_for_space() {
                continue;
            }
            match self.write_once() {
                Ok(()) => {}
                // It was told to stop meanwhile. The journal has what the tables lack.
                Err(StoreError::NoSpace { .. }) => return,
                Err(error) => {
                    if let StoreError::Tables(_) = error {
                        self.tables.distrust(&error);
                    }
                    self.progress().failure = Some(error.to_string());
                    self.written.notify_all();
                    return;
                }
            }
        }
    }

    /// True: there was none, and some time has passed.
    fn waits_for_space(&self) -> bool {
        let waiting = self.progress().waiting_bytes;
        let is_full = !self.tables.has_space_for(waiting);
        self.set_full(is_full);
        if is_full {
            self.pause();
        }
        is_full
    }

    fn set_full(&self, is_full: bool) {
        let mut progress = self.progress();
        progress.looked_for_space += 1;
        if is_full != std::mem::replace(&mut progress.is_full, is_full) {
            let waiting = progress.waiting_bytes;
            match is_full {
                true => tracing::error!(waiting, error = %self.tables.no_space(), "the disk is nearly full: rows wait in memory"),
                false => tracing::info!(waiting, "there is space on the disk again; rows are written"),
            }
        }
        drop(progress);
        // Those who wait for rows to be written are told.
        self.written.notify_all();
    }

    fn pause(&self) {
        drop(self.wake.wait_timeout(self.progress(), SPACE_ASKED_EVERY).expect("nobody panics while holding the progress"));
    }

    /// False: stop.
    fn wait_for_work(&self) -> bool {
        let mut progress = self.progress();
        loop {
            if progress.stop {
                return false;
            }
            let behind = progress.written < progress.published;
            if behind && (progress.is_awaited() || progress.waiting_bytes >= self.bound / 2) {
                return true;
            }
            let before = progress.published;
            let (guard, timeout) = self.wake.wait_timeout(progress, PATIENCE).expect("nobody panics while holding the progress");
            progress = guard;
            if timeout.timed_out() && progress.published == before && progress.written < before {
                return !progress.stop;
            }
        }
    }

    fn write_once(&self) -> Result<(), StoreError> {
        let (rows, applied, published, bytes) = {
            let progress = self.progress();
            let mut layers = self.layers.write().expect("nobody panics while holding the layers");
            let spare = std::mem::take(&mut layers.spare);
            layers.lower = Arc::new(std::mem::replace(&mut layers.upper, spare));
            (layers.lower.clone(), layers.applied.clone(), progress.published, progress.waiting_bytes)
        };
        let sorted = rows.sorted();
        let is_urgent = |done| self.progress().is_urgent(self.bound, bytes, done);
        let work = || Background::new(Tables::steps(sorted.len()), &is_urgent);
        while let Err(error) = self.tables.write(&sorted, &applied, &mut work()) {
            let goes_on = matches!(error, StoreError::NoSpace { .. }) && !self.progress().stop;
            if !goes_on {
                return Err(error);
            }
            self.set_full(true);
            self.pause();
        }
        self.set_full(false);
        // Before readers look behind the lower layer, so that none of them finds a row from before it there.
        rows.headers().for_each(|(owner, header)| self.warm.put_header(*owner, header.into()));
        rows.identifiers().for_each(|(key, row)| self.warm.put_identifier(*key, row));
        rows.persons().for_each(|(owner, person)| self.warm.put_person(*owner, person.into()));
        self.layers.write().expect("nobody panics while holding the layers").lower = Arc::default();
        if let Some(written) = Arc::into_inner(rows) {
            let spare = written.emptied();
            self.layers.write().expect("nobody panics while holding the layers").spare = spare;
        }
        let mut progress = self.progress();
        progress.waiting_bytes -= bytes;
        progress.written = published;
        drop(progress);
        self.written.notify_all();
        Ok(())
    }

    /// One instant of all rows. Commits wait for it to be dropped.
    pub(super) fn view(&self) -> View<'_> {
        View {
            layers: self.layers.read().expect("nobody panics while holding the layers"),
            tables: &self.tables,
            warm: &self.warm,
            absent: &self.absent,
            newest: self.generation.load(Ordering::Acquire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_without_pauses_when_somebody_waits_or_new_ones_come_faster() {
        let (bound, writing) = (1_000, 500);
        let progress = |waiting_bytes| Progress { waiting_bytes, published: 9, written: 4, ..Progress::default() };
        assert!(!progress(500).is_urgent(bound, writing, 1), "nothing has come since");
        assert!(!progress(700).is_urgent(bound, writing, 500), "half is done, and less than half of the room is taken");
        assert!(progress(751).is_urgent(bound, writing, 500));
        for done in [0, 999, 1_000, 5_000] {
            assert!(progress(1_001).is_urgent(bound, writing, done), "commits wait for room, at {done}");
            assert!(Progress { awaited: 5, ..progress(500) }.is_urgent(bound, writing, done), "somebody waits, at {done}");
            assert!(Progress { stop: true, ..progress(500) }.is_urgent(bound, writing, done), "it is to end, at {done}");
        }
        assert!(!Progress { awaited: 4, ..progress(500) }.is_urgent(bound, writing, 1), "what was waited for is there");
    }
}
