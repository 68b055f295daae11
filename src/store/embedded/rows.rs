//! Rows of the look-up tables: their keys, and what a commit makes of them. The layout is in the docs of the parent module.

use std::cmp::Ordering;

use jiff::Timestamp;
use prost::Message as _;

use super::{
    decode::{self, Malformed},
    encode,
    journal::Position,
    keys::Key,
    stored,
    wire::Writer,
};
use crate::{
    domain::{Entry, EntryKind, Fingerprint, Identifier, Lot, LotId, LotKey, Member, MemberId, OrderKey, ProgramId, RequestId},
    store::{Publication, StoreError},
};

const LONGEST: usize = 38;

/// A row's key, in the order of its bytes.
#[derive(Clone, Copy)]
pub(super) struct RowKey {
    bytes: [u8; LONGEST],
    length: u8,
}

/// `None`: the row goes.
pub(super) type Change = (RowKey, Option<Box<[u8]>>);

/// How a programme is called in keys: 1, 2, 3, ... in the order in which the journal first names them.
pub(super) type ProgramNumber = u32;

/// Of the rows as a whole. Tables with another one are made again.
pub(super) const FORMAT: u32 = 1;
pub(super) const APPLIED: &[u8] = b"a";
const PROGRAM: u8 = b'g';
const IDENTIFIER: u8 = b'i';
const MEMBER: u8 = b'm';
const ORDER: u8 = b'o';
const REQUEST: u8 = b'r';
const PUBLICATION: u8 = b'v';

const HEADER: u8 = 0;
const PERSON: u8 = 1;
const LOT: u8 = 2;
const ENTRY: u8 = 3;
/// Length of what all rows of a member have in common.
const MEMBER_PREFIX: usize = 21;

impl RowKey {
    fn new(parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; LONGEST], length: 0 };
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

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(super) fn program(number: ProgramNumber) -> Self {
        Self::new(&[&[PROGRAM], &number.to_be_bytes()])
    }

    pub(super) fn identifier(number: ProgramNumber, hash: &[u8; 32]) -> Self {
        Self::new(&[&[IDENTIFIER], &number.to_be_bytes(), &hash[..16]])
    }

    pub(super) fn order(number: ProgramNumber, hash: &[u8; 32]) -> Self {
        Self::new(&[&[ORDER], &number.to_be_bytes(), &hash[..16]])
    }

    pub(super) fn request(number: ProgramNumber, hash: &[u8; 32]) -> Self {
        Self::new(&[&[REQUEST], &number.to_be_bytes(), &hash[..16]])
    }

    pub(super) fn publication(commit: u64, place: u32) -> Self {
        Self::new(&[&[PUBLICATION], &commit.to_be_bytes(), &place.to_be_bytes()])
    }

    pub(super) fn header(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[HEADER]])
    }

    pub(super) fn person(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[PERSON]])
    }

    pub(super) fn lot(number: ProgramNumber, member: &MemberId, lot: &LotKey) -> Self {
        // With the sign's bit turned over, numbers sort as their bytes do. Undated lots are last.
        let expiry = lot.expire_time().map_or(u64::MAX, |time| (time.as_microsecond() as u64) ^ (1 << 63));
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[LOT], &expiry.to_be_bytes(), &lot.id().0.to_be_bytes()])
    }

    pub(super) fn entry(number: ProgramNumber, member: &MemberId, sequence: u64) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[ENTRY], &sequence.to_be_bytes()])
    }

    /// Behind all lots of a member.
    pub(super) fn behind_lots(number: ProgramNumber, member: &MemberId) -> Self {
        Self::new(&[&[MEMBER], &number.to_be_bytes(), &member.0, &[ENTRY]])
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
        let bytes = self.as_bytes().strip_prefix(&[MEMBER])?.get(4..20)?;
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
            (MEMBER, Some(&HEADER)) => "header",
            (MEMBER, Some(&PERSON)) => "person",
            (MEMBER, Some(&LOT)) => "lot",
            (MEMBER, Some(&ENTRY)) => "place of an entry",
            _ => "unknown row",
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
        self.bytes[0] == MEMBER && self.as_bytes().get(MEMBER_PREFIX) == Some(&PERSON)
    }

    pub(super) fn lot_key(&self) -> Option<LotKey> {
        let rest = self.as_bytes().strip_prefix(&self.bytes[..MEMBER_PREFIX])?.strip_prefix(&[LOT])?;
        let expiry = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
        let id = u64::from_be_bytes(rest.get(8..)?.try_into().ok()?);
        let expire_time = match expiry {
            u64::MAX => None,
            dated => Some(Timestamp::from_microsecond((dated ^ (1 << 63)) as i64).ok()?),
        };
        Some(LotKey::new(expire_time, LotId(id)))
    }

    /// The member whose header this is the key of.
    pub(super) fn header_member(&self) -> Option<MemberId> {
        let rest = self.as_bytes().strip_prefix(&[MEMBER])?;
        (rest.len() == MEMBER_PREFIX && rest[MEMBER_PREFIX - 1] == HEADER)
            .then(|| MemberId(rest[4..20].try_into().expect("the slice has the id's length")))
    }

    /// The programme's number in the key of a row that has one.
    pub(super) fn program_number(&self) -> Option<ProgramNumber> {
        let number = self.as_bytes().get(1..5)?;
        Some(u32::from_be_bytes(number.try_into().expect("the slice has the number's length")))
    }

    pub(super) fn is_header(&self) -> bool {
        self.bytes[0] == MEMBER && usize::from(self.length) == MEMBER_PREFIX + 1 && self.bytes[MEMBER_PREFIX] == HEADER
    }
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

