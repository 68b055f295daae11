//! Queries. Each answers as of now: what is due is entered first, though not written.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use tracing::warn;

use crate::{
    domain::{
        self, Command, ConsumptionOrder, Context, Decision, Entry, EntryKind, EntryRef, Hold, InactiveMonths, Inactivity, Lot, LotKey,
        MAX_LOTS, Member, MemberId, MemberKey, OrderKey, ProgramHistory, ProgramId, Purchase, QuoteId, Rejection, Reward, RewardObstacle,
        RewardStanding, SegmentId, Voucher, VoucherChange, VoucherChanged, VoucherCode, VoucherRejection,
    },
    store::{
        LotDemand, MemberDemand,
        backup::{Held, Source},
    },
};

use super::{
    FoundVoucher, Ledger, LedgerError, Listed, MemberTarget, Offers, Quote, Rewards, idempotency,
    loading::{self, Loaded, Named},
    referring::{self, Headers},
    stock::StagedTallies,
};

/// Instants at which points lapse that a member is told of.
pub const DATES: usize = 3;

impl Ledger {
    /// Which member is meant: of one that was merged, the one that stayed.
    pub fn find(&self, program: &ProgramId, target: &MemberTarget) -> Result<MemberKey, LedgerError> {
        let named = self.find_ledger(program, target)?;
        let (current, _) = loading::current(&*self.0.store, &named)?.ok_or(Rejection::MemberNotFound)?;
        Ok(current)
    }

    /// Whose ledger is meant, though the member may have been merged into another. That there is one of this id shows when it is loaded.
    pub fn find_ledger(&self, program: &ProgramId, target: &MemberTarget) -> Result<MemberKey, LedgerError> {
        self.program(program)?;
        let member = match target {
            MemberTarget::Id(member) => Some(*member),
            MemberTarget::Identifier(identifier) => self.0.store.member_by_identifier(program, identifier)?,
            MemberTarget::Order(order) => self.0.store.purchase(program, order)?.map(|entry| entry.key.member),
            MemberTarget::Voucher(code) => self.0.store.voucher(program, code)?.map(|issued| issued.member),
            MemberTarget::New => None,
        };
        let member = member.ok_or(Rejection::MemberNotFound)?;
        Ok(MemberKey { program: program.clone(), member })
    }

    /// A member, with what is personal, and the lots that lapse at the next [`DATES`] instants.
    pub fn member(&self, key: &MemberKey) -> Result<Member, LedgerError> {
        self.read_member(key, None)
    }

    /// The same with so many lots and pending lots, the first ones, and all holds.
    pub fn whole_member(&self, key: &MemberKey, lots: usize) -> Result<Member, LedgerError> {
        self.read_member(key, Some(lots))
    }

    fn read_member(&self, key: &MemberKey, whole: Option<usize>) -> Result<Member, LedgerError> {
        let now = self.now();
        let programs = self.program_at(&key.program, now)?;
        let lots = match (whole, programs.newest().consumption_order) {
            (None, _) => LotDemand::None,
            (Some(lots), ConsumptionOrder::SoonestExpiry) => LotDemand::Count(lots),
            (Some(_), ConsumptionOrder::OldestFirst) => LotDemand::All,
        };
        let demand = MemberDemand { lots, dates: DATES, holds: whole.is_some(), person: true, ..MemberDemand::read(now).under(&programs) };
        let stored = self.0.store.member(key, demand)?.ok_or(Rejection::MemberNotFound)?;
        // What is due is not written yet: the member was not updated by it.
        let update_time = stored.header.update_time;
        let mut member = all_due(&programs, now, stored)?.member;
        member.header.update_time = update_time;
        Ok(member)
    }

    /// A member as it was known at an instant of the past, with all that it had then; if it was merged by then, the one that stayed. Only
    /// what support staff asks pays for it: the entries are folded from the first one on.
    pub fn member_as_of(&self, key: &MemberKey, instant: Timestamp) -> Result<Member, LedgerError> {
        let programs = self.program(&key.program)?.as_of(instant);
        let stored = idempotency::state_until(&*self.0.store, key, |entry| entry.record_time <= instant)?;
        if let Some(member) = stored.header.state.merged_into() {
            return self.member_as_of(&MemberKey { member, ..key.clone() }, instant);
        }
        let update_time = stored.header.update_time;
        let mut member = all_due(&programs, instant, stored)?.member;
        member.header.update_time = update_time;
        Ok(member)
    }

