//! Rewards: what members can have for their points when they ask for it. A reward gives a voucher; what that takes of the member's lots, what
//! it counts for the member's limit, and what it takes of the stock is in the one entry that issues it, and is undone by the one that cancels
//! it.
//!
//! How many were taken of a reward is counted for the programme, over all versions of its rule book: a version that has more in stock only
//! raises the bound. What is cancelled is free again; what lapses was given away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date};

use super::{
    GoalRefund, Header, MAX_VOUCHERS, MemberState, Overflow, Period, Points, Portion, Program, Rejection, RewardId, RewardRejection,
    SegmentId, TierId, VoucherChange, VoucherChanged, VoucherKindId, VoucherRejection, VoucherValidity, calendar, taking,
};

/// Of one reward that are asked for at once, at most: each is a voucher of its own.
pub const MAX_REWARD_QUANTITY: u32 = 100;

/// Rewards that the version in effect does not have, of which it is kept how many a member had: those that it redeemed last. What it had of
/// others counts no more, should one of them be offered again.
pub const MAX_PAST_REWARDS: usize = 100;

/// What a rule book offers for points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reward {
    pub id: RewardId,
    pub display_name: String,
    /// Empty: none.
    pub description: String,
    /// A kind of vouchers that the programme has.
    pub voucher: VoucherKindId,
    /// How long its vouchers are valid, if not as those of their kind.
    pub validity: Option<VoucherValidity>,
    /// What one costs; more than 0.
    pub points: Points,
    /// What one costs for members of a tier, where that is something else; 0 or more.
    pub tier_points: BTreeMap<TierId, Points>,
    /// Those whose members may have it; empty: all.
    pub tiers: BTreeSet<TierId>,
    /// Those whose members may have it: who is in one of them; empty: all.
    pub segments: BTreeSet<SegmentId>,
    /// From then on it can be had.
    pub start_time: Option<Timestamp>,
    /// Until then, exclusive.
    pub end_time: Option<Timestamp>,
    /// How many there are in all; `None`: without bound.
    pub stock: Option<u64>,
    pub limit: Option<RewardLimit>,
    /// So many can be asked for at once; 1 to [`MAX_REWARD_QUANTITY`].
    pub maximum_quantity: u32,
}

/// How many a member may have in a period of the programme's calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewardLimit {
    /// At least 1.
    pub redemptions: u32,
    pub period: Period,
}

/// How many of a reward have been taken and not cancelled, of the whole programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RewardStock {
    /// Counts what has changed it: of several entries of one commit the one with the highest number has the last word.
    pub change: u64,
    pub taken: u64,
}

/// How many of a reward a member has had and not given back, in each period that holds a day. One a reward is enough: nobody redeems in a
/// period that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewardTally {
    /// The one on which it was redeemed last.
    pub day: Date,
    /// In the order of [`TALLIED`].
    pub counts: [u32; TALLIED.len()],
}

/// Whatever the period of a limit is, or will be in a later version.
pub const TALLIED: [Period; 6] = [Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year, Period::Lifetime];

/// The points that a reward cost, with the entry that issued its voucher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardPaid {
    pub reward: RewardId,
    pub points: Points,
    /// Where they came from; empty if it cost nothing.
    pub portions: Vec<Portion>,
    /// When the next of the lots that are left lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
    /// The member's, with it. Its day is the one on which it counts.
    pub tally: RewardTally,
    /// The programme's, with it.
    pub stock: RewardStock,
    /// What the member had of these is not kept any more: see [`MAX_PAST_REWARDS`].
    pub dropped: Vec<RewardId>,
}

/// What a voucher frees that is cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardFreed {
    pub reward: RewardId,
    /// The member's, without it; `None`: nothing is left of it.
    pub tally: Option<RewardTally>,
    /// The programme's, without it.
    pub stock: RewardStock,
}

