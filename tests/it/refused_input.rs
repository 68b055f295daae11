//! Refused input: each case names its field, changes nothing, and the server lives on.

use jiff::ToSpan;
use loyaltyd::contract::v1::{self, identifier::Kind};
use tonic::{Code, Status};

use crate::{
    inactivity::{lapsing, never},
    support::{PROGRAM, Refused, TestServer, actor, adjustment, by_card, by_id, card, enrolment, identifier, line, refused, sale, vnd},
};

enum Call {
    Record(v1::RecordPurchaseRequest),
    Quote(v1::QuotePurchaseRequest),
    GetPurchase(v1::GetPurchaseRequest),
    Enroll(v1::EnrollMemberRequest),
    Update(v1::UpdateMemberRequest),
    SetTier(v1::SetMemberTierRequest),
    Merge(v1::MergeMembersRequest),
    Erase(v1::EraseMemberRequest),
    Lookup(v1::LookupMemberRequest),
    Members(v1::ListMembersRequest),
    Adjust(v1::AdjustPointsRequest),
    Activity(v1::RecordActivityRequest),
    Entries(v1::ListEntriesRequest),
    Lots(v1::ListLotsRequest),
    Explain(v1::ExplainEntryRequest),
    Publish(Box<v1::PublishProgramRequest>),
    Confirm(v1::ConfirmPurchaseRequest),
    Return(Box<v1::ReturnPurchaseRequest>),
}

impl Call {
    async fn refused(self, server: &TestServer) -> Status {
        match self {
            Call::Record(request) => server.purchases().record_purchase(request).await.map(drop),
            Call::Quote(request) => server.purchases().quote_purchase(request).await.map(drop),
            Call::GetPurchase(request) => server.purchases().get_purchase(request).await.map(drop),
            Call::Enroll(request) => server.members().enroll_member(request).await.map(drop),
            Call::Update(request) => server.members().update_member(request).await.map(drop),
            Call::SetTier(request) => server.members().set_member_tier(request).await.map(drop),
            Call::Merge(request) => server.members().merge_members(request).await.map(drop),
            Call::Erase(request) => server.members().erase_member(request).await.map(drop),
            Call::Lookup(request) => server.members().lookup_member(request).await.map(drop),
            Call::Members(request) => server.members().list_members(request).await.map(drop),
            Call::Activity(request) => server.points().record_activity(request).await.map(drop),
            Call::Adjust(request) => server.points().adjust_points(request).await.map(drop),
            Call::Entries(request) => server.points().list_entries(request).await.map(drop),
            Call::Lots(request) => server.points().list_lots(request).await.map(drop),
            Call::Explain(request) => server.points().explain_entry(request).await.map(drop),
            Call::Publish(request) => server.programs().publish_program(*request).await.map(drop),
            Call::Confirm(request) => server.purchases().confirm_purchase(request).await.map(drop),
            Call::Return(request) => server.purchases().return_purchase(*request).await.map(drop),
        }
        .expect_err("the case is refused")
    }
}

struct Case {
    name: &'static str,
    call: Call,
    code: Code,
    reason: &'static str,
    fields: &'static [&'static str],
}

fn wrong(name: &'static str, call: Call, fields: &'static [&'static str]) -> Case {
    Case { name, call, code: Code::InvalidArgument, reason: "INVALID_FIELD", fields }
}

fn no(name: &'static str, call: Call, code: Code, reason: &'static str, fields: &'static [&'static str]) -> Case {
    Case { name, call, code, reason, fields }
}

fn record(member: &str, change: impl FnOnce(&mut v1::RecordPurchaseRequest)) -> Call {
    let mut request = sale(member, "refused", "20000");
    change(&mut request);
    Call::Record(request)
}

fn basket(member: &str, change: impl FnOnce(&mut v1::Purchase)) -> Call {
    record(member, |request| change(request.purchase.as_mut().unwrap()))
}

