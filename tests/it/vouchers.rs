//! Vouchers: issued by hand, shown at the till, used once, and never lost.

use std::sync::Arc;

use jiff::ToSpan;
use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{self, entry::Kind as Said, voucher::State, voucher_released::Cause},
    },
    ledger::{Clock as _, ManualClock},
    store::embedded::check,
};
use tonic::{Code, Response, Status};

use crate::{
    redemption::{assert_refused, explained},
    support::{PROGRAM, Refused, TestServer, actor, by_id, line, noon, options, refused, rule_book, sale, vnd},
};

/// 50,000 off 100,000 or more for a week; a tenth off, 20,000 at most, for two months from the day after tomorrow; a tea; free shipping; a mug;
/// and free shipping today.
const KINDS: &str = r#"
voucher_kinds:
  - voucher_kind_id: fifty
    display_name: 50,000 off
    benefit: { amount_off: { amount: "50000" } }
    minimum_order: "100000"
    valid_days: 7
  - { voucher_kind_id: tenth, benefit: { percent_off: { percent: "10", maximum_amount: "20000" } }, after_days: 2, valid_months: 2 }
  - { voucher_kind_id: tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }
  - { voucher_kind_id: post, benefit: { free_shipping: {} }, valid_days: 30 }
  - { voucher_kind_id: mug, benefit: { custom: { key: mug, text: A mug of your choice } }, valid_days: 30 }
  - { voucher_kind_id: today, benefit: { free_shipping: {} }, valid_days: 0 }
"#;

fn book() -> v1::Program {
    v1::Program { voucher_kinds: text::read(KINDS).expect("well-formed kinds").voucher_kinds, ..rule_book() }
}

async fn start() -> TestServer {
    let clock = Arc::new(ManualClock::new(noon()));
    TestServer::start_in(tempfile::tempdir().expect("a temporary folder"), clock, vec![book()]).await
}

fn issue(member: &str, request: &str, kind: &str) -> v1::IssueVoucherRequest {
    v1::IssueVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        voucher_kind_id: kind.into(),
        reason: "the soup was cold".into(),
        actor: actor(),
    }
}

async fn issued(server: &TestServer, member: &str, request: &str, kind: &str) -> v1::Voucher {
    let answer = server.rewards().issue_voucher(issue(member, request, kind)).await.expect("it is issued");
    answer.into_inner().voucher.expect("a voucher")
}

/// All at once.
pub async fn issue_many(server: &TestServer, member: &str, kind: &str, count: usize) {
    let issue_one = |n: usize| {
        let (mut desk, request) = (server.rewards(), issue(member, &format!("issue-many-{n}"), kind));
        async move { desk.issue_voucher(request).await }
    };
    for answer in futures_of((0..count).map(issue_one)).await {
        answer.expect("it is issued");
    }
}

fn named(code: &str) -> v1::GetVoucherRequest {
    v1::GetVoucherRequest { program_id: PROGRAM.into(), code: code.into() }
}

async fn get(server: &TestServer, code: &str) -> v1::GetVoucherResponse {
    server.rewards().get_voucher(named(code)).await.expect("there is one").into_inner()
}

async fn state(server: &TestServer, code: &str) -> (State, String) {
    let answer = get(server, code).await;
    assert_eq!(answer.usable, answer.unusable_reason.is_empty());
    (answer.voucher.expect("a voucher").state(), answer.unusable_reason)
}

async fn live(server: &TestServer, member: &str) -> Vec<v1::Voucher> {
    let (mut vouchers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            v1::ListVouchersRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 2, page_token, states: vec![] };
        let page = server.rewards().list_vouchers(request).await.expect("vouchers are listed").into_inner();
        vouchers.extend(page.vouchers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return vouchers;
        }
    }
}

fn use_up(code: &str, request: &str, order: &str) -> v1::UseVoucherRequest {
    v1::UseVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        store_id: if order.is_empty() { String::new() } else { "web".into() },
        order_id: order.into(),
        order_total: vnd("120000"),
        value: None,
        actor: None,
    }
}

