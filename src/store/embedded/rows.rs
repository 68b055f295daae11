//! Rows of the look-up tables: their keys, and what a commit makes of them. The layout is in the docs of the parent module.

use std::cmp::Ordering;

pub(super) use super::publication::publication;
pub(super) use super::row_values::{position_bytes, read_position, read_sequence, value};
use super::{activities, encode_fraud, index::Index, journal::Position, referrals, segments, stories, vouchers};
use crate::domain::{Entry, EntryKind, HoldId, Identifier, LotExpiry, LotId, LotKey, MemberId, Month, PendingKey};
use jiff::Timestamp;

/// Of a key; one byte is left for [`RowKey::next`].
const LONGEST: usize = 38;

/// A row's key, in the order of its bytes.
#[derive(Clone, Copy)]
pub(super) struct RowKey {
    bytes: [u8; LONGEST + 1],
    length: u8,
}

/// `None`: the row goes.
pub(super) type Change = (RowKey, Option<Box<[u8]>>);

/// How a programme is called in keys: 1, 2, 3, ... in the order in which the journal first names them.
pub(super) type ProgramNumber = u32;

/// Of the rows as a whole. Tables with another one are made again.
pub(super) const FORMAT: u32 = 9;
pub(super) const APPLIED: &[u8] = b"a";
const PROGRAM: u8 = b'g';
const IDENTIFIER: u8 = b'i';
const MEMBER: u8 = b'm';
const ORDER: u8 = b'o';
const PERSON: u8 = b'p';
const REQUEST: u8 = b'r';
const DUE: u8 = b't';
const PUBLICATION: u8 = b'v';
pub(super) const WIPED: u8 = b'w';
const OPERATOR: u8 = b'y';

/// In place of an instant, behind all instants.
const UNDATED: u64 = u64::MAX;
/// Of a lot, behind those with a date and before those that never lapse.
const WITH_INACTIVITY: u64 = u64::MAX - 1;

/// And more, below that: after months without activity, after the month of that number above it.
const BY_MONTHS: u64 = u64::MAX - (1 << 20) + 1;

pub(super) const HEADER: u8 = 0;
pub(super) const LOT: u8 = 1;
const ENTRY: u8 = 2;
const HOLD: u8 = 3;
const STORY: u8 = 4;
pub(super) const PENDING: u8 = 5;
pub(super) const ACTIVITY: u8 = 6;
/// Length of what all rows of a member have in common.
const MEMBER_PREFIX: usize = 21;

/// Which part of the index of requests and orders a row is in. Their keys are random, so a group of new ones touches the index
/// everywhere: with parts that are each written for some time and then only read, it costs the same however long the history is.
pub(super) type Generation = u32;

/// Segments of the journal in a generation: with the usual ones some 15 million purchases.
const GENERATION_SEGMENTS: u64 = 64;

/// The one that rows of a segment's commits are in. It follows from the journal, so that a replay gives the same.
pub(super) fn generation(segment_index: u64) -> Generation {
    Generation::try_from(segment_index / GENERATION_SEGMENTS).expect("a journal has less than 2^32 segments")
}

