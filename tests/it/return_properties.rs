//! What holds of returns for every rule book, basket and split: the parts sum to the whole, and the whole is what was earned.

use jiff::ToSpan;
use loyaltyd::domain::{Command, Header, Member, Points, Purchase, Rejection, ReturnRequest, ReturnedLine, TierId, apply};
use proptest::{collection::vec, prelude::*, sample::select};
use rust_decimal::Decimal;

use crate::{
    accrual::{Shop, rule_book_with},
    domain_properties::{any_purchase, cases, check_state},
    returns::{buys, of, order, returned, tries, whole},
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

fn any_rule_book() -> impl Strategy<Value = String> {
    let rounding = (select(vec!["FLOOR", "HALF_UP", "HALF_EVEN", "CEILING"]), select(vec!["LINE", "RULE", "ORDER"]), any::<bool>());
    let combination = select(vec!["SUM", "EXCLUSIVE", "BEST"]);
    let policy = (any::<bool>(), any::<bool>(), any::<bool>(), 0u8..3);
    (rounding, combination, any::<[bool; 5]>(), policy, any_rules()).prop_map(
        |((mode, stage, carry), combination, [tax, shipping, tips, cards, tenders], (after, unmultiplied, pending, precision), rules)| {
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
tiers:
- {{ tier_id: base }}
- {{ tier_id: silver, threshold: {{ qualifying_points: 60 }}, multiplier: 0.4 }}
- {{ tier_id: gold, threshold: {{ qualifying_points: 200 }}, multiplier: 1.333333 }}
{rules}"
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

/// Sums of all that returns took.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    points: i64,
    qualifying: i64,
    basis: Decimal,
}

fn takes(shop: &mut Shop, request: ReturnRequest, taken: &mut Taken) -> Result<(), TestCaseError> {
    let before = shop.member.clone();
    let entries = match tries(shop, request) {
        Ok(entries) => entries,
        Err(Rejection::ReturnTooLarge { left, requested, .. }) => {
            prop_assert!(requested > left && left >= Decimal::ZERO, "{} of {}", requested, left);
            return Ok(());
        }
        Err(Rejection::NothingReturned | Rejection::PurchaseReturned) => return Ok(()),
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
    check_state(shop)
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
        let accrual = buys(&mut shop, "sale", sale.clone());
        let earned = Taken { points: accrual.points.0, qualifying: accrual.qualifying_points.0, basis: accrual.basis };

        let mut at_once = Shop { programs: shop.programs.clone(), member: shop.member.clone(), now: shop.now, entries: shop.entries.clone() };
        let mut taken = Taken::default();
        takes(&mut at_once, whole("sale"), &mut taken)?;
        prop_assert_eq!(&taken, &earned, "at once");
        prop_assert_eq!(&at_once.member.header.lifetime, &lifetime);
        for (key, points) in &at_once.member.header.counters {
            prop_assert_eq!(*points, counters.get(key).copied().unwrap_or_default(), "{:?}", key);
        }

        let mut taken = Taken::default();
        for step in &steps {
            match step {
                Step::Confirm => drop(shop.does(&Command::ConfirmPurchase { order: order("sale") })),
                Step::Wait => shop.now += 48.hours(),
                Step::Lines(_) | Step::Amount(_) => {
                    let request = request("sale", &sale, step).expect("a return");
                    takes(&mut shop, request, &mut taken)?;
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
        let bare = Header::new(shop.now);
        let empty = Member { person: None, lots: Default::default(), pending: Default::default(), header: bare, ..shop.member.clone() };
        let mut folded = empty;
        for entry in &shop.entries {
            prop_assert!(apply(&mut folded, entry).is_ok());
        }
        prop_assert_eq!(&folded, &shop.member);
    }
}
