//! A connection that gathers what is written before it hands it to the system. Every answer wakes the task of its connection, which would
//! send each one by itself: a system call and a packet an answer. Here that task steps back once, behind the answers that are ready beside
//! it, and sends them together.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    sync::oneshot,
};
use tonic::transport::server::Connected;

use super::valve::{Open, Valve};

/// Bytes that wait at most; who writes more waits until they are sent.
const ROOM: usize = 64 << 10;
/// So many are sent without stepping back: there is enough to make the system call worth while.
const ENOUGH: usize = 8 << 10;
/// Who sends more bytes than that within [`WINDOW`] sends much: a till with a call every ten milliseconds does not.
const LITTLE: usize = 4 << 10;
const WINDOW: Duration = Duration::from_millis(100);

pub struct Gathering<T> {
    connection: T,
    waiting: Vec<u8>,
    /// Of those that wait: handed to the system already.
    sent: usize,
    /// Since something waits, others had their turn.
    stepped_back: bool,
    reading: Reading,
}

/// How a connection is read while the service has too much to do.
#[derive(Default)]
struct Reading {
    /// None: always at once.
    valve: Option<Arc<Valve>>,
    /// It is counted.
    _open: Option<Open>,
    turn: Option<oneshot::Receiver<usize>>,
    sent: Sent,
}

/// What came of late.
#[derive(Default)]
struct Sent {
    bytes: usize,
    since: Option<Instant>,
    /// Everything that came was read, at least once since then.
    was_all: bool,
}

impl<T> Gathering<T> {
    pub fn new(connection: T) -> Self {
        Self { connection, waiting: Vec::new(), sent: 0, stepped_back: false, reading: Reading::default() }
    }

    /// Read in turn with others while the service has too much to do.
    pub fn with_valve(self, valve: &Arc<Valve>) -> Self {
        Self { reading: Reading { valve: Some(Arc::clone(valve)), _open: Some(valve.opened()), ..Reading::default() }, ..self }
    }
}

impl Reading {
    /// So many bytes may be read; None: as many as there are.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.sent.is_much(Instant::now())
            && self.turn.is_none()
            && let Some(valve) = &self.valve
        {
            self.turn = valve.turn();
        }
        let Some(turn) = &mut self.turn else { return Poll::Ready(None) };
        // Where nobody gives turns any more, none is waited for.
        let allowed = ready!(Pin::new(turn).poll(cx)).ok();
        self.turn = None;
        Poll::Ready(allowed)
    }

    fn has_read(&mut self, bytes: usize, allowed: Option<usize>, is_all: bool) {
        if let Some(valve) = &self.valve {
            valve.has_read(bytes, allowed);
            self.sent.note(bytes, is_all, Instant::now());
        }
    }
}

