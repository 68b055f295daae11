//! Rewards in plain English.

use super::{Story, allocations};
use crate::domain::{GoalRefund, RewardFreed, RewardId, RewardPaid};

impl Story<'_> {
    fn reward_name(&self, reward: &RewardId) -> String {
        match self.program.rewards.get(reward) {
            None => format!("reward {reward}"),
            Some(known) => format!("reward {reward} ({})", known.display_name),
        }
    }

    pub(super) fn reward_paid(&mut self, paid: &RewardPaid) {
        let (points, name) = (self.points(paid.points), self.reward_name(&paid.reward));
        self.say(format!("The member redeemed {name}, which cost {points} points."));
        self.taken(&allocations(&paid.portions));
        let (taken, name) = (paid.stock.taken, self.reward_name(&paid.reward));
        self.say(format!("It made {taken} of {name} that were taken and not cancelled, by all members together."));
    }

    pub(super) fn reward_refund(&mut self, freed: &RewardFreed, refund: &GoalRefund) {
        let (points, name) = (self.points(refund.points), self.reward_name(&freed.reward));
        self.say(format!("The {points} points that {name} cost came back."));
        self.debt_paid(refund.debt_paid);
        self.put_back(&refund.put_back);
        let (taken, name) = (freed.stock.taken, self.reward_name(&freed.reward));
        self.say(format!("It is free again with the stock and the member's limit; it left {taken} of {name} that were taken."));
    }
}
