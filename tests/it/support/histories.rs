//! Members' histories for tests of stores: decided by the domain under a rule book, committed, and remembered.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use loyaltyd::{
    contract::{program, rule_book},
    domain::{
        ActKind, ActivityId, ActivityRequest, ActivitySide, ActorId, Adjustment, BirthDate, CaptureRequest, Command, Context, Entry,
        EntryKind, EntryRef, Fingerprint, Header, History, HoldId, HoldRequest, Identifier, IdentifierKind, Line, LineKind, Lot, LotKey,
        Member, MemberId, MemberKey, MemberState, Numbered, OfferId, OfferRequest, OperatorDay, OrderId, OrderKey, Person, Points,
        PrincipalId, Profile, ProgramHistory, ProgramId, Purchase, Recipient, RedeemRequest, Rejection, Request, RequestId, ReturnRequest,
        ReversalRequest, RewardId, RewardStock, RuleId, Sealed, SegmentId, SegmentSize, StoreId, Tallies, Thread, VoucherCode,
        VoucherKindId, VoucherRequest, decide, merge, receive,
    },
    store::{
        ActOf, Before, Commit, CommitSeq, FoundAct, LotDemand, MemberChange, MemberDemand, Publication, RecordedIn, RequestOutcome,
        RequestRow, Store, StoreError,
    },
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

/// Entries, and the member as they found it.
#[derive(Clone)]
struct Pending {
    entries: Vec<Entry>,
    before: Before,
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

