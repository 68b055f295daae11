//! Sales that are told of late: what has lapsed, what caps count and which tier was held stay as they were decided.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use loyaltyd::domain::{
    Adjustment, Command, Context, EntryKind, Header, History, LotId, MAX_COUNTERS_PER_RULE, MAX_TIER_HISTORY, Member, MemberId, MemberKey,
    Points, Program, Purchase, TierId, advance, decide,
};

use crate::accrual::{Shop, at, line, purchase, rule_book_with};

const RULE: &str = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\n";

/// A later version of the rule book, in force from an instant.
fn version(number: u32, from: &str, fields: &str) -> Arc<Program> {
    Arc::new(Program { version: number, publish_time: at(from), ..rule_book_with(fields) })
}

fn publish(shop: &mut Shop, next: Arc<Program>) {
    shop.programs = shop.programs.with(next);
}

/// Points of a sale of that many dollars that occurred then.
fn sale(shop: &mut Shop, dollars: &str, occurred: &str) -> i64 {
    let occurred_time = Some(at(occurred));
    shop.buys(Purchase { occurred_time, ..purchase(vec![line(dollars)]) }).points.0
}

fn tiers(shop: &Shop) -> Vec<(&str, Timestamp)> {
    shop.member.header.tier.history.iter().map(|since| (since.tier.as_str(), since.start_time)).collect()
}

/// The member's other lot is in the store and not due, so it is not loaded.
#[test]
fn lots_that_are_not_loaded_still_lapse() {
    let now = at("2026-03-10T15:00:00Z");
    let due = at("2026-03-20T04:00:00Z");
    let rules = "accrual_rules:\n- { rule_id: a, per_order: { points: 1 }, expiry: { after: { days: 1 } } }\n\
        - { rule_id: b, per_order: { points: 2 }, expiry: { after: { days: 2 } } }\n\
        - { rule_id: c, per_order: { points: 4 }, expiry: { after: { days: 300 } } }\n";
    let shop = Shop::open(rule_book_with(rules));
    let key = MemberKey { program: shop.programs.newest().id.clone(), member: MemberId([9; 16]) };
    let mut header = Header::new(now);
    (header.last_sequence, header.last_lot, header.next_expiry_time) = (5, LotId(1), Some(due));
    (header.balance.issued, header.balance.available) = (Points(10), Points(10));
    let member = Member::bare(key, header);
    let late = Purchase { occurred_time: Some(at("2026-03-01T12:00:00Z")), ..purchase(vec![line("1")]) };
    let context =
        Context { programs: &shop.programs, now, request: None, actor: None, principal: None, operator: None, history: History::NONE };
    let decision = decide(context, member, &Command::RecordPurchase(Arc::new(late))).expect("a late sale is taken");
    assert_eq!(decision.entries.len(), 3, "a sale and two lapses: {:#?}", decision.entries);
    let header = decision.member.header;
    assert_eq!((header.balance.available, header.balance.expired), (Points(14), Points(3)));
    assert_eq!(header.next_expiry_time, Some(due));
}

fn capped(points: u32, period: &str, fields: &str) -> String {
    format!(
        "{fields}\naccrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }}, limits: {{ cap: {{ points: {points}, period: {period} \
         }} }} }}]"
    )
}

#[test]
fn a_cap_by_the_year_outlives_a_late_sale_under_a_cap_by_the_day() {
    let mut shop = Shop::open(rule_book_with(&capped(10, "PERIOD_DAY", "")));
    publish(&mut shop, version(2, "2026-03-01T00:00:00Z", &capped(10, "PERIOD_YEAR", "")));
    shop.now = at("2026-03-20T12:00:00Z");
    assert_eq!(sale(&mut shop, "8", "2026-03-20T12:00:00Z"), 8);
    assert_eq!(sale(&mut shop, "3", "2026-02-26T12:00:00Z"), 3);
    assert_eq!(sale(&mut shop, "8", "2026-03-20T12:00:00Z"), 2);
}

