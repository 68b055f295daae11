//! What each scenario sends.

use std::sync::atomic::{AtomicU64, Ordering};

use http::uri::PathAndQuery;
use prost::bytes::Bytes;
use tonic_health::pb::HealthCheckRequest;

use super::{
    books::Book,
    codec::{MEMBER, SEQUENCE, Template},
    random::{Random, Skew},
    wire::{Head, PREFIX, close_frame},
};
use crate::contract::v1::{self, identifier::Kind, member_ref::Ref};

/// Different baskets of a run.
const BASKETS: u64 = 64;
/// First purchases that are sent together.
const ONCE_BATCH: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// GetServerInfo: what a call costs that does nothing
    Empty,
    /// Whether the service serves
    #[value(skip)]
    Health,
    /// RecordPurchase
    Record,
    /// StreamPurchases, one stream a connection
    Stream,
    /// BatchRecordPurchases
    Batch,
    /// GetMember by card
    GetMember,
    /// QuotePurchase
    Quote,
    /// EnrollMember
    Enroll,
    /// RedeemPoints of one point; each member buys something first
    Redeem,
    /// HoldPoints
    #[value(skip)]
    Hold,
    /// CaptureHold
    #[value(skip)]
    Capture,
    /// ReturnPurchase of one line
    #[value(skip)]
    Return,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Health => "health",
            Self::Record => "record",
            Self::Stream => "stream",
            Self::Batch => "batch",
            Self::GetMember => "get-member",
            Self::Quote => "quote",
            Self::Enroll => "enroll",
            Self::Redeem => "redeem",
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Return => "return",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Empty => "/loyalty.v1.ServerService/GetServerInfo",
            Self::Health => "/grpc.health.v1.Health/Check",
            Self::Record => "/loyalty.v1.PurchaseService/RecordPurchase",
            Self::Stream => "/loyalty.v1.PurchaseService/StreamPurchases",
            Self::Batch => "/loyalty.v1.PurchaseService/BatchRecordPurchases",
            Self::GetMember => "/loyalty.v1.MemberService/GetMember",
            Self::Quote => "/loyalty.v1.PurchaseService/QuotePurchase",
            Self::Enroll => "/loyalty.v1.MemberService/EnrollMember",
            Self::Redeem => "/loyalty.v1.PointsService/RedeemPoints",
            Self::Hold => "/loyalty.v1.PointsService/HoldPoints",
            Self::Capture => "/loyalty.v1.PointsService/CaptureHold",
            Self::Return => "/loyalty.v1.PurchaseService/ReturnPurchase",
        }
    }
}

/// The requests of one run, without end; each purchase and each enrolment is a new one.
pub struct Workload {
    pub scenario: Scenario,
    pub head: Head,
    templates: Vec<Template>,
    /// The number of the first of them.
    first: u64,
    members: u64,
    skew: Skew,
    /// Purchases in a batch.
    batch: usize,
    sequence: AtomicU64,
}

impl Workload {
    /// `run` keeps the ids of runs against the same server apart.
    pub fn new(scenario: Scenario, (book, run): (Book, &str), members: u64, skew: Skew, batch: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let templates = (0..BASKETS).map(|_| template(scenario, (book, run), &mut random)).collect();
        let head = Head::new(&PathAndQuery::from_static(scenario.path()));
        Self { scenario, head, templates, first: 0, members, skew, batch, sequence: AtomicU64::new(0) }
    }

    /// One request for each member, the same in every run: enrolled, they buy, hold points, capture them, redeem others and return goods, in
    /// this order, since the later ones name what the earlier ones made.
    pub fn once(scenario: Scenario, members: u64) -> Self {
        Self::once_in(Book::Usual, scenario, members)
    }

    /// The same in another programme. In batches they buy, too.
    pub fn once_in(book: Book, scenario: Scenario, members: u64) -> Self {
        let templates = vec![once(book, scenario)];
        let head = Head::new(&PathAndQuery::from_static(scenario.path()));
        let batch = if scenario == Scenario::Batch { ONCE_BATCH } else { 1 };
        Self { scenario, head, templates, first: 0, members, skew: Skew::Uniform, batch, sequence: AtomicU64::new(0) }
    }

    /// For so many members.
    pub fn of(mut self, members: u64) -> Self {
        self.members = members;
        self
    }

