//! Members' histories for tests of stores: decided by the domain under a rule book, committed, and remembered.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::{program, rule_book},
    domain::{
        ActivityId, ActivityRequest, ActivitySide, ActorId, Adjustment, BirthDate, CaptureRequest, Command, Context, Entry, EntryKind,
        EntryRef, Fingerprint, Header, History, HoldId, HoldRequest, Identifier, IdentifierKind, Line, LineKind, Lot, LotKey, Member,
        MemberId, MemberKey, MemberState, Numbered, OfferId, OfferRequest, OperatorDay, OrderId, OrderKey, Person, Points, Profile,
        ProgramHistory, ProgramId, Purchase, Recipient, RedeemRequest, Rejection, Request, RequestId, ReturnRequest, ReversalRequest,
        RewardId, RewardStock, RuleId, Sealed, SegmentId, SegmentSize, StoreId, Tallies, Thread, VoucherCode, VoucherKindId,
        VoucherRequest, decide, receive,
    },
    store::{Commit, CommitSeq, LotDemand, MemberChange, MemberDemand, Publication, RequestOutcome, RequestRow, Store},
};
use rust_decimal::Decimal;

/// Points lapse two days after earning; two tiers; one of the rules has a cap and does not qualify, all round the fraction on; by some
/// channels points are pending. What looks like fraud is flagged.
const RULE_BOOK: &str = r#"
programId: club
displayName: Club
currencyCode: USD
timeZone: Asia/Ho_Chi_Minh
pointsPrecision: 1
rounding: { mode: MODE_FLOOR, stage: STAGE_RULE, fraction: FRACTION_CARRY }
expiry: { after: { days: 2 } }
accrualRules:
  - ruleId: base
    displayName: A point a dollar
    perAmount: { amount: "1", points: "1" }
  - ruleId: visit
    displayName: Once a day
    perOrder: { points: "2" }
    withoutQualifying: true
    limits: { cap: { points: "4", period: PERIOD_DAY } }
  - ruleId: app
    perAmount: { amount: "1", points: "1" }
    filter: { channels: [app] }
    activation: { afterDays: 1 }
  - ruleId: web
    perAmount: { amount: "1", points: "1" }
    filter: { channels: [web] }
    activation: { onConfirmation: {} }
tiers:
  - tierId: silver
    displayName: Silver
  - tierId: gold
    displayName: Gold
    threshold: { qualifyingPoints: "40" }
    multiplier: "1.5"
    benefits: { discountPercent: "7.5" }
activityRules:
  - { ruleId: review, activity: review, points: "5", cap: { points: "8", period: PERIOD_DAY } }
  - { ruleId: joined, activity: referral, points: "3", activation: { afterDays: 1 } }
  - { ruleId: brought, activity: referral, earner: EARNER_REFERRER, points: "7", oncePerMember: true }
  - { ruleId: friend, activity: friend, points: "2" }
  - { ruleId: friends, activity: friend, earner: EARNER_REFERRER, points: "4", cap: { points: "9", period: PERIOD_DAY } }
referral: { activity: friend, minimumAmount: "4", withinDays: 3 }
redemption: { points: "100", amount: "1", graceDays: 1, maximumHoldSeconds: 864000 }
voucherKinds:
  - { voucherKindId: off, displayName: 1 off, benefit: { amountOff: { amount: "1" } }, validDays: 2 }
  - { voucherKindId: tea, benefit: { percentOff: { percent: "10", maximumAmount: "5" } }, minimumOrder: "3", validMonths: 1 }
  - { voucherKindId: sku, benefit: { freeItem: { sku: sku-1 } }, validDays: 30 }
  - { voucherKindId: mug, benefit: { custom: { key: mug, text: A mug } }, validDays: 30 }
  - { voucherKindId: ship, benefit: { freeShipping: {} }, validDays: 30 }
rewards:
  - { rewardId: cup, displayName: A cup, voucherKindId: mug, points: "3", maximumQuantity: 5 }
  - { rewardId: tasting, displayName: A tasting, voucherKindId: ship, points: "1.5", validMonths: 2, tierCosts: [{ tierId: gold, points: "0" }] }
