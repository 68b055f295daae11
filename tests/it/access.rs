//! Who may do what: credentials, roles, programmes and limits, as callers of a real server see them.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Duration};

use loyaltyd::{
    config::Openness,
    contract::v1::{self, purchase_result::Result as Judged},
    grpc::access::roles::{About, ROLES, TABLE},
    ledger::ManualClock,
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    PROGRAM, Refused, TestServer,
    access::{Guarded, bearer, by, call, contract, file_of, guarded, guarded_with, instant, key, methods, principal, send},
    actor, by_id, config, enrolment, noon, refused, rule_book, sale, vnd,
};

/// Code and reason.
fn told(status: &Status) -> (Code, String) {
    let Refused { code, reason, .. } = refused(status);
    (code, reason)
}

fn denied(reason: &str) -> (Code, String) {
    (Code::PermissionDenied, reason.to_owned())
}

fn unknown(reason: &str) -> (Code, String) {
    (Code::Unauthenticated, reason.to_owned())
}

async fn outcome(server: &Guarded, credential: &str) -> Option<(Code, String)> {
    server.list_programs(credential).await.err().map(|status| told(&status))
}

async fn enroll(server: &Guarded, key: &str, card: &str) -> String {
    let answer = server.server.members().enroll_member(by(key, enrolment(card))).await.expect("a new card enrols");
    answer.into_inner().member.expect("a member").member_id
}

#[test]
fn each_rpc_has_a_row_and_each_row_an_rpc() {
    let pool = contract();
    let methods: Vec<String> =
        methods(&pool).iter().map(|method| format!("{}/{}", method.parent_service().full_name(), method.name())).collect();
    let known: BTreeSet<&str> = methods.iter().map(String::as_str).collect();
    let rows: BTreeSet<&str> = TABLE.iter().map(|row| row.method).collect();
    assert_eq!(rows.len(), TABLE.len(), "no method has two rows");
    let without_row: Vec<_> = known.difference(&rows).collect();
    assert!(without_row.is_empty(), "give each of these a row in src/grpc/access/roles.rs: {without_row:#?}");
    let without_method: Vec<_> = rows.difference(&known).collect();
    assert!(without_method.is_empty(), "these rows are of no method: {without_method:#?}");
    assert!(TABLE.iter().all(|row| !row.roles.is_empty()), "a row that nobody may call");
}

#[tokio::test]
async fn each_role_may_call_what_its_rows_say_and_nothing_else() {
    let all: Vec<_> = ROLES.iter().map(|role| (*role, principal(role.name(), role.name(), "\"*\"", ""))).collect();
    let lines: Vec<&str> = all.iter().map(|(_, (_, line))| line.as_str()).collect();
    let server = guarded(&file_of(&lines)).await;
    let mut calls = 0;
    for row in TABLE {
        for (role, (key, _)) in &all {
            let answer = call(&server.server.channel, &format!("/{}", row.method), Some(key), Vec::new()).await;
            let refusal = answer.err().map(|status| told(&status));
            let is_denied = refusal == Some(denied("ROLE_MISSING"));
            assert_eq!(is_denied, !row.roles.contains(role), "{role} calls {}: {refusal:?}", row.method);
            assert_ne!(refusal.map(|(code, _)| code), Some(Code::Unauthenticated));
            calls += 1;
        }
    }
    assert_eq!(calls, TABLE.len() * ROLES.len());
    server.server.stop().await;
}

/// A message that names another programme wherever it names one.
fn elsewhere(message: &MessageDescriptor, program: &str, depth: usize) -> DynamicMessage {
    let mut built = DynamicMessage::new(message.clone());
    for field in message.fields().filter(|field| field.containing_oneof().is_none()) {
        let value = match field.kind() {
            Kind::String if field.name() == "program_id" => Value::String(program.to_owned()),
            Kind::String if field.name() == "request_id" => Value::String("r-1".to_owned()),
            Kind::Message(inner) if names_program(&inner, depth) && !field.is_map() => {
                let one = Value::Message(elsewhere(&inner, program, depth - 1));
                if field.is_list() { Value::List(vec![one]) } else { one }
            }
            _ => continue,
        };
        built.set_field(&field, value);
    }
    built
}

fn names_program(message: &MessageDescriptor, depth: usize) -> bool {
    depth > 0
        && message.fields().any(|field| match field.kind() {
            Kind::Message(inner) => names_program(&inner, depth - 1),
            _ => field.name() == "program_id",
        })
}

#[tokio::test]
async fn no_rpc_is_for_a_principal_of_another_programme() {
    let every_role = ROLES.map(|role| role.name()).join(", ");
    let (key, line) = principal("of-elsewhere", &every_role, "elsewhere", "");
    let server = guarded(&file_of(&[&line])).await;
    let pool = contract();
    let mut refused_calls = 0;
    for method in methods(&pool) {
        let name = format!("{}/{}", method.parent_service().full_name(), method.name());
        let row = TABLE.iter().find(|row| row.method == name).expect("each has a row");
        let names = names_program(&method.input(), 3);
        let expects = match row.about {
            About::Named => names,
            About::Everything => true,
            About::NoProgram => false,
        };
        assert_eq!(expects, row.about != About::NoProgram, "{name} names a programme, or its row says otherwise");
        let message = elsewhere(&method.input(), PROGRAM, 3).encode_to_vec();
        let answer = call(&server.server.channel, &format!("/{name}"), Some(&key), message).await;
        match (row.about, answer) {
            (About::Named | About::Everything, Err(status)) => {
                assert_eq!(told(&status), denied("PROGRAM_NOT_ALLOWED"), "{name}: {status:?}");
                refused_calls += 1;
            }
            // Of a batch or a stream each purchase is answered by itself.
            (About::Named, Ok(answers)) => {
                let text = String::from_utf8_lossy(&answers.concat()).into_owned();
                assert!(text.contains("PROGRAM_NOT_ALLOWED"), "{name}: {text}");
                refused_calls += 1;
            }
            (About::Everything, Ok(_)) => panic!("{name} is answered"),
            (About::NoProgram, answer) => {
                assert!(answer.is_ok_and(|answers| !String::from_utf8_lossy(&answers.concat()).contains(PROGRAM)), "{name} shows it");
            }
        }
    }
    assert_eq!(refused_calls, TABLE.iter().filter(|row| row.about != About::NoProgram).count());
    // Whether there is such a programme is not said either.
    let request = v1::GetProgramRequest { program_id: "nowhere".into(), ..Default::default() };
    let status = server.server.programs().get_program(by(&key, request)).await.unwrap_err();
    assert_eq!(told(&status), denied("PROGRAM_NOT_ALLOWED"));
    server.server.stop().await;
}

