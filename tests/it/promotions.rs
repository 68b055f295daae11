//! Promotions: what some purchases earn beside the rules, told by the awards and by what returns take back.

use std::sync::Arc;

use jiff::ToSpan;
use loyaltyd::{
    contract::{Violation, program, rule_book},
    domain::{
        Accrual, BirthDate, Command, Entry, EntryKind, Expiry, History, LimitKind, LotExpiry, MAX_AWARD_LINES, MAX_PROMOTION_STEPS, Person,
        Points, Profile, ProfileUpdate, Program, PromotionAward, Purchase, RECKONING_STEPS, Rejection, RuleId, TooComplex, VoucherCause,
        VoucherChange, VoucherCode, VoucherRequest, tally_keys,
    },
};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, at, dec, goods, purchase, rule_book_with},
    domain_properties::check_state,
    returns::{available, buys, gives, of, order, tries, units, whole},
    support::histories::tallies,
};

/// A dollar is a point.
const RULE: &str = "accrual_rules: [{ rule_id: goods, per_amount: { amount: 1, points: 1 } }]\n";

fn book(promotions: &str) -> String {
    format!("{RULE}promotions:\n{promotions}")
}

fn open(promotions: &str) -> Shop {
    Shop::open(rule_book_with(&book(promotions)))
}

fn publish(shop: &mut Shop, version: u32, fields: &str) {
    let program = Program { version, publish_time: shop.now, ..rule_book_with(fields) };
    shop.programs = shop.programs.with(Arc::new(program));
}

/// On one line.
fn dollars(amount: i64) -> Purchase {
    purchase(vec![goods("tea", "food", "1", &amount.to_string())])
}

fn award<'a>(accrual: &'a Accrual, promotion: &str) -> &'a PromotionAward {
    let found = accrual.promotions.iter().find(|award| award.promotion.as_str() == promotion);
    found.unwrap_or_else(|| panic!("{promotion} in {:#?}", accrual.promotions))
}

/// Each promotion with its points, and the limit that changed them.
fn told(accrual: &Accrual) -> Vec<(&str, i64, Option<LimitKind>)> {
    accrual.promotions.iter().map(|award| (award.promotion.as_str(), award.points.0, award.limit)).collect()
}

#[track_caller]
fn bought(shop: &mut Shop, id: &str, sale: Purchase) -> Accrual {
    let accrual = buys(shop, id, sale);
    let parts: i64 = accrual.awards.iter().map(|award| award.points.0).chain(accrual.promotions.iter().map(|award| award.points.0)).sum();
    assert_eq!(accrual.points.0, parts, "the awards are all of it");
    for award in accrual.promotions.iter().filter(|award| !award.lines.is_empty()) {
        assert_eq!(award.points.0, award.lines.iter().map(|line| line.points.0).sum::<i64>(), "the lines are all of it");
    }
    check_state(shop).expect("the state holds together");
    accrual
}

fn given(shop: &Shop, promotion: &str, day: Option<&str>) -> i64 {
    let key = (RuleId::new(promotion).expect("an id"), day.map(|day| day.parse().expect("a date")));
    tallies(shop.entries.iter()).get(&key).map_or(0, |tally| tally.points.0)
}

#[test]
fn points_are_doubled_on_tuesday_mornings() {
    let mut shop = open(
        "- { promotion_id: tuesday, display_name: Tuesday mornings, filter: { weekdays: [WEEKDAY_TUESDAY], hours: [{ start_hour: 8, \
         end_hour: 12 }] }, multiply: { multiplier: 2 } }\n",
    );
    // A Tuesday, 11:00 in New York.
    let accrual = bought(&mut shop, "o-1", dollars(40));
    let double = award(&accrual, "tuesday");
    assert_eq!(
        (double.display_name.as_str(), double.basis, double.uncapped_points, double.points),
        ("Tuesday mornings", dec("40"), Points(40), Points(40))
    );
    assert_eq!((accrual.points, accrual.qualifying_points, double.limit, double.lines.len()), (Points(80), Points(80), None, 0));
    assert_eq!((accrual.lots.len(), double.lot), (1, Some(accrual.lots[0].id)), "what lapses together is one lot");
    shop.now = at("2026-03-10T16:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(40))), [], "it is noon");
    shop.now = at("2026-03-11T15:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-3", dollars(40))), [], "it is Wednesday");
    // What was sold then, and is told late, was sold then.
    let late = Purchase { occurred_time: Some(at("2026-03-10T12:00:00Z")), ..dollars(10) };
    assert_eq!(told(&bought(&mut shop, "o-4", late)), [("tuesday", 10, None)]);
}

#[test]
fn multipliers_do_not_multiply_one_another_but_what_tiers_and_birthdays_make_of_the_rules() {
    let tiers = "tiers: [{ tier_id: green, multiplier: 1.5 }]\n";
    let two = "- { promotion_id: one, multiply: { multiplier: 2 } }\n- { promotion_id: two, multiply: { multiplier: 2.5 } }\n- { promotion_id: more, \
               add_per_amount: { amount: 10, points: 1 } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{tiers}{}", book(two))));
    let accrual = bought(&mut shop, "o-1", dollars(101));
    // 101 times 1.5 is 151; once more as much, one and a half times more, and a tenth of the dollars, which the tier leaves alone.
    assert_eq!(accrual.awards[0].points, Points(151));
    assert_eq!(told(&accrual), [("one", 151, None), ("two", 226, None), ("more", 10, None)]);
    let step = award(&accrual, "two").rounding.as_ref().expect("it is rounded");
    assert_eq!((step.exact, step.rounded), (dec("226.5"), Points(226)));
}

#[test]
fn what_the_rules_gave_on_the_lines_that_match_is_multiplied() {
    let rules = "accrual_rules:\n- { rule_id: goods, per_amount: { amount: 10, points: 1, whole_blocks: true } }\n- { rule_id: shoes, per_unit: { points: 3 \
                 }, filter: { categories: [shoes] } }\n- { rule_id: visit, per_order: { points: 5 } }\n";
    let promotions = "promotions:\n- { promotion_id: triple, filter: { categories: [shoes] }, multiply: { multiplier: 3 } }\n- { promotion_id: all, \
                      filter: { categories: [shoes] }, multiply: { multiplier: 2, whole_order: true } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{rules}{promotions}")));
    let basket = || purchase(vec![goods("a", "shoes", "2", "55"), goods("b", "food", "1", "17"), goods("c", "shoes", "1", "8")]);
    let accrual = bought(&mut shop, "o-1", basket());
    // 80 dollars are 8 points, of which the 63 for shoes would be 6; three pairs are 9; the visit is nobody's.
    assert_eq!(accrual.awards.iter().map(|award| award.points.0).collect::<Vec<_>>(), [8, 9, 5]);
    assert_eq!(told(&accrual), [("triple", 30, None), ("all", 22, None)]);
    let triple = award(&accrual, "triple");
    assert_eq!((triple.basis, triple.lines.iter().map(|line| line.line).collect::<Vec<_>>()), (dec("15"), vec![0, 2]));
    // Where nothing but shoes is bought, the visit is theirs.
    let accrual = bought(&mut shop, "o-2", purchase(vec![goods("a", "shoes", "1", "20")]));
    assert_eq!(told(&accrual), [("triple", 20, None), ("all", 10, None)]);
    // When the food comes back, what is left is what shoes alone had.
    let back = gives(&mut shop, units("o-1", 1, "1"));
    assert_eq!(back.points, Points(8 - 6 + (22 - 20)));
    let back = gives(&mut shop, units("o-1", 0, "2"));
    // Of the third pair for 8 dollars: no block of ten, 3 points for the pair, 5 for the visit; tripled without the visit, doubled with it.
    assert_eq!(available(&shop), 40 + 3 + 5 + 6 + 8, "{back:?}");
}

