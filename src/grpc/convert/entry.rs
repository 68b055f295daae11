//! Entries, and what they hold, as they are shown. A repeated request is answered from its entries by the same functions.

use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::{
    activity::activity_accrued,
    amount::{decimal, money},
    birthday::{birthday_change_kind, birthday_changed},
    effects::{paid, price_effects},
    goal::{goal_change_kind, goal_changed, goal_reached_by, issued_vouchers},
    member::{count, identifier_out, profile},
    merge::{merged_from, merged_into, others},
    offer::{offer_change_kind, offer_changed},
    promotion::promotion_award,
    purchase::purchase_out,
    redemption::{hold_released, points_held, points_redeemed, purchase_redemptions, redemption_reversed, transferred_in, transferred_out},
    referral::{referral_bonus, referral_entries, referral_taken_back, waiting_referral},
    returned::{accrued_lot, points_activated, purchase_returned, purchase_returns},
    segment::segments_changed,
    tier::{tier_benefits, tier_changed, tier_kept, tier_rewarded},
    time::timestamp,
    voucher::{used_vouchers, voucher_change_kind, voucher_changed},
};
use crate::{
    contract::v1,
    domain::{
        Accrual, Adjusted, Allocation, Award, AwardLine, Balance, Entry, EntryKind, FraudLimit, InactiveMonths, Inactivity, LimitKind,
        LineBasis, Lot, LotExpiry, PAUSED, Program, ProgramHistory, PurchaseAccrued, Rate, RoundingMode, RoundingStep, Sealed,
    },
    ledger::Listed,
};

/// What RecordPurchase answers, from the entries that the request led to, and the names of the vouchers that they use. `None` if they are not
/// those of a purchase.
pub fn purchase_recorded(history: &ProgramHistory, entries: &[Entry], names: Vec<String>) -> Option<v1::RecordPurchaseResponse> {
    let accrued =
        entries.iter().find_map(|entry| if let EntryKind::PurchaseAccrued(accrued) = &entry.kind { Some((entry, accrued)) } else { None });
    let (entry, accrued) = accrued?;
    let change = tier_change(history, entries);
    let program = program_of(history, entry);
    let currency = &program.currency;
    Some(v1::RecordPurchaseResponse {
        member_id: entry.key.member.to_string(),
        entry_sequence: count(entry.sequence),
        record_time: Some(timestamp(entry.record_time)),
        accrual: Some(accrual(&accrued.accrual, judged_by(history, &accrued.accrual))),
        balance: last_balance(entries),
        tier_id: tier_after(accrued, change.as_ref()),
        tier_change: change,
        redemptions: purchase_redemptions(entries, currency),
        flags: fraud_flags(entry),
        benefits: tier_benefits(
            history.version(accrued.accrual.program_version).map(|program| &**program),
            accrued.accrual.tier.as_ref(),
            entry.occurred_time,
        ),
        vouchers: used_vouchers(entries, names, currency),
        issued_vouchers: issued_vouchers(history, entries),
        goal_reached: goal_reached_by(entries),
        price_effects: price_effects(&accrued.effects, program),
        priced: paid(&accrued.purchase, currency),
        referral: referral_bonus(entries),
    })
}

pub fn tier_after(accrued: &PurchaseAccrued, change: Option<&v1::TierChanged>) -> String {
    match change {
        Some(change) => change.to_tier_id.clone(),
        None => accrued.tier.as_ref().map_or_else(String::new, ToString::to_string),
    }
}

/// After the last of the entries.
pub fn last_balance(entries: &[Entry]) -> Option<v1::Balance> {
    entries.last().map(|entry| balance(&entry.balance))
}

/// The change of the tier among the entries of a request; of several, of which a return can have two, the last.
pub fn tier_change(history: &ProgramHistory, entries: &[Entry]) -> Option<v1::TierChanged> {
    let change = |entry: &Entry| match &entry.kind {
        EntryKind::TierChanged(change) => Some(tier_changed(change, &program_of(history, entry).currency)),
        _ => None,
    };
    entries.iter().rev().find_map(change)
}

/// The rule book that an entry was decided by.
pub fn program_of<'a>(history: &'a ProgramHistory, entry: &Entry) -> &'a Program {
    history.version(entry.program_version).unwrap_or_else(|| history.newest())
}

/// The rule book that a purchase was judged by.
fn judged_by<'a>(history: &'a ProgramHistory, accrual: &Accrual) -> &'a Program {
    history.version(accrual.program_version).unwrap_or_else(|| history.newest())
}

