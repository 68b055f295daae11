//! Tiers under which points do not lapse with inactivity.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::{program, rule_book, v1},
    domain::{Command, EntryKind, LotExpiry, MemberId, PAUSED, Points, Program, TierId},
    store::embedded::{self, Options},
};

use crate::{
    accrual::{Shop, at, rule_book_with},
    inactivity::{back, become_one, buys, clock, grant, has, hold, lapses, lots, never, passes, redeem},
    redemption::{explained, redeem as redeems, start_with},
    support::{PROGRAM, actor, adjustment, by_id},
};

/// A point a dollar, which lapses after three months without a purchase, in New York. With gold it does not; gold takes 100 points of the last
/// 12 months, and is held for six. `more`: of the tiers' policy.
fn club(more: &str) -> Program {
    club_whose(more, "pauses_inactivity: true")
}

fn club_whose(more: &str, gold: &str) -> Program {
    rule_book_with(&text(more, gold))
}

fn text(more: &str, gold: &str) -> String {
    let gold = if gold.is_empty() { String::new() } else { format!(", {gold}") };
    format!(
        "expiry: {{ inactivity: {{ months: 3, activities: [COUNTED_ACTIVITY_PURCHASE] }} }}
accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]
redemption: {{ points: 100, amount: 1, maximum_hold_seconds: 2592000 }}
purchase_time: {{ max_age_days: 400 }}
tiers:
- {{ tier_id: base }}
- {{ tier_id: gold, threshold: {{ qualifying_points: 100 }}{gold} }}
tier_policy: {{ window: WINDOW_ROLLING_MONTHS, rolling_months: 3, validity: VALIDITY_MONTHS, validity_months: 6{more} }}
"
    )
}

fn gold(last_date: Option<Date>) -> Command {
    Command::SetTier { tier: TierId::new("gold").expect("an id"), reason: "a guest".into(), last_date }
}

fn tier(shop: &Shop) -> &str {
    shop.member.header.tier.current().map_or("base", |held| held.tier.as_str())
}

fn publish(shop: &mut Shop, version: u32, book: Program) {
    shop.programs = shop.programs.with(Arc::new(Program { version, publish_time: shop.now, ..book }));
}

/// What was entered of tiers and lapses, when it was, and where it sets the clock.
fn told(shop: &Shop) -> Vec<(i64, Timestamp, Option<Timestamp>)> {
    let told = shop.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::TierChanged(_) | EntryKind::PointsExpired(_)));
    told.map(|entry| (entry.points().0, entry.occurred_time, entry.inactivity_time)).collect()
}

#[test]
fn points_of_before_and_of_the_tier_do_not_lapse_until_it_is_lost_and_then_have_the_whole_time() {
    let mut shop = Shop::open(club(""));
    buys(&mut shop, "40", None);
    assert_eq!(clock(&shop), Some(at("2026-06-11T04:00:00Z")));
    shop.now = at("2026-03-20T15:00:00Z");
    buys(&mut shop, "60", None);
    assert_eq!((tier(&shop), clock(&shop)), ("gold", Some(PAUSED)));
    // The purchase itself was made in the tier below.
    let moved: Vec<_> = shop.entries.iter().map(|entry| entry.inactivity_time).collect();
    assert_eq!(moved, [None, Some(at("2026-06-11T04:00:00Z")), Some(at("2026-06-21T04:00:00Z")), Some(PAUSED)]);
    shop.now = at("2026-05-01T15:00:00Z");
    buys(&mut shop, "5", None);
    assert_eq!(shop.entries.last().expect("an entry").inactivity_time, None, "it stands still however active the member is");
    let review = at("2026-09-20T04:00:00Z");
    assert_eq!(shop.member.header.next_due_time(), Some(review), "nothing lapses before");
    let mut late = Shop { member: shop.member.clone(), entries: shop.entries.clone(), ..Shop::open(club("")) };
    for (now, expected) in [
        ("2026-09-20T03:59:59Z", ("gold", (105, 0))),
        ("2026-09-20T04:00:00Z", ("base", (105, 0))),
        ("2026-12-21T04:59:59Z", ("base", (105, 0))),
        ("2026-12-21T05:00:00Z", ("base", (0, 105))),
    ] {
        shop.now = at(now);
        passes(&mut shop);
        assert_eq!((tier(&shop), has(&shop)), expected, "{now}");
    }
    let end = at("2026-12-21T05:00:00Z");
    let expected = [(0, at("2026-03-20T15:00:00Z"), Some(PAUSED)), (0, review, Some(end)), (-105, end, None)];
    assert_eq!(told(&shop), expected, "three months from the review to the end of the day");
    // Entered late, all of it is the same.
    late.now = at("2027-10-01T15:00:00Z");
    passes(&mut late);
    assert_eq!((told(&late), has(&late)), (expected.to_vec(), (0, 105)));
    // What comes then begins the time anew, and what has lapsed does not come back with the tier.
    buys(&mut late, "1", None);
    late.does(&gold(None)).expect("it is set");
    assert_eq!((has(&late), clock(&late)), ((1, 105), Some(PAUSED)));
}

