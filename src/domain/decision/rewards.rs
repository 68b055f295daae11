//! Rewards: points go for vouchers because a member asks for it, and come back when one is cancelled.

use super::{
    super::{
        Entry, Points, Rejection, RewardFreed, RewardId, RewardPaid, RewardRejection, RewardStock, RewardTally, VoucherCause, VoucherCode,
        VoucherKind, calendar, reward,
        taking::{self, Taken, Taking},
    },
    Draft,
    vouchers::Paid,
};

impl Draft<'_> {
    /// So many of a reward of the version in effect, each by an entry of its own that takes the points, counts for the member, and takes one
    /// of the stock; all of them or none.
    pub(super) fn redeem_reward(&mut self, id: &RewardId, quantity: u32) -> Result<(), Rejection> {
        self.require_active()?;
        let (programs, now) = (self.context.programs, self.context.now);
        let program = programs.newest();
        let reward = program.rewards.get(id).ok_or_else(|| match programs.had_reward(id) {
            true => RewardRejection::NotOffered { reward: id.clone(), start_time: None, end_time: None },
            false => RewardRejection::NotFound { reward: id.clone() },
        })?;
        let mut stock = self.stock(id);
        let standing = reward.standing(program, &self.member.header, (stock, quantity), now)?;
        if let Some(first) = standing.why_not.into_iter().next() {
            return Err(first.into());
        }
        // A rule book names only kinds that it has.
        let kind = program.voucher_kind(&reward.voucher).ok_or_else(|| RewardRejection::NotFound { reward: id.clone() })?;
        let kind = VoucherKind { validity: reward.validity.unwrap_or(kind.validity), ..kind.clone() };
        let lots = Taking::of(program, &self.member, self.lots_left, now);
        let taken = lots.take_each(standing.points, quantity)?;
        if taken.len() < usize::try_from(quantity).unwrap_or(usize::MAX) {
            let requested = standing.points.0.checked_mul(i64::from(quantity)).map(Points).ok_or(Rejection::Overflow)?;
            return Err(taking::too_many(lots.within_reach()?, requested));
        }
        let today = calendar::local_date(&program.time_zone, now);
        for Taken { portions, next_expiry_time } in taken {
            self.lots_left = self.lots_left.saturating_sub(portions.len());
            stock = stock.with_one()?;
            let tally = RewardTally::with_one(self.member.header.rewards.get(id), today)?;
            let dropped = reward::dropped(program, &self.member.header, id);
            let paid = RewardPaid { reward: id.clone(), points: standing.points, portions, next_expiry_time, tally, stock, dropped };
            self.issue_voucher_for((program, &kind), (VoucherCause::Reward, "", Paid::ForReward(paid)), now)?;
        }
        Ok(())
    }

    /// What of a reward has been taken, with what the command has done so far.
    fn stock(&self, reward: &RewardId) -> RewardStock {
        let own = self.entries.iter().rev().filter_map(|entry| entry.voucher_change()?.reward_stock());
        let latest = own.into_iter().find(|(changed, _)| *changed == reward).map(|(_, stock)| stock);
        latest.or_else(|| self.context.history.stocks.get(reward).copied()).unwrap_or_default()
    }

    /// The entry that issued a voucher.
    pub(super) fn origin_of(&self, code: VoucherCode) -> Option<&Entry> {
        let is_origin = |entry: &&Entry| entry.voucher_change().is_some_and(|changed| changed.code == code);
        self.context.history.voucher(code).map(|thread| &thread.origin).or_else(|| self.entries.iter().find(is_origin))
    }

    /// What a voucher of a reward frees that is cancelled.
    pub(super) fn reward_freed(&self, code: VoucherCode) -> Result<Option<RewardFreed>, Rejection> {
        let Some(paid) = self.origin_of(code).and_then(|origin| origin.voucher_change()?.reward_paid()) else { return Ok(None) };
        // Who has been merged was counted with the one that stays. Of what was had long ago it may not be kept.
        let kept = self.member.header.rewards.get(&paid.reward);
        let tally = kept.map(|kept| kept.without_one(paid.tally.day)).transpose()?.flatten();
        let stock = self.stock(&paid.reward).without_one()?;
        Ok(Some(RewardFreed { reward: paid.reward.clone(), tally, stock }))
    }
}
