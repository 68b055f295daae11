//! Points that lapse by calendar months without activity, reckoned by a list of the months with some and by going from month to month.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date};
use loyaltyd::{contract::v1::expiry_policy::CountedActivity, domain::MonthRecord};

use super::{
    Account, Act, Lot,
    book::{Book, Idle, Lapse, Policy},
    earning::EarnedLot,
    facts::LotSaid,
    promotions::Met,
};

/// Counted from January of the year 0.
pub type Month = i32;

pub fn month(book: &Book, instant: Timestamp) -> Month {
    let date = book.date(instant);
    Month::from(date.year()) * 12 + Month::from(date.month()) - 1
}

fn start(book: &Book, month: Month) -> Timestamp {
    book.dawn(Date::new((month / 12) as i16, (month % 12 + 1) as i8, 1).expect("within the calendar"))
}

/// What of a command's points comes under which form of inactivity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Brought {
    pub idle: bool,
    pub by_month: bool,
}

impl Brought {
    /// Of lots that hold points which can be spent.
    pub fn with<'a>(lots: impl Iterator<Item = &'a LotSaid>) -> Self {
        let mut brought = Self::default();
        for lot in lots.filter(|lot| lot.waits.is_none() && lot.points > lot.debt_paid) {
            brought.idle |= lot.lapse == Lapse::Inactive;
            brought.by_month |= matches!(lot.lapse, Lapse::Month(_));
        }
        brought
    }
}

/// As an entry tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    most: i32,
    begun: Month,
    latest: Month,
    without: Vec<Month>,
    paused: bool,
    ran_out: Option<(Month, Timestamp)>,
    first: Option<Timestamp>,
}

/// `None`: nothing is counted.
pub fn found(record: &MonthRecord) -> Option<Record> {
    if *record == MonthRecord::default() {
        return None;
    }
    Some(Record {
        most: i32::try_from(record.months).expect("it fits"),
        begun: record.first.expect("what is counted has a beginning").0,
        latest: record.latest.expect("what is counted has a beginning").0,
        without: record.inactive.iter().map(|month| month.0).collect(),
        paused: record.paused,
        ran_out: record.ran_out.map(|ran_out| (ran_out.through.0, ran_out.time)),
        first: record.lapse_time,
    })
}

#[derive(Debug, Clone, Default)]
pub struct Months {
    /// After so many without activity points lapse.
    most: i32,
    /// It and all before are as if the member had been active in them. `None`: nothing is counted yet.
    since: Option<Month>,
    /// Of those before it nothing is known that another one could be told.
    begun: Month,
    /// Those after it in which the member was active.
    active: BTreeSet<Month>,
    /// The tier keeps points from lapsing.
    paused: bool,
    /// Ends of months at which all had lapsed that had been earned up to a month, as was known then.
    ends: Vec<(Month, Timestamp)>,
    pub told: Option<Record>,
    pub met: Met,
}

/// What must be met.
pub const KINDS: [&str; 12] = [
    "lapsed by months",
    "several months at once",
    "a month more",
    "a month reported late",
    "lapsed before it was told",
    "months kept",
    "months go on",
    "months more than before",
    "lapsed while it was taken",
    "months of two",
    "months given",
    "by months and together",
];

impl Months {
    pub fn note(&mut self, kind: &'static str) {
        *self.met.entry(kind).or_default() += 1;
    }

    pub fn is_counted(&self) -> bool {
        self.since.is_some()
    }

    pub fn is_without(&self, month: Month) -> bool {
        self.since.is_some_and(|since| month > since) && !self.active.contains(&month)
    }

    /// The last in which points are there that were earned in a month.
    fn last(&self, earned: Month) -> Month {
        let (mut month, mut left) = (earned, self.most);
        while left > 0 {
            month += 1;
            left -= i32::from(self.is_without(month));
        }
        month
    }

    /// When points lapse that were earned in a month, as far as is known.
    pub fn lapse(&self, book: &Book, earned: Month) -> Option<Timestamp> {
        (self.is_counted() && !self.paused).then(|| start(book, self.last(earned) + 1))
    }

    /// Late points may have lapsed before anybody told of them.
    pub fn lapse_told(&self, book: &Book, most: i32, lapse: Lapse, now: Timestamp) -> Lapse {
        let then = Self { most, ..self.clone() };
        match lapse {
            Lapse::Month(earned) => then.lapse(book, earned).filter(|time| *time <= now).map_or(lapse, Lapse::On),
            Lapse::On(_) | Lapse::Inactive | Lapse::Never => lapse,
        }
    }

    /// Such ends by what is known now.
    fn ends_until(&self, book: &Book, until: Timestamp) -> Vec<(Month, Timestamp)> {
        let Some(since) = self.since.filter(|_| !self.paused) else { return Vec::new() };
        let mut ends = Vec::new();
        for last in since + 1.. {
            let end = start(book, last + 1);
            if end > until {
                return ends;
            }
            let without: Vec<Month> = (since + 1..=last).rev().filter(|month| self.is_without(*month)).take(self.most as usize).collect();
            if self.is_without(last) && without.len() == self.most as usize {
                ends.push((without[without.len() - 1] - 1, end));
            }
        }
        unreachable!("the calendar has an end")
    }

