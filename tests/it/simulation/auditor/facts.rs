//! What an entry says, in plain numbers: what the auditor expects and what the ledger answers are compared as this.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use loyaltyd::domain::{
    ActivityAccrued, ActivitySide, Allocation, BirthdayChanged, BirthdayGiven, BirthdayPlan, Entry, EntryKind, EntryRef, LimitKind,
    LotExpiry, MemberId, MergedFrom, OrderKey, PendingLot, Portion, PromotionAward, Purchase, PurchaseAccrued, ReleaseCause, Returned,
    TierCause, Voucher, VoucherChange, VoucherRelease,
};
use rust_decimal::Decimal;

use super::{
    birthdays::{Given, Plan},
    book::Lapse,
    goals::{self, Back, TurnedSaid, Waits},
    months,
    offers::{self, Became},
    prices::{self, Effect},
    referrals::{self, EarnedSaid, ReferredSaid, TakenSaid},
    rewards::{self, RewardedSaid, Tally},
    segments,
    vouchers::Terms,
};

/// Lot and points.
pub type Parts = Vec<(u64, i64)>;

#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub sequence: u64,
    pub record_time: Timestamp,
    pub occurred_time: Timestamp,
    pub by_time: bool,
    pub version: u32,
    pub purse: Purse,
    /// Fraud limits that it exceeds: maximum, count, since when.
    pub flags: Vec<(&'static str, i64, i64, Timestamp)>,
    /// Where the time of inactivity ends from here on, if that moves.
    pub idle_until: Option<Timestamp>,
    /// What becomes of the months by which points lapse, if that changes.
    pub months: Option<months::Record>,
    pub fact: Fact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purse {
    pub available: i64,
    pub pending: i64,
    pub held: i64,
    pub debt: i64,
    pub issued: i64,
    pub redeemed: i64,
    pub expired: i64,
    pub clawed_back: i64,
    pub reinstated: i64,
    pub transferred_in: i64,
    pub transferred_out: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LotSaid {
    pub id: u64,
    pub points: i64,
    pub lapse: Lapse,
    pub debt_paid: i64,
    /// Until when it waits, `None` within: a confirmation; and what counts for tiers then.
    pub waits: Option<(Option<Timestamp>, i64)>,
}

/// How a hold ended that was not captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Asked,
    TimeUp,
    Erased,
}

/// How a tier was come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Earned,
    /// With its end.
    ByHand(Option<Timestamp>),
    Reviewed,
    Returned,
    ByRuleBook,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionSaid {
    pub promotion: String,
    /// Before its limits.
    pub uncapped: i64,
    pub points: i64,
    pub qualifying: i64,
    /// The last that changed them.
    pub limit: Option<LimitKind>,
    pub arm: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Enrolled,
    Suspended,
    Reactivated,
    Erased,
    Tier {
        to: String,
        how: How,
        /// When the status ends, and when it is reviewed.
        until: Option<(Timestamp, Timestamp)>,
    },
    TierKept(String, Option<(Timestamp, Timestamp)>),
    TierRewarded {
        tier: String,
        lot: Option<LotSaid>,
        /// Of this kind one follows.
        voucher: Option<String>,
    },
    Accrued {
        points: i64,
        qualifying: i64,
        basis: Decimal,
        lines: Vec<(Decimal, Decimal)>,
        /// Rule, points, qualifying points.
        awards: Vec<(String, i64, i64)>,
        lots: Vec<LotSaid>,
        tier: Option<String>,
        /// The tier that the member had then.
        standing: Option<String>,
        redemptions: Vec<EntryRef>,
        /// Of each promotion.
        promoted: Vec<PromotionSaid>,
        /// As it was paid.
        purchase: Arc<Purchase>,
        effects: Vec<Effect>,
        /// The entry by which a referral gave something for it, and the basis of all goods that it gave that for, if there are others.
        referral: Option<EntryRef>,
        shared: Option<Decimal>,
    },
    Adjusted {
        points: i64,
        qualifying: i64,
        lot: Option<LotSaid>,
        taken: Parts,
        debt: i64,
    },
    Expired(Parts),
    Redeemed {
        points: i64,
        value: Decimal,
        taken: Parts,
        owed: i64,
        /// The hold, what of it went back, and how much of that paid debt.
        captured: Option<(u64, Parts, i64)>,
    },
    Reversed {
        redemption: EntryRef,
        points: i64,
        value: Decimal,
        /// From which lot, into which, until when, how many.
        back: Vec<(u64, u64, Lapse, i64)>,
        so_far: i64,
        debt_paid: i64,
        owed: i64,
        lot: Option<LotSaid>,
    },
    Held {
        points: i64,
        value: Decimal,
        taken: Parts,
        until: Timestamp,
    },
    Released {
        hold: u64,
        back: Parts,
        debt_paid: i64,
        end: End,
    },
    Activated {
        lots: Vec<LotSaid>,
        qualifying: i64,
        confirmed: bool,
    },
    Returned {
        points: i64,
        qualifying: i64,
        basis: Decimal,
        pending: Vec<(u64, i64, i64)>,
        sale: Parts,
        others: Parts,
        debt: i64,
        forgiven: i64,
        withheld: i64,
        withheld_value: Option<Decimal>,
        voids: bool,
        /// Of what a referral gave for several purchases: what is left of them.
        shared: Option<(EntryRef, Decimal)>,
    },
    Sent {
        to: MemberId,
        points: i64,
        taken: Parts,
    },
    Got {
        from: MemberId,
        /// Of the entry that took them.
        sequence: u64,
        points: i64,
        lots: Vec<LotSaid>,
    },
    MergedInto {
        into: MemberId,
        taken: Parts,
        pending: Parts,
        debt: i64,
        vouchers: usize,
    },
    MergedFrom {
        from: MemberId,
        /// Of the other one's last entry.
        sequence: u64,
        lots: Parts,
        pending: Vec<LotSaid>,
        debt_paid: i64,
        taken: Parts,
        debt: i64,
        last_lot: u64,
        /// Points that count for tiers, spend, visits of the other one.
        totals: (i64, Decimal, u64),
        tiers: Vec<(String, Timestamp)>,
        by_hand: bool,
        suspended: bool,
        /// Those that are live.
        vouchers: Vec<EntryRef>,
        referral: referrals::Shown,
    },
    /// The next one, whose outer `None` is that of somebody who was erased; and year, tier and gift of this one.
    Birthday {
        plan: Option<Option<Plan>>,
        changes: u32,
        granted: Option<(i16, Option<String>, Given)>,
    },
    /// So many vouchers more wait, or fewer, and all that do.
    Goal {
        goal: Option<String>,
        vouchers: i64,
        waits: Waits,
    },
    /// Those that are entered and left, by which version, and when to look again.
    Segments {
        entered: Vec<String>,
        left: Vec<String>,
        version: u32,
        next: Option<Timestamp>,
    },
    /// What becomes of a member's offer.
    Offer {
        offer: String,
        became: Became,
    },
    /// What becomes of the voucher that an entry issued.
    Voucher {
        issued: EntryRef,
        change: Change,
    },
    Did {
        activity: String,
        reference: String,
        referrer: Option<MemberId>,
        /// Who did it, if that is another member, with that one's entry.
        referred: Option<(MemberId, u64)>,
        points: i64,
        qualifying: i64,
        awards: Vec<Reward>,
        lots: Vec<LotSaid>,
        /// It is what a referral gave that waited for a purchase.
        earned: Option<EarnedSaid>,
    },
    Referred(ReferredSaid),
    ReferralBack(TakenSaid),
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Issued(Terms),
    /// With a purchase, by a promotion.
    Promoted(Terms, String),
    /// By an offer.
    Offered(Terms, String),
    /// For points.
    Turned(Terms, TurnedSaid),
    Held(OrderKey, Timestamp),
    Released {
        by_time: bool,
    },
    Used(Option<OrderKey>, Option<Decimal>),
    Cancelled,
    /// For a reward.
    Rewarded(Terms, RewardedSaid),
    /// One that was, is cancelled: with its points, and what is counted then.
    Undone(Box<Change>, Tally),
    /// Cancelled, with its points.
    CameBack {
        points: i64,
        debt_paid: i64,
        back: Back,
    },
    Expired,
    Reinstated(Terms, OrderKey),
}

/// A rule's part of what an activity earned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reward {
    pub rule: String,
    pub uncapped: i64,
    pub limit: Option<Limit>,
    pub points: i64,
    pub qualifying: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Cap,
    Once,
    Other,
}

