//! Spending points, setting them aside, and giving them back.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::v1::expiry_policy::CountedActivity,
    domain::{CaptureRequest, EntryRef, HoldRequest, Payment, Points, Purchase, RedeemRequest, Rejection, TenderKind, VoucherCause},
};
use rust_decimal::Decimal;

use super::{
    Act, Hold, Lot, MANY_HOLDS, Spent,
    book::{Book, Lapse, Redemption, days_later},
    facts::{End, Fact, LotSaid},
    goals::Back,
    merging::Called,
    months::Brought,
    parts,
};

/// What a redemption comes to.
struct Wanted {
    points: i64,
    worth: i128,
}

impl Redemption {
    fn worth(&self, points: i64) -> i128 {
        i128::from(points) * self.amount / i128::from(self.points)
    }

    /// The fewest points that are worth so much, or where none are worth just that the most that are worth less.
    fn enough(&self, units: i128) -> i64 {
        let product = units * i128::from(self.points);
        let fewer = i64::try_from(product / self.amount).expect("it fits");
        let more = fewer + i64::from(product % self.amount > 0);
        if self.worth(more) > units { fewer } else { more }
    }

    /// What of an order may be paid with points.
    fn part_of_order(&self, total: i128) -> i128 {
        self.share.map_or(total, |share| total * share.over / share.under)
    }
}

