//! The id of a quote: what it promised, in short. Nothing is kept of a quote; whoever records the purchase with its id is refused if the result
//! would be another one.
//!
//! An id is `q1-` and the beginnings of five hashes, each of one part of the result, so that a refusal can say which part differs. What decides
//! is the result alone: a new rule book, or points that came and went meanwhile, matter only if they change it. When the encoding changes, so
//! does the number in front: a quote of another encoding is no mistake, but one that changed.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;

use super::{
    AccruedLot, ActivityAccrued, EffectSource, Entry, EntryKind, GoalChanged, GoalId, MemberKey, Pending, Points, PriceEffect,
    PurchaseAccrued, Rejection, RuleId, TierId, Voucher, VoucherBenefit, VoucherCause, VoucherChange, VoucherChanged,
};

/// Of the encoding.
const VERSION: u32 = 1;
const HASH_DIGITS: usize = 16;
/// What an id of another encoding may have behind its number.
const MAX_OTHER: usize = 200;

/// A part of what a purchase leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotePart {
    /// What is paid, price effects, and what vouchers are worth.
    Price,
    /// By rule and promotion, and whether they can be spent at once.
    Points,
    /// Those that it leads to, at once or later.
    Vouchers,
    /// By which it is rated, and the one after it, with its reward.
    Tier,
    /// Points that are spent, and their worth.
    Payments,
}

const PARTS: [QuotePart; 5] = [QuotePart::Price, QuotePart::Points, QuotePart::Vouchers, QuotePart::Tier, QuotePart::Payments];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteId {
    /// A hash of each part.
    Own([u64; PARTS.len()]),
    /// Of another encoding, whose number it is: no result has it any more.
    OfOther(u32),
}

/// A text that no quote has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of a quote as QuotePurchase gives it")]
pub struct QuoteIdError;

impl QuotePart {
    pub fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Points => "points",
            Self::Vouchers => "vouchers",
            Self::Tier => "tier",
            Self::Payments => "payments",
        }
    }
}

impl QuoteId {
    /// Of the entries that a purchase itself leads to.
    pub fn of(member: &MemberKey, entries: &[Entry]) -> Self {
        Self::Own(PARTS.map(|part| {
            let mut digest = Digest::new(member, part);
            for entry in entries {
                digest.entry(part, entry);
            }
            if part == QuotePart::Tier {
                digest.text(tier_after(entries).map_or("", TierId::as_str));
            }
            digest.finish()
        }))
    }

    /// Whether the promise can be kept.
    pub(super) fn check(&self, now: &Self) -> Result<(), Rejection> {
        if self == now {
            return Ok(());
        }
        let parts = match (self, now) {
            (Self::Own(quoted), Self::Own(now)) => {
                let parts = PARTS.into_iter().zip(quoted.iter().zip(now));
                parts.filter(|(_, (quoted, now))| quoted != now).map(|(part, _)| part).collect()
            }
            (Self::OfOther(_), _) | (_, Self::OfOther(_)) => PARTS.to_vec(),
        };
        Err(Rejection::QuoteChanged { parts })
    }
}

impl fmt::Display for QuoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(hashes) => {
                write!(f, "q{VERSION}-")?;
                hashes.iter().try_for_each(|hash| write!(f, "{hash:016x}"))
            }
            Self::OfOther(version) => write!(f, "q{version}-"),
        }
    }
}

impl FromStr for QuoteId {
    type Err = QuoteIdError;

