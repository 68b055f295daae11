//! Health says the truth per service, reflection shows the whole contract.

use std::sync::Arc;

use loyaltyd::{app, ledger::ManualClock};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{self, PROGRAM, Refused, TestServer, by_card, noon, refused};

const SERVICES: [&str; 10] = [
    "",
    "loyalty.v1.AdminService",
    "loyalty.v1.AuditService",
    "loyalty.v1.MemberService",
    "loyalty.v1.OfferService",
    "loyalty.v1.PointsService",
    "loyalty.v1.ProgramService",
    "loyalty.v1.PurchaseService",
    "loyalty.v1.RewardService",
    "loyalty.v1.ServerService",
];

#[tokio::test]
async fn each_service_serves_once_the_ledger_is_read_and_says_when_it_stops() {
    let folder = TempDir::new().unwrap();
    let config = support::config(folder.path(), vec![support::rule_book()]);
    let mut server = app::start(config, Arc::new(ManualClock::new(noon()))).await.unwrap();
    let channel = support::connect(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let mut changes = health.watch(HealthCheckRequest { service: SERVICES[1].into() }).await.unwrap().into_inner();
    server.ready().await.unwrap();
    for service in SERVICES {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "loyalty.v1.Nobody".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    drop(channel);
    // The watch sees the end: not serving before the connection goes.
    let watched = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Ok(Some(change)) = changes.message().await {
            seen.push(change.status());
        }
        seen
    });
    drop(health);
    tokio::task::yield_now().await;
    server.shutdown().await.unwrap();
    let seen = watched.await.unwrap();
    assert_eq!(seen.last(), Some(&ServingStatus::NotServing), "{seen:?}");
    assert!(seen.contains(&ServingStatus::Serving), "{seen:?}");
}

#[tokio::test]
async fn before_the_ledger_is_read_calls_are_told_to_come_back() {
    let folder = TempDir::new().unwrap();
    // The folder is held by another server, so that this one never gets ready.
    let config = support::config(folder.path(), vec![support::rule_book()]);
    let clock = Arc::new(ManualClock::new(noon()));
    let mut holder = app::start(config.clone(), clock.clone()).await.unwrap();
    holder.ready().await.unwrap();
    let mut late = app::start(config, clock).await.unwrap();
    let channel = support::connect(&late).await;
    assert!(late.ready().await.is_err());
    let mut health = HealthClient::new(channel.clone());
    for service in SERVICES {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing, "{service}");
    }
    let mut members = loyaltyd::contract::v1::member_service_client::MemberServiceClient::new(channel.clone());
    let request = loyaltyd::contract::v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_card("c-1"), ..Default::default() };
    let status = members.get_member(request).await.unwrap_err();
    assert_eq!(refused(&status), Refused { code: Code::Unavailable, reason: "STARTING".into(), fields: vec![] });
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    drop((health, members, channel));
    late.shutdown().await.unwrap();
    holder.shutdown().await.unwrap();
}

#[tokio::test]
async fn while_tables_are_made_again_nothing_is_served_and_calls_are_told_to_come_back() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    for batch in 0..10 {
        let sale = |number| support::sale(&member, &format!("{batch}-{number}"), "10000");
        let request = loyaltyd::contract::v1::BatchRecordPurchasesRequest { purchases: (0..300).map(sale).collect() };
        server.purchases().batch_record_purchases(request).await.unwrap();
    }
    let (folder, clock) = server.end().await;
    // Tables that are no good: they are moved aside, and the journal is read.
    let config = support::config(folder.path(), vec![support::rule_book()]);
    let log = config.data.join("tables/sled/db");
    let length = std::fs::metadata(&log).unwrap().len();
    std::fs::File::options().write(true).open(&log).unwrap().set_len(length / 2).unwrap();
    std::fs::remove_file(config.data.join("tables/CHECKPOINT")).unwrap();
    let data = config.data.clone();
    let mut server = app::start(config, clock).await.unwrap();
    let channel = support::connect(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let answer = health.check(HealthCheckRequest { service: SERVICES[2].into() }).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
    let mut members = loyaltyd::contract::v1::member_service_client::MemberServiceClient::new(channel.clone());
    let request = loyaltyd::contract::v1::GetMemberRequest { program_id: PROGRAM.into(), member: by_card("c-1"), ..Default::default() };
    let status = members.get_member(request.clone()).await.unwrap_err();
    assert_eq!(refused(&status), Refused { code: Code::Unavailable, reason: "STARTING".into(), fields: vec![] });
    assert!(tonic_types::StatusExt::get_error_details(&status).retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    server.ready().await.unwrap();
    let answer = health.check(HealthCheckRequest { service: SERVICES[2].into() }).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let member = members.get_member(request).await.unwrap().into_inner().member.unwrap();
    assert_eq!(member.lifetime.unwrap().visits, 3_000);
    assert!(data.join("tables.broken-1").exists());
    drop((health, members, channel));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_stopped_while_it_starts_never_says_that_it_serves() {
    let folder = TempDir::new().unwrap();
    let config = support::config(folder.path(), vec![support::rule_book()]);
    let server = app::start(config, Arc::new(ManualClock::new(noon()))).await.unwrap();
    let channel = support::connect(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let mut changes = health.watch(HealthCheckRequest { service: SERVICES[1].into() }).await.unwrap().into_inner();
    drop((health, channel));
    let stopping = tokio::spawn(server.shutdown());
    let mut seen = Vec::new();
    while let Ok(Some(change)) = changes.message().await {
        seen.push(change.status());
    }
    stopping.await.unwrap().unwrap();
    assert_eq!(seen.last(), Some(&ServingStatus::NotServing), "{seen:?}");
}

const LISTED: [&str; 10] = [
    "grpc.health.v1.Health",
    "loyalty.v1.AdminService",
    "loyalty.v1.AuditService",
    "loyalty.v1.MemberService",
    "loyalty.v1.OfferService",
    "loyalty.v1.PointsService",
    "loyalty.v1.ProgramService",
    "loyalty.v1.PurchaseService",
    "loyalty.v1.RewardService",
    "loyalty.v1.ServerService",
];

macro_rules! reflection {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest::{FileContainingSymbol, ListServices},
                server_reflection_response::MessageResponse,
            };
            let server = TestServer::start().await;
            let mut client = ServerReflectionClient::new(server.channel.clone());
            let ask = |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
            let questions = vec![ask(ListServices(String::new())), ask(FileContainingSymbol("loyalty.v1.PurchaseService".into()))];
            let mut answers = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap().into_inner();
            let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response else {
                panic!("no list of services");
            };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.retain(|name| !name.starts_with("grpc.reflection."));
            names.sort();
            assert_eq!(names, LISTED);
            let answer = answers.message().await.unwrap().unwrap().message_response;
            assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(file)) if !file.file_descriptor_proto.is_empty()));
            drop((client, answers));
            server.stop().await;
        }
    };
}

reflection!(reflection_v1_shows_the_services, v1);
reflection!(reflection_v1alpha_shows_the_services, v1alpha);
