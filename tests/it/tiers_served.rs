//! Tiers as callers see them: progress and warnings, benefits, what is set by hand for a time, and what a new rule book would do.

use jiff::Timestamp;
use loyaltyd::{
    contract::v1::{self, entry::Kind, tier_policy},
    ledger::{Clock as _, ManualClock},
};
use std::sync::Arc;
use tempfile::TempDir;

use crate::support::{PROGRAM, TestServer, actor, by_id, noon, purchase, rule_book, sale};

/// The usual tiers, by the points of a calendar year, to the end of the next one; silver has benefits.
fn yearly() -> v1::Program {
    let mut program = rule_book();
    program.tier_policy = Some(v1::TierPolicy {
        window: tier_policy::Window::CalendarYear.into(),
        validity: tier_policy::Validity::EndOfNextPeriod.into(),
        ..Default::default()
    });
    let custom = [("lounge".to_owned(), "open".to_owned())].into();
    program.tiers[1].benefits =
        Some(v1::TierBenefits { discount_percent: "5".into(), free_shipping: true, early_access: false, custom, ..Default::default() });
    program.tiers[1].entry_reward = Some(v1::EntryReward { points: "20".into(), ..Default::default() });
    program
}

async fn start() -> TestServer {
    start_with(yearly()).await
}

fn seconds(text: &str) -> Option<i64> {
    Some(text.parse::<Timestamp>().unwrap().as_second())
}

fn date(year: i32, month: i32, day: i32) -> Option<v1::Date> {
    Some(v1::Date { year, month, day })
}

#[tokio::test]
async fn a_member_sees_what_is_missing_by_when_and_what_the_review_will_do() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let recorded = server.purchases().record_purchase(sale(&member, "o-1", "5250000")).await.unwrap().into_inner();
    assert!(!recorded.benefits.unwrap().free_shipping, "it was rated by the lowest tier");
    let change = recorded.tier_change.unwrap();
    assert_eq!((change.to_tier_id.as_str(), change.end_time.map(|time| time.seconds)), ("silver", seconds("2027-12-31T17:00:00Z")));
    assert_eq!(recorded.balance.unwrap().available, 545);

    let tier = server.member(&member).await.tier.unwrap();
    assert_eq!((tier.window_start, tier.window_end, tier.window_totals.clone().unwrap().points), (date(2026, 1, 1), date(2027, 1, 1), 525));
    assert_eq!((tier.next_missing_points, tier.next_by_time.map(|time| time.seconds)), (Some(475), seconds("2026-12-31T17:00:00Z")));
    assert_eq!((tier.keep_missing_points, tier.review_time.map(|time| time.seconds)), (Some(500), seconds("2027-12-31T17:00:00Z")));
    assert_eq!((tier.falls_to_tier_id.as_str(), tier.falls_time.map(|time| time.seconds)), ("member", seconds("2027-12-31T17:00:00Z")));
    assert_eq!((tier.history.len(), tier.benefits.clone().unwrap().discount_percent), (1, "5".to_owned()));

    // A quote tells the till what the tier has beside points.
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: Some(purchase("o-2", "10000")) };
    let benefits = server.purchases().quote_purchase(quote).await.unwrap().into_inner().benefits.unwrap();
    assert_eq!((benefits.free_shipping, benefits.custom["lounge"].as_str()), (true, "open"));

    // In the next year 500 points keep it.
    server.days_later(365);
    server.purchases().record_purchase(sale(&member, "o-3", "4000000")).await.unwrap();
    let tier = server.member(&member).await.tier.unwrap();
    assert_eq!((tier.keep_missing_points, tier.falls_to_tier_id.as_str()), (Some(20), "member"));
    server.purchases().record_purchase(sale(&member, "o-4", "200000")).await.unwrap();
    let tier = server.member(&member).await.tier.unwrap();
    assert_eq!((tier.keep_missing_points, tier.falls_to_tier_id.as_str(), tier.falls_time), (Some(0), "", None));
    let before = server.clock_now();

    // Right after the reviews nobody has written them, and they are read.
    server.days_later(700);
    let read = server.member(&member).await.tier.unwrap();
    assert_eq!((read.tier_id.as_str(), read.end_time, read.history.len()), ("member", None, 2));
    let as_of = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&member), as_of: Some(before), ..Default::default() };
    let then = server.members().get_member(as_of).await.unwrap().into_inner().member.unwrap().tier.unwrap();
    assert_eq!((then.tier_id.as_str(), then.window_totals.unwrap().points), ("silver", 504));

    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
    let told: Vec<String> = entries
        .iter()
        .rev()
        .filter_map(|entry| match entry.kind.as_ref().unwrap() {
            Kind::TierChanged(change) => Some(format!("{} {:?}", change.to_tier_id, change.cause())),
            Kind::TierKept(kept) => Some(format!("{} kept with {}", kept.tier_id, kept.review.as_ref()?.totals.as_ref()?.points)),
            Kind::TierRewarded(rewarded) => Some(format!("{} points", rewarded.points)),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["silver Upgrade", "20 points", "silver kept with 504", "member Review"]);
    let kept = entries.iter().find(|entry| matches!(entry.kind, Some(Kind::TierKept(_)))).unwrap().sequence;
    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence: kept };
    let sentences = server.points().explain_entry(explain).await.unwrap().into_inner().explanation;
    assert!(sentences[0].contains("silver was reviewed") && sentences[1].contains("504 qualifying points"), "{sentences:?}");
    server.stop().await;
}

