//! What becomes due by time alone is written down on time, in order, exactly once, also after a stop of days.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::{program, rule_book, v1},
    domain::{
        Adjustment, Command, EntryKind, Expiry, Fingerprint, Identifier, IdentifierKind, MAX_LOTS, MemberKey, MergeRequest, Person, Points,
        ProgramId, Recipient, Rejection, Request, RequestId,
    },
    ledger::{Advanced, Clock, Ledger, LedgerError, ManualClock, MemberTarget, Outcome, Submission},
    store::embedded::{self, EmbeddedStore, Options},
};
use tempfile::TempDir;

use crate::power::mount::{Drive, Fault, Mounted, Operation, can_mount};

const RULE_BOOK: &str = r#"
programId: club
displayName: Club
currencyCode: USD
timeZone: America/New_York
rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
expiry: { after: { days: 2 } }
accrualRules:
  - ruleId: base
    perAmount: { amount: "1", points: "1" }
"#;

/// Members in one commit whose due work it takes beside the commands of tills, at most.
const BESIDE_TILLS: usize = 16;

const ENOSPC: i32 = 28;
/// No wait takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stands still, and holds up the writer before it begins with what it took, as long as the gate is shut.
struct Gated {
    clock: ManualClock,
    is_shut: AtomicBool,
    /// How often the writer has come to the gate.
    came: AtomicUsize,
}

impl Clock for Gated {
    fn now(&self) -> Timestamp {
        if std::thread::current().name() == Some("writer") {
            self.came.fetch_add(1, Ordering::SeqCst);
            while self.is_shut.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.clock.now()
    }
}

impl Gated {
    fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { clock: ManualClock::new(start), is_shut: AtomicBool::new(false), came: AtomicUsize::new(0) })
    }

    fn set(&self, now: Timestamp) {
        self.clock.set(now);
    }
}

struct Club {
    data: PathBuf,
    /// If it is one of its own.
    _folder: Option<TempDir>,
    clock: Arc<Gated>,
    ledger: Ledger,
    requests: u32,
}

