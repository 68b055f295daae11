//! Numbers of programmes: keys of rows are shorter with them.

use std::{collections::HashMap, sync::RwLock};

use super::{
    rows::{Change, ProgramNumber, RowKey},
    view::View,
};
use crate::{
    domain::ProgramId,
    store::{StoreError, embedded::decode},
};

/// In the order in which the journal first names them, so that a replay gives the same numbers.
#[derive(Default)]
pub(super) struct Programs(RwLock<Known>);

#[derive(Default)]
struct Known {
    numbers: HashMap<ProgramId, ProgramNumber>,
    names: Vec<ProgramId>,
}

impl Programs {
    pub(super) fn load(view: &View<'_>) -> Result<Self, StoreError> {
        let mut known = Known::default();
        let (from, to) = RowKey::programs();
        for row in view.scan(from, to) {
            let (key, name) = row?;
            let name = std::str::from_utf8(&name).map_err(|_| decode::Malformed("program_id"))?;
            if key.program_number() != Some(known.next_number()) {
                return Err(StoreError::Tables("the numbers of programmes have a gap".to_owned()));
            }
            known.add(decode::program_id(name)?);
        }
        Ok(Self(RwLock::new(known)))
    }

    /// `None`: nothing of this programme is stored.
    pub(super) fn number(&self, program: &ProgramId) -> Option<ProgramNumber> {
        self.0.read().expect("nobody panics while holding the programmes").numbers.get(program).copied()
    }

    pub(super) fn name(&self, number: ProgramNumber) -> Option<ProgramId> {
        let known = self.0.read().expect("nobody panics while holding the programmes");
        known.names.get((number as usize).checked_sub(1)?).cloned()
    }

    /// Gives a number to a programme that has none yet, with its row.
    pub(super) fn number_or_new(&self, program: &ProgramId, changes: &mut Vec<Change>) -> ProgramNumber {
        if let Some(number) = self.number(program) {
            return number;
        }
        let number = self.0.write().expect("nobody panics while holding the programmes").add(program.clone());
        changes.push((RowKey::program(number), Some(program.as_str().as_bytes().into())));
        number
    }
}

impl Known {
    fn next_number(&self) -> ProgramNumber {
        u32::try_from(self.names.len() + 1).expect("a store has less than 2^32 programmes")
    }

    fn add(&mut self, program: ProgramId) -> ProgramNumber {
        let number = self.next_number();
        self.numbers.insert(program.clone(), number);
        self.names.push(program);
        number
    }
}
