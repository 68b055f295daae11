//! Rewards: what members have for their points when they ask for it, told by the entries that their commands lead to.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::{Violation, program, rule_book},
    domain::{
        Command, Entry, HoldRequest, MAX_PAST_REWARDS, MAX_VOUCHERS, Points, Program, Purchase, RedeemRequest, Rejection, ReversalRequest,
        RewardFreed, RewardId, RewardPaid, RewardRejection, RewardStanding, RewardStock, VoucherBenefit, VoucherCause, VoucherChange,
        VoucherCode, VoucherRejection, VoucherRequest,
    },
};

use crate::{
    accrual::{Shop, at, dec, goods, purchase, rule_book_with},
    domain_properties::check_state,
    returns::{adjustment, available, buys, gives, order, redeem, tries, units, whole},
};

/// A dollar is a point, which lapses after 10 days.
const BOOK: &str = "
accrual_rules: [{ rule_id: goods, per_amount: { amount: 1, points: 1 } }]
expiry: { after: { days: 10 } }
adjustments: { into_debt: true }
tiers: [{ tier_id: green, display_name: Green }, { tier_id: gold, display_name: Gold, threshold: { qualifying_points: 100 } }]
voucher_kinds:
- { voucher_kind_id: coffee, display_name: A coffee, benefit: { free_item: { sku: coffee } }, valid_days: 30 }
- { voucher_kind_id: tasting, benefit: { custom: { key: tasting, text: An evening in the roastery } }, after_days: 2, valid_months: 3 }
";

fn book(reward: &str, more: &str) -> String {
    format!("{BOOK}rewards: [{{ reward_id: cup, display_name: A cup, voucher_kind_id: coffee, points: 25{reward} }}]\n{more}")
}

fn open(reward: &str) -> Shop {
    Shop::open(rule_book_with(&book(reward, "")))
}

fn publish(shop: &mut Shop, version: u32, fields: &str) {
    let program = Program { version, publish_time: shop.now, ..rule_book_with(fields) };
    shop.programs = shop.programs.with(Arc::new(program));
}

fn cup() -> RewardId {
    RewardId::new("cup").expect("an id")
}

fn ask(reward: &str, quantity: u32) -> Command {
    Command::Voucher(VoucherRequest::Redeem { reward: RewardId::new(reward).expect("an id"), quantity })
}

/// Asks for so many cups.
fn cups(shop: &mut Shop, quantity: u32) -> Result<Vec<Entry>, Rejection> {
    let entries = shop.does(&ask("cup", quantity));
    check_state(shop).expect("the state holds together");
    entries
}

#[track_caller]
fn refused(shop: &mut Shop, quantity: u32) -> Rejection {
    let before = (shop.member.clone(), shop.entries.len());
    let refused = cups(shop, quantity).expect_err("it is refused");
    assert_eq!(before, (shop.member.clone(), shop.entries.len()), "nothing is left of it");
    refused
}

fn cancel(shop: &mut Shop, code: VoucherCode) -> Result<Vec<Entry>, Rejection> {
    let entries = shop.does(&Command::Voucher(VoucherRequest::Cancel { code, reason: "changed her mind".into() }));
    check_state(shop).expect("the state holds together");
    entries
}

fn paid(entries: &[Entry]) -> Vec<&RewardPaid> {
    entries.iter().filter_map(|entry| entry.voucher_change()?.reward_paid()).collect()
}

fn freed(entries: &[Entry]) -> &RewardFreed {
    entries.iter().find_map(|entry| entry.voucher_change()?.reward_freed()).expect("something is free again")
}

fn codes(entries: &[Entry]) -> Vec<VoucherCode> {
    entries.iter().filter(|entry| !paid(std::slice::from_ref(entry)).is_empty()).map(|entry| entry.voucher_change().unwrap().code).collect()
}

/// What is in each lot, and when that lapses.
fn lots(shop: &Shop) -> Vec<(i64, Option<Timestamp>)> {
    shop.member.lots.values().map(|lot| (lot.remaining.0, lot.expiry.time())).collect()
}

fn taken(shop: &Shop) -> u64 {
    let stocks = shop.entries.iter().filter_map(|entry| entry.voucher_change()?.reward_stock());
    stocks.max_by_key(|(_, stock)| stock.change).map_or(0, |(_, stock)| stock.taken)
}

