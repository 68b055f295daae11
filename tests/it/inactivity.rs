//! Points that lapse together when a member has not been active for some months, and grants with an expiry of their own.

use std::{fs, sync::Arc};

use loyaltyd::{
    contract::{
        program, rule_book,
        v1::{self, expiry_policy},
    },
    domain::{
        ActivityId, ActivityRequest, Adjustment, CaptureRequest, Command, Context, Decision, Entry, EntryKind, Expiry, HoldId, HoldRequest,
        Inactivity, Lot, LotExpiry, LotId, Member, MemberId, Points, Program, Purchase, Recipient, RedeemRequest, Rejection,
        ReversalRequest, TransferRequest, advance, merge, receive,
    },
    store::embedded::{self, Options},
};
use tonic::Code;

use crate::{
    accrual::{Shop, at, line, purchase, rule_book_with},
    redemption::{explained, start_with},
    support::{PROGRAM, Refused, TestServer, adjustment, by_id, refused, rule_book, sale},
};

/// A point a dollar, a cent a point, in New York.
fn club(months: u32, counted: &str, more: &str) -> Program {
    rule_book_with(&format!(
        "expiry: {{ inactivity: {{ months: {months}, activities: [{counted}] }} }}
accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]
redemption: {{ points: 100, amount: 1, maximum_hold_seconds: 2592000{more} }}
purchase_time: {{ max_age_days: 400 }}
transfers: {{}}
activity_rules: [{{ rule_id: review, activity: review, points: 5 }}]
"
    ))
}

const PURCHASES: &str = "COUNTED_ACTIVITY_PURCHASE";

pub fn buys(shop: &mut Shop, dollars: &str, occurred_time: Option<&str>) {
    shop.buys(Purchase { occurred_time: occurred_time.map(at), ..purchase(vec![line(dollars)]) });
}

pub fn grant(points: i64, expiry: Option<Expiry>) -> Command {
    let reason = "gift".into();
    Command::AdjustPoints(Adjustment { points: Points(points), qualifying: false, reason, reference: String::new(), expiry })
}

pub fn redeem(points: i64) -> RedeemRequest {
    RedeemRequest { points: Some(Points(points)), ..RedeemRequest::default() }
}

pub fn hold(points: i64, days: u32) -> Command {
    Command::HoldPoints(HoldRequest { redeem: redeem(points), seconds: Some(days * 86_400) })
}

fn capture(hold: u64, points: i64) -> Command {
    let points = Some(Points(points));
    Command::CaptureHold(CaptureRequest { hold: HoldId(hold), points, order: None, reference: String::new() })
}

pub fn back(redemption: u64) -> Command {
    Command::ReverseRedemption(ReversalRequest { ledger: None, redemption, points: None, reason: "back".into() })
}

fn review() -> Command {
    let activity = ActivityId::new("review").expect("an id");
    Command::RecordActivity(ActivityRequest { activity, reference: "r-1".into(), referrer: None, occurred_time: None })
}

fn give(points: i64) -> Command {
    let to = Recipient::Id(MemberId([8; 16]));
    Command::TransferPoints(TransferRequest { to, points: Points(points), reason: "family".into(), reference: String::new() })
}

pub fn clock(shop: &Shop) -> Option<jiff::Timestamp> {
    shop.member.header.inactivity.lapse_time
}

/// Available, and lapsed so far.
pub fn has(shop: &Shop) -> (i64, i64) {
    (shop.member.header.balance.available.0, shop.member.header.balance.expired.0)
}

/// What is due is entered.
pub fn passes(shop: &mut Shop) {
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    shop.member = decision.member;
    shop.entries.extend(decision.entries);
}

/// Points that lapsed, and when.
pub fn lapses(entries: &[Entry]) -> Vec<(i64, jiff::Timestamp)> {
    let lapsed = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::PointsExpired(_)));
    lapsed.map(|entry| (-entry.points().0, entry.occurred_time)).collect()
}

#[test]
fn all_points_lapse_together_so_many_months_after_the_last_purchase() {
    let mut shop = Shop::open(club(3, PURCHASES, ""));
    buys(&mut shop, "10", None);
    assert_eq!(clock(&shop), Some(at("2026-06-11T04:00:00Z")), "to the end of 10 June in New York");
    // The day is New York's: it is the 30th still.
    shop.now = at("2026-05-31T03:59:00Z");
    buys(&mut shop, "20", None);
    assert_eq!(clock(&shop), Some(at("2026-08-31T04:00:00Z")));
    assert_eq!(shop.member.header.next_due_time(), clock(&shop));
    shop.now = at("2026-08-31T03:59:59Z");
    shop.does(&Command::Suspend { reason: "trial".into() }).expect("it is suspended");
    assert_eq!(has(&shop), (30, 0));
    shop.now = at("2026-09-09T12:00:00Z");
    let entries = shop.does(&Command::Reactivate { reason: "trial".into() }).expect("it is reactivated");
    assert_eq!(lapses(&entries), [(30, at("2026-08-31T04:00:00Z"))], "in one entry, dated when it was");
    assert_eq!((has(&shop), shop.member.header.next_due_time()), ((0, 30), None), "nothing is due where there are no points");
    let mut winter = Shop::open(club(3, PURCHASES, ""));
    winter.now = at("2026-11-30T15:00:00Z");
    buys(&mut winter, "10", None);
    assert_eq!(clock(&winter), Some(at("2027-03-01T05:00:00Z")), "three months after 30 November is the last of February");
}

