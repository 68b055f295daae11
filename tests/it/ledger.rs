//! The ledger without gRPC: groups, retries inside a group, a full queue, time that passes.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use jiff::{Timestamp, ToSpan};
use loyaltyd::{
    contract::{rule_book, v1},
    domain::{
        Adjustment, Command, EntryKind, Fingerprint, Identifier, IdentifierKind, Line, LineKind, MemberId, MemberKey, MemberState, OrderId,
        OrderKey, Person, Points, ProgramId, Purchase, Rejection, Request, RequestId, StoreId,
    },
    ledger::{Clock, Ledger, LedgerError, ManualClock, MemberTarget, Outcome, QUEUE_BOUND, Submission},
    store::embedded::EmbeddedStore,
};
use rust_decimal::Decimal;

const RULE_BOOK: &str = r#"
programId: shop
displayName: Shop
currencyCode: USD
timeZone: America/New_York
rounding: {mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP}
accrualRules:
  - ruleId: base
    perAmount: {amount: "1", points: "1"}
expiry: {after: {days: 10}}
tiers:
  - {tierId: silver, displayName: Silver}
  - {tierId: gold, displayName: Gold, threshold: {qualifyingPoints: "100"}}
"#;

pub struct Shop {
    pub ledger: Ledger,
    pub clock: Arc<ManualClock>,
    pub folder: tempfile::TempDir,
}

fn noon() -> Timestamp {
    "2026-03-10T16:00:00Z".parse().expect("a timestamp")
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(RULE_BOOK).await
    }

    /// With another rule book, of the same programme.
    pub async fn open_with(rule_book: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(ManualClock::new(noon()));
        let shop = Self { ledger: open(&folder, &clock), clock, folder };
        let document: v1::Program = rule_book::read(rule_book).expect("the rule book parses");
        shop.ledger.publish(request("publish"), document).await.expect("the rule book is published");
        shop
    }

    pub fn reopen(self) -> Self {
        self.ledger.close().expect("the ledger closes");
        drop(self.ledger);
        Self { ledger: open(&self.folder, &self.clock), clock: self.clock, folder: self.folder }
    }

    pub fn submission(&self, member: MemberTarget, id: &str, command: Command) -> Submission {
        let program = self.ledger.program(&program()).expect("the programme is published");
        Submission { program, member, request: request(id), actor: None, principal: None, command }
    }

    pub async fn enroll(&self, id: &str) -> MemberId {
        self.try_enroll(id, id).await.expect("the member enrols").key.member
    }

    async fn try_enroll(&self, id: &str, card: &str) -> Result<Outcome, LedgerError> {
        let card = Identifier::new(IdentifierKind::Card, card).expect("a card");
        let person = Person { identifiers: vec![card], ..Person::default() };
        self.ledger.submit(self.submission(MemberTarget::New, id, Command::Enroll { person })).await
    }

    fn buy(&self, member: MemberId, id: &str, order: &str, dollars: i64) -> Submission {
        self.submission(MemberTarget::Id(member), id, Command::RecordPurchase(Arc::new(purchase(order, dollars))))
    }

    pub fn adjust(&self, member: MemberId, id: &str, points: i64) -> Submission {
        let adjustment =
            Adjustment { points: Points(points), qualifying: false, reason: "test".into(), reference: String::new(), expiry: None };
        self.submission(MemberTarget::Id(member), id, Command::AdjustPoints(adjustment))
    }

    pub fn available(&self, member: MemberId) -> i64 {
        self.ledger.member(&key(member)).expect("the member is there").header.balance.available.0
    }
}

