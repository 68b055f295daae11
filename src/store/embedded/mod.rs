//! The default store: a journal that is the ledger, and sled tables to look things up.
//!
//! A commit is encoded, its members' new keys are made durable, it is appended to the journal and made durable with one fdatasync, and
//! only then readers see its rows: first in the overlay (`overlay.rs`), later in the tables, where a thread of its own writes them merged
//! and in key order. The tables may be behind the journal, never ahead of it. Start reads what they lack from the journal; tables that
//! cannot be used are moved aside (`tables.broken-N`) and made again.
//!
//! # The folder
//!
//! | name | what |
//! |---|---|
//! | `LOCK` | locked by the process that has the folder open |
//! | `journal/` | segments, `<number of the first commit, 20 digits>.seg`; `.new` is one that was not finished and is removed |
//! | `journal/*.seg.cut-<offset>` | the bytes that were cut off there, see below; at most 8, read by nobody, may be removed |
//! | `journal.new/` | a journal that a restore was putting together when it was cut off: the folder does not open |
//! | `keys` | the key file. A backup of the folder copies it after the journal, and keeps it apart |
//! | `keys.before-accept` | the key file as it was before keys were declared erased, but for keys of members who were erased since; it holds keys, and is to be destroyed |
//! | `tables/sled/` | the look-up tables; can always be made again |
//! | `tables/REDO` | the rows that were last written to sled, or are being written, see `redo.rs` |
//! | `tables/CHECKPOINT` | how the tables were left, see `trust.rs`: `clean`, or `open <boot id> <device> <inode of the log>`; gone: they failed |
//!
//! What each file begins with says its format, and what becomes of one that this version does not know is written down in `formats.rs`.
//!
//! Numbers in the formats below are little-endian, those in keys of rows big-endian. CRC is CRC-32C (Castagnoli).
//!
//! # Segments
//!
//! Preallocated; behind the last record there are zeros, in a segment that is not the last one usually nothing. The header is 128 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `LOYLJNL\n` |
//! | 8..10 | format, 1 |
//! | 12..16 | CRC of bytes 16..128 |
//! | 16..32 | id of the store, random, the same in all its files |
//! | 32..40 | number of the segment, from 1 |
//! | 40..48 | number of its first commit |
//! | 48..80 | hash of the last record of the segment before; zeros in the first |
//!
//! Records follow one another without gaps from byte 128 on, one a commit. A record is a header of 56 bytes and the payload:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `LREC` |
//! | 4..8 | length of the payload, at most 64 MiB |
//! | 8..12 | CRC of all other bytes of the record: 0..8, then 12 to its end |
//! | 12..14 | format, 1: the payload is a `loyalty.storage.v1.Commit` |
//! | 14..16 | 0; room for flags such as compression |
//! | 16..24 | number of the commit: 1, 2, 3, ... through all segments |
//! | 24..56 | BLAKE3 of the record before, header and payload; zeros before the first |
//!
//! A record that cannot be read at the end of the last segment, with no whole record behind it, was being written when the process
//! stopped, or was damaged: it is overwritten with zeros, unless the tables know its commit, and its bytes are kept beside the segment in
//! `<segment>.seg.cut-<offset>` (and `-2`, `-3`, ... if there is one already). Anything else that cannot be read is damage: the store does
//! not open and names the file and the byte. Nor does it open when the tables know a commit behind the journal's end, or when there are
//! tables and the last segment is compressed, as only closed ones are, because a newer one is missing: to go back to an
//! older journal on purpose, `tables/` is removed. Start reads the segments that the tables lack and the last one; `check` reads all.
//!
//! ## Compressed segments
//!
//! A segment that is not the last one is compressed some time after it was closed: the same bytes as far as its last record's end, cut
//! into frames, each compressed by itself. The file has the same name and takes the plain one's place by a rename, after it was made
//! durable, read back and walked along: at any instant there is one of both, whole. Places in rows and in messages of records count in
//! the plain bytes. The header is that of a plain segment, except for:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `LOYLJNZ\n` |
//! | 80..88 | plain bytes |
//! | 88..92 | plain bytes of a frame (131,072), of which the last one has the rest |
//! | 92..96 | CRC of the index |
//!
//! The index follows, for each frame the length in the file (4 bytes) and the CRC of what is there (4 bytes), then the frames, each a frame
//! of Zstandard. The last segment is plain; if those behind it were given up, it is made plain again at open.
//!
//! # Key file
//!
//! Slots of 64 bytes. Slot 0: `LKEY`, format 1 (byte 4), 1 if slots are wrapped (byte 5), id of the store (8..24), CRC of bytes 0..24
//! (24..28). Slot 1: the index key. From slot 2 on one a member, never used twice. A slot:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | 0 free, 1 plain, 2 wrapped, 3 wiped |
//! | 4..8 | CRC of the slot's number (4 bytes), of bytes 0..4 and of bytes 8..64 |
//! | 8..40 | plain: the key |
//! | 8..56 | wrapped: the key under ChaCha20-Poly1305; nonce: the slot's number and 8 zeros; associated data: the slot's number (4 bytes) |
//!
//! The wrapping key is BLAKE3's key derivation (context `loyaltyd key file, format 1: wrapping of slots`) of the operator's key followed
//! by the id of the store. A slot is durable before the record of the commit that enrols; the last ones are written again at open, since a
//! process whose sync of them failed may have left them in the kernel's memory alone. What is sealed names its slot; how it is sealed
//! stands at `Entry.sealed` in `journal.proto`. A slot that was wiped means: erased. An erasure wipes the slots of those
//! that were merged into the member, too. It is durable in the journal before the slot is
//! wiped, and the slot is before the next commit or any answer; a start wipes those that `w` rows name and that are not (after a kill
//! in between, or in a key file from before the erasure). A slot that is not there, or a next free slot lower
//! than the one in `AppliedRow`, means that the key file is older than the journal: the store does not open.
//!
//! Requests' fingerprints are BLAKE3 of `f` and the hash of method and payload, keyed with the index key, the first 16 bytes of it: in the
//! journal and its backups nobody can try phone numbers against them. The key file does not protect from whoever has it beside the
//! journal: with the index key a guess at what somebody sent can be confirmed, also of a member who was erased.
//!
//! # Backups
//!
//! A backup's folder holds `journal/` as above (its last segment is not preallocated, its closed ones are compressed or not, whatever those
//! of the store are) and `keys`, unless that is kept elsewhere. The file `BACKUP` makes it one: lines of text that name the format, the store's
//! id, whether the keys lie apart, the last commit of the last run that came to its end with its hash, and the CRC of the lines before. What
//! is behind that commit had come when a run was cut off; what is missing before it is damage. The parts come in an order in which writing may
//! stop anywhere: blocks of the key file, which are durable before the journal's parts, then segments in their order. A run goes on behind
//! the last whole record that it finds, if the store has the commit of that number and hash. No store opens in such a folder; `restore`
//! makes a data folder, first `journal.new/`, with which none opens, then the keys, then the journal by a rename of it.
//!
//! # Rows
//!
//! P is the programme's number (4 bytes), M the member's id (16 bytes), G the generation of the index (4 bytes): number of the segment
//! that the commit is in, divided by 64. Hashes are BLAKE3 keyed with the index key, 32 bytes, the first 16 of them in the key; what is
//! found by one is compared with what was asked for. Messages are those of `tables.proto`. A place is: CRC of the bytes there (4 bytes),
//! then as varints the number of the segment's first commit, the offset in the segment, the length.
//!
//! | key | value |
//! |---|---|
//! | `g` P | id of the programme; numbers are given in the order in which the journal first names the programmes |
//! | `i` P hash of `i`, programme id, 0, kind (1 byte), value | M, the rest of the hash |
//! | `m` P M 0 | `HeaderRow` |
//! | `m` P M 1, expiry (8 bytes: microseconds with the highest bit turned over; all ones: never; all ones but the last bit: with inactivity; below that: all ones but the last 20 bits and the number of a month, after months without activity), lot (8 bytes) | `LotRow` |
//! | `m` P M 2, sequence (8 bytes) | place of the `Entry` |
//! | `m` P M 3, sequence of the entry that made it (8 bytes) | `Hold` of `journal.proto`, as long as it is open |
//! | `m` P M 4, sequence of an entry (8 bytes) | sequence of the newest entry that goes on with its story, as a varint; if it is another member's, since M was merged into it, then that one's id |
//! | `m` P M 5, activation as a lot's expiry (8 bytes), lot (8 bytes) | `PendingRow` |
//! | `m` P M 6, hash of `x`, activity, 0, reference | sequence of the entry, as a varint |
//! | `m` P M 6, hash of `x`, activity, 0 | the same of the entry by which the member was referred |
//! | `k` P hash of `c`, code of a voucher (10 bytes) | M of the member that it was issued to, sequence of the entry that did, as a varint |
//! | `m` P M 7, code of a voucher (10 bytes) | `Voucher` of `journal.proto`, as long as it is live |
//! | `n` P hash of `q`, segment id (16 bytes) | `SegmentSizeRow`, of segments that anybody ever was in |
//! | `o` G P hash of `o`, store id, 0, order id | `PurchaseRow` |
//! | `p` P M | the `Person`, sealed like an entry with the number 2^64 - 1; the slot alone: erased, or merged into another member |
//! | `q` P hash of `q`, segment id (16 bytes) M | nothing: the member is in the segment |
//! | `r` G P hash of `r`, request id | `RequestRow` |
//! | `s` P hash of `s`, reward id | `RewardStockRow`, of rewards of which one was ever taken |
//! | `t` instant as a lot's expiry (8 bytes) P M | nothing: something of the member's is due then |
//! | `u` P, turned over: instant as a lot's expiry (8 bytes), commit (8 bytes), place in it (4 bytes) | `ActRow`: an administrative act, the newest first |
//! | `v` commit (8 bytes), place in it (4 bytes) | place of the `Publication` |
//! | `w` slot of the key file (4 bytes) | nothing: an erasure has wiped it |
//! | `x` P | members by state and points of all of them together: 17 numbers of 16 bytes each, see `Totals::numbers` |
//! | `y` P hash of `y`, actor id | `OperatorRow`, of operators whose adjustments a fraud limit has counted |
//!
//! In sled's default tree neighbouring rows lie together in leaves (`leaves.rs`); the key `a` alone has a value of its own there:
//! `AppliedRow`, the last commit whose rows are all there, with the latest time of all up to it.
//!
//! Rows are written in groups, first to `REDO` and then to sled, which has handed the group before to the kernel by then; a start writes
//! the group in `REDO` again before anything is read. `REDO` is there as long as the tables are, with no rows after a stop in order: when
//! the tables are neither as they were before its rows nor as they were after them, they have lost some. So a header that names entry N comes with the lots after entry N. A replay folds a commit's entries only if the header is behind them, and
//! writes all other rows again, which are the same whenever they are written.

