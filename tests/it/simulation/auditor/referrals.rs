//! Referrals that wait for a purchase: who waits, which purchase it is, what both sides get for it, and what goes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, civil::Date};
use loyaltyd::{
    contract::v1::{self, expiry_policy::CountedActivity, return_policy::Shortfall},
    domain::{
        ActivityRejection, ActivityRequest, ActivitySide, EntryRef, MemberId, OrderKey, Points, ReferralHeld, ReferrerAbsent, Rejection,
        ReturnRequest,
    },
};
use rust_decimal::Decimal;

use super::{
    Account, Act, Passed, Sale, What,
    book::{Book, days_later, smallest},
    doing::Doing,
    earning::{self, Earned, EarnedLot},
    facts::{Fact, Parts, Said},
    months::Brought,
    parts,
    promotions::Met,
};

/// Of those who referred one another so many are looked at.
const MANY_IN_A_ROW: usize = 8;

/// What must be met in many lives.
pub const KINDS: [&str; 8] = [
    "referred",
    "earned by both",
    "over a limit",
    "without the referrer",
    "taken back",
    "taken back of the referrer",
    "exchanged and kept",
    "returned and kept",
];

/// What a rule book asks for.
#[derive(Debug, Clone)]
pub struct Terms {
    pub activity: String,
    minimum: i128,
    days: i64,
}

impl Terms {
    pub fn read(document: &v1::Referral, digits: u32) -> Self {
        let minimum = smallest(&document.minimum_amount, digits).unwrap_or(0);
        Self { activity: document.activity.clone(), minimum, days: document.within_days.into() }
    }
}

#[derive(Debug, Clone)]
pub struct Referral {
    /// By the id of then.
    pub referrer: MemberId,
    pub activity: String,
    pub reference: String,
    pub since: Timestamp,
    /// The first instant at which a purchase is too late.
    pub until: Option<Timestamp>,
    pub minimum: i128,
    pub book: Arc<Book>,
    pub made: EntryRef,
    pub waits: bool,
}

impl Referral {
    fn is_enough(&self, basis: i128) -> bool {
        basis > 0 && basis >= self.minimum
    }

    pub fn is_in_time(&self, time: Timestamp) -> bool {
        self.since <= time && self.until.is_none_or(|until| time < until)
    }
}

/// What a referral gave on one of its sides.
#[derive(Debug, Clone)]
pub struct Bonus {
    pub entry: EntryRef,
    referral: Referral,
    /// Of the purchase.
    time: Timestamp,
    sale: EntryRef,
    /// Of the member's side: the referrer as it was called then.
    referrer: Option<MemberId>,
    given: Given,
    pub is_gone: bool,
    /// Goods were exchanged: the basis of all that is left for it.
    shared: Option<i128>,
}

impl Bonus {
    /// The least that must be left of what was bought for it.
    pub fn minimum(&self) -> Decimal {
        Decimal::from_i128_with_scale(self.referral.minimum, self.referral.book.digits)
    }
}

/// What somebody got for something that was done.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub points: i64,
    pub qualifying: i64,
    pub lots: Vec<EarnedLot>,
    /// What counted towards caps.
    pub capped: Vec<(String, Option<Date>, i64)>,
}

/// By the entry of the member's side.
pub type Bonuses = BTreeMap<EntryRef, Bonus>;

