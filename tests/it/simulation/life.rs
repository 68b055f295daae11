//! One life: a store with two programmes, their members, and a clock, until so many commands are answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    domain::{
        ActorId, Command, Entry, EntryRef, Fingerprint, Identifier, IdentifierKind, MemberId, OrderKey, Person, Profile, ProgramId,
        Rejection, Request, RequestId, VoucherChange, VoucherChanged, VoucherCode, VoucherRejection,
    },
    ledger::{BirthdayWalk, Ledger, ManualClock, MemberTarget, Submission},
    store::embedded::{EmbeddedStore, Options, check},
};
use tempfile::TempDir;

use super::{
    COMMANDS_OF_A_LIFE, Random,
    auditor::{
        self, Account, Books,
        book::Book,
        facts,
        promotions::{self, Met},
        referrals,
        vouchers::codes,
    },
    books::Frame,
    generator::{Asker, birth_date},
    quoting::Quotes,
    scheduling::{Scheduled, enter_all},
};

const MEMBERS: usize = 14;
/// In some lives there are so many more from the beginning, of whom more have something due at once than have a turn together.
const CROWD: usize = 40;
/// What waits for the schedule after it.
const LONG_TIME: SignedDuration = SignedDuration::from_hours(24 * 14);
const STAFF: [&str; 2] = ["ann", "bob"];
const BATCH: u64 = 40;
/// A clock that goes back by no more stands still.
const SMALL_STEP: SignedDuration = SignedDuration::from_secs(60);

fn options() -> Options {
    Options { segment_bytes: 1 << 20, overlay_bytes: 256 << 10, sled_cache_bytes: 4 << 20, ..Options::default() }
}

pub struct Shop {
    pub frame: Frame,
    pub id: ProgramId,
    pub books: Books,
    pub accounts: Vec<Account>,
    pub ids: Vec<MemberId>,
    /// Of each member, while it has one.
    pub cards: Vec<Identifier>,
    /// Who bought what, with which entry.
    pub orders: BTreeMap<OrderKey, (usize, u64)>,
    pub next_order: u64,
    /// What operators have adjusted.
    pub desks: BTreeMap<String, auditor::Desk>,
    /// Of vouchers, in the order in which they were told, with the entries that issued them.
    pub codes: Vec<(VoucherCode, EntryRef)>,
}

impl Shop {
    pub fn beside<'a>(&'a self, command: &Command, promise: Option<&'a auditor::prices::Promise>) -> auditor::Beside<'a> {
        let (elsewhere, shelf, pot) = (self.elsewhere(command), self.shelf(command), self.pot(command));
        auditor::Beside { elsewhere, shelf, pot, people: &self.accounts, promise }
    }

    /// Why codes cannot be used by whoever has not got them.
    fn elsewhere(&self, command: &Command) -> BTreeMap<VoucherCode, VoucherRejection> {
        let of = |code: VoucherCode| {
            let mut vouchers = self.accounts.iter().filter_map(|account| account.voucher_of(code));
            vouchers.next().map(|_| VoucherRejection::OfOtherMember)
        };
        codes(command).into_iter().filter_map(|code| Some((code, of(code)?))).collect()
    }

    /// What all members have had of rewards, where that is asked for.
    fn shelf(&self, command: &Command) -> auditor::rewards::Shelf {
        match command {
            Command::Voucher(_) => auditor::rewards::shelf(self.accounts.iter()),
            _ => auditor::rewards::Shelf::new(),
        }
    }

    /// What all members have had of promotions, where that is asked for.
    fn pot(&self, command: &Command) -> auditor::promotions::Pot {
        match command {
            Command::RecordPurchase(_) | Command::ReturnPurchase(_) => auditor::promotions::pot(self.accounts.iter()),
            _ => auditor::promotions::Pot::new(),
        }
    }