mod absent;
mod activities;
mod audit;
mod background;
mod backup;
mod birthdays;
mod check;
mod compress;
mod decode;
mod decode_fraud;
mod decode_holds;
mod decode_merge;
mod decode_person;
mod decode_returns;
mod effects;
mod encode;
mod encode_fraud;
mod encode_merge;
mod encode_points;
mod erasure;
mod folded;
mod formats;
mod goals;
mod index;
mod journal;
mod keys;
mod known;
mod layer;
mod leaves;
mod lost_keys;
mod marker;
mod months;
mod offers;
mod overlay;
mod packed;
mod programs;
mod promotions;
mod publication;
mod reads;
mod redo;
mod referrals;
mod replay;
mod rewards;
mod row_values;
mod rows;
mod sealing;
mod segment;
mod segments;
mod source;
mod space;
mod spare;
mod state_rows;
mod stories;
mod tables;
mod tiers;
mod torn;
mod totals;
mod trust;
mod unit;
mod verify;
mod view;
mod vouchers;
mod warm;
mod wire;

/// The stored messages, as generated from `proto/loyalty/storage/v1`. Commits are taken apart by hand, to know where each entry lies.
#[allow(clippy::all, clippy::pedantic, dead_code)]
mod stored {
    tonic::include_proto!("loyalty.storage.v1");
}

