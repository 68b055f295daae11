//! Members who are forgotten: nothing personal is left, in no file and no answer, and no point is lost by it.

use std::{fmt::Debug, fs, path::Path};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use loyaltyd::{
    contract::v1::{self, entry::Kind as Said, identifier::Kind},
    domain::{Command, Identifier, IdentifierKind, MemberId, ProfileUpdate},
    store::{
        Read as _, Store as _,
        embedded::{self, EmbeddedStore, Options, ProgramTotals, check, repair},
    },
};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::{
    redemption::{redeem, spending, start_with},
    support::{
        self, PROGRAM, TestServer, actor, adjustment, by_card, by_id, card, enrolment, files,
        histories::{World, erasure, person, phone, program_id, purchase},
        identifier, refused, sale,
    },
};

const NAME: &str = "Tran Thi Planted";
const NEW_NAME: &str = "Le Planted Again";
const PHONE: &str = "+84987654321";
const EMAIL: &str = "planted@example.com";
const CARD: &str = "planted-card-1";
const OLD_CARD: &str = "planted-card-0";
const PLANTED: [&str; 10] = [NAME, NEW_NAME, PHONE, "987654321", EMAIL, CARD, OLD_CARD, "Planted", "planted", "vi-PLANTD"];

fn book() -> v1::Program {
    v1::Program { transfers: Some(v1::TransferPolicy::default()), ..spending() }
}

fn erase(member: Option<v1::MemberRef>, request: &str) -> v1::EraseMemberRequest {
    v1::EraseMemberRequest { request_id: request.into(), program_id: PROGRAM.into(), member, reason: "request 4711".into(), actor: actor() }
}

fn by_phone() -> Option<v1::MemberRef> {
    Some(v1::MemberRef { r#ref: Some(v1::member_ref::Ref::Identifier(identifier(Kind::Phone, PHONE))) })
}

fn profile(name: &str) -> v1::Profile {
    let birth_date = Some(v1::Date { year: 1987, month: 11, day: 23 });
    v1::Profile { display_name: name.into(), birth_date, language_code: "vi-PLANTD".into() }
}

fn identifiers() -> Vec<v1::Identifier> {
    vec![card(OLD_CARD), identifier(Kind::Phone, PHONE)]
}

/// What was asked of a member who had a name, and can be asked again.
struct Asked {
    id: String,
    enrol: v1::EnrollMemberRequest,
    update: v1::UpdateMemberRequest,
    add: [v1::AddIdentifierRequest; 2],
    remove: v1::RemoveIdentifierRequest,
}

/// Somebody with all that is personal, now and before, and with points that were bought, given and spent.
async fn somebody(server: &TestServer) -> Asked {
    let enrol = v1::EnrollMemberRequest { profile: Some(profile(NAME)), identifiers: identifiers(), ..enrolment("first") };
    let id = server.members().enroll_member(enrol.clone()).await.unwrap().into_inner().member.unwrap().member_id;
    let update = v1::UpdateMemberRequest {
        request_id: "u-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&id),
        profile: Some(profile(NEW_NAME)),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into(), "language_code".into()] }),
        ..Default::default()
    };
    server.members().update_member(update.clone()).await.unwrap();
    let add = [("i-1", identifier(Kind::Email, EMAIL)), ("i-2", card(CARD))].map(|(request, identifier)| v1::AddIdentifierRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&id),
        identifier: Some(identifier),
        ..Default::default()
    });
    for request in add.clone() {
        server.members().add_identifier(request).await.unwrap();
    }
    let remove = v1::RemoveIdentifierRequest {
        request_id: "i-3".into(),
        program_id: PROGRAM.into(),
        member: by_id(&id),
        identifier: Some(card(OLD_CARD)),
        ..Default::default()
    };
    server.members().remove_identifier(remove.clone()).await.unwrap();
    server.purchases().record_purchase(sale(&id, "o-1", "3000000")).await.unwrap();
    server.points().adjust_points(adjustment(&id, "a-1", 50)).await.unwrap();
    server.points().redeem_points(redeem(&id, "r-1", 20, "1000000")).await.unwrap();
    Asked { id, enrol, update, add, remove }
}

fn totals(data: &Path) -> ProgramTotals {
    let report = check(data, &support::options()).expect("the journal is whole");
    assert!(report.is_sound(), "{:?}", report.differences);
    report.programs.into_iter().next().expect("a programme")
}

