//! Birthdays: one a year, looked for among the years around, as a person with a calendar would.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{
        self,
        birthday_policy::{LateDate, LeapDay, Window},
    },
    domain::{BirthDate, Rejection, VoucherCause},
};
use rust_decimal::Decimal;

use super::{
    Account, Act, Books, Lot,
    book::{Book, Fraction, Policy, days_later, days_of, months_later},
    facts::{Fact, LotSaid},
};

/// What a rule book gives, by tier; "" for all others.
#[derive(Debug, Clone, PartialEq)]
pub struct Birthday {
    pub document: v1::BirthdayPolicy,
    pub gifts: Vec<(String, Gift)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Gift {
    /// With the time of inactivity, if they lapse with that.
    Points(i64, Policy, Option<v1::ExpiryPolicy>),
    Voucher(String),
    Multiplier(Decimal),
}

/// Year, when its reward is due, and the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub year: i16,
    pub due: Timestamp,
    pub start: Timestamp,
    pub end: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Points(LotSaid),
    Voucher(String),
    Multiplier(Decimal, Timestamp, Timestamp),
}

/// What an account has of birthdays.
#[derive(Debug, Clone, Default)]
pub struct Birthdays {
    pub date: Option<BirthDate>,
    pub plan: Option<Plan>,
    /// The version of the rule book that it was planned by.
    planned_by: u32,
    /// When the date was entered.
    pub known: Option<Timestamp>,
    /// When the date, or who it is the date of, was last looked at by the newest rules.
    looked_at: Option<Timestamp>,
    pub last_year: Option<i16>,
    pub changes: u32,
    multiplier: Option<(Decimal, Timestamp, Timestamp)>,
}

/// Why it is planned.
#[derive(Clone, Copy, PartialEq)]
pub enum Why {
    NewDate,
    SameDate,
    Done(i16),
}

impl Birthdays {
    pub fn know(&mut self, date: Option<BirthDate>, now: Timestamp) {
        (self.date, self.known) = (date, date.map(|_| now));
        self.looked_at = self.known;
    }
}

impl Books {
    /// The versions with which birthdays became other than before, the first of them one that has some.
    fn birthday_changes(&self) -> Vec<&Arc<Book>> {
        let mut changes: Vec<&Arc<Book>> = Vec::new();
        for book in &self.0 {
            if changes.last().map_or(&None, |last| &last.birthday) != &book.birthday {
                changes.push(book);
            }
        }
        changes
    }

    /// The version since which birthdays are as they are now.
    pub fn birthdays_since(&self) -> u32 {
        self.birthday_changes().last().map_or(0, |book| book.version)
    }
}

impl Birthday {
    /// The first day, and the one after the last.
    fn window(&self, date: BirthDate, year: i16) -> (Date, Date) {
        let day = match (date.month, date.day) {
            (2, 29) if days_of(year, 2) == 28 && self.document.leap_day() == LeapDay::March1 => Date::new(year, 3, 1),
            (2, 29) => Date::new(year, 2, days_of(year, 2)),
            (month, day) => Date::new(year, month, day),
        };
        let day = day.expect("a date");
        match self.document.window() {
            Window::Unspecified => panic!("a window is named"),
            Window::Day => (day, days_later(day, 1)),
            Window::Month => {
                let first = Date::new(year, date.month, 1).expect("a date");
                (first, months_later(first, 1))
            }
            Window::Around => {
                let (before, after) = (self.document.days_before.into(), i64::from(self.document.days_after));
                let before: i64 = before;
                (days_later(day, -before), days_later(day, after + 1))
            }
        }
    }

    fn gift(&self, tier: Option<&str>) -> Option<&Gift> {
        let of = |wanted: &str| self.gifts.iter().find(|(tier, _)| tier == wanted).map(|(_, gift)| gift);
        tier.and_then(of).or_else(|| of(""))
    }
}

