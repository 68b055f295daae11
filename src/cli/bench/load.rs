//! The closed loop: every place in flight sends, waits for the answer, and sends again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};

use super::{
    codec::{BatchAnswer, RawCodec, Skipped, StreamAnswer},
    random::Random,
    workload::{Scenario, Workload},
};
use crate::cli::{CliError, client};

/// After a failed call, so that a server that refuses is not also flooded.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(1);
/// How long answers may take after the end.
const GRACE: Duration = Duration::from_secs(30);
/// Latencies are kept up to here, in microseconds.
const LONGEST: u64 = 60_000_000;

/// How hard, how long.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// On each connection.
    pub in_flight: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    pub seed: u64,
}

/// What was counted between the warm-up and the end.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Purchases, members or calls that succeeded.
    pub done: u64,
    /// Of calls that succeeded, in microseconds.
    pub latency: Histogram<u64>,
    /// By the code's name.
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order");
        Self { done: 0, latency, errors: BTreeMap::new() }
    }

    fn call(&mut self, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        self.latency.saturating_record(microseconds.max(1));
    }

    fn error(&mut self, code: Code) {
        *self.errors.entry(client::code_name(code)).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.latency.add(&other.latency).expect("both have the same bounds");
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }
}

/// What the workers of one connection share.
struct Lane {
    channel: Channel,
    workload: Arc<Workload>,
    /// Counting begins and ends.
    from: Instant,
    until: Instant,
    tally: Mutex<Tally>,
}

impl Lane {
    /// The rate is of what was answered in time. Latencies and errors are of what was sent in time, however late the answer: the
    /// slowest calls are the last to be answered and must not be the ones that are left out.
    fn note(&self, sent: Instant, answered: Instant, outcome: Result<Vec<Code>, Status>) {
        let in_time = |time: Instant| time >= self.from && time <= self.until;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match outcome {
            Ok(refused) => refused,
            Err(status) => {
                if in_time(sent) {
                    tally.error(status.code());
                }
                return;
            }
        };
        let done = self.workload.size().saturating_sub(refused.len() as u64);
        if in_time(answered) {
            tally.done += done;
        }
        if in_time(sent) {
            if done > 0 {
                tally.call(answered.duration_since(sent));
            }
            for code in refused {
                tally.error(code);
            }
        }
    }
}

/// Runs a workload over all connections at once.
pub async fn run(channels: &[Channel], workload: Arc<Workload>, shape: Shape) -> Result<Tally, CliError> {
    let from = Instant::now() + shape.warm_up;
    let until = from + shape.duration;
    let mut workers = JoinSet::new();
    let mut lanes = Vec::new();
    for (number, channel) in channels.iter().enumerate() {
        let (workload, tally) = (workload.clone(), Mutex::new(Tally::new()));
        let lane = Arc::new(Lane { channel: channel.clone(), workload, from, until, tally });
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
    let all = async { while workers.join_next().await.is_some() {} };
    if tokio::time::timeout(shape.warm_up + shape.duration + GRACE, all).await.is_err() {
        return Err(CliError::Failed(format!("answers did not come within {} s of the end", GRACE.as_secs())));
    }
    let mut total = Tally::new();
    for lane in lanes {
        total.add(&lane.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Ok(total)
}

async fn calls(lane: Arc<Lane>, mut random: Random) {
    let mut grpc = Grpc::new(lane.channel.clone());
    let mut sent = Instant::now();
    while sent < lane.until {
        let request = lane.workload.next(&mut random);
        let outcome = call(&mut grpc, &lane.workload, request).await;
        let answered = Instant::now();
        let failed = outcome.is_err();
        lane.note(sent, answered, outcome);
        sent = answered;
        if failed {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            sent = Instant::now();
        }
    }
}

/// One call. Of a batch: the codes of what was refused in it.
async fn call(grpc: &mut Grpc<Channel>, workload: &Workload, request: Vec<u8>) -> Result<Vec<Code>, Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(client::chain(&error)))?;
    let request = Request::new(request);
    if workload.scenario == Scenario::Batch {
        let answer = grpc.unary(request, workload.path.clone(), RawCodec::<BatchAnswer>::default()).await?;
        return Ok(answer.into_inner().results.into_iter().filter_map(|result| Some(Code::from_i32(result.error?.code))).collect());
    }
    grpc.unary(request, workload.path.clone(), RawCodec::<Skipped>::default()).await?;
    Ok(Vec::new())
}

/// One stream with a window of unanswered purchases.
async fn stream(lane: Arc<Lane>, window: usize, mut random: Random) {
    if let Err(status) = try_stream(&lane, window, &mut random).await {
        lane.tally.lock().unwrap_or_else(PoisonError::into_inner).error(status.code());
    }
}

async fn try_stream(lane: &Lane, window: usize, random: &mut Random) -> Result<(), Status> {
    let mut grpc = Grpc::new(lane.channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(client::chain(&error)))?;
    let (sender, requests) = mpsc::channel(window);
    let mut unanswered = VecDeque::with_capacity(window);
    for _ in 0..window {
        unanswered.push_back(Instant::now());
        // There is room for a whole window.
        let _ = sender.try_send(lane.workload.next(random));
    }
    let request = Request::new(ReceiverStream::new(requests));
    let answer = grpc.streaming(request, lane.workload.path.clone(), RawCodec::<StreamAnswer>::default()).await?;
    let mut answers = answer.into_inner();
    while let Some(sent) = unanswered.pop_front() {
        let answer = answers.message().await?.ok_or_else(|| Status::unavailable("the server ended the stream"))?;
        let now = Instant::now();
        let refused = answer.result.and_then(|result| result.error).map(|error| Code::from_i32(error.code));
        lane.note(sent, now, Ok(refused.into_iter().collect()));
        if now < lane.until {
            unanswered.push_back(now);
            let _ = sender.try_send(lane.workload.next(random));
        }
    }
    Ok(())
}

/// Sends each preload request once, whatever the order.
pub async fn preload(
    channels: &[Channel],
    workload: Arc<Workload>,
    in_flight: usize,
    each: impl Fn() + Send + Sync + 'static,
) -> Result<(), CliError> {
    let each = Arc::new(each);
    let mut workers = JoinSet::new();
    for channel in channels {
        for _ in 0..in_flight {
            let (channel, workload, each) = (channel.clone(), workload.clone(), each.clone());
            workers.spawn(async move {
                let mut grpc = Grpc::new(channel);
                while let Some(request) = workload.next_member() {
                    call_with_retries(&mut grpc, &workload, request).await?;
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

async fn call_with_retries(grpc: &mut Grpc<Channel>, workload: &Workload, request: Vec<u8>) -> Result<(), Status> {
    let mut backoff = client::Backoff::new(GRACE);
    loop {
        match call(grpc, workload, request.clone()).await {
            Ok(_) => return Ok(()),
            Err(status) => backoff.wait(status).await?,
        }
    }
}
