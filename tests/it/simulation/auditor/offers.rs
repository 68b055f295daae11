//! Offers: the times for which a member was given each, and for which it was activated, in two lists; whether the member has one is looked up in them
//! whenever it is asked.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{self, offer::Gift},
    domain::{OfferChange, OfferChanged, OfferId, OfferRejection, OfferRequest, Rejection, TierId, VoucherCause, VoucherRejection},
};

use super::{
    Account, Act, Books,
    book::{Book, days_later},
    facts::{Change, Fact},
    rewards::{MANY_VOUCHERS, next_period, time},
};

/// So many times that an offer was given are remembered, and as many that it was activated.
const MANY_TIMES: usize = 4;

/// From then on, and until then, exclusive.
pub type Time = (Timestamp, Option<Timestamp>);

/// What a member has had of an offer; the times in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Had {
    given: Vec<Time>,
    activated: Vec<Time>,
    /// The days on which it gave a voucher.
    vouchers: Vec<Date>,
}

/// By the ids of offers.
pub type Offers = BTreeMap<String, Had>;

/// What an entry says of an offer.
#[derive(Debug, Clone, PartialEq)]
pub enum Became {
    Given(Time),
    /// Until when its promotion works; outer `None`: it has a voucher.
    Activated(Option<Option<Timestamp>>),
    Withdrawn,
}

/// How an offer stands for a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub offer: String,
    pub state: &'static str,
    pub until: Option<Timestamp>,
    pub uses: u32,
    pub left: Option<u32>,
    pub why_not: Vec<Rejection>,
}

pub fn changed(changed: &OfferChanged) -> Fact {
    let became = match changed.change {
        OfferChange::Assigned { .. } => {
            let last = changed.held.assigned.last().expect("it was given");
            Became::Given((last.from, last.until))
        }
        OfferChange::Activated => Became::Activated(changed.held.activated_now().map(|time| time.until)),
        OfferChange::Withdrawn { .. } => Became::Withdrawn,
    };
    Fact::Offer { offer: changed.offer.to_string(), became }
}

/// How often a member has what a promotion gives, in which period: for those of an offer that one says so.
pub fn times(book: &Book, promotion: &v1::Promotion) -> Option<(i64, v1::Period)> {
    match offer_of(book, promotion) {
        Some(offer) => offer.member_limit.as_ref().map(|limit| (limit.uses.into(), limit.period())),
        None => promotion.limits.as_ref()?.times.as_ref().map(|times| (times.times.into(), times.period())),
    }
}

fn offer_of<'b>(book: &'b Book, promotion: &v1::Promotion) -> Option<&'b v1::Offer> {
    let is_it = |offer: &&v1::Offer| matches!(&offer.gift, Some(Gift::PromotionId(id)) if *id == promotion.promotion_id);
    book.document.offers.iter().find(is_it)
}

/// When something begins or ends that has to do with offers.
pub fn turns(account: &Account, book: &Book) -> Vec<Timestamp> {
    let documents = book.document.offers.iter();
    let own = documents.clone().flat_map(|offer| [time(offer.start_time.as_ref()), time(offer.end_time.as_ref())]).flatten();
    let new = documents.filter(|offer| offer.new_member_days > 0).filter_map(|offer| account.new_until(book, offer));
    let had = account.offers.values().flat_map(|had| had.given.iter().chain(&had.activated)).filter_map(|(_, until)| *until);
    had.chain(new).chain(own).collect()
}

/// What a time is compared by where the one is wanted that ends last.
fn end((from, until): Time) -> (bool, Option<Timestamp>, Timestamp) {
    (until.is_none(), until, from)
}

/// Of those that run at an instant the one that ends last. What began later than now has begun: the clock has been set back.
fn running(times: &[Time], at: Timestamp, now: Timestamp) -> Option<Time> {
    let runs = |(from, until): &Time| (*from).min(now) <= at && until.is_none_or(|until| at < until && *from < until);
    times.iter().copied().filter(runs).max_by_key(|time| end(*time))
}

fn lasted((from, until): &Time) -> bool {
    until.is_none_or(|until| *from < until)
}

/// The last one, and of the others the few that ended last.
fn remember(times: &mut Vec<Time>) {
    times.sort_by_key(|time| (time.0, end(*time)));
    times.dedup();
    let last = times.pop();
    times.retain(lasted);
    while times.len() >= MANY_TIMES {
        let first = (0..times.len()).min_by_key(|place| end(times[*place])).expect("there are some");
        times.remove(first);
    }
    times.extend(last);
}

