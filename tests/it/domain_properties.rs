//! What holds for every input: shares, rounding, lots, and random lives of a member.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, ToSpan};
use loyaltyd::domain::{
    ActivityId, ActivityRequest, Adjustment, CaptureRequest, Command, Decision, Entry, EntryKind, Header, HoldId, HoldRequest, Line,
    LineKind, Member, Payment, Points, Purchase, RedeemRequest, Rejection, ReturnRequest, ReversalRequest, Tender, TenderKind, TierId,
    apply, share,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, check_sums, line, purchase, rule_book_with, total},
    returns::{of, order, whole},
    support::histories::history,
};

fn cents(units: u64) -> Decimal {
    Decimal::new(units as i64, 2)
}

/// Of a failing run nothing is left in the tree: what shrinks out of it becomes a test of its own.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn shares_sum_exactly_and_are_fair(
        total in 0u64..10_000_000_000,
        weights in vec(prop_oneof![Just(0u64), 1u64..100, 1u64..10_000_000_000_000], 1..40),
    ) {
        let decimals: Vec<Decimal> = weights.iter().map(|weight| cents(*weight)).collect();
        let shares = share(cents(total), &decimals, 2).expect("the numbers fit");
        prop_assert_eq!(shares.iter().copied().sum::<Decimal>(), cents(total));
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let unit = cents(1);
        for (index, (share, weight)) in shares.iter().zip(&weights).enumerate() {
            if sum == 0 {
                // All weights are 0: they count as equal.
                let even = total / weights.len() as u64;
                prop_assert!(*share == cents(even) || *share == cents(even + 1));
                continue;
            }
            let whole = u64::try_from(u128::from(total) * u128::from(*weight) / sum).expect("a share is not more than the total");
            prop_assert!(*share == cents(whole) || *share == cents(whole) + unit, "share {} of weight {}", share, weight);
            prop_assert!(*weight > 0 || share.is_zero());
            // Of equal weights the earlier one has not less.
            for (other, other_weight) in shares[index + 1..].iter().zip(&weights[index + 1..]) {
                prop_assert!(weight != other_weight || share >= other);
                prop_assert!(weight <= other_weight || share >= other || *share + unit == *other);
            }
        }
    }

    #[test]
    fn the_order_of_weights_decides_only_between_equal_remainders(
        total in 0u64..1_000_000,
        weights in vec(1u64..1_000, 1..20),
        turn in 0usize..20,
    ) {
        check_turned(total, &weights, turn % weights.len())?;
    }

    /// Products of 128 bits and more are shared as exactly as small ones.
    #[test]
    fn shares_of_huge_numbers_are_those_of_small_ones(total in 0i128..10_000_000_000_000_000_000_000, weights in vec(0i128..10_000, 1..10)) {
        let total = Decimal::from_i128_with_scale(total, 2);
        let times = |factor: i128| weights.iter().map(|weight| Decimal::from_i128_with_scale(weight * factor, 2)).collect::<Vec<_>>();
        prop_assert_eq!(share(total, &times(1), 2), share(total, &times(1_000_000_000_000_000_000_000), 2));
    }

    /// Against integers alone: cents x numerator / denominator.
    #[test]
    fn rounding_is_that_of_integers(amount in 0u64..100_000_000, per in 1u64..100_000, millionths in 1u64..5_000_000) {
        let numerator = u128::from(amount) * u128::from(millionths);
        let denominator = u128::from(per) * 1_000_000;
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        let up = |condition: bool| whole + u128::from(condition);
        let expected = [
            ("MODE_FLOOR", whole),
            ("MODE_CEILING", up(rest > 0)),
            ("MODE_HALF_UP", up(2 * rest >= denominator)),
            ("MODE_HALF_EVEN", up(2 * rest > denominator || (2 * rest == denominator && whole % 2 == 1))),
        ];
        for (mode, expected) in expected {
            for stage in ["STAGE_LINE", "STAGE_RULE", "STAGE_ORDER"] {
                let mut shop = Shop::open(rule_book_with(&format!(
                    "\nrounding: {{ mode: {mode}, stage: {stage}, fraction: FRACTION_DROP }}\naccrual_rules: [{{ rule_id: r, per_amount: {{ \
                     amount: {}, points: {} }} }}]\n",
                    cents(per),
                    Decimal::new(millionths as i64, 6),
                )));
                let accrual = shop.buys(purchase(vec![line(&cents(amount).to_string())]));
                prop_assert_eq!(u128::try_from(accrual.points.0), Ok(expected), "{} {}", mode, stage);
            }
        }
    }

    /// However a sum is split into purchases, with carried fractions it earns the same, but for what is still waiting.
    #[test]
    fn carried_fractions_are_never_lost(amounts in vec(0u64..10_000, 1..30), per in 1u64..5_000) {
        let mut shop = Shop::open(rule_book_with(&format!(
            "\nrounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_CARRY }}\naccrual_rules: [{{ rule_id: r, per_amount: {{ \
             amount: {}, points: 1 }} }}]\n",
            cents(per),
        )));
        let mut spent = 0;
        for amount in amounts {
            shop.buys(purchase(vec![line(&cents(amount).to_string())]));
            spent += amount;
            prop_assert_eq!(shop.member.header.balance.available.0, (spent / per) as i64, "{} of {}", spent, per);
        }
    }
}

