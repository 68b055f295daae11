//! Segments: how entries of them and what a member is in are stored, and the rows that say who is in one.

use std::collections::BTreeMap;

use super::{
    Engine,
    check::Report,
    decode::{Decoded, Malformed, message, optional_time, time},
    index::Index,
    rows::{Change, ProgramNumber, RowKey, value},
    stored,
    wire::Writer,
};
use crate::{
    domain::{Entry, EntryKind, Lately, LatelyKind, MemberId, ProgramId, SegmentHeld, SegmentId, SegmentSize, Segments, SegmentsChanged},
    store::StoreError,
};

/// By itself: that a member is in a segment.
pub(super) const MEMBER_OF: u8 = b'q';
/// How many are in one.
pub(super) const SIZE: u8 = b'n';
/// Length of what the rows of all members of a segment have in common.
const PREFIX: usize = 21;

fn row(index: &Index, number: ProgramNumber, segment: &SegmentId, member: &[u8]) -> RowKey {
    RowKey::new(&[&[MEMBER_OF], &number.to_be_bytes(), &index.segment(segment)[..16], member])
}

/// The rows of the segments that an entry says the member has entered or left.
pub(super) fn look_ups(index: &Index, number: ProgramNumber, member: &MemberId, changed: &SegmentsChanged, changes: &mut Vec<Change>) {
    let key = |segment| row(index, number, segment, &member.0);
    changes.extend(changed.left.iter().map(|segment| (key(segment), None)));
    changes.extend(changed.entered.iter().map(|segment| (key(segment), Some(Box::default()))));
}

pub(super) fn size_row(index: &Index, number: ProgramNumber, segment: &SegmentId) -> RowKey {
    RowKey::new(&[&[SIZE], &number.to_be_bytes(), &index.segment(segment)[..16]])
}

/// The row of a segment's size; `None`: it is another one's, whose hash is the same.
pub(super) fn read_size_row(segment: &SegmentId, bytes: &[u8]) -> Decoded<Option<SegmentSize>> {
    let row: stored::SegmentSizeRow = message(bytes)?;
    Ok((row.segment_id == segment.as_str()).then(|| read_size(row.size.as_ref())))
}

impl Engine {
    /// The rows of all segments that a commit makes larger or smaller.
    pub(super) fn size_rows<'a>(&self, entries: impl Iterator<Item = &'a Entry>, changes: &mut Vec<Change>) {
        let mut latest: BTreeMap<(&ProgramId, &SegmentId), SegmentSize> = BTreeMap::new();
        for entry in entries {
            let EntryKind::SegmentsChanged(changed) = &entry.kind else { continue };
            for ((segment, _), size) in changed.turned().zip(&changed.sizes) {
                let kept = latest.entry((&entry.key.program, segment)).or_insert(*size);
                if size.change > kept.change {
                    *kept = *size;
                }
            }
        }
        for ((program, segment), one) in latest {
            let number = self.programs.number_or_new(program, changes);
            let row = value(|w| {
                w.text(1, segment.as_str());
                w.message(2, |w| size(w, one));
            });
            changes.push((size_row(&self.index, number, segment), Some(row)));
        }
    }

    /// Segments are as large as there are rows of members in them.
    pub(super) fn check_sizes(&self, report: &mut Report) -> Result<(), StoreError> {
        let view = self.overlay.view();
        let of = |kind: u8| (RowKey::new(&[&[kind]]), RowKey::new(&[&[kind + 1]]));
        let mut counted: BTreeMap<RowKey, u64> = BTreeMap::new();
        let (from, to) = of(MEMBER_OF);
        for row in view.scan(from, to) {
            let segment = row?.0.as_bytes().get(1..PREFIX).map(|segment| RowKey::new(&[&[SIZE], segment]));
            *counted.entry(segment.ok_or(Malformed("a segment's row"))?).or_default() += 1;
        }
        let (from, to) = of(SIZE);
        for row in view.scan(from, to) {
            let (key, row) = row?;
            let row: stored::SegmentSizeRow = message(&row)?;
            let (said, found) = (read_size(row.size.as_ref()).members, counted.remove(&key).unwrap_or(0));
            if said != found {
                report.differ(&key, &format!("says {said}, and {found} are in it"));
            }
        }
        for (key, found) in counted {
            report.differ(&key, &format!("is missing, and {found} are in it"));
        }
        Ok(())
    }

    /// Who is in a segment, in the order of their ids, those behind `after`.
    pub(super) fn in_segment(
        &self,
        program: &ProgramId,
        segment: &SegmentId,
        after: Option<MemberId>,
        limit: usize,
    ) -> Result<Vec<MemberId>, StoreError> {
        let Some(number) = self.programs.number(program) else { return Ok(Vec::new()) };
        let of = |member: &[u8]| row(&self.index, number, segment, member);
        let from = after.map_or(of(&[]), |after| of(&after.0).next());
        let view = self.overlay.view();
        let found = view.scan(from, of(&[u8::MAX; 17])).take(limit).map(|found| {
            let key = found?.0;
            let member = key.as_bytes().get(PREFIX..).and_then(|member| member.try_into().ok());
            Ok(MemberId(member.ok_or(Malformed("a segment's row"))?))
        });
        found.collect()
    }
}

