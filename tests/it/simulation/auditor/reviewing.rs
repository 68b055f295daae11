//! Tiers that end and are reviewed. All that counts is kept with its day, and summed up anew each time.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use loyaltyd::contract::v1::{
    TierPolicy,
    tier_policy::{ReviewOutcome, Validity, Window},
};

use super::{
    Account, Act, Lot,
    book::{Book, days_later, months_later},
    facts::{Fact, LotSaid},
};

/// What counted on a day: points, spend, visits.
pub type Count = (Date, i64, i128, i64);

/// A place among the tiers, and the first day on which it is not held any more.
type Status = (usize, Option<Date>);

/// The end of a tier that was held before, or was lost.
pub type Before = (Option<String>, Option<Date>);

/// How many tiers that reviews took away are remembered.
const MANY_LOST: usize = 4;

fn policy(book: &Book) -> TierPolicy {
    book.document.tier_policy.unwrap_or_default()
}

fn first_of(day: Date, months: i8) -> Date {
    Date::new(day.year(), (day.month() - 1) / months * months + 1, 1).expect("a date")
}

/// From the first day to the one after the last; `None`: all time.
fn window(book: &Book, day: Date) -> Option<(Date, Date)> {
    match policy(book).window() {
        Window::Unspecified | Window::Lifetime => None,
        Window::CalendarYear => Some((first_of(day, 12), months_later(first_of(day, 12), 12))),
        Window::CalendarQuarter => Some((first_of(day, 3), months_later(first_of(day, 3), 3))),
        Window::RollingMonths => Some((months_later(days_later(day, 1), -policy(book).rolling_months), days_later(day, 1))),
        Window::MembershipYear => unreachable!("no rule book of ours has it"),
    }
}

/// The first days on which what has been counted last is in a rolling window no more, or almost.
pub fn turning_days(account: &Account, book: &Book) -> Vec<Date> {
    let months = policy(book).rolling_months;
    let counted = account.counts.iter().rev().take(if months > 0 { 3 } else { 0 });
    counted.map(|(day, ..)| months_later(*day, months)).collect()
}

fn has_periods(book: &Book) -> bool {
    matches!(policy(book).window(), Window::CalendarYear | Window::CalendarQuarter)
}

impl Account {
    fn held(&self, book: &Book) -> Status {
        (book.place_of_tier(self.tiers.last().map(|(tier, _)| tier)), self.held_until)
    }

    pub fn is_on_floor(&self) -> bool {
        self.held_until.is_none() && self.floor.is_some() && self.floor.as_ref() == self.tiers.last().map(|(tier, _)| tier)
    }
}

