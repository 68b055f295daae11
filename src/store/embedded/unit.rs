//! The unit of work: one commit becomes one record of the journal, and rows.

use std::{
    collections::HashMap,
    sync::{MutexGuard, atomic::Ordering},
};

use jiff::Timestamp;
use prost::Message as _;

use super::{
    Engine, Writer,
    decode::Malformed,
    encode, erasure,
    journal::{Appended, Position},
    rows::{self, Change, Generation, ProgramNumber, RowKey},
    sealing,
    segment::{Hash, MAX_PAYLOAD, RECORD_HEADER},
    state_rows, stored,
    wire::Writer as Wire,
};
use crate::{
    domain::{Entry, EntryKind, ProgramId},
    store::{Commit, CommitSeq, MemberChange, StoreError, Unit},
};

pub(super) struct EmbeddedUnit<'a> {
    pub(super) engine: &'a Engine,
    writer: MutexGuard<'a, Writer>,
}

/// Bytes of the record that is being made, by their place in it.
type Span = std::ops::Range<usize>;

/// Where things lie in the record that is being made.
#[derive(Default)]
struct Spans {
    publications: Vec<Span>,
    /// Of all members' entries, one after the other.
    entries: Vec<Span>,
    /// The key slot of each member whose person changes.
    slots: Vec<Option<u32>>,
    /// Those of members who are erased, and of those that were merged into them.
    wiped: Vec<u32>,
}

impl<'a> EmbeddedUnit<'a> {
    pub(super) fn new(engine: &'a Engine, writer: MutexGuard<'a, Writer>) -> Self {
        Self { engine, writer }
    }
}

impl Unit for EmbeddedUnit<'_> {
    fn commit(mut self: Box<Self>, commit: Commit) -> Result<CommitSeq, StoreError> {
        if commit.is_empty() {
            return Ok(CommitSeq(self.writer.appender.last_seq()));
        }
        check(&commit);
        let engine = self.engine;
        let writer = &mut *self.writer;
        writer.is_usable()?;
        engine.overlay.wait_for_room()?;
        let spans = engine.watched(engine.encode(writer, &commit))?;
        let appended = writer.store(&engine.keys)?;
        writer.failed = true;
        let changes = engine.watched(engine.rows(&commit, &spans, &writer.record, &appended))?;
        // No commit follows before that: what a start may have to make up for is at the journal's end.
        engine.keys.wipe(&spans.wiped)?;
        let publications = commit.publications.iter().map(|publication| publication.publish_time);
        let recorded = commit.members.iter().flat_map(|change| &change.entries).map(|entry| entry.record_time);
        let applied = engine.applied((appended.seq, &appended.hash), publications.chain(recorded));
        engine.overlay.publish(rows::generation(appended.segment_index), changes, applied);
        writer.failed = false;
        Ok(CommitSeq(appended.seq))
    }
}

/// Invariants 3 and 4, before anything is written.
fn check(commit: &Commit) {
    for change in &commit.members {
        let header = &change.after.header;
        let last = change.entries.last().expect("a member's change has entries");
        let is_next = change.entries.windows(2).all(|pair| pair[0].sequence.checked_add(1) == Some(pair[1].sequence));
        assert!(is_next, "entries follow one another");
        assert_eq!(header.last_sequence, last.sequence, "the state is the one after the last entry");
        assert_eq!(header.balance, last.balance, "the state has the balance that the last entry states");
        assert!(header.balance.is_conserved(), "points are conserved");
    }
}