#[test]
fn only_what_the_programme_names_counts_as_being_active() {
    // Each does something in May; what was bought in March would lapse in June.
    let doings: [(&str, &[Command]); 7] = [
        ("COUNTED_ACTIVITY_PURCHASE", &[Command::RecordPurchase(Arc::new(purchase(vec![line("1")])))]),
        ("COUNTED_ACTIVITY_REDEMPTION", &[Command::RedeemPoints(redeem(5))]),
        ("COUNTED_ACTIVITY_REDEMPTION", &[hold(5, 1), capture(3, 5)]),
        ("COUNTED_ACTIVITY_ACTIVITY", &[review()]),
        ("COUNTED_ACTIVITY_ADJUSTMENT", &[grant(5, None)]),
        ("COUNTED_ACTIVITY_ADJUSTMENT", &[grant(-5, None)]),
        ("COUNTED_ACTIVITY_TRANSFER", &[give(5)]),
    ];
    let (old, new) = (Some(at("2026-06-11T04:00:00Z")), Some(at("2026-08-11T04:00:00Z")));
    for (counted, _) in doings {
        for (kind, commands) in doings {
            let mut shop = Shop::open(club(3, counted, ""));
            buys(&mut shop, "50", None);
            assert_eq!(clock(&shop), old, "the first points begin the time, whatever counts");
            shop.now = at("2026-05-10T15:00:00Z");
            for command in commands {
                shop.does(command).expect("it is possible");
            }
            assert_eq!(clock(&shop), if kind == counted { new } else { old }, "{counted}: {commands:?}");
            let told = shop.entries.last().expect("an entry").inactivity_time;
            assert_eq!(told, if kind == counted { new } else { None });
        }
    }
    // Setting points aside does not count, nor what goes back or is given.
    let mut shop = Shop::open(club(3, "COUNTED_ACTIVITY_REDEMPTION, COUNTED_ACTIVITY_TRANSFER", ""));
    buys(&mut shop, "50", None);
    shop.does(&Command::RedeemPoints(redeem(5))).expect("points are spent");
    shop.now = at("2026-05-10T15:00:00Z");
    shop.does(&back(3)).expect("points go back");
    shop.does(&hold(5, 1)).expect("points are held");
    shop.does(&Command::ReleaseHold { hold: HoldId(5), reason: String::new() }).expect("they go back");
    assert_eq!(clock(&shop), old);
}

#[test]
fn a_late_sale_neither_shortens_the_time_nor_revives_what_has_lapsed() {
    let mut shop = Shop::open(club(3, PURCHASES, ""));
    buys(&mut shop, "10", None);
    shop.now = at("2026-04-10T15:00:00Z");
    buys(&mut shop, "10", Some("2026-02-01T15:00:00Z"));
    assert_eq!(clock(&shop), Some(at("2026-06-11T04:00:00Z")), "the later purchase was recorded before");
    shop.now = at("2026-07-01T15:00:00Z");
    // Sold before the time was over, reported after it: 20 points have lapsed, the new ones live on from the day of the sale.
    buys(&mut shop, "7", Some("2026-06-05T15:00:00Z"));
    assert_eq!((has(&shop), clock(&shop)), ((7, 20), Some(at("2026-09-06T04:00:00Z"))));
    // An older one comes under the clock that runs.
    buys(&mut shop, "3", Some("2026-03-20T15:00:00Z"));
    assert_eq!((has(&shop), clock(&shop)), ((10, 20), Some(at("2026-09-06T04:00:00Z"))), "it does not move for that");
    let mut other = Shop::open(club(3, PURCHASES, ""));
    buys(&mut other, "10", None);
    other.now = at("2026-07-01T15:00:00Z");
    buys(&mut other, "3", Some("2026-03-05T15:00:00Z"));
    assert_eq!(has(&other), (0, 13), "sold, and lapsed, before it was reported");
}