/// What is not recorded yet has no time of that.
pub fn listed(listed: &Listed, history: &ProgramHistory) -> v1::Entry {
    let record_time = listed.is_recorded.then(|| timestamp(listed.entry.record_time));
    v1::Entry { record_time, ..entry(&listed.entry, history) }
}

pub fn entry(entry: &Entry, history: &ProgramHistory) -> v1::Entry {
    let months = entry.inactive_months.as_deref();
    v1::Entry {
        sequence: count(entry.sequence),
        record_time: Some(timestamp(entry.record_time)),
        occurred_time: Some(timestamp(entry.occurred_time)),
        request_id: entry.request.as_ref().map_or_else(String::new, |request| request.id.to_string()),
        actor: entry.actor.as_ref().map(|actor| v1::Actor { actor_id: actor.to_string() }),
        principal_id: entry.principal.as_ref().map_or_else(String::new, ToString::to_string),
        program_version: version(entry.program_version),
        points: entry.points().0,
        balance: Some(balance(&entry.balance)),
        inactivity_time: entry
            .inactivity_time
            .filter(|time| *time != PAUSED)
            .or(months.and_then(|record| record.lapse_time))
            .map(timestamp),
        inactivity_paused: entry.inactivity_time == Some(PAUSED) || months.is_some_and(|record| record.paused),
        kind: Some(kind(entry, program_of(history, entry))),
        flags: fraud_flags(entry),
    }
}

pub(super) fn fraud_limit(limit: FraudLimit) -> v1::FraudLimit {
    match limit {
        FraudLimit::PurchasesPerHour => v1::FraudLimit::PurchasesPerHour,
        FraudLimit::PointsPerDay => v1::FraudLimit::PointsPerDay,
        FraudLimit::AdjustmentsPerDay => v1::FraudLimit::AdjustmentsPerDay,
        FraudLimit::AdjustedPointsPerDay => v1::FraudLimit::AdjustedPointsPerDay,
    }
}

fn fraud_flags(entry: &Entry) -> Vec<v1::FraudFlag> {
    let shown = entry.flags().iter().map(|flag| v1::FraudFlag {
        limit: fraud_limit(flag.limit).into(),
        maximum: flag.maximum,
        count: flag.count,
        period_start: Some(timestamp(flag.period_start)),
    });
    shown.collect()
}

/// How the contract calls the kind of an entry.
pub fn entry_kind(kind: &EntryKind) -> v1::EntryKind {
    match kind {
        EntryKind::MemberEnrolled { .. } => v1::EntryKind::MemberEnrolled,
        EntryKind::ProfileUpdated { .. } => v1::EntryKind::ProfileUpdated,
        EntryKind::IdentifierAdded { .. } => v1::EntryKind::IdentifierAdded,
        EntryKind::IdentifierRemoved { .. } => v1::EntryKind::IdentifierRemoved,
        EntryKind::MemberSuspended { .. } => v1::EntryKind::MemberSuspended,
        EntryKind::MemberReactivated { .. } => v1::EntryKind::MemberReactivated,
        EntryKind::MemberErased { .. } => v1::EntryKind::MemberErased,
        EntryKind::PurchaseAccrued(_) => v1::EntryKind::PurchaseAccrued,
        EntryKind::PointsAdjusted(_) => v1::EntryKind::PointsAdjusted,
        EntryKind::PointsExpired(_) => v1::EntryKind::PointsExpired,
        EntryKind::TierChanged(_) => v1::EntryKind::TierChanged,
        EntryKind::TierKept(_) => v1::EntryKind::TierKept,
        EntryKind::TierRewarded(_) => v1::EntryKind::TierRewarded,
        EntryKind::PointsRedeemed(_) => v1::EntryKind::PointsRedeemed,
        EntryKind::RedemptionReversed(_) => v1::EntryKind::RedemptionReversed,
        EntryKind::PointsHeld(_) => v1::EntryKind::PointsHeld,
        EntryKind::HoldReleased(_) => v1::EntryKind::HoldReleased,
        EntryKind::PointsActivated(_) => v1::EntryKind::PointsActivated,
        EntryKind::PurchaseReturned(_) => v1::EntryKind::PurchaseReturned,
        EntryKind::PointsTransferredOut(_) => v1::EntryKind::PointsTransferredOut,
        EntryKind::PointsTransferredIn(_) => v1::EntryKind::PointsTransferredIn,
        EntryKind::ActivityAccrued(_) => v1::EntryKind::ActivityAccrued,
        EntryKind::MergedInto(_) => v1::EntryKind::MergedInto,
        EntryKind::MergedFrom(_) => v1::EntryKind::MergedFrom,
        EntryKind::VoucherChanged(changed) => voucher_change_kind(changed),
        EntryKind::BirthdayChanged(changed) => birthday_change_kind(changed),
        EntryKind::ReferralMade(_) => v1::EntryKind::ReferralMade,
        EntryKind::ReferralTakenBack(_) => v1::EntryKind::ReferralTakenBack,
        EntryKind::OfferChanged(changed) => offer_change_kind(changed),
        EntryKind::SegmentsChanged(_) => v1::EntryKind::SegmentsChanged,
        EntryKind::GoalChanged(changed) => goal_change_kind(changed),
    }
}

