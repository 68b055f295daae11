//! The conditions of a rule book: what they say, what is refused and where, and that none can stall who judges it.

mod oracle;
mod sample;

use std::{fmt::Write as _, time::Instant};

use loyaltyd::domain::{
    AmountField, Condition, ConditionMistake, Digits, Field, ListField, MAX_CONDITION_BYTES, MAX_CONDITION_STEPS, MAX_SEGMENTS,
    NumberField, Overflow, Scope, TextField,
};
use proptest::{collection::vec, prelude::*, sample::select};

use self::sample::Sample;

const CENTS: Digits = Digits { money: 2, points: 0 };

fn holds(text: &str) -> bool {
    judged(text).unwrap_or_else(|overflow| panic!("{text}: {overflow}"))
}

fn judged(text: &str) -> Result<bool, Overflow> {
    let condition = Condition::compile(text, Scope::Purchase, CENTS).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
    condition.holds(&Sample::default())
}

fn mistake(text: &str, scope: Scope) -> ConditionMistake {
    match Condition::compile(text, scope, CENTS) {
        Ok(_) => panic!("{text} was taken"),
        Err(mistake) => mistake,
    }
}

/// The sample: a gold member buys, on Tuesday 10 March 2026 at 09:30 in Paris, three lines for 40.00 in the app.
#[test]
fn conditions_say_what_they_say() {
    let true_ones = [
        "true",
        "purchase.basis >= 12.50 && member.tier == 'gold'",
        "purchase.total == 43 && purchase.basis == 40.00 && purchase.basis != 40.01",
        "purchase.basis > 39.99 && 40.01 > purchase.basis && !(purchase.basis < 40)",
        "purchase.total - purchase.basis == 3 && purchase.basis + 2.5 == 42.5 && 2 * purchase.basis == 80 && purchase.basis * 3 == 120",
        "-purchase.basis == -40.00 && -(purchase.basis) < 0 && 0 - purchase.basis == -(40.0)",
        "purchase.channel in ['web', 'app'] && !(purchase.channel in ['pos'])",
        "'bio' in purchase.labels && !('x' in purchase.labels) && size(purchase.labels) == 2 && purchase.labels.size() == 2",
        "'card' in purchase.tenders && 'WELCOME' in purchase.codes",
        "'vip' in member.segments",
        "now.weekday == 2 && now.hour >= 8 && now.hour < 10 && now.minute == 30",
        "now.year == 2026 && now.month == 3 && now.day == 10 && now.month in [3, 1, 2]",
        "now == timestamp('2026-03-10T08:30:00Z') && now - member.create_time > duration('48h') && now + duration('1h30m') > now",
        "now - duration('36h') > member.create_time && timestamp('2026-03-10T09:30:00+01:00') == now",
        "duration('1h') + duration('30m') == duration('90m') && duration('60s') - duration('1m') == duration('0s') && -duration('1s') < duration('0s')",
        "member.age_days >= 30 && member.purchases % 2 == 1 && member.purchases / 2 == 3 && member.tier_rank == 2",
        "member.days_since_last_purchase <= 24 * 60 && !purchase.is_first && !purchase.offline",
        "member.available_points >= 500 && member.spend > 1000 && purchase.quantity == 4.5",
        "member.available_points * 2 - member.pending_points > 0",
        "purchase.lines.exists(l, l.category == 'TEA') && !purchase.lines.exists(l, l.sku == 'none')",
        "purchase.lines.all(line, line.basis >= 5) && purchase.lines.exists_one(l, l.sku.startsWith('tea-'))",
        "size(purchase.lines) == 3 && size(purchase.lines.filter(l, l.kind == 'goods')) == 3 && purchase.lines.filter(l, 'bio' in l.labels).size() == 2",
        "purchase.lines.exists(l, l.labels.exists(x, x.endsWith('io')) && l.quantity > 1 && l.amount - l.discount == l.basis)",
        "purchase.labels.exists(x, ['bio', 'new'].all(y, x.contains('i') || y == x))",
        "purchase.store_id.contains('ari') && size(purchase.store_id) == 5 && size('Phở') == 3 && 'a' < 'b' && 'é' > 'e'",
        "(purchase.channel == 'app' ? purchase.basis : purchase.total) == 40 && (true ? 1 : 2) == 1",
        "(member.tier == 'gold' ? 3 : purchase.basis) == 3.00",
        "(true || 1 > 2) && !(false && true) && true == !false && (1 == 1) != false",
        "!!true && - -1 == 1 // and what follows is told to the reader",
        "purchase.store_id == \"paris\"\n  && 'it\\'s' != \"it's\\n\"",
        "9223372036854775807 == 0x7fffffffffffffff",
    ];
    for text in true_ones {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn a_line_condition_is_judged_for_each_line() {
    let condition =
        Condition::compile("line.category == 'TEA' && purchase.basis >= 40 && 'bio' in line.labels", Scope::Line, CENTS).unwrap();
    let sample = Sample::default();
    let found: Vec<bool> = (0..3).map(|line| condition.holds_for_line(&sample, line).unwrap()).collect();
    assert_eq!(found, [true, false, false]);
    let nested = Condition::compile("line.labels.exists(x, x == 'bio') || line.discount > 0", Scope::Line, CENTS).unwrap();
    let found: Vec<bool> = (0..3).map(|line| nested.holds_for_line(&sample, line).unwrap()).collect();
    assert_eq!(found, [true, true, false]);
}

/// What decides goes before a number that is too large, on either side; nothing else does.
#[test]
fn a_number_that_is_too_large_is_said_so_unless_it_does_not_matter() {
    let large = "9223372036854775807 * member.purchases > 0";
    assert_eq!(judged(large), Err(Overflow));
    for decided in ["false && LARGE", "LARGE && false", "!(true || LARGE)", "!(LARGE || true)", "LARGE && LARGE && false"] {
        assert_eq!(judged(&decided.replace("LARGE", large)), Ok(false), "{decided}");
    }
    assert_eq!(judged(&format!("true && {large}")), Err(Overflow));
    assert_eq!(judged(&format!("({large}) ? true : true")), Err(Overflow));
    assert_eq!(judged(&format!("false ? {large} : true")), Ok(true));
    assert_eq!(judged("(0 - member.purchases - 9223372036854775801) / -1 > 0"), Err(Overflow));
    assert_eq!(judged("purchase.lines.exists(l, size(l.sku) * 9223372036854775807 > 0 || l.sku == 'coffee')"), Ok(true));
}

#[test]
fn mistakes_are_told_with_their_place_and_what_would_be_right() {
    let cases: &[(&str, usize, usize, &str)] = &[
        ("purchase.totl > 5", 1, 10, "`purchase` has no `totl`; it has basis, total, order_discount, quantity, store_id, channel"),
        ("true &&\n  member.level == 1", 2, 10, "`member` has no `level`; it has tier, tier_rank"),
        ("'ở' == 'ở' && member.level == 1", 1, 22, "has no `level`"),
        ("basket.total > 5", 1, 1, "`basket` is not known; there are purchase, member, now"),
        ("line.sku == 'x'", 1, 1, "go through them with purchase.lines.exists(line, ...)"),
        ("purchase > 5", 1, 1, "`purchase` is not a value itself; it has basis"),
        ("purchase.lines.exists(l, l == 'x')", 1, 26, "`l` is not a value itself; it has sku, category"),
        ("purchase.lines.sku == 'x'", 1, 16, "is lines, and has no fields; go through them with exists"),
        ("purchase.labels.exists(x, x.sku == 'x')", 1, 29, "`x` is a string, and has no fields"),
        ("purchase.basis", 1, 10, "this is an amount of money; it must be true or false"),
        ("1 + 1", 1, 3, "this is a whole number; it must be true or false"),
        ("!purchase.basis", 1, 11, "this is an amount of money; it must be true or false"),
        ("purchase.basis == 'x'", 1, 19, "this is a string; it must be an amount of money"),
        ("member.tier == 5", 1, 13, "this compares a string and a whole number"),
        ("member.purchases > 1.5", 1, 18, "which only an amount can be compared with"),
        ("1.5 > 1.0", 1, 5, "which only an amount can be compared with"),
        ("purchase.basis > 12.505", 1, 18, "`12.505` has 3 decimal places; an amount of money here has at most 2"),
        ("purchase.basis > 1e3", 1, 18, "`1e3` is not a number such as 12.50"),
        ("purchase.basis > 1234567890123456.0", 1, 18, "is too large"),
        ("member.available_points > 0.5", 1, 27, "a number of points here has at most 0"),
        ("purchase.basis > member.available_points", 1, 25, "this is points; it must be an amount of money"),
        ("purchase.basis > member.purchases", 1, 25, "this is a whole number; it must be an amount of money"),
        ("purchase.basis / 2 > 5", 1, 16, "cannot be divided"),
        ("purchase.basis * purchase.basis > 5", 1, 16, "cannot be reckoned with an amount of money and an amount of money"),
        ("member.purchases / member.tier_rank > 1", 1, 18, "divided by one that is written here"),
        ("member.purchases % 0 > 1", 1, 18, "not 0"),
        ("9223372036854775807 + 1 > 1", 1, 21, "too large"),
        ("99999999999999999999 > 1", 1, 1, "invalid int literal"),
        ("member.tier + 'x' == 'goldx'", 1, 13, "strings cannot be joined"),
        ("true < false", 1, 6, "only compared by == and !="),
        ("'x' in 'xyz'", 1, 5, "this looks for a string in a string"),
        ("1 in ['x']", 1, 3, "this looks for a whole number in a list of strings"),
        ("1 in [1, 'x']", 1, 6, "either strings or whole numbers"),
        ("1 in []", 1, 6, "the list is empty"),
        ("member.tier in [member.tier]", 1, 24, "as they are written"),
        ("purchase.lines[0].sku == 'x'", 1, 15, "one of many cannot be picked"),
        ("member.tier.matches('g.*')", 1, 13, "regular expressions are not supported"),
        ("has(member.tier)", 1, 1, "has() is not needed"),
        ("now.getHours() > 3", 1, 5, "now.hour"),
        ("double(member.purchases) > 3", 1, 1, "types are not changed"),
        ("foo(1)", 1, 1, "there is no function `foo` of this form; there are size(x)"),
        ("purchase.lines.map(l, l.sku).size() > 0", 1, 16, "map is not supported"),
        ("purchase.labels.filter(x, true).size() > 0", 1, 17, "filter is for purchase.lines"),
        ("purchase.lines.exists(l, purchase.lines.exists(m, m.sku == l.sku))", 1, 41, "lines cannot be gone through for each"),
        ("purchase.lines.exists(member, true)", 1, 23, "the name `member` is taken"),
        ("purchase.lines.exists(1, true)", 1, 23, "a name for one of them"),
        ("member.tier.exists(x, true)", 1, 13, "this goes through a string"),
        ("timestamp('yesterday') < now", 1, 11, "is not an instant such as"),
        ("duration('3d') < duration('1h')", 1, 10, "is not a duration such as"),
        ("duration(member.tier) < duration('1h')", 1, 17, "a string that is written here"),
        ("{'a': 1} == {}", 1, 1, "maps and messages are not supported"),
        ("null == null", 1, 1, "null is not supported"),
        ("1u == 1u", 1, 1, "write the number without u"),
        ("b'x' == b'x'", 1, 2, "raw strings and bytes are not supported"),
        ("member.tier == 'gold", 1, 16, "does not end on its line"),
        ("member.tier == '\\d'", 1, 17, "a backslash in a string"),
        ("purchase.basis >= ", 1, 19, "wrong syntax"),
        ("purchase.basis => 5", 1, 16, "wrong syntax"),
        ("(purchase.basis >= 5", 1, 21, "wrong syntax"),
        ("purchase.basis >= 5)", 1, 20, "wrong syntax"),
        ("purchase.basis >= 5 && && true", 1, 24, "wrong syntax"),
        ("", 1, 1, "wrong syntax"),
        ("purchase.basis = 5", 1, 16, "wrong syntax"),
        ("if == 1", 1, 1, "reserved identifier"),
    ];
    let mut wrong = String::new();
    for (text, line, column, part) in cases {
        let found = mistake(text, Scope::Purchase);
        if (found.line, found.column) != (*line, *column) || !found.text.contains(part) {
            writeln!(wrong, "{text:?}: {found} (expected {line}, {column}: {part})").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_scope_has_its_own_variables() {
    let cases: &[(&str, Scope, &str)] = &[
        ("purchase.lines.exists(l, true)", Scope::Line, "`line` is the line, and there is no `purchase.lines`"),
        ("purchase.basis > 5", Scope::Segment, "a segment knows no `purchase`; there are member, now"),
        ("now.hour > 5", Scope::Segment, "`now` has no `hour`; it has year, month, day, weekday"),
        ("now > timestamp('2026-01-01T00:00:00Z')", Scope::Segment, "`now` is not a value itself"),
        ("'vip' in member.segments", Scope::Segment, "`member` has no `segments`"),
    ];
    for (text, scope, part) in cases {
        let found = mistake(text, *scope);
        assert!(found.text.contains(part), "{text}: {found}");
    }
    Condition::compile("member.age_days < 30 && now.month == 12", Scope::Segment, CENTS).unwrap();
}

/// Yen have no decimal places, points can have two.
#[test]
fn literals_have_the_decimal_places_of_the_programme() {
    let yen = Digits { money: 0, points: 2 };
    let found = Condition::compile("purchase.basis > 100.5", Scope::Purchase, yen).unwrap_err();
    assert_eq!((found.column, found.text.contains("at most 0")), (18, true), "{found}");
    let condition = Condition::compile("member.available_points == 6 && member.available_points < 6.01", Scope::Purchase, yen).unwrap();
    assert!(condition.holds(&Sample::default()).unwrap(), "600 of 1/100 of a point are 6 points");
}

#[test]
fn what_a_condition_reads_is_known() {
    let text =
        "purchase.lines.exists(l, l.sku == 'x') && member.purchases > 1 && member.tier in ['gold', 'silver'] && 'vip' in member.segments";
    let condition = Condition::compile(text, Scope::Purchase, CENTS).unwrap();
    assert!(condition.reads(Field::Lines) && condition.reads(Field::Number(NumberField::MemberPurchases)));
    assert!(!condition.reads(Field::Amount(AmountField::PurchaseBasis)));
    assert_eq!(condition.fields().len(), 5);
    let named: Vec<(Field, &str, usize)> = condition.named().iter().map(|it| (it.field, &*it.text, it.column)).collect();
    let (tier, segments) = (Field::Text(TextField::MemberTier), Field::List(ListField::MemberSegments));
    assert_eq!(named[1..], [(tier, "gold", 83), (tier, "silver", 91), (segments, "vip", 104)]);
    assert_eq!(condition.text(), text);
    assert_eq!(condition, condition.clone());
    assert_ne!(condition, Condition::compile("true", Scope::Purchase, CENTS).unwrap());
    assert_eq!(format!("{:?}", Condition::compile("true", Scope::Line, CENTS).unwrap()), "Condition(\"true\")");
}

/// Whatever is sent, the answer comes at once, and the stack of a thread of the server is enough.
#[test]
fn hostile_texts_are_refused_at_once() {
    let repeat = |open: &str, times: usize, middle: &str, close: &str| format!("{}{middle}{}", open.repeat(times), close.repeat(times));
    let mut texts = vec![repeat("(", 100_000, "true", ")"), "a".repeat(1_000_000), "!".repeat(500_000)];
    let fits = |part: &str| (MAX_CONDITION_BYTES - 10) / part.len();
    for (open, close) in [("(", ")"), ("[", "]"), ("!(", ")"), ("-(", ")"), ("{1:", "}"), ("f(", ")"), ("a.f(", ")"), ("a[", "]")] {
        texts.push(repeat(open, fits(&format!("{open}{close}")), "true", close));
    }
    for part in [
        "(", "[", "{", ")", "!", "-", "?", "a?", "a?b:", "a.", "a+", "a-", "1<", "a in ", "!-", "'", "\"", "a[", "a.f(", "&&", ",", "''",
        "a,", "\\", "'\\", "`", "/", "//", "\u{feff}", "1.", ".1",
    ] {
        texts.push(part.repeat(fits(part)));
    }
    for text in texts {
        let start = Instant::now();
        let found = mistake(&text, Scope::Purchase);
        let taken = start.elapsed();
        assert!(taken.as_millis() < 2_000, "{taken:?} for {} bytes of {}: {found}", text.len(), &text[..text.len().min(8)]);
    }
}

/// Long but flat ones are taken.
#[test]
fn a_long_list_of_products_is_a_condition() {
    let skus: Vec<String> = (0..150).map(|n| format!("'sku-{n:05}'")).collect();
    let condition =
        Condition::compile(&format!("purchase.lines.exists(l, l.sku in [{}])", skus.join(",")), Scope::Purchase, CENTS).unwrap();
    assert!(!condition.holds(&Sample::default()).unwrap());
    let either: Vec<String> = (0..60).map(|n| format!("member.tier == 't{n}'")).collect();
    Condition::compile(&either.join(" || "), Scope::Purchase, CENTS).unwrap();
}

#[test]
fn what_a_condition_costs_is_bounded() {
    let part = "purchase.lines.exists(l, l.labels.exists(x, x == 'a'))";
    let one = Condition::compile(part, Scope::Purchase, CENTS).unwrap();
    assert!((10_000..=MAX_CONDITION_STEPS).contains(&one.steps()), "{}", one.steps());
    let found = mistake(&format!("{part} || {part}"), Scope::Purchase);
    assert!(found.text.contains("steps for a purchase of 10000 lines") && found.column > part.len(), "{found}");
    // A member can be in as many segments as a rule book can have.
    let of = |list: &str| Condition::compile(&format!("{list}.exists(s, s == 'vip')"), Scope::Purchase, CENTS).unwrap().steps();
    assert!(of("member.segments") >= MAX_SEGMENTS as u64 && of("member.segments") > of("purchase.labels"));
    // What is looked for in a long text costs as much as that is long, also where a name stands for it.
    let long = "a".repeat(1_700);
    for text in [
        format!("purchase.lines.all(l, l.labels.all(x, !'{long}'.contains(x)))"),
        format!("purchase.lines.all(l, ['{long}'].all(x, x.contains(l.sku)))"),
        format!("purchase.lines.all(l, l.labels.all(x, size('{long}') > 1))"),
        "purchase.lines.all(l, l.labels.all(x, size(x) > 1))".to_owned(),
        "purchase.lines.all(l, l.labels.all(x, x.contains(l.sku)))".to_owned(),
        "purchase.lines.all(l, l.labels.all(x, x < l.sku))".to_owned(),
        format!("purchase.lines.all(l, (l.sku == 'a' ? '{long}' : l.sku).contains(l.category))"),
    ] {
        assert!(mistake(&text, Scope::Purchase).text.contains("steps"), "{text}");
    }
    for text in [
        format!("purchase.lines.exists(l, l.sku.startsWith('{long}'))"),
        format!("'{long}'.contains(member.tier)"),
        "purchase.lines.exists(l, l.sku.contains('tea') || l.category.startsWith('T') || size(l.sku) > 9 || 'bio' in l.labels)".to_owned(),
    ] {
        Condition::compile(&text, Scope::Purchase, CENTS).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
    }
    let found = mistake("line.labels.exists(x, line.labels.exists(y, x < y))", Scope::Line);
    assert!(found.text.contains("steps"), "{found}");
    let found = mistake(&vec!["1<2"; 200].join("||"), Scope::Purchase);
    assert!(found.text.contains("more than 400 names"), "{found}");
}

/// Parts of conditions in any order.
fn soup() -> impl Strategy<Value = String> {
    let parts = vec![
        "purchase", "member", "now", "line", ".", "basis", "lines", "labels", "exists", "all", "filter", "size", "(", ")", "[", "]", "{",
        "}", ",", "&&", "||", "!", "?", ":", "==", "<", ">=", "+", "-", "*", "/", "%", "in", "1", "1.5", "'x'", "\"", "'", "true", "null",
        "x", " ", "\n", "\\", "é", "0x", "1e", "u", "duration", "has", "\u{1}", "//", ";", "=", "&", "|", "@", "#", "$", ".5", "1u", "if",
        "in",
    ];
    vec(select(parts), 0..40).prop_map(|parts| parts.join(""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_text_is_too_much_for_the_parser(text in prop_oneof![soup(), "\\PC{0,60}", "[ -~\\n]{0,60}"]) {
        for scope in [Scope::Purchase, Scope::Line, Scope::Segment] {
            match Condition::compile(&text, scope, CENTS) {
                Ok(condition) => {
                    let _ = condition.holds_for_line(&Sample::default(), 0);
                }
                Err(mistake) => prop_assert!(mistake.line > 0 && mistake.column > 0 && !mistake.text.is_empty()),
            }
        }
    }
}
