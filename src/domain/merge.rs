//! Merging: two members are the same customer, so all of the one becomes the other's. The ledger of the one that goes stays as it is under
//! its id, and what happened there goes on in the ledger of the one that stays.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    Allocation, Birthdays, Context, Counter, Decision, Entry, EntryKind, EntryRef, Goals, Header, InactiveMonths, Inactivity, Lately,
    LifetimeTotals, Lot, LotExpiry, LotId, LotKey, MAX_IDENTIFIERS, MAX_LOTS, MAX_TIER_HISTORY, MAX_VOUCHERS, Member, MemberId,
    MemberState, Month, OfferHeld, OfferId, Overflow, PendingLot, PendingTaken, PeriodStart, Person, Points, Portion, Profile, Program,
    ProgramHistory, PromotionCounts, RanOut, ReferralHeld, Rejection, RewardId, RewardTally, RuleId, SaleState, Sealed, TierCounts,
    TierSince, TierStanding, Voucher, VoucherChange, VoucherCode, VoucherRejection, accrual, decision::Draft, fold::sooner, fraud,
    lot::split, offer, promotion, referral, reward, taking, tier,
};

/// Members that become one, beside the one that stays, at most.
pub const MAX_MERGED: usize = 32;

/// Live and pending lots of a member that is merged into another, at most.
pub const MAX_MERGED_LOTS: usize = 10_000;

/// A member that was merged into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    pub member: MemberId,
    /// Its lot n is the lot `lots_before` + n of the one that stayed.
    pub lots_before: u64,
    /// The entry that it came with.
    pub sequence: u64,
    /// When that was. From then on the one that stayed has the clock of its points that lapse with inactivity.
    pub time: Timestamp,
    /// When the clocks that it had until then had last run out, each while it was its own: first the one of its card, then those of the
    /// members that it had become a part of, one after the other.
    pub ran_out_times: Vec<Timestamp>,
    /// What had lapsed by months without activity, in the same way.
    pub ran_out_months: Vec<RanOut>,
}

/// All of the member has become another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedInto {
    pub into: MemberId,
    pub allocations: Vec<Allocation>,
    pub pending: Vec<PendingTaken>,
    /// What the member owed.
    pub debt: Points,
    /// Those that the member had.
    pub vouchers: Vec<VoucherCode>,
    pub reason: String,
}

/// All of another member has become this one's, in the commit that took it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedFrom {
    pub from: MemberId,
    /// Of the other member's last entry.
    pub sequence: u64,
    /// Under the numbers that they have from here on.
    pub lots: Vec<Portion>,
    pub pending: Vec<PendingLot>,
    /// So many of the points in `lots`, the first ones, paid debt.
    pub debt_paid: Points,
    /// Of what the other member owed: what was taken from lots.
    pub allocations: Vec<Allocation>,
    /// The rest of it, which is owed from here on.
    pub debt: Points,
    pub last_lot: LotId,
    /// What the other member's totals add.
    pub lifetime: LifetimeTotals,
    /// And by day or month.
    pub tier_counts: TierCounts,
    /// And by day, for windows of segments.
    pub day_counts: TierCounts,
    pub latest_occurred_time: Option<Timestamp>,
    /// Fractions that wait after it, for the rules that it touched.
    pub carries: Vec<(Option<RuleId>, Decimal)>,
    /// What counters stand at after it, those that it touched.
    pub counters: Vec<Counter>,
    /// More than are kept.
    pub dropped_counters: Vec<(RuleId, PeriodStart)>,
    /// At every instant the higher tier of both.
    pub tier: TierStanding,
    /// One of both was.
    pub suspended: bool,
    /// The other member, and before it those that were merged into it.
    pub merged: Vec<Merged>,
    /// As it is after it.
    pub person: Sealed<Person>,
    /// When the next lot lapses, if one does.
    pub next_expiry_time: Option<Timestamp>,
    pub next_activation_time: Option<Timestamp>,
    /// The clock of both, as it is after it.
    pub inactivity: Inactivity,
    /// And their months.
    pub inactive_months: InactiveMonths,
    /// They keep their codes, and the holds on them.
    pub vouchers: Vec<Voucher>,
    pub next_voucher_due_time: Option<Timestamp>,
    /// What either was given for birthdays, without what comes next.
    pub birthday: Birthdays,
    /// What waits of both.
    pub goals: Goals,
    /// What was had of rewards, as it is after it, those that the other one had.
    pub rewards: Vec<(RewardId, RewardTally)>,
    /// What was had of offers, as it is after it, those that the other one had.
    pub offers: Vec<(OfferId, OfferHeld)>,
    /// What this one had of these is not kept any more.
    pub dropped_offers: Vec<OfferId>,
    /// What promotions have given, as it is after it, of those that the other one had.
    pub promotions: PromotionCounts,
    /// How many purchases the other one's record has.
    pub purchases: u64,
    pub last_purchase_time: Option<Timestamp>,
    /// How the member was referred, as it is after it.
    pub referral: Option<ReferralHeld>,
    /// What of the other one's purchases is left that share what a referral gave.
    pub referral_bases: BTreeMap<EntryRef, Decimal>,
    /// What the other one did lately.
    pub lately: Lately,
    pub reason: String,
}

