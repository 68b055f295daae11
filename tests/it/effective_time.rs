//! Rule books that take effect later: what each version judges before and after its time, whoever looks and however late that is written down.

use std::{process::Stdio, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::{rule_book as text, v1},
    domain::{
        BirthDate, Command, EarlierTurn, Entry, EntryKind, Header, Member, MemberId, MemberKey, Person, Points, Profile, Program,
        ProgramHistory, Purchase, TierCause, TierId, advance, apply,
    },
    ledger::{BirthdayWalk, Ledger, ManualClock},
    store::embedded::{Backup, BackupPlace, EmbeddedStore, Until, check, restore},
};
use proptest::{collection::vec, prelude::*, sample::select};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    accrual::{Shop, at, line, purchase as basket, rule_book_with},
    birthdays::{POINTS, Party, book, given, on_the_day, options},
    support::{PROGRAM, Refused, TestServer, by_id, loyaltyd, purchase, refused, rule_book, sale},
};

/// Midnight at the beginning of April in Ho Chi Minh City.
const APRIL: &str = "2026-04-01T00:00:00+07:00";

fn time(text: &str) -> Option<prost_types::Timestamp> {
    let instant: Timestamp = text.parse().expect("an instant");
    Some(prost_types::Timestamp { seconds: instant.as_second(), nanos: instant.subsec_nanosecond() })
}

/// A point for each 20,000, instead of for each 10,000.
fn dearer(from: &str) -> v1::Program {
    let mut program = rule_book();
    let amount = v1::PerAmount { amount: "20000".into(), points: "1".into(), whole_blocks: true };
    program.accrual_rules[0].award = Some(v1::accrual_rule::Award::PerAmount(amount));
    v1::Program { effective_time: if from.is_empty() { None } else { time(from) }, ..program }
}

impl TestServer {
    async fn publishes(&self, request: &str, program: v1::Program, replace_waiting: bool) -> Result<v1::PublishProgramResponse, Status> {
        let request =
            v1::PublishProgramRequest { request_id: request.into(), program: Some(program), replace_waiting, ..Default::default() };
        Ok(self.programs().publish_program(request).await?.into_inner())
    }

    /// Points, and the version that gave them.
    async fn sells(&self, member: &str, order: &str, occurred: Option<&str>) -> (i64, i32) {
        let mut request = sale(member, order, "100000");
        request.purchase.as_mut().expect("a purchase").occurred_time = occurred.and_then(time);
        let accrual = self.purchases().record_purchase(request).await.expect("it is recorded").into_inner().accrual.expect("an accrual");
        (accrual.points, accrual.program_version)
    }

    async fn quotes(&self, member: &str) -> (i64, i32) {
        let purchase = Some(purchase("quoted", "100000"));
        let request = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(member), purchase };
        let accrual = self.purchases().quote_purchase(request).await.expect("it is quoted").into_inner().accrual.expect("an accrual");
        (accrual.points, accrual.program_version)
    }

    /// The version that is in effect, and those that wait.
    async fn stands(&self) -> (i32, Vec<i32>) {
        let request = v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 };
        let got = self.programs().get_program(request).await.expect("the programme is there").into_inner();
        let listed = self.programs().list_programs(v1::ListProgramsRequest::default()).await.expect("a list").into_inner();
        assert_eq!(listed.programs, [got.program.clone().expect("a rule book")]);
        assert_eq!(listed.waiting_versions, got.waiting_versions);
        (got.program.expect("a rule book").version, got.waiting_versions.iter().map(|waiting| waiting.version).collect())
    }

    fn at(&self, now: &str) {
        self.clock.set(at(now));
    }
}

#[tokio::test]
async fn points_become_dearer_from_the_first_of_next_month() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let published = server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
    let document = published.program.expect("a rule book");
    assert!(published.changed && published.replaced_versions.is_empty());
    assert_eq!((document.version, document.effective_time, document.publish_time), (2, time(APRIL), Some(server.clock_now())));
    assert_eq!(server.stands().await, (1, vec![2]));
    assert_eq!((server.quotes(&member).await, server.sells(&member, "o-1", None).await), ((10, 1), (10, 1)));
    // Until the last moment of March, as the programme's zone counts days.
    server.at("2026-03-31T23:59:59.999999+07:00");
    assert_eq!((server.quotes(&member).await, server.sells(&member, "o-2", None).await), ((10, 1), (10, 1)));
    server.at(APRIL);
    assert_eq!(server.stands().await, (2, vec![]));
    assert_eq!((server.quotes(&member).await, server.sells(&member, "o-3", None).await), ((5, 2), (5, 2)));
    // What was sold in March is judged by March, whenever it is told of.
    assert_eq!(server.sells(&member, "o-4", Some("2026-03-31T23:50:00+07:00")).await, (10, 1));
    let server = server.restart_with(dearer(APRIL)).await;
    assert_eq!(server.stands().await, (2, vec![]));
    assert_eq!((server.quotes(&member).await, server.sells(&member, "o-5", None).await), ((5, 2), (5, 2)));
    assert_eq!(server.sells(&member, "o-6", Some("2026-03-31T23:50:00+07:00")).await, (10, 1));
    let back = |version| v1::GetProgramRequest { program_id: PROGRAM.into(), version };
    for (version, effective_time) in [(1, None), (2, time(APRIL))] {
        let program = server.programs().get_program(back(version)).await.expect("it is there").into_inner().program.expect("a rule book");
        assert_eq!((program.version, program.effective_time), (version, effective_time));
    }
    server.stop().await;
}

/// Its sales are judged by when they occurred, though that is not yet; and they are taken back as they were given, though the version has been
/// withdrawn meanwhile.
#[tokio::test]
async fn a_till_whose_clock_is_ahead_sells_by_the_version_of_its_own_time() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
    server.at("2026-03-31T23:58:00+07:00");
    assert_eq!(server.sells(&member, "o-1", Some("2026-04-01T00:01:00+07:00")).await, (5, 2));
    assert_eq!(server.sells(&member, "o-2", None).await, (10, 1));
    server.publishes("p-3", rule_book(), true).await.expect("it is withdrawn");
    assert_eq!(server.sells(&member, "o-3", Some("2026-04-01T00:01:00+07:00")).await, (10, 3));
    let request = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        reason: "did not fit".into(),
        ..Default::default()
    };
    let answer = server.purchases().return_purchase(request).await.expect("it comes back").into_inner();
    assert_eq!(answer.entry.expect("an entry").points, -5);
    server.stop().await;
}

