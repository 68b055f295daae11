//! All that members do and that time does to them, for tests of stores: first each kind of entry and of row once, then anything.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use loyaltyd::{
    domain::{Command, EntryKind, HoldId, MemberState, Points, ProfileUpdate, Recipient, TierId, TransferRequest, VoucherRequest},
    store::Store,
};

use super::histories::{
    World, activity, adjustment, capture, erasure, hold, hours, member_id, offer, order, person, phone, priced_purchase, purchase,
    purchase_by_code, purchase_on, redemption, release, return_of, reversal, reward, voucher,
};
use crate::power::dice::Dice;

/// Members with whom all of it happens: of the last ones one becomes a part of another, and one is erased.
pub const CAST: u8 = 12;

/// How many kinds of entries there are.
const KINDS: usize = 31;

fn kind(kind: &EntryKind) -> usize {
    match kind {
        EntryKind::MemberEnrolled { .. } => 0,
        EntryKind::ProfileUpdated { .. } => 1,
        EntryKind::IdentifierAdded { .. } => 2,
        EntryKind::IdentifierRemoved { .. } => 3,
        EntryKind::MemberSuspended { .. } => 4,
        EntryKind::MemberReactivated { .. } => 5,
        EntryKind::MemberErased { .. } => 6,
        EntryKind::PurchaseAccrued(_) => 7,
        EntryKind::PointsAdjusted(_) => 8,
        EntryKind::PointsExpired(_) => 9,
        EntryKind::TierChanged(_) => 10,
        EntryKind::TierKept(_) => 11,
        EntryKind::TierRewarded(_) => 12,
        EntryKind::PointsRedeemed(_) => 13,
        EntryKind::RedemptionReversed(_) => 14,
        EntryKind::PointsHeld(_) => 15,
        EntryKind::HoldReleased(_) => 16,
        EntryKind::PointsActivated(_) => 17,
        EntryKind::PurchaseReturned(_) => 18,
        EntryKind::PointsTransferredOut(_) => 19,
        EntryKind::PointsTransferredIn(_) => 20,
        EntryKind::ActivityAccrued(_) => 21,
        EntryKind::MergedInto(_) => 22,
        EntryKind::MergedFrom(_) => 23,
        EntryKind::VoucherChanged(_) => 24,
        EntryKind::BirthdayChanged(_) => 25,
        EntryKind::GoalChanged(_) => 26,
        EntryKind::SegmentsChanged(_) => 27,
        EntryKind::OfferChanged(_) => 28,
        EntryKind::ReferralMade(_) => 29,
        EntryKind::ReferralTakenBack(_) => 30,
    }
}

/// Whoever is told of each kind; what is missing.
pub fn missing_kinds(world: &World) -> Vec<usize> {
    let met: BTreeSet<usize> = world.entries.values().flatten().map(|entry| kind(&entry.kind)).collect();
    (0..KINDS).filter(|kind| !met.contains(kind)).collect()
}