/// The next birthday that is rewarded.
fn plan(book: &Book, birthdays: &Birthdays, why: Why, now: Timestamp) -> Option<Plan> {
    let (policy, date) = (book.birthday.as_ref()?, birthdays.date?);
    let today = book.date(now).year();
    let done = match why {
        Why::Done(year) => birthdays.last_year.max(Some(year)),
        Why::NewDate | Why::SameDate => birthdays.last_year,
    };
    (today - 1..today + 4).find_map(|year| {
        let (first, behind) = policy.window(date, year);
        let (start, end) = (book.dawn(first), book.dawn(behind));
        // Whether the date came in time for it, whoever plans it and whenever; and whether these rules did.
        let known_by = book.dawn(days_later(first, -i64::from(policy.document.notice_days)));
        let date_came = birthdays.known.is_some_and(|known| known <= known_by);
        let is_in_time = match why {
            Why::NewDate => date_came,
            Why::SameDate => date_came && now <= start,
            Why::Done(_) => true,
        };
        let is_in_time = is_in_time || policy.document.late_date() == LateDate::AtOnce;
        let is_open = end > now && done.is_none_or(|done| year > done);
        (is_open && is_in_time).then(|| Plan { year, due: start.max(now), start, end })
    })
}

impl Account {
    /// What a purchase of then earns more by.
    pub fn birthday_multiplier(&self, time: Timestamp) -> Option<Fraction> {
        let (multiplier, start, end) = self.birthdays.multiplier?;
        (start <= time && time < end).then(|| Fraction::new(multiplier.mantissa(), 10i128.pow(multiplier.scale())))
    }
}

