//! Vouchers: all that a member ever had, each with what has become of it. A code cannot be foretold: it is known once an entry has told it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::v1::{self, voucher_benefit::Benefit},
    domain::{
        EntryRef, Line, LineKind, OrderKey, Purchase, Rejection, VoucherBenefit, VoucherCause, VoucherCode, VoucherRejection,
        VoucherRequest,
    },
};
use rust_decimal::Decimal;

use super::{
    Account, Act, Sale,
    book::{Book, Fraction, days_later, months_later},
    facts::{Change, Fact},
    units,
};

/// Seconds of a hold where points are not redeemed: if nobody says, and at most.
const HOLD_SECONDS: (u32, u32) = (900, 86_400);

/// What a voucher was issued with.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    pub kind: String,
    pub name: String,
    pub gives: VoucherBenefit,
    pub minimum: Decimal,
    pub since: Timestamp,
    pub from: Timestamp,
    pub until: Timestamp,
    pub cause: VoucherCause,
    pub version: u32,
}

#[derive(Debug, Clone)]
pub struct Voucher {
    pub code: Option<VoucherCode>,
    pub terms: Terms,
    /// For an order, until then.
    pub hold: Option<(OrderKey, Timestamp)>,
    pub state: State,
    /// What it came with has come back while it was held or used: it goes with the hold, and does not come back.
    pub lost: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Live,
    /// Nothing has happened to it since an entry that ended a hold.
    Released(u64),
    Ended(VoucherRejection),
}

/// By the entry that issued each.
pub type Vouchers = BTreeMap<EntryRef, Voucher>;

/// Why codes cannot be used that are none of the member's.
pub type Elsewhere = BTreeMap<VoucherCode, VoucherRejection>;

impl Voucher {
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    pub fn due(&self) -> Timestamp {
        self.hold.as_ref().map_or(self.terms.until, |(_, until)| *until)
    }
}

impl Account {
    pub fn live_vouchers(&self) -> impl Iterator<Item = (&EntryRef, &Voucher)> {
        self.vouchers.iter().filter(|(_, voucher)| voucher.is_live())
    }

    pub fn voucher_of(&self, code: VoucherCode) -> Option<(EntryRef, &Voucher)> {
        self.vouchers.iter().find(|(_, voucher)| voucher.code == Some(code)).map(|(issued, voucher)| (*issued, voucher))
    }
}

/// The codes that a command names.
pub fn codes(command: &loyaltyd::domain::Command) -> Vec<VoucherCode> {
    use loyaltyd::domain::Command;
    match command {
        Command::Voucher(request) => request.code().into_iter().collect(),
        Command::RecordPurchase(purchase) => purchase.vouchers.clone(),
        Command::ReturnPurchase(request) => request.exchange.as_ref().map_or_else(Vec::new, |purchase| purchase.vouchers.clone()),
        _ => Vec::new(),
    }
}

fn decimal(text: &str) -> Decimal {
    if text.is_empty() { Decimal::ZERO } else { text.parse().expect("a number") }
}

fn gives(document: &v1::VoucherKind) -> VoucherBenefit {
    match document.benefit.as_ref().and_then(|benefit| benefit.benefit.clone()).expect("it is required") {
        Benefit::AmountOff(off) => VoucherBenefit::AmountOff { amount: decimal(&off.amount) },
        Benefit::PercentOff(off) => {
            let maximum = (!off.maximum_amount.is_empty()).then(|| decimal(&off.maximum_amount));
            VoucherBenefit::PercentOff { percent: decimal(&off.percent), maximum }
        }
        Benefit::FreeItem(item) if item.category.is_empty() => VoucherBenefit::FreeItem { sku: item.sku },
        Benefit::FreeItem(item) => {
            let maximum = (!item.maximum_amount.is_empty()).then(|| decimal(&item.maximum_amount));
            VoucherBenefit::FreeItemOf { category: item.category, maximum }
        }
        Benefit::FreeShipping(_) => VoucherBenefit::FreeShipping,
        Benefit::Custom(custom) => VoucherBenefit::Custom { key: custom.key, text: custom.text },
    }
}

pub fn nearest(part: Fraction) -> i128 {
    (2 * part.over + part.under) / (2 * part.under)
}

