//! Lots: points earned together that lapse together.

use jiff::Timestamp;

use super::{LotId, Month, Overflow, Points};

/// Points earned together. A live lot has points remaining; one that is used up or has lapsed is gone, its story stays in the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub id: LotId,
    pub issued: Points,
    pub remaining: Points,
    pub earn_time: Timestamp,
    pub expiry: LotExpiry,
    /// The entry that made it.
    pub entry_sequence: u64,
}

/// Lots that one command takes points from at most, all that it takes together; and that lapse in one entry, and in one commit of a
/// member. An entry has so many allocations at most, and with it every answer and every commit a bound.
pub const MAX_LOTS: usize = 10_000;

/// When points lapse, in the order in which they are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LotExpiry {
    /// Valid until this instant, exclusive.
    At(Timestamp),
    /// After so many calendar months without activity after the one in which they were earned: [`super::InactiveMonths`] says when.
    InactiveMonths(Month),
    /// With all others of the member's that do, when the member has not been active for some months: [`super::Inactivity`] says when.
    Inactivity,
    Never,
}

impl LotExpiry {
    /// That the member is active moves it.
    pub fn is_with_inactivity(self) -> bool {
        match self {
            LotExpiry::InactiveMonths(_) | LotExpiry::Inactivity => true,
            LotExpiry::At(_) | LotExpiry::Never => false,
        }
    }

    /// `None`: at none that is fixed.
    pub fn time(self) -> Option<Timestamp> {
        match self {
            LotExpiry::At(time) => Some(time),
            LotExpiry::InactiveMonths(_) | LotExpiry::Inactivity | LotExpiry::Never => None,
        }
    }
}

/// Orders the lots of a member by expiry: those with a date first, the soonest before the others, then those that lapse with inactivity, the
/// ones by months and the soonest first, then those that never do; of equal ones the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LotKey {
    expiry: LotExpiry,
    id: LotId,
}

impl LotKey {
    pub fn new(expiry: LotExpiry, id: LotId) -> Self {
        Self { expiry, id }
    }

    /// Stands right behind all lots whose date has come by now, and before all others.
    pub fn behind(now: Timestamp) -> Self {
        Self { expiry: LotExpiry::At(now), id: LotId(u64::MAX) }
    }

    pub fn expiry(&self) -> LotExpiry {
        self.expiry
    }

    /// `None`: it has no date.
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.expiry.time()
    }

    pub fn id(&self) -> LotId {
        self.id
    }
}

impl Lot {
    pub fn key(&self) -> LotKey {
        LotKey::new(self.expiry, self.id)
    }

    /// Its date has come. What lapses with inactivity has none; it is gone from the lots as soon as that is due.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.expiry.time().is_some_and(|expiry| expiry <= now)
    }
}

/// Points taken from a lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub lot: LotKey,
    pub points: Points,
    /// The entry that made the lot; 0 in entries of the first days, which do not say.
    pub entry_sequence: u64,
}

impl Allocation {
    pub fn of(lot: &Lot, points: Points) -> Self {
        Self { lot: lot.key(), points, entry_sequence: lot.entry_sequence }
    }
}

impl From<&Portion> for Allocation {
    fn from(portion: &Portion) -> Self {
        Self { lot: portion.lot, points: portion.points, entry_sequence: portion.entry_sequence }
    }
}

/// Points taken out of a lot in such a way that they can go back, with what the lot is: it may be gone by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    pub lot: LotKey,
    pub points: Points,
    /// Of the lot.
    pub issued: Points,
    pub earn_time: Timestamp,
    pub entry_sequence: u64,
}

impl Portion {
    pub fn of(lot: &Lot, points: Points) -> Self {
        Self { lot: lot.key(), points, issued: lot.issued, earn_time: lot.earn_time, entry_sequence: lot.entry_sequence }
    }

    /// The lot with these points alone.
    pub fn lot(&self) -> Lot {
        Lot {
            id: self.lot.id(),
            issued: self.issued,
            remaining: self.points,
            earn_time: self.earn_time,
            expiry: self.lot.expiry(),
            entry_sequence: self.entry_sequence,
        }
    }

    pub fn total(portions: &[Portion]) -> Result<Points, Overflow> {
        Points::total(portions.iter().map(|portion| portion.points))
    }
}

/// Splits portions, in their order: so many points of the first ones, and the rest.
pub(super) fn split(portions: &[Portion], points: Points) -> Result<(Vec<Portion>, Vec<Portion>), Overflow> {
    let (mut first, mut rest, mut left) = (Vec::new(), Vec::new(), points);
    for portion in portions {
        let taken = portion.points.min(left);
        left = left.minus(taken)?;
        if taken > Points::ZERO {
            first.push(Portion { points: taken, ..portion.clone() });
        }
        if taken < portion.points {
            rest.push(Portion { points: portion.points.minus(taken)?, ..portion.clone() });
        }
    }
    Ok((first, rest))
}

/// Points that are earned and cannot be spent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingLot {
    pub id: LotId,
    pub issued: Points,
    /// Less than issued after a return.
    pub remaining: Points,
    pub earn_time: Timestamp,
    /// `None`: when the purchase is confirmed.
    pub activate_time: Option<Timestamp>,
    /// As far as it is known before; [`LotExpiry::Never`] too where it is counted from the confirmation.
    pub expiry: LotExpiry,
    /// What counts for tiers when they become active.
    pub qualifying_points: Points,
    pub entry_sequence: u64,
}

/// Orders pending lots as they become active: the soonest first, those that wait for a confirmation last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingKey {
    activate_time: Timestamp,
    id: LotId,
}

impl PendingKey {
    pub fn new(activate_time: Option<Timestamp>, id: LotId) -> Self {
        Self { activate_time: activate_time.unwrap_or(Timestamp::MAX), id }
    }

    pub fn activate_time(&self) -> Option<Timestamp> {
        (self.activate_time != Timestamp::MAX).then_some(self.activate_time)
    }

    pub fn id(&self) -> LotId {
        self.id
    }
}

impl PendingLot {
    pub fn key(&self) -> PendingKey {
        PendingKey::new(self.activate_time, self.id)
    }

    pub fn is_active(&self, now: Timestamp) -> bool {
        self.activate_time.is_some_and(|time| time <= now)
    }
}
