//! Points that lapse by calendar months without activity: each month with any adds one to the life of those of before.

use std::{collections::BTreeSet, fs, sync::Arc};

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::{program, rule_book, v1},
    domain::{
        Command, Context, EntryKind, Expiry, History, LotExpiry, Member, MemberId, MemberKey, Month, Points, Program, RanOut, Recipient,
        TierId, TransferRequest, receive,
    },
    store::embedded::{self, Options},
};
use proptest::prelude::*;

use crate::{
    accrual::{Shop, at, rule_book_with},
    inactivity::{back, become_one, buys, grant, has, hold, lapses, lapsing, lots, never, passes, redeem, seconds},
    redemption::{explained, start_with},
    support::{TestServer, adjustment, sale},
};

/// A point a dollar, which lasts three months and one more for each with a purchase, in New York. `more`: of the rule book.
fn text(more: &str) -> String {
    format!(
        "expiry: {{ inactivity: {{ months: 3, activities: [COUNTED_ACTIVITY_PURCHASE], extension: EXTENSION_MONTH }} }}
accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]
redemption: {{ points: 100, amount: 1, maximum_hold_seconds: 2592000 }}
purchase_time: {{ max_age_days: 400 }}
transfers: {{}}
{more}"
    )
}

fn open(more: &str) -> Shop {
    Shop::open(rule_book_with(&text(more)))
}

/// One who opens on a day, at noon in New York, and what is bought on others.
fn who_buys(more: &str, purchases: &[(&str, &str)]) -> Shop {
    let mut shop = open(more);
    for (day, dollars) in purchases {
        shop.now = noon(day);
        buys(&mut shop, dollars, None);
    }
    shop
}

fn noon(day: &str) -> Timestamp {
    at(&format!("{day}T16:00:00Z"))
}

/// The last day of what lapses next, in New York, and what is available of it.
fn next(shop: &Shop) -> Option<(Date, i64)> {
    let months = &shop.member.header.inactive_months;
    let zone = &shop.programs.newest().time_zone;
    let first = months.points.keys().find_map(|earned| months.lapse_time(*earned, zone))?;
    assert_eq!((months.record.lapse_time, shop.member.header.next_due_time()), (Some(first), Some(first)));
    let of_it = months.points.iter().filter(|(earned, _)| months.lapse_time(**earned, zone) == Some(first));
    let day = zone.to_datetime(first).date().yesterday().expect("a day");
    Some((day, of_it.map(|(_, points)| points.0).sum()))
}

fn ends(shop: &mut Shop, day: &str) -> Option<(String, i64)> {
    shop.now = noon(day);
    passes(shop);
    next(shop).map(|(day, points)| (day.to_string(), points))
}

fn through(day: &str, points: i64) -> Option<(String, i64)> {
    Some((day.to_owned(), points))
}

fn publish(shop: &mut Shop, version: u32, text: &str) {
    let book = rule_book_with(text);
    shop.programs = shop.programs.with(Arc::new(Program { version, publish_time: shop.now, ..book }));
}

#[test]
fn points_last_some_months_after_the_one_of_the_purchase_and_each_later_one_with_activity_adds_one() {
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    // April, May and June.
    assert_eq!(ends(&mut shop, "2026-03-31"), through("2026-06-30", 10));
    // Twice in a month is once.
    let mut shop = who_buys("", &[("2026-03-10", "10"), ("2026-03-30", "1"), ("2026-05-02", "20"), ("2026-05-31", "3")]);
    assert_eq!(next(&shop).expect("points"), ("2026-07-31".parse().expect("a day"), 11));
    // The last instant of July in New York, and the first of August.
    shop.now = at("2026-08-01T03:59:59Z");
    passes(&mut shop);
    assert_eq!(has(&shop), (34, 0));
    shop.now = at("2026-08-01T04:00:00Z");
    passes(&mut shop);
    assert_eq!((lapses(&shop.entries), has(&shop)), (vec![(11, shop.now)], (23, 11)));
    assert_eq!(ends(&mut shop, "2026-08-31"), through("2026-08-31", 23));
    // On the last day a purchase saves what is there for a month, and no more.
    buys(&mut shop, "5", None);
    assert_eq!(next(&shop).expect("points"), ("2026-09-30".parse().expect("a day"), 23));
    assert_eq!(ends(&mut shop, "2026-10-01"), through("2026-11-30", 5));
}