/// In a world with all, from its beginning on: each kind of entry once, a commit for each step.
pub fn each_once(world: &mut World, store: &dyn Store) {
    for member in 1..=CAST {
        world.enroll(store, member);
    }
    let tell = |world: &mut World, member: u8, command: &Command| {
        world.decide(member, command).unwrap_or_else(|rejection| panic!("{rejection:?}: {command:?}"));
        world.commit(store);
        // Of two commits the later one is told later.
        world.now += SignedDuration::from_secs(1);
    };
    // A tier is reached, points wait, and what a referral gave goes back.
    tell(world, 1, &purchase(1, 60_00, None));
    tell(world, 2, &purchase_on("web", 2, 12_00, None));
    tell(world, 2, &Command::ConfirmPurchase { order: order(2) });
    tell(world, 2, &purchase_on("app", 3, 12_00, None));
    tell(world, 3, &activity("friend", "f-1", Some(4)));
    tell(world, 3, &purchase(4, 20_00, None));
    tell(world, 3, &return_of(order(4), None));
    tell(world, 3, &activity("review", "r-1", None));
    for member in 4..=9 {
        tell(world, member, &adjustment(600));
    }
    let to = Recipient::Id(member_id(5));
    let request = TransferRequest { to, points: Points(30), reason: "family".to_owned(), reference: String::new() };
    tell(world, 4, &Command::TransferPoints(request));
    let last = |world: &World, member: u8| world.members[&member_id(member)].header.last_sequence;
    tell(world, 5, &hold(40, 5));
    let held = last(world, 5);
    tell(world, 5, &capture(held, Some(10)));
    tell(world, 5, &hold(40, 5));
    let held = last(world, 5);
    tell(world, 5, &release(held));
    tell(world, 5, &redemption(20));
    let redeemed = last(world, 5);
    tell(world, 5, &reversal(redeemed, Some(5)));
    tell(world, 6, &Command::Suspend { reason: "lost card".to_owned() });
    tell(world, 6, &Command::Reactivate { reason: "found".to_owned() });
    tell(world, 7, &Command::AddIdentifier { identifier: phone(700) });
    tell(world, 7, &Command::RemoveIdentifier { identifier: phone(700) });
    tell(world, 7, &Command::UpdateProfile(ProfileUpdate { display_name: Some("Another".to_owned()), ..ProfileUpdate::default() }));
    tell(world, 8, &reward("cup", 2));
    tell(world, 8, &voucher("off"));
    tell(world, 8, &voucher("tea"));
    for what in [0, 3, 1] {
        let command = offer(what, world.now);
        tell(world, 9, &command);
    }
    tell(world, 9, &purchase_by_code(5, 15_00, &["SPRING", "GIFT"]));
    for number in 6..9 {
        tell(world, 10, &purchase(number, 7_00, None));
    }
    tell(world, 12, &purchase(9, 8_00, None));
    // Goals are delivered, points lapse, birthdays are celebrated, and then the quarter ends.
    for days in [2, 5, 80] {
        world.now += hours(24 * days);
        for member in 1..=9 {
            tell(world, member, &adjustment(20));
        }
    }
    world.merge(10, 11).expect("they are the same");
    world.commit(store);
    world.now += SignedDuration::from_secs(1);
    tell(world, 12, &erasure());
    tell(world, 1, &hold(10, 100));
    tell(world, 2, &purchase_on("app", 10, 12_00, None));
}

