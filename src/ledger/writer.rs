//! The one writer: takes all that waits, up to a bound, decides it, commits once, and replies to all. What is due by time alone goes into the
//! commits that tills wait for anyway, a little of it at a time; it has commits of its own when nobody else waits.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
    task::yield_now,
};

use crate::{
    contract::v1,
    domain::{Command, Entry, FraudFlag, MemberId, MemberKey, PrincipalId, ProgramId, Recipient, Rejection, Request, VoucherRequest},
    store::{Commit, Name, RequestOutcome, Store, StoreError, Unit},
};

use super::{
    LedgerError, MemberTarget, NO_SPACE_DELAY, Outcome, Published, Publisher, Submission,
    clock::SteadyClock,
    idempotency::Repeat,
    journey::Journey,
    programs::{Draft, Programs},
    schedule::{Advanced, Step},
    staging::{MAX_BYTES, Staging, Turn, Verdict},
    statistics::Counters,
};

/// Commands in one commit, at most.
pub(super) const MAX_GROUP: usize = 512;

/// Members in one commit who have a turn because something is due of them, at most, when nobody has sent a command lately.
pub(super) const DUE_ALONE: usize = 64;

/// The same while commands come: those in the same commit wait for it, and so do those who come while it is made.
const DUE_BESIDE: usize = 16;

/// Or one for so many commands in the commit.
const COMMANDS_PER_DUE: usize = 8;

/// Bytes of what is due in one commit while commands come, by estimate, unless of a single member more is due.
const DUE_BYTES_BESIDE: usize = 256 << 10;

/// For so long after a command others are expected.
const LATELY: Duration = Duration::from_secs(1);

/// Callers who are woken before others have their turn, so that a probe does not wait for a whole group to be answered.
const REPLIES_AT_ONCE: usize = 32;

type Results = Vec<Result<Answer, LedgerError>>;

/// What became of a command.
pub(super) enum Answer {
    New(Outcome),
    /// It was seen before; nothing was changed.
    Repeat(Repeat),
}

/// What waits for the writer. The permit is its place in the queue, given back when it is answered.
pub(super) enum Job {
    Commands {
        submissions: Vec<Submission>,
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Results>,
        sent: Instant,
        /// Of a command whose call is traced.
        journey: Option<Arc<Journey>>,
    },
    Publish {
        request: Request,
        by: Publisher,
        document: Box<v1::Program>,
        /// What waits makes room.
        replace: bool,
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<Published, LedgerError>>,
    },
    Advance(DueWork),
    Stop,
}

pub(super) struct Writer {
    store: Arc<dyn Store>,
    clock: Arc<SteadyClock>,
    programs: Arc<Programs>,
    queue: mpsc::UnboundedReceiver<Job>,
    /// Taken from the queue, not yet answered.
    taken: VecDeque<Taken>,
    /// The same of what is due by time alone. One of them has its turn with each commit.
    due: VecDeque<DueWork>,
    /// When there were commands to decide last.
    commanded: Option<Instant>,
    /// There was no space for the last commit with what is due in it: the commands beside it are tried without.
    commands_alone: bool,
    ids: uuid::ContextV7,
    /// The last commit was refused for want of space.
    is_full: bool,
    /// Gives answers from within the runtime, if there was one at the start.
    replies: Option<mpsc::UnboundedSender<Vec<Taken>>>,
    /// Told when some were answered.
    relief: Arc<Notify>,
    counters: Arc<Counters>,
    stopping: bool,
}

/// What is due of these members by time alone. As many as fit into the next commit have their turn; the others are asked for again.
pub(super) struct DueWork {
    pub members: Vec<MemberKey>,
    /// What is personal is looked at too, for what other rules make of it.
    pub persons: bool,
    pub permit: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<Step, LedgerError>>,
}

/// Of whom the first so many may have their turn, as long as their entries are no more than so many bytes.
struct DueTurns {
    work: DueWork,
    members: usize,
    bytes: usize,
}

/// A job of commands, of which the first `results.len()` are decided.
struct Taken {
    submissions: Vec<Submission>,
    results: Results,
    reply: oneshot::Sender<Results>,
    journey: Option<Arc<Journey>>,
    _permit: OwnedSemaphorePermit,
}