fn standing(shop: &Shop) -> RewardStanding {
    let program = shop.programs.newest();
    let stock = RewardStock { change: 9, taken: taken(shop) };
    program.rewards[&cup()].standing(program, &shop.member.header, (stock, 1), shop.now).expect("in range")
}

fn dollars(amount: i64) -> Purchase {
    purchase(vec![goods("tea", "", "1", &amount.to_string())])
}

#[test]
fn a_reward_takes_points_out_of_lots_and_gives_its_voucher_in_one_entry() {
    let mut shop = open(", valid_days: 7");
    buys(&mut shop, "o-1", dollars(20));
    shop.now += 24.hours();
    buys(&mut shop, "o-2", dollars(30));
    let entries = cups(&mut shop, 1).expect("it is had");
    let [entry] = &entries[..] else { panic!("{entries:#?}") };
    let changed = entry.voucher_change().expect("a voucher");
    let VoucherChange::Issued { voucher, reason, goal: None, reward: Some(paid), promotion: None, offer: None } = &changed.change else {
        panic!("{changed:#?}")
    };
    // The older points first.
    let parts: Vec<i64> = paid.portions.iter().map(|portion| portion.points.0).collect();
    assert_eq!((parts, paid.points, entry.points(), reason.as_str()), (vec![20, 5], Points(25), Points(-25), ""));
    assert_eq!((paid.reward.as_str(), paid.stock, paid.tally.counts), ("cup", RewardStock { change: 1, taken: 1 }, [1; 6]));
    assert_eq!((voucher.cause, voucher.kind.as_str(), voucher.issue_time), (VoucherCause::Reward, "coffee", shop.now));
    // Not the 30 days of its kind: through 18 March in New York.
    assert_eq!(voucher.expire_time, at("2026-03-19T04:00:00Z"));
    let balance = &shop.member.header.balance;
    assert_eq!((available(&shop), balance.redeemed, shop.member.header.vouchers.live), (25, Points(25), 1));
    // The next lot that lapses is the one that is left.
    assert_eq!(shop.member.header.next_expiry_time, Some(at("2026-03-22T04:00:00Z")));
}

#[test]
fn a_cancelled_voucher_undoes_its_reward_exactly() {
    let mut shop = open(", stock: 1, member_limit: { redemptions: 1, period: PERIOD_LIFETIME }");
    buys(&mut shop, "o-1", dollars(20));
    shop.now += 24.hours();
    buys(&mut shop, "o-2", dollars(30));
    let before = (lots(&shop), available(&shop), shop.member.header.rewards.clone());
    let code = codes(&cups(&mut shop, 1).expect("it is had"))[0];
    assert_eq!((standing(&shop).stock_left, standing(&shop).member_left, standing(&shop).redeemed), (Some(0), Some(0), 1));
    let entries = cancel(&mut shop, code).expect("it is undone");
    assert_eq!((lots(&shop), available(&shop), shop.member.header.rewards.clone()), before);
    let refund = entries[0].voucher_change().and_then(|changed| changed.refund()).expect("points come back");
    // Those that were taken last first.
    let back: Vec<i64> = refund.put_back.iter().map(|back| back.portion.points.0).collect();
    assert_eq!((refund.points, refund.debt_paid, back, entries[0].points()), (Points(25), Points(0), vec![5, 20], Points(25)));
    assert_eq!((freed(&entries).tally, freed(&entries).stock), (None, RewardStock { change: 2, taken: 0 }));
    assert_eq!(shop.member.header.balance.reinstated, Points(25));
    // It is free again, and can be had again, but not undone twice.
    assert!(matches!(cancel(&mut shop, code), Err(Rejection::Voucher(VoucherRejection::Cancelled { .. }))));
    cups(&mut shop, 1).expect("it is had again");
    assert_eq!((taken(&shop), available(&shop)), (1, 25));
}

