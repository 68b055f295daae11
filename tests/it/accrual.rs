//! What a purchase earns: basis, kinds of rules, filters, limits, rounding, combination, tiers and lots, told as small tables.

use std::sync::Arc;

use jiff::Timestamp;
use loyaltyd::{
    contract::{program, rule_book},
    domain::{
        Accrual, Adjustment, Award, Command, Context, Decision, Entry, EntryKind, Header, Line, LineKind, MAX_AWARD_LINES, Member,
        MemberId, MemberKey, OrderId, OrderKey, Person, Program, ProgramHistory, Purchase, Rejection, StoreId, Tender, TenderKind,
        TooComplex, decide,
    },
};
use rust_decimal::Decimal;

use crate::support::histories::history;

/// A rule book in US dollars and New York time, with these fields besides. Whole points, floor, by rule, unless it says otherwise.
pub fn rule_book_with(fields: &str) -> Program {
    let mut text = String::from("program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\n");
    if !fields.contains("\ntime_zone:") {
        text.push_str("time_zone: America/New_York\n");
    }
    if !fields.contains("\nrounding:") {
        text.push_str("rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }\n");
    }
    text.push_str(fields);
    let document = rule_book::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    program::parse(&document, 1, Timestamp::UNIX_EPOCH).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"))
}

pub fn dec(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

pub fn line(amount: &str) -> Line {
    Line {
        sku: String::new(),
        category: String::new(),
        labels: Vec::new(),
        quantity: Decimal::ONE,
        amount: dec(amount),
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        kind: LineKind::Goods,
    }
}

pub fn goods(sku: &str, category: &str, quantity: &str, amount: &str) -> Line {
    Line { sku: sku.into(), category: category.into(), quantity: dec(quantity), ..line(amount) }
}

/// A purchase whose total is what its lines come to.
pub fn purchase(lines: Vec<Line>) -> Purchase {
    total(Purchase {
        order: None,
        occurred_time: None,
        channel: String::new(),
        lines,
        order_discount: Decimal::ZERO,
        prices_include_tax: false,
        shipping: Decimal::ZERO,
        tip: Decimal::ZERO,
        total: Decimal::ZERO,
        tenders: Vec::new(),
        labels: Vec::new(),
        payments: Vec::new(),
        offline: false,
        vouchers: Vec::new(),
        codes: Vec::new(),
        apply_effects: false,
        own_discounts: None,
        quote: None,
    })
}

pub fn total(mut purchase: Purchase) -> Purchase {
    let lines: Decimal = purchase.lines.iter().map(|line| line.amount - line.discount).sum();
    let tax: Decimal = if purchase.prices_include_tax { Decimal::ZERO } else { purchase.lines.iter().map(|line| line.tax).sum() };
    purchase.total = lines + tax - purchase.order_discount + purchase.shipping + purchase.tip;
    assert!(purchase.check().is_ok(), "{purchase:?}");
    purchase
}

/// A member of a programme, and the clock.
pub struct Shop {
    pub programs: ProgramHistory,
    pub member: Member,
    pub now: Timestamp,
    pub entries: Vec<Entry>,
}

impl Shop {
    /// With a member who has just enrolled.
    pub fn open(program: Program) -> Self {
        let now = at("2026-03-10T15:00:00Z");
        let key = MemberKey { program: program.id.clone(), member: MemberId([7; 16]) };
        let member = Member::bare(key, Header::new(now));
        let mut shop = Self { programs: ProgramHistory::new(Arc::new(program)), member, now, entries: Vec::new() };
        shop.does(&Command::Enroll { person: Person::default() }).expect("anyone can enrol");
        shop
    }

    pub fn decide(&self, command: &Command) -> Result<Decision, Rejection> {
        decide(
            Context {
                programs: &self.programs,
                now: self.now,
                request: None,
                actor: None,
                principal: None,
                operator: None,
                history: &history(&self.entries, command),
            },
            self.member.clone(),
            command,
        )
    }

    pub fn does(&mut self, command: &Command) -> Result<Vec<Entry>, Rejection> {
        let decision = self.decide(command)?;
        self.member = decision.member;
        self.entries.extend(decision.entries.iter().cloned());
        Ok(decision.entries)
    }

    pub fn buys(&mut self, purchase: Purchase) -> Accrual {
        let entries = self.does(&Command::RecordPurchase(Arc::new(purchase))).expect("the purchase is taken");
        let accrued = entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::PurchaseAccrued(accrued) => Some(accrued.accrual.clone()),
            _ => None,
        });
        accrued.expect("a purchase makes an accrual")
    }

    pub fn tier(&self) -> &str {
        self.member.header.tier.current().map_or("", |held| held.tier.as_str())
    }
}

fn award<'a>(accrual: &'a Accrual, rule: &str) -> &'a Award {
    accrual.awards.iter().find(|award| award.rule.as_str() == rule).unwrap_or_else(|| panic!("{rule} in {accrual:#?}"))
}

/// "rule=points" of each award, in order.
fn summary(accrual: &Accrual) -> String {
    let awards: Vec<String> = accrual.awards.iter().map(|award| format!("{}={}", award.rule, award.points)).collect();
    awards.join(" ")
}

