//! The journal and the key file: files of any kind in place of those that a service left. Whoever reads them ends with an answer or with a
//! refusal, never with a panic.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use loyaltyd::store::{
    StoreError,
    embedded::{EmbeddedStore, Options, check, read_entries},
};

use super::entropy::Entropy;

const HEADER: usize = 128;
const RECORD_HEADER: usize = 56;
const NAME: &str = "00000000000000000001.seg";

/// What the last release left, in one segment: all kinds of entries that it has.
struct Template {
    header: [u8; HEADER],
    /// What its records begin with, and their format.
    record_magic: [u8; 4],
    record_format: [u8; 2],
    payloads: Vec<Vec<u8>>,
    keys: Vec<u8>,
    /// The first segment as it was, compressed.
    packed: Vec<u8>,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::unpack);

impl Template {
    fn unpack() -> Self {
        let folder = super::scratch();
        let archive = last_release().join("ledger.tar.gz");
        let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().expect("there is tar");
        assert!(done.success(), "{} cannot be unpacked", archive.display());
        let data = folder.path().join("ledger/data");
        let packed = fs::read(data.join("journal").join(NAME)).expect("the first segment is there");
        let plain = unpacked(&packed, &plain_magic(&data.join("journal")));
        let header = plain[..HEADER].try_into().expect("a header");
        let record = &plain[HEADER..HEADER + RECORD_HEADER];
        let record_magic = record[..4].try_into().expect("4 bytes");
        let record_format = record[12..14].try_into().expect("2 bytes");
        // Slots behind these are free.
        let mut keys = fs::read(data.join("keys")).expect("the key file is there");
        keys.truncate(64 * 64);
        Self { header, record_magic, record_format, payloads: payloads(&plain), keys, packed }
    }

    fn segment<'a>(&'a self, payloads: impl Iterator<Item = Cow<'a, [u8]>>) -> Vec<u8> {
        let mut segment = self.header.to_vec();
        let mut previous = [0; 32];
        for (seq, payload) in (1_u64..).zip(payloads) {
            let mut record = vec![0; RECORD_HEADER];
            record[..4].copy_from_slice(&self.record_magic);
            record[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            record[12..14].copy_from_slice(&self.record_format);
            record[16..24].copy_from_slice(&seq.to_le_bytes());
            record[24..56].copy_from_slice(&previous);
            record.extend_from_slice(&payload);
            let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..8]), &record[12..]);
            record[8..12].copy_from_slice(&crc.to_le_bytes());
            previous = *blake3::hash(&record).as_bytes();
            segment.extend(record);
        }
        segment
    }
}

pub fn last_release() -> PathBuf {
    let folder = super::root().join("tests/released");
    let items = fs::read_dir(folder).expect("the folder is there").map(|item| item.expect("a folder is listed").path());
    let mut releases: Vec<PathBuf> = items.filter(|path| path.is_dir()).collect();
    releases.sort_by_key(|path| version(path));
    releases.pop().expect("there is a release")
}

/// Its parts as numbers: 0.10.0 is behind 0.9.0. What is none sorts before all.
fn version(path: &Path) -> Option<Vec<u64>> {
    path.file_name()?.to_str()?.split('.').map(|part| part.parse().ok()).collect()
}

/// What a plain segment begins with: the last one, which is not closed, is one.
fn plain_magic(journal: &Path) -> [u8; 8] {
    let segments = fs::read_dir(journal).expect("the folder is there").map(|item| item.expect("a file is listed").path());
    let last = segments.filter(|path| path.extension().is_some_and(|end| end == "seg")).max().expect("there is a segment");
    fs::read(last).expect("the last segment is there")[..8].try_into().expect("8 bytes")
}

/// The plain bytes of a compressed segment.
fn unpacked(packed: &[u8], plain_magic: &[u8; 8]) -> Vec<u8> {
    assert_ne!(&packed[..8], plain_magic, "it is compressed");
    let plain_bytes = u64::from_le_bytes(packed[80..88].try_into().expect("8 bytes")) as usize;
    let frame_bytes = u32::from_le_bytes(packed[88..92].try_into().expect("4 bytes")) as usize;
    let count = plain_bytes.div_ceil(frame_bytes);
    let mut place = HEADER + 8 * count;
    let mut plain = Vec::new();
    for item in packed[HEADER..place].to_vec().chunks_exact(8) {
        let length = u32::from_le_bytes(item[..4].try_into().expect("4 bytes")) as usize;
        plain.extend(zstd::bulk::decompress(&packed[place..place + length], frame_bytes).expect("a frame"));
        place += length;
    }
    // The header of a plain one says nothing of frames.
    plain[..8].copy_from_slice(plain_magic);
    plain[80..HEADER].fill(0);
    seal_header(&mut plain);
    plain
}

fn payloads(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &segment[HEADER..];
    let mut payloads = Vec::new();
    let magic = &segment[HEADER..HEADER + 4];
    while rest.starts_with(magic) {
        let length = u32::from_le_bytes(rest[4..8].try_into().expect("4 bytes")) as usize;
        payloads.push(rest[RECORD_HEADER..RECORD_HEADER + length].to_vec());
        rest = &rest[RECORD_HEADER + length..];
    }
    payloads
}

fn seal_header(segment: &mut [u8]) {
    let crc = crc32c::crc32c(&segment[16..HEADER]);
    segment[12..16].copy_from_slice(&crc.to_le_bytes());
}

