//! Metrics of a service that is not idle: while the writer is held what waits is known, and after known work each number is the one that is known.

use std::{path::Path, sync::Arc, time::Instant};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{app, config::Config, contract::v1, ledger::Clock};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    metrics::{port, start, wait_for, watched},
    redemption::{redeem, spending},
    support::{self, PROGRAM, TestServer, adjustment, by_id, enrolment, held::Held, noon, sale, scrape::scrape},
};

const COMMITS: &str = "loyaltyd_commit_commands_count";
const TAKEN: &str = "loyaltyd_queue_wait_seconds_count";
const SINGLE: &str = "loyaltyd_queue_commands{queue=\"single\"}";
const BULK: &str = "loyaltyd_queue_commands{queue=\"bulk\"}";

/// The writer has one command in hand and is held; 20 more and a batch of 30 come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_in_the_queue_and_goes_into_one_commit() {
    let folder = TempDir::new().expect("a temporary folder");
    let clock = Held::new();
    let mut server = app::start(watched(folder.path(), vec![spending()]), Arc::clone(&clock) as Arc<dyn Clock>).await.expect("it starts");
    server.ready().await.expect("it reads its ledger");
    let address = server.metrics_address.expect("metrics are served");
    let channel = support::connect(&server).await;
    let mut members = v1::member_service_client::MemberServiceClient::new(channel.clone());
    let member = members.enroll_member(enrolment("c-1")).await.expect("it enrols").into_inner().member.expect("a member").member_id;
    let till = v1::purchase_service_client::PurchaseServiceClient::new(channel.clone());
    // A place in the queue is given back behind the answer.
    let idle = wait_for(address, |seen| seen.value(SINGLE) == 0.0 && seen.value(BULK) == 0.0).await;
    let mut calls = JoinSet::new();
    let mut send = |order: String| {
        let (mut till, request) = (till.clone(), sale(&member, &order, "100000"));
        calls.spawn(async move { till.record_purchase(request).await.map(drop) });
    };

    let hold = clock.hold();
    send("o-0".into());
    wait_for(address, |seen| seen.value(TAKEN) == idle.value(TAKEN) + 1.0).await;
    (1..=20).for_each(|order| send(format!("o-{order}")));
    let (mut batches, purchases) = (till.clone(), (0..30).map(|order| sale(&member, &format!("b-{order}"), "100000")).collect());
    calls.spawn(async move { batches.batch_record_purchases(v1::BatchRecordPurchasesRequest { purchases }).await.map(drop) });
    let full = wait_for(address, |seen| seen.value(SINGLE) == 21.0 && seen.value(BULK) == 30.0).await;
    assert_eq!(full.value("loyaltyd_queue_entered_commands_total"), idle.value("loyaltyd_queue_entered_commands_total") + 21.0);
    assert_eq!((full.value(TAKEN), full.value(COMMITS)), (idle.value(TAKEN) + 1.0, idle.value(COMMITS)), "and nothing goes on");
    let in_flight = "loyaltyd_rpc_in_flight{service=\"loyalty.v1.PurchaseService\",method=\"RecordPurchase\"}";
    assert_eq!(full.value(in_flight), 21.0);
    // They wait as long as this at least, each of them.
    let waiting = Instant::now();
    for _ in 0..20 {
        scrape(address).await;
    }
    let waited = waiting.elapsed().as_secs_f64();
    drop(hold);
    for answer in calls.join_all().await {
        answer.expect("it is recorded");
    }

    let after = wait_for(address, |seen| seen.value(SINGLE) == 0.0 && seen.value(BULK) == 0.0).await;
    let grown = |sample: &str| after.value(sample) - idle.value(sample);
    assert_eq!((grown(COMMITS), grown("loyaltyd_commit_commands_sum")), (2.0, 51.0), "the one in hand, and all others together");
    assert_eq!(grown("loyaltyd_commit_commands_bucket{le=\"1.0\"}"), 1.0);
    assert_eq!(grown("loyaltyd_commit_commands_bucket{le=\"32.0\"}"), 1.0);
    assert_eq!(grown("loyaltyd_commit_commands_bucket{le=\"64.0\"}"), 2.0, "one of 50");
    // The batch is one that waits.
    assert_eq!(grown(TAKEN), 22.0);
    let sum = grown("loyaltyd_queue_wait_seconds_sum");
    assert!(sum >= 21.0 * waited, "21 waited for {waited} s and more, which are not {sum} s");
    assert_eq!((grown("loyaltyd_journal_commits_total"), grown("loyaltyd_journal_fsync_duration_seconds_count")), (2.0, 2.0));
    drop((members, till, channel));
    server.shutdown().await.expect("it stops in order");
}

