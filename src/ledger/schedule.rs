//! What becomes due by time alone is written down on time: points that become active, holds that end, lots that lapse. Every read and
//! every command is right without it; entries, events and reports are on time by it. After a stop it catches up, in the order of time and
//! exactly once, since what is due is entered by the same pure function whoever asks first.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::sleep,
};

use super::{Ledger, LedgerError, writer::Job};
use crate::domain::{MemberId, MemberKey, ProgramId};

/// Members of one commit.
const BATCH: usize = 256;
/// Nothing was due: looks again after that.
const IDLE: Duration = Duration::from_secs(1);
/// Rests so many times as long as the work took, so that tills have most of the writer's time.
const REST: u32 = 2;
/// After a fault, or where something is due and nothing comes of it.
const AFTER_FAULT: Duration = Duration::from_secs(60);
/// Work that takes long says how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// What one step of the schedule did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Members who had something due.
    pub members: usize,
    pub entries: usize,
}

/// How far the members of each programme have had their birthdays planned by its newest rules. A start begins anew: who is planned already
/// is only looked at.
#[derive(Debug, Default)]
pub struct BirthdayWalk {
    programs: BTreeMap<ProgramId, Walked>,
}

#[derive(Debug, Default)]
struct Walked {
    version: u32,
    after: Option<MemberId>,
    is_done: bool,
}

impl Ledger {
    /// Enters what is due of some members, those who have waited longest first.
    pub async fn advance_due(&self) -> Result<Advanced, LedgerError> {
        // One at a time: another one would find the same members due.
        let _turn = self.0.advancing.lock().await;
        let permit = Arc::clone(&self.0.bulk).acquire_owned().await.map_err(|_| LedgerError::Closing)?;
        let members = self.0.store.due(self.now(), BATCH)?;
        if members.is_empty() {
            return Ok(Advanced::default());
        }
        self.advance_all(members, false, permit).await
    }

    /// Enters what is due of one member.
    pub(super) async fn advance(&self, key: &MemberKey) -> Result<Advanced, LedgerError> {
        let permit = Arc::clone(&self.0.bulk).acquire_owned().await.map_err(|_| LedgerError::Closing)?;
        self.advance_all(vec![key.clone()], true, permit).await
    }

    async fn advance_all(&self, members: Vec<MemberKey>, persons: bool, permit: OwnedSemaphorePermit) -> Result<Advanced, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Advance { members, persons, permit, reply })?;
        answer.await.map_err(|_| LedgerError::Closing)?
    }

    /// Plans the birthdays of some more members by rules that are others than before. False: all are planned.
    pub async fn plan_birthdays(&self, walk: &mut BirthdayWalk) -> Result<bool, LedgerError> {
        for id in self.programs() {
            let version = self.program(&id)?.birthday_version();
            let walked = walk.programs.entry(id.clone()).or_default();
            if walked.version != version {
                (walked.version, walked.after, walked.is_done) = (version, None, false);
            }
            // No version ever had any.
            if walked.is_done || version == 0 {
                continue;
            }
            let listed = self.0.store.members(&id, walked.after, BATCH)?;
            let members = listed.iter().map(|member| MemberKey { program: id.clone(), member: *member }).collect();
            let permit = Arc::clone(&self.0.bulk).acquire_owned().await.map_err(|_| LedgerError::Closing)?;
            // Only behind those who had their turn it goes on.
            let advanced = self.advance_all(members, true, permit).await?;
            let had_turn = listed.get(..advanced.members.max(1)).unwrap_or(&listed);
            walked.after = had_turn.last().copied().or(walked.after);
            walked.is_done = listed.len() < BATCH && had_turn.len() == listed.len();
            return Ok(true);
        }
        Ok(false)
    }

    /// Keeps the schedule until the ledger closes.
    pub async fn keep_schedule(&self) {
        let (mut since, mut done, mut reported) = (Instant::now(), 0, Instant::now());
        let mut walk = BirthdayWalk::default();
        loop {
            let begun = Instant::now();
            match self.advance_due().await {
                Ok(Advanced { members: 0, .. }) => {
                    if since.elapsed() > REPORT && done > 0 {
                        tracing::info!(members = done, seconds = since.elapsed().as_secs(), "all that was due is entered");
                    }
                    match self.plan_birthdays(&mut walk).await {
                        Ok(true) => sleep(begun.elapsed() * REST).await,
                        Err(LedgerError::Closing) => return,
                        Ok(false) => sleep(IDLE).await,
                        Err(error) => {
                            tracing::error!(%error, "birthdays cannot be planned; it is tried again later");
                            sleep(AFTER_FAULT).await;
                        }
                    }
                    (since, done, reported) = (Instant::now(), 0, Instant::now());
                }
                Ok(Advanced { members, entries: 0 }) => {
                    tracing::error!(members, "something is due, and nothing came of it; it is tried again later");
                    sleep(AFTER_FAULT).await;
                }
                Ok(Advanced { members, .. }) => {
                    done += members;
                    if reported.elapsed() > REPORT {
                        tracing::info!(members = done, seconds = since.elapsed().as_secs(), "entering what is due");
                        reported = Instant::now();
                    }
                    sleep(begun.elapsed() * REST).await;
                }
                Err(LedgerError::Closing) => return,
                Err(LedgerError::NoSpace { retry_delay }) => sleep(retry_delay).await,
                Err(error) => {
                    tracing::error!(%error, "what is due cannot be entered; it is tried again later");
                    sleep(AFTER_FAULT).await;
                }
            }
        }
    }
}
