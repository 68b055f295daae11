//! The caller of the call that is being answered. It goes with the task.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::futures::TaskLocalFuture;

use super::{
    Access, LONGEST_WAIT,
    complaints::Refused,
    everybody::Everybody,
    principal::{Principal, Rate},
    roles::{About, Row},
    snapshot::{Granted, Presented},
};
use crate::{
    domain::PrincipalId,
    grpc::{request_memory::Holding, status::Refusal},
};

/// Between two looks whether a credential has ended: the clock that says so may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

tokio::task_local! {
    static CALLER: Caller;
}

/// Who calls. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Who);

#[derive(Clone)]
enum Who {
    /// As often as they like.
    Anyone,
    /// One of those who are not authenticated, with what is called, and from where.
    OneOf(Arc<Everybody>, (&'static str, Option<SocketAddr>)),
    Known(Known),
}

#[derive(Clone)]
struct Known {
    access: Arc<Access>,
    principal: Arc<Principal>,
    presented: Presented,
    row: Option<&'static Row>,
    from: Option<SocketAddr>,
    /// Of the credential.
    end: Option<jiff::Timestamp>,
    /// The reading of the access file that it was judged by.
    reading: u64,
}

/// A call's answer, made with its caller known.
pub type Answer<F> = TaskLocalFuture<Caller, F>;

impl Caller {
    /// Whoever it is: callers are not authenticated, or the service is open to all.
    pub fn anyone() -> Self {
        Self(Who::Anyone)
    }

    /// One of all who are not authenticated.
    pub(super) fn one_of(everybody: &Arc<Everybody>, method: &'static str, from: Option<SocketAddr>) -> Self {
        Self(Who::OneOf(Arc::clone(everybody), (method, from)))
    }

    pub(super) fn is_known(&self) -> bool {
        self.known().is_some()
    }

    fn known(&self) -> Option<&Known> {
        match &self.0 {
            Who::Known(known) => Some(known),
            Who::Anyone | Who::OneOf(..) => None,
        }
    }

    /// `None`: as often as they like.
    fn rate(&self) -> Option<&Rate> {
        match &self.0 {
            Who::Anyone => None,
            Who::OneOf(everybody, _) => Some(&everybody.rate),
            Who::Known(known) => known.principal.rate.as_deref(),
        }
    }

    /// What the messages of its requests take; `None`: nothing tells such callers apart.
    pub fn holding(&self) -> Option<Arc<Holding>> {
        self.known().map(|known| Arc::clone(&known.principal.holding))
    }

    /// It calls too often. Such a refusal is in the log.
    fn too_often(&self, delay: Duration) -> Refusal {
        match &self.0 {
            // Who has no rate never does.
            Who::Anyone => unknown(),
            Who::OneOf(everybody, call) => everybody.too_often(delay, *call),
            Who::Known(known) => {
                let per_second = known.principal.rate.as_ref().map_or(0, |rate| rate.per_second.get());
                known.complain(Refusal::rate_limited(&known.principal.id, per_second, delay))
            }
        }
    }

    /// `call`: what is called, and from where.
    pub(super) fn authenticated(
        access: &Arc<Access>,
        presented: Presented,
        call: (Option<&'static Row>, Option<SocketAddr>),
    ) -> Result<Self, Refusal> {
        let snapshot = access.snapshot();
        let Granted { principal, end } = snapshot.grant(&presented, access.clock.now())?;
        let (access, (row, from)) = (Arc::clone(access), call);
        Ok(Self(Who::Known(Known { access, principal, presented, row, from, end, reading: snapshot.number })))
    }

    pub(super) fn check_rate(&self) -> Result<(), Refusal> {
        self.rate().map_or(Ok(()), Rate::take).map_err(|delay| self.too_often(delay))
    }

    pub(super) fn check_role(&self) -> Result<(), Refusal> {
        let Some(known @ Known { row: Some(row), .. }) = self.known() else { return Ok(()) };
        known.check(|principal| {
            principal.check_role(row)?;
            match row.about {
                About::Everything => principal.check_everything(),
                About::Named | About::NoProgram => Ok(()),
            }
        })
    }

    /// Between two messages of a stream: the credential may have ended, been withdrawn or got other rights.
    pub fn renew(&mut self) -> Result<(), Refusal> {
        let Who::Known(known) = &mut self.0 else { return Ok(()) };
        let (snapshot, now) = (known.access.snapshot(), known.access.clock.now());
        if snapshot.number == known.reading && known.end.is_none_or(|end| now < end) {
            return Ok(());
        }
        let Granted { principal, end } = snapshot.grant(&known.presented, now).map_err(|refusal| known.complain(refusal))?;
        (known.principal, known.end, known.reading) = (principal, end, snapshot.number);
        self.check_role()
    }

    /// The same before each message of a stream, which counts as a call: who sends faster than allowed is read more slowly.
    pub async fn next_message(&mut self) -> Result<(), Refusal> {
        loop {
            self.renew()?;
            let Some(rate) = self.rate() else { return Ok(()) };
            match rate.take() {
                Ok(()) => return Ok(()),
                Err(delay) => tokio::time::sleep(delay.min(LONGEST_WAIT)).await,
            }
        }
    }

    /// Returns when the credential has ended or is withdrawn, for a stream that may go on without a message; of whoever it is never.
    pub async fn withdrawn(mut self) -> Refusal {
        let Some(known) = self.known() else { return std::future::pending().await };
        let (access, mut readings) = (Arc::clone(&known.access), known.access.readings.subscribe());
        loop {
            if let Err(refusal) = self.renew() {
                return refusal;
            }
            let end = self.known().and_then(|known| known.end);
            let left = end.map(|end| Duration::try_from(end.duration_since(access.clock.now())).unwrap_or_default());
            tokio::select! {
                // It cannot fail: the sender lives in what is held here.
                _ = readings.changed() => {}
                () = tokio::time::sleep(left.unwrap_or(LONGEST_SLEEP).clamp(SHORTEST_SLEEP, LONGEST_SLEEP)) => {}
            }
        }
    }

    /// Answers the call as this caller's.
    pub fn answer<F: Future>(self, answer: F) -> Answer<F> {
        CALLER.scope(self, answer)
    }

    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        CALLER.sync_scope(self.clone(), work)
    }

    fn principal(&self) -> Option<&Arc<Principal>> {
        self.known().map(|known| &known.principal)
    }
}

impl Known {
    /// What is refused to a principal is in the log.
    fn check(&self, check: impl FnOnce(&Principal) -> Result<(), Refusal>) -> Result<(), Refusal> {
        check(&self.principal).map_err(|refusal| self.complain(refusal))
    }

    fn complain(&self, refusal: Refusal) -> Refusal {
        let method = self.row.map_or("", |row| row.method);
        self.access.complain(refusal, &Refused { principal: Some(&self.principal.id), method, from: self.from })
    }
}

/// Of the call that is being answered; what is nobody's is refused to nobody.
fn check(check: impl FnOnce(&Principal) -> Result<(), Refusal>) -> Result<(), Refusal> {
    CALLER.try_with(|caller| caller.known().map_or(Ok(()), |known| known.check(check))).unwrap_or_else(|_| Err(unknown()))
}

/// Of the call that is being answered. Where nobody knows it, nobody is let through.
pub fn current() -> Result<Caller, Refusal> {
    CALLER.try_with(Caller::clone).map_err(|_| unknown())
}

fn unknown() -> Refusal {
    Refusal::internal(&"a call is answered by a task that does not know its caller")
}

/// Refuses a programme that is not the caller's.
pub fn check_program(program: &str) -> Result<(), Refusal> {
    check(|principal| principal.check_program(program))
}

/// The same of a list, of which only what is the caller's is shown.
pub fn allows(program: &str) -> bool {
    CALLER.try_with(|caller| caller.principal().is_none_or(|principal| principal.allows(program))).unwrap_or(false)
}

pub fn check_adjustment(points: i64) -> Result<(), Refusal> {
    check(|principal| principal.check_adjustment(points))
}

/// A call that does the work of several counts as so many: those above the first, which was counted when it came in.
pub async fn count_more(calls: usize) -> Result<(), Refusal> {
    let caller = current()?;
    let Some(rate) = caller.rate() else { return Ok(()) };
    rate.take_many(u32::try_from(calls).unwrap_or(u32::MAX)).await.map_err(|delay| caller.too_often(delay))
}

/// What the caller does is done by hand, so that it has to say by whom: it is neither a till nor a shop. Where callers are not authenticated
/// nobody knows.
pub fn must_name_actor() -> bool {
    CALLER.try_with(|caller| caller.principal().is_some_and(|principal| !principal.serves_members())).unwrap_or(false)
}

/// Whom what is entered is put down to; `None`: callers are not authenticated.
pub fn principal() -> Option<PrincipalId> {
    CALLER.try_with(|caller| caller.principal().map(|principal| principal.id.clone())).ok().flatten()
}
