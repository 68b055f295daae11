//! Administrative acts: listed the newest first, by who did them, to whom and when; kept through restarts, rebuilt tables and restores.

use std::fs;

use loyaltyd::{
    contract::{
        rule_book as text,
        v1::{
            self, AuditKind, audit_entry::Recorded, audit_service_client::AuditServiceClient, entry::Kind as Said,
            points_payment::Payment as Pays,
        },
    },
    store::embedded::{BackupPlace, EmbeddedStore, Until, check, restore},
};
use tonic::Status;

use crate::{
    export::{entries, exported},
    redemption::{paid_sale, redeem, spending, start_with},
    support::{
        self, PROGRAM, TestServer,
        access::{self, file_of, guarded, principal},
        adjustment, by_card, by_id, card, enrolment, identifier, refused, sale, vnd,
    },
};

/// What somebody can do something by hand with.
const MORE: &str = "\
voucher_kinds: [{ voucher_kind_id: tea, display_name: A tea, benefit: { free_item: { sku: tea } }, valid_days: 30 }]
promotions: [{ promotion_id: sorry, only_with_offer: true, display_name: Sorry, multiply: { multiplier: 3 } }]
offers: [{ offer_id: sorry, display_name: With our apologies, personal: true, promotion_id: sorry }]
activity_rules: [{ rule_id: review, activity: review, points: 10 }]
";

fn book() -> v1::Program {
    let read = text::read(MORE).expect("well-formed fields");
    v1::Program {
        transfers: Some(v1::TransferPolicy::default()),
        voucher_kinds: read.voucher_kinds,
        promotions: read.promotions,
        offers: read.offers,
        activity_rules: read.activity_rules,
        ..spending()
    }
}

fn by(actor: &str) -> Option<v1::Actor> {
    Some(v1::Actor { actor_id: actor.into() })
}

fn asked() -> v1::ListAuditEntriesRequest {
    v1::ListAuditEntriesRequest { program_id: PROGRAM.into(), ..Default::default() }
}

async fn page(server: &TestServer, request: v1::ListAuditEntriesRequest) -> Result<v1::ListAuditEntriesResponse, Status> {
    Ok(AuditServiceClient::new(server.channel.clone()).list_audit_entries(request).await?.into_inner())
}

/// All pages of a size, one behind the other.
async fn listed(server: &TestServer, request: v1::ListAuditEntriesRequest) -> Vec<v1::AuditEntry> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let answer = page(server, v1::ListAuditEntriesRequest { page_token, ..request.clone() }).await.expect("acts are listed");
        assert!(answer.entries.len() <= if request.page_size == 0 { 50 } else { request.page_size as usize });
        all.extend(answer.entries);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

fn kinds(entries: &[v1::AuditEntry]) -> Vec<AuditKind> {
    entries.iter().map(v1::AuditEntry::kind).collect()
}

