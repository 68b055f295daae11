//! Goals: a stamp card that gives its voucher by itself, told by the entries that a member's commands lead to.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::{program, rule_book},
    domain::{
        Balance, Command, Entry, EntryKind, GoalChanged, GoalPaid, GoalRefund, GoalWaiting, HoldId, HoldRequest, Lot, LotExpiry, LotId,
        LotKey, MAX_LOTS, Member, MemberState, OrderKey, Points, Program, Purchase, RedeemRequest, Rejection, ReversalRequest,
        VoucherCause, VoucherChange, VoucherCode, VoucherRequest, advance,
    },
};
use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};

use crate::{
    accrual::{Shop, at, goods, purchase, rule_book_with},
    domain_properties::{cases, check_state},
    returns::{adjustment, available, buys, gives, order, redeem, tries, units, whole},
};

/// A unit is a stamp; a voucher is good for 30 days.
const CARD: &str = "
accrual_rules: [{ rule_id: stamp, per_unit: { points: 1 } }]
voucher_kinds: [{ voucher_kind_id: coffee, benefit: { custom: { key: coffee } }, valid_days: 30 }]
";

/// Ten stamps are a coffee.
fn card(goal: &str, more: &str) -> String {
    format!("{CARD}goals: [{{ goal_id: card, points: 10, voucher_kind_id: coffee{goal} }}]\n{more}")
}

fn open(goal: &str, more: &str) -> Shop {
    Shop::open(rule_book_with(&card(goal, more)))
}

fn publish(shop: &mut Shop, version: u32, fields: &str) {
    let program = Program { version, publish_time: shop.now, ..rule_book_with(fields) };
    shop.programs = shop.programs.with(Arc::new(program));
}

fn coffees(count: i64) -> Purchase {
    purchase(vec![goods("coffee", "", &count.to_string(), &count.to_string())])
}

/// Buys so many coffees; how many vouchers that leads to.
fn stamps(shop: &mut Shop, id: &str, count: i64) -> usize {
    let before = shop.entries.len();
    buys(shop, id, coffees(count));
    check_state(shop).expect("the state holds together");
    issued(&shop.entries[before..]).len()
}

fn issued(entries: &[Entry]) -> Vec<(&Entry, &GoalPaid)> {
    entries.iter().filter_map(|entry| Some((entry, entry.voucher_change()?.goal_paid()?))).collect()
}

fn changes(entries: &[Entry]) -> Vec<&GoalChanged> {
    let mut found = Vec::new();
    for entry in entries {
        if let EntryKind::GoalChanged(changed) = &entry.kind {
            found.push(changed);
        }
    }
    found
}

fn live(shop: &Shop) -> usize {
    shop.member.vouchers.len()
}

fn code(shop: &Shop) -> VoucherCode {
    *shop.member.vouchers.keys().next().expect("a voucher")
}

/// When so many vouchers are delivered.
fn waiting(shop: &Shop) -> Vec<(String, u32)> {
    shop.member.header.goals.waiting.iter().map(|one| (one.due_time.to_string(), one.vouchers)).collect()
}

fn cancel(shop: &mut Shop, code: VoucherCode) -> Result<Vec<Entry>, Rejection> {
    let entries = shop.does(&Command::Voucher(VoucherRequest::Cancel { code, reason: "changed her mind".into() }));
    check_state(shop).expect("the state holds together");
    entries
}

fn refund(entries: &[Entry]) -> &GoalRefund {
    entries.iter().find_map(|entry| entry.voucher_change()?.goal_refund()).expect("points come back")
}

/// Enters what is due, as the next command of the member would.
fn wait_until(shop: &mut Shop, instant: &str) -> Vec<Entry> {
    shop.now = at(instant);
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    shop.member = decision.member;
    shop.entries.extend(decision.entries.iter().cloned());
    check_state(shop).expect("the state holds together");
    assert!(!shop.member.header.is_due(shop.now), "nothing stays due");
    decision.entries
}

#[test]
fn the_tenth_stamp_is_a_voucher_in_the_same_commit() {
    let mut shop = open("", "");
    assert_eq!(stamps(&mut shop, "o-1", 9), 0);
    assert_eq!((available(&shop), live(&shop)), (9, 0));
    assert_eq!(stamps(&mut shop, "o-2", 1), 1);
    assert_eq!((available(&shop), live(&shop), shop.member.header.balance.redeemed), (0, 1, Points(10)));
    let [(entry, paid)] = issued(&shop.entries)[..] else { panic!("one is issued") };
    // Out of both lots, the older one first, and brought by the sale right before it.
    let parts: Vec<i64> = paid.portions.iter().map(|portion| portion.points.0).collect();
    assert_eq!((parts, entry.points(), paid.reached_by, paid.waited), (vec![9, 1], Points(-10), entry.sequence - 1, false));
    let voucher = &shop.member.vouchers[&code(&shop)];
    assert_eq!((voucher.cause, voucher.kind.as_str(), voucher.issue_time), (VoucherCause::Goal, "coffee", shop.now));
}

