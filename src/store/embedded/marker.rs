//! The file that makes a folder a backup, and says of what, and how far it is known to reach.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::Path,
};

use super::{formats, journal::sync_folder, segment::io_error};
use crate::store::{CommitSeq, StoreError};

pub(super) const NAME: &str = "BACKUP";
pub(super) const UNFINISHED_NAME: &str = "BACKUP.new";
/// With the format.
const TITLE: &str = "loyaltyd backup, format ";
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) store_id: [u8; 16],
    /// The key file is not in the folder.
    pub(super) keys_apart: bool,
    /// The last commit of the last run that came to its end.
    pub(super) last: CommitSeq,
    pub(super) hash: [u8; 32],
}

/// Whether the folder is a backup, whole or not.
pub(super) fn is_there(folder: &Path) -> bool {
    folder.join(NAME).exists()
}

impl Marker {
    /// `None`: the folder is no backup.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("reading", &path, source)),
        };
        let damaged = || {
            StoreError::Damaged(format!(
                "{}: it cannot be read. The journal beside it may be whole; take a new backup into another folder",
                path.display()
            ))
        };
        match Self::format(&text) {
            Some(format) if format > FORMAT => Err(formats::newer(&path, "the backup", format, FORMAT, true)),
            Some(FORMAT) => Self::parse(&text).map(Some).ok_or_else(damaged),
            Some(_) | None => Err(damaged()),
        }
    }

    /// For whoever reads the folder.
    pub(super) fn require(folder: &Path) -> Result<Self, StoreError> {
        Self::read(folder)?.ok_or_else(|| StoreError::Refused(format!("{} is no backup: it has no file {NAME}", folder.display())))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let (path, unfinished) = (folder.join(NAME), folder.join(UNFINISHED_NAME));
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|source| io_error("writing", &path, source))?;
        sync_folder(folder)
    }

    /// The key file stays where the first run put it, or keys would lie where nobody expects them.
    pub(super) fn check_keys(&self, folder: &Path, keys: Option<&Path>) -> Result<(), StoreError> {
        let why = match (self.keys_apart, keys) {
            (true, None) => "keeps its key file apart: name it with --keys-to, or --keys where it is read",
            (false, Some(_)) => "holds its key file itself: leave --keys-to and --keys out",
            (true, Some(_)) | (false, None) => return Ok(()),
        };
        Err(StoreError::Refused(format!("the backup in {} {why}", folder.display())))
    }

    fn text(&self) -> String {
        let keys = if self.keys_apart { "apart" } else { "here" };
        let body = format!("{TITLE}{FORMAT}\nstore {}\nkeys {keys}\nlast {} {}\n", hex(&self.store_id), self.last.0, hex(&self.hash));
        format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()))
    }

    /// Of a file that is whole. Its first line and the checksum at its end are the same in all formats.
    fn format(text: &str) -> Option<u32> {
        let (body, crc) = text.split_at_checked(text.rfind("crc ")?)?;
        if u32::from_str_radix(crc.strip_prefix("crc ")?.trim_end(), 16).ok()? != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        body.lines().next()?.strip_prefix(TITLE)?.parse().ok()
    }

    /// Of the format that this version writes, its checksum seen.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next()?;
        let store_id = unhex(lines.next()?.strip_prefix("store ")?)?;
        let keys_apart = lines.next()? == "keys apart";
        let (last, hash) = lines.next()?.strip_prefix("last ")?.split_once(' ')?;
        Some(Self { store_id, keys_apart, last: CommitSeq(last.parse().ok()?), hash: unhex(hash)? })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}