/// `program`: the rule book that it was decided by; of a purchase the one that judged it.
fn kind(entry: &Entry, program: &Program) -> v1::entry::Kind {
    let currency = &program.currency;
    use v1::entry::Kind;
    let own = entry.key.member;
    match &entry.kind {
        EntryKind::MemberEnrolled { person } => {
            let person = person.open();
            Kind::MemberEnrolled(v1::MemberEnrolled {
                identifiers: person.map_or_else(Vec::new, |person| person.identifiers.iter().map(identifier_out).collect()),
                profile: person.map(|person| profile(&person.profile)),
            })
        }
        EntryKind::ProfileUpdated { profile: sealed } => {
            Kind::ProfileUpdated(v1::ProfileUpdated { profile: Sealed::open(sealed).map(profile) })
        }
        EntryKind::IdentifierAdded { identifier } => {
            Kind::IdentifierAdded(v1::IdentifierAdded { identifier: identifier.open().map(identifier_out) })
        }
        EntryKind::IdentifierRemoved { identifier } => {
            Kind::IdentifierRemoved(v1::IdentifierRemoved { identifier: identifier.open().map(identifier_out) })
        }
        EntryKind::MemberSuspended { reason } => Kind::MemberSuspended(v1::MemberSuspended { reason: reason.clone() }),
        EntryKind::MemberReactivated { reason } => Kind::MemberReactivated(v1::MemberReactivated { reason: reason.clone() }),
        EntryKind::MemberErased { reason } => Kind::MemberErased(v1::MemberErased { reason: reason.clone() }),
        EntryKind::PurchaseAccrued(accrued) => Kind::PurchaseAccrued(v1::PurchaseAccrued {
            purchase: Some(purchase_out(&accrued.purchase, entry.occurred_time, currency)),
            accrual: Some(accrual(&accrued.accrual, program)),
            redemption_sequences: accrued.redemptions.iter().map(|redemption| count(redemption.sequence)).collect(),
            redemption_member_ids: others(&accrued.redemptions, own),
            price_effects: price_effects(&accrued.effects, program),
        }),
        EntryKind::PointsAdjusted(adjusted) => Kind::PointsAdjusted(points_adjusted(adjusted)),
        EntryKind::PointsExpired(expired) => Kind::PointsExpired(v1::PointsExpired { allocations: allocations(&expired.allocations) }),
        EntryKind::TierChanged(change) => Kind::TierChanged(tier_changed(change, currency)),
        EntryKind::TierKept(kept) => Kind::TierKept(tier_kept(kept, currency)),
        EntryKind::TierRewarded(rewarded) => Kind::TierRewarded(tier_rewarded(rewarded)),
        EntryKind::PointsRedeemed(redeemed) => Kind::PointsRedeemed(points_redeemed(redeemed, currency)),
        EntryKind::RedemptionReversed(reversed) => Kind::RedemptionReversed(redemption_reversed(reversed, own, currency)),
        EntryKind::PointsHeld(held) => Kind::PointsHeld(points_held(held, currency)),
        EntryKind::HoldReleased(released) => Kind::HoldReleased(hold_released(released)),
        EntryKind::PointsActivated(activated) => Kind::PointsActivated(points_activated(activated)),
        EntryKind::PurchaseReturned(returned) => Kind::PurchaseReturned(purchase_returned(returned, own, currency)),
        EntryKind::PointsTransferredOut(sent) => Kind::PointsTransferredOut(transferred_out(sent)),
        EntryKind::PointsTransferredIn(got) => Kind::PointsTransferredIn(transferred_in(got)),
        EntryKind::ActivityAccrued(accrued) => Kind::ActivityAccrued(activity_accrued(accrued)),
        EntryKind::MergedInto(gone) => Kind::MergedInto(merged_into(gone)),
        EntryKind::MergedFrom(got) => Kind::MergedFrom(merged_from(got, entry, program)),
        EntryKind::VoucherChanged(changed) => voucher_changed(changed, entry, currency),
        EntryKind::BirthdayChanged(changed) => birthday_changed(changed),
        EntryKind::ReferralMade(made) => Kind::ReferralMade(v1::ReferralMade { referral: Some(waiting_referral(made, currency)) }),
        EntryKind::ReferralTakenBack(back) => Kind::ReferralTakenBack(referral_taken_back(back, currency)),
        EntryKind::OfferChanged(changed) => offer_changed(changed),
        EntryKind::SegmentsChanged(changed) => Kind::SegmentsChanged(segments_changed(changed)),
        EntryKind::GoalChanged(changed) => goal_changed(changed),
    }
}

