//! Segments: fixed conditions that are judged here by other means, at each midnight that may come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, civil::Date};
use loyaltyd::{contract::v1, domain};

use super::{
    Account, Act, Books, Sale,
    book::{Book, days_later, months_later},
    facts::Fact,
    rewards::points,
};

/// Days that are looked at for the next one on which anything is other: more than any window has, and than lie between two seasons.
const AHEAD: i64 = 190;

/// Ids, and how conditions are written, where AMOUNT is one of money.
pub const CONDITIONS: [(&str, &str); 13] = [
    ("new", "member.age_days < 20 && member.purchases <= 3"),
    ("new", "member.age_days <= 30"),
    ("risk", "member.purchases > 0 && member.days_since_last_purchase > 12 && 40 >= member.days_since_last_purchase"),
    ("risk", "member.days_since_last_purchase in [9, 10, 11, 30] || member.days_since_last_purchase > 60"),
    ("season", "now.month in [3, 4, 9]"),
    ("rich", "member.available_points >= 15 && member.pending_points < 40"),
    ("saver", "member.qualifying_points >= 30 || member.spend >= AMOUNT"),
    ("top", "member.tier_rank >= 1"),
    ("often", "member.purchases_in_days(30) >= 2"),
    ("often", "member.purchases_in_months(2) >= 3"),
    ("big", "member.spend_in_days(60) >= AMOUNT"),
    ("web", "member.used_channel_in_days('web', 25)"),
    ("doer", "member.did_activity_in_days('review', 20) || member.did_activity_in_days('survey', 9)"),
];
/// Those that look at the last days: what was counted before a version has one is not there.
pub const WINDOWS: [&str; 2] = ["often", "big"];

#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// Since when.
    pub held: BTreeMap<String, Timestamp>,
    /// The version since which segments are as they were judged by.
    judged_by: u32,
    /// When that may be other though nothing happens.
    pub next: Option<Timestamp>,
}

pub fn changed(changed: &domain::SegmentsChanged) -> Fact {
    let ids = |segments: &[domain::SegmentId]| segments.iter().map(ToString::to_string).collect();
    let (version, next) = (changed.policy_version, changed.next_due_time);
    Fact::Segments { entered: ids(&changed.entered), left: ids(&changed.left), version, next }
}

fn are_alike(one: &Book, other: &Book) -> bool {
    let judged = |book: &Book| -> Vec<(String, String)> {
        let of = |segment: &v1::Segment| (segment.segment_id.clone(), segment.condition.clone());
        book.document.segments.iter().map(of).collect()
    };
    let tiers = |book: &Book| -> Vec<String> { book.tiers.iter().map(|tier| tier.id.clone()).collect() };
    judged(one) == judged(other) && (one.document.segments.is_empty() || tiers(one) == tiers(other))
}

impl Books {
    /// The versions with which segments became other than before, the first of them one that has some, of those until a version.
    fn segment_changes(&self, until: u32) -> Vec<Arc<Book>> {
        let (mut changes, mut last) = (Vec::new(), None::<&Arc<Book>>);
        for book in self.0.iter().chain(&self.2).filter(|book| book.version <= until) {
            let is_other = last.is_none_or(|last| !are_alike(last, book));
            if is_other && !(changes.is_empty() && book.document.segments.is_empty()) {
                changes.push(Arc::clone(book));
            }
            last = Some(book);
        }
        changes
    }

    /// The version since which segments are as they are in one.
    fn segments_since(&self, version: u32) -> u32 {
        self.segment_changes(version).last().map_or(0, |book| book.version)
    }

    pub fn segments_now(&self) -> u32 {
        self.0.last().map_or(0, |book| self.segments_since(book.version))
    }
}

impl Account {
    /// Those that count for a sale of then: what the member came into afterwards does not.
    pub fn segments_at_sale(&self, time: Timestamp) -> Vec<String> {
        self.segments.held.iter().filter(|(_, since)| **since <= time).map(|(segment, _)| segment.clone()).collect()
    }

