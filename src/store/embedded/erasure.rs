//! Erasure: the member's key is wiped, and nothing finds the member by identifier any more.
//!
//! The journal says so first, durably, then the key goes, then the rows change. A process that ends in between leaves a key that the
//! journal has wiped already: a start makes up for it before anybody can read, as it does with a key file that is older than the erasure.

use std::{cell::OnceCell, collections::HashMap};

use super::{
    Engine,
    decode::Malformed,
    rows::{self, Change, Hashed, Owner, ProgramNumber, RowKey, Space},
    view::View,
};
use crate::{
    domain::{Entry, EntryKind, Identifier, Member, MemberId, MemberKey, Sealed},
    store::StoreError,
};

impl RowKey {
    fn wiped(slot: u32) -> Self {
        Self::new(&[&[rows::WIPED], &slot.to_be_bytes()])
    }

    /// Of all wiped keys: the range from the first to the second.
    pub(super) fn all_wiped() -> (Self, Self) {
        (Self::new(&[&[rows::WIPED]]), Self::new(&[&[rows::WIPED], &[u8::MAX; 5]]))
    }

    pub(super) fn wiped_slot(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.as_bytes().strip_prefix(&[rows::WIPED])?.try_into().ok()?))
    }
}

/// Which rows of identifiers are whose; read when that is first asked for.
#[derive(Default)]
pub(super) struct Holders(OnceCell<HashMap<Owner, Vec<Hashed>>>);

impl Holders {
    fn held_by(&self, view: &View<'_>, number: ProgramNumber, member: &MemberId) -> Result<Vec<Hashed>, StoreError> {
        let all = match self.0.get() {
            Some(all) => all,
            None => {
                let all = read(view)?;
                self.0.get_or_init(|| all)
            }
        };
        let mut held = Vec::new();
        for identifier in all.get(&rows::owner(number, member)).into_iter().flatten() {
            // Somebody else may have got it since.
            if view.identifier(identifier)?.is_some_and(|row| row[..16] == member.0) {
                held.push(*identifier);
            }
        }
        Ok(held)
    }
}

fn read(view: &View<'_>) -> Result<HashMap<Owner, Vec<Hashed>>, StoreError> {
    let all = RowKey::all_identifiers();
    let mut holders: HashMap<Owner, Vec<Hashed>> = HashMap::new();
    for row in view.scan(all.start, all.end) {
        let (key, value) = row?;
        let (Space::Identifier(identifier), Some(number), Some(member)) = (key.space(), key.program_number(), value.first_chunk()) else {
            return Err(Malformed("an identifier's row").into());
        };
        holders.entry(rows::owner(number, &MemberId(*member))).or_default().push(*identifier);
    }
    Ok(holders)
}

/// The place of the entry that erases the member, if one does.
pub(super) fn erasing(entries: &[Entry]) -> Option<usize> {
    entries.iter().position(|entry| matches!(entry.kind, EntryKind::MemberErased { .. }))
}

fn goes(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::MemberErased { .. } | EntryKind::MergedInto(_))
}

/// The row of a key that an erasure has wiped.
pub(super) fn wiped(slot: &u32) -> Change {
    (RowKey::wiped(*slot), Some(Box::default()))
}

impl Engine {
    /// The keys that go if a member is erased: its own, in `slot`, and those of the members that were merged into it.
    pub(super) fn keys_of(&self, number: ProgramNumber, member: &Member, slot: u32) -> Result<Vec<u32>, StoreError> {
        let view = self.overlay.view();
        let merged = member.header.merged.iter().map(|merged| self.slot(&view, number, &merged.member));
        std::iter::once(Ok(slot)).chain(merged).collect()
    }

    /// The rows that go if a member is erased with these entries, or becomes a part of another, who comes after it in the commit and gets
    /// them. `holders`: the tables had rows before the journal is replayed, which may name a member whose key went before they could.
    pub(super) fn forget(
        &self,
        number: ProgramNumber,
        key: &MemberKey,
        entries: &[Entry],
        holders: Option<&Holders>,
        changes: &mut Vec<Change>,
    ) -> Result<(), StoreError> {
        if !entries.iter().any(goes) {
            return Ok(());
        }
        let view = self.overlay.view();
        let mut gone: Vec<Hashed> = entries.iter().flat_map(named).map(|named| self.hashed(number, key, named)).collect();
        let row = view.person(number, &key.member)?;
        match (row.map(|row| self.unseal_person(key, &row)).transpose()?, holders) {
            (Some(Sealed::Open(person)), _) => gone.extend(person.identifiers.iter().map(|held| self.hashed(number, key, held))),
            (Some(Sealed::Erased), Some(holders)) => gone.extend(holders.held_by(&view, number, &key.member)?),
            (Some(Sealed::Erased) | None, _) => {}
        }
        changes.extend(gone.iter().map(|identifier| (RowKey::of_identifier(identifier), None)));
        Ok(())
    }

    fn hashed(&self, number: ProgramNumber, key: &MemberKey, identifier: &Identifier) -> Hashed {
        rows::hashed(number, &self.index.identifier(&key.program, identifier))
    }

    /// Wipes what keys there still are of members who are erased.
    pub(super) fn wipe_erased(&self) -> Result<(), StoreError> {
        let (from, to) = RowKey::all_wiped();
        let mut left = Vec::new();
        for row in self.overlay.view().scan(from, to) {
            let slot = row?.0.wiped_slot().ok_or(Malformed("the key of a wiped slot's row"))?;
            if !self.keys.is_wiped(slot)?.ok_or_else(|| self.keys.lacks(slot))? {
                left.push(slot);
            }
        }
        if !left.is_empty() {
            tracing::warn!(
                keys = left.len(),
                "keys of members who were erased were still there, after a kill or in a key file that is older: they are wiped"
            );
        }
        self.keys.wipe(&left)
    }
}

/// The identifiers that an entry gives to the member.
fn named(entry: &Entry) -> &[Identifier] {
    if let EntryKind::MemberEnrolled { person: Sealed::Open(person) } = &entry.kind {
        return &person.identifiers;
    }
    if let EntryKind::IdentifierAdded { identifier: Sealed::Open(identifier) } = &entry.kind {
        return std::slice::from_ref(identifier);
    }
    &[]
}
