//! What time alone brings, in order of time.

use jiff::Timestamp;

use super::{
    super::{
        EarlierTurn, Entry, EntryKind, MonthRecord, Program, ProgramHistory, Rejection, ReleaseCause, Sealed, activation, expiry, hold,
        voucher,
    },
    Context, Draft,
};

impl Draft<'_> {
    /// Where the entry sets the clock of the points that lapse with inactivity, if it does, and what it makes of the months that are counted for
    /// those that lapse by them, but for when. What is entered late is entered as it would
    /// have been on time, by the version that gave the points: one can be newer than what they are given for, and the first that lets points
    /// lapse so.
    pub(super) fn inactivity(
        &self,
        kind: &EntryKind,
        occurred_time: Timestamp,
        program: &Program,
    ) -> Result<(Option<Timestamp>, Option<MonthRecord>), Rejection> {
        let header = &self.member.header;
        if let EntryKind::MergedFrom(got) = kind {
            return Ok((got.inactivity.lapse_time.filter(|time| header.inactivity.lapse_time != Some(*time)), None));
        }
        let programs = self.context.programs;
        // What a command brings beside itself is of now, whenever it was due.
        let is_of_then = self.by_time && !self.is_now;
        let (program, now) = if is_of_then { (program, occurred_time) } else { (&**programs.newest(), self.context.now) };
        let Some((rules, policy)) = programs.inactivity(program.version) else { return Ok((None, None)) };
        let mut tier = header.tier.current().map(|held| &held.tier);
        if let EntryKind::MergedInto(_) = kind {
            // Whoever goes has nothing more that could lapse.
            return Ok((None, None));
        } else if let EntryKind::TierChanged(change) = kind {
            tier = Some(&change.to);
        }
        let pauses = program.tier(tier).is_some_and(|tier| tier.pauses_inactivity);
        let zone = &rules.time_zone;
        let months = header.inactive_months.moved_by(kind, (policy, pauses, header.has_held()), zone, (occurred_time, now))?;
        Ok((header.inactivity.moved_by(kind, (policy, pauses), zone, occurred_time, now)?, months))
    }

    /// When the first of the points lapse that do so by months is known behind the entry, which has brought or taken some.
    pub(super) fn enter_months(&mut self, entry: &mut Entry, months: Option<MonthRecord>) -> Result<(), Rejection> {
        let header = &mut self.member.header;
        let (programs, old) = (self.context.programs, &header.inactive_months);
        if months.is_none() && old.record.latest.is_none() {
            return Ok(());
        }
        let Some((rules, _)) = programs.inactivity(programs.newest().version) else { return Ok(()) };
        let mut record = months.unwrap_or_else(|| old.record.clone());
        record.lapse_time = old.first_end(&record, &rules.time_zone)?;
        if record != old.record {
            header.inactive_months.record.clone_from(&record);
            entry.inactive_months = Some(Box::new(record));
        }
        Ok(())
    }

    /// False: something is due still, since more than so many lots have lapsed.
    pub(in crate::domain) fn enter_what_is_due(&mut self, lapses: usize) -> Result<bool, Rejection> {
        self.by_time = true;
        self.lapses_left = lapses;
        if !self.is_now {
            self.enter_what_was_due_earlier()?;
        }
        while !self.still_due && self.enter_next_due()? {}
        self.by_time = false;
        // What was kept from lapsing has lapsed. What a command brings was not, and lapses in its own time, whoever has entered what was due.
        self.hold_end = Timestamp::MIN;
        Ok(!self.still_due)
    }

    /// What was due before another version of the rule book took effect is entered as it would have been on time: by all that held until
    /// then, and before anything that the other version asks for.
    fn enter_what_was_due_earlier(&mut self) -> Result<(), Rejection> {
        let context = self.context;
        let person = self.member.person.as_ref().and_then(Sealed::open);
        let has_birthday = person.is_some_and(|person| person.profile.birth_date.is_some());
        let (mut from, mut last) = (0, None);
        while !self.still_due
            && let Some((place, programs, until)) = context.programs.next_turn(from, context.now, self.earlier_turn(has_birthday, last))
        {
            self.context = Context { programs, now: until, ..context };
            while !self.still_due && self.enter_next_due()? {}
            (from, last) = (place + 1, Some(programs));
        }
        self.context = context;
        Ok(())
    }

    /// `last`: as it stood when the member had its last turn.
    fn earlier_turn(&self, has_birthday: bool, last: Option<&ProgramHistory>) -> EarlierTurn {
        let header = &self.member.header;
        // Where the rules of a turn have led to no plan, nothing is entered that says so.
        let planned = header.birthday.policy_version.max(last.map_or(0, ProgramHistory::birthday_version));
        EarlierTurn {
            due: header.next_due_time(),
            planned: has_birthday.then(|| (planned, self.birthday_known_since())),
            // A member of whom nothing is due is looked at under other rules by the schedule. Of whom something is entered, that comes first.
            looked_at: (!self.entries.is_empty()).then(|| last.map_or(0, ProgramHistory::walk_version)),
        }
    }

    /// What a command has brought that was due before it, or is due with it.
    pub(super) fn enter_what_it_brought(&mut self) -> Result<(), Rejection> {
        self.is_now = true;
        self.enter_what_is_due(usize::MAX).map(|_| ())
    }

    /// The next of what is due, and what goals and segments make of it. Segments come last of what is due at the same instant. False: nothing is
    /// due, or nothing that may be entered.
    fn enter_next_due(&mut self) -> Result<bool, Rejection> {
        let segments = match self.due_segments() {
            Some(due) if self.next_but_segments()?.is_none_or(|other| due < other) => Some(due),
            Some(_) | None => None,
        };
        let other = match segments {
            // By other rules a birthday may be planned anew before that.
            Some(due) => self.enter_changed_policy(Some(due))?,
            None => self.enter_one_due()?,
        };
        let instant = match (other, segments) {
            (Some(instant), _) => instant,
            (None, Some(due)) => {
                self.enter_segments_due(due)?;
                return Ok(true);
            }
            (None, None) => return Ok(false),
        };
        self.settle_goal(instant)?;
        self.settle_segments(instant)?;
        Ok(true)
    }

    /// When anything is due next that could bear on segments.
    fn next_but_segments(&self) -> Result<Option<Timestamp>, Rejection> {
        let now = self.context.now;
        let activation = activation::next_activation(&self.member, now)?.map(|(_, time)| time);
        let ended = hold::next_end(&self.member, now).map(|hold| hold.expire_time);
        let lapse = expiry::next_lapse(&self.member, now, self.lapses_left).map(|(_, time)| time.max(self.hold_end));
        let voucher = voucher::next_due(&self.member, now).map(|(_, due)| due);
        let birthday = self.due_birthday().map(|plan| plan.due_time);
        let all = [activation, ended, lapse, self.next_review(), self.due_goal(), voucher, birthday];
        Ok(all.into_iter().flatten().min())
    }

    /// Of what is due at the same instant pending points become active first, then the tier is reviewed, and lots lapse last: a hold that
    /// ends when a lot lapses has kept its points until then. Goals come after points, vouchers after goals, and birthdays after vouchers; a
    /// birthday is planned anew by other rules before all of that. What has just come back, and has lapsed, the header does not know of: it
    /// lapses with this commit in any case. `None`: nothing is due, or nothing that may be entered.
    fn enter_one_due(&mut self) -> Result<Option<Timestamp>, Rejection> {
        let (now, programs) = (self.context.now, self.context.programs);
        let activation = activation::next_activation(&self.member, now)?;
        let ended = hold::next_end(&self.member, now).cloned();
        let lapse = expiry::next_lapse(&self.member, now, self.lapses_left).map(|(expired, instant)| (expired, instant.max(self.hold_end)));
        let activates = activation.as_ref().map(|(_, time)| *time);
        let others = [activates, ended.as_ref().map(|hold| hold.expire_time), lapse.as_ref().map(|(_, time)| *time), self.next_review()];
        let voucher = voucher::next_due(&self.member, now).map(|(voucher, due)| (voucher.code, due));
        let goal = self.due_goal();
        let before_birthdays = others.into_iter().chain([goal, voucher.map(|(_, due)| due)]).flatten().min();
        if let Some(planned) = self.enter_changed_policy(before_birthdays)? {
            return Ok(Some(planned));
        }
        if let Some(birthday) = self.due_birthday()
            && before_birthdays.is_none_or(|other| birthday.due_time < other)
        {
            self.enter_birthday(birthday)?;
            return Ok(Some(birthday.due_time));
        }
        if let Some((code, due)) = voucher
            && others.into_iter().chain([goal]).flatten().all(|other| due < other)
        {
            self.enter_voucher_due((code, due))?;
            return Ok(Some(due));
        }
        if let Some(due) = goal
            && others.into_iter().flatten().all(|other| due < other)
        {
            return self.enter_goal_due(due);
        }
        let lapses_before = |time: Timestamp| lapse.as_ref().is_some_and(|(_, lapse)| *lapse < time);
        if let Some(time) = self.next_review()
            && !lapses_before(time)
            && activation.as_ref().is_none_or(|(_, other)| *other > time)
            && ended.as_ref().is_none_or(|hold| hold.expire_time >= time)
        {
            self.enter_review(time)?;
            return Ok(Some(time));
        }
        if let Some((activated, time)) = activation
            && !lapses_before(time)
            && ended.as_ref().is_none_or(|hold| hold.expire_time >= time)
        {
            self.enter(EntryKind::PointsActivated(activated), time, programs.at(time))?;
            self.hold_end = self.hold_end.max(time);
            self.upgrade(time)?;
            Ok(Some(time))
        } else if let Some(hold) = ended
            && !lapses_before(hold.expire_time)
        {
            let end = hold.expire_time;
            let released = hold::release(self.zone(), &self.member, &hold, (ReleaseCause::Expired, ""), end)?;
            self.enter(EntryKind::HoldReleased(released), end, programs.at(end))?;
            self.hold_end = self.hold_end.max(end);
            Ok(Some(end))
        } else if let Some((expired, time)) = lapse {
            if self.lapses_left == 0 && self.member.header.next_lapse_time().is_some_and(|next| next <= now) {
                self.still_due = true;
                return Ok(None);
            }
            self.lapses_left = self.lapses_left.saturating_sub(expired.allocations.len());
            self.enter(EntryKind::PointsExpired(expired), time, programs.at(time))?;
            Ok(Some(time))
        } else {
            Ok(None)
        }
    }
}