#[tokio::test]
async fn a_batch_of_two_programmes_records_the_callers_own_alone() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    let member = enroll(&server, &key, "c-1").await;
    let own = sale(&member, "o-1", "10000");
    let other = v1::RecordPurchaseRequest { program_id: "elsewhere".into(), ..sale(&member, "o-2", "10000") };
    let purchases = vec![other, own];
    let batch = by(&key, v1::BatchRecordPurchasesRequest { purchases });
    let results = server.server.purchases().batch_record_purchases(batch).await.unwrap().into_inner().results;
    assert!(matches!(&results[0].result, Some(Judged::Error(error)) if error.reason == "PROGRAM_NOT_ALLOWED"), "{results:?}");
    assert!(matches!(&results[1].result, Some(Judged::Recorded(_))), "{results:?}");
    server.server.stop().await;
}

#[tokio::test]
async fn a_call_needs_one_whole_credential_and_says_which_part_is_wrong() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let (stranger, _) = principal("stranger", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    let channel = &server.server.channel;
    let path = "/loyalty.v1.ProgramService/ListPrograms";
    let ask = |values: Vec<String>| async move {
        let mut request = Request::new(tokio_stream::once(Vec::new()));
        for value in values {
            request.metadata_mut().append("authorization", value.parse().expect("a header"));
        }
        send(channel, path, request).await.err().map(|status| told(&status))
    };
    let good = format!("Bearer {key}");
    for accepted in [good.clone(), format!("bearer {key}"), format!("BEARER  {key} ")] {
        assert_eq!(ask(vec![accepted]).await, None);
    }
    assert_eq!(ask(vec![]).await, Some(unknown("CREDENTIAL_MISSING")));
    let mut cases: Vec<Vec<String>> = vec![
        vec![good.clone(), good.clone()],
        vec![good.clone(), format!("Bearer {stranger}")],
        vec![key.clone()],
        vec![format!("Basic {key}")],
        vec![format!("Bearer{key}")],
        vec!["Bearer ".to_owned()],
        vec!["Bearer".to_owned()],
        vec![String::new()],
        vec![format!("Bearer {stranger}")],
        vec![format!("Bearer {}", key.to_uppercase())],
        vec![format!("Bearer {key}a")],
        vec![format!("Bearer {}", &key[..key.len() - 1])],
        vec![format!("Bearer {}", &key["ldk_".len()..])],
        vec![format!("Bearer ldk_{}", "a".repeat(7_000))],
        vec![format!("Bearer {}", "a.".repeat(3_000))],
        vec!["Bearer ldk_".to_owned()],
        vec!["Bearer ..".to_owned()],
    ];
    // A character more or less anywhere.
    cases.extend((4..key.len()).step_by(7).map(|at| vec![format!("Bearer {}{}", &key[..at], &key[at + 1..])]));
    for values in cases {
        assert_eq!(ask(values.clone()).await, Some(unknown("CREDENTIAL_INVALID")), "{values:?}");
    }
    // What it says of a bad one does not repeat it.
    let status = server.list_programs(&stranger).await.unwrap_err();
    assert!(!format!("{status:?}").contains(&stranger["ldk_".len()..]), "{status:?}");
    server.server.stop().await;
}

#[tokio::test]
async fn keys_are_rotated_without_a_gap() {
    let ((old, old_hash), (new, new_hash)) = (key(), key());
    let file = |keys: &str| format!("principals:\n  - {{principal_id: tills, roles: [pos], programs: [vietnam], api_keys: [{keys}]}}\n");
    let (old_line, new_line) = (format!("{{key_id: old, hash: \"{old_hash}\"}}"), format!("{{key_id: new, hash: \"{new_hash}\"}}"));
    let server = guarded(&file(&old_line)).await;
    assert_eq!(outcome(&server, &new).await, Some(unknown("CREDENTIAL_INVALID")));
    let member = enroll(&server, &old, "c-1").await;
    server.replace(&file(&format!("{old_line}, {new_line}")), &new).await;
    assert_eq!((outcome(&server, &old).await, outcome(&server, &new).await), (None, None));
    // A till that changes its key in the middle of a retry asks the same again.
    let first = server.server.purchases().record_purchase(by(&old, sale(&member, "o-1", "10000"))).await.unwrap().into_inner();
    let again = server.server.purchases().record_purchase(by(&new, sale(&member, "o-1", "10000"))).await.unwrap().into_inner();
    assert_eq!(first, again);
    // On the same connection.
    let third = key();
    server.replace(&file(&format!("{new_line}, {{key_id: third, hash: \"{}\"}}", third.1)), &third.0).await;
    assert_eq!(outcome(&server, &old).await, Some(unknown("CREDENTIAL_INVALID")));
    assert_eq!(outcome(&server, &new).await, None);
    server.server.stop().await;
}

