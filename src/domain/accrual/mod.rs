//! Accrual: a purchase becomes points.
//!
//! [`basis`] says what of the purchase earns, [`matching`] which rule earns on which line, [`pricing`] how much, rounded and limited,
//! [`promotions`] what comes on top, and this module writes the explanation down. All amounts are whole numbers of smallest units while they are reckoned with, and points are
//! exact fractions until they are rounded, so that no division loses anything.

mod basis;
mod hints;
mod limits;
mod matching;
mod pricing;
mod promotions;
mod ratio;
mod remaining;

use jiff::{Timestamp, civil::DateTime};
use rust_decimal::Decimal;

pub use self::hints::{Hint, MAX_HINTS};
use self::{
    basis::Bases,
    matching::Matched,
    pricing::{Price, Prices},
    promotions::{RuleShare, Shares},
};
pub(super) use self::{
    hints::{enlarged, hints},
    limits::{Limited, dropped_counters, limit, surplus},
    promotions::{may_give, may_match},
    remaining::{Remaining, check_left, remaining},
};

use super::{
    Accrual, AccruedLot, Activation, Award, AwardLine, BirthDate, Counter, Expiry, Header, InactivityPolicy, LotExpiry, LotId, MemberId,
    Overflow, Pending, Points, Program, ProgramHistory, PromotionCounts, Purchase, Rate, Rejection, Tallies, calendar, expiry, money, tier,
};

/// What promotions look at beside the header.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// By whose id trials are decided; `None`: nothing is given anew.
    pub member: Option<MemberId>,
    /// `None`: not known, or no promotion asks.
    pub birth_date: Option<BirthDate>,
    pub tallies: &'a Tallies,
    pub now: Timestamp,
    /// As the newest version says.
    pub inactivity: Option<InactivityPolicy>,
}

/// What the purchase earns under the version of the rule book and for the tier of when it occurred. No purchase that may still come
/// occurred before `oldest`.
pub(super) fn accrue(
    programs: &ProgramHistory,
    (header, seen): (&Header, Seen<'_>),
    purchase: &Purchase,
    occurred_time: Timestamp,
    oldest: Timestamp,
) -> Result<Accrual, Rejection> {
    let program = programs.at(occurred_time);
    let bases = basis::bases(&program.basis, purchase, program.currency.digits())?;
    let local_time = program.time_zone.to_datetime(occurred_time);
    let sale = Sale { program, header, seen, purchase, occurred_time, local_time, bases };
    let before = program.rank(header.tier.at(occurred_time));
    let mut accrual = sale.accrue_at(before)?;
    if program.tier_policy.rate_at_tier_after {
        let after = sale.rank_after(&accrual)?.max(before);
        if after != before {
            accrual = sale.accrue_at(after)?;
        }
    }
    accrual.dropped_counters = dropped_counters(programs, header, &accrual.counters, oldest);
    let changed = accrual.promotion_counts.counters.iter().map(|((promotion, period), _)| (promotion, *period));
    accrual.promotion_counts.dropped = limits::dropped(programs, &header.promotions, changed, oldest);
    accrual.promotion_counts.dropped.extend(promotions::over(programs, header, oldest));
    let mut days = accrual.promotion_counts.tallies.iter().map(|(key, _)| key).filter(|(_, day)| day.is_some());
    if days.any(|key| !seen.tallies.contains_key(key)) {
        // A day more, for the change between time zones.
        let oldest = calendar::local_date(&programs.newest().time_zone, oldest);
        accrual.promotion_counts.days_before = oldest.yesterday().ok();
    }
    Ok(accrual)
}

/// What of a purchase earns.
pub(super) fn basis(program: &Program, purchase: &Purchase) -> Result<Decimal, Rejection> {
    let digits = program.currency.digits();
    Ok(money::from_units(basis::bases(&program.basis, purchase, digits)?.total, digits)?)
}

/// A tier's multiplier with that of a birthday.
fn multiplied(tier: Decimal, birthday: Option<Decimal>) -> Result<Decimal, Overflow> {
    match birthday {
        Some(birthday) => Ok(tier.checked_mul(birthday).ok_or(Overflow)?.normalize()),
        None => Ok(tier),
    }
}

/// What the rules look at.
struct Sale<'a> {
    program: &'a Program,
    header: &'a Header,
    seen: Seen<'a>,
    purchase: &'a Purchase,
    occurred_time: Timestamp,
    /// In the programme's time zone.
    local_time: DateTime,
    bases: Bases,
}