impl MergedFrom {
    /// How many lots had been made before it: see [`Merged::lots_before`].
    pub fn lots_before(&self) -> u64 {
        self.merged.last().map_or(0, |from| from.lots_before)
    }
}

/// Merges a member into another; what it leads to for the one that goes, and for the one that stays. Of the one that goes all is loaded, of
/// the one that stays the person, and all lots. If something of either is [`Decision::still_due`], they are not merged yet.
pub fn merge(context: Context<'_>, gone: Member, stays: Member, reason: &str) -> Result<(Decision, Decision), Rejection> {
    // The one that stays answers for it.
    let mut gone = Draft::new(Context { request: None, ..context }, gone);
    let mut stays = Draft::new(context, stays);
    check_who(&gone.member, &stays.member)?;
    let is_due = [&mut gone, &mut stays].map(|member| member.enter_what_is_due(MAX_LOTS));
    if is_due.into_iter().collect::<Result<Vec<bool>, _>>()?.contains(&false) {
        return Ok((gone.finish(0..0), stays.finish(0..0)));
    }
    check_size(&gone.member, &stays.member)?;
    let person = join_persons(&gone.member, &stays.member)?;
    gone.leave_segments()?;
    let (due, own_due) = (gone.entries.len(), stays.entries.len());
    let before = gone.member.clone();
    gone.enter_now(EntryKind::MergedInto(leaving(&before, stays.member.key.member, reason)))?;
    let got = coming(context.programs, &before, &stays.member, person, (context.now, stays.oldest()))?;
    stays.watched = fraud::join(&stays.member.header, &before.header, stays.oldest())?;
    stays.enter_now(EntryKind::MergedFrom(Arc::new(MergedFrom { reason: reason.to_owned(), ..got })))?;
    stays.upgrade(context.now)?;
    stays.settle_goal(context.now)?;
    stays.plan_birthday_again()?;
    let (own, own_stays) = (due..gone.entries.len(), own_due..stays.entries.len());
    let shown = Box::new(stays.member.clone());
    stays.settle_segments_now()?;
    let shown = Some(shown).filter(|_| stays.entries.len() > own_stays.end);
    Ok((gone.finish(own), Decision { shown, ..stays.finish(own_stays) }))
}

/// Nobody is merged with one who is erased; and nothing can be sealed for one who stays without a key.
fn check_who(gone: &Member, stays: &Member) -> Result<(), Rejection> {
    let is_erased = |member: &Member| member.header.state == MemberState::Erased;
    if is_erased(gone) || is_erased(stays) || stays.person.as_ref().and_then(Sealed::open).is_none() {
        return Err(Rejection::MemberErased);
    }
    if gone.key == stays.key {
        return Err(Rejection::MergeWithSelf);
    }
    if let Some(into) = gone.header.state.merged_into() {
        return Err(Rejection::MemberMerged { into });
    }
    Ok(())
}

