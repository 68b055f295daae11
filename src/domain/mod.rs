//! What loyalty is: pure decisions over a member's state. No async, IO, clock, randomness, protobuf or serde in here.
//!
//! [`decide`] turns a command into entries, [`apply`] folds an entry into the state, [`advance`] turns what time alone brings into
//! entries. `decide` is deterministic: the same state, rule book, command and time give the same entries.

mod accrual;
mod accrued;
mod activation;
mod activity;
mod adjustment;
mod arm;
mod audit;
mod birthday;
mod calendar;
mod command;
mod condition;
mod decision;
mod effects;
mod entry;
mod entry_size;
mod expiry;
mod fold;
mod fraud;
mod goal;
mod hold;
mod id;
mod inactive_months;
mod inactivity;
mod lately;
mod lot;
mod member;
mod merge;
mod money;
mod offer;
mod points;
mod program;
mod promotion;
mod purchase;
mod quote;
mod redemption;
mod referral;
mod rejection;
mod returned;
mod returns;
mod reward;
mod segment;
mod spent;
mod taking;
mod tier;
mod transfer;
mod voucher;

pub use accrual::{Hint, MAX_HINTS};
pub use accrued::*;
pub use activity::{ActivityAccrued, ActivityAward, ActivitySide};
pub use arm::{ALL_MEMBERS, Arm, Place, bucket};
pub use audit::{Act, ActKind};
pub use birthday::{
    BirthdayChanged, BirthdayGift, BirthdayGiven, BirthdayGranted, BirthdayMultiplier, BirthdayPlan, BirthdayPolicy, BirthdayReward,
    BirthdayWindow, Birthdays,
};
pub use calendar::*;
pub use command::*;
pub use condition::{
    AmountField, CalendarField, Condition, ConditionMistake, Digits, Facts, Field, LineAmountField, LineListField, LineTextField,
    ListField, MAX_CONDITION_BYTES, MAX_CONDITION_NODES, MAX_CONDITION_STEPS, MAX_WINDOW_DAYS, MAX_WINDOW_MONTHS, Named, NumberField,
    QUANTITY_DIGITS, Scope, SegmentWindow, TextField, TimeField, TruthField, Turning, Unit,
};
pub use decision::{Context, Decision, History, Thread, advance, decide, hints, receive};
pub use effects::{EffectLine, EffectSource, MAX_EFFECT_LINES, PriceEffect};
pub use entry::*;
pub use fold::{FoldError, apply};
pub use fraud::{FraudAction, FraudBound, FraudCounter, FraudFlag, FraudLimit, FraudLimits, MAX_FRAUD_COUNTERS, OperatorDay, Watched};
pub use goal::{Goal, GoalChanged, GoalPaid, GoalProgress, GoalRefund, GoalWaiting, Goals, MAX_GOAL_DELAY_DAYS, MAX_GOAL_VOUCHERS};
pub use hold::MAX_HOLDS;
pub use id::*;
pub use inactive_months::{InactiveMonths, MAX_COUNTED_MONTHS, MonthRecord, RanOut};
pub use inactivity::{Inactivity, PAUSED};
pub use lately::{Lately, LatelyKind, MAX_LATELY};
pub use lot::*;
pub use member::*;
pub use merge::{MAX_MERGED, MAX_MERGED_LOTS, Merged, MergedFrom, MergedInto, merge};
pub use money::*;
pub use offer::{
    MAX_OFFER_TIMES, MAX_OFFERS, MAX_PAST_OFFERS, Offer, OfferAudience, OfferChange, OfferChanged, OfferGift, OfferHeld, OfferObstacle,
    OfferStanding, OfferState, OfferTime,
};
pub use points::{Overflow, Points};
pub use program::*;
pub use promotion::{
    BirthdayCondition, MAX_PROMOTION_CODES, MemberFacts, Promotion, PromotionAward, PromotionCombination, PromotionCount, PromotionCounts,
    PromotionEffect, PromotionGroup, PromotionLimits, PromotionTally, Tallies, TallyKey, TimesLimit, promotion_code, quoted_tally_keys,
    tally_keys,
};
pub use purchase::*;
pub use quote::{QuoteId, QuoteIdError, QuotePart};
pub use redemption::{Usable, usable};
pub use referral::{
    MAX_REFERRAL_CHAIN, MAX_REFERRAL_DAYS, Referral, ReferralEarned, ReferralHeld, ReferralTakenBack, ReferralTerms, ReferrerAbsent,
};
pub use rejection::{ActivityRejection, OfferRejection, Rejection, RewardRejection, TooComplex, VoucherRejection};
pub use returned::*;
pub use reward::{
    MAX_PAST_REWARDS, MAX_REWARD_QUANTITY, Reward, RewardFreed, RewardLimit, RewardObstacle, RewardPaid, RewardStanding, RewardStock,
    RewardTally, TALLIED,
};
pub use segment::{MAX_SEGMENT_STEPS, MAX_SEGMENTS, Segment, SegmentHeld, SegmentSize, Segments, SegmentsChanged};
pub use spent::*;
pub use taking::points_within_reach;
pub use tier::*;
pub use voucher::{
    MAX_PURCHASE_VOUCHERS, MAX_VOUCHERS, Voucher, VoucherBenefit, VoucherCause, VoucherChange, VoucherChanged, VoucherCode,
    VoucherCodeError, VoucherCodeKey, VoucherHold, VoucherKind, VoucherRelease, VoucherSummary, VoucherValidity,
};