impl Act<'_> {
    /// An earlier entry, if a hold had ended before.
    pub fn ask_of_voucher(&mut self, request: &VoucherRequest) -> Result<Option<u64>, Rejection> {
        let (now, version) = (self.now, self.books.newest().version);
        match request {
            VoucherRequest::Issue { kind, .. } => {
                self.require_active()?;
                let book = Arc::clone(self.books.newest());
                if !book.document.voucher_kinds.iter().any(|known| known.voucher_kind_id == kind.as_str()) {
                    return Err(VoucherRejection::KindNotFound { kind: kind.clone() }.into());
                }
                self.issue_voucher(&book, kind.as_str(), VoucherCause::Manual, now);
            }
            VoucherRequest::Redeem { reward, quantity } => self.ask_for_reward(reward, *quantity)?,
            VoucherRequest::Hold { code, order, seconds } => {
                self.require_active()?;
                let policy = self.books.newest().redemption.as_ref();
                let (unset, maximum_seconds) = policy.map_or(HOLD_SECONDS, |policy| (policy.default_hold, policy.maximum_hold));
                let seconds = seconds.unwrap_or(unset);
                let (issued, voucher) = self.live_voucher(*code)?;
                if let Some((_, until)) = voucher.hold {
                    return Err(VoucherRejection::Held { until }.into());
                }
                self.usable(*code, None, now)?;
                if seconds > maximum_seconds {
                    return Err(Rejection::HoldTooLong { seconds, maximum_seconds });
                }
                let hold = (order.clone(), now + SignedDuration::from_secs(seconds.into()));
                self.become_of(issued, |voucher| (voucher.hold, voucher.state) = (Some(hold.clone()), State::Live));
                self.enter(Fact::Voucher { issued, change: Change::Held(order.clone(), hold.1) }, now, version);
            }
            VoucherRequest::Release { code, .. } => {
                let (issued, voucher) = self.live_voucher(*code)?;
                match (&voucher.hold, &voucher.state) {
                    (Some(_), _) if voucher.lost => self.cancel_voucher(issued),
                    (Some(_), _) => self.release_voucher(issued, false, now, version),
                    (None, State::Released(sequence)) => return Ok(Some(*sequence)),
                    (None, _) => return Err(VoucherRejection::NotHeld.into()),
                }
            }
            VoucherRequest::Use { code, order, order_total, value } => {
                self.require_active()?;
                let issued = self.usable(*code, order.as_ref(), now)?;
                let minimum = self.account.vouchers[&issued].terms.minimum;
                if !minimum.is_zero() {
                    keep_to_minimum(minimum, order_total.ok_or(VoucherRejection::OrderTotalRequired)?)?;
                }
                self.use_up(issued, order.as_ref(), *value, now);
            }
            VoucherRequest::Cancel { code, .. } => {
                let (issued, _) = self.live_voucher(*code)?;
                self.cancel_voucher(issued);
            }
        }
        Ok(None)
    }

    pub fn cancel_voucher(&mut self, issued: EntryRef) {
        let entry_sequence = self.account.sequence + 1;
        self.become_of(issued, |voucher| {
            (voucher.hold, voucher.state) = (None, State::Ended(VoucherRejection::Cancelled { entry_sequence }));
        });
        let points = self.turn_back(issued);
        let change = self.undo_reward(issued, points);
        self.enter(Fact::Voucher { issued, change }, self.now, self.books.newest().version);
    }

    /// Of a kind that the rule book has.
    pub fn issue_voucher(&mut self, book: &Book, kind: &str, cause: VoucherCause, time: Timestamp) {
        self.issue_voucher_as(book, kind, cause, time, Change::Issued);
    }

    pub fn issue_voucher_as(
        &mut self,
        book: &Book,
        kind: &str,
        cause: VoucherCause,
        time: Timestamp,
        change: impl FnOnce(Terms) -> Change,
    ) {
        let document = book.document.voucher_kinds.iter().find(|known| known.voucher_kind_id == kind).expect("it is known").clone();
        self.issue_voucher_of(book, &document, cause, time, change);
    }

    pub fn issue_voucher_of(
        &mut self,
        book: &Book,
        document: &v1::VoucherKind,
        cause: VoucherCause,
        time: Timestamp,
        change: impl FnOnce(Terms) -> Change,
    ) {
        let day = book.date(time);
        let last = match document.valid_days {
            None => months_later(day, document.valid_months),
            Some(days) => days_later(day, days.into()),
        };
        let terms = Terms {
            kind: document.voucher_kind_id.clone(),
            name: document.display_name.clone(),
            gives: gives(document),
            minimum: decimal(&document.minimum_order),
            since: time,
            from: book.dawn(days_later(day, document.after_days.into())),
            until: book.dawn(days_later(last, 1)),
            cause,
            version: book.version,
        };
        let issued = self.account.own(self.account.sequence + 1);
        let voucher = Voucher { code: None, terms: terms.clone(), hold: None, state: State::Live, lost: false };
        Arc::make_mut(&mut self.account.vouchers).insert(issued, voucher);
        self.enter(Fact::Voucher { issued, change: change(terms) }, time, book.version);
    }

    fn become_of(&mut self, issued: EntryRef, change: impl FnOnce(&mut Voucher)) {
        change(Arc::make_mut(&mut self.account.vouchers).get_mut(&issued).expect("it was looked for"));
    }

    fn live_voucher(&self, code: VoucherCode) -> Result<(EntryRef, &Voucher), VoucherRejection> {
        match self.account.voucher_of(code) {
            Some((_, Voucher { state: State::Ended(why), .. })) => Err(why.clone()),
            Some(found) => Ok(found),
            None => Err(self.elsewhere.get(&code).cloned().unwrap_or(VoucherRejection::NotFound)),
        }
    }

    /// For an order, or for none.
    pub fn usable(&self, code: VoucherCode, order: Option<&OrderKey>, time: Timestamp) -> Result<EntryRef, VoucherRejection> {
        let (issued, voucher) = self.live_voucher(code)?;
        match &voucher.hold {
            Some((held_for, until)) if Some(held_for) != order => Err(VoucherRejection::Held { until: *until }),
            _ if time < voucher.terms.from => Err(VoucherRejection::NotYetValid { valid_from_time: voucher.terms.from }),
            None if time >= voucher.terms.until => Err(VoucherRejection::Expired { expire_time: voucher.terms.until }),
            _ => Ok(issued),
        }
    }

    pub fn use_up(&mut self, issued: EntryRef, order: Option<&OrderKey>, value: Option<Decimal>, time: Timestamp) {
        let entry = self.account.own(self.account.sequence + 1);
        let used = VoucherRejection::Used { order: order.cloned(), member: entry.member, entry_sequence: entry.sequence };
        self.become_of(issued, |voucher| (voucher.hold, voucher.state) = (None, State::Ended(used)));
        let change = Change::Used(order.cloned(), value);
        self.enter(Fact::Voucher { issued, change }, time, self.books.newest().version);
    }

    /// Those that come with a purchase, one after the other: each takes off what those before it have left.
    pub fn use_vouchers(&mut self, purchase: &Purchase, time: Timestamp) -> Result<(), Rejection> {
        let goods = purchase.lines.iter().filter(|line| line.kind == LineKind::Goods);
        let all = self.units(goods.map(|line| line.amount - line.discount).sum());
        let mut left = all;
        // Each unit by itself, so that none is for nothing twice.
        let mut there: Vec<&Line> = purchase.lines.iter().filter(|line| line.kind == LineKind::Goods).flat_map(one_by_one).collect();
        for code in &purchase.vouchers {
            let issued = self.usable(*code, purchase.order.as_ref(), time)?;
            let terms = self.account.vouchers[&issued].terms.clone();
            keep_to_minimum(terms.minimum, self.money(all))?;
            let worth = match &terms.gives {
                VoucherBenefit::AmountOff { amount } => self.units(*amount).min(left),
                VoucherBenefit::PercentOff { percent, maximum } => {
                    let part = nearest(Fraction::new(all * units(*percent, 4), 1_000_000));
                    maximum.map_or(part, |maximum| part.min(self.units(maximum))).min(left)
                }
                VoucherBenefit::FreeItem { sku } => {
                    let one = self.dearest_of(&mut there, |line| line.sku == *sku);
                    one.ok_or_else(|| VoucherRejection::ItemMissing { sku: sku.clone() })?.min(left)
                }
                VoucherBenefit::FreeItemOf { category, maximum } => {
                    let dearest = self.dearest_of(&mut there, |line| line.category == *category);
                    let dearest = dearest.ok_or_else(|| VoucherRejection::CategoryMissing { category: category.clone() })?;
                    maximum.map_or(dearest, |maximum| dearest.min(self.units(maximum))).min(left)
                }
                VoucherBenefit::FreeShipping => self.units(purchase.shipping),
                VoucherBenefit::Custom { .. } => 0,
            };
            if !matches!(terms.gives, VoucherBenefit::FreeShipping) {
                left -= worth;
            }
            let value = Some(self.money(worth));
            self.use_up(issued, purchase.order.as_ref(), value, time);
        }
        Ok(())
    }

    /// What one unit of the goods comes to; of less than a unit, all of it.
    fn each(&self, line: &Line) -> Fraction {
        Fraction::new(self.units(line.amount - line.discount) * 1_000, units(line.quantity, 3).max(1_000))
    }

    /// The one unit that costs the most is not there any more.
    fn dearest_of(&self, units: &mut Vec<&Line>, is_wanted: impl Fn(&Line) -> bool) -> Option<i128> {
        let mut dearest: Option<usize> = None;
        for (place, unit) in units.iter().enumerate().filter(|(_, unit)| is_wanted(unit)) {
            if dearest.is_none_or(|other| self.each(unit).is_more_than(self.each(units[other]))) {
                dearest = Some(place);
            }
        }
        dearest.map(|place| nearest(self.each(units.remove(place))))
    }

    /// Nothing is left of the goods: what was used with them is there again, and lapses at once if its time is over.
    pub fn give_vouchers_back(&mut self, sale: &Sale) {
        let Some(order) = &sale.purchase.order else { return };
        for code in &sale.purchase.vouchers {
            let (issued, voucher) = self.account.voucher_of(*code).expect("the sale used it");
            let State::Ended(VoucherRejection::Used { order: Some(used_for), .. }) = &voucher.state else { continue };
            if used_for != order || voucher.lost {
                continue;
            }
            let terms = voucher.terms.clone();
            self.become_of(issued, |voucher| voucher.state = State::Live);
            self.enter_now(Fact::Voucher { issued, change: Change::Reinstated(terms, order.clone()) });
            self.hold_end = self.hold_end.max(Some(self.now));
        }
    }

    fn release_voucher(&mut self, issued: EntryRef, by_time: bool, time: Timestamp, version: u32) {
        let sequence = self.account.sequence + 1;
        self.become_of(issued, |voucher| (voucher.hold, voucher.state) = (None, State::Released(sequence)));
        self.enter(Fact::Voucher { issued, change: Change::Released { by_time } }, time, version);
        self.hold_end = self.hold_end.max(Some(time));
    }

    /// The one that time changes next. Of several at the same instant nobody can say which is the first: see [`super::facts::in_order`].
    pub fn next_voucher(&self) -> Option<(Timestamp, EntryRef)> {
        self.account.live_vouchers().map(|(issued, voucher)| (voucher.due(), *issued)).min()
    }

    /// With the end of its hold.
    fn lose_voucher(&mut self, due: Timestamp, issued: EntryRef) {
        let entry_sequence = self.account.sequence + 1;
        let cancelled = State::Ended(VoucherRejection::Cancelled { entry_sequence });
        self.become_of(issued, |voucher| (voucher.hold, voucher.state) = (None, cancelled));
        self.enter(Fact::Voucher { issued, change: Change::Cancelled }, due, self.books.at(due).version);
    }

    /// What it came with has come back, and it cannot go yet.
    pub fn lose_later(&mut self, issued: EntryRef) {
        self.become_of(issued, |voucher| voucher.lost = true);
    }

    /// Its hold ends, or it lapses.
    pub fn end_voucher(&mut self, due: Timestamp, issued: EntryRef) {
        if self.account.vouchers[&issued].lost {
            return self.lose_voucher(due, issued);
        }
        if self.account.vouchers[&issued].hold.is_some() {
            return self.release_voucher(issued, true, due, self.books.at(due).version);
        }
        let time = self.hold_end.map_or(due, |end| due.max(end));
        self.become_of(issued, |voucher| voucher.state = State::Ended(VoucherRejection::Expired { expire_time: time }));
        self.enter(Fact::Voucher { issued, change: Change::Expired }, time, self.books.at(time).version);
    }
}

fn one_by_one(line: &Line) -> impl Iterator<Item = &Line> {
    std::iter::repeat_n(line, usize::try_from(units(line.quantity, 3) / 1_000).expect("it fits").max(1))
}

pub fn keep_to_minimum(minimum: Decimal, goods: Decimal) -> Result<(), VoucherRejection> {
    if goods < minimum { Err(VoucherRejection::BelowMinimumOrder { minimum, goods }) } else { Ok(()) }
}
