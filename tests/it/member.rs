//! Members: enrol, find, keep up to date.

use std::fs;

use loyaltyd::contract::v1::{self, identifier::Kind};
use prost::Message as _;
use tonic::Code;

use crate::support::{PROGRAM, Refused, TestServer, actor, by_card, by_id, card, enrolment, files, identifier, refused, rule_book};

#[tokio::test]
async fn a_member_enrols_and_is_found_by_each_identifier() {
    let server = TestServer::start().await;
    let request = v1::EnrollMemberRequest {
        profile: Some(v1::Profile {
            display_name: "Lan".into(),
            birth_date: Some(v1::Date { year: 0, month: 2, day: 29 }),
            language_code: "vi-VN".into(),
        }),
        identifiers: vec![card(" c-1 "), identifier(Kind::Phone, "+84 90-123 (45) 67"), identifier(Kind::Email, "Lan@Example.com")],
        ..enrolment("c-1")
    };
    let first = server.members().enroll_member(request.clone()).await.unwrap().into_inner();
    let member = first.member.clone().unwrap();
    assert_eq!((member.state(), member.last_sequence), (v1::member::State::Active, 1));
    assert_eq!(member.identifiers, [card("c-1"), identifier(Kind::Phone, "+84901234567"), identifier(Kind::Email, "lan@example.com")]);
    assert_eq!(member.tier.as_ref().unwrap().tier_id, "member");
    for identifier in [card("c-1"), identifier(Kind::Phone, "+84901234567"), identifier(Kind::Email, "LAN@example.com")] {
        let request = v1::LookupMemberRequest { program_id: PROGRAM.into(), identifier: Some(identifier) };
        assert_eq!(server.members().lookup_member(request).await.unwrap().into_inner().member_id, member.member_id);
    }
    assert_eq!(server.member(&member.member_id).await, member);
    assert_eq!(server.members().enroll_member(request).await.unwrap().into_inner(), first);
    let taken = v1::EnrollMemberRequest { request_id: "again".into(), ..enrolment("c-1") };
    let expected = Refused { code: Code::AlreadyExists, reason: "IDENTIFIER_TAKEN".into(), fields: vec![] };
    let status = server.members().enroll_member(taken).await.unwrap_err();
    assert_eq!(refused(&status), expected);
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert_eq!(details.error_info().unwrap().metadata["member_id"], member.member_id);
    let held = v1::AddIdentifierRequest {
        request_id: "held".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member.member_id),
        identifier: Some(card("c-1")),
        ..Default::default()
    };
    let expected = Refused { code: Code::FailedPrecondition, reason: "IDENTIFIER_HELD".into(), fields: vec![] };
    assert_eq!(refused(&server.members().add_identifier(held).await.unwrap_err()), expected);
    server.stop().await;
}

#[tokio::test]
async fn a_profile_changes_as_its_mask_says() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let update = |request: &str, profile: v1::Profile, paths: &[&str]| v1::UpdateMemberRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        profile: Some(profile),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    };
    let profile =
        v1::Profile { display_name: "Lan".into(), birth_date: Some(v1::Date { year: 1990, month: 5, day: 1 }), language_code: "vi".into() };
    let all = ["display_name", "birth_date", "language_code"];
    let updated = server.members().update_member(update("u-1", profile.clone(), &all)).await.unwrap().into_inner().member.unwrap();
    assert_eq!(updated.profile, Some(profile.clone()));
    let cleared = v1::Profile { display_name: "Lan Anh".into(), ..Default::default() };
    let updated = server.members().update_member(update("u-2", cleared, &all[..2])).await.unwrap().into_inner().member.unwrap();
    let expected = v1::Profile { display_name: "Lan Anh".into(), birth_date: None, language_code: "vi".into() };
    assert_eq!(updated.profile, Some(expected));
    // The first answer again, though the profile has changed since.
    let again = server.members().update_member(update("u-1", profile.clone(), &all)).await.unwrap().into_inner().member.unwrap();
    assert_eq!((again.profile, again.last_sequence), (Some(profile), 2));
    server.stop().await;
}