fn hold(code: &str, request: &str, order: &str, seconds: i64) -> v1::HoldVoucherRequest {
    v1::HoldVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        store_id: "web".into(),
        order_id: order.into(),
        duration: (seconds != 0).then_some(prost_types::Duration { seconds, nanos: 0 }),
        actor: None,
    }
}

fn release(code: &str, request: &str) -> v1::ReleaseVoucherRequest {
    v1::ReleaseVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        reason: "cart emptied".into(),
        actor: None,
    }
}

fn cancel(code: &str, request: &str) -> v1::CancelVoucherRequest {
    v1::CancelVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        reason: "given by mistake".into(),
        actor: actor(),
    }
}

/// A sale that is paid with vouchers.
fn sale_with(member: &str, order: &str, amount: &str, codes: &[&str]) -> v1::RecordPurchaseRequest {
    let mut sale = sale(member, order, amount);
    let purchase = sale.purchase.as_mut().expect("a purchase");
    purchase.voucher_codes = codes.iter().map(|code| (*code).to_owned()).collect();
    sale
}

async fn record(server: &TestServer, request: v1::RecordPurchaseRequest) -> Result<v1::RecordPurchaseResponse, Status> {
    server.purchases().record_purchase(request).await.map(Response::into_inner)
}

fn return_all(request: &str, order: &str) -> v1::ReturnPurchaseRequest {
    v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        whole_purchase: true,
        ..Default::default()
    }
}

/// Nothing in the store contradicts the ledger.
async fn end(server: TestServer) {
    let (folder, _) = server.end().await;
    let report = check(&folder.path().join("data"), &options()).expect("the store can be checked");
    assert!(report.is_sound(), "{report:#?}");
}

#[tokio::test]
async fn support_gives_a_voucher_and_the_till_takes_it_once() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let first = server.rewards().issue_voucher(issue(&member, "v-1", "fifty")).await.unwrap().into_inner();
    let voucher = first.voucher.clone().unwrap();
    assert_eq!((voucher.state(), voucher.member_id.as_str(), voucher.minimum_order.clone()), (State::Usable, &*member, vnd("100000")));
    // From midnight of 10 March through 17 March, in Ho Chi Minh City.
    let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().map(|time| time.seconds);
    let midnight = noon().as_second() - 12 * 3_600;
    assert_eq!((seconds(&voucher.valid_from_time), seconds(&voucher.expire_time)), (Some(midnight), Some(midnight + 8 * 86_400)));
    assert_eq!(server.rewards().issue_voucher(issue(&member, "v-1", "fifty")).await.unwrap().into_inner(), first);
    assert_eq!(live(&server, &member).await, std::slice::from_ref(&voucher));

    let spoken = voucher.code.to_lowercase().replace('-', " ");
    assert_eq!(get(&server, &spoken).await.voucher, Some(voucher.clone()));
    let mut typo = voucher.code.clone().into_bytes();
    typo[0] = if typo[0] == b'7' { b'8' } else { b'7' };
    let typo = String::from_utf8(typo).unwrap();
    let status = server.rewards().get_voucher(named(&typo)).await.unwrap_err();
    assert_eq!(refused(&status), Refused { code: Code::InvalidArgument, reason: "INVALID_FIELD".into(), fields: vec!["code".into()] });
    assert!(!status.message().contains(&typo), "{status:?}");

    let bought = record(&server, sale_with(&member, "o-1", "120000", &[&spoken])).await.unwrap();
    let used = &bought.vouchers[0];
    assert_eq!((used.code.as_str(), used.value.clone(), used.entry_sequence), (&*voucher.code, vnd("50000"), 3));
    assert_eq!(record(&server, sale_with(&member, "o-1", "120000", &[&spoken])).await.unwrap(), bought);
    let again = record(&server, sale_with(&member, "o-2", "120000", &[&voucher.code])).await.unwrap_err();
    let told = [("store_id", "hcm-1"), ("order_id", "o-1"), ("member_id", member.as_str()), ("entry_sequence", "3")];
    assert_refused(&again, Code::FailedPrecondition, "VOUCHER_USED", &told);
    assert_eq!(state(&server, &voucher.code).await, (State::Used, "VOUCHER_USED".into()));
    assert!(live(&server, &member).await.is_empty());
    for (sequence, part) in
        [(2, "50,000 off"), (2, "until the end of 2026-03-17"), (3, "was used for order o-1 of store hcm-1"), (3, "50000 VND")]
    {
        let text = explained(&server, &member, sequence).await;
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    end(server).await;
}