fn points_adjusted(adjusted: &Adjusted) -> v1::PointsAdjusted {
    let lot = adjusted.lot.as_ref();
    v1::PointsAdjusted {
        points: adjusted.points.0,
        reason: adjusted.reason.clone(),
        reference: adjusted.reference.clone(),
        lot_id: lot.map_or_else(String::new, |lot| lot.id.to_string()),
        expire_time: lot.and_then(|lot| lot.expiry.time()).map(timestamp),
        lapses_with_inactivity: lot.is_some_and(|lot| lot.expiry.is_with_inactivity()),
        allocations: allocations(&adjusted.allocations),
        qualifying_points: adjusted.qualifying_points.0,
        debt: adjusted.debt.0,
    }
}

pub(super) fn allocations(allocations: &[Allocation]) -> Vec<v1::Allocation> {
    let shown = |taken: &Allocation| v1::Allocation {
        lot_id: taken.lot.id().to_string(),
        points: taken.points.0,
        entry_sequence: count(taken.entry_sequence),
    };
    allocations.iter().map(shown).collect()
}

pub fn balance(balance: &Balance) -> v1::Balance {
    v1::Balance {
        available: balance.available.0,
        pending: balance.pending.0,
        held: balance.held.0,
        debt: balance.debt.0,
        issued: balance.issued.0,
        redeemed: balance.redeemed.0,
        expired: balance.expired.0,
        clawed_back: balance.clawed_back.0,
        reinstated: balance.reinstated.0,
        transferred_in: balance.transferred_in.0,
        transferred_out: balance.transferred_out.0,
    }
}

/// Of a member with these points that lapse with inactivity, or by months of it.
pub fn lot(lot: &Lot, (inactivity, months): (&Inactivity, &InactiveMonths), zone: &TimeZone) -> v1::Lot {
    let expire_time = match lot.expiry {
        LotExpiry::At(time) => Some(time),
        LotExpiry::InactiveMonths(earned) => months.lapse_time(earned, zone),
        LotExpiry::Inactivity => inactivity.expire_time(),
        LotExpiry::Never => None,
    };
    v1::Lot {
        lot_id: lot.id.to_string(),
        issued_points: lot.issued.0,
        remaining_points: lot.remaining.0,
        earn_time: Some(timestamp(lot.earn_time)),
        expire_time: expire_time.map(timestamp),
        entry_sequence: count(lot.entry_sequence),
        lapses_with_inactivity: lot.expiry.is_with_inactivity(),
    }
}

/// `program`: the version that it was judged by.
pub fn accrual(accrual: &Accrual, program: &Program) -> v1::Accrual {
    let currency = &program.currency;
    let promotions = accrual.promotions.iter().map(|award| promotion_award(award, program));
    v1::Accrual {
        points: accrual.points.0,
        qualifying_points: accrual.qualifying_points.0,
        basis: Some(money(accrual.basis, currency)),
        program_version: version(accrual.program_version),
        tier_id: accrual.tier.as_ref().map_or_else(String::new, ToString::to_string),
        awards: accrual.awards.iter().map(award).chain(promotions).collect(),
        line_bases: accrual.line_bases.iter().map(line_basis).collect(),
        order_rounding: accrual.order_rounding.as_ref().map(rounding_step),
        lots: accrual.lots.iter().map(accrued_lot).collect(),
        birthday_multiplier: accrual.birthday_multiplier.map_or_else(String::new, decimal),
    }
}

fn line_basis(line: &LineBasis) -> v1::LineBasis {
    v1::LineBasis {
        order_discount_share: decimal(line.order_discount_share),
        tender_share: decimal(line.tender_share),
        basis: decimal(line.basis),
    }
}

