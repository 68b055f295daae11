//! Promotions as tills and support staff see them, over the real store; many who buy for the last points of a budget at once; and a quote that says
//! what is booked then.

use std::{fs, path::Path, sync::Arc};

use jiff::{ToSpan, civil::Date};
use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{self, award::LimitKind, entry::Kind as Said, voucher::Cause},
    },
    domain::{Accrual, Command, Entry, EntryKind, MemberId, OrderId, OrderKey, Purchase, ReturnRequest, RuleId, StoreId},
    ledger::{Clock as _, Ledger, MemberTarget},
    store::{
        Read as _,
        embedded::{Backup, BackupPlace, EmbeddedStore, Until, check, restore},
    },
};
use proptest::{prelude::*, test_runner::TestRunner};
use rust_decimal::Decimal;
use tonic::Code;

use crate::{
    domain_properties::{any_purchase, cases},
    ledger::{self, Shop},
    redemption::{balance, explained, start_with},
    return_properties::any_promotions,
    support::{PROGRAM, TestServer, actor, by_id, options, purchase as basket, refused, rule_book, sale, vnd},
};

const PROMOTIONS: &str = "\
voucher_kinds:
- { voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }
promotions:
- { promotion_id: app-hello, display_name: First order by the app, first_purchase: true, filter: { channels: [app] }, add_fixed: { points: 100 }, \
    without_qualifying: true }
- { promotion_id: spring, display_name: Spring, code: spring, multiply: { multiplier: 2 }, limits: { budget_points: 30 } }
- { promotion_id: rice, filter: { skus: [rice] }, minimum_quantity: 2, add_fixed: { points: 3, each_minimum_quantity: true } }
- { promotion_id: gift, filter: { minimum_order: 500000 }, voucher_kind_id: tea }
";

/// Of the usual tiers; a point is 10,000 VND.
fn book() -> v1::Program {
    let read = text::read(PROMOTIONS).expect("well-formed fields");
    v1::Program { voucher_kinds: read.voucher_kinds, promotions: read.promotions, promotion_groups: read.promotion_groups, ..rule_book() }
}

fn with_codes(member: &str, order: &str, amount: &str, codes: &[&str]) -> v1::RecordPurchaseRequest {
    let codes = codes.iter().map(|code| (*code).to_owned()).collect();
    v1::RecordPurchaseRequest { purchase: Some(v1::Purchase { codes, ..basket(order, amount) }), ..sale(member, order, amount) }
}

async fn records(server: &TestServer, request: v1::RecordPurchaseRequest) -> v1::RecordPurchaseResponse {
    server.purchases().record_purchase(request).await.expect("it is recorded").into_inner()
}

async fn quotes(server: &TestServer, request: &v1::RecordPurchaseRequest) -> v1::QuotePurchaseResponse {
    let v1::RecordPurchaseRequest { program_id, member, purchase, .. } = request.clone();
    let request = v1::QuotePurchaseRequest { program_id, member, purchase };
    server.purchases().quote_purchase(request).await.expect("it is quoted").into_inner()
}

/// Each promotion with its points and the limit that changed them.
fn told(accrual: Option<&v1::Accrual>) -> Vec<(String, i64, LimitKind)> {
    let awards = accrual.expect("an accrual").awards.iter().filter(|award| !award.promotion_id.is_empty());
    awards.map(|award| (award.promotion_id.clone(), award.points, award.limit())).collect()
}

fn one(promotion: &str, points: i64, limit: LimitKind) -> Vec<(String, i64, LimitKind)> {
    vec![(promotion.to_owned(), points, limit)]
}