impl Club {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let club = Self::open_in(folder.path(), Options::default()).await;
        Self { _folder: Some(folder), ..club }
    }

    async fn open_in(data: &Path, options: Options) -> Self {
        let clock = Gated::new("2026-03-02T12:00:00Z".parse().unwrap());
        let ledger = open(data, options, &clock);
        let mut club = Self { data: data.to_owned(), _folder: None, clock, ledger, requests: 0 };
        let document: v1::Program = rule_book::read(RULE_BOOK).unwrap();
        program::parse(&document, 1, Timestamp::UNIX_EPOCH).unwrap();
        let request = club.request();
        club.ledger.publish(request, document).await.unwrap();
        club
    }

    fn request(&mut self) -> Request {
        self.requests += 1;
        Request { id: RequestId::new(&format!("r-{}", self.requests)).unwrap(), fingerprint: Fingerprint([0; 16]) }
    }

    fn submission(&mut self, member: MemberTarget, command: Command) -> Submission {
        let program = self.ledger.program(&ProgramId::new("club").unwrap()).unwrap();
        Submission { program, member, request: self.request(), actor: None, principal: None, command }
    }

    async fn submit(&mut self, member: MemberTarget, command: Command) -> MemberKey {
        let submission = self.submission(member, command);
        self.ledger.submit(submission).await.unwrap().key
    }

    async fn enroll(&mut self) -> MemberKey {
        let card = Identifier::new(IdentifierKind::Card, &format!("c-{}", self.requests)).unwrap();
        let person = Person { identifiers: vec![card], ..Person::default() };
        self.submit(MemberTarget::New, Command::Enroll { person }).await
    }

    async fn give(&mut self, key: &MemberKey, points: i64) {
        self.submit(MemberTarget::Id(key.member), gift(points)).await;
    }

    /// So many members whose points lapse in two days.
    async fn with_points(&mut self, count: usize) -> Vec<MemberKey> {
        let mut members = Vec::new();
        for _ in 0..count {
            let member = self.enroll().await;
            self.give(&member, 1).await;
            members.push(member);
        }
        members
    }

    /// So many points, each in a lot of its own; with a day between them, each lapses on another one.
    async fn give_singly(&mut self, key: &MemberKey, points: u32, days: u32) {
        let mut gifts = Vec::new();
        for number in 0..points {
            let Command::AdjustPoints(adjustment) = gift(1) else { unreachable!("a gift is an adjustment") };
            let adjustment = Adjustment { expiry: Some(Expiry::AfterDays(2 + number * days)), ..adjustment };
            gifts.push(self.submission(MemberTarget::Id(key.member), Command::AdjustPoints(adjustment)));
        }
        for outcome in self.ledger.submit_all(gifts).await {
            outcome.unwrap();
        }
    }

    /// What tills and the schedule get who come while the writer is held up: the first till is alone in its group, and the others are in
    /// the next one with what is due.
    async fn beside(&self, tills: Vec<Submission>) -> (Vec<Result<Outcome, LedgerError>>, Result<Advanced, LedgerError>) {
        let came = self.clock.came.load(Ordering::SeqCst);
        self.clock.is_shut.store(true, Ordering::SeqCst);
        let (mut waiting, count) = (Vec::new(), tills.len());
        for (place, submission) in tills.into_iter().enumerate() {
            let ledger = self.ledger.clone();
            waiting.push(tokio::spawn(async move { ledger.submit(submission).await }));
            until(|| self.ledger.waiting() == place + 1).await;
            until(|| self.clock.came.load(Ordering::SeqCst) > came).await;
        }
        let schedule = self.ledger.clone();
        let advanced = tokio::spawn(async move { schedule.advance_due().await });
        // Where nothing is due it does not come.
        until(|| advanced.is_finished() || self.ledger.waiting() == count + 1).await;
        self.clock.is_shut.store(false, Ordering::SeqCst);
        let mut outcomes = Vec::new();
        for outcome in waiting {
            outcomes.push(outcome.await.unwrap());
        }
        (outcomes, advanced.await.unwrap())
    }

    /// Commits of the journal, once the ledger is closed.
    fn close(self) -> u64 {
        self.ledger.close().unwrap();
        let Self { data, _folder, ledger, .. } = self;
        drop(ledger);
        let report = embedded::check(&data, &Options::default()).unwrap();
        assert!(report.is_sound(), "{:?}", report.differences);
        report.commits
    }

    /// The lapses that are written down, oldest first: points, and when.
    fn lapses(&self, key: &MemberKey) -> Vec<(i64, Timestamp)> {
        let entries = self.ledger.entries(key, None, 100).unwrap();
        let lapsed = entries.into_iter().rev().filter(|listed| listed.is_recorded).map(|listed| listed.entry);
        lapsed.filter(|entry| matches!(entry.kind, EntryKind::PointsExpired(_))).map(|e| (e.points().0, e.occurred_time)).collect()
    }

    fn forward(&self, hours: i64) {
        self.clock.set(self.clock.now() + SignedDuration::from_hours(hours));
    }
}

fn gift(points: i64) -> Command {
    let (points, reason) = (Points(points), "gift".into());
    Command::AdjustPoints(Adjustment { points, qualifying: false, reason, reference: String::new(), expiry: None })
}