pub fn open(folder: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Ledger {
    let store = EmbeddedStore::open(folder.path(), crate::support::options()).expect("the store opens");
    Ledger::open(Arc::new(store), Arc::clone(clock) as _).expect("the ledger opens")
}

fn program() -> ProgramId {
    ProgramId::new("shop").expect("an id")
}

pub fn key(member: MemberId) -> MemberKey {
    MemberKey { program: program(), member }
}

/// The fingerprint stands for the payload; the same id here means the same payload.
fn request(id: &str) -> Request {
    Request { id: RequestId::new(id).expect("an id"), fingerprint: Fingerprint([7; 16]) }
}

pub fn purchase(order: &str, dollars: i64) -> Purchase {
    let amount = Decimal::from(dollars);
    let line = Line {
        sku: "tea".into(),
        category: String::new(),
        labels: Vec::new(),
        quantity: Decimal::ONE,
        amount,
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        kind: LineKind::Goods,
    };
    Purchase {
        order: Some(OrderKey { store: StoreId::new("s1").expect("an id"), order: OrderId::new(order).expect("an id") }),
        occurred_time: None,
        channel: String::new(),
        lines: vec![line],
        order_discount: Decimal::ZERO,
        prices_include_tax: true,
        shipping: Decimal::ZERO,
        tip: Decimal::ZERO,
        total: amount,
        tenders: Vec::new(),
        labels: Vec::new(),
        payments: Vec::new(),
        offline: false,
        vouchers: Vec::new(),
        codes: Vec::new(),
        apply_effects: false,
        own_discounts: None,
        quote: None,
    }
}

pub fn rejection(result: Result<Outcome, LedgerError>) -> Rejection {
    match result {
        Err(LedgerError::Rejected(rejection)) => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test]
async fn a_group_of_commands_for_one_member_is_decided_in_order() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    let purchases = (0..600).map(|n| shop.buy(member, &format!("r{n}"), &format!("o{n}"), 2)).collect();
    let outcomes = shop.ledger.submit_all(purchases).await;
    assert_eq!(outcomes.len(), 600);
    let accrued: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().expect("it is recorded").entries[0].balance.available.0).collect();
    assert_eq!(accrued, (1..=600).map(|n| 2 * n).collect::<Vec<i64>>());
    let changes = outcomes.iter().filter(|outcome| outcome.as_ref().is_ok_and(|outcome| outcome.entries.len() == 2)).count();
    assert_eq!(changes, 1, "one purchase leads to gold");
    let shop = shop.reopen();
    assert_eq!(shop.available(member), 1200);
}

#[tokio::test]
async fn the_same_request_twice_in_one_group_is_one_purchase() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    let twice = vec![shop.buy(member, "r", "o", 5), shop.buy(member, "r", "o", 5), shop.buy(member, "r2", "o", 5)];
    let mut outcomes = shop.ledger.submit_all(twice).await;
    let other = rejection(outcomes.pop().expect("three outcomes"));
    assert!(matches!(other, Rejection::PurchaseExists { .. }), "{other}");
    let second = outcomes.pop().expect("two outcomes").expect("the repeat is answered");
    let first = outcomes.pop().expect("one outcome").expect("it is recorded");
    assert_eq!(first.entries, second.entries);
    assert_eq!(shop.available(member), 5);
}

#[tokio::test]
async fn a_request_id_with_another_payload_changes_nothing() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.ledger.submit(shop.buy(member, "r", "o", 5)).await.expect("it is recorded");
    let mut other = shop.buy(member, "r", "o", 6);
    other.request.fingerprint = Fingerprint([8; 16]);
    assert_eq!(rejection(shop.ledger.submit(other).await), Rejection::RequestIdReused);
    assert_eq!(shop.available(member), 5);
}

#[tokio::test]
async fn a_retried_enrolment_shows_the_member_as_it_was_then() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.ledger.submit(shop.buy(member, "r", "o", 5)).await.expect("it is recorded");
    let suspend = shop.submission(MemberTarget::Id(member), "s", Command::Suspend { reason: "lost card".into() });
    shop.ledger.submit(suspend).await.expect("it is suspended");
    let shop = shop.reopen();
    let again = shop.try_enroll("m", "m").await.expect("the first answer again");
    let shown = again.member.expect("an enrolment shows the member");
    assert_eq!((again.key.member, shown.header.last_sequence, shown.header.state), (member, 1, MemberState::Active));
    assert_eq!(shop.ledger.members(&program(), None, 10).expect("a list").len(), 1);
}

