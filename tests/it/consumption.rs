//! Which lots points are taken from, how many of them at a time, and what points must be worth.

use std::sync::Arc;

use loyaltyd::domain::{
    Adjustment, Balance, Command, Context, Entry, EntryKind, History, HoldId, HoldRequest, Lot, LotExpiry, LotId, MAX_LOTS, Member,
    MemberId, MemberKey, OrderId, OrderKey, Points, Portion, Purchase, Recipient, RedeemRequest, Rejection, ReturnRequest, StoreId,
    TransferRequest, merge,
};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, at, dec, line, purchase, rule_book_with},
    due,
    redemption::offered,
};

fn shop(order: &str, more: &str) -> Shop {
    Shop::open(rule_book_with(&format!(
        "consumption_order: CONSUMPTION_ORDER_{order}
expiry: {{ after: {{ days: 300 }} }}
accrual_rules: [{{ rule_id: r, per_amount: {{ amount: 1, points: 1 }} }}]
redemption: {{ points: 1, amount: 1 }}
transfers: {{}}
adjustments: {{ into_debt: true }}
{more}"
    )))
}

fn adjust(points: i64, expiry: Option<loyaltyd::domain::Expiry>) -> Command {
    let reason = "trial".into();
    Command::AdjustPoints(Adjustment { points: Points(points), qualifying: false, reason, reference: String::new(), expiry })
}

fn redeem(points: i64, up_to: bool) -> RedeemRequest {
    RedeemRequest { points: Some(Points(points)), up_to, ..RedeemRequest::default() }
}

fn give(points: i64) -> Command {
    let to = Recipient::Id(MemberId([8; 16]));
    Command::TransferPoints(TransferRequest { to, points: Points(points), reason: "family".into(), reference: String::new() })
}

fn order(id: &str) -> Option<OrderKey> {
    Some(OrderKey { store: StoreId::new("s").expect("an id"), order: OrderId::new(id).expect("an id") })
}

fn goes_back(id: &str) -> Command {
    Command::ReturnPurchase(Arc::new(ReturnRequest {
        order: order(id).expect("an order"),
        lines: Vec::new(),
        amount: Decimal::ZERO,
        whole: true,
        reason: "did not fit".into(),
        reference: String::new(),
        exchange: None,
    }))
}

fn left(shop: &Shop) -> Vec<(u64, i64)> {
    shop.member.lots.values().map(|lot| (lot.id.0, lot.remaining.0)).collect()
}

/// Three lots: the first lapses last, and the third was earned first though it was recorded last.
fn three_lots(order_of: &str) -> Shop {
    let mut shop = shop(order_of, "");
    shop.does(&adjust(10, None)).expect("points are added");
    shop.now = at("2026-03-12T15:00:00Z");
    shop.does(&adjust(10, Some(loyaltyd::domain::Expiry::AfterDays(20)))).expect("points are added");
    shop.buys(Purchase { order: order("late"), occurred_time: Some(at("2026-03-09T15:00:00Z")), ..purchase(vec![line("10")]) });
    shop
}

#[test]
fn the_oldest_or_the_soonest_to_lapse_go_first_whatever_takes_them() {
    let portions = |portions: &[Portion]| portions.iter().map(|it| (it.lot.id().0, it.points.0)).collect::<Vec<_>>();
    let commands = [
        Command::RedeemPoints(redeem(15, false)),
        Command::HoldPoints(HoldRequest { redeem: redeem(15, false), seconds: None }),
        adjust(-15, None),
        give(15),
    ];
    for (order_of, taken, rest, next) in [
        // Lot 2 lapses on 1 April, lot 3 in January, lot 1 a day later.
        ("SOONEST_EXPIRY", vec![(2, 10), (3, 5)], vec![(3, 5), (1, 10)], "2027-01-04T05:00:00Z"),
        ("OLDEST_FIRST", vec![(3, 10), (1, 5)], vec![(2, 10), (1, 5)], "2026-04-02T04:00:00Z"),
    ] {
        for command in &commands {
            let mut shop = three_lots(order_of);
            let entries = shop.does(command).expect("points are there");
            let found = match &entries[0].kind {
                EntryKind::PointsRedeemed(redeemed) => portions(&redeemed.portions),
                EntryKind::PointsHeld(held) => portions(&held.hold.portions),
                EntryKind::PointsTransferredOut(sent) => portions(&sent.portions),
                EntryKind::PointsAdjusted(adjusted) => adjusted.allocations.iter().map(|it| (it.lot.id().0, it.points.0)).collect(),
                other => panic!("{other:?}"),
            };
            assert_eq!((&found, left(&shop)), (&taken, rest.clone()), "{order_of}: {command:?}");
            assert_eq!(shop.member.header.next_expiry_time, Some(at(next)), "{order_of}: {command:?}");
        }
        // A return takes the sale's own first, whatever the order is, and the rest from others in the order.
        let mut shop = three_lots(order_of);
        shop.buys(Purchase { order: order("next"), ..purchase(vec![line("30")]) });
        shop.does(&adjust(-55, None)).expect("points are taken");
        let entries = shop.does(&goes_back("next")).expect("it is returned");
        let EntryKind::PurchaseReturned(returned) = &entries[0].kind else { panic!("{entries:?}") };
        assert_eq!((returned.points.0, returned.debt.0), (30, 25), "{order_of}");
        assert!(left(&shop).is_empty());
    }
}

