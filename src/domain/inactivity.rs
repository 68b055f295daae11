//! Inactivity: points that lapse together when the member has not been active for some months.
//!
//! All such points of a member have one clock, in the header. An activity that counts sets it to the end of the day so many months later. It
//! never goes back: a sale that is reported late does not shorten it, and does not revive what has lapsed. The first such points that come
//! while it does not run start it too. While a tier is held that pauses it, it stands still, and begins anew from when that tier is
//! lost. Entries carry the instant, so that folding them needs no rules.

use jiff::{Timestamp, tz::TimeZone};

use super::{
    AccruedLot, ActivitySide, CountedActivities, EntryKind, Extension, InactivityPolicy, LotExpiry, LotKey, Overflow, Points, Portion,
    calendar,
};

/// In place of when they lapse: the clock stands still, since the member's tier pauses it. Whole seconds, as any part of them is kept.
pub const PAUSED: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// The clock, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inactivity {
    /// When all of them lapse, unless the member is active before, or [`PAUSED`]; it never goes back but from there. `None`: there were none
    /// yet, nor was the member active in a way that counts.
    pub lapse_time: Option<Timestamp>,
    /// Those that are available.
    pub points: Points,
    /// When the clock had last run out before it was set again.
    pub ran_out_time: Option<Timestamp>,
}

impl Inactivity {
    /// When such points lapse, if the clock runs or has run out.
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.lapse_time.filter(|time| *time != PAUSED)
    }

    /// When they lapse, if there are any.
    pub fn due_time(&self) -> Option<Timestamp> {
        self.expire_time().filter(|_| self.points > Points::ZERO)
    }

    /// It stands still.
    pub fn is_paused(&self) -> bool {
        self.lapse_time == Some(PAUSED)
    }

    /// Where an entry sets the clock to, of a member whose tier behind it pauses it or does not. `now` is when it is known that it did not run
    /// before.
    pub(super) fn moved_by(
        &self,
        kind: &EntryKind,
        (policy, pauses): (InactivityPolicy, bool),
        zone: &TimeZone,
        occurred_time: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Overflow> {
        let brings_points = || brings(kind, |expiry| expiry == LotExpiry::Inactivity);
        // Points lapse as they were earned: those of before months were counted, and those that are reported later, or given.
        if policy.extension == Extension::Month && self.lapse_time.is_none() && !brings_points() {
            return Ok(None);
        }
        match (self.is_paused(), pauses) {
            (true, true) => return Ok(None),
            (false, true) => return Ok(Some(PAUSED)),
            // What occurred while it stood still does not matter any more.
            (true, false) => return clock_from(now, policy, zone).map(Some),
            (false, false) => {}
        }
        let is_running = self.lapse_time.is_some_and(|time| time > now);
        if !counts(kind, policy.activities) && (is_running || !brings_points()) {
            return Ok(None);
        }
        let end = clock_from(occurred_time, policy, zone)?;
        Ok(self.lapse_time.is_none_or(|time| time < end).then_some(end))
    }

    /// Sets the clock to a later instant, lets it run again, or stand still, as an entry says that occurred at an instant and was recorded
    /// `now`. A tier that is entered late has kept it from running out meanwhile.
    pub(super) fn set(&mut self, lapse_time: Timestamp, occurred_time: Timestamp, now: Timestamp) {
        self.ran_out_time = self.ran_out_by(if lapse_time == PAUSED { occurred_time } else { now });
        self.lapse_time = self.expire_time().max(Some(lapse_time));
    }

    /// When it has run out last, by an instant.
    pub(super) fn ran_out_by(&self, instant: Timestamp) -> Option<Timestamp> {
        self.lapse_time.filter(|time| *time <= instant).max(self.ran_out_time)
    }

    /// Of two members who are one from now on: the later clock, unless the other one's has run out. It stands still where the tier pauses it
    /// that the two have together; where that of one did, and this one does not, it begins anew. What the other one had taken out of its lots
    /// before was under the other clock until now: see [`super::Merged::ran_out_times`].
    pub(super) fn joined(
        &self,
        other: &Self,
        points: Points,
        rules: Option<(InactivityPolicy, bool, &TimeZone)>,
        now: Timestamp,
    ) -> Result<Self, Overflow> {
        let ran = self.expire_time().max(other.expire_time().filter(|time| *time > now));
        let was_paused = self.is_paused() || other.is_paused();
        let lapse_time = match rules {
            // Neither has points that this clock is for.
            Some((policy, true, _)) if policy.extension == Extension::Month && ran.is_none() && !was_paused => None,
            Some((_, true, _)) => Some(PAUSED),
            Some((policy, false, zone)) if was_paused => ran.max(Some(clock_from(now, policy, zone)?)),
            Some((_, false, _)) | None => ran,
        };
        Ok(Self { lapse_time, points, ran_out_time: self.ran_out_by(now) })
    }

    /// Portions that were taken out of their lots at one instant and come back at a later one. Those that have lapsed meanwhile come back
    /// with the instant at which they did, as points with a date would.
    pub(super) fn coming_back(&self, portions: &[Portion], taken: Timestamp, back: Timestamp) -> Vec<Portion> {
        let lapse = self.ran_out_by(back).filter(|time| *time > taken);
        let settled = |portion: &Portion| match (portion.lot.expiry(), lapse) {
            (LotExpiry::Inactivity, Some(time)) => Portion { lot: LotKey::new(LotExpiry::At(time), portion.lot.id()), ..portion.clone() },
            (LotExpiry::At(_) | LotExpiry::InactiveMonths(_) | LotExpiry::Inactivity | LotExpiry::Never, _) => portion.clone(),
        };
        portions.iter().map(settled).collect()
    }
}

