//! Members that become one, and what is said of entries of those that are a part of another now.

use super::{
    entry::{allocations, lot},
    member::{count, identifier_out, lifetime, profile},
    returned::pending_lot,
    voucher::voucher_issued,
};
use crate::{
    contract::v1,
    domain::{Entry, EntryRef, MemberId, MergedFrom, MergedInto, Points, Portion, Program},
};

/// Whose entry is spoken of; empty for one's own.
pub fn other(entry: EntryRef, own: MemberId) -> String {
    if entry.member == own { String::new() } else { entry.member.to_string() }
}

/// The same for several: none if all are one's own.
pub fn others(entries: &[EntryRef], own: MemberId) -> Vec<String> {
    match entries.iter().any(|entry| entry.member != own) {
        true => entries.iter().map(|entry| entry.member.to_string()).collect(),
        false => Vec::new(),
    }
}

pub fn merged_into(gone: &MergedInto) -> v1::MergedInto {
    v1::MergedInto {
        into_member_id: gone.into.to_string(),
        allocations: allocations(&gone.allocations),
        pending_points: Points(gone.pending.iter().map(|taken| taken.points.0).sum()).0,
        debt: gone.debt.0,
        reason: gone.reason.clone(),
    }
}

pub fn merged_from(got: &MergedFrom, entry: &Entry, program: &Program) -> v1::MergedFrom {
    let (currency, zone) = (&program.currency, &program.time_zone);
    let person = got.person.open();
    v1::MergedFrom {
        from_member_id: got.from.to_string(),
        from_sequence: count(got.sequence),
        lots: got.lots.iter().map(Portion::lot).map(|moved| lot(&moved, (&got.inactivity, &got.inactive_months), zone)).collect(),
        pending_lots: got.pending.iter().map(pending_lot).collect(),
        debt_paid: got.debt_paid.0,
        allocations: allocations(&got.allocations),
        debt: got.debt.0,
        lots_before: count(got.lots_before()),
        lifetime: Some(lifetime(&got.lifetime, currency)),
        identifiers: person.map_or_else(Vec::new, |person| person.identifiers.iter().map(identifier_out).collect()),
        profile: person.map(|person| profile(&person.profile)),
        tier_id: got.tier.current().map_or_else(String::new, |held| held.tier.to_string()),
        merged_member_ids: got.merged.iter().map(|merged| merged.member.to_string()).collect(),
        reason: got.reason.clone(),
        vouchers: got.vouchers.iter().map(|one| voucher_issued(one, entry, currency)).collect(),
    }
}