#[tokio::test]
async fn what_waits_is_replaced_or_withdrawn_only_by_who_says_so() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
    // Saying again what holds, or what waits, changes nothing.
    for (request, program, version) in [("p-3", rule_book(), 1), ("p-4", dearer(APRIL), 2)] {
        let answer = server.publishes(request, program, false).await.expect("it is answered");
        assert_eq!((answer.changed, answer.program.expect("a rule book").version), (false, version));
    }
    // What would go before it, or with it, is refused.
    let renamed = |from: &str| v1::Program { display_name: "Vietnam 2".into(), ..dearer(from) };
    for from in ["", "2026-03-20T00:00:00+07:00", APRIL] {
        let status = server.publishes("p-5", renamed(from), false).await.expect_err("another version waits");
        assert_eq!(refused(&status), Refused { code: Code::FailedPrecondition, reason: "VERSION_WAITING".into(), fields: vec![] });
        let details = status.get_error_details();
        let metadata = &details.error_info().expect("the reason").metadata;
        assert_eq!((metadata["version"].as_str(), metadata["effective_time"].as_str()), ("2", "2026-03-31T17:00:00Z"));
        assert_eq!(details.precondition_failure().expect("what failed").violations[0].subject, "program");
    }
    // A dry run says the same, and what it would take the place of.
    let dry = |replace_waiting| v1::PublishProgramRequest {
        program: Some(renamed(APRIL)),
        validate_only: true,
        replace_waiting,
        ..Default::default()
    };
    assert_eq!(server.programs().publish_program(dry(false)).await.expect_err("it waits").code(), Code::FailedPrecondition);
    let answer = server.programs().publish_program(dry(true)).await.expect("it could be published").into_inner();
    assert_eq!((answer.changed, answer.replaced_versions.as_slice()), (true, [2].as_slice()));
    assert_eq!(server.stands().await, (1, vec![2]));
    // Corrected, followed by another one, and both of them withdrawn.
    let corrected = server.publishes("p-6", renamed(APRIL), true).await.expect("it is published");
    assert_eq!(corrected.replaced_versions, [2]);
    server.publishes("p-7", dearer("2026-05-01T00:00:00+07:00"), false).await.expect("it goes behind the other");
    assert_eq!(server.stands().await, (1, vec![3, 4]));
    let withdrawn = server.publishes("p-8", rule_book(), true).await.expect("it is published");
    assert_eq!((withdrawn.changed, withdrawn.replaced_versions.as_slice()), (true, [3, 4].as_slice()));
    assert_eq!(server.stands().await, (5, vec![]));
    let again = server.publishes("p-9", rule_book(), true).await.expect("it is answered");
    assert!(!again.changed && again.replaced_versions.is_empty());
    // The first answers again, and it stays so over the restart and over the times that were.
    assert_eq!(server.publishes("p-6", renamed(APRIL), true).await.expect("the first answer"), corrected);
    let server = server.restart().await;
    assert_eq!(server.publishes("p-8", rule_book(), true).await.expect("the first answer"), withdrawn);
    server.at("2026-05-02T00:00:00+07:00");
    assert_eq!(server.stands().await, (5, vec![]));
    assert_eq!(server.sells(&member, "o-1", None).await, (10, 5));
    assert_eq!(server.sells(&member, "o-2", Some("2026-04-20T00:00:00+07:00")).await, (10, 5));
    server.stop().await;
}

#[tokio::test]
async fn an_earlier_version_takes_the_place_of_a_later_one_and_a_start_leaves_what_waits() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.publishes("p-2", dearer("2026-06-01T00:00:00+07:00"), false).await.expect("it is published");
    // The service is started with the rule book that is in effect, or with another one: what waits goes on waiting.
    let server = server.restart().await;
    assert_eq!(server.stands().await, (1, vec![2]));
    let server = server.restart_with(v1::Program { display_name: "Of the start".into(), ..rule_book() }).await;
    assert_eq!(server.stands().await, (1, vec![2]));
    let answer = server.publishes("p-3", dearer(APRIL), true).await.expect("it is published");
    assert_eq!(answer.replaced_versions, [2]);
    server.at("2026-06-02T00:00:00+07:00");
    assert_eq!(server.stands().await, (3, vec![]));
    assert_eq!(server.sells(&member, "o-1", None).await, (5, 3));
    // It holds by now: to say since when is not needed any more.
    let answer = server.publishes("p-4", dearer(""), false).await.expect("it is answered");
    assert_eq!((answer.changed, answer.program.expect("a rule book").version), (false, 3));
    // What a start says to hold from a time on that is over holds now, as any rule book of a start does.
    let server = server.restart_with(dearer(APRIL)).await;
    assert_eq!(server.stands().await, (3, vec![]));
    server.publishes("p-5", rule_book(), false).await.expect("it is published");
    let server = server.restart_with(dearer(APRIL)).await;
    assert_eq!(server.stands().await, (5, vec![]));
    let server = server.restart_with(dearer("2026-07-01T00:00:00+07:00")).await;
    assert_eq!(server.stands().await, (5, vec![6]));
    server.stop().await;
}

