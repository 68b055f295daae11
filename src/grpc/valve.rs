//! What keeps the service from being talked to death. To refuse a call costs little, but not nothing: who sends four times as many as can
//! be taken would have the processor read and refuse instead of record. So while half of the queue is taken, connections that send much
//! are read in sips, in turn, and only as much of them as has left the queue: what they send meanwhile waits with them, and HTTP/2 and TCP
//! tell them to wait. Connections that send little, such as a till or a probe of health, are read at once as ever.
//!
//! - What leaves the queue gives credit of as many bytes as a command has as a rule, which is learnt; what is read takes it. What has been
//!   read and is not in the queue yet is thereby counted. The fuller the queue, the less is given, so that it stays between half and full
//!   even where the guess is wrong.
//! - Nobody waits longer than [`LONGEST`] for a sip, credit or none, as long as the service gets its processors. What lies behind other
//!   bytes on its connection, be it a batch, a ping of HTTP/2 or a call that is given up, waits until these are read, which takes as many
//!   sips as they have kilobytes; a deadline of a call begins when it is read.
//! - The server never idles for it: as soon as less than half of the queue is taken, who waits is read without credit.
//! - Between sips whatever else is ready has its turn, so that who sends little waits for little.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use super::Gate;
use crate::ledger::Queue;

/// Those who wait are looked after as often, even if nothing leaves the queue.
const LOOK: Duration = Duration::from_millis(2);
/// A connection waits so long at most.
const LONGEST: Duration = Duration::from_millis(100);
/// Bytes that are read before others have their turn; a sip, where few wait.
const AT_ONCE: usize = 4 << 10;
/// Bytes that all who wait share: the more they are the smaller their sips, so that their turn comes soon.
const ROUND: usize = 128 << 10;
/// A call or two.
const SMALLEST_SIP: usize = 512;
/// Bytes of a command, until it is known.
const GUESS: u64 = 300;
/// What is believed of it, be it ever so wrong.
const BELIEVED: std::ops::RangeInclusive<u64> = 64..=1 << 20;
/// As many commands that entered the queue tell something of their size.
const SAMPLE: u64 = 64;

pub struct Valve {
    gate: Arc<Gate>,
    waiting: Mutex<Waiting>,
    /// Connections that are open.
    open: Arc<AtomicU64>,
    /// Somebody waits.
    begins: Notify,
    /// Bytes that were ever read.
    read: AtomicU64,
    /// Of these, what was read without a turn, less what turns allowed and was not there to read; since the credit was last reckoned.
    unpaid: AtomicI64,
}

/// Connections that wait to be read, in the order in which they came.
#[derive(Default)]
struct Waiting {
    connections: VecDeque<Place>,
    credit: Credit,
    /// Nobody gives turns any more.
    has_ended: bool,
}

struct Place {
    /// Told how many bytes may be read.
    turn: oneshot::Sender<usize>,
    since: Instant,
}

/// Bytes that may be read for what has left the queue.
struct Credit {
    bytes: i64,
    /// Of a command, as a rule.
    size: u64,
    /// Commands that have left the queue, as far as they were reckoned.
    left: u64,
    /// Where the sample began: commands that had entered the queue, and bytes that had been read.
    sample: (u64, u64),
}

impl Valve {
    pub fn new(gate: &Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            gate: Arc::clone(gate),
            waiting: Mutex::default(),
            open: Arc::default(),
            begins: Notify::new(),
            read: AtomicU64::new(0),
            unpaid: AtomicI64::new(0),
        })
    }

    /// Counts a connection as open, for as long as what is given lives.
    pub(super) fn opened(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }

    pub fn connections(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// A turn to wait for, if it is not the time to read from those who send much: it tells how many bytes may be read.
    pub(super) fn turn(&self) -> Option<oneshot::Receiver<usize>> {
        let queue = self.gate.queue();
        let mut waiting = self.waiting();
        if waiting.connections.is_empty() {
            if !queue.is_crowded() {
                return None;
            }
            self.begin(&mut waiting, queue);
        }
        let turn = waiting.join(Instant::now())?;
        drop(waiting);
        self.begins.notify_one();
        Some(turn)
    }

    /// So many bytes were read; of a turn, if it was one, that allowed so many.
    pub(super) fn has_read(&self, bytes: usize, allowed: Option<usize>) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        self.unpaid.fetch_add(signed(bytes as u64) - signed(allowed.unwrap_or(0) as u64), Ordering::Relaxed);
    }

    /// Gives turns, for as long as it is polled; whoever waits when it is dropped is let through. Before it is polled nobody is.
    pub async fn run(&self) -> Infallible {
        let _end = End(self);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begins.notified().await;
            while !self.waiting().connections.is_empty() {
                if self.give() > 0 {
                    yield_now().await;
                    continue;
                }
                tokio::select! {
                    _ = looks.tick() => {}
                    () = self.gate.relieved() => {}
                }
            }
        }
    }

    /// Turns to read [`AT_ONCE`] in all, if there is credit for them.
    fn give(&self) -> usize {
        let queue = self.gate.queue();
        let mut waiting = self.waiting();
        waiting.credit.reckon(queue, self.read.load(Ordering::Relaxed), self.unpaid.swap(0, Ordering::Relaxed));
        let mut given = 0;
        while given < AT_ONCE
            && let Some(sip) = waiting.give(queue.is_crowded(), Instant::now())
        {
            given += sip;
        }
        given
    }

    /// From here on it is reckoned what is read and what leaves the queue.
    fn begin(&self, waiting: &mut Waiting, queue: Queue) {
        self.unpaid.store(0, Ordering::Relaxed);
        waiting.credit.begin(queue, self.read.load(Ordering::Relaxed));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn join(&mut self, now: Instant) -> Option<oneshot::Receiver<usize>> {
        if self.has_ended {
            return None;
        }
        let (turn, waits) = oneshot::channel();
        self.connections.push_back(Place { turn, since: now });
        Some(waits)
    }

    /// A turn for the first who waits, if it is time; its sip.
    fn give(&mut self, is_crowded: bool, now: Instant) -> Option<usize> {
        loop {
            let first = self.connections.front()?;
            if is_crowded && self.credit.bytes <= 0 && now.duration_since(first.since) < LONGEST {
                return None;
            }
            let sip = (ROUND / self.connections.len()).clamp(SMALLEST_SIP, AT_ONCE);
            // A connection that broke while it waited takes nobody's turn.
            if self.connections.pop_front()?.turn.send(sip).is_ok() {
                self.credit.bytes -= signed(sip as u64);
                return Some(sip);
            }
        }
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self { bytes: 0, size: GUESS, left: 0, sample: (0, 0) }
    }
}