    fn from_str(text: &str) -> Result<Self, QuoteIdError> {
        let (version, hashes) = text.strip_prefix('q').and_then(|rest| rest.split_once('-')).ok_or(QuoteIdError)?;
        let is_number = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
        let version: u32 = version.parse().ok().filter(|_| is_number).ok_or(QuoteIdError)?;
        if version != VERSION {
            let is_text = hashes.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-');
            return if is_text && (1..=MAX_OTHER).contains(&hashes.len()) { Ok(Self::OfOther(version)) } else { Err(QuoteIdError) };
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hashes.len() != PARTS.len() * HASH_DIGITS || !hashes.bytes().all(is_hex) {
            return Err(QuoteIdError);
        }
        let mut parts = [0; PARTS.len()];
        for (place, part) in parts.iter_mut().enumerate() {
            let digits = hashes.get(place * HASH_DIGITS..(place + 1) * HASH_DIGITS).ok_or(QuoteIdError)?;
            *part = u64::from_str_radix(digits, 16).map_err(|_| QuoteIdError)?;
        }
        Ok(Self::Own(parts))
    }
}

/// The member's, after all that the purchase leads to.
fn tier_after(entries: &[Entry]) -> Option<&TierId> {
    entries.iter().rev().find_map(|entry| match &entry.kind {
        EntryKind::TierChanged(change) => Some(Some(&change.to)),
        EntryKind::PurchaseAccrued(accrued) => Some(accrued.tier.as_ref()),
        _ => None,
    })?
}

/// Of one part. Each text is preceded by its length, so that no two results read the same.
struct Digest(blake3::Hasher);

impl Digest {
    fn new(member: &MemberKey, part: QuotePart) -> Self {
        let mut digest = Self(blake3::Hasher::new_derive_key("loyaltyd quote of a purchase, version 1"));
        digest.text(part.name());
        digest.text(member.program.as_str());
        digest.0.update(&member.member.0);
        digest
    }

    fn finish(&self) -> u64 {
        let mut beginning = [0; 8];
        beginning.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_be_bytes(beginning)
    }

    fn text(&mut self, text: &str) {
        self.number(i64::try_from(text.len()).unwrap_or(i64::MAX));
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.update(&number.to_be_bytes());
    }

    fn points(&mut self, points: Points) {
        self.number(points.0);
    }

    fn amount(&mut self, amount: Decimal) {
        let amount = amount.normalize();
        self.0.update(&amount.mantissa().to_be_bytes());
        self.number(i64::from(amount.scale()));
    }

    fn entry(&mut self, part: QuotePart, entry: &Entry) {
        match part {
            QuotePart::Price => {
                if let EntryKind::PurchaseAccrued(accrued) = &entry.kind {
                    self.price(accrued);
                }
                if let Some(VoucherChanged { code, change: VoucherChange::Used { value, .. }, .. }) = entry.voucher_change() {
                    self.0.update(code.as_bytes());
                    self.amount(value.unwrap_or_default());
                }
            }
            QuotePart::Points => {
                if let EntryKind::PurchaseAccrued(accrued) = &entry.kind {
                    self.earned(accrued);
                }
                if let EntryKind::ActivityAccrued(accrued) = &entry.kind {
                    self.referral(accrued);
                }
            }
            QuotePart::Vouchers => {
                if let Some(VoucherChange::Issued { voucher, promotion, .. }) = entry.voucher_change().map(|changed| &changed.change) {
                    self.issued(voucher);
                    self.text(promotion.as_ref().map_or("", RuleId::as_str));
                }
                if let EntryKind::GoalChanged(GoalChanged { goal, vouchers, .. }) = &entry.kind
                    && *vouchers > 0
                {
                    self.text("later");
                    self.text(goal.as_ref().map_or("", GoalId::as_str));
                    self.number(*vouchers);
                }
            }
            QuotePart::Tier => {
                if let EntryKind::PurchaseAccrued(accrued) = &entry.kind {
                    self.text("rated");
                    self.text(accrued.accrual.tier.as_ref().map_or("", TierId::as_str));
                }
                if let EntryKind::TierChanged(change) = &entry.kind {
                    self.text("changed");
                    self.text(change.to.as_str());
                }
                if let EntryKind::TierRewarded(rewarded) = &entry.kind {
                    self.text("rewarded");
                    self.points(rewarded.lot.as_ref().map_or(Points::ZERO, |lot| lot.points));
                }
            }
            QuotePart::Payments => {
                if let EntryKind::PointsRedeemed(redeemed) = &entry.kind {
                    self.points(redeemed.points);
                    self.points(redeemed.owed);
                    self.amount(redeemed.value);
                }
            }
        }
    }

