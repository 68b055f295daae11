//! Segments as managers and tills see them: counted, listed, on the member, and what rewards make of them.

use std::{fs, sync::Arc};

use jiff::SignedDuration;
use loyaltyd::{
    contract::{rule_book as text, v1},
    domain::{
        Command, Fingerprint, Identifier, IdentifierKind, MemberId, MemberKey, MergeRequest, Person, ProgramId, Purchase, Recipient,
        Request, RequestId, SegmentId,
    },
    ledger::{BirthdayWalk, Clock as _, Ledger, ManualClock, MemberTarget, Submission},
    store::embedded::{self, EmbeddedStore, Options},
};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    accrual,
    redemption::{member_with, start_with},
    support::{PROGRAM, TestServer, by_id, histories, refused, rule_book, sale},
};

fn book() -> v1::Program {
    let fields = r#"
segments:
- { segment_id: loyal, display_name: Loyal, condition: "member.purchases_in_days(30) >= 2" }
- { segment_id: new, condition: "member.age_days < 10" }
voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]
rewards: [{ reward_id: tea, display_name: A tea, voucher_kind_id: tea, points: "5", segment_ids: [loyal] }]
"#;
    let read = text::read(fields).expect("well-formed fields");
    v1::Program { voucher_kinds: read.voucher_kinds, rewards: read.rewards, segments: read.segments, ..rule_book() }
}

fn segments(member: &v1::Member) -> Vec<&str> {
    member.segments.iter().map(|segment| segment.segment_id.as_str()).collect()
}

async fn listed(server: &TestServer, segment: &str, page_size: i32) -> Vec<Vec<String>> {
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let (program_id, segment_id) = (PROGRAM.into(), segment.into());
        let request = v1::ListMembersRequest { program_id, page_size, page_token, segment_id };
        let answer = server.members().list_members(request).await.expect("members are listed").into_inner();
        pages.push(answer.members.into_iter().map(|member| member.member_id).collect());
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn segments_are_counted_listed_and_shown_and_a_reward_can_be_for_them_alone() {
    let server = start_with(book()).await;
    let (an, binh) = (member_with(&server, "an", 50).await, member_with(&server, "binh", 50).await);
    assert_eq!(segments(&server.member(&an).await), ["new"]);
    let ask = || v1::RedeemRewardRequest {
        request_id: "tea-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&an),
        reward_id: "tea".into(),
        quantity: 1,
        actor: None,
    };
    let refusal = server.rewards().redeem_reward(ask()).await.expect_err("it is for others");
    assert_eq!((refused(&refusal).code, refused(&refusal).reason.as_str()), (Code::FailedPrecondition, "REWARD_SEGMENT"));
    for order in ["o-1", "o-2"] {
        server.purchases().record_purchase(sale(&an, order, "20000")).await.expect("a sale");
    }
    assert_eq!(segments(&server.member(&an).await), ["loyal", "new"]);
    assert_eq!(segments(&server.member(&binh).await), ["new"]);
    server.rewards().redeem_reward(ask()).await.expect("it is for loyal ones");

    let request = v1::ListSegmentsRequest { program_id: PROGRAM.into() };
    let answer = server.members().list_segments(request.clone()).await.expect("segments are listed").into_inner();
    let said: Vec<(String, String, i64)> = answer
        .segments
        .into_iter()
        .map(|listed| {
            let segment = listed.segment.expect("a segment");
            (segment.segment_id, segment.condition, listed.members)
        })
        .collect();
    let expected = [("loyal", "member.purchases_in_days(30) >= 2", 1), ("new", "member.age_days < 10", 2)];
    assert_eq!(said, expected.map(|(id, condition, members)| (id.to_owned(), condition.to_owned(), members)));
    assert_eq!(listed(&server, "new", 1).await, [[an.clone()], [binh.clone()]]);
    assert_eq!(listed(&server, "loyal", 10).await, [[an.clone()]]);
    assert_eq!(listed(&server, "nobody", 10).await, [Vec::<String>::new()]);

    // Reads are right though nothing that is due has been entered.
    server.days_later(31);
    assert_eq!(segments(&server.member(&an).await), Vec::<&str>::new());
    assert_eq!(listed(&server, "new", 1).await.concat(), Vec::<String>::new());
    let entries = v1::ListEntriesRequest {
        program_id: PROGRAM.into(),
        member: by_id(&an),
        kinds: vec![v1::EntryKind::SegmentsChanged.into()],
        ..Default::default()
    };
    let entries = server.points().list_entries(entries).await.expect("entries are listed").into_inner().entries;
    let changes: Vec<(Vec<String>, Vec<String>)> = entries
        .into_iter()
        .filter_map(|entry| match entry.kind {
            Some(v1::entry::Kind::SegmentsChanged(changed)) => Some((changed.entered_segment_ids, changed.left_segment_ids)),
            _ => None,
        })
        .collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // The newest first.
    assert_eq!(
        changes,
        [(words(&[]), words(&["loyal"])), (words(&[]), words(&["new"])), (words(&["loyal"]), words(&[])), (words(&["new"]), words(&[]))]
    );
    server.stop().await;
}

struct Club {
    folder: TempDir,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    requests: u32,
}

fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> Ledger {
    let store = EmbeddedStore::open(folder.path(), Options::default()).expect("the store opens");
    Ledger::open(Arc::new(store), Arc::clone(clock) as _).expect("the ledger opens")
}

impl Club {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(ManualClock::new("2026-03-02T12:00:00Z".parse().expect("an instant")));
        let ledger = open(&folder, &clock);
        Self { folder, clock, ledger, requests: 0 }
    }

    fn request(&mut self) -> Request {
        self.requests += 1;
        Request { id: RequestId::new(&format!("r-{}", self.requests)).expect("an id"), fingerprint: Fingerprint([0; 16]) }
    }

    async fn publish(&mut self, program: v1::Program) {
        let request = self.request();
        self.ledger.publish(request, program).await.expect("it is published");
    }

    async fn enroll(&mut self) -> MemberKey {
        let request = self.request();
        let card = Identifier::new(IdentifierKind::Card, &format!("c-{}", self.requests)).expect("a card");
        let program = self.ledger.program(&program()).expect("the programme");
        let command = Command::Enroll { person: Person { identifiers: vec![card], ..Person::default() } };
        self.ledger
            .submit(Submission { program, member: MemberTarget::New, request, actor: None, principal: None, command })
            .await
            .expect("it enrols")
            .key
    }

    async fn does(&mut self, member: MemberId, command: Command) {
        let (request, program) = (self.request(), self.ledger.program(&program()).expect("the programme"));
        let submission = Submission { program, member: MemberTarget::Id(member), request, actor: None, principal: None, command };
        self.ledger.submit(submission).await.expect("it is done");
    }

    fn sizes(&self) -> Vec<u64> {
        ["loyal", "new"].iter().map(|id| self.ledger.segment_size(&program(), &segment(id)).expect("it is counted")).collect()
    }

    /// All that is due is entered, and everybody is gone through under new rules.
    async fn settle(&self) {
        while self.ledger.advance_due().await.expect("it is entered").members > 0 {}
        let mut walk = BirthdayWalk::default();
        while self.ledger.plan_birthdays(&mut walk).await.expect("they are gone through") {}
    }
}

