//! Returns: what a purchase earned is taken back, exactly and only once, whatever has become of the rules and the points since.

use std::sync::Arc;

use jiff::ToSpan;
use loyaltyd::{
    contract::v1,
    domain::{
        Accrual, Adjustment, CaptureRequest, Command, Entry, EntryKind, HoldId, HoldRequest, Line, OrderId, OrderKey, Payment, Points,
        Program, Purchase, RedeemRequest, Rejection, ReturnRequest, Returned, ReturnedLine, StoreId, Tender, TenderKind, TierId,
    },
    ledger::ManualClock,
};
use rust_decimal::Decimal;
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    accrual::{Shop, at, dec, goods, line, purchase, rule_book_with, total},
    support::{PROGRAM, Refused, TestServer, by_id, line as goods_line, noon, purchase as basket, refused, rule_book, sale, vnd},
};

/// A point a dollar.
const RULE: &str = "accrual_rules: [{ rule_id: all, per_amount: { amount: 1, points: 1 } }]\n";
/// A point is a cent.
const REDEMPTION: &str = "redemption: { points: 100, amount: 1 }\n";

pub fn order(id: &str) -> OrderKey {
    OrderKey { store: StoreId::new("s-1").expect("an id"), order: OrderId::new(id).expect("an id") }
}

pub fn buys(shop: &mut Shop, id: &str, sale: Purchase) -> Accrual {
    shop.buys(Purchase { order: Some(order(id)), ..sale })
}

/// Nothing of an order yet.
pub fn of(id: &str) -> ReturnRequest {
    ReturnRequest {
        order: order(id),
        lines: Vec::new(),
        amount: Decimal::ZERO,
        whole: false,
        reason: "did not fit".into(),
        reference: String::new(),
        exchange: None,
    }
}

pub fn whole(id: &str) -> ReturnRequest {
    ReturnRequest { whole: true, ..of(id) }
}

/// Units of a line.
pub fn units(id: &str, line: usize, quantity: &str) -> ReturnRequest {
    ReturnRequest { lines: vec![ReturnedLine { line, quantity: dec(quantity), amount: Decimal::ZERO }], ..of(id) }
}

fn off_line(id: &str, line: usize, amount: &str) -> ReturnRequest {
    ReturnRequest { lines: vec![ReturnedLine { line, quantity: Decimal::ZERO, amount: dec(amount) }], ..of(id) }
}

fn off_order(id: &str, amount: &str) -> ReturnRequest {
    ReturnRequest { amount: dec(amount), ..of(id) }
}

pub fn tries(shop: &mut Shop, request: ReturnRequest) -> Result<Vec<Entry>, Rejection> {
    shop.does(&Command::ReturnPurchase(Arc::new(request)))
}

pub fn returned(entries: &[Entry]) -> Arc<Returned> {
    let found = entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::PurchaseReturned(returned) => Some(Arc::clone(returned)),
        _ => None,
    });
    found.expect("a return is entered")
}

#[track_caller]
pub fn gives(shop: &mut Shop, request: ReturnRequest) -> Arc<Returned> {
    returned(&tries(shop, request).expect("the return is taken"))
}

/// The points that a return takes.
#[track_caller]
fn takes(shop: &mut Shop, request: ReturnRequest) -> i64 {
    gives(shop, request).points.0
}

pub fn available(shop: &Shop) -> i64 {
    shop.member.header.balance.available.0
}

fn debt(shop: &Shop) -> i64 {
    shop.member.header.balance.debt.0
}

pub fn redeem(points: i64) -> Command {
    Command::RedeemPoints(RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() })
}

fn hold(points: i64) -> Command {
    let redeem = RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() };
    Command::HoldPoints(HoldRequest { redeem, seconds: None })
}

pub fn adjustment(points: i64) -> Command {
    Command::AdjustPoints(Adjustment {
        points: Points(points),
        qualifying: false,
        reason: "goodwill".into(),
        reference: String::new(),
        expiry: None,
    })
}

fn publish(shop: &mut Shop, version: u32, fields: &str) {
    let program = Program { version, publish_time: shop.now, ..rule_book_with(fields) };
    shop.programs = shop.programs.with(Arc::new(program));
}

/// Nothing is left of what purchases gave.
#[track_caller]
fn is_as_new(shop: &Shop) {
    let header = &shop.member.header;
    assert_eq!((available(shop), debt(shop), header.balance.pending.0, shop.member.lots.len()), (0, 0, 0, 0));
    assert_eq!((header.lifetime.qualifying_points.0, header.lifetime.spend, header.lifetime.visits), (0, Decimal::ZERO, 0));
}

#[test]
fn a_whole_return_takes_exactly_what_was_earned_and_only_once() {
    let mut shop = Shop::open(rule_book_with(RULE));
    let earned = buys(&mut shop, "o-1", purchase(vec![line("100.70"), line("0.70"), line("50")])).points;
    assert_eq!(earned, Points(151));
    let back = gives(&mut shop, whole("o-1"));
    assert_eq!((back.points, back.qualifying_points, back.basis, back.voids), (Points(151), Points(151), dec("151.40"), true));
    assert_eq!((back.from_sale.len(), back.from_others.len(), back.debt), (1, 0, Points(0)));
    is_as_new(&shop);
    assert_eq!(shop.member.header.balance.clawed_back, Points(151));
    for again in [whole("o-1"), units("o-1", 0, "1"), off_order("o-1", "1")] {
        assert_eq!(tries(&mut shop, again), Err(Rejection::PurchaseReturned));
    }
    is_as_new(&shop);
}