fn check_size(gone: &Member, stays: &Member) -> Result<(), Rejection> {
    if !gone.holds.is_empty() {
        return Err(Rejection::HoldsOpen { holds: gone.holds.len() });
    }
    if gone.header.merged.len() + stays.header.merged.len() >= MAX_MERGED {
        return Err(Rejection::TooManyMerged { limit: MAX_MERGED });
    }
    match gone.lots.len() + gone.pending.len() {
        lots if lots > MAX_MERGED_LOTS => return Err(Rejection::MergeTooLarge { lots, limit: MAX_MERGED_LOTS }),
        _ => {}
    }
    match gone.vouchers.len() + usize::try_from(stays.header.vouchers.live).unwrap_or(usize::MAX) {
        live if live > MAX_VOUCHERS && !gone.vouchers.is_empty() => Err(VoucherRejection::TooMany { limit: MAX_VOUCHERS }.into()),
        _ => Ok(()),
    }
}

/// One whose key was lost, and who enrolled again, is merged without what was personal.
fn join_persons(gone: &Member, stays: &Member) -> Result<Person, Rejection> {
    let mut person = stays.person.as_ref().and_then(Sealed::open).ok_or(Rejection::MemberErased)?.clone();
    let Some(other) = gone.person.as_ref().and_then(Sealed::open) else { return Ok(person) };
    person.identifiers.extend(other.identifiers.iter().cloned());
    if person.identifiers.len() > MAX_IDENTIFIERS {
        return Err(Rejection::TooManyIdentifiers { limit: MAX_IDENTIFIERS });
    }
    let or = |own: String, other: &String| if own.is_empty() { other.clone() } else { own };
    let Profile { display_name, birth_date, language_code } = person.profile;
    person.profile = Profile {
        display_name: or(display_name, &other.profile.display_name),
        birth_date: birth_date.or(other.profile.birth_date),
        language_code: or(language_code, &other.profile.language_code),
    };
    Ok(person)
}

fn leaving(gone: &Member, into: MemberId, reason: &str) -> MergedInto {
    let taken = |lot: &PendingLot| PendingTaken { lot: lot.key(), points: lot.remaining, qualifying_points: lot.qualifying_points };
    MergedInto {
        into,
        allocations: gone.lots.values().map(|lot| Allocation::of(lot, lot.remaining)).collect(),
        pending: gone.pending.values().map(taken).collect(),
        debt: gone.header.balance.debt,
        vouchers: gone.vouchers.keys().copied().collect(),
        reason: reason.to_owned(),
    }
}