#[test]
fn a_cap_outlives_the_shortest_age_that_a_version_takes() {
    let old = "purchase_time: { max_age_days: 300 }";
    let mut shop = Shop::open(rule_book_with(&capped(10, "PERIOD_DAY", old)));
    assert_eq!(sale(&mut shop, "8", "2026-02-01T12:00:00Z"), 8);
    publish(&mut shop, version(2, "2026-03-11T00:00:00Z", &capped(10, "PERIOD_DAY", "purchase_time: { max_age_days: 1 }")));
    shop.now = at("2026-03-12T12:00:00Z");
    assert_eq!(sale(&mut shop, "1", "2026-03-12T12:00:00Z"), 1);
    publish(&mut shop, version(3, "2026-03-13T00:00:00Z", &capped(10, "PERIOD_DAY", old)));
    shop.now = at("2026-03-14T12:00:00Z");
    assert_eq!(sale(&mut shop, "8", "2026-02-01T18:00:00Z"), 2);
}

#[test]
fn counters_are_bounded_and_a_cap_that_is_forgotten_is_used_up() {
    let mut shop = Shop::open(rule_book_with(&capped(10, "PERIOD_DAY", "purchase_time: { max_age_days: 36500 }")));
    let first = at("2020-01-01T17:00:00Z");
    let day = |day: usize| (first + (24 * day as i64).hours()).to_string();
    for number in 1..=MAX_COUNTERS_PER_RULE + 10 {
        assert_eq!(sale(&mut shop, "8", &day(number)), 8);
        assert_eq!(shop.member.header.counters.len(), number.min(MAX_COUNTERS_PER_RULE));
    }
    assert_eq!([0, 5, 10, 11, 12].map(|number| sale(&mut shop, "8", &day(number))), [0, 0, 0, 2, 2]);
    assert_eq!(shop.member.header.counters.len(), MAX_COUNTERS_PER_RULE);
}

const TWO: &str = "tiers:\n- { tier_id: base }\n- { tier_id: gold, threshold: { qualifying_points: 100 }, multiplier: 2 }\n";
const THREE: &str = "tiers:\n- { tier_id: base }\n- { tier_id: gold, threshold: { qualifying_points: 100 }, multiplier: 2 }\n\
    - { tier_id: platinum, threshold: { qualifying_points: 200 }, multiplier: 3 }\n";

#[test]
fn a_tier_is_not_held_before_the_rule_book_that_has_it() {
    let mut shop = Shop::open(rule_book_with(&format!("{TWO}{RULE}")));
    shop.now = at("2026-03-20T12:00:00Z");
    assert_eq!(sale(&mut shop, "100", "2026-03-11T12:00:00Z"), 100);
    publish(&mut shop, version(2, "2026-03-15T00:00:00Z", &format!("{THREE}{RULE}")));
    assert_eq!(sale(&mut shop, "60", "2026-03-12T12:00:00Z"), 120);
    let gold = ("gold", at("2026-03-11T12:00:00Z"));
    assert_eq!(tiers(&shop), [gold, ("platinum", at("2026-03-15T00:00:00Z"))]);
    assert_eq!(sale(&mut shop, "10", "2026-03-12T13:00:00Z"), 20, "gold was held then");
    assert_eq!(sale(&mut shop, "10", "2026-03-16T13:00:00Z"), 30);
}

#[test]
fn a_tier_is_not_held_before_the_points_that_gave_it() {
    let mut shop = Shop::open(rule_book_with(&format!("purchase_time: {{ max_age_days: 300 }}\n{TWO}{RULE}")));
    shop.now = at("2026-06-02T12:00:00Z");
    sale(&mut shop, "80", "2026-06-01T12:00:00Z");
    sale(&mut shop, "40", "2026-01-01T12:00:00Z");
    assert_eq!(tiers(&shop), [("gold", at("2026-06-01T12:00:00Z"))]);
    assert_eq!(sale(&mut shop, "40", "2026-02-01T12:00:00Z"), 40);

    let mut shop = Shop::open(rule_book_with(&format!("purchase_time: {{ max_age_days: 300 }}\n{TWO}{RULE}")));
    shop.now = at("2026-06-02T12:00:00Z");
    let given = Adjustment { points: Points(80), qualifying: true, reason: "goodwill".into(), reference: String::new(), expiry: None };
    shop.does(&Command::AdjustPoints(given)).expect("points can be given");
    sale(&mut shop, "40", "2026-01-01T12:00:00Z");
    assert_eq!(tiers(&shop), [("gold", shop.now)]);
}