#[test]
fn parts_sum_to_the_whole() {
    let bought = || {
        let mut shop = Shop::open(rule_book_with(RULE));
        assert_eq!(buys(&mut shop, "o-1", purchase(vec![goods("a", "", "3", "10"), goods("b", "", "1", "20.50")])).points, Points(30));
        shop
    };
    // 27.17, 23.83, 20.50 and nothing are left.
    let mut shop = bought();
    assert_eq!([0, 1, 2].map(|_| takes(&mut shop, units("o-1", 0, "1"))), [3, 4, 3]);
    assert_eq!(takes(&mut shop, units("o-1", 1, "1")), 20);
    is_as_new(&shop);
    // The last units first, and the rest at once.
    let mut shop = bought();
    assert_eq!(takes(&mut shop, units("o-1", 1, "1")), 20);
    assert_eq!(takes(&mut shop, units("o-1", 0, "0.5")), 2);
    assert_eq!(takes(&mut shop, whole("o-1")), 8);
    is_as_new(&shop);
    // Prices that were reduced afterwards.
    let mut shop = bought();
    assert_eq!(takes(&mut shop, off_line("o-1", 1, "0.49")), 0);
    assert_eq!(takes(&mut shop, off_line("o-1", 1, "0.02")), 1);
    assert_eq!(takes(&mut shop, off_order("o-1", "9.99")), 9);
    assert_eq!(shop.member.header.lifetime.visits, 1);
    assert_eq!(takes(&mut shop, whole("o-1")), 20);
    is_as_new(&shop);
}

/// What was refunded off the price is not there to come back with the goods: that is no reason to refuse the goods.
#[test]
fn goods_come_back_after_their_price_was_reduced() {
    for reduced in [off_line("o-1", 0, "2"), off_order("o-1", "2")] {
        let mut shop = Shop::open(rule_book_with(RULE));
        buys(&mut shop, "o-1", purchase(vec![goods("a", "", "2", "10")]));
        assert_eq!(takes(&mut shop, reduced), 2);
        assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 5);
        assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 3);
        is_as_new(&shop);
    }
}

#[test]
fn too_much_is_refused_with_what_is_left() {
    let mut shop = Shop::open(rule_book_with(RULE));
    buys(&mut shop, "o-1", purchase(vec![goods("a", "", "3", "9"), goods("b", "", "1", "20.50")]));
    let too_large = |line, left: &str, requested: &str| {
        let (left, requested) = (dec(left), dec(requested));
        Err(Rejection::ReturnTooLarge { line, left, requested })
    };
    assert_eq!(tries(&mut shop, units("o-1", 0, "3.001")), too_large(Some(0), "3", "3.001"));
    assert_eq!(takes(&mut shop, units("o-1", 0, "2")), 6);
    assert_eq!(tries(&mut shop, units("o-1", 0, "2")), too_large(Some(0), "1", "2"));
    assert_eq!(tries(&mut shop, off_line("o-1", 0, "3.01")), too_large(Some(0), "3", "3.01"));
    assert_eq!(tries(&mut shop, off_order("o-1", "23.51")), too_large(None, "23.50", "23.51"));
    assert_eq!(takes(&mut shop, off_order("o-1", "0.50")), 0);
    assert_eq!(tries(&mut shop, off_order("o-1", "23.01")), too_large(None, "23", "23.01"));
    let both = ReturnRequest { amount: dec("20.01"), ..units("o-1", 0, "1") };
    assert_eq!(tries(&mut shop, both), too_large(None, "20", "20.01"));
    assert_eq!(tries(&mut shop, units("o-1", 2, "1")), Err(Rejection::ReturnLineNotFound { line: 2 }));
    assert_eq!(tries(&mut shop, of("o-1")), Err(Rejection::NothingReturned));
    assert_eq!(available(&shop), 23);
}

#[test]
fn after_a_thousand_parts_only_all_that_is_left_comes_back() {
    let mut shop = Shop::open(rule_book_with(RULE));
    buys(&mut shop, "o-1", purchase(vec![goods("a", "", "1", "100")]));
    let parts: i64 = (0..1_000).map(|_| takes(&mut shop, off_line("o-1", 0, "0.05"))).sum();
    assert_eq!(parts, 50);
    assert_eq!(tries(&mut shop, off_line("o-1", 0, "0.05")), Err(Rejection::TooManyReturns { limit: 1_000 }));
    assert_eq!(takes(&mut shop, whole("o-1")), 50);
    is_as_new(&shop);
}

#[test]
fn the_rules_of_the_sale_count() {
    let mut shop = Shop::open(rule_book_with(RULE));
    buys(&mut shop, "o-1", purchase(vec![line("10"), line("10")]));
    shop.now += 24.hours();
    publish(&mut shop, 2, "accrual_rules: [{ rule_id: all, per_amount: { amount: 1, points: 5 } }]\n");
    buys(&mut shop, "o-2", purchase(vec![line("10"), line("10")]));
    publish(&mut shop, 3, "accrual_rules: [{ rule_id: other, per_order: { points: 1 } }]\n");
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 10);
    assert_eq!(takes(&mut shop, units("o-2", 1, "1")), 50);
    assert_eq!(takes(&mut shop, whole("o-2")), 50);
    assert_eq!(takes(&mut shop, whole("o-1")), 10);
    is_as_new(&shop);
}