#[tokio::test]
async fn an_identifier_belongs_to_one_member_also_within_a_group() {
    let shop = Shop::open().await;
    let card = Identifier::new(IdentifierKind::Card, "c-1").expect("a card");
    let person = Person { identifiers: vec![card.clone()], ..Person::default() };
    let enroll = |id: &str| shop.submission(MemberTarget::New, id, Command::Enroll { person: person.clone() });
    let outcomes = shop.ledger.submit_all(vec![enroll("a"), enroll("b")]).await;
    let [first, second] = <[_; 2]>::try_from(outcomes).expect("two outcomes");
    let found = shop.ledger.find(&program(), &MemberTarget::Identifier(card)).expect("it is found");
    assert_eq!(rejection(second), Rejection::IdentifierTaken { kind: IdentifierKind::Card, member: found.member });
    assert_eq!(found, first.expect("it is enrolled").key);
}

#[tokio::test]
async fn an_identifier_moves_between_members_within_a_group() {
    let shop = Shop::open().await;
    let card = Identifier::new(IdentifierKind::Card, "c-1").expect("a card");
    let mut members = Vec::new();
    for n in 0..8 {
        members.push(shop.enroll(&format!("m{n}")).await);
    }
    let add = |member, id: String| shop.submission(MemberTarget::Id(member), &id, Command::AddIdentifier { identifier: card.clone() });
    let remove =
        |member, id: String| shop.submission(MemberTarget::Id(member), &id, Command::RemoveIdentifier { identifier: card.clone() });
    let mut moves = Vec::new();
    for (n, member) in members.iter().enumerate() {
        moves.extend([add(*member, format!("a{n}")), remove(*member, format!("r{n}"))]);
    }
    // Round once, and back to the first.
    moves.push(add(members[0], "last".into()));
    let outcomes = shop.ledger.submit_all(moves).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let find = |shop: &Shop| shop.ledger.find(&program(), &MemberTarget::Identifier(card.clone())).expect("it is found");
    assert_eq!(find(&shop), key(members[0]));
    let shop = shop.reopen();
    assert_eq!(find(&shop), key(members[0]));
}

#[tokio::test]
async fn large_purchases_that_wait_together_are_committed_apart() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    let large = |n: usize| {
        let mut purchase = purchase(&format!("o{n}"), 1);
        let line = Line { labels: (0..20).map(|label| format!("{label:0>64}")).collect(), ..purchase.lines[0].clone() };
        purchase.lines = vec![line; 3_000];
        purchase.total = Decimal::from(3_000);
        shop.submission(MemberTarget::Id(member), &format!("r{n}"), Command::RecordPurchase(Arc::new(purchase)))
    };
    let one = shop.ledger.submit(large(0)).await.expect("it is recorded").entries[0].stored_size_estimate();
    let count = 160 * (1 << 20) / one;
    // All wait before the writer takes the first: more than a commit can hold, and more than the queue takes of single ones.
    let send = |submission| {
        let ledger = shop.ledger.clone();
        tokio::spawn(async move { ledger.submit_all(vec![submission]).await.remove(0) })
    };
    for task in (1..=count).map(large).map(send).collect::<Vec<_>>() {
        task.await.expect("the task ends").expect("it is recorded");
    }
    assert_eq!(shop.available(member), 3_000 * (1 + i64::try_from(count).expect("a small number")));
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_followed_back() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.clock.set(noon() + 8_760.hours());
    shop.ledger.submit(shop.buy(member, "r1", "o1", 1)).await.expect("it is recorded");
    shop.clock.set(noon() + 1.minute());
    let back = shop.ledger.submit(shop.buy(member, "r2", "o2", 1)).await.expect("it is recorded");
    assert_eq!(back.entries[0].record_time, noon() + 1.minute());
    // A small step is waited for.
    shop.clock.set(noon() + 30.seconds());
    let small = shop.ledger.submit(shop.buy(member, "r3", "o3", 1)).await.expect("it is recorded");
    assert_eq!(small.entries[0].record_time, noon() + 1.minute());
}

