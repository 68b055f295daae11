//! Torture: a server in a process of its own is killed again and again, at random times and in the middle of everything that it does, under
//! clients that write down every answer. After each kill it is started over the same data folder, and all that was answered must be there,
//! whole, once, and with the very answer that was given; what was not answered is there wholly or not at all; and `loyaltyd check` finds
//! nothing. Now and then the folder gives way to one that was restored from a backup, which the clients cannot tell from it.
//!
//! The short form runs with the other tests. The long one is the same with more kills:
//!
//! ```sh
//! LOYALTYD_TORTURE_KILLS=1000 cargo test --release --test it crash:: -- --nocapture
//! ```
//!
//! `LOYALTYD_TORTURE_SEED` gives the seed, which is printed. It makes the plan and the requests the same again, not the kills: when a
//! signal arrives, and what the kernel and the threads have done until then, no seed decides.

mod call;
mod fold;
mod lives;
mod load;
mod model;
mod process;
pub mod random;
mod verify;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use call::{Caller, Outcome};
use load::{Load, Shared};
use model::{Model, NOTHING};
use process::{Knobs, Phase, ROW_WRITER, Server, TABLES_OPEN, WRITER, backup, never_seen};
use random::Random;
use tempfile::TempDir;
use verify::{Counts, verify};

use crate::support::loyaltyd;

const SHORT: usize = 24;
/// Of kills over one data folder; then another one is begun, so that a long run does not become slower and slower.
const KILLS_A_FOLDER: usize = 250;
/// Kills after which all that was ever sent is verified, and `check` runs.
const KILLS_A_CHECK: usize = 50;
/// What does not come in this time under the load is not waited for.
const SOON: Duration = Duration::from_secs(1);
/// A segment that a few hundred purchases fill.
const SMALL_SEGMENT: u64 = 64 << 10;
/// Logs of servers that are kept, for whoever looks for a fault.
const LOGS: usize = 20;
/// From so many kills on, a phase that was never hit is a failure.
const ALL_PHASES: usize = 400;
/// These ones are aimed at until they are hit, however few kills there are, but not more often than that.
const SURE: [(Phase, Aim); 4] =
    [(Phase::Start, Aim::Start), (Phase::Replay, Aim::Replay), (Phase::Rebuild, Aim::Rebuild), (Phase::Serving, Aim::Serving)];
const TRIES: usize = 20;

/// What a round aims at. What it hits is counted by what the server was seen doing ([`Phase`]).
#[derive(Debug, Clone, Copy)]
enum Aim {
    Start,
    TablesOpen,
    Replay,
    Rebuild,
    Serving,
    SegmentMade,
    SegmentChange,
    Compression,
    RowWriting,
    Backup,
    Drain,
    WritingOut,
    Stop,
    Check,
}

/// As often as they stand here.
const AIMS: [Aim; 18] = [
    Aim::Start,
    Aim::TablesOpen,
    Aim::Replay,
    Aim::Replay,
    Aim::Rebuild,
    Aim::Rebuild,
    Aim::Serving,
    Aim::Serving,
    Aim::SegmentMade,
    Aim::SegmentChange,
    Aim::Compression,
    Aim::RowWriting,
    Aim::RowWriting,
    Aim::Backup,
    Aim::Drain,
    Aim::WritingOut,
    Aim::Stop,
    Aim::Check,
];

#[derive(Default)]
struct Table {
    kills: BTreeMap<Phase, usize>,
    stops: usize,
    checks: usize,
    restored: usize,
    counts: Counts,
}

impl Table {
    fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    fn print(&self, seed: u64, since: Instant) {
        println!("torture, seed {seed}: {} kills in {:.0} s", self.killed(), since.elapsed().as_secs_f64());
        for phase in Phase::ALL {
            println!("  {:<16}{:>8}", format!("{phase:?}"), self.kills.get(&phase).copied().unwrap_or(0));
        }
        println!(
            "  stopped in order, without a kill: {}; checks that found nothing: {}; backups that were restored and served from: {}",
            self.stops, self.checks, self.restored
        );
        let Counts { repeated, carried_out, absent, members, entries, purchases, vouchers, tiers, merges, offers, priced } = self.counts;
        println!("  answers asked for again and found the same: {repeated}; purchases found by their order: {purchases}");
        println!(
            "  among them: of vouchers and rewards {vouchers}, tiers by hand {tiers}, merges {merges}, offers {offers}, priced sales {priced}"
        );
        println!("  ledgers added up: {members}, with {entries} entries");
        println!("  without an answer, and looked for: {carried_out} carried out wholly, {absent} not at all");
    }
}