impl Sale<'_> {
    /// With the multiplier of the tier at a rank.
    fn accrue_at(&self, rank: usize) -> Result<Accrual, Rejection> {
        let tier = self.program.tiers.get(rank);
        let birthday_multiplier = self.header.birthday.multiplier_at(self.occurred_time);
        let multiplier = multiplied(tier.map_or(Decimal::ONE, |tier| tier.multiplier), birthday_multiplier)?;
        let matched = matching::matched(self, multiplier)?;
        let prices = pricing::prices(self, &matched, multiplier)?;
        let qualifying = if self.program.tier_policy.qualify_unmultiplied && multiplier != Decimal::ONE {
            Some(pricing::prices(self, &matched, Decimal::ONE)?)
        } else {
            None
        };
        let mut accrual = Accrual {
            points: Points::ZERO,
            qualifying_points: Points::ZERO,
            basis: money::from_units(self.bases.total, self.digits())?,
            program_version: self.program.version,
            tier: tier.map(|tier| tier.id.clone()),
            birthday_multiplier,
            awards: Vec::with_capacity(matched.len()),
            line_bases: self.bases.explained(self.digits())?,
            order_rounding: None,
            lots: Vec::new(),
            carries: Vec::new(),
            counters: Vec::new(),
            dropped_counters: Vec::new(),
            promotions: Vec::new(),
            promotion_counts: PromotionCounts::default(),
            member_facts: None,
        };
        self.explain(&mut accrual, &matched, prices, qualifying.as_ref(), multiplier)?;
        Ok(accrual)
    }

    /// Turns prices into awards, lots, carries and counters.
    fn explain(
        &self,
        accrual: &mut Accrual,
        matched: &[Matched<'_>],
        prices: Prices,
        qualifying: Option<&Prices>,
        multiplier: Decimal,
    ) -> Result<(), Rejection> {
        let mut lots = Lots::new(self.program, self.header, self.occurred_time, (self.seen.now, self.seen.inactivity));
        for (index, (matched, price)) in matched.iter().zip(prices.rules).enumerate() {
            let rule = matched.rule;
            if let Some(carry) = price.carry {
                accrual.carries.push((Some(rule.id.clone()), carry));
            }
            for (period, points) in &price.counters {
                accrual.counters.push(Counter { rule: rule.id.clone(), period: *period, points: *points });
            }
            let counts = qualifying.map_or(price.points, |prices| prices.rules[index].points);
            let qualifying_points = if rule.qualifying { counts } else { Points::ZERO };
            let waits = if self.program.tier_policy.qualify_pending { Points::ZERO } else { qualifying_points };
            let expires = tier::expiry_in_tier(self.program, accrual.tier.as_ref(), rule.expiry, rule.has_own_expiry);
            let (lot, expiry) = lots.add(price.points, expires, rule.activation, waits)?;
            let award = Award {
                rule: rule.id.clone(),
                display_name: rule.display_name.clone(),
                basis: matched.counted(self.digits())?,
                rate: rule.rate.clone(),
                multiplier: if rule.with_tier_multiplier { multiplier } else { Decimal::ONE },
                uncapped_points: price.uncapped,
                limit: price.limit,
                points: price.points,
                qualifying_points,
                lines: self.award_lines(matched, &price)?,
                expiry,
                lot,
                roundings: price.roundings,
            };
            accrual.points = accrual.points.plus(award.points)?;
            accrual.qualifying_points = accrual.qualifying_points.plus(award.qualifying_points)?;
            accrual.awards.push(award);
        }
        if !self.program.promotions.is_empty() {
            let counts_multiplier = if qualifying.is_some() { Decimal::ONE } else { multiplier };
            let mut rules = Vec::with_capacity(matched.len());
            let together = matched.iter().filter(|matched| pricing::is_together(matched.rule)).count();
            for (matched, award) in matched.iter().zip(&accrual.awards) {
                let (points, counts) = (award.points, award.qualifying_points);
                let share = (together > 1 && pricing::is_together(matched.rule)).then_some((points, counts));
                rules.push(RuleShare { matched, points, counts, sold: None, share });
            }
            promotions::award(self, &Shares { rules, multiplier, counts_multiplier }, accrual, &mut lots)?;
        }
        accrual.lots = lots.debt_paid(self.header.balance.debt)?;
        if let Some((rounding, carry)) = prices.order {
            accrual.order_rounding = Some(rounding);
            accrual.carries.extend(carry.map(|carry| (None, carry)));
        }
        Ok(())
    }

    fn award_lines(&self, matched: &Matched<'_>, price: &Price) -> Result<Vec<AwardLine>, Overflow> {
        let shares = price.line_shares(matched)?;
        let digits = count_digits(&matched.rule.rate, self.digits());
        let lines = matched.lines.iter().zip(shares);
        lines
            .map(|(counted, points)| {
                let basis = readable(&matched.rule.rate, money::from_units(counted.count, digits)?);
                Ok(AwardLine { line: counted.line, basis, points })
            })
            .collect()
    }

    /// The tier that the purchase leads to.
    fn rank_after(&self, accrual: &Accrual) -> Result<usize, Overflow> {
        let judge = tier::Judge { program: self.program, header: self.header };
        let mut totals = judge.totals(judge.window(self.local_time.date())?.as_ref())?;
        totals.qualifying_points = totals.qualifying_points.plus(accrual.qualifying_points)?;
        totals.spend = totals.spend.checked_add(accrual.basis).ok_or(Overflow)?;
        totals.visits = totals.visits.checked_add(1).ok_or(Overflow)?;
        Ok(tier::reached_rank(self.program, &totals))
    }

    fn digits(&self) -> u32 {
        self.program.currency.digits()
    }
}