fn back(order: &str, request: &str) -> v1::ReturnPurchaseRequest {
    v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        reason: "damaged".into(),
        ..Default::default()
    }
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
async fn a_till_sends_codes_and_support_reads_what_each_promotion_gave() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let mut request = with_codes(&member, "o-1", "250000", &[" Spring ", "nothing"]);
    let purchase = request.purchase.as_mut().expect("a purchase");
    purchase.channel = "app".into();
    purchase.lines[0].quantity = "5".into();
    let quoted = quotes(&server, &request).await;
    let recorded = records(&server, request.clone()).await;
    let none = LimitKind::Unspecified;
    let expected = [one("app-hello", 100, none), one("spring", 25, none), one("rice", 6, none)].concat();
    assert_eq!((told(recorded.accrual.as_ref()), told(quoted.accrual.as_ref())), (expected.clone(), expected));
    assert_eq!(quoted.balance, recorded.balance);
    let accrual = recorded.accrual.as_ref().expect("an accrual");
    assert_eq!((accrual.points, accrual.qualifying_points), (25 + 131, 25 + 31));
    let awards = accrual.awards.iter();
    let rates: Vec<_> = awards.map(|award| (award.rate.as_str(), award.basis.as_str(), award.multiplier.as_str())).collect();
    assert_eq!(rates, [("1 per 10000", "250000", "1"), ("100 per order", "1", "1"), ("2 times", "25", "2"), ("3 per 2 units", "2", "1")]);
    let said = explained(&server, &member, recorded.entry_sequence).await;
    for sentence in [
        "Promotion app-hello (First order by the app): 100 per order.",
        "Promotion spring (Spring): 2 times the 25 points of the rules, gives 25 exactly more.",
        "Promotion rice: 3 per 2 units, 2 times.",
        "Together 156 points, of which 56 count for tiers.",
    ] {
        assert!(said.contains(sentence), "{sentence} in\n{said}");
    }
    // The same request again, and what was recorded.
    assert_eq!(records(&server, request.clone()).await, recorded);
    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    let got = server.purchases().get_purchase(get).await.expect("it is there").into_inner();
    assert_eq!((got.purchase.expect("a purchase").codes, got.accrual), (vec!["SPRING".into(), "NOTHING".into()], recorded.accrual));
    // Another code is another purchase.
    request.purchase.as_mut().expect("a purchase").codes = vec!["summer".into()];
    let status = server.purchases().record_purchase(request).await.expect_err("the id is used");
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    // 5 of the budget are left, and then nothing is.
    let second = records(&server, with_codes(&member, "o-2", "90000", &["SPRING"])).await;
    assert_eq!(told(second.accrual.as_ref()), one("spring", 5, LimitKind::Budget));
    let said = explained(&server, &member, second.entry_sequence).await;
    assert!(said.contains("gives 9 exactly more. Its budget is used up: 9 points became 5."), "{said}");
    let third = records(&server, with_codes(&member, "o-3", "90000", &["SPRING"])).await;
    assert_eq!(told(third.accrual.as_ref()), one("spring", 0, LimitKind::Budget));
    let server = rebuilt(server, book()).await;
    let fourth = records(&server, with_codes(&member, "o-4", "90000", &["SPRING"])).await;
    assert_eq!(told(fourth.accrual.as_ref()), one("spring", 0, LimitKind::Budget));
    server.stop().await;
}