/// Three members, and what was done with them by hand: the ids. The second was merged into the first, the third is erased.
async fn everything(server: &TestServer) -> [String; 3] {
    let profile = Some(v1::Profile { display_name: "Planted Name".into(), ..Default::default() });
    let phone = identifier(v1::identifier::Kind::Phone, "+84987654321");
    let enrol = v1::EnrollMemberRequest { profile, identifiers: vec![card("c-2"), phone], ..enrolment("c-2") };
    let one = server.enroll("c-1").await;
    let other = server.members().enroll_member(enrol).await.unwrap().into_inner().member.unwrap().member_id;
    let third = server.enroll("c-3").await;
    let (program_id, none) = (|| PROGRAM.to_owned(), String::new);
    let (mut desk, mut points, mut tills) = (server.members(), server.points(), server.purchases());
    let mut adjust = adjustment(&one, "a-1", 600);
    (adjust.actor, adjust.reference) = (by("anna"), "ticket-1".into());
    points.adjust_points(adjust).await.unwrap();
    server.days_later(1);
    let give = |request: &str, actor| v1::TransferPointsRequest {
        request_id: request.into(),
        program_id: program_id(),
        member: by_id(&one),
        recipient: by_id(&other),
        points: 10,
        reason: "family".into(),
        actor,
        ..Default::default()
    };
    points.transfer_points(give("t-1", None)).await.unwrap();
    points.transfer_points(give("t-2", by("anna"))).await.unwrap();
    let redeemed = points.redeem_points(redeem(&one, "r-1", 20, "1000000")).await.unwrap().into_inner().entry.unwrap();
    let reverse = v1::ReverseRedemptionRequest {
        request_id: "r-2".into(),
        program_id: program_id(),
        member: by_id(&one),
        redemption_sequence: redeemed.sequence,
        reason: "wrong till".into(),
        actor: by("ben"),
        redemption_member_id: none(),
        points: None,
    };
    points.reverse_redemption(reverse).await.unwrap();
    tills.record_purchase(sale(&one, "o-1", "300000")).await.unwrap();
    let back = |request: &str, amount: &str, actor| v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: program_id(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        amount: vnd(amount),
        reason: "torn".into(),
        actor,
        ..Default::default()
    };
    tills.return_purchase(back("b-1", "10000", None)).await.unwrap();
    tills.return_purchase(back("b-2", "10000", by("ben"))).await.unwrap();
    server.days_later(1);
    let activity = |request: &str, actor| v1::RecordActivityRequest {
        request_id: request.into(),
        program_id: program_id(),
        member: by_id(&one),
        activity: "review".into(),
        reference: request.into(),
        actor,
        ..Default::default()
    };
    points.record_activity(activity("v-1", None)).await.unwrap();
    points.record_activity(activity("v-2", by("anna"))).await.unwrap();
    let suspend = v1::SuspendMemberRequest {
        request_id: "s-1".into(),
        program_id: program_id(),
        member: by_id(&one),
        reason: "card lost".into(),
        actor: by("carla"),
    };
    desk.suspend_member(suspend).await.unwrap();
    let reactivate = v1::ReactivateMemberRequest {
        request_id: "s-2".into(),
        program_id: program_id(),
        member: by_id(&one),
        reason: "card found".into(),
        actor: by("carla"),
    };
    desk.reactivate_member(reactivate).await.unwrap();
    let tier = v1::SetMemberTierRequest {
        request_id: "g-1".into(),
        program_id: program_id(),
        member: by_id(&one),
        tier_id: "diamond".into(),
        reason: "a friend of the house".into(),
        actor: by("carla"),
        last_date: None,
    };
    desk.set_member_tier(tier).await.unwrap();
    server.days_later(1);
    vouchers_and_offers(server, &one).await;
    let merge = v1::MergeMembersRequest {
        request_id: "m-1".into(),
        program_id: program_id(),
        member: by_id(&other),
        into: by_id(&one),
        reason: "two cards".into(),
        actor: by("dora"),
    };
    desk.merge_members(merge).await.unwrap();
    let erase = v1::EraseMemberRequest {
        request_id: "e-1".into(),
        program_id: program_id(),
        member: by_id(&third),
        reason: "request 4711".into(),
        actor: by("dora"),
    };
    desk.erase_member(erase).await.unwrap();
    versions(server).await;
    [one, other, third]
}

async fn vouchers_and_offers(server: &TestServer, member: &str) {
    let issue = v1::IssueVoucherRequest {
        request_id: "w-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        voucher_kind_id: "tea".into(),
        reason: "cold soup".into(),
        actor: by("ben"),
    };
    let code = server.rewards().issue_voucher(issue).await.unwrap().into_inner().voucher.unwrap().code;
    let cancel = v1::CancelVoucherRequest {
        request_id: "w-2".into(),
        program_id: PROGRAM.into(),
        code,
        reason: "it was warm".into(),
        actor: by("ben"),
    };
    server.rewards().cancel_voucher(cancel).await.unwrap();
    let assign = v1::AssignOfferRequest {
        request_id: "f-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        offer_id: "sorry".into(),
        reason: "late parcel".into(),
        actor: by("ben"),
        end_time: None,
    };
    server.offers().assign_offer(assign).await.unwrap();
    let withdraw = v1::WithdrawOfferRequest {
        request_id: "f-2".into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        offer_id: "sorry".into(),
        reason: "it was on time".into(),
        actor: by("ben"),
    };
    server.offers().withdraw_offer(withdraw).await.unwrap();
}

