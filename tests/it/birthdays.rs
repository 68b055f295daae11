//! Birthdays: one reward a year, whatever is edited, merged or retried, on the right day of the right zone.

use std::sync::Arc;

use jiff::Timestamp;
use loyaltyd::{
    contract::{program, rule_book, v1},
    domain::{
        BirthDate, BirthdayGiven, Command, Entry, EntryKind, Fingerprint, Identifier, IdentifierKind, Line, LineKind, MemberKey,
        MergeRequest, OrderId, OrderKey, Person, Points, Profile, ProfileUpdate, ProgramId, Purchase, Recipient, Rejection, Request,
        RequestId, ReturnRequest, StoreId, TierId, VoucherCause, VoucherKindId, VoucherRequest,
    },
    ledger::{BirthdayWalk, Ledger, LedgerError, ManualClock, MemberTarget, Outcome, Submission},
    store::embedded::{EmbeddedStore, Options, check},
};
use rust_decimal::Decimal;
use tempfile::TempDir;

pub fn book(zone: &str, birthday: &str) -> v1::Program {
    let text = format!(
        r#"
programId: club
displayName: Club
currencyCode: USD
timeZone: {zone}
rounding: {{ mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_DROP }}
accrualRules:
  - ruleId: base
    perAmount: {{ amount: "1", points: "1" }}
tiers:
  - tierId: silver
  - tierId: gold
    threshold: {{ qualifyingPoints: "1000" }}
    multiplier: "1.5"
voucherKinds:
  - {{ voucherKindId: cake, benefit: {{ freeItem: {{ sku: cake }} }}, validDays: 14 }}
  - {{ voucherKindId: mug, benefit: {{ custom: {{ key: mug }} }}, validMonths: 12 }}
{birthday}
"#
    );
    rule_book::read(&text).expect("a well-formed rule book")
}

/// 100 points that are valid for ten days, on the day.
pub const POINTS: &str = "rewards: [{ points: { points: \"100\", expiry: { after: { days: 10 } } } }]";

pub fn on_the_day(more: &str) -> String {
    format!("birthday: {{ window: WINDOW_DAY, {POINTS}{more} }}")
}

pub struct Party {
    folder: TempDir,
    clock: Arc<ManualClock>,
    pub ledger: Ledger,
    requests: u32,
}

