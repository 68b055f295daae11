//! Taking points out of lots, in the programme's order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{ConsumptionOrder, Lot, LotKey, MAX_LOTS, Member, Overflow, Points, Portion, Program, Rejection};

/// The lots of a member as a debit sees them. As many as it needs are loaded, and the next one.
pub(super) struct Taking<'a> {
    pub member: &'a Member,
    lots: Vec<&'a Lot>,
    room: usize,
    now: Timestamp,
}

/// What is taken.
pub(super) struct Taken {
    pub portions: Vec<Portion>,
    /// When the first lot with a date that is left lapses.
    pub next_expiry_time: Option<Timestamp>,
}

/// The loaded lots that have not lapsed, in the order in which points are taken from them.
pub(super) fn in_order<'a>(program: &Program, lots: &'a BTreeMap<LotKey, Lot>, now: Timestamp) -> Vec<&'a Lot> {
    let mut lots: Vec<&Lot> = lots.values().filter(|lot| !lot.has_lapsed(now)).collect();
    match program.consumption_order {
        ConsumptionOrder::SoonestExpiry => {}
        ConsumptionOrder::OldestFirst => lots.sort_by_key(|lot| (lot.earn_time, lot.id)),
    }
    lots
}

impl<'a> Taking<'a> {
    /// `program`: for a command the newest, whenever what takes the points occurred: what is loaded is what that one takes. For what was due by
    /// time alone the one that was in effect then. `room`: how many of the [`MAX_LOTS`] the command has not taken from yet.
    pub fn of(program: &Program, member: &'a Member, room: usize, now: Timestamp) -> Self {
        Self { member, lots: in_order(program, &member.lots, now), room, now }
    }

    /// What is available but for points that have lapsed and came back with this very command: they lapse with it. They are loaded.
    pub fn spendable(&self) -> Result<Points, Overflow> {
        let lapsed = self.member.lots.values().filter(|lot| lot.has_lapsed(self.now));
        self.member.header.balance.available.minus(Points::total(lapsed.map(|lot| lot.remaining))?)
    }

    /// What is in the lots that may be taken from. Where fewer points were asked for than there are, it may tell of those alone.
    pub fn within_reach(&self) -> Result<Points, Overflow> {
        Points::total(self.lots.iter().take(self.room).map(|lot| lot.remaining))
    }

    /// Without the lots from this one on.
    pub fn before(mut self, first: Option<LotKey>) -> Self {
        self.lots.retain(|lot| first.is_none_or(|first| lot.key() < first));
        self
    }

    /// Takes points several times, each as [`Self::take`] does after the ones before; as often as what is within reach is enough.
    pub fn take_each(&self, wanted: Points, times: u32) -> Result<Vec<Taken>, Overflow> {
        let mut within_reach = self.within_reach()?.min(self.spendable()?);
        let mut lots = self.lots.iter().take(self.room).map(|lot| (*lot, lot.remaining));
        let mut behind = self.member.lots.iter().filter(|(_, lot)| !lot.has_lapsed(self.now)).map(|(key, _)| *key).peekable();
        let (mut current, mut emptied, mut taken) = (lots.next(), BTreeSet::new(), Vec::new());
        for _ in 0..times {
            if within_reach < wanted {
                break;
            }
            within_reach = within_reach.minus(wanted)?;
            let (mut left, mut portions) = (wanted, Vec::new());
            while let Some((lot, remaining)) = &mut current
                && !left.is_zero()
            {
                let points = (*remaining).min(left);
                (left, *remaining) = (left.minus(points)?, remaining.minus(points)?);
                portions.push(Portion::of(lot, points));
                if remaining.is_zero() {
                    emptied.insert(lot.key());
                    current = lots.next();
                }
            }
            assert!(left.is_zero(), "what is within reach is in the lots");
            while behind.next_if(|key| emptied.contains(key)).is_some() {}
            taken.push(Taken { portions, next_expiry_time: behind.peek().and_then(LotKey::expire_time) });
        }
        Ok(taken)
    }

    /// Takes points, never below zero.
    pub fn take(&self, wanted: Points) -> Result<Taken, Rejection> {
        let available = self.spendable()?;
        if wanted > available {
            return Err(Rejection::InsufficientPoints { available, requested: wanted });
        }
        let (mut left, mut portions, mut emptied) = (wanted, Vec::new(), BTreeSet::new());
        for lot in &self.lots {
            if left.is_zero() {
                break;
            }
            if portions.len() == self.room {
                return Err(too_many(wanted.minus(left)?, wanted));
            }
            let points = lot.remaining.min(left);
            left = left.minus(points)?;
            portions.push(Portion::of(lot, points));
            if points == lot.remaining {
                emptied.insert(lot.key());
            }
        }
        assert!(left.is_zero(), "the live lots sum to the available points");
        let next = self.member.lots.iter().find(|(key, lot)| !lot.has_lapsed(self.now) && !emptied.contains(key));
        Ok(Taken { portions, next_expiry_time: next.and_then(|(key, _)| key.expire_time()) })
    }
}

/// What can be taken at a time by a command that takes nothing else.
pub fn points_within_reach(program: &Program, member: &Member, now: Timestamp) -> Result<Points, Overflow> {
    Taking::of(program, member, MAX_LOTS, now).within_reach()
}

/// So many points can be taken at a time, which is fewer than were asked for.
pub(super) fn too_many(most: Points, requested: Points) -> Rejection {
    Rejection::TooManyLots { limit: MAX_LOTS, most, requested }
}