fn hold(member: &str, request: &str) -> v1::HoldPointsRequest {
    v1::HoldPointsRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(member),
        points: 30,
        order_total: support::vnd("1000000"),
        ..Default::default()
    }
}

#[track_caller]
fn is_silent(what: &str, shown: &impl Debug) {
    let shown = format!("{shown:?}");
    for planted in PLANTED {
        assert!(!shown.contains(planted), "{what} shows {planted}: {shown}");
    }
}

/// Every answer about the member, and every answer that was given before, once more.
async fn all_answers_are_silent(server: &TestServer, asked: &Asked, before: prost_types::Timestamp) {
    let Asked { id, enrol, update, add, remove } = asked;
    let (mut desk, mut points, mut tills) = (server.members(), server.points(), server.purchases());
    let get =
        |view: v1::MemberView, as_of| v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(id), view: view.into(), as_of };
    for (view, as_of) in [(v1::MemberView::Basic, None), (v1::MemberView::Full, None), (v1::MemberView::Full, Some(before))] {
        let shown = desk.get_member(get(view, as_of)).await.unwrap().into_inner().member.unwrap();
        is_silent("GetMember", &shown);
        assert!(shown.profile.is_none() && shown.identifiers.is_empty());
        assert_eq!(shown.state() == v1::member::State::Erased, as_of.is_none());
    }
    let all = v1::ListMembersRequest { program_id: PROGRAM.into(), ..Default::default() };
    let listed = desk.list_members(all).await.unwrap().into_inner().members;
    is_silent("ListMembers", listed.iter().find(|member| member.member_id == *id).expect("it is listed"));
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(id), page_size: 100, ..Default::default() };
    let entries = points.list_entries(list).await.unwrap().into_inner().entries;
    is_silent("ListEntries", &entries);
    for sequence in 1..=entries[0].sequence {
        let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(id), sequence };
        is_silent("ExplainEntry", &points.explain_entry(explain).await.unwrap().into_inner());
    }
    let purchase = v1::GetPurchaseRequest { program_id: PROGRAM.into(), store_id: "hcm-1".into(), order_id: "o-1".into() };
    is_silent("GetPurchase", &tills.get_purchase(purchase).await.unwrap().into_inner());
    let again = desk.enroll_member(enrol.clone()).await.unwrap().into_inner().member.unwrap();
    is_silent("a repeated EnrollMember", &again);
    assert_eq!((&again.member_id, again.last_sequence), (id, 1), "it is the first answer, but for what is gone");
    is_silent("a repeated UpdateMember", &desk.update_member(update.clone()).await.unwrap());
    for request in add {
        is_silent("a repeated AddIdentifier", &desk.add_identifier(request.clone()).await.unwrap());
    }
    is_silent("a repeated RemoveIdentifier", &desk.remove_identifier(remove.clone()).await.unwrap());
    let guess = v1::EnrollMemberRequest { profile: Some(profile("Somebody Else")), ..enrol.clone() };
    let status = desk.enroll_member(guess).await.unwrap_err();
    is_silent("a refusal", &status);
    assert_eq!(refused(&status).reason, "REQUEST_ID_REUSED");
}

async fn nobody_is_found_by(server: &TestServer) {
    for identifier in [identifier(Kind::Phone, PHONE), identifier(Kind::Email, EMAIL), card(CARD), card(OLD_CARD)] {
        let lookup = v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: Some(identifier) };
        let status = server.members().lookup_member(lookup).await.unwrap_err();
        assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::NotFound, "MEMBER_NOT_FOUND"));
        is_silent("LookupMember", &status);
    }
}

