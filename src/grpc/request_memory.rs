//! What messages of requests take in memory, from the first byte that is read until the call is answered: bounded for all callers together,
//! and for each principal, so that none can take the room of the others. A message is held whole before it can be decoded, so that without
//! a bound streams times connections times messages would be.
//!
//! What has not been read is not counted here: HTTP/2's windows bound it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body, codegen::Bytes};

use super::status::Refusal;

/// Unless something else is said.
const USUAL: usize = 256 << 20;
/// One principal has half of what there is.
const SHARES: usize = 2;
/// Before a message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// The memory that there is for messages of requests, and what is taken of it.
pub struct RequestMemory {
    bound: usize,
    taken: AtomicUsize,
    refused: AtomicU64,
    streamed: Arc<Semaphore>,
}

/// What a principal has taken.
#[derive(Debug, Default)]
pub struct Holding(AtomicUsize);

impl Default for RequestMemory {
    fn default() -> Self {
        Self::of(USUAL)
    }
}

impl RequestMemory {
    pub fn of(bound: usize) -> Self {
        let streamed = Arc::new(Semaphore::new((bound / STREAMED_BYTES).max(STREAMED_AT_ONCE)));
        Self { bound, taken: AtomicUsize::new(0), refused: AtomicU64::new(0), streamed }
    }

    pub fn bound(&self) -> usize {
        self.bound
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Calls that found no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a request of such a caller. `Shape::Stream`: what of it has been decoded is given back as the next message is waited for.
    pub(super) fn count(self: &Arc<Self>, of: Option<Arc<Holding>>, shape: Shape, body: Body) -> (Arc<Held>, Body) {
        let held = Arc::new(Held { memory: Arc::clone(self), of, bytes: AtomicUsize::new(0) });
        let messages = match shape {
            Shape::Unary => None,
            Shape::Stream => Some(Messages::default()),
        };
        (Arc::clone(&held), Body::new(Counted { body, held, messages }))
    }

    /// Room for a purchase of a stream that was read and waits to be decided: there is as much of it again as of all that is being read. Who
    /// waits holds nothing else that others wait for, and what is decided gives its room back, whether or not the answer is taken.
    pub(super) async fn streamed(&self, places: u32) -> OwnedSemaphorePermit {
        Arc::clone(&self.streamed).acquire_many_owned(places).await.expect("the semaphore is never closed")
    }
}

/// What one place of a stream's purchases stands for, and how many one purchase takes at most.
pub(super) const STREAMED_BYTES: usize = 2_048;
pub(super) const STREAMED_AT_ONCE: usize = 1_024;

/// How many messages a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Unary,
    Stream,
}

/// What one request has taken; given back when it is dropped.
pub(super) struct Held {
    memory: Arc<RequestMemory>,
    of: Option<Arc<Holding>>,
    bytes: AtomicUsize,
}

