//! Lives of members by the thousand, against the real ledger over the real store: a generator asks, an auditor foretells each answer by
//! reckoning of its own, and both are compared after every batch.
//!
//! `LOYALTYD_TEST_SEED` repeats a run; `LOYALTYD_SIMULATION_COMMANDS` says how many commands it has in all, and `LOYALTYD_TEST_LONG` makes
//! them many times more.

mod auditor;
mod books;
mod catalogue;
mod generator;
mod life;
mod settling;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

pub use crate::crash::random::Random;

/// Commands of one life; each has a seed, a store and two programmes of its own.
const COMMANDS_OF_A_LIFE: u64 = 1_500;
const COMMANDS: u64 = 208_000;
const LONG: u64 = 40;
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|number| number.parse().ok())
}

#[test]
fn lives() {
    let first = number("LOYALTYD_TEST_SEED")
        .unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |it| it.as_nanos() as u64 % 1_000_000_000));
    let times = if env::var_os("LOYALTYD_TEST_LONG").is_some() { LONG } else { 1 };
    let commands = number("LOYALTYD_SIMULATION_COMMANDS").unwrap_or(COMMANDS * times);
    println!("LOYALTYD_TEST_SEED={first}");
    let lives = commands.div_ceil(COMMANDS_OF_A_LIFE);
    let (next, done, merged) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let since = Instant::now();
    thread::scope(|scope| {
        let live = || {
            loop {
                let life = next.fetch_add(1, Ordering::Relaxed);
                if life >= lives {
                    return;
                }
                // The first life of a run has the seed of the run, so that a failing one is repeated by its own.
                let commands = COMMANDS_OF_A_LIFE.min(commands - life * COMMANDS_OF_A_LIFE);
                let lived = life::live(first.wrapping_add(life), commands);
                done.fetch_add(lived.0, Ordering::Relaxed);
                merged.fetch_add(lived.1, Ordering::Relaxed);
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(live)).collect();
        let failed = threads.into_iter().map(|thread| thread.join().is_err()).fold(false, |any, failed| any | failed);
        assert!(!failed, "a life went wrong; its seed is told above");
    });
    let done = done.load(Ordering::Relaxed);
    let merged = merged.load(Ordering::Relaxed);
    println!("{done} commands in {lives} lives, {merged} members merged, {:.0} s", since.elapsed().as_secs_f64());
}