#[test]
fn points_for_an_amount_are_added_on_the_lines_or_on_the_whole_order() {
    let mut shop = open(
        "- { promotion_id: lines, filter: { labels: [organic] }, minimum_spend: 20, add_per_amount: { amount: 5, points: 2, whole_blocks: true } }\n- { \
         promotion_id: order, filter: { labels: [organic] }, add_per_amount: { amount: 8, points: 1, whole_order: true }, rounding_mode: \
         MODE_CEILING }\n",
    );
    let organic = |amount: &str| loyaltyd::domain::Line { labels: vec!["organic".into()], ..goods("kale", "food", "1", amount) };
    let accrual = bought(&mut shop, "o-1", purchase(vec![organic("12"), goods("tea", "food", "1", "30"), organic("12.99")]));
    assert_eq!(told(&accrual), [("lines", 8, None), ("order", 7, None)]);
    assert_eq!((award(&accrual, "lines").basis, award(&accrual, "order").basis), (dec("24.99"), dec("54.99")));
    let accrual = bought(&mut shop, "o-2", purchase(vec![organic("19.99")]));
    assert_eq!(told(&accrual), [("order", 3, None)], "not for 20");
    assert_eq!(told(&bought(&mut shop, "o-3", dollars(90))), []);
    // A label of the purchase is one of all its lines.
    let accrual = bought(&mut shop, "o-4", Purchase { labels: vec!["organic".into()], ..dollars(20) });
    assert_eq!(told(&accrual), [("lines", 8, None), ("order", 3, None)]);
}

#[test]
fn three_for_two_gives_the_third_one_back_in_points() {
    let mut shop = open(
        "- { promotion_id: three, filter: { skus: [coffee] }, minimum_quantity: 3, add_fixed: { points: 4, each_minimum_quantity: true } }\n- { \
         promotion_id: once, filter: { skus: [coffee] }, minimum_quantity: 3, add_fixed: { points: 50 }, without_qualifying: true }\n",
    );
    let coffees = |one: &str, other: &str| {
        purchase(vec![goods("coffee", "", one, "8"), goods("tea", "", "9", "9"), goods("coffee", "", other, "20")])
    };
    assert_eq!(told(&bought(&mut shop, "o-1", coffees("1", "1"))), []);
    let accrual = bought(&mut shop, "o-2", coffees("2", "5"));
    // Seven are two times three.
    assert_eq!(told(&accrual), [("three", 8, None), ("once", 50, None)]);
    assert_eq!((award(&accrual, "three").basis, award(&accrual, "once").basis), (dec("2"), dec("1")));
    assert_eq!((accrual.qualifying_points.0, accrual.points.0), (37 + 8, 37 + 58));
    // One of seven back: there still are twice three. Two more: once. And then none.
    assert_eq!(gives(&mut shop, units("o-2", 2, "1")).points, Points(4));
    assert_eq!(gives(&mut shop, units("o-2", 2, "2")).points, Points(8 + 4));
    assert_eq!(gives(&mut shop, units("o-2", 0, "2")).points, Points(8 + 4 + 50), "fixed points go with their condition");
    assert_eq!(gives(&mut shop, whole("o-2")).points, Points(9 + 8));
}

const TEA: &str = "voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]\n";

fn voucher_of(entries: &[Entry]) -> VoucherCode {
    let issued = entries.iter().find_map(|entry| match &entry.voucher_change()?.change {
        VoucherChange::Issued { promotion: Some(_), .. } => Some(entry.voucher_change()?.code),
        _ => None,
    });
    issued.expect("a promotion gives a voucher")
}

#[test]
fn a_voucher_comes_with_the_purchase_and_goes_with_its_condition_unless_it_is_used_or_held() {
    let promotion = "- { promotion_id: gift, filter: { categories: [food] }, minimum_spend: 30, voucher_kind_id: tea, limits: { times: { times: 4, period: \
                     PERIOD_DAY } } }\n";
    let fields = format!("{TEA}{}", book(promotion));
    for fate in ["kept", "held", "used"] {
        let mut shop = Shop::open(rule_book_with(&fields));
        let sale =
            Purchase { order: Some(order("o-1")), ..purchase(vec![goods("tea", "food", "4", "40"), goods("cup", "home", "1", "9")]) };
        let entries = shop.does(&Command::RecordPurchase(sale.into())).expect("a sale");
        let [_, issue] = &entries[..] else { panic!("{entries:#?}") };
        let VoucherChange::Issued { voucher, promotion, .. } = &issue.voucher_change().expect("a voucher").change else {
            panic!("{issue:#?}")
        };
        assert_eq!(
            (voucher.cause, voucher.kind.as_str(), promotion.as_ref().map(RuleId::as_str)),
            (VoucherCause::Promotion, "tea", Some("gift"))
        );
        let code = voucher_of(&entries);
        match fate {
            "held" => {
                drop(shop.does(&Command::Voucher(VoucherRequest::Hold { code, order: order("o-2"), seconds: None })).expect("a hold"))
            }
            "used" => drop(bought(&mut shop, "o-2", Purchase { vouchers: vec![code], ..purchase(vec![goods("tea", "", "1", "10")]) })),
            _ => {}
        }
        let times = |shop: &Shop| shop.member.header.promotions.values().map(|count| count.times).collect::<Vec<_>>();
        assert_eq!(times(&shop), [1]);
        // 30 dollars of food are left.
        gives(&mut shop, units("o-1", 0, "1"));
        assert_eq!(times(&shop), [1], "{fate}");
        let entries = tries(&mut shop, units("o-1", 0, "1")).expect("a return");
        let cancelled = entries
            .iter()
            .any(|entry| matches!(entry.voucher_change().map(|changed| &changed.change), Some(VoucherChange::Cancelled { .. })));
        assert_eq!(cancelled, fate == "kept", "{fate}");
        let counted: &[u32] = if cancelled { &[] } else { &[1] };
        assert_eq!(times(&shop), counted, "{fate}");
        // All of it: nothing more to take for the voucher.
        gives(&mut shop, whole("o-1"));
        assert_eq!(shop.member.vouchers.contains_key(&code), fate == "held");
        check_state(&shop).expect("the state holds together");
    }
}

#[test]
fn a_code_brings_its_promotion_however_it_is_written() {
    let mut shop = open("- { promotion_id: app, code: \" Spring 26\", add_fixed: { points: 100 } }\n");
    let with = |codes: &[&str]| Purchase { codes: codes.iter().map(|code| (*code).to_owned()).collect(), ..dollars(10) };
    assert_eq!(told(&bought(&mut shop, "o-1", with(&["SUMMER"]))), []);
    assert_eq!(told(&bought(&mut shop, "o-2", with(&["SUMMER", "SPRING 26"]))), [("app", 100, None)]);
    assert_eq!(loyaltyd::domain::promotion_code(" spring 26 ").as_deref(), Some("SPRING 26"));
    assert_eq!((loyaltyd::domain::promotion_code(" "), loyaltyd::domain::promotion_code(&"x".repeat(65))), (None, None));
}

#[test]
fn the_first_purchase_is_the_first_one_that_is_recorded_whatever_comes_back() {
    let mut shop = open("- { promotion_id: hello, first_purchase: true, filter: { channels: [app] }, add_fixed: { points: 500 } }\n");
    let on = |channel: &str| Purchase { channel: channel.into(), ..dollars(10) };
    assert_eq!(told(&bought(&mut shop, "o-1", on("app"))), [("hello", 500, None)]);
    assert_eq!(gives(&mut shop, whole("o-1")).points, Points(510));
    assert_eq!((shop.member.header.lifetime.visits, shop.member.header.purchases), (0, 1));
    assert_eq!(told(&bought(&mut shop, "o-2", on("app"))), [], "the second one, though nothing is left of the first");
    // An earlier sale that is told later is the second one.
    let mut shop = open("- { promotion_id: hello, first_purchase: true, add_fixed: { points: 500 } }\n");
    assert_eq!(bought(&mut shop, "o-1", dollars(1)).promotions.len(), 1);
    let late = Purchase { occurred_time: Some(shop.now - 48.hours()), ..dollars(1) };
    assert_eq!(told(&bought(&mut shop, "o-2", late)), []);
}

