//! Every business "no", in order of precedence: where several apply, the first of this list is given. Payments of one purchase, and lines
//! of one return, are judged one after the other, and the first that is refused counts.

use jiff::Timestamp;

use rust_decimal::Decimal;

use super::{
    ActivityId, FraudFlag, HoldId, IdentifierKind, MemberId, OfferId, OrderKey, Points, QuotePart, RewardId, TierId, VoucherKindId,
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the request id was used before with another payload; take a new id for a new intention")]
    RequestIdReused,
    #[error("no member of the programme has this id or identifier; enrol the member first, or check what was scanned or typed")]
    MemberNotFound,
    #[error(
        "the number {sequence} fits entries of several members that were merged: name the member in whose ledger it is by its id, or as `redemption_member_id` ({})",
        members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    EntryAmbiguous { sequence: u64, members: Vec<MemberId> },
    #[error("no member of the programme has the id or identifier of the one that is to stay")]
    MergeTargetNotFound,
    #[error("no member of the programme has the id or identifier of the one who is to get the points")]
    RecipientNotFound,
    #[error("the purchase {} of store {} is recorded already, for member {member}, under another request id", order.order, order.store)]
    PurchaseExists { order: OrderKey, member: MemberId, entry_sequence: u64 },
    #[error(transparent)]
    Activity(#[from] ActivityRejection),
    #[error("another member has this identifier; look it up, or remove it there first")]
    IdentifierTaken { kind: IdentifierKind, member: MemberId },
    #[error("the member was erased: nobody is left to earn or spend; enrol the person anew if that is wanted")]
    MemberErased,
    #[error("the member has this identifier already")]
    IdentifierHeld { kind: IdentifierKind },
    #[error("the member does not have this identifier")]
    IdentifierNotHeld { kind: IdentifierKind },
    #[error("a member cannot be merged with itself")]
    MergeWithSelf,
    #[error("the member was merged into member {into} already")]
    MemberMerged { into: MemberId },
    #[error("the member has open holds ({holds}); capture or release them first, or wait until they end")]
    HoldsOpen { holds: usize },
    #[error("at most {limit} members can be merged into one")]
    TooManyMerged { limit: usize },
    #[error("a member that is merged into another may have at most {limit} lots with points, pending ones among them; this one has {lots}")]
    MergeTooLarge { lots: usize, limit: usize },
    #[error("a member can have at most {limit} identifiers; remove one first")]
    TooManyIdentifiers { limit: usize },
    #[error("the birth date was changed {maximum} times, which is the most that the programme allows")]
    BirthDateChangesUsedUp { maximum: u32 },
    #[error("the member is suspended; reactivate it first")]
    MemberSuspended,
    #[error("the member is not suspended")]
    MemberNotSuspended,
    #[error("the purchase occurred at {occurred_time}, more than {max_age_days} days ago, which is the programme's bound")]
    PurchaseTooOld { occurred_time: Timestamp, max_age_days: u32 },
    #[error(
        "the purchase is dated {occurred_time}, more than {max_ahead_seconds} seconds ahead of the service's clock; check the till's clock"
    )]
    PurchaseInFuture { occurred_time: Timestamp, max_ahead_seconds: u32 },
    #[error(transparent)]
    Reward(#[from] RewardRejection),
    #[error(transparent)]
    Offer(#[from] OfferRejection),
    #[error(transparent)]
    Voucher(#[from] VoucherRejection),
    #[error("the programme's rule book has no tier {tier}")]
    TierNotFound { tier: TierId },
    #[error("the last date of the tier has passed already; leave it out for a tier without end")]
    TierEndPast,
    #[error("the member has tier {tier} already")]
    TierHeld { tier: TierId },
    #[error("one adjustment may move at most {limit} points (smallest unit), {requested} were asked for")]
    AdjustmentTooLarge { limit: Points, requested: Points },
    #[error("all of the purchase has been returned already")]
    PurchaseReturned,
    #[error("nothing is returned: name lines with a quantity or an amount, an amount of the order, or the whole purchase")]
    NothingReturned,
    #[error("the purchase has been returned in {limit} parts already; return all that is left of it, with `whole_purchase`")]
    TooManyReturns { limit: u32 },
    #[error("the purchase has no line {line}; lines are counted from 0")]
    ReturnLineNotFound { line: usize },
    #[error("of {} {left} can still be returned, {requested} were asked for", match line { Some(line) => format!("line {line}"), None => "the order".to_owned() })]
    ReturnTooLarge { line: Option<usize>, left: Decimal, requested: Decimal },
    #[error("no points of the purchase wait for a confirmation: they were confirmed, returned, or never pending")]
    NothingPending,
    #[error(
        "the return takes {requested} points (smallest unit), and {shortfall} of them are not there any more, which the programme asks for"
    )]
    ReturnShortfall { shortfall: Points, requested: Points },
    #[error("the member has no redemption with the entry sequence {redemption}")]
    RedemptionNotFound { redemption: u64 },
    #[error(
        "the points of entry {redemption} went for the voucher of a reward, which it issued: cancel the voucher with CancelVoucher, and they come back"
    )]
    RedemptionOfReward { redemption: u64 },
    #[error("the member has no hold {hold}")]
    HoldNotFound { hold: HoldId },
    #[error("the hold {hold} has ended, with entry {entry_sequence}: its points were {}", if *.captured { "captured" } else { "given back" })]
    HoldEnded { hold: HoldId, captured: bool, entry_sequence: u64 },
    #[error("members of the programme do not give points away: its rule book has no `transfers`")]
    TransfersNotOffered,
    #[error("a member cannot transfer points to itself")]
    TransferToSelf,
    #[error("one transfer may move at most {limit} points (smallest unit), {requested} were asked for")]
    TransferTooLarge { limit: Points, requested: Points },
    #[error("without asking the service a till may redeem at most {limit} points (smallest unit) for one sale, {requested} were redeemed")]
    OverFloorLimit { limit: Points, requested: Points },
    #[error("the tenders come to {tendered}, but after the price effects {total} is to be paid; QuotePurchase says so before")]
    TendersMismatch { total: Decimal, tendered: Decimal },
    #[error("the programme does not redeem points as money: its rule book has no `redemption`")]
    RedemptionNotOffered,
    #[error("the programme bounds the part of an order that is paid with points: say what the order comes to")]
    OrderTotalRequired,
    #[error("a hold may last {maximum_seconds} seconds at most, {seconds} were asked for")]
    HoldTooLong { seconds: u32, maximum_seconds: u32 },
    #[error("a member can have at most {limit} open holds; capture or release one first")]
    TooManyHolds { limit: usize },
    #[error("the member owes {debt} points (smallest unit), which later points pay; until then none can be redeemed")]
    InDebt { debt: Points },
    #[error("at least {minimum} points (smallest unit) are redeemed at a time, {requested} were asked for or can be used")]
    BelowMinimum { minimum: Points, requested: Points },
    #[error("points are redeemed in multiples of {step} (smallest unit), {requested} were asked for")]
    NotInSteps { step: Points, requested: Points },
    #[error("{requested} points (smallest unit) are worth less than the smallest amount of money; take more at a time")]
    WorthNothing { requested: Points },
    #[error("of this order at most {limit} may be paid with points, and those asked for are worth {requested}")]
    OverOrder { limit: Decimal, requested: Decimal },
    #[error("the hold has {held} points (smallest unit), {requested} were asked for")]
    MoreThanHeld { held: Points, requested: Points },
    #[error("of the redemption {left} points (smallest unit) can go back, {requested} were asked for")]
    MoreThanRedeemed { left: Points, requested: Points },
    #[error("the redemption of entry {redemption} cannot pay this purchase: it went back, belongs to another order, or is named twice")]
    RedemptionUnusable { redemption: u64 },
    #[error("{requested} points are asked for, {available} are available (smallest unit)")]
    InsufficientPoints { available: Points, requested: Points },
    #[error(
        "the {requested} points asked for (smallest unit) lie in more than {limit} lots, which is the most that are taken from at a time: take \
         {most} or fewer, several times"
    )]
    TooManyLots { limit: usize, most: Points, requested: Points },
    #[error("the tenders of points come to {tendered}, but the points that pay them are worth {paid}")]
    PaymentMismatch { tendered: Decimal, paid: Decimal },
    #[error("{0}")]
    PurchaseTooComplex(TooComplex),
    #[error("the fraud limit {} is exceeded: {} since {}, and {} are allowed", .0.limit.name(), .0.count, .0.period_start, .0.maximum)]
    FraudLimit(FraudFlag),
    #[error(
        "the purchase would not lead to what was quoted any more (other: {}); nothing was recorded: ask for a new quote, and tell the customer",
        parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(", ")
    )]
    QuoteChanged { parts: Vec<QuotePart> },
    #[error("the member who is to get the points is suspended; reactivate it first")]
    RecipientSuspended,
    #[error("the member who is to get the points was erased")]
    RecipientErased,
    #[error("the member who is said to have referred this one is suspended; reactivate it first, or leave the referrer out")]
    ReferrerSuspended,
    #[error("the member who is said to have referred this one was erased; leave the referrer out")]
    ReferrerErased,
    #[error("a number would leave the range that the ledger can hold")]
    Overflow,
}

