//! Which version of a rule book judges what: all that were published, as they stand at an instant.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};

use super::{
    super::{ConsumptionOrder, RewardId, TierBounds, VoucherCodeKey, segment},
    InactivityPolicy, Program,
};

/// All published versions of a programme, as they stand at an instant: one is in effect, and some may wait for their time. What is judged by
/// `the newest version` is judged by the one that is in effect; what occurred, by the one that was in effect then.
///
/// A version takes the place of all that were published before it from when it takes effect. One that still waited then, and was to take
/// effect at the same instant or later, never does.
#[derive(Debug, Clone)]
pub struct ProgramHistory {
    known: Arc<Known>,
    /// The place of the version that is in effect.
    newest: usize,
    /// The same as it stood before each version that has taken the place of another, with the last instant of that.
    earlier: Arc<[(ProgramHistory, Timestamp)]>,
}

/// What of a member has to do with versions that are no longer in effect.
#[derive(Debug, Clone, Copy, Default)]
pub struct EarlierTurn {
    /// When something is due next.
    pub due: Option<Timestamp>,
    /// The version by which the birthday is planned, or was looked at, and since when it is known; `None`: there is none to be planned.
    pub planned: Option<(u32, Timestamp)>,
    /// The version ([`ProgramHistory::walk_version`]) that the member was looked at for; `None`: it need not be looked at.
    pub looked_at: Option<u32>,
}

#[derive(Debug)]
struct Known {
    /// All of them, by version; never empty.
    published: Vec<Arc<Program>>,
    /// Without those that never take effect; in the order in which they do, which is that of the versions too.
    turns: Vec<Arc<Turn>>,
    /// What codes of vouchers are made with.
    voucher_codes: VoucherCodeKey,
}

/// A version, with what it and all before it ask for together.
#[derive(Debug)]
struct Turn {
    program: Arc<Program>,
    max_age_days: u32,
    /// Shared with the one before, where it asks for nothing more.
    tier_bounds: Arc<TierBounds>,
    birthday_version: u32,
    has_goals: bool,
    /// One with a goal took points from the oldest lots first.
    has_goals_oldest_first: bool,
    /// Since when segments are as they are; 0: there never were any.
    segment_version: u32,
    /// The longest window of a segment that there was.
    segment_days: u32,
}

impl Turn {
    fn new(last: Option<&Self>, program: Arc<Program>) -> Self {
        let (mut tier_bounds, mut birthday_version) =
            last.map_or_else(Default::default, |last| (Arc::clone(&last.tier_bounds), last.birthday_version));
        let mut bounds = (*tier_bounds).clone();
        bounds.add(last.map(|last| &*last.program), &program);
        if bounds != *tier_bounds {
            tier_bounds = Arc::new(bounds);
        }
        let is_other = last.is_none_or(|last| last.program.birthday != program.birthday);
        if is_other && (program.birthday.is_some() || birthday_version > 0) {
            birthday_version = program.version;
        }
        let max_age_days = last.map_or(0, |last| last.max_age_days).max(program.purchase_time.max_age_days);
        let has_goals = program.goal.is_some() || last.is_some_and(|last| last.has_goals);
        let is_oldest_first = program.goal.is_some() && program.consumption_order == ConsumptionOrder::OldestFirst;
        let has_goals_oldest_first = is_oldest_first || last.is_some_and(|last| last.has_goals_oldest_first);
        let mut segment_version = last.map_or(0, |last| last.segment_version);
        let is_other = last.is_none_or(|last| !segment::judge_alike(&last.program, &program));
        if is_other && (!program.segments.is_empty() || segment_version > 0) {
            segment_version = program.version;
        }
        let segment_days = last.map_or(0, |last| last.segment_days).max(program.segment_days());
        Self { program, max_age_days, tier_bounds, birthday_version, has_goals, has_goals_oldest_first, segment_version, segment_days }
    }

    /// One that was published to hold at once does so however the clock is set.
    fn is_in_effect(&self, instant: Timestamp) -> bool {
        !self.program.is_deferred() || self.program.takes_effect() <= instant
    }

    /// It waits when another one is published, and does not take effect before that one.
    fn is_replaced_by(&self, next: &Program) -> bool {
        let instant = self.program.takes_effect();
        !self.is_in_effect(next.publish_time) && instant >= next.takes_effect()
    }
}

impl ProgramHistory {
    pub fn new(first: Arc<Program>) -> Self {
        let turn = Turn::new(None, Arc::clone(&first));
        Self::view(Arc::new(Known { published: vec![first], turns: vec![Arc::new(turn)], voucher_codes: VoucherCodeKey::default() }), 0)
    }

    /// With the store's secret for codes of vouchers.
    pub fn with_voucher_codes(self, voucher_codes: VoucherCodeKey) -> Self {
        let known = Known { published: self.known.published.clone(), turns: self.known.turns.clone(), voucher_codes };
        Self::view(Arc::new(known), self.newest)
    }

