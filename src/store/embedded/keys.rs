//! The key file: one slot a member. Wiping a slot is how a person is erased from a journal that is never rewritten. The layout is in
//! the docs of the parent module.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, aead::Aead as _, aead::Payload};
use zeroize::Zeroizing;

use super::{
    JOURNAL, formats,
    journal::sync_folder,
    lost_keys, marker,
    segment::{io_error, refusable},
};
use crate::store::StoreError;

pub(super) const SLOT: usize = 64;
const MAGIC: &[u8; 4] = b"LKEY";
pub(super) const FORMAT: u8 = 1;
/// Of slots the file grows by, so that writing one seldom changes its length.
const GROWTH: u64 = 16_384;

/// Slots that one commit may have left unsynced: more than it enrols members.
const UNSURE: u64 = 1_024;

/// Of a slot whose checksum is wrong, until it is taken as it is.
const READS: u32 = 3;

const INDEX_KEY_SLOT: u32 = 1;
const FIRST_MEMBER_SLOT: u32 = 2;

const FREE: u8 = 0;
const PLAIN: u8 = 1;
const WRAPPED: u8 = 2;
const WIPED: u8 = 3;

pub(super) type Key = Zeroizing<[u8; 32]>;

/// Not `Debug`, like everything that holds keys.
pub(super) struct KeyFile {
    path: PathBuf,
    file: File,
    store_id: [u8; 16],
    wrapping: Option<Zeroizing<[u8; 32]>>,
    /// Behind all slots that are durable.
    next_slot: AtomicU32,
}

/// Gives out slots: one of a kind.
pub(super) struct SlotWriter {
    next: u32,
    slots: u64,
    buffer: Vec<u8>,
    /// Slots that the buffer holds.
    first: u32,
}

