//! What a command must see: the member as far as it asks for, and the earlier entries that it refers to.

use jiff::Timestamp;

use crate::{
    domain::{Command, EntryKind, History, Member, MemberKey, Points, Thread},
    store::{MemberDemand, Read, StoreError},
};

pub(super) struct Loaded {
    pub member: Member,
    pub history: History,
}

/// `None`: there is no such member. `person`: what is personal is asked for beyond the command.
pub(super) fn load(
    store: &(impl Read + ?Sized),
    key: &MemberKey,
    command: &Command,
    now: Timestamp,
    person: bool,
) -> Result<Option<Loaded>, StoreError> {
    let demand = command.demand();
    let mut history = History::default();
    let mut wanted = demand.threads;
    let mut points = demand.points;
    if let Some(order) = &demand.sale
        && let Some(row) = store.purchase(&key.program, order)?
        && let Some(sale) = thread(store, key, row.entry_sequence)?
    {
        if let EntryKind::PurchaseAccrued(accrued) = &sale.origin.kind {
            wanted.extend(&accrued.redemptions);
            if demand.takes_back {
                points = Some(points.unwrap_or(Points::ZERO).plus(accrued.accrual.points).unwrap_or(Points(i64::MAX)));
            }
        }
        history.0.insert(row.entry_sequence, sale);
    }
    for sequence in wanted {
        if let Some(thread) = thread(store, key, sequence)? {
            history.0.insert(sequence, thread);
        }
    }
    let pending = demand.sale.is_some();
    let loaded = MemberDemand { now, points, dates: 0, lots: 0, holds: demand.holds, pending, person: person || demand.person };
    let Some(mut member) = store.member(key, loaded)? else { return Ok(None) };
    for lot in history.lots() {
        if !member.lots.contains_key(&lot)
            && let Some(found) = store.lot(key, &lot)?
        {
            member.lots.insert(lot, found);
        }
    }
    Ok(Some(Loaded { member, history }))
}

fn thread(store: &(impl Read + ?Sized), key: &MemberKey, sequence: u64) -> Result<Option<Thread>, StoreError> {
    let entry = |sequence| Ok::<_, StoreError>(store.entries(key, sequence, sequence)?.pop());
    let Some(origin) = entry(sequence)? else { return Ok(None) };
    let latest = store.story(key, sequence)?.map(entry).transpose()?.flatten();
    Ok(Some(Thread { origin, latest }))
}