#[test]
fn points_that_come_back_after_their_time_lapse_or_get_the_days_of_grace() {
    for (redemption, left) in [("", vec![(5, Some(at("2026-03-30T04:00:00Z")))]), ("grace_days: 3", vec![(25, None)])] {
        let more = if redemption.is_empty() { String::new() } else { format!("redemption: {{ points: 1, amount: 1, {redemption} }}\n") };
        let mut shop = Shop::open(rule_book_with(&book("", &more)));
        buys(&mut shop, "o-1", dollars(25));
        let code = codes(&cups(&mut shop, 1).expect("it is had"))[0];
        shop.now = at("2026-03-19T15:00:00Z");
        buys(&mut shop, "o-2", dollars(5));
        shop.now = at("2026-03-21T15:00:00Z");
        let entries = cancel(&mut shop, code).expect("it is undone");
        if redemption.is_empty() {
            assert_eq!(
                (lots(&shop), entries.len(), shop.member.header.balance.expired),
                (left, 2, Points(25)),
                "what came back lapses at once"
            );
        } else {
            assert_eq!((available(&shop), lots(&shop)[0]), (30, (25, Some(at("2026-03-25T04:00:00Z")))), "new until the end of 24 March");
        }
        assert_eq!(freed(&entries).stock.taken, 0);
    }
}

#[test]
fn what_comes_back_pays_debt_first_and_debt_has_no_rewards() {
    let mut shop = open("");
    buys(&mut shop, "o-1", dollars(30));
    let code = codes(&cups(&mut shop, 1).expect("it is had"))[0];
    shop.does(&adjustment(-15)).expect("an adjustment");
    assert_eq!(refused(&mut shop, 1), Rejection::InDebt { debt: Points(10) });
    let entries = cancel(&mut shop, code).expect("it is undone");
    let refund = entries[0].voucher_change().and_then(|changed| changed.refund()).expect("points come back");
    assert_eq!((refund.debt_paid, available(&shop), entries[0].points()), (Points(10), 15, Points(15)));
}

#[test]
fn a_return_gives_the_used_voucher_back_and_its_reward_can_be_undone_then() {
    let mut shop = open("");
    buys(&mut shop, "o-1", dollars(30));
    let code = codes(&cups(&mut shop, 1).expect("it is had"))[0];
    let sale = purchase(vec![goods("coffee", "", "1", "4"), goods("tea", "", "1", "6")]);
    buys(&mut shop, "o-2", Purchase { vouchers: vec![code], ..sale });
    assert!(matches!(cancel(&mut shop, code), Err(Rejection::Voucher(VoucherRejection::Used { .. }))));
    gives(&mut shop, units("o-2", 1, "1"));
    assert_eq!((shop.member.vouchers.len(), taken(&shop)), (0, 1), "some goods are left");
    let entries = tries(&mut shop, whole("o-2")).expect("a return");
    assert!(
        entries.iter().any(|entry| matches!(entry.voucher_change().map(|changed| &changed.change), Some(VoucherChange::Reinstated { .. })))
    );
    assert_eq!((shop.member.vouchers.len(), taken(&shop), available(&shop)), (1, 1, 5), "it is the member's again, and counted as before");
    let entries = cancel(&mut shop, code).expect("it is undone");
    assert_eq!((freed(&entries).stock.taken, available(&shop)), (0, 30));
    // The sale that brought the points takes them back as ever.
    gives(&mut shop, whole("o-1"));
    assert_eq!(available(&shop), 0);
}

#[test]
fn the_return_of_the_sale_that_brought_the_points_undoes_no_reward() {
    let mut shop = open("");
    buys(&mut shop, "o-1", dollars(30));
    cups(&mut shop, 1).expect("it is had");
    let returned = gives(&mut shop, whole("o-1"));
    // What the member chose stays; what it lacks is owed.
    assert_eq!((returned.debt, shop.member.vouchers.len(), taken(&shop)), (Points(25), 1, 1));
}