/// Days of grace, and what each of the tiers asks for and gives; a year that is counted, and the next one in which a tier is held.
fn exacting(outcome: tier_policy::ReviewOutcome) -> v1::Program {
    let mut program = yearly();
    let policy = program.tier_policy.as_mut().unwrap();
    (policy.grace_days, policy.review_outcome) = (30, outcome.into());
    let asks = |points: &str, spend: &str, visits, require_all| {
        Some(v1::TierThreshold { qualifying_points: points.into(), spend: spend.into(), visits, require_all })
    };
    program.tiers[1].threshold = asks("100", "2000000", 3, true);
    program.tiers[1].retention = asks("", "1000000", 2, false);
    program.tiers[2].threshold = asks("", "9000000", 9, false);
    program.tiers[2].retention = asks("300", "3000000", 3, true);
    program.tiers[1].benefits = Some(v1::TierBenefits { early_access: true, ..Default::default() });
    program.tiers[1].entry_reward = None;
    program
}

async fn start_with(program: v1::Program) -> TestServer {
    TestServer::start_in(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon())), vec![program]).await
}

async fn standing(server: &TestServer, member: &str) -> v1::TierStanding {
    server.member(member).await.tier.unwrap()
}

/// Points, spend, visits, and whether all of them are asked for.
type Asked = (Option<i64>, Option<String>, Option<i64>, bool);

fn to_the_next(tier: &v1::TierStanding) -> Asked {
    let spend = tier.next_missing_spend.as_ref().map(|spend| spend.amount.clone());
    (tier.next_missing_points, spend, tier.next_missing_visits, tier.next_require_all)
}

fn to_keep(tier: &v1::TierStanding) -> Asked {
    let spend = tier.keep_missing_spend.as_ref().map(|spend| spend.amount.clone());
    (tier.keep_missing_points, spend, tier.keep_missing_visits, tier.keep_require_all)
}

fn asked(points: Option<i64>, spend: &str, visits: Option<i64>, all: bool) -> Asked {
    (points, (!spend.is_empty()).then(|| spend.to_owned()), visits, all)
}