#[test]
fn birthdays_are_months_or_days_around_also_over_new_year() {
    let mut shop = open(
        "- { promotion_id: month, birthday: { window: WINDOW_MONTH }, multiply: { multiplier: 2 } }\n- { promotion_id: near, birthday: { window: \
         WINDOW_AROUND, days_before: 3, days_after: 2 }, add_fixed: { points: 7 } }\n",
    );
    assert_eq!(told(&bought(&mut shop, "o-0", dollars(10))), [], "nobody knows the day");
    let date = |month, day| {
        let birth_date = Some(Some(BirthDate { year: None, month, day }));
        Command::UpdateProfile(ProfileUpdate { display_name: None, birth_date, language_code: None })
    };
    shop.does(&date(12, 31)).expect("a date");
    for (id, now, expected) in [
        ("o-1", "2026-12-01T04:59:59Z", vec![]),
        ("o-2", "2026-12-01T05:00:00Z", vec![("month", 10, None)]),
        ("o-3", "2026-12-28T05:00:00Z", vec![("month", 10, None), ("near", 7, None)]),
        ("o-4", "2027-01-02T17:00:00Z", vec![("near", 7, None)]),
        ("o-5", "2027-01-03T05:00:00Z", vec![]),
    ] {
        shop.now = at(now);
        assert_eq!(told(&bought(&mut shop, id, dollars(10))), expected, "{now}");
    }
    // It was so at the sale, whatever day the member says now.
    shop.does(&date(6, 1)).expect("a date");
    assert_eq!(gives(&mut shop, of_line("o-3", "5")).points, Points(5 + 5));
    assert_eq!(gives(&mut shop, whole("o-3")).points, Points(5 + 5 + 7));
    // Around a birthday in January that begins in December.
    shop.does(&date(1, 2)).expect("a date");
    shop.now = at("2027-12-30T17:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-6", dollars(10))), [("near", 7, None)]);
}

fn of_line(id: &str, amount: &str) -> loyaltyd::domain::ReturnRequest {
    let line = loyaltyd::domain::ReturnedLine { line: 0, quantity: Decimal::ZERO, amount: dec(amount) };
    loyaltyd::domain::ReturnRequest { lines: vec![line], ..of(id) }
}

#[test]
fn a_promotion_has_its_time_and_its_tiers() {
    let tiers = "tiers: [{ tier_id: green }, { tier_id: gold, threshold: { qualifying_points: 100 } }]\n";
    let promotion = "- { promotion_id: week, start_time: \"2026-03-10T12:00:00-04:00\", end_time: \"2026-03-11T12:00:00-04:00\", add_fixed: { points: 3 } \
                     }\n- { promotion_id: gold, tier_ids: [gold], multiply: { multiplier: 1.5 } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{tiers}{}", book(promotion))));
    assert_eq!(told(&bought(&mut shop, "o-1", dollars(90))), []);
    shop.now = at("2026-03-10T16:00:00Z");
    // It leads to gold, and is rated before it.
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(20))), [("week", 3, None)]);
    assert_eq!(shop.tier(), "gold");
    shop.now = at("2026-03-11T15:59:59Z");
    assert_eq!(told(&bought(&mut shop, "o-3", dollars(20))), [("week", 3, None), ("gold", 10, None)]);
    shop.now = at("2026-03-11T16:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-4", dollars(20))), [("gold", 10, None)]);
}

const GROUPS: &str = "promotion_groups: [{ group_id: one, combination: COMBINATION_EXCLUSIVE }, { group_id: best, combination: COMBINATION_BEST }, { \
                      group_id: both, combination: COMBINATION_ALL }]\n";

#[test]
fn of_an_exclusive_group_the_first_gives_of_which_anything_is_left() {
    let promotions = "- { promotion_id: small, group_id: one, priority: 1, multiply: { multiplier: 2 }, limits: { cap: { points: 30, period: PERIOD_MONTH } } \
                      }\n- { promotion_id: large, group_id: one, priority: 2, add_fixed: { points: 50 } }\n- { promotion_id: free, add_fixed: { points: 1 \
                      } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{GROUPS}{}", book(promotions))));
    assert_eq!(told(&bought(&mut shop, "o-1", dollars(20))), [("small", 20, None), ("free", 1, None)]);
    // A part is left, and that part is given.
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(20))), [("small", 10, Some(LimitKind::Cap)), ("free", 1, None)]);
    // Nothing is left: it is passed over, which the explanation says.
    let accrual = bought(&mut shop, "o-3", dollars(20));
    assert_eq!(told(&accrual), [("small", 0, Some(LimitKind::Cap)), ("large", 50, None), ("free", 1, None)]);
    assert_eq!((award(&accrual, "small").uncapped_points, award(&accrual, "small").lot), (Points(20), None));
    // What comes back has room again.
    gives(&mut shop, whole("o-1"));
    assert_eq!(told(&bought(&mut shop, "o-4", dollars(5))), [("small", 5, None), ("free", 1, None)]);
    shop.now = at("2026-04-01T04:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-5", dollars(20))), [("small", 20, None), ("free", 1, None)]);
}

#[test]
fn of_a_group_the_one_gives_that_gives_most_within_its_limits() {
    let promotions = "- { promotion_id: voucher, group_id: best, priority: 1, voucher_kind_id: tea }\n- { promotion_id: double, group_id: best, priority: 2, \
                      multiply: { multiplier: 2 }, limits: { maximum_points: 60, budget_points: 100 } }\n- { promotion_id: fixed, group_id: best, \
                      priority: 3, add_fixed: { points: 40 }, limits: { times: { times: 2, period: PERIOD_LIFETIME } } }\n- { promotion_id: late, \
                      group_id: best, priority: 0, voucher_kind_id: tea, filter: { channels: [app] } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{GROUPS}{TEA}{}", book(promotions))));
    let mut told_of = |id: &str, amount| {
        let accrual = bought(&mut shop, id, dollars(amount));
        accrual.promotions.iter().map(|award| format!("{} {}", award.promotion, award.points)).collect::<Vec<_>>()
    };
    assert_eq!(told_of("o-1", 41), ["double 41"]);
    assert_eq!(told_of("o-2", 40), ["double 40"], "of equal ones the first by priority");
    // 19 of the budget are left, which is less than the other one gives.
    assert_eq!(told_of("o-3", 90), ["fixed 40"]);
    assert_eq!(told_of("o-4", 19), ["fixed 40"]);
    assert_eq!(told_of("o-5", 500), ["double 19", "fixed 0"]);
    assert_eq!(told_of("o-6", 10), ["voucher 0", "double 0", "fixed 0"], "where no points are had, a voucher is");
    assert_eq!(shop.member.header.vouchers.live, 1);
    let accrual = bought(&mut shop, "o-7", Purchase { channel: "app".into(), ..dollars(10) });
    let had: Vec<&str> =
        accrual.promotions.iter().filter(|award| award.voucher().is_some()).map(|award| award.promotion.as_str()).collect();
    assert_eq!(had, ["late"], "of vouchers the first by priority");
}

#[test]
fn all_of_a_group_give_that_gives_all() {
    let promotions = "- { promotion_id: a, group_id: both, add_fixed: { points: 1 } }\n- { promotion_id: b, group_id: both, add_fixed: { points: 2 } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{GROUPS}{}", book(promotions))));
    assert_eq!(told(&bought(&mut shop, "o-1", dollars(1))), [("a", 1, None), ("b", 2, None)]);
}