    pub fn members(&self) -> u64 {
        self.members
    }

    /// For members whose numbers begin here.
    pub fn among(mut self, first: u64) -> Self {
        self.first = first;
        self
    }

    /// With calls that say after what time nobody waits for their answers any more.
    pub fn with_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.head = self.head.with_timeout(timeout);
        self
    }

    /// The request for each member, or each batch of them, in turn; `None` after the last one.
    pub fn next_member(&self) -> Option<Bytes> {
        let first = self.sequence.fetch_add(self.size(), Ordering::Relaxed);
        let members = first..self.members.min(first + self.size());
        let template = &self.templates[0];
        (!members.is_empty()).then(|| {
            frame(|bytes| {
                for member in members {
                    if self.scenario == Scenario::Batch {
                        begin_item(template, bytes);
                    }
                    template.fill(self.first + member, 0, bytes);
                }
            })
        })
    }

    /// A request as it goes onto the wire.
    pub fn next(&self, random: &mut Random) -> Bytes {
        frame(|bytes| self.append(random, bytes))
    }

    /// Appends the frame of the next request: several may be sent together on a stream.
    pub fn next_framed(&self, random: &mut Random, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; PREFIX]);
        self.append(random, bytes);
        close_frame(&mut bytes[start..]);
    }

    /// Purchases, members or calls in one request.
    pub fn size(&self) -> u64 {
        if self.scenario == Scenario::Batch { self.batch as u64 } else { 1 }
    }

    fn append(&self, random: &mut Random, bytes: &mut Vec<u8>) {
        match self.scenario {
            Scenario::Batch => {
                for _ in 0..self.batch {
                    let template = self.template(random);
                    begin_item(template, bytes);
                    self.fill(template, random, bytes);
                }
            }
            Scenario::Empty
            | Scenario::Health
            | Scenario::Record
            | Scenario::Stream
            | Scenario::GetMember
            | Scenario::Quote
            | Scenario::Enroll
            | Scenario::Redeem
            | Scenario::Hold
            | Scenario::Capture
            | Scenario::Return => {
                self.fill(self.template(random), random, bytes);
            }
        }
    }

    fn template(&self, random: &mut Random) -> &Template {
        &self.templates[usize::try_from(random.below(self.templates.len() as u64)).expect("a small number")]
    }

    fn fill(&self, template: &Template, random: &mut Random, bytes: &mut Vec<u8>) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        template.fill(self.first + self.skew.pick(random, self.members), sequence, bytes);
    }
}

/// An item of a batch: its field 1, length-delimited.
fn begin_item(template: &Template, bytes: &mut Vec<u8>) {
    bytes.push(0x0a);
    prost::encode_length_delimiter(template.len(), bytes).expect("a vector grows");
}

fn frame(append: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&[0; PREFIX]);
    append(&mut bytes);
    close_frame(&mut bytes);
    bytes.into()
}

fn template(scenario: Scenario, (book, run): (Book, &str), random: &mut Random) -> Template {
    let (member, program_id) = (Some(member()), book.program_id().to_owned());
    let purchase = purchase(run, random);
    let request_id = format!("{run}-{SEQUENCE}");
    let record = || v1::RecordPurchaseRequest {
        request_id: request_id.clone(),
        program_id: program_id.clone(),
        member: member.clone(),
        purchase: Some(purchase.clone()),
        ..Default::default()
    };
    match scenario {
        Scenario::Empty => Template::new(&v1::GetServerInfoRequest {}),
        Scenario::Health => Template::new(&HealthCheckRequest { service: String::new() }),
        Scenario::Record | Scenario::Batch => Template::new(&record()),
        Scenario::Stream => Template::new(&v1::StreamPurchasesRequest { purchase: Some(record()) }),
        Scenario::GetMember => Template::new(&v1::GetMemberRequest { program_id, member, ..Default::default() }),
        Scenario::Quote => Template::new(&v1::QuotePurchaseRequest { program_id, member, purchase: Some(purchase) }),
        Scenario::Enroll => Template::new(&enrolment(book, request_id.clone(), request_id)),
        Scenario::Redeem => Template::new(&v1::RedeemPointsRequest { request_id, program_id, member, points: 1, ..Default::default() }),
        Scenario::Hold | Scenario::Capture | Scenario::Return => once(book, scenario),
    }
}