/// What there is too much of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooComplex {
    #[error(
        "the purchase comes to {award_lines} award lines or more (each line counts once for each rule that awards it, and for each promotion that \
         is reckoned on lines), and at most {limit} are possible; record it as several purchases, or combine rules"
    )]
    AwardLines { award_lines: usize, limit: usize },
    #[error(
        "price effects would take something off {effect_lines} lines or more (each line counts once for each effect), and at most {limit} are \
         possible; record it as several purchases"
    )]
    EffectLines { effect_lines: usize, limit: usize },
    #[error(
        "the promotions of the programme would have to look at {steps} lines or more for this purchase, and at most {limit} are possible; record it \
         as several purchases, or let fewer promotions ask for goods"
    )]
    Steps { steps: usize, limit: usize },
}

/// Why an activity is not recorded, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActivityRejection {
    #[error(
        "activity {activity} is recorded already for member {member}, in entry {entry_sequence}, under another request id: {}",
        if *.referred { "a member is referred by it once" } else { "its reference was used before" }
    )]
    Exists { activity: ActivityId, member: MemberId, entry_sequence: u64, referred: bool },
    #[error("no member of the programme has the id or identifier of the one who is said to have referred this member")]
    ReferrerNotFound,
    #[error("a member cannot refer itself")]
    ReferralToSelf,
    #[error("the activity occurred at {occurred_time}, more than {max_age_days} days ago, which is the programme's bound")]
    TooOld { occurred_time: Timestamp, max_age_days: u32 },
    #[error(
        "the activity is dated {occurred_time}, more than {max_ahead_seconds} seconds ahead of the service's clock; check the caller's clock"
    )]
    InFuture { occurred_time: Timestamp, max_ahead_seconds: u32 },
    #[error("no rule of the rule book that was in force gave points for activity {activity} at that time")]
    NotOffered { activity: ActivityId },
    #[error("activity {activity} gives nothing without a member who referred this one: say who did")]
    ReferrerRequired { activity: ActivityId },
    #[error("the member has bought {purchases} times already: a referral is for those who have not bought yet")]
    ReferralTooLate { purchases: u64 },
    #[error("member {referrer} was referred by this member, or by one that this member referred: they cannot refer one another")]
    ReferralRing { referrer: MemberId },
}