use std::{
    fmt,
    fs::{self, File, TryLockError},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    thread::JoinHandle,
};

use jiff::Timestamp;

pub use self::{
    backup::Backup,
    check::{ProgramTotals, Report, check, check_backup, is_backup, read_entries, repair},
    lost_keys::Accepted,
    verify::{BackupPlace, Restored, Until, Verified, restore, verify},
};

use self::{
    compress::Compressor,
    index::Index,
    journal::{Appended, Appender, Journal, segment_paths, sync_folder},
    keys::{KeyFile, SlotWriter},
    overlay::Overlay,
    programs::Programs,
    segment::io_error,
    totals::RunningTotals,
};
use crate::{
    domain::{Fingerprint, VoucherCodeKey},
    store::{
        Behind, Name, Statistics, Store, StoreError, Unit,
        backup::{Held, Source},
    },
};

/// How the store uses disk and memory.
#[derive(Clone)]
pub struct Options {
    /// Size of the journal's files.
    pub segment_bytes: u64,
    /// Of rows that wait to be written to the tables; commits wait when there are more.
    pub overlay_bytes: usize,
    /// Of what the tables keep in memory.
    pub sled_cache_bytes: u64,
    /// Of members' headers, identifiers and sealed persons that are kept in memory.
    pub member_cache_bytes: usize,
    /// Compress the journal's files when they are closed.
    pub compress: bool,
    /// Wraps the members' keys.
    pub operator_key: Option<[u8; 32]>,
}