fn at(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

fn born(year: i32, month: i32, day: i32) -> Call {
    let profile = v1::Profile { birth_date: Some(v1::Date { year, month, day }), ..Default::default() };
    Call::Enroll(v1::EnrollMemberRequest { profile: Some(profile), ..enrolment("c-new") })
}

fn with_identifier(kind: Kind, value: &str) -> Call {
    Call::Enroll(v1::EnrollMemberRequest { identifiers: vec![card("c-new"), identifier(kind, value)], ..enrolment("c-new") })
}

#[tokio::test]
async fn refused_input_names_its_field_and_changes_nothing() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(sale(&member, "o-1", "50000")).await.unwrap();
    let before = server.member(&member).await;
    let mut cases = names(&member);
    cases.extend(amounts(&member));
    cases.extend(purchases(&member));
    cases.extend(people(&member));
    cases.extend(activities(&member));
    cases.extend(returns());
    cases.extend(lists(&server, &member).await);
    let count = cases.len();
    for Case { name, call, code, reason, fields } in cases {
        let status = call.refused(&server).await;
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        assert_eq!(refused(&status), Refused { code, reason: reason.into(), fields }, "{name}: {status:?}");
        assert_eq!(server.member(&member).await, before, "{name}");
    }
    assert!(count > 60, "{count} cases");
    let all = v1::ListMembersRequest { program_id: PROGRAM.into(), ..Default::default() };
    assert_eq!(server.members().list_members(all).await.unwrap().into_inner().members.len(), 2);
    server.purchases().record_purchase(sale(&member, "refused", "20000")).await.expect("the server lives on");
    server.stop().await;
}