#[test]
fn twenty_five_stamps_in_one_sale_are_two_vouchers_and_five_stay() {
    let mut shop = open("", "");
    assert_eq!(stamps(&mut shop, "o-1", 25), 2);
    assert_eq!((available(&shop), live(&shop)), (5, 2));
    assert_eq!(stamps(&mut shop, "o-2", 5), 1);
    assert_eq!((available(&shop), live(&shop)), (0, 3));
}

#[test]
fn a_sale_leads_to_at_most_so_many_and_the_next_stamp_to_more() {
    let mut shop = open(", maximum_at_once: 1", "");
    assert_eq!(stamps(&mut shop, "o-1", 25), 1);
    assert_eq!((available(&shop), live(&shop)), (15, 1));
    assert_eq!(stamps(&mut shop, "o-2", 1), 1);
    assert_eq!((available(&shop), live(&shop)), (6, 2));
    let mut shop = open("", "");
    assert_eq!(stamps(&mut shop, "o-1", 2_000), 100, "more than a hundred never come at once");
    assert_eq!(available(&shop), 1_000);
}

#[test]
fn a_member_never_has_more_than_a_thousand_vouchers_from_goals() {
    let mut shop = open("", "");
    for sale in 0..10 {
        assert_eq!(stamps(&mut shop, &format!("o-{sale}"), 1_000), 100);
    }
    assert_eq!((stamps(&mut shop, "o-more", 30), available(&shop), live(&shop)), (0, 30, 1_000));
    let code = code(&shop);
    shop.does(&Command::Voucher(VoucherRequest::Use { code, order: None, order_total: None, value: None })).expect("it is used");
    assert_eq!((stamps(&mut shop, "o-again", 1), available(&shop)), (1, 21));
}

#[test]
fn debt_is_paid_before_a_goal() {
    let mut shop = open("", "adjustments: { into_debt: true }\n");
    shop.does(&adjustment(-3)).expect("an adjustment");
    assert_eq!(stamps(&mut shop, "o-1", 12), 0);
    assert_eq!((available(&shop), live(&shop)), (9, 0));
    let progress = shop.programs.newest().goal.as_ref().expect("a goal").progress(&shop.member.header).expect("in range");
    assert_eq!(progress.missing, Points(1));
    assert_eq!(stamps(&mut shop, "o-2", 1), 1);
}

#[test]
fn whatever_brings_points_reaches_the_goal() {
    let redemption = "redemption: { points: 1, amount: 1 }\nactivity_rules: [{ rule_id: review, activity: review, points: 4 }]\n";
    let mut shop = open("", redemption);
    shop.does(&adjustment(23)).expect("an adjustment");
    assert_eq!((available(&shop), live(&shop)), (3, 2));
    let activity = crate::support::histories::activity("review", "r-1", None);
    shop.does(&activity).expect("a review");
    assert_eq!((available(&shop), live(&shop)), (7, 2));
    // Spent, and back: with what came meanwhile that is enough.
    let redeemed = shop.does(&redeem(5)).expect("points are spent").last().expect("an entry").sequence;
    assert_eq!(stamps(&mut shop, "o-1", 5), 0);
    let reversal = ReversalRequest { ledger: None, redemption: redeemed, points: None, reason: "back".into() };
    shop.does(&Command::ReverseRedemption(reversal)).expect("it goes back");
    assert_eq!((available(&shop), live(&shop)), (2, 3));
    // What a hold gives back, by itself.
    stamps(&mut shop, "o-2", 6);
    let request = RedeemRequest { points: Some(Points(5)), ..RedeemRequest::default() };
    shop.does(&Command::HoldPoints(HoldRequest { redeem: request, seconds: Some(600) })).expect("a hold");
    assert_eq!((stamps(&mut shop, "o-3", 6), available(&shop)), (0, 9));
    let end = shop.now + 10.minutes();
    let entries = wait_until(&mut shop, &(end + 1.hour()).to_string());
    let [(entry, _)] = issued(&entries)[..] else { panic!("{entries:#?}") };
    assert_eq!((entry.occurred_time, available(&shop), live(&shop)), (end, 4, 4));
}

#[test]
fn pending_stamps_reach_the_goal_when_they_become_active() {
    let mut shop = open("", "activation: { after_days: 3 }\n");
    assert_eq!(stamps(&mut shop, "o-1", 10), 0);
    assert_eq!((available(&shop), live(&shop)), (0, 0));
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    let [(entry, paid)] = issued(&entries)[..] else { panic!("{entries:#?}") };
    assert_eq!(entry.occurred_time, at("2026-03-13T04:00:00Z"), "as if it had been entered on time");
    assert_eq!((paid.reached_by, available(&shop), live(&shop)), (entry.sequence - 1, 0, 1));
    // A sale that is told late brings what is active already: it counts from now.
    let late = Purchase { occurred_time: Some(shop.now - 120.hours()), ..coffees(10) };
    let before = shop.entries.len();
    buys(&mut shop, "o-2", late);
    let [(entry, _)] = issued(&shop.entries[before..])[..] else { panic!("{:#?}", &shop.entries[before..]) };
    assert_eq!((entry.occurred_time, live(&shop)), (shop.now, 2));
}