impl KeyFile {
    /// Makes the file, with a new index key.
    pub(super) fn create(path: &Path, store_id: [u8; 16], operator_key: Option<&[u8; 32]>) -> Result<(), StoreError> {
        let unfinished = path.with_extension("new");
        let opened = File::options().read(true).write(true).create(true).truncate(true).open(&unfinished);
        let file = opened.map_err(|source| io_error("creating", &unfinished, source))?;
        restrict(&file, &unfinished)?;
        let keys = Self::new(unfinished.clone(), file, store_id, operator_key);
        let mut bytes = vec![0; SLOT];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = FORMAT;
        bytes[5] = u8::from(keys.wrapping.is_some());
        bytes[8..24].copy_from_slice(&store_id);
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&*keys.slot_bytes(INDEX_KEY_SLOT, &random_key()?));
        bytes.resize(GROWTH as usize * SLOT, 0);
        keys.file.write_all_at(&bytes, 0).map_err(|source| io_error("writing", &unfinished, source))?;
        keys.file.sync_all().map_err(|source| io_error("syncing", &unfinished, source))?;
        fs::rename(&unfinished, path).map_err(|source| io_error("renaming", &unfinished, source))?;
        sync_folder(path.parent().unwrap_or(path))
    }

    pub(super) fn open(path: &Path, operator_key: Option<&[u8; 32]>) -> Result<(Self, SlotWriter), StoreError> {
        let (keys, slots, next) = Self::open_slots(path, true, operator_key)?;
        Ok((keys, SlotWriter { next, slots, buffer: Vec::new(), first: next }))
    }

    /// The same, without changing anything, now or later.
    pub(super) fn open_to_read(path: &Path, operator_key: Option<&[u8; 32]>) -> Result<Self, StoreError> {
        Ok(Self::open_slots(path, false, operator_key)?.0)
    }

    /// Makes sure of the last slots, before anything else knows how many there are. They may be in the kernel's memory alone: if a sync
    /// failed, which ended the process before this one, Linux takes the pages as written all the same, and another sync would write nothing.
    /// One that is not whole stays as it is.
    pub(super) fn secure(&self) -> Result<(), StoreError> {
        let end = u64::from(self.next_slot());
        let first = end.saturating_sub(UNSURE).max(u64::from(FIRST_MEMBER_SLOT));
        let bytes = Zeroizing::new(self.read_slots(first * SLOT as u64, (end - first) as usize * SLOT)?);
        for (slot, place) in bytes.chunks_exact(SLOT).zip(first..).filter(|(slot, place)| is_free_or_whole(number(*place), slot)) {
            let written = self.file.write_all_at(slot, place * SLOT as u64);
            written.map_err(|source| io_error("writing", &self.path, source))?;
        }
        self.file.sync_data().map_err(|source| io_error("syncing", &self.path, source))
    }

    /// With the number of slots that there are, and the next one to give out.
    fn open_slots(path: &Path, writable: bool, operator_key: Option<&[u8; 32]>) -> Result<(Self, u64, u32), StoreError> {
        let file = File::options().read(true).write(writable).open(path).map_err(|source| io_error("opening", path, source))?;
        let mut header = [0; SLOT];
        file.read_exact_at(&mut header, 0).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(path, "it is shorter than its header; restore it from a backup"),
            _ => io_error("reading", path, source),
        })?;
        refuse_newer(path, &header)?;
        if !is_header(&header) {
            return Err(damaged(path, "it is no key file of this version; restore it from a backup"));
        }
        match (header[5] != 0, operator_key.is_some()) {
            (true, false) => return Err(damaged(path, "its keys are wrapped by the operator's key, which was not given")),
            (false, true) => return Err(damaged(path, "its keys are not wrapped, but an operator's key was given; start without it")),
            (true, true) | (false, false) => {}
        }
        let store_id: [u8; 16] = header[8..24].try_into().expect("the slice has the array's length");
        let keys = Self::new(path.to_owned(), file, store_id, operator_key);
        let slots = keys.slots()?;
        let next = keys.first_free(slots)?;
        keys.next_slot.store(next, Ordering::Release);
        Ok((keys, slots, next))
    }

    fn new(path: PathBuf, file: File, store_id: [u8; 16], operator_key: Option<&[u8; 32]>) -> Self {
        let wrapping = wrapping_key(operator_key, &store_id);
        Self { path, file, store_id, wrapping, next_slot: AtomicU32::new(FIRST_MEMBER_SLOT) }
    }

    pub(super) fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The next that is given out: the journal names none from here on.
    pub(super) fn next_slot(&self) -> u32 {
        self.next_slot.load(Ordering::Acquire)
    }

    /// What identifiers, order and request ids are hashed with.
    pub(super) fn index_key(&self) -> Result<Key, StoreError> {
        self.key(INDEX_KEY_SLOT)?.ok_or_else(|| damaged(&self.path, "its index key is missing; restore it from a backup"))
    }

    /// `None`: the slot was wiped, the person is erased.
    pub(super) fn key(&self, slot: u32) -> Result<Option<Key>, StoreError> {
        let mut bytes = Zeroizing::new([0; SLOT]);
        // A slot that is being wiped meanwhile may be read half.
        for _ in 0..READS {
            let read = self.file.read_exact_at(&mut *bytes, u64::from(slot) * SLOT as u64);
            if let Err(source) = read {
                return match source.kind() {
                    std::io::ErrorKind::UnexpectedEof => Err(self.lacks(slot)),
                    _ => Err(io_error("reading", &self.path, source)),
                };
            }
            if is_free_or_whole(slot, &*bytes) {
                break;
            }
        }
        if bytes[0] == FREE {
            return Err(self.lacks(slot));
        }
        if !is_free_or_whole(slot, &*bytes) {
            let what = format!("slot {slot} does not match its checksum; restore the file from a backup. If there is none, ");
            return Err(damaged(&self.path, &(what + &lost(&self.path))));
        }
        match (bytes[0], &self.wrapping) {
            (WIPED, _) => Ok(None),
            (PLAIN, None) => {
                let mut key = Key::default();
                key.copy_from_slice(&bytes[8..40]);
                Ok(Some(key))
            }
            (WRAPPED, Some(wrapping)) => {
                let payload = Payload { msg: &bytes[8..56], aad: &slot.to_le_bytes() };
                let plain = ChaCha20Poly1305::new((&**wrapping).into()).decrypt(&slot_nonce(slot), payload);
                let plain = Zeroizing::new(plain.map_err(|_| damaged(&self.path, "the operator's key that was given is another one"))?);
                let mut key = Key::default();
                key.copy_from_slice(&plain);
                Ok(Some(key))
            }
            _ => Err(damaged(&self.path, &format!("slot {slot} is not what its header says; restore the file from a backup"))),
        }
    }

    pub(super) fn lacks(&self, slot: u32) -> StoreError {
        damaged(
            &self.path,
            &format!(
                "it lacks slot {slot}, which the journal names: it is older than the journal; restore a newer copy of it. If there is none, \
                 {}",
                lost(&self.path)
            ),
        )
    }

    /// Forgets keys for good, durably: what was sealed with them cannot be read any more, here or in any copy of the journal.
    pub(super) fn wipe(&self, slots: &[u32]) -> Result<(), StoreError> {
        if slots.is_empty() {
            return Ok(());
        }
        // First in the copy: as long as a key is left here, a start wipes it in both.
        let copy = lost_keys::copy_of(&self.path);
        match File::options().write(true).open(&copy) {
            Ok(file) => wipe_slots(&file, &copy, slots)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("opening", &copy, source)),
        }
        wipe_slots(&self.file, &self.path, slots)
    }

    /// `None`: the file is too short to have the slot.
    pub(super) fn is_wiped(&self, slot: u32) -> Result<Option<bool>, StoreError> {
        let mut bytes = Zeroizing::new([0; SLOT]);
        match self.file.read_exact_at(&mut *bytes, u64::from(slot) * SLOT as u64) {
            Ok(()) => Ok(Some(*bytes == wiped_slot(slot))),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(source) => Err(io_error("reading", &self.path, source)),
        }
    }

    /// Bytes of whole slots as they are, for a copy. A slot that is being wiped meanwhile is read again.
    pub(super) fn read_slots(&self, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; length];
        for attempt in 1.. {
            self.file.read_exact_at(&mut bytes, offset).map_err(|source| io_error("reading", &self.path, source))?;
            let slots = bytes.chunks_exact(SLOT).zip(offset / SLOT as u64..);
            let mut torn = slots.filter(|(slot, place)| *place > 0 && !is_free_or_whole(number(*place), slot));
            if attempt == READS || torn.next().is_none() {
                break;
            }
        }
        Ok(bytes)
    }

    /// Marks the members' slots up to `last` that are free or cannot be read as wiped, durably. Gives their number, and that of the slots
    /// that were wiped before.
    pub(super) fn wipe_lost(&self, last: u32) -> Result<(u64, u64), StoreError> {
        let end = (u64::from(last) + 1) * SLOT as u64;
        if self.slots()? * (SLOT as u64) < end {
            let slots = (u64::from(last) / GROWTH + 1) * GROWTH;
            self.file.set_len(slots * SLOT as u64).map_err(|source| io_error("growing", &self.path, source))?;
        }
        let (mut lost, mut wiped) = (0, 0);
        let mut offset = u64::from(FIRST_MEMBER_SLOT) * SLOT as u64;
        while offset < end {
            let length = (end - offset).min(1 << 20) as usize;
            let mut bytes = self.read_slots(offset, length)?;
            let before = lost;
            for (slot, place) in bytes.chunks_exact_mut(SLOT).zip(offset / SLOT as u64..) {
                if slot[0] == FREE || !is_free_or_whole(number(place), slot) {
                    slot.copy_from_slice(&wiped_slot(number(place)));
                    lost += 1;
                } else if slot[0] == WIPED {
                    wiped += 1;
                }
            }
            if lost > before {
                self.file.write_all_at(&bytes, offset).map_err(|source| io_error("writing", &self.path, source))?;
            }
            offset += length as u64;
        }
        self.file.sync_all().map_err(|source| io_error("syncing", &self.path, source))?;
        Ok((lost, wiped))
    }

    /// Whether any member's key was ever given out.
    pub(super) fn has_members(&self) -> Result<bool, StoreError> {
        Ok(self.first_free(self.slots()?)? > FIRST_MEMBER_SLOT)
    }

    fn slots(&self) -> Result<u64, StoreError> {
        let length = self.file.metadata().map_err(|source| io_error("measuring", &self.path, source))?.len();
        Ok(length / SLOT as u64)
    }

    /// Behind the last slot that anything was written to.
    fn first_free(&self, slots: u64) -> Result<u32, StoreError> {
        let mut end = slots;
        let mut chunk = vec![0; 1 << 20];
        while end > u64::from(FIRST_MEMBER_SLOT) {
            let start = end.saturating_sub((chunk.len() / SLOT) as u64);
            let bytes = &mut chunk[..(end - start) as usize * SLOT];
            self.file.read_exact_at(bytes, start * SLOT as u64).map_err(|source| io_error("reading", &self.path, source))?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                let used = start + (last / SLOT) as u64;
                return Ok(number(used + 1).max(FIRST_MEMBER_SLOT));
            }
            end = start;
        }
        Ok(FIRST_MEMBER_SLOT)
    }

    fn slot_bytes(&self, slot: u32, key: &Key) -> Zeroizing<[u8; SLOT]> {
        let mut bytes = Zeroizing::new([0; SLOT]);
        match &self.wrapping {
            None => {
                bytes[0] = PLAIN;
                bytes[8..40].copy_from_slice(&**key);
            }
            Some(wrapping) => {
                bytes[0] = WRAPPED;
                let payload = Payload { msg: &**key, aad: &slot.to_le_bytes() };
                let wrapped = ChaCha20Poly1305::new((&**wrapping).into()).encrypt(&slot_nonce(slot), payload);
                bytes[8..56].copy_from_slice(&wrapped.expect("a key is not too long to be encrypted"));
            }
        }
        let crc = slot_crc(slot, &bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

impl SlotWriter {
    /// A new key in the next slot. It counts once [`SlotWriter::write`] has returned.
    pub(super) fn add(&mut self, keys: &KeyFile) -> Result<(u32, Key), StoreError> {
        let slot = self.next;
        let key = random_key()?;
        self.buffer.extend_from_slice(&*keys.slot_bytes(slot, &key));
        self.next += 1;
        Ok((slot, key))
    }

    /// Makes the new slots durable. If there is no space for them they are given up, and the next keys take their place: no commit names
    /// them.
    pub(super) fn write(&mut self, keys: &KeyFile) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = Zeroizing::new(std::mem::take(&mut self.buffer));
        let error = |action| move |source| io_error(action, &keys.path, source);
        let write = |slots: &mut u64| {
            if u64::from(self.next) > *slots {
                let more = (u64::from(self.next) / GROWTH + 1) * GROWTH;
                fs4::FileExt::allocate(&keys.file, more * SLOT as u64).map_err(error("allocating"))?;
                *slots = more;
            }
            keys.file.write_all_at(&buffer, u64::from(self.first) * SLOT as u64).map_err(error("writing"))
        };
        if let Err(failed) = write(&mut self.slots) {
            self.next = self.first;
            return Err(refusable(failed));
        }
        keys.file.sync_data().map_err(error("syncing"))?;
        self.first = self.next;
        keys.next_slot.store(self.next, Ordering::Release);
        Ok(())
    }
}

/// A newer version wrote the file. Where the magic, the format and the checksum lie is the same in all formats.
pub(super) fn refuse_newer(path: &Path, header: &[u8; SLOT]) -> Result<(), StoreError> {
    match header[4] {
        format if has_checksum(header) && format > FORMAT => {
            Err(formats::newer(path, "the key file", u32::from(format), u32::from(FORMAT), true))
        }
        _ => Ok(()),
    }
}

fn has_checksum(slot: &[u8; SLOT]) -> bool {
    let crc = u32::from_le_bytes([slot[24], slot[25], slot[26], slot[27]]);
    &slot[..4] == MAGIC && crc == crc32c::crc32c(&slot[..24])
}

fn is_header(slot: &[u8; SLOT]) -> bool {
    slot[4] == FORMAT && has_checksum(slot)
}

/// Before a backup's run writes its copy of the key file: what is there must be that copy, or what a first run that was cut off left of
/// it. It could be the only copy of another store's keys.
pub(super) fn check_copy(path: &Path, store_id: &[u8; 16]) -> Result<(), StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("opening", path, source)),
    };
    let mut header = Vec::with_capacity(SLOT);
    (&file).take(SLOT as u64).read_to_end(&mut header).map_err(|source| io_error("reading", path, source))?;
    if header.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    match <&[u8; SLOT]>::try_from(header.as_slice()) {
        Ok(header) if is_header(header) && header[8..24] == *store_id => Ok(()),
        Ok(_) | Err(_) => Err(StoreError::Refused(format!(
            "{} is there and is not the key file of the store that this backup is of; it is left as it is: name the right file with \
             --keys-to, or move it away",
            path.display()
        ))),
    }
}

