//! Start and end of the service: what a caller and an operator see.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loyaltyd::contract::v1::{self, purchase_result::Result as Judged};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Refused, TestServer, loyaltyd, refused, sale};

#[tokio::test]
async fn a_stream_is_answered_to_the_end_of_what_was_read_and_then_told_to_come_back() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let (requests, waiting) = mpsc::channel(100);
    let mut till = server.purchases();
    let mut answers = till.stream_purchases(ReceiverStream::new(waiting)).await.unwrap().into_inner();
    for n in 0..10 {
        let purchase = Some(sale(&member, &format!("o-{n}"), "10000"));
        requests.send(v1::StreamPurchasesRequest { purchase }).await.unwrap();
        let result = answers.message().await.unwrap().unwrap().result.unwrap();
        assert!(matches!(result.result, Some(Judged::Recorded(_))), "{result:?}");
    }
    let start = Instant::now();
    let end = tokio::spawn(async move { answers.message().await });
    server.stop().await;
    let status = end.await.unwrap().unwrap_err();
    assert_eq!(refused(&status), Refused { code: Code::Unavailable, reason: "STOPPING".into(), fields: vec![] });
    assert!(start.elapsed() < Duration::from_secs(4), "the open stream did not hold up the end");
}

#[test]
fn the_program_serves_until_it_is_told_to_stop_and_exits_with_0() {
    let folder = TempDir::new().unwrap();
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/programs/vietnam.yaml");
    for (signal, published) in [("-TERM", "rule book published"), ("-INT", "rule book unchanged")] {
        let mut process = loyaltyd()
            .args(["serve", "--listen", "127.0.0.1:0", "--program", book, "--data"])
            .arg(folder.path().join("data"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        for line in log.by_ref() {
            seen.push_str(&line.unwrap());
            seen.push('\n');
            if seen.contains(": serving") {
                break;
            }
        }
        let told = Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert_eq!(process.wait().unwrap().code(), Some(0), "{seen}");
        assert!(seen.contains("listening on 127.0.0.1:") && seen.contains(published), "{seen}");
        assert!(
            seen.contains("callers are not authenticated: whoever reaches the service, from this machine alone, may do everything"),
            "{seen}"
        );
        // Only the first time, or somebody forgot to mount the folder.
        assert_eq!(seen.contains("a new ledger was begun in"), signal == "-TERM", "{seen}");
        assert_eq!(seen.contains("stop and look at the mount"), signal == "-TERM", "{seen}");
        let rest: Vec<String> = log.map(Result::unwrap).collect();
        assert!(rest.iter().any(|line| line.ends_with("stopped")), "{rest:?}");
    }
}

#[test]
fn a_wrong_configuration_is_named_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/programs/vietnam.yaml");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let cases: [(&[&str], &str); 6] = [
        (&["--listen", "0.0.0.0:0"], "--insecure"),
        (&["--listen", "nowhere"], "--listen nowhere"),
        (&["--program", manifest], "Cargo.toml"),
        (&["--program", book, "--program", book], "vietnam"),
        (&["--operator-key", manifest], "--operator-key"),
        (&["--log", "a=b=c"], "--log"),
    ];
    for (args, named) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_loyaltyd")).arg("serve").args(args).arg("--data").arg(&data).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(named), "{args:?}: {said}");
    }
    assert!(!data.exists());
}

/// What was logged, a JSON object a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn requests_are_logged_with_their_programme_and_counts() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_env_filter("info,loyaltyd::grpc=debug").with_writer(move || writer.clone());
    // With a second one, tracing asks all of them which lines are wanted, not only the one of the thread that comes first by a line: other
    // tests run beside this one.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _here = tracing::subscriber::set_default(subscriber.finish());
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut purchases: Vec<_> = (0..3).map(|n| sale(&member, &format!("o-{n}"), "10000")).collect();
    purchases[1].purchase = None;
    let batch = v1::BatchRecordPurchasesRequest { purchases: purchases.clone() };
    server.purchases().batch_record_purchases(batch).await.unwrap();
    let requests: Vec<_> = purchases.into_iter().map(|purchase| v1::StreamPurchasesRequest { purchase: Some(purchase) }).collect();
    let mut answers = server.purchases().stream_purchases(tokio_stream::iter(requests)).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    drop(answers);
    let odd = v1::GetMemberRequest { program_id: "Nguyen Lan".into(), member: None, ..Default::default() };
    server.members().get_member(odd).await.unwrap_err();
    server.stop().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("\"outcome\"")).collect();
    let of = |method: &str| lines.iter().find(|line| line.contains(method)).unwrap_or_else(|| panic!("{method} is not in {text}"));
    let counts = ["\"recorded\":2", "\"refused\":1", "\"outcome\":\"OK\""];
    for (method, parts) in [
        ("MemberService/EnrollMember", &["\"program\":\"vietnam\"", "\"outcome\":\"OK\""][..]),
        ("PurchaseService/BatchRecordPurchases", &counts),
        ("PurchaseService/StreamPurchases", &counts),
        ("MemberService/GetMember", &["\"program\":\"invalid\"", "\"outcome\":\"INVALID_FIELD\""]),
    ] {
        let line = of(method);
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} are not in {line}");
    }
    assert!(!text.contains("Nguyen"), "{text}");
}

#[test]
fn variables_are_read_as_they_are_meant() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let comma = folder.path().join("a,b.yaml");
    let other = folder.path().join("c.yaml");
    std::fs::write(&other, "x").unwrap();
    let both = format!("{},{}", other.display(), comma.display());
    // Each ends at a mistake that comes after what the case is about.
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&[&str], Variables, &str); 6] = [
        (&["--listen", "0.0.0.0:0", "--operator-key", "none"], &[("LOYALTYD_INSECURE", "1")], "--operator-key none"),
        (&["--listen", "0.0.0.0:0"], &[("LOYALTYD_INSECURE", "")], "--insecure"),
        (&["--listen", "0.0.0.0:0"], &[("LOYALTYD_INSECURE", "maybe")], "neither 1"),
        (&["--log", "a=b=c"], &[("LOYALTYD_PROGRAM", ""), ("LOYALTYD_OPERATOR_KEY", "")], "--log"),
        (&["--program", comma.to_str().unwrap()], &[], "a,b.yaml: cannot be opened"),
        (&[], &[("LOYALTYD_PROGRAM", &both)], "c.yaml: "),
    ];
    for (args, variables, named) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
        command.arg("serve").args(args).arg("--data").arg(&data).envs(variables.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(named), "{args:?} {variables:?}: {said}");
    }
    assert!(!data.exists());
}
