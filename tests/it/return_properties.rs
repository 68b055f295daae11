//! What holds of returns for every rule book, basket and split: the parts sum to the whole, and the whole is what was earned.

use std::collections::BTreeMap;

use jiff::ToSpan;
use loyaltyd::domain::{
    Command, Header, Member, PeriodStart, Points, PromotionCount, Purchase, Rejection, ReturnRequest, ReturnedLine, RuleId, TallyKey,
    TierId, apply,
};
use proptest::{collection::vec, prelude::*, sample::select};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, rule_book_with},
    domain_properties::{any_purchase, cases, check_state},
    returns::{buys, of, order, returned, tries, whole},
    support::histories::tallies,
};

/// Rules of every kind, with limits where the rounding allows them.
fn any_rules() -> impl Strategy<Value = String> {
    let rate = prop_oneof![
        (1u32..2_000, 1u32..3_000, any::<bool>()).prop_map(|(amount, points, whole_blocks)| {
            let (amount, points) = (Decimal::new(i64::from(amount), 2), Decimal::new(i64::from(points), 3));
            format!("per_amount: {{ amount: {amount}, points: {points}, whole_blocks: {whole_blocks} }}")
        }),
        (1u32..5_000).prop_map(|points| format!("per_unit: {{ points: {} }}", Decimal::new(i64::from(points), 3))),
        (1u32..50_000).prop_map(|points| format!("per_order: {{ points: {} }}", Decimal::new(i64::from(points), 3))),
        (1u32..9_000).prop_map(|points| format!("per_product: {{ points: {} }}", Decimal::new(i64::from(points), 3))),
    ];
    let filter = select(vec![
        "",
        "",
        ", filter: { categories: [tea] }",
        ", filter: { minimum_order: 100 }",
        ", filter: { skus: [a, b], minimum_order: 50 }",
        ", filter: { excluded_categories: [bags] }",
    ]);
    let rounding = select(vec![
        "",
        "",
        ", rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }",
        ", rounding: { mode: MODE_HALF_EVEN, stage: STAGE_LINE, fraction: FRACTION_DROP }",
        ", rounding: { mode: MODE_FLOOR, stage: STAGE_LINE, fraction: FRACTION_CARRY }",
    ]);
    let limits = select(vec![
        "",
        "limits: { minimum_points: 3 }",
        "limits: { maximum_points: 20 }",
        "limits: { cap: { points: 40, period: PERIOD_MONTH } }",
        "limits: { minimum_points: 2, maximum_points: 30, cap: { points: 35, period: PERIOD_LIFETIME }, once_per_member: true }",
        "limits: { once_per_member: true }",
    ]);
    let activation = select(vec!["", "", ", activation: { after_days: 3 }", ", activation: { on_confirmation: {} }"]);
    let flags = select(vec!["", "", ", without_qualifying: true", ", without_tier_multiplier: true"]);
    let rule = (rate, filter, rounding, limits, activation, flags);
    vec(rule, 1..5).prop_map(|rules| {
        let rules = rules.into_iter().enumerate().map(|(index, (rate, filter, rounding, limits, activation, flags))| {
            // A rule that is rounded together with the others has nothing to limit.
            let limits = if rounding.is_empty() || limits.is_empty() { String::new() } else { format!(", {limits}") };
            format!("- {{ rule_id: r-{index}, priority: {}, {rate}{filter}{rounding}{limits}{activation}{flags} }}\n", index % 2)
        });
        format!("accrual_rules:\n{}", rules.collect::<String>())
    })
}

