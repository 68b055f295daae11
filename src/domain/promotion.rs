//! Promotions: what a rule book gives beside its rules, for some purchases and some of the time. What a promotion gives with a sale is an award
//! of its own on the sale's entry; what it has given is counted for the member, and where it has a budget or a daily cap for the programme, in
//! that same entry, so that it is exact whoever asks at the same time.
//!
//! What is counted for the programme is counted by versions that have such a bound, under the promotion's id over all of them. What returns
//! take back is free again, on the day of the sale.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
};
use rust_decimal::Decimal;

use super::{
    Activation, AmountField, Arm, ArmId, AwardLine, BirthDate, BirthdayWindow, Command, Condition, EntryKind, Expiry, Field, Filter,
    Header, History, LimitKind, ListField, LotExpiry, LotId, NumberField, Offer, Overflow, Period, PeriodStart, Points, PointsCap, Program,
    ProgramHistory, Purchase, ReturnRequest, RoundingMode, RoundingStep, RuleId, SegmentId, TierId, TimeField, TruthField, VoucherKindId,
    accrual, calendar,
};

/// Codes that come with one purchase.
pub const MAX_PROMOTION_CODES: usize = 10;

/// What a rule book gives beside its rules.
#[derive(Debug, Clone)]
pub struct Promotion {
    /// No rule has it.
    pub id: RuleId,
    pub display_name: String,
    /// Empty: none.
    pub description: String,
    /// Its place in [`Program::promotion_groups`]; `None`: it gives whatever others do.
    pub group: Option<usize>,
    /// It works for members alone who have its offer; where no offer has it, for nobody.
    pub only_with_offer: bool,
    /// Its place in [`Program::offers`].
    pub offer: Option<usize>,
    /// In its group the smaller number goes first; equal ones in the order of the file.
    pub priority: u32,
    /// For sales from then on.
    pub start_time: Option<Timestamp>,
    /// For sales until then, exclusive.
    pub end_time: Option<Timestamp>,
    pub filter: Filter,
    /// Those whose members have it; empty: all.
    pub tiers: BTreeSet<TierId>,
    /// Only with the first purchase that is recorded of a member.
    pub first_purchase: bool,
    pub birthday: Option<BirthdayCondition>,
    /// Of the basis of the lines that match; 0: anything.
    pub minimum_spend: Decimal,
    /// Units on the lines that match; 0: any number.
    pub minimum_quantity: Decimal,
    /// In the form of [`promotion_code`]; the purchase must come with it.
    pub code: Option<String>,
    /// Of the purchase; judged last.
    pub condition: Option<Condition>,
    /// Of each line that passes the filter.
    pub line_condition: Option<Condition>,
    pub effect: PromotionEffect,
    pub limits: PromotionLimits,
    /// The promotion's own, or the programme's. Fractions are dropped.
    pub rounding: RoundingMode,
    /// The promotion's own, or the programme's.
    pub expiry: Expiry,
    /// It is the promotion's own, which goes before that of a tier.
    pub has_own_expiry: bool,
    /// The promotion's own, or the programme's.
    pub activation: Activation,
    pub qualifying: bool,
    /// Of a trial; none: all members have it. In all at most the whole.
    pub arms: Vec<Arm>,
}

/// The sale is on a day of the member's birthday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BirthdayCondition {
    pub window: BirthdayWindow,
    pub leap_day_in_march: bool,
}

/// What a promotion gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromotionEffect {
    /// So many times what the rules gave, in all: more than 1.
    Multiply {
        multiplier: Decimal,
        whole_order: bool,
    },
    /// Points in whole points.
    PerAmount {
        amount: Decimal,
        points: Decimal,
        whole_blocks: bool,
        whole_order: bool,
    },
    /// Once for the order, or for each [`Promotion::minimum_quantity`] units.
    Fixed {
        points: Points,
        each_quantity: bool,
    },
    Voucher(VoucherKindId),
}

