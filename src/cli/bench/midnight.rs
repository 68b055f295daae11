//! The night on which everything is due: all members have their birthday and the review of their tier at one instant, while tills go on
//! selling at a fixed pace.
//!
//! The server is a sandbox, whose clock is set to some seconds before midnight and then goes on by itself: nothing asks for what is due, and
//! the schedule takes its turns as it does in any service. Members enrol and buy through the service, so journal, tables and due index are what
//! they would be. That all is entered is told by one who enrolled last and whom no till serves: the schedule comes to that member last. Then the
//! same is measured at the next such midnight, without tills. Afterwards every entry of the journal is read and counted.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::{
    books::{Book, ZONE},
    child::OwnServer,
    load::Shape,
    machine::disk_bytes,
    pace::{self, Paced},
    report::Target,
    suite::Suite,
    workload::{Scenario, Workload},
};
use crate::{
    cli::{CliError, client},
    contract::v1::{
        self, EntryKind as Kind, advance_clock_request::Advance, points_service_client::PointsServiceClient,
        sandbox_service_client::SandboxServiceClient,
    },
    domain::{Entry, EntryKind, MemberId, TierCause},
    store::embedded,
};

const MIDNIGHTS: u32 = 2;
const PART: &str = "midnight";
/// What the tills record in a second: a tenth or less of what a machine of two processors can.
const TILLS: f64 = 1_000.0;
const PATIENCE: Duration = Duration::from_secs(10);
const IN_FLIGHT: usize = 64;
const BATCH_IN_FLIGHT: usize = 2;
/// The clock is set to so long before midnight.
const LEAD: SignedDuration = SignedDuration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Tills go on for so long after midnight: where there is more to enter than that, the rest is entered without them.
const TILLS_AT_MOST: Duration = Duration::from_secs(600);
/// Longer it does not wait: beside that, for each member.
const LONGEST: Duration = Duration::from_secs(600);
const LONGEST_EACH: Duration = Duration::from_millis(2);
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub(super) async fn measure(suite: &mut Suite<'_>) -> Result<(), CliError> {
    let members = suite.members(1_000_000);
    suite.renew(members, true).await?;
    suite.session.book = Book::Timed;
    suite.session.publish().await?;
    let night = Night::open(suite).await?;
    let midnight = night.midnights[0];
    night.set(midnight - SignedDuration::from_hours(24 * 31)).await?;
    fill(suite, members).await?;
    night.set(midnight - SignedDuration::from_hours(1)).await?;
    suite.session.settle().await;
    let disk_before = disk(suite);
    let shape = |warm_up, duration| Shape { in_flight: 0, warm_up, duration, seed: suite.session.settings.seed };
    let before = tills(suite, shape(suite.session.settings.warm_up, suite.seconds(30)), &Arc::default()).await?;
    night.set(midnight - LEAD).await?;
    let longest = longest(members);
    let until_midnight = night.until(midnight).await?;
    let begins = Instant::now() + until_midnight;
    let ends = Arc::new(AtomicBool::new(false));
    let selling = tills(suite, shape(until_midnight, TILLS_AT_MOST), &ends);
    let looking = async {
        let looked = night.caught_up(members, 1, begins + longest).await;
        ends.store(true, Ordering::Relaxed);
        looked
    };
    let (during, caught_up) = tokio::join!(selling, looking);
    let (during, took) = (during?, caught_up?.duration_since(begins));
    suite.session.purchases += before.tally.all + during.tally.all;
    tell_tills(suite, &before, &during);
    let name = format!("until all that was due of {members} members was entered");
    suite.figure(PART, name, took.as_secs_f64(), "s", None);
    let beside = took.min(TILLS_AT_MOST);
    let name = format!("tills went on beside it, of at most {} s", TILLS_AT_MOST.as_secs());
    suite.figure(PART, name, beside.as_secs_f64(), "s", None);
    if let Some((resident, most)) = suite.session.server().and_then(|server| server.memory()) {
        suite.figure(PART, "resident memory then", resident as f64 / GIB, "GiB", None);
        suite.figure(PART, "resident memory, at most so far", most as f64 / GIB, "GiB", None);
    }
    suite.session.settle().await;
    alone(suite, &night, members).await?;
    // Rows that wait in memory are written by it.
    let stopped = suite.own()?.stop().await?;
    suite.figure(PART, "to stop in order after it", stopped.as_secs_f64(), "s", None);
    suite.figure(PART, "data folder before midnight", disk_before, "GiB", None);
    suite.figure(PART, "data folder after it", disk(suite), "GiB", None);
    let counted = count(suite, midnight, beside).await?;
    tell_rates(suite, members, (beside, took), counted.beside);
    tell_entries(suite, members, &counted);
    Ok(())
}