/// Two weights that differ, 957 and 302 among them, can have the same remainder; then the order decides.
#[test]
fn different_weights_with_equal_remainders_are_shared_by_their_order() {
    let weights = [94, 886, 3, 455, 797, 844, 319, 28, 957, 302, 360, 912, 170, 746, 837, 688];
    for turn in 0..weights.len() {
        check_turned(13_015, &weights, turn).expect("the order decides only between equal remainders");
    }
}

/// Shares of the same weights in another order: those with more than the last remainder that got a unit got one in both, those with
/// less in neither, and those with as much got the same number of units, the first ones in each order.
fn check_turned(total: u64, weights: &[u64], turn: usize) -> Result<(), TestCaseError> {
    let sum: u64 = weights.iter().sum();
    let remainder = |index: usize| total * weights[index] % sum;
    // Whether each weight, by its place before turning, got one unit more than its whole part.
    let topped = |turn: usize| {
        let order: Vec<usize> = (0..weights.len()).map(|place| (place + turn) % weights.len()).collect();
        let decimals: Vec<Decimal> = order.iter().map(|index| cents(weights[*index])).collect();
        let shares = share(cents(total), &decimals, 2).expect("the numbers fit");
        let mut topped = vec![false; weights.len()];
        for (index, share) in order.iter().zip(shares) {
            topped[*index] = share > cents(total * weights[*index] / sum);
        }
        (order, topped)
    };
    let ((_, straight), (order, turned)) = (topped(0), topped(turn));
    let count = |topped: &[bool]| topped.iter().filter(|topped| **topped).count();
    prop_assert_eq!(count(&straight), count(&turned));
    let Some(last) = (0..weights.len()).filter(|index| straight[*index]).map(remainder).min() else { return Ok(()) };
    for index in 0..weights.len() {
        if remainder(index) != last {
            prop_assert_eq!([straight[index], turned[index]], [remainder(index) > last; 2], "weight {}", weights[index]);
        }
    }
    for (order, topped) in [((0..weights.len()).collect(), straight), (order, turned)] {
        let tied: Vec<bool> = order.into_iter().filter(|index| remainder(*index) == last).map(|index: usize| topped[index]).collect();
        prop_assert!(tied.is_sorted_by(|a, b| a >= b), "the first of equal remainders: {:?}", tied);
    }
    Ok(())
}

/// A rule book in which everything happens at once.
const BUSY: &str = "\nrounding: { mode: MODE_FLOOR, stage: STAGE_ORDER, fraction: FRACTION_CARRY }
points_precision: 1
basis: { include_shipping: true, include_tips: true }
expiry: { after: { days: 3 } }
accrual_rules:
- { rule_id: all, per_amount: { amount: 3, points: 1 } }
- { rule_id: tea, per_amount: { amount: 7, points: 2, whole_blocks: true }, filter: { categories: [tea] } }
- { rule_id: units, per_unit: { points: 0.3 }, rounding: { mode: MODE_HALF_EVEN, stage: STAGE_LINE, fraction: FRACTION_DROP }, expiry: { after: { days: 1 } } }
- { rule_id: later, per_amount: { amount: 4, points: 1 }, rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }, activation: { after_days: 2 } }
- rule_id: confirmed
  per_amount: { amount: 9, points: 1 }
  rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
  activation: { on_confirmation: {} }
  expiry: { after: { days: 2, from_activation: true } }
