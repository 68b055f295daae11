//! `loyaltyd import members`.

use std::collections::VecDeque;

use jiff::civil::Date;
use tokio::sync::mpsc;

use super::{
    Common,
    enroll::{self, Call, Enrolled},
    file::{Refusal, Row, Table},
    mapping::{Columns, Pair, parse_pair},
    report::{Counts, Progress, Rejects},
};
use crate::{
    cli::{CliError, client},
    contract::v1::{self, identifier::Kind},
};

const HELP: &str = "\
FIELDS
  member       the customer's id, kept as the member's external id   required
  card         a loyalty card                                        optional
  phone        in international form                                 optional
  email                                                              optional
  name         the display name                                      optional
  birth_date   2000-01-31                                            optional
  language     such as vi-VN                                         optional
A field that is not mapped is taken from the column of its own name, if the file has it.

The request ids come from programme and customer id, so an import that was stopped can be run
again. A member whose row has changed since is refused (REQUEST_ID_REUSED). A row that says more
than the customer's id of a member that is there from elsewhere, such as from `import purchases
--enroll`, is refused (IDENTIFIER_TAKEN), for it would be lost: import members before purchases.

EXIT CODE
  0 everyone is enrolled   1 it failed, was stopped, or rows were refused   2 the command line is wrong

EXAMPLES
  loyaltyd import members customers.csv --program corner-shop --map member=customer_id --map phone=mobile --map birth_date=born";

/// What a member file can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MemberField {
    Member,
    Card,
    Phone,
    Email,
    Name,
    BirthDate,
    Language,
}

/// Members from a CSV file with a header, through the gRPC API of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Which column holds which field (any number of times)
    #[arg(long = "map", value_name = "FIELD=COLUMN", value_parser = parse_pair::<MemberField>)]
    map: Vec<Pair<MemberField>>,
}

pub async fn run(args: Args) -> Result<(), CliError> {
    let common = &args.common;
    let table = Table::open(&common.file, common.format(), &args.map, &[MemberField::Member])?;
    let channel = common.server.channel()?;
    common.program(channel.clone()).await?;
    let mut enrolment = Enrolment {
        since: super::now(),
        rejects: common.rejects(&table.header)?,
        progress: Progress::new(table.size),
        counts: Counts::default(),
    };
    let stop = client::stop_signal()?;
    let (sender, candidates) = mpsc::channel(enroll::IN_FLIGHT);
    let program = common.program.clone();
    let reader = tokio::task::spawn_blocking(move || read(table, &program, &sender));
    let ended = tokio::select! {
        ended = enrolment.run(common, channel, candidates) => ended,
        signal = stop => Err(CliError::Failed(format!("{signal}: stopped"))),
    };
    enrolment.progress.finish();
    let Enrolment { rejects, counts, .. } = enrolment;
    let rejects = rejects.finish()?;
    println!("members read        {:>10}", counts.read);
    println!("  enrolled          {:>10}", counts.enrolled);
    println!("  already there     {:>10}", counts.already_there);
    println!("  refused           {:>10}", counts.refused);
    if let Err(error) = ended {
        return Err(super::incomplete(&error));
    }
    reader.await.expect("reading does not panic").map_err(|error| super::incomplete(&error))?;
    super::verdict(&counts, &rejects)
}

/// A row on its way.
struct Candidate {
    start: csv::Position,
    member: String,
    position: u64,
    request: Result<v1::EnrollMemberRequest, Refusal>,
}

impl Candidate {
    /// Whether both name the same identifier, however it is written.
    fn meets(&self, other: &Self) -> bool {
        let (Ok(own), Ok(others)) = (&self.request, &other.request) else { return false };
        let same = |one: &v1::Identifier, two: &v1::Identifier| one.kind == two.kind && letters(one).eq(letters(two));
        own.identifiers.iter().any(|one| others.identifiers.iter().any(|two| same(one, two)))
    }
}

/// Without what the service may leave out: spaces, dashes, capitals.
fn letters(identifier: &v1::Identifier) -> impl Iterator<Item = char> + '_ {
    identifier.value.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase)
}

struct Enrolment {
    since: prost_types::Timestamp,
    rejects: Rejects,
    progress: Progress,
    counts: Counts,
}

impl Enrolment {
    /// In the file's order, several at a time. Rows with an identifier in common wait for each other: the first one in the file gets it.
    async fn run(
        &mut self,
        common: &Common,
        channel: client::ApiChannel,
        mut candidates: mpsc::Receiver<Candidate>,
    ) -> Result<(), CliError> {
        let mut calls: VecDeque<(Candidate, Option<Call>)> = VecDeque::new();
        while let Some(candidate) = candidates.recv().await {
            while calls.len() >= enroll::IN_FLIGHT || calls.iter().any(|(other, _)| other.meets(&candidate)) {
                self.settle_first(&mut calls).await?;
            }
            let request = candidate.request.as_ref().ok().cloned();
            let call = request.map(|request| tokio::spawn(enroll::enroll(channel.clone(), request, common.retry_for)));
            calls.push_back((candidate, call));
        }
        while !calls.is_empty() {
            self.settle_first(&mut calls).await?;
        }
        Ok(())
    }

    async fn settle_first(&mut self, calls: &mut VecDeque<(Candidate, Option<Call>)>) -> Result<(), CliError> {
        let Some((candidate, call)) = calls.pop_front() else { return Ok(()) };
        let outcome = match call {
            Some(call) => Some(call.await.expect("an enrolment does not panic")?),
            None => None,
        };
        self.note(candidate, outcome)
    }

    fn note(&mut self, candidate: Candidate, outcome: Option<Enrolled>) -> Result<(), CliError> {
        self.counts.rows += 1;
        self.counts.read += 1;
        let refusal = match (outcome, candidate.request) {
            (Some(Enrolled::At(time)), _) if super::before(&time, &self.since) => {
                self.counts.already_there += 1;
                None
            }
            (Some(Enrolled::At(_)), _) => {
                self.counts.enrolled += 1;
                None
            }
            (Some(Enrolled::Before), Ok(request)) if super::says_no_more(&request) => {
                self.counts.already_there += 1;
                None
            }
            (Some(Enrolled::Before), _) => Some(Refusal {
                reason: "IDENTIFIER_TAKEN".into(),
                message: "one of the identifiers belongs to a member already; its profile was not changed".into(),
            }),
            (Some(Enrolled::Refused(refusal)), _) | (None, Err(refusal)) => Some(refusal),
            (None, Ok(_)) => None,
        };
        if let Some(refusal) = refusal {
            self.counts.refused += 1;
            self.rejects.add(&candidate.start, 1, &candidate.member, &refusal)?;
        }
        self.progress.update(candidate.position, &self.counts);
        Ok(())
    }
}

fn read(mut table: Table<MemberField>, program: &str, candidates: &mpsc::Sender<Candidate>) -> Result<(), CliError> {
    while let Some(row) = table.next_row()? {
        let member = table.columns.get(&row.fields, MemberField::Member).unwrap_or_default().to_owned();
        let request = request(&table.columns, &row, program, &member);
        if candidates.blocking_send(Candidate { start: row.start, member, position: row.position, request }).is_err() {
            break;
        }
    }
    Ok(())
}

fn request(columns: &Columns<MemberField>, row: &Row, program: &str, member: &str) -> Result<v1::EnrollMemberRequest, Refusal> {
    if let Some(broken) = &row.broken {
        return Err(broken.clone());
    }
    if member.is_empty() {
        return Err(Refusal::row("the member is missing"));
    }
    let text = |field| columns.get(&row.fields, field);
    let fields = [(MemberField::Card, Kind::Card), (MemberField::Phone, Kind::Phone), (MemberField::Email, Kind::Email)];
    let identifier = |(field, kind): (_, Kind)| Some(v1::Identifier { kind: kind.into(), value: text(field)?.to_owned() });
    let profile = v1::Profile {
        display_name: text(MemberField::Name).unwrap_or_default().to_owned(),
        birth_date: text(MemberField::BirthDate).map(birth_date).transpose()?,
        language_code: text(MemberField::Language).unwrap_or_default().to_owned(),
    };
    let profile = (profile != v1::Profile::default()).then_some(profile);
    Ok(super::enrolment(program, member, profile, fields.into_iter().filter_map(identifier)))
}

fn birth_date(text: &str) -> Result<v1::Date, Refusal> {
    // The value stays out of the message: it is personal.
    let date: Date = text.parse().map_err(|_| Refusal::row("the birth_date is not a date of the form 2000-01-31"))?;
    Ok(v1::Date { year: date.year().into(), month: date.month().into(), day: date.day().into() })
}