/// The midnight a year later, on which nobody buys. The points of the year before lapse with it.
async fn alone(suite: &mut Suite<'_>, night: &Night, members: u64) -> Result<(), CliError> {
    night.set(night.midnights[1] - LEAD).await?;
    let begins = Instant::now() + night.until(night.midnights[1]).await?;
    let took = night.caught_up(members, 2, begins + longest(members)).await?.duration_since(begins);
    let each_second = members as f64 / took.as_secs_f64().max(0.001);
    suite.figure(PART, "members each second at the next midnight, without tills", each_second, "/s", None);
    Ok(())
}

fn longest(members: u64) -> Duration {
    LONGEST + LONGEST_EACH * u32::try_from(members).unwrap_or(u32::MAX)
}

/// Each member enrols and buys once, and so does the one who comes last.
async fn fill(suite: &mut Suite<'_>, members: u64) -> Result<(), CliError> {
    let enrolled = suite.session.preload(members).await?;
    suite.figure(PART, format!("{members} members enrolled, each second"), enrolled, "/s", None);
    let buy = Workload::once_in(Book::Timed, Scenario::Batch, members);
    let (bought, _) = suite.session.once(buy, BATCH_IN_FLIGHT).await?;
    suite.figure(PART, "each bought something, each second", bought, "/s", None);
    for (scenario, in_flight) in [(Scenario::Enroll, IN_FLIGHT), (Scenario::Batch, BATCH_IN_FLIGHT)] {
        suite.session.once(Workload::once_in(Book::Timed, scenario, 1).among(members), in_flight).await?;
    }
    suite.session.settle().await;
    Ok(())
}

async fn tills(suite: &Suite<'_>, shape: Shape, ends: &Arc<AtomicBool>) -> Result<Paced, CliError> {
    let workload = Arc::new(suite.session.workload(Scenario::Record));
    pace::run_until(&suite.session.connections, workload, shape, (TILLS, PATIENCE), ends).await
}

fn tell_tills(suite: &mut Suite<'_>, before: &Paced, during: &Paced) {
    let milliseconds = |paced: &Paced, quantile| paced.tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
    for (when, paced) in [("before", before), ("after", during)] {
        for quantile in [0.5, 0.99] {
            let name = format!("p{} of {TILLS} purchases a second, {when} midnight", quantile * 100.0);
            suite.figure(PART, name, milliseconds(paced, quantile), "ms", None);
        }
    }
    let ratio = milliseconds(during, 0.99) / milliseconds(before, 0.99).max(0.001);
    suite.figure(PART, "p99 while all is entered, of the one before", ratio, "", Some(Target::AtMost(2.0)));
    let missing = |paced: &Paced| paced.unsent + paced.tally.errors.values().sum::<u64>();
    let missing = (missing(before) + missing(during)) as f64;
    suite.figure(PART, "purchases not sent or refused", missing, "calls", Some(Target::AtMost(0.0)));
}

async fn count(suite: &mut Suite<'_>, midnight: Timestamp, beside: Duration) -> Result<Counted, CliError> {
    let data = suite.own()?.data();
    let until = midnight.saturating_add(beside).map_err(|error| CliError::Failed(format!("there is no such time: {error}")))?;
    let counting = tokio::task::spawn_blocking(move || Counted::of(data, until)).await;
    counting.map_err(|error| CliError::Failed(format!("counting entries failed: {error}")))?
}

/// By the journal, of those who were entered while tills went on, if they did not all the time.
fn tell_rates(suite: &mut Suite<'_>, members: u64, (beside, took): (Duration, Duration), entered: u64) {
    let each_second = |members: u64, took: Duration| members as f64 / took.as_secs_f64().max(0.001);
    if beside == took {
        return suite.figure(PART, "members of that each second", each_second(members, took), "/s", None);
    }
    suite.figure(PART, "members of that each second, beside tills", each_second(entered, beside), "/s", None);
    let rest = each_second(members.saturating_sub(entered), took.saturating_sub(beside));
    suite.figure(PART, "members of that each second, after them", rest, "/s", None);
}

fn tell_entries(suite: &mut Suite<'_>, members: u64, counted: &Counted) {
    suite.figure(PART, "entries in the journal", counted.entries as f64, "", None);
    suite.figure(PART, "birthdays that were rewarded", counted.granted as f64, "", None);
    suite.figure(PART, "tiers that were reviewed", counted.reviewed as f64, "", None);
    let wrong = counted.members.abs_diff(members + 1) + counted.not_once;
    suite.figure(PART, "members without exactly one of each at each midnight", wrong as f64, "", Some(Target::AtMost(0.0)));
}

