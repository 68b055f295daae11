//! Pending points: earned, shown apart, and spendable only when their time has come or the purchase is confirmed.

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::v1,
    domain::{
        Activated, Adjustment, Command, Context, Entry, EntryKind, History, HoldRequest, Points, Purchase, RedeemRequest, Rejection,
        TierId, advance, decide,
    },
};
use tonic::Code;

use crate::{
    accrual::{Shop, at, goods, line, purchase, rule_book_with},
    domain_properties::check_state,
    returns::{adjustment, available, buys, explained, gives, order, redeem, till, units, whole},
    support::{PROGRAM, Refused, TestServer, by_id, refused, sale},
};

const RULE: &str = "accrual_rules: [{ rule_id: all, per_amount: { amount: 1, points: 1 } }]\n";
const THREE_DAYS: &str = "activation: { after_days: 3 }\n";
const CONFIRMED: &str = "activation: { on_confirmation: {} }\n";
const REDEMPTION: &str = "redemption: { points: 100, amount: 1 }\n";
const TIERS: &str = "tiers: [{ tier_id: base }, { tier_id: gold, threshold: { qualifying_points: 100 }, multiplier: 2 }]\n";

fn open(fields: &str) -> Shop {
    Shop::open(rule_book_with(fields))
}

fn pending(shop: &Shop) -> i64 {
    shop.member.header.balance.pending.0
}

fn counted(shop: &Shop) -> i64 {
    shop.member.header.lifetime.qualifying_points.0
}

/// Enters what is due, as the next command of the member would.
fn wait_until(shop: &mut Shop, instant: &str) -> Vec<Entry> {
    shop.now = at(instant);
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    shop.member = decision.member;
    shop.entries.extend(decision.entries.iter().cloned());
    check_state(shop).expect("the state holds together");
    decision.entries
}

fn confirm(shop: &mut Shop, id: &str) -> Result<Vec<Entry>, Rejection> {
    shop.does(&Command::ConfirmPurchase { order: order(id) })
}

#[track_caller]
fn activated(entries: &[Entry]) -> (&Activated, Timestamp) {
    let found = entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::PointsActivated(activated) => Some((activated, entry.occurred_time)),
        _ => None,
    });
    found.expect("points become active")
}

/// "what@when" of each entry that time caused.
fn told(entries: &[Entry]) -> Vec<String> {
    let what = |entry: &Entry| match &entry.kind {
        EntryKind::PointsActivated(_) => "activated",
        EntryKind::PointsExpired(_) => "expired",
        EntryKind::HoldReleased(_) => "released",
        EntryKind::TierChanged(_) | EntryKind::TierKept(_) => "tier",
        EntryKind::PurchaseAccrued(_) => "bought",
        _ => "other",
    };
    entries.iter().map(|entry| format!("{}@{}", what(entry), entry.occurred_time)).collect()
}

#[test]
fn points_become_active_at_the_beginning_of_the_local_day() {
    let mut shop = open(&format!("{REDEMPTION}{THREE_DAYS}{RULE}"));
    // 11:00 of 10 March in New York, which is behind the change to daylight saving time.
    buys(&mut shop, "o-1", purchase(vec![line("40")]));
    assert_eq!((available(&shop), pending(&shop)), (0, 40));
    assert_eq!(shop.does(&redeem(1)), Err(Rejection::InsufficientPoints { available: Points(0), requested: Points(1) }));
    assert!(wait_until(&mut shop, "2026-03-13T03:59:59Z").is_empty());
    let entries = wait_until(&mut shop, "2026-03-13T04:00:00Z");
    assert_eq!(told(&entries), ["activated@2026-03-13T04:00:00Z"]);
    let (activated, _) = activated(&entries);
    assert_eq!((activated.lots[0].lot.points, activated.lots[0].qualifying_points, &activated.confirmed), (Points(40), Points(40), &None));
    assert_eq!((entries[0].points(), available(&shop), pending(&shop)), (Points(40), 40, 0));
    shop.does(&redeem(40)).expect("they can be spent");
}

