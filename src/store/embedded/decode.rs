//! What `proto/loyalty/storage/v1` says becomes domain types again. Bytes that passed their check but are not what `encode.rs` writes
//! are damage, not a panic.

use std::{path::Path, sync::Arc};

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use crate::{
    contract::known_fields::UnknownField,
    domain::{
        Accrual, AccruedLot, ActorId, Adjusted, Allocation, Award, AwardLine, Balance, Counter, Entry, EntryKind, EntryRef, Expired,
        Fingerprint, Goals, Header, Held, HoldId, Inactivity, LifetimeTotals, LimitKind, Line, LineBasis, LineKind, Lot, LotExpiry, LotId,
        LotKey, MemberId, MemberKey, MemberState, Month, OrderId, OrderKey, Payment, Pending, PeriodStart, Points, PrincipalId, ProgramId,
        Purchase, PurchaseAccrued, Rate, Request, RequestId, RoundingMode, RoundingStep, RuleId, Sealed, StoreId, Tender, TenderKind,
        TierId, TierSince, VoucherSummary,
    },
    store::{Publication, StoreError},
};

use super::{
    activities, birthdays,
    decode_fraud::{fraud_counter, watched},
    decode_holds::{hold, redeemed, released, reversed, transferred_in, transferred_out},
    decode_merge::{merged, merged_from, merged_into},
    decode_person::{identifier_bytes, person, profile_bytes},
    decode_returns::{activated, returned},
    effects, formats, goals, months, offers, promotions, referrals, rewards,
    segment::damaged,
    segments, stored, tiers, vouchers,
    wire::{BY_MONTHS, WITH_INACTIVITY, read_decimal},
};