#[test]
fn months_without_activity_need_not_be_one_after_the_other() {
    let months = [("2026-03-10", "10"), ("2026-05-10", "1"), ("2026-07-10", "1"), ("2026-09-10", "1")];
    let mut shop = who_buys("", &months);
    // April, June and August: the third is over with August. For what is of May it is October.
    assert_eq!(lapses(&shop.entries), [(10, at("2026-09-01T04:00:00Z"))]);
    assert_eq!(ends(&mut shop, "2026-10-31"), through("2026-10-31", 1));
}

#[test]
fn a_sale_that_is_told_late_counts_in_its_own_month_and_revives_nothing() {
    // Told on 2 June: May is one with activity, as if it had been told then.
    let mut shop = who_buys("", &[("2026-03-10", "10"), ("2026-06-01", "1")]);
    assert_eq!(next(&shop).expect("points"), ("2026-07-31".parse().expect("a day"), 10));
    shop.now = noon("2026-06-02");
    buys(&mut shop, "4", Some("2026-05-30T16:00:00Z"));
    assert_eq!(next(&shop).expect("points"), ("2026-08-31".parse().expect("a day"), 10));
    let on_time = who_buys("", &[("2026-03-10", "10"), ("2026-05-30", "4"), ("2026-06-01", "1")]);
    assert_eq!(on_time.member.header.inactive_months.record.inactive, shop.member.header.inactive_months.record.inactive);
    assert_eq!(on_time.member.header.inactive_months.points, shop.member.header.inactive_months.points);
    // What has lapsed stays so, and what is told after its time has come and gone lapses with it.
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    assert_eq!(ends(&mut shop, "2026-10-01"), None);
    buys(&mut shop, "7", Some("2026-04-10T16:00:00Z"));
    let told: Vec<_> = lapses(&shop.entries);
    assert_eq!(told, [(10, at("2026-07-01T04:00:00Z")), (7, at("2026-08-01T04:00:00Z"))]);
    assert_eq!((has(&shop), next(&shop)), ((0, 17), None));
}

#[test]
fn what_does_not_count_brings_points_that_have_their_months_and_adds_none_to_others() {
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    shop.now = noon("2026-05-10");
    shop.does(&grant(5, None)).expect("points are added");
    assert_eq!(next(&shop).expect("points"), ("2026-06-30".parse().expect("a day"), 10));
    assert_eq!(ends(&mut shop, "2026-07-01"), through("2026-08-31", 5));
    // With nothing before: counted from the month in which they come.
    let mut shop = open("");
    shop.now = noon("2026-05-10");
    shop.does(&grant(5, None)).expect("points are added");
    assert_eq!(next(&shop).expect("points"), ("2026-08-31".parse().expect("a day"), 5));
    // A purchase in the same month is in the month in which they were earned.
    buys(&mut shop, "1", None);
    assert_eq!(next(&shop).expect("points"), ("2026-08-31".parse().expect("a day"), 6));
}

#[test]
fn points_with_a_date_go_first_then_the_oldest_and_the_record_follows_what_is_left() {
    let mut shop = who_buys("", &[("2026-03-10", "10"), ("2026-04-10", "20")]);
    shop.does(&grant(5, Some(Expiry::AfterDays(300)))).expect("points are added");
    shop.does(&Command::RedeemPoints(redeem(14))).expect("they are spent");
    // Of March and April: April has added July to the one.
    assert_eq!(next(&shop).expect("points"), ("2026-07-31".parse().expect("a day"), 21));
    let entry = shop.does(&Command::RedeemPoints(redeem(3))).expect("they are spent").remove(0);
    assert_eq!(next(&shop).expect("points"), ("2026-07-31".parse().expect("a day"), 18));
    assert_eq!(entry.inactive_months, None, "nothing lapses at another time than before");
    shop.does(&Command::RedeemPoints(redeem(18))).expect("they are spent");
    assert_eq!(next(&shop), None);
    assert_eq!(shop.member.header.inactive_months.record.lapse_time, None);
}

