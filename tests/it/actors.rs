//! Who did it: every RPC that changes something leaves in what is recorded the principal whose credential the call had, and the actor whom the
//! caller named; callers that are neither tills nor shops have to name one; and what they did is in the audit log.

use std::{collections::BTreeSet, process::Stdio, sync::Arc};

use loyaltyd::{
    config::{AccessConfig, Config},
    contract::{
        rule_book as text,
        v1::{self, audit_service_client::AuditServiceClient},
    },
    grpc::access::roles::{Role, TABLE},
    ledger::ManualClock,
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    redemption::spending,
    support::{
        PROGRAM, TestServer,
        access::{Guarded, by, call, contract, file_of, methods, principal},
        by_id, config, loyaltyd, noon, refused,
    },
};

/// Moves a clock in a sandbox, and enters nothing of its own: what time brings is nobody's.
const CLOCK: &str = "SandboxService/AdvanceClock";
/// Nobody has to be named for these: members make them too, and callers did before they could name somebody.
const MAY_NAME: [&str; 4] =
    ["MemberService/EnrollMember", "MemberService/UpdateMember", "MemberService/AddIdentifier", "MemberService/RemoveIdentifier"];
/// What a till sells is no administrative act, also if its cashier is named, nor are these.
const SALES: [&str; 4] = [
    "PurchaseService/RecordPurchase",
    "PurchaseService/BatchRecordPurchases",
    "PurchaseService/StreamPurchases",
    "PurchaseService/ConfirmPurchase",
];

/// What each of the changes needs: points that wait for a confirmation, tea for points or an apology, and something to tell of.
const MORE: &str = "\
activation: { on_confirmation: {} }
voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]
rewards: [{ reward_id: tea, display_name: A tea, voucher_kind_id: tea, points: 25, maximum_quantity: 2 }]
promotions:
- { promotion_id: sorry, only_with_offer: true, display_name: Sorry, multiply: { multiplier: 3 } }
- { promotion_id: app, only_with_offer: true, display_name: In the app, multiply: { multiplier: 2 } }
offers:
- { offer_id: sorry, display_name: With our apologies, personal: true, promotion_id: sorry }
- { offer_id: app, display_name: Double in the app, requires_activation: true, promotion_id: app }
activity_rules: [{ rule_id: review, activity: review, points: 10, activation: { immediate: {} } }]
";

pub fn book() -> v1::Program {
    let read = text::read(MORE).expect("well-formed fields");
    v1::Program {
        transfers: Some(v1::TransferPolicy::default()),
        activation: read.activation,
        voucher_kinds: read.voucher_kinds,
        rewards: read.rewards,
        promotions: read.promotions,
        offers: read.offers,
        activity_rules: read.activity_rules,
        ..spending()
    }
}

/// A principal of one role each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Till,
    Desk,
    Head,
}

impl Who {
    fn role(self) -> &'static str {
        match self {
            Who::Till => "pos",
            Who::Desk => "support",
            Who::Head => "manager",
        }
    }

    fn principal(self) -> &'static str {
        match self {
            Who::Till => "till-4",
            Who::Desk => "desk-hanoi",
            Who::Head => "head-office",
        }
    }

    fn must_name(self) -> bool {
        self != Who::Till
    }
}

/// What answers said that later requests need.
#[derive(Default)]
struct Met {
    program: Value,
    /// Ids of members; the second becomes a part of the first, and the third is erased.
    members: Vec<String>,
    redemption: Value,
    hold: Value,
    code: Value,
}

impl Met {
    fn of(&self, place: usize) -> Value {
        json!({ "member_id": self.members[place] })
    }