impl Party {
    pub async fn open(now: &str, book: v1::Program) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(instant(now)));
        let ledger = open(&folder, &clock);
        let mut party = Self { folder, clock, ledger, requests: 0 };
        party.publish(book).await;
        party
    }

    pub fn request(&mut self) -> Request {
        self.requests += 1;
        Request { id: RequestId::new(&format!("r-{}", self.requests)).expect("an id"), fingerprint: Fingerprint([0; 16]) }
    }

    pub async fn publish(&mut self, book: v1::Program) {
        let request = self.request();
        self.ledger.publish(request, book).await.expect("it is published");
    }

    async fn submit(&mut self, member: MemberTarget, command: Command) -> Result<Outcome, LedgerError> {
        let program = self.ledger.program(&ProgramId::new("club").expect("an id")).expect("it is published");
        let request = self.request();
        self.ledger.submit(Submission { program, member, request, actor: None, principal: None, command }).await
    }

    pub async fn enroll(&mut self, born: &str) -> MemberKey {
        let card = Identifier::new(IdentifierKind::Card, &format!("c-{}", self.requests)).expect("a card");
        let profile = Profile { birth_date: date(born), ..Profile::default() };
        let person = Person { profile, identifiers: vec![card] };
        self.submit(MemberTarget::New, Command::Enroll { person }).await.expect("it enrols").key
    }

    pub async fn says(&mut self, key: &MemberKey, born: &str) -> Result<Outcome, LedgerError> {
        let update = ProfileUpdate { birth_date: Some(date(born)), ..ProfileUpdate::default() };
        self.submit(MemberTarget::Id(key.member), Command::UpdateProfile(update)).await
    }

    pub async fn buys(&mut self, key: &MemberKey, order: &str, dollars: i64) -> i64 {
        let outcome = self.submit(MemberTarget::Id(key.member), sale(order, dollars)).await.expect("it is recorded");
        let accrued = outcome.entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::PurchaseAccrued(accrued) => Some(accrued.accrual.points.0),
            _ => None,
        });
        accrued.expect("a purchase")
    }

    pub fn at(&self, now: &str) {
        self.clock.set(instant(now));
    }

    pub fn entries(&self, key: &MemberKey) -> Vec<Entry> {
        let listed = self.ledger.entries(key, None, 200).expect("entries are read");
        listed.into_iter().rev().map(|listed| listed.entry).collect()
    }

    /// Year and instant of each reward.
    pub fn grants(&self, key: &MemberKey) -> Vec<(i16, String)> {
        let granted = |entry: &Entry| match &entry.kind {
            EntryKind::BirthdayChanged(changed) => Some((changed.granted.as_ref()?.year, entry.occurred_time.to_string())),
            _ => None,
        };
        self.entries(key).iter().filter_map(granted).collect()
    }

    /// All that is due is written down.
    pub async fn advance(&self) {
        while self.ledger.advance_due().await.expect("what is due is entered").members > 0 {}
    }

    /// The service stops, and starts again later.
    pub fn starts_again(self, now: &str) -> Self {
        let Self { folder, clock, ledger, requests } = self;
        ledger.close().expect("it closes");
        drop(ledger);
        clock.set(instant(now));
        let ledger = open(&folder, &clock);
        Self { folder, clock, ledger, requests }
    }

    /// What is stored is what the ledger says.
    pub async fn end(self) {
        self.advance().await;
        let Self { folder, ledger, .. } = self;
        ledger.close().expect("it closes");
        drop(ledger);
        let report = check(folder.path(), &options()).expect("it can be checked");
        assert!(report.is_sound(), "{report:#?}");
    }
}

pub fn options() -> Options {
    Options { segment_bytes: 1 << 20, ..Options::default() }
}

fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> Ledger {
    let store = EmbeddedStore::open(folder.path(), options()).expect("it opens");
    Ledger::open(Arc::new(store), Arc::clone(clock) as Arc<dyn loyaltyd::ledger::Clock>).expect("it opens")
}

pub fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Month and day, or with a year before; empty: none.
fn date(text: &str) -> Option<BirthDate> {
    let parts: Vec<i16> = text.split('-').filter_map(|part| part.parse().ok()).collect();
    let part = |part: i16| i8::try_from(part).expect("it is small");
    match parts[..] {
        [month, day] => Some(BirthDate { year: None, month: part(month), day: part(day) }),
        [year, month, day] => Some(BirthDate { year: Some(year), month: part(month), day: part(day) }),
        _ => None,
    }
}

fn order(order: &str) -> OrderKey {
    OrderKey { store: StoreId::new("s").expect("an id"), order: OrderId::new(order).expect("an id") }
}

fn sale(number: &str, dollars: i64) -> Command {
    let line = Line {
        sku: "tea".into(),
        category: String::new(),
        labels: Vec::new(),
        quantity: Decimal::ONE,
        amount: dollars.into(),
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        kind: LineKind::Goods,
    };
    Command::RecordPurchase(Arc::new(Purchase {
        order: Some(order(number)),
        occurred_time: None,
        channel: String::new(),
        lines: vec![line],
        order_discount: Decimal::ZERO,
        prices_include_tax: true,
        shipping: Decimal::ZERO,
        tip: Decimal::ZERO,
        total: dollars.into(),
        tenders: Vec::new(),
        labels: Vec::new(),
        payments: Vec::new(),
        offline: false,
        vouchers: Vec::new(),
        codes: Vec::new(),
        apply_effects: false,
        own_discounts: None,
        quote: None,
    }))
}

pub fn given(pairs: &[(i16, &str)]) -> Vec<(i16, String)> {
    pairs.iter().map(|(year, time)| (*year, (*time).to_owned())).collect()
}

