//! Enrolment of the members that a file names, several at a time.

use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};
use tonic_types::StatusExt;

use super::{basket::Basket, file::Refusal};
use crate::{
    cli::{CliError, client},
    contract::v1::{self, member_service_client::MemberServiceClient},
};

/// Calls at a time.
pub const IN_FLIGHT: usize = 64;
/// Members that are remembered as enrolled. Beyond, all are forgotten and enrolled again, which changes nothing.
const REMEMBERED: usize = 1_000_000;

/// Baskets in their order, each with the enrolment that it waits for.
type Waiting = VecDeque<(Basket, Option<Call>)>;
/// An enrolment on its way.
pub type Call = JoinHandle<Result<Enrolled, CliError>>;

/// What became of a member.
pub enum Enrolled {
    /// When, as the service has it.
    At(prost_types::Timestamp),
    /// The identifier belongs to a member that was enrolled by someone else.
    Before,
    Refused(Refusal),
}

/// Enrols one, with retries.
pub async fn enroll(channel: client::ApiChannel, request: v1::EnrollMemberRequest, retry_for: Duration) -> Result<Enrolled, CliError> {
    let mut client = MemberServiceClient::new(channel);
    let mut backoff = client::Backoff::new(retry_for);
    loop {
        let status = match client.enroll_member(request.clone()).await {
            Ok(answer) => {
                let member = answer.into_inner().member.unwrap_or_default();
                return Ok(Enrolled::At(member.create_time.unwrap_or_default()));
            }
            Err(status) => status,
        };
        if client::transient(&status) {
            backoff.wait(status).await.map_err(|status| client::failed(&status))?;
            continue;
        }
        let reason = client::reason(&status);
        if reason == "PROGRAM_NOT_FOUND" || status.code() == tonic::Code::Unimplemented {
            return Err(client::failed(&status));
        }
        if reason == "IDENTIFIER_TAKEN" {
            return Ok(Enrolled::Before);
        }
        return Ok(Enrolled::Refused(refusal(&status)));
    }
}

/// What the service says of a refused request, with the fields that it names.
pub fn refusal(status: &tonic::Status) -> Refusal {
    let fields = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let fields = fields.into_iter().map(|violation| (violation.field, violation.description));
    Refusal { reason: client::reason(status), message: with_fields(status.message(), fields) }
}

pub fn with_fields(message: &str, fields: impl Iterator<Item = (String, String)>) -> String {
    let named = fields.filter(|(_, text)| !message.contains(text.as_str())).map(|(field, text)| format!("; {field}: {text}"));
    format!("{message}{}", named.collect::<String>())
}

/// Passes baskets on in their order, each after its member is enrolled. Returns how many members this run enrolled.
pub async fn before_purchases(
    channel: client::ApiChannel,
    program: String,
    retry_for: Duration,
    since: prost_types::Timestamp,
    mut baskets: mpsc::Receiver<Basket>,
    ready: mpsc::Sender<Basket>,
) -> Result<u64, CliError> {
    let mut known = HashSet::new();
    let mut waiting: Waiting = VecDeque::new();
    let mut open = true;
    let mut enrolled = 0;
    while open || !waiting.is_empty() {
        tokio::select! {
            basket = baskets.recv(), if open && waiting.len() < IN_FLIGHT => match basket {
                Some(basket) => {
                    let call = start(&channel, &program, retry_for, &basket, &mut known);
                    waiting.push_back((basket, call));
                }
                None => open = false,
            },
            outcome = front(&mut waiting), if !waiting.is_empty() => {
                let (mut basket, _) = waiting.pop_front().expect("the front was just awaited");
                match outcome? {
                    Some(Enrolled::Refused(refusal)) => basket.request = Err(refusal),
                    Some(Enrolled::At(time)) if !super::before(&time, &since) => enrolled += 1,
                    Some(Enrolled::At(_) | Enrolled::Before) | None => {}
                }
                if ready.send(basket).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(enrolled)
}

fn start(channel: &client::ApiChannel, program: &str, retry_for: Duration, basket: &Basket, known: &mut HashSet<[u8; 16]>) -> Option<Call> {
    if basket.request.is_err() {
        return None;
    }
    if known.len() >= REMEMBERED {
        known.clear();
    }
    let hash = blake3::hash(basket.member.as_bytes());
    let key = hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes");
    if !known.insert(key) {
        return None;
    }
    let request = super::enrolment(program, &basket.member, None, []);
    Some(tokio::spawn(enroll(channel.clone(), request, retry_for)))
}

/// Waits for the first one's call; may be dropped and awaited again.
fn front(waiting: &mut Waiting) -> impl Future<Output = Result<Option<Enrolled>, CliError>> {
    let call = waiting.front_mut().and_then(|(_, call)| call.as_mut());
    async {
        match call {
            Some(call) => call.await.expect("an enrolment does not panic").map(Some),
            None => Ok(None),
        }
    }
}
