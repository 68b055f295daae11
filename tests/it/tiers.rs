//! Tiers in full: windows, how long a status lasts, reviews, what is told late or comes back, rewards, benefits.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use loyaltyd::domain::{
    Command, Context, Entry, EntryKind, Header, History, Member, MemberId, MemberKey, Person, Points, Program, ProgramHistory, Purchase,
    Rejection, StatusEnd, TierCause, TierId, advance, apply, merge, tier_progress,
};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    accrual::{Shop, at, line, purchase, rule_book_with},
    support::histories::{order, return_of},
};

/// A point a dollar, in New York; silver at 100 points, gold at 200, platinum at 1,000.
fn club(policy: &str, silver: &str) -> Program {
    club_in("America/New_York", policy, silver)
}

fn club_in(zone: &str, policy: &str, silver: &str) -> Program {
    rule_book_with(&format!(
        "
time_zone: {zone}
accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }}, without_tier_multiplier: true }}]
purchase_time: {{ max_age_days: 60 }}
tiers:
- {{ tier_id: base }}
- {{ tier_id: silver, threshold: {{ qualifying_points: 100 }}{silver} }}
- {{ tier_id: gold, threshold: {{ qualifying_points: 200 }}, multiplier: 2 }}
- {{ tier_id: platinum, threshold: {{ qualifying_points: 1000 }}, multiplier: 3 }}
tier_policy: {{ {policy} }}
"
    ))
}

const YEAR: &str = "window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_NEXT_PERIOD";

pub fn open_at(program: Program, now: &str) -> Shop {
    open_with(program, now, Person::default())
}

/// Somebody enrols.
pub fn open_with(program: Program, now: &str, person: Person) -> Shop {
    let key = MemberKey { program: program.id.clone(), member: MemberId([7; 16]) };
    let now = at(now);
    let member = Member::bare(key, Header::new(now));
    let mut shop = Shop { programs: ProgramHistory::new(Arc::new(program)), member, now, entries: Vec::new() };
    shop.does(&Command::Enroll { person }).expect("anyone can enrol");
    shop
}

/// A sale of so many dollars now.
fn sells(shop: &mut Shop, now: &str, dollars: &str) {
    shop.now = at(now);
    shop.buys(purchase(vec![line(dollars)]));
}

/// A sale that is told of now and occurred before.
fn tells(shop: &mut Shop, now: &str, occurred: &str, dollars: &str) {
    shop.now = at(now);
    shop.buys(Purchase { occurred_time: Some(at(occurred)), ..purchase(vec![line(dollars)]) });
}

fn sells_order(shop: &mut Shop, now: &str, number: u64, dollars: &str) {
    shop.now = at(now);
    shop.buys(Purchase { order: Some(order(number)), ..purchase(vec![line(dollars)]) });
}

/// Time passes, and what is due is entered.
fn passes(shop: &mut Shop, now: &str) {
    shop.now = at(now);
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    assert!(!decision.still_due);
    shop.member = decision.member;
    shop.entries.extend(decision.entries);
    assert!(shop.member.header.next_due_time().is_none_or(|due| due > shop.now), "all that was due is entered");
}

fn sets(shop: &mut Shop, tier: &str, last_date: Option<&str>) -> Result<(), Rejection> {
    let last_date = last_date.map(|date| date.parse().expect("a date"));
    let tier = TierId::new(tier).expect("an id");
    shop.does(&Command::SetTier { tier, reason: "friend of the house".into(), last_date }).map(drop)
}

fn day(shop: &Shop, time: Timestamp) -> String {
    let local = time.to_zoned(shop.programs.newest().time_zone.clone());
    if local.time() == jiff::civil::Time::midnight() { local.date().to_string() } else { local.datetime().to_string() }
}

fn until(shop: &Shop, end: Option<StatusEnd>) -> String {
    match end {
        None => String::new(),
        Some(end) if end.end_time == end.review_time => format!(" until {}", day(shop, end.end_time)),
        Some(end) => format!(" until {}, reviewed {}", day(shop, end.end_time), day(shop, end.review_time)),
    }
}

/// What happened to the tier, in few words.
fn told(shop: &Shop) -> Vec<String> {
    let say = |entry: &Entry| match &entry.kind {
        EntryKind::TierChanged(change) => {
            let cause = match change.cause {
                TierCause::Upgrade => "rises to",
                TierCause::Manual => "is set to",
                TierCause::Review => "reviewed to",
                TierCause::Return => "returned to",
                TierCause::RuleBook => "changed to",
            };
            Some(format!("{cause} {}{}", change.to, until(shop, change.end)))
        }
        EntryKind::TierKept(kept) => Some(format!("keeps {}{}", kept.tier, until(shop, kept.end))),
        EntryKind::TierRewarded(rewarded) => {
            Some(rewarded.lot.as_ref().map_or("gets a voucher".to_owned(), |lot| format!("gets {}", lot.points)))
        }
        _ => None,
    };
    shop.entries
        .iter()
        .filter_map(|entry| say(entry).map(|said| (entry, said)))
        .map(|(entry, said)| {
            let time = entry.occurred_time.to_zoned(shop.programs.newest().time_zone.clone());
            format!("{} {said}", time.date())
        })
        .collect()
}

#[test]
fn without_a_window_nothing_more_is_written_than_before() {
    let mut shop = Shop::open(club("", ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "250");
    passes(&mut shop, "2036-03-11T15:00:00Z");
    assert_eq!(told(&shop), ["2026-03-11 rises to gold"]);
    assert!(shop.entries.iter().all(|entry| entry.counted.is_none()));
    assert!(shop.member.header.tier.is_plain() && shop.member.header.tier_counts.is_empty());
}

#[test]
fn a_tier_of_a_calendar_year_lasts_to_the_end_of_the_next_year_and_then_goes_to_what_was_earned() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    sells(&mut shop, "2026-11-11T15:00:00Z", "100");
    sells(&mut shop, "2027-05-11T15:00:00Z", "120");
    passes(&mut shop, "2030-01-02T15:00:00Z");
    let expected = [
        "2026-03-11 rises to silver until 2028-01-01",
        "2026-11-11 rises to gold until 2028-01-01",
        "2028-01-01 reviewed to silver until 2029-01-01",
        "2029-01-01 reviewed to base",
    ];
    assert_eq!(told(&shop), expected);
    // What no review can look at any more is let go with the next sale.
    sells(&mut shop, "2030-01-02T15:00:00Z", "10");
    let kept: Vec<String> = shop.member.header.tier_counts.iter().map(|(day, _)| day.to_string()).collect();
    assert_eq!(kept, ["2030-01-01"]);
}

#[test]
fn a_tier_of_a_quarter_is_kept_by_what_the_quarter_had() {
    let mut shop = Shop::open(club("window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD", ""));
    sells(&mut shop, "2026-03-30T15:00:00Z", "250");
    sells(&mut shop, "2026-05-30T15:00:00Z", "199");
    passes(&mut shop, "2026-10-02T15:00:00Z");
    let expected = [
        "2026-03-30 rises to gold until 2026-04-01",
        "2026-04-01 keeps gold until 2026-07-01",
        "2026-07-01 reviewed to silver until 2026-10-01",
        "2026-10-01 reviewed to base",
    ];
    assert_eq!(told(&shop), expected);
}