/// Bytes and number of the records in the journal's files, by their headers.
fn records(journal: &Path) -> (u64, u64) {
    let (mut bytes, mut count) = (0, 0);
    for item in std::fs::read_dir(journal).expect("the journal is there") {
        let path = item.expect("the folder is listed").path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let content = std::fs::read(&path).expect("a file");
            let mut rest = &content[128..];
            while rest.starts_with(b"LREC") {
                let payload = u32::from_le_bytes(rest[4..8].try_into().expect("four bytes"));
                let whole = 56 + payload as usize;
                (bytes, count, rest) = (bytes + whole as u64, count + 1, &rest[whole..]);
            }
        }
    }
    (bytes, count)
}

#[tokio::test]
async fn the_journals_bytes_are_those_of_its_records_and_each_commit_waits_for_the_disk() {
    let begun = Instant::now();
    let server = start().await;
    let member = server.enroll("c-1").await;
    let journal = server.data().join("journal");
    let mut before = scrape(port(&server)).await;
    assert_eq!(before.value("loyaltyd_journal_appended_bytes_total"), records(&journal).0 as f64, "from the start on");
    for (purchases, lines) in [(1_u32, 1), (5, 1), (3, 200)] {
        let (bytes, count) = records(&journal);
        for number in 0..purchases {
            let mut sale = sale(&member, &format!("o-{purchases}-{lines}-{number}"), "100000");
            let purchase = sale.purchase.as_mut().expect("a purchase");
            purchase.lines = (0..lines).map(|line| support::line(&format!("sku-{number}-{line}"), "100000")).collect();
            purchase.total = support::vnd(&format!("{}", 100_000 * lines));
            server.purchases().record_purchase(sale).await.expect("it is recorded");
        }
        let after = scrape(port(&server)).await;
        let grown = |sample: &str| after.value(sample) - before.value(sample);
        let (more_bytes, more_records) = records(&journal);
        assert_eq!(grown("loyaltyd_journal_appended_bytes_total"), (more_bytes - bytes) as f64);
        assert_eq!((grown("loyaltyd_journal_commits_total"), more_records - count), (f64::from(purchases), u64::from(purchases)));
        assert_eq!(grown("loyaltyd_journal_fsync_duration_seconds_count"), f64::from(purchases));
        let (disk, commit) = (grown("loyaltyd_journal_fsync_duration_seconds_sum"), grown("loyaltyd_commit_duration_seconds_sum"));
        assert!(0.0 < disk && disk < commit, "the disk's {disk} s are a part of the commits' {commit} s");
        before = after;
    }
    assert!(before.value("loyaltyd_commit_duration_seconds_sum") < begun.elapsed().as_secs_f64());
    server.stop().await;
}

/// The tables are written when nothing was committed for a while.
#[tokio::test]
async fn tables_lag_while_there_are_commits_and_have_all_when_there_are_none() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    wait_for(port(&server), |seen| seen.value("loyaltyd_tables_lag_commits") == 0.0).await;
    let mut order = 0;
    let behind = loop {
        for _ in 0..20 {
            server.purchases().record_purchase(sale(&member, &format!("o-{order}"), "100000")).await.expect("it is recorded");
            order += 1;
        }
        let seen = scrape(port(&server)).await;
        // Unless it took longer than the tables wait.
        if seen.value("loyaltyd_tables_lag_commits") >= 20.0 {
            break seen;
        }
        assert!(order < 20_000, "the tables are never behind");
    };
    assert!(behind.value("loyaltyd_tables_lag_commits") <= f64::from(order));
    let (bytes, bound) = (behind.value("loyaltyd_tables_lag_bytes"), behind.value("loyaltyd_tables_lag_bound_bytes"));
    assert!(bytes > 20.0 * 100.0 && bytes < bound, "20 purchases are more than {bytes} bytes of rows, and less than {bound}");
    let done = wait_for(port(&server), |seen| seen.value("loyaltyd_tables_lag_commits") == 0.0).await;
    assert_eq!(done.value("loyaltyd_tables_lag_bytes"), 0.0);
    server.stop().await;
}