#[test]
fn a_limit_counts_in_periods_of_the_calendar_and_what_was_cancelled_is_free_again() {
    let mut shop = open(", member_limit: { redemptions: 2, period: PERIOD_WEEK }, maximum_quantity: 5");
    // A Tuesday.
    shop.does(&adjustment(1_000)).expect("a gift");
    let limit = |left, requested, time| {
        let next_time = Some(at(time));
        Rejection::from(RewardRejection::Limit { reward: cup(), limit: 2, left, requested, next_time })
    };
    assert_eq!(refused(&mut shop, 3), limit(2, 3, "2026-03-16T04:00:00Z"));
    let first = codes(&cups(&mut shop, 1).expect("one"))[0];
    assert_eq!(refused(&mut shop, 2), limit(1, 2, "2026-03-16T04:00:00Z"));
    cups(&mut shop, 1).expect("two");
    // The last instant of Sunday in New York, and the first of Monday.
    shop.now = at("2026-03-16T03:59:59Z");
    assert_eq!(refused(&mut shop, 1), limit(0, 1, "2026-03-16T04:00:00Z"));
    cancel(&mut shop, first).expect("one is given back");
    assert_eq!((standing(&shop).member_left, standing(&shop).redeemed), (Some(1), 1));
    cups(&mut shop, 1).expect("one more");
    shop.now = at("2026-03-16T04:00:00Z");
    let monday = codes(&cups(&mut shop, 2).expect("a new week"));
    assert_eq!(refused(&mut shop, 1), limit(0, 1, "2026-03-23T04:00:00Z"));
    // What counted last week leaves this week as it is when it is cancelled.
    let last_week = codes(&shop.entries[..shop.entries.len() - 2])[1];
    cancel(&mut shop, last_week).expect("it is given back");
    assert_eq!((standing(&shop).member_left, standing(&shop).redeemed), (Some(0), 3));
    cancel(&mut shop, monday[0]).expect("it is given back");
    assert_eq!(standing(&shop).member_left, Some(1));
}

#[test]
fn a_version_with_another_limit_or_another_stock_counts_what_was_had_before() {
    let mut shop = open(", maximum_quantity: 9");
    shop.does(&adjustment(1_000)).expect("a gift");
    cups(&mut shop, 2).expect("without bound");
    shop.now = at("2026-03-12T15:00:00Z");
    cups(&mut shop, 1).expect("without bound");
    publish(&mut shop, 2, &book(", member_limit: { redemptions: 4, period: PERIOD_MONTH }", ""));
    assert_eq!(standing(&shop).member_left, Some(1));
    publish(&mut shop, 3, &book(", member_limit: { redemptions: 4, period: PERIOD_DAY }, stock: 3", ""));
    assert_eq!((standing(&shop).member_left, standing(&shop).stock_left), (Some(3), Some(0)));
    assert_eq!(refused(&mut shop, 1), RewardRejection::OutOfStock { reward: cup(), left: 0, requested: 1 }.into());
    // Less than was taken is as good as nothing.
    publish(&mut shop, 4, &book(", stock: 1", ""));
    assert_eq!(standing(&shop).stock_left, Some(0));
    publish(&mut shop, 5, &book(", stock: 4, maximum_quantity: 9", ""));
    assert_eq!(refused(&mut shop, 2), RewardRejection::OutOfStock { reward: cup(), left: 1, requested: 2 }.into());
    cups(&mut shop, 1).expect("the last one");
    assert_eq!((taken(&shop), standing(&shop).stock_left), (4, Some(0)));
}

#[test]
fn of_rewards_that_are_gone_it_is_remembered_what_a_member_had_of_the_last_hundred() {
    let of = |places: std::ops::Range<usize>| {
        let limit = "member_limit: { redemptions: 1, period: PERIOD_LIFETIME }";
        let rewards =
            places.map(|place| format!("{{ reward_id: r{place}, voucher_kind_id: coffee, display_name: R, points: 1, {limit} }}"));
        format!("{BOOK}rewards: [{}]\n", rewards.collect::<Vec<_>>().join(", "))
    };
    let last = MAX_PAST_REWARDS + 2;
    let mut shop = Shop::open(rule_book_with(&of(0..60)));
    buys(&mut shop, "o-1", dollars(500));
    let mut vouchers = Vec::new();
    for (version, places) in [(1, 0..60), (2, 60..last), (3, last..last + 1)] {
        if version > 1 {
            publish(&mut shop, version, &of(places.clone()));
        }
        for place in places {
            // One in an hour, so that the days go on.
            shop.now += 1.hours();
            vouchers.extend(codes(&shop.does(&ask(&format!("r{place}"), 1)).expect("it is had")));
        }
    }
    check_state(&shop).expect("the state holds together");
    let kept = shop.member.header.rewards.keys().map(|reward| reward.to_string()).collect::<Vec<_>>();
    assert_eq!(kept.len(), MAX_PAST_REWARDS + 1, "the one that there is, and a hundred that there were");
    assert!(!kept.contains(&"r0".to_owned()) && kept.contains(&format!("r{}", last - 1)));
    // Those that are remembered keep to their limits when they come back; the others can be had again.
    publish(&mut shop, 4, &of(0..60));
    assert!(matches!(shop.does(&ask("r59", 1)), Err(Rejection::Reward(RewardRejection::Limit { .. }))));
    shop.does(&ask("r0", 1)).expect("it counts anew");
    // Whoever gives the first one back gives it back once, and the second one too.
    let second = shop.entries.last().and_then(|entry| entry.voucher_change()).expect("a voucher").code;
    for code in [vouchers[0], second] {
        cancel(&mut shop, code).expect("it is undone");
    }
    assert!(!shop.member.header.rewards.contains_key(&RewardId::new("r0").expect("an id")));
    assert_eq!(available(&shop), 500 - vouchers.len() as i64 + 1);
}

