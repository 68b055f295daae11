//! What a member's ledger must say, reckoned a second time and by simpler means than the domain's: a list of lots, a list of what waits,
//! a list of what is held, and a few sums. It shares the domain's words for what is asked (commands, purchases, rejections), and none of
//! its reckoning.

mod birthdays;
pub mod book;
mod doing;
mod earning;
pub mod facts;
mod giving;
mod goals;
mod merging;
pub mod months;
pub mod offers;
pub mod prices;
pub mod promotions;
pub mod referrals;
mod returning;
pub mod reviewing;
pub mod rewards;
pub mod segments;
mod spending;
pub mod standing;
pub mod vouchers;
mod watching;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::expiry_policy::CountedActivity,
    domain::{Adjustment, Command, EntryRef, MemberId, OrderKey, PAUSED, Points, Purchase, Rejection, TierId},
};
use rust_decimal::Decimal;

use birthdays::{Birthdays, Why};
use book::{Book, Idle, Lapse, days_later, months_later};
pub use doing::known;
use earning::{Earned, EarnedLot};
use facts::{End, Fact, How, LotSaid, Parts, Purse, Said};
use merging::Called;
pub use merging::{Named, meant, merge};
use months::{Brought, Months};
use referrals::Earning;
use returning::SoFar;
use vouchers::{Elsewhere, Vouchers};
pub use watching::{Counted, Desk};

/// The versions of a rule book that have had their turn, the oldest first; how they stood before each of them, until when; and those that wait.
#[derive(Default)]
pub struct Books(pub Vec<Arc<Book>>, pub Vec<(Timestamp, Books)>, pub Vec<Arc<Book>>);

impl Books {
    /// How long a member may be idle by a book, or by the newest before it that lets points lapse so, and what counts.
    fn idle_book(&self, newest: &Book) -> Option<(&Book, &Idle)> {
        let older = self.0.iter().rev().filter(|book| book.version <= newest.version);
        older.into_iter().find_map(|book| Some((&**book, book.inactivity.as_ref()?)))
    }

    pub fn newest(&self) -> &Arc<Book> {
        self.0.last().expect("a rule book is published")
    }

    pub fn at(&self, instant: Timestamp) -> &Arc<Book> {
        let known = self.2.iter().rev().chain(self.0.iter().rev());
        known.into_iter().find(|book| book.since <= instant).unwrap_or(&self.0[0])
    }

    /// One more was published, by whoever wants that nothing else waits behind it.
    pub fn publish(&mut self, book: Book, waits: bool) {
        self.2.retain(|waiting| waiting.since < book.since);
        if !waits && !self.0.is_empty() {
            self.end(book.since);
        }
        if waits { self.2.push(Arc::new(book)) } else { self.0.push(Arc::new(book)) }
    }

    /// Those whose time has come have their turn.
    pub fn turn(&mut self, now: Timestamp) {
        while self.2.first().is_some_and(|next| next.since <= now) {
            let next = self.2.remove(0);
            self.end(next.since);
            self.0.push(next);
        }
    }

    /// How they have stood until now. Of those that came at this very instant, or later by a clock that was set back, there was nothing before
    /// it.
    fn end(&mut self, time: Timestamp) {
        let until = time - SignedDuration::from_micros(1);
        let mut before = self.0.clone();
        while before.len() > 1 && before.last().is_some_and(|last| last.since >= time) {
            before.pop();
        }
        self.1.retain(|(other, _)| *other < until);
        self.1.push((until, Self(before, Vec::new(), Vec::new())));
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Lot {
    pub id: u64,
    pub points: i64,
    pub lapse: Lapse,
    /// When the points were earned.
    pub earned: Timestamp,
}

impl Lot {
    pub fn is_valid(&self, now: Timestamp) -> bool {
        !matches!(self.lapse, Lapse::On(time) if time <= now)
    }
}

#[derive(Debug, Clone)]
pub struct Waiting {
    pub id: u64,
    pub points: i64,
    /// `None`: for a confirmation.
    pub until: Option<Timestamp>,
    pub lapse: Lapse,
    pub earned: Timestamp,
    pub qualifying: i64,
}

#[derive(Debug, Clone)]
pub struct Hold {
    pub parts: Vec<Lot>,
    pub points: i64,
    pub worth: i128,
    pub since: Timestamp,
    pub until: Timestamp,
    pub order: Option<OrderKey>,
}

/// Points that were redeemed.
#[derive(Debug, Clone)]
pub struct Spent {
    pub parts: Vec<Lot>,
    pub points: i64,
    pub worth: i128,
    pub order: Option<OrderKey>,
    /// So many of them were not there.
    pub owed: i64,
    pub gone_back: i64,
    pub since: Timestamp,
}

#[derive(Debug)]
pub struct Sale {
    pub sequence: u64,
    pub entry: EntryRef,
    pub book: Arc<Book>,
    pub purchase: Arc<Purchase>,
    pub occurred_time: Timestamp,
    pub earned: Earned,
    pub redemptions: Vec<EntryRef>,
    pub so_far: SoFar,
    /// The entry by which a referral gave something for it.
    pub bonus: Option<EntryRef>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "version {}", self.version)
    }
}

/// Sequences of entries of activities, by activity and reference.
type Done = BTreeMap<(String, Option<String>), Vec<EntryRef>>;

