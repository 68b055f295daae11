//! Promotions: reckoned from the published document each time; what a programme has given of budgets and daily caps is summed over the sales of all its
//! members.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{
        self,
        birthday_policy::{LeapDay, Window},
        promotion::Effect,
        promotion_group::Combination,
        rounding,
    },
    domain::{BirthDate, EntryRef, LimitKind, MemberId, Purchase, VoucherCause},
};

use super::{
    Account, Act, Sale,
    book::{Book, Fraction, Gives, Rounds, days_later, days_of, of_document, points, smallest},
    earning::{self, Earned},
    facts::Change,
    offers, units,
};

/// Fixed texts, which are judged here by other means.
pub const CONDITIONS: [&str; 3] = [
    "member.purchases < 4 || now.weekday == 3",
    "size(purchase.lines.filter(l, l.category != \"food\")) >= 2",
    "purchase.order_discount > 0",
];
/// Of the segments of before the sale.
pub const SEGMENT_CONDITION: &str = "\"new\" in member.segments || size(member.segments) >= 3";
pub const LINE_CONDITION: &str = "line.quantity >= 1.5 && !(\"organic\" in line.labels)";

/// What a promotion gave with a sale.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// In the document.
    pub place: usize,
    /// Without limits.
    pub uncapped: i64,
    pub points: i64,
    pub qualifying: i64,
    pub limit: Option<LimitKind>,
    pub arm: Option<v1::PromotionArm>,
    /// On which it was reckoned; `None`: on the whole order.
    lines: Option<Vec<usize>>,
    /// The entry that issued it.
    pub voucher: Option<EntryRef>,
}

/// Points and times, by promotion and the beginning of a period.
pub type Counted = BTreeMap<(String, Option<Date>), (i64, i64)>;

/// Points, by promotion and day; without one, in all.
pub type Pot = BTreeMap<(String, Option<Date>), i64>;

/// Of each sale, what is left of it.
pub type Potted = BTreeMap<EntryRef, Vec<((String, Option<Date>), i64)>>;

/// What all members have had.
pub fn pot<'a>(accounts: impl Iterator<Item = &'a Account>) -> Pot {
    let mut pot = Pot::new();
    for (key, points) in accounts.filter(|account| account.merged_into.is_none()).flat_map(|account| account.potted.values().flatten()) {
        *pot.entry(key.clone()).or_default() += points;
    }
    pot
}

/// How often something was met, by its name.
pub type Met = BTreeMap<&'static str, u64>;

/// What must be met: each kind of effect, what members had of it, and each limit but for a full purse, with the control arm; what an offer gave.
pub const KINDS: [&str; 14] = [
    "multiplies all",
    "multiplies lines",
    "adds per amount",
    "adds fixed",
    "voucher",
    "in an exclusive group",
    "the best of a group",
    "maximum",
    "times",
    "cap",
    "daily cap",
    "budget",
    "control",
    "with an offer",
];

/// Of all sales.
pub fn met<'a>(accounts: impl Iterator<Item = &'a Account>) -> Met {
    let mut met = Met::new();
    let mut note = |name| *met.entry(name).or_default() += 1;
    for sale in accounts.filter(|account| account.merged_into.is_none()).flat_map(|account| account.sales.values()) {
        for one in &sale.earned.promoted {
            let promotion = &sale.book.document.promotions[one.place];
            let group = sale.book.document.promotion_groups.iter().find(|group| group.group_id == promotion.group_id);
            let is_had = one.points > 0 || one.voucher.is_some();
            match promotion.effect.as_ref().expect("it is required") {
                _ if !is_had => {}
                Effect::Multiply(_) => note(if is_narrow(promotion) { "multiplies lines" } else { "multiplies all" }),
                Effect::AddPerAmount(_) => note("adds per amount"),
                Effect::AddFixed(_) => note("adds fixed"),
                Effect::VoucherKindId(_) => note("voucher"),
            }
            if is_had && promotion.only_with_offer {
                note("with an offer");
            }
            match group.map(|group| group.combination()) {
                Some(Combination::Exclusive) if is_had => note("in an exclusive group"),
                Some(Combination::Best) if is_had => note("the best of a group"),
                Some(_) | None => {}
            }
            match one.limit {
                Some(LimitKind::Maximum) => note("maximum"),
                Some(LimitKind::Times) => note("times"),
                Some(LimitKind::Cap) => note("cap"),
                Some(LimitKind::DailyCap) => note("daily cap"),
                Some(LimitKind::Budget) => note("budget"),
                Some(LimitKind::Control) => note("control"),
                Some(LimitKind::Minimum | LimitKind::OncePerMember | LimitKind::Vouchers) | None => {}
            }
        }
    }
    met
}