#[tokio::test]
async fn a_voucher_may_be_for_the_day_of_its_issue_alone() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let voucher = issued(&server, &member, "v-1", "today").await;
    // The next midnight in Ho Chi Minh City.
    let midnight = noon() + 12.hours();
    assert_eq!(voucher.expire_time.map(|time| time.seconds), Some(midnight.as_second()));
    server.clock.set(midnight - 1.seconds());
    assert_eq!(state(&server, &voucher.code).await, (State::Usable, String::new()));
    server.clock.set(midnight);
    assert_eq!(state(&server, &voucher.code).await, (State::Expired, "VOUCHER_EXPIRED".into()));
    end(server).await;
}

#[tokio::test]
async fn a_quote_says_what_each_voucher_is_worth_and_uses_none() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    server.clock.set(noon() - 3.hours() * 24);
    let mut codes = Vec::new();
    for (request, kind) in [("v-1", "tenth"), ("v-2", "tea"), ("v-3", "post"), ("v-4", "mug"), ("v-5", "fifty")] {
        codes.push(issued(&server, &member, request, kind).await.code);
    }
    server.clock.set(noon());
    let mut sale = sale_with(&member, "o-1", "0", &codes.iter().map(String::as_str).collect::<Vec<_>>());
    let purchase = sale.purchase.as_mut().unwrap();
    // Three teas for 45,000, rice for 90,000 less 10,000, and the post for 30,000.
    purchase.lines = vec![
        v1::PurchaseLine { quantity: "3".into(), ..line("tea", "45000") },
        v1::PurchaseLine { discount: vnd("10000"), ..line("rice", "90000") },
    ];
    purchase.shipping = vnd("30000");
    purchase.order_discount = vnd("77500");
    purchase.total = vnd("77500");
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(&member), purchase: sale.purchase.clone() };
    let worth = |vouchers: &[v1::UsedVoucher]| vouchers.iter().map(|used| used.value.clone().unwrap().amount).collect::<Vec<_>>();
    let quoted = server.purchases().quote_purchase(quote).await.unwrap().into_inner();
    assert_eq!(worth(&quoted.vouchers), ["12500", "15000", "30000", "0", "50000"]);
    assert_eq!(live(&server, &member).await.len(), 5);
    let bought = record(&server, sale).await.unwrap();
    assert_eq!(worth(&bought.vouchers), worth(&quoted.vouchers));
    assert_eq!(bought.accrual.map(|accrual| accrual.points), quoted.accrual.map(|accrual| accrual.points));
    assert!(live(&server, &member).await.is_empty());
    end(server).await;
}