#[test]
fn a_membership_year_that_began_on_29_february_ends_on_the_28th_of_common_years() {
    let mut shop = open_at(club("window: WINDOW_MEMBERSHIP_YEAR, validity: VALIDITY_END_OF_PERIOD", ""), "2028-02-29T15:00:00Z");
    sells(&mut shop, "2029-02-28T04:59:00Z", "250");
    sells(&mut shop, "2029-02-28T05:01:00Z", "99");
    passes(&mut shop, "2030-03-02T15:00:00Z");
    let expected = ["2029-02-27 rises to gold until 2029-02-28", "2029-02-28 keeps gold until 2030-02-28", "2030-02-28 reviewed to base"];
    assert_eq!(told(&shop), expected);
    sells(&mut shop, "2031-03-02T15:00:00Z", "250");
    assert_eq!(told(&shop).last().unwrap(), "2031-03-02 rises to gold until 2032-02-29");
}

#[test]
fn rolling_months_look_back_to_the_day() {
    let policy = "window: WINDOW_ROLLING_MONTHS, rolling_months: 12, validity: VALIDITY_MONTHS, validity_months: 12";
    let mut shop = Shop::open(club(policy, ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    // On 10 March the first sale is a part of the window still, on the 11th it is not.
    sells(&mut shop, "2027-03-10T15:00:00Z", "60");
    passes(&mut shop, "2027-03-11T15:00:00Z");
    let expected = ["2026-03-11 rises to silver until 2027-03-11", "2027-03-10 rises to gold until 2028-03-10"];
    assert_eq!(told(&shop), expected);
    sells(&mut shop, "2027-03-11T16:00:00Z", "100");
    passes(&mut shop, "2029-12-10T15:00:00Z");
    assert_eq!(told(&shop)[2..], ["2028-03-10 reviewed to silver until 2029-03-10", "2029-03-10 reviewed to base"]);
    let mut shop = Shop::open(club("validity: VALIDITY_MONTHS, validity_months: 1", ""));
    sells(&mut shop, "2027-01-31T15:00:00Z", "150");
    assert_eq!(told(&shop), ["2027-01-31 rises to silver until 2027-02-28"]);
}

#[test]
fn a_review_goes_one_down_or_never_down_where_the_rule_book_says_so() {
    let run = |outcome: &str| {
        let mut shop = Shop::open(club(&format!("{YEAR}, review_outcome: {outcome}"), ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "1500");
        passes(&mut shop, "2030-01-02T15:00:00Z");
        told(&shop).split_off(1)
    };
    let down =
        ["2028-01-01 reviewed to gold until 2029-01-01", "2029-01-01 reviewed to silver until 2030-01-01", "2030-01-01 reviewed to base"];
    assert_eq!(run("REVIEW_OUTCOME_ONE_DOWN"), down);
    let kept = ["2028", "2029", "2030"].map(|year| {
        let next = year.parse::<u32>().unwrap() + 1;
        format!("{year}-01-01 keeps platinum until {next}-01-01")
    });
    assert_eq!(run("REVIEW_OUTCOME_NEVER_DOWN"), kept);
    assert_eq!(run("REVIEW_OUTCOME_EARNED"), ["2028-01-01 reviewed to base"]);
}

#[test]
fn keeping_a_tier_can_take_less_than_reaching_it() {
    let mut shop = Shop::open(club(YEAR, ", retention: { visits: 2 }"));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    sells(&mut shop, "2027-05-11T15:00:00Z", "1");
    sells(&mut shop, "2027-06-11T15:00:00Z", "1");
    passes(&mut shop, "2029-01-02T15:00:00Z");
    assert_eq!(told(&shop)[1..], ["2028-01-01 keeps silver until 2029-01-01", "2029-01-01 reviewed to base"]);
}

#[test]
fn what_occurs_in_the_days_of_grace_counts_for_the_review() {
    let mut shop = Shop::open(club(&format!("{YEAR}, grace_days: 10"), ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "250");
    sells(&mut shop, "2027-05-11T15:00:00Z", "150");
    sells(&mut shop, "2028-01-10T15:00:00Z", "60");
    assert_eq!(shop.tier(), "gold");
    passes(&mut shop, "2028-01-12T15:00:00Z");
    let expected =
        ["2026-03-11 rises to gold until 2028-01-01, reviewed 2028-01-11", "2028-01-11 keeps gold until 2029-01-01, reviewed 2029-01-11"];
    assert_eq!(told(&shop), expected);
    // What comes on the day of the review is too late for it.
    let mut shop = Shop::open(club(&format!("{YEAR}, grace_days: 10"), ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "250");
    sells(&mut shop, "2027-05-11T15:00:00Z", "150");
    sells(&mut shop, "2028-01-11T15:00:00Z", "60");
    assert_eq!(told(&shop)[1..], ["2028-01-11 reviewed to silver until 2029-01-01, reviewed 2029-01-11"]);
}

#[test]
fn what_is_set_by_hand_ends_with_its_last_day() {
    let mut shop = Shop::open(club("", ""));
    assert_eq!(sets(&mut shop, "gold", Some("2026-03-09")), Err(Rejection::TierEndPast));
    sets(&mut shop, "gold", Some("2026-06-30")).expect("the tier is another");
    assert!(matches!(sets(&mut shop, "gold", Some("2026-06-30")), Err(Rejection::TierHeld { .. })));
    passes(&mut shop, "2026-07-01T03:59:00Z");
    assert_eq!(shop.tier(), "gold");
    passes(&mut shop, "2026-07-01T04:00:00Z");
    assert_eq!(told(&shop), ["2026-03-10 is set to gold", "2026-07-01 reviewed to base"]);
    // What was earned meanwhile stays, and a longer end takes the place of a shorter one.
    sets(&mut shop, "silver", Some("2026-08-31")).expect("the tier is another");
    sets(&mut shop, "silver", Some("2026-09-30")).expect("the end is another");
    sells(&mut shop, "2026-08-01T15:00:00Z", "150");
    passes(&mut shop, "2026-12-01T15:00:00Z");
    assert_eq!(told(&shop).last().unwrap(), "2026-10-01 keeps silver");
    assert!(!shop.member.header.tier.is_on_floor());
}

#[test]
fn a_tier_by_hand_is_a_floor_until_its_end() {
    let mut shop = Shop::open(club(YEAR, ""));
    sets(&mut shop, "silver", Some("2028-06-30")).expect("the tier is another");
    sells(&mut shop, "2026-05-11T15:00:00Z", "250");
    passes(&mut shop, "2028-12-02T15:00:00Z");
    let expected = [
        "2026-03-10 is set to silver",
        "2026-05-11 rises to gold until 2028-01-01",
        "2028-01-01 reviewed to silver",
        "2028-07-01 reviewed to base",
    ];
    assert_eq!(told(&shop), expected);
    // Without end it is never left downwards.
    let mut shop = Shop::open(club(YEAR, ""));
    sets(&mut shop, "silver", None).expect("the tier is another");
    sells(&mut shop, "2026-05-11T15:00:00Z", "250");
    passes(&mut shop, "2036-12-02T15:00:00Z");
    assert_eq!(told(&shop)[2..], ["2028-01-01 reviewed to silver"]);
}

#[test]
fn a_tier_by_hand_that_ended_while_a_higher_one_was_held_holds_nobody_up() {
    let mut shop = Shop::open(club(YEAR, ""));
    sets(&mut shop, "silver", Some("2027-06-30")).expect("the tier is another");
    sells(&mut shop, "2026-05-11T15:00:00Z", "250");
    passes(&mut shop, "2030-12-02T15:00:00Z");
    let expected = ["2026-03-10 is set to silver", "2026-05-11 rises to gold until 2028-01-01", "2028-01-01 reviewed to base"];
    assert_eq!(told(&shop), expected);
}

#[test]
fn what_was_held_before_goes_on_when_what_was_set_by_hand_ends() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    shop.now = at("2027-02-01T15:00:00Z");
    sets(&mut shop, "gold", Some("2027-03-31")).expect("the tier is another");
    passes(&mut shop, "2027-12-02T15:00:00Z");
    assert_eq!(told(&shop)[1..], ["2027-02-01 is set to gold", "2027-04-01 reviewed to silver until 2028-01-01"]);
}

#[test]
fn what_was_held_without_end_goes_on_when_what_was_set_by_hand_ends() {
    let mut shop = Shop::open(club("window: WINDOW_ROLLING_MONTHS, rolling_months: 2", ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    shop.now = at("2026-04-01T15:00:00Z");
    sets(&mut shop, "gold", Some("2026-08-31")).expect("the tier is another");
    passes(&mut shop, "2026-12-02T15:00:00Z");
    assert_eq!(told(&shop)[1..], ["2026-04-01 is set to gold", "2026-09-01 reviewed to silver"]);
}

#[test]
fn what_was_held_before_and_has_ended_is_reviewed_when_what_was_set_by_hand_ends() {
    let run = |policy: &str| {
        let mut shop = Shop::open(club(&format!("{YEAR}{policy}"), ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "250");
        shop.now = at("2027-02-01T15:00:00Z");
        sets(&mut shop, "platinum", Some("2028-06-30")).expect("the tier is another");
        passes(&mut shop, "2031-12-02T15:00:00Z");
        told(&shop).split_off(2)
    };
    assert_eq!(run(""), ["2028-07-01 reviewed to base"]);
    let down = ["2028-07-01 reviewed to silver until 2029-01-01", "2029-01-01 reviewed to base"];
    assert_eq!(run(", review_outcome: REVIEW_OUTCOME_ONE_DOWN"), down);
}

#[test]
fn a_rule_book_of_the_instant_at_which_a_tier_by_hand_ends_asks_for_no_second_review() {
    let mut shop = Shop::open(club("", ""));
    sets(&mut shop, "gold", Some("2026-06-30")).expect("the tier is another");
    publishes(&mut shop, 2, "2026-07-01T04:00:00Z", "on_change: ON_CHANGE_AT_ONCE", ", multiplier: 1.5, retention: { visits: 3 }");
    passes(&mut shop, "2026-07-02T04:00:00Z");
    assert_eq!(told(&shop), ["2026-03-10 is set to gold", "2026-07-01 reviewed to base"]);
}

#[test]
fn an_end_that_support_corrects_leaves_what_was_held_before() {
    let policy = "window: WINDOW_ROLLING_MONTHS, rolling_months: 1, validity: VALIDITY_MONTHS, validity_months: 12";
    for mistaken in [None, Some("2026-06-30")] {
        let mut shop = Shop::open(club(policy, ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "150");
        shop.now = at("2026-05-01T15:00:00Z");
        sets(&mut shop, "gold", mistaken).expect("the tier is another");
        sets(&mut shop, "gold", Some("2026-07-31")).expect("the end is another");
        passes(&mut shop, "2026-12-02T15:00:00Z");
        let expected = ["2026-05-01 is set to gold", "2026-05-01 is set to gold", "2026-08-01 reviewed to silver until 2027-03-11"];
        assert_eq!(told(&shop)[1..], expected);
    }
}

#[test]
fn a_sale_told_late_counts_with_what_was_sold_between_the_same_two_reviews() {
    let rolling = "window: WINDOW_ROLLING_MONTHS, rolling_months: 4";
    for window in ["window: WINDOW_LIFETIME", rolling] {
        let policy = format!("{window}, validity: VALIDITY_MONTHS, validity_months: 1, reset_at_review: true");
        let mut shop = Shop::open(club(&policy, ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "100");
        passes(&mut shop, "2026-05-12T15:00:00Z");
        // The 100 were what kept the tier in April: with them it would be enough again.
        tells(&mut shop, "2026-05-20T15:00:00Z", "2026-05-01T15:00:00Z", "50");
        let expected =
            ["2026-03-11 rises to silver until 2026-04-11", "2026-04-11 keeps silver until 2026-05-11", "2026-05-11 reviewed to base"];
        assert_eq!(told(&shop), expected, "{window}");
    }
}

#[test]
fn what_was_sold_before_the_first_review_counts_together_in_whatever_order_it_is_told() {
    let mut shop = Shop::open(club("validity: VALIDITY_MONTHS, validity_months: 1, reset_at_review: true", ""));
    sells(&mut shop, "2026-03-20T15:00:00Z", "60");
    tells(&mut shop, "2026-03-21T15:00:00Z", "2026-03-11T15:00:00Z", "30");
    sells(&mut shop, "2026-03-22T15:00:00Z", "20");
    passes(&mut shop, "2026-04-23T15:00:00Z");
    tells(&mut shop, "2026-04-25T15:00:00Z", "2026-04-01T15:00:00Z", "100");
    let expected = [
        "2026-03-22 rises to silver until 2026-04-22",
        "2026-04-22 keeps silver until 2026-05-22",
        "2026-04-01 rises to gold until 2026-05-01",
    ];
    assert_eq!(told(&shop), expected);
}

#[test]
fn what_is_told_of_before_all_else_counts_with_it_at_a_review_that_would_have_been_between_them() {
    let mut shop = Shop::open(club("validity: VALIDITY_MONTHS, validity_months: 1, reset_at_review: true", ""));
    sells(&mut shop, "2026-04-20T15:00:00Z", "60");
    tells(&mut shop, "2026-05-05T15:00:00Z", "2026-03-11T15:00:00Z", "50");
    assert_eq!(told(&shop), ["2026-04-20 rises to silver until 2026-05-11"]);
}

#[test]
fn what_is_told_shortly_before_a_review_and_occurs_on_its_day_counts_for_the_next_one() {
    let mut shop = Shop::open(club("validity: VALIDITY_MONTHS, validity_months: 1, reset_at_review: true", ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "100");
    tells(&mut shop, "2026-04-11T03:59:00Z", "2026-04-11T04:01:00Z", "99");
    sells(&mut shop, "2026-04-20T15:00:00Z", "1");
    passes(&mut shop, "2026-06-12T15:00:00Z");
    let expected = [
        "2026-03-11 rises to silver until 2026-04-11",
        "2026-04-11 keeps silver until 2026-05-11",
        "2026-05-11 keeps silver until 2026-06-11",
        "2026-06-11 reviewed to base",
    ];
    assert_eq!(told(&shop), expected);
}

#[test]
fn what_counts_begins_anew_at_each_review_where_the_rule_book_says_so() {
    let policy = "validity: VALIDITY_MONTHS, validity_months: 12";
    let run = |policy: &str| {
        let mut shop = Shop::open(club(policy, ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "150");
        sells(&mut shop, "2026-04-11T15:00:00Z", "60");
        sells(&mut shop, "2027-06-11T15:00:00Z", "120");
        passes(&mut shop, "2029-04-12T15:00:00Z");
        told(&shop).split_off(2)
    };
    let anew = ["2027-04-11 keeps gold until 2028-04-11", "2028-04-11 reviewed to silver until 2029-04-11", "2029-04-11 reviewed to base"];
    assert_eq!(run(&format!("{policy}, reset_at_review: true")), anew);
    let ever = ["2027", "2028", "2029"].map(|year| format!("{year}-04-11 keeps gold until {}-04-11", year.parse::<u32>().unwrap() + 1));
    assert_eq!(run(policy), ever);
}

#[test]
fn a_sale_told_after_the_review_gives_back_what_it_would_have_kept() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "250");
    sells(&mut shop, "2027-05-11T15:00:00Z", "150");
    passes(&mut shop, "2028-01-02T15:00:00Z");
    // Of the new year it is not a part of what was reviewed.
    sells(&mut shop, "2028-01-03T15:00:00Z", "60");
    assert_eq!(shop.tier(), "silver");
    tells(&mut shop, "2028-01-05T15:00:00Z", "2027-12-20T15:00:00Z", "60");
    let expected = ["2028-01-01 reviewed to silver until 2029-01-01", "2028-01-05 reviewed to gold until 2029-01-01"];
    assert_eq!(told(&shop)[1..], expected);
    // Never lower: what is told late of long ago takes nothing away.
    tells(&mut shop, "2028-01-06T15:00:00Z", "2027-12-21T15:00:00Z", "1");
    assert_eq!(told(&shop).len(), 3);
}

#[test]
fn a_review_within_a_month_does_not_count_what_occurred_after_it_in_that_month() {
    let two_months = "window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_MONTHS, validity_months: 2";
    let reviewed = ["2026-05-10 rises to silver until 2026-07-10", "2026-07-10 keeps silver until 2026-09-10"];
    let reviewed = reviewed.into_iter().chain(["2026-09-10 keeps silver until 2026-11-10", "2026-11-10 reviewed to base"]);
    let reviewed: Vec<&str> = reviewed.collect();
    let mut shop = Shop::open(club(two_months, ""));
    sells(&mut shop, "2026-05-10T15:00:00Z", "100");
    sells(&mut shop, "2026-11-20T15:00:00Z", "60");
    assert_eq!(told(&shop), reviewed);
    // With what is told late the quarter has enough, but the part of it that was reviewed has not: the tier is reached anew, on the day of the
    // sale, and is not what the review would have kept.
    tells(&mut shop, "2026-11-25T15:00:00Z", "2026-10-20T15:00:00Z", "50");
    assert_eq!(told(&shop), [&reviewed[..], &["2026-11-20 rises to silver until 2026-12-20"]].concat());
    // Nor where the status is one of a rule book before.
    let mut shop = Shop::open(club(two_months, ""));
    sells(&mut shop, "2026-05-10T15:00:00Z", "100");
    passes(&mut shop, "2026-10-01T15:00:00Z");
    let to_the_end = "window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD";
    publishes(&mut shop, 2, "2026-10-02T15:00:00Z", to_the_end, "");
    sells(&mut shop, "2026-11-20T15:00:00Z", "40");
    tells(&mut shop, "2026-11-25T15:00:00Z", "2026-10-20T15:00:00Z", "50");
    assert_eq!(told(&shop), reviewed);
    // What would have been enough gives it back.
    tells(&mut shop, "2026-11-26T15:00:00Z", "2026-11-09T15:00:00Z", "50");
    assert_eq!(told(&shop)[4..], ["2026-11-26 reviewed to silver until 2027-01-01"]);
}

#[test]
fn a_sale_told_late_leads_to_the_tier_of_its_own_year_if_that_is_held_still() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2027-05-11T15:00:00Z", "150");
    tells(&mut shop, "2028-01-05T15:00:00Z", "2027-12-20T15:00:00Z", "60");
    assert_eq!(told(&shop)[1..], ["2027-12-20 rises to gold until 2029-01-01"]);
    // Of a month that is long over nothing is left.
    let month = "window: WINDOW_ROLLING_MONTHS, rolling_months: 1, validity: VALIDITY_MONTHS, validity_months: 1";
    let mut shop = Shop::open(club(month, ""));
    sells(&mut shop, "2026-06-11T15:00:00Z", "90");
    tells(&mut shop, "2026-08-05T15:00:00Z", "2026-06-20T15:00:00Z", "60");
    assert_eq!(told(&shop), Vec::<String>::new());
}

#[test]
fn a_return_takes_a_tier_away_at_once_or_at_the_review() {
    let run = |knob: &str| {
        let mut shop = Shop::open(club(&format!("{YEAR}{knob}"), ""));
        sells_order(&mut shop, "2026-03-11T15:00:00Z", 1, "120");
        sells_order(&mut shop, "2026-11-11T15:00:00Z", 2, "130");
        shop.now = at("2027-01-11T15:00:00Z");
        shop.does(&return_of(order(2), None)).expect("it comes back");
        passes(&mut shop, "2028-01-02T15:00:00Z");
        told(&shop).split_off(2)
    };
    // What is returned in the next year is taken from what the sale counted in, which the tier was reached with.
    let at_once = ["2027-01-11 returned to silver until 2028-01-01", "2028-01-01 reviewed to base"];
    assert_eq!(run(", review_returns_at_once: true"), at_once);
    assert_eq!(run(""), ["2028-01-01 reviewed to base"]);
}

#[test]
fn a_return_of_what_nobody_remembers_takes_nothing_away() {
    let mut shop = Shop::open(club("window: WINDOW_ROLLING_MONTHS, rolling_months: 2, review_returns_at_once: true", ""));
    sells_order(&mut shop, "2026-03-11T15:00:00Z", 1, "10");
    sells(&mut shop, "2026-03-11T16:00:00Z", "120");
    sells(&mut shop, "2027-03-11T15:00:00Z", "1");
    shop.does(&return_of(order(1), None)).expect("it comes back");
    assert_eq!(told(&shop), ["2026-03-11 rises to silver"]);
}

#[test]
fn a_return_within_the_year_counts_at_its_review() {
    let mut shop = Shop::open(club("window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_PERIOD", ""));
    sells_order(&mut shop, "2026-03-11T15:00:00Z", 1, "120");
    sells_order(&mut shop, "2026-11-11T15:00:00Z", 2, "130");
    shop.now = at("2026-12-11T15:00:00Z");
    shop.does(&return_of(order(2), None)).expect("it comes back");
    assert_eq!(shop.tier(), "gold");
    passes(&mut shop, "2027-01-02T15:00:00Z");
    assert_eq!(told(&shop)[2..], ["2027-01-01 reviewed to silver until 2028-01-01"]);
}

#[test]
fn a_return_takes_from_what_its_sale_counted_in_though_the_window_has_changed() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells_order(&mut shop, "2026-03-11T15:00:00Z", 1, "120");
    let rolling = "window: WINDOW_ROLLING_MONTHS, rolling_months: 12, validity: VALIDITY_MONTHS, validity_months: 12";
    let next = Program { version: 2, publish_time: at("2026-04-01T00:00:00Z"), ..club(rolling, "") };
    shop.programs = shop.programs.with(Arc::new(next));
    sells(&mut shop, "2026-04-02T15:00:00Z", "10");
    shop.now = at("2026-04-11T15:00:00Z");
    shop.does(&return_of(order(1), None)).expect("it comes back");
    let counts: Vec<_> = shop.member.header.tier_counts.iter().map(|(day, count)| (day.to_string(), count.qualifying_points.0)).collect();
    assert_eq!(counts, [("2026-04-02".to_owned(), 10)]);
}

#[test]
fn a_reward_for_reaching_a_tier_comes_once_a_year() {
    let mut shop = Shop::open(club(YEAR, ", entry_reward: { points: 50, expiry: { after: { days: 30 } } }"));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    assert_eq!(shop.member.header.balance.available, Points(200));
    assert_eq!(shop.member.header.lifetime.qualifying_points, Points(150), "a reward does not count for tiers");
    // Support puts the member down and the next sale up again.
    sets(&mut shop, "base", None).expect("the tier is another");
    sells(&mut shop, "2026-03-12T15:00:00Z", "1");
    passes(&mut shop, "2028-02-02T15:00:00Z");
    assert_eq!((shop.tier(), shop.member.header.balance.expired), ("base", Points(50)));
    sells(&mut shop, "2028-03-11T15:00:00Z", "100");
    let expected = [
        "2026-03-11 rises to silver until 2028-01-01",
        "2026-03-11 gets 50",
        "2026-03-11 is set to base",
        "2026-03-12 rises to silver until 2028-01-01",
        "2028-01-01 reviewed to base",
        "2028-03-11 rises to silver until 2030-01-01",
        "2028-03-11 gets 50",
    ];
    assert_eq!(told(&shop), expected);
}

#[test]
fn a_reward_comes_once_for_ever_where_tiers_are_for_life() {
    let mut shop = Shop::open(club("", ", entry_reward: { points: 50 }"));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    sets(&mut shop, "base", None).expect("the tier is another");
    sells(&mut shop, "2036-03-11T15:00:00Z", "1");
    let rewards = told(&shop).iter().filter(|said| said.contains("gets")).count();
    assert_eq!((rewards, shop.tier()), (1, "silver"));
}

#[test]
fn a_tier_has_an_expiry_of_its_own_that_a_rule_goes_before() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules:
- { rule_id: r, per_amount: { amount: 1, points: 1 } }
- { rule_id: own, per_order: { points: 1 }, expiry: { after: { days: 3 } } }
expiry: { after: { days: 10 } }
tiers:
- { tier_id: base }
- { tier_id: silver, threshold: { qualifying_points: 100 }, expiry: { after: { days: 20 } } }
",
    ));
    sells(&mut shop, "2026-03-11T15:00:00Z", "100");
    sells(&mut shop, "2026-03-12T15:00:00Z", "7");
    let lots: Vec<_> = shop.member.lots.values().map(|lot| (day(&shop, lot.expiry.time().unwrap()), lot.remaining.0)).collect();
    let expected = [("2026-03-15", 1), ("2026-03-16", 1), ("2026-03-22", 100), ("2026-04-02", 7)];
    assert_eq!(lots, expected.map(|(day, points)| (day.to_owned(), points)));
}

#[test]
fn reviews_that_were_missed_are_caught_up_in_order() {
    let sell = |shop: &mut Shop| sells(shop, "2026-03-30T15:00:00Z", "1500");
    let policy = "window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD, review_outcome: REVIEW_OUTCOME_ONE_DOWN";
    let mut on_time = Shop::open(club(policy, ""));
    sell(&mut on_time);
    for month in 4..=12 {
        passes(&mut on_time, &format!("2026-{month:02}-01T05:00:00Z"));
    }
    passes(&mut on_time, "2027-02-02T15:00:00Z");
    let mut late = Shop::open(club(policy, ""));
    sell(&mut late);
    passes(&mut late, "2027-02-02T15:00:00Z");
    assert_eq!(told(&late), told(&on_time));
    assert_eq!(late.member.header.tier, on_time.member.header.tier);
    assert_eq!(told(&late).len(), 5);
}

#[test]
fn points_that_became_active_long_ago_count_on_the_day_on_which_they_did() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]
activation: { after_days: 10 }
tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 100 } }]
tier_policy: { window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD }
",
    ));
    sells(&mut shop, "2026-03-30T15:00:00Z", "150");
    passes(&mut shop, "2029-01-02T15:00:00Z");
    let expected =
        ["2026-04-09 rises to silver until 2026-07-01", "2026-07-01 keeps silver until 2026-10-01", "2026-10-01 reviewed to base"];
    assert_eq!(told(&shop), expected);
}