/// Version 2 waits, and version 3 takes its place; said again, neither is an act.
async fn versions(server: &TestServer) {
    let in_days = |days: i64| {
        let mut time = server.clock_now();
        time.seconds += days * 86_400;
        Some(time)
    };
    let (second, third) = (in_days(20), in_days(10));
    for (request, effective_time, points) in [("p-2", second, "20"), ("p-3", third, "30"), ("p-3b", third, "30")] {
        let mut program = v1::Program { effective_time, ..book() };
        program.activity_rules[0].points = points.into();
        let request = v1::PublishProgramRequest {
            request_id: request.into(),
            program: Some(program),
            validate_only: false,
            replace_waiting: true,
            actor: None,
        };
        server.programs().publish_program(request).await.unwrap();
    }
}

/// The newest first.
const DONE: [(AuditKind, &str, &str); 17] = [
    (AuditKind::ProgramPublished, "", ""),
    (AuditKind::ProgramPublished, "", ""),
    (AuditKind::MemberErased, "dora", "request 4711"),
    (AuditKind::MembersMerged, "dora", "two cards"),
    (AuditKind::OfferWithdrawn, "ben", "it was on time"),
    (AuditKind::OfferAssigned, "ben", "late parcel"),
    (AuditKind::VoucherCancelled, "ben", "it was warm"),
    (AuditKind::VoucherIssued, "ben", "cold soup"),
    (AuditKind::TierSet, "carla", "a friend of the house"),
    (AuditKind::MemberReactivated, "carla", "card found"),
    (AuditKind::MemberSuspended, "carla", "card lost"),
    (AuditKind::ActivityRecorded, "anna", ""),
    (AuditKind::PurchaseReturned, "ben", "torn"),
    (AuditKind::RedemptionReversed, "ben", "wrong till"),
    (AuditKind::PointsTransferred, "anna", "family"),
    (AuditKind::PointsAdjusted, "anna", "goodwill"),
    (AuditKind::ProgramPublished, "", ""),
];

#[tokio::test]
async fn every_act_is_listed_with_who_did_it_why_and_to_whom_and_nothing_else_is() {
    let server = start_with(book()).await;
    let [one, other, third] = everything(&server).await;
    let all = listed(&server, asked()).await;
    let said = |entry: &v1::AuditEntry| {
        (entry.kind(), entry.actor.as_ref().map_or_else(String::new, |actor| actor.actor_id.clone()), entry.reason.clone())
    };
    assert_eq!(all.iter().map(said).collect::<Vec<_>>(), DONE.map(|(kind, actor, reason)| (kind, actor.into(), reason.into())));
    let whom: Vec<(&str, &str)> = all.iter().map(|entry| (entry.member_id.as_str(), entry.other_member_id.as_str())).collect();
    let own = (one.as_str(), "");
    assert_eq!(whom[..4], [("", ""), ("", ""), (third.as_str(), ""), (one.as_str(), other.as_str())]);
    assert!(whom[4..14].iter().all(|whom| *whom == own), "{whom:?}");
    assert_eq!(whom[14..], [(one.as_str(), other.as_str()), own, ("", "")]);
    for entry in &all {
        assert!(entry.explanation.ends_with('.') && entry.principal_id.is_empty(), "{entry:?}");
        match entry.recorded.as_ref().expect("each is recorded somewhere") {
            Recorded::Entry(recorded) => {
                assert_eq!((recorded.record_time, &recorded.actor), (entry.record_time, &entry.actor));
                // It is the entry that the member's ledger has.
                let explain =
                    v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&entry.member_id), sequence: recorded.sequence };
                let explained = server.points().explain_entry(explain).await.unwrap().into_inner();
                let by = format!("Done by {}.", entry.actor.as_ref().unwrap().actor_id);
                assert!(entry.explanation.starts_with(&explained.explanation[0]) && entry.explanation.ends_with(&by), "{entry:?}");
                assert!(explained.explanation.contains(&by));
                match &recorded.kind {
                    // But for what is personal.
                    Some(Said::MergedFrom(got)) => assert!(got.identifiers.is_empty() && got.profile.is_none()),
                    _ => assert_eq!(Some(recorded), explained.entry.as_ref()),
                }
            }
            Recorded::Publication(_) => {}
        }
    }
    let publication = |entry: &v1::AuditEntry| match &entry.recorded {
        Some(Recorded::Publication(one)) => Some(one.clone()),
        Some(Recorded::Entry(_)) | None => None,
    };
    let published: Vec<v1::ProgramPublication> = all.iter().filter_map(publication).collect();
    let versions: Vec<_> = published.iter().map(|one| (one.version, one.replaced_versions.as_slice())).collect();
    assert_eq!(versions, [(3, &[2][..]), (2, &[]), (1, &[])]);
    assert_eq!((published[0].request_id.as_str(), published[1].request_id.as_str()), ("p-3", "p-2"));
    assert!(published[0].effective_time.unwrap().seconds > all[0].record_time.unwrap().seconds);
    assert!(all[0].explanation.contains("version 2, which waited, never takes effect"), "{}", all[0].explanation);
    assert!(!format!("{all:?}").contains("Planted") && !format!("{all:?}").contains("987654321"), "nothing personal is in an audit");
    server.stop().await;
}