impl Had {
    /// Whatever runs is over now, and what has not begun does not begin.
    fn stop(&mut self, now: Timestamp) {
        for times in [&mut self.given, &mut self.activated] {
            times.iter_mut().for_each(|time| time.1 = Some(time.1.unwrap_or(now).min(now)));
            times.retain(|(from, until)| Some(*from) <= *until);
        }
        self.given.retain(lasted);
    }
}

impl Account {
    fn new_until(&self, book: &Book, offer: &v1::Offer) -> Option<Timestamp> {
        self.joined.map(|joined| book.dawn(days_later(book.date(joined), offer.new_member_days.into())))
    }

    fn had(&self, offer: &str) -> Had {
        self.offers.get(offer).cloned().unwrap_or_default()
    }

    pub fn is_given(&self, offer: &str, now: Timestamp) -> bool {
        running(&self.had(offer).given, now, now).is_some()
    }

    /// Instants just before and at which an offer came to be had, or was over.
    pub fn offer_edges(&self) -> Vec<Timestamp> {
        let times = self.offers.values().flat_map(|had| had.given.iter().chain(&had.activated));
        let ends = times.flat_map(|(from, until)| [Some(*from), *until]).flatten();
        ends.flat_map(|time| [time - SignedDuration::from_secs(1), time]).collect()
    }
}

/// How a member has an offer at an instant.
struct How {
    activated: Option<Time>,
    given: Option<Time>,
    why_not: Vec<OfferRejection>,
}

