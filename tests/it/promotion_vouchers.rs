//! Vouchers that come with a purchase by a promotion: they go with what they came with, also late, and a member has no more of them than of others.

use std::fs;

use jiff::ToSpan;
use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{self, entry::Kind as Said, voucher::State},
    },
    domain::{Command, Entry, LimitKind, MAX_VOUCHERS, Purchase, VoucherCause, VoucherChange, VoucherCode, VoucherKindId, VoucherRequest},
    store::embedded::check,
};

use crate::{
    accrual::{Shop, goods, purchase, rule_book_with},
    domain_properties::check_state,
    redemption::{explained, start_with},
    returns::{available, buys, gives, order, tries, units, whole},
    support::{PROGRAM, TestServer, noon, options, rule_book, sale},
};

const TEA: &str = "voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]\n\
                   accrual_rules: [{ rule_id: goods, per_amount: { amount: 1, points: 1 } }]\npromotions:\n";

const GIFT: &str = "- { promotion_id: gift, filter: { categories: [food] }, minimum_spend: 30, voucher_kind_id: tea }\n";

fn open(promotions: &str) -> Shop {
    Shop::open(rule_book_with(&format!("{TEA}{promotions}")))
}

/// Four teas for 40.
fn food() -> Purchase {
    purchase(vec![goods("tea", "food", "4", "40")])
}

fn one_tea(vouchers: Vec<VoucherCode>) -> Purchase {
    Purchase { vouchers, ..purchase(vec![goods("tea", "", "1", "10")]) }
}

/// The code of the one voucher that the member has.
fn code(shop: &Shop) -> VoucherCode {
    let [code] = shop.member.vouchers.keys().copied().collect::<Vec<_>>()[..] else { panic!("{:#?}", shop.member.vouchers) };
    code
}

fn hold(shop: &mut Shop, code: VoucherCode) {
    shop.does(&Command::Voucher(VoucherRequest::Hold { code, order: order("o-2"), seconds: Some(600) })).expect("a hold");
}

/// What became of vouchers, in words of the changes.
fn changes(entries: &[Entry]) -> Vec<&'static str> {
    let change = |entry: &Entry| {
        Some(match &entry.voucher_change()?.change {
            VoucherChange::Issued { .. } => "issued",
            VoucherChange::Held(_) => "held",
            VoucherChange::Released { .. } => "released",
            VoucherChange::Used { .. } => "used",
            VoucherChange::Cancelled { .. } => "cancelled",
            VoucherChange::Expired => "expired",
            VoucherChange::Reinstated { .. } => "reinstated",
        })
    };
    entries.iter().filter_map(change).collect()
}

#[test]
fn a_voucher_that_was_held_when_its_purchase_came_back_goes_when_the_hold_is_released() {
    let mut shop = open(GIFT);
    buys(&mut shop, "o-1", food());
    let code = code(&shop);
    hold(&mut shop, code);
    gives(&mut shop, whole("o-1"));
    assert!(shop.member.vouchers.contains_key(&code), "it stays for the order that it is held for");
    let release = Command::Voucher(VoucherRequest::Release { code, reason: String::new() });
    let entries = shop.does(&release).expect("it is released");
    assert_eq!(changes(&entries), ["cancelled"]);
    assert_eq!((shop.member.vouchers.len(), shop.member.header.vouchers.live, shop.member.header.vouchers.next_due_time), (0, 0, None));
    check_state(&shop).expect("the state holds together");
}

#[test]
fn a_voucher_that_was_held_when_its_purchase_came_back_goes_when_the_hold_is_over() {
    let mut shop = open(GIFT);
    buys(&mut shop, "o-1", food());
    let code = code(&shop);
    hold(&mut shop, code);
    // Of the forty 30 must be left, and then 29 are.
    gives(&mut shop, units("o-1", 0, "1"));
    gives(&mut shop, units("o-1", 0, "1"));
    let end = shop.member.vouchers[&code].due_time();
    shop.now = end + 24.hours();
    let entries = tries(&mut shop, units("o-1", 0, "1")).expect("a return");
    assert_eq!(changes(&entries), ["cancelled"]);
    assert_eq!((entries[0].occurred_time, shop.member.vouchers.len()), (end, 0));
    check_state(&shop).expect("the state holds together");
    // One whose purchase stands is free again.
    let mut shop = open(GIFT);
    buys(&mut shop, "o-1", food());
    let code = self::code(&shop);
    hold(&mut shop, code);
    gives(&mut shop, units("o-1", 0, "1"));
    shop.now = end + 24.hours();
    let entries = tries(&mut shop, units("o-1", 0, "1")).expect("a return");
    assert_eq!(changes(&entries), ["released", "cancelled"], "it is free when the next return comes, and goes with that");
}

