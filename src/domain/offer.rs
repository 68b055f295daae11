//! Offers: a promotion or a voucher for some members alone, who see it, may have to activate it, and use it so often. An offer is for tiers,
//! segments or new members, or it is personal: then it is for those to whom it was given by hand.
//!
//! Whoever has activated an offer, or was given it, has it until the instant that the entry says, whatever becomes of the member, and while the
//! offer itself runs: by the version of the rule book that a sale is judged by, so that a campaign can be prolonged, or ended sooner, for those
//! too who have it. Nothing is entered when that instant has come. What an offer's promotion gave is counted as promotions are, and goes with
//! returns; what vouchers it gave is counted here, in each period, as rewards are.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date};

use super::{
    Header, MAX_VOUCHERS, MemberState, OfferId, OfferRejection, Overflow, PeriodStart, Program, Rejection, RewardTally, RuleId, SegmentId,
    TierId, TimesLimit, VoucherKindId, VoucherRejection, VoucherValidity, calendar,
};

/// Of one rule book.
pub const MAX_OFFERS: usize = 100;

/// Offers that the version in effect does not have, of which it is kept what a member had: the last ones.
pub const MAX_PAST_OFFERS: usize = 100;

/// For how many times a member was given an offer, and for how many it was activated, it is kept when they were: for sales that are told late.
pub const MAX_OFFER_TIMES: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub id: OfferId,
    pub display_name: String,
    /// Empty: none.
    pub description: String,
    /// From then on it can be had.
    pub start_time: Option<Timestamp>,
    /// Until then, exclusive.
    pub end_time: Option<Timestamp>,
    pub audience: OfferAudience,
    /// Its promotion works for who has asked for it.
    pub requires_activation: bool,
    /// How often a member uses it in a period. Of an offer with a promotion it is that one's own limit too.
    pub limit: Option<TimesLimit>,
    /// Through which day who has activated it, or was given it where it needs no activation, can use it.
    pub valid_days: Option<u32>,
    pub gift: OfferGift,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferAudience {
    /// Those to whom it was given.
    Personal,
    Members {
        /// Those whose members may have it; empty: all.
        tiers: BTreeSet<TierId>,
        /// Who is in one of them may have it; empty: all.
        segments: BTreeSet<SegmentId>,
        /// Only so many local days from enrolment, that day included.
        new_days: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferGift {
    /// One of the same rule book, which works for who has the offer alone.
    Promotion(RuleId),
    /// Issued to who asks for it.
    Voucher {
        kind: VoucherKindId,
        /// If not as those of its kind.
        validity: Option<VoucherValidity>,
    },
}

/// For how long a member has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferTime {
    pub from: Timestamp,
    /// Exclusive; `None`: without end.
    pub until: Option<Timestamp>,
}

/// What a member has of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferHeld {
    /// Of the last change.
    pub time: Timestamp,
    /// When it was the member's because it was given by hand; in the order in which that began. The offer's own times do not count in it. Bounded
    /// by [`MAX_OFFER_TIMES`], and of those that are over for longer than a sale may be late only the last is kept.
    pub assigned: Vec<OfferTime>,
    /// The same, because it was activated.
    pub activated: Vec<OfferTime>,
    /// The vouchers that it gave.
    pub vouchers: Option<RewardTally>,
}

/// What becomes of a member's offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferChanged {
    pub offer: OfferId,
    pub change: OfferChange,
    /// As it stands after it.
    pub held: OfferHeld,
    /// What the member had of these is not kept any more: see [`MAX_PAST_OFFERS`].
    pub dropped: Vec<OfferId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferChange {
    Assigned {
        reason: String,
    },
    /// Of an offer with a voucher: the entry right behind it issues that.
    Activated,
    Withdrawn {
        reason: String,
    },
}

/// How a member has an offer at an instant: the same for a sale, for a list, and for an activation.
struct Had {
    /// It was activated.
    active: Option<OfferTime>,
    /// It was given by hand.
    given: Option<OfferTime>,
    /// Empty: the member has it, activated or to be activated.
    why_not: Vec<OfferRejection>,
}

