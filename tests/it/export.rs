//! Exports of members: all that is stored of one, as a person may ask for it, and nothing of one who is erased.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use loyaltyd::contract::{
    json::{CONTRACT, to_json},
    v1::{self, export_member_response::Part, identifier::Kind},
};
use prost::Message as _;
use serde_json::Value;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::{
    redemption::{redeem, spending, start_with},
    support::{PROGRAM, TestServer, access, actor, adjustment, by_card, by_id, card, enrolment, identifier, line, refused, sale, vnd},
};

/// Parts are of about 1 MiB.
const MAX_PART: usize = 1_100_000;

fn book() -> v1::Program {
    let more = "\
voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]
promotions: [{ promotion_id: sorry, only_with_offer: true, display_name: Sorry, multiply: { multiplier: 3 } }]
offers: [{ offer_id: sorry, display_name: With our apologies, personal: true, promotion_id: sorry }]
activity_rules: [{ rule_id: review, activity: review, points: 10 }]
";
    let read = loyaltyd::contract::rule_book::read(more).expect("well-formed fields");
    v1::Program {
        transfers: Some(v1::TransferPolicy::default()),
        voucher_kinds: read.voucher_kinds,
        promotions: read.promotions,
        offers: read.offers,
        activity_rules: read.activity_rules,
        ..spending()
    }
}

fn named(member: Option<v1::MemberRef>) -> v1::ExportMemberRequest {
    v1::ExportMemberRequest { program_id: PROGRAM.into(), member }
}