impl Act<'_> {
    /// `None`: it is not about the date.
    pub fn update_profile(&mut self, date: Option<Option<BirthDate>>) -> Result<(), Rejection> {
        let old = self.account.birthdays.date;
        let new = date.unwrap_or(old);
        let most = self.books.newest().birthday.as_ref().and_then(|policy| policy.document.maximum_changes);
        if let Some(maximum) = most.filter(|_| old.is_some() && old != new).map(|most| most as u32)
            && self.account.birthdays.changes >= maximum
        {
            return Err(Rejection::BirthDateChangesUsedUp { maximum });
        }
        self.enter_now(Fact::Other);
        if old != new {
            self.account.birthdays.know(new, self.now);
            self.plan_birthday(Why::NewDate, u32::from(old.is_some()));
        }
        Ok(())
    }

    pub fn plan_birthday(&mut self, why: Why, more_changes: u32) {
        let book = Arc::clone(self.books.newest());
        let birthdays = &mut self.account.birthdays;
        if book.birthday.is_none() && birthdays.plan.is_none() {
            return;
        }
        let next = plan(&book, birthdays, why, self.now);
        let since = self.books.birthdays_since();
        if next == birthdays.plan && more_changes == 0 && (next.is_none() || birthdays.planned_by == since) {
            return;
        }
        birthdays.changes += more_changes;
        (birthdays.plan, birthdays.planned_by) = (next, since);
        let changes = birthdays.changes;
        self.enter(Fact::Birthday { plan: Some(next), changes, granted: None }, self.now, book.version);
    }

    /// The next rules that the birthday is planned by anew, as of when they came. All that came since the date is known had their time,
    /// though nobody looked.
    pub fn other_birthday_rules(&self) -> Option<(Timestamp, Arc<Book>)> {
        let birthdays = &self.account.birthdays;
        // Rules that are over gave nothing to who came, or told the date, after them.
        let looked_at = birthdays.looked_at.filter(|looked_at| birthdays.date.is_some() && *looked_at <= self.until)?;
        if self.account.erased || self.account.merged_into.is_some() {
            return None;
        }
        let changes = self.books.birthday_changes();
        let newest = self.books.birthdays_since();
        let mut open = changes.into_iter().filter(|book| book.version > birthdays.planned_by);
        // Without a plan there is nothing to take back.
        let book =
            open.find(|book| (book.since >= looked_at || book.version == newest) && (book.birthday.is_some() || birthdays.plan.is_some()))?;
        Some((book.since.max(looked_at).min(self.until), Arc::clone(book)))
    }

    pub fn plan_birthday_anew(&mut self, (time, book): (Timestamp, Arc<Book>)) {
        let birthdays = &mut self.account.birthdays;
        (birthdays.plan, birthdays.planned_by) = (plan(&book, birthdays, Why::SameDate, time), book.version);
        let (plan, changes) = (Some(birthdays.plan), birthdays.changes);
        self.enter(Fact::Birthday { plan, changes, granted: None }, time, book.version);
    }

    /// The reward, or none, and the next birthday.
    pub fn celebrate(&mut self) {
        let due = self.account.birthdays.plan.expect("it is due");
        let time = due.due;
        let book = Arc::clone(self.books.at(time));
        let held = book.place_of_tier(self.account.tiers.last().map(|(tier, _)| tier));
        let tier = book.tiers.get(held).map(|tier| tier.id.clone());
        let gift = book.birthday.as_ref().filter(|policy| self.deserves(&book, policy, time));
        let gift = gift.and_then(|policy| policy.gift(tier.as_deref())).cloned();
        let given = gift.map(|gift| match gift {
            Gift::Voucher(kind) => Given::Voucher(kind),
            Gift::Multiplier(multiplier) => Given::Multiplier(multiplier, time, due.end),
            Gift::Points(points, policy, _) => {
                self.account.last_lot += 1;
                self.account.issued += points;
                let (id, lapse) = (self.account.last_lot, book.lapse(policy, time, time));
                let debt_paid = self.receive(Lot { id, points, lapse, earned: time });
                let lot = LotSaid { id, points, lapse, debt_paid, waits: None };
                self.welcome(std::iter::once(&lot), time);
                Given::Points(lot)
            }
        });
        let birthdays = &mut self.account.birthdays;
        birthdays.plan = plan(&book, birthdays, Why::Done(due.year), time);
        if given.is_some() {
            birthdays.last_year = birthdays.last_year.max(Some(due.year));
        }
        if let Some(Given::Multiplier(multiplier, start, end)) = &given {
            birthdays.multiplier = Some((*multiplier, *start, *end));
        }
        let (plan, changes) = (Some(birthdays.plan), birthdays.changes);
        let kind = given.clone().and_then(|given| if let Given::Voucher(kind) = given { Some(kind) } else { None });
        let granted = given.map(|given| (due.year, tier, given));
        self.enter(Fact::Birthday { plan, changes, granted }, time, book.version);
        if let Some(kind) = kind {
            self.issue_voucher(&book, &kind, VoucherCause::Birthday, time);
        }
    }

    fn deserves(&self, book: &Book, policy: &Birthday, time: Timestamp) -> bool {
        let account = &self.account;
        let day = book.date(time);
        let member_since = book.date(account.joined.expect("it is enrolled"));
        let is_long = days_later(member_since, policy.document.member_for_days.into()) <= day;
        let months = policy.document.active_within_months;
        let was_active = months == 0 || account.latest.is_some_and(|latest| months_later(book.date(latest), months) >= day);
        !account.suspended && !account.erased && is_long && was_active
    }

    /// What either was given counts for both.
    pub fn join_birthdays(&mut self, old: &Account) {
        let (own, other) = (&mut self.account.birthdays, &old.birthdays);
        (own.date, own.known) = if own.date.is_some() { (own.date, own.known) } else { (other.date, other.known) };
        // A clock that was set back can have told the date later than now.
        own.looked_at = own.known.map(|known| known.max(self.now));
        own.last_year = own.last_year.max(other.last_year);
        own.changes = own.changes.max(other.changes);
        let end = |birthdays: &Birthdays| birthdays.multiplier.map(|(_, _, end)| end);
        if end(other) > end(own) {
            own.multiplier = other.multiplier;
        }
    }
}
