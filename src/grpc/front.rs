//! What every call passes first, before `services`: callers that are browsers are understood if they are let in, who is at
//! the other end is made known, and the call gets its deadline. Who calls is not judged here; only what may be a page's is kept from
//! the services that no page has business with.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_TYPE, ORIGIN},
};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::Layer as _;
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use super::{Refusal, connections::Peer};

/// How long a browser remembers what it may send.
const PREFLIGHT_HOLDS: Duration = Duration::from_secs(3_600);
/// The metadata that callers send, and what they read of an answer.
const SENT: [&str; 8] =
    ["authorization", "content-type", "grpc-timeout", "x-grpc-web", "x-user-agent", "traceparent", "tracestate", "baggage"];
const READ: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
/// Calls that may go through all there is. Who makes them says how long that may take.
const UNBOUNDED: [&str; 3] = ["/loyalty.v1.AdminService/", "/loyalty.v1.SandboxService/", "/loyalty.v1.ProgramService/PublishProgram"];

/// Before tonic's own look at the caller's deadline, which would say CANCELLED and nothing more: a tick of the timer.
const HEAD_START: Duration = Duration::from_millis(1);

/// Services that no page has business with, whoever looks at it: what they give away is the ledger as a whole.
const NOT_BY_BROWSER: [&str; 2] = ["/loyalty.v1.AdminService/", "/loyalty.v1.SandboxService/"];
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request that a browser may have sent.
#[derive(Clone, Copy)]
struct ByBrowser;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Pages of which origins may read answers.
#[derive(Debug, Clone)]
pub enum Origins {
    All,
    These(Vec<HeaderValue>),
}

/// Services as they are served.
#[derive(Clone)]
pub enum Front<S> {
    Grpc(Timed<S>),
    Web(Box<Cors<GrpcWebService<Timed<S>>>>),
}

/// Services whose calls have an end.
#[derive(Clone)]
pub struct Timed<S> {
    services: S,
    longest: Duration,
}

/// How long a call may take, as whoever counts it is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// From its head until the answer begins.
    pub to_answer: Duration,
    /// Until it has ended, as the caller says, who gives it up then.
    pub to_end: Option<Duration>,
}

impl<S: Called> Front<S> {
    /// Over HTTP/2 alone, unless browsers may call.
    pub fn new(services: S, longest: Duration, web: Option<Origins>) -> Self {
        let timed = Timed { services, longest };
        match web {
            None => Self::Grpc(timed),
            Some(origins) => Self::Web(Box::new(cors(origins).layer(GrpcWebLayer::new().layer(timed)))),
        }
    }
}

/// No answer depends on cookies, and browsers are told to send none.
fn cors(origins: Origins) -> CorsLayer {
    let origins = match origins {
        Origins::All => AllowOrigin::any(),
        Origins::These(origins) => AllowOrigin::list(origins),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(SENT.map(HeaderName::from_static))
        .expose_headers(READ.map(HeaderName::from_static))
        .max_age(PREFLIGHT_HOLDS)
}

/// What can be served.
pub trait Called: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static> + Clone {}

impl<S> Called for S where S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static> + Clone {}

impl<S: Called> Service<Request<Body>> for Timed<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(why) = no_call(&request) {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = why;
            return Box::pin(std::future::ready(Ok(answer)));
        }
        if let Some(peer) = request.extensions_mut().remove::<Peer>() {
            peer.introduce(request.extensions_mut());
        }
        if request.extensions().get::<ByBrowser>().is_some() && NOT_BY_BROWSER.iter().any(|path| request.uri().path().starts_with(path)) {
            return Box::pin(std::future::ready(Ok(Status::from(Refusal::not_by_grpc_web()).into_http())));
        }
        let Some(longest) = longest(&request, self.longest) else { return Box::pin(self.services.call(request)) };
        let to_end = request.headers().get(TIMEOUT).and_then(timeout);
        // What counts the call begins after its end is set here, and may not find that it was cut short before its time.
        request.extensions_mut().insert(Deadline { to_answer: longest.saturating_sub(HEAD_START * 2), to_end });
        let end = tokio::time::sleep(longest.saturating_sub(HEAD_START));
        let answer = self.services.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                // Of a stream the answer has begun when it is open: it goes on for as long as it is read.
                answer = answer => answer,
                () = end => Ok(Status::from(Refusal::too_late(longest)).into_http()),
            }
        })
    }
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Called + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self {
            Self::Grpc(timed) => timed.poll_ready(cx),
            Self::Web(web) => Service::<Request<Body>>::poll_ready(&mut **web, cx),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self {
            Self::Grpc(timed) => timed.call(request),
            Self::Web(web) => {
                if may_be_by_browser(&request) {
                    request.extensions_mut().insert(ByBrowser);
                }
                Box::pin(web.call(request))
            }
        }
    }
}

/// gRPC-Web, or anything else that a page can make a browser send: over HTTP/1.1, or with what browsers add of themselves.
fn may_be_by_browser(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let is_web = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"application/grpc-web"));
    is_web || request.version() < Version::HTTP_2 || headers.contains_key(ORIGIN) || headers.contains_key(FETCH_SITE)
}

/// What is no call of gRPC is not answered as one: a browser lets every page send what a form can send, without asking and with the
/// certificate that the browser has. Of the content type of gRPC it has to ask first.
fn no_call(request: &Request<Body>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    match kind.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) => None,
        Some(_) | None => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// What the caller allows, or the service if that is shorter.
fn longest(request: &Request<Body>, bound: Duration) -> Option<Duration> {
    let asked = request.headers().get(TIMEOUT).and_then(timeout);
    let bound = if UNBOUNDED.iter().any(|path| request.uri().path().starts_with(path)) { None } else { Some(bound) };
    asked.into_iter().chain(bound).min()
}

/// As in the protocol of gRPC over HTTP/2: eight digits at most and a unit. What is written otherwise is no deadline.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(timeout: Option<&str>, path: &str) -> Option<Duration> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().expect("a path");
        if let Some(timeout) = timeout {
            request.headers_mut().insert(TIMEOUT, timeout.parse().expect("a header"));
        }
        longest(&request, Duration::from_secs(60))
    }

    #[test]
    fn the_shorter_of_the_two_deadlines_holds() {
        let usual = "/loyalty.v1.PurchaseService/RecordPurchase";
        let seconds = Duration::from_secs;
        assert_eq!(asks(None, usual), Some(seconds(60)));
        assert_eq!(asks(Some("5S"), usual), Some(seconds(5)));
        assert_eq!(asks(Some("99999999H"), usual), Some(seconds(60)));
        assert_eq!(asks(Some("1500m"), usual), Some(Duration::from_millis(1_500)));
        assert_eq!(asks(Some("2M"), "/loyalty.v1.SandboxService/AdvanceClock"), Some(seconds(120)));
        assert_eq!(asks(None, "/loyalty.v1.SandboxService/AdvanceClock"), None);
        for wrong in ["", "S", "5", "5x", "-5S", "999999999S", "1.5S", "5 S"] {
            assert_eq!(asks(Some(wrong), usual), Some(seconds(60)), "{wrong}");
        }
    }
}
