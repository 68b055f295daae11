//! Checking a store as a whole: every record of the journal, every member folded again, every row compared, every point counted.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use super::{
    BackupPlace, EmbeddedStore, Engine, JOURNAL, KEYS, Options, Parts,
    decode::{self, Malformed, Unreadable},
    formats,
    index::Index,
    journal::{Journal, segment_paths},
    keys::KeyFile,
    known,
    lost_keys::{self, Accepted},
    marker,
    replay::{self, Depth},
    rows::{self, Generation, RowKey},
    segment::io_error,
    tables::{self, Tables},
    verify::Opened,
};
use crate::{
    domain::{Balance, Entry, MemberKey, ProgramId},
    store::{StoreError, Totals},
};

/// Differences that are told in words; all are counted.
const MAX_DIFFERENCES: usize = 100;
const FOLDED: &str = "tables.check";

/// What a check found. The journal's chain is whole, otherwise there is no report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub commits: u64,
    pub entries: u64,
    /// Rows of the look-up tables that were compared.
    pub rows: u64,
    pub programs: Vec<ProgramTotals>,
    /// Between the tables and the fold of the journal, in words; at most 100 of them.
    pub differences: Vec<String>,
    pub difference_count: u64,
}

/// All points of a programme's members together, in the smallest unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramTotals {
    pub program: ProgramId,
    pub members: u64,
    pub available: i128,
    pub pending: i128,
    pub held: i128,
    pub debt: i128,
    pub issued: i128,
    pub redeemed: i128,
    pub expired: i128,
    pub clawed_back: i128,
    pub reinstated: i128,
    pub transferred_in: i128,
    pub transferred_out: i128,
}

impl Report {
    /// Nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.difference_count == 0 && self.programs.iter().all(ProgramTotals::is_conserved)
    }

    pub(super) fn differ(&mut self, key: &RowKey, how: &str) {
        self.difference_count += 1;
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(format!("{} {how}", key.describe()));
        }
    }
}

impl ProgramTotals {
    fn new(program: ProgramId) -> Self {
        Self {
            program,
            members: 0,
            available: 0,
            pending: 0,
            held: 0,
            debt: 0,
            issued: 0,
            redeemed: 0,
            expired: 0,
            clawed_back: 0,
            reinstated: 0,
            transferred_in: 0,
            transferred_out: 0,
        }
    }

    /// Invariant 4, for the programme as a whole.
    pub fn is_conserved(&self) -> bool {
        let sources = self.issued + self.transferred_in + self.reinstated + self.debt;
        let places = self.pending + self.available + self.held + self.redeemed + self.expired + self.clawed_back + self.transferred_out;
        sources == places
    }

    fn add(&mut self, balance: &Balance) {
        self.members += 1;
        self.available += i128::from(balance.available.0);
        self.pending += i128::from(balance.pending.0);
        self.held += i128::from(balance.held.0);
        self.debt += i128::from(balance.debt.0);
        self.issued += i128::from(balance.issued.0);
        self.redeemed += i128::from(balance.redeemed.0);
        self.expired += i128::from(balance.expired.0);
        self.clawed_back += i128::from(balance.clawed_back.0);
        self.reinstated += i128::from(balance.reinstated.0);
        self.transferred_in += i128::from(balance.transferred_in.0);
        self.transferred_out += i128::from(balance.transferred_out.0);
    }
}

/// Checks the store in a folder that no process has open. It is opened as the service would, so what the tables lack is brought up first;
/// then the whole journal is read and folded into tables of its own, which need as much space again, and all rows are compared.
pub fn check(folder: &Path, options: &Options) -> Result<Report, StoreError> {
    require_journal(folder)?;
    let store = EmbeddedStore::open(folder, Options { compress: false, ..options.clone() })?;
    let writer = store.writer.lock().map_err(|_| super::panicked())?;
    room_for_tables(folder, 1)?;
    in_scratch(&folder.join(FOLDED), |path| {
        let (last, newest) = (writer.appender.last_seq(), rows::generation(writer.appender.segment_index()));
        fold_and_compare(&store.engine, path, options, last, newest)
    })
}

