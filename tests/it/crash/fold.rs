//! A member's ledger, added up again by arithmetic of the test's own, entry by entry, and each entry held against the request that it
//! carries and the answer that was given to it.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use loyaltyd::contract::v1::{self, entry::Kind};
use prost::Message;

use super::{
    call::{Answer, Call},
    lives::{
        CAMPAIGN, CAMPAIGN_POINTS, DISCOUNT_PERCENT, EXTRA, EXTRA_OFFER, EXTRA_POINTS, EXTRA_TIMES, GOAL_POINTS, OFF_AMOUNT, REWARD_POINTS,
        SEGMENT, SEGMENT_VISITS,
    },
    model::{Extra, Fate, MemberNo, Model, OpId, id_of},
};

/// Names, thresholds and tenths of the multiplier of `support::rule_book`.
const TIERS: [(&str, i64, i64); 4] = [("member", 0, 10), ("silver", 500, 12), ("gold", 1_000, 15), ("diamond", 4_000, 20)];
const BLOCK: i64 = 10_000;

/// What all entries so far add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verified {
    pub sequence: i64,
    pub available: i64,
    pub issued: i64,
    pub clawed_back: i64,
    pub redeemed: i64,
    pub reinstated: i64,
    pub transferred_in: i64,
    pub transferred_out: i64,
    pub qualifying: i64,
    pub spend: i64,
    pub visits: i64,
    pub tier: usize,
    pub name: String,
    pub identifiers: BTreeSet<(i32, String)>,
    /// The entry before raised the member into another tier: the next one must say so.
    promised: Option<OpId>,
    /// Entries that must come next, the last one first: vouchers of the same request, and what each takes.
    owed: Vec<(OpId, i64)>,
    /// A voucher was used, and the purchase that it was used for must come next.
    used: Option<OpId>,
    /// It was looked at which segments the member is in, and it is in the one that there is.
    is_judged: bool,
    is_regular: bool,
    /// What the member has of the offer.
    extra: Extra,
    /// Who the member is now.
    pub merged_into: Option<String>,
    /// When the latest of the requests so far was sent.
    sent: u64,
    /// Of all entries.
    digest: u64,
}

