//! Who calls, and what they may do.
//!
//! Credential and role are judged before a message is read, where a call comes in ([`Door::admit`]); the programme where each handler names
//! it ([`check_program`]), for it stands in the message. In between the caller goes with the task that answers, so that no handler has to
//! hand it on; a task that a handler spawns takes along the [`Caller`] that [`current`] gives.

mod caller;
mod certificate;
mod complaints;
mod document;
mod everybody;
mod issuer_keys;
pub mod key;
mod principal;
pub mod roles;
mod snapshot;
mod token;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{Request, header::AUTHORIZATION};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tonic::transport::server::TcpConnectInfo;

use super::{calls::method_name, connections::Standing, status::Refusal, whoever::ForWhoever};
use crate::{contract::Violation, ledger::Clock};

use certificate::Certificates;
use complaints::{Complaints, Refused};
use everybody::Everybody;
use snapshot::{Bearer, Presented, Snapshot};

pub use caller::Caller;
pub(super) use caller::{Answer, allows, check_adjustment, check_program, count_more, current, must_name_actor, principal};
pub use document::MAX_BYTES as MAX_FILE_BYTES;

/// The access file as it was read last, and what comes with it.
pub struct Access {
    clock: Arc<dyn Clock>,
    current: RwLock<Arc<Snapshot>>,
    /// Calls in a second of principals of whom the file says none; `None`: as many as they like.
    usual: Option<NonZeroU32>,
    certificates: Certificates,
    complaints: Complaints,
    /// Keys of an issuer are to be read again.
    keys_wanted: Notify,
    /// Told of each text that was taken.
    readings: watch::Sender<()>,
}

impl Access {
    /// Reads the text of an access file, and the files of keys that it names. `Err` names every mistake. The clock is that of the machine,
    /// by which credentials end; a sandbox's can be set.
    pub fn open(text: &str, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Vec<Violation>> {
        Self::open_limited(text, clock, None)
    }

    /// With so many calls in a second for each principal of whom the file says no number.
    pub fn open_limited(text: &str, clock: Arc<dyn Clock>, usual: Option<NonZeroU32>) -> Result<Arc<Self>, Vec<Violation>> {
        let snapshot = document::read(text, None, usual)?;
        Ok(Arc::new(Self {
            clock,
            current: RwLock::new(Arc::new(snapshot)),
            usual,
            certificates: Certificates::default(),
            complaints: Complaints::default(),
            keys_wanted: Notify::new(),
            readings: watch::Sender::new(()),
        }))
    }

    /// Takes another text in its place, for calls that come and streams that go on. `Err`: the one before stays.
    pub fn replace(&self, text: &str) -> Result<(), Vec<Violation>> {
        let next = document::read(text, Some(&self.snapshot()), self.usual)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.keys_wanted.notify_one();
        self.readings.send_replace(());
        Ok(())
    }

    /// How many API keys, names of certificates and issuers of tokens there are, for the log.
    pub fn counts(&self) -> (usize, usize, usize) {
        let snapshot = self.snapshot();
        (snapshot.keys.len(), snapshot.certificates.len(), snapshot.issuers.len())
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys of issuers when it is time, for as long as it is polled.
    pub async fn keep_keys(&self) {
        let mut looks = tokio::time::interval(issuer_keys::LOOK_EVERY);
        let mut reads = JoinSet::new();
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.keys_wanted.notified() => {}
                // One that does not answer keeps nobody from reading the keys of others.
                Some(_) = reads.join_next() => {}
            }
            for issuer in self.snapshot().issuers.values() {
                if let Some(look) = issuer.keys.look() {
                    let name = issuer.name.clone();
                    reads.spawn(async move { look.read(&name).await });
                }
            }
        }
    }

    /// What a call shows of its caller.
    fn presented<B>(&self, request: &Request<B>) -> Result<Presented, Refusal> {
        let mut given = request.headers().get_all(AUTHORIZATION).iter();
        let bearer = given.next().map(|value| bearer(value.as_bytes())).transpose()?;
        if given.next().is_some() {
            return Err(Refusal::credential_invalid("`authorization` is given more than once"));
        }
        Ok(Presented { bearer, certificate: self.certificates.of(request.extensions()) })
    }

    /// Says in the log that a call was refused.
    fn complain(&self, refusal: Refusal, call: &Refused<'_>) -> Refusal {
        self.complaints.say(&refusal, call);
        refusal
    }
}

