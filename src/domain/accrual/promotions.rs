//! What promotions give beside the rules: cheap conditions first, then the lines, and only what applies is reckoned. Amounts are exact until
//! they are rounded, once for each promotion. Each is reckoned on what the rules gave, and none on what another one gives: multipliers do not
//! multiply one another.

mod conditions;
mod rest;

use jiff::{Timestamp, ToSpan as _, civil::DateTime};
use rust_decimal::Decimal;

use super::{
    Lots, Sale, limits,
    matching::{self, Matched, QUANTITY_DIGITS},
    pricing::{self, Factor},
    ratio::{Ratio, points},
};
use crate::domain::{
    Accrual, Arm, AwardLine, Header, LimitKind, Line, MAX_AWARD_LINES, MAX_PROMOTION_STEPS, MAX_VOUCHERS, MemberFacts, Overflow,
    PeriodStart, Place, Points, Program, ProgramHistory, Promotion, PromotionAward, PromotionCombination, PromotionCount, PromotionEffect,
    Purchase, RECKONING_STEPS, Rate, Rejection, Rounding, RoundingMode, RoundingStage, RoundingStep, RuleId, TooComplex, money, tier,
};

pub(super) use rest::promotions_left;

use conditions::Ground;

/// What a rule gave, as far as multipliers look at it.
pub(super) struct RuleShare<'s, 'a> {
    pub matched: &'s Matched<'a>,
    pub points: Points,
    /// What of them counts for tiers.
    pub counts: Points,
    /// The lines that it stood on at the sale, where some have come back since.
    pub sold: Option<&'s [AwardLine]>,
    /// What it gave at the sale, and what of that counts for tiers, where that is its share of what several rules gave together: who gets the
    /// point that their fractions make depends on all of them, and can grow when something else comes back.
    pub share: Option<(Points, Points)>,
}

/// What the rules gave, and by which multipliers.
pub(super) struct Shares<'s, 'a> {
    pub rules: Vec<RuleShare<'s, 'a>>,
    pub multiplier: Decimal,
    /// Of what counts for tiers.
    pub counts_multiplier: Decimal,
}

/// What of a purchase a promotion finds.
struct Found {
    /// A line matches.
    any: bool,
    /// Of the lines that match, in the currency's smallest unit.
    spend: i128,
    /// On them, in 1/1000; not counted where nothing asks for it.
    units: i128,
}

/// What a promotion gives before its limits.
struct Reckoned {
    basis: Decimal,
    rounding: Option<RoundingStep>,
    uncapped: Points,
    /// What of it counts for tiers.
    counts: Points,
}

struct Candidate<'a> {
    promotion: &'a Promotion,
    reckoned: Reckoned,
    /// On which it is reckoned; none if that is the whole order.
    lines: Vec<usize>,
    points: Points,
    qualifying_points: Points,
    limit: Option<LimitKind>,
    /// Where there is a trial. What a control arm would be given is chosen like any other, and then withheld.
    arm: Option<&'a Arm>,
}

/// What can be said of a purchase before anything is reckoned.
pub(in crate::domain) fn may_give(promotion: &Promotion, purchase: &Purchase, local_time: DateTime) -> bool {
    promotion.code.as_ref().is_none_or(|code| purchase.codes.contains(code)) && matching::may_apply(&promotion.filter, purchase, local_time)
}

/// Purchases with more lines are not asked for theirs: to look at them would cost more than it saves.
const MAX_LINES_ASKED: usize = 100;

/// Whether the goods can be what the promotion asks for, as far as that is known without a basis.
pub(in crate::domain) fn may_match(promotion: &Promotion, purchase: &Purchase) -> bool {
    let lines = &purchase.lines;
    if lines.len() > MAX_LINES_ASKED {
        return true;
    }
    let sum = |what: fn(&Line) -> Decimal| lines.iter().map(what).try_fold(Decimal::ZERO, Decimal::checked_add);
    // No basis is more than that.
    let amount = sum(|line| line.amount.max(line.amount - line.discount))
        .zip(sum(|line| line.tax))
        .and_then(|(amount, tax)| amount.checked_add(tax));
    let amount = amount.and_then(|amount| amount.checked_add(purchase.shipping)?.checked_add(purchase.tip));
    let units = sum(|line| line.quantity);
    let (filter, asked) = (&promotion.filter, promotion.minimum_spend.max(promotion.filter.minimum_order));
    amount.is_none_or(|amount| amount >= asked)
        && units.is_none_or(|units| units >= promotion.minimum_quantity)
        && (!promotion.is_of_lines() || matching::may_pass(filter, purchase))
}

