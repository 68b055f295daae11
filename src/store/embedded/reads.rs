//! Look-ups, from the overlay, the tables and the journal.

use std::collections::BTreeSet;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use prost::Message as _;

use super::{
    EmbeddedStore, Engine, activities, decode,
    decode::{Malformed, Unreadable, Unseal as _},
    decode_fraud, decode_holds, decode_person, decode_returns,
    journal::Position,
    known, promotions, rewards,
    rows::{self, ProgramNumber, RowKey},
    sealing, segments, stored, stories,
    view::View,
    vouchers,
};
use crate::{
    domain::{
        ActivityId, ActorId, Entry, EntryKind, EntryRef, Header, Identifier, Lot, LotExpiry, LotKey, MAX_LOTS, Member, MemberId, MemberKey,
        MonthRecord, OperatorDay, OrderKey, Person, Points, ProgramId, PromotionTally, RequestId, RewardId, RewardStock, Sealed, SegmentId,
        SegmentSize, TallyKey, VoucherCode,
    },
    store::{ActPlace, Due, FoundAct, LotDemand, MemberDemand, Publication, Read, RecordedIn, RequestOutcome, RequestRow, StoreError},
};

impl Engine {
    /// A fault of the tables does not go away by itself: the next start makes them again.
    pub(super) fn watched<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.inspect_err(|error| {
            if let StoreError::Tables(_) = error {
                self.overlay.tables().distrust(error);
            }
        })
    }

    /// The header alone.
    pub(super) fn bare_member(&self, view: &View<'_>, number: ProgramNumber, key: &MemberKey) -> Result<Option<Member>, StoreError> {
        let Some(row) = view.header(number, &key.member)? else { return Ok(None) };
        Ok(Some(Member::bare(key.clone(), decode::header(&row)?)))
    }

    pub(super) fn person(&self, view: &View<'_>, number: ProgramNumber, key: &MemberKey) -> Result<Sealed<Person>, StoreError> {
        let row = view.person(number, &key.member)?.ok_or(Malformed("a member without a person's row"))?;
        self.unseal_person(key, &row)
    }

    pub(super) fn unseal_person(&self, key: &MemberKey, row: &[u8]) -> Result<Sealed<Person>, StoreError> {
        Ok(match self.keys.unseal(key, sealing::ROW, row).map_err(Unreadable::in_row)? {
            Some(plain) => Sealed::Open(decode_person::person(&zeroize::Zeroizing::new(plain))?),
            None => Sealed::Erased,
        })
    }

    /// The key slot of a member.
    pub(super) fn slot(&self, view: &View<'_>, number: ProgramNumber, member: &MemberId) -> Result<u32, StoreError> {
        let row = view.person(number, member)?.ok_or(Malformed("a member without a person's row"))?;
        Ok(sealing::slot_of(&row)?)
    }

    fn load_lots(
        &self,
        view: &View<'_>,
        number: ProgramNumber,
        member: &mut Member,
        (demand, inactive, monthly): (MemberDemand, bool, bool),
    ) -> Result<(), StoreError> {
        let months = monthly.then(|| Months::of(&member.header, demand.now));
        let mut wanted = Wanted::new(demand, inactive, months);
        let id = member.key.member;
        for row in view.scan(RowKey::before_lots(number, &id), RowKey::behind_lots(number, &id)) {
            let lot = read_lot(row?)?;
            let is_last = !wanted.goes_on_behind(&lot);
            member.lots.insert(lot.key(), lot);
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Those that may lapse by months without activity. Behind those that have surely lapsed no more is needed than a commit takes of them.
    fn load_monthly_lots(
        &self,
        view: &View<'_>,
        number: ProgramNumber,
        member: &mut Member,
        demand: MemberDemand,
    ) -> Result<(), StoreError> {
        let (id, months) = (member.key.member, Months::of(&member.header, demand.now));
        let mut lapsed = 0;
        for row in view.scan(RowKey::before_monthly_lots(number, &id), RowKey::before_inactive_lots(number, &id)) {
            let lot = read_lot(row?)?;
            let lapse = months.lapse(&lot);
            lapsed += usize::from(lapse == MonthlyLapse::Surely);
            if lapse == MonthlyLapse::No || lapsed > demand.lapsed.saturating_add(1) {
                break;
            }
            member.lots.insert(lot.key(), lot);
        }
        Ok(())
    }

    /// Those that lapse with inactivity, which is due or may come due.
    fn load_inactive_lots(
        &self,
        view: &View<'_>,
        number: ProgramNumber,
        member: &mut Member,
        demand: MemberDemand,
    ) -> Result<(), StoreError> {
        let id = member.key.member;
        let rows = view.scan(RowKey::before_inactive_lots(number, &id), RowKey::behind_lots(number, &id));
        for row in rows.take(demand.lapsed.saturating_add(1)) {
            let lot = read_lot(row?)?;
            if lot.expiry != LotExpiry::Inactivity {
                break;
            }
            member.lots.insert(lot.key(), lot);
        }
        Ok(())
    }

    fn story(&self, key: &MemberKey, origin: u64) -> Result<Option<EntryRef>, StoreError> {
        let Some(number) = self.programs.number(&key.program) else { return Ok(None) };
        let row = self.overlay.view().get(&RowKey::story(number, &key.member, origin))?;
        Ok(row.map(|row| stories::read(key.member, &row)).transpose()?)
    }

    fn lot(&self, key: &MemberKey, lot: &LotKey) -> Result<Option<Lot>, StoreError> {
        let Some(number) = self.programs.number(&key.program) else { return Ok(None) };
        let row = self.overlay.view().get(&RowKey::lot(number, &key.member, lot))?;
        Ok(row.map(|row| decode::lot(*lot, &row)).transpose()?)
    }

    fn read_entry(&self, key: &MemberKey, position: &Position) -> Result<Entry, StoreError> {
        let bytes = self.journal.read(position)?;
        let read = || decode::entry(key, known::entry(&bytes)?, &*self.keys);
        read().map_err(|fault| fault.in_journal(&self.journal.path_of(position), position.offset))
    }

    fn read_publication(&self, position: &Position) -> Result<Publication, StoreError> {
        let bytes = self.journal.read(position)?;
        let read = || Ok::<_, Unreadable>(decode::publication(known::publication(&bytes)?)?);
        read().map_err(|fault| fault.in_journal(&self.journal.path_of(position), position.offset))
    }

    fn member(&self, key: &MemberKey, demand: MemberDemand) -> Result<Option<Member>, StoreError> {
        let Some(number) = self.programs.number(&key.program) else { return Ok(None) };
        let view = self.overlay.view();
        let Some(mut member) = self.bare_member(&view, number, key)? else { return Ok(None) };
        // The header knows when the first lot lapses: an accrual reads the header alone.
        let is_due = |time: Option<Timestamp>| time.is_some_and(|time| time <= demand.now);
        let has_dates = demand.dates > 0 && member.header.next_expiry_time.is_some();
        let is_stale = demand.birthdays_since != 0 && member.header.birthday.policy_version != demand.birthdays_since;
        // Who enrols begins under the rule book of then.
        let is_open = |(version, time)| version > member.header.tier.reviewed_version && time > member.header.create_time;
        let is_reviewed = demand.reviewed_since.is_some_and(is_open);
        let is_any_due = is_stale || is_reviewed || member.header.is_due(demand.now);
        // What is entered late may take away the tier that pauses it, or is entered by a version by which none does, so long ago that the time
        // of inactivity is over too by now.
        let may_be_entered = is_any_due || member.header.segments.policy_version != demand.segments_since;
        let (inactivity, months) = (&member.header.inactivity, &member.header.inactive_months);
        let may_lapse = |due, is_paused| is_due(due) || (may_be_entered && is_paused);
        let inactive = may_lapse(inactivity.due_time(), inactivity.is_paused());
        let monthly = may_lapse(months.due_time(), months.record.paused);
        let goals = if is_any_due {
            demand.due_goals
        } else if demand.has_goal || !member.header.goals.waiting.is_empty() {
            demand.goals
        } else {
            LotDemand::None
        };
        let demand = MemberDemand { goals, ..demand };
        let wants_lots = [demand.lots, demand.goals].iter().any(|lots| *lots != LotDemand::None);
        if wants_lots || has_dates || is_due(member.header.next_expiry_time) {
            self.load_lots(&view, number, &mut member, (demand, inactive, monthly))?;
        }
        if monthly {
            self.load_monthly_lots(&view, number, &mut member, demand)?;
        }
        if inactive {
            self.load_inactive_lots(&view, number, &mut member, demand)?;
        }
        if demand.holds || is_due(member.header.next_hold_expiry_time) {
            load_holds(&view, number, &mut member)?;
        }
        if demand.pending || matches!(demand.lots, LotDemand::Count(_)) || is_due(member.header.next_activation_time) {
            load_pending(&view, number, &mut member, demand)?;
        }
        let birthday = &member.header.birthday;
        let is_birthday_due = is_due(member.header.birthday_due_time());
        let is_planned_anew = is_stale && (birthday.next.is_some() || birthday.known_since.is_some());
        if demand.person || is_planned_anew || is_birthday_due {
            member.person = Some(self.person(&view, number, key)?);
        }
        // Whatever is due may bring a voucher that has lapsed by now: a birthday, a tier, a goal that points reach.
        let is_given = is_reviewed || (is_stale && member.person.as_ref().is_some_and(has_birth_date));
        if member.header.vouchers.live > 0 && (demand.vouchers || demand.tier_vouchers || is_given || member.header.is_due(demand.now)) {
            load_vouchers(&view, number, &mut member)?;
        }
        Ok(Some(member))
    }

    fn member_by_identifier(&self, program: &ProgramId, identifier: &Identifier) -> Result<Option<MemberId>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let hash = self.index.identifier(program, identifier);
        let row = self.overlay.view().identifier(&rows::hashed(number, &hash))?;
        Ok(row.and_then(|row| rows::identifier_member(&row, &hash)))
    }

    fn request(&self, program: &ProgramId, request: &RequestId) -> Result<Option<RequestRow>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let view = self.overlay.view();
        let Some(row) = view.looked_up(&rows::looked_up_request(number, &self.index.request(request)))? else { return Ok(None) };
        let row = stored::RequestRow::decode(&*row).map_err(|_| Malformed("a request's row"))?;
        // What was stored is asked whether it is this request: two ids can have the same hash, however unlikely.
        if row.published_version != 0 {
            let position = position(view.get(&RowKey::publication(row.commit_seq, row.place))?)?;
            drop(view);
            let found = self.read_publication(&position)?.request;
            let outcome = RequestOutcome::Publication { version: row.published_version };
            return Ok((found.id == *request).then_some(RequestRow { fingerprint: found.fingerprint, outcome }));
        }
        let member = decode::member_id(&row.member_id)?;
        let position = position(view.get(&RowKey::entry(number, &member, row.first))?)?;
        drop(view);
        let key = MemberKey { program: program.clone(), member };
        let found = self.read_entry(&key, &position)?.request.filter(|found| found.id == *request);
        let outcome = RequestOutcome::Entries { member, first: row.first, last: row.first + row.more };
        Ok(found.map(|found| RequestRow { fingerprint: found.fingerprint, outcome }))
    }

    fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<Option<Entry>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let view = self.overlay.view();
        let Some(row) = view.looked_up(&rows::looked_up_order(number, &self.index.order(order)))? else { return Ok(None) };
        let row = stored::PurchaseRow::decode(&*row).map_err(|_| Malformed("a purchase's row"))?;
        let member = decode::member_id(&row.member_id)?;
        let position = position(view.get(&RowKey::entry(number, &member, row.entry_sequence))?)?;
        drop(view);
        let entry = self.read_entry(&MemberKey { program: program.clone(), member }, &position)?;
        let same = matches!(&entry.kind, EntryKind::PurchaseAccrued(accrued) if accrued.purchase.order.as_ref() == Some(order));
        Ok(same.then_some(entry))
    }

    fn activity(&self, key: &MemberKey, activity: &ActivityId, reference: Option<&str>) -> Result<Option<u64>, StoreError> {
        let Some(number) = self.programs.number(&key.program) else { return Ok(None) };
        let hash = self.index.activity(activity, reference);
        let Some(row) = self.overlay.view().get(&activities::row(number, &key.member, &hash))? else { return Ok(None) };
        let sequence = rows::read_sequence(&row)?;
        let found = self.entries(key, sequence, sequence)?.pop().map(|entry| entry.kind);
        let same = match &found {
            Some(EntryKind::ActivityAccrued(accrued)) => accrued.is_found_by(activity, reference),
            Some(EntryKind::ReferralMade(made)) => made.is_found_by(activity, reference),
            _ => false,
        };
        Ok(same.then_some(sequence))
    }

    fn voucher(&self, program: &ProgramId, code: &VoucherCode) -> Result<Option<EntryRef>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let Some(row) = self.overlay.view().get(&vouchers::code_row(&self.index, number, code))? else { return Ok(None) };
        let issued = vouchers::read_code_row(&row)?;
        let key = MemberKey { program: program.clone(), member: issued.member };
        let found = self.entries(&key, issued.sequence, issued.sequence)?.pop();
        let same = found.is_some_and(|entry| entry.voucher_change().is_some_and(|changed| changed.code == *code));
        Ok(same.then_some(issued))
    }

    fn operator(&self, program: &ProgramId, actor: &ActorId) -> Result<Option<OperatorDay>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let row = self.overlay.view().get(&RowKey::operator(number, &self.index.operator(actor)))?;
        Ok(row.map(|row| decode_fraud::operator_row(actor, &row)).transpose()?.flatten())
    }

    fn reward_stock(&self, program: &ProgramId, reward: &RewardId) -> Result<Option<RewardStock>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let row = self.overlay.view().get(&rewards::stock_row(&self.index, number, reward))?;
        Ok(row.map(|row| rewards::read_stock_row(reward, &row)).transpose()?.flatten())
    }

    fn promotion_tally(&self, program: &ProgramId, key: &TallyKey) -> Result<Option<PromotionTally>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let row = self.overlay.view().get(&promotions::tally_row(&self.index, number, key))?;
        Ok(row.map(|row| promotions::read_tally_row(key, &row)).transpose()?.flatten())
    }

    fn segment_size(&self, program: &ProgramId, segment: &SegmentId) -> Result<Option<SegmentSize>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(None) };
        let row = self.overlay.view().get(&segments::size_row(&self.index, number, segment))?;
        Ok(row.map(|row| segments::read_size_row(segment, &row)).transpose()?.flatten())
    }

    fn entries(&self, key: &MemberKey, first: u64, last: u64) -> Result<Vec<Entry>, StoreError> {
        let Some(number) = self.programs.number(&key.program) else { return Ok(Vec::new()) };
        let behind = match last.checked_add(1) {
            Some(behind) => RowKey::entry(number, &key.member, behind),
            None => RowKey::behind_entries(number, &key.member),
        };
        let rows = self.overlay.view().scan(RowKey::entry(number, &key.member, first), behind).collect::<Result<Vec<_>, _>>()?;
        rows.iter().map(|(_, row)| self.read_entry(key, &rows::read_position(row)?)).collect()
    }

    fn lots(&self, key: &MemberKey, after: Option<LotKey>, limit: usize) -> Result<Vec<Lot>, StoreError> {
        let Some(number) = self.programs.number(&key.program) else { return Ok(Vec::new()) };
        let from = after.map_or(RowKey::before_lots(number, &key.member), |after| RowKey::lot(number, &key.member, &after));
        let view = self.overlay.view();
        let lots = view.scan(from, RowKey::behind_lots(number, &key.member)).map(|row| read_lot(row?));
        lots.filter(|lot| lot.as_ref().map_or(true, |lot| Some(lot.key()) != after)).take(limit).collect()
    }

    fn due(&self, now: Timestamp, after: Option<&Due>, limit: usize) -> Result<Vec<Due>, StoreError> {
        let (first, to) = RowKey::due_by(now);
        let behind = |after: &Due| Some(RowKey::due(after.time, self.programs.number(&after.key.program)?, &after.key.member).next());
        let from = after.and_then(behind).unwrap_or(first);
        if from >= to {
            return Ok(Vec::new());
        }
        let due = |row: Result<(RowKey, Box<[u8]>), StoreError>| {
            let (time, number, member) = row?.0.due_member().ok_or(Malformed("a due row's key"))?;
            let program = self.programs.name(number).ok_or(Malformed("a due row's programme"))?;
            Ok(Due { time, key: MemberKey { program, member } })
        };
        self.overlay.view().scan(from, to).take(limit).map(due).collect()
    }

    fn members(&self, program: &ProgramId, after: Option<MemberId>, limit: usize) -> Result<Vec<MemberId>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(Vec::new()) };
        self.overlay.view().members(number, after, limit)
    }

    fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        let (from, to) = RowKey::publications();
        let rows = self.overlay.view().scan(from, to).collect::<Result<Vec<_>, _>>()?;
        rows.iter().map(|(_, row)| self.read_publication(&rows::read_position(row)?)).collect()
    }
}