async fn until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < PATIENCE, "it hangs");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn open(data: &Path, options: Options, clock: &Arc<Gated>) -> Ledger {
    let store = EmbeddedStore::open(data, options).unwrap();
    Ledger::open(Arc::new(store), Arc::clone(clock) as _).unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn points_lapse_in_the_journal_though_nobody_asks() {
    let mut club = Club::open().await;
    let (one, other) = (club.enroll().await, club.enroll().await);
    club.give(&one, 10).await;
    club.forward(24);
    club.give(&one, 20).await;
    club.give(&other, 5).await;
    assert_eq!(club.ledger.advance_due().await.unwrap().members, 0, "nothing is due yet");
    club.forward(24 * 2);
    let advanced = club.ledger.advance_due().await.unwrap();
    assert_eq!((advanced.members, advanced.entries), (1, 1));
    // The day is New York's.
    assert_eq!(club.lapses(&one), [(-10, at("2026-03-05T05:00:00Z"))]);
    assert_eq!(club.lapses(&other), []);
    assert_eq!(club.ledger.advance_due().await.unwrap().members, 0, "it is done once");
    club.ledger.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_of_days_it_catches_up_in_order_and_once() {
    let mut club = Club::open().await;
    let members = club.with_points(300).await;
    club.forward(24);
    for member in &members[..50] {
        club.give(member, 2).await;
    }
    club.ledger.close().unwrap();
    let Club { data, _folder, clock, ledger, .. } = club;
    drop(ledger);
    clock.set(clock.now() + SignedDuration::from_hours(24 * 30));
    let ledger = open(&data, Options::default(), &clock);
    let club = Club { data, _folder, clock, ledger, requests: 10_000 };
    let mut steps = Vec::new();
    loop {
        let advanced = club.ledger.advance_due().await.unwrap();
        if advanced.members == 0 {
            break;
        }
        steps.push(advanced);
    }
    assert_eq!(steps.iter().map(|step| step.members).sum::<usize>(), 300, "{steps:?}");
    assert!(steps.len() > 1, "in bounded steps: {steps:?}");
    let (first, second) = (at("2026-03-05T05:00:00Z"), at("2026-03-06T05:00:00Z"));
    for (number, member) in members.iter().enumerate() {
        let expected = if number < 50 { vec![(-1, first), (-2, second)] } else { vec![(-1, first)] };
        assert_eq!(club.lapses(member), expected, "member {number}");
    }
    club.close();
}

/// What a subscriber wrote, for whoever started it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Members and seconds of each line with this message.
    fn lines(&self, message: &str) -> Vec<(u64, u64)> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let said = lines.filter(|line| line["message"] == message && line["level"] == "INFO");
        said.map(|line| (line["members"].as_u64().unwrap(), line["seconds"].as_u64().unwrap())).collect()
    }
}

/// Keeps the schedule of 300 members until the log has a line that says it is done, and holds what it said until then against them. Time is
/// tokio's and goes on by four seconds each time that the schedule has waited for something.
async fn check_progress(ledger: &Ledger, on_the_way: &str, done: &str) {
    const TICK: Duration = Duration::from_secs(4);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    let _captured = tracing::subscriber::set_default(subscriber);
    let begun = tokio::time::Instant::now();
    let mut schedule = Box::pin(ledger.keep_schedule());
    let (mut ended, mut most) = (Vec::new(), 0);
    while ended.is_empty() {
        assert!(most < 1_000, "it hangs, or does not say that it is done");
        let mut has_asked = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut has_asked, true) {
                return Poll::Ready(());
            }
            assert!(schedule.as_mut().poll(context).is_pending(), "it goes on until the ledger closes");
            Poll::Pending
        })
        .await;
        ended = log.lines(done);
        most = begun.elapsed().as_secs();
        tokio::time::advance(TICK).await;
    }
    // In the end all of them, and about how long it took: time went on a little before the line was seen.
    let [(members, seconds)] = ended[..] else { panic!("{ended:?}") };
    assert!(members == 300 && seconds > 10 && seconds <= most, "{ended:?} of {most} seconds");
    let lines = log.lines(on_the_way);
    assert!(!lines.is_empty() && lines.len() as u64 <= seconds / 10, "{lines:?} of {seconds} seconds");
    let mut before = (0, 0);
    for (members, seconds) in lines {
        assert!(members > before.0 && members <= 300 && seconds >= before.1 + 10, "{members} after {seconds} seconds, before {before:?}");
        before = (members, seconds);
    }
    // Where nothing is to be done it says nothing more.
    for _ in 0..20 {
        tokio::time::timeout(TICK, schedule.as_mut()).await.unwrap_err();
    }
    assert_eq!((log.lines(done).len(), log.lines(on_the_way).last()), (1, Some(&before)));
}