/// Reads all entries of a store that no process has open, in the order of its commits, from the journal alone: `each` has every one of them
/// once.
pub fn read_entries(folder: &Path, operator_key: Option<&[u8; 32]>, mut each: impl FnMut(&Entry)) -> Result<(), StoreError> {
    require_journal(folder)?;
    let _lock = super::lock(folder)?;
    let keys = KeyFile::open_to_read(&folder.join(KEYS), operator_key)?;
    Journal::open_to_read(&folder.join(JOURNAL))?.replay(1, |segment, record| {
        let mut read = || -> Result<(), Unreadable> {
            let commit = known::commit(&record.payload)?;
            for change in commit.members {
                let program = commit.programs.get(change.program as usize).ok_or(Malformed("member_change.program"))?;
                let key = MemberKey { program: decode::program_id(program)?, member: decode::member_id(&change.member_id)? };
                for entry in change.entries {
                    each(&decode::entry(&key, entry, &keys)?);
                }
            }
            Ok(())
        };
        read().map_err(|fault| fault.in_journal(&segment.path, record.offset))
    })
}

/// Whether a folder is a backup, and none that a service could use.
pub fn is_backup(folder: &Path) -> bool {
    marker::is_there(folder)
}

/// Checks a backup, which is left as it is: its journal is read and folded into tables in a folder that is made for that and removed. There
/// are no rows to compare.
pub fn check_backup(place: &BackupPlace<'_>, scratch: &Path, options: &Options) -> Result<Report, StoreError> {
    let opened = Opened::open(place)?;
    opened.require_a_whole_run()?;
    let (index, end) = opened.walk(|_, _| Ok(true))?;
    let newest = rows::generation(opened.journal.segments()[index].header.index);
    let index = Arc::new(Index(opened.keys.index_key()?));
    let parts = Parts { journal: Arc::new(opened.journal), keys: Arc::new(opened.keys), index };
    if scratch.exists() {
        return Err(StoreError::Refused(format!(
            "{} is there already: name another folder with --scratch, or remove it",
            scratch.display()
        )));
    }
    in_scratch(scratch, |path| {
        let (folded, mut report) = fold(&parts, path, options, end.seq - 1, newest)?;
        folded.overlay.drain()?;
        folded.check_sizes(&mut report)?;
        report.programs = totals(&folded, &mut report)?;
        Ok(report)
    })
}

/// Moves the look-up tables aside, makes them again from the journal, and checks. `accept_erased`: members whose keys the key file has lost
/// are declared erased first; without a key file, all of them. `accepted` is told of it as soon as it is done.
pub fn repair(folder: &Path, accept_erased: bool, options: &Options, accepted: impl FnOnce(&Accepted)) -> Result<Report, StoreError> {
    require_journal(folder)?;
    {
        let _lock = super::lock(folder)?;
        // Those that are moved aside stay; the service's and those of the check are made.
        room_for_tables(folder, 2)?;
        if tables::exist(&folder.join(replay::TABLES)) {
            // Without them nobody would notice that the journal's end is missing.
            Arc::new(Journal::open_to_read(&folder.join(JOURNAL))?).appender(options.segment_bytes)?.reopen_last(true)?;
        }
        // First of all: they may hold rows that were found with a lost key.
        replay::set_tables_aside(folder, "that was asked for")?;
        if accept_erased {
            accepted(&lost_keys::accept(folder, options)?);
        }
    }
    check(folder, options)
}

/// Nothing is made in a folder that was named by mistake.
fn require_journal(folder: &Path) -> Result<(), StoreError> {
    if !folder.is_dir() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(io_error("opening", folder, missing));
    }
    if segment_paths(&folder.join(JOURNAL))?.is_empty() {
        return Err(StoreError::Refused(format!("{} is no data folder: it has no journal", folder.display())));
    }
    formats::refuse_newer(folder)
}

fn in_scratch(path: &Path, work: impl FnOnce(&Path) -> Result<Report, StoreError>) -> Result<Report, StoreError> {
    remove(path)?;
    let report = work(path);
    remove(path)?;
    report
}

/// The tables are made so many times beside those that there are: refused at once rather than at the end of the disk.
fn room_for_tables(folder: &Path, times: u64) -> Result<(), StoreError> {
    let tables = size(&folder.join(replay::TABLES))?;
    let needed = tables.saturating_mul(times);
    let free = fs4::available_space(folder).map_err(|source| io_error("measuring", folder, source))?;
    if free < needed {
        return Err(StoreError::Refused(format!(
            "{} has {} MiB free, and needs {} MiB: the look-up tables, which have {} MiB, are made again beside those that there are. Make \
             room first; folders `tables.broken-N` may be removed",
            folder.display(),
            free >> 20,
            needed >> 20,
            tables >> 20
        )));
    }
    Ok(())
}

/// Of all files in a folder. Rows may be written meanwhile: what is renamed or removed before it is looked at does not count.
fn size(path: &Path) -> Result<u64, StoreError> {
    let Ok(items) = fs::read_dir(path) else { return Ok(0) };
    let mut sum = 0;
    for item in items {
        let path = item.map_err(|source| io_error("measuring", path, source))?.path();
        sum += match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => size(&path)?,
            Ok(about) => about.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(source) => return Err(io_error("measuring", &path, source)),
        };
    }
    Ok(sum)
}