#[test]
fn points_that_are_worth_nothing_are_not_taken() {
    let mut shop = Shop::open(rule_book_with(
        "accrual_rules: [{ rule_id: r, per_amount: { amount: 1, points: 1 } }]\nredemption: { points: 1000, amount: 1 }\n",
    ));
    shop.does(&adjust(25, None)).expect("points are added");
    // Ten are worth a cent.
    for (points, up_to) in [(9, false), (1, false), (7, true)] {
        let request = redeem(points, up_to);
        let nothing = Err(Rejection::WorthNothing { requested: Points(points) });
        assert_eq!(shop.does(&Command::RedeemPoints(request.clone())), nothing);
        assert_eq!(shop.does(&Command::HoldPoints(HoldRequest { redeem: request, seconds: None })), nothing);
    }
    shop.does(&Command::HoldPoints(HoldRequest { redeem: redeem(20, false), seconds: None })).expect("points are held");
    let capture = |points| {
        let points = Some(Points(points));
        Command::CaptureHold(loyaltyd::domain::CaptureRequest { hold: HoldId(3), points, order: None, reference: String::new() })
    };
    assert_eq!(shop.does(&capture(9)), Err(Rejection::WorthNothing { requested: Points(9) }));
    shop.does(&capture(10)).expect("they are worth a cent");
    assert_eq!(offered(&shop, "100"), Some((Points(15), dec("0.01"))));
    shop.does(&adjust(-6, None)).expect("points are taken");
    assert_eq!(offered(&shop, "100"), Some((Points(0), dec("0"))));
}

/// As many lots of one point as asked for, as a store would load them.
fn with_lots(shop: &mut Shop, count: usize) {
    for id in 1..=count as u64 {
        let lot = Lot {
            id: LotId(id),
            issued: Points(1),
            remaining: Points(1),
            earn_time: shop.now,
            expiry: LotExpiry::Never,
            entry_sequence: 1,
        };
        shop.member.lots.insert(lot.key(), lot);
    }
    let points = Points(count as i64);
    shop.member.header.last_lot = LotId(count as u64);
    shop.member.header.balance = Balance { available: points, issued: points, ..Balance::default() };
}

#[test]
fn a_command_takes_points_from_so_many_lots_at_most() {
    let most = MAX_LOTS as i64;
    let too_many = Rejection::TooManyLots { limit: MAX_LOTS, most: Points(most), requested: Points(most + 1) };
    let mut shop = shop("SOONEST_EXPIRY", "");
    with_lots(&mut shop, MAX_LOTS + 50);
    let all = redeem(most + 1, false);
    for command in [
        Command::RedeemPoints(all.clone()),
        Command::HoldPoints(HoldRequest { redeem: all, seconds: None }),
        adjust(-most - 1, None),
        give(most + 1),
    ] {
        assert_eq!(shop.decide(&command).err(), Some(too_many.clone()), "{command:?}");
    }
    // As many as the bound allows.
    let entries = shop.decide(&Command::RedeemPoints(redeem(most + 30, true))).expect("points are spent").entries;
    assert!(matches!(&entries[0].kind, EntryKind::PointsRedeemed(redeemed) if redeemed.points.0 == most), "{:?}", entries[0].balance);
    // All that one purchase is paid with counts together.
    let paying = |points: i64| loyaltyd::domain::Payment::Redeem { points: Points(points) };
    let paid = Purchase { payments: vec![paying(most - 10), paying(11)], ..purchase(vec![line("20000")]) };
    let rejection = Rejection::TooManyLots { limit: MAX_LOTS, most: Points(10), requested: Points(11) };
    assert_eq!(shop.decide(&Command::RecordPurchase(Arc::new(paid))).err(), Some(rejection));
    // A return whose own points are spent.
    shop.buys(Purchase { order: order("big"), ..purchase(vec![line("20000")]) });
    let own = shop.member.lots.keys().copied().find(|key| key.id().0 == most as u64 + 51).expect("the sale's lot");
    shop.member.lots.remove(&own);
    shop.member.header.balance.available = Points(most + 50);
    shop.member.header.balance.redeemed = Points(20_000);
    let rejection = Rejection::TooManyLots { limit: MAX_LOTS, most: Points(most), requested: Points(20_000) };
    assert_eq!(shop.decide(&goes_back("big")).err(), Some(rejection));
}