/// Promotions with every effect, on lines and whole orders, alone and in groups, with limits.
pub fn any_promotions() -> impl Strategy<Value = String> {
    let effect = prop_oneof![
        (1001u32..4_000, any::<bool>())
            .prop_map(|(by, whole)| format!("multiply: {{ multiplier: {}, whole_order: {whole} }}", Decimal::new(i64::from(by), 3))),
        (1u32..2_000, 1u32..3_000, any::<[bool; 2]>()).prop_map(|(amount, points, [blocks, whole])| {
            let (amount, points) = (Decimal::new(i64::from(amount), 2), Decimal::new(i64::from(points), 3));
            format!("add_per_amount: {{ amount: {amount}, points: {points}, whole_blocks: {blocks}, whole_order: {whole} }}")
        }),
        (1u32..60).prop_map(|points| format!("add_fixed: {{ points: {points} }}")),
        (1u32..60).prop_map(|points| format!("minimum_quantity: 1.5, add_fixed: {{ points: {points}, each_minimum_quantity: true }}")),
        Just("voucher_kind_id: mug".to_owned()),
    ];
    let filter = select(vec![
        "",
        "",
        ", filter: { categories: [tea] }",
        ", filter: { minimum_order: 100 }",
        ", filter: { skus: [a, b] }, minimum_spend: 30",
        ", filter: { excluded_categories: [bags] }",
        ", minimum_spend: 50",
    ]);
    let limits = select(vec![
        "",
        "",
        "maximum_points: 20, ",
        "cap: { points: 40, period: PERIOD_MONTH }, ",
        "daily_cap_points: 30, budget_points: 35, ",
        "budget_points: 25, ",
    ]);
    let times = select(vec!["", "", "times: { times: 1, period: PERIOD_DAY }", "times: { times: 2, period: PERIOD_MONTH }"]);
    let rounding = select(vec!["", "", ", rounding_mode: MODE_CEILING", ", rounding_mode: MODE_HALF_EVEN", ", rounding_mode: MODE_FLOOR"]);
    let group = select(vec!["", "", ", group_id: one", ", group_id: best"]);
    let others = (rounding, select(vec!["", "", ", activation: { after_days: 3 }"]), select(vec!["", "", ", without_qualifying: true"]));
    let promotion = (effect, filter, limits, times, group, others);
    vec(promotion, 0..5).prop_map(|promotions| {
        let promotions = promotions.into_iter().enumerate();
        let text = promotions.map(|(index, (effect, filter, limits, times, group, (rounding, activation, quiet)))| {
            let is_voucher = effect.contains("voucher");
            let limits = if is_voucher { "" } else { limits };
            let rounding = if is_voucher || effect.contains("fixed") { "" } else { rounding };
            let (activation, quiet) = if is_voucher { ("", "") } else { (activation, quiet) };
            let priority = index % 2;
            format!(
                "- {{ promotion_id: p-{index}, priority: {priority}, {effect}{filter}{group}{rounding}{activation}{quiet}, limits: {{ {limits}{times} }} }}\n"
            )
        });
        let text: String = text.collect();
        if text.is_empty() { text } else { format!("promotions:\n{text}") }
    })
}