    /// Members in the order of their ids.
    pub fn members(&self, program: &ProgramId, after: Option<MemberId>, limit: usize) -> Result<Vec<Member>, LedgerError> {
        self.program(program)?;
        let ids = self.0.store.members(program, after, limit)?;
        ids.into_iter().map(|member| self.member(&MemberKey { program: program.clone(), member })).collect()
    }

    /// Who is in a segment, in the order of their ids, as far as is entered.
    pub fn segment_members(
        &self,
        program: &ProgramId,
        segment: &SegmentId,
        after: Option<MemberId>,
        limit: usize,
    ) -> Result<Vec<MemberId>, LedgerError> {
        self.program(program)?;
        Ok(self.0.store.in_segment(program, segment, after, limit)?)
    }

    /// How many are in a segment, as far as is entered.
    pub fn segment_size(&self, program: &ProgramId, segment: &SegmentId) -> Result<u64, LedgerError> {
        Ok(self.0.store.segment_size(program, segment)?.unwrap_or_default().members)
    }

    /// What recording the purchase would enter, and what of its total the member could pay with points before.
    pub fn quote(&self, program: &ProgramId, target: &MemberTarget, purchase: Arc<Purchase>) -> Result<Quote, LedgerError> {
        let named = Named::new(program, self.find_ledger(program, target)?.member, target);
        if let Some(order) = &purchase.order
            && let Some(entry) = self.0.store.purchase(program, order)?
        {
            let order = order.clone();
            return Err(Rejection::PurchaseExists { order, member: entry.key.member, entry_sequence: entry.sequence }.into());
        }
        let now = self.now();
        let programs = self.program_at(program, now)?;
        let command = Command::RecordPurchase(Arc::clone(&purchase));
        let newest = programs.newest();
        let person = loading::asks_for_birthday(&programs, &command, now);
        let beside = MemberDemand { person, ..MemberDemand::read(now).under(&programs) };
        let loaded = loading::load(&*self.0.store, newest, &named, &command, beside)?;
        let Loaded { member, mut history } = loaded.ok_or(Rejection::MemberNotFound)?;
        referring::of(Headers { store: &*self.0.store, staged: &|_| None }, now, &member, &command, &mut history)?;
        let keys = domain::quoted_tally_keys(&programs, &member.header, &purchase, &history, now);
        history.tallies = StagedTallies::default().of_keys(&*self.0.store, program, keys)?;
        let before = all_due(&programs, now, member.clone())?.member;
        let context = Context { programs: &programs, now, request: None, actor: None, principal: None, operator: None, history: &history };
        // As it would be recorded: what ends only now is entered with it, so that a refusal can say what has become of that.
        let mut decision = domain::decide(context, member, &command)?;
        if decision.still_due {
            decision = domain::decide(context, before.clone(), &command)?;
        }
        // What time alone brings is not the purchase's.
        decision.entries = decision.entries.drain(decision.own.clone()).collect();
        let total = decision.entries.iter().find_map(Entry::purchase_total).unwrap_or(purchase.total);
        let usable = domain::usable(newest, &before.header, total).map_err(Rejection::from)?;
        let hints = domain::hints(context, before, &decision)?;
        let id = QuoteId::of(&decision.member.key, &decision.entries);
        Ok(Quote { decision, usable, hints, id })
    }

    /// The open holds, the oldest first.
    pub fn holds(&self, key: &MemberKey) -> Result<Vec<Hold>, LedgerError> {
        let now = self.now();
        let programs = self.program_at(&key.program, now)?;
        let demand = MemberDemand { holds: true, ..MemberDemand::read(now).under(&programs) };
        let stored = self.0.store.member(key, demand)?.ok_or(Rejection::MemberNotFound)?;
        let member = all_due(&programs, now, stored)?.member;
        Ok(member.holds.into_values().collect())
    }

    /// The member with all live vouchers.
    pub fn vouchers(&self, key: &MemberKey) -> Result<Member, LedgerError> {
        Ok(self.advanced_with_vouchers(key)?.member)
    }