/// All but the key.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment_bytes, overlay_bytes, sled_cache_bytes, member_cache_bytes, compress, operator_key } = self;
        f.debug_struct("Options")
            .field("segment_bytes", segment_bytes)
            .field("overlay_bytes", overlay_bytes)
            .field("sled_cache_bytes", sled_cache_bytes)
            .field("member_cache_bytes", member_cache_bytes)
            .field("compress", compress)
            .field("operator_key", &operator_key.map(|_| "not shown"))
            .finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            overlay_bytes: 1 << 30,
            sled_cache_bytes: 256 << 20,
            member_cache_bytes: 5 << 29,
            compress: true,
            operator_key: None,
        }
    }
}

/// A data folder, open for this process alone.
pub struct EmbeddedStore {
    engine: Engine,
    writer: Mutex<Writer>,
    compressor: Compressor,
    /// Its lock goes when it is closed, last of all.
    _lock: FolderLock,
}

/// What reading needs, and the thread that writes rows out.
struct Engine {
    parts: Parts,
    programs: Programs,
    totals: RunningTotals,
    overlay: Arc<Overlay>,
    /// Of all commits, in microseconds; the lowest number: there is none, or it is not known.
    latest_time: AtomicI64,
    threads: Vec<JoinHandle<()>>,
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
    /// A write or fsync failed: what is on disk is not known, and trying again is not safe.
    failed: bool,
}

const LOCK: &str = "LOCK";
const JOURNAL: &str = "journal";
/// A journal that a restore puts together; it becomes one when it is renamed.
const UNFINISHED_JOURNAL: &str = "journal.new";
const KEYS: &str = "keys";

impl EmbeddedStore {
    /// Opens the store in a folder, or makes one there. What the tables lack is brought up from the journal, which can take long.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        create_folder(folder)?;
        let lock = lock(folder)?;
        if marker::is_there(folder) {
            let what = "is a backup and is left as it is: make a data folder of it with `loyaltyd restore`";
            return Err(StoreError::Refused(format!("{} {what}", folder.display())));
        }
        formats::refuse_newer(folder)?;
        create_if_new(folder, &options)?;
        // A process may have ended between making a name and making it durable; what is written from here on needs the names.
        sync_folder(folder)?;
        sync_folder(&folder.join(JOURNAL))?;
        let (keys, slots) = KeyFile::open(&folder.join(KEYS), options.operator_key.as_ref())?;
        let journal = Arc::new(Journal::open(&folder.join(JOURNAL))?);
        if journal.store_id() != keys.store_id() {
            return Err(StoreError::Damaged(format!(
                "{}: the key file belongs to another store than the journal; restore the one that belongs to it",
                folder.join(KEYS).display()
            )));
        }
        let mut appender = journal.appender(options.segment_bytes)?;
        keys.secure()?;
        appender.reopen_last(tables::exist(&folder.join(replay::TABLES)))?;
        appender.secure()?;
        let parts = Parts { index: Arc::new(Index(keys.index_key()?)), journal, keys: Arc::new(keys) };
        let engine = replay::bring_up(folder, &options, &parts, &appender)?;
        appender.prepare()?;
        let compressor = Compressor::start(&engine.journal, options.compress)?;
        let writer = Mutex::new(Writer { appender, slots, record: Vec::new(), failed: false });
        Ok(Self { engine, writer, compressor, _lock: lock })
    }
}

impl EmbeddedStore {
    /// Compresses the journal's closed files here and now; a thread of the store's does so anyway, sooner or later, if the options say so.
    pub fn compress_closed(&self) {
        self.compressor.run();
    }
}

fn panicked() -> StoreError {
    StoreError::Tables("a unit of work panicked; the process must end".to_owned())
}

/// With the folders that it is in, all of them durably: what is synced in a folder that is gone after a cut of power is gone with it.
fn create_folder(folder: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(folder).map_err(|source| io_error("creating", folder, source))?;
    missing.into_iter().rev().filter_map(Path::parent).try_for_each(sync_folder)?;
    // The process that made it may have ended before it was durable. Whoever may not open the folder around it did not make this one.
    match folder.parent().map(sync_folder) {
        Some(Err(StoreError::Io { source, .. })) if source.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        Some(synced) => synced,
        None => Ok(()),
    }
}

/// A folder that no other process has open.
struct FolderLock(File);

/// Not left to closing the file: a process that is just being started from this one has it open too, until it runs.
impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing it does the same a little later.
        let _ = self.0.unlock();
    }
}