#[test]
fn a_voucher_that_was_due_long_ago_has_lapsed_by_now() {
    let mut shop = open("", "activation: { after_days: 3 }\n");
    stamps(&mut shop, "o-1", 10);
    let entries = wait_until(&mut shop, "2026-07-01T00:00:00Z");
    assert_eq!((issued(&entries).len(), live(&shop), available(&shop)), (1, 0, 0));
    let last = entries.last().and_then(Entry::voucher_change).expect("a change");
    assert_eq!(last.change, VoucherChange::Expired);
}

#[test]
fn with_a_delay_the_stamps_stay_until_the_day_and_a_return_takes_what_is_not_delivered() {
    let mut shop = open(", delay_days: 14", "");
    assert_eq!(stamps(&mut shop, "o-1", 21), 0);
    // 11:00 of 10 March in New York.
    let due = "2026-03-24T04:00:00Z";
    assert_eq!((available(&shop), waiting(&shop)), (21, vec![(due.to_owned(), 2)]));
    assert_eq!(shop.member.header.next_due_time(), Some(at(due)));
    // Days later ten more.
    wait_until(&mut shop, "2026-03-15T15:00:00Z");
    stamps(&mut shop, "o-2", 10);
    let later = "2026-03-29T04:00:00Z";
    assert_eq!(waiting(&shop), [(due.to_owned(), 2), (later.to_owned(), 1)]);
    // What was reached last goes first.
    gives(&mut shop, units("o-1", 0, "2"));
    assert_eq!((available(&shop), waiting(&shop)), (29, vec![(due.to_owned(), 2)]));
    assert_eq!(changes(&shop.entries).last().map(|changed| changed.vouchers), Some(-1));
    gives(&mut shop, whole("o-2"));
    assert_eq!((available(&shop), waiting(&shop)), (19, vec![(due.to_owned(), 1)]));
    let entries = wait_until(&mut shop, "2026-03-26T15:00:00Z");
    let [(entry, paid)] = issued(&entries)[..] else { panic!("{entries:#?}") };
    assert_eq!((entry.occurred_time, paid.waited, paid.reached_by), (at(due), true, 0));
    assert_eq!((available(&shop), live(&shop), waiting(&shop)), (9, 1, vec![]));
    // One stamp more begins the wait anew.
    stamps(&mut shop, "o-3", 1);
    assert_eq!(waiting(&shop), [("2026-04-09T04:00:00Z".to_owned(), 1)]);
}

#[test]
fn what_lapses_or_is_spent_before_the_day_is_not_delivered() {
    let mut shop = open(", delay_days: 14", "redemption: { points: 1, amount: 1 }\nexpiry: { after: { days: 13 } }\n");
    stamps(&mut shop, "o-1", 10);
    let entries = wait_until(&mut shop, "2026-04-01T00:00:00Z");
    assert_eq!((issued(&entries).len(), changes(&entries).len(), waiting(&shop).len()), (0, 1, 0), "{entries:#?}");
    stamps(&mut shop, "o-2", 20);
    shop.does(&redeem(11)).expect("points are spent");
    assert_eq!((available(&shop), waiting(&shop).len()), (9, 0));
}

#[test]
fn points_that_are_set_aside_still_count_while_a_voucher_waits() {
    let mut shop = open(", delay_days: 2", "redemption: { points: 1, amount: 1 }\n");
    stamps(&mut shop, "o-1", 10);
    let due = waiting(&shop);
    let hold = |points| {
        let redeem = RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() };
        Command::HoldPoints(HoldRequest { redeem, seconds: Some(86_400) })
    };
    let held = shop.does(&hold(5)).expect("a hold").last().expect("an entry").sequence;
    assert_eq!(waiting(&shop), due);
    shop.does(&Command::ReleaseHold { hold: HoldId(held), reason: String::new() }).expect("it is released");
    assert_eq!(waiting(&shop), due, "an abandoned cart does not begin the wait anew");
    shop.now += 30.hours();
    shop.does(&hold(5)).expect("a hold");
    // They are not there on the day; when they come back the goal is reached anew.
    let entries = wait_until(&mut shop, "2026-03-12T12:00:00Z");
    assert_eq!((issued(&entries).len(), changes(&entries).len()), (0, 1));
    wait_until(&mut shop, "2026-03-13T12:00:00Z");
    assert_eq!(waiting(&shop), [("2026-03-14T04:00:00Z".to_owned(), 1)]);
}