- rule_id: visit
  per_order: { points: 2 }
  rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
  limits: { cap: { points: 5, period: PERIOD_DAY }, minimum_points: 1 }
  expiry: { never: {} }
- rule_id: product
  per_product: { points: 1.5 }
  rounding: { mode: MODE_CEILING, stage: STAGE_RULE, fraction: FRACTION_DROP }
  limits: { maximum_points: 2 }
  expiry: { end_of_period: { period: CALENDAR_PERIOD_MONTH } }
- rule_id: first
  per_amount: { amount: 1, points: 1 }
  rounding: { mode: MODE_FLOOR, stage: STAGE_LINE, fraction: FRACTION_CARRY }
  limits: { once_per_member: true }
activity_rules:
- { rule_id: survey, activity: survey, points: 3, cap: { points: 7, period: PERIOD_DAY }, expiry: { after: { days: 1 } } }
- { rule_id: later_survey, activity: survey, points: 1.5, activation: { after_days: 1 }, without_qualifying: true }
tiers:
- { tier_id: base }
- { tier_id: silver, threshold: { qualifying_points: 50, spend: 1000 }, multiplier: 1.25 }
- { tier_id: gold, threshold: { qualifying_points: 300, visits: 3, require_all: true }, multiplier: 1.333333 }
purchase_time: { max_age_days: 5 }
redemption: { points: 3, amount: 0.20, minimum_points: 0.4, step_points: 0.2, maximum_share_percent: 62.5, grace_days: 1, default_hold_seconds: 90000, maximum_hold_seconds: 400000 }
adjustments: { into_debt: true }
";