    /// The same, to be shown. A code that was shown is looked for among those that are written: where one is due and not written yet, what is
    /// due of the member is written first.
    pub async fn vouchers_to_show(&self, key: &MemberKey) -> Result<Member, LedgerError> {
        let Decision { entries: due, member, .. } = self.advanced_with_vouchers(key)?;
        let issues =
            |entry: &Entry| matches!(entry.voucher_change(), Some(changed) if matches!(changed.change, VoucherChange::Issued { .. }));
        if !due.iter().any(issues) {
            return Ok(member);
        }
        match self.advance(key).await {
            Ok(_) => self.vouchers(key),
            // Nobody can use one either as long as there is no space.
            Err(LedgerError::NoSpace { .. }) => Ok(member),
            Err(error) => Err(error),
        }
    }

    /// A voucher by its code, with what has become of it, due or recorded.
    pub fn voucher(&self, program: &ProgramId, code: &VoucherCode) -> Result<FoundVoucher, LedgerError> {
        self.program(program)?;
        let not_found = || Rejection::from(VoucherRejection::NotFound);
        let issued = self.0.store.voucher(program, code)?.ok_or_else(not_found)?;
        let key = |member| MemberKey { program: program.clone(), member };
        let entry = |EntryRef { member, sequence }| Ok::<_, LedgerError>(self.0.store.entries(&key(member), sequence, sequence)?.pop());
        let origin = entry(issued)?.ok_or_else(not_found)?;
        let latest = self.0.store.story(&key(issued.member), issued.sequence)?.map(entry).transpose()?.flatten();
        let Some(VoucherChange::Issued { voucher, .. }) = origin.voucher_change().map(|changed| &changed.change) else {
            return Err(not_found().into());
        };
        let (current, _) = loading::current(&*self.0.store, &key(issued.member))?.ok_or_else(not_found)?;
        let Decision { entries: due, member, .. } = self.advanced_with_vouchers(&current)?;
        let due = due.into_iter().rfind(|entry| entry.voucher_change().is_some_and(|changed| changed.code == *code));
        let live = member.vouchers.get(code).cloned();
        Ok(FoundVoucher {
            is_live: live.is_some(),
            voucher: live.unwrap_or_else(|| Voucher::clone(voucher)),
            latest: match due {
                Some(entry) => Listed { entry, is_recorded: false },
                None => Listed { entry: latest.unwrap_or(origin), is_recorded: true },
            },
            member,
            now: self.now(),
        })
    }

    /// What the vouchers are called that some entries use, in their order. An entry that uses one has the code alone; the one that issued it has
    /// the name, which never changes. The name of one that cannot be read is empty: what was done was done.
    pub fn names_of_used(&self, entries: &[Entry]) -> Vec<String> {
        let used = entries.iter().filter_map(|entry| match entry.voucher_change() {
            Some(VoucherChanged { issued, change: VoucherChange::Used { .. }, .. }) => Some((&entry.key.program, issued)),
            Some(_) | None => None,
        });
        let origin = |program: &ProgramId, issued: &EntryRef| {
            let key = MemberKey { program: program.clone(), member: issued.member };
            let read = self.0.store.entries(&key, issued.sequence, issued.sequence);
            read.inspect_err(|error| warn!(%error, "the entry that issued a voucher cannot be read")).ok()?.pop()
        };
        let name = |(program, issued)| match origin(program, issued)?.voucher_change().map(|changed| &changed.change) {
            Some(VoucherChange::Issued { voucher, .. }) => Some(voucher.display_name.clone()),
            Some(_) | None => None,
        };
        used.map(|used| name(used).unwrap_or_default()).collect()
    }

    /// The rewards of the version in effect, in the order of their ids, as they stand now; for a member, if one is named.
    pub fn rewards(&self, program: &ProgramId, key: Option<&MemberKey>) -> Result<Rewards, LedgerError> {
        let now = self.now();
        let programs = self.program_at(program, now)?;
        let member = key.map(|key| self.advanced(key)).transpose()?.map(|advanced| advanced.member);
        let program = Arc::clone(programs.newest());
        let standing = |reward: &Reward| {
            let stock = self.0.store.reward_stock(&program.id, &reward.id)?.unwrap_or_default();
            Ok::<_, LedgerError>(match &member {
                Some(member) => reward.standing(&program, &member.header, (stock, 1), now).map_err(Rejection::from)?,
                None => reward.standing_of_all(stock, now),
            })
        };
        let mut standings = program.rewards.values().map(standing).collect::<Result<Vec<_>, _>>()?;
        if let Some(key) = key {
            self.note_scattered(key, (&programs, now), &mut standings)?;
        }
        Ok(Rewards { program, standings })
    }