/// Which field does not hold what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not what the format says")]
pub(super) struct Malformed(pub(super) &'static str);

/// Why something that is stored cannot be read. Whoever reads it knows where it lies.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A newer version wrote it.
    #[error("{0} is not known")]
    Newer(UnknownField),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Of a row: the tables can be made again.
impl From<Malformed> for StoreError {
    fn from(fault: Malformed) -> Self {
        StoreError::Tables(fault.to_string())
    }
}

impl Unreadable {
    pub(super) fn in_row(self) -> StoreError {
        match self {
            Self::Malformed(fault) => fault.into(),
            Self::Newer(_) => StoreError::Tables(self.to_string()),
            Self::Store(error) => error,
        }
    }

    /// Its checksum is right, so it was written so: damage.
    pub(super) fn in_journal(self, segment: &Path, offset: u64) -> StoreError {
        match self {
            Self::Malformed(fault) => damaged(segment, offset, &fault.to_string()),
            Self::Newer(field) => formats::unknown_field(segment, offset, &field),
            Self::Store(error) => error,
        }
    }
}

pub(super) type Decoded<T> = Result<T, Malformed>;

/// What opens sealed fields: the kind of entry decides which message is inside.
pub(super) trait Unseal {
    fn unseal(&self, key: &MemberKey, sequence: u64, sealed: &[u8]) -> Result<Option<Vec<u8>>, Unreadable>;
}

pub(super) fn entry(key: &MemberKey, entry: stored::Entry, keys: &impl Unseal) -> Result<Entry, Unreadable> {
    let record_time = time(entry.record_time)?;
    let occurred_time = time(entry.record_time.checked_sub(entry.delay).ok_or(Malformed("delay"))?)?;
    let open = || keys.unseal(key, entry.sequence, &entry.sealed);
    use stored::entry::Kind;
    let kind = match entry.kind.ok_or(Malformed("kind"))? {
        Kind::PurchaseAccrued(accrued) => EntryKind::PurchaseAccrued(Arc::new(purchase_accrued(key.member, accrued, occurred_time)?)),
        Kind::PointsAdjusted(one) => EntryKind::PointsAdjusted(adjusted(one)?),
        Kind::PointsExpired(one) => EntryKind::PointsExpired(expired(one)?),
        Kind::TierChanged(one) => EntryKind::TierChanged(tiers::read_change(one)?),
        Kind::TierKept(one) => EntryKind::TierKept(tiers::read_kept(&one)?),
        Kind::TierRewarded(one) => EntryKind::TierRewarded(tiers::read_rewarded(&one)?),
        Kind::MemberEnrolled(_) => EntryKind::MemberEnrolled { person: sealed(open()?, person)? },
        Kind::ProfileUpdated(_) => EntryKind::ProfileUpdated { profile: sealed(open()?, profile_bytes)? },
        Kind::IdentifierAdded(_) => EntryKind::IdentifierAdded { identifier: sealed(open()?, identifier_bytes)? },
        Kind::IdentifierRemoved(_) => EntryKind::IdentifierRemoved { identifier: sealed(open()?, identifier_bytes)? },
        Kind::MemberSuspended(one) => EntryKind::MemberSuspended { reason: one.reason },
        Kind::MemberReactivated(one) => EntryKind::MemberReactivated { reason: one.reason },
        Kind::MemberErased(one) => EntryKind::MemberErased { reason: one.reason },
        Kind::PointsRedeemed(one) => EntryKind::PointsRedeemed(redeemed(one)?),
        Kind::RedemptionReversed(one) => EntryKind::RedemptionReversed(reversed(key.member, one)?),
        Kind::PointsHeld(one) => EntryKind::PointsHeld(Held {
            hold: hold(HoldId(entry.sequence), one.hold.unwrap_or_default())?,
            next_expiry_time: optional_time(one.next_expiry_time)?,
        }),
        Kind::HoldReleased(one) => EntryKind::HoldReleased(released(one)?),
        Kind::PointsActivated(one) => EntryKind::PointsActivated(activated(key.member, one)?),
        Kind::PurchaseReturned(one) => EntryKind::PurchaseReturned(Arc::new(returned(key.member, one)?)),
        Kind::PointsTransferredOut(one) => EntryKind::PointsTransferredOut(transferred_out(one)?),
        Kind::PointsTransferredIn(one) => EntryKind::PointsTransferredIn(transferred_in(one)?),
        Kind::ActivityAccrued(one) => EntryKind::ActivityAccrued(Arc::new(activities::read_accrued(one)?)),
        Kind::MergedInto(one) => EntryKind::MergedInto(merged_into(one)?),
        Kind::MergedFrom(one) => EntryKind::MergedFrom(Arc::new(merged_from(one, sealed(open()?, person)?)?)),
        Kind::VoucherChanged(one) => EntryKind::VoucherChanged(vouchers::read_changed(one)?),
        Kind::GoalChanged(one) => EntryKind::GoalChanged(goals::read_changed(&one)?),
        Kind::ReferralMade(one) => EntryKind::ReferralMade(Box::new(referrals::read_referral(&one)?)),
        Kind::ReferralTakenBack(one) => EntryKind::ReferralTakenBack(Box::new(referrals::read_taken_back(one)?)),
        Kind::OfferChanged(one) => EntryKind::OfferChanged(offers::read_changed(one)?),
        Kind::SegmentsChanged(one) => EntryKind::SegmentsChanged(segments::read_changed(&one)?),
        Kind::BirthdayChanged(one) => {
            let plan = sealed(open()?, birthdays::read_sealed_plan)?;
            EntryKind::BirthdayChanged(Box::new(birthdays::read_changed(one, plan)?))
        }
    };
    Ok(Entry {
        key: key.clone(),
        sequence: entry.sequence,
        record_time,
        occurred_time,
        request: request(&entry.request_uuid, &entry.request_id, &entry.fingerprint)?,
        actor: actor(&entry.actor_id)?,
        principal: principal(&entry.principal_id)?,
        program_version: entry.program_version,
        balance: balance(entry.balance.unwrap_or_default()),
        watched: entry.watched.as_ref().map(watched).transpose()?.map(Box::new),
        inactivity_time: optional_time(entry.inactivity_time)?,
        inactive_months: entry.inactive_months.as_ref().map(months::read_record).transpose()?.map(Box::new),
        counted: entry.counted.as_ref().map(tiers::read_counted).transpose()?,
        day_counted: entry.day_counted.as_ref().map(tiers::read_counted).transpose()?,
        kind,
    })
}

fn sealed<T>(plain: Option<Vec<u8>>, read: impl FnOnce(&[u8]) -> Decoded<T>) -> Decoded<Sealed<T>> {
    Ok(match plain {
        Some(plain) => {
            let plain = zeroize::Zeroizing::new(plain);
            Sealed::Open(read(&plain)?)
        }
        None => Sealed::Erased,
    })
}

pub(super) fn time(micros: i64) -> Decoded<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|_| Malformed("an instant"))
}

