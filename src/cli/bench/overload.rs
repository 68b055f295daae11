//! Four times as many calls as the server can take, offered at their own pace: what is still done, and how the rest is refused.
//!
//! Generator and server are kept to processors of their own, for the most and under overload alike: otherwise the generator, which does
//! four times its work, would take the server's processors, and the figure would tell of that. Beside the load two probes on connections
//! of their own, in a thread of their own, make one call at a time: a purchase and a question after health.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    load::{self, Lane, Shape},
    machine::Process,
    pace::{self, Paced},
    random::Random,
    report::Target,
    session::{Settings, Step},
    suite::Suite,
    tally::Tally,
    wire::Connection,
    workload::{Scenario, Workload},
};
use crate::cli::{CliError, client::ServerArgs};

/// Connections that offer too much: as many tills, each with a share of it.
const CONNECTIONS: usize = 64;
/// On each, for the most that is done.
const IN_FLIGHT: usize = 8;
/// Many tills, none of which sends so much that it is read in turn with others: together they fill the queue and more.
const TILLS: usize = 450;
const AT_A_TILL: usize = 12;
const TIMES: f64 = 4.0;
/// What a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(5);

pub(super) async fn measure(suite: &mut Suite<'_>) -> Result<(), CliError> {
    let kept = apart(suite);
    if !kept {
        eprintln!("note: generator and server share their processors, so that under overload the generator takes the server's");
    }
    suite.session.connect(CONNECTIONS).await?;
    let duration = suite.seconds(20);
    let start = memory(suite);
    let workload = suite.session.workload(Scenario::Record);
    let peak = suite.session.step(Step(Scenario::Record, CONNECTIONS, IN_FLIGHT, duration), workload, None).await?.rate();
    let at_peak = memory(suite) - start;
    suite.session.settle().await;
    let start = memory(suite);
    let (paced, probed) = overload(suite, peak * TIMES, duration).await?;
    let overloaded = memory(suite) - start;
    suite.session.settle().await;
    refusals(suite).await?;
    together(suite, kept);
    suite.session.purchases += paced.tally.all + probed[0].all;
    tell(suite, peak, duration, &paced, &probed);
    // Either has rows of new purchases in memory, until they are written out.
    suite.figure("overload", "resident memory grew, under the most that is done", at_peak, "MiB", None);
    suite.figure("overload", "resident memory grew, under overload", overloaded, "MiB", None);
    suite.session.connect(super::suite::CONNECTIONS).await
}

/// More tills than the queue has room for, each of which comes back when it was told to: how soon those without room are told.
async fn refusals(suite: &mut Suite<'_>) -> Result<(), CliError> {
    suite.session.connect(TILLS).await?;
    let Settings { warm_up, seed, .. } = suite.session.settings;
    let shape = Shape { in_flight: AT_A_TILL, warm_up, duration: suite.seconds(20), seed };
    let workload = Arc::new(suite.session.workload(Scenario::Record));
    let tally = load::run(&suite.session.connections, workload, shape).await?;
    suite.session.purchases += tally.all;
    let (done, refused) = (tally.done as f64, tally.refusal.len() as f64);
    let name = format!("refused, of what {TILLS} tills with {AT_A_TILL} calls each asked for");
    suite.figure("overload", name, refused / (done + refused).max(1.0), "", None);
    for quantile in [0.5, 0.99] {
        let name = format!("p{} until a call was refused", quantile * 100.0);
        let took = tally.refusal.value_at_quantile(quantile) as f64 / 1000.0;
        let target = Target::AtMost(10.0);
        match tally.refusal.is_empty() {
            true => suite.figure("overload", format!("{name}: not tested, none was"), 0.0, "ms", None),
            false => suite.figure("overload", name, took, "ms", Some(target)),
        }
    }
    Ok(())
}

/// In MiB.
fn memory(suite: &Suite<'_>) -> f64 {
    suite.session.server().and_then(Process::memory).map_or(0.0, |(resident, _)| resident as f64 / 1024.0 / 1024.0)
}

