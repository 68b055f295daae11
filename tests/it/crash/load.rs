//! Clients that send at random, all at once, until they are told to stop or the service is gone, and write down what they sent and heard.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loyaltyd::contract::v1::{self, identifier::Kind};
use tokio::task::JoinSet;

use super::{
    call::{Call, Caller, Outcome, concluded, concluded_item},
    lives,
    model::{Fate, MemberNo, Model, NOTHING, OpId},
    random::Random,
};
use crate::support::{self, PROGRAM, by_card, by_id};

/// Clients that send one request after the other.
const TILLS: usize = 12;
const STREAMS: usize = 2;
/// Those that have members of their own.
const LIVES: usize = 4;
/// Members that most requests are for: the newest.
const RECENT: usize = 40;

#[derive(Clone)]
pub struct Shared(Arc<Mutex<Model>>);

impl Shared {
    pub fn new(model: Model) -> Self {
        Self(Arc::new(Mutex::new(model)))
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().expect("a client found a fault; it is told above")
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn start(shared: &Shared, caller: &Caller, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let client =
            |random: &mut Random| Client { shared: shared.clone(), caller: caller.clone(), random: random.fork(), stop: Arc::clone(&stop) };
        for _ in 0..TILLS {
            clients.spawn(client(random).till());
        }
        for _ in 0..STREAMS {
            clients.spawn(client(random).streams());
        }
        for _ in 0..LIVES {
            clients.spawn(client(random).lives());
        }
        clients.spawn(client(random).batches());
        clients.spawn(client(random).manager());
        Self { stop, clients }
    }

    /// Waits for all; a client that found a fault has panicked.
    pub async fn ended(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client found a fault; it is told above");
        }
    }
}

pub struct Client {
    pub shared: Shared,
    pub caller: Caller,
    pub random: Random,
    stop: Arc<AtomicBool>,
}

/// Nobody is there any more.
pub struct Gone;

pub type Step = Result<(), Gone>;

impl Client {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn till(mut self) {
        while self.goes_on() {
            if self.any().await.is_err() {
                return;
            }
        }
    }

    async fn any(&mut self) -> Step {
        let Some(member) = self.member() else { return self.enroll().await };
        match self.random.below(100) {
            0..=9 => self.enroll().await,
            10..=49 => self.purchase(member).await,
            50..=54 => self.purchase_twice_at_once(member).await,
            55..=59 => self.order_again(member).await,
            60..=62 => self.purchase_in_a_hurry(member).await,
            63..=67 => self.again().await,
            68..=69 => self.reuse().await,
            70..=79 => self.adjust(member).await,
            80..=83 => self.update(member).await,
            84..=88 => self.add_identifier(member).await,
            89..=90 => self.remove_identifier(member).await,
            91..=92 => self.steal(member).await,
            _ => self.read(member).await,
        }
    }

    fn member(&mut self) -> Option<MemberNo> {
        let model = self.shared.model();
        let count = model.known.len();
        let from = if self.random.percent(80) { count.saturating_sub(RECENT) } else { 0 };
        (count > 0).then(|| *self.random.pick(&model.known[from..]))
    }