/// Merges one member into another of the same programme; the entries of the one that stays.
fn merged(gone: &Shop, stays: &Shop) -> Result<Vec<Entry>, Rejection> {
    let key = MemberKey { member: MemberId([8; 16]), ..gone.member.key.clone() };
    let gone = Member { key, ..gone.member.clone() };
    let context = Context {
        programs: &stays.programs,
        now: stays.now,
        request: None,
        actor: None,
        principal: None,
        operator: None,
        history: History::NONE,
    };
    Ok(merge(context, gone, stays.member.clone(), "two cards")?.1.entries)
}

#[test]
fn the_debt_of_who_is_merged_is_paid_in_the_same_order_and_under_the_same_bound() {
    for (order_of, taken) in [("SOONEST_EXPIRY", [(2, 10), (3, 5)]), ("OLDEST_FIRST", [(3, 10), (1, 5)])] {
        let (mut owes, stays) = (shop(order_of, ""), three_lots(order_of));
        owes.does(&adjust(-15, None)).expect("they are owed");
        let entries = merged(&owes, &stays).expect("they become one");
        let EntryKind::MergedFrom(got) = &entries[0].kind else { panic!("{entries:?}") };
        let found: Vec<_> = got.allocations.iter().map(|it| (it.lot.id().0, it.points.0)).collect();
        assert_eq!((found.as_slice(), got.debt), (taken.as_slice(), Points::ZERO), "{order_of}");
    }
    let (mut owes, mut stays) = (shop("OLDEST_FIRST", ""), shop("OLDEST_FIRST", ""));
    with_lots(&mut stays, MAX_LOTS + 50);
    let most = MAX_LOTS as i64;
    owes.does(&adjust(-most - 1, None)).expect("they are owed");
    let rejection = Rejection::TooManyLots { limit: MAX_LOTS, most: Points(most), requested: Points(most + 1) };
    assert_eq!(merged(&owes, &stays), Err(rejection));
}

/// 200 lots a purchase, of one point each, which lapse one a day.
fn many_rules() -> String {
    let rule = |days| format!("- {{ rule_id: r{days}, per_order: {{ points: 1 }}, expiry: {{ after: {{ days: {days} }} }} }}\n");
    (1..=200).map(rule).collect()
}

#[tokio::test]
async fn more_lots_than_a_commit_takes_lapse_in_several_before_anything_else_is_decided() {
    let mut shop = due::Shop::open(&many_rules()).await;
    for number in 1..=51 {
        shop.does(Command::RecordPurchase(Arc::new(due::purchase(number, 1, None)))).await.expect("it is recorded");
    }
    let most = MAX_LOTS as i64;
    let (few, all) = (due::redemption(most + 50, Some(20_000)), due::redemption(most, Some(20_000)));
    let refused = shop.does(Command::RedeemPoints(few)).await.expect_err("they are in too many lots");
    let expected = Rejection::TooManyLots { limit: MAX_LOTS, most: Points(most), requested: Points(most + 50) };
    assert!(matches!(&refused, loyaltyd::ledger::LedgerError::Rejected(found) if *found == expected), "{refused:?}");
    let held = shop.does(Command::HoldPoints(HoldRequest { redeem: all, seconds: None })).await.expect("so many can be held");
    shop.does(Command::ReleaseHold { hold: HoldId(held[0].sequence), reason: String::new() }).await.expect("they go back");
    assert_eq!(shop.has().0, 51 * 200);
    shop.pass(24 * 202);
    // Reads see all of it, as it will be written.
    assert_eq!(shop.has(), (0, vec![]));
    let plain = |entry: &loyaltyd::domain::Entry| (entry.sequence, entry.occurred_time, entry.balance.clone(), entry.kind.clone());
    let foretold = shop.ledger.entries(&shop.key, None, 300).expect("entries are read");
    let foretold: Vec<_> = foretold.iter().filter(|it| !it.is_recorded).map(|it| plain(&it.entry)).collect();
    // One for each day, but for the one on which a commit was full.
    assert_eq!(foretold.len(), 201);
    shop.gets(5).await;
    assert_eq!(shop.has(), (5, vec![5]));
    let written = shop.ledger.entries(&shop.key, None, 202).expect("entries are read");
    assert_eq!(written[1..].iter().map(|it| plain(&it.entry)).collect::<Vec<_>>(), foretold);
    shop.ledger.close().expect("it closes");
}