/// How a reward stands for a member, or for nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardStanding {
    /// What one costs.
    pub points: Points,
    /// How many of the points for it are not there.
    pub missing: Points,
    /// `None`: without bound.
    pub stock_left: Option<u64>,
    /// How many more the member may have in the period; `None`: without bound.
    pub member_left: Option<u32>,
    /// How many the member has had and not given back.
    pub redeemed: u32,
    /// All that stands against it, in order of precedence.
    pub why_not: Vec<RewardObstacle>,
}

/// What stands against a reward, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewardObstacle {
    MemberMerged,
    MemberErased,
    MemberSuspended,
    Refused(RewardRejection),
    TooManyVouchers,
    InDebt {
        debt: Points,
    },
    InsufficientPoints {
        available: Points,
        requested: Points,
    },
    /// So many points at most are in as many lots as are taken from at a time.
    TooManyLots {
        most: Points,
        requested: Points,
    },
}

impl From<RewardObstacle> for Rejection {
    fn from(obstacle: RewardObstacle) -> Self {
        match obstacle {
            // Whoever names one that was merged means the one that stays.
            RewardObstacle::MemberMerged => Self::MemberNotFound,
            RewardObstacle::MemberErased => Self::MemberErased,
            RewardObstacle::MemberSuspended => Self::MemberSuspended,
            RewardObstacle::Refused(rejection) => Self::Reward(rejection),
            RewardObstacle::TooManyVouchers => VoucherRejection::TooMany { limit: MAX_VOUCHERS }.into(),
            RewardObstacle::InDebt { debt } => Self::InDebt { debt },
            RewardObstacle::InsufficientPoints { available, requested } => Self::InsufficientPoints { available, requested },
            RewardObstacle::TooManyLots { most, requested } => taking::too_many(most, requested),
        }
    }
}

impl RewardTally {
    fn place(period: Period) -> usize {
        match period {
            Period::Day => 0,
            Period::Week => 1,
            Period::Month => 2,
            Period::Quarter => 3,
            Period::Year => 4,
            Period::Lifetime => 5,
        }
    }

    /// How many in all.
    pub fn redeemed(&self) -> u32 {
        self.counts[Self::place(Period::Lifetime)]
    }

    /// The day on which something counts that happens today. A clock that was set back counts for the day that it showed before.
    pub(super) fn today(kept: Option<&Self>, today: Date) -> Date {
        kept.map_or(today, |kept| kept.day.max(today))
    }

    /// How many in the period that a day lies in.
    pub(super) fn on(&self, day: Date, period: Period) -> u32 {
        let is_same = calendar::period_start(self.day, period) == calendar::period_start(day, period);
        if is_same { self.counts[Self::place(period)] } else { 0 }
    }

    /// With as many more.
    fn moved(&self, day: Date, more: impl Fn(Period, u32) -> Option<u32>) -> Result<Self, Overflow> {
        let mut counts = [0; TALLIED.len()];
        for (count, period) in counts.iter_mut().zip(TALLIED) {
            *count = more(period, self.on(day, period)).ok_or(Overflow)?;
        }
        Ok(Self { day, counts })
    }

    /// With one more today.
    pub(super) fn with_one(kept: Option<&Self>, today: Date) -> Result<Self, Overflow> {
        let day = Self::today(kept, today);
        let before = kept.copied().unwrap_or(Self { day, counts: [0; TALLIED.len()] });
        before.moved(day, |_, count| count.checked_add(1))
    }

    /// Without one that counted on a day; `None`: nothing is left. One that is not counted any more is not there to go.
    pub(super) fn without_one(&self, counted: Date) -> Result<Option<Self>, Overflow> {
        let counts_in = |period| calendar::period_start(counted, period) == calendar::period_start(self.day, period);
        let left = self.moved(self.day, |period, count| Some(if counts_in(period) { count.saturating_sub(1) } else { count }))?;
        Ok((left.counts != [0; TALLIED.len()]).then_some(left))
    }

    /// Of two members who are one from now on.
    pub(super) fn joined(&self, other: &Self) -> Result<Self, Overflow> {
        let day = self.day.max(other.day);
        self.moved(day, |period, count| count.checked_add(other.on(day, period)))
    }
}