#[tokio::test]
async fn a_voucher_is_good_for_its_member_its_days_and_its_minimum_order() {
    let server = start().await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let (fifty, tenth) = (issued(&server, &an, "v-1", "fifty").await.code, issued(&server, &an, "v-2", "tenth").await.code);
    let tea = issued(&server, &an, "v-3", "tea").await.code;
    let precondition = Code::FailedPrecondition;
    let other = record(&server, sale_with(&binh, "o-1", "120000", &[&fifty])).await.unwrap_err();
    assert_refused(&other, precondition, "VOUCHER_OF_OTHER_MEMBER", &[]);
    let little = record(&server, sale_with(&an, "o-1", "99999", &[&fifty])).await.unwrap_err();
    assert_refused(&little, precondition, "VOUCHER_BELOW_MINIMUM_ORDER", &[("minimum", "100000"), ("goods", "99999")]);
    let early = record(&server, sale_with(&an, "o-1", "99999", &[&tenth])).await.unwrap_err();
    assert_refused(&early, precondition, "VOUCHER_NOT_YET_VALID", &[("valid_from_time", "2026-03-11T17:00:00Z")]);
    assert_eq!(state(&server, &tenth).await, (State::NotYetValid, "VOUCHER_NOT_YET_VALID".into()));
    let without = record(&server, sale_with(&an, "o-1", "99999", &[&tea])).await.unwrap_err();
    assert_refused(&without, precondition, "VOUCHER_ITEM_MISSING", &[("sku", "tea")]);
    // The last second of its last day, and the first after it.
    server.clock.set(noon() + (7 * 24 + 12).hours() - 1.second());
    assert_eq!(state(&server, &fifty).await, (State::Usable, String::new()));
    server.clock.set(noon() + (7 * 24 + 12).hours());
    assert_eq!(state(&server, &fifty).await, (State::Expired, "VOUCHER_EXPIRED".into()));
    assert_eq!(live(&server, &an).await.len(), 2);
    // Whether or not that is entered yet, a quote says what a sale does.
    let v1::RecordPurchaseRequest { program_id, member, purchase, .. } = sale_with(&an, "o-1", "120000", &[&fifty]);
    let quoted = server.purchases().quote_purchase(v1::QuotePurchaseRequest { program_id, member, purchase }).await.unwrap_err();
    assert_refused(&quoted, precondition, "VOUCHER_EXPIRED", &[("expire_time", "2026-03-17T17:00:00Z")]);
    let late = record(&server, sale_with(&an, "o-1", "120000", &[&fifty])).await.unwrap_err();
    assert_refused(&late, precondition, "VOUCHER_EXPIRED", &[("expire_time", "2026-03-17T17:00:00Z")]);
    // A sale of yesterday that is told today revives nothing.
    let mut yesterday = sale_with(&an, "o-1", "120000", &[&fifty]);
    let occurred = prost_types::Timestamp { seconds: (noon() + 48.hours()).as_second(), nanos: 0 };
    yesterday.purchase.as_mut().unwrap().occurred_time = Some(occurred);
    assert_refused(&record(&server, yesterday).await.unwrap_err(), precondition, "VOUCHER_EXPIRED", &[]);
    // Nothing of what was refused was used.
    let worth = record(&server, sale_with(&an, "o-1", "500000", &[&tenth])).await.unwrap().vouchers.remove(0).value;
    assert_eq!(worth, vnd("20000"), "10 % is 50,000, and 20,000 the most");
    end(server).await;
}

#[tokio::test]
async fn a_voucher_is_held_for_an_order_and_used_for_that_alone() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "fifty").await.code;
    let mut desk = server.rewards();
    let held = desk.hold_voucher(hold(&code, "h-1", "cart-1", 0)).await.unwrap().into_inner();
    assert_eq!(desk.hold_voucher(hold(&code, "h-1", "cart-1", 0)).await.unwrap().into_inner(), held);
    let shown = get(&server, &code).await;
    assert_eq!((shown.usable, shown.voucher.as_ref().unwrap().state()), (true, State::Held));
    assert_eq!(shown.voucher.unwrap().hold.unwrap().order_id, "cart-1");
    let precondition = Code::FailedPrecondition;
    let until = [("until", "2026-03-10T05:15:00Z")];
    assert_refused(&desk.hold_voucher(hold(&code, "h-2", "cart-2", 0)).await.unwrap_err(), precondition, "VOUCHER_HELD", &until);
    assert_refused(&desk.use_voucher(use_up(&code, "u-1", "cart-2")).await.unwrap_err(), precondition, "VOUCHER_HELD", &until);
    let other = record(&server, sale_with(&member, "o-1", "120000", &[&code])).await.unwrap_err();
    assert_refused(&other, precondition, "VOUCHER_HELD", &until);
    let released = desk.release_voucher(release(&code, "r-1")).await.unwrap().into_inner();
    for request in ["r-1", "r-2"] {
        assert_eq!(desk.release_voucher(release(&code, request)).await.unwrap().into_inner(), released);
    }
    let long = desk.hold_voucher(hold(&code, "h-2", "cart-2", 86_401)).await.unwrap_err();
    assert_refused(&long, precondition, "HOLD_TOO_LONG", &[("seconds", "86401"), ("maximum_seconds", "86400")]);
    desk.hold_voucher(hold(&code, "h-3", "cart-3", 60)).await.unwrap();
    let used = desk.use_voucher(use_up(&code, "u-2", "cart-3")).await.unwrap().into_inner();
    assert_eq!((used.member_id.as_str(), used.entry.as_ref().unwrap().sequence), (&*member, 6));
    assert_eq!(desk.use_voucher(use_up(&code, "u-2", "cart-3")).await.unwrap().into_inner(), used);
    for refused in [
        desk.release_voucher(release(&code, "r-3")).await.unwrap_err(),
        desk.hold_voucher(hold(&code, "h-4", "cart-3", 60)).await.unwrap_err(),
        desk.cancel_voucher(cancel(&code, "c-1")).await.unwrap_err(),
    ] {
        assert_refused(&refused, precondition, "VOUCHER_USED", &[("order_id", "cart-3"), ("entry_sequence", "6")]);
    }
    let free = issued(&server, &member, "v-2", "mug").await.code;
    assert_refused(&desk.release_voucher(release(&free, "r-4")).await.unwrap_err(), precondition, "VOUCHER_NOT_HELD", &[]);
    end(server).await;
}

