//! Domain types become what `proto/loyalty/storage/v1` says. `decode.rs` is the way back.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::{
    domain::{
        Accrual, AccruedLot, Adjusted, Allocation, Award, AwardLine, Balance, BirthDate, Counter, Entry, EntryKind, Expired, Header,
        Identifier, IdentifierKind, Inactivity, LimitKind, Line, LineKind, Lot, LotKey, MemberId, MemberState, OrderKey, Payment,
        PendingLot, PeriodStart, Person, Points, Profile, Purchase, PurchaseAccrued, Rate, Request, RoundingMode, RoundingStep, RuleId,
        TenderKind, TierSince,
    },
    store::Publication,
};

use super::{
    activities, birthdays, effects,
    encode_fraud::{fraud_counter, watched},
    encode_merge::{merged, merged_from, merged_into},
    encode_points::{activated, hold, redeemed, released, returned, reversed, transferred_in, transferred_out},
    goals, months, offers, promotions, referrals, rewards, segments, tiers, vouchers,
    wire::Writer,
};

pub(super) fn entry(w: &mut Writer, entry: &Entry, sealed: &[u8]) {
    w.uint(1, entry.sequence);
    w.time(2, entry.record_time);
    w.sint(3, entry.record_time.as_microsecond() - entry.occurred_time.as_microsecond());
    if let Some(request) = &entry.request {
        request_fields(w, request);
    }
    if let Some(actor) = &entry.actor {
        w.text(7, actor.as_str());
    }
    w.uint(8, u64::from(entry.program_version));
    w.message(9, |w| balance(w, &entry.balance));
    w.bytes(10, sealed);
    kind(w, entry);
    if let Some(one) = &entry.counted {
        w.message(34, |w| tiers::counted(w, one));
    }
    if let Some(one) = &entry.watched {
        w.message(61, |w| watched(w, one));
    }
    w.optional_time(62, entry.inactivity_time);
    if let Some(record) = &entry.inactive_months {
        w.message(101, |w| months::record(w, record));
    }
    if let Some(one) = &entry.day_counted {
        w.message(63, |w| tiers::counted(w, one));
    }
    if let Some(principal) = &entry.principal {
        w.text(100, principal.as_str());
    }
}

fn kind(w: &mut Writer, entry: &Entry) {
    let own = entry.key.member;
    match &entry.kind {
        EntryKind::PurchaseAccrued(accrued) => w.message(11, |w| purchase_accrued(w, entry, accrued)),
        EntryKind::PointsAdjusted(adjustment) => w.message(12, |w| adjusted(w, adjustment)),
        EntryKind::PointsExpired(lapsed) => w.message(13, |w| expired(w, lapsed)),
        EntryKind::TierChanged(change) => w.message(14, |w| tiers::change(w, change)),
        EntryKind::TierKept(kept) => w.message(35, |w| tiers::kept(w, kept)),
        EntryKind::TierRewarded(one) => w.message(36, |w| tiers::rewarded(w, one)),
        EntryKind::MemberEnrolled { .. } => w.message(16, |_| {}),
        EntryKind::ProfileUpdated { .. } => w.message(17, |_| {}),
        EntryKind::IdentifierAdded { .. } => w.message(18, |_| {}),
        EntryKind::IdentifierRemoved { .. } => w.message(19, |_| {}),
        EntryKind::MemberSuspended { reason } => w.message(20, |w| w.text(1, reason)),
        EntryKind::MemberReactivated { reason } => w.message(21, |w| w.text(1, reason)),
        EntryKind::MemberErased { reason } => w.message(33, |w| w.text(1, reason)),
        EntryKind::PointsRedeemed(one) => w.message(22, |w| redeemed(w, one)),
        EntryKind::RedemptionReversed(one) => w.message(23, |w| reversed(w, own, one)),
        EntryKind::PointsHeld(one) => w.message(24, |w| {
            w.message(1, |w| hold(w, &one.hold));
            w.optional_time(2, one.next_expiry_time);
        }),
        EntryKind::HoldReleased(one) => w.message(25, |w| released(w, one)),
        EntryKind::PointsActivated(one) => w.message(26, |w| activated(w, own, one)),
        EntryKind::PurchaseReturned(one) => w.message(27, |w| returned(w, own, one)),
        EntryKind::PointsTransferredOut(one) => w.message(28, |w| transferred_out(w, one)),
        EntryKind::PointsTransferredIn(one) => w.message(29, |w| transferred_in(w, one)),
        EntryKind::ActivityAccrued(one) => w.message(30, |w| activities::accrued(w, one)),
        EntryKind::MergedInto(one) => w.message(31, |w| merged_into(w, one)),
        EntryKind::MergedFrom(one) => w.message(32, |w| merged_from(w, one)),
        EntryKind::VoucherChanged(one) => w.message(37, |w| vouchers::changed(w, one)),
        EntryKind::BirthdayChanged(one) => w.message(38, |w| birthdays::changed(w, one)),
        EntryKind::GoalChanged(one) => w.message(39, |w| goals::changed(w, one)),
        EntryKind::ReferralMade(one) => w.message(49, |w| referrals::referral(w, one)),
        EntryKind::ReferralTakenBack(one) => w.message(50, |w| referrals::taken_back(w, one)),
        EntryKind::OfferChanged(one) => w.message(46, |w| offers::changed(w, one)),
        EntryKind::SegmentsChanged(one) => w.message(45, |w| segments::changed(w, one)),
    };
}

