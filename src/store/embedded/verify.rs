//! Reading a backup: that it is whole, and making a data folder of it.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    JOURNAL, KEYS, UNFINISHED_JOURNAL,
    compress::gap,
    create_folder,
    decode::{self, Malformed, Unreadable, Unseal as _},
    journal::{Cursor, Journal, copy_plain, sync, sync_folder},
    keys::KeyFile,
    known,
    marker::Marker,
    sealing,
    segment::{Record, Segment, damaged, io_error},
    stored,
};
use crate::{
    domain::MemberKey,
    store::{CommitSeq, StoreError},
};

/// A backup, and what it takes to read it.
#[derive(Debug, Clone, Copy)]
pub struct BackupPlace<'a> {
    pub folder: &'a Path,
    /// If the key file is not in the folder.
    pub keys: Option<&'a Path>,
    /// If it wraps the keys.
    pub operator_key: Option<&'a [u8; 32]>,
}

/// What a backup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub segments: u64,
    pub commits: u64,
    pub entries: u64,
    /// Members that enrolled.
    pub members: u64,
    /// Of them, those whose keys were wiped.
    pub erased: u64,
    /// When the last commit was recorded.
    pub last_time: Option<Timestamp>,
    /// Of a commit that had not come wholly when a run ended; the next run asks for it again.
    pub torn_bytes: u64,
    /// The last commit of the last run that came to its end.
    pub last_run: CommitSeq,
}

/// How far a restore goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    End,
    /// The last commit that is restored.
    Commit(CommitSeq),
    /// Ends before the first commit that was recorded later.
    Time(Timestamp),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub last: CommitSeq,
    pub last_time: Option<Timestamp>,
    /// The last commit of the last run of the backup that came to its end.
    pub last_run: CommitSeq,
    /// Members whose keys are wiped though nothing in what was restored erases them: they were erased later, or their keys were lost. What
    /// is personal of them stays gone.
    pub gone: u64,
}

/// A backup that is being read.
pub(super) struct Opened {
    marker: Marker,
    pub(super) journal: Journal,
    pub(super) keys: KeyFile,
    keys_path: PathBuf,
}

impl Opened {
    pub(super) fn open(place: &BackupPlace<'_>) -> Result<Self, StoreError> {
        let folder = place.folder;
        let marker = Marker::require(folder)?;
        marker.check_keys(folder, place.keys)?;
        let keys_path = place.keys.map_or_else(|| folder.join(KEYS), Path::to_owned);
        let keys = KeyFile::open_to_read(&keys_path, place.operator_key)?;
        keys.index_key()?;
        let journal = Journal::open_to_read(&folder.join(JOURNAL))?;
        if marker.store_id != journal.store_id() || marker.store_id != keys.store_id() {
            return Err(StoreError::Damaged(format!(
                "{}: the journal, the key file {} and the backup's own file are not of one store",
                folder.display(),
                keys_path.display()
            )));
        }
        Ok(Self { marker, journal, keys, keys_path })
    }

    /// Before a first run has come to its end nothing says how far the store reached, so that any part of it would look whole.
    pub(super) fn require_a_whole_run(&self) -> Result<(), StoreError> {
        match self.marker.last {
            CommitSeq(0) => Err(StoreError::Refused(
                "no run of the backup has come to its end, or the store was empty then: what is there may be any part. Run the backup again"
                    .to_owned(),
            )),
            CommitSeq(_) => Ok(()),
        }
    }

