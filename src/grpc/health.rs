//! Health and reflection. Health says of each service whether it serves: not before the ledger is read, not while it stops.

use std::sync::Arc;

use tonic::service::RoutesBuilder;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;

use super::whoever::MAX_REQUEST_BYTES;

/// What every service has; the empty name is the service as a whole.
const SERVICES: [&str; 9] = [
    "",
    "loyalty.v1.ProgramService",
    "loyalty.v1.MemberService",
    "loyalty.v1.PurchaseService",
    "loyalty.v1.PointsService",
    "loyalty.v1.RewardService",
    "loyalty.v1.OfferService",
    "loyalty.v1.ServerService",
    "loyalty.v1.AuditService",
];
const ADMIN: &str = "loyalty.v1.AdminService";
const SANDBOX: &str = "loyalty.v1.SandboxService";

/// The contract's descriptors, from which reflection answers.
pub(super) const CONTRACT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));

/// Tells callers of health whether the service serves, and of reflection what it has.
#[derive(Clone)]
pub struct Health {
    reporter: Arc<HealthReporter>,
    /// All that health knows by name.
    services: Arc<[&'static str]>,
}

impl Health {
    /// Not serving yet.
    pub async fn starting(is_sandbox: bool) -> Self {
        let besides = if is_sandbox { SANDBOX } else { ADMIN };
        let services = SERVICES.into_iter().chain([besides]).collect();
        let health = Self { reporter: Arc::new(HealthReporter::new()), services };
        health.set(ServingStatus::NotServing).await;
        health
    }

    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    pub async fn stopping(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Ends the streams of those who watch, who have been told, so that they do not hold up the end. Who asks still hears that nothing is
    /// served.
    pub async fn end_watches(&self) {
        let mut reporter = (*self.reporter).clone();
        for service in &*self.services {
            reporter.clear_service_status(service).await;
            reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
    }

    async fn set(&self, status: ServingStatus) {
        for service in &*self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }

    pub(super) fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter((*self.reporter).clone())).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// It lists the services that there are, which are not all that the contract has.
    pub(super) fn add_reflection(&self, routes: &mut RoutesBuilder) {
        let describe = || {
            let builder = Builder::configure()
                .register_encoded_file_descriptor_set(CONTRACT)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // So that clients that know only reflection can show the details of errors.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            self.services.iter().filter(|name| !name.is_empty()).fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let invariant = "the descriptors are those that the build made";
        let v1 = describe().build_v1().expect(invariant).max_decoding_message_size(MAX_REQUEST_BYTES);
        let v1alpha = describe().build_v1alpha().expect(invariant).max_decoding_message_size(MAX_REQUEST_BYTES);
        routes.add_service(v1).add_service(v1alpha);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;
    use tonic::Request;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus as Told, health_server::Health as _};

    #[tokio::test]
    async fn while_it_stops_watches_end_and_checks_are_answered() {
        let health = Health::starting(false).await;
        health.serving().await;
        let service = HealthService::from_health_reporter((*health.reporter).clone());
        let ask = || Request::new(HealthCheckRequest { service: SERVICES[1].to_owned() });
        let watch = service.watch(ask()).await.expect("it is watched").into_inner();
        health.stopping().await;
        health.end_watches().await;
        let seen: Vec<_> = watch.map(|told| told.expect("a status").status()).collect().await;
        assert_eq!(seen.last(), Some(&Told::NotServing), "{seen:?}");
        assert_eq!(service.check(ask()).await.expect("an answer").into_inner().status(), Told::NotServing);
    }
}