fn request_fields(w: &mut Writer, request: &Request) {
    let text = request.id.as_str();
    match usual_uuid(text) {
        Some(uuid) => w.bytes(4, &uuid),
        None => w.text(5, text),
    }
    w.bytes(6, &request.fingerprint.0);
}

/// The bytes of a UUID whose text is exactly what they print as.
fn usual_uuid(text: &str) -> Option<[u8; 16]> {
    let uuid = (text.len() == 36).then(|| uuid::Uuid::try_parse(text).ok()).flatten()?;
    let mut buffer = [0; 36];
    (uuid.hyphenated().encode_lower(&mut buffer) == text).then(|| uuid.into_bytes())
}

pub(super) fn publication(w: &mut Writer, publication: &Publication) {
    w.text(1, publication.program.as_str());
    w.uint(2, u64::from(publication.version));
    w.time(3, publication.publish_time);
    w.text(4, publication.request.id.as_str());
    w.bytes(5, &publication.request.fingerprint.0);
    w.bytes(6, &publication.document);
    if let Some(principal) = &publication.principal {
        w.text(7, principal.as_str());
    }
    if let Some(actor) = &publication.actor {
        w.text(8, actor.as_str());
    }
}

fn balance(w: &mut Writer, balance: &Balance) {
    let places = [
        balance.available,
        balance.pending,
        balance.held,
        balance.debt,
        balance.issued,
        balance.redeemed,
        balance.expired,
        balance.clawed_back,
        balance.reinstated,
        balance.transferred_in,
        balance.transferred_out,
    ];
    for (field, points) in (1..).zip(places) {
        w.sint(field, points.0);
    }
}

fn purchase_accrued(w: &mut Writer, entry: &Entry, accrued: &PurchaseAccrued) {
    w.message(1, |w| purchase(w, entry, &accrued.purchase));
    w.message(2, |w| accrual(w, &accrued.accrual));
    if let Some(tier) = &accrued.tier {
        w.text(3, tier.as_str());
    }
    for redemption in &accrued.redemptions {
        w.item_uint(4, redemption.sequence);
    }
    let own = entry.key.member;
    if accrued.redemptions.iter().any(|redemption| redemption.member != own) {
        for redemption in &accrued.redemptions {
            w.present_bytes(5, other(&redemption.member, own));
        }
    }
    for effect in &accrued.effects {
        w.message(80, |w| effects::write(w, effect));
    }
    if let Some(bonus) = accrued.referral {
        w.message(82, |w| referrals::entry(w, bonus));
    }
    if let Some(basis) = accrued.referral_basis {
        w.present_decimal(83, basis);
    }
}

