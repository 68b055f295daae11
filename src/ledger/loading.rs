//! What a command must see: the member as far as it asks for, and the earlier entries that it refers to.

use crate::{
    domain::{Command, ConsumptionOrder, EntryKind, History, Member, MemberKey, Points, Program, Thread},
    store::{LotDemand, MemberDemand, Read, StoreError},
};

pub(super) struct Loaded {
    pub member: Member,
    pub history: History,
}

/// `None`: there is no such member. `beside`: what is asked for beyond the command. Of a programme that uses up the oldest points first, all
/// lots are read for a debit: they lie in the order of their expiry.
pub(super) fn load(
    store: &(impl Read + ?Sized),
    program: &Program,
    key: &MemberKey,
    command: &Command,
    beside: MemberDemand,
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
    let lots = match (points, program.consumption_order) {
        (None, _) => LotDemand::None,
        (Some(points), ConsumptionOrder::SoonestExpiry) => LotDemand::Points(points),
        (Some(_), ConsumptionOrder::OldestFirst) => LotDemand::All,
    };
    let (holds, pending, person) = (demand.holds, demand.sale.is_some(), beside.person || demand.person);
    let Some(mut member) = store.member(key, MemberDemand { lots, holds, pending, person, ..beside })? else { return Ok(None) };
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