/// What a referral has to do with a purchase.
#[derive(Debug, Clone, Copy)]
pub enum Earning {
    /// One that waits may have waited for it.
    First,
    /// It takes the place of goods that a referral gave something for, of which so much is left.
    GoesOn { bonus: EntryRef, left: i128 },
    /// With it too little is left.
    Nothing { since: Timestamp },
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReferredSaid {
    referrer: MemberId,
    activity: String,
    reference: String,
    since: Timestamp,
    until: Option<Timestamp>,
    minimum: Decimal,
    version: u32,
    made: EntryRef,
}

/// Of an activity's entry, if it is what a referral gave.
#[derive(Debug, Clone, PartialEq)]
pub struct EarnedSaid {
    made: EntryRef,
    sale: EntryRef,
    order: Option<OrderKey>,
    pub refused: Option<&'static str>,
    /// The referrer gets nothing, having been suspended, or erased (`true`).
    pub absent: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TakenSaid {
    bonus: EntryRef,
    made: EntryRef,
    referrer: Option<MemberId>,
    /// The member whose goods came back, with that one's entry.
    pub referred: Option<(MemberId, u64)>,
    other_bonus: Option<EntryRef>,
    order: OrderKey,
    points: i64,
    qualifying: i64,
    pending: Vec<(u64, i64, i64)>,
    own: Parts,
    others: Parts,
    debt: i64,
    forgiven: i64,
    withheld: i64,
    withheld_value: Option<Decimal>,
}

pub fn made(made: &loyaltyd::domain::Referral) -> Fact {
    Fact::Referred(ReferredSaid {
        referrer: made.referrer,
        activity: made.activity.to_string(),
        reference: made.reference.clone(),
        since: made.occurred_time,
        until: made.until,
        minimum: made.minimum_amount,
        version: made.program_version,
        made: made.made,
    })
}

pub fn earned(earned: &loyaltyd::domain::ReferralEarned) -> EarnedSaid {
    EarnedSaid {
        made: earned.referral.made,
        sale: earned.sale,
        order: earned.order.clone(),
        refused: earned.refused.map(|limit| limit.name()),
        absent: earned.absent.map(|absent| match absent {
            ReferrerAbsent::Suspended => false,
            ReferrerAbsent::Erased => true,
        }),
    }
}

pub fn taken_back(back: &loyaltyd::domain::ReferralTakenBack) -> Fact {
    let allocations = |taken: &[loyaltyd::domain::Allocation]| taken.iter().map(|one| (one.lot.id().0, one.points.0)).collect();
    let (referrer, referred) = match back.side {
        ActivitySide::Member { referrer } => (referrer, None),
        ActivitySide::Referrer { member, sequence } => (None, Some((member, sequence))),
    };
    Fact::ReferralBack(TakenSaid {
        bonus: back.bonus,
        made: back.referral.made,
        referrer,
        referred,
        other_bonus: back.other_bonus,
        order: back.order.clone(),
        points: back.points.0,
        qualifying: back.qualifying_points.0,
        pending: back.from_pending.iter().map(|it| (it.lot.id().0, it.points.0, it.qualifying_points.0)).collect(),
        own: allocations(&back.from_bonus),
        others: allocations(&back.from_others),
        debt: back.debt.0,
        forgiven: back.forgiven.0,
        withheld: back.withheld.0,
        withheld_value: back.withheld_value,
    })
}

/// As a member's header tells it, and as the auditor has it.
pub type Shown = Option<(EntryRef, MemberId, Option<Timestamp>, bool)>;

pub fn shown(held: Option<&ReferralHeld>) -> Shown {
    held.map(|held| (held.referral.made, held.referral.referrer, held.referral.until, held.waits))
}

pub fn known(account: &Account) -> Shown {
    account.referral.as_ref().map(|one| (one.made, one.referrer, one.until, one.waits))
}

pub fn met<'a>(said: impl Iterator<Item = &'a Said>) -> Met {
    let mut met = Met::new();
    let mut note = |name| *met.entry(name).or_default() += 1;
    for said in said {
        match &said.fact {
            Fact::Referred(_) => note("referred"),
            Fact::Did { earned: Some(earned), .. } if earned.refused.is_some() => note("over a limit"),
            Fact::Did { earned: Some(earned), .. } if earned.absent.is_some() => note("without the referrer"),
            Fact::Did { earned: Some(_), referred: Some(_), .. } => note("earned by both"),
            Fact::ReferralBack(TakenSaid { referred: Some(_), .. }) => note("taken back of the referrer"),
            Fact::ReferralBack(_) => note("taken back"),
            Fact::Accrued { shared: Some(_), .. } => note("exchanged and kept"),
            Fact::Returned { shared: Some(_), .. } => note("returned and kept"),
            _ => {}
        }
    }
    met
}

/// Who an id stands for now.
fn now_called(people: &[Account], id: MemberId) -> Option<&Account> {
    let found = people.iter().find(|one| one.id == Some(id))?;
    match found.merged_into {
        Some(into) => now_called(people, into),
        None => Some(found),
    }
}

impl Act<'_> {
    /// It waits from now on for the first purchase.
    pub fn refer(&mut self, book: &Arc<Book>, terms: &Terms, request: &ActivityRequest, referrer: MemberId) -> Result<(), Rejection> {
        let own = self.account.own(0).member;
        if let Some(held) = &self.account.referral {
            let (activity, EntryRef { member, sequence }) = (request.activity.clone(), held.made);
            assert_eq!(activity.as_str(), held.activity, "no programme has referrals by two activities");
            return Err(ActivityRejection::Exists { activity, member, entry_sequence: sequence, referred: true }.into());
        }
        if self.account.purchases > 0 {
            return Err(ActivityRejection::ReferralTooLate { purchases: self.account.purchases }.into());
        }
        let (mut row, mut next) = (BTreeSet::new(), Some(referrer));
        while let Some(one) = next.and_then(|id| now_called(self.people, id))
            && row.len() < MANY_IN_A_ROW
            && row.insert(one.own(0).member)
        {
            next = one.referral.as_ref().map(|referral| referral.referrer);
        }
        if row.contains(&own) {
            return Err(ActivityRejection::ReferralRing { referrer }.into());
        }
        let since = request.occurred_time.unwrap_or(self.now);
        let until = (terms.days > 0).then(|| book.dawn(days_later(book.date(since), terms.days + 1)));
        let made = self.account.own(self.account.sequence + 1);
        let (activity, reference) = (request.activity.to_string(), request.reference.clone());
        let said = ReferredSaid {
            referrer,
            activity: activity.clone(),
            reference: reference.clone(),
            since,
            until,
            minimum: self.money(terms.minimum),
            version: book.version,
            made,
        };
        self.account.referral = Some(Referral {
            referrer,
            activity,
            reference,
            since,
            until,
            minimum: terms.minimum,
            book: Arc::clone(book),
            made,
            waits: true,
        });
        self.stir(CountedActivity::Activity, Brought::default(), since);
        self.enter(Fact::Referred(said), since, book.version);
        Ok(())
    }

