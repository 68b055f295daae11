//! Vouchers in plain English.

use super::Story;
use crate::domain::{OrderKey, Voucher, VoucherBenefit, VoucherCause, VoucherChange, VoucherChanged, VoucherRelease};

impl Story<'_> {
    pub(super) fn voucher(mut self, changed: &VoucherChanged) -> Vec<String> {
        let code = changed.code;
        match &changed.change {
            VoucherChange::Issued { voucher, reason, goal, reward, promotion, offer } => {
                self.voucher_issued(voucher, reason);
                if let Some(promotion) = promotion {
                    self.say(format!("It came with the nearest purchase before it, by promotion {promotion}."));
                }
                if let Some(offer) = offer {
                    let name = self.offer_name(offer);
                    self.say(format!("The member asked for it with offer {name}, by the entry before."));
                }
                if let Some(paid) = reward {
                    self.reward_paid(paid);
                }
                if let Some(paid) = goal {
                    self.goal_paid(paid);
                }
            }
            VoucherChange::Held(hold) => {
                let until = self.local(hold.expire_time);
                self.say(format!("Voucher {code} was set aside {} until {until}.", named(&hold.order)));
            }
            VoucherChange::Released { cause: VoucherRelease::Expired, .. } => {
                self.say(format!("The hold on voucher {code} was over; the voucher is free again."));
            }
            VoucherChange::Released { cause: VoucherRelease::Request, reason } => {
                let because = if reason.is_empty() { String::new() } else { format!(" (reason: {reason})") };
                self.say(format!("The hold on voucher {code} was released{because}; the voucher is free again."));
            }
            VoucherChange::Used { order, value } => {
                let order = order.as_ref().map_or_else(String::new, |order| format!(" {}", named(order)));
                let worth = value.map_or_else(String::new, |value| format!(", and was worth {}", self.money(value)));
                self.say(format!("Voucher {code} was used{order}{worth}."));
            }
            VoucherChange::Cancelled { reason, refund, freed } => {
                self.say(match reason.as_str() {
                    "" => format!("Voucher {code} was cancelled: what it had come with was returned while it was set aside."),
                    reason => format!("Voucher {code} was cancelled. Reason: {reason}"),
                });
                match (refund, freed) {
                    (Some(refund), Some(freed)) => self.reward_refund(freed, refund),
                    (Some(refund), None) => self.goal_refund(refund),
                    (None, _) => {}
                }
            }
            VoucherChange::Expired => self.say(format!("Voucher {code} lapsed.")),
            VoucherChange::Reinstated { voucher, order } => {
                let last = self.last_day(voucher.expire_time);
                self.say(format!("All goods that voucher {code} was used {} came back, and so did the voucher.", named(order)));
                self.say(format!("It is valid until the end of {last}."));
            }
        }
        self.said
    }

    fn voucher_issued(&mut self, voucher: &Voucher, reason: &str) {
        let cause = match voucher.cause {
            VoucherCause::Manual => "by hand",
            VoucherCause::Birthday => "for the member's birthday",
            VoucherCause::Tier => "for a tier",
            VoucherCause::Reward => "for a reward",
            VoucherCause::Goal => "for points",
            VoucherCause::Promotion => "by a promotion",
            VoucherCause::Offer => "for an offer",
        };
        let name = if voucher.display_name.is_empty() { voucher.kind.to_string() } else { voucher.display_name.clone() };
        self.say(format!("Voucher {} was issued {cause}: {name}.", voucher.code));
        let gives = match &voucher.benefit {
            VoucherBenefit::AmountOff { amount } => format!("{} off", self.money(*amount)),
            VoucherBenefit::PercentOff { percent, maximum: None } => format!("{percent} % off"),
            VoucherBenefit::PercentOff { percent, maximum: Some(maximum) } => {
                format!("{percent} % off, {} at most", self.money(*maximum))
            }
            VoucherBenefit::FreeItem { sku } => format!("one unit of {sku} for nothing"),
            VoucherBenefit::FreeItemOf { category, maximum: None } => format!("one unit of category {category} for nothing"),
            VoucherBenefit::FreeItemOf { category, maximum: Some(maximum) } => {
                format!("one unit of category {category} for nothing, worth {} at most", self.money(*maximum))
            }
            VoucherBenefit::FreeShipping => "free shipping".to_owned(),
            VoucherBenefit::Custom { key, text } => format!("{key} {text}").trim_end().to_owned(),
        };
        self.say(format!("It gives {gives}."));
        if !voucher.minimum_order.is_zero() {
            let minimum = self.money(voucher.minimum_order);
            self.say(format!("It asks for goods of {minimum} or more."));
        }
        let (first, last) = (self.local(voucher.valid_from_time), self.last_day(voucher.expire_time));
        self.say(format!("It is valid from {first} until the end of {last}."));
        if !reason.is_empty() {
            self.say(format!("Reason: {reason}"));
        }
    }
}

fn named(order: &OrderKey) -> String {
    format!("for order {} of store {}", order.order, order.store)
}
