//! Points that lapse with inactivity in the one form, under a rule book that lets new ones lapse in the other.

use std::sync::Arc;

use loyaltyd::domain::{Activation, Command, HoldId, Inactivity, LotExpiry, MemberId, Program, Purchase};

use crate::{
    accrual::{Shop, at, line, purchase, rule_book_with},
    inactivity::{become_one, buys, has, hold, lapses, passes},
};

const MONTH: &str = "EXTENSION_MONTH";
const RESTART: &str = "EXTENSION_RESTART";

/// A point a dollar, which lapses after a month without what counts, in New York. With gold it does not.
fn club(extension: &str, counted: &str, gold: &str) -> Program {
    rule_book_with(&format!(
        "expiry: {{ inactivity: {{ months: 1, activities: [COUNTED_ACTIVITY_{counted}], extension: {extension} }} }}
accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]
redemption: {{ points: 100, amount: 1, maximum_hold_seconds: 2592000 }}
tiers: [{{ tier_id: base{gold} }}]
"
    ))
}

fn publish(shop: &mut Shop, version: u32, book: Program) {
    shop.programs = shop.programs.with(Arc::new(Program { version, publish_time: shop.now, ..book }));
}

#[test]
fn points_of_the_one_form_that_become_active_first_under_the_other_lapse_too() {
    for (old, new, lapse) in [(RESTART, MONTH, "2026-05-15T04:00:00Z"), (MONTH, RESTART, "2026-06-01T04:00:00Z")] {
        let mut book = club(old, "REDEMPTION", "");
        for rule in &mut book.rules {
            rule.activation = Activation::AfterDays(35);
        }
        let mut shop = Shop::open(book);
        buys(&mut shop, "10", None);
        publish(&mut shop, 2, club(new, "REDEMPTION", ""));
        // They become active on 14 April. Nothing has begun for them before.
        shop.now = at("2026-04-20T15:00:00Z");
        passes(&mut shop);
        assert_eq!(has(&shop), (10, 0), "{old}");
        shop.now = at("2026-07-20T15:00:00Z");
        passes(&mut shop);
        assert_eq!((has(&shop), lapses(&shop.entries)), ((0, 10), vec![(10, at(lapse))]), "{old}");
    }
}

#[test]
fn a_merge_begins_no_clock_that_neither_has_points_for() {
    let mut one = Shop::open(club(MONTH, "PURCHASE", ""));
    let mut other = Shop::open(club(MONTH, "PURCHASE", ""));
    other.member.key.member = MemberId([8; 16]);
    for shop in [&mut one, &mut other] {
        buys(shop, "10", None);
        publish(shop, 2, club(MONTH, "PURCHASE", ", pauses_inactivity: true"));
    }
    let (_, stays) = become_one(&one, &other, "2026-03-11T15:00:00Z");
    assert!(stays.member.header.inactive_months.record.paused);
    assert_eq!((stays.member.header.inactivity, stays.entries[0].inactivity_time), (Inactivity::default(), None));
}

/// A till whose clock is ahead tells of a sale in the next month, and behind it one more comes in this one.
#[test]
fn what_comes_back_has_not_lapsed_with_a_month_that_is_not_over() {
    let mut shop = Shop::open(club(MONTH, "PURCHASE", ""));
    buys(&mut shop, "200", None);
    shop.now = at("2026-04-20T15:00:00Z");
    let held = shop.does(&hold(200, 20)).expect("they are there").pop().expect("an entry");
    shop.now = at("2026-05-01T03:57:00Z");
    shop.buys(Purchase { occurred_time: Some(at("2026-05-01T04:01:00Z")), ..purchase(vec![line("5")]) });
    let release = Command::ReleaseHold { hold: HoldId(held.sequence), reason: "the till".into() };
    shop.does(&release).expect("it goes back");
    assert!(shop.member.lots.keys().all(|lot| matches!(lot.expiry(), LotExpiry::InactiveMonths(_))), "{:?}", shop.member.lots);
    buys(&mut shop, "1", None);
    shop.now = at("2026-05-31T15:00:00Z");
    passes(&mut shop);
    assert_eq!(has(&shop), (206, 0), "each month had a purchase");
}