#[test]
fn a_budget_and_a_daily_cap_are_of_the_programme_and_returns_free_them() {
    let campaign = "- { promotion_id: spring, multiply: { multiplier: 2 }, limits: { daily_cap_points: 50, budget_points: 120 } }\n";
    let mut shop = open(campaign);
    assert_eq!(told(&bought(&mut shop, "o-1", dollars(30))), [("spring", 30, None)]);
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(30))), [("spring", 20, Some(LimitKind::DailyCap))]);
    assert_eq!(told(&bought(&mut shop, "o-3", dollars(30))), [("spring", 0, Some(LimitKind::DailyCap))]);
    assert_eq!((given(&shop, "spring", None), given(&shop, "spring", Some("2026-03-10"))), (50, 50));
    shop.now += 24.hours();
    assert_eq!(told(&bought(&mut shop, "o-4", dollars(45))), [("spring", 45, None)]);
    // A sale of yesterday counts yesterday.
    let late = |amount| Purchase { occurred_time: Some(at("2026-03-10T20:00:00Z")), ..dollars(amount) };
    assert_eq!(told(&bought(&mut shop, "o-5", late(9))), [("spring", 0, Some(LimitKind::DailyCap))]);
    gives(&mut shop, units("o-1", 0, "0.5"));
    assert_eq!((given(&shop, "spring", None), given(&shop, "spring", Some("2026-03-10"))), (80, 35));
    assert_eq!(told(&bought(&mut shop, "o-6", late(9))), [("spring", 9, None)]);
    shop.now += 24.hours();
    assert_eq!(told(&bought(&mut shop, "o-7", dollars(45))), [("spring", 31, Some(LimitKind::Budget))]);
    assert_eq!(given(&shop, "spring", None), 120);
    // A version with more raises the bound, and one with less leaves nothing.
    publish(&mut shop, 2, &book(&campaign.replace("120", "125")));
    assert_eq!(told(&bought(&mut shop, "o-8", dollars(45))), [("spring", 5, Some(LimitKind::Budget))]);
    publish(&mut shop, 3, &book(&campaign.replace("120", "20")));
    assert_eq!(told(&bought(&mut shop, "o-9", dollars(45))), [("spring", 0, Some(LimitKind::Budget))]);
}

#[test]
fn an_exchange_has_what_its_return_frees() {
    let mut shop = open(
        "- { promotion_id: spring, add_fixed: { points: 10 }, limits: { budget_points: 10, times: { times: 1, period: PERIOD_DAY } } }\n",
    );
    bought(&mut shop, "o-1", dollars(5));
    let exchange = Purchase { order: Some(order("o-2")), ..dollars(7) };
    let entries =
        tries(&mut shop, loyaltyd::domain::ReturnRequest { exchange: Some(exchange.into()), ..whole("o-1") }).expect("an exchange");
    check_state(&shop).expect("the state holds together");
    assert_eq!((available(&shop), given(&shop, "spring", None)), (17, 10), "{entries:#?}");
}

#[test]
fn a_member_has_a_promotion_so_often_in_a_period() {
    let mut shop = open(
        "- { promotion_id: visit, add_fixed: { points: 3 }, limits: { times: { times: 2, period: PERIOD_DAY }, cap: { points: 8, period: PERIOD_MONTH } } }\n",
    );
    let visit = |shop: &mut Shop, id: &str| told(&bought(shop, id, dollars(1)))[0].1;
    assert_eq!([visit(&mut shop, "o-1"), visit(&mut shop, "o-2"), visit(&mut shop, "o-3")], [3, 3, 0]);
    gives(&mut shop, whole("o-2"));
    assert_eq!([visit(&mut shop, "o-4"), visit(&mut shop, "o-5")], [3, 0], "what came back is free again");
    shop.now += 24.hours();
    assert_eq!([visit(&mut shop, "o-6"), visit(&mut shop, "o-7")], [2, 0], "8 in the month");
    shop.now = at("2026-04-01T15:00:00Z");
    assert_eq!([visit(&mut shop, "o-8"), visit(&mut shop, "o-9"), visit(&mut shop, "o-10")], [3, 3, 0]);
    // The first day of the month is where both count, each what is its own.
    shop.now = at("2026-04-02T15:00:00Z");
    assert_eq!([visit(&mut shop, "o-11"), visit(&mut shop, "o-12")], [2, 0]);
    let late = Purchase { occurred_time: Some(at("2026-04-01T16:00:00Z")), ..dollars(1) };
    assert_eq!(told(&bought(&mut shop, "o-13", late)), [("visit", 0, Some(LimitKind::Times))]);
}

#[test]
fn what_a_campaign_gave_a_member_is_forgotten_a_year_after_it_is_over() {
    let campaign = |id: &str, year: i16| {
        format!(
            "- {{ promotion_id: {id}, end_time: \"{year}-04-01T00:00:00Z\", add_fixed: {{ points: 3 }}, limits: {{ times: {{ times: 1, period: \
             PERIOD_LIFETIME }} }} }}\n"
        )
    };
    let ever = "- { promotion_id: ever, add_fixed: { points: 1 }, limits: { times: { times: 1, period: PERIOD_LIFETIME } } }\n";
    let mut shop = open(&format!("{}{ever}", campaign("spring-26", 2026)));
    assert_eq!(told(&bought(&mut shop, "o-1", dollars(1))), [("spring-26", 3, None), ("ever", 1, None)]);
    shop.now = at("2027-03-20T15:00:00Z");
    publish(&mut shop, 2, &book(&format!("{}{ever}", campaign("spring-27", 2027))));
    let (times, full) = (Some(LimitKind::Times), |shop: &Shop| shop.member.header.promotions.len());
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(1))), [("spring-27", 3, None), ("ever", 0, times)]);
    assert_eq!(full(&shop), 3, "a sale of then may still come, and the campaign may");
    // Who runs it again soon gives nobody twice.
    publish(&mut shop, 3, &book(&format!("{}{ever}", campaign("spring-26", 2027))));
    assert_eq!(told(&bought(&mut shop, "o-3", dollars(1))), [("spring-26", 0, times), ("ever", 0, times)]);
    shop.now = at("2029-03-20T15:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-4", dollars(1))), [("ever", 0, times)]);
    assert_eq!(full(&shop), 1, "what can give nothing any more is not kept");
}

#[test]
fn points_of_a_promotion_become_active_lapse_and_count_as_it_says() {
    let fields = "expiry: { after: { days: 100 } }\ntier_policy: { qualifying_basis: QUALIFYING_BASIS_UNMULTIPLIED }\ntiers: [{ tier_id: green, \
                  multiplier: 1.5 }]\n";
    let promotions = "- { promotion_id: late, multiply: { multiplier: 3 }, activation: { after_days: 2 }, expiry: { after: { days: 5 } } }\n- { promotion_id: \
                      quiet, add_fixed: { points: 9 }, without_qualifying: true, expiry: { never: {} } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{fields}{}", book(promotions))));
    let accrual = bought(&mut shop, "o-1", dollars(10));
    let late = award(&accrual, "late");
    // 15 of the rule, twice more; for tiers 10, twice more, when the points become active.
    assert_eq!((late.points, late.qualifying_points, accrual.qualifying_points), (Points(30), Points(20), Points(30)));
    assert_eq!((late.expiry, award(&accrual, "quiet").expiry), (LotExpiry::At(at("2026-03-16T04:00:00Z")), LotExpiry::Never));
    assert_eq!(
        (available(&shop), shop.member.header.balance.pending, shop.member.header.lifetime.qualifying_points),
        (24, Points(30), Points(10))
    );
    shop.now = at("2026-03-12T04:00:00Z");
    bought(&mut shop, "o-2", dollars(1));
    assert_eq!(shop.member.header.balance.available, Points(24 + 30 + 1 + 9));
    shop.now = at("2026-03-16T04:00:00Z");
    bought(&mut shop, "o-3", dollars(1));
    assert_eq!(shop.member.header.balance.expired, Points(30));
    assert!(matches!(shop.programs.newest().promotions[0].expiry, Expiry::AfterDays(5)));
}