/// Staff say who they are when they enrol somebody or put a profile right. It is in the entry; the audit log has other acts.
#[tokio::test]
async fn whoever_enrols_or_changes_a_profile_or_identifiers_by_hand_can_be_named() {
    let server = TestServer::start().await;
    let enrol = |actor| v1::EnrollMemberRequest { actor, ..enrolment("c-1") };
    let nameless = server.members().enroll_member(enrol(Some(v1::Actor::default()))).await.unwrap_err();
    assert_eq!(refused(&nameless).fields, ["actor.actor_id"]);
    let enrolled = server.members().enroll_member(enrol(actor())).await.unwrap().into_inner().member.unwrap();
    assert_eq!(server.members().enroll_member(enrol(actor())).await.unwrap().into_inner().member.as_ref(), Some(&enrolled));
    assert_eq!(refused(&server.members().enroll_member(enrol(None)).await.unwrap_err()).reason, "REQUEST_ID_REUSED");
    let member = enrolled.member_id;
    let update = |request: &str, actor| v1::UpdateMemberRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        profile: Some(v1::Profile { display_name: "Lan".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        actor,
    };
    let add = |request: &str, actor| v1::AddIdentifierRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        identifier: Some(card(request)),
        actor,
    };
    let remove = |request: &str, actor| v1::RemoveIdentifierRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        identifier: Some(card("c-1")),
        actor,
    };
    let nobody = || Some(v1::Actor::default());
    for status in [
        server.members().update_member(update("u-1", nobody())).await.map(drop).unwrap_err(),
        server.members().add_identifier(add("a-1", nobody())).await.map(drop).unwrap_err(),
        server.members().remove_identifier(remove("r-1", nobody())).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused(&status).fields, ["actor.actor_id"]);
    }
    server.members().update_member(update("u-1", actor())).await.unwrap();
    server.members().add_identifier(add("a-1", actor())).await.unwrap();
    server.members().remove_identifier(remove("r-1", actor())).await.unwrap();
    server.members().add_identifier(add("a-2", None)).await.unwrap();
    // Who did it is a part of the request.
    let other = Some(v1::Actor { actor_id: "staff-8".into() });
    assert_eq!(refused(&server.members().add_identifier(add("a-1", other)).await.unwrap_err()).reason, "REQUEST_ID_REUSED");
    let server = server.restart().await;
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let entries = server.points().list_entries(list).await.unwrap().into_inner().entries;
    let actors: Vec<_> = entries.into_iter().map(|entry| (entry.request_id, entry.actor)).collect();
    let done = [("a-2", None), ("r-1", actor()), ("a-1", actor()), ("u-1", actor()), ("enrol-c-1", actor())];
    assert_eq!(actors, done.map(|(request, actor)| (request.to_owned(), actor)));
    let explain = v1::ExplainEntryRequest { program_id: PROGRAM.into(), member: by_id(&member), sequence: 2 };
    let said = server.points().explain_entry(explain).await.unwrap().into_inner().explanation;
    assert!(said.contains(&"Done by staff-7.".to_owned()), "{said:?}");
    let mut audit = v1::audit_service_client::AuditServiceClient::new(server.channel.clone());
    let asked = v1::ListAuditEntriesRequest { program_id: PROGRAM.into(), actor_id: "staff-7".into(), ..Default::default() };
    assert_eq!(audit.list_audit_entries(asked).await.unwrap().into_inner().entries, []);
    server.stop().await;
}

