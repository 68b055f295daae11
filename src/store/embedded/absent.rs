//! Which requests, orders and identifiers were certainly never seen: nearly all requests and orders that are asked for, since each is
//! asked for once before it is there. A blocked Bloom filter in memory answers without looking at the tables.
//!
//! It is filled from the tables beside the service after a start, and says nothing until that is done. What is published later is
//! put into it before readers can see it.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

/// Keys in the first layer; each further one takes twice as many. Every layer costs a look-up a miss of the processor's cache, and calls some
/// keys present that are not, so that a large first one is worth its 6 MB.
const FIRST_LAYER: usize = 4 << 20;
/// Layers for 500 million keys in all, which take 800 MB. More of them go into the last one, which then knows less and less.
const MAX_LAYERS: usize = 7;
/// Of a full layer, four keys in a thousand that are absent are looked for in the tables nevertheless.
const BITS_PER_KEY: usize = 12;
const PROBES: u32 = 7;
/// A block is a line of the processor's cache: one is read for each key and layer.
const BLOCK_WORDS: usize = 8;

#[derive(Default)]
pub(super) struct Absent {
    layers: [OnceLock<Box<[AtomicU64]>>; MAX_LAYERS],
    keys: AtomicUsize,
    filled: AtomicBool,
}

/// 16 bytes of a keyed hash: random, whatever the key is.
pub(super) type Hash = [u8; 16];

impl Absent {
    pub(super) fn insert(&self, hash: &Hash) {
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        // Layers before the n-th take FIRST_LAYER x (2^n - 1) keys.
        let layer = ((number / FIRST_LAYER + 1).ilog2() as usize).min(MAX_LAYERS - 1);
        let words = self.layers[layer].get_or_init(|| {
            let blocks = (FIRST_LAYER << layer) * BITS_PER_KEY / (BLOCK_WORDS * 64);
            (0..blocks * BLOCK_WORDS).map(|_| AtomicU64::new(0)).collect()
        });
        for (word, bit) in places(words.len(), hash) {
            words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Everything that was there before is in.
    pub(super) fn set_filled(&self) {
        self.filled.store(true, Ordering::Release);
    }

    /// True only if the key was never inserted. The caller holds a lock that it was published under.
    pub(super) fn says_absent(&self, hash: &Hash) -> bool {
        let has_all = |words: &[AtomicU64]| places(words.len(), hash).all(|(word, bit)| words[word].load(Ordering::Relaxed) & bit != 0);
        self.filled.load(Ordering::Acquire) && !self.layers.iter().map_while(OnceLock::get).any(|words| has_all(words))
    }
}

/// Words and bits of a key.
fn places(words: usize, hash: &Hash) -> impl Iterator<Item = (usize, u64)> {
    let (block, bits) = hash.split_at(8);
    let block = u64::from_le_bytes(block.try_into().expect("half of 16 bytes"));
    let bits = u64::from_le_bytes(bits.try_into().expect("half of 16 bytes"));
    let blocks = (words / BLOCK_WORDS) as u128;
    let first = ((u128::from(block) * blocks) >> 64) as usize * BLOCK_WORDS;
    (0..PROBES).map(move |probe| {
        let place = (bits >> (9 * probe)) as usize % (BLOCK_WORDS * 64);
        (first + place / 64, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> Hash {
        blake3::hash(&number.to_le_bytes()).as_bytes()[..16].try_into().expect("16 bytes")
    }

    #[test]
    fn what_was_inserted_is_never_called_absent_and_little_else_is_not() {
        let absent = Absent::default();
        assert!(!absent.says_absent(&hash(1)), "it says nothing before it is filled");
        absent.set_filled();
        let keys = FIRST_LAYER as u64 + 100_000;
        (0..keys).for_each(|number| absent.insert(&hash(number)));
        assert!((0..keys).rev().step_by(16).all(|number| !absent.says_absent(&hash(number))));
        let asked = 100_000;
        let looked_for = (keys..keys + asked).filter(|number| !absent.says_absent(&hash(*number))).count();
        assert!(looked_for < 800, "{looked_for} of {asked}");
    }
}