fn number(slot: u64) -> u32 {
    u32::try_from(slot).expect("a store has less than 2^32 members")
}

fn random_key() -> Result<Key, StoreError> {
    let mut key = Key::default();
    fill_random(&mut *key)?;
    Ok(key)
}

pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes)
        .map_err(|error| io_error("reading random numbers from", Path::new("the system"), std::io::Error::other(error.to_string())))
}

/// A key for this file alone, so that a slot's number is a nonce that is used once.
fn wrapping_key(operator_key: Option<&[u8; 32]>, store_id: &[u8; 16]) -> Option<Zeroizing<[u8; 32]>> {
    let operator_key = operator_key?;
    let mut hasher = blake3::Hasher::new_derive_key("loyaltyd key file, format 1: wrapping of slots");
    hasher.update(operator_key).update(store_id);
    Some(Zeroizing::new(*hasher.finalize().as_bytes()))
}

fn slot_nonce(slot: u32) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..4].copy_from_slice(&slot.to_le_bytes());
    nonce
}

fn wipe_slots(file: &File, path: &Path, slots: &[u32]) -> Result<(), StoreError> {
    for slot in slots {
        assert!(*slot >= FIRST_MEMBER_SLOT, "the slot is a member's");
        let written = file.write_all_at(&wiped_slot(*slot), u64::from(*slot) * SLOT as u64);
        written.map_err(|source| io_error("writing", path, source))?;
    }
    file.sync_data().map_err(|source| io_error("syncing", path, source))
}

