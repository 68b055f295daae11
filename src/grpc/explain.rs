//! Entries in plain English: one sentence a step, amounts in whole points, times in the programme's time zone.

mod activity;
mod audit;
mod birthday;
mod goal;
mod inactivity;
mod merge;
mod offer;
mod promotion;
mod referral;
mod reward;
mod segment;
mod tier;
mod voucher;

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use super::convert::{decimal, points_text, program_of, rate, whole_points};
use crate::{
    domain::{
        Accrual, AccruedLot, Activated, Adjusted, Allocation, Award, EffectSource, Entry, EntryKind, EntryRef, FraudFlag, FraudLimit, Hold,
        LimitKind, Lot, LotExpiry, LotId, LotKey, MemberId, MemberKey, OrderKey, Pending, Points, Portion, PriceEffect, Program,
        ProgramHistory, PurchaseAccrued, PutBack, Rate, Redeemed, ReleaseCause, Released, Returned, Reversed, RoundingMode, RoundingStep,
        RuleId, TransferredIn, TransferredOut,
    },
    ledger::{Ledger, LedgerError},
};

use audit::done_by;

pub use audit::{act, published};

/// Steps of one kind that are spelled out; the rest is counted.
const MAX_STEPS: usize = 50;
/// Lots that are looked up for one entry.
const MAX_LOTS: usize = 100;

/// The lots that the entry made or used and that still hold points, at most [`MAX_LOTS`].
pub fn live_lots(ledger: &Ledger, key: &MemberKey, entry: &Entry) -> Result<Vec<Lot>, LedgerError> {
    let mut lots = Vec::new();
    for touched in entry.touched_lots().into_iter().take(MAX_LOTS) {
        // Stands right before the lot, so that the next one is the lot itself if it still is there.
        let before = LotKey::new(touched.expiry(), LotId(touched.id().0.saturating_sub(1)));
        lots.extend(ledger.lots(key, Some(before), 1)?.into_iter().filter(|lot| lot.key() == touched));
    }
    Ok(lots)
}

