//! The file of the segment to come. A thread of its own fills it with zeros: blocks that were written once need no metadata when they are
//! written again, unlike blocks that are only allocated.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    background::Background,
    journal::{create_file, sync},
    segment::io_error,
};
use crate::store::StoreError;

#[derive(Debug)]
pub(super) struct Spare {
    /// None: it was waited for.
    thread: Option<JoinHandle<Result<File, StoreError>>>,
    wishes: Arc<Wishes>,
}

#[derive(Debug, Default)]
struct Wishes {
    is_urgent: AtomicBool,
    is_given_up: AtomicBool,
}

impl Spare {
    pub(super) fn begin(path: PathBuf, size: u64) -> io::Result<Self> {
        let wishes = Arc::<Wishes>::default();
        let wished = wishes.clone();
        let work = move || {
            let made = create_file(&path).and_then(|file| write_zeros(&file, &path, size, &wished).map(|()| file));
            if made.is_err() {
                // Half a segment only takes space away from the one that will be made when it is needed.
                let _ = fs::remove_file(&path);
            }
            made
        };
        let thread = thread::Builder::new().name("segment-maker".to_owned()).spawn(work)?;
        Ok(Self { thread: Some(thread), wishes })
    }

    /// It will be needed soon.
    pub(super) fn hurry(&self) {
        self.wishes.is_urgent.store(true, Ordering::Relaxed);
    }

    /// Waits for it. `None`: it could not be made, for whatever reason.
    pub(super) fn file(mut self) -> Option<File> {
        self.hurry();
        self.thread.take()?.join().ok()?.ok()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.wishes.is_given_up.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The file is removed at the next start, whatever became of it.
            let _ = thread.join();
        }
    }
}

fn write_zeros(file: &File, path: &Path, size: u64, wishes: &Wishes) -> Result<(), StoreError> {
    let failed = |source| io_error("writing", path, source);
    let zeros = [0; 64 << 10];
    let is_urgent = |_| wishes.is_urgent.load(Ordering::Relaxed) || wishes.is_given_up.load(Ordering::Relaxed);
    let mut work = Background::new(1, &is_urgent);
    let mut offset = 0;
    while offset < size {
        if wishes.is_given_up.load(Ordering::Relaxed) {
            return Err(failed(io::ErrorKind::Interrupted.into()));
        }
        let part = zeros.len().min(usize::try_from(size - offset).unwrap_or(zeros.len()));
        file.write_all_at(&zeros[..part], offset).and_then(|()| work.written(file, part)).map_err(failed)?;
        offset += part as u64;
        work.step(0);
    }
    sync(file, path)
}
