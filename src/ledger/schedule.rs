//! What becomes due by time alone is written down on time: points that become active, holds that end, lots that lapse. Every read and
//! every command is right without it; entries, events and reports are on time by it. After a stop it catches up, in the order of time and
//! exactly once, since what is due is entered by the same pure function whoever asks first.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, sleep},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Ledger, LedgerError,
    writer::{DUE_ALONE, DueWork, Job},
};
use crate::{
    domain::{MemberId, MemberKey, ProgramId},
    store::{Due, Store, StoreError},
};

/// Nothing was due: looks again after that.
const IDLE: Duration = Duration::from_secs(1);
/// While commands come it rests so many times as long as its part of the writer's work took, so that they have two thirds of the writer's time
/// and more.
const REST: u32 = 2;
/// After all was done, as far before now it is looked again for what is due.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);
/// After that all is looked through from the beginning, in case something was missed.
const WHOLE: Duration = Duration::from_secs(600);
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
    /// Of these members, those of whom something was entered.
    pub entered: usize,
    /// Of these members, those who have something due still.
    pub left: usize,
}

/// One step after the other: what is left then, the last one has left.
impl AddAssign for Advanced {
    fn add_assign(&mut self, Self { members, entries, entered, left }: Self) {
        self.members += members;
        self.entries += entries;
        self.entered += entered;
        self.left = left;
    }
}

/// The same, and what it cost.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub advanced: Advanced,
    /// Of these members, the places of those of whom something is due, and nothing came of it.
    pub stuck: Vec<usize>,
    /// Of the writer's time.
    pub took: Duration,
    /// Somebody sent a command lately.
    pub beside_commands: bool,
}

impl Step {
    /// Something is due of all who had a turn, and nothing came of it. While it goes on with others, nobody rests for one who is stuck.
    pub fn is_stuck(&self) -> bool {
        !self.stuck.is_empty() && self.stuck.len() == self.advanced.members
    }

    /// Nobody waits for the writer when nobody has sent it anything.
    async fn rest(&self) {
        if self.beside_commands {
            sleep(self.took * REST).await;
        } else {
            // The shortest sleep takes a millisecond, which many small steps would spend their time with.
            yield_now().await;
        }
    }
}

/// How far the schedule has come in the order of what is due. It goes on from there: rows of what was done before are in the way until
/// they are written out, and after a midnight there are many of them.
#[derive(Debug, Default)]
pub(super) struct DueWalk {
    /// Who had the last turn; `None`: it begins.
    after: Option<Due>,
    /// Somebody who had a turn has something due still.
    is_left: bool,
    /// Those who had a turn of whom nothing was entered.
    stuck: Stuck,
    begun: Option<Instant>,
}

impl DueWalk {
    /// Who has the next turn, those who have waited longest first.
    fn next(&mut self, store: &dyn Store, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        // A clock that was set back far is followed.
        if self.after.as_ref().is_some_and(|after| after.time > now) {
            self.after = None;
        }
        if let Some(after) = &mut self.after {
            let due = store.due(now, Some(after), DUE_ALONE)?;
            let is_old = self.begun.is_none_or(|begun| begun.elapsed() > WHOLE);
            if !due.is_empty() {
                return Ok(due);
            }
            if !self.is_left && !is_old {
                // What commands bring that are being decided can be due a little before now.
                let margin = now.checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
                after.time = after.time.min(margin);
                return Ok(due);
            }
        }
        *self = Self { begun: Some(Instant::now()), ..Self::default() };
        store.due(now, None, DUE_ALONE)
    }

    /// Of those who were next, so many had their turn as the step says.
    fn had_turn(&mut self, mut next: Vec<Due>, step: &Step) {
        next.truncate(step.advanced.members);
        for due in step.stuck.iter().filter_map(|place| next.get(*place)) {
            self.stuck.add(due);
        }
        self.after = next.pop().or(self.after.take());
        self.is_left |= step.advanced.left > 0;
    }
}

/// Members of whom something is due and cannot be entered: how many of each programme, and since when the first has waited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stuck {
    pub members: BTreeMap<ProgramId, u64>,
    pub oldest: Option<Timestamp>,
}