pub fn run(data: &[u8]) {
    let folder = super::scratch();
    let mut entropy = Entropy::new(data);
    let template = &*TEMPLATE;
    let mode = entropy.below(8);
    // The store opens with what the tables need besides, which takes long: only now and then.
    let opens = entropy.one_in(64);
    let (segment, keys) = spoilt(template, mode, &mut entropy);
    let journal = folder.path().join("journal");
    fs::create_dir_all(&journal).expect("a folder is made");
    fs::write(journal.join(NAME), &segment).expect("a segment is written");
    fs::write(folder.path().join("keys"), &keys).expect("keys are written");
    let mut entries = 0;
    let read = read_entries(folder.path(), None, |_| entries += 1);
    if mode == 7 {
        read.as_ref().expect("what was not spoilt is read");
        assert!(entries > 100, "{entries} entries");
    }
    if let Err(error) = &read {
        is_clear(error);
    }
    if opens {
        open(folder.path(), read.is_ok());
    }
}

/// A refusal names what it is about.
fn is_clear(error: &StoreError) {
    let text = error.to_string();
    match error {
        StoreError::Damaged(_) | StoreError::Newer(_) | StoreError::Refused(_) | StoreError::Fold(_) | StoreError::Io { .. } => {
            assert!(text.len() > 30, "{text}");
        }
        other => panic!("another kind of error: {other}"),
    }
}

fn spoilt(template: &Template, mode: usize, entropy: &mut Entropy<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut keys = template.keys.clone();
    let whole = |payload: &Vec<u8>| payload.clone();
    let segment = match mode {
        // Payloads, with checksums and chain as they must be.
        0 | 1 => {
            let mut payloads: Vec<Vec<u8>> = template.payloads.iter().map(whole).collect();
            for _ in 0..=entropy.below(3) {
                let place = entropy.below(payloads.len());
                entropy.spoil(&mut payloads[place]);
            }
            template.segment(payloads.into_iter().map(Cow::Owned))
        }
        // A payload of anything.
        2 => {
            let place = entropy.below(template.payloads.len());
            let before = template.payloads[..place].iter().map(|payload| Cow::Borrowed(payload.as_slice()));
            template.segment(before.chain([Cow::Borrowed(entropy.rest())]))
        }
        // Bytes anywhere.
        3 => {
            let mut segment = template.segment(template.payloads.iter().map(|payload| Cow::Borrowed(payload.as_slice())));
            entropy.spoil(&mut segment);
            segment
        }
        // The header, with its checksum.
        4 => {
            let mut segment = template.segment(template.payloads.iter().map(|payload| Cow::Borrowed(payload.as_slice())));
            let place = entropy.below(HEADER);
            segment[place] = entropy.byte();
            seal_header(&mut segment);
            segment
        }
        // A compressed one, with the checksums of header and index.
        5 => {
            let mut packed = template.packed.clone();
            for _ in 0..=entropy.below(4) {
                let place = if entropy.below(2) == 0 { 80 + entropy.below(12) } else { entropy.below(packed.len()) };
                packed[place] = entropy.byte();
            }
            let frames = u64::from_le_bytes(packed[80..88].try_into().expect("8 bytes"))
                .checked_div(u64::from(u32::from_le_bytes(packed[88..92].try_into().expect("4 bytes"))));
            let end =
                frames.and_then(|frames| usize::try_from(frames).ok()).and_then(|frames| frames.checked_mul(8)?.checked_add(HEADER + 8));
            if let Some(index) = packed.get(HEADER..end.unwrap_or(usize::MAX)) {
                let crc = crc32c::crc32c(index);
                packed[92..96].copy_from_slice(&crc.to_le_bytes());
            }
            seal_header(&mut packed);
            packed
        }
        // Keys.
        6 => {
            match entropy.below(3) {
                0 => keys = entropy.rest().to_vec(),
                1 => entropy.spoil(&mut keys),
                _ => {
                    keys[entropy.below(24)] = entropy.byte();
                    let crc = crc32c::crc32c(&keys[..24]);
                    keys[24..28].copy_from_slice(&crc.to_le_bytes());
                }
            }
            template.segment(template.payloads.iter().map(|payload| Cow::Borrowed(payload.as_slice())))
        }
        _ => template.segment(template.payloads.iter().map(|payload| Cow::Borrowed(payload.as_slice()))),
    };
    (segment, keys)
}

/// As the service does, and what it then has is sound; a copy, since opening changes files.
fn open(folder: &Path, was_read: bool) {
    let copy = super::scratch();
    fs::create_dir(copy.path().join("journal")).expect("a folder is made");
    for name in ["keys", &format!("journal/{NAME}")] {
        fs::copy(folder.join(name), copy.path().join(name)).expect("a file is copied");
    }
    let options =
        Options { segment_bytes: 64 << 10, overlay_bytes: 1 << 20, sled_cache_bytes: 1 << 20, compress: false, ..Options::default() };
    match EmbeddedStore::open(copy.path(), options.clone()) {
        Ok(store) => {
            drop(store);
            match check(copy.path(), &options) {
                // An entry may say what no fold of ours would: then the totals say so.
                Ok(report) => assert_eq!(report.difference_count, 0, "{:?}", report.differences),
                Err(error) => is_clear(&error),
            }
        }
        Err(error) => {
            is_clear(&error);
            assert!(!was_read || matches!(error, StoreError::Fold(_) | StoreError::Damaged(_)), "{error}");
        }
    }
}