#[tokio::test]
async fn a_standing_says_what_is_missing_of_each_kind_and_whether_all_of_it_must_be_there() {
    let server = start_with(exacting(tier_policy::ReviewOutcome::Earned)).await;
    let member = server.enroll("c-1").await;
    let nothing = asked(None, "", None, false);
    assert_eq!(to_the_next(&standing(&server, &member).await), asked(Some(100), "2000000", Some(3), true));
    // Enough of one kind alone is nothing; it shows as met.
    server.purchases().record_purchase(sale(&member, "o-1", "1500000")).await.unwrap();
    let tier = standing(&server, &member).await;
    assert_eq!((tier.tier_id.as_str(), to_the_next(&tier), to_keep(&tier)), ("member", asked(Some(0), "500000", Some(2), true), nothing));
    assert_eq!((tier.end_time, tier.review_time, tier.benefits.unwrap().early_access), (None, None, false));
    for order in ["o-2", "o-3"] {
        server.purchases().record_purchase(sale(&member, order, "300000")).await.unwrap();
    }
    // Silver: either of two kinds keeps it, and of those that gold asks for one is enough.
    let tier = standing(&server, &member).await;
    assert_eq!((tier.tier_id.as_str(), tier.next_tier_id.as_str(), tier.benefits.clone().unwrap().early_access), ("silver", "gold", true));
    assert_eq!(to_the_next(&tier), asked(None, "6900000", Some(6), false));
    assert_eq!(to_keep(&tier), asked(None, "1000000", Some(2), false));
    // It is held to the end of the next year, and reviewed thirty days later.
    let (end, review) = (seconds("2027-12-31T17:00:00Z"), seconds("2028-01-30T17:00:00Z"));
    assert_eq!((tier.end_time.map(|time| time.seconds), tier.review_time.map(|time| time.seconds)), (end, review));
    assert_eq!((tier.falls_to_tier_id.as_str(), tier.falls_time.map(|time| time.seconds)), ("member", review));
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: Some(purchase("o-4", "10000")) };
    assert!(server.purchases().quote_purchase(quote).await.unwrap().into_inner().benefits.unwrap().early_access);
    // A sale of the next year counts, and so does one in the days of grace; with that it is kept.
    server.days_later(400);
    server.purchases().record_purchase(sale(&member, "o-5", "400000")).await.unwrap();
    let tier = standing(&server, &member).await;
    assert_eq!((to_keep(&tier), tier.falls_to_tier_id.as_str()), (asked(None, "600000", Some(1), false), "member"));
    server.days_later(270);
    server.purchases().record_purchase(sale(&member, "o-6", "10000")).await.unwrap();
    let tier = standing(&server, &member).await;
    assert_eq!((tier.tier_id.as_str(), tier.window_start), ("silver", date(2028, 1, 1)));
    assert_eq!((to_keep(&tier), tier.falls_to_tier_id.as_str(), tier.falls_time), (asked(None, "590000", Some(0), false), "", None));
    server.days_later(30);
    let tier = standing(&server, &member).await;
    let ends = (tier.end_time.map(|time| time.seconds), tier.review_time.map(|time| time.seconds));
    assert_eq!((tier.tier_id.as_str(), ends), ("silver", (seconds("2028-12-31T17:00:00Z"), seconds("2029-01-30T17:00:00Z"))));
    server.stop().await;
}