#[derive(Debug, Clone, Default)]
pub struct PromotionLimits {
    /// Of one sale.
    pub maximum: Option<Points>,
    /// Of a member and period.
    pub cap: Option<PointsCap>,
    pub times: Option<TimesLimit>,
    /// Of a local day, over all members.
    pub daily_cap: Option<Points>,
    /// In all.
    pub budget: Option<Points>,
}

/// How often a member has a promotion in a period of the programme's calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimesLimit {
    /// At least 1.
    pub times: u32,
    pub period: Period,
}

/// Promotions that look at one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionGroup {
    /// As rules are named.
    pub id: RuleId,
    pub combination: PromotionCombination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromotionCombination {
    All,
    /// The first by priority of which anything is left.
    Exclusive,
    /// The one that gives most points; of vouchers, which are had where no points are, the first by priority.
    Best,
}

/// One promotion's part of an accrual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionAward {
    pub promotion: RuleId,
    pub display_name: String,
    pub effect: PromotionEffect,
    /// What was counted: points of rules in their smallest unit, money, or how many times.
    pub basis: Decimal,
    /// `None` where nothing was rounded.
    pub rounding: Option<RoundingStep>,
    pub uncapped_points: Points,
    /// The last that changed them; of a voucher the one that leaves none.
    pub limit: Option<LimitKind>,
    pub points: Points,
    pub qualifying_points: Points,
    /// The lines that it was reckoned on; none if that was the whole order.
    pub lines: Vec<AwardLine>,
    pub expiry: LotExpiry,
    /// The lot that holds the points; `None` where there are none.
    pub lot: Option<LotId>,
    /// The arm of the promotion's trial that the member was in; `None`: there was no trial.
    pub arm: Option<ArmId>,
}

/// What conditions read of the member, as it was right before the sale, for returns judge them again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    pub create_time: Timestamp,
    /// `None`: nothing was bought before.
    pub last_purchase_time: Option<Timestamp>,
    /// Those that were returned whole not counted.
    pub purchases: u64,
    pub spend: Decimal,
    pub available_points: Points,
    pub pending_points: Points,
    pub qualifying_points: Points,
    /// No purchase was recorded before, whatever came back.
    pub is_first: bool,
    /// That it is in, and was in when the sale occurred; in the order of their ids.
    pub segments: Vec<SegmentId>,
}

impl MemberFacts {
    /// Of a sale that occurred at an instant. Segments that the member came into since then are none of it.
    pub(super) fn of(header: &Header, occurred_time: Timestamp) -> Self {
        let held = header.segments.held.iter().filter(|held| held.since <= occurred_time);
        Self {
            create_time: header.create_time,
            last_purchase_time: header.last_purchase_time,
            purchases: header.lifetime.visits,
            spend: header.lifetime.spend,
            available_points: header.balance.available,
            pending_points: header.balance.pending,
            qualifying_points: header.lifetime.qualifying_points,
            is_first: header.purchases == 0,
            segments: held.map(|held| held.segment.clone()).collect(),
        }
    }
}

/// What a promotion has given a member in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromotionCount {
    /// In a period of its cap.
    pub points: Points,
    /// How often, in a period of its limit of times.
    pub times: u32,
}

/// What is counted of promotions of a member, as it stands after an entry, and what is not kept any longer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromotionCounts {
    pub counters: Vec<((RuleId, PeriodStart), PromotionCount)>,
    pub dropped: Vec<(RuleId, PeriodStart)>,
    /// Of the programme, over all members.
    pub tallies: Vec<(TallyKey, PromotionTally)>,
    /// Tallies of days before it are not kept any longer, whatever promotion they are of: no sale that may still come counts in them, and what a
    /// return takes back there is of no use to anybody. With the first sale that counts in a day.
    pub days_before: Option<Date>,
}

/// What a promotion has given of its budget; or of the daily cap of a day.
pub type TallyKey = (RuleId, Option<Date>);

/// Points that a promotion has given and that were not taken back, over all members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromotionTally {
    /// Counts what has changed it: of several entries of one commit the one with the highest number has the last word.
    pub change: u64,
    pub points: Points,
}

/// What there is of the tallies that a command looks at; of one that is not among them, nothing.
pub type Tallies = BTreeMap<TallyKey, PromotionTally>;

