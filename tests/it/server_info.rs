//! Which server this is: by RPC whatever state it is in, by `loyaltyd status`, by `--version` and in the log.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use loyaltyd::{
    app,
    config::{Config, Openness},
    contract::v1::{self, server_info::State, server_service_client::ServerServiceClient},
    ledger::ManualClock,
    store::embedded::FORMATS,
    version,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::support::{
    self, TestServer,
    access::{Guarded, file_of, guarded_with, principal},
    loyaltyd, noon,
};

async fn info(channel: &Channel) -> v1::ServerInfo {
    let answer = ServerServiceClient::new(channel.clone()).get_server_info(v1::GetServerInfoRequest {}).await;
    answer.expect("it is answered in any state").into_inner().server_info.expect("what it is")
}

/// The exit code, what was printed, and what was complained of.
async fn status(server: &str) -> (Option<i32>, String, String) {
    status_with(server, None).await
}

async fn status_with(server: &str, key_file: Option<&Path>) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyaltyd"));
    command.args(["status", "--server", server]);
    if let Some(file) = key_file {
        command.arg("--api-key-file").arg(file);
    }
    let run = move || command.output().expect("it runs");
    let output = tokio::task::spawn_blocking(run).await.expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_server_that_serves_says_what_it_is_and_how_it_was_started() {
    let server = TestServer::start().await;
    let info = info(&server.channel).await;
    assert_eq!((info.version.as_str(), info.revision.as_str()), (env!("CARGO_PKG_VERSION"), version::REVISION));
    assert_eq!(info.state(), State::Serving);
    let formats = info.storage_formats.expect("formats");
    assert_eq!((formats.journal as u32, formats.key_file as u32, formats.tables as u32), (FORMATS.journal, FORMATS.keys, FORMATS.tables));
    assert!(!info.sandbox && !info.tls && !info.callers_authenticated);
    assert!(info.start_time.is_some_and(|time| time.seconds > 1_700_000_000));
    assert!(info.time_zone_data.contains(", "), "{}", info.time_zone_data);
    let limits = info.limits.expect("limits");
    assert_eq!((limits.request_bytes, limits.queue_commands, limits.connection_calls), (4 << 20, 2_048, 128));
    let (code, said, complaint) = status(&server.address().to_string()).await;
    assert_eq!(code, Some(0), "{said}{complaint}");
    for part in ["serving", "SERVING", env!("CARGO_PKG_VERSION"), &info.time_zone_data, &server.address().to_string()] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_that_reads_its_ledger_says_so_and_is_no_server_for_scripts() {
    let folder = TempDir::new().expect("a temporary folder");
    let clock = Arc::new(ManualClock::new(noon()));
    // The folder is held by another server, so that this one never gets ready.
    let mut holder = app::start(support::config(folder.path(), vec![]), clock.clone()).await.expect("it starts");
    holder.ready().await.expect("it reads its ledger");
    let mut late = app::start(support::config(folder.path(), vec![]), clock).await.expect("it starts");
    assert!(late.ready().await.is_err());
    let channel = support::connect(&late).await;
    assert_eq!(info(&channel).await.state(), State::Reading);
    let (code, said, complaint) = status(&late.address.to_string()).await;
    assert_eq!(code, Some(1), "{said}{complaint}");
    assert!(said.contains("reading its ledger") && complaint.contains("does not serve: it is reading its ledger"), "{said}{complaint}");
    drop(channel);
    late.shutdown().await.expect("it stops in order");
    holder.shutdown().await.expect("it stops in order");
    // The port that it had can be another server's by now.
    let (code, _, complaint) = status("127.0.0.1:1").await;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("no server answers at"), "{complaint}");
}

/// Where callers are authenticated health decides, as it does for a probe: what needs a credential is left out, and said to be.
#[tokio::test]
async fn health_decides_whether_or_not_a_caller_may_know_the_rest() {
    for openness in [Openness::Open, Openness::Closed] {
        // Every role may ask; a principal that is too fast may not at the moment.
        let (key, line) = principal("tills", "pos", "vietnam", "");
        let (hasty, hasty_line) = principal("hasty", "pos", "vietnam", "limits: {requests_per_second: 1}, ");
        let (stranger, _) = principal("stranger", "pos", "vietnam", "");
        let Guarded { server, file } = guarded_with(&file_of(&[&line, &hasty_line]), openness).await;
        let address = server.address().to_string();
        let written = |name: &str, key: &str| {
            let path = file.with_file_name(name);
            std::fs::write(&path, format!("{key}\n")).expect("a file can be written");
            path
        };
        let (known, unknown, fast) = (written("known.key", &key), written("unknown.key", &stranger), written("fast.key", &hasty));
        let (code, said, complaint) = status_with(&address, Some(&known)).await;
        assert_eq!(code, Some(0), "{said}{complaint}");
        assert!(said.contains("SERVING") && said.contains("callers authenticated  yes"), "{said}");
        for (key, reason) in [(None, "CREDENTIAL_MISSING"), (Some(&unknown), "CREDENTIAL_INVALID")] {
            let (code, said, complaint) = status_with(&address, key.map(|key| key.as_path())).await;
            match openness {
                Openness::Open => {
                    assert_eq!(code, Some(0), "{said}{complaint}");
                    assert!(said.contains("SERVING") && said.contains(reason) && !said.contains("storage formats"), "{said}");
                }
                Openness::Closed => {
                    assert_eq!(code, Some(1), "{said}{complaint}");
                    assert!(said.is_empty() && complaint.contains(reason), "{said}{complaint}");
                }
            }
            assert!(!said.contains("ldk_") && !complaint.contains("ldk_"), "{said}{complaint}");
        }
        if openness == Openness::Closed {
            // Health takes the one call that it has for a second.
            let (code, said, complaint) = status_with(&address, Some(&fast)).await;
            assert_eq!(code, Some(0), "{said}{complaint}");
            assert!(said.contains("SERVING") && (said.contains("RATE_LIMITED") || said.contains("storage formats")), "{said}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_sandbox_says_that_it_is_one() {
    let folder = TempDir::new().expect("a temporary folder");
    let config = Config { sandbox: true, ..support::config(folder.path(), vec![]) };
    let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
    assert!(info(&server.channel).await.sandbox);
    server.stop().await;
}

#[test]
fn the_program_says_its_version_and_begins_its_log_with_it() {
    let said = |flag: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loyaltyd")).arg(flag).output().expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(said("-V"), format!("loyaltyd {}\n", env!("CARGO_PKG_VERSION")));
    let long = said("--version");
    assert_eq!(long, format!("loyaltyd {}\n", version::long()));
    assert!(long.contains(&format!("journal {}, key file {}, tables {}", FORMATS.journal, FORMATS.keys, FORMATS.tables)), "{long}");
    let folder = TempDir::new().expect("a temporary folder");
    let mut process = loyaltyd()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(process.stderr.take().expect("a log")).lines();
    let first = log.next().expect("a line").expect("text");
    assert!(first.ends_with(long.trim_end()), "{first}");
    process.kill().expect("it runs");
    process.wait().expect("it ends");
}
