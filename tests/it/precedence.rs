//! Every reason for which a request is refused, each caused by a real one; and of those that meet in one request the one that is given is
//! the first in the list of `domain/rejection.rs`.

use std::collections::BTreeSet;

use loyaltyd::contract::{
    rule_book as text,
    v1::{self, points_payment::Payment as Pays},
};
use tonic::{Code, Response, Status};

use crate::{
    redemption::{member_with, paid_sale, redeem, spending, start_with},
    support::{PROGRAM, TestServer, actor, adjustment, by_card, by_id, card, enrolment, line, refused, rule_book, sale, vnd},
};

const NOBODY: &str = "0198c0de-0000-7000-8000-000000000001";
const LIST: &str = include_str!("../../src/domain/rejection.rs");

/// All reasons in the order of the list: that is where they are taken from, so that a new one must get its row here.
fn reasons() -> Vec<String> {
    let reason = |name: String| match name.as_str() {
        "Overflow" => vec!["NUMBER_TOO_LARGE".to_owned()],
        // Those of activities, of rewards, of offers and of vouchers have lists of their own.
        "Activity" => variants("ActivityRejection").iter().map(|name| of_activity(name)).collect(),
        "Reward" => variants("RewardRejection").iter().map(|name| format!("REWARD_{}", in_capitals(name))).collect(),
        "Offer" => variants("OfferRejection").iter().map(|name| format!("OFFER_{}", in_capitals(name))).collect(),
        "Voucher" => variants("VoucherRejection").iter().map(|name| format!("VOUCHER_{}", in_capitals(name))).collect(),
        name => vec![in_capitals(name)],
    };
    variants("Rejection").into_iter().flat_map(reason).collect()
}

fn of_activity(name: &str) -> String {
    if name.starts_with("Refer") { in_capitals(name) } else { format!("ACTIVITY_{}", in_capitals(name)) }
}

fn variants(name: &str) -> Vec<String> {
    let (_, list) = LIST.split_once(&format!("pub enum {name} {{\n")).expect("the list begins");
    let (list, _) = list.split_once("\n}\n").expect("the list ends");
    let named = |line: &str| {
        let name = line.strip_prefix("    ").filter(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))?;
        Some(name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned())
    };
    list.lines().filter_map(named).collect()
}

fn in_capitals(name: &str) -> String {
    let mut reason = String::new();
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            reason.push('_');
        }
        reason.push(letter.to_ascii_uppercase());
    }
    reason
}

struct Seen {
    order: Vec<String>,
    seen: BTreeSet<String>,
}

impl Seen {
    /// Refused for this reason.
    #[track_caller]
    fn refuses<T: std::fmt::Debug>(&mut self, code: Code, reason: &str, answer: Result<Response<T>, Status>) {
        let status = answer.expect_err(reason);
        assert_eq!((status.code(), refused(&status).reason.as_str()), (code, reason), "{status:?}");
        self.seen.insert(reason.to_owned());
    }

    /// Refused for the first of two reasons that both stand against it.
    #[track_caller]
    fn prefers<T: std::fmt::Debug>(&mut self, first: &str, second: &str, answer: Result<Response<T>, Status>) {
        let status = answer.expect_err(first);
        assert_eq!(refused(&status).reason, first, "and not {second}: {status:?}");
        assert!(self.place(first) < self.place(second), "{first} stands before {second} in the list");
    }

    #[track_caller]
    fn place(&self, reason: &str) -> usize {
        self.order.iter().position(|listed| listed == reason).unwrap_or_else(|| panic!("{reason} is not in the list"))
    }
}

/// Points are money, in fives and for half of an order at most; members give 10 to 500; returns are refused what is not there any more; by
/// hand a member can come to owe points; a hold lasts an hour.
fn book() -> v1::Program {
    let shortfall = v1::return_policy::Shortfall::Refuse;
    let redemption = spending().redemption.map(|terms| v1::RedemptionPolicy { maximum_hold_seconds: 3_600, ..terms });
    v1::Program {
        redemption,
        transfers: Some(v1::TransferPolicy { minimum_points: "10".into(), maximum_points: "500".into() }),
        returns: Some(v1::ReturnPolicy { own_lots_only: true, shortfall: shortfall.into() }),
        adjustments: Some(v1::AdjustmentPolicy { maximum_points: "10000".into(), into_debt: true }),
        activity_rules: text::read(ACTIVITIES).expect("well-formed rules").activity_rules,
        referral: text::read(ACTIVITIES).expect("well-formed terms").referral,
        voucher_kinds: text::read(VOUCHERS).expect("well-formed kinds").voucher_kinds,
        rewards: text::read(REWARDS).expect("well-formed rewards").rewards,
        segments: text::read(REWARDS).expect("well-formed segments").segments,
        promotions: text::read(OFFERS).expect("well-formed promotions").promotions,
        offers: text::read(OFFERS).expect("well-formed offers").offers,
        birthday: text::read(BIRTHDAY).expect("well-formed rules").birthday,
        ..rule_book()
    }
}

const ACTIVITIES: &str = "activity_rules:
  - { rule_id: joined, activity: referral, points: 10 }
  - { rule_id: brought, activity: referral, earner: EARNER_REFERRER, points: 10 }
  - { rule_id: lead, activity: lead, earner: EARNER_REFERRER, points: 5 }
  - { rule_id: friend, activity: friend, points: 5 }
referral: { activity: friend }
";

const VOUCHERS: &str = "voucher_kinds:
  - { voucher_kind_id: mug, benefit: { custom: { key: mug } }, valid_days: 30 }
  - { voucher_kind_id: tea, benefit: { free_item: { sku: tea } }, minimum_order: 50000, valid_days: 1 }
  - { voucher_kind_id: snack, benefit: { free_item: { category: snacks } }, valid_days: 30 }
  - { voucher_kind_id: soon, benefit: { free_shipping: {} }, minimum_order: 50000, after_days: 1, valid_days: 30 }
";