#[test]
fn what_was_held_or_spent_comes_back_with_the_months_that_it_has_or_lapsed() {
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    let spent = shop.does(&Command::RedeemPoints(redeem(3))).expect("it is spent")[0].sequence;
    let again = shop.does(&Command::RedeemPoints(redeem(2))).expect("it is spent")[0].sequence;
    // June would be the third month: a purchase in it adds July.
    shop.now = noon("2026-06-10");
    buys(&mut shop, "1", None);
    shop.does(&back(spent)).expect("it comes back");
    assert_eq!(ends(&mut shop, "2026-07-20"), through("2026-07-31", 8));
    shop.does(&hold(4, 30)).expect("it is held");
    // With July it is over, though a purchase in August moves the months again before any of it comes back.
    shop.now = noon("2026-08-02");
    buys(&mut shop, "1", None);
    shop.does(&back(again)).expect("it comes back, and has lapsed");
    let ran_out = RanOut { through: Month(2026 * 12 + 2), time: at("2026-08-01T04:00:00Z") };
    assert_eq!(shop.member.header.inactive_months.record.ran_out, Some(ran_out));
    assert_eq!(ends(&mut shop, "2026-08-20"), through("2026-10-31", 1));
    let told = lapses(&shop.entries);
    assert_eq!(told, [(4, ran_out.time), (2, ran_out.time), (4, noon("2026-08-19"))], "what is held lapses when the hold ends");
}

/// Gives 8 points to another member, by the giver's rules: what that one has then.
fn gives(giver: &mut Shop, other: Shop) -> Shop {
    let to = Recipient::Id(MemberId([8; 16]));
    let request = TransferRequest { to, points: Points(8), reason: "family".into(), reference: String::new() };
    let sent = giver.does(&Command::TransferPoints(request)).expect("points are given").pop().expect("an entry");
    let (programs, now, history) = (&giver.programs, giver.now, History::NONE);
    let context = Context { programs, now, request: None, actor: None, principal: None, operator: None, history };
    let key = MemberKey { member: MemberId([8; 16]), ..other.member.key.clone() };
    let got = receive(context, Member { key, ..other.member }, (&giver.member.header, &sent)).expect("it is possible");
    Shop { member: got.member, now, entries: got.entries, programs: giver.programs.clone() }
}

#[test]
fn given_points_last_as_long_as_they_did() {
    let got_by = |other: Shop, giver: &mut Shop| next(&gives(giver, other)).map(|(day, points)| (day.to_string(), points));
    // The giver came by each month: they last through August. The other one was away since March.
    let active = || who_buys("", &[("2026-03-10", "10"), ("2026-04-10", "1"), ("2026-05-10", "1")]);
    assert_eq!(next(&active()).expect("points").0.to_string(), "2026-08-31");
    let away = who_buys("", &[("2026-03-10", "0.50")]);
    assert_eq!(got_by(away, &mut active()), through("2026-08-31", 8));
    // Who has no months yet begins with them.
    assert_eq!(got_by(open(""), &mut active()), through("2026-08-31", 8));
    // With one who comes by more often than the giver they last longer.
    let mut rare = who_buys("", &[("2026-03-10", "10"), ("2026-06-20", "1")]);
    assert_eq!(next(&rare).expect("points").0.to_string(), "2026-07-31");
    let often = who_buys("", &[("2026-04-10", "0.50"), ("2026-05-10", "0.50"), ("2026-06-10", "0.50")]);
    assert_eq!(got_by(often, &mut rare), through("2026-09-30", 8));
}

