//! The access file and the commands about it: what is taken, what is said of mistakes, and what the README says of it.

use std::{fmt::Write as _, process::Output, sync::Arc};

use clap::{Args as _, Command, FromArgMatches as _};
use loyaltyd::{
    config::{Config, ConfigError, ServeArgs},
    contract::Violation,
    grpc::{
        Access,
        access::{
            key,
            roles::{About, TABLE},
        },
    },
    ledger::SystemClock,
};
use tempfile::TempDir;

use crate::support::loyaltyd;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/access.yaml");

fn open(text: &str) -> Result<Arc<Access>, Vec<Violation>> {
    Access::open(text, Arc::new(SystemClock))
}

fn mistakes(text: &str) -> Vec<String> {
    let found = open(text).err().expect("it has mistakes");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_is_read() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    assert!(open(&text).is_ok(), "{:?}", mistakes(&text));
}

#[test]
fn every_mistake_is_said_at_once_with_its_place_and_what_to_do() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let secret = key::make().unwrap();
    let text = format!(
        "principals:
  - {{principal_id: \"a b\", roles: [], programs: [], api_keys: [{{key_id: \"\", hash: \"{hash}\"}}]}}
  - {{principal_id: tills, roles: [pos, king, pos], programs: [\"*\", vietnam], api_keys: [{{key_id: one, hash: \"{hash}\"}}, {{key_id: one, hash: md5:ab, expire_time: soon}}]}}
  - {{principal_id: tills, roles: [pos], programs: [Vietnam, a, a], limits: {{adjustment_points: -1, requests_per_second: 0}}, api_keys: [{{key_id: one, hash: {secret}}}]}}
  - {{principal_id: nobody, roles: [pos], programs: [a]}}
  - {{principal_id: certified, roles: [pos], programs: [a], certificates: [{{dns: \"*.example.com\"}}, {{dns: a.example.com}}, {{dns: A.example.com}}, {{dns: b, uri: c}}, {{sha256: ab}}]}}
  - {{principal_id: signed, roles: [pos], programs: [a], tokens: [{{issuer: \"https://other.example.com\", subject: x}}, {{issuer: \"https://id.example.com\"}}, {{issuer: \"https://id.example.com\", claim: {{name: groups, value: \"\"}}}}]}}
issuers:
  - {{issuer: \"https://id.example.com\", audience: \"\", jwks_url: \"http://id.example.com/keys\", algorithms: [HS256, none], leeway_seconds: 301, refresh_seconds: 9}}
  - {{issuer: \"https://id.example.com\", audience: a, jwks_file: /nowhere/keys.json}}
  - {{issuer: third, audience: a}}
"
    );
    let found = mistakes(&text);
    let expected = [
        "issuers[0].audience is required",
        "issuers[0].leeway_seconds is 301",
        "issuers[0].refresh_seconds is 9",
        "issuers[0].algorithms[0] is HS256",
        "issuers[0].algorithms[1] is none",
        "issuers[0].jwks_url is http://",
        "issuers[1].issuer is the same as issuers[0].issuer",
        "issuers[1].jwks_file /nowhere/keys.json cannot be opened",
        "issuers[2] needs one of jwks_file and jwks_url",
        "principals[0].principal_id has a character",
        "principals[0].roles has 0 items",
        "principals[0].programs has 0 items",
        "principals[0].api_keys[0].key_id is required",
        "principals[1].roles[1] is king, which is no role: use pos, storefront, support, manager, operator",
        "principals[1].roles[2] is pos once more",
        "principals[1].programs[0] stands for all programmes",
        "principals[1].api_keys[0].hash is the same as principals[0].api_keys[0].hash",
        "principals[1].api_keys[1].key_id is the same as principals[1].api_keys[0].key_id",
        "principals[1].api_keys[1].expire_time is not an instant",
        "principals[1].api_keys[1].hash is not `sha256:`",
        "principals[2].principal_id is the same as principals[1].principal_id",
        "principals[2].programs[0] has a character",
        "principals[2].programs[2] is a once more",
        "principals[2].limits.adjustment_points is negative",
        "principals[2].limits.requests_per_second must be 1 to",
        "principals[2].api_keys[0].hash is a key itself",
        "principals[3] has no credential",
        "principals[4].certificates[0] has a *",
        "principals[4].certificates[2] is the same as principals[4].certificates[1]",
        "principals[4].certificates[3] needs one of dns, uri and sha256",
        "principals[4].certificates[4] has no sha256 of 64",
        "principals[5].tokens[0].issuer is https://other.example.com, which is not under issuers",
        "principals[5].tokens[1] needs one of subject and claim",
        "principals[5].tokens[2].claim.value is required",
    ];
    for expected in expected {
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{expected:?} is not among {found:#?}");
    }
    assert!(found.iter().all(|mistake| !mistake.contains(&secret)), "a key is not repeated");
}

#[test]
fn the_schema_is_closed_and_the_yaml_plain() {
    let line = |more: &str| {
        format!(
            "principals:\n  - {{principal_id: a, roles: [pos], programs: [a], api_keys: [{{key_id: k, hash: \"sha256:{}\"}}]{more}}}\n",
            "ab".repeat(32)
        )
    };
    assert!(open(&line("")).is_ok());
    for (text, says) in [
        (line(", rolls: [pos]"), "rolls"),
        (line(", limits: {requests_per_hour: 1}"), "requests_per_hour"),
        (line(", roles: [operator]"), "roles"),
        (format!("{}extra: 1\n", line("")), "extra"),
        (format!("{}---\nprincipals: []\n", line("")), ""),
        ("principals: &a [*a]\n".to_owned(), ""),
        ("principals: {}\n".to_owned(), ""),
        ("principals: []\n".to_owned(), "1 to 10000"),
        ("issuers: []\n".to_owned(), "principals"),
        (String::new(), ""),
        ("[".repeat(10_000), ""),
        ("# x\n".repeat(2 << 20), "bytes"),
    ] {
        let found = mistakes(&text);
        assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:?}");
    }
}

#[test]
fn what_is_said_of_a_file_that_cannot_be_read_shows_nothing_of_it() {
    let secret = key::make().unwrap();
    for text in
        [format!("principals:\n  - {{api_keys: [{{hash: {secret}\n"), format!("principals:\n  - {{hash: {secret}, hash: {secret}}}\n")]
    {
        let found = mistakes(&text);
        assert!(found.len() == 1 && found[0].contains("line") && !found[0].contains(&secret), "{found:?}");
    }
}

#[test]
fn ten_thousand_principals_are_taken_and_one_more_is_not() {
    let line =
        |n: usize| format!("- {{principal_id: p{n}, roles: [pos], programs: [a], api_keys: [{{key_id: k, hash: \"sha256:{n:064x}\"}}]}}\n");
    let mut text = "principals:\n".to_owned();
    (0..10_000).for_each(|n| text.push_str(&line(n)));
    assert!(open(&text).is_ok(), "{:?}", mistakes(&text));
    text.push_str(&line(10_000));
    let found = mistakes(&text);
    assert!(found.len() == 1 && found[0].starts_with("principals has 10001 items"), "{found:?}");
    let keys: Vec<String> = (0..9).map(|n| format!("{{key_id: k{n}, hash: \"sha256:{n:064x}\"}}")).collect();
    let nine = |count: usize| {
        format!("principals:\n- {{principal_id: p, roles: [pos], programs: [a], api_keys: [{}]}}\n", keys[..count].join(", "))
    };
    assert!(open(&nine(8)).is_ok());
    assert!(mistakes(&nine(9))[0].starts_with("principals[0].api_keys has 9 items; 0 to 8"));
}

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = loyaltyd().args(words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_new_key_is_shown_once_with_its_line_for_the_file() {
    let (code, key, line) = run(&["key", "new", "--key-id", "2026-11", "--expire-time", "2999-01-01T00:00:00Z"]);
    let key = key.trim_end();
    assert_eq!(code, Some(0), "{line}");
    assert!(key::is_whole(key) && !line.contains(key), "{key} {line}");
    let line = line.lines().last().unwrap().trim().trim_start_matches("- ");
    let text = format!("principals:\n- {{principal_id: a, roles: [pos], programs: [a], api_keys: [{line}]}}\n");
    assert!(open(&text).is_ok(), "{:?}", mistakes(&text));
    assert!(line.contains(&key::hash_text(key)) && line.contains("2026-11") && line.contains("2999-01-01T00:00:00Z"), "{line}");
    let (_, another, _) = run(&["key", "new"]);
    assert_ne!(key, another.trim_end());
    assert_eq!(run(&["key", "new", "--expire-time", "2020-01-01T00:00:00Z"]).0, Some(2));
    assert_eq!(run(&["key", "new", "--key-id", "a\"b"]).0, Some(2));
}

#[test]
fn a_file_is_checked_without_a_server_and_a_bad_one_starts_none() {
    let (code, stdout, _) = run(&["access", "check", EXAMPLE]);
    assert_eq!((code, stdout), (Some(0), format!("{EXAMPLE}: valid\n")));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("access.yaml");
    std::fs::write(&file, "principals: [{principal_id: a, roles: [king], programs: []}]").unwrap();
    let file = file.to_str().unwrap();
    let (code, _, stderr) = run(&["access", "check", file]);
    assert_eq!(code, Some(1));
    let data = folder.path().join("data");
    let serve = run(&["serve", "--listen", "127.0.0.1:0", "--access", file, "--data", data.to_str().unwrap()]);
    assert_eq!(serve.0, Some(2), "{}", serve.2);
    for text in [&stderr, &serve.2] {
        for said in ["principals[0].roles[0]", "principals[0].programs", "principals[0]"] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
    assert!(!data.exists(), "nothing was begun");
    assert_eq!(run(&["access", "check", "/nowhere.yaml"]).0, Some(1));
}

fn config(words: &[&str]) -> Result<Config, ConfigError> {
    let words = ["serve"].iter().chain(words);
    let matches = ServeArgs::augment_args(Command::new("serve")).try_get_matches_from(words).expect("flags");
    ServeArgs::from_arg_matches(&matches).expect("flags").config()
}

#[test]
fn where_it_may_listen_depends_on_who_is_authenticated_and_what_is_encrypted() {
    let anywhere = ["--listen", "0.0.0.0:0"];
    let with = |more: &[&'static str]| config(&[&anywhere[..], more].concat());
    assert!(matches!(with(&[]), Err(ConfigError::Exposed(_))));
    assert!(matches!(with(&["--access", EXAMPLE]), Err(ConfigError::Unencrypted(_))));
    assert!(with(&["--insecure"]).is_ok());
    assert!(with(&["--insecure", "--access", EXAMPLE]).is_ok());
    assert!(config(&["--access", EXAMPLE]).is_ok() && config(&[]).is_ok());
    for loopback in ["127.0.0.2:0", "[::1]:0"] {
        assert!(config(&["--listen", loopback]).is_ok());
    }
    assert!(matches!(config(&["--grpc-web"]), Err(ConfigError::WebUnauthenticated)));
    assert!(config(&["--grpc-web", "--insecure"]).is_ok() && config(&["--grpc-web", "--access", EXAMPLE]).is_ok());
    assert!(matches!(config(&["--access", EXAMPLE, "--admin-from-anywhere"]), Err(ConfigError::AdminNeedless)));
    assert!(matches!(config(&["--reflection", "closed"]), Err(ConfigError::ClosedToAll("--reflection"))));
    assert!(matches!(config(&["--health", "closed"]), Err(ConfigError::ClosedToAll("--health"))));
    // An empty variable is one that is not set.
    assert!(config(&["--access", ""]).unwrap().access.file.is_none());
}

/// The table of the code, RPCs of a service with the same roles in one row.
fn table() -> String {
    let mut rows: Vec<(&str, String, Vec<&str>)> = Vec::new();
    for row in TABLE {
        let (service, method) = row.method.split_once('/').unwrap();
        let service = service.trim_start_matches("loyalty.v1.");
        let roles = match row.about {
            About::Everything => format!("{} of all programmes", row.names()),
            About::Named | About::NoProgram => row.names(),
        };
        match rows.iter_mut().find(|(known, same, _)| *known == service && *same == roles) {
            Some((_, _, methods)) => methods.push(method),
            None => rows.push((service, roles, vec![method])),
        }
    }
    let mut text = "| service | RPCs | roles |\n|---|---|---|\n".to_owned();
    for (service, roles, methods) in rows {
        writeln!(text, "| {service} | {} | {roles} |", methods.join(", ")).unwrap();
    }
    text
}

#[test]
fn the_readme_has_the_table_of_the_code() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains(&table()), "the README's table is to be:\n{}", table());
}
