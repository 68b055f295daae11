//! Calls of health and reflection, which answer whoever asks: there are so many at a time, in all and from one address, and those of
//! reflection have an end. A watch of health stays for as long as its caller does. Where they need a credential, streams of both end with it.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, HeaderMap, Request};
use http_body::{Body as HttpBody, Frame};
use tokio::time::sleep;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Bytes},
    transport::server::TcpConnectInfo,
};

use super::{
    access::Caller,
    connections::{Standing, Watching},
    shares::{Share, Shares, network},
    status::Refusal,
};

/// Of a request: the name of a service, a symbol or a file.
pub const MAX_REQUEST_BYTES: usize = 8 << 10;
/// At a time, in all and from one address.
const CHECKS: (usize, usize) = (4_096, 64);
const WATCHES: (usize, usize) = (256, 64);
/// Its answers are large.
const REFLECTIONS: (usize, usize) = (64, 16);

const HEALTH: &str = "/grpc.health.v1.Health/";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// Of all its versions.
const REFLECTION: &str = "/grpc.reflection.";

/// What a call is, of those that are for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForWhoever {
    Check,
    Watch,
    Reflection,
}

impl ForWhoever {
    pub fn of(path: &str) -> Option<Self> {
        if path.starts_with(REFLECTION) {
            Some(Self::Reflection)
        } else if path == WATCH {
            Some(Self::Watch)
        } else {
            path.starts_with(HEALTH).then_some(Self::Check)
        }
    }
}

/// The room that there is for them.
#[derive(Clone)]
pub struct Room {
    checks: Arc<Shares<IpAddr>>,
    watches: Arc<Shares<IpAddr>>,
    reflections: Arc<Shares<IpAddr>>,
    /// Of reflection.
    pub longest: Duration,
}

/// A call's place.
pub struct Seat {
    _share: Share<IpAddr>,
    _watching: Option<Watching>,
}

impl Room {
    pub fn new(longest: Duration) -> Self {
        let shares = |(all, each)| Shares::new(all, each);
        Self { checks: shares(CHECKS), watches: shares(WATCHES), reflections: shares(REFLECTIONS), longest }
    }

    /// A place for a call that came with these extensions, until its answer has ended.
    pub fn seat(&self, call: ForWhoever, extensions: &Extensions) -> Result<Seat, Refusal> {
        let peer = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let shares = match call {
            ForWhoever::Check => &self.checks,
            ForWhoever::Watch => &self.watches,
            ForWhoever::Reflection => &self.reflections,
        };
        let share = shares.take(peer.map(|peer| network(peer.ip()))).ok_or_else(Refusal::too_many_open_calls)?;
        let watching = match call {
            ForWhoever::Watch => extensions.get::<Arc<Standing>>().map(Standing::watch),
            ForWhoever::Check | ForWhoever::Reflection => None,
        };
        Ok(Seat { _share: share, _watching: watching })
    }

    /// The answer, with a place.
    pub fn answer(
        &self,
        (call, caller): (ForWhoever, &Caller),
        request: Request<Body>,
        answer: impl FnOnce(Request<Body>) -> BoxFuture<http::Response<Body>, Infallible>,
    ) -> BoxFuture<http::Response<Body>, Infallible> {
        let longest = self.longest;
        let end: Option<End> = match call {
            ForWhoever::Check => None,
            ForWhoever::Watch => Some(Box::pin(caller.clone().withdrawn())),
            ForWhoever::Reflection => {
                let (withdrawn, late) = (caller.clone().withdrawn(), sleep(longest));
                Some(Box::pin(async move {
                    tokio::select! {
                        refusal = withdrawn => refusal,
                        () = late => Refusal::too_late(longest),
                    }
                }))
            }
        };
        match self.seat(call, request.extensions()) {
            Ok(seat) => {
                let (answer, seat) = (answer(request), Arc::new(seat));
                Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Seated { body, seat, end, is_over: false }))) })
            }
            Err(refusal) => Box::pin(std::future::ready(Ok(Status::from(refusal).into_http()))),
        }
    }
}

/// When an answer has to end, and with what.
type End = Pin<Box<dyn Future<Output = Refusal> + Send>>;

/// An answer that keeps its place until it has ended and all of it is sent, and ends when it has to.
struct Seated {
    body: Body,
    seat: Arc<Seat>,
    end: Option<End>,
    is_over: bool,
}

