//! Quotes as tills see them: what is to be paid and why, what more would earn, and a sale that is booked as it was quoted or not at all.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf};

use loyaltyd::contract::{
    rule_book as text,
    v1::{self, price_effect::Source},
};
use tonic::{Code, Response, Status};

use crate::{
    redemption::{assert_refused, explained, start_with},
    support::{PROGRAM, TestServer, actor, adjustment, by_id, line, purchase, refused, rule_book, sale, vnd},
};

const MORE: &str = r#"
voucher_kinds:
- { voucher_kind_id: fifty, display_name: "50,000 off", benefit: { amount_off: { amount: "50000" } }, minimum_order: "100000", valid_days: 7 }
- { voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }
promotions:
- { promotion_id: spring, code: spring, multiply: { multiplier: 2 }, limits: { budget_points: 30 } }
- { promotion_id: big, display_name: Big basket, filter: { minimum_order: "200000" }, add_fixed: { points: 7 } }
redemption: { points: "10", amount: "1000", minimum_points: "20" }
"#;

/// Gold has a tenth off and free shipping; a point is 10,000 VND.
fn book() -> v1::Program {
    let read = text::read(MORE).expect("well-formed fields");
    let mut book =
        v1::Program { voucher_kinds: read.voucher_kinds, promotions: read.promotions, redemption: read.redemption, ..rule_book() };
    book.tiers[2].benefits = Some(v1::TierBenefits { discount_percent: "10".into(), free_shipping: true, ..Default::default() });
    book
}

