//! Rows in memory, kept so that a commit adds its own in the shortest time: by member, and by hash. They are put in order when they are
//! written to the tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use foldhash::fast::RandomState;

use super::rows::{ACTIVITY, Change, Generation, HEADER, Hashed, LOT, LookedUp, Owner, PENDING, RowKey, Space};
use super::vouchers::VOUCHER;

/// What rows cost in memory beside their values, by measurement of the process.
const ROW_COST: usize = 64;
const LOOKED_UP_COST: usize = 80;
const MEMBER_COST: usize = 200;

#[derive(Default)]
pub(super) struct Layer {
    members: Shards<Owner, MemberRows>,
    /// Those of `members` that had no rows before.
    new_members: BTreeSet<Owner>,
    looked_up: Shards<LookedUp, (Generation, Box<[u8]>)>,
    identifiers: Shards<Hashed, Option<Box<[u8]>>>,
    persons: Shards<Owner, Box<[u8]>>,
    others: BTreeMap<RowKey, Option<Box<[u8]>>>,
}

/// What a row's key says behind its owner, and its value; none: the row goes.
type OwnRow = ([u8; OWN], Option<Box<[u8]>>);
/// Kind of row, expiry and number of a lot; or kind of row, sequence of an entry, and zeros. Of a pending lot as of a lot; of an activity
/// kind of row and hash, of a voucher kind of row, code, and zeros.
const OWN: usize = 17;
const ENTRY_OWN: usize = 9;
const VOUCHER_OWN: usize = 11;

/// A hash table in parts: one that grows moves all that is in it, and who waits for a commit would wait for a large one.
struct Shards<K, V>(Vec<HashMap<K, V, RandomState>>);

/// Of them all, a power of 2. Keys end with bytes of a hash, or random ones.
const SHARDS: usize = 64;

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| HashMap::default()).collect())
    }
}

impl<K: AsRef<[u8]>, V> Shards<K, V> {
    fn of(&self, key: &K) -> &HashMap<K, V, RandomState> {
        &self.0[shard(key.as_ref())]
    }

    fn of_mut(&mut self, key: &K) -> &mut HashMap<K, V, RandomState> {
        &mut self.0[shard(key.as_ref())]
    }

    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flatten()
    }

    fn emptied(mut self) -> Self {
        for shard in &mut self.0 {
            match shard.len() * 4 < shard.capacity() {
                true => *shard = HashMap::default(),
                false => shard.clear(),
            }
        }
        self
    }
}

fn shard(key: &[u8]) -> usize {
    key.last().map_or(0, |byte| usize::from(*byte) % SHARDS)
}

#[derive(Default)]
struct MemberRows {
    header: Option<Box<[u8]>>,
    lots: Vec<OwnRow>,
    entries: Vec<OwnRow>,
}

impl Layer {
    /// Without rows, but with the memory that it had for them, unless it was much too much.
    pub(super) fn emptied(self) -> Self {
        let Self { members, looked_up, identifiers, persons, .. } = self;
        Self {
            members: members.emptied(),
            looked_up: looked_up.emptied(),
            identifiers: identifiers.emptied(),
            persons: persons.emptied(),
            ..Self::default()
        }
    }

    /// Gives the bytes that it takes.
    pub(super) fn put(&mut self, (key, value): Change) -> usize {
        let length = value.as_ref().map_or(0, |value| value.len());
        match key.space() {
            Space::Member { owner, own } => {
                let mut taken = length;
                let rows = self.members.of_mut(owner).entry(*owner).or_insert_with(|| {
                    taken += MEMBER_COST;
                    MemberRows::default()
                });
                taken += rows.put(own, value);
                if key.is_first_entry() {
                    self.new_members.insert(*owner);
                }
                taken
            }
            Space::LookedUp { generation, key } => {
                let value = value.expect("what was recorded under an id stays");
                self.looked_up.of_mut(&key).insert(key, (generation, value));
                length + LOOKED_UP_COST
            }
            Space::Identifier(key) => {
                self.identifiers.of_mut(key).insert(*key, value);
                length + LOOKED_UP_COST
            }
            Space::Person(owner) => {
                self.persons.of_mut(owner).insert(*owner, value.expect("what is personal stays, or is erased"));
                length + LOOKED_UP_COST
            }
            Space::Other => {
                self.others.insert(key, value);
                length + 2 * ROW_COST
            }
        }
    }

