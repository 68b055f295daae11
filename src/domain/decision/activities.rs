//! Activities, on both of their sides.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    super::{
        ActivityAccrued, ActivityId, ActivityRejection, ActivityRequest, ActivitySide, Entry, EntryKind, FraudLimit, MemberState,
        Recipient, Rejection, activity, fraud,
    },
    Draft,
};

impl Draft<'_> {
    pub(super) fn record_activity(&mut self, request: &ActivityRequest) -> Result<(), Rejection> {
        let referrer = match request.referrer {
            None => None,
            Some(Recipient::Id(referrer)) if referrer == self.member.key.member => return Err(ActivityRejection::ReferralToSelf.into()),
            Some(Recipient::Id(referrer)) => Some(referrer),
            Some(Recipient::Identifier(_)) => return Err(ActivityRejection::ReferrerNotFound.into()),
        };
        let occurred_time = request.occurred_time.unwrap_or(self.context.now);
        activity::check_time(self.context.programs.newest().purchase_time, occurred_time, self.context.now)?;
        activity::check_offered(self.context.programs.at(occurred_time), request)?;
        self.require_active()?;
        self.earn_by((&request.activity, &request.reference, ActivitySide::Member { referrer }), occurred_time)
    }

    /// Who referred another member gets a part of what that one did.
    pub(super) fn referred(&mut self, sent: &Entry, accrued: &ActivityAccrued) -> Result<(), Rejection> {
        match self.member.header.state {
            MemberState::Active => {}
            MemberState::Suspended => return Err(Rejection::ReferrerSuspended),
            MemberState::Merged { .. } => return Err(ActivityRejection::ReferrerNotFound.into()),
            MemberState::Erased => return Err(Rejection::ReferrerErased),
        }
        let side = ActivitySide::Referrer { member: sent.key.member, sequence: sent.sequence };
        self.earn_by((&accrued.activity, &accrued.reference, side), sent.occurred_time)
    }

    fn earn_by(&mut self, side: (&ActivityId, &str, ActivitySide), occurred_time: Timestamp) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let (header, oldest) = (&self.member.header, self.oldest());
        let accrued = activity::accrue(programs, header, side, occurred_time, oldest)?;
        self.watched = fraud::watch(programs, header, occurred_time, oldest, &[(FraudLimit::PointsPerDay, accrued.points.0)])?;
        self.enter(EntryKind::ActivityAccrued(Arc::new(accrued)), occurred_time, programs.at(occurred_time))?;
        self.upgrade(occurred_time)
    }
}