/// What promotions have looked at and are reckoned on, counted before it is done: nothing else bounds a purchase of very many lines.
#[derive(Default)]
struct Work {
    steps: usize,
    award_lines: usize,
}

impl Work {
    fn steps(&mut self, steps: usize) -> Result<(), Rejection> {
        self.steps = self.steps.saturating_add(steps);
        let (steps, limit) = (self.steps, MAX_PROMOTION_STEPS);
        if steps > limit { Err(Rejection::PurchaseTooComplex(TooComplex::Steps { steps, limit })) } else { Ok(()) }
    }

    fn award_lines(&mut self, lines: usize) -> Result<(), Rejection> {
        self.award_lines = self.award_lines.saturating_add(lines);
        let (award_lines, limit) = (self.award_lines, MAX_AWARD_LINES);
        if award_lines > limit { Err(Rejection::PurchaseTooComplex(TooComplex::AwardLines { award_lines, limit })) } else { Ok(()) }
    }
}

/// Of the lines of a purchase those that a promotion is reckoned on; none is marked if that is the whole order.
struct Marks(Vec<bool>);

impl Marks {
    fn of(sale: &Sale<'_>, lines: &[usize]) -> Self {
        let mut marks = if lines.is_empty() { Vec::new() } else { vec![false; sale.bases.lines.len()] };
        for line in lines {
            if let Some(mark) = marks.get_mut(*line) {
                *mark = true;
            }
        }
        Self(marks)
    }

    fn has(&self, line: usize) -> bool {
        self.0.get(line).copied().unwrap_or(false)
    }
}

/// Adds what promotions give to what the rules do.
pub(super) fn award(sale: &Sale<'_>, shares: &Shares<'_, '_>, accrual: &mut Accrual, lots: &mut Lots<'_>) -> Result<(), Rejection> {
    let mut found = Vec::new();
    let member = MemberFacts::of(sale.header, sale.occurred_time);
    let tier = accrual.tier.clone();
    let ground = Ground::new(sale, None, tier.as_ref(), &member);
    let mut work = Work { steps: 0, award_lines: accrual.awards.iter().map(|award| award.lines.len()).sum() };
    for promotion in &sale.program.promotions {
        let Some(candidate) = candidate(&ground, shares, promotion, &mut work)? else { continue };
        // Of those of a group some may go.
        if promotion.group.is_none() {
            work.award_lines(candidate.lines.len())?;
        }
        found.push(candidate);
    }
    if found.is_empty() {
        return Ok(());
    }
    choose(sale, &mut found);
    keep_to_room(sale, &mut found);
    for candidate in found {
        if candidate.promotion.group.is_some() {
            work.award_lines(candidate.lines.len())?;
        }
        if candidate.is_had() && candidate.promotion.reads_member() {
            accrual.member_facts = Some(Box::new(member.clone()));
        }
        give(sale, accrual, lots, candidate)?;
    }
    Ok(())
}

fn candidate<'a>(
    ground: &Ground<'_, 'a>,
    shares: &Shares<'_, '_>,
    promotion: &'a Promotion,
    work: &mut Work,
) -> Result<Option<Candidate<'a>>, Rejection> {
    let sale = ground.sale;
    if !promotion.is_running(sale.occurred_time) || !may_give(promotion, sale.purchase, sale.local_time) || !is_for(ground, promotion)? {
        return Ok(None);
    }
    let arm = match sale.seen.member.map_or(Place::Outside, |member| promotion.place(member)) {
        Place::Everywhere => None,
        Place::In(arm) => Some(arm),
        Place::Outside => return Ok(None),
    };
    // At the sale alone: what comes back does not change who had the offer.
    if promotion.only_with_offer {
        let Some(offer) = sale.program.offer_of(promotion) else { return Ok(None) };
        if !offer.is_had(sale.program, sale.header, ground.tier, (sale.occurred_time, sale.seen.now))? {
            return Ok(None);
        }
    }
    if promotion.looks_at_lines() {
        work.steps(sale.bases.lines.len())?;
    }
    let (found, lines) = ground.found(promotion, promotion.is_on_lines())?;
    if !ground.is_met(promotion, &found)? {
        return Ok(None);
    }
    if promotion.is_on_lines() && matches!(promotion.effect, PromotionEffect::Multiply { .. }) {
        let lines = shares.rules.iter().map(|share| share.matched.lines.len()).sum::<usize>();
        work.steps(lines.saturating_mul(RECKONING_STEPS))?;
    }
    let marks = Marks::of(sale, &lines);
    let reckoned = reckon(sale, shares, promotion, &found, (&marks, &marks))?;
    let is_voucher = matches!(promotion.effect, PromotionEffect::Voucher(_));
    if reckoned.uncapped <= Points::ZERO && !is_voucher {
        return Ok(None);
    }
    let (bound, limit) = bound(sale, promotion, if is_voucher { Points(1) } else { reckoned.uncapped })?;
    let qualifying_points = if promotion.qualifying { reckoned.counts.min(bound) } else { Points::ZERO };
    Ok(Some(Candidate { promotion, points: reckoned.uncapped.min(bound), qualifying_points, limit, reckoned, lines, arm }))
}

