//! Quotes at random through the real server: what is answered to a quote is answered to the sale, or the sale is refused; and each hint is true of
//! the basket that it speaks of.

use std::env;

use loyaltyd::{
    contract::{rule_book as text, v1},
    domain::{Line, LineKind, Purchase, TenderKind},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};
use rust_decimal::Decimal;
use tonic::{Code, Response};

use crate::{
    quotes::{Between, Sale, any_book, any_sale},
    redemption::start_with,
    support::{TestServer, actor, by_id, refused, rule_book},
};

const OF_ONE_BOOK: usize = 25;

fn usd(amount: Decimal) -> Option<v1::Money> {
    Some(v1::Money { currency_code: "USD".into(), amount: amount.normalize().to_string() })
}

fn amount(money: Option<&v1::Money>) -> Decimal {
    money.map_or(Decimal::ZERO, |money| money.amount.parse().expect("a decimal"))
}

fn line(line: &Line) -> v1::PurchaseLine {
    use v1::purchase_line::Kind;
    v1::PurchaseLine {
        sku: line.sku.clone(),
        category: line.category.clone(),
        labels: Vec::new(),
        quantity: line.quantity.normalize().to_string(),
        amount: usd(line.amount),
        discount: usd(line.discount),
        tax: usd(line.tax),
        kind: match line.kind {
            LineKind::Goods => Kind::Goods.into(),
            LineKind::GiftCard => Kind::GiftCard.into(),
        },
    }
}

fn basket(order: &str, purchase: &Purchase) -> v1::Purchase {
    use v1::tender::Kind;
    let tender = |kind: TenderKind| if kind == TenderKind::Points { Kind::Points } else { Kind::Card };
    v1::Purchase {
        store_id: "s".into(),
        order_id: order.into(),
        lines: purchase.lines.iter().map(line).collect(),
        order_discount: usd(purchase.order_discount),
        prices_include_tax: purchase.prices_include_tax,
        shipping: usd(purchase.shipping),
        tip: usd(purchase.tip),
        total: usd(purchase.total),
        tenders: purchase.tenders.iter().map(|paid| v1::Tender { kind: tender(paid.kind).into(), amount: usd(paid.amount) }).collect(),
        ..Default::default()
    }
}

/// A member of one rule book, and the vouchers that are theirs.
struct Till<'a> {
    server: &'a TestServer,
    program: String,
    member: String,
    vouchers: Vec<String>,
    number: usize,
}

impl Till<'_> {
    fn request_id(&mut self) -> String {
        self.number += 1;
        format!("{}-{}", self.program, self.number)
    }

    async fn quote(&self, purchase: &v1::Purchase) -> Option<v1::QuotePurchaseResponse> {
        let purchase = Some(purchase.clone());
        let request = v1::QuotePurchaseRequest { program_id: self.program.clone(), member: by_id(&self.member), purchase };
        self.server.purchases().quote_purchase(request).await.map(Response::into_inner).ok()
    }

    async fn record(&mut self, purchase: &v1::Purchase, quote_id: String) -> Result<v1::RecordPurchaseResponse, tonic::Status> {
        let request = v1::RecordPurchaseRequest {
            request_id: self.request_id(),
            program_id: self.program.clone(),
            member: by_id(&self.member),
            purchase: Some(purchase.clone()),
            quote_id,
            actor: None,
        };
        let recorded = self.server.purchases().record_purchase(request).await.map(Response::into_inner)?;
        self.vouchers.retain(|code| !purchase.voucher_codes.contains(code));
        self.vouchers.extend(recorded.issued_vouchers.iter().map(|issued| issued.code.clone()));
        Ok(recorded)
    }

    async fn issue(&mut self, kind: &str) {
        let request = v1::IssueVoucherRequest {
            request_id: self.request_id(),
            program_id: self.program.clone(),
            member: by_id(&self.member),
            voucher_kind_id: kind.into(),
            reason: "sorry".into(),
            actor: actor(),
        };
        let issued = self.server.rewards().issue_voucher(request).await.expect("a voucher").into_inner();
        self.vouchers.push(issued.voucher.expect("a voucher").code);
    }

    async fn meanwhile(&mut self, between: &Between) {
        let (request_id, program_id, member) = (self.request_id(), self.program.clone(), by_id(&self.member));
        match between {
            Between::Nothing | Between::Wait(_) => {}
            Between::Adjust(points) => {
                let request = v1::AdjustPointsRequest {
                    request_id,
                    program_id,
                    member,
                    points: *points,
                    reason: "a test".into(),
                    actor: actor(),
                    ..Default::default()
                };
                // What is refused happens to nobody.
                let _ = self.server.points().adjust_points(request).await;
            }
            Between::Tier(tier) => {
                let (tier_id, reason) = ((*tier).into(), "a test".into());
                let request = v1::SetMemberTierRequest { request_id, program_id, member, tier_id, reason, actor: actor(), last_date: None };
                let _ = self.server.members().set_member_tier(request).await;
            }
            Between::Buy(purchase) => drop(self.record(&basket(&format!("b-{request_id}"), purchase), String::new()).await),
            Between::Voucher(kind) => self.issue(kind).await,
        }
    }

    /// The purchase as the till sends it; with tenders that pay what is quoted.
    async fn as_sent(&self, order: &str, sale: &Sale) -> v1::Purchase {
        let voucher_codes = self.vouchers.iter().take(sale.uses).cloned().collect();
        let sent = v1::Purchase { voucher_codes, ..basket(order, &sale.purchase) };
        if !sale.applies {
            return sent;
        }
        let sent = v1::Purchase { apply_price_effects: true, tenders: Vec::new(), ..sent };
        let Some(quoted) = self.quote(&sent).await else { return sent };
        let total = amount(quoted.priced.expect("prices").total.as_ref());
        let tender = |kind: v1::tender::Kind, amount| v1::Tender { kind: kind.into(), amount: usd(amount) };
        match quoted.usable_points.filter(|usable| sale.pays && usable.points > 0) {
            Some(usable) => {
                let worth = amount(usable.value.as_ref());
                let payment = v1::points_payment::Payment::RedeemPoints(usable.points);
                v1::Purchase {
                    tenders: vec![tender(v1::tender::Kind::Points, worth), tender(v1::tender::Kind::Card, total - worth)],
                    points_payments: vec![v1::PointsPayment { payment: Some(payment) }],
                    ..sent
                }
            }
            None => v1::Purchase { tenders: vec![tender(v1::tender::Kind::Card, total)], ..sent },
        }
    }
}

