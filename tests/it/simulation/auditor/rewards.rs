//! Rewards: a list of days on which each was had, and how many the members of a programme have of it together; counted anew each time.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{self, expiry_policy::CountedActivity},
    domain::{
        EntryRef, GoalRefund, Points, Rejection, RewardFreed, RewardId, RewardPaid, RewardRejection, RewardTally, VoucherCause,
        VoucherRejection,
    },
};

use super::{
    Account, Act, Books,
    book::Book,
    facts::{Change, Parts},
    goals::{Turned, came_back},
    months::Brought,
    parts,
};

pub const MANY_VOUCHERS: usize = 1_000;

const PERIODS: [v1::Period; 6] =
    [v1::Period::Day, v1::Period::Week, v1::Period::Month, v1::Period::Quarter, v1::Period::Year, v1::Period::Lifetime];

/// By the entry that issued each voucher: the reward, and the day on which it counts.
pub type Had = BTreeMap<EntryRef, (String, Date)>;

/// The latest day on which one of each was had, as long as one is left.
pub type Latest = BTreeMap<String, Date>;

/// How many of each all members of the programme have had and not given back.
pub type Shelf = BTreeMap<String, i64>;

/// What is counted with an entry: the day, how many in each period that holds it; how many all have.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    reward: String,
    counts: Option<(Date, Vec<i64>)>,
    all: i64,
}

/// What is said of the points that a reward cost.
#[derive(Debug, Clone, PartialEq)]
pub struct RewardedSaid {
    points: i64,
    taken: Parts,
    tally: Tally,
}

fn counts(tally: &RewardTally) -> (Date, Vec<i64>) {
    (tally.day, tally.counts.iter().copied().map(i64::from).collect())
}

pub fn rewarded(paid: &RewardPaid) -> RewardedSaid {
    RewardedSaid {
        points: paid.points.0,
        taken: paid.portions.iter().map(|taken| (taken.lot.id().0, taken.points.0)).collect(),
        tally: Tally { reward: paid.reward.to_string(), counts: Some(counts(&paid.tally)), all: paid.stock.taken as i64 },
    }
}

pub fn undone(freed: &RewardFreed, refund: &GoalRefund) -> Change {
    let tally = Tally { reward: freed.reward.to_string(), counts: freed.tally.as_ref().map(counts), all: freed.stock.taken as i64 };
    Change::Undone(Box::new(came_back(refund)), tally)
}

/// Of all members, those that were merged into others among them, whose vouchers are the others'.
pub fn shelf<'a>(accounts: impl Iterator<Item = &'a Account>) -> Shelf {
    let mut shelf = Shelf::new();
    for account in accounts.filter(|account| account.merged_into.is_none()) {
        account.had.values().for_each(|(reward, _)| *shelf.entry(reward.clone()).or_default() += 1);
    }
    shelf
}

/// How each reward stands for a member: how many it has had, how many are left on the shelf, and why it cannot have another one.
pub type Standing = (String, i64, Option<i64>, Option<Rejection>);

pub fn listed(account: &Account, books: &Books, now: Timestamp, shelf: Shelf) -> Vec<Standing> {
    let act = Act { shelf, ..Act::new(account, books, now) };
    let book = books.newest();
    let standing = |reward: &v1::Reward| {
        let id = RewardId::new(&reward.reward_id).expect("an id");
        let had = account.had.values().filter(|(other, _)| *other == reward.reward_id).count() as i64;
        let left = reward.stock.map(|stock| (stock - act.shelf.get(&reward.reward_id).copied().unwrap_or(0)).max(0));
        let judged = act.require_active().and_then(|()| act.judge_reward(book, reward, (&id, 1)).map(|_| ()));
        (reward.reward_id.clone(), had, left, judged.err())
    };
    let mut standings: Vec<Standing> = book.document.rewards.iter().map(standing).collect();
    standings.sort_by(|one, other| one.0.cmp(&other.0));
    standings
}

/// In the smallest unit.
pub fn points(text: &str, precision: u32) -> i64 {
    let mut points: rust_decimal::Decimal = text.parse().expect("a number");
    points.rescale(precision);
    i64::try_from(points.mantissa()).expect("it fits")
}