/// What a new member's purchases earn, one after the other: "rule=points rule=points" for each.
#[track_caller]
fn check(fields: &str, purchases: Vec<Purchase>, expected: &[&str]) {
    let mut shop = Shop::open(rule_book_with(fields));
    let found: Vec<String> = purchases.into_iter().map(|purchase| summary(&shop.buys(purchase))).collect();
    assert_eq!(found, expected, "{fields}");
    for entry in &shop.entries {
        let EntryKind::PurchaseAccrued(accrued) = &entry.kind else { continue };
        check_sums(&accrued.accrual);
    }
}

/// What every accrual keeps: awards, lines and lots agree.
#[track_caller]
pub fn check_sums(accrual: &Accrual) {
    let awards: i64 = accrual.awards.iter().map(|award| award.points.0).sum();
    let lots: i64 = accrual.lots.iter().map(|lot| lot.points.0).sum();
    assert_eq!((accrual.points.0, accrual.points.0), (awards, lots), "{accrual:#?}");
    for award in &accrual.awards {
        let lines: i64 = award.lines.iter().map(|line| line.points.0).sum();
        assert_eq!(lines, award.points.0, "{award:#?}");
        assert_eq!(award.lines.iter().map(|line| line.basis).sum::<Decimal>(), award.basis, "{award:#?}");
        assert_eq!(award.lot.is_some(), award.points.0 > 0);
    }
    for lot in &accrual.lots {
        let held: i64 = accrual.awards.iter().filter(|award| award.lot == Some(lot.id)).map(|award| award.points.0).sum();
        assert_eq!((lot.points.0, lot.points.0 > 0), (held, true));
        assert!(accrual.awards.iter().all(|award| award.lot != Some(lot.id) || award.expiry == lot.expiry));
    }
    assert_eq!(accrual.basis, accrual.line_bases.iter().map(|line| line.basis).sum::<Decimal>());
}

/// What one line of this amount, and one after it, ... earn under rules alone.
#[track_caller]
fn check_amounts(fields: &str, amounts: &[&str], expected: &[&str]) {
    check(fields, amounts.iter().map(|amount| purchase(vec![line(amount)])).collect(), expected);
}

#[test]
fn points_per_amount() {
    let blocks = "accrual_rules: [{ rule_id: r, per_amount: { amount: 10, points: 3, whole_blocks: true } }]";
    check_amounts(blocks, &["9.99", "10", "19.99", "20", "0"], &["r=0", "r=3", "r=3", "r=6", ""]);
    let parts = "accrual_rules: [{ rule_id: r, per_amount: { amount: 10, points: 3 } }]";
    check_amounts(parts, &["9.99", "10", "19.99", "3.33", "3.34"], &["r=2", "r=3", "r=5", "r=0", "r=1"]);
    let cents = "points_precision: 2\naccrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]";
    check_amounts(cents, &["9.99", "0.01"], &["r=999", "r=1"]);
    let half = "points_precision: 1\naccrual_rules: [{ rule_id: r, per_amount: { amount: 3, points: 0.5 } }]";
    check_amounts(half, &["3", "5.99", "6"], &["r=5", "r=9", "r=10"]);
}

#[test]
fn whole_blocks_count_where_the_rule_rounds() {
    let rule = "accrual_rules: [{ rule_id: r, per_amount: { amount: 10, points: 1, whole_blocks: true } }]";
    let basket = || purchase(vec![line("19.99"), line("15.01")]);
    check(rule, vec![basket()], &["r=3"]);
    let by_line = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_LINE, fraction: FRACTION_DROP }\n";
    check(&format!("{by_line}{rule}"), vec![basket()], &["r=2"]);
    let by_order = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_ORDER, fraction: FRACTION_DROP }\n";
    check(&format!("{by_order}{rule}"), vec![basket()], &["r=3"]);
}

#[test]
fn points_per_unit_order_and_product() {
    let basket = || {
        purchase(vec![
            goods("a", "tea", "2", "4"),
            goods("a", "tea", "0.5", "1"),
            goods("b", "tea", "3", "0"),
            goods("", "bags", "1", "0.1"),
            goods("c", "tea", "0", "0"),
        ])
    };
    check("accrual_rules: [{ rule_id: r, per_unit: { points: 2 } }]", vec![basket()], &["r=13"]);
    check("accrual_rules: [{ rule_id: r, per_unit: { points: 2 }, filter: { skus: [a] } }]", vec![basket()], &["r=5"]);
    check("accrual_rules: [{ rule_id: r, per_order: { points: 5 } }]", vec![basket(), basket()], &["r=5", "r=5"]);
    check("accrual_rules: [{ rule_id: r, per_order: { points: 5 }, filter: { skus: [z] } }]", vec![basket()], &[""]);
    check("accrual_rules: [{ rule_id: r, per_product: { points: 10 } }]", vec![basket()], &["r=30"]);
    check("accrual_rules: [{ rule_id: r, per_product: { points: 10 }, filter: { categories: [bags] } }]", vec![basket()], &[""]);
}

