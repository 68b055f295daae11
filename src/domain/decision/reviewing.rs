//! Tiers: what counts for them, what is reached, and what reviews make of it.

use jiff::{Timestamp, civil::Date};

use super::{
    super::{
        AccruedLot, Counted, EntryKind, Judge, LotId, MemberState, Program, Rejection, TierCause, TierChange, TierFloor, TierId, TierKept,
        TierRewarded, TierValidity, VoucherCause, calendar, expiry, tier,
    },
    Draft,
};

impl Draft<'_> {
    /// The day or month that an entry counts in.
    pub(super) fn counted(&mut self, kind: &EntryKind, occurred_time: Timestamp) -> Result<Option<Counted>, Rejection> {
        let programs = self.context.programs;
        let header = &self.member.header;
        // A return takes from what the sale counted in, and from what its referral's bonus did.
        if let EntryKind::PurchaseReturned(_) = kind {
            let day = self.sale_counted.take().filter(|day| header.tier_counts.has(*day));
            return Ok(day.map(|day| Counted { day, kept_since: None }));
        }
        if let EntryKind::ReferralTakenBack(_) = kind {
            // A sale is a visit, but of a bonus that was pending nothing was counted on its day: it was when it became active.
            let since = tier::kept_since(programs, Judge { program: programs.newest(), header }.day(self.context.now))?;
            let is_kept = |day: &Date| header.tier_counts.has(*day) || since.is_none_or(|since| since <= *day);
            return Ok(self.sale_counted.take().filter(is_kept).map(|day| Counted { day, kept_since: None }));
        }
        let program = if self.by_time { programs.at(occurred_time) } else { programs.newest() };
        if !program.tier_policy.keeps_counts() || !tier::qualifies(kind) {
            return Ok(None);
        }
        let judge = Judge { program, header };
        let occurred_day = judge.day(occurred_time);
        let Some(day) = judge.count_day(occurred_day) else { return Ok(None) };
        // What is entered late is entered as it would have been on time.
        let now = if self.by_time { occurred_time } else { self.context.now };
        let today = if now == occurred_time { occurred_day } else { judge.day(now) };
        let since = tier::kept_since(programs, today)?;
        if since.is_some_and(|since| day < since) {
            return Ok(None);
        }
        let kept_since = since.filter(|since| header.tier_counts.first_day().is_some_and(|first| first < *since));
        Ok(Some(Counted { day, kept_since }))
    }

    /// The day that a sale counts in for windows of segments, and that what comes back of it does. Once a version has had a window all are counted,
    /// so that no later one leaves a gap.
    pub(super) fn day_counted(&mut self, kind: &EntryKind, occurred_time: Timestamp) -> Result<Option<Counted>, Rejection> {
        let programs = self.context.programs;
        let counts = &self.member.header.day_counts;
        if let EntryKind::PurchaseReturned(_) = kind {
            let day = self.sale_day_counted.take().filter(|day| counts.has(*day));
            return Ok(day.map(|day| Counted { day, kept_since: None }));
        }
        if !matches!(kind, EntryKind::PurchaseAccrued(_)) || programs.segment_days() == 0 {
            return Ok(None);
        }
        let local = |instant| calendar::local_date(&programs.newest().time_zone, instant);
        // All that is due has been judged before, so that no window ends earlier than today, but by a clock that was set back.
        let kept = programs.segment_days().saturating_add(7);
        // Before the calendar begins there is nothing.
        let since = calendar::subtract_days(local(self.context.now), kept).ok();
        let day = local(occurred_time);
        if since.is_some_and(|since| day < since) {
            return Ok(None);
        }
        let kept_since = since.filter(|since| counts.first_day().is_some_and(|first| first < *since));
        Ok(Some(Counted { day, kept_since }))
    }

    /// Tier times never go back, however late a sale is reported.
    fn tier_start(&self, instant: Timestamp) -> Timestamp {
        self.member.header.tier.current().map_or(instant, |held| held.start_time.max(instant))
    }

    /// To the tier that the newest rule book gives, after an event at an instant.
    pub(in crate::domain) fn upgrade(&mut self, instant: Timestamp) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let newest = programs.newest();
        // What was due on time is entered as of then. What a late sale brings is judged by all that is known now.
        let now = if self.by_time && !self.is_now { instant } else { self.context.now };
        let header = &self.member.header;
        let Some(risen) = tier::risen(newest, header, instant, now)? else { return Ok(()) };
        let to = newest.tiers[risen.to.rank].id.clone();
        let start = match risen.cause {
            TierCause::Upgrade => tier::upgrade_start(programs, header, &to, instant),
            TierCause::Review | TierCause::Manual | TierCause::Return | TierCause::RuleBook => now,
        };
        let is_upgrade = risen.cause == TierCause::Upgrade;
        let change = TierChange {
            from: self.tier_held(newest),
            to,
            cause: risen.cause,
            reason: String::new(),
            end: risen.to.end,
            floor: None,
            reached_day: Some(risen.day).filter(|_| is_upgrade && newest.tier_policy.review_returns_at_once),
            review: None,
        };
        self.change_tier(change, start, newest, Some(risen.day).filter(|_| is_upgrade))
    }

    fn tier_held(&self, program: &Program) -> Option<TierId> {
        program.tier(self.member.header.tier.current().map(|held| &held.tier)).map(|tier| tier.id.clone())
    }

    /// `reward_day`: of a rise that is rewarded.
    fn change_tier(&mut self, change: TierChange, start: Timestamp, program: &Program, reward_day: Option<Date>) -> Result<(), Rejection> {
        let to = change.to.clone();
        let start = self.tier_start(start);
        self.enter(EntryKind::TierChanged(change), start, program)?;
        match reward_day {
            Some(day) => self.reward_entry(&to, day, start, program),
            None => Ok(()),
        }
    }

    /// What a member gets for having risen to a tier, once in a period.
    fn reward_entry(&mut self, to: &TierId, day: Date, instant: Timestamp, program: &Program) -> Result<(), Rejection> {
        let header = &self.member.header;
        let Some(reward) = program.tier(Some(to)).and_then(|tier| tier.entry_reward.as_ref()) else { return Ok(()) };
        let given = header.tier.rewards.iter().find(|given| given.tier == *to);
        let is_again = given.is_some_and(|given| given.until.is_none_or(|until| day < until));
        if is_again || header.state != MemberState::Active {
            return Ok(());
        }
        let policy = &program.tier_policy;
        let until = match policy.validity {
            _ if policy.window.has_periods() => Judge { program, header }.window(day)?.map(|window| window.end),
            TierValidity::Months(months) => Some(calendar::add_months(day, months)?),
            TierValidity::Unlimited | TierValidity::EndOfPeriod | TierValidity::EndOfNextPeriod => None,
        };
        let lot = |(points, expiry)| {
            let expires = expiry::lot_expiry(expiry, &program.time_zone, instant, instant)?;
            let id = LotId(header.last_lot.0.checked_add(1).ok_or(Rejection::Overflow)?);
            let debt_paid = header.balance.debt.min(points);
            Ok::<_, Rejection>(AccruedLot { debt_paid, ..AccruedLot::new(id, points, expires) })
        };
        let kind = reward.voucher.as_ref().and_then(|kind| program.voucher_kind(kind));
        let voucher = kind.map(|kind| kind.id.clone());
        let rewarded = TierRewarded { tier: to.clone(), until, lot: reward.points.map(lot).transpose()?, voucher };
        self.enter(EntryKind::TierRewarded(rewarded), instant, program)?;
        match kind {
            Some(kind) => self.issue_voucher((program, kind), VoucherCause::Tier, "", instant),
            None => Ok(()),
        }
    }

    pub(super) fn set_tier(&mut self, to: &TierId, reason: &str, last_date: Option<Date>) -> Result<(), Rejection> {
        let program = self.context.programs.newest();
        let now = self.context.now;
        if !program.tiers.iter().any(|tier| tier.id == *to) {
            return Err(Rejection::TierNotFound { tier: to.clone() });
        }
        let end = |date: Date| calendar::start_of_day(&program.time_zone, calendar::add_days(date, 1)?);
        let end_time = last_date.map(end).transpose()?;
        if end_time.is_some_and(|end| end <= now) {
            return Err(Rejection::TierEndPast);
        }
        let from = self.tier_held(program);
        let standing = &self.member.header.tier;
        let same_end = standing.floor.as_ref().and_then(|floor| floor.end_time) == end_time;
        if from.as_ref() == Some(to) && standing.is_on_floor() && same_end {
            return Err(Rejection::TierHeld { tier: to.clone() });
        }
        let change = TierChange {
            from,
            to: to.clone(),
            cause: TierCause::Manual,
            reason: reason.to_owned(),
            end: None,
            floor: Some(TierFloor { tier: to.clone(), end_time }),
            reached_day: Some(calendar::local_date(&program.time_zone, now)),
            review: None,
        };
        self.change_tier(change, now, program, None)
    }

    /// The next review that is due, with its instant.
    pub(super) fn next_review(&self) -> Option<Timestamp> {
        let header = &self.member.header;
        if !header.state.is_reviewed() {
            return None;
        }
        let status = header.tier.next_review_time().filter(|time| *time <= self.context.now);
        let change = tier::next_change(self.context.programs, header, self.context.now);
        status.into_iter().chain(change).min()
    }

    pub(super) fn enter_review(&mut self, time: Timestamp) -> Result<(), Rejection> {
        let header = &self.member.header;
        let programs = self.context.programs;
        // A late sale can lead to a tier that the rule book of then did not have.
        let has_tier = |program: &Program| header.tier.current().is_none_or(|held| program.tiers.iter().any(|tier| tier.id == held.tier));
        // Nor need the newest of an earlier turn have it, after a clock was set back behind the version that brought it.
        let program = [programs.at(time), programs.newest()].into_iter().find(|program| has_tier(program)).unwrap_or(programs.last());
        let judge = Judge { program, header };
        let held = judge.held();
        let is_status = header.tier.next_review_time() == Some(time);
        let (reviewed, cause) = match held.end.filter(|_| is_status) {
            Some(end) => (judge.review(held.rank, end)?, TierCause::Review),
            None if is_status => (judge.floor_ended(time)?, TierCause::Review),
            None => (judge.changed(time)?, TierCause::RuleBook),
        };
        let to = judge.tier(reviewed.to.rank).expect("what is reviewed has tiers, and no version takes one away").id.clone();
        let (end, review) = (reviewed.to.end, reviewed.review);
        if reviewed.to.rank == held.rank {
            return self.enter(EntryKind::TierKept(TierKept { tier: to, end, review }), time, program);
        }
        let rises = reviewed.to.rank > held.rank;
        let day = judge.day(time);
        let from = self.tier_held(program);
        let change = TierChange { from, to, cause, reason: String::new(), end, floor: None, reached_day: None, review: Some(review) };
        self.change_tier(change, time, program, Some(day).filter(|_| rises && cause == TierCause::RuleBook))
    }

    /// A return can leave less than the tier takes that was reached with the sale.
    pub(super) fn review_return(&mut self, sale: Timestamp) -> Result<(), Rejection> {
        let newest = self.context.programs.newest();
        let now = self.context.now;
        let Some(to) = tier::fallen(self.context.programs, &self.member.header, sale, now)? else { return Ok(()) };
        let change = TierChange {
            from: self.tier_held(newest),
            to: newest.tiers[to.rank].id.clone(),
            cause: TierCause::Return,
            reason: String::new(),
            end: to.end,
            floor: None,
            reached_day: None,
            review: None,
        };
        self.change_tier(change, now, newest, None)
    }
}