#[tokio::test]
async fn codes_that_are_none_are_refused_with_their_fields() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let eleven = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    for (codes, field) in [(&["a", " A "][..], "purchase.codes[1]"), (&["", "b"], "purchase.codes[0]"), (&eleven, "purchase.codes")] {
        let status = server.purchases().record_purchase(with_codes(&member, "o-1", "10000", codes)).await.expect_err("it is refused");
        assert_eq!((status.code(), refused(&status).fields), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_voucher_of_a_promotion_is_in_the_answer_and_goes_with_the_return() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let request = sale(&member, "o-1", "500000");
    let quoted = quotes(&server, &request).await;
    let recorded = records(&server, request).await;
    let [voucher] = &recorded.issued_vouchers[..] else { panic!("{recorded:#?}") };
    assert_eq!((voucher.cause(), voucher.voucher_kind_id.as_str()), (Cause::Promotion, "tea"));
    let quoted: Vec<_> = quoted.issued_vouchers.iter().map(|it| (it.code.as_str(), it.cause())).collect();
    assert_eq!(quoted, [("", Cause::Promotion)]);
    let awards = &recorded.accrual.as_ref().expect("an accrual").awards;
    let award = awards.iter().find(|award| award.promotion_id == "gift").expect("an award");
    assert_eq!((award.voucher_kind_id.as_str(), award.points, award.rate.as_str()), ("tea", 0, "voucher tea"));
    let said = explained(&server, &member, recorded.entry_sequence + 1).await;
    assert!(said.contains("was issued by a promotion: A tea.") && said.contains("by promotion gift"), "{said}");
    let server = rebuilt(server, book()).await;
    let request = v1::ReturnPurchaseRequest { amount: vnd("10000"), ..back("o-1", "r-1") };
    let answer = server.purchases().return_purchase(request).await.expect("a return").into_inner();
    let Some(Said::PurchaseReturned(returned)) = answer.entry.and_then(|entry| entry.kind) else { panic!("a return") };
    assert_eq!((returned.points, balance(&server, &member).await.available), (1, 49));
    let get = v1::GetVoucherRequest { program_id: PROGRAM.into(), code: voucher.code.clone() };
    let got = server.rewards().get_voucher(get).await.expect("it is known").into_inner().voucher.expect("a voucher");
    assert_eq!(got.state(), v1::voucher::State::Cancelled);
    server.stop().await;
}

#[tokio::test]
async fn a_card_that_is_merged_brings_along_what_promotions_gave_it() {
    let mut program = book();
    let times = v1::PromotionTimes { times: 1, period: v1::Period::Lifetime.into() };
    program.promotions[0].limits = Some(v1::PromotionLimits { times: Some(times), ..Default::default() });
    program.promotions[0].first_purchase = false;
    let server = start_with(program.clone()).await;
    let (gone, stays) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let by_app = |member: &str, order: &str| {
        let mut request = sale(member, order, "10000");
        request.purchase.as_mut().expect("a purchase").channel = "app".into();
        request
    };
    let first = records(&server, by_app(&gone, "o-1")).await;
    assert_eq!(told(first.accrual.as_ref()), one("app-hello", 100, LimitKind::Unspecified));
    let merge = v1::MergeMembersRequest {
        request_id: "m-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&gone),
        into: by_id(&stays),
        reason: "one customer".into(),
        actor: actor(),
    };
    server.members().merge_members(merge).await.expect("they are one");
    let server = rebuilt(server, program).await;
    let second = records(&server, by_app(&stays, "o-2")).await;
    assert_eq!(told(second.accrual.as_ref()), one("app-hello", 0, LimitKind::Times));
    // What the other card bought can come back, and leaves room.
    let request = v1::ReturnPurchaseRequest { whole_purchase: true, ..back("o-1", "r-1") };
    server.purchases().return_purchase(request).await.expect("a return");
    let third = records(&server, by_app(&stays, "o-3")).await;
    assert_eq!(told(third.accrual.as_ref()), one("app-hello", 100, LimitKind::Unspecified));
    server.stop().await;
}

const LEDGER_BOOK: &str = r#"
programId: shop
displayName: Shop
currencyCode: USD
timeZone: America/New_York
rounding: {mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP}
accrualRules: [{ruleId: base, perAmount: {amount: "1", points: "1"}}]
promotions:
  - {promotionId: budget, multiply: {multiplier: "2"}, limits: {budgetPoints: "2500"}}
  - {promotionId: day, addFixed: {points: "3"}, limits: {dailyCapPoints: "1000"}}
"#;

const TASKS: usize = 1_000;

fn accrual(entries: &[Entry]) -> &Accrual {
    let found = entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::PurchaseAccrued(accrued) => Some(&accrued.accrual),
        _ => None,
    });
    found.expect("a purchase accrues")
}

fn points_of(accrual: &Accrual, promotion: &str) -> i64 {
    accrual.promotions.iter().filter(|award| award.promotion.as_str() == promotion).map(|award| award.points.0).sum()
}