pub(super) fn changed(w: &mut Writer, changed: &SegmentsChanged) {
    changed.entered.iter().for_each(|segment| w.item_text(1, segment.as_str()));
    changed.left.iter().for_each(|segment| w.item_text(2, segment.as_str()));
    w.uint(3, u64::from(changed.policy_version));
    w.optional_time(4, changed.next_due_time);
    for one in &changed.sizes {
        w.message(5, |w| size(w, *one));
    }
}

fn size(w: &mut Writer, size: SegmentSize) {
    w.uint(1, size.change);
    w.uint(2, size.members);
}

fn read_size(size: Option<&stored::SegmentSize>) -> SegmentSize {
    size.map_or_else(SegmentSize::default, |size| SegmentSize { change: size.change, members: size.members })
}

pub(super) fn read_changed(changed: &stored::SegmentsChanged) -> Decoded<SegmentsChanged> {
    let ids = |texts: &[String]| texts.iter().map(|text| segment_id(text)).collect::<Decoded<_>>();
    Ok(SegmentsChanged {
        entered: ids(&changed.entered)?,
        left: ids(&changed.left)?,
        policy_version: changed.policy_version,
        next_due_time: optional_time(changed.next_due_time)?,
        sizes: changed.sizes.iter().map(|size| read_size(Some(size))).collect(),
    })
}

/// In a header; nothing where a member never was looked at.
pub(super) fn segments(w: &mut Writer, field: u32, segments: &Segments) {
    if *segments == Segments::default() {
        return;
    }
    w.message(field, |w| {
        for held in &segments.held {
            w.message(1, |w| {
                w.text(1, held.segment.as_str());
                w.time(2, held.since);
            });
        }
        w.uint(2, u64::from(segments.policy_version));
        w.optional_time(3, segments.next_due_time);
    });
}

pub(super) fn read_segments(segments: Option<&stored::Segments>) -> Decoded<Segments> {
    let Some(segments) = segments else { return Ok(Segments::default()) };
    let held = |held: &stored::SegmentHeld| Ok(SegmentHeld { segment: segment_id(&held.segment_id)?, since: time(held.since)? });
    Ok(Segments {
        held: segments.held.iter().map(held).collect::<Decoded<_>>()?,
        policy_version: segments.policy_version,
        next_due_time: optional_time(segments.next_due_time)?,
    })
}

pub(super) fn segment_id(text: &str) -> Decoded<SegmentId> {
    SegmentId::new(text).map_err(|_| Malformed("segment_id"))
}

pub(super) fn lately(w: &mut Writer, field: u32, lately: &Lately) {
    for (kind, id, last) in lately.iter() {
        w.message(field, |w| {
            let number = match kind {
                LatelyKind::Channel => 1,
                LatelyKind::Activity => 2,
            };
            w.uint(1, number);
            w.text(2, id);
            w.time(3, last);
        });
    }
}

pub(super) fn read_lately(stored: &[stored::Lately]) -> Decoded<Lately> {
    let mut lately = Lately::default();
    for one in stored {
        let kind = match one.kind {
            1 => LatelyKind::Channel,
            2 => LatelyKind::Activity,
            _ => return Err(Malformed("lately.kind")),
        };
        lately.note(kind, &one.id, time(one.last_time)?);
    }
    Ok(lately)
}
