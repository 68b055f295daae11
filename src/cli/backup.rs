//! `loyaltyd backup`: takes a backup from a running server, or verifies one.

use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{CliError, client};
use crate::{
    config,
    contract::v1::{self, admin_service_client::AdminServiceClient, stream_backup_response as answer},
    store::{
        CommitSeq, StoreError,
        backup::{Held, Part},
        embedded::{self, Backup, BackupPlace},
    },
};

const EXAMPLES: &str = "\
The service goes on meanwhile. Run again on the same folder, only what is missing is fetched. It can be killed at any time and run again. \
The key file makes what is personal readable: keep it apart with --keys-to, on another disk or machine, or have the service wrap the keys \
with --operator-key.

Run it on the service's machine: others are refused, unless the service was started with --admin-from-anywhere. A proxy on that machine \
counts as a caller there, and must not forward /loyalty.v1.AdminService/: whoever is forwarded has all there is.

EXAMPLES
  loyaltyd backup --to /backup/loyalty --keys-to /safe/loyalty.keys
  loyaltyd backup --to backup --server 127.0.0.1:50051
  loyaltyd backup verify /backup/loyalty --keys /safe/loyalty.keys
  loyaltyd restore --from backup --to data.restored";

/// Take a backup from a running server, or verify one
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,

    /// Folder of the backup; it is made if it is missing
    #[arg(long, value_name = "FOLDER", required = true)]
    to: Option<PathBuf>,

    /// Where the key file goes, if not into the folder
    #[arg(long, value_name = "FILE")]
    keys_to: Option<PathBuf>,

    /// Leave the backup's closed segments uncompressed
    #[arg(long)]
    no_compression: bool,

    #[command(flatten)]
    server: client::ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Read all of a backup: checksums, the chain of commits, and that all that is personal can be read with its key or is erased
    Verify {
        folder: PathBuf,
        #[command(flatten)]
        keys: KeyArgs,
    },
}

/// What it takes to read what a backup holds.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The key file, if it is not in the backup's folder
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// File of 32 bytes that wraps the members' keys, if the service has one
    #[arg(long, env = "LOYALTYD_OPERATOR_KEY", value_name = "FILE", value_parser = config::path())]
    operator_key: Option<PathBuf>,
}

impl KeyArgs {
    pub fn operator_key(&self) -> Result<Option<[u8; 32]>, CliError> {
        config::operator_key(self.operator_key.as_deref()).map_err(|error| CliError::Usage(error.to_string()))
    }

    pub fn place<'a>(&'a self, folder: &'a Path, operator_key: Option<&'a [u8; 32]>) -> BackupPlace<'a> {
        BackupPlace { folder, keys: self.keys.as_deref(), operator_key }
    }
}

pub async fn run(args: Args) -> Result<(), CliError> {
    match (args.what, args.to) {
        (Some(What::Verify { folder, keys }), _) => verify(&folder, &keys),
        (None, Some(to)) => take(&to, args.keys_to.as_deref(), !args.no_compression, &args.server).await,
        (None, None) => Err(CliError::Usage("name the backup's folder with --to".to_owned())),
    }
}

async fn take(folder: &Path, keys: Option<&Path>, compress: bool, server: &client::ServerArgs) -> Result<(), CliError> {
    // First of all: without a server nothing is made.
    let channel = server.connect().await?;
    let mut backup = Backup::open(folder, keys, compress).map_err(failed)?;
    let from = backup.held().last;
    let mut client = AdminServiceClient::new(channel).max_decoding_message_size(8 << 20);
    let mut answers = client.stream_backup(request(backup.held())).await.map_err(|status| client::failed(&status))?.into_inner();
    let started = std::time::Instant::now();
    let bar = progress();
    let mut fetched = 0;
    while let Some(answer) = answers.message().await.map_err(|status| cut_off(&client::failed(&status)))? {
        let part = part(answer)?;
        match &part {
            Part::Start { journal_bytes, .. } => bar.set_length(*journal_bytes),
            Part::Journal { content, .. } => {
                bar.inc(content.len() as u64);
                fetched += content.len() as u64;
            }
            Part::KeyBlock { content, .. } => fetched += content.len() as u64,
            Part::End { .. } => {}
        }
        backup.store(part).map_err(failed)?;
    }
    bar.finish_and_clear();
    if !backup.is_whole() {
        return Err(cut_off(&CliError::Failed("the server ended before all was sent".to_owned())));
    }
    let last = backup.held().last.0;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}: up to commit {last}, {} of them new; fetched {} in {seconds:.1} s",
        folder.display(),
        last - from.0.min(last),
        HumanBytes(fetched)
    );
    Ok(())
}

fn cut_off(error: &CliError) -> CliError {
    CliError::Failed(format!("{error}. The backup is not up to date: run it again, it goes on where it stopped"))
}

fn request(held: &Held) -> v1::StreamBackupRequest {
    v1::StreamBackupRequest {
        store_id: held.store_id.map(Vec::from).unwrap_or_default(),
        last_commit: i64::try_from(held.last.0).unwrap_or(i64::MAX),
        last_commit_hash: if held.last.0 == 0 { Vec::new() } else { held.hash.to_vec() },
        key_block_hashes: held.key_blocks.iter().map(|hash| hash.to_vec()).collect(),
    }
}

/// What a server sends is not trusted to be what it should be.
fn part(response: v1::StreamBackupResponse) -> Result<Part, CliError> {
    let wrong = || CliError::Failed("the server sent what is no part of a backup; is it of this version?".to_owned());
    let number = |number: i64| u64::try_from(number).map_err(|_| wrong());
    Ok(match response.part.ok_or_else(wrong)? {
        answer::Part::Start(start) => Part::Start {
            store_id: start.store_id.try_into().map_err(|_| wrong())?,
            last: CommitSeq(number(start.last_commit)?),
            key_bytes: number(start.key_file_bytes)?,
            journal_bytes: number(start.journal_bytes)?,
        },
        answer::Part::KeyBlock(block) => Part::KeyBlock { offset: number(block.offset)?, content: block.content },
        answer::Part::JournalPart(part) => {
            Part::Journal { segment: number(part.first_commit)?, offset: number(part.offset)?, content: part.content }
        }
        answer::Part::End(end) => {
            Part::End { last: CommitSeq(number(end.last_commit)?), hash: end.last_commit_hash.try_into().map_err(|_| wrong())? }
        }
    })
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn verify(folder: &Path, keys: &KeyArgs) -> Result<(), CliError> {
    let operator_key = keys.operator_key()?;
    let found = embedded::verify(&keys.place(folder, operator_key.as_ref())).map_err(failed)?;
    println!("segments                 {:>16}", found.segments);
    println!("commits                  {:>16}", found.commits);
    println!("entries                  {:>16}", found.entries);
    println!("members                  {:>16}", found.members);
    println!("of them erased           {:>16}", found.erased);
    if let Some(time) = found.last_time {
        println!("last commit recorded at {time}");
    }
    if found.torn_bytes > 0 {
        println!("{} bytes of a run that was cut off are behind it; run the backup again", found.torn_bytes);
    }
    println!("last complete run: commit {}", found.last_run.0);
    println!("the backup is whole");
    Ok(())
}

pub fn failed(error: StoreError) -> CliError {
    CliError::Failed(error.to_string())
}