async fn gold(server: &TestServer, member: &str) {
    let set = v1::SetMemberTierRequest {
        request_id: format!("gold-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        tier_id: "gold".into(),
        reason: "a guest".into(),
        actor: actor(),
        last_date: None,
    };
    server.members().set_member_tier(set).await.expect("a tier");
}

async fn voucher(server: &TestServer, member: &str, kind: &str) -> String {
    let issue = v1::IssueVoucherRequest {
        request_id: format!("issue-{kind}-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        voucher_kind_id: kind.into(),
        reason: "the soup was cold".into(),
        actor: actor(),
    };
    server.rewards().issue_voucher(issue).await.expect("a voucher").into_inner().voucher.expect("a voucher").code
}

async fn quotes(server: &TestServer, request: &v1::RecordPurchaseRequest) -> v1::QuotePurchaseResponse {
    let v1::RecordPurchaseRequest { program_id, member, purchase, .. } = request.clone();
    let request = v1::QuotePurchaseRequest { program_id, member, purchase };
    server.purchases().quote_purchase(request).await.expect("it is quoted").into_inner()
}

/// The same with the id of what it is quoted as.
async fn as_quoted(server: &TestServer, request: v1::RecordPurchaseRequest) -> v1::RecordPurchaseRequest {
    let quote_id = quotes(server, &request).await.quote_id;
    v1::RecordPurchaseRequest { quote_id, ..request }
}

async fn record(server: &TestServer, request: v1::RecordPurchaseRequest) -> Result<v1::RecordPurchaseResponse, Status> {
    server.purchases().record_purchase(request).await.map(Response::into_inner)
}

/// Refused because these parts of the result are others; nothing is booked.
async fn assert_changed(server: &TestServer, request: v1::RecordPurchaseRequest, parts: &str) {
    let order = request.purchase.as_ref().expect("a purchase").order_id.clone();
    let status = record(server, request).await.expect_err("it would be another");
    assert_refused(&status, Code::FailedPrecondition, "QUOTE_CHANGED", &[("changed", parts)]);
    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: order };
    assert_eq!(server.purchases().get_purchase(get).await.expect_err("nothing was booked").code(), Code::NotFound);
}

fn effects(sale: v1::RecordPurchaseRequest) -> v1::RecordPurchaseRequest {
    let purchase = sale.purchase.map(|purchase| v1::Purchase { apply_price_effects: true, ..purchase });
    v1::RecordPurchaseRequest { purchase, ..sale }
}

fn with_code(sale: v1::RecordPurchaseRequest, code: &str) -> v1::RecordPurchaseRequest {
    let purchase = sale.purchase.map(|purchase| v1::Purchase { codes: vec![code.into()], ..purchase });
    v1::RecordPurchaseRequest { purchase, ..sale }
}

#[tokio::test]
async fn a_till_is_told_what_is_to_be_paid_and_why_and_that_is_booked() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    gold(&server, &member).await;
    server.points().adjust_points(adjustment(&member, "gift", 500)).await.expect("points");
    let (tea, fifty) = (voucher(&server, &member, "tea").await, voucher(&server, &member, "fifty").await);
    // Three teas, rice at a discount, and a gift card; a tenth off the order at the till.
    let card = v1::PurchaseLine { kind: v1::purchase_line::Kind::GiftCard.into(), ..line("card", "100000") };
    let lines = vec![
        v1::PurchaseLine { quantity: "3".into(), ..line("tea", "45000") },
        v1::PurchaseLine { discount: vnd("10000"), ..line("rice", "90000") },
        card,
    ];
    let basket = v1::Purchase {
        lines,
        order_discount: vnd("22500"),
        shipping: vnd("30000"),
        total: vnd("232500"),
        voucher_codes: vec![tea.clone(), fifty.clone()],
        apply_price_effects: true,
        ..purchase("o-1", "0")
    };
    let mut request = v1::RecordPurchaseRequest { purchase: Some(basket), ..sale(&member, "o-1", "0") };
    let quoted = quotes(&server, &request).await;
    let told = |effects: &[v1::PriceEffect]| {
        let lines = |effect: &v1::PriceEffect| effect.lines.iter().map(|line| line.amount.clone()).collect::<Vec<_>>().join("+");
        let one = |effect: &v1::PriceEffect| {
            (effect.source(), effect.amount.clone().expect("an amount").amount, effect.off_shipping, lines(effect))
        };
        effects.iter().map(one).collect::<Vec<_>>()
    };
    let expected = [
        (Source::TierDiscount, "11250".to_owned(), false, "4050+7200".to_owned()),
        (Source::TierFreeShipping, "30000".to_owned(), true, String::new()),
        (Source::Voucher, "12150".to_owned(), false, "12150".to_owned()),
        (Source::Voucher, "50000".to_owned(), false, "13636+36364".to_owned()),
    ];
    assert_eq!(told(&quoted.price_effects), expected);
    assert_eq!((quoted.price_effects[0].tier_id.as_str(), quoted.price_effects[0].discount_percent.as_str()), ("gold", "10"));
    assert_eq!((&quoted.price_effects[2].voucher_code, &quoted.price_effects[3].voucher_code), (&tea, &fifty));
    // What a receipt says of them: the tier's name, and of a voucher its own, beside its code.
    assert_eq!(quoted.price_effects.iter().map(|effect| effect.display_name.as_str()).collect::<Vec<_>>(), ["GOLD", "GOLD", "", ""]);
    let named = quoted.vouchers.iter().map(|used| (&used.code, used.display_name.as_str())).collect::<Vec<_>>();
    assert_eq!(named, [(&tea, "A tea"), (&fifty, "50,000 off")]);
    let priced = quoted.priced.clone().expect("prices");
    let prices: Vec<&str> = priced.lines.iter().map(|line| line.price.as_str()).collect();
    assert_eq!((prices, priced.total, priced.shipping), (vec!["10664", "28436", "90000"], vnd("129100"), vnd("0")));
    // 39,100 of goods are three points, half as many again for gold; 900 more are a fourth.
    let accrual = quoted.accrual.as_ref().expect("an accrual");
    assert_eq!((accrual.points, accrual.basis.clone()), (4, vnd("39100")));
    let hint = v1::Hint {
        spend: vnd("900"),
        points: 2,
        rule_ids: vec!["goods".into()],
        rule_display_names: vec!["1 point per 10,000".into()],
        ..Default::default()
    };
    assert_eq!(quoted.hints.first(), Some(&hint));
    let usable = quoted.usable_points.as_ref().expect("points are money");
    assert_eq!((usable.points, usable.value.clone(), usable.order_limit.clone()), (500, vnd("50000"), vnd("129100")));
    assert_eq!((usable.minimum_points, usable.step_points), (20, 1));
    // What the shelf said is not what is to be paid.
    let tender = |amount: &str| vec![v1::Tender { kind: v1::tender::Kind::Card.into(), amount: vnd(amount) }];
    request.purchase.as_mut().expect("a purchase").tenders = tender("232500");
    let status = record(&server, request.clone()).await.expect_err("it is too much");
    assert_refused(&status, Code::FailedPrecondition, "TENDERS_MISMATCH", &[("total", "129100"), ("tendered", "232500")]);
    request.purchase.as_mut().expect("a purchase").tenders = tender("129100");
    request.quote_id.clone_from(&quoted.quote_id);
    let booked = record(&server, request.clone()).await.expect("it is booked");
    assert_eq!((&booked.price_effects, &booked.priced), (&quoted.price_effects, &quoted.priced));
    assert_eq!(booked.balance, quoted.balance);
    assert_eq!(booked.vouchers.iter().map(|used| (&used.code, used.display_name.as_str())).collect::<Vec<_>>(), named);
    assert_eq!(record(&server, request).await.expect("the same again"), booked);
    let said = explained(&server, &member, booked.entry_sequence).await;
    for sentence in [
        "Tier gold takes 10 per cent off the goods: 11250 VND.".to_owned(),
        "Tier gold takes off shipping: 30000 VND.".to_owned(),
        format!("Voucher {fifty} takes off the goods: 50000 VND."),
    ] {
        assert!(said.contains(&sentence), "{sentence} in\n{said}");
    }
    // What is kept is what was paid: a line that comes back is worth that.
    let server = server.restart_with(book()).await;
    let get = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    let got = server.purchases().get_purchase(get).await.expect("it is there").into_inner();
    let kept = got.purchase.expect("a purchase");
    assert_eq!(got.price_effects, booked.price_effects);
    assert_eq!((kept.total.clone(), kept.order_discount.clone(), kept.lines[0].discount.clone()), (vnd("129100"), None, vnd("34336")));
    // Sent again it is not discounted again.
    assert!(kept.price_effects_applied && !kept.apply_price_effects);
    let again = v1::Purchase { order_id: "o-2".into(), voucher_codes: Vec::new(), ..kept };
    let status = record(&server, v1::RecordPurchaseRequest { purchase: Some(again), ..sale(&member, "o-2", "0") }).await;
    let fields = refused(&status.expect_err("its prices have the effects")).fields;
    assert_eq!(fields, ["purchase.price_effects_applied"]);
    let back = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        lines: vec![v1::ReturnLine { line_index: 1, quantity: "1".into(), ..Default::default() }],
        ..Default::default()
    };
    let returned = server.purchases().return_purchase(back).await.expect("it comes back").into_inner();
    // 10,664 are left: one point, and the half of gold is dropped.
    assert_eq!(returned.balance.expect("a balance").available, 501);
    server.stop().await;
}