#[tokio::test]
async fn filters_and_pages_give_what_they_say() {
    let server = start_with(book()).await;
    let [one, other, third] = everything(&server).await;
    let all = listed(&server, asked()).await;
    for page_size in [1, 3, 500] {
        assert_eq!(listed(&server, v1::ListAuditEntriesRequest { page_size, ..asked() }).await, all);
    }
    let where_ = |takes: &dyn Fn(&v1::AuditEntry) -> bool| all.iter().filter(|entry| takes(entry)).cloned().collect::<Vec<_>>();
    let of_ben = v1::ListAuditEntriesRequest { actor_id: "ben".into(), page_size: 2, ..asked() };
    let found = listed(&server, of_ben.clone()).await;
    assert_eq!(found, where_(&|entry| entry.actor == by("ben")));
    assert_eq!(found.len(), 6);
    let kinds_asked = vec![AuditKind::TierSet.into(), AuditKind::ProgramPublished.into()];
    let found = listed(&server, v1::ListAuditEntriesRequest { kinds: kinds_asked, ..asked() }).await;
    assert_eq!(kinds(&found), [AuditKind::ProgramPublished, AuditKind::ProgramPublished, AuditKind::TierSet, AuditKind::ProgramPublished]);
    // Whoever was merged has what was done before, by its id; by its card it is the one that stays. Whoever was erased is found by the id.
    for (member, id, count) in [(by_id(&one), &one, 13), (by_id(&other), &other, 2), (by_card("c-2"), &one, 13), (by_id(&third), &third, 1)]
    {
        let found = listed(&server, v1::ListAuditEntriesRequest { member, ..asked() }).await;
        assert_eq!(found, where_(&|entry| entry.member_id == *id || entry.other_member_id == *id));
        assert_eq!(found.len(), count);
    }
    let times: Vec<_> = all.iter().map(|entry| entry.record_time.unwrap().seconds).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    for (start, end) in
        [(times[16], times[0]), (times[0], times[0] + 1), (times[5], times[12]), (times[12], times[5]), (0, i64::from(u32::MAX))]
    {
        let found =
            listed(&server, v1::ListAuditEntriesRequest { start_time: at(start), end_time: at(end), page_size: 2, ..asked() }).await;
        assert_eq!(found, where_(&|entry| (start..end).contains(&entry.record_time.unwrap().seconds)));
    }
    let token = page(&server, of_ben.clone()).await.unwrap().next_page_token;
    for wrong in [
        v1::ListAuditEntriesRequest { page_token: token.clone(), ..asked() },
        v1::ListAuditEntriesRequest { page_token: token.clone(), actor_id: "anna".into(), ..asked() },
        v1::ListAuditEntriesRequest { page_token: token.clone(), member: by_id(&one), ..of_ben.clone() },
        v1::ListAuditEntriesRequest { page_token: token, end_time: at(times[0]), ..of_ben },
    ] {
        assert_eq!(refused(&page(&server, wrong).await.unwrap_err()).fields, ["page_token"]);
    }
    let wrong = v1::ListAuditEntriesRequest { kinds: vec![0, 99], actor_id: "x".repeat(65), ..asked() };
    assert_eq!(refused(&page(&server, wrong).await.unwrap_err()).fields, ["actor_id", "kinds[0]", "kinds[1]"]);
    let unknown = v1::ListAuditEntriesRequest { program_id: "nowhere".into(), ..Default::default() };
    assert_eq!(refused(&page(&server, unknown).await.unwrap_err()).reason, "PROGRAM_NOT_FOUND");
    server.stop().await;
}