impl Engine {
    /// Makes the record, whose header is filled in when it is appended.
    fn encode(&self, writer: &mut Writer, commit: &Commit) -> Result<Spans, StoreError> {
        let mut w = Wire { bytes: std::mem::take(&mut writer.record) };
        w.bytes.clear();
        w.bytes.resize(RECORD_HEADER, 0);
        let mut spans = Spans::default();
        for publication in &commit.publications {
            let length = w.message(1, |w| encode::publication(w, publication));
            spans.publications.push(w.bytes.len() - length..w.bytes.len());
        }
        let mut places: HashMap<&ProgramId, u64> = HashMap::new();
        for change in &commit.members {
            let program = &change.after.key.program;
            let next = places.len() as u64;
            places.entry(program).or_insert_with(|| {
                w.item_text(2, program.as_str());
                next
            });
        }
        for change in &commit.members {
            let (slot, mut sealed) = self.seal(writer, change)?;
            spans.slots.push(slot);
            if let (Some(place), Some(slot)) = (erasure::erasing(&change.entries), slot) {
                let number = self.programs.number(&change.after.key.program).ok_or(Malformed("an erasure in no programme"))?;
                let slots = self.keys_of(number, &change.after, slot)?;
                sealed[place] = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
                spans.wiped.extend(slots);
            }
            encode_change(&mut w, places[&change.after.key.program], change, &sealed, &mut spans.entries);
        }
        writer.record = w.bytes;
        match writer.record.len() - RECORD_HEADER {
            length if length > MAX_PAYLOAD => Err(StoreError::Damaged(format!("a commit of {length} bytes is more than {MAX_PAYLOAD}"))),
            _ => Ok(spans),
        }
    }

    /// What is personal in a member's new entries, sealed: for each entry, or for none if nothing is. With the slot of the key.
    fn seal(&self, writer: &mut Writer, change: &MemberChange) -> Result<(Option<u32>, Vec<Vec<u8>>), StoreError> {
        if !change.entries.iter().any(Entry::touches_person) {
            return Ok((None, Vec::new()));
        }
        let key = &change.after.key;
        let (slot, cipher_key) = match &change.entries[0].kind {
            EntryKind::MemberEnrolled { .. } => {
                let (slot, cipher_key) = writer.slots.add(&self.keys)?;
                (slot, Some(cipher_key))
            }
            EntryKind::ProfileUpdated { .. }
            | EntryKind::IdentifierAdded { .. }
            | EntryKind::IdentifierRemoved { .. }
            | EntryKind::MemberSuspended { .. }
            | EntryKind::MemberReactivated { .. }
            | EntryKind::MemberErased { .. }
            | EntryKind::PurchaseAccrued(_)
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
            | EntryKind::PointsTransferredOut(_)
            | EntryKind::PointsTransferredIn(_)
            | EntryKind::ActivityAccrued(_)
            | EntryKind::MergedInto(_)
            | EntryKind::MergedFrom(_)
            | EntryKind::VoucherChanged(_)
            | EntryKind::OfferChanged(_)
            | EntryKind::SegmentsChanged(_)
            | EntryKind::ReferralMade(_)
            | EntryKind::ReferralTakenBack(_)
            | EntryKind::GoalChanged(_)
            | EntryKind::BirthdayChanged(_) => {
                let number = self.programs.number(&key.program).ok_or(Malformed("a change of a member that never enrolled"))?;
                let slot = self.slot(&self.overlay.view(), number, &key.member)?;
                (slot, self.keys.key(slot)?)
            }
        };
        let seal = |entry: &Entry| match (sealing::personal(entry), &cipher_key) {
            (Some(plain), Some(cipher_key)) => sealing::seal(slot, cipher_key, key, entry.sequence, &plain),
            (None, _) if !entry.touches_person() => Ok(Vec::new()),
            // Erased, or gone to another member: the slot says whose key it was.
            (Some(_), None) | (None, _) => Ok(slot.to_le_bytes().to_vec()),
        };
        Ok((Some(slot), change.entries.iter().map(seal).collect::<Result<_, _>>()?))
    }