#[test]
fn two_who_become_one_were_away_in_the_months_in_which_both_were() {
    let own = who_buys("", &[("2026-03-10", "10"), ("2026-06-10", "1")]);
    let mut other = who_buys("", &[("2026-03-11", "20"), ("2026-04-10", "2")]);
    let spent = other.does(&Command::RedeemPoints(redeem(3))).expect("it is spent")[0].clone();
    other.member.key.member = MemberId([8; 16]);
    // Alone: through July, and through July. Both were away in May alone.
    for (gone, stays) in [(&own, &other), (&other, &own)] {
        let (gone, stays) = become_one(gone, stays, "2026-06-20T16:00:00Z");
        assert_eq!(gone.member.header.inactive_months, Default::default());
        let months = &stays.member.header.inactive_months;
        assert_eq!(months.record.inactive, [Month(2026 * 12 + 4)]);
        assert_eq!(months.record.lapse_time, Some(at("2026-09-01T04:00:00Z")));
        assert_eq!(months.points.values().map(|points| points.0).sum::<i64>(), 30);
        let EntryKind::MergedFrom(got) = &stays.entries[0].kind else { panic!("it is merged") };
        assert_eq!(got.merged[0].ran_out_months, []);
    }
    // One whose points have lapsed: those of the other go on, and what was spent of the lapsed ones does not come back to life.
    let (_, stays) = become_one(&other, &who_buys("", &[("2026-03-10", "10"), ("2026-09-10", "1")]), "2026-09-20T16:00:00Z");
    let EntryKind::MergedFrom(got) = &stays.entries.last().expect("an entry").kind else { panic!("it is merged") };
    let ran_out = RanOut { through: Month(2026 * 12 + 4), time: at("2026-09-01T04:00:00Z") };
    assert_eq!((got.merged[0].ran_out_months.as_slice(), got.lots.len()), ([ran_out].as_slice(), 0));
    let as_now = got.merged[0].as_now(spent);
    let EntryKind::PointsRedeemed(redeemed) = &as_now.kind else { panic!("it is spent") };
    assert_eq!(redeemed.portions[0].lot.expiry(), LotExpiry::At(ran_out.time));
}

const TIERS: &str = "tiers:
- { tier_id: base }
- { tier_id: gold, threshold: { qualifying_points: 100 }, pauses_inactivity: true }
tier_policy: { window: WINDOW_ROLLING_MONTHS, rolling_months: 3, validity: VALIDITY_MONTHS, validity_months: 6 }
";

#[test]
fn under_a_tier_that_pauses_it_nothing_lapses_and_the_months_begin_anew_when_it_is_lost() {
    let mut shop = who_buys(TIERS, &[("2026-03-10", "40"), ("2026-05-20", "70")]);
    assert_eq!((next(&shop), shop.member.header.inactive_months.record.paused), (None, true));
    assert_eq!(shop.member.header.next_due_time(), Some(at("2026-11-20T05:00:00Z")), "the review");
    shop.now = noon("2026-08-10");
    buys(&mut shop, "1", None);
    assert_eq!(shop.entries.last().expect("an entry").inactive_months, None, "however active the member is");
    let mut late = Shop { member: shop.member.clone(), entries: shop.entries.clone(), ..open(TIERS) };
    assert_eq!(ends(&mut shop, "2026-11-20"), through("2027-02-28", 111));
    // What occurred in gold and is told now moves nothing; one of December does.
    buys(&mut shop, "1", Some("2026-10-10T16:00:00Z"));
    assert_eq!(next(&shop).map(|(day, _)| day.to_string()), Some("2027-02-28".into()));
    shop.now = noon("2026-12-01");
    buys(&mut shop, "1", None);
    assert_eq!(next(&shop).map(|(day, points)| (day.to_string(), points)), through("2027-03-31", 113));
    // Entered late it is the same.
    late.now = noon("2027-10-01");
    passes(&mut late);
    assert_eq!((lapses(&late.entries), has(&late)), (vec![(111, at("2027-03-01T05:00:00Z"))], (0, 111)));
    // By hand too, and what was out of its lot meanwhile is alive.
    let mut shop = who_buys(TIERS, &[("2026-03-10", "40")]);
    let spent = shop.does(&Command::RedeemPoints(redeem(4))).expect("it is spent")[0].sequence;
    let gold = TierId::new("gold").expect("an id");
    shop.does(&Command::SetTier { tier: gold, reason: "a guest".into(), last_date: Some(Date::constant(2026, 9, 30)) }).expect("it is set");
    shop.now = noon("2026-12-31");
    shop.does(&back(spent)).expect("it comes back");
    assert_eq!(next(&shop).map(|(day, points)| (day.to_string(), points)), through("2027-01-31", 40));
}