/// A code in the form in which it is compared: `None` if it is none.
pub fn promotion_code(text: &str) -> Option<String> {
    let code = text.trim().to_uppercase();
    let fits = (1..=super::MAX_ID_CHARS).contains(&code.chars().count()) && !code.chars().any(char::is_control);
    fits.then_some(code)
}

impl PromotionAward {
    /// It gave points or a voucher.
    pub fn gave(&self) -> bool {
        self.points > Points::ZERO || self.voucher().is_some()
    }

    /// A voucher comes with it.
    pub fn voucher(&self) -> Option<&VoucherKindId> {
        match &self.effect {
            PromotionEffect::Voucher(kind) if self.limit.is_none() => Some(kind),
            PromotionEffect::Voucher(_)
            | PromotionEffect::Multiply { .. }
            | PromotionEffect::PerAmount { .. }
            | PromotionEffect::Fixed { .. } => None,
        }
    }
}

impl PromotionCounts {
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.dropped.is_empty() && self.tallies.is_empty() && self.days_before.is_none()
    }

    pub(super) fn fold(&self, header: &mut Header) {
        for dropped in &self.dropped {
            header.promotions.remove(dropped);
        }
        for (key, count) in &self.counters {
            if *count == PromotionCount::default() {
                header.promotions.remove(key);
            } else {
                header.promotions.insert(key.clone(), *count);
            }
        }
    }
}

impl PromotionTally {
    /// With so many more, or fewer.
    pub(super) fn moved(self, points: Points) -> Result<Self, Overflow> {
        Ok(Self { change: self.change.checked_add(1).ok_or(Overflow)?, points: self.points.plus(points)?.max(Points::ZERO) })
    }
}

impl Promotion {
    pub(super) fn is_running(&self, instant: Timestamp) -> bool {
        self.start_time.is_none_or(|start| start <= instant) && self.end_time.is_none_or(|end| instant < end)
    }

    /// Some lines can match and others not.
    pub(super) fn is_of_lines(&self) -> bool {
        let filter = &self.filter;
        let lists = [&filter.skus, &filter.categories, &filter.labels, &filter.excluded_skus, &filter.excluded_categories];
        lists.iter().any(|list| !list.is_empty()) || !filter.excluded_labels.is_empty() || self.line_condition.is_some()
    }

    /// What it asks for is not known without looking at each line.
    pub(super) fn looks_at_lines(&self) -> bool {
        self.is_of_lines() || !self.minimum_quantity.is_zero()
    }

    /// A condition reads something of the member that the sale's entry does not say otherwise.
    pub(super) fn reads_member(&self) -> bool {
        let conditions = [&self.condition, &self.line_condition].into_iter().flatten();
        conditions.flat_map(Condition::fields).any(|field| match field {
            Field::Truth(TruthField::PurchaseIsFirst) => true,
            Field::Number(number) => match number {
                NumberField::MemberTierRank => false,
                NumberField::MemberAgeDays | NumberField::MemberDaysSinceLastPurchase | NumberField::MemberPurchases => true,
            },
            Field::Amount(amount) => match amount {
                AmountField::PurchaseBasis
                | AmountField::PurchaseTotal
                | AmountField::PurchaseOrderDiscount
                | AmountField::PurchaseQuantity => false,
                AmountField::MemberSpend
                | AmountField::MemberAvailablePoints
                | AmountField::MemberPendingPoints
                | AmountField::MemberQualifyingPoints => true,
            },
            Field::List(list) => *list == ListField::MemberSegments,
            Field::Time(time) => *time == TimeField::MemberCreateTime,
            Field::Truth(TruthField::PurchaseOffline)
            | Field::Text(_)
            | Field::Calendar(_)
            | Field::Lines
            | Field::LineText(_)
            | Field::LineAmount(_)
            | Field::LineList(_)
            // Known in segments alone.
            | Field::PurchasesIn(_)
            | Field::SpendIn(_) => false,
        })
    }

