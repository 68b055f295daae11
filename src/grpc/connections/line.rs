//! A connection, plain or encrypted, and who is at its other end.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};

use super::standing::Standing;

pub enum Line<T> {
    Plain(T),
    /// Much larger than a socket.
    Tls(Box<TlsStream<T>>),
}

/// The other end.
#[derive(Clone)]
pub enum FarEnd {
    Plain(TcpConnectInfo),
    Tls(TlsConnectInfo<TcpConnectInfo>),
}

/// The same as every request of a connection brings it, with what is thought of the connection.
#[derive(Clone)]
pub struct Peer {
    pub(super) end: FarEnd,
    pub(super) standing: Arc<Standing>,
}

impl Peer {
    /// Tells services of it as tonic does: by its address, and by what TLS found out.
    pub fn introduce(self, to: &mut Extensions) {
        to.insert(self.standing);
        match self.end {
            FarEnd::Plain(peer) => {
                to.insert(peer);
            }
            FarEnd::Tls(peer) => {
                to.insert(peer.get_ref().clone());
                to.insert(peer);
            }
        }
    }
}

impl<T: Connected<ConnectInfo = TcpConnectInfo>> Connected for Line<T> {
    type ConnectInfo = FarEnd;

    fn connect_info(&self) -> FarEnd {
        match self {
            Self::Plain(connection) => FarEnd::Plain(connection.connect_info()),
            Self::Tls(connection) => FarEnd::Tls(connection.connect_info()),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Line<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_read(cx, buffer),
            Self::Tls(connection) => Pin::new(connection).poll_read(cx, buffer),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_write(cx, bytes),
            Self::Tls(connection) => Pin::new(connection).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_flush(cx),
            Self::Tls(connection) => Pin::new(connection).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_shutdown(cx),
            Self::Tls(connection) => Pin::new(connection).poll_shutdown(cx),
        }
    }
}