#[test]
fn points_of_a_promotion_that_wait_for_a_confirmation_lapse_so_long_after_it() {
    let mut shop = open(
        "- { promotion_id: late, add_fixed: { points: 30 }, activation: { on_confirmation: {} }, expiry: { after: { days: 5, from_activation: true } } }\n",
    );
    bought(&mut shop, "o-1", dollars(10));
    shop.now = at("2026-03-20T15:00:00Z");
    shop.does(&Command::ConfirmPurchase { order: order("o-1") }).expect("a confirmation");
    assert_eq!(available(&shop), 40);
    shop.now = at("2026-03-26T04:00:00Z");
    bought(&mut shop, "o-2", dollars(1));
    assert_eq!((available(&shop), shop.member.header.balance.expired), (11, Points(30)));
}

#[test]
fn what_returns_take_shrinks_with_the_goods_and_fixed_points_stay_with_their_condition() {
    let mut shop = open(
        "- { promotion_id: double, multiply: { multiplier: 2 } }\n- { promotion_id: bonus, filter: { minimum_order: 50 }, add_fixed: { points: 100 } }\n",
    );
    let sale = || purchase(vec![goods("a", "", "4", "80"), goods("b", "", "1", "20")]);
    assert_eq!(bought(&mut shop, "o-1", sale()).points, Points(300));
    assert_eq!(gives(&mut shop, units("o-1", 0, "1")).points, Points(40));
    assert_eq!(gives(&mut shop, units("o-1", 1, "1")).points, Points(40));
    assert_eq!(gives(&mut shop, units("o-1", 0, "1")).points, Points(40 + 100), "40 are left of the order");
    assert_eq!(gives(&mut shop, whole("o-1")).points, Points(80));
    assert_eq!(shop.member.header.balance.available, Points(0));
    check_state(&shop).expect("the state holds together");
}

#[test]
fn a_purchase_is_judged_by_the_promotions_of_when_it_occurred_and_so_is_its_return() {
    let mut shop = open("- { promotion_id: double, multiply: { multiplier: 2 } }\n");
    assert_eq!(bought(&mut shop, "o-1", dollars(10)).points, Points(20));
    shop.now += 1.hour();
    publish(&mut shop, 2, &book("- { promotion_id: double, multiply: { multiplier: 5 } }\n"));
    shop.now += 1.hour();
    let late = Purchase { occurred_time: Some(shop.now - 90.minutes()), ..dollars(10) };
    assert_eq!(bought(&mut shop, "o-2", late).points, Points(20));
    assert_eq!(bought(&mut shop, "o-3", dollars(10)).points, Points(50));
    publish(&mut shop, 3, RULE);
    assert_eq!(gives(&mut shop, of_line("o-1", "5")).points, Points(10));
    assert_eq!(gives(&mut shop, whole("o-3")).points, Points(50));
}

#[test]
fn who_has_a_birthday_that_is_not_known_or_was_erased_buys_as_any_other() {
    let mut shop = open("- { promotion_id: month, birthday: { window: WINDOW_MONTH }, multiply: { multiplier: 2 } }\n");
    let profile = Profile { birth_date: Some(BirthDate { year: Some(1990), month: 3, day: 31 }), ..Profile::default() };
    let person = Person { profile, ..Person::default() };
    let mut known = Shop {
        member: loyaltyd::domain::Member::bare(shop.member.key.clone(), loyaltyd::domain::Header::new(shop.now)),
        entries: Vec::new(),
        programs: shop.programs.clone(),
        now: shop.now,
    };
    known.does(&Command::Enroll { person }).expect("anyone can enrol");
    assert_eq!(told(&bought(&mut known, "o-1", dollars(10))), [("month", 10, None)]);
    assert_eq!(told(&bought(&mut shop, "o-1", dollars(10))), []);
    known.does(&Command::Erase { reason: "asked".into() }).expect("an erasure");
    assert!(matches!(
        known.does(&Command::RecordPurchase(Purchase { order: Some(order("o-2")), ..dollars(1) }.into())),
        Err(Rejection::MemberErased)
    ));
    assert_eq!(gives(&mut known, whole("o-1")).points, Points(20), "what it bought can come back");
}

fn mistakes(fields: &str) -> Vec<(String, String)> {
    let text = format!(
        "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, fraction: \
         FRACTION_DROP }}\n{TEA}{GROUPS}{}",
        book(fields)
    );
    let document = rule_book::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let found = program::parse(&document, 1, at("2026-01-01T00:00:00Z")).expect_err("it is refused");
    found.into_iter().map(|Violation { path, message }| (path, message)).collect()
}

#[test]
fn mistakes_of_promotions_are_named_with_their_paths() {
    let found = mistakes(
        "- { promotion_id: goods, add_fixed: { points: 0 } }
- { promotion_id: Big, multiply: { multiplier: 1 }, priority: -1 }
- { promotion_id: a, group_id: none, tier_ids: [gold], add_fixed: { points: 1, each_minimum_quantity: true }, rounding_mode: MODE_FLOOR }
- { promotion_id: b, voucher_kind_id: cup, limits: { budget_points: 5, times: { times: 0 } }, without_qualifying: true }
- { promotion_id: c, start_time: \"2026-03-01T00:00:00Z\", end_time: \"2026-03-01T00:00:00Z\", minimum_quantity: 0, minimum_spend: 1.001 }
- { promotion_id: d, code: \"   \", birthday: { window: WINDOW_DAY, days_after: 1 }, add_per_amount: { amount: 0, points: 1 }, limits: { cap: { points: 1 } } }
- { promotion_id: d, multiply: { multiplier: 1000.1 }, filter: { weekdays: [9] }, rounding_mode: 9 }
",
    );
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "promotions[0].add_fixed.points",
        "promotions[0].promotion_id",
        "promotions[1].promotion_id",
        "promotions[1].priority",
        "promotions[1].multiply.multiplier",
        "promotions[2].group_id",
        "promotions[2].tier_ids[0]",
        "promotions[2].minimum_quantity",
        "promotions[2].rounding_mode",
        "promotions[3].voucher_kind_id",
        "promotions[3].limits.times.times",
        "promotions[3].limits.times.period",
        "promotions[3].limits.budget_points",
        "promotions[3].without_qualifying",
        "promotions[4].end_time",
        "promotions[4].minimum_spend",
        "promotions[4].minimum_quantity",
        "promotions[4]",
        "promotions[5].birthday.window",
        "promotions[5].code",
        "promotions[5].add_per_amount.amount",
        "promotions[5].limits.cap.period",
        "promotions[6].filter.weekdays[0]",
        "promotions[6].multiply.multiplier",
        "promotions[6].rounding_mode",
        "promotions[6].promotion_id",
    ];
    assert_eq!(paths, expected, "{found:#?}");
}

#[test]
fn a_condition_reads_the_basket_the_member_and_the_clock() {
    let mut shop = open(
        "- { promotion_id: few, add_fixed: { points: 5 }, condition: 'purchase.basis >= 20.00 && member.purchases < 2 && purchase.lines.exists(l, l.category \
         == \"food\" && l.quantity >= 2)' }\n- { promotion_id: late, multiply: { multiplier: 2 }, condition: 'now.hour >= 12 && now.weekday == 2 && \
         !(\"OLD\" in purchase.codes)' }\n",
    );
    let basket = |quantity: &str, amount: &str| purchase(vec![goods("tea", "food", quantity, amount), goods("cup", "home", "1", "5")]);
    assert_eq!(told(&bought(&mut shop, "o-1", basket("2", "14.99"))), []);
    assert_eq!(told(&bought(&mut shop, "o-2", basket("2", "15"))), [("few", 5, None)]);
    assert_eq!(told(&bought(&mut shop, "o-3", basket("2", "15"))), [], "the third one");
    shop.now = at("2026-03-10T16:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-4", basket("1", "5"))), [("late", 10, None)]);
    assert_eq!(told(&bought(&mut shop, "o-5", Purchase { codes: vec!["OLD".into()], ..basket("1", "5") })), []);
    // The goods are judged again, and the member as it was: it has bought three times more.
    assert_eq!(gives(&mut shop, units("o-2", 0, "0.001")).points, Points(1 + 5), "less than two are left");
    assert_eq!(gives(&mut shop, units("o-4", 0, "1")).points, Points(10), "what the clock showed was so");
}

