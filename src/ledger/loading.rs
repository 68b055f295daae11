//! What a command must see: the member as far as it asks for, and the earlier entries that it refers to. Whoever names a member that was
//! merged into another means that one; what happened before the merge is looked up in the ledgers that it happened in.

use std::collections::btree_map;

use jiff::Timestamp;

use crate::{
    domain::{
        Command, ConsumptionOrder, Entry, EntryKind, EntryRef, Header, History, MAX_GOAL_VOUCHERS, Member, MemberId, MemberKey,
        MergeRequest, Numbered, OrderKey, Points, Program, ProgramHistory, ProgramId, Recipient, Rejection, Reward, Thread, Voucher,
        VoucherCause, VoucherChange, VoucherCode, VoucherRequest,
    },
    store::{LotDemand, MemberDemand, Read, StoreError},
};

use super::{LedgerError, MemberTarget};

/// Entries between a sale and the vouchers of a goal that it reaches, at most, beside the vouchers of its promotions: of tiers, and what they
/// bring.
const BEHIND_SALE: u64 = 50;

pub(super) struct Loaded {
    pub member: Member,
    pub history: History,
}

/// Who is named, before merges are looked at.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub key: MemberKey,
    /// By its id: then numbers of entries are those of its own ledger, and of what came after it.
    pub by_id: bool,
    /// The entry of their purchase, by which they were found.
    pub purchase: Option<Entry>,
}

impl Named {
    pub fn new(program: &ProgramId, member: MemberId, target: &MemberTarget) -> Self {
        let key = MemberKey { program: program.clone(), member };
        Self { key, by_id: matches!(target, MemberTarget::Id(_)), purchase: None }
    }
}

/// `None`: there is no such member. `beside`: what is asked for beyond the command. Of a programme that uses up the oldest points first, all
/// lots are read for a debit: they lie in the order of their expiry.
pub(super) fn load(
    store: &(impl Read + ?Sized),
    program: &Program,
    named: &Named,
    command: &Command,
    beside: MemberDemand,
) -> Result<Option<Loaded>, LedgerError> {
    let demand = command.demand();
    let (mut key, mut history, mut points) = (named.key.clone(), History::default(), demand.points);
    if let Command::Voucher(VoucherRequest::Redeem { reward, quantity }) = command {
        // Of one that there is not, nothing is taken.
        let cost = |reward: &Reward| Points(reward.highest_cost().0.saturating_mul(i64::from((*quantity).min(reward.maximum_quantity))));
        points = Some(program.rewards.get(reward).map_or(Points::ZERO, cost));
    }
    // What is asked for most often has no history: then the member that is loaded says whether it was merged.
    if demand.sale.is_some() || !demand.threads.is_empty() || !demand.codes.is_empty() {
        let Some((current, header)) = current(store, &named.key)? else { return Ok(None) };
        let past = Past { store, key: &current, header: &header };
        if let Some(order) = &demand.sale {
            let earned = past.sale(named, order, &mut history)?;
            if demand.takes_back {
                let earned = earned.plus(past.bonus(order, &mut history)?).unwrap_or(Points(i64::MAX));
                points = Some(points.unwrap_or(Points::ZERO).plus(earned).unwrap_or(Points(i64::MAX)));
            }
        }
        for number in demand.threads {
            past.number(named, number, demand.ledger, &mut history)?;
        }
        for code in &demand.codes {
            past.voucher(code, &mut history)?;
        }
        key = current;
    }
    let lots = match (points, program.consumption_order) {
        (None, _) => LotDemand::None,
        (Some(points), ConsumptionOrder::SoonestExpiry) => LotDemand::Points(points),
        (Some(_), ConsumptionOrder::OldestFirst) => LotDemand::All,
    };
    let (holds, pending, person) = (demand.holds, demand.sale.is_some(), beside.person || demand.person);
    // One that a return gives back may lapse at once, and what comes next is known only beside all others.
    let gives_back = demand.takes_back && (!history.vouchers.is_empty() || gave_vouchers(&history));
    let has_goals = beside.goals != LotDemand::None;
    let vouchers = demand.vouchers || beside.vouchers || gives_back || (demand.takes_back && has_goals);
    let loaded = MemberDemand { lots, holds, pending, person, vouchers, ..beside };
    let mut member = loop {
        let Some(member) = store.member(&key, loaded)? else { return Ok(None) };
        match member.header.state.merged_into() {
            Some(into) => key.member = into,
            None => break member,
        }
    };
    if demand.takes_back && has_goals {
        let past = Past { store, key: &key, header: &member.header };
        for code in may_be_reached(&member, &history) {
            past.voucher(&code, &mut history)?;
        }
    }
    complete(store, &mut member, &history)?;
    Ok(Some(Loaded { member, history }))
}

