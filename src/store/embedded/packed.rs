//! A closed segment in its compressed form: independent zstd frames of equal plain length, with an index of them, so that reading an entry
//! decompresses one frame. Whoever reads it counts in plain bytes, as in the segment that it was. The layout is in the docs of the parent
//! module.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    background::Background,
    segment::{SEGMENT_HEADER, Segment, SegmentHeader, damaged, io_error},
};
use crate::store::StoreError;

pub(super) const MAGIC: &[u8; 8] = b"LOYLJNZ\n";
/// Plain bytes of a frame: larger ones are smaller in sum, and take longer to read an entry from.
const FRAME: u32 = 128 << 10;
/// What a file may say of itself.
const LARGEST_FRAME: u32 = 16 << 20;
const INDEX_ITEM: usize = 8;
const LEVEL: i32 = 3;
/// Frames that were read last, of all segments of a journal together.
const CACHED: usize = 32;

#[derive(Debug)]
pub(super) struct Packed {
    plain_bytes: u64,
    frame_bytes: u32,
    frames: Vec<Frame>,
    /// Names the segment in the cache.
    first_seq: u64,
    cache: Arc<FrameCache>,
}

/// Where a frame lies in the file.
#[derive(Debug, Clone, Copy)]
struct Frame {
    offset: u64,
    length: u32,
    crc: u32,
}

/// Plain frames; the one that was read last behind.
#[derive(Debug, Default)]
pub(super) struct FrameCache(Mutex<VecDeque<Cached>>);

#[derive(Debug)]
struct Cached {
    segment: u64,
    number: usize,
    plain: Arc<Vec<u8>>,
}

impl FrameCache {
    fn get(&self, segment: u64, number: usize) -> Option<Arc<Vec<u8>>> {
        let mut frames = self.0.lock().expect("nobody panics while holding the frames");
        let place = frames.iter().rposition(|frame| (frame.segment, frame.number) == (segment, number))?;
        let found = frames.remove(place)?;
        let plain = found.plain.clone();
        frames.push_back(found);
        Some(plain)
    }

    fn put(&self, segment: u64, number: usize, plain: &Arc<Vec<u8>>) {
        let mut frames = self.0.lock().expect("nobody panics while holding the frames");
        if frames.len() >= CACHED {
            frames.pop_front();
        }
        frames.push_back(Cached { segment, number, plain: plain.clone() });
    }
}

impl Packed {
    /// Reads the index of a file that begins with these bytes.
    pub(super) fn open(
        path: &Path,
        file: &File,
        header: &SegmentHeader,
        bytes: &[u8; SEGMENT_HEADER],
        cache: &Arc<FrameCache>,
    ) -> Result<Self, StoreError> {
        let number = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("the slice has the array's length"));
        let short = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().expect("the slice has the array's length"));
        let (plain_bytes, frame_bytes, index_crc) = (number(80), short(88), short(92));
        let length = file.metadata().map_err(|source| io_error("measuring", path, source))?.len();
        let rubbish = || damaged(path, 80, "the segment's header holds what cannot be");
        if frame_bytes == 0 || frame_bytes > LARGEST_FRAME || plain_bytes < SEGMENT_HEADER as u64 {
            return Err(rubbish());
        }
        let count = plain_bytes.div_ceil(u64::from(frame_bytes));
        let missing = || damaged(path, length, "the compressed segment ends here, before its end: the rest is missing");
        // Before memory is asked for.
        if count.saturating_mul(INDEX_ITEM as u64) > length {
            return Err(missing());
        }
        let mut index = vec![0; count as usize * INDEX_ITEM];
        file.read_exact_at(&mut index, SEGMENT_HEADER as u64).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => missing(),
            _ => io_error("reading", path, source),
        })?;
        if crc32c::crc32c(&index) != index_crc {
            return Err(damaged(path, SEGMENT_HEADER as u64, "the index of the compressed segment does not match its checksum"));
        }
        let mut offset = (SEGMENT_HEADER + index.len()) as u64;
        let mut frames = Vec::with_capacity(count as usize);
        for item in index.chunks_exact(INDEX_ITEM) {
            let part = |from: usize| u32::from_le_bytes(item[from..from + 4].try_into().expect("the slice has the array's length"));
            frames.push(Frame { offset, length: part(0), crc: part(4) });
            offset += u64::from(part(0));
        }
        if length < offset {
            return Err(missing());
        }
        Ok(Self { plain_bytes, frame_bytes, frames, first_seq: header.first_seq, cache: cache.clone() })
    }

    pub(super) fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// False: the plain bytes end before.
    pub(super) fn read(&self, path: &Path, file: &File, buffer: &mut [u8], offset: u64) -> Result<bool, StoreError> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.plain_bytes) {
            return Ok(false);
        }
        let frame_bytes = u64::from(self.frame_bytes);
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let frame = self.frame(path, file, (at / frame_bytes) as usize)?;
            let rest = &frame[(at % frame_bytes) as usize..];
            let part = rest.len().min(buffer.len() - done);
            buffer[done..done + part].copy_from_slice(&rest[..part]);
            done += part;
        }
        Ok(true)
    }

    fn frame(&self, path: &Path, file: &File, number: usize) -> Result<Arc<Vec<u8>>, StoreError> {
        if let Some(frame) = self.cache.get(self.first_seq, number) {
            return Ok(frame);
        }
        let Frame { offset, length, crc } = self.frames[number];
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset).map_err(|source| io_error("reading", path, source))?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(damaged(path, offset, "a frame of the compressed segment does not match its checksum"));
        }
        let begins = number as u64 * u64::from(self.frame_bytes);
        let expected = u64::from(self.frame_bytes).min(self.plain_bytes - begins) as usize;
        let plain = zstd::bulk::decompress(&bytes, expected).ok().filter(|plain| plain.len() == expected);
        let plain = Arc::new(plain.ok_or_else(|| damaged(path, offset, "a frame of the compressed segment cannot be decompressed"))?);
        self.cache.put(self.first_seq, number, &plain);
        Ok(plain)
    }
}