/// Those of which it is not kept any more how many the member had, when it redeems one.
pub(super) fn dropped(program: &Program, header: &Header, redeemed: &RewardId) -> Vec<RewardId> {
    let is_past = |reward: &RewardId| reward != redeemed && !program.rewards.contains_key(reward);
    let mut past: Vec<(Date, &RewardId)> =
        header.rewards.iter().filter(|(reward, _)| is_past(reward)).map(|(reward, tally)| (tally.day, reward)).collect();
    past.sort_unstable();
    past.truncate(past.len().saturating_sub(MAX_PAST_REWARDS));
    past.into_iter().map(|(_, reward)| reward.clone()).collect()
}

/// What the other one's rewards come to in the member that stays, those that it had.
pub(super) fn join(own: &Header, other: &Header) -> Result<Vec<(RewardId, RewardTally)>, Overflow> {
    let joined = |(reward, tally): (&RewardId, &RewardTally)| {
        let both = own.rewards.get(reward).map_or(Ok(*tally), |kept| kept.joined(tally))?;
        Ok((reward.clone(), both))
    };
    other.rewards.iter().map(joined).collect()
}

impl RewardStock {
    pub(super) fn with_one(self) -> Result<Self, Overflow> {
        Ok(Self { change: self.change.checked_add(1).ok_or(Overflow)?, taken: self.taken.checked_add(1).ok_or(Overflow)? })
    }

    pub(super) fn without_one(self) -> Result<Self, Overflow> {
        Ok(Self { change: self.change.checked_add(1).ok_or(Overflow)?, taken: self.taken.checked_sub(1).ok_or(Overflow)? })
    }
}

impl Reward {
    /// What one costs for members of a tier.
    pub fn cost(&self, tier: Option<&TierId>) -> Points {
        tier.and_then(|tier| self.tier_points.get(tier)).copied().unwrap_or(self.points)
    }

    /// The most that one costs for anybody.
    pub fn highest_cost(&self) -> Points {
        self.tier_points.values().copied().fold(self.points, Points::max)
    }

    /// When it can be had, if not now.
    fn check_time(&self, now: Timestamp) -> Option<RewardRejection> {
        let is_early = self.start_time.is_some_and(|start| now < start);
        let is_late = self.end_time.is_some_and(|end| now >= end);
        let reward = self.id.clone();
        (is_early || is_late).then(|| RewardRejection::NotOffered {
            reward,
            start_time: self.start_time.filter(|_| is_early),
            end_time: self.end_time.filter(|_| is_late),
        })
    }

