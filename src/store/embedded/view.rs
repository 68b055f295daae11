//! Reading rows: first in the overlay's two layers, then in memory, then in the tables.

use std::{collections::BTreeSet, iter::Peekable, sync::RwLockReadGuard};

use super::{
    absent::Absent,
    decode::Malformed,
    overlay::Layers,
    rows::{self, Generation, Hashed, LookedUp, ProgramNumber, RowKey, Space},
    tables::Tables,
    warm::{IdentifierRow, Warm},
};
use crate::{domain::MemberId, store::StoreError};

/// One instant of all rows.
pub(super) struct View<'a> {
    pub(super) layers: RwLockReadGuard<'a, Layers>,
    pub(super) tables: &'a Tables,
    pub(super) warm: &'a Warm,
    pub(super) absent: &'a Absent,
    /// Generation of the index that the last request or order went to.
    pub(super) newest: Generation,
}

/// Rows of a member that are passed over one by one on the way to the next member, before that one is looked for.
const PASSED_OVER: usize = 64;

impl View<'_> {
    pub(super) fn get(&self, key: &RowKey) -> Result<Option<Box<[u8]>>, StoreError> {
        match self.layers.upper.get(key).or_else(|| self.layers.lower.get(key)) {
            Some(value) => Ok(value.map(Into::into)),
            None => self.tables.get(key),
        }
    }

    pub(super) fn header(&self, number: ProgramNumber, member: &MemberId) -> Result<Option<Box<[u8]>>, StoreError> {
        let owner = rows::owner(number, member);
        if let Some(header) = self.layers.upper.header(&owner).or_else(|| self.layers.lower.header(&owner)) {
            return Ok(Some(header.into()));
        }
        if let Some(header) = self.warm.header(&owner) {
            return Ok(Some(header));
        }
        let stored = self.tables.get(&RowKey::header(number, member))?;
        // What neither layer has is not being written, and cannot be as long as this view holds the layers: it is not old.
        if let Some(header) = &stored {
            self.warm.put_header(owner, header.clone());
        }
        Ok(stored)
    }

    /// What is personal of a member, sealed.
    pub(super) fn person(&self, number: ProgramNumber, member: &MemberId) -> Result<Option<Box<[u8]>>, StoreError> {
        let owner = rows::owner(number, member);
        if let Some(person) = self.layers.upper.person(&owner).or_else(|| self.layers.lower.person(&owner)) {
            return Ok(Some(person.into()));
        }
        if let Some(person) = self.warm.person(&owner) {
            return Ok(Some(person));
        }
        let stored = self.tables.get(&RowKey::of_person(&owner))?;
        // It is not old, for the same reason.
        if let Some(person) = &stored {
            self.warm.put_person(owner, person.clone());
        }
        Ok(stored)
    }

    /// The row of an identifier that somebody has.
    pub(super) fn identifier(&self, key: &Hashed) -> Result<Option<IdentifierRow>, StoreError> {
        if self.absent.says_absent(key.last_chunk().expect("the hash is its end")) {
            return Ok(None);
        }
        let row = match self.layers.upper.identifier(key).or_else(|| self.layers.lower.identifier(key)) {
            Some(row) => row.map(Into::into),
            None => {
                if let Some(row) = self.warm.identifier(key) {
                    return Ok(Some(row));
                }
                let stored = self.tables.get(&RowKey::of_identifier(key))?;
                // It is not old, for the same reason.
                self.warm.put_identifier(*key, stored.as_deref());
                stored
            }
        };
        row.map(|row: Box<[u8]>| (*row).try_into().map_err(|_| Malformed("an identifier's row").into())).transpose()
    }

    /// Keeps a row that the tables have, if it is of the kind that is kept, unless a newer one is there.
    pub(super) fn keep_warm(&self, key: &RowKey, value: &[u8]) {
        if self.layers.upper.get(key).is_some() || self.layers.lower.get(key).is_some() {
            return;
        }
        match key.space() {
            Space::Member { owner, own: [rows::HEADER] } if !self.warm.has_header(owner) => self.warm.put_header(*owner, value.into()),
            Space::Identifier(key) => self.warm.put_identifier(*key, Some(value)),
            Space::Member { .. } | Space::LookedUp { .. } | Space::Person(_) | Space::Other => {}
        }
    }

    /// What is recorded under the hash of a request or order.
    pub(super) fn looked_up(&self, key: &LookedUp) -> Result<Option<Box<[u8]>>, StoreError> {
        if self.absent.says_absent(key.last_chunk().expect("the hash is its end")) {
            return Ok(None);
        }
        if let Some(value) = self.layers.upper.looked_up(key).or_else(|| self.layers.lower.looked_up(key)) {
            return Ok(Some(value.into()));
        }
        for generation in (0..=self.newest).rev() {
            if let Some(value) = self.tables.get(&RowKey::looked_up(generation, key))? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Members in the order of their ids, those behind `after`.
    pub(super) fn members(&self, number: ProgramNumber, after: Option<MemberId>, limit: usize) -> Result<Vec<MemberId>, StoreError> {
        let mut members = BTreeSet::new();
        // Members that have no rows in the tables yet.
        let first = rows::owner(number, &after.unwrap_or(MemberId([0; 16])));
        let behind = rows::owner(number + 1, &MemberId([0; 16]));
        for layer in [&self.layers.upper, &*self.layers.lower] {
            let new = layer.new_members(first, behind).map(|owner| MemberId(*owner.last_chunk().expect("the id is its end")));
            members.extend(new.filter(|member| Some(*member) != after).take(limit));
        }
        let mut from = after.map_or(RowKey::before_members(number), |after| RowKey::behind_member(number, &after));
        let mut found = 0;
        'next: while found < limit {
            let mut passed_over = 0;
            for row in self.tables.scan(&from, &RowKey::behind_members(number)) {
                match row?.0.header_member() {
                    Some(member) => {
                        members.insert(member);
                        from = RowKey::behind_member(number, &member);
                        (found, passed_over) = (found + 1, 0);
                    }
                    None => passed_over += 1,
                }
                if found == limit || passed_over == PASSED_OVER {
                    continue 'next;
                }
            }
            break;
        }
        Ok(members.into_iter().take(limit).collect())
    }

    /// Rows from `from` inclusive to `to` exclusive, in their order.
    pub(super) fn scan(&self, from: RowKey, to: RowKey) -> impl Iterator<Item = Result<(RowKey, Box<[u8]>), StoreError>> {
        Merged {
            upper: self.layers.upper.range(from, to).peekable(),
            lower: self.layers.lower.range(from, to).peekable(),
            tables: self.tables.scan(&from, &to).peekable(),
        }
    }
}