    /// Somebody must be there who can get something later.
    pub fn is_there_to_refer(&self) -> Result<(), Rejection> {
        match (self.account.erased, self.account.suspended) {
            (true, _) => Err(Rejection::ReferrerErased),
            (false, true) => Err(Rejection::ReferrerSuspended),
            (false, false) => Ok(()),
        }
    }

    /// Whoever had bought before was a customer already.
    pub fn end_referral_before(&mut self, sold: Timestamp) {
        if self.account.referral.as_ref().is_some_and(|one| one.waits && sold < one.since) {
            self.account.referral = None;
        }
    }

    /// Of a purchase that has just been entered, with its vouchers: which entry gives what a referral gives for it, and the basis of all goods
    /// that it is given for, if there are others.
    pub fn bonus_of(&mut self, earned: &Earned, sold: Timestamp, earning: Earning) -> (Option<EntryRef>, Option<i128>) {
        let waiting = self.account.referral.as_ref().filter(|one| one.waits);
        let is_first = waiting.is_some_and(|one| one.is_in_time(sold) && one.is_enough(earned.basis));
        let next = self.account.own(self.account.sequence + 1);
        match earning {
            Earning::Nothing { .. } => (None, None),
            Earning::First => (is_first.then_some(next), None),
            Earning::GoesOn { bonus, left } => {
                let one = Arc::make_mut(&mut self.account.bonuses).get_mut(&bonus).expect("it was given");
                // What is enough without the exchange leaves that to another referral, of a member who was merged into this one.
                if is_first && one.referral.is_enough(left) {
                    return (Some(next), None);
                }
                one.shared = Some(left + earned.basis);
                (Some(bonus), one.shared)
            }
        }
    }

    /// Both sides of what waited for a sale.
    pub fn earn_referral(&mut self, sale: EntryRef, order: &OrderKey, sold: Timestamp) {
        let referral = self.account.referral.clone().expect("it waits");
        let referrer = now_called(self.people, referral.referrer).expect("it is a member");
        let (to, absent) = (referrer.own(0).member, (referrer.erased || referrer.suspended).then_some(referrer.erased));
        let said = EarnedSaid { made: referral.made, sale, order: Some(order.clone()), refused: None, absent };
        let what = Waited { referral, said, sold };
        let entry = self.get_bonus(&what, (Some(to), None));
        if let Some(one) = &mut self.account.referral {
            one.waits = false;
        }
        if absent.is_none() {
            let from = entry.member;
            self.passed = Some(Passed { to, from, sequence: entry.sequence, what: What::Bonus(Box::new(what)) });
        }
    }