    /// Of rewards that nothing else stands against, those whose points lie in too many lots. A lot has a point at least, so that lots are
    /// read only for what costs more points than lots are taken from at a time.
    fn note_scattered(
        &self,
        key: &MemberKey,
        (programs, now): (&ProgramHistory, Timestamp),
        standings: &mut [RewardStanding],
    ) -> Result<(), LedgerError> {
        let is_dear = |standing: &RewardStanding| {
            standing.why_not.is_empty() && usize::try_from(standing.points.0).is_ok_and(|points| points > MAX_LOTS)
        };
        let Some(most) = standings.iter().filter(|standing| is_dear(standing)).map(|standing| standing.points).max() else { return Ok(()) };
        let lots = match programs.newest().consumption_order {
            ConsumptionOrder::SoonestExpiry => LotDemand::Points(most),
            ConsumptionOrder::OldestFirst => LotDemand::All,
        };
        let demand = MemberDemand { lots, ..MemberDemand::read(now).under(programs) };
        let member = all_due(programs, now, self.0.store.member(key, demand)?.ok_or(Rejection::MemberNotFound)?)?.member;
        let within_reach = domain::points_within_reach(programs.newest(), &member, now).map_err(Rejection::from)?;
        for standing in standings.iter_mut().filter(|standing| is_dear(standing) && standing.points > within_reach) {
            standing.why_not.push(RewardObstacle::TooManyLots { most: within_reach, requested: standing.points });
        }
        Ok(())
    }

    /// The offers of the version in effect, in their order, as they stand now for a member.
    pub fn offers(&self, key: &MemberKey) -> Result<Offers, LedgerError> {
        let now = self.now();
        let programs = self.program_at(&key.program, now)?;
        let member = self.advanced(key)?.member;
        let program = Arc::clone(programs.newest());
        let standings = program.offers.iter().map(|offer| offer.standing(&program, &member.header, now)).collect::<Result<_, _>>();
        Ok(Offers { standings: standings.map_err(Rejection::from)?, program })
    }

    fn advanced_with_vouchers(&self, key: &MemberKey) -> Result<Decision, LedgerError> {
        let now = self.now();
        let programs = self.program_at(&key.program, now)?;
        let demand = MemberDemand { vouchers: true, ..MemberDemand::read(now).under(&programs) };
        let stored = self.0.store.member(key, demand)?.ok_or(Rejection::MemberNotFound)?;
        Ok(all_due(&programs, now, stored)?)
    }