#[tokio::test]
async fn points_are_taken_from_the_lots_that_lapse_soonest_and_never_below_zero() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.ledger.submit(shop.buy(member, "r1", "o1", 10)).await.expect("it is recorded");
    shop.clock.set(noon() + 48.hours());
    shop.ledger.submit(shop.buy(member, "r2", "o2", 10)).await.expect("it is recorded");
    // In one group: the second needs lots that the first has changed.
    let outcomes =
        shop.ledger.submit_all(vec![shop.adjust(member, "a1", -4), shop.adjust(member, "a2", -8), shop.adjust(member, "a3", -9)]).await;
    let [one, two, three] = <[_; 3]>::try_from(outcomes).expect("three outcomes");
    let taken = |outcome: Result<Outcome, LedgerError>| match &outcome.expect("it is adjusted").entries[0].kind {
        EntryKind::PointsAdjusted(adjusted) => {
            adjusted.allocations.iter().map(|taken| (taken.lot.id().0, taken.points.0)).collect::<Vec<_>>()
        }
        other => panic!("not an adjustment: {other:?}"),
    };
    assert_eq!(taken(one), [(1, 4)]);
    assert_eq!(taken(two), [(1, 6), (2, 2)]);
    assert_eq!(rejection(three), Rejection::InsufficientPoints { available: Points(8), requested: Points(9) });
    assert_eq!(shop.available(member), 8);
}

#[tokio::test]
async fn a_lot_that_was_used_up_is_no_longer_waited_for() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.ledger.submit(shop.buy(member, "r1", "o1", 10)).await.expect("it is recorded");
    shop.clock.set(noon() + 48.hours());
    shop.ledger.submit(shop.buy(member, "r2", "o2", 10)).await.expect("it is recorded");
    let expiry = |index: usize| shop.ledger.lots(&key(member), None, 10).expect("a list")[index].expiry.time();
    let (first, second) = (expiry(0), expiry(1));
    let next = || shop.ledger.member(&key(member)).expect("the member is there").header.next_due_time();
    shop.ledger.submit(shop.adjust(member, "a1", -9)).await.expect("it is adjusted");
    assert_eq!(next(), first);
    shop.ledger.submit(shop.adjust(member, "a2", -1)).await.expect("it is adjusted");
    assert_eq!(next(), second);
    shop.ledger.submit(shop.adjust(member, "a3", -10)).await.expect("it is adjusted");
    assert_eq!(next(), None);
}

