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
mod meetings;
mod quoting;
mod scheduling;
mod settling;

use std::{
    env,
    panic::catch_unwind,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

pub use crate::crash::random::Random;
use auditor::{
    facts, months,
    promotions::{self, Met},
    referrals,
};

/// Commands of one life; each has a seed, a store and two programmes of its own.
const COMMANDS_OF_A_LIFE: u64 = 1_500;
const COMMANDS: u64 = 200_000;
const LONG: u64 = 40;
const THREADS: usize = 2;
/// In so many each kind of promotion is met now and then.
const MANY_COMMANDS: u64 = 20_000;
/// After so many lives that went wrong no more is begun.
const MANY_FAILED: u64 = 5;

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
    let (next, done, merged, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let met = Mutex::new([Met::new(), Met::new()]);
    let since = Instant::now();
    thread::scope(|scope| {
        let live = || {
            loop {
                let life = next.fetch_add(1, Ordering::Relaxed);
                if life >= lives || failed.load(Ordering::Relaxed) >= MANY_FAILED {
                    return;
                }
                // The first life of a run has the seed of the run, so that a failing one is repeated by its own.
                let commands = COMMANDS_OF_A_LIFE.min(commands - life * COMMANDS_OF_A_LIFE);
                let Ok(lived) = catch_unwind(|| life::live(first.wrapping_add(life), commands)) else {
                    failed.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                done.fetch_add(lived.0, Ordering::Relaxed);
                merged.fetch_add(lived.1, Ordering::Relaxed);
                let mut met = met.lock().expect("nothing panics with it");
                for (all, met) in met.iter_mut().zip(lived.2) {
                    met.into_iter().for_each(|(kind, times)| *all.entry(kind).or_default() += times);
                }
            }
        };
        (0..THREADS).for_each(|_| drop(scope.spawn(live)));
    });
    let failed = failed.load(Ordering::Relaxed);
    assert!(failed == 0, "{failed} lives went wrong; their seeds are told above");
    let done = done.load(Ordering::Relaxed);
    let merged = merged.load(Ordering::Relaxed);
    println!("{done} commands in {lives} lives, {merged} members merged, {:.0} s", since.elapsed().as_secs_f64());
    let [met, referred] = met.into_inner().expect("nothing panics with it");
    println!("met: {met:?}\nreferrals: {referred:?}");
    // What is not met is not shown to be right. A short run may miss something.
    if done >= MANY_COMMANDS {
        let is_missed = |met: &Met, kind: &str, often: u64| met.get(kind).copied().unwrap_or(0) < done / often;
        let kinds = promotions::KINDS.iter().chain(&facts::KINDS).chain(&months::KINDS);
        // For more than one page many members must have something due at once.
        let often = |kind: &str| match kind {
            "schedule in pages" | "schedule in part" | "lapsed by months" | "a month more" => 20_000,
            // Some of the programmes have them, and few of these a tier that keeps points from lapsing, or a version with the other form.
            kind if months::KINDS.contains(&kind) => 100_000,
            _ => 4_000,
        };
        let missed: Vec<_> = kinds.filter(|kind| is_missed(&met, kind, often(kind))).collect();
        let referrals: Vec<_> = referrals::KINDS.iter().filter(|kind| is_missed(&referred, kind, 50_000)).collect();
        assert!(missed.is_empty() && referrals.is_empty(), "hardly met: {missed:?} {referrals:?}");
    }
}