    /// How it stands for a member who asks for so many. All that is due has been entered.
    pub fn standing(
        &self,
        program: &Program,
        header: &Header,
        (stock, quantity): (RewardStock, u32),
        now: Timestamp,
    ) -> Result<RewardStanding, Overflow> {
        let tier = program.tier(header.tier.current().map(|held| &held.tier)).map(|tier| &tier.id);
        let points = self.cost(tier);
        // What is more than one may ask for is refused, whatever it would cost.
        let requested = Points(points.0.checked_mul(i64::from(quantity.min(self.maximum_quantity))).ok_or(Overflow)?);
        let balance = &header.balance;
        let kept = header.rewards.get(&self.id);
        let today = RewardTally::today(kept, calendar::local_date(&program.time_zone, now));
        let counted = |period| kept.map_or(0, |kept| kept.on(today, period));
        let stock_left = self.stock.map(|all| all.saturating_sub(stock.taken));
        let member_left = self.limit.map(|limit| limit.redemptions.saturating_sub(counted(limit.period)));
        let mut why_not = Vec::new();
        match header.state {
            MemberState::Active => {}
            MemberState::Suspended => why_not.push(RewardObstacle::MemberSuspended),
            MemberState::Merged { .. } => why_not.push(RewardObstacle::MemberMerged),
            MemberState::Erased => why_not.push(RewardObstacle::MemberErased),
        }
        why_not.extend(self.check_time(now).map(RewardObstacle::Refused));
        if !self.tiers.is_empty() && tier.is_none_or(|tier| !self.tiers.contains(tier)) {
            let (reward, tier) = (self.id.clone(), tier.cloned());
            why_not.push(RewardObstacle::Refused(RewardRejection::Tier { reward, tier }));
        }
        if !self.segments.is_empty() && !self.segments.iter().any(|segment| header.segments.is_in(segment)) {
            why_not.push(RewardObstacle::Refused(RewardRejection::Segment { reward: self.id.clone() }));
        }
        if quantity > self.maximum_quantity {
            let (reward, maximum) = (self.id.clone(), self.maximum_quantity);
            why_not.push(RewardObstacle::Refused(RewardRejection::Quantity { reward, maximum, requested: quantity }));
        }
        if let (Some(limit), Some(left)) = (self.limit, member_left)
            && quantity > left
        {
            why_not.push(RewardObstacle::Refused(self.over_limit(program, limit, (left, quantity), today)?));
        }
        why_not.extend(self.check_stock(stock_left, quantity).map(RewardObstacle::Refused));
        let live = usize::try_from(header.vouchers.live).unwrap_or(usize::MAX);
        if live.saturating_add(usize::try_from(quantity).unwrap_or(usize::MAX)) > MAX_VOUCHERS {
            why_not.push(RewardObstacle::TooManyVouchers);
        }
        if balance.debt > Points::ZERO {
            why_not.push(RewardObstacle::InDebt { debt: balance.debt });
        }
        if requested > balance.available {
            why_not.push(RewardObstacle::InsufficientPoints { available: balance.available, requested });
        }
        let missing = requested.minus(balance.available)?.max(Points::ZERO);
        Ok(RewardStanding { points, missing, stock_left, member_left, redeemed: kept.map_or(0, RewardTally::redeemed), why_not })
    }

    /// How it stands for nobody in particular.
    pub fn standing_of_all(&self, stock: RewardStock, now: Timestamp) -> RewardStanding {
        let stock_left = self.stock.map(|all| all.saturating_sub(stock.taken));
        let mut why_not = Vec::new();
        why_not.extend(self.check_time(now).map(RewardObstacle::Refused));
        why_not.extend(self.check_stock(stock_left, 1).map(RewardObstacle::Refused));
        let member_left = self.limit.map(|limit| limit.redemptions);
        RewardStanding { points: self.points, missing: Points::ZERO, stock_left, member_left, redeemed: 0, why_not }
    }

    fn check_stock(&self, left: Option<u64>, quantity: u32) -> Option<RewardRejection> {
        let left = left.filter(|left| *left < u64::from(quantity))?;
        Some(RewardRejection::OutOfStock { reward: self.id.clone(), left, requested: quantity })
    }

    fn over_limit(
        &self,
        program: &Program,
        limit: RewardLimit,
        (left, requested): (u32, u32),
        today: Date,
    ) -> Result<RewardRejection, Overflow> {
        let next = calendar::period_start(today, limit.period).and_then(|start| calendar::period_end(start, limit.period));
        let next_time = next.map(|day| calendar::start_of_day(&program.time_zone, day)).transpose()?;
        Ok(RewardRejection::Limit { reward: self.id.clone(), limit: limit.redemptions, left, requested, next_time })
    }
}

impl VoucherChanged {
    /// What the reward cost that it was issued for.
    pub fn reward_paid(&self) -> Option<&RewardPaid> {
        match &self.change {
            VoucherChange::Issued { reward, .. } => reward.as_deref(),
            VoucherChange::Held(_)
            | VoucherChange::Released { .. }
            | VoucherChange::Used { .. }
            | VoucherChange::Cancelled { .. }
            | VoucherChange::Expired
            | VoucherChange::Reinstated { .. } => None,
        }
    }

    /// What is free again, if it was issued for a reward and is cancelled.
    pub fn reward_freed(&self) -> Option<&RewardFreed> {
        match &self.change {
            VoucherChange::Cancelled { freed, .. } => freed.as_deref(),
            VoucherChange::Issued { .. }
            | VoucherChange::Held(_)
            | VoucherChange::Released { .. }
            | VoucherChange::Used { .. }
            | VoucherChange::Expired
            | VoucherChange::Reinstated { .. } => None,
        }
    }