fn parts(allocations: &[Allocation]) -> Parts {
    allocations.iter().map(|taken| (taken.lot.id().0, taken.points.0)).collect()
}

fn portions(portions: &[Portion]) -> Parts {
    portions.iter().map(|taken| (taken.lot.id().0, taken.points.0)).collect()
}

pub fn lapse(expiry: LotExpiry) -> Lapse {
    match expiry {
        LotExpiry::At(time) => Lapse::On(time),
        LotExpiry::InactiveMonths(earned) => Lapse::Month(earned.0),
        LotExpiry::Inactivity => Lapse::Inactive,
        LotExpiry::Never => Lapse::Never,
    }
}

fn lot(lot: &loyaltyd::domain::AccruedLot) -> LotSaid {
    LotSaid {
        id: lot.id.0,
        points: lot.points.0,
        lapse: lapse(lot.expiry),
        debt_paid: lot.debt_paid.0,
        waits: lot.pending.map(|pending| (pending.activate_time, pending.qualifying_points.0)),
    }
}

pub fn said(entry: &Entry) -> Said {
    let balance = &entry.balance;
    Said {
        sequence: entry.sequence,
        record_time: entry.record_time,
        occurred_time: entry.occurred_time,
        by_time: entry.request.is_none(),
        version: entry.program_version,
        purse: Purse {
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
        },
        flags: entry.flags().iter().map(|flag| (flag.limit.name(), flag.maximum, flag.count, flag.period_start)).collect(),
        idle_until: entry.inactivity_time,
        months: months_of(entry),
        fact: fact(&entry.kind),
    }
}