/// What keys that lie in the folder open of a member's: wherever a slot and a nonce may stand, every length and place is tried.
fn opened(folder: &Path, member: &str, entries: u64) -> Vec<String> {
    let mut paths = Vec::new();
    files(folder, &mut paths);
    let of_keys = |path: &&std::path::PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keys"));
    let slots: Vec<Vec<u8>> =
        paths.iter().filter(of_keys).flat_map(|path| fs::read(path).unwrap().chunks(64).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
    let used = slots.iter().rposition(|slot| slot.iter().any(|byte| *byte != 0)).expect("there is a header") as u32;
    let keys: Vec<&[u8]> = slots.iter().filter(|slot| slot.len() == 64 && slot[0] == 1).map(|slot| &slot[8..40]).collect();
    assert!(!keys.is_empty(), "there is the index key at least");
    let member = MemberId::parse(member).expect("an id");
    let mut found = Vec::new();
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        for at in 0..bytes.len().saturating_sub(4 + 24 + 16) {
            let slot = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let (nonce, rest) = bytes[at + 4..].split_at(24);
            // Random bytes are seldom 0.
            if !(2..=used).contains(&slot) || nonce.iter().filter(|byte| **byte == 0).count() > 4 {
                continue;
            }
            for sequence in (1..=entries).chain([u64::MAX]) {
                let aad = [PROGRAM.as_bytes(), &member.0, &sequence.to_le_bytes()].concat();
                for key in &keys {
                    let cipher = XChaCha20Poly1305::new((*key).into());
                    let open = |length| cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: &rest[..length], aad: &aad }).ok();
                    let plain = (16..rest.len().min(320)).find_map(open);
                    found.extend(plain.map(|plain| String::from_utf8_lossy(&plain).into_owned()));
                }
            }
        }
    }
    found
}

fn no_file_shows_anything(data: &Path, asked: &Asked, entries: u64) {
    let mut paths = Vec::new();
    files(data, &mut paths);
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        for planted in PLANTED.iter().map(|planted| planted.as_bytes()) {
            assert!(!bytes.windows(planted.len()).any(|window| window == planted), "{planted:?} is in {}", path.display());
        }
    }
    assert_eq!(opened(data, &asked.id, entries), Vec::<String>::new());
}

#[tokio::test]
async fn a_member_who_is_erased_is_in_no_answer_and_no_file_and_the_programmes_points_are_as_before() {
    let server = start_with(book()).await;
    let asked = somebody(&server).await;
    let (id, before, data) = (asked.id.clone(), server.clock_now(), server.data());
    let stood = server.member(&id).await;
    let entries = u64::try_from(stood.last_sequence).unwrap();
    let (folder, clock) = server.end().await;
    let totals_before = totals(&data);
    // The attack is one that works as long as the key is there.
    assert!(opened(&data, &id, entries).iter().any(|plain| plain.contains(NEW_NAME)));
    let server = TestServer::start_in(folder, clock, vec![book()]).await;
    server.days_later(1);

    let request = erase(by_phone(), "e-1");
    let answer = server.members().erase_member(request.clone()).await.unwrap().into_inner();
    let member = answer.member.clone().unwrap();
    assert_eq!((member.state(), member.member_id.as_str()), (v1::member::State::Erased, id.as_str()));
    assert_eq!(member.balance, stood.balance);
    let entry = answer.entry.clone().unwrap();
    let reason = v1::MemberErased { reason: "request 4711".into() };
    assert_eq!((entry.kind, entry.actor, entry.points), (Some(Said::MemberErased(reason)), actor(), 0));
    // The phone that named the member is gone, and a retry is answered all the same.
    assert_eq!(server.members().erase_member(request.clone()).await.unwrap().into_inner(), answer);
    let other = v1::EraseMemberRequest { reason: "another".into(), ..request.clone() };
    assert_eq!(refused(&server.members().erase_member(other).await.unwrap_err()).reason, "REQUEST_ID_REUSED");
    all_answers_are_silent(&server, &asked, before).await;
    nobody_is_found_by(&server).await;

    let (folder, clock) = server.end().await;
    no_file_shows_anything(&data, &asked, entries + 1);
    assert_eq!(totals(&data), totals_before);
    // From the journal alone it is the same.
    fs::remove_dir_all(data.join("tables")).unwrap();
    let server = TestServer::start_in(folder, clock, vec![book()]).await;
    assert_eq!(server.members().erase_member(request).await.unwrap().into_inner(), answer);
    all_answers_are_silent(&server, &asked, before).await;
    nobody_is_found_by(&server).await;
    let (folder, _) = server.end().await;
    no_file_shows_anything(&data, &asked, entries + 1);
    assert_eq!(totals(&data), totals_before);
    drop(folder);
}

fn member_of(status: &Status) -> String {
    tonic_types::StatusExt::get_error_details(status).error_info().map(|info| info.metadata["member_id"].clone()).unwrap_or_default()
}

async fn merge(server: &TestServer, member: &str, into: &str) -> Result<v1::MergeMembersResponse, Status> {
    let request = v1::MergeMembersRequest {
        request_id: format!("merge-{member}"),
        program_id: PROGRAM.into(),
        member: by_id(member),
        into: by_id(into),
        reason: "two cards".into(),
        actor: actor(),
    };
    server.members().merge_members(request).await.map(tonic::Response::into_inner)
}