#[test]
fn a_tier_has_its_own_cost_and_some_rewards_are_for_some_tiers() {
    let costs = ", tier_costs: [{ tier_id: gold, points: 0 }], member_limit: { redemptions: 1, period: PERIOD_MONTH }";
    let mut shop = open(costs);
    buys(&mut shop, "o-1", dollars(24));
    assert_eq!(refused(&mut shop, 1), Rejection::InsufficientPoints { available: Points(24), requested: Points(25) });
    assert_eq!((standing(&shop).points, standing(&shop).missing), (Points(25), Points(1)));
    buys(&mut shop, "o-2", dollars(76));
    assert_eq!((shop.tier(), standing(&shop).points), ("gold", Points(0)));
    let entries = cups(&mut shop, 1).expect("it is theirs for the asking");
    assert_eq!((paid(&entries)[0].points, paid(&entries)[0].portions.len(), available(&shop)), (Points(0), 0, 100));
    let code = codes(&entries)[0];
    let entries = cancel(&mut shop, code).expect("it is given back");
    assert_eq!((freed(&entries).stock.taken, available(&shop)), (0, 100));
    // And one that is for gold alone.
    let mut shop = open(", tier_ids: [gold]");
    buys(&mut shop, "o-1", dollars(50));
    let tier = shop.programs.newest().tiers[0].id.clone();
    assert_eq!(refused(&mut shop, 1), RewardRejection::Tier { reward: cup(), tier: Some(tier) }.into());
    buys(&mut shop, "o-2", dollars(50));
    cups(&mut shop, 1).expect("gold has it");
}

#[test]
fn a_reward_is_had_in_its_time_and_not_once_it_was_withdrawn() {
    let mut shop = open(", start_time: \"2026-03-11T00:00:00-04:00\", end_time: \"2026-03-12T00:00:00-04:00\"");
    buys(&mut shop, "o-1", dollars(99));
    let (start, end) = (at("2026-03-11T04:00:00Z"), at("2026-03-12T04:00:00Z"));
    let not_offered = |start_time, end_time| Rejection::from(RewardRejection::NotOffered { reward: cup(), start_time, end_time });
    assert_eq!(refused(&mut shop, 1), not_offered(Some(start), None));
    shop.now = start;
    let code = codes(&cups(&mut shop, 1).expect("from the first instant on"))[0];
    shop.now = end - 1.microsecond();
    cups(&mut shop, 1).expect("until the last one");
    shop.now = end;
    assert_eq!(refused(&mut shop, 1), not_offered(None, Some(end)));
    publish(&mut shop, 2, BOOK);
    assert_eq!(refused(&mut shop, 1), not_offered(None, None));
    let never = RewardId::new("plate").expect("an id");
    assert_eq!(shop.does(&ask("plate", 1)), Err(RewardRejection::NotFound { reward: never }.into()));
    // What was had of it before can be undone.
    cancel(&mut shop, code).expect("it is undone");
    assert_eq!(taken(&shop), 1);
}

#[test]
fn several_at_once_are_vouchers_of_their_own_all_or_none() {
    let mut shop = open(", maximum_quantity: 3, stock: 5");
    for sale in 1..=4 {
        buys(&mut shop, &format!("o-{sale}"), dollars(20));
        shop.now += 1.hour();
    }
    assert_eq!(refused(&mut shop, 4), RewardRejection::Quantity { reward: cup(), maximum: 3, requested: 4 }.into());
    let entries = cups(&mut shop, 3).expect("three");
    let parts: Vec<Vec<i64>> = paid(&entries).iter().map(|paid| paid.portions.iter().map(|portion| portion.points.0).collect()).collect();
    assert_eq!(parts, [vec![20, 5], vec![15, 10], vec![10, 15]]);
    assert_eq!(paid(&entries).iter().map(|paid| (paid.stock.taken, paid.tally.counts[0])).collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 3)]);
    // The second alone is undone: into the middle lots.
    let code = codes(&entries)[1];
    cancel(&mut shop, code).expect("it is undone");
    assert_eq!((lots(&shop).iter().map(|(points, _)| *points).collect::<Vec<_>>(), taken(&shop)), (vec![15, 10, 5], 2));
    assert_eq!(refused(&mut shop, 2), Rejection::InsufficientPoints { available: Points(30), requested: Points(50) });
}