#[test]
fn what_a_condition_read_of_the_member_stays_as_it_was_at_the_sale() {
    let mut shop = open(
        "- { promotion_id: new, multiply: { multiplier: 3 }, condition: 'member.available_points < 50 && member.spend < 100.00 && \
         member.age_days <= 30 && member.days_since_last_purchase <= 30' }\n- { promotion_id: first, add_fixed: { points: 7 }, condition: \
         purchase.is_first }\n",
    );
    let accrual = bought(&mut shop, "o-1", dollars(40));
    assert_eq!(told(&accrual), [("new", 80, None), ("first", 7, None)]);
    let facts = accrual.member_facts.as_ref().expect("they are kept");
    assert_eq!((facts.purchases, facts.available_points, facts.is_first, facts.last_purchase_time), (0, Points(0), true, None));
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(90))), [], "120 points are there");
    shop.now += (60 * 24).hours();
    assert_eq!(gives(&mut shop, of_line("o-1", "10")).points, Points(30), "a quarter of 40 and 80");
    assert_eq!(gives(&mut shop, whole("o-1")).points, Points(97));
    check_state(&shop).expect("the state holds together");
}

#[test]
fn a_condition_asks_for_all_units_at_each_of_ten_thousand_lines() {
    let mut shop =
        open("- { promotion_id: one, condition: 'purchase.lines.all(l, l.quantity < purchase.quantity)', add_fixed: { points: 1 } }\n");
    let lines = (0..10_000).map(|_| goods("tea", "food", "1", "1")).collect();
    assert_eq!(told(&bought(&mut shop, "o-1", purchase(lines))), [("one", 1, None)]);
    assert_eq!(told(&bought(&mut shop, "o-2", dollars(1))), []);
}