/// What a member who is there may do; much of it is refused, and leaves nothing. `number`: of no other of these.
pub fn anything(world: &World, member: u8, number: u64, dice: &mut Dice) -> Command {
    let id = member_id(member);
    let (held, entries) = (&world.members[&id], &world.entries[&id]);
    let cents = 100 + dice.below(5_000) as i64;
    let codes: Vec<_> = held.vouchers.keys().copied().take(2).collect();
    let orders: Vec<_> = world.purchases.iter().filter(|(_, row)| row.member == id).map(|(order, _)| order.clone()).collect();
    let an_order = |dice: &mut Dice| orders.get(dice.below(orders.len().max(1) as u64) as usize).cloned().unwrap_or(order(1));
    let a_hold = |dice: &mut Dice| {
        let holds: Vec<HoldId> = held.holds.keys().copied().collect();
        holds.get(dice.below(holds.len().max(1) as u64) as usize).map_or(1, |hold| hold.0)
    };
    match dice.below(36) {
        0..=2 => adjustment(dice.below(400) as i64 - 100),
        3 => voucher(dice.one_of(&["off", "tea", "sku", "mug", "ship"])),
        4 => reward("cup", 1 + dice.below(2) as u32),
        5 => reward("tasting", 1),
        6 | 7 => offer(dice.below(6) as u8, world.now),
        8..=10 => priced_purchase(&codes, number, cents),
        11 | 12 => purchase_by_code(number, cents, &["SPRING", "GIFT"]),
        13 | 14 => purchase_on("app", number, cents, None),
        15 | 16 => purchase_on("web", number, cents, None),
        17 => Command::ConfirmPurchase { order: an_order(dice) },
        18 => return_of(an_order(dice), None),
        19 => return_of(an_order(dice), Some(cents / 4 + 1)),
        20 => hold(1 + dice.below(40) as i64, 1 + dice.below(60) as u32),
        21 => capture(a_hold(dice), None),
        22 => release(a_hold(dice)),
        23 => redemption(1 + dice.below(30) as i64),
        24 => {
            let redeemed = entries.iter().rfind(|entry| matches!(entry.kind, EntryKind::PointsRedeemed(_)));
            reversal(redeemed.map_or(1, |entry| entry.sequence), Some(1 + dice.below(9) as i64))
        }
        25 => activity("review", &format!("a-{number}"), None),
        26 => {
            let referrer = somebody(world, dice).filter(|other| *other != member);
            let kind = dice.one_of(&["referral", "friend"]);
            let is_told =
                world.activities.iter().any(|(who, told, reference, _)| *who == id && told.as_str() == kind && reference.is_none());
            match referrer {
                Some(referrer) if !is_told => activity(kind, &format!("a-{number}"), Some(referrer)),
                Some(_) | None => activity("review", &format!("a-{number}"), None),
            }
        }
        27 => {
            let to = Recipient::Id(member_id(somebody(world, dice).unwrap_or(member)));
            Command::TransferPoints(TransferRequest { to, points: Points(3), reason: "family".to_owned(), reference: String::new() })
        }
        28 => match held.header.state {
            MemberState::Active if member > 4 => Command::Suspend { reason: "lost card".to_owned() },
            MemberState::Active | MemberState::Suspended | MemberState::Merged { .. } | MemberState::Erased => {
                Command::Reactivate { reason: "found".to_owned() }
            }
        },
        29 => {
            let last_date = Some(jiff::tz::TimeZone::UTC.to_datetime(world.now + hours(24 * 9)).date());
            let tier = TierId::new(dice.one_of(&["gold", "silver"])).expect("a valid id");
            Command::SetTier { tier, reason: "goodwill".to_owned(), last_date }
        }
        30 => Command::AddIdentifier { identifier: phone(1_000 + number as u32) },
        31 => match codes.first() {
            Some(code) => Command::Voucher(VoucherRequest::Hold { code: *code, order: order(number), seconds: Some(7_200) }),
            None => voucher("mug"),
        },
        32 => match codes.last() {
            Some(code) => Command::Voucher(VoucherRequest::Cancel { code: *code, reason: "why".to_owned() }),
            None => voucher("ship"),
        },
        _ => purchase(number, cents, (dice.below(3) == 0).then(|| world.now - hours(dice.below(30) as i64))),
    }
}

/// A member who is there still, in whatever state.
pub fn somebody(world: &World, dice: &mut Dice) -> Option<u8> {
    let is_there = |state: MemberState| matches!(state, MemberState::Active | MemberState::Suspended);
    let there: Vec<u8> = world.members.iter().filter(|(_, member)| is_there(member.header.state)).map(|(id, _)| id.0[0]).collect();
    (!there.is_empty()).then(|| dice.one_of(&there))
}

/// One becomes a part of another, or is erased; refused now and then. Nothing else is in its commit.
pub fn goes(world: &mut World, gone: u8, dice: &mut Dice) {
    let is_alone = |world: &World, member: u8| world.members[&member_id(member)].header.merged.is_empty();
    match somebody(world, dice).filter(|into| *into != gone) {
        Some(into) if dice.below(2) == 0 => drop(world.merge(gone, into)),
        Some(_) if is_alone(world, gone) => drop(world.decide(gone, &erasure())),
        Some(_) | None => {}
    }
}

/// One more, who has a phone.
pub fn comes(world: &mut World, number: u8) {
    let person = person("Somebody", &[phone(u32::from(number))]);
    world.decide(number, &Command::Enroll { person }).expect("a new member enrols");
}