#[tokio::test]
async fn an_instant_at_which_no_version_can_take_effect_is_refused() {
    let server = TestServer::start().await;
    let refuses = async |program: v1::Program| {
        let status = server.publishes("p-2", program, true).await.expect_err("it is refused");
        let fields = vec!["program.effective_time".into()];
        assert_eq!(refused(&status), Refused { code: Code::InvalidArgument, reason: "PROGRAM_INVALID".into(), fields }, "{status:?}");
    };
    let of = |effective_time| v1::Program { effective_time, ..dearer("") };
    let (now, day) = (server.clock_now(), 86_400);
    let instant = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    refuses(of(instant(now.seconds - 1, 999_999_000))).await;
    refuses(of(instant(now.seconds + 366 * day, 1_000))).await;
    for nanos in [-1, 1_000_000_000] {
        refuses(of(instant(now.seconds + day, nanos))).await;
    }
    for seconds in [i64::MIN, i64::MAX, 253_402_300_800] {
        refuses(of(instant(seconds, 0))).await;
    }
    // Nothing would judge before the first one.
    refuses(v1::Program { program_id: "other".into(), ..of(instant(now.seconds + day, 0)) }).await;
    // Sixteen can wait, up to the last instant that is allowed.
    for number in 1..=16 {
        let seconds = now.seconds + if number == 16 { 366 * day } else { number * day };
        let program = v1::Program { display_name: format!("Number {number}"), ..of(instant(seconds, 0)) };
        server.publishes(&format!("w-{number}"), program, false).await.expect("it waits");
    }
    let last = v1::Program { display_name: "Number 17".into(), ..of(instant(now.seconds + 366 * day, 0)) };
    server.publishes("w-17", last.clone(), true).await.expect("it takes the place of one");
    server.at("2026-03-10T18:00:00+07:00");
    let more = v1::Program { display_name: "Number 18".into(), ..of(instant(now.seconds + 366 * day + 1, 0)) };
    refuses(more.clone()).await;
    // Now is no wait at all.
    let at_once = v1::Program { effective_time: Some(server.clock_now()), ..more };
    assert_eq!(server.publishes("w-18", at_once, true).await.expect("it is published").replaced_versions.len(), 16);
    assert_eq!(server.stands().await, (19, vec![]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_says_when_it_takes_effect() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("vietnam.yaml");
    let address = server.address().to_string();
    let run = |words: &[&str]| {
        let output = loyaltyd().args(words).args(["--server", &address]).stdin(Stdio::null()).output().expect("the binary runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let write = |program: &v1::Program| std::fs::write(&file, text::to_yaml(program)).expect("a file is written");
    let path = file.to_str().expect("a path");
    write(&dearer(""));
    let dated = std::fs::read_to_string(&file).expect("a file") + &format!("effective_time: {APRIL}\n");
    std::fs::write(&file, dated).expect("a file is written");
    let (done, said) = run(&["program", "publish", path]);
    assert!(done && said.contains("vietnam: published version 2, in effect from 2026-03-31T17:00:00Z on"), "{said}");
    let (done, said) = run(&["program", "show"]);
    assert!(done && said.contains("version 1") && said.contains("version 2 waits: it takes effect at 2026-03-31T17:00:00Z"), "{said}");
    let (done, said) = run(&["program", "show", PROGRAM]);
    assert!(done && said.starts_with("# version 2 waits"), "{said}");
    assert_eq!(text::read(&said).expect("it is a rule book still").version, 1);
    write(&rule_book());
    let (done, said) = run(&["program", "publish", path, "--replace-waiting"]);
    assert!(done && said.contains("version 2, which waited, never takes effect"), "{said}");
    write(&dearer("2026-03-01T00:00:00Z"));
    let (done, said) = run(&["program", "publish", path]);
    assert!(!done && said.contains("effective_time is in the past"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn a_dry_run_judges_tiers_as_of_when_the_version_takes_effect() {
    // Points of April become active and count for tiers three days after the sale.
    let waits = v1::ActivationPolicy { policy: Some(v1::activation_policy::Policy::AfterDays(3)) };
    let shop = |silver: &str, from: &str| {
        let mut program =
            v1::Program { activation: Some(waits), effective_time: if from.is_empty() { None } else { time(from) }, ..rule_book() };
        program.tiers[1].threshold = Some(v1::TierThreshold { qualifying_points: silver.into(), ..Default::default() });
        program.tier_policy = Some(v1::TierPolicy { on_change: v1::tier_policy::OnChange::AtOnce.into(), ..Default::default() });
        program
    };
    let server = TestServer::start().await;
    let server = server.restart_with(shop("500", "")).await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "6000000")).await.expect("600 points wait");
    let moves = async |from: &str| {
        let request = v1::PublishProgramRequest { program: Some(shop("700", from)), validate_only: true, ..Default::default() };
        let answer = server.programs().publish_program(request).await.expect("it could be published").into_inner();
        answer.tier_moves.into_iter().map(|moved| (moved.from_tier_id, moved.to_tier_id, moved.members)).collect::<Vec<_>>()
    };
    assert_eq!(moves("").await, []);
    assert_eq!(moves("2026-03-13T00:00:00+07:00").await, [("silver".to_owned(), "member".to_owned(), 1)]);
    assert_eq!(server.member(&member).await.tier.expect("a tier").tier_id, "member", "nothing has happened");
    server.stop().await;
}

fn gold(mut program: v1::Program, points: &str, from: &str) -> v1::Program {
    program.tiers[1].threshold = Some(v1::TierThreshold { qualifying_points: points.into(), ..Default::default() });
    program.tier_policy.get_or_insert_default().on_change = v1::tier_policy::OnChange::AtOnce.into();
    v1::Program { effective_time: time(from), ..program }
}

fn tiers(entries: &[Entry]) -> Vec<(String, TierCause, u32, String)> {
    let changed = |entry: &Entry| match &entry.kind {
        EntryKind::TierChanged(change) => {
            Some((change.to.to_string(), change.cause, entry.program_version, entry.occurred_time.to_string()))
        }
        _ => None,
    };
    entries.iter().filter_map(changed).collect()
}

async fn walks(ledger: &Ledger, walk: &mut BirthdayWalk) {
    while ledger.advance_due().await.expect("what is due is entered").members > 0 {}
    while ledger.plan_birthdays(walk).await.expect("all are looked at") {}
}

#[tokio::test]
async fn other_thresholds_move_members_at_the_instant_by_the_schedule_and_once() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", "")).await;
    let (rises, stays) = (party.enroll("").await, party.enroll("").await);
    for (member, order, dollars) in [(&rises, "o-1", 600), (&stays, "o-2", 100)] {
        party.buys(member, order, dollars).await;
    }
    party.publish(gold(book("UTC", ""), "500", "2026-04-01T00:00:00Z")).await;
    let mut walk = BirthdayWalk::default();
    party.at("2026-03-31T23:59:59Z");
    walks(&party.ledger, &mut walk).await;
    assert_eq!((party.entries(&rises).len(), party.entries(&stays).len()), (2, 2));
    party.at("2026-04-01T08:00:00Z");
    // Whoever looks before the schedule comes sees it.
    let risen = vec![("gold".to_owned(), TierCause::RuleBook, 2, "2026-04-01T00:00:00Z".to_owned())];
    assert_eq!(tiers(&party.entries(&rises)), risen);
    assert_eq!(party.ledger.recorded(&rises, 1, 9).expect("entries").len(), 2, "it is not written yet");
    for _ in 0..2 {
        walks(&party.ledger, &mut walk).await;
        assert_eq!(tiers(&party.ledger.recorded(&rises, 1, 9).expect("entries")), risen);
        assert_eq!(party.ledger.recorded(&stays, 1, 9).expect("entries").len(), 3, "it was reviewed, and keeps its tier");
    }
    let before = at("2026-03-31T12:00:00Z");
    let then = party.ledger.member_as_of(&rises, before).expect("it was there");
    assert_eq!(then.header.tier.current(), None);
    let party = party.starts_again("2026-04-02T08:00:00Z");
    walks(&party.ledger, &mut BirthdayWalk::default()).await;
    assert_eq!(tiers(&party.ledger.recorded(&rises, 1, 9).expect("entries")), risen);
    party.end().await;
}

/// What became due before the instant is judged by what held then, though nobody was there to write it.
#[tokio::test]
async fn after_a_stop_over_the_instant_all_is_as_it_would_have_been_on_time() {
    let pending = "activation: { afterDays: 3 }\n";
    let mut party = Party::open("2026-03-10T12:00:00Z", gold(book("UTC", pending), "100", "2026-03-10T12:00:00Z")).await;
    let member = party.enroll("").await;
    party.buys(&member, "o-1", 150).await;
    let strict = |points: &str, from: &str| gold(book("UTC", pending), points, from);
    party.publish(strict("200", "2026-03-15T00:00:00Z")).await;
    party.publish(strict("120", "2026-03-20T00:00:00Z")).await;
    // Down from before the points become active until after both.
    let party = party.starts_again("2026-03-25T12:00:00Z");
    let story = [
        ("gold", TierCause::Upgrade, 1, "2026-03-13T00:00:00Z"),
        ("silver", TierCause::RuleBook, 2, "2026-03-15T00:00:00Z"),
        ("gold", TierCause::RuleBook, 3, "2026-03-20T00:00:00Z"),
    ]
    .map(|(tier, cause, version, time)| (tier.to_owned(), cause, version, time.to_owned()));
    assert_eq!(tiers(&party.entries(&member)), story);
    let read = party.entries(&member);
    party.advance().await;
    let written = party.ledger.recorded(&member, 1, 99).expect("entries");
    assert_eq!(without_record_time(&written), without_record_time(&read));
    party.end().await;
}

/// The same where the other version held as soon as it was published.
#[tokio::test]
async fn a_version_that_holds_at_once_does_not_judge_what_was_due_before_it() {
    let pending = "activation: { afterDays: 3 }\n";
    let golden = |points: &str| {
        let mut program = v1::Program { effective_time: None, ..gold(book("UTC", pending), points, "2026-03-10T12:00:00Z") };
        program.tier_policy.get_or_insert_default().on_change = v1::tier_policy::OnChange::AtReview.into();
        program
    };
    let risen = vec![("gold".to_owned(), TierCause::Upgrade, 1, "2026-03-13T00:00:00Z".to_owned())];
    for (first, second, expected) in [("100", "1000", risen), ("1000", "100", Vec::new())] {
        for is_late in [false, true] {
            let mut party = Party::open("2026-03-10T12:00:00Z", golden(first)).await;
            let member = party.enroll("").await;
            party.buys(&member, "o-1", 150).await;
            party.at("2026-03-14T12:00:00Z");
            if !is_late {
                party.advance().await;
            }
            party.publish(golden(second)).await;
            party.at("2026-03-15T12:00:00Z");
            party.advance().await;
            assert_eq!(tiers(&party.ledger.recorded(&member, 1, 9).expect("entries")), expected, "{first} {second} {is_late}");
            party.end().await;
        }
    }
}

#[tokio::test]
async fn birthdays_begin_at_the_instant_and_those_of_before_are_not_given() {
    for (stopped, late) in [(false, false), (true, false), (true, true)] {
        let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", "")).await;
        let members = [party.enroll("03-31").await, party.enroll("04-01").await, party.enroll("04-05").await];
        let none = party.enroll("").await;
        let birthday = on_the_day(if late { ", lateDate: LATE_DATE_AT_ONCE" } else { "" });
        party.publish(v1::Program { effective_time: time("2026-04-01T12:00:00Z"), ..book("UTC", &birthday) }).await;
        let mut walk = BirthdayWalk::default();
        party.at("2026-04-01T11:59:59Z");
        walks(&party.ledger, &mut walk).await;
        assert!(members.iter().all(|member| party.entries(member).len() == 1), "nothing is planned yet");
        let party = if stopped {
            party.starts_again("2026-04-09T12:00:00Z")
        } else {
            party.at("2026-04-01T12:00:00Z");
            walks(&party.ledger, &mut walk).await;
            party.at("2026-04-09T12:00:00Z");
            party
        };
        if stopped {
            // Who looks at a member before anybody has walked along sees it.
            let points = party.ledger.member(&members[2]).expect("it is there").header.balance.available;
            assert_eq!(points, Points(100));
        }
        walks(&party.ledger, &mut BirthdayWalk::default()).await;
        let planned = |member: &MemberKey| party.entries(member)[1].clone();
        assert!(members.iter().all(|member| planned(member).occurred_time == at("2026-04-01T12:00:00Z")));
        assert!(members.iter().all(|member| planned(member).program_version == 2));
        assert_eq!(party.entries(&none).len(), 1);
        let on_the_instant = if late { given(&[(2026, "2026-04-01T12:00:00Z")]) } else { given(&[]) };
        let expected = [given(&[]), on_the_instant, given(&[(2026, "2026-04-05T00:00:00Z")])];
        assert_eq!(members.each_ref().map(|member| party.grants(member)), expected);
        party.end().await;
    }
}

/// One policy holds for a week in which the service is down: who celebrates in that week is given what it says.
#[tokio::test]
async fn what_holds_only_while_the_service_is_down_is_given_all_the_same() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let (within, behind) = (party.enroll("04-03").await, party.enroll("04-12").await);
    let week = "birthday: { window: WINDOW_DAY, rewards: [{ points: { points: \"250\" } }] }";
    party.publish(v1::Program { effective_time: time("2026-04-01T00:00:00Z"), ..book("UTC", week) }).await;
    let month = format!("birthday: {{ window: WINDOW_MONTH, {POINTS} }}");
    party.publish(v1::Program { effective_time: time("2026-04-08T00:00:00Z"), ..book("UTC", &month) }).await;
    let party = party.starts_again("2026-04-20T00:00:00Z");
    for _ in 0..2 {
        assert_eq!(party.grants(&within), given(&[(2026, "2026-04-03T00:00:00Z")]));
        assert_eq!(party.ledger.member(&within).expect("it is there").header.balance.available, Points(250));
        // Its month had begun before the rules that celebrate months did.
        assert_eq!(party.grants(&behind), given(&[]));
        party.advance().await;
    }
    party.end().await;
}

/// Nobody has walked along, and the next version is there already, which celebrates otherwise or not at all: what GetMember has said stays so.
#[tokio::test]
async fn what_a_version_gave_stays_given_though_nobody_looked_while_it_was_in_effect() {
    let month = format!("birthday: {{ window: WINDOW_MONTH, {POINTS} }}");
    for (waits, terms) in [(true, ""), (true, month.as_str()), (false, ""), (false, month.as_str())] {
        let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", "")).await;
        let member = party.enroll("04-05").await;
        party.publish(v1::Program { effective_time: time("2026-04-01T00:00:00Z"), ..book("UTC", &on_the_day("")) }).await;
        let next = v1::Program { display_name: "The next one".into(), ..book("UTC", terms) };
        if waits {
            party.publish(v1::Program { effective_time: time("2026-04-10T00:00:00Z"), ..next.clone() }).await;
        }
        let given = given(&[(2026, "2026-04-05T00:00:00Z")]);
        let shown = |party: &Party| party.ledger.member(&member).expect("it is there").header.balance.available;
        party.at("2026-04-06T12:00:00Z");
        assert_eq!(shown(&party), Points(100));
        party.at("2026-04-10T00:00:00Z");
        if !waits {
            party.publish(next).await;
        }
        assert_eq!(shown(&party), Points(100), "{waits} {terms}");
        walks(&party.ledger, &mut BirthdayWalk::default()).await;
        assert_eq!((shown(&party), party.grants(&member)), (Points(100), given), "{waits} {terms}");
        party.end().await;
    }
}

#[tokio::test]
async fn what_has_taken_effect_stays_so_when_the_clock_is_set_back_a_little() {
    let server = TestServer::start().await;
    server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
    server.at(APRIL);
    assert_eq!(server.stands().await, (2, vec![]));
    for back in ["2026-03-31T23:59:50+07:00", "2026-03-31T23:59:20+07:00"] {
        server.at(back);
        assert_eq!(server.stands().await, (2, vec![]));
    }
    // What is published now comes after it, though the clock says that it still waits.
    let answer = server.publishes("p-3", rule_book(), true).await.expect("it is published");
    assert!(answer.replaced_versions.is_empty(), "it was in effect");
    assert_eq!(answer.program.expect("a rule book").publish_time, time(APRIL));
    server.stop().await;
}

#[tokio::test]
async fn a_version_that_was_in_effect_is_not_replaced_when_the_clock_is_set_back_far() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let tiered = |points: &str, from: Option<&str>| {
        let threshold = Some(v1::TierThreshold { qualifying_points: points.into(), ..Default::default() });
        let mut program = v1::Program { effective_time: from.and_then(time), ..rule_book() };
        program.tiers.push(v1::Tier { tier_id: "top".into(), threshold, ..Default::default() });
        program
    };
    server.publishes("p-2", tiered("8000", Some(APRIL)), false).await.expect("it is published");
    server.at("2026-04-02T00:00:00+07:00");
    assert_eq!(server.sells(&member, "o-1", None).await, (10, 2));
    server.at("2026-03-20T00:00:00+07:00");
    assert_eq!(server.stands().await, (1, vec![2]));
    // Members may hold its tiers: they cannot be taken away.
    let refused = server.publishes("p-3", rule_book(), true).await.expect_err("it lacks a tier");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let answer = server.publishes("p-4", tiered("9000", None), true).await.expect("it is published");
    assert!(answer.replaced_versions.is_empty(), "it was in effect");
    assert_eq!(server.stands().await, (3, vec![]));
    // Nor is anything due ahead of its time, though the version before is over only in April.
    let policy = v1::expiry_policy::Policy::After(v1::expiry_policy::After { days: 5, ..Default::default() });
    let gift = v1::AdjustPointsRequest {
        request_id: "a-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        points: 50,
        reason: "until the 25th of March".into(),
        actor: Some(v1::Actor { actor_id: "anna".into() }),
        expiry: Some(v1::ExpiryPolicy { policy: Some(policy) }),
        ..Default::default()
    };
    server.points().adjust_points(gift).await.expect("it is recorded");
    let bought = server.sells(&member, "o-2", None).await;
    let get = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let found = server.members().get_member(get).await.expect("the member is there").into_inner().member.expect("a member");
    assert_eq!(found.balance.expect("a balance").available, 10 + 50 + bought.0);
    server.stop().await;
}

/// Members were judged by it, and may hold its tiers, whatever a start with a clock of before takes the time for.
#[tokio::test]
async fn a_version_that_was_in_effect_is_not_replaced_after_a_start_with_a_clock_of_before() {
    for without_tables in [false, true] {
        let server = TestServer::start().await;
        let member = server.enroll("c-1").await;
        let mut tiered = dearer(APRIL);
        tiered.tiers.push(v1::Tier {
            tier_id: "top".into(),
            threshold: Some(v1::TierThreshold { qualifying_points: "8000".into(), ..Default::default() }),
            ..Default::default()
        });
        server.publishes("p-2", tiered.clone(), false).await.expect("it is published");
        server.at("2026-04-02T00:00:00+07:00");
        assert_eq!(server.sells(&member, "o-1", None).await, (5, 2));
        // The clock is set back while it runs, and something is sold then: the latest commit is not the one with the latest time.
        server.at("2026-03-20T00:00:00+07:00");
        assert_eq!(server.sells(&member, "o-2", None).await, (10, 1));
        let (data, (folder, clock)) = (server.data(), server.end().await);
        if without_tables {
            std::fs::remove_dir_all(data.join("tables")).expect("the tables can be removed");
        }
        let server = TestServer::start_in(folder, clock, vec![tiered.clone()]).await;
        assert_eq!(server.stands().await, (1, vec![2]));
        let refused = server.publishes("p-3", rule_book(), true).await.expect_err("it lacks a tier");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let next = v1::Program { display_name: "The next one".into(), effective_time: None, ..tiered };
        let answer = server.publishes("p-4", next, true).await.expect("it is published");
        assert!(answer.replaced_versions.is_empty(), "it was in effect");
        assert_eq!(answer.program.expect("a rule book").publish_time, time(APRIL));
        server.stop().await;
    }
}

#[tokio::test]
async fn what_was_sold_by_a_version_stays_before_what_is_sold_after_a_start_with_a_clock_that_is_a_little_behind() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
    server.at(APRIL);
    assert_eq!(server.sells(&member, "o-1", None).await, (5, 2));
    server.at("2026-03-31T23:59:20+07:00");
    let server = server.restart_with(dearer(APRIL)).await;
    assert_eq!(server.stands().await, (2, vec![]));
    assert_eq!((server.quotes(&member).await, server.sells(&member, "o-2", None).await), ((5, 2), (5, 2)));
    server.stop().await;
}

/// Nobody has been judged by it then: what one look at a wrong clock says is not kept.
#[tokio::test]
async fn a_look_by_a_clock_that_was_far_ahead_puts_nothing_off() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
    server.at("2031-01-01T00:00:00+07:00");
    assert_eq!((server.stands().await, server.quotes(&member).await), ((2, vec![]), (5, 2)));
    server.at("2026-03-11T00:00:00+07:00");
    assert_eq!(server.stands().await, (1, vec![2]));
    let answer =
        server.publishes("p-3", v1::Program { display_name: "From now on".into(), ..dearer("") }, true).await.expect("it is published");
    assert_eq!(answer.replaced_versions, [2]);
    assert_eq!(answer.program.expect("a rule book").publish_time, Some(server.clock_now()));
    assert_eq!((server.quotes(&member).await, server.sells(&member, "o-1", None).await), ((5, 3), (5, 3)));
    server.stop().await;
}

