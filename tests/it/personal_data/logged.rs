//! What the log alone tells, for it leaves no entry: who got all of a person's data, without any of it; and who was let in to nothing, but for
//! probes, which ask all day.

use std::process::Command;

use loyaltyd::contract::v1::{
    self, identifier::Kind, member_ref::Ref, member_service_client::MemberServiceClient, program_service_client::ProgramServiceClient,
};
use serde_json::Value;
use tempfile::TempDir;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::refusals::Server;
use crate::support::{
    PROGRAM,
    access::{by, file_of, principal},
    authority::write,
    by_id, card, enrolment, identifier, refused,
};

const PERSONAL: [&str; 3] = ["Planted", "planted", "987654321"];

/// A server that knows its callers, and a channel to it once it serves.
async fn guarded(folder: &TempDir, principals: &[&str], key: &str) -> (Server, Channel) {
    let access = write(folder.path(), "access.yaml", file_of(principals));
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/programs/vietnam.yaml");
    let server = Server::start(&folder.path().join("data"), "json", &["--program", book, "--access", access.to_str().expect("text")]);
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    let mut programs = ProgramServiceClient::new(channel.clone());
    while let Err(status) = programs.list_programs(by(key, v1::ListProgramsRequest::default())).await {
        assert_eq!(status.code(), Code::Unavailable);
    }
    (server, channel)
}

/// The lines with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|said| said.starts_with(message))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_who_exported_whom_once_and_nothing_personal() {
    let folder = TempDir::new().expect("a folder");
    let (desk, desk_line) = principal("desk", "support", "vietnam", "");
    let (till, till_line) = principal("tills", "pos", "vietnam", "");
    let (server, channel) = guarded(&folder, &[&desk_line, &till_line], &desk).await;
    let mut members = MemberServiceClient::new(channel);
    let phone = || identifier(Kind::Phone, "+84987654321");
    let profile = v1::Profile {
        display_name: "Tran Thi Planted".into(),
        birth_date: Some(v1::Date { year: 1987, month: 11, day: 23 }),
        language_code: "vi".into(),
    };
    let identifiers = vec![card("planted-card"), phone(), identifier(Kind::Email, "planted@example.com")];
    let enrol = v1::EnrollMemberRequest { profile: Some(profile), identifiers, ..enrolment("p") };
    let id = members.enroll_member(by(&desk, enrol)).await.expect("they enrol").into_inner().member.expect("a member").member_id;
    // Who gets nothing is no line: a till may not, and there is nobody of another id.
    let export = |member| v1::ExportMemberRequest { program_id: PROGRAM.into(), member };
    let status = members.export_member(by(&till, export(by_id(&id)))).await.map(drop).expect_err("a till may not");
    assert_eq!(refused(&status).reason, "ROLE_MISSING");
    let nobody = by_id("0198c0de-0000-7000-8000-000000000001");
    let status = members.export_member(by(&desk, export(nobody))).await.map(drop).expect_err("there is nobody");
    assert_eq!(refused(&status).reason, "MEMBER_NOT_FOUND");
    let by_phone = Some(v1::MemberRef { r#ref: Some(Ref::Identifier(phone())) });
    let mut parts = members.export_member(by(&desk, export(by_phone))).await.expect("it is exported").into_inner();
    let mut count = 0;
    while parts.message().await.expect("a part").is_some() {
        count += 1;
    }
    assert!(count >= 3, "{count} parts");
    let log = server.stop();
    let exported = lines(&log, "a member is exported");
    let [line] = exported.as_slice() else { panic!("{exported:?}") };
    let said = |field: &str| line[field].as_str().unwrap_or_default();
    assert_eq!((said("level"), said("program"), said("member"), said("principal")), ("INFO", PROGRAM, id.as_str(), "desk"), "{line}");
    for personal in PERSONAL {
        assert!(!log.contains(personal), "{personal} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_without_a_key_is_no_warning_and_whoever_calls_anything_else_without_one_is() {
    let folder = TempDir::new().expect("a folder");
    let (desk, line) = principal("desk", "support", "vietnam", "");
    let (server, channel) = guarded(&folder, &[&line], &desk).await;
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
        command.args(["status", "--server", &server.address]);
        let run = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
        let output = run.await.expect("it ends");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && said.contains("CREDENTIAL_MISSING"), "{said}");
    }
    let status = ProgramServiceClient::new(channel).list_programs(v1::ListProgramsRequest::default()).await.expect_err("it has no key");
    assert_eq!(refused(&status).reason, "CREDENTIAL_MISSING");
    let log = server.stop();
    let warned = lines(&log, "a caller was refused");
    let methods: Vec<_> = warned.iter().map(|line| (line["level"].as_str(), line["method"].as_str())).collect();
    assert_eq!(methods, [(Some("WARN"), Some("loyalty.v1.ProgramService/ListPrograms"))]);
    let probes = lines(&log, "a probe without a credential was refused");
    assert!(probes.len() == 2 && probes.iter().all(|line| line["level"] == "DEBUG"), "{probes:?}");
}
