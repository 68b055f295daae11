//! The tier of a member: which, since when, until when.

use jiff::{Timestamp, civil::Date};

use super::super::{AccruedLot, LifetimeTotals, TierId, VoucherKindId, fold::sooner};

pub const MAX_TIER_HISTORY: usize = 32;

/// Reviews by which a tier was lost that are remembered at most, the newest.
pub const MAX_LOST_TIERS: usize = 4;

/// Days on which what counts began anew that are remembered at most beside the newest: what is told late counts since the one before it.
pub const MAX_EARLIER_RESETS: usize = 8;

/// The tier held and those held before, the oldest first. Empty: the lowest tier since enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierStanding {
    /// Since when each tier was held; times never go back. At most [`MAX_TIER_HISTORY`]: then the oldest is let go, and the next
    /// counts as held in its place.
    pub history: Vec<TierSince>,
    /// The newest was set by hand.
    pub manual: bool,
    /// Until when it is held; `None`: without end.
    pub end: Option<StatusEnd>,
    /// What was set by hand last and is not left downwards; `None` too in what was set before such a floor was kept.
    pub floor: Option<TierFloor>,
    /// How the tier held now was reached; `None`: a review has kept it since, or it was come to in another way.
    pub reached: Option<Reached>,
    /// By the newest reviews.
    pub lost: Vec<LostTier>,
    /// Since when is counted what counts since the last review, if it does.
    pub reset_day: Option<Date>,
    /// Such days before it, the oldest first.
    pub earlier_resets: Vec<Date>,
    /// Of each tier the newest, at most one for each tier that the programme ever had.
    pub rewards: Vec<RewardGiven>,
    /// The newest version of the rule book that a review was made under; 0: none.
    pub reviewed_version: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierSince {
    pub tier: TierId,
    pub start_time: Timestamp,
}

/// When a status ends, and when it is reviewed: at the same time, or after some days of grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusEnd {
    pub end_time: Timestamp,
    pub review_time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierFloor {
    pub tier: TierId,
    /// `None`: without end.
    pub end_time: Option<Timestamp>,
}

/// The day that it counts as reached on, and what was held before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub day: Date,
    pub before: Option<Status>,
}

/// A tier and until when it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub tier: TierId,
    pub end: Option<StatusEnd>,
}

/// A tier that a review took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostTier {
    pub tier: TierId,
    pub end: StatusEnd,
}

/// That the reward for a tier was given; not again before `until`, `None`: never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardGiven {
    pub tier: TierId,
    pub until: Option<Date>,
}

/// What a review looked at: from a day inclusive to another exclusive; without days since enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReview {
    pub from: Option<Date>,
    pub to: Date,
    pub totals: LifetimeTotals,
    /// What counts begins anew with its last day.
    pub resets: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierChange {
    /// `None`: the programme had no tiers when the member last got one.
    pub from: Option<TierId>,
    pub to: TierId,
    pub cause: TierCause,
    /// Empty unless by hand.
    pub reason: String,
    /// Of the new status.
    pub end: Option<StatusEnd>,
    /// Of what is set by hand.
    pub floor: Option<TierFloor>,
    /// Of an upgrade: the day that it counts as reached on.
    pub reached_day: Option<Date>,
    pub review: Option<TierReview>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierCause {
    Upgrade,
    Manual,
    /// The status had come to its end; or, upwards, what was told late would have kept it.
    Review,
    /// What was bought has come back.
    Return,
    /// Another version of the rule book is in force.
    RuleBook,
}

/// A review that leaves the tier as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierKept {
    pub tier: TierId,
    pub end: Option<StatusEnd>,
    pub review: TierReview,
}

/// What a member gets who has risen to a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRewarded {
    pub tier: TierId,
    /// As [`RewardGiven::until`].
    pub until: Option<Date>,
    pub lot: Option<AccruedLot>,
    /// Of this kind one is issued by the entry that follows.
    pub voucher: Option<VoucherKindId>,
}

impl TierStanding {
    /// The tier held now; `None` is the lowest.
    pub fn current(&self) -> Option<&TierSince> {
        self.history.last()
    }

    /// The tier held at an instant; `None` is the lowest.
    pub fn at(&self, instant: Timestamp) -> Option<&TierId> {
        self.history.iter().rev().find(|held| held.start_time <= instant).map(|held| &held.tier)
    }

    /// What the member does not fall below at an instant.
    pub fn floor_at(&self, instant: Timestamp) -> Option<&TierId> {
        match &self.floor {
            Some(floor) => floor.end_time.is_none_or(|end| end > instant).then_some(&floor.tier),
            None => self.current().filter(|_| self.manual).map(|held| &held.tier),
        }
    }

    /// The floor alone holds the member where it is.
    pub fn is_on_floor(&self) -> bool {
        let held = self.current().map(|held| &held.tier);
        match &self.floor {
            Some(floor) => self.end.is_none() && held == Some(&floor.tier),
            None => self.manual,
        }
    }

