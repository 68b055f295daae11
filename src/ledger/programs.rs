//! The published rule books, held in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use prost::Message;

use crate::{
    contract::{program, v1},
    domain::{Program, ProgramHistory, ProgramId, Request, RequestId, VoucherCodeKey},
    store::{Publication, StoreError},
};

use super::{Ledger, LedgerError, Published};

/// All programmes. Read by everyone, changed by the writer alone.
pub(super) struct Programs {
    published: RwLock<BTreeMap<ProgramId, Arc<PublishedProgram>>>,
    /// The store's.
    voucher_codes: VoucherCodeKey,
}

pub(super) struct PublishedProgram {
    history: Arc<ProgramHistory>,
    /// By version, the first at 0.
    documents: Vec<Document>,
}

#[derive(Clone)]
struct Document {
    /// As published, without version and time.
    said: v1::Program,
    published_by: RequestId,
}

impl Programs {
    pub fn load(publications: Vec<Publication>, voucher_codes: VoucherCodeKey) -> Result<Self, LedgerError> {
        let programs = Self { published: RwLock::new(BTreeMap::new()), voucher_codes };
        // A request that said what the newest version says has no document.
        for publication in publications.into_iter().filter(|publication| !publication.document.is_empty()) {
            let damaged = |what: String| {
                let place = format!("rule book {} version {}", publication.program, publication.version);
                LedgerError::Store(StoreError::Damaged(format!("{place}: {what}")))
            };
            let document = v1::Program::decode(&*publication.document).map_err(|error| damaged(error.to_string()))?;
            let parsed = program::parse(&document, publication.version, publication.publish_time)
                .map_err(|mistakes| damaged(format!("{mistakes:?}")))?;
            programs.add(parsed, document, publication.request.id);
        }
        Ok(programs)
    }

    pub fn history(&self, program: &ProgramId) -> Option<Arc<ProgramHistory>> {
        self.get(program).map(|published| Arc::clone(&published.history))
    }

    fn get(&self, program: &ProgramId) -> Option<Arc<PublishedProgram>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).get(program).map(Arc::clone)
    }

    pub fn add(&self, parsed: Program, said: v1::Program, published_by: RequestId) {
        let mut programs = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let id = parsed.id.clone();
        let next = Arc::new(parsed);
        let document = Document { said, published_by };
        let published = match programs.get(&id) {
            Some(old) => PublishedProgram {
                history: Arc::new(old.history.with(next)),
                documents: old.documents.iter().cloned().chain([document]).collect(),
            },
            None => {
                let history = ProgramHistory::new(next).with_voucher_codes(self.voucher_codes.clone());
                PublishedProgram { history: Arc::new(history), documents: vec![document] }
            }
        };
        programs.insert(id, Arc::new(published));
    }

    pub fn document(&self, program: &ProgramId, version: Option<u32>) -> Result<v1::Program, LedgerError> {
        let published = self.get(program).ok_or_else(|| LedgerError::ProgramNotFound { program: program.clone() })?;
        let parsed = match version {
            None => published.history.newest(),
            Some(version) => published.history.version(version).ok_or(LedgerError::VersionNotFound { version })?,
        };
        Ok(published.show(parsed))
    }

    /// The first answer to a request that published, or found published, a version.
    pub fn published(&self, program: &ProgramId, version: u32, request: &RequestId) -> Result<Published, LedgerError> {
        let document = self.document(program, Some(version))?;
        let index = usize::try_from(version).expect("versions are counted from 1") - 1;
        let changed = self.get(program).is_some_and(|published| published.documents[index].published_by == *request);
        Ok(Published { document, changed })
    }

    /// Checks a rule book as the next version of its programme. `Err` names every mistake.
    pub fn draft(&self, document: &v1::Program, publish_time: Timestamp) -> Result<Draft, LedgerError> {
        let said = bare(document);
        let newest = ProgramId::new(&said.program_id).ok().and_then(|id| self.get(&id));
        if let Some(newest) = &newest
            && newest.documents.last().is_some_and(|newest| newest.said == said)
        {
            let program = Arc::clone(newest.history.newest());
            return Ok(Draft::Unchanged { document: newest.show(&program), program });
        }
        let version = newest.as_ref().map_or(1, |newest| newest.history.newest().version + 1);
        let parsed = program::parse(&said, version, publish_time).map_err(LedgerError::ProgramInvalid)?;
        if let Some(newest) = &newest {
            let mistakes = program::check_successor(newest.history.newest(), &parsed);
            if !mistakes.is_empty() {
                return Err(LedgerError::ProgramInvalid(mistakes));
            }
        }
        Ok(Draft::Next { parsed: Box::new(parsed), document: said })
    }
}

/// A rule book that was checked.
pub(super) enum Draft {
    /// The newest version says the same. The document has its version and time.
    Unchanged {
        program: Arc<Program>,
        document: v1::Program,
    },
    Next {
        parsed: Box<Program>,
        document: v1::Program,
    },
}

impl Draft {
    pub fn published(&self) -> Published {
        match self {
            Draft::Unchanged { document, .. } => Published { document: document.clone(), changed: false },
            Draft::Next { parsed, document } => Published { document: shown(document, parsed), changed: true },
        }
    }
}

impl Draft {
    /// What is stored of it. A document that changes nothing is not stored again, but its request is.
    pub fn publication(&self, request: Request) -> Publication {
        let (program, document) = match self {
            Draft::Unchanged { program, .. } => (&**program, Vec::new()),
            Draft::Next { parsed, document } => (&**parsed, document.encode_to_vec()),
        };
        Publication { program: program.id.clone(), version: program.version, publish_time: program.publish_time, request, document }
    }
}

impl PublishedProgram {
    fn show(&self, program: &Program) -> v1::Program {
        let index = usize::try_from(program.version).expect("versions are counted from 1") - 1;
        shown(&self.documents[index].said, program)
    }
}

/// What the retailer said, without what the service says.
fn bare(document: &v1::Program) -> v1::Program {
    v1::Program { version: 0, publish_time: None, ..document.clone() }
}

fn shown(document: &v1::Program, program: &Program) -> v1::Program {
    let publish_time =
        prost_types::Timestamp { seconds: program.publish_time.as_second(), nanos: program.publish_time.subsec_nanosecond() };
    let version = i32::try_from(program.version).expect("versions are counted one by one");
    v1::Program { version, publish_time: Some(publish_time), ..document.clone() }
}

impl Ledger {
    pub fn program(&self, program: &ProgramId) -> Result<Arc<ProgramHistory>, LedgerError> {
        self.0.programs.history(program).ok_or_else(|| LedgerError::ProgramNotFound { program: program.clone() })
    }

    /// All programmes, by id.
    pub fn programs(&self) -> Vec<ProgramId> {
        self.0.programs.published.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A rule book as published, with version and time; `None` is the newest.
    pub fn document(&self, program: &ProgramId, version: Option<u32>) -> Result<v1::Program, LedgerError> {
        self.0.programs.document(program, version)
    }

    /// What publishing would do now; publishes nothing.
    pub fn validate(&self, document: &v1::Program) -> Result<Published, LedgerError> {
        Ok(self.0.programs.draft(document, self.now())?.published())
    }
}