#[test]
fn a_return_after_the_delivery_takes_what_the_programme_says() {
    for (shortfall, debt) in [("DEBT", 5), ("FORGIVE", 0), ("WITHHOLD", 0), ("REFUSE", 0)] {
        let mut shop = open("", &format!("returns: {{ shortfall: SHORTFALL_{shortfall} }}\n"));
        stamps(&mut shop, "o-1", 8);
        // It is the other sale that reached the voucher.
        stamps(&mut shop, "o-2", 5);
        assert_eq!((available(&shop), live(&shop)), (3, 1));
        if shortfall == "REFUSE" {
            let refused = tries(&mut shop, units("o-1", 0, "8"));
            assert_eq!(refused, Err(Rejection::ReturnShortfall { shortfall: Points(5), requested: Points(8) }));
            continue;
        }
        let back = gives(&mut shop, units("o-1", 0, "8"));
        assert_eq!((back.points, back.debt, back.forgiven.0 + back.withheld.0), (Points(8), Points(debt), 5 - debt));
        // The voucher stays, and its points can still be put back.
        assert_eq!((available(&shop), live(&shop)), (0, 1));
        let code = code(&shop);
        let entries = cancel(&mut shop, code).expect("it is cancelled");
        assert_eq!((refund(&entries).debt_paid, available(&shop)), (Points(debt), 10 - debt));
    }
}

/// Else buying and returning would give a voucher each time where the shop forgives what is missing.
#[test]
fn a_return_cancels_the_vouchers_that_its_sale_reached_as_far_as_it_lacks_points() {
    for shortfall in ["DEBT", "FORGIVE", "WITHHOLD", "REFUSE"] {
        let mut shop = open("", &format!("returns: {{ shortfall: SHORTFALL_{shortfall} }}\n"));
        stamps(&mut shop, "o-1", 25);
        assert_eq!((available(&shop), live(&shop)), (5, 2));
        // What is there pays.
        let back = gives(&mut shop, units("o-1", 0, "4"));
        assert_eq!((back.points, available(&shop), live(&shop)), (Points(4), 1, 2));
        let back = gives(&mut shop, units("o-1", 0, "8"));
        assert_eq!((back.points, back.debt.0 + back.forgiven.0 + back.withheld.0), (Points(8), 0));
        assert_eq!((available(&shop), live(&shop)), (3, 1));
        let back = gives(&mut shop, units("o-1", 0, "13"));
        assert_eq!((back.points, available(&shop), live(&shop)), (Points(13), 0, 0));
        assert_eq!(shop.member.header.balance.debt, Points(0));
        check_state(&shop).expect("the state holds together");
    }
}

#[test]
fn a_cancelled_voucher_puts_the_stamps_back_into_their_lots_once() {
    let mut shop = open("", "expiry: { after: { days: 20 } }\n");
    stamps(&mut shop, "o-1", 6);
    let lots = shop.member.lots.clone();
    shop.now += 48.hours();
    stamps(&mut shop, "o-2", 4);
    assert!(shop.member.lots.is_empty());
    shop.now += 48.hours();
    let code = code(&shop);
    let entries = cancel(&mut shop, code).expect("it is cancelled");
    let back: Vec<i64> = refund(&entries).put_back.iter().map(|back| back.portion.points.0).collect();
    assert_eq!((back, available(&shop), live(&shop), shop.member.header.balance.reinstated), (vec![4, 6], 10, 0, Points(10)));
    assert!(lots.iter().all(|(key, lot)| shop.member.lots.get(key) == Some(lot)), "with the expiry that they had");
    assert!(cancel(&mut shop, code).is_err(), "a second time gives nothing");
    // They are a voucher again only with what comes next.
    shop.does(&adjustment(-1)).expect("an adjustment");
    assert_eq!(live(&shop), 0);
    assert_eq!((stamps(&mut shop, "o-3", 1), available(&shop)), (1, 0));
}

#[test]
fn stamps_of_a_cancelled_voucher_that_have_lapsed_meanwhile_lapse_or_get_some_days() {
    for (redemption, lapsed) in [("", 10), ("redemption: { points: 1, amount: 1, grace_days: 5 }\n", 0)] {
        let mut shop = open("", &format!("expiry: {{ after: {{ days: 3 }} }}\n{redemption}"));
        stamps(&mut shop, "o-1", 10);
        wait_until(&mut shop, "2026-03-20T12:00:00Z");
        let code = code(&shop);
        let entries = cancel(&mut shop, code).expect("it is cancelled");
        let expired: i64 = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::PointsExpired(_))).map(|it| -it.points().0).sum();
        assert_eq!((expired, available(&shop)), (lapsed, 10 - lapsed));
    }
}

#[test]
fn a_used_or_lapsed_voucher_gives_no_points_back() {
    let mut shop = open("", "");
    stamps(&mut shop, "o-1", 20);
    let used = code(&shop);
    let usage = VoucherRequest::Use { code: used, order: None, order_total: None, value: None };
    shop.does(&Command::Voucher(usage)).expect("it is used");
    assert!(cancel(&mut shop, used).is_err());
    let lapses = code(&shop);
    wait_until(&mut shop, "2026-06-01T00:00:00Z");
    assert!(cancel(&mut shop, lapses).is_err());
    assert_eq!((available(&shop), live(&shop)), (0, 0));
}