#[tokio::test]
async fn a_standing_warns_of_the_tier_that_its_review_leads_to_and_of_none_where_there_is_nothing_to_fear() {
    use tier_policy::ReviewOutcome::{Earned, NeverDown, OneDown};
    let set_silver = |member: &str| v1::SetMemberTierRequest {
        request_id: format!("floor-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        tier_id: "silver".into(),
        reason: "friend of the house".into(),
        actor: actor(),
        ..Default::default()
    };
    // What the review does, whether silver is set by hand, and what becomes of gold with nothing in the year that is looked at.
    for (outcome, by_hand, falls_to) in
        [(Earned, false, "member"), (OneDown, false, "silver"), (NeverDown, false, ""), (Earned, true, "silver"), (NeverDown, true, "")]
    {
        let server = start_with(exacting(outcome)).await;
        let member = server.enroll("c-1").await;
        if by_hand {
            server.members().set_member_tier(set_silver(&member)).await.unwrap();
        }
        server.purchases().record_purchase(sale(&member, "o-1", "9000000")).await.unwrap();
        let tier = standing(&server, &member).await;
        assert_eq!((tier.tier_id.as_str(), to_keep(&tier)), ("gold", asked(Some(300), "3000000", Some(3), true)), "{outcome:?} {by_hand}");
        let review = tier.review_time.unwrap();
        assert_eq!((tier.falls_to_tier_id.as_str(), tier.falls_time), (falls_to, (!falls_to.is_empty()).then_some(review)));
        // It is as it was told.
        server.clock.set(Timestamp::from_second(review.seconds - 1).unwrap());
        assert_eq!(standing(&server, &member).await.tier_id, "gold");
        server.clock.set(Timestamp::from_second(review.seconds).unwrap());
        let expected = if falls_to.is_empty() { "gold" } else { falls_to };
        assert_eq!(standing(&server, &member).await.tier_id, expected, "{outcome:?} {by_hand}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_window_that_moves_on_with_each_day_has_no_end_by_which_something_must_be_there() {
    let mut program = yearly();
    program.tier_policy = Some(v1::TierPolicy {
        window: tier_policy::Window::RollingMonths.into(),
        rolling_months: 3,
        validity: tier_policy::Validity::Months.into(),
        validity_months: 6,
        ..Default::default()
    });
    let server = start_with(program).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "4000000")).await.unwrap();
    server.days_later(31);
    server.purchases().record_purchase(sale(&member, "o-2", "500000")).await.unwrap();
    let tier = standing(&server, &member).await;
    assert_eq!((tier.window_start, tier.window_end, tier.next_by_time), (date(2026, 1, 11), None, None));
    assert_eq!((tier.next_missing_points, tier.window_totals.unwrap().points), (Some(50), 450));
    // On 9 June what was bought on 10 March counts still, and on the next day no more.
    server.days_later(60);
    let tier = standing(&server, &member).await;
    assert_eq!((tier.window_start, tier.next_missing_points), (date(2026, 3, 10), Some(50)));
    server.days_later(1);
    let tier = standing(&server, &member).await;
    assert_eq!((tier.window_start, tier.next_missing_points, tier.next_by_time), (date(2026, 3, 11), Some(450), None));
    server.stop().await;
}

#[tokio::test]
async fn who_reaches_a_tier_gets_a_voucher_and_uses_it_at_the_till() {
    let mut program = rule_book();
    program.voucher_kinds = vec![v1::VoucherKind {
        voucher_kind_id: "welcome".into(),
        benefit: Some(v1::VoucherBenefit {
            benefit: Some(v1::voucher_benefit::Benefit::AmountOff(v1::voucher_benefit::AmountOff { amount: "50000".into() })),
        }),
        valid_days: Some(30),
        ..Default::default()
    }];
    program.tiers[1].entry_reward = Some(v1::EntryReward { voucher_kind_id: "welcome".into(), ..Default::default() });
    let server = TestServer::start_in(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon())), vec![program]).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "6000000")).await.unwrap();
    let list = v1::ListVouchersRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let vouchers = server.rewards().list_vouchers(list).await.unwrap().into_inner().vouchers;
    let told: Vec<_> = vouchers.iter().map(|voucher| (voucher.voucher_kind_id.as_str(), voucher.cause())).collect();
    assert_eq!(told, [("welcome", v1::voucher::Cause::Tier)]);
    let mut next = sale(&member, "o-2", "200000");
    next.purchase.as_mut().unwrap().voucher_codes = vec![vouchers[0].code.clone()];
    let used = server.purchases().record_purchase(next).await.unwrap().into_inner().vouchers;
    assert_eq!(used.iter().map(|one| one.value.as_ref().unwrap().amount.as_str()).collect::<Vec<_>>(), ["50000"]);
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
    let rewarded = entries.iter().find(|entry| matches!(entry.kind, Some(Kind::TierRewarded(_)))).unwrap();
    let Some(Kind::TierRewarded(reward)) = &rewarded.kind else { panic!("a reward") };
    assert_eq!((reward.points, reward.lot_id.as_str(), reward.voucher_kind_id.as_str()), (0, "", "welcome"));
    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence: rewarded.sequence };
    let sentences = server.points().explain_entry(explain).await.unwrap().into_inner().explanation;
    assert!(sentences[0].contains("voucher of the kind welcome"), "{sentences:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_tier_is_set_by_hand_to_a_last_date() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let set = v1::SetMemberTierRequest {
        request_id: "t-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        tier_id: "gold".into(),
        reason: "film festival".into(),
        actor: actor(),
        last_date: date(2026, 3, 31),
    };
    let answer = server.members().set_member_tier(set.clone()).await.unwrap().into_inner();
    let tier = answer.member.clone().unwrap().tier.unwrap();
    assert_eq!((tier.manual, tier.end_time.map(|time| time.seconds)), (true, seconds("2026-03-31T17:00:00Z")));
    assert_eq!((tier.falls_to_tier_id.as_str(), tier.falls_time.map(|time| time.seconds)), ("member", seconds("2026-03-31T17:00:00Z")));
    let nowhere = v1::SetMemberTierRequest { request_id: "t-2".into(), last_date: date(2026, 2, 30), ..set.clone() };
    assert_eq!(crate::support::refused(&server.members().set_member_tier(nowhere).await.unwrap_err()).fields, ["last_date"]);
    // The same request gets the same answer, though the date is over.
    server.days_later(40);
    assert_eq!(server.members().set_member_tier(set).await.unwrap().into_inner(), answer);
    assert_eq!(server.member(&member).await.tier.unwrap().tier_id, "member");
    let server = server.restart_with(yearly()).await;
    assert_eq!(server.member(&member).await.tier.unwrap().tier_id, "member");
    server.stop().await;
}

