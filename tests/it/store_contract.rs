//! What every store must do, written against the trait; a store adds itself by a factory at the end.

use std::sync::Arc;

use loyaltyd::{
    domain::{
        ActivityId, BirthDate, Command, Entry, EntryKind, Fingerprint, LotKey, MemberId, MemberKey, Points, ProfileUpdate, ProgramId,
        RequestId, RewardId, RuleId, TierId, VoucherCode, VoucherRequest,
    },
    store::{
        Commit, LotDemand, MemberDemand, Store,
        embedded::{EmbeddedStore, Options, check},
    },
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::histories::{
    BIRTHDAYS, GOAL, OFFERS, SEGMENTS, SLOW_GOAL, World, activity, adjustment, capture, commit, erasure, hold, hours, key, lot_keys,
    member_id, offer, order, person, phone, priced_purchase, program_id, purchase, purchase_by_code, purchase_on, purchase_with,
    redemption, release, return_of, reversal, reward, voucher,
};

/// Opens the store of a test; again what was there before, if it was opened before.
pub trait Factory {
    fn open(&self) -> Arc<dyn Store>;
}

fn what_was_committed_is_read(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    world.publish(&*store, 1);
    world.publish(&*store, 2);
    for number in 1..=5 {
        world.enroll(&*store, number);
    }
    // One commit over several members, several commands of one member, several lots.
    world.decide(1, &purchase(1, 12_34, None)).expect("a purchase");
    world.decide(1, &purchase(2, 99_99, None)).expect("a purchase");
    world.decide(2, &purchase(3, 1, None)).expect("a purchase");
    world.decide(3, &adjustment(55)).expect("an adjustment");
    world.decide(3, &adjustment(-5)).expect("an adjustment");
    world.commit(&*store);
    // Points that wait for a day, and for a confirmation; sales that come back before and after.
    world.decide(1, &purchase_on("app", 4, 30_00, None)).expect("a purchase");
    world.decide(2, &purchase_on("web", 5, 30_00, None)).expect("a purchase");
    world.decide(2, &purchase_on("web", 6, 30_00, None)).expect("a purchase");
    world.commit(&*store);
    world.check(&*store);
    world.decide(1, &return_of(order(4), Some(10_00))).expect("a return");
    world.decide(2, &return_of(order(5), None)).expect("a return");
    world.decide(2, &return_of(order(6), Some(5_00))).expect("a return");
    world.decide(2, &Command::ConfirmPurchase { order: order(6) }).expect("a confirmation");
    world.decide(2, &return_of(order(6), Some(5_00))).expect("a return");
    world.commit(&*store);
    world.check(&*store);
    world.now += hours(24);
    world.decide(1, &return_of(order(4), None)).expect("a return");
    world.commit(&*store);
    world.decide(4, &Command::AddIdentifier { identifier: phone(44) }).expect("an identifier");
    world.decide(4, &Command::RemoveIdentifier { identifier: phone(4) }).expect("an identifier");
    let update = ProfileUpdate { display_name: Some("Another name".to_owned()), birth_date: Some(None), language_code: None };
    world.decide(5, &Command::UpdateProfile(update)).expect("an update");
    world.decide(5, &Command::Suspend { reason: "fraud".to_owned() }).expect("a suspension");
    world.commit(&*store);
    world.check(&*store);
    // Two are erased: one alone, one with what else was asked in the same commit. What the first had is somebody else's then.
    world.decide(3, &erasure()).expect("anyone may go");
    world.commit(&*store);
    world.check(&*store);
    world.decide(4, &Command::AddIdentifier { identifier: phone(3) }).expect("an identifier");
    world.decide(5, &Command::AddIdentifier { identifier: phone(55) }).expect("an identifier");
    world.decide(5, &erasure()).expect("anyone may go");
    world.commit(&*store);
    world.check(&*store);
    store.flush().expect("rows are written out");
    world.check(&*store);
    drop(store);
    world.check(&*factory.open());
}

fn holds_and_redemptions_are_kept(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    world.enroll(&*store, 1);
    for points in [30, 40, 50] {
        world.decide(1, &adjustment(points)).expect("an adjustment");
        world.now += hours(5);
    }
    world.commit(&*store);
    // Entries 5 to 10.
    world.decide(1, &redemption(45)).expect("a redemption");
    world.decide(1, &hold(20, 100)).expect("a hold");
    world.decide(1, &hold(40, 200)).expect("a hold");
    world.commit(&*store);
    world.check(&*store);
    world.decide(1, &hold(10, 1)).expect("a hold");
    world.decide(1, &reversal(5, Some(10))).expect("a reversal");
    world.decide(1, &capture(6, Some(15))).expect("a capture");
    world.commit(&*store);
    world.check(&*store);
    store.flush().expect("rows are written out");
    // One hold is over; then all lots have lapsed, and what of them goes back has grace, or lapses with its hold.
    world.now += hours(2);
    world.decide(1, &reversal(5, Some(1))).expect("a reversal");
    world.commit(&*store);
    world.check(&*store);
    world.now += hours(100);
    world.decide(1, &reversal(5, None)).expect("a reversal");
    world.decide(1, &release(7)).expect("a release");
    world.commit(&*store);
    world.check(&*store);
    let member = &world.members[&member_id(1)];
    assert!(member.holds.is_empty() && member.header.balance.available == Points(34), "{member:?}");
    drop(store);
    world.check(&*factory.open());
}

fn tiers_are_reviewed_on_time(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::with_reviews();
    (1..=4).for_each(|number| world.enroll(&*store, number));
    // One reaches a tier and keeps it at the first review, one has it by hand for a time, one brings back what it was reached with.
    world.decide(1, &purchase(1, 60_00, None)).expect("a purchase");
    let by_hand = |last_date: &str| {
        let (tier, last_date) = (TierId::new("gold").expect("an id"), Some(last_date.parse().expect("a date")));
        Command::SetTier { tier, reason: "goodwill".to_owned(), last_date }
    };
    world.decide(2, &by_hand("2026-02-20")).expect("the tier is another");
    world.decide(3, &purchase(2, 60_00, None)).expect("a purchase");
    world.commit(&*store);
    world.check(&*store);
    world.decide(3, &return_of(order(2), None)).expect("a return");
    world.commit(&*store);
    world.check(&*store);
    // Points of 15 January have lapsed. What was set by hand ends when 21 February begins in Ho Chi Minh City: on the 20th at 17:00.
    let start = world.now;
    for (later, due) in [(24 * 36 + 6, 2), (24 * 36 + 7, 3)] {
        world.now = start + hours(later);
        let all = store.due(world.now, None, 10).expect("what is due is read");
        assert_eq!(all.len(), due, "{later} hours later");
        for (place, after) in all.iter().enumerate() {
            let behind = store.due(world.now, Some(after), 10).expect("what is due is read");
            assert_eq!(behind, all[place + 1..], "{later} hours later, behind {after:?}");
        }
    }
    world.now = start + hours(24 * 78);
    for number in 1..=4 {
        world.decide(number, &adjustment(1)).expect("an adjustment");
    }
    world.commit(&*store);
    world.check(&*store);
    world.now = start + hours(24 * 300);
    for number in 1..=4 {
        world.decide(number, &purchase(u64::from(number) + 10, 60_00, Some(world.now - hours(24 * 5)))).expect("a purchase");
    }
    world.commit(&*store);
    world.check(&*store);
    let kinds = |number: u8| {
        let of = |entry: &Entry| match &entry.kind {
            EntryKind::TierChanged(change) => Some(change.to.to_string()),
            EntryKind::TierKept(kept) => Some(format!("{} kept", kept.tier)),
            EntryKind::TierRewarded(_) => Some("reward".to_owned()),
            _ => None,
        };
        world.entries[&member_id(number)].iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(kinds(1), ["gold", "reward", "gold kept", "silver", "gold", "reward"]);
    assert_eq!(kinds(2), ["gold", "silver", "gold", "reward"]);
    assert_eq!(kinds(3), ["gold", "reward", "silver", "gold", "reward"]);
    drop(store);
    world.check(&*factory.open());
}

fn activities_are_found_again(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    (1..=3).for_each(|number| world.enroll(&*store, number));
    // Two in one commit, of which the second is capped; and a referral, whose points wait a day on one side.
    world.decide(1, &activity("review", "r-1", None)).expect("a review");
    world.decide(1, &activity("review", "r-2", None)).expect("a review");
    world.decide(2, &activity("referral", "r-1", Some(1))).expect("a referral");
    world.decide(3, &activity("referral", "r-1", Some(1))).expect("a referral");
    world.commit(&*store);
    world.check(&*store);
    let find = |number, kind: &str, reference| {
        store.activity(&key(number), &ActivityId::new(kind).expect("an id"), reference).expect("an activity is read")
    };
    assert_eq!([find(1, "review", None), find(1, "referral", Some("r-1")), find(1, "referral", None)], [None; 3]);
    assert_eq!([find(2, "referral", Some("r-1")), find(2, "referral", None), find(2, "review", Some("r-1"))], [Some(2), Some(2), None]);
    world.now += hours(24);
    world.decide(2, &activity("referral", "r-2", None)).expect("one that nobody is said to have brought");
    world.commit(&*store);
    world.check(&*store);
    // One that waits for a purchase is earned, taken back with the goods, and earned anew.
    world.decide(3, &activity("friend", "f-1", Some(1))).expect("a referral that waits");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!([find(3, "friend", Some("f-1")), find(3, "friend", None)], [Some(world.entries[&member_id(3)].len() as u64); 2]);
    let referral = |world: &World| world.members[&member_id(3)].header.referral.as_ref().map(|held| held.waits);
    let mut waits = vec![referral(&world)];
    for command in [purchase(30, 5_00, None), return_of(order(30), None), purchase(31, 5_00, None)] {
        world.decide(3, &command).expect("it is recorded");
        world.decide(1, &adjustment(1)).expect("an adjustment");
        world.commit(&*store);
        world.check(&*store);
        waits.push(referral(&world));
    }
    assert_eq!(waits, [Some(true), Some(false), Some(true), Some(false)]);
    store.flush().expect("rows are written out");
    world.check(&*store);
    drop(store);
    world.check(&*factory.open());
}

fn vouchers_are_found_by_their_codes(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    (1..=2).for_each(|number| world.enroll(&*store, number));
    // Several in one commit, and one that is issued and used in one.
    for kind in ["off", "tea", "sku", "mug", "ship"] {
        world.decide(1, &voucher(kind)).expect("a voucher");
    }
    world.decide(2, &voucher("off")).expect("a voucher");
    world.commit(&*store);
    world.check(&*store);
    let codes = |world: &World, number| world.members[&member_id(number)].vouchers.keys().copied().collect::<Vec<_>>();
    let of_kind = |world: &World, kind: &str| {
        let vouchers = &world.members[&member_id(1)].vouchers;
        vouchers.values().find(|voucher| voucher.kind.as_str() == kind).expect("it is live").code
    };
    let (tea, sku, ship) = (of_kind(&world, "tea"), of_kind(&world, "sku"), of_kind(&world, "ship"));
    world.decide(1, &purchase_with(&[tea, sku], 1, 20_00)).expect("a purchase");
    let hold = VoucherRequest::Hold { code: ship, order: order(2), seconds: Some(3_600) };
    world.decide(1, &Command::Voucher(hold)).expect("it is held");
    world.commit(&*store);
    world.check(&*store);
    world.decide(1, &return_of(order(1), None)).expect("a return");
    world.commit(&*store);
    world.check(&*store);
    store.flush().expect("rows are written out");
    // The hold ends, and two lapse.
    world.now += hours(72);
    let mug = of_kind(&world, "mug");
    world.decide(1, &Command::Voucher(VoucherRequest::Cancel { code: mug, reason: "why".to_owned() })).expect("it is cancelled");
    world.decide(2, &adjustment(1)).expect("an adjustment");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!((codes(&world, 1).len(), codes(&world, 2).len()), (3, 0));
    drop(store);
    world.check(&*factory.open());
}

fn what_goals_take_and_give_is_kept(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::with(SLOW_GOAL);
    (1..=2).for_each(|number| world.enroll(&*store, number));
    let member = |world: &World| world.members[&member_id(1)].clone();
    // Two vouchers wait, and are there a day later.
    world.decide(1, &adjustment(250)).expect("an adjustment");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!(member(&world).header.goals.waiting.len(), 1);
    store.flush().expect("rows are written out");
    world.now += hours(30);
    world.decide(1, &adjustment(1)).expect("an adjustment");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!((member(&world).vouchers.len(), member(&world).header.goals.waiting.len()), (2, 0));
    let code = *member(&world).vouchers.keys().next().expect("a voucher");
    world.decide(1, &Command::Voucher(VoucherRequest::Cancel { code, reason: "why".to_owned() })).expect("it is cancelled");
    world.commit(&*store);
    world.check(&*store);
    world.decide(1, &adjustment(1)).expect("an adjustment");
    world.decide(2, &adjustment(100)).expect("an adjustment");
    world.decide(2, &erasure()).expect("anyone may go");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!(member(&world).header.goals.waiting.len(), 1);
    drop(store);
    world.check(&*factory.open());
}

fn promotions_are_counted_over_all_members(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    (1..=3).for_each(|number| world.enroll(&*store, number));
    let tally = |day: Option<&str>| {
        let key = (RuleId::new("spring").expect("a valid id"), day.map(|day| day.parse().expect("a date")));
        store.promotion_tally(&program_id(), &key).expect("a tally is read").map(|tally| (tally.change, tally.points.0))
    };
    let today = Some("2026-01-15");
    assert_eq!((tally(None), tally(today)), (None, None));
    // The members of a commit are named in the order of their ids: the last word on what is given is not the last one's.
    world.decide(3, &purchase_by_code(1, 2_00, &["SPRING"])).expect("a purchase");
    world.decide(1, &purchase_by_code(2, 3_00, &["SPRING", "GIFT"])).expect("a purchase");
    world.decide(2, &purchase_by_code(3, 1_00, &["SPRING"])).expect("a purchase");
    world.decide(1, &purchase_by_code(4, 9_00, &["SPRING"])).expect("a purchase");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!((tally(None), tally(today)), (Some((2, 70)), Some((2, 70))), "the day has 7 points and no more");
    store.flush().expect("rows are written out");
    world.check(&*store);
    // What comes back is free again, with what waits and the voucher.
    world.decide(3, &return_of(order(1), None)).expect("a return");
    world.decide(1, &return_of(order(2), Some(1_00))).expect("a return");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!(tally(None), Some((3, 30)));
    world.now += hours(24);
    world.decide(2, &purchase_by_code(5, 50_00, &["SPRING"])).expect("a purchase");
    world.decide(1, &return_of(order(2), None)).expect("a return");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!((tally(None), tally(today), tally(Some("2026-01-16"))), (Some((5, 70)), Some((4, 0)), Some((1, 70))));
    drop(store);
    world.check(&*factory.open());
}

fn rewards_are_counted_over_all_members(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    (1..=3).for_each(|number| world.enroll(&*store, number));
    (1..=3).for_each(|number| world.decide(number, &adjustment(500)).expect("an adjustment"));
    world.commit(&*store);
    let stock = |reward: &str| {
        let reward = RewardId::new(reward).expect("a valid id");
        store.reward_stock(&program_id(), &reward).expect("a stock is read").map(|stock| (stock.change, stock.taken))
    };
    assert_eq!((stock("cup"), stock("tasting")), (None, None));
    // The members of a commit are named in the order of their ids: the last word on what is taken is not the last one's.
    world.decide(3, &reward("cup", 2)).expect("two");
    world.decide(1, &reward("tasting", 1)).expect("one");
    world.decide(2, &reward("cup", 1)).expect("another");
    world.decide(1, &reward("cup", 1)).expect("another");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!((stock("cup"), stock("tasting")), (Some((4, 4)), Some((1, 1))));
    store.flush().expect("rows are written out");
    world.check(&*store);
    let of_cup = |world: &World, number| {
        let vouchers = &world.members[&member_id(number)].vouchers;
        vouchers.values().find(|voucher| voucher.kind.as_str() == "mug").expect("it is live").code
    };
    for number in [3, 1] {
        let code = of_cup(&world, number);
        world.decide(number, &Command::Voucher(VoucherRequest::Cancel { code, reason: "why".to_owned() })).expect("it is cancelled");
    }
    world.commit(&*store);
    world.check(&*store);
    assert_eq!(stock("cup"), Some((6, 2)));
    // Who is erased frees nothing.
    world.decide(2, &erasure()).expect("anyone may go");
    world.commit(&*store);
    world.check(&*store);
    assert_eq!(stock("cup"), Some((6, 2)));
    drop(store);
    world.check(&*factory.open());
}

fn birthdays_are_planned_and_forgotten(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::with(BIRTHDAYS);
    (1..=4).for_each(|number| world.enroll(&*store, number));
    world.check(&*store);
    let born = |month| ProfileUpdate { birth_date: Some(Some(BirthDate { year: None, month, day: 1 })), ..ProfileUpdate::default() };
    world.decide(2, &Command::UpdateProfile(born(7))).expect("an update");
    world
        .decide(3, &Command::SetTier { tier: TierId::new("gold").expect("an id"), reason: "why".to_owned(), last_date: None })
        .expect("it is gold");
    world.commit(&*store);
    world.check(&*store);
    // The window of 28 February has begun.
    world.now += hours(5 * 24);
    for number in 1..=4 {
        world.decide(number, &adjustment(1)).expect("an adjustment");
    }
    world.commit(&*store);
    world.check(&*store);
    let member = |world: &World, number| world.members[&member_id(number)].clone();
    let years = [1, 2, 3].map(|number| member(&world, number).header.birthday.last_year);
    assert_eq!((years, member(&world, 3).vouchers.len()), ([Some(2026), None, Some(2026)], 1));
    store.flush().expect("rows are written out");
    world.decide(1, &erasure()).expect("anyone may go");
    world.decide(2, &erasure()).expect("anyone may go");
    world.commit(&*store);
    world.check(&*store);
    assert!(member(&world, 2).header.birthday.next.is_none());
    drop(store);
    world.check(&*factory.open());
}

fn unknown_names_are_absent(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    let demand = MemberDemand { person: true, ..MemberDemand::header(world.now) };
    assert_eq!(store.member(&key(1), demand).expect("a read"), None);
    world.enroll(&*store, 1);
    let other = ProgramId::new("other").expect("a valid id");
    let elsewhere = MemberKey { program: other.clone(), member: member_id(1) };
    assert_eq!(store.member(&key(2), demand).expect("a read"), None);
    assert_eq!(store.member(&elsewhere, demand).expect("a read"), None);
    assert_eq!(store.member_by_identifier(&program_id(), &phone(2)).expect("a read"), None);
    assert_eq!(store.member_by_identifier(&other, &phone(1)).expect("a read"), None);
    assert_eq!(store.request(&program_id(), &RequestId::new("never").expect("a valid id")).expect("a read"), None);
    assert_eq!(store.purchase(&program_id(), &order(1)).expect("a read"), None);
    assert_eq!(store.voucher(&program_id(), &VoucherCode::from_bytes([7; 10])).expect("a read"), None);
    assert_eq!(store.entries(&key(2), 1, 10).expect("a read"), []);
    assert_eq!(store.lots(&key(2), None, 10).expect("a read"), []);
    assert_eq!(store.members(&other, None, 10).expect("a read"), []);
}

fn a_fingerprint_is_kept_under_a_key_that_stays(factory: &dyn Factory) {
    let plain = [Fingerprint([1; 16]), Fingerprint([2; 16])];
    let kept = plain.map(|plain| factory.open().keyed(plain));
    assert!(kept[0] != kept[1] && kept[0] != plain[0]);
    assert_eq!(plain.map(|plain| factory.open().keyed(plain)), kept);
}

/// Though the clock of what came later was set back.
fn the_latest_time_of_all_commits_stays_known(factory: &dyn Factory) {
    let store = factory.open();
    assert_eq!(store.latest_time(), None);
    let mut world = World::new();
    world.publish(&*store, 1);
    assert!(store.latest_time().is_some(), "a rule book was published then");
    world.now += hours(48);
    let latest = world.now;
    world.enroll(&*store, 1);
    assert_eq!(store.latest_time(), Some(latest));
    world.now -= hours(24);
    world.enroll(&*store, 2);
    assert_eq!(store.latest_time(), Some(latest));
    store.flush().expect("rows are written out");
    drop(store);
    assert_eq!(factory.open().latest_time(), Some(latest));
}

fn a_dropped_unit_changes_nothing(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    world.enroll(&*store, 1);
    let before = store.begin(&[]).expect("a unit of work").commit(Commit::default()).expect("nothing to commit");
    drop(store.begin(&[]).expect("a unit of work begins"));
    world.check(&*store);
    world.decide(1, &purchase(1, 500, None)).expect("a purchase");
    let after = world.commit(&*store);
    assert_eq!(after.0, before.0 + 1);
    // A unit sees what was committed before it.
    let unit = store.begin(&[]).expect("a unit of work begins");
    assert_eq!(unit.entries(&key(1), 1, 10).expect("a read"), world.entries[&member_id(1)]);
}

fn pages_go_on_where_they_ended(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    // Rows both in what was written out and in what waits.
    for number in [9, 1, 200, 77] {
        world.enroll(&*store, number);
        world.decide(number, &adjustment(10)).expect("an adjustment");
        world.commit(&*store);
    }
    store.flush().expect("rows are written out");
    for number in [8, 255, 78] {
        world.enroll(&*store, number);
    }
    for step in 0..7 {
        world.now += hours(1);
        world.decide(9, &adjustment(10 + step)).expect("an adjustment");
        world.commit(&*store);
    }
    let ids: Vec<MemberId> = world.members.keys().copied().collect();
    for size in 1..=8 {
        let mut found = Vec::new();
        while let page = store.members(&program_id(), found.last().copied(), size).expect("a page")
            && !page.is_empty()
        {
            assert!(page.len() <= size);
            found.extend(page);
        }
        assert_eq!(found, ids);
    }
    let all: Vec<LotKey> = world.members[&member_id(9)].lots.keys().copied().collect();
    for size in 1..=9 {
        let mut found: Vec<LotKey> = Vec::new();
        while let page = lot_keys(&store.lots(&key(9), found.last().copied(), size).expect("a page"))
            && !page.is_empty()
        {
            assert!(page.len() <= size);
            found.extend(page);
        }
        assert_eq!(found, all);
    }
    let entries = &world.entries[&member_id(9)];
    assert_eq!(store.entries(&key(9), 3, 5).expect("entries"), entries[2..5]);
    assert_eq!(store.entries(&key(9), 5, 3).expect("entries"), []);
}

/// Lots that have lapsed, as many live ones as cover the points, and the one after them.
fn a_member_is_loaded_as_far_as_asked(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    world.enroll(&*store, 1);
    for points in [10, 20, 30, 40] {
        world.decide(1, &adjustment(points)).expect("an adjustment");
        world.commit(&*store);
        if points == 20 {
            store.flush().expect("rows are written out");
        }
        world.now += hours(24);
    }
    let expiries: Vec<_> = world.members[&member_id(1)].lots.values().map(|lot| lot.expiry.time().expect("lots lapse")).collect();
    let load = |now, points: Option<i64>| {
        let demand =
            MemberDemand { lots: points.map_or(LotDemand::None, |points| LotDemand::Points(Points(points))), ..MemberDemand::header(now) };
        let member = store.member(&key(1), demand).expect("a read").expect("the member is there");
        assert_eq!(member.person, None);
        member.lots.values().map(|lot| lot.remaining.0).collect::<Vec<_>>()
    };
    // Two lots have lapsed in the world by now; the store still holds what was last committed.
    let held: Vec<i64> = world.members[&member_id(1)].lots.values().map(|lot| lot.remaining.0).collect();
    assert_eq!(load(expiries[0] - hours(1), Some(1)), held[..2]);
    assert_eq!(load(expiries[0] - hours(1), Some(held[0])), held[..2]);
    assert_eq!(load(expiries[0] - hours(1), Some(held[0] + 1)), held[..3.min(held.len())]);
    assert_eq!(load(expiries[0] - hours(1), Some(i64::MAX)), held);
    assert_eq!(load(expiries[0], None), held[..2]);
    assert_eq!(load(expiries[0], Some(held[1] + 1)), held[..4.min(held.len())]);
    assert_eq!(load(expiries[expiries.len() - 1], None), held);
}

#[derive(Debug, Clone)]
enum Step {
    Enroll(u8),
    Purchase(u8, i64, i64),
    Adjust(u8, i64),
    /// Referred by another, if that is one.
    Activity(u8, u8),
    /// Of one of the purchases a part of the goods, or all.
    Return(u8, usize, Option<i64>),
    Confirm(u8, usize),
    AddPhone(u8, u32),
    RemovePhone(u8, u32),
    Rename(u8, String),
    Redeem(u8, i64),
    Hold(u8, i64, u32),
    /// Of the hold or redemption in an entry; most entries are none.
    Capture(u8, u64),
    Release(u8, u64),
    Reverse(u8, u64, i64),
    /// Something is asked of one of the live vouchers, or a new one is issued.
    Voucher(u8, usize, u8),
    /// So many of one or the other.
    Reward(u8, u32),
    /// One of those things that are asked about offers.
    Offer(u8, u8),
    Wait(i64),
    Commit,
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = 1..6u8;
    let step = prop_oneof![
        2 => member.clone().prop_map(Step::Enroll),
        8 => (member.clone(), 0..20_000i64, 0..100i64).prop_map(|(member, cents, ago)| Step::Purchase(member, cents, ago)),
        4 => (member.clone(), -300..300i64).prop_map(|(member, points)| Step::Adjust(member, points)),
        4 => (member.clone(), 1..6u8).prop_map(|(member, referrer)| Step::Activity(member, referrer)),
        4 => (member.clone(), 0..20usize, proptest::option::weighted(0.6, 1..9_000i64))
            .prop_map(|(member, sale, cents)| Step::Return(member, sale, cents)),
        2 => (member.clone(), 0..20usize).prop_map(|(member, sale)| Step::Confirm(member, sale)),
        1 => (member.clone(), 0..20u32).prop_map(|(member, digits)| Step::AddPhone(member, digits)),
        1 => (member.clone(), 0..20u32).prop_map(|(member, digits)| Step::RemovePhone(member, digits)),
        1 => (member.clone(), "[a-z]{0,12}").prop_map(|(member, name)| Step::Rename(member, name)),
        4 => (member.clone(), 1..100i64).prop_map(|(member, points)| Step::Redeem(member, points)),
        4 => (member.clone(), 1..100i64, 1..99u32).prop_map(|(member, points, hours)| Step::Hold(member, points, hours)),
        4 => (member.clone(), 1..12u64).prop_map(|(member, hold)| Step::Capture(member, hold)),
        4 => (member.clone(), 1..12u64).prop_map(|(member, hold)| Step::Release(member, hold)),
        4 => (member.clone(), 0..9usize, 0..10u8).prop_map(|(member, voucher, what)| Step::Voucher(member, voucher, what)),
        4 => (member.clone(), 1..5u32).prop_map(|(member, quantity)| Step::Reward(member, quantity)),
        4 => (member.clone(), 0..6u8).prop_map(|(member, what)| Step::Offer(member, what)),
        4 => (member, 1..12u64, 1..50i64).prop_map(|(member, redemption, points)| Step::Reverse(member, redemption, points)),
        3 => (1..40i64).prop_map(Step::Wait),
        6 => Just(Step::Commit),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What is asked of a live voucher, or another one that is issued.
fn with_voucher(code: VoucherCode, what: u8, number: u64) -> Command {
    let reason = || "why".to_owned();
    match what {
        0 | 1 => purchase_with(&[code], number, 9_00),
        2 => Command::Voucher(VoucherRequest::Hold { code, order: order(number), seconds: Some(7_200) }),
        3 => Command::Voucher(VoucherRequest::Release { code, reason: reason() }),
        4 => Command::Voucher(VoucherRequest::Use { code, order: None, order_total: Some(900.into()), value: Some(1.into()) }),
        5 => Command::Voucher(VoucherRequest::Cancel { code, reason: reason() }),
        _ => voucher(["off", "tea", "sku", "mug", "ship"][usize::from(what) - 6 + usize::from(number.is_multiple_of(2))]),
    }
}

fn a_random_history_is_kept(factory: &dyn Factory, steps: Vec<Step>, reopening: impl Fn()) {
    let mut store = factory.open();
    let mut world = World::with(&format!("{BIRTHDAYS}{OFFERS}{SEGMENTS}{}", ["", GOAL, SLOW_GOAL][steps.len() % 3]));
    for (index, step) in steps.into_iter().enumerate() {
        let taken = |world: &World, digits: u32| world.identifiers.get(&phone(digits)).copied().flatten();
        let enrolled = |world: &World, member: u8| world.members.contains_key(&member_id(member));
        let bought = |world: &World, member: u8, sale: usize| {
            let orders = world.purchases.iter().filter(|(_, row)| row.member == member_id(member)).map(|(order, _)| order);
            let orders: Vec<_> = orders.cloned().collect();
            orders.get(sale % orders.len().max(1)).cloned()
        };
        // What the domain or the ledger would refuse is not part of the history.
        match step {
            Step::Enroll(member) if !enrolled(&world, member) => {
                drop(world.decide(member, &Command::Enroll { person: person("A name", &[]) }))
            }
            Step::Purchase(member, cents, ago) if enrolled(&world, member) => {
                let occurred = (ago % 2 == 0).then(|| world.now - hours(ago));
                let channel = ["pos", "app", "web"][index % 3];
                let command = match index % 5 {
                    3 => purchase_by_code(index as u64, cents, &["SPRING"]),
                    4 => purchase_by_code(index as u64, cents, &["SPRING", "GIFT"]),
                    2 if enrolled(&world, member) => {
                        let codes: Vec<_> = world.members[&member_id(member)].vouchers.keys().copied().take(2).collect();
                        priced_purchase(&codes, index as u64, cents)
                    }
                    _ => purchase_on(channel, index as u64, cents, occurred),
                };
                drop(world.decide(member, &command));
            }
            Step::Adjust(member, points) if enrolled(&world, member) && points != 0 => drop(world.decide(member, &adjustment(points))),
            Step::Activity(member, referrer) if enrolled(&world, member) => {
                let referrer = (enrolled(&world, referrer) && referrer != member).then_some(referrer);
                let kind = if referrer.is_some() { "referral" } else { "review" };
                let known = |known: &(MemberId, ActivityId, Option<String>, u64)| {
                    known.0 == member_id(member) && known.1.as_str() == kind && known.2.is_none()
                };
                if !world.activities.iter().any(known) {
                    drop(world.decide(member, &activity(kind, &format!("a-{index}"), referrer)));
                }
            }
            Step::Voucher(member, voucher, what) if enrolled(&world, member) => {
                let codes: Vec<_> = world.members[&member_id(member)].vouchers.keys().copied().collect();
                let command = match codes.get(voucher % codes.len().max(1)) {
                    Some(code) => with_voucher(*code, what, index as u64),
                    None => self::voucher(["off", "tea", "sku", "mug", "ship"][voucher % 5]),
                };
                drop(world.decide(member, &command));
            }
            Step::Reward(member, quantity) if enrolled(&world, member) => {
                let (reward, quantity) = if quantity == 1 { ("tasting", 1) } else { ("cup", quantity) };
                drop(world.decide(member, &self::reward(reward, quantity)));
            }
            Step::Offer(member, what) if enrolled(&world, member) => {
                let command = self::offer(what, world.now);
                drop(world.decide(member, &command));
            }
            Step::Return(member, sale, cents) => {
                if let Some(order) = bought(&world, member, sale) {
                    drop(world.decide(member, &return_of(order, cents)));
                }
            }
            Step::Confirm(member, sale) => {
                if let Some(order) = bought(&world, member, sale) {
                    drop(world.decide(member, &Command::ConfirmPurchase { order }));
                }
            }
            Step::AddPhone(member, digits) if enrolled(&world, member) && taken(&world, digits).is_none() => {
                drop(world.decide(member, &Command::AddIdentifier { identifier: phone(digits) }))
            }
            Step::RemovePhone(member, digits) if enrolled(&world, member) => {
                drop(world.decide(member, &Command::RemoveIdentifier { identifier: phone(digits) }))
            }
            Step::Rename(member, name) if enrolled(&world, member) => {
                let update = ProfileUpdate { display_name: Some(name), ..ProfileUpdate::default() };
                drop(world.decide(member, &Command::UpdateProfile(update)));
            }
            Step::Redeem(member, points) if enrolled(&world, member) => drop(world.decide(member, &redemption(points))),
            Step::Hold(member, points, time) if enrolled(&world, member) => drop(world.decide(member, &hold(points, time))),
            Step::Capture(member, hold) if enrolled(&world, member) => drop(world.decide(member, &capture(hold, None))),
            Step::Release(member, hold) if enrolled(&world, member) => drop(world.decide(member, &release(hold))),
            Step::Reverse(member, redemption, points) if enrolled(&world, member) => {
                drop(world.decide(member, &reversal(redemption, Some(points))));
            }
            Step::Wait(time) => world.now += hours(time),
            Step::Commit => drop(world.commit(&*store)),
            Step::Flush => store.flush().expect("rows are written out"),
            Step::Reopen => {
                drop(store);
                reopening();
                store = factory.open();
            }
            Step::Enroll(_)
            | Step::Purchase(..)
            | Step::Adjust(..)
            | Step::Activity(..)
            | Step::AddPhone(..)
            | Step::RemovePhone(..)
            | Step::Rename(..) => {}
            Step::Redeem(..) | Step::Hold(..) | Step::Capture(..) | Step::Release(..) | Step::Reverse(..) => {}
            Step::Voucher(..) | Step::Reward(..) | Step::Offer(..) => {}
        }
    }
    world.commit(&*store);
    world.check(&*store);
    drop(store);
    reopening();
    world.check(&*factory.open());
}

fn many_members_in_one_commit(factory: &dyn Factory) {
    let store = factory.open();
    let mut world = World::new();
    for number in 0..=255 {
        world.decide(number, &Command::Enroll { person: person("A name", &[phone(u32::from(number))]) }).expect("a new member");
        world.decide(number, &purchase(u64::from(number), 10_00, None)).expect("a purchase");
    }
    let all = world.take();
    commit(&*store, all);
    world.check(&*store);
    drop(store);
    world.check(&*factory.open());
}

struct Embedded {
    folder: TempDir,
    options: Options,
}

impl Embedded {
    fn new(options: Options) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), options }
    }

    /// Small enough that every bound is met.
    fn small() -> Self {
        Self::new(Options {
            segment_bytes: 4 << 10,
            overlay_bytes: 4 << 10,
            sled_cache_bytes: 1 << 20,
            member_cache_bytes: 1 << 10,
            compress: true,
            operator_key: Some([7; 32]),
        })
    }

    /// Rows are what the fold of the journal's entries gives.
    fn check(&self) {
        let report = check(self.folder.path(), &self.options).expect("the journal is whole");
        assert!(report.is_sound());
    }

    fn forget_tables(&self) {
        std::fs::remove_dir_all(self.folder.path().join("tables")).expect("the tables are removed");
    }
}

impl Factory for Embedded {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(self.folder.path(), self.options.clone()).expect("the store opens"))
    }
}

