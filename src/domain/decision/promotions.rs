//! Promotions of a sale: what they may look at, the vouchers that come with them, and what becomes of those when goods come back.

use std::borrow::Cow;

use super::{
    super::{Entry, PurchaseAccrued, Rejection, Sealed, Tallies, VoucherCause, accrual::Seen},
    Draft,
    vouchers::Paid,
};

impl Draft<'_> {
    /// What promotions have given, with what the command has done so far.
    pub(super) fn tallies(&self) -> Cow<'_, Tallies> {
        let mut tallies = Cow::Borrowed(&self.context.history.tallies);
        for (key, tally) in self.entries.iter().filter_map(Entry::promotion_counts).flat_map(|counts| &counts.tallies) {
            tallies.to_mut().insert(key.clone(), *tally);
        }
        tallies
    }

    pub(super) fn seen<'b>(&self, tallies: &'b Tallies) -> Seen<'b> {
        let person = self.member.person.as_ref().and_then(Sealed::open);
        Seen {
            member: Some(self.member.key.member),
            birth_date: person.and_then(|person| person.profile.birth_date),
            tallies,
            now: self.context.now,
            inactivity: self.context.programs.newest_inactivity(),
        }
    }

    /// The vouchers of a sale's promotions, right behind it, in their order. They are valid from when the service learns of the sale, so that one
    /// that is told late gives no voucher that has lapsed.
    pub(super) fn issue_promoted(&mut self, accrued: &PurchaseAccrued) -> Result<(), Rejection> {
        let accrual = &accrued.accrual;
        let Some(program) = self.context.programs.version(accrual.program_version) else { return Ok(()) };
        for (award, kind) in accrual.promotions.iter().filter_map(|award| Some((award, award.voucher()?))) {
            // A rule book names only kinds that it has.
            let Some(kind) = program.voucher_kind(kind) else { continue };
            let paid = Paid::ForPromotion(award.promotion.clone());
            self.issue_voucher_for((program, kind), (VoucherCause::Promotion, "", paid), self.context.now)?;
        }
        Ok(())
    }
}