pub(super) fn optional_time(micros: Option<i64>) -> Decoded<Option<Timestamp>> {
    micros.map(time).transpose()
}

pub(super) fn expiry(micros: Option<i64>) -> Decoded<LotExpiry> {
    Ok(match micros {
        None => LotExpiry::Never,
        Some(WITH_INACTIVITY) => LotExpiry::Inactivity,
        Some(number) if number >= BY_MONTHS => LotExpiry::InactiveMonths(month(number - BY_MONTHS)?),
        Some(micros) => LotExpiry::At(time(micros)?),
    })
}

/// One that there is in the calendar.
pub(super) fn month(number: i64) -> Decoded<Month> {
    i32::try_from(number).ok().and_then(|number| Month(number).in_calendar()).ok_or(Malformed("a month"))
}

pub(super) fn decimal(bytes: &[u8]) -> Decoded<Decimal> {
    read_decimal(bytes).ok_or(Malformed("a decimal"))
}

fn decimal_or_one(bytes: Option<&[u8]>) -> Decoded<Decimal> {
    bytes.map_or(Ok(Decimal::ONE), decimal)
}

fn some_text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Empty: nobody is named.
fn actor(text: &str) -> Decoded<Option<ActorId>> {
    some_text(text).map(|text| ActorId::new(text).map_err(|_| Malformed("actor_id"))).transpose()
}

pub(super) fn principal(text: &str) -> Decoded<Option<PrincipalId>> {
    some_text(text).map(|text| PrincipalId::new(text).map_err(|_| Malformed("principal_id"))).transpose()
}

fn request(uuid: &[u8], text: &str, fingerprint: &[u8]) -> Decoded<Option<Request>> {
    let id = match (<[u8; 16]>::try_from(uuid), text) {
        (Ok(uuid), "") => RequestId::new(&uuid::Uuid::from_bytes(uuid).to_string()),
        (Err(_), "") if uuid.is_empty() => return Ok(None),
        (Err(_), text) if uuid.is_empty() => RequestId::new(text),
        _ => return Err(Malformed("request_uuid")),
    };
    let fingerprint = Fingerprint(fingerprint.try_into().map_err(|_| Malformed("fingerprint"))?);
    Ok(Some(Request { id: id.map_err(|_| Malformed("request_id"))?, fingerprint }))
}

pub(super) fn member_id(bytes: &[u8]) -> Decoded<MemberId> {
    Ok(MemberId(bytes.try_into().map_err(|_| Malformed("member_id"))?))
}

pub(super) fn program_id(text: &str) -> Decoded<ProgramId> {
    ProgramId::new(text).map_err(|_| Malformed("program_id"))
}

pub(super) fn rule_id(text: &str) -> Decoded<RuleId> {
    RuleId::new(text).map_err(|_| Malformed("rule_id"))
}

pub(super) fn tier_id(text: &str) -> Decoded<TierId> {
    TierId::new(text).map_err(|_| Malformed("tier_id"))
}

pub(super) fn optional_tier(text: &str) -> Decoded<Option<TierId>> {
    some_text(text).map(tier_id).transpose()
}

pub(super) fn publication(publication: stored::Publication) -> Decoded<Publication> {
    Ok(Publication {
        program: program_id(&publication.program_id)?,
        version: publication.version,
        publish_time: time(publication.publish_time)?,
        request: request(&[], &publication.request_id, &publication.fingerprint)?.ok_or(Malformed("request_id"))?,
        actor: actor(&publication.actor_id)?,
        principal: principal(&publication.principal_id)?,
        document: publication.document,
    })
}

fn balance(balance: stored::Balance) -> Balance {
    Balance {
        available: Points(balance.available),
        pending: Points(balance.pending),
        held: Points(balance.held),
        debt: Points(balance.debt),
        issued: Points(balance.issued),
        redeemed: Points(balance.redeemed),
        expired: Points(balance.expired),
        clawed_back: Points(balance.clawed_back),
        reinstated: Points(balance.reinstated),
        transferred_in: Points(balance.transferred_in),
        transferred_out: Points(balance.transferred_out),
    }
}