/// Rows are made again from the journal: of tables that are gone, that a service without them left, and in a folder that was restored.
#[tokio::test]
async fn the_same_is_listed_after_a_restart_from_the_journal_alone_and_from_a_backup() {
    let server = start_with(book()).await;
    everything(&server).await;
    let all = listed(&server, asked()).await;
    let backup = tempfile::tempdir().unwrap();
    let data = server.data();
    let (folder, clock) = server.end().await;
    let server = TestServer::start_in(folder, clock, Vec::new()).await;
    assert_eq!(listed(&server, asked()).await, all);
    let (folder, clock) = server.end().await;
    crate::backup::take(&EmbeddedStore::open(&data, support::options()).unwrap(), backup.path());
    let report = check(&data, &support::options()).unwrap();
    assert!(report.is_sound(), "{:?}", report.differences);
    fs::remove_dir_all(data.join("tables")).unwrap();
    let server = TestServer::start_in(folder, clock, Vec::new()).await;
    assert_eq!(listed(&server, asked()).await, all);
    let (folder, clock) = server.end().await;
    fs::remove_dir_all(&data).unwrap();
    restore(&BackupPlace { folder: backup.path(), keys: None, operator_key: None }, &data, Until::End).unwrap();
    let server = TestServer::start_in(folder, clock, Vec::new()).await;
    assert_eq!(listed(&server, asked()).await, all);
    server.stop().await;
}

/// A filter that finds little in much is answered in steps: a page looks at 10,000 acts at most. An export of as many comes in bounded parts.
#[tokio::test]
async fn of_10_000_acts_a_page_looks_at_a_bounded_number_and_an_export_comes_in_parts() {
    const ACTS: usize = 10_100;
    let server = start_with(book()).await;
    let member = server.enroll("c-1").await;
    let mut first = adjustment(&member, "first", 1);
    first.actor = by("anna");
    server.points().adjust_points(first).await.unwrap();
    for from in (0..ACTS).step_by(100) {
        let adjust = |n: usize| {
            let (mut desk, request) = (server.points(), adjustment(&member, &format!("a-{n}"), if n.is_multiple_of(2) { 1 } else { -1 }));
            tokio::spawn(async move { desk.adjust_points(request).await })
        };
        for done in (from..from + 100).map(adjust).collect::<Vec<_>>() {
            done.await.unwrap().unwrap();
        }
    }
    let rare = v1::ListAuditEntriesRequest { actor_id: "anna".into(), ..asked() };
    let empty = page(&server, rare.clone()).await.unwrap();
    assert!(empty.entries.is_empty() && !empty.next_page_token.is_empty());
    let rest = page(&server, v1::ListAuditEntriesRequest { page_token: empty.next_page_token, ..rare }).await.unwrap();
    assert_eq!((kinds(&rest.entries).as_slice(), rest.next_page_token.as_str()), (&[AuditKind::PointsAdjusted][..], ""));
    let parts = exported(&server, by_id(&member)).await.unwrap();
    assert_eq!(entries(&parts).len(), ACTS + 2);
    assert!(parts.len() > 5, "{} parts", parts.len());
    server.stop().await;
}