#[test]
fn who_is_suspended_reaches_nothing_until_the_member_is_active_again() {
    let mut shop = open("", "activation: { after_days: 3 }\n");
    stamps(&mut shop, "o-1", 10);
    shop.does(&Command::Suspend { reason: "who knows".into() }).expect("suspended");
    assert_eq!(issued(&wait_until(&mut shop, "2026-03-20T00:00:00Z")).len(), 0);
    assert_eq!((available(&shop), live(&shop)), (10, 0));
    let entries = shop.does(&Command::Reactivate { reason: "all is well".into() }).expect("active");
    assert_eq!((issued(&entries).len(), available(&shop), live(&shop)), (1, 0, 1));

    let mut shop = open(", delay_days: 5", "");
    stamps(&mut shop, "o-1", 10);
    shop.does(&Command::Suspend { reason: "who knows".into() }).expect("suspended");
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    assert_eq!((issued(&entries).len(), changes(&entries).len(), available(&shop)), (0, 1, 10));
    shop.does(&Command::Reactivate { reason: "all is well".into() }).expect("active");
    assert_eq!(waiting(&shop), [("2026-03-24T04:00:00Z".to_owned(), 1)], "the wait begins anew");
}

#[test]
fn who_is_erased_gets_nothing_more() {
    let mut shop = open(", delay_days: 5", "redemption: { points: 1, amount: 1 }\n");
    stamps(&mut shop, "o-1", 30);
    shop.does(&Command::HoldPoints(HoldRequest {
        redeem: RedeemRequest { points: Some(Points(20)), ..RedeemRequest::default() },
        seconds: Some(600),
    }))
    .expect("a hold");
    shop.does(&Command::Erase { reason: "asked to be forgotten".into() }).expect("anyone may go");
    assert_eq!((shop.member.header.state, waiting(&shop).len(), available(&shop)), (MemberState::Erased, 0, 30));
    assert_eq!(issued(&wait_until(&mut shop, "2026-04-20T00:00:00Z")).len(), 0);
}

#[test]
fn a_goal_that_appears_reaches_who_has_enough_with_the_next_stamp() {
    let mut shop = Shop::open(rule_book_with(CARD));
    stamps(&mut shop, "o-1", 25);
    shop.now += 1.hour();
    publish(&mut shop, 2, &card("", ""));
    wait_until(&mut shop, "2026-03-11T00:00:00Z");
    shop.does(&adjustment(-1)).expect("an adjustment");
    assert_eq!((available(&shop), live(&shop)), (24, 0));
    assert_eq!((stamps(&mut shop, "o-2", 1), available(&shop)), (2, 5));
}

#[test]
fn a_goal_that_is_gone_delivers_nothing_and_other_terms_hold_for_what_waits() {
    let mut shop = open(", delay_days: 5", "");
    stamps(&mut shop, "o-1", 20);
    shop.now += 1.hour();
    publish(&mut shop, 2, CARD);
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    let [missed] = changes(&entries)[..] else { panic!("{entries:#?}") };
    assert_eq!((missed.vouchers, &missed.goal, available(&shop), live(&shop)), (-2, &None, 20, 0));

    let mut shop = open(", delay_days: 5", "");
    stamps(&mut shop, "o-1", 20);
    shop.now += 1.hour();
    publish(&mut shop, 2, &card("", "").replace("points: 10", "points: 15"));
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    assert_eq!((issued(&entries).len(), available(&shop), live(&shop)), (1, 5, 1));
}

/// The first lots, of a point each, as a store loads them where there are more than a commit may take from.
fn first_lots(shop: &Shop, taken: &[LotKey], count: usize) -> Member {
    let mut member = shop.member.clone();
    member.lots = member.lots.into_iter().filter(|(key, _)| !taken.contains(key)).take(count).collect();
    member
}

fn has_many_lots(shop: &mut Shop, expiry: LotExpiry, due: &str) {
    for id in 1..=15_000 {
        let (id, earn_time) = (LotId(id), shop.now);
        let lot = Lot { id, issued: Points(1), remaining: Points(1), earn_time, expiry, entry_sequence: 1 };
        shop.member.lots.insert(lot.key(), lot);
    }
    let header = &mut shop.member.header;
    (header.last_lot, header.next_expiry_time) = (LotId(15_000), expiry.time());
    header.balance = Balance { available: Points(15_000), issued: Points(15_000), ..Balance::default() };
    header.goals.waiting = vec![GoalWaiting { due_time: at(due), vouchers: 1 }];
}

#[test]
fn what_lapses_behind_the_lots_that_a_goal_took_is_not_forgotten() {
    let mut shop = open(", delay_days: 5", "");
    publish(&mut shop, 2, &card(", delay_days: 5", "").replace("points: 10,", "points: 8000,"));
    let lapse = at("2026-03-16T00:00:00Z");
    has_many_lots(&mut shop, LotExpiry::At(lapse), "2026-03-15T00:00:00Z");
    shop.now = at("2026-03-20T00:00:00Z");
    let decision = advance(&shop.programs, shop.now, first_lots(&shop, &[], MAX_LOTS + 1)).expect("time passes");
    let [(_, paid)] = issued(&decision.entries)[..] else { panic!("one is delivered") };
    assert_eq!((paid.points, decision.still_due, decision.member.header.next_expiry_time), (Points(8_000), true, Some(lapse)));
    let taken: Vec<LotKey> = paid.portions.iter().map(|portion| portion.lot).collect();
    shop.member.header = decision.member.header;
    shop.member.vouchers = decision.member.vouchers;
    let lots = shop.member.lots.len();
    let decision = advance(&shop.programs, shop.now, first_lots(&shop, &taken, lots)).expect("time passes");
    let header = decision.member.header;
    assert_eq!((header.balance.available, header.balance.expired, header.next_expiry_time), (Points(0), Points(7_000), None));
}