promotions:
  - { promotionId: spring, displayName: Spring, code: SPRING, multiply: { multiplier: "2" }, limits: { dailyCapPoints: "7", budgetPoints: "12" } }
  - { promotionId: three, code: SPRING, filter: { categories: [tea] }, minimumQuantity: "0.5", addFixed: { points: "0.5", eachMinimumQuantity: true },
      limits: { cap: { points: "4", period: PERIOD_MONTH }, times: { times: 3, period: PERIOD_MONTH } } }
  - { promotionId: more, code: SPRING, filter: { skus: [sku-1] }, addPerAmount: { amount: "2", points: "0.3" }, activation: { afterDays: 1 } }
  - { promotionId: gift, code: GIFT, voucherKindId: off }
fraudLimits:
  purchasesPerHour: { maximum: 1, action: ACTION_FLAG }
  pointsPerDay: { maximum: "20", action: ACTION_FLAG }
  adjustmentsPerDay: { maximum: 2, action: ACTION_FLAG }
"#;

/// Points, or for gold a voucher, from 40 days before the birthday on.
pub const BIRTHDAYS: &str = r#"
birthday:
  window: WINDOW_AROUND
  daysBefore: 40
  rewards: [{ points: { points: "7" } }, { tierId: gold, voucherKindId: off }]
"#;

/// Points turn into a voucher by themselves, at once.
pub const GOAL: &str = r#"
goals: [{ goalId: card, points: "9", voucherKindId: mug }]
"#;

/// After a day.
pub const SLOW_GOAL: &str = r#"
goals: [{ goalId: card, points: "9", voucherKindId: mug, delayDays: 1 }]
"#;

/// A mug twice a day, and a promotion for those to whom it is given.
pub const OFFERS: &str = r#"
offers:
  - { offerId: mug, displayName: A mug, voucher: { voucherKindId: mug, validDays: 3 }, memberLimit: { uses: 2, period: PERIOD_DAY } }
  - { offerId: given, displayName: A spring, personal: true, requiresActivation: true, validDays: 1, promotionId: spring,
      memberLimit: { uses: 2, period: PERIOD_DAY } }
"#;

/// Who has bought often, and lately.
pub const SEGMENTS: &str = r#"
segments:
  - { segmentId: regular, condition: "member.purchases >= 3" }
  - { segmentId: lately, condition: "member.purchases_in_days(2) >= 1" }
"#;

/// Who does what is done by hand.
fn actor() -> ActorId {
    ActorId::new("staff-7").expect("a valid id")
}

pub fn start() -> Timestamp {
    "2026-01-15T10:00:00Z".parse().expect("a valid instant")
}

pub fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

pub fn program_id() -> ProgramId {
    ProgramId::new("club").expect("a valid id")
}

pub fn member_id(number: u8) -> MemberId {
    MemberId([number; 16])
}

pub fn key(number: u8) -> MemberKey {
    MemberKey { program: program_id(), member: member_id(number) }
}

pub fn phone(digits: u32) -> Identifier {
    Identifier::new(IdentifierKind::Phone, &format!("+84{:09}", digits)).expect("a valid phone number")
}

pub fn person(name: &str, identifiers: &[Identifier]) -> Person {
    let profile = Profile {
        display_name: name.to_owned(),
        birth_date: Some(BirthDate { year: Some(1990), month: 2, day: 28 }),
        language_code: "vi-VN".to_owned(),
    };
    Person { profile, identifiers: identifiers.to_vec() }
}

pub fn order(number: u64) -> OrderKey {
    OrderKey { store: StoreId::new("store-1").expect("a valid id"), order: OrderId::new(&format!("order-{number}")).expect("a valid id") }
}

pub fn purchase(number: u64, cents: i64, occurred_time: Option<Timestamp>) -> Command {
    purchase_on("pos", number, cents, occurred_time)
}

/// By the app a part of the points becomes active a day later, by the web when the purchase is confirmed.
pub fn purchase_on(channel: &str, number: u64, cents: i64, occurred_time: Option<Timestamp>) -> Command {
    let amount = Decimal::new(cents, 2);
    let line = Line {
        sku: "sku-1".to_owned(),
        category: "tea".to_owned(),
        labels: vec!["organic".to_owned()],
        quantity: Decimal::new(1500, 3),
        amount,
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        kind: LineKind::Goods,
    };
    Command::RecordPurchase(Arc::new(Purchase {
        order: Some(order(number)),
        occurred_time,
        channel: channel.to_owned(),
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
    }))
}

/// With codes of promotions.
pub fn purchase_by_code(number: u64, cents: i64, codes: &[&str]) -> Command {
    let Command::RecordPurchase(purchase) = purchase(number, cents, None) else { unreachable!("it is a purchase") };
    let codes = codes.iter().map(|code| (*code).to_owned()).collect();
    Command::RecordPurchase(Arc::new(Purchase { codes, ..Purchase::clone(&purchase) }))
}