impl Writer {
    /// Starts the writer's thread. A panic in it ends the process: no half-state serves (invariant 8).
    pub fn start(
        store: Arc<dyn Store>,
        clock: Arc<SteadyClock>,
        programs: Arc<Programs>,
        queue: mpsc::UnboundedReceiver<Job>,
        (counters, relief): (Arc<Counters>, Arc<Notify>),
    ) -> JoinHandle<()> {
        let mut writer = Writer {
            store,
            clock,
            programs,
            queue,
            taken: VecDeque::new(),
            due: VecDeque::new(),
            commanded: None,
            commands_alone: false,
            ids: uuid::ContextV7::new(),
            is_full: false,
            replies: Handle::try_current().ok().map(|runtime| reply_within(&runtime, Arc::clone(&relief))),
            relief,
            counters,
            stopping: false,
        };
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                tracing::error!("the writer panicked: the process ends, what was acknowledged is on disk");
                std::process::abort();
            }
        };
        thread::Builder::new().name("writer".into()).spawn(run).expect("the system can start a thread")
    }

    fn run(&mut self) {
        while self.take_what_waits() {
            if self.has_taken() {
                self.commit_group();
            }
        }
    }

    fn has_taken(&self) -> bool {
        !self.taken.is_empty() || !self.due.is_empty()
    }

    /// Waits for work and takes up to a group of it. False when the service stops and all is answered.
    fn take_what_waits(&mut self) -> bool {
        if !self.has_taken() {
            if self.stopping {
                return false;
            }
            match self.queue.blocking_recv() {
                Some(job) => self.take(job),
                None => return false,
            }
        }
        let mut commands: usize = self.taken.iter().map(Taken::undecided).sum();
        while commands < MAX_GROUP
            && !self.stopping
            && let Ok(job) = self.queue.try_recv()
        {
            let before = self.taken.len();
            self.take(job);
            commands += self.taken.iter().skip(before).map(Taken::undecided).sum::<usize>();
        }
        true
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Commands { submissions, permit, reply, sent, journey } => {
                // A caller who has gone away wants no answer, and nothing of this is decided yet.
                if !reply.is_closed() {
                    self.counters.waits.observe_time(sent.elapsed());
                    journey.as_deref().into_iter().for_each(Journey::is_taken);
                    let results = Vec::with_capacity(submissions.len());
                    self.taken.push_back(Taken { submissions, results, reply, journey, _permit: permit });
                }
            }
            Job::Publish { request, by, document, replace, permit: _permit, reply } => {
                // What was taken before is decided before: by the rule book that it was sent under.
                while self.has_taken() {
                    self.commit_group();
                }
                let published = self.publish((request, by), &document, replace);
                // The caller may have gone away; what is published stays so.
                let _ = reply.send(published);
            }
            Job::Advance(work) => self.due.push_back(work),
            Job::Stop => self.stopping = true,
        }
    }

    /// Decides what was taken, commits it, and answers every job that is decided to its end.
    fn commit_group(&mut self) {
        let now = self.clock.now();
        let store = Arc::clone(&self.store);
        if !self.taken.is_empty() {
            self.commanded = Some(Instant::now());
        }
        let due = self.next_due();
        let unit = {
            let names = names(&self.taken, due.as_ref());
            store.begin(&names)
        };
        let unit = match unit {
            Ok(unit) => unit,
            Err(error) => return self.cannot_begin(error, due),
        };
        // Who has gone away while this waited, by giving up or by a deadline, wants no answer, and nothing of it is decided yet.
        self.taken.retain(|taken| !taken.results.is_empty() || !taken.reply.is_closed());
        let before: Vec<usize> = self.taken.iter().map(|taken| taken.results.len()).collect();
        let mut staging = Staging::new(&*unit, now, self.group() + due.as_ref().map_or(0, |due| due.members));
        let commands = self.decide_group(&mut staging, now);
        let step = due.as_ref().map(|due| self.decide_due(&mut staging, now, due));
        let commit = staging.into_commit();
        self.journeys(Journey::is_decided);
        let begun = Instant::now();
        let committed = if commit.is_empty() { Ok(()) } else { self.commit(unit, commit, (now, commands)) };
        self.journeys(Journey::is_committed);
        if committed.is_err() {
            self.commands_alone = !self.taken.is_empty() && step.as_ref().is_some_and(|step| step.advanced.entries > 0);
            if self.commands_alone { self.undo(&before) } else { self.take_back(&before) }
        }
        self.reply();
        if let Some((due, step)) = due.zip(step) {
            let DueWork { reply, permit: _permit, .. } = due.work;
            // A commit's time is shared by all that it has.
            let part = begun.elapsed().mul_f64(step.advanced.members as f64 / (step.advanced.members + commands).max(1) as f64);
            // The caller may have gone away; what is committed stays so.
            let _ = reply.send(committed.map(|()| Step { took: step.took + part, ..step }));
        }
    }

    /// Of commands whose calls are traced.
    fn journeys(&self, reach: fn(&Journey)) {
        self.taken.iter().filter_map(|taken| taken.journey.as_deref()).for_each(reach);
    }

    /// Commands of the next commit, at most.
    fn group(&self) -> usize {
        self.taken.iter().map(Taken::undecided).sum::<usize>().min(MAX_GROUP)
    }

    fn expects_commands(&self) -> bool {
        self.commanded.is_some_and(|last| last.elapsed() < LATELY)
    }

    /// What is due in the next commit, at most. Large groups of commands take long in any case.
    fn next_due(&mut self) -> Option<DueTurns> {
        if std::mem::take(&mut self.commands_alone) && !self.taken.is_empty() {
            return None;
        }
        let (members, bytes) = match self.expects_commands() {
            true => (DUE_BESIDE.max(self.group() / COMMANDS_PER_DUE).min(DUE_ALONE), DUE_BYTES_BESIDE),
            false => (DUE_ALONE, MAX_BYTES),
        };
        self.due.pop_front().map(|work| DueTurns { members: members.min(work.members.len()), bytes, work })
    }

    /// A store that begins no unit of work serves no command. What is due by time alone is answered, and the schedule tries it again later.
    fn cannot_begin(&self, error: StoreError, due: Option<DueTurns>) {
        match due {
            Some(due) if self.taken.is_empty() => {
                let _ = due.work.reply.send(Err(error.into()));
            }
            Some(_) | None => end(&error),
        }
    }

    /// A commit that fails leaves the disk in a state that is not known, and trying again is not safe: the process ends, and start finds out.
    /// One that there is no space for leaves it as it was, and the service goes on answering.
    fn commit(&mut self, unit: Box<dyn Unit + '_>, commit: Commit, (now, commands): (Timestamp, usize)) -> Result<(), LedgerError> {
        let entries = commit.members.iter().flat_map(|change| &change.entries);
        let (count, begun) = (entries.clone().count(), Instant::now());
        let flagged: Vec<Entry> = entries.filter(|entry| !entry.flags().is_empty()).cloned().collect();
        match unit.commit(commit) {
            Ok(_) => {
                self.counters.committed(commands, count, begun.elapsed());
                self.programs.was_used(now);
                flagged.iter().for_each(warn_of_fraud);
                if std::mem::take(&mut self.is_full) {
                    tracing::info!("there is space on the disk again; changes are taken");
                }
                Ok(())
            }
            Err(error @ StoreError::NoSpace { .. }) => {
                self.counters.refused_for_space();
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::error!(%error, "the disk is full: changes are refused until there is space, reads are answered");
                }
                Err(LedgerError::NoSpace { retry_delay: NO_SPACE_DELAY })
            }
            Err(error) => end(&error),
        }
    }

    /// What was decided since then is decided again.
    fn undo(&mut self, before: &[usize]) {
        for (taken, before) in self.taken.iter_mut().zip(before) {
            taken.results.truncate(*before);
        }
    }

    /// What was decided since then was not committed, and refusals may have been for what other commands of the group did. The first
    /// answers of repeated requests stand.
    fn take_back(&mut self, before: &[usize]) {
        let has_moved = self.taken.iter().zip(before).any(|(taken, before)| taken.results.len() > *before);
        if let Some(first) = self.taken.iter_mut().find(|taken| taken.undecided() > 0).filter(|_| !has_moved) {
            // All that was entered was what is due of its member. Without an answer it would be tried again at once, and for ever.
            first.results.push(Err(LedgerError::NoSpace { retry_delay: NO_SPACE_DELAY }));
        }
        for (taken, before) in self.taken.iter_mut().zip(before) {
            for result in &mut taken.results[*before..] {
                if !matches!(result, Ok(Answer::Repeat(_))) {
                    *result = Err(LedgerError::NoSpace { retry_delay: NO_SPACE_DELAY });
                }
            }
        }
    }

    /// How many commands were decided.
    fn decide_group(&mut self, staging: &mut Staging<'_, dyn Unit + '_>, now: Timestamp) -> usize {
        let (programs, ids) = (&self.programs, &self.ids);
        let mut decided = 0;
        'group: for taken in &mut self.taken {
            while let Some(submission) = taken.submissions.get(taken.results.len()) {
                if decided == MAX_GROUP {
                    break 'group;
                }
                let program = &submission.program.newest().id;
                match programs.history(program, now) {
                    Some(history) => match staging.decide(&history, submission, || new_member_id(ids, now)) {
                        Verdict::Done(result) => taken.results.push(result),
                        Verdict::NextGroup => break 'group,
                    },
                    None => taken.results.push(Err(LedgerError::ProgramNotFound { program: program.clone() })),
                }
                decided += 1;
            }
        }
        decided
    }

    /// What is due of the first members of the work, behind the commands of the same commit, which enter what is due of their own members.
    fn decide_due(&self, staging: &mut Staging<'_, dyn Unit + '_>, now: Timestamp, due: &DueTurns) -> Step {
        let begun = Instant::now();
        let (mut advanced, mut stuck) = (Advanced::default(), Vec::new());
        for key in &due.work.members[..due.members] {
            let turn = match self.programs.history(&key.program, now) {
                Some(programs) => staging.advance(&programs, key, due.work.persons, due.bytes),
                None => Ok(Turn::Had { entries: 0, is_due: false }),
            };
            match turn {
                Ok(Turn::Had { entries, is_due }) => {
                    advanced.entries += entries;
                    advanced.entered += usize::from(entries > 0);
                    advanced.left += usize::from(is_due);
                    if is_due && entries == 0 {
                        stuck.push(advanced.members);
                    }
                }
                Ok(Turn::HadByCommand { is_due }) => advanced.left += usize::from(is_due),
                // Those that do not fit have their turn the next time.
                Ok(Turn::NextGroup) => break,
                // One that cannot go on must not keep the others from it.
                Err(error) => {
                    tracing::error!(member = %key.member, %error, "what is due of a member cannot be entered");
                    advanced.left += 1;
                    stuck.push(advanced.members);
                }
            }
            advanced.members += 1;
        }
        Step { advanced, stuck, took: begun.elapsed(), beside_commands: self.expects_commands() }
    }

    /// Those who wait are woken together: each by itself would cost this thread a lock of the runtime's and often a system call.
    fn reply(&mut self) {
        let decided = self.taken.iter().take_while(|taken| taken.undecided() == 0).count();
        let done: Vec<Taken> = self.taken.drain(..decided).collect();
        match &self.replies {
            Some(replies) if done.len() > 1 => {
                // A runtime that ends while the ledger is still open leaves it to this thread.
                if let Err(mpsc::error::SendError(done)) = replies.send(done) {
                    reply(done, &self.relief);
                }
            }
            Some(_) | None => reply(done, &self.relief),
        }
    }

    fn publish(&mut self, (request, by): (Request, Publisher), document: &v1::Program, replace: bool) -> Result<Published, LedgerError> {
        let now = self.clock.now();
        let store = Arc::clone(&self.store);
        let program = ProgramId::new(&document.program_id).ok();
        let names: Vec<_> = program.iter().map(|program| Name::Request(program, &request.id)).collect();
        let unit = store.begin(&names)?;
        if let Some(program) = &program
            && let Some(row) = unit.request(program, &request.id)?
        {
            return match row.outcome {
                RequestOutcome::Publication { version } if row.fingerprint == request.fingerprint => {
                    self.programs.published(program, version, &request.id)
                }
                RequestOutcome::Publication { .. } | RequestOutcome::Entries { .. } => Err(Rejection::RequestIdReused.into()),
            };
        }
        let draft = self.programs.draft(document, now, replace)?;
        let published = draft.published();
        let publication = draft.publication(request, by);
        self.commit(unit, Commit { publications: vec![publication.clone()], members: Vec::new() }, (now, 0))?;
        let by = publication.principal.as_ref().map_or("", PrincipalId::as_str);
        let (program, version, changed) = (&publication.program, publication.version, published.changed);
        tracing::info!(%program, version, changed, principal = by, "rule book published");
        if let Draft::Next { parsed, document, .. } = draft {
            self.programs.add(*parsed, document, publication.request.id);
        }
        Ok(published)
    }
}

