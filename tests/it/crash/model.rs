//! What the clients know: every request that was sent, and every answer that came, in full. Simple maps; nothing of the service's own code.

use std::collections::{BTreeMap, HashMap};

use super::{
    call::{Answer, Call, Outcome},
    fold::Verified,
    lives::{EXTRA, EXTRA_OFFER},
};

pub type OpId = usize;
pub type MemberNo = usize;

/// A request with an id of its own, sent once or more often.
pub struct Op {
    pub call: Call,
    /// Whose ledger it changes. `None`: an enrolment without an answer, or a rule book.
    pub member: Option<MemberNo>,
    pub fate: Fate,
    /// Reasons for which it may be refused.
    refusals: &'static [&'static str],
    /// In the order of all that happened at the clients: when it was first sent, and when its answer came. What was only found out after
    /// a kill has no time of answer.
    pub sent: u64,
    pub answered: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Sent, and nobody knows. It may have been carried out wholly, or not at all.
    Unknown,
    /// Carried out, with this answer, for ever.
    Answered(Answer),
    /// Not carried out, and never will be.
    Absent(String),
}

pub struct Member {
    pub id: String,
    /// Never removed.
    pub card: String,
    pub ops: Vec<OpId>,
    /// The highest number of an entry that any answer or read named: it never goes back.
    pub seen_sequence: i64,
    /// Something was sent since it was verified.
    pub is_dirty: bool,
    pub verified: Verified,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Extra {
    pub works: bool,
    pub times: usize,
}

#[derive(Default)]
pub struct Model {
    pub ops: Vec<Op>,
    pub members: Vec<Member>,
    pub by_request: HashMap<String, OpId>,
    pub by_id: HashMap<String, MemberNo>,
    /// Those that anybody may ask for.
    pub known: Vec<MemberNo>,
    /// With which requests members are to become a part of others.
    pub merges: HashMap<MemberNo, OpId>,
    /// All purchases that were sent for an order: one of them at most is recorded.
    pub orders: HashMap<(String, String), Vec<OpId>>,
    /// What the campaign with a budget gave, by member and entry; and whether it was said to be exhausted.
    pub campaign: BTreeMap<(MemberNo, i64), i64>,
    pub campaign_is_over: bool,
    /// Points that a whole block of money earns, by version of the rule book.
    pub rates: BTreeMap<i32, i64>,
    clock: u64,
    fresh: u64,
    /// The first entry of each request that was found in a ledger.
    pub op_sequences: HashMap<OpId, i64>,
    /// Before these all was verified.
    pub verified_ops: OpId,
}

impl Op {
    /// It asks for what belongs to somebody else.
    pub fn may_be_taken(&self) -> bool {
        self.refusals.contains(&"IDENTIFIER_TAKEN")
    }
}

pub const NOTHING: &[&str] = &[];
/// Cards of members who are one client's begin with it.
pub const ALONE: &str = "alone-";

impl Model {
    /// A number that was never used in this data folder.
    pub fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    /// Writes down what is about to be sent. The reasons are those for which it may be refused.
    pub fn send(&mut self, call: Call, member: Option<MemberNo>, refusals: &'static [&'static str]) -> OpId {
        let id = self.ops.len();
        self.clock += 1;
        let twice = self.by_request.insert(call.request_id().to_owned(), id);
        assert!(twice.is_none(), "the test uses a request id for one thing only");
        if let Some(order) = call.order() {
            self.orders.entry(order).or_default().push(id);
        }
        if let Call::Merge(request) = &call {
            let gone = self.by_id[id_of(request.member.as_ref())];
            self.members[gone].is_dirty = true;
            self.merges.insert(gone, id);
        }
        if let Some(member) = member {
            self.members[member].ops.push(id);
            self.members[member].is_dirty = true;
        }
        self.ops.push(Op { call, member, fate: Fate::Unknown, refusals, sent: self.clock, answered: u64::MAX });
        id
    }