/// Of the goods so many cents, or all.
pub fn return_of(order: OrderKey, cents: Option<i64>) -> Command {
    Command::ReturnPurchase(Arc::new(ReturnRequest {
        order,
        lines: Vec::new(),
        amount: Decimal::new(cents.unwrap_or(0), 2),
        whole: cents.is_none(),
        reason: "did not fit".to_owned(),
        reference: "return-1".to_owned(),
        exchange: None,
    }))
}

pub fn adjustment(points: i64) -> Command {
    Command::AdjustPoints(Adjustment {
        points: Points(points),
        qualifying: false,
        reason: "goodwill".to_owned(),
        reference: String::new(),
        expiry: None,
    })
}

pub fn redemption(points: i64) -> Command {
    Command::RedeemPoints(RedeemRequest { points: Some(Points(points)), order: Some(order(1)), ..RedeemRequest::default() })
}

pub fn reversal(redemption: u64, points: Option<i64>) -> Command {
    Command::ReverseRedemption(ReversalRequest { ledger: None, redemption, points: points.map(Points), reason: "back".to_owned() })
}

pub fn hold(points: i64, hours: u32) -> Command {
    let redeem = RedeemRequest { points: Some(Points(points)), reference: "cart".to_owned(), ..RedeemRequest::default() };
    Command::HoldPoints(HoldRequest { redeem, seconds: Some(hours * 3_600) })
}

pub fn capture(hold: u64, points: Option<i64>) -> Command {
    let hold = HoldId(hold);
    Command::CaptureHold(CaptureRequest { hold, points: points.map(Points), order: None, reference: String::new() })
}

pub fn erasure() -> Command {
    Command::Erase { reason: "asked to be forgotten".to_owned() }
}

pub fn release(hold: u64) -> Command {
    Command::ReleaseHold { hold: HoldId(hold), reason: "cart emptied".to_owned() }
}

/// The points for a referral wait a day for the new member.
pub fn activity(kind: &str, reference: &str, referrer: Option<u8>) -> Command {
    Command::RecordActivity(ActivityRequest {
        activity: ActivityId::new(kind).expect("a valid id"),
        reference: reference.to_owned(),
        referrer: referrer.map(|number| Recipient::Id(member_id(number))),
        occurred_time: None,
    })
}

pub fn voucher(kind: &str) -> Command {
    let kind = VoucherKindId::new(kind).expect("a valid id");
    Command::Voucher(VoucherRequest::Issue { kind, reason: "sorry".to_owned() })
}

/// So many of a reward.
pub fn reward(reward: &str, quantity: u32) -> Command {
    Command::Voucher(VoucherRequest::Redeem { reward: RewardId::new(reward).expect("a valid id"), quantity })
}

/// Something about one of the offers.
pub fn offer(what: u8, now: Timestamp) -> Command {
    let id = |offer| OfferId::new(offer).expect("a valid id");
    let reason = || "sorry".to_owned();
    Command::Offer(match what {
        0 => OfferRequest::Activate { offer: id("mug") },
        1 | 2 => OfferRequest::Activate { offer: id("given") },
        3 => OfferRequest::Assign { offer: id("given"), reason: reason(), end_time: None },
        4 => OfferRequest::Assign { offer: id("given"), reason: reason(), end_time: now.checked_add(hours(30)).ok() },
        _ => OfferRequest::Withdraw { offer: id("given"), reason: reason() },
    })
}

/// With vouchers of the member's.
pub fn purchase_with(vouchers: &[VoucherCode], number: u64, cents: i64) -> Command {
    let Command::RecordPurchase(purchase) = purchase(number, cents, None) else { unreachable!("it is a purchase") };
    Command::RecordPurchase(Arc::new(Purchase { vouchers: vouchers.to_vec(), ..Purchase::clone(&purchase) }))
}

/// At the prices that the member's tier and vouchers leave.
pub fn priced_purchase(vouchers: &[VoucherCode], number: u64, cents: i64) -> Command {
    let Command::RecordPurchase(purchase) = purchase_with(vouchers, number, cents) else { unreachable!("it is a purchase") };
    Command::RecordPurchase(Arc::new(Purchase { apply_effects: true, ..Purchase::clone(&purchase) }))
}