#[test]
fn a_voucher_that_was_held_when_its_purchase_came_back_can_still_be_used_for_the_order() {
    let mut shop = open(GIFT);
    buys(&mut shop, "o-1", food());
    let code = code(&shop);
    hold(&mut shop, code);
    gives(&mut shop, whole("o-1"));
    buys(&mut shop, "o-2", one_tea(vec![code]));
    // And when that comes back too, nothing is left that it came with.
    let entries = tries(&mut shop, whole("o-2")).expect("a return");
    assert_eq!((changes(&entries), shop.member.vouchers.len()), (vec![], 0));
    check_state(&shop).expect("the state holds together");
}

#[test]
fn a_used_voucher_does_not_come_back_with_its_order_once_its_own_purchase_has() {
    let mut shop = open(GIFT);
    buys(&mut shop, "o-1", food());
    let code = code(&shop);
    buys(&mut shop, "o-2", one_tea(vec![code]));
    gives(&mut shop, whole("o-1"));
    let entries = tries(&mut shop, whole("o-2")).expect("a return");
    assert_eq!((changes(&entries), shop.member.vouchers.len()), (vec![], 0));
    check_state(&shop).expect("the state holds together");
    // It does as long as its promotion has what it asks for.
    let mut shop = open(GIFT);
    buys(&mut shop, "o-1", food());
    let code = self::code(&shop);
    buys(&mut shop, "o-2", one_tea(vec![code]));
    gives(&mut shop, units("o-1", 0, "1"));
    let entries = tries(&mut shop, whole("o-2")).expect("a return");
    assert_eq!((changes(&entries), shop.member.vouchers.contains_key(&code)), (vec!["reinstated"], true));
    let entries = tries(&mut shop, whole("o-1")).expect("a return");
    assert_eq!((changes(&entries), shop.member.vouchers.len()), (vec!["cancelled"], 0), "and goes then");
}

#[test]
fn who_has_a_thousand_vouchers_is_given_no_more_by_promotions() {
    let mut shop = open(&format!(
        "{GIFT}- {{ promotion_id: other, voucher_kind_id: tea }}\n- {{ promotion_id: first, group_id: one, voucher_kind_id: tea }}\n- {{ promotion_id: \
         second, group_id: one, add_fixed: {{ points: 5 }} }}\npromotion_groups: [{{ group_id: one, combination: COMBINATION_EXCLUSIVE }}]\n"
    ));
    let kind = VoucherKindId::new("tea").expect("an id");
    for _ in 1..MAX_VOUCHERS - 1 {
        // What was done before is of no account here.
        shop.entries.clear();
        shop.does(&Command::Voucher(VoucherRequest::Issue { kind: kind.clone(), reason: String::new() })).expect("a voucher");
    }
    let told = |shop: &mut Shop, id: &str| -> Vec<(String, i64, Option<LimitKind>)> {
        let accrual = buys(shop, id, food());
        accrual.promotions.iter().map(|award| (award.promotion.to_string(), award.points.0, award.limit)).collect()
    };
    let line = |promotion: &str, points, limit| (promotion.to_owned(), points, limit);
    let full = Some(LimitKind::Vouchers);
    // There is room for two: the last one has none.
    assert_eq!(told(&mut shop, "o-1"), [line("gift", 0, None), line("other", 0, None), line("first", 0, full)]);
    assert_eq!(shop.member.header.vouchers.live, 1_000);
    // Then there is none, and of a group the next one gives.
    assert_eq!(told(&mut shop, "o-2"), [line("gift", 0, full), line("other", 0, full), line("first", 0, full), line("second", 5, None)]);
    assert_eq!((shop.member.header.vouchers.live, shop.member.vouchers.len()), (1_000, 1_000));
    let given = shop.member.vouchers.values().filter(|voucher| voucher.cause == VoucherCause::Promotion).count();
    assert_eq!((given, available(&shop)), (2, 40 + 40 + 5));
    // What gave none takes none back.
    assert_eq!(gives(&mut shop, whole("o-2")).points.0, 45);
    assert_eq!(shop.member.vouchers.len(), 1_000);
}

async fn records(server: &TestServer, request: v1::RecordPurchaseRequest) -> v1::RecordPurchaseResponse {
    server.purchases().record_purchase(request).await.expect("it is recorded").into_inner()
}

async fn comes_back(server: &TestServer, order: &str) {
    let request = v1::ReturnPurchaseRequest {
        request_id: format!("return-{order}"),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        whole_purchase: true,
        reason: "damaged".into(),
        ..Default::default()
    };
    server.purchases().return_purchase(request).await.expect("a return");
}