fn wiped_slot(slot: u32) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[0] = WIPED;
    let crc = slot_crc(slot, &bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Of the slot's number, its kind and what it holds.
fn slot_crc(slot: u32, bytes: &[u8; SLOT]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&slot.to_le_bytes()), &bytes[..4]), &bytes[8..])
}

fn is_free_or_whole(number: u32, slot: &[u8]) -> bool {
    let slot: &[u8; SLOT] = slot.try_into().expect("a slot has the length of a slot");
    slot[0] == FREE || slot_crc(number, slot).to_le_bytes() == slot[4..8]
}

/// The way on when keys are lost, of a data folder's key file or a backup's.
pub(super) fn lost(keys: &Path) -> String {
    let folder = keys.parent().filter(|folder| folder.join(JOURNAL).exists() && !marker::is_there(folder));
    let (folder, which) = match folder {
        Some(folder) => (folder.display().to_string(), ""),
        None => ("FOLDER".to_owned(), " of a restored folder"),
    };
    format!(
        "`loyaltyd check --data {folder} --repair --accept-erased`{which} declares the members whose keys are lost as erased: their points \
         and entries stay"
    )
}

/// Only the service's own user reads keys.
pub(super) fn restrict(file: &File, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(|source| io_error("restricting", path, source))
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged(format!("{}: {what}", path.display()))
}