/// What there is of a purchase: of each line its basis, its units in 1/1000, and whether it is there.
pub struct There<'a> {
    pub purchase: &'a Purchase,
    pub time: Timestamp,
    pub lines: Vec<(i128, i128, bool)>,
    /// Which lines of goods are there, whether or not they earn.
    pub goods: Vec<bool>,
    /// Purchases of the member before it.
    pub visits: u64,
    pub segments: Vec<String>,
    /// No goods are there, only what came with them.
    pub only_extras: bool,
}

/// What a rule gave: its place, the lines that it stood on, what it counts on those that are there, points, and those that count.
pub struct Share {
    pub rule: usize,
    pub stood_on: Vec<usize>,
    pub counts: Vec<(usize, i128)>,
    pub points: i64,
    pub qualifying: i64,
    /// What it gave at the sale, where several rules were rounded in one sum: it counts as if it were rounded by itself then.
    pub part: Option<(i64, i64)>,
}

pub struct Shares {
    pub rules: Vec<Share>,
    pub multiplier: Fraction,
    pub counting: Fraction,
}

fn days_back(time: Timestamp, days: i64) -> Timestamp {
    time - jiff::SignedDuration::from_hours(24 * days)
}

fn is_narrow(promotion: &v1::Promotion) -> bool {
    let filter = promotion.filter.clone().unwrap_or_default();
    let of_goods = [&filter.skus, &filter.categories, &filter.labels, &filter.excluded_skus, &filter.excluded_categories];
    let whole = match &promotion.effect {
        Some(Effect::Multiply(effect)) => effect.whole_order,
        Some(Effect::AddPerAmount(effect)) => effect.whole_order,
        Some(Effect::AddFixed(_) | Effect::VoucherKindId(_)) | None => false,
    };
    let any = of_goods.iter().any(|list| !list.is_empty()) || !filter.excluded_labels.is_empty() || !promotion.line_condition.is_empty();
    any && !whole
}

