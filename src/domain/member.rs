//! A member's state: the fold of its entries.

use std::{collections::BTreeMap, fmt};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rust_decimal::Decimal;

use super::{
    Birthdays, EntryRef, FraudLimit, Goals, HoldId, InactiveMonths, Inactivity, Lately, Lot, LotId, LotKey, MemberId, MemberKey, Merged,
    OfferHeld, OfferId, OrderKey, Overflow, PendingKey, PendingLot, Points, Portion, PromotionCount, ReferralHeld, RewardId, RewardTally,
    RuleId, Segments, TierCounts, TierStanding, Voucher, VoucherCode, VoucherSummary, fold::sooner,
};

/// Identifiers a member can have at most.
pub const MAX_IDENTIFIERS: usize = 20;

/// Characters of an identifier in its normal form, at most.
pub const MAX_IDENTIFIER_CHARS: usize = 254;

/// A member as decisions see it: the header always, the rest as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub key: MemberKey,
    pub header: Header,
    /// `None`: not loaded.
    pub person: Option<Sealed<Person>>,
    /// The live lots that were loaded, in the order of their expiry.
    pub lots: BTreeMap<LotKey, Lot>,
    /// All open ones with the lots that they came from, or none.
    pub holds: BTreeMap<HoldId, Hold>,
    /// The pending lots that were loaded, in the order in which they become active.
    pub pending: BTreeMap<PendingKey, PendingLot>,
    /// All live ones, or none; or those that a replayed entry touches.
    pub vouchers: BTreeMap<VoucherCode, Voucher>,
}

impl Member {
    /// With nothing loaded but the header.
    pub fn bare(key: MemberKey, header: Header) -> Self {
        let (lots, holds, pending) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { key, header, person: None, lots, holds, pending, vouchers: BTreeMap::new() }
    }
}

/// Points set aside for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub points: Points,
    /// What they are worth as money, by the rule book that the hold was made under.
    pub value: Decimal,
    /// In the order in which they were taken.
    pub portions: Vec<Portion>,
    pub hold_time: Timestamp,
    /// Held until this instant, exclusive.
    pub expire_time: Timestamp,
    pub order: Option<OrderKey>,
    /// Empty: none.
    pub reference: String,
    pub program_version: u32,
}

/// Small, of bounded size, and all that an accrual reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub state: MemberState,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
    /// Of the newest entry; 0 before the first.
    pub last_sequence: u64,
    pub last_lot: LotId,
    pub balance: Balance,
    pub tier: TierStanding,
    pub lifetime: LifetimeTotals,
    /// The part of it that windows of tiers may look at, by day or month; empty where none does. At most [`MAX_TIER_COUNTS`].
    ///
    /// [`MAX_TIER_COUNTS`]: super::MAX_TIER_COUNTS
    pub tier_counts: TierCounts,
    /// The part of it that windows of segments may look at, by day: spend and visits.
    pub day_counts: TierCounts,
    /// Of what `lifetime` counts, the latest: when it occurred. `None` before the first.
    pub latest_occurred_time: Option<Timestamp>,
    /// Fractions of points that wait for the next purchase, by rule; under `None` the one of the whole order. At most one for each
    /// rule that the programme ever had: one that is gone may come back.
    pub carries: BTreeMap<Option<RuleId>, Decimal>,
    /// What rules with a cap, or that award once, have given so far: for each rule that the programme ever had at most one for ever, and
    /// [`MAX_COUNTERS_PER_RULE`] of periods.
    pub counters: BTreeMap<(RuleId, PeriodStart), Points>,
    /// What fraud limits have counted, by the start of the period: for each limit at most [`MAX_FRAUD_COUNTERS`].
    ///
    /// [`MAX_FRAUD_COUNTERS`]: super::MAX_FRAUD_COUNTERS
    pub fraud_counters: BTreeMap<(FraudLimit, Timestamp), i64>,
    /// When the next lot with a date lapses; not later than that. `None`: none will.
    pub next_expiry_time: Option<Timestamp>,
    /// When the next open hold ends.
    pub next_hold_expiry_time: Option<Timestamp>,
    /// When the next pending lot becomes active; not later than that.
    pub next_activation_time: Option<Timestamp>,
    /// Those that were merged into it, the earliest first; at most [`super::MAX_MERGED`].
    pub merged: Vec<Merged>,
    pub inactivity: Inactivity,
    pub inactive_months: InactiveMonths,
    pub vouchers: VoucherSummary,
    pub birthday: Birthdays,
    pub goals: Goals,
    /// What the member has had of rewards: of those that the programme has, and of others as far as that is kept.
    pub rewards: BTreeMap<RewardId, RewardTally>,
    /// What promotions with a cap or a limit of times have given: as `counters`.
    pub promotions: BTreeMap<(RuleId, PeriodStart), PromotionCount>,
    /// That were recorded, whatever has come back.
    pub purchases: u64,
    /// Of these the latest: when it occurred.
    pub last_purchase_time: Option<Timestamp>,
    pub segments: Segments,
    pub lately: Lately,
    /// What the member has of offers: of those that the programme has, and of others as far as that is kept.
    pub offers: BTreeMap<OfferId, OfferHeld>,
    /// How the member was referred, where that waits for a purchase, or waited.
    pub referral: Option<ReferralHeld>,
    /// What referrals gave that is for several purchases, since goods were exchanged: the basis of what is left of them, by the entry that gave it.
    /// One at most for each referral of the member and of those who were merged into it.
    pub referral_bases: BTreeMap<EntryRef, Decimal>,
}