    /// Walks along all records until one is not wanted. Gives the segment in which it ended, and where.
    pub(super) fn walk(
        &self,
        mut wanted: impl FnMut(&Segment, &Record) -> Result<bool, StoreError>,
    ) -> Result<(usize, Cursor), StoreError> {
        let segments = self.journal.segments();
        for (index, segment) in segments.iter().enumerate() {
            let mut cursor = Cursor::at_start(segment);
            while let Some(record) = cursor.next(segment)? {
                if !wanted(segment, &record)? {
                    return Ok((index, cursor));
                }
                if record.seq == self.marker.last.0 && record.hash != self.marker.hash {
                    return Err(damaged(&segment.path, record.offset, "the record is not the one that was backed up"));
                }
                cursor.pass(&record);
            }
            match segments.get(index + 1).map(|next| &next.header) {
                Some(next) if next.first_seq != cursor.seq || next.previous != cursor.previous => {
                    return Err(gap(segment, &cursor, next));
                }
                Some(_) => {}
                None if cursor.seq <= self.marker.last.0 => {
                    let what = format!("the record cannot be read; commits {} to {} are missing", cursor.seq, self.marker.last.0);
                    return Err(damaged(&segment.path, cursor.offset, &what));
                }
                None => return Ok((index, cursor)),
            }
        }
        unreachable!("a journal has a segment")
    }
}

/// Reads all of a backup: every record's checksum and the chain, and everything personal with its key, or that the key was wiped.
pub fn verify(place: &BackupPlace<'_>) -> Result<Verified, StoreError> {
    let opened = Opened::open(place)?;
    opened.require_a_whole_run()?;
    let mut found = Verified { last_run: opened.marker.last, ..Verified::default() };
    let (index, end) = opened.walk(|segment, record| {
        read_commit(&opened.keys, record, &mut found).map_err(|fault| fault.in_journal(&segment.path, record.offset))?;
        Ok(true)
    })?;
    let segments = opened.journal.segments();
    found.segments = segments.len() as u64;
    found.torn_bytes = segments[index].length()?.saturating_sub(end.offset);
    Ok(found)
}

fn read_commit(keys: &KeyFile, record: &Record, found: &mut Verified) -> Result<(), Unreadable> {
    let commit = read(record)?;
    found.commits += 1;
    found.last_time = time_of(&commit)?;
    for change in commit.members {
        let program = commit.programs.get(change.program as usize).ok_or(Malformed("member_change.program"))?;
        let key = MemberKey { program: decode::program_id(program)?, member: decode::member_id(&change.member_id)? };
        for entry in change.entries {
            if matches!(entry.kind, Some(stored::entry::Kind::MemberEnrolled(_))) {
                found.members += 1;
                found.erased += u64::from(keys.unseal(&key, entry.sequence, &entry.sealed)?.is_none());
            }
            decode::entry(&key, entry, keys)?;
            found.entries += 1;
        }
    }
    Ok(())
}

fn read(record: &Record) -> Result<stored::Commit, Unreadable> {
    known::commit(&record.payload)
}

/// When a commit was recorded; of its entries they may differ a little, and the latest counts.
fn time_of(commit: &stored::Commit) -> Result<Option<Timestamp>, Malformed> {
    let entries = commit.members.iter().flat_map(|change| &change.entries).map(|entry| entry.record_time);
    let latest = entries.chain(commit.publications.iter().map(|publication| publication.publish_time)).max();
    latest.map(decode::time).transpose()
}