impl Stuck {
    fn add(&mut self, due: &Due) {
        *self.members.entry(due.key.program.clone()).or_default() += 1;
        self.oldest = Some(self.oldest.map_or(due.time, |oldest| oldest.min(due.time)));
    }
}

/// What the schedule has passed of what is due.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed {
    /// Who had the last turn; `None`: it begins.
    pub after: Option<Due>,
    /// Of these, those who wait still.
    pub stuck: Stuck,
}

/// How far the members of each programme were looked at under its newest rules: whose birthdays these plan anew, and whose tiers they review
/// at once. A start begins anew: who has had that already is only looked at.
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

/// How far work is that may take long, for the log: it says so now and then, and when all is done, if that took long.
struct Progress {
    on_the_way: &'static str,
    done: &'static str,
    since: Instant,
    reported: Instant,
    members: usize,
}

impl Progress {
    fn new(on_the_way: &'static str, done: &'static str) -> Self {
        let now = Instant::now();
        Self { on_the_way, done, since: now, reported: now, members: 0 }
    }

    fn begin(&mut self) {
        *self = Self::new(self.on_the_way, self.done);
    }

    fn add(&mut self, members: usize) {
        self.members += members;
        if self.reported.elapsed() > REPORT {
            tracing::info!(members = self.members, seconds = self.since.elapsed().as_secs(), "{}", self.on_the_way);
            self.reported = Instant::now();
        }
    }

    fn end(&self) {
        if self.since.elapsed() > REPORT && self.members > 0 {
            tracing::info!(members = self.members, seconds = self.since.elapsed().as_secs(), "{}", self.done);
        }
    }
}

impl Ledger {
    /// Enters what is due of some members, those who have waited longest first.
    pub async fn advance_due(&self) -> Result<Advanced, LedgerError> {
        Ok(self.step().await?.advanced)
    }

    pub(super) async fn step(&self) -> Result<Step, LedgerError> {
        // One at a time: another one would find the same members due.
        let mut walk = self.0.advancing.lock().await;
        let next = walk.next(&*self.0.store, self.now())?;
        self.note_place(&walk);
        if next.is_empty() {
            return Ok(Step::default());
        }
        let members = next.iter().map(|due| due.key.clone()).collect();
        let step = self.advance_all(members, false).await?;
        walk.had_turn(next, &step);
        self.note_place(&walk);
        Ok(step)
    }

    /// For whoever counts what is due still.
    fn note_place(&self, walk: &DueWalk) {
        *self.0.passed.lock().unwrap_or_else(PoisonError::into_inner) = Passed { after: walk.after.clone(), stuck: walk.stuck.clone() };
    }

    /// Enters what is due of one member.
    pub(super) async fn advance(&self, key: &MemberKey) -> Result<Advanced, LedgerError> {
        Ok(self.advance_all(vec![key.clone()], true).await?.advanced)
    }

    async fn advance_all(&self, members: Vec<MemberKey>, persons: bool) -> Result<Step, LedgerError> {
        let permit = Arc::clone(&self.0.bulk).acquire_owned().await.map_err(|_| LedgerError::Closing)?;
        let (reply, answer) = oneshot::channel();
        self.send(Job::Advance(DueWork { members, persons, permit, reply }))?;
        answer.await.map_err(|_| LedgerError::Closing)?
    }

    /// Plans the birthdays of some more members by rules that are others than before, and reviews their tiers where those say so. False: all
    /// are as the rules in effect want them.
    pub async fn plan_birthdays(&self, walk: &mut BirthdayWalk) -> Result<bool, LedgerError> {
        Ok(self.planning_step(walk).await?.is_some())
    }

    /// The same for whoever keeps the schedule, one at a time: who has been looked at is not looked at again.
    pub(super) async fn plan_some(&self) -> Result<Option<Step>, LedgerError> {
        self.planning_step(&mut *self.0.planning.lock().await).await
    }