impl Header {
    /// Of a member that is about to enrol.
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: MemberState::Active,
            create_time: now,
            update_time: now,
            last_sequence: 0,
            last_lot: LotId(0),
            balance: Balance::default(),
            tier: TierStanding::default(),
            lifetime: LifetimeTotals::default(),
            tier_counts: TierCounts::default(),
            day_counts: TierCounts::default(),
            latest_occurred_time: None,
            carries: BTreeMap::new(),
            counters: BTreeMap::new(),
            fraud_counters: BTreeMap::new(),
            next_expiry_time: None,
            next_hold_expiry_time: None,
            next_activation_time: None,
            merged: Vec::new(),
            inactivity: Inactivity::default(),
            inactive_months: InactiveMonths::default(),
            vouchers: VoucherSummary::default(),
            birthday: Birthdays::default(),
            goals: Goals::default(),
            rewards: BTreeMap::new(),
            promotions: BTreeMap::new(),
            purchases: 0,
            last_purchase_time: None,
            segments: Segments::default(),
            lately: Lately::default(),
            offers: BTreeMap::new(),
            referral: None,
            referral_bases: BTreeMap::new(),
        }
    }

    /// When something becomes due by time alone. What is due must be entered before anything else is decided.
    pub fn next_due_time(&self) -> Option<Timestamp> {
        let points = sooner(sooner(self.next_lapse_time(), self.next_hold_expiry_time), self.next_activation_time);
        let review = self.tier.next_review_time().filter(|_| self.state.is_reviewed());
        let others = sooner(self.vouchers.next_due_time, self.birthday_due_time());
        let looked_at = sooner(self.goals.due_time(), self.segments.next_due_time);
        sooner(sooner(points, review), sooner(others, looked_at))
    }

    /// When the reward of a birthday is due.
    pub fn birthday_due_time(&self) -> Option<Timestamp> {
        self.birthday.next.map(|plan| plan.due_time)
    }

    /// When lots lapse next, with a date or with inactivity.
    pub fn next_lapse_time(&self) -> Option<Timestamp> {
        sooner(self.next_expiry_time, sooner(self.inactivity.due_time(), self.inactive_months.due_time()))
    }

    /// Points are set aside.
    pub(super) fn has_held(&self) -> bool {
        self.balance.held > Points::ZERO
    }

    /// Portions that were taken out of their lots at one instant and come back at a later one: what has lapsed meanwhile has a date by then.
    pub(super) fn coming_back(
        &self,
        portions: &[Portion],
        (taken, back): (Timestamp, Timestamp),
        zone: &TimeZone,
    ) -> Result<Vec<Portion>, Overflow> {
        self.inactive_months.coming_back(self.inactivity.coming_back(portions, taken, back), (taken, back), zone)
    }

    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_due_time().is_some_and(|due| due <= now)
    }
}

/// Periods of a rule that are counted in at most: more than a year of days. With more, the oldest is dropped; a cap in a period before
/// those that are kept counts as used up, so that nobody gets it twice by being late.
pub const MAX_COUNTERS_PER_RULE: usize = 400;

/// First day of the period that a counter counts in; `None` for ever.
pub type PeriodStart = Option<Date>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    Active,
    Suspended,
    /// It became a part of another member, for good: whoever names it means that one.
    Merged {
        into: MemberId,
    },
    /// Nobody: what is personal is gone for good. Time goes on for its points, and what it bought can be returned.
    Erased,
}

impl MemberState {
    /// Its tier is reviewed.
    pub fn is_reviewed(self) -> bool {
        match self {
            Self::Active | Self::Suspended => true,
            Self::Merged { .. } | Self::Erased => false,
        }
    }