/// Whose entry is spoken of; nothing for one's own.
pub(super) fn other(member: &MemberId, own: MemberId) -> &[u8] {
    if *member == own { &[] } else { &member.0 }
}

fn purchase(w: &mut Writer, entry: &Entry, purchase: &Purchase) {
    order(w, 1, purchase.order.as_ref());
    if let Some(occurred) = purchase.occurred_time {
        w.present_sint(3, entry.occurred_time.as_microsecond() - occurred.as_microsecond());
    }
    w.text(4, &purchase.channel);
    for one in &purchase.lines {
        w.message(5, |w| line(w, one));
    }
    w.decimal(6, purchase.order_discount);
    w.uint(7, u64::from(purchase.prices_include_tax));
    w.decimal(8, purchase.shipping);
    w.decimal(9, purchase.tip);
    w.decimal(10, purchase.total);
    for tender in &purchase.tenders {
        w.message(11, |w| {
            w.uint(1, tender_kind(tender.kind));
            w.decimal(2, tender.amount);
        });
    }
    for label in &purchase.labels {
        w.item_text(12, label);
    }
    for one in &purchase.payments {
        w.message(13, |w| payment(w, *one));
    }
    w.uint(14, u64::from(purchase.offline));
    for code in &purchase.vouchers {
        w.bytes(15, code.as_bytes());
    }
    for code in &purchase.codes {
        w.item_text(16, code);
    }
    w.uint(80, u64::from(purchase.apply_effects));
    if let Some(own) = &purchase.own_discounts {
        w.message(81, |w| effects::write_own(w, own));
    }
}

/// In two fields that follow one another.
pub(super) fn order(w: &mut Writer, field: u32, order: Option<&OrderKey>) {
    if let Some(order) = order {
        w.text(field, order.store.as_str());
        w.text(field + 1, order.order.as_str());
    }
}

fn payment(w: &mut Writer, payment: Payment) {
    let (kind, points, sequence) = match payment {
        Payment::Redeem { points } => (0, Some(points), 0),
        Payment::Capture { hold, points } => (1, points, hold.0),
        Payment::Redeemed { redemption } => (2, None, redemption),
    };
    w.uint(1, kind);
    if let Some(points) = points {
        w.present_sint(2, points.0);
    }
    w.uint(3, sequence);
}

fn line(w: &mut Writer, line: &Line) {
    w.text(1, &line.sku);
    w.text(2, &line.category);
    for label in &line.labels {
        w.item_text(3, label);
    }
    w.decimal_unless_one(4, line.quantity);
    w.decimal(5, line.amount);
    w.decimal(6, line.discount);
    w.decimal(7, line.tax);
    let kind = match line.kind {
        LineKind::Goods => 0,
        LineKind::GiftCard => 1,
    };
    w.uint(8, kind);
}

fn tender_kind(kind: TenderKind) -> u64 {
    match kind {
        TenderKind::Cash => 0,
        TenderKind::Card => 1,
        TenderKind::StoreCard => 2,
        TenderKind::GiftCard => 3,
        TenderKind::Points => 4,
        TenderKind::Voucher => 5,
        TenderKind::Other => 6,
    }
}

