//! Segments: who is in which follows from the rule book and from what the member does, and from days that pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, ToSpan as _, civil::Date};
use loyaltyd::{
    contract::{program as parser, rule_book},
    domain::{
        ActivityId, ActivityRequest, Adjustment, BirthDate, Command, Context, Entry, EntryKind, Header, History, Member, MemberId,
        MemberKey, Person, Points, ProfileUpdate, Program, ProgramHistory, Purchase, SegmentId, advance, apply, merge, start_of_day,
    },
};
use proptest::{collection::vec, prelude::*};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, at, line, purchase, rule_book_with},
    support::histories::order,
};

const BOUTIQUE: &str = include_str!("../../examples/programs/segments-boutique.yaml");

fn boutique(version: u32, publish: &str, change: impl Fn(&str) -> String) -> Program {
    let document = rule_book::read(&change(BOUTIQUE)).expect("the rule book reads");
    parser::parse(&document, version, at(publish)).expect("the rule book is valid")
}

fn open_at(program: Program, now: &str) -> Shop {
    let key = MemberKey { program: program.id.clone(), member: MemberId([7; 16]) };
    let now = at(now);
    let mut shop =
        Shop { programs: ProgramHistory::new(Arc::new(program)), member: Member::bare(key, Header::new(now)), now, entries: Vec::new() };
    shop.does(&Command::Enroll { person: Person::default() }).expect("anyone can enrol");
    shop
}

fn sells(shop: &mut Shop, now: &str, amount: &str) {
    passes(shop, now);
    shop.buys(purchase(vec![line(amount)]));
}

/// Time passes, and what is due is entered.
fn passes(shop: &mut Shop, now: &str) {
    passes_to(shop, at(now));
}

fn passes_to(shop: &mut Shop, now: Timestamp) {
    shop.now = now;
    let decision = advance(&shop.programs, now, shop.member.clone()).expect("time passes");
    shop.member = decision.member;
    shop.entries.extend(decision.entries);
    assert!(shop.member.header.next_due_time().is_none_or(|due| due > now), "all that was due is entered");
}

/// The segments of a member, with the local day since when.
fn held(shop: &Shop) -> Vec<String> {
    let zone = &shop.programs.newest().time_zone;
    let held = shop.member.header.segments.held.iter();
    held.map(|held| format!("{} since {}", held.segment, zone.to_datetime(held.since).date())).collect()
}

/// What was entered, in few words.
fn told(entries: &[Entry]) -> Vec<String> {
    let say = |entry: &Entry| match &entry.kind {
        EntryKind::SegmentsChanged(changed) => {
            let entered = changed.entered.iter().map(|segment| format!("+{segment}"));
            let left = changed.left.iter().map(|segment| format!("-{segment}"));
            let said: Vec<String> = entered.chain(left).collect();
            Some(format!("{} {}", entry.occurred_time, said.join(" ")).trim().to_owned())
        }
        _ => None,
    };
    entries.iter().filter_map(say).collect()
}

/// Folding the entries anew comes to the same.
fn check_fold(shop: &Shop) {
    let mut member = Member::bare(shop.member.key.clone(), Header::new(shop.entries[0].record_time));
    for entry in &shop.entries {
        apply(&mut member, entry).expect("it folds");
    }
    assert_eq!(member.header, shop.member.header);
}

#[test]
fn a_customer_of_the_boutique_is_new_comes_often_stays_away_and_comes_back() {
    let mut shop = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    assert_eq!(held(&shop), ["new since 2026-01-10"]);
    sells(&mut shop, "2026-01-12T10:00:00Z", "100");
    sells(&mut shop, "2026-01-20T10:00:00Z", "100");
    assert_eq!(held(&shop), ["new since 2026-01-10"]);
    // A third purchase in the first month: not new any more. 600 euros in 90 days: VIP.
    sells(&mut shop, "2026-02-01T10:00:00Z", "400");
    assert_eq!(held(&shop), ["vip since 2026-02-01"]);
    // The purchase of 12 January leaves the window of 90 days on 12 April: 500 euros and two purchases are left.
    passes(&mut shop, "2026-04-11T21:59:59Z");
    assert_eq!(held(&shop), ["at-risk since 2026-04-03", "vip since 2026-02-01"]);
    passes(&mut shop, "2026-04-11T22:00:00Z");
    assert_eq!(held(&shop), ["at-risk since 2026-04-03"]);
    // 181 days after 1 February.
    passes(&mut shop, "2026-09-01T10:00:00Z");
    assert_eq!(held(&shop), ["lapsed since 2026-08-01"]);
    // A purchase ends it at once, though it is judged by what was before it.
    shop.buys(purchase(vec![line("50")]));
    assert_eq!(held(&shop), Vec::<String>::new());
    assert_eq!(
        told(&shop.entries),
        [
            "2026-01-10T10:00:00Z +new",
            "2026-02-01T10:00:00Z +vip -new",
            "2026-04-02T22:00:00Z +at-risk",
            "2026-04-11T22:00:00Z -vip",
            "2026-07-31T22:00:00Z +lapsed -at-risk",
            "2026-09-01T10:00:00Z -lapsed",
        ]
    );
    check_fold(&shop);
}