/// A point a dollar after so many days; silver and gold for a month, by the month before.
const MONTH: &str = "window: WINDOW_ROLLING_MONTHS, rolling_months: 1, validity: VALIDITY_MONTHS, validity_months: 1";

#[test]
fn a_small_sale_of_long_ago_whose_points_became_active_since_takes_no_tier_away() {
    let mut program = club(&format!("{MONTH} }}\nactivation: {{ after_days: 1"), "");
    program.purchase_time.max_age_days = 100;
    let mut shop = Shop::open(program);
    sells(&mut shop, "2026-04-09T15:00:00Z", "199");
    sells(&mut shop, "2026-06-27T15:00:00Z", "150");
    passes(&mut shop, "2026-06-29T15:00:00Z");
    assert_eq!(shop.tier(), "silver");
    let end = shop.member.header.next_due_time();
    // With the 199 of the day before it was enough for gold, for a month that is long over.
    tells(&mut shop, "2026-06-30T15:00:00Z", "2026-04-10T15:00:00Z", "1");
    assert_eq!((shop.tier(), shop.member.header.next_due_time()), ("silver", end));
}

#[test]
fn a_sale_of_before_there_were_tiers_leads_to_one_that_is_held_still_or_to_none() {
    let plain = rule_book_with(
        "
accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]
activation: { after_days: 5 }
purchase_time: { max_age_days: 120 }
",
    );
    let months = "validity: VALIDITY_MONTHS, validity_months: 1";
    for (policy, tier) in [(months, "silver"), ("window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_PERIOD", ""), ("", "silver")] {
        let mut shop = open_at(plain.clone(), "2026-01-11T15:00:00Z");
        let mut with_tiers = club(&format!("{policy} }}\nactivation: {{ after_days: 5"), "");
        (with_tiers.version, with_tiers.publish_time) = (2, at("2026-04-20T15:00:00Z"));
        with_tiers.purchase_time.max_age_days = 120;
        shop.programs = shop.programs.with(Arc::new(with_tiers));
        tells(&mut shop, "2026-04-21T15:00:00Z", "2026-01-12T15:00:00Z", "150");
        assert_eq!((shop.tier(), shop.member.header.balance.available), (tier, Points(150)), "{policy}");
        passes(&mut shop, "2027-04-21T15:00:00Z");
    }
}

