//! What happened to a tier, in sentences.

use jiff::Timestamp;

use super::Story;
use crate::domain::{StatusEnd, TierCause, TierChange, TierKept, TierReview, TierRewarded};

impl Story<'_> {
    pub(super) fn tier_changed(mut self, change: &TierChange, instant: Timestamp) -> Vec<String> {
        let from = change.from.as_ref().map_or_else(String::new, |tier| format!("from {tier} "));
        let (to, time) = (&change.to, self.local(instant));
        match change.cause {
            TierCause::Upgrade => self.say(format!("The tier rose {from}to {to} on {time}, since its threshold was met.")),
            TierCause::Manual => self.say(format!("The tier was set {from}to {to} by hand on {time}. Reason: {}", change.reason)),
            TierCause::Review if change.review.is_some() => {
                self.say(format!("The tier went {from}to {to} on {time}: it had come to its end and was reviewed."));
            }
            TierCause::Review => {
                self.say(format!("The tier went {from}back to {to} on {time}: what was told late would have kept it at its review."));
            }
            TierCause::Return => self.say(format!("The tier went {from}back to {to} on {time}: what it was reached with has come back.")),
            TierCause::RuleBook => {
                self.say(format!("The tier went {from}to {to} on {time}: a new version of the rule book reviewed its members."));
            }
        }
        self.reviewed(change.review.as_ref());
        let by_hand = change.floor.as_ref().and_then(|floor| floor.end_time).map(|end| StatusEnd { end_time: end, review_time: end });
        self.held_until(change.end.or(by_hand));
        self.said
    }

    pub(super) fn tier_kept(mut self, kept: &TierKept, instant: Timestamp) -> Vec<String> {
        let time = self.local(instant);
        self.say(format!("The tier {} was reviewed on {time} and kept.", kept.tier));
        self.reviewed(Some(&kept.review));
        self.held_until(kept.end);
        self.said
    }

    pub(super) fn tier_rewarded(mut self, rewarded: &TierRewarded) -> Vec<String> {
        if let Some(lot) = &rewarded.lot {
            let points = self.points(lot.points);
            self.say(format!("{points} points were given for having reached the tier {}.", rewarded.tier));
        }
        if let Some(kind) = &rewarded.voucher {
            self.say(format!(
                "A voucher of the kind {kind} was given for having reached the tier {}; the next entry issues it.",
                rewarded.tier
            ));
        }
        self.said
    }

    fn reviewed(&mut self, review: Option<&TierReview>) {
        let Some(review) = review else { return };
        let window = match review.from {
            Some(from) => format!("From {from} and before {}", review.to),
            None => "Since enrolment".to_owned(),
        };
        let totals = &review.totals;
        let points = self.points(totals.qualifying_points);
        self.say(format!("{window} there were {points} qualifying points, {} spent and {} visits.", totals.spend, totals.visits));
    }

    fn held_until(&mut self, end: Option<StatusEnd>) {
        let Some(end) = end else { return };
        let (until, review) = (self.local(end.end_time), self.local(end.review_time));
        match end.end_time == end.review_time {
            true => self.say(format!("It is held until {until}, and reviewed then.")),
            false => self.say(format!("It is held until {until}, and reviewed on {review}.")),
        }
    }
}