#[test]
fn all_that_stands_against_a_reward_is_listed_and_the_first_of_it_refuses() {
    let reward =
        ", start_time: \"2026-04-01T00:00:00Z\", tier_ids: [gold], stock: 0, member_limit: { redemptions: 1, period: PERIOD_YEAR }";
    let mut shop = open("");
    buys(&mut shop, "o-1", dollars(25));
    cups(&mut shop, 1).expect("one");
    shop.does(&adjustment(-3)).expect("an adjustment");
    publish(&mut shop, 2, &book(reward, ""));
    shop.does(&Command::Suspend { reason: "looked at".into() }).expect("suspended");
    shop.member.header.vouchers.live = MAX_VOUCHERS as u32;
    let why_not = standing(&shop).why_not;
    let said: Vec<String> = why_not.iter().map(|why| format!("{why:?}").split(" {").next().unwrap().to_owned()).collect();
    let expected = [
        "MemberSuspended",
        "Refused(NotOffered",
        "Refused(Tier",
        "Refused(Limit",
        "Refused(OutOfStock",
        "TooManyVouchers",
        "InDebt",
        "InsufficientPoints",
    ];
    assert_eq!(said, expected, "{why_not:#?}");
    assert_eq!(shop.does(&ask("cup", 1)), Err(Rejection::MemberSuspended));
    assert_eq!(standing(&shop).missing, Points(25));
}

#[test]
fn a_redemption_of_a_reward_is_undone_by_its_voucher_alone() {
    let mut shop = open("");
    buys(&mut shop, "o-1", dollars(60));
    let entry = cups(&mut shop, 1).expect("one")[0].sequence;
    let reversal = ReversalRequest { ledger: None, redemption: entry, points: None, reason: "back".into() };
    assert_eq!(shop.does(&Command::ReverseRedemption(reversal)), Err(Rejection::RedemptionOfReward { redemption: entry }));
}

#[test]
fn whoever_redeems_a_reward_is_active() {
    let fields = |counted: &str| {
        let expiry = format!("expiry: {{ inactivity: {{ months: 2, activities: [COUNTED_ACTIVITY_PURCHASE{counted}] }} }}");
        book("", "").replace("expiry: { after: { days: 10 } }", &expiry)
    };
    for (counted, lapse) in [("", "2026-05-11T04:00:00Z"), (", COUNTED_ACTIVITY_REDEMPTION", "2026-06-02T04:00:00Z")] {
        let mut shop = Shop::open(rule_book_with(&fields(counted)));
        buys(&mut shop, "o-1", dollars(60));
        shop.now = at("2026-04-01T15:00:00Z");
        let code = codes(&cups(&mut shop, 1).expect("one"))[0];
        assert_eq!(shop.member.header.inactivity.due_time(), Some(at(lapse)), "{counted}");
        // Giving it back is nothing that the member does.
        shop.now = at("2026-04-20T15:00:00Z");
        cancel(&mut shop, code).expect("it is undone");
        assert_eq!((shop.member.header.inactivity.due_time(), available(&shop)), (Some(at(lapse)), 60));
    }
}

#[test]
fn goals_and_rewards_take_the_same_points_once() {
    let goal = "goals: [{ goal_id: card, display_name: Card, points: 40, voucher_kind_id: coffee, delay_days: 3 }]\n";
    let mut shop = Shop::open(rule_book_with(&book("", goal)));
    buys(&mut shop, "o-1", dollars(50));
    assert_eq!(shop.member.header.goals.waiting.len(), 1);
    let entries = cups(&mut shop, 1).expect("one");
    // What waited is not covered any more.
    assert_eq!((entries.len(), shop.member.header.goals.waiting.len(), available(&shop)), (2, 0, 25));
    let code = codes(&entries)[0];
    cancel(&mut shop, code).expect("it is undone");
    assert_eq!((shop.member.header.goals.waiting.len(), available(&shop)), (0, 50), "what comes back reaches no goal by itself");
    buys(&mut shop, "o-2", dollars(1));
    assert_eq!(shop.member.header.goals.waiting.len(), 1);
}

