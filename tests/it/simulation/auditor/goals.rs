//! Goals: how often the balance covers the goal, and what comes of it; a list of what waits, and what each voucher took.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use loyaltyd::{
    contract::v1,
    domain::{EntryRef, GoalChanged, GoalPaid, GoalRefund, VoucherCause, VoucherCode},
};

use super::{
    Account, Act, Lot,
    book::{Book, Lapse, days_later},
    earning::EarnedLot,
    facts::{Change, Fact, Parts, lapse},
    parts,
};

/// What a rule book turns points into.
pub struct Goal {
    pub document: v1::Goal,
    /// In the smallest unit.
    pub points: i64,
}

const MANY_VOUCHERS: i64 = 1_000;
const MANY_AT_ONCE: i64 = 100;

/// When so many are delivered.
pub type Waits = Vec<(Timestamp, i64)>;

/// What a voucher took out of the lots.
#[derive(Debug, Clone)]
pub struct Turned {
    pub parts: Vec<Lot>,
    pub since: Timestamp,
    /// The entry that reached it.
    pub by: EntryRef,
}

/// By the entry that issued the voucher.
pub type AllTurned = BTreeMap<EntryRef, Turned>;

/// What is said of the points of a voucher.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnedSaid {
    goal: String,
    points: i64,
    taken: Parts,
    waited: bool,
    reached_by: u64,
}

/// From which lot, into which, until when, how many.
pub type Back = Vec<(u64, u64, Lapse, i64)>;

pub fn turned(paid: &GoalPaid) -> TurnedSaid {
    TurnedSaid {
        goal: paid.goal.to_string(),
        points: paid.points.0,
        taken: paid.portions.iter().map(|taken| (taken.lot.id().0, taken.points.0)).collect(),
        waited: paid.waited,
        reached_by: paid.reached_by,
    }
}

pub fn came_back(refund: &GoalRefund) -> Change {
    let back = refund.put_back.iter();
    let back = back.map(|back| (back.portion.lot.id().0, back.into.id().0, lapse(back.into.expiry()), back.portion.points.0));
    Change::CameBack { points: refund.points.0, debt_paid: refund.debt_paid.0, back: back.collect() }
}

pub fn changed(changed: &GoalChanged) -> Fact {
    let waits = changed.waiting.iter().map(|one| (one.due_time, i64::from(one.vouchers))).collect();
    Fact::Goal { goal: changed.goal.as_ref().map(ToString::to_string), vouchers: changed.vouchers, waits }
}

fn number(waits: &Waits) -> i64 {
    waits.iter().map(|(_, count)| count).sum()
}

/// One after the other, so long as there are enough.
fn covered(waits: &Waits, mut enough: i64) -> Waits {
    let mut kept = Waits::new();
    for (time, count) in waits {
        for _ in 0..*count {
            if enough == 0 {
                return kept;
            }
            enough -= 1;
            wait(&mut kept, *time, 1);
        }
    }
    kept
}

fn wait(waits: &mut Waits, time: Timestamp, count: i64) {
    match waits.iter_mut().find(|(other, _)| *other == time) {
        Some((_, there)) => *there += count,
        None => waits.push((time, count)),
    }
    waits.sort();
}

impl Account {
    /// Of live vouchers. Those of members that were merged into this one are few, and come alone where there are any.
    pub fn codes_that_took_points(&self) -> Vec<VoucherCode> {
        let own = self.own(0).member;
        let of = |others: bool| {
            let took = self.live_vouchers().filter(move |(issued, _)| self.turned.contains_key(issued) && (issued.member != own) == others);
            took.filter_map(|(_, voucher)| voucher.code).collect::<Vec<_>>()
        };
        let others = of(true);
        if others.is_empty() { of(false) } else { others }
    }
}