#[test]
fn the_basis_is_what_was_paid_for_goods() {
    let rule = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 100 } }]";
    let discounted = || {
        let lines = vec![Line { discount: dec("10"), ..line("40") }, line("30"), line("30")];
        total(Purchase { order_discount: dec("10"), ..purchase(lines) })
    };
    let accrual = Shop::open(rule_book_with(rule)).buys(discounted());
    assert_eq!(accrual.basis, dec("80"));
    let shares: Vec<String> = accrual.line_bases.iter().map(|line| line.order_discount_share.to_string()).collect();
    assert_eq!(shares, ["3.34", "3.33", "3.33"]);

    let taxed = |inside| {
        let lines = vec![Line { tax: dec("2"), ..line("12") }];
        total(Purchase { prices_include_tax: inside, shipping: dec("5"), tip: dec("1"), ..purchase(lines) })
    };
    let gift = || purchase(vec![line("10"), Line { kind: LineKind::GiftCard, ..line("50") }]);
    check(rule, vec![taxed(true), taxed(false), gift()], &["r=1000", "r=1200", "r=1000"]);
    let basis = |policy: &str| format!("basis: {{ {policy} }}\n{rule}");
    check(&basis("include_tax: true"), vec![taxed(true), taxed(false)], &["r=1200", "r=1400"]);
    check(&basis("include_shipping: true"), vec![taxed(true)], &["r=1500"]);
    check(&basis("include_tips: true"), vec![taxed(true)], &["r=1100"]);
    check(&basis("include_gift_cards: true"), vec![gift()], &["r=6000"]);
    check("accrual_rules: [{ rule_id: r, per_order: { points: 1 } }]", vec![purchase(vec![gift().lines[1].clone()])], &[""]);
}

#[test]
fn points_and_vouchers_pay_for_their_share_of_all() {
    let rule = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 100 } }]";
    let tender = |kind, amount: &str| Tender { kind, amount: dec(amount) };
    let paid = |tenders| {
        let taxed = Line { tax: dec("20"), ..line("60") };
        Purchase { tenders, ..total(Purchase { prices_include_tax: true, shipping: dec("20"), ..purchase(vec![taxed, line("20")]) }) }
    };
    // Half of all was paid with points: half of 40 + 20 dollars of goods earns.
    let half = || paid(vec![tender(TenderKind::Points, "30"), tender(TenderKind::Voucher, "20"), tender(TenderKind::Cash, "50")]);
    check(rule, vec![half()], &["r=3000"]);
    check(&format!("basis: {{ include_points_and_vouchers: true }}\n{rule}"), vec![half()], &["r=6000"]);
    check(&format!("basis: {{ include_tax: true, include_shipping: true }}\n{rule}"), vec![half()], &["r=5000"]);
    check(rule, vec![paid(vec![tender(TenderKind::Points, "100")]), paid(vec![tender(TenderKind::GiftCard, "100")])], &["", "r=6000"]);
    let third = total(purchase(vec![line("1"), line("1"), line("1")]));
    let third = Purchase { tenders: vec![tender(TenderKind::Points, "1"), tender(TenderKind::Cash, "2")], ..third };
    let accrual = Shop::open(rule_book_with(rule)).buys(third);
    let shares: Vec<String> = accrual.line_bases.iter().map(|line| line.tender_share.to_string()).collect();
    assert_eq!((accrual.points.0, shares), (200, vec!["0.34".to_owned(), "0.33".to_owned(), "0.33".to_owned()]));
}

#[test]
fn filters_choose_purchases_and_lines() {
    let basket = || {
        let mut lines = vec![goods("a", "tea", "1", "10"), goods("b", "coffee", "1", "20"), goods("c", "", "1", "40")];
        lines[2].labels = vec!["new".into()];
        let order = OrderKey { store: StoreId::new("s1").expect("an id"), order: OrderId::new("o1").expect("an id") };
        let tenders = vec![Tender { kind: TenderKind::Card, amount: dec("70") }, Tender { kind: TenderKind::Cash, amount: dec("0") }];
        // A Friday in New York, 22:30; in UTC it is Saturday already.
        let occurred_time = Some(at("2026-03-07T03:30:00Z"));
        let labels = vec!["app-week".into()];
        Purchase { order: Some(order), channel: "web".into(), tenders, occurred_time, labels, ..purchase(lines) }
    };
    let table = [
        ("skus: [a, c]", "r=50"),
        ("categories: [tea, coffee]", "r=30"),
        ("excluded_skus: [a]", "r=60"),
        ("excluded_categories: [coffee]", "r=50"),
        ("categories: [tea, coffee], excluded_skus: [b]", "r=10"),
        ("labels: [new]", "r=40"),
        ("labels: [app-week]", "r=70"),
        ("excluded_labels: [new]", "r=30"),
        ("excluded_labels: [app-week]", ""),
        ("store_ids: [s1, s2]", "r=70"),
        ("store_ids: [s2]", ""),
        ("channels: [web]", "r=70"),
        ("channels: [pos]", ""),
        ("tenders: [KIND_CARD]", "r=70"),
        ("tenders: [KIND_CASH, KIND_STORE_CARD]", ""),
        ("weekdays: [WEEKDAY_FRIDAY]", "r=70"),
        ("weekdays: [WEEKDAY_SATURDAY]", ""),
        ("hours: [{ start_hour: 22, end_hour: 2 }]", "r=70"),
        ("hours: [{ start_hour: 0, end_hour: 22 }, { start_hour: 23, end_hour: 24 }]", ""),
        ("hours: [{ start_hour: 22, end_hour: 23 }]", "r=70"),
        ("minimum_order: 70", "r=70"),
        ("minimum_order: \"70.01\"", ""),
        ("skus: [a], minimum_order: 70", "r=10"),
    ];
    for (filter, expected) in table {
        let rule = format!("accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }}, filter: {{ {filter} }} }}]");
        check(&rule, vec![basket()], &[expected]);
    }
    // Shipping earns for rules that ask for no goods.
    let ship = || total(Purchase { shipping: dec("5"), ..purchase(vec![goods("a", "tea", "1", "10")]) });
    let rule = |filter: &str| {
        format!("basis: {{ include_shipping: true }}\naccrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }}{filter} }}]")
    };
    check(&rule(""), vec![ship()], &["r=15"]);
    check(&rule(", filter: { categories: [tea] }"), vec![ship()], &["r=10"]);
    check(&rule(", filter: { excluded_categories: [tea] }"), vec![ship()], &["r=5"]);
}