#[test]
fn points_that_come_when_the_time_is_over_begin_it_anew() {
    let mut shop = Shop::open(club(3, "COUNTED_ACTIVITY_REDEMPTION", ""));
    buys(&mut shop, "10", None);
    shop.now = at("2026-04-10T15:00:00Z");
    buys(&mut shop, "10", None);
    assert_eq!(clock(&shop), Some(at("2026-06-11T04:00:00Z")), "purchases do not count");
    shop.now = at("2026-07-01T15:00:00Z");
    let entries = shop.does(&grant(5, None)).expect("points are added");
    assert_eq!(lapses(&entries), [(20, at("2026-06-11T04:00:00Z"))]);
    assert_eq!((has(&shop), clock(&shop)), ((5, 20), Some(at("2026-10-02T04:00:00Z"))));
}

#[test]
fn pending_points_come_under_the_clock_when_they_become_active() {
    let mut book = club(1, PURCHASES, "");
    for rule in &mut book.rules {
        rule.activation = loyaltyd::domain::Activation::AfterDays(60);
    }
    let mut shop = Shop::open(book);
    buys(&mut shop, "10", None);
    assert_eq!((clock(&shop), shop.member.header.inactivity.points), (Some(at("2026-04-11T04:00:00Z")), Points(0)));
    // The time was over on 11 April, with nothing to lapse; the points come on 9 May.
    shop.now = at("2026-05-20T15:00:00Z");
    shop.does(&Command::Suspend { reason: "trial".into() }).expect("it is suspended");
    assert_eq!((has(&shop), clock(&shop)), ((10, 0), Some(at("2026-06-10T04:00:00Z"))));
}

#[test]
fn what_lapses_in_a_hold_can_be_captured_until_the_hold_ends() {
    // The time is over on 11 April. The hold ends on the 12th, or on the 25th after a purchase on the 13th.
    for active_again in [false, true] {
        for (captured, lapsed) in [(Some(30), 0), (Some(12), 18), (None, 30)] {
            let mut shop = Shop::open(club(1, PURCHASES, ""));
            buys(&mut shop, "40", None);
            shop.now = at("2026-03-31T15:00:00Z");
            shop.does(&hold(30, 29)).expect("points are held");
            shop.now = at("2026-04-13T15:00:00Z");
            if active_again {
                buys(&mut shop, "5", None);
                assert_eq!(has(&shop), (5, 10), "what is not held lapses in time");
                shop.now = at("2026-04-25T15:00:00Z");
            }
            let end = shop.now;
            let ends = captured.map_or(Command::ReleaseHold { hold: HoldId(3), reason: String::new() }, |points| capture(3, points));
            let entries = shop.does(&ends).expect("the hold ends");
            let bought = if active_again { 5 } else { 0 };
            assert_eq!(has(&shop), (bought, 10 + lapsed), "{active_again} {captured:?}");
            assert_eq!(shop.member.header.inactivity.points, Points(bought));
            let expected: &[_] = if lapsed > 0 { &[(lapsed, end)] } else { &[] };
            assert_eq!(lapses(&entries).as_slice().last().into_iter().filter(|_| lapsed > 0).copied().collect::<Vec<_>>(), expected);
        }
    }
    // Over by itself, before the time is: its points are back in their lot, and lapse with the others.
    let mut shop = Shop::open(club(1, PURCHASES, ""));
    buys(&mut shop, "40", None);
    shop.does(&hold(30, 10)).expect("points are held");
    shop.now = at("2026-05-01T15:00:00Z");
    let entries = shop.does(&grant(1, Some(Expiry::Never))).expect("points are added");
    assert_eq!(lapses(&entries), [(40, at("2026-04-11T04:00:00Z"))]);
}

#[test]
fn what_was_spent_comes_back_as_if_it_had_lain_there() {
    for (terms, available, expired) in [("", 5, 30), (", grace_days: 3", 35, 0)] {
        let mut shop = Shop::open(club(1, PURCHASES, terms));
        buys(&mut shop, "30", None);
        shop.does(&Command::RedeemPoints(redeem(30))).expect("points are spent");
        // The time is over on 11 April, with nothing to lapse; the member is active again on the 20th.
        shop.now = at("2026-04-20T15:00:00Z");
        buys(&mut shop, "5", None);
        shop.now = at("2026-04-21T15:00:00Z");
        let entries = shop.does(&back(3)).expect("points go back");
        assert_eq!(has(&shop), (available, expired));
        assert_eq!(lapses(&entries).len(), usize::from(expired > 0));
        // Without such a time between they go on as before.
        let mut shop = Shop::open(club(1, PURCHASES, terms));
        buys(&mut shop, "30", None);
        shop.does(&Command::RedeemPoints(redeem(30))).expect("points are spent");
        shop.now = at("2026-04-10T15:00:00Z");
        buys(&mut shop, "5", None);
        shop.now = at("2026-05-05T15:00:00Z");
        shop.does(&back(3)).expect("points go back");
        assert_eq!((has(&shop), shop.member.header.inactivity.points), ((35, 0), Points(35)));
    }
}