macro_rules! embedded {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[test]
            fn $test() {
                super::$test(&super::Embedded::new(crate::support::options()));
                super::$test(&super::Embedded::small());
            })*
        }
    };
}

embedded!(
    what_was_committed_is_read,
    holds_and_redemptions_are_kept,
    activities_are_found_again,
    tiers_are_reviewed_on_time,
    vouchers_are_found_by_their_codes,
    birthdays_are_planned_and_forgotten,
    what_goals_take_and_give_is_kept,
    rewards_are_counted_over_all_members,
    promotions_are_counted_over_all_members,
    unknown_names_are_absent,
    a_fingerprint_is_kept_under_a_key_that_stays,
    the_latest_time_of_all_commits_stays_known,
    a_dropped_unit_changes_nothing,
    pages_go_on_where_they_ended,
    a_member_is_loaded_as_far_as_asked,
    many_members_in_one_commit,
);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_are_kept(steps in steps()) {
        let factory = Embedded::small();
        a_random_history_is_kept(&factory, steps, || factory.check());
    }

    /// What the store answers after its tables were made again is the fold of the journal's entries.
    #[test]
    fn random_histories_are_folded_again_from_the_journal(steps in steps()) {
        let factory = Embedded::small();
        a_random_history_is_kept(&factory, steps, || factory.forget_tables());
    }
}