/// At 2,000 euros a friend becomes a muse, who is a VIP for as long as she is one.
#[test]
fn a_tier_makes_a_segment() {
    let mut shop = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    sells(&mut shop, "2026-01-12T10:00:00Z", "2000");
    passes(&mut shop, "2027-06-01T10:00:00Z");
    assert_eq!(held(&shop), ["lapsed since 2026-07-12", "vip since 2026-01-12"]);
}

/// Most purchases change nothing, and enter nothing beside themselves.
#[test]
fn a_purchase_that_only_puts_a_day_off_enters_nothing_more() {
    let mut shop = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    for (day, month) in [(1, 4), (1, 5)] {
        sells(&mut shop, &format!("2026-{month:02}-{day:02}T10:00:00Z"), "10");
    }
    let before = shop.entries.len();
    sells(&mut shop, "2026-05-02T10:00:00Z", "10");
    assert_eq!(shop.entries.len(), before + 1, "{:?}", told(&shop.entries));
}

#[test]
fn another_rule_book_looks_at_everybody_again_as_of_when_it_takes_effect() {
    let mut shop = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    sells(&mut shop, "2026-01-12T10:00:00Z", "100");
    let fewer = |text: &str| text.replace("member.age_days < 30 && member.purchases <= 2", "member.age_days < 10");
    let second = boutique(2, "2026-01-25T09:00:00Z", fewer);
    shop.programs = shop.programs.with(Arc::new(second));
    passes(&mut shop, "2026-01-26T10:00:00Z");
    assert_eq!(told(&shop.entries), ["2026-01-10T10:00:00Z +new", "2026-01-25T09:00:00Z -new"]);
    // A version whose segments are the same looks at nobody.
    let names = |text: &str| fewer(text).replace("display_name: New", "display_name: Just here");
    shop.programs = shop.programs.with(Arc::new(boutique(3, "2026-01-27T09:00:00Z", names)));
    assert_eq!(shop.programs.segment_version(), 2);
    // One without segments leaves nobody in any, and looks no more.
    let none = |text: &str| {
        let (before, rest) = text.split_once("segments:\n").expect("there are segments");
        let (_, after) = rest.split_once("voucher_kinds:").expect("there are kinds");
        format!("{before}voucher_kinds:{after}").replace(", segment_ids: [at-risk, lapsed]", "").replace(", segment_ids: [vip]", "")
    };
    sells(&mut shop, "2026-01-28T10:00:00Z", "900");
    assert_eq!(held(&shop), ["vip since 2026-01-28"]);
    shop.programs = shop.programs.with(Arc::new(boutique(4, "2026-01-29T09:00:00Z", none)));
    passes(&mut shop, "2026-02-26T10:00:00Z");
    assert_eq!((held(&shop).len(), shop.member.header.segments.next_due_time), (0, None));
    assert_eq!(told(&shop.entries).last().expect("an entry"), "2026-01-29T09:00:00Z -vip");
    check_fold(&shop);
}