    /// A member's entries before a sequence number, or the newest; newest first.
    pub fn entries(&self, key: &MemberKey, before: Option<u64>, limit: usize) -> Result<Vec<Listed>, LedgerError> {
        let Decision { entries: due, member, .. } = self.advanced(key)?;
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

    /// Recorded entries `first` to `last`, both inclusive, oldest first.
    pub fn recorded(&self, key: &MemberKey, first: u64, last: u64) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.0.store.entries(key, first, last)?)
    }

    pub fn entry(&self, key: &MemberKey, sequence: u64) -> Result<Listed, LedgerError> {
        let before = sequence.checked_add(1).ok_or(LedgerError::EntryNotFound { sequence })?;
        let found = self.entries(key, Some(before), 1)?.pop();
        found.filter(|listed| listed.entry.sequence == sequence).ok_or(LedgerError::EntryNotFound { sequence })
    }

    /// The lots that hold points that have not lapsed, in the order of their expiry.
    pub fn lots(&self, key: &MemberKey, after: Option<LotKey>, limit: usize) -> Result<Vec<Lot>, LedgerError> {
        let due = self.advanced(key)?;
        // Lots that have lapsed stand first: begin behind them.
        let lapsed = LotKey::behind(self.now());
        let after = after.map_or(lapsed, |after| after.max(lapsed));
        // What is due is not written yet: points that have become active or have come out of a hold are not in their lots.
        let changed: BTreeSet<LotKey> = due.entries.iter().flat_map(Entry::touched_lots).filter(|lot| *lot > after).collect();
        let stored = self.0.store.lots(key, Some(after), limit.saturating_add(changed.len()))?;
        let mut lots: BTreeMap<LotKey, Lot> = stored.into_iter().map(|lot| (lot.key(), lot)).collect();
        let complete = if lots.len() < limit.saturating_add(changed.len()) { None } else { lots.keys().next_back().copied() };
        for lot in changed.into_iter().filter(|lot| complete.is_none_or(|last| *lot <= last)) {
            match due.member.lots.get(&lot) {
                Some(found) => drop(lots.insert(lot, found.clone())),
                None => drop(lots.remove(&lot)),
            }
        }
        Ok(lots.into_values().take(limit).collect())
    }

    /// By what points lapse with inactivity.
    pub fn inactivity(&self, key: &MemberKey) -> Result<(Inactivity, InactiveMonths), LedgerError> {
        let header = self.advanced(key)?.member.header;
        Ok((header.inactivity, header.inactive_months))
    }

    /// What a backup lacks of all that is durable now.
    pub fn backup(&self, held: Held) -> Result<Box<dyn Source>, LedgerError> {
        Ok(self.0.store.backup(held)?)
    }

    /// The entry that recorded a purchase, and the newest that goes on with its story.
    pub fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<(Entry, Option<Entry>), LedgerError> {
        self.program(program)?;
        let not_found = || LedgerError::PurchaseNotFound { order: order.clone() };
        let recorded = self.0.store.purchase(program, order)?.ok_or_else(not_found)?;
        let key = |member| MemberKey { program: program.clone(), member };
        let entry = |EntryRef { member, sequence }| Ok::<_, LedgerError>(self.0.store.entries(&key(member), sequence, sequence)?.pop());
        let latest = self.0.store.story(&recorded.key, recorded.sequence)?.map(entry).transpose()?.flatten();
        Ok((recorded, latest))
    }

    /// What a referral gave for a recorded purchase: the member's entry, that of who referred them, and behind them those that took it back.
    pub fn referral_entries(&self, purchase: &Entry) -> Result<Vec<Entry>, LedgerError> {
        let EntryKind::PurchaseAccrued(accrued) = &purchase.kind else { return Ok(Vec::new()) };
        let entry = |EntryRef { member, sequence }| {
            let key = MemberKey { member, ..purchase.key.clone() };
            Ok::<_, LedgerError>(self.0.store.entries(&key, sequence, sequence)?.pop())
        };
        let behind = |origin: &Entry| {
            let latest = self.0.store.story(&origin.key, origin.sequence)?;
            Ok::<_, LedgerError>(latest.map(entry).transpose()?.flatten())
        };
        let Some(own) = accrued.referral.map(entry).transpose()?.flatten() else { return Ok(Vec::new()) };
        let latest = behind(&own)?;
        let other = latest.as_ref().map(|latest| match &latest.kind {
            EntryKind::ReferralTakenBack(back) => back.other_bonus,
            _ => Some(latest.reference()),
        });
        let other = other.flatten().map(entry).transpose()?.flatten();
        let back = latest.filter(|latest| matches!(latest.kind, EntryKind::ReferralTakenBack(_)));
        let other_back = match &other {
            Some(other) => behind(other)?,
            None => None,
        };
        Ok(std::iter::once(own).chain(other).chain(back).chain(other_back).collect())
    }

    fn advanced(&self, key: &MemberKey) -> Result<Decision, LedgerError> {
        let now = self.now();
        let programs = self.program_at(&key.program, now)?;
        let member = self.0.store.member(key, MemberDemand::read(now).under(&programs))?.ok_or(Rejection::MemberNotFound)?;
        Ok(all_due(&programs, now, member)?)
    }
}

/// All that is due at an instant, which is loaded: as many times over as it takes commits.
pub(super) fn all_due(programs: &ProgramHistory, now: Timestamp, member: Member) -> Result<Decision, Rejection> {
    let mut entries = Vec::new();
    let mut decision = domain::advance(programs, now, member)?;
    while decision.still_due {
        entries.append(&mut decision.entries);
        decision = domain::advance(programs, now, decision.member)?;
    }
    entries.append(&mut decision.entries);
    Ok(Decision { entries, ..decision })
}