#[tokio::test]
async fn what_is_told_late_counts_between_its_own_two_reviews_though_the_tables_were_made_again() {
    let mut program = rule_book();
    program.tier_policy = Some(v1::TierPolicy {
        validity: tier_policy::Validity::Months.into(),
        validity_months: 1,
        reset_at_review: true,
        ..Default::default()
    });
    program.purchase_time = Some(v1::PurchaseTimePolicy { max_age_days: 60, ..Default::default() });
    let clock = Arc::new(ManualClock::new(noon()));
    let server = TestServer::start_in(TempDir::new().unwrap(), clock, vec![program.clone()]).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "5250000")).await.unwrap();
    // It is kept in April by that, and lost in May; with the next sale all of that is written.
    server.days_later(63);
    server.purchases().record_purchase(sale(&member, "o-2", "10000")).await.unwrap();
    assert_eq!(server.member(&member).await.tier.unwrap().tier_id, "member");
    let (data, (folder, clock)) = (server.data(), server.end().await);
    std::fs::remove_dir_all(data.join("tables")).unwrap();
    let server = TestServer::start_in(folder, clock, vec![program]).await;
    // Of the 1st of May: with what was sold before the review of April it would be enough again.
    let mut late = sale(&member, "o-3", "2500000");
    late.purchase.as_mut().unwrap().occurred_time =
        Some(prost_types::Timestamp { seconds: seconds("2026-05-01T05:00:00Z").unwrap(), nanos: 0 });
    let told = server.purchases().record_purchase(late).await.unwrap().into_inner();
    assert_eq!((told.accrual.unwrap().points, told.tier_change), (300, None));
    assert_eq!(server.member(&member).await.tier.unwrap().tier_id, "member");
    server.stop().await;
}

#[tokio::test]
async fn a_dry_run_tells_how_many_members_a_new_rule_book_would_move() {
    let server = start().await;
    for (card, amount) in [("c-1", "5250000"), ("c-2", "4500000"), ("c-3", "4500000"), ("c-4", "100000")] {
        let member = server.enroll(card).await;
        server.purchases().record_purchase(sale(&member, card, amount)).await.unwrap();
    }
    let moves = |silver: &str, at_once: bool| {
        let mut program = yearly();
        program.tiers[1].threshold = Some(v1::TierThreshold { qualifying_points: silver.into(), ..Default::default() });
        if at_once {
            program.tier_policy.as_mut().unwrap().on_change = tier_policy::OnChange::AtOnce.into();
        }
        let request = v1::PublishProgramRequest { program: Some(program), validate_only: true, ..Default::default() };
        let mut programs = server.programs();
        async move {
            let answer = programs.publish_program(request).await.unwrap().into_inner();
            answer.tier_moves.into_iter().map(|it| (it.from_tier_id, it.to_tier_id, it.members)).collect::<Vec<_>>()
        }
    };
    let moved = |from: &str, to: &str, members| vec![(from.to_owned(), to.to_owned(), members)];
    assert_eq!(moves("500", false).await, []);
    assert_eq!(moves("400", false).await, moved("member", "silver", 2));
    assert_eq!(moves("400", true).await, moved("member", "silver", 2));
    assert_eq!(moves("600", false).await, []);
    assert_eq!(moves("600", true).await, moved("silver", "member", 1));
    server.stop().await;
}