fn names(member: &str) -> Vec<Case> {
    let long = "x".repeat(65);
    vec![
        wrong("no request id", record(member, |it| it.request_id.clear()), &["request_id"]),
        wrong("long request id", record(member, |it| it.request_id.clone_from(&long)), &["request_id"]),
        wrong("request id with a space", record(member, |it| it.request_id = "a b".into()), &["request_id"]),
        wrong("request id not ASCII", record(member, |it| it.request_id = "điểm".into()), &["request_id"]),
        wrong("no programme", record(member, |it| it.program_id.clear()), &["program_id"]),
        wrong("long programme", record(member, |it| it.program_id.clone_from(&long)), &["program_id"]),
        wrong("programme in capitals", record(member, |it| it.program_id = "Vietnam".into()), &["program_id"]),
        no("unknown programme", record(member, |it| it.program_id = "nowhere".into()), Code::NotFound, "PROGRAM_NOT_FOUND", &[]),
        wrong("no member", record(member, |it| it.member = None), &["member"]),
        wrong("empty member", record(member, |it| it.member = Some(v1::MemberRef { r#ref: None })), &["member"]),
        wrong("member not a UUID", record(member, |it| it.member = by_id("42")), &["member.member_id"]),
        no(
            "unknown member",
            record(member, |it| it.member = by_id("00000000-0000-7000-8000-000000000000")),
            Code::NotFound,
            "MEMBER_NOT_FOUND",
            &[],
        ),
        no("unknown card", record(member, |it| it.member = by_card("c-9")), Code::NotFound, "MEMBER_NOT_FOUND", &[]),
        wrong("empty card", record(member, |it| it.member = by_card(" ")), &["member.identifier.value"]),
        wrong("no store", basket(member, |it| it.store_id.clear()), &["purchase.store_id"]),
        wrong(
            "long store and order",
            basket(member, |it| (it.store_id, it.order_id) = ("x".repeat(65), "x".repeat(65))),
            &["purchase.store_id", "purchase.order_id"],
        ),
        wrong("order with a control character", basket(member, |it| it.order_id = "a\nb".into()), &["purchase.order_id"]),
        no(
            "unknown purchase",
            Call::GetPurchase(v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "s".into(), order_id: "o".into() }),
            Code::NotFound,
            "PURCHASE_NOT_FOUND",
            &[],
        ),
        no("unknown tier", set_tier(member, "platinum"), Code::InvalidArgument, "TIER_NOT_FOUND", &["tier_id"]),
        wrong("no tier", set_tier(member, ""), &["tier_id"]),
        wrong(
            "no rule book",
            Call::Publish(Box::new(v1::PublishProgramRequest { request_id: "p".into(), ..Default::default() })),
            &["program"],
        ),
    ]
}

fn with_expiry(request: v1::AdjustPointsRequest, expiry: v1::ExpiryPolicy) -> v1::AdjustPointsRequest {
    v1::AdjustPointsRequest { expiry: Some(expiry), ..request }
}

fn set_tier(member: &str, tier: &str) -> Call {
    Call::SetTier(v1::SetMemberTierRequest {
        request_id: "t".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        tier_id: tier.into(),
        reason: "test".into(),
        actor: actor(),
        last_date: None,
    })
}

fn amounts(member: &str) -> Vec<Case> {
    let amount = |amount: &str| {
        let amount = amount.to_owned();
        basket(member, move |it| it.lines[0].amount.as_mut().unwrap().amount = amount)
    };
    const AMOUNT: &[&str] = &["purchase.lines[0].amount.amount"];
    vec![
        wrong(
            "other currency",
            basket(member, |it| it.total.as_mut().unwrap().currency_code = "USD".into()),
            &["purchase.total.currency_code"],
        ),
        wrong("no currency", basket(member, |it| it.total.as_mut().unwrap().currency_code.clear()), &["purchase.total.currency_code"]),
        wrong("surplus digits", amount("20000.5"), AMOUNT),
        wrong("surplus zeros", amount("20000.0"), AMOUNT),
        wrong("negative", amount("-20000"), AMOUNT),
        wrong("plus sign", amount("+20000"), AMOUNT),
        wrong("exponent", amount("2e4"), AMOUNT),
        wrong("separators", amount("20,000"), AMOUNT),
        wrong("no digits", amount("."), AMOUNT),
        wrong("not ASCII digits", amount("２００００"), AMOUNT),
        wrong("empty", amount(""), AMOUNT),
        wrong("too many digits", amount("1000000000000000"), AMOUNT),
        wrong("no line amount", basket(member, |it| it.lines[0].amount = None), &["purchase.lines[0].amount"]),
        wrong("negative quantity", basket(member, |it| it.lines[0].quantity = "-1".into()), &["purchase.lines[0].quantity"]),
        wrong("large quantity", basket(member, |it| it.lines[0].quantity = "1000001".into()), &["purchase.lines[0].quantity"]),
        wrong("fine quantity", basket(member, |it| it.lines[0].quantity = "1.0001".into()), &["purchase.lines[0].quantity"]),
        wrong("adjust by nothing", Call::Adjust(adjustment(member, "a", 0)), &["points"]),
        wrong("no reason", Call::Adjust(v1::AdjustPointsRequest { reason: String::new(), ..adjustment(member, "a", 1) }), &["reason"]),
        wrong("take with an expiry", Call::Adjust(with_expiry(adjustment(member, "a", -1), never())), &["expiry"]),
        wrong("an empty expiry", Call::Adjust(with_expiry(adjustment(member, "a", 1), v1::ExpiryPolicy::default())), &["expiry"]),
        wrong(
            "inactivity that the programme has not",
            Call::Adjust(with_expiry(adjustment(member, "a", 1), lapsing(6))),
            &["expiry.inactivity"],
        ),
        wrong("long reason", Call::Adjust(v1::AdjustPointsRequest { reason: "x".repeat(501), ..adjustment(member, "a", 1) }), &["reason"]),
        wrong("no actor", Call::Adjust(v1::AdjustPointsRequest { actor: None, ..adjustment(member, "a", 1) }), &["actor"]),
        no("adjust by too much", Call::Adjust(adjustment(member, "a", 10_001)), Code::FailedPrecondition, "ADJUSTMENT_TOO_LARGE", &[]),
        no("take by the lowest number", Call::Adjust(adjustment(member, "a", i64::MIN)), Code::OutOfRange, "NUMBER_TOO_LARGE", &[]),
        no("take too much", Call::Adjust(adjustment(member, "a", -6)), Code::FailedPrecondition, "INSUFFICIENT_POINTS", &[]),
    ]
}

fn purchases(member: &str) -> Vec<Case> {
    let tender = |kind: i32, amount: &str| v1::Tender { kind, amount: vnd(amount) };
    let quote = v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(member), purchase: None };
    vec![
        wrong("no purchase", record(member, |it| it.purchase = None), &["purchase"]),
        wrong("quote of nothing", Call::Quote(quote), &["purchase"]),
        wrong("no lines", basket(member, |it| it.lines.clear()), &["purchase.lines"]),
        wrong("10,001 lines", basket(member, |it| it.lines = vec![line("rice", "2"); 10_001]), &["purchase.lines"]),
        wrong("no total", basket(member, |it| it.total = None), &["purchase.total"]),
        wrong("lines do not sum to the total", basket(member, |it| it.total = vnd("19999")), &["purchase.total"]),
        wrong("discount above the line", basket(member, |it| it.lines[0].discount = vnd("20001")), &["purchase.lines[0].discount"]),
        wrong("discount above the order", basket(member, |it| it.order_discount = vnd("20001")), &["purchase.order_discount"]),
        wrong(
            "included tax above the line",
            basket(member, |it| (it.prices_include_tax, it.lines[0].tax) = (true, vnd("20001"))),
            &["purchase.lines[0].tax"],
        ),
        wrong("tenders do not sum", basket(member, |it| it.tenders = vec![tender(1, "19999")]), &["purchase.tenders"]),
        wrong("tender of no kind", basket(member, |it| it.tenders = vec![tender(0, "20000")]), &["purchase.tenders[0].kind"]),
        wrong("tender of unknown kind", basket(member, |it| it.tenders = vec![tender(99, "20000")]), &["purchase.tenders[0].kind"]),
        wrong("21 tenders", basket(member, |it| it.tenders = vec![tender(1, "1"); 21]), &["purchase.tenders"]),
        wrong("line of unknown kind", basket(member, |it| it.lines[0].kind = -1), &["purchase.lines[0].kind"]),
        wrong("long SKU", basket(member, |it| it.lines[0].sku = "x".repeat(65)), &["purchase.lines[0].sku"]),
        wrong("long channel", basket(member, |it| it.channel = "x".repeat(65)), &["purchase.channel"]),
        wrong("21 labels", basket(member, |it| it.labels = vec!["a".into(); 21]), &["purchase.labels"]),
        wrong("empty label", basket(member, |it| it.lines[0].labels = vec![String::new()]), &["purchase.lines[0].labels[0]"]),
        wrong("recorded prices", basket(member, |it| it.price_effects_applied = true), &["purchase.price_effects_applied"]),
        wrong("offline without a time", basket(member, |it| it.offline = true), &["purchase.occurred_time"]),
        wrong(
            "hold captured offline",
            basket(member, |it| {
                let capture = v1::points_payment::HoldCapture { hold_id: "3".into(), points: None };
                it.points_payments = vec![v1::PointsPayment { payment: Some(v1::points_payment::Payment::CaptureHold(capture)) }];
                (it.offline, it.occurred_time) = (true, ago(1));
            }),
            &["purchase.points_payments[0].capture_hold"],
        ),
        no("points redeemed offline", basket(member, redeemed_offline), Code::FailedPrecondition, "OVER_FLOOR_LIMIT", &[]),
        wrong("before 1900", basket(member, |it| it.occurred_time = at(-2_208_988_801, 0)), &["purchase.occurred_time"]),
        wrong("after 9998", basket(member, |it| it.occurred_time = at(253_370_764_800, 0)), &["purchase.occurred_time"]),
        wrong("lowest time", basket(member, |it| it.occurred_time = at(i64::MIN, i32::MIN)), &["purchase.occurred_time"]),
        wrong("highest time", basket(member, |it| it.occurred_time = at(i64::MAX, i32::MAX)), &["purchase.occurred_time"]),
        wrong("negative nanos", basket(member, |it| it.occurred_time = at(1_773_118_800, -1)), &["purchase.occurred_time"]),
        no(
            "31 days ago",
            basket(member, |it| it.occurred_time = ago(31)),
            Code::OutOfRange,
            "PURCHASE_TOO_OLD",
            &["purchase.occurred_time"],
        ),
        no(
            "tomorrow",
            basket(member, |it| it.occurred_time = ago(-1)),
            Code::OutOfRange,
            "PURCHASE_IN_FUTURE",
            &["purchase.occurred_time"],
        ),
        no("recorded already", basket(member, |it| it.order_id = "o-1".into()), Code::AlreadyExists, "PURCHASE_EXISTS", &[]),
        wrong(
            "many mistakes",
            basket(member, |it| (it.total, it.lines[0].amount, it.lines[0].quantity) = (None, None, "x".into())),
            &["purchase.total", "purchase.lines[0].quantity", "purchase.lines[0].amount"],
        ),
    ]
}

/// In a programme that has no policy for it.
fn redeemed_offline(purchase: &mut v1::Purchase) {
    purchase.points_payments = vec![v1::PointsPayment { payment: Some(v1::points_payment::Payment::RedeemPoints(1)) }];
    (purchase.offline, purchase.occurred_time) = (true, ago(1));
}

fn give_back(change: impl FnOnce(&mut v1::ReturnPurchaseRequest)) -> Call {
    let mut request = v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        ..Default::default()
    };
    change(&mut request);
    Call::Return(Box::new(request))
}

/// Lines in place of the whole purchase.
fn give_back_lines(lines: &[(i32, &str, &str)]) -> Call {
    let line = |(line_index, quantity, amount): &(i32, &str, &str)| v1::ReturnLine {
        line_index: *line_index,
        quantity: (*quantity).into(),
        amount: if amount.is_empty() { None } else { vnd(amount) },
    };
    give_back(|it| (it.whole_purchase, it.lines) = (false, lines.iter().map(line).collect()))
}

fn returns() -> Vec<Case> {
    let confirm = |store: &str, order: &str| {
        let (request_id, program_id) = ("confirm".into(), PROGRAM.into());
        Call::Confirm(v1::ConfirmPurchaseRequest { request_id, program_id, store_id: store.into(), order_id: order.into(), actor: None })
    };
    const QUANTITY: &[&str] = &["lines[0].quantity"];
    const AMOUNT: &[&str] = &["lines[0].amount.amount"];
    vec![
        wrong("confirm nothing", confirm("", ""), &["store_id", "order_id"]),
        wrong("confirm for no programme", Call::Confirm(Default::default()), &["request_id", "program_id"]),
        no("confirm an unknown order", confirm("hcm-1", "o-9"), Code::NotFound, "PURCHASE_NOT_FOUND", &[]),
        no("confirm what is active", confirm("hcm-1", "o-1"), Code::FailedPrecondition, "NOTHING_PENDING", &[]),
        wrong("return without a request id", give_back(|it| it.request_id.clear()), &["request_id"]),
        wrong("return without an order", give_back(|it| it.order_id.clear()), &["order_id"]),
        no("return an unknown order", give_back(|it| it.order_id = "o-9".into()), Code::NotFound, "PURCHASE_NOT_FOUND", &[]),
        wrong("return nothing", give_back(|it| it.whole_purchase = false), &["whole_purchase"]),
        wrong("return an amount of all", give_back(|it| it.amount = vnd("1")), &["whole_purchase"]),
        wrong("return an amount of 0", give_back(|it| (it.whole_purchase, it.amount) = (false, vnd("0"))), &["whole_purchase"]),
        wrong("negative amount", give_back(|it| (it.whole_purchase, it.amount) = (false, vnd("-1"))), &["amount.amount"]),
        wrong("surplus digits", give_back(|it| (it.whole_purchase, it.amount) = (false, vnd("1.5"))), &["amount.amount"]),
        wrong("another currency", give_back(|it| (it.whole_purchase, it.amount) = (false, dollars("1"))), &["amount.currency_code"]),
        wrong("line of nothing", give_back_lines(&[(0, "", "")]), QUANTITY),
        wrong("line of 0 units", give_back_lines(&[(0, "0", "0")]), QUANTITY),
        wrong("negative units", give_back_lines(&[(0, "-1", "")]), QUANTITY),
        wrong("4 decimal places of a unit", give_back_lines(&[(0, "0.0001", "")]), QUANTITY),
        wrong("surplus digits of a line", give_back_lines(&[(0, "", "1.5")]), AMOUNT),
        wrong("negative line", give_back_lines(&[(-1, "1", "")]), &["lines[0].line_index"]),
        wrong("line named twice", give_back_lines(&[(0, "1", ""), (0, "1", "")]), &["lines[1].line_index"]),
        wrong("10,001 lines returned", give_back_lines(&[(0, "1", ""); 10_001]), &["lines"]),
        no("unknown line", give_back_lines(&[(1, "1", "")]), Code::InvalidArgument, "RETURN_LINE_NOT_FOUND", &["lines"]),
        no("too many units", give_back_lines(&[(0, "1.001", "")]), Code::FailedPrecondition, "RETURN_TOO_LARGE", &[]),
        wrong("long reason", give_back(|it| it.reason = "x".repeat(501)), &["reason"]),
        wrong("long reference", give_back(|it| it.reference = "x".repeat(121)), &["reference"]),
        wrong("empty actor", give_back(|it| it.actor = Some(v1::Actor::default())), &["actor.actor_id"]),
        wrong("exchange with price effects", give_back(|it| it.exchange = Some(effects("x-1"))), &["exchange.apply_price_effects"]),
        wrong("exchange of nothing", give_back(|it| it.exchange = Some(v1::Purchase::default())), EXCHANGE),
    ]
}

fn effects(order: &str) -> v1::Purchase {
    v1::Purchase { apply_price_effects: true, ..crate::support::purchase(order, "20000") }
}

/// What every purchase needs.
const EXCHANGE: &[&str] = &["exchange.store_id", "exchange.order_id", "exchange.total", "exchange.lines"];

fn dollars(amount: &str) -> Option<v1::Money> {
    Some(v1::Money { currency_code: "USD".into(), amount: amount.into() })
}

fn ago(days: i64) -> Option<prost_types::Timestamp> {
    at(crate::support::noon().checked_sub((days * 24).hours()).unwrap().as_second(), 0)
}

fn activities(member: &str) -> Vec<Case> {
    let did = |change: &dyn Fn(&mut v1::RecordActivityRequest)| {
        let mut request = v1::RecordActivityRequest {
            request_id: "refused".into(),
            program_id: PROGRAM.into(),
            member: by_id(member),
            activity: "review".into(),
            reference: "r-1".into(),
            ..Default::default()
        };
        change(&mut request);
        Call::Activity(request)
    };
    let named_by = |r#ref| Some(v1::MemberRef { r#ref });
    vec![
        wrong("activity without a name", did(&|it| it.activity.clear()), &["activity"]),
        wrong("activity with a hyphen", did(&|it| it.activity = "sign-up".into()), &["activity"]),
        wrong("long activity", did(&|it| it.activity = "x".repeat(65)), &["activity"]),
        wrong("activity without a reference", did(&|it| it.reference.clear()), &["reference"]),
        wrong("long reference", did(&|it| it.reference = "x".repeat(121)), &["reference"]),
        wrong("reference with a control character", did(&|it| it.reference = "a\nb".into()), &["reference"]),
        wrong("referrer of no kind", did(&|it| it.referrer = named_by(None)), &["referrer"]),
        wrong("referrer not a UUID", did(&|it| it.referrer = by_id("42")), &["referrer.member_id"]),
        wrong("empty card of a referrer", did(&|it| it.referrer = by_card(" ")), &["referrer.identifier.value"]),
        wrong("activity before time began", did(&|it| it.occurred_time = at(i64::MIN, 0)), &["occurred_time"]),
        wrong("activity told by nobody", did(&|it| it.actor = Some(v1::Actor::default())), &["actor.actor_id"]),
        wrong(
            "activity with many mistakes",
            did(&|it| (it.request_id, it.activity, it.reference) = Default::default()),
            &["request_id", "activity", "reference"],
        ),
        no("activity of a programme without any", did(&|_| {}), Code::FailedPrecondition, "ACTIVITY_NOT_OFFERED", &[]),
    ]
}

fn people(member: &str) -> Vec<Case> {
    let many = (0..21).map(|n| card(&format!("n-{n}"))).collect();
    let update = |paths: &[&str]| {
        Call::Update(v1::UpdateMemberRequest {
            request_id: "u".into(),
            program_id: PROGRAM.into(),
            member: by_id(member),
            profile: None,
            update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
            ..Default::default()
        })
    };
    let named = |name: String, language: &str| {
        let profile = v1::Profile { display_name: name, language_code: language.into(), ..Default::default() };
        Call::Enroll(v1::EnrollMemberRequest { profile: Some(profile), ..enrolment("c-new") })
    };
    let merge = |change: &dyn Fn(&mut v1::MergeMembersRequest)| {
        let (program_id, reason) = (PROGRAM.to_owned(), "two cards".to_owned());
        let (member, into) = (by_id(member), by_card("c-other"));
        let mut request = v1::MergeMembersRequest { request_id: "m".into(), program_id, member, into, reason, actor: actor() };
        change(&mut request);
        Call::Merge(request)
    };
    let erase = |change: fn(&mut v1::EraseMemberRequest)| {
        let (request_id, program_id, reason) = ("e".into(), PROGRAM.into(), "why".into());
        let mut request = v1::EraseMemberRequest { request_id, program_id, member: by_id(member), reason, actor: actor() };
        change(&mut request);
        Call::Erase(request)
    };
    const DATE: &[&str] = &["profile.birth_date"];
    const VALUE: &[&str] = &["identifiers[1].value"];
    vec![
        wrong("30 February", born(2000, 2, 30), DATE),
        wrong("29 February of a common year", born(1999, 2, 29), DATE),
        wrong("30 February of no year", born(0, 2, 30), DATE),
        wrong("month 13", born(1990, 13, 1), DATE),
        wrong("month 0", born(1990, 0, 1), DATE),
        wrong("day far out", born(1990, 1, 1 << 20), DATE),
        wrong("born tomorrow", born(2026, 3, 11), DATE),
        wrong("born in 1899", born(1899, 12, 31), &["profile.birth_date.year"]),
        wrong("born in year -1", born(-1, 12, 31), &["profile.birth_date.year"]),
        wrong("phone without a plus", with_identifier(Kind::Phone, "0901234567"), VALUE),
        wrong("e-mail without an at", with_identifier(Kind::Email, "lan"), VALUE),
        wrong("long card", with_identifier(Kind::Card, &"x".repeat(255)), VALUE),
        wrong("identifier of no kind", with_identifier(Kind::Unspecified, "x"), &["identifiers[1].kind"]),
        wrong(
            "identifier of unknown kind",
            Call::Enroll(v1::EnrollMemberRequest { identifiers: vec![v1::Identifier { kind: 99, value: "x".into() }], ..enrolment("c") }),
            &["identifiers[0].kind"],
        ),
        wrong("identifier twice", with_identifier(Kind::Card, "c-new"), &["identifiers[1]"]),
        wrong("21 identifiers", Call::Enroll(v1::EnrollMemberRequest { identifiers: many, ..enrolment("c") }), &["identifiers"]),
        wrong("long name", named("x".repeat(201), ""), &["profile.display_name"]),
        wrong("name with a control character", named("a\0b".into(), ""), &["profile.display_name"]),
        wrong("no language", named(String::new(), "Vietnamese, please"), &["profile.language_code"]),
        wrong("no mask", update(&[]), &["update_mask"]),
        wrong("unknown path", update(&["display_name", "balance"]), &["update_mask.paths[1]"]),
        wrong("merge nobody", merge(&|request| request.member = None), &["member"]),
        wrong("merge into nobody", merge(&|request| request.into = None), &["into"]),
        wrong("merge into no id", merge(&|request| request.into = by_id("c-1")), &["into.member_id"]),
        wrong("merge into no card", merge(&|request| request.into = by_card("")), &["into.identifier.value"]),
        wrong("merge without a reason", merge(&|request| request.reason.clear()), &["reason"]),
        wrong("merge with a long reason", merge(&|request| request.reason = "x".repeat(501)), &["reason"]),
        wrong("merge without an actor", merge(&|request| request.actor = None), &["actor"]),
        wrong("erase nobody", erase(|it| it.member = None), &["member"]),
        wrong("erase for no reason", erase(|it| it.reason.clear()), &["reason"]),
        wrong("erase for a long reason", erase(|it| it.reason = "x".repeat(501)), &["reason"]),
        wrong("erased by nobody", erase(|it| it.actor = None), &["actor"]),
        wrong("erase without a request id", erase(|it| it.request_id.clear()), &["request_id"]),
        no("erase an unknown member", erase(|it| it.member = by_card("c-9")), Code::NotFound, "MEMBER_NOT_FOUND", &[]),
        wrong("look up nothing", Call::Lookup(v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: None }), &["identifier"]),
    ]
}