    /// Writes down what came back. The same request may be sent any number of times: the answers must be the same.
    pub fn settle(&mut self, id: OpId, outcome: Outcome) {
        self.clock += 1;
        let clock = self.clock;
        let before = &self.ops[id].fate;
        let what = |now: &dyn std::fmt::Debug| format!("{:?}\nwas: {before:?}\nis: {now:?}", self.ops[id].call);
        match (before, &outcome) {
            (_, Outcome::Unknown) => {}
            (Fate::Unknown, Outcome::Answered(answer)) => {
                let answer = answer.clone();
                self.carried_out(id, &answer);
                self.ops[id].fate = Fate::Answered(answer);
                self.ops[id].answered = clock;
            }
            (Fate::Answered(first), Outcome::Answered(again)) => {
                assert!(first == again, "a repeated request got another answer than the first time: {}", what(again));
            }
            // Of two copies under way one may be turned away while the other is carried out.
            (Fate::Unknown | Fate::Answered(_), Outcome::NotTaken) => {}
            (Fate::Unknown, Outcome::Refused(reason)) => {
                assert!(self.may_be_refused(id, reason), "refused for {reason}: {}", what(&""));
                self.ops[id].fate = Fate::Absent(reason.clone());
            }
            (Fate::Absent(first), Outcome::Refused(reason)) if first == reason => {}
            (Fate::Absent(_), _) | (Fate::Answered(_), Outcome::Refused(_)) => panic!("answers contradict each other: {}", what(&outcome)),
        }
    }

    /// Of the only copy: it says that it was not carried out.
    pub fn settle_only(&mut self, id: OpId, outcome: Outcome) {
        match (&self.ops[id].fate, outcome) {
            (Fate::Unknown, Outcome::NotTaken) => self.ops[id].fate = Fate::Absent("not taken".to_owned()),
            (_, outcome) => self.settle(id, outcome),
        }
    }

    /// It was looked for, is not there, and is not sent again.
    pub fn absent(&mut self, id: OpId) {
        assert_eq!(self.ops[id].fate, Fate::Unknown, "only what nobody knows is looked for");
        self.ops[id].fate = Fate::Absent("looked for".to_owned());
    }

    fn may_be_refused(&self, id: OpId, reason: &str) -> bool {
        let competitors = self.ops[id].call.order().map_or(0, |order| self.orders[&order].len());
        self.ops[id].refusals.contains(&reason) || (reason == "PURCHASE_EXISTS" && competitors > 1)
    }

    /// What an answer tells of the member that it names.
    fn carried_out(&mut self, id: OpId, answer: &Answer) {
        if let Answer::Enrolled(enrolled) = answer {
            self.enrolled(id, enrolled.member.as_ref().expect("an enrolment answers with the member"));
        }
        if let (Answer::Published(published), Call::Publish(request)) = (answer, &self.ops[id].call) {
            let program = published.program.as_ref().expect("a publication answers with the rule book");
            let rate = rate(request.program.as_ref().expect("a rule book was sent"));
            let other = self.rates.insert(program.version, rate);
            assert!(other.is_none() && published.changed, "each rule book is a version of its own: {published:?}");
        }
        if let (Answer::Merged(merged), Call::Merge(request)) = (answer, &self.ops[id].call) {
            let gone = self.by_id[id_of(request.member.as_ref())];
            let sequence = merged.merged_into.as_ref().expect("a merge answers with both entries").sequence;
            let gone = &mut self.members[gone];
            gone.seen_sequence = gone.seen_sequence.max(sequence);
        }
        if let Some(member) = self.ops[id].member {
            let member = &mut self.members[member];
            let (named, sequence) = named(answer);
            assert!(named.is_none_or(|named| named == member.id), "the answer is another member's: {answer:?}");
            member.seen_sequence = member.seen_sequence.max(sequence);
        }
    }

    fn enrolled(&mut self, id: OpId, member: &loyaltyd::contract::v1::Member) {
        assert!(!self.ops[id].may_be_taken(), "an identifier of another member's was given away: {member:?}");
        let number = self.members.len();
        let Call::Enroll(request) = &self.ops[id].call else { panic!("only an enrolment makes a member") };
        let card = request.identifiers[0].value.clone();
        let other = self.by_id.insert(member.member_id.clone(), number);
        assert!(other.is_none(), "two enrolments made the same member {}", member.member_id);
        let id_of = member.member_id.clone();
        self.ops[id].member = Some(number);
        if !card.starts_with(ALONE) {
            self.known.push(number);
        }
        self.members.push(Member { id: id_of, card, ops: vec![id], seen_sequence: 1, is_dirty: true, verified: Verified::default() });
    }

