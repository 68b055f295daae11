//! Bringing the tables up: what they lack comes from the journal, and tables that are no good are moved aside and made again.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64, mpsc},
    thread,
    time::{Duration, Instant},
};

use prost::Message as _;

use super::{
    Engine, Options, Parts, decode,
    decode::{Malformed, Unreadable},
    decode_holds, decode_returns,
    erasure::{self, Holders},
    journal::{Appender, Journal, Position, sync_folder},
    keys::KeyFile,
    known,
    overlay::Overlay,
    programs::Programs,
    rows::{self, Change, Generation, ProgramNumber, RowKey},
    sealing,
    segment::{Hash, Record, Segment, io_error},
    stored,
    tables::{self, Tables},
    totals::RunningTotals,
    vouchers,
    wire::{Value, fields},
};
use crate::{
    domain::{Entry, EntryKind, Header, Member, MemberKey, apply},
    store::{Before, MemberChange, Publication, StoreError},
};

pub(super) const TABLES: &str = "tables";
/// Folders of tables that were moved aside, for whoever wants to know why.
const KEPT: u32 = 2;
/// sled leaves its lock to closing the file: a thread of its own, or a process that is just being started, can have that open a moment longer.
const LETTING_GO: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Commits that are decoded before they are folded.
const READ_AHEAD: usize = 64;

/// How much of each entry is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What rows follow from.
    Rows,
    /// All of it, to see that it can be.
    Whole,
}
/// Between two lines of the log that say how far a replay is.
const REPORT: Duration = Duration::from_secs(5);

/// Opens the tables and replays what they lack.
pub(super) fn bring_up(folder: &Path, options: &Options, parts: &Parts, appender: &Appender) -> Result<Engine, StoreError> {
    match try_to_bring_up(folder, options, parts, appender) {
        // What the tables held is not what the journal says.
        Err(fault @ (StoreError::Tables(_) | StoreError::Fold(_))) => set_aside(folder, &fault.to_string())?,
        other => return other,
    }
    try_to_bring_up(folder, options, parts, appender)
}

fn try_to_bring_up(folder: &Path, options: &Options, parts: &Parts, appender: &Appender) -> Result<Engine, StoreError> {
    let (tables, applied) = open_tables(folder, options, &parts.journal, &parts.keys, appender)?;
    let engine = Engine::start(folder, options, parts, tables, rows::generation(appender.segment_index()))?;
    // First those that the tables know of, so that what they hold is not opened again; then those that the replay has told of.
    engine.wipe_erased()?;
    engine.replay(applied, appender.last_seq(), Depth::Rows)?;
    engine.wipe_erased()?;
    Ok(engine)
}

/// The tables, and the last commit that they have wholly.
fn open_tables(
    folder: &Path,
    options: &Options,
    journal: &Journal,
    keys: &KeyFile,
    appender: &Appender,
) -> Result<(Tables, u64), StoreError> {
    let path = folder.join(TABLES);
    if tables::exist(&path) && !tables::may_be_trusted(&path) {
        set_aside(folder, "they failed, or were in use when the machine stopped, or were copied while they were")?;
    }
    if tables::exist(&path) {
        wait_until_free(&path)?;
        match open_and_compare(&path, options, journal, keys, appender) {
            Ok((tables, Ok(applied))) => return Ok((tables, applied)),
            Ok((_, Err(damage))) => return Err(damage),
            Err(fault) => set_aside(folder, &fault)?,
        }
    }
    Ok((Tables::open(&path, options.sled_cache_bytes).map_err(StoreError::Tables)?, 0))
}

/// Tables that are there, and that somebody has locked, are good: they are not made again for that. [`StoreError::InUse`]: it takes too long.
fn wait_until_free(tables: &Path) -> Result<(), StoreError> {
    let path = tables::log(tables);
    let file = File::open(&path).map_err(|source| io_error("opening", &path, source))?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            // Not left to closing it, for the same reason.
            Ok(()) => return file.unlock().map_err(|source| io_error("unlocking", &path, source)),
            Err(TryLockError::WouldBlock) if since.elapsed() < LETTING_GO => thread::sleep(LOOK_EVERY),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.display().to_string())),
            Err(TryLockError::Error(source)) => return Err(io_error("locking", &path, source)),
        }
    }
}