/// Whether lots have lapsed by months without activity. In which month an instant is only the programme's time zone says, which is not asked
/// here.
struct Months {
    record: MonthRecord,
    before: Date,
    after: Date,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MonthlyLapse {
    No,
    Maybe,
    Surely,
}

impl Months {
    fn of(header: &Header, now: Timestamp) -> Self {
        let day = TimeZone::UTC.to_datetime(now).date();
        let (before, after) = (day.saturating_sub(2.days()), day.saturating_add(2.days()));
        Self { record: header.inactive_months.record.clone(), before, after }
    }

    fn lapse(&self, lot: &Lot) -> MonthlyLapse {
        match lot.expiry {
            // When the tier that pauses it is lost is not known here.
            LotExpiry::InactiveMonths(_) if self.record.paused => MonthlyLapse::Maybe,
            LotExpiry::InactiveMonths(earned) if self.record.is_over_by(earned, self.before) => MonthlyLapse::Surely,
            LotExpiry::InactiveMonths(earned) if self.record.is_over_by(earned, self.after) => MonthlyLapse::Maybe,
            LotExpiry::InactiveMonths(_) | LotExpiry::At(_) | LotExpiry::Inactivity | LotExpiry::Never => MonthlyLapse::No,
        }
    }
}

/// How far the lots of a member are read, in their order.
struct Wanted {
    demand: MemberDemand,
    /// What lapses with inactivity may do so by now: it is no more there for a debit than what has lapsed by its date.
    inactive: bool,
    /// The same of what lapses by months without activity.
    months: Option<Months>,
    lapsed: usize,
    live: usize,
    points: Points,
    dates: usize,
    date: Option<Timestamp>,
}

impl Wanted {
    fn new(demand: MemberDemand, inactive: bool, months: Option<Months>) -> Self {
        Self { demand, inactive, months, lapsed: 0, live: 0, points: Points::ZERO, dates: 0, date: None }
    }