#[test]
fn who_holds_it_by_hand_until_a_day_has_the_whole_time_from_then_and_whoever_is_active_before_the_review_has_no_more() {
    let mut shop = Shop::open(club(""));
    buys(&mut shop, "40", None);
    shop.does(&gold(Some(Date::constant(2026, 8, 31)))).expect("it is set");
    assert_eq!(clock(&shop), Some(PAUSED));
    shop.now = at("2026-08-31T15:00:00Z");
    buys(&mut shop, "1", None);
    shop.now = at("2026-12-01T15:00:00Z");
    passes(&mut shop);
    assert_eq!((tier(&shop), has(&shop), clock(&shop)), ("base", (41, 0), Some(at("2026-12-02T05:00:00Z"))));
    // A sale of the days of gold that is told later moves nothing; one of today does.
    buys(&mut shop, "1", Some("2026-08-01T15:00:00Z"));
    assert_eq!(clock(&shop), Some(at("2026-12-02T05:00:00Z")));
    buys(&mut shop, "1", None);
    assert_eq!(clock(&shop), Some(at("2027-03-02T05:00:00Z")));
}

#[test]
fn what_was_taken_out_of_lots_comes_back_alive_while_it_is_paused_and_lapsed_where_the_time_ran_out_since() {
    let mut shop = Shop::open(club(""));
    buys(&mut shop, "40", None);
    shop.now = at("2026-06-01T15:00:00Z");
    shop.does(&hold(10, 30)).expect("it is held");
    let spent = shop.does(&Command::RedeemPoints(redeem(7))).expect("it is spent")[0].sequence;
    let other = shop.does(&Command::RedeemPoints(redeem(3))).expect("it is spent")[0].sequence;
    shop.does(&gold(Some(Date::constant(2026, 8, 31)))).expect("it is set");
    // The clock would have run out on 11 June. The hold ends on 1 July.
    shop.now = at("2026-08-01T15:00:00Z");
    shop.does(&back(spent)).expect("it comes back");
    assert_eq!(has(&shop), (37, 0));
    assert!(shop.member.lots.keys().all(|lot| lot.expiry() == LotExpiry::Inactivity));
    shop.now = at("2027-01-10T15:00:00Z");
    passes(&mut shop);
    assert_eq!(lapses(&shop.entries), [(37, at("2026-12-02T05:00:00Z"))]);
    shop.does(&back(other)).expect("it comes back, and has lapsed");
    assert_eq!((has(&shop), lapses(&shop.entries)[1]), ((0, 40), (3, at("2026-12-02T05:00:00Z"))));
}

#[test]
fn a_tier_that_is_entered_late_has_kept_the_time_from_running_out_meanwhile() {
    let late = format!("{}activation: {{ after_days: 60 }}\n", text("", "pauses_inactivity: true"));
    let mut shop = Shop::open(rule_book_with(&late));
    shop.does(&grant(10, None)).expect("points are added");
    let spent = shop.does(&Command::RedeemPoints(redeem(4))).expect("it is spent")[0].sequence;
    buys(&mut shop, "100", None);
    assert_eq!((has(&shop), clock(&shop)), ((6, 0), Some(at("2026-06-11T04:00:00Z"))));
    // They become active on 9 May, and lead to gold then. It is July until anybody enters that.
    shop.now = at("2026-07-01T15:00:00Z");
    passes(&mut shop);
    assert_eq!((tier(&shop), has(&shop), clock(&shop)), ("gold", (106, 0), Some(PAUSED)));
    shop.does(&back(spent)).expect("it comes back");
    assert_eq!(has(&shop), (110, 0), "what was spent meanwhile comes back alive too");
}