fn coming(
    programs: &ProgramHistory,
    gone: &Member,
    stays: &Member,
    person: Person,
    (now, oldest): (Timestamp, Timestamp),
) -> Result<MergedFrom, Rejection> {
    let (program, own) = (&**programs.newest(), &stays.header);
    let (offers, dropped_offers) = offer::join(program, own, &gone.header, oldest)?;
    let from = gone_as(program, gone, own, now)?;
    let last_lot = from.lot(gone.header.last_lot);
    let lots = taking::in_order(program, &gone.lots, now);
    let lots: Vec<Portion> = lots.into_iter().map(|lot| from.portion(&Portion::of(lot, lot.remaining))).collect();
    let pending: Vec<PendingLot> = gone.pending.values().map(|lot| from.pending(lot)).collect();
    let debt_paid = own.balance.debt.min(Portion::total(&lots)?);
    let mut live = stays.lots.clone();
    live.extend(split(&lots, debt_paid)?.1.iter().map(|portion| (portion.lot, portion.lot())));
    let (allocations, debt) = pay(program, &mut live, gone.header.balance.debt, now)?;
    let tier = higher(program, &own.tier, &gone.header.tier);
    let (inactivity, inactive_months) = join_inactivity(programs, (own, &gone.header), &live, &tier, now)?;
    let merged = gone.header.merged.iter().map(|other| from.with(other)).chain([from.clone()]).collect();
    let (counters, dropped_counters) = join_counters(own, &gone.header)?;
    let is_suspended = |member: &Member| member.header.state == MemberState::Suspended;
    // The other one's date is that of both where this one has none, and came when it came to that one.
    let known_since = own.birthday.known_since.or(gone.header.birthday.known_since).filter(|_| person.profile.birth_date.is_some());
    Ok(MergedFrom {
        from: gone.key.member,
        sequence: gone.header.last_sequence.checked_add(1).ok_or(Overflow)?,
        debt_paid,
        allocations,
        debt,
        last_lot: if last_lot.0 == u64::MAX { return Err(Rejection::Overflow) } else { last_lot },
        lifetime: gone.header.lifetime.clone(),
        tier_counts: gone.header.tier_counts.clone(),
        day_counts: gone.header.day_counts.clone(),
        latest_occurred_time: gone.header.latest_occurred_time,
        carries: join_carries(own, &gone.header)?,
        counters,
        dropped_counters,
        tier,
        suspended: is_suspended(gone) || is_suspended(stays),
        merged,
        person: Sealed::Open(person),
        next_expiry_time: live.keys().find_map(LotKey::expire_time),
        next_activation_time: sooner(own.next_activation_time, pending.iter().filter_map(|lot| lot.activate_time).min()),
        inactivity,
        inactive_months,
        vouchers: gone.vouchers.values().cloned().collect(),
        birthday: Birthdays { next: None, policy_version: 0, known_since, ..own.birthday.joined(&gone.header.birthday) },
        goals: own.goals.joined(&gone.header.goals),
        rewards: reward::join(own, &gone.header)?,
        offers,
        dropped_offers,
        promotions: promotion::join(own, &gone.header)?,
        purchases: gone.header.purchases,
        last_purchase_time: gone.header.last_purchase_time,
        referral: referral::join((stays.key.member, own), (gone.key.member, &gone.header), now),
        referral_bases: gone.header.referral_bases.clone(),
        lately: gone.header.lately.clone(),
        next_voucher_due_time: sooner(own.vouchers.next_due_time, gone.header.vouchers.next_due_time),
        reason: String::new(),
        lots,
        pending,
    })
}

/// The one that is merged, as it is known from now on.
fn gone_as(program: &Program, gone: &Member, own: &Header, now: Timestamp) -> Result<Merged, Overflow> {
    Ok(Merged {
        member: gone.key.member,
        lots_before: own.last_lot.0,
        sequence: own.last_sequence.checked_add(1).ok_or(Overflow)?,
        time: now,
        ran_out_times: gone.header.inactivity.ran_out_by(now).into_iter().collect(),
        ran_out_months: gone.header.inactive_months.record.ran_out_by(now, &program.time_zone)?.into_iter().collect(),
    })
}

/// `live`: the lots that both have, `tier`: what they have together.
fn join_inactivity(
    programs: &ProgramHistory,
    (own, other): (&Header, &Header),
    live: &BTreeMap<LotKey, Lot>,
    tier: &TierStanding,
    now: Timestamp,
) -> Result<(Inactivity, InactiveMonths), Overflow> {
    let program = programs.newest();
    let (mut points, mut by_month) = (Points::ZERO, BTreeMap::<Month, Points>::new());
    for lot in live.values() {
        match lot.expiry {
            LotExpiry::At(_) | LotExpiry::Never => {}
            LotExpiry::InactiveMonths(earned) => {
                let all = by_month.entry(earned).or_default();
                *all = all.plus(lot.remaining)?;
            }
            LotExpiry::Inactivity => points = points.plus(lot.remaining)?,
        }
    }
    let pauses = program.tier(tier.current().map(|held| &held.tier)).is_some_and(|tier| tier.pauses_inactivity);
    let rules = programs.inactivity(program.version).map(|(rules, policy)| (policy, pauses, &rules.time_zone));
    let inactivity = own.inactivity.joined(&other.inactivity, points, rules, now)?;
    Ok((inactivity, own.inactive_months.joined(&other.inactive_months, by_month, rules, now)?))
}