/// In GiB.
fn disk(suite: &Suite<'_>) -> f64 {
    disk_bytes(&suite.session.own.as_ref().map(OwnServer::data).unwrap_or_default()) as f64 / GIB
}

/// The clock of the sandbox, and a look at who comes last.
struct Night {
    clock: SandboxServiceClient<client::ApiChannel>,
    points: PointsServiceClient<client::ApiChannel>,
    /// The first of January that is more than a month ahead, and that of the year after.
    midnights: [Timestamp; 2],
}

impl Night {
    async fn open(suite: &Suite<'_>) -> Result<Self, CliError> {
        let channel = suite.session.channel().await?;
        let failed = |error: jiff::Error| CliError::Failed(format!("there is no such midnight: {error}"));
        let zone = TimeZone::get(ZONE).map_err(failed)?;
        let soon = Timestamp::now() + SignedDuration::from_hours(24 * 32);
        let year = zone.to_datetime(soon).year() + 1;
        let midnight = |year| zone.to_timestamp(civil::date(year, 1, 1).at(0, 0, 0, 0)).map_err(failed);
        let midnights = [midnight(year)?, midnight(year + 1)?];
        Ok(Self { clock: SandboxServiceClient::new(channel.clone()), points: PointsServiceClient::new(channel), midnights })
    }

    async fn set(&self, time: Timestamp) -> Result<(), CliError> {
        let request_id = format!("bench-{}", uuid::Uuid::now_v7());
        let time = prost_types::Timestamp { seconds: time.as_second(), nanos: 0 };
        let request = v1::AdvanceClockRequest { request_id, advance: Some(Advance::Time(time)) };
        self.clock.clone().advance_clock(request).await.map_err(|status| client::failed(&status))?;
        Ok(())
    }

    async fn until(&self, midnight: Timestamp) -> Result<Duration, CliError> {
        let answer = self.clock.clone().get_clock(v1::GetClockRequest {}).await.map_err(|status| client::failed(&status))?;
        let told = answer.into_inner().time.unwrap_or_default();
        let now = Timestamp::new(told.seconds, told.nanos).unwrap_or(midnight);
        Ok(Duration::try_from(midnight.duration_since(now)).unwrap_or_default())
    }

    /// When so many rewards of the one who comes last were recorded.
    async fn caught_up(&self, last: u64, rewards: usize, deadline: Instant) -> Result<Instant, CliError> {
        let request = v1::ListEntriesRequest {
            program_id: Book::Timed.program_id().into(),
            member: Some(super::workload::member_of(last)),
            kinds: vec![Kind::BirthdayGranted.into()],
            ..Default::default()
        };
        while Instant::now() < deadline {
            let listed = self.points.clone().list_entries(request.clone()).await.map_err(|status| client::failed(&status))?;
            if listed.into_inner().entries.iter().filter(|entry| entry.record_time.is_some()).count() >= rewards {
                return Ok(Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(CliError::Failed("what was due at midnight was not entered in time".to_owned()))
    }
}

/// What the journal has.
#[derive(Default)]
struct Counted {
    entries: u64,
    members: u64,
    granted: u64,
    reviewed: u64,
    /// Members who have other than one reward and one review of each midnight.
    not_once: u64,
    /// Members who had their first reward while tills went on.
    beside: u64,
}

impl Counted {
    /// `until`: tills went on.
    fn of(data: PathBuf, until: Timestamp) -> Result<Self, CliError> {
        let mut counted = Self::default();
        let mut of_members: HashMap<MemberId, (u32, u32), foldhash::fast::RandomState> = HashMap::default();
        let count = |entry: &Entry| {
            counted.entries += 1;
            let (granted, reviewed) = of_members.entry(entry.key.member).or_default();
            *granted += u32::from(is_granted(&entry.kind));
            counted.beside += u64::from(is_granted(&entry.kind) && entry.record_time <= until);
            *reviewed += u32::from(is_reviewed(&entry.kind));
        };
        embedded::read_entries(&data, None, count).map_err(|error| CliError::Failed(error.to_string()))?;
        counted.members = of_members.len() as u64;
        for (granted, reviewed) in of_members.into_values() {
            counted.granted += u64::from(granted);
            counted.reviewed += u64::from(reviewed);
            counted.not_once += u64::from((granted, reviewed) != (MIDNIGHTS, MIDNIGHTS));
        }
        Ok(counted)
    }
}

fn is_granted(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::BirthdayChanged(changed) if changed.granted.is_some())
}

fn is_reviewed(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::TierKept(_)) || matches!(kind, EntryKind::TierChanged(change) if change.cause == TierCause::Review)
}
