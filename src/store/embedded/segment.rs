//! One segment file of the journal: its header, its records, and how they are read back. The layout is in the docs of the parent module.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    formats, marker,
    packed::{self, FrameCache, Packed},
};
use crate::store::StoreError;

/// Of a whole commit; checked before memory is asked for.
pub(super) const MAX_PAYLOAD: usize = 64 << 20;
pub(super) const SEGMENT_HEADER: usize = 128;
pub(super) const RECORD_HEADER: usize = 56;
/// Plain bytes of a segment: more than it may be told to have, and a record.
const LARGEST: u64 = 1 << 33;
/// Of a segment's tail that is looked at at a time.
const PART: usize = 1 << 20;
/// Of records and segments.
pub(super) const FORMAT: u16 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"LOYLJNL\n";
const RECORD_MAGIC: &[u8; 4] = b"LREC";

/// BLAKE3 of a whole record, header and payload. Each record names the one before it.
pub(super) type Hash = [u8; 32];

/// Header and payload of a record.
type Raw = ([u8; RECORD_HEADER], Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) store_id: [u8; 16],
    /// 1, 2, 3, ...
    pub(super) index: u64,
    pub(super) first_seq: u64,
    /// Of the last record of the segment before; zeros in the first.
    pub(super) previous: Hash,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) header: SegmentHeader,
    /// It is compressed: places in it count as if it were not.
    pub(super) packed: Option<Packed>,
}

/// A record that is whole.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) hash: Hash,
    /// Of the record in its segment.
    pub(super) offset: u64,
    pub(super) payload: Vec<u8>,
}

impl Record {
    pub(super) fn end(&self) -> u64 {
        self.offset + (RECORD_HEADER + self.payload.len()) as u64
    }

    /// As it was written, given the hash of the record before.
    pub(super) fn to_bytes(&self, previous: &Hash) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_HEADER];
        bytes.extend_from_slice(&self.payload);
        assert_eq!(seal_record(&mut bytes, self.seq, previous), self.hash, "a record that is sealed again is the same");
        bytes
    }

    /// Where in the segment the payload begins.
    pub(super) fn payload_offset(&self) -> u64 {
        self.offset + RECORD_HEADER as u64
    }
}

/// What lies at a place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    Record(Record),
    /// No record was written here, or not wholly.
    Nothing,
    /// A whole record that does not belong here.
    Foreign,
}

impl SegmentHeader {
    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..40].copy_from_slice(&self.index.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.previous);
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// A newer version wrote the segment. Where the magic, the format and the checksum of the rest lie is the same in all formats.
    pub(super) fn refuse_newer(path: &Path, bytes: &[u8; SEGMENT_HEADER]) -> Result<(), StoreError> {
        let is_segment = &bytes[..8] == SEGMENT_MAGIC || &bytes[..8] == packed::MAGIC;
        match u16_at(bytes, 8) {
            format if is_segment && format > FORMAT => {
                Err(formats::newer(path, "the segment", u32::from(format), u32::from(FORMAT), false))
            }
            _ => Ok(()),
        }
    }

    /// Of a plain segment or a compressed one.
    pub(super) fn from_bytes(bytes: &[u8; SEGMENT_HEADER]) -> Result<Self, &'static str> {
        if &bytes[..8] != SEGMENT_MAGIC && &bytes[..8] != packed::MAGIC {
            return Err("this is no journal segment");
        }
        if u16_at(bytes, 8) != FORMAT {
            return Err("the segment has a format that there is not");
        }
        if u32_at(bytes, 12) != crc32c::crc32c(&bytes[16..]) {
            return Err("the segment's header does not match its checksum");
        }
        Ok(Self { store_id: array_at(bytes, 16), index: u64_at(bytes, 32), first_seq: u64_at(bytes, 40), previous: array_at(bytes, 48) })
    }
}

fn array_at<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes[from..from + N].try_into().expect("the slice has the array's length")
}

fn u16_at(bytes: &[u8], from: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, from))
}

fn u32_at(bytes: &[u8], from: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, from))
}

fn u64_at(bytes: &[u8], from: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, from))
}

/// Fills in the header that `record` begins with; the payload is behind it. Gives the record's hash.
pub(super) fn seal_record(record: &mut [u8], seq: u64, previous: &Hash) -> Hash {
    let length = u32::try_from(record.len() - RECORD_HEADER).expect("a payload is at most MAX_PAYLOAD bytes");
    record[..RECORD_HEADER].fill(0);
    record[..4].copy_from_slice(RECORD_MAGIC);
    record[4..8].copy_from_slice(&length.to_le_bytes());
    record[12..14].copy_from_slice(&FORMAT.to_le_bytes());
    record[16..24].copy_from_slice(&seq.to_le_bytes());
    record[24..56].copy_from_slice(previous);
    let crc = record_crc(record);
    record[8..12].copy_from_slice(&crc.to_le_bytes());
    *blake3::hash(record).as_bytes()
}

/// Of all but the checksum itself.
fn record_crc(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..8]), &record[12..])
}

/// The length of the payload, if these bytes may begin a record.
fn payload_length(header: &[u8]) -> Option<usize> {
    let length = u32_at(header, 4) as usize;
    (&header[..4] == RECORD_MAGIC && length <= MAX_PAYLOAD).then_some(length)
}