/// How an offer stands for a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferStanding {
    pub state: OfferState,
    /// Until when it can be used, or activated; exclusive. `None`: without end.
    pub until: Option<Timestamp>,
    /// In the period of its limit; without one, what vouchers it gave ever.
    pub uses: u32,
    /// `None`: without bound.
    pub uses_left: Option<u32>,
    /// All that stands against its use or, where it has to be activated, against that; in order of precedence.
    pub why_not: Vec<OfferObstacle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferState {
    /// Its promotion works without more ado, or its voucher can be asked for.
    Available,
    NeedsActivation,
    /// It was activated.
    Active,
    /// As often as it may be in the period.
    UsedUp,
    /// It was activated, and that is over; in this period it cannot be again.
    Ended,
    /// Not for this member, or not now.
    Unavailable,
}

/// What stands against an offer, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferObstacle {
    MemberMerged,
    MemberErased,
    MemberSuspended,
    Refused(OfferRejection),
    TooManyVouchers,
}

impl From<OfferObstacle> for Rejection {
    fn from(obstacle: OfferObstacle) -> Self {
        match obstacle {
            // Whoever names one that was merged means the one that stays.
            OfferObstacle::MemberMerged => Self::MemberNotFound,
            OfferObstacle::MemberErased => Self::MemberErased,
            OfferObstacle::MemberSuspended => Self::MemberSuspended,
            OfferObstacle::Refused(rejection) => Self::Offer(rejection),
            OfferObstacle::TooManyVouchers => VoucherRejection::TooMany { limit: MAX_VOUCHERS }.into(),
        }
    }
}

impl OfferTime {
    /// Should the clock have been set back since, what began later than now has begun.
    fn holds(self, instant: Timestamp, now: Timestamp) -> bool {
        self.from.min(now) <= instant && !self.is_over(instant) && !self.is_empty()
    }

    /// It was over at the instant at which it began.
    fn is_empty(self) -> bool {
        self.until == Some(self.from)
    }

    fn is_over(self, instant: Timestamp) -> bool {
        self.until.is_some_and(|until| instant >= until)
    }

    /// The later end is the greater; no end is the greatest.
    fn end_key(self) -> (bool, Option<Timestamp>, Timestamp) {
        (self.until.is_none(), self.until, self.from)
    }
}

/// Of those that hold at an instant the one that ends last.
fn longest(times: &[OfferTime], instant: Timestamp, now: Timestamp) -> Option<OfferTime> {
    times.iter().copied().filter(|time| time.holds(instant, now)).max_by_key(|time| time.end_key())
}

/// None of them goes on. One that began at this very instant is empty.
fn end_all(times: &mut Vec<OfferTime>, now: Timestamp) {
    for time in times.iter_mut() {
        time.until = Some(time.until.map_or(now, |until| until.min(now)));
    }
    times.retain(|time| time.until.is_none_or(|until| time.from <= until));
}

/// Of those before the last one the few that end last, as far as a sale may still come that occurred in them.
fn keep_latest(times: &mut Vec<OfferTime>, oldest: Timestamp) {
    times.sort_unstable_by_key(|time| (time.from, time.end_key()));
    times.dedup();
    let Some(last) = times.pop() else { return };
    times.retain(|time| !time.is_over(oldest) && !time.is_empty());
    times.sort_unstable_by_key(|time| time.end_key());
    times.drain(..times.len().saturating_sub(MAX_OFFER_TIMES - 1));
    times.sort_unstable_by_key(|time| (time.from, time.end_key()));
    times.push(last);
}

impl OfferHeld {
    fn is_empty(&self) -> bool {
        self.assigned.is_empty() && self.activated.is_empty() && self.vouchers.is_none()
    }

    /// As it is activated. `oldest`: no sale that may still come occurred before.
    pub(super) fn activate(&mut self, time: OfferTime, oldest: Timestamp) {
        self.activated.push(time);
        keep_latest(&mut self.activated, oldest);
    }

    /// As it is given anew: it can be activated again, too.
    pub(super) fn assign(&mut self, time: OfferTime, oldest: Timestamp) {
        self.withdraw(time.from, oldest);
        // That it was activated at this very instant was before.
        self.activated.retain(|time| !time.is_empty());
        self.assigned.push(time);
        keep_latest(&mut self.assigned, oldest);
    }