impl There<'_> {
    fn basis(&self) -> i128 {
        self.lines.iter().map(|(basis, ..)| basis).sum()
    }

    fn matching(&self, promotion: &v1::Promotion) -> Vec<usize> {
        if self.only_extras && matches!(promotion.effect, Some(Effect::AddFixed(_) | Effect::VoucherKindId(_)) | None) {
            return Vec::new();
        }
        let filter = promotion.filter.clone().unwrap_or_default();
        let is_in = |line: &usize| {
            let (_, quantity, there) = self.lines[*line];
            let goods = self.purchase.lines.get(*line);
            let by_line = match goods {
                Some(goods) => quantity >= 1_500 && !goods.labels.iter().any(|label| label == "organic"),
                None => false,
            };
            there && earning::filter_takes(&filter, self.purchase, *line) && (promotion.line_condition.is_empty() || by_line)
        };
        (0..self.lines.len()).filter(is_in).collect()
    }

    fn holds(&self, book: &Book, condition: &str) -> bool {
        if condition == SEGMENT_CONDITION {
            return self.segments.iter().any(|segment| segment == "new") || self.segments.len() >= 3;
        }
        match CONDITIONS.iter().position(|known| *known == condition) {
            None => true,
            Some(0) => self.visits < 4 || book.zone.to_datetime(self.time).weekday().to_monday_one_offset() == 3,
            Some(2) => {
                // What the till has given itself, and not what tier and vouchers have.
                let own = self.purchase.own_discounts.as_ref().map(|own| own.order_discount);
                own.unwrap_or(self.purchase.order_discount) > rust_decimal::Decimal::ZERO
            }
            Some(_) => {
                let other = |line: &usize| self.goods[*line] && self.purchase.lines[*line].category != "food";
                (0..self.purchase.lines.len()).filter(other).count() >= 2
            }
        }
    }

    /// What is asked of the goods.
    fn is_enough(&self, book: &Book, promotion: &v1::Promotion, matching: &[usize]) -> bool {
        let sum = |what: fn(&(i128, i128, bool)) -> i128| matching.iter().map(|line| what(&self.lines[*line])).sum::<i128>();
        let minimum = |text: &str, digits| smallest(text, digits).unwrap_or(0);
        let order = promotion.filter.as_ref().map_or(0, |filter| minimum(&filter.minimum_order, book.digits));
        !matching.is_empty()
            && self.basis() >= order
            && sum(|line| line.0) >= minimum(&promotion.minimum_spend, book.digits)
            && sum(|line| line.1) >= minimum(&promotion.minimum_quantity, 3)
            && self.holds(book, &promotion.condition)
    }
}

fn mode(book: &Book, promotion: &v1::Promotion) -> Rounds {
    let own = promotion.rounding_mode();
    let mode = if own == rounding::Mode::Unspecified { book.rounds.mode } else { own };
    Rounds { mode, stage: rounding::Stage::Rule, carry: false }
}

/// What it gives without limits: points, and those that count for tiers.
fn gives(book: &Book, promotion: &v1::Promotion, there: &There<'_>, shares: &Shares, (then, now): (&[usize], &[usize])) -> (i64, i64) {
    let precision = book.document.points_precision as u32;
    let rounded = |exact: Fraction| earning::rounded(exact, mode(book, promotion), 0).0;
    match promotion.effect.as_ref().expect("it is required") {
        Effect::Multiply(effect) => {
            let of = |share: &Share| {
                let stands_on_none_else = share.stood_on.iter().all(|line| then.contains(line));
                match (is_narrow(promotion), stands_on_none_else) {
                    (false, _) => (share.points, share.qualifying),
                    (true, true) if share.part.is_none() => (share.points, share.qualifying),
                    (true, true) => alone(book, share, shares, None),
                    (true, false) if matches!(book.rules[share.rule].gives, Gives::Order) => (0, 0),
                    (true, false) => alone(book, share, shares, Some(now)),
                }
            };
            let given: Vec<(i64, i64)> = shares.rules.iter().map(of).collect();
            let more = super::book::fraction(&effect.multiplier).expect("a number");
            let more = Fraction::new(more.over - more.under, more.under);
            let times = |base: i64| rounded(more.times(Fraction::new(base.into(), 1)));
            (times(given.iter().map(|(points, _)| points).sum()), times(given.iter().map(|(_, counts)| counts).sum()))
        }
        Effect::AddPerAmount(effect) => {
            let count = match effect.whole_order {
                true => there.basis(),
                false => there.matching(promotion).iter().map(|line| there.lines[*line].0).sum(),
            };
            let amount = smallest(&effect.amount, book.digits).expect("an amount");
            let rate = super::book::fraction(&effect.points).expect("a rate").times(Fraction::new(10i128.pow(precision), 1));
            let times = if effect.whole_blocks { Fraction::new(count / amount, 1) } else { Fraction::new(count, amount) };
            let all = rounded(times.times(rate));
            (all, all)
        }
        Effect::AddFixed(effect) => {
            let count: i128 = there.matching(promotion).iter().map(|line| there.lines[*line].1).sum();
            let times = match effect.each_minimum_quantity {
                true => count / smallest(&promotion.minimum_quantity, 3).expect("it is required"),
                false => 1,
            };
            let all = points(&effect.points, precision).expect("it is required") * i64::try_from(times).expect("it fits");
            (all, all)
        }
        Effect::VoucherKindId(_) => (0, 0),
    }
}

