//! Activities: what members do beside buying, such as a review, a survey, a sign-up or a referral, and what it earns them. A referral earns
//! on two sides: for the member who does it, and for the one who referred that member.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::{
    AccruedLot, ActivityId, ActivityRejection, ActivityRequest, ActivityRule, Counter, Earner, EntryRef, Header, LimitKind, LotExpiry,
    LotId, MemberId, Overflow, PeriodStart, Points, Program, ProgramHistory, PurchaseTimePolicy, ReferralEarned, RuleId,
    accrual::{self, Limited, Lots},
    calendar, tier,
};

/// What an activity earned on one of its sides, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityAccrued {
    pub activity: ActivityId,
    /// What tells it from other activities of its kind that the member does.
    pub reference: String,
    pub side: ActivitySide,
    pub points: Points,
    pub qualifying_points: Points,
    /// One for each rule that names the activity and gives this side points; none: it earns nothing on this side.
    pub awards: Vec<ActivityAward>,
    /// The lots that hold the awards.
    pub lots: Vec<AccruedLot>,
    /// What counters stand at after it, for those that it touched.
    pub counters: Vec<Counter>,
    /// Counters that nothing that may still come can need.
    pub dropped_counters: Vec<(RuleId, PeriodStart)>,
    /// It is what a referral gave that waited for a purchase.
    pub referral: Option<Box<ReferralEarned>>,
}

/// Whose part of an activity an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivitySide {
    /// Of the member who does it.
    Member { referrer: Option<MemberId> },
    /// Of the one who referred that member, with the sequence of that member's entry.
    Referrer { member: MemberId, sequence: u64 },
}

/// One rule's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityAward {
    pub rule: RuleId,
    pub display_name: String,
    /// What the rule gives without limits.
    pub uncapped_points: Points,
    pub limit: Option<LimitKind>,
    pub points: Points,
    pub qualifying_points: Points,
    pub expiry: LotExpiry,
    /// The lot that holds the points; `None` where there are none.
    pub lot: Option<LotId>,
}

impl ActivityRule {
    fn holds_at(&self, instant: Timestamp) -> bool {
        self.start_time.is_none_or(|start| start <= instant) && self.end_time.is_none_or(|end| instant < end)
    }
}

impl ActivitySide {
    fn earner(self) -> Earner {
        match self {
            ActivitySide::Member { .. } => Earner::Member,
            ActivitySide::Referrer { .. } => Earner::Referrer,
        }
    }
}

impl ActivityAccrued {
    /// By what it is found again in its member's ledger, so that nothing earns twice: its reference, and, of an activity by which the member
    /// was referred, `None`. The referrer's side is not looked for, and of a referral that waited the entry that made it is.
    pub fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        let keys = match self.side {
            _ if self.referral.is_some() => [None, None],
            ActivitySide::Member { referrer: None } => [Some(Some(self.reference.as_str())), None],
            ActivitySide::Member { referrer: Some(_) } => [Some(Some(self.reference.as_str())), Some(None)],
            ActivitySide::Referrer { .. } => [None, None],
        };
        keys.into_iter().flatten()
    }

    /// As if no rule gave anything.
    pub(super) fn without_points(self) -> Self {
        let (points, qualifying_points) = (Points::ZERO, Points::ZERO);
        Self { points, qualifying_points, awards: Vec::new(), lots: Vec::new(), counters: Vec::new(), ..self }
    }

    /// The referrer's side of what a referral gave goes on with the other side's story, by which it is found.
    pub(super) fn continues(&self) -> Option<EntryRef> {
        match self.side {
            ActivitySide::Referrer { member, sequence } if self.referral.is_some() => Some(EntryRef { member, sequence }),
            ActivitySide::Referrer { .. } | ActivitySide::Member { .. } => None,
        }
    }

    pub fn is_found_by(&self, activity: &ActivityId, key: Option<&str>) -> bool {
        self.activity == *activity && self.keys().any(|own| own == key)
    }
}