    /// What was had until now stays so, for sales of then. That it was given at this very instant matters to nobody; who has activated it has done so.
    pub(super) fn withdraw(&mut self, now: Timestamp, oldest: Timestamp) {
        for times in [&mut self.assigned, &mut self.activated] {
            end_all(times, now);
        }
        self.assigned.retain(|time| !time.is_empty());
        for times in [&mut self.assigned, &mut self.activated] {
            keep_latest(times, oldest);
        }
    }

    /// It was given by hand, and that is not over.
    pub(super) fn given(&self, now: Timestamp) -> Option<OfferTime> {
        longest(&self.assigned, now, now)
    }

    /// How long the last change has made its promotion work; `None`: it did not.
    pub fn activated_now(&self) -> Option<OfferTime> {
        self.activated.last().copied().filter(|time| time.from == self.time && !time.is_empty())
    }

    fn joined(&self, other: &Self, oldest: Timestamp) -> Result<Self, Overflow> {
        let both = |own: &[OfferTime], other: &[OfferTime]| {
            let mut times = [own, other].concat();
            keep_latest(&mut times, oldest);
            times
        };
        Ok(Self {
            time: self.time.max(other.time),
            assigned: both(&self.assigned, &other.assigned),
            activated: both(&self.activated, &other.activated),
            vouchers: match (self.vouchers, other.vouchers) {
                (Some(own), Some(other)) => Some(own.joined(&other)?),
                (own, other) => own.or(other),
            },
        })
    }
}

/// Those of which it is not kept any more what the member had, when something becomes of another one.
pub(super) fn dropped(program: &Program, header: &Header, changed: &OfferId) -> Vec<OfferId> {
    surplus(program, &header.offers, |offer| offer != changed)
}

/// The oldest of those that the rule book has no more, where there are too many.
fn surplus(program: &Program, offers: &BTreeMap<OfferId, OfferHeld>, may_go: impl Fn(&OfferId) -> bool) -> Vec<OfferId> {
    let is_past = |offer: &OfferId| may_go(offer) && program.offer(offer).is_none();
    let mut past: Vec<(Timestamp, &OfferId)> =
        offers.iter().filter(|(offer, _)| is_past(offer)).map(|(offer, held)| (held.time, offer)).collect();
    past.sort_unstable();
    past.truncate(past.len().saturating_sub(MAX_PAST_OFFERS));
    past.into_iter().map(|(_, offer)| offer.clone()).collect()
}

pub(super) fn fold(header: &mut Header, changed: &OfferChanged) {
    for offer in &changed.dropped {
        header.offers.remove(offer);
    }
    if changed.held.is_empty() {
        header.offers.remove(&changed.offer);
    } else {
        header.offers.insert(changed.offer.clone(), changed.held.clone());
    }
}

/// Offers with what a member has of them, and those of which it is not kept.
type Joined = (Vec<(OfferId, OfferHeld)>, Vec<OfferId>);

/// What the other one's offers come to in the member that stays: it had them whenever either did, and what both used is used.
pub(super) fn join(program: &Program, own: &Header, other: &Header, oldest: Timestamp) -> Result<Joined, Overflow> {
    let mut joined = own.offers.clone();
    for (offer, held) in &other.offers {
        let both = own.offers.get(offer).map_or_else(|| Ok(held.clone()), |kept| kept.joined(held, oldest))?;
        joined.insert(offer.clone(), both);
    }
    let mut gone = surplus(program, &joined, |_| true);
    joined.retain(|offer, _| other.offers.contains_key(offer) && !gone.contains(offer));
    gone.retain(|offer| own.offers.contains_key(offer));
    Ok((joined.into_iter().collect(), gone))
}

/// The earlier of two ends, of which each may be missing.
pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Program {
    pub fn offer(&self, id: &OfferId) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.id == *id)
    }

    /// The end of the local day so many days after that of an instant.
    pub(super) fn end_of_days(&self, instant: Timestamp, days: u32) -> Result<Timestamp, Overflow> {
        let last = calendar::add_days(calendar::local_date(&self.time_zone, instant), days)?;
        calendar::start_of_day(&self.time_zone, calendar::add_days(last, 1)?)
    }
}