/// What is read and what is recorded goes by one clock.
#[tokio::test]
async fn a_till_is_quoted_what_it_is_then_given_though_the_clock_is_set_back_a_little() {
    for sells_first in [true, false] {
        let server = TestServer::start().await;
        let member = server.enroll("c-1").await;
        server.publishes("p-2", dearer(APRIL), false).await.expect("it is published");
        server.at(APRIL);
        let seen = if sells_first { server.sells(&member, "o-1", None).await } else { server.quotes(&member).await };
        assert_eq!(seen, (5, 2));
        server.at("2026-03-31T23:59:30+07:00");
        assert_eq!((server.quotes(&member).await, server.sells(&member, "o-2", None).await), ((5, 2), (5, 2)));
        server.stop().await;
    }
}

/// What `program validate` accepts, a start takes.
#[tokio::test]
async fn a_start_publishes_a_first_version_at_once_whatever_it_says() {
    let other = |from: &str| v1::Program { program_id: "other".into(), ..dearer(from) };
    let mut server = TestServer::start().await;
    let get = || v1::GetProgramRequest { program_id: "other".into(), version: 0 };
    for _ in 0..2 {
        server = server.restart_with(other(APRIL)).await;
        let got = server.programs().get_program(get()).await.expect("it is there").into_inner();
        let program = got.program.expect("a rule book");
        assert_eq!((program.version, program.effective_time, got.waiting_versions.len()), (1, None, 0));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_date_that_is_told_when_birthdays_are_over_is_given_nothing_of_before() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let member = party.enroll("").await;
    party.publish(v1::Program { effective_time: time("2026-03-20T00:00:00Z"), ..book("UTC", "") }).await;
    party.at("2026-03-25T12:00:00Z");
    party.says(&member, "03-15").await.expect("it is noted");
    let new = party.enroll("03-15").await;
    for _ in 0..2 {
        for member in [&member, &new] {
            assert_eq!(party.ledger.member(member).expect("it is there").header.balance.available, Points(0));
            assert_eq!(party.grants(member), given(&[]));
        }
        walks(&party.ledger, &mut BirthdayWalk::default()).await;
    }
    party.end().await;
}

#[tokio::test]
async fn a_copy_of_before_a_withdrawal_waits_still() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", "")).await;
    let member = party.enroll("").await;
    party.publish(gold(book("UTC", ""), "50", "2026-04-01T00:00:00Z")).await;
    party.buys(&member, "o-1", 60).await;
    let copy = tempfile::tempdir().expect("a folder");
    party.at("2026-03-11T12:00:00Z");
    let request = party.request();
    party.ledger.publish_next(request, book("UTC", ""), true).await.expect("it is withdrawn");
    let backup = copy.path().join("backup");
    let mut taken = Backup::open(&backup, None, true).expect("a backup begins");
    let mut source = party.ledger.backup(taken.held().clone()).expect("a backup begins");
    while let Some(part) = source.next().expect("it is read") {
        taken.store(part).expect("it is stored");
    }
    let place = BackupPlace { folder: &backup, keys: None, operator_key: None };
    for (name, until, tier) in [("before", Until::Time(at("2026-03-11T00:00:00Z")), Some("gold")), ("after", Until::End, None)] {
        let folder = copy.path().join(name);
        restore(&place, &folder, until).expect("it is restored");
        let report = check(&folder, &options()).expect("it can be checked");
        assert!(report.is_sound(), "{report:#?}");
        let clock = Arc::new(ManualClock::new(at("2026-04-02T00:00:00Z")));
        let store = EmbeddedStore::open(&folder, options()).expect("it opens");
        let ledger = Ledger::open(Arc::new(store), clock).expect("it opens");
        let header = ledger.member(&member).expect("it is there").header;
        assert_eq!(header.tier.current().map(|held| held.tier.as_str()), tier, "{name}");
        ledger.close().expect("it closes");
    }
    party.end().await;
}

