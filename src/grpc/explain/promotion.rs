//! Promotions in plain English.

use super::{MAX_STEPS, Story};
use crate::{
    domain::{Accrual, LimitKind, Points, PromotionAward, PromotionEffect},
    grpc::convert::{decimal, effect, whole_points},
};

impl Story<'_> {
    pub(super) fn promotions(&mut self, accrual: &Accrual) {
        for award in accrual.promotions.iter().take(MAX_STEPS) {
            self.promotion(award, accrual);
        }
        if accrual.promotions.len() > MAX_STEPS {
            self.say(format!("{} more promotions are in the entry's awards.", accrual.promotions.len() - MAX_STEPS));
        }
    }

    fn promotion(&mut self, award: &PromotionAward, accrual: &Accrual) {
        let name = match award.display_name.as_str() {
            "" => format!("Promotion {}", award.promotion),
            name => format!("Promotion {} ({name})", award.promotion),
        };
        let gives = effect(award, self.program);
        let offer = self.program.promotion(&award.promotion).and_then(|promotion| self.program.offer_of(promotion));
        let name = match offer {
            Some(offer) => format!("{name}, by offer {}", self.offer_name(&offer.id)),
            None => name,
        };
        let mut sentence = match &award.effect {
            PromotionEffect::Multiply { .. } => {
                let base = decimal(whole_points(award.basis, self.program));
                format!("{name}: {gives} the {base} points of the rules")
            }
            PromotionEffect::PerAmount { whole_blocks, .. } => {
                let whole = if *whole_blocks { ", whole amounts only," } else { "" };
                format!("{name}: {}{whole} at {gives}", self.money(award.basis))
            }
            PromotionEffect::Fixed { each_quantity: true, .. } => format!("{name}: {gives}, {} times", decimal(award.basis)),
            PromotionEffect::Fixed { each_quantity: false, .. } => format!("{name}: {gives}"),
            PromotionEffect::Voucher(_) if award.limit.is_none() => format!("{name}: a {gives}, by an entry that follows"),
            PromotionEffect::Voucher(_) => format!("{name}: a {gives}"),
        };
        if let Some(step) = &award.rounding {
            let more = if matches!(award.effect, PromotionEffect::Multiply { .. }) { " more" } else { "" };
            sentence.push_str(&format!(", gives {}{more}", self.rounding(step)));
        }
        sentence.push('.');
        if let Some(arm) = &award.arm {
            sentence.push_str(&format!(" The member is in arm {arm} of its trial."));
        }
        if let Some(limit) = award.limit {
            sentence.push_str(&format!(" {}", limited(limit)));
            if award.uncapped_points > Points::ZERO {
                sentence.push_str(&format!(": {} points became {}", self.points(award.uncapped_points), self.points(award.points)));
            }
            sentence.push('.');
        }
        sentence.push_str(&self.in_lot(award.lot, award.points, award.expiry, &accrual.lots));
        self.say(sentence);
    }
}

fn limited(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Minimum => "It gives a minimum",
        LimitKind::Maximum => "It gives a maximum with one sale",
        LimitKind::Cap => "Its cap for the member and period is reached",
        LimitKind::OncePerMember => "It gives only once to a member",
        LimitKind::Times => "The member has had it as often as it gives in the period",
        LimitKind::DailyCap => "What it gives in a day is used up",
        LimitKind::Budget => "Its budget is used up",
        LimitKind::Vouchers => "The member has as many vouchers as anybody may have",
        LimitKind::Control => "The arm is a control, which is given nothing",
    }
}
