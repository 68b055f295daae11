//! Who watches a call, whether it is let in, and which service it is for, in this order. Services that tills call all day are found by
//! comparing the beginning of the path, and so is the one that `loyaltyd bench` compares all with; the rest is left to the router.

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
    server::NamedService,
    service::Routes,
};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};

use super::{
    Gate, Refusal, Watch,
    access::{Answer, Caller, Door},
    calls::Place,
    member::Members,
    observe::is_observed,
    points::PointsRoom,
    purchase::Purchases,
    request_memory::Held,
    server::ServerRoom,
    watched::Watched,
    whoever::{ForWhoever, Room},
};
use crate::contract::v1::{
    member_service_server::MemberServiceServer, points_service_server::PointsServiceServer, purchase_service_server::PurchaseServiceServer,
    server_service_server::ServerServiceServer,
};

/// Unless something else is said.
const REFLECTION_LASTS: Duration = Duration::from_secs(60);

/// All services.
#[derive(Clone)]
pub struct Services {
    gate: Arc<Gate>,
    purchases: PurchaseServiceServer<Purchases>,
    members: MemberServiceServer<Members>,
    points: PointsServiceServer<PointsRoom>,
    server: ServerServiceServer<ServerRoom>,
    health: HealthServer<HealthService>,
    others: Routes,
    door: Door,
    watch: Watch,
    room: Room,
}

impl Services {
    pub(super) fn new(gate: &Arc<Gate>, health: HealthServer<HealthService>, others: Routes, door: Door, largest: usize) -> Self {
        Self {
            gate: Arc::clone(gate),
            purchases: PurchaseServiceServer::new(Purchases(Arc::clone(gate))).max_decoding_message_size(largest),
            members: MemberServiceServer::new(Members(Arc::clone(gate))).max_decoding_message_size(largest),
            points: PointsServiceServer::new(PointsRoom(Arc::clone(gate))).max_decoding_message_size(largest),
            server: ServerServiceServer::new(ServerRoom(Arc::clone(gate))).max_decoding_message_size(largest),
            health,
            others: others.prepare(),
            door,
            watch: Watch::default(),
            room: Room::new(REFLECTION_LASTS),
        }
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<Watched>;

    /// All of them are always ready: what is too much is refused by the ledger's queue.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Who calls is judged first: nothing is read of a call, nor said of the service, that has no business here.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut watching = self.watch.begin(&request);
        match self.door.admit(&request) {
            Ok(caller) => {
                if self.door.knows(&caller) {
                    self.watch.trace(&mut watching, &request);
                }
                let (held, request) = self.counted(request, &caller);
                let answer = self.route(request, &caller);
                caller.answer(Watched::new(answer, watching, &self.gate).holding(held))
            }
            Err(refusal) => {
                let answer = answered(Status::from(refusal).into_http());
                Caller::anyone().answer(Watched::new(answer, watching, &self.gate))
            }
        }
    }
}

impl Services {
    /// Watched by others than nobody.
    pub fn watched_by(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Streams of reflection end after that.
    pub fn with_longest(mut self, longest: Duration) -> Self {
        self.room.longest = longest;
        self
    }

    /// Those for whoever asks have bounds of their own, which are small.
    fn counted(&self, request: Request<Body>, caller: &Caller) -> (Option<Arc<Held>>, Request<Body>) {
        let path = request.uri().path();
        if ForWhoever::of(path).is_some() {
            return (None, request);
        }
        let shape = Place::of(path).shape();
        let (parts, body) = request.into_parts();
        let (held, body) = self.gate.memory().count(caller.holding(), shape, body);
        (Some(held), Request::from_parts(parts, body))
    }

    fn route(&mut self, request: Request<Body>, caller: &Caller) -> BoxFuture<Response<Body>, Infallible> {
        let path = request.uri().path();
        if is_of::<PurchaseServiceServer<Purchases>>(path) {
            if path.ends_with(RECORD_PURCHASE) && self.gate.is_full() && !is_observed() {
                return answered(full());
            }
            return self.purchases.call(request);
        }
        if is_of::<MemberServiceServer<Members>>(path) {
            return self.members.call(request);
        }
        if is_of::<PointsServiceServer<PointsRoom>>(path) {
            return self.points.call(request);
        }
        if is_of::<ServerServiceServer<ServerRoom>>(path) {
            return self.server.call(request);
        }
        match ForWhoever::of(path) {
            Some(call @ (ForWhoever::Check | ForWhoever::Watch)) => {
                self.room.answer((call, caller), request, |request| self.health.call(request))
            }
            Some(call @ ForWhoever::Reflection) => {
                self.room.answer((call, caller), request, |request| Box::pin(Service::call(&mut self.others, request)))
            }
            None => Box::pin(Service::call(&mut self.others, request)),
        }
    }
}

fn answered(response: Response<Body>) -> BoxFuture<Response<Body>, Infallible> {
    Box::pin(std::future::ready(Ok(response)))
}

fn is_of<S: NamedService>(path: &str) -> bool {
    path.strip_prefix('/').and_then(|rest| rest.strip_prefix(S::NAME)).is_some_and(|rest| rest.starts_with('/'))
}

const RECORD_PURCHASE: &str = "/RecordPurchase";

/// What a purchase gets that finds the queue full: the same each time, before it is read, for who is overloaded has no time to refuse.
fn full() -> Response<Body> {
    static FULL: LazyLock<http::HeaderMap> = LazyLock::new(|| Status::from(Refusal::full()).into_http::<Body>().headers().clone());
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = FULL.clone();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt as _;

    #[test]
    fn a_service_is_told_by_the_whole_of_its_name() {
        let is_purchases = is_of::<PurchaseServiceServer<Purchases>>;
        assert!(is_purchases("/loyalty.v1.PurchaseService/RecordPurchase"));
        for path in ["/loyalty.v1.PurchaseServiceX/RecordPurchase", "/loyalty.v1.PurchaseService", "loyalty.v1.PurchaseService/x", "/", ""]
        {
            assert!(!is_purchases(path), "{path}");
        }
    }

    #[test]
    fn a_purchase_that_is_refused_unread_is_told_when_to_come_back() {
        let response = full();
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.get_details_retry_info().and_then(|info| info.retry_delay).is_some_and(|delay| delay > Duration::ZERO));
        assert_eq!(status.get_details_error_info().map(|info| info.reason).as_deref(), Some("QUEUE_FULL"));
    }
}