#[tokio::test]
async fn a_hint_names_what_would_give_more() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let quoted = quotes(&server, &sale(&member, "o-1", "190000")).await;
    // 10,000 more are the next point and the promotion's seven.
    let hint = v1::Hint {
        spend: vnd("10000"),
        points: 8,
        rule_ids: vec!["goods".into()],
        promotion_ids: vec!["big".into()],
        rule_display_names: vec!["1 point per 10,000".into()],
        promotion_display_names: vec!["Big basket".into()],
    };
    assert_eq!(quoted.hints, [hint]);
    server.stop().await;
}

#[tokio::test]
async fn another_tier_between_quote_and_sale_is_another_price() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let plain = as_quoted(&server, sale(&member, "o-1", "100000")).await;
    let priced = as_quoted(&server, effects(sale(&member, "o-2", "100000"))).await;
    gold(&server, &member).await;
    assert_changed(&server, plain, "points,tier").await;
    assert_changed(&server, priced.clone(), "price,points,tier").await;
    // The till quotes anew, and may send it under the same id: nothing was booked under it.
    let anew = as_quoted(&server, effects(sale(&member, "o-2", "100000"))).await;
    assert_ne!(anew.quote_id, priced.quote_id);
    let booked = record(&server, anew.clone()).await.expect("it is booked");
    assert_eq!(
        (booked.accrual.as_ref().expect("an accrual").points, booked.priced.as_ref().expect("prices").total.clone()),
        (13, vnd("90000"))
    );
    // A retry gets the first answer, though it would lead to something else now.
    assert_eq!(record(&server, anew).await.expect("the same again"), booked);
    server.stop().await;
}