/// What a quote and a sale answer alike, without what is known when it is booked.
fn answered(recorded: v1::RecordPurchaseResponse) -> v1::QuotePurchaseResponse {
    let mut accrual = recorded.accrual.expect("an accrual");
    accrual.awards.iter_mut().for_each(|award| award.lot_id.clear());
    accrual.lots.iter_mut().for_each(|lot| lot.lot_id.clear());
    v1::QuotePurchaseResponse {
        accrual: Some(accrual),
        balance: recorded.balance,
        tier_id: recorded.tier_id,
        tier_change: recorded.tier_change,
        flags: recorded.flags,
        benefits: recorded.benefits,
        vouchers: recorded.vouchers.into_iter().map(|used| v1::UsedVoucher { entry_sequence: 0, ..used }).collect(),
        issued_vouchers: recorded.issued_vouchers.into_iter().map(|issued| v1::Voucher { code: String::new(), ..issued }).collect(),
        goal_reached: recorded.goal_reached,
        price_effects: recorded.price_effects,
        priced: recorded.priced,
        ..Default::default()
    }
}

/// What the contract says is promised.
fn promised(quoted: &v1::QuotePurchaseResponse) -> impl PartialEq + std::fmt::Debug + use<> {
    let accrual = quoted.accrual.clone().expect("an accrual");
    let awards = accrual.awards.into_iter().filter(|award| award.points != 0);
    let awards: Vec<_> = awards.map(|award| (award.rule_id, award.promotion_id, award.points, award.qualifying_points)).collect();
    let pending = |is_pending: bool, by_time: bool| {
        let lots = accrual.lots.iter().filter(|lot| lot.pending == is_pending && lot.activate_time.is_some() == by_time);
        lots.map(|lot| lot.points).sum::<i64>()
    };
    let pending = [pending(false, false), pending(true, true), pending(true, false)];
    let timeless = |issued: &v1::Voucher| v1::Voucher {
        issue_time: None,
        valid_from_time: None,
        expire_time: None,
        program_version: 0,
        ..issued.clone()
    };
    let issued: Vec<_> = quoted.issued_vouchers.iter().map(timeless).collect();
    let later = quoted.goal_reached.as_ref().map(|reached| (reached.goal_id.clone(), reached.vouchers));
    (
        (accrual.points, accrual.qualifying_points, awards, pending),
        (quoted.tier_id.clone(), accrual.tier_id, quoted.tier_change.as_ref().map(|change| change.to_tier_id.clone())),
        (quoted.vouchers.clone(), issued, later),
        (quoted.price_effects.clone(), quoted.priced.clone()),
    )
}

/// With so much more paid for one of its lines.
fn raised(sent: &v1::Purchase, place: usize, spend: Decimal) -> v1::Purchase {
    let mut raised = sent.clone();
    let line = &mut raised.lines[place];
    line.amount = usd(amount(line.amount.as_ref()) + spend);
    raised.total = usd(amount(raised.total.as_ref()) + spend);
    let paid = raised.tenders.last_mut().expect("it is paid by card");
    paid.amount = usd(amount(paid.amount.as_ref()) + spend);
    raised
}