#[derive(Debug, Clone)]
enum Step {
    Buy {
        purchase: Box<Purchase>,
        age_hours: i64,
        pay: Option<Pay>,
    },
    Adjust {
        points: i64,
        qualifying: bool,
    },
    Activity {
        reference: usize,
        age_hours: i64,
    },
    Wait {
        hours: i64,
    },
    SetTier(&'static str),
    Suspend,
    Reactivate,
    Redeem(Spend),
    Hold {
        spend: Spend,
        hours: Option<u32>,
    },
    Capture {
        which: usize,
        points: Option<i64>,
    },
    Release {
        which: usize,
    },
    Reverse {
        which: usize,
        points: Option<i64>,
    },
    /// Of one of the purchases a part, or all.
    Return {
        sale: usize,
        cents: Option<u64>,
    },
    Confirm {
        sale: usize,
    },
}

/// Points to be spent for an order of so many cents.
#[derive(Debug, Clone, Copy)]
struct Spend {
    points: Option<i64>,
    up_to: bool,
    total: u64,
}

/// A point, and a part of a hold, that pay a purchase.
#[derive(Debug, Clone, Copy)]
struct Pay {
    redeem: i64,
    capture: Option<(usize, i64)>,
}

fn any_line() -> impl Strategy<Value = Line> {
    let kind = prop_oneof![9 => Just(LineKind::Goods), 1 => Just(LineKind::GiftCard)];
    (select(vec!["", "a", "b", "c"]), select(vec!["", "tea", "bags"]), 0u64..3_000, 0u64..20_000, 0u64..=100, 0u64..500, kind).prop_map(
        |(sku, category, quantity, amount, percent_off, tax, kind)| Line {
            sku: sku.into(),
            category: category.into(),
            quantity: Decimal::new(quantity as i64, 3),
            discount: cents(amount * percent_off / 100),
            tax: cents(tax.min(amount - amount * percent_off / 100)),
            kind,
            ..line(&cents(amount).to_string())
        },
    )
}

pub fn any_purchase() -> impl Strategy<Value = Purchase> {
    (vec(any_line(), 1..6), 0u64..=100, any::<bool>(), 0u64..2_000, 0u64..500, 0u64..=100).prop_map(
        |(lines, percent_off, prices_include_tax, shipping, tip, percent_points)| {
            let nets: Decimal = lines.iter().map(|line| line.amount - line.discount).sum();
            let percent = |sum: Decimal, percent: u64| (sum * cents(percent)).round_dp(2);
            let sale = Purchase {
                order_discount: percent(nets, percent_off),
                prices_include_tax,
                shipping: cents(shipping),
                tip: cents(tip),
                ..purchase(lines)
            };
            let mut sale = total(sale);
            let points = percent(sale.total, percent_points);
            sale.tenders =
                vec![Tender { kind: TenderKind::Points, amount: points }, Tender { kind: TenderKind::Card, amount: sale.total - points }];
            sale
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_purchase(), -1i64..150, option::of(any_pay()))
            .prop_map(|(purchase, age_hours, pay)| Step::Buy { purchase: Box::new(purchase), age_hours, pay }),
        2 => (prop_oneof![-400i64..0, 1i64..400], any::<bool>()).prop_map(|(points, qualifying)| Step::Adjust { points, qualifying }),
        2 => (0usize..1_000, -1i64..150).prop_map(|(reference, age_hours)| Step::Activity { reference, age_hours }),
        4 => (1i64..60).prop_map(|hours| Step::Wait { hours }),
        1 => select(vec!["base", "silver", "gold", "platinum"]).prop_map(Step::SetTier),
        1 => Just(Step::Suspend),
        2 => Just(Step::Reactivate),
        3 => any_spend().prop_map(Step::Redeem),
        4 => (any_spend(), option::of(1u32..100)).prop_map(|(spend, hours)| Step::Hold { spend, hours }),
        3 => (0usize..9, some_points()).prop_map(|(which, points)| Step::Capture { which, points }),
        2 => (0usize..9).prop_map(|which| Step::Release { which }),
        3 => (0usize..9, some_points()).prop_map(|(which, points)| Step::Reverse { which, points }),
        4 => (0usize..40, proptest::option::weighted(0.7, 1u64..20_000)).prop_map(|(sale, cents)| Step::Return { sale, cents }),
        2 => (0usize..40).prop_map(|sale| Step::Confirm { sale }),
    ]
}

fn some_points() -> impl Strategy<Value = Option<i64>> {
    option::of(1i64..40)
}

fn any_spend() -> impl Strategy<Value = Spend> {
    (option::of((1i64..60).prop_map(|points| points * 2)), any::<bool>(), 1u64..5_000).prop_map(|(points, up_to, total)| Spend {
        points,
        up_to,
        total,
    })
}

fn any_pay() -> impl Strategy<Value = Pay> {
    ((2i64..20).prop_map(|points| points * 2), option::of((0usize..9, 1i64..10))).prop_map(|(redeem, capture)| Pay { redeem, capture })
}

/// The sequence of an entry of a kind, counted round.
fn nth(shop: &Shop, which: usize, is: impl Fn(&EntryKind) -> bool) -> u64 {
    let found: Vec<u64> = shop.entries.iter().filter(|entry| is(&entry.kind)).map(|entry| entry.sequence).collect();
    if found.is_empty() { 1 } else { found[which % found.len()] }
}

fn nth_hold(shop: &Shop, which: usize) -> HoldId {
    HoldId(nth(shop, which, |kind| matches!(kind, EntryKind::PointsHeld(_))))
}

/// Tenders of points that come to what these payments are worth.
fn paid(mut purchase: Purchase, pay: Pay, shop: &Shop) -> Purchase {
    let policy = shop.programs.newest().redemption.as_ref().expect("points are redeemed");
    let mut worth = policy.value(Points(pay.redeem), 2).expect("small numbers");
    purchase.payments.push(Payment::Redeem { points: Points(pay.redeem) });
    if let Some((which, points)) = pay.capture {
        let hold = nth_hold(shop, which);
        purchase.payments.push(Payment::Capture { hold, points: Some(Points(points)) });
        worth += shop.member.holds.get(&hold).map_or(Decimal::ZERO, |hold| hold.share(Points(points), 2).expect("small numbers"));
    }
    let worth = worth.min(purchase.total);
    purchase.tenders =
        vec![Tender { kind: TenderKind::Points, amount: worth }, Tender { kind: TenderKind::Card, amount: purchase.total - worth }];
    purchase
}

fn request(spend: Spend) -> RedeemRequest {
    let Spend { points, up_to, total } = spend;
    RedeemRequest { points: points.map(Points), up_to, order_total: Some(cents(total)), ..RedeemRequest::default() }
}

fn command(step: Step, shop: &Shop) -> Option<Command> {
    let reason = "because".to_owned();
    let sales = || shop.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::PurchaseAccrued(_))).count();
    let one_of = |sale: usize| order(&(sale % sales().max(1)).to_string());
    match step {
        Step::Buy { mut purchase, age_hours, pay } => {
            purchase.occurred_time = Some(shop.now - age_hours.hours());
            purchase.order = Some(order(&sales().to_string()));
            let purchase = match pay {
                Some(pay) => paid(*purchase, pay, shop),
                None => *purchase,
            };
            Some(Command::RecordPurchase(Arc::new(purchase)))
        }
        Step::Adjust { points, qualifying } => {
            Some(Command::AdjustPoints(Adjustment { points: Points(points), qualifying, reason, reference: String::new(), expiry: None }))
        }
        Step::Activity { reference, age_hours } => Some(Command::RecordActivity(ActivityRequest {
            activity: ActivityId::new("survey").expect("an id"),
            reference: reference.to_string(),
            referrer: None,
            occurred_time: Some(shop.now - age_hours.hours()),
        })),
        Step::Wait { .. } => None,
        Step::SetTier(tier) => Some(Command::SetTier { tier: TierId::new(tier).expect("an id"), reason, last_date: None }),
        Step::Suspend => Some(Command::Suspend { reason }),
        Step::Reactivate => Some(Command::Reactivate { reason }),
        Step::Redeem(spend) => Some(Command::RedeemPoints(request(spend))),
        Step::Hold { spend, hours } => {
            let seconds = hours.map(|hours| hours * 3_600);
            Some(Command::HoldPoints(HoldRequest { redeem: request(spend), seconds }))
        }
        Step::Capture { which, points } => Some(Command::CaptureHold(CaptureRequest {
            hold: nth_hold(shop, which),
            points: points.map(Points),
            order: None,
            reference: String::new(),
        })),
        Step::Release { which } => Some(Command::ReleaseHold { hold: nth_hold(shop, which), reason }),
        Step::Reverse { which, points } => {
            let redemption = nth(shop, which, |kind| matches!(kind, EntryKind::PointsRedeemed(_)));
            Some(Command::ReverseRedemption(ReversalRequest { ledger: None, redemption, points: points.map(Points), reason }))
        }
        Step::Return { .. } | Step::Confirm { .. } if sales() == 0 => None,
        Step::Return { sale, cents: Some(cents) } => {
            let order = one_of(sale);
            Some(Command::ReturnPurchase(Arc::new(ReturnRequest { amount: self::cents(cents), ..of(order.order.as_str()) })))
        }
        Step::Return { sale, cents: None } => Some(Command::ReturnPurchase(Arc::new(whole(one_of(sale).order.as_str())))),
        Step::Confirm { sale } => Some(Command::ConfirmPurchase { order: one_of(sale) }),
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// Over random histories: the same command gives the same entries, folding them gives the decided state, points are conserved, and
    /// the live lots hold what is available.
    #[test]
    fn every_history_holds_the_invariants(steps in vec(any_step(), 1..40)) {
        let mut shop = Shop::open(rule_book_with(BUSY));
        let mut refused = 0;
        for step in steps {
            if let Step::Wait { hours } = step {
                shop.now += hours.hours();
            }
            let Some(command) = command(step, &shop) else { continue };
            let first = shop.decide(&command);
            prop_assert_eq!(&first, &shop.decide(&command), "a decision is deterministic");
            let partly = partly_loaded(&shop, &command).decide(&command);
            prop_assert_eq!(outcome(&first), outcome(&partly), "lots that are not needed change nothing");
            let Ok(entries) = shop.does(&command) else {
                refused += 1;
                continue;
            };
            for entry in &entries {
                if let EntryKind::PurchaseAccrued(accrued) = &entry.kind {
                    check_sums(&accrued.accrual);
                    prop_assert!(accrued.accrual.line_bases.iter().all(|line| line.basis >= Decimal::ZERO));
                }
            }
            check_state(&shop)?;
        }
        let mut folded = Member::bare(shop.member.key.clone(), Header::new(shop.now));
        for entry in &shop.entries {
            prop_assert!(apply(&mut folded, entry).is_ok());
        }
        prop_assert_eq!(&folded, &shop.member, "{} refused", refused);
    }
}