/// What each member does once. A member's first entry is its enrolment, the second its purchase, the third its hold.
fn once(book: Book, scenario: Scenario) -> Template {
    let (member, program_id, request_id) = (Some(member()), book.program_id().to_owned(), format!("{}-{MEMBER}", scenario.name()));
    match scenario {
        Scenario::Empty | Scenario::Health | Scenario::GetMember | Scenario::Quote | Scenario::Stream => {
            unreachable!("it is measured as often as there is time")
        }
        Scenario::Enroll => Template::new(&enrolment(book, format!("preload-{MEMBER}"), format!("m{MEMBER}"))),
        Scenario::Record | Scenario::Batch => {
            let purchase = Some(first_purchase());
            Template::new(&v1::RecordPurchaseRequest { request_id, program_id, member, purchase, ..Default::default() })
        }
        Scenario::Redeem => Template::new(&v1::RedeemPointsRequest { request_id, program_id, member, points: 1, ..Default::default() }),
        Scenario::Hold => Template::new(&v1::HoldPointsRequest { request_id, program_id, member, points: 100, ..Default::default() }),
        Scenario::Capture => {
            Template::new(&v1::CaptureHoldRequest { request_id, program_id, member, hold_id: "3".into(), ..Default::default() })
        }
        Scenario::Return => {
            let v1::Purchase { store_id, order_id, .. } = first_purchase();
            let lines = vec![v1::ReturnLine { line_index: 1, quantity: "1".into(), amount: None }];
            Template::new(&v1::ReturnPurchaseRequest { request_id, program_id, store_id, order_id, lines, ..Default::default() })
        }
    }
}

/// Three lines that earn 600 points, which leaves the member of the usual programme in the lowest tier.
fn first_purchase() -> v1::Purchase {
    let line = |number: u64| v1::PurchaseLine {
        sku: format!("sku-{number:05}"),
        category: format!("department-{number}"),
        quantity: "1".into(),
        amount: Some(dollars(20_000)),
        ..Default::default()
    };
    v1::Purchase {
        store_id: "store-000".into(),
        order_id: format!("first-{MEMBER}"),
        channel: "pos".into(),
        lines: (1..=3).map(line).collect(),
        total: Some(dollars(60_000)),
        ..Default::default()
    }
}

fn member() -> v1::MemberRef {
    v1::MemberRef { r#ref: Some(Ref::Identifier(card(format!("m{MEMBER}")))) }
}

/// The member with this number.
pub fn member_of(number: u64) -> v1::MemberRef {
    let digits = MEMBER.len();
    v1::MemberRef { r#ref: Some(Ref::Identifier(card(format!("m{number:0digits$}")))) }
}

fn enrolment(book: Book, request_id: String, number: String) -> v1::EnrollMemberRequest {
    let profile = book.birth_date().map(|birth_date| v1::Profile { birth_date: Some(birth_date), ..Default::default() });
    let program_id = book.program_id().to_owned();
    v1::EnrollMemberRequest { request_id, program_id, profile, identifiers: vec![card(number)], ..Default::default() }
}

fn card(value: String) -> v1::Identifier {
    v1::Identifier { kind: Kind::Card.into(), value }
}

/// A basket of 1 to 5 lines.
fn purchase(run: &str, random: &mut Random) -> v1::Purchase {
    let mut total = 0;
    let mut lines = Vec::new();
    for _ in 0..=random.below(5) {
        let cents = 100 + random.below(9_900);
        total += cents;
        lines.push(v1::PurchaseLine {
            sku: format!("sku-{:05}", random.below(100_000)),
            category: format!("department-{}", random.below(20)),
            quantity: (1 + random.below(3)).to_string(),
            amount: Some(dollars(cents)),
            ..Default::default()
        });
    }
    v1::Purchase {
        store_id: format!("store-{:03}", random.below(200)),
        order_id: format!("{run}-{SEQUENCE}"),
        channel: "pos".into(),
        lines,
        total: Some(dollars(total)),
        ..Default::default()
    }
}

fn dollars(cents: u64) -> v1::Money {
    v1::Money { currency_code: "USD".into(), amount: format!("{}.{:02}", cents / 100, cents % 100) }
}