impl Offer {
    pub fn promotion(&self) -> Option<&RuleId> {
        match &self.gift {
            OfferGift::Promotion(promotion) => Some(promotion),
            OfferGift::Voucher { .. } => None,
        }
    }

    pub fn is_personal(&self) -> bool {
        self.audience == OfferAudience::Personal
    }

    /// Nobody has it of whom nothing is kept.
    pub(super) fn must_be_held(&self) -> bool {
        self.is_personal() || self.requires_activation
    }

    /// Its promotion works for a sale. `tier`: by which the sale is rated; `at`: when it occurred, and now.
    pub(super) fn is_had(
        &self,
        program: &Program,
        header: &Header,
        tier: Option<&TierId>,
        at: (Timestamp, Timestamp),
    ) -> Result<bool, Overflow> {
        let had = self.had(program, header, tier, at)?;
        Ok(had.why_not.is_empty() && (had.active.is_some() || !self.requires_activation))
    }

    /// How a member has it at an instant, by what is known now.
    fn had(
        &self,
        program: &Program,
        header: &Header,
        tier: Option<&TierId>,
        (instant, now): (Timestamp, Timestamp),
    ) -> Result<Had, Overflow> {
        let held = header.offers.get(&self.id);
        // Of an offer that has a voucher now it counts nothing that it was activated when it had a promotion.
        let active = held.filter(|_| self.promotion().is_some()).and_then(|held| longest(&held.activated, instant, now));
        let given = held.and_then(|held| longest(&held.assigned, instant, now));
        let mut why_not: Vec<OfferRejection> = self.check_time(instant).into_iter().collect();
        if active.is_none() && given.is_none() {
            why_not.extend(self.check_audience(program, header, tier, (instant, now))?);
        }
        Ok(Had { active, given, why_not })
    }

    /// When it can be had, if not then.
    pub(super) fn check_time(&self, now: Timestamp) -> Option<OfferRejection> {
        let is_early = self.start_time.is_some_and(|start| now < start);
        let is_late = self.end_time.is_some_and(|end| now >= end);
        let offer = self.id.clone();
        (is_early || is_late).then(|| OfferRejection::NotOffered {
            offer,
            start_time: self.start_time.filter(|_| is_early),
            end_time: self.end_time.filter(|_| is_late),
        })
    }

    /// All that keeps a member to whom it was not given from being one of those it is for.
    fn check_audience(
        &self,
        program: &Program,
        header: &Header,
        tier: Option<&TierId>,
        (instant, now): (Timestamp, Timestamp),
    ) -> Result<Vec<OfferRejection>, Overflow> {
        let mut why_not = Vec::new();
        let OfferAudience::Members { tiers, segments, new_days } = &self.audience else {
            return Ok(vec![OfferRejection::NotAssigned { offer: self.id.clone() }]);
        };
        if !tiers.is_empty() && tier.is_none_or(|tier| !tiers.contains(tier)) {
            why_not.push(OfferRejection::Tier { offer: self.id.clone(), tier: tier.cloned() });
        }
        if !segments.is_empty() && !segments.iter().any(|segment| header.segments.was_in(segment, instant, now)) {
            why_not.push(OfferRejection::Segment { offer: self.id.clone() });
        }
        if let Some(days) = new_days {
            let end_time = new_until(program, header, *days)?;
            if instant >= end_time {
                why_not.push(OfferRejection::NotNew { offer: self.id.clone(), end_time });
            }
        }
        Ok(why_not)
    }

    /// Until when a member has it, as far as that is known.
    fn end(&self, program: &Program, header: &Header, had: &Had) -> Result<Option<Timestamp>, Overflow> {
        let own = match (had.active.or(had.given), &self.audience) {
            (Some(time), _) => time.until,
            (None, OfferAudience::Personal) => None,
            (None, OfferAudience::Members { new_days, .. }) => new_days.map(|days| new_until(program, header, days)).transpose()?,
        };
        Ok(earlier(own, self.end_time))
    }