/// The lots that points may go back into, or be taken back from.
fn complete(store: &(impl Read + ?Sized), member: &mut Member, history: &History) -> Result<(), StoreError> {
    for lot in history.lots() {
        if !member.lots.contains_key(&lot)
            && let Some(found) = store.lot(&member.key, &lot)?
        {
            member.lots.insert(lot, found);
        }
    }
    Ok(())
}

/// Who referred a member, as far as it takes to take back what that gave by an entry: as the member's own return loads the member.
pub(super) fn load_referrer(
    store: &(impl Read + ?Sized),
    programs: &ProgramHistory,
    key: &MemberKey,
    bonus: EntryRef,
    now: Timestamp,
) -> Result<Option<Loaded>, LedgerError> {
    let beside = MemberDemand::header(now).under(programs);
    let Some(header) = store.member(key, bare())?.map(|member| member.header) else { return Ok(None) };
    let mut history = History::default();
    let past = Past { store, key, header: &header };
    let Some(thread) = past.thread(bonus)? else { return Ok(None) };
    let points = match &thread.origin.kind {
        EntryKind::ActivityAccrued(accrued) => accrued.points,
        _ => Points::ZERO,
    };
    history.threads.insert(bonus, thread);
    let lots = match programs.newest().consumption_order {
        ConsumptionOrder::SoonestExpiry => LotDemand::Points(points),
        ConsumptionOrder::OldestFirst => LotDemand::All,
    };
    let has_goals = beside.goals != LotDemand::None;
    let demand = MemberDemand { lots, pending: true, vouchers: has_goals, ..beside };
    let Some(mut member) = store.member(key, demand)? else { return Ok(None) };
    if has_goals {
        for code in may_be_reached(&member, &history) {
            past.voucher(&code, &mut history)?;
        }
    }
    complete(store, &mut member, &history)?;
    Ok(Some(Loaded { member, history }))
}

/// A promotion of a purchase that the command may be about asks for the birth date.
pub(super) fn asks_for_birthday(programs: &ProgramHistory, command: &Command, now: Timestamp) -> bool {
    command.purchase().is_some_and(|purchase| {
        let occurred_time = purchase.occurred_time.unwrap_or(now);
        programs.at(occurred_time).asks_for_birthday(occurred_time)
    })
}

/// Promotions of a sale that is in the history gave vouchers.
fn gave_vouchers(history: &History) -> bool {
    history.threads.values().any(|thread| match &thread.origin.kind {
        EntryKind::PurchaseAccrued(accrued) => accrued.accrual.promotions.iter().any(|award| award.voucher().is_some()),
        _ => false,
    })
}

/// Vouchers of goals that the sale may have reached that comes back, or what a referral gave for it, which are in the history: they were issued
/// right behind it, and behind the vouchers that its promotions gave.
fn may_be_reached(member: &Member, history: &History) -> Vec<VoucherCode> {
    let promoted = |thread: &Thread| match &thread.origin.kind {
        EntryKind::PurchaseAccrued(accrued) => Some(accrued.accrual.promotions.iter().filter(|award| award.voucher().is_some()).count()),
        EntryKind::ActivityAccrued(_) => Some(0),
        _ => None,
    };
    let behind = |(brought, thread): (&EntryRef, &Thread)| {
        let promoted = u64::try_from(promoted(thread)?).unwrap_or(u64::MAX);
        let most = BEHIND_SALE.saturating_add(u64::from(MAX_GOAL_VOUCHERS)).saturating_add(promoted);
        Some((brought.member, brought.sequence..=brought.sequence.saturating_add(most)))
    };
    let ranges: Vec<_> = history.threads.iter().filter_map(behind).collect();
    let is_behind = |voucher: &&Voucher| {
        ranges.iter().any(|(member, range)| voucher.issued.member == *member && range.contains(&voucher.issued.sequence))
    };
    let of_goals = member.vouchers.values().filter(|voucher| voucher.cause == VoucherCause::Goal);
    of_goals.filter(is_behind).map(|voucher| voucher.code).collect()
}

/// Who a member is now. `None`: there is no such member.
pub(super) fn current(store: &(impl Read + ?Sized), key: &MemberKey) -> Result<Option<(MemberKey, Header)>, StoreError> {
    let mut key = key.clone();
    // Who is merged stays so, and nobody is merged into one that is: it comes to an end.
    while let Some(member) = store.member(&key, bare())? {
        match member.header.state.merged_into() {
            Some(into) => key.member = into,
            None => return Ok(Some((key, member.header))),
        }
    }
    Ok(None)
}