pub fn sentences(entry: &Entry, history: &ProgramHistory) -> Vec<String> {
    let story = Story { program: program_of(history, entry), said: Vec::new() };
    let said = match &entry.kind {
        EntryKind::MemberEnrolled { .. } => vec!["The member enrolled.".to_owned()],
        EntryKind::ProfileUpdated { .. } => vec!["The member's profile was changed.".to_owned()],
        EntryKind::IdentifierAdded { .. } => vec!["An identifier was added to the member.".to_owned()],
        EntryKind::IdentifierRemoved { .. } => vec!["An identifier was removed from the member.".to_owned()],
        EntryKind::MemberSuspended { reason } => vec![format!("The member was suspended. Reason: {reason}")],
        EntryKind::MemberReactivated { reason } => vec![format!("The member was reactivated. Reason: {reason}")],
        EntryKind::MemberErased { reason } => {
            vec!["What was personal of the member was erased for good; points and entries stay.".to_owned(), format!("Reason: {reason}")]
        }
        EntryKind::PurchaseAccrued(accrued) => {
            let judged_by = history.version(accrued.accrual.program_version).map_or(story.program, |program| program);
            let mut story = Story { program: judged_by, said: Vec::new() };
            story.purchase(accrued, entry.occurred_time);
            story.paid(&accrued.redemptions, entry.key.member);
            story.said
        }
        EntryKind::PointsAdjusted(adjusted) => story.adjusted(adjusted),
        EntryKind::PointsExpired(expired) => story.expired(&expired.allocations, entry.occurred_time),
        EntryKind::TierChanged(change) => story.tier_changed(change, entry.occurred_time),
        EntryKind::TierKept(kept) => story.tier_kept(kept, entry.occurred_time),
        EntryKind::TierRewarded(rewarded) => story.tier_rewarded(rewarded),
        EntryKind::PointsRedeemed(redeemed) => story.redeemed(redeemed),
        EntryKind::RedemptionReversed(reversed) => story.reversed(reversed, entry.key.member),
        EntryKind::PointsHeld(held) => story.held(&held.hold),
        EntryKind::HoldReleased(released) => story.released(released, entry.occurred_time),
        EntryKind::PointsActivated(activated) => story.activated(activated),
        EntryKind::PurchaseReturned(returned) => story.returned(returned, entry.key.member),
        EntryKind::PointsTransferredOut(sent) => story.sent(sent),
        EntryKind::PointsTransferredIn(got) => story.got(got),
        EntryKind::ActivityAccrued(accrued) => story.activity(accrued, entry),
        EntryKind::MergedInto(gone) => story.merged_into(gone),
        EntryKind::MergedFrom(got) => story.merged_from(got),
        EntryKind::VoucherChanged(changed) => story.voucher(changed),
        EntryKind::BirthdayChanged(changed) => story.birthday(changed),
        EntryKind::ReferralMade(made) => story.referral_made(made),
        EntryKind::ReferralTakenBack(back) => story.referral_taken_back(back),
        EntryKind::OfferChanged(changed) => story.offer_changed(changed),
        EntryKind::SegmentsChanged(changed) => story.segments_changed(changed),
        EntryKind::GoalChanged(changed) => story.goal_changed(changed),
    };
    let program = program_of(history, entry);
    let mut story = Story { program, said };
    story.inactivity(entry);
    let mut said = story.said;
    said.extend(entry.flags().iter().map(|flag| flagged(flag, program)));
    said.extend(done_by(entry.actor.as_ref(), entry.principal.as_ref()));
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
    fn valid(&self, expiry: LotExpiry) -> String {
        match expiry {
            LotExpiry::At(end) => format!("valid until the end of {}", self.last_day(end)),
            LotExpiry::InactiveMonths(_) => "valid for some months, and a month longer for each with activity".to_owned(),
            LotExpiry::Inactivity => "valid as long as the member is active".to_owned(),
            LotExpiry::Never => "they do not lapse".to_owned(),
        }
    }

    /// The day that ends at an instant.
    fn last_day(&self, end: Timestamp) -> Date {
        let moment = Timestamp::from_microsecond(end.as_microsecond() - 1).unwrap_or(end);
        moment.to_zoned(self.program.time_zone.clone()).date()
    }

    fn pending_or_valid(&self, pending: Option<Pending>, expiry: LotExpiry) -> String {
        match (pending, expiry) {
            (None, _) => self.valid(expiry),
            (Some(Pending { activate_time: Some(time), .. }), _) => {
                format!("pending until {}, {}", self.local(time), self.valid(expiry))
            }
            (Some(Pending { activate_time: None, .. }), LotExpiry::At(_) | LotExpiry::InactiveMonths(_) | LotExpiry::Inactivity) => {
                format!("pending until the purchase is confirmed, {}", self.valid(expiry))
            }
            // When they lapse may be counted from then.
            (Some(Pending { activate_time: None, .. }), LotExpiry::Never) => "pending until the purchase is confirmed".to_owned(),
        }
    }

    fn purchase(&mut self, accrued: &PurchaseAccrued, occurred_time: Timestamp) {
        let PurchaseAccrued { purchase, accrual, effects, .. } = accrued;
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
        self.effects(effects);
        self.basis(accrual);
        self.shared_referral(accrued);
        match (accrual.awards.is_empty(), accrual.promotions.is_empty()) {
            (true, true) => self.say("No rule matched, so it earned nothing.".to_owned()),
            (true, false) => self.say("No rule matched.".to_owned()),
            (false, _) => {}
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
        self.promotions(accrual);
        self.earned(accrual.points, accrual.qualifying_points, &accrual.lots);
    }

    /// What led from the till's prices to those that are paid.
    fn effects(&mut self, effects: &[PriceEffect]) {
        for effect in effects {
            let amount = self.money(effect.amount);
            self.say(match &effect.source {
                EffectSource::TierDiscount { tier, percent } => {
                    format!("Tier {tier} takes {} per cent off the goods: {amount}.", decimal(*percent))
                }
                EffectSource::TierShipping { tier } => format!("Tier {tier} takes off shipping: {amount}."),
                EffectSource::Voucher { code } if effect.off_shipping => format!("Voucher {code} takes off shipping: {amount}."),
                EffectSource::Voucher { code } => format!("Voucher {code} takes off the goods: {amount}."),
            });
        }
    }

    fn earned(&mut self, points: Points, qualifying: Points, lots: &[AccruedLot]) {
        let (points, qualifying) = (self.points(points), self.points(qualifying));
        self.say(format!("Together {points} points, of which {qualifying} count for tiers."));
        let waiting = Points(lots.iter().filter_map(|lot| lot.pending).map(|pending| pending.qualifying_points.0).sum());
        if waiting > Points::ZERO {
            let waiting = self.points(waiting);
            self.say(format!("{waiting} of these count only when the points become active."));
        }
        self.debt_paid(Points(lots.iter().map(|lot| lot.debt_paid.0).sum()));
    }

    fn debt_paid(&mut self, points: Points) {
        if points > Points::ZERO {
            let points = self.points(points);
            self.say(format!("{points} of the points paid debt."));
        }
    }

    fn paid(&mut self, redemptions: &[EntryRef], own: MemberId) {
        let numbers: Vec<String> = redemptions.iter().map(|entry| place(*entry, own)).collect();
        match numbers.as_slice() {
            [] => {}
            [one] => self.say(format!("The points that paid a part of it are redeemed in entry {one}.")),
            many => self.say(format!("The points that paid a part of it are redeemed in the entries {}.", many.join(", "))),
        }
    }

    fn activated(mut self, activated: &Activated) -> Vec<String> {
        let sum = Points(activated.lots.iter().map(|active| active.lot.points.0).sum());
        let cause = match &activated.confirmed {
            Some(confirmed) => format!("when order {} of store {} was confirmed", confirmed.order.order, confirmed.order.store),
            None => "since their time had come".to_owned(),
        };
        let points = self.points(sum);
        self.say(format!("{points} pending points became active, {cause}."));
        for active in activated.lots.iter().take(MAX_STEPS) {
            let (points, valid) = (self.points(active.lot.available()), self.valid(active.lot.expiry));
            if active.lot.available() > Points::ZERO {
                self.say(format!("{points} points of entry {} are in lot {}, {valid}.", active.entry_sequence, active.lot.id));
            }
        }
        if activated.lots.len() > MAX_STEPS {
            self.say(format!("{} more lots are in the entry.", activated.lots.len() - MAX_STEPS));
        }
        self.debt_paid(Points(activated.lots.iter().map(|active| active.lot.debt_paid.0).sum()));
        self.said
    }

    fn returned(mut self, returned: &Returned, own: MemberId) -> Vec<String> {
        let (points, basis) = (self.points(returned.points), self.money(returned.basis));
        let OrderKey { store, order } = &returned.order;
        let earned = match returned.points {
            Points::ZERO => "No points are to be taken back for that".to_owned(),
            _ => format!(
                "{points} points are to be taken back for that, by the rules of the sale in entry {}",
                place(returned.sale.sale, own)
            ),
        };
        self.say(format!("Of order {order} of store {store}, {basis} of the basis came back. {earned}."));
        for (taken, place) in [(&returned.from_sale, "the sale's own lots"), (&returned.from_others, "other lots")] {
            if !taken.is_empty() {
                let sum = self.points(Points(taken.iter().map(|taken| taken.points.0).sum()));
                self.say(format!("{sum} of them came from {place}."));
                self.taken(taken);
            }
        }
        let pending = Points(returned.from_pending.iter().map(|taken| taken.points.0).sum());
        let rest = [
            (pending, "were still pending"),
            (returned.debt, "were not there any more and are owed"),
            (returned.forgiven, "were not there any more and were let go"),
            (returned.withheld, "were not there any more: the cashier keeps their worth back"),
        ];
        for (points, what) in rest.into_iter().filter(|(points, _)| *points > Points::ZERO) {
            let points = self.points(points);
            self.say(format!("{points} of them {what}."));
        }
        let worth = returned.withheld_value.map(|value| self.money(value));
        if let Some(worth) = worth {
            self.say(format!("To keep back from the refund: {worth}."));
        }
        let totals = &returned.sale.returned;
        if totals.points != returned.points {
            let so_far = self.points(totals.points);
            self.say(format!("Of this purchase {so_far} points have been taken back in all."));
        }
        let said = match returned.reason.trim_end_matches('.') {
            "" => referred(&returned.reference).trim_start().to_owned(),
            reason => format!("Reason: {reason}.{}", referred(&returned.reference)),
        };
        if !said.is_empty() {
            self.say(said);
        }
        self.said
    }

    fn sent(mut self, sent: &TransferredOut) -> Vec<String> {
        let points = self.points(sent.points);
        self.say(format!("{points} points went to member {}. Reason: {}.", sent.to, sent.reason.trim_end_matches('.')));
        self.taken(&allocations(&sent.portions));
        self.said
    }

    fn got(mut self, got: &TransferredIn) -> Vec<String> {
        let points = self.points(got.points);
        let reason = got.reason.trim_end_matches('.');
        self.say(format!("{points} points came from member {}, where entry {} took them. Reason: {reason}.", got.from, got.sequence));
        for (lot, _) in got.lots.iter().take(MAX_STEPS) {
            let points = self.points(lot.points);
            self.say(format!("{points} are in lot {}, with the expiry that they had.", lot.id));
        }
        self.said
    }

    fn redeemed(mut self, redeemed: &Redeemed) -> Vec<String> {
        let (points, value) = (self.points(redeemed.points), self.money(redeemed.value));
        let order = for_order(redeemed.order.as_ref());
        let reference = referred(&redeemed.reference);
        self.say(format!("{points} points were redeemed, worth {value}{order}.{reference}"));
        if let Some(captured) = &redeemed.captured {
            self.say(format!("They were captured from hold {}, which ended with that.", captured.hold));
        }
        self.taken(&allocations(&redeemed.portions));
        if redeemed.owed > Points::ZERO {
            let owed = self.points(redeemed.owed);
            self.say(format!("The till gave them without asking: {owed} of them were not there and are owed."));
        }
        if let Some(captured) = &redeemed.captured {
            self.went_back(captured.released.iter().map(|portion| (portion.points, portion.lot)));
            self.debt_paid(captured.debt_paid);
        }
        self.said
    }

    fn reversed(mut self, reversed: &Reversed, own: MemberId) -> Vec<String> {
        let (points, value) = (self.points(reversed.points), self.money(reversed.value));
        let order = for_order(reversed.order.as_ref());
        let reason =
            if reversed.reason.is_empty() { String::new() } else { format!(" Reason: {}.", reversed.reason.trim_end_matches('.')) };
        self.say(format!(
            "{points} points of the redemption in entry {} went back, worth {value}{order}.{reason}",
            place(reversed.redemption, own)
        ));
        if reversed.debt_paid > Points::ZERO {
            let debt = self.points(reversed.debt_paid);
            self.say(format!("The first {debt} of them paid debt."));
        }
        if reversed.owed > Points::ZERO {
            let owed = self.points(reversed.owed);
            self.say(format!("{owed} of them had been owed."));
        }
        if let Some(lot) = &reversed.lot {
            let (points, valid) = (self.points(lot.points), self.valid(lot.expiry));
            self.say(format!("The debt of {points} of those had been paid: they are in the new lot {}, {valid}.", lot.id));
        }
        self.put_back(&reversed.put_back);
        if reversed.so_far != reversed.points {
            let so_far = self.points(reversed.so_far);
            self.say(format!("Of that redemption {so_far} points have gone back in all."));
        }
        self.said
    }

    fn put_back(&mut self, put_back: &[PutBack]) {
        self.went_back(put_back.iter().map(|back| (back.portion.points, back.into)));
        for back in put_back.iter().filter(|back| back.into != back.portion.lot).take(MAX_STEPS) {
            self.say(format!("Lot {} is new, since lot {} had lapsed.", back.into.id(), back.portion.lot.id()));
        }
    }

    fn held(mut self, hold: &Hold) -> Vec<String> {
        let (points, value) = (self.points(hold.points), self.money(hold.value));
        let (end, zone) = (self.local(hold.expire_time), self.program.time_zone.iana_name().unwrap_or("UTC"));
        let (order, reference) = (for_order(hold.order.as_ref()), referred(&hold.reference));
        self.say(format!("{points} points were set aside in hold {}, worth {value}{order}, until {end} ({zone}).{reference}", hold.id));
        self.taken(&allocations(&hold.portions));
        self.said
    }

    fn released(mut self, released: &Released, instant: Timestamp) -> Vec<String> {
        let (time, zone) = (self.local(instant), self.program.time_zone.iana_name().unwrap_or("UTC"));
        let cause = match released.cause {
            ReleaseCause::Request if released.reason.is_empty() => "was released".to_owned(),
            ReleaseCause::Request => format!("was released (reason: {})", released.reason),
            ReleaseCause::Expired => "was over".to_owned(),
            ReleaseCause::Erased => "ended, since the member was erased,".to_owned(),
        };
        self.say(format!("Hold {} {cause} at {time} ({zone}).", released.hold));
        self.went_back(released.portions.iter().map(|portion| (portion.points, portion.lot)));
        self.debt_paid(released.debt_paid);
        self.said
    }

    fn went_back(&mut self, portions: impl ExactSizeIterator<Item = (Points, LotKey)>) {
        let count = portions.len();
        for (points, lot) in portions.take(MAX_STEPS) {
            let (points, valid) = (self.points(points), self.valid(lot.expiry()));
            self.say(format!("{points} points went back to lot {}, {valid}.", lot.id()));
        }
        if count > MAX_STEPS {
            self.say(format!("{} more lots are in the entry.", count - MAX_STEPS));
        }
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
        let name = rule_name(&award.rule, &award.display_name);
        let mut sentence = format!("{name}: {} at {}", self.counted(award), rate(&award.rate));
        if award.multiplier != Decimal::ONE {
            let tier = accrual.tier.as_ref().map_or_else(String::new, |tier| format!(" of tier {tier}"));
            let birthday = accrual.birthday_multiplier.map_or_else(String::new, |by| format!(", in it {} for the birthday", decimal(by)));
            sentence.push_str(&format!(", times the multiplier {}{tier}{birthday}", decimal(award.multiplier)));
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
        sentence.push_str(&self.limit(award.limit, award.uncapped_points, award.points));
        sentence.push_str(&self.in_lot(award.lot, award.points, award.expiry, &accrual.lots));
        self.say(sentence);
    }

    fn limit(&self, limit: Option<LimitKind>, uncapped: Points, points: Points) -> String {
        let became = |limit| format!(" {}: {} points became {}.", limited(limit), self.points(uncapped), self.points(points));
        limit.map_or_else(String::new, became)
    }

    fn in_lot(&self, lot: Option<LotId>, points: Points, expiry: LotExpiry, lots: &[AccruedLot]) -> String {
        let Some(lot) = lot else { return String::new() };
        let pending = lots.iter().find(|accrued| accrued.id == lot).and_then(|accrued| accrued.pending);
        format!(" {} points in lot {lot}, {}.", self.points(points), self.pending_or_valid(pending, expiry))
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
        let reference = referred(&adjusted.reference);
        self.say(format!("{points} points by hand. Reason: {}.{reference}", adjusted.reason.trim_end_matches('.')));
        if let Some(lot) = &adjusted.lot {
            let sentence = format!("They are in lot {}, {}.", lot.id, self.valid(lot.expiry));
            self.say(sentence);
        }
        self.taken(&adjusted.allocations);
        if adjusted.debt > Points::ZERO {
            let debt = self.points(adjusted.debt);
            self.say(format!("{debt} points were not there and are owed."));
        }
        self.debt_paid(adjusted.lot.as_ref().map_or(Points::ZERO, |lot| lot.debt_paid));
        let qualifying = self.points(adjusted.qualifying_points);
        if adjusted.qualifying_points < Points::ZERO {
            self.say(format!("What counts for tiers changed by {qualifying}."));
        } else if !adjusted.qualifying_points.is_zero() {
            self.say(format!("{qualifying} of them count for tiers."));
        }
        self.said
    }

    fn expired(mut self, allocations: &[Allocation], instant: Timestamp) -> Vec<String> {
        let has_date = |taken: &Allocation| matches!(taken.lot.expiry(), LotExpiry::At(_));
        let inactive = allocations.first().is_some_and(|taken| !has_date(taken));
        let why = if inactive { ", since the member had not been active for as long as the programme allows" } else { "" };
        let sentence = format!("Points lapsed at {} ({}){why}.", self.local(instant), self.program.time_zone.iana_name().unwrap_or("UTC"));
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
}

/// The number of an entry, with whose it is if it is another member's.
fn place(entry: EntryRef, own: MemberId) -> String {
    if entry.member == own { entry.sequence.to_string() } else { format!("{} of member {}", entry.sequence, entry.member) }
}

fn rule_name(rule: &RuleId, display_name: &str) -> String {
    match display_name {
        "" => format!("Rule {rule}"),
        name => format!("Rule {rule} ({name})"),
    }
}

fn flagged(flag: &FraudFlag, program: &Program) -> String {
    let FraudFlag { limit, maximum, count, period_start } = *flag;
    let (count, maximum) = match limit {
        FraudLimit::PurchasesPerHour => (format!("{count} purchases of the member"), maximum.to_string()),
        FraudLimit::AdjustmentsPerDay => (format!("{count} adjustments by the actor"), maximum.to_string()),
        FraudLimit::PointsPerDay => {
            (format!("{} points earned", points_text(Points(count), program)), points_text(Points(maximum), program))
        }
        FraudLimit::AdjustedPointsPerDay => {
            (format!("{} points adjusted by the actor", points_text(Points(count), program)), points_text(Points(maximum), program))
        }
    };
    let since = period_start.to_zoned(program.time_zone.clone()).strftime("%Y-%m-%d %H:%M");
    format!("It is flagged: fraud limit {} allows {maximum}, and this makes {count} since {since}.", limit.name())
}

fn referred(reference: &str) -> String {
    if reference.is_empty() { String::new() } else { format!(" Reference: {reference}.") }
}

fn for_order(order: Option<&OrderKey>) -> String {
    order.map_or_else(String::new, |order| format!(", for order {} of store {}", order.order, order.store))
}

fn allocations(portions: &[Portion]) -> Vec<Allocation> {
    portions.iter().map(Allocation::from).collect()
}

fn limited(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Minimum => "The rule gives a minimum",
        LimitKind::Maximum => "The rule gives a maximum for one award",
        LimitKind::Cap => "The rule's cap for the member and period is reached",
        LimitKind::OncePerMember => "The rule gives only once to a member",
        LimitKind::Times | LimitKind::DailyCap | LimitKind::Budget | LimitKind::Vouchers | LimitKind::Control => "A limit is reached",
    }
}