/// Where callers are authenticated: whom the caller names is one thing, and whose credential it had another.
#[tokio::test]
async fn who_called_is_listed_beside_whom_the_caller_names_and_can_be_asked_for() {
    let (desk, desk_line) = principal("desk", "support", "vietnam", "");
    let (night, night_line) = principal("night-desk", "support", "vietnam", "");
    let (head, head_line) = principal("head", "manager", "vietnam", "");
    let server = guarded(&file_of(&[&desk_line, &night_line, &head_line])).await;
    let channel = &server.server;
    let member = channel.members().enroll_member(access::by(&desk, enrolment("c-1"))).await.unwrap().into_inner().member.unwrap().member_id;
    for (request, key, who) in [("a-1", &desk, "anna"), ("a-2", &night, "anna"), ("a-3", &night, "ben")] {
        let mut adjust = adjustment(&member, request, 7);
        adjust.actor = by(who);
        channel.points().adjust_points(access::by(key, adjust)).await.unwrap();
    }
    let program = Some(v1::Program { display_name: "Another".into(), ..support::rule_book() });
    let publish = v1::PublishProgramRequest { request_id: "p-2".into(), program, actor: by("dora"), ..Default::default() };
    channel.programs().publish_program(access::by(&head, publish)).await.unwrap();
    let ask = async |request: v1::ListAuditEntriesRequest| {
        AuditServiceClient::new(channel.channel.clone())
            .list_audit_entries(access::by(&desk, request))
            .await
            .map(tonic::Response::into_inner)
    };
    let of = |principal: &str| v1::ListAuditEntriesRequest { principal_id: principal.into(), ..asked() };
    let said = |entries: &[v1::AuditEntry]| -> Vec<(AuditKind, String, String)> {
        let actor = |entry: &v1::AuditEntry| entry.actor.as_ref().map_or_else(String::new, |actor| actor.actor_id.clone());
        entries.iter().map(|entry| (entry.kind(), actor(entry), entry.principal_id.clone())).collect()
    };
    let done = [
        (AuditKind::ProgramPublished, "dora", "head"),
        (AuditKind::PointsAdjusted, "ben", "night-desk"),
        (AuditKind::PointsAdjusted, "anna", "night-desk"),
        (AuditKind::PointsAdjusted, "anna", "desk"),
        // By the service at its start.
        (AuditKind::ProgramPublished, "", ""),
    ];
    let done = done.map(|(kind, actor, principal)| (kind, actor.to_owned(), principal.to_owned()));
    let all = ask(asked()).await.unwrap().entries;
    assert_eq!(said(&all), done);
    assert!(all[0].explanation.ends_with(". Done by dora; the call came with a credential of head."), "{}", all[0].explanation);
    assert!(all[1].explanation.ends_with(" Done by ben; the call came with a credential of night-desk."), "{}", all[1].explanation);
    assert!(!all[4].explanation.contains("Done by"), "{}", all[4].explanation);
    for entry in &all {
        match entry.recorded.as_ref().unwrap() {
            Recorded::Entry(recorded) => assert_eq!(recorded.principal_id, entry.principal_id),
            Recorded::Publication(_) => {}
        }
    }
    for (principal, actor, places) in [
        ("night-desk", "", &[1, 2][..]),
        ("desk", "", &[3]),
        ("head", "", &[0]),
        ("head", "dora", &[0]),
        ("night-desk", "anna", &[2]),
        ("desk", "ben", &[]),
        // Letter by letter, and as a whole.
        ("night", "", &[]),
        ("Desk", "", &[]),
        ("desk-night", "", &[]),
    ] {
        let found = ask(v1::ListAuditEntriesRequest { actor_id: actor.into(), ..of(principal) }).await.unwrap().entries;
        let expected: Vec<_> = places.iter().map(|place| all[*place].clone()).collect();
        assert_eq!(found, expected, "{principal} {actor}");
    }
    // A page goes on for the same caller's acts alone, also where an actor has the name that a principal has.
    let first = ask(v1::ListAuditEntriesRequest { page_size: 1, ..of("night-desk") }).await.unwrap();
    assert_eq!(first.entries, [all[1].clone()]);
    let next = |request| v1::ListAuditEntriesRequest { page_size: 1, page_token: first.next_page_token.clone(), ..request };
    assert_eq!(ask(next(of("night-desk"))).await.unwrap().entries, [all[2].clone()]);
    for other in [of("desk"), asked(), v1::ListAuditEntriesRequest { actor_id: "night-desk".into(), ..asked() }] {
        assert_eq!(refused(&ask(next(other)).await.unwrap_err()).fields, ["page_token"]);
    }
    for wrong in ["a b", "\n", &"x".repeat(65), "Tr\u{1ea7}n"] {
        assert_eq!(refused(&ask(of(wrong)).await.unwrap_err()).fields, ["principal_id"], "{wrong:?}");
    }
    // Rows are made again from the journal, with who called.
    let data = server.server.data();
    let access::Guarded { server, file } = server;
    let (folder, clock) = server.end().await;
    fs::remove_dir_all(data.join("tables")).unwrap();
    let access = loyaltyd::config::AccessConfig { file: Some(file), ..Default::default() };
    let config = loyaltyd::config::Config { access, ..support::config(folder.path(), Vec::new()) };
    let server = TestServer::start_with(folder, clock, config).await;
    let again = AuditServiceClient::new(server.channel.clone()).list_audit_entries(access::by(&desk, asked())).await.unwrap();
    assert_eq!(again.into_inner().entries, all);
    server.stop().await;
}

