//! Clients of the server, which remember what they asked for and what they were answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use loyaltyd::contract::v1::{
    self, member_service_client::MemberServiceClient, points_service_client::PointsServiceClient,
    purchase_service_client::PurchaseServiceClient,
};
use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};

use super::dice::Dice;
use crate::support::{actor, by_card, enrolment, purchase};

const PROGRAM: &str = "shop";
const TILLS: usize = 8;
/// So many members at most.
const MEMBERS: usize = 48;
/// Of the requests that were answered, so many of the last ones are sent again after each cut, and one in so many of those before.
const LAST: usize = 120;
const SAMPLE: u64 = 8;

#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Enroll(v1::EnrollMemberRequest),
    Record(Box<v1::RecordPurchaseRequest>),
    Adjust(v1::AdjustPointsRequest),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Enrolled(Box<v1::EnrollMemberResponse>),
    Recorded(Box<v1::RecordPurchaseResponse>),
    Adjusted(Box<v1::AdjustPointsResponse>),
}

#[derive(Debug, Clone)]
struct Sent {
    card: String,
    request_id: String,
    /// What the member gets by it.
    points: i64,
    call: Call,
    answer: Option<Answer>,
}

/// What was sent, in its order.
#[derive(Default)]
pub struct Book {
    sent: Vec<Sent>,
    /// Of members whose enrolment was answered.
    cards: Vec<String>,
    enrolments: usize,
}

/// What a verification looked at.
#[derive(Default, Debug)]
pub struct Counts {
    pub entries: usize,
    pub repeated: usize,
    pub carried_out: usize,
    pub absent: usize,
}

#[derive(Clone, Default)]
pub struct Tills {
    book: Arc<Mutex<Book>>,
    /// Refusals that were retriable, by reason.
    pub refusals: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Tills {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub fn answered(&self) -> usize {
        self.book().sent.iter().filter(|sent| sent.answer.is_some()).count()
    }

    /// Sends from many tills at once until the server is gone or `stop` is set.
    pub async fn work(&self, channel: &Channel, dice: &mut Dice, stop: &Arc<AtomicBool>) {
        let mut tills = JoinSet::new();
        for till in 0..TILLS {
            tills.spawn(self.clone().till(channel.clone(), Dice::child(dice.below(u64::MAX), till as u64), stop.clone()));
        }
        while let Some(till) = tills.join_next().await {
            till.expect("a till found a fault, which is told above");
        }
    }

    async fn till(self, channel: Channel, mut dice: Dice, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let number = self.new_call(&mut dice);
            if self.send(&channel, number).await.is_err() {
                return;
            }
        }
    }

    fn new_call(&self, dice: &mut Dice) -> usize {
        let mut book = self.book();
        let number = book.sent.len();
        let request_id = format!("request-{number}");
        let is_new = book.cards.is_empty() || (book.enrolments < MEMBERS && dice.below(8) == 0);
        let (card, points, call) = if is_new {
            book.enrolments += 1;
            let card = format!("card-{number}");
            let request = v1::EnrollMemberRequest { request_id: request_id.clone(), program_id: PROGRAM.into(), ..enrolment(&card) };
            (card, 0, Call::Enroll(request))
        } else {
            let card = book.cards[dice.below(book.cards.len() as u64) as usize].clone();
            let points = 1 + dice.below(900) as i64;
            let call = if dice.below(6) == 0 {
                Call::Adjust(v1::AdjustPointsRequest {
                    request_id: request_id.clone(),
                    program_id: PROGRAM.into(),
                    member: by_card(&card),
                    points,
                    reason: "goodwill".into(),
                    actor: actor(),
                    ..Default::default()
                })
            } else {
                let purchase = purchase(&format!("order-{number}"), &(points * 10_000 + 9_999).to_string());
                let member = by_card(&card);
                let request_id = request_id.clone();
                Call::Record(Box::new(v1::RecordPurchaseRequest {
                    request_id,
                    program_id: PROGRAM.into(),
                    member,
                    purchase: Some(purchase),
                    ..Default::default()
                }))
            };
            (card, points, call)
        };
        book.sent.push(Sent { card, request_id, points, call, answer: None });
        number
    }

    /// Sends and writes down. An error that says that nothing was done and to come again is counted, and no error.
    async fn send(&self, channel: &Channel, number: usize) -> Result<Option<Answer>, Status> {
        let call = self.book().sent[number].call.clone();
        match ask(channel, call).await {
            Ok(answer) => {
                let mut book = self.book();
                if let Answer::Enrolled(_) = &answer
                    && book.sent[number].answer.is_none()
                {
                    let card = book.sent[number].card.clone();
                    book.cards.push(card);
                }
                let before = book.sent[number].answer.replace(answer.clone());
                assert!(before.is_none_or(|before| before == answer), "another answer than before: {:?}", book.sent[number]);
                Ok(Some(answer))
            }
            Err(status) => match retriable(&status) {
                Some(reason) => {
                    *self.refusals.lock().unwrap().entry(reason).or_default() += 1;
                    tokio::task::yield_now().await;
                    Ok(None)
                }
                None => Err(status),
            },
        }
    }