/// Bytes that keep the place as long as they wait for the connection, wherever that is.
struct Kept {
    bytes: Bytes,
    _seat: Arc<Seat>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Seated {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(end) = &mut this.end
            && let Poll::Ready(refusal) = end.as_mut().poll(cx)
        {
            this.is_over = true;
            // What asks and what answers it goes with it.
            this.body = Body::empty();
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(Status::from(refusal).add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        let keep = |bytes| Bytes::from_owner(Kept { bytes, _seat: Arc::clone(&this.seat) });
        Pin::new(&mut this.body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(keep))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tonic_types::StatusExt as _;

    fn from(address: &str) -> Extensions {
        let peer = format!("{address}:7").parse().expect("an address");
        let mut extensions = Extensions::new();
        extensions.insert(TcpConnectInfo { local_addr: None, remote_addr: Some(peer) });
        extensions
    }

    #[test]
    fn one_address_cannot_have_all_places_and_is_told_to_come_back() {
        let room = Room::new(Duration::from_secs(60));
        for (call, (all, each)) in [(ForWhoever::Check, CHECKS), (ForWhoever::Watch, WATCHES)] {
            let held: Vec<Seat> = (0..each).map(|_| room.seat(call, &from("192.0.2.1")).expect("its share")).collect();
            let status = Status::from(room.seat(call, &from("192.0.2.1")).err().expect("no more than its share"));
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
            let other = room.seat(call, &from("192.0.2.2"));
            assert!(other.is_ok() && all > each, "others have theirs");
            drop(held);
            assert!(room.seat(call, &from("192.0.2.1")).is_ok(), "places come back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_reflection_ends_and_gives_its_place_back_and_a_watch_does_neither() {
        let room = Room::new(Duration::from_secs(60));
        let (standing, mut extensions) = (Arc::new(Standing::default()), from("192.0.2.1"));
        extensions.insert(Arc::clone(&standing));
        let open = |call| {
            let mut request = Request::new(Body::empty());
            *request.extensions_mut() = extensions.clone();
            // An answer that never comes.
            let never = http_body_util::StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
            room.answer((call, &Caller::anyone()), request, |_| Box::pin(async { Ok(http::Response::new(Body::new(never))) }))
        };
        let Ok(reflection) = open(ForWhoever::Reflection).await;
        let Ok(watch) = open(ForWhoever::Watch).await;
        let begun = tokio::time::Instant::now();
        let trailers = reflection.into_body().collect().await.expect("it ends").trailers().cloned().expect("with a status");
        let status = Status::from_header_map(&trailers).expect("a status");
        assert_eq!((status.code(), begun.elapsed().as_secs()), (tonic::Code::DeadlineExceeded, 60));
        let held: Vec<Seat> = (0..REFLECTIONS.1).map(|_| room.seat(ForWhoever::Reflection, &extensions).expect("all are free")).collect();
        let mut body = watch.into_body();
        assert!(tokio::time::timeout(Duration::from_secs(86_400), body.frame()).await.is_err(), "it goes on");
        drop((held, body));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_sent_yet_keeps_its_place() {
        let (room, extensions) = (Room::new(Duration::from_secs(60)), from("192.0.2.1"));
        let mut unsent = Vec::new();
        for _ in 0..REFLECTIONS.1 {
            let mut request = Request::new(Body::empty());
            *request.extensions_mut() = extensions.clone();
            let large = http_body_util::Full::new(Bytes::from(vec![7; 100_000]));
            let Ok(answer) = room
                .answer((ForWhoever::Reflection, &Caller::anyone()), request, |_| {
                    Box::pin(async { Ok(http::Response::new(Body::new(large))) })
                })
                .await;
            let bytes = answer.into_body().collect().await.expect("it is whole").to_bytes();
            assert_eq!(bytes, vec![7; 100_000]);
            unsent.push(bytes);
        }
        assert!(room.seat(ForWhoever::Reflection, &extensions).is_err(), "sixteen wait for the connection");
        unsent.clear();
        assert!(room.seat(ForWhoever::Reflection, &extensions).is_ok());
    }

    #[test]
    fn calls_for_whoever_asks_are_known_by_their_path() {
        for (path, call) in [
            ("/grpc.health.v1.Health/Check", Some(ForWhoever::Check)),
            ("/grpc.health.v1.Health/Watch", Some(ForWhoever::Watch)),
            ("/grpc.health.v1.Health/x", Some(ForWhoever::Check)),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Some(ForWhoever::Reflection)),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Some(ForWhoever::Reflection)),
            ("/loyalty.v1.MemberService/GetMember", None),
            ("/grpc.healthy/Check", None),
        ] {
            assert_eq!(ForWhoever::of(path), call, "{path}");
        }
    }
}
