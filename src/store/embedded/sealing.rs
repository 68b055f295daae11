//! Sealing: what is personal is encrypted under the member's own key, wherever it is stored.

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use super::{
    birthdays,
    decode::{Malformed, Unreadable, Unseal},
    encode,
    keys::{Key, KeyFile, fill_random},
    wire::Writer,
};
use crate::{
    domain::{Entry, EntryKind, MemberKey, Person, Sealed},
    store::StoreError,
};

const SLOT: usize = 4;
const NONCE: usize = 24;
/// In place of an entry's number: the member's row in the tables.
pub(super) const ROW: u64 = u64::MAX;

/// What is personal in an entry, as bytes; `None`: nothing is, or it is erased.
pub(super) fn personal(entry: &Entry) -> Option<Zeroizing<Vec<u8>>> {
    let mut w = Writer::default();
    match &entry.kind {
        EntryKind::MemberEnrolled { person } => encode::person(&mut w, person.open()?),
        EntryKind::MergedFrom(got) => encode::person(&mut w, got.person.open()?),
        EntryKind::ProfileUpdated { profile } => encode::profile(&mut w, profile.open()?),
        EntryKind::BirthdayChanged(changed) => birthdays::sealed_plan(&mut w, changed.plan.open()?.as_ref()),
        EntryKind::IdentifierAdded { identifier } | EntryKind::IdentifierRemoved { identifier } => {
            encode::identifier(&mut w, identifier.open()?);
        }
        EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::MemberErased { .. }
        | EntryKind::PurchaseAccrued(_)
        | EntryKind::PointsAdjusted(_)
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_)
        | EntryKind::TierKept(_)
        | EntryKind::TierRewarded(_)
        | EntryKind::PointsRedeemed(_)
        | EntryKind::RedemptionReversed(_)
        | EntryKind::PointsHeld(_)
        | EntryKind::HoldReleased(_)
        | EntryKind::PointsActivated(_)
        | EntryKind::PurchaseReturned(_)
        | EntryKind::PointsTransferredOut(_)
        | EntryKind::PointsTransferredIn(_)
        | EntryKind::ActivityAccrued(_)
        | EntryKind::VoucherChanged(_)
        | EntryKind::OfferChanged(_)
        | EntryKind::SegmentsChanged(_)
        | EntryKind::ReferralMade(_)
        | EntryKind::ReferralTakenBack(_)
        | EntryKind::GoalChanged(_)
        | EntryKind::MergedInto(_) => return None,
    }
    Some(Zeroizing::new(w.bytes))
}

pub(super) fn seal(slot: u32, cipher_key: &Key, key: &MemberKey, sequence: u64, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut sealed = vec![0; SLOT + NONCE];
    sealed[..SLOT].copy_from_slice(&slot.to_le_bytes());
    fill_random(&mut sealed[SLOT..])?;
    let nonce = XNonce::from_slice(&sealed[SLOT..]);
    let payload = Payload { msg: plain, aad: &associated_data(key, sequence) };
    let encrypted =
        XChaCha20Poly1305::new((&**cipher_key).into()).encrypt(nonce, payload).expect("a commit is not too long to be encrypted");
    sealed.extend_from_slice(&encrypted);
    Ok(sealed)
}

/// The person's row: the slot stays when the person is gone, so that it is known to be erased.
pub(super) fn seal_person(keys: &KeyFile, slot: u32, key: &MemberKey, person: &Sealed<Person>) -> Result<Vec<u8>, StoreError> {
    let (Sealed::Open(person), Some(cipher_key)) = (person, keys.key(slot)?) else { return Ok(slot.to_le_bytes().to_vec()) };
    let mut w = Writer::default();
    encode::person(&mut w, person);
    seal(slot, &cipher_key, key, ROW, &Zeroizing::new(w.bytes))
}

/// Which slot's key something was sealed with.
pub(super) fn slot_of(sealed: &[u8]) -> Result<u32, Malformed> {
    let slot = sealed.get(..SLOT).and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed("sealed"))?;
    Ok(u32::from_le_bytes(slot))
}

/// The slots that an erasure names.
pub(super) fn slots_of(sealed: &[u8]) -> Result<Vec<u32>, Malformed> {
    if sealed.is_empty() {
        return Err(Malformed("an erasure that names no key"));
    }
    sealed.chunks(SLOT).map(slot_of).collect()
}

impl Unseal for KeyFile {
    fn unseal(&self, key: &MemberKey, sequence: u64, sealed: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        if sealed.len() <= SLOT {
            return Ok(None);
        }
        let Some(cipher_key) = self.key(slot_of(sealed)?)? else { return Ok(None) };
        let nonce = sealed.get(SLOT..SLOT + NONCE).ok_or(Malformed("sealed"))?;
        let payload = Payload { msg: &sealed[SLOT + NONCE..], aad: &associated_data(key, sequence) };
        let plain = XChaCha20Poly1305::new((&*cipher_key).into()).decrypt(XNonce::from_slice(nonce), payload);
        plain.map(Some).map_err(|_| Malformed("what is sealed under the member's key").into())
    }
}

/// Ties what is sealed to its place.
fn associated_data(key: &MemberKey, sequence: u64) -> Vec<u8> {
    let mut data = key.program.as_str().as_bytes().to_vec();
    data.extend_from_slice(&key.member.0);
    data.extend_from_slice(&sequence.to_le_bytes());
    data
}