/// Three weeks after a review and a purchase in the web shop, and when these were told of late.
#[test]
fn what_a_member_did_and_where_it_bought_is_known_for_as_many_days_as_are_asked_for() {
    let habits = r#"
time_zone: Europe/Paris
purchase_time: { max_age_days: 60 }
accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]
activity_rules: [{ rule_id: a, activity: review, points: "5" }]
segments:
- { segment_id: voice, condition: "member.did_activity_in_days('review', 10)" }
- { segment_id: web, condition: "member.used_channel_in_days('web', 30) && !member.used_channel_in_days('store', 5)" }
"#;
    let mut shop = open_at(rule_book_with(habits), "2026-01-10T10:00:00Z");
    let web = |occurred: &str, channel: &str, number| Purchase {
        order: Some(order(number)),
        occurred_time: Some(at(occurred)),
        channel: channel.into(),
        ..purchase(vec![line("10")])
    };
    shop.buys(web("2026-01-10T10:00:00Z", "web", 1));
    let review = ActivityRequest {
        activity: ActivityId::new("review").expect("an id"),
        reference: "r-1".into(),
        referrer: None,
        occurred_time: None,
    };
    passes(&mut shop, "2026-01-20T10:00:00Z");
    shop.does(&Command::RecordActivity(review)).expect("it is recorded");
    // On the tenth day after the review, and on the thirtieth after the purchase.
    passes(&mut shop, "2026-02-20T10:00:00Z");
    // A sale of the eighth is in the window until the tenth of March, though it is told now.
    shop.buys(web("2026-02-08T10:00:00Z", "web", 2));
    shop.buys(web("2026-02-20T09:00:00Z", "store", 3));
    passes(&mut shop, "2026-03-20T10:00:00Z");
    let told: Vec<String> = told(&shop.entries).into_iter().filter(|told| told.contains(' ')).collect();
    assert_eq!(
        told,
        [
            "2026-01-10T10:00:00Z +web",
            "2026-01-20T10:00:00Z +voice",
            "2026-01-29T23:00:00Z -voice",
            "2026-02-08T23:00:00Z -web",
            "2026-02-20T10:00:00Z +web",
            "2026-02-20T10:00:00Z -web",
            "2026-02-24T23:00:00Z +web",
            "2026-03-09T23:00:00Z -web",
        ]
    );
    check_fold(&shop);
}

/// Two versions were over before anybody had come: they say nothing of who comes now.
#[test]
fn who_comes_under_new_rules_is_not_judged_by_those_that_were_over() {
    let none = |text: &str| {
        let (before, rest) = text.split_once("segments:\n").expect("there are segments");
        let (_, after) = rest.split_once("voucher_kinds:").expect("there are kinds");
        format!("{before}voucher_kinds:{after}").replace(", segment_ids: [at-risk, lapsed]", "").replace(", segment_ids: [vip]", "")
    };
    let first = boutique(1, "2026-01-01T00:00:00Z", str::to_owned);
    let key = MemberKey { program: first.id.clone(), member: MemberId([7; 16]) };
    let second = boutique(2, "2026-01-02T00:00:00Z", none);
    let programs = ProgramHistory::new(Arc::new(first)).with(Arc::new(second));
    let now = at("2026-01-10T10:00:00Z");
    let mut shop = Shop { programs, member: Member::bare(key, Header::new(now)), now, entries: Vec::new() };
    shop.does(&Command::Enroll { person: Person::default() }).expect("anyone can enrol");
    assert_eq!(told(&shop.entries), Vec::<String>::new());
    // Nor is anything entered later, as long as there are none.
    sells(&mut shop, "2026-01-12T10:00:00Z", "100");
    passes(&mut shop, "2026-03-12T10:00:00Z");
    assert_eq!((told(&shop.entries).len(), shop.entries.len()), (0, 2));
    // With the third version there are some again.
    shop.programs = shop.programs.with(Arc::new(boutique(3, "2026-03-13T09:00:00Z", str::to_owned)));
    passes(&mut shop, "2026-03-14T10:00:00Z");
    assert_eq!(told(&shop.entries), ["2026-03-13T09:00:00Z", "2026-03-13T23:00:00Z +at-risk"]);
    check_fold(&shop);
}

#[test]
fn who_is_erased_or_merged_leaves_and_who_stays_is_looked_at_with_what_both_had() {
    let mut gone = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    sells(&mut gone, "2026-01-12T10:00:00Z", "300");
    let mut stays = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    stays.member.key.member = MemberId([8; 16]);
    sells(&mut stays, "2026-01-13T10:00:00Z", "300");
    let context = Context {
        programs: &stays.programs,
        now: at("2026-01-14T10:00:00Z"),
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: History::NONE,
    };
    let (left, joined) = merge(context, gone.member.clone(), stays.member.clone(), "the same").expect("they are merged");
    assert_eq!(told(&left.entries), ["2026-01-14T10:00:00Z -new"]);
    assert!(left.member.header.segments.held.is_empty() && left.member.header.next_due_time().is_none());
    assert_eq!(told(&joined.entries), ["2026-01-14T10:00:00Z +vip"]);

    stays.now = at("2026-01-14T10:00:00Z");
    stays.does(&Command::Suspend { reason: "asked".into() }).expect("it is suspended");
    passes(&mut stays, "2026-04-01T10:00:00Z");
    assert_eq!(held(&stays), ["at-risk since 2026-03-15"], "time goes on for who is suspended");
    let entries = stays.does(&Command::Erase { reason: "asked".into() }).expect("it is erased");
    assert_eq!(told(&entries), ["2026-04-01T10:00:00Z -at-risk"]);
    passes(&mut stays, "2027-04-01T10:00:00Z");
    assert_eq!((held(&stays).len(), stays.member.header.next_due_time()), (0, None));
}