/// All parts, of which none is too large and the last says so.
pub async fn exported(server: &TestServer, member: Option<v1::MemberRef>) -> Result<Vec<Part>, Status> {
    let mut client = server.members().max_decoding_message_size(32 << 20);
    let mut parts = client.export_member(named(member)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = parts.message().await? {
        assert!(answer.encoded_len() <= MAX_PART, "{} bytes", answer.encoded_len());
        all.push(answer.part.expect("no part is empty"));
    }
    assert!(matches!((&all[0], &all[1], &all[all.len() - 1]), (Part::Start(_), Part::Member(_), Part::End(_))));
    Ok(all)
}

fn start(parts: &[Part]) -> &v1::ExportStart {
    let [Part::Start(start), ..] = parts else { panic!("it begins with the start") };
    start
}

fn member(parts: &[Part]) -> &v1::Member {
    let [_, Part::Member(member), ..] = parts else { panic!("the member comes second") };
    member
}

pub fn entries(parts: &[Part]) -> Vec<&v1::ExportedEntry> {
    parts.iter().flat_map(|part| if let Part::Entries(part) = part { part.entries.as_slice() } else { &[] }).collect()
}

fn purchases(parts: &[Part]) -> Vec<&v1::ExportedPurchase> {
    parts.iter().flat_map(|part| if let Part::Purchases(part) = part { part.purchases.as_slice() } else { &[] }).collect()
}

fn loyaltyd(server: &TestServer, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
    command.args(["member", "export", "--program", PROGRAM]).args(words);
    command.env("LOYALTYD_SERVER", server.address().to_string()).stdin(Stdio::null());
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect("the binary runs")
}

/// What is personal, in the forms in which it is written: of now and of before.
const PERSONAL: [&str; 9] = [
    "Planted Before",
    "Planted Since",
    "1987",
    "vi-PLANTD",
    "+84987654321",
    "planted@example.com",
    "PLANTED-CARD-1",
    "PLANTED-CARD-0",
    "planted-crm-9",
];

/// What is the member's without being sealed, for it is kept for ever.
const KEPT: [&str; 12] = [
    "planted-reason",
    "planted-ticket",
    "planted-store",
    "planted-order",
    "planted-sku",
    "planted-category",
    "planted-channel",
    "planted-review",
    "planted-return",
    "planted-redemption",
    "planted-hold",
    "planted-offer-reason",
];

fn profile(name: &str) -> v1::Profile {
    let birth_date = Some(v1::Date { year: 1987, month: 11, day: 23 });
    v1::Profile { display_name: name.into(), birth_date, language_code: "vi-PLANTD".into() }
}

/// A member with a marker in each field that may say something about it.
async fn planted(server: &TestServer) -> String {
    let identifiers = vec![
        card("PLANTED-CARD-0"),
        identifier(Kind::Phone, "+84 987 654 321"),
        identifier(Kind::Email, "Planted@Example.com"),
        identifier(Kind::ExternalId, "planted-crm-9"),
    ];
    let (mut desk, mut points) = (server.members(), server.points());
    let enrol = v1::EnrollMemberRequest { profile: Some(profile("Planted Before")), identifiers, ..enrolment("p") };
    let id = desk.enroll_member(enrol).await.unwrap().into_inner().member.unwrap().member_id;
    let (program_id, member) = (|| PROGRAM.to_owned(), || by_id(&id));
    let update = v1::UpdateMemberRequest {
        request_id: "u-1".into(),
        program_id: program_id(),
        member: member(),
        profile: Some(profile("Planted Since")),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        ..Default::default()
    };
    desk.update_member(update).await.unwrap();
    let add = |request: &str, value: &str| v1::AddIdentifierRequest {
        request_id: request.into(),
        program_id: program_id(),
        member: member(),
        identifier: Some(card(value)),
        ..Default::default()
    };
    desk.add_identifier(add("i-1", "PLANTED-CARD-1")).await.unwrap();
    let remove = v1::RemoveIdentifierRequest {
        request_id: "i-2".into(),
        program_id: program_id(),
        member: member(),
        identifier: Some(card("PLANTED-CARD-0")),
        ..Default::default()
    };
    desk.remove_identifier(remove).await.unwrap();
    let mut adjust = adjustment(&id, "a-1", 500);
    (adjust.reason, adjust.reference) = ("planted-reason".into(), "planted-ticket".into());
    points.adjust_points(adjust).await.unwrap();
    let mut buy = sale(&id, "planted-order", "300000");
    let basket = buy.purchase.as_mut().unwrap();
    (basket.store_id, basket.channel) = ("planted-store".into(), "planted-channel".into());
    (basket.lines[0].sku, basket.lines[0].category) = ("planted-sku".into(), "planted-category".into());
    server.purchases().record_purchase(buy).await.unwrap();
    let back = v1::ReturnPurchaseRequest {
        request_id: "b-1".into(),
        program_id: program_id(),
        store_id: "planted-store".into(),
        order_id: "planted-order".into(),
        amount: vnd("20000"),
        reason: "planted-return".into(),
        ..Default::default()
    };
    server.purchases().return_purchase(back).await.unwrap();
    let mut spend = redeem(&id, "r-1", 20, "1000000");
    spend.reference = "planted-redemption".into();
    points.redeem_points(spend).await.unwrap();
    let hold = v1::HoldPointsRequest {
        request_id: "h-1".into(),
        program_id: program_id(),
        member: member(),
        points: 30,
        order_total: vnd("1000000"),
        store_id: "web".into(),
        order_id: "planted-hold".into(),
        ..Default::default()
    };
    points.hold_points(hold).await.unwrap();
    let activity = v1::RecordActivityRequest {
        request_id: "v-1".into(),
        program_id: program_id(),
        member: member(),
        activity: "review".into(),
        reference: "planted-review".into(),
        ..Default::default()
    };
    points.record_activity(activity).await.unwrap();
    let assign = v1::AssignOfferRequest {
        request_id: "f-1".into(),
        program_id: program_id(),
        member: member(),
        offer_id: "sorry".into(),
        reason: "planted-offer-reason".into(),
        actor: actor(),
        end_time: None,
    };
    server.offers().assign_offer(assign).await.unwrap();
    let issue = v1::IssueVoucherRequest {
        request_id: "w-1".into(),
        program_id: program_id(),
        member: member(),
        voucher_kind_id: "tea".into(),
        reason: "cold soup".into(),
        actor: actor(),
    };
    server.rewards().issue_voucher(issue).await.unwrap();
    id
}

/// Sentences are beside what they tell of, which is looked at.
fn said(parts: &[Part]) -> String {
    parts.iter().map(|part| format!("{part:?}\n")).collect()
}

async fn erase(server: &TestServer, id: &str) {
    let request = v1::EraseMemberRequest {
        request_id: format!("erase-{id}"),
        program_id: PROGRAM.into(),
        member: by_id(id),
        reason: "request 4711".into(),
        actor: actor(),
    };
    server.members().erase_member(request).await.expect("anyone may go");
}

/// Whoever gives the contract another personal field is told to plant a marker in it here.
#[test]
fn there_are_no_personal_fields_but_those_that_are_planted() {
    let fields = |message: &str| {
        let found = CONTRACT.get_message_by_name(&format!("loyalty.v1.{message}")).expect("the contract has it");
        found.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(fields("Profile"), ["display_name", "birth_date", "language_code"]);
    assert_eq!(fields("Identifier"), ["kind", "value"]);
    let kinds = CONTRACT.get_enum_by_name("loyalty.v1.Identifier.Kind").expect("the contract has it");
    assert_eq!(kinds.values().count(), 5, "four kinds, and none");
}

#[tokio::test]
async fn all_that_is_stored_of_a_member_is_exported_and_nothing_personal_of_one_who_is_erased() {
    let server = start_with(book()).await;
    let id = planted(&server).await;
    let parts = exported(&server, by_id(&id)).await.unwrap();
    let all = said(&parts);
    for marker in PERSONAL.iter().chain(&KEPT) {
        assert!(all.contains(marker), "{marker} is not exported: {all}");
    }
    let code = parts.iter().find_map(|part| if let Part::Vouchers(part) = part { Some(part.vouchers[0].code.clone()) } else { None });
    let code = code.expect("a voucher");
    let shown = server.rewards().get_voucher(v1::GetVoucherRequest { program_id: PROGRAM.into(), code }).await.unwrap().into_inner();
    assert_eq!(shown.voucher.unwrap().member_id, id);
    // It says what the lists say.
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&id), page_size: 500, ..Default::default() };
    let mut listed = server.points().list_entries(list).await.unwrap().into_inner().entries;
    listed.reverse();
    assert_eq!(entries(&parts).iter().map(|entry| entry.entry.clone().unwrap()).collect::<Vec<_>>(), listed);
    for entry in entries(&parts) {
        let sequence = entry.entry.as_ref().unwrap().sequence;
        let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&id), sequence };
        assert_eq!(entry.explanation, server.points().explain_entry(explain).await.unwrap().into_inner().explanation);
    }
    let view = v1::MemberView::Full.into();
    let get = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&id), view, as_of: None };
    let whole = server.members().get_member(get).await.unwrap().into_inner().member.unwrap();
    let lots: Vec<_> = parts.iter().flat_map(|part| if let Part::Lots(part) = part { part.lots.clone() } else { Vec::new() }).collect();
    let holds: Vec<_> = parts.iter().flat_map(|part| if let Part::Holds(part) = part { part.holds.clone() } else { Vec::new() }).collect();
    assert_eq!((&lots, &holds), (&whole.lots, &whole.holds));
    assert_eq!(v1::Member { lots, holds, ..member(&parts).clone() }, whole);
    assert_eq!(purchases(&parts)[0].returns.as_ref().unwrap().count, 1);
    let Some(Part::End(end)) = parts.last() else { panic!("it ends") };
    assert_eq!((end.purchases, end.entries), (1, listed.len() as i64));
    assert!(!start(&parts).erased);

    erase(&server, &id).await;
    let parts = exported(&server, by_id(&id)).await.unwrap();
    let all = said(&parts);
    for marker in PERSONAL {
        assert!(!all.contains(marker), "{marker} is still exported: {all}");
    }
    for marker in KEPT {
        assert!(all.contains(marker), "{marker} is kept for ever");
    }
    assert!(start(&parts).erased && member(&parts).state() == v1::member::State::Erased);
    assert!(member(&parts).profile.is_none() && member(&parts).identifiers.is_empty());
    let gone = exported(&server, by_card("PLANTED-CARD-1")).await.unwrap_err();
    assert_eq!(refused(&gone).reason, "MEMBER_NOT_FOUND");
    server.stop().await;
}

