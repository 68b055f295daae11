//! Checking a store as a whole: every record of the journal, every member folded again, every row compared, every point counted.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    EmbeddedStore, Engine, Options,
    decode::{self, Malformed},
    journal::Appender,
    rows::{self, RowKey},
    segment::io_error,
    tables::Tables,
};
use crate::{
    domain::{Balance, MemberKey, ProgramId},
    store::StoreError,
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

    fn differ(&mut self, key: &RowKey, how: &str) {
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
    if !folder.is_dir() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(io_error("opening", folder, missing));
    }
    let store = EmbeddedStore::open(folder, options.clone())?;
    let writer = store.writer.lock().map_err(|_| super::panicked())?;
    let path = folder.join(FOLDED);
    remove(&path)?;
    let report = fold_and_compare(&store.engine, &path, options, &writer.appender);
    remove(&path)?;
    report
}

fn fold_and_compare(stored: &Engine, path: &Path, options: &Options, appender: &Appender) -> Result<Report, StoreError> {
    let (last, newest) = (appender.last_seq(), rows::generation(appender.segment_index()));
    let tables = Tables::open(path, options.sled_cache_bytes).map_err(StoreError::Tables)?;
    let folded = Engine::start(path, options, &stored.parts, tables, newest)?;
    let entries = folded.replay(0, last)?;
    // Rows that are written are walked along faster.
    stored.overlay.drain()?;
    folded.overlay.drain()?;
    let mut report = Report { commits: last, entries, ..Report::default() };
    compare(stored, &folded, &mut report)?;
    report.programs = totals(&folded)?;
    Ok(report)
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

fn totals(engine: &Engine) -> Result<Vec<ProgramTotals>, StoreError> {
    let mut programs = BTreeMap::new();
    let view = engine.overlay.view();
    let (from, to) = RowKey::all();
    for row in view.scan(from, to) {
        let (key, value) = row?;
        if key.header_member().is_some() {
            let program = key.program_number().and_then(|number| engine.programs.name(number)).ok_or(Malformed("a header's key"))?;
            let totals = programs.entry(program.clone()).or_insert_with(|| ProgramTotals::new(program));
            totals.add(&decode::header(&value)?.balance);
        }
    }
    Ok(programs.into_values().collect())
}
