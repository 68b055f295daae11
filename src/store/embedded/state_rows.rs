//! Rows of a member's state: what a commit makes of them. Those that find something are in `rows.rs`.

use super::{
    encode, encode_points,
    rows::{Change, ProgramNumber, RowKey, value},
    vouchers,
};
use crate::{
    domain::{Hold, Lot, Member, PendingLot},
    store::MemberChange,
};

/// The state that new entries lead to, but for the person.
pub(super) fn state(number: ProgramNumber, change: &MemberChange, changes: &mut Vec<Change>) {
    let MemberChange { entries, after, before } = change;
    let member = &after.key.member;
    let due = after.header.next_due_time();
    if due != before.due {
        changes.extend(before.due.map(|time| (RowKey::due(time, number, member), None)));
        changes.extend(due.map(|time| (RowKey::due(time, number, member), Some(Box::default()))));
    }
    changes.push((RowKey::header(number, member), Some(header_bytes(after))));
    for entry in entries {
        for lot in entry.touched_lots() {
            changes.push((RowKey::lot(number, member, &lot), after.lots.get(&lot).map(lot_bytes)));
        }
        for lot in entry.touched_pending() {
            changes.push((RowKey::pending(number, member, &lot), after.pending.get(&lot).map(pending_bytes)));
        }
        for code in entry.touched_vouchers() {
            changes.push((vouchers::row(number, member, &code), after.vouchers.get(&code).map(vouchers::row_bytes)));
        }
        if let Some(hold) = entry.touched_hold() {
            changes.push((RowKey::hold(number, member, hold), after.holds.get(&hold).map(hold_bytes)));
        }
    }
}

fn header_bytes(member: &Member) -> Box<[u8]> {
    value(|w| encode::header(w, &member.header))
}

fn pending_bytes(lot: &PendingLot) -> Box<[u8]> {
    value(|w| encode::pending_lot(w, lot))
}

fn hold_bytes(hold: &Hold) -> Box<[u8]> {
    value(|w| encode_points::hold(w, hold))
}

fn lot_bytes(lot: &Lot) -> Box<[u8]> {
    value(|w| encode::lot(w, lot))
}