/// What a rule would have given on some of its lines, or on all, and not more than it did.
fn alone(book: &Book, share: &Share, shares: &Shares, on: Option<&[usize]>) -> (i64, i64) {
    let is_on = |line: &usize| on.is_none_or(|lines| lines.contains(line));
    let counts: Vec<i128> = share.counts.iter().filter(|(line, _)| is_on(line)).map(|(_, count)| *count).collect();
    let (points, qualifying) = share.part.unwrap_or((share.points, share.qualifying));
    let (all, counting) = by_itself(book, share.rule, &counts, shares);
    (all.min(points), counting.min(qualifying))
}

/// What a rule gives for these counts where nothing waits and nobody else is rounded with it; and by what counts for tiers.
fn by_itself(book: &Book, rule: usize, counts: &[i128], shares: &Shares) -> (i64, i64) {
    let rule = &book.rules[rule];
    let rounds = Rounds { carry: false, ..rule.rounds };
    let by = |multiplier: Fraction| -> i64 {
        let number = |count: i128| earning::rounded(earning::exact(rule, multiplier, count, true), rounds, 0).0;
        match rounds.stage {
            rounding::Stage::Line => counts.iter().map(|count| number(*count)).sum(),
            _ => number(counts.iter().sum()),
        }
    };
    (by(shares.multiplier), by(shares.counting))
}

/// Where what the parts of one sum come to is bounded, each by what it was, the first that have room get the rest.
fn fill(parts: &mut [(i64, i64)], sum: i64) {
    let mut missing = sum - parts.iter().map(|(part, _)| part).sum::<i64>();
    for (part, most) in parts {
        let more = missing.min(*most - *part);
        (*part, missing) = (*part + more, missing - more);
    }
}

/// None of what several rules gave in one sum grows, and yet the sum is what it would be without that bound; what counts for tiers of a part of them
/// alone is nobody's sum.
pub fn bound_sums(sale: &Sale, priced: (&[i64], &[i64]), shares: &mut Shares) {
    let book = &sale.book;
    let is_in_sum = |rule: usize| book.rules[rule].rounds.stage == rounding::Stage::Order;
    let sold: Vec<usize> = sale.earned.awards.iter().map(|award| award.rule).filter(|rule| is_in_sum(*rule)).collect();
    let places: Vec<usize> = (0..shares.rules.len()).filter(|place| is_in_sum(shares.rules[*place].rule)).collect();
    let award = |rule: usize| sale.earned.awards.iter().find(|award| award.rule == rule).expect("it stood");
    let counts = |rule: &usize| !book.rules[*rule].document.without_qualifying;
    let is_mixed = sold.iter().any(counts) && !sold.iter().all(counts);
    let mut points: Vec<(i64, i64)> = places.iter().map(|at| (shares.rules[*at].points, award(shares.rules[*at].rule).points)).collect();
    fill(&mut points, places.iter().map(|at| priced.0[*at]).sum());
    let mut qualifying: Vec<(i64, i64)> =
        places.iter().map(|at| (shares.rules[*at].qualifying, award(shares.rules[*at].rule).qualifying)).collect();
    fill(&mut qualifying, places.iter().map(|at| priced.1[*at]).sum());
    for (found, at) in places.iter().enumerate() {
        let (rule, lines) = (shares.rules[*at].rule, shares.rules[*at].counts.iter().map(|(_, count)| *count).collect::<Vec<_>>());
        let most = qualifying[found].1;
        let own = by_itself(book, rule, &lines, shares).1.min(most);
        let share = &mut shares.rules[*at];
        (share.points, share.qualifying) = (points[found].0, if is_mixed { own } else { qualifying[found].0 });
        share.part = (sold.len() > 1).then_some((points[found].1, most));
    }
}