#[test]
fn days_are_local_across_a_change_of_the_clocks() {
    let activation = |fields: &str, occurred: &str, now: &str| {
        let mut shop = open(fields);
        shop.now = at(now);
        let sale = Purchase { occurred_time: Some(at(occurred)), ..purchase(vec![line("40")]) };
        buys(&mut shop, "o-1", sale).lots[0].pending.expect("they are pending").activate_time.expect("a time").to_string()
    };
    let fields = format!("{THREE_DAYS}{RULE}");
    // New York puts its clocks forward on 8 March and back on 1 November 2026.
    assert_eq!(activation(&fields, "2026-03-06T04:59:59Z", "2026-03-06T05:00:00Z"), "2026-03-08T05:00:00Z");
    assert_eq!(activation(&fields, "2026-03-06T05:00:00Z", "2026-03-06T05:00:00Z"), "2026-03-09T04:00:00Z");
    assert_eq!(activation(&fields, "2026-10-30T12:00:00Z", "2026-10-30T12:00:00Z"), "2026-11-02T05:00:00Z");
    // A day that begins at 01:00, since the hour before does not exist.
    let fields = format!("\ntime_zone: Africa/Cairo\n{THREE_DAYS}{RULE}");
    assert_eq!(activation(&fields, "2026-04-21T12:00:00Z", "2026-04-21T12:00:00Z"), "2026-04-23T22:00:00Z");
}

#[test]
fn points_wait_for_the_confirmation_and_are_confirmed_once() {
    let mut shop = open(&format!("{CONFIRMED}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("40")]));
    buys(&mut shop, "o-2", purchase(vec![line("7")]));
    assert!(wait_until(&mut shop, "2026-12-31T00:00:00Z").is_empty());
    let entries = confirm(&mut shop, "o-1").expect("points wait for it");
    let (active, time) = activated(&entries);
    assert_eq!((active.confirmed.as_ref().map(|confirmed| &confirmed.order), time), (Some(&order("o-1")), shop.now));
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (40, 7, 40));
    assert_eq!(confirm(&mut shop, "o-1"), Err(Rejection::NothingPending));
    shop.does(&Command::Suspend { reason: "fraud".into() }).expect("the member is active");
    assert_eq!(confirm(&mut shop, "o-2"), Err(Rejection::MemberSuspended));
    assert_eq!((available(&shop), pending(&shop)), (40, 7));
    check_state(&shop).expect("the state holds together");
}

#[test]
fn what_was_never_pending_or_has_a_time_is_not_confirmed() {
    for fields in [RULE.to_owned(), format!("{THREE_DAYS}{RULE}")] {
        let mut shop = open(&fields);
        buys(&mut shop, "o-1", purchase(vec![line("40")]));
        assert_eq!(confirm(&mut shop, "o-1"), Err(Rejection::NothingPending));
    }
}

#[test]
fn a_rule_has_its_own_activation() {
    let mut shop = open(
        "activation: { after_days: 3 }
accrual_rules:
- { rule_id: now, per_order: { points: 1 }, activation: { immediate: {} } }
- { rule_id: later, per_order: { points: 20 } }
- { rule_id: confirmed, per_order: { points: 300 }, activation: { on_confirmation: {} } }
- { rule_id: tomorrow, per_order: { points: 4000 }, activation: { after_days: 1 } }
",
    );
    let accrual = buys(&mut shop, "o-1", purchase(vec![line("40")]));
    assert_eq!((accrual.lots.len(), available(&shop), pending(&shop)), (4, 1, 4_320));
    confirm(&mut shop, "o-1").expect("points wait for it");
    assert_eq!((available(&shop), pending(&shop)), (301, 4_020));
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    assert_eq!(told(&entries), ["activated@2026-03-11T04:00:00Z", "activated@2026-03-13T04:00:00Z"]);
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (4_321, 0, 4_321));
}