#[tokio::test]
async fn a_key_ends_at_its_instant() {
    let (key, hash) = key();
    let keys = format!("{{key_id: one, hash: \"{hash}\", expire_time: \"2026-03-10T12:30:00+07:00\"}}");
    let text = format!("principals:\n  - {{principal_id: tills, roles: [pos], programs: [vietnam], api_keys: [{keys}]}}\n");
    let server = guarded(&text).await;
    server.server.clock.set(instant("2026-03-10T05:29:59.999999Z"));
    assert_eq!(outcome(&server, &key).await, None);
    server.server.clock.set(instant("2026-03-10T05:30:00Z"));
    assert_eq!(outcome(&server, &key).await, Some(unknown("CREDENTIAL_EXPIRED")));
    server.server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_withdrawn_and_records_nothing_more() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let (desk, desk_line) = principal("desk", "support", "vietnam", "");
    let server = guarded(&file_of(&[&line, &desk_line])).await;
    let member = enroll(&server, &key, "c-1").await;
    let (requests, waiting) = mpsc::channel(100);
    let mut till = server.server.purchases();
    let mut answers = till.stream_purchases(by(&key, ReceiverStream::new(waiting))).await.unwrap().into_inner();
    let ask = |order: &str| v1::StreamPurchasesRequest { purchase: Some(sale(&member, order, "10000")) };
    requests.send(ask("o-1")).await.unwrap();
    let result = answers.message().await.unwrap().unwrap().result.unwrap().result;
    assert!(matches!(result, Some(Judged::Recorded(_))), "{result:?}");
    let (witness, witness_line) = principal("witness", "pos", "vietnam", "");
    server.replace(&file_of(&[&desk_line, &witness_line]), &witness).await;
    requests.send(ask("o-2")).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(told(&status), unknown("CREDENTIAL_INVALID"));
    let request = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "s-1".into(), order_id: "o-2".into() };
    let request = v1::GetPurchaseRequest { store_id: sale(&member, "o-2", "1").purchase.unwrap().store_id, ..request };
    let status = server.server.purchases().get_purchase(by(&desk, request)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    server.server.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_with_the_rights_that_its_principal_has_by_then() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    let member = enroll(&server, &key, "c-1").await;
    let (requests, waiting) = mpsc::channel(100);
    let mut till = server.server.purchases();
    let mut answers = till.stream_purchases(by(&key, ReceiverStream::new(waiting))).await.unwrap().into_inner();
    let (witness, witness_line) = principal("witness", "pos", "vietnam", "");
    server.replace(&file_of(&[&line.replace("[vietnam]", "[elsewhere]"), &witness_line]), &witness).await;
    requests.send(v1::StreamPurchasesRequest { purchase: Some(sale(&member, "o-1", "10000")) }).await.unwrap();
    let result = answers.message().await.unwrap().unwrap().result.unwrap().result;
    assert!(matches!(&result, Some(Judged::Error(error)) if error.reason == "PROGRAM_NOT_ALLOWED"), "{result:?}");
    drop(requests);
    assert!(answers.message().await.unwrap().is_none());
    server.server.stop().await;
}

/// So much of one member that an export and a backup have parts that wait until somebody takes them.
async fn much(server: &Guarded, till: &str) -> String {
    let member = enroll(server, till, "c-1").await;
    for order in 0..48 {
        let mut large = sale(&member, &format!("o-{order}"), "1000");
        let purchase = large.purchase.as_mut().unwrap();
        let line = purchase.lines[0].clone();
        let sku = |n: usize| format!("{order}-{n}-{}", "s".repeat(50));
        purchase.total = vnd("1000000");
        purchase.lines = (0..1_000).map(|n| v1::PurchaseLine { sku: sku(n), ..line.clone() }).collect();
        server.server.purchases().record_purchase(by(till, large)).await.unwrap();
    }
    member
}