impl Act<'_> {
    /// Judges a redemption by a rule book, in the order in which reasons are listed. `may_owe`: it need not be there.
    fn judge(&self, book: &Book, request: &RedeemRequest, hold_seconds: Option<u32>, may_owe: bool) -> Result<Wanted, Rejection> {
        let policy = book.redemption.as_ref().ok_or(Rejection::RedemptionNotOffered)?;
        if request.order_total.is_none() && policy.share.is_some() {
            return Err(Rejection::OrderTotalRequired);
        }
        let limit = request.order_total.map(|total| policy.part_of_order(self.units(total)));
        if let Some(seconds) = hold_seconds {
            if seconds > policy.maximum_hold {
                return Err(Rejection::HoldTooLong { seconds, maximum_seconds: policy.maximum_hold });
            }
            if self.account.holds.len() >= MANY_HOLDS {
                return Err(Rejection::TooManyHolds { limit: MANY_HOLDS });
            }
        }
        if self.account.debt > 0 && !may_owe {
            return Err(Rejection::InDebt { debt: Points(self.account.debt) });
        }
        let available = self.spendable();
        let mut points = request.points.map_or(available, |points| points.0);
        if request.up_to {
            let most = limit.map_or(available, |limit| available.min(policy.enough(limit)));
            points = points.min(most) / policy.step * policy.step;
        }
        let requested = Points(points);
        if points < policy.minimum {
            return Err(Rejection::BelowMinimum { minimum: Points(policy.minimum), requested });
        }
        if points % policy.step != 0 {
            return Err(Rejection::NotInSteps { step: Points(policy.step), requested });
        }
        let worth = policy.worth(points);
        if worth == 0 {
            return Err(Rejection::WorthNothing { requested });
        }
        limit.map_or(Ok(()), |limit| self.keep_to(limit, worth))?;
        if points > available && !may_owe {
            return Err(Rejection::InsufficientPoints { available: Points(available), requested });
        }
        Ok(Wanted { points, worth })
    }

    fn keep_to(&self, limit: i128, worth: i128) -> Result<(), Rejection> {
        if worth <= limit { Ok(()) } else { Err(Rejection::OverOrder { limit: self.money(limit), requested: self.money(worth) }) }
    }

    /// The entry, and what the points are worth.
    pub fn redeem(
        &mut self,
        book: &Book,
        request: &RedeemRequest,
        may_owe: bool,
        occurred_time: Timestamp,
    ) -> Result<(EntryRef, i128), Rejection> {
        let Wanted { points, worth } = self.judge(book, request, None, may_owe)?;
        let owed = (points - self.spendable()).max(0);
        let lots = self.take(points - owed);
        self.account.redeemed += points;
        self.account.debt += owed;
        let fact = Fact::Redeemed { points, value: self.money(worth), taken: parts(&lots), owed, captured: None };
        let (order, since) = (request.order.clone(), self.now);
        self.spend(Spent { parts: lots, points, worth, order, owed, gone_back: 0, since }, fact, occurred_time, book.version);
        Ok((self.account.own(self.account.sequence), worth))
    }

    fn spend(&mut self, spent: Spent, fact: Fact, occurred_time: Timestamp, version: u32) {
        self.stir(CountedActivity::Redemption, Brought::default(), occurred_time);
        self.enter(fact, occurred_time, version);
        let entry = self.account.own(self.account.sequence);
        Arc::make_mut(&mut self.account.spent).insert(entry, Arc::new(spent));
    }

    pub fn hold(&mut self, request: &HoldRequest) -> Result<(), Rejection> {
        self.require_active()?;
        let policy = self.books.newest().redemption.as_ref().ok_or(Rejection::RedemptionNotOffered)?;
        let seconds = request.seconds.unwrap_or(policy.default_hold);
        let Wanted { points, worth } = self.judge(self.books.newest(), &request.redeem, Some(seconds), false)?;
        let lots = self.take(points);
        let until = self.now + SignedDuration::from_secs(seconds.into());
        let fact = Fact::Held { points, value: self.money(worth), taken: parts(&lots), until };
        let (order, since) = (request.redeem.order.clone(), self.now);
        let hold = Hold { parts: lots, points, worth, until, order, since };
        self.account.holds.insert(self.account.sequence + 1, hold);
        self.enter_now(fact);
        Ok(())
    }

    /// Why a hold that is not open cannot be used.
    fn gone(&self, hold: u64) -> Rejection {
        let id = loyaltyd::domain::HoldId(hold);
        match self.account.ended.get(&self.meant(hold, Called::Hold)) {
            Some((entry_sequence, captured)) => Rejection::HoldEnded { hold: id, captured: *captured, entry_sequence: *entry_sequence },
            None => Rejection::HoldNotFound { hold: id },
        }
    }

    fn open(&self, hold: u64) -> Option<&Hold> {
        self.account.holds.get(&hold).filter(|_| self.meant(hold, Called::Hold) == self.account.own(hold))
    }

    pub fn capture(&mut self, request: &CaptureRequest, occurred_time: Timestamp) -> Result<(EntryRef, i128), Rejection> {
        let id = request.hold.0;
        let hold = self.open(id).cloned().ok_or_else(|| self.gone(id))?;
        let points = request.points.map_or(hold.points, |points| points.0);
        if points > hold.points {
            return Err(Rejection::MoreThanHeld { held: Points(hold.points), requested: Points(points) });
        }
        let worth = part_of(hold.worth, points, hold.points);
        if worth == 0 {
            return Err(Rejection::WorthNothing { requested: Points(points) });
        }
        self.account.holds.remove(&id);
        let (captured, back) = cut(&self.back(&hold.parts, (hold.since, self.now)), points);
        let debt_paid = self.come_back(&back);
        self.account.redeemed += points;
        self.account.ended.insert(self.account.own(id), (self.account.sequence + 1, true));
        let (value, taken, ended) = (self.money(worth), parts(&captured), Some((id, parts(&back), debt_paid)));
        let fact = Fact::Redeemed { points, value, taken, owed: 0, captured: ended };
        let (order, since) = (request.order.clone().or(hold.order), self.now);
        let version = self.books.newest().version;
        self.spend(Spent { parts: captured, points, worth, order, owed: 0, gone_back: 0, since }, fact, occurred_time, version);
        self.hold_end = Some(self.now);
        Ok((self.account.own(self.account.sequence), worth))
    }

    /// An earlier entry, if it had been given back before.
    pub fn release(&mut self, id: u64) -> Result<Option<u64>, Rejection> {
        if self.open(id).is_none() {
            return match self.account.ended.get(&self.meant(id, Called::Hold)) {
                Some((sequence, false)) => Ok(Some(*sequence)),
                Some(_) | None => Err(self.gone(id)),
            };
        }
        self.end_hold(id, self.now, self.books.newest().version, End::Asked);
        Ok(None)
    }

    pub fn end_hold(&mut self, id: u64, time: Timestamp, version: u32, end: End) {
        let hold = self.account.holds.remove(&id).expect("it is open");
        let back = self.back(&hold.parts, (hold.since, time));
        let debt_paid = self.come_back(&back);
        self.account.ended.insert(self.account.own(id), (self.account.sequence + 1, false));
        self.enter(Fact::Released { hold: id, back: parts(&back), debt_paid, end }, time, version);
        self.hold_end = self.hold_end.max(Some(time));
    }

    /// Points of a hold pay debt first; how much of it they paid.
    fn come_back(&mut self, back: &[Lot]) -> i64 {
        let debt = self.account.debt;
        for lot in back {
            self.receive(lot.clone());
        }
        debt - self.account.debt
    }

    pub fn reverse(&mut self, redemption: u64, points: Option<i64>) -> Result<(), Rejection> {
        let id = self.meant(redemption, Called::Redemption);
        if self.account.vouchers.get(&id).is_some_and(|voucher| voucher.terms.cause == VoucherCause::Reward) {
            return Err(Rejection::RedemptionOfReward { redemption });
        }
        let Some(spent) = self.account.spent.get(&id).cloned() else {
            return Err(Rejection::RedemptionNotFound { redemption });
        };
        let left = spent.points - spent.gone_back;
        let points = points.unwrap_or(left);
        if points > left || left == 0 {
            return Err(Rejection::MoreThanRedeemed { left: Points(left), requested: Points(points) });
        }
        self.give_back(id, points);
        Ok(())
    }

    /// What was owed goes back first, then what was taken last, and pays debt first. What had been owed and pays none is new.
    pub fn give_back(&mut self, id: EntryRef, points: i64) {
        let mut spent = Spent::clone(&self.account.spent[&id]);
        let so_far = spent.gone_back + points;
        let worth = part_of(spent.worth, so_far, spent.points) - part_of(spent.worth, spent.gone_back, spent.points);
        let backwards: Vec<Lot> = self.back(&spent.parts, (spent.since, self.now)).into_iter().rev().collect();
        let owed = (spent.owed - spent.gone_back).clamp(0, points);
        let (_, rest) = cut(&backwards, (spent.gone_back - spent.owed).max(0));
        let (giving, _) = cut(&rest, points - owed);
        spent.gone_back = so_far;
        Arc::make_mut(&mut self.account.spent).insert(id, Arc::new(spent));
        let book = Arc::clone(self.books.newest());
        let debt_paid = self.account.debt.min(points);
        let mut lot = None;
        if owed > debt_paid {
            self.account.last_lot += 1;
            let (id, points, lapse) = (self.account.last_lot, owed - debt_paid, book.lapse(book.expiry, self.now, self.now));
            self.put(Lot { id, points, lapse, earned: self.now });
            lot = Some(LotSaid { id, points, lapse, debt_paid: 0, waits: None });
        }
        let back = self.put_back(giving, (debt_paid - owed).max(0));
        self.account.debt -= debt_paid;
        self.account.reinstated += points;
        self.welcome(lot.iter(), self.now);
        self.enter_now(Fact::Reversed { redemption: id, points, value: self.money(worth), back, so_far, debt_paid, owed, lot });
    }

    /// Back into the lots, but for what pays debt: from which lot, into which, until when, how many.
    pub fn put_back(&mut self, giving: Vec<Lot>, mut debt: i64) -> Back {
        let book = Arc::clone(self.books.newest());
        let grace_days = book.redemption.as_ref().map_or(0, |policy| policy.grace_days);
        let (mut next_lot, mut back) = (self.account.last_lot, Vec::new());
        for lot in giving {
            let has_lapsed = !lot.is_valid(self.now);
            let into = if has_lapsed && grace_days > 0 {
                next_lot += 1;
                Lot { id: next_lot, lapse: Lapse::On(book.dawn(days_later(book.date(self.now), grace_days + 1))), ..lot.clone() }
            } else {
                lot.clone()
            };
            back.push((lot.id, into.id, into.lapse, lot.points));
            let paid = debt.min(lot.points);
            debt -= paid;
            if lot.points > paid {
                self.account.last_lot = self.account.last_lot.max(into.id);
            }
            self.put(Lot { points: lot.points - paid, ..into });
        }
        back
    }

    /// What pays the tenders of points.
    pub fn pay(&mut self, purchase: &Purchase, occurred_time: Timestamp) -> Result<Vec<EntryRef>, Rejection> {
        let (mut paid, mut redemptions) = (0, Vec::new());
        let book = Arc::clone(if purchase.offline { self.books.at(occurred_time) } else { self.books.newest() });
        if purchase.offline {
            let given = purchase.payments.iter().map(|payment| if let Payment::Redeem { points } = payment { points.0 } else { 0 });
            let given = given.sum::<i64>();
            if given > book.floor {
                return Err(Rejection::OverFloorLimit { limit: Points(book.floor), requested: Points(given) });
            }
        }
        for payment in &purchase.payments {
            let (entry, worth) = match payment {
                Payment::Redeem { points } => {
                    let (points, order_total, order) = (Some(*points), Some(purchase.total), purchase.order.clone());
                    let request = RedeemRequest { points, order_total, order, ..RedeemRequest::default() };
                    self.redeem(&book, &request, purchase.offline && book.owes_offline, occurred_time)?
                }
                Payment::Capture { hold, points } => {
                    let (hold, points, order) = (*hold, *points, purchase.order.clone());
                    self.capture(&CaptureRequest { hold, points, order, reference: String::new() }, occurred_time)?
                }
                Payment::Redeemed { redemption } if redemptions.contains(&self.meant(*redemption, Called::Redemption)) => {
                    return Err(Rejection::RedemptionUnusable { redemption: *redemption });
                }
                Payment::Redeemed { redemption } => (self.meant(*redemption, Called::Redemption), self.paid_before(*redemption, purchase)?),
            };
            redemptions.push(entry);
            paid += worth;
        }
        // All together, if any points leave the lots only now.
        if purchase.payments.iter().any(|payment| matches!(payment, Payment::Redeem { .. }))
            && let Some(policy) = &book.redemption
        {
            self.keep_to(policy.part_of_order(self.units(purchase.total)), paid)?;
        }
        let tenders = purchase.tenders.iter().filter(|tender| tender.kind == TenderKind::Points);
        let tendered: Decimal = tenders.map(|tender| tender.amount).sum();
        if !redemptions.is_empty() && self.units(tendered) != paid {
            return Err(Rejection::PaymentMismatch { tendered, paid: self.money(paid) });
        }
        Ok(redemptions)
    }

    fn paid_before(&self, redemption: u64, purchase: &Purchase) -> Result<i128, Rejection> {
        match self.account.spent.get(&self.meant(redemption, Called::Redemption)) {
            Some(spent) if spent.order.is_some() && spent.order == purchase.order && spent.gone_back == 0 => Ok(spent.worth),
            Some(_) => Err(Rejection::RedemptionUnusable { redemption }),
            None => Err(Rejection::RedemptionNotFound { redemption }),
        }
    }
}

/// Rounded down, but the whole is the whole.
fn part_of(worth: i128, points: i64, of: i64) -> i128 {
    if points == of { worth } else { worth * i128::from(points) / i128::from(of) }
}

/// So many points off the front, and the rest.
fn cut(lots: &[Lot], mut points: i64) -> (Vec<Lot>, Vec<Lot>) {
    let (mut front, mut rest) = (Vec::new(), Vec::new());
    for lot in lots {
        let part = lot.points.min(points);
        points -= part;
        front.push(Lot { points: part, ..lot.clone() });
        rest.push(Lot { points: lot.points - part, ..lot.clone() });
    }
    front.retain(|lot| lot.points > 0);
    rest.retain(|lot| lot.points > 0);
    (front, rest)
}
