//! Until when points are valid, beside a table that another implementation of zones and calendars reckoned:
//! `tests/oracle/calendar_vectors.py` writes it.

use std::{collections::HashMap, sync::Arc};

use loyaltyd::domain::{Command, EntryKind};

use crate::accrual::{Shop, at, line, purchase, rule_book_with};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/calendar/vectors.csv");

#[test]
fn points_are_valid_as_long_as_another_calendar_says() {
    let mut shops: HashMap<(String, String), Shop> = HashMap::new();
    let mut vectors = csv::Reader::from_path(VECTORS).expect("the table is there");
    let (mut seen, mut wrong) = (0, Vec::new());
    for vector in vectors.records() {
        let vector = vector.expect("a row");
        let [zone, earned, policy, expires] = [0, 1, 2, 3].map(|column| &vector[column]);
        let shop = shops.entry((zone.to_owned(), policy.to_owned())).or_insert_with(|| {
            let rules = "accrual_rules:\n- { rule_id: base, per_amount: { amount: \"1\", points: \"1\" } }\n";
            let fields = format!("\ntime_zone: {zone}\nexpiry: {{ {policy} }}\n{rules}");
            Shop::open(rule_book_with(&fields))
        });
        shop.now = at(earned);
        // Decided and not kept, so that each sale is the first.
        let sale = Command::RecordPurchase(Arc::new(purchase(vec![line("10")])));
        let entries = shop.decide(&sale).expect("the purchase is taken").entries;
        let got = entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.accrual.lots[0].expiry.time(),
            _ => None,
        });
        seen += 1;
        if got != Some(at(expires)) {
            wrong.push(format!("{zone}, {earned}, {policy}: {got:?}, not {expires}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} are wrong, such as:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    assert!(seen > 1_000, "only {seen} vectors");
}