#[tokio::test(start_paused = true)]
async fn who_catches_up_after_a_stop_says_every_ten_seconds_how_far_it_is_and_when_all_is_done() {
    let mut club = Club::open().await;
    club.with_points(300).await;
    club.ledger.close().unwrap();
    let Club { data, _folder, clock, ledger, .. } = club;
    drop(ledger);
    clock.set(clock.now() + SignedDuration::from_hours(24 * 30));
    let club = Club { ledger: open(&data, Options::default(), &clock), data, _folder, clock, requests: 10_000 };
    check_progress(&club.ledger, "entering what is due", "all that was due is entered").await;
    club.close();
}

#[tokio::test(start_paused = true)]
async fn who_plans_birthdays_by_a_new_rule_book_says_every_ten_seconds_how_far_it_is_and_when_all_is_done() {
    let mut club = Club::open().await;
    for _ in 0..300 {
        club.enroll().await;
    }
    let birthdays = format!("{RULE_BOOK}birthday: {{ window: WINDOW_DAY, rewards: [{{ points: {{ points: \"10\" }} }}] }}\n");
    let request = club.request();
    club.ledger.publish(request, rule_book::read(&birthdays).unwrap()).await.unwrap();
    let (on_the_way, done) = ("looking through members under a new rule book", "all members are as the rule book wants them");
    check_progress(&club.ledger, on_the_way, done).await;
    club.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_into_the_commit_that_tills_wait_for_a_little_at_a_time() {
    let (members, tills) = (100, 20);
    let mut club = Club::open().await;
    let due = club.with_points(members).await;
    club.forward(24 * 4);
    let mut gifts = Vec::new();
    for _ in 0..tills {
        let buyer = club.enroll().await;
        gifts.push(club.submission(MemberTarget::Id(buyer.member), gift(3)));
    }
    let (outcomes, advanced) = club.beside(gifts).await;
    for outcome in outcomes {
        outcome.unwrap();
    }
    let advanced = advanced.unwrap();
    assert_eq!((advanced.members, advanced.entries), (BESIDE_TILLS, BESIDE_TILLS));
    let lapsed: Vec<_> = due.iter().map(|member| club.lapses(member).len()).collect();
    assert_eq!(lapsed[..BESIDE_TILLS], [1; BESIDE_TILLS], "those who have waited longest come first");
    assert_eq!(lapsed[BESIDE_TILLS..], [0; 100 - BESIDE_TILLS]);
    // The rule book, two for each member, one for each buyer; then the first till's, and that of the others with what was due.
    assert_eq!(club.close(), 1 + 2 * members as u64 + tills as u64 + 2);
}

/// Of each a hundred kilobytes and more are due. For one commit those of three are not too much, but for the tills that wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn of_members_with_much_that_is_due_fewer_are_in_the_commit_that_tills_wait_for() {
    let mut club = Club::open().await;
    let (buyer, other) = (club.enroll().await, club.enroll().await);
    let mut due = Vec::new();
    for _ in 0..3 {
        due.push(club.enroll().await);
        club.give_singly(&due[due.len() - 1], 200, 1).await;
    }
    club.forward(24 * 300);
    let gifts = [&buyer, &other].map(|key| club.submission(MemberTarget::Id(key.member), gift(1)));
    let (outcomes, advanced) = club.beside(gifts.into()).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let advanced = advanced.unwrap();
    assert_eq!((advanced.members, advanced.entries, advanced.left), (2, 400, 0));
    // One of whom more is due than a commit beside tills takes has it to herself.
    let rita = club.enroll().await;
    club.give_singly(&rita, 500, 1).await;
    club.forward(24 * 600);
    for entries in [200, 500] {
        let gifts = [&buyer, &other].map(|key| club.submission(MemberTarget::Id(key.member), gift(1)));
        let (outcomes, advanced) = club.beside(gifts.into()).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(advanced.unwrap().entries, entries);
    }
    assert!(due.iter().chain([&rita]).all(|member| !club.lapses(member).is_empty()));
    club.close();
}