/// That of two who are merged is in the merge.
fn months_of(entry: &Entry) -> Option<months::Record> {
    match (&entry.inactive_months, &entry.kind) {
        (Some(record), _) => months::found(record),
        (None, EntryKind::MergedFrom(got)) => months::found(&got.inactive_months.record),
        (None, _) => None,
    }
}

fn fact(kind: &EntryKind) -> Fact {
    match kind {
        EntryKind::MemberEnrolled { .. } => Fact::Enrolled,
        EntryKind::MemberSuspended { .. } => Fact::Suspended,
        EntryKind::MemberReactivated { .. } => Fact::Reactivated,
        EntryKind::MemberErased { .. } => Fact::Erased,
        EntryKind::TierChanged(change) => {
            let how = match change.cause {
                TierCause::Upgrade => How::Earned,
                TierCause::Manual => How::ByHand(change.floor.as_ref().expect("it is a floor").end_time),
                TierCause::Review => How::Reviewed,
                TierCause::Return => How::Returned,
                TierCause::RuleBook => How::ByRuleBook,
            };
            Fact::Tier { to: change.to.to_string(), how, until: change.end.map(|end| (end.end_time, end.review_time)) }
        }
        EntryKind::TierKept(kept) => Fact::TierKept(kept.tier.to_string(), kept.end.map(|end| (end.end_time, end.review_time))),
        EntryKind::TierRewarded(rewarded) => Fact::TierRewarded {
            tier: rewarded.tier.to_string(),
            lot: rewarded.lot.as_ref().map(lot),
            voucher: rewarded.voucher.as_ref().map(ToString::to_string),
        },
        EntryKind::PurchaseAccrued(accrued) => earned(accrued),
        EntryKind::PointsAdjusted(adjusted) => Fact::Adjusted {
            points: adjusted.points.0,
            qualifying: adjusted.qualifying_points.0,
            lot: adjusted.lot.as_ref().map(lot),
            taken: parts(&adjusted.allocations),
            debt: adjusted.debt.0,
        },
        EntryKind::PointsExpired(expired) => Fact::Expired(parts(&expired.allocations)),
        EntryKind::PointsRedeemed(redeemed) => Fact::Redeemed {
            points: redeemed.points.0,
            value: redeemed.value,
            taken: portions(&redeemed.portions),
            owed: redeemed.owed.0,
            captured: redeemed.captured.as_ref().map(|it| (it.hold.0, portions(&it.released), it.debt_paid.0)),
        },
        EntryKind::RedemptionReversed(reversed) => {
            let back = |back: &loyaltyd::domain::PutBack| {
                (back.portion.lot.id().0, back.into.id().0, lapse(back.into.expiry()), back.portion.points.0)
            };
            Fact::Reversed {
                redemption: reversed.redemption,
                points: reversed.points.0,
                value: reversed.value,
                back: reversed.put_back.iter().map(back).collect(),
                so_far: reversed.so_far.0,
                debt_paid: reversed.debt_paid.0,
                owed: reversed.owed.0,
                lot: reversed.lot.as_ref().map(lot),
            }
        }
        EntryKind::PointsHeld(held) => Fact::Held {
            points: held.hold.points.0,
            value: held.hold.value,
            taken: portions(&held.hold.portions),
            until: held.hold.expire_time,
        },
        EntryKind::HoldReleased(released) => {
            let end = match released.cause {
                ReleaseCause::Request => End::Asked,
                ReleaseCause::Expired => End::TimeUp,
                ReleaseCause::Erased => End::Erased,
            };
            let (back, debt_paid) = (portions(&released.portions), released.debt_paid.0);
            Fact::Released { hold: released.hold.0, back, debt_paid, end }
        }
        EntryKind::PointsActivated(activated) => Fact::Activated {
            lots: activated.lots.iter().map(|active| lot(&active.lot)).collect(),
            qualifying: activated.lots.iter().map(|active| active.qualifying_points.0).sum(),
            confirmed: activated.confirmed.is_some(),
        },
        EntryKind::PurchaseReturned(returned) => taken_back(returned),
        EntryKind::PointsTransferredOut(sent) => Fact::Sent { to: sent.to, points: sent.points.0, taken: portions(&sent.portions) },
        EntryKind::PointsTransferredIn(got) => Fact::Got {
            from: got.from,
            sequence: got.sequence,
            points: got.points.0,
            lots: got.lots.iter().map(|(got, _)| lot(got)).collect(),
        },
        EntryKind::ActivityAccrued(accrued) => did(accrued),
        EntryKind::MergedInto(gone) => Fact::MergedInto {
            into: gone.into,
            taken: parts(&gone.allocations),
            pending: gone.pending.iter().map(|it| (it.lot.id().0, it.points.0)).collect(),
            debt: gone.debt.0,
            vouchers: gone.vouchers.len(),
        },
        EntryKind::MergedFrom(got) => merged(got),
        EntryKind::VoucherChanged(changed) => Fact::Voucher { issued: changed.issued, change: change(&changed.change) },
        EntryKind::ProfileUpdated { .. } | EntryKind::IdentifierAdded { .. } | EntryKind::IdentifierRemoved { .. } => Fact::Other,
        EntryKind::SegmentsChanged(changed) => segments::changed(changed),
        EntryKind::OfferChanged(changed) => offers::changed(changed),
        EntryKind::ReferralMade(made) => referrals::made(made),
        EntryKind::ReferralTakenBack(back) => referrals::taken_back(back),
        EntryKind::BirthdayChanged(changed) => birthday(changed),
        EntryKind::GoalChanged(changed) => goals::changed(changed),
    }
}