#[test]
fn limits_bound_an_award() {
    let rule = |limits: &str| format!("accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }}, limits: {{ {limits} }} }}]");
    check_amounts(&rule("minimum_points: 5"), &["3", "0.5", "7"], &["r=5", "r=0", "r=7"]);
    check_amounts(&rule("maximum_points: 5"), &["3", "7"], &["r=3", "r=5"]);
    check_amounts(&rule("cap: { points: 10, period: PERIOD_LIFETIME }"), &["7", "7", "7"], &["r=7", "r=3", "r=0"]);
    check_amounts(&rule("once_per_member: true"), &["0.5", "7", "8"], &["r=0", "r=7", "r=0"]);
    let both = rule("once_per_member: true, cap: { points: 5, period: PERIOD_DAY }");
    check_amounts(&both, &["7", "8"], &["r=5", "r=0"]);

    let mut shop = Shop::open(rule_book_with(&rule("maximum_points: 8, cap: { points: 10, period: PERIOD_DAY }")));
    let accruals = [shop.buys(purchase(vec![line("9")])), shop.buys(purchase(vec![line("4"), line("2")]))];
    let told: Vec<_> = accruals.iter().map(|accrual| (award(accrual, "r").uncapped_points.0, award(accrual, "r").limit)).collect();
    use loyaltyd::domain::LimitKind;
    assert_eq!(told, [(9, Some(LimitKind::Maximum)), (6, Some(LimitKind::Cap))]);
    // 2 points of 6 are left, by largest remainder over 4 and 2 dollars.
    let lines: Vec<i64> = award(&accruals[1], "r").lines.iter().map(|line| line.points.0).collect();
    assert_eq!(lines, [1, 1]);
}

#[test]
fn caps_count_by_civil_period_and_are_dropped_when_no_sale_can_need_them() {
    let rule =
        "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 }, limits: { cap: { points: 10, period: PERIOD_WEEK } } }]";
    let mut shop = Shop::open(rule_book_with(&format!("purchase_time: {{ max_age_days: 14 }}\n{rule}")));
    let mut buy_at = |instant: &str| {
        let sale = Purchase { occurred_time: Some(at(instant)), ..purchase(vec![line("7")]) };
        shop.now = shop.now.max(at(instant));
        let points = shop.buys(sale).points.0;
        (points, shop.member.header.counters.len())
    };
    // Sunday 8 March 2026 ends in New York at 04:00 UTC, since daylight saving time begins that day.
    assert_eq!(buy_at("2026-03-06T12:00:00Z"), (7, 1));
    assert_eq!(buy_at("2026-03-09T03:59:59Z"), (3, 1));
    assert_eq!(buy_at("2026-03-09T04:00:00Z"), (7, 2));
    // Late, in the week that is used up.
    assert_eq!(buy_at("2026-03-08T12:00:00Z"), (0, 2));
    assert_eq!(buy_at("2026-03-23T12:00:00Z"), (7, 3));
    // Sales of the first week are too old from 23 March on; its counter goes a day later.
    assert_eq!(buy_at("2026-03-24T12:00:00Z"), (3, 2));
}

#[test]
fn fractions_are_rounded_at_their_stage() {
    let rules = |mode: &str, stage: &str| {
        format!(
            "\nrounding: {{ mode: {mode}, stage: {stage}, fraction: FRACTION_DROP }}\naccrual_rules:\n- {{ rule_id: a, per_amount: {{ amount: \
             1, points: 0.5 }} }}\n- {{ rule_id: b, per_amount: {{ amount: 1, points: 0.25 }} }}\n"
        )
    };
    // a: 0.5 + 1.5 = 2, b: 0.25 + 0.75 = 1
    let basket = || vec![purchase(vec![line("1"), line("3")])];
    check(&rules("MODE_FLOOR", "STAGE_LINE"), basket(), &["a=1 b=0"]);
    check(&rules("MODE_HALF_UP", "STAGE_LINE"), basket(), &["a=3 b=1"]);
    check(&rules("MODE_HALF_EVEN", "STAGE_LINE"), basket(), &["a=2 b=1"]);
    check(&rules("MODE_CEILING", "STAGE_LINE"), basket(), &["a=3 b=2"]);
    check(&rules("MODE_FLOOR", "STAGE_RULE"), basket(), &["a=2 b=1"]);
    // a: 1.5, b: 0.75; together 2.25, shared by 1.5 and 0.75: 1.33 and 0.67
    let three = || vec![purchase(vec![line("3")])];
    check(&rules("MODE_FLOOR", "STAGE_RULE"), three(), &["a=1 b=0"]);
    check(&rules("MODE_FLOOR", "STAGE_ORDER"), three(), &["a=1 b=1"]);
    check(&rules("MODE_CEILING", "STAGE_ORDER"), three(), &["a=2 b=1"]);
}