#[test]
fn after_a_change_of_the_rule_points_lapse_as_they_were_earned_and_activities_count_for_both() {
    let together = text("").replace(", extension: EXTENSION_MONTH", "");
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    publish(&mut shop, 2, &together);
    shop.now = noon("2026-05-10");
    buys(&mut shop, "20", None);
    assert_eq!(shop.member.header.inactivity.expire_time(), Some(at("2026-08-11T04:00:00Z")));
    assert_eq!(next(&shop).expect("points"), ("2026-07-31".parse().expect("a day"), 10), "May has added July");
    publish(&mut shop, 3, &text(""));
    shop.now = noon("2026-07-20");
    buys(&mut shop, "30", None);
    assert_eq!(shop.member.header.inactivity.expire_time(), Some(at("2026-10-21T04:00:00Z")));
    assert_eq!(next(&shop).expect("points"), ("2026-08-31".parse().expect("a day"), 10));
    shop.now = noon("2027-01-01");
    passes(&mut shop);
    let expected = [(10, at("2026-09-01T04:00:00Z")), (20, at("2026-10-21T04:00:00Z")), (30, at("2026-11-01T04:00:00Z"))];
    assert_eq!(lapses(&shop.entries), expected);
}

#[test]
fn what_is_told_of_or_given_after_a_change_of_the_rule_lapses_as_it_was_earned() {
    let together = text("").replace(", extension: EXTENSION_MONTH", "");
    for (from, to) in [(&together, &text("")), (&text(""), &together)] {
        let changed = |dollars: &str| {
            let mut shop = Shop::open(rule_book_with(from));
            if dollars != "0" {
                buys(&mut shop, dollars, None);
            }
            shop.now = noon("2026-03-20");
            publish(&mut shop, 2, to);
            shop.now = noon("2026-03-21");
            shop
        };
        let lapsed = |mut shop: Shop| {
            shop.now = noon("2026-08-01");
            passes(&mut shop);
            has(&shop)
        };
        // A sale of before, told after it; and who has only that becomes one with somebody.
        let mut late = changed("0");
        buys(&mut late, "10", Some("2026-03-19T16:00:00Z"));
        let mut stays = changed("0");
        stays.member.key.member = MemberId([8; 16]);
        stays.member = become_one(&late, &stays, "2026-03-22T16:00:00Z").1.member;
        stays.now = noon("2026-03-23");
        stays.does(&Command::RedeemPoints(redeem(5))).expect("they are there");
        assert_eq!((lapsed(late), lapsed(stays)), ((0, 10), (0, 5)));
        let mut giver = changed("10");
        let got = gives(&mut giver, Shop::open(rule_book_with(from)));
        assert_eq!((lapsed(giver), lapsed(got)), ((0, 2), (0, 8)));
    }
}

