//! A connection that has to begin to speak HTTP in time: HTTP/2's preface and the settings that follow it, or the head of a first request of
//! HTTP/1.1. Who only connects and waits, or sends a byte now and then, is ended. So is, where callers are authenticated, whoever has begun
//! and then shows no good credential.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tonic::transport::server::Connected;

use super::{Peer, line::FarEnd, places::Place, refused::Why, standing::Standing};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Of a frame of HTTP/2: the length of what follows in three bytes, and what it is.
const FRAME_HEAD: usize = 9;
/// Ends the head of a request of HTTP/1.1.
const BLANK_LINE: &[u8] = b"\r\n\r\n";

pub struct Opening<T> {
    connection: T,
    place: Place,
    /// `None` when it has begun.
    begin: Option<Box<Begin>>,
    standing: Arc<Standing>,
    /// `None` when a credential was accepted, or none is needed.
    unknown: Option<Box<Unknown>>,
}

/// Nobody knows yet who is there.
struct Unknown {
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
}

struct Begin {
    deadline: Pin<Box<Sleep>>,
    is_over: bool,
    seen: Seen,
}

/// What came so far.
#[derive(Default)]
struct Seen {
    /// The first bytes, as many as tell how long the beginning is.
    first: Vec<u8>,
    bytes: usize,
    /// How much of a blank line the last bytes are.
    blank: usize,
    blank_line: bool,
}

impl<T> Opening<T> {
    /// `credential`: how long a credential may be waited for; `None`: none is needed.
    pub fn new(connection: T, place: Place, deadline: Instant, credential: Option<Duration>) -> Self {
        let begin = Begin { deadline: Box::pin(sleep_until(deadline)), is_over: false, seen: Seen::default() };
        let unknown = |patience| Box::new(Unknown { patience, deadline: Box::pin(sleep_until(Instant::now() + patience)) });
        Self { connection, place, begin: Some(Box::new(begin)), standing: Arc::default(), unknown: credential.map(unknown) }
    }

    /// Whoever is there was refused too often, or has had time enough to show a credential.
    fn is_unwanted(&mut self, cx: &mut Context<'_>) -> bool {
        if self.standing.is_refused_too_often() {
            return true;
        }
        let Some(unknown) = &mut self.unknown else { return false };
        if self.standing.is_known() {
            self.unknown = None;
            return false;
        }
        while unknown.deadline.as_mut().poll(cx).is_ready() {
            // Who watches health needs no credential for it; such watches are bounded in number.
            if !self.standing.is_watching() {
                return true;
            }
            unknown.deadline.as_mut().reset(Instant::now() + unknown.patience);
        }
        false
    }
}

impl Seen {
    fn note(&mut self, bytes: &[u8]) {
        let wanted = (PREFACE.len() + FRAME_HEAD).saturating_sub(self.first.len());
        self.first.extend_from_slice(&bytes[..wanted.min(bytes.len())]);
        self.bytes = self.bytes.saturating_add(bytes.len());
        for byte in bytes {
            self.blank = match BLANK_LINE.get(self.blank) {
                Some(next) if next == byte => self.blank + 1,
                Some(_) | None => usize::from(*byte == b'\r'),
            };
            self.blank_line |= self.blank == BLANK_LINE.len();
        }
    }