#[test]
fn given_points_come_under_the_clock_of_the_one_who_gets_them() {
    let mut giver = Shop::open(club(3, PURCHASES, ""));
    buys(&mut giver, "10", None);
    giver.does(&grant(7, Some(Expiry::AfterDays(100)))).expect("points are added");
    giver.now = at("2026-05-10T15:00:00Z");
    let sent = giver.does(&give(12)).expect("points are given").pop().expect("an entry");
    let other = Shop::open(club(3, PURCHASES, ""));
    let member = Member { key: loyaltyd::domain::MemberKey { member: MemberId([8; 16]), ..other.member.key.clone() }, ..other.member };
    let context = loyaltyd::domain::Context {
        programs: &giver.programs,
        now: giver.now,
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: loyaltyd::domain::History::NONE,
    };
    let got = receive(context, member, (&giver.member.header, &sent)).expect("it is possible").member;
    // Those with a date went first, and keep it; the time of the others begins with them.
    let lots: Vec<_> = got.lots.values().map(|lot| (lot.remaining.0, lot.expiry.time())).collect();
    assert_eq!(lots, [(7, Some(at("2026-06-19T04:00:00Z"))), (5, None)]);
    assert_eq!((got.header.inactivity.points, got.header.inactivity.lapse_time), (Points(5), Some(at("2026-08-11T04:00:00Z"))));
}

/// Merges one member into another; both as they are then.
pub fn become_one(gone: &Shop, stays: &Shop, now: &str) -> (Decision, Decision) {
    let context = Context {
        programs: &stays.programs,
        now: at(now),
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: loyaltyd::domain::History::NONE,
    };
    merge(context, gone.member.clone(), stays.member.clone(), "two cards").expect("they become one")
}

#[test]
fn a_member_with_more_due_than_a_commit_takes_is_not_merged_with_itself() {
    let mut shop = Shop::open(club(3, PURCHASES, ""));
    buys(&mut shop, "10", None);
    let lot = shop.member.lots.values().next().expect("a lot").clone();
    let lapsed = (100..10_200).map(|id| Lot { id: LotId(id), expiry: LotExpiry::At(at("2026-04-01T00:00:00Z")), ..lot.clone() });
    shop.member.lots.extend(lapsed.map(|lot| (lot.key(), lot)));
    shop.member.header.next_expiry_time = Some(at("2026-04-01T00:00:00Z"));
    let context = Context {
        programs: &shop.programs,
        now: at("2026-05-10T15:00:00Z"),
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: loyaltyd::domain::History::NONE,
    };
    assert_eq!(merge(context, shop.member.clone(), shop.member.clone(), "two cards"), Err(Rejection::MergeWithSelf));
}

#[test]
fn two_who_become_one_have_the_later_clock_and_nothing_that_has_lapsed_lives_again() {
    let mut early = Shop::open(club(3, PURCHASES, ""));
    buys(&mut early, "10", None);
    let mut late = Shop::open(club(3, PURCHASES, ""));
    late.member.key.member = MemberId([8; 16]);
    late.now = at("2026-04-10T15:00:00Z");
    buys(&mut late, "5", None);
    let (first, second) = (at("2026-06-11T04:00:00Z"), at("2026-07-11T04:00:00Z"));
    for (gone, stays, moved) in [(&early, &late, None), (&late, &early, Some(second))] {
        let (gone, stays) = become_one(gone, stays, "2026-05-10T15:00:00Z");
        assert_eq!(gone.member.header.inactivity, Inactivity::default());
        let clock = Inactivity { lapse_time: Some(second), points: Points(15), ran_out_time: None };
        assert_eq!((stays.member.header.inactivity, stays.entries[0].inactivity_time), (clock, moved));
        assert!(stays.member.lots.keys().all(|lot| lot.expiry() == LotExpiry::Inactivity));
    }
    // The one clock has run out: what was under it lapses before, and the other clock goes on.
    for (goes, stays, gone_expired, stays_expired, ran_out) in [(&early, &late, 10, 0, None), (&late, &early, 0, 10, Some(first))] {
        let (gone, stays) = become_one(goes, stays, "2026-06-20T15:00:00Z");
        let expired = (gone.member.header.balance.expired.0, stays.member.header.balance.expired.0);
        assert_eq!(expired, (gone_expired, stays_expired));
        let clock = Inactivity { lapse_time: Some(second), points: Points(5), ran_out_time: ran_out };
        assert_eq!(stays.member.header.inactivity, clock);
    }
}