    fn price(&mut self, accrued: &PurchaseAccrued) {
        self.amount(accrued.purchase.total);
        for PriceEffect { source, amount, off_shipping, lines } in &accrued.effects {
            match source {
                EffectSource::TierDiscount { tier, percent } => {
                    self.text(tier.as_str());
                    self.amount(*percent);
                }
                EffectSource::TierShipping { tier } => self.text(tier.as_str()),
                EffectSource::Voucher { code } => drop(self.0.update(code.as_bytes())),
            }
            self.number(i64::from(*off_shipping));
            self.amount(*amount);
            self.number(i64::try_from(lines.len()).unwrap_or(i64::MAX));
            for line in lines {
                self.number(i64::try_from(line.line).unwrap_or(i64::MAX));
                self.amount(line.amount);
            }
        }
    }

    /// A rule that gives nothing is as good as none.
    fn earned(&mut self, accrued: &PurchaseAccrued) {
        let accrual = &accrued.accrual;
        self.points(accrual.points);
        self.points(accrual.qualifying_points);
        for award in accrual.awards.iter().filter(|award| award.points != Points::ZERO) {
            self.text(award.rule.as_str());
            self.points(award.points);
            self.points(award.qualifying_points);
        }
        for award in accrual.promotions.iter().filter(|award| award.points != Points::ZERO) {
            self.text(award.promotion.as_str());
            self.points(award.points);
            self.points(award.qualifying_points);
        }
        self.activated(&accrual.lots);
    }

    /// What a referral gives with a purchase.
    fn referral(&mut self, accrued: &ActivityAccrued) {
        self.text("referral");
        self.text(accrued.activity.as_str());
        self.points(accrued.points);
        self.points(accrued.qualifying_points);
        for award in accrued.awards.iter().filter(|award| award.points != Points::ZERO) {
            self.text(award.rule.as_str());
            self.points(award.points);
            self.points(award.qualifying_points);
        }
        self.activated(&accrued.lots);
    }

    /// How many points can be spent at once, some days after, and once the purchase is confirmed. The days themselves begin with the sale's.
    fn activated(&mut self, lots: &[AccruedLot]) {
        let (mut at_once, mut by_time, mut confirmed) = (0i64, 0i64, 0i64);
        for lot in lots {
            let points = match lot.pending {
                None => &mut at_once,
                Some(Pending { activate_time: Some(_), .. }) => &mut by_time,
                Some(Pending { activate_time: None, .. }) => &mut confirmed,
            };
            *points = points.saturating_add(lot.points.0);
        }
        [at_once, by_time, confirmed].into_iter().for_each(|points| self.number(points));
    }

    /// Its code and its days are known when it is issued.
    fn issued(&mut self, voucher: &Voucher) {
        self.text(voucher.kind.as_str());
        self.text(&voucher.display_name);
        self.text(match voucher.cause {
            VoucherCause::Manual => "manual",
            VoucherCause::Birthday => "birthday",
            VoucherCause::Tier => "tier",
            VoucherCause::Goal => "goal",
            VoucherCause::Reward => "reward",
            VoucherCause::Promotion => "promotion",
            VoucherCause::Offer => "offer",
        });
        self.amount(voucher.minimum_order);
        match &voucher.benefit {
            VoucherBenefit::AmountOff { amount } => {
                self.text("amount");
                self.amount(*amount);
            }
            VoucherBenefit::PercentOff { percent, maximum } => {
                self.text("percent");
                self.amount(*percent);
                self.amount(maximum.unwrap_or_default());
            }
            VoucherBenefit::FreeItem { sku } => {
                self.text("sku");
                self.text(sku);
            }
            VoucherBenefit::FreeItemOf { category, maximum } => {
                self.text("category");
                self.text(category);
                self.amount(maximum.unwrap_or_default());
            }
            VoucherBenefit::FreeShipping => self.text("shipping"),
            VoucherBenefit::Custom { key, text } => {
                self.text("custom");
                self.text(key);
                self.text(text);
            }
        }
    }
}