    /// A code is new when its voucher is issued, and stays with it.
    pub fn learn(&mut self, changed: &VoucherChanged) -> Result<(), String> {
        match self.codes.iter().find(|(code, issued)| *code == changed.code || *issued == changed.issued) {
            Some(known) if *known == (changed.code, changed.issued) => return Ok(()),
            None if matches!(changed.change, VoucherChange::Issued { .. }) => {}
            Some(_) | None => return Err(format!("an entry calls the voucher of {:?} by a code that is not its own", changed.issued)),
        }
        self.codes.push((changed.code, changed.issued));
        let member = self.ids.iter().position(|id| *id == changed.issued.member).expect("it is a member");
        let holder = self.now(member);
        let voucher = Arc::make_mut(&mut self.accounts[holder].vouchers).get_mut(&changed.issued);
        voucher.expect("it was told").code = Some(changed.code);
        Ok(())
    }

    /// Who a member is now: the one that it was merged into.
    pub fn now(&self, member: usize) -> usize {
        match self.accounts[member].merged_into {
            Some(into) => self.now(self.ids.iter().position(|id| *id == into).expect("it is a member")),
            None => member,
        }
    }

    /// With it goes whoever was merged into it.
    pub fn is_erased(&self, member: usize) -> bool {
        self.accounts[self.now(member)].erased
    }
}

/// A command that was answered, to be sent again.
#[derive(Clone)]
pub struct Answered {
    pub submission: Submission,
    pub entries: Vec<Entry>,
    pub sequence_shown: Option<u64>,
}

pub enum Foretold {
    Done {
        said: Vec<facts::Said>,
        done_before: Option<u64>,
    },
    Refused(Rejection),
    Again(Box<Answered>),
    /// As one before it in the batch.
    Twice(usize),
}

pub struct Asked {
    pub who: Who,
    pub submission: Submission,
    pub foretold: Foretold,
}

/// Place of the shop and of the member in it.
pub type Who = (usize, usize);

pub struct Life {
    pub seed: u64,
    pub random: Random,
    pub clock: Arc<ManualClock>,
    /// What the ledger went by last.
    pub last_now: Option<Timestamp>,
    /// Of all that is written.
    latest: Option<Timestamp>,
    ledger: Option<Ledger>,
    folder: TempDir,
    pub shops: Vec<Shop>,
    requests: u64,
    walk: BirthdayWalk,
    /// Shops whose birthdays nobody has planned yet by the newest rules.
    unplanned: BTreeSet<usize>,
    /// Some lives are longer.
    pace: i64,
    /// What is asked now is asked by staff as a rule.
    at_desk: bool,
    /// Everybody asks for rewards.
    in_rush: bool,
    pub quotes: Quotes,
    pub scheduled: Scheduled,
    pub answered: BTreeMap<RequestId, Answered>,
    /// All that the ledger must have said, and how much of it was compared.
    pub told: BTreeMap<Who, Vec<facts::Said>>,
    pub compared: BTreeMap<Who, usize>,
    pub touched: BTreeSet<Who>,
    /// What was asked of each member, the latest last.
    pub steps: BTreeMap<Who, Vec<(Timestamp, Submission)>>,
    pub done: u64,
}

/// Says which life it was, whatever ends it.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("it went wrong: repeat it with LOYALTYD_TEST_SEED={} LOYALTYD_SIMULATION_COMMANDS={COMMANDS_OF_A_LIFE}", self.0);
        }
    }
}

/// How many commands were answered, how many members were merged into others, and what was met: of promotions, prices and offers, and of
/// referrals.
pub fn live(seed: u64, commands: u64) -> (u64, u64, [Met; 2]) {
    let _told = Told(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut life = Life::begin(seed).await;
        while life.done < commands {
            life.step().await;
        }
        life.end().await;
        let accounts = || life.shops.iter().flat_map(|shop| &shop.accounts);
        let merged = accounts().filter(|account| account.merged_into.is_some()).count() as u64;
        let mut met = promotions::met(accounts());
        let told = life.told.values().flatten().flat_map(facts::met).map(|kind| (kind, 1));
        let quotes = [("quote kept", life.quotes.kept), ("quote changed", life.quotes.changed)];
        let Scheduled { entered, paged, beside, in_part } = life.scheduled;
        let scheduled =
            [("schedule", entered), ("schedule in pages", paged), ("schedule beside commands", beside), ("schedule in part", in_part)];
        told.chain(quotes).chain(scheduled).for_each(|(kind, times)| *met.entry(kind).or_default() += times);
        let months = accounts().filter(|account| account.merged_into.is_none()).flat_map(|account| &account.months.met);
        months.for_each(|(kind, times)| *met.entry(kind).or_default() += times);
        (life.done, merged, [met, referrals::met(life.told.values().flatten())])
    })
}

