//! Administrative acts, as an audit asks for them.

use std::sync::Arc;

use crate::{
    domain::{MemberKey, Program, ProgramHistory, ProgramId, Rejection, RequestId},
    store::{ActOf, ActPlace, FoundAct, RecordedIn},
};

use super::{Ledger, LedgerError, Listed};

/// The whole of an administrative act.
pub enum RecordedAct {
    Entry(Box<Listed>),
    /// With the versions that waited and never take effect because of it.
    Publication {
        program: Arc<Program>,
        request: RequestId,
        replaced: Vec<u32>,
    },
}

impl Ledger {
    /// Administrative acts of a programme, the newest first, those behind `after`.
    pub fn acts(
        &self,
        program: &ProgramId,
        recorded: RecordedIn,
        after: Option<ActPlace>,
        limit: usize,
    ) -> Result<Vec<FoundAct>, LedgerError> {
        Ok(self.0.store.acts(program, recorded, after, limit)?)
    }

    /// What is recorded of one.
    pub fn act(&self, program: &ProgramId, history: &ProgramHistory, act: &FoundAct) -> Result<RecordedAct, LedgerError> {
        match &act.of {
            ActOf::Entry { entry, .. } => {
                let key = MemberKey { program: program.clone(), member: entry.member };
                let found = self.0.store.entries(&key, entry.sequence, entry.sequence)?.pop().ok_or(Rejection::MemberNotFound)?;
                Ok(RecordedAct::Entry(Box::new(Listed { entry: found, is_recorded: true })))
            }
            ActOf::Publication { version } => {
                let published = history.version(*version).ok_or(LedgerError::VersionNotFound { version: *version })?;
                let (request, replaced) = self.0.programs.publication(program, *version)?;
                Ok(RecordedAct::Publication { program: Arc::clone(published), request, replaced })
            }
        }
    }
}