fn lock(folder: &Path) -> Result<FolderLock, StoreError> {
    let path = folder.join(LOCK);
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|source| io_error("opening", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(source)) => Err(io_error("locking", &path, source)),
    }
}

/// First the keys, then the journal: a crash in between leaves keys of nobody, never a journal without keys.
fn create_if_new(folder: &Path, options: &Options) -> Result<(), StoreError> {
    let (keys, journal) = (folder.join(KEYS), folder.join(JOURNAL));
    let has_journal = !segment_paths(&journal)?.is_empty();
    if !has_journal && folder.join(UNFINISHED_JOURNAL).exists() {
        return Err(StoreError::Damaged(format!(
            "{}: a restore into this folder did not come to its end: remove what is in the folder, and restore again",
            folder.display()
        )));
    }
    match (keys.exists(), has_journal) {
        (true, true) => return Ok(()),
        (false, true) => {
            return Err(StoreError::Damaged(format!(
                "{}: the key file is missing, without which nothing personal in the journal can be read; restore it from a backup of this \
                 store. If there is none, {}",
                keys.display(),
                keys::lost(&keys)
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
    Journal::create(&journal, file.store_id(), options.segment_bytes)?;
    tracing::warn!(
        store_id = marker::hex(&file.store_id()),
        "a new ledger was begun in {}; if there was one before, stop and look at the mount",
        folder.display()
    );
    Ok(())
}

impl Writer {
    fn is_usable(&self) -> Result<(), StoreError> {
        match self.failed {
            true => Err(StoreError::Damaged("an earlier commit failed to reach the disk; the process must end".to_owned())),
            false => Ok(()),
        }
    }

    /// Makes the record durable, with the keys that it names. When there is no space for it, nothing was done, and others may follow.
    fn store(&mut self, keys: &KeyFile) -> Result<Appended, StoreError> {
        // Keys first: a journal that names a key has it.
        let stored = self.slots.write(keys).and_then(|()| self.appender.append(&mut self.record));
        self.failed = !matches!(stored, Ok(_) | Err(StoreError::NoSpace { .. }));
        stored
    }
}

impl Store for EmbeddedStore {
    fn begin<'a>(&'a self, _names: &[Name<'_>]) -> Result<Box<dyn Unit + 'a>, StoreError> {
        let writer = self.writer.lock().map_err(|_| panicked())?;
        Ok(Box::new(unit::EmbeddedUnit::new(&self.engine, writer)))
    }

    fn keyed(&self, fingerprint: Fingerprint) -> Fingerprint {
        self.engine.index.fingerprint(fingerprint)
    }

    fn voucher_code_key(&self) -> VoucherCodeKey {
        self.engine.index.voucher_code_key()
    }

    fn latest_time(&self) -> Option<Timestamp> {
        let micros = self.engine.latest_time.load(Ordering::SeqCst);
        Some(micros).filter(|micros| *micros != i64::MIN).and_then(|micros| Timestamp::from_microsecond(micros).ok())
    }

    fn statistics(&self) -> Statistics {
        let Engine { parts, programs, totals, overlay, .. } = &self.engine;
        let (commits, bytes) = overlay.behind();
        let totals = totals.get().into_iter().filter_map(|(number, totals)| Some((programs.name(number)?, totals)));
        Statistics { behind: Behind { commits, bytes, bound: overlay.bound() }, totals: totals.collect(), ..parts.journal.statistics() }
    }

    fn flush(&self) -> Result<(), StoreError> {
        // No commit meanwhile: what is marked as clean must be all there is.
        let _writer = self.writer.lock().map_err(|_| panicked())?;
        self.engine.flush()
    }

    fn backup(&self, held: Held) -> Result<Box<dyn Source>, StoreError> {
        // Between commits: a key that one wipes is wiped in what is copied after it.
        let durable = {
            let _writer = self.writer.lock().map_err(|_| panicked())?;
            source::Durable::now(&self.engine.parts)
        };
        Ok(Box::new(source::BackupSource::new(&self.engine.parts, durable, held)?))
    }
}

/// Formats of what is in a data folder: of the journal, of the key file, and of the tables, which are made again where they have another.
pub const FORMATS: Formats = Formats { journal: segment::FORMAT as u32, keys: keys::FORMAT as u32, tables: rows::FORMAT };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    pub journal: u32,
    pub keys: u32,
    pub tables: u32,
}

impl Engine {
    fn flush(&self) -> Result<(), StoreError> {
        self.overlay.drain()?;
        self.overlay.tables().sync()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.overlay.stop();
        for thread in self.threads.drain(..) {
            // They contain their panics; there is nobody to tell of one here.
            let _ = thread.join();
        }
    }
}
