//! The part of deciding that is about members who are erased.

use crate::domain::{EntryKind, MemberState, Rejection, ReleaseCause, hold};

use super::Draft;

impl Draft<'_> {
    pub(super) fn require_somebody(&self) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active | MemberState::Suspended => Ok(()),
            MemberState::Merged { .. } => Err(Rejection::MemberNotFound),
            MemberState::Erased => Err(Rejection::MemberErased),
        }
    }

    /// Nobody is left to capture what is held. What has lapsed meanwhile lapses, so that the member is as it will stay when it goes.
    pub(super) fn end_holds(&mut self) -> Result<(), Rejection> {
        self.by_time = true;
        while let Some(hold) = self.member.holds.values().next() {
            let released = hold::release(self.zone(), &self.member, hold, (ReleaseCause::Erased, ""), self.context.now)?;
            self.enter_now(EntryKind::HoldReleased(released))?;
            self.hold_end = self.hold_end.max(self.context.now);
        }
        // Who goes gets nothing more.
        self.earned = None;
        self.enter_what_it_brought()
    }
}
