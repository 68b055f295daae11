//! The open loop: calls begin at their own pace, whether those before are answered or not, as customers come. What the server does not take
//! yet waits here, and its latency counts from when it was due.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{
    load::{GRACE, Lane, Shape, finish, total},
    random::Random,
    tally::Tally,
    wire::Connection,
    workload::Workload,
};
use crate::cli::CliError;

/// Calls begin in steps of this.
const STEP: Duration = Duration::from_millis(1);

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Paced {
    pub tally: Tally,
    pub sent: u64,
    /// Given up here, since the server took no more on the connection until their time was over.
    pub unsent: u64,
}

/// So many calls a second in all, each of which waits for `patience` at most until it is sent.
pub async fn run(
    connections: &[Connection],
    workload: Arc<Workload>,
    shape: Shape,
    rate: f64,
    patience: Duration,
) -> Result<Paced, CliError> {
    run_until(connections, workload, shape, (rate, patience), &Arc::default()).await
}

/// The same, but it ends before its time when it is told to.
pub async fn run_until(
    connections: &[Connection],
    workload: Arc<Workload>,
    shape: Shape,
    (rate, patience): (f64, Duration),
    ends: &Arc<AtomicBool>,
) -> Result<Paced, CliError> {
    let from = Instant::now() + shape.warm_up;
    let until = from + shape.duration;
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    let mut lanes = Vec::new();
    for (number, connection) in (0_u64..).zip(connections) {
        let lane = Arc::new(Lane::new(connection.clone(), workload.clone(), from, until));
        lanes.push(lane.clone());
        let source = Source {
            lane,
            random: Random::new(shape.seed ^ number << 32),
            rate: rate / connections.len() as f64,
            patience,
            counts: counts.clone(),
            ends: ends.clone(),
        };
        workers.spawn(source.run());
    }
    finish(workers, shape.warm_up + shape.duration + GRACE).await?;
    Ok(Paced { tally: total(&lanes), sent: counts.0.load(Ordering::Relaxed), unsent: counts.1.load(Ordering::Relaxed) })
}

/// The calls of one connection.
struct Source {
    lane: Arc<Lane>,
    random: Random,
    rate: f64,
    patience: Duration,
    /// Sent, and given up unsent.
    counts: Arc<(AtomicU64, AtomicU64)>,
    ends: Arc<AtomicBool>,
}

impl Source {
    async fn run(mut self) {
        let mut connection = self.lane.connection.clone();
        let begin = Instant::now();
        // So that connections do not send in step.
        tokio::time::sleep(Duration::from_micros(self.random.below(1_000))).await;
        let mut ticks = tokio::time::interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut begun, mut waiting, mut calls) = (0, VecDeque::new(), JoinSet::new());
        loop {
            let due = ticks.tick().await.into_std();
            if due >= self.lane.until || self.ends.load(Ordering::Relaxed) {
                break;
            }
            let target = (due.duration_since(begin).as_secs_f64() * self.rate) as u64;
            waiting.extend(std::iter::repeat_n(due, usize::try_from(target - begun).unwrap_or(0)));
            begun = target;
            while calls.try_join_next().is_some() {}
            self.send(&mut connection, &mut waiting, &mut calls).await;
        }
        self.count(&self.counts.1, waiting.into_iter());
        while calls.join_next().await.is_some() {}
    }

    async fn send(&mut self, connection: &mut Connection, waiting: &mut VecDeque<Instant>, calls: &mut JoinSet<()>) {
        let now = Instant::now();
        let given_up = waiting.iter().take_while(|due| now.duration_since(**due) >= self.patience).count();
        self.count(&self.counts.1, waiting.drain(..given_up));
        // The library would take all of them and send them when it can.
        while calls.len() < connection.most_calls()
            && let Some(due) = waiting.pop_front()
        {
            self.count(&self.counts.0, [due].into_iter());
            let request = self.lane.workload.next(&mut self.random);
            let sent = connection.send(&self.lane.workload.head, request).await;
            let lane = self.lane.clone();
            match sent {
                Ok(answer) => {
                    calls.spawn(async move {
                        let outcome = match answer.await {
                            Ok(answer) => answer.skip().await,
                            Err(status) => Err(status),
                        };
                        lane.note(due, Instant::now(), &outcome.map(|()| Vec::new()));
                    });
                }
                Err(status) => lane.note(due, Instant::now(), &Err(status)),
            }
        }
    }

    /// Those that were due while it is measured.
    fn count(&self, to: &AtomicU64, due: impl Iterator<Item = Instant>) {
        to.fetch_add(due.filter(|due| *due >= self.lane.from).count() as u64, Ordering::Relaxed);
    }
}