#[tokio::test]
async fn a_budget_that_is_used_up_between_quote_and_sale_is_noticed() {
    let server = start_with(book()).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let mine = as_quoted(&server, with_code(sale(&an, "o-1", "180000"), "spring")).await;
    let other = as_quoted(&server, with_code(sale(&binh, "o-2", "180000"), "spring")).await;
    let little = as_quoted(&server, with_code(sale(&an, "o-3", "50000"), "spring")).await;
    record(&server, other).await.expect("it is booked");
    // 12 of the 18 points are left: too few for the one, enough for the other.
    assert_changed(&server, mine, "points").await;
    assert_eq!(record(&server, little).await.expect("it is booked").accrual.expect("an accrual").points, 10);
    server.stop().await;
}

#[tokio::test]
async fn a_voucher_that_is_used_elsewhere_is_named_as_the_reason() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let code = voucher(&server, &member, "fifty").await;
    let with = |order: &str| {
        let mut sale = effects(sale(&member, order, "120000"));
        sale.purchase.as_mut().expect("a purchase").voucher_codes = vec![code.clone()];
        sale
    };
    let quoted = as_quoted(&server, with("o-1")).await;
    record(&server, with("o-2")).await.expect("it is booked");
    assert_refused(&record(&server, quoted).await.expect_err("it is used"), Code::FailedPrecondition, "VOUCHER_USED", &[]);
    server.stop().await;
}

#[tokio::test]
async fn a_new_rule_book_matters_only_if_it_changes_the_result() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let (rice, tea) = (sale(&member, "o-1", "120000"), sale(&member, "o-2", "120000"));
    let mut tea = tea;
    tea.purchase.as_mut().expect("a purchase").lines[0].sku = "tea".into();
    let (rice, tea) = (as_quoted(&server, rice).await, as_quoted(&server, tea).await);
    let more = "promotions: [{ promotion_id: teas, filter: { skus: [tea] }, add_fixed: { points: 3 } }]";
    let mut newer = book();
    newer.promotions.extend(text::read(more).expect("well-formed").promotions);
    let request = v1::PublishProgramRequest { request_id: "p-2".into(), program: Some(newer), ..Default::default() };
    server.programs().publish_program(request).await.expect("it is published");
    let booked = record(&server, rice).await.expect("it is as it was quoted");
    assert_eq!(booked.accrual.expect("an accrual").program_version, 2);
    assert_changed(&server, tea, "points").await;
    server.stop().await;
}

#[tokio::test]
async fn a_quote_is_its_members_own_and_its_id_is_no_invention() {
    let server = start_with(book()).await;
    let (an, binh) = (server.enroll("c-1").await, server.enroll("c-2").await);
    let quoted = as_quoted(&server, sale(&an, "o-1", "100000")).await;
    let other = v1::RecordPurchaseRequest { member: by_id(&binh), ..quoted.clone() };
    assert_changed(&server, other, "price,points,vouchers,tier,payments").await;
    let made_up = v1::RecordPurchaseRequest { quote_id: "cheap".into(), ..quoted.clone() };
    let status = record(&server, made_up).await.expect_err("it is none");
    assert_eq!((status.code(), refused(&status).fields), (Code::InvalidArgument, vec!["quote_id".to_owned()]));
    let mut offline = effects(sale(&an, "o-2", "100000"));
    let basket = offline.purchase.as_mut().expect("a purchase");
    (basket.offline, basket.occurred_time) = (true, Some(prost_types::Timestamp { seconds: 1_773_000_000, nanos: 0 }));
    let status = record(&server, offline).await.expect_err("it has its prices");
    assert_eq!((status.code(), refused(&status).fields), (Code::InvalidArgument, vec!["purchase.apply_price_effects".to_owned()]));
    record(&server, quoted).await.expect("it is booked");
    server.stop().await;
}