fn tell(suite: &mut Suite<'_>, peak: f64, duration: Duration, paced: &Paced, probed: &[Tally; 2]) {
    let goodput = paced.tally.done as f64 / duration.as_secs_f64();
    let offered = (paced.sent + paced.unsent) as f64 / duration.as_secs_f64();
    suite.figure("overload", "the most that is done, RecordPurchase", peak, "/s", None);
    suite.figure("overload", "offered", offered, "/s", None);
    suite.figure("overload", "of those sent by the connections", paced.sent as f64 / duration.as_secs_f64(), "/s", None);
    suite.figure("overload", "done under overload, of the most", goodput / peak.max(1.0), "", Some(Target::AtLeast(0.9)));
    let late = paced.tally.latency.value_at_quantile(0.99) as f64 / 1000.0;
    suite.figure("overload", "p99 until a purchase that was done was recorded, from when it was due", late, "ms", None);
    for (code, count) in &paced.tally.errors {
        suite.figure("overload", format!("answered with {code}"), *count as f64 / duration.as_secs_f64(), "/s", None);
    }
    suite.figure("overload", "refusals that the probe met, on its own connection", probed[0].refusal.len() as f64, "calls", None);
    let served = probed[0].latency.value_at_quantile(0.99) as f64 / 1000.0;
    suite.figure("overload", "p99 until the probe's purchase was recorded", served, "ms", None);
    let health = probed[1].latency.value_at_quantile(0.99) as f64 / 1000.0;
    suite.figure("overload", "p99 until health was told", health, "ms", Some(Target::AtMost(10.0)));
    let untold = probed[1].errors.values().sum::<u64>() as f64;
    suite.figure("overload", "times health was not told", untold, "calls", Some(Target::AtMost(0.0)));
}

async fn overload(suite: &Suite<'_>, rate: f64, duration: Duration) -> Result<(Paced, [Tally; 2]), CliError> {
    let settings = suite.session.settings;
    let shape = Shape { in_flight: 0, warm_up: settings.warm_up, duration, seed: settings.seed };
    let stop = Arc::new(AtomicBool::new(false));
    let probe = |scenario| {
        let (workload, stop, address) = (suite.session.workload(scenario), stop.clone(), suite.session.server_address());
        thread::spawn(move || probe(&address, workload, shape, &stop))
    };
    let probes = [probe(Scenario::Record), probe(Scenario::Health)];
    let workload = Arc::new(suite.session.workload(Scenario::Record).with_timeout(DEADLINE));
    let paced = pace::run(&suite.session.connections, workload, shape, rate, DEADLINE).await;
    stop.store(true, Ordering::Relaxed);
    let probed = probes.map(|probe| probe.join().expect("a probe does not panic"));
    let [record, health] = probed;
    Ok((paced?, [record?, health?]))
}

/// One call at a time, on a connection and a thread of its own: what it waits for is the server.
fn probe(address: &ServerArgs, workload: Workload, shape: Shape, stop: &AtomicBool) -> Result<Tally, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("cannot start a probe: {error}")))?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let from = Instant::now() + shape.warm_up;
        let lane = Lane::new(connection.clone(), Arc::new(workload), from, from + shape.duration);
        let mut random = Random::new(shape.seed);
        while !stop.load(Ordering::Relaxed) {
            let request = lane.workload.next(&mut random);
            let sent = Instant::now();
            let outcome = load::call(&mut connection, &lane.workload, request).await;
            lane.note(sent, Instant::now(), &outcome);
            tokio::time::sleep(PROBE_EVERY).await;
        }
        Ok(lane.tally().clone())
    })
}

/// The first half of the processors for the server, the others for this process.
fn apart(suite: &Suite<'_>) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(server) = suite.session.server() else { return false };
    let half = cores / 2;
    half > 0 && server.keep_to(&format!("0-{}", half - 1)) && Process::own().keep_to(&format!("{half}-{}", cores - 1))
}

fn together(suite: &Suite<'_>, kept: bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(server) = suite.session.server().filter(|_| kept) {
        let all = format!("0-{}", cores.max(2) - 1);
        server.keep_to(&all);
        Process::own().keep_to(&all);
    }
}