/// What a promotion asks of the member.
fn is_for(ground: &Ground<'_, '_>, promotion: &Promotion) -> Result<bool, Overflow> {
    let sale = ground.sale;
    if !promotion.tiers.is_empty() && ground.tier.is_none_or(|tier| !promotion.tiers.contains(tier)) {
        return Ok(false);
    }
    if promotion.first_purchase && !ground.member.is_first {
        return Ok(false);
    }
    match (promotion.birthday, sale.seen.birth_date) {
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(birthday), Some(date)) => birthday.is_met(date, sale.local_time.date()),
    }
}

impl Ground<'_, '_> {
    /// What a promotion asks of the goods; of those that are left, where some have come back. Its condition comes last.
    fn is_met(&self, promotion: &Promotion, found: &Found) -> Result<bool, Overflow> {
        let digits = self.sale.digits();
        let minimum = |amount: Decimal, digits| if amount.is_zero() { Ok(0) } else { money::to_units(amount, digits) };
        let is_enough = found.any
            && self.sale.bases.total >= minimum(promotion.filter.minimum_order, digits)?
            && found.spend >= minimum(promotion.minimum_spend, digits)?
            && found.units >= minimum(promotion.minimum_quantity, QUANTITY_DIGITS)?;
        match &promotion.condition {
            Some(condition) if is_enough => condition.holds(self),
            Some(_) | None => Ok(is_enough),
        }
    }

    /// With the lines that match, where they are asked for.
    fn found(&self, promotion: &Promotion, with_lines: bool) -> Result<(Found, Vec<usize>), Overflow> {
        let counts_units = !promotion.minimum_quantity.is_zero();
        let (bases, mut matching) = (&self.sale.bases, Vec::new());
        if !promotion.looks_at_lines() {
            let any = bases.lines.iter().enumerate().any(|(line, basis)| basis.earns && !self.is_gone(promotion, line));
            return Ok((Found { any, spend: bases.total, units: 0 }, matching));
        }
        let mut found = Found { any: false, spend: 0, units: 0 };
        self.each_matching(promotion, |line| {
            found.any = true;
            found.spend = found.spend.checked_add(bases.lines[line].amount).ok_or(Overflow)?;
            if counts_units {
                found.units = found.units.checked_add(self.units(line)?).ok_or(Overflow)?;
            }
            if with_lines {
                matching.push(line);
            }
            Ok(())
        })?;
        Ok((found, matching))
    }

    /// Shipping and tip are no lines that a condition could be judged for.
    fn each_matching(&self, promotion: &Promotion, mut each: impl FnMut(usize) -> Result<(), Overflow>) -> Result<(), Overflow> {
        let labelled = matching::is_labelled(&promotion.filter, self.sale.purchase);
        for line in 0..self.sale.bases.lines.len() {
            if self.is_gone(promotion, line) || !matching::passes_line(&promotion.filter, labelled, self.sale, line) {
                continue;
            }
            let holds = match &promotion.line_condition {
                None => true,
                Some(_) if line >= self.sale.purchase.lines.len() => false,
                Some(condition) => condition.holds_for_line(self, self.number(line))?,
            };
            if holds {
                each(line)?;
            }
        }
        Ok(())
    }
}

