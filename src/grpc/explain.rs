//! Entries in plain English: one sentence a step, amounts in whole points, times in the programme's time zone.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::convert::{decimal, points_text, program_of, rate, whole_points};
use crate::{
    domain::{
        Accrual, Adjusted, Allocation, Award, Entry, EntryKind, LimitKind, Lot, LotId, LotKey, MemberKey, Points, Program, ProgramHistory,
        Purchase, Rate, RoundingMode, RoundingStep, TierCause, TierChange,
    },
    ledger::{Ledger, LedgerError},
};

/// Steps of one kind that are spelled out; the rest is counted.
const MAX_STEPS: usize = 50;
/// Lots that are looked up for one entry.
const MAX_LOTS: usize = 100;

/// The lots that the entry made or used and that still hold points, at most [`MAX_LOTS`].
pub fn live_lots(ledger: &Ledger, key: &MemberKey, entry: &Entry) -> Result<Vec<Lot>, LedgerError> {
    let mut lots = Vec::new();
    for touched in entry.touched_lots().into_iter().take(MAX_LOTS) {
        // Stands right before the lot, so that the next one is the lot itself if it still is there.
        let before = LotKey::new(touched.expire_time(), LotId(touched.id().0.saturating_sub(1)));
        lots.extend(ledger.lots(key, Some(before), 1)?.into_iter().filter(|lot| lot.key() == touched));
    }
    Ok(lots)
}

pub fn sentences(entry: &Entry, history: &ProgramHistory) -> Vec<String> {
    let story = Story { program: program_of(history, entry), said: Vec::new() };
    let mut said = match &entry.kind {
        EntryKind::MemberEnrolled { .. } => vec!["The member enrolled.".to_owned()],
        EntryKind::ProfileUpdated { .. } => vec!["The member's profile was changed.".to_owned()],
        EntryKind::IdentifierAdded { .. } => vec!["An identifier was added to the member.".to_owned()],
        EntryKind::IdentifierRemoved { .. } => vec!["An identifier was removed from the member.".to_owned()],
        EntryKind::MemberSuspended { reason } => vec![format!("The member was suspended. Reason: {reason}")],
        EntryKind::MemberReactivated { reason } => vec![format!("The member was reactivated. Reason: {reason}")],
        EntryKind::PurchaseAccrued(accrued) => {
            let judged_by = history.version(accrued.accrual.program_version).map_or(story.program, |program| program);
            Story { program: judged_by, said: Vec::new() }.purchase(&accrued.purchase, &accrued.accrual, entry.occurred_time)
        }
        EntryKind::PointsAdjusted(adjusted) => story.adjusted(adjusted),
        EntryKind::PointsExpired(expired) => story.expired(&expired.allocations, entry.occurred_time),
        EntryKind::TierChanged(change) => story.tier_changed(change, entry.occurred_time),
    };
    if let Some(actor) = &entry.actor {
        said.push(format!("Done by {actor}."));
    }
    let program = program_of(history, entry);
    said.push(format!("The available balance after this is {}.", points_text(entry.balance.available, program)));
    said
}

struct Story<'a> {
    program: &'a Program,
    said: Vec<String>,
}