/// Bounds how old and how far ahead an activity may be, as a purchase.
pub(super) fn check_time(policy: PurchaseTimePolicy, occurred_time: Timestamp, now: Timestamp) -> Result<(), ActivityRejection> {
    let PurchaseTimePolicy { max_age_days, max_ahead_seconds } = policy;
    match policy.judge(occurred_time, now) {
        Ordering::Less => Err(ActivityRejection::TooOld { occurred_time, max_age_days }),
        Ordering::Greater => Err(ActivityRejection::InFuture { occurred_time, max_ahead_seconds }),
        Ordering::Equal => Ok(()),
    }
}

/// Whether the rule book gives anything for an activity of an instant.
pub(super) fn check_offered(program: &Program, request: &ActivityRequest, occurred_time: Timestamp) -> Result<(), ActivityRejection> {
    let mut rules = rules(program, &request.activity, occurred_time).peekable();
    if rules.peek().is_none() {
        return Err(ActivityRejection::NotOffered { activity: request.activity.clone() });
    }
    let is_referral = program.referral.as_ref().is_some_and(|terms| terms.activity == request.activity);
    if request.referrer.is_none() && (is_referral || rules.all(|rule| rule.earner == Earner::Referrer)) {
        return Err(ActivityRejection::ReferrerRequired { activity: request.activity.clone() });
    }
    Ok(())
}

fn rules<'a>(program: &'a Program, activity: &'a ActivityId, time: Timestamp) -> impl Iterator<Item = &'a ActivityRule> {
    program.activity_rules.iter().filter(move |rule| rule.activity == *activity && rule.holds_at(time))
}

/// One side of an activity.
#[derive(Clone, Copy)]
pub(super) struct Done<'a> {
    pub activity: &'a ActivityId,
    pub reference: &'a str,
    pub side: ActivitySide,
    /// When: of a referral, before the purchase that earns it. The rules of then say what it earns.
    pub time: Timestamp,
    /// The version of the rule book of then.
    pub program: &'a Program,
}

/// What an activity earns on a side at an instant. Nothing that may still come occurred before `oldest`.
pub(super) fn accrue(
    programs: &ProgramHistory,
    header: &Header,
    Done { activity, reference, side, time, program }: Done<'_>,
    (occurred_time, now): (Timestamp, Timestamp),
    oldest: Timestamp,
) -> Result<ActivityAccrued, Overflow> {
    let date = calendar::local_date(&program.time_zone, occurred_time);
    let mut lots = Lots::new(program, header, occurred_time, (now, programs.newest_inactivity()));
    let mut accrued = ActivityAccrued {
        activity: activity.clone(),
        reference: reference.to_owned(),
        side,
        points: Points::ZERO,
        qualifying_points: Points::ZERO,
        awards: Vec::new(),
        lots: Vec::new(),
        counters: Vec::new(),
        dropped_counters: Vec::new(),
        referral: None,
    };
    for rule in rules(program, activity, time).filter(|rule| rule.earner == side.earner()) {
        let Limited { points, limit, counters } = accrual::limit(header, date, &rule.id, &rule.limits, rule.points)?;
        let qualifying_points = if rule.qualifying { points } else { Points::ZERO };
        let waits = if program.tier_policy.qualify_pending { Points::ZERO } else { qualifying_points };
        let expires = tier::expiry_in_tier(program, header.tier.at(occurred_time), rule.expiry, rule.has_own_expiry);
        let (lot, expiry) = lots.add(points, expires, rule.activation, waits)?;
        accrued.points = accrued.points.plus(points)?;
        accrued.qualifying_points = accrued.qualifying_points.plus(qualifying_points)?;
        accrued.counters.extend(counters.into_iter().map(|(period, points)| Counter { rule: rule.id.clone(), period, points }));
        accrued.awards.push(ActivityAward {
            rule: rule.id.clone(),
            display_name: rule.display_name.clone(),
            uncapped_points: rule.points,
            limit,
            points,
            qualifying_points,
            expiry,
            lot,
        });
    }
    accrued.lots = lots.debt_paid(header.balance.debt)?;
    accrued.dropped_counters = accrual::dropped_counters(programs, header, &accrued.counters, oldest);
    Ok(accrued)
}
