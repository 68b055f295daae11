//! Segments: groups of members that a rule book describes by a condition over what the service knows of each. Who is in which is a part of a
//! member's state: it changes by an entry, after what changes the member, or when a local day begins on which a condition turns.
//!
//! The header keeps from when on that may be, so that nobody is looked at every day. It may be kept too early, never too late: after a purchase
//! that only puts it off nothing is entered, and when the day comes on which nothing turns, the next one is.

use std::collections::BTreeSet;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
};

use super::{
    AmountField, CalendarField, Condition, Facts, Header, LatelyKind, LineAmountField, LineListField, LineTextField, ListField,
    NumberField, Overflow, Program, SegmentId, SegmentWindow, TextField, TierId, TimeField, TruthField, Turning, calendar, money,
};

/// So many a rule book can have.
pub const MAX_SEGMENTS: usize = 50;

/// Days that are looked at for the next one on which a condition turns, at most. If none of them is one, the member is looked at again then.
const LOOK_AHEAD: usize = 40;

/// What it may cost to look at a member once, in the steps of conditions: all segments of a rule book together, each on all days that are
/// looked at. It is done with each change of a member, so that it is less than a purchase may cost otherwise.
pub const MAX_SEGMENT_STEPS: u64 = 1_000_000;

/// As a rule book describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub id: SegmentId,
    pub display_name: String,
    /// Empty: none.
    pub description: String,
    /// Of [`super::Scope::Segment`].
    pub condition: Condition,
}

impl Segment {
    /// Of its longest window; 0: it has none.
    pub fn window_days(&self) -> u32 {
        let windows = self.condition.turnings().iter().map(|turning| match turning {
            Turning::Window(window) => window.days(),
            Turning::AgeDays(_) | Turning::DaysSinceLastPurchase(_) | Turning::Lately(..) | Turning::Calendar(_) => 0,
        });
        windows.max().unwrap_or(0)
    }

    /// What it costs at most to look at a member once.
    pub fn steps(&self) -> u64 {
        // One that nothing turns is looked at as of now alone.
        let looks = if self.condition.turnings().is_empty() { 1 } else { LOOK_AHEAD as u64 };
        self.condition.steps().saturating_mul(looks)
    }

    /// What says who is in it.
    fn is_judged_as(&self, other: &Self) -> bool {
        self.id == other.id && self.condition == other.condition
    }
}

/// Whether two versions put the same members into the same segments.
pub(super) fn judge_alike(one: &Program, other: &Program) -> bool {
    let tiers = |program: &Program| program.tiers.iter().map(|tier| tier.id.clone()).collect::<Vec<TierId>>();
    let segments = one.segments.len() == other.segments.len()
        && one.segments.iter().zip(&other.segments).all(|(segment, next)| segment.is_judged_as(next));
    segments && (one.segments.is_empty() || tiers(one) == tiers(other))
}

/// The segments that a member is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segments {
    /// In the order of the ids.
    pub held: Vec<SegmentHeld>,
    /// Since which version of the rule book they are judged as they were last; 0: they never were.
    pub policy_version: u32,
    /// When a condition may turn though nothing happens; not later than that. `None`: none will.
    pub next_due_time: Option<Timestamp>,
}

/// A segment that a member is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeld {
    pub segment: SegmentId,
    pub since: Timestamp,
}

/// It was looked at which segments a member is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentsChanged {
    /// In the order of the ids.
    pub entered: Vec<SegmentId>,
    pub left: Vec<SegmentId>,
    pub policy_version: u32,
    pub next_due_time: Option<Timestamp>,
    /// How large those are with it that are entered or left, in that order. Whoever commits it says so, since it is counted over all members.
    pub sizes: Vec<SegmentSize>,
}

/// How many are in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentSize {
    /// How often it has changed: of several the highest is the newest.
    pub change: u64,
    pub members: u64,
}

impl SegmentSize {
    pub fn with_one(self) -> Option<Self> {
        Some(Self { change: self.change.checked_add(1)?, members: self.members.checked_add(1)? })
    }

    pub fn without_one(self) -> Option<Self> {
        Some(Self { change: self.change.checked_add(1)?, members: self.members.checked_sub(1)? })
    }
}

impl SegmentsChanged {
    /// Those that are entered, then those that are left, each with whether it is entered.
    pub fn turned(&self) -> impl Iterator<Item = (&SegmentId, bool)> {
        self.entered.iter().map(|segment| (segment, true)).chain(self.left.iter().map(|segment| (segment, false)))
    }
}

impl Segments {
    pub fn is_in(&self, segment: &SegmentId) -> bool {
        self.held.binary_search_by(|held| held.segment.cmp(segment)).is_ok()
    }

    /// The member is in it, and was so at an instant. Should the clock have been set back since, what began later than now has begun.
    pub(super) fn was_in(&self, segment: &SegmentId, instant: Timestamp, now: Timestamp) -> bool {
        let held = self.held.binary_search_by(|held| held.segment.cmp(segment));
        held.is_ok_and(|place| self.held[place].since.min(now) <= instant)
    }