#[test]
fn what_was_spent_with_the_first_of_three_cards_has_lapsed_when_it_did_whatever_comes_later() {
    let opened = |id: u8| {
        let mut shop = Shop::open(club(3, PURCHASES, ""));
        shop.member.key.member = MemberId([id; 16]);
        shop
    };
    let (mut first, mut second, mut third) = (opened(7), opened(8), opened(9));
    let redeems = |shop: &mut Shop| shop.does(&Command::RedeemPoints(redeem(4))).expect("the points are there").remove(0);
    buys(&mut first, "10", None);
    let early = redeems(&mut first);
    first.now = at("2026-06-15T15:00:00Z");
    buys(&mut first, "10", None);
    let late = redeems(&mut first);
    let lapsed = |shop: &Shop, spent: &Entry| {
        let merged = shop.member.header.merged.iter().find(|merged| merged.member == spent.key.member).expect("it was merged");
        match merged.as_now(spent.clone()).kind {
            EntryKind::PointsRedeemed(redeemed) => redeemed.portions[0].lot.expiry(),
            other => panic!("{other:?}"),
        }
    };
    let june = LotExpiry::At(at("2026-06-11T04:00:00Z"));
    second.member = become_one(&first, &second, "2026-06-20T15:00:00Z").1.member;
    assert_eq!([&early, &late].map(|spent| lapsed(&second, spent)), [june, LotExpiry::Inactivity]);
    let september = LotExpiry::At(at("2026-09-16T04:00:00Z"));
    third.member = become_one(&second, &third, "2026-10-01T15:00:00Z").1.member;
    assert_eq!([&early, &late].map(|spent| lapsed(&third, spent)), [june, september]);
    // Nor does a third clock say otherwise.
    third.now = at("2026-10-02T15:00:00Z");
    buys(&mut third, "10", None);
    let mut fourth = opened(10);
    fourth.member = become_one(&third, &fourth, "2027-03-01T15:00:00Z").1.member;
    assert_eq!([&early, &late].map(|spent| lapsed(&fourth, spent)), [june, september]);
}

#[test]
fn the_newest_version_that_knows_inactivity_says_how_long() {
    let mut shop = Shop::open(club(3, PURCHASES, ""));
    buys(&mut shop, "10", None);
    let publish = |shop: &mut Shop, version: u32, book: Program| {
        shop.programs = shop.programs.with(Arc::new(Program { version, publish_time: shop.now, ..book }));
    };
    publish(&mut shop, 2, club(6, "COUNTED_ACTIVITY_ADJUSTMENT", ""));
    assert_eq!(clock(&shop), Some(at("2026-06-11T04:00:00Z")), "nothing moves by a publication alone");
    shop.now = at("2026-03-20T15:00:00Z");
    buys(&mut shop, "10", None);
    assert_eq!(clock(&shop), Some(at("2026-06-11T04:00:00Z")), "purchases do not count any more");
    shop.does(&grant(1, None)).expect("points are added");
    assert_eq!(clock(&shop), Some(at("2026-09-21T04:00:00Z")));
    // One without it leaves the old points to the last one that had it.
    let dated = rule_book_with("expiry: { after: { days: 9 } }\naccrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\n");
    publish(&mut shop, 3, dated);
    shop.now = at("2026-04-20T15:00:00Z");
    shop.does(&grant(4, None)).expect("points are added");
    assert_eq!(clock(&shop), Some(at("2026-10-21T04:00:00Z")));
    assert_eq!((shop.member.header.inactivity.points, has(&shop)), (Points(21), (25, 0)));
}

#[test]
fn a_reward_entered_late_by_the_first_version_that_knows_inactivity_lapses_as_that_says() {
    let rewarding = |expiry: &str| {
        rule_book_with(&format!(
            "{expiry}accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]
activation: {{ after_days: 3 }}
purchase_time: {{ max_age_days: 40 }}
tiers:
- {{ tier_id: base }}
- {{ tier_id: silver, threshold: {{ qualifying_points: 100 }}, entry_reward: {{ points: 7 }} }}
"
        ))
    };
    let inactive = rewarding("expiry: { inactivity: { months: 2, activities: [COUNTED_ACTIVITY_REDEMPTION] } }\n");
    let inactive = Arc::new(Program { version: 2, publish_time: at("2026-03-20T15:00:00Z"), ..inactive });
    let [mut due, mut late] = [true, false].map(|is_reported| {
        let mut shop = Shop::open(rewarding(""));
        if is_reported {
            buys(&mut shop, "100", None);
        }
        shop.programs = shop.programs.with(Arc::clone(&inactive));
        shop.now = at("2026-04-01T15:00:00Z");
        shop
    });
    // The points become active on 13 March and lead to the tier. That is entered late, by the version of then, which lets nothing lapse.
    passes(&mut due);
    assert_eq!((has(&due), due.member.header.inactivity.points, clock(&due)), ((107, 0), Points(0), None));
    // Where the sale itself is reported late, what it leads to is judged by the newest.
    buys(&mut late, "100", Some("2026-03-10T15:00:00Z"));
    assert_eq!((has(&late), late.member.header.inactivity.points), ((107, 0), Points(7)));
    assert_eq!(clock(&late), Some(at("2026-05-14T04:00:00Z")));
    for (shop, expected) in [(&mut due, (107, 0)), (&mut late, (100, 7))] {
        shop.now = at("2026-05-14T04:00:00Z");
        passes(shop);
        assert_eq!(has(shop), expected);
    }
}

