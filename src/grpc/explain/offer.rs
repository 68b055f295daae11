//! Offers in plain English.

use super::Story;
use crate::domain::{OfferChange, OfferChanged, OfferId};

impl Story<'_> {
    pub(super) fn offer_changed(mut self, changed: &OfferChanged) -> Vec<String> {
        let name = self.offer_name(&changed.offer);
        match &changed.change {
            OfferChange::Assigned { reason } => {
                self.say(format!("The member was given offer {name}. Reason: {reason}"));
                if let Some(time) = changed.held.assigned.last() {
                    let (from, until) = (self.local(time.from), time.until.map(|until| self.local(until)));
                    self.say(match until {
                        Some(until) => format!("The member has it from {from} until {until}, while the offer runs."),
                        None => format!("The member has it from {from} as long as the offer runs."),
                    });
                }
            }
            OfferChange::Activated => {
                self.say(format!("The member activated offer {name}."));
                match changed.held.activated_now() {
                    Some(time) => {
                        let until = time.until.map(|until| self.local(until));
                        self.say(match until {
                            Some(until) => format!("What it gives can be used until {until}, while the offer runs."),
                            None => "What it gives can be used as long as the offer runs.".to_owned(),
                        });
                    }
                    None => self.say("The voucher that it gives was issued by the next entry.".to_owned()),
                }
            }
            OfferChange::Withdrawn { reason } => {
                self.say(format!("Offer {name} was taken from the member. Reason: {reason}"));
                self.say("What was used of it stays used, and vouchers that it gave stay the member's.".to_owned());
            }
        }
        self.said
    }

    pub(super) fn offer_name(&self, id: &OfferId) -> String {
        self.program.offer(id).map_or_else(|| id.to_string(), |offer| format!("{id} ({})", offer.display_name))
    }
}
