//! Lots: points earned together that lapse together.

use jiff::Timestamp;

use super::{LotId, Points};

/// Points earned together. A live lot has points remaining; one that is used up or has lapsed is gone, its story stays in the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub id: LotId,
    pub issued: Points,
    pub remaining: Points,
    pub earn_time: Timestamp,
    /// Valid until this instant, exclusive. `None`: for ever.
    pub expire_time: Option<Timestamp>,
    /// The entry that made it.
    pub entry_sequence: u64,
}

/// Orders the lots of a member as they are used up: soonest expiry first, undated last, then oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LotKey {
    expire_time: Timestamp,
    id: LotId,
}

impl LotKey {
    pub fn new(expire_time: Option<Timestamp>, id: LotId) -> Self {
        // No lot expires at the last instant of the calendar: expiry is bounded to years that people use.
        Self { expire_time: expire_time.unwrap_or(Timestamp::MAX), id }
    }

    /// Stands right behind all lots that have lapsed by now, and before all others.
    pub fn behind(now: Timestamp) -> Self {
        Self { expire_time: now, id: LotId(u64::MAX) }
    }

    pub fn expire_time(&self) -> Option<Timestamp> {
        (self.expire_time != Timestamp::MAX).then_some(self.expire_time)
    }

    pub fn id(&self) -> LotId {
        self.id
    }
}

impl Lot {
    pub fn key(&self) -> LotKey {
        LotKey::new(self.expire_time, self.id)
    }

    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|expiry| expiry <= now)
    }
}

/// Points taken from a lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub lot: LotKey,
    pub points: Points,
}
