//! What meets something else that is soon due, or that was before: by chance alone it seldom would.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::v1::tier_policy::{ReviewOutcome, Validity},
    domain::{
        ActivityId, ActivityRequest, Adjustment, Command, Expiry, HoldRequest, Line, LineKind, MemberId, MergeRequest, OrderKey, Points,
        Purchase, Recipient, RedeemRequest, ReturnRequest, TierId, TransferRequest, VoucherBenefit, VoucherCode, VoucherRequest,
    },
};
use rust_decimal::Decimal;

use super::{
    auditor::{
        Account, Lot, Sale,
        book::{Book, Lapse, days_later, months_later},
        facts::LotSaid,
        months,
        reviewing::counts_for_life_anew,
    },
    books::REFERRAL,
    generator::{Asker, reason},
};

/// Of vouchers, where points are not redeemed.
const LONGEST_HOLD: u32 = 86_400;
/// Lots that never lapse, behind those that lapse with inactivity.
const LASTING_LOTS: usize = 5;

impl Asker<'_> {
    pub fn meeting(&mut self) -> Option<Command> {
        let found = self.idle_points().or_else(|| self.month_points()).or_else(|| self.kept_vouchers()).or_else(|| self.shared_goods());
        if let Some(command) = found.or_else(|| self.free_units()).or_else(|| self.above_the_floor()) {
            return Some(command);
        }
        let has_birthday = !self.account.suspended && self.account.birthdays.plan.is_some_and(|plan| self.is_soon(plan.due, 3));
        if has_birthday && self.random.percent(8) {
            return Some(Command::Suspend { reason: reason() });
        }
        // Sooner where there is something that waited for a confirmation.
        let merges = self.random.below(40) == 0 || (self.random.percent(5) && !self.confirmed().is_empty());
        if merges && let Some(into) = self.twin() {
            return Some(Command::MergeMembers(MergeRequest { into: Recipient::Id(into), reason: reason() }));
        }
        if self.account.merged.is_empty() || self.random.percent(85) {
            return None;
        }
        let confirmed = self.confirmed();
        let order = if confirmed.is_empty() { return None } else { self.random.pick(&confirmed).clone() };
        Some(self.take_back(order))
    }

    /// What becomes of referrals that wait for a purchase: each member has one at most, and few have not bought yet.
    pub fn referring(&mut self) -> Option<Command> {
        let account = self.account;
        let (own, newest) = (account.id?, Arc::clone(self.newest()));
        if account.suspended || account.erased || newest.referral.is_none() {
            return None;
        }
        if account.purchases == 0 && account.referral.is_none() {
            return self.random.percent(85).then(|| self.refer(own));
        }
        if account.referral.is_none() && account.purchases < 4 && self.random.percent(12) {
            return Some(self.refer(own));
        }
        if let Some(command) = self.spend_brought() {
            return Some(command);
        }
        // Somebody waits for a purchase of whom the member has referred.
        let may_earn = self.others.iter().filter_map(|other| other.referral.as_ref()).any(|one| one.waits && one.referrer == own);
        match self.random.below(if may_earn { 100 } else { 1 }) {
            96..=98 => return Some(Command::Suspend { reason: reason() }),
            99 => return Some(Command::Erase { reason: reason() }),
            _ => {}
        }
        let may_merge = account.holds.is_empty() && !counts_for_life_anew(&newest);
        if let Some(referral) = account.referral.as_ref().filter(|referral| referral.waits) {
            // Mostly now: what was told late may have been before it.
            if self.random.percent(60) {
                let order = self.order();
                let purchase = self.purchase(order);
                let occurred_time = purchase.occurred_time.filter(|_| self.random.percent(25));
                let offline = purchase.offline && occurred_time.is_some();
                return Some(Command::RecordPurchase(Arc::new(Purchase { occurred_time, offline, ..purchase })));
            }
            if may_merge && self.random.percent(4) {
                let waits = |other: &&Account| other.id != account.id && other.referral.as_ref().is_some_and(|other| other.waits);
                let others: Vec<MemberId> = self.others.iter().filter(waits).filter_map(|other| other.id).collect();
                let into = if others.is_empty() || self.random.percent(30) { referral.referrer } else { *self.random.pick(&others) };
                return Some(Command::MergeMembers(MergeRequest { into: Recipient::Id(into), reason: reason() }));
            }
        }
        let stands = |sale: &Sale| sale.bonus.is_some_and(|bonus| account.bonuses.get(&bonus).is_some_and(|bonus| !bonus.is_gone));
        let standing: Vec<OrderKey> = account.sales.iter().filter(|(_, sale)| stands(sale)).map(|(order, _)| order.clone()).collect();
        if standing.is_empty() {
            return None;
        }
        if may_merge && self.random.below(60) == 0 {
            // Into the other side, or into somebody with a referral too.
            let has_one = |other: &&Account| {
                other.id != account.id
                    && (other.bonuses.values().next().is_some() || account.bonuses.keys().any(|one| other.brought.contains_key(one)))
            };
            let others: Vec<MemberId> = self.others.iter().filter(has_one).filter_map(|other| other.id).collect();
            let into = if others.is_empty() { return None } else { *self.random.pick(&others) };
            return Some(Command::MergeMembers(MergeRequest { into: Recipient::Id(into), reason: reason() }));
        }
        if self.random.percent(60) {
            return None;
        }
        let order = self.random.pick(&standing).clone();
        let minimum = account.sales[&order].bonus.map_or(Decimal::ZERO, |bonus| account.bonuses[&bonus].minimum());
        let Command::ReturnPurchase(request) = self.take_back(order) else { return None };
        let mut request = ReturnRequest::clone(&request);
        if request.exchange.is_none() && self.random.percent(60) {
            let order = self.order();
            let mut purchase = self.purchase(order.clone());
            // Too little by itself.
            if minimum > Decimal::ZERO && self.random.percent(60) {
                let amount = self.percent_of(minimum);
                let line = Line { amount, discount: Decimal::ZERO, tax: Decimal::ZERO, kind: LineKind::Goods, ..self.line(false) };
                purchase = self.basket(order, vec![line], false);
            }
            request.exchange = Some(Arc::new(purchase));
        }
        Some(Command::ReturnPurchase(Arc::new(request)))
    }

    /// Points that came for somebody whom the member referred are spent before the goods come back.
    fn spend_brought(&mut self) -> Option<Command> {
        let (account, reference) = (self.account, String::new());
        let all = Points(account.available());
        if account.brought.is_empty() || all.0 <= 0 || self.random.percent(85) {
            return None;
        }
        if self.random.percent(50) {
            let to = Recipient::Id(self.other());
            return Some(Command::TransferPoints(TransferRequest { to, points: all, reason: reason(), reference }));
        }
        Some(Command::RedeemPoints(RedeemRequest {
            points: Some(all),
            up_to: true,
            order_total: Some(self.amount(500)),
            order: None,
            reference,
        }))
    }

    /// By anybody, often by those whom the member has referred, or who were by these.
    fn refer(&mut self, own: MemberId) -> Command {
        let is_by = |id: MemberId, other: &Account| other.referral.as_ref().is_some_and(|referral| referral.referrer == id);
        let brought = |id: MemberId| self.others.iter().filter(move |other| is_by(id, other)).filter_map(|other| other.id);
        let mut ring: Vec<MemberId> = brought(own).collect();
        ring.extend(ring.clone().into_iter().flat_map(brought));
        let referrer = match self.random.below(20) {
            0 => own,
            1..=6 if !ring.is_empty() => *self.random.pick(&ring),
            _ => self.other(),
        };
        let occurred_time = if self.random.percent(30) { self.occurred_time() } else { None };
        Command::RecordActivity(ActivityRequest {
            activity: ActivityId::new(REFERRAL).expect("an id"),
            reference: format!("a-{}", self.random.within(1..=40)),
            referrer: self.random.percent(95).then_some(Recipient::Id(referrer)),
            occurred_time,
        })
    }

    fn is_soon(&self, time: Timestamp, days: i64) -> bool {
        time > self.now && time.duration_since(self.now) < SignedDuration::from_hours(24 * days)
    }

    /// Points that lapse with inactivity, or have done so though nobody has entered it, before others that stay.
    fn idle_points(&mut self) -> Option<Command> {
        let account = self.account;
        let is_idle = |lot: &Lot| lot.lapse == Lapse::Inactive;
        if account.idle_end().is_some_and(|end| self.is_soon(end, 6)) && account.lots.iter().any(is_idle) {
            // What is held may lapse before the hold ends.
            if self.random.percent(12) {
                return Some(Command::HoldPoints(HoldRequest { redeem: self.redemption(), seconds: Some(500_000) }));
            }
            let lasting = account.lots.iter().filter(|lot| lot.lapse == Lapse::Never).count();
            if lasting < LASTING_LOTS && self.random.percent(20) {
                let (points, expiry) = (Points(self.random.within(1..=60) as i64), Some(Expiry::Never));
                let reference = String::new();
                return Some(Command::AdjustPoints(Adjustment { points, qualifying: false, reason: reason(), reference, expiry }));
            }
        }
        let left = self.others.iter().find(|other| other.id == account.id)?;
        let has_lapsed = left.idle_until.is_some_and(|end| end <= self.now) && left.lots.iter().any(is_idle);
        let all = Points(account.available());
        if !has_lapsed || all.0 <= 0 || self.random.percent(50) {
            return None;
        }
        let reference = String::new();
        Some(match self.random.below(3) {
            0 => {
                let to = Recipient::Id(self.other());
                Command::TransferPoints(TransferRequest { to, points: all, reason: reason(), reference })
            }
            1 => {
                let order_total = Some(self.amount(500));
                Command::RedeemPoints(RedeemRequest { points: Some(all), up_to: false, order_total, order: None, reference })
            }
            _ => {
                let points = Points(-all.0);
                Command::AdjustPoints(Adjustment { points, qualifying: false, reason: reason(), reference, expiry: None })
            }
        })
    }

    /// Points that lapse by months: soon, or elsewhere sooner; and some that are told of only after months in which they may have lapsed.
    fn month_points(&mut self) -> Option<Command> {
        let (account, book) = (self.account, Arc::clone(self.newest()));
        let idle = book.inactivity.as_ref().filter(|_| account.months.is_counted() && !account.suspended && !account.erased)?;
        let of_month = |lapse: Lapse| if let Lapse::Month(earned) = lapse { Some(earned) } else { None };
        let earned = account.lots.iter().find_map(|lot| of_month(lot.lapse));
        if account.months_end(&book).is_some_and(|end| self.is_soon(end, 8)) {
            match self.random.below(30) {
                0..=4 => {
                    let longest = book.redemption.as_ref().map_or(LONGEST_HOLD, |policy| policy.maximum_hold);
                    let seconds = Some(longest.min(900_000));
                    return Some(Command::HoldPoints(HoldRequest { redeem: self.redemption(), seconds }));
                }
                5..=7 => return Some(self.adjustment()),
                8 | 9 => return Some(Command::RedeemPoints(self.redemption())),
                _ => {}
            }
        }
        if let Some(earned) = earned.filter(|_| book.transfers.is_some() && account.debt == 0 && self.random.percent(6)) {
            let sooner = |other: &&Account| {
                let ends = other.months.lapse(&book, earned).zip(account.months.lapse(&book, earned));
                other.id != account.id && !other.erased && ends.is_some_and(|(there, here)| there < here)
            };
            let others: Vec<MemberId> = self.others.iter().filter(sooner).filter_map(|other| other.id).collect();
            if !others.is_empty() {
                let (to, points) =
                    (Recipient::Id(*self.random.pick(&others)), Points(self.random.within(1..=account.available() as u64) as i64));
                return Some(Command::TransferPoints(TransferRequest { to, points, reason: reason(), reference: String::new() }));
            }
        }
        // Of a month that was without activity until now, or of any before this.
        let this = months::month(&book, self.now);
        let without: Vec<i32> = (1..=2).filter(|before| account.months.is_without(this - before)).collect();
        let percent = if without.is_empty() || earned.is_none() { 6 } else { 25 };
        if !(idle.by_month || earned.is_some()) || !self.random.percent(percent) {
            return None;
        }
        let before = if without.is_empty() { self.random.within(1..=2) as i32 } else { *self.random.pick(&without) };
        let behind = months_later(book.date(self.now).first_of_month(), 1 - before);
        let time = book.dawn(behind) - SignedDuration::from_hours(self.random.within(1..=480) as i64);
        let age = self.now.duration_since(time);
        if age > SignedDuration::from_hours(24 * i64::from(book.max_age_days)) {
            return None;
        }
        let order = self.order();
        let purchase = Purchase { occurred_time: Some(time), offline: false, ..self.plain_purchase(order) };
        Some(Command::RecordPurchase(Arc::new(purchase)))
    }

    /// A voucher is held until after its time, and used in between.
    fn kept_vouchers(&mut self) -> Option<Command> {
        let (account, now) = (self.account, self.now);
        let longest = self.newest().redemption.as_ref().map_or(LONGEST_HOLD, |policy| policy.maximum_hold);
        let ends = |until: Timestamp| u32::try_from(until.duration_since(now).as_secs()).ok().filter(|seconds| *seconds < longest);
        let soon = account.live_vouchers().filter(|(_, voucher)| voucher.hold.is_none() && self.is_soon(voucher.terms.until, 6));
        let soon = soon.filter_map(|(_, voucher)| Some((voucher.code?, ends(voucher.terms.until)?))).next();
        if let Some((code, seconds)) = soon
            && self.random.percent(10)
        {
            let more = self.random.within(600..=100_000) as u32;
            let seconds = Some(seconds.saturating_add(more).min(longest));
            return Some(Command::Voucher(VoucherRequest::Hold { code, order: self.order(), seconds }));
        }
        let kept = account.live_vouchers().filter(|(_, voucher)| voucher.terms.until <= now);
        let kept: Vec<(VoucherCode, OrderKey)> =
            kept.filter_map(|(_, voucher)| Some((voucher.code?, voucher.hold.as_ref()?.0.clone()))).collect();
        if kept.is_empty() || self.random.percent(60) {
            return None;
        }
        let (code, order) = self.random.pick(&kept).clone();
        if account.sales.contains_key(&order) || self.random.percent(50) {
            let order_total = Some(self.amount(100));
            return Some(Command::Voucher(VoucherRequest::Use { code, order: Some(order), order_total, value: None }));
        }
        let mut purchase = self.plain_purchase(order);
        purchase.vouchers = vec![code];
        Some(Command::RecordPurchase(Arc::new(purchase)))
    }

    /// Several vouchers give units of one line, and another one may take something off it in between.
    fn free_units(&mut self) -> Option<Command> {
        let now = self.now;
        let usable = self.account.live_vouchers().filter(|(_, voucher)| voucher.hold.is_none() && voucher.terms.from <= now);
        let (mut free, mut off, mut minimum) = (Vec::new(), Vec::new(), Decimal::ONE);
        for (code, terms) in usable.filter_map(|(_, voucher)| Some((voucher.code?, &voucher.terms))) {
            minimum = minimum.max(terms.minimum);
            match &terms.gives {
                VoucherBenefit::FreeItem { sku } => free.push((code, Some(sku.clone()), None)),
                VoucherBenefit::FreeItemOf { category, .. } => free.push((code, None, Some(category.clone()))),
                VoucherBenefit::AmountOff { .. } | VoucherBenefit::PercentOff { .. } => off.push(code),
                VoucherBenefit::FreeShipping | VoucherBenefit::Custom { .. } => {}
            }
        }
        if free.len() < 2 || self.random.percent(70) {
            return None;
        }
        let (_, sku, category) = self.random.pick(&free).clone();
        let like: Vec<VoucherCode> = free.into_iter().filter(|one| (&one.1, &one.2) == (&sku, &category)).map(|one| one.0).collect();
        let quantity = Decimal::from(self.random.within(2..=3));
        let (amount, plain) = (minimum + self.amount(60), self.line(false));
        let (discount, tax, kind) = (Decimal::ZERO, Decimal::ZERO, LineKind::Goods);
        let (sku, category) = (sku.unwrap_or(plain.sku.clone()), category.unwrap_or(plain.category.clone()));
        let line = Line { sku, category, quantity, amount, discount, tax, kind, ..plain };
        let mut vouchers: Vec<VoucherCode> = like.into_iter().take(self.random.within(2..=3) as usize).collect();
        if !off.is_empty() && self.random.percent(60) {
            vouchers.insert(1, *self.random.pick(&off));
        }
        let order = self.order();
        let mut purchase = self.basket(order, vec![line], false);
        (purchase.vouchers, purchase.apply_effects) = (vouchers, true);
        Some(Command::RecordPurchase(Arc::new(purchase)))
    }

    /// Somebody is set to a tier by hand for some days, and rises above it, so that what was set is over before what was reached is.
    fn above_the_floor(&mut self) -> Option<Command> {
        let account = self.account;
        let book = Arc::clone(self.newest());
        if account.floor.is_none() && falls_far(&book) && !account.erased && self.random.percent(1) {
            let days = self.random.within(1..=20) as i64;
            let last_date = Some(days_later(book.date(self.now), days));
            let tier = TierId::new(&book.tiers[1].id).expect("an id");
            return Some(Command::SetTier { tier, reason: reason(), last_date });
        }
        let floor = account.floor.as_ref().filter(|(_, end)| end.is_some() && account.is_on_floor())?;
        let above = book.document.tiers.get(book.place_of_tier(Some(&floor.0)) + 1)?;
        let takes: i64 = above.threshold.as_ref()?.qualifying_points.parse().ok()?;
        let points = takes * 10i64.pow(book.document.points_precision as u32);
        if book.maximum_adjustment.is_some_and(|most| points > most) || self.random.percent(60) {
            return None;
        }
        let (points, reference) = (Points(points), String::new());
        Some(Command::AdjustPoints(Adjustment { points, qualifying: true, reason: reason(), reference, expiry: None }))
    }

    /// Two vouchers take more off than the goods come to.
    fn shared_goods(&mut self) -> Option<Command> {
        let now = self.now;
        let usable = self.account.live_vouchers().filter(|(_, voucher)| voucher.hold.is_none() && voucher.terms.from <= now);
        let off = usable.filter_map(|(_, voucher)| match &voucher.terms.gives {
            VoucherBenefit::AmountOff { amount } => Some((voucher.code?, Some(*amount), voucher.terms.minimum)),
            VoucherBenefit::PercentOff { .. } => Some((voucher.code?, None, voucher.terms.minimum)),
            VoucherBenefit::FreeItem { .. }
            | VoucherBenefit::FreeItemOf { .. }
            | VoucherBenefit::FreeShipping
            | VoucherBenefit::Custom { .. } => None,
        });
        let mut off: Vec<(VoucherCode, Option<Decimal>, Decimal)> = off.collect();
        if off.len() < 2 || self.random.percent(92) {
            return None;
        }
        self.random.shuffle(&mut off);
        off.truncate(2);
        let minimum = off.iter().map(|(.., minimum)| *minimum).max()?;
        let most = off.iter().filter_map(|(_, amount, _)| *amount).max();
        let amount = match most {
            Some(most) => self.percent_of(most),
            None => self.amount(20),
        };
        let amount = amount.max(minimum);
        let line =
            Line { quantity: Decimal::ONE, amount, discount: Decimal::ZERO, tax: Decimal::ZERO, kind: LineKind::Goods, ..self.line(false) };
        let order = self.order();
        let mut purchase = self.basket(order, vec![line], false);
        purchase.vouchers = off.into_iter().map(|(code, ..)| code).collect();
        purchase.apply_effects = self.random.percent(40);
        Some(Command::RecordPurchase(Arc::new(purchase)))
    }

    /// Somebody with whom the member has something in common that a merge must get right.
    fn twin(&mut self) -> Option<MemberId> {
        let (gone, newest) = (self.account, self.newest());
        if !gone.holds.is_empty() || newest.document.tier_policy.is_some_and(|policy| policy.reset_at_review) {
            return None;
        }
        let last_end = gone.idle_ends.iter().copied().chain(gone.idle_until.filter(|end| *end <= self.now)).max();
        let has_lapsed = |lot: &Lot, since: Timestamp| lot.lapse == Lapse::Inactive && last_end.is_some_and(|end| end > since);
        let has_lapsed = gone.spent.values().any(|spent| spent.parts.iter().any(|lot| has_lapsed(lot, spent.since)));
        let next = |account: &Account| account.waiting.iter().filter_map(|lot| lot.until).min();
        let owes = gone.debt > 0 && newest.oldest_first;
        let confirmed = !self.confirmed().is_empty();
        let fits = |other: &Account| {
            let is_there = other.id.is_some() && other.id != gone.id && !other.erased && other.merged_into.is_none() && !other.suspended;
            let pends = next(gone).zip(next(other)).is_some_and(|(gone, stays)| gone < stays);
            let pays = owes && other.lots.len() > 1;
            let capped = gone.given.iter().any(|(cap, points)| *points > 0 && other.given.get(cap).is_some_and(|own| *own > 0));
            let is_rare = has_lapsed || (confirmed && other.last_lot > 0) || pends || pays || self.bought_alone(other);
            (is_there && (is_rare || gone.suspended || capped)).then_some((other.id?, is_rare))
        };
        let fitting: Vec<(MemberId, bool)> = self.others.iter().filter_map(fits).collect();
        let rare: Vec<MemberId> = fitting.iter().filter(|(_, is_rare)| *is_rare).map(|(other, _)| *other).collect();
        match (rare.is_empty(), fitting.is_empty()) {
            (false, _) => Some(*self.random.pick(&rare)),
            (true, false) if self.random.percent(30) => Some(self.random.pick(&fitting).0),
            (true, _) => None,
        }
    }

    /// Of both the member alone has bought something lately, and a birthday asks for that.
    fn bought_alone(&self, other: &Account) -> bool {
        let (newest, gone) = (self.newest(), self.account);
        let months = newest.birthday.as_ref().map_or(0, |birthday| birthday.document.active_within_months);
        let plan = other.birthdays.plan.or(gone.birthdays.plan).filter(|plan| months > 0 && self.is_soon(plan.due, 20));
        let since = plan.map(|plan| months_later(newest.date(plan.due), -months));
        let has_bought = |account: &Account| since.is_some_and(|since| account.latest.is_some_and(|latest| newest.date(latest) >= since));
        has_bought(gone) && !has_bought(other)
    }

    /// Sales of which points waited for a confirmation, and came, and lapse when only that could say.
    pub fn confirmed(&self) -> Vec<OrderKey> {
        let live = |said: &LotSaid| self.account.lots.iter().any(|lot| lot.id == said.id && lot.lapse != said.lapse);
        let is_confirmed = |sale: &Sale| sale.earned.lots.iter().any(|lot| matches!(lot.said.waits, Some((None, _))) && live(&lot.said));
        self.account.sales.iter().filter(|(_, sale)| is_confirmed(sale)).map(|(order, _)| order.clone()).collect()
    }
}

/// A review can take more than one tier away.
fn falls_far(book: &Book) -> bool {
    let policy = book.document.tier_policy.unwrap_or_default();
    let ends = !matches!(policy.validity(), Validity::Unspecified | Validity::Unlimited);
    book.tiers.len() > 2 && ends && policy.review_outcome() == ReviewOutcome::Earned
}
