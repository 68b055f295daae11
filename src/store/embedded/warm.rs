//! Headers of members that were read or written lately, as they are in the tables: a header is read with every command, and sled takes
//! many times longer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use super::rows::RowKey;

/// What a row costs in memory beside its value.
const ROW_COST: usize = 80;

/// Two generations: when the younger one is half of the bound, it becomes the older one, and what was not read since is let go.
pub(super) struct Warm {
    generations: Mutex<Generations>,
    /// Of bytes.
    bound: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<RowKey, Box<[u8]>>,
    old: HashMap<RowKey, Box<[u8]>>,
    young_bytes: usize,
}

impl Warm {
    pub(super) fn new(bound: usize) -> Self {
        Self { generations: Mutex::default(), bound }
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().expect("nobody panics while holding the warm rows")
    }

    pub(super) fn get(&self, key: &RowKey) -> Option<Box<[u8]>> {
        let mut generations = self.generations();
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let value = generations.old.remove(key)?;
        generations.put(*key, value.clone(), self.bound);
        Some(value)
    }

    pub(super) fn put(&self, key: RowKey, value: Box<[u8]>) {
        self.generations().put(key, value, self.bound);
    }

    pub(super) fn put_all<'a>(&self, rows: impl Iterator<Item = (&'a RowKey, &'a [u8])>) {
        let mut generations = self.generations();
        for (key, value) in rows {
            generations.put(*key, value.into(), self.bound);
        }
    }
}

impl Generations {
    fn put(&mut self, key: RowKey, value: Box<[u8]>, bound: usize) {
        self.young_bytes += ROW_COST + value.len();
        self.old.remove(&key);
        if let Some(replaced) = self.young.insert(key, value) {
            self.young_bytes -= ROW_COST + replaced.len();
        }
        if self.young_bytes > bound / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_stays_and_the_bound_holds() {
        let warm = Warm::new(20 * (ROW_COST + 1));
        let key = RowKey::program;
        for number in 0..1_000 {
            warm.put(key(number), Box::new([1]));
            assert_eq!(warm.get(&key(0)).as_deref(), Some(&[1][..]), "row 0 after {number}");
        }
        assert_eq!(warm.get(&key(500)), None);
        let generations = warm.generations();
        assert!(generations.young.len() + generations.old.len() <= 21);
    }

    #[test]
    fn a_row_that_is_put_again_replaces_the_old_one() {
        let warm = Warm::new(2 * (ROW_COST + 1));
        warm.put(RowKey::program(1), Box::new([1]));
        warm.put(RowKey::program(2), Box::new([1]));
        warm.put(RowKey::program(1), Box::new([2]));
        assert_eq!(warm.get(&RowKey::program(1)).as_deref(), Some(&[2][..]));
    }
}