/// All keys go at once: of the one that stayed, and of those that became a part of it, one after the other.
#[tokio::test]
async fn with_a_member_goes_whoever_was_merged_into_it() {
    let server = start_with(book()).await;
    let asked = somebody(&server).await;
    let (id, before, data) = (asked.id.clone(), server.clock_now(), server.data());
    let (middle, last) = (server.enroll("plain-1").await, server.enroll("plain-2").await);
    // With its last one, which no other one of them has more than.
    let entries = u64::try_from(server.member(&id).await.last_sequence).unwrap() + 1;
    merge(&server, &id, &middle).await.unwrap();
    merge(&server, &middle, &last).await.unwrap();
    let joined = server.member(&last).await;
    assert_eq!((joined.profile.unwrap().display_name.as_str(), joined.identifiers.len()), (NEW_NAME, 5));
    let (folder, clock) = server.end().await;
    let totals_before = totals(&data);
    for member in [&id, &last] {
        assert!(opened(&data, member, entries).iter().any(|plain| plain.contains(NAME) || plain.contains(NEW_NAME)), "it can be opened");
    }
    let server = TestServer::start_in(folder, clock, vec![book()]).await;
    // By the oldest id; and somebody who was erased is not merged with anybody.
    let erased = server.members().erase_member(erase(by_id(&id), "e-1")).await.unwrap().into_inner().member.unwrap();
    assert_eq!((erased.member_id.as_str(), erased.state()), (last.as_str(), v1::member::State::Erased));
    let again = server.members().erase_member(erase(by_id(&middle), "e-2")).await.unwrap_err();
    assert_eq!(refused(&again).reason, "MEMBER_ERASED");
    let other = server.enroll("plain-3").await;
    for (member, into) in [(&other, &id), (&other, &last), (&last, &other)] {
        let status = merge(&server, member, into).await.unwrap_err();
        assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::FailedPrecondition, "MEMBER_ERASED"), "{member} into {into}");
    }
    let mut server = server;
    // With the tables that were there, and with those that are made again.
    for tables in ["as they were", "made again"] {
        nobody_is_found_by(&server).await;
        for card in ["plain-1", "plain-2"] {
            let request = v1::RedeemPointsRequest { member: by_card(card), ..redeem(&last, "r-9", 1, "100") };
            let status = server.points().redeem_points(request).await.unwrap_err();
            assert_eq!(refused(&status).reason, "MEMBER_NOT_FOUND");
        }
        for member in [&id, &middle, &last] {
            let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(member), page_size: 100, ..Default::default() };
            let listed = server.points().list_entries(list).await.unwrap().into_inner().entries;
            is_silent("ListEntries", &listed);
            for entry in &listed {
                let sequence = entry.sequence;
                let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(member), sequence };
                is_silent("ExplainEntry", &server.points().explain_entry(explain).await.unwrap().into_inner());
            }
            for as_of in [None, Some(before)] {
                let view = v1::MemberView::Full.into();
                let get = v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_id(member), view, as_of };
                is_silent("GetMember", &server.members().get_member(get).await.unwrap().into_inner());
            }
        }
        for (member, into) in [(&id, &middle), (&middle, &last)] {
            is_silent("a repeated MergeMembers", &merge(&server, member, into).await.unwrap());
        }
        let enrolled = server.members().enroll_member(asked.enrol.clone()).await.unwrap().into_inner().member.unwrap();
        is_silent("a repeated EnrollMember", &enrolled);
        assert_eq!(enrolled.member_id, id);
        let (folder, clock) = server.end().await;
        // Somebody else has enrolled.
        assert_eq!(totals(&data), ProgramTotals { members: 4, ..totals_before.clone() });
        no_file_shows_anything(&data, &asked, entries);
        if tables == "made again" {
            assert_eq!(opened(&data, &last, entries), Vec::<String>::new());
        }
        fs::remove_dir_all(data.join("tables")).unwrap();
        server = TestServer::start_in(folder, clock, vec![book()]).await;
    }
    let back = server.enroll(CARD).await;
    assert!(![id, middle, last].contains(&back), "the person comes back as another member");
    server.stop().await;
}