#[tokio::test]
async fn a_voucher_that_lapses_while_it_is_held_is_good_until_the_hold_ends() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let (one, two) = (issued(&server, &member, "v-1", "fifty").await.code, issued(&server, &member, "v-2", "fifty").await.code);
    let midnight = noon() + (7 * 24 + 12).hours();
    server.clock.set(midnight - 60.seconds());
    for (request, code) in [("h-1", &one), ("h-2", &two)] {
        server.rewards().hold_voucher(hold(code, request, request, 120)).await.unwrap();
    }
    server.clock.set(midnight + 59.seconds());
    assert_eq!(state(&server, &one).await, (State::Held, String::new()));
    server.rewards().use_voucher(use_up(&one, "u-1", "h-1")).await.unwrap();
    server.clock.set(midnight + 60.seconds());
    assert_eq!(state(&server, &two).await, (State::Expired, "VOUCHER_EXPIRED".into()));
    // Both at the instant at which the hold ended; a read had not written them, the next command does.
    server.rewards().issue_voucher(issue(&member, "v-3", "mug")).await.unwrap();
    let request = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 3, ..Default::default() };
    let entries = server.points().list_entries(request).await.unwrap().into_inner().entries;
    let Some(Said::VoucherReleased(released)) = &entries[2].kind else { panic!("{entries:?}") };
    assert_eq!((released.code.as_str(), released.cause()), (&*two, Cause::Expired));
    assert!(matches!(&entries[1].kind, Some(Said::VoucherExpired(lapsed)) if lapsed.code == two), "{entries:?}");
    let ended = (midnight + 60.seconds()).as_second();
    assert!(entries[1..].iter().all(|entry| entry.occurred_time.as_ref().unwrap().seconds == ended && entry.request_id.is_empty()));
    end(server).await;
}

#[tokio::test]
async fn a_sale_that_comes_back_as_a_whole_gives_its_vouchers_back() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "fifty").await.code;
    record(&server, sale_with(&member, "o-1", "120000", &[&code])).await.unwrap();
    // A part of it gives nothing back.
    let part = v1::ReturnPurchaseRequest { whole_purchase: false, amount: vnd("20000"), ..return_all("b-1", "o-1") };
    server.purchases().return_purchase(part).await.unwrap();
    assert_eq!(state(&server, &code).await.0, State::Used);
    server.purchases().return_purchase(return_all("b-2", "o-1")).await.unwrap();
    assert_eq!(state(&server, &code).await, (State::Usable, String::new()));
    // Used again for something else, it stays used when the first sale is void.
    record(&server, sale_with(&member, "o-2", "120000", &[&code])).await.unwrap();
    // Its days are over when the second one comes back: it lapses.
    server.days_later(10);
    server.purchases().return_purchase(return_all("b-3", "o-2")).await.unwrap();
    assert_eq!(state(&server, &code).await, (State::Expired, "VOUCHER_EXPIRED".into()));
    end(server).await;
}

