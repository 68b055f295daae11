//! Random conditions without amounts, judged by ours and by the interpreter of the crate `cel`: what CEL says is what we say.

use std::collections::HashMap;

use cel::{Context, Program, Value};
use loyaltyd::domain::{Condition, Digits, Overflow, Scope};
use proptest::{collection::vec, prelude::*, sample::select};

use super::sample::{Sample, SampleLine};

const WORDS: [&str; 6] = ["", "a", "b", "ab", "abc", "Phở"];

fn word() -> impl Strategy<Value = String> {
    select(WORDS.to_vec()).prop_map(str::to_owned)
}

fn sample() -> impl Strategy<Value = Sample> {
    let number = || prop_oneof![-3..4_i64, Just(i64::MAX), Just(i64::MIN), any::<i64>()];
    let line = (word(), word(), vec(word(), 0..3)).prop_map(|(sku, category, labels)| SampleLine {
        sku,
        category,
        labels,
        quantity: 1_000,
        amount: 100,
        discount: 0,
    });
    (word(), word(), (number(), number(), number()), vec(word(), 0..4), vec(word(), 0..4), vec(line, 0..4)).prop_map(
        |(channel, tier, (purchases, tier_rank, age_days), labels, segments, lines)| Sample {
            channel,
            tier,
            purchases,
            tier_rank,
            age_days,
            labels,
            segments,
            lines,
        },
    )
}

fn strings(texts: &[String]) -> Value {
    Value::from(texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>())
}

fn variables(sample: &Sample) -> Context<'static, 'static> {
    let mut context = Context::default();
    let line = |line: &SampleLine| {
        Value::from(HashMap::from([
            ("sku", Value::from(line.sku.as_str())),
            ("category", Value::from(line.category.as_str())),
            ("kind", Value::from("goods")),
            ("labels", strings(&line.labels)),
        ]))
    };
    let purchase = HashMap::from([
        ("channel", Value::from(sample.channel.as_str())),
        ("store_id", Value::from("paris")),
        ("labels", strings(&sample.labels)),
        ("offline", Value::Bool(false)),
        ("lines", Value::from(sample.lines.iter().map(line).collect::<Vec<_>>())),
    ]);
    let member = HashMap::from([
        ("tier", Value::from(sample.tier.as_str())),
        ("tier_rank", Value::Int(sample.tier_rank)),
        ("age_days", Value::Int(sample.age_days)),
        ("purchases", Value::Int(sample.purchases)),
        ("segments", strings(&sample.segments)),
    ]);
    let now = HashMap::from([("month", Value::Int(3)), ("hour", Value::Int(9))]);
    context.add_variable_from_value("purchase", purchase);
    context.add_variable_from_value("member", member);
    context.add_variable_from_value("now", now);
    context
}

/// What is gone through where a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    OfLines,
    /// In one list, and in one within it.
    OfList(usize),
}

fn quoted() -> impl Strategy<Value = String> {
    word().prop_map(|word| format!("'{word}'"))
}

fn text(place: Place) -> BoxedStrategy<String> {
    let mut known: Vec<String> = ["purchase.channel", "purchase.store_id", "member.tier"].map(str::to_owned).to_vec();
    match place {
        Place::Outside => {}
        Place::OfLines => known.extend(["l.sku", "l.category", "l.kind"].map(str::to_owned)),
        Place::OfList(depth) => known.extend((0..=depth).map(|place| format!("x{place}"))),
    }
    let leaf = prop_oneof![quoted(), select(known)];
    let chosen = (leaf.clone(), leaf.clone()).prop_map(|(a, b)| format!("({a} == 'a' ? {a} : {b})"));
    prop_oneof![3 => leaf, 1 => chosen].boxed()
}

fn list(place: Place) -> BoxedStrategy<String> {
    let mut known: Vec<String> = ["purchase.labels", "member.segments"].map(str::to_owned).to_vec();
    if place == Place::OfLines {
        known.push("l.labels".to_owned());
    }
    let literal = vec(quoted(), 1..4).prop_map(|words| format!("[{}]", words.join(", ")));
    prop_oneof![select(known), literal].boxed()
}