/// The sale that makes a VIP is judged by what was before it; the next one is one of a VIP.
#[test]
fn a_promotion_for_a_segment_is_for_who_was_in_it_before_the_sale() {
    let double = "
promotions:
- { promotion_id: vip-double, condition: '\"vip\" in member.segments', multiply: { multiplier: \"2\" } }
segments:";
    let book = boutique(1, "2026-01-01T00:00:00Z", |text| text.replacen("\nsegments:", double, 1));
    let mut shop = open_at(book, "2026-01-10T10:00:00Z");
    let earned: Vec<i64> = ["2026-01-12T10:00:00Z", "2026-01-13T10:00:00Z", "2026-05-01T10:00:00Z"]
        .into_iter()
        .map(|now| {
            passes(&mut shop, now);
            shop.buys(purchase(vec![line("650")])).points.0
        })
        .collect();
    // On 1 May the purchases of January have left the window of 90 days.
    assert_eq!(earned, [650, 1300, 650]);
    check_fold(&shop);
}

/// A till was offline: what it sold before the customer was a VIP is not doubled, though she is one when it is told.
#[test]
fn a_late_sale_is_not_one_of_a_segment_that_the_member_came_into_after_it() {
    let double = "
purchase_time: { max_age_days: 30 }
promotions:
- { promotion_id: vip-double, condition: '\"vip\" in member.segments', multiply: { multiplier: \"2\" } }
segments:";
    let book = boutique(1, "2026-01-01T00:00:00Z", |text| {
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("purchase_time:")).collect();
        text.join("\n").replacen("\nsegments:", double, 1)
    });
    let mut shop = open_at(book, "2026-01-10T10:00:00Z");
    sells(&mut shop, "2026-01-12T10:00:00Z", "650");
    passes(&mut shop, "2026-01-20T10:00:00Z");
    assert_eq!(held(&shop), ["new since 2026-01-10", "vip since 2026-01-12"]);
    let told_late =
        |occurred: &str, number| Purchase { order: Some(order(number)), occurred_time: Some(at(occurred)), ..purchase(vec![line("100")]) };
    let earned = ["2026-01-11T10:00:00Z", "2026-01-12T09:59:59Z", "2026-01-12T10:00:00Z"];
    let earned: Vec<i64> = (1..).zip(earned).map(|(number, occurred)| shop.buys(told_late(occurred, number)).points.0).collect();
    assert_eq!(earned, [100, 100, 200]);
    check_fold(&shop);
}

const CLUB: &str = r#"
time_zone: Europe/Paris
purchase_time: { max_age_days: 60 }
accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]
tiers: [{ tier_id: base }, { tier_id: gold, threshold: { visits: 4 } }]
"#;

fn club(version: u32, publish: &str, fields: &str) -> Program {
    Program { version, publish_time: at(publish), ..rule_book_with(&format!("{CLUB}{fields}\n")) }
}

/// A programme whose tiers count by the month gets a segment that counts by the day: what was counted before is not taken for the first of a month.
#[test]
fn a_window_sees_nothing_of_before_there_was_one() {
    let tiers = "tier_policy: { window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_PERIOD }";
    let often = "segments: [{ segment_id: often, condition: 'member.purchases_in_days(30) >= 3' }]";
    let mut shop = open_at(club(1, "2026-01-01T00:00:00Z", tiers), "2026-01-10T10:00:00Z");
    for day in [20, 22, 24] {
        sells(&mut shop, &format!("2026-01-{day}T10:00:00Z"), "10");
    }
    shop.programs = shop.programs.with(Arc::new(club(2, "2026-01-26T09:00:00Z", &format!("{tiers}\n{often}"))));
    for day in [27, 28, 29] {
        sells(&mut shop, &format!("2026-01-{day}T10:00:00Z"), "10");
    }
    // Also under a version that has no window all is counted, for one that has one again.
    shop.programs = shop.programs.with(Arc::new(club(3, "2026-02-01T09:00:00Z", tiers)));
    sells(&mut shop, "2026-02-02T10:00:00Z", "10");
    shop.programs = shop.programs.with(Arc::new(club(4, "2026-02-03T09:00:00Z", &format!("{tiers}\n{often}"))));
    passes(&mut shop, "2026-04-01T10:00:00Z");
    let changes: Vec<String> = told(&shop.entries).into_iter().filter(|told| told.contains(' ')).collect();
    // Of 28 and 29 January and 2 February the first is in no window after 26 February.
    assert_eq!(
        changes,
        ["2026-01-29T10:00:00Z +often", "2026-02-01T09:00:00Z -often", "2026-02-03T09:00:00Z +often", "2026-02-26T23:00:00Z -often"]
    );
    check_fold(&shop);
}

/// Whatever tiers keep, and for how long, and what is made of it when something comes back, is the same with and without segments.
#[test]
fn windows_of_segments_leave_alone_what_tiers_count() {
    let policies = [
        "tier_policy: { window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_PERIOD }",
        "tier_policy: { window: WINDOW_ROLLING_MONTHS, rolling_months: 3, validity: VALIDITY_MONTHS, validity_months: 12 }",
        "tier_policy: { reset_at_review: true, validity: VALIDITY_MONTHS, validity_months: 6 }",
        "",
    ];
    let segments = "segments: [{ segment_id: often, condition: 'member.purchases_in_days(400) >= 3' }]";
    for policy in policies {
        let [with, without] = [segments, ""].map(|segments| {
            let mut shop = open_at(club(1, "2026-01-01T00:00:00Z", &format!("{policy}\n{segments}")), "2026-01-10T10:00:00Z");
            for month in 1..=12 {
                for day in [20, 22, 24] {
                    sells(&mut shop, &format!("2026-{month:02}-{day}T10:00:00Z"), "10");
                }
            }
            check_fold(&shop);
            shop.member.header
        });
        assert_eq!((&with.tier_counts, &with.tier), (&without.tier_counts, &without.tier), "{policy}");
        assert_eq!((with.day_counts.iter().count(), without.day_counts.iter().count()), (36, 0), "{policy}");
        assert!(with.segments.is_in(&SegmentId::new("often").unwrap()), "{policy}");
    }
}

/// The clock ran ahead and was set back: a version that had taken effect waits again.
#[test]
fn who_was_judged_by_a_version_that_waits_again_is_judged_by_the_one_in_effect() {
    let mut shop = open_at(boutique(1, "2026-01-01T00:00:00Z", str::to_owned), "2026-01-10T10:00:00Z");
    let short = |text: &str| text.replace("member.age_days < 30", "member.age_days < 1");
    let second = Program { effective_time: Some(at("2026-01-12T10:00:00Z")), ..boutique(2, "2026-01-11T09:00:00Z", short) };
    let known = shop.programs.with(Arc::new(second));
    shop.programs = known.in_effect_at(at("2026-01-12T10:00:01Z"));
    passes(&mut shop, "2026-01-12T10:00:01Z");
    assert_eq!((held(&shop).len(), shop.member.header.segments.policy_version), (0, 2));
    shop.programs = known.in_effect_at(at("2026-01-12T09:59:01Z"));
    sells(&mut shop, "2026-01-12T09:59:01Z", "700");
    assert_eq!(held(&shop), ["new since 2026-01-12", "vip since 2026-01-12"]);
    assert_eq!(shop.member.header.segments.policy_version, 1);
    shop.programs = known.in_effect_at(at("2026-01-12T10:00:02Z"));
    passes(&mut shop, "2026-01-12T10:00:02Z");
    assert_eq!((held(&shop), shop.member.header.segments.policy_version), (vec!["vip since 2026-01-12".to_owned()], 2));
    assert_eq!(
        told(&shop.entries),
        [
            "2026-01-10T10:00:00Z +new",
            "2026-01-12T10:00:00Z -new",
            "2026-01-12T09:59:01Z +new",
            "2026-01-12T09:59:01Z +vip",
            "2026-01-12T10:00:00Z -new",
        ]
    );
    check_fold(&shop);
}

/// Ten minutes before a midnight at which somebody lapses, birthdays become other ones, and nobody looks until the morning.
#[test]
fn what_is_planned_anew_takes_its_place_before_what_a_later_midnight_brings() {
    let lapsed = "segments: [{ segment_id: lapsed, condition: 'member.days_since_last_purchase > 9 || member.available_points > 10' }]";
    let birthday = |days: u32| {
        format!(
            "birthday: {{ window: WINDOW_AROUND, days_before: {days}, days_after: 5, rewards: [{{ points: {{ points: \"50\" }} }}] }}\n{lapsed}"
        )
    };
    let mut shop = open_at(club(1, "2026-01-01T00:00:00Z", &birthday(1)), "2026-01-10T10:00:00Z");
    let born = ProfileUpdate { birth_date: Some(Some(BirthDate { year: None, month: 3, day: 1 })), ..ProfileUpdate::default() };
    shop.does(&Command::UpdateProfile(born)).expect("it is known");
    shop.programs = shop.programs.with(Arc::new(club(2, "2026-01-19T22:50:00Z", &birthday(2))));
    passes(&mut shop, "2026-01-20T08:00:00Z");
    let changes: Vec<String> = told(&shop.entries).into_iter().filter(|told| told.contains(' ')).collect();
    assert_eq!(changes, ["2026-01-19T23:00:00Z +lapsed"]);
    let times: Vec<Timestamp> = shop.entries.iter().map(|entry| entry.occurred_time).collect();
    assert!(times.is_sorted(), "{times:?}");
    check_fold(&shop);
}

/// What would be gone through with every purchase is bounded for all segments together.
#[test]
fn segments_that_cost_too_much_together_are_refused() {
    let book = |count: usize| {
        let windows = ["member.purchases_in_days(400) > 99"; 10].join(" || ");
        let segments: Vec<String> = (0..count).map(|id| format!("- {{ segment_id: s-{id}, condition: '{windows}' }}\n")).collect();
        let text = format!("program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: UTC\nsegments:\n{}", segments.concat());
        parser::parse(&rule_book::read(&text).expect("the rule book reads"), 1, Timestamp::UNIX_EPOCH)
    };
    let say =
        |count| book(count).err().unwrap_or_default().iter().map(|found| format!("{}: {}", found.path, found.message)).collect::<Vec<_>>();
    let found = say(50);
    assert!(found.iter().any(|mistake| mistake.starts_with("segments: cost ") && mistake.contains("1000000")), "{found:?}");
    assert!(!say(5).iter().any(|mistake| mistake.starts_with("segments")), "{:?}", say(5));
}

#[test]
fn mistakes_of_segments_are_told_with_their_place() {
    let mistakes = |text: &str| -> Vec<String> {
        let document = rule_book::read(text).expect("the rule book reads");
        let found = parser::parse(&document, 1, Timestamp::UNIX_EPOCH).expect_err("it has mistakes");
        found.iter().map(|violation| format!("{}: {}", violation.path, violation.message)).collect()
    };
    let cases = [
        (
            "member.tier == \"muse\"",
            "member.tier == \"mouse\"",
            "segments[0].condition: line 1, column 16: \"mouse\" is not a tier of the programme",
        ),
        (">= 600.00", ">= 600.001", "segments[0].condition: line 1, column 91: `600.001` has 3 decimal places"),
        (
            "purchases_in_days(90)",
            "purchases_in_days(401)",
            "segments[0].condition: line 1, column 33: `purchases_in_days` takes a number of days",
        ),
        (
            "purchases_in_days(90)",
            "purchases_in_months(14)",
            "`purchases_in_months` takes a number of months that is written here, 1 to 13",
        ),
        ("purchases_in_days(90)", "purchases_in_weeks(9)", "there is no function `purchases_in_weeks` of this form"),
        ("member.age_days < 30", "member.age_days < member.purchases", "line 1, column 8: a segment compares this only with numbers"),
        ("member.age_days < 30", "member.age_days + 1 < 30", "line 1, column 8: a segment compares this only with numbers"),
        ("member.age_days < 30", "(member.age_days + 1 > 2) == (member.age_days > 3)", "line 1, column 9: a segment compares this only"),
        ("segment_id: new", "segment_id: vip", "segments[1].segment_id: is the id of an earlier segment too"),
        ("segment_ids: [vip]", "segment_ids: [vip, vap]", "rewards[1].segment_ids[1]: is not a segment of the programme"),
        ("segment_ids: [vip]", "segment_ids: [vip, vip]", "rewards[1].segment_ids[1]: is named before too"),
    ];
    for (from, to, expected) in cases {
        let found = mistakes(&BOUTIQUE.replacen(from, to, 1));
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{to}: {found:#?}");
    }
}

const SEGMENTS: &str = r#"
time_zone: America/New_York
accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 }, without_tier_multiplier: true }]
purchase_time: { max_age_days: 60 }
tiers:
- { tier_id: base }
- { tier_id: silver, threshold: { spend: 400 } }
segments:
- { segment_id: new, condition: "member.age_days < 30" }
- { segment_id: often, condition: "member.purchases_in_days(30) >= 2 && !(member.purchases_in_days(7) >= 2)" }
- { segment_id: big, condition: "member.spend_in_days(45) >= 150.50 || member.tier == 'silver'" }
- { segment_id: at-risk, condition: "member.purchases > 0 && member.days_since_last_purchase > 20 && 40 >= member.days_since_last_purchase" }
- { segment_id: lapsed, condition: "member.days_since_last_purchase in [41, 42, 44] || member.days_since_last_purchase > 60" }
- { segment_id: spring, condition: "now.month == 4 && member.purchases >= 1 || now.day == 31" }
- { segment_id: monday, condition: "now.weekday == 1" }
- { segment_id: monthly, condition: "member.purchases_in_months(2) == 1 || member.spend_in_months(1) >= 120" }
- { segment_id: web, condition: "member.used_channel_in_days('web', 25)" }
- { segment_id: rich, condition: "member.available_points >= 100" }
- { segment_id: never, condition: "9223372036854775807 * member.purchases > 0 || now.year == 2027" }
"#;