#[tokio::test]
async fn a_birthday_brings_points_once_a_year_though_the_year_of_birth_is_not_known() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let (an, binh) = (party.enroll("06-15").await, party.enroll("1990-06-15").await);
    party.at("2026-06-14T23:59:59Z");
    assert!(party.grants(&an).is_empty());
    party.at("2026-06-15T00:00:00Z");
    let member = party.ledger.member(&an).expect("it is there");
    assert_eq!(member.header.balance.available, Points(100));
    for _ in 0..2 {
        party.advance().await;
        for member in [&an, &binh] {
            assert_eq!(party.grants(member), given(&[(2026, "2026-06-15T00:00:00Z")]));
        }
    }
    // Ten days later they have lapsed.
    party.at("2026-06-26T00:00:00Z");
    assert_eq!(party.ledger.member(&an).expect("it is there").header.balance.available, Points(0));
    party.end().await;
}

#[tokio::test]
async fn who_was_born_on_29_february_celebrates_each_year() {
    for (leap_day, common) in [("LEAP_DAY_FEBRUARY_28", "2027-02-28T00:00:00Z"), ("LEAP_DAY_MARCH_1", "2027-03-01T00:00:00Z")] {
        let birthday = on_the_day(&format!(", leapDay: {leap_day}"));
        let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &birthday)).await;
        let member = party.enroll("2000-02-29").await;
        party.at("2028-03-10T12:00:00Z");
        assert_eq!(party.grants(&member), given(&[(2027, common), (2028, "2028-02-29T00:00:00Z")]), "{leap_day}");
        party.end().await;
    }
}