/// Without when they were recorded, and what is next as of then.
fn without_record_time(entries: &[Entry]) -> Vec<Entry> {
    let undated = |entry: &Entry| {
        let mut entry = Entry { record_time: entry.occurred_time, ..entry.clone() };
        match &mut entry.kind {
            EntryKind::PointsExpired(expired) => expired.next_expiry_time = None,
            EntryKind::PointsActivated(activated) => activated.next_activation_time = None,
            _ => {}
        }
        entry
    };
    entries.iter().map(undated).collect()
}

/// The ledger in few words.
fn told(entries: &[Entry]) -> Vec<String> {
    let kind = |entry: &Entry| format!("{:?}", entry.kind).split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    entries.iter().map(|entry| format!("{} {} by version {}", entry.occurred_time, kind(entry), entry.program_version)).collect()
}

/// What tiers, birthdays, goals, expiry and activation are in one version of a rule book.
const TERMS: [&str; 8] = [
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 100 } }]\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 40 }, entry_reward: { points: 5 } }]
tier_policy: { on_change: ON_CHANGE_AT_ONCE }
birthday: { window: WINDOW_DAY, rewards: [{ points: { points: 7, expiry: { after: { days: 3 } } } }] }\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 200 }, multiplier: 2 }]
tier_policy: { on_change: ON_CHANGE_AT_ONCE }
activation: { after_days: 4 }
expiry: { after: { days: 9 } }
birthday: { window: WINDOW_MONTH, late_date: LATE_DATE_AT_ONCE, rewards: [{ points: { points: 9 } }] }\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { visits: 2 } }]
tier_policy: { on_change: ON_CHANGE_AT_ONCE, window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD }
activation: { after_days: 6 }
birthday: { window: WINDOW_AROUND, days_before: 3, days_after: 2, rewards: [{ multiplier: 2 }] }\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 60 } }]
activation: { after_days: 2 }
expiry: { after: { days: 5 } }\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 80 } }]
expiry: { inactivity: { months: 1, activities: [COUNTED_ACTIVITY_PURCHASE] } }
birthday: { window: WINDOW_DAY, late_date: LATE_DATE_AT_ONCE, rewards: [{ tier_id: silver, points: { points: 11 } }] }\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 50 }, expiry: { after: { days: 7 } } }]
tier_policy: { window: WINDOW_ROLLING_MONTHS, rolling_months: 1, validity: VALIDITY_MONTHS, validity_months: 1 }
activation: { after_days: 3 }
expiry: { after: { days: 30 } }
voucher_kinds: [{ voucher_kind_id: coffee, benefit: { custom: { key: coffee } }, valid_days: 9 }]
goals: [{ goal_id: card, points: 40, voucher_kind_id: coffee, delay_days: 4 }]\n",
    "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 120 } }]