#[derive(Debug, Clone, Default)]
pub struct Account {
    /// `None` before enrolment.
    pub id: Option<MemberId>,
    pub sequence: u64,
    pub last_lot: u64,
    pub suspended: bool,
    pub erased: bool,
    pub lots: Vec<Lot>,
    pub waiting: Vec<Waiting>,
    pub holds: BTreeMap<u64, Hold>,
    pub debt: i64,
    pub issued: i64,
    pub redeemed: i64,
    pub expired: i64,
    pub clawed_back: i64,
    pub reinstated: i64,
    pub given_away: i64,
    pub got: i64,
    pub qualifying: i64,
    pub spend: i128,
    pub visits: u64,
    /// Of what counts for tiers, the latest.
    pub latest: Option<Timestamp>,
    /// Each tier held, and since when.
    pub tiers: Vec<(String, Timestamp)>,
    pub by_hand: bool,
    /// The day on which the tier held is not held any more.
    pub held_until: Option<Date>,
    /// What was set by hand last, and the first day without it.
    pub floor: Option<(String, Option<Date>)>,
    /// What was held before that.
    pub beneath: Option<reviewing::Before>,
    /// The day that it was reached on, and what was held before.
    pub reached_on: Option<(Date, reviewing::Before)>,
    /// The days since which what counts for tiers has counted anew, the earliest first.
    pub anew: Vec<Date>,
    /// The latest version of the rule book that it was reviewed by.
    pub reviewed_by: u32,
    pub lost: Vec<reviewing::Before>,
    /// What was given for tiers, and until when not again.
    pub rewards: BTreeMap<String, Option<Date>>,
    pub counts: Arc<Vec<reviewing::Count>>,
    pub fractions: BTreeMap<Option<String>, i128>,
    pub given: BTreeMap<(String, Option<Date>), i64>,
    pub counted: Counted,
    /// Activities, by reference; without one, those by which the member was referred. With the sequences of their entries.
    pub done: Arc<Done>,
    pub sales: Arc<BTreeMap<OrderKey, Arc<Sale>>>,
    pub spent: Arc<BTreeMap<EntryRef, Arc<Spent>>>,
    /// Holds that ended: with which entry, and whether they were captured.
    pub ended: BTreeMap<EntryRef, (u64, bool)>,
    pub merged_into: Option<MemberId>,
    /// All that are a part of it, the earliest first.
    pub merged: Vec<MemberId>,
    pub former: merging::Former,
    /// Until when the member may be idle, and when such a time had come to its end.
    pub idle_until: Option<Timestamp>,
    pub idle_ends: Vec<Timestamp>,
    pub months: Months,
    pub vouchers: Arc<Vouchers>,
    pub joined: Option<Timestamp>,
    pub birthdays: Birthdays,
    pub goals: goals::Waits,
    pub turned: Arc<goals::AllTurned>,
    pub had: rewards::Had,
    /// Recorded, whatever came back.
    pub purchases: u64,
    pub promoted: promotions::Counted,
    pub potted: promotions::Potted,
    pub latest_had: rewards::Latest,
    pub segments: segments::Segments,
    pub offers: offers::Offers,
    /// When the member last did each activity.
    pub did: BTreeMap<String, Timestamp>,
    pub referral: Option<referrals::Referral>,
    /// What referrals gave the member for what it bought, and for what those bought whom it referred.
    pub bonuses: Arc<referrals::Bonuses>,
    pub brought: Arc<referrals::Bonuses>,
}

impl Account {
    /// When the time that the member may be idle comes to its end, if it does.
    pub fn idle_end(&self) -> Option<Timestamp> {
        self.idle_until.filter(|end| *end != PAUSED)
    }

    pub fn available(&self) -> i64 {
        self.lots.iter().map(|lot| lot.points).sum()
    }

    /// What was taken at one time, at a later one: what the end of a time of inactivity, or of the months, has reached since then has lapsed.
    fn as_they_are(&self, book: &Book, parts: &[Lot], (since, until): (Timestamp, Timestamp)) -> Vec<Lot> {
        let ends = self.idle_ends.iter().copied().chain(self.idle_until.filter(|end| *end <= until));
        let reached = ends.max().filter(|end| *end > since);
        let settled = |lot: &Lot| match (lot.lapse, reached) {
            (Lapse::Inactive, Some(end)) => Lot { lapse: Lapse::On(end), ..lot.clone() },
            (Lapse::Month(earned), _) => {
                let lapsed = self.months.lapsed(book, earned, (since, until));
                Lot { lapse: lapsed.map_or(lot.lapse, Lapse::On), ..lot.clone() }
            }
            _ => lot.clone(),
        };
        parts.iter().map(settled).collect()
    }

    pub fn purse(&self) -> Purse {
        let purse = Purse {
            available: self.available(),
            pending: self.waiting.iter().map(|lot| lot.points).sum(),
            held: self.holds.values().map(|hold| hold.points).sum(),
            debt: self.debt,
            issued: self.issued,
            redeemed: self.redeemed,
            expired: self.expired,
            clawed_back: self.clawed_back,
            reinstated: self.reinstated,
            transferred_in: self.got,
            transferred_out: self.given_away,
        };
        let sources = purse.issued + purse.reinstated + purse.debt + purse.transferred_in;
        let gone = purse.redeemed + purse.expired + purse.clawed_back + purse.transferred_out;
        let places = purse.available + purse.pending + purse.held + gone;
        assert_eq!(sources, places, "points are conserved: {purse:?}");
        purse
    }
}

pub const MANY_TIERS: usize = 32;
const MANY_HOLDS: usize = 100;

