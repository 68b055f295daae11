//! Who referred a member: whose ledger a purchase of the member may write to as well, and a return.

use jiff::Timestamp;

use crate::{
    domain::{
        Command, Entry, EntryKind, EntryRef, Header, History, MAX_REFERRAL_CHAIN, Member, MemberId, MemberKey, Purchase, ReferralHeld,
    },
    store::{Read, StoreError},
};

use super::{LedgerError, loading};

/// Those who referred the member of a command: of a return with an exchange they can be two.
#[derive(Default)]
pub(super) struct Referring {
    /// May get points for a purchase.
    earns: Option<MemberId>,
    /// May lose what it got by this entry for a purchase, goods of which come back.
    gives_back: Option<(MemberKey, EntryRef)>,
}

/// Who has the other side of an entry.
pub(super) enum OtherSide {
    /// Its header is enough.
    Of(MemberId),
    /// It is loaded as a return asks for: this entry gave what is taken back.
    GivesBack(MemberKey, EntryRef),
}

impl Referring {
    /// `None`: nobody but the member has a side of it.
    pub fn other_side(self, sent: &Entry) -> Option<OtherSide> {
        if let EntryKind::ReferralTakenBack(back) = &sent.kind {
            let given = self.gives_back.filter(|(_, bonus)| back.other_bonus == Some(*bonus));
            return given.map(|(member, bonus)| OtherSide::GivesBack(member, bonus));
        }
        self.earns.map(OtherSide::Of)
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

/// Of any command, `other` being the other side that it names itself.
pub(super) fn find<R: Read + ?Sized>(
    headers: Headers<'_, R>,
    now: Timestamp,
    member: &Member,
    (command, other): (&Command, Option<&(MemberId, Command)>),
    history: &mut History,
) -> Result<Referring, LedgerError> {
    if let (Command::RecordActivity(_), Some((referrer, _))) = (command, other) {
        history.referrers = headers.chain(&member.key, *referrer)?;
        return Ok(Referring::default());
    }
    Ok(of(headers, now, member, command, history)?)
}

/// Of a purchase or a return. Writes into the history who gets something for what waits, as that one stands.
pub(super) fn of<R: Read + ?Sized>(
    headers: Headers<'_, R>,
    now: Timestamp,
    member: &Member,
    command: &Command,
    history: &mut History,
) -> Result<Referring, StoreError> {
    let mut referring = Referring::default();
    // What no purchase of then can earn is not looked up.
    let counts = |purchase: &Purchase, held: &&ReferralHeld| held.waits && held.referral.counts_at(purchase.occurred_time.unwrap_or(now));
    if let Some(purchase) = command.purchase()
        && let Some(held) = member.header.referral.as_ref().filter(|held| counts(purchase, held))
    {
        let referrer = MemberKey { member: held.referral.referrer, ..member.key.clone() };
        history.referrer = headers.current(&referrer)?.map(|(key, header)| (key.member, header.state));
        referring.earns = history.referrer.map(|(referrer, _)| referrer);
    }
    let Command::ReturnPurchase(request) = command else { return Ok(referring) };
    let Some(bonus) = history.referrer_bonus(&request.order) else { return Ok(referring) };
    let gave = MemberKey { member: bonus.member, ..member.key.clone() };
    // Where both sides are the same member now, its own return has loaded it.
    let current = headers.current(&gave)?.map(|(current, _)| current).filter(|current| *current != member.key);
    referring.gives_back = current.map(|current| (current, bonus));
    Ok(referring)
}
