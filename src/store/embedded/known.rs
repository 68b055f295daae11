//! Reading the journal's messages strictly: a field that this version does not know was written by a newer one, and is refused, not passed
//! over. The formats of segments and records (`formats.rs`) say so first; this holds also if one of them was forgotten.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::DescriptorPool;

use super::{
    decode::{Decoded, Malformed, Unreadable},
    stored,
};
use crate::contract::known_fields::{Fault, KnownFields};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let storage: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/storage.bin"));
    DescriptorPool::decode(storage).expect("the build wrote the descriptors")
});

static COMMIT: LazyLock<KnownFields> = LazyLock::new(|| of("Commit"));
static ENTRY: LazyLock<KnownFields> = LazyLock::new(|| of("Entry"));
static PUBLICATION: LazyLock<KnownFields> = LazyLock::new(|| of("Publication"));
pub(super) static PERSON: LazyLock<KnownFields> = LazyLock::new(|| of("Person"));
pub(super) static PROFILE: LazyLock<KnownFields> = LazyLock::new(|| of("Profile"));
pub(super) static IDENTIFIER: LazyLock<KnownFields> = LazyLock::new(|| of("Identifier"));
pub(super) static SEALED_BIRTHDAY: LazyLock<KnownFields> = LazyLock::new(|| of("SealedBirthday"));

fn of(message: &str) -> KnownFields {
    let message = POOL.get_message_by_name(&format!("loyalty.storage.v1.{message}"));
    KnownFields::of(&message.expect("the storage format has the message"))
}

/// The payload of a record.
pub(super) fn check_commit(bytes: &[u8]) -> Result<(), Unreadable> {
    check(&COMMIT, bytes, "a commit")
}

pub(super) fn commit(bytes: &[u8]) -> Result<stored::Commit, Unreadable> {
    read(&COMMIT, bytes, "a commit")
}

pub(super) fn entry(bytes: &[u8]) -> Result<stored::Entry, Unreadable> {
    read(&ENTRY, bytes, "an entry")
}

pub(super) fn publication(bytes: &[u8]) -> Result<stored::Publication, Unreadable> {
    read(&PUBLICATION, bytes, "a publication")
}

/// What was sealed, opened.
pub(super) fn sealed<M: Message + Default>(known: &KnownFields, bytes: &[u8]) -> Decoded<M> {
    known.check(bytes).map_err(|fault| match fault {
        Fault::Malformed => Malformed("a message"),
        Fault::Unknown(_) => Malformed("what is sealed, since it has a field that this version does not know,"),
    })?;
    M::decode(bytes).map_err(|_| Malformed("a message"))
}

fn read<M: Message + Default>(known: &KnownFields, bytes: &[u8], what: &'static str) -> Result<M, Unreadable> {
    check(known, bytes, what)?;
    Ok(M::decode(bytes).map_err(|_| Malformed(what))?)
}

fn check(known: &KnownFields, bytes: &[u8], what: &'static str) -> Result<(), Unreadable> {
    known.check(bytes).map_err(|fault| match fault {
        Fault::Malformed => Malformed(what).into(),
        Fault::Unknown(field) => Unreadable::Newer(field),
    })
}
