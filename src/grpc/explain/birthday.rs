//! Birthdays in plain English.

use super::Story;
use crate::domain::{BirthdayChanged, BirthdayGiven, LotExpiry};

impl Story<'_> {
    pub(super) fn birthday(mut self, changed: &BirthdayChanged) -> Vec<String> {
        if let Some(granted) = &changed.granted {
            let tier = granted.tier.as_ref().map_or_else(String::new, |tier| format!(", for tier {tier}"));
            self.say(format!("The member was rewarded for the birthday of {}{tier}.", granted.year));
            match &granted.given {
                BirthdayGiven::Points(lot) => {
                    let valid = self.valid(lot.expiry);
                    let points = self.points(lot.points);
                    let joined = if lot.expiry == LotExpiry::Never { "and" } else { "which are" };
                    self.say(format!("{points} points are in lot {}, {joined} {valid}.", lot.id));
                }
                BirthdayGiven::Voucher(kind) => self.say(format!("A voucher of kind {kind} is issued by the next entry.")),
                BirthdayGiven::Multiplier(one) => {
                    let (start, last) = (self.local(one.start_time), self.last_day(one.end_time));
                    self.say(format!("Purchases from {start} until the end of {last} earn {} times as much.", one.multiplier));
                }
            }
            return self.said;
        }
        match changed.plan.open().copied().flatten() {
            Some(plan) => {
                let (start, last) = (self.local(plan.start_time), self.last_day(plan.end_time));
                self.say(format!("The birthday of {} is celebrated from {start} until the end of {last}.", plan.year));
            }
            None => self.say("No birthday is planned.".to_owned()),
        }
        if changed.changes > 0 {
            self.say(format!("The birth date was changed {} times so far.", changed.changes));
        }
        self.said
    }
}
