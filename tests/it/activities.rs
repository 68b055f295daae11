//! What members do beside buying: sign-ups, reviews, surveys, and referrals, which earn on both sides.

use std::{fs, sync::Arc};

use loyaltyd::{
    contract::{rule_book, v1},
    store::embedded::{self, Options},
};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    redemption::start_with,
    support::{PROGRAM, Refused, TestServer, actor, adjustment, by_card, by_id, refused, rule_book as shop},
};

/// Sign-up 100 once; a review 20, at most 50 a day; a survey pays 30 after three days; a referral 100 for the new member, and for who
/// referred it 200, at most 500 in a month.
fn club() -> v1::Program {
    let text = r#"
activity_rules:
  - { rule_id: welcome, display_name: Welcome, activity: sign_up, points: 100, once_per_member: true, without_qualifying: true }
  - { rule_id: review, display_name: A review, activity: review, points: 20, cap: { points: 50, period: PERIOD_DAY } }
  - { rule_id: survey, activity: survey, points: 30, activation: { after_days: 3 } }
  - { rule_id: joined, activity: referral, points: 100 }
  - { rule_id: brought, display_name: Brought a friend, activity: referral, earner: EARNER_REFERRER, points: 200,
      cap: { points: 500, period: PERIOD_MONTH }, expiry: { never: {} }, without_qualifying: true }
  - { rule_id: lead, activity: lead, earner: EARNER_REFERRER, points: 5 }
"#;
    let activity_rules = rule_book::read(text).expect("well-formed rules").activity_rules;
    v1::Program { activity_rules, ..shop() }
}

fn did(member: &str, activity: &str, reference: &str) -> v1::RecordActivityRequest {
    v1::RecordActivityRequest {
        request_id: format!("{activity}-{reference}-{}", &member[member.len() - 12..]),
        program_id: PROGRAM.into(),
        member: by_id(member),
        activity: activity.into(),
        reference: reference.into(),
        ..Default::default()
    }
}

fn referred(member: &str, referrer: &str) -> v1::RecordActivityRequest {
    v1::RecordActivityRequest { referrer: by_id(referrer), ..did(member, "referral", "friend") }
}

fn accrued(entry: &v1::Entry) -> &v1::ActivityAccrued {
    match &entry.kind {
        Some(v1::entry::Kind::ActivityAccrued(accrued)) => accrued,
        other => panic!("{other:?}"),
    }
}

async fn record(server: &TestServer, request: v1::RecordActivityRequest) -> v1::RecordActivityResponse {
    server.points().record_activity(request).await.expect("it is recorded").into_inner()
}

/// The points of the entry.
async fn points(server: &TestServer, request: v1::RecordActivityRequest) -> i64 {
    accrued(&record(server, request).await.entry.expect("an entry")).points
}

async fn refusal(server: &TestServer, request: v1::RecordActivityRequest) -> tonic::Status {
    server.points().record_activity(request).await.expect_err("it is refused")
}

async fn newest(server: &TestServer, member: &str) -> v1::Entry {
    let request = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 1, ..Default::default() };
    server.points().list_entries(request).await.expect("entries").into_inner().entries.remove(0)
}

async fn balance(server: &TestServer, member: &str) -> v1::Balance {
    server.member(member).await.balance.expect("a balance")
}

async fn available(server: &TestServer, member: &str) -> i64 {
    balance(server, member).await.available
}

async fn qualifying(server: &TestServer, member: &str) -> i64 {
    server.member(member).await.lifetime.expect("totals").qualifying_points
}

async fn explained(server: &TestServer, member: &str, sequence: i64) -> Vec<String> {
    let request = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(member), sequence };
    server.points().explain_entry(request).await.expect("it is explained").into_inner().explanation
}