#[test]
fn sales_told_in_order_climb_as_they_occurred() {
    // Before the first rule book, as an import of old sales does.
    let fields = format!("purchase_time: {{ max_age_days: 36500 }}\n{TWO}{RULE}");
    let first = Program { publish_time: at("2026-03-09T00:00:00Z"), ..rule_book_with(&fields) };
    let mut shop = Shop::open(first);
    let points = ["1997-01-01", "1997-01-02", "1997-01-03"].map(|day| sale(&mut shop, "60", &format!("{day}T12:00:00Z")));
    assert_eq!(points, [60, 60, 120]);
    assert_eq!(tiers(&shop), [("gold", at("1997-01-02T12:00:00Z"))]);
    // Before a version that has the same tier.
    let mut shop = Shop::open(rule_book_with(&fields));
    publish(&mut shop, version(2, "2026-03-10T00:00:00Z", &fields));
    let points = ["2026-03-01", "2026-03-02", "2026-03-03"].map(|day| sale(&mut shop, "60", &format!("{day}T12:00:00Z")));
    assert_eq!(points, [60, 60, 120]);
}

#[test]
fn a_sale_before_the_tiers_that_are_remembered_has_the_tier_of_the_oldest() {
    let mut shop = Shop::open(rule_book_with(&format!("purchase_time: {{ max_age_days: 300 }}\n{TWO}{RULE}")));
    let first = shop.now;
    for change in 0..2 * MAX_TIER_HISTORY + 1 {
        shop.now = first + (24 * change as i64).hours();
        let tier = TierId::new(if change % 2 == 0 { "gold" } else { "base" }).expect("an id");
        shop.does(&Command::SetTier { tier, reason: "trial".into(), last_date: None }).expect("the tier is another");
    }
    assert_eq!(shop.member.header.tier.history.len(), MAX_TIER_HISTORY);
    let oldest = shop.member.header.tier.history[0].tier.clone();
    assert_eq!(oldest.as_str(), "base");
    shop.now += 24.hours();
    shop.does(&Command::SetTier { tier: TierId::new("base").expect("an id"), reason: "trial".into(), last_date: None })
        .expect("the tier is another");
    assert_eq!(shop.member.header.tier.history[0].tier.as_str(), "gold");
    let day = |days: i64| (first + (24 * days).hours() + 1.hours()).to_string();
    assert_eq!([0, 5, 20].map(|days| sale(&mut shop, "10", &day(days))), [20, 20, 20]);
    assert_eq!(sale(&mut shop, "10", &day(-1)), 10, "before the first change the lowest was held");
}

/// Points of an earlier sale have become active meanwhile, and what waited for that lapses with it. What a late sale earns did not wait: it
/// lapsed in its own time, whether the schedule has entered the activation before the sale is told or the sale itself does.
#[test]
fn what_a_late_sale_earns_lapses_in_its_own_time_whoever_entered_what_was_due_before_it() {
    let rules = "accrual_rules:\n- { rule_id: soon, per_order: { points: 3 }, expiry: { after: { days: 2 } } }\n\
        - { rule_id: slow, per_order: { points: 5 }, activation: { after_days: 10 } }\npurchase_time: { max_age_days: 30 }\n";
    let told = |by_schedule: bool| {
        let mut shop = Shop::open(rule_book_with(rules));
        shop.now = at("2026-03-10T15:00:00Z");
        sale(&mut shop, "1", "2026-03-10T15:00:00Z");
        shop.now = at("2026-03-30T15:00:00Z");
        if by_schedule {
            let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
            shop.member = decision.member;
            shop.entries.extend(decision.entries);
        }
        sale(&mut shop, "1", "2026-03-05T15:00:00Z");
        let lapsed = shop.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::PointsExpired(_)));
        lapsed.map(|entry| entry.occurred_time).collect::<Vec<_>>()
    };
    let expected = vec![at("2026-03-13T04:00:00Z"), at("2026-03-08T05:00:00Z")];
    assert_eq!(told(true), expected, "the schedule came before it");
    assert_eq!(told(false), expected, "nobody came before it");
}