#[tokio::test]
async fn lapsed_points_are_gone_for_every_read_and_entered_with_the_next_command() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.ledger.submit(shop.buy(member, "r1", "o1", 10)).await.expect("it is recorded");
    shop.clock.set(noon() + 480.hours());
    assert_eq!(shop.available(member), 0);
    assert!(shop.ledger.lots(&key(member), None, 10).expect("a list").is_empty());
    let newest = shop.ledger.entries(&key(member), None, 1).expect("a list").pop().expect("an entry");
    assert!(matches!(newest.entry.kind, EntryKind::PointsExpired(_)) && !newest.is_recorded);
    let newest = newest.entry;
    let outcome = shop.ledger.submit(shop.buy(member, "r2", "o2", 3)).await.expect("it is recorded");
    assert_eq!(outcome.entries[0].sequence, 4, "the lapse was entered before the purchase");
    let written = shop.ledger.entry(&key(member), 3).expect("the entry is there");
    assert!(written.is_recorded);
    let written = written.entry;
    assert_eq!((written.occurred_time, written.points()), (newest.occurred_time, Points(-10)));
    assert_eq!(shop.available(member), 3);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_loses_nothing() {
    let shop = Shop::open().await;
    let member = shop.enroll("m").await;
    // All are sent before any is awaited, so most find the queue full.
    let mut waiting = Vec::new();
    for n in 0..3 * QUEUE_BOUND as usize {
        let (ledger, submission) = (shop.ledger.clone(), shop.buy(member, &format!("r{n}"), &format!("o{n}"), 1));
        waiting.push(tokio::spawn(async move { ledger.submit(submission).await }));
    }
    let (mut recorded, mut refused) = (0, 0);
    for task in waiting {
        match task.await.expect("the task ends") {
            Ok(_) => recorded += 1,
            Err(LedgerError::QueueFull { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(recorded + refused, 3 * QUEUE_BOUND as usize);
    assert!(recorded >= QUEUE_BOUND as usize, "{recorded} recorded");
    assert_eq!(shop.available(member), i64::try_from(recorded).expect("a small number"));
}

#[tokio::test]
async fn publishing_the_same_again_changes_nothing_and_a_closed_ledger_says_so() {
    let shop = Shop::open().await;
    let document: v1::Program = rule_book::read(RULE_BOOK).expect("the rule book parses");
    let again = shop.ledger.publish(request("publish-2"), document.clone()).await.expect("it is answered");
    assert!(!again.changed);
    assert_eq!(again.document.version, 1);
    let renamed = v1::Program { display_name: "Shop two".into(), ..document.clone() };
    let next = shop.ledger.publish(request("publish-3"), renamed.clone()).await.expect("it is published");
    assert!(next.changed);
    let repeated = shop.ledger.publish(request("publish-3"), renamed).await.expect("it is answered");
    assert_eq!((repeated.document, repeated.changed), (next.document, true));
    // A late retry of what changed nothing then must not bring the old rule book back.
    let retried = shop.ledger.publish(request("publish-2"), document).await.expect("it is answered");
    assert_eq!((retried.document.version, retried.changed), (1, false));
    let shop = shop.reopen();
    assert_eq!(shop.ledger.document(&program(), None).expect("it is there").0.version, 2);
    shop.ledger.close().expect("it closes");
    let late = shop.try_enroll("late", "late").await;
    assert!(matches!(late, Err(LedgerError::Closing)), "{late:?}");
}

/// A clock at which the writer waits while it is held.
#[derive(Default)]
struct HeldClock {
    /// Whether it is held, and whether the writer waits.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl HeldClock {
    fn hold(&self, held: bool) {
        self.state.lock().expect("nobody panicked").0 = held;
        self.changed.notify_all();
    }

    fn writer_waits(&self) -> bool {
        self.state.lock().expect("nobody panicked").1
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Timestamp {
        if thread::current().name() == Some("writer") {
            let mut state = self.state.lock().expect("nobody panicked");
            while state.0 {
                state.1 = true;
                state = self.changed.wait(state).expect("nobody panicked");
            }
            state.1 = false;
        }
        noon()
    }
}

#[tokio::test]
async fn nothing_is_done_for_who_no_longer_waits() {
    let mut shop = Shop::open().await;
    let member = shop.enroll("m").await;
    shop.ledger.close().expect("the ledger closes");
    let Shop { ledger, clock, folder } = shop;
    drop(ledger);
    let held = Arc::new(HeldClock::default());
    let store = EmbeddedStore::open(folder.path(), crate::support::options()).expect("the store opens");
    let ledger = Ledger::open(Arc::new(store), Arc::clone(&held) as _).expect("the ledger opens");
    shop = Shop { ledger, clock, folder };
    held.hold(true);
    let submit = |submission| {
        let ledger = shop.ledger.clone();
        tokio::spawn(async move { ledger.submit(submission).await })
    };
    let first = submit(shop.buy(member, "r1", "o1", 1));
    while !held.writer_waits() {
        tokio::task::yield_now().await;
    }
    let mut late = Box::pin(shop.ledger.submit(shop.buy(member, "r2", "o2", 1)));
    tokio::select! {
        biased;
        outcome = &mut late => panic!("it waits: {outcome:?}"),
        () = async {} => {}
    }
    // As when its deadline passes, or its connection breaks.
    drop(late);
    let last = submit(shop.buy(member, "r3", "o3", 1));
    held.hold(false);
    for task in [first, last] {
        task.await.expect("the task ends").expect("it is recorded");
    }
    let order = purchase("o2", 1).order.expect("it has one");
    assert!(matches!(shop.ledger.purchase(&program(), &order), Err(LedgerError::PurchaseNotFound { .. })));
    assert_eq!(shop.available(member), 2);
}