    pub fn merged_into(self) -> Option<MemberId> {
        match self {
            Self::Merged { into } => Some(into),
            Self::Active | Self::Suspended | Self::Erased => None,
        }
    }
}

/// Where all points of a member are. See [`Balance::is_conserved`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    pub available: Points,
    pub pending: Points,
    pub held: Points,
    pub debt: Points,
    pub issued: Points,
    pub redeemed: Points,
    pub expired: Points,
    pub clawed_back: Points,
    pub reinstated: Points,
    pub transferred_in: Points,
    pub transferred_out: Points,
}

impl Balance {
    /// Invariant 4: issued + transferred in + reinstated = pending + available + held + redeemed + expired + clawed back
    /// + transferred out - debt.
    pub fn is_conserved(&self) -> bool {
        // Each number fits, their sum need not.
        let sum = |points: &[Points]| points.iter().map(|points| i128::from(points.0)).sum::<i128>();
        let sources = [self.issued, self.transferred_in, self.reinstated, self.debt];
        let places = [self.pending, self.available, self.held, self.redeemed, self.expired, self.clawed_back, self.transferred_out];
        sum(&sources) == sum(&places)
    }

    /// New points, of which some pay debt.
    pub fn issue(&mut self, points: Points, debt_paid: Points) -> Result<(), Overflow> {
        self.issued = self.issued.plus(points)?;
        self.receive(points, debt_paid)
    }

    pub fn issue_pending(&mut self, points: Points) -> Result<(), Overflow> {
        self.issued = self.issued.plus(points)?;
        self.pending = self.pending.plus(points)?;
        Ok(())
    }

    /// Pending points become active, of which some pay debt.
    pub fn activate(&mut self, points: Points, debt_paid: Points) -> Result<(), Overflow> {
        self.pending = self.pending.minus(points)?;
        self.receive(points, debt_paid)
    }

    fn receive(&mut self, points: Points, debt_paid: Points) -> Result<(), Overflow> {
        self.debt = self.debt.minus(debt_paid)?;
        self.available = self.available.plus(points.minus(debt_paid)?)?;
        Ok(())
    }

    /// Pending points are taken back.
    pub fn claw_back_pending(&mut self, points: Points) -> Result<(), Overflow> {
        self.clawed_back = self.clawed_back.plus(points)?;
        self.pending = self.pending.minus(points)?;
        Ok(())
    }

    /// Points are taken back that the member does not have.
    pub fn owe(&mut self, points: Points) -> Result<(), Overflow> {
        self.clawed_back = self.clawed_back.plus(points)?;
        self.debt = self.debt.plus(points)?;
        Ok(())
    }

    pub fn expire(&mut self, points: Points) -> Result<(), Overflow> {
        self.expired = self.expired.plus(points)?;
        self.available = self.available.minus(points)?;
        Ok(())
    }

    pub fn redeem(&mut self, points: Points) -> Result<(), Overflow> {
        self.redeemed = self.redeemed.plus(points)?;
        self.available = self.available.minus(points)?;
        Ok(())
    }

    /// Points were given for goods that the member does not have.
    pub fn redeem_owed(&mut self, points: Points) -> Result<(), Overflow> {
        self.redeemed = self.redeemed.plus(points)?;
        self.debt = self.debt.plus(points)?;
        Ok(())
    }

    pub fn hold(&mut self, points: Points) -> Result<(), Overflow> {
        self.held = self.held.plus(points)?;
        self.available = self.available.minus(points)?;
        Ok(())
    }

    /// Points of a hold come back, of which some pay debt.
    pub fn release(&mut self, points: Points, debt_paid: Points) -> Result<(), Overflow> {
        self.held = self.held.minus(points)?;
        self.receive(points, debt_paid)
    }

    /// Points come back to the member, and pay so much of the debt.
    pub fn reinstate(&mut self, points: Points, debt_paid: Points) -> Result<(), Overflow> {
        self.reinstated = self.reinstated.plus(points)?;
        self.receive(points, debt_paid)
    }

    pub fn transfer_out(&mut self, points: Points) -> Result<(), Overflow> {
        self.transferred_out = self.transferred_out.plus(points)?;
        self.available = self.available.minus(points)?;
        Ok(())
    }

    /// Points of another member, of which some pay debt.
    pub fn transfer_in(&mut self, points: Points, debt_paid: Points) -> Result<(), Overflow> {
        self.transferred_in = self.transferred_in.plus(points)?;
        self.receive(points, debt_paid)
    }