/// Whose entry is spoken of; none is named for one's own.
pub(super) fn entry_ref(own: MemberId, member: &[u8], sequence: u64) -> Decoded<EntryRef> {
    Ok(EntryRef { member: if member.is_empty() { own } else { member_id(member)? }, sequence })
}

fn purchase_accrued(own: MemberId, accrued: stored::PurchaseAccrued, occurred_time: Timestamp) -> Decoded<PurchaseAccrued> {
    let owners = accrued.redemption_member_ids.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
    let redemptions = accrued.redemptions.iter().zip(owners).map(|(sequence, member)| entry_ref(own, member, *sequence));
    let redemptions = redemptions.collect::<Decoded<_>>()?;
    Ok(PurchaseAccrued {
        purchase: Arc::new(purchase(accrued.purchase.unwrap_or_default(), occurred_time)?),
        accrual: accrual(accrued.accrual.unwrap_or_default())?,
        tier: optional_tier(&accrued.tier_id)?,
        redemptions,
        effects: accrued.effects.into_iter().map(effects::read).collect::<Decoded<_>>()?,
        referral: accrued.referral.as_ref().map(|entry| referrals::read_entry(Some(entry))).transpose()?,
        referral_basis: accrued.referral_basis.as_deref().map(decimal).transpose()?,
    })
}

fn purchase(purchase: stored::Purchase, occurred_time: Timestamp) -> Decoded<Purchase> {
    let order = order(&purchase.store_id, &purchase.order_id)?;
    let said = purchase.occurred_delay.map(|delay| {
        let micros = occurred_time.as_microsecond().checked_sub(delay).ok_or(Malformed("occurred_delay"))?;
        time(micros)
    });
    Ok(Purchase {
        order,
        occurred_time: said.transpose()?,
        channel: purchase.channel,
        lines: purchase.lines.into_iter().map(line).collect::<Decoded<_>>()?,
        order_discount: decimal(&purchase.order_discount)?,
        prices_include_tax: purchase.prices_include_tax,
        shipping: decimal(&purchase.shipping)?,
        tip: decimal(&purchase.tip)?,
        total: decimal(&purchase.total)?,
        tenders: purchase.tenders.into_iter().map(tender).collect::<Decoded<_>>()?,
        labels: purchase.labels,
        payments: purchase.payments.iter().map(payment).collect::<Decoded<_>>()?,
        offline: purchase.offline,
        vouchers: purchase.voucher_codes.iter().map(|code| vouchers::read_code(code)).collect::<Decoded<_>>()?,
        codes: purchase.codes,
        apply_effects: purchase.effects_applied,
        own_discounts: purchase.own_discounts.map(|own| effects::read_own(&own).map(Box::new)).transpose()?,
        quote: None,
    })
}

