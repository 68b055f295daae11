//! `loyaltyd program`: check, publish and show rule books.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use tonic::Code;
use tonic_types::StatusExt;

use super::{CliError, client};
use crate::{
    contract::{
        program, rule_book,
        v1::{self, program_service_client::ProgramServiceClient},
    },
    domain::ActorId,
};

/// Check, publish and show rule books
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check rule-book files without a server; every mistake is named with its path
    #[command(after_help = "EXAMPLES\n  loyaltyd program validate examples/programs/*.yaml")]
    Validate {
        /// YAML or JSON
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Make a rule book the next version of its programme on a running server
    #[command(after_help = "\
Publishing what the version in effect, or the last one, already says changes nothing. With effective_time, such as
\"2026-12-01T00:00:00+07:00\", the version waits, and the one before it holds until then. To withdraw what waits, publish
what is in effect with --replace-waiting and without effective_time.

EXAMPLES
  loyaltyd program publish examples/programs/grocery.yaml
  loyaltyd program publish grocery.yaml --actor staff-7 --server 127.0.0.1:50051
  loyaltyd program publish grocery.yaml --validate-only --server 127.0.0.1:50051")]
    Publish {
        /// YAML or JSON
        file: PathBuf,
        /// Only let the server check it
        #[arg(long)]
        validate_only: bool,
        /// Versions that wait, and would take effect together with this one or after it, never do
        #[arg(long)]
        replace_waiting: bool,
        /// Who publishes it: a staff id, which the audit log keeps for ever; a server with credentials requires it
        #[arg(long, value_name = "NAME", value_parser = ActorId::new)]
        actor: Option<ActorId>,
        #[command(flatten)]
        server: client::ServerArgs,
    },
    /// Print a published rule book as YAML, or list the programmes
    #[command(after_help = "\
EXAMPLES
  loyaltyd program show
  loyaltyd program show grocery
  loyaltyd program show grocery --version 2 > grocery.yaml")]
    Show {
        /// The programme; without it all are listed
        program_id: Option<String>,
        /// The version [default: the one in effect]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), requires = "program_id")]
        version: Option<i32>,
        #[command(flatten)]
        server: client::ServerArgs,
    },
}

pub async fn run(args: Args) -> Result<(), CliError> {
    match args.what {
        What::Validate { files } => validate(&files),
        What::Publish { file, validate_only, replace_waiting, actor, server } => {
            let actor = actor.map(|actor| v1::Actor { actor_id: actor.to_string() });
            let request = v1::PublishProgramRequest { validate_only, replace_waiting, actor, ..Default::default() };
            publish(&file, request, &server).await
        }
        What::Show { program_id: Some(program_id), version, server } => show(program_id, version.unwrap_or(0), &server).await,
        What::Show { program_id: None, server, .. } => list(&server).await,
    }
}

fn validate(files: &[PathBuf]) -> Result<(), CliError> {
    let mut bad = 0;
    for file in files {
        let mistakes = match read(file) {
            Ok(document) => match program::parse(&document, 1, jiff::Timestamp::now()) {
                Ok(_) => Vec::new(),
                Err(violations) => violations.iter().map(ToString::to_string).collect(),
            },
            Err(error) => vec![error.to_string()],
        };
        if mistakes.is_empty() {
            println!("{}: valid", file.display());
            continue;
        }
        bad += 1;
        for mistake in mistakes {
            eprintln!("{}: {mistake}", file.display());
        }
    }
    match bad {
        0 => Ok(()),
        bad => Err(CliError::Failed(format!("{bad} of {} rule books are not valid", files.len()))),
    }
}