    /// With one version more, which is in effect at once or waits.
    pub fn with(&self, next: Arc<Program>) -> Self {
        let Known { published, turns, voucher_codes } = &*self.known;
        let mut turns = turns.clone();
        while turns.len() > 1 && turns.last().is_some_and(|last| last.is_replaced_by(&next)) {
            turns.pop();
        }
        let newest = if next.is_deferred() { self.newest.min(turns.len() - 1) } else { turns.len() };
        turns.push(Arc::new(Turn::new(turns.last().map(|last| &**last), Arc::clone(&next))));
        let published = published.iter().cloned().chain([next]).collect();
        Self::view(Arc::new(Known { published, turns, voucher_codes: voucher_codes.clone() }), newest)
    }

    fn view(known: Arc<Known>, newest: usize) -> Self {
        // One that was published behind it by a clock that was set back can have left none of its time to a version.
        let mut places: Vec<usize> = Vec::with_capacity(newest + 1);
        for place in 0..=newest {
            let instant = known.turns[place].program.takes_effect();
            while places.len() > 1 && places.last().is_some_and(|last| known.turns[*last].program.takes_effect() >= instant) {
                places.pop();
            }
            places.push(place);
        }
        let before = |pair: &[usize]| {
            // The ledger counts microseconds.
            let until = known.turns[pair[1]].program.takes_effect().checked_sub(1.microsecond()).unwrap_or(Timestamp::MIN);
            (Self { known: Arc::clone(&known), newest: pair[0], earlier: Arc::default() }, until)
        };
        let earlier = places.windows(2).map(before).collect();
        Self { known, newest, earlier }
    }

    /// As it stands at an instant, with all that is known now.
    pub fn in_effect_at(&self, instant: Timestamp) -> Self {
        Self::view(Arc::clone(&self.known), self.place_at(instant))
    }

    /// It stands so at an instant.
    pub fn is_in_effect_at(&self, instant: Timestamp) -> bool {
        self.newest == self.place_at(instant)
    }

    fn place_at(&self, instant: Timestamp) -> usize {
        self.known.turns.iter().rposition(|turn| turn.is_in_effect(instant)).unwrap_or(0)
    }

    /// As it was known at an instant, and stood then: the versions that were published by then, or the first one.
    pub fn as_of(&self, instant: Timestamp) -> Self {
        let (first, later) = self.known.published.split_first().expect("a programme has at least one version");
        let first = Self::new(Arc::clone(first)).with_voucher_codes(self.known.voucher_codes.clone());
        let known = later.iter().filter(|version| version.publish_time <= instant);
        known.fold(first, |history, version| history.with(Arc::clone(version))).in_effect_at(instant)
    }

    /// As it stands before the version that is in effect; of the first one, as it is.
    pub fn before_newest(&self) -> Self {
        Self::view(Arc::clone(&self.known), self.newest.saturating_sub(1))
    }

    /// Of all versions that have taken the place of another before now, as it stood before each: the next one, from a place on, that has to do
    /// with a member, with its place and the last instant of its time. However many there are, it is found without a look at each.
    pub fn next_turn(&self, from: usize, now: Timestamp, asked: EarlierTurn) -> Option<(usize, &Self, Timestamp)> {
        // A version can come into effect later than now by a clock that was set back: nothing is due ahead of time.
        let ended = &self.earlier[..self.earlier.partition_point(|(_, until)| *until < now)];
        let rest = ended.get(from..)?;
        let EarlierTurn { due, planned, looked_at } = asked;
        // All of these never become less from one version to the next.
        let is_due = due.map(|due| rest.partition_point(|(_, until)| *until < due));
        // What held until before the birthday was known is not about it.
        let is_settled = |programs: &Self, until, (planned, since)| until < since || programs.birthday_version() <= planned;
        let is_stale = planned.map(|planned| rest.partition_point(|(programs, until)| is_settled(programs, *until, planned)));
        let is_walked = looked_at.map(|version| rest.partition_point(|(programs, _)| programs.walk_version() <= version));
        let next = [is_due, is_stale, is_walked].into_iter().flatten().min()?;
        rest.get(next).map(|(programs, until)| (from + next, programs, *until))
    }

    /// A version has or had a goal: whatever brings points may take some out of lots.
    pub fn has_goals(&self) -> bool {
        self.turn().has_goals
    }

    /// A version that is or was in effect has a goal, and takes points from the oldest lots first.
    pub fn has_goals_oldest_first(&self) -> bool {
        self.turn().has_goals_oldest_first
    }

    /// A version had the reward, be it the one in effect.
    pub(in crate::domain) fn had_reward(&self, reward: &RewardId) -> bool {
        self.known.turns[..=self.newest].iter().any(|turn| turn.program.rewards.contains_key(reward))
    }

    /// The version since which birthdays are as in the newest; 0: no version ever had any.
    pub fn birthday_version(&self) -> u32 {
        self.turn().birthday_version
    }