/// The commit that the tables have; in its place the error if the journal is damaged. Outer error: the tables are no good.
type Compared = Result<(Tables, Result<u64, StoreError>), String>;

fn open_and_compare(path: &Path, options: &Options, journal: &Journal, keys: &KeyFile, appender: &Appender) -> Compared {
    let tables = Tables::open(path, options.sled_cache_bytes)?;
    let applied = applied(&tables, journal, keys, appender)?;
    Ok((tables, applied))
}

/// Outer error: the tables are no good. Inner: the journal is not.
fn applied(tables: &Tables, journal: &Journal, keys: &KeyFile, appender: &Appender) -> Result<Result<u64, StoreError>, String> {
    let row = tables.applied().map_err(|fault| fault.to_string())?;
    let Some(row) = row else { return Ok(Ok(0)) };
    let row = stored::AppliedRow::decode(&*row).map_err(|fault| fault.to_string())?;
    if row.store_id != keys.store_id() {
        return Err("they belong to another store".to_owned());
    }
    if row.format != rows::FORMAT {
        return Err(format!("another version wrote them, in format {}; this one has format {}", row.format, rows::FORMAT));
    }
    if row.seq > appender.last_seq() {
        return Ok(Err(appender.lacks_acknowledged(row.seq)));
    }
    if row.next_slot > keys.next_slot() {
        return Ok(Err(keys.lacks(row.next_slot - 1)));
    }
    match journal.hash_of(row.seq) {
        Ok(Some(hash)) if row.hash == hash => Ok(Ok(row.seq)),
        Ok(_) => Err(format!("their commit {} is not the journal's", row.seq)),
        Err(damage) => Ok(Err(damage)),
    }
}

/// The tables, if there are any, so that they are made again from the journal.
pub(super) fn set_tables_aside(folder: &Path, why: &str) -> Result<(), StoreError> {
    if folder.join(TABLES).exists() { set_aside(folder, why) } else { Ok(()) }
}

fn set_aside(folder: &Path, why: &str) -> Result<(), StoreError> {
    let tables = folder.join(TABLES);
    let aside = |number: u32| -> PathBuf { folder.join(format!("{TABLES}.broken-{number}")) };
    let number = (1..).find(|number| !aside(*number).exists()).expect("there are less than 2^32 folders");
    if number > KEPT {
        for old in 1..number {
            fs::remove_dir_all(aside(old)).map_err(|source| io_error("removing", &aside(old), source))?;
        }
    }
    tracing::warn!(why, moved_to = %aside(number).display(), "the look-up tables cannot be used; they are made again from the journal");
    fs::rename(&tables, aside(number)).map_err(|source| io_error("renaming", &tables, source))?;
    sync_folder(folder)
}

