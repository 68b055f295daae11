//! What is tried with bytes of any kind. Each target takes bytes, does what a hostile caller or a broken disk could do with them, and panics if
//! the answer is not one that is promised: a clear refusal, or a ledger that is sound. `tests/it/fuzz` runs them for some seconds in every
//! test run, libFuzzer as long as anybody likes.

pub mod access;
pub mod entropy;
pub mod files;
pub mod journal;
pub mod messages;
pub mod raw;
pub mod requests;
pub mod rule_books;

use std::path::{Path, PathBuf};

/// Of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The crate of the fuzz targets lies in it; the tests are built from the root itself.
    if here.ends_with("tests/fuzz") { here.join("../..") } else { here.to_owned() }
}

/// A folder that is gone with the process, in memory where there is room for it there.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

/// Texts of the rule books that come with the program.
pub fn examples() -> Vec<String> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("examples/programs"))
        .expect("the examples are there")
        .map(|item| item.expect("an example").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).expect("an example is read")).collect()
}