    /// What does not change with the day.
    fn seen(&self, book: &Book) -> Seen<'_> {
        let joined = book.date(self.joined.expect("it is enrolled"));
        let amount = amount(book);
        let place =
            |condition: &str| CONDITIONS.iter().position(|(_, text)| text.replace("AMOUNT", &amount.1) == condition).expect("it is known");
        let asked = book.document.segments.iter().map(|segment| (segment.segment_id.clone(), place(&segment.condition))).collect();
        let latest = |on: &dyn Fn(&Sale) -> bool| self.sales.values().filter(|sale| on(sale)).map(|sale| sale.occurred_time).max();
        let date = |time: Option<Timestamp>| time.map(|time| book.date(time));
        Seen {
            account: self,
            asked,
            joined,
            latest: date(latest(&|_| true)).unwrap_or(joined),
            on_web: date(latest(&|sale| sale.purchase.channel == "web")),
            did: [("review", 20), ("survey", 9)].map(|(activity, days)| (date(self.did.get(activity).copied()), days)),
            pending: self.waiting.iter().map(|lot| lot.points).sum(),
            is_on_tier: book.place_of_tier(self.tiers.last().map(|(tier, _)| tier)) >= 1,
            amount: amount.0,
            points: ["15", "30", "40"].map(|text| points(text, book.document.points_precision as u32)),
        }
    }
}

/// An account, as segments look at it.
struct Seen<'a> {
    account: &'a Account,
    /// The segments of the rule book, and which of the conditions each has.
    asked: Vec<(String, usize)>,
    joined: Date,
    latest: Date,
    on_web: Option<Date>,
    did: [(Option<Date>, i64); 2],
    pending: i64,
    is_on_tier: bool,
    amount: i128,
    points: [i64; 3],
}

impl Seen<'_> {
    fn on(&self, day: Date) -> BTreeSet<String> {
        self.asked.iter().filter(|(_, condition)| self.holds(*condition, day)).map(|(segment, _)| segment.clone()).collect()
    }

    fn holds(&self, condition: usize, day: Date) -> bool {
        let account = self.account;
        let days = |from: Date| (day.since((jiff::Unit::Day, from)).expect("days").get_days()).max(0);
        let days_back = |count: i64| days_later(day, 1 - count);
        let within = |first: Date| {
            let counted = account.counts.iter().filter(move |(other, ..)| (first..=day).contains(other));
            counted.fold((0, 0), |sum, (_, _, spend, visits)| (sum.0 + visits, sum.1 + spend))
        };
        let [few, some, many] = self.points;
        match condition {
            0 => days(self.joined) < 20 && account.visits <= 3,
            1 => days(self.joined) <= 30,
            2 => account.visits > 0 && (13..=40).contains(&days(self.latest)),
            3 => [9, 10, 11, 30].contains(&days(self.latest)) || days(self.latest) > 60,
            4 => [3, 4, 9].contains(&day.month()),
            5 => account.available() >= few && self.pending < many,
            6 => account.qualifying >= some || account.spend >= self.amount,
            7 => self.is_on_tier,
            8 => within(days_back(30)).0 >= 2,
            9 => within(months_later(days_later(day, 1), -2)).0 >= 3,
            10 => within(days_back(60)).1 >= self.amount,
            11 => self.on_web.is_some_and(|last| last >= days_back(25)),
            _ => self.did.iter().any(|(last, days)| last.is_some_and(|last| last >= days_back(*days))),
        }
    }
}

/// In the smallest unit, and as it is written.
fn amount(book: &Book) -> (i128, String) {
    let text = if book.digits == 0 { "300000" } else { "200" };
    (text.parse::<i128>().expect("a number") * 10i128.pow(book.digits), text.to_owned())
}