    /// It has to be activated, and was in the period of a day, since it was given last.
    fn was_activated(&self, program: &Program, header: &Header, today: Date) -> bool {
        let Some(held) = header.offers.get(&self.id).filter(|_| self.requires_activation) else { return false };
        let given = held.assigned.last().map(|time| time.from);
        let since = held.activated.iter().filter(|time| given.is_none_or(|given| given <= time.from));
        let mut days = since.map(|time| calendar::local_date(&program.time_zone, time.from));
        days.any(|day| self.period_start(day) == self.period_start(today))
    }

    /// The period of its limit that a day lies in; without a limit there is one for ever.
    fn period_start(&self, day: Date) -> PeriodStart {
        self.limit.and_then(|limit| calendar::period_start(day, limit.period))
    }

    /// How often it has been used in the period that a day lies in.
    fn uses(&self, header: &Header, today: Date) -> u32 {
        match &self.gift {
            OfferGift::Promotion(promotion) => {
                let key = (promotion.clone(), self.period_start(today));
                header.promotions.get(&key).map_or(0, |count| count.times)
            }
            OfferGift::Voucher { .. } => {
                let Some(tally) = header.offers.get(&self.id).and_then(|held| held.vouchers) else { return 0 };
                match self.limit {
                    Some(limit) => tally.on(RewardTally::today(Some(&tally), today), limit.period),
                    None => tally.redeemed(),
                }
            }
        }
    }

    /// How it stands for a member. All that is due has been entered.
    pub fn standing(&self, program: &Program, header: &Header, now: Timestamp) -> Result<OfferStanding, Overflow> {
        let tier = program.tier(header.tier.current().map(|held| &held.tier)).map(|tier| &tier.id);
        let today = calendar::local_date(&program.time_zone, now);
        let had = self.had(program, header, tier, (now, now))?;
        let mut why_not = Vec::new();
        match header.state {
            MemberState::Active => {}
            MemberState::Suspended => why_not.push(OfferObstacle::MemberSuspended),
            MemberState::Merged { .. } => why_not.push(OfferObstacle::MemberMerged),
            MemberState::Erased => why_not.push(OfferObstacle::MemberErased),
        }
        why_not.extend(had.why_not.iter().cloned().map(OfferObstacle::Refused));
        let is_unavailable = !why_not.is_empty();
        let is_ended = had.active.is_none() && self.was_activated(program, header, today);
        if is_ended {
            why_not.push(OfferObstacle::Refused(OfferRejection::Ended { offer: self.id.clone() }));
        }
        let uses = self.uses(header, today);
        let uses_left = self.limit.map(|limit| limit.times.saturating_sub(uses));
        if let (Some(limit), Some(0)) = (self.limit, uses_left) {
            why_not.push(OfferObstacle::Refused(self.used_up(program, limit, today)?));
        }
        let live = usize::try_from(header.vouchers.live).unwrap_or(usize::MAX);
        if self.promotion().is_none() && live >= MAX_VOUCHERS {
            why_not.push(OfferObstacle::TooManyVouchers);
        }
        let state = match had.active {
            _ if is_unavailable => OfferState::Unavailable,
            _ if uses_left == Some(0) => OfferState::UsedUp,
            Some(_) => OfferState::Active,
            None if is_ended => OfferState::Ended,
            None if self.requires_activation => OfferState::NeedsActivation,
            None => OfferState::Available,
        };
        let until = self.end(program, header, &had)?;
        Ok(OfferStanding { state, until, uses, uses_left, why_not })
    }

    fn used_up(&self, program: &Program, limit: TimesLimit, today: Date) -> Result<OfferRejection, Overflow> {
        let next = self.period_start(today).and_then(|start| calendar::period_end(start, limit.period));
        let next_time = next.map(|day| calendar::start_of_day(&program.time_zone, day)).transpose()?;
        Ok(OfferRejection::Limit { offer: self.id.clone(), limit: limit.times, next_time })
    }
}

/// Of who enrolled: new until then, exclusive.
fn new_until(program: &Program, header: &Header, days: u32) -> Result<Timestamp, Overflow> {
    program.end_of_days(header.create_time, days.saturating_sub(1))
}
