//! What messages of requests take in memory, from their first bytes until the call is answered: bounded for all callers together, and for each
//! principal, so that none can take the room of the others. A message is held whole before it can be decoded, so that without a bound streams
//! times connections times messages would be. It counts with the length that its head says, for as much is set aside for it then, and it is
//! refused before it is sent if there is no room. What is small has room left when what is large has none.
//!
//! What has not been read is not counted here: HTTP/2's windows bound it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::{Status, body::Body, codegen::Bytes};

use super::status::Refusal;

/// Unless something else is said.
const USUAL: Bounds = Bounds { bytes: 256 << 20, message: 4 << 20, patience: Duration::from_secs(60) };
/// One principal has half of what there is.
const SHARES: usize = 2;
/// A call that has more is large, and leaves an eighth to those that have not.
const SMALL_BYTES: usize = 64 << 10;
const FOR_SMALL: usize = 8;
/// Before a message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// What one place of a stream's purchases stands for, and how many one stream has at most.
pub(super) const STREAMED_BYTES: usize = 2_048;
pub(super) const STREAMED_AT_ONCE: usize = 1_024;

/// What there is for messages of requests.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For all together.
    pub bytes: usize,
    /// What is larger is refused by its length, and nothing is set aside for it.
    pub message: usize,
    /// From a message's first byte to its last, also of those streams and calls that may go on for ever.
    pub patience: Duration,
}

/// The memory that there is for messages of requests, and what is taken of it.
pub struct RequestMemory {
    bounds: Bounds,
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
    pub fn of(bounds: Bounds) -> Self {
        let streamed = Arc::new(Semaphore::new((bounds.bytes / STREAMED_BYTES).max(STREAMED_AT_ONCE)));
        Self { bounds, taken: AtomicUsize::new(0), refused: AtomicU64::new(0), streamed }
    }