#[tokio::test]
async fn a_dry_run_tells_whom_another_window_would_move_and_publishing_it_moves_them() {
    use tier_policy::{OnChange, Validity, Window};
    let policy = |window: Window, validity: Validity, on_change: OnChange| v1::TierPolicy {
        window: window.into(),
        rolling_months: if window == Window::RollingMonths { 12 } else { 0 },
        validity: validity.into(),
        validity_months: if validity == Validity::Months { 12 } else { 0 },
        on_change: on_change.into(),
        ..Default::default()
    };
    let of = |policy| v1::Program { tier_policy: Some(policy), ..rule_book() };
    async fn moves(server: &TestServer, program: v1::Program) -> Vec<(String, String, i64)> {
        let request = v1::PublishProgramRequest { program: Some(program), validate_only: true, ..Default::default() };
        let answer = server.programs().publish_program(request).await.unwrap().into_inner();
        answer.tier_moves.into_iter().map(|it| (it.from_tier_id, it.to_tier_id, it.members)).collect()
    }
    let moved = |from: &str, to: &str, members| (from.to_owned(), to.to_owned(), members);
    // Of a calendar year: one had enough in the year before, another one has it in two years together, and two have less.
    let server = start_with(of(policy(Window::CalendarYear, Validity::EndOfNextPeriod, OnChange::AtReview))).await;
    let mut members = Vec::new();
    for (card, amount) in [("c-1", "5250000"), ("c-2", "100000"), ("c-3", "100000"), ("c-4", "100000")] {
        let member = server.enroll(card).await;
        server.purchases().record_purchase(sale(&member, card, amount)).await.unwrap();
        members.push(member);
    }
    server.days_later(250);
    server.purchases().record_purchase(sale(&members[1], "o-1", "4500000")).await.unwrap();
    server.days_later(150);
    server.purchases().record_purchase(sale(&members[1], "o-2", "600000")).await.unwrap();
    let rolling = |on_change| of(policy(Window::RollingMonths, Validity::Months, on_change));
    let [rises, falls] = [[moved("member", "silver", 1)], [moved("silver", "member", 1)]];
    assert_eq!(moves(&server, rolling(OnChange::AtReview)).await, rises);
    assert_eq!(moves(&server, rolling(OnChange::AtOnce)).await, [&rises[..], &falls[..]].concat());
    // Since enrolment all have what they have; that is no less.
    let lifetime = |on_change| of(policy(Window::Lifetime, Validity::Unlimited, on_change));
    assert_eq!(moves(&server, lifetime(OnChange::AtOnce)).await, rises);
    // It is as it was told.
    let request = v1::PublishProgramRequest { request_id: "p-2".into(), program: Some(rolling(OnChange::AtOnce)), ..Default::default() };
    server.programs().publish_program(request).await.unwrap();
    server.clock.set(server.clock.now() + jiff::SignedDuration::from_secs(1));
    let mut tiers = Vec::new();
    for member in &members {
        tiers.push(standing(&server, member).await.tier_id);
    }
    assert_eq!(tiers, ["member", "silver", "member", "member"]);
    server.stop().await;

    // Of a lifetime: what occurred before there was a window is in none, so that at once nobody has anything in it.
    let server = start_with(rule_book()).await;
    for (card, amount) in [("c-1", "5250000"), ("c-2", "100000")] {
        let member = server.enroll(card).await;
        server.purchases().record_purchase(sale(&member, card, amount)).await.unwrap();
    }
    let year = |on_change| of(policy(Window::CalendarYear, Validity::EndOfNextPeriod, on_change));
    assert_eq!(moves(&server, year(OnChange::AtReview)).await, []);
    assert_eq!(moves(&server, year(OnChange::AtOnce)).await, falls);
    server.stop().await;
}

/// Silver gives a voucher for three days; another kind lasts.
fn welcoming(silver: &str, more: v1::Program) -> v1::Program {
    let kind = |id: &str, valid_days| v1::VoucherKind {
        voucher_kind_id: id.into(),
        benefit: Some(v1::VoucherBenefit {
            benefit: Some(v1::voucher_benefit::Benefit::AmountOff(v1::voucher_benefit::AmountOff { amount: "50000".into() })),
        }),
        valid_days: Some(valid_days),
        ..Default::default()
    };
    let mut program = v1::Program { voucher_kinds: vec![kind("welcome", 2), kind("lasting", 900)], ..more };
    program.tiers[1].threshold = Some(v1::TierThreshold { qualifying_points: silver.into(), ..Default::default() });
    program.tiers[1].entry_reward = Some(v1::EntryReward { voucher_kind_id: "welcome".into(), ..Default::default() });
    program
}