impl Credit {
    fn begin(&mut self, queue: Queue, read: u64) {
        *self = Self { bytes: 0, size: self.size, left: queue.left(), sample: (queue.entered, read) };
    }

    /// Gives for what has left the queue: a full one nothing, one that is half full twice as much as has left.
    fn reckon(&mut self, queue: Queue, read: u64, unpaid: i64) {
        let left = queue.left().saturating_sub(self.left);
        self.left += left;
        self.learn(queue.entered, read);
        let room = queue.bound.saturating_sub(queue.taken);
        let given = (left * self.size).saturating_mul(4 * room) / queue.bound.max(1);
        // Neither what was saved up nor what is owed lasts long.
        let most = signed(queue.bound * self.size / 4);
        self.bytes = self.bytes.saturating_add(signed(given)).saturating_sub(unpaid).clamp(-most, most);
    }

    /// How many bytes are read for one command, whatever else is read beside it.
    fn learn(&mut self, entered: u64, read: u64) {
        let (commands, bytes) = (entered.saturating_sub(self.sample.0), read.saturating_sub(self.sample.1));
        if commands >= SAMPLE {
            self.size = ((7 * self.size + bytes / commands) / 8).clamp(*BELIEVED.start(), *BELIEVED.end());
            self.sample = (entered, read);
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A connection that is open.
pub(super) struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets everybody through.
struct End<'v>(&'v Valve);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.waiting() = Waiting { has_ended: true, ..Waiting::default() };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::sync::oneshot::{Receiver, error::TryRecvError};

    const BOUND: u64 = 2_048;

    impl Valve {
        /// Somebody waits, as if the queue were crowded, for as long as what is given lives.
        pub fn with_one_waiting(self: Arc<Self>) -> (Arc<Self>, Receiver<usize>) {
            let turn = self.waiting().join(Instant::now()).expect("turns are given");
            (self, turn)
        }
    }

    fn joined(waiting: &mut Waiting, count: usize, now: Instant) -> Vec<Receiver<usize>> {
        (0..count).map(|_| waiting.join(now).expect("turns are given")).collect()
    }

    /// How many were let through, who are the first.
    fn through(turns: &mut [Receiver<usize>]) -> usize {
        let through: Vec<bool> = turns.iter_mut().map(|turn| turn.try_recv().is_ok()).collect();
        let first = through.iter().take_while(|it| **it).count();
        assert!(!through[first..].contains(&true), "they are read in their order: {through:?}");
        turns.rotate_left(first);
        first
    }

    fn queue(taken: u64, entered: u64) -> Queue {
        Queue { bound: BOUND, taken, entered }
    }

    #[test]
    fn sips_are_given_in_their_order_as_long_as_there_is_credit() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let mut turns = joined(&mut waiting, 10, now);
        assert_eq!(waiting.give(true, now), None, "nothing has left the queue");
        waiting.credit.bytes = signed(2 * AT_ONCE as u64 + 1);
        for left in [10, 9, 8] {
            assert_eq!(waiting.give(true, now), Some(AT_ONCE));
            assert_eq!(through(&mut turns[..left]), 1);
        }
        assert_eq!(waiting.give(true, now), None, "what was given beyond the credit is owed");
        assert!(waiting.credit.bytes < 0);
    }