/// Awards that become active together and lapse together share a lot.
pub(super) struct Lots<'a> {
    program: &'a Program,
    occurred_time: Timestamp,
    header: &'a Header,
    /// When it is known, and how points lapse with inactivity then: what has lapsed before has a date.
    known_by: (Timestamp, Option<InactivityPolicy>),
    /// The newest of the member's.
    last_lot: LotId,
    lots: Vec<AccruedLot>,
    /// Rules mostly share one policy; the time-zone table need not be asked again.
    known: Vec<(Expiry, Timestamp, LotExpiry)>,
    /// The same of points that become active some days later.
    later: Option<(u32, Timestamp)>,
    /// What each lot's expiry follows.
    policies: Vec<(LotId, Expiry)>,
}

impl<'a> Lots<'a> {
    /// Of points that are earned at an instant.
    pub(super) fn new(
        program: &'a Program,
        header: &'a Header,
        occurred_time: Timestamp,
        known_by: (Timestamp, Option<InactivityPolicy>),
    ) -> Self {
        let last_lot = header.last_lot;
        Self { program, occurred_time, header, known_by, last_lot, lots: Vec::new(), known: Vec::new(), later: None, policies: Vec::new() }
    }

    /// All of them. Those that can be spent pay debt first.
    pub(super) fn debt_paid(mut self, debt: Points) -> Result<Vec<AccruedLot>, Overflow> {
        let mut debt = debt;
        for lot in self.lots.iter_mut().filter(|lot| lot.pending.is_none()) {
            lot.debt_paid = lot.points.min(debt);
            debt = debt.minus(lot.debt_paid)?;
        }
        Ok(self.lots)
    }