    /// The reward whose stock it changes, and what that is with it.
    pub fn reward_stock(&self) -> Option<(&RewardId, RewardStock)> {
        let paid = self.reward_paid().map(|paid| (&paid.reward, paid.stock));
        paid.or_else(|| self.reward_freed().map(|freed| (&freed.reward, freed.stock)))
    }

    /// The points that a goal or a reward took for it, where they came from, and when the next of the lots that are left lapses.
    pub fn paid(&self) -> Option<(Points, &[Portion], Option<Timestamp>)> {
        let of_goal = self.goal_paid().map(|paid| (paid.points, paid.portions.as_slice(), paid.next_expiry_time));
        of_goal.or_else(|| self.reward_paid().map(|paid| (paid.points, paid.portions.as_slice(), paid.next_expiry_time)))
    }

    /// The points that come back, whatever they had been taken for.
    pub fn refund(&self) -> Option<&GoalRefund> {
        self.goal_refund()
    }
}

/// What the member has had of rewards after it.
pub(super) fn fold(header: &mut Header, changed: &VoucherChanged) {
    if let Some(paid) = changed.reward_paid() {
        for reward in &paid.dropped {
            header.rewards.remove(reward);
        }
        header.rewards.insert(paid.reward.clone(), paid.tally);
    }
    match changed.reward_freed() {
        Some(RewardFreed { reward, tally: Some(tally), .. }) => drop(header.rewards.insert(reward.clone(), *tally)),
        Some(RewardFreed { reward, tally: None, .. }) => drop(header.rewards.remove(reward)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use proptest::prelude::*;

    use super::*;

    /// What was redeemed on which days, counted one by one.
    fn counted(days: &[Date], of: Date) -> [u32; TALLIED.len()] {
        TALLIED.map(|period| {
            let is_in = |day: &&Date| calendar::period_start(**day, period) == calendar::period_start(of, period);
            u32::try_from(days.iter().filter(is_in).count()).expect("there are few")
        })
    }

    proptest! {
        #[test]
        fn a_tally_counts_each_period_as_if_every_redemption_were_kept(
            steps in prop::collection::vec((0_i64..40, 0_usize..6, any::<bool>()), 1..60),
            apart in prop::collection::vec(any::<bool>(), 60),
        ) {
            let (mut today, mut all) = (Date::constant(2026, 1, 30), Vec::new());
            // Two cards, and in the end one customer.
            let (mut cards, mut days): ([Option<RewardTally>; 2], [Vec<Date>; 2]) = ([None; 2], [Vec::new(), Vec::new()]);
            for ((wait, which, cancels), other) in steps.into_iter().zip(apart) {
                today = today.checked_add(wait.days()).expect("within the calendar");
                let card = usize::from(other);
                match (cancels && !days[card].is_empty(), cards[card]) {
                    (true, Some(tally)) => {
                        let place = which % days[card].len();
                        let gone = days[card].remove(place);
                        cards[card] = tally.without_one(gone).expect("in range");
                    }
                    _ => {
                        cards[card] = Some(RewardTally::with_one(cards[card].as_ref(), today).expect("in range"));
                        days[card].push(today);
                    }
                }
                for (tally, days) in cards.iter().zip(&days) {
                    prop_assert_eq!(tally.is_none(), days.is_empty());
                    let on = tally.map_or([0; TALLIED.len()], |tally| TALLIED.map(|period| tally.on(today, period)));
                    prop_assert_eq!(on, counted(days, today));
                }
            }
            all.extend(days.concat());
            if let [Some(one), Some(two)] = cards {
                let joined = one.joined(&two).expect("in range");
                prop_assert_eq!(joined, two.joined(&one).expect("in range"));
                prop_assert_eq!(TALLIED.map(|period| joined.on(today, period)), counted(&all, today));
                let mut left = Some(joined);
                for gone in all {
                    left = left.expect("not all are gone").without_one(gone).expect("in range");
                }
                prop_assert_eq!(left, None);
            }
        }
    }
}