pub fn time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.map(|time| Timestamp::from_second(time.seconds).expect("within the calendar"))
}

impl Book {
    fn reward(&self, id: &RewardId) -> Option<&v1::Reward> {
        self.document.rewards.iter().find(|reward| reward.reward_id == id.as_str())
    }
}

impl Act<'_> {
    pub fn ask_for_reward(&mut self, id: &RewardId, quantity: u32) -> Result<(), Rejection> {
        self.require_active()?;
        let book = Arc::clone(self.books.newest());
        let Some(reward) = book.reward(id) else {
            let was_there = self.books.0.iter().any(|book| book.reward(id).is_some());
            let reward = id.clone();
            return Err(match was_there {
                true => RewardRejection::NotOffered { reward, start_time: None, end_time: None },
                false => RewardRejection::NotFound { reward },
            }
            .into());
        };
        let (cost, today) = self.judge_reward(&book, reward, (id, quantity))?;
        for _ in 0..quantity {
            let lots = self.take(cost);
            self.account.redeemed += cost;
            let issued = self.account.own(self.account.sequence + 1);
            self.account.had.insert(issued, (id.to_string(), today));
            self.account.latest_had.insert(id.to_string(), today);
            *self.shelf.entry(id.to_string()).or_default() += 1;
            let said = RewardedSaid { points: cost, taken: parts(&lots), tally: self.tally(&book, id.as_str()) };
            Arc::make_mut(&mut self.account.turned).insert(issued, Turned { parts: lots, since: self.now, by: issued });
            if cost > 0 {
                self.stir(CountedActivity::Redemption, Brought::default(), self.now);
            }
            let kind = document(&book, reward);
            self.issue_voucher_of(&book, &kind, VoucherCause::Reward, self.now, |terms| Change::Rewarded(terms, said));
        }
        Ok(())
    }

    /// What one costs, and the day on which it counts.
    fn judge_reward(&self, book: &Book, reward: &v1::Reward, (id, quantity): (&RewardId, u32)) -> Result<(i64, Date), Rejection> {
        let (start, end) = (time(reward.start_time.as_ref()), time(reward.end_time.as_ref()));
        if start.is_some_and(|start| start > self.now) {
            return Err(RewardRejection::NotOffered { reward: id.clone(), start_time: start, end_time: None }.into());
        }
        if end.is_some_and(|end| end <= self.now) {
            return Err(RewardRejection::NotOffered { reward: id.clone(), start_time: None, end_time: end }.into());
        }
        let known = |tier: &str| book.document.tiers.iter().any(|known| known.tier_id == tier);
        let held = self.account.tiers.last().map(|(tier, _)| tier.clone()).filter(|tier| known(tier));
        let tier = held.or_else(|| book.document.tiers.first().map(|lowest| lowest.tier_id.clone()));
        let is_for = |tier: &String| reward.tier_ids.contains(tier);
        if !reward.tier_ids.is_empty() && !tier.as_ref().is_some_and(is_for) {
            let tier = tier.map(|tier| loyaltyd::domain::TierId::new(&tier).expect("an id"));
            return Err(RewardRejection::Tier { reward: id.clone(), tier }.into());
        }
        let is_in = |segment: &String| self.account.segments.held.contains_key(segment);
        if !reward.segment_ids.is_empty() && !reward.segment_ids.iter().any(is_in) {
            return Err(RewardRejection::Segment { reward: id.clone() }.into());
        }
        let maximum = reward.maximum_quantity.max(1) as u32;
        if quantity > maximum {
            return Err(RewardRejection::Quantity { reward: id.clone(), maximum, requested: quantity }.into());
        }
        let today = book.date(self.now).max(self.account.latest_had.get(id.as_str()).copied().unwrap_or(Date::MIN));
        if let Some(limit) = &reward.member_limit {
            let had = self.had_in(book, id.as_str(), today, limit.period());
            let left = u32::try_from((i64::from(limit.redemptions) - had).max(0)).expect("it fits");
            if quantity > left {
                let next_time = next_period(book, today, limit.period());
                let limit = limit.redemptions as u32;
                return Err(RewardRejection::Limit { reward: id.clone(), limit, left, requested: quantity, next_time }.into());
            }
        }
        let on_shelf = reward.stock.map(|stock| (stock - self.shelf.get(id.as_str()).copied().unwrap_or(0)).max(0));
        if let Some(left) = on_shelf.filter(|left| *left < i64::from(quantity)) {
            return Err(RewardRejection::OutOfStock { reward: id.clone(), left: left as u64, requested: quantity }.into());
        }
        if self.account.live_vouchers().count() + quantity as usize > MANY_VOUCHERS {
            return Err(VoucherRejection::TooMany { limit: MANY_VOUCHERS }.into());
        }
        if self.account.debt > 0 {
            return Err(Rejection::InDebt { debt: Points(self.account.debt) });
        }
        let precision = book.document.points_precision as u32;
        let own = reward.tier_costs.iter().find(|cost| Some(&cost.tier_id) == tier.as_ref());
        let cost = points(own.map_or(&reward.points, |cost| &cost.points), precision);
        let (requested, available) = (cost * i64::from(quantity), self.account.available());
        if requested > available {
            return Err(Rejection::InsufficientPoints { available: Points(available), requested: Points(requested) });
        }
        Ok((cost, today))
    }

    fn had_in(&self, book: &Book, reward: &str, day: Date, period: v1::Period) -> i64 {
        let is_in = |had: &&(String, Date)| had.0 == reward && book.period(had.1, period) == book.period(day, period);
        self.account.had.values().filter(is_in).count() as i64
    }

    fn tally(&self, book: &Book, reward: &str) -> Tally {
        let latest = self.account.latest_had.get(reward);
        let counts = latest.map(|day| (*day, PERIODS.map(|period| self.had_in(book, reward, *day, period)).to_vec()));
        Tally { reward: reward.to_owned(), counts, all: self.shelf.get(reward).copied().unwrap_or(0) }
    }

    /// Of a voucher that is cancelled, with what became of its points.
    pub fn undo_reward(&mut self, issued: EntryRef, points: Change) -> Change {
        let Some((reward, _)) = self.account.had.remove(&issued) else { return points };
        if !self.account.had.values().any(|(other, _)| *other == reward) {
            self.account.latest_had.remove(&reward);
        }
        *self.shelf.entry(reward.clone()).or_default() -= 1;
        let book = Arc::clone(self.books.newest());
        Change::Undone(Box::new(points), self.tally(&book, &reward))
    }

    pub fn join_rewards(&mut self, old: &Account) {
        self.account.had.extend(old.had.iter().map(|(issued, had)| (*issued, had.clone())));
        for (reward, day) in &old.latest_had {
            let latest = self.account.latest_had.entry(reward.clone()).or_insert(*day);
            *latest = (*latest).max(*day);
        }
    }
}

/// The kind of its vouchers, with how long these are valid.
fn document(book: &Book, reward: &v1::Reward) -> v1::VoucherKind {
    let kinds = &book.document.voucher_kinds;
    let kind = kinds.iter().find(|kind| kind.voucher_kind_id == reward.voucher_kind_id).expect("it is known").clone();
    match (reward.valid_days, reward.valid_months) {
        (None, 0) => kind,
        (valid_days, valid_months) => v1::VoucherKind { valid_days, valid_months, ..kind },
    }
}

pub fn next_period(book: &Book, day: Date, period: v1::Period) -> Option<Timestamp> {
    use super::book::{days_later, months_later};
    let start = book.period(day, period)?;
    let next = match period {
        v1::Period::Day => days_later(start, 1),
        v1::Period::Week => days_later(start, 7),
        v1::Period::Month => months_later(start, 1),
        v1::Period::Quarter => months_later(start, 3),
        v1::Period::Year => months_later(start, 12),
        v1::Period::Lifetime | v1::Period::Unspecified => return None,
    };
    Some(book.dawn(next))
}
