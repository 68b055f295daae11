//! How much of a commit an entry takes.

use super::{
    Award, Entry, EntryKind, Line, MergedFrom, MonthRecord, OfferChange, OfferChanged, PriceEffect, PromotionAward, PromotionCounts,
    PurchaseAccrued, Voucher, VoucherBenefit, VoucherChange, VoucherChanged,
};

const LINE: usize = 96;
const PORTION: usize = 64;

impl Entry {
    /// An upper estimate of the bytes that the entry takes when it is stored.
    pub fn stored_size_estimate(&self) -> usize {
        const ENTRY: usize = 584;
        const ALLOCATION: usize = 32;
        let watched = self.watched.as_ref().map_or(0, |watched| watched.counters.len() + watched.dropped.len() + watched.flags.len() + 1);
        let months = self.inactive_months.as_ref().map_or(0, |record| record.stored_size_estimate());
        ENTRY
            + ALLOCATION * watched
            + months
            + match &self.kind {
                EntryKind::PurchaseAccrued(accrued) => accrued.stored_size_estimate(),
                EntryKind::PointsAdjusted(adjusted) => {
                    adjusted.reason.len() + adjusted.reference.len() + ALLOCATION * adjusted.allocations.len()
                }
                EntryKind::PointsExpired(expired) => ALLOCATION * expired.allocations.len(),
                EntryKind::PointsRedeemed(redeemed) => {
                    let released = redeemed.captured.as_ref().map_or(0, |captured| captured.released.len());
                    redeemed.reference.len() + PORTION * (redeemed.portions.len() + released)
                }
                EntryKind::RedemptionReversed(reversed) => reversed.reason.len() + 2 * PORTION * reversed.put_back.len(),
                EntryKind::PointsHeld(held) => held.hold.reference.len() + PORTION * held.hold.portions.len(),
                EntryKind::PointsActivated(activated) => {
                    let moved = activated.confirmed.as_ref().map_or(0, |confirmed| confirmed.sale.returned.lines.len());
                    LINE * activated.lots.len() + PORTION * moved
                }
                EntryKind::PurchaseReturned(returned) => {
                    let lots = returned.from_pending.len() + returned.from_sale.len() + returned.from_others.len();
                    let taken = lots + returned.lost_vouchers.len();
                    returned.reason.len()
                        + returned.reference.len()
                        + PORTION * (taken + returned.sale.returned.lines.len() + returned.sale.activated.len())
                        + LINE * returned.counters.len()
                        + returned.promotion_counts.stored_size_estimate()
                }
                EntryKind::PointsTransferredOut(sent) => sent.reason.len() + sent.reference.len() + PORTION * sent.portions.len(),
                EntryKind::PointsTransferredIn(got) => got.reason.len() + got.reference.len() + PORTION * got.lots.len(),
                EntryKind::MergedInto(gone) => {
                    gone.reason.len() + ALLOCATION * (gone.allocations.len() + gone.pending.len() + gone.vouchers.len())
                }
                EntryKind::MergedFrom(got) => got.stored_size_estimate(),
                EntryKind::ActivityAccrued(accrued) => {
                    let awards = accrued.awards.iter().map(|award| LINE + award.display_name.len()).sum::<usize>();
                    accrued.activity.as_str().len()
                        + accrued.reference.len()
                        + awards
                        + accrued.referral.as_ref().map_or(0, |_| 8 * LINE)
                        + LINE * (accrued.lots.len() + accrued.counters.len() + accrued.dropped_counters.len())
                }
                EntryKind::ReferralMade(made) => 4 * LINE + made.reference.len(),
                EntryKind::ReferralTakenBack(back) => {
                    let lots = back.from_pending.len() + back.from_bonus.len() + back.from_others.len();
                    8 * LINE + back.reason.len() + back.referral.reference.len() + PORTION * lots + LINE * back.counters.len()
                }
                EntryKind::HoldReleased(released) => released.reason.len() + PORTION * released.portions.len(),
                EntryKind::MemberEnrolled { person } => person.open().map_or(0, |person| LINE * 4 + 512 * person.identifiers.len()),
                EntryKind::ProfileUpdated { .. } => LINE * 16,
                EntryKind::IdentifierAdded { .. } | EntryKind::IdentifierRemoved { .. } => LINE * 12,
                EntryKind::MemberSuspended { reason } | EntryKind::MemberReactivated { reason } | EntryKind::MemberErased { reason } => {
                    reason.len()
                }
                EntryKind::TierChanged(change) => change.reason.len() + LINE,
                EntryKind::TierKept(_) | EntryKind::TierRewarded(_) => LINE * 2,
                EntryKind::VoucherChanged(changed) => changed.stored_size_estimate(),
                EntryKind::BirthdayChanged(_) => 4 * LINE,
                EntryKind::SegmentsChanged(changed) => (LINE + ALLOCATION) * (changed.entered.len() + changed.left.len()),
                EntryKind::OfferChanged(changed) => 8 * LINE + changed.stored_size_estimate(),
                EntryKind::GoalChanged(changed) => LINE + ALLOCATION * changed.waiting.len(),
            }
    }
}