    /// `None`: all are as the rules in effect want them.
    async fn planning_step(&self, walk: &mut BirthdayWalk) -> Result<Option<Step>, LedgerError> {
        for id in self.programs() {
            let version = self.program(&id)?.walk_version();
            let walked = walk.programs.entry(id.clone()).or_default();
            if walked.version != version {
                (walked.version, walked.after, walked.is_done) = (version, None, false);
            }
            // No version ever asked for it.
            if walked.is_done || version == 0 {
                continue;
            }
            let listed = self.0.store.members(&id, walked.after, DUE_ALONE)?;
            let members = listed.iter().map(|member| MemberKey { program: id.clone(), member: *member }).collect();
            // Only behind those who had their turn it goes on.
            let step = self.advance_all(members, true).await?;
            let had_turn = listed.get(..step.advanced.members).unwrap_or(&listed);
            walked.after = had_turn.last().copied().or(walked.after);
            walked.is_done = listed.len() < DUE_ALONE && had_turn.len() == listed.len();
            return Ok(Some(step));
        }
        Ok(None)
    }

    /// Keeps the schedule until the ledger closes.
    pub async fn keep_schedule(&self) {
        let mut due = Progress::new("entering what is due", "all that was due is entered");
        let mut looked_at = Progress::new("looking through members under a new rule book", "all members are as the rule book wants them");
        loop {
            match self.step().await {
                Ok(Step { advanced: Advanced { members: 0, .. }, .. }) => {
                    due.end();
                    match self.plan_some().await {
                        Ok(Some(step)) => {
                            looked_at.add(step.advanced.members);
                            step.rest().await;
                        }
                        Err(LedgerError::Closing) => return,
                        Ok(None) => {
                            looked_at.end();
                            sleep(IDLE).await;
                            looked_at.begin();
                        }
                        Err(error) => {
                            tracing::error!(%error, "what a new rule book brings cannot be entered; it is tried again later");
                            sleep(AFTER_FAULT).await;
                        }
                    }
                    due.begin();
                }
                Ok(step) if step.is_stuck() => {
                    tracing::error!(members = step.advanced.left, "something is due, and nothing came of it; it is tried again later");
                    sleep(AFTER_FAULT).await;
                }
                Ok(step) => {
                    due.add(step.advanced.members);
                    step.rest().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn step(members: usize, entries: usize, left: usize, stuck: usize) -> Step {
        Step { advanced: Advanced { members, entries, entered: entries, left }, stuck: (0..stuck).collect(), ..Step::default() }
    }

    #[test]
    fn one_with_whom_it_does_not_go_on_keeps_it_from_nobody() {
        assert!(step(1, 0, 1, 1).is_stuck());
        assert!(step(16, 0, 16, 16).is_stuck());
        // Of the others tills have entered what was due, in the same commits or a moment before.
        assert!(!step(16, 0, 1, 1).is_stuck());
        assert!(!step(16, 3, 15, 15).is_stuck());
        // A till has entered a part of it.
        assert!(!step(1, 0, 1, 0).is_stuck());
        assert!(!step(0, 0, 0, 0).is_stuck());
    }

    #[test]
    fn who_is_stuck_is_counted_with_its_time_until_the_walk_begins_anew() {
        let due = |program: &str, second: i64, member: u8| Due {
            time: Timestamp::from_second(second).expect("an instant"),
            key: MemberKey { program: ProgramId::new(program).expect("an id"), member: MemberId([member; 16]) },
        };
        let mut walk = DueWalk::default();
        let first = vec![due("club", 10, 1), due("club", 20, 2), due("shop", 30, 3), due("club", 40, 4)];
        // The last one had no turn.
        let step = |members: usize, stuck: &[usize]| Step {
            advanced: Advanced { members, entries: 1, entered: 1, left: stuck.len() },
            stuck: stuck.to_vec(),
            ..Step::default()
        };
        walk.had_turn(first.clone(), &step(3, &[1, 2]));
        assert_eq!((&walk.after, walk.is_left), (&Some(first[2].clone()), true));
        let count = |walk: &DueWalk, program: &str| walk.stuck.members.get(&ProgramId::new(program).expect("an id")).copied();
        assert_eq!((count(&walk, "club"), count(&walk, "shop")), (Some(1), Some(1)));
        assert_eq!(walk.stuck.oldest, Some(first[1].time));
        walk.had_turn(vec![first[3].clone()], &step(1, &[0]));
        assert_eq!((count(&walk, "club"), walk.stuck.oldest), (Some(2), Some(first[1].time)));
    }
}
