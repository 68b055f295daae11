//! The rows of programmes' totals, and what they say while the service runs. A row is in the same commit as the headers that it sums, so that
//! they are written together, or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use super::{
    Engine,
    check::Report,
    decode::{Decoded, Malformed},
    rows::{Change, ProgramNumber, RowKey},
    view::View,
};
use crate::store::{MemberChange, StoreError, Totals};

/// By itself: of a programme.
pub(super) const TOTALS: u8 = b'x';
/// Bytes of a number.
const NUMBER: usize = 16;

#[derive(Default)]
pub(super) struct RunningTotals(Mutex<Running>);

#[derive(Default)]
struct Running {
    totals: BTreeMap<ProgramNumber, Totals>,
    /// Those that have no row yet that says the same.
    turned: BTreeSet<ProgramNumber>,
}

impl RunningTotals {
    pub(super) fn load(view: &View<'_>) -> Result<Self, StoreError> {
        let mut totals = BTreeMap::new();
        for row in view.scan(RowKey::new(&[&[TOTALS]]), RowKey::new(&[&[TOTALS + 1]])) {
            let (key, row) = row?;
            totals.insert(key.program_number().ok_or(Malformed("the key of totals"))?, read_row(&row)?);
        }
        Ok(Self(Mutex::new(Running { totals, turned: BTreeSet::new() })))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().expect("nobody panics while holding the totals")
    }

    /// A member's change that goes into the commit that is being made.
    pub(super) fn turn(&self, number: ProgramNumber, change: &MemberChange) {
        let mut running = self.running();
        running.totals.entry(number).or_default().turn(&change.before, &change.after.header, &change.entries);
        running.turned.insert(number);
    }

    /// The rows of the programmes of which something was changed.
    pub(super) fn rows(&self, changes: &mut Vec<Change>) {
        let mut running = self.running();
        let Running { totals, turned } = &mut *running;
        for number in std::mem::take(turned) {
            let totals = totals.get(&number).copied().unwrap_or_default();
            changes.push((row(number), Some(row_bytes(&totals))));
        }
    }

    pub(super) fn get(&self) -> Vec<(ProgramNumber, Totals)> {
        self.running().totals.iter().map(|(number, totals)| (*number, *totals)).collect()
    }
}

impl Engine {
    /// Totals are what all headers of the programme come to. What was adjusted is in no header.
    pub(super) fn check_totals(&self, mut counted: BTreeMap<ProgramNumber, Totals>, report: &mut Report) {
        for (number, said) in self.totals.get() {
            let found =
                Totals { adjusted_up: said.adjusted_up, adjusted_down: said.adjusted_down, ..counted.remove(&number).unwrap_or_default() };
            if said != found {
                report.differ(&row(number), &format!("says {said:?}, and its members have {found:?}"));
            }
        }
        for (number, found) in counted {
            report.differ(&row(number), &format!("is missing, and its members have {found:?}"));
        }
    }
}

fn row(number: ProgramNumber) -> RowKey {
    RowKey::new(&[&[TOTALS], &number.to_be_bytes()])
}

fn row_bytes(totals: &Totals) -> Box<[u8]> {
    totals.numbers().iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn read_row(bytes: &[u8]) -> Decoded<Totals> {
    let (numbers, rest) = bytes.as_chunks::<NUMBER>();
    let numbers: Vec<i128> = numbers.iter().map(|number| i128::from_le_bytes(*number)).collect();
    let numbers = numbers.try_into().ok().filter(|_| rest.is_empty());
    numbers.map(Totals::from_numbers).ok_or(Malformed("a programme's totals"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedStore, Options};

    #[test]
    fn a_row_comes_back_as_it_was_and_nothing_else_is_one() {
        let totals = Totals::from_numbers(std::array::from_fn(|place| i128::from(i64::MAX) * 3 - place as i128));
        assert_eq!(read_row(&row_bytes(&totals)).ok(), Some(totals));
        let bytes = row_bytes(&totals);
        for wrong in [&bytes[..bytes.len() - 1], &bytes[NUMBER..], &[]] {
            assert!(read_row(wrong).is_err());
        }
        assert!(read_row(&[&bytes[..], &[0; NUMBER]].concat()).is_err());
    }

    #[test]
    fn a_check_sees_totals_that_are_not_those_of_the_members() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        let store = EmbeddedStore::open(folder.path(), options).expect("it opens");
        let (one, two) = (Totals { active: 1, ..Totals::default() }, Totals { active: 2, ..Totals::default() });
        store.engine.totals.running().totals.insert(1, one);
        let differences = |counted: &[(ProgramNumber, Totals)]| {
            let mut report = Report::default();
            store.engine.check_totals(counted.iter().copied().collect(), &mut report);
            report.differences
        };
        assert_eq!(differences(&[(1, one)]), Vec::<String>::new());
        for counted in [&[(1, two)][..], &[], &[(1, one), (2, two)]] {
            let told = differences(counted);
            assert!(matches!(told.as_slice(), [one] if one.starts_with("totals of a programme ")), "{told:?}");
        }
    }
}