#[test]
fn a_condition_of_lines_says_which_of_them_match() {
    let mut shop = open(
        "- { promotion_id: dear, line_condition: 'line.amount - line.discount >= 10.00 && !(\"sale\" in line.labels)', multiply: { multiplier: 2 }, \
         minimum_quantity: 2 }\n",
    );
    let line = |amount: &str, label: &str| loyaltyd::domain::Line { labels: vec![label.into()], ..goods("a", "b", "1", amount) };
    let accrual = bought(&mut shop, "o-1", purchase(vec![line("10", "new"), line("9.99", "new"), line("50", "sale"), line("20", "new")]));
    assert_eq!(told(&accrual), [("dear", 30, None)]);
    assert_eq!(award(&accrual, "dear").lines.iter().map(|line| line.line).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(told(&bought(&mut shop, "o-2", purchase(vec![line("50", "sale"), line("20", "new")]))), [], "one of them is not two");
    assert_eq!(gives(&mut shop, units("o-1", 2, "1")).points, Points(50));
    assert_eq!(gives(&mut shop, units("o-1", 3, "1")).points, Points(20 + 30));
}

#[test]
fn mistakes_of_conditions_are_named_with_line_and_column() {
    for (condition, path, place) in [
        ("condition: 'purchase.basis > 1.005'", "promotions[0].condition", "line 1, column 18"),
        ("condition: 'purchase.colour == 1'", "promotions[0].condition", "line 1, column"),
        ("condition: 'member.purchases'", "promotions[0].condition", "line 1, column"),
        ("condition: 'line.sku == \"a\"'", "promotions[0].condition", "line 1, column"),
        ("condition: 'member.tier == \"gold\"'", "promotions[0].condition", "is not a tier of the programme"),
        ("condition: '\"spring\" in purchase.codes'", "promotions[0].condition", "\"SPRING\""),
        ("condition: '\"cheque\" in purchase.tenders'", "promotions[0].condition", "is not a kind of tenders"),
        ("condition: '\"vip\" in member.segments'", "promotions[0].condition", "is not a segment of the programme"),
        ("line_condition: 'line.kind == \"food\"'", "promotions[0].line_condition", "is not a kind of lines"),
        ("line_condition: 'purchase.lines.exists(l, true)'", "promotions[0].line_condition", "line 1, column"),
    ] {
        let found = mistakes(&format!("- {{ promotion_id: p, add_fixed: {{ points: 1 }}, {condition} }}\n"));
        let [(found_path, message)] = &found[..] else { panic!("{condition}: {found:?}") };
        assert!(found_path == path && message.contains(place), "{condition}: {found:?}");
    }
}

/// An example rule book, with somebody whose birthday is in October.
fn example(text: &str, now: &str) -> Shop {
    let document = rule_book::read(text).expect("an example can be read");
    let program = program::parse(&document, 1, at("2026-01-01T00:00:00Z")).expect("an example has no mistakes");
    let mut shop = Shop::open(program);
    shop.now = at(now);
    let birth_date = Some(Some(BirthDate { year: None, month: 10, day: 9 }));
    shop.does(&Command::UpdateProfile(ProfileUpdate { display_name: None, birth_date, language_code: None })).expect("a date");
    shop
}

#[test]
fn the_coffee_example_fills_tuesday_mornings_gives_three_for_two_and_welcomes_to_the_app() {
    // A Monday, 10:00.
    let mut shop = example(include_str!("../../examples/programs/promotions-coffee.yaml"), "2026-06-01T14:00:00Z");
    let drinks = |channel: &str| Purchase { channel: channel.into(), ..purchase(vec![goods("latte", "coffee", "2", "9.80")]) };
    let accrual = bought(&mut shop, "o-1", drinks("app"));
    assert_eq!((accrual.points.0, told(&accrual)), (9 + 250, vec![("first-app-order", 250, None)]));
    assert_eq!(award(&accrual, "first-app-order").expiry, LotExpiry::At(at("2026-07-02T04:00:00Z")));
    // Tuesday, 11:59 and 12:00.
    shop.now = at("2026-06-02T15:59:59Z");
    assert_eq!(bought(&mut shop, "o-2", drinks("pos")).points, Points(18));
    shop.now = at("2026-06-02T16:00:00Z");
    assert_eq!(bought(&mut shop, "o-3", drinks("app")).points, Points(9));
    let beans = purchase(vec![goods("house", "beans", "5", "60"), goods("decaf", "beans", "2", "24"), goods("cup", "home", "1", "9")]);
    let accrual = bought(&mut shop, "o-4", beans);
    assert_eq!((accrual.points.0, told(&accrual)), (93 + 1_200, vec![("three-for-two", 1_200, None)]));
    assert_eq!(gives(&mut shop, units("o-4", 0, "1")).points, Points(12), "six bags are still twice three");
    assert_eq!(gives(&mut shop, units("o-4", 1, "1")).points, Points(12 + 600));
    // Lunch, and the coffee that comes with it.
    let lunch = || purchase(vec![goods("soup", "food", "2", "26"), goods("tea", "", "1", "3")]);
    let accrual = bought(&mut shop, "o-5", lunch());
    assert_eq!((accrual.points.0, shop.member.header.vouchers.live), (29, 1));
    assert_eq!(told(&bought(&mut shop, "o-6", lunch())), [("lunch", 0, Some(LimitKind::Times))], "once a day");
    gives(&mut shop, units("o-5", 0, "1"));
    assert_eq!(shop.member.header.vouchers.live, 0, "13 dollars are left of the food");
    bought(&mut shop, "o-7", lunch());
    assert_eq!(shop.member.header.vouchers.live, 1, "and it is to be had again");
}

#[test]
fn the_fashion_example_doubles_a_birthday_month_and_keeps_to_the_budget_of_its_campaign() {
    let mut shop = example(include_str!("../../examples/programs/promotions-fashion.yaml"), "2026-09-20T12:00:00Z");
    let coat = |euros: &str| Purchase {
        codes: vec!["AUTUMN26".into()],
        ..purchase(vec![goods("c-1", "coats", "1", euros), goods("s-1", "socks", "1", "10")])
    };
    assert_eq!(told(&bought(&mut shop, "o-1", coat("300"))), [], "the day before it begins");
    shop.now = at("2026-09-20T22:00:00Z");
    let accrual = bought(&mut shop, "o-2", coat("300"));
    assert_eq!((accrual.points.0, told(&accrual)), (310 + 600, vec![("coats", 600, None)]));
    assert_eq!(shop.tier(), "gold");
    // Gold: a tenth more by the rule, a fifth more of that; coats three times; in October the birthday in the fifth's place.
    let accrual = bought(&mut shop, "o-3", coat("200"));
    assert_eq!((accrual.awards[0].points.0, told(&accrual)), (231, vec![("gold-fifth", 46, None), ("coats", 440, None)]));
    shop.now = at("2026-10-01T12:00:00Z");
    let accrual = bought(&mut shop, "o-4", coat("100"));
    let expected = [("birthday-month", 121, None), ("coats", 0, Some(LimitKind::Times)), ("coats-after", 50, None)];
    assert_eq!((accrual.awards[0].points.0, told(&accrual)), (121, expected.to_vec()), "nobody has it a third time");
    // 79 are left of the 200 of the month: a fifth is more from 396 points on.
    let accrual = bought(&mut shop, "o-5", purchase(vec![goods("c-1", "coats", "1", "300")]));
    assert_eq!((accrual.awards[0].points.0, told(&accrual)), (330, vec![("birthday-month", 79, Some(LimitKind::Cap))]));
    let accrual = bought(&mut shop, "o-6", purchase(vec![goods("c-1", "coats", "1", "100")]));
    assert_eq!(told(&accrual), [("birthday-month", 0, Some(LimitKind::Cap)), ("gold-fifth", 22, None)]);
    assert_eq!((given(&shop, "coats", None), given(&shop, "coats", Some("2026-09-21"))), (1_040, 1_040));
    gives(&mut shop, units("o-2", 0, "1"));
    assert_eq!(given(&shop, "coats", None), 440);
    // More than a day's worth: a part is given.
    shop.now = at("2026-10-02T12:00:00Z");
    let accrual = bought(&mut shop, "o-7", coat("3000"));
    assert_eq!(award(&accrual, "coats").points, Points(5_000));
    assert_eq!((award(&accrual, "coats").uncapped_points, award(&accrual, "coats").limit), (Points(6_600), Some(LimitKind::DailyCap)));
    shop.now = at("2026-10-31T23:00:00Z");
    assert_eq!(told(&bought(&mut shop, "o-8", coat("100"))), [("gold-fifth", 24, None)], "it is over, and so is October");
}

/// Nothing but amounts: (line, amount).
fn off_lines(id: &str, lines: &[(usize, &str)]) -> loyaltyd::domain::ReturnRequest {
    let off = |(line, amount): &(usize, &str)| loyaltyd::domain::ReturnedLine { line: *line, quantity: Decimal::ZERO, amount: dec(amount) };
    loyaltyd::domain::ReturnRequest { lines: lines.iter().map(off).collect(), ..of(id) }
}

#[test]
fn of_rules_that_are_rounded_together_two_returns_take_what_one_does_and_free_it_once() {
    let rules = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_ORDER, fraction: FRACTION_DROP }\naccrual_rules:\n- { rule_id: tea, per_amount: { amount: 1, \
                 points: 1 }, filter: { skus: [tea] } }\n- { rule_id: bags, per_amount: { amount: 1, points: 1 }, filter: { skus: [bags] } }\n";
    let promotion = "promotions:\n- { promotion_id: triple, filter: { skus: [tea] }, multiply: { multiplier: 3 }, limits: { budget_points: 1000, cap: { \
                     points: 500, period: PERIOD_LIFETIME }, times: { times: 9, period: PERIOD_LIFETIME } } }\n";
    let open = || {
        let mut shop = Shop::open(rule_book_with(&format!("{rules}{promotion}")));
        // Each of the two is ten when it is rounded alone, whoever gets the point that their fractions are.
        let accrual = bought(&mut shop, "o-1", purchase(vec![goods("tea", "", "1", "10.60"), goods("bags", "", "1", "10.50")]));
        assert_eq!((accrual.points, told(&accrual)), (Points(41), vec![("triple", 20, None)]));
        shop
    };
    let counted = |shop: &Shop| {
        let counts: Vec<_> = shop.member.header.promotions.values().map(|count| (count.points.0, count.times)).collect();
        (available(shop), given(shop, "triple", None), counts)
    };
    let mut once = open();
    assert_eq!(gives(&mut once, off_lines("o-1", &[(1, "2")])).points, Points(2));
    let mut twice = open();
    gives(&mut twice, off_lines("o-1", &[(1, "0.80")]));
    gives(&mut twice, off_lines("o-1", &[(1, "1.20")]));
    assert_eq!(counted(&twice), counted(&once));
    assert_eq!(counted(&once), (39, 20, vec![(20, 1)]), "nothing of the tea came back");
    for shop in [&mut once, &mut twice] {
        gives(shop, off_lines("o-1", &[(0, "0.61")]));
        assert_eq!(counted(shop), (36, 18, vec![(18, 1)]));
        gives(shop, whole("o-1"));
        assert_eq!(counted(shop), (0, 0, vec![]));
    }
}

#[test]
fn what_a_return_has_taken_of_a_promotion_does_not_come_again_and_is_free_once() {
    let promotion = "- { promotion_id: odd, add_fixed: { points: 50 }, condition: 'size(purchase.lines) != 2', limits: { budget_points: 1000, cap: { points: \
                     500, period: PERIOD_LIFETIME }, times: { times: 9, period: PERIOD_LIFETIME } } }\n- { promotion_id: gift, voucher_kind_id: tea, \
                     condition: 'size(purchase.lines) != 2', limits: { times: { times: 9, period: PERIOD_LIFETIME } } }\n";
    let mut shop = Shop::open(rule_book_with(&format!("{TEA}{}", book(promotion))));
    let times = |shop: &Shop| shop.member.header.promotions.values().map(|count| (count.points.0, count.times)).collect::<Vec<_>>();
    bought(&mut shop, "o-1", dollars(10));
    bought(&mut shop, "o-2", purchase(vec![goods("a", "", "1", "10"), goods("b", "", "1", "10"), goods("c", "", "1", "10")]));
    assert_eq!((given(&shop, "odd", None), times(&shop), shop.member.vouchers.len()), (100, vec![(0, 2), (100, 2)], 2));
    assert_eq!(gives(&mut shop, units("o-2", 0, "1")).points, Points(60), "two lines are left");
    assert_eq!((given(&shop, "odd", None), times(&shop), shop.member.vouchers.len()), (50, vec![(0, 1), (50, 1)], 1));
    assert_eq!(gives(&mut shop, units("o-2", 1, "1")).points, Points(10), "and one, which would do if it were a sale");
    assert_eq!(gives(&mut shop, units("o-2", 2, "1")).points, Points(10));
    assert_eq!(
        (given(&shop, "odd", None), times(&shop), shop.member.vouchers.len()),
        (50, vec![(0, 1), (50, 1)], 1),
        "those of the other one"
    );
    assert_eq!(available(&shop), 60);
    check_state(&shop).expect("the state holds together");
}