/// What a store must answer, as remembered by the test; and the clock.
#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    pub programs: ProgramHistory,
    pub publications: Vec<Publication>,
    pub members: BTreeMap<MemberId, Member>,
    pub entries: BTreeMap<MemberId, Vec<Entry>>,
    pub requests: Vec<(RequestId, RequestRow)>,
    pub purchases: Vec<(OrderKey, EntryRef)>,
    pub identifiers: BTreeMap<Identifier, Option<MemberId>>,
    /// With what finds them, and the sequences of their entries.
    pub activities: Vec<(MemberId, ActivityId, Option<String>, u64)>,
    /// What was adjusted, by what is committed.
    pub operator: Option<OperatorDay>,
    count: u64,
    /// What the next commit writes.
    pending: BTreeMap<MemberId, Pending>,
}

/// Entries, and what was due next before them.
#[derive(Clone)]
struct Pending {
    entries: Vec<Entry>,
    due_before: Option<Timestamp>,
}

impl World {
    pub fn new() -> Self {
        Self::under(RULE_BOOK)
    }

    /// With more in the rule book.
    pub fn with(more: &str) -> Self {
        // The promotion of an offer is for those alone who have that.
        let gated = RULE_BOOK.replace("{ promotionId: spring,", "{ promotionId: spring, onlyWithOffer: true,");
        let book = if more.contains("promotionId: spring") { gated } else { RULE_BOOK.to_owned() };
        Self::under(&format!("{book}{more}"))
    }

    /// Where tiers are counted by the day, have an end and are reviewed, and who reaches one gets something.
    pub fn with_reviews() -> Self {
        let gold = "multiplier: \"1.5\"\n    entryReward: { points: \"3\" }";
        let policy =
            "tierPolicy: { window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD, graceDays: 2, reviewReturnsAtOnce: true }";
        Self::under(&format!("{}{policy}\n", RULE_BOOK.replace("multiplier: \"1.5\"", gold)))
    }

    fn under(rule_book: &str) -> Self {
        let document = rule_book::read(rule_book).expect("the rule book is well-formed");
        let program = program::parse(&document, 1, start()).expect("the rule book is valid");
        Self {
            now: start(),
            programs: ProgramHistory::new(Arc::new(program)),
            publications: Vec::new(),
            members: BTreeMap::new(),
            entries: BTreeMap::new(),
            requests: Vec::new(),
            purchases: Vec::new(),
            identifiers: BTreeMap::new(),
            activities: Vec::new(),
            operator: None,
            count: 0,
            pending: BTreeMap::new(),
        }
    }

    fn next_request(&mut self) -> Request {
        self.count += 1;
        // Both forms that ids are stored in.
        let id = if self.count.is_multiple_of(2) {
            format!("request-{}", self.count)
        } else {
            format!("0198c0de-0000-7000-8000-{:012x}", self.count)
        };
        Request { id: RequestId::new(&id).expect("a valid id"), fingerprint: Fingerprint([self.count as u8; 16]) }
    }

    /// Publishes a rule book that nobody reads.
    pub fn publish(&mut self, store: &dyn Store, version: u32) -> CommitSeq {
        let publication = self.publication(version);
        commit(store, publication)
    }

    /// What publishes a rule book.
    pub fn publication(&mut self, version: u32) -> Commit {
        let request = self.next_request();
        let outcome = RequestOutcome::Publication { version };
        self.requests.push((request.id.clone(), RequestRow { fingerprint: request.fingerprint, outcome }));
        let document = format!("rule book {version}").into_bytes();
        let publication = Publication { program: program_id(), version, publish_time: self.now, request, document };
        self.publications.push(publication.clone());
        Commit { publications: vec![publication], members: Vec::new() }
    }

