//! The published rule books, held in memory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;
use prost::Message;

use crate::{
    contract::{
        Violation,
        known_fields::{Fault, UnknownField},
        program, rule_book, v1,
    },
    domain::{Program, ProgramHistory, ProgramId, Request, RequestId, VoucherCodeKey},
    store::{Publication, StoreError},
};

use super::{Ledger, LedgerError, Published, Publisher};

/// All programmes. Read by everyone; versions are added by the writer alone.
pub(super) struct Programs {
    published: RwLock<BTreeMap<ProgramId, Arc<PublishedProgram>>>,
    /// The store's.
    voucher_codes: VoucherCodeKey,
    /// The latest time of a commit, in microseconds: what was in effect then may have been used. What was read alone was not.
    latest: AtomicI64,
}

pub(super) struct PublishedProgram {
    /// As it stood when it was last asked for.
    history: Arc<ProgramHistory>,
    /// By version, the first at 0.
    documents: Vec<Arc<Document>>,
}

struct Document {
    /// As published, without version and time.
    said: v1::Program,
    published_by: RequestId,
    /// Versions that waited and never take effect because of it.
    replaced: Vec<u32>,
}

/// What a newer version published is not held to without the half of it that this one does not know.
fn newer(publication: &Publication, field: &UnknownField) -> LedgerError {
    LedgerError::Store(StoreError::Newer(format!(
        "rule book {} version {}: it has {field}, which loyaltyd {} does not know: it was published with a newer version, and without it \
         points would be wrong. The journal and the keys were not changed. Use that version, or a newer one",
        publication.program,
        publication.version,
        env!("CARGO_PKG_VERSION")
    )))
}

impl Programs {
    /// `latest`: of all commits, if there are any.
    pub fn load(publications: Vec<Publication>, voucher_codes: VoucherCodeKey, latest: Option<Timestamp>) -> Result<Self, LedgerError> {
        let latest = AtomicI64::new(latest.map_or(i64::MIN, Timestamp::as_microsecond));
        let programs = Self { published: RwLock::new(BTreeMap::new()), voucher_codes, latest };
        // A request that said what the newest version says has no document.
        for publication in publications.into_iter().filter(|publication| !publication.document.is_empty()) {
            let damaged = |what: String| {
                let place = format!("rule book {} version {}", publication.program, publication.version);
                LedgerError::Store(StoreError::Damaged(format!("{place}: {what}")))
            };
            let document = rule_book::decode(&publication.document).map_err(|fault| match fault {
                Fault::Malformed => damaged("it is no rule book".to_owned()),
                Fault::Unknown(field) => newer(&publication, &field),
            })?;
            let parsed = program::parse(&document, publication.version, publication.publish_time)
                .map_err(|mistakes| damaged(format!("{mistakes:?}")))?;
            programs.add(parsed, document, publication.request.id);
        }
        Ok(programs)
    }

    /// Something was committed.
    pub fn was_used(&self, now: Timestamp) {
        self.latest.fetch_max(now.as_microsecond(), Ordering::SeqCst);
    }

    /// When a version is published that is published now: not before what has been in effect for a commit was to be, which it comes
    /// after though the clock was set back.
    fn publish_time(&self, history: &ProgramHistory, now: Timestamp) -> Timestamp {
        let latest = Timestamp::from_microsecond(self.latest.load(Ordering::SeqCst)).unwrap_or(now).max(now);
        let reached = history.in_effect_at(latest);
        if reached.newest().is_deferred() { reached.newest().takes_effect().max(now) } else { now }
    }

    /// As it stands at an instant.
    pub fn history(&self, program: &ProgramId, now: Timestamp) -> Option<Arc<ProgramHistory>> {
        let history = Arc::clone(&self.get(program)?.history);
        if history.is_in_effect_at(now) {
            return Some(history);
        }
        // Another version has taken effect, or the clock was set back.
        let mut programs = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let published = programs.get_mut(program)?;
        let history = Arc::new(published.history.in_effect_at(now));
        let (version, since) = (history.newest().version, history.newest().takes_effect());
        tracing::info!(%program, version, %since, "this version of the rule book is in effect");
        *published = Arc::new(PublishedProgram { history: Arc::clone(&history), documents: published.documents.clone() });
        Some(history)
    }

