//! Birthdays: planned when the date or the rules change, rewarded by time.

use jiff::Timestamp;

use super::{
    super::{
        AccruedLot, BirthDate, BirthdayChanged, BirthdayGift, BirthdayGiven, BirthdayGranted, BirthdayMultiplier, BirthdayPlan, EntryKind,
        LotId, MemberState, Program, Rejection, Sealed, VoucherCause, birthday::Planning, expiry,
    },
    Draft,
};

impl Draft<'_> {
    /// A member may change its date so many times as the programme says; the first one is no change.
    pub(super) fn check_birth_date(&self, old: Option<BirthDate>, new: Option<BirthDate>) -> Result<bool, Rejection> {
        if old == new {
            return Ok(false);
        }
        let maximum = self.context.programs.newest().birthday.as_ref().and_then(|policy| policy.maximum_changes);
        match maximum {
            Some(maximum) if old.is_some() && self.member.header.birthday.changes >= maximum => {
                Err(Rejection::BirthDateChangesUsedUp { maximum })
            }
            Some(_) | None => Ok(true),
        }
    }

    /// The date was entered, changed, or removed.
    pub(super) fn plan_birthday(&mut self, is_change: bool) -> Result<(), Rejection> {
        let changes = self.member.header.birthday.changes.saturating_add(u32::from(is_change));
        self.enter_plan(Planning::Entered, changes, self.context.now)
    }

    /// The member has become one with another.
    pub(in crate::domain) fn plan_birthday_again(&mut self) -> Result<(), Rejection> {
        self.enter_plan(Planning::Known, self.member.header.birthday.changes, self.context.now)
    }

    /// Where there is nothing to plan, and was nothing, nothing is entered.
    fn enter_plan(&mut self, planning: Planning, changes: u32, instant: Timestamp) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let birthday = &self.member.header.birthday;
        if programs.newest().birthday.is_none() && birthday.next.is_none() {
            return Ok(());
        }
        let plan = self.planned(programs.newest(), planning, instant)?;
        if plan == birthday.next
            && changes == birthday.changes
            && (plan.is_none() || birthday.policy_version == programs.birthday_version())
        {
            return Ok(());
        }
        let policy_version = programs.birthday_version();
        let changed = BirthdayChanged { plan: Sealed::Open(plan), policy_version, changes, granted: None };
        self.enter(EntryKind::BirthdayChanged(Box::new(changed)), instant, programs.newest())
    }

    fn planned(&self, program: &Program, planning: Planning, instant: Timestamp) -> Result<Option<BirthdayPlan>, Rejection> {
        let date = self.member.person.as_ref().and_then(Sealed::open).and_then(|person| person.profile.birth_date);
        let (Some(policy), Some(date)) = (&program.birthday, date) else { return Ok(None) };
        Ok(policy.plan(&program.time_zone, date, self.member.header.birthday.last_year, planning, instant)?)
    }

    /// Plans anew what was planned under other rules, as of when they came into force. What it takes must be loaded. False: nothing was.
    pub(super) fn enter_changed_policy(&mut self) -> Result<bool, Rejection> {
        let programs = self.context.programs;
        let is_stale = self.member.header.birthday.policy_version != programs.birthday_version();
        if !is_stale || self.member.person.is_none() || self.require_somebody().is_err() || self.member.header.last_sequence == 0 {
            return Ok(false);
        }
        let since = programs.version(programs.birthday_version()).map_or(self.context.now, |program| program.publish_time);
        // What was due before that is given by the rules of then.
        if self.member.header.birthday.next.is_some_and(|plan| plan.due_time < since) {
            return Ok(false);
        }
        let before = self.entries.len();
        let instant = since.max(self.member.header.create_time).min(self.context.now);
        self.enter_plan(Planning::Known, self.member.header.birthday.changes, instant)?;
        Ok(self.entries.len() > before)
    }

    /// The birthday whose reward is due, if the person is loaded.
    pub(super) fn due_birthday(&self) -> Option<BirthdayPlan> {
        let plan = self.member.header.birthday.next.filter(|plan| plan.due_time <= self.context.now);
        plan.filter(|_| self.member.person.is_some())
    }

    /// The reward, or that there is none; and the next birthday. By the rules of then, which it was planned by.
    pub(super) fn enter_birthday(&mut self, due: BirthdayPlan) -> Result<(), Rejection> {
        let instant = due.due_time;
        let program = self.context.programs.at(instant);
        let header = &self.member.header;
        let tier = program.tier(header.tier.current().map(|held| &held.tier)).map(|tier| tier.id.clone());
        let gift = match &program.birthday {
            Some(policy) if header.state == MemberState::Active && policy.is_met(&program.time_zone, header, instant)? => {
                policy.gift(tier.as_ref())
            }
            Some(_) | None => None,
        };
        let given = match gift {
            None => None,
            Some(BirthdayGift::Voucher(kind)) => Some(BirthdayGiven::Voucher(kind.clone())),
            Some(BirthdayGift::Multiplier(multiplier)) => {
                Some(BirthdayGiven::Multiplier(BirthdayMultiplier { multiplier: *multiplier, start_time: instant, end_time: due.end_time }))
            }
            Some(BirthdayGift::Points { points, expiry }) => {
                let expiry = expiry::lot_expiry(*expiry, &program.time_zone, instant, instant)?;
                let id = LotId(header.last_lot.0.checked_add(1).ok_or(Rejection::Overflow)?);
                let debt_paid = header.balance.debt.min(*points);
                Some(BirthdayGiven::Points(AccruedLot { debt_paid, ..AccruedLot::new(id, *points, expiry) }))
            }
        };
        let changed = BirthdayChanged {
            plan: Sealed::Open(self.planned(program, Planning::After(due.year), instant)?),
            policy_version: header.birthday.policy_version,
            changes: header.birthday.changes,
            granted: given.map(|given| BirthdayGranted { year: due.year, tier, given }),
        };
        self.enter(EntryKind::BirthdayChanged(Box::new(changed)), instant, program)?;
        if let Some(BirthdayGift::Voucher(kind)) = gift
            && let Some(kind) = program.voucher_kind(kind)
        {
            self.issue_voucher((program, kind), VoucherCause::Birthday, "", instant)?;
        }
        Ok(())
    }
}
