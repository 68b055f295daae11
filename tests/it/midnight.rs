//! One midnight on which all members have their birthday and the review of their tier: each has both exactly once, whatever ends the service
//! in the middle of it.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::v1::{
        self, EntryKind as Kind, advance_clock_request::Advance, identifier, member_ref::Ref, member_service_client::MemberServiceClient,
        points_service_client::PointsServiceClient, purchase_service_client::PurchaseServiceClient,
        sandbox_service_client::SandboxServiceClient,
    },
    domain::{Entry, EntryKind, MemberId},
    store::embedded::{Options, check, read_entries},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::support::{self, loyaltyd};

const RULE_BOOK: &str = r#"
programId: club
displayName: Club
currencyCode: USD
timeZone: America/New_York
rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
accrualRules:
  - ruleId: base
    perAmount: { amount: "1", points: "1" }
tiers:
  - tierId: member
  - tierId: silver
    threshold: { qualifyingPoints: "500" }
tierPolicy: { window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_PERIOD }
birthday: { window: WINDOW_DAY, rewards: [{ points: { points: "100" } }] }
"#;

/// So many that a service that is told to stop has not entered all of them before it has stopped.
const MEMBERS: usize = 4_000;
const AT_ONCE: usize = 1_000;
/// No step of this takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A sandbox in a process of its own.
struct Served {
    process: Child,
    channel: Channel,
}

struct Folder(TempDir);

impl Folder {
    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    async fn serve(&self) -> Served {
        let (book, log) = (self.0.path().join("club.yaml"), self.0.path().join("log"));
        fs::write(&book, RULE_BOOK).expect("a file");
        let said = fs::File::create(&log).expect("a log is made");
        let mut command = loyaltyd();
        command.args(["serve", "--sandbox", "--listen", "127.0.0.1:0", "--segment-bytes", "4194304", "--program"]).arg(&book);
        // It goes on with what is due as long as it waits for calls to end.
        command.args(["--drain-seconds", "0"]).arg("--data").arg(self.data()).stdout(Stdio::null()).stderr(said);
        let mut process = command.spawn().expect("it starts");
        let since = Instant::now();
        let address = loop {
            let said = fs::read_to_string(&log).expect("a log");
            let address = said.split_once("listening on ").and_then(|(_, rest)| rest.lines().next()).map(str::to_owned);
            if let Some(address) = address.filter(|_| said.contains(": serving")) {
                break address;
            }
            assert!(process.try_wait().expect("a child can be asked").is_none() && since.elapsed() < PATIENCE, "{said}");
            tokio::task::yield_now().await;
        };
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("it listens");
        Served { process, channel }
    }

    /// Rewards and reviews of each member that the journal has.
    fn done(&self) -> BTreeMap<MemberId, (usize, usize)> {
        let mut done: BTreeMap<MemberId, (usize, usize)> = BTreeMap::new();
        let count = |entry: &Entry| {
            let (granted, reviewed) = done.entry(entry.key.member).or_default();
            *granted += usize::from(matches!(&entry.kind, EntryKind::BirthdayChanged(changed) if changed.granted.is_some()));
            *reviewed += usize::from(matches!(&entry.kind, EntryKind::TierKept(_)));
        };
        read_entries(&self.data(), None, count).expect("a journal that can be read");
        done
    }
}

impl Folder {
    /// Of how many members all is entered: of some at least, and not of all.
    fn entered(&self, least: usize) -> usize {
        let done = self.done();
        assert!(done.values().all(|done| matches!(done, (0, 0) | (1, 1))), "both or none, and none twice: {done:?}");
        let entered = done.values().filter(|done| **done == (1, 1)).count();
        assert!((least..MEMBERS).contains(&entered), "it was ended in the middle: {least}, {entered}");
        entered
    }
}