    /// What a member has of the offer that gives a promotion, by what was answered: whether that works, and how often it has given something. What
    /// a member does who is alone is answered in its order.
    pub fn extra(&self, member: MemberNo) -> Extra {
        let mut extra = Extra::default();
        for op in &self.members[member].ops {
            match (&self.ops[*op].call, &self.ops[*op].fate) {
                (Call::Assign(_) | Call::Withdraw(_), Fate::Answered(_)) => extra.works = false,
                (Call::Activate(request), Fate::Answered(_)) => extra.works |= request.offer_id == EXTRA_OFFER,
                (Call::Record(_), Fate::Answered(Answer::Recorded(answer))) => {
                    let awards = answer.accrual.iter().flat_map(|accrual| &accrual.awards);
                    extra.times += awards.filter(|award| award.promotion_id == EXTRA && award.points > 0).count();
                }
                _ => {}
            }
        }
        extra
    }

    pub fn unknown(&self) -> Vec<OpId> {
        (0..self.ops.len()).filter(|id| self.ops[*id].fate == Fate::Unknown).collect()
    }

    pub fn answered(&self, ids: impl Iterator<Item = OpId>) -> Vec<OpId> {
        ids.filter(|id| matches!(self.ops[*id].fate, Fate::Answered(_))).collect()
    }
}

/// Points for each whole block.
pub fn rate(program: &loyaltyd::contract::v1::Program) -> i64 {
    use loyaltyd::contract::v1::accrual_rule::Award;
    match &program.accrual_rules[0].award {
        Some(Award::PerAmount(rule)) => rule.points.parse().expect("a whole number"),
        other => panic!("the torture's rule books pay per amount, not {other:?}"),
    }
}

/// Of a member that is named by its id.
pub fn id_of(member: Option<&loyaltyd::contract::v1::MemberRef>) -> &str {
    use loyaltyd::contract::v1::member_ref::Ref;
    match member.and_then(|member| member.r#ref.as_ref()) {
        Some(Ref::MemberId(id)) => id,
        other => panic!("the torture names members that are merged by their ids, not {other:?}"),
    }
}

/// The member and the highest entry that an answer names.
fn named(answer: &Answer) -> (Option<&str>, i64) {
    let sequence = |entry: &Option<loyaltyd::contract::v1::Entry>| entry.as_ref().map_or(0, |entry| entry.sequence);
    let of = |member: &Option<loyaltyd::contract::v1::Member>| member.as_ref().map_or(0, |member| member.last_sequence);
    match answer {
        Answer::Recorded(answer) => (Some(&answer.member_id), answer.entry_sequence + i64::from(answer.tier_change.is_some())),
        Answer::Adjusted(answer) => {
            let sequence = answer.entry.as_ref().map_or(0, |entry| entry.sequence);
            (None, sequence + i64::from(answer.tier_change.is_some()))
        }
        Answer::Enrolled(answer) => (answer.member.as_ref().map(|member| &*member.member_id), of(&answer.member)),
        Answer::Updated(answer) => (answer.member.as_ref().map(|member| &*member.member_id), of(&answer.member)),
        Answer::IdentifierAdded(answer) => (answer.member.as_ref().map(|member| &*member.member_id), of(&answer.member)),
        Answer::IdentifierRemoved(answer) => (answer.member.as_ref().map(|member| &*member.member_id), of(&answer.member)),
        Answer::Published(_) => (None, 0),
        Answer::Issued(answer) => (None, sequence(&answer.entry)),
        Answer::Held(answer) => (None, sequence(&answer.entry)),
        Answer::Used(answer) => (Some(&answer.member_id), sequence(&answer.entry)),
        Answer::Redeemed(answer) => (None, answer.entries.last().map_or(0, |entry| entry.sequence)),
        Answer::Cancelled(answer) => (None, sequence(&answer.entry)),
        Answer::TierSet(answer) => (answer.member.as_ref().map(|member| &*member.member_id), of(&answer.member)),
        Answer::Merged(answer) => (answer.member.as_ref().map(|member| &*member.member_id), of(&answer.member)),
        Answer::Assigned(answer) => (None, sequence(&answer.entry)),
        Answer::Activated(answer) => (None, sequence(&answer.entry) + i64::from(answer.voucher.is_some())),
        Answer::Withdrawn(answer) => (None, sequence(&answer.entry)),
    }
}