#[test]
fn what_multiplies_shipping_stays_with_it_when_the_goods_come_back_and_what_is_given_for_goods_goes() {
    let promotions = "- { promotion_id: double, multiply: { multiplier: 2 } }\n- { promotion_id: amount, add_per_amount: { amount: 5, points: 1 } }\n- { \
                      promotion_id: other, filter: { excluded_skus: [cup] }, multiply: { multiplier: 3 } }\n- { promotion_id: fixed, add_fixed: { points: \
                      7 } }\n- { promotion_id: gift, voucher_kind_id: tea }\n";
    let fields = format!("{TEA}basis: {{ include_shipping: true, include_tips: true }}\n{}", book(promotions));
    let mut shop = Shop::open(rule_book_with(&fields));
    let sale = Purchase { shipping: dec("4"), tip: dec("1"), ..purchase(vec![goods("tea", "", "1", "10")]) };
    let accrual = bought(&mut shop, "o-1", crate::accrual::total(sale));
    assert_eq!(told(&accrual), [("double", 15, None), ("amount", 3, None), ("other", 30, None), ("fixed", 7, None), ("gift", 0, None)]);
    // Of the rule, of each promotion that goes by what was spent, and all of those that are given for goods.
    assert_eq!(gives(&mut shop, units("o-1", 0, "1")).points, Points(10 + 10 + 2 + 20 + 7));
    assert_eq!((available(&shop), shop.member.vouchers.len(), shop.member.header.lifetime.visits), (5 + 5 + 1 + 10, 0, 0));
    assert_eq!(gives(&mut shop, whole("o-1")).points, Points(21));
    check_state(&shop).expect("the state holds together");
}

/// A purchase of very many lines, and a programme that rounds by line: what there is to reckon, as much as there can be.
fn crowded(promotions: usize, promotion: &str) -> (Shop, Command) {
    let rules = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_LINE, fraction: FRACTION_DROP }\naccrual_rules: [{ rule_id: goods, per_amount: { amount: 1, \
                 points: 1 } }]\npromotion_groups: [{ group_id: best, combination: COMBINATION_BEST }]\n";
    let promotions: String = (0..promotions).map(|number| format!("- {{ promotion_id: p-{number}, {promotion} }}\n")).collect();
    let shop = Shop::open(rule_book_with(&format!("{rules}promotions:\n{promotions}")));
    let mut lines = vec![goods("tea", "food", "1", "1.25"); 10_000];
    lines[9_999].category = "home".into();
    (shop, Command::RecordPurchase(Arc::new(purchase(lines))))
}

#[test]
fn what_promotions_look_at_is_bounded_and_counted_before_it_is_looked_at() {
    // As many lines and promotions as there can be, of which none matches, are no more than is allowed.
    let (mut shop, command) = crowded(200, "filter: { skus: [coffee] }, multiply: { multiplier: 2 }");
    assert!(shop.does(&command).is_ok());
    // Of those that match nearly all lines each is reckoned on each line. Of a group one is given, so that its lines do not count before.
    let of_group = "group_id: best, filter: { categories: [food] }, multiply: { multiplier: 2 }";
    let each = 10_000 * (1 + RECKONING_STEPS);
    let (mut shop, command) = crowded(MAX_PROMOTION_STEPS / each, of_group);
    let entries = shop.does(&command).expect("as many as are allowed");
    let EntryKind::PurchaseAccrued(accrued) = &entries[0].kind else { panic!("not a purchase") };
    assert_eq!(told(&accrued.accrual), [("p-0", 9_999, None)]);
    for more in [MAX_PROMOTION_STEPS / each + 1, 200] {
        let (mut shop, command) = crowded(more, of_group);
        let before = shop.member.clone();
        let Err(Rejection::PurchaseTooComplex(TooComplex::Steps { steps, limit })) = shop.does(&command) else {
            panic!("too many are refused")
        };
        assert_eq!((limit, shop.member == before), (MAX_PROMOTION_STEPS, true));
        assert!((limit + 1..=limit + each).contains(&steps), "counted before it is done: {steps}");
    }
    // Those of no group are refused with the first of their lines that are too many, and not after the last promotion.
    let (mut shop, command) = crowded(200, "filter: { categories: [food] }, add_per_amount: { amount: 1, points: 1 }");
    let Err(Rejection::PurchaseTooComplex(TooComplex::AwardLines { award_lines, limit })) = shop.does(&command) else {
        panic!("too many are refused")
    };
    assert_eq!(limit, MAX_AWARD_LINES);
    assert!((limit + 1..=limit + 10_000).contains(&award_lines), "{award_lines}");
}

#[test]
fn only_budgets_that_a_purchase_can_count_in_are_read() {
    let tiers = "tiers: [{ tier_id: green }, { tier_id: gold, threshold: { qualifying_points: 100000 } }]\n";
    let promotion = |id: &str, asks: &str| {
        format!("- {{ promotion_id: {id}, {asks}, add_fixed: {{ points: 1 }}, limits: {{ budget_points: 100, daily_cap_points: 50 }} }}\n")
    };
    let all = [
        ("any", "priority: 1"),
        ("tea", "filter: { skus: [tea] }"),
        ("not-tea", "filter: { excluded_skus: [tea] }"),
        ("shoes", "filter: { categories: [shoes] }"),
        ("dear", "minimum_spend: 10.01"),
        ("fair", "minimum_spend: 10"),
        ("order", "filter: { minimum_order: 11 }"),
        ("many", "minimum_quantity: 2"),
        ("gold", "tier_ids: [gold]"),
        ("green", "tier_ids: [green]"),
        ("first", "first_purchase: true"),
    ];
    let promotions: String = all.iter().map(|(id, asks)| promotion(id, asks)).collect();
    let mut shop = Shop::open(rule_book_with(&format!("{tiers}{}", book(&promotions))));
    let asked = |shop: &Shop, sale: Purchase| {
        let command = Command::RecordPurchase(Arc::new(sale));
        let keys = tally_keys(&shop.programs, &shop.member.header, &command, History::NONE, shop.now);
        let ids: Vec<String> = keys.iter().filter(|(_, day)| day.is_none()).map(|(id, _)| id.to_string()).collect();
        assert_eq!(keys.len(), 2 * ids.len(), "and the day's");
        ids
    };
    assert_eq!(asked(&shop, dollars(10)), ["any", "tea", "fair", "green", "first"]);
    // What is asked is what is given.
    let accrual = bought(&mut shop, "o-1", dollars(10));
    assert_eq!(told(&accrual).iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ["any", "tea", "fair", "green", "first"]);
    assert_eq!(asked(&shop, dollars(10)), ["any", "tea", "fair", "green"]);
    // Shipping is no tea, and may be a part of what is spent.
    let with_shipping = crate::accrual::total(Purchase { shipping: dec("1"), ..dollars(10) });
    assert_eq!(asked(&shop, with_shipping), ["any", "tea", "not-tea", "dear", "fair", "order", "green"]);
    // Of very many lines the goods are not looked at for it.
    let many = purchase(vec![goods("cup", "home", "1", "0.01"); 101]);
    assert_eq!(asked(&shop, many).len(), all.len() - 2, "all but gold and first");
}