#[test]
fn the_year_ends_where_the_programme_is() {
    let mut shop = open_at(club_in("Asia/Ho_Chi_Minh", YEAR, ""), "2026-03-10T15:00:00Z");
    // 31 December 2026 in UTC, and 1 January in Ho Chi Minh City.
    sells(&mut shop, "2026-12-31T16:59:59Z", "60");
    sells(&mut shop, "2026-12-31T17:00:00Z", "60");
    assert_eq!(shop.tier(), "");
    sells(&mut shop, "2027-12-31T16:59:59Z", "40");
    assert_eq!(told(&shop), ["2027-12-31 rises to silver until 2029-01-01"]);
    passes(&mut shop, "2028-12-31T16:59:59Z");
    assert_eq!(shop.tier(), "silver");
    passes(&mut shop, "2028-12-31T17:00:00Z");
    assert_eq!(shop.tier(), "base");
}

fn publishes(shop: &mut Shop, version: u32, from: &str, policy: &str, silver: &str) {
    let next = Program { version, publish_time: at(from), ..club(policy, silver) };
    shop.programs = shop.programs.with(Arc::new(next));
}

#[test]
fn other_thresholds_hold_at_the_review_or_at_once() {
    let strict = |knob: &str| {
        let mut shop = Shop::open(club(YEAR, ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "150");
        let program = rule_book_with(&format!(
            "accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]\ntiers:\n- {{ tier_id: base }}\n\
             - {{ tier_id: silver, threshold: {{ qualifying_points: 180 }} }}\n- {{ tier_id: gold, threshold: {{ qualifying_points: 200 }} }}\n\
             - {{ tier_id: platinum, threshold: {{ qualifying_points: 1000 }} }}\ntier_policy: {{ {YEAR}{knob} }}\n"
        ));
        let next = Program { version: 2, publish_time: at("2026-06-01T12:00:00Z"), ..program };
        shop.programs = shop.programs.with(Arc::new(next));
        passes(&mut shop, "2026-07-01T12:00:00Z");
        passes(&mut shop, "2028-07-01T12:00:00Z");
        told(&shop).split_off(1)
    };
    assert_eq!(strict(""), ["2028-01-01 reviewed to base"]);
    assert_eq!(strict(", on_change: ON_CHANGE_AT_ONCE"), ["2026-06-01 changed to base"]);
    // Up it goes at once too, and who keeps the tier is looked at once.
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "150");
    publishes(&mut shop, 2, "2026-06-01T12:00:00Z", &format!("{YEAR}, on_change: ON_CHANGE_AT_ONCE"), ", retention: { visits: 1 }");
    passes(&mut shop, "2026-07-01T12:00:00Z");
    passes(&mut shop, "2026-08-01T12:00:00Z");
    assert_eq!(told(&shop)[1..], ["2026-06-01 keeps silver until 2028-01-01"]);
    // A version that says the same of tiers reviews nobody.
    publishes(&mut shop, 3, "2026-09-01T12:00:00Z", &format!("{YEAR}, on_change: ON_CHANGE_AT_ONCE"), ", retention: { visits: 1 }");
    passes(&mut shop, "2026-10-01T12:00:00Z");
    assert_eq!(told(&shop).len(), 2);
}

