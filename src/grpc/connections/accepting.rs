//! The listener's loop. A handshake is a task of its own, so that nobody waits for another's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Bounds, CertificateInForce,
    line::Line,
    opening::Opening,
    places::{Full, Places, opening_share},
    refused::{Refused, Why},
    seldom::Seldom,
    taking::Taking,
};

/// Until accepting is tried again when the system had no file descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(200);

type Ready = Opening<Line<Taking<TcpStream>>>;

pub struct Accepting {
    listener: TcpListener,
    certificate: Option<CertificateInForce>,
    bounds: Bounds,
    places: Arc<Places>,
    ready: mpsc::Sender<Ready>,
    refusals: Refusals,
    handshakes: Arc<Seldom>,
}

/// What is said of those who are turned away.
#[derive(Default)]
struct Refusals {
    connections: Seldom,
    address: Seldom,
    handshakes: Seldom,
    system: Seldom,
}

impl Accepting {
    pub fn new(listener: TcpListener, certificate: Option<CertificateInForce>, bounds: Bounds, ready: mpsc::Sender<Ready>) -> Self {
        let places = Places::new(bounds);
        Self { listener, certificate, bounds, places, ready, refusals: Refusals::default(), handshakes: Arc::default() }
    }

    /// Those that are not served.
    pub fn refused(&self) -> Arc<Refused> {
        Arc::clone(self.places.refused())
    }

    /// Until nobody takes the connections any more.
    pub async fn run(self) {
        loop {
            let accepted = tokio::select! {
                () = self.ready.closed() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.take(socket, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.places.refused().count(Why::System);
                    self.refusals.system.warn(format_args!(
                        "a connection cannot be accepted: {error}; those that are open are served on. If files are too many, raise the \
                         limit of the process (ulimit -n, LimitNOFILE=) above --max-connections"
                    ));
                    tokio::select! {
                        () = self.ready.closed() => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    fn take(&self, socket: TcpStream, peer: SocketAddr) {
        let place = match self.places.take(peer.ip()) {
            Ok(place) => place,
            // The socket is closed by being dropped.
            Err(full) => return self.refusals.say(full, &self.bounds, peer.ip()),
        };
        // An answer waits a little longer without; the connection is as good.
        let _ = socket.set_nodelay(true);
        let deadline = Instant::now() + self.bounds.handshake;
        let socket = Taking::new(socket, self.bounds.stall);
        let acceptor = self.certificate.as_ref().map(|certificate| TlsAcceptor::from(Arc::clone(&certificate.borrow())));
        let (ready, handshakes, credential) = (self.ready.clone(), Arc::clone(&self.handshakes), self.bounds.credential);
        tokio::spawn(async move {
            let line = match acceptor {
                None => Line::Plain(socket),
                Some(acceptor) => match timeout_at(deadline, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => Line::Tls(Box::new(stream)),
                    // As those come and go who only look whether somebody listens.
                    Ok(Err(error)) if is_of_one_connection(&error) || error.kind() == io::ErrorKind::UnexpectedEof => {
                        return tracing::debug!("{}: went away before TLS was ready", peer.ip());
                    }
                    Ok(Err(error)) => {
                        place.refused(Why::Tls);
                        return handshakes.warn(format_args!("{}: TLS failed: {}", peer.ip(), cause(&error)));
                    }
                    Err(_) => {
                        place.refused(Why::Late);
                        return handshakes.warn(format_args!("{}: TLS was not ready within --handshake-seconds", peer.ip()));
                    }
                },
            };
            // While the service stops nobody takes it.
            let _ = ready.send(Opening::new(line, place, deadline, credential)).await;
        });
    }
}

impl Refusals {
    fn say(&self, full: Full, bounds: &Bounds, address: IpAddr) {
        match full {
            Full::Connections => {
                let most = bounds.connections;
                self.connections.warn(format_args!("{address}: turned away, for {most} connections are open (--max-connections)"));
            }
            Full::Address => {
                let most = bounds.per_address;
                self.address.warn(format_args!("{address}: turned away, for it has {most} connections (--max-connections-per-address)"));
            }
            Full::Handshakes => {
                let most = bounds.handshakes;
                self.handshakes.warn(format_args!("{address}: turned away, for {most} connections have not begun yet (--max-handshakes)"));
            }
            Full::AddressHandshakes => {
                let most = opening_share(bounds);
                self.handshakes.warn(format_args!(
                    "{address}: turned away, for {most} of its connections have not begun yet, which is its share of --max-handshakes"
                ));
            }
        }
    }
}

/// It ended before it was accepted; the next one may be good.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | TimedOut | WouldBlock)
}

/// In words that say what to look at.
fn cause(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "what came is not TLS; is it a client with a plain-text address?".to_owned()
        }
        Some(rustls::Error::NoApplicationProtocol) => "the client does not ask for HTTP/2 (ALPN h2)".to_owned(),
        Some(rustls::Error::InvalidCertificate(fault)) => format!("the client's certificate is refused: {fault}"),
        Some(rustls::Error::AlertReceived(alert)) => format!("the client ended it: {alert:?}"),
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}