/// Hashes what rows are found by. Keyed, so that nobody can choose values that collide, or try phone numbers against a stolen disk.
pub(super) struct Index(pub(super) Key);

impl Index {
    pub(super) fn identifier(&self, program: &ProgramId, identifier: &Identifier) -> [u8; 32] {
        self.hash(&[b"i", program.as_str().as_bytes(), &[0, encode::identifier_kind(identifier.kind)], identifier.value().as_bytes()])
    }

    pub(super) fn request(&self, request: &RequestId) -> [u8; 32] {
        self.hash(&[b"r", request.as_str().as_bytes()])
    }

    pub(super) fn order(&self, order: &OrderKey) -> [u8; 32] {
        // Ids have no control characters, so the parts cannot run into each other.
        self.hash(&[b"o", order.store.as_str().as_bytes(), &[0], order.order.as_str().as_bytes()])
    }

    pub(super) fn fingerprint(&self, fingerprint: Fingerprint) -> Fingerprint {
        let hash = self.hash(&[b"f", &fingerprint.0]);
        Fingerprint(*hash.first_chunk().expect("a hash is longer"))
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

pub(super) fn position_bytes(position: &Position) -> Box<[u8]> {
    let mut w = Writer::default();
    w.bytes.extend_from_slice(&position.crc.to_le_bytes());
    w.varint(position.segment);
    w.varint(position.offset);
    w.varint(u64::from(position.length));
    w.bytes.into()
}

pub(super) fn read_position(bytes: &[u8]) -> Result<Position, Malformed> {
    let fault = Malformed("a position");
    let (crc, mut rest) = bytes.split_first_chunk::<4>().ok_or(fault)?;
    let mut number = || prost::encoding::decode_varint(&mut rest).map_err(|_| fault);
    let (segment, offset, length) = (number()?, number()?, number()?);
    Ok(Position { segment, offset, length: u32::try_from(length).map_err(|_| fault)?, crc: u32::from_le_bytes(*crc) })
}

/// The look-ups that a member's new entries lead to: where they are, by request, by order, by identifier.
pub(super) fn look_ups(
    index: &Index,
    number: ProgramNumber,
    member: &MemberId,
    entries: &[Entry],
    positions: &[Position],
    changes: &mut Vec<Change>,
) {
    for (entry, position) in entries.iter().zip(positions) {
        changes.push((RowKey::entry(number, member, entry.sequence), Some(position_bytes(position))));
        kind_look_ups(index, number, member, entry, changes);
    }
    for same in entries.chunk_by(|a, b| a.request.is_some() && a.request.as_ref().map(|r| &r.id) == b.request.as_ref().map(|r| &r.id)) {
        if let (Some(request), [first, ..]) = (&same[0].request, same) {
            let mut w = Writer::default();
            w.bytes(1, &member.0);
            w.uint(2, first.sequence);
            w.uint(3, same.len() as u64 - 1);
            changes.push((RowKey::request(number, &index.request(&request.id)), Some(w.bytes.into())));
        }
    }
}

fn kind_look_ups(index: &Index, number: ProgramNumber, member: &MemberId, entry: &Entry, changes: &mut Vec<Change>) {
    let program = &entry.key.program;
    let held = |identifier: &Identifier| {
        let hash = index.identifier(program, identifier);
        (RowKey::identifier(number, &hash), Some([&member.0, &hash[16..]].concat().into()))
    };
    match &entry.kind {
        EntryKind::MemberEnrolled { person } => {
            changes.extend(person.open().into_iter().flat_map(|person| &person.identifiers).map(held));
        }
        EntryKind::IdentifierAdded { identifier } => changes.extend(identifier.open().map(held)),
        EntryKind::IdentifierRemoved { identifier } => changes.extend(identifier.open().map(|identifier| (held(identifier).0, None))),
        EntryKind::PurchaseAccrued(accrued) => {
            if let Some(order) = &accrued.purchase.order {
                let mut w = Writer::default();
                w.bytes(1, &member.0);
                w.uint(2, entry.sequence);
                changes.push((RowKey::order(number, &index.order(order)), Some(w.bytes.into())));
            }
        }
        EntryKind::ProfileUpdated { .. }
        | EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::PointsAdjusted(_)
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_) => {}
    }
}

/// The state that new entries lead to, but for the person.
pub(super) fn state(number: ProgramNumber, entries: &[Entry], after: &Member, changes: &mut Vec<Change>) {
    let member = &after.key.member;
    changes.push((RowKey::header(number, member), Some(header_bytes(after))));
    for entry in entries {
        for lot in entry.touched_lots() {
            changes.push((RowKey::lot(number, member, &lot), after.lots.get(&lot).map(lot_bytes)));
        }
    }
}

fn header_bytes(member: &Member) -> Box<[u8]> {
    let mut w = Writer::default();
    encode::header(&mut w, &member.header);
    w.bytes.into()
}

fn lot_bytes(lot: &Lot) -> Box<[u8]> {
    let mut w = Writer::default();
    encode::lot(&mut w, lot);
    w.bytes.into()
}

/// A publication's own row, and the one of its request.
pub(super) fn publication(
    index: &Index,
    number: ProgramNumber,
    (commit, place): (u64, u32),
    publication: &Publication,
    position: &Position,
    changes: &mut Vec<Change>,
) {
    changes.push((RowKey::publication(commit, place), Some(position_bytes(position))));
    let row = stored::RequestRow { published_version: publication.version, commit_seq: commit, place, ..Default::default() };
    changes.push((RowKey::request(number, &index.request(&publication.request.id)), Some(row.encode_to_vec().into())));
}

/// The member that has an identifier, if the row is really the identifier's.
pub(super) fn identifier_member(row: &[u8], hash: &[u8; 32]) -> Result<Option<MemberId>, StoreError> {
    let (member, rest) = row.split_at_checked(16).ok_or(Malformed("an identifier's row"))?;
    Ok(if rest == &hash[16..] { Some(decode::member_id(member)?) } else { None })
}