#[test]
fn expiry_can_be_counted_from_the_activation() {
    let expiry = |fields: &str| {
        let mut shop = open(fields);
        buys(&mut shop, "o-1", purchase(vec![line("40")]));
        wait_until(&mut shop, "2026-03-15T12:00:00Z");
        if pending(&shop) > 0 {
            confirm(&mut shop, "o-1").expect("points wait for it");
        }
        let lot = shop.member.lots.values().next().expect("the points are active");
        (lot.earn_time, lot.expiry.time().expect("they lapse").to_string())
    };
    let earned = at("2026-03-10T15:00:00Z");
    let (from_sale, from_activation) = ("expiry: { after: { days: 10 } }\n", "expiry: { after: { days: 10, from_activation: true } }\n");
    assert_eq!(expiry(&format!("{from_sale}{THREE_DAYS}{RULE}")), (earned, "2026-03-21T04:00:00Z".into()));
    assert_eq!(expiry(&format!("{from_activation}{THREE_DAYS}{RULE}")), (earned, "2026-03-24T04:00:00Z".into()));
    assert_eq!(expiry(&format!("{from_sale}{CONFIRMED}{RULE}")), (earned, "2026-03-21T04:00:00Z".into()));
    assert_eq!(expiry(&format!("{from_activation}{CONFIRMED}{RULE}")), (earned, "2026-03-26T04:00:00Z".into()));
    assert_eq!(expiry(&format!("{from_activation}{RULE}")), (earned, "2026-03-21T04:00:00Z".into()));
    let months = "expiry: { after: { months: 1, from_activation: true } }\n";
    assert_eq!(expiry(&format!("{months}{CONFIRMED}{RULE}")), (earned, "2026-04-16T04:00:00Z".into()));
}

/// Of rules that wait for the same confirmation those that never lapse are kept apart from those whose expiry is not known yet.
#[test]
fn what_never_lapses_is_not_mixed_with_what_lapses_after_its_confirmation() {
    let mut shop = open(
        "activation: { on_confirmation: {} }
accrual_rules:
- { rule_id: never, per_order: { points: 1 } }
- { rule_id: days, per_order: { points: 20 }, expiry: { after: { days: 5, from_activation: true } } }
- { rule_id: also-days, per_order: { points: 300 }, expiry: { after: { days: 5, from_activation: true } } }
",
    );
    assert_eq!(buys(&mut shop, "o-1", purchase(vec![line("40")])).lots.len(), 2);
    confirm(&mut shop, "o-1").expect("points wait for it");
    let lots: Vec<_> = shop.member.lots.values().map(|lot| (lot.remaining.0, lot.expiry.time().is_some())).collect();
    assert_eq!(lots, [(320, true), (1, false)]);
}