/// Writes the first `plain_bytes` of a segment to a file in compressed form, durably. False: it was told to stop, and the file is not whole.
pub(super) fn write(segment: &Segment, plain_bytes: u64, target: &Path, stop: &AtomicBool) -> Result<bool, StoreError> {
    let failed = |action| move |source| io_error(action, target, source);
    let file = File::options().write(true).create(true).truncate(true).open(target).map_err(failed("creating"))?;
    let count = plain_bytes.div_ceil(u64::from(FRAME)) as usize;
    let mut index = Vec::with_capacity(count * INDEX_ITEM);
    let mut offset = (SEGMENT_HEADER + count * INDEX_ITEM) as u64;
    let is_urgent = |_| stop.load(Ordering::Relaxed);
    let mut work = Background::new(count, &is_urgent);
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(failed("compressing to"))?;
    let mut plain = vec![0; FRAME as usize];
    for number in 0..count as u64 {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let begins = number * u64::from(FRAME);
        let part = &mut plain[..u64::from(FRAME).min(plain_bytes - begins) as usize];
        if !segment.read(part, begins)? {
            return Err(damaged(&segment.path, begins, "the segment changed while it was read"));
        }
        let frame = compressor.compress(part).map_err(failed("compressing to"))?;
        file.write_all_at(&frame, offset).map_err(failed("writing"))?;
        let length = u32::try_from(frame.len()).expect("a compressed frame is not much longer than a plain one");
        index.extend_from_slice(&length.to_le_bytes());
        index.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
        offset += frame.len() as u64;
        work.written(&file, frame.len()).map_err(failed("syncing"))?;
        work.step(1);
    }
    let header = header_bytes(&segment.header, plain_bytes, crc32c::crc32c(&index));
    file.write_all_at(&index, SEGMENT_HEADER as u64).map_err(failed("writing"))?;
    file.write_all_at(&header, 0).map_err(failed("writing"))?;
    file.sync_all().map_err(failed("syncing"))?;
    Ok(true)
}

fn header_bytes(header: &SegmentHeader, plain_bytes: u64, index_crc: u32) -> [u8; SEGMENT_HEADER] {
    let mut bytes = header.to_bytes();
    bytes[..8].copy_from_slice(MAGIC);
    bytes[80..88].copy_from_slice(&plain_bytes.to_le_bytes());
    bytes[88..92].copy_from_slice(&FRAME.to_le_bytes());
    bytes[92..96].copy_from_slice(&index_crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}