    async fn send(&mut self, call: Call, member: Option<MemberNo>, refusals: &'static [&'static str]) -> Step {
        let op = self.shared.model().send(call.clone(), member, refusals);
        let outcome = self.caller.call(call).await;
        let step = if matches!(outcome, Outcome::Unknown) { Err(Gone) } else { Ok(()) };
        self.shared.model().settle_only(op, outcome);
        step
    }

    async fn enroll(&mut self) -> Step {
        let number = self.shared.model().fresh();
        let mut request = support::enrolment(&format!("card-{number}"));
        if self.random.percent(50) {
            request.identifiers.push(support::identifier(Kind::Phone, &format!("+8490{number:07}")));
        }
        if self.random.percent(50) {
            request.profile = Some(v1::Profile { display_name: format!("Name {number}"), ..Default::default() });
        }
        self.send(Call::Enroll(request), None, NOTHING).await
    }

    /// A sale that was never made before.
    pub fn sale(&mut self, member: MemberNo) -> v1::RecordPurchaseRequest {
        let (number, of) = {
            let mut model = self.shared.model();
            let number = model.fresh();
            let member = &model.members[member];
            (number, if self.random.percent(50) { by_id(&member.id) } else { by_card(&member.card) })
        };
        let mut request = support::sale("", &format!("order-{number}"), "0");
        request.member = of;
        let amounts: Vec<u64> = (0..self.random.within(1..=3)).map(|_| self.random.within(1..=400) * 1_000).collect();
        let purchase = request.purchase.as_mut().expect("a sale has a purchase");
        purchase.store_id = format!("store-{}", number % 7);
        purchase.lines = amounts.iter().map(|amount| support::line("rice", &amount.to_string())).collect();
        purchase.total = support::vnd(&amounts.iter().sum::<u64>().to_string());
        request
    }

    pub async fn purchase(&mut self, member: MemberNo) -> Step {
        let sale = self.sale(member);
        self.send(Call::Record(Box::new(sale)), Some(member), NOTHING).await
    }

    async fn purchase_twice_at_once(&mut self, member: MemberNo) -> Step {
        let call = Call::Record(Box::new(self.sale(member)));
        let op = self.shared.model().send(call.clone(), Some(member), NOTHING);
        let (one, other) = tokio::join!(self.caller.call(call.clone()), self.caller.call(call));
        let step = if matches!((&one, &other), (Outcome::Unknown, _) | (_, Outcome::Unknown)) { Err(Gone) } else { Ok(()) };
        let mut model = self.shared.model();
        model.settle(op, one);
        model.settle(op, other);
        step
    }

    /// The same order under two request ids, at once: one of them counts.
    async fn order_again(&mut self, member: MemberNo) -> Step {
        let one = self.sale(member);
        let mut other = self.sale(member);
        let order = |request: &v1::RecordPurchaseRequest| request.purchase.as_ref().map(|it| (it.store_id.clone(), it.order_id.clone()));
        if let (Some(purchase), Some((store, order))) = (&mut other.purchase, order(&one)) {
            (purchase.store_id, purchase.order_id) = (store, order);
        }
        let (one, other) = (Call::Record(Box::new(one)), Call::Record(Box::new(other)));
        let (first, second) = {
            let mut model = self.shared.model();
            (model.send(one.clone(), Some(member), NOTHING), model.send(other.clone(), Some(member), NOTHING))
        };
        let (one, other) = tokio::join!(self.caller.call(one), self.caller.call(other));
        let step = if matches!((&one, &other), (Outcome::Unknown, _) | (_, Outcome::Unknown)) { Err(Gone) } else { Ok(()) };
        let mut model = self.shared.model();
        model.settle_only(first, one);
        model.settle_only(second, other);
        step
    }

    /// Gives up before the answer comes, most times.
    async fn purchase_in_a_hurry(&mut self, member: MemberNo) -> Step {
        let call = Call::Record(Box::new(self.sale(member)));
        let op = self.shared.model().send(call.clone(), Some(member), NOTHING);
        let limit = Duration::from_micros(self.random.within(200..=5_000));
        let outcome = self.caller.within(limit).call(call).await;
        self.shared.model().settle_only(op, outcome);
        Ok(())
    }

    /// One of the latest requests that were answered, as it was.
    fn answered(&mut self) -> Option<(OpId, Call)> {
        let model = self.shared.model();
        let from = model.ops.len().saturating_sub(300);
        let answered = model.answered(from..model.ops.len());
        if answered.is_empty() {
            return None;
        }
        let op = *self.random.pick(&answered);
        Some((op, model.ops[op].call.clone()))
    }

    async fn again(&mut self) -> Step {
        let Some((op, call)) = self.answered() else { return Ok(()) };
        let outcome = self.caller.call(call).await;
        let step = if matches!(outcome, Outcome::Unknown) { Err(Gone) } else { Ok(()) };
        self.shared.model().settle(op, outcome);
        step
    }

    /// A request id that was used for something else.
    async fn reuse(&mut self) -> Step {
        let Some((_, used)) = self.answered() else { return Ok(()) };
        let number = self.shared.model().fresh();
        let request_id = used.request_id().to_owned();
        let request = v1::EnrollMemberRequest { request_id, ..support::enrolment(&format!("reused-{number}")) };
        match self.caller.call(Call::Enroll(request)).await {
            Outcome::Refused(reason) if reason == "REQUEST_ID_REUSED" => Ok(()),
            Outcome::NotTaken => Ok(()),
            Outcome::Unknown => Err(Gone),
            other => panic!("the request id of {used:?} was taken again: {other:?}"),
        }
    }

    async fn adjust(&mut self, member: MemberNo) -> Step {
        let (number, id) = self.numbered(member);
        let points = self.random.within(1..=60) as i64 * if self.random.percent(40) { -1 } else { 1 };
        let mut request = support::adjustment(&id, &format!("adjust-{number}"), points);
        request.qualifying = self.random.percent(30);
        let refusals: &[_] = if points < 0 { &["INSUFFICIENT_POINTS"] } else { NOTHING };
        self.send(Call::Adjust(Box::new(request)), Some(member), refusals).await
    }

    pub fn numbered(&self, member: MemberNo) -> (u64, String) {
        let mut model = self.shared.model();
        (model.fresh(), model.members[member].id.clone())
    }

    async fn update(&mut self, member: MemberNo) -> Step {
        let (number, id) = self.numbered(member);
        let request = v1::UpdateMemberRequest {
            request_id: format!("update-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            profile: Some(v1::Profile { display_name: format!("Name {number}"), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
            ..Default::default()
        };
        self.send(Call::Update(Box::new(request)), Some(member), NOTHING).await
    }

    async fn add_identifier(&mut self, member: MemberNo) -> Step {
        let (number, id) = self.numbered(member);
        let request = v1::AddIdentifierRequest {
            request_id: format!("add-{number}"),
            program_id: PROGRAM.into(),
            member: by_id(&id),
            identifier: Some(support::identifier(Kind::ExternalId, &format!("external-{number}"))),
            ..Default::default()
        };
        self.send(Call::AddIdentifier(request), Some(member), &["TOO_MANY_IDENTIFIERS"]).await
    }

    /// One that was added and answered, and that nobody has removed yet.
    async fn remove_identifier(&mut self, member: MemberNo) -> Step {
        let (op, call) = {
            let mut model = self.shared.model();
            let added = model.members[member].ops.iter().filter_map(|op| match (&model.ops[*op].call, &model.ops[*op].fate) {
                (Call::AddIdentifier(request), Fate::Answered(_)) => request.identifier.clone(),
                _ => None,
            });
            let added: Vec<_> = added.filter(|it| !model.by_request.contains_key(&format!("remove-{}", it.value))).collect();
            if added.is_empty() {
                return Ok(());
            }
            let identifier = self.random.pick(&added).clone();
            let call = Call::RemoveIdentifier(v1::RemoveIdentifierRequest {
                request_id: format!("remove-{}", identifier.value),
                program_id: PROGRAM.into(),
                member: by_id(&model.members[member].id),
                identifier: Some(identifier),
                ..Default::default()
            });
            (model.send(call.clone(), Some(member), NOTHING), call)
        };
        let outcome = self.caller.call(call).await;
        let step = if matches!(outcome, Outcome::Unknown) { Err(Gone) } else { Ok(()) };
        self.shared.model().settle_only(op, outcome);
        step
    }

    /// A new member with the card of another one: never.
    async fn steal(&mut self, member: MemberNo) -> Step {
        let (number, card) = {
            let mut model = self.shared.model();
            (model.fresh(), model.members[member].card.clone())
        };
        let request = v1::EnrollMemberRequest { request_id: format!("steal-{number}"), ..support::enrolment(&card) };
        self.send(Call::Enroll(request), None, &["IDENTIFIER_TAKEN"]).await
    }

    /// What was answered before is seen.
    async fn read(&mut self, member: MemberNo) -> Step {
        let (id, known) = {
            let model = self.shared.model();
            (model.members[member].id.clone(), model.members[member].seen_sequence)
        };
        let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(&id), ..Default::default() };
        match self.caller.members().get_member(self.caller.request(request)).await {
            Ok(shown) => {
                let shown = shown.into_inner().member.expect("a member is shown").last_sequence;
                assert!(shown >= known, "member {id} is shown after entry {shown}, but entry {known} was answered before");
                let mut model = self.shared.model();
                let seen = &mut model.members[member].seen_sequence;
                *seen = shown.max(*seen);
                Ok(())
            }
            Err(status) => match concluded(&status) {
                Outcome::Unknown => Err(Gone),
                other => panic!("member {id} cannot be read: {other:?}"),
            },
        }
    }

    /// Sales for members at random, some of them twice.
    fn sales(&mut self, count: usize) -> Vec<(OpId, v1::RecordPurchaseRequest)> {
        let mut sales = Vec::with_capacity(count);
        while sales.len() < count {
            let Some(member) = self.member() else { return Vec::new() };
            let sale = self.sale(member);
            let op = self.shared.model().send(Call::Record(Box::new(sale.clone())), Some(member), NOTHING);
            if self.random.percent(5) {
                sales.push((op, sale.clone()));
            }
            sales.push((op, sale));
        }
        sales
    }

    async fn streams(mut self) {
        while self.goes_on() {
            let count = self.random.within(1..=60) as usize;
            let sales = self.sales(count);
            if sales.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            let ops: Vec<OpId> = sales.iter().map(|(op, _)| *op).collect();
            let requests: Vec<_> = sales.into_iter().map(|(_, sale)| v1::StreamPurchasesRequest { purchase: Some(sale) }).collect();
            let opened = self.caller.purchases().stream_purchases(self.caller.request(tokio_stream::iter(requests))).await;
            let Ok(mut answers) = opened.map(tonic::Response::into_inner) else { return };
            for op in &ops {
                let Ok(Some(answer)) = answers.message().await else { return };
                let result = answer.result.expect("an answer has a result");
                self.item(*op, &ops, result);
            }
        }
    }

    async fn batches(mut self) {
        while self.goes_on() {
            let count = self.random.within(1..=40) as usize;
            let sales = self.sales(count);
            if sales.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            let (ops, purchases): (Vec<_>, Vec<_>) = sales.into_iter().unzip();
            let request = self.caller.request(v1::BatchRecordPurchasesRequest { purchases });
            let Ok(answer) = self.caller.purchases().batch_record_purchases(request).await else { return };
            let results = answer.into_inner().results;
            assert_eq!(results.len(), ops.len(), "one result for each purchase");
            for (op, result) in ops.iter().zip(results) {
                self.item(*op, &ops, result);
            }
        }
    }

    /// What became of one of the purchases that were sent together.
    fn item(&self, op: OpId, all: &[OpId], result: v1::PurchaseResult) {
        let mut model = self.shared.model();
        assert_eq!(result.request_id, model.ops[op].call.request_id(), "results are in the order of the requests");
        let outcome = concluded_item(result);
        let is_sent_once = all.iter().filter(|other| **other == op).count() == 1;
        if is_sent_once { model.settle_only(op, outcome) } else { model.settle(op, outcome) }
    }

    /// Publishes rule books that differ in what they pay.
    async fn manager(mut self) {
        while self.goes_on() {
            tokio::time::sleep(Duration::from_millis(self.random.within(20..=300))).await;
            let number = self.shared.model().fresh();
            if self.send(publication(number), None, NOTHING).await.is_err() {
                return;
            }
        }
    }
}

pub fn publication(number: u64) -> Call {
    let mut program = support::rule_book();
    program.display_name = format!("Vietnam {number}");
    lives::offers(&mut program);
    if let Some(v1::accrual_rule::Award::PerAmount(rule)) = &mut program.accrual_rules[0].award {
        rule.points = (1 + number % 3).to_string();
    }
    let request_id = format!("publish-{number}");
    Call::Publish(Box::new(v1::PublishProgramRequest { request_id, program: Some(program), ..Default::default() }))
}