#[test]
fn grants_lapse_as_they_say_themselves() {
    let mut shop = Shop::open(club(3, PURCHASES, ""));
    let table = [
        (None, None),
        (Some(Expiry::Never), None),
        (Some(Expiry::AfterDays(5)), Some("2026-03-16T04:00:00Z")),
        (Some(Expiry::MonthsAfterActivation(1)), Some("2026-04-11T04:00:00Z")),
        (Some(Expiry::FixedDate { month: 12, day: 31, minimum_days: 0 }), Some("2027-01-01T05:00:00Z")),
    ];
    for (expiry, expected) in table {
        let entries = shop.does(&grant(10, expiry)).expect("points are added");
        let EntryKind::PointsAdjusted(adjusted) = &entries[0].kind else { panic!("{entries:?}") };
        assert_eq!(adjusted.lot.as_ref().expect("a lot").expiry.time(), expected.map(at));
    }
    // Those with a date are used up first, then what lapses with inactivity, then what never does.
    shop.does(&Command::RedeemPoints(redeem(35))).expect("points are spent");
    let left: Vec<_> = shop.member.lots.values().map(|lot| (lot.id.0, lot.remaining.0)).collect();
    assert_eq!(left, [(1, 5), (2, 10)]);
}

#[test]
fn a_rule_book_has_one_time_of_inactivity() {
    let own = "inactivity: { months: 3, activities: [COUNTED_ACTIVITY_PURCHASE] }";
    let table = [
        ("{ inactivity: {} }", "{ never: {} }", vec!["expiry.inactivity.months", "expiry.inactivity.activities"]),
        (
            "{ inactivity: { months: 1201, activities: [0, 9] } }",
            "{ never: {} }",
            vec!["expiry.inactivity.months", "expiry.inactivity.activities[0]", "expiry.inactivity.activities[1]"],
        ),
        (
            "{ inactivity: { months: 3, activities: [COUNTED_ACTIVITY_TRANSFER, COUNTED_ACTIVITY_TRANSFER] } }",
            "{ never: {} }",
            vec!["expiry.inactivity.activities[1]"],
        ),
        ("{ after: { days: 3 } }", own, vec!["accrual_rules[0].expiry.inactivity"]),
        ("{ inactivity: { months: 4, activities: [COUNTED_ACTIVITY_PURCHASE] } }", own, vec!["accrual_rules[0].expiry.inactivity"]),
    ];
    for (whole, rule, expected) in table {
        let rule = if rule.starts_with('{') { rule.to_owned() } else { format!("{{ {rule} }}") };
        let text = format!(
            "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: UTC\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, \
             fraction: FRACTION_DROP }}\nexpiry: {whole}\naccrual_rules: [{{ rule_id: r, expiry: {rule}, per_order: {{ points: 1 }} }}]\n"
        );
        let document = rule_book::read(&text).expect("it can be read");
        let mistakes = program::parse(&document, 1, jiff::Timestamp::UNIX_EPOCH).expect_err("it has mistakes");
        assert_eq!(mistakes.into_iter().map(|mistake| mistake.path).collect::<Vec<_>>(), expected, "{text}");
    }
    // The same, a rule may say too, or something else with a date.
    for rule in [own, "never: {}", "after: { days: 3 }"] {
        rule_book_with(&format!(
            "expiry: {{ {own} }}\naccrual_rules: [{{ rule_id: r, expiry: {{ {rule} }}, per_order: {{ points: 1 }} }}]\n"
        ));
    }
}

pub fn lapsing(months: i32) -> v1::ExpiryPolicy {
    let activities = vec![expiry_policy::CountedActivity::Purchase.into(), expiry_policy::CountedActivity::Redemption.into()];
    v1::ExpiryPolicy { policy: Some(expiry_policy::Policy::Inactivity(expiry_policy::Inactivity { months, activities, extension: 0 })) }
}