impl Story<'_> {
    fn say(&mut self, sentence: String) {
        self.said.push(sentence);
    }

    fn points(&self, points: Points) -> String {
        points_text(points, self.program)
    }

    fn money(&self, amount: Decimal) -> String {
        format!("{} {}", decimal(amount), self.program.currency.code())
    }

    fn local(&self, instant: Timestamp) -> String {
        instant.to_zoned(self.program.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// The last day on which points are valid, which ends at an instant.
    fn valid(&self, expire_time: Option<Timestamp>) -> String {
        let last_moment = expire_time.and_then(|end| Timestamp::from_microsecond(end.as_microsecond() - 1).ok());
        match last_moment {
            None => "they do not lapse".to_owned(),
            Some(moment) => format!("valid until the end of {}", moment.to_zoned(self.program.time_zone.clone()).date()),
        }
    }

    fn purchase(mut self, purchase: &Purchase, accrual: &Accrual, occurred_time: Timestamp) -> Vec<String> {
        let place = match &purchase.order {
            Some(order) => format!("Purchase {} of store {}", order.order, order.store),
            None => "Purchase".to_owned(),
        };
        let (time, total) = (self.local(occurred_time), self.money(purchase.total));
        let lines = match purchase.lines.len() {
            1 => "1 line".to_owned(),
            count => format!("{count} lines"),
        };
        self.say(format!(
            "{place} on {time} ({}): {total} in {lines}, judged by version {} of the rule book.",
            self.program.time_zone.iana_name().unwrap_or("UTC"),
            accrual.program_version
        ));
        self.basis(accrual);
        if accrual.awards.is_empty() {
            self.say("No rule matched, so it earned nothing.".to_owned());
        }
        for award in accrual.awards.iter().take(MAX_STEPS) {
            self.award(award, accrual);
        }
        if accrual.awards.len() > MAX_STEPS {
            self.say(format!("{} more rules are in the entry's awards.", accrual.awards.len() - MAX_STEPS));
        }
        if let Some(step) = &accrual.order_rounding {
            let rounding = self.rounding(step);
            self.say(format!("The sum of all rules is rounded once: {rounding}."));
        }
        let (points, qualifying) = (self.points(accrual.points), self.points(accrual.qualifying_points));
        self.say(format!("Together {points} points, of which {qualifying} count for tiers."));
        self.said
    }

    fn basis(&mut self, accrual: &Accrual) {
        let sum = |shares: Vec<Decimal>| shares.into_iter().fold(Decimal::ZERO, |sum, share| sum.saturating_add(share));
        let discounts = sum(accrual.line_bases.iter().map(|line| line.order_discount_share).collect());
        let tenders = sum(accrual.line_bases.iter().map(|line| line.tender_share).collect());
        let mut sentence = format!("{} of it earns (the basis)", self.money(accrual.basis));
        if !discounts.is_zero() {
            sentence.push_str(&format!(", after {} of order discount", self.money(discounts)));
        }
        if !tenders.is_zero() {
            sentence.push_str(&format!(", without {} paid with points or vouchers", self.money(tenders)));
        }
        self.say(sentence + ".");
    }

    fn award(&mut self, award: &Award, accrual: &Accrual) {
        let name = match award.display_name.as_str() {
            "" => format!("Rule {}", award.rule),
            name => format!("Rule {} ({name})", award.rule),
        };
        let mut sentence = format!("{name}: {} at {}", self.counted(award), rate(&award.rate));
        if award.multiplier != Decimal::ONE {
            let tier = accrual.tier.as_ref().map_or_else(String::new, |tier| format!(" of tier {tier}"));
            sentence.push_str(&format!(", times the multiplier {}{tier}", decimal(award.multiplier)));
        }
        let steps: Vec<String> = award.roundings.iter().take(MAX_STEPS).map(|step| self.rounding(step)).collect();
        match steps.as_slice() {
            [] => {}
            [step] => sentence.push_str(&format!(", gives {step}")),
            steps => sentence.push_str(&format!(", gives line by line {}", steps.join("; "))),
        }
        if award.roundings.len() > MAX_STEPS {
            sentence.push_str(&format!("; and {} more lines", award.roundings.len() - MAX_STEPS));
        }
        sentence.push('.');
        if let Some(limit) = award.limit {
            sentence.push_str(&format!(
                " {}: {} points became {}.",
                limited(limit),
                self.points(award.uncapped_points),
                self.points(award.points)
            ));
        }
        if let Some(lot) = award.lot {
            sentence.push_str(&format!(" {} points in lot {lot}, {}.", self.points(award.points), self.valid(award.expire_time)));
        }
        self.say(sentence);
    }

    fn counted(&self, award: &Award) -> String {
        match &award.rate {
            Rate::PerAmount { whole_blocks, .. } => {
                format!("{}{}", self.money(award.basis), if *whole_blocks { ", whole amounts only," } else { "" })
            }
            Rate::PerUnit { .. } => format!("{} units", decimal(award.basis)),
            Rate::PerOrder { .. } => "the order".to_owned(),
            Rate::PerProduct { .. } => format!("{} products", decimal(award.basis)),
        }
    }

    fn rounding(&self, step: &RoundingStep) -> String {
        let whole = |number: Decimal| decimal(whole_points(number.round_dp(12), self.program));
        if step.carried_in.is_zero() && step.exact == Decimal::from(step.rounded.0) {
            return format!("{} exactly", whole(step.exact));
        }
        let mode = match step.mode {
            RoundingMode::Floor => "rounded down",
            RoundingMode::HalfUp => "rounded to the nearest, a half up,",
            RoundingMode::HalfEven => "rounded to the nearest, a half to even,",
            RoundingMode::Ceiling => "rounded up",
        };
        let mut sentence = whole(step.exact);
        if !step.carried_in.is_zero() {
            sentence.push_str(&format!(" and {} carried from earlier purchases", whole(step.carried_in)));
        }
        sentence.push_str(&format!(", {mode} to {}", self.points(step.rounded)));
        if !step.carried_out.is_zero() {
            sentence.push_str(&format!(", {} carried on to the next purchase", whole(step.carried_out)));
        }
        sentence
    }

    fn adjusted(mut self, adjusted: &Adjusted) -> Vec<String> {
        let points = self.points(adjusted.points);
        let reference = if adjusted.reference.is_empty() { String::new() } else { format!(" Reference: {}.", adjusted.reference) };
        self.say(format!("{points} points by hand. Reason: {}.{reference}", adjusted.reason.trim_end_matches('.')));
        if let Some(lot) = &adjusted.lot {
            let sentence = format!("They are in lot {}, {}.", lot.id, self.valid(lot.expire_time));
            self.say(sentence);
        }
        self.taken(&adjusted.allocations);
        let qualifying = self.points(adjusted.qualifying_points);
        if adjusted.qualifying_points < Points::ZERO {
            self.say(format!("What counts for tiers changed by {qualifying}."));
        } else if !adjusted.qualifying_points.is_zero() {
            self.say(format!("{qualifying} of them count for tiers."));
        }
        self.said
    }

    fn expired(mut self, allocations: &[Allocation], instant: Timestamp) -> Vec<String> {
        let sentence = format!("Points lapsed at {} ({}).", self.local(instant), self.program.time_zone.iana_name().unwrap_or("UTC"));
        self.say(sentence);
        self.taken(allocations);
        self.said
    }

    fn taken(&mut self, allocations: &[Allocation]) {
        for taken in allocations.iter().take(MAX_STEPS) {
            let sentence = format!("{} points came from lot {}.", self.points(taken.points), taken.lot.id());
            self.say(sentence);
        }
        if allocations.len() > MAX_STEPS {
            self.say(format!("{} more lots are in the entry's allocations.", allocations.len() - MAX_STEPS));
        }
    }

    fn tier_changed(mut self, change: &TierChange, instant: Timestamp) -> Vec<String> {
        let from = change.from.as_ref().map_or_else(String::new, |tier| format!("from {tier} "));
        let time = self.local(instant);
        match change.cause {
            TierCause::Upgrade => self.say(format!("The tier rose {from}to {} on {time}, since its threshold was met.", change.to)),
            TierCause::Manual => {
                self.say(format!("The tier was set {from}to {} by hand on {time}. Reason: {}", change.to, change.reason));
            }
        }
        self.said
    }
}

fn limited(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Minimum => "The rule gives a minimum",
        LimitKind::Maximum => "The rule gives a maximum for one award",
        LimitKind::Cap => "The rule's cap for the member and period is reached",
        LimitKind::OncePerMember => "The rule gives only once to a member",
    }
}