impl Act<'_> {
    /// Something counts for tiers that occurred then.
    pub fn count(&mut self, time: Timestamp, points: i64, spend: i128, visits: i64) {
        let day = self.books.newest().date(time);
        Arc::make_mut(&mut self.account.counts).push((day, points, spend, visits));
    }

    fn totals(&self, window: Option<(Date, Date)>) -> (i64, i128, u64) {
        let account = &self.account;
        let Some((from, to)) = window else { return (account.qualifying, account.spend, account.visits) };
        let mut sum = (0, 0, 0);
        for (_, points, spend, visits) in account.counts.iter().filter(|(day, ..)| (from..to).contains(day)) {
            sum = (sum.0 + points, sum.1 + spend, sum.2 + visits);
        }
        (sum.0.max(0), sum.1.max(0), sum.2.max(0) as u64)
    }

    /// What counts beside something that is about to: of the day's window.
    pub fn totals_of(&self, book: &Book, day: Date) -> (i64, i128, u64) {
        self.totals(window(book, day))
    }

    fn reached_on(&self, book: &Book, day: Date) -> Status {
        let place = self.reached(book, self.totals_of(book, day));
        let end = match policy(book).validity() {
            Validity::Unspecified | Validity::Unlimited => None,
            Validity::EndOfPeriod => window(book, day).map(|(_, end)| end),
            Validity::EndOfNextPeriod => window(book, day).and_then(|(_, end)| window(book, end)).map(|(_, end)| end),
            Validity::Months => Some(months_later(day, policy(book).validity_months)),
        };
        (place, end.filter(|_| place > 0))
    }

    fn review_day(book: &Book, end: Date) -> Date {
        days_later(end, policy(book).grace_days.into())
    }

    /// What a tier becomes at its end.
    fn reviewed(&self, book: &Book, place: usize, end: Date) -> Status {
        let to = Self::review_day(book, end);
        let last = days_later(end, -1);
        let mut windows = vec![window(book, last).map(|(from, _)| (from, to))];
        if let Some((from, until)) = window(book, last).filter(|(_, until)| has_periods(book) && *until > end) {
            assert!(from < until);
            windows.push(window(book, days_later(from, -1)));
        }
        let outcome = |window| {
            let reached = self.reached(book, self.totals(window));
            match policy(book).review_outcome() {
                _ if reached >= place => reached,
                ReviewOutcome::Unspecified | ReviewOutcome::Earned => reached,
                ReviewOutcome::OneDown => reached.max(place - 1),
                ReviewOutcome::NeverDown => place,
            }
        };
        let place = windows.into_iter().map(outcome).max().expect("there is one");
        let floor = self.account.floor.as_ref().map_or(0, |floor| book.place_of_tier(Some(floor)));
        let next = match policy(book).validity() {
            Validity::Unspecified | Validity::Unlimited => None,
            Validity::EndOfPeriod | Validity::EndOfNextPeriod => window(book, end).map(|(_, end)| end),
            Validity::Months => Some(months_later(end, policy(book).validity_months)),
        };
        if floor > place { (floor, None) } else { (place, next.filter(|_| place > 0)) }
    }

    /// What would have become of it by now.
    fn by(&self, book: &Book, mut status: Status, now: Timestamp) -> Status {
        while let (place, Some(end)) = status
            && book.dawn(Self::review_day(book, end)) <= now
        {
            status = self.reviewed(book, place, end);
        }
        status
    }

    /// When the tier is reviewed next.
    pub fn next_review(&self) -> Option<Timestamp> {
        let book = self.books.newest();
        let end = self.account.held_until.filter(|_| !self.account.erased)?;
        Some(book.dawn(Self::review_day(book, end)))
    }

    pub fn review(&mut self, time: Timestamp) {
        let book = Arc::clone(self.books.at(time));
        let (place, end) = self.account.held(&book);
        let end = end.expect("it comes to its end");
        let (to, next) = self.reviewed(&book, place, end);
        let until = next.map(|end| book.dawn(end));
        self.account.reached_on = None;
        self.account.held_until = next;
        let tier = book.tiers[to].id.clone();
        if to == place {
            self.enter(Fact::TierKept(tier, until), time, book.version);
            return;
        }
        let lost = self.account.tiers.last().map(|(tier, _)| tier.clone());
        self.account.lost.push((lost, Some(end)));
        if self.account.lost.len() > MANY_LOST {
            self.account.lost.remove(0);
        }
        self.hold_tier(tier, time, (false, until), book.version);
    }

    /// To the highest tier that the newest rule book gives for what the member has, and has still by now; never down.
    pub fn promote(&mut self, time: Timestamp) {
        let book = Arc::clone(self.books.newest());
        let now = if self.asked || self.acted { self.now } else { time };
        let (held, _) = self.account.held(&book);
        let (day, today) = (book.date(time), book.date(now));
        let mut best: Option<(Status, Option<Date>)> = None;
        let mut offer = |status: Status, reached: Option<Date>| {
            if status.0 > held && best.is_none_or(|(best, _)| status.0 > best.0) {
                best = Some((status, reached));
            }
        };
        for (tier, end) in &self.account.lost {
            let end = end.expect("it had one");
            if time < book.dawn(Self::review_day(&book, end)) {
                offer(self.by(&book, (book.place_of_tier(tier.as_ref()), Some(end)), now), None);
            }
        }
        let mut days = vec![day];
        if policy(&book).window() == Window::RollingMonths {
            let until = months_later(day, policy(&book).rolling_months).min(today);
            let mut later: Vec<Date> = self.account.counts.iter().map(|(other, ..)| *other).collect();
            later.retain(|other| *other > day && *other <= until);
            later.sort();
            days.extend(later);
        }
        for day in days {
            let status = self.reached_on(&book, day);
            if status.0 > held {
                offer(self.by(&book, status, now), Some(day));
            }
        }
        let Some(((place, end), reached)) = best else { return };
        let to = book.tiers[place].id.clone();
        let start = if reached.is_some() { self.since(&to, time) } else { now };
        let before = (self.account.tiers.last().map(|(tier, _)| tier.clone()), self.account.held_until);
        let before = if self.account.is_on_floor() { (None, None) } else { before };
        self.account.reached_on = reached.filter(|_| policy(&book).review_returns_at_once).map(|day| (day, before));
        self.account.held_until = end;
        let until = end.map(|end| book.dawn(end));
        let start = self.hold_tier(to.clone(), start, (false, until), book.version);
        if let Some(day) = reached {
            self.reward_tier(&book, &to, day, start);
        }
    }

    /// Since a rule book gives it, and since what gives it was earned.
    fn since(&self, to: &str, time: Timestamp) -> Timestamp {
        let books = &self.books.0;
        let first = books.iter().rposition(|book| book.since <= time).unwrap_or(0);
        let gives = |book: &Book| {
            let (place, _) = self.reached_on(book, book.date(time));
            book.tiers.get(place).is_some_and(|tier| tier.id == to)
        };
        let place = (first..books.len()).find(|place| gives(&books[*place]));
        let since = place.filter(|place| *place > 0).map(|place| books[place].since);
        [since, self.account.latest, Some(time)].into_iter().flatten().max().expect("there is one")
    }

    fn reward_tier(&mut self, book: &Book, to: &str, day: Date, start: Timestamp) {
        let Some(points) = book.tiers.iter().find(|tier| tier.id == to).and_then(|tier| tier.reward) else { return };
        let again = self.account.rewards.get(to).is_some_and(|until| until.is_none_or(|until| day < until));
        if again || self.account.suspended || self.account.erased {
            return;
        }
        let until = match policy(book).validity() {
            _ if has_periods(book) => window(book, day).map(|(_, end)| end),
            Validity::Months => Some(months_later(day, policy(book).validity_months)),
            _ => None,
        };
        self.account.rewards.insert(to.to_owned(), until);
        self.account.last_lot += 1;
        self.account.issued += points;
        let (id, lapse) = (self.account.last_lot, book.lapse(book.expiry, start, start));
        let debt_paid = self.receive(Lot { id, points, lapse, earned: start });
        let lot = LotSaid { id, points, lapse, debt_paid, waits: None };
        self.welcome_by(book, std::iter::once(&lot), start);
        self.enter(Fact::TierRewarded { tier: to.to_owned(), lot }, start, book.version);
    }

    /// The tier that was reached with what has come back goes, where the rule book says so.
    pub fn judge_return(&mut self, sold: Timestamp) {
        let book = Arc::clone(self.books.newest());
        let Some((day, before)) = self.account.reached_on.clone().filter(|_| policy(&book).review_returns_at_once) else { return };
        let (held, _) = self.account.held(&book);
        let today = book.date(self.now);
        // So far back it is remembered what was counted: a month more than two periods or a rolling window, and the days that sales may be
        // late by the first version, and those of grace.
        let months = match policy(&book).window() {
            Window::CalendarYear => 24,
            Window::CalendarQuarter => 6,
            Window::RollingMonths => policy(&book).rolling_months,
            Window::Unspecified | Window::Lifetime | Window::MembershipYear => 0,
        };
        let late = i64::from(self.books.0[0].max_age_days) + i64::from(policy(&book).grace_days);
        let remembered = months_later(days_later(today, -late), -(months + 1));
        let counts = window(&book, day).is_none_or(|(from, to)| (from..to).contains(&book.date(sold)) && from >= remembered);
        if self.account.is_on_floor() || !counts || self.reached_on(&book, day).0 >= held {
            return;
        }
        let before = self.by(&book, (book.place_of_tier(before.0.as_ref()), before.1), self.now);
        let mut earned = self.reached_on(&book, today);
        if policy(&book).validity() == Validity::EndOfNextPeriod {
            let (from, _) = window(&book, today).expect("it has periods");
            let last = self.reached_on(&book, days_later(from, -1));
            if last.0 > earned.0 {
                earned = last;
            }
        }
        let (mut place, mut end) = if before.0 >= earned.0 { before } else { earned };
        let floor = self.account.floor.as_ref().map_or(0, |floor| book.place_of_tier(Some(floor)));
        if floor > place {
            (place, end) = (floor, None);
        }
        if place >= held {
            return;
        }
        self.account.reached_on = None;
        self.account.held_until = end;
        let until = end.map(|end| book.dawn(end));
        self.hold_tier(book.tiers[place].id.clone(), self.now, (false, until), book.version);
    }

    /// What both had; of the same tier the later end.
    pub fn join_reviews(&mut self, old: &Account, own_place: usize, old_place: usize) {
        let book = Arc::clone(self.books.newest());
        let account = &mut self.account;
        let is_others = match own_place.cmp(&old_place) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => account.held_until.is_some_and(|own| old.held_until.is_none_or(|other| other > own)),
            std::cmp::Ordering::Greater => false,
        };
        if is_others {
            account.held_until = old.held_until;
            account.reached_on.clone_from(&old.reached_on);
        }
        let place = |floor: &Option<String>| floor.as_ref().map(|floor| book.place_of_tier(Some(floor)));
        if place(&old.floor) > place(&account.floor) {
            account.floor.clone_from(&old.floor);
        }
        account.lost.extend(old.lost.iter().cloned());
        account.lost.sort_by_key(|(_, end)| *end);
        let surplus = account.lost.len().saturating_sub(MANY_LOST);
        account.lost.drain(..surplus);
        for (tier, until) in &old.rewards {
            let own = account.rewards.entry(tier.clone()).or_insert(*until);
            *own = own.zip(*until).map(|(own, other)| own.max(other));
        }
        Arc::make_mut(&mut account.counts).extend(old.counts.iter().copied());
    }
}