impl Taken {
    fn undecided(&self) -> usize {
        self.submissions.len() - self.results.len()
    }

    fn reply(self) {
        // The caller may have gone away; what is committed stays so.
        let _ = self.reply.send(self.results);
    }
}

fn reply(group: impl IntoIterator<Item = Taken>, relief: &Notify) {
    group.into_iter().for_each(Taken::reply);
    relief.notify_one();
}

/// A task that gives the answers of one group after the other, and of a group some at a time.
fn reply_within(runtime: &Handle, relief: Arc<Notify>) -> mpsc::UnboundedSender<Vec<Taken>> {
    // Bounded by the queue: what is in it still has its place there.
    let (replies, mut groups) = mpsc::unbounded_channel::<Vec<Taken>>();
    runtime.spawn(async move {
        while let Some(group) = groups.recv().await {
            let mut group = group.into_iter().peekable();
            while group.peek().is_some() {
                reply(group.by_ref().take(REPLIES_AT_ONCE), &relief);
                yield_now().await;
            }
        }
    });
    replies
}

/// What is flagged is booked by now, and somebody should look at it.
fn warn_of_fraud(entry: &Entry) {
    for FraudFlag { limit, maximum, count, period_start } in entry.flags() {
        let (program, member, sequence) = (&entry.key.program, &entry.key.member, entry.sequence);
        tracing::warn!(%program, %member, entry = sequence, limit = limit.name(), maximum, count, %period_start, "a fraud limit is exceeded");
    }
}