/// Why a reward is not to be had, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewardRejection {
    #[error("the programme's rule book has no reward {reward}")]
    NotFound { reward: RewardId },
    #[error(
        "reward {reward} {}",
        match (start_time, end_time) {
            (Some(start), _) => format!("can be had from {start} on"),
            (None, Some(end)) => format!("could be had until {end}"),
            (None, None) => "was withdrawn: earlier versions of the rule book had it".to_owned(),
        }
    )]
    NotOffered { reward: RewardId, start_time: Option<Timestamp>, end_time: Option<Timestamp> },
    #[error("reward {reward} is not for members of {}", tier.as_ref().map_or_else(|| "no tier".to_owned(), |tier| format!("tier {tier}")))]
    Tier { reward: RewardId, tier: Option<TierId> },
    #[error("reward {reward} is for members of some segments, and the member is in none of them")]
    Segment { reward: RewardId },
    #[error("of reward {reward} at most {maximum} can be had at once, {requested} were asked for; ask several times")]
    Quantity { reward: RewardId, maximum: u32, requested: u32 },
    #[error(
        "a member may have {limit} of reward {reward} in a period; {left} of them are left, {requested} were asked for{}",
        next_time.map_or_else(String::new, |time| format!(", and the next period begins at {time}"))
    )]
    Limit { reward: RewardId, limit: u32, left: u32, requested: u32, next_time: Option<Timestamp> },
    #[error("of reward {reward} {left} are left in stock, {requested} were asked for")]
    OutOfStock { reward: RewardId, left: u64, requested: u32 },
}