#[test]
fn fractions_are_carried_to_the_next_purchase() {
    let rules = |stage: &str| {
        format!(
            "\nrounding: {{ mode: MODE_FLOOR, stage: {stage}, fraction: FRACTION_CARRY }}\naccrual_rules:\n- {{ rule_id: a, per_amount: {{ \
             amount: 3, points: 1 }} }}\n- {{ rule_id: b, per_amount: {{ amount: 2, points: 1 }} }}\n"
        )
    };
    let ones = ["1", "1", "1", "1", "1", "1"];
    check_amounts(&rules("STAGE_RULE"), &ones, &["a=0 b=0", "a=0 b=1", "a=1 b=0", "a=0 b=1", "a=0 b=0", "a=1 b=1"]);
    check_amounts(&rules("STAGE_LINE"), &ones, &["a=0 b=0", "a=0 b=1", "a=1 b=0", "a=0 b=1", "a=0 b=0", "a=1 b=1"]);
    // 5/6 a dollar: 0.83, 1.67, 2.5, 3.33, 4.17, 5
    check_amounts(&rules("STAGE_ORDER"), &ones, &["a=0 b=0", "a=0 b=1", "a=0 b=1", "a=0 b=1", "a=0 b=1", "a=0 b=1"]);
    let mut shop = Shop::open(rule_book_with(&rules("STAGE_RULE")));
    let first = shop.buys(purchase(vec![line("1")]));
    let step = &award(&first, "a").roundings[0];
    assert_eq!((step.exact, step.carried_in, step.carried_out), (dec("0.333333333333"), Decimal::ZERO, dec("0.333333333334")));
    shop.buys(purchase(vec![line("1")]));
    shop.buys(purchase(vec![line("4")]));
    assert_eq!(shop.member.header.carries.len(), 1, "0 is not kept: {:?}", shop.member.header.carries);
}

#[test]
fn a_rule_may_round_and_lapse_in_its_own_way() {
    let rules = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_ORDER, fraction: FRACTION_DROP }\n\
        expiry: { end_of_period: { period: CALENDAR_PERIOD_YEAR } }\naccrual_rules:\n\
        - { rule_id: a, per_amount: { amount: 2, points: 1 } }\n\
        - { rule_id: b, per_amount: { amount: 2, points: 1 }, expiry: { never: {} } }\n\
        - { rule_id: c, per_amount: { amount: 2, points: 1 }, rounding: { mode: MODE_CEILING, stage: STAGE_RULE, fraction: FRACTION_DROP } }\n";
    let mut shop = Shop::open(rule_book_with(rules));
    let accrual = shop.buys(purchase(vec![line("3")]));
    check_sums(&accrual);
    assert_eq!(summary(&accrual), "a=2 b=1 c=2");
    let lots: Vec<_> = accrual.lots.iter().map(|lot| (lot.id.0, lot.points.0, lot.expiry.time())).collect();
    assert_eq!(lots, [(1, 4, Some(at("2027-01-01T05:00:00Z"))), (2, 1, None)]);
    assert_eq!(shop.buys(purchase(vec![line("3")])).lots[0].id.0, 3);
}

#[test]
fn rules_that_match_together_combine() {
    let rules = |combination: &str| {
        format!(
            "combination: {combination}\naccrual_rules:\n\
             - {{ rule_id: all, priority: 20, per_amount: {{ amount: 1, points: 1 }} }}\n\
             - {{ rule_id: tea, priority: 10, per_amount: {{ amount: 2, points: 1 }}, filter: {{ categories: [tea] }} }}\n\
             - {{ rule_id: new, priority: 30, per_product: {{ points: 15 }}, filter: {{ categories: [new] }} }}\n\
             - {{ rule_id: visit, priority: 2, per_order: {{ points: 5 }} }}\n\
             - {{ rule_id: big, priority: 3, per_order: {{ points: 50 }}, filter: {{ minimum_order: 30 }} }}\n"
        )
    };
    let basket = || vec![purchase(vec![goods("t", "tea", "1", "10"), goods("n", "new", "1", "10"), goods("n", "new", "1", "20")])];
    check(&rules("COMBINATION_SUM"), basket(), &["all=40 tea=5 new=15 visit=5 big=50"]);
    check(&rules("COMBINATION_EXCLUSIVE"), basket(), &["all=30 tea=5 visit=5"]);
    // The second line of the product would give nothing more for it.
    check(&rules("COMBINATION_BEST"), basket(), &["all=30 new=15 big=50"]);
    let small = vec![purchase(vec![goods("t", "tea", "1", "10")])];
    check(&rules("COMBINATION_BEST"), small, &["all=10 visit=5"]);
}