/// The header, and nothing of what is due.
pub(super) fn bare() -> MemberDemand {
    MemberDemand::header(Timestamp::MIN)
}

/// Both members of a merge: the one that goes with all it has, and the one that stays with its lots, of which some may have to pay the
/// other's debt.
pub(super) fn load_both(
    store: &(impl Read + ?Sized),
    gone: &MemberKey,
    request: &MergeRequest,
    (programs, now): (&ProgramHistory, Timestamp),
) -> Result<(Member, Member), LedgerError> {
    let all = MemberDemand {
        lots: LotDemand::All,
        holds: true,
        pending: true,
        vouchers: true,
        person: true,
        ..MemberDemand::header(now).under(programs)
    };
    let into = match &request.into {
        Recipient::Id(into) => Some(*into),
        Recipient::Identifier(identifier) => store.member_by_identifier(&gone.program, identifier)?,
    };
    let gone = store.member(gone, all)?.ok_or(Rejection::MemberNotFound)?;
    let into = into.map(|member| MemberKey { member, ..gone.key.clone() });
    let (into, _) = into.map(|into| current(store, &into)).transpose()?.flatten().ok_or(Rejection::MergeTargetNotFound)?;
    let stays = store
        .member(&into, MemberDemand { holds: false, pending: false, vouchers: false, ..all })?
        .ok_or(Rejection::MergeTargetNotFound)?;
    Ok((gone, stays))
}

/// What a member, and those that were merged into it, did before.
struct Past<'a, R: Read + ?Sized> {
    store: &'a R,
    key: &'a MemberKey,
    header: &'a Header,
}