fn temporary_folder() -> TempDir {
    // Nothing is to survive a cut of power here, so that it may as well be quick.
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.expect("a temporary folder")
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Ledger {
    let store = EmbeddedStore::open(folder, options()).expect("the store opens");
    Ledger::open(Arc::new(store), Arc::clone(clock) as _).expect("the ledger opens")
}

impl Life {
    async fn begin(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let days = random.within(0..=700) as i64;
        let start: Timestamp = "2025-01-01T10:00:00Z".parse().expect("an instant");
        let clock = Arc::new(ManualClock::new(start + SignedDuration::from_hours(24 * days)));
        let folder = temporary_folder();
        let ledger = Some(open(folder.path(), &clock));
        let mut life = Self {
            seed,
            clock,
            last_now: None,
            latest: None,
            ledger,
            folder,
            shops: Vec::new(),
            requests: 0,
            walk: BirthdayWalk::default(),
            unplanned: BTreeSet::new(),
            pace: *random.pick(&[1, 1, 3]),
            random,
            at_desk: false,
            in_rush: false,
            quotes: Quotes::default(),
            scheduled: Scheduled::default(),
            answered: BTreeMap::new(),
            told: BTreeMap::new(),
            compared: BTreeMap::new(),
            touched: BTreeSet::new(),
            steps: BTreeMap::new(),
            done: 0,
        };
        let crowd = if life.random.percent(30) { CROWD } else { 0 };
        for name in ["one", "two"] {
            let frame = Frame::new(name, &mut life.random);
            let id = ProgramId::new(name).expect("an id");
            let books = Books::default();
            life.shops.push(Shop {
                frame,
                id,
                books,
                accounts: Vec::new(),
                ids: Vec::new(),
                cards: Vec::new(),
                orders: BTreeMap::new(),
                next_order: 0,
                desks: BTreeMap::new(),
                codes: Vec::new(),
            });
            let shop = life.shops.len() - 1;
            life.publish(shop).await;
            for _ in 0..3 + crowd {
                life.enrol(shop).await;
            }
        }
        life
    }

    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("it is open")
    }

    /// The time that the ledger will go by.
    pub fn ledger_now(&mut self) -> Timestamp {
        let now = loyaltyd::ledger::Clock::now(&*self.clock);
        let last = self.last_now.filter(|last| last.duration_since(now) <= SMALL_STEP).unwrap_or(now);
        let now = last.max(now);
        self.last_now = Some(now);
        now
    }

    fn request(&mut self) -> Request {
        self.requests += 1;
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&self.requests.to_le_bytes());
        Request { id: number_id(self.requests), fingerprint: Fingerprint(fingerprint) }
    }

    async fn publish(&mut self, shop: usize) {
        let (now, request) = (self.ledger_now(), self.request());
        let mut document = self.shops[shop].frame.book(now, &mut self.random);
        let waits = !self.shops[shop].books.0.is_empty() && self.random.percent(50);
        let since = if waits { now + SignedDuration::from_mins(self.random.within(1..=20_000) as i64) } else { now };
        if waits {
            document.effective_time = Some(prost_types::Timestamp { seconds: since.as_second(), nanos: since.subsec_nanosecond() });
        }
        let published = self.ledger().publish_next(request, document, true).await.unwrap_or_else(|error| panic!("{error:?}"));
        if published.changed {
            let version = u32::try_from(published.document.version).expect("a version");
            self.is_written(now);
            let place = &mut self.shops[shop];
            let before = place.books.walked_since();
            place.books.publish(Book::read(&published.document, version, since), waits);
            if place.books.walked_since() != before {
                self.rules_are_others(&[shop]).await;
            }
        }
    }

    /// Whoever has a date or a plan is planned anew with whatever is next read or asked, and may wait.
    async fn rules_are_others(&mut self, shops: &[usize]) {
        self.unplanned.extend(shops);
        if !shops.is_empty() && self.random.percent(30) {
            self.plan_birthdays().await;
        }
    }

    /// Versions whose time has come take effect.
    async fn turn(&mut self) {
        let now = loyaltyd::ledger::Clock::now(&*self.clock);
        let mut others = Vec::new();
        for (shop, place) in self.shops.iter_mut().enumerate() {
            let before = place.books.walked_since();
            place.books.turn(now);
            if place.books.walked_since() != before {
                others.push(shop);
            }
        }
        self.rules_are_others(&others).await;
    }

    /// As the service does by itself where rules are others than before. It enters all that is due.
    async fn plan_birthdays(&mut self) {
        let now = self.ledger_now();
        for shop in std::mem::take(&mut self.unplanned) {
            for member in 0..self.shops[shop].accounts.len() {
                let place = &mut self.shops[shop];
                let expected = auditor::advance(&place.accounts[member], &place.books, now);
                place.accounts[member] = expected.account;
                self.told.entry((shop, member)).or_default().extend(expected.said);
                self.touched.insert((shop, member));
            }
        }
        let ledger = self.ledger().clone();
        while ledger.plan_birthdays(&mut self.walk).await.expect("birthdays can be planned") {}
        self.compare();
    }

    async fn enrol(&mut self, shop: usize) {
        let (now, request) = (self.ledger_now(), self.request());
        let card = self.free_card(shop);
        let birth_date = if self.random.percent(60) { Some(birth_date(&mut self.random, now)) } else { None };
        let profile = Profile { birth_date, ..Profile::default() };
        let command = Command::Enroll { person: Person { profile, identifiers: vec![card.clone()] } };
        let submission = self.submission(shop, MemberTarget::New, request, command);
        let outcome = self.ledger().submit(submission.clone()).await.expect("anyone can enrol");
        self.shops[shop].ids.push(outcome.key.member);
        self.shops[shop].cards.push(card);
        self.shops[shop].accounts.push(Account { id: Some(outcome.key.member), ..Account::default() });
        let who = (shop, self.shops[shop].accounts.len() - 1);
        let foretold = self.foretell(now, who, &submission);
        self.settle(&[Asked { who, submission, foretold }], &[Ok(outcome)]);
    }

    /// A new one, or the card of a member who was erased.
    fn free_card(&mut self, shop: usize) -> Identifier {
        let place = &self.shops[shop];
        let is_held = |card: &Identifier| (0..place.cards.len()).any(|one| place.cards[one] == *card && !place.is_erased(one));
        let free: Vec<_> = place.cards.iter().filter(|card| !is_held(card)).cloned().collect();
        if !free.is_empty() && self.random.percent(50) {
            return self.random.pick(&free).clone();
        }
        Identifier::new(IdentifierKind::Card, &format!("c-{}", self.requests)).expect("a card")
    }

    fn submission(&self, shop: usize, member: MemberTarget, request: Request, command: Command) -> Submission {
        let program = self.ledger().program(&self.shops[shop].id).expect("it is published");
        Submission { program, member, request, actor: None, principal: None, command }
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0 => {
                self.restart().await;
                if self.random.percent(50) {
                    self.keep_schedule().await;
                }
            }
            1 => {
                let shop = self.random.below(self.shops.len());
                self.publish(shop).await;
                // Now and then again soon, and nobody has done anything meanwhile.
                while self.random.percent(50) {
                    self.pass_time().await;
                    self.publish(shop).await;
                }
            }
            2..=4 | 13..=17 => {
                let shop = self.random.below(self.shops.len());
                let accounts = self.shops[shop].accounts.iter();
                if accounts.filter(|account| account.merged_into.is_none() && !account.erased).count() < MEMBERS {
                    self.enrol(shop).await;
                }
            }
            5 if !self.unplanned.is_empty() => self.plan_birthdays().await,
            5..=12 => self.race().await,
            18..=60 => self.pass_time().await,
            61..=64 => self.keep_schedule().await,
            _ => self.batch().await,
        }
    }

    /// Where the clock is set back the schedule goes on by it, as the service's does before a second is over.
    async fn pass_time(&mut self) {
        let before = loyaltyd::ledger::Clock::now(&*self.clock);
        self.set_clock();
        self.turn().await;
        let passed = loyaltyd::ledger::Clock::now(&*self.clock).duration_since(before);
        // After a long time much is due at once.
        if passed.is_negative() || (passed > LONG_TIME && self.random.percent(80)) {
            self.keep_schedule().await;
        }
    }

    fn set_clock(&mut self) {
        if self.random.percent(15)
            && let Some(time) = self.when_due()
        {
            return self.clock.set(time);
        }
        let minutes = match self.random.below(40) {
            0..=15 => self.random.within(1..=120),
            16..=29 => self.random.within(60..=2_000),
            30..=35 => self.random.within(1_440..=14_400),
            36..=37 => self.random.within(30_000..=90_000),
            // Long enough for whatever lapses.
            38 if self.random.percent(50) => self.random.within(150_000..=600_000),
            _ => 0,
        };
        let seconds = match minutes {
            0 if self.random.percent(80) => -(self.random.within(1..=59) as i64),
            0 => -(self.random.within(61..=3_000) as i64),
            minutes if minutes < 1_440 => minutes as i64 * 60 + self.random.below(60) as i64,
            minutes => minutes as i64 * 60 * self.pace + self.random.below(60) as i64,
        };
        let then = loyaltyd::ledger::Clock::now(&*self.clock) + SignedDuration::from_secs(seconds);
        // What has taken effect by its time stays so. What was published to hold at once does so however the clock is set.
        let turned =
            self.shops.iter().flat_map(|shop| &shop.books.0).any(|book| book.document.effective_time.is_some() && book.since > then);
        if seconds > 0 || !turned {
            self.clock.set(then);
        }
    }

    /// The very instant at which something is due, mostly soon; or some time before it, or so long after it that what it brings is over.
    fn when_due(&mut self) -> Option<Timestamp> {
        let now = loyaltyd::ledger::Clock::now(&*self.clock);
        let all = self.shops.iter().flat_map(|shop| shop.accounts.iter().flat_map(|account| auditor::due_times(account, &shop.books, now)));
        let mut times: Vec<Timestamp> = all.filter(|time| *time > now).collect();
        times.sort_unstable();
        let soon = times.partition_point(|time| time.duration_since(now) < SignedDuration::from_hours(24 * 20));
        let count = if soon > 0 && self.random.percent(80) { soon } else { times.len() };
        let time = *times.get(self.random.below(count.max(1)))?;
        let hours = match self.random.below(10) {
            0..=4 => 0,
            5..=7 => -(self.random.within(1..=72) as i64),
            8 => self.random.within(1..=48) as i64,
            _ => self.random.within(24..=1_200) as i64,
        };
        Some(time + SignedDuration::from_hours(hours)).filter(|time| *time > now)
    }

    async fn restart(&mut self) {
        let ledger = self.ledger.take().expect("it is open");
        ledger.close().expect("it closes");
        drop(ledger);
        if self.random.percent(40) {
            fs::remove_dir_all(self.folder.path().join("tables")).expect("the tables can be removed");
        }
        self.ledger = Some(open(self.folder.path(), &self.clock));
        self.last_now = self.latest;
    }

    /// An entry of then is there, or a rule book.
    pub fn is_written(&mut self, time: Timestamp) {
        self.latest = self.latest.max(Some(time));
    }

    async fn batch(&mut self) {
        let now = self.ledger_now();
        let mut asked: Vec<Asked> = Vec::new();
        self.at_desk = self.random.percent(8);
        self.in_rush = self.random.percent(8);
        while self.random.percent(60) {
            let who = self.anyone();
            self.quote(now, who);
        }
        for place in 0..self.random.within(1..=BATCH) as usize {
            let (who, submission) = self.ask_anyone(now);
            let foretold = self.foretell(now, who, &submission);
            let is_done = matches!(foretold, Foretold::Done { done_before: None, .. });
            asked.push(Asked { who, submission: submission.clone(), foretold });
            let is_activity = matches!(submission.command, Command::RecordActivity(_));
            if is_done && is_activity && self.random.percent(25) {
                let again = Submission { request: self.request(), ..submission.clone() };
                let foretold = self.foretell(now, who, &again);
                asked.push(Asked { who, submission: again, foretold });
            } else if is_done && self.random.percent(3) {
                asked.push(Asked { who, submission, foretold: Foretold::Twice(asked.len() - 1) });
            }
            if place > 0 && self.random.percent(1) {
                break;
            }
        }
        (self.at_desk, self.in_rush) = (false, false);
        let submissions = asked.iter().map(|asked| asked.submission.clone()).collect();
        let outcomes = self.ledger().submit_all(submissions).await;
        self.settle(&asked, &outcomes);
    }

    fn anyone(&mut self) -> Who {
        let shop = self.random.below(self.shops.len());
        (shop, self.random.below(self.shops[shop].accounts.len()))
    }

    /// Now and then a purchase that was quoted.
    fn ask_anyone(&mut self, now: Timestamp) -> (Who, Submission) {
        if self.random.percent(7)
            && let Some((who, command)) = self.quoted()
        {
            let (request, target) = (self.request(), MemberTarget::Id(self.shops[who.0].ids[who.1]));
            return (who, self.submission(who.0, target, request, command));
        }
        let who = self.anyone();
        (who, self.ask(now, who))
    }

    /// What somebody comes with who asks for a member, as the member is shown now.
    pub fn asker<T>(&mut self, now: Timestamp, (shop, member): Who, ask: impl FnOnce(&mut Asker<'_>) -> T) -> T {
        let place = &mut self.shops[shop];
        let account = auditor::shown(&place.accounts[place.now(member)], &place.books, now);
        ask(&mut Asker {
            random: &mut self.random,
            books: &place.books,
            account: &account,
            others: &place.accounts,
            members: &place.ids,
            codes: &place.codes,
            now,
            next_order: &mut place.next_order,
        })
    }

    /// Something new, or something that was answered before, sometimes with another payload.
    fn ask(&mut self, now: Timestamp, (shop, member): Who) -> Submission {
        if self.random.percent(4)
            && let Some(answered) = self.answered.get(&number_id(self.random.within(1..=self.requests)))
        {
            let mut submission = answered.submission.clone();
            if self.random.percent(30) {
                submission.request.fingerprint = Fingerprint([0xEE; 16]);
            }
            return submission;
        }
        let request = self.request();
        let (at_desk, in_rush) = (self.at_desk, self.in_rush);
        let command = self.asker(now, (shop, member), |asker| {
            if at_desk && asker.random.percent(60) {
                asker.adjustment()
            } else if in_rush && asker.random.percent(60) {
                Command::Voucher(asker.reward())
            } else {
                asker.command()
            }
        });
        let place = &self.shops[shop];
        let account = &place.accounts[place.now(member)];
        let by_order = match &command {
            Command::ReturnPurchase(request) => account.sales.contains_key(&request.order).then(|| request.order.clone()),
            Command::ConfirmPurchase { order } => account.sales.contains_key(order).then(|| order.clone()),
            _ => None,
        };
        let by_code = match &command {
            Command::Voucher(request) => request.code().filter(|code| account.voucher_of(*code).is_some()),
            _ => None,
        };
        let by_other = by_order.map(MemberTarget::Order).or(by_code.map(MemberTarget::Voucher));
        let target = by_other.filter(|_| self.random.percent(50)).unwrap_or(MemberTarget::Id(place.ids[member]));
        let staff = matches!(command, Command::AdjustPoints(_)) && self.random.percent(90);
        let actor = staff.then(|| ActorId::new(self.random.pick::<&str>(&STAFF)).expect("an id"));
        Submission { actor, ..self.submission(shop, target, request, command) }
    }

    /// The same request twice at once, or two requests for the same member, whichever comes first; now and then beside the schedule.
    async fn race(&mut self) {
        let now = self.ledger_now();
        let who = self.anyone();
        let may_be_beside = self.random.percent(40);
        let one = self.ask(now, who);
        let other = if self.random.percent(50) { one.clone() } else { self.ask(now, who) };
        let submissions = [one, other];
        // What a merge brings can be due still behind it, as the auditor foretells it too: with the next command, or with the schedule if that
        // comes behind the merge, of which nobody can say here whether it does.
        let is_merge = |one: &Submission| matches!(one.command, Command::MergeMembers(_));
        let beside_schedule = may_be_beside && !submissions.iter().any(is_merge);
        let both = submissions.clone().map(|submission| {
            let (ledger, runtime) = (self.ledger().clone(), tokio::runtime::Handle::current());
            tokio::task::spawn_blocking(move || runtime.block_on(ledger.submit(submission)))
        });
        let schedule = beside_schedule.then(|| {
            let (ledger, runtime) = (self.ledger().clone(), tokio::runtime::Handle::current());
            tokio::task::spawn_blocking(move || runtime.block_on(enter_all(&ledger)))
        });
        let mut outcomes = Vec::new();
        for task in both {
            outcomes.push(task.await.expect("it ends"));
        }
        let Some(schedule) = schedule else { return self.settle_race(now, who, submissions, outcomes) };
        let entered = schedule.await.expect("it ends");
        let raced = format!("{:?}", submissions.iter().map(|one| &one.command).collect::<Vec<_>>());
        let due = self.foretell_all_due(now);
        self.settle_race(now, who, submissions, outcomes);
        // What commands enter of their own members the schedule does not.
        assert!(entered <= due, "{entered} entries and not {due}, or fewer: {raced}");
        self.nothing_is_due().await;
    }

    async fn end(&mut self) {
        self.keep_schedule().await;
        for shop in 0..self.shops.len() {
            for member in 0..self.shops[shop].accounts.len() {
                self.compared.insert((shop, member), 0);
                self.touched.insert((shop, member));
            }
        }
        self.compare();
        let ledger = self.ledger.take().expect("it is open");
        ledger.close().expect("it closes");
        drop(ledger);
        let report = check(self.folder.path(), &options()).expect("the store can be checked");
        assert!(report.is_sound(), "{report:?}");
        for shop in &self.shops {
            let totals = report.programs.iter().find(|totals| totals.program == shop.id).expect("the programme is there");
            let sum = |of: fn(&facts::Purse) -> i64| shop.accounts.iter().map(|account| i128::from(of(&account.purse()))).sum::<i128>();
            let found = [totals.available, totals.pending, totals.held, totals.debt, totals.issued];
            let expected = [sum(|it| it.available), sum(|it| it.pending), sum(|it| it.held), sum(|it| it.debt), sum(|it| it.issued)];
            assert_eq!(found, expected);
            let found = [totals.transferred_in, totals.transferred_out];
            assert_eq!(found, [sum(|it| it.transferred_in), sum(|it| it.transferred_out)]);
            let found = [totals.redeemed, totals.expired, totals.clawed_back, totals.reinstated];
            let expected = [sum(|it| it.redeemed), sum(|it| it.expired), sum(|it| it.clawed_back), sum(|it| it.reinstated)];
            assert_eq!(found, expected);
        }
    }
}

fn number_id(number: u64) -> RequestId {
    RequestId::new(&format!("r-{number}")).expect("an id")
}