/// Each of many tasks buys for so many dollars, for one of the members; what promotions gave: out of the budget, and of the day.
async fn race(shop: &Shop, members: &[MemberId], round: &str) -> Vec<(i64, i64)> {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (ledger, member) = (shop.ledger.clone(), members[task % members.len()]);
            let order = format!("{round}-{task}");
            let purchase = ledger::purchase(&order, 1 + (task % 7) as i64);
            let submission = shop.submission(MemberTarget::Id(member), &order, Command::RecordPurchase(Arc::new(purchase)));
            tokio::spawn(async move { ledger.submit(submission).await })
        })
        .collect();
    let mut given = Vec::new();
    for task in tasks {
        let outcome = task.await.expect("it ends").expect("a purchase is recorded");
        let accrual = accrual(&outcome.entries);
        given.push((points_of(accrual, "budget"), points_of(accrual, "day")));
    }
    given
}

fn sums(given: &[(i64, i64)]) -> (i64, i64) {
    (given.iter().map(|(budget, _)| budget).sum(), given.iter().map(|(_, day)| day).sum())
}

/// What the store says that the budget has given.
fn given_in(folder: &Path) -> i64 {
    let store = EmbeddedStore::open(folder, options()).expect("the store opens");
    let program = ledger::key(MemberId([0; 16])).program;
    let key = (RuleId::new("budget").expect("an id"), None);
    store.promotion_tally(&program, &key).expect("a tally is read").map_or(0, |tally| tally.points.0)
}