async fn publish(file: &Path, request: v1::PublishProgramRequest, server: &client::ServerArgs) -> Result<(), CliError> {
    let validate_only = request.validate_only;
    let document = read(file)?;
    let program_id = document.program_id.clone();
    // A new id each time: publishing what is there changes nothing.
    let request_id = format!("publish-{}", uuid::Uuid::now_v7());
    let request = v1::PublishProgramRequest { request_id, program: Some(document), ..request };
    let answer = ProgramServiceClient::new(server.connect().await?).publish_program(request).await;
    let answer = answer.map_err(|status| refused(file, &status))?.into_inner();
    let program = answer.program.unwrap_or_default();
    let version = program.version;
    let from = program.effective_time.filter(|_| answer.changed).map_or_else(String::new, |time| format!(", in effect from {time} on"));
    match (validate_only, answer.changed) {
        (true, true) => println!("{program_id}: valid; publishing it would make version {version}{from}"),
        (true, false) => println!("{program_id}: valid; version {version} says the same"),
        (false, true) => println!("{program_id}: published version {version}{from}"),
        (false, false) => println!("{program_id}: version {version} says the same, nothing changed"),
    }
    for replaced in answer.replaced_versions {
        let never = if validate_only { "would never take effect" } else { "never takes effect" };
        println!("{program_id}: version {replaced}, which waited, {never}");
    }
    for moved in answer.tier_moves {
        println!("{program_id}: {} members would go from {} to {}", moved.members, moved.from_tier_id, moved.to_tier_id);
    }
    Ok(())
}

/// Every mistake on a line of its own.
fn refused(file: &Path, status: &tonic::Status) -> CliError {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    if status.code() != Code::InvalidArgument || violations.is_empty() {
        return client::failed(status);
    }
    // Who publishes is not in the file.
    if let Some(violation) = violations.iter().find(|violation| violation.field == "actor") {
        return CliError::Failed(format!("--actor {}", violation.description));
    }
    for violation in &violations {
        eprintln!("{}: {} {}", file.display(), violation.field, violation.description);
    }
    CliError::Failed(format!("{} is not valid", file.display()))
}

async fn show(program_id: String, version: i32, server: &client::ServerArgs) -> Result<(), CliError> {
    let request = v1::GetProgramRequest { program_id, version };
    let answer = ProgramServiceClient::new(server.connect().await?).get_program(request).await;
    let answer = answer.map_err(|status| client::failed(&status))?.into_inner();
    // As comments: what is printed is a rule book still.
    let waiting: String = answer.waiting_versions.iter().map(|version| format!("# {}\n", waits(version))).collect();
    print(&(waiting + &rule_book::to_yaml(&answer.program.unwrap_or_default())))
}

async fn list(server: &client::ServerArgs) -> Result<(), CliError> {
    let mut client = ProgramServiceClient::new(server.connect().await?);
    let mut text = String::new();
    let mut page_token = String::new();
    loop {
        let answer = client.list_programs(v1::ListProgramsRequest { page_size: 500, page_token }).await;
        let answer = answer.map_err(|status| client::failed(&status))?.into_inner();
        for program in answer.programs {
            text += &format!("{}\tversion {}\t{}\n", program.program_id, program.version, program.display_name);
            let waiting = answer.waiting_versions.iter().filter(|version| version.program_id == program.program_id);
            text.extend(waiting.map(|version| format!("{}\t{}\n", program.program_id, waits(version))));
        }
        if answer.next_page_token.is_empty() {
            return print(&text);
        }
        page_token = answer.next_page_token;
    }
}

fn waits(version: &v1::WaitingVersion) -> String {
    let time = version.effective_time.unwrap_or_default();
    format!("version {} waits: it takes effect at {time}", version.version)
}

/// A reader that goes away early, such as `head`, is no failure.
fn print(text: &str) -> Result<(), CliError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::Failed(format!("cannot print: {error}"))),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(file: &Path) -> Result<v1::Program, CliError> {
    let failed = |error: &dyn std::error::Error| CliError::Failed(format!("{}: {error}", file.display()));
    let mut text = String::new();
    // One byte more than allowed is enough to see that it is too large.
    let bound = rule_book::MAX_BYTES as u64 + 1;
    File::open(file).and_then(|opened| opened.take(bound).read_to_string(&mut text)).map_err(|error| failed(&error))?;
    rule_book::read(&text).map_err(|error| failed(&error))
}