fn number(place: Place) -> BoxedStrategy<String> {
    let literal = prop_oneof![(-4..5_i64).prop_map(|n| n.to_string()), Just(i64::MAX.to_string())];
    let known = select(vec!["member.tier_rank", "member.age_days", "member.purchases", "now.month", "now.hour"]).prop_map(str::to_owned);
    let size = prop_oneof![
        text(place).prop_map(|text| format!("size({text})")),
        list(place).prop_map(|list| format!("{list}.size()")),
        Just("size(purchase.lines)".to_owned()),
    ];
    let leaf = prop_oneof![literal, known.clone(), known.clone(), size].boxed();
    leaf.prop_recursive(2, 6, 2, move |inner| {
        let divisor = prop_oneof![1..4_i64, -2..0_i64];
        prop_oneof![
            (inner.clone(), select(vec!["+", "-", "*"]), known.clone()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            (known.clone(), select(vec!["/", "%"]), divisor).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            known.clone().prop_map(|number| format!("-{number}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(member.tier == 'a' ? {a} : {b})")),
        ]
    })
    .boxed()
}

fn truth(place: Place, depth: usize) -> BoxedStrategy<String> {
    let compared = || select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let searched = select(vec!["startsWith", "endsWith", "contains"]);
    let numbers = vec(-4..5_i64, 1..4);
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("purchase.offline".to_owned()),
        (number(place), compared(), number(place)).prop_map(|(a, operator, b)| format!("{a} {operator} {b}")),
        (text(place), compared(), text(place)).prop_map(|(a, operator, b)| format!("{a} {operator} {b}")),
        (text(place), searched, text(place)).prop_map(|(a, function, b)| format!("{a}.{function}({b})")),
        (text(place), list(place)).prop_map(|(text, list)| format!("{text} in {list}")),
        (number(place), numbers).prop_map(|(number, list)| format!("{number} in {list:?}")),
    ]
    .boxed();
    let leaf = if depth == 0 { leaf } else { prop_oneof![3 => leaf, 2 => quantified(place, depth)].boxed() };
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || {b}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(({a}) != ({b}))")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
    .boxed()
}

fn quantified(place: Place, depth: usize) -> BoxedStrategy<String> {
    let quantifier = || select(vec!["all", "exists", "exists_one"]);
    let (name, within) = match place {
        Place::Outside | Place::OfLines => ("x0", Place::OfList(0)),
        Place::OfList(_) => ("x1", Place::OfList(1)),
    };
    // Within lines the list is the line's own or another; what is judged of its items sees only them.
    let of_list = (list(place), quantifier(), truth(within, if place == Place::Outside { depth - 1 } else { 0 }))
        .prop_map(move |(list, quantifier, inner)| format!("{list}.{quantifier}({name}, {inner})"));
    if place != Place::Outside {
        return of_list.boxed();
    }
    let of_lines =
        (quantifier(), truth(Place::OfLines, depth - 1)).prop_map(|(quantifier, inner)| format!("purchase.lines.{quantifier}(l, {inner})"));
    let counted = truth(Place::OfLines, 0).prop_map(|inner| format!("size(purchase.lines.filter(l, {inner})) >= 2"));
    prop_oneof![of_list, of_lines, counted].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn conditions_say_what_cel_says(text in truth(Place::Outside, 2), sample in sample()) {
        let digits = Digits { money: 2, points: 0 };
        let condition = match Condition::compile(&text, Scope::Purchase, digits) {
            Ok(condition) => condition,
            // What is too long, too deep or too large already as it is written is refused, and nothing else is.
            Err(mistake) => {
                let bounds = ["has 2", "nested too deeply", "steps", "more than 400", "too large"];
                prop_assert!(bounds.iter().any(|bound| mistake.text.contains(bound)), "{}: {}", text, mistake);
                return Ok(());
            }
        };
        let expected = Program::compile(&text).expect("it has compiled here").execute(&variables(&sample));
        let expected = match expected {
            Ok(Value::Bool(value)) => Ok(value),
            Ok(other) => panic!("{text} is {other:?}"),
            Err(_) => Err(Overflow),
        };
        prop_assert_eq!(condition.holds(&sample), expected, "{}", text);
    }
}