impl Sent {
    /// Until it was silent.
    fn is_much(&self, now: Instant) -> bool {
        self.bytes > LITTLE && !self.is_over(now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.was_all && self.since.is_some_and(|since| now.duration_since(since) >= WINDOW)
    }

    /// A connection on which something always waits stays one that sends much, however slowly it is read.
    fn note(&mut self, bytes: usize, is_all: bool, now: Instant) {
        self.was_all |= is_all;
        if self.since.is_none() || self.is_over(now) {
            *self = Self { bytes: 0, since: Some(now), was_all: false };
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl<T: AsyncWrite + Unpin> Gathering<T> {
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            match ready!(Pin::new(&mut self.connection).poll_write(cx, &self.waiting[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.waiting.clear();
        // A connection that is idle keeps no room to speak of.
        self.waiting.shrink_to(ENOUGH);
        self.sent = 0;
        self.stepped_back = false;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= ROOM {
            ready!(self.send(cx))?;
        }
        let taken = bytes.len().min(ROOM - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// Everything is copied: who writes may as well put small pieces together first.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let first = self.sent == 0 && !self.stepped_back;
        if first && (1..ENOUGH).contains(&self.waiting.len()) {
            self.stepped_back = true;
            // Woken while it runs, a task goes behind those that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.send(cx))?;
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let allowed = ready!(self.reading.poll_turn(cx));
        let before = buffer.filled().len();
        let read = match allowed {
            None => Pin::new(&mut self.connection).poll_read(cx, buffer),
            Some(sip) => Pin::new(&mut (&mut self.connection).take(sip as u64)).poll_read(cx, buffer),
        };
        let bytes = buffer.filled().len() - before;
        self.reading.has_read(bytes, allowed, read.is_pending());
        read
    }
}

impl<T: Connected> Connected for Gathering<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> T::ConnectInfo {
        self.connection.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::Gate;
    use std::task::Waker;
    use tokio::io::{AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn answers_that_are_ready_together_are_sent_together() {
        let (near, mut far) = duplex(1 << 20);
        let mut near = Gathering::new(near);
        near.write_all(b"one").await.expect("there is room");
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut near).poll_flush(&mut context).is_pending(), "others have their turn first");
        near.write_all(b", two").await.expect("there is room");
        near.flush().await.expect("it is sent");
        let mut read = [0; 16];
        assert_eq!(far.read(&mut read).await.expect("it came"), 8);
        assert_eq!(&read[..8], b"one, two");
    }

    #[tokio::test]
    async fn everything_arrives_in_its_order_however_little_is_taken_at_a_time() {
        let (near, mut far) = duplex(1_000);
        let mut near = Gathering::new(near);
        let sent: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            for piece in copy.chunks(7_001) {
                near.write_all(piece).await.expect("it is taken");
                near.flush().await.expect("it is sent");
            }
            near.shutdown().await.expect("it ends");
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.expect("it came");
        writer.await.expect("it ended");
        assert!(read == sent);
    }

    #[test]
    fn who_sends_little_at_a_time_sends_much_only_if_it_comes_to_much_or_never_ends() {
        let (mut sent, start) = (Sent::default(), Instant::now());
        for n in 0..50 {
            sent.note(300, true, start + n * WINDOW / 10);
            assert!(!sent.is_much(start + n * WINDOW / 10), "a till");
        }
        let late = start + 10 * WINDOW;
        for _ in 0..20 {
            sent.note(300, true, late);
        }
        assert!(sent.is_much(late), "as much at once");
        assert!(!sent.is_much(late + WINDOW), "then it was silent");
        sent.note(300, false, late + WINDOW);
        assert!(!sent.is_much(late + WINDOW), "and began anew");
        for n in 0..50 {
            sent.note(300, false, late + WINDOW + n * WINDOW / 10);
        }
        assert!(sent.is_much(late + 9 * WINDOW), "there was always more to read");
        sent.note(0, true, late + 9 * WINDOW);
        assert!(!sent.is_much(late + 9 * WINDOW), "there is no more");
    }

    #[tokio::test]
    async fn who_sends_much_is_read_in_sips_while_others_wait_and_at_once_when_nobody_does() {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(&[7; 100_000]).await.expect("there is room");
        let (valve, waits) = Valve::new(&Arc::new(Gate::default())).with_one_waiting();
        let mut near = Gathering::new(near).with_valve(&valve);
        let mut buffer = [0; 20_000];
        assert_eq!(near.read(&mut buffer).await.expect("it came"), 20_000, "until it is known that it sends much");
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut near).poll_read(&mut context, &mut ReadBuf::new(&mut buffer)).is_pending(), "it waits for its turn");
        let task = tokio::spawn(async move { valve.run().await });
        waits.await.expect("the first who waited");
        assert_eq!(near.read(&mut buffer).await.expect("it came"), 4 << 10, "a sip");
        assert_eq!(near.read(&mut buffer).await.expect("it came"), 20_000, "nobody waits any more, and there is room");
        task.abort();
    }
}
