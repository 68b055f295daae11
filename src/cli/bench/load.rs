//! The closed loop: every place in flight sends, waits for the answer, and sends again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prost::{
    Message,
    bytes::{Bytes, BytesMut},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{
    codec::{BatchAnswer, StreamAnswer},
    random::Random,
    tally::{self, Tally},
    wire::{Answer, Connection, take_message},
    workload::{Scenario, Workload},
};
use crate::cli::{CliError, client};

/// After a failed call that does not say when to come back, so that a server that refuses is not also flooded.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(1);
/// How long answers may take after the end.
pub const GRACE: Duration = Duration::from_secs(30);

/// How hard, how long.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// On each connection.
    pub in_flight: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    pub seed: u64,
}

/// What the workers of one connection share.
pub struct Lane {
    pub connection: Connection,
    pub workload: Arc<Workload>,
    /// Counting begins and ends.
    pub from: Instant,
    pub until: Instant,
    tally: Mutex<Tally>,
}

impl Lane {
    pub fn new(connection: Connection, workload: Arc<Workload>, from: Instant, until: Instant) -> Self {
        Self { connection, workload, from, until, tally: Mutex::new(Tally::new()) }
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rate is of what was answered in time. Latencies and errors are of what was sent in time, however late the answer: the
    /// slowest calls are the last to be answered and must not be the ones that are left out.
    pub fn note(&self, sent: Instant, answered: Instant, outcome: &Result<Vec<Code>, Status>) {
        let in_time = |time: Instant| time >= self.from && time <= self.until;
        let mut tally = self.tally();
        let refused = match outcome {
            Ok(refused) => refused,
            Err(status) => {
                if in_time(sent) {
                    tally.error(status, answered.duration_since(sent));
                }
                return;
            }
        };
        let done = self.workload.size().saturating_sub(refused.len() as u64);
        tally.all += done;
        if in_time(answered) {
            tally.done(done, answered.duration_since(self.from));
        }
        if in_time(sent) {
            if done > 0 {
                tally.call(answered.duration_since(sent));
            }
            for code in refused {
                tally.refused(*code);
            }
        }
    }
}

/// Runs a workload over all connections at once.
pub async fn run(connections: &[Connection], workload: Arc<Workload>, shape: Shape) -> Result<Tally, CliError> {
    let from = Instant::now() + shape.warm_up;
    let until = from + shape.duration;
    let mut workers = JoinSet::new();
    let mut lanes = Vec::new();
    for (number, connection) in connections.iter().enumerate() {
        let lane = Arc::new(Lane::new(connection.clone(), workload.clone(), from, until));
        lanes.push(lane.clone());
        let seed = |worker: usize| Random::new(shape.seed ^ ((number as u64) << 32 | worker as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        if lane.workload.scenario == Scenario::Stream {
            workers.spawn(stream(lane, shape.in_flight, seed(0)));
            continue;
        }
        for worker in 0..shape.in_flight {
            workers.spawn(calls(lane.clone(), seed(worker)));
        }
    }
    finish(workers, shape.warm_up + shape.duration + GRACE).await?;
    Ok(total(&lanes))
}

pub fn total(lanes: &[Arc<Lane>]) -> Tally {
    let mut total = Tally::new();
    for lane in lanes {
        total.add(&lane.tally());
    }
    total
}

pub async fn finish(mut workers: JoinSet<()>, within: Duration) -> Result<(), CliError> {
    let all = async { while workers.join_next().await.is_some() {} };
    let late = |_| CliError::Failed(format!("answers did not come within {} s of the end", GRACE.as_secs()));
    tokio::time::timeout(within, all).await.map_err(late)
}

async fn calls(lane: Arc<Lane>, mut random: Random) {
    let mut connection = lane.connection.clone();
    let mut sent = Instant::now();
    while sent < lane.until {
        let request = lane.workload.next(&mut random);
        let outcome = call(&mut connection, &lane.workload, request).await;
        let answered = Instant::now();
        lane.note(sent, answered, &outcome);
        sent = answered;
        if let Err(status) = outcome {
            tokio::time::sleep(tally::retry_delay(&status).unwrap_or(PAUSE_AFTER_ERROR)).await;
            sent = Instant::now();
        }
    }
}

/// One call. Of a batch: the codes of what was refused in it.
pub async fn call(connection: &mut Connection, workload: &Workload, request: Bytes) -> Result<Vec<Code>, Status> {
    if workload.scenario == Scenario::Batch {
        let answer = BatchAnswer::decode(connection.call_for(&workload.head, request).await?).map_err(|error| unreadable(&error))?;
        return Ok(answer.results.into_iter().filter_map(|result| Some(Code::from_i32(result.error?.code))).collect());
    }
    connection.call(&workload.head, request).await?;
    Ok(Vec::new())
}

fn unreadable(error: &prost::DecodeError) -> Status {
    Status::internal(format!("the answer cannot be read: {error}"))
}

/// One stream with a window of unanswered purchases.
async fn stream(lane: Arc<Lane>, window: usize, mut random: Random) {
    if let Err(status) = try_stream(&lane, window, &mut random).await {
        lane.tally().error(&status, Duration::ZERO);
    }
}

async fn try_stream(lane: &Lane, window: usize, random: &mut Random) -> Result<(), Status> {
    let mut connection = lane.connection.clone();
    let (mut requests, response) = connection.stream(&lane.workload.head).await?;
    let mut unanswered = VecDeque::with_capacity(window);
    let mut send = |count: usize, at: Instant, unanswered: &mut VecDeque<Instant>, ends: bool| {
        let mut bytes = Vec::new();
        for _ in 0..count {
            lane.workload.next_framed(random, &mut bytes);
            unanswered.push_back(at);
        }
        requests.send_data(bytes.into(), ends).map_err(|error| Status::unavailable(client::chain(&error)))
    };
    send(window, Instant::now(), &mut unanswered, false)?;
    let response = response.await.map_err(|error| Status::unavailable(client::chain(&error)))?;
    let mut answers = Answer::of(response)?;
    let mut read = BytesMut::new();
    let mut ended = false;
    while let Some(bytes) = answers.chunk().await? {
        read.extend_from_slice(&bytes);
        let now = Instant::now();
        let mut answered = 0;
        while let Some(message) = take_message(&mut read) {
            let answer = StreamAnswer::decode(message).map_err(|error| unreadable(&error))?;
            let refused = answer.result.and_then(|result| result.error).map(|error| Code::from_i32(error.code));
            let sent = unanswered.pop_front().ok_or_else(|| Status::internal("an answer that nobody asked for"))?;
            lane.note(sent, now, &Ok(refused.into_iter().collect()));
            answered += 1;
        }
        if now < lane.until && answered > 0 {
            send(answered, now, &mut unanswered, false)?;
        } else if now >= lane.until && !ended {
            ended = true;
            send(0, now, &mut unanswered, true)?;
        }
    }
    if unanswered.is_empty() { Ok(()) } else { Err(Status::unavailable("the server ended the stream")) }
}

/// Sends each preload request once, whatever the order.
pub async fn preload(
    connections: &[Connection],
    workload: Arc<Workload>,
    in_flight: usize,
    each: impl Fn() + Send + Sync + 'static,
) -> Result<(), CliError> {
    let each = Arc::new(each);
    let mut workers = JoinSet::new();
    for connection in connections {
        for _ in 0..in_flight {
            let (mut connection, workload, each) = (connection.clone(), workload.clone(), each.clone());
            workers.spawn(async move {
                while let Some(request) = workload.next_member() {
                    call_with_retries(&mut connection, &workload, request).await?;
                    each();
                }
                Ok::<(), Status>(())
            });
        }
    }
    while let Some(outcome) = workers.join_next().await {
        outcome.expect("a worker does not panic").map_err(|status| client::failed(&status))?;
    }
    Ok(())
}

/// Sends so many requests of a workload.
pub async fn send(connections: &[Connection], workload: Arc<Workload>, in_flight: usize, requests: u64) -> Result<(), CliError> {
    let left = Arc::new(std::sync::atomic::AtomicU64::new(requests));
    let mut workers = JoinSet::new();
    for (number, connection) in (0_u64..).zip(connections.iter().cycle().take(connections.len() * in_flight)) {
        let (mut connection, workload, left) = (connection.clone(), workload.clone(), left.clone());
        workers.spawn(async move {
            let mut random = Random::new(number);
            let take = |left: u64| left.checked_sub(1);
            let relaxed = std::sync::atomic::Ordering::Relaxed;
            while left.fetch_update(relaxed, relaxed, take).is_ok() {
                let request = workload.next(&mut random);
                call_with_retries(&mut connection, &workload, request).await?;
            }
            Ok::<(), Status>(())
        });
    }
    while let Some(outcome) = workers.join_next().await {
        outcome.expect("a worker does not panic").map_err(|status| client::failed(&status))?;
    }
    Ok(())
}

async fn call_with_retries(connection: &mut Connection, workload: &Workload, request: Bytes) -> Result<(), Status> {
    let mut backoff = client::Backoff::new(GRACE);
    loop {
        match call(connection, workload, request.clone()).await {
            Ok(refused) if refused.is_empty() => return Ok(()),
            Ok(refused) => return Err(Status::new(refused[0], "a purchase of a batch was refused")),
            Err(status) => backoff.wait(status).await?,
        }
    }
}