/// Nothing that was lost comes again: of each the least that was left.
pub fn least(now: &mut [(i64, i64, bool)], before: &[(i64, i64, bool)]) {
    for (now, before) in now.iter_mut().zip(before) {
        *now = (now.0.min(before.0), now.1.min(before.1), now.2 && before.2);
    }
}

/// Whether a day is one of the birthday, of whatever year.
fn is_birthday(window: &v1::promotion::Birthday, date: BirthDate, day: Date) -> bool {
    let (month, of_month) = (date.month, date.day);
    (day.year() - 1..=day.year() + 1).any(|year| {
        let last = days_of(year, month);
        let celebrated = match of_month > last {
            true if window.leap_day() == LeapDay::March1 => Date::new(year, 3, 1).expect("a date"),
            _ => Date::new(year, month, of_month.min(last)).expect("a date"),
        };
        match window.window() {
            Window::Month => (day.year(), day.month()) == (year, month),
            Window::Around => {
                days_later(celebrated, -i64::from(window.days_before)) <= day && day <= days_later(celebrated, window.days_after.into())
            }
            Window::Day | Window::Unspecified => day == celebrated,
        }
    })
}

fn is_running(promotion: &v1::Promotion, time: Timestamp) -> bool {
    let second = |time: &prost_types::Timestamp| Timestamp::from_second(time.seconds).expect("within the calendar");
    promotion.start_time.as_ref().is_none_or(|start| second(start) <= time)
        && promotion.end_time.as_ref().is_none_or(|end| time < second(end))
}

/// How many points are left to give, and the last limit that says so.
fn left(act: &Act<'_>, book: &Book, promotion: &v1::Promotion, day: Date, asked: i64) -> (i64, Option<LimitKind>) {
    let limits = promotion.limits.clone().unwrap_or_default();
    let precision = book.document.points_precision as u32;
    let number = |text: &str| points(text, precision);
    let counted = |period: v1::Period| {
        let key = (promotion.promotion_id.clone(), book.period(day, period));
        act.account.promoted.get(&key).copied().unwrap_or_default()
    };
    let in_pot = |day: Option<Date>| act.pot.get(&(promotion.promotion_id.clone(), day)).copied().unwrap_or(0);
    let is_full = matches!(promotion.effect, Some(Effect::VoucherKindId(_))) && room(act) == 0;
    let times = offers::times(book, promotion).filter(|(times, period)| counted(*period).1 >= *times);
    let bounds = [
        (number(&limits.maximum_points), LimitKind::Maximum),
        (times.map(|_| 0), LimitKind::Times),
        (limits.cap.as_ref().map(|cap| number(&cap.points).expect("a cap") - counted(cap.period()).0), LimitKind::Cap),
        (is_full.then_some(0), LimitKind::Vouchers),
        (number(&limits.daily_cap_points).map(|cap| cap - in_pot(Some(day))), LimitKind::DailyCap),
        (number(&limits.budget_points).map(|budget| budget - in_pot(None)), LimitKind::Budget),
    ];
    let (mut left, mut limit) = (asked, None);
    for (bound, kind) in bounds {
        if let Some(bound) = bound.filter(|bound| *bound < left) {
            (left, limit) = (bound.max(0), Some(kind));
        }
    }
    (left, limit)
}

/// So many vouchers more the member may have.
fn room(act: &Act<'_>) -> usize {
    loyaltyd::domain::MAX_VOUCHERS.saturating_sub(act.account.live_vouchers().count())
}