#[test]
fn a_debit_waits_for_what_a_goal_has_left_of_many_lots() {
    let mut shop = open(", delay_days: 5", "");
    let more = "redemption: { points: 1, amount: 1 }\n";
    publish(&mut shop, 2, &card(", delay_days: 5", more).replace("points: 10,", "points: 8000,"));
    has_many_lots(&mut shop, LotExpiry::Never, "2026-03-15T00:00:00Z");
    shop.now = at("2026-03-20T00:00:00Z");
    let whole = shop.member.clone();
    shop.member = first_lots(&shop, &[], MAX_LOTS + 1);
    let decision = shop.decide(&redeem(6_000)).expect("it is not decided yet");
    assert_eq!((issued(&decision.entries).len(), decision.entries.len(), decision.still_due), (1, 1, true));
    // All are loaded: then it is decided at once.
    shop.member = whole;
    let decision = shop.decide(&redeem(6_000)).expect("it is redeemed");
    assert_eq!((decision.still_due, decision.member.header.balance.available), (false, Points(1_000)));
}

#[test]
fn what_waits_outlasts_a_version_without_a_goal() {
    let mut shop = open(", delay_days: 5", "");
    stamps(&mut shop, "o-1", 20);
    shop.now += 1.hour();
    publish(&mut shop, 2, CARD);
    shop.now += 1.hour();
    assert_eq!(stamps(&mut shop, "o-2", 1), 0);
    assert_eq!(waiting(&shop).len(), 1, "points that come do not end it");
    shop.now += 1.hour();
    publish(&mut shop, 3, &card(", delay_days: 5", ""));
    // Of what was spent meanwhile nothing is delivered.
    shop.does(&adjustment(-2)).expect("an adjustment");
    let entries = wait_until(&mut shop, "2026-03-20T00:00:00Z");
    assert_eq!((issued(&entries).len(), available(&shop), live(&shop)), (1, 9, 1));
}

#[test]
fn points_that_are_set_aside_are_missing_to_the_next_voucher() {
    let mut shop = open(", delay_days: 5", "redemption: { points: 1, amount: 1 }\n");
    stamps(&mut shop, "o-1", 10);
    let goal = shop.programs.newest().goal.clone().expect("a goal");
    let missing = |shop: &Shop| goal.progress(&shop.member.header).expect("it is counted").missing;
    assert_eq!(missing(&shop), Points(10));
    let redeem = RedeemRequest { points: Some(Points(10)), ..RedeemRequest::default() };
    shop.does(&Command::HoldPoints(HoldRequest { redeem, seconds: Some(86_400) })).expect("a hold");
    assert_eq!(missing(&shop), Points(20), "ten cover what waits, and are not there");
    assert_eq!(stamps(&mut shop, "o-2", 19), 0);
    assert_eq!((missing(&shop), waiting(&shop)[0].1), (Points(1), 1));
    stamps(&mut shop, "o-3", 1);
    assert_eq!(waiting(&shop).iter().map(|(_, count)| count).sum::<u32>(), 2);
}

#[test]
fn stamps_are_taken_in_the_consumption_order() {
    let book = "expiry: { after: { days: 30 } }\nactivity_rules: [{ rule_id: review, activity: review, points: 6, expiry: { after: { days: 5 } } }]\n";
    for (consumption, first) in [("SOONEST_EXPIRY", 6), ("OLDEST_FIRST", 5)] {
        let mut shop = open("", &format!("{book}consumption_order: CONSUMPTION_ORDER_{consumption}\n"));
        stamps(&mut shop, "o-1", 5);
        shop.now += 1.hour();
        shop.does(&crate::support::histories::activity("review", "r-1", None)).expect("a review");
        let [(_, paid)] = issued(&shop.entries)[..] else { panic!("one is issued") };
        let parts: Vec<i64> = paid.portions.iter().map(|portion| portion.points.0).collect();
        assert_eq!(parts, [first, 10 - first]);
        check_state(&shop).expect("the state holds together");
    }
}