/// Makes a data folder of a backup. The target is a folder that is empty or not there. Killed before its end it leaves one that does not
/// open.
pub fn restore(place: &BackupPlace<'_>, target: &Path, until: Until) -> Result<Restored, StoreError> {
    let opened = Opened::open(place)?;
    match until {
        Until::Commit(CommitSeq(0)) => return Err(StoreError::Refused("there is no commit 0: the first is commit 1".to_owned())),
        Until::Commit(_) => {}
        Until::End | Until::Time(_) => opened.require_a_whole_run()?,
    }
    let End { index, cursor: end, last_time, gone } = find_end(&opened, until)?;
    create_folder(target)?;
    let mut items = fs::read_dir(target).map_err(|source| io_error("listing", target, source))?;
    if items.next().is_some() {
        let what =
            "is not empty: name a folder that is empty or not there yet. What is left of a restore that was cut off is to be removed";
        return Err(StoreError::Refused(format!("{} {what}", target.display())));
    }
    let _lock = super::lock(target)?;
    // As long as it has this name no store opens in the folder, nor begins in it.
    let journal = target.join(UNFINISHED_JOURNAL);
    fs::create_dir(&journal).map_err(|source| io_error("creating", &journal, source))?;
    sync_folder(target)?;
    copy(&opened.keys_path, &target.join(KEYS))?;
    restrict(&target.join(KEYS))?;
    sync_folder(target)?;
    let segments = opened.journal.segments();
    for segment in &segments[..index] {
        copy(&segment.path, &journal.join(file_name(&segment.path)))?;
    }
    let last = &segments[index];
    copy_plain(last, end.offset, &journal.join(file_name(&last.path)))?;
    sync_folder(&journal)?;
    fs::rename(&journal, target.join(JOURNAL)).map_err(|source| io_error("renaming", &journal, source))?;
    sync_folder(target)?;
    Ok(Restored { last: CommitSeq(end.seq - 1), last_time, last_run: opened.marker.last, gone })
}

/// How far a restore goes.
struct End {
    /// Of the segment.
    index: usize,
    cursor: Cursor,
    last_time: Option<Timestamp>,
    /// As in [`Restored`].
    gone: u64,
}

fn find_end(opened: &Opened, until: Until) -> Result<End, StoreError> {
    let mut last_time = None;
    let mut first_later = None;
    let mut gone = HashSet::new();
    let (index, end) = opened.walk(|segment, record| {
        if let Until::Commit(last) = until
            && record.seq > last.0
        {
            return Ok(false);
        }
        let in_journal = |fault: Unreadable| fault.in_journal(&segment.path, record.offset);
        let commit = read(record).map_err(in_journal)?;
        let time = time_of(&commit).map_err(|fault| in_journal(fault.into()))?;
        if let (Until::Time(until), Some(time)) = (until, time)
            && time > until
        {
            first_later = Some(time);
            return Ok(false);
        }
        last_time = time;
        note_wiped(&opened.keys, &commit, &mut gone).map_err(|fault| fault.in_journal(&segment.path, record.offset))?;
        Ok(true)
    })?;
    let last = end.seq - 1;
    match until {
        Until::Commit(asked) if asked.0 > last => {
            Err(StoreError::Refused(format!("the backup ends with commit {last}: there is no commit {}", asked.0)))
        }
        Until::Time(_) if last == 0 => {
            let first = first_later.map_or_else(String::new, |time| format!(" the first commit is of {time}"));
            Err(StoreError::Refused(format!("nothing was recorded until then:{first}")))
        }
        Until::Commit(_) | Until::Time(_) | Until::End => Ok(End { index, cursor: end, last_time, gone: gone.len() as u64 }),
    }
}

/// Keeps the slots of members who enrolled, were not erased, and whose keys are wiped.
fn note_wiped(keys: &KeyFile, commit: &stored::Commit, gone: &mut HashSet<u32>) -> Result<(), Unreadable> {
    for entry in commit.members.iter().flat_map(|change| &change.entries) {
        if let Some(stored::entry::Kind::MemberEnrolled(_)) = entry.kind {
            let slot = sealing::slot_of(&entry.sealed)?;
            // Of one that is not there the start tells, and how to go on without it.
            if keys.is_wiped(slot)? == Some(true) {
                gone.insert(slot);
            }
        }
        if let Some(stored::entry::Kind::MemberErased(_)) = entry.kind {
            for slot in sealing::slots_of(&entry.sealed)? {
                gone.remove(&slot);
            }
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().expect("a segment's path ends with a name")
}

/// Durably, but for the name.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::copy(from, to).map_err(|source| io_error("copying", from, source))?;
    let file = File::open(to).map_err(|source| io_error("opening", to, source))?;
    sync(&file, to)
}

/// A file of keys is for the service's own user alone.
fn restrict(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|source| io_error("restricting", path, source))
}