/// Exports and backups are long, and what they tell is much: whoever may not have it any more gets no more of it, though it was begun.
#[tokio::test]
async fn an_export_and_a_backup_end_with_the_right_to_them() {
    let (till, till_line) = principal("tills", "pos", "vietnam", "");
    let (gone, gone_line) = principal("gone", "support", "vietnam", "");
    let (moved, moved_line) = principal("moved", "support", "vietnam", "");
    let (lowered, lowered_line) = principal("lowered", "support", "vietnam", "");
    let (backup, backup_line) = principal("backups", "operator", "\"*\"", "");
    let (bound, bound_line) = principal("bound", "operator", "\"*\"", "");
    let (desk, desk_line) = principal("desk", "support", "vietnam", "");
    let file = |lines: &[&str]| file_of(&[&[till_line.as_str(), &desk_line], lines].concat());
    let server = guarded(&file(&[&gone_line, &moved_line, &lowered_line, &backup_line, &bound_line])).await;
    let member = much(&server, &till).await;
    // Of an answer that nobody reads, as much is sent as the caller has room for: less than a part.
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.server.address())).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535_u32).connect().await.unwrap();
    let request = v1::ExportMemberRequest { program_id: PROGRAM.into(), member: by_id(&member) };
    let export = async |key: &str| {
        let mut desk = v1::member_service_client::MemberServiceClient::new(channel.clone());
        desk.export_member(by(key, request.clone())).await.unwrap().into_inner()
    };
    let stream_backup = async |key: &str| {
        let mut admin = v1::admin_service_client::AdminServiceClient::new(channel.clone());
        admin.stream_backup(by(key, v1::StreamBackupRequest::default())).await.unwrap().into_inner()
    };
    let exports = [
        (export(&gone).await, unknown("CREDENTIAL_INVALID")),
        (export(&moved).await, denied("PROGRAM_NOT_ALLOWED")),
        (export(&lowered).await, denied("ROLE_MISSING")),
    ];
    let backups =
        [(stream_backup(&backup).await, unknown("CREDENTIAL_INVALID")), (stream_backup(&bound).await, denied("PROGRAM_NOT_ALLOWED"))];
    let mut stays = export(&desk).await;
    let (witness, witness_line) = principal("witness", "pos", "vietnam", "");
    let (moved_line, bound_line) = (moved_line.replace("[vietnam]", "[elsewhere]"), bound_line.replace("[\"*\"]", "[vietnam]"));
    let lowered_line = lowered_line.replace("support", "manager");
    server.replace(&file(&[&moved_line, &lowered_line, &bound_line, &witness_line]), &witness).await;
    for (mut parts, expected) in exports {
        let status = loop {
            let next = parts.message().await;
            let is_end = |part: &v1::ExportMemberResponse| matches!(part.part, Some(v1::export_member_response::Part::End(_)));
            match next {
                Err(status) => break status,
                Ok(part) => assert!(part.is_some_and(|part| !is_end(&part)), "the export goes on to its end: {expected:?} is not told"),
            }
        };
        assert_eq!(told(&status), expected);
    }
    for (mut parts, expected) in backups {
        let status = loop {
            match parts.message().await {
                Err(status) => break status,
                Ok(part) => assert!(part.is_some(), "the backup goes on to its end: {expected:?} is not told"),
            }
        };
        assert_eq!(told(&status), expected);
    }
    // One whose right is the same has all of it, under another reading of the file.
    let mut count = 0;
    while stays.message().await.unwrap().is_some() {
        count += 1;
    }
    assert!(count >= 8, "{count} parts");
    server.server.stop().await;
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    // Written over and over, so that the service surely meets it; the good one after it shows that it did.
    std::fs::write(&server.file, "principals: [{principal_id: x, roles: [king]}]").unwrap();
    for _ in 0..100 {
        assert_eq!(outcome(&server, &key).await, None, "the one before stays in force");
    }
    let (next, next_line) = principal("next", "pos", "vietnam", "");
    server.replace(&file_of(&[&line, &next_line]), &next).await;
    assert_eq!(outcome(&server, &key).await, None);
    server.server.stop().await;
}

#[tokio::test]
async fn an_adjustment_may_be_as_large_as_the_principals_limit() {
    let (till, till_line) = principal("tills", "pos", "vietnam", "");
    let (bound, bound_line) = principal("desk", "support", "vietnam", "limits: {adjustment_points: 500}, ");
    let (free, free_line) = principal("head", "support", "vietnam", "");
    let (none, none_line) = principal("novice", "support", "vietnam", "limits: {adjustment_points: 0}, ");
    let server = guarded(&file_of(&[&till_line, &bound_line, &free_line, &none_line])).await;
    let member = enroll(&server, &till, "c-1").await;
    let adjust = async |key: &str, request_id: &str, points: i64| {
        let request = v1::AdjustPointsRequest {
            program_id: PROGRAM.into(),
            request_id: request_id.into(),
            member: by_id(&member),
            points,
            reason: "made good".into(),
            actor: actor(),
            ..Default::default()
        };
        server.server.points().adjust_points(by(key, request)).await
    };
    adjust(&bound, "a-1", 500).await.unwrap();
    adjust(&bound, "a-2", -500).await.unwrap();
    for points in [501, -501, i64::MAX, i64::MIN] {
        let status = adjust(&bound, "a-3", points).await.unwrap_err();
        assert_eq!(told(&status), denied("ADJUSTMENT_ABOVE_LIMIT"), "{points}");
        assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], "500");
    }
    assert_eq!(told(&adjust(&none, "a-4", 1).await.unwrap_err()), denied("ADJUSTMENT_ABOVE_LIMIT"));
    adjust(&free, "a-5", 501).await.unwrap();
    // What was answered before is answered again to who may ask for it, and to nobody else.
    assert_eq!(told(&adjust(&bound, "a-5", 501).await.unwrap_err()), denied("ADJUSTMENT_ABOVE_LIMIT"));
    assert_eq!(told(&adjust(&till, "a-5", 501).await.unwrap_err()), denied("ROLE_MISSING"));
    adjust(&free, "a-5", 501).await.unwrap();
    server.server.stop().await;
}