#[tokio::test]
async fn a_window_over_new_year_belongs_to_the_year_of_the_birthday() {
    let birthday = format!("birthday: {{ window: WINDOW_AROUND, daysBefore: 5, daysAfter: 5, {POINTS} }}");
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &birthday)).await;
    let (early, late) = (party.enroll("01-02").await, party.enroll("12-30").await);
    party.at("2027-03-10T12:00:00Z");
    assert_eq!(party.grants(&early), given(&[(2027, "2026-12-28T00:00:00Z")]));
    assert_eq!(party.grants(&late), given(&[(2026, "2026-12-25T00:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn a_month_begins_on_its_first_day() {
    let birthday = format!("birthday: {{ window: WINDOW_MONTH, {POINTS} }}");
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &birthday)).await;
    let member = party.enroll("04-30").await;
    party.at("2026-04-01T00:00:00Z");
    assert_eq!(party.grants(&member), given(&[(2026, "2026-04-01T00:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn a_date_that_comes_late_counts_from_the_next_year_or_at_once() {
    for (late, notice, today, in_window) in [
        ("LATE_DATE_NEXT_YEAR", 7, given(&[(2027, "2027-03-10T00:00:00Z")]), given(&[(2027, "2027-03-15T00:00:00Z")])),
        (
            "LATE_DATE_AT_ONCE",
            7,
            given(&[(2026, "2026-03-10T12:00:00Z"), (2027, "2027-03-10T00:00:00Z")]),
            given(&[(2026, "2026-03-15T00:00:00Z"), (2027, "2027-03-15T00:00:00Z")]),
        ),
        ("LATE_DATE_NEXT_YEAR", 5, given(&[(2027, "2027-03-10T00:00:00Z")]), given(&[(2027, "2027-03-15T00:00:00Z")])),
        (
            "LATE_DATE_NEXT_YEAR",
            4,
            given(&[(2027, "2027-03-10T00:00:00Z")]),
            given(&[(2026, "2026-03-15T00:00:00Z"), (2027, "2027-03-15T00:00:00Z")]),
        ),
    ] {
        let birthday = on_the_day(&format!(", noticeDays: {notice}, lateDate: {late}"));
        let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &birthday)).await;
        // Enrolled on the birthday itself, and five days before it.
        let (on_the_day, soon) = (party.enroll("03-10").await, party.enroll("").await);
        party.says(&soon, "03-15").await.expect("it is known now");
        party.at("2027-03-20T12:00:00Z");
        assert_eq!((party.grants(&on_the_day), party.grants(&soon)), (today, in_window), "{late} {notice}");
        party.end().await;
    }
}

#[tokio::test]
async fn a_date_that_is_changed_or_removed_brings_no_second_reward() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(", lateDate: LATE_DATE_AT_ONCE, maximumChanges: 2"))).await;
    let (an, binh) = (party.enroll("04-01").await, party.enroll("04-01").await);
    party.at("2026-04-02T00:00:00Z");
    party.says(&an, "05-01").await.expect("a change");
    party.says(&binh, "").await.expect("a change");
    party.at("2026-06-01T00:00:00Z");
    party.says(&an, "07-01").await.expect("a change");
    let third = party.says(&an, "08-01").await.expect_err("a third change");
    assert!(matches!(third, LedgerError::Rejected(Rejection::BirthDateChangesUsedUp { maximum: 2 })), "{third:?}");
    // The same date again, and another name, are no changes.
    party.says(&an, "07-01").await.expect("no change");
    party.at("2027-08-01T00:00:00Z");
    assert_eq!(party.grants(&an), given(&[(2026, "2026-04-01T00:00:00Z"), (2027, "2027-07-01T00:00:00Z")]));
    assert_eq!(party.grants(&binh), given(&[(2026, "2026-04-01T00:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn two_who_become_one_have_one_birthday() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(", lateDate: LATE_DATE_AT_ONCE"))).await;
    let (both, other, one, without) =
        (party.enroll("04-01").await, party.enroll("04-01").await, party.enroll("04-01").await, party.enroll("").await);
    party.at("2026-04-01T06:00:00Z");
    for (gone, stays) in [(&other, &both), (&one, &without)] {
        let merge = MergeRequest { into: Recipient::Id(stays.member), reason: "one customer".into() };
        party.submit(MemberTarget::Id(gone.member), Command::MergeMembers(merge)).await.expect("they are merged");
    }
    party.at("2027-04-02T00:00:00Z");
    assert_eq!(party.grants(&both), given(&[(2026, "2026-04-01T00:00:00Z"), (2027, "2027-04-01T00:00:00Z")]));
    // What the one had got the other one is not given again.
    assert_eq!(party.grants(&without), given(&[(2027, "2027-04-01T00:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn years_of_downtime_are_made_up_for_in_order() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let member = party.enroll("04-01").await;
    party.at("2028-05-01T00:00:00Z");
    let expected = given(&[(2026, "2026-04-01T00:00:00Z"), (2027, "2027-04-01T00:00:00Z"), (2028, "2028-04-01T00:00:00Z")]);
    assert_eq!(party.grants(&member), expected);
    party.advance().await;
    assert_eq!(party.grants(&member), expected);
    // Each lapsed before the next came.
    let times: Vec<Timestamp> = party.entries(&member).iter().map(|entry| entry.occurred_time).collect();
    assert!(times.is_sorted(), "{times:?}");
    party.end().await;
}

#[tokio::test]
async fn the_day_is_that_of_the_programme_s_zone() {
    for (zone, start) in [("Pacific/Kiritimati", "2026-12-30T10:00:00Z"), ("Pacific/Pago_Pago", "2026-12-31T11:00:00Z")] {
        let mut party = Party::open("2026-03-10T12:00:00Z", book(zone, &on_the_day(""))).await;
        let member = party.enroll("12-31").await;
        party.at("2027-01-02T00:00:00Z");
        assert_eq!(party.grants(&member), given(&[(2026, start)]), "{zone}");
        party.end().await;
    }
}

#[tokio::test]
async fn rules_that_begin_in_the_middle_of_a_window_reach_those_whose_date_is_known() {
    for (late, expected) in [
        ("LATE_DATE_NEXT_YEAR", given(&[(2027, "2027-03-01T00:00:00Z")])),
        ("LATE_DATE_AT_ONCE", given(&[(2026, "2026-03-10T12:00:00Z"), (2027, "2027-03-01T00:00:00Z")])),
    ] {
        let mut party = Party::open("2026-03-01T12:00:00Z", book("UTC", "")).await;
        let (member, none) = (party.enroll("03-31").await, party.enroll("").await);
        party.at("2026-03-10T12:00:00Z");
        let birthday = format!("birthday: {{ window: WINDOW_MONTH, lateDate: {late}, {POINTS} }}");
        party.publish(book("UTC", &birthday)).await;
        let mut walk = BirthdayWalk::default();
        while party.ledger.plan_birthdays(&mut walk).await.expect("they are planned") {}
        assert_eq!(party.entries(&none).len(), 1, "who has no date has nothing to plan");
        party.at("2027-03-20T12:00:00Z");
        assert_eq!(party.grants(&member), expected, "{late}");
        // Other rules again: what was planned by the old ones is not given.
        party.publish(book("UTC", &on_the_day(""))).await;
        party.at("2028-05-01T00:00:00Z");
        let more = expected.iter().cloned().chain(given(&[(2028, "2028-03-31T00:00:00Z")])).collect::<Vec<_>>();
        assert_eq!(party.grants(&member), more);
        party.end().await;
    }
}

#[tokio::test]
async fn a_code_that_is_shown_on_the_birthday_is_found_though_nobody_has_written_it_yet() {
    let mut party =
        Party::open("2026-03-10T12:00:00Z", book("UTC", "birthday: { window: WINDOW_DAY, rewards: [{ voucherKindId: cake }] }")).await;
    let member = party.enroll("04-01").await;
    party.at("2026-04-01T08:00:00Z");
    // Nobody has kept the schedule today.
    let shown = party.ledger.vouchers_to_show(&member).await.expect("vouchers").vouchers;
    let code = shown.into_keys().next().expect("a voucher");
    assert!(party.ledger.voucher(&member.program, &code).expect("it is found").is_live);
    let use_up = VoucherRequest::Use { code, order: None, order_total: None, value: None };
    party.submit(MemberTarget::Voucher(code), Command::Voucher(use_up)).await.expect("it is used");
    party.end().await;
}

#[tokio::test]
async fn the_reward_is_that_of_the_tier_and_may_be_a_voucher_or_a_multiplier() {
    let birthday = "birthday:
  window: WINDOW_AROUND
  daysAfter: 6
  rewards:
    - { voucherKindId: cake }
    - { tierId: gold, multiplier: \"2\" }";
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", birthday)).await;
    let (silver, gold) = (party.enroll("04-01").await, party.enroll("04-01").await);
    let tier = Command::SetTier { tier: TierId::new("gold").expect("an id"), reason: "a friend".into(), last_date: None };
    party.submit(MemberTarget::Id(gold.member), tier).await.expect("it is gold");
    assert_eq!(party.buys(&gold, "o-1", 10).await, 15);
    party.at("2026-04-07T23:00:00Z");
    // A read shows the very code that is written later.
    let shown = party.ledger.vouchers(&silver).expect("vouchers").vouchers;
    party.advance().await;
    let written = party.ledger.vouchers(&silver).expect("vouchers").vouchers;
    assert_eq!(shown, written);
    let voucher = written.into_values().next().expect("a voucher");
    assert_eq!(
        (voucher.cause, voucher.valid_from_time, voucher.expire_time),
        (VoucherCause::Birthday, instant("2026-04-01T00:00:00Z"), instant("2026-04-16T00:00:00Z"))
    );
    let use_up = VoucherRequest::Use { code: voucher.code, order: None, order_total: None, value: None };
    party.submit(MemberTarget::Voucher(voucher.code), Command::Voucher(use_up)).await.expect("it is used");
    // One and a half times for gold, twice for the birthday; and a return takes as much back.
    assert_eq!(party.buys(&gold, "o-2", 10).await, 30);
    party.at("2026-04-08T00:00:00Z");
    assert_eq!(party.buys(&gold, "o-3", 10).await, 15);
    let back = ReturnRequest {
        order: order("o-2"),
        lines: Vec::new(),
        amount: 5.into(),
        whole: false,
        reason: String::new(),
        reference: String::new(),
        exchange: None,
    };
    party.submit(MemberTarget::Order(order("o-2")), Command::ReturnPurchase(Arc::new(back))).await.expect("it comes back");
    assert_eq!(party.ledger.member(&gold).expect("it is there").header.balance.available, Points(15 + 15 + 15));
    let granted = party.entries(&gold).into_iter().find_map(|entry| match entry.kind {
        EntryKind::BirthdayChanged(changed) => changed.granted,
        _ => None,
    });
    let granted = granted.expect("a reward");
    assert_eq!(granted.tier.map(|tier| tier.to_string()).as_deref(), Some("gold"));
    assert!(matches!(granted.given, BirthdayGiven::Multiplier(it) if it.end_time == instant("2026-04-08T00:00:00Z")));
    party.end().await;
}

#[tokio::test]
async fn a_voucher_that_came_and_lapsed_meanwhile_has_lapsed_for_everyone() {
    let birthday = "birthday: { window: WINDOW_DAY, rewards: [{ voucherKindId: cake }] }";
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", birthday)).await;
    let member = party.enroll("04-01").await;
    let mug = VoucherRequest::Issue { kind: VoucherKindId::new("mug").expect("an id"), reason: "a gift".into() };
    party.submit(MemberTarget::Id(member.member), Command::Voucher(mug)).await.expect("it is issued");
    party.at("2026-05-01T12:00:00Z");
    // The mug is all that is left, whoever looks, and also after the next purchase.
    assert_eq!(party.ledger.member(&member).expect("a member").header.vouchers.live, 1);
    let shown = party.entries(&member);
    party.buys(&member, "o-1", 10).await;
    let written = party.entries(&member);
    let count = |entries: &[Entry]| entries.iter().filter(|entry| entry.voucher_change().is_some()).count();
    assert_eq!((count(&shown), count(&written)), (3, 3));
    assert!(matches!(written.last().map(|entry| &entry.kind), Some(EntryKind::PurchaseAccrued(_))));
    party.end().await;
}

#[tokio::test]
async fn who_enrols_in_a_birthday_s_window_gets_the_same_answer_again() {
    let at_once = on_the_day(", late_date: LATE_DATE_AT_ONCE");
    let mut party = Party::open("2026-04-01T12:00:00Z", book("UTC", &at_once)).await;
    let profile = Profile { birth_date: date("04-01"), ..Profile::default() };
    let card = Identifier::new(IdentifierKind::Card, "c-1").expect("a card");
    let command = Command::Enroll { person: Person { profile, identifiers: vec![card] } };
    let program = party.ledger.program(&ProgramId::new("club").expect("an id")).expect("it is published");
    let submission = Submission { program, member: MemberTarget::New, request: party.request(), actor: None, principal: None, command };
    let [first, again] = [party.ledger.submit(submission.clone()).await, party.ledger.submit(submission).await];
    let (first, again) = (first.expect("it enrols"), again.expect("it is enrolled"));
    assert_eq!(first.entries, again.entries);
    let balance = |outcome: &Outcome| outcome.member.as_ref().map(|member| (member.header.last_sequence, member.header.balance.clone()));
    assert_eq!(balance(&first), balance(&again));
    // And the reward is there.
    assert_eq!(party.grants(&first.key), given(&[(2026, "2026-04-01T12:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn where_no_birthdays_are_celebrated_none_are_planned() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", "")).await;
    let member = party.enroll("04-01").await;
    let mut walk = BirthdayWalk::default();
    assert!(!party.ledger.plan_birthdays(&mut walk).await.expect("nothing is to be done"));
    party.publish(book("UTC", &on_the_day(""))).await;
    while party.ledger.plan_birthdays(&mut walk).await.expect("they are planned") {}
    party.at("2026-04-02T12:00:00Z");
    assert_eq!(party.grants(&member), given(&[(2026, "2026-04-01T00:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn conditions_are_judged_on_the_day() {
    let birthday = on_the_day(", memberForDays: 30, activeWithinMonths: 2");
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &birthday)).await;
    let (new, idle, active) = (party.enroll("04-01").await, party.enroll("06-01").await, party.enroll("06-01").await);
    for (member, number) in [(&new, "o-1"), (&idle, "o-2")] {
        party.buys(member, number, 1).await;
    }
    party.at("2026-04-01T12:00:00Z");
    party.buys(&active, "o-3", 1).await;
    party.at("2027-07-01T00:00:00Z");
    assert!(party.grants(&new).is_empty() && party.grants(&idle).is_empty());
    assert_eq!(party.grants(&active), given(&[(2026, "2026-06-01T00:00:00Z")]));
    party.end().await;
}

#[tokio::test]
async fn who_is_suspended_or_erased_is_given_nothing() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let (suspended, erased) = (party.enroll("04-01").await, party.enroll("04-01").await);
    party.submit(MemberTarget::Id(suspended.member), Command::Suspend { reason: "why".into() }).await.expect("it is suspended");
    party.at("2026-04-02T00:00:00Z");
    party.submit(MemberTarget::Id(suspended.member), Command::Reactivate { reason: "why".into() }).await.expect("it is active");
    party.submit(MemberTarget::Id(erased.member), Command::Erase { reason: "asked".into() }).await.expect("it is erased");
    party.at("2027-04-02T00:00:00Z");
    assert_eq!(party.grants(&suspended), given(&[(2027, "2027-04-01T00:00:00Z")]));
    assert_eq!(party.grants(&erased), given(&[(2026, "2026-04-01T00:00:00Z")]));
    let header = party.ledger.vouchers(&erased).expect("it is there").header;
    assert_eq!(header.birthday, loyaltyd::domain::Birthdays::default());
    party.end().await;
}

/// Nobody has walked along the members yet: whoever asks for one, or of one, sees it by the newest rules.
#[tokio::test]
async fn other_rules_hold_at_once() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let (read, asked) = (party.enroll("06-15").await, party.enroll("06-15").await);
    let birthday = format!("birthday: {{ window: WINDOW_MONTH, {POINTS} }}");
    party.publish(book("UTC", &birthday)).await;
    party.at("2026-06-02T00:00:00Z");
    party.buys(&asked, "o-1", 1).await;
    for member in [&read, &asked] {
        assert_eq!(party.grants(member), given(&[(2026, "2026-06-01T00:00:00Z")]));
    }
    party.at("2026-07-01T00:00:00Z");
    assert_eq!((party.grants(&read).len(), party.grants(&asked).len()), (1, 1));
    party.end().await;
}

#[tokio::test]
async fn a_date_that_came_too_late_for_this_year_stays_so_after_a_merge_and_under_other_rules() {
    let rules = |more: &str| book("UTC", &on_the_day(&format!(", noticeDays: 30{more}")));
    let mut party = Party::open("2026-01-10T12:00:00Z", rules("")).await;
    let long_known = party.enroll("04-01").await;
    party.at("2026-03-10T12:00:00Z");
    let (stays, comes, without, late) =
        (party.enroll("04-01").await, party.enroll("04-01").await, party.enroll("").await, party.enroll("04-01").await);
    let nobody = party.enroll("").await;
    party.at("2026-03-11T12:00:00Z");
    for (gone, into) in [(&nobody, &stays), (&comes, &without)] {
        let merge = MergeRequest { into: Recipient::Id(into.member), reason: "one customer".into() };
        party.submit(MemberTarget::Id(gone.member), Command::MergeMembers(merge)).await.expect("they are merged");
    }
    party.publish(rules(", maximumChanges: 5")).await;
    party.at("2027-04-02T00:00:00Z");
    for member in [&stays, &without, &late] {
        assert_eq!(party.grants(member), given(&[(2027, "2027-04-01T00:00:00Z")]));
    }
    assert_eq!(party.grants(&long_known), given(&[(2026, "2026-04-01T00:00:00Z"), (2027, "2027-04-01T00:00:00Z")]));
    party.end().await;
}

/// What a read has shown is not taken back by rules that came later.
#[tokio::test]
async fn rules_that_came_and_went_while_nobody_wrote_had_their_time() {
    let mut party = Party::open("2026-03-10T12:00:00Z", book("UTC", &on_the_day(""))).await;
    let member = party.enroll("06-15").await;
    party.at("2026-04-01T12:00:00Z");
    party.publish(book("UTC", &format!("birthday: {{ window: WINDOW_MONTH, {POINTS} }}"))).await;
    party.at("2026-06-09T12:00:00Z");
    let shown = party.grants(&member);
    assert_eq!(shown, given(&[(2026, "2026-06-01T00:00:00Z")]));
    party.publish(book("UTC", &on_the_day(", noticeDays: 1"))).await;
    party.at("2026-06-20T12:00:00Z");
    assert_eq!(party.grants(&member), shown);
    party.advance().await;
    assert_eq!(party.grants(&member), shown);
    let times: Vec<Timestamp> = party.entries(&member).iter().map(|entry| entry.occurred_time).collect();
    assert!(times.is_sorted(), "{times:?}");
    party.end().await;
}

#[tokio::test]
async fn support_sees_what_is_planned_and_what_was_given() {
    use crate::{
        redemption::{explained, start_with},
        support::{PROGRAM, by_id, enrolment, rule_book as shop},
    };
    let birthday = rule_book::read(&on_the_day("")).expect("well-formed rules").birthday;
    let server = start_with(v1::Program { birthday, ..shop() }).await;
    let profile = Some(v1::Profile { birth_date: Some(v1::Date { year: 0, month: 3, day: 20 }), ..Default::default() });
    let request = v1::EnrollMemberRequest { profile, ..enrolment("c-1") };
    let answer = server.members().enroll_member(request.clone()).await.expect("it enrols").into_inner();
    assert_eq!(server.members().enroll_member(request).await.expect("it enrols").into_inner(), answer);
    let member = answer.member.expect("a member").member_id;
    server.days_later(11);
    let kinds = vec![v1::EntryKind::BirthdayPlanned.into(), v1::EntryKind::BirthdayGranted.into()];
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), kinds, ..Default::default() };
    let entries = server.points().list_entries(list).await.expect("entries").into_inner().entries;
    let [granted, planned] = &entries[..] else { panic!("{entries:?}") };
    assert!(matches!(&planned.kind, Some(v1::entry::Kind::BirthdayPlanned(plan)) if plan.birthday_year == 2026), "{planned:?}");
    assert!(matches!(&granted.kind, Some(v1::entry::Kind::BirthdayGranted(gift)) if gift.birthday_year == 2026), "{granted:?}");
    assert_eq!((granted.points, granted.sequence), (100, 3));
    for (sequence, part) in [
        (2, "The birthday of 2026 is celebrated from 2026-03-20 00:00:00 until the end of 2026-03-20."),
        (3, "rewarded for the birthday of 2026, for tier member."),
        (3, "100 points are in lot 1, which are valid until the end of 2026-03-30."),
    ] {
        let text = explained(&server, &member, sequence).await;
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    server.stop().await;
}

#[test]
fn mistakes_in_the_rules_are_named() {
    let birthday = "birthday:
  window: WINDOW_DAY
  daysBefore: 3
  noticeDays: 181
  maximumChanges: -1
  rewards:
    - { points: { points: \"0\" } }
    - { voucherKindId: pie }
    - { tierId: bronze, multiplier: \"1\" }
    - { tierId: gold }";
    let mistakes = program::parse(&book("UTC", birthday), 1, instant("2026-03-10T12:00:00Z")).expect_err("it is full of mistakes");
    let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    let expected = [
        "birthday.window",
        "birthday.rewards[0].points.points",
        "birthday.rewards[1].tier_id",
        "birthday.rewards[1].voucher_kind_id",
        "birthday.rewards[2].tier_id",
        "birthday.rewards[2].multiplier",
        "birthday.rewards[3]",
        "birthday.notice_days",
        "birthday.maximum_changes",
    ];
    assert_eq!(paths, expected);
}