/// Why an offer is not given, activated or withdrawn, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferRejection {
    #[error("the programme's rule book has no offer {offer}")]
    NotFound { offer: OfferId },
    #[error(
        "offer {offer} {}",
        match (start_time, end_time) {
            (Some(start), _) => format!("can be had from {start} on"),
            (None, Some(end)) => format!("could be had until {end}"),
            (None, None) => "cannot be had now".to_owned(),
        }
    )]
    NotOffered { offer: OfferId, start_time: Option<Timestamp>, end_time: Option<Timestamp> },
    #[error("offer {offer} is not personal: whoever the rule book says has it without being given it")]
    NotPersonal { offer: OfferId },
    #[error("offer {offer} would end at {end_time}, before it begins; leave `end_time` out for as long as the offer lasts")]
    EndPast { offer: OfferId, end_time: Timestamp },
    #[error("offer {offer} is personal, and the member was not given it, or not for as long as now")]
    NotAssigned { offer: OfferId },
    #[error("offer {offer} is not for members of {}", tier.as_ref().map_or_else(|| "no tier".to_owned(), |tier| format!("tier {tier}")))]
    Tier { offer: OfferId, tier: Option<TierId> },
    #[error("offer {offer} is for members of some segments, and the member is in none of them")]
    Segment { offer: OfferId },
    #[error("offer {offer} is for new members, and this one was new until {end_time}")]
    NotNew { offer: OfferId, end_time: Timestamp },
    #[error("offer {offer} needs no activation: its promotion works with the next purchase that fits")]
    NoActivation { offer: OfferId },
    #[error("the member has activated offer {offer} already{}", end_time.map_or_else(String::new, |end| format!(", until {end}")))]
    Active { offer: OfferId, end_time: Option<Timestamp> },
    #[error("the member has activated offer {offer} before, that time is over, and it cannot be activated again in this period")]
    Ended { offer: OfferId },
    #[error(
        "the member has used offer {offer} as often as it may, {limit} in a period{}",
        next_time.map_or_else(String::new, |time| format!("; the next period begins at {time}"))
    )]
    Limit { offer: OfferId, limit: u32, next_time: Option<Timestamp> },
}

/// Why a voucher is not issued, held, used or cancelled, in order of precedence. No code is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoucherRejection {
    #[error("the programme's rule book has no kind of vouchers {kind}")]
    KindNotFound { kind: VoucherKindId },
    #[error("the member has {limit} live vouchers, which is the most; cancel one first, or wait until one lapses")]
    TooMany { limit: usize },
    #[error("no voucher of the programme has this code; check what was scanned or typed")]
    NotFound,
    #[error("the voucher is another member's")]
    OfOtherMember,
    #[error(
        "the voucher was used already{}, in entry {entry_sequence} of member {member}",
        order.as_ref().map_or_else(String::new, |order| format!(", for order {} of store {}", order.order, order.store))
    )]
    Used { order: Option<OrderKey>, member: MemberId, entry_sequence: u64 },
    #[error("the voucher was cancelled, in entry {entry_sequence}")]
    Cancelled { entry_sequence: u64 },
    #[error("the voucher is held for another order until {until}; release it there, or wait")]
    Held { until: Timestamp },
    #[error("the voucher is not held")]
    NotHeld,
    #[error("the voucher is valid from {valid_from_time} on")]
    NotYetValid { valid_from_time: Timestamp },
    #[error("the voucher lapsed at {expire_time}")]
    Expired { expire_time: Timestamp },
    #[error("the voucher asks for a minimum order: say what the goods come to")]
    OrderTotalRequired,
    #[error("the voucher asks for goods of {minimum} or more, and these come to {goods}")]
    BelowMinimumOrder { minimum: Decimal, goods: Decimal },
    #[error("the voucher gives one unit of {sku}, which is not among the goods")]
    ItemMissing { sku: String },
    #[error("the voucher gives one unit of category {category}, of which nothing is among the goods")]
    CategoryMissing { category: String },
}

impl From<super::Overflow> for Rejection {
    fn from(super::Overflow: super::Overflow) -> Self {
        Rejection::Overflow
    }
}