fn award(award: &Award) -> v1::Award {
    v1::Award {
        rule_id: award.rule.to_string(),
        promotion_id: String::new(),
        voucher_kind_id: String::new(),
        display_name: award.display_name.clone(),
        basis: decimal(award.basis),
        rate: rate(&award.rate),
        multiplier: decimal(award.multiplier),
        roundings: award.roundings.iter().map(rounding_step).collect(),
        uncapped_points: award.uncapped_points.0,
        limit: limit(award.limit).into(),
        points: award.points.0,
        qualifying_points: award.qualifying_points.0,
        lines: award_lines(&award.lines),
        expire_time: award.expiry.time().map(timestamp),
        lapses_with_inactivity: award.expiry.is_with_inactivity(),
        lot_id: award.lot.map_or_else(String::new, |lot| lot.to_string()),
        arm_id: String::new(),
    }
}

pub(super) fn award_lines(lines: &[AwardLine]) -> Vec<v1::AwardLine> {
    let shown = lines.iter().map(|line| v1::AwardLine {
        // A purchase has at most 10,000 lines.
        line_index: i32::try_from(line.line).unwrap_or(i32::MAX),
        basis: decimal(line.basis),
        points: line.points.0,
    });
    shown.collect()
}

pub(super) fn limit(limit: Option<LimitKind>) -> v1::award::LimitKind {
    use v1::award::LimitKind as Limit;
    match limit {
        None => Limit::Unspecified,
        Some(LimitKind::Minimum) => Limit::Minimum,
        Some(LimitKind::Maximum) => Limit::Maximum,
        Some(LimitKind::Cap) => Limit::Cap,
        Some(LimitKind::OncePerMember) => Limit::OncePerMember,
        Some(LimitKind::Times) => Limit::Times,
        Some(LimitKind::DailyCap) => Limit::DailyCap,
        Some(LimitKind::Budget) => Limit::Budget,
        Some(LimitKind::Vouchers) => Limit::Vouchers,
        Some(LimitKind::Control) => Limit::Control,
    }
}

/// In words of the rule's field, as `Award.rate` says.
pub fn rate(rate: &Rate) -> String {
    match rate {
        Rate::PerAmount { amount, points, whole_blocks: _ } => format!("{} per {}", decimal(*points), decimal(*amount)),
        Rate::PerUnit { points } => format!("{} per unit", decimal(*points)),
        Rate::PerOrder { points } => format!("{} per order", decimal(*points)),
        Rate::PerProduct { points } => format!("{} per product", decimal(*points)),
    }
}

pub(super) fn rounding_step(step: &RoundingStep) -> v1::RoundingStep {
    use v1::rounding::Mode;
    let mode = match step.mode {
        RoundingMode::Floor => Mode::Floor,
        RoundingMode::HalfUp => Mode::HalfUp,
        RoundingMode::HalfEven => Mode::HalfEven,
        RoundingMode::Ceiling => Mode::Ceiling,
    };
    let carried = |number: Decimal| if number.is_zero() { String::new() } else { decimal(number.round_dp(SHOWN_PLACES)) };
    v1::RoundingStep {
        exact: decimal(step.exact.round_dp(SHOWN_PLACES)),
        carried_in: carried(step.carried_in),
        mode: mode.into(),
        rounded: step.rounded.0,
        carried_out: carried(step.carried_out),
    }
}

/// Decimal places of exact points that are shown at most.
pub const SHOWN_PLACES: u32 = 12;

/// Versions are counted from 1 and published by hand.
pub fn version(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

/// A purchase as it was recorded, with what has come back by the newest entry of its story. `None` if the entry is not one of a purchase.
pub fn purchase_shown(
    history: &ProgramHistory,
    entry: &Entry,
    latest: Option<&Entry>,
    referral: &[Entry],
) -> Option<v1::GetPurchaseResponse> {
    let program = program_of(history, entry);
    let v1::entry::Kind::PurchaseAccrued(accrued) = kind(entry, program) else {
        return None;
    };
    Some(v1::GetPurchaseResponse {
        member_id: entry.key.member.to_string(),
        entry_sequence: count(entry.sequence),
        record_time: Some(timestamp(entry.record_time)),
        purchase: accrued.purchase,
        accrual: accrued.accrual,
        redemption_sequences: accrued.redemption_sequences,
        returns: latest.and_then(|latest| purchase_returns(entry.key.member, latest, &program.currency)),
        redemption_member_ids: accrued.redemption_member_ids,
        price_effects: accrued.price_effects,
        referral_entries: referral_entries(referral, history),
    })
}
