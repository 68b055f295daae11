//! A request id and the fingerprint of its payload: the first answer again, or a clear refusal.

use std::sync::Arc;

use crate::{
    domain::{self, Command, Entry, Header, Member, MemberKey, ProgramHistory, Rejection, Request},
    store::{Read, RequestOutcome, RequestRow, StoreError},
};

use super::{LedgerError, Outcome};

/// Entries read at a time when a member's past is folded again.
const FOLD_PAGE: u64 = 512;

/// A request that was seen before: where its first answer lies.
pub(super) struct Repeat {
    programs: Arc<ProgramHistory>,
    key: MemberKey,
    first: u64,
    last: u64,
    with_member: bool,
}

/// Tells a retry from another request with the same id.
pub(super) fn repeat(
    programs: &Arc<ProgramHistory>,
    request: &Request,
    command: &Command,
    row: &RequestRow,
) -> Result<Repeat, LedgerError> {
    if row.fingerprint != request.fingerprint {
        return Err(Rejection::RequestIdReused.into());
    }
    match row.outcome {
        RequestOutcome::Entries { member, first, last } => {
            let key = MemberKey { program: programs.newest().id.clone(), member };
            Ok(Repeat { programs: Arc::clone(programs), key, first, last, with_member: command.answers_with_member() })
        }
        RequestOutcome::Publication { .. } => Err(Rejection::RequestIdReused.into()),
    }
}

impl Repeat {
    /// Reads cost more than a few entries: only if the answer shows the member.
    pub fn is_long(&self) -> bool {
        self.with_member
    }

    /// The first answer again.
    pub fn answer(self, store: &(impl Read + ?Sized)) -> Result<Outcome, LedgerError> {
        let Self { programs, key, first, last, with_member } = self;
        let entries = store.entries(&key, first, last)?;
        let member = if with_member { Some(Box::new(state_at(store, &key, last)?)) } else { None };
        Ok(Outcome { programs, key, entries, member })
    }
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