#[test]
fn two_who_become_one_are_paused_by_the_tier_that_they_have_together() {
    let mut base = Shop::open(club(""));
    buys(&mut base, "40", None);
    let mut guest = Shop::open(club(""));
    guest.member.key.member = MemberId([8; 16]);
    buys(&mut guest, "5", None);
    guest.does(&gold(None)).expect("it is set");
    for (goes, stays, moved) in [(&base, &guest, None), (&guest, &base, Some(PAUSED))] {
        let (gone, stays) = become_one(goes, stays, "2026-05-10T15:00:00Z");
        let clock = stays.member.header.inactivity;
        assert_eq!((clock.lapse_time, clock.points, clock.due_time()), (Some(PAUSED), Points(45), None));
        assert_eq!(stays.entries[0].inactivity_time, moved);
        assert_eq!(gone.member.header.inactivity.lapse_time, None);
    }
    // The one's time had run out before: that has lapsed. Of the one who stays it is dated, of the one who goes it has happened already.
    for (goes, stays) in [(&base, &guest), (&guest, &base)] {
        let (gone, stays) = become_one(goes, stays, "2026-08-10T15:00:00Z");
        let expired = gone.member.header.balance.expired.0 + stays.member.header.balance.expired.0;
        assert_eq!((expired, stays.member.header.inactivity.points), (40, Points(5)));
    }
    // A tier that both had, and that the rule book in force does not pause any more.
    for shop in [&mut base, &mut guest] {
        shop.now = at("2026-05-01T15:00:00Z");
        publish(shop, 2, club_whose("", ""));
    }
    let (_, stays) = become_one(&guest, &base, "2026-05-10T15:00:00Z");
    assert_eq!(stays.member.header.inactivity.lapse_time, Some(at("2026-08-11T04:00:00Z")));
    // Who stays was active on that day, and may be idle for as long as before.
    base.now = at("2026-05-10T15:00:00Z");
    buys(&mut base, "1", None);
    let (_, stays) = become_one(&guest, &base, "2026-05-10T16:00:00Z");
    assert_eq!((stays.member.header.inactivity.lapse_time, stays.entries[0].inactivity_time), (Some(at("2026-08-11T04:00:00Z")), None));
}

#[test]
fn a_version_that_brings_it_or_ends_it_holds_from_its_review_or_from_the_next_entry() {
    let review = ", on_change: ON_CHANGE_AT_ONCE";
    for (more, paused, runs) in
        [(review, "2026-05-01T15:00:00Z", "2026-08-02T04:00:00Z"), ("", "2026-05-10T15:00:00Z", "2026-09-11T04:00:00Z")]
    {
        let mut shop = Shop::open(club_whose(more, ""));
        buys(&mut shop, "100", None);
        assert_eq!((tier(&shop), clock(&shop)), ("gold", Some(at("2026-06-11T04:00:00Z"))));
        shop.now = at("2026-05-01T15:00:00Z");
        publish(&mut shop, 2, club(more));
        shop.now = at("2026-05-10T15:00:00Z");
        shop.does(&grant(1, None)).expect("points are added");
        let entry = shop.entries.iter().find(|entry| entry.inactivity_time == Some(PAUSED)).expect("it is paused");
        assert_eq!(entry.occurred_time, at(paused), "{more:?}");
        // And it ends: on 1 May at once, which the review of then says, or with what comes in June.
        let mut ends = shop;
        ends.now = at(paused).max(at("2026-05-10T15:00:00Z"));
        publish(&mut ends, 3, club_whose(more, ""));
        ends.now = at("2026-06-10T15:00:00Z");
        ends.does(&grant(1, None)).expect("points are added");
        let expected = if more.is_empty() { at(runs) } else { at("2026-08-11T04:00:00Z") };
        assert_eq!(clock(&ends), Some(expected), "{more:?}");
    }
}