/// Works on a copy of the account: of a command that is refused nothing stays.
pub struct Act<'a> {
    pub account: Account,
    pub books: &'a Books,
    pub now: Timestamp,
    pub said: Vec<Said>,
    by_time: bool,
    /// What time has brought is entered until then.
    until: Timestamp,
    /// By the member, or by another one whose command comes to this one.
    asked: bool,
    /// It has: what comes now is looked at from now.
    acted: bool,
    /// As of when segments were looked at last.
    judged: Timestamp,
    /// What a hold or its waiting kept from lapsing lapses when that ends.
    hold_end: Option<Timestamp>,
    /// What goes to another member.
    passed: Option<Passed>,
    /// The entries that the command calls by a number.
    meant: merging::Meant,
    /// Fraud limits that the next entry exceeds.
    flags: Vec<(&'static str, i64, i64, Timestamp)>,
    /// What the operator has adjusted so far; outer `None`: there is none.
    desk: Option<Option<Desk>>,
    /// Where the next entry moves the end of the time of inactivity to.
    idle_until: Option<Timestamp>,
    /// Until when the one who stays in a merge might be idle before it, and which of both for longer that may not be so for ever, where the other
    /// one may.
    idle_before: Option<(Option<Timestamp>, Option<Timestamp>)>,
    /// What the next entry is, where that may count as being active, and what it brings.
    stirred: (CountedActivity, Brought),
    /// What lapsed by months and could be spent, after the entry before.
    by_month_before: i64,
    /// Points were set aside then.
    held_before: bool,
    /// Why the codes cannot be used that the command names and that are none of the member's.
    elsewhere: Elsewhere,
    /// What all members together have had of rewards.
    shelf: rewards::Shelf,
    /// And of budgets and daily caps of promotions.
    pot: promotions::Pot,
    /// After the entry before.
    available_before: i64,
    /// With what is set aside.
    covering_before: i64,
    /// The last entry that brought points which may reach a goal.
    earned: Option<u64>,
    /// Points have gone, or another member's waits have come.
    lost: bool,
    /// All of the programme.
    people: &'a [Account],
}

/// On its way to another member.
#[derive(Debug, Clone)]
pub struct Passed {
    pub to: MemberId,
    from: MemberId,
    /// Of the entry that it comes from.
    sequence: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Points {
        points: i64,
        lots: Vec<Lot>,
        /// The last months of those that lapse by months.
        last: Vec<Option<months::Month>>,
    },
    Referral {
        activity: String,
        reference: String,
        occurred_time: Timestamp,
    },
    /// Nothing yet.
    Waits,
    Bonus(Box<referrals::Waited>),
    BonusBack {
        bonus: EntryRef,
        order: OrderKey,
    },
}

impl<'a> Act<'a> {
    fn new(account: &Account, books: &'a Books, now: Timestamp) -> Self {
        Self {
            account: account.clone(),
            books,
            now,
            said: Vec::new(),
            by_time: true,
            until: now,
            asked: false,
            acted: false,
            judged: Timestamp::MIN,
            hold_end: None,
            passed: None,
            meant: BTreeMap::new(),
            flags: Vec::new(),
            desk: None,
            idle_until: None,
            idle_before: None,
            stirred: (CountedActivity::Unspecified, Brought::default()),
            by_month_before: account.by_month(),
            held_before: account.has_held(),
            elsewhere: Elsewhere::new(),
            shelf: rewards::Shelf::new(),
            pot: promotions::Pot::new(),
            available_before: account.available(),
            covering_before: account.available() + account.holds.values().map(|hold| hold.points).sum::<i64>(),
            earned: None,
            lost: false,
            people: &[],
        }
    }
}

/// What is expected of a command.
pub struct Expected {
    pub account: Account,
    pub said: Vec<Said>,
    /// An earlier entry is the answer.
    pub done_before: Option<u64>,
    /// What another member gets with it.
    pub passed: Option<Passed>,
    /// What the operator has adjusted now.
    pub desk: Option<Desk>,
}

/// What is known beside the member.
pub struct Beside<'a> {
    /// Of vouchers that are not the member's.
    pub elsewhere: Elsewhere,
    /// What all members together have had of rewards, and of promotions.
    pub shelf: rewards::Shelf,
    pub pot: promotions::Pot,
    /// All of the programme.
    pub people: &'a [Account],
    /// What a quote has said that the purchase leads to.
    pub promise: Option<&'a prices::Promise>,
}

/// `desk`: what the operator has adjusted so far, if there is one.
pub fn expect(
    account: &Account,
    books: &Books,
    now: Timestamp,
    command: &Command,
    named: Named,
    desk: Option<Option<Desk>>,
    Beside { elsewhere, shelf, pot, people, promise }: Beside<'_>,
) -> Result<Expected, Rejection> {
    let mut act = Act { desk, elsewhere, shelf, pot, people, ..Act::new(account, books, now) };
    act.meant = merging::meant(account, named, command)?;
    act.pass_time();
    (act.by_time, act.asked) = (false, true);
    let done_before = act.perform(command)?;
    act.settle_goal(now);
    if let Some(promise) = promise {
        let parts = promise.differs(&act.promise());
        if !parts.is_empty() {
            return Err(Rejection::QuoteChanged { parts });
        }
    }
    (act.by_time, act.asked, act.acted) = (true, false, true);
    act.pass_time();
    act.settle_segments(now);
    Ok(Expected { account: act.account, said: act.said, done_before, passed: act.passed, desk: act.desk.flatten() })
}

/// What becomes of the other member. It has no request of its own, as what time causes has none.
pub fn receive(account: &Account, books: &Books, now: Timestamp, passed: &Passed) -> Result<Expected, Rejection> {
    let mut act = Act::new(account, books, now);
    act.pass_time();
    act.asked = true;
    match &passed.what {
        What::Points { points, lots, last } => act.get(passed, *points, lots.iter().zip(last))?,
        What::Referral { activity, reference, occurred_time } => act.referred(passed, activity, reference, *occurred_time)?,
        What::Waits => act.is_there_to_refer()?,
        What::Bonus(what) => act.referrer_earns(passed, what)?,
        What::BonusBack { bonus, order } => act.bonus_goes_back(passed, *bonus, order)?,
    }
    act.settle_goal(now);
    (act.asked, act.acted) = (false, true);
    act.pass_time();
    act.settle_segments(now);
    Ok(Expected { account: act.account, said: act.said, done_before: None, passed: None, desk: None })
}