#[test]
fn fewer_months_do_not_hold_for_points_that_are_there_held_or_given() {
    let (long, short) = (text("").replace("months: 3", "months: 12"), text("").replace("months: 3", "months: 1"));
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    publish(&mut shop, 2, &short);
    shop.now = noon("2026-05-10");
    buys(&mut shop, "20", None);
    assert_eq!(next(&shop).expect("points"), ("2026-07-31".parse().expect("a day"), 10));
    assert_eq!(ends(&mut shop, "2026-08-02"), through("2026-08-31", 20));
    assert_eq!(ends(&mut shop, "2026-09-02"), None);
    buys(&mut shop, "5", None);
    assert_eq!(next(&shop).expect("points"), ("2026-10-31".parse().expect("a day"), 5), "and from then on one month");
    // All that there are are held when the next purchase comes.
    let mut shop = Shop::open(rule_book_with(&long));
    buys(&mut shop, "10", None);
    shop.now = noon("2026-06-01");
    shop.does(&hold(10, 20)).expect("it is held");
    publish(&mut shop, 2, &short);
    shop.now = noon("2026-06-02");
    buys(&mut shop, "1", None);
    assert_eq!(ends(&mut shop, "2026-06-30"), through("2027-04-30", 10), "June has added a month to March and twelve");
    // What comes to somebody who has none, by the fewer months.
    for before in ["0.50", "0"] {
        let mut giver = Shop::open(rule_book_with(&long));
        buys(&mut giver, "10", None);
        let mut other = Shop::open(rule_book_with(&long));
        if before != "0" {
            buys(&mut other, before, None);
        }
        publish(&mut giver, 2, &short);
        giver.now = noon("2026-06-20");
        let there = next(&giver).expect("points").0;
        assert_eq!(next(&gives(&mut giver, other)), Some((there, 8)), "{before}");
    }
}

#[test]
fn a_till_that_is_ahead_counts_in_its_month_and_takes_nothing_away() {
    let mut shop = who_buys("", &[("2026-03-10", "10")]);
    shop.now = noon("2026-06-30");
    let spent = shop.does(&Command::RedeemPoints(redeem(4))).expect("it is spent")[0].sequence;
    // Its clock shows July, and it is the last evening of June.
    shop.now = at("2026-07-01T03:58:00Z");
    buys(&mut shop, "1", Some("2026-07-01T04:01:00Z"));
    shop.does(&back(spent)).expect("it comes back");
    buys(&mut shop, "1", None);
    shop.now = noon("2026-07-02");
    passes(&mut shop);
    assert_eq!(has(&shop), (12, 0), "June was saved on its last evening");
}

#[test]
fn months_without_activity_are_known_for_what_is_told_late_of_before_them() {
    let mut shop = Shop::open(rule_book_with(&text("").replace("months: 3", "months: 2")));
    buys(&mut shop, "10", None);
    // April to July are without, until July is told of.
    shop.now = noon("2026-08-10");
    buys(&mut shop, "10", None);
    buys(&mut shop, "1", Some("2026-07-10T16:00:00Z"));
    buys(&mut shop, "5", Some("2026-03-12T16:00:00Z"));
    assert_eq!(has(&shop), (11, 15), "of March April and May were two");
}

#[test]
fn a_new_card_does_not_make_months_of_before_it_ones_with_activity() {
    let own = who_buys("", &[("2026-03-10", "10")]);
    let mut new = who_buys("", &[("2026-06-02", "1")]);
    new.member.key.member = MemberId([8; 16]);
    // April and May were without, June has the purchase, and July is the third.
    let (_, stays) = become_one(&own, &new, "2026-06-03T16:00:00Z");
    assert_eq!(stays.member.header.inactive_months.record.lapse_time, Some(at("2026-08-01T04:00:00Z")));
    let (_, stays) = become_one(&new, &own, "2026-06-03T16:00:00Z");
    assert_eq!(stays.member.header.inactive_months.record.lapse_time, Some(at("2026-08-01T04:00:00Z")));
}

/// A year and a half of purchases and grants, some of them told late.
fn months() -> impl Strategy<Value = Vec<(u8, u8, bool, u8)>> {
    // So many months later, a day, whether it is a purchase, and so many days late.
    prop::collection::vec((0u8..3, 1u8..28, any::<bool>(), prop_oneof![4 => Just(0u8), 1 => 1u8..50]), 1..14)
}