pub fn plan(plan: BirthdayPlan) -> Plan {
    Plan { year: plan.year, due: plan.due_time, start: plan.start_time, end: plan.end_time }
}

fn birthday(changed: &BirthdayChanged) -> Fact {
    let given = |given: &BirthdayGiven| match given {
        BirthdayGiven::Points(points) => Given::Points(lot(points)),
        BirthdayGiven::Voucher(kind) => Given::Voucher(kind.to_string()),
        BirthdayGiven::Multiplier(it) => Given::Multiplier(it.multiplier, it.start_time, it.end_time),
    };
    let granted = changed.granted.as_ref();
    Fact::Birthday {
        plan: changed.plan.open().map(|next| next.map(plan)),
        changes: changed.changes,
        granted: granted.map(|it| (it.year, it.tier.as_ref().map(ToString::to_string), given(&it.given))),
    }
}

fn terms(voucher: &Voucher) -> Terms {
    Terms {
        kind: voucher.kind.to_string(),
        name: voucher.display_name.clone(),
        gives: voucher.benefit.clone(),
        minimum: voucher.minimum_order,
        since: voucher.issue_time,
        from: voucher.valid_from_time,
        until: voucher.expire_time,
        cause: voucher.cause,
        version: voucher.program_version,
    }
}

fn change(change: &VoucherChange) -> Change {
    match change {
        VoucherChange::Issued { voucher, goal: Some(paid), .. } => Change::Turned(terms(voucher), goals::turned(paid)),
        VoucherChange::Issued { voucher, reward: Some(paid), .. } => Change::Rewarded(terms(voucher), rewards::rewarded(paid)),
        VoucherChange::Issued { voucher, promotion: Some(promotion), .. } => Change::Promoted(terms(voucher), promotion.to_string()),
        VoucherChange::Issued { voucher, offer: Some(offer), .. } => Change::Offered(terms(voucher), offer.to_string()),
        VoucherChange::Issued { voucher, goal: None, .. } => Change::Issued(terms(voucher)),
        VoucherChange::Held(hold) => Change::Held(hold.order.clone(), hold.expire_time),
        VoucherChange::Released { cause, .. } => Change::Released { by_time: *cause == VoucherRelease::Expired },
        VoucherChange::Used { order, value } => Change::Used(order.clone(), *value),
        VoucherChange::Cancelled { refund: Some(refund), freed: Some(freed), .. } => rewards::undone(freed, refund),
        VoucherChange::Cancelled { refund: Some(refund), .. } => goals::came_back(refund),
        VoucherChange::Cancelled { refund: None, .. } => Change::Cancelled,
        VoucherChange::Expired => Change::Expired,
        VoucherChange::Reinstated { voucher, order } => Change::Reinstated(terms(voucher), order.clone()),
    }
}