/// One data folder with its model.
struct Torture {
    folder: TempDir,
    shared: Shared,
    random: Random,
    table: Table,
    /// How long clients are at work, at most, before something is done to the server.
    work: Duration,
    starts: usize,
    /// How often the data folder is one that was made of a backup.
    restores: usize,
}

impl Drop for Torture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            println!("the data folder and the logs of the last servers are kept: {}", self.folder.path().display());
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_keeps_every_promise() {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let seed = number_from("LOYALTYD_TORTURE_SEED").unwrap_or(since_epoch.as_nanos() as u64 % 1_000_000_000);
    let kills = number_from("LOYALTYD_TORTURE_KILLS").map_or(SHORT, |kills| kills as usize);
    println!("torture: {kills} kills, LOYALTYD_TORTURE_SEED={seed}");
    let since = Instant::now();
    let mut random = Random::new(seed);
    let mut table = Table::default();
    while table.killed() < kills {
        let end = kills.min(table.killed() + KILLS_A_FOLDER);
        let work = Duration::from_millis(if kills > SHORT { 500 } else { 120 });
        let mut torture = Torture::new(random.fork(), std::mem::take(&mut table), work);
        torture.run(end).await;
        table = std::mem::take(&mut torture.table);
        if table.killed() < kills {
            table.print(seed, since);
        }
    }
    table.print(seed, since);
    let missed: Vec<_> = Phase::ALL.into_iter().filter(|phase| !table.kills.contains_key(phase)).collect();
    assert!(kills < ALL_PHASES || missed.is_empty(), "no kill hit {missed:?}");
    let surely_missed: Vec<_> = SURE.iter().map(|(phase, _)| phase).filter(|phase| missed.contains(phase)).collect();
    assert!(surely_missed.is_empty(), "no kill hit {surely_missed:?}");
    assert!(never_seen().is_empty(), "no server ever had these threads, which are looked for: {:?}", never_seen());
}

