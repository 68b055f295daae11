//! What members do beside buying, and what whoever referred them gets for it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::v1::expiry_policy::CountedActivity,
    domain::{ActivityRejection, ActivityRequest, EntryRef, MemberId, Recipient, Rejection},
};

use super::{
    Account, Act, Passed, What,
    book::{self, Book},
    earning::into_lot,
    facts::{Fact, Limit, Reward},
    months::Brought,
    referrals::{EarnedSaid, Given},
};

/// What was done, and whose part of it is looked at.
#[derive(Clone, Copy)]
pub struct Doing<'b> {
    pub activity: &'b str,
    pub reference: &'b str,
    pub referrer: Option<MemberId>,
    /// Who did it, where this is the one who referred that member, with that one's entry.
    pub referred: Option<(MemberId, u64)>,
    /// Whose rules count, as they were then.
    pub book: &'b Arc<Book>,
    pub since: Timestamp,
}

impl book::Doing {
    fn is_for(&self, activity: &str, time: Timestamp) -> bool {
        let [start, end] = [self.start, self.end];
        self.activity == activity && start.is_none_or(|start| start <= time) && end.is_none_or(|end| time < end)
    }
}

/// What is said of an activity that is known already, before anything else of it is looked at.
pub fn known(account: &Account, request: &ActivityRequest) -> Option<Rejection> {
    let find = |reference: Option<&str>| {
        account.first(account.done.get(&(request.activity.to_string(), reference.map(str::to_owned))).map_or(&[], Vec::as_slice))
    };
    let by_reference = find(Some(&request.reference)).map(|entry| (entry, false));
    let by_referral = request.referrer.as_ref().and_then(|_| find(None)).map(|entry| (entry, true));
    let (EntryRef { member, sequence: entry_sequence }, referred) = by_reference.or(by_referral)?;
    let activity = request.activity.clone();
    Some(ActivityRejection::Exists { activity, member, entry_sequence, referred }.into())
}

