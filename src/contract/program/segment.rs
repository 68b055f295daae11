//! The segments of a rule book.

use std::collections::HashSet;

use super::{Mistakes, Scope, birthday, keep, promotion, v1};
use crate::domain::{self, Condition, Digits, MAX_SEGMENT_STEPS, MAX_SEGMENTS, Segment, SegmentId, Tier};

/// `tiers`: those that conditions may name, if they are known.
pub(super) fn segments(documents: &[v1::Segment], tiers: Option<&[Tier]>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Vec<Segment>> {
    if documents.len() > MAX_SEGMENTS {
        mistakes.note("segments", format_args!("has {} segments; at most {MAX_SEGMENTS} are allowed", documents.len()));
    }
    let mut ids = HashSet::new();
    let (mut segments, mut steps) = (Some(Vec::new()), 0_u64);
    for (index, document) in documents.iter().take(MAX_SEGMENTS).enumerate() {
        let path = format!("segments[{index}]");
        let segment = segment(&path, document, tiers, scope, mistakes);
        if SegmentId::new(&document.segment_id).is_ok() && !ids.insert(&document.segment_id) {
            mistakes.note(format!("{path}.segment_id"), "is the id of an earlier segment too");
        }
        steps = steps.saturating_add(segment.as_ref().map_or(0, Segment::steps));
        keep(&mut segments, segment);
    }
    if steps > MAX_SEGMENT_STEPS {
        let message = format!(
            "cost {steps} steps together for each change of a member; at most {MAX_SEGMENT_STEPS} are allowed: ask for fewer or shorter windows"
        );
        mistakes.note("segments", message);
    }
    segments
}

fn segment(path: &str, document: &v1::Segment, tiers: Option<&[Tier]>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Segment> {
    let id = mistakes.take(format!("{path}.segment_id"), SegmentId::new(&document.segment_id));
    let display_name = mistakes.text(format!("{path}.display_name"), &document.display_name, 0, 120);
    let description = mistakes.text(format!("{path}.description"), &document.description, 0, 500);
    let condition = condition(&format!("{path}.condition"), &document.condition, tiers, scope, mistakes);
    Some(Segment { id: id?, display_name: display_name?, description: description?, condition: condition? })
}

fn condition(path: &str, text: &str, tiers: Option<&[Tier]>, scope: &Scope, mistakes: &mut Mistakes) -> Option<Condition> {
    if text.is_empty() {
        mistakes.note(path, "is required");
        return None;
    }
    let digits = Digits { money: scope.digits, points: scope.precision };
    let condition = mistakes.take(path, Condition::compile(text, domain::Scope::Segment, digits))?;
    let known = birthday::Known { tiers, kinds: None, segments: None };
    for named in condition.named() {
        if let Some(message) = promotion::not_there(named, &known) {
            mistakes.note(path, format_args!("line {}, column {}: {message}", named.line, named.column));
        }
    }
    Some(condition)
}