async fn got(server: &TestServer, code: &str) -> v1::Voucher {
    let request = v1::GetVoucherRequest { program_id: PROGRAM.into(), code: code.into() };
    server.rewards().get_voucher(request).await.expect("it is known").into_inner().voucher.expect("a voucher")
}

fn gifts(promotions: &str) -> v1::Program {
    let read = text::read(&format!("{TEA}{promotions}")).expect("well-formed fields");
    v1::Program { voucher_kinds: read.voucher_kinds, promotions: read.promotions, goals: read.goals, ..rule_book() }
}

/// Stops, makes the tables again from the journal, compares all, and starts.
async fn rebuilt(server: TestServer, program: v1::Program) -> TestServer {
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = check(&data, &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
    fs::remove_dir_all(data.join("tables")).expect("the tables are removed");
    TestServer::start_in(folder, clock, vec![program]).await
}

#[tokio::test]
async fn a_till_that_lets_go_of_a_voucher_whose_purchase_came_back_is_told_that_it_is_gone() {
    let program = gifts("- { promotion_id: gift, filter: { minimum_order: 500000 }, voucher_kind_id: tea }\n");
    let server = start_with(program.clone()).await;
    let member = server.enroll("c-1").await;
    let mut codes = Vec::new();
    for order in ["o-1", "o-2", "o-3"] {
        codes.push(records(&server, sale(&member, order, "500000")).await.issued_vouchers[0].code.clone());
    }
    for (place, code) in codes[..2].iter().enumerate() {
        let hold = v1::HoldVoucherRequest {
            request_id: format!("h-{place}"),
            program_id: PROGRAM.into(),
            code: code.clone(),
            store_id: "hcm-1".into(),
            order_id: "o-9".into(),
            duration: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            actor: None,
        };
        server.rewards().hold_voucher(hold).await.expect("it is held");
    }
    let mut request = sale(&member, "o-4", "10000");
    let purchase = request.purchase.as_mut().expect("a purchase");
    purchase.lines[0].sku = "tea".into();
    purchase.voucher_codes = vec![codes[2].clone()];
    records(&server, request).await;
    for order in ["o-1", "o-2", "o-3", "o-4"] {
        comes_back(&server, order).await;
    }
    let states = [got(&server, &codes[0]).await.state(), got(&server, &codes[1]).await.state(), got(&server, &codes[2]).await.state()];
    assert_eq!(states, [State::Held, State::Held, State::Used]);
    let server = rebuilt(server, program.clone()).await;
    let release = v1::ReleaseVoucherRequest {
        request_id: "release".into(),
        program_id: PROGRAM.into(),
        code: codes[0].clone(),
        reason: String::new(),
        actor: None,
    };
    let entry = server.rewards().release_voucher(release).await.expect("it is released").into_inner().entry.expect("an entry");
    assert!(matches!(entry.kind, Some(Said::VoucherCancelled(_))), "{entry:#?}");
    let said = explained(&server, &member, entry.sequence).await;
    assert!(said.contains("what it had come with was returned while it was set aside"), "{said}");
    assert_eq!(got(&server, &codes[0]).await.state(), State::Cancelled);
    server.clock.set(noon() + 1.hours());
    assert_eq!(got(&server, &codes[1]).await.state(), State::Cancelled, "its time is over");
    let server = rebuilt(server, program).await;
    assert_eq!(server.member(&member).await.live_vouchers, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_return_takes_the_voucher_of_a_goal_from_behind_many_of_promotions() {
    let many: String = (0..199).map(|n| format!("- {{ promotion_id: gift-{n}, voucher_kind_id: tea }}\n")).collect();
    let goal = "goals: [{ goal_id: card, display_name: Tea card, points: 10, voucher_kind_id: tea }]\n";
    let server = start_with(gifts(&format!("{many}{goal}"))).await;
    let member = server.enroll("c-1").await;
    let recorded = records(&server, sale(&member, "o-1", "100000")).await;
    assert_eq!((recorded.issued_vouchers.len(), server.member(&member).await.live_vouchers), (200, 200));
    // Who reads of the hundredth voucher is told where to look.
    let said = explained(&server, &member, recorded.entry_sequence + 100).await;
    assert!(said.contains("It came with the nearest purchase before it, by promotion gift-99."), "{said}");
    comes_back(&server, "o-1").await;
    assert_eq!(server.member(&member).await.live_vouchers, 0, "also that of the goal");
    let balance = crate::redemption::balance(&server, &member).await;
    assert_eq!((balance.available, balance.debt), (0, 0));
    server.stop().await;
}