#[tokio::test]
async fn a_voucher_that_comes_back_too_late_lapses_with_the_return_whatever_else_the_member_has() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "fifty").await.code;
    let other = issued(&server, &member, "v-2", "mug").await.code;
    record(&server, sale_with(&member, "o-1", "120000", &[&code])).await.unwrap();
    server.days_later(10);
    server.purchases().return_purchase(return_all("b-1", "o-1")).await.unwrap();
    let request = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 2, ..Default::default() };
    let entries = server.points().list_entries(request).await.unwrap().into_inner().entries;
    assert!(matches!(&entries[0].kind, Some(Said::VoucherExpired(lapsed)) if lapsed.code == code), "{entries:?}");
    assert!(matches!(&entries[1].kind, Some(Said::VoucherReleased(back)) if back.code == code), "{entries:?}");
    // Not before it came back.
    assert_eq!(entries[0].occurred_time, entries[1].occurred_time);
    assert_eq!(state(&server, &other).await.0, State::Usable);
    end(server).await;
}

#[tokio::test]
async fn a_voucher_that_is_gone_is_said_to_be_gone_however_long_it_is_to_be_held() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "mug").await.code;
    let too_long = 1_000_000;
    let refusal = server.rewards().hold_voucher(hold(&code, "h-1", "o-1", too_long)).await.unwrap_err();
    assert_refused(&refusal, Code::FailedPrecondition, "HOLD_TOO_LONG", &[]);
    server.rewards().use_voucher(use_up(&code, "u-1", "o-2")).await.unwrap();
    let refusal = server.rewards().hold_voucher(hold(&code, "h-2", "o-1", too_long)).await.unwrap_err();
    assert_refused(&refusal, Code::FailedPrecondition, "VOUCHER_USED", &[]);
    end(server).await;
}

#[tokio::test]
async fn a_voucher_that_lapses_is_no_hold_of_points_that_ends() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    issued(&server, &member, "v-1", "fifty").await;
    server.days_later(10);
    // The number of the entry that issued the voucher, which lapses with this very command.
    let release = v1::ReleaseHoldRequest {
        request_id: "r-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        hold_id: "2".into(),
        reason: "changed their mind".into(),
        actor: None,
    };
    let refusal = server.points().release_hold(release).await.unwrap_err();
    assert_eq!(refused(&refusal).reason, "HOLD_NOT_FOUND", "{refusal:?}");
    end(server).await;
}

#[tokio::test]
async fn support_cancels_a_voucher() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "mug").await.code;
    server.rewards().hold_voucher(hold(&code, "h-1", "cart-1", 0)).await.unwrap();
    let cancelled = server.rewards().cancel_voucher(cancel(&code, "c-1")).await.unwrap().into_inner();
    assert_eq!(server.rewards().cancel_voucher(cancel(&code, "c-1")).await.unwrap().into_inner(), cancelled);
    let entry = cancelled.entry.unwrap();
    assert_eq!(entry.actor, actor());
    assert!(explained(&server, &member, entry.sequence).await.contains("was cancelled. Reason: given by mistake"));
    assert_eq!(state(&server, &code).await, (State::Cancelled, "VOUCHER_CANCELLED".into()));
    let late = server.rewards().use_voucher(use_up(&code, "u-1", "cart-1")).await.unwrap_err();
    assert_refused(&late, Code::FailedPrecondition, "VOUCHER_CANCELLED", &[("entry_sequence", &entry.sequence.to_string())]);
    end(server).await;
}

#[tokio::test]
async fn of_two_tills_one_wins() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "fifty").await.code;
    let tills = (0..10).map(|till| record(&server, sale_with(&member, &format!("o-{till}"), "120000", &[&code])));
    let answers = futures_of(tills).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 9));
    for status in lost.into_iter().map(Result::unwrap_err) {
        assert_eq!(refused(&status).reason, "VOUCHER_USED");
    }
    end(server).await;
}