#[test]
fn the_multiplier_is_that_of_the_tier_then() {
    let tiers = "tiers: [{ tier_id: base }, { tier_id: gold, threshold: { qualifying_points: 100 }, multiplier: 2 }]\n";
    for (policy, qualifying) in [("", 40), ("tier_policy: { qualifying_basis: QUALIFYING_BASIS_UNMULTIPLIED }\n", 20)] {
        let mut shop = Shop::open(rule_book_with(&format!("{policy}{tiers}{RULE}")));
        buys(&mut shop, "o-1", purchase(vec![line("100")]));
        assert_eq!(buys(&mut shop, "o-2", purchase(vec![line("10"), line("10")])).points, Points(40));
        let tier = TierId::new("base").expect("an id");
        shop.does(&Command::SetTier { tier, reason: "trial".into(), last_date: None }).expect("the tier is another");
        assert_eq!(takes(&mut shop, whole("o-1")), 100);
        assert_eq!(takes(&mut shop, units("o-2", 0, "1")), 20);
        let rest = gives(&mut shop, whole("o-2"));
        assert_eq!((rest.points, rest.sale.returned.qualifying_points), (Points(20), Points(qualifying)));
        is_as_new(&shop);
    }
}

#[test]
fn of_a_rule_with_a_cap_nothing_goes_until_the_rest_falls_below_it() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules: [{ rule_id: all, per_amount: { amount: 1, points: 1 }, limits: { cap: { points: 10, period: PERIOD_DAY } } }]\n",
    ));
    assert_eq!(buys(&mut shop, "o-1", purchase(vec![line("4")])).points, Points(4));
    assert_eq!(buys(&mut shop, "o-2", purchase(vec![line("5"), line("4"), line("3")])).points, Points(6));
    assert_eq!(takes(&mut shop, units("o-2", 0, "1")), 0);
    assert_eq!(buys(&mut shop, "o-3", purchase(vec![line("4")])).points, Points(0));
    assert_eq!(takes(&mut shop, units("o-2", 1, "1")), 3);
    // The cap has room again for so much.
    assert_eq!(buys(&mut shop, "o-4", purchase(vec![line("4")])).points, Points(3));
    assert_eq!(takes(&mut shop, whole("o-3")), 0);
    assert_eq!(takes(&mut shop, whole("o-1")), 4);
    assert_eq!(takes(&mut shop, whole("o-2")), 3);
    assert_eq!(takes(&mut shop, whole("o-4")), 3);
    is_as_new(&shop);
    assert_eq!(buys(&mut shop, "o-5", purchase(vec![line("20")])).points, Points(10));
}

#[test]
fn a_cap_of_another_day_is_left_alone() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules: [{ rule_id: all, per_amount: { amount: 1, points: 1 }, limits: { cap: { points: 10, period: PERIOD_DAY } } }]\n",
    ));
    buys(&mut shop, "o-1", purchase(vec![line("10")]));
    shop.now += 24.hours();
    buys(&mut shop, "o-2", purchase(vec![line("10")]));
    assert_eq!(takes(&mut shop, whole("o-1")), 10);
    assert_eq!(buys(&mut shop, "o-3", purchase(vec![line("10")])).points, Points(0));
}

#[test]
fn what_is_given_once_can_be_given_again_when_all_of_it_was_taken_back() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules: [{ rule_id: first, per_amount: { amount: 1, points: 1 }, limits: { once_per_member: true } }]\n",
    ));
    assert_eq!(buys(&mut shop, "o-1", purchase(vec![line("10"), line("10")])).points, Points(20));
    assert_eq!(buys(&mut shop, "o-2", purchase(vec![line("10")])).points, Points(0));
    assert_eq!(takes(&mut shop, whole("o-2")), 0);
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 10);
    assert_eq!(buys(&mut shop, "o-3", purchase(vec![line("10")])).points, Points(0));
    assert_eq!(takes(&mut shop, whole("o-1")), 10);
    assert_eq!(buys(&mut shop, "o-4", purchase(vec![line("10")])).points, Points(10));
}

#[test]
fn a_fixed_bonus_goes_when_its_condition_is_lost_and_not_before() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules:
- { rule_id: large, per_order: { points: 50 }, filter: { minimum_order: 100 } }
- { rule_id: visit, per_order: { points: 5 } }
- { rule_id: tea, per_order: { points: 7 }, filter: { categories: [tea] } }
",
    ));
    let basket = vec![goods("a", "tea", "2", "40"), goods("b", "", "1", "70"), goods("c", "", "1", "20")];
    assert_eq!(buys(&mut shop, "o-1", purchase(basket)).points, Points(62));
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 0, "110 and tea are left");
    assert_eq!(takes(&mut shop, units("o-1", 2, "1")), 50, "90 are left");
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 7, "no tea is left");
    assert_eq!(takes(&mut shop, units("o-1", 1, "1")), 5);
    is_as_new(&shop);
}