/// `now` and `then`: the lines that it is reckoned on, those that are left and those of the sale.
fn reckon(
    sale: &Sale<'_>,
    shares: &Shares<'_, '_>,
    promotion: &Promotion,
    found: &Found,
    (now, then): (&Marks, &Marks),
) -> Result<Reckoned, Overflow> {
    match &promotion.effect {
        PromotionEffect::Multiply { multiplier, .. } => {
            let (mut base, mut counts) = (Points::ZERO, Points::ZERO);
            for share in &shares.rules {
                let (points, counted) =
                    if promotion.is_on_lines() { shares.on_lines(sale, share, (now, then))? } else { (share.points, share.counts) };
                base = base.plus(points)?;
                counts = counts.plus(counted)?;
            }
            let step = times(base, *multiplier - Decimal::ONE, promotion.rounding)?;
            let counts = if counts == base { step.rounded } else { times(counts, *multiplier - Decimal::ONE, promotion.rounding)?.rounded };
            Ok(Reckoned { basis: Decimal::from(base.0), uncapped: step.rounded, counts, rounding: Some(step) })
        }
        PromotionEffect::PerAmount { amount, points, whole_blocks, whole_order } => {
            let count = if *whole_order { sale.bases.total } else { found.spend };
            let rate = Rate::PerAmount { amount: *amount, points: *points, whole_blocks: *whole_blocks };
            let step = Factor::of(&rate, sale.program, Decimal::ONE)?.exact(count)?.round(rounding(promotion.rounding), Decimal::ZERO)?;
            let basis = money::from_units(count, sale.digits())?;
            Ok(Reckoned { basis, uncapped: step.rounded, counts: step.rounded, rounding: Some(step) })
        }
        PromotionEffect::Fixed { points: each, each_quantity } => {
            let times = match each_quantity {
                true => found.units / money::to_units(promotion.minimum_quantity, QUANTITY_DIGITS)?.max(1),
                false => 1,
            };
            let all = points(i128::from(each.0).checked_mul(times).ok_or(Overflow)?)?;
            Ok(Reckoned { basis: money::from_units(times, 0)?, uncapped: all, counts: all, rounding: None })
        }
        PromotionEffect::Voucher(_) => Ok(Reckoned { basis: Decimal::ONE, uncapped: Points::ZERO, counts: Points::ZERO, rounding: None }),
    }
}

impl Shares<'_, '_> {
    /// What a rule gave on some lines, with what counts for tiers: all of it where it stood on none but these; else what it would give on them
    /// alone, and not more than it gave. A rule for the whole order gave nothing on some of its lines. One of several rules that are rounded
    /// together always counts as if it were rounded alone.
    fn on_lines(&self, sale: &Sale<'_>, share: &RuleShare<'_, '_>, (now, then): (&Marks, &Marks)) -> Result<(Points, Points), Overflow> {
        let is_all = match share.sold {
            Some(lines) => lines.iter().all(|line| then.has(line.line)),
            None => share.matched.lines.iter().all(|line| then.has(line.line)),
        };
        if is_all && share.share.is_none() {
            return Ok((share.points, share.counts));
        }
        let rule = share.matched.rule;
        if matches!(rule.rate, Rate::PerOrder { .. }) && !is_all {
            return Ok((Points::ZERO, Points::ZERO));
        }
        let on = |multiplier| {
            let factor = Factor::new(rule, sale.program, multiplier)?;
            let lines = share.matched.lines.iter().filter(|line| is_all || now.has(line.line));
            pricing::rounded(rule, factor, lines.map(|line| line.count))
        };
        let (most, most_counts) = share.share.unwrap_or((share.points, share.counts));
        let points = on(self.multiplier)?.min(most);
        let counts = match (most_counts.is_zero(), self.counts_multiplier == self.multiplier) {
            (true, _) => Points::ZERO,
            (false, true) if most_counts == most => points,
            (false, _) => on(self.counts_multiplier)?.min(most_counts),
        };
        Ok((points, counts))
    }
}

fn rounding(mode: RoundingMode) -> Rounding {
    Rounding { mode, stage: RoundingStage::Rule, carry: false }
}

fn times(base: Points, by: Decimal, mode: RoundingMode) -> Result<RoundingStep, Overflow> {
    let numerator = i128::from(base.0).checked_mul(by.mantissa()).ok_or(Overflow)?;
    Ratio { numerator, denominator: money::power_of_ten(by.scale())? }.round(rounding(mode), Decimal::ZERO)
}

/// Days for which a member's count for ever of a promotion is kept once it can give nothing any more: it may be run again.
const DAYS_AFTER_END: i64 = 366;

