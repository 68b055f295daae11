//! Many neighbouring rows in one row of sled's. sled takes about as long for a row of some kilobytes as for one of some bytes, and the
//! rows that are written together mostly lie together.
//!
//! A leaf is found by its key: it holds the rows from its key on to the key of the leaf behind it. Inside, rows follow one another in
//! their order: as varints the number of bytes that the key has in common with the one before and the number of those that follow, these
//! bytes, as a varint the length of the value, the value.

use std::iter::Peekable;

use super::{rows::RowKey, wire::Writer};
use crate::store::StoreError;

/// Bytes of a leaf, unless a single row has more.
const MAX_BYTES: usize = 8 << 10;

/// A leaf as it goes into the tables.
pub(super) type Packed = (RowKey, Vec<u8>);

/// The rows of a leaf, in their order.
pub(super) struct Rows<'a> {
    rest: &'a [u8],
    key: RowKey,
}

impl<'a> Rows<'a> {
    pub(super) fn of(leaf: &'a [u8]) -> Self {
        Self { rest: leaf, key: RowKey::EMPTY }
    }

    /// Those from a key on. Keys before it are not put together: by the bytes that a key has in common with the one before it most of them
    /// are known to be on the same side of `from`.
    pub(super) fn starting(leaf: &'a [u8], from: &RowKey) -> Result<Self, StoreError> {
        let mut rows = Self { rest: leaf, key: *from };
        let wanted = from.as_bytes();
        // Bytes that the key before, which is less, has in common with `from`.
        let mut matched = 0;
        while !rows.rest.is_empty() {
            let here = rows.rest;
            let (shared, own, _) = rows.parts().ok_or_else(unreadable)?;
            if shared > matched {
                continue;
            }
            let wanted = &wanted[shared..];
            if own >= wanted {
                rows.rest = here;
                break;
            }
            matched = shared + own.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        }
        Ok(rows)
    }

    /// How many bytes of the leaf are behind the last row that was given.
    pub(super) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Goes on where another one has stopped, by [`Rows::rest`] and the last key that it gave.
    pub(super) fn resume(leaf: &'a [u8], rest: usize, key: RowKey) -> Self {
        Self { rest: &leaf[leaf.len() - rest..], key }
    }

    fn row(&mut self) -> Option<(RowKey, &'a [u8])> {
        let (shared, own, value) = self.parts()?;
        self.key = self.key.with_end(shared, own)?;
        Some((self.key, value))
    }

    /// Of the next row: what its key has in common with the one before, the rest of its key, and its value.
    fn parts(&mut self) -> Option<(usize, &'a [u8], &'a [u8])> {
        let shared = self.number()?;
        let own = self.number()?;
        let own = self.take(own)?;
        let length = self.number()?;
        Some((shared, own, self.take(length)?))
    }

    fn number(&mut self) -> Option<usize> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Some(usize::from(*byte));
        }
        usize::try_from(prost::encoding::decode_varint(&mut self.rest).ok()?).ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<(RowKey, &'a [u8]), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let row = self.row().ok_or_else(unreadable);
        if row.is_err() {
            self.rest = &[];
        }
        Some(row)
    }
}

fn unreadable() -> StoreError {
    StoreError::Tables("a leaf of rows cannot be read".to_owned())
}

/// The leaf that has the changes in it: one, or several if it grew too large. `changes` are in their order and belong into it; of `leaf`
/// only rows before `end` count, the others are in the leaf behind it already.
pub(super) fn merge<'a>(
    key: RowKey,
    leaf: &[u8],
    end: Option<&RowKey>,
    changes: impl Iterator<Item = (RowKey, Option<&'a [u8]>)>,
) -> Result<Vec<Packed>, StoreError> {
    let mut changes = changes.peekable();
    let mut merged = Merged::new(leaf.len() + 1_024);
    let mut old = 0;
    for row in Rows::of(leaf) {
        let (found, value) = row?;
        if end.is_some_and(|end| found >= *end) {
            break;
        }
        old += 1;
        merged.take_before(&mut changes, &found);
        match changes.next_if(|(changed, _)| *changed == found) {
            Some((_, value)) => merged.push(found, value),
            None => merged.push(found, Some(value)),
        }
    }
    let grows_at_end = old > 0 && merged.rows.len() <= old;
    for (key, value) in changes {
        merged.push(key, value);
    }
    Ok(merged.pack(key, grows_at_end))
}