    /// Outer `None`: nothing is known of the row here. Inner: it is gone.
    pub(super) fn get(&self, key: &RowKey) -> Option<Option<&[u8]>> {
        match key.space() {
            Space::Member { owner, own } => self.members.of(owner).get(owner)?.get(own),
            Space::LookedUp { key, .. } => self.looked_up(&key).map(Some),
            Space::Identifier(key) => self.identifier(key),
            Space::Person(owner) => self.person(owner).map(Some),
            Space::Other => self.others.get(key).map(Option::as_deref),
        }
    }

    pub(super) fn header(&self, owner: &Owner) -> Option<&[u8]> {
        self.members.of(owner).get(owner)?.header.as_deref()
    }

    pub(super) fn looked_up(&self, key: &LookedUp) -> Option<&[u8]> {
        self.looked_up.of(key).get(key).map(|(_, value)| &**value)
    }

    pub(super) fn identifier(&self, key: &Hashed) -> Option<Option<&[u8]>> {
        self.identifiers.of(key).get(key).map(Option::as_deref)
    }

    pub(super) fn identifiers(&self) -> impl Iterator<Item = (&Hashed, Option<&[u8]>)> {
        self.identifiers.iter().map(|(key, value)| (key, value.as_deref()))
    }

    pub(super) fn person(&self, owner: &Owner) -> Option<&[u8]> {
        self.persons.of(owner).get(owner).map(|person| &**person)
    }

    pub(super) fn persons(&self) -> impl Iterator<Item = (&Owner, &[u8])> {
        self.persons.iter().map(|(owner, person)| (owner, &**person))
    }

    /// New members from `from` inclusive to `to` exclusive.
    pub(super) fn new_members(&self, from: Owner, to: Owner) -> impl Iterator<Item = Owner> {
        self.new_members.range((Bound::Included(from), Bound::Excluded(to.max(from)))).copied()
    }

    /// Rows from `from` inclusive to `to` exclusive, in their order. Those of one member are found quickly; beyond, the layer is searched.
    pub(super) fn range(&self, from: RowKey, to: RowKey) -> Box<dyn Iterator<Item = (RowKey, Option<&[u8]>)> + '_> {
        if let (Space::Member { owner, own: from }, Space::Member { owner: same, own: to }) = (from.space(), to.space())
            && owner == same
        {
            return match self.members.of(owner).get(owner) {
                Some(rows) => Box::new(rows.range(*owner, from, to)),
                None => Box::new(std::iter::empty()),
            };
        }
        if let (Space::Other, Space::Other) = (from.space(), to.space())
            && from.as_bytes().first() == to.as_bytes().first()
        {
            let rows = self.others.range((Bound::Included(from), Bound::Excluded(to.max(from))));
            return Box::new(rows.map(|(key, value)| (*key, value.as_deref())));
        }
        let mut rows: Vec<_> = self.sorted().rows().filter(|(key, _)| *key >= from && *key < to).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        Box::new(rows.into_iter())
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&Owner, &[u8])> {
        self.members.iter().filter_map(|(owner, rows)| Some((owner, rows.header.as_deref()?)))
    }

    pub(super) fn sorted(&self) -> Sorted<'_> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by_key(|(owner, _)| **owner);
        let mut looked_up: Vec<_> = self.looked_up.iter().map(|(key, (generation, value))| (key, *generation, &**value)).collect();
        looked_up.sort_unstable_by_key(|(key, generation, _)| (key[0], *generation, **key));
        let mut identifiers: Vec<_> = self.identifiers().collect();
        identifiers.sort_unstable_by_key(|(key, _)| **key);
        let mut persons: Vec<_> = self.persons().collect();
        persons.sort_unstable_by_key(|(owner, _)| **owner);
        Sorted { others: &self.others, identifiers, persons, members, looked_up }
    }
}

fn padded(own: &[u8]) -> [u8; OWN] {
    let mut padded = [0; OWN];
    padded[..own.len()].copy_from_slice(own);
    padded
}

fn unpadded(own: &[u8; OWN]) -> &[u8] {
    match own {
        [LOT | PENDING | ACTIVITY, ..] => own,
        [VOUCHER, ..] => &own[..VOUCHER_OWN],
        _ => &own[..ENTRY_OWN],
    }
}