impl Served {
    /// All members enrol and buy.
    async fn fill(&self) {
        for number in 0..MEMBERS {
            let birth_date = Some(v1::Date { year: 0, month: 1, day: 1 });
            let request = v1::EnrollMemberRequest {
                request_id: format!("enrol-{number}"),
                program_id: "club".into(),
                profile: Some(v1::Profile { birth_date, ..Default::default() }),
                identifiers: vec![card(number)],
                ..Default::default()
            };
            MemberServiceClient::new(self.channel.clone()).enroll_member(request).await.expect("a new member");
        }
        let amount = || Some(v1::Money { currency_code: "USD".into(), amount: "600".into() });
        let purchase = |number: usize| v1::RecordPurchaseRequest {
            request_id: format!("sale-{number}"),
            program_id: "club".into(),
            member: member(number),
            purchase: Some(v1::Purchase {
                store_id: "s".into(),
                order_id: format!("o-{number}"),
                lines: vec![v1::PurchaseLine { sku: "tea".into(), amount: amount(), ..Default::default() }],
                total: amount(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut till = PurchaseServiceClient::new(self.channel.clone());
        for first in (0..MEMBERS).step_by(AT_ONCE) {
            let purchases = (first..first + AT_ONCE).map(purchase).collect();
            let answer = till.batch_record_purchases(v1::BatchRecordPurchasesRequest { purchases }).await.expect("they are recorded");
            assert_eq!(answer.into_inner().results.len(), AT_ONCE);
        }
    }

    /// The answer comes when all that is due by then is entered.
    async fn set_clock(channel: Channel, time: Timestamp) -> Result<(), tonic::Status> {
        let time = prost_types::Timestamp { seconds: time.as_second(), nanos: 0 };
        let request = v1::AdvanceClockRequest { request_id: format!("to-{}", time.seconds), advance: Some(Advance::Time(time)) };
        SandboxServiceClient::new(channel).advance_clock(request).await.map(drop)
    }

    /// Waits until the reward of a member is recorded.
    async fn has_come_to(&self, number: usize) {
        let since = Instant::now();
        let request = v1::ListEntriesRequest {
            program_id: "club".into(),
            member: member(number),
            kinds: vec![Kind::BirthdayGranted.into()],
            ..Default::default()
        };
        let mut points = PointsServiceClient::new(self.channel.clone());
        loop {
            let listed = points.list_entries(request.clone()).await.expect("it answers").into_inner();
            if listed.entries.iter().any(|entry| entry.record_time.is_some()) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "member {number} has waited too long");
        }
    }

    fn end(mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a small number")).expect("a number");
        kill_process(pid, signal).expect("it is still there");
        let status = support::wait(&mut self.process, PATIENCE).expect("it ends");
        assert_eq!(status.success(), signal == Signal::TERM, "{status}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn card(number: usize) -> v1::Identifier {
    v1::Identifier { kind: identifier::Kind::Card.into(), value: format!("c-{number:05}") }
}

fn member(number: usize) -> Option<v1::MemberRef> {
    Some(v1::MemberRef { r#ref: Some(Ref::Identifier(card(number))) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_ends_the_service_in_the_middle_each_has_one_reward_and_one_review() {
    let folder = Folder(TempDir::new().expect("a folder"));
    let served = folder.serve().await;
    // The first of January in New York that is more than a month ahead, so that nobody's birthday is now.
    let soon = Timestamp::now().to_zoned(jiff::tz::TimeZone::get("America/New_York").expect("a zone")) + 32.days();
    let midnight = jiff::civil::date(soon.year() + 1, 1, 1).in_tz("America/New_York").expect("a midnight").timestamp();
    Served::set_clock(served.channel.clone(), midnight - 240.hours()).await.expect("it is set");
    served.fill().await;
    // The clock is set to midnight, and the answer to that never comes.
    let setting = tokio::spawn(Served::set_clock(served.channel.clone(), midnight));
    served.has_come_to(0).await;
    served.end(Signal::KILL);
    setting.await.expect("it does not panic").expect_err("it was killed");
    let mut before = folder.entered(1);
    for signal in [Signal::TERM, Signal::KILL] {
        let served = folder.serve().await;
        // Those who enrolled first come first.
        served.has_come_to(before).await;
        served.end(signal);
        before = folder.entered(before + 1);
    }
    let served = folder.serve().await;
    Served::set_clock(served.channel.clone(), midnight + 24.hours()).await.expect("it is set");
    served.end(Signal::TERM);
    let done = folder.done();
    assert_eq!(done.len(), MEMBERS);
    assert!(done.values().all(|done| *done == (1, 1)), "{done:?}");
    let report = check(&folder.data(), &Options::default()).expect("it can be checked");
    assert!(report.is_sound(), "{report:#?}");
}