    fn enrolled(&mut self, answer: &Value) {
        self.members.push(text_of(&answer["member"]["memberId"]));
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn vnd(amount: &str) -> Value {
    json!({ "currency_code": "VND", "amount": amount })
}

fn sale(order: &str) -> Value {
    json!({ "store_id": "hcm-1", "order_id": order, "total": vnd("200000"), "lines": [{ "sku": "tea", "amount": vnd("200000") }] })
}

/// A sale that a voucher and 10 points help to pay for.
fn paid_sale(met: &Met) -> Value {
    let mut sale = sale("o-1");
    sale["voucher_codes"] = json!([met.code]);
    sale["points_payments"] = json!([{ "redeem_points": "10" }]);
    sale["tenders"] = json!([{ "kind": "KIND_POINTS", "amount": vnd("1000") }, { "kind": "KIND_CARD", "amount": vnd("199000") }]);
    sale
}

type Body = fn(&Met) -> Value;
type Keep = fn(&mut Met, &Value);
/// Method, caller, request without programme, request id and actor, what is kept of the answer, and whose ledger has the entry.
type Row = (&'static str, Who, Body, Keep, usize);

const NOTHING: Keep = |_, _| {};

/// In the order in which one makes the next one possible.
#[rustfmt::skip]
const ROWS: [Row; 37] = [
    ("ProgramService/PublishProgram", Who::Head, |met| json!({ "program": met.program }), NOTHING, 0),
    ("MemberService/EnrollMember", Who::Desk, |_| json!({ "identifiers": [{ "kind": "KIND_CARD", "value": "c-1" }] }), Met::enrolled, 0),
    ("MemberService/EnrollMember", Who::Till, |_| json!({ "identifiers": [{ "kind": "KIND_CARD", "value": "c-2" }] }), Met::enrolled, 1),
    ("MemberService/EnrollMember", Who::Till, |_| json!({ "identifiers": [{ "kind": "KIND_CARD", "value": "c-3" }] }), Met::enrolled, 2),
    ("MemberService/UpdateMember", Who::Desk,
     |met| json!({ "member": met.of(0), "profile": { "display_name": "An" }, "update_mask": "displayName" }), NOTHING, 0),
    ("MemberService/AddIdentifier", Who::Desk,
     |met| json!({ "member": met.of(0), "identifier": { "kind": "KIND_CARD", "value": "c-9" } }), NOTHING, 0),
    ("MemberService/RemoveIdentifier", Who::Desk,
     |met| json!({ "member": met.of(0), "identifier": { "kind": "KIND_CARD", "value": "c-9" } }), NOTHING, 0),
    ("PointsService/AdjustPoints", Who::Desk, |met| json!({ "member": met.of(0), "points": "2000", "reason": "goodwill" }), NOTHING, 0),
    ("PointsService/RedeemPoints", Who::Desk,
     |met| json!({ "member": met.of(0), "points": "20", "order_total": vnd("1000000") }),
     |met, answer| met.redemption = answer["entry"]["sequence"].clone(), 0),
    ("PointsService/ReverseRedemption", Who::Desk,
     |met| json!({ "member": met.of(0), "redemption_sequence": met.redemption, "reason": "wrong till" }), NOTHING, 0),
    ("PointsService/HoldPoints", Who::Desk,
     |met| json!({ "member": met.of(0), "points": "20", "order_total": vnd("1000000"), "duration": "600s" }),
     |met, answer| met.hold = answer["hold"]["holdId"].clone(), 0),
    ("PointsService/CaptureHold", Who::Desk, |met| json!({ "member": met.of(0), "hold_id": met.hold }), NOTHING, 0),
    ("PointsService/HoldPoints", Who::Till,
     |met| json!({ "member": met.of(0), "points": "20", "order_total": vnd("1000000"), "duration": "600s" }),
     |met, answer| met.hold = answer["hold"]["holdId"].clone(), 0),
    ("PointsService/ReleaseHold", Who::Desk, |met| json!({ "member": met.of(0), "hold_id": met.hold, "reason": "given up" }), NOTHING, 0),
    ("PointsService/TransferPoints", Who::Desk,
     |met| json!({ "member": met.of(0), "recipient": met.of(1), "points": "10", "reason": "family" }), NOTHING, 0),
    ("PointsService/RecordActivity", Who::Desk,
     |met| json!({ "member": met.of(0), "activity": "review", "reference": "r-1" }), NOTHING, 0),
    ("RewardService/RedeemReward", Who::Desk, |met| json!({ "member": met.of(0), "reward_id": "tea", "quantity": 2 }),
     |met, answer| met.code = answer["vouchers"][0]["code"].clone(), 0),
    ("RewardService/HoldVoucher", Who::Desk, |met| json!({ "code": met.code, "store_id": "web", "order_id": "cart-1" }), NOTHING, 0),
    ("RewardService/ReleaseVoucher", Who::Desk, |met| json!({ "code": met.code, "reason": "given up" }), NOTHING, 0),
    ("RewardService/UseVoucher", Who::Desk, |met| json!({ "code": met.code }), NOTHING, 0),
    ("RewardService/IssueVoucher", Who::Desk, |met| json!({ "member": met.of(0), "voucher_kind_id": "tea", "reason": "cold" }),
     |met, answer| met.code = answer["voucher"]["code"].clone(), 0),
    ("RewardService/CancelVoucher", Who::Desk, |met| json!({ "code": met.code, "reason": "it was warm" }), NOTHING, 0),
    ("RewardService/IssueVoucher", Who::Desk, |met| json!({ "member": met.of(0), "voucher_kind_id": "tea", "reason": "it was not" }),
     |met, answer| met.code = answer["voucher"]["code"].clone(), 0),
    ("OfferService/AssignOffer", Who::Desk, |met| json!({ "member": met.of(0), "offer_id": "sorry", "reason": "late" }), NOTHING, 0),
    ("OfferService/WithdrawOffer", Who::Desk, |met| json!({ "member": met.of(0), "offer_id": "sorry", "reason": "on time" }), NOTHING, 0),
    ("OfferService/ActivateOffer", Who::Desk, |met| json!({ "member": met.of(0), "offer_id": "app" }), NOTHING, 0),
    ("PurchaseService/RecordPurchase", Who::Till, |met| json!({ "member": met.of(0), "purchase": paid_sale(met) }), NOTHING, 0),
    ("PurchaseService/BatchRecordPurchases", Who::Till,
     |met| json!({ "purchases": [{ "member": met.of(0), "purchase": sale("o-2") }] }), NOTHING, 0),
    ("PurchaseService/StreamPurchases", Who::Till,
     |met| json!({ "purchase": { "member": met.of(0), "purchase": sale("o-3") } }), NOTHING, 0),
    ("PurchaseService/ConfirmPurchase", Who::Till, |_| json!({ "store_id": "hcm-1", "order_id": "o-2" }), NOTHING, 0),
    ("PurchaseService/ReturnPurchase", Who::Desk,
     |_| json!({ "store_id": "hcm-1", "order_id": "o-3", "whole_purchase": true, "reason": "torn" }), NOTHING, 0),
    ("MemberService/SetMemberTier", Who::Desk, |met| json!({ "member": met.of(0), "tier_id": "diamond", "reason": "a friend" }), NOTHING, 0),
    ("MemberService/SuspendMember", Who::Desk, |met| json!({ "member": met.of(0), "reason": "card lost" }), NOTHING, 0),
    ("MemberService/ReactivateMember", Who::Desk, |met| json!({ "member": met.of(0), "reason": "card found" }), NOTHING, 0),
    ("MemberService/MergeMembers", Who::Desk,
     |met| json!({ "member": met.of(1), "into": met.of(0), "reason": "two cards" }), NOTHING, 0),
    ("MemberService/EraseMember", Who::Desk, |met| json!({ "member": met.of(2), "reason": "request 4711" }), NOTHING, 2),
    // What a till does for a member that it has to, with its cashier.
    ("RewardService/RedeemReward", Who::Till, |met| json!({ "member": met.of(0), "reward_id": "tea" }), NOTHING, 0),
];

fn has(message: &MessageDescriptor, field: &str) -> bool {
    message.get_field_by_name(field).is_some()
}

/// The messages of a request that have a request id: itself, or those of a batch or stream, under their field.
fn identified(message: &MessageDescriptor) -> Option<(Option<String>, MessageDescriptor)> {
    if has(message, "request_id") {
        return Some((None, message.clone()));
    }
    let inner = |field: prost_reflect::FieldDescriptor| match field.kind() {
        Kind::Message(inner) if has(&inner, "request_id") => Some((Some(field.name().to_owned()), inner)),
        _ => None,
    };
    message.fields().find_map(inner)
}

fn name_of(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

/// With programme, request id and, if anyone is to be named, actor.
fn signed(message: &MessageDescriptor, mut body: Value, request: &str, actor: Option<&str>) -> Vec<u8> {
    let (place, inner) = identified(message).expect("a request that changes something has an id");
    let sign = |one: &mut Value| {
        one["request_id"] = request.into();
        if has(&inner, "program_id") {
            one["program_id"] = PROGRAM.into();
        }
        if let Some(actor) = actor {
            one["actor"] = json!({ "actor_id": actor });
        }
    };
    match place.as_deref().map(|place| &mut body[place]) {
        None => sign(&mut body),
        Some(Value::Array(many)) => many.iter_mut().for_each(sign),
        Some(one) => sign(one),
    }
    DynamicMessage::deserialize(message.clone(), body).unwrap_or_else(|error| panic!("{request}: {error}")).encode_to_vec()
}

struct Walk {
    server: Guarded,
    keys: [String; 3],
    met: Met,
}

impl Walk {
    async fn start() -> Self {
        let made = [Who::Till, Who::Desk, Who::Head].map(|who| principal(who.principal(), who.role(), "vietnam", ""));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("access.yaml");
        std::fs::write(&file, file_of(&made.each_ref().map(|(_, line)| line.as_str()))).expect("a file can be written");
        let access = AccessConfig { file: Some(file.clone()), ..AccessConfig::default() };
        let config = Config { access, ..config(folder.path(), vec![book()]) };
        let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
        let program = contract().get_message_by_name("loyalty.v1.Program").expect("it is in the contract");
        let next = v1::Program { display_name: "Another".into(), ..book() }.encode_to_vec();
        let next = DynamicMessage::decode(program, &next[..]).expect("it is of the contract");
        let met = Met { program: serde_json::to_value(next).expect("a message has a JSON form"), ..Met::default() };
        Self { server: Guarded { server, file }, keys: made.map(|(key, _)| key), met }
    }

    fn key(&self, who: Who) -> &str {
        &self.keys[who as usize]
    }

    async fn send(&self, method: &MethodDescriptor, who: Who, message: Vec<u8>) -> Result<Value, Status> {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let answers = call(&self.server.server.channel, &path, Some(self.key(who)), message).await?;
        let answer = DynamicMessage::decode(method.output(), answers[0].as_slice()).expect("it is of the contract");
        let options = SerializeOptions::new().skip_default_fields(false);
        Ok(answer.serialize_with_options(serde_json::value::Serializer, &options).expect("a message has a JSON form"))
    }

    /// The entries of a request in a member's ledger: principal and actor of each.
    async fn recorded(&self, place: usize, request: &str) -> Vec<(String, String)> {
        let asked = v1::ListEntriesRequest {
            program_id: PROGRAM.into(),
            member: by_id(&self.met.members[place]),
            page_size: 500,
            ..Default::default()
        };
        let answer =
            self.server.server.points().list_entries(by(self.key(Who::Desk), asked)).await.expect("entries are listed").into_inner();
        assert!(answer.next_page_token.is_empty(), "all of them are on one page");
        let by_request = answer.entries.into_iter().filter(|entry| entry.request_id == request);
        by_request.map(|entry| (entry.principal_id, entry.actor.map_or_else(String::new, |actor| actor.actor_id))).collect()
    }

    async fn acts(&self) -> Vec<v1::AuditEntry> {
        let asked = v1::ListAuditEntriesRequest { program_id: PROGRAM.into(), page_size: 500, ..Default::default() };
        let mut audit = AuditServiceClient::new(self.server.server.channel.clone());
        audit.list_audit_entries(by(self.key(Who::Head), asked)).await.expect("acts are listed").into_inner().entries
    }
}

fn request_of(act: &v1::AuditEntry) -> String {
    use v1::audit_entry::Recorded;
    match act.recorded.as_ref().expect("each is recorded somewhere") {
        Recorded::Entry(entry) => entry.request_id.clone(),
        Recorded::Publication(publication) => publication.request_id.clone(),
    }
}

#[test]
fn each_rpc_that_changes_something_has_a_row_and_lets_somebody_be_named() {
    let pool = contract();
    let changing: Vec<_> = methods(&pool).into_iter().filter(|method| identified(&method.input()).is_some()).collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.0.to_owned()).chain([CLOCK.to_owned()]).collect();
    let names: BTreeSet<String> = changing.iter().map(name_of).collect();
    let without_row: Vec<_> = names.difference(&rows).collect();
    assert!(without_row.is_empty(), "give each of these a row, so that what it records names who did it: {without_row:#?}");
    let without_method: Vec<_> = rows.difference(&names).collect();
    assert!(without_method.is_empty(), "these rows are of no method: {without_method:#?}");
    assert!(names.len() > 30, "{}", names.len());
    for method in changing.iter().filter(|method| name_of(method) != CLOCK) {
        let (_, request) = identified(&method.input()).expect("it was asked above");
        assert!(has(&request, "actor"), "{} names no actor", request.full_name());
        // By whoever has to name somebody, if such a caller may do it at all.
        let name = name_of(method);
        let row = TABLE.iter().find(|row| row.method.ends_with(&format!(".{name}"))).expect("each has a row");
        if row.roles.iter().any(|role| matches!(role, Role::Support | Role::Manager)) {
            assert!(ROWS.iter().any(|row| row.0 == name && row.1.must_name()), "{name}: no caller of its row has to name somebody");
        }
    }
}

#[tokio::test]
async fn what_each_of_them_records_names_who_called_and_whom_the_caller_named() {
    let pool = contract();
    let methods = methods(&pool);
    let mut walk = Walk::start().await;
    let (mut listed, mut had_to_name) = (BTreeSet::new(), 0);
    for (number, (name, who, body, keep, place)) in ROWS.into_iter().enumerate() {
        let method = methods.iter().find(|method| name_of(method) == name).expect("it is in the contract");
        let (request, actor) = (format!("{number}-{}", method.name()), format!("person-{number}"));
        if who.must_name() && !MAY_NAME.contains(&name) {
            let status = walk.send(method, who, signed(&method.input(), body(&walk.met), &request, None)).await.expect_err(name);
            assert_eq!(refused(&status).fields, ["actor"], "{name}: {status:?}");
            had_to_name += 1;
        }
        let message = signed(&method.input(), body(&walk.met), &request, Some(&actor));
        let answer = walk.send(method, who, message.clone()).await.unwrap_or_else(|status| panic!("{name}: {status:?}"));
        keep(&mut walk.met, &answer);
        let named = (who.principal().to_owned(), actor.clone());
        if name == "ProgramService/PublishProgram" {
            let act = walk.acts().await.into_iter().find(|act| request_of(act) == request).expect("it is in the audit log");
            assert_eq!((act.principal_id, act.actor.expect("somebody is named").actor_id), named, "{name}");
            assert!(act.explanation.ends_with(&format!("Done by {actor}; the call came with a credential of {}.", named.0)));
        } else {
            let recorded = walk.recorded(place, &request).await;
            assert!(!recorded.is_empty(), "{name} enters something");
            assert!(recorded.iter().all(|by| *by == named), "{name}: {recorded:?}, and not {named:?}");
        }
        // Told again it is the same, and nothing is recorded of somebody else under its id.
        assert_eq!(walk.send(method, who, message).await.unwrap_or_else(|status| panic!("{name}: {status:?}")), answer, "{name}");
        let other = walk.send(method, who, signed(&method.input(), body(&walk.met), &request, Some("another"))).await;
        let is_other = other.as_ref().map_or_else(
            |status| refused(status).reason == "REQUEST_ID_REUSED",
            // Of a batch or a stream.
            |answer| answer.to_string().contains("REQUEST_ID_REUSED"),
        );
        assert!(is_other, "{name}: {other:?}");
        if !MAY_NAME.contains(&name) && !SALES.contains(&name) {
            listed.insert((request, actor, named.0));
        }
    }
    assert_eq!(had_to_name, 25);
    // What was done by hand is listed, and neither sales nor what pays for them.
    let acts = walk.acts().await;
    let by_hand = acts.iter().filter(|act| !act.principal_id.is_empty());
    let found: BTreeSet<_> =
        by_hand.map(|act| (request_of(act), act.actor.clone().expect("it names one").actor_id, act.principal_id.clone())).collect();
    assert_eq!(found, listed);
    walk.server.server.stop().await;
}

/// `loyaltyd program publish` says who publishes, or what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_book_is_published_by_somebody() {
    let walk = Walk::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, key) = (folder.path().join("vietnam.yaml"), folder.path().join("head.key"));
    std::fs::write(&file, text::to_yaml(&v1::Program { display_name: "Another".into(), ..book() })).expect("a file is written");
    std::fs::write(&key, walk.key(Who::Head)).expect("a file is written");
    let address = walk.server.server.address().to_string();
    let publish = |more: &[&str]| {
        let mut command = loyaltyd();
        command.args(["program", "publish"]).arg(&file).args(more).args(["--server", &address, "--api-key-file"]).arg(&key);
        let output = command.stdin(Stdio::null()).output().expect("the binary runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (done, said) = publish(&[]);
    assert!(!done && said.contains("--actor is required of a caller that is neither `pos` nor `storefront`"), "{said}");
    let (done, said) = publish(&["--actor", ""]);
    assert!(!done && said.contains("--actor <NAME>"), "{said}");
    // Whoever only asks whether it is valid publishes nothing.
    let (done, said) = publish(&["--validate-only"]);
    assert!(done && said.contains("publishing it would make version 2"), "{said}");
    assert_eq!(walk.acts().await.len(), 1, "the service published the first version at its start");
    let (done, said) = publish(&["--actor", "head-2"]);
    assert!(done && said.contains("published version 2"), "{said}");
    let acts = walk.acts().await;
    assert_eq!((acts.len(), acts[0].principal_id.as_str()), (2, Who::Head.principal()));
    assert_eq!(acts[0].actor, Some(v1::Actor { actor_id: "head-2".into() }));
    assert_eq!(acts[1].actor, None);
    // It is in the journal: tables that are gone are made again with it.
    let Walk { server: Guarded { server, file }, keys, .. } = walk;
    let data = server.data();
    let (folder, clock) = server.end().await;
    std::fs::remove_dir_all(data.join("tables")).expect("tables are there");
    let access = AccessConfig { file: Some(file), ..AccessConfig::default() };
    let config = Config { access, ..config(folder.path(), Vec::new()) };
    let server = TestServer::start_with(folder, clock, config).await;
    let asked = v1::ListAuditEntriesRequest { program_id: PROGRAM.into(), actor_id: "head-2".into(), ..Default::default() };
    let mut audit = AuditServiceClient::new(server.channel.clone());
    let again = audit.list_audit_entries(by(&keys[Who::Head as usize], asked)).await.expect("acts are listed").into_inner();
    assert_eq!(again.entries, acts[..1]);
    server.stop().await;
}
