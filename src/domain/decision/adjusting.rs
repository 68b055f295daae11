//! Adjustments, which fraud limits count for whoever makes them.

use super::{
    super::{Adjustment, EntryKind, Rejection, adjustment, fraud},
    Draft,
};

impl Draft<'_> {
    pub(super) fn adjust(&mut self, request: &Adjustment) -> Result<(), Rejection> {
        self.require_active()?;
        let (newest, now) = (self.context.programs.newest(), self.context.now);
        let adjusted = adjustment::adjust(newest, &self.member, request, now)?;
        if self.context.actor.is_some() {
            self.watched = fraud::watch_adjustment(newest, self.context.operator, request.points, now)?;
        }
        self.enter_now(EntryKind::PointsAdjusted(adjusted))?;
        self.upgrade(now)
    }
}