    /// What was answered is there, once, with the same answer; what was not is there wholly or not at all; the points add up. Then what
    /// was not answered is sent again.
    pub async fn verify(&self, channel: &Channel, dice: &mut Dice) -> Counts {
        let mut counts = Counts::default();
        let mut before = BTreeMap::new();
        self.look(channel, &mut before).await;
        let (unknown, known): (Vec<usize>, Vec<usize>) = {
            let book = self.book();
            (0..book.sent.len()).partition(|number| book.sent[*number].answer.is_none())
        };
        for number in &unknown {
            let id = self.book().sent[*number].request_id.clone();
            if before.contains_key(&id) { counts.carried_out += 1 } else { counts.absent += 1 }
        }
        let first = known.len().saturating_sub(LAST);
        for (place, number) in known.iter().enumerate() {
            if place >= first || dice.below(SAMPLE) == 0 {
                let answer = self.send(channel, *number).await.expect("a repeated request is answered");
                assert!(answer.is_some(), "a repeated request is answered at once");
                counts.repeated += 1;
            }
        }
        for number in unknown {
            let answer = self.send(channel, number).await.expect("a request that was not answered can be sent again");
            assert!(answer.is_some(), "a request that was not answered can be sent again");
        }
        let mut after = BTreeMap::new();
        self.look(channel, &mut after).await;
        for (id, sequence) in before {
            assert_eq!(after.get(&id), Some(&sequence), "{id}");
        }
        let book = self.book();
        assert!(book.sent.iter().all(|sent| after.contains_key(&sent.request_id)), "all that was sent is there");
        counts.entries = after.len();
        counts
    }

    /// What can be read is what was sent.
    pub async fn look_on(&self, channel: &Channel) {
        self.look(channel, &mut BTreeMap::new()).await;
    }

    /// All entries by request, after holding them against what was sent.
    async fn look(&self, channel: &Channel, found: &mut BTreeMap<String, (String, i64)>) {
        let mut members: BTreeMap<String, Vec<Sent>> = BTreeMap::new();
        for sent in &self.book().sent {
            members.entry(sent.card.clone()).or_default().push(sent.clone());
        }
        for (card, sent) in members {
            let Some(entries) = entries(channel, &card).await else {
                assert!(sent.iter().all(|sent| sent.answer.is_none()), "{card} was enrolled, and is not there");
                continue;
            };
            let mut points = 0;
            for (place, entry) in entries.iter().enumerate() {
                assert_eq!(entry.sequence, place as i64 + 1);
                let sent = sent.iter().find(|sent| sent.request_id == entry.request_id);
                let sent = sent.unwrap_or_else(|| panic!("nobody asked for {entry:?}"));
                assert_eq!(entry.points, sent.points, "{sent:?}");
                points += entry.points;
                let balance = entry.balance.as_ref().expect("an entry has a balance");
                assert_eq!(balance.available, points, "{entry:?}");
                let other = found.insert(entry.request_id.clone(), (card.clone(), entry.sequence));
                assert!(other.is_none(), "it was counted twice: {entry:?}");
            }
            for sent in sent.iter().filter(|sent| sent.answer.is_some()) {
                assert!(found.contains_key(&sent.request_id), "it was answered, and is not there: {sent:?}");
            }
            let request = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_card(&card), ..Default::default() };
            let member = MemberServiceClient::new(channel.clone()).get_member(request).await.expect("a member is read").into_inner();
            let balance = member.member.and_then(|member| member.balance).expect("a member has a balance");
            assert_eq!(balance.available, points, "{card}");
        }
    }
}

/// `None`: there is no such member.
async fn entries(channel: &Channel, card: &str) -> Option<Vec<v1::Entry>> {
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_card(card), page_size: 500, page_token, ..Default::default() };
        match PointsServiceClient::new(channel.clone()).list_entries(request).await {
            Ok(page) => {
                let page = page.into_inner();
                entries.extend(page.entries);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    entries.reverse();
                    return Some(entries);
                }
            }
            Err(status) if status.code() == Code::NotFound => return None,
            Err(status) => panic!("entries are read: {status:?}"),
        }
    }
}

async fn ask(channel: &Channel, call: Call) -> Result<Answer, Status> {
    Ok(match call {
        Call::Enroll(request) => {
            Answer::Enrolled(Box::new(MemberServiceClient::new(channel.clone()).enroll_member(request).await?.into_inner()))
        }
        Call::Record(request) => {
            Answer::Recorded(Box::new(PurchaseServiceClient::new(channel.clone()).record_purchase(*request).await?.into_inner()))
        }
        Call::Adjust(request) => {
            Answer::Adjusted(Box::new(PointsServiceClient::new(channel.clone()).adjust_points(request).await?.into_inner()))
        }
    })
}

/// The reason, if nothing was done and the caller is told when to come again.
fn retriable(status: &Status) -> Option<String> {
    let details = tonic_types::StatusExt::get_error_details(status);
    let delay = details.retry_info().and_then(|retry| retry.retry_delay);
    delay.and_then(|_| details.error_info().map(|info| info.reason.clone()))
}
