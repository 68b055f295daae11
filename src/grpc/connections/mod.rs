//! From a listener to connections that can be served: who is let in, TLS, and what a connection that does not get on is ended by. One
//! that is never ready costs a place among few and a bounded time; the listener itself goes on whatever happens to a connection.
//!
//! In the order in which bytes pass: [`taking`] (the socket, whose peer has to take what it is sent), [`line`] (plain or TLS), [`opening`]
//! (until HTTP has begun), and [`Gathering`] above: answers that are ready together become one record of TLS and one packet.

mod accepting;
mod line;
mod opening;
mod places;
mod refused;
mod seldom;
mod standing;
mod taking;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_stream::Stream;

use super::{Gathering, Valve};
use accepting::Accepting;
use line::Line;
use opening::Opening;
use taking::Taking;

pub use line::Peer;
pub use refused::Refused;
pub use standing::{Standing, Watching};

/// Connections that are ready and wait to be served.
const READY: usize = 64;

/// How many there may be, and how slow.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub connections: usize,
    /// Of them from one address.
    pub per_address: usize,
    /// Of them that have not come as far as a request.
    pub handshakes: usize,
    /// From accepting until HTTP has begun.
    pub handshake: Duration,
    /// For which a peer may take nothing of what is sent to it.
    pub stall: Duration,
    /// From accepting until a call has a good credential; `None`: callers are not authenticated.
    pub credential: Option<Duration>,
}

/// What the service proves itself with: new connections get the newest.
pub type CertificateInForce = watch::Receiver<Arc<ServerConfig>>;

/// A connection that is served.
pub type Connection = Gathering<Opening<Line<Taking<TcpStream>>>>;

/// The connections of a listener, as they become ready. The listener is closed when this is dropped.
pub struct Incoming {
    ready: mpsc::Receiver<Opening<Line<Taking<TcpStream>>>>,
    valve: Arc<Valve>,
    refused: Arc<Refused>,
}

impl Incoming {
    /// Begins to accept. Without a certificate nothing is encrypted.
    pub fn new(listener: TcpListener, certificate: Option<CertificateInForce>, bounds: Bounds, valve: &Arc<Valve>) -> Self {
        let (sender, ready) = mpsc::channel(READY);
        let accepting = Accepting::new(listener, certificate, bounds, sender);
        let refused = accepting.refused();
        tokio::spawn(accepting.run());
        Self { ready, valve: Arc::clone(valve), refused }
    }

    /// Those that do not come as far.
    pub fn refused(&self) -> &Arc<Refused> {
        &self.refused
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let ready = self.ready.poll_recv(cx);
        ready.map(|connection| connection.map(|connection| Ok(Gathering::new(connection).with_valve(&self.valve))))
    }
}