/// What is the same however many lots were loaded.
fn outcome(decision: &Result<Decision, Rejection>) -> Result<(&[Entry], &Header, Option<&Entry>), &Rejection> {
    decision.as_ref().map(|decision| (decision.entries.as_slice(), &decision.member.header, decision.done_before.as_ref()))
}

/// The same shop, with as much of the member as a store loads for a command: if any has lapsed those lots, as many as the command takes
/// points from, and one more; if it asks for holds or one is over all of them, with the lots that they came from; of pending lots those
/// that have become active and one more; and the lots of what it refers to.
fn partly_loaded(shop: &Shop, command: &Command) -> Shop {
    let (demand, header) = (command.demand(), &shop.member.header);
    let is_due = |time: Option<Timestamp>| time.is_some_and(|time| time <= shop.now);
    let history = history(&shop.entries, command);
    let mut points = demand.points;
    for thread in history.threads.values().filter(|_| demand.takes_back) {
        if let EntryKind::PurchaseAccrued(accrued) = &thread.origin.kind {
            points = points.unwrap_or(Points::ZERO).plus(accrued.accrual.points).ok();
        }
    }
    let mut wanted = points.unwrap_or(Points::ZERO);
    let mut lots = BTreeMap::new();
    if points.is_some() || is_due(header.next_expiry_time) {
        for (key, lot) in &shop.member.lots {
            lots.insert(*key, lot.clone());
            if !lot.has_lapsed(shop.now) {
                if wanted <= Points::ZERO {
                    break;
                }
                wanted = wanted.minus(lot.remaining).expect("small numbers");
            }
        }
    }
    let holds = if demand.holds || is_due(header.next_hold_expiry_time) { shop.member.holds.clone() } else { BTreeMap::new() };
    let of_holds = holds.values().flat_map(|hold| &hold.portions).map(|portion| portion.lot);
    for key in of_holds.chain(history.lots()) {
        lots.extend(shop.member.lots.get(&key).map(|lot| (key, lot.clone())));
    }
    let mut pending = shop.member.pending.clone();
    if demand.sale.is_none() {
        let due = pending.values().take_while(|lot| lot.is_active(shop.now)).count();
        let loaded = if is_due(header.next_activation_time) { due + 1 } else { 0 };
        pending = pending.into_iter().take(loaded).collect();
    }
    let member = Member { lots, holds, pending, ..shop.member.clone() };
    Shop { programs: shop.programs.clone(), member, now: shop.now, entries: shop.entries.clone() }
}