    /// With all of it.
    pub fn with_all() -> Self {
        let gold = "multiplier: \"1.5\"\n    entryReward: { points: \"3\" }";
        let policy =
            "tierPolicy: { window: WINDOW_CALENDAR_QUARTER, validity: VALIDITY_END_OF_PERIOD, graceDays: 2, reviewReturnsAtOnce: true }";
        let book = RULE_BOOK.replace("multiplier: \"1.5\"", gold);
        let book = book.replace("{ promotionId: spring,", "{ promotionId: spring, onlyWithOffer: true,");
        Self::under(&format!("{book}{policy}\ntransfers: {{}}\n{BIRTHDAYS}{SLOW_GOAL}{OFFERS}{SEGMENTS}"))
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

    /// Of every other request.
    fn principal(&self) -> Option<PrincipalId> {
        self.count.is_multiple_of(2).then(|| PrincipalId::new("tills-saigon").expect("a valid id"))
    }

    /// Of every other publication, whether or not its principal is known.
    fn publisher(&self) -> Option<ActorId> {
        self.publications.len().is_multiple_of(2).then(actor)
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
        let publication = Publication {
            program: program_id(),
            version,
            publish_time: self.now,
            request,
            actor: self.publisher(),
            principal: self.principal(),
            document,
        };
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
        let (actor, principal) = (actor(), self.principal());
        let context = Context {
            programs: &self.programs,
            now: self.now,
            request: Some(&request),
            actor: Some(&actor),
            principal: principal.as_ref(),
            operator: self.operator,
            history: &history,
        };
        let new = || Member::bare(key(number), Header::new(self.now));
        let before = self.members.get(&id).cloned().unwrap_or_else(new);
        let was = Before::of(&before.header);
        let decision = decide(context, before, command)?;
        if let (Some(other), Some(own)) = (self.other_side(command, decision.for_other_side()), decision.for_other_side()) {
            let member = self.members.get(&other).cloned().expect("the other side has enrolled");
            if member.header.state.merged_into().is_some() {
                // The ledger asks whom it was merged into, which is not told here.
                return Err(Rejection::MemberNotFound);
            }
            let other_was = Before::of(&member.header);
            let history = self.given_by(own);
            let received = receive(Context { request: None, history: &history, ..context }, member, (&decision.member.header, own))?;
            if !received.entries.is_empty() {
                self.keep(other, other_was, received.entries, received.member);
            }
        }
        if decision.done_before.is_some() {
            self.keep(id, was, decision.entries, decision.member);
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
        self.keep(id, was, decision.entries, decision.member);
        if let Command::Erase { .. } = command {
            self.entries.get_mut(&id).into_iter().flatten().for_each(forget);
        }
        Ok(())
    }

    /// Merges a member into another, as the ledger does in a commit of its own.
    pub fn merge(&mut self, gone: u8, into: u8) -> Result<(), Rejection> {
        let (gone, into) = (member_id(gone), member_id(into));
        let request = self.next_request();
        let (actor, principal) = (actor(), self.principal());
        let (programs, history) = (&self.programs, History::NONE);
        let context = Context {
            programs,
            now: self.now,
            request: Some(&request),
            actor: Some(&actor),
            principal: principal.as_ref(),
            operator: None,
            history,
        };
        let both = [gone, into].map(|id| self.members[&id].clone());
        let [old_was, was] = both.each_ref().map(|member| Before::of(&member.header));
        let [old, other] = both;
        let (old, stays) = merge(context, old, other, "the same customer")?;
        assert!(!old.still_due && !stays.still_due, "what is due is not more than one commit takes");
        let own = stays.entries.iter().filter(|entry| entry.request.is_some()).map(|entry| entry.sequence);
        let (first, last) = (own.clone().min().expect("a merge has entries"), own.max().expect("a merge has entries"));
        let outcome = RequestOutcome::Entries { member: into, first, last };
        self.requests.push((request.id, RequestRow { fingerprint: request.fingerprint, outcome }));
        self.identifiers.values_mut().filter(|holder| **holder == Some(gone)).for_each(|holder| *holder = Some(into));
        self.keep(gone, old_was, old.entries, old.member);
        self.keep(into, was, stays.entries, stays.member);
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
    fn keep(&mut self, id: MemberId, before: Before, mut entries: Vec<Entry>, member: Member) {
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
        self.pending.entry(id).or_insert(Pending { entries: Vec::new(), before }).entries.extend(entries);
    }

    /// What was decided since the last commit.
    pub fn take(&mut self) -> Commit {
        let pending = std::mem::take(&mut self.pending);
        let entries = pending.values().flat_map(|pending| &pending.entries);
        self.operator = entries.filter_map(|entry| entry.watched.as_ref()?.operator).next_back().or(self.operator);
        let change = |(id, Pending { entries, before })| MemberChange { entries, after: self.members[&id].clone(), before };
        let mut members: Vec<MemberChange> = pending.into_iter().map(change).collect();
        // Whoever becomes a part of another comes before that one, who gets what was the member's.
        members.sort_by_key(|change| change.after.header.state.merged_into().is_none());
        Commit { publications: Vec::new(), members }
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

    /// There are rows of each kind that a store has.
    pub fn check_each_kind_of_row(&self) {
        let any = |is_it: fn(&Member) -> bool| self.members.values().any(is_it);
        assert!(any(|member| !member.lots.is_empty()), "lots");
        assert!(any(|member| !member.pending.is_empty()), "pending lots");
        assert!(any(|member| !member.holds.is_empty()), "holds");
        assert!(any(|member| !member.vouchers.is_empty()), "vouchers");
        assert!(any(|member| member.person == Some(Sealed::Erased)), "erased members");
        assert!(any(|member| member.header.state.merged_into().is_some()), "merged members");
        assert!(any(|member| member.header.next_due_time().is_some()), "members of whom something is due");
        assert!(any(|member| member.header.birthday.next.is_some()), "birthdays");
        let all = || self.entries.values().flatten();
        assert!(all().any(|entry| entry.continues().is_some()), "stories");
        let (stocks, tallies, sizes) = (stocks(all()), tallies(all()), sizes(all()));
        assert!(!stocks.is_empty() && !tallies.is_empty() && !sizes.is_empty(), "{stocks:?} {tallies:?} {sizes:?}");
        assert!(self.operator.is_some() && !self.activities.is_empty() && !self.identifiers.is_empty() && !self.purchases.is_empty());
    }

    /// Everything that a store answers is what the test remembers.
    pub fn check(&self, store: &dyn Store) {
        let refused = self.refused(store);
        assert!(refused.is_empty(), "it is not answered: {refused:?}");
    }

    /// Asks all that the test knows. A wrong answer is a panic; what the store refuses to answer is given back.
    pub fn refused(&self, store: &dyn Store) -> Vec<StoreError> {
        let mut refused = Vec::new();
        macro_rules! same {
            ($answer:expr, $right:expr, $($what:tt)*) => {
                match $answer {
                    Ok(answer) => assert_eq!(answer, $right, $($what)*),
                    Err(error) => refused.push(error),
                }
            };
        }
        let program = program_id();
        // What a referral gave goes on in the ledger of who referred the member; of one commit the members come in the order of their ids.
        let mut all: Vec<&Entry> = self.entries.values().flatten().collect();
        all.sort_by_key(|entry| entry.record_time);
        let mut newest: BTreeMap<EntryRef, EntryRef> = BTreeMap::new();
        newest.extend(all.into_iter().filter_map(|entry| Some((entry.continues()?, entry.reference()))));
        for (id, member) in &self.members {
            // What was personal of who was merged is the other one's; the entries from before have it still.
            let is_gone = matches!(member.header.state, MemberState::Erased | MemberState::Merged { .. });
            assert_eq!(member.person == Some(Sealed::Erased), is_gone, "{member:?}");
            let demand = MemberDemand {
                lots: LotDemand::All,
                holds: true,
                pending: true,
                vouchers: true,
                person: true,
                ..MemberDemand::read(Timestamp::MAX)
            };
            same!(store.member(&member.key, demand), Some(member.clone()), "a member");
            let bare = store.member(&member.key, MemberDemand { person: false, ..demand });
            same!(bare.map(|found| found.map(|found| found.header)), Some(member.header.clone()), "a header");
            let entries = &self.entries[id];
            same!(store.entries(&member.key, 1, u64::MAX), entries.clone(), "entries");
            for entry in entries {
                same!(store.story(&member.key, entry.sequence), newest.get(&entry.reference()).copied(), "a story");
                if let Some(changed) = entry.voucher_change() {
                    same!(store.voucher(&program, &changed.code), Some(changed.issued), "a voucher");
                }
            }
            same!(store.lots(&member.key, None, usize::MAX), member.lots.values().cloned().collect::<Vec<_>>(), "lots");
        }
        for (request, row) in &self.requests {
            same!(store.request(&program, request), Some(row.clone()), "a request");
        }
        for (order, entry) in &self.purchases {
            same!(store.purchase(&program, order).map(|found| found.map(|found| found.reference())), Some(*entry), "a purchase");
        }
        for (member, activity, reference, sequence) in &self.activities {
            let key = MemberKey { program: program.clone(), member: *member };
            let find = |reference| store.activity(&key, activity, reference);
            same!(find(reference.as_deref()), Some(*sequence), "an activity");
            same!(find(Some("of nobody")), None, "an activity");
        }
        for (identifier, holder) in &self.identifiers {
            same!(store.member_by_identifier(&program, identifier), *holder, "an identifier");
        }
        let stocks = stocks(self.entries.values().flatten());
        for reward in ["cup", "tasting", "none"].map(|reward| RewardId::new(reward).expect("a valid id")) {
            same!(store.reward_stock(&program, &reward), stocks.get(&reward).copied(), "{reward}");
        }
        let tallies = tallies(self.entries.values().flatten());
        let days = tallies.keys().cloned().collect::<Vec<_>>();
        for key in days.into_iter().chain([(RuleId::new("none").expect("a valid id"), None)]) {
            same!(store.promotion_tally(&program, &key), tallies.get(&key).copied(), "{key:?}");
        }
        let sizes = sizes(self.entries.values().flatten());
        for segment in ["regular", "lately", "none"].map(|segment| SegmentId::new(segment).expect("a valid id")) {
            same!(store.segment_size(&program, &segment), sizes.get(&segment).copied(), "{segment}");
        }
        same!(store.operator(&program, &actor()), self.operator, "an operator");
        same!(store.members(&program, None, usize::MAX), self.members.keys().copied().collect::<Vec<_>>(), "members");
        same!(store.publications(), self.publications.clone(), "publications");
        if let Err(error) = self.check_acts(store) {
            refused.push(error);
        }
        refused
    }

    /// All administrative acts are there, once, the newest first, in whatever pages.
    fn check_acts(&self, store: &dyn Store) -> Result<(), StoreError> {
        let read = |after, limit| store.acts(&program_id(), RecordedIn::default(), after, limit);
        let all = read(None, usize::MAX)?;
        assert!(all.is_sorted_by(|newer, older| newer.place > older.place), "{all:?}");
        let of_entry = |(entry, next): (&Entry, Option<&Entry>)| {
            let act = entry.act_before(next)?;
            Some((entry.record_time, act.kind, entry.actor.clone(), ActOf::Entry { entry: entry.reference(), other: act.other }))
        };
        let of_publication = |one: &Publication| {
            (one.publish_time, ActKind::ProgramPublished, one.actor.clone(), ActOf::Publication { version: one.version })
        };
        let mut expected: Vec<_> = self.entries.values().flat_map(|ledger| followed(ledger)).filter_map(of_entry).collect();
        expected.extend(self.publications.iter().map(of_publication));
        let mut found: Vec<_> = all.iter().map(|act| (act.place.record_time, act.kind, act.actor.clone(), act.of.clone())).collect();
        for acts in [&mut expected, &mut found] {
            acts.sort_by_cached_key(|act| format!("{act:?}"));
        }
        assert_eq!(found, expected);
        let mut paged = Vec::new();
        loop {
            let page = read(paged.last().map(|last: &FoundAct| last.place), 3)?;
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, all);
        // Any two instants of them cut out what lies between, without the second.
        if let (Some(last), Some(first)) = (all.first(), all.last()) {
            let recorded = RecordedIn { start: Some(first.place.record_time), end: Some(last.place.record_time) };
            let cut = store.acts(&program_id(), recorded, None, usize::MAX)?;
            let before_last = |act: &&FoundAct| act.place.record_time < last.place.record_time;
            assert_eq!(cut, all.iter().filter(before_last).cloned().collect::<Vec<_>>());
        }
        Ok(())
    }
}

/// Each with the one behind it.
fn followed(ledger: &[Entry]) -> impl Iterator<Item = (&Entry, Option<&Entry>)> {
    ledger.iter().zip(ledger.iter().skip(1).map(Some).chain([None]))
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
pub fn forget(entry: &mut Entry) {
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
