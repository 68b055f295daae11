//! Rule books: files of YAML and JSON, all mistakes at once, and what a new version may not change.

use std::{fs, path::Path};

use jiff::Timestamp;
use loyaltyd::{
    contract::{
        program::{check_successor, parse},
        rule_book::{self, RuleBookError},
        v1,
    },
    domain::{
        Activation, Combination, Currency, DecimalError, Expiry, OfflinePolicy, Points, Program, ReturnPolicy, ReviewOutcome,
        RoundingStage, Shortfall, TierPolicy, TierValidity, TierWindow, parse_amount, parse_decimal,
    },
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

const SOUND: &str = "program_id: shop\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\n\
    rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }\n\
    accrual_rules: [{ rule_id: r, per_amount: { amount: 10, points: 1.5 } }]\n";

fn read(text: &str) -> v1::Program {
    rule_book::read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn parsed(text: &str) -> Program {
    parse(&read(text), 1, Timestamp::UNIX_EPOCH).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"))
}

fn paths(text: &str) -> Vec<String> {
    let mistakes = parse(&read(text), 1, Timestamp::UNIX_EPOCH).expect_err("the rule book has mistakes");
    assert!(mistakes.iter().all(|mistake| !mistake.message.is_empty()));
    mistakes.into_iter().map(|mistake| mistake.path).collect()
}

#[test]
fn the_examples_are_sound_and_survive_writing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/programs");
    let mut found = 0;
    for file in fs::read_dir(folder).expect("the folder is there") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("a readable file");
        let document = read(&text);
        parsed(&text);
        assert_eq!(read(&rule_book::to_yaml(&document)), document, "{}", rule_book::to_yaml(&document));
        assert_eq!(read(&rule_book::to_json(&document)), document);
        found += 1;
    }
    assert_eq!(found, 16);
}

#[test]
fn the_vietnamese_example_says_what_it_should() {
    let program = parsed(include_str!("../../examples/programs/vietnam.yaml"));
    assert_eq!((program.currency.code(), program.currency.digits(), program.time_zone.iana_name()), ("VND", 0, Some("Asia/Ho_Chi_Minh")));
    let tiers: Vec<_> = program
        .tiers
        .iter()
        .map(|tier| {
            let threshold = tier.threshold.as_ref().and_then(|threshold| threshold.qualifying_points);
            (tier.id.as_str(), threshold.map_or(0, |points| points.0), tier.multiplier.to_string())
        })
        .collect();
    let expected = [("member", 0, "1"), ("silver", 500, "1"), ("gold", 1000, "1.25"), ("diamond", 4000, "1.5")];
    assert_eq!(tiers, expected.map(|(id, points, multiplier)| (id, points, multiplier.to_owned())));
}

#[test]
fn what_is_left_out_has_its_default() {
    let program = parsed(SOUND);
    assert_eq!((program.points_precision, program.combination, program.expiry), (0, Combination::Sum, Expiry::Never));
    assert_eq!((program.purchase_time.max_age_days, program.purchase_time.max_ahead_seconds), (30, 300));
    assert_eq!(
        (program.rules[0].rounding.stage, program.rules[0].expiry, program.maximum_adjustment),
        (RoundingStage::Rule, Expiry::Never, None)
    );
    let returns = ReturnPolicy { from_other_lots: true, shortfall: Shortfall::Debt };
    assert_eq!((program.rules[0].activation, program.returns, program.adjust_into_debt), (Activation::Immediate, returns, false));
    assert!(!program.tier_policy.qualify_pending && program.redemption.is_none());
    assert!(program.fraud_limits.is_empty() && program.offline == OfflinePolicy { floor_limit: Points::ZERO, into_debt: false });
    let shop = parsed(&format!("{SOUND}offline: {{ floor_limit_points: 5 }}\n"));
    assert_eq!(shop.offline, OfflinePolicy { floor_limit: Points(5), into_debt: true });
    assert!(program.tiers.is_empty() && program.rules[0].with_tier_multiplier && program.rules[0].qualifying);
    let filled = parse(&v1::Program { version: 7, publish_time: Some(Default::default()), ..read(SOUND) }, 2, Timestamp::UNIX_EPOCH);
    assert_eq!(filled.expect("output fields do not count").version, 2);
}