#[test]
fn points_that_are_set_aside_and_points_spent_otherwise_are_not_there() {
    let mut shop = Shop::open(rule_book_with(&book("", "redemption: { points: 1, amount: 1 }\n")));
    buys(&mut shop, "o-1", dollars(60));
    shop.does(&redeem(40)).expect("points are spent");
    assert_eq!(refused(&mut shop, 1), Rejection::InsufficientPoints { available: Points(20), requested: Points(25) });
    buys(&mut shop, "o-2", dollars(20));
    let redeem = RedeemRequest { points: Some(Points(20)), up_to: false, order_total: None, order: None, reference: String::new() };
    shop.does(&Command::HoldPoints(HoldRequest { redeem, seconds: None })).expect("points are set aside");
    assert_eq!(refused(&mut shop, 1), Rejection::InsufficientPoints { available: Points(20), requested: Points(25) });
}

#[test]
fn vouchers_for_a_free_item_give_as_many_as_there_are_and_none_twice() {
    let kind = "benefit: { free_item: { category: drinks } }";
    let mut shop = Shop::open(rule_book_with(&book("", "").replace("benefit: { free_item: { sku: coffee } }", kind)));
    buys(&mut shop, "o-1", dollars(60));
    let vouchers = [1, 1].map(|one| codes(&cups(&mut shop, one).expect("one"))).concat();
    let with = |drinks: &str, amount: &str| {
        let lines = vec![goods("cake", "food", "1", "50"), goods("latte", "drinks", drinks, amount)];
        Command::RecordPurchase(Arc::new(Purchase { order: Some(order("o-2")), vouchers: vouchers.clone(), ..purchase(lines) }))
    };
    assert_eq!(shop.does(&with("1", "6")), Err(VoucherRejection::CategoryMissing { category: "drinks".into() }.into()));
    assert_eq!(shop.does(&with("1.5", "9")), Err(VoucherRejection::CategoryMissing { category: "drinks".into() }.into()));
    let entries = shop.does(&with("2", "12")).expect("a sale");
    let value = |entry: &Entry| match &entry.voucher_change()?.change {
        VoucherChange::Used { value, .. } => *value,
        _ => None,
    };
    assert_eq!(entries.iter().filter_map(value).collect::<Vec<_>>(), [dec("6"), dec("6")]);
}

#[test]
fn a_free_item_of_a_category_is_the_dearest_unit_up_to_its_bound() {
    let fields = |bound: &str| {
        let kind = format!("benefit: {{ free_item: {{ category: drinks{bound} }} }}");
        book("", "").replace("benefit: { free_item: { sku: coffee } }", &kind)
    };
    for (bound, worth) in [("", "6.25"), (", maximum_amount: 5", "5")] {
        let mut shop = Shop::open(rule_book_with(&fields(bound)));
        buys(&mut shop, "o-1", dollars(30));
        let entries = cups(&mut shop, 1).expect("one");
        let Some(VoucherChange::Issued { voucher, .. }) = entries[0].voucher_change().map(|changed| &changed.change) else { panic!() };
        assert!(matches!(&voucher.benefit, VoucherBenefit::FreeItemOf { category, .. } if category == "drinks"));
        let code = voucher.code;
        let none = Purchase { order: Some(order("o-2")), vouchers: vec![code], ..purchase(vec![goods("cake", "food", "1", "9")]) };
        let refused = shop.does(&Command::RecordPurchase(Arc::new(none)));
        assert_eq!(refused, Err(VoucherRejection::CategoryMissing { category: "drinks".into() }.into()));
        let lines = vec![goods("cake", "food", "1", "9"), goods("tea", "drinks", "1", "4"), goods("latte", "drinks", "2", "12.50")];
        let sale = Purchase { order: Some(order("o-2")), vouchers: vec![code], ..purchase(lines) };
        let entries = shop.does(&Command::RecordPurchase(Arc::new(sale))).expect("a sale");
        let value = entries.iter().find_map(|entry| match &entry.voucher_change()?.change {
            VoucherChange::Used { value, .. } => *value,
            _ => None,
        });
        assert_eq!(value, Some(dec(worth)));
    }
}