impl Engine {
    /// `newest`: generation of the index that rows of the journal's last commits are in.
    pub(super) fn start(folder: &Path, options: &Options, parts: &Parts, tables: Tables, newest: Generation) -> Result<Self, StoreError> {
        let row = tables.applied()?.map(|row| stored::AppliedRow::decode(&*row)).transpose().map_err(|_| Malformed("AppliedRow"))?;
        let latest_time = AtomicI64::new(row.and_then(|row| row.latest_time).unwrap_or(i64::MIN));
        let overlay = Arc::new(Overlay::new(tables, newest, options.overlay_bytes, options.member_cache_bytes));
        let programs = Programs::load(&overlay.view())?;
        let totals = RunningTotals::load(&overlay.view())?;
        let start = |name: &str, work: fn(&Overlay)| {
            let shared = overlay.clone();
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared));
            thread.map_err(|source| io_error("starting a thread for", folder, source))
        };
        let threads = vec![start("row-writer", Overlay::write_out)?, start("warm-up", Overlay::warm_up)?];
        Ok(Self { parts: parts.clone(), programs, totals, overlay, latest_time, threads })
    }

    /// Reads the commits behind `applied` and brings rows up to them. What the tables have already is not folded again.
    /// Gives the number of entries. One thread reads and decodes while another folds.
    pub(super) fn replay(&self, applied: u64, last: u64, depth: Depth) -> Result<u64, StoreError> {
        let started = Instant::now();
        let mut reported = started;
        let mut entries = 0;
        let holders = (applied > 0).then(Holders::default);
        thread::scope(|scope| {
            let (decoded, waiting) = mpsc::sync_channel(READ_AHEAD);
            let reader = scope.spawn(move || self.read_commits(applied + 1, depth, &decoded));
            for commit in waiting {
                self.overlay.wait_for_room()?;
                let seq = commit.seq;
                entries += self.replay_commit(commit, holders.as_ref())?;
                if reported.elapsed() >= REPORT {
                    reported = Instant::now();
                    let percent = (seq - applied) * 100 / (last - applied).max(1);
                    tracing::info!(commit = seq, of = last, percent, entries, "replaying the journal");
                }
            }
            reader.join().expect("reading a journal does not panic")
        })?;
        if last > applied {
            let milliseconds = started.elapsed().as_millis() as u64;
            tracing::info!(commits = last - applied, entries, milliseconds, "replayed the journal");
        }
        Ok(entries)
    }

    fn read_commits(&self, first: u64, depth: Depth, decoded: &mpsc::SyncSender<ReadCommit>) -> Result<(), StoreError> {
        self.journal.replay(first, |segment, record| {
            let commit = self.read_commit(segment, &record, depth).map_err(|fault| fault.in_journal(&segment.path, record.offset))?;
            // Whoever folds has failed and says why.
            decoded.send(commit).map_err(|_| StoreError::Tables("folding what was read has ended".to_owned()))
        })
    }

    fn read_commit(&self, segment: &Segment, record: &Record, depth: Depth) -> Result<ReadCommit, Unreadable> {
        known::check_commit(&record.payload)?;
        let layout = Layout::of(&record.payload)?;
        let position = |span: &Span| Position {
            segment: segment.header.first_seq,
            offset: record.payload_offset() + span.start as u64,
            length: u32::try_from(span.len()).expect("a part of a record is not longer than a record may be"),
            crc: crc32c::crc32c(&record.payload[span.clone()]),
        };
        let publication = |span: &Span| Ok::<_, Malformed>((read_publication(&record.payload[span.clone()])?, position(span)));
        let change = |change: &ChangeLayout| {
            let positions = change.entries.iter().map(position).collect();
            Ok::<_, Unreadable>((self.read_change(&record.payload, &layout, change, depth)?, positions))
        };
        Ok(ReadCommit {
            seq: record.seq,
            hash: record.hash,
            generation: rows::generation(segment.header.index),
            publications: layout.publications.iter().map(publication).collect::<Result<_, _>>()?,
            members: layout.members.iter().map(change).collect::<Result<_, _>>()?,
        })
    }

    /// Gives the number of entries.
    fn replay_commit(&self, commit: ReadCommit, holders: Option<&Holders>) -> Result<u64, StoreError> {
        let ReadCommit { seq, hash, generation, publications, members } = commit;
        let mut changes = Vec::new();
        for (place, (publication, position)) in (0..).zip(&publications) {
            let number = self.programs.number_or_new(&publication.program, &mut changes);
            rows::publication(&self.index, generation, number, (seq, place), publication, position, &mut changes);
        }
        self.stock_rows(members.iter().flat_map(|(read, _)| &read.entries), &mut changes);
        self.tally_rows(members.iter().flat_map(|(read, _)| &read.entries), &mut changes)?;
        self.size_rows(members.iter().flat_map(|(read, _)| &read.entries), &mut changes);
        let entries = members.iter().flat_map(|(read, _)| &read.entries);
        self.act_rows(seq, publications.iter().map(|(publication, _)| publication), entries, &mut changes);
        let recorded = members.iter().flat_map(|(read, _)| &read.entries).map(|entry| entry.record_time);
        let applied = self.applied((seq, &hash), publications.iter().map(|(one, _)| one.publish_time).chain(recorded));
        let mut count = 0;
        for (read, positions) in members {
            count += read.entries.len() as u64;
            self.replay_member(generation, read, &positions, holders, &mut changes)?;
        }
        self.totals.rows(&mut changes);
        self.overlay.publish(generation, changes, applied);
        Ok(count)
    }

    fn read_change(&self, payload: &[u8], layout: &Layout, change: &ChangeLayout, depth: Depth) -> Result<ReadChange, Unreadable> {
        let program = layout.programs.get(change.program).ok_or(Malformed("member_change.program"))?;
        let program = std::str::from_utf8(&payload[program.clone()]).map_err(|_| Malformed("programs"))?;
        let member = decode::member_id(&payload[change.member.clone()])?;
        let key = MemberKey { program: decode::program_id(program)?, member };
        let mut read = ReadChange { key, entries: Vec::with_capacity(change.entries.len()), slot: None, wiped: Vec::new() };
        for span in &change.entries {
            let stored = match depth {
                Depth::Rows => stored::FoldedEntry::decode(&payload[span.clone()]).map(stored::Entry::from),
                Depth::Whole => stored::Entry::decode(&payload[span.clone()]),
            };
            let stored = stored.map_err(|_| Malformed("an entry"))?;
            if !stored.sealed.is_empty() {
                read.slot = Some(sealing::slot_of(&stored.sealed)?);
            }
            if let Some(stored::entry::Kind::MemberErased(_)) = stored.kind {
                read.wiped = sealing::slots_of(&stored.sealed)?;
            }
            read.entries.push(decode::entry(&read.key, stored, &*self.keys)?);
        }
        if read.entries.is_empty() { Err(Malformed("a member's change without entries").into()) } else { Ok(read) }
    }

    fn replay_member(
        &self,
        generation: Generation,
        read: ReadChange,
        positions: &[Position],
        holders: Option<&Holders>,
        changes: &mut Vec<Change>,
    ) -> Result<(), StoreError> {
        let ReadChange { key, entries, slot, wiped } = read;
        let number = self.programs.number_or_new(&key.program, changes);
        changes.extend(wiped.iter().map(erasure::wiped));
        match self.fold(number, &key, &entries)? {
            Some((after, before)) => {
                let change = MemberChange { entries, after, before };
                self.member_rows(generation, number, &change, slot, positions, changes)?;
                self.totals.turn(number, &change);
                self.forget(number, &key, &change.entries, holders, changes)
            }
            None => {
                rows::look_ups(&self.index, generation, number, &key.member, &entries, positions, changes);
                self.forget(number, &key, &entries, holders, changes)
            }
        }
    }

    /// The state after the entries, and the one before them; `None`: the tables have it already.
    fn fold(&self, number: ProgramNumber, key: &MemberKey, entries: &[Entry]) -> Result<Option<(Member, Before)>, StoreError> {
        let view = self.overlay.view();
        let Some(first) = entries.first() else { return Ok(None) };
        let new_member = || Member::bare(key.clone(), Header::new(first.record_time));
        let mut member = match first.sequence {
            // Whether or not the tables have it already: the rest of it follows.
            1 => new_member(),
            _ => self.bare_member(&view, number, key)?.unwrap_or_else(new_member),
        };
        let new = entries.iter().filter(|entry| entry.sequence > member.header.last_sequence).count();
        if new == 0 {
            return Ok(None);
        }
        if entries.iter().any(|entry| entry.touches_person() && !matches!(entry.kind, EntryKind::MemberEnrolled { .. })) {
            member.person = match view.person(number, &key.member)? {
                Some(row) => Some(self.unseal_person(key, &row)?),
                None => None,
            };
        }
        let (last_lot, before) = (member.header.last_lot, Before::of(&member.header));
        for lot in entries.iter().flat_map(Entry::touched_lots).filter(|lot| lot.id() <= last_lot) {
            if let Some(row) = view.get(&RowKey::lot(number, &key.member, &lot))? {
                member.lots.insert(lot, decode::lot(lot, &row)?);
            }
        }
        for lot in entries.iter().flat_map(Entry::touched_pending).filter(|lot| lot.id() <= last_lot) {
            if let Some(row) = view.get(&RowKey::pending(number, &key.member, &lot))? {
                member.pending.insert(lot, decode_returns::pending_lot(lot, &row)?);
            }
        }
        for code in entries.iter().flat_map(Entry::touched_vouchers) {
            if let Some(row) = view.get(&vouchers::row(number, &key.member, &code))? {
                member.vouchers.insert(code, vouchers::read_row(&row)?);
            }
        }
        for hold in entries.iter().filter_map(Entry::touched_hold) {
            if let Some(row) = view.get(&RowKey::hold(number, &key.member, hold))? {
                member.holds.insert(hold, decode_holds::hold_row(hold, &row)?);
            }
        }
        drop(view);
        for entry in &entries[entries.len() - new..] {
            apply(&mut member, entry)?;
        }
        Ok(Some((member, before)))
    }
}

