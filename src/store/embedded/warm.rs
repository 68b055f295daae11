//! Headers of members and their identifiers, as they are in the tables: both are read with every command, and sled takes many times
//! longer.

use foldhash::fast::RandomState;
use quick_cache::{Weighter, sync::Cache};

use super::rows::{Hashed, Owner};

/// What a header costs in memory beside its bytes, and an identifier, by measurement of the process.
const HEADER_COST: usize = 80;
const IDENTIFIER_COST: usize = 88;
const USUAL_HEADER: usize = 112;

pub(super) struct Warm {
    headers: Cache<Owner, Box<[u8]>, ByBytes, RandomState>,
    identifiers: Cache<Hashed, IdentifierRow, ByBytes, RandomState>,
}

/// As in the tables.
pub(super) type IdentifierRow = [u8; 32];

#[derive(Clone)]
struct ByBytes;

impl Weighter<Owner, Box<[u8]>> for ByBytes {
    fn weight(&self, _: &Owner, header: &Box<[u8]>) -> u64 {
        (HEADER_COST + header.len()) as u64
    }
}

impl Weighter<Hashed, IdentifierRow> for ByBytes {
    fn weight(&self, _: &Hashed, _: &IdentifierRow) -> u64 {
        IDENTIFIER_COST as u64
    }
}

impl Warm {
    /// `bound`: of bytes.
    pub(super) fn new(bound: usize) -> Self {
        let (headers, identifiers) = (bound / 3 * 2, bound / 3);
        let items = headers / (HEADER_COST + USUAL_HEADER);
        Self {
            headers: Cache::with(items, headers as u64, ByBytes, RandomState::default(), Default::default()),
            identifiers: Cache::with(
                identifiers / IDENTIFIER_COST,
                identifiers as u64,
                ByBytes,
                RandomState::default(),
                Default::default(),
            ),
        }
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