/// Another programme beside the usual one, of the same rules.
const OTHER: &str = "laos";

fn laos() -> v1::Program {
    v1::Program { program_id: OTHER.into(), ..spending() }
}

async fn enrol(server: &TestServer, program: &str, card: &str) -> String {
    let request = v1::EnrollMemberRequest { program_id: program.into(), ..enrolment(card) };
    server.members().enroll_member(request).await.expect("it enrols").into_inner().member.expect("a member").member_id
}

#[tokio::test]
async fn points_are_those_of_each_programme() {
    let folder = TempDir::new().expect("a temporary folder");
    let transfers = Some(v1::TransferPolicy { minimum_points: "5".into(), maximum_points: "500".into() });
    let vietnam = v1::Program { transfers, ..spending() };
    let config = watched(folder.path(), vec![vietnam, laos()]);
    let server = TestServer::start_with(folder, Arc::new(loyaltyd::ledger::ManualClock::new(noon())), config).await;
    let (first, second, other) = (server.enroll("c-1").await, server.enroll("c-2").await, enrol(&server, OTHER, "c-1").await);
    server.purchases().record_purchase(sale(&first, "o-1", "3000000")).await.expect("it is recorded");
    let of_laos = v1::RecordPurchaseRequest { program_id: OTHER.into(), ..sale(&other, "o-1", "70000") };
    server.purchases().record_purchase(of_laos).await.expect("it is recorded");
    server.points().adjust_points(adjustment(&first, "up", 40)).await.expect("points are added");
    server.points().adjust_points(adjustment(&first, "down", -10)).await.expect("points are taken");
    let spent = server.points().redeem_points(redeem(&first, "r-1", 60, "1000000")).await.expect("points are redeemed").into_inner();
    let given_back = v1::ReverseRedemptionRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        member: by_id(&first),
        redemption_sequence: spent.entry.expect("an entry").sequence,
        points: Some(25),
        reason: "goods came back".into(),
        actor: support::actor(),
        ..Default::default()
    };
    server.points().reverse_redemption(given_back).await.expect("points are given back");
    let transfer = v1::TransferPointsRequest {
        request_id: "gift".into(),
        program_id: PROGRAM.into(),
        member: by_id(&first),
        recipient: by_id(&second),
        points: 80,
        reason: "family".into(),
        ..Default::default()
    };
    server.points().transfer_points(transfer).await.expect("points are given");
    let hold = v1::HoldPointsRequest {
        request_id: "hold".into(),
        program_id: PROGRAM.into(),
        member: by_id(&second),
        points: 30,
        order_total: support::vnd("1000000"),
        ..Default::default()
    };
    server.points().hold_points(hold).await.expect("points are held");
    let told = async |expected: &[(&str, &str, f64)]| {
        let seen = scrape(port(&server)).await;
        for (name, labels, value) in expected {
            assert_eq!(seen.value(&format!("loyaltyd_{name}{{{labels}}}")), *value, "{name} {labels}");
        }
    };
    told(&[
        ("points_issued_total", "program=\"vietnam\"", 340.0),
        ("points_issued_total", "program=\"laos\"", 7.0),
        ("points_redeemed_total", "program=\"vietnam\"", 60.0),
        ("points_redeemed_total", "program=\"laos\"", 0.0),
        ("points_reinstated_total", "program=\"vietnam\"", 25.0),
        ("points_clawed_back_total", "program=\"vietnam\"", 10.0),
        ("points_added_by_hand_total", "program=\"vietnam\"", 40.0),
        ("points_added_by_hand_total", "program=\"laos\"", 0.0),
        ("points_taken_by_hand_total", "program=\"vietnam\"", 10.0),
        ("points_transferred_out_total", "program=\"vietnam\"", 80.0),
        ("points_transferred_in_total", "program=\"vietnam\"", 80.0),
        ("points_expired_total", "program=\"vietnam\"", 0.0),
        ("points_outstanding", "program=\"vietnam\"", 295.0),
        ("points_outstanding", "program=\"laos\"", 7.0),
        ("points", "program=\"vietnam\",state=\"held\"", 30.0),
        ("points", "program=\"vietnam\",state=\"available\"", 265.0),
        ("points", "program=\"laos\",state=\"available\"", 7.0),
        ("members", "program=\"vietnam\",state=\"active\"", 2.0),
        ("members", "program=\"laos\",state=\"active\"", 1.0),
    ])
    .await;
    // The hold ends, and a year later all lapses.
    server.days_later(400);
    wait_for(port(&server), |seen| seen.value("loyaltyd_points_expired_total{program=\"vietnam\"}") > 0.0).await;
    wait_for(port(&server), |seen| seen.value("loyaltyd_points_outstanding{program=\"laos\"}") == 0.0).await;
    wait_for(port(&server), |seen| seen.value("loyaltyd_points_outstanding{program=\"vietnam\"}") == 0.0).await;
    told(&[
        ("points_expired_total", "program=\"vietnam\"", 295.0),
        ("points_expired_total", "program=\"laos\"", 7.0),
        ("points_issued_total", "program=\"vietnam\"", 340.0),
        ("points", "program=\"vietnam\",state=\"held\"", 0.0),
    ])
    .await;
    server.stop().await;
}

