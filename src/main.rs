use std::process::ExitCode;

use clap::Parser;
use loyaltyd::cli::{self, CliError};

/// The loyalty service
#[derive(Parser)]
#[command(name = "loyaltyd", version)]
enum Command {
    Bench(cli::bench::Args),
    Import(cli::import::Args),
    Program(cli::program::Args),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcome = runtime.block_on(async {
        match command {
            Command::Bench(args) => cli::bench::run(args).await,
            Command::Import(args) => cli::import::run(args).await,
            Command::Program(args) => cli::program::run(args).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ CliError::Usage(_)) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
