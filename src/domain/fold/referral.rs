//! Folding referrals that wait for a purchase.

use rust_decimal::Decimal;

use super::{
    super::{ActivitySide, Entry, EntryRef, Header, LatelyKind, Member, PurchaseAccrued, Referral, ReferralHeld, ReferralTakenBack},
    Fault,
    lots::take_from_lots,
    take_from_pending,
};

/// The member has done something by it; a purchase of later is what earns.
pub(super) fn fold_made(member: &mut Member, entry: &Entry, made: &Referral) -> Result<(), Fault> {
    member.header.lately.note(LatelyKind::Activity, made.activity.as_str(), entry.occurred_time);
    member.header.referral = Some(ReferralHeld { referral: made.clone(), waits: true });
    Ok(())
}

/// Whoever had bought before was no friend to be brought: what waits ends.
pub(super) fn fold_purchase(header: &mut Header, entry: &Entry, accrued: &PurchaseAccrued) {
    let is_before = |held: &ReferralHeld| held.waits && entry.occurred_time < held.referral.occurred_time;
    if header.referral.as_ref().is_some_and(is_before) {
        header.referral = None;
    }
    fold_basis(header, accrued.referral.zip(accrued.referral_basis));
}

pub(super) fn fold_basis(header: &mut Header, basis: Option<(EntryRef, Decimal)>) {
    if let Some((bonus, basis)) = basis {
        header.referral_bases.insert(bonus, basis);
    }
}

/// Of a member that was merged another referral may be the one that counts.
pub(super) fn waits(header: &mut Header, made: EntryRef, waits: bool) {
    if let Some(held) = header.referral.as_mut().filter(|held| held.referral.made == made) {
        held.waits = waits;
    }
}

pub(super) fn fold_taken_back(member: &mut Member, entry: &Entry, back: &ReferralTakenBack) -> Result<(), Fault> {
    take_from_pending(member, &back.from_pending)?;
    let from_lots = take_from_lots(member, &back.from_bonus)?.plus(take_from_lots(member, &back.from_others)?)?;
    let header = &mut member.header;
    header.balance.claw_back(from_lots)?;
    header.balance.owe(back.debt)?;
    header.lifetime.qualifying_points = header.lifetime.qualifying_points.minus(back.qualifying_points)?;
    for counter in &back.counters {
        header.counters.insert((counter.rule.clone(), counter.period), counter.points);
    }
    header.next_expiry_time = back.next_expiry_time;
    header.next_activation_time = back.next_activation_time;
    if !back.qualifying_points.is_zero() {
        header.latest_occurred_time = header.latest_occurred_time.max(Some(entry.occurred_time));
    }
    if let ActivitySide::Member { .. } = back.side {
        waits(header, back.referral.made, true);
        header.referral_bases.remove(&back.bonus);
    }
    Ok(())
}
