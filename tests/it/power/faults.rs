//! A disk that fails: fsyncs and writes that end with EIO, and one that is full. What was acknowledged is there afterwards; what could not
//! be made durable is not acknowledged; and when there is space again writing goes on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use loyaltyd::{
    domain::Command,
    store::{
        Store, StoreError,
        embedded::{EmbeddedStore, check},
    },
};
use tempfile::TempDir;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    dice::Dice,
    disk::Left,
    mount::{Drive, Fault, Mounted, Operation, Plan, can_mount, untested},
    server::{self, RULE_BOOK, Server},
    store_cuts::{Story, Told, is_long, live, options, patiently, recover, seed},
    till::Tills,
};
use crate::support::histories::{World, adjustment, erasure, person};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Until a store notices that there is space.
const PATIENCE: Duration = Duration::from_secs(10);
const FAILS: &str = "what happens when the disk fails";
const FULL: &str = "what happens when the disk is full";

fn drive(fault: Fault) -> Drive {
    Drive { plan: Plan { faults: vec![fault], ..Plan::default() }, ..Drive::default() }
}

/// One operation fails, and the process ends if it is told; it starts again on the same machine, works, and then the power is cut: what
/// the kernel only believed to be written is gone then.
fn fail_once(fault: &Fault, seed: u64, left: Left) -> bool {
    let mut dice = Dice(seed);
    let mut story = Story::new();
    let mounted = Mounted::new(drive(fault.clone()));
    let result = catch_unwind(AssertUnwindSafe(|| live(&mut story, &mounted, 40, &mut dice)));
    let mut told = Told(format!("seed {seed}, {fault:?}, left {left:?}; before it:\n{}", mounted.drive().told()));
    let failures = mounted.drive().failures;
    if failures == 0 {
        assert!(matches!(result, Ok(Ok(()))), "{result:?}");
        return false;
    }
    if let Ok(Err(error)) = &result {
        let named = error.to_string();
        assert!(
            named.contains(&*mounted.path().to_string_lossy()) || matches!(error, StoreError::Tables(_)),
            "it does not name the file: {named}"
        );
    }
    mounted.drive().plan.faults.clear();
    let store = patiently(|| EmbeddedStore::open(&mounted.data(), options()))
        .unwrap_or_else(|error| panic!("it does not open after {fault:?}: {error}"));
    story.verify(&store);
    for _ in 0..3 {
        story.step(&store, &mut dice).expect("writing goes on");
    }
    told.0 += &format!("\nthen:\n{}", mounted.drive().told());
    mounted.switch_off();
    // Without power sled panics when it is closed.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
    let disk = mounted.drive().disk.after_cut(left, &mut dice);
    drop(mounted);
    recover(&mut story, disk, &mut dice);
    true
}

#[test]
fn a_disk_that_fails_at_any_operation_loses_nothing() {
    if !can_mount(FAILS) {
        return;
    }
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    let mut dice = Dice::child(seed, 1);
    for (operation, path) in [
        (Operation::Sync, ""),
        (Operation::Sync, "data/keys"),
        (Operation::Sync, "data/journal"),
        (Operation::Sync, "data/tables"),
        (Operation::Write, "data/keys"),
        (Operation::Write, "data/journal"),
        (Operation::Write, "data/tables"),
        (Operation::Allocate, ""),
        (Operation::Name, ""),
    ] {
        let (mut skip, mut failed) = (0, 0);
        loop {
            let left = dice.one_of(&[Left::Nothing, Left::Some]);
            if !fail_once(&Fault { operation, path, skip, times: 1, error: EIO }, seed, left) {
                break;
            }
            failed += 1;
            skip += 1 + if long { 0 } else { dice.below(24) };
        }
        println!("{failed} times one {operation:?} of {path:?} failed: nothing lost");
        assert!(failed > 0);
    }
}

/// Writes until the disk is full. Refused commits leave nothing, and reading goes on.
fn fill(story: &mut Story, store: &dyn Store, dice: &mut Dice) {
    let mut refused = 0;
    for _ in 0..2_000 {
        match story.step(store, dice) {
            Ok(()) => {}
            Err(StoreError::NoSpace { .. }) => {
                refused += 1;
                story.verify(store);
            }
            Err(other) => panic!("a full disk ends the service: {other}"),
        }
        if refused == 5 {
            return;
        }
    }
    panic!("the disk does not become full");
}