#[tokio::test]
async fn hints_say_what_more_would_earn() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let told = |quoted: v1::QuotePurchaseResponse| {
        let one =
            |hint: v1::Hint| (hint.spend.expect("an amount").amount, hint.points, hint.rule_ids.join(","), hint.promotion_ids.join(","));
        quoted.hints.into_iter().map(one).collect::<Vec<_>>()
    };
    let hint = |spend: &str, points, rules: &str, promotions: &str| (spend.to_owned(), points, rules.to_owned(), promotions.to_owned());
    let near = told(quotes(&server, &sale(&member, "o-1", "188000")).await);
    assert_eq!(near, [hint("2000", 1, "goods", ""), hint("12000", 9, "", "big")]);
    // It reaches it already.
    let there = told(quotes(&server, &sale(&member, "o-1", "200000")).await);
    assert_eq!(there, [hint("10000", 1, "goods", "")]);
    // Both at once.
    let both = told(quotes(&server, &sale(&member, "o-1", "195000")).await);
    assert_eq!(both, [hint("5000", 8, "goods", "big")]);
    server.stop().await;
}

#[tokio::test]
async fn hints_are_judged_as_the_sale_is_with_its_points_spent() {
    let rich = "promotions: [{ promotion_id: rich, condition: \"member.available_points >= 500\", multiply: { multiplier: 2 } }]";
    let promotions = text::read(rich).expect("well-formed").promotions;
    let server = start_with(v1::Program { promotions, ..book() }).await;
    let member = server.enroll("c-1").await;
    server.points().adjust_points(adjustment(&member, "gift", 600)).await.expect("points");
    let mut request = sale(&member, "o-1", "1000000");
    let purchase = request.purchase.as_mut().expect("a purchase");
    let tender = |kind: v1::tender::Kind, amount: &str| v1::Tender { kind: kind.into(), amount: vnd(amount) };
    purchase.tenders = vec![tender(v1::tender::Kind::Points, "20000"), tender(v1::tender::Kind::Card, "980000")];
    purchase.points_payments = vec![v1::PointsPayment { payment: Some(v1::points_payment::Payment::RedeemPoints(200)) }];
    let quoted = quotes(&server, &request).await;
    // 400 points are left, and nothing is doubled, whatever more is bought.
    assert_eq!(quoted.accrual.expect("an accrual").points, 98);
    let hint = quoted.hints.first().expect("a hint");
    let raised = |spend: &str| {
        let mut request = request.clone();
        let purchase = request.purchase.as_mut().expect("a purchase");
        let more = |amount: &str| (amount.parse::<i64>().expect("dong") + spend.parse::<i64>().expect("dong")).to_string();
        (purchase.lines[0].amount, purchase.total) = (vnd(&more("1000000")), vnd(&more("1000000")));
        purchase.tenders[1].amount = vnd(&more("980000"));
        request
    };
    let spend = hint.spend.clone().expect("an amount").amount;
    let more = quotes(&server, &raised(&spend)).await.accrual.expect("an accrual").points;
    assert_eq!((spend.as_str(), more - 98), ("10000", hint.points));
    server.stop().await;
}

