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
        self.enter_newest_plan(Planning::Entered, changes)
    }

    /// The member has become one with another.
    pub(in crate::domain) fn plan_birthday_again(&mut self) -> Result<(), Rejection> {
        self.enter_newest_plan(Planning::Known, self.member.header.birthday.changes)
    }

    fn enter_newest_plan(&mut self, planning: Planning, changes: u32) -> Result<(), Rejection> {
        let programs = self.context.programs;
        self.enter_plan((programs.newest(), programs.birthday_version()), planning, changes, self.context.now)
    }

    /// Where there is nothing to plan, and was nothing, nothing is entered. `policy_version`: since which birthdays are as the programme says.
    fn enter_plan(
        &mut self,
        (program, policy_version): (&Program, u32),
        planning: Planning,
        changes: u32,
        instant: Timestamp,
    ) -> Result<(), Rejection> {
        let birthday = &self.member.header.birthday;
        if program.birthday.is_none() && birthday.next.is_none() {
            return Ok(());
        }
        let plan = self.planned(program, planning, instant)?;
        if plan == birthday.next && changes == birthday.changes && (plan.is_none() || birthday.policy_version == policy_version) {
            return Ok(());
        }
        let changed = BirthdayChanged { plan: Sealed::Open(plan), policy_version, changes, granted: None };
        self.enter(EntryKind::BirthdayChanged(Box::new(changed)), instant, program)
    }

    fn planned(&self, program: &Program, planning: Planning, instant: Timestamp) -> Result<Option<BirthdayPlan>, Rejection> {
        let date = self.member.person.as_ref().and_then(Sealed::open).and_then(|person| person.profile.birth_date);
        let (Some(policy), Some(date)) = (&program.birthday, date) else { return Ok(None) };
        Ok(policy.plan(&program.time_zone, date, &self.member.header.birthday, planning, instant)?)
    }

    /// Plans anew what was planned under other rules, by each that came since, as of when it came into force. What it takes must be loaded.
    /// `others`: when something else is due that goes before what comes later. `None`: nothing was planned.
    pub(super) fn enter_changed_policy(&mut self, others: Option<Timestamp>) -> Result<Option<Timestamp>, Rejection> {
        let programs = self.context.programs;
        let header = &self.member.header;
        let is_stale = header.birthday.policy_version != programs.birthday_version();
        if !is_stale || self.member.person.is_none() || self.require_somebody().is_err() || header.last_sequence == 0 {
            return Ok(None);
        }
        let (planned_by, changes, before) = (header.birthday.policy_version, header.birthday.changes, self.entries.len());
        let known_since = self.birthday_known_since();
        // What came and went before that was not about it, nor was what held until some instant before it.
        if known_since > self.context.now {
            return Ok(None);
        }
        let is_about_it = |program: &Program| program.takes_effect() >= known_since || program.version == programs.birthday_version();
        for program in programs.birthday_changes().filter(|program| program.version > planned_by && is_about_it(program)) {
            let instant = program.takes_effect().max(known_since).min(self.context.now);
            // What is due before that is given by the rules of then.
            let is_due_before = self.member.header.birthday.next.is_some_and(|plan| plan.due_time < instant);
            if is_due_before || others.is_some_and(|other| other < instant) {
                return Ok(None);
            }
            self.enter_plan((program, program.version), Planning::Known, changes, instant)?;
            if self.entries.len() > before {
                return Ok(Some(instant));
            }
        }
        Ok(None)
    }

    /// Since when versions are about the birthday: since the date is known, or since a merge, which planned by the newest.
    pub(super) fn birthday_known_since(&self) -> Timestamp {
        let header = &self.member.header;
        let merged = header.merged.last().map(|merged| merged.time);
        header.birthday.known_since.unwrap_or(header.create_time).max(merged.unwrap_or(Timestamp::MIN))
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