/// There is space again, which the store notices soon.
fn go_on(story: &mut Story, store: &dyn Store, dice: &mut Dice) {
    let since = Instant::now();
    let mut written = 0;
    while written < 20 {
        match story.step(store, dice) {
            Ok(()) => written += 1,
            Err(StoreError::NoSpace { .. }) if since.elapsed() < PATIENCE => {
                story.verify(store);
                std::thread::yield_now();
            }
            Err(error) => panic!("there is space again: {error}"),
        }
    }
}

/// The journal has the erasure when the key cannot be wiped: nothing follows, and the next start makes up for it.
#[test]
fn a_key_that_cannot_be_wiped_ends_the_store_and_the_next_start_wipes_it() {
    if !can_mount(FAILS) {
        return;
    }
    for operation in [Operation::Write, Operation::Sync] {
        let mounted = Mounted::new(Drive::default());
        let mut world = World::new();
        let store = patiently(|| EmbeddedStore::open(&mounted.data(), options())).expect("the store opens");
        world.enroll(&store, 1);
        world.enroll(&store, 2);
        let commit = |commit| store.begin(&[]).expect("a unit of work begins").commit(commit);
        mounted.drive().plan.faults.push(Fault { operation, path: "data/keys", skip: 0, times: 1, error: EIO });
        world.decide(1, &erasure()).expect("anyone may go");
        assert!(matches!(commit(world.take()), Err(StoreError::Io { .. })));
        let mut refused = world.clone();
        refused.decide(2, &adjustment(1)).expect("an adjustment");
        assert!(matches!(commit(refused.take()), Err(StoreError::Damaged(_))));
        drop(store);
        let store = patiently(|| EmbeddedStore::open(&mounted.data(), options())).expect("the store opens");
        world.check(&store);
        drop(store);
        assert!(check(&mounted.data(), &options()).expect("the journal is whole").is_sound());
    }
}

/// The kernel goes on showing a slot whose fsync failed, until the power is cut: who counts on it misses it then.
#[test]
fn keys_that_did_not_become_durable_are_made_so_or_not_counted_on() {
    if !can_mount(FAILS) {
        return;
    }
    let mounted = Mounted::new(Drive::default());
    let mut world = World::new();
    let store = patiently(|| EmbeddedStore::open(&mounted.data(), options())).expect("the store opens");
    world.enroll(&store, 1);
    mounted.drive().plan.faults.push(Fault { operation: Operation::Sync, path: "data/keys", skip: 0, times: 1, error: EIO });
    let mut refused = world.clone();
    refused.decide(2, &Command::Enroll { person: person("Refused", &[]) }).expect("a new member enrols");
    let unit = store.begin(&[]).expect("a unit of work begins");
    assert!(matches!(unit.commit(refused.take()), Err(StoreError::Io { .. })));
    drop(store);
    let store = patiently(|| EmbeddedStore::open(&mounted.data(), options())).expect("the store opens");
    store.flush().expect("the tables say how many keys there are");
    drop(store);
    let disk = mounted.drive().disk.after_cut(Left::Nothing, &mut Dice(1));
    drop(mounted);
    let mounted = Mounted::new(Drive::new(disk));
    let store = patiently(|| EmbeddedStore::open(&mounted.data(), options())).expect("the store opens after a cut of power");
    world.check(&store);
    world.enroll(&store, 3);
    world.check(&store);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    if !can_mount(FULL) {
        return;
    }
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    let rounds = if long { 60 } else { 6 };
    for round in 0..rounds {
        let mut dice = Dice::child(seed, round);
        let mut story = Story::new();
        let _told = Told(format!("seed {seed}, round {round}"));
        let mounted = Mounted::new(Drive::default());
        let store = patiently(|| EmbeddedStore::open(&mounted.data(), options())).expect("the store opens");
        for _ in 0..dice.below(40) {
            story.step(&store, &mut dice).expect("there is space");
        }
        for _ in 0..2 {
            // Nothing is just being written to the tables.
            store.flush().expect("rows are written out");
            {
                let drive = &mut *mounted.drive();
                drive.plan.quota = Some(drive.disk.used() + dice.below(100 << 10));
            }
            fill(&mut story, &store, &mut dice);
            mounted.drive().plan.quota = None;
            go_on(&mut story, &store, &mut dice);
            story.verify(&store);
        }
        store.flush().expect("rows are written out");
        drop(store);
        assert!(patiently(|| check(&mounted.data(), &options())).expect("the journal is whole").is_sound());
        assert!(!mounted.data().join("tables.broken-1").exists(), "a full disk is no reason to make the tables again");
        let disk = mounted.drive().disk.after_cut(dice.one_of(&Left::ALL), &mut dice);
        drop(mounted);
        recover(&mut story, disk, &mut dice);
    }
}