    /// With those that are listed: what was known of one when it was looked at first stays so.
    fn known_until(&self, book: &Book, until: Timestamp) -> Vec<(Month, Timestamp)> {
        let mut ends = self.ends.clone();
        for (through, end) in self.ends_until(book, until) {
            if !ends.iter().any(|(_, known)| *known == end) {
                ends.push((through, end));
            }
        }
        ends
    }

    fn list_ends(&mut self, book: &Book, until: Timestamp) {
        self.ends = self.known_until(book, until);
    }

    /// The last end of a month at which points had lapsed that were earned in a month, taken at one instant and back at another.
    pub fn lapsed(&self, book: &Book, earned: Month, (taken, back): (Timestamp, Timestamp)) -> Option<Timestamp> {
        let ends = self.known_until(book, back).into_iter();
        ends.filter(|(through, end)| *end > taken && *end <= back && *through >= earned).map(|(_, end)| end).max()
    }

    /// The earliest month from which on points last here as long as with who gives them.
    pub fn as_long_as(&self, most: i32, giver_last: Option<Month>, (earned, current): (Month, Month)) -> Month {
        let then = Self { most, since: self.since.or(Some(current)), ..self.clone() };
        match giver_last {
            None => earned,
            Some(last) => (earned..).find(|month| then.last(*month) >= last).expect("a later one lasts longer"),
        }
    }

    /// After how many months without activity points lapse behind an entry. `had`: there are some, `held`: some are set aside.
    pub fn most_by(&self, idle: &Idle, (had, held): (bool, bool)) -> i32 {
        match (idle.by_month, self.is_counted()) {
            (false, true) => self.most,
            (true, _) if !had && !held => idle.months,
            (true | false, _) => idle.months.max(self.most),
        }
    }

    /// It was without activity, as far as is known, or nothing is known of it.
    fn may_be_without(&self, month: Month) -> bool {
        self.since.is_none() || month < self.begun || self.is_without(month)
    }

    /// Of two who are one from now on a month is without activity that was so for both.
    pub fn join(&mut self, book: &Book, other: &Self, now: Timestamp) {
        other.met.iter().for_each(|(kind, times)| *self.met.entry(kind).or_default() += times);
        if self.is_counted() && other.is_counted() {
            self.note("months of two");
        }
        self.list_ends(book, now);
        self.most = self.most.max(other.most);
        self.paused |= other.paused;
        let begun = [&*self, other].into_iter().filter(|one| one.is_counted()).map(|one| one.begun).min();
        if let (Some(begun), Some(latest)) = (begun, self.latest().max(other.latest())) {
            let both = |month: Month| self.may_be_without(month) && other.may_be_without(month);
            let since = (begun + 1..=latest).find(|month| both(*month)).map_or(latest, |first| first - 1);
            self.active = (since + 1..=latest).filter(|month| !both(*month)).collect();
            (self.since, self.begun) = (Some(since), begun);
            self.forget();
        }
    }

    /// Of the months without activity before the last with some twice as many are kept as points lapse after.
    fn forget(&mut self) {
        let (Some(since), Some(latest)) = (self.since, self.latest()) else { return };
        let first = (since..latest).rev().filter(|month| self.is_without(*month)).nth(2 * self.most as usize - 1);
        self.since = self.since.max(first.map(|first| first - 1));
        self.active.retain(|month| self.since.is_none_or(|since| *month > since));
    }

    /// All months until then are as if the member had been active in them.
    fn begin(&mut self, month: Month) {
        self.begun = if self.is_counted() { 0 } else { month };
        self.since = self.latest().max(Some(month));
        self.active.clear();
    }

    fn latest(&self) -> Option<Month> {
        self.active.last().copied().or(self.since)
    }

    fn record(&self, first: Option<Timestamp>) -> Option<Record> {
        let since = self.since?;
        let latest = self.latest()?;
        let without = (since..latest).filter(|month| self.is_without(*month)).collect();
        let Self { most, begun, paused, .. } = *self;
        Some(Record { most, begun, latest, without, paused, ran_out: self.ends.iter().copied().max_by_key(|(_, end)| *end), first })
    }
}

impl Account {
    /// What lapses by months and can be spent.
    pub fn by_month(&self) -> i64 {
        self.lots.iter().filter(|lot| matches!(lot.lapse, Lapse::Month(_))).map(|lot| lot.points).sum()
    }

    pub fn has_held(&self) -> bool {
        self.holds.values().any(|hold| hold.points > 0)
    }