impl<R: Read + ?Sized> Past<'_, R> {
    /// A purchase, with the redemptions that paid it; what it earned.
    fn sale(&self, named: &Named, order: &OrderKey, history: &mut History) -> Result<Points, StoreError> {
        let is_it = |entry: &&Entry| entry.order() == Some(order);
        let found = match named.purchase.as_ref().filter(is_it) {
            Some(entry) => Some(entry.clone()),
            None => self.store.purchase(&self.key.program, order)?,
        };
        let Some(entry) = found else { return Ok(Points::ZERO) };
        let sale = entry.reference();
        let thread = self.goes_on(self.as_now(entry))?;
        let EntryKind::PurchaseAccrued(accrued) = thread.origin.kind.clone() else { return Ok(Points::ZERO) };
        history.threads.insert(sale, thread);
        for redemption in &accrued.redemptions {
            if let Some(thread) = self.thread(*redemption)? {
                history.threads.insert(*redemption, thread);
            }
        }
        for code in &accrued.purchase.vouchers {
            self.voucher(code, history)?;
            self.came_with(code, history)?;
        }
        Ok(accrued.accrual.points)
    }

    /// What a referral gave for the sale of an order, which is in the history; how many points, with those of the other side where they are the
    /// member's now.
    fn bonus(&self, order: &OrderKey, history: &mut History) -> Result<Points, StoreError> {
        let is_it = |thread: &&Thread| thread.origin.order() == Some(order);
        let referral = history.threads.values().filter(is_it).find_map(|thread| match &thread.origin.kind {
            EntryKind::PurchaseAccrued(accrued) => accrued.referral,
            _ => None,
        });
        let mut sum = Points::ZERO;
        let mut next = referral;
        while let Some(bonus) = next {
            let Some(thread) = self.thread(bonus)? else { break };
            if let EntryKind::ActivityAccrued(accrued) = &thread.origin.kind {
                sum = sum.plus(accrued.points).unwrap_or(Points(i64::MAX));
            }
            let is_own =
                |other: &EntryRef| other.member == self.key.member || self.header.merged.iter().any(|it| it.member == other.member);
            next = thread.referrer_bonus().filter(is_own);
            history.threads.insert(bonus, thread);
        }
        Ok(sum)
    }

    /// A voucher, with what became of it.
    fn voucher(&self, code: &VoucherCode, history: &mut History) -> Result<(), StoreError> {
        let Some(issued) = self.store.voucher(&self.key.program, code)? else { return Ok(()) };
        if let Some(thread) = self.thread(issued)? {
            history.vouchers.insert(*code, issued);
            history.threads.insert(issued, thread);
        }
        Ok(())
    }

    /// The purchase that a voucher came with by a promotion: nothing lies between them but other vouchers of that purchase.
    fn came_with(&self, code: &VoucherCode, history: &mut History) -> Result<(), StoreError> {
        let is_promoted = |entry: &Entry| {
            let change = entry.voucher_change().map(|changed| &changed.change);
            matches!(change, Some(VoucherChange::Issued { promotion: Some(_), .. }))
        };
        let Some(issued) = history.vouchers.get(code).copied() else { return Ok(()) };
        let mut entry = history.threads.get(&issued).map(|thread| thread.origin.clone());
        while let Some(found) = entry {
            let origin = found.reference();
            if matches!(found.kind, EntryKind::PurchaseAccrued(_)) {
                if let btree_map::Entry::Vacant(place) = history.threads.entry(origin) {
                    place.insert(self.goes_on(found)?);
                }
                return Ok(());
            }
            if !is_promoted(&found) {
                return Ok(());
            }
            entry = self.entry(EntryRef { sequence: origin.sequence.saturating_sub(1), ..origin })?;
        }
        Ok(())
    }

    /// The entry that a command calls by its number.
    fn number(&self, named: &Named, number: Numbered, ledger: Option<MemberId>, history: &mut History) -> Result<(), LedgerError> {
        let entry = match ledger {
            Some(member) if member == self.key.member || self.header.merged.iter().any(|merged| merged.member == member) => {
                EntryRef { member, sequence: number.sequence() }
            }
            // Nothing is found in a ledger that is none of theirs.
            Some(_) => return Ok(()),
            None => self.meant(named, number)?,
        };
        if let Some(thread) = self.thread(entry)? {
            history.numbers.insert(number, entry);
            history.threads.insert(entry, thread);
        }
        Ok(())
    }

    /// Whose entry of that number is meant, of those that are one now. An open hold goes before those that have ended: only the one that
    /// stays has any.
    fn meant(&self, named: &Named, number: Numbered) -> Result<EntryRef, LedgerError> {
        let sequence = number.sequence();
        let own = EntryRef { member: self.key.member, sequence };
        if self.header.merged.is_empty() || (named.by_id && named.key == *self.key) {
            return Ok(own);
        }
        let mut fitting = Vec::new();
        for (member, after) in self.ledgers(named)? {
            let entry = EntryRef { member, sequence };
            let fits = |found: Entry| match number {
                Numbered::Hold(_) => matches!(found.kind, EntryKind::PointsHeld(_)),
                Numbered::Redemption(_) => matches!(found.kind, EntryKind::PointsRedeemed(_)),
            };
            if sequence > after && self.entry(entry)?.is_some_and(fits) {
                fitting.push(entry);
            }
        }
        let is_open = matches!(number, Numbered::Hold(_)) && self.store.story(self.key, sequence)?.is_none();
        match fitting.as_slice() {
            [] => Ok(own),
            several if is_open && several.contains(&own) => Ok(own),
            [one] => Ok(*one),
            several => {
                let members = several.iter().map(|entry| entry.member).collect();
                Err(Rejection::EntryAmbiguous { sequence, members }.into())
            }
        }
    }

    /// The ledgers that a number may count in, and the entries of each that were before whoever was named was a part of it. By an
    /// identifier the customer is named, who was all of them.
    fn ledgers(&self, named: &Named) -> Result<Vec<(MemberId, u64)>, StoreError> {
        if !named.by_id {
            let merged = self.header.merged.iter().map(|merged| (merged.member, 0));
            return Ok(merged.chain([(self.key.member, 0)]).collect());
        }
        let (mut ledgers, mut key) = (Vec::new(), named.key.clone());
        while let Some(member) = self.store.member(&key, bare())? {
            let came = member.header.merged.iter().find(|merged| merged.member == named.key.member);
            ledgers.push((key.member, came.map_or(0, |came| came.sequence)));
            match member.header.state.merged_into() {
                Some(into) => key.member = into,
                None => break,
            }
        }
        Ok(ledgers)
    }

    fn thread(&self, origin: EntryRef) -> Result<Option<Thread>, StoreError> {
        self.entry(origin)?.map(|entry| self.goes_on(entry)).transpose()
    }

    fn goes_on(&self, origin: Entry) -> Result<Thread, StoreError> {
        let latest = self.store.story(&origin.key, origin.sequence)?;
        let latest = latest.map(|latest| self.entry(latest)).transpose()?.flatten();
        Ok(Thread { origin, latest })
    }

    /// With lots under the numbers that they have now.
    fn entry(&self, entry: EntryRef) -> Result<Option<Entry>, StoreError> {
        let found = self.store.entries(&self.ledger(entry.member), entry.sequence, entry.sequence)?.pop();
        Ok(found.map(|entry| self.as_now(entry)))
    }

    fn as_now(&self, entry: Entry) -> Entry {
        match self.header.merged.iter().find(|merged| merged.member == entry.key.member) {
            Some(merged) => merged.as_now(entry),
            None => entry,
        }
    }

    fn ledger(&self, member: MemberId) -> MemberKey {
        MemberKey { member, ..self.key.clone() }
    }
}
