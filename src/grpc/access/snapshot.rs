//! One reading of the access file, in the form in which calls are judged by it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use quick_cache::sync::Cache;

use super::{
    certificate::{CertificateName, PeerCertificate},
    issuer_keys::KeySet,
    key::{Hash, sha256},
    principal::{Principal, Rate},
    token::{self, Issuer, Verified},
};
use crate::{
    domain::PrincipalId,
    grpc::{request_memory::Holding, status::Refusal},
};

/// Tokens that were verified, so that this is done once for each.
const MAX_VERIFIED: usize = 10_000;

pub struct Snapshot {
    /// Another one for each reading.
    pub number: u64,
    pub keys: HashMap<Hash, ApiKey, foldhash::fast::RandomState>,
    pub certificates: HashMap<CertificateName, Arc<Principal>>,
    pub issuers: HashMap<String, Issuer>,
    pub rates: HashMap<PrincipalId, Arc<Rate>>,
    pub holdings: HashMap<PrincipalId, Arc<Holding>>,
    /// By the hash of the token, with the keys that it was verified by: when those are replaced it is verified again.
    verified: Cache<Hash, (Verified, Vec<Arc<KeySet>>)>,
}

pub struct ApiKey {
    pub principal: Arc<Principal>,
    pub end: Option<Timestamp>,
}

/// What a caller shows.
#[derive(Clone)]
pub struct Presented {
    pub bearer: Option<Bearer>,
    /// `Some(None)`: one that cannot be read.
    pub certificate: Option<Option<Arc<PeerCertificate>>>,
}

#[derive(Clone)]
pub enum Bearer {
    Key(Hash),
    Token(Arc<str>),
}

/// Whom a credential stands for, and until when.
pub struct Granted {
    pub principal: Arc<Principal>,
    pub end: Option<Timestamp>,
}

impl Snapshot {
    /// An empty one.
    pub fn empty() -> Self {
        static READINGS: AtomicU64 = AtomicU64::new(0);
        Self {
            number: READINGS.fetch_add(1, Ordering::Relaxed),
            keys: HashMap::default(),
            certificates: HashMap::new(),
            issuers: HashMap::new(),
            rates: HashMap::new(),
            holdings: HashMap::new(),
            verified: Cache::new(MAX_VERIFIED),
        }
    }

    /// A bearer goes before a certificate, which may be the machine's while the bearer is the program's; but where both stand for a
    /// principal it must be the same one, so that what was done is not put down to the wrong one.
    pub fn grant(&self, presented: &Presented, now: Timestamp) -> Result<Granted, Refusal> {
        let by_certificate = match &presented.certificate {
            Some(Some(certificate)) => self.by_certificate(certificate)?.map(|principal| (principal, certificate.end)),
            Some(None) | None => None,
        };
        let Some(bearer) = &presented.bearer else {
            let Some((principal, end)) = by_certificate else {
                return Err(match &presented.certificate {
                    Some(_) => Refusal::credential_invalid("the client certificate is of no principal of the access file"),
                    None => Refusal::credential_missing(),
                });
            };
            if now >= end {
                return Err(Refusal::credential_expired("client certificate"));
            }
            return Ok(Granted { principal, end: Some(end) });
        };
        let granted = match bearer {
            Bearer::Key(hash) => self.by_key(hash, now)?,
            Bearer::Token(token) => self.by_token(token, now)?,
        };
        match by_certificate {
            Some((other, _)) if other.id != granted.principal.id => Err(Refusal::credential_invalid(
                "the client certificate is of another principal than the `authorization`: call with one of both",
            )),
            Some(_) | None => Ok(granted),
        }
    }

    fn by_key(&self, hash: &Hash, now: Timestamp) -> Result<Granted, Refusal> {
        let key = self.keys.get(hash).ok_or_else(|| Refusal::credential_invalid("there is no such API key, or there is no more"))?;
        match key.end {
            Some(end) if now >= end => Err(Refusal::credential_expired("API key")),
            end => Ok(Granted { principal: Arc::clone(&key.principal), end }),
        }
    }

    fn by_token(&self, text: &str, now: Timestamp) -> Result<Granted, Refusal> {
        let hash = sha256(text.as_bytes());
        let keys = || self.issuers.values().map(|issuer| issuer.keys.current()).collect::<Vec<_>>();
        let is_current = |known: &[Arc<KeySet>]| {
            known.len() == self.issuers.len()
                && self.issuers.values().zip(known).all(|(issuer, known)| Arc::ptr_eq(&issuer.keys.current(), known))
        };
        let verified = match self.verified.get(&hash) {
            Some((verified, known)) if is_current(&known) => {
                verified.check(now)?;
                verified
            }
            Some(_) | None => {
                let before = keys();
                let verified = token::verify(&self.issuers, text, now)?;
                self.verified.insert(hash, (verified.clone(), before));
                verified
            }
        };
        Ok(Granted { principal: verified.principal, end: Some(verified.end) })
    }

    /// `None`: it is nobody's.
    fn by_certificate(&self, certificate: &PeerCertificate) -> Result<Option<Arc<Principal>>, Refusal> {
        let mut found: Option<&Arc<Principal>> = None;
        for principal in certificate.names.iter().filter_map(|name| self.certificates.get(name)) {
            if found.is_some_and(|found| found.id != principal.id) {
                return Err(Refusal::credential_invalid("the client certificate's names are of more than one principal"));
            }
            found = Some(principal);
        }
        Ok(found.map(Arc::clone))
    }
}