/// Rows one after the other, and where each lies.
struct Merged {
    bytes: Vec<u8>,
    rows: Vec<(RowKey, std::ops::Range<usize>)>,
}

impl Merged {
    fn new(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), rows: Vec::with_capacity(capacity / 64) }
    }

    fn push(&mut self, key: RowKey, value: Option<&[u8]>) {
        if let Some(value) = value {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(value);
            self.rows.push((key, from..self.bytes.len()));
        }
    }

    fn take_before<'a>(&mut self, changes: &mut Peekable<impl Iterator<Item = (RowKey, Option<&'a [u8]>)>>, key: &RowKey) {
        while let Some((changed, value)) = changes.next_if(|(changed, _)| changed < key) {
            self.push(changed, value);
        }
    }

    /// What only grows at its end fills its leaves; what grows anywhere leaves room in them.
    fn pack(&self, key: RowKey, grows_at_end: bool) -> Vec<Packed> {
        let whole = self.write(&self.rows);
        if whole.len() <= MAX_BYTES {
            return vec![(key, whole)];
        }
        let target = if grows_at_end { MAX_BYTES } else { whole.len() / (whole.len() / MAX_BYTES + 1) + 1 };
        let mut leaves: Vec<Packed> = Vec::new();
        let mut rest = self.rows.as_slice();
        while let Some((first, _)) = rest.first() {
            let mut size = 0;
            let fits = |(key, value): &&(RowKey, std::ops::Range<usize>)| {
                size += key.as_bytes().len() / 2 + value.len() + 4;
                size <= target
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (part, behind) = rest.split_at(count);
            let key = if leaves.is_empty() { key } else { *first };
            leaves.push((key, self.write(part)));
            rest = behind;
        }
        leaves
    }

    fn write(&self, rows: &[(RowKey, std::ops::Range<usize>)]) -> Vec<u8> {
        let mut w = Writer { bytes: Vec::with_capacity(self.bytes.len() + 16 * rows.len()) };
        let mut before = RowKey::EMPTY;
        for (key, value) in rows {
            let shared = key.shared(&before);
            let own = &key.as_bytes()[shared..];
            w.varint(shared as u64);
            w.varint(own.len() as u64);
            w.bytes.extend_from_slice(own);
            w.varint(value.len() as u64);
            w.bytes.extend_from_slice(&self.bytes[value.clone()]);
            before = *key;
        }
        w.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn rows(leaves: &[Packed]) -> Vec<(RowKey, Vec<u8>)> {
        let rows = leaves.iter().flat_map(|(_, leaf)| Rows::of(leaf));
        rows.map(|row| row.map(|(key, value)| (key, value.to_vec())).expect("a row is read")).collect()
    }

    fn changes() -> impl Strategy<Value = BTreeMap<u16, Option<Vec<u8>>>> {
        let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..400));
        proptest::collection::btree_map(0..500u16, value, 0..120)
    }

    fn key(number: u16) -> RowKey {
        RowKey::publication(u64::from(number / 7), u32::from(number % 7))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn merged_leaves_hold_what_a_map_would(groups in proptest::collection::vec(changes(), 1..6)) {
            let mut model = BTreeMap::new();
            let mut leaves = vec![(RowKey::program(1), Vec::new())];
            for group in groups {
                let mut next = Vec::new();
                for (place, (first, leaf)) in leaves.iter().enumerate() {
                    let end = leaves.get(place + 1).map(|(key, _)| *key);
                    let own = group.iter().map(|(number, value)| (key(*number), value.as_deref()));
                    let own = own.filter(|(key, _)| *key >= *first && end.is_none_or(|end| *key < end));
                    next.extend(merge(*first, leaf, end.as_ref(), own).expect("a leaf is merged"));
                }
                leaves = next;
                for (number, value) in group {
                    match value {
                        Some(value) => model.insert(key(number), value),
                        None => model.remove(&key(number)),
                    };
                }
                prop_assert_eq!(rows(&leaves), model.clone().into_iter().collect::<Vec<_>>());
                prop_assert!(leaves.is_sorted_by_key(|(key, _)| *key));
                prop_assert!(leaves.iter().all(|(_, leaf)| leaf.len() <= MAX_BYTES + 512));
            }
        }

        #[test]
        fn a_leaf_is_read_from_any_key_on(
            numbers in proptest::collection::btree_set(0..1_000_000u64, 0..120),
            others in proptest::collection::vec((0..1_000_000u64, any::<bool>()), 20),
        ) {
            // Some keys are the beginning of others.
            let key = |number: &u64, short: bool| match short {
                true => RowKey::program((number / 1_000) as u32),
                false => RowKey::publication(number / 97, (number % 97) as u32),
            };
            let keys: std::collections::BTreeSet<RowKey> = numbers.iter().map(|number| key(number, number % 3 == 0)).collect();
            let all = merge(RowKey::EMPTY, &[], None, keys.iter().map(|key| (*key, Some(&b"value"[..])))).expect("a leaf is merged");
            let wanted = others.iter().map(|(number, short)| key(number, *short)).chain(keys.iter().copied());
            for from in wanted.chain(keys.iter().map(RowKey::next)) {
                let found = all.iter().flat_map(|(_, leaf)| Rows::starting(leaf, &from).expect("a leaf is read"));
                let found: Vec<RowKey> = found.map(|row| row.expect("a row is read").0).collect();
                prop_assert_eq!(found, keys.range(from..).copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn rows_of_the_leaf_behind_it_are_left_out() {
        let all = merge(key(0), &[], None, (0..10).map(|number| (key(number), Some(&b"old"[..])))).expect("a leaf is merged");
        let one = merge(key(0), &all[0].1, Some(&key(5)), [(key(2), Some(&b"new"[..]))].into_iter()).expect("a leaf is merged");
        let left = rows(&one);
        assert_eq!(left.len(), 5);
        assert_eq!(left[2], (key(2), b"new".to_vec()));
    }

    #[test]
    fn what_only_grows_at_its_end_fills_its_leaves() {
        let mut leaves = merge(key(0), &[], None, (0..8).map(|number| (key(number), Some(&[0; 1_000][..])))).expect("a leaf is merged");
        assert_eq!(leaves.len(), 1);
        let more = (8..64).map(|number| (key(number), Some(&[0; 1_000][..])));
        leaves = merge(key(0), &leaves[0].1, None, more).expect("a leaf is merged");
        assert_eq!(leaves.iter().map(|(_, leaf)| Rows::of(leaf).count()).collect::<Vec<_>>(), [8; 8]);
    }

    #[test]
    fn a_leaf_that_was_changed_is_an_error_or_other_rows_but_no_panic() {
        let leaf = merge(key(0), &[], None, (0..10).map(|number| (key(number), Some(&b"some"[..])))).expect("a leaf is merged").remove(0).1;
        for place in 0..leaf.len() {
            for bit in 0..8 {
                let mut changed = leaf.clone();
                changed[place] ^= 1 << bit;
                Rows::of(&changed).for_each(drop);
            }
        }
        assert!(Rows::of(&leaf[..leaf.len() - 1]).any(|row| row.is_err()));
    }
}