fn read_publication(bytes: &[u8]) -> Result<Publication, Malformed> {
    decode::publication(stored::Publication::decode(bytes).map_err(|_| Malformed("a publication"))?)
}

/// A commit, as the journal has it.
struct ReadCommit {
    seq: u64,
    hash: Hash,
    generation: Generation,
    publications: Vec<(Publication, Position)>,
    members: Vec<(ReadChange, Vec<Position>)>,
}

/// A member's change, as the journal has it.
struct ReadChange {
    key: MemberKey,
    /// Not empty.
    entries: Vec<Entry>,
    /// Of the member's key, if anything personal changes.
    slot: Option<u32>,
    /// Of the keys that go with an erasure.
    wiped: Vec<u32>,
}

type Span = std::ops::Range<usize>;

/// Where the parts of a commit lie in its payload.
#[derive(Default)]
struct Layout {
    publications: Vec<Span>,
    programs: Vec<Span>,
    members: Vec<ChangeLayout>,
}

#[derive(Default)]
struct ChangeLayout {
    /// Place in the commit's programmes.
    program: usize,
    member: Span,
    entries: Vec<Span>,
}

impl Layout {
    fn of(payload: &[u8]) -> Result<Self, Malformed> {
        let mut layout = Self::default();
        for field in fields(payload, 0..payload.len()) {
            let field = field.ok_or(Malformed("a commit"))?;
            match (field.number, field.value) {
                (1, Value::Bytes(span)) => layout.publications.push(span),
                (2, Value::Bytes(span)) => layout.programs.push(span),
                (3, Value::Bytes(span)) => layout.members.push(ChangeLayout::of(payload, span)?),
                _ => return Err(Malformed("a commit")),
            }
        }
        Ok(layout)
    }
}

impl ChangeLayout {
    fn of(payload: &[u8], span: Span) -> Result<Self, Malformed> {
        let mut layout = Self::default();
        for field in fields(payload, span) {
            let field = field.ok_or(Malformed("a member's change"))?;
            match (field.number, field.value) {
                (1, Value::Number(program)) => layout.program = usize::try_from(program).map_err(|_| Malformed("member_change.program"))?,
                (2, Value::Bytes(span)) => layout.member = span,
                (3, Value::Bytes(span)) => layout.entries.push(span),
                _ => return Err(Malformed("a member's change")),
            }
        }
        Ok(layout)
    }
}