#[tokio::test]
async fn with_a_member_come_those_that_were_merged_into_it_and_the_suspended_are_exported_as_well() {
    let server = start_with(book()).await;
    let old = planted(&server).await;
    let stays = server.enroll("c-2").await;
    server.points().adjust_points(adjustment(&stays, "a-2", 5)).await.unwrap();
    let merge = v1::MergeMembersRequest {
        request_id: "m-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&old),
        into: by_id(&stays),
        reason: "two cards".into(),
        actor: actor(),
    };
    // A hold must end before.
    let held = entries(&exported(&server, by_id(&old)).await.unwrap()).len();
    let release = v1::ReleaseHoldRequest {
        request_id: "l-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&old),
        hold_id: member_hold(&server, &old).await,
        ..Default::default()
    };
    server.points().release_hold(release).await.unwrap();
    server.members().merge_members(merge).await.unwrap();
    let suspend = v1::SuspendMemberRequest {
        request_id: "s-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&stays),
        reason: "card lost".into(),
        actor: actor(),
    };
    server.members().suspend_member(suspend).await.unwrap();
    let by_alias = exported(&server, by_id(&old)).await.unwrap();
    assert_eq!((start(&by_alias).member_id.as_str(), start(&by_alias).requested_member_id.as_str()), (stays.as_str(), old.as_str()));
    let by_phone = Some(v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(identifier(Kind::Phone, "+84987654321"))) });
    let parts = exported(&server, by_phone).await.unwrap();
    assert_eq!(start(&parts).requested_member_id, "");
    assert_eq!(parts[1..], by_alias[1..]);
    assert_eq!(member(&parts).state(), v1::member::State::Suspended);
    let all = said(&parts);
    for marker in PERSONAL.iter().chain(&KEPT) {
        assert!(all.contains(marker), "{marker} is not exported");
    }
    let whose: Vec<&str> = entries(&parts).iter().map(|entry| entry.member_id.as_str()).collect();
    // With the end of the hold, and the merge, which is its last.
    assert_eq!(whose.iter().filter(|whose| **whose == old).count(), held + 2);
    assert!(whose[..held + 2].iter().all(|whose| *whose == old) && whose[held + 2..].iter().all(|whose| *whose == stays));
    assert_eq!(purchases(&parts)[0].member_id, old);
    erase(&server, &stays).await;
    let all = said(&exported(&server, by_id(&old)).await.unwrap());
    assert!(PERSONAL.iter().all(|marker| !all.contains(marker)), "{all}");
    server.stop().await;
}