const TIERS: &str = "tiers:\n- { tier_id: base }\n- { tier_id: silver, threshold: { qualifying_points: 100 }, multiplier: 2 }\n\
    - { tier_id: gold, threshold: { qualifying_points: 1000, visits: 5 }, multiplier: \"2.5\" }\n";

#[test]
fn tiers_multiply_and_are_reached_at_once() {
    let rules = "accrual_rules:\n- { rule_id: r, per_amount: { amount: 1, points: 1 } }\n\
        - { rule_id: plain, per_order: { points: 3 }, without_tier_multiplier: true, without_qualifying: true }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{TIERS}{rules}")));
    let mut buy = |amount: &str| {
        let accrual = shop.buys(purchase(vec![line(amount)]));
        check_sums(&accrual);
        (summary(&accrual), accrual.qualifying_points.0, shop.tier().to_owned())
    };
    assert_eq!(buy("99"), ("r=99 plain=3".into(), 99, "".into()));
    assert_eq!(buy("10"), ("r=10 plain=3".into(), 10, "silver".into()));
    assert_eq!(buy("10"), ("r=20 plain=3".into(), 20, "silver".into()));
    assert_eq!(buy("1"), ("r=2 plain=3".into(), 2, "silver".into()));
    assert_eq!(buy("1"), ("r=2 plain=3".into(), 2, "gold".into()));
    assert_eq!(buy("3"), ("r=7 plain=3".into(), 7, "gold".into()));
    let mut jump = Shop::open(rule_book_with(&format!("{TIERS}{rules}")));
    jump.buys(purchase(vec![line("1000")]));
    assert_eq!(jump.tier(), "gold");
    assert_eq!(jump.member.header.tier.history.len(), 1);
}

#[test]
fn the_rate_may_be_that_of_the_tier_reached_and_qualifying_that_of_none() {
    let rules = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\n";
    let policy = "tier_policy: { rate_tier: RATE_TIER_AFTER, qualifying_basis: QUALIFYING_BASIS_UNMULTIPLIED }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{TIERS}{policy}{rules}")));
    let first = shop.buys(purchase(vec![line("99")]));
    let second = shop.buys(purchase(vec![line("10")]));
    assert_eq!([summary(&first), summary(&second)], ["r=99", "r=20"]);
    assert_eq!((second.qualifying_points.0, shop.member.header.lifetime.qualifying_points.0), (10, 109));
    assert_eq!(second.tier.as_ref().map(|tier| tier.as_str()), Some("silver"));
}

#[test]
fn a_late_sale_earns_at_the_tier_of_its_day() {
    let rules = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\n";
    let mut shop = Shop::open(rule_book_with(&format!("{TIERS}{rules}")));
    shop.buys(purchase(vec![line("100")]));
    assert_eq!(shop.tier(), "silver");
    let late = Purchase { occurred_time: Some(at("2026-03-09T15:00:00Z")), ..purchase(vec![line("10")]) };
    assert_eq!(shop.buys(late).points.0, 10);
    assert_eq!(shop.buys(purchase(vec![line("10")])).points.0, 20);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let rule = "accrual_rules: [{ rule_id: r, per_amount: { amount: 0.01, points: 999999999 } }]";
    let mut shop = Shop::open(rule_book_with(rule));
    let before = shop.member.clone();
    let huge = purchase(vec![line("999999999999999.99")]);
    assert_eq!(shop.does(&Command::RecordPurchase(Arc::new(huge))), Err(Rejection::Overflow));
    assert_eq!(shop.member, before);
}

#[test]
fn points_lapse_at_the_end_of_a_civil_day() {
    let table = [
        ("never: {}", "2026-03-10T15:00:00Z", None),
        // 8 March 2026 has 23 hours, 1 November 25.
        ("after: { days: 1 }", "2026-03-07T12:00:00Z", Some("2026-03-09T04:00:00Z")),
        ("after: { days: 1 }", "2026-03-08T04:59:59Z", Some("2026-03-09T04:00:00Z")),
        ("after: { days: 1 }", "2026-03-08T05:00:00Z", Some("2026-03-10T04:00:00Z")),
        ("after: { months: 1 }", "2026-01-31T12:00:00Z", Some("2026-03-01T05:00:00Z")),
        ("after: { months: 1 }", "2024-01-31T12:00:00Z", Some("2024-03-01T05:00:00Z")),
        ("end_of_period: { period: CALENDAR_PERIOD_MONTH }", "2026-10-31T12:00:00Z", Some("2026-11-01T04:00:00Z")),
        ("end_of_period: { period: CALENDAR_PERIOD_MONTH, additional_periods: 13 }", "2026-10-31T12:00:00Z", Some("2027-12-01T05:00:00Z")),
        ("end_of_period: { period: CALENDAR_PERIOD_QUARTER }", "2026-05-31T12:00:00Z", Some("2026-07-01T04:00:00Z")),
        ("end_of_period: { period: CALENDAR_PERIOD_HALF_YEAR }", "2026-07-01T12:00:00Z", Some("2027-01-01T05:00:00Z")),
        ("end_of_period: { period: CALENDAR_PERIOD_YEAR, additional_periods: 1 }", "2026-01-01T04:00:00Z", Some("2027-01-01T05:00:00Z")),
        ("fixed_date: { month: 3, day: 31 }", "2026-03-30T12:00:00Z", Some("2026-04-01T04:00:00Z")),
        ("fixed_date: { month: 3, day: 31 }", "2026-03-31T12:00:00Z", Some("2027-04-01T04:00:00Z")),
        ("fixed_date: { month: 3, day: 31, minimum_days: 90 }", "2025-12-30T12:00:00Z", Some("2026-04-01T04:00:00Z")),
        ("fixed_date: { month: 3, day: 31, minimum_days: 90 }", "2025-12-31T12:00:00Z", Some("2027-04-01T04:00:00Z")),
        ("fixed_date: { month: 2, day: 29 }", "2026-02-27T12:00:00Z", Some("2026-03-01T05:00:00Z")),
        ("fixed_date: { month: 2, day: 29 }", "2028-02-28T12:00:00Z", Some("2028-03-01T05:00:00Z")),
    ];
    for (policy, earned, expected) in table {
        check_expiry("America/New_York", policy, earned, expected);
    }
    // A day that begins at 01:00 begins there; one that the zone left out begins with the next.
    check_expiry("America/Sao_Paulo", "after: { days: 1 }", "2017-10-13T12:00:00Z", Some("2017-10-15T03:00:00Z"));
    check_expiry("Pacific/Apia", "after: { days: 1 }", "2011-12-28T12:00:00Z", Some("2011-12-30T10:00:00Z"));
    check_expiry("Asia/Ho_Chi_Minh", "after: { days: 1 }", "2026-03-10T17:00:00Z", Some("2026-03-12T17:00:00Z"));
}

