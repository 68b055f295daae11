//! The redo file: rows that are being written to the tables. It is whole before the first of them is written, so when the process ends
//! in between, the next start writes all of them again, and no row is ever there without those that belong with it. sled keeps what was
//! written last in memory of its own: it is made to hand that to the kernel before the file is written anew.
//!
//! It also says how far the tables had come before these rows: sled takes a log that is damaged near its end for one that ends there, and
//! opens with older rows. What it then says of itself does not fit to the redo file, which therefore is there as long as the tables are.
//!
//! Nothing depends on its being durable: the kernel keeps what was handed to it when only the process ends, and after a cut of power the
//! tables are not trusted anyway (see `trust.rs`). It is synced part by part all the same, see `background.rs`.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use super::{background::Background, rows::RowKey, segment::io_error};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"LOYRED2\n";
/// It takes its name when it is whole.
const UNFINISHED: &str = "new";
/// Behind the rows and the tables' own row before and after them: length of the rows and of the row before, CRC of all before it.
const LENGTH: usize = 8;
const LENGTHS: usize = 2 * LENGTH;
const CRC: usize = 4;
/// Bytes that are written at a time.
const PART: usize = 64 << 10;

/// Rows, and the tables' own row before and after them; empty: there was none.
pub(super) struct Redo {
    bytes: Vec<u8>,
    rows: std::ops::Range<usize>,
    before: std::ops::Range<usize>,
}

/// Writes the file anew; a row is a step of the work.
pub(super) fn write<'a>(
    path: &Path,
    rows: impl Iterator<Item = (RowKey, Option<&'a [u8]>)>,
    before: &[u8],
    applied: &[u8],
    work: &mut Background<'_>,
) -> Result<(), StoreError> {
    let unfinished = path.with_extension(UNFINISHED);
    let write = || {
        let mut file = File::create(&unfinished)?;
        let (mut bytes, mut crc, mut length) = (MAGIC.to_vec(), 0, 0);
        let mut rows_in_part = 0;
        for (key, value) in rows {
            put(&mut bytes, Some(key.as_bytes()));
            put(&mut bytes, value);
            rows_in_part += 1;
            if bytes.len() >= PART {
                crc = crc32c::crc32c_append(crc, &bytes);
                length += bytes.len();
                file.write_all(&bytes)?;
                work.written(&file, bytes.len())?;
                work.step(std::mem::take(&mut rows_in_part));
                bytes.clear();
            }
        }
        length = length + bytes.len() - MAGIC.len();
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(applied);
        bytes.extend_from_slice(&(length as u64).to_le_bytes());
        bytes.extend_from_slice(&(before.len() as u64).to_le_bytes());
        crc = crc32c::crc32c_append(crc, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        file.write_all(&bytes)?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| io_error("writing", path, source))
}

/// Length and one byte more for a row that goes.
fn put(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(u32::MAX, |value| value.len() as u32);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value.unwrap_or_default());
}

/// `None`: it is gone or damaged.
pub(super) fn read(path: &Path) -> Result<Option<Redo>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("reading", path, source)),
    };
    Ok(Redo::of(bytes))
}

impl Redo {
    fn of(mut bytes: Vec<u8>) -> Option<Self> {
        let crc = bytes.split_off(bytes.len().checked_sub(CRC)?);
        if !bytes.starts_with(MAGIC) || crc != crc32c::crc32c(&bytes).to_le_bytes() {
            return None;
        }
        let lengths = bytes.split_off(bytes.len().checked_sub(LENGTHS)?);
        let number = |bytes: &[u8]| usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok();
        let (rows, before) = (number(&lengths[..LENGTH])?, number(&lengths[LENGTH..])?);
        let rows = MAGIC.len()..MAGIC.len().checked_add(rows)?;
        let before = rows.end..rows.end.checked_add(before).filter(|end| *end <= bytes.len())?;
        Some(Self { bytes, rows, before })
    }

    /// It only says how far the tables have come.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn before(&self) -> &[u8] {
        &self.bytes[self.before.clone()]
    }

    pub(super) fn applied(&self) -> &[u8] {
        &self.bytes[self.before.end..]
    }

    /// As they were written; no value: the row goes.
    pub(super) fn rows(&self) -> impl Iterator<Item = (RowKey, Option<&[u8]>)> {
        let mut rest = &self.bytes[self.rows.clone()];
        std::iter::from_fn(move || {
            let key = RowKey::from_bytes(take(&mut rest)??)?;
            let value = take(&mut rest)?;
            Some((key, value))
        })
    }
}

/// Outer `None`: the end.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length == u32::MAX {
        *rest = behind;
        return Some(None);
    }
    let (value, behind) = behind.split_at_checked(length as usize)?;
    *rest = behind;
    Some(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_or_changed_counts_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("redo");
        assert!(read(&path).expect("a read").is_none());
        let keys = [RowKey::program(1), RowKey::program(2), RowKey::program(3)];
        let rows = [(keys[0], Some(&b"one"[..])), (keys[1], None), (keys[2], Some(&b""[..]))];
        write(&path, rows.into_iter(), b"before", b"applied", &mut Background::urgent()).expect("a write");
        let redo = read(&path).expect("a read").expect("it is whole");
        assert_eq!(redo.rows().collect::<Vec<_>>(), rows);
        assert_eq!((redo.before(), redo.applied()), (&b"before"[..], &b"applied"[..]));
        let whole = fs::read(&path).expect("a read");
        for length in 0..whole.len() {
            assert!(Redo::of(whole[..length].to_vec()).is_none(), "cut to {length}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(Redo::of(changed).is_none(), "changed at {place}");
        }
    }
}
