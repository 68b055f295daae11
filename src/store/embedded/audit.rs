//! Administrative acts: a row for each, in an order in which a scan finds the newest first. What an act says is read where it is recorded; the
//! row has what filters ask for. Nothing personal of a member is in it, so that an erasure leaves it as it is.

use super::{
    Engine,
    decode::{Decoded, Malformed, member_id, message, principal},
    rows::{Change, ProgramNumber, RowKey, instant, ordered, value},
    stored,
};
use crate::{
    domain::{ActKind, ActorId, Entry, EntryRef, PrincipalId, ProgramId},
    store::{ActOf, ActPlace, CommitSeq, FoundAct, Publication, RecordedIn, StoreError},
};

/// By itself: that an administrative act was recorded.
pub(super) const ACT: u8 = b'u';
/// Length of what the rows of all acts of a programme have in common.
const PREFIX: usize = 5;

/// Everything is turned over, so that what is newer sorts before what is older.
fn row(number: ProgramNumber, at: &ActPlace) -> RowKey {
    let time = !ordered(at.record_time);
    RowKey::new(&[&[ACT], &number.to_be_bytes(), &time.to_be_bytes(), &(!at.commit.0).to_be_bytes(), &(!at.place).to_be_bytes()])
}

/// Of the acts in a time: the range from the first to the second.
fn range(number: ProgramNumber, recorded: RecordedIn) -> (RowKey, RowKey) {
    let at = |time: u64| RowKey::new(&[&[ACT], &number.to_be_bytes(), &(!time).to_be_bytes()]);
    // An instant has no other between it and the one before, so that the end is left out and the start is not.
    let from = recorded.end.map_or(RowKey::new(&[&[ACT], &number.to_be_bytes()]), |end| at(ordered(end).saturating_sub(1)));
    let to = recorded.start.map_or(RowKey::new(&[&[ACT], &(number + 1).to_be_bytes()]), |start| at(ordered(start).saturating_sub(1)));
    (from, to)
}

fn place(key: &RowKey) -> Option<ActPlace> {
    let (time, rest) = key.as_bytes().get(PREFIX..)?.split_first_chunk::<8>()?;
    let (commit, place) = rest.split_first_chunk::<8>()?;
    Some(ActPlace {
        record_time: instant(!u64::from_be_bytes(*time))?,
        commit: CommitSeq(!u64::from_be_bytes(*commit)),
        place: !u32::from_be_bytes(place.try_into().ok()?),
    })
}

fn kind_number(kind: ActKind) -> u64 {
    match kind {
        ActKind::PointsAdjusted => 1,
        ActKind::PointsTransferred => 2,
        ActKind::RedemptionReversed => 3,
        ActKind::PurchaseReturned => 4,
        ActKind::ActivityRecorded => 5,
        ActKind::MemberSuspended => 6,
        ActKind::MemberReactivated => 7,
        ActKind::MemberErased => 8,
        ActKind::MembersMerged => 9,
        ActKind::TierSet => 10,
        ActKind::VoucherIssued => 11,
        ActKind::VoucherCancelled => 12,
        ActKind::OfferAssigned => 13,
        ActKind::OfferWithdrawn => 14,
        ActKind::ProgramPublished => 15,
        ActKind::PointsRedeemed => 16,
        ActKind::PointsHeld => 17,
        ActKind::HoldReleased => 18,
        ActKind::RewardRedeemed => 19,
        ActKind::VoucherHeld => 20,
        ActKind::VoucherReleased => 21,
        ActKind::VoucherUsed => 22,
        ActKind::OfferActivated => 23,
    }
}