#[test]
fn a_bonus_for_a_product_stands_as_long_as_one_of_its_lines_does() {
    let rule = "accrual_rules: [{ rule_id: product, per_product: { points: 10 }, filter: { excluded_labels: [outlet] } }]\n";
    let mut shop = Shop::open(rule_book_with(rule));
    let basket = vec![goods("a", "", "1", "5"), goods("a", "", "2", "5"), goods("b", "", "1", "5")];
    assert_eq!(buys(&mut shop, "o-1", purchase(basket)).points, Points(20));
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 0);
    assert_eq!(takes(&mut shop, units("o-1", 1, "1")), 0);
    assert_eq!(takes(&mut shop, units("o-1", 2, "1")), 10);
    assert_eq!(takes(&mut shop, units("o-1", 1, "1")), 10);
    is_as_new(&shop);
    // A line that the rule does not count keeps nothing up.
    let outlet = Line { labels: vec!["outlet".into()], ..goods("a", "", "1", "5") };
    assert_eq!(buys(&mut shop, "o-2", purchase(vec![goods("a", "", "1", "5"), outlet])).points, Points(10));
    assert_eq!(takes(&mut shop, units("o-2", 0, "1")), 10);
}

#[test]
fn points_for_units_go_with_the_units() {
    let mut shop = Shop::open(rule_book_with("accrual_rules: [{ rule_id: units, per_unit: { points: 2 } }]\n"));
    // So cheap that the value of one unit rounds to all of it.
    assert_eq!(buys(&mut shop, "o-1", purchase(vec![goods("a", "", "3", "0.01"), goods("b", "", "0.5", "8")])).points, Points(7));
    assert_eq!(takes(&mut shop, off_order("o-1", "1")), 0, "an amount is no unit");
    assert_eq!([0, 1, 2].map(|_| takes(&mut shop, units("o-1", 0, "1"))), [2, 2, 2]);
    assert_eq!(takes(&mut shop, units("o-1", 1, "0.5")), 1);
    is_as_new(&shop);
}

#[test]
fn carried_fractions_count_as_they_did_then() {
    let mut shop =
        Shop::open(rule_book_with(&format!("\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_CARRY }}\n{RULE}")));
    assert_eq!(buys(&mut shop, "o-1", purchase(vec![line("0.60")])).points, Points(0));
    assert_eq!(buys(&mut shop, "o-2", purchase(vec![line("10.60"), line("3.50")])).points, Points(14));
    assert_eq!(buys(&mut shop, "o-3", purchase(vec![line("0.40")])).points, Points(1));
    // 10.60 and the 0.60 of before make 11.
    assert_eq!(takes(&mut shop, units("o-2", 1, "1")), 3);
    assert_eq!(takes(&mut shop, whole("o-2")), 11);
    assert_eq!(available(&shop), 1);
}

#[test]
fn discounts_tax_shipping_and_tips_go_with_what_they_belong_to() {
    // The order discount of 10 is shared 6 and 4.
    let mut shop = Shop::open(rule_book_with(RULE));
    let discounted = Purchase { order_discount: dec("10"), ..purchase(vec![line("60"), line("40")]) };
    assert_eq!(buys(&mut shop, "o-1", total(discounted)).points, Points(90));
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 54);
    assert_eq!(tries(&mut shop, off_line("o-1", 1, "36.01")).map(drop), {
        Err(Rejection::ReturnTooLarge { line: Some(1), left: dec("36"), requested: dec("36.01") })
    });
    assert_eq!(takes(&mut shop, units("o-1", 1, "1")), 36);
    is_as_new(&shop);
    // Tax on top earns, and goes with its line.
    let mut shop = Shop::open(rule_book_with(&format!("basis: {{ include_tax: true }}\n{RULE}")));
    let taxed = |amount: &str, tax: &str| Line { tax: dec(tax), ..goods("a", "", "2", amount) };
    let basket = purchase(vec![line("0"), taxed("50", "5"), taxed("20", "1")]);
    assert_eq!(buys(&mut shop, "o-1", basket).points, Points(76));
    assert_eq!([1, 2, 1].map(|line| takes(&mut shop, units("o-1", line, "1"))), [28, 10, 28]);
    assert_eq!(takes(&mut shop, units("o-1", 2, "1")), 10);
    // Shipping and tip stay until all comes back.
    let mut shop = Shop::open(rule_book_with(&format!("basis: {{ include_shipping: true, include_tips: true }}\n{RULE}")));
    let shipped = Purchase { shipping: dec("5"), tip: dec("3"), ..purchase(vec![line("20"), line("10")]) };
    assert_eq!(buys(&mut shop, "o-1", total(shipped)).points, Points(38));
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 20);
    let goods = gives(&mut shop, units("o-1", 1, "1"));
    assert_eq!((goods.points, goods.voids, available(&shop)), (Points(10), true, 8));
    assert_eq!(tries(&mut shop, units("o-1", 1, "1")).map(drop), {
        Err(Rejection::ReturnTooLarge { line: Some(1), left: dec("0"), requested: dec("1") })
    });
    assert_eq!(takes(&mut shop, whole("o-1")), 8);
    assert_eq!(tries(&mut shop, whole("o-1")), Err(Rejection::PurchaseReturned));
    is_as_new(&shop);
}

fn paid_with_points(points: i64, sale: Purchase) -> Purchase {
    let worth = Decimal::new(points, 2);
    let tenders = vec![Tender { kind: TenderKind::Points, amount: worth }, Tender { kind: TenderKind::Card, amount: sale.total - worth }];
    Purchase { tenders, payments: vec![Payment::Redeem { points: Points(points) }], ..sale }
}

