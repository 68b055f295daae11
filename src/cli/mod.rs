//! The command line: one file a subcommand.

mod access;
mod backup;
pub mod bench;
mod check;
pub mod client;
mod error;
pub mod import;
mod key;
mod member;
pub mod program;
mod restore;
mod serve;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::CliError;

/// The loyalty service a retailer runs: members, point ledgers and tiers over gRPC.
#[derive(Debug, Parser)]
#[command(name = "loyaltyd", version, long_version = crate::version::long(), about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the gRPC API from a data folder until SIGTERM or SIGINT
    #[command(after_help = serve::EXAMPLES)]
    Serve(crate::config::ServeArgs),
    Program(program::Args),
    Import(import::Args),
    Member(member::Args),
    Bench(bench::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Check(check::Args),
    Access(access::Args),
    Key(key::Args),
    Status(status::Args),
}

/// Parses the command line and runs what it asks for.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Program(args) => as_client(program::run(args)),
        Command::Import(args) => as_client(import::run(args)),
        Command::Member(args) => as_client(member::run(args)),
        Command::Backup(args) => as_client(backup::run(args)),
        Command::Restore(args) => restore::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Access(args) => access::run(args),
        Command::Key(args) => key::run(args),
        Command::Status(args) => as_client(status::run(args)),
        Command::Bench(args) => as_client(bench::run(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loyaltyd: {error}");
            exit_code(&error)
        }
    }
}

/// Runs a subcommand that talks to a server.
fn as_client(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| CliError::Failed(error.to_string()))?;
    let done = runtime.block_on(work);
    // A file that is still being read, such as a pipe that nobody writes to, is not waited for.
    runtime.shutdown_background();
    done
}

fn exit_code(error: &CliError) -> ExitCode {
    match error {
        CliError::Failed(_) => ExitCode::from(1),
        CliError::Usage(_) => ExitCode::from(2),
    }
}
