//! `loyaltyd import`: history from CSV files, through the gRPC API like any other client.
//!
//! Reading order: [`mapping`] and [`file`] (rows), [`basket`] (rows become purchases), [`enroll`], [`delivery`] (one stream,
//! answers, retries), [`report`]. Memory is bounded by the read-ahead and the window, whatever the size of the file.

mod basket;
mod delivery;
mod enroll;
mod file;
mod mapping;
mod members;
mod purchases;
mod report;
mod time;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use self::{file::Format, report::Rejects};
use super::{CliError, client};
use crate::contract::v1::{self, identifier::Kind, program_service_client::ProgramServiceClient};

/// Import members and purchases from CSV files into a running server
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Members(Box<members::Args>),
    Purchases(Box<purchases::Args>),
}

/// What both kinds of files need.
#[derive(Debug, clap::Args)]
struct Common {
    /// The CSV file
    file: PathBuf,
    #[command(flatten)]
    server: client::ServerArgs,
    /// The programme to import into
    #[arg(long, value_name = "PROGRAM_ID")]
    program: String,
    /// What separates columns
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = mapping::parse_delimiter)]
    delimiter: u8,
    /// Quotes are ordinary characters, such as in 12" for inches
    #[arg(long)]
    no_quotes: bool,
    /// Where to write refused rows, each with the reason and as it is in the file, to be mended and imported with the same options;
    /// from a pipe the reasons alone [default: beside the file, its name with .rejects.csv]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// How long to try again when the server is gone or busy, such as 60s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    retry_for: Duration,
}

pub async fn run(args: Args) -> Result<(), CliError> {
    match args.what {
        What::Members(args) => members::run(*args).await,
        What::Purchases(args) => purchases::run(*args).await,
    }
}

impl Common {
    /// The programme, which is also the proof that the server is there.
    async fn program(&self, channel: client::ApiChannel) -> Result<v1::Program, CliError> {
        let mut client = ProgramServiceClient::new(channel);
        let mut backoff = client::Backoff::new(self.retry_for);
        loop {
            let request = v1::GetProgramRequest { program_id: self.program.clone(), version: 0 };
            match client.get_program(request).await {
                Ok(answer) => return Ok(answer.into_inner().program.unwrap_or_default()),
                Err(status) => backoff.wait(status).await.map_err(|status| client::failed(&status))?,
            }
        }
    }

    fn format(&self) -> Format {
        Format { delimiter: self.delimiter, quotes: !self.no_quotes }
    }

    fn rejects(&self, header: &csv::ByteRecord) -> Result<Rejects, CliError> {
        Rejects::create(self.rejects.as_deref(), &self.file, self.format(), header)
    }
}

/// The same for the same words, in every run: what makes running again safe.
fn request_id(words: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    format!("imp-{}", &hasher.finalize().to_hex()[..32])
}

/// A request that says no more than the customer's id has words of its own: both kinds of files can make it, and it must not be taken for
/// the one that says more of the same member.
fn enrolment(
    program: &str,
    member: &str,
    profile: Option<v1::Profile>,
    others: impl IntoIterator<Item = v1::Identifier>,
) -> v1::EnrollMemberRequest {
    let mut identifiers = vec![external_id(member)];
    identifiers.extend(others);
    let mut request = v1::EnrollMemberRequest { program_id: program.to_owned(), profile, identifiers, ..Default::default() };
    let word = if says_no_more(&request) { "enroll-bare" } else { "enroll" };
    request.request_id = request_id(&[word, program, member]);
    request
}

/// Than that there is such a customer.
fn says_no_more(request: &v1::EnrollMemberRequest) -> bool {
    request.profile.is_none() && request.identifiers.len() == 1
}

fn external_id(value: &str) -> v1::Identifier {
    v1::Identifier { kind: Kind::ExternalId.into(), value: value.to_owned() }
}

fn member_ref(value: &str) -> v1::MemberRef {
    v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(external_id(value))) }
}

fn now() -> prost_types::Timestamp {
    std::time::SystemTime::now().into()
}

fn before(time: &prost_types::Timestamp, other: &prost_types::Timestamp) -> bool {
    (time.seconds, time.nanos) < (other.seconds, other.nanos)
}

fn incomplete(error: &CliError) -> CliError {
    CliError::Failed(format!("{error}\nThe import is not complete. Run the same command again to go on: nothing is counted twice."))
}

fn verdict(counts: &report::Counts, rejects: &Path) -> Result<(), CliError> {
    match counts.refused {
        0 => Ok(()),
        refused => Err(CliError::Failed(format!("{refused} refused; see {}", rejects.display()))),
    }
}

pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|_| "expected a duration such as 10s or 5m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}