#[test]
fn points_that_paid_go_back_in_proportion_and_before_the_rest_is_taken() {
    let mut shop = Shop::open(rule_book_with(&format!("{REDEMPTION}expiry: {{ after: {{ months: 1 }} }}\n{RULE}")));
    shop.does(&adjustment(1_000)).expect("points can be given");
    let lot = *shop.member.lots.keys().next().expect("a lot");
    let sale = paid_with_points(1_000, purchase(vec![line("30"), line("10")]));
    assert_eq!(buys(&mut shop, "o-1", sale).points, Points(30), "a quarter was paid with points");
    // The points that it earned are spent.
    shop.does(&redeem(30)).expect("they are available");
    let entries = tries(&mut shop, units("o-1", 1, "1")).expect("the return is taken");
    let kinds: Vec<bool> = entries.iter().map(|entry| matches!(entry.kind, EntryKind::RedemptionReversed(_))).collect();
    assert_eq!(kinds, [true, false]);
    let EntryKind::RedemptionReversed(reversed) = &entries[0].kind else { panic!("{entries:?}") };
    assert_eq!((reversed.points, reversed.value, reversed.put_back[0].into), (Points(250), dec("2.50"), lot));
    assert_eq!(reversed.order, Some(order("o-1")));
    let back = returned(&entries);
    assert_eq!((back.points, back.from_sale.len(), back.from_others[0].points, back.debt), (Points(8), 0, Points(8), Points(0)));
    // Half of the rest by hand: no more goes back than was spent.
    let redemption = shop.entries.iter().find(|entry| matches!(entry.kind, EntryKind::PointsRedeemed(_))).expect("it paid").sequence;
    let reversal = loyaltyd::domain::ReversalRequest { ledger: None, redemption, points: Some(Points(500)), reason: "trial".into() };
    shop.does(&Command::ReverseRedemption(reversal)).expect("so many are left");
    let entries = tries(&mut shop, whole("o-1")).expect("the return is taken");
    let EntryKind::RedemptionReversed(reversed) = &entries[0].kind else { panic!("{entries:?}") };
    assert_eq!((reversed.points, reversed.so_far), (Points(250), Points(1_000)));
    assert_eq!((returned(&entries).points, available(&shop)), (Points(22), 970));
}

#[test]
fn shipping_that_points_paid_keeps_its_share_of_them() {
    let mut shop = Shop::open(rule_book_with(&format!("{REDEMPTION}{RULE}")));
    shop.does(&adjustment(1_000)).expect("points can be given");
    let shipped = total(Purchase { shipping: dec("10"), ..purchase(vec![line("20"), line("20")]) });
    buys(&mut shop, "o-1", paid_with_points(1_000, shipped));
    let goes_back = |shop: &mut Shop, request| {
        let entries = tries(shop, request).expect("the return is taken");
        let back = entries.iter().map(|entry| match &entry.kind {
            EntryKind::RedemptionReversed(reversed) => reversed.points.0,
            _ => 0,
        });
        back.sum::<i64>()
    };
    assert_eq!(goes_back(&mut shop, units("o-1", 0, "1")), 400);
    assert_eq!(goes_back(&mut shop, units("o-1", 1, "1")), 400);
    assert_eq!(goes_back(&mut shop, whole("o-1")), 200);
    assert_eq!(available(&shop), 1_000);
}

#[test]
fn what_goes_back_and_has_lapsed_pays_nothing() {
    let mut shop = Shop::open(rule_book_with(&format!(
        "{REDEMPTION}accrual_rules:
- {{ rule_id: all, per_amount: {{ amount: 1, points: 1 }} }}
- {{ rule_id: short, per_amount: {{ amount: 1, points: 10 }}, filter: {{ labels: [short] }}, expiry: {{ after: {{ days: 1 }} }} }}
"
    )));
    buys(&mut shop, "o-0", Purchase { labels: vec!["short".into()], ..purchase(vec![line("10")]) });
    buys(&mut shop, "o-1", paid_with_points(100, purchase(vec![line("20")])));
    shop.does(&redeem(29)).expect("they are available");
    shop.now += 72.hours();
    let entries = tries(&mut shop, whole("o-1")).expect("the return is taken");
    let back = returned(&entries);
    assert_eq!((back.points, back.from_others.len(), back.debt), (Points(19), 0, Points(19)));
    assert!(matches!(entries.last().expect("entries").kind, EntryKind::PointsExpired(_)));
    assert_eq!((available(&shop), shop.member.header.balance.expired, debt(&shop)), (0, Points(100), 19));
}