#[track_caller]
fn check_expiry(zone: &str, policy: &str, earned: &str, expected: Option<&str>) {
    let fields = format!(
        "\ntime_zone: {zone}\nexpiry: {{ {policy} }}\npurchase_time: {{ max_age_days: 36500 }}\naccrual_rules: [{{ rule_id: r, per_order: {{ \
         points: 1 }} }}]\n"
    );
    let mut shop = Shop::open(rule_book_with(&fields));
    shop.now = at(earned);
    assert_eq!(shop.buys(purchase(vec![line("1")])).lots[0].expiry.time(), expected.map(at), "{policy} earned {earned}");
}

#[test]
fn adjustments_take_what_lapses_soonest() {
    let rules = "expiry: { after: { days: 10 } }\naccrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\n";
    let mut shop = Shop::open(rule_book_with(rules));
    shop.buys(purchase(vec![line("10")]));
    let late = Purchase { occurred_time: Some(at("2026-03-09T15:00:00Z")), ..purchase(vec![line("5")]) };
    shop.buys(late);
    let take = |points| {
        Command::AdjustPoints(Adjustment {
            points: loyaltyd::domain::Points(points),
            qualifying: false,
            reason: "mistake".into(),
            reference: String::new(),
            expiry: None,
        })
    };
    let entries = shop.does(&take(-7)).expect("15 are there");
    let EntryKind::PointsAdjusted(adjusted) = &entries[0].kind else { panic!("{entries:?}") };
    let taken: Vec<_> = adjusted.allocations.iter().map(|taken| (taken.lot.id().0, taken.points.0)).collect();
    assert_eq!(taken, [(2, 5), (1, 2)]);
    assert!(matches!(shop.decide(&take(-9)), Err(Rejection::InsufficientPoints { .. })));
}

/// The example rule books, with the currency that they are in.
fn example(text: &str) -> Shop {
    let document = rule_book::read(text).expect("an example can be read");
    Shop::open(program::parse(&document, 1, Timestamp::UNIX_EPOCH).expect("an example has no mistakes"))
}

#[test]
fn the_vietnamese_example_earns_what_it_promises() {
    let mut shop = example(include_str!("../../examples/programs/vietnam.yaml"));
    let mut buy = |amount: &str| {
        let accrual = shop.buys(purchase(vec![line(amount)]));
        (accrual.points.0, shop.tier().to_owned())
    };
    let story = [("9999", 0, ""), ("19999", 1, ""), ("4990000", 499, "silver"), ("35000", 3, "silver"), ("5000000", 500, "gold")];
    for (amount, points, tier) in story {
        assert_eq!(buy(amount), (points, tier.to_owned()), "{amount}");
    }
    assert_eq!(buy("35000"), (3, "gold".to_owned()), "3.75 points are rounded down");
    assert_eq!(buy("24000000"), (3000, "diamond".to_owned()));
    assert_eq!(buy("10000"), (1, "diamond".to_owned()));
    let lapses = shop.member.lots.values().map(|lot| lot.expiry.time());
    assert!(lapses.into_iter().all(|instant| instant == Some(at("2027-12-31T17:00:00Z"))));
}

#[test]
fn the_grocery_example_earns_by_department() {
    let mut shop = example(include_str!("../../examples/programs/grocery.yaml"));
    let accrual = shop.buys(purchase(vec![
        goods("1", "FUEL", "1", "10.01"),
        goods("2", "FUEL", "1", "0.01"),
        goods("3", "PRODUCE", "1.5", "2.99"),
        goods("4", "MISCELLANEOUS", "1", "25.01"),
        goods("5", "COUPON", "1", "1.00"),
        goods("6", "GROCERY", "1", "4.29"),
        goods("7", "", "0", "1.00"),
        goods("8", "DELI", "1", "0"),
    ]));
    check_sums(&accrual);
    assert_eq!(summary(&accrual), "groceries=529 fuel=502 produce=598");
    let of_lines: Vec<(usize, i64)> =
        accrual.awards.iter().flat_map(|award| award.lines.iter().map(|line| (line.line, line.points.0))).collect();
    assert_eq!(of_lines, [(5, 429), (6, 100), (0, 501), (1, 1), (2, 598)]);
}

