//! All that a member has, at one instant.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{Decision, Entry, EntryRef, Member, MemberKey, ProgramHistory, Rejection},
    store::{LotDemand, MemberDemand},
};

use super::{Ledger, LedgerError, Offers, query::all_due};

/// Entries that are read together: one can have 10,000 lines.
const AT_ONCE: u64 = 16;

/// A member with all that it has, and what is due by then entered, though not written.
pub struct Snapshot {
    pub time: Timestamp,
    /// As it stood then.
    pub programs: Arc<ProgramHistory>,
    pub member: Member,
    /// Not recorded yet; the last of the member's entries.
    pub due: Vec<Entry>,
}

impl Ledger {
    pub fn snapshot(&self, key: &MemberKey) -> Result<Snapshot, LedgerError> {
        let time = self.now();
        let programs = self.program_at(&key.program, time)?;
        let all = MemberDemand {
            lots: LotDemand::All,
            dates: super::DATES,
            holds: true,
            pending: true,
            vouchers: true,
            person: true,
            ..MemberDemand::read(time).under(&programs)
        };
        let stored = self.0.store.member(key, all)?.ok_or(Rejection::MemberNotFound)?;
        let Decision { entries: due, member, .. } = all_due(&programs, time, stored)?;
        Ok(Snapshot { time, programs, member, due })
    }

    /// The newest entry that goes on with the story of one, of those that are in these ledgers, each up to an entry; the last of them is the one
    /// that the others were merged into, in their order.
    pub fn latest(&self, entry: &Entry, ledgers: &[(MemberKey, u64)]) -> Result<Option<Entry>, LedgerError> {
        let Some(latest) = self.0.store.story(&entry.key, entry.sequence)? else { return Ok(None) };
        if ledgers.iter().any(|(key, last)| key.member == latest.member && latest.sequence <= *last) {
            let key = MemberKey { member: latest.member, ..entry.key.clone() };
            return Ok(self.0.store.entries(&key, latest.sequence, latest.sequence)?.pop());
        }
        // It was recorded since: the one before it is found among all, which happens to few.
        for (key, last) in ledgers.iter().rev() {
            let first = if *key == entry.key { entry.sequence + 1 } else { 1 };
            if let Some(found) = self.latest_in(key, (first, *last), entry.reference())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The same in one ledger, from an entry to another.
    fn latest_in(&self, key: &MemberKey, (first, last): (u64, u64), origin: EntryRef) -> Result<Option<Entry>, LedgerError> {
        let (mut found, mut next) = (None, first);
        while next <= last {
            let entries = self.0.store.entries(key, next, next.saturating_add(AT_ONCE - 1).min(last))?;
            let Some(behind) = entries.last().map(|entry| entry.sequence + 1) else { break };
            found = entries.into_iter().rfind(|entry| entry.continues() == Some(origin)).or(found);
            next = behind;
        }
        Ok(found)
    }
}

impl Snapshot {
    /// The newest entry that is recorded.
    pub fn last_recorded(&self) -> u64 {
        self.member.header.last_sequence - self.due.len() as u64
    }

    /// The offers of the version in effect, in their order, as they stand for the member.
    pub fn offers(&self) -> Result<Offers, LedgerError> {
        let program = Arc::clone(self.programs.newest());
        let standings =
            program.offers.iter().map(|offer| offer.standing(&program, &self.member.header, self.time)).collect::<Result<_, _>>();
        Ok(Offers { standings: standings.map_err(Rejection::from)?, program })
    }
}
