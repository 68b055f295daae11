//! A request id and the fingerprint of its payload: the first answer again, or a clear refusal.

use crate::{
    domain::{self, Command, Entry, Header, Member, MemberKey, ProgramId, Rejection, Request},
    store::{Read, RequestOutcome, RequestRow, StoreError},
};

use super::{LedgerError, Outcome};

/// Entries read at a time when a member's past is folded again.
const FOLD_PAGE: u64 = 512;

/// The first answer of a request that was seen before. Nothing is changed.
pub(super) fn repeat(
    store: &(impl Read + ?Sized),
    program: &ProgramId,
    request: &Request,
    command: &Command,
    row: &RequestRow,
) -> Result<Outcome, LedgerError> {
    if row.fingerprint != request.fingerprint {
        return Err(Rejection::RequestIdReused.into());
    }
    let (member, first, last) = match row.outcome {
        RequestOutcome::Entries { member, first, last } => (member, first, last),
        RequestOutcome::Publication { .. } => return Err(Rejection::RequestIdReused.into()),
    };
    let key = MemberKey { program: program.clone(), member };
    let entries = store.entries(&key, first, last)?;
    let member = if command.answers_with_member() { Some(Box::new(state_at(store, &key, last)?)) } else { None };
    Ok(Outcome { key, entries, member })
}

/// The state right after an entry, folded from the first one on: exact by invariant 3. Only repeated requests of support staff pay for it.
fn state_at(store: &(impl Read + ?Sized), key: &MemberKey, last: u64) -> Result<Member, LedgerError> {
    let mut member: Option<Member> = None;
    let mut next = 1;
    while next <= last {
        let page = store.entries(key, next, last.min(next + FOLD_PAGE - 1))?;
        let expected = page.len() as u64;
        for entry in &page {
            let state = member.get_or_insert_with(|| new_member(key, entry));
            domain::apply(state, entry).map_err(StoreError::from)?;
        }
        if expected == 0 {
            return Err(StoreError::Damaged(format!("entries {next} to {last} of a member are missing")).into());
        }
        next += expected;
    }
    Ok(member.ok_or(Rejection::MemberNotFound)?)
}

fn new_member(key: &MemberKey, first: &Entry) -> Member {
    Member { key: key.clone(), header: Header::new(first.record_time), person: None, lots: Default::default() }
}