fn fold_and_compare(stored: &Engine, path: &Path, options: &Options, last: u64, newest: Generation) -> Result<Report, StoreError> {
    let (folded, mut report) = fold(&stored.parts, path, options, last, newest)?;
    // Rows that are written are walked along faster.
    stored.overlay.drain()?;
    folded.overlay.drain()?;
    compare(stored, &folded, &mut report)?;
    stored.check_sizes(&mut report)?;
    report.programs = totals(&folded, &mut report)?;
    Ok(report)
}

/// Folds the whole journal into tables in a folder of their own.
fn fold(parts: &Parts, path: &Path, options: &Options, last: u64, newest: Generation) -> Result<(Engine, Report), StoreError> {
    let tables = Tables::open(path, options.sled_cache_bytes).map_err(StoreError::Tables)?;
    let folded = Engine::start(path, options, parts, tables, newest)?;
    let entries = folded.replay(0, last, Depth::Whole)?;
    Ok((folded, Report { commits: last, entries, ..Report::default() }))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io_error("removing", path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Walks along the rows of both.
fn compare(stored: &Engine, folded: &Engine, report: &mut Report) -> Result<(), StoreError> {
    let (from, to) = RowKey::all();
    let (stored_view, folded_view) = (stored.overlay.view(), folded.overlay.view());
    let mut rows = stored_view.scan(from, to).peekable();
    for row in folded_view.scan(from, to) {
        let (key, value) = row?;
        report.rows += 1;
        while let Some((surplus, _)) = rows.next_if(|row| row.as_ref().is_ok_and(|(found, _)| *found < key)).transpose()? {
            report.differ(&surplus, "is in the tables, but does not follow from the journal");
        }
        match rows.next_if(|row| row.as_ref().map_or(true, |(found, _)| *found == key)).transpose()? {
            None => report.differ(&key, "is missing from the tables"),
            Some((_, found)) if found == value || (key.is_person() && same_person(folded, &key, &found, &value)?) => {}
            Some(_) => report.differ(&key, "differs from the fold of the journal"),
        }
    }
    for surplus in rows {
        report.differ(&surplus?.0, "is in the tables, but does not follow from the journal");
    }
    Ok(())
}

/// Sealing the same twice gives other bytes.
fn same_person(engine: &Engine, key: &RowKey, one: &[u8], right: &[u8]) -> Result<bool, StoreError> {
    let owner = || Some(MemberKey { program: engine.programs.name(key.program_number()?)?, member: key.member()? });
    let owner = owner().ok_or(Malformed("a person's key"))?;
    let right = engine.unseal_person(&owner, right)?;
    match engine.unseal_person(&owner, one) {
        Ok(found) => Ok(found == right),
        Err(StoreError::Tables(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn totals(engine: &Engine, report: &mut Report) -> Result<Vec<ProgramTotals>, StoreError> {
    let (mut programs, mut counted) = (BTreeMap::new(), BTreeMap::<_, Totals>::new());
    let view = engine.overlay.view();
    let (from, to) = RowKey::all();
    for row in view.scan(from, to) {
        let (key, value) = row?;
        if key.header_member().is_some() {
            let number = key.program_number().ok_or(Malformed("a header's key"))?;
            let program = engine.programs.name(number).ok_or(Malformed("a header's programme"))?;
            let header = decode::header(&value)?;
            counted.entry(number).or_default().count(&header);
            let totals = programs.entry(program.clone()).or_insert_with(|| ProgramTotals::new(program));
            totals.add(&header.balance);
        }
    }
    engine.check_totals(counted, report);
    Ok(programs.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    const FILES: u32 = 200;

    #[test]
    fn a_folder_is_measured_while_files_in_it_are_renamed() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::write(folder.path().join("stays"), [0; 100]).expect("there is space");
        let name = |number: u32| folder.path().join(number.to_string());
        for number in 0..FILES {
            fs::write(name(number), [0; 10]).expect("there is space");
        }
        let is_measured = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in (0..u32::MAX - FILES).take_while(|_| !is_measured.load(Ordering::Relaxed)) {
                    fs::rename(name(number), name(number + FILES)).expect("it was written or renamed before");
                }
            });
            let sizes = (0..500).map(|_| size(folder.path())).collect::<Result<Vec<_>, _>>();
            is_measured.store(true, Ordering::Relaxed);
            let sizes = sizes.expect("what vanishes is no error");
            assert!(sizes.iter().all(|size| *size >= 100), "what stays is counted: {sizes:?}");
        });
    }
}