/// Space may also go while rows are being written to the tables, which sled does not survive: then the store ends. It may not start while
/// the disk is full, and says why; when there is space again nothing is lost.
#[test]
fn space_that_vanishes_at_any_moment_takes_nothing_along() {
    if !can_mount(FULL) {
        return;
    }
    let (seed, long) = (seed(), is_long());
    println!("LOYALTYD_TEST_SEED={seed}");
    let (mut ended, mut refused) = (0, 0);
    let rounds = if long { 100 } else { 8 };
    for round in 0..rounds {
        let mut dice = Dice::child(seed, 1_000 + round);
        let mut story = Story::new();
        let mounted = Mounted::new(Drive::default());
        mounted.drive().plan.quota_from = Some((dice.below(500), dice.below(64 << 10)));
        let mut told = Told(format!("seed {seed}, round {round}"));
        // How it ends is not what this is about: it may also not end, but refuse.
        let _ = catch_unwind(AssertUnwindSafe(|| live(&mut story, &mounted, 60, &mut dice)));
        told.0 += &format!("; before it:\n{}", mounted.drive().told());
        match catch_unwind(AssertUnwindSafe(|| patiently(|| EmbeddedStore::open(&mounted.data(), options())))) {
            Ok(Ok(store)) => {
                story.verify(&store);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
            }
            Ok(Err(error)) => {
                ended += 1;
                let said = error.to_string();
                assert!(said.contains("space"), "it does not say why it does not start: {said}");
            }
            // sled, when it is closed.
            Err(_) => refused += 1,
        }
        mounted.drive().plan = Plan::default();
        let store =
            patiently(|| EmbeddedStore::open(&mounted.data(), options())).unwrap_or_else(|error| panic!("with space again: {error}"));
        story.verify(&store);
        drop(store);
        let disk = mounted.drive().disk.after_cut(Left::ALL[round as usize % Left::ALL.len()], &mut dice);
        drop(mounted);
        recover(&mut story, disk, &mut dice);
    }
    println!("{rounds} times space vanished; {ended} starts were refused for it, {refused} ended in a panic of sled's: nothing lost");
}