/// All at once.
async fn futures_of<F: std::future::Future + Send>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut waits = false;
        for (future, done) in &mut pending {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        match waits {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(pending.iter_mut().filter_map(|(_, done)| done.take()).collect()),
        }
    })
    .await
}

#[tokio::test]
async fn members_who_are_suspended_erased_or_merged_keep_no_voucher_for_others() {
    let server = start().await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let code = issued(&server, &an, "v-1", "mug").await.code;
    let held = issued(&server, &an, "v-2", "mug").await.code;
    server.rewards().hold_voucher(hold(&held, "h-1", "cart-1", 600)).await.unwrap();
    let suspend = v1::SuspendMemberRequest {
        request_id: "s-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        reason: "looks odd".into(),
        actor: actor(),
    };
    server.members().suspend_member(suspend).await.unwrap();
    assert_eq!(state(&server, &code).await, (State::Usable, "MEMBER_SUSPENDED".into()));
    let status = server.rewards().use_voucher(use_up(&code, "u-1", "")).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, "MEMBER_SUSPENDED", &[]);
    let reactivate = v1::ReactivateMemberRequest {
        request_id: "s-2".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        reason: "it was not".into(),
        actor: actor(),
    };
    server.members().reactivate_member(reactivate).await.unwrap();

    let merge = v1::MergeMembersRequest {
        request_id: "m-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        into: by_id(&binh),
        reason: "one customer".into(),
        actor: actor(),
    };
    server.members().merge_members(merge).await.unwrap();
    assert_eq!(live(&server, &binh).await.len(), 2);
    assert_eq!(get(&server, &code).await.voucher.unwrap().member_id, binh);
    server.rewards().use_voucher(use_up(&held, "u-2", "cart-1")).await.unwrap();
    record(&server, sale_with(&binh, "o-1", "120000", &[&code])).await.unwrap();
    server.purchases().return_purchase(return_all("b-1", "o-1")).await.unwrap();
    assert_eq!(state(&server, &code).await, (State::Usable, String::new()));

    let erase = v1::EraseMemberRequest {
        request_id: "e-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&binh),
        reason: "asked".into(),
        actor: actor(),
    };
    server.members().erase_member(erase).await.unwrap();
    assert_eq!(state(&server, &code).await.1, "MEMBER_ERASED");
    let status = server.rewards().use_voucher(use_up(&code, "u-3", "")).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, "MEMBER_ERASED", &[]);
    server.days_later(40);
    assert_eq!(state(&server, &code).await.0, State::Expired);
    end(server).await;
}

#[tokio::test]
async fn codes_differ_and_stay_the_same_over_a_restart() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let mut codes = Vec::new();
    for n in 0..20 {
        codes.push(issued(&server, &member, &format!("v-{n}"), "mug").await.code);
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 20);
    server.rewards().use_voucher(use_up(&codes[0], "u-1", "cart-1")).await.unwrap();
    let before: Vec<v1::Voucher> = live(&server, &member).await;
    let server = server.restart_with(book()).await;
    assert_eq!(live(&server, &member).await, before);
    assert_eq!(before.iter().map(|voucher| voucher.code.clone()).collect::<Vec<_>>(), codes[1..]);
    assert_eq!(state(&server, &codes[0]).await.0, State::Used);
    assert_eq!(server.clock.now(), noon());
    end(server).await;
}

