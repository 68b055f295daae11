//! Vouchers: issued, held, used once, cancelled, lapsed, and given back by a return.

use jiff::{Timestamp, ToSpan};
use rust_decimal::Decimal;

use super::{
    super::{
        Entry, EntryKind, EntryRef, GoalPaid, MAX_VOUCHERS, OfferId, OrderKey, Program, Purchase, Rejection, RewardPaid, RuleId, Voucher,
        VoucherCause, VoucherChange, VoucherChanged, VoucherCode, VoucherHold, VoucherKind, VoucherRejection, VoucherRelease,
        VoucherRequest,
        returns::Sale,
        voucher::{self, FreeUnits},
    },
    Draft,
};

/// What is taken for a voucher that is issued.
pub(super) enum Paid {
    Nothing,
    ForGoal(GoalPaid),
    ForReward(RewardPaid),
    /// It comes with a purchase.
    ForPromotion(RuleId),
    /// Its member has asked for an offer.
    ForOffer(OfferId),
}

impl Draft<'_> {
    pub(super) fn voucher(&mut self, request: &VoucherRequest) -> Result<(), Rejection> {
        match request {
            VoucherRequest::Issue { kind, reason } => {
                self.require_active()?;
                let program = self.context.programs.newest();
                let live = usize::try_from(self.member.header.vouchers.live).unwrap_or(usize::MAX);
                let kind = program.voucher_kind(kind).ok_or_else(|| VoucherRejection::KindNotFound { kind: kind.clone() })?;
                if live >= MAX_VOUCHERS {
                    return Err(VoucherRejection::TooMany { limit: MAX_VOUCHERS }.into());
                }
                self.issue_voucher((program, kind), VoucherCause::Manual, reason, self.context.now)
            }
            VoucherRequest::Redeem { reward, quantity } => self.redeem_reward(reward, *quantity),
            VoucherRequest::Hold { code, order, seconds } => self.hold_voucher(*code, order, *seconds),
            VoucherRequest::Release { code, reason } => self.release_voucher(*code, reason),
            VoucherRequest::Use { code, order, order_total, value } => {
                self.require_active()?;
                let now = self.context.now;
                let voucher = self.usable_voucher(*code, order.as_ref(), now)?;
                let minimum = voucher.minimum_order;
                if !minimum.is_zero() {
                    let goods = order_total.ok_or(VoucherRejection::OrderTotalRequired)?;
                    check_minimum(minimum, goods)?;
                }
                let (code, issued) = (voucher.code, voucher.issued);
                self.change_voucher((code, issued), VoucherChange::Used { order: order.clone(), value: *value }, now)
            }
            VoucherRequest::Cancel { code, reason } => self.cancel_voucher(*code, reason),
        }
    }

    pub(super) fn cancel_voucher(&mut self, code: VoucherCode, reason: &str) -> Result<(), Rejection> {
        let issued = self.live_voucher(code)?.issued;
        let (refund, freed) = (self.goal_refund(code)?, self.reward_freed(code)?);
        if refund.is_some() {
            // What has lapsed meanwhile lapses now.
            self.hold_end = self.hold_end.max(self.context.now);
        }
        let change = VoucherChange::Cancelled { reason: reason.to_owned(), refund: refund.map(Box::new), freed: freed.map(Box::new) };
        self.change_voucher((code, issued), change, self.context.now)
    }

    /// Under a code of its own. What is issued by time is dated at the instant at which it was due.
    pub(in crate::domain) fn issue_voucher(
        &mut self,
        named: (&Program, &VoucherKind),
        cause: VoucherCause,
        reason: &str,
        instant: Timestamp,
    ) -> Result<(), Rejection> {
        self.issue_voucher_for(named, (cause, reason, Paid::Nothing), instant)
    }

    /// With the points that it takes.
    pub(super) fn issue_voucher_for(
        &mut self,
        (program, kind): (&Program, &VoucherKind),
        (cause, reason, paid): (VoucherCause, &str, Paid),
        instant: Timestamp,
    ) -> Result<(), Rejection> {
        let sequence = self.member.header.last_sequence.checked_add(1).ok_or(Rejection::Overflow)?;
        let issued = EntryRef { member: self.member.key.member, sequence };
        let code = self.context.programs.voucher_codes().code(&self.member.key, sequence, instant);
        let voucher = voucher::issue(program, kind, (code, issued), cause, instant)?;
        let (goal, reward, promotion, offer) = match paid {
            Paid::Nothing => (None, None, None, None),
            Paid::ForGoal(paid) => (Some(Box::new(paid)), None, None, None),
            Paid::ForReward(paid) => (None, Some(Box::new(paid)), None, None),
            Paid::ForPromotion(promotion) => (None, None, Some(promotion), None),
            Paid::ForOffer(offer) => (None, None, None, Some(offer)),
        };
        let change = VoucherChange::Issued { voucher: Box::new(voucher), reason: reason.to_owned(), goal, reward, promotion, offer };
        let next_due_time = voucher::next_due_after(&self.member, code, &change);
        self.enter(EntryKind::VoucherChanged(VoucherChanged { code, issued, change, next_due_time }), instant, program)
    }

    fn hold_voucher(&mut self, code: VoucherCode, order: &OrderKey, seconds: Option<u32>) -> Result<(), Rejection> {
        self.require_active()?;
        let (default, maximum_seconds) = self.context.programs.newest().hold_seconds();
        let seconds = seconds.unwrap_or(default);
        let now = self.context.now;
        let voucher = self.live_voucher(code)?;
        if let Some(hold) = &voucher.hold {
            return Err(VoucherRejection::Held { until: hold.expire_time }.into());
        }
        voucher.check(None, now)?;
        if seconds > maximum_seconds {
            return Err(Rejection::HoldTooLong { seconds, maximum_seconds });
        }
        let issued = voucher.issued;
        let expire_time = now.checked_add(i64::from(seconds).seconds()).map_err(|_| Rejection::Overflow)?;
        self.change_voucher((code, issued), VoucherChange::Held(VoucherHold { order: order.clone(), hold_time: now, expire_time }), now)
    }

    /// One whose hold has ended already stays so, whoever asks for it.
    fn release_voucher(&mut self, code: VoucherCode, reason: &str) -> Result<(), Rejection> {
        let voucher = self.live_voucher(code)?;
        let (issued, is_held) = (voucher.issued, voucher.hold.is_some());
        if voucher.is_lost {
            return self.cancel_voucher(code, reason);
        }
        if !is_held {
            let latest = self.latest_of(code).filter(|entry| has_released(entry)).ok_or(VoucherRejection::NotHeld)?;
            self.done_before = Some(latest.clone());
            return Ok(());
        }
        let now = self.context.now;
        self.hold_end = self.hold_end.max(now);
        self.change_voucher((code, issued), VoucherChange::Released { cause: VoucherRelease::Request, reason: reason.to_owned() }, now)
    }

    /// The vouchers of a purchase, which are used with it or not at all.
    pub(super) fn use_vouchers(&mut self, purchase: &Purchase, occurred_time: Timestamp) -> Result<(), Rejection> {
        if purchase.vouchers.is_empty() {
            return Ok(());
        }
        let digits = self.context.programs.newest().currency.digits();
        let goods = voucher::goods(purchase)?;
        let (mut left, mut free) = (goods, FreeUnits::default());
        for code in &purchase.vouchers {
            let voucher = self.usable_voucher(*code, purchase.order.as_ref(), occurred_time)?;
            check_minimum(voucher.minimum_order, goods)?;
            let value = voucher.benefit.worth(purchase, (goods, left), &mut free, digits)?;
            if voucher.benefit.is_off_goods() {
                left = left.checked_sub(value).ok_or(Rejection::Overflow)?;
            }
            let issued = voucher.issued;
            let change = VoucherChange::Used { order: purchase.order.clone(), value: Some(value) };
            self.change_voucher((*code, issued), change, occurred_time)?;
        }
        Ok(())
    }

    /// No goods of the sale are left: its vouchers are the member's again, with their own end. Those that were used for it alone, and not what
    /// came with a purchase of which not enough is left for it either.
    pub(super) fn give_vouchers_back(&mut self, sale: &Sale<'_>) -> Result<(), Rejection> {
        let now = self.context.now;
        let Some(order) = &sale.accrued.purchase.order else { return Ok(()) };
        for code in &sale.accrued.purchase.vouchers {
            let Some(thread) = self.context.history.voucher(*code) else { continue };
            let latest = thread.latest.as_ref().and_then(Entry::voucher_change).map(|changed| &changed.change);
            let is_used_here = matches!(latest, Some(VoucherChange::Used { order: used, .. }) if used.as_ref() == Some(order));
            let origin = thread.origin.voucher_change().map(|changed| &changed.change);
            if let Some(VoucherChange::Issued { voucher, promotion, .. }) = origin
                && is_used_here
                && (promotion.is_none() || self.is_still_given(voucher.issued)?)
            {
                let change = VoucherChange::Reinstated { voucher: voucher.clone(), order: order.clone() };
                self.change_voucher((*code, voucher.issued), change, now)?;
                // What has lapsed meanwhile lapses now.
                self.hold_end = self.hold_end.max(now);
            }
        }
        Ok(())
    }

    /// A voucher of a promotion: the purchase that it came with has what the promotion asks for.
    fn is_still_given(&self, issued: EntryRef) -> Result<bool, Rejection> {
        let sale = self.context.history.came_with(issued);
        sale.map_or(Ok(true), |sale| sale.still_gives(self.context.programs, issued))
    }

    /// Its hold ends, or it lapses. One that is lost goes with the hold.
    pub(super) fn enter_voucher_due(&mut self, (code, due): (VoucherCode, Timestamp)) -> Result<(), Rejection> {
        let Some(voucher) = self.member.vouchers.get(&code) else { return Ok(()) };
        let (issued, is_lost) = (voucher.issued, voucher.is_lost);
        if is_lost {
            let change = VoucherChange::Cancelled { reason: String::new(), refund: None, freed: None };
            return self.change_voucher_at((code, issued), change, due);
        }
        if voucher.hold.is_some() {
            let change = VoucherChange::Released { cause: VoucherRelease::Expired, reason: String::new() };
            self.change_voucher_at((code, issued), change, due)?;
            self.hold_end = self.hold_end.max(due);
            return Ok(());
        }
        self.change_voucher_at((code, issued), VoucherChange::Expired, due.max(self.hold_end))
    }

    /// By the rule book of then.
    fn change_voucher_at(&mut self, named: (VoucherCode, EntryRef), change: VoucherChange, instant: Timestamp) -> Result<(), Rejection> {
        self.enter_change(named, change, instant, self.context.programs.at(instant))
    }

    pub(super) fn change_voucher(
        &mut self,
        named: (VoucherCode, EntryRef),
        change: VoucherChange,
        instant: Timestamp,
    ) -> Result<(), Rejection> {
        self.enter_change(named, change, instant, self.context.programs.newest())
    }

    fn enter_change(
        &mut self,
        (code, issued): (VoucherCode, EntryRef),
        change: VoucherChange,
        instant: Timestamp,
        program: &Program,
    ) -> Result<(), Rejection> {
        let next_due_time = voucher::next_due_after(&self.member, code, &change);
        self.enter(EntryKind::VoucherChanged(VoucherChanged { code, issued, change, next_due_time }), instant, program)
    }

    /// One that may be used at an instant for an order.
    pub(super) fn usable_voucher(&self, code: VoucherCode, order: Option<&OrderKey>, instant: Timestamp) -> Result<&Voucher, Rejection> {
        let voucher = self.live_voucher(code)?;
        voucher.check(order, instant)?;
        Ok(voucher)
    }

    /// One of the member's that has not been used, cancelled, or lapsed.
    fn live_voucher(&self, code: VoucherCode) -> Result<&Voucher, Rejection> {
        self.member.vouchers.get(&code).ok_or_else(|| self.ended(code).into())
    }

    /// Why the member has no such voucher. What has become of another member's is not told.
    fn ended(&self, code: VoucherCode) -> VoucherRejection {
        let Some(latest) = self.latest_of(code) else { return VoucherRejection::NotFound };
        let is_own = |member| member == self.member.key.member || self.member.header.merged.iter().any(|merged| merged.member == member);
        let of_own = latest.voucher_change().filter(|changed| is_own(changed.issued.member));
        of_own.and_then(|_| latest.why_voucher_ended()).unwrap_or(VoucherRejection::OfOtherMember)
    }

    /// The newest entry of a voucher's story.
    fn latest_of(&self, code: VoucherCode) -> Option<&Entry> {
        let here = self.entries.iter().rfind(|entry| entry.voucher_change().is_some_and(|changed| changed.code == code));
        here.or_else(|| {
            let thread = self.context.history.voucher(code)?;
            Some(thread.latest.as_ref().unwrap_or(&thread.origin))
        })
    }
}

fn has_released(entry: &Entry) -> bool {
    matches!(entry.voucher_change().map(|changed| &changed.change), Some(VoucherChange::Released { .. }))
}

pub(super) fn check_minimum(minimum: Decimal, goods: Decimal) -> Result<(), VoucherRejection> {
    if goods < minimum { Err(VoucherRejection::BelowMinimumOrder { minimum, goods }) } else { Ok(()) }
}
