//! The shape of the house: rooms name only rooms to their right, files and functions stay readable.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From left to right; each may name those behind it.
const ROOMS: [&str; 7] = ["cli", "app", "grpc", "ledger", "store", "contract", "domain"];
/// Beside the order: named by these alone.
const BESIDE: [&str; 2] = ["config", "telemetry"];
const MAY_NAME_BESIDE: [&str; 5] = ["main", "cli", "app", "config", "telemetry"];
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

#[test]
fn rooms_name_only_rooms_to_their_right() {
    let mut faults = Vec::new();
    for file in sources() {
        let room = room(&file);
        let text = fs::read_to_string(&file).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for named in rooms_named(&code.join("\n")) {
            if !may_name(&room, &named) {
                faults.push(format!("{} names {named}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn files_and_functions_stay_readable() {
    let mut faults = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > MAX_FILE_LINES {
            faults.push(format!("{} has {} lines", file.display(), lines.len()));
        }
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            let indent = &line[..line.len() - line.trim_start().len()];
            // rustfmt puts the closing brace of a function that spans lines below its first word.
            let end = lines[start..].iter().position(|line| *line == format!("{indent}}}")).unwrap_or(0);
            let one_line = line.ends_with('}') || line.ends_with(';');
            if !one_line && end + 1 > MAX_FUNCTION_LINES {
                faults.push(format!("{}:{} has {} lines", file.display(), start + 1, end + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(rooms_named("use crate::{\n    domain::{Points, Program},\n    store::Store,\n};"), ["domain", "store"]);
    assert_eq!(rooms_named("let x = crate::ledger::Ledger::open();"), ["ledger"]);
    assert!(may_name("grpc", "ledger") && !may_name("ledger", "grpc") && !may_name("domain", "contract"));
    assert!(may_name("app", "config") && !may_name("grpc", "config"));
    assert!(begins_function("    pub async fn x() {") && begins_function("fn y<T>(") && !begins_function("    // fn z() {"));
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 30, "the sources were found");
    files
}

/// The first part of the path under `src`, without the extension.
fn room(file: &Path) -> String {
    let path = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// What follows `crate::` or `loyaltyd::`, braces opened.
fn rooms_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, prefix) in code.match_indices("crate::").chain(code.match_indices("loyaltyd::")) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => named.extend(group_members(group)),
            None => named.push(word(rest)),
        }
    }
    named
}

/// The first words of a group's members, at its outermost level.
fn group_members(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut fresh = true;
    let mut members = Vec::new();
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh && character.is_alphabetic() => {
                members.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    members
}

fn word(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn may_name(room: &str, named: &str) -> bool {
    if BESIDE.contains(&named) {
        return MAY_NAME_BESIDE.contains(&room);
    }
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    match (place(room), place(named)) {
        (Some(room), Some(named)) => room <= named,
        // main and lib may name all; config and telemetry only what is right of the services; the rest is not a room.
        (None, Some(named)) => !BESIDE.contains(&room) || named > 2,
        (Some(_), None) | (None, None) => true,
    }
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    loop {
        match words.next() {
            Some("fn") => return true,
            Some(word) if word == "async" || word == "const" || word == "unsafe" || word.starts_with("pub") => {}
            Some(_) | None => return false,
        }
    }
}