pub(super) fn order(store: &str, order: &str) -> Decoded<Option<OrderKey>> {
    match (some_text(store), some_text(order)) {
        (Some(store), Some(order)) => Ok(Some(OrderKey {
            store: StoreId::new(store).map_err(|_| Malformed("store_id"))?,
            order: OrderId::new(order).map_err(|_| Malformed("order_id"))?,
        })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(Malformed("order_id")),
    }
}

fn payment(payment: &stored::Payment) -> Decoded<Payment> {
    let points = payment.points.map(Points);
    match payment.kind {
        0 => Ok(Payment::Redeem { points: points.ok_or(Malformed("payment.points"))? }),
        1 => Ok(Payment::Capture { hold: HoldId(payment.sequence), points }),
        2 => Ok(Payment::Redeemed { redemption: payment.sequence }),
        _ => Err(Malformed("payment.kind")),
    }
}

fn line(line: stored::Line) -> Decoded<Line> {
    Ok(Line {
        sku: line.sku,
        category: line.category,
        labels: line.labels,
        quantity: decimal_or_one(line.quantity.as_deref())?,
        amount: decimal(&line.amount)?,
        discount: decimal(&line.discount)?,
        tax: decimal(&line.tax)?,
        kind: match line.kind {
            0 => LineKind::Goods,
            1 => LineKind::GiftCard,
            _ => return Err(Malformed("line.kind")),
        },
    })
}

fn tender(tender: stored::Tender) -> Decoded<Tender> {
    let kind = match tender.kind {
        0 => TenderKind::Cash,
        1 => TenderKind::Card,
        2 => TenderKind::StoreCard,
        3 => TenderKind::GiftCard,
        4 => TenderKind::Points,
        5 => TenderKind::Voucher,
        6 => TenderKind::Other,
        _ => return Err(Malformed("tender.kind")),
    };
    Ok(Tender { kind, amount: decimal(&tender.amount)? })
}

fn accrual(accrual: stored::Accrual) -> Decoded<Accrual> {
    Ok(Accrual {
        points: Points(accrual.points),
        qualifying_points: Points(accrual.qualifying_points.unwrap_or(accrual.points)),
        basis: decimal(&accrual.basis)?,
        program_version: accrual.program_version,
        tier: optional_tier(&accrual.tier_id)?,
        birthday_multiplier: accrual.birthday_multiplier.as_deref().map(decimal).transpose()?,
        awards: accrual.awards.into_iter().map(award).collect::<Decoded<_>>()?,
        line_bases: accrual.line_bases.iter().map(line_basis).collect::<Decoded<_>>()?,
        order_rounding: accrual.order_rounding.as_ref().map(rounding_step).transpose()?,
        lots: accrual.lots.iter().map(accrued_lot).collect::<Decoded<_>>()?,
        carries: accrual.carries.iter().map(carry).collect::<Decoded<_>>()?,
        counters: accrual.counters.iter().map(counter).collect::<Decoded<_>>()?,
        dropped_counters: dropped_counters(&accrual.dropped_counters)?,
        promotions: accrual.promotions.into_iter().map(promotions::read_award).collect::<Decoded<_>>()?,
        promotion_counts: promotions::read_counts(accrual.promotion_counts.as_ref())?,
        member_facts: accrual.member_facts.as_ref().map(promotions::read_facts).transpose()?.map(Box::new),
    })
}

fn line_basis(basis: &stored::LineBasis) -> Decoded<LineBasis> {
    Ok(LineBasis {
        order_discount_share: decimal(&basis.order_discount_share)?,
        tender_share: decimal(&basis.tender_share)?,
        basis: decimal(&basis.basis)?,
    })
}

fn award(award: stored::Award) -> Decoded<Award> {
    Ok(Award {
        rule: rule_id(&award.rule_id)?,
        display_name: award.display_name,
        basis: decimal(&award.basis)?,
        rate: rate(&award.rate.unwrap_or_default())?,
        multiplier: decimal_or_one(award.multiplier.as_deref())?,
        roundings: award.roundings.iter().map(rounding_step).collect::<Decoded<_>>()?,
        uncapped_points: Points(award.uncapped_points.unwrap_or(award.points)),
        limit: limit_kind(award.limit)?,
        points: Points(award.points),
        qualifying_points: Points(award.qualifying_points.unwrap_or(award.points)),
        lines: award.lines.iter().map(award_line).collect::<Decoded<_>>()?,
        expiry: expiry(award.expire_time)?,
        lot: (award.lot != 0).then_some(LotId(award.lot)),
    })
}

pub(super) fn limit_kind(number: u32) -> Decoded<Option<LimitKind>> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(LimitKind::Minimum)),
        2 => Ok(Some(LimitKind::Maximum)),
        3 => Ok(Some(LimitKind::Cap)),
        4 => Ok(Some(LimitKind::OncePerMember)),
        5 => Ok(Some(LimitKind::Times)),
        6 => Ok(Some(LimitKind::DailyCap)),
        7 => Ok(Some(LimitKind::Budget)),
        8 => Ok(Some(LimitKind::Vouchers)),
        9 => Ok(Some(LimitKind::Control)),
        _ => Err(Malformed("award.limit")),
    }
}

pub(super) fn award_line(line: &stored::AwardLine) -> Decoded<AwardLine> {
    Ok(AwardLine { line: line.line as usize, basis: decimal(&line.basis)?, points: Points(line.points) })
}

