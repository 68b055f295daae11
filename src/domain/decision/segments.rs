//! Segments: which ones a member is in is looked at after what changes the member, when a day comes on which a condition may turn, and when
//! another version of the rule book takes effect.

use jiff::Timestamp;

use super::{
    super::{EntryKind, Program, Rejection, SegmentsChanged, calendar, fold::sooner, segment},
    Draft,
};

impl Draft<'_> {
    /// When the member is to be looked at next, if by now: since a condition may turn, or since other rules have come into effect.
    pub(super) fn due_segments(&self) -> Option<Timestamp> {
        let changed = self.changed_segments().map(|(_, instant)| instant);
        sooner(self.member.header.segments.next_due_time, changed).filter(|due| *due <= self.context.now)
    }

    /// The next version under which segments are others than those that the member was looked at for, and as of when that counts. One that was
    /// over when the member came says nothing of it, and one without segments nothing of who is in none.
    fn changed_segments(&self) -> Option<(&Program, Timestamp)> {
        let programs = self.context.programs;
        let header = &self.member.header;
        let (judged_by, newest) = (header.segments.policy_version, programs.segment_version());
        if judged_by == newest || !header.state.is_reviewed() || header.last_sequence == 0 {
            return None;
        }
        let is_for = |program: &Program| !(program.segments.is_empty() && header.segments.are_none());
        if judged_by > newest {
            // A version that was in effect waits again by a clock that was set back, or has been replaced since: those count that hold now.
            let is_of_now = self.context.now == self.record_time;
            return Some((&**programs.newest(), self.context.now)).filter(|(program, _)| is_of_now && is_for(program));
        }
        let first = programs.segment_version_at(header.create_time).max(header.segments.policy_version.saturating_add(1));
        let next = programs.segment_changes().find(|program| program.version >= first && is_for(program))?;
        Some((next, next.takes_effect().max(header.create_time)))
    }

    /// Which version says of an instant who is in which segment. One that the member was judged by is not gone back
    /// from while it is in effect: a version that was published to hold at once does so however the clock is set.
    fn segments_at(&self, instant: Timestamp) -> &Program {
        let programs = self.context.programs;
        let (of_then, judged_by) = (programs.segment_version_at(instant), self.member.header.segments.policy_version);
        match programs.version(judged_by) {
            Some(program) if of_then < judged_by && judged_by <= programs.segment_version() => program,
            Some(_) | None => programs.at(instant),
        }
    }

    /// When something else is due next, as far as it bears on segments.
    pub(super) fn enter_segments_due(&mut self, due: Timestamp) -> Result<(), Rejection> {
        let changed = self.changed_segments().filter(|(_, instant)| *instant == due);
        let version = changed.map_or_else(|| self.segments_at(due).version, |(program, _)| program.version);
        self.judge_segments_by(version, due)
    }

    /// After what happened at an instant. What was due on time is looked at as of then, all else as of now.
    pub(super) fn settle_segments(&mut self, instant: Timestamp) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let is_on_time = self.by_time && !self.is_now;
        let (program, instant) = match is_on_time {
            // Never as of before it was looked at last.
            true => {
                let instant = instant.max(self.segments_judged).min(self.context.now);
                (self.segments_at(instant), instant)
            }
            false => (&**programs.newest(), self.context.now),
        };
        let header = &self.member.header;
        if (program.segments.is_empty() && header.segments.are_none()) || !header.state.is_reviewed() {
            return Ok(());
        }
        let version = program.version;
        self.judge_segments_by(version, instant)
    }

    /// After a command, and what it has brought.
    pub(in crate::domain) fn settle_segments_now(&mut self) -> Result<(), Rejection> {
        (self.by_time, self.is_now) = (true, true);
        let settled = self.settle_segments(self.context.now);
        self.by_time = false;
        settled
    }

    /// Before the member is nobody any more, or becomes a part of another.
    pub(in crate::domain) fn leave_segments(&mut self) -> Result<(), Rejection> {
        let segments = &self.member.header.segments;
        if segments.are_none() {
            return Ok(());
        }
        let left = segments.held.iter().map(|held| held.segment.clone()).collect();
        let (entered, policy_version) = (Vec::new(), segments.policy_version);
        let changed = SegmentsChanged { entered, left, policy_version, next_due_time: None, sizes: Vec::new() };
        self.by_time = true;
        let entered = self.enter_now(EntryKind::SegmentsChanged(changed));
        self.by_time = false;
        entered
    }

    /// Where nothing is other than before, and nothing comes sooner than what is kept, nothing is entered.
    fn judge_segments_by(&mut self, version: u32, instant: Timestamp) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let (program, version) = (programs.version(version).unwrap_or(programs.newest()), programs.segment_version_of(version));
        self.segments_judged = self.segments_judged.max(instant);
        let header = &self.member.header;
        let day = calendar::local_date(&program.time_zone, instant);
        let held = segment::judged(program, header, day);
        let next = segment::next_turn(program, header, day, &held);
        let next_due_time = next.map(|day| calendar::start_of_day(&program.time_zone, day)).transpose()?;
        let (entered, left) = header.segments.turned(&held);
        let kept = header.segments.next_due_time.filter(|kept| *kept > instant);
        let is_sooner = match (next_due_time, kept) {
            (Some(next), Some(kept)) => next < kept,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            // What was due has come, and nothing is to come.
            (None, None) => header.segments.next_due_time.is_some(),
        };
        if entered.is_empty() && left.is_empty() && version == header.segments.policy_version && !is_sooner {
            return Ok(());
        }
        let changed = SegmentsChanged { entered, left, policy_version: version, next_due_time, sizes: Vec::new() };
        self.enter(EntryKind::SegmentsChanged(changed), instant, program)
    }
}