fn after_days(days: i32) -> v1::ExpiryPolicy {
    v1::ExpiryPolicy { policy: Some(expiry_policy::Policy::After(expiry_policy::After { days, ..Default::default() })) }
}

fn asleep() -> v1::Program {
    v1::Program { expiry: Some(lapsing(6)), ..rule_book() }
}

pub async fn lots(server: &TestServer, member: &str) -> Vec<(i64, Option<i64>, bool)> {
    let mut request = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 1, page_token: String::new() };
    let mut lots = Vec::new();
    loop {
        let page = server.points().list_lots(request.clone()).await.expect("lots are listed").into_inner();
        let shown = page.lots.into_iter();
        lots.extend(shown.map(|lot| (lot.remaining_points, lot.expire_time.map(|time| time.seconds), lot.lapses_with_inactivity)));
        if page.next_page_token.is_empty() {
            return lots;
        }
        request.page_token = page.next_page_token;
    }
}

pub fn seconds(time: &str) -> i64 {
    at(time).as_second()
}

#[tokio::test]
async fn a_member_is_told_when_points_lapse_and_that_it_moves() {
    let server = start_with(asleep()).await;
    let member = server.enroll("c-1").await;
    let sold = server.purchases().record_purchase(sale(&member, "1", "100000")).await.unwrap().into_inner();
    let accrual = sold.accrual.unwrap();
    assert!(accrual.lots[0].lapses_with_inactivity && accrual.lots[0].expire_time.is_none(), "{accrual:?}");
    for (request, points, expiry) in [("a-1", 20, Some(after_days(90))), ("a-2", 5, None), ("a-3", 7, Some(never()))] {
        let grant = v1::AdjustPointsRequest { expiry, ..adjustment(&member, request, points) };
        let first = server.points().adjust_points(grant.clone()).await.unwrap().into_inner();
        assert_eq!(server.points().adjust_points(grant).await.unwrap().into_inner(), first, "a retry gives the first answer");
    }
    // To the end of 10 September in Ho Chi Minh City, and of 8 June.
    let (sleep, date) = (seconds("2026-09-10T17:00:00Z"), seconds("2026-06-08T17:00:00Z"));
    let expected = [(20, Some(date), false), (10, Some(sleep), true), (5, Some(sleep), true), (7, None, false)];
    assert_eq!(lots(&server, &member).await, expected);
    let told = |member: &v1::Member| {
        let told = |it: &v1::ExpiringPoints| (it.points, it.expire_time.as_ref().unwrap().seconds, it.lapses_with_inactivity);
        member.expiring.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(told(&server.member(&member).await), [(20, date, false), (15, sleep, true)]);
    let text = explained(&server, &member, 2).await;
    for part in
        ["10 points in lot 1, valid as long as the member is active.", "valid until the end of 2026-09-10, or longer if the member is"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let before = server.clock_now();
    server.days_later(30);
    let entry = server.purchases().record_purchase(sale(&member, "2", "10000")).await.unwrap();
    drop(entry);
    let later = seconds("2026-10-09T17:00:00Z");
    assert_eq!(told(&server.member(&member).await), [(20, date, false), (16, later, true)]);
    let full =
        |as_of| v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&member), view: v1::MemberView::Full.into(), as_of };
    let past = server.members().get_member(full(Some(before))).await.unwrap().into_inner().member.unwrap();
    assert_eq!(told(&past), [(20, date, false), (15, sleep, true)], "as it was before that purchase");
    assert_eq!((past.lots[1].expire_time.as_ref().unwrap().seconds, past.lots[1].lapses_with_inactivity), (sleep, true));

    // The tables are made again from the journal, and tell the same.
    let (shown, listed) = (server.member(&member).await, lots(&server, &member).await);
    let data = server.data();
    let (folder, clock) = server.end().await;
    fs::remove_dir_all(data.join("tables")).unwrap();
    let server = TestServer::start_in(folder, clock, vec![asleep()]).await;
    assert_eq!((server.member(&member).await, lots(&server, &member).await), (shown, listed));
    server.days_later(200);
    let member_now = server.member(&member).await;
    let balance = member_now.balance.as_ref().unwrap();
    assert_eq!((balance.available, balance.expired, told(&member_now)), (7, 36, vec![]));
    assert_eq!(lots(&server, &member).await, [(7, None, false)]);
    let sequence = member_now.last_sequence;
    let text = explained(&server, &member, sequence).await;
    assert!(text.contains("since the member had not been active for as long as the programme allows"), "{text}");
    server.purchases().record_purchase(sale(&member, "3", "10000")).await.unwrap();
    assert_eq!(server.member(&member).await.balance.unwrap().available, 8);
    let data = server.data();
    let (folder, _) = server.end().await;
    let report = embedded::check(&data, &Options::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.differences);
    drop(folder);
}