/// Points of the sale are spent, held, or have lapsed; there are 50 others.
#[test]
fn what_is_not_there_any_more_is_treated_as_the_programme_says() {
    let outcomes = [
        ("", [50, 50, 0, 0]),
        ("returns: { own_lots_only: true }\n", [0, 100, 0, 0]),
        ("returns: { shortfall: SHORTFALL_FORGIVE }\n", [50, 0, 50, 0]),
        ("returns: { own_lots_only: true, shortfall: SHORTFALL_FORGIVE }\n", [0, 0, 100, 0]),
        ("returns: { shortfall: SHORTFALL_WITHHOLD }\n", [50, 0, 0, 50]),
    ];
    for away in ["spent", "held", "lapsed"] {
        let bought = |policy: &str| {
            let rule = "accrual_rules: [{ rule_id: all, per_amount: { amount: 1, points: 1 }, expiry: { after: { days: 1 } } }]\n";
            let mut shop = Shop::open(rule_book_with(&format!("{policy}{REDEMPTION}{rule}")));
            buys(&mut shop, "o-1", purchase(vec![line("100")]));
            match away {
                "spent" => drop(shop.does(&redeem(100)).expect("they are available")),
                "held" => drop(shop.does(&hold(100)).expect("they are available")),
                _ => shop.now += 72.hours(),
            }
            shop.does(&adjustment(50)).expect("points can be given");
            shop
        };
        for (policy, [others, owed, forgiven, withheld]) in outcomes {
            let mut shop = bought(policy);
            let back = gives(&mut shop, whole("o-1"));
            let taken: i64 = back.from_others.iter().map(|taken| taken.points.0).sum();
            assert_eq!(back.points, Points(100), "{away} {policy}");
            let found = [taken, back.debt.0, back.forgiven.0, back.withheld.0];
            assert_eq!(found, [others, owed, forgiven, withheld], "{away} {policy}");
            assert_eq!(back.withheld_value, (withheld > 0).then(|| dec("0.50")), "{away} {policy}");
            assert_eq!((debt(&shop), available(&shop)), (owed, 50 - others), "{away} {policy}");
            assert_eq!(tries(&mut shop, whole("o-1")), Err(Rejection::PurchaseReturned));
        }
        let mut shop = bought("returns: { shortfall: SHORTFALL_REFUSE }\n");
        let before = shop.member.clone();
        let refused = Rejection::ReturnShortfall { shortfall: Points(50), requested: Points(100) };
        assert_eq!(tries(&mut shop, whole("o-1")), Err(refused), "{away}");
        assert_eq!(shop.member, before);
        assert_eq!(takes(&mut shop, off_order("o-1", "50")), 50, "what is there can be taken");
    }
}

#[test]
fn debt_is_paid_by_the_next_points_and_until_then_none_are_spent() {
    let mut shop = Shop::open(rule_book_with(&format!("{REDEMPTION}{RULE}")));
    buys(&mut shop, "o-1", purchase(vec![line("100")]));
    shop.does(&redeem(100)).expect("they are available");
    assert_eq!(gives(&mut shop, whole("o-1")).debt, Points(100));
    let accrual = buys(&mut shop, "o-2", purchase(vec![line("30")]));
    assert_eq!((accrual.points, accrual.lots[0].debt_paid, available(&shop), debt(&shop)), (Points(30), Points(30), 0, 70));
    assert_eq!(shop.does(&redeem(1)), Err(Rejection::InDebt { debt: Points(70) }));
    assert_eq!(shop.does(&hold(1)), Err(Rejection::InDebt { debt: Points(70) }));
    let accrual = buys(&mut shop, "o-3", purchase(vec![line("80")]));
    assert_eq!((accrual.lots[0].debt_paid, available(&shop), debt(&shop)), (Points(70), 10, 0));
    shop.does(&redeem(4)).expect("nothing is owed");
    // Points that paid debt are gone: what their sale gave is owed again.
    assert_eq!((gives(&mut shop, whole("o-3")).debt, available(&shop)), (Points(74), 0));
    shop.does(&adjustment(100)).expect("points can be given");
    assert_eq!((available(&shop), debt(&shop)), (26, 0));
}

#[test]
fn points_in_a_hold_are_not_taken_and_stay_good_for_it() {
    let mut shop = Shop::open(rule_book_with(&format!("returns: {{ shortfall: SHORTFALL_FORGIVE }}\n{REDEMPTION}{RULE}")));
    buys(&mut shop, "o-1", purchase(vec![line("100")]));
    let entries = shop.does(&hold(60)).expect("they are available");
    let back = gives(&mut shop, whole("o-1"));
    assert_eq!((back.from_sale[0].points, back.forgiven, available(&shop)), (Points(40), Points(60), 0));
    let capture = CaptureRequest { hold: HoldId(entries[0].sequence), points: Some(Points(50)), order: None, reference: String::new() };
    shop.does(&Command::CaptureHold(capture)).expect("the hold has them");
    assert_eq!((available(&shop), shop.member.header.balance.held), (10, Points(0)));
}

#[test]
fn an_exchange_is_one_step_or_none() {
    let mut shop = Shop::open(rule_book_with(&format!("{REDEMPTION}{RULE}")));
    buys(&mut shop, "o-1", purchase(vec![line("30"), line("20")]));
    let exchanged = |id: &str, purchase: Purchase| {
        let exchange = Some(Arc::new(Purchase { order: Some(order(id)), ..purchase }));
        ReturnRequest { exchange, ..units("o-1", 0, "1") }
    };
    let before = shop.member.clone();
    let too_old = Purchase { occurred_time: Some(at("2025-01-01T00:00:00Z")), ..purchase(vec![line("35")]) };
    assert!(matches!(tries(&mut shop, exchanged("o-2", too_old)), Err(Rejection::PurchaseTooOld { .. })));
    let unpayable = paid_with_points(21, purchase(vec![line("35")]));
    let refused = Rejection::InsufficientPoints { available: Points(20), requested: Points(21) };
    assert_eq!(tries(&mut shop, exchanged("o-2", unpayable)), Err(refused), "the points that come back are not there to be spent");
    assert_eq!(shop.member, before);
    let entries = tries(&mut shop, exchanged("o-2", paid_with_points(20, purchase(vec![line("35")])))).expect("both are taken");
    assert_eq!(entries.len(), 3);
    assert_eq!((returned(&entries).points, available(&shop)), (Points(30), 34));
    assert_eq!(takes(&mut shop, whole("o-2")), 34);
    assert_eq!((available(&shop), debt(&shop)), (20, 0));
}

