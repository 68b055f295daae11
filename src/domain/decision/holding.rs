//! Holds: points set aside, captured, and given back.

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::domain::{
    CaptureRequest, Entry, EntryKind, EntryRef, Hold, HoldId, HoldRequest, Numbered, Points, Portion, Redeemed, Rejection, ReleaseCause,
    hold, redemption,
};

use super::Draft;

impl Draft<'_> {
    pub(super) fn hold(&mut self, request: &HoldRequest) -> Result<(), Rejection> {
        self.require_active()?;
        let held = hold::hold(self.context.programs.newest(), &self.member, request, self.context.now)?;
        self.enter_now(EntryKind::PointsHeld(held))
    }

    pub(super) fn capture_hold(&mut self, request: &CaptureRequest) -> Result<(), Rejection> {
        self.require_active()?;
        self.capture(request, self.context.now).map(|_| ())
    }

    /// Redeems out of a hold; the entry, and what the points are worth.
    pub(super) fn capture(&mut self, request: &CaptureRequest, occurred_time: Timestamp) -> Result<(EntryRef, Decimal), Rejection> {
        let hold = self.open_hold(request.hold)?.clone();
        let (portions, captured) = hold::capture(self.zone(), &self.member, (&hold, request), self.context.now)?;
        let points = Portion::total(&portions)?;
        let newest = self.context.programs.newest();
        // Worth what was promised when they were set aside.
        let value = hold.share(points, newest.currency.digits())?;
        redemption::require_worth(value, points)?;
        let redeemed = Redeemed {
            points,
            value,
            order: request.order.clone().or(hold.order),
            reference: if request.reference.is_empty() { hold.reference } else { request.reference.clone() },
            owed: Points::ZERO,
            portions,
            captured: Some(captured),
            next_expiry_time: None,
        };
        self.enter(EntryKind::PointsRedeemed(redeemed), occurred_time, newest)?;
        self.hold_end = self.hold_end.max(self.context.now);
        Ok((self.own(self.member.header.last_sequence), value))
    }

    fn open_hold(&self, hold: HoldId) -> Result<&Hold, Rejection> {
        self.find_hold(hold).ok_or_else(|| match self.end_of(hold) {
            Ok(end) => {
                let captured = matches!(end.kind, EntryKind::PointsRedeemed(_));
                Rejection::HoldEnded { hold, captured, entry_sequence: end.sequence }
            }
            Err(rejection) => rejection,
        })
    }

    /// One that is open. The number may mean a hold of a member that was merged into this one, which has ended.
    fn find_hold(&self, hold: HoldId) -> Option<&Hold> {
        self.member.holds.get(&hold).filter(|_| self.held_by(hold) == self.own(hold.0))
    }

    /// The entry that a number of a hold means.
    fn held_by(&self, hold: HoldId) -> EntryRef {
        self.context.history.numbers.get(&Numbered::Hold(hold)).copied().unwrap_or(self.own(hold.0))
    }

    /// The entry that ended a hold that is not open.
    fn end_of(&self, hold: HoldId) -> Result<&Entry, Rejection> {
        // The number may be that of an entry that issued a voucher, with which something else goes on.
        let ends = |entry: &&Entry| matches!(entry.kind, EntryKind::HoldReleased(_) | EntryKind::PointsRedeemed(_));
        let here = self.entries.iter().filter(ends).find(|entry| entry.continues() == Some(self.held_by(hold)));
        let before = || {
            let thread = self.context.history.named(Numbered::Hold(hold))?;
            thread.latest.as_ref().filter(|_| matches!(thread.origin.kind, EntryKind::PointsHeld(_)))
        };
        here.or_else(before).ok_or(Rejection::HoldNotFound { hold })
    }

    /// One that was given back already stays so, whoever asks for it.
    pub(super) fn release_hold(&mut self, id: HoldId, reason: &str) -> Result<(), Rejection> {
        if let Some(hold) = self.find_hold(id) {
            let released = hold::release(self.zone(), &self.member, hold, (ReleaseCause::Request, reason), self.context.now)?;
            self.hold_end = self.hold_end.max(self.context.now);
            return self.enter_now(EntryKind::HoldReleased(released));
        }
        let end = self.end_of(id)?;
        if let EntryKind::PointsRedeemed(_) = end.kind {
            return Err(Rejection::HoldEnded { hold: id, captured: true, entry_sequence: end.sequence });
        }
        self.done_before = Some(end.clone());
        Ok(())
    }
}