#[tokio::test]
async fn entries_and_their_explanations_name_the_principal_beside_the_actor() {
    let (till, till_line) = principal("tills", "pos", "vietnam", "");
    let (desk, desk_line) = principal("desk", "support", "vietnam", "");
    let server = guarded(&file_of(&[&till_line, &desk_line])).await;
    let member = enroll(&server, &till, "c-1").await;
    server.server.purchases().record_purchase(by(&till, sale(&member, "o-1", "500000"))).await.unwrap();
    let request = v1::SuspendMemberRequest {
        program_id: PROGRAM.into(),
        request_id: "s-1".into(),
        member: by_id(&member),
        reason: "asked for".into(),
        actor: actor(),
    };
    server.server.members().suspend_member(by(&desk, request)).await.unwrap();
    // A year on the points lapse, which nobody did.
    server.server.days_later(400);
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let entries = server.server.points().list_entries(by(&desk, list)).await.unwrap().into_inner().entries;
    let mut said: Vec<(i64, &str, &str)> = entries
        .iter()
        .map(|entry| (entry.sequence, entry.principal_id.as_str(), entry.actor.as_ref().map_or("", |actor| &actor.actor_id)))
        .collect();
    said.sort_unstable();
    assert_eq!(said[..3], [(1, "tills", ""), (2, "tills", ""), (3, "desk", "staff-7")], "{entries:?}");
    assert!(said.len() > 3 && said[3..].iter().all(|(_, principal, _)| principal.is_empty()), "{said:?}");
    let explain = async |sequence| {
        let request = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence };
        server.server.points().explain_entry(by(&desk, request)).await.unwrap().into_inner().explanation.join(" ")
    };
    assert!(explain(2).await.contains("Done by tills."));
    assert!(explain(3).await.contains("Done by staff-7; the call came with a credential of desk."));
    // The same after all is read anew.
    let Guarded { server, file } = server;
    let (folder, clock) = server.end().await;
    let access = loyaltyd::config::AccessConfig { file: Some(file.clone()), ..Default::default() };
    let config = loyaltyd::config::Config { access, ..crate::support::config(folder.path(), Vec::new()) };
    let server = Guarded { server: crate::support::TestServer::start_with(folder, clock, config).await, file };
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let again = server.server.points().list_entries(by(&desk, list)).await.unwrap().into_inner().entries;
    let principals = |entries: &[v1::Entry]| entries.iter().map(|entry| (entry.sequence, entry.principal_id.clone())).collect::<Vec<_>>();
    let recorded = |entries: &[v1::Entry]| principals(entries).into_iter().filter(|(sequence, _)| *sequence <= 3).collect::<Vec<_>>();
    assert_eq!(recorded(&again), recorded(&entries));
    server.server.stop().await;
}

/// What is done by hand is in the audit log: nobody can leave out who does it but who stands before members, or is one.
#[tokio::test]
async fn whoever_is_no_till_and_no_shop_says_who_does_it() {
    let (shop, shop_line) = principal("shop", "storefront", "vietnam", "");
    let (both, both_line) = principal("counter", "support, pos", "vietnam", "");
    let (desk, desk_line) = principal("desk", "support", "vietnam", "");
    let server = guarded(&file_of(&[&shop_line, &both_line, &desk_line])).await;
    let names_actor = |status: Status| {
        let details = status.get_details_bad_request().unwrap_or_else(|| panic!("{status:?}"));
        details.field_violations.iter().any(|violation| violation.field == "actor")
    };
    for (key, is_required) in [(&shop, false), (&both, false), (&desk, true)] {
        let program_id = || PROGRAM.to_owned();
        let transfer = v1::TransferPointsRequest { program_id: program_id(), ..Default::default() };
        let activity = v1::RecordActivityRequest { program_id: program_id(), ..Default::default() };
        let reversal = v1::ReverseRedemptionRequest { program_id: program_id(), ..Default::default() };
        let back = v1::ReturnPurchaseRequest { program_id: program_id(), ..Default::default() };
        let refusals = [
            server.server.points().transfer_points(by(key, transfer)).await.map(drop).unwrap_err(),
            server.server.points().record_activity(by(key, activity)).await.map(drop).unwrap_err(),
            server.server.points().reverse_redemption(by(key, reversal)).await.map(drop).unwrap_err(),
            server.server.purchases().return_purchase(by(key, back)).await.map(drop).unwrap_err(),
        ];
        assert_eq!(refusals.map(names_actor), [is_required; 4]);
    }
    let member = enroll(&server, &shop, "c-1").await;
    // A card is no act of the audit log.
    let card = v1::AddIdentifierRequest {
        program_id: PROGRAM.into(),
        request_id: "i-1".into(),
        member: by_id(&member),
        identifier: Some(crate::support::card("c-2")),
        actor: None,
    };
    server.server.members().add_identifier(by(&desk, card)).await.unwrap();
    server.server.purchases().record_purchase(by(&shop, sale(&member, "o-1", "500000"))).await.unwrap();
    let back = |request: &str, actor| v1::ReturnPurchaseRequest {
        program_id: PROGRAM.into(),
        request_id: request.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        amount: crate::support::vnd("10000"),
        actor,
        ..Default::default()
    };
    server.server.purchases().return_purchase(by(&shop, back("b-1", None))).await.unwrap();
    let status = server.server.purchases().return_purchase(by(&desk, back("b-2", None))).await.unwrap_err();
    assert_eq!(refused(&status).reason, "INVALID_FIELD");
    server.server.purchases().return_purchase(by(&desk, back("b-2", actor()))).await.unwrap();
    let kinds = vec![v1::AuditKind::PurchaseReturned.into()];
    let asked = v1::ListAuditEntriesRequest { program_id: PROGRAM.into(), kinds, ..Default::default() };
    let mut audit = v1::audit_service_client::AuditServiceClient::new(server.server.channel.clone());
    let acts = audit.list_audit_entries(by(&desk, asked)).await.unwrap().into_inner().entries;
    let actors: Vec<String> = acts.into_iter().filter_map(|act| act.actor).map(|actor| actor.actor_id).collect();
    assert_eq!(actors, ["staff-7"]);
    server.server.stop().await;
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_back() {
    let (hasty, hasty_line) = principal("hasty", "pos", "vietnam", "limits: {requests_per_second: 2}, ");
    let (calm, calm_line) = principal("calm", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&hasty_line, &calm_line])).await;
    let mut answered = 0;
    let limited = loop {
        match server.list_programs(&hasty).await {
            Ok(_) => answered += 1,
            Err(status) => break status,
        }
        assert!(answered < 10_000, "two a second are allowed");
    };
    assert!(answered >= 2, "a second's worth may come at once");
    assert_eq!(told(&limited), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    let delay = limited.get_details_retry_info().and_then(|info| info.retry_delay).expect("a delay");
    assert!(delay > Duration::ZERO && delay <= Duration::from_secs(1), "{delay:?}");
    // Others are not held up.
    for _ in 0..20 {
        assert_eq!(outcome(&server, &calm).await, None);
    }
    // And it is let in again.
    let patience = async {
        while outcome(&server, &hasty).await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patience).await.expect("it is let in again");
    server.server.stop().await;
}