/// Counts for ever of promotions that can give nothing to a sale that may still come, and could not for a year: a programme that has ever new
/// campaigns would fill the headers of its members with them. `oldest`: no sale that may still come occurred before.
pub(super) fn over(programs: &ProgramHistory, header: &Header, oldest: Timestamp) -> Vec<(RuleId, PeriodStart)> {
    let ended = oldest.checked_sub((24 * DAYS_AFTER_END).hours()).unwrap_or(Timestamp::MIN);
    let may_give = |promotion: &RuleId| {
        let may = |program: &Program| program.promotion(promotion).is_some_and(|it| it.end_time.is_none_or(|end| end > ended));
        may(programs.newest()) || programs.since(ended).any(|(program, _)| may(program)) || programs.waiting().any(|program| may(program))
    };
    header.promotions.keys().filter(|(promotion, period)| period.is_none() && !may_give(promotion)).cloned().collect()
}

/// How many points the limits leave of so many, and the last that changed them.
fn bound(sale: &Sale<'_>, promotion: &Promotion, asked: Points) -> Result<(Points, Option<LimitKind>), Overflow> {
    let (mut bound, mut limit) = (Points(i64::MAX), None);
    let mut narrow = |left: Points, kind| {
        if asked.min(bound) > left {
            (bound, limit) = (left.max(Points::ZERO), Some(kind));
        }
    };
    let limits = &promotion.limits;
    let day = sale.local_time.date();
    if let Some(maximum) = limits.maximum {
        narrow(maximum, LimitKind::Maximum);
    }
    if limits.times.is_some() || limits.cap.is_some() {
        let (of_points, of_times) = promotion.counters(day);
        let kept = &sale.header.promotions;
        let counted = |period| kept.get(&(promotion.id.clone(), period)).copied().unwrap_or_default();
        if let Some((times, period)) = limits.times.zip(of_times)
            && (counted(period).times >= times.times || limits::is_forgotten(kept, &promotion.id, period))
        {
            narrow(Points::ZERO, LimitKind::Times);
        }
        if let Some((cap, period)) = limits.cap.zip(of_points) {
            let is_forgotten = limits::is_forgotten(kept, &promotion.id, period);
            narrow(if is_forgotten { Points::ZERO } else { cap.points.minus(counted(period).points)? }, LimitKind::Cap);
        }
    }
    if matches!(promotion.effect, PromotionEffect::Voucher(_)) && room(sale) == 0 {
        narrow(Points::ZERO, LimitKind::Vouchers);
    }
    let tallied = |day| sale.seen.tallies.get(&(promotion.id.clone(), day)).copied().unwrap_or_default().points;
    if let Some(cap) = limits.daily_cap {
        narrow(cap.minus(tallied(Some(day)))?, LimitKind::DailyCap);
    }
    if let Some(budget) = limits.budget {
        narrow(budget.minus(tallied(None))?, LimitKind::Budget);
    }
    Ok((bound, limit))
}

impl Candidate<'_> {
    fn is_voucher(&self) -> bool {
        matches!(self.promotion.effect, PromotionEffect::Voucher(_))
    }

    /// Something is left of it.
    fn is_had(&self) -> bool {
        self.points > Points::ZERO || (self.is_voucher() && self.limit.is_none())
    }

    fn is_control(&self) -> bool {
        self.arm.is_some_and(|arm| arm.is_control)
    }

    fn withhold(&mut self) {
        (self.points, self.qualifying_points, self.limit) = (Points::ZERO, Points::ZERO, Some(LimitKind::Control));
    }
}

/// Of a group that gives one, the others go. Those of which nothing is left stay, to be told of. Where a control arm's would be the one, it is told
/// of and the next one has its turn: its members are given what they would be without that promotion.
fn choose(sale: &Sale<'_>, found: &mut Vec<Candidate<'_>>) {
    for (group, of) in sale.program.promotion_groups.iter().enumerate() {
        while let Some(chosen) = chosen(found, group, of.combination) {
            if found[chosen].is_control() {
                found[chosen].withhold();
                continue;
            }
            let mut place = 0;
            found.retain(|one| {
                place += 1;
                one.promotion.group != Some(group) || !one.is_had() || place == chosen + 1
            });
            break;
        }
    }
    found.iter_mut().filter(|one| one.is_control() && one.is_had()).for_each(Candidate::withhold);
}

