//! Headers of members, as they are in the tables: a header is read with every command, and sled takes many times longer.

use foldhash::fast::RandomState;
use quick_cache::{Weighter, sync::Cache};

use super::rows::Owner;

/// What a header costs in memory beside its bytes, by measurement of the process.
const HEADER_COST: usize = 96;
const USUAL_HEADER: usize = 128;

pub(super) struct Warm {
    headers: Cache<Owner, Box<[u8]>, ByBytes, RandomState>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Owner, Box<[u8]>> for ByBytes {
    fn weight(&self, _: &Owner, header: &Box<[u8]>) -> u64 {
        (HEADER_COST + header.len()) as u64
    }
}

impl Warm {
    /// `bound`: of bytes.
    pub(super) fn new(bound: usize) -> Self {
        let items = bound / (HEADER_COST + USUAL_HEADER);
        Self { headers: Cache::with(items, bound as u64, ByBytes, RandomState::default(), Default::default()) }
    }

    pub(super) fn get(&self, owner: &Owner) -> Option<Box<[u8]>> {
        self.headers.get(owner)
    }

    pub(super) fn has(&self, owner: &Owner) -> bool {
        self.headers.contains_key(owner)
    }

    pub(super) fn put(&self, owner: Owner, header: Box<[u8]>) {
        self.headers.insert(owner, header);
    }

    /// No more can be put without another one going.
    pub(super) fn is_full(&self) -> bool {
        self.headers.weight() + (1 << 20) > self.headers.capacity()
    }
}

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
            warm.put(owner(number), number.to_be_bytes().into());
            assert_eq!(warm.get(&owner(number)).as_deref(), Some(&number.to_be_bytes()[..]), "header {number}");
        }
        let kept = (0..100_000).filter(|number| warm.has(&owner(*number))).count();
        assert!((2_000..=10_486).contains(&kept), "{kept}");
    }

    #[test]
    fn a_header_that_is_put_again_replaces_the_old_one() {
        let warm = Warm::new(1 << 20);
        warm.put(owner(1), Box::new([1]));
        warm.put(owner(1), Box::new([2]));
        assert_eq!(warm.get(&owner(1)).as_deref(), Some(&[2][..]));
    }
}