pub fn check_state(shop: &Shop) -> Result<(), TestCaseError> {
    let header = &shop.member.header;
    prop_assert!(header.balance.is_conserved());
    let live: i64 = shop.member.lots.values().map(|lot| lot.remaining.0).sum();
    prop_assert_eq!(header.balance.available.0, live);
    prop_assert!(live >= 0);
    prop_assert_eq!(header.balance.held.0, shop.member.holds.values().map(|hold| hold.points.0).sum::<i64>());
    prop_assert_eq!(header.next_hold_expiry_time, shop.member.holds.values().map(|hold| hold.expire_time).min());
    prop_assert!(shop.member.holds.values().all(|hold| hold.expire_time > shop.now), "none is over unseen");
    let pending: i64 = shop.member.pending.values().map(|lot| lot.remaining.0).sum();
    prop_assert_eq!(header.balance.pending.0, pending);
    prop_assert!(shop.member.pending.values().all(|lot| lot.remaining.0 > 0 && lot.qualifying_points.0 >= 0 && !lot.is_active(shop.now)));
    let next = shop.member.pending.values().filter_map(|lot| lot.activate_time).min();
    prop_assert!(next.is_none_or(|next| header.next_activation_time.is_some_and(|due| due <= next)), "nothing becomes active unseen");
    let next = shop.member.lots.values().filter_map(|lot| lot.expiry.time()).min();
    prop_assert!(next.is_none_or(|next| header.next_expiry_time.is_some_and(|due| due <= next)), "nothing lapses unseen");
    prop_assert!(shop.member.lots.values().all(|lot| !lot.has_lapsed(shop.now) && lot.remaining.0 > 0 && lot.remaining <= lot.issued));
    let sums: i64 = shop.entries.iter().map(|entry| entry.points().0).sum();
    prop_assert_eq!(sums, live);
    for window in header.tier.history.windows(2) {
        prop_assert!(window[0].start_time <= window[1].start_time);
    }
    Ok(())
}