/// What promotions add to what the rules have given.
pub fn promote(act: &Act<'_>, book: &Book, there: &There<'_>, shares: &Shares, earned: &mut Earned, next: &mut u64) {
    let day = book.date(there.time);
    let mut found: Vec<Promoted> = Vec::new();
    for (place, promotion) in book.document.promotions.iter().enumerate() {
        let filter = promotion.filter.clone().unwrap_or_default();
        let has_code = promotion.code.is_empty() || there.purchase.codes.contains(&promotion.code);
        let has_tier = promotion.tier_ids.is_empty() || earned.tier.as_ref().is_some_and(|tier| promotion.tier_ids.contains(tier));
        let is_new = !promotion.first_purchase || act.account.purchases == 0;
        let is_day = promotion.birthday.as_ref().is_none_or(|window| {
            let date = act.account.birthdays.date.filter(|_| !act.account.erased);
            date.is_some_and(|date| is_birthday(window, date, day))
        });
        let asks = earning::filter_asks(book, &filter, there.purchase, there.time);
        if !(is_running(promotion, there.time) && has_code && has_tier && is_new && is_day && asks) {
            continue;
        }
        if promotion.only_with_offer && !act.has_offer_of(book, promotion, earned.tier.as_ref(), there.time) {
            continue;
        }
        let arm = arm(promotion, act.account.id.expect("it has enrolled"));
        let matching = there.matching(promotion);
        if (arm.is_none() && !promotion.arms.is_empty()) || !there.is_enough(book, promotion, &matching) {
            continue;
        }
        let (points, counts) = gives(book, promotion, there, shares, (&matching, &matching));
        let is_voucher = matches!(promotion.effect, Some(Effect::VoucherKindId(_)));
        if points == 0 && !is_voucher {
            continue;
        }
        let asked = if is_voucher { 1 } else { points };
        let (left, limit) = left(act, book, promotion, day, asked);
        let most = if limit.is_some() { left } else { i64::MAX };
        let qualifying = if promotion.without_qualifying { 0 } else { counts.min(most) };
        let lines = is_narrow(promotion).then_some(matching);
        found.push(Promoted { place, uncapped: points, points: points.min(most), qualifying, limit, arm, lines, voucher: None });
    }
    choose(book, &mut found);
    let mut room = room(act);
    for one in &mut found {
        let is_voucher = matches!(book.document.promotions[one.place].effect, Some(Effect::VoucherKindId(_)));
        if is_voucher && one.limit.is_none() {
            one.limit = (room == 0).then_some(LimitKind::Vouchers);
            room = room.saturating_sub(1);
        }
    }
    for one in found {
        let promotion = &book.document.promotions[one.place];
        earned.points += one.points;
        earned.qualifying += one.qualifying;
        if one.points > 0 {
            let policies = of_document(book, book.place_of_tier(earned.tier.as_ref()), promotion);
            let later = if book.document.tier_policy.unwrap_or_default().qualify_pending { 0 } else { one.qualifying };
            earning::into_lot(
                &mut earned.lots,
                (book, &act.account.months, act.most_now(), act.now),
                policies,
                there.time,
                (one.points, later),
                next,
            );
        }
        earned.promoted.push(one);
    }
}