fn program() -> ProgramId {
    ProgramId::new(PROGRAM).expect("an id")
}

fn segment(id: &str) -> SegmentId {
    SegmentId::new(id).expect("an id")
}

#[tokio::test]
async fn counts_follow_time_and_new_rules_and_come_back_with_tables_made_again() {
    let mut club = Club::new();
    club.publish(book()).await;
    let mut members: Vec<MemberId> = Vec::new();
    for _ in 0..150 {
        members.push(club.enroll().await.member);
    }
    assert_eq!(club.sizes(), [0, 150]);
    club.clock.set(club.clock.now() + SignedDuration::from_hours(5 * 24));
    for _ in 0..10 {
        members.push(club.enroll().await.member);
    }
    // The first ones are not new any more.
    club.clock.set(club.clock.now() + SignedDuration::from_hours(5 * 24));
    club.settle().await;
    assert_eq!(club.sizes(), [0, 10]);
    let later = club.ledger.segment_members(&program(), &segment("new"), Some(members[154]), 3).expect("they are listed");
    assert_eq!(later, members[155..158]);

    // Under other rules all are.
    let mut other = book();
    other.segments[1].condition = "member.age_days < 40".into();
    club.publish(other).await;
    club.settle().await;
    assert_eq!(club.sizes(), [0, 160]);

    // Two of them buy and are loyal. One is erased, and another turns out to be one with a third.
    let purchase = |order: u64| {
        Command::RecordPurchase(Arc::new(Purchase {
            order: Some(histories::order(order)),
            ..accrual::purchase(vec![accrual::line("100")])
        }))
    };
    for (order, member) in [members[3], members[3], members[4], members[4]].into_iter().enumerate() {
        club.does(member, purchase(order as u64)).await;
    }
    assert_eq!(club.sizes(), [2, 160]);
    club.does(members[3], Command::Erase { reason: "asked".into() }).await;
    assert_eq!(club.sizes(), [1, 159]);
    let into = MergeRequest { into: Recipient::Id(members[5]), reason: "the same".into() };
    club.does(members[4], Command::MergeMembers(into)).await;
    assert_eq!(club.sizes(), [1, 158]);
    let loyal = club.ledger.segment_members(&program(), &segment("loyal"), None, 9).expect("they are listed");
    assert_eq!(loyal, [members[5]]);

    // Rows that commits have written are those that the journal says, before tables are made again from it.
    let Club { folder, clock, ledger, .. } = club;
    ledger.close().expect("it closes");
    drop(ledger);
    let report = embedded::check(folder.path(), &Options::default()).expect("it is checked");
    assert!(report.is_sound(), "{:?}", report.differences);
    fs::remove_dir_all(folder.path().join("tables")).expect("the tables go");
    let ledger = open(&folder, &clock);
    let sizes = ["loyal", "new"].map(|id| ledger.segment_size(&program(), &segment(id)).expect("it is counted"));
    assert_eq!(sizes, [1, 158]);
    ledger.close().expect("it closes");
    drop(ledger);
    let report = embedded::check(folder.path(), &Options::default()).expect("it is checked");
    assert!(report.is_sound(), "{:?}", report.differences);
}
