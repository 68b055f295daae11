//! Segments, as they are shown.

use super::time::timestamp;
use crate::{
    contract::v1,
    domain::{Header, Segment, SegmentId, SegmentsChanged},
};

/// Those that a member is in.
pub fn member_segments(header: &Header) -> Vec<v1::MemberSegment> {
    let held = header.segments.held.iter();
    held.map(|held| v1::MemberSegment { segment_id: held.segment.to_string(), since: Some(timestamp(held.since)) }).collect()
}

pub fn segments_changed(changed: &SegmentsChanged) -> v1::SegmentsChanged {
    let ids = |segments: &[SegmentId]| segments.iter().map(SegmentId::to_string).collect();
    v1::SegmentsChanged { entered_segment_ids: ids(&changed.entered), left_segment_ids: ids(&changed.left) }
}

pub fn segment(segment: &Segment, members: u64) -> v1::ListedSegment {
    v1::ListedSegment {
        segment: Some(v1::Segment {
            segment_id: segment.id.to_string(),
            display_name: segment.display_name.clone(),
            description: segment.description.clone(),
            condition: segment.condition.text().to_owned(),
        }),
        members: super::count(members),
    }
}