#[test]
fn only_where_the_programme_lets_points_lapse_with_inactivity() {
    for (expiry, expected) in [
        ("{ after: { days: 3 } }", vec!["tiers[1].pauses_inactivity"]),
        ("{ never: {} }", vec!["tiers[1].pauses_inactivity"]),
        ("{ inactivity: { months: 3, activities: [COUNTED_ACTIVITY_PURCHASE] } }", vec![]),
    ] {
        let text = format!(
            "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: UTC\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, \
             fraction: FRACTION_DROP }}\nexpiry: {expiry}\naccrual_rules: [{{ rule_id: r, per_order: {{ points: 1 }} }}]\ntiers: [{{ tier_id: \
             base }}, {{ tier_id: gold, threshold: {{ visits: 3 }}, pauses_inactivity: true }}]\n"
        );
        let document = rule_book::read(&text).expect("it can be read");
        let mistakes = program::parse(&document, 1, Timestamp::UNIX_EPOCH).err().unwrap_or_default();
        assert_eq!(mistakes.into_iter().map(|mistake| mistake.path).collect::<Vec<_>>(), expected, "{text}");
    }
}

fn served() -> v1::Program {
    let tiers = [("base", None, false), ("gold", Some("1000"), true)].map(|(id, points, pauses_inactivity)| v1::Tier {
        tier_id: id.into(),
        threshold: points.map(|points| v1::TierThreshold { qualifying_points: points.into(), ..Default::default() }),
        pauses_inactivity,
        ..Default::default()
    });
    v1::Program { expiry: Some(crate::inactivity::lapsing(6)), tiers: tiers.into(), ..crate::redemption::spending() }
}

/// The tier is lost, and the time of inactivity over, in one and the same call; what lapses and what lies behind it must be at hand for that.
#[tokio::test]
async fn whoever_comes_first_after_the_tier_was_lost_and_the_time_was_over_finds_what_is_left() {
    let server = start_with(served()).await;
    for (what, left) in [("redeem", 30), ("look", 50), ("take", 45)] {
        let member = server.enroll(what).await;
        server.points().adjust_points(adjustment(&member, &format!("{what}-a"), 10)).await.unwrap();
        let grant = v1::AdjustPointsRequest { expiry: Some(never()), ..adjustment(&member, &format!("{what}-b"), 50) };
        server.points().adjust_points(grant).await.unwrap();
        let start = server.clock_now();
        let day = Timestamp::from_second(start.seconds + 40 * 86_400).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
        let request = v1::SetMemberTierRequest {
            request_id: format!("{what}-c"),
            program_id: PROGRAM.into(),
            member: by_id(&member),
            tier_id: "gold".into(),
            reason: "a guest".into(),
            actor: actor(),
            last_date: Some(v1::Date { year: day.year().into(), month: day.month().into(), day: day.day().into() }),
        };
        server.members().set_member_tier(request).await.unwrap();
        // As long as it is held, they have no end.
        assert_eq!(lots(&server, &member).await, [(10, None, true), (50, None, false)]);
        let shown = server.member(&member).await;
        assert!(shown.expiring.is_empty(), "{shown:?}");
        let text = explained(&server, &member, shown.last_sequence).await;
        assert!(text.contains("Points do not lapse with inactivity while this tier is held."), "{text}");
        server.days_later(300);
        match what {
            "redeem" => {
                drop(server.points().redeem_points(redeems(&member, &format!("{what}-d"), 20, "1000000")).await.expect("they are there"))
            }
            "take" => drop(server.points().adjust_points(adjustment(&member, &format!("{what}-d"), -5)).await.expect("they are there")),
            _ => {}
        }
        let balance = server.member(&member).await.balance.unwrap();
        assert_eq!((balance.available, balance.expired), (left, 10), "{what}");
        assert_eq!(lots(&server, &member).await, [(left, None, false)]);
    }
    let data = server.data();
    let (folder, _) = server.end().await;
    let report = embedded::check(&data, &Options::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.differences);
    drop(folder);
}
