//! Two members who are one customer.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use loyaltyd::domain::{Command, EntryRef, MemberId, PAUSED, Payment, Purchase, Rejection};

use super::{
    Account, Act, Books, Expected, Lot, Sale, Spent, Waiting,
    birthdays::Why,
    facts::{Fact, LotSaid},
    parts, referrals,
};

const MANY_CARDS: usize = 20;

/// How the member of a command was named.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    Id(MemberId),
    /// By what anyone has who is one with it now.
    Person,
}

/// What was merged into an account: for each old id the ledgers that went on with it, and the entries of these that were there before.
pub type Former = BTreeMap<MemberId, Vec<(MemberId, u64)>>;

impl Account {
    pub fn own(&self, sequence: u64) -> EntryRef {
        EntryRef { member: self.id.expect("it is enrolled"), sequence }
    }

    /// Of entries of all that are one now: its own, or that of the first that was merged.
    pub fn first(&self, entries: &[EntryRef]) -> Option<EntryRef> {
        let mut ledgers = [self.own(0).member].into_iter().chain(self.merged.iter().copied());
        ledgers.find_map(|member| entries.iter().find(|entry| entry.member == member).copied())
    }

    fn meant(&self, named: Named, number: u64, what: Called) -> Result<EntryRef, Rejection> {
        let own = self.own(number);
        let fits = |entry: EntryRef| match what {
            Called::Hold => self.ended.contains_key(&entry) || (entry == own && self.holds.contains_key(&number)),
            Called::Redemption => self.spent.contains_key(&entry),
        };
        let mut ledgers = match named {
            Named::Id(id) => {
                let mut ledgers = vec![(id, 0)];
                ledgers.extend(self.former.get(&id).into_iter().flatten());
                ledgers
            }
            Named::Person => self.merged.iter().map(|id| (*id, 0)).chain([(own.member, 0)]).collect(),
        };
        if ledgers.len() == 1 {
            return Ok(own);
        }
        ledgers.retain(|(member, before)| number > *before && fits(EntryRef { member: *member, sequence: number }));
        // Of holds that one is meant which is open.
        if what == Called::Hold && self.holds.contains_key(&number) && ledgers.iter().any(|(member, _)| *member == own.member) {
            ledgers.retain(|(member, _)| *member == own.member);
        }
        match ledgers.as_slice() {
            [] => Ok(own),
            [(member, _)] => Ok(EntryRef { member: *member, sequence: number }),
            several => Err(Rejection::EntryAmbiguous { sequence: number, members: several.iter().map(|(member, _)| *member).collect() }),
        }
    }
}

/// What a number is the number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Called {
    Hold,
    Redemption,
}

pub type Meant = BTreeMap<(u64, Called), EntryRef>;

fn numbers(command: &Command) -> Vec<(u64, Called)> {
    let of = |purchase: &Purchase| {
        let number = |payment: &Payment| match payment {
            Payment::Redeem { .. } => None,
            Payment::Capture { hold, .. } => Some((hold.0, Called::Hold)),
            Payment::Redeemed { redemption } => Some((*redemption, Called::Redemption)),
        };
        purchase.payments.iter().filter_map(number).collect()
    };
    match command {
        Command::ReverseRedemption(request) => vec![(request.redemption, Called::Redemption)],
        Command::CaptureHold(request) => vec![(request.hold.0, Called::Hold)],
        Command::ReleaseHold { hold, .. } => vec![(hold.0, Called::Hold)],
        Command::RecordPurchase(purchase) => of(purchase),
        Command::ReturnPurchase(request) => request.exchange.as_ref().map_or_else(Vec::new, |purchase| of(purchase)),
        _ => Vec::new(),
    }
}

/// Which entries the command calls by a number.
pub fn meant(account: &Account, named: Named, command: &Command) -> Result<Meant, Rejection> {
    numbers(command).into_iter().map(|(number, what)| Ok(((number, what), account.meant(named, number, what)?))).collect()
}

/// What becomes of the one that goes and of the one that stays.
pub fn merge(gone: &Account, stays: &Account, books: &Books, now: Timestamp) -> Result<[Expected; 2], Rejection> {
    let (mut from, mut into) = (Act::new(gone, books, now), Act::new(stays, books, now));
    from.pass_time();
    into.pass_time();
    let (old, new) = (from.account.own(0).member, into.account.own(0).member);
    if gone.erased || stays.erased {
        return Err(Rejection::MemberErased);
    }
    if old == new {
        return Err(Rejection::MergeWithSelf);
    }
    if let Some(into) = from.account.merged_into {
        return Err(Rejection::MemberMerged { into });
    }
    if !from.account.holds.is_empty() {
        return Err(Rejection::HoldsOpen { holds: from.account.holds.len() });
    }
    // Each has a card.
    if gone.merged.len() + stays.merged.len() + 2 > MANY_CARDS {
        return Err(Rejection::TooManyIdentifiers { limit: MANY_CARDS });
    }
    from.leave_segments();
    let old = std::mem::take(&mut from.account);
    leave(&mut from, &old, new);
    into.by_time = false;
    into.come(&old, from.account.sequence);
    into.promote(now);
    into.acted = true;
    into.settle_goal(now);
    into.plan_birthday(Why::SameDate, 0);
    into.by_time = true;
    into.settle_segments(now);
    Ok([from, into].map(|act| Expected { account: act.account, said: act.said, done_before: None, passed: None, desk: None }))
}

