//! `loyaltyd check`.

use std::path::PathBuf;

use super::{
    CliError,
    backup::{KeyArgs, failed},
};
use crate::store::embedded::{self, Accepted, Options, ProgramTotals};

const EXAMPLES: &str = "\
Examples:
  loyaltyd check --data /var/lib/loyaltyd
  loyaltyd check --data ./data --operator-key /run/secrets/operator.key

  loyaltyd check --data ./data --repair
  loyaltyd check --data /backup/loyalty --keys /safe/loyalty.keys --scratch /var/tmp/check

The service that uses the folder must be stopped. Needs as much free space as the look-up tables take, which it makes a second time, \
and with --repair twice as much, because the tables that are moved aside stay.

Folders tables.broken-N in the data folder are look-up tables that could not be used and were moved aside, at most two of them, for \
whoever wants to know why. Nothing reads them; they may be removed at any time.

A backup is left as it is; its tables are made in a scratch folder, which is removed.";

/// Check a data folder or a backup: the journal's chain, every member folded again and compared, the totals of each programme
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder of the ledger
    #[arg(long, env = "LOYALTYD_DATA", default_value = "./data", value_name = "FOLDER")]
    data: PathBuf,

    /// First move the look-up tables aside and make them again from the journal
    #[arg(long)]
    repair: bool,

    /// When keys are lost for good: members whose keys the key file lacks, or all if there is none, are declared erased. Their points and
    /// entries stay. The key file as it was is kept as keys.before-accept. Without a key file, requests from before that are repeated are refused instead of answered again
    #[arg(long, requires = "repair")]
    accept_erased: bool,

    /// Of a backup: a folder to be made for the time of the check [default: tables.check in the backup's folder]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,

    #[command(flatten)]
    keys: KeyArgs,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let operator_key = args.keys.operator_key()?;
    let options = Options { operator_key, ..Options::default() };
    let report = match embedded::is_backup(&args.data) {
        true if args.repair => return Err(CliError::Usage("a backup has no tables to repair: leave --repair out".to_owned())),
        true => {
            let scratch = args.scratch.clone().unwrap_or_else(|| args.data.join("tables.check"));
            embedded::check_backup(&args.keys.place(&args.data, operator_key.as_ref()), &scratch, &options)
        }
        false if args.repair => embedded::repair(&args.data, args.accept_erased, &options, print_accepted),
        false => embedded::check(&args.data, &options),
    };
    let report = report.map_err(failed)?;
    println!("commits                  {:>16}", report.commits);
    println!("entries                  {:>16}", report.entries);
    println!("rows compared            {:>16}", report.rows);
    println!("differences              {:>16}", report.difference_count);
    report.programs.iter().for_each(print_totals);
    for difference in &report.differences {
        eprintln!("difference: {difference}");
    }
    let unbalanced: Vec<&str> =
        report.programs.iter().filter(|totals| !totals.is_conserved()).map(|totals| totals.program.as_str()).collect();
    match (report.difference_count, unbalanced.as_slice()) {
        (0, []) => Ok(()),
        (0, programs) => Err(CliError::Failed(format!("points are not conserved in {}", programs.join(", ")))),
        (count, _) => Err(CliError::Failed(format!(
            "{count} rows differ from the journal, which is whole: run `loyaltyd check --data {} --repair`, which makes them again",
            args.data.display()
        ))),
    }
}

fn print_accepted(accepted: &Accepted) {
    let Accepted { lost, before, copy } = accepted;
    println!("keys declared erased     {lost:>16}");
    println!("members before           {before:>16}");
    println!("members after            {:>16}", before - lost);
    if let Some(copy) = copy {
        println!("the key file as it was is kept in {}: destroy it once it is not needed, it holds members' keys", copy.display());
    }
}

fn print_totals(totals: &ProgramTotals) {
    println!("programme {} (points in the smallest unit)", totals.program);
    let rows = [
        ("members", i128::from(totals.members)),
        ("issued", totals.issued),
        ("transferred in", totals.transferred_in),
        ("reinstated", totals.reinstated),
        ("pending", totals.pending),
        ("available", totals.available),
        ("held", totals.held),
        ("redeemed", totals.redeemed),
        ("expired", totals.expired),
        ("clawed back", totals.clawed_back),
        ("transferred out", totals.transferred_out),
        ("debt", totals.debt),
    ];
    for (name, value) in rows {
        println!("  {name:<22} {value:>16}");
    }
}
