//! A connection whose peer has to take what it is sent: one that takes nothing for too long is ended, with all that waits for it in memory.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

pub struct Taking<T> {
    connection: T,
    patience: Duration,
    /// Since nothing was taken; ends when that has been too long.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Taking<T> {
    pub fn new(connection: T, patience: Duration) -> Self {
        Self { connection, patience, stalled: None }
    }

    fn judge<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Taking<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Taking<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<T: Connected> Connected for Taking<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> T::ConnectInfo {
        self.connection.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_who_takes_little_is_not() {
        let (near, mut far) = duplex(10);
        let mut near = Taking::new(near, PATIENCE);
        near.write_all(&[0; 10]).await.expect("there is room");
        let slow = tokio::spawn(async move {
            let mut byte = [0];
            // Longer in all than it may take nothing.
            for _ in 0..6 {
                tokio::time::sleep(PATIENCE / 5).await;
                far.read_exact(&mut byte).await.expect("it came");
            }
            far
        });
        near.write_all(&[0; 6]).await.expect("each byte in time");
        let _far = slow.await.expect("it read");
        let begun = tokio::time::Instant::now();
        let error = near.write_all(&[0; 1]).await.expect_err("nobody takes it");
        assert!(error.kind() == io::ErrorKind::TimedOut && begun.elapsed() >= PATIENCE, "{error} after {:?}", begun.elapsed());
    }
}
