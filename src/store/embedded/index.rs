//! What rows are found by: hashes under a key of the store's.

use super::{encode, keys::Key};
use crate::domain::{
    ActivityId, ActorId, Fingerprint, Identifier, OrderKey, ProgramId, RequestId, RewardId, SegmentId, TallyKey, VoucherCode,
    VoucherCodeKey,
};

/// Hashes what rows are found by. Keyed, so that nobody can choose values that collide, or try phone numbers against a stolen disk.
pub(super) struct Index(pub(super) Key);

impl Index {
    pub(super) fn identifier(&self, program: &ProgramId, identifier: &Identifier) -> [u8; 32] {
        self.hash(&[b"i", program.as_str().as_bytes(), &[0, encode::identifier_kind(identifier.kind)], identifier.value().as_bytes()])
    }

    pub(super) fn request(&self, request: &RequestId) -> [u8; 32] {
        self.hash(&[b"r", request.as_str().as_bytes()])
    }

    pub(super) fn order(&self, order: &OrderKey) -> [u8; 32] {
        // Ids have no control characters, so the parts cannot run into each other.
        self.hash(&[b"o", order.store.as_str().as_bytes(), &[0], order.order.as_str().as_bytes()])
    }

    /// Of a member's activity, by its reference; without one, of the activity by which the member was referred.
    pub(super) fn activity(&self, activity: &ActivityId, reference: Option<&str>) -> [u8; 32] {
        // A reference is not empty.
        self.hash(&[b"x", activity.as_str().as_bytes(), &[0], reference.unwrap_or_default().as_bytes()])
    }

    pub(super) fn operator(&self, actor: &ActorId) -> [u8; 32] {
        self.hash(&[b"y", actor.as_str().as_bytes()])
    }

    pub(super) fn reward(&self, reward: &RewardId) -> [u8; 32] {
        self.hash(&[b"s", reward.as_str().as_bytes()])
    }

    /// What a promotion has given, in all or on a day.
    pub(super) fn promotion(&self, (promotion, day): &TallyKey) -> [u8; 32] {
        let day = day.map_or(0, encode::date_number);
        self.hash(&[b"j", promotion.as_str().as_bytes(), &[0], &day.to_be_bytes()])
    }

    pub(super) fn segment(&self, segment: &SegmentId) -> [u8; 32] {
        self.hash(&[b"q", segment.as_str().as_bytes()])
    }

    pub(super) fn voucher(&self, code: &VoucherCode) -> [u8; 32] {
        self.hash(&[b"c", code.as_bytes()])
    }

    /// What codes of vouchers are made with.
    pub(super) fn voucher_code_key(&self) -> VoucherCodeKey {
        VoucherCodeKey::new(self.hash(&[b"k"]))
    }

    pub(super) fn fingerprint(&self, fingerprint: Fingerprint) -> Fingerprint {
        let hash = self.hash(&[b"f", &fingerprint.0]);
        Fingerprint(*hash.first_chunk().expect("a hash is longer"))
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}