fn accrual(w: &mut Writer, accrual: &Accrual) {
    w.sint(1, accrual.points.0);
    w.sint_unless(2, accrual.qualifying_points.0, accrual.points.0);
    w.decimal(3, accrual.basis);
    w.uint(4, u64::from(accrual.program_version));
    if let Some(tier) = &accrual.tier {
        w.text(5, tier.as_str());
    }
    for one in &accrual.awards {
        w.message(6, |w| award(w, one));
    }
    for basis in &accrual.line_bases {
        w.message(7, |w| {
            w.decimal(1, basis.order_discount_share);
            w.decimal(2, basis.tender_share);
            w.decimal(3, basis.basis);
        });
    }
    if let Some(step) = &accrual.order_rounding {
        w.message(8, |w| rounding_step(w, step));
    }
    for lot in &accrual.lots {
        w.message(9, |w| accrued_lot(w, lot));
    }
    for (rule, fraction) in &accrual.carries {
        w.message(10, |w| carry(w, rule.as_ref(), *fraction));
    }
    for one in &accrual.counters {
        w.message(11, |w| counter(w, one));
    }
    for (rule, period) in &accrual.dropped_counters {
        w.message(12, |w| counter_fields(w, rule, *period, Points::ZERO));
    }
    if let Some(multiplier) = accrual.birthday_multiplier {
        w.present_decimal(40, multiplier);
    }
    for one in &accrual.promotions {
        w.message(41, |w| promotions::award(w, one));
    }
    promotions::counts(w, 42, &accrual.promotion_counts);
    if let Some(facts) = &accrual.member_facts {
        w.message(43, |w| promotions::facts(w, facts));
    }
}

fn award(w: &mut Writer, award: &Award) {
    w.text(1, award.rule.as_str());
    w.text(2, &award.display_name);
    w.decimal(3, award.basis);
    w.message(4, |w| rate(w, &award.rate));
    w.decimal_unless_one(5, award.multiplier);
    for step in &award.roundings {
        w.message(6, |w| rounding_step(w, step));
    }
    w.sint_unless(7, award.uncapped_points.0, award.points.0);
    w.uint(8, limit_kind(award.limit));
    w.sint(9, award.points.0);
    w.sint_unless(10, award.qualifying_points.0, award.points.0);
    for line in &award.lines {
        w.message(11, |w| award_line(w, line));
    }
    w.expiry(12, award.expiry);
    if let Some(lot) = award.lot {
        w.uint(13, lot.0);
    }
}

pub(super) fn award_line(w: &mut Writer, line: &AwardLine) {
    w.uint(1, line.line as u64);
    w.decimal(2, line.basis);
    w.sint(3, line.points.0);
}

pub(super) fn limit_kind(limit: Option<LimitKind>) -> u64 {
    match limit {
        None => 0,
        Some(LimitKind::Minimum) => 1,
        Some(LimitKind::Maximum) => 2,
        Some(LimitKind::Cap) => 3,
        Some(LimitKind::OncePerMember) => 4,
        Some(LimitKind::Times) => 5,
        Some(LimitKind::DailyCap) => 6,
        Some(LimitKind::Budget) => 7,
        Some(LimitKind::Vouchers) => 8,
        Some(LimitKind::Control) => 9,
    }
}

fn rate(w: &mut Writer, rate: &Rate) {
    match rate {
        Rate::PerAmount { amount, points, whole_blocks } => {
            w.uint(1, u64::from(!whole_blocks));
            w.decimal(2, *points);
            w.decimal(3, *amount);
        }
        Rate::PerUnit { points } => {
            w.uint(1, 2);
            w.decimal(2, *points);
        }
        Rate::PerOrder { points } => {
            w.uint(1, 3);
            w.decimal(2, *points);
        }
        Rate::PerProduct { points } => {
            w.uint(1, 4);
            w.decimal(2, *points);
        }
    }
}

pub(super) fn rounding_step(w: &mut Writer, step: &RoundingStep) {
    w.decimal(1, step.exact);
    w.decimal(2, step.carried_in);
    let mode = match step.mode {
        RoundingMode::Floor => 0,
        RoundingMode::HalfUp => 1,
        RoundingMode::HalfEven => 2,
        RoundingMode::Ceiling => 3,
    };
    w.uint(3, mode);
    w.sint(4, step.rounded.0);
    w.decimal(5, step.carried_out);
}