/// What time alone has brought by an instant.
pub fn advance(account: &Account, books: &Books, now: Timestamp) -> Expected {
    let mut act = Act::new(account, books, now);
    act.pass_time();
    Expected { account: act.account, said: act.said, done_before: None, passed: None, desk: None }
}

/// The account as it is shown at an instant, with nothing asked of it.
pub fn shown(account: &Account, books: &Books, now: Timestamp) -> Account {
    advance(account, books, now).account
}

/// Since when time alone changes something: what the schedule looks for. What other rules ask of everybody is not due of anybody.
pub fn due_since(account: &Account, books: &Books) -> Option<Timestamp> {
    let lapses = account.lots.iter().filter_map(|lot| match lot.lapse {
        Lapse::On(time) => Some(time),
        Lapse::Month(earned) => account.months.lapse(books.newest(), earned),
        Lapse::Inactive => account.idle_end(),
        Lapse::Never => None,
    });
    let activations = account.waiting.iter().filter_map(|lot| lot.until);
    let holds = account.holds.values().map(|hold| hold.until);
    let is_reviewed = !account.erased && account.merged_into.is_none();
    let review = account.next_end(books.newest()).filter(|_| is_reviewed);
    let voucher = account.live_vouchers().map(|(_, voucher)| voucher.due()).min();
    let goal = account.goals.first().map(|(time, _)| *time);
    let single = [review, voucher, goal, account.birthdays.plan.map(|plan| plan.due), account.segments.next];
    lapses.chain(activations).chain(holds).chain(single.into_iter().flatten()).min()
}

/// When something becomes due, or is not counted any more, as far as it is known. Birthdays of who is suspended weigh more, and the ends of
/// vouchers that are held for longer.
pub fn due_times(account: &Account, books: &Books, now: Timestamp) -> Vec<Timestamp> {
    let act = Act::new(account, books, now);
    let dated = account.lots.iter().filter_map(|lot| if let Lapse::On(time) = lot.lapse { Some(time) } else { None });
    let waiting = account.waiting.iter().filter_map(|lot| lot.until);
    let holds = account.holds.values().map(|hold| hold.until);
    let lapses = [account.idle_end(), account.months_end(books.newest())];
    let single = [act.next_review(), act.next_voucher().map(|(time, _)| time), account.segments.next];
    let birthday = account.birthdays.plan.map(|plan| plan.due).into_iter();
    let birthdays = birthday.cycle().take(if account.birthdays.plan.is_none() {
        0
    } else if account.suspended {
        4
    } else {
        1
    });
    let kept = account.live_vouchers().filter(|(_, voucher)| voucher.hold.as_ref().is_some_and(|(_, until)| *until > voucher.terms.until));
    let kept = kept.flat_map(|(_, voucher)| [voucher.terms.until; 4]);
    let turns = reviewing::turning_days(account, books.newest()).into_iter().map(|day| books.newest().dawn(day));
    let turns = turns.chain(offers::turns(account, books.newest()));
    dated.chain(waiting).chain(holds).chain(lapses.into_iter().chain(single).flatten()).chain(birthdays).chain(turns).chain(kept).collect()
}