/// The schedule must come back to her: what a till has entered of it is as much as one commit takes.
#[tokio::test(flavor = "multi_thread")]
async fn of_whom_a_till_has_entered_only_a_part_of_what_is_due_something_is_due_still() {
    let mut club = Club::open().await;
    let (rita, other) = (club.enroll().await, club.enroll().await);
    let lots = u32::try_from(MAX_LOTS + 1).unwrap();
    club.give_singly(&rita, lots, 0).await;
    club.forward(24 * 4);
    let gifts = [&other, &rita].map(|key| club.submission(MemberTarget::Id(key.member), gift(1)));
    let (outcomes, advanced) = club.beside(gifts.into()).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let advanced = advanced.unwrap();
    assert_eq!((advanced.members, advanced.entries, advanced.left), (1, 0, 1));
    // Her till's own turn had the rest, and nothing is entered twice.
    assert_eq!(club.ledger.advance_due().await.unwrap().members, 0);
    assert_eq!(club.lapses(&rita).iter().map(|(points, _)| points).sum::<i64>(), -i64::from(lots));
    club.close();
}

/// Room for what tills sell is left on the full disk, but not for what is due beside it.
#[tokio::test(flavor = "multi_thread")]
async fn no_space_for_what_is_due_refuses_no_till() {
    if !can_mount("what happens when what is due does not fit onto the disk") {
        return;
    }
    let mounted = Mounted::new(Drive::default());
    let options = Options { segment_bytes: 32 << 10, compress: false, ..Options::default() };
    let mut club = Club::open_in(&mounted.data(), options).await;
    let (buyer, other) = (club.enroll().await, club.enroll().await);
    let mut due = Vec::new();
    for _ in 0..100 {
        due.push(club.enroll().await);
        club.give_singly(&due[due.len() - 1], 6, 1).await;
    }
    club.forward(24 * 30);
    // The journal's newest file has its space, and no more can be made.
    let full = |operation, path| Fault { operation, path, skip: 0, times: u64::MAX, error: ENOSPC };
    mounted.drive().plan.faults = vec![full(Operation::Allocate, ""), full(Operation::Name, "spare.new")];
    let (mut told, mut entered) = (Vec::new(), 0);
    let refusal = loop {
        let amounts = [(&other, 1), (&buyer, 2), (&buyer, -1_000_000)];
        let tills = amounts.map(|(key, points)| club.submission(MemberTarget::Id(key.member), gift(points)));
        let (outcomes, advanced) = club.beside(tills.into()).await;
        told.push(outcomes);
        match advanced {
            Ok(Advanced { members: 0, .. }) => break None,
            Ok(advanced) => entered += advanced.members,
            Err(error) => break Some(error),
        }
    };
    mounted.drive().plan.faults.clear();
    while club.ledger.advance_due().await.unwrap().members > 0 {}
    let lapses: Vec<_> = due.iter().map(|member| club.lapses(member).len()).collect();
    let issued = [&other, &buyer].map(|key| club.ledger.entries(key, None, 1).unwrap()[0].entry.balance.issued);
    // Nothing is asserted before: the disk does not go while the ledger is open.
    club.close();
    assert!(matches!(refusal, Some(LedgerError::NoSpace { .. })), "{refusal:?}");
    assert!((1..due.len()).contains(&entered), "{entered}");
    for outcomes in &told {
        assert!(outcomes[..2].iter().all(Result::is_ok), "{outcomes:?}");
        assert!(matches!(outcomes[2], Err(LedgerError::Rejected(Rejection::InsufficientPoints { .. }))), "{:?}", outcomes[2]);
    }
    assert!(lapses.iter().all(|lapses| *lapses == 6), "{lapses:?}");
    let sold = i64::try_from(told.len()).unwrap();
    assert_eq!(issued, [Points(sold), Points(2 * sold)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_and_what_is_due_of_others_are_one_commit() {
    let mut club = Club::open().await;
    let members = club.with_points(6).await;
    club.forward(24 * 4);
    let [buyer, gone, stays, ..] = members.as_slice() else { panic!("there are six") };
    let sale = club.submission(MemberTarget::Id(buyer.member), gift(3));
    let request = MergeRequest { into: Recipient::Id(stays.member), reason: "one person".into() };
    let merge = club.submission(MemberTarget::Id(gone.member), Command::MergeMembers(request));
    let (outcomes, advanced) = club.beside(vec![sale, merge]).await;
    outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let advanced = advanced.unwrap();
    // What was due of the buyer and of both who are one now came with their commands.
    assert_eq!((advanced.members, advanced.entries), (6, 3));
    for member in members.iter().filter(|member| *member != gone) {
        assert_eq!(club.lapses(member), [(-1, at("2026-03-05T05:00:00Z"))]);
    }
    assert_eq!(club.close(), 1 + 2 * 6 + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_entered_though_tills_never_stop() {
    let mut club = Club::open().await;
    let due = club.with_points(200).await;
    club.forward(24 * 4);
    let (sold, closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tills = Vec::new();
    for _ in 0..4 {
        let buyer = club.enroll().await;
        let (ledger, submission) = (club.ledger.clone(), club.submission(MemberTarget::Id(buyer.member), gift(1)));
        let (sold, closing) = (Arc::clone(&sold), Arc::clone(&closing));
        tills.push(tokio::spawn(async move {
            while !closing.load(Ordering::SeqCst) {
                let id = RequestId::new(&format!("sale-{}", sold.fetch_add(1, Ordering::SeqCst))).unwrap();
                let request = Request { id, ..submission.request.clone() };
                ledger.submit(Submission { request, ..submission.clone() }).await.unwrap();
            }
        }));
    }
    let mut steps = Vec::new();
    loop {
        let before = sold.load(Ordering::SeqCst);
        let step = club.ledger.advance_due().await.unwrap().members;
        if step == 0 {
            break;
        }
        steps.push(step);
        until(|| sold.load(Ordering::SeqCst) > before).await;
    }
    closing.store(true, Ordering::SeqCst);
    for till in tills {
        till.await.unwrap();
    }
    assert_eq!(steps.iter().sum::<usize>(), due.len(), "{steps:?}");
    assert!(steps.iter().all(|step| *step <= BESIDE_TILLS), "{steps:?}");
    assert!(due.iter().all(|member| club.lapses(member) == [(-1, at("2026-03-05T05:00:00Z"))]));
    club.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_and_a_till_never_enter_the_same_twice() {
    let mut club = Club::open().await;
    let member = club.enroll().await;
    for round in 0..20 {
        club.give(&member, 7).await;
        club.forward(24 * 4);
        // The till's command enters what is due, or the schedule does, whoever comes first.
        let schedule = club.ledger.clone();
        let advanced = tokio::spawn(async move { schedule.advance_due().await });
        club.give(&member, 1).await;
        advanced.await.unwrap().unwrap();
        while club.ledger.advance_due().await.unwrap().members > 0 {}
        let lapsed: i64 = club.lapses(&member).iter().map(|(points, _)| points).sum();
        assert_eq!(lapsed, -(7 * (round + 1) + round), "round {round}");
    }
    club.ledger.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_had_been_wrong_and_is_set_back_leaves_nobody_out() {
    let mut club = Club::open().await;
    let (one, other) = (club.enroll().await, club.enroll().await);
    club.give(&one, 10).await;
    let start = club.clock.now();
    club.forward(24 * 300);
    assert_eq!(club.ledger.advance_due().await.unwrap().members, 1);
    assert_eq!(club.ledger.advance_due().await.unwrap().members, 0);
    // Set right again, which is far back: what is due from then on lies before what was done last.
    club.clock.set(start + SignedDuration::from_hours(24));
    club.give(&other, 20).await;
    club.forward(24 * 3);
    assert_eq!(club.ledger.advance_due().await.unwrap().members, 1);
    assert_eq!(club.lapses(&other), [(-20, at("2026-03-06T05:00:00Z"))]);
    club.ledger.close().unwrap();
}