proptest! {
    /// As the rule says in words: at the end of the third month without a purchase after the one in which they were earned.
    #[test]
    fn each_point_lapses_at_the_end_of_the_third_month_without_a_purchase(doings in months()) {
        let mut shop = open("");
        let (mut year_month, mut purchased, mut earned) = ((2026, 3), BTreeSet::new(), Vec::new());
        let index = |date: Date| i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
        let zone = shop.programs.newest().time_zone.clone();
        // What is over when a month begins, and was not before. Months up to the first that is counted are as if there had been a purchase.
        let lapse = |earned: &mut Vec<(i32, i64)>, purchased: &BTreeSet<i32>, from: i32, month: i32| -> i64 {
            let is_over = |of: i32| (of.max(from) + 1..month).filter(|one| !purchased.contains(one)).count() >= 3;
            let gone = earned.iter().filter(|(of, _)| is_over(*of)).map(|(_, points)| points).sum();
            earned.retain(|(of, _)| !is_over(*of));
            gone
        };
        let (mut from, mut lapsed) = (None, 0);
        for (later, day, is_purchase, late) in doings {
            let month = year_month.1 + later;
            year_month = if month > 12 { (year_month.0 + 1, month - 12) } else { (year_month.0, month) };
            let day = Date::new(year_month.0, year_month.1 as i8, day as i8).expect("a day");
            let now = day.at(12, 0, 0, 0).to_zoned(zone.clone()).expect("an instant").timestamp();
            if now < shop.now {
                continue;
            }
            shop.now = now;
            let occurred = day.checked_sub(jiff::Span::new().days(i64::from(late))).expect("a day");
            if let Some(from) = from {
                lapsed += lapse(&mut earned, &purchased, from, index(day));
            }
            if is_purchase {
                let time = occurred.at(12, 0, 0, 0).to_zoned(zone.clone()).expect("an instant").timestamp();
                buys(&mut shop, "7", Some(&time.to_string()));
                let of = index(occurred);
                from = from.or(Some(of));
                purchased.insert(of);
                earned.push((of, 7));
                lapsed += lapse(&mut earned, &purchased, from.expect("it has begun"), index(day));
            } else {
                shop.does(&grant(5, None)).expect("points are added");
                from = from.or(Some(index(day)));
                earned.push((index(day), 5));
            }
            let left: i64 = earned.iter().map(|(_, points)| points).sum();
            prop_assert_eq!(has(&shop), (left, lapsed), "{} {:?} {:?}", day, earned, purchased);
        }
    }
}

#[test]
fn a_rule_book_says_how_many_months_and_in_which_way() {
    let mistakes = |expiry: &str| {
        let text = format!(
            "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: UTC\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, \
             fraction: FRACTION_DROP }}\naccrual_rules: [{{ rule_id: r, per_order: {{ points: 1 }} }}]\nexpiry: {{ inactivity: {{ {expiry}, \
             activities: [COUNTED_ACTIVITY_PURCHASE] }} }}\n"
        );
        let mut document = rule_book::read(&text).expect("it can be read");
        let parsed = |document: &v1::Program| program::parse(document, 1, Timestamp::UNIX_EPOCH).err().unwrap_or_default();
        let told = parsed(&document);
        if let Some(v1::ExpiryPolicy { policy: Some(v1::expiry_policy::Policy::Inactivity(policy)) }) = &mut document.expiry {
            policy.extension = 9;
        }
        assert!(parsed(&document).iter().any(|mistake| mistake.path == "expiry.inactivity.extension"), "there is no such way");
        told.into_iter().map(|mistake| (mistake.path, mistake.message)).collect::<Vec<_>>()
    };
    assert_eq!(mistakes("months: 120, extension: EXTENSION_MONTH"), []);
    assert_eq!(mistakes("months: 1200, extension: EXTENSION_RESTART"), []);
    let told = ("expiry.inactivity.months".to_owned(), "is at most 120 with EXTENSION_MONTH".to_owned());
    assert_eq!(mistakes("months: 121, extension: EXTENSION_MONTH"), [told]);
}