    /// Whether the lots behind this one are wanted too. The first that is not needed is loaded as well: it says when the next lapses.
    fn goes_on_behind(&mut self, lot: &Lot) -> bool {
        let monthly = self.months.as_ref().map_or(MonthlyLapse::No, |months| months.lapse(lot));
        if monthly == MonthlyLapse::Maybe {
            return true;
        }
        if monthly == MonthlyLapse::Surely || lot.has_lapsed(self.demand.now) || (self.inactive && lot.expiry == LotExpiry::Inactivity) {
            self.lapsed += 1;
            return self.lapsed <= self.demand.lapsed;
        }
        if lot.expiry.time() != self.date {
            (self.date, self.dates) = (lot.expiry.time(), self.dates + 1);
        }
        let enough = [self.demand.lots, self.demand.goals].into_iter().all(|lots| match lots {
            LotDemand::None => true,
            LotDemand::Points(wanted) => self.points >= wanted || self.live == MAX_LOTS,
            LotDemand::Count(wanted) => self.live >= wanted,
            LotDemand::All => false,
        });
        self.live += 1;
        self.points = self.points.plus(lot.remaining).unwrap_or(Points(i64::MAX));
        // Undated lots have no date to be told of.
        let has_dates = self.dates > self.demand.dates || lot.expiry.time().is_none();
        !(enough && has_dates)
    }
}

/// All open holds, and what is left of the lots that they came from.
fn load_holds(view: &View<'_>, number: ProgramNumber, member: &mut Member) -> Result<(), StoreError> {
    let id = member.key.member;
    let (from, to) = RowKey::holds(number, &id);
    for row in view.scan(from, to) {
        let (key, value) = row?;
        let hold = decode_holds::hold_row(key.hold_id().ok_or(Malformed("a hold's key"))?, &value)?;
        member.holds.insert(hold.id, hold);
    }
    let lots: BTreeSet<LotKey> = member.holds.values().flat_map(|hold| &hold.portions).map(|portion| portion.lot).collect();
    for lot in lots.into_iter().filter(|lot| !member.lots.contains_key(lot)).collect::<Vec<_>>() {
        if let Some(row) = view.get(&RowKey::lot(number, &id, &lot))? {
            member.lots.insert(lot, decode::lot(lot, &row)?);
        }
    }
    Ok(())
}

/// All live ones.
fn has_birth_date(person: &Sealed<Person>) -> bool {
    person.open().is_some_and(|person| person.profile.birth_date.is_some())
}

fn load_vouchers(view: &View<'_>, number: ProgramNumber, member: &mut Member) -> Result<(), StoreError> {
    let (from, to) = vouchers::rows(number, &member.key.member);
    for row in view.scan(from, to) {
        let (key, value) = row?;
        let code = vouchers::code_of(&key).ok_or(Malformed("a voucher's key"))?;
        member.vouchers.insert(code, vouchers::read_row(&value)?);
    }
    Ok(())
}

/// All that are pending, or those whose time has come, as many more as are asked for, and the one after them.
fn load_pending(view: &View<'_>, number: ProgramNumber, member: &mut Member, demand: MemberDemand) -> Result<(), StoreError> {
    let (from, to) = RowKey::pendings(number, &member.key.member);
    let mut count = 0;
    for row in view.scan(from, to) {
        let (key, value) = row?;
        let lot = decode_returns::pending_lot(key.pending_key().ok_or(Malformed("a pending lot's key"))?, &value)?;
        let is_active = lot.is_active(demand.now);
        count += usize::from(!is_active);
        let wanted = if let LotDemand::Count(wanted) = demand.lots { wanted } else { 0 };
        let is_last = !demand.pending && !is_active && count > wanted;
        member.pending.insert(lot.key(), lot);
        if is_last {
            break;
        }
    }
    Ok(())
}

pub(super) fn read_lot((key, value): (RowKey, Box<[u8]>)) -> Result<Lot, StoreError> {
    let lot = key.lot_key().ok_or(Malformed("a lot's key"))?;
    Ok(decode::lot(lot, &value)?)
}

fn position(row: Option<Box<[u8]>>) -> Result<Position, StoreError> {
    let row = row.ok_or_else(|| StoreError::Tables("a row names another that is not there".to_owned()))?;
    Ok(rows::read_position(&row)?)
}

/// The store and its unit of work answer the same.
macro_rules! read_through_engine {
    ($name:ty) => {
        impl Read for $name {
            fn member(&self, key: &MemberKey, demand: MemberDemand) -> Result<Option<Member>, StoreError> {
                self.engine.watched(self.engine.member(key, demand))
            }
            fn member_by_identifier(&self, program: &ProgramId, identifier: &Identifier) -> Result<Option<MemberId>, StoreError> {
                self.engine.watched(self.engine.member_by_identifier(program, identifier))
            }
            fn request(&self, program: &ProgramId, request: &RequestId) -> Result<Option<RequestRow>, StoreError> {
                self.engine.watched(self.engine.request(program, request))
            }
            fn purchase(&self, program: &ProgramId, order: &OrderKey) -> Result<Option<Entry>, StoreError> {
                self.engine.watched(self.engine.purchase(program, order))
            }
            fn activity(&self, key: &MemberKey, activity: &ActivityId, reference: Option<&str>) -> Result<Option<u64>, StoreError> {
                self.engine.watched(self.engine.activity(key, activity, reference))
            }
            fn voucher(&self, program: &ProgramId, code: &VoucherCode) -> Result<Option<EntryRef>, StoreError> {
                self.engine.watched(self.engine.voucher(program, code))
            }
            fn operator(&self, program: &ProgramId, actor: &ActorId) -> Result<Option<OperatorDay>, StoreError> {
                self.engine.watched(self.engine.operator(program, actor))
            }
            fn reward_stock(&self, program: &ProgramId, reward: &RewardId) -> Result<Option<RewardStock>, StoreError> {
                self.engine.watched(self.engine.reward_stock(program, reward))
            }
            fn promotion_tally(&self, program: &ProgramId, key: &TallyKey) -> Result<Option<PromotionTally>, StoreError> {
                self.engine.watched(self.engine.promotion_tally(program, key))
            }
            fn entries(&self, key: &MemberKey, first: u64, last: u64) -> Result<Vec<Entry>, StoreError> {
                self.engine.watched(self.engine.entries(key, first, last))
            }
            fn lot(&self, key: &MemberKey, lot: &LotKey) -> Result<Option<Lot>, StoreError> {
                self.engine.watched(self.engine.lot(key, lot))
            }
            fn story(&self, key: &MemberKey, origin: u64) -> Result<Option<EntryRef>, StoreError> {
                self.engine.watched(self.engine.story(key, origin))
            }
            fn lots(&self, key: &MemberKey, after: Option<LotKey>, limit: usize) -> Result<Vec<Lot>, StoreError> {
                self.engine.watched(self.engine.lots(key, after, limit))
            }
            fn due(&self, now: Timestamp, after: Option<&Due>, limit: usize) -> Result<Vec<Due>, StoreError> {
                self.engine.watched(self.engine.due(now, after, limit))
            }
            fn members(&self, program: &ProgramId, after: Option<MemberId>, limit: usize) -> Result<Vec<MemberId>, StoreError> {
                self.engine.watched(self.engine.members(program, after, limit))
            }
            fn in_segment(
                &self,
                program: &ProgramId,
                segment: &SegmentId,
                after: Option<MemberId>,
                limit: usize,
            ) -> Result<Vec<MemberId>, StoreError> {
                self.engine.watched(self.engine.in_segment(program, segment, after, limit))
            }
            fn segment_size(&self, program: &ProgramId, segment: &SegmentId) -> Result<Option<SegmentSize>, StoreError> {
                self.engine.watched(self.engine.segment_size(program, segment))
            }
            fn acts(
                &self,
                program: &ProgramId,
                recorded: RecordedIn,
                after: Option<ActPlace>,
                limit: usize,
            ) -> Result<Vec<FoundAct>, StoreError> {
                self.engine.watched(self.engine.acts(program, recorded, after, limit))
            }
            fn publications(&self) -> Result<Vec<Publication>, StoreError> {
                self.engine.watched(self.engine.publications())
            }
        }
    };
}

read_through_engine!(EmbeddedStore);
read_through_engine!(super::unit::EmbeddedUnit<'_>);
