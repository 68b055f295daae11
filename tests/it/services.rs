//! Which calls reach which service, what those get that reach none, and who may call AdminService.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use loyaltyd::{
    contract::v1::{self, admin_service_client::AdminServiceClient, points_service_client::PointsServiceClient},
    grpc::{self, AdminFrom, Besides, Door, Gate, Health, Services},
};
use tonic::{
    Code, Status,
    body::Body,
    client::Grpc,
    codegen::Service,
    transport::{Channel, server::TcpConnectInfo},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_prost::ProstCodec;

use crate::support::{PROGRAM, TestServer, by_id, refused};

const LIMIT: usize = 4 << 20;

/// A method of each service that the server knows.
const METHODS: [&str; 7] = [
    "/loyalty.v1.PurchaseService/RecordPurchase",
    "/loyalty.v1.MemberService/GetMember",
    "/loyalty.v1.PointsService/ListEntries",
    "/loyalty.v1.ProgramService/GetProgram",
    "/loyalty.v1.AuditService/ListAuditEntries",
    "/loyalty.v1.AdminService/StreamBackup",
    "/grpc.health.v1.Health/Check",
];

/// Calls whatever path with a message whose field 1 is text.
async fn call(channel: &Channel, path: &str, text: String) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("the connection lives");
    let path = PathAndQuery::try_from(path).expect("a path");
    client.unary(tonic::Request::new(text), path, ProstCodec::<String, ()>::default()).await.map(drop)
}

#[tokio::test]
async fn what_no_service_has_is_unimplemented() {
    let server = TestServer::start().await;
    let mut paths: Vec<String> = METHODS.iter().map(|path| format!("{}/Nothing", path.rsplit_once('/').unwrap().0)).collect();
    for method in METHODS {
        paths.extend([
            format!("/other{method}"),
            format!("{method}/more"),
            format!("{method}s"),
            method.replacen("Service/", "ServiceX/", 1),
        ]);
    }
    // Health has no "Service" in its name, so that it is whole.
    paths.retain(|path| !METHODS.contains(&path.as_str()));
    paths.extend(
        ["/loyalty.v2.PurchaseService/RecordPurchase", "/loyalty.v1.Nobody/Nothing", "/loyalty.v1.PurchaseService/", "/"].map(String::from),
    );
    for path in paths {
        let status = call(&server.channel, &path, String::new()).await.expect_err("nobody has it");
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_by_each_service_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    // The field's tag and length take five bytes.
    for path in METHODS {
        let status = call(&server.channel, path, "x".repeat(LIMIT - 4)).await.expect_err("it is too large");
        assert_eq!(status.code(), Code::OutOfRange, "{path}: {status:?}");
        assert!(status.details().is_empty(), "{path}: it was not read");
    }
    let status = call(&server.channel, METHODS[0], "x".repeat(LIMIT - 5)).await.expect_err("it is no purchase");
    assert_eq!(refused(&status).reason, "INVALID_FIELD", "the largest is read: {status:?}");
    assert_eq!(server.member(&member).await.lifetime.unwrap_or_default().visits, 0);
    server.stop().await;
}

#[tokio::test]
async fn each_service_is_reached() {
    let server = TestServer::start().await;
    let member = server.enroll("c-1").await;
    server.purchases().record_purchase(crate::support::sale(&member, "o-1", "10000")).await.expect("it is recorded");
    assert_eq!(server.member(&member).await.lifetime.expect("a total").visits, 1);
    let list = v1::ListEntriesRequest { program_id: PROGRAM.into(), member: by_id(&member), ..Default::default() };
    let entries = PointsServiceClient::new(server.channel.clone()).list_entries(list).await.expect("a list").into_inner().entries;
    assert!(!entries.is_empty());
    let book = server.programs().get_program(v1::GetProgramRequest { program_id: PROGRAM.into(), version: 0 }).await;
    assert_eq!(book.expect("a rule book").into_inner().program.expect("a rule book").program_id, PROGRAM);
    let mut admin = AdminServiceClient::new(server.channel.clone());
    let mut parts = admin.stream_backup(v1::StreamBackupRequest::default()).await.expect("a backup").into_inner();
    let first = parts.message().await.expect("a part").expect("a part").part;
    assert!(matches!(first, Some(v1::stream_backup_response::Part::Start(_))), "{first:?}");
    let health = HealthClient::new(server.channel.clone()).check(HealthCheckRequest::default()).await.expect("an answer");
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    };
    let ask = ServerReflectionRequest { host: String::new(), message_request: Some(MessageRequest::ListServices(String::new())) };
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([ask])).await.expect("an answer").into_inner();
    assert!(answers.message().await.expect("an answer").is_some());
    drop((admin, parts, reflection, answers));
    server.stop().await;
}

/// The services, without a ledger, as a caller at that address has them. An address that nobody knows is one of those that are refused.
#[derive(Clone)]
struct CalledFrom {
    services: Services,
    peer: Option<SocketAddr>,
}

impl Service<http::Request<Body>> for CalledFrom {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = <Services as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if self.peer.is_some() {
            request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: self.peer });
        }
        self.services.call(request)
    }
}

#[tokio::test]
async fn admin_service_answers_its_own_machine_alone_unless_it_is_told_otherwise() {
    let health = Health::starting(false).await;
    let ask = async |from, peer: Option<&str>| {
        let services = grpc::services(&Arc::new(Gate::default()), &health, &Besides::Admin(from), Door::open_to_all(None), LIMIT);
        let peer = peer.map(|peer| peer.parse().expect("an address"));
        let called = AdminServiceClient::new(CalledFrom { services, peer }).stream_backup(v1::StreamBackupRequest::default()).await;
        called.map(drop).expect_err("there is no ledger yet")
    };
    for here in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(refused(&ask(AdminFrom::Loopback, Some(here)).await).reason, "STARTING", "{here}");
    }
    for there in [Some("192.0.2.7:1"), Some("10.0.0.1:1"), Some("[2001:db8::1]:1"), Some("[::ffff:192.0.2.7]:1"), Some("0.0.0.0:1"), None] {
        let status = ask(AdminFrom::Loopback, there).await;
        assert_eq!((status.code(), refused(&status).reason.as_str()), (Code::PermissionDenied, "ADMIN_FROM_LOOPBACK_ONLY"), "{there:?}");
        assert!(status.message().contains("--admin-from-anywhere"), "{status:?}");
        assert_eq!(refused(&ask(AdminFrom::Anywhere, there).await).reason, "STARTING", "{there:?}");
    }
    // Other services are for everybody.
    let services =
        grpc::services(&Arc::new(Gate::default()), &health, &Besides::Admin(AdminFrom::Loopback), Door::open_to_all(None), LIMIT);
    let peer = Some("192.0.2.7:1".parse().expect("an address"));
    let mut points = PointsServiceClient::new(CalledFrom { services, peer });
    let status = points.list_entries(v1::ListEntriesRequest::default()).await.expect_err("there is no ledger yet");
    assert_eq!(refused(&status).reason, "STARTING");
}