#[test]
fn a_suspended_members_goods_come_back_but_are_not_exchanged() {
    let mut shop = Shop::open(rule_book_with(RULE));
    buys(&mut shop, "o-1", purchase(vec![line("30"), line("20")]));
    shop.does(&Command::Suspend { reason: "fraud".into() }).expect("the member is active");
    let exchange = Some(Arc::new(Purchase { order: Some(order("o-2")), ..purchase(vec![line("5")]) }));
    assert_eq!(tries(&mut shop, ReturnRequest { exchange, ..units("o-1", 0, "1") }), Err(Rejection::MemberSuspended));
    assert_eq!(takes(&mut shop, units("o-1", 0, "1")), 30);
    assert_eq!(available(&shop), 20);
}

#[test]
fn a_tier_that_was_reached_stays_and_what_counts_goes() {
    let tiers = "tiers: [{ tier_id: base }, { tier_id: gold, threshold: { qualifying_points: 100 } }]\n";
    let mut shop = Shop::open(rule_book_with(&format!("{tiers}{RULE}")));
    buys(&mut shop, "o-1", purchase(vec![line("100")]));
    assert_eq!(takes(&mut shop, whole("o-1")), 100);
    assert_eq!((shop.tier(), shop.member.header.lifetime.qualifying_points), ("gold", Points(0)));
    // What was taken from what counts by hand cannot be taken again.
    buys(&mut shop, "o-2", purchase(vec![line("50")]));
    let by_hand = Adjustment { points: Points(-40), qualifying: true, reason: "trial".into(), reference: String::new(), expiry: None };
    shop.does(&Command::AdjustPoints(by_hand)).expect("they are there");
    let back = gives(&mut shop, whole("o-2"));
    assert_eq!((back.points, back.qualifying_points, shop.member.header.lifetime.qualifying_points), (Points(50), Points(10), Points(0)));
}

/// The usual rule book, with points as money: 1 point is 100 VND.
pub async fn till(change: impl FnOnce(&mut v1::Program)) -> TestServer {
    let mut program = rule_book();
    program.redemption = Some(v1::RedemptionPolicy { points: "1".into(), amount: "100".into(), ..Default::default() });
    change(&mut program);
    let folder = TempDir::new().expect("a temporary folder");
    TestServer::start_in(folder, Arc::new(ManualClock::new(noon())), vec![program]).await
}

/// Nothing of an order yet; the request has its own id.
fn return_of(request: &str, order: &str) -> v1::ReturnPurchaseRequest {
    v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        reason: "did not fit".into(),
        reference: "return-7".into(),
        ..Default::default()
    }
}

fn units_back(line_index: i32, quantity: &str) -> Vec<v1::ReturnLine> {
    vec![v1::ReturnLine { line_index, quantity: quantity.into(), amount: None }]
}

fn kind(entry: Option<v1::Entry>) -> v1::PurchaseReturned {
    match entry.expect("an entry").kind.expect("a kind") {
        v1::entry::Kind::PurchaseReturned(returned) => returned,
        other => panic!("{other:?}"),
    }
}

pub async fn explained(server: &TestServer, member: &str, sequence: i64) -> Vec<String> {
    let request = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(member), sequence };
    server.points().explain_entry(request).await.unwrap().into_inner().explanation
}

fn no(code: Code, reason: &str) -> Refused {
    Refused { code, reason: reason.into(), fields: vec![] }
}

#[tokio::test]
async fn goods_come_back_to_the_till_and_the_answer_is_given_again() {
    let server = till(|_| {}).await;
    let member = server.enroll("c-1").await;
    let mut bought = sale(&member, "o-1", "300000");
    let basket = bought.purchase.as_mut().unwrap();
    basket.lines = vec![v1::PurchaseLine { quantity: "2".into(), ..goods_line("shirt", "200000") }, goods_line("socks", "100000")];
    server.purchases().record_purchase(bought).await.unwrap();

    let shirt = v1::ReturnPurchaseRequest { lines: units_back(0, "1"), ..return_of("back-1", "o-1") };
    let first = server.purchases().return_purchase(shirt.clone()).await.unwrap().into_inner();
    assert_eq!((first.member_id.as_str(), first.balance.as_ref().unwrap().available), (member.as_str(), 20));
    let sequence = first.entry.as_ref().unwrap().sequence;
    let told = kind(first.entry.clone());
    assert_eq!((told.points, told.qualifying_points, told.sale_sequence, told.reference.as_str()), (10, 10, 2, "return-7"));
    assert_eq!((told.from_sale[0].points, told.returned_points, told.is_void), (10, 10, false));
    assert_eq!(told.returned_lines, units_back(0, "1"));
    let sentences = [
        "Of order o-1 of store hcm-1, 100000 VND of the basis came back. 10 points are to be taken back for that, by the rules of the sale in \
         entry 2.",
        "10 of them came from the sale's own lots.",
        "10 points came from lot 1.",
        "Reason: did not fit. Reference: return-7.",
    ];
    assert_eq!(explained(&server, &member, sequence).await[..4], sentences);

    let too_much = v1::ReturnPurchaseRequest { lines: units_back(0, "2"), ..return_of("back-2", "o-1") };
    let status = server.purchases().return_purchase(too_much).await.unwrap_err();
    assert_eq!(refused(&status), no(Code::FailedPrecondition, "RETURN_TOO_LARGE"));
    let metadata = status.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!(["left", "requested", "line_index"].map(|key| metadata[key].as_str()), ["1", "2", "0"]);
    let beyond = v1::ReturnPurchaseRequest { amount: vnd("200001"), ..return_of("back-2", "o-1") };
    let status = server.purchases().return_purchase(beyond).await.unwrap_err();
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["left"], "200000");

    let all = v1::ReturnPurchaseRequest { whole_purchase: true, ..return_of("back-3", "o-1") };
    let rest = server.purchases().return_purchase(all.clone()).await.unwrap().into_inner();
    let told = kind(rest.entry.clone());
    assert_eq!((told.points, told.returned_points, told.is_void), (20, 30, true));
    let text = explained(&server, &member, rest.entry.as_ref().unwrap().sequence).await.join("\n");
    assert!(text.contains("Of this purchase 30 points have been taken back in all."), "{text}");
    let again = v1::ReturnPurchaseRequest { request_id: "back-4".into(), ..all.clone() };
    let status = server.purchases().return_purchase(again).await.unwrap_err();
    assert_eq!(refused(&status), no(Code::FailedPrecondition, "PURCHASE_RETURNED"));

    let before = server.member(&member).await;
    assert_eq!((before.balance.as_ref().unwrap().available, before.lifetime.as_ref().unwrap().visits), (0, 0));
    let server = server.restart().await;
    assert_eq!(server.purchases().return_purchase(shirt).await.unwrap().into_inner(), first);
    assert_eq!(server.purchases().return_purchase(all).await.unwrap().into_inner(), rest);
    assert_eq!(server.member(&member).await, before);
    server.stop().await;
}