#[derive(Debug, Clone)]
enum Step {
    Pass {
        hours: i64,
    },
    Buy {
        dollars: i64,
        days_ago: i64,
    },
    Give {
        points: i64,
    },
    /// A version without segments, or with them again.
    Publish {
        none: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..1_000_i64).prop_map(|hours| Step::Pass { hours }),
        3 => (1..200_i64, prop_oneof![3 => Just(0_i64), 2 => 0..50_i64]).prop_map(|(dollars, days_ago)| Step::Buy { dollars, days_ago }),
        1 => (-50..150_i64).prop_map(|points| Step::Give { points }),
        1 => any::<bool>().prop_map(|none| Step::Publish { none }),
    ];
    vec(step, 1..14)
}

fn is_on_web(amount: Decimal) -> bool {
    (amount % Decimal::from(3)).is_zero()
}

/// What is known of the member, written down beside the ledger.
struct Oracle {
    joined: Date,
    purchases: Vec<(Date, Decimal)>,
    since: BTreeMap<String, Timestamp>,
    /// The rule book in effect has none.
    has_none: bool,
}

impl Oracle {
    fn expected(&self, shop: &Shop, day: Date) -> BTreeSet<&'static str> {
        if self.has_none {
            return BTreeSet::new();
        }
        let within = |days: i32| self.purchases.iter().filter(move |(own, _)| *own <= day && *own > day - days.days());
        let spend = |days| within(days).map(|(_, amount)| *amount).sum::<Decimal>();
        // From the day after the one of the same number, or after the last of a month that is too short.
        let months = |count: i32| {
            self.purchases.iter().filter(move |(own, _)| *own <= day && *own >= day.tomorrow().expect("a day") - count.months())
        };
        let latest = self.purchases.iter().map(|(day, _)| *day).max().unwrap_or(self.joined);
        let days = |from: Date| day.since(from).expect("days").get_days().max(0);
        let (age, since, bought) = (days(self.joined), days(latest), !self.purchases.is_empty());
        let all = [
            ("new", age < 30),
            ("often", within(30).count() >= 2 && within(7).count() < 2),
            ("big", spend(45) >= Decimal::new(15_050, 2) || shop.tier() == "silver"),
            ("at-risk", bought && (21..=40).contains(&since)),
            ("lapsed", [41, 42, 44].contains(&since) || since > 60),
            ("spring", (day.month() == 4 && bought) || day.day() == 31),
            ("monday", day.weekday() == jiff::civil::Weekday::Monday),
            ("monthly", months(2).count() == 1 || months(1).map(|(_, amount)| *amount).sum::<Decimal>() >= Decimal::from(120)),
            ("web", within(25).any(|(_, amount)| is_on_web(*amount))),
            ("rich", shop.member.header.balance.available.0 >= 100),
            // More of them are too large a number.
            ("never", self.purchases.len() == 1 || day.year() == 2027),
        ];
        all.into_iter().filter(|(_, is_in)| *is_in).map(|(segment, _)| segment).collect()
    }

    /// The member is in the segments that it should be in, each since when it came to be.
    fn check(&mut self, shop: &Shop, day: Date, instant: Timestamp) {
        let expected = self.expected(shop, day);
        self.since.retain(|segment, _| expected.contains(segment.as_str()));
        for segment in expected {
            self.since.entry(segment.to_owned()).or_insert(instant);
        }
        let found: BTreeMap<String, Timestamp> =
            shop.member.header.segments.held.iter().map(|held| (held.segment.to_string(), held.since)).collect();
        assert_eq!(found, self.since, "on {day}");
    }
}