/// A real file system, which is full for real.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mount =
            process::Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path()).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_tmpfs_refuses_writes_until_there_is_space() {
    let Some(tmpfs) = Tmpfs::new("24m") else {
        return untested(&format!("{FULL}, on a tmpfs, which cannot be mounted here"));
    };
    let seed = seed();
    println!("LOYALTYD_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let mut story = Story::new();
    let data = tmpfs.0.path().join("data");
    let ballast = tmpfs.0.path().join("ballast");
    let store = EmbeddedStore::open(&data, options()).expect("the store opens");
    for _ in 0..3 {
        // Takes what is left, but for a little.
        let mut bytes = vec![1; 24 << 20];
        while std::fs::write(&ballast, &bytes).is_err() {
            bytes.truncate(bytes.len() - (64 << 10));
        }
        fill(&mut story, &store, &mut dice);
        std::fs::remove_file(&ballast).expect("the ballast goes");
        go_on(&mut story, &store, &mut dice);
        story.verify(&store);
    }
    store.flush().expect("rows are written out");
    drop(store);
    assert!(patiently(|| check(&data, &options())).expect("the journal is whole").is_sound());
}

fn rule_book(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("shop.yaml");
    std::fs::write(&path, RULE_BOOK).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_fsync_fails_ends_with_a_reason_and_keeps_its_promises() {
    if !can_mount(FAILS) {
        return;
    }
    let seed = seed();
    println!("LOYALTYD_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let folder = TempDir::new().unwrap();
    let rule_book = rule_book(&folder);
    let tills = Tills::default();
    let mounted = Mounted::new(Drive::default());
    for path in ["data/journal/", "data/keys", "data/journal/"] {
        let server = Server::spawn(&mounted.data(), &rule_book);
        let channel = server.connect().await.unwrap_or_else(|| panic!("it does not start:\n{}", server.said()));
        tills.verify(&channel, &mut dice).await;
        let fault = Fault { operation: Operation::Sync, path, skip: dice.below(5), times: 1, error: EIO };
        mounted.drive().plan.faults = vec![fault];
        let never = Arc::new(AtomicBool::new(false));
        let work = tills.work(&channel, &mut dice, &never);
        tokio::time::timeout(server::PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("clients still find it after {path} failed:\n{}", server.said()));
        let (status, said) = tokio::task::block_in_place(|| server.ended());
        assert!(!status.success(), "{said}");
        assert!(said.contains("the process ends, what was acknowledged is on disk") && said.contains(path), "{said}");
        assert_eq!(mounted.drive().failures, 1);
        mounted.drive().failures = 0;
    }
    let server = Server::spawn(&mounted.data(), &rule_book);
    let channel = server.connect().await.unwrap_or_else(|| panic!("it does not start:\n{}", server.said()));
    tills.verify(&channel, &mut dice).await;
    drop(channel);
    server.stop();
    server::check(&mounted.data());
}

/// What is waited for, with a limit: what does not come is a failure that shows what the server says.
async fn until(what: &str, server: &Server, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(server::PATIENCE, waited)
        .await
        .unwrap_or_else(|_| panic!("not so in time: {what}; the server:\n{}", server.said()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_a_full_disk_refuses_changes_answers_reads_and_goes_on() {
    if !can_mount(FULL) {
        return;
    }
    let seed = seed();
    println!("LOYALTYD_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let folder = TempDir::new().unwrap();
    let rule_book = rule_book(&folder);
    let tills = Tills::default();
    let mounted = Mounted::new(Drive::default());
    let mut server = Server::spawn(&mounted.data(), &rule_book);
    let channel = server.connect().await.unwrap_or_else(|| panic!("it does not start:\n{}", server.said()));
    let stop = Arc::new(AtomicBool::new(false));
    let full_for = async {
        until("changes are taken", &server, || tills.answered() >= 60).await;
        // Too little is left for the tables to begin with more rows, enough for those that are just being written; and the journal has
        // no room at all.
        let used = mounted.drive().disk.used();
        mounted.drive().plan.quota = Some(used + (6 << 20));
        mounted.drive().plan.faults = vec![
            Fault { operation: Operation::Write, path: "data/journal/", skip: 0, times: u64::MAX, error: ENOSPC },
            Fault { operation: Operation::Allocate, path: "", skip: 0, times: u64::MAX, error: ENOSPC },
        ];
        let refusals = || tills.refusals.lock().unwrap().get("DISK_FULL").copied().unwrap_or(0);
        until("changes are refused for want of space", &server, || refusals() >= 50).await;
        let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(health.status(), ServingStatus::Serving);
        tills.look_on(&channel).await;
        mounted.drive().plan = Plan::default();
        let answered = tills.answered();
        until("changes are taken again", &server, || tills.answered() >= answered + 60).await;
        stop.store(true, Ordering::Relaxed);
    };
    let mut load = dice.clone();
    let both = async { tokio::join!(full_for, tills.work(&channel, &mut load, &stop)) };
    let limit = server::PATIENCE * 4;
    tokio::time::timeout(limit, both).await.unwrap_or_else(|_| panic!("clients wait for ever:\n{}", server.said()));
    assert!(server.is_running());
    tills.verify(&channel, &mut dice).await;
    let said = server.said();
    for line in ["the disk is full: changes are refused until there is space", "there is space on the disk again; changes are taken"] {
        assert_eq!(said.matches(line).count(), 1, "{line} once: {said}");
    }
    println!("{:?}", tills.refusals.lock().unwrap());
    drop(channel);
    server.stop();
    server::check(&mounted.data());
}