/// All rows of a layer, ready to be walked along.
pub(super) struct Sorted<'a> {
    others: &'a BTreeMap<RowKey, Option<Box<[u8]>>>,
    identifiers: Vec<(&'a Hashed, Option<&'a [u8]>)>,
    persons: Vec<(&'a Owner, &'a [u8])>,
    members: Vec<(&'a Owner, &'a MemberRows)>,
    looked_up: Vec<(&'a LookedUp, Generation, &'a [u8])>,
}

impl<'a> Sorted<'a> {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        let members = self.members.iter().map(|(_, rows)| usize::from(rows.header.is_some()) + rows.lots.len() + rows.entries.len());
        self.others.len() + self.identifiers.len() + self.persons.len() + members.sum::<usize>() + self.looked_up.len()
    }

    /// Runs of rows, each in the order of its keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = (RowKey, Option<&'a [u8]>)> {
        let others = self.others.iter().map(|(key, value)| (*key, value.as_deref()));
        let identifiers = self.identifiers.iter().map(|(key, value)| (RowKey::of_identifier(key), *value));
        let persons = self.persons.iter().map(|(owner, person)| (RowKey::of_person(owner), Some(*person)));
        let members = self.members.iter().flat_map(|(owner, rows)| rows.all(owner));
        let looked_up = self.looked_up.iter().map(|(key, generation, value)| (RowKey::looked_up(*generation, key), Some(*value)));
        others.chain(identifiers).chain(persons).chain(members).chain(looked_up)
    }
}

impl MemberRows {
    /// Gives what it takes beside the value.
    fn put(&mut self, own: &[u8], value: Option<Box<[u8]>>) -> usize {
        let rows = match own {
            [kind] if *kind == HEADER => {
                self.header = Some(value.expect("a member stays"));
                return 0;
            }
            [kind, ..] if *kind == LOT => &mut self.lots,
            _ => &mut self.entries,
        };
        let own = padded(own);
        // Nearly always it is the last one.
        let place = match rows.last() {
            Some((last, _)) if *last >= own => rows.partition_point(|(found, _)| *found < own),
            Some(_) | None => rows.len(),
        };
        if let Some((_, replaced)) = rows.get_mut(place).filter(|(found, _)| *found == own) {
            *replaced = value;
            return 0;
        }
        if rows.is_empty() {
            // Most members have one new row of a kind at a time.
            rows.reserve_exact(1);
        }
        rows.insert(place, (own, value));
        ROW_COST
    }

    fn get(&self, own: &[u8]) -> Option<Option<&[u8]>> {
        let rows = match own {
            [kind] if *kind == HEADER => return self.header.as_deref().map(Some),
            [kind, ..] if *kind == LOT => &self.lots,
            _ => &self.entries,
        };
        let place = rows.binary_search_by_key(&padded(own), |(found, _)| *found).ok()?;
        Some(rows[place].1.as_deref())
    }

    fn all<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = (RowKey, Option<&'a [u8]>)> {
        let header = self.header.iter().map(|header| (RowKey::of_member(owner, &[HEADER]), Some(&**header)));
        let row = |(own, value): &'a OwnRow| (RowKey::of_member(owner, unpadded(own)), value.as_deref());
        header.chain(self.lots.iter().chain(&self.entries).map(row))
    }

    /// `from` and `to` are what keys say behind their owner.
    fn range<'a>(&'a self, owner: Owner, from: &[u8], to: &[u8]) -> impl Iterator<Item = (RowKey, Option<&'a [u8]>)> + use<'a> {
        let header = self.header.as_deref().filter(|_| from <= &[HEADER][..] && &[HEADER][..] < to);
        let part = |rows: &'a [OwnRow]| {
            let first = rows.partition_point(|(own, _)| own[..] < *from);
            let behind = rows.partition_point(|(own, _)| own[..] < *to);
            rows[first..behind.max(first)].iter().map(move |(own, value)| (RowKey::of_member(&owner, unpadded(own)), value.as_deref()))
        };
        let header = header.map(|header| (RowKey::of_member(&owner, &[HEADER]), Some(header)));
        header.into_iter().chain(part(&self.lots)).chain(part(&self.entries))
    }
}
