//! Referrals in plain English.

use super::Story;
use crate::domain::{ActivitySide, FraudLimit, Points, PurchaseAccrued, Referral, ReferralEarned, ReferralTakenBack, ReferrerAbsent};

impl Story<'_> {
    pub(super) fn referral_made(mut self, made: &Referral) -> Vec<String> {
        let Referral { referrer, activity, reference, .. } = made;
        self.say(format!("Member {referrer} referred the member: activity {activity} with reference {reference}."));
        let least = match made.minimum_amount.is_zero() {
            true => "more than nothing".to_owned(),
            false => format!("{} or more", self.money(made.minimum_amount)),
        };
        let until = made.until.map_or_else(String::new, |until| format!(", before {}", self.local(until)));
        self.say(format!("Both sides get their points with the first purchase whose basis is {least}{until}."));
        self.said
    }

    /// Of an activity that is what a referral gave.
    pub(super) fn referral_earned(&mut self, earned: &ReferralEarned, side: ActivitySide) {
        let sale = earned.sale;
        let order = earned.order.as_ref().map_or_else(String::new, |order| format!(", order {} of store {}", order.order, order.store));
        let whose = match side {
            ActivitySide::Member { .. } => "the member's".to_owned(),
            ActivitySide::Referrer { member, .. } => format!("member {member}'s"),
        };
        let referred = self.local(earned.referral.occurred_time);
        self.say(format!(
            "It was earned by {whose} purchase in entry {} of member {}{order}; the referral was made on {referred}.",
            sale.sequence, sale.member
        ));
        if let Some(limit) = earned.refused {
            let limit = FraudLimit::name(limit);
            self.say(format!(
                "It gives nothing here: that would exceed the limit {limit}, which refuses. The purchase was recorded all the same."
            ));
        }
        if let Some(absent) = earned.absent {
            let absent = match absent {
                ReferrerAbsent::Suspended => "suspended",
                ReferrerAbsent::Erased => "erased",
            };
            self.say(format!("Who referred the member gets nothing: that one is {absent}."));
        }
    }

    /// Of an exchange that goes on with what a referral gave.
    pub(super) fn shared_referral(&mut self, accrued: &PurchaseAccrued) {
        let Some((bonus, basis)) = accrued.referral.zip(accrued.referral_basis) else { return };
        let basis = self.money(basis);
        self.say(format!(
            "It goes on with what a referral gave in entry {} of member {}: the goods kept for that have a basis of {basis}, with these.",
            bonus.sequence, bonus.member
        ));
    }

    pub(super) fn referral_taken_back(mut self, back: &ReferralTakenBack) -> Vec<String> {
        let given = back.bonus;
        let points = self.points(back.points);
        self.say(format!(
            "{points} points of a referral are taken back, which entry {} of member {} had given.",
            given.sequence, given.member
        ));
        let whose = match back.side {
            ActivitySide::Member { .. } => "the member's own purchase".to_owned(),
            ActivitySide::Referrer { member, sequence } => format!("the purchase of member {member}, see entry {sequence} there"),
        };
        self.say(format!(
            "What is left of {whose}, order {} of store {}, and of what was taken in exchange, is less than the referral asks for.",
            back.order.order, back.order.store
        ));
        if let ActivitySide::Member { .. } = back.side {
            self.say("The referral waits again, as long as it would have without that purchase.".to_owned());
        }
        let pending: i64 = back.from_pending.iter().map(|taken| taken.points.0).sum();
        let sum = |taken: &[crate::domain::Allocation]| taken.iter().map(|taken| taken.points.0).sum::<i64>();
        let parts = [
            (pending, "from points that were pending"),
            (sum(&back.from_bonus), "from the points of the referral"),
            (sum(&back.from_others), "from other lots"),
            (back.debt.0, "are owed now"),
            (back.forgiven.0, "are let go"),
            (back.withheld.0, "are for the cashier to withhold"),
        ];
        for (points, what) in parts.into_iter().filter(|(points, _)| *points > 0) {
            let points = self.points(Points(points));
            self.say(format!("{points} {what}."));
        }
        if !back.reason.is_empty() {
            self.say(format!("Reason: {}", back.reason));
        }
        self.said
    }
}
