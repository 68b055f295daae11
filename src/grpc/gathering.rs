//! A connection that gathers what is written before it hands it to the system. Every answer wakes the task of its connection, which would
//! send each one by itself: a system call and a packet an answer. Here that task steps back once, behind the answers that are ready beside
//! it, and sends them together.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};
use tonic::transport::server::Connected;

use super::valve::{MUCH, Valve};

/// Bytes that wait at most; who writes more waits until they are sent.
const ROOM: usize = 64 << 10;
/// So many are sent without stepping back: there is enough to make the system call worth while.
const ENOUGH: usize = 8 << 10;

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
    turn: Option<oneshot::Receiver<()>>,
    /// The last time there was much to read.
    sends_much: bool,
}

impl<T> Gathering<T> {
    pub fn new(connection: T) -> Self {
        Self { connection, waiting: Vec::new(), sent: 0, stepped_back: false, reading: Reading::default() }
    }

    /// Read in turn with others while the service has too much to do.
    pub fn with_valve(self, valve: &Arc<Valve>) -> Self {
        Self { reading: Reading { valve: Some(Arc::clone(valve)), ..Reading::default() }, ..self }
    }
}

impl Reading {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sends_much
            && self.turn.is_none()
            && let Some(valve) = &self.valve
        {
            self.turn = valve.turn();
        }
        if let Some(turn) = &mut self.turn {
            // Where nobody gives turns any more, none is waited for.
            let _ = ready!(Pin::new(turn).poll(cx));
            self.turn = None;
        }
        // Until it is known how much comes now.
        self.sends_much = false;
        Poll::Ready(())
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
        ready!(self.reading.poll_turn(cx));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(cx, buffer);
        self.reading.sends_much = buffer.filled().len() - before >= MUCH;
        read
    }
}

impl<T: Connected> Connected for Gathering<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> T::ConnectInfo {
        self.connection.connect_info()
    }
}