    fn is_whole(&self) -> bool {
        let compared = self.first.len().min(PREFACE.len());
        if self.first[..compared] != PREFACE[..compared] {
            return self.blank_line;
        }
        match self.first.get(PREFACE.len()..PREFACE.len() + FRAME_HEAD) {
            Some(head) => self.bytes >= PREFACE.len() + FRAME_HEAD + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
            None => false,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opening<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_unwanted(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no call had a good credential")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.connection).poll_read(cx, buffer);
        let Some(begin) = &mut this.begin else { return read };
        begin.seen.note(&buffer.filled()[before..]);
        if begin.seen.is_whole() {
            this.begin = None;
            this.place.opened();
        } else if read.is_pending() {
            ready!(begin.deadline.as_mut().poll(cx));
            // Whoever asks again hears the same, and it counts once.
            if !std::mem::replace(&mut begin.is_over, true) {
                this.place.refused(Why::Late);
            }
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "HTTP has not begun in time")));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opening<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl<T: Connected<ConnectInfo = FarEnd>> Connected for Opening<T> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { end: self.connection.connect_info(), standing: Arc::clone(&self.standing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many bytes it is whole, however they are cut.
    fn whole_after(bytes: &[u8], piece: usize) -> Option<usize> {
        let mut seen = Seen::default();
        for (n, piece) in (1..).zip(bytes.chunks(piece)) {
            seen.note(piece);
            if seen.is_whole() {
                return Some(n * piece.len());
            }
        }
        None
    }

    #[test]
    fn http_2_has_begun_with_its_preface_and_the_first_frame() {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let bytes = [PREFACE, &settings].concat();
        assert_eq!(whole_after(&bytes, 1), Some(bytes.len()));
        assert_eq!(whole_after(&bytes, bytes.len()), Some(bytes.len()));
        assert_eq!(whole_after(&bytes[..bytes.len() - 1], 7), None, "a byte is missing");
        let empty = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        assert_eq!(whole_after(&empty, 1), Some(empty.len()), "it may have no settings");
    }

    #[test]
    fn http_1_has_begun_with_the_blank_line() {
        let head = b"POST /x HTTP/1.1\r\nhost: x\r\r\n\r\n";
        assert_eq!(whole_after(head, 1), Some(head.len()));
        assert_eq!(whole_after(&head[..head.len() - 1], 1), None);
        assert_eq!(whole_after(b"PRI * HTTP/2.0\r\n\r\n", 1), None, "this is the other's preface");
        assert_eq!(whole_after(&[7; 5_000], 1), None, "and this is nothing");
    }

    mod unknown {
        use super::*;
        use crate::grpc::connections::{Bounds, places::Places};
        use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

        const PATIENCE: Duration = Duration::from_secs(30);

        /// A connection on which HTTP has begun, and its other end.
        async fn open() -> (Opening<DuplexStream>, DuplexStream) {
            let hour = Duration::from_secs(3_600);
            let bounds = Bounds { connections: 1, per_address: 1, handshakes: 1, handshake: hour, stall: hour, credential: Some(PATIENCE) };
            let place = Places::new(bounds).take([127, 0, 0, 1].into()).expect("there is room");
            let (near, mut far) = duplex(1_000);
            let mut opening = Opening::new(near, place, Instant::now() + hour, bounds.credential);
            let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
            tokio::io::AsyncWriteExt::write_all(&mut far, &settings).await.expect("there is room");
            opening.read_exact(&mut vec![0; settings.len()]).await.expect("it begins");
            (opening, far)
        }

        async fn ends_after(opening: &mut Opening<DuplexStream>) -> Option<u64> {
            let begun = Instant::now();
            let read = tokio::time::timeout(PATIENCE * 10, opening.read_u8()).await.ok()?;
            assert_eq!(read.expect_err("nothing comes").kind(), io::ErrorKind::TimedOut);
            Some(begun.elapsed().as_secs())
        }

        #[tokio::test(start_paused = true)]
        async fn who_shows_no_credential_is_ended_and_who_has_shown_one_or_watches_health_is_not() {
            let (mut opening, _far) = open().await;
            assert_eq!(ends_after(&mut opening).await, Some(30));

            let (mut opening, _far) = open().await;
            opening.standing.accepted();
            assert_eq!(ends_after(&mut opening).await, None);
            (0..100).for_each(|_| opening.standing.refused());
            assert_eq!(ends_after(&mut opening).await, Some(0), "known or not");

            let (mut opening, _far) = open().await;
            let watch = opening.standing.watch();
            assert_eq!(ends_after(&mut opening).await, None);
            drop(watch);
            assert!(ends_after(&mut opening).await.is_some_and(|seconds| seconds <= 30));
        }
    }
}
