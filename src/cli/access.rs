//! `loyaltyd access`: the access file.

use std::{path::PathBuf, sync::Arc};

use super::CliError;
use crate::{
    config::read_text,
    grpc::{Access, access::MAX_FILE_BYTES},
    ledger::SystemClock,
};

/// Check access files
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check an access file without a server; every mistake is named with its path
    #[command(after_help = "\
The files of keys that it names under issuers are read too; URLs are not fetched.

EXAMPLES
  loyaltyd access check examples/access.yaml")]
    Check {
        /// YAML
        file: PathBuf,
    },
}

pub fn run(args: Args) -> Result<(), CliError> {
    let What::Check { file } = args.what;
    let shown = file.display();
    let text = read_text(&file, MAX_FILE_BYTES as u64).map_err(|why| CliError::Failed(format!("{shown}: {why}")))?;
    match Access::open(&text, Arc::new(SystemClock)) {
        Ok(_) => {
            println!("{shown}: valid");
            Ok(())
        }
        Err(mistakes) => {
            for mistake in &mistakes {
                eprintln!("{shown}: {mistake}");
            }
            Err(CliError::Failed(format!("{shown} has {} mistakes", mistakes.len())))
        }
    }
}