#[test]
fn the_small_examples_earn_what_they_promise() {
    let mut shop = example(include_str!("../../examples/programs/corner-shop.yaml"));
    let told: Vec<String> = ["2.60", "1.40"].map(|amount| summary(&shop.buys(purchase(vec![line(amount)])))).into();
    assert_eq!(told, ["visit=10 dollars=2", "visit=0 dollars=2"]);
    let mut shop = example(include_str!("../../examples/programs/coffee-club.yaml"));
    let tasting = Line { labels: vec!["coffee-of-the-month".into()], ..goods("house", "", "1", "4") };
    let accrual = shop.buys(Purchase { occurred_time: Some(at("2026-03-10T12:00:00Z")), ..purchase(vec![tasting]) });
    assert_eq!(summary(&accrual), "dollars=4 tasting=20");
    let lapses: Vec<_> = accrual.lots.iter().map(|lot| (lot.points.0, lot.expiry.time())).collect();
    assert_eq!(lapses, [(4, None), (20, Some(at("2026-05-11T07:00:00Z")))]);
    assert_eq!(shop.member.header.inactivity.lapse_time, Some(at("2026-09-11T07:00:00Z")));
    let mut shop = example(include_str!("../../examples/programs/cdnow-import.yaml"));
    let mut buy = |amount: &str, day: &str| {
        let sale = Purchase { occurred_time: Some(at(&format!("{day}T12:00:00Z"))), ..purchase(vec![line(amount)]) };
        (summary(&shop.buys(sale)), shop.tier().to_owned())
    };
    assert_eq!(buy("11.77", "1997-01-01"), ("dollars=11".into(), "".into()));
    assert_eq!(buy("0.00", "1997-01-02"), ("".into(), "".into()));
    assert_eq!(buy("88.23", "1997-01-12"), ("dollars=88".into(), "fan".into()));
    assert_eq!(shop.member.header.lifetime.visits, 3);
}

/// The exact sum of these fractions has a denominator far beyond 128 bits.
#[test]
fn many_different_amounts_are_rounded_together() {
    let primes = [101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199, 211, 223, 227];
    let rules: Vec<String> = primes
        .iter()
        .map(|prime| format!("{{ rule_id: r{prime}, per_amount: {{ amount: {}, points: 1 }} }}", Decimal::new(*prime, 2)))
        .collect();
    let fields =
        format!("\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_ORDER, fraction: FRACTION_DROP }}\naccrual_rules: [{}]\n", rules.join(", "));
    let accrual = Shop::open(rule_book_with(&fields)).buys(purchase(vec![line("1000")]));
    check_sums(&accrual);
    let exact: Decimal = primes.iter().map(|prime| Decimal::from(100_000) / Decimal::from(*prime)).sum();
    assert_eq!(Decimal::from(accrual.points.0), exact.floor());
}

/// A purchase of so many lines under so many rules that each count every line, or none.
fn crowded(lines: usize, rules: usize, filter: &str) -> (Shop, Command) {
    let rules: Vec<String> =
        (0..rules).map(|rule| format!("{{ rule_id: r{rule}, per_amount: {{ amount: 1, points: 1 }}{filter} }}")).collect();
    let by_line = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_LINE, fraction: FRACTION_CARRY }\n";
    let shop = Shop::open(rule_book_with(&format!("{by_line}accrual_rules: [{}]\n", rules.join(", "))));
    let sale = purchase((0..lines).map(|_| goods("sku", "tea", "1", "1.25")).collect());
    (shop, Command::RecordPurchase(Arc::new(sale)))
}

#[test]
fn the_award_lines_of_a_purchase_are_bounded() {
    let (mut shop, command) = crowded(10_000, MAX_AWARD_LINES / 10_000, "");
    let entries = shop.does(&command).expect("as many as are allowed");
    let EntryKind::PurchaseAccrued(accrued) = &entries[0].kind else { panic!("not a purchase") };
    check_sums(&accrued.accrual);
    assert_eq!(accrued.accrual.awards.iter().map(|award| award.lines.len()).sum::<usize>(), MAX_AWARD_LINES);

    let (mut shop, command) = crowded(10_000, 200, "");
    let before = shop.member.clone();
    let Err(Rejection::PurchaseTooComplex(TooComplex::AwardLines { award_lines, limit })) = shop.does(&command) else {
        panic!("too many are refused")
    };
    assert_eq!((limit, shop.member == before), (MAX_AWARD_LINES, true));
    assert!((MAX_AWARD_LINES + 1..=MAX_AWARD_LINES + 10_000).contains(&award_lines), "counted before they are all there: {award_lines}");
    // Rules that count no line do not count.
    let (mut shop, command) = crowded(10_000, 200, ", filter: { categories: [coffee] }");
    assert!(shop.does(&command).is_ok());
}
