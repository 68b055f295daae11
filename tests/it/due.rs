//! What is due is seen by reads and by later commands, however little of the member they load, and what has lapsed is spent by none.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::rule_book,
    domain::{
        Adjustment, Command, Entry, Fingerprint, HoldRequest, Line, LineKind, MemberKey, OrderId, OrderKey, Payment, Person, Points,
        ProgramId, Purchase, RedeemRequest, Rejection, Request, RequestId, ReturnRequest, ReturnedLine, StoreId, Tender, TenderKind,
    },
    ledger::{Clock, Ledger, LedgerError, ManualClock, MemberTarget, Submission},
    store::embedded::EmbeddedStore,
};
use rust_decimal::Decimal;

pub const RULE_BOOK: &str = r#"
program_id: shop
display_name: Shop
currency_code: USD
time_zone: America/New_York
rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }
expiry: { after: { days: 10 } }
redemption: { points: "1", amount: "1.00", maximum_share_percent: "100" }
accrual_rules:
"#;
pub const AT_ONCE: &str = "- { rule_id: base, per_amount: { amount: 1, points: 1 } }\n";
const LATER: &str = "- { rule_id: base, per_amount: { amount: 1, points: 1 }, activation: { after_days: 5 } }
- { rule_id: visit, per_order: { points: 1 }, activation: { after_days: 4 } }\n";

pub struct Shop {
    pub ledger: Ledger,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
    pub key: MemberKey,
    requests: u32,
}

impl Shop {
    pub async fn open(rules: &str) -> Self {
        Self::open_with(RULE_BOOK, rules).await
    }

    pub async fn open_with(rule_book: &str, rules: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(ManualClock::new(crate::support::noon()));
        let store = EmbeddedStore::open(folder.path(), crate::support::options()).expect("the store opens");
        let ledger = Ledger::open(Arc::new(store), Arc::clone(&clock) as _).expect("the ledger opens");
        let document = rule_book::read(&format!("{rule_book}{rules}")).expect("the rule book parses");
        ledger.publish(request(0), document).await.expect("it is published");
        let program = ledger.program(&ProgramId::new("shop").expect("an id")).expect("it is published");
        let command = Command::Enroll { person: Person::default() };
        let enrolment = Submission { program, member: MemberTarget::New, request: request(1), actor: None, principal: None, command };
        let key = ledger.submit(enrolment).await.expect("anyone can enrol").key;
        Self { ledger, clock, _folder: folder, key, requests: 1 }
    }

    pub async fn does(&mut self, command: Command) -> Result<Vec<Entry>, LedgerError> {
        self.requests += 1;
        let program = self.ledger.program(&self.key.program)?;
        let (member, request) = (MemberTarget::Id(self.key.member), request(self.requests));
        self.ledger
            .submit(Submission { program, member, request, actor: None, principal: None, command })
            .await
            .map(|outcome| outcome.entries)
    }

    pub async fn gets(&mut self, points: i64) {
        self.does(gift(points)).await.expect("it is taken");
    }

    /// As many lots of one point.
    pub async fn gets_many(&mut self, lots: usize) {
        for first in (0..lots).step_by(400) {
            let program = self.ledger.program(&self.key.program).expect("it is published");
            let mut submissions = Vec::new();
            for _ in first..lots.min(first + 400) {
                self.requests += 1;
                let (member, request) = (MemberTarget::Id(self.key.member), request(self.requests));
                submissions.push(Submission {
                    program: Arc::clone(&program),
                    member,
                    request,
                    actor: None,
                    principal: None,
                    command: gift(1),
                });
            }
            for outcome in self.ledger.submit_all(submissions).await {
                outcome.expect("it is taken");
            }
        }
    }

    /// The next version, which holds at once.
    pub async fn publish(&mut self, rule_book: &str) {
        self.requests += 1;
        let document = rule_book::read(rule_book).expect("the rule book parses");
        self.ledger.publish(request(self.requests), document).await.expect("it is published");
    }

    pub fn pass(&self, hours: i64) {
        self.clock.set(self.clock.now() + SignedDuration::from_hours(hours));
    }

    /// Available, and points of the lots.
    pub fn has(&self) -> (i64, Vec<i64>) {
        let lots = self.ledger.lots(&self.key, None, 100).expect("the member is there");
        let available = self.ledger.member(&self.key).expect("the member is there").header.balance.available;
        (available.0, lots.iter().map(|lot| lot.remaining.0).collect())
    }
}

fn gift(points: i64) -> Command {
    let (points, reason, reference) = (Points(points), "goodwill".into(), String::new());
    Command::AdjustPoints(Adjustment { points, qualifying: false, reason, reference, expiry: None })
}

fn request(number: u32) -> Request {
    Request { id: RequestId::new(&format!("r-{number}")).expect("an id"), fingerprint: Fingerprint([7; 16]) }
}

fn order(number: u32) -> OrderKey {
    OrderKey { store: StoreId::new("s").expect("an id"), order: OrderId::new(&number.to_string()).expect("an id") }
}

pub fn purchase(number: u32, dollars: i64, occurred_time: Option<Timestamp>) -> Purchase {
    let amount = Decimal::from(dollars);
    let line = Line { amount, kind: LineKind::Goods, ..crate::accrual::line("0") };
    Purchase { order: Some(order(number)), occurred_time, total: amount, ..crate::accrual::purchase(vec![line]) }
}