consumption_order: CONSUMPTION_ORDER_OLDEST_FIRST
expiry: { after: { days: 12 } }
voucher_kinds: [{ voucher_kind_id: coffee, benefit: { custom: { key: coffee } }, valid_days: 40 }]
goals: [{ goal_id: card, points: 25, voucher_kind_id: coffee, delay_days: 2, maximum_at_once: 2 }]\n",
];

fn version(number: u32, terms: &str, effective_time: Option<Timestamp>) -> Arc<Program> {
    let rules = "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\npurchase_time: { max_age_days: 20 }\n";
    let publish_time = at("2026-03-10T15:00:00Z");
    Arc::new(Program { version: number, publish_time, effective_time, ..rule_book_with(&format!("{rules}{terms}")) })
}

fn celebrates(programs: ProgramHistory, day: i8) -> Shop {
    let now = at("2026-03-10T15:00:00Z");
    let key = MemberKey { program: programs.newest().id.clone(), member: MemberId([7; 16]) };
    let profile = Profile { birth_date: Some(BirthDate { year: None, month: 4, day }), ..Profile::default() };
    let mut shop = Shop { programs, member: Member::bare(key, Header::new(now)), now, entries: Vec::new() };
    shop.does(&Command::Enroll { person: Person { profile, identifiers: Vec::new() } }).expect("anyone can enrol");
    shop
}