/// When points lapse of a member who is active at an instant, and not again.
fn clock_from(active: Timestamp, policy: InactivityPolicy, zone: &TimeZone) -> Result<Timestamp, Overflow> {
    let last_day = calendar::add_months(calendar::local_date(zone, active), policy.months)?;
    calendar::start_of_day(zone, calendar::add_days(last_day, 1)?)
}

/// Whether an entry is an activity that counts. One that gives the member something back, or takes it, is not the member's.
pub(super) fn counts(kind: &EntryKind, activities: CountedActivities) -> bool {
    match kind {
        EntryKind::PurchaseAccrued(_) => activities.purchase,
        EntryKind::PointsRedeemed(_) => activities.redemption,
        // What a goal takes nobody has asked for, and a reward that costs nothing redeems nothing.
        EntryKind::VoucherChanged(changed) => activities.redemption && changed.reward_paid().is_some_and(|paid| paid.points > Points::ZERO),
        EntryKind::PointsAdjusted(_) => activities.adjustment,
        EntryKind::PointsTransferredOut(_) => activities.transfer,
        EntryKind::ActivityAccrued(accrued) => {
            activities.activity && accrued.referral.is_none() && matches!(accrued.side, ActivitySide::Member { .. })
        }
        EntryKind::ReferralMade(_) => activities.activity,
        EntryKind::MemberEnrolled { .. }
        | EntryKind::ProfileUpdated { .. }
        | EntryKind::IdentifierAdded { .. }
        | EntryKind::IdentifierRemoved { .. }
        | EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::MemberErased { .. }
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_)
        | EntryKind::TierKept(_)
        | EntryKind::TierRewarded(_)
        | EntryKind::RedemptionReversed(_)
        | EntryKind::PointsHeld(_)
        | EntryKind::HoldReleased(_)
        | EntryKind::PointsActivated(_)
        | EntryKind::PurchaseReturned(_)
        | EntryKind::PointsTransferredIn(_)
        | EntryKind::MergedInto(_)
        | EntryKind::MergedFrom(_)
        | EntryKind::OfferChanged(_)
        | EntryKind::SegmentsChanged(_)
        | EntryKind::ReferralTakenBack(_)
        | EntryKind::GoalChanged(_)
        | EntryKind::BirthdayChanged(_) => false,
    }
}

/// Whether an entry brings new points that lapse in such a way and can be spent.
pub(super) fn brings(kind: &EntryKind, in_that_way: impl Fn(LotExpiry) -> bool) -> bool {
    let lapses = |lot: &AccruedLot| in_that_way(lot.expiry) && lot.available() > Points::ZERO;
    match kind {
        EntryKind::PurchaseAccrued(accrued) => accrued.accrual.lots.iter().any(lapses),
        EntryKind::PointsAdjusted(adjusted) => adjusted.lot.iter().any(lapses),
        EntryKind::PointsActivated(activated) => activated.lots.iter().any(|active| lapses(&active.lot)),
        EntryKind::ActivityAccrued(accrued) => accrued.lots.iter().any(lapses),
        EntryKind::PointsTransferredIn(got) => got.lots.iter().any(|(lot, _)| lapses(lot)),
        EntryKind::RedemptionReversed(reversed) => reversed.lot.iter().any(lapses),
        EntryKind::TierRewarded(rewarded) => rewarded.lot.iter().any(lapses),
        EntryKind::BirthdayChanged(changed) => changed.lot().into_iter().any(lapses),
        EntryKind::MemberEnrolled { .. }
        | EntryKind::ProfileUpdated { .. }
        | EntryKind::IdentifierAdded { .. }
        | EntryKind::IdentifierRemoved { .. }
        | EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::MemberErased { .. }
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_)
        | EntryKind::TierKept(_)
        | EntryKind::PointsRedeemed(_)
        | EntryKind::PointsHeld(_)
        | EntryKind::HoldReleased(_)
        | EntryKind::PurchaseReturned(_)
        | EntryKind::PointsTransferredOut(_)
        | EntryKind::MergedInto(_)
        | EntryKind::MergedFrom(_)
        | EntryKind::OfferChanged(_)
        | EntryKind::SegmentsChanged(_)
        | EntryKind::ReferralMade(_)
        | EntryKind::ReferralTakenBack(_)
        | EntryKind::GoalChanged(_)
        | EntryKind::VoucherChanged(_) => false,
    }
}
