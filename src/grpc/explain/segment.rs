//! Segments in plain English.

use super::Story;
use crate::domain::{SegmentId, SegmentsChanged};

impl Story<'_> {
    pub(super) fn segments_changed(mut self, changed: &SegmentsChanged) -> Vec<String> {
        for segment in &changed.entered {
            let name = self.segment_name(segment);
            self.say(format!("The member is in segment {name} from here on."));
        }
        for segment in &changed.left {
            let name = self.segment_name(segment);
            self.say(format!("The member is not in segment {name} any more."));
        }
        if changed.entered.is_empty() && changed.left.is_empty() {
            self.say("It was looked at which segments the member is in: the same as before.".to_owned());
        }
        if let Some(time) = changed.next_due_time {
            let time = self.local(time);
            self.say(format!("If nothing happens before, that is looked at again on {time}."));
        }
        self.said
    }

    fn segment_name(&self, id: &SegmentId) -> String {
        let segment = self.program.segments.iter().find(|segment| segment.id == *id);
        match segment.map(|segment| segment.display_name.as_str()) {
            Some(name) if !name.is_empty() => format!("{id} ({name})"),
            Some(_) | None => id.to_string(),
        }
    }
}