/// A server on which a principal of whom the file says nothing may make so many calls a second; without a file, all together.
async fn limited(file: Option<&str>, requests_per_second: u32) -> TestServer {
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut config = config(folder.path(), vec![rule_book()]);
    config.access.requests_per_second = NonZeroU32::new(requests_per_second);
    config.access.file = file.map(|text| {
        let path = folder.path().join("access.yaml");
        std::fs::write(&path, text).expect("it is written");
        path
    });
    TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await
}

/// Calls until one is refused for their rate, a hundred at most. How many were answered, and the refusal.
async fn until_limited(server: &TestServer, key: Option<&str>) -> (usize, Option<Status>) {
    for answered in 0..100 {
        let mut request = Request::new(v1::ListProgramsRequest::default());
        if let Some(key) = key {
            request.metadata_mut().insert("authorization", bearer(key));
        }
        if let Err(status) = server.programs().list_programs(request).await {
            return (answered, Some(status));
        }
    }
    (100, None)
}

#[tokio::test]
async fn who_has_no_rate_of_its_own_has_the_services() {
    let (usual, usual_line) = principal("usual", "pos", "vietnam", "");
    let (other, other_line) = principal("other", "pos", "vietnam", "limits: {adjustment_points: 5}, ");
    let (fast, fast_line) = principal("fast", "pos", "vietnam", "limits: {requests_per_second: 1000000}, ");
    let file = file_of(&[&usual_line, &other_line, &fast_line]);
    let server = limited(Some(&file), 3).await;
    for key in [&usual, &other] {
        let (answered, refusal) = until_limited(&server, Some(key)).await;
        let refusal = refusal.expect("three a second are allowed");
        assert!(answered >= 3, "a second's worth may come at once, to each: {answered}");
        assert_eq!(told(&refusal), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
        let info = refusal.get_details_error_info().expect("details");
        assert_eq!(info.metadata.get("requests_per_second").map(String::as_str), Some("3"));
        let delay = refusal.get_details_retry_info().and_then(|info| info.retry_delay).expect("a delay");
        assert!(delay > Duration::ZERO && delay <= Duration::from_secs(1), "{delay:?}");
    }
    assert_eq!(until_limited(&server, Some(&fast)).await.0, 100, "the file's number goes before");
    server.stop().await;
    // The file's number goes before also where the service has no limit.
    let (slow, slow_line) = principal("slow", "pos", "vietnam", "limits: {requests_per_second: 2}, ");
    let server = limited(Some(&file_of(&[&usual_line, &slow_line])), 0).await;
    assert!(until_limited(&server, Some(&slow)).await.1.is_some());
    assert_eq!(until_limited(&server, Some(&usual)).await.0, 100);
    server.stop().await;
}

#[tokio::test]
async fn callers_who_are_not_authenticated_share_one_rate_and_probes_do_not_count() {
    let server = limited(None, 40).await;
    let (answered, refusal) = until_limited(&server, None).await;
    let refusal = refusal.unwrap_or_else(|| panic!("40 a second are allowed, and {answered} were answered at once"));
    assert_eq!(told(&refusal), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    assert!(refusal.message().contains("--requests-per-second"), "{refusal:?}");
    assert!(refusal.get_details_retry_info().and_then(|info| info.retry_delay).is_some_and(|delay| delay > Duration::ZERO));
    assert!(!refusal.get_details_error_info().expect("details").metadata.contains_key("principal_id"));
    for _ in 0..100 {
        let probe = call(&server.channel, "/grpc.health.v1.Health/Check", None, Vec::new()).await;
        assert!(probe.is_ok(), "{probe:?}");
    }
    // What comes on another connection is theirs, too; each purchase of a stream is a call, and none is lost.
    let member = loop {
        match server.members().enroll_member(enrolment("c-1")).await {
            Ok(answer) => break answer.into_inner().member.expect("a member").member_id,
            Err(status) => assert_eq!(told(&status).1, "RATE_LIMITED"),
        }
    };
    let purchases: Vec<_> =
        (0..60).map(|n| v1::StreamPurchasesRequest { purchase: Some(sale(&member, &format!("o-{n}"), "10000")) }).collect();
    let mut answers = loop {
        match server.purchases().stream_purchases(tokio_stream::iter(purchases.clone())).await {
            Ok(answers) => break answers.into_inner(),
            Err(status) => assert_eq!(told(&status).1, "RATE_LIMITED"),
        }
    };
    let start = std::time::Instant::now();
    let mut recorded = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.result.unwrap().result, Some(Judged::Recorded(_))));
        recorded += 1;
    }
    assert_eq!(recorded, 60);
    assert!(start.elapsed() >= Duration::from_millis(200), "more than a second's worth comes more slowly: {:?}", start.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_stream_is_slowed_to_its_principals_rate_and_loses_nothing() {
    let (till, till_line) = principal("tills", "pos", "vietnam", "limits: {requests_per_second: 50}, ");
    let server = guarded(&file_of(&[&till_line])).await;
    let member = enroll(&server, &till, "c-1").await;
    let purchases: Vec<_> =
        (0..60).map(|n| v1::StreamPurchasesRequest { purchase: Some(sale(&member, &format!("o-{n}"), "10000")) }).collect();
    let start = std::time::Instant::now();
    let mut client = server.server.purchases();
    let mut answers = client.stream_purchases(by(&till, tokio_stream::iter(purchases))).await.unwrap().into_inner();
    let mut recorded = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.result.unwrap().result, Some(Judged::Recorded(_))));
        recorded += 1;
    }
    assert_eq!(recorded, 60);
    // 50 at once, less what the calls before took, and 50 a second after.
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
    server.server.stop().await;
}