impl Act<'_> {
    /// By the rule book, the tier and the segments of a sale.
    fn how(&self, book: &Book, offer: &v1::Offer, tier: Option<&String>, at: Timestamp) -> How {
        let (account, now) = (&self.account, self.now);
        let had = account.had(&offer.offer_id);
        let is_promotion = matches!(offer.gift, Some(Gift::PromotionId(_)));
        let activated = if is_promotion { running(&had.activated, at, now) } else { None };
        let given = running(&had.given, at, now);
        let mut why_not: Vec<OfferRejection> = not_offered(offer, at).into_iter().collect();
        if activated.is_none() && given.is_none() {
            why_not.extend(self.not_for(book, offer, tier, at));
        }
        How { activated, given, why_not }
    }

    /// All that keeps a member from being one of those it is for.
    fn not_for(&self, book: &Book, document: &v1::Offer, tier: Option<&String>, at: Timestamp) -> Vec<OfferRejection> {
        let offer = || id(&document.offer_id);
        if document.personal {
            return vec![OfferRejection::NotAssigned { offer: offer() }];
        }
        let mut all = Vec::new();
        if !document.tier_ids.is_empty() && !tier.is_some_and(|tier| document.tier_ids.contains(tier)) {
            all.push(OfferRejection::Tier { offer: offer(), tier: tier.map(|tier| TierId::new(tier).expect("an id")) });
        }
        let is_in = |segment: &String| self.account.segments.held.get(segment).is_some_and(|since| (*since).min(self.now) <= at);
        if !document.segment_ids.is_empty() && !document.segment_ids.iter().any(is_in) {
            all.push(OfferRejection::Segment { offer: offer() });
        }
        let new_until = self.account.new_until(book, document).filter(|until| document.new_member_days > 0 && *until <= at);
        all.extend(new_until.map(|end_time| OfferRejection::NotNew { offer: offer(), end_time }));
        all
    }

    /// Whether a promotion works that is for members who have its offer alone.
    pub fn has_offer_of(&self, book: &Book, promotion: &v1::Promotion, tier: Option<&String>, at: Timestamp) -> bool {
        let Some(offer) = offer_of(book, promotion) else { return false };
        let how = self.how(book, offer, tier, at);
        how.why_not.is_empty() && (how.activated.is_some() || !offer.requires_activation)
    }

    pub fn ask_of_offer(&mut self, request: &OfferRequest) -> Result<(), Rejection> {
        match request {
            OfferRequest::Assign { offer, end_time, .. } => self.give_offer(offer, *end_time),
            OfferRequest::Activate { offer } => self.activate_offer(offer),
            OfferRequest::Withdraw { offer, .. } => self.withdraw_offer(offer),
        }
    }

    fn give_offer(&mut self, offer: &OfferId, until: Option<Timestamp>) -> Result<(), Rejection> {
        self.require_active()?;
        let (book, now) = (Arc::clone(self.books.newest()), self.now);
        let document = book.offer(offer)?;
        if let Some(OfferRejection::NotOffered { end_time: Some(end), .. }) = not_offered(document, now) {
            return Err(OfferRejection::NotOffered { offer: offer.clone(), start_time: None, end_time: Some(end) }.into());
        }
        if !document.personal {
            return Err(OfferRejection::NotPersonal { offer: offer.clone() }.into());
        }
        let from = time(document.start_time.as_ref()).map_or(now, |start| start.max(now));
        if let Some(end_time) = until.filter(|until| *until <= from) {
            return Err(OfferRejection::EndPast { offer: offer.clone(), end_time }.into());
        }
        let days = document.valid_days.filter(|_| !document.requires_activation);
        let until = until.into_iter().chain(days.map(|days| last_of(&book, from, days))).min();
        let mut had = self.account.had(offer.as_str());
        had.stop(now);
        had.activated.retain(lasted);
        had.given.push((now, until));
        self.enter_offer(offer, had, Became::Given((now, until)));
        Ok(())
    }

    fn withdraw_offer(&mut self, offer: &OfferId) -> Result<(), Rejection> {
        if !self.account.is_given(offer.as_str(), self.now) {
            self.books.newest().offer(offer)?;
            return Err(OfferRejection::NotAssigned { offer: offer.clone() }.into());
        }
        let mut had = self.account.had(offer.as_str());
        had.stop(self.now);
        self.enter_offer(offer, had, Became::Withdrawn);
        Ok(())
    }

    fn activate_offer(&mut self, offer: &OfferId) -> Result<(), Rejection> {
        self.require_active()?;
        let (book, now) = (Arc::clone(self.books.newest()), self.now);
        let document = book.offer(offer)?;
        let standing = self.standing(&book, document);
        self.may_activate(document, &standing)?;
        let mut had = self.account.had(offer.as_str());
        match document.gift.as_ref().expect("it is required") {
            Gift::PromotionId(_) => {
                let given = running(&had.given, now, now).and_then(|(_, until)| until);
                let until = document.valid_days.map(|days| last_of(&book, now, days)).into_iter().chain(given).min();
                had.activated.push((now, until));
                self.enter_offer(offer, had, Became::Activated(Some(until)));
            }
            Gift::Voucher(voucher) => {
                let latest = had.vouchers.iter().max().copied();
                had.vouchers.push(latest.unwrap_or(Date::MIN).max(book.date(now)));
                self.enter_offer(offer, had, Became::Activated(None));
                let kinds = &book.document.voucher_kinds;
                let kind = kinds.iter().find(|kind| kind.voucher_kind_id == voucher.voucher_kind_id).expect("it is known").clone();
                let kind = match (voucher.valid_days, voucher.valid_months) {
                    (None, 0) => kind,
                    (valid_days, valid_months) => v1::VoucherKind { valid_days, valid_months, ..kind },
                };
                let id = offer.to_string();
                self.issue_voucher_of(&book, &kind, VoucherCause::Offer, now, |terms| Change::Offered(terms, id));
            }
        }
        Ok(())
    }

    fn enter_offer(&mut self, offer: &OfferId, mut had: Had, became: Became) {
        remember(&mut had.given);
        remember(&mut had.activated);
        self.account.offers.insert(offer.to_string(), had);
        self.enter_now(Fact::Offer { offer: offer.to_string(), became });
    }

    /// In the order in which the contract names what stands against it.
    fn may_activate(&self, document: &v1::Offer, standing: &Standing) -> Result<(), Rejection> {
        let is_late = |why: &&Rejection| {
            let of_offer = matches!(why, Rejection::Offer(OfferRejection::Ended { .. } | OfferRejection::Limit { .. }));
            of_offer || matches!(why, Rejection::Voucher(_))
        };
        let first = standing.why_not.iter().find(|why| !is_late(why)).cloned();
        let offer = || id(&document.offer_id);
        let needs_none = matches!(document.gift, Some(Gift::PromotionId(_))) && !document.requires_activation;
        let own = match standing.state {
            _ if needs_none => Some(OfferRejection::NoActivation { offer: offer() }.into()),
            "active" => Some(OfferRejection::Active { offer: offer(), end_time: standing.until }.into()),
            _ => None,
        };
        let last = standing.why_not.iter().find(is_late).cloned();
        first.or(own).or(last).map_or(Ok(()), Err)
    }

    fn standing(&self, book: &Book, document: &v1::Offer) -> Standing {
        let (account, now, today) = (&self.account, self.now, book.date(self.now));
        let tier = book.tiers.get(book.place_of_tier(account.tiers.last().map(|(tier, _)| tier))).map(|tier| &tier.id);
        let how = self.how(book, document, tier, now);
        let mut why_not: Vec<Rejection> = self.require_active().err().into_iter().collect();
        why_not.extend(how.why_not.into_iter().map(Rejection::from));
        let is_unavailable = !why_not.is_empty();
        let is_ended = how.activated.is_none() && self.was_activated(book, document, today);
        let offer = || id(&document.offer_id);
        if is_ended {
            why_not.push(OfferRejection::Ended { offer: offer() }.into());
        }
        let uses = self.uses(book, document, today);
        let left = document.member_limit.as_ref().map(|limit| (limit.uses as u32).saturating_sub(uses));
        if let Some(limit) = document.member_limit.as_ref().filter(|_| left == Some(0)) {
            let next_time = next_period(book, today, limit.period());
            why_not.push(OfferRejection::Limit { offer: offer(), limit: limit.uses as u32, next_time }.into());
        }
        if matches!(document.gift, Some(Gift::Voucher(_))) && account.live_vouchers().count() >= MANY_VOUCHERS {
            why_not.push(VoucherRejection::TooMany { limit: MANY_VOUCHERS }.into());
        }
        let state = match (is_unavailable, left == Some(0), how.activated.is_some(), is_ended) {
            (true, ..) => "unavailable",
            (false, true, ..) => "used up",
            (false, false, true, _) => "active",
            (false, false, false, true) => "ended",
            (false, false, false, false) if document.requires_activation => "needs activation",
            (false, false, false, false) => "available",
        };
        let new = if document.new_member_days > 0 { account.new_until(book, document) } else { None };
        let own = how.activated.or(how.given).map_or(new, |(_, until)| until);
        let until = own.into_iter().chain(time(document.end_time.as_ref())).min();
        Standing { offer: document.offer_id.clone(), state, until, uses, left, why_not }
    }

    /// In the period of its limit that a day is in; without a limit there is one for ever. What was before it was given anew does not count.
    fn was_activated(&self, book: &Book, document: &v1::Offer, today: Date) -> bool {
        let had = self.account.had(&document.offer_id);
        let period = |day| document.member_limit.as_ref().and_then(|limit| book.period(day, limit.period()));
        let given = had.given.last().map(|(from, _)| *from);
        let mut since = had.activated.iter().map(|(from, _)| *from).filter(|from| given.is_none_or(|given| given <= *from));
        document.requires_activation && since.any(|from| period(book.date(from)) == period(today))
    }

    fn uses(&self, book: &Book, document: &v1::Offer, today: Date) -> u32 {
        let period = |day| document.member_limit.as_ref().and_then(|limit| book.period(day, limit.period()));
        let count = match document.gift.as_ref().expect("it is required") {
            Gift::PromotionId(promotion) => {
                let key = (promotion.clone(), period(today));
                self.account.promoted.get(&key).map_or(0, |(_, times)| *times as usize)
            }
            Gift::Voucher(_) => {
                let days = self.account.had(&document.offer_id).vouchers;
                // A clock that was set back counts for the day that it showed before.
                let today = days.iter().copied().max().unwrap_or(today).max(today);
                days.into_iter().filter(|day| period(*day) == period(today)).count()
            }
        };
        u32::try_from(count).expect("it fits")
    }

    /// The one that stays had them whenever either did.
    pub fn join_offers(&mut self, old: &Account) {
        for (offer, other) in &old.offers {
            let mut had = self.account.had(offer);
            had.given.extend(&other.given);
            had.activated.extend(&other.activated);
            had.vouchers.extend(&other.vouchers);
            remember(&mut had.given);
            remember(&mut had.activated);
            self.account.offers.insert(offer.clone(), had);
        }
    }
}

