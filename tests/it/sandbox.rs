//! A sandbox: an integrator tries out a year in a minute.

use std::{path::Path, sync::Arc};

use loyaltyd::{
    app::{self, AppError},
    config::Config,
    contract::{
        rule_book as text,
        v1::{self, advance_clock_request::Advance, entry::Kind, sandbox_service_client::SandboxServiceClient},
    },
    ledger::{Clock, ManualClock, SandboxError},
};
use tempfile::TempDir;
use tonic::{Code, transport::Channel};

use crate::support::{PROGRAM, Refused, TestServer, by_id, config, enrolment, noon, refused, rule_book, sale};

const DAY: i64 = 24 * 3_600;

fn sandbox(folder: &Path) -> Config {
    Config { sandbox: true, ..config(folder, vec![rule_book()]) }
}

async fn start(folder: TempDir, clock: Arc<ManualClock>) -> TestServer {
    let config = sandbox(folder.path());
    TestServer::start_with(folder, clock, config).await
}

fn clock_of(server: &TestServer) -> SandboxServiceClient<Channel> {
    SandboxServiceClient::new(server.channel.clone())
}

fn days(request: &str, days: i64) -> v1::AdvanceClockRequest {
    let duration = prost_types::Duration { seconds: days * DAY, nanos: 0 };
    v1::AdvanceClockRequest { request_id: request.into(), advance: Some(Advance::Duration(duration)) }
}

async fn time(server: &TestServer) -> i64 {
    clock_of(server).get_clock(v1::GetClockRequest {}).await.unwrap().into_inner().time.unwrap().seconds
}

#[tokio::test]
async fn a_year_passes_in_a_minute() {
    let clock = Arc::new(ManualClock::new(noon()));
    let server = start(TempDir::new().unwrap(), Arc::clone(&clock)).await;
    let began = time(&server).await;
    assert_eq!(began, noon().as_second());
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "500000")).await.unwrap();
    let answer = clock_of(&server).advance_clock(days("a-1", 200)).await.unwrap().into_inner();
    assert_eq!((answer.time.unwrap().seconds, answer.members, answer.entries), (began + 200 * DAY, 0, 0));
    // Sales of that day are sales of that day, and nothing is done twice.
    server.purchases().record_purchase(sale(&member, "o-2", "100000")).await.unwrap();
    assert_eq!(clock_of(&server).advance_clock(days("a-1", 200)).await.unwrap().into_inner(), answer);
    assert_eq!(time(&server).await, began + 200 * DAY);
    let answer = clock_of(&server).advance_clock(days("a-2", 170)).await.unwrap().into_inner();
    assert_eq!((answer.members, answer.entries), (1, 1));
    assert_eq!(server.member(&member).await.balance.unwrap().available, 10);
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let newest = server.points().list_entries(list).await.unwrap().into_inner().entries.remove(0);
    assert!(matches!(newest.kind, Some(Kind::PointsExpired(_))), "{newest:?}");
    assert_eq!((newest.points, newest.record_time.unwrap().seconds), (-50, began + 370 * DAY));
    // Valid to the end of the day, a year later: 11 March 2027 begins at 17:00 of the day before in UTC.
    assert_eq!(newest.occurred_time.unwrap().seconds, "2027-03-10T17:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second());
    // The machine's clock goes on beneath, and a restart sets nothing back.
    let (folder, clock) = server.end().await;
    clock.set(clock.now() + jiff::SignedDuration::from_secs(5));
    let server = start(folder, clock).await;
    assert_eq!(time(&server).await, began + 370 * DAY + 5);
    server.stop().await;
}