fn choose(book: &Book, found: &mut Vec<Promoted>) {
    for group in &book.document.promotion_groups {
        let document = |one: &Promoted| &book.document.promotions[one.place];
        let is_voucher = |one: &Promoted| matches!(document(one).effect, Some(Effect::VoucherKindId(_)));
        let is_had =
            |one: &Promoted| document(one).group_id == group.group_id && (one.points > 0 || (is_voucher(one) && one.limit.is_none()));
        let mut members: Vec<&Promoted> = found.iter().filter(|one| is_had(one)).collect();
        // Whoever would be before the one that gives is told of, and has nothing.
        let mut controls = Vec::new();
        members.sort_by_key(|one| document(one).priority);
        let is_best = group.combination() == Combination::Best;
        if is_best {
            members.sort_by_key(|one| -one.points);
        }
        while members.first().is_some_and(|one| one.is_control()) {
            controls.push(members.remove(0).place);
        }
        let first = match group.combination() {
            Combination::All | Combination::Unspecified => continue,
            Combination::Exclusive | Combination::Best => members.first().map(|one| one.place),
        };
        let gone: Vec<usize> = members.iter().map(|one| one.place).filter(|place| Some(*place) != first).collect();
        found.retain(|one| !gone.contains(&one.place));
        found.iter_mut().filter(|one| controls.contains(&one.place)).for_each(Promoted::withhold);
    }
    let is_had = |one: &Promoted| {
        one.points > 0 || (one.limit.is_none() && matches!(book.document.promotions[one.place].effect, Some(Effect::VoucherKindId(_))))
    };
    found.iter_mut().filter(|one| one.is_control() && is_had(one)).for_each(Promoted::withhold);
}

impl Promoted {
    fn is_control(&self) -> bool {
        self.arm.as_ref().is_some_and(|arm| arm.control)
    }

    fn withhold(&mut self) {
        (self.points, self.qualifying, self.limit) = (0, 0, Some(LimitKind::Control));
    }
}

/// As the contract says that anybody can reckon it.
fn arm(promotion: &v1::Promotion, member: MemberId) -> Option<v1::PromotionArm> {
    let hash = blake3::hash(format!("{}:{member}", promotion.promotion_id).as_bytes());
    let number = u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("eight of them")) % 10_000;
    let mut numbers = (0u64..).zip(promotion.arms.iter().flat_map(|arm| (0..arm.share_basis_points).map(move |_| arm)));
    numbers.find(|(place, _)| *place == number).map(|(_, arm)| arm.clone())
}

/// What is left of each promotion of a sale: points, those that count, and whether anything is.
pub fn left_of(sale: &Sale, there: &There<'_>, shares: &Shares) -> Vec<(i64, i64, bool)> {
    let book = &sale.book;
    let left = |one: &Promoted| {
        let promotion = &book.document.promotions[one.place];
        let now = there.matching(promotion);
        if (one.points == 0 && one.voucher.is_none()) || !there.is_enough(book, promotion, &now) {
            return (0, 0, false);
        }
        let then = one.lines.clone().unwrap_or_default();
        let (points, counts) = gives(book, promotion, there, shares, (&then, &now));
        let points = points.min(one.points);
        (points, counts.min(one.qualifying), points > 0 || one.voucher.is_some())
    };
    sale.earned.promoted.iter().map(left).collect()
}