async fn member_hold(server: &TestServer, id: &str) -> String {
    let parts = exported(server, by_id(id)).await.unwrap();
    let hold = parts.iter().find_map(|part| if let Part::Holds(part) = part { Some(part.holds[0].hold_id.clone()) } else { None });
    hold.expect("a hold")
}

/// What is recorded while parts are taken is not of the instant that the first one names.
#[tokio::test]
async fn an_export_is_of_one_instant_whatever_is_recorded_while_it_is_taken() {
    let server = start_with(book()).await;
    let id = planted(&server).await;
    // So much that the parts do not all wait in between.
    for n in 0..12 {
        let mut buy = sale(&id, &format!("long-{n}"), "10000000");
        let lines = |n: usize| v1::PurchaseLine { sku: format!("{n}-{}", "x".repeat(50)), ..crate::support::line("", "1000") };
        buy.purchase.as_mut().unwrap().lines = (0..10_000).map(lines).collect();
        server.purchases().record_purchase(buy).await.unwrap();
    }
    let back = |request: &str, order: &str| v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: order.into(),
        amount: vnd("10000"),
        ..Default::default()
    };
    let get = |order: &str| v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: order.into() };
    server.purchases().return_purchase(back("back-1", "long-11")).await.unwrap();
    let mut tills = server.purchases().max_decoding_message_size(32 << 20);
    let returned = tills.get_purchase(get("long-11")).await.unwrap().into_inner().returns;
    assert!(returned.is_some());
    let mut client = server.members().max_decoding_message_size(32 << 20);
    let mut answers = client.export_member(named(by_id(&id))).await.unwrap().into_inner();
    let Some(Part::Start(start)) = answers.message().await.unwrap().and_then(|answer| answer.part) else { panic!("it begins") };
    server.points().adjust_points(adjustment(&id, "later", 7)).await.unwrap();
    // One more of a purchase of which something came back before, and the first of another.
    for (request, order) in [("back-2", "long-11"), ("back-3", "long-10")] {
        server.purchases().return_purchase(back(request, order)).await.unwrap();
    }
    assert_ne!(tills.get_purchase(get("long-11")).await.unwrap().into_inner().returns, returned);
    let (mut last, mut balance, mut seen) = (0, 0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.part.unwrap() {
            Part::Purchases(part) => {
                for one in part.purchases {
                    match one.purchase.unwrap().order_id.as_str() {
                        "long-11" => assert_eq!(one.returns, returned),
                        "long-10" => assert_eq!(one.returns, None),
                        _ => continue,
                    }
                    seen += 1;
                }
            }
            Part::Member(member) => balance = member.balance.unwrap().available,
            Part::Entries(part) => {
                for entry in part.entries {
                    let entry = entry.entry.unwrap();
                    assert_eq!(entry.sequence, last + 1);
                    (last, balance) = (
                        entry.sequence,
                        if entry.sequence == start.last_sequence { balance - entry.balance.unwrap().available } else { balance },
                    );
                }
            }
            _ => {}
        }
    }
    assert_eq!((last, balance, seen), (start.last_sequence, 0, 2), "the balance is that of the last entry");
    server.stop().await;
}