    fn get(&self, program: &ProgramId) -> Option<Arc<PublishedProgram>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).get(program).map(Arc::clone)
    }

    pub fn add(&self, parsed: Program, said: v1::Program, published_by: RequestId) {
        let mut programs = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let id = parsed.id.clone();
        let next = Arc::new(parsed);
        let published = match programs.get(&id) {
            Some(old) => {
                let history = old.history.in_effect_at(next.publish_time).with(Arc::clone(&next));
                let document = Arc::new(Document { said, published_by, replaced: replaced(&old.history, &next) });
                PublishedProgram { history: Arc::new(history), documents: old.documents.iter().cloned().chain([document]).collect() }
            }
            None => {
                let history = ProgramHistory::new(next).with_voucher_codes(self.voucher_codes.clone());
                let document = Arc::new(Document { said, published_by, replaced: Vec::new() });
                PublishedProgram { history: Arc::new(history), documents: vec![document] }
            }
        };
        programs.insert(id, Arc::new(published));
    }

    /// With the versions that wait, the next one first.
    fn document(&self, program: &ProgramId, version: Option<u32>, now: Timestamp) -> Result<Shown, LedgerError> {
        let published = self.get(program).ok_or_else(|| LedgerError::ProgramNotFound { program: program.clone() })?;
        let history = published.history.in_effect_at(now);
        let parsed = match version {
            None => history.newest(),
            Some(version) => history.version(version).ok_or(LedgerError::VersionNotFound { version })?,
        };
        Ok((published.show(parsed), history.waiting().cloned().collect()))
    }

    /// The first answer to a request that published, or found published, a version.
    pub fn published(&self, program: &ProgramId, version: u32, request: &RequestId) -> Result<Published, LedgerError> {
        let published = self.get(program).ok_or_else(|| LedgerError::ProgramNotFound { program: program.clone() })?;
        let parsed = published.history.version(version).ok_or(LedgerError::VersionNotFound { version })?;
        let found = published.document(parsed);
        let changed = found.published_by == *request;
        let replaced = if changed { found.replaced.clone() } else { Vec::new() };
        Ok(Published { document: published.show(parsed), changed, replaced })
    }

    /// The request that published a version, and the versions that waited and never take effect because of it.
    pub fn publication(&self, program: &ProgramId, version: u32) -> Result<(RequestId, Vec<u32>), LedgerError> {
        let place = usize::try_from(version).ok().and_then(|version| version.checked_sub(1));
        let document = self.get(program).zip(place).and_then(|(published, place)| published.documents.get(place).cloned());
        let document = document.ok_or(LedgerError::VersionNotFound { version })?;
        Ok((document.published_by.clone(), document.replaced.clone()))
    }

    /// Checks a rule book as the next version of its programme. `Err` names every mistake. `replace`: versions that wait and would take effect
    /// with it or after it make room.
    pub fn draft(&self, document: &v1::Program, now: Timestamp, replace: bool) -> Result<Draft, LedgerError> {
        let said = bare(document);
        let published = ProgramId::new(&said.program_id).ok().and_then(|id| self.get(&id));
        let publish_time = published.as_ref().map_or(now, |published| self.publish_time(&published.history, now));
        let history = published.as_ref().map(|published| published.history.in_effect_at(publish_time));
        let (published, history) = (published.as_deref(), history.as_ref());
        if let Some((published, history)) = published.zip(history)
            && let Some(program) = published.says(history, &said, replace)
        {
            return Ok(Draft::Unchanged { document: published.show(program), program: Arc::clone(program) });
        }
        let version = history.map_or(1, |history| history.last().version + 1);
        let parsed = program::parse(&said, version, publish_time).map_err(LedgerError::ProgramInvalid)?;
        let replaced = history.map_or_else(Vec::new, |history| replaced(history, &parsed));
        let waiting = history.map_or(0, |history| history.waiting().len() - replaced.len());
        let mut mistakes = program::check_effective_time(&parsed, waiting);
        if let Some(history) = history {
            let before = history.with(Arc::new(parsed.clone())).in_effect_at(parsed.takes_effect()).before_newest();
            mistakes.append(&mut program::check_successor(before.newest(), &parsed));
        }
        invalid(mistakes)?;
        if let Some(first) = replaced.first().and_then(|first| history?.version(*first))
            && !replace
        {
            return Err(LedgerError::VersionWaiting { version: first.version, effective_time: first.takes_effect() });
        }
        Ok(Draft::Next { parsed: Box::new(parsed), document: said, replaced })
    }
}