impl RowKey {
    pub(super) const EMPTY: Self = Self { bytes: [0; LONGEST + 1], length: 0 };

    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; LONGEST + 1], length: 0 };
        for part in parts {
            let from = usize::from(key.length);
            key.bytes[from..from + part.len()].copy_from_slice(part);
            key.length += part.len() as u8;
        }
        key
    }

    /// `None`: no row of ours has such a key.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= LONGEST).then(|| Self::new(&[bytes]))
    }

    /// The key that has the first bytes in common with this one, and then others.
    pub(super) fn with_end(&self, shared: usize, end: &[u8]) -> Option<Self> {
        if shared > usize::from(self.length) || shared + end.len() > LONGEST {
            return None;
        }
        let mut key = Self { bytes: self.bytes, length: (shared + end.len()) as u8 };
        key.bytes[shared..shared + end.len()].copy_from_slice(end);
        Some(key)
    }

    /// How many bytes it has in common with another one, from the first on.
    pub(super) fn shared(&self, other: &Self) -> usize {
        self.as_bytes().iter().zip(other.as_bytes()).take_while(|(a, b)| a == b).count()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(super) fn program(number: ProgramNumber) -> Self {
        Self::new(&[&[PROGRAM], &number.to_be_bytes()])
    }

    pub(super) fn publication(commit: u64, place: u32) -> Self {
        Self::new(&[&[PUBLICATION], &commit.to_be_bytes(), &place.to_be_bytes()])
    }

    pub(super) fn header(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[HEADER]])
    }

    pub(super) fn person(number: ProgramNumber, member: &MemberId) -> Self {
        Self::of_person(&owner(number, member))
    }

    pub(super) fn of_person(owner: &Owner) -> Self {
        Self::new(&[&[PERSON], owner])
    }

    pub(super) fn lot(number: ProgramNumber, member: &MemberId, lot: &LotKey) -> Self {
        let time = match lot.expiry() {
            LotExpiry::At(time) => ordered(time),
            LotExpiry::InactiveMonths(earned) => BY_MONTHS + u64::from(earned.0.unsigned_abs()),
            LotExpiry::Inactivity => WITH_INACTIVITY,
            LotExpiry::Never => UNDATED,
        };
        Self::dated(number, member, LOT, time, lot.id())
    }

    pub(super) fn pending(number: ProgramNumber, member: &MemberId, lot: &PendingKey) -> Self {
        Self::dated(number, member, PENDING, lot.activate_time().map_or(UNDATED, ordered), lot.id())
    }

    fn dated(number: ProgramNumber, member: &MemberId, kind: u8, time: u64, lot: LotId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[kind], &time.to_be_bytes(), &lot.0.to_be_bytes()])
    }

    /// Of all pending lots of a member: the range from the first to the second.
    pub(super) fn pendings(number: ProgramNumber, member: &MemberId) -> (Self, Self) {
        let kind = |kind: u8| Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[kind]]);
        (kind(PENDING), kind(PENDING + 1))
    }

    pub(super) fn entry(number: ProgramNumber, member: &MemberId, sequence: u64) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[ENTRY], &sequence.to_be_bytes()])
    }

    pub(super) fn hold(number: ProgramNumber, member: &MemberId, hold: HoldId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[HOLD], &hold.0.to_be_bytes()])
    }

    /// Of the newest entry that goes on with the story of another one.
    pub(super) fn story(number: ProgramNumber, member: &MemberId, origin: u64) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[STORY], &origin.to_be_bytes()])
    }

    /// Of all holds of a member: the range from the first to the second.
    pub(super) fn holds(number: ProgramNumber, member: &MemberId) -> (Self, Self) {
        let kind = |kind: u8| Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[kind]]);
        (kind(HOLD), kind(STORY))
    }

    pub(super) fn hold_id(&self) -> Option<HoldId> {
        let rest = self.as_bytes().strip_prefix(&self.bytes[..MEMBER_PREFIX])?.strip_prefix(&[HOLD])?;
        Some(HoldId(u64::from_be_bytes(rest.try_into().ok()?)))
    }

    /// Behind all entries of a member.
    pub(super) fn behind_entries(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[HOLD]])
    }

    /// Behind all lots of a member.
    pub(super) fn behind_lots(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[ENTRY]])
    }

    /// Before all lots of a member that lapse with inactivity.
    pub(super) fn before_inactive_lots(number: ProgramNumber, member: &MemberId) -> Self {
        Self::dated(number, member, LOT, WITH_INACTIVITY, LotId(0))
    }

    /// Before all lots of a member that lapse by months without activity.
    pub(super) fn before_monthly_lots(number: ProgramNumber, member: &MemberId) -> Self {
        Self::dated(number, member, LOT, BY_MONTHS, LotId(0))
    }

    /// Before all lots of a member.
    pub(super) fn before_lots(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[LOT]])
    }

    /// Before all members of a programme.
    pub(super) fn before_members(number: ProgramNumber) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes()])
    }

    /// Behind all members of a programme.
    pub(super) fn behind_members(number: ProgramNumber) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &[u8::MAX; 16], &[u8::MAX]])
    }

    /// Behind all rows of a member.
    pub(super) fn behind_member(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[u8::MAX]])
    }

    /// That a member has something due at an instant.
    pub(super) fn due(time: Timestamp, number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[DUE], &ordered(time).to_be_bytes(), &number.to_be_bytes(), &member.0])
    }

    /// Of all that is due by now: the range from the first to the second.
    pub(super) fn due_by(now: Timestamp) -> (Self, Self) {
        (Self::new(&[&[DUE]]), Self::new(&[&[DUE], &ordered(now).saturating_add(1).to_be_bytes()]))
    }

    /// When something is due, and whose.
    pub(super) fn due_member(&self) -> Option<(Timestamp, ProgramNumber, MemberId)> {
        let (time, rest) = self.as_bytes().strip_prefix(&[DUE])?.split_first_chunk::<8>()?;
        let (number, member) = rest.split_first_chunk::<4>()?;
        let time = instant(u64::from_be_bytes(*time))?;
        Some((time, u32::from_be_bytes(*number), MemberId(member.try_into().ok()?)))
    }

    /// Of what an operator has adjusted.
    pub(super) fn operator(number: ProgramNumber, hash: &[u8; 32]) -> Self {
        Self::new(&[&[OPERATOR], &number.to_be_bytes(), &hash[..16]])
    }

    /// Of all publications, or of all programmes: the range from the first to the second.
    pub(super) fn publications() -> (Self, Self) {
        (Self::new(&[&[PUBLICATION]]), Self::new(&[&[PUBLICATION + 1]]))
    }

    pub(super) fn programs() -> (Self, Self) {
        (Self::new(&[&[PROGRAM]]), Self::new(&[&[PROGRAM + 1]]))
    }

    /// All rows but the tables' own: the range from the first to the second.
    pub(super) fn all() -> (Self, Self) {
        (Self::new(&[&[PROGRAM]]), Self::new(&[&[u8::MAX]]))
    }

    /// Whose row it is, if a member's.
    pub(super) fn member(&self) -> Option<MemberId> {
        let bytes = match self.bytes[0] {
            MEMBER | PERSON => self.as_bytes().get(5..MEMBER_PREFIX)?,
            _ => return None,
        };
        Some(MemberId(bytes.try_into().expect("the slice has the id's length")))
    }

    /// For messages; nothing personal is in a key.
    pub(super) fn describe(&self) -> String {
        let what = match (self.bytes[0], self.as_bytes().get(MEMBER_PREFIX)) {
            (PROGRAM, _) => "programme",
            (IDENTIFIER, _) => "identifier",
            (ORDER, _) => "purchase",
            (REQUEST, _) => "request",
            (PUBLICATION, _) => "publication",
            (PERSON, _) => "person",
            (DUE, _) => "something due",
            (WIPED, _) => "wiped key",
            (OPERATOR, _) => "operator",
            (MEMBER, Some(&HEADER)) => "header",
            (MEMBER, Some(&LOT)) => "lot",
            (MEMBER, Some(&ENTRY)) => "place of an entry",
            (MEMBER, Some(&HOLD)) => "hold",
            (MEMBER, Some(&PENDING)) => "pending lot",
            (MEMBER, Some(&ACTIVITY)) => "activity",
            (MEMBER, Some(&STORY)) => "newest entry of a story",
            (kind, own) => vouchers::describe(kind, own).unwrap_or("unknown row"),
        };
        match (self.member(), self.lot_key(), self.entry_sequence()) {
            (Some(member), Some(lot), _) => format!("lot {} of member {member}", lot.id()),
            (Some(member), None, Some(sequence)) => format!("place of entry {sequence} of member {member}"),
            (Some(member), None, None) => format!("{what} of member {member}"),
            (None, ..) => format!("{what} {}", blake3::hash(self.as_bytes()).to_hex().split_at(12).0),
        }
    }

    fn entry_sequence(&self) -> Option<u64> {
        let rest = self.as_bytes().strip_prefix(&self.bytes[..MEMBER_PREFIX])?.strip_prefix(&[ENTRY])?;
        Some(u64::from_be_bytes(rest.try_into().ok()?))
    }

    /// The row's kind is the sealed person.
    pub(super) fn is_person(&self) -> bool {
        self.bytes[0] == PERSON
    }

    pub(super) fn lot_key(&self) -> Option<LotKey> {
        let (time, lot) = self.date(LOT)?;
        let expiry = match time {
            UNDATED => LotExpiry::Never,
            WITH_INACTIVITY => LotExpiry::Inactivity,
            months if months >= BY_MONTHS => LotExpiry::InactiveMonths(Month(i32::try_from(months - BY_MONTHS).ok()?).in_calendar()?),
            time => LotExpiry::At(instant(time)?),
        };
        Some(LotKey::new(expiry, lot))
    }

    pub(super) fn pending_key(&self) -> Option<PendingKey> {
        let (time, lot) = self.date(PENDING)?;
        let time = if time == UNDATED { None } else { Some(instant(time)?) };
        Some(PendingKey::new(time, lot))
    }

    fn date(&self, kind: u8) -> Option<(u64, LotId)> {
        let rest = self.as_bytes().strip_prefix(&self.bytes[..MEMBER_PREFIX])?.strip_prefix(&[kind])?;
        let time = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
        Some((time, LotId(u64::from_be_bytes(rest.get(8..)?.try_into().ok()?))))
    }

    /// The member whose header this is the key of.
    pub(super) fn header_member(&self) -> Option<MemberId> {
        let rest = self.as_bytes().strip_prefix(&[MEMBER])?;
        (rest.len() == MEMBER_PREFIX && rest[MEMBER_PREFIX - 1] == HEADER)
            .then(|| MemberId(rest[4..20].try_into().expect("the slice has the id's length")))
    }

    /// The programme's number in the key of a row of a programme or member.
    pub(super) fn program_number(&self) -> Option<ProgramNumber> {
        let number = self.as_bytes().get(1..5)?;
        Some(u32::from_be_bytes(number.try_into().expect("the slice has the number's length")))
    }

    /// Of a request, an order or an identifier, which are looked up by hash; requests and orders mostly in vain.
    pub(super) fn looked_up_hash(&self) -> Option<[u8; 16]> {
        match self.space() {
            Space::LookedUp { key, .. } => Some(*key.last_chunk().expect("the hash is its end")),
            Space::Identifier(key) => key.last_chunk().copied(),
            Space::Member { .. } | Space::Person(_) | Space::Other => None,
        }
    }

    /// How the layers keep it.
    pub(super) fn space(&self) -> Space<'_> {
        match self.as_bytes() {
            [MEMBER, rest @ ..] if rest.len() > OWNER => {
                let (owner, own) = rest.split_first_chunk().expect("it is longer");
                Space::Member { owner, own }
            }
            [kind @ (ORDER | REQUEST), rest @ ..] if rest.len() == 4 + LOOKED_UP - 1 => {
                let (generation, rest) = rest.split_first_chunk().expect("it is longer");
                let mut key = [*kind; LOOKED_UP];
                key[1..].copy_from_slice(rest);
                Space::LookedUp { generation: Generation::from_be_bytes(*generation), key }
            }
            [PERSON, owner @ ..] if owner.len() == OWNER => Space::Person(owner.first_chunk().expect("it is as long")),
            [IDENTIFIER, key @ ..] if key.len() == HASHED => Space::Identifier(key.first_chunk().expect("it is as long")),
            _ => Space::Other,
        }
    }

    pub(super) fn of_identifier(key: &Hashed) -> Self {
        Self::new(&[&[IDENTIFIER], key])
    }

    /// Of the entry that every member has first.
    pub(super) fn is_first_entry(&self) -> bool {
        self.entry_sequence() == Some(1)
    }

    pub(super) fn of_member(owner: &Owner, own: &[u8]) -> Self {
        Self::new(&[&[MEMBER], owner, own])
    }

    pub(super) fn looked_up(generation: Generation, key: &LookedUp) -> Self {
        Self::new(&[&key[..1], &generation.to_be_bytes(), &key[1..]])
    }

    /// The first key behind it.
    pub(super) fn next(&self) -> Self {
        let mut next = *self;
        next.length += 1;
        next
    }

    /// Where the rows of all members stand.
    pub(super) fn all_members() -> std::ops::Range<Self> {
        Self::new(&[&[MEMBER]])..Self::new(&[&[MEMBER + 1]])
    }

    /// Where the rows of all identifiers stand.
    pub(super) fn all_identifiers() -> std::ops::Range<Self> {
        Self::new(&[&[IDENTIFIER]])..Self::new(&[&[IDENTIFIER + 1]])
    }

    /// Where the rows with a [`RowKey::looked_up_hash`] stand.
    pub(super) fn looked_up_ranges() -> [std::ops::Range<Self>; 3] {
        [ORDER, REQUEST, IDENTIFIER].map(|kind| Self::new(&[&[kind]])..Self::new(&[&[kind + 1]]))
    }
}