/// A voucher that came by time alone while nobody asked, and has lapsed since then, has done so before whatever comes next; also of a member
/// who has others.
async fn check_that_the_welcome_is_over(server: TestServer, member: &str) {
    server.purchases().record_purchase(sale(member, "o-9", "10000")).await.unwrap();
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 4, ..Default::default() };
    let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
    assert!(matches!(&entries[0].kind, Some(Kind::PurchaseAccrued(_))), "{entries:?}");
    let Some(Kind::VoucherExpired(lapsed)) = &entries[1].kind else { panic!("{entries:?}") };
    let Some(Kind::VoucherIssued(issued)) = &entries[2].kind else { panic!("{entries:?}") };
    assert_eq!(issued.voucher.as_ref().unwrap().code, lapsed.code);
    let list = v1::ListVouchersRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
    let vouchers = server.rewards().list_vouchers(list).await.unwrap().into_inner().vouchers;
    let told: Vec<_> = vouchers.iter().map(|voucher| (voucher.voucher_kind_id.as_str(), voucher.state())).collect();
    assert!(told.contains(&("lasting", v1::voucher::State::Usable)), "{told:?}");
    assert!(!told.contains(&("welcome", v1::voucher::State::Usable)), "{told:?}");
    server.stop().await;
}

async fn issue_lasting(server: &TestServer, member: &str) {
    let request = v1::IssueVoucherRequest {
        request_id: "v-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        voucher_kind_id: "lasting".into(),
        reason: "sorry".into(),
        actor: actor(),
    };
    server.rewards().issue_voucher(request).await.unwrap();
}

#[tokio::test]
async fn a_voucher_of_a_tier_that_was_reached_and_has_lapsed_while_nobody_asked_is_over() {
    let pending = v1::ActivationPolicy { policy: Some(v1::activation_policy::Policy::AfterDays(5)) };
    let program = welcoming("500", v1::Program { activation: Some(pending), ..rule_book() });
    let server = TestServer::start_in(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon())), vec![program]).await;
    let member = server.enroll("c-1").await;
    issue_lasting(&server, &member).await;
    server.purchases().record_purchase(sale(&member, "o-1", "6000000")).await.unwrap();
    server.days_later(30);
    check_that_the_welcome_is_over(server, &member).await;
}

#[tokio::test]
async fn a_voucher_of_a_tier_that_a_new_rule_book_brought_and_has_lapsed_while_nobody_asked_is_over() {
    let server =
        TestServer::start_in(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon())), vec![welcoming("500", rule_book())]).await;
    let member = server.enroll("c-1").await;
    issue_lasting(&server, &member).await;
    server.purchases().record_purchase(sale(&member, "o-1", "3000000")).await.unwrap();
    let at_once = v1::TierPolicy { on_change: tier_policy::OnChange::AtOnce.into(), ..Default::default() };
    let effective = noon() + jiff::SignedDuration::from_hours(48);
    let effective_time = Some(prost_types::Timestamp { seconds: effective.as_second(), nanos: 0 });
    let next = welcoming("200", v1::Program { tier_policy: Some(at_once), effective_time, ..rule_book() });
    let request = v1::PublishProgramRequest { request_id: "p-2".into(), program: Some(next), ..Default::default() };
    server.programs().publish_program(request).await.unwrap();
    server.days_later(30);
    check_that_the_welcome_is_over(server, &member).await;
}

/// The tier is held since a sale that is told of late, and so long ago has its voucher been issued: the answer's commit ends it too.
#[tokio::test]
async fn a_voucher_of_a_tier_that_a_late_sale_leads_to_and_has_lapsed_before_it_was_told_is_over_at_once() {
    let server =
        TestServer::start_in(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon())), vec![welcoming("500", rule_book())]).await;
    let member = server.enroll("c-1").await;
    issue_lasting(&server, &member).await;
    server.days_later(20);
    let occurred = noon() + jiff::SignedDuration::from_hours(24);
    let mut late = sale(&member, "o-1", "6000000");
    late.purchase.as_mut().unwrap().occurred_time = Some(prost_types::Timestamp { seconds: occurred.as_second(), nanos: 0 });
    server.purchases().record_purchase(late).await.unwrap();
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 3, ..Default::default() };
    let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
    let Some(Kind::VoucherExpired(lapsed)) = &entries[0].kind else { panic!("{entries:?}") };
    let Some(Kind::VoucherIssued(issued)) = &entries[1].kind else { panic!("{entries:?}") };
    assert_eq!(issued.voucher.as_ref().unwrap().code, lapsed.code);
    assert!(entries[0].record_time.is_some(), "it waits for whoever asks next: {:?}", entries[0]);
    server.stop().await;
}