/// What is kept of a request to know it again must not confirm a guess: there are few phone numbers.
#[tokio::test]
async fn a_guessed_phone_number_is_not_confirmed_by_what_is_stored() {
    let server = TestServer::start().await;
    let phone = || identifier(Kind::Phone, "+84901234567");
    let enrol = v1::EnrollMemberRequest { identifiers: vec![phone()], ..enrolment("c-1") };
    let first = server.members().enroll_member(enrol.clone()).await.unwrap().into_inner();
    let id = first.member.clone().unwrap().member_id;
    let update = v1::AddIdentifierRequest {
        request_id: "a-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&id),
        identifier: Some(identifier(Kind::Phone, "+84907654321")),
        ..Default::default()
    };
    server.members().add_identifier(update.clone()).await.unwrap();
    let server = server.restart().await;
    // Whoever guesses right knows the rest of the request, and how it is hashed.
    let guess = |method: &str, payload: Vec<u8>| blake3::hash(&[method.as_bytes(), &[0], &payload].concat());
    let hashes = [
        guess("MemberService/EnrollMember", v1::EnrollMemberRequest { request_id: String::new(), ..enrol.clone() }.encode_to_vec()),
        guess("MemberService/AddIdentifier", v1::AddIdentifierRequest { request_id: String::new(), ..update }.encode_to_vec()),
    ];
    let mut paths = Vec::new();
    files(&server.data(), &mut paths);
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        for hash in &hashes {
            assert!(!bytes.windows(8).any(|window| window == &hash.as_bytes()[..8]), "a hash is in {}", path.display());
        }
    }
    assert_eq!(server.members().enroll_member(enrol.clone()).await.unwrap().into_inner(), first);
    let other = v1::EnrollMemberRequest { identifiers: vec![identifier(Kind::Phone, "+84901234568")], ..enrol };
    let expected = Refused { code: Code::AlreadyExists, reason: "REQUEST_ID_REUSED".into(), fields: vec![] };
    assert_eq!(refused(&server.members().enroll_member(other).await.unwrap_err()), expected);
    server.stop().await;
}

#[tokio::test]
async fn identifiers_come_and_go() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let add = v1::AddIdentifierRequest {
        request_id: "a-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        identifier: Some(card("c-2")),
        ..Default::default()
    };
    let added = server.members().add_identifier(add).await.unwrap().into_inner().member.unwrap();
    assert_eq!(added.identifiers, [card("c-1"), card("c-2")]);
    let remove = |request: &str| v1::RemoveIdentifierRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_card("c-2"),
        identifier: Some(card("c-1")),
        ..Default::default()
    };
    let removed = server.members().remove_identifier(remove("r-1")).await.unwrap().into_inner().member.unwrap();
    assert_eq!(removed.identifiers, [card("c-2")]);
    let expected = Refused { code: Code::FailedPrecondition, reason: "IDENTIFIER_NOT_HELD".into(), fields: vec![] };
    assert_eq!(refused(&server.members().remove_identifier(remove("r-2")).await.unwrap_err()), expected);
    // The card is free for somebody else.
    let other = v1::EnrollMemberRequest { request_id: "enrol-other".into(), ..enrolment("c-1") };
    let other = server.members().enroll_member(other).await.unwrap().into_inner().member.unwrap();
    assert_ne!(other.member_id, member);
    server.stop().await;
}

#[tokio::test]
async fn a_tier_is_set_by_hand_and_a_member_suspended_and_reactivated() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    let mut desk = server.members();
    let set = v1::SetMemberTierRequest {
        request_id: "t-1".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        tier_id: "gold".into(),
        reason: "moved here from another shop".into(),
        actor: actor(),
        last_date: None,
    };
    let answer = desk.set_member_tier(set).await.unwrap().into_inner();
    let standing = answer.member.unwrap().tier.unwrap();
    assert_eq!((standing.tier_id.as_str(), standing.manual, standing.next_tier_id.as_str()), ("gold", true, "diamond"));
    assert_eq!(answer.entry.unwrap().actor, actor());

    let suspend = |request: &str| v1::SuspendMemberRequest {
        request_id: request.into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        reason: "card reported lost".into(),
        actor: actor(),
    };
    let suspended = desk.suspend_member(suspend("s-1")).await.unwrap().into_inner().member.unwrap();
    assert_eq!(suspended.state(), v1::member::State::Suspended);
    let expected = Refused { code: Code::FailedPrecondition, reason: "MEMBER_SUSPENDED".into(), fields: vec![] };
    assert_eq!(refused(&desk.suspend_member(suspend("s-2")).await.unwrap_err()), expected);
    let sale = crate::support::sale(&member, "o-1", "10000");
    assert_eq!(refused(&server.purchases().record_purchase(sale.clone()).await.unwrap_err()), expected);
    let reactivate = v1::ReactivateMemberRequest {
        request_id: "s-3".into(),
        program_id: PROGRAM.into(),
        member: by_id(&member),
        reason: "new card".into(),
        actor: actor(),
    };
    assert_eq!(desk.reactivate_member(reactivate).await.unwrap().into_inner().member.unwrap().state(), v1::member::State::Active);
    // A refused request does not use up its id.
    server.purchases().record_purchase(sale).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn members_are_listed_page_by_page() {
    let server = TestServer::start().await;
    let mut enrolled = Vec::new();
    for n in 0..7 {
        enrolled.push(server.enroll(&format!("c-{n}")).await);
    }
    enrolled.sort();
    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let request = v1::ListMembersRequest { program_id: PROGRAM.into(), page_size: 3, page_token: token, ..Default::default() };
        let page = server.members().list_members(request).await.unwrap().into_inner();
        listed.push(page.members.len());
        enrolled.retain(|id| page.members.iter().all(|member| member.member_id != *id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, enrolled), (vec![3, 3, 1], vec![]));
    server.stop().await;
}

