//! How much of a commit an entry takes.

use super::{Award, Entry, EntryKind, Line};

impl Entry {
    /// An upper estimate of the bytes that the entry takes when it is stored.
    pub fn stored_size_estimate(&self) -> usize {
        const ENTRY: usize = 512;
        const LINE: usize = 96;
        const AWARD: usize = 256;
        const ALLOCATION: usize = 32;
        const PORTION: usize = 64;
        let watched = self.watched.as_ref().map_or(0, |watched| watched.counters.len() + watched.dropped.len() + watched.flags.len() + 1);
        ENTRY
            + ALLOCATION * watched
            + match &self.kind {
                EntryKind::PurchaseAccrued(accrued) => {
                    let texts = |labels: &[String]| labels.iter().map(|label| label.len() + 4).sum::<usize>();
                    let purchase = &accrued.purchase;
                    let line = |line: &Line| LINE + line.sku.len() + line.category.len() + texts(&line.labels);
                    let award = |award: &Award| AWARD + award.display_name.len() + LINE * (award.lines.len() + award.roundings.len());
                    texts(&purchase.labels)
                        + purchase.channel.len()
                        + LINE * (purchase.tenders.len() + accrued.accrual.line_bases.len() + accrued.accrual.counters.len())
                        + purchase.lines.iter().map(line).sum::<usize>()
                        + accrued.accrual.awards.iter().map(award).sum::<usize>()
                }
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
                    let taken = returned.from_pending.len() + returned.from_sale.len() + returned.from_others.len();
                    returned.reason.len()
                        + returned.reference.len()
                        + PORTION * (taken + returned.sale.returned.lines.len() + returned.sale.activated.len())
                        + LINE * returned.counters.len()
                }
                EntryKind::PointsTransferredOut(sent) => sent.reason.len() + sent.reference.len() + PORTION * sent.portions.len(),
                EntryKind::PointsTransferredIn(got) => got.reason.len() + got.reference.len() + PORTION * got.lots.len(),
                EntryKind::MergedInto(gone) => gone.reason.len() + ALLOCATION * (gone.allocations.len() + gone.pending.len()),
                EntryKind::MergedFrom(got) => {
                    let identifiers = got.person.open().map_or(0, |person| person.identifiers.len());
                    let rules = got.carries.len() + got.counters.len() + got.dropped_counters.len() + got.tier.history.len();
                    let lots = got.lots.len() + got.pending.len() + got.allocations.len() + got.merged.len();
                    got.reason.len() + PORTION * lots + LINE * (16 + rules) + 512 * identifiers
                }
                EntryKind::ActivityAccrued(accrued) => {
                    let awards = accrued.awards.iter().map(|award| LINE + award.display_name.len()).sum::<usize>();
                    accrued.activity.as_str().len()
                        + accrued.reference.len()
                        + awards
                        + LINE * (accrued.lots.len() + accrued.counters.len() + accrued.dropped_counters.len())
                }
                EntryKind::HoldReleased(released) => released.reason.len() + PORTION * released.portions.len(),
                EntryKind::MemberEnrolled { person } => person.open().map_or(0, |person| LINE * 4 + 512 * person.identifiers.len()),
                EntryKind::ProfileUpdated { .. } => LINE * 16,
                EntryKind::IdentifierAdded { .. } | EntryKind::IdentifierRemoved { .. } => LINE * 12,
                EntryKind::MemberSuspended { reason } | EntryKind::MemberReactivated { reason } | EntryKind::MemberErased { reason } => {
                    reason.len()
                }
                EntryKind::TierChanged(change) => change.reason.len(),
            }
    }
}