impl Held {
    fn take(&self, bytes: usize) -> Result<(), Refusal> {
        let in_all = self.memory.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let of_one = self.of.as_ref().map_or(0, |of| of.0.fetch_add(bytes, Ordering::Relaxed) + bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if in_all <= self.memory.bound && of_one <= self.memory.bound / SHARES {
            return Ok(());
        }
        self.memory.refused.fetch_add(1, Ordering::Relaxed);
        // At once, and not only when the refusal has been sent: others need it.
        self.give_back(self.bytes.load(Ordering::Relaxed));
        Err(Refusal::request_memory_full())
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(of) = &self.of {
            of.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.memory.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes.load(Ordering::Relaxed));
    }
}

/// A request's body, whose bytes are counted as they are read.
struct Counted {
    body: Body,
    held: Arc<Held>,
    /// `None`: there is one, which is held until it is answered.
    messages: Option<Messages>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // Who asks for more has decoded all that was whole.
        if let Some(decoded) = this.messages.as_mut().map(Messages::decoded).filter(|decoded| *decoded > 0) {
            this.held.give_back(decoded);
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            if let Err(refusal) = this.held.take(data.len()) {
                // What else the connection has of it goes, too.
                this.body = Body::empty();
                this.messages = None;
                return Poll::Ready(Some(Err(refusal.into())));
            }
            if let Some(messages) = &mut this.messages {
                messages.read(data);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where messages end in a body.
#[derive(Debug, Default)]
struct Messages {
    /// Bytes of those that are whole.
    whole: usize,
    /// Bytes of the one that is not: its head, whose last four are the length of what follows.
    head: [u8; HEAD_BYTES],
    head_read: usize,
    rest_read: usize,
}

impl Messages {
    fn read(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let left = if self.head_read < HEAD_BYTES { HEAD_BYTES - self.head_read } else { self.length() - self.rest_read };
            let (now, then) = data.split_at(left.min(data.len()));
            if self.head_read < HEAD_BYTES {
                self.head[self.head_read..self.head_read + now.len()].copy_from_slice(now);
                self.head_read += now.len();
            } else {
                self.rest_read += now.len();
            }
            data = then;
            if self.head_read == HEAD_BYTES && self.rest_read == self.length() {
                self.whole += HEAD_BYTES + self.rest_read;
                (self.head_read, self.rest_read) = (0, 0);
            }
        }
    }

    fn length(&self) -> usize {
        let [_, length @ ..] = self.head;
        u32::from_be_bytes(length) as usize
    }

    /// Bytes of messages that have become whole since this was asked last.
    fn decoded(&mut self) -> usize {
        std::mem::take(&mut self.whole)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;
    use tokio_stream::iter;

    use super::*;

    /// As it comes from a connection: in frames of these bytes.
    fn body(frames: &[&[u8]]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, Status>> = frames.iter().map(|data| Ok(Frame::data(Bytes::copy_from_slice(data)))).collect();
        Body::new(StreamBody::new(iter(frames)))
    }

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("a small message").to_be_bytes();
        [&[0], &length[..], &vec![7; bytes]].concat()
    }

    fn memory(bound: usize) -> Arc<RequestMemory> {
        Arc::new(RequestMemory::of(bound))
    }

    #[tokio::test]
    async fn a_request_is_counted_until_it_is_answered() {
        let memory = memory(1_000);
        let (held, mut counted) = memory.count(None, Shape::Unary, body(&[&message(95)[..60], &message(95)[60..]]));
        assert_eq!(memory.taken(), 0, "nothing is read");
        counted.frame().await.expect("a frame").expect("it has room");
        assert_eq!(memory.taken(), 60);
        counted.frame().await.expect("a frame").expect("it has room");
        assert!(counted.frame().await.is_none());
        drop(counted);
        assert_eq!(memory.taken(), 100, "it is decoded, and not answered");
        drop(held);
        assert_eq!((memory.taken(), memory.refused()), (0, 0));
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_once_and_gives_back_what_it_had() {
        let memory = memory(1_000);
        let (_held, mut other) = memory.count(None, Shape::Unary, body(&[&message(495)]));
        other.frame().await.expect("a frame").expect("it has room");
        for shape in [Shape::Unary, Shape::Stream] {
            let (_held, mut counted) = memory.count(None, shape, body(&[&message(995)[..400], &message(995)[400..600], &[7; 400]]));
            counted.frame().await.expect("a frame").expect("it has room");
            assert_eq!(memory.taken(), 900);
            let status = counted.frame().await.expect("a frame").expect_err("there is none left");
            assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
            assert_eq!(memory.taken(), 500);
            assert!(counted.frame().await.is_none(), "the rest is thrown away");
        }
        assert_eq!(memory.refused(), 2);
    }

    #[tokio::test]
    async fn one_principal_has_half_and_others_have_theirs() {
        let memory = memory(1_000);
        let (till, shop) = (Arc::new(Holding::default()), Arc::new(Holding::default()));
        let send = async |of: &Arc<Holding>, bytes: usize| {
            let (held, mut counted) = memory.count(Some(Arc::clone(of)), Shape::Unary, body(&[&message(bytes - HEAD_BYTES)]));
            counted.frame().await.expect("a frame").map(|_| held)
        };
        let first = send(&till, 500).await.expect("it is half");
        assert!(send(&till, 10).await.is_err(), "one more is more than half");
        let second = send(&shop, 500).await.expect("the other half is left");
        assert!(send(&shop, 10).await.is_err());
        drop(first);
        let third = send(&till, 500).await.expect("it has its half again");
        drop((second, third));
        assert_eq!((memory.taken(), till.0.load(Ordering::Relaxed), shop.0.load(Ordering::Relaxed)), (0, 0, 0));
    }

    #[tokio::test]
    async fn of_a_stream_what_is_decoded_is_given_back() {
        let memory = memory(1_000);
        let all = [message(300), message(0), message(200)].concat();
        let (held, mut counted) = memory.count(None, Shape::Stream, body(&[&all[..303], &all[303..400], &all[400..]]));
        for taken in [303, 400, all.len() - 310] {
            counted.frame().await.expect("a frame").expect("it has room");
            assert_eq!(memory.taken(), taken);
        }
        assert!(counted.frame().await.is_none());
        assert_eq!(memory.taken(), 0, "all is decoded");
        drop((held, counted));
        assert_eq!(memory.taken(), 0);
    }

    proptest! {
        /// However they are cut: what is not given back is what is not whole.
        #[test]
        fn messages_end_where_their_heads_say(sizes in prop::collection::vec(0..40_usize, 0..12), cuts in prop::collection::vec(1..30_usize, 1..60)) {
            let all: Vec<u8> = sizes.iter().flat_map(|size| message(*size)).collect();
            let ends: Vec<usize> = sizes.iter().scan(0, |end, size| { *end += HEAD_BYTES + size; Some(*end) }).collect();
            let (mut messages, mut read, mut whole) = (Messages::default(), 0, 0);
            for cut in cuts {
                let next = (read + cut).min(all.len());
                messages.read(&all[read..next]);
                read = next;
                whole += messages.decoded();
                prop_assert_eq!(whole, ends.iter().copied().filter(|end| *end <= read).max().unwrap_or(0));
            }
        }
    }
}