#[tokio::test]
async fn what_the_erased_had_is_free_and_the_person_may_come_back_as_another_member() {
    let server = start_with(book()).await;
    let asked = somebody(&server).await;
    let enrol = v1::EnrollMemberRequest {
        request_id: "anew".into(),
        identifiers: vec![identifier(Kind::Phone, PHONE), identifier(Kind::Email, EMAIL), card(CARD)],
        ..asked.enrol.clone()
    };
    let taken = server.members().enroll_member(enrol.clone()).await.unwrap_err();
    assert_eq!((refused(&taken).reason.as_str(), member_of(&taken)), ("IDENTIFIER_TAKEN", asked.id.clone()));
    // Both at once, in one group of commands or two: the phone is free when its turn comes.
    let (mut one, mut other) = (server.members(), server.members());
    let (gone, came) = tokio::join!(one.erase_member(erase(by_card(CARD), "e-1")), async { other.enroll_member(enrol.clone()).await });
    gone.unwrap();
    let came = match came {
        Ok(came) => came,
        // It was first.
        Err(_) => server.members().enroll_member(enrol).await.unwrap(),
    };
    let new = came.into_inner().member.unwrap();
    assert_ne!(new.member_id, asked.id);
    let lookup = v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: Some(identifier(Kind::Phone, PHONE)) };
    let server = server.restart_with(book()).await;
    assert_eq!(server.members().lookup_member(lookup).await.unwrap().into_inner().member_id, new.member_id);
    assert_eq!(server.member(&new.member_id).await.balance.unwrap().available, 0);
    assert_eq!(server.member(&asked.id).await.state(), v1::member::State::Erased);
    server.stop().await;
}

#[tokio::test]
async fn nobody_acts_for_the_erased_and_what_was_bought_can_come_back() {
    let server = start_with(book()).await;
    let asked = somebody(&server).await;
    let id = asked.id.as_str();
    let other = server.enroll("c-2").await;
    server.points().adjust_points(adjustment(&other, "a-2", 50)).await.unwrap();
    let held = server.points().hold_points(hold(id, "h-1")).await.unwrap().into_inner().hold.unwrap();
    let erased = server.members().erase_member(erase(by_id(id), "e-1")).await.unwrap().into_inner();
    let balance = erased.member.unwrap().balance.unwrap();
    assert_eq!((balance.held, balance.available), (0, 330), "what was held is back");
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(id), page_size: 2, ..Default::default() };
    let newest = server.points().list_entries(list).await.unwrap().into_inner().entries;
    let Some(Said::HoldReleased(released)) = &newest[1].kind else { panic!("{newest:?}") };
    assert_eq!((released.cause(), released.points), (v1::hold_released::Cause::Erased, 30));

    let (mut desk, mut points, mut tills) = (server.members(), server.points(), server.purchases());
    let suspend = v1::SuspendMemberRequest {
        request_id: "s-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(id),
        reason: "why".into(),
        actor: actor(),
    };
    let quote =
        v1::QuotePurchaseRequest { program_id: PROGRAM.into(), member: by_id(id), purchase: Some(support::purchase("o-9", "10000")) };
    let capture = v1::CaptureHoldRequest {
        request_id: "k-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(id),
        hold_id: held.hold_id.clone(),
        ..Default::default()
    };
    let release = v1::ReleaseHoldRequest {
        request_id: "l-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(id),
        hold_id: held.hold_id,
        ..Default::default()
    };
    let give = |from: &str, to: &str| v1::TransferPointsRequest {
        request_id: "t-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(from),
        recipient: by_id(to),
        points: 10,
        reason: "family".into(),
        ..Default::default()
    };
    let update = v1::UpdateMemberRequest { request_id: "u-2".into(), ..asked.update.clone() };
    let add = v1::AddIdentifierRequest { request_id: "i-9".into(), ..asked.add[0].clone() };
    let remove = v1::RemoveIdentifierRequest { request_id: "i-10".into(), identifier: Some(card(CARD)), ..asked.remove.clone() };
    let refusals = [
        desk.erase_member(erase(by_id(id), "e-2")).await.unwrap_err(),
        desk.suspend_member(suspend).await.unwrap_err(),
        desk.update_member(update).await.unwrap_err(),
        desk.add_identifier(add).await.unwrap_err(),
        desk.remove_identifier(remove).await.unwrap_err(),
        tills.record_purchase(sale(id, "o-9", "10000")).await.unwrap_err(),
        tills.quote_purchase(quote).await.unwrap_err(),
        points.adjust_points(adjustment(id, "a-9", 5)).await.unwrap_err(),
        points.redeem_points(redeem(id, "r-9", 20, "1000000")).await.unwrap_err(),
        points.hold_points(hold(id, "h-9")).await.unwrap_err(),
        points.capture_hold(capture).await.unwrap_err(),
        points.release_hold(release).await.unwrap_err(),
        points.transfer_points(give(id, &other)).await.unwrap_err(),
    ];
    for status in refusals {
        assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::FailedPrecondition, "MEMBER_ERASED"), "{status:?}");
    }
    let status = points.transfer_points(give(&other, id)).await.unwrap_err();
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::FailedPrecondition, "RECIPIENT_ERASED"));

    // The till knows the receipt, and not who it was.
    let back = |request: &str, exchange| v1::ReturnPurchaseRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        store_id: "hcm-1".into(),
        order_id: "o-1".into(),
        whole_purchase: true,
        exchange,
        ..Default::default()
    };
    let status = tills.return_purchase(back("b-1", Some(support::purchase("o-9", "10000")))).await.unwrap_err();
    assert_eq!(refused(&status).reason, "MEMBER_ERASED");
    let returned = tills.return_purchase(back("b-2", None)).await.unwrap().into_inner();
    assert_eq!((returned.member_id.as_str(), returned.balance.unwrap().available), (id, 30));
    // What time brings goes on.
    server.days_later(400);
    let balance = server.member(id).await.balance.unwrap();
    assert_eq!((balance.available, balance.expired), (0, 30));
    server.stop().await;
}