    /// What it gives grows with what is spent, be it for goods or for shipping.
    pub(super) fn goes_by_amount(&self) -> bool {
        match self.effect {
            PromotionEffect::Multiply { .. } | PromotionEffect::PerAmount { .. } => true,
            PromotionEffect::Fixed { .. } | PromotionEffect::Voucher(_) => false,
        }
    }

    /// It is reckoned on the lines that match, not on the whole order.
    pub(super) fn is_on_lines(&self) -> bool {
        let whole = match self.effect {
            PromotionEffect::Multiply { whole_order, .. } | PromotionEffect::PerAmount { whole_order, .. } => whole_order,
            PromotionEffect::Fixed { .. } | PromotionEffect::Voucher(_) => false,
        };
        self.is_of_lines() && !whole
    }

    /// The member's counters that a sale on a day counts in: of points, and of times.
    pub(super) fn counters(&self, day: Date) -> (Option<PeriodStart>, Option<PeriodStart>) {
        let cap = self.limits.cap.map(|cap| calendar::period_start(day, cap.period));
        (cap, self.limits.times.map(|times| calendar::period_start(day, times.period)))
    }

    /// The programme's tallies that a sale on a day counts in.
    pub(super) fn tallies(&self, day: Date) -> impl Iterator<Item = TallyKey> {
        let of_day = self.limits.daily_cap.map(|_| (self.id.clone(), Some(day)));
        of_day.into_iter().chain(self.limits.budget.map(|_| (self.id.clone(), None)))
    }

    fn is_tallied(&self) -> bool {
        self.limits.daily_cap.is_some() || self.limits.budget.is_some()
    }
}