    /// All rows that a commit changes.
    fn rows(&self, commit: &Commit, spans: &Spans, record: &[u8], appended: &Appended) -> Result<Vec<Change>, StoreError> {
        let position = |span: &Span| Position {
            segment: appended.segment,
            offset: appended.payload_offset + (span.start - RECORD_HEADER) as u64,
            length: u32::try_from(span.len()).expect("a part of a record is not longer than a record may be"),
            crc: crc32c::crc32c(&record[span.clone()]),
        };
        let generation = rows::generation(appended.segment_index);
        let mut changes = Vec::with_capacity(6 * commit.members.len() + 4);
        for (place, (publication, span)) in (0..).zip(commit.publications.iter().zip(&spans.publications)) {
            let number = self.programs.number_or_new(&publication.program, &mut changes);
            rows::publication(&self.index, generation, number, (appended.seq, place), publication, &position(span), &mut changes);
        }
        let mut entry_spans = spans.entries.as_slice();
        for (change, slot) in commit.members.iter().zip(&spans.slots) {
            let (own, rest) = entry_spans.split_at(change.entries.len());
            entry_spans = rest;
            let positions = own.iter().map(position).collect::<Vec<_>>();
            let number = self.programs.number_or_new(&change.after.key.program, &mut changes);
            self.member_rows(generation, number, change, *slot, &positions, &mut changes)?;
            self.totals.turn(number, change);
            self.forget(number, &change.after.key, &change.entries, None, &mut changes)?;
        }
        self.totals.rows(&mut changes);
        self.stock_rows(commit.members.iter().flat_map(|change| &change.entries), &mut changes);
        self.tally_rows(commit.members.iter().flat_map(|change| &change.entries), &mut changes)?;
        self.size_rows(commit.members.iter().flat_map(|change| &change.entries), &mut changes);
        let entries = commit.members.iter().flat_map(|change| &change.entries);
        self.act_rows(appended.seq, commit.publications.iter(), entries, &mut changes);
        changes.extend(spans.wiped.iter().map(erasure::wiped));
        Ok(changes)
    }

    /// `slot`: of the member's key, if what is personal changes.
    pub(super) fn member_rows(
        &self,
        generation: Generation,
        number: ProgramNumber,
        change: &MemberChange,
        slot: Option<u32>,
        positions: &[Position],
        changes: &mut Vec<Change>,
    ) -> Result<(), StoreError> {
        let key = &change.after.key;
        state_rows::state(number, change, changes);
        rows::look_ups(&self.index, generation, number, &key.member, &change.entries, positions, changes);
        if let (Some(slot), Some(person)) = (slot, &change.after.person) {
            let row = sealing::seal_person(&self.keys, slot, key, person)?;
            changes.push((RowKey::person(number, &key.member), Some(row.into())));
        }
        Ok(())
    }

    /// The tables' own row, once they have all rows up to a commit, of which all times are given.
    pub(super) fn applied(&self, (seq, hash): (u64, &Hash), times: impl Iterator<Item = Timestamp>) -> Box<[u8]> {
        let latest = times.map(Timestamp::as_microsecond).max().unwrap_or(i64::MIN);
        let latest = self.latest_time.fetch_max(latest, Ordering::SeqCst).max(latest);
        let row = stored::AppliedRow {
            seq,
            hash: hash.to_vec(),
            store_id: self.keys.store_id().to_vec(),
            format: rows::FORMAT,
            next_slot: self.keys.next_slot(),
            latest_time: Some(latest).filter(|latest| *latest != i64::MIN),
        };
        row.encode_to_vec().into()
    }
}

fn encode_change(w: &mut Wire, program: u64, change: &MemberChange, sealed: &[Vec<u8>], spans: &mut Vec<Span>) {
    let first = spans.len();
    let length = w.message(3, |w| {
        let base = w.bytes.len();
        w.uint(1, program);
        w.bytes(2, &change.after.key.member.0);
        for (index, entry) in change.entries.iter().enumerate() {
            let sealed = sealed.get(index).map_or(&[][..], Vec::as_slice);
            let length = w.message(3, |w| encode::entry(w, entry, sealed));
            let end = w.bytes.len() - base;
            spans.push(end - length..end);
        }
    });
    // Until here they counted from where the message began, which is known only now.
    let base = w.bytes.len() - length;
    for span in &mut spans[first..] {
        *span = base + span.start..base + span.end;
    }
}