#[tokio::test]
async fn what_lapsed_in_a_hold_lapses_with_it_and_a_retry_gives_the_first_answer() {
    let redemption = spending().redemption.map(|terms| v1::RedemptionPolicy { maximum_hold_seconds: 30 * 86_400, ..terms });
    let server = start_with(v1::Program { redemption, ..book() }).await;
    let id = server.enroll("c-1").await;
    server.points().adjust_points(adjustment(&id, "a-1", 100)).await.unwrap();
    server.days_later(350);
    let duration = Some(prost_types::Duration { seconds: 30 * 86_400, nanos: 0 });
    server.points().hold_points(v1::HoldPointsRequest { duration, ..hold(&id, "h-1") }).await.unwrap();
    server.days_later(20);
    let request = erase(by_id(&id), "e-1");
    let answer = server.members().erase_member(request.clone()).await.unwrap().into_inner();
    let balance = answer.member.clone().unwrap().balance.unwrap();
    assert_eq!((balance.available, balance.held, balance.expired), (0, 0, 100));
    server.days_later(1);
    assert_eq!(server.members().erase_member(request).await.unwrap().into_inner(), answer);
    server.stop().await;
}

#[tokio::test]
async fn a_suspended_member_can_be_erased_and_a_wrong_request_is_named() {
    let server = start_with(book()).await;
    let id = server.enroll("c-1").await;
    let suspend = v1::SuspendMemberRequest {
        request_id: "s-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&id),
        reason: "lost card".into(),
        actor: actor(),
    };
    server.members().suspend_member(suspend).await.unwrap();
    let request = erase(by_card("c-1"), "e-1");
    let status = server.members().erase_member(erase(by_card("c-9"), "e-1")).await.unwrap_err();
    assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::NotFound, "MEMBER_NOT_FOUND"));
    assert_eq!(server.members().erase_member(request).await.unwrap().into_inner().member.unwrap().state(), v1::member::State::Erased);
    server.stop().await;
}

/// So small that nothing has to be waited for.
fn options() -> Options {
    Options { segment_bytes: 64 << 10, compress: false, ..Options::default() }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder is made");
    for item in fs::read_dir(from).expect("a folder is listed") {
        let path = item.expect("a folder is listed").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &target),
            false => assert!(fs::copy(&path, target).is_ok(), "a file is copied"),
        }
    }
}

fn email(name: &str) -> Identifier {
    Identifier::new(IdentifierKind::Email, &format!("{name}@example.com")).expect("an address")
}