fn order(id: &str) -> OrderKey {
    OrderKey { store: StoreId::new("s1").expect("an id"), order: OrderId::new(id).expect("an id") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_buy_at_once_get_the_last_points_of_a_budget_and_not_one_more() {
    let mut shop = Shop::open_with(LEDGER_BOOK).await;
    let mut members = Vec::new();
    for number in 0..20 {
        members.push(shop.enroll(&format!("m-{number}")).await);
    }
    let given = race(&shop, &members, "one").await;
    assert_eq!(sums(&given), (2_500, 1_000), "as much as there is, though more is asked for");
    assert!(given.iter().filter(|(_, day)| *day > 0 && *day < 3).count() <= 1, "one of them has what was left of it");
    // Goods come back while others buy: what is free again goes to somebody, and no more than that.
    let returning = async {
        let mut free = (0, 0);
        for (number, given) in given.iter().enumerate().take(40) {
            let order = order(&format!("one-{number}"));
            let (lines, amount, reason, reference) = (Vec::new(), Decimal::ZERO, String::new(), String::new());
            let request = ReturnRequest { order: order.clone(), lines, amount, whole: true, reason, reference, exchange: None };
            let command = Command::ReturnPurchase(Arc::new(request));
            let submission = shop.submission(MemberTarget::Order(order), &format!("back-{number}"), command);
            shop.ledger.submit(submission).await.expect("a return");
            free = (free.0 + given.0, free.1 + given.1);
        }
        free
    };
    let (free, again) = tokio::join!(returning, race(&shop, &members, "two"));
    let again = sums(&again);
    assert!(again.0 <= free.0 && again.1 <= free.1, "{again:?} of {free:?}");
    for _ in 0..2 {
        shop.ledger.close().expect("it closes");
        let Shop { ledger, clock, folder } = shop;
        drop(ledger);
        assert!(check(folder.path(), &options()).expect("the store can be checked").is_sound());
        assert_eq!(given_in(folder.path()), 2_500 - free.0 + again.0);
        fs::remove_dir_all(folder.path().join("tables")).expect("the tables are removed");
        shop = Shop { ledger: ledger::open(&folder, &clock), clock, folder };
    }
    // The rest of it, to the last point.
    let rest = sums(&race(&shop, &members, "three").await);
    assert_eq!(rest, (free.0 - again.0, free.1 - again.1));
}

#[tokio::test]
async fn what_a_budget_has_given_is_the_same_after_a_kill_and_in_a_restored_backup() {
    let shop = Shop::open_with(LEDGER_BOOK).await;
    let member = shop.enroll("m-1").await;
    let buy = |order: &str, dollars| {
        let command = Command::RecordPurchase(Arc::new(ledger::purchase(order, dollars)));
        shop.submission(MemberTarget::Id(member), order, command)
    };
    for number in 0..7 {
        shop.ledger.submit(buy(&format!("o-{number}"), 300)).await.expect("a purchase");
    }
    let others = tempfile::tempdir().expect("a temporary folder");
    let (killed, backup, restored) = (others.path().join("killed"), others.path().join("backup"), others.path().join("restored"));
    // As a kill leaves it: nothing was written out in order.
    copy_folder(shop.folder.path(), &killed);
    let mut writer = Backup::open(&backup, None, true).expect("a backup is begun");
    let mut source = shop.ledger.backup(writer.held().clone()).expect("a backup is read");
    while let Some(part) = source.next().expect("a part") {
        writer.store(part).expect("it is stored");
    }
    let place = BackupPlace { folder: &backup, keys: None, operator_key: None };
    restore(&place, &restored, Until::End).expect("it is restored");
    for folder in [killed, restored] {
        assert_eq!(given_in(&folder), 2_100, "{}", folder.display());
        let store = EmbeddedStore::open(&folder, options()).expect("the store opens");
        let ledger = Ledger::open(Arc::new(store), Arc::clone(&shop.clock) as _).expect("the ledger opens");
        let outcome = ledger.submit(buy("more", 900)).await.expect("a purchase");
        assert_eq!(points_of(accrual(&outcome.entries), "budget"), 400, "it goes on from there");
        ledger.close().expect("it closes");
        drop(ledger);
        assert!(check(&folder, &options()).expect("the store can be checked").is_sound());
    }
}

/// Of the days of March and April, those of which the store knows what was given, with the points.
fn days_in(folder: &Path) -> Vec<(String, i64)> {
    let store = EmbeddedStore::open(folder, options()).expect("the store opens");
    let program = ledger::key(MemberId([0; 16])).program;
    let days = (3..5).flat_map(|month| (1..31).map(move |day| Date::constant(2026, month, day)));
    let tally = |day: Date| {
        let key = (RuleId::new("day").expect("an id"), Some(day));
        let tally = store.promotion_tally(&program, &key).expect("a tally is read")?;
        Some((day.strftime("%m-%d").to_string(), tally.points.0))
    };
    days.filter_map(tally).collect()
}

#[tokio::test]
async fn what_a_day_has_given_is_known_as_long_as_a_sale_of_it_can_come_and_no_longer() {
    let mut shop = Shop::open_with(LEDGER_BOOK).await;
    let member = shop.enroll("m-1").await;
    let start = shop.clock.now();
    let day = |day: &str, points: i64| (day.to_owned(), points);
    // Today and yesterday; and thirty days later, the oldest that may be told is one of today.
    for (order, days, ago, expected) in [
        ("o-1", 0, 0, vec![day("03-10", 3)]),
        ("o-2", 0, 24, vec![day("03-09", 3), day("03-10", 3)]),
        ("o-3", 30, 0, vec![day("03-09", 3), day("03-10", 3), day("04-09", 3)]),
        ("o-4", 30, 30 * 24, vec![day("03-09", 3), day("03-10", 6), day("04-09", 3)]),
        ("o-5", 31, 0, vec![day("03-10", 6), day("04-09", 3), day("04-10", 3)]),
        // Another sale of the same day looks for nothing.
        ("o-6", 31, 0, vec![day("03-10", 6), day("04-09", 3), day("04-10", 6)]),
        ("o-7", 32, 0, vec![day("04-09", 3), day("04-10", 6), day("04-11", 3)]),
    ] {
        let now = start + (days * 24).hours();
        shop.clock.set(now);
        let occurred_time = (ago > 0).then(|| now - ago.hours());
        let purchase = Purchase { occurred_time, ..ledger::purchase(order, 10) };
        let command = Command::RecordPurchase(Arc::new(purchase));
        shop.ledger.submit(shop.submission(MemberTarget::Id(member), order, command)).await.expect("a purchase");
        shop = known(shop, &expected, order);
    }
    // What comes back of a day that is forgotten makes no row of it again, and of one that is not it is free.
    for (order, expected) in
        [("o-1", [day("04-09", 3), day("04-10", 6), day("04-11", 3)]), ("o-3", [day("04-09", 0), day("04-10", 6), day("04-11", 3)])]
    {
        let (lines, amount, reason, reference) = (Vec::new(), Decimal::ZERO, String::new(), String::new());
        let order_key = self::order(order);
        let request = ReturnRequest { order: order_key.clone(), lines, amount, whole: true, reason, reference, exchange: None };
        let command = Command::ReturnPurchase(Arc::new(request));
        let submission = shop.submission(MemberTarget::Order(order_key), &format!("back-{order}"), command);
        shop.ledger.submit(submission).await.expect("a return");
        shop = known(shop, &expected, order);
    }
    assert_eq!(given_in_closed(shop), 50, "the budget has given for the five that stay");
}

/// The tables know so much of days, and tables that are made again do.
fn known(shop: Shop, expected: &[(String, i64)], after: &str) -> Shop {
    shop.ledger.close().expect("it closes");
    let Shop { ledger, clock, folder } = shop;
    drop(ledger);
    assert_eq!(days_in(folder.path()), expected, "after {after}");
    assert!(check(folder.path(), &options()).expect("the store can be checked").is_sound());
    fs::remove_dir_all(folder.path().join("tables")).expect("the tables are removed");
    assert_eq!(days_in(folder.path()), expected, "made again after {after}");
    Shop { ledger: ledger::open(&folder, &clock), clock, folder }
}

fn given_in_closed(shop: Shop) -> i64 {
    shop.ledger.close().expect("it closes");
    let Shop { ledger, folder, .. } = shop;
    drop(ledger);
    given_in(folder.path())
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for item in fs::read_dir(from).expect("a folder is listed") {
        let path = item.expect("an item").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => _ = fs::copy(&path, &target).expect("a copy"),
        }
    }
}

#[test]
fn a_quote_says_what_is_booked_for_any_basket_and_any_promotions() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let baskets = proptest::collection::vec(any_purchase(), 1..6);
    let mut runner = TestRunner::new(cases(40));
    let outcome = runner.run(&(any_promotions(), baskets), |(promotions, baskets)| {
        runtime.block_on(async {
            let kinds = "voucher_kinds: [{ voucher_kind_id: mug, benefit: { custom: { key: mug } }, valid_days: 30 }]\n";
            let groups = "promotion_groups: [{ group_id: one, combination: COMBINATION_EXCLUSIVE }, { group_id: best, combination: COMBINATION_BEST }]\n";
            let head = LEDGER_BOOK.split("promotions:").next().expect("the head");
            let shop = Shop::open_with(&format!("{head}{kinds}{groups}{promotions}")).await;
            let member = shop.enroll("m-1").await;
            for (number, basket) in baskets.into_iter().enumerate() {
                let id = format!("o-{number}");
                let purchase = Arc::new(Purchase { order: Some(order(&id)), ..basket });
                let (program, target) = (ledger::key(member).program, MemberTarget::Id(member));
                let quoted = shop.ledger.quote(&program, &target, Arc::clone(&purchase)).expect("a quote");
                let recorded = shop.ledger.submit(shop.submission(target, &id, Command::RecordPurchase(purchase))).await;
                let recorded = recorded.expect("a purchase");
                prop_assert_eq!(accrual(&quoted.decision.entries), accrual(&recorded.entries));
                let issued = |entries: &[Entry]| entries.iter().filter(|entry| entry.voucher_change().is_some()).count();
                prop_assert_eq!(issued(&quoted.decision.entries), issued(&recorded.entries));
                let after = shop.ledger.member(&ledger::key(member)).expect("a member").header.balance;
                prop_assert_eq!(&quoted.decision.member.header.balance, &after);
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