pub fn redemption(points: i64, order_total: Option<i64>) -> RedeemRequest {
    RedeemRequest { points: Some(Points(points)), order_total: order_total.map(Decimal::from), ..RedeemRequest::default() }
}

fn whole(number: u32) -> ReturnRequest {
    ReturnRequest {
        order: order(number),
        lines: Vec::new(),
        amount: Decimal::ZERO,
        whole: true,
        reason: "too small".into(),
        reference: String::new(),
        exchange: None,
    }
}

#[tokio::test]
async fn lots_show_what_a_hold_gave_back_before_that_is_written() {
    let mut shop = Shop::open(AT_ONCE).await;
    shop.gets(10).await;
    shop.gets(5).await;
    let hold = HoldRequest { redeem: redemption(12, Some(50)), seconds: Some(60) };
    shop.does(Command::HoldPoints(hold)).await.expect("the points are held");
    assert_eq!(shop.has(), (3, vec![3]));
    shop.pass(1);
    assert_eq!(shop.has(), (15, vec![10, 5]));
    let page = |after| shop.ledger.lots(&shop.key, after, 1).expect("the member is there");
    let first = page(None);
    assert_eq!(page(Some(first[0].key()))[0].remaining, Points(5));
}

#[tokio::test]
async fn lots_show_what_has_become_active_before_that_is_written() {
    let mut shop = Shop::open(LATER).await;
    shop.does(Command::RecordPurchase(Arc::new(purchase(1, 8, None)))).await.expect("it is recorded");
    assert_eq!(shop.has(), (0, vec![]));
    shop.pass(4 * 24);
    assert_eq!(shop.has(), (1, vec![1]));
    shop.pass(24);
    assert_eq!(shop.has(), (9, vec![8, 1]));
}

#[tokio::test]
async fn a_late_sale_that_is_active_at_once_does_not_hide_when_others_are() {
    let mut shop = Shop::open(LATER).await;
    shop.does(Command::RecordPurchase(Arc::new(purchase(1, 8, None)))).await.expect("it is recorded");
    shop.pass(24);
    // Both of its lots are active: one after the other.
    let then = shop.clock.now() - SignedDuration::from_hours(6 * 24);
    shop.does(Command::RecordPurchase(Arc::new(purchase(2, 20, Some(then))))).await.expect("it is recorded");
    assert_eq!(shop.has().0, 21);
    shop.pass(4 * 24);
    // Of the late sale all has lapsed but for today.
    assert_eq!(shop.has().0, 30);
}

#[tokio::test]
async fn points_that_lapsed_and_come_back_with_a_return_do_not_settle_it() {
    let mut shop = Shop::open(AT_ONCE).await;
    shop.gets(10).await;
    shop.pass(5 * 24);
    let mut paid = purchase(1, 14, None);
    paid.payments = vec![Payment::Redeem { points: Points(10) }];
    let tender = |kind, dollars| Tender { kind, amount: Decimal::from(dollars) };
    paid.tenders = vec![tender(TenderKind::Points, 10), tender(TenderKind::Cash, 4)];
    shop.does(Command::RecordPurchase(Arc::new(paid))).await.expect("it is recorded");
    shop.does(Command::RedeemPoints(redemption(4, Some(50)))).await.expect("what it earned is spent");
    shop.pass(7 * 24);
    shop.gets(50).await;
    shop.does(Command::ReturnPurchase(Arc::new(whole(1)))).await.expect("it comes back");
    let balance = shop.ledger.member(&shop.key).expect("the member is there").header.balance;
    assert_eq!((balance.available, balance.expired, balance.clawed_back), (Points(46), Points(10), Points(4)));
}

#[tokio::test]
async fn of_several_reasons_against_a_hold_the_first_of_the_list_is_given() {
    let mut shop = Shop::open(AT_ONCE).await;
    let hold = |total| Command::HoldPoints(HoldRequest { redeem: redemption(5, total), seconds: Some(100_000) });
    let refused = |answer: Result<Vec<Entry>, LedgerError>| match answer {
        Err(LedgerError::Rejected(rejection)) => rejection,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(refused(shop.does(hold(None)).await), Rejection::OrderTotalRequired);
    assert!(matches!(refused(shop.does(hold(Some(50))).await), Rejection::HoldTooLong { .. }));
}

#[tokio::test]
async fn a_return_of_too_much_of_a_line_is_refused_with_amounts_of_money() {
    let mut shop = Shop::open(AT_ONCE).await;
    shop.does(Command::RecordPurchase(Arc::new(purchase(1, 14, None)))).await.expect("it is recorded");
    let back = ReturnRequest { lines: vec![ReturnedLine { line: 0, quantity: Decimal::ZERO, amount: Decimal::from(20) }], ..whole(1) };
    let refused = shop.does(Command::ReturnPurchase(Arc::new(ReturnRequest { whole: false, ..back }))).await;
    let expected = Rejection::ReturnTooLarge { line: Some(0), left: Decimal::from(14), requested: Decimal::from(20) };
    assert!(matches!(refused, Err(LedgerError::Rejected(rejection)) if rejection == expected));
}
