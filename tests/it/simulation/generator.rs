//! What is asked of a member next: sensible as a rule, and now and then not.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, civil::Date};
use loyaltyd::{
    contract::v1,
    domain::{
        ActivityId, ActivityRequest, Adjustment, BirthDate, CalendarPeriod, CaptureRequest, Command, CountedActivities, EntryRef, Expiry,
        Extension, HoldId, HoldRequest, InactivityPolicy, Line, LineKind, MemberId, MergeRequest, OfferId, OfferRequest, OrderId, OrderKey,
        Payment, Points, ProfileUpdate, Purchase, Recipient, RedeemRequest, ReturnRequest, ReturnedLine, ReversalRequest, RewardId,
        StoreId, Tender, TenderKind, TierId, TransferRequest, VoucherCode, VoucherKindId, VoucherRequest,
    },
};
use rust_decimal::Decimal;

use super::{
    Random,
    auditor::{
        Account, Books, Sale,
        book::{Book, days_later, months_later},
        prices,
        reviewing::counts_for_life_anew,
        units,
    },
    books::{ACTIVITIES, CATEGORIES, CHANNELS, CODES, LABELS, OFFERS, REWARDS, SKUS, STORES, VOUCHER_KINDS},
};

/// Asks for one member of a programme.
pub struct Asker<'a> {
    pub random: &'a mut Random,
    pub books: &'a Books,
    pub account: &'a Account,
    /// All of the programme, as they were left.
    pub others: &'a [Account],
    /// Of the programme.
    pub members: &'a [MemberId],
    pub codes: &'a [(VoucherCode, EntryRef)],
    pub now: Timestamp,
    /// Of all orders of the programme, the number of the next.
    pub next_order: &'a mut u64,
}

/// Mostly one that comes, or has just been.
pub fn birth_date(random: &mut Random, now: Timestamp) -> BirthDate {
    let year = random.percent(50).then(|| *random.pick(&[1964, 1988, 2000]));
    let (month, day) = match random.below(10) {
        0 => (2, 29),
        1 | 2 => (random.within(1..=12) as i8, random.within(1..=28) as i8),
        _ => {
            let days = random.within(0..=60) as i64 - 15;
            let date = (now + SignedDuration::from_hours(24 * days)).to_zoned(jiff::tz::TimeZone::UTC).date();
            (date.month(), date.day())
        }
    };
    BirthDate { year, month, day }
}

pub fn reason() -> String {
    "because".to_owned()
}

/// What lines come to, without their own discounts.
fn goods(lines: &[Line]) -> Decimal {
    lines.iter().map(|line| line.amount - line.discount).sum()
}