fn leave(act: &mut Act<'_>, old: &Account, into: MemberId) {
    let pending: i64 = old.waiting.iter().map(|lot| lot.points).sum();
    act.account = Account {
        id: old.id,
        joined: old.joined,
        sequence: old.sequence,
        merged_into: Some(into),
        issued: old.issued,
        redeemed: old.redeemed,
        expired: old.expired,
        clawed_back: old.clawed_back,
        reinstated: old.reinstated,
        given_away: old.given_away + old.available() + pending,
        got: old.got + old.debt,
        ..Account::default()
    };
    let mut waiting: Vec<&Waiting> = old.waiting.iter().collect();
    waiting.sort_by_key(|lot| (lot.until.is_none(), lot.until, lot.id));
    let pending = waiting.iter().map(|lot| (lot.id, lot.points)).collect();
    act.enter_now(Fact::MergedInto { into, taken: parts(&old.lots), pending, debt: old.debt, vouchers: old.live_vouchers().count() });
}

impl Act<'_> {
    fn come(&mut self, old: &Account, sequence: u64) {
        let (from, own) = (old.own(0).member, self.account.own(0).member);
        let (before, merge_sequence) = (self.account.last_lot, self.account.sequence + 1);
        let moved = |lot: &Lot| Lot { id: lot.id + before, ..lot.clone() };
        let (mut lots, mut debt_paid) = (Vec::new(), 0);
        let mut in_order: Vec<&Lot> = old.lots.iter().collect();
        if self.books.newest().oldest_first {
            in_order.sort_by_key(|lot| (lot.earned, lot.id));
        }
        for lot in in_order.into_iter().map(moved) {
            lots.push((lot.id, lot.points));
            debt_paid += self.receive(lot);
        }
        let mut pending = Vec::new();
        let mut waiting: Vec<Waiting> = old.waiting.iter().map(|lot| Waiting { id: lot.id + before, ..lot.clone() }).collect();
        waiting.sort_by_key(|lot| (lot.until.is_none(), lot.until, lot.id));
        for lot in waiting {
            let waits = Some((lot.until, lot.qualifying));
            pending.push(LotSaid { id: lot.id, points: lot.points, lapse: lot.lapse, debt_paid: 0, waits });
            self.account.waiting.push(lot);
        }
        let paid = old.debt.min(self.account.available());
        let taken = parts(&self.take(paid));
        let account = &mut self.account;
        account.debt += old.debt - paid;
        account.got += pending.iter().map(|lot| lot.points).chain(lots.iter().map(|(_, points)| *points)).sum::<i64>();
        account.given_away += old.debt;
        account.last_lot += old.last_lot;
        account.qualifying += old.qualifying;
        account.spend += old.spend;
        account.visits += old.visits;
        account.latest = account.latest.max(old.latest);
        for (rule, fraction) in &old.fractions {
            *account.fractions.entry(rule.clone()).or_default() += fraction;
        }
        for (cap, points) in &old.given {
            *account.given.entry(cap.clone()).or_default() += points;
        }
        for (limit, count) in &old.counted {
            *account.counted.entry(*limit).or_default() += count;
        }
        account.suspended |= old.suspended;
        for (id, after) in &old.former {
            account.former.entry(*id).or_default().extend(after.iter().copied());
        }
        for id in old.merged.iter().chain([&from]) {
            account.former.entry(*id).or_default().push((own, merge_sequence));
        }
        self.account.merged.extend(old.merged.iter().copied().chain([from]));
        self.take_past(old, before);
        self.join_tiers(old);
        self.join_idle_times(old);
        self.account.months.join(self.books.newest(), &old.months, self.now);
        self.join_birthdays(old);
        self.join_goals(old, before);
        self.join_rewards(old);
        self.join_referrals(old, before);
        self.join_promoted(old);
        self.join_offers(old);
        Arc::make_mut(&mut self.account.vouchers).extend(old.vouchers.iter().map(|(issued, voucher)| (*issued, voucher.clone())));
        let money = self.money(old.spend);
        self.enter_now(Fact::MergedFrom {
            from,
            sequence,
            lots,
            pending,
            debt_paid,
            taken,
            debt: old.debt - paid,
            last_lot: self.account.last_lot,
            totals: (old.qualifying, money, old.visits),
            tiers: self.account.tiers.clone(),
            by_hand: self.account.by_hand,
            suspended: self.account.suspended,
            vouchers: old.live_vouchers().map(|(issued, _)| *issued).collect(),
            referral: referrals::known(&self.account),
        });
    }

    /// Sales and redemptions, whose lots have other numbers now.
    fn take_past(&mut self, old: &Account, before: u64) {
        let sales = Arc::make_mut(&mut self.account.sales);
        for (order, sale) in old.sales.iter() {
            let mut earned = sale.earned.clone();
            earned.lots.iter_mut().for_each(|lot| lot.said.id += before);
            let sale = Sale {
                sequence: sale.sequence,
                entry: sale.entry,
                book: Arc::clone(&sale.book),
                purchase: Arc::clone(&sale.purchase),
                occurred_time: sale.occurred_time,
                earned,
                redemptions: sale.redemptions.clone(),
                so_far: sale.so_far.clone(),
                bonus: sale.bonus,
            };
            sales.insert(order.clone(), Arc::new(sale));
        }
        let spent = Arc::make_mut(&mut self.account.spent);
        for (entry, one) in old.spent.iter() {
            let parts = old.as_they_are(self.books.newest(), &one.parts, (one.since, self.now));
            let parts = parts.into_iter().map(|lot| Lot { id: lot.id + before, ..lot }).collect();
            // From here on they are idle together.
            spent.insert(*entry, Arc::new(Spent { parts, since: self.now, ..Spent::clone(one) }));
        }
        let done = Arc::make_mut(&mut self.account.done);
        for (what, entries) in old.done.iter() {
            done.entry(what.clone()).or_default().extend(entries);
        }
        for (activity, time) in &old.did {
            let last = self.account.did.entry(activity.clone()).or_insert(*time);
            *last = (*last).max(*time);
        }
        self.account.ended.extend(old.ended.iter().map(|(hold, end)| (*hold, *end)));
    }

    /// Both may be idle for as long as the one who may be so for longer.
    fn join_idle_times(&mut self, old: &Account) {
        let now = self.now;
        let account = &mut self.account;
        let (own, end) = (account.idle_until, old.idle_until.filter(|end| *end > now));
        if [own, end].contains(&Some(PAUSED)) {
            let bounded = [own, end].into_iter().flatten().filter(|end| *end != PAUSED).max();
            self.idle_before = Some((own, bounded));
        }
        let Some(end) = end else { return };
        if own.is_none_or(|own| own < end) {
            account.idle_ends.extend(own.filter(|own| *own <= now));
            account.idle_until = Some(end);
            self.idle_until = Some(end);
        }
    }

    /// At any time the higher of what both had.
    fn join_tiers(&mut self, old: &Account) {
        let book = Arc::clone(self.books.newest());
        let place = |tier: Option<&String>| book.place_of_tier(tier);
        let own = self.account.tiers.clone();
        let held = |tiers: &[(String, Timestamp)], time: Timestamp| {
            tiers.iter().rev().find(|(_, since)| *since <= time).map(|(tier, _)| tier.clone())
        };
        let mut times: Vec<Timestamp> = own.iter().chain(&old.tiers).map(|(_, since)| *since).collect();
        times.sort();
        let mut joined: Vec<(String, Timestamp)> = Vec::new();
        for time in times {
            let (mine, theirs) = (held(&own, time), held(&old.tiers, time));
            let higher = match (mine, theirs) {
                (Some(mine), Some(theirs)) if place(Some(&theirs)) > place(Some(&mine)) => Some(theirs),
                (mine, theirs) => match place(theirs.as_ref()) > place(mine.as_ref()) {
                    true => theirs,
                    false => mine.or(theirs),
                },
            };
            let higher = higher.expect("one of both had a tier by then");
            if joined.last().is_none_or(|(last, _)| *last != higher) {
                joined.push((higher, time));
            }
        }
        while joined.len() > super::MANY_TIERS {
            joined[1].1 = joined[0].1;
            joined.remove(0);
        }
        let last = |tiers: &[(String, Timestamp)]| place(tiers.last().map(|(tier, _)| tier));
        let (mine, theirs) = (last(&own), last(&old.tiers));
        let by_hand = (mine >= theirs && self.account.by_hand) || (theirs >= mine && old.by_hand);
        let is_needless = self.join_reviews(old, mine, theirs);
        (self.account.tiers, self.account.by_hand) = (joined, by_hand && !is_needless);
    }
}