impl Torture {
    fn new(random: Random, table: Table, work: Duration) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder, shared: Shared::new(Model::default()), random, table, work, starts: 0, restores: 0 }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join(format!("data-{}", self.restores))
    }

    async fn run(&mut self, end: usize) {
        self.begin().await;
        let mut checked = self.table.killed();
        while self.table.killed() < end {
            let mut aims = AIMS;
            self.random.shuffle(&mut aims);
            for aim in aims {
                if self.table.killed() >= end {
                    break;
                }
                self.round(aim).await;
            }
            if self.table.killed() >= checked + KILLS_A_CHECK {
                checked = self.table.killed();
                self.verify_whole().await;
                eprintln!("{checked} kills");
            }
        }
        for (phase, aim) in SURE {
            for _ in 0..TRIES {
                if !self.table.kills.contains_key(&phase) {
                    self.round(aim).await;
                }
            }
        }
        // A slow machine fills few segments in so few rounds.
        for _ in 0..TRIES {
            if !never_seen().is_empty() {
                self.round(Aim::SegmentMade).await;
            }
        }
        self.verify_whole().await;
    }

    /// The rule book must be there before anything else.
    async fn begin(&mut self) {
        let mut server = self.spawn(usize::MAX as u64 >> 40);
        let caller = Caller::connect(&server.serving()).await;
        let call = load::publication(self.shared.model().fresh());
        let op = self.shared.model().send(call.clone(), None, NOTHING);
        let outcome = caller.call(call).await;
        assert!(matches!(outcome, Outcome::Answered(_)), "the first rule book is published: {outcome:?}");
        self.shared.model().settle(op, outcome);
        server.terminate();
        server.ended();
    }

    fn spawn(&mut self, waiting_bytes: u64) -> Server {
        let segment_bytes = *self.random.pick(&[SMALL_SEGMENT, 256 << 10, 1 << 20, 4 << 20]);
        self.spawn_with(Knobs { segment_bytes, waiting_bytes })
    }

    fn spawn_with(&mut self, Knobs { segment_bytes, waiting_bytes }: Knobs) -> Server {
        self.starts += 1;
        // To make all tables again in so small parts takes too long.
        let is_new = !self.data().join("tables").exists();
        let knobs = Knobs { segment_bytes, waiting_bytes: if is_new { waiting_bytes.max(4 << 20) } else { waiting_bytes } };
        Server::spawn(&self.data(), &self.folder.path().join(format!("log-{}", self.starts % LOGS)), knobs)
    }

    fn pause(&mut self, up_to: Duration) -> Duration {
        Duration::from_micros(self.random.within(0..=up_to.as_micros() as u64))
    }

    fn sleep(&mut self, up_to: Duration) {
        std::thread::sleep(self.pause(up_to));
    }

    fn kill(&mut self, server: Server) {
        self.count(server.kill());
    }

    fn count(&mut self, phase: Option<Phase>) {
        match phase {
            Some(phase) => *self.table.kills.entry(phase).or_default() += 1,
            None => self.table.stops += 1,
        }
    }

    async fn round(&mut self, aim: Aim) {
        match aim {
            Aim::Start => self.at_start(Duration::from_millis(15), |_| Some(())),
            Aim::TablesOpen => self.at_start(Duration::from_millis(2), |server| server.has_thread(TABLES_OPEN).then_some(())),
            Aim::Replay => self.at_start(Duration::from_millis(12), |server| server.has_thread(ROW_WRITER).then_some(())),
            Aim::Rebuild => {
                // As after tables that were found broken.
                match fs::remove_dir_all(self.data().join("tables")) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("the tables cannot be removed: {error}"),
                    Ok(()) | Err(_) => {}
                }
                self.at_start(Duration::from_millis(60), |server| server.has_thread(ROW_WRITER).then_some(()));
            }
            Aim::Check => self.kill_check(),
            Aim::Serving
            | Aim::SegmentMade
            | Aim::SegmentChange
            | Aim::Compression
            | Aim::RowWriting
            | Aim::Backup
            | Aim::Drain
            | Aim::WritingOut
            | Aim::Stop => self.under_load(aim).await,
        }
    }

    /// What is aimed at happens soon.
    fn knobs(&mut self, aim: Aim) -> Knobs {
        let segment_bytes = match aim {
            Aim::SegmentMade | Aim::SegmentChange | Aim::Compression => SMALL_SEGMENT,
            _ => *self.random.pick(&[SMALL_SEGMENT, 256 << 10, 1 << 20, 4 << 20]),
        };
        let waiting_bytes = match aim {
            Aim::RowWriting => 128 << 10,
            Aim::Serving => 1 << 29,
            _ => *self.random.pick(&[128 << 10, 1 << 20, 1 << 29]),
        };
        Knobs { segment_bytes, waiting_bytes }
    }

    /// Kills it before it serves, if it does not come to serve before.
    fn at_start(&mut self, up_to: Duration, look: impl Fn(&Server) -> Option<()>) {
        let waiting_bytes = *self.random.pick(&[128 << 10, 1 << 29]);
        let mut server = self.spawn(waiting_bytes);
        server.wait_for("starting", |server| look(server).or_else(|| server.said().contains(": serving").then_some(())));
        self.sleep(up_to);
        self.kill(server);
    }

    /// Starts it, verifies what the kills before left, and kills it while clients are at work.
    async fn under_load(&mut self, aim: Aim) {
        let knobs = self.knobs(aim);
        let mut server = self.spawn_with(knobs);
        let address = server.serving();
        let caller = Caller::connect(&address).await;
        self.table.counts += verify(&self.shared, &caller, &mut self.random, false).await;
        let load = Load::start(&self.shared, &caller, &mut self.random);
        tokio::time::sleep(self.pause(self.work)).await;
        tokio::task::block_in_place(|| self.end(aim, server, &address));
        load.ended().await;
    }

    fn end(&mut self, aim: Aim, mut server: Server, address: &str) {
        let shortly = Duration::from_millis(3);
        match aim {
            Aim::SegmentMade => {
                let before = server.next_segment();
                self.look(&server, |server| server.next_segment().is_some_and(|made| Some(made) != before));
            }
            Aim::SegmentChange => {
                let before = server.newest_segment();
                self.look(&server, |server| server.newest_segment().map(|newest| newest.0) != before.as_ref().map(|it| it.0.clone()));
            }
            Aim::Compression => {
                self.look(&server, Server::is_compressing);
                self.sleep(shortly / 6);
            }
            Aim::Backup => {
                server.back_up(address, &self.backup());
                self.sleep(shortly * 10);
            }
            Aim::RowWriting => {
                // Not always at its beginning.
                self.sleep(shortly);
                let phase = server.kill_writing_rows(SOON);
                return self.count(phase);
            }
            Aim::Drain => {
                server.terminate();
                self.look(&server, |server| server.said().contains(": stopping"));
                self.sleep(shortly);
            }
            Aim::WritingOut => {
                server.terminate();
                self.look(&server, |server| !server.has_thread(WRITER));
                self.sleep(shortly * 4);
            }
            Aim::Stop => {
                server.terminate();
                server.ended();
                self.table.stops += 1;
                return;
            }
            Aim::Serving | Aim::Start | Aim::TablesOpen | Aim::Replay | Aim::Rebuild | Aim::Check => {}
        }
        self.kill(server);
    }

    /// Busily, and not for ever.
    fn look(&self, server: &Server, seen: impl Fn(&Server) -> bool) {
        let since = Instant::now();
        while !seen(server) && since.elapsed() < SOON {
            std::thread::yield_now();
        }
    }

    fn kill_check(&mut self) {
        for (phase, words) in [(Phase::Check, &["check", "--data"][..]), (Phase::Repair, &["check", "--repair", "--data"])] {
            let mut check = loyaltyd();
            check.args(words).arg(self.data());
            if self.kill_within(&mut check, Duration::from_millis(150)) {
                self.count(Some(phase));
            }
        }
    }

    /// What is left either is no data folder or all of it; then it gives way to the next one.
    fn kill_restore(&mut self) {
        let target = self.data();
        if self.kill_within(&mut restore(&self.backup(), &target), Duration::from_millis(60)) {
            self.count(Some(Phase::Restore));
        }
        if target.join("journal").exists() {
            check(&target);
        } else {
            let refused = loyaltyd().arg("check").arg("--data").arg(&target).output().expect("the binary starts");
            assert!(!refused.status.success(), "half a restore passes as a data folder");
        }
        if target.exists() {
            fs::remove_dir_all(&target).expect("half a restore is removed");
        }
    }

    /// Runs something, and kills it if it has not ended after a time up to this. Whether it was killed.
    fn kill_within(&mut self, command: &mut Command, up_to: Duration) -> bool {
        let mut process = Guard(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts"));
        self.sleep(up_to);
        process.0.kill().expect("a child can be killed");
        process.0.wait().expect("a child ends").signal() == Some(9)
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    /// Everything that was ever sent, a backup, a stop in order, and `check`. From then on the server lives in a folder that was made of the
    /// backup, which goes on from the backups that the kills cut short.
    async fn verify_whole(&mut self) {
        let mut server = self.spawn(1 << 29);
        let address = server.serving();
        let caller = Caller::connect(&address).await;
        self.table.counts += verify(&self.shared, &caller, &mut self.random, true).await;
        run(backup(&address, &self.backup()));
        drop(caller);
        server.terminate();
        server.ended();
        check(&self.data());
        let old = self.data();
        self.restores += 1;
        for _ in 0..2 {
            self.kill_restore();
        }
        run(restore(&self.backup(), &self.data()));
        fs::remove_dir_all(old).expect("the old folder is not needed any more");
        let mut server = self.spawn(1 << 29);
        let caller = Caller::connect(&server.serving()).await;
        // What changed since is nothing: this looks at a part of all, and `check` at the rest.
        self.table.counts += verify(&self.shared, &caller, &mut self.random, false).await;
        drop(caller);
        server.terminate();
        server.ended();
        check(&self.data());
        self.table.checks += 2;
        self.table.restored += 1;
    }
}

/// Ends with whoever started it, also when that panics.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // A second time does no harm.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(mut command: Command) -> String {
    let output = command.output().expect("the binary starts");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed: {failed}\n{said}");
    said.into_owned()
}

fn restore(from: &Path, to: &Path) -> Command {
    let mut restore = loyaltyd();
    restore.arg("restore").arg("--from").arg(from).arg("--to").arg(to);
    restore
}

fn check(data: &Path) {
    let mut check = loyaltyd();
    check.arg("check").arg("--data").arg(data);
    let said = run(check);
    let differences = said.lines().find_map(|line| line.strip_prefix("differences")).expect("a check counts differences");
    assert_eq!(differences.trim(), "0", "{said}");
}