#[test]
fn a_tier_is_reached_when_the_points_become_active_unless_they_count_before() {
    let mut shop = open(&format!("{THREE_DAYS}{TIERS}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("100")]));
    assert_eq!((shop.tier(), counted(&shop)), ("", 0));
    let entries = wait_until(&mut shop, "2026-03-14T00:00:00Z");
    assert_eq!(told(&entries), ["activated@2026-03-13T04:00:00Z", "tier@2026-03-13T04:00:00Z"]);
    assert_eq!((shop.tier(), counted(&shop)), ("gold", 100));
    assert!(entries.iter().all(|entry| entry.request.is_none()));

    let mut shop = open(&format!("{CONFIRMED}{TIERS}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("100")]));
    let entries = confirm(&mut shop, "o-1").expect("points wait for it");
    assert_eq!((entries.len(), shop.tier()), (2, "gold"));

    let mut shop = open(&format!("{THREE_DAYS}tier_policy: {{ qualify_pending: true }}\n{TIERS}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("100")]));
    assert_eq!((shop.tier(), counted(&shop), pending(&shop)), ("gold", 100, 100));
    wait_until(&mut shop, "2026-03-14T00:00:00Z");
    assert_eq!((counted(&shop), available(&shop)), (100, 100));
    assert_eq!((gives(&mut shop, whole("o-1")).qualifying_points, counted(&shop)), (Points(100), 0));
}

#[test]
fn a_late_sale_whose_day_has_passed_is_active_at_once() {
    let mut shop = open(&format!("expiry: {{ after: {{ days: 5 }} }}\n{THREE_DAYS}{TIERS}{RULE}"));
    let late = |amount: &str, occurred: &str| {
        Command::RecordPurchase(
            Purchase {
                occurred_time: Some(at(occurred)),
                order: Some(order(occurred.split_once('T').expect("a time").0)),
                ..purchase(vec![line(amount)])
            }
            .into(),
        )
    };
    let entries = shop.does(&late("100", "2026-03-06T12:00:00Z")).expect("it is not too late");
    let expected = ["bought@2026-03-06T12:00:00Z", "activated@2026-03-09T04:00:00Z", "tier@2026-03-09T04:00:00Z"];
    assert_eq!(told(&entries), expected);
    assert_eq!((available(&shop), pending(&shop), shop.tier()), (100, 0, "gold"));
    // Before the tier was held, and after.
    shop.does(&late("10", "2026-03-07T12:00:00Z")).expect("it is not too late");
    assert_eq!((available(&shop), pending(&shop)), (110, 0));
    shop.does(&late("10", "2026-03-09T12:00:00Z")).expect("it is not too late");
    assert_eq!((available(&shop), pending(&shop)), (110, 20));
    // It has lapsed since, too.
    let entries = shop.does(&late("30", "2026-03-02T12:00:00Z")).expect("it is not too late");
    let expected = ["bought@2026-03-02T12:00:00Z", "activated@2026-03-05T05:00:00Z", "expired@2026-03-08T05:00:00Z"];
    assert_eq!(told(&entries), expected);
    assert_eq!((available(&shop), pending(&shop)), (110, 20));
    check_state(&shop).expect("the state holds together");
}

/// What is loaded for a sale is the header alone: the pending lots of earlier sales are not seen, and must not be forgotten.
#[test]
fn a_late_sale_does_not_hide_when_other_points_become_active() {
    let mut shop = open(&format!("{THREE_DAYS}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("40")]));
    let due = shop.member.header.next_activation_time;
    let unseen = std::mem::take(&mut shop.member.pending);
    buys(&mut shop, "o-2", Purchase { occurred_time: Some(at("2026-03-05T12:00:00Z")), ..purchase(vec![line("10")]) });
    assert_eq!((available(&shop), shop.member.header.next_activation_time), (10, due));
    shop.member.pending.extend(unseen);
    wait_until(&mut shop, "2026-03-14T00:00:00Z");
    assert_eq!(available(&shop), 50);
}

#[test]
fn points_that_lapse_before_they_are_active_lapse_when_they_become_so() {
    let mut shop = open(&format!("expiry: {{ after: {{ days: 1 }} }}\n{THREE_DAYS}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("40")]));
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    assert_eq!(told(&entries), ["activated@2026-03-13T04:00:00Z", "expired@2026-03-13T04:00:00Z"]);
    assert_eq!((available(&shop), pending(&shop), shop.member.header.balance.expired.0), (0, 0, 40));
    let mut shop = open(&format!("expiry: {{ after: {{ days: 1 }} }}\n{CONFIRMED}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("40")]));
    wait_until(&mut shop, "2026-03-20T00:00:00Z");
    assert_eq!(pending(&shop), 40);
    let entries = confirm(&mut shop, "o-1").expect("points wait for it");
    assert_eq!(told(&entries), ["activated@2026-03-20T00:00:00Z", "expired@2026-03-20T00:00:00Z"]);
    check_state(&shop).expect("the state holds together");
}

#[test]
fn a_return_takes_pending_points_first_with_what_waits_to_count() {
    let mut shop = open(
        "accrual_rules:
- { rule_id: now, per_amount: { amount: 1, points: 1 } }
- { rule_id: later, per_amount: { amount: 1, points: 1 }, activation: { after_days: 3 } }
",
    );
    buys(&mut shop, "o-1", purchase(vec![line("30"), line("20")]));
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (50, 50, 50));
    let back = gives(&mut shop, units("o-1", 1, "1"));
    assert_eq!((back.points, back.from_pending[0].points, back.from_sale.len()), (Points(40), Points(40), 0));
    // Of 40 that counted or were to count all waited.
    assert_eq!((back.qualifying_points, back.from_pending[0].qualifying_points), (Points(0), Points(40)));
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (50, 10, 50));
    wait_until(&mut shop, "2026-03-14T00:00:00Z");
    assert_eq!((available(&shop), counted(&shop)), (60, 60));
    let back = gives(&mut shop, whole("o-1"));
    assert_eq!((back.points, back.qualifying_points, back.from_sale.len()), (Points(60), Points(60), 2));
    assert_eq!((available(&shop), counted(&shop)), (0, 0));
}

/// The pending points of a sale go first, whichever goods come back; what they were to count counts for those that stay.
#[test]
fn what_counts_follows_the_goods_that_stay() {
    let mut shop = open(
        "tiers: [{ tier_id: base }, { tier_id: gold, threshold: { qualifying_points: 30 } }]
accrual_rules:
- { rule_id: tea, per_amount: { amount: 1, points: 1 }, filter: { categories: [tea] }, activation: { after_days: 3 } }
- { rule_id: bags, per_amount: { amount: 1, points: 1 }, filter: { categories: [bags] }, without_qualifying: true }
",
    );
    buys(&mut shop, "o-1", purchase(vec![goods("", "tea", "1", "30"), goods("", "bags", "1", "30")]));
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (30, 30, 0));
    let back = gives(&mut shop, units("o-1", 1, "1"));
    assert_eq!((back.points, back.from_pending[0].points, back.sale.returned.qualifying_points), (Points(30), Points(30), Points(0)));
    assert_eq!((available(&shop), pending(&shop), counted(&shop), shop.tier()), (30, 0, 30, "gold"));
    gives(&mut shop, whole("o-1"));
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (0, 0, 0));
}

#[test]
fn return_and_confirmation_come_in_either_order() {
    let bought = || {
        let mut shop = open(&format!("{CONFIRMED}{RULE}"));
        buys(&mut shop, "o-1", purchase(vec![line("30"), line("20")]));
        shop
    };
    let mut shop = bought();
    gives(&mut shop, units("o-1", 0, "1"));
    confirm(&mut shop, "o-1").expect("points wait for it");
    assert_eq!((available(&shop), pending(&shop), counted(&shop)), (20, 0, 20));
    let rest = gives(&mut shop, whole("o-1"));
    assert_eq!((rest.points, rest.from_sale[0].points, rest.debt), (Points(20), Points(20), Points(0)));
    assert_eq!((available(&shop), counted(&shop)), (0, 0));

    let mut shop = bought();
    confirm(&mut shop, "o-1").expect("points wait for it");
    assert_eq!(gives(&mut shop, units("o-1", 0, "1")).from_sale[0].points, Points(30));
    assert_eq!((available(&shop), counted(&shop)), (20, 20));
    assert_eq!(confirm(&mut shop, "o-1"), Err(Rejection::NothingPending));
    // The totals of the return survive the refusal, and those of the confirmation the return.
    assert_eq!(gives(&mut shop, whole("o-1")).from_sale[0].points, Points(20));

    let mut shop = bought();
    gives(&mut shop, whole("o-1"));
    assert_eq!(confirm(&mut shop, "o-1"), Err(Rejection::NothingPending));
}

/// Their expiry is counted from the confirmation, so the lot is another one than it would have been.
#[test]
fn points_are_found_where_their_confirmation_put_them() {
    let mut shop =
        open(&format!("expiry: {{ after: {{ days: 10, from_activation: true }} }}\nreturns: {{ own_lots_only: true }}\n{CONFIRMED}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("30"), line("20")]));
    shop.does(&adjustment(100)).expect("points can be given");
    shop.now += 48.hours();
    confirm(&mut shop, "o-1").expect("points wait for it");
    for request in [units("o-1", 0, "1"), whole("o-1")] {
        let back = gives(&mut shop, request);
        assert_eq!((back.from_sale[0].points, back.debt), (back.points, Points(0)));
    }
    assert_eq!(available(&shop), 100);
}

#[test]
fn points_that_become_active_pay_debt() {
    for (activation, confirms) in [(THREE_DAYS, false), (CONFIRMED, true)] {
        let mut shop = open(&format!("adjustments: {{ into_debt: true }}\n{activation}{RULE}"));
        buys(&mut shop, "o-1", purchase(vec![line("30")]));
        shop.does(&adjustment(-20)).expect("it is owed");
        assert_eq!((available(&shop), pending(&shop), shop.member.header.balance.debt.0), (0, 30, 20));
        let entries =
            if confirms { confirm(&mut shop, "o-1").expect("points wait") } else { wait_until(&mut shop, "2026-03-14T00:00:00Z") };
        let (active, _) = activated(&entries);
        assert_eq!((active.lots[0].lot.debt_paid, entries[0].points()), (Points(20), Points(10)));
        assert_eq!((available(&shop), shop.member.header.balance.debt.0, counted(&shop)), (10, 0, 30));
        // What paid debt is owed when the goods come back.
        let back = gives(&mut shop, whole("o-1"));
        assert_eq!((back.from_sale[0].points, back.debt), (Points(10), Points(20)));
        check_state(&shop).expect("the state holds together");
    }
}

/// Points become active, a hold ends and lots lapse at the same midnight.
#[test]
fn what_is_due_at_the_same_instant_goes_in_an_order() {
    let mut shop = open(
        "expiry: { after: { days: 2 } }
redemption: { points: 100, amount: 1, maximum_hold_seconds: 300000 }
accrual_rules:
- { rule_id: all, per_amount: { amount: 1, points: 1 } }
- rule_id: later
  per_amount: { amount: 1, points: 1 }
  activation: { after_days: 3 }
  expiry: { after: { days: 2, from_activation: true } }
",
    );
    buys(&mut shop, "o-1", purchase(vec![line("40")]));
    // From 11:00 to the midnight that begins 13 March.
    let redeem = RedeemRequest { points: Some(Points(15)), ..RedeemRequest::default() };
    let hold = HoldRequest { redeem, seconds: Some(61 * 3_600) };
    shop.does(&Command::HoldPoints(hold)).expect("they are available");
    let entries = wait_until(&mut shop, "2026-03-13T04:00:00Z");
    let midnight = "2026-03-13T04:00:00Z";
    assert_eq!(told(&entries), ["activated", "released", "expired"].map(|what| format!("{what}@{midnight}")));
    assert_eq!((available(&shop), shop.member.header.balance.expired), (40, Points(40)));
}

/// A read sees what is due though nobody has written it, and deciding right away gives the same.
#[test]
fn advancing_early_and_often_changes_nothing() {
    let mut shop = open(&format!("expiry: {{ after: {{ days: 5 }} }}\n{THREE_DAYS}{TIERS}{RULE}"));
    for (day, amount) in [("10", "60"), ("11", "50"), ("12", "40")] {
        shop.now = at(&format!("2026-03-{day}T15:00:00Z"));
        buys(&mut shop, day, purchase(vec![line(amount)]));
    }
    let mut often = Shop { programs: shop.programs.clone(), member: shop.member.clone(), now: shop.now, entries: shop.entries.clone() };
    for hour in 0..24 * 8 {
        let instant = (at("2026-03-12T15:00:00Z") + hour.hours()).to_string();
        wait_until(&mut often, &instant);
    }
    wait_until(&mut shop, "2026-03-20T14:00:00Z");
    assert_eq!(often.member.header.balance, shop.member.header.balance);
    assert_eq!(often.member.header.tier, shop.member.header.tier);
    assert_eq!(told(&often.entries), told(&shop.entries));
    let context = Context {
        programs: &shop.programs,
        now: shop.now,
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: History::NONE,
    };
    let tier = Command::SetTier { tier: TierId::new("base").expect("an id"), reason: "trial".into(), last_date: None };
    assert!(decide(context, shop.member.clone(), &tier).is_ok());
}

#[test]
fn an_adjustment_beyond_the_balance_is_refused_or_owed() {
    let mut shop = open(RULE);
    buys(&mut shop, "o-1", purchase(vec![line("30")]));
    let refused = Rejection::InsufficientPoints { available: Points(30), requested: Points(31) };
    assert_eq!(shop.does(&adjustment(-31)), Err(refused));

    let mut shop = open(&format!("adjustments: {{ into_debt: true, maximum_points: 100 }}\n{REDEMPTION}{RULE}"));
    buys(&mut shop, "o-1", purchase(vec![line("30")]));
    assert_eq!(shop.does(&adjustment(-101)), Err(Rejection::AdjustmentTooLarge { limit: Points(100), requested: Points(-101) }));
    let entries = shop.does(&adjustment(-100)).expect("it is owed");
    let EntryKind::PointsAdjusted(adjusted) = &entries[0].kind else { panic!("{entries:?}") };
    assert_eq!((adjusted.points, adjusted.allocations[0].points, adjusted.debt), (Points(-100), Points(30), Points(70)));
    assert_eq!((entries[0].points(), available(&shop), shop.member.header.balance.debt.0), (Points(-30), 0, 70));
    shop.does(&adjustment(-5)).expect("it is owed");
    assert_eq!(shop.does(&redeem(1)), Err(Rejection::InDebt { debt: Points(75) }));
    let qualifying = Adjustment { points: Points(80), qualifying: true, reason: "goodwill".into(), reference: String::new(), expiry: None };
    shop.does(&Command::AdjustPoints(qualifying)).expect("points can be given");
    assert_eq!((available(&shop), shop.member.header.balance.debt.0, counted(&shop)), (5, 0, 110));
    check_state(&shop).expect("the state holds together");
}

async fn lots(server: &TestServer, member: &str) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        // One at a time: what is not written yet is on no page twice.
        let request = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 1, page_token };
        let page = server.points().list_lots(request).await.unwrap().into_inner();
        found.extend(page.lots.into_iter().map(|lot| (lot.lot_id, lot.remaining_points)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn reads_show_points_as_active_before_that_is_written() {
    let server = till(|program| {
        program.activation = Some(v1::ActivationPolicy { policy: Some(v1::activation_policy::Policy::AfterDays(2)) });
    })
    .await;
    let member = server.enroll("c-1").await;
    for (order, amount) in [("o-1", "500000"), ("o-2", "4500000")] {
        let recorded = server.purchases().record_purchase(sale(&member, order, amount)).await.unwrap().into_inner();
        let lot = &recorded.accrual.as_ref().unwrap().lots[0];
        assert!(lot.pending && lot.activate_time.is_some());
        server.days_later(1);
    }
    let text = explained(&server, &member, 2).await.join("\n");
    assert!(text.contains("50 points in lot 1, pending until 2026-03-12 00:00:00, valid until the end of 2027-03-10."), "{text}");
    assert!(text.contains("50 of these count only when the points become active."), "{text}");
    // Two days after the first sale, one after the second.
    let shown = server.member(&member).await;
    let balance = shown.balance.unwrap();
    assert_eq!((balance.available, balance.pending, shown.tier.as_ref().unwrap().tier_id.as_str()), (50, 450, "member"));
    assert_eq!(lots(&server, &member).await, [("1".to_owned(), 50)]);
    server.days_later(1);
    let shown = server.member(&member).await;
    let balance = shown.balance.unwrap();
    assert_eq!((balance.available, balance.pending, shown.tier.as_ref().unwrap().tier_id.as_str()), (500, 0, "silver"));
    assert_eq!(lots(&server, &member).await, [("1".to_owned(), 50), ("2".to_owned(), 450)]);
    let text = explained(&server, &member, 5).await.join("\n");
    assert!(text.contains("450 pending points became active, since their time had come."), "{text}");
    assert!(text.contains("450 points of entry 3 are in lot 2, valid until the end of 2027-03-11."), "{text}");
    // The next command writes what was shown.
    let recorded = server.purchases().record_purchase(sale(&member, "o-3", "10000")).await.unwrap().into_inner();
    assert_eq!((recorded.tier_id.as_str(), recorded.entry_sequence, recorded.balance.unwrap().available), ("silver", 7, 500));
    assert_eq!(lots(&server, &member).await, [("1".to_owned(), 50), ("2".to_owned(), 450)]);
    server.stop().await;
}

#[tokio::test]
async fn a_purchase_is_confirmed_once_and_the_answer_is_given_again() {
    let server = till(|program| {
        let confirmation = v1::activation_policy::Confirmation {};
        program.activation = Some(v1::ActivationPolicy { policy: Some(v1::activation_policy::Policy::OnConfirmation(confirmation)) });
    })
    .await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "5000000")).await.unwrap();
    let text = explained(&server, &member, 2).await.join("\n");
    assert!(text.contains("500 points in lot 1, pending until the purchase is confirmed, valid until"), "{text}");
    let confirm = |request: &str, order: &str| v1::ConfirmPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        actor: None,
    };
    let first = server.purchases().confirm_purchase(confirm("c-1", "o-1")).await.unwrap().into_inner();
    let balance = first.balance.unwrap();
    assert_eq!((first.member_id.as_str(), balance.available, balance.pending), (member.as_str(), 500, 0));
    assert_eq!(first.tier_change.as_ref().unwrap().to_tier_id, "silver");
    let text = explained(&server, &member, first.entry.as_ref().unwrap().sequence).await.join("\n");
    assert!(text.contains("500 pending points became active, when order o-1 of store hcm-1 was confirmed."), "{text}");
    let status = server.purchases().confirm_purchase(confirm("c-2", "o-1")).await.unwrap_err();
    assert_eq!(refused(&status), Refused { code: Code::FailedPrecondition, reason: "NOTHING_PENDING".into(), fields: vec![] });
    let server = server.restart().await;
    assert_eq!(server.purchases().confirm_purchase(confirm("c-1", "o-1")).await.unwrap().into_inner(), first);
    server.stop().await;
}
