//! The fuzz targets of `tests/fuzz`, for some seconds: corpora of this repository, spoilt by dice of `LOYALTYD_TEST_SEED`. With
//! `LOYALTYD_TEST_LONG=1` for some minutes. libFuzzer goes on where this ends, see `tests/fuzz/README.md`.

#[path = "../../fuzz/src/lib.rs"]
pub mod targets;

use std::time::{Duration, Instant};

use targets::{
    access, files, journal,
    requests::{Shop, Tally},
    rule_books,
};

use crate::power::{
    dice::Dice,
    store_cuts::{is_long, seed},
};

const CONTRACT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));

/// On a machine that is busy with much else; what hangs takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes as a fuzzer would give them: mostly few, so that what they choose is near to what is right.
fn bytes(dice: &mut Dice) -> Vec<u8> {
    let length = match dice.below(8) {
        0 => dice.below(2_000),
        1..4 => dice.below(200),
        _ => dice.below(40),
    };
    (0..2 + length).map(|_| dice.below(256) as u8).collect()
}

/// So many times, or as many as there is time for, but some in any case. Says how many those were.
fn often(name: &str, times: u64, time: Duration, mut each: impl FnMut(&[u8])) -> u64 {
    let seed = seed();
    let mut dice = Dice(seed);
    let (times, time) = if is_long() { (times * 200, time * 60) } else { (times, time) };
    let started = Instant::now();
    let mut done = 0;
    while done < times && (started.elapsed() < time || done < times / 20) {
        let data = bytes(&mut dice);
        let told = Told { name, data: &data, seed };
        each(&data);
        std::mem::forget(told);
        done += 1;
    }
    println!("{name}: {done} times in {:.1} s, seed {seed}", started.elapsed().as_secs_f64());
    done
}

/// Says what it was, if it panics.
struct Told<'a> {
    name: &'a str,
    data: &'a [u8],
    seed: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        println!("{} failed with the seed {}, for the bytes {:?}", self.name, self.seed, self.data);
    }
}

#[test]
fn every_method_answers_requests_of_any_kind() {
    let shop = Shop::open(CONTRACT, false);
    let mut tally = Tally::default();
    let done = often("requests", 2_500, Duration::from_secs(6), |data| shop.run(data, &mut tally));
    println!("{tally:?}");
    assert_eq!(tally.answered + tally.refused, done);
    // Neither is all refused before it means anything, nor is all right.
    assert!(tally.answered > done / 20 && tally.refused > done / 20, "{tally:?}");
    let report = shop.close();
    assert!(report.entries > 60, "{} entries", report.entries);
}

#[test]
fn a_sandbox_answers_requests_of_any_kind() {
    let shop = Shop::open(CONTRACT, true);
    let mut tally = Tally::default();
    let done = often("a sandbox's requests", 600, Duration::from_secs(3), |data| shop.run(data, &mut tally));
    assert_eq!(tally.answered + tally.refused, done);
    shop.close();
}

#[test]
fn rule_books_of_any_kind_are_read_or_refused() {
    assert!(often("rule books", 1_500, Duration::from_secs(4), rule_books::run) >= 75);
    for text in hostile_books() {
        let started = Instant::now();
        rule_books::run(&[&[0_u8][..], text.as_bytes()].concat());
        assert!(started.elapsed() < PATIENCE, "{} bytes took {:?}", text.len(), started.elapsed());
    }
}