#[test]
fn a_delivery_that_is_entered_late_takes_the_points_that_it_would_have_taken_on_time() {
    let book = "expiry: { after: { days: 30 } }\nactivity_rules: [{ rule_id: review, activity: review, points: 6, expiry: { after: { days: 9 } } }]\n";
    let in_order = |order: &str| card(", delay_days: 5", &format!("{book}consumption_order: CONSUMPTION_ORDER_{order}\n"));
    for (first, second, taken) in [("SOONEST_EXPIRY", "OLDEST_FIRST", [6, 4]), ("OLDEST_FIRST", "SOONEST_EXPIRY", [5, 5])] {
        let [on_time, late] = [false, true].map(|is_late| {
            let mut shop = Shop::open(rule_book_with(&in_order(first)));
            stamps(&mut shop, "o-1", 5);
            shop.now += 1.hour();
            shop.does(&crate::support::histories::activity("review", "r-1", None)).expect("a review");
            if !is_late {
                wait_until(&mut shop, "2026-03-15T12:00:00Z");
            }
            shop.now = at("2026-03-16T12:00:00Z");
            publish(&mut shop, 2, &in_order(second));
            wait_until(&mut shop, "2026-03-17T12:00:00Z");
            shop
        });
        let [(entry, paid)] = issued(&late.entries)[..] else { panic!("one is delivered") };
        let parts: Vec<i64> = paid.portions.iter().map(|portion| portion.points.0).collect();
        assert_eq!((parts, entry.occurred_time, entry.program_version), (taken.to_vec(), at("2026-03-15T04:00:00Z"), 1));
        assert_eq!((&late.member.lots, &late.member.vouchers), (&on_time.member.lots, &on_time.member.vouchers));
    }
}

#[test]
fn deliveries_that_are_entered_late_find_the_lots_that_each_would_have_found_on_time() {
    let order = "consumption_order: CONSUMPTION_ORDER_OLDEST_FIRST\n";
    let mut shop = open(", delay_days: 5", "");
    publish(&mut shop, 2, &card(", delay_days: 5", order).replace("points: 10,", "points: 7000,"));
    has_many_lots(&mut shop, LotExpiry::Never, "2026-03-15T00:00:00Z");
    shop.member.header.goals.waiting.push(GoalWaiting { due_time: at("2026-03-16T00:00:00Z"), vouchers: 1 });
    shop.now = at("2026-03-20T00:00:00Z");
    // All lots are loaded, and one commit takes from 10,000 of them.
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    assert_eq!((issued(&decision.entries).len(), decision.still_due), (1, true));
    let decision = advance(&shop.programs, shop.now, decision.member).expect("time passes");
    assert_eq!((issued(&decision.entries).len(), decision.still_due), (1, false));
    assert_eq!((decision.member.header.balance.available, changes(&decision.entries).len()), (Points(1_000), 0));
}

#[test]
fn an_exchange_is_judged_when_all_of_it_is_done() {
    let mut shop = open("", "");
    stamps(&mut shop, "o-1", 9);
    // Nine go back and nine come: there never were eighteen.
    let mut exchange = whole("o-1");
    exchange.exchange = Some(Arc::new(Purchase { order: Some(order("o-2")), ..coffees(9) }));
    tries(&mut shop, exchange).expect("an exchange");
    assert_eq!((available(&shop), live(&shop)), (9, 0));
    let mut exchange = whole("o-2");
    exchange.exchange = Some(Arc::new(Purchase { order: Some(order("o-3")), ..coffees(11) }));
    tries(&mut shop, exchange).expect("an exchange");
    assert_eq!((available(&shop), live(&shop)), (1, 1));
}

#[test]
fn mistakes_of_a_goal_are_named_with_their_paths() {
    let paths = |goals: &str| {
        let book = rule_book::read(&format!(
            "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\nrounding: {{ mode: MODE_FLOOR, stage: \
             STAGE_RULE, fraction: FRACTION_DROP }}\n{CARD}goals: {goals}\n"
        ));
        let mistakes = program::parse(&book.expect("it is well-formed"), 1, Timestamp::UNIX_EPOCH).expect_err("there are mistakes");
        mistakes.into_iter().map(|mistake| mistake.path).collect::<Vec<_>>()
    };
    let sound = "goal_id: card, points: 10, voucher_kind_id: coffee";
    for (goals, expected) in [
        ("[{}]", vec!["goals[0].goal_id", "goals[0].points", "goals[0].voucher_kind_id"]),
        ("[{ goal_id: Card, points: 0, voucher_kind_id: tea }]", vec!["goals[0].goal_id", "goals[0].points", "goals[0].voucher_kind_id"]),
        (&format!("[{{ {sound}, delay_days: 367, maximum_at_once: 101 }}]"), vec!["goals[0].delay_days", "goals[0].maximum_at_once"]),
        (&format!("[{{ {sound}, delay_days: -1, maximum_at_once: -1 }}]"), vec!["goals[0].delay_days", "goals[0].maximum_at_once"]),
        (&format!("[{{ {sound}, points: 1.5 }}]").replace("points: 10, ", ""), vec!["goals[0].points"]),
        (&format!("[{{ {sound} }}, {{ {sound} }}]"), vec!["goals"]),
    ] {
        assert_eq!(paths(goals), expected, "{goals}");
    }
}

/// What a stamp card with a pen would have.
#[derive(Debug, Default)]
struct Paper {
    /// Below nothing: owed.
    stamps: i64,
    /// Day and number.
    waiting: Vec<(i64, i64)>,
    vouchers: i64,
}