#[tokio::test]
async fn rule_books_are_published_checked_and_listed() {
    let server = TestServer::start().await;
    let mut programs = server.programs();
    let unchanged = v1::PublishProgramRequest { request_id: "p-1".into(), program: Some(rule_book()), ..Default::default() };
    let answer = programs.publish_program(unchanged).await.unwrap().into_inner();
    assert_eq!((answer.changed, answer.program.unwrap().version), (false, 1));
    let next = v1::Program { display_name: "Vietnam 2".into(), ..rule_book() };
    let dry =
        v1::PublishProgramRequest { request_id: String::new(), program: Some(next.clone()), validate_only: true, ..Default::default() };
    assert!(programs.publish_program(dry).await.unwrap().into_inner().changed);
    let publish = v1::PublishProgramRequest { request_id: "p-2".into(), program: Some(next), ..Default::default() };
    assert_eq!(programs.publish_program(publish).await.unwrap().into_inner().program.unwrap().version, 2);
    let get = |version| v1::GetProgramRequest { program_id: PROGRAM.into(), version };
    let newest = programs.get_program(get(0)).await.unwrap().into_inner().program.unwrap();
    assert_eq!((newest.version, newest.display_name.as_str()), (2, "Vietnam 2"));
    assert_eq!(programs.get_program(get(1)).await.unwrap().into_inner().program.unwrap().display_name, "Vietnam");
    let expected = Refused { code: Code::NotFound, reason: "VERSION_NOT_FOUND".into(), fields: vec![] };
    assert_eq!(refused(&programs.get_program(get(3)).await.unwrap_err()), expected);
    for id in ["abc", "zebra"] {
        let program = Some(v1::Program { program_id: id.into(), ..rule_book() });
        let publish = v1::PublishProgramRequest { request_id: "p-3".into(), program, ..Default::default() };
        programs.publish_program(publish).await.unwrap();
    }
    let list = |token: String| v1::ListProgramsRequest { page_size: 2, page_token: token };
    let page = programs.list_programs(list(String::new())).await.unwrap().into_inner();
    let ids: Vec<_> = page.programs.iter().map(|program| program.program_id.as_str()).collect();
    assert_eq!(ids, ["abc", "vietnam"]);
    let page = programs.list_programs(list(page.next_page_token)).await.unwrap().into_inner();
    assert_eq!((page.programs[0].program_id.as_str(), page.next_page_token.as_str()), ("zebra", ""));
    // XXX is ISO 4217's code for no currency.
    let broken = v1::Program { currency_code: "XXX".into(), time_zone: "Mars/Olympus".into(), accrual_rules: vec![], ..rule_book() };
    let publish = v1::PublishProgramRequest { request_id: "p-4".into(), program: Some(broken), ..Default::default() };
    let refusal = refused(&programs.publish_program(publish).await.unwrap_err());
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "PROGRAM_INVALID"));
    for field in ["program.currency_code", "program.time_zone", "program.accrual_rules"] {
        assert!(refusal.fields.iter().any(|named| named == field), "{field} is not in {:?}", refusal.fields);
    }
    server.stop().await;
}