/// Three sorted sources; of rows with the same key the uppermost counts.
struct Merged<A: Iterator, B: Iterator, C: Iterator> {
    upper: Peekable<A>,
    lower: Peekable<B>,
    tables: Peekable<C>,
}

impl<'a, A, B, C> Iterator for Merged<A, B, C>
where
    A: Iterator<Item = (RowKey, Option<&'a [u8]>)>,
    B: Iterator<Item = (RowKey, Option<&'a [u8]>)>,
    C: Iterator<Item = Result<(RowKey, Box<[u8]>), StoreError>>,
{
    type Item = Result<(RowKey, Box<[u8]>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let stored = match self.tables.peek() {
                Some(Err(_)) => return self.tables.next(),
                Some(Ok((key, _))) => Some(*key),
                None => None,
            };
            let upper = self.upper.peek().map(|(key, _)| *key);
            let lower = self.lower.peek().map(|(key, _)| *key);
            let key = [upper, lower, stored].into_iter().flatten().min()?;
            // Each source that has the key moves on; the uppermost gives the value.
            let stored = self.tables.next_if(|row| row.as_ref().is_ok_and(|(found, _)| *found == key));
            let lower = self.lower.next_if(|(found, _)| *found == key);
            let upper = self.upper.next_if(|(found, _)| *found == key);
            match upper.or(lower) {
                Some((_, Some(value))) => return Some(Ok((key, value.into()))),
                Some((_, None)) => {}
                None => return stored,
            }
        }
    }
}
