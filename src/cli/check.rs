//! `loyaltyd check`.

use std::path::PathBuf;

use super::CliError;
use crate::{
    config,
    store::embedded::{self, Options, ProgramTotals},
};

const EXAMPLES: &str = "\
Examples:
  loyaltyd check --data /var/lib/loyaltyd
  loyaltyd check --data ./data --operator-key /run/secrets/operator.key

The service that uses the folder must be stopped. Needs as much free space as the look-up tables take.";

/// Check a data folder: the journal's chain, every member folded again and compared, the totals of each programme
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder of the ledger
    #[arg(long, env = "LOYALTYD_DATA", default_value = "./data", value_name = "FOLDER")]
    data: PathBuf,

    /// File of 32 bytes that wraps the members' keys, if the service has one
    #[arg(long, env = "LOYALTYD_OPERATOR_KEY", value_name = "FILE", value_parser = config::path())]
    operator_key: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let operator_key = config::operator_key(args.operator_key.as_deref()).map_err(|error| CliError::Usage(error.to_string()))?;
    let options = Options { operator_key, ..Options::default() };
    let report = embedded::check(&args.data, &options).map_err(|error| CliError::Failed(error.to_string()))?;
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
            "{count} rows differ from the journal, which is whole: move the folder `tables` in {} aside and start the service, which makes it again",
            args.data.display()
        ))),
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