fn read_kind(number: u32) -> Decoded<ActKind> {
    Ok(match number {
        1 => ActKind::PointsAdjusted,
        2 => ActKind::PointsTransferred,
        3 => ActKind::RedemptionReversed,
        4 => ActKind::PurchaseReturned,
        5 => ActKind::ActivityRecorded,
        6 => ActKind::MemberSuspended,
        7 => ActKind::MemberReactivated,
        8 => ActKind::MemberErased,
        9 => ActKind::MembersMerged,
        10 => ActKind::TierSet,
        11 => ActKind::VoucherIssued,
        12 => ActKind::VoucherCancelled,
        13 => ActKind::OfferAssigned,
        14 => ActKind::OfferWithdrawn,
        15 => ActKind::ProgramPublished,
        16 => ActKind::PointsRedeemed,
        17 => ActKind::PointsHeld,
        18 => ActKind::HoldReleased,
        19 => ActKind::RewardRedeemed,
        20 => ActKind::VoucherHeld,
        21 => ActKind::VoucherReleased,
        22 => ActKind::VoucherUsed,
        23 => ActKind::OfferActivated,
        _ => return Err(Malformed("act_row.kind")),
    })
}

fn read_row(key: &RowKey, bytes: &[u8]) -> Decoded<FoundAct> {
    let row: stored::ActRow = message(bytes)?;
    let kind = read_kind(row.kind)?;
    let of = if kind == ActKind::ProgramPublished {
        ActOf::Publication { version: row.published_version }
    } else {
        ActOf::Entry {
            entry: EntryRef { member: member_id(&row.member_id)?, sequence: row.entry_sequence },
            other: if row.other_member_id.is_empty() { None } else { Some(member_id(&row.other_member_id)?) },
        }
    };
    let actor = match row.actor_id.as_str() {
        "" => None,
        actor => Some(ActorId::new(actor).map_err(|_| Malformed("act_row.actor_id"))?),
    };
    let principal = principal(&row.principal_id)?;
    Ok(FoundAct { place: place(key).ok_or(Malformed("an act's key"))?, kind, actor, principal, of })
}

impl Engine {
    /// The rows of all acts of a commit. What is published that says what was there already is none.
    pub(super) fn act_rows<'a>(
        &self,
        commit: u64,
        publications: impl Iterator<Item = &'a Publication>,
        entries: impl Iterator<Item = &'a Entry>,
        changes: &mut Vec<Change>,
    ) {
        let mut next = 0;
        let mut at = |record_time| {
            next += 1;
            ActPlace { record_time, commit: CommitSeq(commit), place: next - 1 }
        };
        for publication in publications {
            let at = at(publication.publish_time);
            if !publication.document.is_empty() {
                let number = self.programs.number_or_new(&publication.program, changes);
                let row_value = value(|w| {
                    w.uint(1, kind_number(ActKind::ProgramPublished));
                    w.text(2, publication.actor.as_ref().map_or("", ActorId::as_str));
                    w.uint(6, u64::from(publication.version));
                    w.text(7, publication.principal.as_ref().map_or("", PrincipalId::as_str));
                });
                changes.push((row(number, &at), Some(row_value)));
            }
        }
        let mut entries = entries.peekable();
        while let Some(entry) = entries.next() {
            let at = at(entry.record_time);
            if let Some(act) = entry.act_before(entries.peek().copied()) {
                let number = self.programs.number_or_new(&entry.key.program, changes);
                let row_value = value(|w| {
                    w.uint(1, kind_number(act.kind));
                    w.text(2, entry.actor.as_ref().map_or("", ActorId::as_str));
                    w.bytes(3, &entry.key.member.0);
                    w.uint(4, entry.sequence);
                    w.bytes(5, act.other.as_ref().map_or(&[], |other| &other.0[..]));
                    w.text(7, entry.principal.as_ref().map_or("", PrincipalId::as_str));
                });
                changes.push((row(number, &at), Some(row_value)));
            }
        }
    }

    pub(super) fn acts(
        &self,
        program: &ProgramId,
        recorded: RecordedIn,
        after: Option<ActPlace>,
        limit: usize,
    ) -> Result<Vec<FoundAct>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(Vec::new()) };
        let (from, to) = range(number, recorded);
        let from = after.map_or(from, |after| row(number, &after).next().max(from));
        if from >= to {
            return Ok(Vec::new());
        }
        let view = self.overlay.view();
        view.scan(from, to).take(limit).map(|found| found.and_then(|(key, value)| Ok(read_row(&key, &value)?))).collect()
    }
}