    /// Decides a command; it is committed with the next [`World::commit`].
    pub fn decide(&mut self, number: u8, command: &Command) -> Result<(), Rejection> {
        let id = member_id(number);
        let request = self.next_request();
        let history = History {
            stocks: stocks(self.entries.values().flatten()),
            tallies: tallies(self.entries.values().flatten()),
            ..history(self.entries.get(&id).map_or(&[], Vec::as_slice), command)
        };
        let history = self.with_referral(id, history, command);
        let actor = actor();
        let context = Context {
            programs: &self.programs,
            now: self.now,
            request: Some(&request),
            actor: Some(&actor),
            operator: self.operator,
            history: &history,
        };
        let new = || Member::bare(key(number), Header::new(self.now));
        let before = self.members.get(&id).cloned().unwrap_or_else(new);
        let due_before = before.header.next_due_time();
        let decision = decide(context, before, command)?;
        if let (Some(other), Some(own)) = (self.other_side(command, decision.for_other_side()), decision.for_other_side()) {
            let member = self.members.get(&other).cloned().expect("the other side has enrolled");
            let due_before = member.header.next_due_time();
            let history = self.given_by(own);
            let received = receive(Context { request: None, history: &history, ..context }, member, own)?;
            if !received.entries.is_empty() {
                self.keep(other, due_before, received.entries, received.member);
            }
        }
        if decision.done_before.is_some() {
            self.keep(id, due_before, decision.entries, decision.member);
            self.pending.retain(|_, pending| !pending.entries.is_empty());
            return Ok(());
        }
        let own = decision.entries.iter().filter(|entry| entry.request.is_some()).map(|entry| entry.sequence);
        let (first, last) = (own.clone().min().expect("a command has entries"), own.max().expect("a command has entries"));
        let outcome = RequestOutcome::Entries { member: id, first, last };
        self.requests.push((request.id, RequestRow { fingerprint: request.fingerprint, outcome }));
        match command {
            Command::RecordPurchase(purchase) => {
                let order = purchase.order.clone().expect("a recorded purchase has an order");
                let accrued = decision.entries.iter().find(|entry| matches!(entry.kind, EntryKind::PurchaseAccrued(_)));
                self.purchases.push((order, accrued.expect("a purchase accrues").reference()));
            }
            Command::Enroll { person } => self.identifiers.extend(person.identifiers.iter().map(|held| (held.clone(), Some(id)))),
            Command::AddIdentifier { identifier } => drop(self.identifiers.insert(identifier.clone(), Some(id))),
            Command::RemoveIdentifier { identifier } => drop(self.identifiers.insert(identifier.clone(), None)),
            Command::Erase { .. } => {
                self.identifiers.values_mut().filter(|holder| **holder == Some(id)).for_each(|holder| *holder = None);
                self.entries.get_mut(&id).into_iter().flatten().for_each(forget);
            }
            Command::RecordActivity(request) => {
                let own = decision.entries[decision.own.start].sequence;
                let found = |reference| (id, request.activity.clone(), reference, own);
                self.activities.push(found(Some(request.reference.clone())));
                self.activities.extend(request.referrer.as_ref().map(|_| found(None)));
            }
            Command::UpdateProfile(_)
            | Command::SetTier { .. }
            | Command::Suspend { .. }
            | Command::Reactivate { .. }
            | Command::AdjustPoints(_)
            | Command::RedeemPoints(_)
            | Command::ReverseRedemption(_)
            | Command::HoldPoints(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold { .. }
            | Command::ConfirmPurchase { .. }
            | Command::ReturnPurchase(_)
            | Command::TransferPoints(_)
            | Command::Voucher(_)
            | Command::Offer(_)
            | Command::MergeMembers(_) => {}
        }
        self.keep(id, due_before, decision.entries, decision.member);
        Ok(())
    }

    /// With who referred the member, and with what a referral gave for a purchase that comes back.
    fn with_referral(&self, id: MemberId, history: History, command: &Command) -> History {
        let referrer = self.members.get(&id).and_then(|member| member.header.referral.as_ref()).map(|held| held.referral.referrer);
        let referrer = referrer.and_then(|referrer| Some((referrer, self.members.get(&referrer)?.header.state)));
        let history = History { referrer, ..history };
        let Some(order) = command.demand().sale else { return history };
        let bonus = history.threads.values().find_map(|thread| match &thread.origin.kind {
            EntryKind::PurchaseAccrued(accrued) if accrued.purchase.order.as_ref() == Some(&order) => accrued.referral,
            _ => None,
        });
        let Some(bonus) = bonus else { return history };
        let mut all: Vec<Entry> = self.entries.values().flatten().cloned().collect();
        all.sort_by_key(|entry| entry.record_time);
        with_bonus(history, self.entries.get(&bonus.member).map_or(&[], Vec::as_slice), &all, bonus)
    }

    /// Whose ledger an entry of a command goes on in.
    fn other_side(&self, command: &Command, sent: Option<&Entry>) -> Option<MemberId> {
        if let Some((Recipient::Id(other), _)) = command.other_side() {
            return Some(*other);
        }
        match &sent?.kind {
            EntryKind::ActivityAccrued(accrued) => match accrued.side {
                ActivitySide::Member { referrer } => referrer,
                ActivitySide::Referrer { .. } => None,
            },
            EntryKind::ReferralTakenBack(back) => back.other_bonus.map(|bonus| bonus.member),
            _ => None,
        }
    }

    /// What the other side gives back with an entry that takes back what a referral gave, and the vouchers that it led to.
    fn given_by(&self, sent: &Entry) -> History {
        let EntryKind::ReferralTakenBack(back) = &sent.kind else { return History::default() };
        let Some(bonus) = back.other_bonus else { return History::default() };
        let entries = self.entries.get(&bonus.member).map_or(&[][..], Vec::as_slice);
        with_bonus(History::default(), entries, entries, bonus)
    }

    /// As the ledger does before it commits.
    fn keep(&mut self, id: MemberId, due_before: Option<Timestamp>, mut entries: Vec<Entry>, member: Member) {
        let mut sizes = sizes(self.entries.values().flatten());
        for entry in &mut entries {
            let EntryKind::SegmentsChanged(changed) = &mut entry.kind else { continue };
            let turned = changed.turned().map(|(segment, is_entered)| {
                let size = sizes.entry(segment.clone()).or_default();
                *size = if is_entered { size.with_one() } else { size.without_one() }.expect("whoever leaves is in it");
                *size
            });
            changed.sizes = turned.collect();
        }
        self.members.insert(id, member);
        self.entries.entry(id).or_default().extend(entries.iter().cloned());
        self.pending.entry(id).or_insert(Pending { entries: Vec::new(), due_before }).entries.extend(entries);
    }

    /// What was decided since the last commit.
    pub fn take(&mut self) -> Commit {
        let pending = std::mem::take(&mut self.pending);
        let entries = pending.values().flat_map(|pending| &pending.entries);
        self.operator = entries.filter_map(|entry| entry.watched.as_ref()?.operator).next_back().or(self.operator);
        let change = |(id, Pending { entries, due_before })| MemberChange { entries, after: self.members[&id].clone(), due_before };
        Commit { publications: Vec::new(), members: pending.into_iter().map(change).collect() }
    }

    pub fn commit(&mut self, store: &dyn Store) -> CommitSeq {
        let all = self.take();
        commit(store, all)
    }

    pub fn enroll(&mut self, store: &dyn Store, number: u8) {
        let person = person(&format!("Person {number}"), &[phone(u32::from(number))]);
        self.decide(number, &Command::Enroll { person }).expect("a new member enrols");
        self.commit(store);
    }

    /// Everything that a store answers is what the test remembers.
    pub fn check(&self, store: &dyn Store) {
        let program = program_id();
        for (id, member) in &self.members {
            let demand = MemberDemand {
                lots: LotDemand::All,
                holds: true,
                pending: true,
                vouchers: true,
                person: true,
                ..MemberDemand::read(Timestamp::MAX)
            };
            let found = store.member(&member.key, demand).expect("a member is read").expect("the member is there");
            assert_eq!(&found, member);
            assert_eq!(found.person == Some(Sealed::Erased), found.header.state == MemberState::Erased);
            let entries = &self.entries[id];
            assert_eq!(&store.entries(&member.key, 1, u64::MAX).expect("entries are read"), entries);
            // What a referral gave goes on in the ledger of who referred the member; of one commit the members come in the order of their ids.
            let mut all: Vec<&Entry> = self.entries.values().flatten().collect();
            all.sort_by_key(|entry| entry.record_time);
            let mut newest: BTreeMap<EntryRef, EntryRef> = BTreeMap::new();
            newest.extend(all.into_iter().filter_map(|entry| Some((entry.continues()?, entry.reference()))));
            for entry in entries {
                let found = store.story(&member.key, entry.sequence).expect("a story is read");
                assert_eq!(found, newest.get(&entry.reference()).copied());
            }
            for entry in entries {
                if let Some(changed) = entry.voucher_change() {
                    let found = store.voucher(&program, &changed.code).expect("a voucher is read");
                    assert_eq!(found, Some(changed.issued));
                }
            }
            let lots: Vec<Lot> = member.lots.values().cloned().collect();
            assert_eq!(store.lots(&member.key, None, usize::MAX).expect("lots are read"), lots);
        }
        for (request, row) in &self.requests {
            assert_eq!(store.request(&program, request).expect("a request is read").as_ref(), Some(row));
        }
        for (order, entry) in &self.purchases {
            let found = store.purchase(&program, order).expect("a purchase is read");
            assert_eq!(found.map(|found| found.reference()), Some(*entry));
        }
        for (member, activity, reference, sequence) in &self.activities {
            let key = MemberKey { program: program.clone(), member: *member };
            let find = |reference| store.activity(&key, activity, reference).expect("an activity is read");
            assert_eq!(find(reference.as_deref()), Some(*sequence));
            assert_eq!(find(Some("of nobody")), None);
        }
        for (identifier, holder) in &self.identifiers {
            assert_eq!(store.member_by_identifier(&program, identifier).expect("an identifier is read"), *holder);
        }
        let stocks = stocks(self.entries.values().flatten());
        for reward in ["cup", "tasting", "none"].map(|reward| RewardId::new(reward).expect("a valid id")) {
            let found = store.reward_stock(&program, &reward).expect("a stock is read");
            assert_eq!(found, stocks.get(&reward).copied(), "{reward}");
        }
        let tallies = tallies(self.entries.values().flatten());
        let days = tallies.keys().cloned().collect::<Vec<_>>();
        for key in days.into_iter().chain([(RuleId::new("none").expect("a valid id"), None)]) {
            let found = store.promotion_tally(&program, &key).expect("a tally is read");
            assert_eq!(found, tallies.get(&key).copied(), "{key:?}");
        }
        let sizes = sizes(self.entries.values().flatten());
        for segment in ["regular", "lately", "none"].map(|segment| SegmentId::new(segment).expect("a valid id")) {
            let found = store.segment_size(&program, &segment).expect("a size is read");
            assert_eq!(found, sizes.get(&segment).copied(), "{segment}");
        }
        assert_eq!(store.operator(&program, &actor()).expect("an operator is read"), self.operator);
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        assert_eq!(store.members(&program, None, usize::MAX).expect("members are listed"), ids);
        assert_eq!(store.publications().expect("publications are read"), self.publications);
    }
}

/// What was taken of rewards, by entries of one member or of several.
pub fn stocks<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeMap<RewardId, RewardStock> {
    let mut stocks: BTreeMap<RewardId, RewardStock> = BTreeMap::new();
    for (reward, stock) in entries.filter_map(|entry| entry.voucher_change()?.reward_stock()) {
        let kept = stocks.entry(reward.clone()).or_default();
        if stock.change > kept.change {
            *kept = stock;
        }
    }
    stocks
}

/// How large segments are, by entries of one member or of several.
pub fn sizes<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeMap<SegmentId, SegmentSize> {
    let mut sizes: BTreeMap<SegmentId, SegmentSize> = BTreeMap::new();
    for entry in entries {
        let EntryKind::SegmentsChanged(changed) = &entry.kind else { continue };
        for ((segment, _), size) in changed.turned().zip(&changed.sizes) {
            let kept = sizes.entry(segment.clone()).or_default();
            if size.change > kept.change {
                *kept = *size;
            }
        }
    }
    sizes
}

/// What promotions have given of budgets and daily caps, by entries of one member or of several.
pub fn tallies<'a>(entries: impl Iterator<Item = &'a Entry>) -> Tallies {
    let (mut tallies, mut first) = (Tallies::new(), None);
    for counts in entries.filter_map(Entry::promotion_counts) {
        first = first.max(counts.days_before);
        for (key, tally) in &counts.tallies {
            let kept = tallies.entry(key.clone()).or_default();
            if tally.change > kept.change {
                *kept = *tally;
            }
        }
    }
    tallies.retain(|(_, day), _| day.is_none() || *day >= first);
    tallies
}

