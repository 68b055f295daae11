//! Cuts of power under the real server, with clients at work.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    dice::Dice,
    disk::{Disk, Left},
    mount::{Drive, Moment, Mounted, Plan, can_mount},
    server::{RULE_BOOK, Server, check},
    store_cuts::{Told, is_long, seed},
    till::{Counts, Tills},
};

/// After so long the power goes if it has not gone at the moment that was meant.
const LONGEST: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_is_cut_under_a_server_with_clients() {
    if !can_mount("that the server loses nothing that it answered when the power is cut") {
        return;
    }
    let seed = seed();
    println!("LOYALTYD_TEST_SEED={seed}");
    let (stories, cuts) = if is_long() { (20, 16) } else { (2, 4) };
    let folder = TempDir::new().unwrap();
    let rule_book = folder.path().join("shop.yaml");
    std::fs::write(&rule_book, RULE_BOOK).unwrap();
    let (mut all, mut answered, mut early) = (Counts::default(), 0, 0);
    for story in 0..stories {
        let mut dice = Dice::child(seed, story);
        let tills = Tills::default();
        let mut disk = Disk::default();
        let mut told = Told(format!("seed {seed}, story {story}"));
        for _ in 0..cuts {
            let at_start = dice.below(4) == 0;
            let left = dice.one_of(&Left::ALL);
            let mounted = Mounted::new(Drive::new(disk));
            let cut = if at_start { Moment::BeforeOperation(dice.below(80)) } else { moment(&mounted, &mut dice) };
            mounted.drive().plan = Plan { cut: at_start.then_some(cut), ..Plan::default() };
            let server = Server::spawn(&mounted.data(), &rule_book);
            let served = server.connect().await;
            assert!(served.is_some() || mounted.drive().is_off, "it does not start:\n{}", server.said());
            early += u64::from(served.is_none());
            if let (Some(channel), false) = (served, at_start) {
                let counts = tills.verify(&channel, &mut dice).await;
                all.carried_out += counts.carried_out;
                all.absent += counts.absent;
                all.repeated += counts.repeated;
                let cut = moment(&mounted, &mut dice);
                mounted.drive().plan.cut = Some(cut);
                let stop = Arc::new(AtomicBool::new(false));
                // Whatever comes first: all clients have met their end, or it takes too long.
                let _ = tokio::time::timeout(LONGEST, tills.work(&channel, &mut dice, &stop)).await;
            }
            mounted.switch_off();
            drop(server);
            let drive = mounted.drive();
            told.0 = format!("seed {seed}, story {story}, cut at {cut:?}, left {left:?}; before it:\n{}", drive.told());
            disk = drive.disk.after_cut(left, &mut dice);
        }
        let mounted = Mounted::new(Drive::new(disk));
        let server = Server::spawn(&mounted.data(), &rule_book);
        let channel = server.connect().await.unwrap_or_else(|| panic!("it does not start after the cut:\n{}", server.said()));
        all.entries += tills.verify(&channel, &mut dice).await.entries;
        answered += tills.answered();
        drop(channel);
        server.stop();
        check(&mounted.data());
    }
    println!("{} cuts under a server, {early} of them before it served; {answered} requests answered, none lost: {all:?}", stories * cuts);
}

/// Some time from now.
fn moment(mounted: &Mounted, dice: &mut Dice) -> Moment {
    let drive = mounted.drive();
    match dice.below(3) {
        0 => Moment::BeforeSync(drive.syncs + dice.below(120)),
        1 => Moment::AfterSync(drive.syncs + dice.below(120)),
        _ => Moment::BeforeOperation(drive.operations + dice.below(400)),
    }
}