#[tokio::test]
async fn the_command_writes_one_document_that_says_what_the_service_says() {
    let server = start_with(book()).await;
    let id = planted(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("member.json");
    let to = file.to_str().unwrap();
    let done = output(loyaltyd(&server, &["--identifier", "phone:+84 987 654 321", "--to", to])).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let document: Value = serde_json::from_str(&text).expect("it is JSON");
    let parts = exported(&server, by_id(&id)).await.unwrap();
    let json = |name: &str, text: String| -> Value { serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")) };
    assert_eq!(document["memberId"], id.as_str());
    assert_eq!(document["member"], json("member", to_json("Member", member(&parts))));
    let shown: Vec<Value> = entries(&parts).iter().map(|one| json("entry", to_json("ExportedEntry", *one))).collect();
    assert_eq!(document["entries"], Value::Array(shown));
    for (list, count) in [("lots", 3), ("pendingLots", 0), ("holds", 1), ("vouchers", 1), ("offers", 1), ("purchases", 1)] {
        assert_eq!(document[list].as_array().map(Vec::len), Some(count), "{list}");
    }
    // Read again, it is the message that it was.
    let entry = CONTRACT.get_message_by_name("loyalty.v1.ExportedEntry").unwrap();
    let read = prost_reflect::DynamicMessage::deserialize(entry, &document["entries"][0]).unwrap();
    assert_eq!(&read.transcode_to::<v1::ExportedEntry>().unwrap(), entries(&parts)[0]);
    for marker in PERSONAL.iter().chain(&KEPT) {
        assert!(text.contains(marker), "{marker}");
    }
    let printed = output(loyaltyd(&server, &["--member-id", &id])).await;
    assert!(printed.status.success());
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("it is JSON");
    assert_eq!(printed["entries"], document["entries"]);

    // Erased: the same command, over the file of before, and nothing personal is left in it.
    erase(&server, &id).await;
    let done = output(loyaltyd(&server, &["--member-id", &id, "--to", to])).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = fs::read_to_string(&file).unwrap();
    assert!(PERSONAL.iter().all(|marker| !text.contains(marker)));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["erased"], true);

    // What fails leaves the file that was there, and none beside it; and repeats nothing personal.
    for (words, code, what) in [
        (&["--identifier", "phone:+84987654321", "--to", to][..], 1, "MEMBER_NOT_FOUND"),
        (&["--identifier", "+84987654321"], 2, "is not a kind"),
        (&["--identifier", "phone:planted 987654321"], 1, "INVALID_FIELD"),
        (&[], 2, "--member-id"),
    ] {
        let done = output(loyaltyd(&server, words)).await;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{said}");
        assert!(said.contains(what), "{said}");
        assert!(done.stdout.is_empty() || code == 0);
        assert!(!said.contains("987654321"), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn exports_that_nobody_reads_are_few_for_one_principal_and_keep_nobody_else_from_them() {
    let [desk, other] = ["unread-desk", "unread-other"].map(|id| access::principal(id, "support, storefront", "vietnam", ""));
    let server = access::guarded(&access::file_of(&[&desk.1, &other.1])).await.server;
    let (desk, other) = (desk.0, other.0);
    let enrolled = server.members().enroll_member(access::by(&desk, enrolment("c-1"))).await.expect("anyone enrols").into_inner();
    let id = enrolled.member.expect("a member").member_id;
    // A few MiB in all, more than is sent to somebody who does not read.
    let labels: Vec<String> = (0..10).map(|label| format!("label-{label}-{}", "x".repeat(50))).collect();
    for number in 0..60 {
        let mut sale = sale(&id, &format!("o-{number}"), "10000");
        let article = |place: usize| v1::PurchaseLine { labels: labels.clone(), ..line(&format!("article-{place}"), "0") };
        sale.purchase.as_mut().expect("a purchase").lines.extend((0..150).map(article));
        server.purchases().record_purchase(access::by(&desk, sale)).await.expect("it is recorded");
    }
    let client = server.members();
    let ask = async |key: &str| client.clone().export_member(access::by(key, named(by_id(&id)))).await.map(Response::into_inner);
    let (one, two) = (ask(&desk).await.expect("an export"), ask(&desk).await.expect("another one"));
    let status = ask(&desk).await.expect_err("there are two");
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::ResourceExhausted, "TOO_MANY_EXPORTS"));
    assert!(status.get_error_details().retry_info().is_some());
    let third = ask(&other).await.expect("somebody else has a place");
    // One that goes makes room for another.
    drop(one);
    while ask(&desk).await.is_err() {
        tokio::task::yield_now().await;
    }
    drop((two, third));
    server.stop().await;
}