/// What is counted now, from which day to before which one, and until when the tier is held.
fn counted(shop: &Shop) -> String {
    let progress = tier_progress(shop.programs.newest(), &shop.member.header, shop.now).expect("it is reckoned").expect("there are tiers");
    let day = |date: Option<Date>| date.map_or("..".to_owned(), |date| date.to_string());
    let window = format!("{} {}", day(progress.window_start), day(progress.window_end));
    format!("{window}: {} points, {}{}", progress.totals.qualifying_points.0, progress.tier.id, until(shop, progress.end))
}

const AT_ONCE: &str = ", on_change: ON_CHANGE_AT_ONCE";

#[test]
fn from_a_lifetime_to_a_calendar_year_nobody_is_reviewed_or_all_begin_with_nothing() {
    let from_lifetime = |knob: &str| {
        let mut shop = Shop::open(club("", ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "150");
        publishes(&mut shop, 2, "2026-06-01T12:00:00Z", &format!("{YEAR}{knob}"), "");
        passes(&mut shop, "2026-07-01T12:00:00Z");
        shop
    };
    // What occurred before is in no window. A tier for life stays one, with no review that could take it.
    let mut shop = from_lifetime("");
    assert_eq!(counted(&shop), "2026-01-01 2027-01-01: 0 points, silver");
    passes(&mut shop, "2029-07-01T12:00:00Z");
    assert_eq!(told(&shop), ["2026-03-11 rises to silver"]);
    // What is reached from now on is held as long as the new version says, and reviewed down from there.
    sells(&mut shop, "2029-08-01T12:00:00Z", "200");
    passes(&mut shop, "2032-01-02T12:00:00Z");
    assert_eq!(told(&shop)[1..], ["2029-08-01 rises to gold until 2031-01-01", "2031-01-01 reviewed to base"]);
    // At once it is reviewed by what its window has: nothing, and then what occurs from now on.
    let mut shop = from_lifetime(AT_ONCE);
    assert_eq!(counted(&shop), "2026-01-01 2027-01-01: 0 points, base");
    sells(&mut shop, "2026-08-01T12:00:00Z", "100");
    assert_eq!(counted(&shop), "2026-01-01 2027-01-01: 100 points, silver until 2028-01-01");
    assert_eq!(told(&shop)[1..], ["2026-06-01 changed to base", "2026-08-01 rises to silver until 2028-01-01"]);
}

/// What an earlier year earned lasts through this one, and no longer, also where another version looks at it at once.
#[test]
fn what_the_year_before_has_earned_lasts_no_longer_for_a_rule_book_that_asks_at_once() {
    let mut shop = Shop::open(club("", ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "250");
    publishes(&mut shop, 2, "2026-06-01T12:00:00Z", YEAR, "");
    sells(&mut shop, "2026-07-01T15:00:00Z", "120");
    publishes(&mut shop, 3, "2027-06-01T12:00:00Z", &format!("{YEAR}{AT_ONCE}"), "");
    passes(&mut shop, "2028-06-01T12:00:00Z");
    assert_eq!(told(&shop)[1..], ["2027-06-01 changed to silver until 2028-01-01", "2028-01-01 reviewed to base"]);
}

/// Samoa went from the 29th to the 31st of December 2011.
#[test]
fn a_membership_year_that_ends_with_a_day_that_there_was_not_is_reviewed_by_what_was_bought_in_it() {
    let club = club_in("Pacific/Apia", "window: WINDOW_MEMBERSHIP_YEAR, validity: VALIDITY_END_OF_PERIOD", "");
    let mut shop = open_at(club, "2010-12-30T20:00:00Z");
    sells(&mut shop, "2011-03-01T12:00:00Z", "120");
    passes(&mut shop, "2012-01-10T12:00:00Z");
    assert_eq!(told(&shop).last().map(String::as_str), Some("2011-12-31 keeps silver until 2012-12-30"), "{:?}", told(&shop));
}

#[test]
fn from_a_calendar_year_to_a_lifetime_all_counts_that_ever_did() {
    let to_lifetime = |knob: &str| {
        let mut shop = Shop::open(club(YEAR, ""));
        sells(&mut shop, "2026-03-11T15:00:00Z", "150");
        sells(&mut shop, "2027-03-11T15:00:00Z", "60");
        publishes(&mut shop, 2, "2027-06-01T12:00:00Z", knob, "");
        passes(&mut shop, "2027-07-01T12:00:00Z");
        shop
    };
    // 210 points since enrolment are gold: with the next event, or at once. What is held until then keeps its end.
    let mut shop = to_lifetime("");
    assert_eq!(counted(&shop), ".. ..: 210 points, silver until 2028-01-01");
    sells(&mut shop, "2027-08-01T15:00:00Z", "1");
    assert_eq!(counted(&shop), ".. ..: 211 points, gold");
    // Without an event the review at that end sees them, and there is none after it.
    let mut shop = to_lifetime("");
    passes(&mut shop, "2030-01-01T12:00:00Z");
    assert_eq!((counted(&shop).as_str(), &told(&shop)[1..]), (".. ..: 210 points, gold", &["2028-01-01 reviewed to gold".to_owned()][..]));
    let shop = to_lifetime("on_change: ON_CHANGE_AT_ONCE");
    assert_eq!((counted(&shop).as_str(), &told(&shop)[1..]), (".. ..: 210 points, gold", &["2027-06-01 changed to gold".to_owned()][..]));
}

#[test]
fn from_a_membership_year_to_rolling_months_what_was_counted_by_the_day_counts_by_the_day() {
    const MEMBERSHIP: &str = "window: WINDOW_MEMBERSHIP_YEAR, validity: VALIDITY_MONTHS, validity_months: 12";
    const ROLLING: &str = "window: WINDOW_ROLLING_MONTHS, rolling_months: 12, validity: VALIDITY_MONTHS, validity_months: 12";
    let changes_to = |policy: &str| {
        // Enrolled on 10 March 2026.
        let mut shop = Shop::open(club(MEMBERSHIP, ""));
        sells(&mut shop, "2026-04-01T15:00:00Z", "60");
        sells(&mut shop, "2026-09-01T15:00:00Z", "50");
        assert_eq!(counted(&shop), "2026-03-10 2027-03-10: 110 points, silver until 2027-09-01");
        publishes(&mut shop, 2, "2027-05-01T12:00:00Z", policy, "");
        passes(&mut shop, "2027-05-02T12:00:00Z");
        shop
    };
    // Without a change the year that ended in March keeps silver.
    let mut shop = changes_to(MEMBERSHIP);
    passes(&mut shop, "2027-09-02T12:00:00Z");
    assert_eq!(told(&shop)[1..], ["2027-09-01 keeps silver until 2028-09-01"]);
    // At the review the last twelve months have only the sale of September in them.
    let mut shop = changes_to(ROLLING);
    assert_eq!(counted(&shop), "2026-05-03 ..: 50 points, silver until 2027-09-01");
    passes(&mut shop, "2027-09-02T12:00:00Z");
    assert_eq!(told(&shop)[1..], ["2027-09-01 reviewed to base"]);
    // At once it is as of the instant from which the version is in effect, and not of when it is entered.
    let shop = changes_to(&format!("{ROLLING}{AT_ONCE}"));
    assert_eq!(
        (counted(&shop).as_str(), &told(&shop)[1..]),
        ("2026-05-03 ..: 50 points, base", &["2027-05-01 changed to base".to_owned()][..])
    );
    // Who has enough in it keeps the tier, and the end that it has.
    let mut shop = Shop::open(club(MEMBERSHIP, ""));
    sells(&mut shop, "2026-09-01T15:00:00Z", "110");
    publishes(&mut shop, 2, "2027-05-01T12:00:00Z", &format!("{ROLLING}{AT_ONCE}"), "");
    passes(&mut shop, "2027-05-02T12:00:00Z");
    assert_eq!(told(&shop)[1..], ["2027-05-01 keeps silver until 2027-09-01"]);
}

#[test]
fn from_a_calendar_year_to_rolling_months_what_was_counted_by_the_month_counts_on_its_first_day() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2026-03-20T15:00:00Z", "90");
    publishes(&mut shop, 2, "2026-06-01T12:00:00Z", "window: WINDOW_ROLLING_MONTHS, rolling_months: 12, validity: VALIDITY_UNLIMITED", "");
    passes(&mut shop, "2027-02-28T15:00:00Z");
    assert_eq!(counted(&shop), "2026-03-01 ..: 90 points, base");
    passes(&mut shop, "2027-03-01T15:00:00Z");
    assert_eq!(counted(&shop), "2026-03-02 ..: 0 points, base");
    // What was counted after the change counts on its day.
    sells(&mut shop, "2027-03-20T15:00:00Z", "90");
    passes(&mut shop, "2028-03-19T15:00:00Z");
    assert_eq!(counted(&shop), "2027-03-20 ..: 90 points, base");
    passes(&mut shop, "2028-03-20T15:00:00Z");
    assert_eq!(counted(&shop), "2027-03-21 ..: 0 points, base");
}

#[test]
fn who_rises_by_the_thresholds_of_another_rule_book_gets_the_reward_of_the_tier_once() {
    let mut shop = Shop::open(club(YEAR, ""));
    sells(&mut shop, "2026-03-11T15:00:00Z", "80");
    let mut lowers = |version: u32, from: &str, threshold: i64| {
        let mut next = club(&format!("{YEAR}, on_change: ON_CHANGE_AT_ONCE"), ", entry_reward: { points: 50 }");
        next.tiers[1].threshold.as_mut().expect("a threshold").qualifying_points = Some(Points(threshold));
        shop.programs = shop.programs.with(Arc::new(Program { version, publish_time: at(from), ..next }));
        passes(&mut shop, from);
    };
    lowers(2, "2026-06-01T12:00:00Z", 60);
    // Out of it, and into it again.
    lowers(3, "2026-07-01T12:00:00Z", 90);
    lowers(4, "2026-08-01T12:00:00Z", 70);
    let expected = [
        "2026-06-01 changed to silver until 2028-01-01",
        "2026-06-01 gets 50",
        "2026-07-01 changed to base",
        "2026-08-01 changed to silver until 2028-01-01",
    ];
    assert_eq!(told(&shop), expected);
    assert_eq!(shop.member.header.balance.available, Points(130));
}

#[test]
fn members_who_become_one_have_what_both_counted_and_the_later_end() {
    let mut one = Shop::open(club(YEAR, ""));
    let mut other = Shop::open(club(YEAR, ""));
    other.member.key.member = MemberId([8; 16]);
    sells(&mut one, "2026-03-11T15:00:00Z", "120");
    sells(&mut other, "2027-02-11T15:00:00Z", "110");
    let now = at("2027-03-01T15:00:00Z");
    let context =
        Context { programs: &one.programs, now, request: None, actor: None, principal: None, operator: None, history: History::NONE };
    let (_, stays) = merge(context, other.member, one.member, "the same customer").expect("they become one");
    let header = stays.member.header;
    let totals: Vec<_> = header.tier_counts.iter().map(|(day, count)| (day.to_string(), count.qualifying_points.0, count.visits)).collect();
    assert_eq!(totals, [("2026-03-01".to_owned(), 120, 1), ("2027-02-01".to_owned(), 110, 1)]);
    assert_eq!(header.tier.current().unwrap().tier.as_str(), "silver");
    assert_eq!(header.tier.end.unwrap().end_time, at("2029-01-01T05:00:00Z"));
}

#[test]
fn who_holds_a_tier_without_end_keeps_it_though_the_other_card_had_it_by_hand_until_a_day() {
    let policy = "window: WINDOW_ROLLING_MONTHS, rolling_months: 2";
    let mut one = Shop::open(club(policy, ""));
    let mut other = Shop::open(club(policy, ""));
    other.member.key.member = MemberId([8; 16]);
    sells(&mut one, "2026-03-11T15:00:00Z", "120");
    sets(&mut other, "silver", Some("2026-05-31")).expect("the tier is another");
    let now = at("2026-04-01T15:00:00Z");
    let context =
        Context { programs: &one.programs, now, request: None, actor: None, principal: None, operator: None, history: History::NONE };
    let (_, stays) = merge(context, other.member, one.member.clone(), "the same customer").expect("they become one");
    one.member = stays.member;
    passes(&mut one, "2026-12-02T15:00:00Z");
    assert_eq!((one.tier(), one.member.header.next_due_time()), ("silver", None));
}

#[test]
fn a_status_that_ends_within_a_year_is_kept_by_the_year_before_it_or_by_the_running_one() {
    let mut shop = Shop::open(club("window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_MONTHS, validity_months: 12", ""));
    sells(&mut shop, "2026-06-11T15:00:00Z", "250");
    sells(&mut shop, "2027-05-11T15:00:00Z", "20");
    sells(&mut shop, "2028-05-11T15:00:00Z", "120");
    passes(&mut shop, "2030-06-12T15:00:00Z");
    let expected = [
        "2026-06-11 rises to gold until 2027-06-11",
        "2027-06-11 keeps gold until 2028-06-11",
        "2028-06-11 reviewed to silver until 2029-06-11",
        "2029-06-11 keeps silver until 2030-06-11",
        "2030-06-11 reviewed to base",
    ];
    assert_eq!(told(&shop), expected);
}

/// Members of a programme by quarters, reckoned in numbers of quarters alone. A status is held until its quarter begins.
struct Quarters {
    sales: Vec<(i64, i64)>,
    rank: usize,
    end: i64,
    /// Those that a review took away, with the quarter that began then.
    lost: Vec<(usize, i64)>,
    next_period: bool,
    one_down: bool,
}

impl Quarters {
    const BOUNDS: [i64; 4] = [0, 100, 200, 1000];

    fn reached(&self, quarter: i64) -> usize {
        let total: i64 = self.sales.iter().filter(|(own, _)| *own == quarter).map(|(_, dollars)| dollars).sum();
        Self::BOUNDS.iter().rposition(|bound| total >= *bound).expect("0 is reached")
    }

    fn review(&self, (rank, end): (usize, i64)) -> (usize, i64) {
        let reached = self.reached(end - 1);
        let rank = if reached >= rank {
            reached
        } else if self.one_down {
            reached.max(rank - 1)
        } else {
            reached
        };
        (rank, end + 1)
    }

    fn by(&self, mut status: (usize, i64), now: i64) -> (usize, i64) {
        while status.0 > 0 && status.1 <= now {
            status = self.review(status);
        }
        status
    }

    fn passes(&mut self, now: i64) {
        while self.rank > 0 && self.end <= now {
            let (rank, end) = self.review((self.rank, self.end));
            if rank != self.rank {
                self.lost.push((self.rank, self.end));
            }
            (self.rank, self.end) = (rank, end);
        }
    }

    fn sells(&mut self, now: i64, occurred: i64, dollars: i64) {
        self.passes(now);
        self.sales.push((occurred, dollars));
        let end = occurred + if self.next_period { 2 } else { 1 };
        let newest = self.lost.iter().skip(self.lost.len().saturating_sub(4)).filter(|(_, end)| occurred < *end);
        let offers: Vec<(usize, i64)> = newest.copied().chain([(self.reached(occurred), end)]).collect();
        for offer in offers {
            let (rank, end) = self.by(offer, now);
            if rank > self.rank {
                (self.rank, self.end) = (rank, end);
            }
        }
    }
}

fn quarter(time: Timestamp) -> i64 {
    let day = time.to_zoned(jiff::tz::TimeZone::get("America/New_York").expect("a zone")).date();
    i64::from(day.year()) * 4 + i64::from(day.month() - 1) / 3
}

const POLICIES: [&str; 5] = [
    YEAR,
    "window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD, review_outcome: REVIEW_OUTCOME_ONE_DOWN, grace_days: 5",
    "window: WINDOW_MEMBERSHIP_YEAR, validity: VALIDITY_END_OF_PERIOD",
    "window: WINDOW_ROLLING_MONTHS, rolling_months: 6, validity: VALIDITY_MONTHS, validity_months: 3, grace_days: 20",
    "validity: VALIDITY_MONTHS, validity_months: 4, reset_at_review: true",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// It does not matter whether the schedule was on time, late, or did nothing at all, and the ledger alone tells how a member stands.
    #[test]
    fn when_reviews_are_entered_changes_nothing(
        policy in select(&POLICIES),
        steps in vec((1i64..120, 0i64..25, prop_oneof![3 => Just(0i64), 1 => 1i64..50], any::<bool>()), 1..12),
    ) {
        let program = club(policy, ", entry_reward: { points: 5 }");
        let (mut on_time, mut late) = (Shop::open(program.clone()), Shop::open(program));
        for (days, tens, before, passes_by) in steps {
            if passes_by {
                let between = on_time.now + jiff::SignedDuration::from_hours(12 * days);
                passes(&mut on_time, &between.to_string());
            }
            let now = late.now + jiff::SignedDuration::from_hours(24 * days);
            let occurred = now - jiff::SignedDuration::from_hours(24 * before);
            for shop in [&mut on_time, &mut late] {
                tells(shop, &now.to_string(), &occurred.to_string(), &(10 * tens).to_string());
            }
        }
        let end = (late.now + jiff::SignedDuration::from_hours(24 * 800)).to_string();
        passes(&mut on_time, &end);
        passes(&mut late, &end);
        prop_assert_eq!(told(&on_time), told(&late));
        let tidied = |shop: &Shop| Header { update_time: shop.now, ..shop.member.header.clone() };
        prop_assert_eq!(tidied(&on_time), tidied(&late));
        let mut folded = Member::bare(late.member.key.clone(), Header::new(late.entries[0].record_time));
        for entry in &late.entries {
            apply(&mut folded, entry).expect("the ledger folds");
        }
        prop_assert_eq!(folded.header, late.member.header);
    }

    /// With sales that are told up to 60 days late.
    #[test]
    fn quarters_are_reviewed_as_a_simple_model_says(
        next_period in any::<bool>(),
        one_down in any::<bool>(),
        steps in vec((0i64..70, prop_oneof![3 => 0i64..13, 1 => 40i64..110], prop_oneof![1 => Just(0i64), 1 => 1i64..59]), 1..25),
    ) {
        let validity = if next_period { "VALIDITY_END_OF_NEXT_PERIOD" } else { "VALIDITY_END_OF_PERIOD" };
        let outcome = if one_down { "REVIEW_OUTCOME_ONE_DOWN" } else { "REVIEW_OUTCOME_EARNED" };
        let policy = format!("window: WINDOW_CALENDAR_QUARTER, validity: {validity}, review_outcome: {outcome}");
        let mut shop = Shop::open(club(&policy, ""));
        let mut model = Quarters { sales: Vec::new(), rank: 0, end: 0, lost: Vec::new(), next_period, one_down };
        for (days, tens, before) in steps {
            let now = shop.now + jiff::SignedDuration::from_hours(24 * days);
            let occurred = now - jiff::SignedDuration::from_hours(24 * before);
            tells(&mut shop, &now.to_string(), &occurred.to_string(), &(10 * tens).to_string());
            model.sells(quarter(now), quarter(occurred), 10 * tens);
            let tiers = ["base", "silver", "gold", "platinum"];
            let held = shop.member.header.tier.current().map_or("base", |held| held.tier.as_str());
            prop_assert_eq!(held, tiers[model.rank], "{:?}", told(&shop));
            let end = shop.member.header.tier.end.map(|end| quarter(end.end_time));
            prop_assert_eq!(end, (model.rank > 0).then_some(model.end), "{:?}", told(&shop));
        }
    }
}
