//! `loyaltyd restore`.

use std::path::PathBuf;

use jiff::Timestamp;

use super::{
    CliError,
    backup::{KeyArgs, failed},
};
use crate::store::{
    CommitSeq,
    embedded::{self, Until},
};

const EXAMPLES: &str = "\
EXAMPLES
  loyaltyd restore --from /backup/loyalty --keys /safe/loyalty.keys --to /var/lib/loyaltyd
  loyaltyd restore --from backup --to data.before --until 2026-03-01T14:00:00+07:00
  loyaltyd restore --from backup --to data.before --until 1204332

With a time it ends before the first commit that was recorded later. Then `loyaltyd check --data` the new folder, and serve from it: the \
first start makes the look-up tables, which takes a while. A store that was taken back to an earlier point begins another history: take \
its backups into another folder. The first start erases again whom the restored journal erases, whatever the key file is; of members who \
were erased later it depends on the key file: with one that was saved after that they stay without what was personal, with an older one \
they are readable again, and are to be erased again.";

/// Make a data folder of a backup, as it was at its end or at an earlier point
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder of the backup
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,

    /// Folder of the ledger to make: one that is empty or not there yet
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,

    /// Go no further than this instant (RFC 3339) or commit (a number)
    #[arg(long, value_name = "TIME|COMMIT", value_parser = until)]
    until: Option<Until>,

    #[command(flatten)]
    keys: KeyArgs,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let operator_key = args.keys.operator_key()?;
    let place = args.keys.place(&args.from, operator_key.as_ref());
    let restored = embedded::restore(&place, &args.to, args.until.unwrap_or(Until::End)).map_err(failed)?;
    let time = restored.last_time.map_or_else(String::new, |time| format!(", recorded at {time}"));
    println!("last complete run: commit {}", restored.last_run.0);
    if restored.gone > 0 {
        let count = restored.gone;
        println!("members without what was personal, since they were erased later or their keys were lost: {count}");
    }
    println!("{}: restored up to commit {}{time}", args.to.display(), restored.last.0);
    Ok(())
}

fn until(text: &str) -> Result<Until, String> {
    if let Ok(commit) = text.parse() {
        return Ok(Until::Commit(CommitSeq(commit)));
    }
    text.parse::<Timestamp>()
        .map(Until::Time)
        .map_err(|_| "neither a commit's number nor an instant such as 2026-03-01T14:00:00Z or 2026-03-01T14:00:00+07:00".to_owned())
}
