//! Headers of members, their identifiers and what is personal (sealed), as they are in the tables: the first two are read with every
//! command, the third when a member is shown, and sled takes many times longer.

use foldhash::fast::RandomState;
use quick_cache::{Weighter, sync::Cache};

use super::rows::{Hashed, Owner};

/// What a row costs in memory beside its bytes, and an identifier with them, by measurement of the process.
const ROW_COST: usize = 80;
const IDENTIFIER_COST: usize = 88;
const USUAL_ROW: usize = 112;

pub(super) struct Warm {
    headers: Cache<Owner, Box<[u8]>, ByBytes, RandomState>,
    identifiers: Cache<Hashed, IdentifierRow, ByBytes, RandomState>,
    persons: Cache<Owner, Box<[u8]>, ByBytes, RandomState>,
}

/// As in the tables.
pub(super) type IdentifierRow = [u8; 32];

#[derive(Clone)]
struct ByBytes;

impl Weighter<Owner, Box<[u8]>> for ByBytes {
    fn weight(&self, _: &Owner, header: &Box<[u8]>) -> u64 {
        (ROW_COST + header.len()) as u64
    }
}

impl Weighter<Hashed, IdentifierRow> for ByBytes {
    fn weight(&self, _: &Hashed, _: &IdentifierRow) -> u64 {
        IDENTIFIER_COST as u64
    }
}

/// For so many bytes of items of about so many bytes each.
fn cache<K: Eq + std::hash::Hash, V: Clone>(bytes: usize, each: usize) -> Cache<K, V, ByBytes, RandomState>
where
    ByBytes: Weighter<K, V>,
{
    Cache::with(bytes / each, bytes as u64, ByBytes, RandomState::default(), Default::default())
}

impl Warm {
    /// `bound`: of bytes.
    pub(super) fn new(bound: usize) -> Self {
        let rows = ROW_COST + USUAL_ROW;
        // So that of headers and identifiers about as many have room. Persons are read the least.
        Self { headers: cache(bound / 8 * 5, rows), identifiers: cache(bound / 4, IDENTIFIER_COST), persons: cache(bound / 8, rows) }
    }

    pub(super) fn header(&self, owner: &Owner) -> Option<Box<[u8]>> {
        self.headers.get(owner)
    }

    pub(super) fn has_header(&self, owner: &Owner) -> bool {
        self.headers.contains_key(owner)
    }

    pub(super) fn put_header(&self, owner: Owner, header: Box<[u8]>) {
        self.headers.insert(owner, header);
    }

    pub(super) fn identifier(&self, key: &Hashed) -> Option<IdentifierRow> {
        self.identifiers.get(key)
    }

    pub(super) fn person(&self, owner: &Owner) -> Option<Box<[u8]>> {
        self.persons.get(owner)
    }

    pub(super) fn put_person(&self, owner: Owner, person: Box<[u8]>) {
        self.persons.insert(owner, person);
    }

    /// `None`, or a row that is none: it goes.
    pub(super) fn put_identifier(&self, key: Hashed, row: Option<&[u8]>) {
        match row.and_then(|row| row.try_into().ok()) {
            Some(row) => self.identifiers.insert(key, row),
            None => drop(self.identifiers.remove(&key)),
        }
    }

    /// No more can be put without another one going.
    pub(super) fn is_full_of_headers(&self) -> bool {
        self.headers.weight() + MARGIN > self.headers.capacity()
    }

    pub(super) fn is_full_of_identifiers(&self) -> bool {
        self.identifiers.weight() + MARGIN > self.identifiers.capacity()
    }
}

/// The caches are in parts, some of which are full before the others.
const MARGIN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: u32) -> Owner {
        let mut owner = Owner::default();
        owner[..4].copy_from_slice(&number.to_be_bytes());
        owner
    }

    #[test]
    fn what_is_put_is_found_until_the_bound() {
        let warm = Warm::new(1 << 20);
        for number in 0..100_000 {
            warm.put_header(owner(number), number.to_be_bytes().into());
            assert_eq!(warm.header(&owner(number)).as_deref(), Some(&number.to_be_bytes()[..]), "header {number}");
        }
        let kept = (0..100_000).filter(|number| warm.has_header(&owner(*number))).count();
        assert!((1_000..=10_000).contains(&kept), "{kept}");
    }

    #[test]
    fn a_header_that_is_put_again_replaces_the_old_one() {
        let warm = Warm::new(1 << 20);
        warm.put_header(owner(1), Box::new([1]));
        warm.put_header(owner(1), Box::new([2]));
        assert_eq!(warm.header(&owner(1)).as_deref(), Some(&[2][..]));
    }
}