    /// When the next review comes, if one does.
    pub fn next_review_time(&self) -> Option<Timestamp> {
        let floor = self.floor.as_ref().filter(|_| self.is_on_floor()).and_then(|floor| floor.end_time);
        sooner(self.end.map(|end| end.review_time), floor)
    }

    /// All ends that are or may be looked at: of what is held, of what was held before it, and of what reviews took away.
    pub(in crate::domain) fn ends(&self) -> impl Iterator<Item = StatusEnd> {
        let before = self.reached.as_ref().and_then(|reached| reached.before.as_ref()).and_then(|before| before.end);
        self.end.into_iter().chain(before).chain(self.lost.iter().map(|lost| lost.end))
    }

    /// It has nothing beside its history and whether it was set by hand.
    pub fn is_plain(&self) -> bool {
        let Self { history: _, manual: _, end, floor, reached, lost, reset_day, earlier_resets, rewards, reviewed_version } = self;
        let is_empty = end.is_none() && floor.is_none() && reached.is_none() && reset_day.is_none();
        is_empty && earlier_resets.is_empty() && lost.is_empty() && rewards.is_empty() && *reviewed_version == 0
    }

    /// The last day until another one on which what counts began anew.
    pub fn reset_until(&self, day: Date) -> Option<Date> {
        self.reset_day.into_iter().chain(self.earlier_resets.iter().rev().copied()).find(|reset| *reset <= day)
    }

    /// The first day after another one on which it did.
    pub fn reset_after(&self, day: Date) -> Option<Date> {
        self.earlier_resets.iter().copied().chain(self.reset_day).find(|reset| *reset > day)
    }

    fn status(&self) -> Option<Status> {
        self.current().map(|held| Status { tier: held.tier.clone(), end: self.end })
    }

    /// `version`: of the rule book that the change was decided by.
    pub(in crate::domain) fn change(&mut self, change: &TierChange, start_time: Timestamp, version: u32) {
        let before = self.status().filter(|_| !self.is_on_floor());
        // What was set by hand before is not what goes on when this ends, but what was held before that.
        let beneath = match self.is_on_floor() {
            true => self.reached.take().and_then(|reached| reached.before),
            false => before.clone(),
        };
        match change.cause {
            TierCause::Upgrade => self.reached = change.reached_day.map(|day| Reached { day, before }),
            TierCause::Manual => {
                self.floor.clone_from(&change.floor);
                // When it ends, what was held before may go on.
                self.reached = change.floor.as_ref().zip(change.reached_day).map(|(_, day)| Reached { day, before: beneath });
            }
            TierCause::Review => {
                self.reached = None;
                if let Some(review) = &change.review {
                    self.reviewed(review, version);
                }
                if let Some(before) = before.filter(|_| change.review.is_some()) {
                    self.lose(before);
                }
            }
            TierCause::Return => self.reached = None,
            TierCause::RuleBook => {
                self.reached = None;
                self.reviewed_version = self.reviewed_version.max(version);
            }
        }
        self.history.push(TierSince { tier: change.to.clone(), start_time });
        self.manual = change.cause == TierCause::Manual;
        self.end = change.end;
        self.drop_floor(start_time);
        if self.history.len() > MAX_TIER_HISTORY {
            let dropped = self.history.remove(0);
            // Otherwise the lowest would count as held in its place.
            if let Some(oldest) = self.history.first_mut() {
                oldest.start_time = dropped.start_time;
            }
        }
    }

    pub(in crate::domain) fn keep(&mut self, kept: &TierKept, time: Timestamp, version: u32) {
        self.end = kept.end;
        self.drop_floor(time);
        self.reached = None;
        self.reviewed(&kept.review, version);
    }

    fn reviewed(&mut self, review: &TierReview, version: u32) {
        self.reviewed_version = self.reviewed_version.max(version);
        if review.resets
            && let Some(earlier) = self.reset_day.replace(review.to)
            && earlier != review.to
        {
            self.earlier_resets.push(earlier);
            let surplus = self.earlier_resets.len().saturating_sub(MAX_EARLIER_RESETS);
            self.earlier_resets.drain(..surplus);
        }
    }

    /// One whose time is over.
    fn drop_floor(&mut self, now: Timestamp) {
        if self.floor.as_ref().is_some_and(|floor| floor.end_time.is_some_and(|end| end <= now)) {
            (self.floor, self.manual) = (None, false);
        }
    }

    fn lose(&mut self, before: Status) {
        if let Some(end) = before.end {
            self.lost.push(LostTier { tier: before.tier, end });
            let surplus = self.lost.len().saturating_sub(MAX_LOST_TIERS);
            self.lost.drain(..surplus);
        }
    }

    pub(in crate::domain) fn reward(&mut self, rewarded: &TierRewarded) {
        let given = RewardGiven { tier: rewarded.tier.clone(), until: rewarded.until };
        match self.rewards.iter_mut().find(|given| given.tier == rewarded.tier) {
            Some(old) => *old = given,
            None => self.rewards.push(given),
        }
    }
}