#[tokio::test]
async fn an_exchange_at_the_till_is_one_step_or_none() {
    let server = till(|_| {}).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "300000")).await.unwrap();
    server.purchases().record_purchase(sale(&member, "o-2", "10000")).await.unwrap();
    let before = server.member(&member).await;
    let exchange = |order: &str| v1::ReturnPurchaseRequest {
        whole_purchase: true,
        exchange: Some(basket(order, "450000")),
        ..return_of("exchange-1", "o-1")
    };
    for (order, reason) in [("o-2", "PURCHASE_EXISTS"), ("o-1", "PURCHASE_EXISTS")] {
        let status = server.purchases().return_purchase(exchange(order)).await.unwrap_err();
        assert_eq!(refused(&status), no(Code::AlreadyExists, reason));
        assert_eq!(server.member(&member).await, before);
    }
    let mut old = exchange("o-3");
    old.exchange.as_mut().unwrap().occurred_time = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
    let status = server.purchases().return_purchase(old).await.unwrap_err();
    let too_old = Refused { code: Code::OutOfRange, reason: "PURCHASE_TOO_OLD".into(), fields: vec!["exchange.occurred_time".into()] };
    assert_eq!(refused(&status), too_old);
    let answer = server.purchases().return_purchase(exchange("o-3")).await.unwrap().into_inner();
    let bought = answer.exchange.as_ref().expect("the exchange is recorded");
    assert_eq!((kind(answer.entry.clone()).points, bought.accrual.as_ref().unwrap().points), (30, 45));
    assert_eq!((answer.balance.as_ref().unwrap().available, bought.entry_sequence), (46, answer.entry.as_ref().unwrap().sequence + 1));
    assert_eq!(server.purchases().return_purchase(exchange("o-3")).await.unwrap().into_inner(), answer);
    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-3".into() };
    assert_eq!(server.purchases().get_purchase(get).await.unwrap().into_inner().entry_sequence, bought.entry_sequence);
    server.stop().await;
}

#[tokio::test]
async fn points_that_paid_go_back_and_what_is_missing_is_told() {
    let shortfall = v1::return_policy::Shortfall::Withhold;
    let server = till(|program| program.returns = Some(v1::ReturnPolicy { own_lots_only: true, shortfall: shortfall.into() })).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "1000000")).await.unwrap();
    let mut paid = sale(&member, "o-2", "200000");
    let tender = |kind: v1::tender::Kind, amount| v1::Tender { kind: kind.into(), amount: vnd(amount) };
    let purchase = paid.purchase.as_mut().unwrap();
    purchase.tenders = vec![tender(v1::tender::Kind::Points, "10000"), tender(v1::tender::Kind::Cash, "190000")];
    purchase.points_payments = vec![v1::PointsPayment { payment: Some(v1::points_payment::Payment::RedeemPoints(100)) }];
    server.purchases().record_purchase(paid).await.unwrap();
    let spend = v1::RedeemPointsRequest {
        request_id: "spend".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        points: 15,
        ..Default::default()
    };
    server.points().redeem_points(spend).await.unwrap();
    let all = v1::ReturnPurchaseRequest { whole_purchase: true, ..return_of("back-1", "o-2") };
    let answer = server.purchases().return_purchase(all.clone()).await.unwrap().into_inner();
    let told = kind(answer.entry.clone());
    assert_eq!((told.points, told.from_sale[0].points, told.withheld, told.debt), (19, 4, 15, 0));
    assert_eq!((told.withheld_value, answer.balance.unwrap().available), (vnd("1500"), 100));
    assert_eq!((answer.reversals.len(), answer.reversals[0].points), (1, 100));
    let text = explained(&server, &member, answer.entry.unwrap().sequence).await.join("\n");
    for part in ["15 of them were not there any more: the cashier keeps their worth back.", "To keep back from the refund: 1500 VND."] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    server.stop().await;
}