pub fn any_rule_book() -> impl Strategy<Value = String> {
    let rounding = (select(vec!["FLOOR", "HALF_UP", "HALF_EVEN", "CEILING"]), select(vec!["LINE", "RULE", "ORDER"]), any::<bool>());
    let combination = select(vec!["SUM", "EXCLUSIVE", "BEST"]);
    let policy = (any::<bool>(), any::<bool>(), any::<bool>(), 0u8..3);
    (rounding, combination, any::<[bool; 5]>(), policy, (any_rules(), any_promotions())).prop_map(
        |((mode, stage, carry), combination, [tax, shipping, tips, cards, tenders], (after, unmultiplied, pending, precision), rules)| {
            let (rules, promotions) = rules;
            let fraction = if carry && mode == "FLOOR" { "CARRY" } else { "DROP" };
            let rate_tier = if after { "AFTER" } else { "BEFORE" };
            let qualifying = if unmultiplied { "UNMULTIPLIED" } else { "AWARDED" };
            let text = format!(
                "\nrounding: {{ mode: MODE_{mode}, stage: STAGE_{stage}, fraction: FRACTION_{fraction} }}
combination: COMBINATION_{combination}
points_precision: {precision}
basis: {{ include_tax: {tax}, include_shipping: {shipping}, include_tips: {tips}, include_gift_cards: {cards}, \
                 include_points_and_vouchers: {tenders} }}
tier_policy: {{ rate_tier: RATE_TIER_{rate_tier}, qualifying_basis: QUALIFYING_BASIS_{qualifying}, qualify_pending: {pending} }}
voucher_kinds: [{{ voucher_kind_id: mug, benefit: {{ custom: {{ key: mug }} }}, valid_days: 30 }}]
promotion_groups: [{{ group_id: one, combination: COMBINATION_EXCLUSIVE }}, {{ group_id: best, combination: COMBINATION_BEST }}]
tiers:
- {{ tier_id: base }}
- {{ tier_id: silver, threshold: {{ qualifying_points: 60 }}, multiplier: 0.4 }}
- {{ tier_id: gold, threshold: {{ qualifying_points: 200 }}, multiplier: 1.333333 }}
{rules}{promotions}"
            );
            // Fractions without the multiplier are not kept: a rule book that asks for both is refused.
            if unmultiplied { text.replace("FRACTION_CARRY", "FRACTION_DROP") } else { text }
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    /// Per cent of the units of a line, and of what was paid for it.
    Lines(Vec<(usize, u32, u32)>),
    /// Per cent of what the goods came to.
    Amount(u32),
    Confirm,
    Wait,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let percent = || prop_oneof![2 => Just(0u32), 3 => 1u32..60, 2 => Just(100u32)];
    let step = prop_oneof![
        8 => vec((0usize..6, percent(), percent()), 1..4).prop_map(Step::Lines),
        2 => (1u32..30).prop_map(Step::Amount),
        1 => Just(Step::Confirm),
        1 => Just(Step::Wait),
    ];
    vec(step, 0..8)
}

fn request(id: &str, purchase: &Purchase, step: &Step) -> Option<ReturnRequest> {
    let part = |whole: Decimal, percent: u32, places: u32| (whole * Decimal::new(i64::from(percent), 2)).round_dp(places);
    match step {
        Step::Lines(lines) => {
            let mut parts: Vec<ReturnedLine> = Vec::new();
            for (line, percent_units, percent_amount) in lines {
                let line = line % purchase.lines.len();
                let sold = &purchase.lines[line];
                if parts.iter().all(|part| part.line != line) {
                    let (quantity, amount) = (part(sold.quantity, *percent_units, 3), part(sold.amount, percent_amount / 4, 2));
                    parts.push(ReturnedLine { line, quantity, amount });
                }
            }
            Some(ReturnRequest { lines: parts, ..of(id) })
        }
        Step::Amount(percent) => Some(ReturnRequest { amount: part(purchase.total, *percent, 2), ..of(id) }),
        Step::Confirm | Step::Wait => None,
    }
}

/// Points that promotions have given of what is bounded, and that were not taken back.
fn tallied(shop: &Shop) -> Vec<(TallyKey, Points)> {
    let all = tallies(shop.entries.iter()).into_iter().map(|(key, tally)| (key, tally.points));
    all.filter(|(_, points)| !points.is_zero()).collect()
}

/// Sums of all that returns took.
#[derive(Debug, Default, Clone, PartialEq)]
struct Taken {
    points: i64,
    qualifying: i64,
    basis: Decimal,
}

/// Where a member and a programme stand after returns: what those took, and what is counted then.
#[derive(Debug, PartialEq)]
struct Standing {
    taken: Taken,
    counters: Vec<((RuleId, PeriodStart), Points)>,
    promotions: BTreeMap<(RuleId, PeriodStart), PromotionCount>,
    tallied: Vec<(TallyKey, Points)>,
}

fn standing(shop: &Shop, taken: &Taken) -> Standing {
    let header = &shop.member.header;
    let counters = header.counters.iter().map(|(key, points)| (key.clone(), *points));
    Standing {
        taken: taken.clone(),
        counters: counters.filter(|(_, points)| !points.is_zero()).collect(),
        promotions: header.promotions.clone(),
        tallied: tallied(shop),
    }
}

fn copy(shop: &Shop) -> Shop {
    Shop { programs: shop.programs.clone(), member: shop.member.clone(), now: shop.now, entries: shop.entries.clone() }
}

/// One return of what two bring back.
fn joined(one: &ReturnRequest, other: &ReturnRequest) -> ReturnRequest {
    let mut joined = ReturnRequest { amount: one.amount + other.amount, ..one.clone() };
    for back in &other.lines {
        match joined.lines.iter_mut().find(|line| line.line == back.line) {
            Some(line) => (line.quantity, line.amount) = (line.quantity + back.quantity, line.amount + back.amount),
            None => joined.lines.push(*back),
        }
    }
    joined
}

/// Whether there was anything to take.
fn takes(shop: &mut Shop, request: ReturnRequest, taken: &mut Taken) -> Result<bool, TestCaseError> {
    let before = shop.member.clone();
    let entries = match tries(shop, request) {
        Ok(entries) => entries,
        Err(Rejection::ReturnTooLarge { left, requested, .. }) => {
            prop_assert!(requested > left && left >= Decimal::ZERO, "{} of {}", requested, left);
            return Ok(false);
        }
        Err(Rejection::NothingReturned | Rejection::PurchaseReturned) => return Ok(false),
        Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
    };
    let back = returned(&entries);
    let waited: i64 = back.from_pending.iter().map(|taken| taken.qualifying_points.0).sum();
    prop_assert!(back.points >= Points::ZERO && back.basis >= Decimal::ZERO && back.qualifying_points.0 + waited >= 0, "{:?}", back);
    let places = back.from_pending.iter().map(|taken| taken.points);
    let places = places.chain(back.from_sale.iter().chain(&back.from_others).map(|taken| taken.points));
    let places = Points::total(places.chain([back.debt, back.forgiven, back.withheld])).expect("small numbers");
    prop_assert_eq!(back.points, places);
    taken.points += back.points.0;
    taken.qualifying += back.qualifying_points.0 + waited;
    taken.basis += back.basis;
    let balance = |member: &Member| member.header.balance.available.0 + member.header.balance.pending.0 - member.header.balance.debt.0;
    prop_assert_eq!(balance(&before) - balance(&shop.member), back.points.0);
    let visits = |member: &Member| member.header.lifetime.visits;
    prop_assert_eq!(visits(&before) - visits(&shop.member), u64::from(back.voids));
    check_state(shop)?;
    Ok(true)
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn parts_sum_to_the_whole_and_the_whole_to_what_was_earned(
        fields in any_rule_book(),
        tier in select(vec!["base", "silver", "gold"]),
        before in any_purchase(),
        sale in any_purchase(),
        steps in any_steps(),
    ) {
        let mut shop = Shop::open(rule_book_with(&fields));
        if tier != "base" {
            let tier = TierId::new(tier).expect("an id");
            shop.does(&Command::SetTier { tier, reason: "trial".into(), last_date: None }).expect("the tier is another");
        }
        buys(&mut shop, "before", before);
        let lifetime = shop.member.header.lifetime.clone();
        let counters = shop.member.header.counters.clone();
        let (promotions, given) = (shop.member.header.promotions.clone(), tallied(&shop));
        let accrual = buys(&mut shop, "sale", sale.clone());
        let earned = Taken { points: accrual.points.0, qualifying: accrual.qualifying_points.0, basis: accrual.basis };

        let mut at_once = copy(&shop);
        let mut taken = Taken::default();
        takes(&mut at_once, whole("sale"), &mut taken)?;
        prop_assert_eq!(&taken, &earned, "at once");
        prop_assert_eq!(&at_once.member.header.lifetime, &lifetime);
        for (key, points) in &at_once.member.header.counters {
            prop_assert_eq!(*points, counters.get(key).copied().unwrap_or_default(), "{:?}", key);
        }
        prop_assert_eq!(&at_once.member.header.promotions, &promotions);
        prop_assert_eq!(tallied(&at_once), given.clone());

        let mut taken = Taken::default();
        let (mut kept, mut so_far) = (copy(&shop), of("sale"));
        for step in &steps {
            match step {
                Step::Confirm => {
                    for shop in [&mut shop, &mut kept] {
                        drop(shop.does(&Command::ConfirmPurchase { order: order("sale") }));
                    }
                }
                Step::Wait => [&mut shop, &mut kept].into_iter().for_each(|shop| shop.now += 48.hours()),
                Step::Lines(_) | Step::Amount(_) => {
                    let request = request("sale", &sale, step).expect("a return");
                    if !takes(&mut shop, request.clone(), &mut taken)? {
                        continue;
                    }
                    so_far = joined(&so_far, &request);
                    // After each of them: what one return of all of that comes to. It may be refused where a price was reduced before the goods
                    // came back.
                    let (mut at_once, mut taken_at_once) = (copy(&kept), Taken::default());
                    if takes(&mut at_once, so_far.clone(), &mut taken_at_once)? {
                        prop_assert_eq!(standing(&shop, &taken), standing(&at_once, &taken_at_once), "{:?}", so_far);
                    }
                }
            }
        }
        takes(&mut shop, whole("sale"), &mut taken)?;
        prop_assert_eq!(&taken, &earned, "bit by bit");
        prop_assert_eq!(tries(&mut shop, whole("sale")), Err(Rejection::PurchaseReturned));
        prop_assert_eq!(shop.member.header.lifetime.visits, 1);
        prop_assert_eq!(shop.member.header.lifetime.spend, lifetime.spend);
        for (key, points) in &shop.member.header.counters {
            prop_assert_eq!(*points, counters.get(key).copied().unwrap_or_default(), "{:?}", key);
        }
        prop_assert_eq!(&shop.member.header.promotions, &promotions);
        prop_assert_eq!(tallied(&shop), given);
        let bare = Header::new(shop.now);
        let empty = Member::bare(shop.member.key.clone(), bare);
        let mut folded = empty;
        for entry in &shop.entries {
            prop_assert!(apply(&mut folded, entry).is_ok());
        }
        prop_assert_eq!(&folded, &shop.member);
    }
}