fn served() -> v1::Program {
    let activities = vec![v1::expiry_policy::CountedActivity::Purchase.into()];
    let extension = v1::expiry_policy::Extension::Month.into();
    let inactivity = v1::expiry_policy::Inactivity { months: 3, activities, extension };
    let expiry = Some(v1::ExpiryPolicy { policy: Some(v1::expiry_policy::Policy::Inactivity(inactivity)) });
    v1::Program { expiry, ..crate::redemption::spending() }
}

/// The other way may have more months than are counted.
#[tokio::test]
async fn a_version_with_many_months_for_all_together_leaves_those_that_are_counted() {
    let server = start_with(served()).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "1", "100000")).await.expect("it is recorded");
    let server = server.restart_with(v1::Program { expiry: Some(lapsing(1_200)), ..served() }).await;
    server.days_later(35);
    server.purchases().record_purchase(sale(&member, "2", "100000")).await.expect("it is recorded");
    let first = seconds("2026-07-31T17:00:00Z");
    assert_eq!(told(&server.member(&member).await)[0], (10, first, true), "April has added a month");
    is_sound(server).await;
}

async fn is_sound(server: TestServer) {
    let data = server.data();
    let (folder, _) = server.end().await;
    let report = embedded::check(&data, &Options::default()).expect("it can be read");
    assert!(report.is_sound(), "{:?}", report.differences);
    drop(folder);
}

fn told(member: &v1::Member) -> Vec<(i64, i64, bool)> {
    let told = |it: &v1::ExpiringPoints| (it.points, it.expire_time.as_ref().expect("a time").seconds, it.lapses_with_inactivity);
    member.expiring.iter().map(told).collect()
}

#[tokio::test]
async fn a_member_is_told_when_each_part_lapses_and_the_tables_made_again_tell_the_same() {
    let server = start_with(served()).await;
    let member = server.enroll("c-1").await;
    let buys = async |server: &TestServer, order: &str| {
        server.purchases().record_purchase(sale(&member, order, "100000")).await.expect("it is recorded");
    };
    let grant = v1::AdjustPointsRequest { expiry: Some(never()), ..adjustment(&member, "a-1", 7) };
    server.points().adjust_points(grant).await.expect("points are added");
    // On 10 March, and 62 days later: 11 May.
    buys(&server, "1").await;
    server.days_later(62);
    buys(&server, "2").await;
    let (first, second) = (seconds("2026-07-31T17:00:00Z"), seconds("2026-08-31T17:00:00Z"));
    let shown = server.member(&member).await;
    assert_eq!(told(&shown), [(10, first, true), (10, second, true)]);
    let listed = lots(&server, &member).await;
    assert_eq!(listed, [(10, Some(first), true), (10, Some(second), true), (7, None, false)]);
    let text = explained(&server, &member, shown.last_sequence).await;
    for part in [
        "10 points in lot 3, valid for some months, and a month longer for each with activity.",
        "the first are valid until the end of 2026-07-31, or longer if the member is active.",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }

    let data = server.data();
    let (folder, clock) = server.end().await;
    fs::remove_dir_all(data.join("tables")).expect("the tables are there");
    let server = TestServer::start_in(folder, clock, vec![served()]).await;
    assert_eq!((server.member(&member).await, lots(&server, &member).await), (shown, listed));
    // 9 August: what is of March has lapsed, and whoever comes first finds what is left.
    server.days_later(90);
    server.points().adjust_points(adjustment(&member, "a-2", -12)).await.expect("they are there");
    let shown = server.member(&member).await;
    let balance = shown.balance.as_ref().expect("a balance");
    assert_eq!((balance.available, balance.expired, told(&shown)), (5, 10, vec![]));
    assert_eq!(lots(&server, &member).await, [(5, None, false)]);
    is_sound(server).await;
}