impl Segment {
    pub(super) fn open(path: &Path, writable: bool, cache: &Arc<FrameCache>) -> Result<Self, StoreError> {
        let file = File::options().read(true).write(writable).open(path).map_err(|source| io_error("opening", path, source))?;
        let mut bytes = [0; SEGMENT_HEADER];
        file.read_exact_at(&mut bytes, 0).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, 0, "the segment is shorter than its header"),
            _ => io_error("reading", path, source),
        })?;
        SegmentHeader::refuse_newer(path, &bytes)?;
        let header = SegmentHeader::from_bytes(&bytes).map_err(|what| damaged(path, 0, what))?;
        let packed = match &bytes[..8] == packed::MAGIC {
            true => Some(Packed::open(path, &file, &header, &bytes, cache)?),
            false => None,
        };
        let segment = Self { path: path.to_owned(), file, header, packed };
        match segment.length()? {
            length if length > LARGEST => Err(damaged(path, length, "the segment is larger than a segment can be")),
            _ => Ok(segment),
        }
    }

    pub(super) fn length(&self) -> Result<u64, StoreError> {
        if let Some(packed) = &self.packed {
            return Ok(packed.plain_bytes());
        }
        Ok(self.file.metadata().map_err(|source| io_error("measuring", &self.path, source))?.len())
    }

    /// Reads the record at a place, which must be number `seq` and follow the record with the hash `previous`.
    pub(super) fn record(&self, offset: u64, seq: u64, previous: &Hash) -> Result<Found, StoreError> {
        let Some((header, payload)) = self.whole_record(offset)? else { return Ok(Found::Nothing) };
        match u16_at(&header, 12) {
            FORMAT => {}
            format if format > FORMAT => {
                let what = format!("the record at byte {offset}");
                return Err(formats::newer(&self.path, &what, u32::from(format), u32::from(FORMAT), true));
            }
            _ => return Err(damaged(&self.path, offset, "the record has a format that there is not")),
        }
        if u64_at(&header, 16) != seq || &header[24..56] != previous {
            return Ok(Found::Foreign);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header).update(&payload);
        Ok(Found::Record(Record { seq, hash: *hasher.finalize().as_bytes(), offset, payload }))
    }

    /// Whatever record lies at a place, if it is whole.
    fn whole_record(&self, offset: u64) -> Result<Option<Raw>, StoreError> {
        let mut header = [0; RECORD_HEADER];
        if !self.read(&mut header, offset)? {
            return Ok(None);
        }
        let Some(length) = payload_length(&header) else { return Ok(None) };
        if offset + (RECORD_HEADER + length) as u64 > self.length()? {
            return Ok(None);
        }
        let mut payload = vec![0; length];
        if !self.read(&mut payload, offset + RECORD_HEADER as u64)? {
            return Ok(None);
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&header[..8]), &header[12..]), &payload);
        Ok((crc == u32_at(&header, 8)).then_some((header, payload)))
    }

    /// False: the file ends before.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<bool, StoreError> {
        if let Some(packed) = &self.packed {
            return packed.read(&self.path, &self.file, buffer, offset);
        }
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(io_error("reading", &self.path, source)),
        }
    }

    /// What is behind the last whole record, which ends at `offset`. Read part by part: how long a file says that it is costs no memory.
    pub(super) fn tail(&self, offset: u64) -> Result<Tail, StoreError> {
        let length = self.length()?;
        let mut part = vec![0; PART.min(usize::try_from(length.saturating_sub(offset)).unwrap_or(PART))];
        let zeros = vec![0_u8; part.len()];
        let mut tail = Tail::Empty;
        let mut at = offset;
        while at < length {
            let size = part.len().min(usize::try_from(length - at).unwrap_or(PART));
            let part = &mut part[..size];
            if !self.read(part, at)? {
                return Err(damaged(&self.path, at, "the segment changed while it was read"));
            }
            let Some(last) = (*part != zeros[..size]).then(|| part.iter().rposition(|byte| *byte != 0)).flatten() else {
                at += size as u64;
                continue;
            };
            tail = Tail::Torn { end: at + last as u64 + 1 };
            for place in magic_places(part) {
                if self.whole_record(at + place as u64)?.is_some() {
                    return Ok(Tail::RecordBehind(at + place as u64));
                }
            }
            // What begins a record may lie across the end of a part.
            let is_last = at + size as u64 == length;
            let step = if is_last { size } else { size - (RECORD_MAGIC.len() - 1) };
            at += step as u64;
        }
        Ok(tail)
    }
}

/// What is behind the last record that is whole and in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Empty,
    /// Part of a record whose writing was cut off.
    Torn {
        end: u64,
    },
    /// A whole record follows what cannot be read: this is no cut-off writing.
    RecordBehind(u64),
}

fn magic_places(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(RECORD_MAGIC.len()).enumerate().filter(|(_, window)| *window == RECORD_MAGIC).map(|(place, _)| place)
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.display().to_string(), source }
}

/// For what may fail for want of space without having changed anything that counts: then it is an error of its own, after which writing
/// can go on. Never for an fsync of what was acknowledged or is about to be: after one that failed nobody knows what is on disk.
pub(super) fn refusable(error: StoreError) -> StoreError {
    match error {
        StoreError::Io { action, path, source } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            StoreError::NoSpace { action, path }
        }
        other => other,
    }
}

/// Damage at a place in a file, with the command to run.
pub(super) fn damaged(path: &Path, offset: u64, what: &str) -> StoreError {
    let folder = path.parent().and_then(Path::parent).unwrap_or(path);
    let (path, shown) = (path.display(), folder.display());
    if marker::is_there(folder) {
        return StoreError::Damaged(format!(
            "{path} at byte {offset}: {what}. Nothing was changed. Remove this file and those behind it in the order of their names, and run \
             `loyaltyd backup --to {shown}` again: the running service sends them again"
        ));
    }
    StoreError::Damaged(format!(
        "{path} at byte {offset}: {what}. Nothing was changed. Run `loyaltyd check --data {shown}` for the whole extent, and restore the file \
         from a backup"
    ))
}