/// What a command refers to, out of all entries of the member.
pub fn history(entries: &[Entry], command: &Command) -> History {
    let thread = |sequence: u64| {
        let origin = entries.iter().find(|entry| entry.sequence == sequence)?.clone();
        let latest = entries.iter().rfind(|entry| entry.continues() == Some(origin.reference())).cloned();
        Some((origin.reference(), Thread { origin, latest }))
    };
    let demand = command.demand();
    let mut codes = demand.codes.clone();
    let mut threads: Vec<u64> = demand.threads.iter().map(|number| number.sequence()).collect();
    let is_sale = |entry: &&Entry| match &entry.kind {
        EntryKind::PurchaseAccrued(accrued) => demand.sale.is_some() && accrued.purchase.order == demand.sale,
        _ => false,
    };
    if let Some(sale) = entries.iter().find(is_sale)
        && let EntryKind::PurchaseAccrued(accrued) = &sale.kind
    {
        threads.push(sale.sequence);
        threads.extend(accrued.redemptions.iter().map(|redemption| redemption.sequence));
        codes.extend(&accrued.purchase.vouchers);
        if demand.takes_back {
            let issued = entries.iter().filter_map(Entry::voucher_change);
            let reached = issued.filter(|issued| issued.goal_paid().is_some_and(|paid| paid.reached_by == sale.sequence));
            codes.extend(reached.map(|issued| issued.code));
        }
    }
    let issued = |code: &VoucherCode| {
        let is_it = |entry: &&Entry| entry.voucher_change().is_some_and(|changed| changed.code == *code);
        Some((*code, entries.iter().find(is_it)?.reference()))
    };
    let vouchers: BTreeMap<VoucherCode, EntryRef> = codes.iter().filter_map(issued).collect();
    threads.extend(vouchers.values().map(|issued| issued.sequence));
    if demand.sale.is_some() {
        // What vouchers came with.
        let sales = || entries.iter().filter(|entry| matches!(entry.kind, EntryKind::PurchaseAccrued(_)));
        let before = |issued: &EntryRef| sales().rfind(|sale| sale.sequence < issued.sequence).map(|sale| sale.sequence);
        threads.extend(vouchers.values().filter_map(before).collect::<Vec<_>>());
    }
    let threads: BTreeMap<EntryRef, Thread> = threads.into_iter().filter_map(thread).collect();
    let named = |number: &Numbered| threads.keys().find(|origin| origin.sequence == number.sequence()).map(|origin| (*number, *origin));
    let numbers = demand.threads.iter().filter_map(named).collect();
    History { threads, numbers, vouchers, stocks: stocks(entries.iter()), tallies: tallies(entries.iter()), ..History::default() }
}