/// The scheme is in any case, as HTTP has it; what follows is not.
fn bearer(value: &[u8]) -> Result<Bearer, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| Refusal::credential_invalid("`authorization` is not text"))?;
    let wrong_scheme = || Refusal::credential_invalid("`authorization` is not `Bearer` followed by an API key or a token");
    let (scheme, credential) = text.split_once(' ').ok_or_else(wrong_scheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong_scheme());
    }
    let credential = credential.trim_matches(' ');
    if !credential.starts_with(key::PREFIX) {
        return Ok(Bearer::Token(credential.into()));
    }
    if !key::is_whole(credential) {
        return Err(Refusal::credential_invalid(key::NOT_WHOLE));
    }
    Ok(Bearer::Key(key::sha256(credential.as_bytes())))
}

/// Who is let in to which services.
#[derive(Clone)]
pub enum Door {
    /// Callers are not authenticated. `Some`: what they may do together in a second is bounded.
    Open(Option<Arc<Everybody>>),
    Guarded(Guard),
}

#[derive(Clone)]
pub struct Guard {
    pub access: Arc<Access>,
    /// Reflection and health answer whoever asks.
    pub is_reflection_open: bool,
    pub is_health_open: bool,
}

impl Guard {
    fn is_open(&self, call: ForWhoever) -> bool {
        match call {
            ForWhoever::Check | ForWhoever::Watch => self.is_health_open,
            ForWhoever::Reflection => self.is_reflection_open,
        }
    }
}

impl Door {
    /// Callers are not authenticated; `None`: they call as often as they like.
    pub fn open_to_all(requests_per_second: Option<NonZeroU32>) -> Self {
        Self::Open(requests_per_second.map(|per_second| Arc::new(Everybody::new(per_second))))
    }

    /// It is nobody from the street, who may ask for health or reflection. Where callers are not authenticated everybody is known.
    pub(super) fn knows(&self, caller: &Caller) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Guarded(_) => caller.is_known(),
        }
    }

    /// Judges a call before it is read.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<Caller, Refusal> {
        match self {
            Self::Open(everybody) => admit_anyone(everybody.as_ref(), request),
            Self::Guarded(guard) => guard.admit(request),
        }
    }
}

/// A probe that is told to come back because tills have much to do would have the service restarted: health and reflection have bounds of
/// their own.
fn admit_anyone<B>(everybody: Option<&Arc<Everybody>>, request: &Request<B>) -> Result<Caller, Refusal> {
    let path = request.uri().path();
    let Some(everybody) = everybody.filter(|_| ForWhoever::of(path).is_none()) else { return Ok(Caller::anyone()) };
    let caller = Caller::one_of(everybody, method_name(path), peer(request));
    caller.check_rate()?;
    Ok(caller)
}

fn peer<B>(request: &Request<B>) -> Option<SocketAddr> {
    request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr)
}

impl Guard {
    fn admit<B>(&self, request: &Request<B>) -> Result<Caller, Refusal> {
        let path = request.uri().path();
        let for_whoever = ForWhoever::of(path);
        if for_whoever.is_some_and(|call| self.is_open(call)) {
            return Ok(Caller::anyone());
        }
        let (access, standing, from) = (&self.access, request.extensions().get::<Arc<Standing>>(), peer(request));
        let turn_away = |refusal: Refusal| {
            // Such calls count against their connection.
            if let Some(standing) = standing
                && refusal.is_of_credential()
            {
                standing.refused();
            }
            access.complain(refusal, &Refused { principal: None, method: method_name(path), from })
        };
        let row = roles::row_of(path);
        let presented = access.presented(request).map_err(turn_away)?;
        let caller = Caller::authenticated(access, presented, (row, from)).map_err(|refusal| {
            if refusal.reason() == "ISSUER_KEYS_AWAITED" {
                access.keys_wanted.notify_one();
            }
            turn_away(refusal)
        })?;
        if let Some(standing) = standing {
            standing.accepted();
        }
        caller.check_rate()?;
        if row.is_none() && for_whoever.is_none() {
            return Err(Refusal::unknown_method());
        }
        caller.check_role()?;
        Ok(caller)
    }
}

/// How long a stream's caller that is over its rate waits before it is looked at again, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