/// When the first of a member's points lapse.
async fn first_lapse(server: &TestServer, program: &str, member: &str) -> Timestamp {
    let request = v1::GetMemberRequest { program_id: program.into(), member: by_id(member), ..Default::default() };
    let found = server.members().get_member(request).await.expect("it is found").into_inner().member.expect("a member");
    let time = found.expiring.first().expect("points that lapse").expire_time.expect("a time");
    Timestamp::new(time.seconds, time.nanos).expect("within the calendar")
}

#[tokio::test]
async fn the_backlog_is_counted_by_programme_and_the_oldest_has_waited_since_it_was_due() {
    let folder = TempDir::new().expect("a temporary folder");
    let clock = Arc::new(loyaltyd::ledger::ManualClock::new(noon()));
    let config: Config = watched(folder.path(), vec![spending(), laos()]);
    let server = TestServer::start_with(folder, Arc::clone(&clock), config.clone()).await;
    let mut oldest = Timestamp::MAX;
    for (day, program, card) in [(0, PROGRAM, "c-1"), (0, PROGRAM, "c-2"), (0, OTHER, "c-3"), (3, PROGRAM, "c-4")] {
        server.days_later(day);
        let member = enrol(&server, program, card).await;
        let bought = v1::RecordPurchaseRequest { program_id: program.into(), ..sale(&member, card, "300000") };
        server.purchases().record_purchase(bought).await.expect("it is recorded");
        oldest = oldest.min(first_lapse(&server, program, &member).await);
    }
    let (folder, clock) = server.end().await;
    let waited = SignedDuration::from_hours(31) + SignedDuration::from_secs(7);
    clock.set(oldest.checked_add(waited).expect("within the calendar"));
    // Nothing is entered before the server is told that it is ready.
    let mut server = app::start(config, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("it starts");
    let address = server.metrics_address.expect("metrics are served");
    let seen = wait_for(address, |seen| seen.find("loyaltyd_state{state=\"serving\"}") == Some(1.0)).await;
    // What the last one has lapses three days later.
    assert_eq!(seen.value("loyaltyd_due_members{program=\"vietnam\"}"), 2.0);
    assert_eq!(seen.value("loyaltyd_due_members{program=\"laos\"}"), 1.0);
    assert_eq!(seen.value("loyaltyd_due_oldest_seconds"), waited.as_secs_f64());
    server.ready().await.expect("it reads its ledger");
    wait_for(address, |seen| seen.value("loyaltyd_due_oldest_seconds") == 0.0).await;
    server.shutdown().await.expect("it stops in order");
    drop(folder);
}