    /// When the first points lapse by months.
    pub fn months_end(&self, book: &Book) -> Option<Timestamp> {
        let lapse = |lapse| if let Lapse::Month(earned) = lapse { self.months.lapse(book, earned) } else { None };
        self.lots.iter().filter_map(|lot| lapse(lot.lapse)).min()
    }
}

impl Act<'_> {
    /// How long points last that this member gives away.
    pub fn lasts(&self, lapse: Lapse) -> Option<Month> {
        let Lapse::Month(earned) = lapse else { return None };
        let months = &self.account.months;
        let now = month(self.books.newest(), self.now);
        // While it is kept from lapsing: as if that ended now.
        months.is_counted().then(|| if months.paused { now + months.most } else { months.last(earned) })
    }

    /// After how many months points lapse that come with what is told now.
    pub fn most_now(&self) -> i32 {
        let idle = self.books.idle_book(self.books.newest()).map(|(_, idle)| idle);
        let account = &self.account;
        idle.map_or(0, |idle| account.months.most_by(idle, (account.by_month() > 0, account.has_held())))
    }

    /// What the next entry makes of the months. `pauses`: the tier that is held behind it keeps points from lapsing.
    pub fn count_months(&mut self, book: &Book, pauses: bool, occurred_time: Timestamp) {
        let idle = book.inactivity.as_ref().expect("it is a book with some");
        let known = if self.asked || self.acted { self.now } else { occurred_time };
        let (what, brought) = self.stirred;
        let had = self.by_month_before > 0;
        let months = &mut self.account.months;
        if !(idle.by_month || brought.by_month || months.is_counted()) {
            return;
        }
        let counts = idle.counted.contains(&what);
        match (months.paused, pauses) {
            (true, true) => return,
            // A tier that is entered late has kept points from lapsing since.
            (false, true) => months.list_ends(book, occurred_time),
            (true, false) => {}
            (false, false) if counts || (brought.by_month && !had) => months.list_ends(book, known),
            (false, false) => return,
        }
        if had && idle.months > months.most {
            months.note("months more than before");
        }
        months.most = months.most_by(idle, (had, self.held_before));
        let was_paused = std::mem::replace(&mut months.paused, pauses);
        if had && was_paused != pauses {
            months.note(if pauses { "months kept" } else { "months go on" });
        }
        if was_paused || !months.is_counted() {
            let is_of_then = counts && !was_paused && !pauses;
            return months.begin(month(book, if is_of_then { occurred_time } else { known }));
        }
        if counts && !pauses {
            let active = month(book, occurred_time);
            if had && months.is_without(active) {
                months.note(if active < month(book, known) { "a month reported late" } else { "a month more" });
            }
            months.active.extend(Some(active).filter(|active| Some(*active) > months.since));
            months.begun = months.begun.min(active);
            months.forget();
        }
    }

    /// What of two is one now: the tier that they have keeps points from lapsing, or does not.
    pub fn join_pause(&mut self, book: &Book, pauses: bool) {
        let months = &mut self.account.months;
        if std::mem::replace(&mut months.paused, pauses && months.since.is_some()) && !pauses {
            months.begin(month(book, self.now));
        }
    }

    /// Points that were taken at one time, at a later one.
    pub fn back(&mut self, parts: &[Lot], (since, until): (Timestamp, Timestamp)) -> Vec<Lot> {
        let back = self.account.as_they_are(self.books.newest(), parts, (since, until));
        if parts.iter().zip(&back).any(|(was, is)| matches!(was.lapse, Lapse::Month(_)) && was.lapse != is.lapse) {
            self.account.months.note("lapsed while it was taken");
        }
        back
    }

    /// Some of what is told late had lapsed before.
    pub fn note_told(&mut self, lot: &EarnedLot) {
        if lot.policy == Policy::ByMonth && matches!(lot.said.lapse, Lapse::On(_)) {
            self.account.months.note("lapsed before it was told");
        }
    }

    pub fn note_lapsed(&mut self, gone: &[Lot]) {
        let earned: BTreeSet<Month> =
            gone.iter().filter_map(|lot| if let Lapse::Month(earned) = lot.lapse { Some(earned) } else { None }).collect();
        match earned.len() {
            0 => {}
            1 => self.account.months.note("lapsed by months"),
            _ => self.account.months.note("several months at once"),
        }
    }

    /// What the entry says of the months, if it changes them.
    pub fn tell_months(&mut self, always: bool) -> Option<Record> {
        self.stirred = (CountedActivity::Unspecified, Brought::default());
        self.by_month_before = self.account.by_month();
        self.held_before = self.account.has_held();
        if self.by_month_before > 0 && self.account.lots.iter().any(|lot| lot.lapse == Lapse::Inactive) {
            self.account.months.note("by months and together");
        }
        let book = self.books.newest();
        let record = self.account.months.record(self.account.months_end(book));
        let is_told = self.account.months.told == record && !always;
        self.account.months.told.clone_from(&record);
        record.filter(|_| !is_told)
    }
}