/// How all offers of the rule book stand for a member, in its order.
pub fn listed(account: &Account, books: &Books, now: Timestamp) -> Vec<Standing> {
    let (act, book) = (Act::new(account, books, now), books.newest());
    book.document.offers.iter().map(|offer| act.standing(book, offer)).collect()
}

fn id(offer: &str) -> OfferId {
    OfferId::new(offer).expect("an id")
}

/// The end of the local day so many days after an instant.
fn last_of(book: &Book, instant: Timestamp, days: i32) -> Timestamp {
    book.dawn(days_later(book.date(instant), i64::from(days) + 1))
}

fn not_offered(document: &v1::Offer, at: Timestamp) -> Option<OfferRejection> {
    let start_time = time(document.start_time.as_ref()).filter(|start| at < *start);
    let end_time = time(document.end_time.as_ref()).filter(|end| *end <= at);
    (start_time.is_some() || end_time.is_some()).then(|| OfferRejection::NotOffered { offer: id(&document.offer_id), start_time, end_time })
}

impl Book {
    fn offer(&self, offer: &OfferId) -> Result<&v1::Offer, OfferRejection> {
        let document = self.document.offers.iter().find(|document| document.offer_id == offer.as_str());
        document.ok_or_else(|| OfferRejection::NotFound { offer: offer.clone() })
    }
}
