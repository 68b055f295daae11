//! Queries. Each answers as of now: what is due is entered first, though not written.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        self, Command, Context, Decision, Entry, Lot, LotKey, Member, MemberId, MemberKey, OrderKey, ProgramHistory, ProgramId, Purchase,
        Rejection,
    },
    store::{
        MemberDemand,
        backup::{Held, Source},
    },
};

use super::{Ledger, LedgerError, Listed, MemberTarget};

impl Ledger {
    /// Which member is meant. That there is one of this id shows when it is loaded.
    pub fn find(&self, program: &ProgramId, target: &MemberTarget) -> Result<MemberKey, LedgerError> {
        self.program(program)?;
        let member = match target {
            MemberTarget::Id(member) => Some(*member),
            MemberTarget::Identifier(identifier) => self.0.store.member_by_identifier(program, identifier)?,
            MemberTarget::New => None,
        };
        let member = member.ok_or(Rejection::MemberNotFound)?;
        Ok(MemberKey { program: program.clone(), member })
    }

    /// A member, with what is personal.
    pub fn member(&self, key: &MemberKey) -> Result<Member, LedgerError> {
        let now = self.now();
        let stored = self.load(key, now, true)?;
        // What is due is not written yet: the member was not updated by it.
        let update_time = stored.header.update_time;
        let mut member = domain::advance(&*self.program(&key.program)?, now, stored)?.member;
        member.header.update_time = update_time;
        Ok(member)
    }

    /// Members in the order of their ids.
    pub fn members(&self, program: &ProgramId, after: Option<MemberId>, limit: usize) -> Result<Vec<Member>, LedgerError> {
        self.program(program)?;
        let ids = self.0.store.members(program, after, limit)?;
        ids.into_iter().map(|member| self.member(&MemberKey { program: program.clone(), member })).collect()
    }

    /// What recording the purchase would enter.
    pub fn quote(&self, key: &MemberKey, purchase: Arc<Purchase>) -> Result<Decision, LedgerError> {
        if let Some(order) = &purchase.order
            && let Some(row) = self.0.store.purchase(&key.program, order)?
        {
            let order = order.clone();
            return Err(Rejection::PurchaseExists { order, member: row.member, entry_sequence: row.entry_sequence }.into());
        }
        let programs = self.program(&key.program)?;
        let now = self.now();
        let context = Context { programs: &programs, now, request: None, actor: None };
        let member = self.load(key, now, false)?;
        Ok(domain::decide(context, member, &Command::RecordPurchase(purchase))?)
    }

    /// A member's entries before a sequence number, or the newest; newest first.
    pub fn entries(&self, key: &MemberKey, before: Option<u64>, limit: usize) -> Result<Vec<Listed>, LedgerError> {
        let Decision { entries: due, member } = self.advanced(key, false)?;
        let stored = member.header.last_sequence - due.len() as u64;
        let last = before.map_or(member.header.last_sequence, |before| before.saturating_sub(1).min(member.header.last_sequence));
        let first = last.saturating_sub(limit as u64) + 1;
        let recorded = self.0.store.entries(key, first, last.min(stored))?;
        let mut entries: Vec<Listed> = recorded.into_iter().map(|entry| Listed { entry, is_recorded: true }).collect();
        let due = due.into_iter().filter(|entry| (first..=last).contains(&entry.sequence));
        entries.extend(due.map(|entry| Listed { entry, is_recorded: false }));
        entries.reverse();
        Ok(entries)
    }

    pub fn entry(&self, key: &MemberKey, sequence: u64) -> Result<Listed, LedgerError> {
        let before = sequence.checked_add(1).ok_or(LedgerError::EntryNotFound { sequence })?;
        let found = self.entries(key, Some(before), 1)?.pop();
        found.filter(|listed| listed.entry.sequence == sequence).ok_or(LedgerError::EntryNotFound { sequence })
    }

    /// The lots that hold points that have not lapsed, in the order in which they are used up.
    pub fn lots(&self, key: &MemberKey, after: Option<LotKey>, limit: usize) -> Result<Vec<Lot>, LedgerError> {
        let now = self.now();
        self.load(key, now, false)?;
        // Lots that have lapsed stand first: begin behind them.
        let lapsed = LotKey::behind(now);
        let after = after.map_or(lapsed, |after| after.max(lapsed));
        Ok(self.0.store.lots(key, Some(after), limit)?)
    }

    /// What a backup lacks of all that is durable now.
    pub fn backup(&self, held: Held) -> Result<Box<dyn Source>, LedgerError> {
        Ok(self.0.store.backup(held)?)
    }

    /// The entry that recorded a purchase.
    pub fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<Entry, LedgerError> {
        self.program(program)?;
        let not_found = || LedgerError::PurchaseNotFound { order: order.clone() };
        let row = self.0.store.purchase(program, order)?.ok_or_else(not_found)?;
        let key = MemberKey { program: program.clone(), member: row.member };
        self.0.store.entries(&key, row.entry_sequence, row.entry_sequence)?.pop().ok_or_else(not_found)
    }

    fn load(&self, key: &MemberKey, now: Timestamp, person: bool) -> Result<Member, LedgerError> {
        let demand = MemberDemand { now, points: None, person };
        Ok(self.0.store.member(key, demand)?.ok_or(Rejection::MemberNotFound)?)
    }

    fn advanced(&self, key: &MemberKey, person: bool) -> Result<Decision, LedgerError> {
        let programs: Arc<ProgramHistory> = self.program(&key.program)?;
        let now = self.now();
        let member = self.load(key, now, person)?;
        Ok(domain::advance(&programs, now, member)?)
    }
}