impl BirthdayCondition {
    /// Whether a day lies in the window of the birthday of its year, or of the year before or after.
    pub(super) fn is_met(&self, date: BirthDate, day: Date) -> Result<bool, Overflow> {
        for year in [day.year().saturating_sub(1), day.year(), day.year().saturating_add(1)] {
            let (first, end) = self.window.days(self.leap_day_in_march, date, year)?;
            if (first..end).contains(&day) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Program {
    pub fn promotion(&self, id: &RuleId) -> Option<&Promotion> {
        self.promotions.iter().find(|promotion| promotion.id == *id)
    }

    /// A promotion that may give something to a sale of an instant asks for the birth date.
    pub fn asks_for_birthday(&self, occurred_time: Timestamp) -> bool {
        self.promotions.iter().any(|promotion| promotion.birthday.is_some() && promotion.is_running(occurred_time))
    }

    /// What a sale may count in of the programme's tallies: of promotions that have any, and that may give something. Each of them is a read of
    /// the store, so that what is known of the member and the goods is asked first. `tier`: `None` where it is not known what the sale is rated
    /// by.
    fn tally_keys(&self, (header, tier): (&Header, Option<&TierId>), purchase: &Purchase, occurred_time: Timestamp) -> Vec<TallyKey> {
        let mut local: Option<DateTime> = None;
        let mut keys = Vec::new();
        for promotion in self.promotions.iter().filter(|promotion| promotion.is_tallied() && promotion.is_running(occurred_time)) {
            let local = *local.get_or_insert_with(|| self.time_zone.to_datetime(occurred_time));
            // Nobody's first purchase comes after another one.
            let is_for = (!promotion.first_purchase || header.purchases == 0)
                && self.may_be_had(promotion, header)
                && (promotion.tiers.is_empty() || tier.is_none_or(|tier| promotion.tiers.contains(tier)));
            if is_for && accrual::may_give(promotion, purchase, local) && accrual::may_match(promotion, purchase) {
                keys.extend(promotion.tallies(local.date()));
            }
        }
        keys
    }

    /// Nothing that is due gives a member an offer.
    fn may_be_had(&self, promotion: &Promotion, header: &Header) -> bool {
        !promotion.only_with_offer
            || self.offer_of(promotion).is_some_and(|offer| !offer.must_be_held() || header.offers.contains_key(&offer.id))
    }

    pub fn offer_of(&self, promotion: &Promotion) -> Option<&Offer> {
        promotion.offer.and_then(|place| self.offers.get(place))
    }

    /// By which a purchase is rated that is the next thing to happen to a member; `None`: something else may come before it, or the tier that it
    /// leads to counts.
    fn settled_tier(&self, programs: &ProgramHistory, header: &Header, occurred_time: Timestamp, now: Timestamp) -> Option<&TierId> {
        let is_settled = !header.is_due(now) && header.birthday.policy_version >= programs.birthday_version();
        if !is_settled || self.tier_policy.rate_at_tier_after {
            return None;
        }
        self.tiers.get(self.rank(header.tier.at(occurred_time))).map(|tier| &tier.id)
    }
}

/// The tallies that a command may change: of a purchase those that it may count in, of a return those that its sale has counted in. `header`: of
/// the member as it is stored, before what is due.
pub fn tally_keys(programs: &ProgramHistory, header: &Header, command: &Command, history: &History, now: Timestamp) -> Vec<TallyKey> {
    let of_purchase = |purchase: &Purchase, is_next: bool| {
        let occurred_time = purchase.occurred_time.unwrap_or(now);
        let program = programs.at(occurred_time);
        let tier = if is_next { program.settled_tier(programs, header, occurred_time, now) } else { None };
        program.tally_keys((header, tier), purchase, occurred_time)
    };
    match command {
        Command::RecordPurchase(purchase) => of_purchase(purchase, true),
        Command::ReturnPurchase(request) => {
            let mut keys = of_sale(request, history);
            keys.extend(request.exchange.iter().flat_map(|purchase| of_purchase(purchase, false)));
            keys
        }
        Command::Enroll { .. }
        | Command::UpdateProfile(_)
        | Command::AddIdentifier { .. }
        | Command::RemoveIdentifier { .. }
        | Command::SetTier { .. }
        | Command::Suspend { .. }
        | Command::Reactivate { .. }
        | Command::Erase { .. }
        | Command::AdjustPoints(_)
        | Command::RedeemPoints(_)
        | Command::ReverseRedemption(_)
        | Command::HoldPoints(_)
        | Command::CaptureHold(_)
        | Command::ReleaseHold { .. }
        | Command::ConfirmPurchase { .. }
        | Command::TransferPoints(_)
        | Command::RecordActivity(_)
        | Command::Voucher(_)
        | Command::Offer(_)
        | Command::MergeMembers(_) => Vec::new(),
    }
}

/// Of a purchase that is quoted: also those that could count if more were bought.
pub fn quoted_tally_keys(
    programs: &ProgramHistory,
    header: &Header,
    purchase: &Arc<Purchase>,
    history: &History,
    now: Timestamp,
) -> Vec<TallyKey> {
    let purchase = accrual::enlarged(purchase).map_or_else(|| Arc::clone(purchase), Arc::new);
    tally_keys(programs, header, &Command::RecordPurchase(purchase), history, now)
}

fn of_sale(request: &ReturnRequest, history: &History) -> Vec<TallyKey> {
    let counted = history.threads.values().filter_map(|thread| match &thread.origin.kind {
        EntryKind::PurchaseAccrued(accrued) if accrued.purchase.order.as_ref() == Some(&request.order) => {
            Some(&accrued.accrual.promotion_counts.tallies)
        }
        _ => None,
    });
    counted.flatten().map(|(key, _)| key.clone()).collect()
}

/// What a member's promotions come to of two that are one from now on, those that the other one had.
pub(super) fn join(own: &Header, other: &Header) -> Result<PromotionCounts, Overflow> {
    let mut joined = own.promotions.clone();
    for (key, count) in &other.promotions {
        let sum = joined.entry(key.clone()).or_default();
        sum.points = sum.points.plus(count.points)?;
        sum.times = sum.times.checked_add(count.times).ok_or(Overflow)?;
    }
    let surplus = accrual::surplus(&joined, other.promotions.keys().map(|(promotion, _)| promotion));
    let kept = other.promotions.keys().filter(|key| !surplus.contains(*key));
    let counters = kept.map(|key| (key.clone(), joined[key])).collect();
    let dropped = surplus.into_iter().filter(|key| own.promotions.contains_key(key)).collect();
    Ok(PromotionCounts { counters, dropped, ..PromotionCounts::default() })
}