impl Act<'_> {
    fn has_segments(&self) -> bool {
        self.account.joined.is_some() && !self.account.erased && self.account.merged_into.is_none()
    }

    /// The next version with other segments than those that the member was judged by: none that were over when the member came.
    fn other_segments(&self) -> Option<(Timestamp, Arc<Book>)> {
        let joined = self.account.joined.filter(|_| self.has_segments())?;
        let first = self.books.segments_since(self.books.at(joined).version);
        let changes = self.books.segment_changes(self.books.newest().version);
        let own = &self.account.segments;
        // Rules that have none say nothing of who is in none.
        let is_about = |book: &Book| !book.document.segments.is_empty() || !own.held.is_empty() || own.next.is_some();
        let next = changes.into_iter().find(|book| book.version > own.judged_by && book.version >= first && is_about(book))?;
        Some((next.since.max(joined), next))
    }

    pub fn segments_due(&self) -> Option<Timestamp> {
        let other = self.other_segments().map(|(time, _)| time);
        self.account.segments.next.into_iter().chain(other).min()
    }

    /// A day has come, or other rules have.
    pub fn judge_segments_due(&mut self, due: Timestamp) {
        match self.other_segments().filter(|(time, _)| *time == due) {
            Some((_, book)) => self.judge_segments(&book, due),
            None => self.judge_segments(&self.segments_book(due), due),
        }
    }

    /// After anything that happened, when it did; what was asked for, now.
    pub fn settle_segments(&mut self, time: Timestamp) {
        let (book, time) = match self.acted {
            true => (Arc::clone(self.books.newest()), self.now),
            // Never as of before it was looked at last: a voucher that lapsed while it was held is over with the hold.
            false => {
                let time = time.max(self.judged).min(self.now);
                (self.segments_book(time), time)
            }
        };
        let own = &self.account.segments;
        let is_nowhere = book.document.segments.is_empty() && own.held.is_empty() && own.next.is_none();
        if self.has_segments() && !is_nowhere {
            self.judge_segments(&book, time);
        }
    }

    /// The rules of an instant, or newer ones that the member was judged by already, if they are in effect.
    fn segments_book(&self, time: Timestamp) -> Arc<Book> {
        let (book, judged_by) = (self.books.at(time), self.account.segments.judged_by);
        if self.books.segments_since(book.version) >= judged_by {
            return Arc::clone(book);
        }
        let changes = self.books.segment_changes(self.books.newest().version);
        changes.into_iter().find(|other| other.version == judged_by).unwrap_or_else(|| Arc::clone(book))
    }

    fn judge_segments(&mut self, book: &Arc<Book>, time: Timestamp) {
        self.judged = self.judged.max(time);
        let version = self.books.segments_since(book.version);
        let (account, today) = (&self.account, book.date(time));
        let seen = account.seen(book);
        let (own, now) = (&account.segments, seen.on(today));
        let mut ahead = (1..=AHEAD).map(|days| days_later(today, days));
        let turn = if book.document.segments.is_empty() { None } else { ahead.find(|day| seen.on(*day) != now) };
        let next = turn.map(|day| book.dawn(day));
        let entered: Vec<String> = now.iter().filter(|segment| !own.held.contains_key(*segment)).cloned().collect();
        let left: Vec<String> = own.held.keys().filter(|segment| !now.contains(*segment)).cloned().collect();
        // What comes later than what is known already is found when that has come.
        let known = own.next.filter(|known| *known > time);
        let is_known = known.is_some_and(|known| next.is_none_or(|next| next >= known)) || (next.is_none() && own.next.is_none());
        if entered.is_empty() && left.is_empty() && version == own.judged_by && is_known {
            return;
        }
        let own = &mut self.account.segments;
        own.held.retain(|segment, _| now.contains(segment));
        own.held.extend(entered.iter().map(|segment| (segment.clone(), time)));
        (own.judged_by, own.next) = (version, next);
        self.enter(Fact::Segments { entered, left, version, next }, time, book.version);
    }

    /// Before the member is nobody any more.
    pub fn leave_segments(&mut self) {
        let own = &mut self.account.segments;
        if own.held.is_empty() && own.next.is_none() {
            return;
        }
        let left = std::mem::take(&mut own.held).into_keys().collect();
        own.next = None;
        let version = own.judged_by;
        self.enter_now(Fact::Segments { entered: Vec::new(), left, version, next: None });
    }
}
