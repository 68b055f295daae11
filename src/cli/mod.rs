//! The command line: one file a subcommand.

pub mod bench;
pub mod client;
mod error;
pub mod import;
pub mod program;

pub use error::CliError;
