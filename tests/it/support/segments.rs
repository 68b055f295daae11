//! Taking segments of a journal apart and putting them together again, with checksums and chain as they must be: so that what is wrong in
//! them is what a test wants to be wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub const HEADER: usize = 128;
pub const RECORD_HEADER: usize = 56;

/// Of a data folder, in their order.
pub fn paths(data: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(data.join("journal")).expect("a folder is listed").map(|item| item.expect("a folder is listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// The records of a plain segment, header and payload.
pub fn records(segment: &[u8]) -> Vec<&[u8]> {
    let mut rest = &segment[HEADER..];
    let mut records = Vec::new();
    while rest.starts_with(b"LREC") {
        let length = u32::from_le_bytes(rest[4..8].try_into().expect("4 bytes")) as usize;
        let (record, behind) = rest.split_at(RECORD_HEADER + length);
        records.push(record);
        rest = behind;
    }
    records
}

pub fn payload(record: &[u8]) -> &[u8] {
    &record[RECORD_HEADER..]
}

/// The same segment with other payloads.
pub fn with_payloads<'a>(segment: &[u8], payloads: impl Iterator<Item = std::borrow::Cow<'a, [u8]>>) -> Vec<u8> {
    let mut made = segment[..HEADER].to_vec();
    let first = u64::from_le_bytes(segment[40..48].try_into().expect("8 bytes"));
    let mut previous: [u8; 32] = segment[48..80].try_into().expect("32 bytes");
    for (seq, payload) in (first..).zip(payloads) {
        let mut record = vec![0; RECORD_HEADER];
        record[..4].copy_from_slice(b"LREC");
        record[4..8].copy_from_slice(&u32::try_from(payload.len()).expect("a payload is not so long").to_le_bytes());
        record[12..14].copy_from_slice(&1_u16.to_le_bytes());
        record[16..24].copy_from_slice(&seq.to_le_bytes());
        record[24..56].copy_from_slice(&previous);
        record.extend_from_slice(&payload);
        seal(&mut record);
        previous = *blake3::hash(&record).as_bytes();
        made.extend(record);
    }
    made
}

/// Makes a record's checksum right.
pub fn seal(record: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..8]), &record[12..]);
    record[8..12].copy_from_slice(&crc.to_le_bytes());
}