/// With the sign's bit turned over, numbers sort as their bytes do.
pub(super) fn ordered(time: Timestamp) -> u64 {
    (time.as_microsecond() as u64) ^ (1 << 63)
}

pub(super) fn instant(ordered: u64) -> Option<Timestamp> {
    Timestamp::from_microsecond((ordered ^ (1 << 63)) as i64).ok()
}

/// Number of the programme and id of the member.
pub(super) type Owner = [u8; OWNER];
const OWNER: usize = 20;

/// What a request or an order is looked up by: its letter, number of the programme, hash.
pub(super) type LookedUp = [u8; LOOKED_UP];
const LOOKED_UP: usize = 21;

pub(super) fn owner(number: ProgramNumber, member: &MemberId) -> Owner {
    let mut owner = [0; OWNER];
    owner[..4].copy_from_slice(&number.to_be_bytes());
    owner[4..].copy_from_slice(&member.0);
    owner
}

pub(super) fn looked_up_order(number: ProgramNumber, hash: &[u8; 32]) -> LookedUp {
    looked_up(ORDER, number, hash)
}

pub(super) fn looked_up_request(number: ProgramNumber, hash: &[u8; 32]) -> LookedUp {
    looked_up(REQUEST, number, hash)
}

/// What an identifier is looked up by: number of the programme, hash.
pub(super) type Hashed = [u8; HASHED];
const HASHED: usize = 20;

