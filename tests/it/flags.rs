//! What the README says of the flags is what they are.

use clap::{ArgAction, Args as _, Command, FromArgMatches as _};
use loyaltyd::config::ServeArgs;

/// A row of the table: flag, variable, default.
fn rows() -> Vec<[String; 3]> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README is read");
    let rows = readme.lines().filter(|line| line.starts_with("| `--"));
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect() };
    rows.map(|line| {
        let cells = cells(line);
        [cells[1].clone(), cells[2].clone(), cells[3].clone()]
    })
    .collect()
}

/// A default as flags take it: sizes are written in MiB and GiB.
fn plain(told: &str) -> String {
    for (unit, bytes) in [(" MiB", 1_u64 << 20), (" GiB", 1 << 30)] {
        if let Some(count) = told.strip_suffix(unit) {
            return (count.parse::<u64>().expect("a number") * bytes).to_string();
        }
    }
    told.to_owned()
}

#[test]
fn the_readme_states_the_variables_and_defaults_of_all_flags() {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let rows = rows();
    for argument in command.get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(rows.iter().any(|[flag, _, _]| flag.strip_prefix("--") == Some(argument)), "the README has no row for --{argument}");
    }
    for [flag, variable, told] in rows {
        let named = command.get_arguments().find(|argument| argument.get_long().is_some_and(|long| flag == format!("--{long}")));
        let argument = named.unwrap_or_else(|| panic!("there is no {flag}"));
        match flag.as_str() {
            // Read apart, as commas separate in the variable alone.
            "--program" => assert_eq!((argument.get_env(), variable.as_str()), (None, "LOYALTYD_PROGRAM")),
            _ => assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "{flag}"),
        }
        let defaults: Vec<&str> = argument.get_default_values().iter().filter_map(|value| value.to_str()).collect();
        let expected = match (flag.as_str(), argument.get_action()) {
            ("--threads", _) => {
                assert!(defaults.is_empty());
                "one a core".to_owned()
            }
            (_, ArgAction::SetTrue) => "false".to_owned(),
            (_, _) => defaults.join(","),
        };
        assert_eq!(plain(&told), expected, "{flag}");
    }
}

#[test]
fn admin_service_is_for_this_machine_unless_the_flag_is_given() {
    for (words, from_anywhere) in [(&["serve"][..], false), (&["serve", "--admin-from-anywhere"], true)] {
        let matches = ServeArgs::augment_args(Command::new("serve")).try_get_matches_from(words).expect("flags");
        let config = ServeArgs::from_arg_matches(&matches).expect("flags").config().expect("a configuration");
        assert_eq!(config.access.admin_from_anywhere, from_anywhere);
    }
}

#[test]
fn the_memory_for_requests_has_room_for_requests_as_large_as_they_may_be() {
    let configured = |words: &[&str]| {
        let matches = ServeArgs::augment_args(Command::new("serve")).try_get_matches_from(words).expect("flags");
        ServeArgs::from_arg_matches(&matches).expect("flags").config().map(|config| config.connections.request_memory_bytes)
    };
    assert_eq!(configured(&["serve", "--max-request-bytes", "67108864"]).expect("the default is enough"), 256 << 20);
    assert_eq!(configured(&["serve", "--request-memory-bytes", "10485760"]).expect("it is enough"), 10_485_760);
    let why = configured(&["serve", "--request-memory-bytes", "10485759"]).expect_err("it is too little").to_string();
    for part in ["--request-memory-bytes 10485759", "--max-request-bytes 4194304", "give 10485760 at least"] {
        assert!(why.contains(part), "{why}");
    }
}