fn follow(steps: Vec<Step>) {
    let mut shop = open_at(rule_book_with(SEGMENTS), "2026-01-20T15:00:00Z");
    let zone = shop.programs.newest().time_zone.clone();
    let day = |instant: Timestamp| zone.to_datetime(instant).date();
    let mut oracle = Oracle { joined: day(shop.now), purchases: Vec::new(), since: BTreeMap::new(), has_none: false };
    oracle.check(&shop, day(shop.now), shop.now);
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Pass { hours } => {
                let (before, until) = (shop.member.clone(), shop.now + hours.hours());
                // Midnight by midnight.
                let mut next = day(shop.now).tomorrow().expect("a day");
                while start_of_day(&zone, next).expect("an instant") <= until {
                    let midnight = start_of_day(&zone, next).expect("an instant");
                    passes_to(&mut shop, midnight);
                    oracle.check(&shop, next, midnight);
                    next = next.tomorrow().expect("a day");
                }
                passes_to(&mut shop, until);
                // Who was looked at only at the end comes to the same.
                let late = advance(&shop.programs, until, before).expect("time passes").member;
                assert_eq!(
                    (&late.header.segments, late.header.last_sequence),
                    (&shop.member.header.segments, shop.member.header.last_sequence)
                );
            }
            Step::Buy { dollars, days_ago } => {
                let occurred = (shop.now - (24 * days_ago).hours()).max(shop.entries[0].occurred_time);
                let sale = purchase(vec![line(&dollars.to_string())]);
                let channel = if is_on_web(Decimal::from(dollars)) { "web" } else { "till" }.to_owned();
                shop.buys(Purchase { order: Some(order(number as u64)), occurred_time: Some(occurred), channel, ..sale });
                oracle.purchases.push((day(occurred), Decimal::from(dollars)));
            }
            Step::Publish { none } => {
                let program = rule_book_with(SEGMENTS);
                let segments = if none { Vec::new() } else { program.segments };
                let version = shop.programs.last().version + 1;
                let program = Program { version, publish_time: shop.now, segments, ..program };
                shop.programs = shop.programs.with(Arc::new(program));
                oracle.has_none = none;
                let now = shop.now;
                passes_to(&mut shop, now);
            }
            Step::Give { points } => {
                let adjustment = Adjustment {
                    points: Points(points.max(-shop.member.header.balance.available.0)),
                    qualifying: false,
                    reason: "so".into(),
                    reference: String::new(),
                    expiry: None,
                };
                if adjustment.points != Points::ZERO {
                    shop.does(&Command::AdjustPoints(adjustment)).expect("points are adjusted");
                }
            }
        }
        oracle.check(&shop, day(shop.now), shop.now);
    }
    check_fold(&shop);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn at_every_midnight_each_member_is_where_its_conditions_say(steps in steps()) {
        follow(steps);
    }
}

/// The days of a year pass for somebody who does nothing: what never turns is looked at now and then, and no more than that.
#[test]
fn a_year_of_nothing_takes_few_entries() {
    let only = r#"
accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]
segments: [{ segment_id: odd, condition: "now.month == 2 && now.day == 31" }, { segment_id: new, condition: "member.age_days < 30" }]
"#;
    let mut shop = open_at(rule_book_with(only), "2026-01-20T15:00:00Z");
    let before = shop.entries.len();
    passes(&mut shop, "2027-01-20T15:00:00Z");
    assert!(shop.entries.len() - before <= 12, "{}", shop.entries.len());
    assert!(!shop.member.header.segments.is_in(&SegmentId::new("new").unwrap()));
}