/// Pays what the other one owed from what both have, in the order in which lots are used up; the rest is owed.
fn pay(program: &Program, lots: &mut BTreeMap<LotKey, Lot>, debt: Points, now: Timestamp) -> Result<(Vec<Allocation>, Points), Rejection> {
    let (mut allocations, mut left) = (Vec::new(), debt);
    for lot in taking::in_order(program, lots, now) {
        if left.is_zero() {
            break;
        }
        if allocations.len() == MAX_LOTS {
            return Err(taking::too_many(debt.minus(left)?, debt));
        }
        let points = lot.remaining.min(left);
        allocations.push(Allocation::of(lot, points));
        left = left.minus(points)?;
    }
    for taken in &allocations {
        if let Some(lot) = lots.get_mut(&taken.lot) {
            lot.remaining = lot.remaining.minus(taken.points)?;
        }
    }
    lots.retain(|_, lot| lot.remaining > Points::ZERO);
    Ok((allocations, left))
}

/// What waits sums up, to a whole point and more: then the next purchase gives it.
fn join_carries(own: &Header, other: &Header) -> Result<Vec<(Option<RuleId>, Decimal)>, Overflow> {
    let sum = |(rule, fraction): (&Option<RuleId>, &Decimal)| {
        let waits = own.carries.get(rule).copied().unwrap_or_default();
        Ok((rule.clone(), waits.checked_add(*fraction).ok_or(Overflow)?.normalize()))
    };
    other.carries.iter().map(sum).collect()
}

/// Counters with what they stand at, and those that are not kept.
type Counters = (Vec<Counter>, Vec<(RuleId, PeriodStart)>);

/// A cap counts what both got, and what one got once the other got too. Of a rule that has too many counters then, the oldest are dropped.
fn join_counters(own: &Header, other: &Header) -> Result<Counters, Overflow> {
    let mut joined = own.counters.clone();
    for (key, points) in &other.counters {
        let sum = joined.entry(key.clone()).or_default();
        *sum = sum.plus(*points)?;
    }
    let surplus = accrual::surplus(&joined, other.counters.keys().map(|(rule, _)| rule));
    let kept = other.counters.keys().filter(|key| !surplus.contains(key));
    let counters = kept.map(|(rule, period)| Counter { rule: rule.clone(), period: *period, points: joined[&(rule.clone(), *period)] });
    let counters = counters.collect();
    Ok((counters, surplus.into_iter().filter(|key| own.counters.contains_key(key)).collect()))
}

/// At every instant the higher tier of both, so that a late sale is rated as it would have been with either card or better.
fn higher(program: &Program, own: &TierStanding, other: &TierStanding) -> TierStanding {
    let mut instants: Vec<Timestamp> = own.history.iter().chain(&other.history).map(|held| held.start_time).collect();
    instants.sort_unstable();
    instants.dedup();
    let mut history: Vec<TierSince> = Vec::with_capacity(instants.len());
    for start_time in instants {
        let (one, two) = (own.at(start_time), other.at(start_time));
        let is_others = one.is_none() || program.rank(two) > program.rank(one);
        if let Some(tier) = if is_others { two.or(one) } else { one }
            && history.last().is_none_or(|held| held.tier != *tier)
        {
            history.push(TierSince { tier: tier.clone(), start_time });
        }
    }
    if let Some(surplus) = history.len().checked_sub(MAX_TIER_HISTORY)
        && surplus > 0
    {
        let oldest = history[0].start_time;
        history.drain(..surplus);
        history[0].start_time = oldest;
    }
    tier::join(program, own, other, history)
}

impl Merged {
    /// As the lot is called now. The sum of all is below the highest number: see [`coming`].
    fn lot(&self, lot: LotId) -> LotId {
        LotId(self.lots_before.saturating_add(lot.0))
    }

    /// What the member had merged before is a part of the one that stays too. What had lapsed by its own clock has lapsed then: the one that
    /// it had afterwards counts for the rest.
    fn with(&self, before: &Self) -> Self {
        let later = self.ran_out_times.iter().filter(|time| **time > before.time);
        let later_months = self.ran_out_months.iter().filter(|ran_out| ran_out.time > before.time);
        Self {
            member: before.member,
            lots_before: self.lots_before.saturating_add(before.lots_before),
            ran_out_times: before.ran_out_times.iter().chain(later).copied().collect(),
            ran_out_months: before.ran_out_months.iter().chain(later_months).copied().collect(),
            sequence: self.sequence,
            time: self.time,
        }
    }