/// With what a referral gave by an entry of these, with the newest of all that goes on with its story, and the vouchers that it reached.
fn with_bonus(mut history: History, entries: &[Entry], all: &[Entry], bonus: EntryRef) -> History {
    let latest = |origin: EntryRef| all.iter().rfind(|entry| entry.continues() == Some(origin)).cloned();
    let issued = |entry: &&Entry| {
        entry.voucher_change().and_then(|changed| changed.goal_paid()).is_some_and(|paid| paid.reached_by == bonus.sequence)
    };
    for origin in entries.iter().filter(|entry| entry.reference() == bonus).chain(entries.iter().filter(issued)) {
        if let Some(changed) = origin.voucher_change() {
            history.vouchers.insert(changed.code, origin.reference());
        }
        history.threads.insert(origin.reference(), Thread { origin: origin.clone(), latest: latest(origin.reference()) });
    }
    history
}

pub fn commit(store: &dyn Store, commit: Commit) -> CommitSeq {
    store.begin(&[]).expect("a unit of work begins").commit(commit).expect("the commit is durable")
}

pub fn lot_keys(lots: &[Lot]) -> Vec<LotKey> {
    lots.iter().map(Lot::key).collect()
}

/// What is left of an entry of a member who was erased.
fn forget(entry: &mut Entry) {
    match &mut entry.kind {
        EntryKind::MemberEnrolled { person } => *person = Sealed::Erased,
        EntryKind::ProfileUpdated { profile } => *profile = Sealed::Erased,
        EntryKind::IdentifierAdded { identifier } | EntryKind::IdentifierRemoved { identifier } => *identifier = Sealed::Erased,
        EntryKind::MemberSuspended { .. }
        | EntryKind::MemberReactivated { .. }
        | EntryKind::MemberErased { .. }
        | EntryKind::PurchaseAccrued(_)
        | EntryKind::PointsAdjusted(_)
        | EntryKind::PointsExpired(_)
        | EntryKind::TierChanged(_)
        | EntryKind::TierKept(_)
        | EntryKind::TierRewarded(_)
        | EntryKind::PointsRedeemed(_)
        | EntryKind::RedemptionReversed(_)
        | EntryKind::PointsHeld(_)
        | EntryKind::HoldReleased(_)
        | EntryKind::PointsActivated(_)
        | EntryKind::PurchaseReturned(_)
        | EntryKind::PointsTransferredOut(_)
        | EntryKind::PointsTransferredIn(_)
        | EntryKind::ActivityAccrued(_)
        | EntryKind::VoucherChanged(_)
        | EntryKind::OfferChanged(_)
        | EntryKind::SegmentsChanged(_)
        | EntryKind::ReferralMade(_)
        | EntryKind::ReferralTakenBack(_)
        | EntryKind::GoalChanged(_)
        | EntryKind::MergedInto(_) => {}
        EntryKind::BirthdayChanged(changed) => changed.plan = Sealed::Erased,
        EntryKind::MergedFrom(got) => std::sync::Arc::make_mut(got).person = Sealed::Erased,
    }
}