pub(super) fn accrued_lot(w: &mut Writer, lot: &AccruedLot) {
    w.uint(1, lot.id.0);
    w.sint(2, lot.points.0);
    w.expiry(3, lot.expiry);
    w.sint(4, lot.debt_paid.0);
    if let Some(pending) = lot.pending {
        w.message(5, |w| {
            w.optional_time(1, pending.activate_time);
            w.sint(2, pending.qualifying_points.0);
        });
    }
}

/// Number and expiry alone.
pub(super) fn lot_key(w: &mut Writer, lot: &LotKey) {
    accrued_lot(w, &AccruedLot::new(lot.id(), Points::ZERO, lot.expiry()));
}

pub(super) fn carry(w: &mut Writer, rule: Option<&RuleId>, fraction: Decimal) {
    w.text(1, rule.map_or("", RuleId::as_str));
    w.decimal(2, fraction);
}

pub(super) fn counter(w: &mut Writer, counter: &Counter) {
    counter_fields(w, &counter.rule, counter.period, counter.points);
}

pub(super) fn date_number(date: Date) -> i64 {
    i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day())
}

pub(super) fn counter_fields(w: &mut Writer, rule: &RuleId, period: PeriodStart, points: Points) {
    w.text(1, rule.as_str());
    if let Some(start) = period {
        w.present_sint(2, date_number(start));
    }
    w.sint(3, points.0);
}

fn adjusted(w: &mut Writer, adjusted: &Adjusted) {
    w.sint(1, adjusted.points.0);
    w.sint(2, adjusted.qualifying_points.0);
    w.text(3, &adjusted.reason);
    w.text(4, &adjusted.reference);
    if let Some(lot) = &adjusted.lot {
        w.message(5, |w| accrued_lot(w, lot));
    }
    for taken in &adjusted.allocations {
        w.message(6, |w| allocation(w, taken));
    }
    w.optional_time(7, adjusted.next_expiry_time);
    w.sint(8, adjusted.debt.0);
}

pub(super) fn allocation(w: &mut Writer, allocation: &Allocation) {
    w.uint(1, allocation.lot.id().0);
    w.sint(2, allocation.points.0);
    w.expiry(3, allocation.lot.expiry());
    w.uint(4, allocation.entry_sequence);
}

fn expired(w: &mut Writer, expired: &Expired) {
    for taken in &expired.allocations {
        w.message(1, |w| allocation(w, taken));
    }
    w.optional_time(2, expired.next_expiry_time);
}

pub(super) fn person(w: &mut Writer, person: &Person) {
    w.message(1, |w| profile(w, &person.profile));
    for one in &person.identifiers {
        w.message(2, |w| identifier(w, one));
    }
}

pub(super) fn profile(w: &mut Writer, profile: &Profile) {
    w.text(1, &profile.display_name);
    if let Some(BirthDate { year, month, day }) = profile.birth_date {
        let number = i64::from(year.unwrap_or(0)) * 10_000 + i64::from(month) * 100 + i64::from(day);
        w.uint(2, u64::try_from(number).expect("a birth date is not before the year 0"));
    }
    w.text(3, &profile.language_code);
}

pub(super) fn identifier(w: &mut Writer, identifier: &Identifier) {
    w.uint(1, u64::from(identifier_kind(identifier.kind)));
    w.text(2, identifier.value());
}

pub(super) fn identifier_kind(kind: IdentifierKind) -> u8 {
    match kind {
        IdentifierKind::Card => 0,
        IdentifierKind::Phone => 1,
        IdentifierKind::Email => 2,
        IdentifierKind::ExternalId => 3,
    }
}