impl Asker<'_> {
    pub fn command(&mut self) -> Command {
        if self.account.suspended && self.random.percent(15) {
            return Command::Reactivate { reason: reason() };
        }
        if let Some(command) = self.meeting().or_else(|| self.referring()) {
            return command;
        }
        // Seldom: whoever is gone stays so.
        if self.random.below(400) == 0 {
            return Command::Erase { reason: reason() };
        }
        if self.random.percent(3) {
            return Command::UpdateProfile(self.profile());
        }
        if self.random.percent(4)
            && let took_points = self.account.codes_that_took_points()
            && !took_points.is_empty()
        {
            return Command::Voucher(VoucherRequest::Cancel { code: *self.random.pick(&took_points), reason: reason() });
        }
        if self.random.percent(6) {
            return Command::Voucher(self.reward());
        }
        if self.random.percent(14) {
            return Command::Voucher(self.voucher());
        }
        if self.random.percent(11) {
            return Command::Offer(self.offer());
        }
        match self.random.below(100) {
            0..=6 => self.activity(),
            7..=34 => {
                let order = self.order();
                Command::RecordPurchase(Arc::new(self.purchase(order)))
            }
            35..=46 => Command::RedeemPoints(self.redemption()),
            47..=53 => self.reversal(),
            54..=61 => {
                let seconds = self.random.percent(50).then(|| *self.random.pick(&[60, 600, 4_000, 86_400, 500_000]));
                Command::HoldPoints(HoldRequest { redeem: self.redemption(), seconds })
            }
            62..=66 => self.capture(),
            67..=69 => Command::ReleaseHold { hold: self.any_hold(), reason: reason() },
            70..=73 => Command::ConfirmPurchase { order: self.sale_to_confirm() },
            74..=88 => {
                let order = self.any_sale();
                self.take_back(order)
            }
            89..=91 => self.adjustment(),
            93..=95 => self.transfer(),
            96 => Command::Suspend { reason: reason() },
            97 => Command::Reactivate { reason: reason() },
            // Of what both counted since their last reviews a sum is kept, and not of which day it is: what one more review leaves of it is the
            // ledger's own.
            98 if !counts_for_life_anew(self.newest()) => {
                Command::MergeMembers(MergeRequest { into: Recipient::Id(self.other()), reason: reason() })
            }
            _ => self.tier_by_hand(),
        }
    }

    /// With an end as a rule; now and then that of what is set by hand already is another one.
    fn tier_by_hand(&mut self) -> Command {
        let set = self.account.floor.as_ref().map(|(tier, _)| tier.clone()).filter(|_| self.random.percent(50));
        let tier = set.unwrap_or_else(|| (*self.random.pick(&["t0", "t1", "t2", "t2", "t9"])).to_owned());
        let days = self.random.within(0..=90) as i64 - 2;
        let last = (self.now + SignedDuration::from_hours(24 * days)).to_zoned(jiff::tz::TimeZone::UTC).date();
        let last_date = self.random.percent(70).then_some(last);
        Command::SetTier { tier: TierId::new(&tier).expect("an id"), reason: reason(), last_date }
    }

    /// Mostly another birth date, or none any more.
    fn profile(&mut self) -> ProfileUpdate {
        let birth_date = match self.random.below(10) {
            0 => None,
            1 => Some(self.account.birthdays.date),
            2 | 3 => Some(None),
            _ => Some(Some(birth_date(self.random, self.now))),
        };
        ProfileUpdate { birth_date, ..ProfileUpdate::default() }
    }

    pub fn newest(&self) -> &Arc<Book> {
        self.books.newest()
    }

    fn units(&self, units: i128) -> Decimal {
        Decimal::from_i128_with_scale(units, self.newest().digits)
    }

    /// An amount of money, up to so many of the currency's units (of 10,000 in one without cents).
    pub fn amount(&mut self, most: u64) -> Decimal {
        let has_cents = self.newest().digits > 0;
        let units = if has_cents { self.random.within(0..=most * 100) } else { self.random.within(0..=most * 10) * 1_000 };
        self.units(units.into())
    }

    pub fn percent_of(&mut self, amount: Decimal) -> Decimal {
        let part = amount * Decimal::from(self.random.within(0..=100)) / Decimal::ONE_HUNDRED;
        part.round_dp(self.newest().digits).min(amount)
    }

    pub fn order(&mut self) -> OrderKey {
        // One that was paid before, or one that exists.
        let paid = self.account.spent.values().filter_map(|spent| spent.order.clone());
        let kept = self.account.live_vouchers().filter_map(|(_, voucher)| voucher.hold.as_ref().map(|(order, _)| order.clone()));
        let paid: Vec<OrderKey> = paid.chain(kept).filter(|order| !self.account.sales.contains_key(order)).collect();
        if !paid.is_empty() && self.random.percent(50) {
            return self.random.pick(&paid).clone();
        }
        if !self.account.sales.is_empty() && self.random.percent(2) {
            return self.any_sale();
        }
        *self.next_order += 1;
        let store = StoreId::new(self.random.pick::<&str>(&STORES)).expect("an id");
        OrderKey { store, order: OrderId::new(&format!("o-{}", self.next_order)).expect("an id") }
    }

    pub fn line(&mut self, prices_include_tax: bool) -> Line {
        let amount = if self.random.percent(4) { Decimal::ZERO } else { self.amount(80) };
        let discount = if self.random.percent(30) { self.percent_of(amount) } else { Decimal::ZERO };
        let net = amount - discount;
        let tax = if self.random.percent(40) { (net / Decimal::from(11)).round_dp(self.newest().digits) } else { Decimal::ZERO };
        let label = self.random.percent(30).then(|| (*self.random.pick(&LABELS)).to_owned());
        Line {
            sku: (*self.random.pick(&SKUS)).to_owned(),
            category: (*self.random.pick(&CATEGORIES)).to_owned(),
            labels: label.into_iter().collect(),
            quantity: Decimal::new(*self.random.pick(&[1_000, 1_000, 2_000, 3_000, 1_500, 333]), 3),
            amount,
            discount,
            tax: if prices_include_tax { tax.min(net) } else { tax },
            kind: if self.random.percent(6) { LineKind::GiftCard } else { LineKind::Goods },
        }
    }

    /// Often one whose till does not give the discounts of tiers and vouchers itself.
    pub fn purchase(&mut self, order: OrderKey) -> Purchase {
        let mut purchase = self.plain_purchase(order);
        if purchase.offline || self.random.percent(60) {
            return purchase;
        }
        (purchase.apply_effects, purchase.tenders) = (true, Vec::new());
        purchase.payments.clear();
        if self.random.percent(50) {
            purchase.vouchers = self.usable_vouchers();
        }
        let (total, due) = (purchase.total, prices::due(self.account, self.books, self.now, &purchase));
        purchase.total = due.filter(|_| self.random.percent(95)).unwrap_or(total);
        self.pay(&mut purchase);
        purchase.total = total;
        for tender in &mut purchase.tenders {
            if tender.kind == TenderKind::Voucher && !purchase.vouchers.is_empty() {
                tender.kind = TenderKind::Card;
            }
        }
        purchase.check().expect("the sums agree");
        purchase
    }

    /// Several at once.
    fn usable_vouchers(&mut self) -> Vec<VoucherCode> {
        let now = self.now;
        let usable = self.account.live_vouchers().filter(|(_, voucher)| voucher.hold.is_none() && voucher.terms.from <= now);
        let mut codes: Vec<VoucherCode> = usable.filter_map(|(_, voucher)| voucher.code).collect();
        self.random.shuffle(&mut codes);
        codes.truncate(self.random.within(0..=4) as usize);
        codes
    }

    /// Mostly of the rule book, and what makes sense.
    fn offer(&mut self) -> OfferRequest {
        let book = Arc::clone(self.newest());
        let there = &book.document.offers;
        let name = match there.is_empty() || self.random.percent(7) {
            true => (*self.random.pick(&OFFERS)).to_owned(),
            false => self.random.pick(there).offer_id.clone(),
        };
        // Mostly what was given is activated, too, where it has to be.
        let waits = |offer: &v1::Offer| offer.requires_activation && self.account.is_given(&offer.offer_id, self.now);
        let waiting = there.iter().filter(|offer| waits(offer)).map(|offer| OfferId::new(&offer.offer_id).expect("an id"));
        let waiting: Vec<OfferId> = waiting.collect();
        if !waiting.is_empty() && self.random.percent(50) {
            return OfferRequest::Activate { offer: self.random.pick(&waiting).clone() };
        }
        // And what is for some days is given before it begins.
        let begins = |offer: &v1::Offer| offer.start_time.as_ref().is_some_and(|start| start.seconds > self.now.as_second());
        let is_for_days = |offer: &v1::Offer| offer.personal && !offer.requires_activation && offer.valid_days.is_some();
        let coming = there.iter().find(|offer| is_for_days(offer) && begins(offer));
        if let Some(coming) = coming.map(|offer| OfferId::new(&offer.offer_id).expect("an id"))
            && self.random.percent(40)
        {
            return OfferRequest::Assign { offer: coming, reason: reason(), end_time: None };
        }
        let is_personal = there.iter().any(|offer| offer.offer_id == name && offer.personal);
        let is_given = self.account.is_given(&name, self.now);
        let offer = OfferId::new(&name).expect("an id");
        let hours = self.random.within(0..=200) as i64 - 5;
        let end_time = self.random.percent(60).then(|| self.now + SignedDuration::from_hours(hours));
        match self.random.below(10) {
            0..=3 if is_given => OfferRequest::Withdraw { offer, reason: reason() },
            0..=5 if is_personal => OfferRequest::Assign { offer, reason: reason(), end_time },
            0 if self.random.percent(40) => OfferRequest::Withdraw { offer, reason: reason() },
            1 if self.random.percent(40) => OfferRequest::Assign { offer, reason: reason(), end_time },
            _ => OfferRequest::Activate { offer },
        }
    }

    pub fn plain_purchase(&mut self, order: OrderKey) -> Purchase {
        let prices_include_tax = self.random.percent(50);
        let lines: Vec<Line> = (0..self.random.within(1..=4)).map(|_| self.line(prices_include_tax)).collect();
        let order_discount = if self.random.percent(30) { self.percent_of(goods(&lines)) } else { Decimal::ZERO };
        let shipping = if self.random.percent(25) { self.amount(10) } else { Decimal::ZERO };
        let tip = if self.random.percent(20) { self.amount(5) } else { Decimal::ZERO };
        let occurred_time = self.occurred_time();
        let mut purchase = self.basket(order, lines, prices_include_tax);
        (purchase.order_discount, purchase.shipping, purchase.tip, purchase.occurred_time) = (order_discount, shipping, tip, occurred_time);
        purchase.total += shipping + tip - order_discount;
        purchase.offline = purchase.occurred_time.is_some() && self.random.percent(40);
        self.pay(&mut purchase);
        purchase.vouchers = self.vouchers(purchase.order.as_ref());
        purchase.check().expect("the sums agree");
        purchase
    }

    /// So much, and nothing else.
    pub fn basket(&mut self, order: OrderKey, lines: Vec<Line>, prices_include_tax: bool) -> Purchase {
        let taxes: Decimal = if prices_include_tax { Decimal::ZERO } else { lines.iter().map(|line| line.tax).sum() };
        let label = self.random.percent(20).then(|| (*self.random.pick(&LABELS)).to_owned());
        Purchase {
            order: Some(order),
            occurred_time: None,
            channel: (*self.random.pick(&CHANNELS)).to_owned(),
            total: goods(&lines) + taxes,
            lines,
            order_discount: Decimal::ZERO,
            prices_include_tax,
            shipping: Decimal::ZERO,
            tip: Decimal::ZERO,
            tenders: Vec::new(),
            labels: label.into_iter().collect(),
            payments: Vec::new(),
            offline: false,
            vouchers: Vec::new(),
            codes: CODES.into_iter().filter(|_| self.random.percent(35)).map(str::to_owned).collect(),
            apply_effects: false,
            own_discounts: None,
            quote: None,
        }
    }

    /// Often just before what a review has looked at, or a period, was over.
    pub fn occurred_time(&mut self) -> Option<Timestamp> {
        if self.random.percent(8) {
            let book = self.newest();
            let today = book.date(self.now);
            let starts = [0, 1, 2].map(|months| months_later(today.first_of_month(), -months));
            let lost = self.account.lost.iter().filter_map(|(_, end)| *end);
            let days = i64::from(book.max_age_days);
            let is_told = |day: &Date| *day <= today && *day > days_later(today, 1 - days);
            let ends: Vec<Timestamp> = starts.into_iter().chain(lost).filter(is_told).map(|day| book.dawn(day)).collect();
            if !ends.is_empty() {
                let time = self.recent(&ends) - SignedDuration::from_hours(self.random.within(1..=24) as i64);
                return Some(time.min(self.now));
            }
        }
        let edges = self.account.offer_edges();
        if !edges.is_empty() && self.random.percent(10) {
            let oldest = self.now - SignedDuration::from_hours(24 * i64::from(self.newest().max_age_days));
            let edges: Vec<Timestamp> = edges.into_iter().filter(|time| (oldest..=self.now).contains(time)).collect();
            if !edges.is_empty() {
                return Some(self.recent(&edges));
            }
        }
        let hours = i64::from(self.newest().max_age_days) * 24;
        let age = match self.random.below(20) {
            0..=9 => return None,
            10..=16 => SignedDuration::from_secs((self.random.next() % (hours as u64 * 3_600)) as i64),
            17 => SignedDuration::from_hours(hours),
            18 => SignedDuration::from_hours(hours) + SignedDuration::from_secs(self.random.within(1..=90_000) as i64),
            _ => -SignedDuration::from_secs(self.random.within(0..=900) as i64),
        };
        Some(self.now - age)
    }

    fn pay(&mut self, purchase: &mut Purchase) {
        let order = purchase.order.clone();
        let before = self.account.spent.iter().find(|(_, spent)| spent.order == order && spent.gone_back == 0);
        let before = before.map(|(entry, spent)| (entry.sequence, spent.worth));
        let mut worth = 0;
        if let Some((redemption, value)) = before.filter(|_| self.random.percent(90)) {
            purchase.payments.push(Payment::Redeemed { redemption });
            worth += value;
            // Now and then named twice.
            if self.random.percent(4) {
                purchase.payments.push(Payment::Redeemed { redemption });
            }
        }
        let hold = self.account.holds.iter().next().map(|(id, hold)| (*id, hold.clone()));
        if let Some((id, hold)) = hold.filter(|_| !purchase.offline && self.random.percent(30)) {
            let points = if self.random.percent(60) { hold.points } else { self.random.within(1..=hold.points as u64) as i64 };
            worth += hold.worth * i128::from(points) / i128::from(hold.points);
            let points = (points < hold.points || self.random.percent(50)).then_some(Points(points));
            purchase.payments.push(Payment::Capture { hold: HoldId(id), points });
        }
        // What a till gives without asking keeps to the floor limit as a rule, and not to what is there.
        let offline = purchase.occurred_time.filter(|_| purchase.offline).map(|time| self.books.at(time));
        let most = offline.map_or(self.account.available(), |book| book.floor + book.floor / 8);
        if let Some(policy) = offline.unwrap_or(self.newest()).redemption.as_ref()
            && most > 0
        {
            let (rate, per, step, share) = (policy.amount, policy.points, policy.step, policy.share);
            let times = if self.random.percent(if purchase.offline { 50 } else { 25 }) { self.random.within(1..=2) } else { 0 };
            // Each within the programme's share of the order, and both together beyond it.
            let share = share.filter(|_| times == 2 && self.random.percent(60));
            let total = units(purchase.total, self.newest().digits);
            let limit = share.map(|share| total * share.over / share.under * i128::from(per) / rate);
            let of_limit = limit.map(|limit| (limit * 7 / 10).clamp(1, i128::from(most)) as i64);
            for _ in 0..times {
                // Or just more than is there, so that a part is owed.
                let all = self.account.available();
                let a_little_more = purchase.offline && (1..most).contains(&all) && self.random.percent(60);
                let more = if a_little_more { step * self.random.within(1..=3) as i64 } else { 0 };
                let points = if a_little_more { all + more } else { self.random.within(1..=most as u64) as i64 };
                let points = of_limit.unwrap_or(points);
                let points = (points / step * step).max(1);
                worth += i128::from(points) * rate / i128::from(per);
                purchase.payments.push(Payment::Redeem { points: Points(points) });
            }
        }
        if self.random.percent(3) {
            worth += 1;
        }
        let tendered = self.units(worth);
        if tendered > purchase.total {
            // Tenders cannot be more than the total; then the points do not pay it.
            purchase.payments.clear();
        }
        let points = if purchase.payments.is_empty() && self.random.percent(85) { Decimal::ZERO } else { tendered.min(purchase.total) };
        let voucher = if self.random.percent(10) { self.percent_of(purchase.total - points) } else { Decimal::ZERO };
        let rest = purchase.total - points - voucher;
        if points.is_zero() && voucher.is_zero() && purchase.payments.is_empty() && self.random.percent(50) {
            return;
        }
        let kind = *self.random.pick(&[TenderKind::Cash, TenderKind::Card, TenderKind::Other]);
        purchase.tenders = vec![
            Tender { kind: TenderKind::Points, amount: points },
            Tender { kind: TenderKind::Voucher, amount: voucher },
            Tender { kind, amount: rest },
        ];
    }

    /// Those that a purchase comes with: sensible ones, as a rule.
    fn vouchers(&mut self, order: Option<&OrderKey>) -> Vec<VoucherCode> {
        let now = self.now;
        let (mut kept, mut usable) = (Vec::new(), Vec::new());
        for (_, voucher) in self.account.live_vouchers() {
            let Some(code) = voucher.code else { continue };
            match &voucher.hold {
                Some((held_for, _)) if Some(held_for) == order => kept.push(code),
                Some(_) => {}
                None if voucher.terms.from <= now => usable.push(code),
                None => {}
            }
        }
        if self.random.percent(60) {
            kept.clear();
        }
        if !usable.is_empty() && self.random.percent(30) {
            kept.push(self.recent(&usable));
            if self.random.percent(30) {
                kept.push(self.recent(&usable));
            }
        }
        if self.random.percent(2) {
            kept.extend(self.any_code());
        }
        kept
    }

    /// One of the member's that can be used as a rule; now and then one that cannot, another's, or one that nobody was given.
    fn any_code(&mut self) -> Option<VoucherCode> {
        let of = |is_live: bool| {
            let vouchers = self.account.vouchers.values().filter(move |voucher| voucher.is_live() == is_live);
            vouchers.filter_map(|voucher| voucher.code).collect::<Vec<_>>()
        };
        let (live, ended) = (of(true), of(false));
        match self.random.below(20) {
            0 => Some(VoucherCode::from_bytes([7; 10])),
            1 if !self.codes.is_empty() => Some(self.random.pick(self.codes).0),
            2..=4 if !ended.is_empty() => Some(self.recent(&ended)),
            _ if !live.is_empty() => Some(self.recent(&live)),
            _ => None,
        }
    }

    /// Mostly one that there is.
    pub fn reward(&mut self) -> VoucherRequest {
        let there: Vec<String> = self.newest().document.rewards.iter().map(|reward| reward.reward_id.clone()).collect();
        let reward = match there.is_empty() || self.random.percent(5) {
            true => (*self.random.pick(&REWARDS)).to_owned(),
            false => self.random.pick(&there).clone(),
        };
        let quantity = if self.random.percent(70) { 1 } else { self.random.within(1..=3) as u32 };
        VoucherRequest::Redeem { reward: RewardId::new(&reward).expect("an id"), quantity }
    }

    fn voucher(&mut self) -> VoucherRequest {
        let code = self.any_code().filter(|_| self.random.percent(70));
        let Some(code) = code else {
            let kind = *self.random.pick(&VOUCHER_KINDS);
            return VoucherRequest::Issue { kind: VoucherKindId::new(kind).expect("an id"), reason: reason() };
        };
        let held = self.account.voucher_of(code).and_then(|(_, voucher)| voucher.hold.as_ref().map(|(order, _)| order.clone()));
        match self.random.below(10) {
            0..=3 => {
                let seconds = self.random.percent(60).then(|| *self.random.pick(&[60, 600, 4_000, 86_400, 500_000]));
                VoucherRequest::Hold { code, order: self.order(), seconds }
            }
            4 | 5 => VoucherRequest::Release { code, reason: reason() },
            6..=8 => {
                let order = if self.random.percent(70) { held } else { self.random.percent(60).then(|| self.order()) };
                let order_total = self.random.percent(80).then(|| self.amount(100));
                let value = self.random.percent(50).then(|| self.amount(9));
                VoucherRequest::Use { code, order, order_total, value }
            }
            _ => VoucherRequest::Cancel { code, reason: reason() },
        }
    }

    pub fn redemption(&mut self) -> RedeemRequest {
        let available = self.account.available().max(0);
        let step = self.newest().redemption.as_ref().map_or(1, |policy| policy.step);
        let some = (self.random.within(0..=available as u64) as i64).max(1);
        let points = match self.random.below(10) {
            0 => None,
            1 => Some(available + self.random.within(1..=50) as i64),
            2 => Some(some),
            3 => Some(available.max(1)),
            _ => Some((some / step * step).max(1)),
        };
        let needs_total = self.newest().redemption.as_ref().is_some_and(|policy| policy.share.is_some());
        let says_total = self.random.percent(if needs_total { 95 } else { 30 });
        let order_total = says_total.then(|| self.amount(150));
        let order = self.random.percent(40).then(|| self.order());
        let up_to = points.is_none() || self.random.percent(30);
        RedeemRequest { points: points.map(Points), up_to, order_total, order, reference: String::new() }
    }

    fn reversal(&mut self) -> Command {
        let mut entries: Vec<EntryRef> = self.account.spent.keys().copied().collect();
        // What was owed goes back bit by bit, too.
        let owed = self.account.spent.iter().filter(|(_, spent)| spent.owed > 0 && spent.gone_back < spent.points);
        let owed: Vec<EntryRef> = owed.map(|(entry, _)| *entry).collect();
        if !owed.is_empty() && self.random.percent(50) {
            entries = owed;
        }
        // And what was spent before a merge.
        let own = self.account.id;
        let merged = self.account.spent.iter().filter(|(entry, spent)| Some(entry.member) != own && spent.gone_back < spent.points);
        let merged: Vec<EntryRef> = merged.map(|(entry, _)| *entry).collect();
        if !merged.is_empty() && self.random.percent(30) {
            entries = merged;
        }
        let redemption = match entries.len() {
            0 => self.random.within(1..=9),
            _ if self.random.percent(3) => self.random.within(1..=self.account.sequence + 2),
            // What a reward took goes back with its voucher alone.
            _ if !self.account.had.is_empty() && self.random.percent(2) => {
                let had: Vec<EntryRef> = self.account.had.keys().copied().collect();
                self.recent(&had).sequence
            }
            _ => self.recent(&entries).sequence,
        };
        let left = entries.iter().find(|entry| entry.sequence == redemption).map(|entry| &self.account.spent[entry]);
        let left = left.map_or(1, |spent| spent.points - spent.gone_back).max(1) as u64;
        let points = match self.random.below(10) {
            0..=2 => None,
            3 => Some(left + 1),
            _ => Some(self.random.within(1..=left)),
        };
        Command::ReverseRedemption(ReversalRequest {
            ledger: None,
            redemption,
            points: points.map(|points| Points(points as i64)),
            reason: reason(),
        })
    }

    /// Mostly one of the last.
    fn recent<T: Clone>(&mut self, items: &[T]) -> T {
        let from = if self.random.percent(70) { items.len().saturating_sub(4) } else { 0 };
        self.random.pick(&items[from..]).clone()
    }

    fn any_hold(&mut self) -> HoldId {
        let open: Vec<u64> = self.account.holds.keys().copied().collect();
        let ended: Vec<u64> = self.account.ended.keys().map(|hold| hold.sequence).collect();
        HoldId(match (open.is_empty(), ended.is_empty()) {
            (false, _) if self.random.percent(85) => self.recent(&open),
            (_, false) if self.random.percent(90) => self.recent(&ended),
            _ => self.random.within(1..=self.account.sequence + 1),
        })
    }

    fn capture(&mut self) -> Command {
        let hold = self.any_hold();
        let held = self.account.holds.get(&hold.0).map_or(1, |hold| hold.points) as u64;
        let points = match self.random.below(10) {
            0..=3 => None,
            4 => Some(held + 1),
            _ => Some(self.random.within(1..=held)),
        };
        let order = self.random.percent(40).then(|| self.order());
        Command::CaptureHold(CaptureRequest { hold, points: points.map(|points| Points(points as i64)), order, reference: String::new() })
    }

    fn any_sale(&mut self) -> OrderKey {
        if self.account.sales.is_empty() {
            return OrderKey { store: StoreId::new("s1").expect("an id"), order: OrderId::new("none").expect("an id") };
        }
        let mut orders: Vec<(u64, &OrderKey)> = self.account.sales.iter().map(|(order, sale)| (sale.sequence, order)).collect();
        orders.sort_unstable();
        let with_vouchers: Vec<OrderKey> = orders
            .iter()
            .filter(|(_, order)| !self.account.sales[*order].purchase.vouchers.is_empty())
            .map(|(_, order)| (*order).clone())
            .collect();
        if !self.account.merged.is_empty() && self.random.percent(20) {
            let confirmed = self.confirmed();
            if !confirmed.is_empty() {
                return self.random.pick(&confirmed).clone();
            }
        }
        if !with_vouchers.is_empty() && self.random.percent(30) {
            return self.recent(&with_vouchers);
        }
        let orders: Vec<OrderKey> = orders.into_iter().map(|(_, order)| order.clone()).collect();
        self.recent(&orders)
    }

    pub fn take_back(&mut self, order: OrderKey) -> Command {
        let sale = self.account.sales.get(&order).cloned();
        let mut request = ReturnRequest {
            order,
            lines: Vec::new(),
            amount: Decimal::ZERO,
            whole: false,
            reason: reason(),
            reference: String::new(),
            exchange: None,
        };
        let lines = sale.as_ref().map_or(&[][..], |sale| &sale.purchase.lines);
        match self.random.below(10) {
            0..=2 => request.whole = true,
            3 => request.amount = self.amount(20),
            _ => {
                for (place, line) in lines.iter().enumerate() {
                    if self.random.percent(45) {
                        request.lines.push(self.line_back(place, line));
                    }
                }
                if self.random.percent(3) {
                    request.lines.push(ReturnedLine { line: lines.len() + 3, quantity: Decimal::ONE, amount: Decimal::ZERO });
                }
            }
        }
        if self.random.percent(12) {
            let order = self.order();
            let mut purchase = self.plain_purchase(order);
            if let Some(sale) = sale.filter(|_| self.random.percent(50)) {
                purchase.vouchers.extend(sale.purchase.vouchers.first());
            }
            request.exchange = Some(Arc::new(purchase));
        }
        Command::ReturnPurchase(Arc::new(request))
    }

    /// Mostly one of which points wait for that.
    fn sale_to_confirm(&mut self) -> OrderKey {
        let waits = |sale: &Sale| {
            let mut lots = sale.earned.lots.iter().filter(|lot| matches!(lot.said.waits, Some((None, _))));
            lots.any(|lot| self.account.waiting.iter().any(|waiting| waiting.id == lot.said.id))
        };
        let waiting: Vec<OrderKey> = self.account.sales.iter().filter(|(_, sale)| waits(sale)).map(|(order, _)| order.clone()).collect();
        if waiting.is_empty() || self.random.percent(30) { self.any_sale() } else { self.random.pick(&waiting).clone() }
    }

    fn line_back(&mut self, line: usize, sold: &Line) -> ReturnedLine {
        let by_amount = self.random.percent(30);
        let quantity = match self.random.below(4) {
            0 => sold.quantity,
            1 => Decimal::ONE.min(sold.quantity),
            2 => (sold.quantity / Decimal::TWO).round_dp(3),
            _ => Decimal::new(1, 3) * Decimal::from(self.random.within(1..=1_000)),
        };
        let amount = self.percent_of(sold.amount - sold.discount);
        match by_amount {
            true => ReturnedLine { line, quantity: Decimal::ZERO, amount },
            false if self.random.percent(10) => ReturnedLine { line, quantity, amount },
            false => ReturnedLine { line, quantity, amount: Decimal::ZERO },
        }
    }

    /// Now and then one that no rule names, the last one again, or a referrer who is the member itself or nobody.
    fn activity(&mut self) -> Command {
        let last =
            self.account.done.iter().max_by_key(|(_, entries)| entries.last().map(|entry| entry.sequence)).map(|(key, _)| key.clone());
        let last = last.filter(|_| self.random.percent(25));
        let activity = if self.random.percent(4) { "unheard_of" } else { *self.random.pick(&ACTIVITIES) };
        let reference = format!("a-{}", self.random.within(1..=40));
        let referrer = match self.random.below(20) {
            0 => Some(MemberId([9; 16])),
            1..=8 => Some(self.other()),
            _ => None,
        };
        Command::RecordActivity(ActivityRequest {
            activity: ActivityId::new(last.as_ref().map_or(activity, |(activity, _)| activity)).expect("an id"),
            reference: last.as_ref().and_then(|(_, reference)| reference.clone()).unwrap_or(reference),
            referrer: referrer.map(Recipient::Id),
            occurred_time: self.occurred_time(),
        })
    }

    fn transfer(&mut self) -> Command {
        let available = self.account.available().max(0);
        let points = match self.random.below(10) {
            0 => available + self.random.within(1..=50) as i64,
            1 => available,
            _ => self.random.within(0..=available as u64) as i64,
        };
        Command::TransferPoints(TransferRequest {
            to: Recipient::Id(self.other()),
            points: Points(points.max(1)),
            reason: reason(),
            reference: String::new(),
        })
    }

    /// Mostly one that there is.
    pub fn other(&mut self) -> MemberId {
        let suspended: Vec<MemberId> = self.others.iter().filter(|other| other.suspended).filter_map(|other| other.id).collect();
        if !suspended.is_empty() && self.random.percent(20) {
            return *self.random.pick(&suspended);
        }
        if self.random.percent(4) { MemberId([9; 16]) } else { *self.random.pick(self.members) }
    }

    fn grant_expiry(&mut self) -> Expiry {
        match self.random.below(7) {
            0 => Expiry::Never,
            1 | 2 => Expiry::AfterDays(self.random.within(1..=40) as u32),
            3 => Expiry::MonthsAfterActivation(self.random.within(1..=3) as u32),
            4 => Expiry::EndOfPeriod { period: CalendarPeriod::Quarter, additional_periods: 1 },
            5 => Expiry::FixedDate { month: 2, day: 29, minimum_days: self.random.within(0..=60) as u32 },
            _ => match &self.newest().inactivity {
                // What the grant says beside does not matter: the member has one time of inactivity.
                Some(idle) => Expiry::Inactivity(InactivityPolicy {
                    months: idle.months as u32,
                    activities: CountedActivities::default(),
                    extension: if idle.by_month { Extension::Month } else { Extension::Restart },
                }),
                None => Expiry::AfterMonths(1),
            },
        }
    }

    pub fn adjustment(&mut self) -> Command {
        let size = self.random.within(1..=400) as i64;
        let points = match self.random.below(10) {
            0..=4 => size,
            5 => size * 1_000,
            _ => -size,
        };
        let (qualifying, reference) = (self.random.percent(40), String::new());
        let expiry = if points > 0 && self.random.percent(35) { Some(self.grant_expiry()) } else { None };
        Command::AdjustPoints(Adjustment { points: Points(points), qualifying, reason: reason(), reference, expiry })
    }
}