impl Act<'_> {
    pub fn do_beside(&mut self, request: &ActivityRequest) -> Result<(), Rejection> {
        let own = self.account.id.expect("it is enrolled");
        let referrer = request.referrer.as_ref().map(|referrer| match referrer {
            Recipient::Id(id) => *id,
            Recipient::Identifier(_) => panic!("members are called by their ids"),
        });
        if referrer == Some(own) {
            return Err(ActivityRejection::ReferralToSelf.into());
        }
        let occurred_time = request.occurred_time.unwrap_or(self.now);
        let newest = Arc::clone(self.books.newest());
        if self.now.duration_since(occurred_time) > SignedDuration::from_hours(24 * i64::from(newest.max_age_days)) {
            return Err(ActivityRejection::TooOld { occurred_time, max_age_days: newest.max_age_days }.into());
        }
        if occurred_time.duration_since(self.now) > SignedDuration::from_secs(newest.max_ahead_seconds.into()) {
            return Err(ActivityRejection::InFuture { occurred_time, max_ahead_seconds: newest.max_ahead_seconds }.into());
        }
        let named = |of_member: bool| {
            let book = self.books.at(occurred_time);
            book.doings.iter().any(|rule| rule.is_for(request.activity.as_str(), occurred_time) && rule.for_referrer != of_member)
        };
        let activity = request.activity.clone();
        let book = Arc::clone(self.books.at(occurred_time));
        let terms = book.referral.as_ref().filter(|terms| terms.activity == activity.as_str());
        match (named(true), named(false), referrer) {
            (false, false, _) => return Err(ActivityRejection::NotOffered { activity }.into()),
            (of_member, _, None) if !of_member || terms.is_some() => {
                return Err(ActivityRejection::ReferrerRequired { activity }.into());
            }
            _ => {}
        }
        self.require_active()?;
        let (activity, reference) = (activity.to_string(), request.reference.clone());
        let waits = terms.zip(referrer);
        if let Some((terms, referrer)) = waits {
            self.refer(&book, terms, request, referrer)?;
        } else {
            let (activity, reference) = (activity.as_str(), reference.as_str());
            let doing = Doing { activity, reference, referrer, referred: None, book: &book, since: occurred_time };
            self.reward(doing, occurred_time, None)?;
        }
        let sequence = self.account.sequence;
        if waits.is_none() {
            self.promote(occurred_time);
        }
        let entry = self.account.own(sequence);
        let last = self.account.did.entry(activity.clone()).or_insert(occurred_time);
        *last = occurred_time.max(*last);
        let done = Arc::make_mut(&mut self.account.done);
        done.entry((activity.clone(), Some(reference.clone()))).or_default().push(entry);
        if let Some(to) = referrer {
            done.entry((activity.clone(), None)).or_default().push(entry);
            let what = match waits {
                Some(_) => What::Waits,
                None => What::Referral { activity, reference, occurred_time },
            };
            self.passed = Some(Passed { to, from: own, sequence, what });
        }
        Ok(())
    }

    pub fn referred(&mut self, passed: &Passed, activity: &str, reference: &str, occurred_time: Timestamp) -> Result<(), Rejection> {
        self.is_there_to_refer()?;
        let (book, referred) = (Arc::clone(self.books.at(occurred_time)), Some((passed.from, passed.sequence)));
        let doing = Doing { activity, reference, referrer: None, referred, book: &book, since: occurred_time };
        self.reward(doing, occurred_time, None)?;
        self.promote(occurred_time);
        Ok(())
    }

    /// What the rules give to one of both. What a referral gives (`earned`) is nothing where it would be too much for a day.
    pub fn reward(&mut self, doing: Doing<'_>, occurred_time: Timestamp, mut earned: Option<EarnedSaid>) -> Result<Given, Rejection> {
        let Doing { activity, reference, referrer, referred, book, since } = doing;
        let day = book.date(occurred_time);
        let pending_counts = book.document.tier_policy.unwrap_or_default().qualify_pending;
        let tier = self.account.place_at(book, occurred_time);
        let (mut awards, mut lots, mut next) = (Vec::new(), Vec::new(), self.account.last_lot + 1);
        let mut capped = Vec::new();
        for rule in book.doings.iter().filter(|rule| rule.is_for(activity, since) && rule.for_referrer == referred.is_some()) {
            let had = |period| self.account.given.get(&(rule.id.clone(), period)).copied().unwrap_or(0);
            let (mut points, mut limit) = (rule.points, None);
            if let Some((cap, period)) = rule.cap {
                let left = (cap - had(book.period(day, period))).max(0);
                if points > left {
                    (points, limit) = (left, Some(Limit::Cap));
                }
            }
            if rule.once && points > 0 && had(None) > 0 {
                (points, limit) = (0, Some(Limit::Once));
            }
            let qualifying = if rule.qualifies { points } else { 0 };
            if points > 0 {
                let counted_in = rule.cap.map(|(_, period)| book.period(day, period));
                let for_ever = (rule.once && counted_in != Some(None)).then_some(None);
                capped.extend(counted_in.into_iter().chain(for_ever).map(|period| (rule.id.clone(), period, points)));
                let later = if pending_counts { 0 } else { qualifying };
                let policies = (book.expiry_in(tier, rule.expiry), rule.waits);
                into_lot(
                    &mut lots,
                    (book, &self.account.months, self.most_now(), self.now),
                    policies,
                    occurred_time,
                    (points, later),
                    &mut next,
                );
            }
            awards.push(Reward { rule: rule.id.clone(), uncapped: rule.points, limit, points, qualifying });
        }
        let counted = self.account.counted.clone();
        if let Err(refused) = self.watch_earning(occurred_time, 0, awards.iter().map(|it| it.points).sum()) {
            let (Some(earned), Rejection::FraudLimit(flag)) = (&mut earned, &refused) else { return Err(refused) };
            earned.refused = Some(flag.limit.name());
            (awards, lots, capped, self.account.counted) = (Vec::new(), Vec::new(), Vec::new(), counted);
        }
        for (rule, period, points) in &capped {
            *self.account.given.entry((rule.clone(), *period)).or_default() += points;
        }
        let later = self.collect_lots(&mut lots, occurred_time);
        let (points, qualifying) = (awards.iter().map(|it| it.points).sum(), awards.iter().map(|it| it.qualifying).sum::<i64>());
        self.account.qualifying += qualifying - later;
        self.count(occurred_time, qualifying - later, 0, 0);
        if qualifying != later {
            self.account.latest = self.account.latest.max(Some(occurred_time));
        }
        // A referral that waited was done before, and by the member alone.
        let is_deed = referred.is_none() && earned.is_none();
        let what = if is_deed { CountedActivity::Activity } else { CountedActivity::Unspecified };
        let given = Given { points, qualifying, lots, capped };
        let lots: Vec<_> = given.lots.iter().map(|lot| lot.said.clone()).collect();
        self.stir(what, Brought::with(lots.iter()), occurred_time);
        let (activity, reference) = (activity.to_owned(), reference.to_owned());
        let fact = Fact::Did { activity, reference, referrer, referred, points, qualifying, awards, lots, earned };
        self.enter(fact, occurred_time, book.version);
        Ok(given)
    }
}