impl Act<'_> {
    /// Whether points have come since the entry before this one, other than those of a cancelled voucher.
    pub fn notice_earning(&mut self, fact: &Fact) {
        let available = self.account.available();
        let more = available > std::mem::replace(&mut self.available_before, available);
        if (more && !matches!(fact, Fact::Voucher { .. })) || matches!(fact, Fact::Reactivated) {
            self.earned = Some(self.account.sequence);
        }
        let covering = available + self.set_aside();
        self.lost |= covering < std::mem::replace(&mut self.covering_before, covering) || matches!(fact, Fact::MergedFrom { .. });
    }

    fn set_aside(&self) -> i64 {
        self.account.holds.values().map(|hold| hold.points).sum()
    }

    fn worth_of(&self, time: Timestamp) -> i64 {
        self.account.lots.iter().filter(|lot| lot.is_valid(time)).map(|lot| lot.points).sum()
    }

    /// What comes of all that happened at an instant.
    pub fn settle_goal(&mut self, instant: Timestamp) {
        let (earned, lost) = (self.earned.take(), std::mem::take(&mut self.lost));
        let is_late = self.asked || self.acted;
        let time = if is_late { self.now } else { instant };
        let book = Arc::clone(if is_late { self.books.newest() } else { self.books.at(time) });
        // What waits does so while there is no goal.
        let Some(goal) = &book.goal else { return };
        let times = |points: i64| points / goal.points;
        let there = self.worth_of(time);
        if lost {
            self.let_wait(covered(&self.account.goals, times(there + self.set_aside())), &book, time);
        }
        let Some(entry) = earned else { return };
        if self.account.suspended || self.account.erased || self.account.merged_into.is_some() {
            return;
        }
        let most = if goal.document.maximum_at_once == 0 { MANY_AT_ONCE } else { goal.document.maximum_at_once.into() };
        let waits = number(&self.account.goals);
        let room = MANY_VOUCHERS - self.account.live_vouchers().count() as i64 - waits;
        let reached = (times(there) - waits).min(most).min(room).max(0);
        if goal.document.delay_days > 0 && reached > 0 {
            let day = days_later(book.date(time), goal.document.delay_days.into());
            let mut waits = self.account.goals.clone();
            wait(&mut waits, book.dawn(day), reached);
            self.let_wait(waits, &book, time);
        } else {
            (0..reached).for_each(|_| self.turn(&book, entry, time));
        }
    }

    fn let_wait(&mut self, waits: Waits, book: &Book, time: Timestamp) {
        let vouchers = number(&waits) - number(&self.account.goals);
        if vouchers != 0 {
            self.account.goals.clone_from(&waits);
            let goal = book.goal.as_ref().map(|goal| goal.document.goal_id.clone());
            self.enter(Fact::Goal { goal, vouchers, waits }, time, book.version);
        }
    }

    /// What waited for this instant: those that are covered by it, if somebody is there to get them.
    pub fn end_wait(&mut self) {
        let (time, count) = self.account.goals[0];
        let book = Arc::clone(self.books.at(time));
        let mut left = count;
        while left > 0
            && let Some(goal) = &book.goal
            && !self.account.suspended
            && self.worth_of(time) >= goal.points
            && (self.account.live_vouchers().count() as i64) < MANY_VOUCHERS
        {
            left -= 1;
            self.account.goals[0].1 = left;
            self.account.goals.retain(|(_, count)| *count > 0);
            self.turn(&book, 0, time);
        }
        if left > 0 {
            self.let_wait(self.account.goals[1..].to_vec(), &book, time);
        }
    }

    /// Points become a voucher. `entry`: what brought them; 0: they had waited.
    fn turn(&mut self, book: &Book, entry: u64, time: Timestamp) {
        let goal = book.goal.as_ref().expect("there is one");
        // What had lapsed by then is not taken.
        let now = std::mem::replace(&mut self.now, time);
        let lots = self.take(goal.points);
        self.now = now;
        self.account.redeemed += goal.points;
        let said = TurnedSaid {
            goal: goal.document.goal_id.clone(),
            points: goal.points,
            taken: parts(&lots),
            waited: entry == 0,
            reached_by: entry,
        };
        let issued = self.account.own(self.account.sequence + 1);
        let by = self.account.own(entry);
        Arc::make_mut(&mut self.account.turned).insert(issued, Turned { parts: lots, since: time, by });
        self.issue_voucher_as(book, &goal.document.voucher_kind_id, VoucherCause::Goal, time, |terms| Change::Turned(terms, said));
    }

    /// Where points lack that these entries had brought, in these lots, what they had turned into vouchers comes back, the newest first.
    pub fn turn_back_for(&mut self, by: &[EntryRef], lots: &[EarnedLot], points: i64) {
        let own_only = self.books.newest().document.returns.unwrap_or_default().own_lots_only;
        loop {
            let account = &self.account;
            let is_own = |id: u64| lots.iter().any(|lot| lot.said.id == id);
            let waiting: i64 = account.waiting.iter().filter(|lot| is_own(lot.id)).map(|lot| lot.points).sum();
            let there = account.lots.iter().filter(|lot| lot.is_valid(self.now) && (!own_only || is_own(lot.id)));
            if waiting + there.map(|lot| lot.points).sum::<i64>() >= points {
                return;
            }
            let is_of_it = |issued: &EntryRef| account.turned.get(issued).is_some_and(|turned| by.contains(&turned.by));
            let live = account.live_vouchers().filter(|(issued, voucher)| voucher.hold.is_none() && is_of_it(issued));
            let Some(issued) = live.map(|(issued, _)| *issued).max_by_key(|issued| issued.sequence) else { return };
            self.cancel_voucher(issued);
        }
    }

    /// The points of a voucher that is cancelled, if it had taken any.
    pub fn turn_back(&mut self, issued: EntryRef) -> Change {
        let Some(Turned { parts, since, .. }) = self.account.turned.get(&issued).cloned() else { return Change::Cancelled };
        let backwards: Vec<Lot> = self.back(&parts, (since, self.now)).into_iter().rev().collect();
        let points = backwards.iter().map(|lot| lot.points).sum::<i64>();
        let debt_paid = self.account.debt.min(points);
        let back = self.put_back(backwards, debt_paid);
        self.account.debt -= debt_paid;
        self.account.reinstated += points;
        self.hold_end = self.hold_end.max(Some(self.now));
        Change::CameBack { points, debt_paid, back }
    }

    /// From here on the lots have other numbers, and what lapses with inactivity does so as the other's.
    pub fn join_goals(&mut self, old: &Account, lots_before: u64) {
        for (time, count) in &old.goals {
            wait(&mut self.account.goals, *time, *count);
        }
        let turned = Arc::make_mut(&mut self.account.turned);
        for (issued, one) in old.turned.iter() {
            let parts = old.as_they_are(self.books.newest(), &one.parts, (one.since, self.now));
            let parts = parts.into_iter().map(|lot| Lot { id: lot.id + lots_before, ..lot }).collect();
            turned.insert(*issued, Turned { parts, since: self.now, by: one.by });
        }
    }
}
