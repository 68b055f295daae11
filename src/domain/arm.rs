//! Arms of a trial: a promotion that not all members have, so that what it does can be measured. Who is in which arm follows from the ids of the
//! promotion and the member alone: it is the same at every till, in every quote and after every restart, and whoever has the ids can reckon it.

use super::{ArmId, MemberId, Promotion, RuleId};

/// All members, in basis points.
pub const ALL_MEMBERS: u32 = 10_000;

/// One of the parts that members are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    pub id: ArmId,
    /// Of all members, in basis points: more than 0. It begins where that of the arm before ends.
    pub share: u32,
    /// Its members are given nothing, and their purchases say so.
    pub is_control: bool,
}

/// Where a member is in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// There is no trial: all have the promotion.
    Everywhere,
    In(&'a Arm),
    /// In none of the arms.
    Outside,
}

/// From 0 to 9,999: the first eight bytes of BLAKE3 over both ids as they are written, with a colon between them, as a number in big-endian order,
/// modulo 10,000.
pub fn bucket(promotion: &RuleId, member: MemberId) -> u32 {
    let hash = blake3::hash(format!("{promotion}:{member}").as_bytes());
    let number = hash.as_bytes().iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    u32::try_from(number % u64::from(ALL_MEMBERS)).unwrap_or(0)
}

impl Promotion {
    pub fn place(&self, member: MemberId) -> Place<'_> {
        if self.arms.is_empty() {
            return Place::Everywhere;
        }
        let (bucket, mut end) = (bucket(&self.id, member), 0u32);
        let mut own = self.arms.iter().filter(|arm| {
            end = end.saturating_add(arm.share);
            bucket < end
        });
        own.next().map_or(Place::Outside, Place::In)
    }
}