#[tokio::test]
async fn a_member_has_a_thousand_live_vouchers_at_most() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    issue_many(&server, &member, "mug", 1_000).await;
    let status = server.rewards().issue_voucher(issue(&member, "v-x", "mug")).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, "VOUCHER_TOO_MANY", &[("limit", "1000")]);
    // All of them lapse in one go.
    server.days_later(31);
    server.rewards().issue_voucher(issue(&member, "v-x", "mug")).await.unwrap();
    assert_eq!(live(&server, &member).await.len(), 1);
    end(server).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_by_field() {
    let server = start().await;
    let member = server.enroll("c-1").await;
    let code = issued(&server, &member, "v-1", "mug").await.code;
    let mut sale = sale_with(&member, "o-1", "1000", &[&code, &code, "nonsense"]);
    let status = record(&server, sale.clone()).await.unwrap_err();
    assert_eq!(refused(&status).fields, ["purchase.voucher_codes[1]", "purchase.voucher_codes[2]"]);
    sale.purchase.as_mut().unwrap().voucher_codes = vec![code.clone(); 11];
    assert_eq!(refused(&record(&server, sale).await.unwrap_err()).fields, ["purchase.voucher_codes"]);
    let empty = v1::IssueVoucherRequest { voucher_kind_id: "No".into(), reason: String::new(), actor: None, ..issue(&member, "v-2", "") };
    let status = server.rewards().issue_voucher(empty).await.unwrap_err();
    assert_eq!(refused(&status).fields, ["voucher_kind_id", "reason", "actor"]);
    let status = server.rewards().hold_voucher(v1::HoldVoucherRequest { store_id: String::new(), ..hold("", "h-1", "", -1) }).await;
    assert_eq!(refused(&status.unwrap_err()).fields, ["code", "store_id", "order_id", "duration"]);
    let list = |states| v1::ListVouchersRequest { program_id: PROGRAM.into(), member: by_id(&member), states, ..Default::default() };
    let status = server.rewards().list_vouchers(list(vec![State::Usable.into(), State::Used.into(), 99])).await.unwrap_err();
    assert_eq!(refused(&status).fields, ["states[1]", "states[2]"]);
    let held = server.rewards().list_vouchers(list(vec![State::Held.into()])).await.unwrap().into_inner();
    assert!(held.vouchers.is_empty() && held.next_page_token.is_empty());
    end(server).await;
}

#[test]
fn mistakes_in_kinds_of_vouchers_are_named() {
    let kinds = r#"
voucher_kinds:
  - { voucher_kind_id: a, benefit: { amount_off: { amount: "0" } }, valid_days: 1 }
  - { voucher_kind_id: a, benefit: { percent_off: { percent: "101" } }, valid_months: 1 }
  - { voucher_kind_id: b, benefit: { free_item: {} }, valid_days: 1, valid_months: 1 }
  - { voucher_kind_id: c, minimum_order: "1.5", after_days: 3, valid_days: 2 }
  - { voucher_kind_id: d, benefit: { custom: { text: x } } }
"#;
    let document = v1::Program { voucher_kinds: text::read(kinds).expect("well-formed kinds").voucher_kinds, ..rule_book() };
    let mistakes = loyaltyd::contract::program::parse(&document, 1, noon()).expect_err("it is full of mistakes");
    let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    let expected = [
        "voucher_kinds[0].benefit.amount_off.amount",
        "voucher_kinds[1].benefit.percent_off.percent",
        "voucher_kinds[1].voucher_kind_id",
        "voucher_kinds[2].benefit.free_item.sku",
        "voucher_kinds[2]",
        "voucher_kinds[3].benefit",
        "voucher_kinds[3].minimum_order",
        "voucher_kinds[3].after_days",
        "voucher_kinds[4].benefit.custom.key",
        "voucher_kinds[4]",
    ];
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn two_who_have_more_than_a_thousand_vouchers_together_do_not_become_one() {
    let server = start().await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    issue_many(&server, &an, "mug", 999).await;
    let codes = [issued(&server, &binh, "b-1", "mug").await.code, issued(&server, &binh, "b-2", "mug").await.code];
    let merge = v1::MergeMembersRequest {
        request_id: "m-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        into: by_id(&binh),
        reason: "one customer".into(),
        actor: actor(),
    };
    let status = server.members().merge_members(merge.clone()).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, "VOUCHER_TOO_MANY", &[("limit", "1000")]);
    server.rewards().cancel_voucher(cancel(&codes[0], "x-1")).await.unwrap();
    server.members().merge_members(merge).await.unwrap();
    assert_eq!(live(&server, &binh).await.len(), 1_000);
    assert_eq!(server.member(&binh).await.live_vouchers, 1_000);
    end(server).await;
}