/// A rule book as published, with version and time; and the versions of its programme that wait.
pub type Shown = (v1::Program, Vec<Arc<Program>>);

fn invalid(mistakes: Vec<Violation>) -> Result<(), LedgerError> {
    if mistakes.is_empty() { Ok(()) } else { Err(LedgerError::ProgramInvalid(mistakes)) }
}

/// Versions that wait and never take effect if another one is published, the first one first.
fn replaced(history: &ProgramHistory, next: &Program) -> Vec<u32> {
    let history = history.in_effect_at(next.publish_time);
    let waiting = history.waiting().filter(|waiting| waiting.takes_effect() >= next.takes_effect());
    waiting.map(|waiting| waiting.version).collect()
}

/// A rule book that was checked.
pub(super) enum Draft {
    /// This version says the same. The document has its version and time.
    Unchanged { program: Arc<Program>, document: v1::Program },
    Next {
        parsed: Box<Program>,
        document: v1::Program,
        /// Versions that wait and never take effect because of it.
        replaced: Vec<u32>,
    },
}

impl Draft {
    pub fn published(&self) -> Published {
        match self {
            Draft::Unchanged { document, .. } => Published { document: document.clone(), changed: false, replaced: Vec::new() },
            Draft::Next { parsed, document, replaced } => {
                Published { document: shown(document, parsed), changed: true, replaced: replaced.clone() }
            }
        }
    }
}

impl Draft {
    /// What is stored of it. A document that changes nothing is not stored again, but its request is.
    pub fn publication(&self, request: Request, by: Publisher) -> Publication {
        let (program, document) = match self {
            Draft::Unchanged { program, .. } => (&**program, Vec::new()),
            Draft::Next { parsed, document, .. } => (&**parsed, document.encode_to_vec()),
        };
        Publication {
            program: program.id.clone(),
            version: program.version,
            publish_time: program.publish_time,
            request,
            actor: by.actor,
            principal: by.principal,
            document,
        }
    }
}

impl PublishedProgram {
    fn document(&self, program: &Program) -> &Document {
        let index = usize::try_from(program.version).expect("versions are counted from 1") - 1;
        &self.documents[index]
    }

    fn show(&self, program: &Program) -> v1::Program {
        shown(&self.document(program).said, program)
    }

    /// The version that says the same already: the last one, word for word, or the one that is in effect, which need not say again since when.
    /// Where what waits is to be replaced, the one in effect is published anew to take its place.
    fn says<'a>(&self, history: &'a ProgramHistory, said: &v1::Program, replace: bool) -> Option<&'a Arc<Program>> {
        let (last, newest) = (history.last(), history.newest());
        if self.document(last).said == *said {
            return Some(last);
        }
        let in_effect = &self.document(newest).said;
        let undated = v1::Program { effective_time: said.effective_time.or(in_effect.effective_time), ..said.clone() };
        (undated == *in_effect && (history.waiting().len() == 0 || !replace)).then_some(newest)
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
    /// As it stands now.
    pub fn program(&self, program: &ProgramId) -> Result<Arc<ProgramHistory>, LedgerError> {
        self.program_at(program, self.now())
    }

    pub(super) fn program_at(&self, program: &ProgramId, now: Timestamp) -> Result<Arc<ProgramHistory>, LedgerError> {
        self.0.programs.history(program, now).ok_or_else(|| LedgerError::ProgramNotFound { program: program.clone() })
    }

    pub fn has_program(&self, program: &ProgramId) -> bool {
        self.0.programs.published.read().unwrap_or_else(PoisonError::into_inner).contains_key(program)
    }

    /// All programmes, by id.
    pub fn programs(&self) -> Vec<ProgramId> {
        self.0.programs.published.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A rule book as published, with version and time; `None` is the version in effect. With the versions that will take effect, the next one
    /// first, as things stand at the same instant.
    pub fn document(&self, program: &ProgramId, version: Option<u32>) -> Result<Shown, LedgerError> {
        self.0.programs.document(program, version, self.now())
    }

    /// What publishing would do now; publishes nothing.
    pub fn validate(&self, document: &v1::Program) -> Result<Published, LedgerError> {
        Ok(self.0.programs.draft(document, self.now(), false)?.published())
    }
}