#[tokio::test]
async fn reflection_and_health_are_open_or_closed() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    // What services there are, and whether they serve.
    let list = vec![0x3a, 0];
    let calls = [
        ("/grpc.health.v1.Health/Check", Vec::new()),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", list.clone()),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", list),
    ];
    let open = guarded(&file_of(&[&line])).await;
    for (path, message) in &calls {
        let answer = call(&open.server.channel, path, None, message.clone()).await;
        assert!(answer.is_ok(), "{path}: {answer:?}");
    }
    open.server.stop().await;
    let closed = guarded_with(&file_of(&[&line]), Openness::Closed).await;
    for (path, message) in &calls {
        let status = call(&closed.server.channel, path, None, message.clone()).await.unwrap_err();
        assert_eq!(told(&status), unknown("CREDENTIAL_MISSING"), "{path}");
        let answer = call(&closed.server.channel, path, Some(&key), message.clone()).await;
        assert!(answer.is_ok(), "{path}: {answer:?}");
    }
    closed.server.stop().await;
}

#[tokio::test]
async fn streams_of_health_and_reflection_end_when_their_key_is_gone() {
    let (leaver, leaver_line) = principal("leaver", "pos", "vietnam", "");
    let (stayer, stayer_line) = principal("stayer", "pos", "vietnam", "");
    let (witness, witness_line) = principal("witness", "pos", "vietnam", "");
    let server = guarded_with(&file_of(&[&leaver_line, &stayer_line]), Openness::Closed).await;
    let channel = &server.server.channel;
    let watch = async |key: &str| {
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let mut told = client.watch(by(key, tonic_health::pb::HealthCheckRequest::default())).await.unwrap().into_inner();
        assert!(told.message().await.unwrap().is_some());
        told
    };
    let (mut left, mut stayed) = (watch(&leaver).await, watch(&stayer).await);
    let (_open, body) = mpsc::channel(1);
    let mut client = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut reflected = client.server_reflection_info(by(&leaver, ReceiverStream::new(body))).await.unwrap().into_inner();
    server.replace(&file_of(&[&stayer_line, &witness_line]), &witness).await;
    let patience = Duration::from_secs(60);
    let ended = tokio::time::timeout(patience, left.message()).await.expect("it ends").unwrap_err();
    assert_eq!(told(&ended), unknown("CREDENTIAL_INVALID"));
    let ended = tokio::time::timeout(patience, reflected.message()).await.expect("it ends").unwrap_err();
    assert_eq!(told(&ended), unknown("CREDENTIAL_INVALID"));
    assert!(tokio::time::timeout(Duration::from_millis(200), stayed.message()).await.is_err(), "others go on");
    drop(stayed);
    server.server.stop().await;
}