    fn expiry(&mut self, policy: Expiry, active: Timestamp) -> Result<LotExpiry, Overflow> {
        if let Some((.., known)) = self.known.iter().find(|(known, from, _)| *known == policy && *from == active) {
            return Ok(*known);
        }
        let (zone, (now, inactivity)) = (&self.program.time_zone, self.known_by);
        let mut expiry = expiry::lot_expiry(policy, zone, self.occurred_time, active)?;
        if let Some(policy) = inactivity {
            expiry = self.header.inactive_months.settled(expiry, (policy, self.header.has_held()), zone, now)?;
        }
        self.known.push((policy, active, expiry));
        Ok(expiry)
    }

    /// When points become active that do so some days after the sale.
    fn activate_time(&mut self, days: u32) -> Result<Timestamp, Overflow> {
        if let Some((_, known)) = self.later.filter(|(known, _)| *known == days) {
            return Ok(known);
        }
        let day = calendar::add_days(calendar::local_date(&self.program.time_zone, self.occurred_time), days)?;
        let instant = calendar::start_of_day(&self.program.time_zone, day)?;
        self.later = Some((days, instant));
        Ok(instant)
    }

    /// The lot that the points of a rule go into, with its expiry. `waits`: what counts for tiers when they become active.
    pub(super) fn add(
        &mut self,
        points: Points,
        policy: Expiry,
        activation: Activation,
        waits: Points,
    ) -> Result<(Option<LotId>, LotExpiry), Overflow> {
        if points <= Points::ZERO {
            return Ok((None, LotExpiry::Never));
        }
        let pending = match activation {
            Activation::Immediate => None,
            Activation::AfterDays(days) => Some(Some(self.activate_time(days)?)),
            Activation::Confirmation => Some(None),
        };
        let expiry = match (pending, policy) {
            // It is known when they are confirmed.
            (Some(None), Expiry::DaysAfterActivation(_) | Expiry::MonthsAfterActivation(_)) => LotExpiry::Never,
            (pending, policy) => self.expiry(policy, pending.flatten().unwrap_or(self.occurred_time))?,
        };
        // What is counted from an unknown day is not to be mixed with what never lapses.
        let is_own = |lot: &AccruedLot| {
            lot.expiry == expiry
                && lot.pending.map(|pending| pending.activate_time) == pending
                && (pending != Some(None) || self.lapses_as(lot, policy))
        };
        if let Some(place) = self.lots.iter().position(is_own) {
            let lot = &mut self.lots[place];
            lot.points = lot.points.plus(points)?;
            if let Some(pending) = &mut lot.pending {
                pending.qualifying_points = pending.qualifying_points.plus(waits)?;
            }
            return Ok((Some(lot.id), expiry));
        }
        let newest = self.lots.last().map_or(self.last_lot, |lot| lot.id);
        let id = LotId(newest.0.checked_add(1).ok_or(Overflow)?);
        let pending = pending.map(|activate_time| Pending { activate_time, qualifying_points: waits });
        self.lots.push(AccruedLot { pending, ..AccruedLot::new(id, points, expiry) });
        self.policies.push((id, policy));
        Ok((Some(id), expiry))
    }

    fn lapses_as(&self, lot: &AccruedLot, policy: Expiry) -> bool {
        self.policies.iter().any(|(id, known)| *id == lot.id && *known == policy)
    }
}

/// Decimal places of what a rule counts.
fn count_digits(rate: &Rate, currency_digits: u32) -> u32 {
    match rate {
        Rate::PerAmount { .. } => currency_digits,
        Rate::PerUnit { .. } => matching::QUANTITY_DIGITS,
        Rate::PerOrder { .. } | Rate::PerProduct { .. } => 0,
    }
}

/// Money keeps the decimal places of its currency, a quantity shows those that it has.
fn readable(rate: &Rate, count: Decimal) -> Decimal {
    match rate {
        Rate::PerAmount { .. } | Rate::PerOrder { .. } | Rate::PerProduct { .. } => count,
        Rate::PerUnit { .. } => count.normalize(),
    }
}
