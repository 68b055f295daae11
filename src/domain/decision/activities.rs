//! Activities, on both of their sides.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    super::{
        ActivityAccrued, ActivityId, ActivityRejection, ActivityRequest, ActivitySide, Entry, EntryKind, FraudLimit, Recipient, Rejection,
        activity::{self, Done},
        fraud,
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
        let program = self.context.programs.at(occurred_time);
        activity::check_offered(program, request, occurred_time)?;
        self.require_active()?;
        let waiting = program.referral.as_ref().filter(|terms| terms.activity == request.activity);
        if let (Some(terms), Some(referrer)) = (waiting, referrer) {
            return self.refer((program, terms), request, referrer, occurred_time);
        }
        self.earn_by((&request.activity, &request.reference, ActivitySide::Member { referrer }), occurred_time)
    }

    /// Who referred another member gets a part of what that one did.
    pub(super) fn referred(&mut self, sent: &Entry, accrued: &ActivityAccrued) -> Result<(), Rejection> {
        self.require_referrer()?;
        let side = ActivitySide::Referrer { member: sent.key.member, sequence: sent.sequence };
        self.earn_by((&accrued.activity, &accrued.reference, side), sent.occurred_time)
    }

    fn earn_by(
        &mut self,
        (activity, reference, side): (&ActivityId, &str, ActivitySide),
        occurred_time: Timestamp,
    ) -> Result<(), Rejection> {
        let programs = self.context.programs;
        let (header, oldest) = (&self.member.header, self.oldest());
        let done = Done { activity, reference, side, time: occurred_time, program: programs.at(occurred_time) };
        let accrued = activity::accrue(programs, header, done, (occurred_time, self.context.now), oldest)?;
        self.watched = fraud::watch(programs, header, occurred_time, oldest, &[(FraudLimit::PointsPerDay, accrued.points.0)])?;
        self.enter(EntryKind::ActivityAccrued(Arc::new(accrued)), occurred_time, programs.at(occurred_time))?;
        self.upgrade(occurred_time)
    }
}