impl Act<'_> {
    /// What the promotions of a sale have given is counted, and their vouchers are issued.
    pub fn collect_promoted(&mut self, book: &Arc<Book>, earned: &mut Earned, time: Timestamp) {
        let (day, sale) = (book.date(time), self.account.own(self.account.sequence));
        self.forget_promoted();
        let mut potted = Vec::new();
        for one in &mut earned.promoted {
            let promotion = &book.document.promotions[one.place];
            let limits = promotion.limits.clone().unwrap_or_default();
            let kind = match &promotion.effect {
                Some(Effect::VoucherKindId(kind)) if one.limit.is_none() => Some(kind.clone()),
                _ => None,
            };
            if one.points == 0 && kind.is_none() {
                continue;
            }
            let key = |period| (promotion.promotion_id.clone(), book.period(day, period));
            if let Some(cap) = &limits.cap {
                self.account.promoted.entry(key(cap.period())).or_default().0 += one.points;
            }
            if let Some((_, period)) = offers::times(book, promotion) {
                self.account.promoted.entry(key(period)).or_default().1 += 1;
            }
            let days = [(!limits.daily_cap_points.is_empty()).then_some(Some(day)), (!limits.budget_points.is_empty()).then_some(None)];
            for day in days.into_iter().flatten().filter(|_| one.points > 0) {
                let key = (promotion.promotion_id.clone(), day);
                *self.pot.entry(key.clone()).or_default() += one.points;
                potted.push((key, one.points));
            }
            if let Some(kind) = kind {
                one.voucher = Some(self.account.own(self.account.sequence + 1));
                let id = promotion.promotion_id.clone();
                self.issue_voucher_as(book, &kind, VoucherCause::Promotion, self.now, |terms| Change::Promoted(terms, id));
            }
        }
        if !potted.is_empty() {
            self.account.potted.insert(sale, potted);
        }
    }

    /// What was counted for ever is forgotten a year after no sale that may still come can have the promotion.
    fn forget_promoted(&mut self) {
        let late = self.books.0.iter().map(|book| book.max_age_days).max().unwrap_or(0);
        let since = days_back(self.now, i64::from(late) + 366);
        let (first, later) = (self.books.at(since), self.books.0.iter().chain(&self.books.2).filter(|book| book.since > since));
        let may_give = |id: &str| {
            let mut all = [first].into_iter().chain(later.clone()).chain([self.books.newest()]).flat_map(|book| &book.document.promotions);
            let is_over = |promotion: &v1::Promotion| promotion.end_time.as_ref().is_some_and(|end| end.seconds <= since.as_second());
            all.any(|promotion| promotion.promotion_id == id && !is_over(promotion))
        };
        let over = self.account.promoted.keys().filter(|(id, start)| start.is_none() && !may_give(id)).cloned().collect::<Vec<_>>();
        for key in over {
            self.account.promoted.remove(&key);
        }
    }

    /// What comes back leaves room; vouchers go whose promotion has lost its condition.
    pub fn lose_promoted(&mut self, sale: &Sale, before: &[(i64, i64, bool)], after: &[(i64, i64, bool)]) {
        let (book, day) = (&sale.book, sale.book.date(sale.occurred_time));
        let id = sale.entry;
        for (one, (before, after)) in sale.earned.promoted.iter().zip(before.iter().zip(after)) {
            let promotion = &book.document.promotions[one.place];
            let limits = promotion.limits.clone().unwrap_or_default();
            let taken = before.0 - after.0;
            let mut is_gone = before.2 && !after.2;
            if let Some(issued) = one.voucher.filter(|_| is_gone) {
                let voucher = &self.account.vouchers[&issued];
                is_gone = voucher.is_live() && voucher.hold.is_none();
                match is_gone {
                    true => self.cancel_voucher(issued),
                    false => self.lose_later(issued),
                }
            }
            let key = |period| (promotion.promotion_id.clone(), book.period(day, period));
            if let Some(count) = limits.cap.as_ref().and_then(|cap| self.account.promoted.get_mut(&key(cap.period()))) {
                count.0 = (count.0 - taken).max(0);
            }
            let times = offers::times(book, promotion);
            if let Some(count) = times.and_then(|(_, period)| self.account.promoted.get_mut(&key(period))) {
                count.1 -= i64::from(is_gone && count.1 > 0);
            }
            for (key, points) in self.account.potted.get_mut(&id).into_iter().flatten() {
                if key.0 == promotion.promotion_id {
                    *points -= taken;
                    *self.pot.entry(key.clone()).or_default() -= taken;
                }
            }
        }
    }

    pub fn join_promoted(&mut self, old: &Account) {
        self.account.purchases += old.purchases;
        for (key, (points, times)) in &old.promoted {
            let count = self.account.promoted.entry(key.clone()).or_default();
            *count = (count.0 + points, count.1 + times);
        }
        self.account.potted.extend(old.potted.iter().map(|(sale, parts)| (*sale, parts.clone())));
    }
}

/// Units of a line of the purchase as it was sold.
pub fn sold_units(purchase: &Purchase, line: usize) -> i128 {
    purchase.lines.get(line).map_or(0, |goods| units(goods.quantity, 3))
}