/// They lie behind the others, which are still in the tables until it is entered that they have lapsed.
#[tokio::test]
async fn points_that_never_lapse_can_be_spent_when_the_others_have_lapsed() {
    let server = start_with(asleep()).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "1", "100000")).await.unwrap();
    let grant = v1::AdjustPointsRequest { expiry: Some(never()), ..adjustment(&member, "a-1", 7) };
    server.points().adjust_points(grant).await.unwrap();
    server.days_later(200);
    server.points().adjust_points(adjustment(&member, "a-2", -7)).await.expect("they are there");
    let balance = server.member(&member).await.balance.unwrap();
    assert_eq!((balance.available, balance.expired, balance.clawed_back), (0, 10, 7));
}

pub fn never() -> v1::ExpiryPolicy {
    v1::ExpiryPolicy { policy: Some(expiry_policy::Policy::Never(expiry_policy::Never {})) }
}

/// What has lapsed is spent by nobody, and hides nothing that is there: whoever comes first after the time was over.
#[tokio::test]
async fn points_behind_those_that_have_lapsed_are_spent() {
    let server = start_with(v1::Program {
        transfers: Some(v1::TransferPolicy::default()),
        expiry: Some(lapsing(6)),
        ..crate::redemption::spending()
    })
    .await;
    let other = server.enroll("other").await;
    for (what, left) in [("redeem", 50), ("up-to", 0), ("hold", 50), ("give", 50), ("take", 50)] {
        let member = server.enroll(what).await;
        server.purchases().record_purchase(sale(&member, what, "1000000")).await.unwrap();
        for part in 0..4 {
            let grant = v1::AdjustPointsRequest { expiry: Some(never()), ..adjustment(&member, &format!("{what}-{part}"), 50) };
            server.points().adjust_points(grant).await.unwrap();
        }
        server.days_later(400);
        let mut points = server.points();
        let spend = |points, up_to| v1::RedeemPointsRequest { up_to, ..crate::redemption::redeem(&member, what, points, "1000000") };
        match what {
            "redeem" => drop(points.redeem_points(spend(150, false)).await.unwrap()),
            "up-to" => assert_eq!(points.redeem_points(spend(0, true)).await.unwrap().into_inner().points, 200),
            "hold" => {
                let v1::RedeemPointsRequest { request_id, program_id, member, points: held, order_total, .. } = spend(150, false);
                let hold = v1::HoldPointsRequest { request_id, program_id, member, points: held, order_total, ..Default::default() };
                points.hold_points(hold).await.unwrap();
            }
            "give" => {
                let gift = v1::TransferPointsRequest {
                    request_id: what.into(),
                    program_id: PROGRAM.into(),
                    member: by_id(&member),
                    recipient: by_id(&other),
                    points: 150,
                    reason: "gift".into(),
                    ..Default::default()
                };
                points.transfer_points(gift).await.unwrap();
            }
            _ => drop(points.adjust_points(adjustment(&member, what, -150)).await.unwrap()),
        }
        let balance = server.member(&member).await.balance.unwrap();
        assert_eq!((balance.available, balance.expired), (left, 100), "{what}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_grant_says_how_it_lapses_rightly_or_not_at_all() {
    let server = start_with(asleep()).await;
    let member = server.enroll("c-1").await;
    let cases = [
        (10, v1::ExpiryPolicy::default(), "expiry"),
        (10, after_days(0), "expiry.after"),
        (10, after_days(36_501), "expiry.after.days"),
        (10, lapsing(5), "expiry.inactivity"),
        (10, lapsing(0), "expiry.inactivity.months"),
        (-10, after_days(3), "expiry"),
    ];
    for (points, expiry, field) in cases {
        let request = v1::AdjustPointsRequest { expiry: Some(expiry), ..adjustment(&member, "a", points) };
        let status = server.points().adjust_points(request).await.unwrap_err();
        let expected = Refused { code: Code::InvalidArgument, reason: "INVALID_FIELD".into(), fields: vec![field.into()] };
        assert_eq!(refused(&status), expected, "{status:?}");
    }
    let same = v1::AdjustPointsRequest { expiry: Some(lapsing(6)), ..adjustment(&member, "a", 10) };
    let entry = server.points().adjust_points(same).await.unwrap().into_inner().entry.unwrap();
    let Some(v1::entry::Kind::PointsAdjusted(adjusted)) = entry.kind else { panic!("{entry:?}") };
    assert!(adjusted.lapses_with_inactivity && adjusted.expire_time.is_none(), "{adjusted:?}");
    assert_eq!(entry.inactivity_time.unwrap().seconds, seconds("2026-09-10T17:00:00Z"), "the first points begin the time");
    server.stop().await;
}