    /// The versions with which birthdays became other than before, the oldest first.
    pub(in crate::domain) fn birthday_changes(&self) -> impl Iterator<Item = &Arc<Program>> {
        let changes = self.known.turns[..=self.newest].iter().filter(|turn| turn.birthday_version == turn.program.version);
        changes.map(|turn| &turn.program)
    }

    /// The version since which members are to be looked at, whether or not something of theirs is due: since birthdays or segments are as they
    /// are, or tiers are reviewed at once. 0: no version asks for it.
    pub fn walk_version(&self) -> u32 {
        self.birthday_version().max(self.review_at_once().map_or(0, |(version, _)| version)).max(self.segment_version())
    }

    /// The newest version that reviews all tiers at once, and since when.
    pub fn review_at_once(&self) -> Option<(u32, Timestamp)> {
        self.tier_bounds().at_change.last().copied()
    }

    /// The version since which segments are as in the newest; 0: no version ever had any.
    pub fn segment_version(&self) -> u32 {
        self.turn().segment_version
    }

    /// The same as of an instant.
    pub(in crate::domain) fn segment_version_at(&self, instant: Timestamp) -> u32 {
        self.known.turns[self.index_at(instant)].segment_version
    }

    /// The same as of a version that took effect.
    pub(in crate::domain) fn segment_version_of(&self, version: u32) -> u32 {
        self.known.turns.iter().rfind(|turn| turn.program.version <= version).map_or(0, |turn| turn.segment_version)
    }

    /// The versions with which segments became other than before, the oldest first.
    pub(in crate::domain) fn segment_changes(&self) -> impl Iterator<Item = &Program> {
        let changes = self.known.turns[..=self.newest].iter().filter(|turn| turn.segment_version == turn.program.version);
        changes.map(|turn| &*turn.program)
    }

    /// Of the longest window that a segment of any version had.
    pub(in crate::domain) fn segment_days(&self) -> u32 {
        self.turn().segment_days
    }

    pub(in crate::domain) fn voucher_codes(&self) -> &VoucherCodeKey {
        &self.known.voucher_codes
    }

    /// The most that any version so far has let a purchase be late by: the newest may be changed back to it.
    pub fn max_age_days(&self) -> u32 {
        self.turn().max_age_days
    }

    /// What all versions so far together ask of the reviews of tiers.
    pub(in crate::domain) fn tier_bounds(&self) -> &TierBounds {
        &self.turn().tier_bounds
    }

    fn turn(&self) -> &Turn {
        &self.known.turns[self.newest]
    }

    /// The version that is in effect.
    pub fn newest(&self) -> &Arc<Program> {
        &self.turn().program
    }

    /// The one that was published last, in effect or not.
    pub fn last(&self) -> &Arc<Program> {
        self.known.published.last().expect("a programme has at least one version")
    }

    /// Those that will take effect, the next one first.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Arc<Program>> {
        self.known.turns[self.newest + 1..].iter().map(|turn| &turn.program)
    }

    /// Any that was published, also one that never took effect.
    pub fn version(&self, version: u32) -> Option<&Arc<Program>> {
        self.known.published.iter().find(|program| program.version == version)
    }

    /// The version in effect at an instant; before the first, the first. Of an instant ahead of now, the one that will be as far as is known.
    pub fn at(&self, instant: Timestamp) -> &Arc<Program> {
        &self.known.turns[self.index_at(instant)].program
    }

    /// The version in effect at an instant; none before the first.
    pub(in crate::domain) fn in_force(&self, instant: Timestamp) -> Option<&Arc<Program>> {
        Some(self.at(instant)).filter(|version| version.takes_effect() <= instant)
    }

    /// The versions in effect at an instant and later, as far as they are by now, each with since when: the first one since ever.
    pub(in crate::domain) fn since(&self, instant: Timestamp) -> impl Iterator<Item = (&Program, Timestamp)> {
        let start = |program: &Program, place: usize| if place == 0 { Timestamp::MIN } else { program.takes_effect() };
        let turns = self.known.turns.iter().enumerate().take(self.newest + 1).skip(self.index_at(instant));
        turns.map(move |(place, turn)| (&*turn.program, start(&turn.program, place)))
    }

    /// How points lapse with inactivity: as a version says, or the newest before it that does.
    pub fn inactivity(&self, version: u32) -> Option<(&Program, InactivityPolicy)> {
        let known = self.known.turns.iter().rev().filter(|turn| turn.program.version <= version);
        known.into_iter().find_map(|turn| Some((&*turn.program, turn.program.inactivity()?)))
    }

    /// The same as of the newest version.
    pub(in crate::domain) fn newest_inactivity(&self) -> Option<InactivityPolicy> {
        self.inactivity(self.newest().version).map(|(_, policy)| policy)
    }

    fn index_at(&self, instant: Timestamp) -> usize {
        self.known.turns.iter().rposition(|turn| turn.program.takes_effect() <= instant).unwrap_or(0)
    }
}