    /// The member is in none, and will be in none by time alone.
    pub(super) fn are_none(&self) -> bool {
        self.held.is_empty() && self.next_due_time.is_none()
    }

    pub(super) fn fold(&mut self, changed: &SegmentsChanged, since: Timestamp) {
        self.held.retain(|held| !changed.left.contains(&held.segment));
        for segment in &changed.entered {
            if let Err(place) = self.held.binary_search_by(|held| held.segment.cmp(segment)) {
                self.held.insert(place, SegmentHeld { segment: segment.clone(), since });
            }
        }
        self.policy_version = changed.policy_version;
        self.next_due_time = changed.next_due_time;
    }

    /// What leads to a state: those that are entered, and those that are left.
    pub(super) fn turned(&self, now: &BTreeSet<&SegmentId>) -> (Vec<SegmentId>, Vec<SegmentId>) {
        let entered = now.iter().filter(|segment| !self.is_in(segment)).map(|segment| (*segment).clone()).collect();
        let left = self.held.iter().filter(|held| !now.contains(&held.segment)).map(|held| held.segment.clone()).collect();
        (entered, left)
    }
}

/// The segments that a member is in on a day, as it is.
pub(super) fn judged<'a>(program: &'a Program, header: &Header, day: Date) -> BTreeSet<&'a SegmentId> {
    let facts = MemberFacts::new(program, header, day);
    // A number that is too large says nothing of anybody; what the member does goes on all the same.
    let is_in = |segment: &&Segment| segment.condition.holds(&facts).unwrap_or(false);
    program.segments.iter().filter(is_in).map(|segment| &segment.id).collect()
}

/// The first day after one on which a member will be in other segments, if nothing happens; or one before that, if it is far away. `None`: it
/// will not. `held`: those of the day before. Each segment is looked at on its own days alone, and on none behind one that is known already.
pub(super) fn next_turn(program: &Program, header: &Header, day: Date, held: &BTreeSet<&SegmentId>) -> Option<Date> {
    let mut facts = MemberFacts::new(program, header, day);
    let mut soonest: Option<Date> = None;
    for segment in &program.segments {
        facts.day = day;
        for look in 1..=LOOK_AHEAD {
            let next = segment.condition.turnings().iter().filter_map(|turning| facts.next_look(turning)).min();
            let Some(next) = next.filter(|next| soonest.is_none_or(|soonest| *next < soonest)) else { break };
            facts.day = next;
            if look == LOOK_AHEAD || segment.condition.holds(&facts).unwrap_or(false) != held.contains(&segment.id) {
                soonest = Some(next);
                break;
            }
        }
    }
    soonest
}

/// What conditions see of a member on a day.
struct MemberFacts<'a> {
    program: &'a Program,
    header: &'a Header,
    day: Date,
    joined: Date,
    latest: Date,
}

impl<'a> MemberFacts<'a> {
    fn new(program: &'a Program, header: &'a Header, day: Date) -> Self {
        let local = |instant| calendar::local_date(&program.time_zone, instant);
        let joined = local(header.create_time);
        Self { program, header, day, joined, latest: header.last_purchase_time.map_or(joined, local) }
    }

    fn next_look(&self, turning: &Turning) -> Option<Date> {
        match *turning {
            Turning::AgeDays(days) => self.next_count(self.joined, days),
            Turning::DaysSinceLastPurchase(days) => self.next_count(self.latest, days),
            Turning::Window(window) => {
                let counts = &self.header.day_counts;
                let first = self.window_start(window);
                let leaving = counts.days(first, Date::MAX).next().and_then(|first| day_without(first, window));
                // What is told ahead of its time comes into all windows on its day.
                let tomorrow = calendar::add_days(self.day, 1).ok()?;
                let coming = counts.days(tomorrow, Date::MAX).next();
                leaving.into_iter().chain(coming).filter(|next| *next > self.day).min()
            }
            Turning::Lately(kind, ref id, days) => {
                let leaving = calendar::add_days(self.last_did(kind, id)?, days).ok();
                leaving.filter(|next| *next > self.day)
            }
            Turning::Calendar(CalendarField::Year) => Date::new(self.day.year().checked_add(1)?, 1, 1).ok(),
            Turning::Calendar(CalendarField::Month) => calendar::add_months(self.day.first_of_month(), 1).ok(),
            Turning::Calendar(CalendarField::Day | CalendarField::Weekday | CalendarField::Hour | CalendarField::Minute) => {
                calendar::add_days(self.day, 1).ok()
            }
        }
    }

    /// The next day on which as many days have passed since another one, or one more.
    fn next_count(&self, since: Date, days: i64) -> Option<Date> {
        let days = u32::try_from(days).ok()?;
        let reached = calendar::add_days(since, days).ok()?;
        let passed = calendar::add_days(reached, 1).ok();
        std::iter::once(reached).chain(passed).find(|next| *next > self.day)
    }

    fn window_start(&self, window: SegmentWindow) -> Date {
        window_start(self.day, window)
    }