/// Time passes, and what is due is entered, by what is in effect then.
fn passes(shop: &mut Shop, now: Timestamp) {
    (shop.now, shop.programs) = (now, shop.programs.in_effect_at(now));
    let decision = advance(&shop.programs, now, shop.member.clone()).expect("time passes");
    assert!(!decision.still_due);
    shop.member = decision.member;
    shop.entries.extend(decision.entries);
}

/// One that made room at the instant at which it was published was in effect then, though it judges nothing of before.
#[test]
fn versions_that_are_published_at_one_instant_plan_birthdays_as_of_it() {
    let on_the_day = |points: u32| {
        let birthday = format!("birthday: {{ window: WINDOW_DAY, rewards: [{{ points: {{ points: {points} }} }}] }}\n");
        format!("{birthday}activation: {{ after_days: 6 }}\n")
    };
    let published = |number: u32, points: u32| {
        Arc::new(Program { publish_time: at("2026-03-20T15:00:00Z"), ..(*version(number, &on_the_day(points), None)).clone() })
    };
    let [on_time, late] = [true, false].map(|is_on_time| {
        let mut shop = celebrates(ProgramHistory::new(version(1, &on_the_day(1), None)), 1);
        shop.buys(basket(vec![line("150")]));
        for next in [published(2, 2), published(3, 3)] {
            shop.programs = shop.programs.with(next);
            if is_on_time {
                passes(&mut shop, at("2026-03-20T15:00:00Z"));
            }
        }
        passes(&mut shop, at("2026-04-25T15:00:00Z"));
        shop
    });
    let expected = [
        "2026-03-10T15:00:00Z MemberEnrolled by version 1",
        "2026-03-10T15:00:00Z BirthdayChanged by version 1",
        "2026-03-10T15:00:00Z PurchaseAccrued by version 1",
        "2026-03-16T04:00:00Z PointsActivated by version 1",
        "2026-03-20T15:00:00Z BirthdayChanged by version 2",
        "2026-03-20T15:00:00Z BirthdayChanged by version 3",
        "2026-04-01T04:00:00Z BirthdayChanged by version 3",
    ];
    assert_eq!(told(&late.entries), expected);
    assert_eq!(without_record_time(&on_time.entries), without_record_time(&late.entries));
}

/// The version that was published last took the whole time of the one before it, which was to come later by the clock of then.
#[test]
fn what_is_due_is_judged_by_the_version_of_its_instant_though_the_clock_was_set_back_between_versions() {
    let terms = |points: u32| {
        let tiers = format!("tiers: [{{ tier_id: base }}, {{ tier_id: silver, threshold: {{ qualifying_points: {points} }} }}]\n");
        format!("{tiers}activation: {{ after_days: 6 }}\n")
    };
    let published = |number: u32, points: u32, publish_time: &str| {
        Arc::new(Program { publish_time: at(publish_time), ..(*version(number, &terms(points), None)).clone() })
    };
    let mut shop = celebrates(ProgramHistory::new(version(1, &terms(1000), None)), 1);
    shop.buys(basket(vec![line("150")]));
    shop.programs = shop.programs.with(published(2, 1000, "2026-03-20T15:00:00Z")).with(published(3, 100, "2026-03-14T15:00:00Z"));
    passes(&mut shop, at("2026-03-25T15:00:00Z"));
    let risen = ("silver".to_owned(), TierCause::Upgrade, 3, "2026-03-16T04:00:00Z".to_owned());
    assert_eq!(tiers(&shop.entries), [risen]);
}