/// What becomes of several vouchers at the same instant comes in the order of their codes, which nobody can foretell: here in that of their
/// entries.
pub fn in_order(mut said: Vec<Said>) -> Vec<Said> {
    let key = |said: &Said| match &said.fact {
        Fact::Voucher { issued, change: Change::Released { by_time: true } } => Some((*issued, 0)),
        Fact::Voucher { issued, change: Change::Expired } => Some((*issued, 1)),
        _ => None,
    };
    let mut from = 0;
    while from < said.len() {
        let is_like = |other: &Said| key(other).is_some() && other.occurred_time == said[from].occurred_time;
        let count = said[from..].iter().take_while(|other| is_like(other)).count();
        let mut facts: Vec<Fact> = said[from..from + count].iter().map(|said| said.fact.clone()).collect();
        let mut keys: Vec<_> = said[from..from + count].iter().filter_map(key).zip(facts.drain(..)).collect();
        keys.sort_by_key(|(key, _)| *key);
        said[from..from + count].iter_mut().zip(keys).for_each(|(said, (_, fact))| said.fact = fact);
        from += count.max(1);
    }
    said
}

fn merged(got: &MergedFrom) -> Fact {
    let pending = |lot: &PendingLot| LotSaid {
        id: lot.id.0,
        points: lot.remaining.0,
        lapse: lapse(lot.expiry),
        debt_paid: 0,
        waits: Some((lot.activate_time, lot.qualifying_points.0)),
    };
    Fact::MergedFrom {
        from: got.from,
        sequence: got.sequence,
        lots: portions(&got.lots),
        pending: got.pending.iter().map(pending).collect(),
        debt_paid: got.debt_paid.0,
        taken: parts(&got.allocations),
        debt: got.debt.0,
        last_lot: got.last_lot.0,
        totals: (got.lifetime.qualifying_points.0, got.lifetime.spend, got.lifetime.visits),
        tiers: got.tier.history.iter().map(|held| (held.tier.to_string(), held.start_time)).collect(),
        by_hand: got.tier.manual,
        suspended: got.suspended,
        vouchers: got.vouchers.iter().map(|voucher| voucher.issued).collect::<BTreeSet<_>>().into_iter().collect(),
        referral: referrals::shown(got.referral.as_ref()),
    }
}

fn earned(accrued: &PurchaseAccrued) -> Fact {
    let accrual = &accrued.accrual;
    Fact::Accrued {
        points: accrual.points.0,
        qualifying: accrual.qualifying_points.0,
        basis: accrual.basis,
        lines: accrual.line_bases.iter().map(|line| (line.order_discount_share, line.basis)).collect(),
        awards: accrual.awards.iter().map(|it| (it.rule.to_string(), it.points.0, it.qualifying_points.0)).collect(),
        lots: accrual.lots.iter().map(lot).collect(),
        tier: accrual.tier.as_ref().map(ToString::to_string),
        standing: accrued.tier.as_ref().map(ToString::to_string),
        redemptions: accrued.redemptions.clone(),
        promoted: accrual.promotions.iter().map(promoted).collect(),
        purchase: Arc::clone(&accrued.purchase),
        effects: accrued.effects.iter().map(prices::effect).collect(),
        referral: accrued.referral,
        shared: accrued.referral_basis,
    }
}