    /// The other side.
    pub fn referrer_earns(&mut self, passed: &Passed, what: &Waited) -> Result<(), Rejection> {
        self.is_there_to_refer()?;
        self.get_bonus(what, (None, Some((passed.from, passed.sequence))));
        self.promote(what.sold);
        Ok(())
    }

    /// What the rules of when the member was referred give, on the day of the sale; nothing where that is too much for a day.
    fn get_bonus(&mut self, what: &Waited, (referrer, referred): (Option<MemberId>, Option<(MemberId, u64)>)) -> EntryRef {
        let Waited { referral, said, sold } = what;
        let (activity, reference) = (referral.activity.as_str(), referral.reference.as_str());
        let doing = Doing { activity, reference, referrer, referred, book: &referral.book, since: referral.since };
        let given = self.reward(doing, *sold, Some(said.clone())).expect("no sale is refused for it");
        let entry = self.account.own(self.account.sequence);
        let bonus =
            Bonus { entry, referral: referral.clone(), time: *sold, sale: said.sale, referrer, given, is_gone: false, shared: None };
        match referred {
            None => Arc::make_mut(&mut self.account.bonuses).insert(entry, bonus),
            Some((member, sequence)) => Arc::make_mut(&mut self.account.brought).insert(EntryRef { member, sequence }, bonus),
        };
        entry
    }

    /// What is left of what a referral gave for, after a return; `None`: it gave nothing, or that has gone back.
    pub fn left_for_bonus(&mut self, sale: &Sale, rest: i128, came_back: i128) -> Option<(EntryRef, i128, Option<i128>)> {
        let bonus = self.account.bonuses.get(&sale.bonus?).filter(|bonus| !bonus.is_gone)?;
        let shared = bonus.shared.map(|all| all - came_back);
        Some((bonus.entry, shared.unwrap_or(rest), shared))
    }

    /// Whether it stays, with what is taken in exchange; if not it goes before that is recorded.
    pub fn judge_bonus(&mut self, found: Option<(EntryRef, i128, Option<i128>)>, request: &ReturnRequest) -> Result<Earning, Rejection> {
        let Some((entry, left, shared)) = found else { return Ok(Earning::First) };
        let exchanged = request.exchange.as_ref().map_or(0, |purchase| {
            let book = self.books.at(purchase.occurred_time.unwrap_or(self.now));
            earning::basis(book, purchase)
        });
        let bonus = self.account.bonuses[&entry].clone();
        if bonus.referral.is_enough(left) || (exchanged > 0 && bonus.referral.is_enough(left + exchanged)) {
            Arc::make_mut(&mut self.account.bonuses).get_mut(&entry).expect("it was given").shared = shared;
            return Ok(Earning::GoesOn { bonus: entry, left });
        }
        let (holder, other) = match self.account.brought.get(&entry) {
            Some(own) => (None, Some(own.entry)),
            None => {
                let holder = self.people.iter().find_map(|one| Some((one.id?, one.brought.get(&entry)?.entry)));
                (holder.map(|(id, _)| id), holder.map(|(_, entry)| entry))
            }
        };
        let order = request.order.clone();
        self.take_side_back(&bonus, None, other, &order)?;
        Arc::make_mut(&mut self.account.bonuses).get_mut(&entry).expect("it was given").is_gone = true;
        if let Some(one) = self.account.referral.as_mut().filter(|one| one.made == bonus.referral.made) {
            one.waits = true;
        }
        let back = self.account.own(self.account.sequence);
        if let Some(own) = self.account.brought.get(&entry).cloned() {
            self.take_side_back(&own, Some((back.member, back.sequence)), None, &order)?;
        } else if let Some(to) = holder {
            let what = What::BonusBack { bonus: entry, order };
            self.passed = Some(Passed { to, from: back.member, sequence: back.sequence, what });
        }
        Ok(Earning::Nothing { since: bonus.time })
    }