fn mistakes(fields: &str) -> Vec<String> {
    let text = format!(
        "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\nrounding: {{ mode: MODE_FLOOR, stage: \
         STAGE_RULE, fraction: FRACTION_DROP }}\n{fields}"
    );
    let document = rule_book::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mistakes = program::parse(&document, 1, Timestamp::UNIX_EPOCH).expect_err(fields);
    mistakes.iter().map(|Violation { path, message }| format!("{path}: {message}")).collect()
}

#[test]
fn a_rule_book_says_where_its_rewards_are_wrong() {
    for (reward, expected) in [
        (", stock: -1", "rewards[0].stock: is negative; leave it out for no bound"),
        (", points: 0", "rewards[0].points: is required: more than 0"),
        (", points: \"2.5\"", "rewards[0].points: has 1 decimal places; points_precision allows 0"),
        (", voucher_kind_id: tea", "rewards[0].voucher_kind_id: is not a kind of vouchers of the programme"),
        (", reward_id: Cup", "rewards[0].reward_id: has a character that is not allowed"),
        (", display_name: \"\"", "rewards[0].display_name: is required"),
        (", tier_ids: [green, silver]", "rewards[0].tier_ids[1]: is not a tier of the programme"),
        (", tier_ids: [gold, gold]", "rewards[0].tier_ids[1]: is named before too"),
        (", tier_costs: [{ tier_id: silver, points: 1 }]", "rewards[0].tier_costs[0].tier_id: is not a tier of the programme"),
        (", tier_costs: [{ tier_id: gold }]", "rewards[0].tier_costs[0].points: is required; 0 for nothing"),
        (
            ", tier_costs: [{ tier_id: gold, points: 1 }, { tier_id: gold, points: 2 }]",
            "rewards[0].tier_costs[1].tier_id: is named before too",
        ),
        (
            ", start_time: \"2026-03-11T00:00:00Z\", end_time: \"2026-03-11T00:00:00Z\"",
            "rewards[0].end_time: is not after start_time: it could never be had",
        ),
        (", member_limit: { redemptions: 0, period: PERIOD_DAY }", "rewards[0].member_limit.redemptions: is 0; it must be 1 to 1000000"),
        (", member_limit: { redemptions: 1 }", "rewards[0].member_limit.period: is required"),
        (", valid_days: 3, valid_months: 1", "rewards[0]: has both valid_days and valid_months; only one is possible"),
        (", valid_months: 121", "rewards[0].valid_months: is 121; it must be 1 to 120"),
        (
            ", voucher_kind_id: tasting, valid_days: 1",
            "rewards[0].valid_days: ends before its voucher is valid, which is 2 days after it is issued",
        ),
        (", maximum_quantity: 101", "rewards[0].maximum_quantity: is 101; it must be 1 to 100"),
    ] {
        let field = reward.trim_start_matches(", ").split(':').next().expect("a field");
        let usual = ["reward_id: cup", "display_name: A cup", "voucher_kind_id: coffee", "points: 25"];
        let kept: Vec<&str> = usual.into_iter().filter(|usual| !usual.starts_with(&format!("{field}:"))).collect();
        let found = mistakes(&format!("{BOOK}rewards: [{{ {}{reward} }}]\n", kept.join(", ")));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected} is not {found:?}");
    }
    let twice = format!("{BOOK}rewards: [{0}, {0}]\n", "{ reward_id: cup, display_name: A cup, voucher_kind_id: coffee, points: 25 }");
    assert_eq!(mistakes(&twice), ["rewards[1].reward_id: is the id of an earlier reward too"]);
    for (item, expected) in [
        ("sku: tea, category: drinks", "voucher_kinds[0].benefit.free_item: has both sku and category; only one is possible"),
        ("sku: tea, maximum_amount: 5", "voucher_kinds[0].benefit.free_item.maximum_amount: is for a category alone"),
        ("category: drinks, maximum_amount: 0", "voucher_kinds[0].benefit.free_item.maximum_amount: must be more than 0"),
        ("maximum_amount: \"\"", "voucher_kinds[0].benefit.free_item.sku: is required"),
    ] {
        let found = mistakes(&BOOK.replace("free_item: { sku: coffee }", &format!("free_item: {{ {item} }}")));
        assert_eq!(found, [expected]);
    }
}