#[test]
fn numbers_without_quotes_are_taken_to_the_letter() {
    let rule = |amount: &str| SOUND.replace("amount: 10,", &format!("amount: {amount},"));
    let amount = |text: &str| match read(&rule(text)).accrual_rules.remove(0).award {
        Some(v1::accrual_rule::Award::PerAmount(rule)) => rule.amount,
        other => panic!("{other:?}"),
    };
    for text in ["10000", "0.10", "100000000000000.01", "1e3", "+5", "0x10", "1_000"] {
        assert_eq!(amount(text), text);
    }
    assert_eq!(amount("\"12.50\""), "12.50");
    for text in ["1e3", "+5", "-5", "0x10", "1_000", "5.", ".5", "1.005", "1234567890123456", "0", "0.00", "\"\"", "\" 5\"", "５"] {
        assert_eq!(paths(&rule(text)), ["accrual_rules[0].per_amount.amount"], "{text}");
    }
}

#[test]
fn a_file_that_is_no_rule_book_is_refused() {
    let table = [
        ("unknown field", SOUND.replace("display_name", "display_nam"), "display_nam"),
        ("unknown field inside", SOUND.replace("points: 1.5", "point: 1.5"), "point"),
        ("a key twice", format!("{SOUND}program_id: again\n"), "program_id"),
        ("unknown enum value", SOUND.replace("MODE_FLOOR", "MODE_FLOR"), "MODE_FLOR"),
        ("two kinds of award", SOUND.replace("} }]", "}, per_order: { points: 1 } }]"), "award"),
        ("an anchor", SOUND.replace("[{", "&a [{"), ""),
        ("two documents", format!("{SOUND}---\n{SOUND}"), ""),
        ("deep nesting", "[".repeat(2_000), ""),
        ("a list", "[1, 2]".to_owned(), ""),
        ("no text", "\u{0}".to_owned(), ""),
        ("a null", SOUND.replace("display_name: Shop", "display_name: {a: ~}"), ""),
        ("a number with a fraction", format!("{SOUND}points_precision: 1.5\n"), ""),
        ("a number too large", format!("{SOUND}points_precision: 99999999999\n"), ""),
    ];
    for (name, text, says) in table {
        match rule_book::read(&text) {
            Err(RuleBookError::Syntax(message)) => assert!(message.contains(says), "{name}: {message}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let large = format!("{SOUND}# {}\n", "x".repeat(rule_book::MAX_BYTES));
    assert_eq!(rule_book::read(&large), Err(RuleBookError::TooLarge { found: large.len() }));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
    assert!(matches!(rule_book::read(bomb), Err(RuleBookError::Syntax(_))));
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = "
program_id: Shop
currency_code: US
time_zone: Mars/Olympus
points_precision: 3
rounding: { mode: MODE_HALF_UP, stage: STAGE_ORDER, fraction: FRACTION_CARRY }
combination: 9
accrual_rules:
- { rule_id: a, per_amount: { amount: 0, points: \"-1\" } }
- { rule_id: a, per_unit: {} }
- rule_id: b
- rule_id: c
  priority: -1
  per_order: { points: 1 }
  rounding: { stage: STAGE_ORDER, mode: MODE_FLOOR, fraction: FRACTION_DROP }
  expiry: { after: { days: 3, months: 3 } }
  filter:
    skus: [ok, \"\"]
    tenders: [0, 99]
    weekdays: [WEEKDAY_UNSPECIFIED]
    hours: [{ start_hour: 5, end_hour: 5 }, { start_hour: -1, end_hour: 25 }]
    minimum_order: x
  limits: { minimum_points: 5, maximum_points: 3, cap: {} }
expiry: { fixed_date: { month: 2, day: 30, minimum_days: 400 } }
tiers:
- { tier_id: base, threshold: { visits: 3 } }
- { tier_id: silver }
- { tier_id: gold, threshold: { qualifying_points: 100, spend: 10 }, multiplier: 1000.5 }
- { tier_id: gold, threshold: { qualifying_points: 99, visits: -1 } }
- { tier_id: top, threshold: { require_all: true } }
tier_policy: { rate_tier: 7, qualifying_basis: 8 }
purchase_time: { max_age_days: 36501, max_ahead_seconds: -1 }
adjustments: { maximum_points: 0 }
activation: {}
consumption_order: 7
returns: { shortfall: 9 }
offline: { floor_limit_points: x, shortfall: 9 }
fraud_limits:
  purchases_per_hour: { maximum: 0, action: ACTION_FLAG }
  points_per_day: { action: ACTION_FLAG }
  adjustments_per_day: { maximum: 1000001 }
  adjusted_points_per_day: { maximum: 5.001, action: 7 }
redemption: { points: 0, maximum_share_percent: 101 }
";
    let mut found = paths(text);
    found.sort();
    let mut expected = [
        "program_id",
        "display_name",
        "currency_code",
        "time_zone",
        "points_precision",
        "rounding.fraction",
        "combination",
        "accrual_rules[0].per_amount.amount",
        "accrual_rules[0].per_amount.points",
        "accrual_rules[1].rule_id",
        "accrual_rules[1].per_unit.points",
        "accrual_rules[2]",
        "accrual_rules[3].priority",
        "accrual_rules[3].rounding.stage",
        "accrual_rules[3].expiry.after",
        "accrual_rules[3].filter.skus[1]",
        "accrual_rules[3].filter.tenders[0]",
        "accrual_rules[3].filter.tenders[1]",
        "accrual_rules[3].filter.weekdays[0]",
        "accrual_rules[3].filter.hours[0]",
        "accrual_rules[3].filter.hours[1].start_hour",
        "accrual_rules[3].filter.hours[1].end_hour",
        "accrual_rules[3].filter.minimum_order",
        "accrual_rules[3].limits.minimum_points",
        "accrual_rules[3].limits.cap.points",
        "accrual_rules[3].limits.cap.period",
        "expiry.fixed_date.day",
        "expiry.fixed_date.minimum_days",
        "tiers[0].threshold",
        "tiers[1].threshold",
        "tiers[2].multiplier",
        "tiers[3].tier_id",
        "tiers[3].threshold.qualifying_points",
        "tiers[3].threshold.visits",
        "tiers[4].threshold",
        "tier_policy.rate_tier",
        "tier_policy.qualifying_basis",
        "purchase_time.max_age_days",
        "purchase_time.max_ahead_seconds",
        "adjustments.maximum_points",
        "activation",
        "consumption_order",
        "returns.shortfall",
        "offline.floor_limit_points",
        "offline.shortfall",
        "fraud_limits.purchases_per_hour.maximum",
        "fraud_limits.points_per_day.maximum",
        "fraud_limits.adjustments_per_day.maximum",
        "fraud_limits.adjustments_per_day.action",
        "fraud_limits.adjusted_points_per_day.maximum",
        "fraud_limits.adjusted_points_per_day.action",
        "redemption.points",
        "redemption.amount",
        "redemption.maximum_share_percent",
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn mistakes_of_activity_rules_are_named() {
    let text = format!(
        "{SOUND}activation: {{ on_confirmation: {{}} }}
activity_rules:
- {{ rule_id: r, activity: review, points: 10, activation: {{ immediate: {{}} }} }}
- {{ rule_id: a, activity: Sign-up, points: 0, activation: {{ on_confirmation: {{}} }} }}
- {{ rule_id: a, activity: survey, points: 0.5, earner: 7, activation: {{ after_days: 0 }} }}
- {{ rule_id: b, activity: \"\", display_name: {}, cap: {{ points: 5 }}, expiry: {{}} }}
",
        "x".repeat(121)
    );
    let mut found = paths(&text);
    found.sort();
    let expected = [
        "activity_rules[0].rule_id",
        "activity_rules[1].activation",
        "activity_rules[1].activity",
        "activity_rules[1].points",
        "activity_rules[2].activation.after_days",
        "activity_rules[2].earner",
        "activity_rules[2].points",
        "activity_rules[2].rule_id",
        "activity_rules[3].activation",
        "activity_rules[3].activity",
        "activity_rules[3].cap.period",
        "activity_rules[3].display_name",
        "activity_rules[3].expiry",
        "activity_rules[3].points",
    ];
    assert_eq!(found, expected);
    let rule = |place: usize| v1::ActivityRule {
        rule_id: format!("a{place}"),
        activity: "review".into(),
        points: "1".into(),
        ..Default::default()
    };
    let with = |rules: usize| v1::Program { activity_rules: (0..rules).map(rule).collect(), ..read(SOUND) };
    let parsed = |rules| parse(&with(rules), 1, Timestamp::UNIX_EPOCH);
    assert_eq!(parsed(101).expect_err("one too many")[0].path, "activity_rules");
    assert_eq!(parsed(100).expect("as many as there can be").activity_rules.len(), 100);
}

#[test]
fn each_mistake_is_found_by_itself() {
    let table = [
        ("program_id: shop", "program_id: \"\"", "program_id"),
        ("program_id: shop", "program_id: 1shop", "program_id"),
        ("Shop", "\"a\\nb\"", "display_name"),
        ("USD", "usd", "currency_code"),
        ("USD", "XAU", "currency_code"),
        ("America/New_York", "\"\"", "time_zone"),
        ("America/New_York", "../etc/passwd", "time_zone"),
        ("rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }\n", "", "rounding"),
        ("mode: MODE_FLOOR, ", "", "rounding.mode"),
        (", fraction: FRACTION_DROP", "", "rounding.fraction"),
        ("stage: STAGE_RULE", "stage: 4", "rounding.stage"),
        ("[{ rule_id: r, per_amount: { amount: 10, points: 1.5 } }]", "[]", "accrual_rules"),
        ("rule_id: r, ", "", "accrual_rules[0].rule_id"),
        ("points: 1.5", "points: 1.1234567", "accrual_rules[0].per_amount.points"),
        ("points: 1.5", "points: 1000000000", "accrual_rules[0].per_amount.points"),
        ("points: 1.5 }", "points: 1 }, limits: { maximum_points: 1.5 }", "accrual_rules[0].limits.maximum_points"),
        ("points: 1.5 }", "points: 1 }, limits: { cap: { points: 0, period: PERIOD_DAY } }", "accrual_rules[0].limits.cap.points"),
        ("points: 1.5 }", "points: 1 }, expiry: {}", "accrual_rules[0].expiry"),
        ("points: 1.5 }", "points: 1 }, expiry: { after: {} }", "accrual_rules[0].expiry.after"),
        ("points: 1.5 }", "points: 1 }, expiry: { after: { days: 36501 } }", "accrual_rules[0].expiry.after.days"),
        ("points: 1.5 }", "points: 1 }, expiry: { after: { months: -1 } }", "accrual_rules[0].expiry.after.months"),
        ("points: 1.5 }", "points: 1 }, expiry: { end_of_period: {} }", "accrual_rules[0].expiry.end_of_period.period"),
        ("points: 1.5 }", "points: 1 }, expiry: { after: { from_activation: true } }", "accrual_rules[0].expiry.after"),
        ("points: 1.5 }", "points: 1 }, activation: {}", "accrual_rules[0].activation"),
        ("points: 1.5 }", "points: 1 }, activation: { after_days: 0 }", "accrual_rules[0].activation.after_days"),
        ("points: 1.5 }", "points: 1 }, activation: { after_days: 3651 }", "accrual_rules[0].activation.after_days"),
        ("points: 1.5 }", "points: 1 }, activation: { after_days: -1 }", "accrual_rules[0].activation.after_days"),
        ("points: 1.5 }", "points: 1 }, expiry: { fixed_date: { month: 13, day: 1 } }", "accrual_rules[0].expiry.fixed_date.month"),
    ];
    for (old, new, path) in table {
        let text = SOUND.replace(old, new);
        assert_ne!(text, SOUND);
        assert_eq!(paths(&text), [path], "{new}");
    }
    for (field, path) in [
        ("activation: {}", "activation"),
        ("activation: { after_days: 0 }", "activation.after_days"),
        ("activation: { after_days: 3651 }", "activation.after_days"),
        ("returns: { shortfall: 5 }", "returns.shortfall"),
        ("returns: { shortfall: -1 }", "returns.shortfall"),
    ] {
        assert_eq!(paths(&format!("{SOUND}{field}\n")), [path], "{field}");
    }
    let order = SOUND.replace("STAGE_RULE", "STAGE_ORDER");
    for limit in ["minimum_points: 1", "maximum_points: 1", "once_per_member: true", "cap: { points: 1, period: PERIOD_DAY }"] {
        let text = order.replace("points: 1.5 }", &format!("points: 1 }}, limits: {{ {limit} }}"));
        assert_eq!(paths(&text), ["accrual_rules[0].limits"]);
    }
    let carried = SOUND.replace("FRACTION_DROP", "FRACTION_CARRY");
    let unmultiplied = format!("{carried}tier_policy: {{ qualifying_basis: QUALIFYING_BASIS_UNMULTIPLIED }}\n");
    assert_eq!(paths(&unmultiplied), ["accrual_rules[0].rounding"]);
    parsed(&unmultiplied.replace("rule_id: r", "rule_id: r, without_tier_multiplier: true"));
    let many: Vec<String> = (0..201).map(|rule| format!("{{ rule_id: r{rule}, per_order: {{ points: 1 }} }}")).collect();
    assert_eq!(paths(&SOUND.replace("{ rule_id: r, per_amount: { amount: 10, points: 1.5 } }", &many.join(", "))), ["accrual_rules"]);
}

/// Two tiers, the second with these fields, and this policy.
fn tiered(silver: &str, policy: &str) -> String {
    let tiers = format!("tiers: [{{ tier_id: base }}, {{ tier_id: silver, threshold: {{ qualifying_points: 100, visits: 3 }}{silver} }}]");
    format!("{SOUND}{tiers}\ntier_policy: {{ {policy} }}\n")
}

#[test]
fn what_a_rule_book_says_of_tiers_is_read() {
    let silver = ", retention: { visits: 2 }, expiry: { after: { days: 9 } }, entry_reward: { points: 50 }, \
        benefits: { discount_percent: 2.5, free_shipping: true, custom: { lounge: open, airport: yes } }";
    let policy = "window: WINDOW_ROLLING_MONTHS, rolling_months: 60, validity: VALIDITY_MONTHS, validity_months: 120, \
        review_outcome: REVIEW_OUTCOME_ONE_DOWN, grace_days: 366, reset_at_review: true, review_returns_at_once: true, on_change: ON_CHANGE_AT_ONCE";
    let program = parsed(&tiered(silver, policy));
    let expected = TierPolicy {
        window: TierWindow::RollingMonths(60),
        validity: TierValidity::Months(120),
        outcome: ReviewOutcome::OneDown,
        grace_days: 366,
        reset_at_review: true,
        review_returns_at_once: true,
        review_at_change: true,
        ..TierPolicy::default()
    };
    assert_eq!(program.tier_policy, expected);
    let silver = &program.tiers[1];
    assert_eq!(silver.retained_by().and_then(|threshold| threshold.visits), Some(2));
    // A reward lapses as the tier says, where it says nothing itself.
    assert_eq!(silver.entry_reward.as_ref().and_then(|reward| reward.points), Some((Points(50), Expiry::AfterDays(9))));
    assert_eq!(silver.benefits.discount_percent.map(|share| share.to_string()).as_deref(), Some("2.5"));
    assert_eq!(silver.benefits.custom.keys().collect::<Vec<_>>(), ["airport", "lounge"]);
    assert_eq!(parsed(&tiered("", "")).tier_policy, TierPolicy::default());
}

#[test]
fn mistakes_of_tiers_are_named() {
    for (policy, path) in [
        ("window: 9", "window"),
        ("window: WINDOW_ROLLING_MONTHS", "rolling_months"),
        ("window: WINDOW_ROLLING_MONTHS, rolling_months: 61", "rolling_months"),
        ("window: WINDOW_CALENDAR_YEAR, rolling_months: 3", "rolling_months"),
        ("validity: 7", "validity"),
        ("validity: VALIDITY_END_OF_PERIOD", "validity"),
        ("window: WINDOW_ROLLING_MONTHS, rolling_months: 3, validity: VALIDITY_END_OF_NEXT_PERIOD", "validity"),
        ("validity: VALIDITY_MONTHS", "validity_months"),
        ("validity: VALIDITY_MONTHS, validity_months: 121", "validity_months"),
        ("validity_months: 3", "validity_months"),
        ("review_outcome: -1", "review_outcome"),
        ("grace_days: 367", "grace_days"),
        ("reset_at_review: true", "reset_at_review"),
        ("reset_at_review: true, window: WINDOW_CALENDAR_YEAR, validity: VALIDITY_END_OF_PERIOD", "reset_at_review"),
        ("on_change: 5", "on_change"),
    ] {
        assert_eq!(paths(&tiered("", policy)), [format!("tier_policy.{path}")], "{policy}");
    }
    for (silver, path) in [
        ("retention: { visits: 4 }", "retention.visits"),
        ("retention: { qualifying_points: 101 }", "retention.qualifying_points"),
        ("retention: {}", "retention"),
        ("expiry: { inactivity: { months: 3, activities: [COUNTED_ACTIVITY_PURCHASE] } }", "expiry.inactivity"),
        ("entry_reward: {}", "entry_reward"),
        ("entry_reward: { voucher_kind_id: coffee }", "entry_reward.voucher_kind_id"),
        ("entry_reward: { voucher_kind_id: \"a b\" }", "entry_reward.voucher_kind_id"),
        ("entry_reward: { points: 0.5 }", "entry_reward.points"),
        ("benefits: { discount_percent: 0 }", "benefits.discount_percent"),
        ("benefits: { discount_percent: 101 }", "benefits.discount_percent"),
        ("benefits: { custom: { \"\": x } }", "benefits.custom"),
        ("benefits: { price_days: [{ weekdays: [WEEKDAY_MONDAY] }] }", "benefits.price_days[0].discount_percent"),
        ("benefits: { price_days: [{ discount_percent: 100.5 }] }", "benefits.price_days[0].discount_percent"),
        ("benefits: { price_days: [{ discount_percent: 5, weekdays: [9] }] }", "benefits.price_days[0].weekdays[0]"),
        (
            "benefits: { discount_percent: 5, price_days: [{ discount_percent: 5.01 }, { discount_percent: 5, weekdays: [WEEKDAY_MONDAY] }] }",
            "benefits.price_days[1].discount_percent",
        ),
        ("benefits: { price_days: [{ discount_percent: 5, first_day_of_month: 3 }] }", "benefits.price_days[0].last_day_of_month"),
        ("benefits: { price_days: [{ discount_percent: 5, last_day_of_month: 3 }] }", "benefits.price_days[0].first_day_of_month"),
        (
            "benefits: { price_days: [{ discount_percent: 5, first_day_of_month: 7, last_day_of_month: 6 }] }",
            "benefits.price_days[0].last_day_of_month",
        ),
        (
            "benefits: { price_days: [{ discount_percent: 5, start_time: \"2026-12-02T00:00:00Z\", end_time: \"2026-12-02T00:00:00Z\" }] }",
            "benefits.price_days[0].end_time",
        ),
    ] {
        assert_eq!(paths(&tiered(&format!(", {silver}"), "")), [format!("tiers[1].{path}")], "{silver}");
    }
    let many = format!("benefits: {{ price_days: [{}] }}", "{ discount_percent: 5 }, ".repeat(21));
    assert_eq!(paths(&tiered(&format!(", {many}"), "")), ["tiers[1].benefits.price_days"]);
    let lowest = "{ tier_id: base, retention: { visits: 1 }, entry_reward: { points: 1 } }";
    assert_eq!(paths(&format!("{SOUND}tiers: [{lowest}]\n")), ["tiers[0].retention", "tiers[0].entry_reward"]);
}

#[test]
fn a_new_version_keeps_what_balances_are_made_of() {
    let tiers = "tiers: [{ tier_id: base }, { tier_id: silver, threshold: { visits: 3 } }]\n";
    let old = parsed(&format!("{SOUND}{tiers}"));
    assert!(check_successor(&old, &parsed(&format!("{SOUND}{tiers}").replace("visits: 3", "visits: 4"))).is_empty());
    let more = tiers.replace("}]", "}, { tier_id: gold, threshold: { visits: 9 } }]");
    assert!(check_successor(&old, &parsed(&format!("{SOUND}{more}"))).is_empty());
    let other = SOUND.replace("id: shop", "id: stall").replace("USD", "EUR").replace("New_York", "Chicago");
    let found = check_successor(&old, &parsed(&format!("{other}points_precision: 1\n")));
    let found: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(found, ["program_id", "currency_code", "time_zone", "points_precision", "tiers", "tiers"]);
}

#[test]
fn currencies_are_those_of_iso_4217() {
    let digits = |code: &str| Currency::parse(code).map(|currency| currency.digits());
    let table = [("USD", Some(2)), ("EUR", Some(2)), ("VND", Some(0)), ("JPY", Some(0)), ("KWD", Some(3)), ("CLF", Some(4))];
    for (code, expected) in table {
        assert_eq!(digits(code), expected, "{code}");
    }
    // XXX is ISO 4217's code for no currency, XAU is gold.
    for code in ["", "usd", "US", "USDX", "XXX", "XAU", "U D", "ＵＳＤ"] {
        assert_eq!(digits(code), None, "{code}");
    }
}

#[test]
fn amounts_are_taken_to_the_letter() {
    use DecimalError::{FractionDigits, IntegerDigits, Missing, Syntax};
    for text in ["0", "0.0", "0.00", "12", "12.5", "12.50", "007", "999999999999999.99"] {
        assert_eq!(parse_amount(text, 2).map(|amount| amount.to_string()), Ok(text.trim_start_matches("00").to_owned()));
    }
    for text in ["-1", "+1", " 1", "1 ", "1e3", "1,5", "1_0", ".5", "5.", ".", "1.2.3", "NaN", "٣", "0x1", "1\0"] {
        assert_eq!(parse_amount(text, 2), Err(Syntax), "{text}");
    }
    assert_eq!(parse_amount("", 2), Err(Missing));
    assert_eq!(parse_amount("1.005", 2), Err(FractionDigits { found: 3, limit: 2 }));
    assert_eq!(parse_amount("1.5", 0), Err(FractionDigits { found: 1, limit: 0 }));
    assert_eq!(parse_amount("1234567890123456", 2), Err(IntegerDigits { found: 16, limit: 15 }));
    assert_eq!(parse_decimal(&"9".repeat(40), 40, 0), Err(Syntax));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Whatever is done to a rule book, it is read, or refused with a reason: mistakes have paths, and nothing panics.
    #[test]
    fn broken_rule_books_are_refused(changes in vec((any::<Index>(), select(PIECES), 0usize..12), 1..6)) {
        let mut text: Vec<char> = include_str!("../../examples/programs/vietnam.yaml").chars().filter(|c| c.is_ascii()).collect();
        for (place, piece, removed) in changes {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        match rule_book::read(&text) {
            Ok(document) => {
                if let Err(mistakes) = parse(&document, 1, Timestamp::UNIX_EPOCH) {
                    prop_assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.path.is_empty()));
                }
                prop_assert_eq!(rule_book::read(&rule_book::to_yaml(&document)), Ok(document.clone()));
                prop_assert_eq!(rule_book::read(&rule_book::to_json(&document)), Ok(document));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

const PIECES: &[&str] = &[
    "",
    " ",
    "\n",
    ":",
    "-",
    "0",
    "-1",
    "99999999999999999999",
    "1e9",
    "~",
    "null",
    "[",
    "]",
    "{",
    "}",
    "&a",
    "*a",
    "<<: ",
    "\"",
    "'",
    "#",
    "|",
    ">",
    "!!str ",
    "---\n",
    "...\n",
    "\t",
    "\u{0}",
    "\u{85}",
    "é",
    "per_order: {}",
    "STAGE_ORDER",
    "FRACTION_CARRY",
    "threshold: {}",
    "%",
];
