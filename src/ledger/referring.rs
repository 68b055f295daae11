//! Who referred a member: whose ledger a purchase of the member may write to as well, and a return.

use jiff::Timestamp;

use crate::{
    domain::{Command, EntryRef, Header, History, MAX_REFERRAL_CHAIN, Member, MemberId, MemberKey, ProgramHistory},
    store::{Read, StoreError},
};

use super::{
    LedgerError,
    loading::{self, Loaded},
};

/// The one who referred the member of a command.
pub(super) enum Referring {
    /// May get points for a purchase.
    Earns(MemberId),
    /// May lose what it got for a purchase, goods of which come back; loaded as a return asks for.
    GivesBack(Box<Loaded>),
}

impl Referring {
    pub fn member(&self) -> MemberId {
        match self {
            Self::Earns(member) => *member,
            Self::GivesBack(loaded) => loaded.member.key.member,
        }
    }
}

/// What is stored of members, under what a group of commands has changed.
pub(super) struct Headers<'a, R: Read + ?Sized> {
    pub store: &'a R,
    pub staged: &'a dyn Fn(&MemberKey) -> Option<&'a Header>,
}

impl<R: Read + ?Sized> Headers<'_, R> {
    /// As the member is called now, with its header. `None`: there is no such member.
    fn current(&self, key: &MemberKey) -> Result<Option<(MemberKey, Header)>, StoreError> {
        // What the group has is merged into nobody: a merge is alone in its group.
        match (self.staged)(key) {
            Some(header) => Ok(Some((key.clone(), header.clone()))),
            None => Ok(loading::current(self.store, key)?.map(|(key, header)| match (self.staged)(&key) {
                Some(staged) => (key, staged.clone()),
                None => (key, header),
            })),
        }
    }

    /// Who is said to have referred a member, who referred that one, and so on, at most so many as are looked at.
    pub fn chain(&self, key: &MemberKey, referrer: MemberId) -> Result<Vec<MemberId>, StoreError> {
        let mut chain = Vec::new();
        let mut next = Some(referrer);
        while let Some(member) = next.filter(|_| chain.len() < MAX_REFERRAL_CHAIN) {
            let found = self.current(&MemberKey { member, ..key.clone() })?;
            let Some((current, header)) = found.filter(|(current, _)| !chain.contains(&current.member)) else { break };
            chain.push(current.member);
            next = header.referral.map(|held| held.referral.referrer);
        }
        Ok(chain)
    }
}

/// Of any command, `other` being the other side that it names itself. `None`: it needs what the group has changed.
pub(super) fn find<R: Read + ?Sized>(
    headers: Headers<'_, R>,
    now: (&ProgramHistory, Timestamp),
    member: &Member,
    (command, other): (&Command, Option<&(MemberId, Command)>),
    history: &mut History,
) -> Result<Option<Option<Referring>>, LedgerError> {
    if let (Command::RecordActivity(_), Some((referrer, _))) = (command, other) {
        history.referrers = headers.chain(&member.key, *referrer)?;
        return Ok(Some(None));
    }
    let staged = headers.staged;
    Ok(match of(headers, now, member, command, history)? {
        Some(Referring::GivesBack(loaded)) if staged(&loaded.member.key).is_some() => None,
        other => Some(other),
    })
}

/// Of a purchase or a return. Writes into the history who gets something for what waits, as that one stands.
pub(super) fn of<R: Read + ?Sized>(
    headers: Headers<'_, R>,
    (programs, now): (&ProgramHistory, Timestamp),
    member: &Member,
    command: &Command,
    history: &mut History,
) -> Result<Option<Referring>, LedgerError> {
    let mut earns = None;
    if let (Some(_), Some(held)) = (command.purchase(), member.header.referral.as_ref().filter(|held| held.waits)) {
        let referrer = MemberKey { member: held.referral.referrer, ..member.key.clone() };
        history.referrer = headers.current(&referrer)?.map(|(key, header)| (key.member, header.state));
        earns = history.referrer.map(|(referrer, _)| Referring::Earns(referrer));
    }
    let Command::ReturnPurchase(request) = command else { return Ok(earns) };
    let Some(EntryRef { member: gave, sequence }) = history.referrer_bonus(&request.order) else { return Ok(earns) };
    let gave = MemberKey { member: gave, ..member.key.clone() };
    let Some((current, _)) = headers.current(&gave)? else { return Ok(earns) };
    // Both sides are the same member now: it is loaded.
    if current == member.key {
        return Ok(earns);
    }
    let bonus = EntryRef { member: gave.member, sequence };
    let loaded = loading::load_referrer(headers.store, programs, &current, bonus, now)?;
    Ok(loaded.map(|loaded| Referring::GivesBack(Box::new(loaded))).or(earns))
}