#[tokio::test]
async fn a_long_sleep_lapses_in_several_commits_of_the_schedule_too() {
    for extension in ["RESTART", "MONTH"] {
        let inactivity = format!("inactivity: {{ months: 1, activities: [COUNTED_ACTIVITY_PURCHASE], extension: EXTENSION_{extension} }}");
        sleeps_long(&due::RULE_BOOK.replace("after: { days: 10 }", &inactivity)).await;
    }
}

async fn sleeps_long(book: &str) {
    let mut shop = due::Shop::open_with(book, due::AT_ONCE).await;
    shop.gets_many(MAX_LOTS + 100).await;
    shop.pass(24 * 60);
    assert_eq!(shop.has(), (0, vec![]));
    let mut entries = Vec::new();
    loop {
        let advanced = shop.ledger.advance_due().await.expect("what is due is entered");
        if advanced.members == 0 {
            break;
        }
        entries.push(advanced.entries);
    }
    assert_eq!(entries, [1, 1]);
    let written = shop.ledger.entries(&shop.key, None, 2).expect("entries are read");
    let lapsed: Vec<_> = written.iter().map(|it| (-it.entry.points().0, it.is_recorded)).collect();
    assert_eq!(lapsed, [(100, true), (MAX_LOTS as i64, true)]);
    shop.ledger.close().expect("it closes");
}

/// A store loads the lots that the version of then takes, which are others than those that the newest one would take.
#[tokio::test]
async fn of_many_lots_a_late_delivery_takes_those_that_the_rules_of_its_day_name() {
    let book = due::RULE_BOOK.replace("days: 10", "days: 40");
    let mut shop = due::Shop::open_with(&book, due::AT_ONCE).await;
    let expiry = Some(loyaltyd::domain::Expiry::AfterDays(300));
    let oldest = Adjustment { points: Points(8), qualifying: false, reason: "welcome".into(), reference: String::new(), expiry };
    shop.does(Command::AdjustPoints(oldest)).await.expect("it is taken");
    shop.pass(1);
    shop.gets_many(MAX_LOTS + 100).await;
    let card = "voucher_kinds: [{ voucher_kind_id: tea, benefit: { custom: { key: tea } }, valid_days: 40 }]
goals: [{ goal_id: card, points: 5, voucher_kind_id: tea, delay_days: 5, maximum_at_once: 1 }]\n";
    shop.publish(&format!("{book}{}{card}consumption_order: CONSUMPTION_ORDER_OLDEST_FIRST\n", due::AT_ONCE)).await;
    shop.gets(1).await;
    shop.pass(24 * 6);
    shop.publish(&format!("{book}{}{card}", due::AT_ONCE)).await;
    let taken = |entries: &[Entry]| {
        let paid = entries.iter().find_map(|entry| entry.voucher_change()?.goal_paid()).expect("a voucher is delivered");
        paid.portions.iter().map(|portion| (portion.lot.id().0, portion.points.0)).collect::<Vec<_>>()
    };
    let read: Vec<Entry> = shop.ledger.entries(&shop.key, None, 1).expect("entries are read").into_iter().map(|it| it.entry).collect();
    assert_eq!(taken(&read), [(1, 5)]);
    while shop.ledger.advance_due().await.expect("what is due is entered").members > 0 {}
    let last = shop.ledger.member(&shop.key).expect("the member is there").header.last_sequence;
    assert_eq!(taken(&shop.ledger.recorded(&shop.key, last, last).expect("entries are read")), [(1, 5)]);
    shop.ledger.close().expect("it closes");
}

/// Nothing was due by what is known of the member, who is looked at for the new segments as of long ago.
#[tokio::test]
async fn whoever_is_looked_at_late_under_rules_by_which_no_tier_pauses_it_finds_all_that_has_lapsed_since() {
    for extension in ["RESTART", "MONTH"] {
        let inactivity = format!("inactivity: {{ months: 1, activities: [COUNTED_ACTIVITY_PURCHASE], extension: EXTENSION_{extension} }}");
        let book = format!("{}{}", due::RULE_BOOK.replace("after: { days: 10 }", &inactivity), due::AT_ONCE);
        let mut shop = due::Shop::open_with(&format!("tiers: [{{ tier_id: base, pauses_inactivity: true }}]\n{book}"), "").await;
        shop.gets(5).await;
        assert_eq!(shop.has(), (5, vec![5]));
        let segments = "segments: [{ segment_id: rich, condition: 'member.purchases >= 0' }]\n";
        shop.publish(&format!("tiers: [{{ tier_id: base }}]\n{segments}\n{book}")).await;
        shop.pass(24 * 100);
        assert_eq!(shop.has(), (0, vec![]), "{extension}");
        while shop.ledger.advance_due().await.expect("what is due is entered").members > 0 {}
        assert_eq!(shop.has(), (0, vec![]), "{extension}");
        shop.ledger.close().expect("it closes");
    }
}