/// A kill can come between any two of the three: journal, key, tables. And a key file may be one from before.
#[test]
fn whatever_a_kill_or_an_older_key_file_leaves_the_journals_word_counts() {
    // Whether the member changed before, in the same commit, and whether somebody else came after.
    for (changed_before, in_one_commit, followed) in [(false, false, true), (true, false, false), (true, false, true), (true, true, false)]
    {
        let folder = TempDir::new().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let mut world = World::new();
        let store = EmbeddedStore::open(&path("data"), options()).expect("the store opens");
        world.publish(&store, 1);
        (1..=3).for_each(|number| world.enroll(&store, number));
        world.decide(2, &purchase(1, 50_00, None)).expect("a purchase");
        world.commit(&store);
        store.flush().expect("rows are written out");
        copy(&path("data/tables"), &path("tables.before"));
        if changed_before {
            // The tables do not know of these yet when the member goes.
            let update = ProfileUpdate { display_name: Some("Another".to_owned()), ..ProfileUpdate::default() };
            for command in [Command::UpdateProfile(update), Command::AddIdentifier { identifier: email("lan") }] {
                world.decide(2, &command).expect("a change");
                if !in_one_commit {
                    world.commit(&store);
                }
            }
        }
        fs::copy(path("data/keys"), path("keys.before")).expect("the keys are copied");
        world.decide(2, &erasure()).expect("anyone may go");
        world.commit(&store);
        if followed {
            // What became free is somebody else's now.
            world.decide(4, &Command::Enroll { person: person("Person 4", &[phone(2)]) }).expect("a new member");
            world.commit(&store);
        }
        world.check(&store);
        store.flush().expect("rows are written out");
        drop(store);
        let after = path("data");
        let slot = |keys: &Path| fs::read(keys).expect("keys are read")[3 * 64];
        assert_eq!((slot(&path("keys.before")), slot(&after.join("keys"))), (1, 3));
        for (name, old_keys, old_tables) in [
            ("wipe", true, true),
            ("rows", false, true),
            ("older-keys", true, false),
            ("no-tables", true, false),
            ("stopped", false, false),
        ] {
            let at = path(name);
            copy(&after, &at);
            if old_tables {
                fs::remove_dir_all(at.join("tables")).expect("the tables are removed");
                copy(&path("tables.before"), &at.join("tables"));
            }
            if old_keys {
                // Of those who came later the keys are there.
                let mut keys = fs::read(at.join("keys")).expect("keys are read");
                keys[3 * 64..4 * 64].copy_from_slice(&fs::read(path("keys.before")).expect("keys are read")[3 * 64..4 * 64]);
                fs::write(at.join("keys"), keys).expect("keys are written");
            }
            if name == "no-tables" {
                fs::remove_dir_all(at.join("tables")).expect("the tables are removed");
            }
            let store = EmbeddedStore::open(&at, options()).expect("the store opens");
            world.check(&store);
            assert_eq!(store.member_by_identifier(&program_id(), &email("lan")).expect("a read"), None);
            drop(store);
            assert_eq!(slot(&at.join("keys")), 3, "{name}");
            assert!(!at.join("tables.broken-1").exists(), "{name}: the tables are those that were there");
            let report = check(&at, &options()).expect("the journal is whole");
            assert!(report.is_sound(), "{name}: {:?}", report.differences);
        }
    }
}

/// The copy that `--accept-erased` keeps holds keys, also of those who go later.
#[test]
fn the_copy_of_a_key_file_that_lost_keys_forgets_as_well() {
    let folder = TempDir::new().expect("a temporary folder");
    let (mut world, data) = (World::new(), folder.path());
    let store = EmbeddedStore::open(data, options()).expect("the store opens");
    (1..=3).for_each(|number| world.enroll(&store, number));
    drop(store);
    let mut keys = fs::read(data.join("keys")).expect("keys are read");
    keys[2 * 64 + 20] ^= 1;
    fs::write(data.join("keys"), keys).expect("keys are written");
    let accepted = |accepted: &embedded::Accepted| assert_eq!(accepted.lost, 1);
    repair(data, true, &options(), accepted).expect("it is repaired");
    let slot = |name: &str| fs::read(data.join(name)).expect("keys are read")[4 * 64..5 * 64].to_vec();
    assert_eq!(slot("keys.before-accept"), slot("keys"));
    assert_eq!(slot("keys")[0], 1);
    let store = EmbeddedStore::open(data, options()).expect("the store opens");
    world.decide(3, &erasure()).expect("anyone may go");
    world.commit(&store);
    assert_eq!((slot("keys")[0], slot("keys.before-accept")[0]), (3, 3));
    assert!(slot("keys.before-accept")[8..].iter().all(|byte| *byte == 0));
}