pub(super) fn header(w: &mut Writer, header: &Header) {
    let state = match header.state {
        MemberState::Active => 0,
        MemberState::Suspended => 1,
        MemberState::Merged { .. } => 2,
        MemberState::Erased => 3,
    };
    w.uint(1, state);
    w.time(2, header.create_time);
    w.time(3, header.update_time);
    w.uint(4, header.last_sequence);
    w.uint(5, header.last_lot.0);
    w.message(6, |w| balance(w, &header.balance));
    for since in &header.tier.history {
        w.message(7, |w| tier_since(w, since));
    }
    w.uint(8, u64::from(header.tier.manual));
    w.sint(9, header.lifetime.qualifying_points.0);
    w.decimal(10, header.lifetime.spend);
    w.uint(11, header.lifetime.visits);
    for (rule, fraction) in &header.carries {
        w.message(12, |w| carry(w, rule.as_ref(), *fraction));
    }
    for ((rule, period), points) in &header.counters {
        w.message(13, |w| counter_fields(w, rule, *period, *points));
    }
    w.optional_time(14, header.next_expiry_time);
    if let Some(latest) = header.latest_occurred_time {
        w.present_sint(15, header.update_time.as_microsecond() - latest.as_microsecond());
    }
    w.optional_time(16, header.next_hold_expiry_time);
    w.optional_time(17, header.next_activation_time);
    if let Some(into) = header.state.merged_into() {
        w.bytes(20, &into.0);
    }
    for one in &header.merged {
        w.message(21, |w| merged(w, one));
    }
    for ((limit, period_start), count) in &header.fraud_counters {
        w.message(25, |w| fraud_counter(w, *limit, *period_start, *count));
    }
    if header.inactivity != Inactivity::default() {
        w.message(23, |w| inactivity(w, &header.inactivity));
    }
    if !header.tier_counts.is_empty() {
        w.bytes(30, &tiers::counts(&header.tier_counts));
    }
    tiers::status(w, 31, &header.tier);
    w.uint(40, u64::from(header.vouchers.live));
    w.optional_time(41, header.vouchers.next_due_time);
    birthdays::header(w, &header.birthday);
    goals::waiting(w, 48, &header.goals.waiting);
    for (reward, tally) in &header.rewards {
        w.message(49, |w| rewards::tally(w, reward, Some(tally)));
    }
    for ((promotion, period), count) in &header.promotions {
        w.message(50, |w| promotions::counter(w, promotion, *period, *count));
    }
    header_of_purchases(w, header);
}

/// What purchases, activities and offers have led to.
fn header_of_purchases(w: &mut Writer, header: &Header) {
    w.uint(51, header.purchases);
    w.optional_time(52, header.last_purchase_time);
    segments::segments(w, 60, &header.segments);
    segments::lately(w, 61, &header.lately);
    if !header.day_counts.is_empty() {
        w.bytes(62, &tiers::counts(&header.day_counts));
    }
    for (offer, held) in &header.offers {
        w.message(70, |w| offers::held(w, offer, held));
    }
    if let Some(held) = &header.referral {
        w.message(80, |w| referrals::held(w, held));
    }
    referrals::bases(w, 81, &header.referral_bases);
    months::months(w, 82, &header.inactive_months);
}

pub(super) fn inactivity(w: &mut Writer, clock: &Inactivity) {
    w.optional_time(1, clock.lapse_time);
    w.sint(2, clock.points.0);
    w.optional_time(3, clock.ran_out_time);
}

pub(super) fn tier_since(w: &mut Writer, since: &TierSince) {
    w.text(1, since.tier.as_str());
    w.time(2, since.start_time);
}

pub(super) fn lot(w: &mut Writer, lot: &Lot) {
    w.sint(1, lot.issued.0);
    w.sint_unless(2, lot.remaining.0, lot.issued.0);
    w.time(3, lot.earn_time);
    w.uint(4, lot.entry_sequence);
}

pub(super) fn pending_lot(w: &mut Writer, lot: &PendingLot) {
    w.sint(1, lot.issued.0);
    w.sint_unless(2, lot.remaining.0, lot.issued.0);
    w.time(3, lot.earn_time);
    w.expiry(4, lot.expiry);
    w.sint(5, lot.qualifying_points.0);
    w.uint(6, lot.entry_sequence);
}