impl Act<'_> {
    fn enter(&mut self, fact: Fact, occurred_time: Timestamp, version: u32) {
        if !matches!(fact, Fact::MergedInto { .. }) {
            self.pause(occurred_time, version, matches!(fact, Fact::MergedFrom { .. }));
        }
        self.account.sequence += 1;
        let purse = self.account.purse();
        let (sequence, record_time, by_time, idle_until) = (self.account.sequence, self.now, self.by_time, self.idle_until.take());
        let months = self.tell_months(matches!(fact, Fact::MergedFrom { .. }));
        let flags = std::mem::take(&mut self.flags);
        self.notice_earning(&fact);
        self.said.push(Said { sequence, record_time, occurred_time, by_time, version, purse, flags, idle_until, months, fact });
    }

    /// The member did something. Where that counts, or where points came (`brings`) that lapse with inactivity while no time of inactivity was
    /// running, the time begins anew.
    pub fn stir(&mut self, what: CountedActivity, brings: Brought, occurred_time: Timestamp) {
        let books = self.books;
        self.stir_by(if self.asked || self.acted { books.newest() } else { books.at(occurred_time) }, what, brings, occurred_time);
    }

    /// The tier that is held behind the next entry lets the member be idle for ever, or no longer does.
    fn pause(&mut self, occurred_time: Timestamp, version: u32, is_merge: bool) {
        let books = self.books;
        let (own, bounded) = self.idle_before.take().unwrap_or_default();
        let by_version = || books.0.iter().chain(&books.2).find(|book| book.version == version);
        let newest = if self.asked || self.acted { books.newest() } else { by_version().expect("it was published") };
        let Some((book, idle)) = books.idle_book(newest) else { return };
        let place = newest.place_of_tier(self.account.tiers.last().map(|(tier, _)| tier));
        let pauses = newest.tiers.get(place).is_some_and(|tier| tier.pauses);
        match is_merge {
            true => self.join_pause(book, pauses),
            false => self.count_months(book, pauses, occurred_time),
        }
        let is_paused = self.account.idle_until == Some(PAUSED);
        let until = match (is_paused, pauses) {
            (true, true) | (false, false) => return,
            (false, true) if !self.may_be_idle(idle, self.stirred.1) => return,
            (false, true) => {
                // The time had run out before.
                self.account.idle_ends.extend(self.account.idle_until.filter(|end| *end <= occurred_time));
                PAUSED
            }
            (true, false) => {
                let known = if self.asked || self.acted { self.now } else { occurred_time };
                let anew = book.dawn(days_later(months_later(book.date(known), idle.months), 1));
                // Of two who are one now neither has less time than before.
                bounded.map_or(anew, |bounded| bounded.max(anew))
            }
        };
        self.account.idle_until = Some(until);
        self.idle_until = Some(until).filter(|_| own != Some(until));
    }

    /// Where points lapse by months now, the time of inactivity goes on only of those for whom it has begun, or of whom points still come that
    /// lapse with it.
    fn may_be_idle(&self, idle: &Idle, brings: Brought) -> bool {
        !idle.by_month || brings.idle || self.account.idle_until.is_some()
    }

    fn stir_by(&mut self, newest: &Book, what: CountedActivity, brings: Brought, occurred_time: Timestamp) {
        self.stirred = (what, brings);
        let known = if self.asked || self.acted { self.now } else { occurred_time };
        let Some((book, idle)) = self.books.idle_book(newest) else { return };
        let runs = self.account.idle_until.is_some_and(|end| end > known);
        let counts = idle.counted.contains(&what) && self.may_be_idle(idle, brings);
        if !(counts || (brings.idle && !runs)) {
            return;
        }
        let last = months_later(book.date(occurred_time), idle.months);
        let end = book.dawn(days_later(last, 1));
        if let Some(old) = self.account.idle_until {
            if end <= old {
                return;
            }
            if old <= self.now {
                self.account.idle_ends.push(old);
            }
        }
        self.account.idle_until = Some(end);
        self.idle_until = Some(end);
    }

    /// Points came that the member did nothing for.
    pub fn welcome<'b>(&mut self, lots: impl Iterator<Item = &'b LotSaid>, occurred_time: Timestamp) {
        self.stir(CountedActivity::Unspecified, Brought::with(lots), occurred_time);
    }

    /// And these by a rule book of their own.
    fn welcome_by<'b>(&mut self, book: &Book, lots: impl Iterator<Item = &'b LotSaid>, occurred_time: Timestamp) {
        let newest = if self.asked || self.acted { self.books.newest() } else { book };
        self.stir_by(newest, CountedActivity::Unspecified, Brought::with(lots), occurred_time);
    }

    fn enter_now(&mut self, fact: Fact) {
        self.enter(fact, self.now, self.books.newest().version);
    }

    pub fn money(&self, units: i128) -> Decimal {
        Decimal::from_i128_with_scale(units, self.books.newest().digits)
    }

    pub fn units(&self, amount: Decimal) -> i128 {
        units(amount, self.books.newest().digits)
    }

    fn meant(&self, number: u64, what: Called) -> EntryRef {
        self.meant.get(&(number, what)).copied().unwrap_or(self.account.own(number))
    }

    /// What the command itself has led to.
    fn promise(&self) -> prices::Promise {
        prices::Promise::of(self.account.id.expect("it is enrolled"), &self.said)
    }

    fn require_active(&self) -> Result<(), Rejection> {
        match (self.account.erased, self.account.suspended) {
            (true, _) => Err(Rejection::MemberErased),
            (false, true) => Err(Rejection::MemberSuspended),
            (false, false) => Ok(()),
        }
    }

    fn perform(&mut self, command: &Command) -> Result<Option<u64>, Rejection> {
        let is_judged_first = matches!(command, Command::ReturnPurchase(_) | Command::RecordActivity(_));
        if self.account.erased && !is_judged_first {
            return Err(Rejection::MemberErased);
        }
        match command {
            Command::Enroll { person } => {
                self.account.joined = Some(self.now);
                self.account.birthdays.know(person.profile.birth_date, self.now);
                self.enter_now(Fact::Enrolled);
                self.plan_birthday(Why::NewDate, 0);
            }
            Command::Suspend { .. } => {
                self.require_active()?;
                self.account.suspended = true;
                self.enter_now(Fact::Suspended);
            }
            Command::Reactivate { .. } => {
                if !std::mem::take(&mut self.account.suspended) {
                    return Err(Rejection::MemberNotSuspended);
                }
                self.enter_now(Fact::Reactivated);
            }
            Command::Erase { .. } => self.erase(),
            Command::SetTier { tier, last_date, .. } => self.set_tier(tier, *last_date)?,
            Command::RecordPurchase(purchase) => self.buy(purchase, Earning::First)?,
            Command::AdjustPoints(adjustment) => self.adjust(adjustment)?,
            Command::RedeemPoints(request) => {
                self.require_active()?;
                let newest = Arc::clone(self.books.newest());
                self.redeem(&newest, request, false, self.now)?;
            }
            Command::ReverseRedemption(request) => self.reverse(request.redemption, request.points.map(|points| points.0))?,
            Command::HoldPoints(request) => self.hold(request)?,
            Command::CaptureHold(request) => {
                self.require_active()?;
                self.capture(request, self.now)?;
            }
            Command::ReleaseHold { hold, .. } => return self.release(hold.0),
            Command::ConfirmPurchase { order } => self.confirm(order)?,
            Command::ReturnPurchase(request) => self.take_back(request)?,
            Command::UpdateProfile(update) => self.update_profile(update.birth_date)?,
            Command::AddIdentifier { .. } | Command::RemoveIdentifier { .. } => self.enter_now(Fact::Other),
            Command::TransferPoints(request) => self.give(request)?,
            Command::RecordActivity(request) => self.do_beside(request)?,
            Command::Voucher(request) => return self.ask_of_voucher(request),
            Command::Offer(request) => self.ask_of_offer(request)?,
            Command::MergeMembers(_) => unreachable!("it is about two members: see `merge`"),
        }
        Ok(None)
    }

    /// Nobody is left, whether suspended or not; what was held goes back, the oldest first.
    fn erase(&mut self) {
        let version = self.books.newest().version;
        self.by_time = true;
        for hold in self.account.holds.keys().copied().collect::<Vec<_>>() {
            self.end_hold(hold, self.now, version, End::Erased);
        }
        self.earned = None;
        self.pass_time();
        self.leave_segments();
        self.by_time = false;
        (self.account.erased, self.account.suspended) = (true, false);
        (self.account.birthdays, self.account.goals, self.account.referral) = (Birthdays::default(), Vec::new(), None);
        self.account.offers.clear();
        self.enter_now(Fact::Erased);
    }

    /// What was due before another version had its turn is as it was under the one before; then by those of now.
    fn pass_time(&mut self) {
        let (books, now) = (self.books, self.now);
        if !self.acted {
            // By a clock that was set back a version can have an end ahead of now.
            for (until, before) in books.1.iter().filter(|(until, _)| *until < now) {
                (self.books, self.until) = (before, *until);
                self.pass_time_by_these();
            }
        }
        (self.books, self.until) = (books, now);
        self.pass_time_by_these();
        self.hold_end = None;
    }

    /// Everything that has become due, in order of time; at one instant points become active first, then the tier is reviewed, then holds
    /// end, then lots lapse, then what waits for its goal is delivered, then vouchers, and
    /// then a birthday is celebrated. One that other rules have changed is planned before all of that.
    fn pass_time_by_these(&mut self) {
        loop {
            let other_rules = self.other_birthday_rules();
            let activation = self.account.waiting.iter().filter_map(|lot| lot.until).min();
            let hold = self.account.holds.iter().map(|(id, hold)| (hold.until, *id)).min();
            let (idle_until, months, books) = (self.account.idle_until, &self.account.months, self.books);
            let lapse_of = |lot: &Lot| match lot.lapse {
                Lapse::On(time) => Some((time, Lapse::On(time))),
                Lapse::Month(earned) => Some((months.lapse(books.newest(), earned)?, lot.lapse)),
                Lapse::Inactive => Some((idle_until.expect("they came with it"), Lapse::Inactive)),
                Lapse::Never => None,
            };
            let lapse = self.account.lots.iter().filter_map(lapse_of).min();
            let lapses = lapse.map(|(lapse, _)| self.hold_end.map_or(lapse, |end| lapse.max(end)));
            let activation_first = activation.map(|time| (time, 0));
            let next = [
                other_rules.as_ref().map(|(time, _)| (*time, -1)),
                activation_first,
                self.next_review().map(|time| (time, 1)),
                hold.map(|(time, _)| (time, 2)),
                lapses.map(|time| (time, 3)).filter(|_| lapse.is_some_and(|(time, _)| time <= self.until)),
                self.account.goals.first().map(|(time, _)| (*time, 4)),
                self.next_voucher().map(|(time, _)| (time, 5)),
                self.account.birthdays.plan.map(|plan| (plan.due, 6)),
            ];
            let next = next.into_iter().flatten().min().filter(|(time, _)| *time <= self.until);
            // Segments come after all else of their instant.
            if let Some(due) = self.segments_due().filter(|due| *due <= self.until && next.is_none_or(|(time, _)| *due < time)) {
                self.judge_segments_due(due);
                continue;
            }
            let Some((time, what)) = next else { return };
            match (what, hold, lapse) {
                (-1, _, _) => self.plan_birthday_anew(other_rules.expect("there are")),
                (0, _, _) => self.activate(time),
                (1, _, _) => self.review(time),
                (4, _, _) => self.end_wait(),
                (5, _, _) => {
                    let (due, issued) = self.next_voucher().expect("there is one");
                    self.end_voucher(due, issued);
                }
                (6, _, _) => self.celebrate(),
                (2, Some((_, hold)), _) => {
                    let version = self.books.at(time).version;
                    self.end_hold(hold, time, version, End::TimeUp);
                }
                (_, _, Some((end, lapse))) => {
                    // What was earned in different months can lapse with the same one.
                    let months = self.account.months.clone();
                    let is_gone = |lot: &Lot| match (lot.lapse, lapse) {
                        (Lapse::Month(earned), Lapse::Month(_)) => months.lapse(self.books.newest(), earned) == Some(end),
                        (own, lapse) => own == lapse,
                    };
                    let (gone, left): (Vec<Lot>, Vec<Lot>) = self.account.lots.drain(..).partition(is_gone);
                    self.account.lots = left;
                    self.note_lapsed(&gone);
                    self.account.expired += gone.iter().map(|lot| lot.points).sum::<i64>();
                    self.enter(Fact::Expired(parts(&gone)), time, self.books.at(time).version);
                }
                (_, _, None) => unreachable!("something lapses"),
            }
            self.settle_goal(time);
            self.settle_segments(time);
        }
    }

    fn activate(&mut self, time: Timestamp) {
        let (due, left): (Vec<Waiting>, Vec<Waiting>) = self.account.waiting.drain(..).partition(|lot| lot.until == Some(time));
        self.account.waiting = left;
        let version = self.books.at(time).version;
        self.make_active(due, time, version, false);
    }

    fn make_active(&mut self, due: Vec<Waiting>, time: Timestamp, version: u32, confirmed: bool) {
        let mut lots = Vec::new();
        let qualifying = due.iter().map(|lot| lot.qualifying).sum();
        for lot in due {
            let Waiting { id, points, lapse, earned, .. } = lot;
            let debt_paid = self.receive(Lot { id, points, lapse, earned });
            lots.push(LotSaid { id, points, lapse, debt_paid, waits: None });
        }
        self.account.qualifying += qualifying;
        self.count(time, qualifying, 0, 0);
        self.account.latest = self.account.latest.max(Some(time));
        self.hold_end = self.hold_end.max(Some(time));
        self.welcome(lots.iter(), time);
        self.enter(Fact::Activated { lots, qualifying, confirmed }, time, version);
        self.promote(time);
    }

    /// Points that pay debt first; how much of it they paid.
    fn receive(&mut self, lot: Lot) -> i64 {
        let paid = lot.points.min(self.account.debt);
        self.account.debt -= paid;
        self.put(Lot { points: lot.points - paid, ..lot });
        paid
    }

    /// Keeps the lots in the order in which they are listed.
    fn put(&mut self, lot: Lot) {
        if lot.points == 0 {
            return;
        }
        // Of one lot a part can have lapsed while it was set aside.
        match self.account.lots.iter_mut().find(|there| (there.id, there.lapse) == (lot.id, lot.lapse)) {
            Some(there) => there.points += lot.points,
            None => self.account.lots.push(lot),
        }
        self.account.lots.sort_by_key(|lot| (lot.lapse, lot.id));
    }

    /// What can be spent: not what has lapsed and came back with this very command.
    fn spendable(&self) -> i64 {
        let lots = self.account.lots.iter().filter(|lot| lot.is_valid(self.now));
        lots.map(|lot| lot.points).sum()
    }

    /// The lots in the order in which they are used up.
    fn order(&self) -> Vec<(u64, Lapse)> {
        let mut lots: Vec<&Lot> = self.account.lots.iter().collect();
        if self.books.newest().oldest_first {
            lots.sort_by_key(|lot| (lot.earned, lot.id));
        }
        lots.into_iter().map(|lot| (lot.id, lot.lapse)).collect()
    }

    /// Takes so many points, which are there, from the front.
    fn take(&mut self, mut points: i64) -> Vec<Lot> {
        let mut taken = Vec::new();
        let now = self.now;
        for key in self.order() {
            let lot = self.account.lots.iter_mut().find(|lot| (lot.id, lot.lapse) == key).expect("it is there");
            if !lot.is_valid(now) {
                continue;
            }
            let part = lot.points.min(points);
            if part > 0 {
                taken.push(Lot { points: part, ..lot.clone() });
            }
            lot.points -= part;
            points -= part;
        }
        assert_eq!(points, 0, "so many are there");
        self.account.lots.retain(|lot| lot.points > 0);
        taken
    }

    fn adjust(&mut self, adjustment: &Adjustment) -> Result<(), Rejection> {
        self.require_active()?;
        let book = Arc::clone(self.books.newest());
        let (points, size) = (adjustment.points.0, adjustment.points.0.abs());
        if let Some(limit) = book.maximum_adjustment.filter(|limit| size > *limit) {
            return Err(Rejection::AdjustmentTooLarge { limit: Points(limit), requested: adjustment.points });
        }
        let qualifying = if adjustment.qualifying { points.max(-self.account.qualifying.max(0)) } else { 0 };
        let (mut lot, mut taken, mut debt) = (None, Vec::new(), 0);
        if points > 0 {
            self.account.last_lot += 1;
            self.account.issued += points;
            let policy = adjustment.expiry.map_or(book.expiry, book::granted);
            let (id, lapse) = (self.account.last_lot, book.lapse(policy, self.now, self.now));
            let debt_paid = self.receive(Lot { id, points, lapse, earned: self.now });
            lot = Some(LotSaid { id, points, lapse, debt_paid, waits: None });
        } else {
            let available = self.account.available();
            let into_debt = book.document.adjustments.as_ref().is_some_and(|policy| policy.into_debt);
            if size > available && !into_debt {
                return Err(Rejection::InsufficientPoints { available: Points(available), requested: Points(size) });
            }
            debt = size - size.min(available);
            taken = parts(&self.take(size - debt));
            self.account.debt += debt;
            self.account.clawed_back += size;
        }
        self.account.qualifying += qualifying;
        self.count(self.now, qualifying, 0, 0);
        if qualifying != 0 {
            self.account.latest = self.account.latest.max(Some(self.now));
        }
        self.watch_adjustment(size)?;
        self.stir(CountedActivity::Adjustment, Brought::with(lot.iter()), self.now);
        self.enter_now(Fact::Adjusted { points, qualifying, lot, taken, debt });
        self.promote(self.now);
        Ok(())
    }

    fn set_tier(&mut self, to: &TierId, last_date: Option<Date>) -> Result<(), Rejection> {
        let book = Arc::clone(self.books.newest());
        let Some(place) = book.tiers.iter().position(|tier| tier.id == to.as_str()) else {
            return Err(Rejection::TierNotFound { tier: to.clone() });
        };
        let end = last_date.map(|last| days_later(last, 1));
        let end_time = end.map(|end| book.dawn(end));
        if end_time.is_some_and(|end| end <= self.now) {
            return Err(Rejection::TierEndPast);
        }
        let account = &mut self.account;
        let held = book.place_of_tier(account.tiers.last().map(|(tier, _)| tier));
        let is_on_floor = account.is_on_floor();
        if held == place && is_on_floor && account.floor.as_ref().is_some_and(|(_, until)| *until == end) {
            return Err(Rejection::TierHeld { tier: to.clone() });
        }
        if !is_on_floor {
            account.beneath = Some((account.tiers.last().map(|(tier, _)| tier.clone()), account.held_until));
        }
        account.floor = Some((to.to_string(), end));
        (account.held_until, account.reached_on) = (None, None);
        self.hold_tier(&book, to.to_string(), self.now, How::ByHand(end_time));
        Ok(())
    }

    /// Since when it is held; until when the account says.
    fn hold_tier(&mut self, book: &Book, to: String, since: Timestamp, how: How) -> Timestamp {
        let since = self.account.tiers.last().map_or(since, |(_, start)| since.max(*start));
        let tiers = &mut self.account.tiers;
        tiers.push((to.clone(), since));
        if tiers.len() > MANY_TIERS {
            tiers[1].1 = tiers[0].1;
            tiers.remove(0);
        }
        self.account.by_hand = matches!(how, How::ByHand(_));
        self.forget_floor(book, since);
        self.enter(Fact::Tier { to, how, until: self.status_times(book) }, since, book.version);
        since
    }

    pub fn reached(&self, book: &Book, totals: (i64, i128, u64)) -> usize {
        book.tiers.iter().rposition(|tier| tier.reach.as_ref().is_none_or(|takes| takes.is_met(totals))).unwrap_or(0)
    }

    fn confirm(&mut self, order: &OrderKey) -> Result<(), Rejection> {
        self.require_active()?;
        let sale = self.account.sales.get(order).cloned().ok_or(Rejection::NothingPending)?;
        let mut due = Vec::new();
        for lot in sale.earned.lots.iter().filter(|lot| matches!(lot.said.waits, Some((None, _)))) {
            let Some(place) = self.account.waiting.iter().position(|waiting| waiting.id == lot.said.id) else { continue };
            let mut waiting = self.account.waiting.remove(place);
            if waiting.lapse == Lapse::Never {
                waiting.lapse = sale.book.lapse(lot.policy, sale.occurred_time, self.now);
            }
            due.push(waiting);
        }
        if due.is_empty() {
            return Err(Rejection::NothingPending);
        }
        self.make_active(due, self.now, self.books.newest().version, true);
        Ok(())
    }

    /// When the sale happened, if somebody bought, and not too long ago.
    fn may_buy(&self, purchase: &Purchase) -> Result<Timestamp, Rejection> {
        self.require_active()?;
        let occurred_time = purchase.occurred_time.unwrap_or(self.now);
        let newest = self.books.newest();
        let age = SignedDuration::from_hours(24 * i64::from(newest.max_age_days));
        if self.now.duration_since(occurred_time) > age {
            return Err(Rejection::PurchaseTooOld { occurred_time, max_age_days: newest.max_age_days });
        }
        let ahead = SignedDuration::from_secs(newest.max_ahead_seconds.into());
        if occurred_time.duration_since(self.now) > ahead {
            return Err(Rejection::PurchaseInFuture { occurred_time, max_ahead_seconds: newest.max_ahead_seconds });
        }
        Ok(occurred_time)
    }

    fn buy(&mut self, purchase: &Arc<Purchase>, earning: Earning) -> Result<(), Rejection> {
        let occurred_time = self.may_buy(purchase)?;
        let (purchase, effects) = self.price(purchase, occurred_time)?;
        let redemptions = self.pay(&purchase, occurred_time)?;
        let book = Arc::clone(self.books.at(occurred_time));
        let mut earned = earning::earn(self, &book, &purchase, occurred_time);
        self.watch_earning(occurred_time, 1, earned.points)?;
        self.collect(&mut earned, occurred_time);
        self.stir(CountedActivity::Purchase, Brought::with(earned.lots.iter().map(|lot| &lot.said)), occurred_time);
        let newest = self.books.newest();
        let standing = newest.tiers.get(newest.place_of_tier(self.account.tiers.last().map(|(tier, _)| tier))).map(|tier| tier.id.clone());
        let fact = earned.fact(&book, standing, redemptions.clone(), (Arc::clone(&purchase), effects));
        self.account.latest = self.account.latest.max(Some(occurred_time));
        self.enter(fact, occurred_time, book.version);
        let sequence = self.account.sequence;
        let entry = self.account.own(sequence);
        self.account.purchases += 1;
        self.end_referral_before(occurred_time);
        self.collect_promoted(&book, &mut earned, occurred_time);
        let order = purchase.order.clone().expect("a recorded purchase has an order");
        let (bonus, basis) = self.bonus_of(&earned, occurred_time, earning);
        let money = basis.map(|basis| self.money(basis));
        let entered = self.said.iter_mut().find(|said| said.sequence == sequence).expect("it is entered");
        if let Fact::Accrued { referral, shared, .. } = &mut entered.fact {
            (*referral, *shared) = (bonus, money);
        }
        let sale = Sale { sequence, entry, book, purchase, occurred_time, earned, redemptions, so_far: SoFar::default(), bonus };
        Arc::make_mut(&mut self.account.sales).insert(order.clone(), Arc::new(sale));
        if bonus == Some(self.account.own(self.account.sequence + 1)) {
            self.earn_referral(entry, &order, occurred_time);
        }
        self.promote(occurred_time);
        Ok(())
    }

    /// What was earned becomes the member's.
    fn collect(&mut self, earned: &mut Earned, occurred_time: Timestamp) {
        let later = self.collect_lots(&mut earned.lots, occurred_time);
        self.account.qualifying += earned.qualifying - later;
        self.account.spend += earned.basis;
        self.account.visits += 1;
        self.count(occurred_time, earned.qualifying - later, earned.basis, 1);
        for (rule, fraction) in &earned.fractions {
            self.account.fractions.insert(rule.clone(), *fraction);
        }
        for (rule, period, points) in &earned.given {
            *self.account.given.entry((rule.clone(), *period)).or_default() += points;
        }
    }

    /// How many of the points count for tiers only later.
    fn collect_lots(&mut self, lots: &mut [EarnedLot], occurred_time: Timestamp) -> i64 {
        let mut later = 0;
        for lot in lots {
            self.note_told(lot);
            let said = &mut lot.said;
            self.account.issued += said.points;
            self.account.last_lot = said.id;
            match said.waits {
                None => {
                    let (id, points, lapse) = (said.id, said.points, said.lapse);
                    said.debt_paid = self.receive(Lot { id, points, lapse, earned: occurred_time });
                }
                Some((until, qualifying)) => {
                    later += qualifying;
                    let (id, points, lapse) = (said.id, said.points, said.lapse);
                    self.account.waiting.push(Waiting { id, points, until, lapse, earned: occurred_time, qualifying });
                }
            }
        }
        later
    }
}

pub fn parts(lots: &[Lot]) -> Parts {
    lots.iter().map(|lot| (lot.id, lot.points)).collect()
}

pub fn units(amount: Decimal, digits: u32) -> i128 {
    let scaled = amount * Decimal::from(10u64.pow(digits));
    assert_eq!(scaled.fract(), Decimal::ZERO, "{amount} has no more than {digits} decimal places");
    i128::try_from(scaled).expect("it fits")
}