    pub fn bound(&self) -> usize {
        self.bounds.bytes
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Calls that found no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a request of such a caller, until both what is returned are dropped.
    pub(super) fn count(self: &Arc<Self>, of: Option<Arc<Holding>>, shape: Shape, body: Body) -> (Arc<Held>, Body) {
        let held = Arc::new(Held { memory: Arc::clone(self), of, bytes: AtomicUsize::new(0) });
        let counted = Counted { body, held: Arc::clone(&held), shape, messages: Messages::default(), late: None };
        (held, Body::new(counted))
    }

    /// Room for a purchase of a stream that was read and waits to be decided: there is as much of it again as of all that is being read. Who
    /// waits holds nothing else that others wait for, and what is decided gives its room back, whether or not the answer is taken.
    pub(super) async fn streamed(&self, places: u32) -> OwnedSemaphorePermit {
        Arc::clone(&self.streamed).acquire_many_owned(places).await.expect("the semaphore is never closed")
    }
}

/// How many messages a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One, held until it is answered.
    Unary,
    /// What is decoded is given back as the next message is waited for.
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
        let of_call = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let room = |bound: usize| if of_call > SMALL_BYTES { bound - bound / FOR_SMALL } else { bound };
        let bound = self.memory.bounds.bytes;
        if in_all <= room(bound) && of_one <= room(bound / SHARES) {
            return Ok(());
        }
        self.memory.refused.fetch_add(1, Ordering::Relaxed);
        // At once, and not only when the refusal has been sent: others need it.
        self.give_back(of_call);
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

/// A request's body, whose messages are counted as they begin.
struct Counted {
    body: Body,
    held: Arc<Held>,
    shape: Shape,
    messages: Messages,
    /// When the message that has begun, and of which more is waited for, has to be whole.
    late: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// Between two messages of a stream for ever, within one not.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        if !self.messages.is_within() {
            return Poll::Pending;
        }
        let patience = self.held.memory.bounds.patience;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(patience)));
        late.as_mut().poll(cx).map(|()| Refusal::message_too_late(patience))
    }

    fn end(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // What else the connection has of it goes, too.
        self.body = Body::empty();
        self.messages = Messages::default();
        Poll::Ready(Some(Err(refusal.into())))
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // Who asks for more has decoded all that was whole.
        let decoded = this.messages.decoded();
        if this.shape == Shape::Stream && decoded > 0 {
            this.held.give_back(decoded);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return match this.wait(cx) {
                Poll::Ready(refusal) => this.end(refusal),
                Poll::Pending => Poll::Pending,
            };
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let begun = this.messages.read(data, this.held.memory.bounds.message);
            if this.messages.has_ended() {
                this.late = None;
            }
            if begun > 0
                && let Err(refusal) = this.held.take(begun)
            {
                return this.end(refusal);
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

/// Where messages begin and end in a body.
#[derive(Debug, Default)]
struct Messages {
    /// Bytes of those that are whole.
    whole: usize,
    /// The head of the one that is not, whose last four bytes are the length of what follows.
    head: [u8; HEAD_BYTES],
    head_read: usize,
    rest_read: usize,
}

impl Messages {
    /// Bytes of the messages whose heads are in it.
    fn read(&mut self, mut data: &[u8], largest: usize) -> usize {
        let mut begun = 0;
        while !data.is_empty() {
            let is_head = self.head_read < HEAD_BYTES;
            let left = if is_head { HEAD_BYTES - self.head_read } else { self.length() - self.rest_read };
            let (now, then) = data.split_at(left.min(data.len()));
            if is_head {
                self.head[self.head_read..self.head_read + now.len()].copy_from_slice(now);
                self.head_read += now.len();
                if self.head_read == HEAD_BYTES {
                    begun += self.bytes(largest);
                }
            } else {
                self.rest_read += now.len();
            }
            data = then;
            if self.head_read == HEAD_BYTES && self.rest_read == self.length() {
                self.whole += self.bytes(largest);
                (self.head_read, self.rest_read) = (0, 0);
            }
        }
        begun
    }

    fn length(&self) -> usize {
        let [_, length @ ..] = self.head;
        u32::from_be_bytes(length) as usize
    }

    /// What is set aside for a message with this head.
    fn bytes(&self, largest: usize) -> usize {
        let length = self.length();
        if length > largest { 0 } else { HEAD_BYTES + length }
    }

    /// Some of a message is there, and not all.
    fn is_within(&self) -> bool {
        self.head_read > 0
    }

    /// Bytes of messages that have become whole since this was asked last.
    fn decoded(&mut self) -> usize {
        std::mem::take(&mut self.whole)
    }

    /// One has become whole since that was asked.
    fn has_ended(&self) -> bool {
        self.whole > 0
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;
    use tokio_stream::{StreamExt as _, iter, pending};

    use super::*;

    /// As it comes from a connection: in these frames, and then nothing for ever.
    fn body(frames: &[&[u8]]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, Status>> = frames.iter().map(|data| Ok(Frame::data(Bytes::copy_from_slice(data)))).collect();
        Body::new(StreamBody::new(iter(frames).chain(pending())))
    }

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes - HEAD_BYTES).expect("a small message").to_be_bytes();
        [&[0], &length[..], &vec![7; bytes - HEAD_BYTES]].concat()
    }

    const PATIENCE: Duration = Duration::from_secs(60);
    const KIB: usize = 1_024;

    /// Of 800 KiB, of which what is large leaves 100.
    fn memory() -> Arc<RequestMemory> {
        Arc::new(RequestMemory::of(Bounds { bytes: 800 * KIB, message: 350 * KIB, patience: PATIENCE }))
    }

    async fn next(body: &mut Body) -> Result<Frame<Bytes>, Status> {
        body.frame().await.expect("a frame")
    }

    #[tokio::test]
    async fn a_request_is_counted_from_its_head_until_it_is_answered() {
        let memory = memory();
        let all = message(100);
        let (held, mut counted) = memory.count(None, Shape::Unary, body(&[&all[..3], &all[3..60], &all[60..]]));
        for taken in [0, 100, 100] {
            next(&mut counted).await.expect("it has room");
            assert_eq!(memory.taken(), taken);
        }
        assert!(tokio::time::timeout(Duration::ZERO, counted.frame()).await.is_err());
        drop(counted);
        assert_eq!(memory.taken(), 100, "it is decoded, and not answered");
        drop(held);
        assert_eq!((memory.taken(), memory.refused()), (0, 0));
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_by_its_head_and_gives_back_what_it_had() {
        let memory = memory();
        let (_held, mut other) = memory.count(None, Shape::Unary, body(&[&message(350 * KIB)[..HEAD_BYTES]]));
        next(&mut other).await.expect("it has room");
        for shape in [Shape::Unary, Shape::Stream] {
            let frames = [&message(200 * KIB)[..], &message(300 * KIB), &message(200 * KIB)].concat();
            let (held, mut counted) = memory.count(None, shape, body(&[&frames[..7], &frames[7..], &[7; 10]]));
            next(&mut counted).await.expect("it has room");
            assert_eq!(memory.taken(), 550 * KIB);
            let status = next(&mut counted).await.expect_err("there is none left");
            assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
            assert_eq!(memory.taken(), 350 * KIB);
            assert!(counted.frame().await.is_none(), "the rest is thrown away");
            drop((held, counted));
            assert_eq!(memory.taken(), 350 * KIB);
        }
        assert_eq!(memory.refused(), 2);
    }

    #[tokio::test]
    async fn what_is_small_has_room_when_what_is_large_has_none() {
        let memory = memory();
        let begin = async |bytes: usize| {
            let (held, mut counted) = memory.count(None, Shape::Unary, body(&[&message(bytes)[..HEAD_BYTES]]));
            next(&mut counted).await.map(|_| (held, counted))
        };
        let _large = (begin(350 * KIB).await.expect("it has room"), begin(350 * KIB).await.expect("it has room"));
        assert!(begin(64 * KIB + 1).await.is_err());
        let _small = begin(64 * KIB).await.expect("it has room");
        assert!(begin(36 * KIB + 1).await.is_err(), "there is no more of that either");
    }

    #[tokio::test]
    async fn one_principal_has_half_and_others_have_theirs() {
        let memory = memory();
        let (till, shop) = (Arc::new(Holding::default()), Arc::new(Holding::default()));
        let send = async |of: &Arc<Holding>, bytes: usize| {
            let (held, mut counted) = memory.count(Some(Arc::clone(of)), Shape::Unary, body(&[&message(bytes)]));
            next(&mut counted).await.map(|_| held)
        };
        let first = send(&till, 350 * KIB).await.expect("it is half, but for what is small");
        assert!(send(&till, 65 * KIB).await.is_err());
        let small = send(&till, 50 * KIB).await.expect("it is half");
        assert!(send(&till, 10).await.is_err(), "one more is more than half");
        let second = send(&shop, 300 * KIB).await.expect("others have theirs");
        drop(first);
        let third = send(&till, 300 * KIB).await.expect("it has its half again");
        drop((small, second, third));
        assert_eq!((memory.taken(), till.0.load(Ordering::Relaxed), shop.0.load(Ordering::Relaxed)), (0, 0, 0));
    }

    #[tokio::test]
    async fn of_a_stream_what_is_decoded_is_given_back() {
        let memory = memory();
        let all = [message(305), message(HEAD_BYTES), message(205)].concat();
        let (held, mut counted) = memory.count(None, Shape::Stream, body(&[&all[..303], &all[303..400], &all[400..]]));
        for taken in [305, 305 + HEAD_BYTES + 205, 205] {
            next(&mut counted).await.expect("it has room");
            assert_eq!(memory.taken(), taken);
        }
        assert!(tokio::time::timeout(Duration::ZERO, counted.frame()).await.is_err());
        assert_eq!(memory.taken(), 0, "all is decoded");
        drop((held, counted));
        assert_eq!(memory.taken(), 0);
    }

    #[tokio::test]
    async fn for_a_message_that_is_too_large_nothing_is_set_aside() {
        let memory = memory();
        let (_held, mut counted) = memory.count(None, Shape::Unary, body(&[&message(350 * KIB + HEAD_BYTES + 1)]));
        next(&mut counted).await.expect("who decodes it refuses it by its length");
        assert_eq!((memory.taken(), memory.refused()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_has_begun_has_to_end_and_a_stream_has_not() {
        for (shape, sent) in [(Shape::Stream, &message(100)[..99]), (Shape::Unary, &message(100)[..3])] {
            let memory = memory();
            let (held, mut counted) = memory.count(None, shape, body(&[&message(70), sent]));
            let begun = tokio::time::Instant::now();
            next(&mut counted).await.expect("it has room");
            next(&mut counted).await.expect("it has room");
            let status = next(&mut counted).await.expect_err("nothing more comes");
            assert_eq!((status.code(), begun.elapsed()), (tonic::Code::DeadlineExceeded, PATIENCE), "{status:?}");
            drop((held, counted));
            assert_eq!(memory.taken(), 0);
        }
        let memory = memory();
        let (_held, mut counted) = memory.count(None, Shape::Stream, body(&[&message(100)]));
        next(&mut counted).await.expect("it has room");
        assert!(tokio::time::timeout(PATIENCE * 100, counted.frame()).await.is_err(), "it goes on");
    }

    proptest! {
        /// However they are cut: a message counts from its head to its last byte.
        #[test]
        fn messages_begin_and_end_where_their_heads_say(
            sizes in prop::collection::vec(HEAD_BYTES..40, 0..12),
            cuts in prop::collection::vec(1..30_usize, 1..60),
        ) {
            let all: Vec<u8> = sizes.iter().flat_map(|size| message(*size)).collect();
            let (mut messages, mut read, mut begun, mut whole) = (Messages::default(), 0, 0, 0);
            for cut in cuts {
                let next = (read + cut).min(all.len());
                begun += messages.read(&all[read..next], KIB);
                read = next;
                whole += messages.decoded();
                let starts = sizes.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size)));
                let (mut have_begun, mut are_whole) = (0, 0);
                for (start, size) in starts.zip(&sizes) {
                    have_begun += if read >= start + HEAD_BYTES { *size } else { 0 };
                    are_whole += if read >= start + size { *size } else { 0 };
                }
                prop_assert_eq!((begun, whole), (have_begun, are_whole));
                prop_assert_eq!(messages.is_within(), read > whole);
            }
        }
    }
}
