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

/// The state right after an entry. Only repeated requests of support staff pay for it.
fn state_at(store: &(impl Read + ?Sized), key: &MemberKey, last: u64) -> Result<Member, LedgerError> {
    state_until(store, key, |entry| entry.sequence <= last)
}

/// The state after the first entries, as long as they are wanted, folded from the first one on: exact by invariant 3.
pub(super) fn state_until(store: &(impl Read + ?Sized), key: &MemberKey, wanted: impl Fn(&Entry) -> bool) -> Result<Member, LedgerError> {
    let mut member: Option<Member> = None;
    loop {
        let next = member.as_ref().map_or(1, |member| member.header.last_sequence + 1);
        let page = store.entries(key, next, next + FOLD_PAGE - 1)?;
        let is_last = (page.len() as u64) < FOLD_PAGE;
        for entry in &page {
            if !wanted(entry) {
                return Ok(member.ok_or(Rejection::MemberNotFound)?);
            }
            let state = member.get_or_insert_with(|| new_member(key, entry));
            domain::apply(state, entry).map_err(StoreError::from)?;
        }
        if is_last {
            return Ok(member.ok_or(Rejection::MemberNotFound)?);
        }
    }
}

fn new_member(key: &MemberKey, first: &Entry) -> Member {
    Member::bare(key.clone(), Header::new(first.record_time))
}