impl Verified {
    pub fn tier_id(&self) -> &'static str {
        TIERS[self.tier].0
    }

    /// Adds an entry, which must be the next one and what the model expects of its request. `Err`: what is wrong.
    pub fn add(&mut self, model: &mut Model, member: MemberNo, entry: &v1::Entry) -> Result<(), String> {
        ensure(entry.sequence == self.sequence + 1, || format!("entry {} follows entry {}", entry.sequence, self.sequence))?;
        self.sequence = entry.sequence;
        let mut hasher = DefaultHasher::new();
        (self.digest, entry.encode_to_vec()).hash(&mut hasher);
        self.digest = hasher.finish();
        ensure(self.merged_into.is_none(), || "something has happened to a member that had become another".to_owned())?;
        if let Some(Kind::SegmentsChanged(changed)) = &entry.kind {
            return self.segment(entry, changed);
        }
        let op = match &entry.kind {
            Some(Kind::MergedInto(_)) => model.merges.get(&member),
            _ => model.by_request.get(&entry.request_id),
        };
        let op = *op.ok_or_else(|| "an entry of a request that nobody sent".to_owned())?;
        ensure(entry.record_time.is_some(), || "the entry is not recorded".to_owned())?;
        let is_whole = self.promised.is_none() && self.owed.is_empty() && self.used.is_none();
        let is_leaving = matches!(entry.kind, Some(Kind::MergedInto(_)));
        ensure(!is_whole || self.is_where_it_belongs() || is_leaving, || "it should have come into a segment before".to_owned())?;
        if let Some(Kind::PurchaseAccrued(accrued)) = &entry.kind {
            for award in accrued.accrual.iter().flat_map(|accrual| &accrual.awards).filter(|award| award.promotion_id == CAMPAIGN) {
                model.campaign.insert((member, entry.sequence), award.points);
                model.campaign_is_over |= award.limit() == v1::award::LimitKind::Budget;
            }
        }
        match (self.promised.take(), &entry.kind) {
            (Some(promised), _) => self.raise(model, promised, op, entry)?,
            (None, _) if !self.owed.is_empty() => self.voucher(model, op, entry)?,
            (None, Some(Kind::PurchaseAccrued(accrued))) if self.used.is_some() => {
                ensure(self.used.take() == Some(op), || "the voucher before it was used for another purchase".to_owned())?;
                self.recorded(model, op, entry, accrued)?;
            }
            (None, _) if self.used.is_some() => return Err("a voucher was used, and its purchase is missing before it".to_owned()),
            (None, Some(Kind::MergedInto(merged))) => self.leave(model, op, entry, merged)?,
            (None, _) => self.first_of(model, member, op, entry)?,
        }
        let balance = self.balance();
        ensure(entry.balance == Some(balance), || format!("the balance must be {balance:?}"))?;
        if TIERS[(self.tier + 1).min(TIERS.len() - 1)].1 <= self.qualifying && self.tier + 1 < TIERS.len() {
            self.promised = Some(op);
        }
        Ok(())
    }

    /// After the last entry: nothing is half there.
    pub fn ends(&self) -> Result<(), String> {
        ensure(self.promised.is_none(), || "the last entry raised the tier, and the entry that says so is missing".to_owned())?;
        ensure(self.used.is_none(), || "the purchase is missing that a voucher was used for".to_owned())?;
        let is_right = self.merged_into.is_some() || self.is_where_it_belongs();
        ensure(is_right, || "the member should be in a segment".to_owned())?;
        ensure(self.owed.is_empty(), || "vouchers are missing that the last request brought".to_owned())
    }

    fn is_where_it_belongs(&self) -> bool {
        self.is_regular == (self.visits >= SEGMENT_VISITS)
    }

    /// In the commit of what led to it, and when the member becomes another.
    fn segment(&mut self, entry: &v1::Entry, changed: &v1::SegmentsChanged) -> Result<(), String> {
        let ids = (changed.entered_segment_ids.as_slice(), changed.left_segment_ids.as_slice());
        // Whoever has enrolled is in none, and that is said once.
        if !std::mem::replace(&mut self.is_judged, true) {
            let is_right = self.sequence == 2 && ids.0.is_empty() && ids.1.is_empty() && entry.request_id.is_empty();
            return ensure(is_right && entry.balance == Some(self.balance()), || {
                "it is in a segment before it has bought anything".to_owned()
            });
        }
        let comes = !self.is_regular && self.visits >= SEGMENT_VISITS;
        let expected: (&[String], &[String]) = if comes { (&[SEGMENT.to_owned()], &[]) } else { (&[], &[SEGMENT.to_owned()]) };
        let is_right = ids == expected && (comes || self.is_regular) && entry.request_id.is_empty() && entry.points == 0;
        ensure(is_right, || format!("it must come into or leave a segment: {expected:?}"))?;
        ensure(self.promised.is_none() && self.owed.is_empty() && self.used.is_none(), || "it comes too early".to_owned())?;
        self.is_regular = comes;
        ensure(entry.balance == Some(self.balance()), || format!("the balance must be {:?}", self.balance()))
    }

    fn balance(&self) -> v1::Balance {
        v1::Balance {
            available: self.available,
            issued: self.issued,
            redeemed: self.redeemed,
            clawed_back: self.clawed_back,
            reinstated: self.reinstated,
            transferred_in: self.transferred_in,
            transferred_out: self.transferred_out,
            ..Default::default()
        }
    }

    /// One more of the request's.
    fn voucher(&mut self, model: &Model, op: OpId, entry: &v1::Entry) -> Result<(), String> {
        let (promised, points) = self.owed.pop().ok_or("no voucher is owed")?;
        let Some(Kind::VoucherIssued(issued)) = &entry.kind else { return Err("a voucher is missing before it".to_owned()) };
        ensure(promised == op && issued.points == points && entry.points == -points, || "it is another voucher".to_owned())?;
        match &model.ops[op].fate {
            Fate::Answered(Answer::Redeemed(answer)) => ensure(answer.entries.contains(entry), || format!("the answer was {answer:?}"))?,
            Fate::Answered(Answer::Activated(answer)) => {
                let code = |voucher: Option<&v1::Voucher>| voucher.map(|voucher| voucher.code.clone());
                let is_told = code(issued.voucher.as_ref()) == code(answer.voucher.as_ref());
                ensure(is_told, || format!("the answer was {answer:?}"))?;
            }
            Fate::Answered(_) | Fate::Unknown | Fate::Absent(_) => {}
        }
        (self.available, self.redeemed) = (self.available - points, self.redeemed + points);
        Ok(())
    }

    /// All of it is the other one's, in the same commit.
    fn leave(&mut self, model: &Model, op: OpId, entry: &v1::Entry, merged: &v1::MergedInto) -> Result<(), String> {
        let Fate::Answered(Answer::Merged(answer)) = &model.ops[op].fate else { return Err("nobody has merged it".to_owned()) };
        let (Some(member), Some(Kind::MergedFrom(got))) = (&answer.member, answer.merged_from.as_ref().and_then(|it| it.kind.as_ref()))
        else {
            return Err(format!("the answer was {answer:?}"));
        };
        let lifetime = got.lifetime.clone().unwrap_or_default();
        let spend = lifetime.spend.as_ref().map_or("0", |spend| &spend.amount);
        let totals = (lifetime.qualifying_points, lifetime.visits, spend);
        ensure(!self.is_regular, || "it is in a segment still".to_owned())?;
        ensure(answer.merged_into.as_ref() == Some(entry) && merged.into_member_id == member.member_id, || {
            format!("the answer was {answer:?}")
        })?;
        ensure(entry.points == -self.available && totals == (self.qualifying, self.visits, &self.spend.to_string()), || {
            format!("what it had was not {totals:?}")
        })?;
        self.merged_into = Some(member.member_id.clone());
        (self.available, self.transferred_out) = (0, self.transferred_out + self.available);
        self.identifiers.clear();
        // Nothing is reached here any more.
        self.qualifying = 0;
        Ok(())
    }

    /// What the other one had, as that one's ledger says.
    fn join(&mut self, entry: &v1::Entry, got: &v1::MergedFrom, answer: &v1::MergeMembersResponse) -> Result<(), String> {
        let is_told = answer.merged_from.as_ref() == Some(entry);
        let points = answer.merged_into.as_ref().map_or(0, |gone| -gone.points);
        ensure(is_told && entry.points == points, || format!("the answer was {answer:?}"))?;
        let lifetime = got.lifetime.clone().unwrap_or_default();
        let spend = lifetime.spend.as_ref().map_or("0", |spend| &spend.amount);
        (self.available, self.transferred_in) = (self.available + points, self.transferred_in + points);
        self.qualifying += lifetime.qualifying_points;
        self.visits += lifetime.visits;
        self.spend += spend.parse::<i64>().map_err(|_| "the test spends whole amounts")?;
        let tier = TIERS.iter().position(|tier| tier.0 == got.tier_id).unwrap_or(0);
        ensure(tier >= self.tier, || "the tier is lower than before".to_owned())?;
        self.tier = tier;
        let identifiers: BTreeSet<_> = got.identifiers.iter().map(|it| (it.kind, it.value.clone())).collect();
        ensure(identifiers.is_superset(&self.identifiers), || "the cards are not all there".to_owned())?;
        self.identifiers = identifiers;
        Ok(())
    }

    fn raise(&mut self, model: &Model, promised: OpId, op: OpId, entry: &v1::Entry) -> Result<(), String> {
        let tier = TIERS.iter().rposition(|tier| tier.1 <= self.qualifying).expect("the lowest tier has no threshold");
        let Some(Kind::TierChanged(change)) = &entry.kind else { return Err("the change of the tier is missing before it".to_owned()) };
        ensure(promised == op, || "the tier is changed by another request".to_owned())?;
        let is_right = change.from_tier_id == TIERS[self.tier].0 && change.to_tier_id == TIERS[tier].0 && entry.points == 0;
        ensure(is_right, || format!("the tier must change from {} to {}", TIERS[self.tier].0, TIERS[tier].0))?;
        self.tier = tier;
        let told = match &model.ops[op].fate {
            Fate::Answered(Answer::Recorded(answer)) => answer.tier_change.as_ref(),
            Fate::Answered(Answer::Adjusted(answer)) => answer.tier_change.as_ref(),
            Fate::Answered(Answer::Merged(answer)) => answer.tier_change.as_ref(),
            Fate::Answered(_) | Fate::Unknown | Fate::Absent(_) => None,
        };
        ensure(told == Some(change), || "the answer told of another change of the tier".to_owned())
    }

    /// The first entry of a request: it must be the only first one, and in the order in which the clients saw things happen.
    fn first_of(&mut self, model: &mut Model, member: MemberNo, op: OpId, entry: &v1::Entry) -> Result<(), String> {
        let seen = model.op_sequences.insert(op, entry.sequence);
        ensure(seen.is_none_or(|seen| seen == entry.sequence), || format!("the request is in entry {seen:?} already"))?;
        let (number, op) = (op, &model.ops[op]);
        ensure(op.member == Some(member), || "the request was for another member".to_owned())?;
        ensure(op.answered > self.sent, || "it was answered before an earlier entry was asked for".to_owned())?;
        self.sent = self.sent.max(op.sent);
        let Fate::Answered(answer) = &op.fate else { return Err(format!("the request counts as {:?}", op.fate)) };
        match (&op.call, answer, entry.kind.as_ref().ok_or("the entry has no kind")?) {
            (Call::Enroll(request), Answer::Enrolled(answer), Kind::MemberEnrolled(enrolled)) => {
                ensure(entry.sequence == 1 && enrolled.identifiers == request.identifiers, || "another enrolment".to_owned())?;
                ensure(enrolled.profile.clone().unwrap_or_default() == request.profile.clone().unwrap_or_default(), || {
                    "another profile".to_owned()
                })?;
                self.name = enrolled.profile.as_ref().map(|profile| profile.display_name.clone()).unwrap_or_default();
                self.identifiers.extend(enrolled.identifiers.iter().map(|it| (it.kind, it.value.clone())));
                self.is_shown(entry, answer.member.as_ref())
            }
            (Call::Record(_), Answer::Recorded(_), Kind::PurchaseAccrued(accrued)) => self.recorded(model, number, entry, accrued),
            (Call::Record(request), Answer::Recorded(_), Kind::VoucherUsed(used)) => {
                self.used = Some(number);
                let codes = request.purchase.iter().flat_map(|purchase| &purchase.voucher_codes);
                let is_right = codes.eq([&used.code]) && entry.points == 0;
                ensure(is_right, || format!("the request was {request:?}"))
            }
            (Call::Assign(request), Answer::Assigned(answer), Kind::OfferAssigned(assigned)) => {
                self.extra.works = false;
                let is_right = assigned.offer_id == request.offer_id && answer.entry.as_ref() == Some(entry);
                ensure(is_right, || format!("the answer was {answer:?}"))
            }
            (Call::Activate(request), Answer::Activated(answer), Kind::OfferActivated(activated)) => {
                let is_extra = request.offer_id == EXTRA_OFFER;
                self.extra.works |= is_extra;
                if !is_extra {
                    self.owed.push((number, 0));
                }
                let is_right = activated.offer_id == request.offer_id && answer.voucher.is_none() == is_extra;
                ensure(is_right && answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))
            }
            (Call::Withdraw(request), Answer::Withdrawn(answer), Kind::OfferWithdrawn(withdrawn)) => {
                self.extra.works = false;
                let is_right = withdrawn.offer_id == request.offer_id && answer.entry.as_ref() == Some(entry);
                ensure(is_right, || format!("the answer was {answer:?}"))
            }
            (Call::Adjust(request), Answer::Adjusted(answer), Kind::PointsAdjusted(adjusted)) => {
                self.adjustment(entry, request, adjusted)?;
                if self.available >= GOAL_POINTS {
                    self.owed.push((number, GOAL_POINTS));
                }
                ensure(answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))
            }
            (Call::Update(request), Answer::Updated(answer), Kind::ProfileUpdated(updated)) => {
                ensure(updated.profile == request.profile, || format!("the request was {request:?}"))?;
                self.name = updated.profile.as_ref().map(|profile| profile.display_name.clone()).unwrap_or_default();
                self.is_shown(entry, answer.member.as_ref())
            }
            (Call::AddIdentifier(request), Answer::IdentifierAdded(answer), Kind::IdentifierAdded(added)) => {
                ensure(added.identifier == request.identifier, || format!("the request was {request:?}"))?;
                self.identifiers.extend(added.identifier.iter().map(|it| (it.kind, it.value.clone())));
                self.is_shown(entry, answer.member.as_ref())
            }
            (Call::RemoveIdentifier(request), Answer::IdentifierRemoved(answer), Kind::IdentifierRemoved(removed)) => {
                ensure(removed.identifier == request.identifier, || format!("the request was {request:?}"))?;
                let held = removed.identifier.iter().all(|it| self.identifiers.remove(&(it.kind, it.value.clone())));
                ensure(held, || "the member did not have the identifier".to_owned())?;
                self.is_shown(entry, answer.member.as_ref())
            }
            (Call::Issue(request), Answer::Issued(answer), Kind::VoucherIssued(issued)) => {
                let voucher = issued.voucher.as_ref().ok_or("there is no voucher")?;
                let code = answer.voucher.as_ref().map(|voucher| &voucher.code);
                let is_right = code == Some(&voucher.code) && voucher.voucher_kind_id == request.voucher_kind_id && issued.points == 0;
                ensure(is_right && answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))
            }
            (Call::Hold(request), Answer::Held(answer), Kind::VoucherHeld(held)) => {
                let order = held.hold.as_ref().map(|hold| &hold.order_id);
                let is_right = held.code == request.code && order == Some(&request.order_id);
                ensure(is_right && answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))
            }
            (Call::Use(request), Answer::Used(answer), Kind::VoucherUsed(used)) => {
                let is_right = (&used.code, &used.order_id) == (&request.code, &request.order_id);
                ensure(is_right && answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))
            }
            (Call::Redeem(request), Answer::Redeemed(answer), Kind::VoucherIssued(_)) => {
                let count = usize::try_from(request.quantity).map_err(|_| "the test asks for some")?;
                let codes = (answer.vouchers.len(), answer.entries.len());
                ensure(codes == (count, count), || format!("the answer was {answer:?}"))?;
                self.owed.extend((0..count).map(|_| (number, REWARD_POINTS)));
                self.voucher(model, number, entry)
            }
            (Call::Cancel(request), Answer::Cancelled(answer), Kind::VoucherCancelled(cancelled)) => {
                let points = REWARD_POINTS;
                let is_right = cancelled.code == request.code && (cancelled.points, entry.points) == (points, points);
                ensure(is_right && answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))?;
                (self.available, self.reinstated) = (self.available + points, self.reinstated + points);
                Ok(())
            }
            (Call::SetTier(request), Answer::TierSet(answer), Kind::TierChanged(change)) => {
                let is_right = change.from_tier_id == self.tier_id() && change.to_tier_id == request.tier_id && change.end_time.is_some();
                ensure(is_right && answer.entry.as_ref() == Some(entry), || format!("the answer was {answer:?}"))?;
                self.tier = TIERS.iter().position(|tier| tier.0 == change.to_tier_id).ok_or("there is no such tier")?;
                self.is_shown(entry, answer.member.as_ref())
            }
            (Call::Merge(request), Answer::Merged(answer), Kind::MergedFrom(got)) => {
                let gone = model.extra(model.by_id[id_of(request.member.as_ref())]);
                self.extra = Extra { works: self.extra.works || gone.works, times: self.extra.times + gone.times };
                self.join(entry, got, answer)
            }
            (call, answer, _) => Err(format!("an entry of another kind than the request {call:?} and its answer {answer:?}")),
        }
    }

    fn recorded(&mut self, model: &Model, op: OpId, entry: &v1::Entry, accrued: &v1::PurchaseAccrued) -> Result<(), String> {
        let (Call::Record(request), Fate::Answered(Answer::Recorded(answer))) = (&model.ops[op].call, &model.ops[op].fate) else {
            return Err("nobody was answered that it is recorded".to_owned());
        };
        let version = accrued.accrual.as_ref().map_or(0, |accrual| accrual.program_version);
        let rate = *model.rates.get(&version).ok_or("it was decided by a rule book that nobody published")?;
        self.purchase(entry, request, accrued, rate)?;
        let told = (answer.entry_sequence, &answer.record_time, &answer.accrual, answer.balance, &answer.price_effects);
        let expected = (entry.sequence, &entry.record_time, &accrued.accrual, entry.balance, &accrued.price_effects);
        ensure(told == expected, || format!("the answer was {answer:?}"))
    }

    fn purchase(
        &mut self,
        entry: &v1::Entry,
        request: &v1::RecordPurchaseRequest,
        accrued: &v1::PurchaseAccrued,
        rate: i64,
    ) -> Result<(), String> {
        let (Some(sent), Some(stored)) = (&request.purchase, &accrued.purchase) else { return Err("there is no purchase".to_owned()) };
        let stored = v1::Purchase { occurred_time: None, ..stored.clone() };
        let of = |purchase: &v1::Purchase| {
            let lines = purchase.lines.iter().map(|line| (line.sku.clone(), line.amount.clone())).collect::<Vec<_>>();
            (purchase.store_id.clone(), purchase.order_id.clone(), purchase.channel.clone(), purchase.codes.clone(), lines)
        };
        ensure(of(sent) == of(&stored), || format!("the purchase was {sent:?}"))?;
        let whole = |money: &Option<v1::Money>| money.as_ref().and_then(|it| it.amount.parse::<i64>().ok());
        let shelf = whole(&sent.total).ok_or("the test sends whole amounts")?;
        let total = if sent.apply_price_effects { self.due(shelf, sent.voucher_codes.len()) } else { shelf };
        ensure(whole(&stored.total) == Some(total), || format!("{total} was to be paid of {shelf}"))?;
        let points = total / BLOCK * rate * TIERS[self.tier].2 / 10 + self.promoted(sent, accrued)?;
        ensure(entry.points == points, || format!("the purchase earns {points} points"))?;
        self.available += points;
        self.issued += points;
        self.qualifying += points;
        self.spend += total;
        self.visits += 1;
        Ok(())
    }

    /// What is left of a price by the tier and by vouchers.
    fn due(&self, shelf: i64, vouchers: usize) -> i64 {
        let percent = if self.tier + 1 == TIERS.len() { DISCOUNT_PERCENT } else { 0 };
        let off = (shelf * percent + 50) / 100;
        (shelf - off - OFF_AMOUNT * vouchers as i64).max(0)
    }

    /// What promotions must have given; of the campaign what its budget has left, which all members together show.
    fn promoted(&mut self, sent: &v1::Purchase, accrued: &v1::PurchaseAccrued) -> Result<i64, String> {
        let of = |promotion: &str| {
            let awards = accrued.accrual.iter().flat_map(|accrual| &accrual.awards);
            awards.filter(|award| award.promotion_id == promotion).map(|award| (award.points, award.limit())).next()
        };
        let has_extra = self.extra.works && self.extra.times < EXTRA_TIMES;
        self.extra.times += usize::from(has_extra);
        let extra = if has_extra { EXTRA_POINTS } else { 0 };
        let given = of(EXTRA).map_or(0, |(points, _)| points);
        ensure(given == extra, || format!("the offer gives {extra} points"))?;
        let (campaign, limit) = of(CAMPAIGN).unwrap_or_default();
        let is_bounded = limit == v1::award::LimitKind::Budget && (0..CAMPAIGN_POINTS).contains(&campaign);
        let is_right = if sent.codes.is_empty() { campaign == 0 } else { campaign == CAMPAIGN_POINTS || is_bounded };
        ensure(is_right, || format!("the campaign gives {CAMPAIGN_POINTS} points, or what is left"))?;
        Ok(extra + campaign)
    }

    fn adjustment(&mut self, entry: &v1::Entry, request: &v1::AdjustPointsRequest, adjusted: &v1::PointsAdjusted) -> Result<(), String> {
        let is_right = entry.points == request.points && adjusted.points == request.points && adjusted.reason == request.reason;
        ensure(is_right, || format!("the request was {request:?}"))?;
        self.available += request.points;
        ensure(self.available >= 0, || "more points were taken than there were".to_owned())?;
        self.issued += request.points.max(0);
        self.clawed_back += (-request.points).max(0);
        if request.qualifying {
            self.qualifying = (self.qualifying + request.points).max(0);
        }
        Ok(())
    }

    /// The member in an answer is the one right after the entry.
    fn is_shown(&self, entry: &v1::Entry, member: Option<&v1::Member>) -> Result<(), String> {
        let member = member.ok_or("the answer has no member")?;
        ensure(member.last_sequence == entry.sequence, || "the answer named another entry".to_owned())?;
        self.is_member(member)
    }

    /// A member as the service shows it, when all entries are added.
    pub fn is_member(&self, member: &v1::Member) -> Result<(), String> {
        let balance = self.balance();
        let lifetime = member.lifetime.clone().unwrap_or_default();
        let spend = lifetime.spend.as_ref().map_or("0", |spend| &spend.amount);
        let identifiers: BTreeSet<_> = member.identifiers.iter().map(|it| (it.kind, it.value.clone())).collect();
        let name = member.profile.as_ref().map_or("", |profile| &profile.display_name);
        let tier = member.tier.as_ref().map_or("", |tier| &tier.tier_id);
        let is_right = member.last_sequence == self.sequence
            && member.balance == Some(balance)
            && (lifetime.qualifying_points, lifetime.visits, spend) == (self.qualifying, self.visits, &self.spend.to_string())
            && (name, tier) == (&self.name, self.tier_id())
            && identifiers == self.identifiers
            && member.identifiers.len() == identifiers.len();
        ensure(is_right, || format!("the member is shown as {member:?}\nand adds up to {self:?}"))
    }
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}