impl PurchaseAccrued {
    fn stored_size_estimate(&self) -> usize {
        const AWARD: usize = 256;
        let (purchase, accrual) = (&self.purchase, &self.accrual);
        let texts = |labels: &[String]| labels.iter().map(|label| label.len() + 4).sum::<usize>();
        let line = |line: &Line| LINE + line.sku.len() + line.category.len() + texts(&line.labels);
        let award = |award: &Award| AWARD + award.display_name.len() + LINE * (award.lines.len() + award.roundings.len());
        texts(&purchase.labels)
            + texts(&purchase.codes)
            + purchase.channel.len()
            + LINE * (purchase.tenders.len() + accrual.line_bases.len() + accrual.counters.len())
            + purchase.lines.iter().map(line).sum::<usize>()
            + accrual.awards.iter().map(award).sum::<usize>()
            + accrual.promotions.iter().map(PromotionAward::stored_size_estimate).sum::<usize>()
            + accrual.promotion_counts.stored_size_estimate()
            + accrual.member_facts.as_ref().map_or(0, |facts| LINE * (facts.segments.len() + 1))
            + accrued_effects(&self.effects)
    }
}

fn accrued_effects(effects: &[PriceEffect]) -> usize {
    effects.iter().map(|effect| LINE + 32 * effect.lines.len()).sum()
}

impl PromotionAward {
    fn stored_size_estimate(&self) -> usize {
        4 * LINE + self.display_name.len() + LINE * self.lines.len() + self.arm.as_ref().map_or(0, |arm| arm.as_str().len())
    }
}

impl OfferChanged {
    fn stored_size_estimate(&self) -> usize {
        let reason = match &self.change {
            OfferChange::Assigned { reason } | OfferChange::Withdrawn { reason } => reason.len(),
            OfferChange::Activated => 0,
        };
        reason + LINE * self.dropped.len()
    }
}

impl PromotionCounts {
    fn stored_size_estimate(&self) -> usize {
        LINE * (self.counters.len() + self.dropped.len() + self.tallies.len())
    }
}

impl Voucher {
    fn stored_size_estimate(&self) -> usize {
        let benefit = match &self.benefit {
            VoucherBenefit::FreeItem { sku } => sku.len(),
            VoucherBenefit::FreeItemOf { category, .. } => category.len(),
            VoucherBenefit::Custom { key, text } => key.len() + text.len(),
            VoucherBenefit::AmountOff { .. } | VoucherBenefit::PercentOff { .. } | VoucherBenefit::FreeShipping => 0,
        };
        512 + self.display_name.len() + benefit
    }
}

impl VoucherChanged {
    fn stored_size_estimate(&self) -> usize {
        const ORDER: usize = 640;
        match &self.change {
            VoucherChange::Issued { voucher, reason, .. } => {
                let paid = self.paid().map_or(0, |(_, portions, _)| 2 * LINE + PORTION * portions.len());
                let dropped = self.reward_paid().map_or(0, |paid| LINE * paid.dropped.len());
                voucher.stored_size_estimate() + reason.len() + paid + dropped
            }
            VoucherChange::Reinstated { voucher, .. } => voucher.stored_size_estimate() + ORDER,
            VoucherChange::Cancelled { reason, refund, freed: _ } => {
                2 * LINE + reason.len() + refund.as_ref().map_or(0, |refund| 2 * PORTION * refund.put_back.len())
            }
            VoucherChange::Released { reason, .. } => reason.len(),
            VoucherChange::Held(_) | VoucherChange::Used { .. } => ORDER,
            VoucherChange::Expired => 0,
        }
    }
}

impl MonthRecord {
    fn stored_size_estimate(&self) -> usize {
        64 + 8 * self.inactive.len()
    }
}

impl MergedFrom {
    fn stored_size_estimate(&self) -> usize {
        let identifiers = self.person.open().map_or(0, |person| person.identifiers.len());
        let rules = self.carries.len()
            + self.goals.waiting.len()
            + self.counters.len()
            + self.dropped_counters.len()
            + self.tier.history.len()
            + self.rewards.len()
            + 8 * self.offers.len()
            + self.dropped_offers.len()
            + self.referral_bases.len();
        let merged: usize = self.merged.iter().map(|merged| 1 + merged.ran_out_times.len() + merged.ran_out_months.len()).sum();
        let lots = self.lots.len() + self.pending.len() + self.allocations.len() + merged;
        let vouchers: usize = self.vouchers.iter().map(Voucher::stored_size_estimate).sum();
        let months = self.inactive_months.record.stored_size_estimate() + 32 * self.inactive_months.points.len();
        months
            + self.reason.len()
            + vouchers
            + self.promotions.stored_size_estimate()
            + PORTION * lots
            + LINE * (16 + rules)
            + 512 * identifiers
    }
}