pub(super) fn hashed(number: ProgramNumber, hash: &[u8; 32]) -> Hashed {
    let mut key = [0; HASHED];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key[4..].copy_from_slice(&hash[..16]);
    key
}

fn looked_up(kind: u8, number: ProgramNumber, hash: &[u8; 32]) -> LookedUp {
    let mut key = [kind; LOOKED_UP];
    key[1..5].copy_from_slice(&number.to_be_bytes());
    key[5..].copy_from_slice(&hash[..16]);
    key
}

/// What a row's key is made of.
pub(super) enum Space<'a> {
    Member { owner: &'a Owner, own: &'a [u8] },
    LookedUp { generation: Generation, key: LookedUp },
    Identifier(&'a Hashed),
    Person(&'a Owner),
    Other,
}

impl std::hash::Hash for RowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialEq for RowKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RowKey {}

/// In words: keys are bytes.
impl std::fmt::Debug for RowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The look-ups that a member's new entries lead to: where they are, by request, by order, by identifier.
pub(super) fn look_ups(
    index: &Index,
    generation: Generation,
    number: ProgramNumber,
    member: &MemberId,
    entries: &[Entry],
    positions: &[Position],
    changes: &mut Vec<Change>,
) {
    for (entry, position) in entries.iter().zip(positions) {
        changes.push((RowKey::entry(number, member, entry.sequence), Some(position_bytes(position))));
        kind_look_ups(index, generation, number, member, entry, changes);
    }
    for same in entries.chunk_by(|a, b| a.request.is_some() && a.request.as_ref().map(|r| &r.id) == b.request.as_ref().map(|r| &r.id)) {
        if let (Some(request), [first, ..]) = (&same[0].request, same) {
            let row = value(|w| {
                w.bytes(1, &member.0);
                w.uint(2, first.sequence);
                w.uint(3, same.len() as u64 - 1);
            });
            let key = looked_up_request(number, &index.request(&request.id));
            changes.push((RowKey::looked_up(generation, &key), Some(row)));
        }
    }
}

fn kind_look_ups(
    index: &Index,
    generation: Generation,
    number: ProgramNumber,
    member: &MemberId,
    entry: &Entry,
    changes: &mut Vec<Change>,
) {
    let program = &entry.key.program;
    let held = |identifier: &Identifier| {
        let hash = index.identifier(program, identifier);
        (RowKey::of_identifier(&hashed(number, &hash)), Some([&member.0, &hash[16..]].concat().into()))
    };
    match &entry.kind {
        EntryKind::MemberEnrolled { person } => {
            changes.extend(person.open().into_iter().flat_map(|person| &person.identifiers).map(held));
        }
        // Those of the member who was merged find this one from here on.
        EntryKind::MergedFrom(got) => changes.extend(got.person.open().into_iter().flat_map(|person| &person.identifiers).map(held)),
        EntryKind::IdentifierAdded { identifier } => changes.extend(identifier.open().map(held)),
        EntryKind::IdentifierRemoved { identifier } => changes.extend(identifier.open().map(|identifier| (held(identifier).0, None))),
        EntryKind::PurchaseAccrued(accrued) => {
            if let Some(order) = &accrued.purchase.order {
                let row = value(|w| {
                    w.bytes(1, &member.0);
                    w.uint(2, entry.sequence);
                });
                let key = looked_up_order(number, &index.order(order));
                changes.push((RowKey::looked_up(generation, &key), Some(row)));
            }
        }
        EntryKind::ActivityAccrued(accrued) => changes.extend(activities::look_ups(index, number, member, entry.sequence, accrued)),
        EntryKind::ReferralMade(made) => changes.extend(referrals::look_ups(index, number, member, entry.sequence, made)),
        EntryKind::SegmentsChanged(changed) => segments::look_ups(index, number, member, changed, changes),
        EntryKind::VoucherChanged(changed) => changes.extend(vouchers::look_up(index, number, entry, changed)),
        EntryKind::ProfileUpdated { .. }
        | EntryKind::BirthdayChanged(_)
        | EntryKind::GoalChanged(_)
        | EntryKind::OfferChanged(_)
        | EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::MemberErased { .. }
        | EntryKind::PointsAdjusted(_)
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_)
        | EntryKind::TierKept(_)
        | EntryKind::TierRewarded(_)
        | EntryKind::PointsRedeemed(_)
        | EntryKind::RedemptionReversed(_)
        | EntryKind::PointsHeld(_)
        | EntryKind::HoldReleased(_)
        | EntryKind::PointsActivated(_)
        | EntryKind::PurchaseReturned(_)
        | EntryKind::ReferralTakenBack(_)
        | EntryKind::PointsTransferredOut(_)
        | EntryKind::PointsTransferredIn(_)
        | EntryKind::MergedInto(_) => {}
    }
    if let Some(day) = entry.watched.as_ref().and_then(|watched| watched.operator)
        && let Some(actor) = &entry.actor
    {
        let row = value(|w| encode_fraud::operator(w, actor, &day));
        changes.push((RowKey::operator(number, &index.operator(actor)), Some(row)));
    }
    changes.extend(stories::look_up(number, entry));
}

/// The member that has an identifier, if the row is really the identifier's.
pub(super) fn identifier_member(row: &[u8; 32], hash: &[u8; 32]) -> Option<MemberId> {
    (row[16..] == hash[16..]).then(|| MemberId(row[..16].try_into().expect("it is half of the row")))
}