fn rate(rate: &stored::Rate) -> Decoded<Rate> {
    let points = decimal(&rate.points)?;
    Ok(match rate.kind {
        0 => Rate::PerAmount { amount: decimal(&rate.amount)?, points, whole_blocks: true },
        1 => Rate::PerAmount { amount: decimal(&rate.amount)?, points, whole_blocks: false },
        2 => Rate::PerUnit { points },
        3 => Rate::PerOrder { points },
        4 => Rate::PerProduct { points },
        _ => return Err(Malformed("rate.kind")),
    })
}

pub(super) fn rounding_step(step: &stored::RoundingStep) -> Decoded<RoundingStep> {
    Ok(RoundingStep {
        exact: decimal(&step.exact)?,
        carried_in: decimal(&step.carried_in)?,
        mode: match step.mode {
            0 => RoundingMode::Floor,
            1 => RoundingMode::HalfUp,
            2 => RoundingMode::HalfEven,
            3 => RoundingMode::Ceiling,
            _ => return Err(Malformed("rounding.mode")),
        },
        rounded: Points(step.rounded),
        carried_out: decimal(&step.carried_out)?,
    })
}

pub(super) fn accrued_lot(lot: &stored::AccruedLot) -> Decoded<AccruedLot> {
    let pending = lot.pending.as_ref().map(|pending| {
        let qualifying_points = Points(pending.qualifying_points);
        Ok(Pending { activate_time: optional_time(pending.activate_time)?, qualifying_points })
    });
    let (debt_paid, pending) = (Points(lot.debt_paid), pending.transpose()?);
    Ok(AccruedLot { debt_paid, pending, ..AccruedLot::new(LotId(lot.lot), Points(lot.points), expiry(lot.expire_time)?) })
}

pub(super) fn carry(carry: &stored::Carry) -> Decoded<(Option<RuleId>, Decimal)> {
    Ok((some_text(&carry.rule_id).map(rule_id).transpose()?, decimal(&carry.fraction)?))
}

pub(super) fn counter(counter: &stored::Counter) -> Decoded<Counter> {
    Ok(Counter { rule: rule_id(&counter.rule_id)?, period: period(counter.period_start)?, points: Points(counter.points) })
}

pub(super) fn dropped_counters(dropped: &[stored::Counter]) -> Decoded<Vec<(RuleId, PeriodStart)>> {
    dropped.iter().map(|dropped| Ok((rule_id(&dropped.rule_id)?, period(dropped.period_start)?))).collect()
}

fn period(number: Option<i32>) -> Decoded<PeriodStart> {
    number.map(date).transpose()
}

pub(super) fn date(number: i32) -> Decoded<Date> {
    let (year, rest) = (number.div_euclid(10_000), number.rem_euclid(10_000));
    let part = |part: i32| i8::try_from(part).map_err(|_| Malformed("a date"));
    let year = i16::try_from(year).map_err(|_| Malformed("a date"))?;
    Date::new(year, part(rest / 100)?, part(rest % 100)?).map_err(|_| Malformed("a date"))
}

fn adjusted(adjusted: stored::PointsAdjusted) -> Decoded<Adjusted> {
    Ok(Adjusted {
        points: Points(adjusted.points),
        qualifying_points: Points(adjusted.qualifying_points),
        lot: adjusted.lot.as_ref().map(accrued_lot).transpose()?,
        allocations: adjusted.allocations.iter().map(allocation).collect::<Decoded<_>>()?,
        debt: Points(adjusted.debt),
        next_expiry_time: optional_time(adjusted.next_expiry_time)?,
        reason: adjusted.reason,
        reference: adjusted.reference,
    })
}

pub(super) fn allocation(allocation: &stored::Allocation) -> Decoded<Allocation> {
    let lot = LotKey::new(expiry(allocation.expire_time)?, LotId(allocation.lot));
    Ok(Allocation { lot, points: Points(allocation.points), entry_sequence: allocation.entry_sequence })
}

fn expired(expired: stored::PointsExpired) -> Decoded<Expired> {
    Ok(Expired {
        allocations: expired.allocations.iter().map(allocation).collect::<Decoded<_>>()?,
        next_expiry_time: optional_time(expired.next_expiry_time)?,
    })
}

pub(super) fn message<M: prost::Message + Default>(bytes: &[u8]) -> Decoded<M> {
    M::decode(bytes).map_err(|_| Malformed("a message"))
}