async fn lists(server: &TestServer, member: &str) -> Vec<Case> {
    let other = server.enroll("c-other").await;
    let entries = |member: &str, token: &str, size: i32| v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(member),
        page_size: size,
        page_token: token.into(),
        ..Default::default()
    };
    let token = server.points().list_entries(entries(member, "", 1)).await.unwrap().into_inner().next_page_token;
    assert!(!token.is_empty());
    let mut turned = token.clone().into_bytes();
    turned[4] ^= 1;
    let turned = String::from_utf8(turned).unwrap();
    let lots = v1::ListLotsRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 0, page_token: token.clone() };
    const TOKEN: &[&str] = &["page_token"];
    let explain = |sequence| Call::Explain(v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(member), sequence });
    vec![
        wrong("token of nobody", Call::Entries(entries(member, "token", 1)), TOKEN),
        wrong("token with a bit turned", Call::Entries(entries(member, &turned, 1)), TOKEN),
        wrong("token cut short", Call::Entries(entries(member, &token[..token.len() - 2], 1)), TOKEN),
        wrong("endless token", Call::Entries(entries(member, &"A".repeat(1 << 20), 1)), TOKEN),
        wrong("token of another member", Call::Entries(entries(&other, &token, 1)), TOKEN),
        wrong("token of another list", Call::Lots(lots), TOKEN),
        wrong(
            "token of another service",
            Call::Members(v1::ListMembersRequest {
                program_id: PROGRAM.into(),
                page_size: 1,
                page_token: token.clone(),
                ..Default::default()
            }),
            TOKEN,
        ),
        wrong("negative page", Call::Entries(entries(member, "", -1)), &["page_size"]),
        wrong("entry 0", explain(0), &["sequence"]),
        wrong("entry -1", explain(-1), &["sequence"]),
        no("entry far out", explain(i64::MAX), Code::NotFound, "ENTRY_NOT_FOUND", &[]),
    ]
}

#[tokio::test]
async fn a_message_of_5_mebibytes_is_refused_and_the_server_lives_on() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let before = server.member(&member).await;
    let large = basket(&member, |it| it.channel = "x".repeat(5 << 20));
    assert_eq!(large.refused(&server).await.code(), Code::OutOfRange);
    assert_eq!(server.member(&member).await, before);
    // Just below the bound it is read, and its field is refused.
    let below = basket(&member, |it| it.channel = "x".repeat((4 << 20) - 1_000)).refused(&server).await;
    assert_eq!(refused(&below).fields, ["purchase.channel"]);
    server.purchases().record_purchase(sale(&member, "o-1", "10000")).await.expect("the server lives on");
    server.stop().await;
}

#[tokio::test]
async fn thousands_of_mistakes_fit_into_one_error() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let status = basket(&member, |it| it.lines = vec![v1::PurchaseLine::default(); 10_000]).refused(&server).await;
    let details = tonic_types::StatusExt::get_error_details(&status);
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["mistakes"], "10000");
    assert_eq!(refused(&status).fields[0], "purchase.lines[0].amount");
    assert!(status.details().len() < 6_000, "{} bytes", status.details().len());
    server.stop().await;
}
