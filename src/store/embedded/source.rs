//! The sending side of a backup: what is on disk at one instant, read while the service goes on. Segments only grow and are replaced by
//! others with the same content, so that a list of them and a commit's number is all that has to be kept of that instant.

use std::sync::Arc;

use super::{
    Parts,
    journal::{Cursor, Journal},
    keys::{KeyFile, SLOT},
    segment::{Hash, Segment, damaged},
};
use crate::store::{
    CommitSeq, StoreError,
    backup::{Held, KEY_BLOCK, Part, Source, key_block_hash},
};

/// Of the journal, in one part.
const PART: usize = 512 << 10;

pub(super) struct BackupSource {
    keys: Arc<KeyFile>,
    key_bytes: u64,
    held_blocks: Vec<[u8; 16]>,
    last: u64,
    hash: Hash,
    /// What is to be sent: from `offset` of the first to `end` of the last.
    segments: Vec<Arc<Segment>>,
    offset: u64,
    end: u64,
    stage: Stage,
}

enum Stage {
    Start,
    /// The next block.
    Keys(u64),
    /// The segment that is being sent.
    Journal(usize),
    End,
    Done,
}

/// What is durable at one instant between two commits.
pub(super) struct Durable {
    last: u64,
    key_bytes: u64,
}

impl Durable {
    pub(super) fn now(parts: &Parts) -> Self {
        // In this order: the keys that a commit names are on disk before it is.
        let last = parts.journal.durable();
        Self { last, key_bytes: u64::from(parts.keys.next_slot()) * SLOT as u64 }
    }
}

impl BackupSource {
    pub(super) fn new(parts: &Parts, Durable { last, key_bytes }: Durable, held: Held) -> Result<Self, StoreError> {
        let journal = &parts.journal;
        if held.store_id.is_some_and(|id| id != journal.store_id()) {
            return Err(StoreError::OtherStore);
        }
        let extent = Extent::find(journal, &held, last)?;
        let Extent { segments, offset, end } = extent;
        Ok(Self {
            keys: parts.keys.clone(),
            key_bytes,
            held_blocks: held.key_blocks,
            last,
            hash: end.previous,
            segments,
            offset,
            end: end.offset,
            stage: Stage::Start,
        })
    }

    fn start(&self) -> Result<Part, StoreError> {
        let mut journal_bytes = 0;
        for index in 0..self.segments.len() {
            journal_bytes += self.end_of(index)?;
        }
        Ok(Part::Start {
            store_id: self.keys.store_id(),
            last: CommitSeq(self.last),
            key_bytes: self.key_bytes,
            journal_bytes: journal_bytes - self.offset.min(journal_bytes),
        })
    }

    /// Where what is to be sent of a segment ends.
    fn end_of(&self, index: usize) -> Result<u64, StoreError> {
        if index + 1 == self.segments.len() { Ok(self.end) } else { self.segments[index].length() }
    }

    /// The next block from `number` on that the backup does not have, and its number.
    fn key_block(&self, number: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        for number in number..self.key_bytes.div_ceil(KEY_BLOCK as u64) {
            let offset = number * KEY_BLOCK as u64;
            let length = (self.key_bytes - offset).min(KEY_BLOCK as u64) as usize;
            let block = self.keys.read_slots(offset, length)?;
            if self.held_blocks.get(number as usize) != Some(&key_block_hash(&block)) {
                return Ok(Some((number, block)));
            }
        }
        Ok(None)
    }

    fn journal_part(&mut self, mut index: usize) -> Result<Option<Part>, StoreError> {
        while index < self.segments.len() && self.offset >= self.end_of(index)? {
            (index, self.offset) = (index + 1, 0);
        }
        let Some(segment) = self.segments.get(index) else { return Ok(None) };
        let length = (self.end_of(index)? - self.offset).min(PART as u64) as usize;
        let mut content = vec![0; length];
        if !segment.read(&mut content, self.offset)? {
            return Err(damaged(&segment.path, self.offset, "the segment changed while it was read"));
        }
        let part = Part::Journal { segment: segment.header.first_seq, offset: self.offset, content };
        self.offset += length as u64;
        self.stage = Stage::Journal(index);
        Ok(Some(part))
    }
}

impl Source for BackupSource {
    fn next(&mut self) -> Result<Option<Part>, StoreError> {
        if let Stage::Start = self.stage {
            self.stage = Stage::Keys(0);
            return self.start().map(Some);
        }
        if let Stage::Keys(number) = self.stage {
            if let Some((number, content)) = self.key_block(number)? {
                self.stage = Stage::Keys(number + 1);
                return Ok(Some(Part::KeyBlock { offset: number * KEY_BLOCK as u64, content }));
            }
            self.stage = Stage::Journal(0);
        }
        if let Stage::Journal(index) = self.stage {
            if let Some(part) = self.journal_part(index)? {
                return Ok(Some(part));
            }
            self.stage = Stage::End;
        }
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::End => Ok(Some(Part::End { last: CommitSeq(self.last), hash: self.hash })),
            Stage::Start | Stage::Keys(_) | Stage::Journal(_) | Stage::Done => Ok(None),
        }
    }
}

/// What lies between a backup's end and the last durable commit.
struct Extent {
    segments: Vec<Arc<Segment>>,
    /// In the first segment.
    offset: u64,
    /// In the last segment.
    end: Cursor,
}

impl Extent {
    fn find(journal: &Journal, held: &Held, last: u64) -> Result<Self, StoreError> {
        let other = || StoreError::OtherHistory { commit: held.last };
        if held.last.0 > last {
            return Err(other());
        }
        let mut segments = journal.segments();
        segments.retain(|segment| segment.header.first_seq <= last.max(1));
        let newest = segments.last().expect("a journal has a segment").clone();
        let next = held.last.0 + 1;
        let Some(from) = segments.iter().rposition(|segment| segment.header.first_seq <= next) else { return Err(other()) };
        let first = segments[from].clone();
        let held_end = match first.header.first_seq == next {
            // Its header comes as well.
            true => Cursor { offset: 0, ..Cursor::at_start(&first) },
            false => Cursor::behind(&first, held.last.0)?,
        };
        if held_end.seq != next || held_end.previous != held.hash {
            return Err(other());
        }
        segments.drain(..from);
        let end = Cursor::behind(&newest, last)?;
        if end.seq != last + 1 {
            return Err(damaged(&newest.path, end.offset, "the record cannot be read, but its commit was acknowledged"));
        }
        Ok(Self { segments, offset: held_end.offset, end })
    }
}
