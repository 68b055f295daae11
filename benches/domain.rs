//! How long a decision takes, without queue, disk or network: `cargo bench --bench domain`.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use loyaltyd::{
    contract::{program, rule_book},
    domain::{
        Command, Context, Fingerprint, Header, History, Line, LineKind, Member, MemberId, MemberKey, OrderId, OrderKey, Person,
        ProgramHistory, Purchase, Request, RequestId, StoreId, apply, decide,
    },
};
use rust_decimal::Decimal;

fn purchase(lines: u32) -> Purchase {
    let line = |n: u32| Line {
        sku: format!("sku-{n}"),
        category: "PRODUCE".into(),
        labels: Vec::new(),
        quantity: Decimal::ONE,
        amount: Decimal::new(1_299, 2),
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        kind: LineKind::Goods,
    };
    let order = OrderKey { store: StoreId::new("s-1").expect("an id"), order: OrderId::new("o-1").expect("an id") };
    Purchase {
        order: Some(order),
        occurred_time: None,
        channel: "pos".into(),
        lines: (0..lines).map(line).collect(),
        order_discount: Decimal::ZERO,
        prices_include_tax: true,
        shipping: Decimal::ZERO,
        tip: Decimal::ZERO,
        total: Decimal::new(1_299, 2) * Decimal::from(lines),
        tenders: Vec::new(),
        labels: Vec::new(),
        payments: Vec::new(),
        offline: false,
        vouchers: Vec::new(),
        codes: Vec::new(),
        apply_effects: false,
        own_discounts: None,
        quote: None,
    }
}

fn bench(c: &mut Criterion) {
    let now: Timestamp = "2026-03-10T16:00:00Z".parse().expect("a timestamp");
    let document = rule_book::read(include_str!("../examples/programs/grocery.yaml")).expect("the rule book reads");
    let program = program::parse(&document, 1, now).expect("the rule book is valid");
    let key = MemberKey { program: program.id.clone(), member: MemberId([1; 16]) };
    let programs = ProgramHistory::new(Arc::new(program));
    let request = Request { id: RequestId::new("r-1").expect("an id"), fingerprint: Fingerprint([0; 16]) };
    let context =
        Context { programs: &programs, now, request: Some(&request), actor: None, principal: None, operator: None, history: History::NONE };
    let blank = Member::bare(key, Header::new(now));
    let member = decide(context, blank, &Command::Enroll { person: Person::default() }).expect("the member enrols").member;

    for lines in [1, 10, 100] {
        let command = Command::RecordPurchase(Arc::new(purchase(lines)));
        c.bench_function(&format!("decide a purchase of {lines} lines"), |b| {
            b.iter(|| decide(context, black_box(member.clone()), black_box(&command)).expect("it is decided"));
        });
    }
    let decision = decide(context, member.clone(), &Command::RecordPurchase(Arc::new(purchase(1)))).expect("it is decided");
    c.bench_function("apply a purchase", |b| {
        b.iter(|| {
            let mut state = member.clone();
            apply(&mut state, black_box(&decision.entries[0])).expect("it folds");
            state
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
