//! Who calls, and what they may do.

use std::{collections::HashSet, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock as _, MonotonicClock},
};

use tokio::sync::Semaphore;

use super::{
    LONGEST_WAIT,
    roles::{Role, Row},
};
use crate::{
    domain::PrincipalId,
    grpc::{request_memory::Holding, status::Refusal},
};

/// Where it cannot be told better.
const COME_BACK: Duration = Duration::from_secs(1);

/// A principal of the access file.
#[derive(Debug)]
pub struct Principal {
    pub id: PrincipalId,
    pub roles: Vec<Role>,
    pub programs: Programs,
    /// Most points of one adjustment, given or taken; `None`: as many as the programme allows.
    pub adjustment_points: Option<u64>,
    pub rate: Option<Arc<Rate>>,
    pub holding: Arc<Holding>,
}

#[derive(Debug)]
pub enum Programs {
    All,
    These(HashSet<String>),
}

/// How often a principal may call, with what it has used of that. A second's worth may come at once.
#[derive(Debug)]
pub struct Rate {
    pub per_second: NonZeroU32,
    limiter: DefaultDirectRateLimiter,
    /// Of whom waits for many calls at a time.
    turn: Semaphore,
}

impl Rate {
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { per_second, limiter: DefaultDirectRateLimiter::direct(Quota::per_second(per_second)), turn: Semaphore::new(1) }
    }

    /// Takes one call; `Err`: how long until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        self.take_at_once(NonZeroU32::MIN)
    }

    fn take_at_once(&self, calls: NonZeroU32) -> Result<(), Duration> {
        match self.limiter.check_n(calls) {
            Ok(taken) => taken.map_err(|not_until| not_until.wait_time_from(MonotonicClock.now()).max(Duration::from_millis(1))),
            // More than ever come at once.
            Err(_) => Err(COME_BACK),
        }
    }

    /// Takes as many, and waits for them as long as it takes: what has a second's worth and more cannot come at once. One at a time waits, so
    /// that such calls do not gather in memory; others are told to come back.
    pub async fn take_many(&self, mut calls: u32) -> Result<(), Duration> {
        let Some(all) = NonZeroU32::new(calls) else { return Ok(()) };
        if self.take_at_once(all).is_ok() {
            return Ok(());
        }
        let Ok(_turn) = self.turn.try_acquire() else { return Err(COME_BACK) };
        while let Some(part) = NonZeroU32::new(calls.min(self.per_second.get())) {
            match self.take_at_once(part) {
                Ok(()) => calls -= part.get(),
                Err(delay) => tokio::time::sleep(delay.min(LONGEST_WAIT)).await,
            }
        }
        Ok(())
    }
}

impl Principal {
    pub fn check_role(&self, row: &Row) -> Result<(), Refusal> {
        if self.roles.iter().any(|role| row.roles.contains(role)) {
            Ok(())
        } else {
            Err(Refusal::role_missing(row.method, &self.id, row.names()))
        }
    }

    /// It sells, or members do things for themselves with it.
    pub fn serves_members(&self) -> bool {
        self.roles.iter().any(|role| match role {
            Role::Pos | Role::Storefront => true,
            Role::Support | Role::Manager | Role::Operator => false,
        })
    }

    pub fn allows(&self, program: &str) -> bool {
        match &self.programs {
            Programs::All => true,
            Programs::These(programs) => programs.contains(program),
        }
    }

    pub fn check_program(&self, program: &str) -> Result<(), Refusal> {
        if self.allows(program) { Ok(()) } else { Err(Refusal::program_not_allowed(&self.id, Some(program))) }
    }

    pub fn check_everything(&self) -> Result<(), Refusal> {
        match &self.programs {
            Programs::All => Ok(()),
            Programs::These(_) => Err(Refusal::program_not_allowed(&self.id, None)),
        }
    }

    pub fn check_adjustment(&self, points: i64) -> Result<(), Refusal> {
        match self.adjustment_points {
            Some(limit) if points.unsigned_abs() > limit => Err(Refusal::adjustment_above_limit(&self.id, limit, points)),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn many_calls_at_once_are_counted_and_wait_one_at_a_time() {
        let rate = Arc::new(Rate::new(NonZeroU32::new(100).expect("it is not 0")));
        assert_eq!(rate.take_many(0).await, Ok(()));
        rate.take_many(100).await.expect("a second's worth comes at once");
        assert!(rate.take_many(50).await.is_ok(), "and half of one after half a second");
        let begun = Instant::now();
        let waiting = tokio::spawn({
            let rate = Arc::clone(&rate);
            async move { rate.take_many(130).await }
        });
        while rate.turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rate.take_many(100).await, Err(COME_BACK), "another one waits");
        waiting.await.expect("it ends").expect("it has them");
        assert!(begun.elapsed() >= Duration::from_millis(1_200), "{:?}", begun.elapsed());
    }
}