#[tokio::test]
async fn a_voucher_is_not_taken_off_and_paid_with_at_once() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let code = voucher(&server, &member, "fifty").await;
    let mut request = effects(sale(&member, "o-1", "120000"));
    let purchase = request.purchase.as_mut().expect("a purchase");
    let tender = |kind: v1::tender::Kind, amount: &str| v1::Tender { kind: kind.into(), amount: vnd(amount) };
    purchase.voucher_codes = vec![code];
    purchase.tenders = vec![tender(v1::tender::Kind::Card, "20000"), tender(v1::tender::Kind::Voucher, "50000")];
    let status = record(&server, request.clone()).await.expect_err("it would be worth twice as much");
    assert_eq!((status.code(), refused(&status).fields), (Code::InvalidArgument, vec!["purchase.tenders[1].kind".to_owned()]));
    request.purchase.as_mut().expect("a purchase").tenders = vec![tender(v1::tender::Kind::Card, "70000")];
    record(&server, request).await.expect("it is booked");
    server.stop().await;
}

#[tokio::test]
async fn a_quote_of_another_version_of_the_service_is_to_be_made_anew() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let of_then = v1::RecordPurchaseRequest { quote_id: "q7-abcdef".into(), ..sale(&member, "o-1", "100000") };
    assert_changed(&server, of_then, "price,points,vouchers,tier,payments").await;
    server.stop().await;
}

#[tokio::test]
async fn a_return_judges_conditions_by_the_tills_own_discounts_also_after_a_restart() {
    let full = "promotions: [{ promotion_id: full, condition: \"purchase.order_discount == 0 && purchase.lines.all(l, l.discount == 0)\", \
                add_fixed: { points: 7 } }]";
    let book = v1::Program { promotions: text::read(full).expect("well-formed").promotions, ..book() };
    let server = start_with(book.clone()).await;
    let member = server.enroll("c-1").await;
    gold(&server, &member).await;
    let mut request = effects(sale(&member, "o-1", "200000"));
    request.purchase.as_mut().expect("a purchase").lines = vec![line("rice", "100000"), line("tea", "100000")];
    let booked = record(&server, request).await.expect("it is booked");
    // 180,000 are 18 points, and half as many again for gold.
    assert_eq!(booked.balance.expect("a balance").available, 27 + 7);
    let server = server.restart_with(book).await;
    let back = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        lines: vec![v1::ReturnLine { line_index: 1, quantity: "1".into(), ..Default::default() }],
        ..Default::default()
    };
    let returned = server.purchases().return_purchase(back).await.expect("it comes back").into_inner();
    assert_eq!(returned.balance.expect("a balance").available, 13 + 7);
    server.stop().await;
}

/// What was done was done, also where the disk has since lost the entry that has the voucher's name.
#[tokio::test]
async fn a_sale_whose_vouchers_name_can_no_longer_be_read_is_answered_without_it() {
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let fifty = voucher(&server, &member, "fifty").await;
    let request = effects(sale(&member, "o-1", "200000"));
    let basket = request.purchase.clone().map(|basket| v1::Purchase { voucher_codes: vec![fifty.clone()], ..basket });
    let request = v1::RecordPurchaseRequest { purchase: basket, ..request };
    let mut booked = record(&server, request.clone()).await.expect("it is booked");
    assert_eq!(booked.vouchers.iter().map(|used| (&used.code, used.display_name.as_str())).collect::<Vec<_>>(), [(&fifty, "50,000 off")]);
    // The last time that it is written is in the entry that issued the voucher.
    let name = b"50,000 off";
    let segments = fs::read_dir(server.data().join("journal")).expect("a journal").map(|item| item.expect("a file").path());
    let written = |path: PathBuf| {
        let place = fs::read(&path).expect("a segment").windows(name.len()).rposition(|bytes| bytes == name)?;
        Some((path, place))
    };
    let (segment, place) = segments.filter_map(written).max().expect("the voucher's name is in the journal");
    let file = fs::OpenOptions::new().write(true).open(segment).expect("the segment");
    file.write_all_at(b"5O", place as u64).expect("it is damaged");
    booked.vouchers[0].display_name.clear();
    assert_eq!(record(&server, request).await.expect("the same again"), booked);
    server.end().await;
}