fn names<'a>(taken: &'a VecDeque<Taken>, due: Option<&'a DueTurns>) -> Vec<Name<'a>> {
    let due = due.map_or(&[][..], |due| &due.work.members[..due.members]);
    let mut names: Vec<_> = due.iter().map(|key| Name::Member(&key.program, key.member)).collect();
    for submission in taken.iter().flat_map(|taken| &taken.submissions[taken.results.len()..]).take(MAX_GROUP) {
        let program = &submission.program.newest().id;
        names.push(Name::Request(program, &submission.request.id));
        match &submission.member {
            MemberTarget::New => {}
            MemberTarget::Id(member) => names.push(Name::Member(program, *member)),
            MemberTarget::Identifier(identifier) => names.push(Name::Identifier(program, identifier)),
            MemberTarget::Order(order) => names.push(Name::Order(program, order)),
            MemberTarget::Voucher(code) => names.push(Name::Voucher(program, *code)),
        }
        names.extend(submission.command.other_side().map(|(other, _)| match other {
            Recipient::Id(to) => Name::Member(program, *to),
            Recipient::Identifier(identifier) => Name::Identifier(program, identifier),
        }));
        if let (Command::AdjustPoints(_), Some(actor)) = (&submission.command, &submission.actor) {
            names.push(Name::Operator(program, actor));
        }
        if let Command::Voucher(VoucherRequest::Redeem { reward, .. }) = &submission.command {
            names.push(Name::Reward(program, reward));
        }
        if let Some(purchase) = submission.command.purchase() {
            names.extend(purchase.vouchers.iter().map(|code| Name::Voucher(program, *code)));
        }
        if let Some(order) = submission.command.purchase().and_then(|purchase| purchase.order.as_ref()) {
            names.push(Name::Order(program, order));
        }
    }
    names
}

/// A store that takes no units of work serves nobody.
fn end(error: &StoreError) -> ! {
    tracing::error!(%error, "the store failed: the process ends, what was acknowledged is on disk");
    std::process::abort();
}

/// Ids sort by the time of enrolment.
fn new_member_id(ids: &uuid::ContextV7, now: Timestamp) -> MemberId {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    MemberId(uuid::Uuid::new_v7(uuid::Timestamp::from_unix(ids, seconds, nanos)).into_bytes())
}