const REWARDS: &str = "rewards:
  - { reward_id: mug, display_name: A mug, voucher_kind_id: mug, points: 8, maximum_quantity: 5, member_limit: { redemptions: 3, period: PERIOD_LIFETIME } }
  - { reward_id: rare, display_name: A rare one, voucher_kind_id: mug, points: 8, stock: 0 }
  - { reward_id: few, display_name: A few, voucher_kind_id: mug, points: 8, stock: 1, maximum_quantity: 3, member_limit: { redemptions: 1, period: PERIOD_DAY } }
  - { reward_id: golden, display_name: A golden one, voucher_kind_id: mug, points: 8, tier_ids: [gold] }
  - { reward_id: past, display_name: A past one, voucher_kind_id: mug, points: 8, tier_ids: [gold], end_time: \"2020-01-01T00:00:00Z\" }
  - { reward_id: inner, display_name: An inner one, voucher_kind_id: mug, points: 8, segment_ids: [inner] }
  - { reward_id: both, display_name: For both, voucher_kind_id: mug, points: 8, tier_ids: [gold], segment_ids: [inner] }
segments:
  - { segment_id: inner, condition: \"member.purchases > 1000\" }
";

/// The promotions give to nobody.
const OFFERS: &str = "promotions:
  - { promotion_id: week, only_with_offer: true, code: never, multiply: { multiplier: 2 } }
  - { promotion_id: always, only_with_offer: true, code: never, multiply: { multiplier: 2 } }
offers:
  - { offer_id: past, display_name: A past one, end_time: \"2020-01-01T00:00:00Z\", voucher: { voucher_kind_id: mug } }
  - { offer_id: given, display_name: A personal one, personal: true, voucher: { voucher_kind_id: mug } }
  - { offer_id: golden, display_name: For gold, tier_ids: [gold], segment_ids: [inner], voucher: { voucher_kind_id: mug } }
  - { offer_id: inner, display_name: An inner one, segment_ids: [inner], new_member_days: 1, voucher: { voucher_kind_id: mug } }
  - { offer_id: new, display_name: For new ones, new_member_days: 1, voucher: { voucher_kind_id: mug } }
  - { offer_id: always, display_name: Always, promotion_id: always }
  - { offer_id: week, display_name: A day, requires_activation: true, valid_days: 0, promotion_id: week }
  - { offer_id: once, display_name: Once, member_limit: { uses: 1, period: PERIOD_LIFETIME }, voucher: { voucher_kind_id: mug } }
";

const BIRTHDAY: &str = "birthday: { window: WINDOW_DAY, rewards: [{ points: { points: 1 } }], maximum_changes: 0 }";

const PLAIN: &str = "plain";
const BUSY: &str = "busy";
const WATCHED: &str = "watched";
const CHEAP: &str = "cheap";
const MANY: &str = "many";

/// One that offers nothing but points, one with so many rules that a long receipt is too complex, one that takes a purchase an hour, and ten
/// points at a till that does not ask, one where a point is worth a thousandth of the smallest amount of money, and one where a purchase
/// makes 25 lots.
async fn publish_others(server: &TestServer) {
    let plain = v1::Program { program_id: PLAIN.into(), adjustments: None, ..rule_book() };
    let mut busy = v1::Program { program_id: BUSY.into(), ..book() };
    let rule = busy.accrual_rules[0].clone();
    busy.accrual_rules = (0..6).map(|n| v1::AccrualRule { rule_id: format!("r-{n}"), ..rule.clone() }).collect();
    let once = v1::fraud_limits::CountLimit { maximum: 1, action: v1::fraud_limits::Action::Refuse.into() };
    let watched = v1::Program {
        program_id: WATCHED.into(),
        fraud_limits: Some(v1::FraudLimits { purchases_per_hour: Some(once), ..Default::default() }),
        offline: Some(v1::OfflinePolicy { floor_limit_points: "10".into(), ..Default::default() }),
        ..book()
    };
    let terms = v1::RedemptionPolicy { points: "1000".into(), amount: "1".into(), ..Default::default() };
    let cheap = v1::Program { program_id: CHEAP.into(), redemption: Some(terms), ..book() };
    let mut many = v1::Program { program_id: MANY.into(), ..book() };
    let pending = |days| v1::ActivationPolicy { policy: Some(v1::activation_policy::Policy::AfterDays(days)) };
    let waiting = |days| v1::AccrualRule { rule_id: format!("r-{days}"), activation: Some(pending(days)), ..rule.clone() };
    many.accrual_rules = (1..=25).map(waiting).collect();
    for program in [plain, busy, watched, cheap, many] {
        let request_id = format!("publish-{}", program.program_id);
        let publish = v1::PublishProgramRequest { request_id, program: Some(program), ..Default::default() };
        server.programs().publish_program(publish).await.expect("it is published");
    }
}

async fn enroll_in(server: &TestServer, program: &str, name: &str) -> String {
    let request = v1::EnrollMemberRequest { program_id: program.into(), ..enrolment(name) };
    server.members().enroll_member(request).await.expect("it enrols").into_inner().member.expect("a member").member_id
}

fn suspend(member: &str, request: &str) -> v1::SuspendMemberRequest {
    v1::SuspendMemberRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        reason: "why".into(),
        actor: actor(),
    }
}

fn add(member: &str, card_number: &str) -> v1::AddIdentifierRequest {
    v1::AddIdentifierRequest {
        request_id: format!("add-{card_number}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        identifier: Some(card(card_number)),
        ..Default::default()
    }
}

fn remove(member: &str, card_number: &str) -> v1::RemoveIdentifierRequest {
    v1::RemoveIdentifierRequest {
        request_id: format!("remove-{card_number}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        identifier: Some(card(card_number)),
        ..Default::default()
    }
}

fn set_tier(member: &str, tier: &str) -> v1::SetMemberTierRequest {
    v1::SetMemberTierRequest {
        request_id: format!("tier-{tier}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        tier_id: tier.into(),
        reason: "why".into(),
        actor: actor(),
        last_date: None,
    }
}

fn give(from: &str, to: Option<v1::MemberRef>, points: i64) -> v1::TransferPointsRequest {
    v1::TransferPointsRequest {
        request_id: "give".into(),
        program_id: PROGRAM.into(),
        member: by_id(from),
        recipient: to,
        points,
        reason: "family".into(),
        ..Default::default()
    }
}

fn back(order: &str, lines: Vec<v1::ReturnLine>) -> v1::ReturnPurchaseRequest {
    v1::ReturnPurchaseRequest {
        request_id: "back".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        whole_purchase: lines.is_empty(),
        lines,
        ..Default::default()
    }
}

fn nothing() -> v1::ReturnPurchaseRequest {
    v1::ReturnPurchaseRequest { whole_purchase: false, ..back("s-1", vec![]) }
}

fn part(line_index: i32, quantity: &str) -> v1::ReturnLine {
    v1::ReturnLine { line_index, quantity: quantity.into(), amount: None }
}

fn hold(member: &str, request: &str, points: i64) -> v1::HoldPointsRequest {
    v1::HoldPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points,
        order_total: vnd("1000000"),
        ..Default::default()
    }
}

fn lasting(hold: v1::HoldPointsRequest, seconds: i64) -> v1::HoldPointsRequest {
    v1::HoldPointsRequest { duration: Some(prost_types::Duration { seconds, nanos: 0 }), ..hold }
}

fn capture(member: &str, hold: &str, points: Option<i64>) -> v1::CaptureHoldRequest {
    v1::CaptureHoldRequest {
        request_id: "capture".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        hold_id: hold.into(),
        points,
        ..Default::default()
    }
}

fn reversal(member: &str, redemption_sequence: i64, points: Option<i64>) -> v1::ReverseRedemptionRequest {
    v1::ReverseRedemptionRequest {
        redemption_member_id: String::new(),
        request_id: "reverse".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        redemption_sequence,
        points,
        reason: "why".into(),
        actor: actor(),
    }
}

fn dated(server: &TestServer, request: v1::RecordPurchaseRequest, days: i64) -> v1::RecordPurchaseRequest {
    let time = prost_types::Timestamp { seconds: server.clock_now().seconds + days * 86_400, nanos: 0 };
    let purchase = request.purchase.map(|purchase| v1::Purchase { occurred_time: Some(time), ..purchase });
    v1::RecordPurchaseRequest { purchase, ..request }
}

fn confirm(order: &str) -> v1::ConfirmPurchaseRequest {
    v1::ConfirmPurchaseRequest {
        request_id: "confirm".into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        actor: None,
    }
}

const BY: Code = Code::FailedPrecondition;

#[tokio::test]
async fn every_reason_is_given_and_of_several_the_first_of_the_list() {
    let server = start_with(book()).await;
    publish_others(&server).await;
    let mut seen = Seen { order: reasons(), seen: BTreeSet::new() };
    assert!(seen.order.len() > 40, "{:?}", seen.order);
    people(&server, &mut seen).await;
    merges(&server, &mut seen).await;
    sales(&server, &mut seen).await;
    spending_of_points(&server, &mut seen).await;
    holds(&server, &mut seen).await;
    gifts(&server, &mut seen).await;
    returns(&server, &mut seen).await;
    activities(&server, &mut seen).await;
    watched(&server, &mut seen).await;
    small_change(&server, &mut seen).await;
    rewards(&server, &mut seen).await;
    vouchers(&server, &mut seen).await;
    offers(&server, &mut seen).await;
    // A return of nothing is a mistake of the request's fields: the domain's own guard is never reached through the contract.
    seen.refuses(Code::InvalidArgument, "INVALID_FIELD", server.purchases().return_purchase(nothing()).await);
    let missing: Vec<_> = seen.order.iter().filter(|reason| !seen.seen.contains(*reason) && *reason != "NOTHING_RETURNED").collect();
    assert!(missing.is_empty(), "no request here is refused with {missing:?}");
    server.stop().await;
}

async fn people(server: &TestServer, seen: &mut Seen) {
    let (one, other, gone) = (server.enroll("p-1").await, server.enroll("p-2").await, server.enroll("p-3").await);
    let mut desk = server.members();
    let erase = v1::EraseMemberRequest {
        request_id: "erase".into(),
        program_id: PROGRAM.into(),
        member: by_id(&gone),
        reason: "why".into(),
        actor: actor(),
    };
    desk.erase_member(erase).await.unwrap();
    let reused = v1::AddIdentifierRequest { request_id: "enrol-p-1".into(), ..add(&one, "p-9") };
    seen.refuses(Code::AlreadyExists, "REQUEST_ID_REUSED", desk.add_identifier(reused.clone()).await);
    seen.refuses(Code::NotFound, "MEMBER_NOT_FOUND", desk.add_identifier(add(NOBODY, "p-9")).await);
    let of_nobody = v1::AddIdentifierRequest { member: by_id(NOBODY), ..reused };
    seen.prefers("REQUEST_ID_REUSED", "MEMBER_NOT_FOUND", desk.add_identifier(of_nobody).await);
    seen.refuses(Code::AlreadyExists, "IDENTIFIER_TAKEN", desk.add_identifier(add(&one, "p-2")).await);
    seen.prefers("MEMBER_NOT_FOUND", "IDENTIFIER_TAKEN", desk.add_identifier(add(NOBODY, "p-2")).await);
    seen.refuses(BY, "MEMBER_ERASED", desk.add_identifier(add(&gone, "p-9")).await);
    seen.prefers("IDENTIFIER_TAKEN", "MEMBER_ERASED", desk.add_identifier(add(&gone, "p-2")).await);
    seen.prefers("MEMBER_ERASED", "IDENTIFIER_NOT_HELD", desk.remove_identifier(remove(&gone, "p-9")).await);
    seen.refuses(BY, "IDENTIFIER_HELD", desk.add_identifier(add(&one, "p-1")).await);
    seen.refuses(BY, "IDENTIFIER_NOT_HELD", desk.remove_identifier(remove(&one, "p-2")).await);
    for n in 1..20 {
        desk.add_identifier(add(&one, &format!("q-{n}"))).await.unwrap();
    }
    seen.refuses(BY, "TOO_MANY_IDENTIFIERS", desk.add_identifier(add(&one, "p-9")).await);
    seen.prefers("IDENTIFIER_TAKEN", "TOO_MANY_IDENTIFIERS", desk.add_identifier(add(&one, "p-2")).await);
    let again = v1::AddIdentifierRequest { request_id: "again".into(), ..add(&one, "q-1") };
    seen.prefers("IDENTIFIER_HELD", "TOO_MANY_IDENTIFIERS", desk.add_identifier(again).await);
    let born = |member: &str, day: i32| v1::UpdateMemberRequest {
        request_id: format!("born-{day}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        profile: Some(v1::Profile { birth_date: Some(v1::Date { year: 0, month: 1, day }), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["birth_date".into()] }),
        ..Default::default()
    };
    desk.update_member(born(&one, 1)).await.unwrap();
    seen.refuses(BY, "BIRTH_DATE_CHANGES_USED_UP", desk.update_member(born(&one, 2)).await);
    desk.suspend_member(suspend(&one, "suspend-1")).await.unwrap();
    seen.refuses(BY, "MEMBER_SUSPENDED", desk.suspend_member(suspend(&one, "suspend-2")).await);
    let reactivate = |member: &str| v1::ReactivateMemberRequest {
        request_id: "reactivate".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        reason: "why".into(),
        actor: actor(),
    };
    seen.refuses(BY, "MEMBER_NOT_SUSPENDED", desk.reactivate_member(reactivate(&other)).await);
    seen.prefers("MEMBER_ERASED", "MEMBER_NOT_SUSPENDED", desk.reactivate_member(reactivate(&gone)).await);
    seen.refuses(Code::InvalidArgument, "TIER_NOT_FOUND", desk.set_member_tier(set_tier(&other, "copper")).await);
    let over = |tier: &str| v1::SetMemberTierRequest {
        request_id: format!("over-{tier}"),
        last_date: Some(v1::Date { year: 2020, month: 1, day: 1 }),
        ..set_tier(&other, tier)
    };
    seen.refuses(Code::InvalidArgument, "TIER_END_PAST", desk.set_member_tier(over("gold")).await);
    seen.prefers("TIER_NOT_FOUND", "TIER_END_PAST", desk.set_member_tier(over("copper")).await);
    seen.prefers("MEMBER_ERASED", "TIER_NOT_FOUND", desk.set_member_tier(set_tier(&gone, "copper")).await);
    desk.set_member_tier(set_tier(&other, "gold")).await.unwrap();
    let once_more = v1::SetMemberTierRequest { request_id: "gold-again".into(), ..set_tier(&other, "gold") };
    seen.refuses(BY, "TIER_HELD", desk.set_member_tier(once_more).await);
    let mut points = server.points();
    seen.refuses(BY, "ADJUSTMENT_TOO_LARGE", points.adjust_points(adjustment(&other, "large", 10_001)).await);
    seen.prefers("MEMBER_SUSPENDED", "ADJUSTMENT_TOO_LARGE", points.adjust_points(adjustment(&one, "large", 10_001)).await);
    seen.prefers("MEMBER_ERASED", "ADJUSTMENT_TOO_LARGE", points.adjust_points(adjustment(&gone, "large", 10_001)).await);
    let unbounded = enroll_in(server, PLAIN, "p-plain").await;
    let most = |request: &str| v1::AdjustPointsRequest { program_id: PLAIN.into(), ..adjustment(&unbounded, request, i64::MAX) };
    points.adjust_points(most("most")).await.unwrap();
    seen.refuses(Code::OutOfRange, "NUMBER_TOO_LARGE", points.adjust_points(most("more")).await);
}

fn merging(member: &str, into: Option<v1::MemberRef>) -> v1::MergeMembersRequest {
    v1::MergeMembersRequest {
        request_id: format!("merge-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        into,
        reason: "two cards".into(),
        actor: actor(),
    }
}

async fn merges(server: &TestServer, seen: &mut Seen) {
    let (old, new, gone) = (member_with(server, "m-1", 100).await, member_with(server, "m-2", 100).await, server.enroll("m-3").await);
    let (mut desk, mut points) = (server.members(), server.points());
    let erase = v1::EraseMemberRequest {
        request_id: "erase-m".into(),
        program_id: PROGRAM.into(),
        member: by_id(&gone),
        reason: "why".into(),
        actor: actor(),
    };
    desk.erase_member(erase).await.unwrap();
    seen.refuses(Code::NotFound, "MERGE_TARGET_NOT_FOUND", desk.merge_members(merging(&old, by_id(NOBODY))).await);
    seen.prefers("MEMBER_NOT_FOUND", "MERGE_TARGET_NOT_FOUND", desk.merge_members(merging(NOBODY, by_id(NOBODY))).await);
    seen.prefers("MERGE_TARGET_NOT_FOUND", "MEMBER_ERASED", desk.merge_members(merging(&gone, by_id(NOBODY))).await);
    seen.refuses(BY, "MEMBER_ERASED", desk.merge_members(merging(&gone, by_id(&new))).await);
    seen.refuses(BY, "MEMBER_ERASED", desk.merge_members(merging(&old, by_id(&gone))).await);
    seen.prefers("MEMBER_ERASED", "MERGE_WITH_SELF", desk.merge_members(merging(&gone, by_id(&gone))).await);
    let held = points.hold_points(hold(&old, "m-hold", 10)).await.unwrap().into_inner().hold.unwrap().hold_id;
    seen.refuses(Code::InvalidArgument, "MERGE_WITH_SELF", desk.merge_members(merging(&new, by_id(&new))).await);
    seen.prefers("MERGE_WITH_SELF", "HOLDS_OPEN", desk.merge_members(merging(&old, by_card("m-1"))).await);
    seen.refuses(BY, "HOLDS_OPEN", desk.merge_members(merging(&old, by_id(&new))).await);
    seen.prefers("MEMBER_ERASED", "HOLDS_OPEN", desk.merge_members(merging(&old, by_id(&gone))).await);
    let captured = v1::CaptureHoldRequest { request_id: "m-capture".into(), ..capture(&old, &held, None) };
    points.capture_hold(captured).await.unwrap();
    // The same number of an entry in both.
    let own = points.hold_points(hold(&new, "m-own-hold", 10)).await.unwrap().into_inner().hold.unwrap().hold_id;
    let captured = points.capture_hold(v1::CaptureHoldRequest { request_id: "m-own".into(), ..capture(&new, &own, None) }).await.unwrap();
    let sequence = captured.into_inner().entry.unwrap().sequence;
    desk.merge_members(merging(&old, by_id(&new))).await.unwrap();
    let again = v1::MergeMembersRequest { request_id: "again".into(), ..merging(&old, by_id(&new)) };
    seen.refuses(BY, "MEMBER_MERGED", desk.merge_members(again.clone()).await);
    seen.prefers("MEMBER_ERASED", "MEMBER_MERGED", desk.merge_members(v1::MergeMembersRequest { into: by_id(&gone), ..again }).await);
    let by_number = |points| v1::ReverseRedemptionRequest { member: by_card("m-1"), ..reversal(&new, sequence, points) };
    seen.refuses(BY, "ENTRY_AMBIGUOUS", points.reverse_redemption(by_number(None)).await);
    seen.prefers("ENTRY_AMBIGUOUS", "MORE_THAN_REDEEMED", points.reverse_redemption(by_number(Some(99))).await);
    too_many_merged(server, seen).await;
    too_large_to_merge(server, seen).await;
}

async fn too_many_merged(server: &TestServer, seen: &mut Seen) {
    let mut desk = server.members();
    let mut nameless = Vec::new();
    for n in 0..34 {
        let request = v1::EnrollMemberRequest { request_id: format!("m-{n}"), program_id: PROGRAM.into(), ..Default::default() };
        nameless.push(desk.enroll_member(request).await.unwrap().into_inner().member.unwrap().member_id);
    }
    for member in &nameless[2..] {
        desk.merge_members(merging(member, by_id(&nameless[0]))).await.unwrap();
    }
    seen.refuses(BY, "TOO_MANY_MERGED", desk.merge_members(merging(&nameless[1], by_id(&nameless[0]))).await);
    let merged = v1::MergeMembersRequest { request_id: "m-merged".into(), ..merging(&nameless[2], by_id(&nameless[0])) };
    seen.prefers("MEMBER_MERGED", "TOO_MANY_MERGED", desk.merge_members(merged).await);
    server.points().adjust_points(adjustment(&nameless[1], "m-points", 100)).await.unwrap();
    server.points().hold_points(hold(&nameless[1], "m-last-hold", 10)).await.unwrap();
    seen.prefers("HOLDS_OPEN", "TOO_MANY_MERGED", desk.merge_members(merging(&nameless[1], by_id(&nameless[0]))).await);
    for (place, member) in [&nameless[0], &nameless[1]].into_iter().enumerate() {
        for n in 0..12 {
            desk.add_identifier(add(member, &format!("m-{place}-{n}"))).await.unwrap();
        }
    }
    let other_way = desk.merge_members(merging(&nameless[0], by_id(&nameless[1]))).await;
    seen.prefers("TOO_MANY_MERGED", "TOO_MANY_IDENTIFIERS", other_way);
}

async fn too_large_to_merge(server: &TestServer, seen: &mut Seen) {
    let mut desk = server.members();
    let (full, other) = (enroll_in(server, MANY, "m-full").await, enroll_in(server, MANY, "m-other").await);
    let buys = |n| v1::RecordPurchaseRequest { program_id: MANY.into(), ..sale(&full, &format!("m-{n}"), "100000") };
    let batch = v1::BatchRecordPurchasesRequest { purchases: (0..401).map(buys).collect() };
    server.purchases().batch_record_purchases(batch).await.unwrap();
    for (member, name) in [(&full, "f"), (&other, "o")] {
        for n in 0..12 {
            let request = v1::AddIdentifierRequest { program_id: MANY.into(), ..add(member, &format!("m-{name}-{n}")) };
            desk.add_identifier(request).await.unwrap();
        }
    }
    let merge = |from: &str, into| v1::MergeMembersRequest { program_id: MANY.into(), ..merging(from, into) };
    seen.refuses(BY, "MERGE_TOO_LARGE", desk.merge_members(merge(&full, by_id(&other))).await);
    seen.prefers("MERGE_TOO_LARGE", "TOO_MANY_IDENTIFIERS", desk.merge_members(merge(&full, by_id(&other))).await);
    seen.refuses(BY, "TOO_MANY_IDENTIFIERS", desk.merge_members(merge(&other, by_id(&full))).await);
}

async fn sales(server: &TestServer, seen: &mut Seen) {
    let (member, suspended) = (server.enroll("s-1").await, server.enroll("s-2").await);
    server.members().suspend_member(suspend(&suspended, "suspend-s")).await.unwrap();
    let mut tills = server.purchases();
    tills.record_purchase(sale(&member, "s-1", "500000")).await.unwrap();
    let again = |member: &str| v1::RecordPurchaseRequest { request_id: "again-s".into(), ..sale(member, "s-1", "500000") };
    seen.refuses(Code::AlreadyExists, "PURCHASE_EXISTS", tills.record_purchase(again(&member)).await);
    seen.prefers("MEMBER_NOT_FOUND", "PURCHASE_EXISTS", tills.record_purchase(again(NOBODY)).await);
    seen.prefers("PURCHASE_EXISTS", "MEMBER_SUSPENDED", tills.record_purchase(again(&suspended)).await);
    seen.prefers("PURCHASE_EXISTS", "PURCHASE_TOO_OLD", tills.record_purchase(dated(server, again(&member), -40)).await);
    seen.refuses(Code::OutOfRange, "PURCHASE_TOO_OLD", tills.record_purchase(dated(server, sale(&member, "s-2", "500000"), -40)).await);
    seen.refuses(Code::OutOfRange, "PURCHASE_IN_FUTURE", tills.record_purchase(dated(server, sale(&member, "s-2", "500000"), 2)).await);
    let old = dated(server, sale(&suspended, "s-2", "500000"), -40);
    seen.prefers("MEMBER_SUSPENDED", "PURCHASE_TOO_OLD", tills.record_purchase(old).await);
    let paid = |payment| paid_sale(&member, "s-2", 100_000, 1_000, vec![payment]);
    let poor = dated(server, paid(Pays::RedeemPoints(5_000)), -40);
    seen.prefers("PURCHASE_TOO_OLD", "INSUFFICIENT_POINTS", tills.record_purchase(poor).await);
    let effects = |payments, worth| {
        let mut request = paid_sale(&member, "s-2", 100_000, worth, payments);
        let purchase = request.purchase.as_mut().unwrap();
        (purchase.apply_price_effects, purchase.total, purchase.lines[0].amount) = (true, vnd("100001"), vnd("100001"));
        request
    };
    seen.refuses(BY, "TENDERS_MISMATCH", tills.record_purchase(effects(vec![], 1_000)).await);
    let old = dated(server, effects(vec![], 1_000), -40);
    seen.prefers("PURCHASE_TOO_OLD", "TENDERS_MISMATCH", tills.record_purchase(old).await);
    let poor = effects(vec![Pays::RedeemPoints(5_000)], 1_000);
    seen.prefers("TENDERS_MISMATCH", "INSUFFICIENT_POINTS", tills.record_purchase(poor).await);
    let quoted = |request| v1::RecordPurchaseRequest { quote_id: format!("q1-{}", "0".repeat(80)), ..request };
    seen.refuses(BY, "QUOTE_CHANGED", tills.record_purchase(quoted(sale(&member, "s-2", "500000"))).await);
    seen.prefers("TENDERS_MISMATCH", "QUOTE_CHANGED", tills.record_purchase(quoted(effects(vec![], 1_000))).await);
    seen.refuses(BY, "NOTHING_PENDING", tills.confirm_purchase(confirm("s-1")).await);
    server.members().suspend_member(suspend(&member, "suspend-s-1")).await.unwrap();
    seen.prefers("MEMBER_SUSPENDED", "NOTHING_PENDING", tills.confirm_purchase(confirm("s-1")).await);
    let busy = enroll_in(server, BUSY, "s-busy").await;
    let complex = |payments: Vec<Pays>, worth| {
        let mut request = v1::RecordPurchaseRequest { program_id: BUSY.into(), ..paid_sale(&busy, "s-9", 100_000_000, worth, payments) };
        if let Some(purchase) = &mut request.purchase {
            purchase.lines = vec![line("rice", "10000"); 10_000];
        }
        request
    };
    seen.refuses(BY, "PURCHASE_TOO_COMPLEX", tills.record_purchase(complex(vec![], 0)).await);
    let poor = complex(vec![Pays::RedeemPoints(100)], 10_000);
    seen.prefers("INSUFFICIENT_POINTS", "PURCHASE_TOO_COMPLEX", tills.record_purchase(poor).await);
    let gift = v1::AdjustPointsRequest { program_id: BUSY.into(), ..adjustment(&busy, "gift-busy", 100) };
    server.points().adjust_points(gift).await.unwrap();
    let mismatch = complex(vec![Pays::RedeemPoints(100)], 9_000);
    seen.prefers("PAYMENT_MISMATCH", "PURCHASE_TOO_COMPLEX", tills.record_purchase(mismatch).await);
}

async fn spending_of_points(server: &TestServer, seen: &mut Seen) {
    let member = member_with(server, "r-1", 200).await;
    let (mut points, mut tills) = (server.points(), server.purchases());
    let plain = enroll_in(server, PLAIN, "r-plain").await;
    let in_plain = v1::RedeemPointsRequest { program_id: PLAIN.into(), ..redeem(&plain, "r", 3, "") };
    seen.refuses(BY, "REDEMPTION_NOT_OFFERED", points.redeem_points(in_plain).await);
    seen.refuses(Code::InvalidArgument, "ORDER_TOTAL_REQUIRED", points.redeem_points(redeem(&member, "r", 50, "")).await);
    seen.prefers("ORDER_TOTAL_REQUIRED", "NOT_IN_STEPS", points.redeem_points(redeem(&member, "r", 51, "")).await);
    seen.refuses(BY, "BELOW_MINIMUM", points.redeem_points(redeem(&member, "r", 3, "1000000")).await);
    seen.prefers("BELOW_MINIMUM", "OVER_ORDER", points.redeem_points(redeem(&member, "r", 3, "100")).await);
    seen.refuses(BY, "NOT_IN_STEPS", points.redeem_points(redeem(&member, "r", 51, "1000000")).await);
    seen.prefers("NOT_IN_STEPS", "OVER_ORDER", points.redeem_points(redeem(&member, "r", 51, "100")).await);
    seen.prefers("NOT_IN_STEPS", "INSUFFICIENT_POINTS", points.redeem_points(redeem(&member, "r", 1_001, "1000000")).await);
    seen.refuses(BY, "OVER_ORDER", points.redeem_points(redeem(&member, "r", 100, "10000")).await);
    seen.prefers("OVER_ORDER", "INSUFFICIENT_POINTS", points.redeem_points(redeem(&member, "r", 1_000, "10000")).await);
    seen.refuses(BY, "INSUFFICIENT_POINTS", points.redeem_points(redeem(&member, "r", 1_000, "1000000")).await);
    let spent = points.redeem_points(redeem(&member, "spent", 50, "1000000")).await.unwrap().into_inner().entry.unwrap().sequence;
    seen.refuses(Code::NotFound, "REDEMPTION_NOT_FOUND", points.reverse_redemption(reversal(&member, 1, None)).await);
    seen.refuses(BY, "MORE_THAN_REDEEMED", points.reverse_redemption(reversal(&member, spent, Some(51))).await);
    let paid = |worth, payments| paid_sale(&member, "r-o", 100_000, worth, payments);
    seen.refuses(BY, "PAYMENT_MISMATCH", tills.record_purchase(paid(4_900, vec![Pays::RedeemPoints(50)])).await);
    let over = paid_sale(&member, "r-o", 8_000, 4_900, vec![Pays::RedeemPoints(50)]);
    seen.prefers("OVER_ORDER", "PAYMENT_MISMATCH", tills.record_purchase(over).await);
    let poor = paid(4_900, vec![Pays::RedeemPoints(400)]);
    seen.prefers("INSUFFICIENT_POINTS", "PAYMENT_MISMATCH", tills.record_purchase(poor).await);
    let elsewhere = || vec![Pays::RedemptionSequence(spent)];
    seen.refuses(BY, "REDEMPTION_UNUSABLE", tills.record_purchase(paid(5_000, elsewhere())).await);
    seen.prefers("REDEMPTION_UNUSABLE", "PAYMENT_MISMATCH", tills.record_purchase(paid(4_900, elsewhere())).await);
    let unknown = paid(5_000, vec![Pays::RedemptionSequence(99)]);
    seen.prefers("REDEMPTION_NOT_FOUND", "PAYMENT_MISMATCH", tills.record_purchase(unknown).await);
    points.adjust_points(adjustment(&member, "into-debt", -500)).await.unwrap();
    seen.refuses(BY, "IN_DEBT", points.redeem_points(redeem(&member, "r", 50, "1000000")).await);
    seen.prefers("ORDER_TOTAL_REQUIRED", "IN_DEBT", points.redeem_points(redeem(&member, "r", 50, "")).await);
    seen.prefers("IN_DEBT", "BELOW_MINIMUM", points.redeem_points(redeem(&member, "r", 3, "1000000")).await);
    seen.prefers("IN_DEBT", "INSUFFICIENT_POINTS", points.redeem_points(redeem(&member, "r", 1_000, "1000000")).await);
    server.members().suspend_member(suspend(&member, "suspend-r")).await.unwrap();
    seen.prefers("MEMBER_SUSPENDED", "ORDER_TOTAL_REQUIRED", points.redeem_points(redeem(&member, "r", 50, "")).await);
    seen.prefers("MEMBER_SUSPENDED", "IN_DEBT", points.redeem_points(redeem(&member, "r", 50, "1000000")).await);
}

async fn holds(server: &TestServer, seen: &mut Seen) {
    let member = member_with(server, "h-1", 1_000).await;
    let (mut points, mut tills) = (server.points(), server.purchases());
    seen.refuses(BY, "HOLD_TOO_LONG", points.hold_points(lasting(hold(&member, "h", 10), 3_601)).await);
    let without = v1::HoldPointsRequest { order_total: None, ..lasting(hold(&member, "h", 10), 3_601) };
    seen.prefers("ORDER_TOTAL_REQUIRED", "HOLD_TOO_LONG", points.hold_points(without).await);
    seen.prefers("HOLD_TOO_LONG", "BELOW_MINIMUM", points.hold_points(lasting(hold(&member, "h", 1), 3_601)).await);
    let held = points.hold_points(hold(&member, "held", 10)).await.unwrap().into_inner().hold.unwrap().hold_id;
    seen.refuses(Code::NotFound, "HOLD_NOT_FOUND", points.capture_hold(capture(&member, "1", None)).await);
    seen.refuses(BY, "MORE_THAN_HELD", points.capture_hold(capture(&member, &held, Some(11))).await);
    let pays = |hold: &str, points| Pays::CaptureHold(v1::points_payment::HoldCapture { hold_id: hold.into(), points });
    let mismatch = |payment| paid_sale(&member, "h-o", 100_000, 7, vec![payment]);
    seen.prefers("HOLD_NOT_FOUND", "PAYMENT_MISMATCH", tills.record_purchase(mismatch(pays("1", None))).await);
    seen.prefers("MORE_THAN_HELD", "PAYMENT_MISMATCH", tills.record_purchase(mismatch(pays(&held, Some(11)))).await);
    points.capture_hold(v1::CaptureHoldRequest { request_id: "captured".into(), ..capture(&member, &held, None) }).await.unwrap();
    seen.refuses(BY, "HOLD_ENDED", points.capture_hold(capture(&member, &held, None)).await);
    seen.prefers("HOLD_ENDED", "MORE_THAN_HELD", points.capture_hold(capture(&member, &held, Some(11))).await);
    seen.prefers("HOLD_ENDED", "PAYMENT_MISMATCH", tills.record_purchase(mismatch(pays(&held, None))).await);
    for n in 0..100 {
        points.hold_points(hold(&member, &format!("many-{n}"), 5)).await.unwrap();
    }
    seen.refuses(BY, "TOO_MANY_HOLDS", points.hold_points(hold(&member, "h", 10)).await);
    seen.prefers("HOLD_TOO_LONG", "TOO_MANY_HOLDS", points.hold_points(lasting(hold(&member, "h", 10), 3_601)).await);
    seen.prefers("TOO_MANY_HOLDS", "INSUFFICIENT_POINTS", points.hold_points(hold(&member, "h", 9_000)).await);
    points.adjust_points(adjustment(&member, "h-debt", -5_000)).await.unwrap();
    seen.prefers("TOO_MANY_HOLDS", "IN_DEBT", points.hold_points(hold(&member, "h", 10)).await);
    server.members().suspend_member(suspend(&member, "suspend-h")).await.unwrap();
    seen.prefers("MEMBER_SUSPENDED", "HOLD_TOO_LONG", points.hold_points(lasting(hold(&member, "h", 10), 3_601)).await);
    seen.prefers("MEMBER_SUSPENDED", "HOLD_NOT_FOUND", points.capture_hold(capture(&member, "1", None)).await);
}

async fn gifts(server: &TestServer, seen: &mut Seen) {
    let (one, other, gone) = (member_with(server, "g-1", 200).await, server.enroll("g-2").await, server.enroll("g-3").await);
    let mut points = server.points();
    let plain = enroll_in(server, PLAIN, "g-plain").await;
    let other_plain = enroll_in(server, PLAIN, "g-plain-2").await;
    let in_plain = |to: &str| v1::TransferPointsRequest { program_id: PLAIN.into(), ..give(&plain, by_id(to), 10) };
    seen.refuses(BY, "TRANSFERS_NOT_OFFERED", points.transfer_points(in_plain(&other_plain)).await);
    seen.prefers("RECIPIENT_NOT_FOUND", "TRANSFERS_NOT_OFFERED", points.transfer_points(in_plain(NOBODY)).await);
    seen.prefers("TRANSFERS_NOT_OFFERED", "TRANSFER_TO_SELF", points.transfer_points(in_plain(&plain)).await);
    seen.refuses(Code::NotFound, "RECIPIENT_NOT_FOUND", points.transfer_points(give(&one, by_card("g-9"), 10)).await);
    seen.prefers("MEMBER_NOT_FOUND", "RECIPIENT_NOT_FOUND", points.transfer_points(give(NOBODY, by_card("g-9"), 10)).await);
    seen.prefers("RECIPIENT_NOT_FOUND", "TRANSFER_TOO_LARGE", points.transfer_points(give(&one, by_id(NOBODY), 501)).await);
    seen.refuses(Code::InvalidArgument, "TRANSFER_TO_SELF", points.transfer_points(give(&one, by_id(&one), 10)).await);
    seen.prefers("TRANSFER_TO_SELF", "TRANSFER_TOO_LARGE", points.transfer_points(give(&one, by_id(&one), 501)).await);
    seen.refuses(BY, "TRANSFER_TOO_LARGE", points.transfer_points(give(&one, by_id(&other), 501)).await);
    seen.prefers("BELOW_MINIMUM", "INSUFFICIENT_POINTS", points.transfer_points(give(&other, by_id(&one), 5)).await);
    server.members().suspend_member(suspend(&other, "suspend-g")).await.unwrap();
    seen.refuses(BY, "RECIPIENT_SUSPENDED", points.transfer_points(give(&one, by_id(&other), 10)).await);
    seen.prefers("INSUFFICIENT_POINTS", "RECIPIENT_SUSPENDED", points.transfer_points(give(&one, by_id(&other), 300)).await);
    seen.prefers("RECIPIENT_NOT_FOUND", "MEMBER_SUSPENDED", points.transfer_points(give(&other, by_id(NOBODY), 10)).await);
    let erase = v1::EraseMemberRequest {
        request_id: "erase-g".into(),
        program_id: PROGRAM.into(),
        member: by_id(&gone),
        reason: "why".into(),
        actor: actor(),
    };
    server.members().erase_member(erase).await.unwrap();
    seen.refuses(BY, "RECIPIENT_ERASED", points.transfer_points(give(&one, by_id(&gone), 10)).await);
    seen.prefers("INSUFFICIENT_POINTS", "RECIPIENT_ERASED", points.transfer_points(give(&one, by_id(&gone), 300)).await);
    seen.prefers("RECIPIENT_NOT_FOUND", "MEMBER_ERASED", points.transfer_points(give(&gone, by_id(NOBODY), 10)).await);
    points.adjust_points(adjustment(&one, "g-debt", -500)).await.unwrap();
    seen.prefers("TRANSFER_TOO_LARGE", "IN_DEBT", points.transfer_points(give(&one, by_id(&gone), 501)).await);
    seen.prefers("IN_DEBT", "BELOW_MINIMUM", points.transfer_points(give(&one, by_id(&gone), 5)).await);
}

async fn watched(server: &TestServer, seen: &mut Seen) {
    let member = enroll_in(server, WATCHED, "w-1").await;
    let mut tills = server.purchases();
    let here = |request: v1::RecordPurchaseRequest| v1::RecordPurchaseRequest { program_id: WATCHED.into(), ..request };
    tills.record_purchase(here(sale(&member, "w-1", "500000"))).await.unwrap();
    seen.refuses(BY, "FRAUD_LIMIT", tills.record_purchase(here(sale(&member, "w-2", "500000"))).await);
    let quoted = v1::RecordPurchaseRequest { quote_id: format!("q1-{}", "0".repeat(80)), ..here(sale(&member, "w-2", "500000")) };
    seen.prefers("FRAUD_LIMIT", "QUOTE_CHANGED", tills.record_purchase(quoted).await);
    let mismatch = here(paid_sale(&member, "w-2", 100_000, 999, vec![Pays::RedeemPoints(10)]));
    seen.prefers("PAYMENT_MISMATCH", "FRAUD_LIMIT", tills.record_purchase(mismatch).await);
    let offline = |points: i64, by_points: i64| {
        let mut request = here(paid_sale(&member, "w-2", 100_000, by_points, vec![Pays::RedeemPoints(points)]));
        request.purchase.as_mut().unwrap().offline = true;
        dated(server, request, 0)
    };
    seen.refuses(BY, "OVER_FLOOR_LIMIT", tills.record_purchase(offline(15, 1_500)).await);
    seen.prefers("OVER_FLOOR_LIMIT", "NOT_IN_STEPS", tills.record_purchase(offline(16, 1_600)).await);
    seen.prefers("OVER_FLOOR_LIMIT", "OVER_ORDER", tills.record_purchase(offline(900, 90_000)).await);
    seen.prefers("OVER_FLOOR_LIMIT", "FRAUD_LIMIT", tills.record_purchase(offline(15, 1_500)).await);
}

async fn small_change(server: &TestServer, seen: &mut Seen) {
    let member = enroll_in(server, CHEAP, "c-1").await;
    let (mut points, mut tills) = (server.points(), server.purchases());
    let cheap = |points: i64| v1::RedeemPointsRequest { program_id: CHEAP.into(), ..redeem(&member, "c", points, "") };
    seen.refuses(BY, "WORTH_NOTHING", points.redeem_points(cheap(999)).await);
    seen.prefers("WORTH_NOTHING", "INSUFFICIENT_POINTS", points.redeem_points(cheap(1)).await);
    // Each of so many sales is a lot: the first of a point, the later ones of two.
    for batch in 0..11 {
        let sold = |n: i32| v1::RecordPurchaseRequest { program_id: CHEAP.into(), ..sale(&member, &format!("c-{batch}-{n}"), "10000") };
        let purchases = (0..1_000).map(sold).collect();
        tills.batch_record_purchases(v1::BatchRecordPurchasesRequest { purchases }).await.unwrap();
    }
    seen.refuses(BY, "TOO_MANY_LOTS", points.redeem_points(cheap(17_000)).await);
    seen.prefers("INSUFFICIENT_POINTS", "TOO_MANY_LOTS", points.redeem_points(cheap(18_500)).await);
}

async fn returns(server: &TestServer, seen: &mut Seen) {
    let member = server.enroll("b-1").await;
    let mut tills = server.purchases();
    for order in ["b-1", "b-2", "b-3"] {
        tills.record_purchase(sale(&member, order, "1000000")).await.unwrap();
    }
    let again = |order: &str, request: &str| v1::ReturnPurchaseRequest { request_id: request.into(), ..back(order, vec![]) };
    tills.return_purchase(again("b-1", "all")).await.unwrap();
    seen.refuses(BY, "PURCHASE_RETURNED", tills.return_purchase(back("b-1", vec![])).await);
    seen.prefers("PURCHASE_RETURNED", "RETURN_LINE_NOT_FOUND", tills.return_purchase(back("b-1", vec![part(7, "1")])).await);
    seen.refuses(Code::InvalidArgument, "RETURN_LINE_NOT_FOUND", tills.return_purchase(back("b-2", vec![part(7, "1")])).await);
    seen.refuses(BY, "RETURN_TOO_LARGE", tills.return_purchase(back("b-2", vec![part(0, "2")])).await);
    // An exchange is bought by somebody, now: that is judged first. How it is paid comes last.
    let exchange = |request: v1::ReturnPurchaseRequest, bought: v1::RecordPurchaseRequest| v1::ReturnPurchaseRequest {
        exchange: bought.purchase,
        ..request
    };
    let old = dated(server, sale(&member, "b-9", "10000"), -40);
    seen.prefers("PURCHASE_TOO_OLD", "PURCHASE_RETURNED", tills.return_purchase(exchange(back("b-1", vec![]), old)).await);
    let unheld = Pays::CaptureHold(v1::points_payment::HoldCapture { hold_id: "1".into(), points: None });
    let unpaid = paid_sale(&member, "b-9", 100_000, 1_000, vec![unheld]);
    seen.prefers("PURCHASE_RETURNED", "HOLD_NOT_FOUND", tills.return_purchase(exchange(back("b-1", vec![]), unpaid.clone())).await);
    // A return in parts, until there are too many.
    for n in 0..1_000 {
        let piece = v1::ReturnPurchaseRequest { request_id: format!("piece-{n}"), ..back("b-2", vec![part(0, "0.001")]) };
        if n < 999 {
            tills.return_purchase(piece).await.unwrap();
        }
    }
    let rest = v1::ReturnPurchaseRequest { request_id: "penny".into(), amount: vnd("1"), whole_purchase: false, ..back("b-2", vec![]) };
    tills.return_purchase(rest.clone()).await.unwrap();
    let penny = v1::ReturnPurchaseRequest { request_id: "pennies".into(), ..rest };
    seen.refuses(BY, "TOO_MANY_RETURNS", tills.return_purchase(penny).await);
    seen.prefers("TOO_MANY_RETURNS", "RETURN_LINE_NOT_FOUND", tills.return_purchase(back("b-2", vec![part(7, "1")])).await);
    // What was earned is spent: what the return lacks is refused.
    let left = server.member(&member).await.balance.unwrap().available;
    server.points().adjust_points(adjustment(&member, "b-spent", -left)).await.unwrap();
    seen.refuses(BY, "RETURN_SHORTFALL", tills.return_purchase(back("b-3", vec![])).await);
    seen.prefers("RETURN_TOO_LARGE", "RETURN_SHORTFALL", tills.return_purchase(back("b-3", vec![part(0, "2")])).await);
    seen.prefers("RETURN_SHORTFALL", "HOLD_NOT_FOUND", tills.return_purchase(exchange(back("b-3", vec![]), unpaid)).await);
    server.members().suspend_member(suspend(&member, "suspend-b")).await.unwrap();
    let bought = sale(&member, "b-9", "10000");
    seen.prefers("MEMBER_SUSPENDED", "PURCHASE_RETURNED", tills.return_purchase(exchange(back("b-1", vec![]), bought)).await);
}

fn did(member: &str, activity: &str, referrer: Option<v1::MemberRef>) -> v1::RecordActivityRequest {
    v1::RecordActivityRequest {
        request_id: "did".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        activity: activity.into(),
        reference: "friend".into(),
        referrer,
        ..Default::default()
    }
}

async fn activities(server: &TestServer, seen: &mut Seen) {
    let (one, other, gone) = (server.enroll("a-1").await, server.enroll("a-2").await, server.enroll("a-3").await);
    let mut points = server.points();
    let at = |days: i64| Some(prost_types::Timestamp { seconds: server.clock_now().seconds + days * 86_400, nanos: 0 });
    let dated = |request: v1::RecordActivityRequest, days| v1::RecordActivityRequest { occurred_time: at(days), ..request };
    seen.refuses(Code::NotFound, "REFERRER_NOT_FOUND", points.record_activity(did(&one, "referral", by_id(NOBODY))).await);
    seen.prefers("MEMBER_NOT_FOUND", "REFERRER_NOT_FOUND", points.record_activity(did(NOBODY, "referral", by_id(NOBODY))).await);
    let old = dated(did(&one, "referral", by_id(NOBODY)), -40);
    seen.prefers("REFERRER_NOT_FOUND", "ACTIVITY_TOO_OLD", points.record_activity(old).await);
    seen.refuses(Code::InvalidArgument, "REFERRAL_TO_SELF", points.record_activity(did(&one, "referral", by_id(&one))).await);
    let old = dated(did(&one, "referral", by_id(&one)), -40);
    seen.prefers("REFERRAL_TO_SELF", "ACTIVITY_TOO_OLD", points.record_activity(old).await);
    seen.refuses(Code::OutOfRange, "ACTIVITY_TOO_OLD", points.record_activity(dated(did(&one, "referral", None), -40)).await);
    seen.prefers("ACTIVITY_TOO_OLD", "ACTIVITY_NOT_OFFERED", points.record_activity(dated(did(&one, "dance", None), -40)).await);
    seen.refuses(Code::OutOfRange, "ACTIVITY_IN_FUTURE", points.record_activity(dated(did(&one, "referral", None), 2)).await);
    seen.refuses(BY, "ACTIVITY_NOT_OFFERED", points.record_activity(did(&one, "dance", None)).await);
    seen.refuses(Code::InvalidArgument, "REFERRER_REQUIRED", points.record_activity(did(&one, "lead", None)).await);
    let (old, young) = (server.enroll("a-5").await, server.enroll("a-6").await);
    let waits = v1::RecordActivityRequest { request_id: "waits".into(), ..did(&old, "friend", by_id(&young)) };
    points.record_activity(waits).await.unwrap();
    seen.refuses(BY, "REFERRAL_RING", points.record_activity(did(&young, "friend", by_id(&old))).await);
    server.purchases().record_purchase(sale(&young, "a-7", "10000")).await.unwrap();
    seen.refuses(BY, "REFERRAL_TOO_LATE", points.record_activity(did(&young, "friend", by_id(&other))).await);
    seen.prefers("REFERRAL_TOO_LATE", "REFERRAL_RING", points.record_activity(did(&young, "friend", by_id(&old))).await);
    seen.prefers("REFERRER_REQUIRED", "REFERRAL_TOO_LATE", points.record_activity(did(&young, "friend", None)).await);
    let first = v1::RecordActivityRequest { request_id: "first".into(), ..did(&one, "referral", by_id(&other)) };
    points.record_activity(first).await.unwrap();
    seen.refuses(Code::AlreadyExists, "ACTIVITY_EXISTS", points.record_activity(did(&one, "referral", None)).await);
    let again = did(&one, "referral", by_id(NOBODY));
    seen.prefers("ACTIVITY_EXISTS", "REFERRER_NOT_FOUND", points.record_activity(again).await);
    let erase = v1::EraseMemberRequest {
        request_id: "erase-a".into(),
        program_id: PROGRAM.into(),
        member: by_id(&gone),
        reason: "why".into(),
        actor: actor(),
    };
    server.members().erase_member(erase).await.unwrap();
    seen.prefers("ACTIVITY_NOT_OFFERED", "MEMBER_ERASED", points.record_activity(did(&gone, "dance", None)).await);
    seen.prefers("MEMBER_ERASED", "REFERRER_ERASED", points.record_activity(did(&gone, "referral", by_id(&other))).await);
    let new = server.enroll("a-4").await;
    seen.refuses(BY, "REFERRER_ERASED", points.record_activity(did(&new, "referral", by_id(&gone))).await);
    server.members().suspend_member(suspend(&other, "suspend-a")).await.unwrap();
    seen.refuses(BY, "REFERRER_SUSPENDED", points.record_activity(did(&new, "referral", by_id(&other))).await);
    server.members().suspend_member(suspend(&new, "suspend-n")).await.unwrap();
    seen.prefers("MEMBER_SUSPENDED", "REFERRER_SUSPENDED", points.record_activity(did(&new, "referral", by_id(&other))).await);
    seen.prefers("ACTIVITY_NOT_OFFERED", "MEMBER_SUSPENDED", points.record_activity(did(&new, "dance", None)).await);
}

fn issue(member: &str, request: &str, kind: &str) -> v1::IssueVoucherRequest {
    v1::IssueVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        voucher_kind_id: kind.into(),
        reason: "why".into(),
        actor: actor(),
    }
}

fn use_voucher(code: &str, order: &str, total: &str) -> v1::UseVoucherRequest {
    v1::UseVoucherRequest {
        request_id: "use".into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        order_total: if total.is_empty() { None } else { vnd(total) },
        value: None,
        actor: None,
    }
}

fn with_vouchers(mut sale: v1::RecordPurchaseRequest, codes: &[&str]) -> v1::RecordPurchaseRequest {
    let purchase = sale.purchase.as_mut().expect("a purchase");
    purchase.voucher_codes = codes.iter().map(|code| (*code).to_owned()).collect();
    sale
}

/// A code that is well-formed, and that no voucher has.
const NO_CODE: &str = "0000-0000-0000-00000";

fn ask(member: &str, request: &str, reward: &str, quantity: i32) -> v1::RedeemRewardRequest {
    let (request_id, program_id, reward_id) = (request.into(), PROGRAM.into(), reward.into());
    v1::RedeemRewardRequest { request_id, program_id, member: by_id(member), reward_id, quantity, actor: None }
}

async fn rewards(server: &TestServer, seen: &mut Seen) {
    let (an, binh) = (member_with(server, "w-1", 30).await, member_with(server, "w-2", 5).await);
    let mut desk = server.rewards();
    let got = desk.redeem_reward(ask(&an, "w-1", "mug", 2)).await.expect("two").into_inner();
    let back = reversal(&an, got.entries[0].sequence, None);
    seen.refuses(BY, "REDEMPTION_OF_REWARD", server.points().reverse_redemption(back).await);
    seen.refuses(Code::NotFound, "REWARD_NOT_FOUND", desk.redeem_reward(ask(&an, "w-x", "cup", 1)).await);
    seen.refuses(BY, "REWARD_NOT_OFFERED", desk.redeem_reward(ask(&an, "w-x", "past", 9)).await);
    seen.prefers("REWARD_NOT_OFFERED", "REWARD_TIER", desk.redeem_reward(ask(&an, "w-x", "past", 1)).await);
    seen.refuses(BY, "REWARD_TIER", desk.redeem_reward(ask(&an, "w-x", "golden", 1)).await);
    seen.prefers("REWARD_TIER", "REWARD_SEGMENT", desk.redeem_reward(ask(&an, "w-x", "both", 1)).await);
    seen.refuses(BY, "REWARD_SEGMENT", desk.redeem_reward(ask(&an, "w-x", "inner", 1)).await);
    seen.prefers("REWARD_SEGMENT", "REWARD_QUANTITY", desk.redeem_reward(ask(&an, "w-x", "inner", 2)).await);
    seen.refuses(Code::InvalidArgument, "REWARD_QUANTITY", desk.redeem_reward(ask(&an, "w-x", "mug", 6)).await);
    seen.prefers("REWARD_QUANTITY", "REWARD_LIMIT", desk.redeem_reward(ask(&an, "w-x", "few", 4)).await);
    seen.refuses(BY, "REWARD_LIMIT", desk.redeem_reward(ask(&an, "w-x", "mug", 2)).await);
    seen.prefers("REWARD_LIMIT", "REWARD_OUT_OF_STOCK", desk.redeem_reward(ask(&an, "w-x", "few", 2)).await);
    seen.refuses(BY, "REWARD_OUT_OF_STOCK", desk.redeem_reward(ask(&an, "w-x", "rare", 1)).await);
    seen.refuses(BY, "INSUFFICIENT_POINTS", desk.redeem_reward(ask(&binh, "w-x", "mug", 1)).await);
    server.points().adjust_points(adjustment(&an, "w-owes", -50)).await.expect("points are taken");
    seen.prefers("REWARD_OUT_OF_STOCK", "IN_DEBT", desk.redeem_reward(ask(&an, "w-x", "rare", 1)).await);
    seen.prefers("IN_DEBT", "INSUFFICIENT_POINTS", desk.redeem_reward(ask(&an, "w-x", "mug", 1)).await);
    server.members().suspend_member(suspend(&an, "suspend-w")).await.unwrap();
    seen.prefers("MEMBER_SUSPENDED", "REWARD_NOT_FOUND", desk.redeem_reward(ask(&an, "w-x", "cup", 1)).await);
}

async fn offers(server: &TestServer, seen: &mut Seen) {
    let an = server.enroll("f-1").await;
    let mut desk = server.offers();
    let (ask, given) = (
        |request: &str, offer: &str| v1::ActivateOfferRequest {
            request_id: request.into(),
            program_id: PROGRAM.into(),
            member: by_id(&an),
            offer_id: offer.into(),
            actor: None,
        },
        |offer: &str, end_time| v1::AssignOfferRequest {
            request_id: "f-given".into(),
            program_id: PROGRAM.into(),
            member: by_id(&an),
            offer_id: offer.into(),
            reason: "a present".into(),
            actor: actor(),
            end_time,
        },
    );
    let past = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    seen.refuses(Code::NotFound, "OFFER_NOT_FOUND", desk.activate_offer(ask("f-x", "none")).await);
    seen.refuses(BY, "OFFER_NOT_OFFERED", desk.activate_offer(ask("f-x", "past")).await);
    seen.prefers("OFFER_NOT_OFFERED", "OFFER_NOT_PERSONAL", desk.assign_offer(given("past", None)).await);
    seen.refuses(BY, "OFFER_NOT_PERSONAL", desk.assign_offer(given("new", None)).await);
    seen.prefers("OFFER_NOT_PERSONAL", "OFFER_END_PAST", desk.assign_offer(given("new", past)).await);
    seen.refuses(Code::InvalidArgument, "OFFER_END_PAST", desk.assign_offer(given("given", past)).await);
    seen.refuses(BY, "OFFER_NOT_ASSIGNED", desk.activate_offer(ask("f-x", "given")).await);
    seen.refuses(BY, "OFFER_TIER", desk.activate_offer(ask("f-x", "golden")).await);
    seen.prefers("OFFER_TIER", "OFFER_SEGMENT", desk.activate_offer(ask("f-x", "golden")).await);
    seen.refuses(BY, "OFFER_SEGMENT", desk.activate_offer(ask("f-x", "inner")).await);
    seen.refuses(BY, "OFFER_NO_ACTIVATION", desk.activate_offer(ask("f-x", "always")).await);
    desk.activate_offer(ask("f-week", "week")).await.expect("it is for all");
    seen.refuses(BY, "OFFER_ACTIVE", desk.activate_offer(ask("f-x", "week")).await);
    desk.activate_offer(ask("f-once", "once")).await.expect("it is for all");
    seen.refuses(BY, "OFFER_LIMIT", desk.activate_offer(ask("f-x", "once")).await);
    server.days_later(1);
    seen.refuses(BY, "OFFER_NOT_NEW", desk.activate_offer(ask("f-x", "new")).await);
    seen.prefers("OFFER_SEGMENT", "OFFER_NOT_NEW", desk.activate_offer(ask("f-x", "inner")).await);
    seen.refuses(BY, "OFFER_ENDED", desk.activate_offer(ask("f-x", "week")).await);
    server.members().suspend_member(suspend(&an, "suspend-f")).await.unwrap();
    seen.prefers("MEMBER_SUSPENDED", "OFFER_NOT_FOUND", desk.activate_offer(ask("f-x", "none")).await);
}

async fn vouchers(server: &TestServer, seen: &mut Seen) {
    let (an, binh) = (member_with(server, "v-1", 10).await, server.enroll("v-2").await);
    let (mut desk, mut tills) = (server.rewards(), server.purchases());
    let mut codes = Vec::new();
    for (request, kind) in [("v-1", "mug"), ("v-2", "tea"), ("v-3", "soon"), ("v-4", "mug"), ("v-5", "mug")] {
        let issued = desk.issue_voucher(issue(&an, request, kind)).await.expect("it is issued").into_inner();
        codes.push(issued.voucher.expect("a voucher").code);
    }
    let [mug, tea, soon, cancelled, held] = codes.iter().map(String::as_str).collect::<Vec<_>>()[..] else { panic!("{codes:?}") };
    let of = |code: &str| v1::CancelVoucherRequest {
        request_id: "cancel".into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        reason: "why".into(),
        actor: actor(),
    };
    desk.cancel_voucher(of(cancelled)).await.unwrap();
    let hold = |code: &str, request: &str| v1::HoldVoucherRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        code: code.into(),
        store_id: "hcm-1".into(),
        order_id: "cart".into(),
        duration: None,
        actor: None,
    };
    for (request, code) in [("hold-v", held), ("hold-t", tea)] {
        desk.hold_voucher(hold(code, request)).await.unwrap();
    }
    seen.refuses(Code::NotFound, "VOUCHER_KIND_NOT_FOUND", desk.issue_voucher(issue(&an, "v-x", "cup")).await);
    seen.refuses(Code::NotFound, "VOUCHER_NOT_FOUND", desk.use_voucher(use_voucher(NO_CODE, "x", "")).await);
    seen.refuses(BY, "VOUCHER_OF_OTHER_MEMBER", tills.record_purchase(with_vouchers(sale(&binh, "v-1", "1000"), &[mug])).await);
    let release = v1::ReleaseVoucherRequest {
        request_id: "release".into(),
        program_id: PROGRAM.into(),
        code: mug.into(),
        reason: String::new(),
        actor: None,
    };
    seen.refuses(BY, "VOUCHER_NOT_HELD", desk.release_voucher(release).await);
    seen.refuses(BY, "VOUCHER_HELD", desk.use_voucher(use_voucher(held, "other", "")).await);
    seen.prefers("VOUCHER_HELD", "VOUCHER_ORDER_TOTAL_REQUIRED", desk.use_voucher(use_voucher(tea, "other", "")).await);
    seen.refuses(BY, "VOUCHER_CANCELLED", desk.use_voucher(use_voucher(cancelled, "x", "")).await);
    seen.refuses(BY, "VOUCHER_NOT_YET_VALID", desk.use_voucher(use_voucher(soon, "x", "50000")).await);
    seen.prefers("VOUCHER_NOT_YET_VALID", "VOUCHER_BELOW_MINIMUM_ORDER", desk.use_voucher(use_voucher(soon, "x", "1")).await);
    seen.refuses(Code::InvalidArgument, "VOUCHER_ORDER_TOTAL_REQUIRED", desk.use_voucher(use_voucher(tea, "cart", "")).await);
    seen.refuses(BY, "VOUCHER_BELOW_MINIMUM_ORDER", desk.use_voucher(use_voucher(tea, "cart", "49999")).await);
    let cart = |amount: &str| with_vouchers(sale(&an, "cart", amount), &[tea]);
    seen.prefers("VOUCHER_BELOW_MINIMUM_ORDER", "VOUCHER_ITEM_MISSING", tills.record_purchase(cart("49999")).await);
    seen.refuses(BY, "VOUCHER_ITEM_MISSING", tills.record_purchase(cart("50000")).await);
    let snack = desk.issue_voucher(issue(&an, "v-6", "snack")).await.expect("it is issued").into_inner().voucher.expect("a voucher").code;
    let without = with_vouchers(sale(&an, "v-6", "50000"), &[&snack]);
    seen.refuses(BY, "VOUCHER_CATEGORY_MISSING", tills.record_purchase(without).await);
    let poor = paid_sale(&an, "v-3", 10_000, 5_000, vec![Pays::RedeemPoints(50)]);
    seen.prefers("VOUCHER_CANCELLED", "INSUFFICIENT_POINTS", tills.record_purchase(with_vouchers(poor, &[cancelled])).await);
    desk.use_voucher(use_voucher(mug, "x", "")).await.unwrap();
    let again = v1::UseVoucherRequest { request_id: "use-2".into(), ..use_voucher(mug, "y", "") };
    seen.refuses(BY, "VOUCHER_USED", desk.use_voucher(again).await);
    crate::vouchers::issue_many(server, &binh, "mug", 1_000).await;
    seen.refuses(BY, "VOUCHER_TOO_MANY", desk.issue_voucher(issue(&binh, "v-y", "mug")).await);
    seen.prefers("REWARD_OUT_OF_STOCK", "VOUCHER_TOO_MANY", desk.redeem_reward(ask(&binh, "v-y", "rare", 1)).await);
    seen.prefers("VOUCHER_TOO_MANY", "INSUFFICIENT_POINTS", desk.redeem_reward(ask(&binh, "v-y", "mug", 1)).await);
    seen.prefers("VOUCHER_KIND_NOT_FOUND", "VOUCHER_TOO_MANY", desk.issue_voucher(issue(&binh, "v-y", "cup")).await);
    server.members().suspend_member(suspend(&an, "suspend-v")).await.unwrap();
    let unknown = with_vouchers(sale(&an, "v-4", "1000"), &[NO_CODE]);
    seen.prefers("MEMBER_SUSPENDED", "VOUCHER_NOT_FOUND", tills.record_purchase(unknown).await);
    server.days_later(3);
    seen.refuses(BY, "VOUCHER_EXPIRED", desk.cancel_voucher(v1::CancelVoucherRequest { request_id: "cancel-2".into(), ..of(tea) }).await);
}