/// The version that brought the tiers was published by a clock that was ahead, and the next one took its whole time.
#[test]
fn a_tier_by_hand_ends_in_the_time_of_a_version_without_tiers_after_the_clock_was_set_back_behind_the_one_that_brought_them() {
    let terms = "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { qualifying_points: 100 } }]\n";
    let published =
        |number: u32, publish_time: &str| Arc::new(Program { publish_time: at(publish_time), ..(*version(number, terms, None)).clone() });
    let mut shop = celebrates(ProgramHistory::new(version(1, "", None)).with(published(2, "2026-06-01T15:00:00Z")), 1);
    let tier = TierId::new("silver").expect("an id");
    let last_date = Some(jiff::civil::date(2026, 3, 20));
    shop.does(&Command::SetTier { tier, reason: "a guest".into(), last_date }).expect("it is set");
    assert_eq!(shop.tier(), "silver");
    shop.programs = shop.programs.with(published(3, "2026-04-20T15:00:00Z"));
    passes(&mut shop, at("2026-04-25T15:00:00Z"));
    let fallen = ("base".to_owned(), TierCause::Review, 3, "2026-03-21T04:00:00Z".to_owned());
    assert_eq!(tiers(&shop.entries).last(), Some(&fallen));
    assert_eq!(shop.tier(), "base");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// It does not matter whether the schedule was there when a version took effect, or came long after, or not at all.
    #[test]
    fn when_a_version_that_takes_effect_is_noticed_changes_nothing(
        terms in [select(&TERMS), select(&TERMS), select(&TERMS)],
        effective in (1i64..500, 1i64..500),
        day in 1i8..=30,
        steps in vec((1i64..300, 0i64..90, prop_oneof![3 => Just(0i64), 1 => 1i64..4]), 1..8),
        (published, last) in (0usize..12, select(&TERMS)),
    ) {
        let start = at("2026-03-10T15:00:00Z");
        let later = |hours: i64| start + SignedDuration::from_hours(hours);
        let all = ProgramHistory::new(version(1, terms[0], None))
            .with(version(2, terms[1], Some(later(effective.0))))
            .with(version(3, terms[2], Some(later(effective.0 + effective.1))));
        let (mut on_time, mut late) = (celebrates(all.clone(), day), celebrates(all, day));
        for (place, (hours, dollars, before)) in steps.into_iter().enumerate() {
            let now = late.now + SignedDuration::from_hours(hours);
            while on_time.now < now {
                let next = (on_time.now + SignedDuration::from_hours(3)).min(now);
                passes(&mut on_time, next);
            }
            // One that holds at once ends the time of the one before it, and nobody has looked since.
            if place == published {
                let publish_time = now + SignedDuration::from_secs(1);
                let next = Program { publish_time, ..(*version(4, last, None)).clone() };
                for shop in [&mut on_time, &mut late] {
                    shop.now = publish_time;
                    shop.programs = shop.programs.in_effect_at(publish_time).with(Arc::new(next.clone()));
                }
            }
            let now = on_time.now;
            for shop in [&mut on_time, &mut late] {
                (shop.now, shop.programs) = (now, shop.programs.in_effect_at(now));
                let occurred_time = Some(now - SignedDuration::from_hours(24 * before));
                shop.buys(Purchase { occurred_time, ..basket(vec![line(&dollars.to_string())]) });
            }
        }
        let end = late.now + SignedDuration::from_hours(24 * 100);
        while on_time.now < end {
            let next = (on_time.now + SignedDuration::from_hours(3)).min(end);
            passes(&mut on_time, next);
        }
        passes(&mut late, end);
        let (on_time_entries, late_entries) = (without_record_time(&on_time.entries), without_record_time(&late.entries));
        for (one, other) in on_time_entries.iter().zip(&late_entries) {
            prop_assert_eq!(one, other, "\n{:#?}\n{:#?}", told(&on_time_entries), told(&late_entries));
        }
        prop_assert_eq!(on_time_entries.len(), late_entries.len());
        let tidied = |shop: &Shop| Header { update_time: shop.now, ..shop.member.header.clone() };
        prop_assert_eq!(tidied(&on_time), tidied(&late));
        prop_assert_eq!(&on_time.member.lots, &late.member.lots);
        let mut folded = Member::bare(late.member.key.clone(), Header::new(late.entries[0].record_time));
        for entry in &late.entries {
            apply(&mut folded, entry).expect("the ledger folds");
        }
        prop_assert_eq!(folded.header, late.member.header);
    }
}

/// Five years of a retailer who publishes every day cost a member of whom something is due no more than a day of it.
#[test]
fn only_versions_that_have_to_do_with_a_member_have_a_turn_however_many_there_were() {
    let start = at("2026-03-10T15:00:00Z");
    let day = |number: u32| start.checked_add(SignedDuration::from_hours(24 * i64::from(number))).unwrap();
    let books = [TERMS[0], TERMS[1]].map(|terms| version(1, terms, None));
    let published =
        |number: u32| Arc::new(Program { version: number, publish_time: day(number), ..(*books[usize::from(number >= 700)]).clone() });
    let first = ProgramHistory::new(published(1));
    let programs = (2..=1_000).fold(first, |programs, number| programs.with(published(number)));
    let now = day(1_001);
    let turns = |mut asked: EarlierTurn, dues: &[u32]| {
        let (mut from, mut turns, mut dues) = (0, Vec::new(), dues.iter());
        asked.due = dues.next().map(|due| day(*due));
        while let Some((place, programs, until)) = programs.next_turn(from, now, asked) {
            assert!(until < now);
            turns.push(programs.newest().version);
            // What was due by then is entered, and the member is looked at.
            asked.looked_at = asked.looked_at.map(|_| programs.walk_version());
            asked.planned = asked.planned.map(|(planned, since)| (planned.max(programs.birthday_version()), since));
            if asked.due.is_some_and(|due| due <= until) {
                asked.due = dues.next().map(|due| day(*due));
            }
            from = place + 1;
        }
        turns
    };
    let nothing = EarlierTurn::default();
    assert!(turns(nothing, &[]).is_empty());
    // Of the time of the newest itself it is not.
    assert!(turns(nothing, &[1_000]).is_empty());
    assert_eq!(turns(nothing, &[999]), [999]);
    assert_eq!(turns(nothing, &[3, 400, 999]), [3, 400, 999]);
    // Others than before are the rules from version 700 on.
    let (before, after) = (published(1), programs.newest());
    assert!(before.birthday != after.birthday && programs.birthday_version() == 700);
    let known = |since: u32| EarlierTurn { planned: Some((0, day(since))), ..nothing };
    assert_eq!(turns(known(1), &[]), [700]);
    // A date that is told later is planned by what holds then.
    assert_eq!(turns(known(800), &[]), [800]);
    assert!(turns(known(1_001), &[]).is_empty());
    assert_eq!(turns(EarlierTurn { looked_at: Some(0), ..nothing }, &[10, 998]), [10, 700, 998]);
}