async fn suspend(server: &TestServer, member: &str) {
    let request = v1::SuspendMemberRequest {
        request_id: format!("suspend-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        reason: "lost card".into(),
        actor: actor(),
    };
    server.members().suspend_member(request).await.expect("it is suspended");
}

/// Stops the server, looks whether the ledger and its tables agree, and makes the tables again from the journal.
async fn rebuilt(server: TestServer, program: v1::Program) -> TestServer {
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = embedded::check(&data, &Options::default()).expect("the store can be checked");
    assert!(report.is_sound(), "{:?}", report.differences);
    fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
    TestServer::start_in(folder, clock, vec![program]).await
}

#[tokio::test]
async fn a_sign_up_earns_once_and_a_retry_gives_the_first_answer() {
    let server = start_with(club()).await;
    let an = server.enroll("c-1").await;
    let request = v1::RecordActivityRequest { actor: actor(), ..did(&an, "sign_up", "sign-up") };
    let first = record(&server, request.clone()).await;
    let entry = first.entry.clone().expect("an entry");
    let earned = accrued(&entry);
    assert_eq!((earned.activity.as_str(), earned.reference.as_str(), earned.points), ("sign_up", "sign-up", 100));
    assert_eq!((entry.points, entry.actor.clone(), entry.request_id.as_str()), (100, actor(), request.request_id.as_str()));
    assert_eq!(record(&server, request.clone()).await, first, "a retry gives the first answer");
    let other_payload = v1::RecordActivityRequest { reference: "again".into(), ..request.clone() };
    assert_eq!(refused(&refusal(&server, other_payload).await).reason, "REQUEST_ID_REUSED");
    let another = v1::RecordActivityRequest { request_id: "another".into(), ..request.clone() };
    let status = refusal(&server, another.clone()).await;
    assert_eq!(refused(&status), Refused { code: Code::AlreadyExists, reason: "ACTIVITY_EXISTS".into(), fields: vec![] });
    let told = status.get_details_error_info().expect("an ErrorInfo").metadata;
    let told = ["activity", "member_id", "entry_sequence", "referred"].map(|name| told[name].as_str());
    assert_eq!(told, ["sign_up", an.as_str(), "2", "false"]);
    // Under another reference it is another one, and the rule gives only once.
    let again = record(&server, did(&an, "sign_up", "second")).await.entry.expect("an entry");
    let award = &accrued(&again).awards[0];
    assert_eq!((award.points, award.uncapped_points, award.limit()), (0, 100, v1::award::LimitKind::OncePerMember));
    let server = rebuilt(server, club()).await;
    assert_eq!(record(&server, request).await, first, "also after the tables were made again");
    assert_eq!(refused(&refusal(&server, another).await).reason, "ACTIVITY_EXISTS");
    assert_eq!(available(&server, &an).await, 100);
    server.stop().await;
}

#[tokio::test]
async fn reviews_earn_up_to_the_cap_of_the_day_and_the_rest_says_why_it_earned_less() {
    let server = start_with(club()).await;
    let an = server.enroll("c-1").await;
    let mut earned = Vec::new();
    for number in 1..=4 {
        earned.push(points(&server, did(&an, "review", &format!("review-{number}"))).await);
    }
    assert_eq!(earned, [20, 20, 10, 0]);
    let last = newest(&server, &an).await;
    let award = &accrued(&last).awards[0];
    assert_eq!((award.limit(), award.lot_id.as_str(), last.points), (v1::award::LimitKind::Cap, "", 0));
    let said = explained(&server, &an, last.sequence).await;
    assert!(said[0].starts_with("Activity review with reference review-4 on 2026-03-10 12:00:00 (Asia/Ho_Chi_Minh)"), "{said:?}");
    assert!(said[1].contains("Rule review (A review): 20 points.") && said[1].contains("20 points became 0"), "{said:?}");
    let said = explained(&server, &an, last.sequence - 1).await;
    assert!(said[1].contains("20 points became 10. 10 points in lot 3, valid until the end of 2027-03-10."), "{said:?}");
    // A new day begins in Ho Chi Minh City.
    for (instant, reference, earned) in [("2026-03-10T16:59:59Z", "review-5", 0), ("2026-03-10T17:00:00Z", "review-6", 20)] {
        server.clock.set(instant.parse().expect("an instant"));
        assert_eq!(points(&server, did(&an, "review", reference)).await, earned, "{instant}");
    }
    // Told a day late, it counts where it happened.
    let yesterday = server.clock_now().seconds - 86_400;
    let late = v1::RecordActivityRequest {
        occurred_time: Some(prost_types::Timestamp { seconds: yesterday, nanos: 0 }),
        ..did(&an, "review", "review-7")
    };
    assert_eq!(points(&server, late).await, 0);
    assert_eq!(available(&server, &an).await, 70);
    server.stop().await;
}

#[tokio::test]
async fn a_referral_pays_both_sides_in_one_commit_and_once_for_a_member() {
    let server = start_with(club()).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let request = v1::RecordActivityRequest { referrer: by_card("c-1"), ..did(&binh, "referral", "friend") };
    let first = record(&server, request.clone()).await;
    let own = first.entry.clone().expect("an entry");
    assert_eq!((accrued(&own).points, accrued(&own).referrer_member_id.as_str()), (100, an.as_str()));
    let other = newest(&server, &an).await;
    let brought = accrued(&other);
    assert_eq!((brought.points, other.points, other.request_id.as_str()), (200, 200, ""));
    assert_eq!((brought.referred_member_id.as_str(), brought.referred_sequence), (binh.as_str(), own.sequence));
    assert_eq!((brought.referrer_member_id.as_str(), brought.lots[0].expire_time), ("", None));
    assert_eq!(other.record_time, own.record_time);
    assert_eq!(record(&server, request.clone()).await, first);
    // Whoever is said to have done it, and by whatever reference.
    let chi = server.enroll("c-3").await;
    let again = v1::RecordActivityRequest { reference: "other".into(), request_id: "r-2".into(), ..referred(&binh, &chi) };
    let status = refusal(&server, again.clone()).await;
    assert_eq!(refused(&status).reason, "ACTIVITY_EXISTS");
    assert_eq!(status.get_details_error_info().expect("an ErrorInfo").metadata["referred"], "true");
    assert_eq!([available(&server, &an).await, available(&server, &binh).await, available(&server, &chi).await], [200, 100, 0]);
    let said = explained(&server, &an, other.sequence).await;
    let done_by = format!("It was done by member {binh}, in entry {}", own.sequence);
    assert!(said[1].starts_with(&done_by) && said[2].contains("200 points in lot 1, they do not lapse"), "{said:?}");
    let said = explained(&server, &binh, own.sequence).await;
    assert_eq!(said[1], format!("Member {an} referred the member."));
    let server = rebuilt(server, club()).await;
    assert_eq!(refused(&refusal(&server, again).await).reason, "ACTIVITY_EXISTS");
    assert_eq!(record(&server, request).await, first);
    assert_eq!(newest(&server, &an).await, other);
    server.stop().await;
}

#[tokio::test]
async fn the_cap_of_who_refers_is_that_member_s_own_and_no_friend_earns_less_for_it() {
    let server = start_with(club()).await;
    let an = server.enroll("c-1").await;
    let mut earned = Vec::new();
    for number in 2..=5 {
        let friend = server.enroll(&format!("c-{number}")).await;
        let own = points(&server, referred(&friend, &an)).await;
        earned.push((own, accrued(&newest(&server, &an).await).points));
    }
    assert_eq!(earned, [(100, 200), (100, 200), (100, 100), (100, 0)]);
    // Who was brought brings others, under caps of its own.
    let (binh, last) = (server.enroll("c-8").await, server.enroll("c-9").await);
    record(&server, referred(&binh, &an)).await;
    record(&server, referred(&last, &binh)).await;
    assert_eq!(available(&server, &binh).await, 300);
    server.stop().await;
}

#[tokio::test]
async fn a_referral_without_a_referrer_and_one_without_a_rule_for_it_pay_one_side() {
    let server = start_with(club()).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    assert_eq!(points(&server, did(&binh, "referral", "friend")).await, 100);
    let with_referrer = v1::RecordActivityRequest { referrer: by_id(&an), ..did(&binh, "review", "r-1") };
    assert_eq!(points(&server, with_referrer).await, 20);
    let other = newest(&server, &an).await;
    assert_eq!((accrued(&other).awards.len(), other.points), (0, 0));
    let said = explained(&server, &an, other.sequence).await;
    assert!(said.iter().any(|said| said == "No rule gives a referrer points for it."), "{said:?}");
    // A lead earns for who brings it alone: nobody is named, so nothing is used up.
    let status = refusal(&server, did(&binh, "lead", "l-1")).await;
    let fields = vec!["referrer".to_owned()];
    assert_eq!(refused(&status), Refused { code: Code::InvalidArgument, reason: "REFERRER_REQUIRED".into(), fields });
    let named = v1::RecordActivityRequest { request_id: "l".into(), referrer: by_id(&an), ..did(&binh, "lead", "l-1") };
    assert_eq!(points(&server, named).await, 0);
    assert_eq!(available(&server, &an).await, 5);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_an_activity_of_the_member_is_refused() {
    let server = start_with(club()).await;
    let (an, binh, chi) = (server.enroll("c-1").await, server.enroll("c-2").await, server.enroll("c-3").await);
    let nobody = "0198c0de-0000-7000-8000-000000000001";
    let at = |seconds: i64| Some(prost_types::Timestamp { seconds: server.clock_now().seconds + seconds, nanos: 0 });
    let dated = |time| v1::RecordActivityRequest { occurred_time: time, ..did(&an, "review", "r") };
    let cases = [
        (referred(&an, &an), Code::InvalidArgument, "REFERRAL_TO_SELF", "referrer"),
        (
            v1::RecordActivityRequest { referrer: by_card("c-1"), ..referred(&an, &an) },
            Code::InvalidArgument,
            "REFERRAL_TO_SELF",
            "referrer",
        ),
        (referred(&an, nobody), Code::NotFound, "REFERRER_NOT_FOUND", ""),
        (v1::RecordActivityRequest { referrer: by_card("c-9"), ..referred(&an, &binh) }, Code::NotFound, "REFERRER_NOT_FOUND", ""),
        (did(nobody, "review", "r"), Code::NotFound, "MEMBER_NOT_FOUND", ""),
        (referred(nobody, nobody), Code::NotFound, "MEMBER_NOT_FOUND", ""),
        (did(&an, "dance", "d"), Code::FailedPrecondition, "ACTIVITY_NOT_OFFERED", ""),
        (dated(at(-30 * 86_400 - 1)), Code::OutOfRange, "ACTIVITY_TOO_OLD", "occurred_time"),
        (dated(at(301)), Code::OutOfRange, "ACTIVITY_IN_FUTURE", "occurred_time"),
    ];
    for (request, code, reason, field) in cases {
        let fields = if field.is_empty() { vec![] } else { vec![field.to_owned()] };
        let status = refusal(&server, request).await;
        assert_eq!(refused(&status), Refused { code, reason: reason.into(), fields }, "{status:?}");
    }
    suspend(&server, &chi).await;
    assert_eq!(refused(&refusal(&server, did(&chi, "review", "r")).await).reason, "MEMBER_SUSPENDED");
    assert_eq!(refused(&refusal(&server, referred(&an, &chi)).await).reason, "REFERRER_SUSPENDED");
    for member in [&an, &binh, &chi] {
        assert_eq!(balance(&server, member).await, v1::Balance::default(), "nothing stays of what is refused");
    }
    // What was refused has used nothing up.
    assert_eq!(points(&server, v1::RecordActivityRequest { request_id: "r".into(), ..referred(&an, &binh) }).await, 100);
    server.stop().await;
}

#[tokio::test]
async fn points_of_a_survey_wait_pay_debt_when_they_come_and_lapse_as_others_do() {
    let debt = v1::AdjustmentPolicy { maximum_points: String::new(), into_debt: true };
    let server = start_with(v1::Program { adjustments: Some(debt), ..club() }).await;
    let an = server.enroll("c-1").await;
    server.points().adjust_points(adjustment(&an, "a-1", -25)).await.expect("it is owed");
    record(&server, did(&an, "survey", "s-1")).await;
    let now = balance(&server, &an).await;
    assert_eq!((now.available, now.pending, now.debt), (0, 30, 25));
    assert_eq!(qualifying(&server, &an).await, 0, "they count when they become active");
    record(&server, did(&an, "review", "r-1")).await;
    let now = balance(&server, &an).await;
    assert_eq!((now.available, now.pending, now.debt), (0, 30, 5), "what can be spent pays first");
    server.days_later(3);
    let now = balance(&server, &an).await;
    assert_eq!((now.available, now.pending, now.debt), (25, 0, 0));
    assert_eq!(qualifying(&server, &an).await, 50);
    server.days_later(366);
    let now = balance(&server, &an).await;
    assert_eq!((now.available, now.expired), (0, 25));
    rebuilt(server, club()).await.stop().await;
}

#[tokio::test]
async fn activities_lead_to_a_tier_on_both_sides_by_the_rules_of_their_day() {
    let server = start_with(club()).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    server.days_later(10);
    let mut generous = club();
    for rule in &mut generous.activity_rules {
        (rule.points, rule.cap, rule.once_per_member, rule.without_qualifying) = ("600".into(), None, false, false);
    }
    let publish = v1::PublishProgramRequest { request_id: "p-2".into(), program: Some(generous), ..Default::default() };
    server.programs().publish_program(publish).await.expect("it is published");
    // It happened under the first version.
    let before = Some(prost_types::Timestamp { seconds: server.clock_now().seconds - 86_400, nanos: 0 });
    let late = record(&server, v1::RecordActivityRequest { occurred_time: before, ..did(&an, "review", "r-1") }).await;
    let entry = late.entry.expect("an entry");
    assert_eq!((entry.points, entry.program_version, late.tier_change), (20, 1, None));
    let now = record(&server, referred(&binh, &an)).await;
    assert_eq!(now.tier_change.expect("a new tier").to_tier_id, "silver");
    for member in [&an, &binh] {
        assert_eq!(server.member(member).await.tier.expect("a tier").tier_id, "silver");
    }
    let brought = newest(&server, &an).await;
    assert!(matches!(brought.kind, Some(v1::entry::Kind::TierChanged(_))), "{brought:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_tell_the_same_at_once_one_is_heard() {
    let server = Arc::new(start_with(club()).await);
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let mut calls = JoinSet::new();
    for number in 0..60 {
        let (review, referral) = (did(&an, "review", "r-1"), referred(&binh, &an));
        let request = if number % 2 == 0 { review } else { v1::RecordActivityRequest { reference: format!("f-{number}"), ..referral } };
        let request = v1::RecordActivityRequest { request_id: format!("call-{number}"), ..request };
        let server = Arc::clone(&server);
        calls.spawn(async move { server.points().record_activity(request).await });
    }
    let mut done = 0;
    while let Some(outcome) = calls.join_next().await {
        match outcome.expect("a call ends") {
            Ok(_) => done += 1,
            Err(status) => assert_eq!(refused(&status).reason, "ACTIVITY_EXISTS", "{status:?}"),
        }
    }
    assert_eq!((done, available(&server, &an).await, available(&server, &binh).await), (2, 220, 100));
    Arc::into_inner(server).expect("all calls have ended").stop().await;
}

#[tokio::test]
async fn what_no_rule_rewards_any_more_or_yet_is_not_offered_and_keeps_its_reference() {
    let mut program = club();
    let server = TestServer::start().await;
    let now = server.clock_now().seconds;
    server.stop().await;
    let time = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
    (program.activity_rules[1].start_time, program.activity_rules[1].end_time) = (time(now + 60), time(now + 120));
    let server = start_with(program).await;
    let an = server.enroll("c-1").await;
    let mut refusals = Vec::new();
    for (ahead, is_offered) in [(0, false), (60, true), (119, true), (120, false)] {
        server.clock.set(jiff::Timestamp::from_second(now + ahead).expect("an instant"));
        let request = v1::RecordActivityRequest { request_id: format!("at-{ahead}"), ..did(&an, "review", &format!("r-{ahead}")) };
        match server.points().record_activity(request).await {
            Ok(_) => assert!(is_offered, "{ahead}"),
            Err(status) => refusals.push((ahead, refused(&status).reason)),
        }
    }
    let reason = || "ACTIVITY_NOT_OFFERED".to_owned();
    assert_eq!((refusals, available(&server, &an).await), (vec![(0, reason()), (120, reason())], 40));
    let publish = v1::PublishProgramRequest { request_id: "p-2".into(), program: Some(club()), ..Default::default() };
    server.programs().publish_program(publish).await.expect("it is published");
    record(&server, v1::RecordActivityRequest { request_id: "again".into(), ..did(&an, "review", "r-120") }).await;
    assert_eq!(available(&server, &an).await, 50, "the day's cap");
    server.stop().await;
}

#[tokio::test]
async fn entries_of_activities_are_listed_by_their_kind_with_what_used_their_points() {
    let server = start_with(club()).await;
    let an = server.enroll("c-1").await;
    record(&server, did(&an, "review", "r-1")).await;
    server.points().adjust_points(adjustment(&an, "a-1", -5)).await.expect("points are taken");
    let request = v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(&an),
        kinds: vec![v1::EntryKind::ActivityAccrued.into()],
        ..Default::default()
    };
    let listed = server.points().list_entries(request).await.expect("entries").into_inner().entries;
    assert_eq!(listed.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [2]);
    let request = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&an), sequence: 2 };
    let told = server.points().explain_entry(request).await.expect("it is explained").into_inner();
    assert_eq!((told.lots[0].remaining_points, told.uses[0].entry_sequence), (15, 3));
    server.stop().await;
}