#[tokio::test]
async fn what_there_is_not_is_not_told_to_strangers() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    for path in
        ["/loyalty.v1.MemberService/Nothing", "/nothing/at.all", "/x", "//", "/loyalty.v1.MemberService/GetMember/", "/grpc.healthy/Check"]
    {
        let status = call(&server.server.channel, path, None, Vec::new()).await.unwrap_err();
        assert_eq!(told(&status), unknown("CREDENTIAL_MISSING"), "{path}");
        let status = call(&server.server.channel, path, Some(&key), Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    server.server.stop().await;
}

#[tokio::test]
async fn a_backup_is_for_an_operator_of_all_programmes() {
    let (all, all_line) = principal("backups", "operator", "\"*\"", "");
    let (one, one_line) = principal("one", "operator", "vietnam", "");
    let server = guarded(&file_of(&[&all_line, &one_line])).await;
    let path = "/loyalty.v1.AdminService/StreamBackup";
    let status = call(&server.server.channel, path, Some(&one), Vec::new()).await.unwrap_err();
    assert_eq!(told(&status), denied("PROGRAM_NOT_ALLOWED"));
    assert!(call(&server.server.channel, path, Some(&all), Vec::new()).await.unwrap().len() > 1);
    // A purchase is none of its business.
    let status = server.server.members().enroll_member(by(&all, enrolment("c-1"))).await.unwrap_err();
    assert_eq!(told(&status), denied("ROLE_MISSING"));
    server.server.stop().await;
}

#[tokio::test]
async fn programmes_are_listed_to_whom_they_are_for() {
    let (own, own_line) = principal("own", "manager", "vietnam", "");
    let (other, other_line) = principal("other", "manager", "elsewhere", "");
    let (all, all_line) = principal("all", "manager", "\"*\"", "");
    let server = guarded(&file_of(&[&own_line, &other_line, &all_line])).await;
    assert_eq!(server.list_programs(&own).await.unwrap(), [PROGRAM]);
    assert!(server.list_programs(&other).await.unwrap().is_empty());
    assert_eq!(server.list_programs(&all).await.unwrap(), [PROGRAM]);
    // Who publishes a first version makes the programme: of an id that is theirs.
    let publish = |program_id: &str| v1::PublishProgramRequest {
        request_id: format!("p-{program_id}"),
        program: Some(v1::Program { program_id: program_id.into(), ..crate::support::rule_book() }),
        actor: actor(),
        ..Default::default()
    };
    server.server.programs().publish_program(by(&other, publish("elsewhere"))).await.unwrap();
    let status = server.server.programs().publish_program(by(&other, publish("third"))).await.unwrap_err();
    assert_eq!(told(&status), denied("PROGRAM_NOT_ALLOWED"));
    assert_eq!(server.list_programs(&other).await.unwrap(), ["elsewhere"]);
    assert_eq!(server.list_programs(&own).await.unwrap(), [PROGRAM]);
    server.server.stop().await;
}

#[tokio::test]
async fn a_header_of_bytes_that_are_no_text_is_refused() {
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    let mut request = Request::new(tokio_stream::once(Vec::new()));
    request.metadata_mut().insert_bin("authorization-bin", tonic::metadata::MetadataValue::from_bytes(key.as_bytes()));
    let status = send(&server.server.channel, "/loyalty.v1.ProgramService/ListPrograms", request).await.unwrap_err();
    assert_eq!(told(&status), unknown("CREDENTIAL_MISSING"), "another header is none of this one's");
    let mut request = Request::new(tokio_stream::once(Vec::new()));
    request.metadata_mut().insert("proxy-authorization", bearer(&key));
    let status = send(&server.server.channel, "/loyalty.v1.ProgramService/ListPrograms", request).await.unwrap_err();
    assert_eq!(told(&status), unknown("CREDENTIAL_MISSING"));
    server.server.stop().await;
}

/// With an access file and little patience.
async fn impatient(text: &str) -> crate::support::TestServer {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("access.yaml");
    std::fs::write(&file, text).unwrap();
    let mut config = config(folder.path(), vec![rule_book()]);
    config.access.file = Some(file);
    config.connections.credential = Duration::from_millis(300);
    let clock = std::sync::Arc::new(loyaltyd::ledger::ManualClock::new(crate::support::noon()));
    crate::support::TestServer::start_with(folder, clock, config).await
}

#[tokio::test]
async fn a_connection_without_a_good_credential_is_ended_though_it_answers_pings() {
    use crate::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, Raw, call_with, frame};
    let (key, line) = principal("tills", "pos", "vietnam", "");
    let server = impatient(&file_of(&[&line])).await;
    let patience = Duration::from_secs(30);
    let begun = std::time::Instant::now();
    let mut stranger = Raw::open(server.address()).await;
    // It asks again and again whether the server is there.
    let mut pings = 0;
    loop {
        stranger.send(&frame(PING, 0, 0, &[7; 8])).await;
        if stranger.until(PING).await.is_none() {
            break;
        }
        pings += 1;
        assert!(begun.elapsed() < patience, "it is served for ever");
    }
    assert!(pings > 0 && begun.elapsed() >= Duration::from_millis(300), "{pings} in {:?}", begun.elapsed());
    // Who has shown one may be silent for longer.
    let mut known = Raw::open(server.address()).await;
    let head = call_with("/loyalty.v1.ProgramService/ListPrograms", &[("authorization", &format!("Bearer {key}"))]);
    known.send(&[frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, &[0; 5])].concat()).await;
    assert!(known.until(HEADERS).await.is_some());
    // And who watches health needs none.
    let mut watching = Raw::open(server.address()).await;
    let head = call_with("/grpc.health.v1.Health/Watch", &[]);
    watching.send(&[frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, &[0; 5])].concat()).await;
    assert!(watching.until(DATA).await.is_some());
    tokio::time::sleep(Duration::from_millis(900)).await;
    for open in [&mut known, &mut watching] {
        open.send(&frame(PING, 0, 0, &[8; 8])).await;
        assert_eq!(open.until(PING).await.expect("it is open").payload, [8; 8]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_refused_a_hundred_times_in_a_row_is_ended() {
    use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, Raw, call_with, frame};
    let (_, line) = principal("tills", "pos", "vietnam", "");
    let server = guarded(&file_of(&[&line])).await;
    let mut guessing = Raw::open(server.server.address()).await;
    let head = call_with("/loyalty.v1.ProgramService/ListPrograms", &[("authorization", "Bearer x")]);
    let mut answered = 0;
    for n in 0..300 {
        guessing.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &head)).await;
        if guessing.until(HEADERS).await.is_none() {
            break;
        }
        answered += 1;
    }
    assert!((90..=101).contains(&answered), "{answered}");
    assert_eq!(outcome(&server, "x").await, Some(unknown("CREDENTIAL_INVALID")), "others are answered");
    server.server.stop().await;
}

#[tokio::test]
async fn a_batch_counts_as_the_calls_that_it_takes_the_place_of() {
    let (till, till_line) = principal("tills", "pos", "vietnam", "limits: {requests_per_second: 50}, ");
    let server = guarded(&file_of(&[&till_line])).await;
    let member = enroll(&server, &till, "c-1").await;
    let start = std::time::Instant::now();
    let purchases = (0..100).map(|n| sale(&member, &format!("o-{n}"), "10000")).collect();
    let batch = by(&till, v1::BatchRecordPurchasesRequest { purchases });
    let results = server.server.purchases().batch_record_purchases(batch).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| matches!(result.result, Some(Judged::Recorded(_)))) && results.len() == 100);
    // 50 at once at most, and 50 a second after.
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    server.server.stop().await;
}