    /// Pending points and debt of a member that becomes a part of another.
    pub fn hand_over(&mut self, pending: Points, debt: Points) -> Result<(), Overflow> {
        self.transferred_out = self.transferred_out.plus(pending)?;
        self.pending = self.pending.minus(pending)?;
        self.transferred_in = self.transferred_in.plus(debt)?;
        self.debt = self.debt.minus(debt)?;
        Ok(())
    }

    /// The other side of it: of the debt so much is owed from here on.
    pub fn take_over(&mut self, pending: Points, debt: Points) -> Result<(), Overflow> {
        self.transferred_in = self.transferred_in.plus(pending)?;
        self.pending = self.pending.plus(pending)?;
        self.transferred_out = self.transferred_out.plus(debt)?;
        self.debt = self.debt.plus(debt)?;
        Ok(())
    }

    pub fn claw_back(&mut self, points: Points) -> Result<(), Overflow> {
        self.clawed_back = self.clawed_back.plus(points)?;
        self.available = self.available.minus(points)?;
        Ok(())
    }
}

/// Counted since enrolment; what tiers look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LifetimeTotals {
    pub qualifying_points: Points,
    /// Sum of the basis of purchases.
    pub spend: Decimal,
    pub visits: u64,
}

/// Personal data that was read, or that is not there any more: the member was erased, or became a part of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed<T> {
    Open(T),
    Erased,
}

impl<T> Sealed<T> {
    pub fn open(&self) -> Option<&T> {
        match self {
            Sealed::Open(value) => Some(value),
            Sealed::Erased => None,
        }
    }
}

/// All that is personal of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    pub profile: Profile,
    pub identifiers: Vec<Identifier>,
}

#[derive(Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Empty: not known.
    pub display_name: String,
    pub birth_date: Option<BirthDate>,
    /// BCP 47; empty: not known.
    pub language_code: String,
}

/// A day that exists in the year, or without a year in a leap year.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BirthDate {
    pub year: Option<i16>,
    pub month: i8,
    pub day: i8,
}

/// Something that finds a member, in its normal form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    pub kind: IdentifierKind,
    value: String,
}

// What holds personal data prints none of it, so that whatever holds these may be printed.

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").finish_non_exhaustive()
    }
}

impl fmt::Debug for BirthDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BirthDate").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identifier").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierKind {
    Card,
    Phone,
    Email,
    ExternalId,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    #[error("is required: 1 to {MAX_IDENTIFIER_CHARS} characters")]
    Missing,
    #[error("has more than {MAX_IDENTIFIER_CHARS} characters")]
    TooLong,
    #[error("has a control character")]
    Control,
    #[error("is not a phone number in international form: '+' and 6 to 15 digits, such as +84901234567")]
    Phone,
    #[error("is not an e-mail address")]
    Email,
}

impl Identifier {
    /// Brings a value into the form in which it is compared.
    pub fn new(kind: IdentifierKind, value: &str) -> Result<Self, IdentifierError> {
        let value = value.trim();
        if value.is_empty() {
            return Err(IdentifierError::Missing);
        }
        if value.chars().any(char::is_control) {
            return Err(IdentifierError::Control);
        }
        let value = match kind {
            IdentifierKind::Card | IdentifierKind::ExternalId => value.to_owned(),
            IdentifierKind::Phone => normal_phone(value).ok_or(IdentifierError::Phone)?,
            IdentifierKind::Email => normal_email(value).ok_or(IdentifierError::Email)?,
        };
        // Lower case can be longer.
        if value.chars().count() > MAX_IDENTIFIER_CHARS {
            return Err(IdentifierError::TooLong);
        }
        Ok(Self { kind, value })
    }

    /// One that was accepted before, as it was stored: what is accepted may change, what is stored must be read.
    pub fn from_stored(kind: IdentifierKind, value: String) -> Self {
        Self { kind, value }
    }

    pub fn value(&self) -> &str {
        &self.value
    }
}

/// E.164: "+" and 6 to 15 digits, the first not 0.
fn normal_phone(value: &str) -> Option<String> {
    let kept: String = value.chars().filter(|c| !matches!(c, ' ' | '.' | '-' | '(' | ')' | '/')).collect();
    let digits = kept.strip_prefix('+')?;
    let fits = (6..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    fits.then_some(kept)
}

/// Something, "@", something; no spaces. Whether it can be delivered is not ours to know.
fn normal_email(value: &str) -> Option<String> {
    let (local, host) = value.rsplit_once('@')?;
    let fits = !local.is_empty() && !host.is_empty() && !value.chars().any(char::is_whitespace);
    fits.then(|| value.to_lowercase())
}
