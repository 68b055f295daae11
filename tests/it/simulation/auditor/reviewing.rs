//! Tiers that end and are reviewed. All that counts is kept with its day, and summed up anew each time.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{
        self, TierPolicy,
        tier_policy::{OnChange, ReviewOutcome, Validity, Window},
    },
    domain::VoucherCause,
};

use super::{
    Account, Act, Books, Lot,
    book::{Book, TierGift, days_later, months_later},
    facts::{Fact, How, LotSaid},
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

pub fn has_periods(book: &Book) -> bool {
    matches!(policy(book).window(), Window::CalendarYear | Window::CalendarQuarter | Window::MembershipYear)
}

/// The first days on which what has been counted last is in a rolling window no more, or almost.
pub fn turning_days(account: &Account, book: &Book) -> Vec<Date> {
    let months = policy(book).rolling_months;
    let counted = account.counts.iter().rev().take(if months > 0 { 3 } else { 0 });
    counted.map(|(day, ..)| months_later(*day, months)).collect()
}

/// What is counted for a tier begins anew with each review, of windows that do not do so by themselves.
pub fn counts_anew(book: &Book) -> bool {
    policy(book).reset_at_review
}

/// All that was counted since the last review, however long ago that was.
pub fn counts_for_life_anew(book: &Book) -> bool {
    counts_anew(book) && matches!(policy(book).window(), Window::Unspecified | Window::Lifetime)
}

fn review_day(book: &Book, end: Date) -> Date {
    days_later(end, policy(book).grace_days.into())
}

impl Books {
    /// The versions with which all members are reviewed, and since when.
    fn tier_changes(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        let judged = |book: &Book| {
            let of = |tier: &v1::Tier| (tier.tier_id.clone(), tier.threshold.clone(), tier.retention.clone());
            (book.document.tiers.iter().map(of).collect::<Vec<_>>(), book.document.tier_policy)
        };
        let pairs = self.0.windows(2).filter(|pair| !pair[1].tiers.is_empty() && policy(&pair[1]).on_change() == OnChange::AtOnce);
        pairs.filter(move |pair| judged(&pair[0]) != judged(&pair[1])).map(|pair| (pair[1].version, pair[1].since))
    }

    /// The version for whose sake the service looks at all members: birthdays are others with it, or all tiers are reviewed.
    pub fn walked_since(&self) -> u32 {
        self.tier_changes().last().map_or(0, |(version, _)| version).max(self.birthdays_since()).max(self.segments_now())
    }
}

impl Account {
    fn held(&self, book: &Book) -> Status {
        (book.place_of_tier(self.tiers.last().map(|(tier, _)| tier)), self.held_until)
    }

    /// The tier of a time among those of a rule book.
    pub fn place_at(&self, book: &Book, time: Timestamp) -> usize {
        book.place_of_tier(self.tiers.iter().rev().find(|(_, since)| *since <= time).map(|(tier, _)| tier))
    }

    /// What was set by hand, and nothing else, holds the member where it is.
    pub fn is_on_floor(&self) -> bool {
        let held = self.tiers.last().map(|(tier, _)| tier);
        self.held_until.is_none() && self.floor.as_ref().is_some_and(|(floor, _)| Some(floor) == held)
    }

    /// From the first day to the one after the last; `None`: all time.
    pub fn window(&self, book: &Book, day: Date) -> Option<(Date, Date)> {
        let next = days_later(day, 1);
        let anew = || self.anew.iter().rev().copied().find(|anew| *anew <= day).filter(|_| counts_anew(book)).unwrap_or(Date::MIN);
        match policy(book).window() {
            Window::Unspecified | Window::Lifetime if counts_anew(book) => {
                let to = self.anew.iter().copied().find(|anew| *anew > day);
                Some((anew(), to.unwrap_or(Date::MAX)))
            }
            Window::Unspecified | Window::Lifetime => None,
            Window::CalendarYear => Some((first_of(day, 12), months_later(first_of(day, 12), 12))),
            Window::CalendarQuarter => Some((first_of(day, 3), months_later(first_of(day, 3), 3))),
            Window::RollingMonths => Some((months_later(next, -policy(book).rolling_months).max(anew()), next)),
            Window::MembershipYear => {
                let joined = book.date(self.joined.expect("it is enrolled"));
                // The anniversary of this calendar year, and those beside it.
                let years = i32::from(day.year() - joined.year());
                let [before, this, after] = [years - 1, years, years + 1].map(|years| months_later(joined, 12 * years));
                Some(if this <= day { (this, after) } else { (before, this) })
            }
        }
    }

    /// When the status ends of itself, or what was set by hand.
    pub fn next_end(&self, book: &Book) -> Option<Timestamp> {
        match self.held_until {
            Some(end) => Some(book.dawn(review_day(book, end))),
            None => self.floor.as_ref().filter(|_| self.is_on_floor()).and_then(|(_, end)| Some(book.dawn((*end)?))),
        }
    }

    /// What was set by hand and still is so at an instant.
    pub fn floor_at(&self, book: &Book, time: Timestamp) -> usize {
        let floor = self.floor.as_ref().filter(|(_, end)| end.is_none_or(|end| book.dawn(end) > time));
        floor.map_or(0, |(floor, _)| book.place_of_tier(Some(floor)))
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
        self.totals(self.account.window(book, day))
    }

    /// Until when a tier is held that is reached on a day.
    fn end_from(&self, book: &Book, place: usize, day: Date) -> Option<Date> {
        let period_end = |day| self.account.window(book, day).map(|(_, end)| end);
        let end = match policy(book).validity() {
            Validity::Unspecified | Validity::Unlimited => None,
            Validity::EndOfPeriod => period_end(day),
            Validity::EndOfNextPeriod => period_end(day).and_then(period_end),
            Validity::Months => Some(months_later(day, policy(book).validity_months)),
        };
        end.filter(|_| place > 0)
    }

    fn reached_on(&self, book: &Book, day: Date) -> Status {
        let place = self.reached(book, self.totals_of(book, day));
        (place, self.end_from(book, place, day))
    }

    /// What a day has by what is counted: also what was reached in the period before, where that lasts to the end of this one.
    fn earned_by(&self, book: &Book, day: Date) -> Status {
        let now = self.reached_on(book, day);
        if policy(book).validity() != Validity::EndOfNextPeriod {
            return now;
        }
        let (from, _) = self.account.window(book, day).expect("it has periods");
        let last = self.reached_on(book, days_later(from, -1));
        if last.0 > now.0 { last } else { now }
    }

    /// What becomes of a tier that is looked at, where so much was counted, and so much of it was earned.
    fn outcome(book: &Book, place: usize, totals: (i64, i128, u64), earned: usize) -> usize {
        if book.tiers[place].keep.as_ref().is_none_or(|takes| takes.is_met(totals)) {
            return place.max(earned);
        }
        match policy(book).review_outcome() {
            ReviewOutcome::Unspecified | ReviewOutcome::Earned => earned,
            ReviewOutcome::OneDown => earned.max(place - 1),
            ReviewOutcome::NeverDown => earned.max(place),
        }
    }

    /// What a tier becomes at its end.
    pub fn reviewed(&self, book: &Book, place: usize, end: Date) -> Status {
        self.looked_at(book, place, (end, review_day(book, end)))
    }

    /// `to`: the day on which it is looked at.
    fn looked_at(&self, book: &Book, place: usize, (end, to): (Date, Date)) -> Status {
        let window = |day| self.account.window(book, day);
        let outcome = |totals| Self::outcome(book, place, totals, self.reached(book, totals));
        let place = self.totals_looked_at(book, (end, to)).into_iter().map(outcome).max().expect("there is one");
        let next = match policy(book).validity() {
            Validity::Unspecified | Validity::Unlimited => None,
            Validity::EndOfPeriod | Validity::EndOfNextPeriod => window(end).map(|(_, end)| end),
            Validity::Months => Some(months_later(end, policy(book).validity_months)),
        };
        (place, next.filter(|_| place > 0))
    }

    /// What a review at a status's end counts: in the period that ends, and where it ends within one, in the one before it.
    pub fn windows_of_review(&self, book: &Book, end: Date) -> Vec<(i64, i128, u64)> {
        self.totals_looked_at(book, (end, review_day(book, end)))
    }

    fn totals_looked_at(&self, book: &Book, (end, to): (Date, Date)) -> Vec<(i64, i128, u64)> {
        let window = |day| self.account.window(book, day);
        let last = days_later(end, -1);
        // A review that never came would have looked at all between those that did.
        let counts_as_one = counts_for_life_anew(book) && self.account.held_until != Some(end);
        let span = |(from, until)| if counts_as_one { (from, until) } else { (from, to) };
        let mut windows = vec![window(last).map(span)];
        if let Some((from, until)) = window(last).filter(|(_, until)| has_periods(book) && *until > end) {
            assert!(from < until);
            windows.push(window(days_later(from, -1)));
        }
        windows.into_iter().map(|window| self.totals(window)).collect()
    }

    /// What was set by hand has come to its end: what was earned, or what was held before if that goes on.
    pub fn after_floor(&self, book: &Book, time: Timestamp) -> Status {
        let earned = self.by(book, self.earned_by(book, days_later(book.date(time), -1)), time);
        let beneath = self.account.beneath.as_ref().map(|(tier, end)| (book.place_of_tier(tier.as_ref()), *end));
        // What ended meanwhile is looked at now, and but once.
        let beneath = beneath.map(|(place, end)| match end.filter(|end| book.dawn(review_day(book, *end)) <= time) {
            Some(_) => self.looked_at(book, place, (book.date(time), book.date(time))),
            None => (place, end),
        });
        beneath.filter(|beneath| beneath.0 > earned.0).unwrap_or(earned)
    }

    /// Under another rule book: a tier that stays is held as long as before.
    fn judged_anew(&self, book: &Book, time: Timestamp) -> Status {
        let (day, (held, until)) = (book.date(time), self.account.held(book));
        let earned = self.earned_by(book, day);
        let place = Self::outcome(book, held, self.totals_of(book, day), earned.0);
        let floor = self.account.floor_at(book, time);
        match () {
            () if floor > place => (floor, None),
            () if place == held && self.account.is_on_floor() => (place, None),
            () if place == held && until.is_some() => (place, until),
            () if place == earned.0 => earned,
            () => (place, self.end_from(book, place, day)),
        }
    }

    /// What would have become of it by now.
    fn by(&self, book: &Book, mut status: Status, now: Timestamp) -> Status {
        while let (place, Some(end)) = status
            && book.dawn(review_day(book, end)) <= now
        {
            status = self.reviewed(book, place, end);
        }
        status
    }

    /// When the tier is reviewed next.
    pub fn next_review(&self) -> Option<Timestamp> {
        let account = &self.account;
        let joined = account.joined.filter(|_| !account.erased && account.merged_into.is_none())?;
        let mut changes = self.books.tier_changes().filter(|(version, _)| *version > account.reviewed_by).map(|(_, since)| since);
        let change = changes.find(|since| *since > joined && *since <= self.now);
        account.next_end(self.books.newest()).into_iter().chain(change).min()
    }

    /// At the end of the status, or of what was set by hand; or since a rule book says so.
    pub fn review(&mut self, time: Timestamp) {
        let book = Arc::clone(self.books.at(time));
        let (place, end) = self.account.held(&book);
        let is_end = self.account.next_end(&book) == Some(time);
        let ((to, next), how) = match end.filter(|_| is_end) {
            Some(end) => {
                let (to, next) = self.reviewed(&book, place, end);
                let floor = self.account.floor_at(&book, time);
                (if floor > to { (floor, None) } else { (to, next) }, How::Reviewed)
            }
            None if is_end => (self.after_floor(&book, time), How::Reviewed),
            None => (self.judged_anew(&book, time), How::ByRuleBook),
        };
        let account = &mut self.account;
        account.reviewed_by = account.reviewed_by.max(book.version);
        (account.reached_on, account.beneath, account.held_until) = (None, None, next);
        if let Some(end) = end.filter(|_| is_end) {
            if counts_anew(&book) {
                account.anew.push(review_day(&book, end));
            }
            if to != place {
                account.lost.push((account.tiers.last().map(|(tier, _)| tier.clone()), Some(end)));
                let surplus = account.lost.len().saturating_sub(MANY_LOST);
                account.lost.drain(..surplus);
            }
        }
        let tier = book.tiers[to].id.clone();
        if to == place {
            self.forget_floor(&book, time);
            self.enter(Fact::TierKept(tier, self.status_times(&book)), time, book.version);
            return;
        }
        let start = self.hold_tier(&book, tier.clone(), time, how);
        if to > place && how == How::ByRuleBook {
            self.reward_tier(&book, &tier, book.date(time), start);
        }
    }

    /// What was set by hand, if its time is over.
    pub fn forget_floor(&mut self, book: &Book, time: Timestamp) {
        if self.account.floor.as_ref().is_some_and(|(_, end)| end.is_some_and(|end| book.dawn(end) <= time)) {
            (self.account.floor, self.account.by_hand) = (None, false);
        }
    }

    /// When the status ends and is reviewed.
    pub fn status_times(&self, book: &Book) -> Option<(Timestamp, Timestamp)> {
        self.account.held_until.map(|end| (book.dawn(end), book.dawn(review_day(book, end))))
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
            if time < book.dawn(review_day(&book, end)) {
                offer(self.by(&book, (book.place_of_tier(tier.as_ref()), Some(end)), now), None);
            }
        }
        let mut days = vec![day];
        if policy(&book).window() == Window::RollingMonths {
            let until = months_later(day, policy(&book).rolling_months).min(today);
            let mut later: BTreeMap<Date, (i64, i128, i64)> = BTreeMap::new();
            for (other, points, spend, visits) in self.account.counts.iter().filter(|(other, ..)| *other > day && *other <= until) {
                let sum = later.entry(*other).or_default();
                *sum = (sum.0 + points, sum.1 + spend, sum.2 + visits);
            }
            // Days of which nothing is left are as if nothing had come.
            days.extend(later.into_iter().filter(|(_, sum)| *sum != (0, 0, 0)).map(|(other, _)| other));
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
        (self.account.held_until, self.account.beneath) = (end, None);
        let how = if reached.is_some() { How::Earned } else { How::Reviewed };
        let start = self.hold_tier(&book, to.clone(), start, how);
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
        let Some(place) = book.tiers.iter().position(|tier| tier.id == to) else { return };
        let Some(TierGift { points, voucher }) = book.tiers[place].reward.clone() else { return };
        let again = self.account.rewards.get(to).is_some_and(|until| until.is_none_or(|until| day < until));
        if again || self.account.suspended || self.account.erased {
            return;
        }
        let until = match policy(book).validity() {
            _ if has_periods(book) => self.account.window(book, day).map(|(_, end)| end),
            Validity::Months => Some(months_later(day, policy(book).validity_months)),
            _ => None,
        };
        self.account.rewards.insert(to.to_owned(), until);
        let lot = points.map(|(points, own)| {
            self.account.last_lot += 1;
            self.account.issued += points;
            let (id, lapse) = (self.account.last_lot, book.lapse(book.expiry_in(place, own), start, start));
            let debt_paid = self.receive(Lot { id, points, lapse, earned: start });
            LotSaid { id, points, lapse, debt_paid, waits: None }
        });
        self.welcome_by(book, lot.iter(), start);
        self.enter(Fact::TierRewarded { tier: to.to_owned(), lot, voucher: voucher.clone() }, start, book.version);
        if let Some(kind) = voucher {
            self.issue_voucher(book, &kind, VoucherCause::Tier, start);
        }
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
            Window::CalendarYear | Window::MembershipYear => 24,
            Window::CalendarQuarter => 6,
            Window::RollingMonths => policy(&book).rolling_months,
            Window::Unspecified | Window::Lifetime => 0,
        };
        let late = i64::from(self.books.0[0].max_age_days) + i64::from(policy(&book).grace_days);
        // But of what counts since the last review nothing is forgotten.
        let remembered = if counts_for_life_anew(&book) { Date::MIN } else { months_later(days_later(today, -late), -(months + 1)) };
        let window = self.account.window(&book, day);
        let counts = window.is_none_or(|(from, to)| (from..to).contains(&book.date(sold)) && from >= remembered);
        if self.account.is_on_floor() || !counts || self.reached_on(&book, day).0 >= held {
            return;
        }
        let before = self.by(&book, (book.place_of_tier(before.0.as_ref()), before.1), self.now);
        let earned = self.earned_by(&book, today);
        let (mut place, mut end) = if before.0 >= earned.0 { before } else { earned };
        let floor = self.account.floor_at(&book, self.now);
        if floor > place {
            (place, end) = (floor, None);
        }
        if place >= held {
            return;
        }
        (self.account.reached_on, self.account.beneath, self.account.held_until) = (None, None, end);
        self.hold_tier(&book, book.tiers[place].id.clone(), self.now, How::Returned);
    }

    /// What both had; of the same tier the later end. Whether what was set by hand is of no matter any more: its tier is held without end.
    pub fn join_reviews(&mut self, old: &Account, own_place: usize, old_place: usize) -> bool {
        let book = Arc::clone(self.books.newest());
        let account = &mut self.account;
        let is_others = match own_place.cmp(&old_place) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => account.next_end(&book).is_some_and(|own| old.next_end(&book).is_none_or(|other| other > own)),
            std::cmp::Ordering::Greater => false,
        };
        let is_on_floor = if is_others { old.is_on_floor() } else { account.is_on_floor() };
        if is_others {
            account.held_until = old.held_until;
            account.reached_on.clone_from(&old.reached_on);
            account.beneath.clone_from(&old.beneath);
        }
        let order = |floor: &Option<(String, Option<Date>)>| {
            floor.as_ref().map(|(floor, end)| (book.place_of_tier(Some(floor)), end.is_none(), *end))
        };
        if order(&old.floor) > order(&account.floor) {
            account.floor.clone_from(&old.floor);
        }
        let is_held = order(&account.floor).is_some_and(|(place, ..)| place == own_place.max(old_place));
        let is_needless = is_held && account.held_until.is_none() && !is_on_floor;
        if is_needless {
            account.floor = None;
        }
        account.anew.extend(old.anew.iter().copied());
        account.anew.sort();
        account.reviewed_by = account.reviewed_by.max(old.reviewed_by);
        account.lost.extend(old.lost.iter().cloned());
        account.lost.sort_by_key(|(_, end)| *end);
        let surplus = account.lost.len().saturating_sub(MANY_LOST);
        account.lost.drain(..surplus);
        for (tier, until) in &old.rewards {
            let own = account.rewards.entry(tier.clone()).or_insert(*until);
            *own = own.zip(*until).map(|(own, other)| own.max(other));
        }
        Arc::make_mut(&mut account.counts).extend(old.counts.iter().copied());
        is_needless
    }
}