    #[test]
    fn the_more_wait_the_smaller_are_their_sips() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let _turns = joined(&mut waiting, 64, now);
        assert_eq!(waiting.give(false, now), Some(2_048));
        let _more = joined(&mut waiting, 10_000, now);
        assert_eq!(waiting.give(false, now), Some(SMALLEST_SIP));
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_whatever_is_owed() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.credit.bytes = -1_000_000;
        let mut turns = joined(&mut waiting, 1_000, now);
        let mut late = joined(&mut waiting, 5, now + LOOK);
        assert_eq!(waiting.give(true, now + LONGEST - LOOK), None);
        while waiting.give(true, now + LONGEST).is_some() {}
        assert_eq!(through(&mut turns), 1_000);
        assert_eq!(through(&mut late), 0, "who came later waits as long");
    }

    #[test]
    fn nobody_needs_credit_when_there_is_room_again() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.credit.bytes = -1_000_000;
        let mut turns = joined(&mut waiting, 300, now);
        while waiting.give(false, now).is_some() {}
        assert_eq!(through(&mut turns), 300);
    }

    #[test]
    fn who_broke_off_takes_nobodys_turn() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let mut turns = joined(&mut waiting, 3, now);
        drop(turns.remove(0));
        waiting.credit.bytes = 1;
        assert!(waiting.give(true, now).is_some());
        assert_eq!(through(&mut turns), 1);
    }

    #[test]
    fn what_leaves_the_queue_gives_credit_the_more_the_emptier_it_is() {
        for (taken, share) in [(BOUND, 0), (BOUND * 7 / 8, 50), (BOUND * 3 / 4, 100), (BOUND / 2, 200)] {
            let mut credit = Credit::default();
            credit.begin(queue(taken, 10_000), 0);
            credit.reckon(queue(taken, 10_010), 3_000, 0);
            assert_eq!(credit.bytes, signed(10 * GUESS * share / 100), "{taken}");
            credit.reckon(queue(taken, 10_010), 3_000, 0);
            assert_eq!(credit.bytes, signed(10 * GUESS * share / 100), "it is given once");
        }
    }

    #[test]
    fn what_is_read_without_a_turn_takes_credit_and_debts_are_bounded() {
        let mut credit = Credit::default();
        credit.begin(queue(BOUND, BOUND), 0);
        credit.reckon(queue(BOUND, BOUND), 0, 1_000);
        assert_eq!(credit.bytes, -1_000);
        credit.reckon(queue(BOUND, BOUND), 0, i64::MAX);
        assert_eq!(credit.bytes, -signed(BOUND * GUESS / 4));
        credit.reckon(queue(BOUND, BOUND), 0, i64::MIN);
        assert_eq!(credit.bytes, signed(BOUND * GUESS / 4));
        credit.begin(queue(BOUND, BOUND), 0);
        assert_eq!(credit.bytes, 0, "who begins to wait begins anew");
    }

    /// As many commands a step as the writer takes, and more who wait than are ever read. What is read in a step enters the queue in the
    /// next one.
    #[test]
    fn the_queue_stays_between_half_and_full_whatever_a_call_weighs() {
        for size in [70, 300, 3_000, 10_000] {
            let (mut waiting, now) = (Waiting::default(), Instant::now());
            let (mut taken, mut entered, mut read, mut under_way) = (BOUND, BOUND, 0, 0);
            waiting.credit.begin(queue(taken, entered), read);
            let mut turns = joined(&mut waiting, 64, now);
            let mut levels = Vec::new();
            for _ in 0..1_500 {
                let arrived = under_way / size;
                under_way %= size;
                let found_room = arrived.min(BOUND - taken);
                (taken, entered) = (taken + found_room, entered + found_room);
                levels.push(taken);
                taken -= taken.min(100);
                waiting.credit.reckon(queue(taken, entered), read, 0);
                while let Some(sip) = waiting.give(queue(taken, entered).is_crowded(), now) {
                    (read, under_way) = (read + sip as u64, under_way + sip as u64);
                    turns.extend(joined(&mut waiting, 1, now));
                    if under_way > 200 * size {
                        break;
                    }
                }
            }
            let settled = &levels[750..];
            let (least, most) = (settled.iter().min(), settled.iter().max());
            assert!(least > Some(&(BOUND / 2 - 200)) && most < Some(&BOUND), "{size} bytes a call: {least:?} to {most:?}");
        }
    }

    #[tokio::test]
    async fn who_waits_is_let_through_by_the_task_and_when_it_ends() {
        // A gate without a ledger is never crowded: there is room.
        let valve = Valve::new(&Arc::new(Gate::default()));
        assert!(valve.turn().is_none(), "there is nothing to wait for");
        let mut turns = joined(&mut valve.waiting(), 10, Instant::now());
        let task = {
            let valve = Arc::clone(&valve);
            tokio::spawn(async move { valve.run().await })
        };
        valve.begins.notify_one();
        for turn in &mut turns {
            turn.await.expect("it is given");
        }
        let mut late = joined(&mut valve.waiting(), 1, Instant::now());
        assert_eq!(late[0].try_recv(), Err(TryRecvError::Empty));
        task.abort();
        assert!(task.await.expect_err("it runs for ever").is_cancelled());
        assert_eq!(late[0].try_recv(), Err(TryRecvError::Closed), "a connection takes that as its turn");
        assert!(valve.waiting().join(Instant::now()).is_none(), "nobody waits any more");
    }
}