#[derive(Debug, Clone)]
enum Step {
    Buy(i64),
    /// All of one of the purchases that are left.
    Return(usize),
    Adjust(i64),
    /// One of the live vouchers.
    Cancel(usize),
    Use(usize),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..28i64).prop_map(Step::Buy),
        3 => (0..9usize).prop_map(Step::Return),
        2 => (-12..12i64).prop_map(Step::Adjust),
        2 => (0..9usize).prop_map(Step::Cancel),
        1 => (0..9usize).prop_map(Step::Use),
        3 => (0..3i64).prop_map(Step::Wait),
    ];
    vec(step, 1..40)
}

impl Paper {
    fn gone(&mut self, stamps: i64) {
        self.stamps -= stamps;
        let mut left = self.stamps.max(0) / 10;
        for (_, count) in &mut self.waiting {
            *count = left.min(*count);
            left -= *count;
        }
        self.waiting.retain(|(_, count)| *count > 0);
    }

    fn come(&mut self, stamps: i64, today: i64, delay: i64, most: i64) {
        self.stamps += stamps;
        let wait: i64 = self.waiting.iter().map(|(_, count)| count).sum();
        let reached = (self.stamps.max(0) / 10 - wait).min(most);
        if delay == 0 {
            self.vouchers += reached;
            self.stamps -= 10 * reached;
        } else if reached > 0 {
            match self.waiting.last_mut() {
                Some((day, count)) if *day == today + delay => *count += reached,
                Some(_) | None => self.waiting.push((today + delay, reached)),
            }
        }
    }

    fn wait(&mut self, today: i64) {
        for (_, count) in self.waiting.extract_if(.., |(day, _)| *day <= today) {
            self.vouchers += count;
            self.stamps -= 10 * count;
        }
    }
}

/// Vouchers do not lapse within it, and stamps never do.
fn check_card(steps: Vec<Step>, delay: i64, most: i64) -> Result<(), TestCaseError> {
    let goal = format!(", delay_days: {delay}, maximum_at_once: {most}");
    let mut shop =
        Shop::open(rule_book_with(&card(&goal, "adjustments: { into_debt: true }\n").replace("valid_days: 30", "valid_days: 3000")));
    let (mut paper, mut today, mut bought): (Paper, i64, Vec<(OrderKey, i64)>) = (Paper::default(), 0, Vec::new());
    for (index, step) in steps.into_iter().enumerate() {
        let voucher = |shop: &Shop, place: usize| {
            let codes: Vec<VoucherCode> = shop.member.vouchers.keys().copied().collect();
            codes.get(place % codes.len().max(1)).copied()
        };
        match step {
            Step::Buy(count) => {
                let id = format!("o-{index}");
                buys(&mut shop, &id, coffees(count));
                bought.push((order(&id), count));
                paper.come(count, today, delay, most);
            }
            Step::Return(place) if !bought.is_empty() => {
                let (key, count) = bought.remove(place % bought.len());
                let (vouchers, there) = (live(&shop), available(&shop) - shop.member.header.balance.debt.0);
                gives(&mut shop, whole(key.order.as_str()));
                // The sale's own vouchers come back, if the return lacks points; debt takes of them first.
                let back = (vouchers - live(&shop)) as i64;
                prop_assert!(back == 0 || there + 10 * (back - 1) < count);
                paper.stamps += 10 * back;
                paper.vouchers -= back;
                paper.gone(count);
            }
            Step::Adjust(points) if points != 0 => {
                shop.does(&adjustment(points)).expect("an adjustment");
                if points > 0 { paper.come(points, today, delay, most) } else { paper.gone(-points) }
            }
            Step::Cancel(place) => {
                if let Some(code) = voucher(&shop, place) {
                    cancel(&mut shop, code).expect("it is cancelled");
                    paper.stamps += 10;
                    paper.vouchers -= 1;
                }
            }
            Step::Use(place) => {
                if let Some(code) = voucher(&shop, place) {
                    let usage = VoucherRequest::Use { code, order: None, order_total: None, value: None };
                    shop.does(&Command::Voucher(usage)).expect("it is used");
                    paper.vouchers -= 1;
                }
            }
            Step::Wait(days) => {
                today += days;
                let then = shop.now + (24 * days).hours();
                wait_until(&mut shop, &then.to_string());
                paper.wait(today);
            }
            Step::Return(_) | Step::Adjust(_) => {}
        }
        check_state(&shop)?;
        let balance = &shop.member.header.balance;
        prop_assert_eq!(balance.available.0 - balance.debt.0, paper.stamps);
        prop_assert_eq!(live(&shop) as i64, paper.vouchers);
        let wait: Vec<i64> = shop.member.header.goals.waiting.iter().map(|one| i64::from(one.vouchers)).collect();
        prop_assert_eq!(wait, paper.waiting.iter().map(|(_, count)| *count).collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn vouchers_and_stamps_agree_with_a_card_of_paper(steps in steps(), delay in 0..4i64, most in 1..4i64) {
        check_card(steps, delay, most)?;
    }
}