/// The one that a group gives; `None`: it gives none, or all.
fn chosen(found: &[Candidate<'_>], group: usize, combination: PromotionCombination) -> Option<usize> {
    let members = found.iter().enumerate().filter(|(_, one)| one.promotion.group == Some(group) && one.is_had());
    let chosen = match combination {
        PromotionCombination::All => None,
        PromotionCombination::Exclusive => members.min_by_key(|(_, one)| one.promotion.priority),
        PromotionCombination::Best => {
            members.min_by_key(|(_, one)| (one.is_voucher(), std::cmp::Reverse(one.points), one.promotion.priority))
        }
    };
    chosen.map(|(place, _)| place)
}

/// So many vouchers more the member may be issued.
fn room(sale: &Sale<'_>) -> usize {
    MAX_VOUCHERS.saturating_sub(usize::try_from(sale.header.vouchers.live).unwrap_or(usize::MAX))
}

/// Where there is room for some of the vouchers of one purchase, the first ones are given.
fn keep_to_room(sale: &Sale<'_>, found: &mut [Candidate<'_>]) {
    let vouchers = found.iter_mut().filter(|one| one.is_voucher() && one.limit.is_none());
    for surplus in vouchers.skip(room(sale)) {
        surplus.limit = Some(LimitKind::Vouchers);
    }
}

fn give(sale: &Sale<'_>, accrual: &mut Accrual, lots: &mut Lots<'_>, candidate: Candidate<'_>) -> Result<(), Overflow> {
    count(sale, accrual, &candidate)?;
    let lines = award_lines(sale, accrual, &candidate)?;
    let Candidate { promotion, reckoned, points, qualifying_points, limit, arm, .. } = candidate;
    let waits = if sale.program.tier_policy.qualify_pending { Points::ZERO } else { qualifying_points };
    let expires = tier::expiry_in_tier(sale.program, accrual.tier.as_ref(), promotion.expiry, promotion.has_own_expiry);
    let (lot, expiry) = lots.add(points, expires, promotion.activation, waits)?;
    accrual.points = accrual.points.plus(points)?;
    accrual.qualifying_points = accrual.qualifying_points.plus(qualifying_points)?;
    accrual.promotions.push(PromotionAward {
        promotion: promotion.id.clone(),
        display_name: promotion.display_name.clone(),
        effect: promotion.effect.clone(),
        basis: reckoned.basis,
        rounding: reckoned.rounding,
        uncapped_points: reckoned.uncapped,
        limit,
        points,
        qualifying_points,
        lines,
        expiry,
        lot,
        arm: arm.map(|arm| arm.id.clone()),
    });
    Ok(())
}

/// For the member, and where there is such a bound for the programme.
fn count(sale: &Sale<'_>, accrual: &mut Accrual, candidate: &Candidate<'_>) -> Result<(), Overflow> {
    let (promotion, points) = (candidate.promotion, candidate.points);
    if !candidate.is_had() {
        return Ok(());
    }
    let day = sale.local_time.date();
    let (of_points, of_times) = promotion.counters(day);
    let counts = &mut accrual.promotion_counts;
    for period in of_points.into_iter().chain(of_times.filter(|period| of_points != Some(*period))) {
        let key = (promotion.id.clone(), period);
        let PromotionCount { points: given, times } = sale.header.promotions.get(&key).copied().unwrap_or_default();
        let given = if of_points == Some(period) { given.plus(points)? } else { given };
        let times = if of_times == Some(period) { times.checked_add(1).ok_or(Overflow)? } else { times };
        counts.counters.push((key, PromotionCount { points: given, times }));
    }
    if points > Points::ZERO {
        for key in promotion.tallies(day) {
            let tally = sale.seen.tallies.get(&key).copied().unwrap_or_default();
            counts.tallies.push((key, tally.moved(points)?));
        }
    }
    Ok(())
}

/// The points of each line that the promotion is reckoned on, by what the rules gave there or by its basis.
fn award_lines(sale: &Sale<'_>, accrual: &Accrual, candidate: &Candidate<'_>) -> Result<Vec<AwardLine>, Overflow> {
    let lines = &candidate.lines;
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let is_multiplied = matches!(candidate.promotion.effect, PromotionEffect::Multiply { .. });
    let weights: Vec<i128> = if is_multiplied {
        let mut by_line = vec![0i128; sale.bases.lines.len()];
        for line in accrual.awards.iter().flat_map(|award| &award.lines) {
            by_line[line.line] += i128::from(line.points.0);
        }
        lines.iter().map(|line| by_line[*line]).collect()
    } else {
        lines.iter().map(|line| sale.bases.lines[*line].amount).collect()
    };
    let shares = money::share_units(i128::from(candidate.points.0), &weights)?;
    let digits = if is_multiplied { 0 } else { sale.digits() };
    let shown = lines.iter().zip(weights).zip(shares);
    shown
        .map(|((line, weight), share)| Ok(AwardLine { line: *line, basis: money::from_units(weight, digits)?, points: points(share)? }))
        .collect()
}