    fn key(&self, lot: LotKey) -> LotKey {
        LotKey::new(lot.expiry(), self.lot(lot.id()))
    }

    fn portion(&self, portion: &Portion) -> Portion {
        Portion { lot: self.key(portion.lot), entry_sequence: self.sequence, ..portion.clone() }
    }

    fn pending(&self, lot: &PendingLot) -> PendingLot {
        PendingLot { id: self.lot(lot.id), entry_sequence: self.sequence, ..lot.clone() }
    }

    fn sale(&self, sale: &mut SaleState) {
        sale.activated.iter_mut().for_each(|lot| *lot = self.key(*lot));
    }

    /// What was taken from lots at an instant, and what counts for that from the merge on.
    fn taken(&self, portions: &mut [Portion], instant: &mut Timestamp) {
        let lapsed = self.ran_out_times.iter().copied().find(|time| *time > *instant);
        for portion in portions {
            *portion = self.portion(portion);
            let by_months = self.ran_out_months.iter().find(|ran_out| ran_out.has_ended(portion.lot, *instant)).map(|ran_out| ran_out.time);
            if let Some(time) = by_months.or(lapsed.filter(|_| portion.lot.expiry() == LotExpiry::Inactivity)) {
                portion.lot = LotKey::new(LotExpiry::At(time), portion.lot.id());
            }
        }
        *instant = self.time.max(*instant);
    }

    /// An entry of the member that was merged, with its lots under the numbers that they have now: what decisions look up of them. What was
    /// redeemed before the merge, and had not lapsed by then, is as if it had been redeemed at the merge: from then on there is one clock.
    pub fn as_now(&self, mut entry: Entry) -> Entry {
        match &mut entry.kind {
            EntryKind::PurchaseAccrued(accrued) => {
                let accrual = &mut Arc::make_mut(accrued).accrual;
                accrual.lots.iter_mut().for_each(|lot| lot.id = self.lot(lot.id));
                accrual.awards.iter_mut().filter_map(|award| award.lot.as_mut()).for_each(|lot| *lot = self.lot(*lot));
                accrual.promotions.iter_mut().filter_map(|award| award.lot.as_mut()).for_each(|lot| *lot = self.lot(*lot));
            }
            EntryKind::ActivityAccrued(accrued) => {
                let accrued = Arc::make_mut(accrued);
                accrued.lots.iter_mut().for_each(|lot| lot.id = self.lot(lot.id));
                accrued.awards.iter_mut().filter_map(|award| award.lot.as_mut()).for_each(|lot| *lot = self.lot(*lot));
            }
            EntryKind::PointsRedeemed(redeemed) => {
                self.taken(&mut redeemed.portions, &mut entry.record_time);
            }
            EntryKind::PointsActivated(activated) => {
                if let Some(confirmed) = &mut activated.confirmed {
                    self.sale(&mut confirmed.sale);
                }
            }
            EntryKind::PurchaseReturned(returned) => self.sale(&mut Arc::make_mut(returned).sale),
            EntryKind::VoucherChanged(changed) => {
                if let VoucherChange::Issued { goal: Some(paid), .. } = &mut changed.change {
                    self.taken(&mut paid.portions, &mut entry.occurred_time);
                }
                if let VoucherChange::Issued { reward: Some(cost), .. } = &mut changed.change {
                    self.taken(&mut cost.portions, &mut entry.occurred_time);
                }
            }
            // Nothing that comes later goes on with their lots.
            EntryKind::MemberEnrolled { .. }
            | EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PointsAdjusted(_)
            | EntryKind::PointsExpired(_)
            | EntryKind::TierChanged(_)
            | EntryKind::TierKept(_)
            | EntryKind::TierRewarded(_)
            | EntryKind::RedemptionReversed(_)
            | EntryKind::PointsHeld(_)
            | EntryKind::HoldReleased(_)
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::BirthdayChanged(_) => {}
        }
        entry
    }
}