/// All that the year brings is written down when the answer comes, also what a version brings that took effect in it.
#[tokio::test]
async fn a_rule_book_that_takes_effect_meanwhile_has_moved_everybody_when_the_answer_comes() {
    let server = start(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon()))).await;
    let mut members = Vec::new();
    for number in 0..100 {
        let birth_date = Some(v1::Date { year: 0, month: 9, day: 1 + number % 28 });
        let profile = Some(v1::Profile { birth_date, ..Default::default() });
        let request = v1::EnrollMemberRequest { profile, ..enrolment(&format!("c-{number}")) };
        let member = server.members().enroll_member(request).await.unwrap().into_inner().member.unwrap().member_id;
        server.purchases().record_purchase(sale(&member, &format!("o-{number}"), "500000")).await.unwrap();
        members.push(member);
    }
    let mut next = rule_book();
    next.tiers[1].threshold = Some(v1::TierThreshold { qualifying_points: "40".into(), ..Default::default() });
    next.tier_policy.get_or_insert_default().on_change = v1::tier_policy::OnChange::AtOnce.into();
    next.birthday = text::read("birthday: { window: WINDOW_DAY, rewards: [{ points: { points: 5 } }] }").unwrap().birthday;
    let from: jiff::Timestamp = "2026-06-01T00:00:00+07:00".parse().unwrap();
    next.effective_time = Some(prost_types::Timestamp { seconds: from.as_second(), nanos: 0 });
    let publish = v1::PublishProgramRequest { request_id: "next".into(), program: Some(next), ..Default::default() };
    server.programs().publish_program(publish).await.unwrap();
    clock_of(&server).advance_clock(days("a-year", 250)).await.unwrap();
    for member in &members {
        let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), ..Default::default() };
        let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
        assert!(entries.iter().all(|entry| entry.record_time.is_some()), "{entries:?}");
        let risen: Vec<_> = entries.iter().filter(|entry| matches!(entry.kind, Some(Kind::TierChanged(_)))).collect();
        assert!(matches!(&risen[..], [one] if one.occurred_time.unwrap().seconds == from.as_second()), "{entries:?}");
        assert_eq!(entries.iter().filter(|entry| matches!(entry.kind, Some(Kind::BirthdayGranted(_)))).count(), 1, "{entries:?}");
        assert_eq!(server.member(member).await.balance.unwrap().available, 55);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_clock_is_set_forward_only_and_by_sensible_steps() {
    let server = start(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon()))).await;
    let to = |seconds: i64| Some(Advance::Time(prost_types::Timestamp { seconds, nanos: 0 }));
    let by = |seconds, nanos| Some(Advance::Duration(prost_types::Duration { seconds, nanos }));
    let now = noon().as_second();
    let cases = [
        (to(now - 1), "time"),
        (to(now + 3_660 * DAY + 1), "time"),
        (to(i64::MAX), "time"),
        (by(0, 0), "duration"),
        (by(-1, 0), "duration"),
        (by(1, -1), "duration"),
        (by(1, 1_000_000_000), "duration"),
        (by(i64::MAX, 0), "duration"),
        (None, "duration"),
    ];
    for (advance, field) in cases {
        let request = v1::AdvanceClockRequest { request_id: "a".into(), advance };
        let status = clock_of(&server).advance_clock(request).await.unwrap_err();
        assert_eq!(refused(&status), Refused { code: Code::InvalidArgument, reason: "INVALID_FIELD".into(), fields: vec![field.into()] });
    }
    assert_eq!(time(&server).await, now);
    clock_of(&server).advance_clock(days("a", 1)).await.unwrap();
    let status = clock_of(&server).advance_clock(days("a", 2)).await.unwrap_err();
    assert_eq!(refused(&status).reason, "REQUEST_ID_REUSED");
    let status = clock_of(&server).advance_clock(days("", 2)).await.unwrap_err();
    assert_eq!(refused(&status).fields, ["request_id"]);
    assert_eq!(time(&server).await, now + DAY);
    server.stop().await;
}

/// The reason why it does not start.
async fn refusal(config: Config) -> SandboxError {
    match app::start(config, Arc::new(ManualClock::new(noon()))).await.map(drop) {
        Err(AppError::Sandbox(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_sandbox_and_a_real_ledger_are_never_taken_for_one_another() {
    let real = TestServer::start().await;
    let status = clock_of(&real).advance_clock(days("a", 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let (folder, _) = real.end().await;
    assert!(matches!(refusal(sandbox(folder.path())).await, SandboxError::NotASandbox(_)));
    let server = start(TempDir::new().unwrap(), Arc::new(ManualClock::new(noon()))).await;
    // Nothing can be restored from it.
    let mut admin = v1::admin_service_client::AdminServiceClient::new(server.channel.clone());
    let status = admin.stream_backup(v1::StreamBackupRequest::default()).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let (folder, _) = server.end().await;
    let real = Config { sandbox: false, ..sandbox(folder.path()) };
    assert!(matches!(refusal(real).await, SandboxError::IsASandbox(_)));
}
