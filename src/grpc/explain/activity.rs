//! Activities in plain English.

use super::{Story, rule_name};
use crate::domain::{AccruedLot, ActivityAccrued, ActivityAward, ActivitySide, Entry};

impl Story<'_> {
    pub(super) fn activity(mut self, accrued: &ActivityAccrued, entry: &Entry) -> Vec<String> {
        let (time, zone) = (self.local(entry.occurred_time), self.program.time_zone.iana_name().unwrap_or("UTC"));
        let ActivityAccrued { activity, reference, .. } = accrued;
        self.say(format!(
            "Activity {activity} with reference {reference} on {time} ({zone}), judged by version {} of the rule book.",
            entry.program_version
        ));
        let earner = match accrued.side {
            ActivitySide::Member { referrer: None } => "the member",
            ActivitySide::Member { referrer: Some(referrer) } => {
                self.say(format!("Member {referrer} referred the member."));
                "the member"
            }
            ActivitySide::Referrer { member, sequence } => {
                self.say(format!("It was done by member {member}, in entry {sequence}, whom this member referred."));
                "a referrer"
            }
        };
        let refused = accrued.referral.as_ref().is_some_and(|earned| earned.refused.is_some());
        if let Some(earned) = &accrued.referral {
            self.referral_earned(earned, accrued.side);
        }
        if accrued.awards.is_empty() && !refused {
            self.say(format!("No rule gives {earner} points for it."));
        }
        for award in &accrued.awards {
            self.activity_award(award, &accrued.lots);
        }
        self.earned(accrued.points, accrued.qualifying_points, &accrued.lots);
        self.said
    }

    fn activity_award(&mut self, award: &ActivityAward, lots: &[AccruedLot]) {
        let mut sentence = format!("{}: {} points.", rule_name(&award.rule, &award.display_name), self.points(award.uncapped_points));
        sentence.push_str(&self.limit(award.limit, award.uncapped_points, award.points));
        sentence.push_str(&self.in_lot(award.lot, award.points, award.expiry, lots));
        self.say(sentence);
    }
}
