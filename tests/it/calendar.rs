//! What depends on a calendar, beside tables that another implementation of zones and calendars reckoned: until when points are valid, what
//! tiers count and until when one is held, when birthdays are, and when vouchers are valid. `tests/oracle/calendar_vectors.py` writes them.

use std::{collections::HashMap, sync::Arc};

use jiff::{Timestamp, civil::Date};
use loyaltyd::domain::{
    BirthDate, BirthdayPlan, Command, EntryKind, Person, Points, Profile, Sealed, VoucherChange, VoucherKindId, VoucherRequest, advance,
    tier_progress,
};

use crate::{
    accrual::{Shop, at, line, purchase, rule_book_with},
    tiers::{open_at, open_with},
};

/// Holds what the service says of each row of a table against the row's last columns; the first ones are what it is asked.
fn check<const ASKED: usize, const SAID: usize>(table: &str, least: usize, says: impl Fn([&str; ASKED]) -> [String; SAID]) {
    let path = format!("{}/tests/it/calendar/{table}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut vectors = csv::Reader::from_path(path).expect("the table is there");
    assert_eq!(vectors.headers().expect("a heading").len(), ASKED + SAID);
    let (mut seen, mut wrong) = (0, Vec::new());
    for vector in vectors.records() {
        let vector = vector.expect("a row");
        let asked = std::array::from_fn(|column| &vector[column]);
        let expected: [String; SAID] = std::array::from_fn(|column| vector[ASKED + column].to_owned());
        let said = says(asked);
        seen += 1;
        if said != expected {
            wrong.push(format!("{}: {said:?}, not {expected:?}", asked.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} are wrong, such as:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    assert!(seen >= least, "only {seen} vectors");
}

fn shown<T: ToString>(it: Option<T>) -> String {
    it.map_or(String::new(), |it| it.to_string())
}

#[test]
fn points_are_valid_as_long_as_another_calendar_says() {
    let shops = std::cell::RefCell::new(HashMap::<String, Shop>::new());
    check("expiry", 1_000, |[zone, earned, policy]| {
        let mut shops = shops.borrow_mut();
        let shop = shops.entry(format!("{zone} {policy}")).or_insert_with(|| {
            let rules = "accrual_rules:\n- { rule_id: base, per_amount: { amount: \"1\", points: \"1\" } }\n";
            let fields = format!("\ntime_zone: {zone}\nexpiry: {{ {policy} }}\n{rules}");
            Shop::open(rule_book_with(&fields))
        });
        shop.now = at(earned);
        // Decided and not kept, so that each sale is the first.
        let sale = Command::RecordPurchase(Arc::new(purchase(vec![line("10")])));
        let entries = shop.decide(&sale).expect("the purchase is taken").entries;
        let got = entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::PurchaseAccrued(accrued) => {
                let by_months = entry.inactive_months.as_ref().and_then(|record| record.lapse_time);
                accrued.accrual.lots[0].expiry.time().or(entry.inactivity_time).or(by_months)
            }
            _ => None,
        });
        [shown(got)]
    });
}

#[test]
fn tiers_count_and_last_as_long_as_another_calendar_says() {
    check("tier_window", 1_000, |[zone, enrolled, bought, policy]| {
        let program = rule_book_with(&format!(
            "\ntime_zone: {zone}\naccrual_rules:\n- {{ rule_id: base, per_amount: {{ amount: 1, points: 1 }} }}\ntiers:\n- {{ tier_id: base }}\n\
             - {{ tier_id: silver, threshold: {{ qualifying_points: 10 }} }}\ntier_policy: {{ {policy} }}\n"
        ));
        let mut shop = open_at(program, enrolled);
        shop.now = at(bought);
        shop.buys(purchase(vec![line("10")]));
        let progress =
            tier_progress(shop.programs.newest(), &shop.member.header, shop.now).expect("it is reckoned").expect("there are tiers");
        assert_eq!((progress.tier.id.as_str(), progress.totals.qualifying_points), ("silver", Points(10)), "{zone} {bought} {policy}");
        let day = |date: Option<Date>| shown(date);
        let [end, review] = [progress.end.map(|end| end.end_time), progress.end.map(|end| end.review_time)].map(shown);
        // What is held is what the entry said of it.
        assert_eq!(progress.end, shop.member.header.tier.end);
        [day(progress.window_start), day(progress.window_end), end, review]
    });
}

#[test]
fn birthdays_are_celebrated_and_rewarded_when_another_calendar_says() {
    check("birthday", 500, |[zone, entered, born, policy]| {
        let birthday = format!("birthday: {{ {policy}, rewards: [{{ points: {{ points: 10 }} }}] }}");
        let program = rule_book_with(&format!(
            "\ntime_zone: {zone}\naccrual_rules:\n- {{ rule_id: base, per_amount: {{ amount: 1, points: 1 }} }}\n{birthday}\n"
        ));
        let (month, day) = born.split_once('-').expect("a month and a day");
        let birth_date = Some(BirthDate { year: None, month: month.parse().expect("a month"), day: day.parse().expect("a day") });
        let person = Person { profile: Profile { birth_date, ..Profile::default() }, ..Person::default() };
        let mut shop = open_with(program, entered, person);
        let plan = plans(&shop)[0];
        // The reward comes at the instant at which it is due, and not before.
        if plan.due_time > shop.now {
            shop.now = plan.due_time - jiff::SignedDuration::from_micros(1);
            time_passes(&mut shop);
            assert_eq!((plans(&shop).len(), shop.member.header.balance.available), (1, Points(0)), "{zone} {entered} {born} {policy}");
        }
        shop.now = plan.due_time;
        time_passes(&mut shop);
        let plans = plans(&shop);
        assert_eq!((plans.len(), shop.member.header.balance.available), (2, Points(10)), "{zone} {entered} {born} {policy}");
        assert_eq!(plans[1].due_time, plans[1].start_time);
        [plan.due_time, plan.start_time, plan.end_time, plans[1].start_time, plans[1].end_time].map(|time: Timestamp| time.to_string())
    });
}

fn time_passes(shop: &mut Shop) {
    let decision = advance(&shop.programs, shop.now, shop.member.clone()).expect("time passes");
    shop.member = decision.member;
    shop.entries.extend(decision.entries);
}

/// All that were planned, in order.
fn plans(shop: &Shop) -> Vec<BirthdayPlan> {
    let planned = |kind: &EntryKind| match kind {
        EntryKind::BirthdayChanged(changed) => match &changed.plan {
            Sealed::Open(plan) => *plan,
            sealed => panic!("{sealed:?}"),
        },
        _ => None,
    };
    shop.entries.iter().filter_map(|entry| planned(&entry.kind)).collect()
}

#[test]
fn vouchers_are_valid_as_long_as_another_calendar_says() {
    check("voucher", 500, |[zone, issued, kind]| {
        let kind = format!("voucher_kinds: [{{ voucher_kind_id: tea, benefit: {{ free_shipping: {{}} }}, {kind} }}]");
        let rules = "accrual_rules:\n- { rule_id: base, per_amount: { amount: 1, points: 1 } }\n";
        let shop = open_at(rule_book_with(&format!("\ntime_zone: {zone}\n{rules}{kind}\n")), issued);
        let request = VoucherRequest::Issue { kind: VoucherKindId::new("tea").expect("an id"), reason: "sorry".into() };
        let entries = shop.decide(&Command::Voucher(request)).expect("it is issued").entries;
        let voucher = entries.iter().find_map(|entry| match &entry.voucher_change()?.change {
            VoucherChange::Issued { voucher, .. } => Some(voucher),
            _ => None,
        });
        let voucher = voucher.expect("a voucher");
        [voucher.valid_from_time.to_string(), voucher.expire_time.to_string()]
    });
}