    /// Of whoever referred the member that had it, whether suspended, erased or neither.
    pub fn bonus_goes_back(&mut self, passed: &Passed, bonus: EntryRef, order: &OrderKey) -> Result<(), Rejection> {
        let one = self.account.brought[&bonus].clone();
        self.take_side_back(&one, Some((passed.from, passed.sequence)), None, order)?;
        self.judge_return(one.time);
        Ok(())
    }

    fn take_side_back(
        &mut self,
        bonus: &Bonus,
        referred: Option<(MemberId, u64)>,
        other_bonus: Option<EntryRef>,
        order: &OrderKey,
    ) -> Result<(), Rejection> {
        let Given { points, qualifying, lots, capped } = &bonus.given;
        self.turn_back_for(&[bonus.entry, bonus.sale], lots, *points);
        let gone = self.gather(lots, *points, *qualifying);
        let policy = self.books.newest().document.returns.unwrap_or_default();
        let (mut debt, mut forgiven, mut withheld) = (0, 0, 0);
        match policy.shortfall() {
            Shortfall::Forgive => forgiven = gone.left,
            Shortfall::Withhold if referred.is_none() => withheld = gone.left,
            Shortfall::Refuse if referred.is_none() && gone.left > 0 => {
                return Err(Rejection::ReturnShortfall { shortfall: Points(gone.left), requested: Points(*points) });
            }
            Shortfall::Unspecified | Shortfall::Debt | Shortfall::Withhold | Shortfall::Refuse => debt = gone.left,
        }
        let account = &mut self.account;
        account.debt += debt;
        account.clawed_back += points - forgiven - withheld;
        let qualifying = (qualifying - gone.later).min(account.qualifying.max(0));
        account.qualifying -= qualifying;
        for (rule, period, points) in capped {
            if let Some(given) = account.given.get_mut(&(rule.clone(), *period)) {
                *given = (*given - points).max(0);
            }
        }
        if qualifying != 0 {
            account.latest = account.latest.max(Some(self.now));
            self.count(bonus.time, -qualifying, 0, 0);
        }
        let withheld_value = self.worth_withheld(withheld);
        self.enter_now(Fact::ReferralBack(TakenSaid {
            bonus: bonus.entry,
            made: bonus.referral.made,
            referrer: bonus.referrer,
            referred,
            other_bonus,
            order: order.clone(),
            points: *points,
            qualifying,
            pending: gone.pending,
            own: parts(&gone.own),
            others: parts(&gone.others),
            debt,
            forgiven,
            withheld,
            withheld_value,
        }));
        Ok(())
    }

    /// What waits of either ends where the other has bought, or is the one who referred; one counts, and what was given is both's.
    pub fn join_referrals(&mut self, old: &Account, lots_before: u64) {
        let now = self.now;
        let ids: BTreeSet<MemberId> = [&self.account, old].into_iter().flat_map(|one| one.merged.iter().copied().chain(one.id)).collect();
        let kept = |one: &Account, other: &Account| {
            one.referral.clone().filter(|held| !(ids.contains(&held.referrer) || (held.waits && other.purchases > 0)))
        };
        let (own, gone) = (kept(&self.account, old), kept(old, &self.account));
        // One that was earned, or whose days are not over, or else the earlier one.
        let rank = |one: &Referral| (one.waits, one.until.is_some_and(|until| until <= now), one.since);
        self.account.referral = match (own, gone) {
            (Some(own), Some(gone)) if rank(&gone) < rank(&own) => Some(gone),
            (own, gone) => own.or(gone),
        };
        let moved = |one: &Bonus| {
            let mut one = one.clone();
            one.given.lots.iter_mut().for_each(|lot| lot.said.id += lots_before);
            one
        };
        let (bonuses, brought) = (&old.bonuses, &old.brought);
        Arc::make_mut(&mut self.account.bonuses).extend(bonuses.iter().map(|(entry, one)| (*entry, moved(one))));
        Arc::make_mut(&mut self.account.brought).extend(brought.iter().map(|(entry, one)| (*entry, moved(one))));
    }
}

/// A purchase that a referral has waited for.
#[derive(Debug, Clone)]
pub struct Waited {
    referral: Referral,
    said: EarnedSaid,
    sold: Timestamp,
}