/// Bombs, depths and numbers that a random change does not find.
fn hostile_books() -> Vec<String> {
    let bomb = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let before = format!("*a{}", level - 1);
        format!("{text}a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", "))
    });
    let head = "program_id: x\ndisplay_name: x\ncurrency_code: EUR\ntime_zone: Europe/Berlin\n";
    vec![
        bomb,
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        format!("program_id: {}", "x".repeat(1 << 20)),
        format!("points_precision: {}", "9".repeat(100_000)),
        format!("{head}accrual_rules:\n{}", "  - { rule_id: a, per_amount: { amount: 1e999999999, points: 1 } }\n".repeat(2_000)),
        format!("{head}tiers: [{}]", "{},".repeat(10_000)),
        format!("{head}promotions: [{{promotion_id: a, condition: \"{}true{}\"}}]", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{head}promotions: [{{promotion_id: a, condition: \"{}\"}}]", "!".repeat(100_000)),
        format!("{head}segments: [{{segment_id: a, condition: \"{}\"}}]", "member.purchases > 0 && ".repeat(20_000)),
        "\u{feff}program_id: x".to_owned(),
        "program_id: \"\\ud800\"".to_owned(),
        "{\"program_id\": \"x\", \"program_id\": \"y\"}".to_owned(),
        "? [a, b] : c\n<<: *x\n!!binary x: !!python/object y".to_owned(),
        "--- a\n--- b\n".repeat(50_000),
        "#".repeat(1 << 20),
        "\t".repeat(10_000),
        "\r\n".repeat(100_000),
        "a: |\n".to_owned() + &" x\n".repeat(100_000),
    ]
}

#[test]
fn access_files_and_credentials_of_any_kind_are_taken_as_they_are_or_refused() {
    assert!(often("access files and credentials", 6_000, Duration::from_secs(4), access::run) >= 300);
    for text in hostile_access_files() {
        let started = Instant::now();
        access::text(&text);
        assert!(started.elapsed() < PATIENCE, "{} bytes took {:?}", text.len(), started.elapsed());
    }
}

/// The hostile books say nothing of access, and are refused; these are nearer to what is right.
fn hostile_access_files() -> Vec<String> {
    let principal = |more: &str| format!("principals: [{{principal_id: x, roles: [pos], programs: [vietnam], {more}}}]");
    let issuer = |more: &str| format!("principals: []\nissuers: [{{issuer: \"https://id.example.com\", audience: x, {more}}}]");
    let mut texts = hostile_books();
    texts.extend([
        String::new(),
        "principals: []".to_owned(),
        "principals: null\nissuers: null".to_owned(),
        format!("principals:\n{}", "  - {principal_id: x, roles: [pos], programs: [vietnam]}\n".repeat(20_000)),
        format!("principals:\n{}", "  - {}\n".repeat(100_000)),
        format!("principals: [{{principal_id: x, roles: [{}], programs: [vietnam]}}]", "pos,".repeat(100_000)),
        format!("principals: [{{principal_id: x, roles: [pos], programs: [{}]}}]", "vietnam,".repeat(100_000)),
        principal(&format!("api_keys: [{}]", "{key_id: a, hash: x},".repeat(20_000))),
        principal(&format!("api_keys: [{{key_id: a, hash: \"sha256:{}\"}}]", "f".repeat(1_000_000))),
        principal(&format!("certificates: [{{dns: \"{}\"}}]", "a.".repeat(500_000))),
        principal("certificates: [{dns: a.example.com, uri: \"spiffe://x\"}]"),
        principal("certificates: [{}]"),
        principal("tokens: [{issuer: \"https://nobody.example.com\", subject: x}]"),
        principal("limits: {adjustment_points: -1, requests_per_second: 0}"),
        principal("limits: {adjustment_points: 99999999999999999999, requests_per_second: 4294967296}"),
        principal("limits: {adjustment_points: .nan, requests_per_second: .inf}"),
        issuer("jwks_file: /dev/zero"),
        issuer("jwks_file: /dev/null"),
        issuer("jwks_file: /"),
        issuer("jwks_file: \"\\0\""),
        issuer("jwks_file: a, jwks_url: \"https://x\""),
        issuer("jwks_url: \"http://example.com/keys\""),
        issuer("jwks_url: \"file:///etc/passwd\""),
        issuer("jwks_url: \"https://user:secret@x/\", refresh_seconds: 18446744073709551615, leeway_seconds: -1"),
        issuer("jwks_url: \"https://x\", algorithms: [none, HS256]"),
        issuer(&format!("jwks_url: \"https://{}\"", "x".repeat(100_000))),
    ]);
    texts
}

#[test]
fn journals_and_keys_of_any_kind_are_read_or_refused() {
    assert!(often("journals", 1_200, Duration::from_secs(4), journal::run) >= 60);
}

#[test]
fn files_of_any_kind_are_imported_or_refused() {
    let shop = Shop::open(CONTRACT, false);
    assert!(often("CSV files", 300, Duration::from_secs(4), |data| files::csv(&shop, data)) >= 3);
    shop.close();
}

#[test]
fn backups_of_any_kind_are_restored_or_refused() {
    assert!(often("backups", 60, Duration::from_secs(4), files::backups) >= 3);
}
