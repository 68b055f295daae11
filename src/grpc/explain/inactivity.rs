//! Until when points last that lapse with inactivity.

use crate::domain::{Entry, PAUSED};

use super::Story;

impl Story<'_> {
    pub(super) fn inactivity(&mut self, entry: &Entry) {
        let months = entry.inactive_months.as_deref();
        if entry.inactivity_time == Some(PAUSED) || months.is_some_and(|record| record.paused) {
            self.say("Points do not lapse with inactivity while this tier is held.".to_owned());
        } else if let Some(time) = entry.inactivity_time {
            let day = self.last_day(time);
            self.say(format!(
                "Points that lapse with inactivity are valid until the end of {day}, or longer if the member is active again."
            ));
        } else if let Some(time) = months.and_then(|record| record.lapse_time) {
            let day = self.last_day(time);
            self.say(format!(
                "Of points that lapse by months without activity the first are valid until the end of {day}, or longer if the member is active."
            ));
        }
    }
}