    /// The day on which something was last done. What is told ahead of its time was done.
    fn last_did(&self, kind: LatelyKind, id: &str) -> Option<Date> {
        self.header.lately.last(kind, id).map(|time| calendar::local_date(&self.program.time_zone, time))
    }

    fn days_since(&self, day: Date) -> i64 {
        calendar::days_between(day, self.day).map_or(0, |days| days.max(0))
    }

    fn window(&self, window: SegmentWindow) -> Result<super::LifetimeTotals, Overflow> {
        self.header.day_counts.total(self.window_start(window), calendar::add_days(self.day, 1)?)
    }

    fn tier(&self) -> Option<&'a TierId> {
        self.program.tier(self.header.tier.current().map(|held| &held.tier)).map(|tier| &tier.id)
    }
}

/// The first day of the window that ends on a day.
fn window_start(day: Date, window: SegmentWindow) -> Date {
    let start = match window {
        SegmentWindow::Days(days) => calendar::subtract_days(day, days.saturating_sub(1)),
        SegmentWindow::Months(months) => calendar::add_days(day, 1).and_then(|next| calendar::subtract_months(next, months)),
    };
    start.unwrap_or(Date::MIN)
}

/// The first day whose window is behind another day.
fn day_without(counted: Date, window: SegmentWindow) -> Option<Date> {
    match window {
        SegmentWindow::Days(days) => calendar::add_days(counted, days).ok(),
        SegmentWindow::Months(months) => {
            // After a short month some days have a window that begins with its last day.
            let earliest = calendar::add_months(counted, months).ok()?;
            (0..=4).filter_map(|days| calendar::add_days(earliest, days).ok()).find(|day| window_start(*day, window) > counted)
        }
    }
}

/// Of purchases and their lines a segment's condition asks nothing.
impl Facts for MemberFacts<'_> {
    fn local_time(&self) -> DateTime {
        self.day.at(0, 0, 0, 0)
    }

    fn truth(&self, field: TruthField) -> Result<bool, Overflow> {
        match field {
            TruthField::PurchaseIsFirst | TruthField::PurchaseOffline => Ok(false),
        }
    }

    fn number(&self, field: NumberField) -> Result<i64, Overflow> {
        match field {
            NumberField::MemberTierRank => i64::try_from(self.program.rank(self.tier())).map_err(|_| Overflow),
            NumberField::MemberAgeDays => Ok(self.days_since(self.joined)),
            NumberField::MemberDaysSinceLastPurchase => Ok(self.days_since(self.latest)),
            NumberField::MemberPurchases => i64::try_from(self.header.lifetime.visits).map_err(|_| Overflow),
        }
    }

    fn amount(&self, field: AmountField) -> Result<i128, Overflow> {
        match field {
            AmountField::MemberSpend => money::to_units(self.header.lifetime.spend, self.program.currency.digits()),
            AmountField::MemberAvailablePoints => Ok(self.header.balance.available.0.into()),
            AmountField::MemberPendingPoints => Ok(self.header.balance.pending.0.into()),
            AmountField::MemberQualifyingPoints => Ok(self.header.lifetime.qualifying_points.0.into()),
            AmountField::PurchaseBasis
            | AmountField::PurchaseTotal
            | AmountField::PurchaseOrderDiscount
            | AmountField::PurchaseQuantity => Ok(0),
        }
    }

    fn text(&self, field: TextField) -> &str {
        match field {
            TextField::MemberTier => self.tier().map_or("", TierId::as_str),
            TextField::PurchaseStoreId | TextField::PurchaseChannel => "",
        }
    }

    fn time(&self, field: TimeField) -> Timestamp {
        match field {
            TimeField::Now | TimeField::MemberCreateTime => self.header.create_time,
        }
    }

    fn count(&self, field: ListField) -> usize {
        match field {
            ListField::PurchaseLabels | ListField::PurchaseTenders | ListField::PurchaseCodes | ListField::MemberSegments => 0,
        }
    }

    fn item(&self, _field: ListField, _index: usize) -> &str {
        ""
    }

    fn lines(&self) -> usize {
        0
    }

    fn line_text(&self, _field: LineTextField, _line: usize) -> &str {
        ""
    }

    fn line_amount(&self, _field: LineAmountField, _line: usize) -> Result<i128, Overflow> {
        Ok(0)
    }

    fn line_count(&self, _field: LineListField, _line: usize) -> usize {
        0
    }

    fn line_item(&self, _field: LineListField, _line: usize, _index: usize) -> &str {
        ""
    }

    fn did_lately(&self, kind: LatelyKind, id: &str, days: u32) -> bool {
        self.last_did(kind, id).is_some_and(|last| last >= self.window_start(SegmentWindow::Days(days)))
    }

    fn purchases_in(&self, window: SegmentWindow) -> Result<i64, Overflow> {
        i64::try_from(self.window(window)?.visits).map_err(|_| Overflow)
    }

    fn spend_in(&self, window: SegmentWindow) -> Result<i128, Overflow> {
        money::to_units(self.window(window)?.spend, self.program.currency.digits())
    }
}