pub(super) fn header(bytes: &[u8]) -> Decoded<Header> {
    let row: stored::HeaderRow = message(bytes)?;
    let latest = row.latest_occurred_before.map(|before| row.update_time.checked_sub(before).ok_or(Malformed("latest_occurred_before")));
    let counters = row.counters.iter().map(counter).collect::<Decoded<Vec<_>>>()?;
    let fraud_counters = row.fraud_counters.iter().map(fraud_counter).collect::<Decoded<Vec<_>>>()?;
    let birthday = birthdays::read_header(&row)?;
    Ok(Header {
        state: match row.state {
            0 => MemberState::Active,
            1 => MemberState::Suspended,
            2 => MemberState::Merged { into: member_id(&row.merged_into)? },
            3 => MemberState::Erased,
            _ => return Err(Malformed("header.state")),
        },
        create_time: time(row.create_time)?,
        update_time: time(row.update_time)?,
        last_sequence: row.last_sequence,
        last_lot: LotId(row.last_lot),
        balance: balance(row.balance.unwrap_or_default()),
        tier: tiers::read_standing(&row.tiers, row.tier_manual, row.tier_status)?,
        tier_counts: tiers::read_counts(&row.tier_counts)?,
        day_counts: tiers::read_counts(&row.day_counts)?,
        lifetime: LifetimeTotals { qualifying_points: Points(row.qualifying_points), spend: decimal(&row.spend)?, visits: row.visits },
        latest_occurred_time: optional_time(latest.transpose()?)?,
        carries: row.carries.iter().map(carry).collect::<Decoded<_>>()?,
        counters: counters.into_iter().map(|counter| ((counter.rule, counter.period), counter.points)).collect(),
        fraud_counters: fraud_counters.into_iter().map(|counter| ((counter.limit, counter.period_start), counter.count)).collect(),
        next_expiry_time: optional_time(row.next_expiry_time)?,
        next_hold_expiry_time: optional_time(row.next_hold_expiry_time)?,
        next_activation_time: optional_time(row.next_activation_time)?,
        merged: row.merged.iter().map(merged).collect::<Decoded<_>>()?,
        inactivity: inactivity(row.inactivity.unwrap_or_default())?,
        inactive_months: row.inactive_months.as_ref().map(months::read).transpose()?.unwrap_or_default(),
        birthday,
        goals: Goals { waiting: goals::read_waiting(&row.goals_waiting)? },
        rewards: rewards::read_tallies(&row.rewards)?,
        promotions: row.promotions.iter().map(promotions::read_counter).collect::<Decoded<_>>()?,
        purchases: row.purchases,
        last_purchase_time: optional_time(row.last_purchase_time)?,
        segments: segments::read_segments(row.segments.as_ref())?,
        lately: segments::read_lately(&row.lately)?,
        offers: row.offers.iter().map(offers::read_held).collect::<Decoded<_>>()?,
        referral: row.referral.as_ref().map(referrals::read_held).transpose()?,
        referral_bases: row.referral_bases.iter().map(referrals::read_basis).collect::<Decoded<_>>()?,
        vouchers: VoucherSummary { live: row.live_vouchers, next_due_time: optional_time(row.next_voucher_due_time)? },
    })
}

pub(super) fn inactivity(clock: stored::Inactivity) -> Decoded<Inactivity> {
    Ok(Inactivity {
        lapse_time: optional_time(clock.lapse_time)?,
        points: Points(clock.points),
        ran_out_time: optional_time(clock.ran_out_time)?,
    })
}

pub(super) fn tier_since(since: &stored::TierSince) -> Decoded<TierSince> {
    Ok(TierSince { tier: tier_id(&since.tier_id)?, start_time: time(since.start_time)? })
}

pub(super) fn lot(key: LotKey, bytes: &[u8]) -> Decoded<Lot> {
    let row: stored::LotRow = message(bytes)?;
    Ok(Lot {
        id: key.id(),
        issued: Points(row.issued),
        remaining: Points(row.remaining.unwrap_or(row.issued)),
        earn_time: time(row.earn_time)?,
        expiry: key.expiry(),
        entry_sequence: row.entry_sequence,
    })
}