#[derive(Debug, Default)]
struct Count {
    kept: usize,
    changed: usize,
    refused: usize,
    hints: usize,
    effects: usize,
}

async fn sell(till: &mut Till<'_>, count: &mut Count, sale: &Sale) {
    for kind in &sale.issues {
        till.issue(kind).await;
    }
    let order = till.request_id();
    let mut sent = till.as_sent(&order, sale).await;
    let Some(mut quoted) = till.quote(&sent).await else {
        count.refused += 1;
        // One that cannot be used for this may be for another.
        let by = till.vouchers.len().min(1);
        till.vouchers.rotate_left(by);
        return;
    };
    // Those of a purchase with effects are of the prices after them.
    if !sale.applies
        && let Some(hint) = quoted.hints.first().cloned()
    {
        let spend = amount(hint.spend.as_ref());
        let mut found = None;
        for place in 0..sent.lines.len() {
            let more = raised(&sent, place, spend);
            let points = |quoted: &v1::QuotePurchaseResponse| quoted.accrual.as_ref().expect("an accrual").points;
            if let Some(other) = till.quote(&more).await
                && points(&other) == points(&quoted) + hint.points
            {
                found = Some((more, other));
            }
        }
        // That one is bought.
        (sent, quoted) = found.unwrap_or_else(|| panic!("{hint:?} is untrue of {sent:#?}"));
        count.hints += 1;
    }
    till.meanwhile(&sale.between).await;
    let Some(now) = till.quote(&sent).await else {
        count.refused += 1;
        till.record(&sent, quoted.quote_id).await.expect_err("it cannot be booked as it was quoted");
        return;
    };
    let is_same = promised(&quoted) == promised(&now);
    assert!(is_same || !matches!(sale.between, Between::Nothing), "{quoted:#?}\n{now:#?}");
    match till.record(&sent, quoted.quote_id.clone()).await {
        Ok(recorded) => {
            assert!(is_same, "{quoted:#?}\n{now:#?}");
            let tendered: Decimal = sent.tenders.iter().map(|tender| amount(tender.amount.as_ref())).sum();
            let total = recorded.priced.as_ref().map_or(&sent.total, |priced| &priced.total);
            assert!(sent.tenders.is_empty() || tendered == amount(total.as_ref()), "{sent:#?}\n{recorded:#?}");
            count.kept += 1;
            count.effects += recorded.price_effects.len();
            let asked = v1::QuotePurchaseResponse { quote_id: String::new(), hints: Vec::new(), usable_points: None, ..now };
            assert_eq!(answered(recorded), asked);
        }
        Err(status) => {
            assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::FailedPrecondition, "QUOTE_CHANGED"), "{status:?}");
            assert!(!is_same, "{status:?}: {quoted:#?}");
            count.changed += 1;
        }
    }
}

/// 300 of them, with `LOYALTYD_TEST_LONG` 10,000.
#[tokio::test]
async fn what_a_quote_answers_is_what_the_sale_answers_or_it_is_refused() {
    let wanted = if env::var_os("LOYALTYD_TEST_LONG").is_some() { 10_000 } else { 300 };
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(20_260_311), ..Config::default() });
    let server = start_with(rule_book()).await;
    let (mut count, mut books) = (Count::default(), 0);
    while count.kept + count.changed < wanted {
        let book = any_book().new_tree(&mut runner).expect("a book").current();
        let sales = proptest::collection::vec(any_sale(), OF_ONE_BOOK).new_tree(&mut runner).expect("baskets").current();
        books += 1;
        let program = format!("p-{books}");
        let goal = if books % 2 == 0 { "goals: [{ goal_id: card, points: 40, voucher_kind_id: mug, delay_days: 3 }]" } else { "" };
        let head = format!("program_id: {program}\ndisplay_name: Shop\ncurrency_code: USD\ntime_zone: America/New_York\n");
        let document = text::read(&format!("{head}{}\n{goal}\n", book.trim_start())).unwrap_or_else(|error| panic!("{error}\n{book}"));
        let request = v1::PublishProgramRequest { request_id: program.clone(), program: Some(document), ..Default::default() };
        server.programs().publish_program(request).await.unwrap_or_else(|status| panic!("{status:?}\n{book}"));
        let enrolment = v1::EnrollMemberRequest { program_id: program.clone(), ..crate::support::enrolment(&format!("c-{books}")) };
        let member = server.members().enroll_member(enrolment).await.expect("anyone can enrol").into_inner();
        let member = member.member.expect("a member").member_id;
        let mut till = Till { server: &server, program, member, vouchers: Vec::new(), number: 0 };
        for sale in &sales {
            sell(&mut till, &mut count, sale).await;
        }
    }
    eprintln!("{count:?} under {books} rule books");
    assert!(count.changed > wanted / 50 && count.hints > wanted / 20 && count.effects > wanted / 2, "{count:?}");
    server.stop().await;
}