/// What somebody does by hand at a member's points, vouchers and offers is an act like the others. A sale is none, though the till says who
/// rings it up, nor what pays it; nor what nobody is named for.
#[tokio::test]
async fn whoever_spends_for_a_member_by_hand_is_listed_and_a_sale_is_not() {
    let server = start_with(crate::actors::book()).await;
    let mut said_by = Vec::new();
    for (name, actor) in [("nobody", None), ("anna", by("anna"))] {
        let member = server.enroll(name).await;
        server.points().adjust_points(adjustment(&member, &format!("gift-{name}"), 9_000)).await.unwrap();
        let sales = spend(&server, &member, name, actor.clone()).await;
        said_by.push((member, sales, actor));
    }
    let listed_now = listed(&server, v1::ListAuditEntriesRequest { actor_id: "anna".into(), ..asked() }).await;
    let said: Vec<_> = listed_now.iter().rev().map(|act| (act.kind(), act.reason.as_str())).collect();
    let expected = [
        (AuditKind::PointsRedeemed, ""),
        (AuditKind::PointsHeld, ""),
        (AuditKind::PointsRedeemed, ""),
        (AuditKind::PointsHeld, ""),
        (AuditKind::HoldReleased, "changed her mind"),
        (AuditKind::RewardRedeemed, ""),
        (AuditKind::RewardRedeemed, ""),
        (AuditKind::VoucherHeld, ""),
        (AuditKind::VoucherReleased, "not today"),
        (AuditKind::VoucherUsed, ""),
        (AuditKind::OfferActivated, ""),
        (AuditKind::PointsHeld, ""),
        (AuditKind::ProgramPublished, ""),
    ];
    assert_eq!(said, expected);
    for act in &listed_now {
        assert!(act.explanation.ends_with(" Done by anna."), "{}", act.explanation);
    }
    // Beside them there are only the gifts, and the versions that nobody was named for.
    let all = listed(&server, asked()).await;
    let others: Vec<_> = all.iter().filter(|act| act.actor != by("anna")).map(v1::AuditEntry::kind).collect();
    let (gift, version) = (AuditKind::PointsAdjusted, AuditKind::ProgramPublished);
    assert_eq!(others, [gift, version, gift, version]);
    // The sales say who rang them up all the same, and so does what paid them.
    for (member, sales, actor) in said_by {
        let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), page_size: 500, ..Default::default() };
        let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
        let of_sale: Vec<_> = entries.iter().filter(|entry| sales.contains(&entry.request_id)).collect();
        let count = |kind: fn(&Said) -> bool| of_sale.iter().filter(|entry| entry.kind.as_ref().is_some_and(kind)).count();
        assert_eq!(count(|kind| matches!(kind, Said::PurchaseAccrued(_))), 2);
        assert_eq!(count(|kind| matches!(kind, Said::PointsRedeemed(_))), 3);
        assert_eq!(count(|kind| matches!(kind, Said::VoucherUsed(_))), 1);
        assert_eq!(count(|kind| matches!(kind, Said::PointsActivated(_))), 1);
        assert!(of_sale.iter().all(|entry| entry.actor == actor), "{of_sale:?}");
    }
    // The rows that are made again from the journal are the same ones.
    let data = server.data();
    let (folder, clock) = server.end().await;
    let report = check(&data, &support::options()).unwrap();
    assert!(report.is_sound(), "{:?}", report.differences);
    fs::remove_dir_all(data.join("tables")).unwrap();
    let server = TestServer::start_in(folder, clock, Vec::new()).await;
    assert_eq!(listed(&server, asked()).await, all);
    server.stop().await;
}