fn promoted(award: &PromotionAward) -> PromotionSaid {
    PromotionSaid {
        promotion: award.promotion.to_string(),
        uncapped: award.uncapped_points.0,
        points: award.points.0,
        qualifying: award.qualifying_points.0,
        limit: award.limit,
        arm: award.arm.as_ref().map(ToString::to_string),
    }
}

fn did(accrued: &ActivityAccrued) -> Fact {
    let (referrer, referred) = match accrued.side {
        ActivitySide::Member { referrer } => (referrer, None),
        ActivitySide::Referrer { member, sequence } => (None, Some((member, sequence))),
    };
    let awards = accrued.awards.iter().map(|award| Reward {
        rule: award.rule.to_string(),
        uncapped: award.uncapped_points.0,
        limit: award.limit.map(|limit| match limit {
            LimitKind::Cap => Limit::Cap,
            LimitKind::OncePerMember => Limit::Once,
            LimitKind::Minimum
            | LimitKind::Maximum
            | LimitKind::Times
            | LimitKind::DailyCap
            | LimitKind::Budget
            | LimitKind::Vouchers
            | LimitKind::Control => Limit::Other,
        }),
        points: award.points.0,
        qualifying: award.qualifying_points.0,
    });
    Fact::Did {
        activity: accrued.activity.to_string(),
        reference: accrued.reference.clone(),
        referrer,
        referred,
        points: accrued.points.0,
        qualifying: accrued.qualifying_points.0,
        awards: awards.collect(),
        lots: accrued.lots.iter().map(lot).collect(),
        earned: accrued.referral.as_deref().map(referrals::earned),
    }
}

fn taken_back(returned: &Returned) -> Fact {
    Fact::Returned {
        points: returned.points.0,
        qualifying: returned.qualifying_points.0,
        basis: returned.basis,
        pending: returned.from_pending.iter().map(|it| (it.lot.id().0, it.points.0, it.qualifying_points.0)).collect(),
        sale: parts(&returned.from_sale),
        others: parts(&returned.from_others),
        debt: returned.debt.0,
        forgiven: returned.forgiven.0,
        withheld: returned.withheld.0,
        withheld_value: returned.withheld_value,
        voids: returned.voids,
        shared: returned.referral_basis,
    }
}

/// What must be met of price effects and of offers.
pub const KINDS: [&str; 20] = [
    "discount of a tier",
    "shipping of a tier",
    "voucher off the goods",
    "voucher off a line",
    "voucher off shipping",
    "voucher off nothing",
    "offer given",
    "promotion activated",
    "voucher activated",
    "offer withdrawn",
    "quote kept",
    "quote changed",
    "tier rewarded with points",
    "tier rewarded with a voucher",
    "tier kept at a review",
    "tier changed at a review",
    "schedule",
    "schedule in pages",
    "schedule beside commands",
    "schedule in part",
];

/// Which of them an entry has.
pub fn met(said: &Said) -> Vec<&'static str> {
    match &said.fact {
        Fact::Accrued { effects, .. } => effects.iter().map(prices::met).collect(),
        Fact::TierRewarded { lot, voucher, .. } => {
            let met = [("tier rewarded with points", lot.is_some()), ("tier rewarded with a voucher", voucher.is_some())];
            met.into_iter().filter(|(_, is_met)| *is_met).map(|(kind, _)| kind).collect()
        }
        Fact::TierKept(..) => vec!["tier kept at a review"],
        Fact::Tier { how: How::Reviewed, .. } => vec!["tier changed at a review"],
        Fact::Offer { became: Became::Given(_), .. } => vec!["offer given"],
        Fact::Offer { became: Became::Activated(until), .. } if until.is_some() => vec!["promotion activated"],
        Fact::Offer { became: Became::Activated(_), .. } => vec!["voucher activated"],
        Fact::Offer { became: Became::Withdrawn, .. } => vec!["offer withdrawn"],
        _ => Vec::new(),
    }
}

/// As of members who were erased.
pub fn without_plans(mut said: Vec<Said>) -> Vec<Said> {
    for said in &mut said {
        if let Fact::Birthday { plan, .. } = &mut said.fact {
            *plan = None;
        }
    }
    said
}