/// Everything that spends, activates or publishes, under this name; the requests of its sales and their confirmation.
async fn spend(server: &TestServer, member: &str, name: &str, actor: Option<v1::Actor>) -> [String; 3] {
    let request = |what: &str| format!("{name}-{what}");
    let program_id = || PROGRAM.to_owned();
    let (mut points, mut rewards, mut tills) = (server.points(), server.rewards(), server.purchases());
    let redeem = v1::RedeemPointsRequest { actor: actor.clone(), ..redeem(member, &request("redeem"), 20, "1000000") };
    points.redeem_points(redeem).await.unwrap();
    let hold = |what: &str| v1::HoldPointsRequest {
        request_id: request(what),
        program_id: program_id(),
        member: by_id(member),
        points: 20,
        order_total: vnd("1000000"),
        actor: actor.clone(),
        ..Default::default()
    };
    let held = points.hold_points(hold("hold-1")).await.unwrap().into_inner().hold.unwrap().hold_id;
    let capture = v1::CaptureHoldRequest {
        request_id: request("capture"),
        program_id: program_id(),
        member: by_id(member),
        hold_id: held,
        actor: actor.clone(),
        ..Default::default()
    };
    points.capture_hold(capture).await.unwrap();
    let held = points.hold_points(hold("hold-2")).await.unwrap().into_inner().hold.unwrap().hold_id;
    let release = v1::ReleaseHoldRequest {
        request_id: request("release"),
        program_id: program_id(),
        member: by_id(member),
        hold_id: held,
        reason: "changed her mind".into(),
        actor: actor.clone(),
    };
    points.release_hold(release).await.unwrap();
    let reward = v1::RedeemRewardRequest {
        request_id: request("reward"),
        program_id: program_id(),
        member: by_id(member),
        reward_id: "tea".into(),
        quantity: 2,
        actor: actor.clone(),
    };
    let vouchers = rewards.redeem_reward(reward).await.unwrap().into_inner().vouchers;
    let code = || vouchers[0].code.clone();
    let hold_voucher = v1::HoldVoucherRequest {
        request_id: request("hold-voucher"),
        program_id: program_id(),
        code: code(),
        store_id: "web".into(),
        order_id: request("cart"),
        duration: None,
        actor: actor.clone(),
    };
    rewards.hold_voucher(hold_voucher).await.unwrap();
    let release_voucher = v1::ReleaseVoucherRequest {
        request_id: request("release-voucher"),
        program_id: program_id(),
        code: code(),
        reason: "not today".into(),
        actor: actor.clone(),
    };
    rewards.release_voucher(release_voucher).await.unwrap();
    let use_voucher = v1::UseVoucherRequest {
        request_id: request("use"),
        program_id: program_id(),
        code: code(),
        actor: actor.clone(),
        ..Default::default()
    };
    rewards.use_voucher(use_voucher).await.unwrap();
    let activate = v1::ActivateOfferRequest {
        request_id: request("activate"),
        program_id: program_id(),
        member: by_id(member),
        offer_id: "app".into(),
        actor: actor.clone(),
    };
    server.offers().activate_offer(activate).await.unwrap();
    let held = points.hold_points(hold("hold-3")).await.unwrap().into_inner().hold.unwrap().hold_id;
    // Paid with points that are there, with some that were held, and a voucher; the other one with points alone.
    let capture = v1::points_payment::HoldCapture { hold_id: held, points: None };
    let paid = |order: &str, payments: Vec<Pays>, voucher_codes: Vec<String>| {
        let by_points = 2_000 * i64::try_from(payments.len()).expect("a small number");
        let mut sale = paid_sale(member, &request(order), 1_000_000, by_points, payments);
        let purchase = sale.purchase.as_mut().expect("a sale has one");
        purchase.lines[0].sku = "tea".into();
        purchase.voucher_codes = voucher_codes;
        v1::RecordPurchaseRequest { actor: actor.clone(), ..sale }
    };
    let first = paid("o-1", vec![Pays::CaptureHold(capture), Pays::RedeemPoints(20)], vec![vouchers[1].code.clone()]);
    let second = paid("o-2", vec![Pays::RedeemPoints(20)], Vec::new());
    let orders = [first.request_id.clone(), second.request_id.clone(), request("confirm")];
    for sale in [first, second] {
        tills.record_purchase(sale).await.unwrap();
    }
    let confirm = v1::ConfirmPurchaseRequest {
        request_id: request("confirm"),
        program_id: program_id(),
        store_id: "hcm-1".into(),
        order_id: request("o-1"),
        actor: actor.clone(),
    };
    tills.confirm_purchase(confirm).await.unwrap();
    let program = Some(v1::Program { display_name: request("book"), ..crate::actors::book() });
    let publish = v1::PublishProgramRequest { request_id: request("publish"), program, actor, ..Default::default() };
    server.programs().publish_program(publish).await.unwrap();
    orders
}
