//! A gRPC client that costs as little as one can: HTTP/2 without layers, one buffer a request, answers skipped unless they are asked for. It
//! shares the processors with the server that it measures.

use std::future::poll_fn;

use h2::{RecvStream, client::SendRequest};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    uri::{self, Authority, PathAndQuery, Scheme},
};
use prost::bytes::{Buf, Bytes, BytesMut};
use tonic::{Code, Status};

use crate::{
    cli::{
        CliError,
        client::{self, Reach, ServerArgs},
    },
    grpc::Gathering,
};

/// Before each message: not compressed, and its length.
pub const PREFIX: usize = 5;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    scheme: Scheme,
    /// What the caller shows.
    credential: Option<HeaderValue>,
}

/// What stands before every request of a method.
#[derive(Clone)]
pub struct Head {
    path: PathAndQuery,
    headers: HeaderMap,
}

/// An answer under way.
pub struct Answer {
    body: RecvStream,
    /// The status came at once, without a body.
    early: Option<Status>,
}

impl Head {
    pub fn new(path: &PathAndQuery) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        Self { path: path.clone(), headers }
    }

    /// After which the caller wants no answer any more.
    pub fn with_timeout(mut self, timeout: std::time::Duration) -> Self {
        let text = format!("{}m", timeout.as_millis().min(99_999_999));
        self.headers.insert(TIMEOUT, HeaderValue::from_str(&text).expect("digits and a letter"));
        self
    }
}

fn broken(error: &h2::Error) -> Status {
    Status::unavailable(client::chain(error))
}

impl Connection {
    pub async fn open(server: &ServerArgs) -> Result<Self, CliError> {
        let reach = Reach::of(server)?;
        let stream = reach.connect().await.map_err(|error| reach.failed(&error))?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20).enable_push(false);
        let (requests, connection) = builder.handshake(Gathering::new(stream)).await.map_err(|error| reach.failed(&error))?;
        // When it breaks, those who wait for answers are told.
        tokio::spawn(async move { drop(connection.await) });
        let scheme = if reach.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self { requests, scheme, credential: reach.credential.header() })
    }

    fn request(&self, head: &Head) -> Request<()> {
        let mut uri = uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(Authority::from_static("loyaltyd"));
        uri.path_and_query = Some(head.path.clone());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(uri).expect("all its parts are there");
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = head.headers.clone();
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(http::header::AUTHORIZATION, credential.clone());
        }
        request
    }

    /// Sends a request whose frame is whole; the answer is awaited apart. Waits while the server takes no more calls on this connection.
    pub async fn send(&mut self, head: &Head, frame: Bytes) -> Result<impl Future<Output = Result<Answer, Status>> + use<>, Status> {
        poll_fn(|cx| self.requests.poll_ready(cx)).await.map_err(|error| broken(&error))?;
        let (response, mut body) = self.requests.send_request(self.request(head), false).map_err(|error| broken(&error))?;
        body.send_data(frame, true).map_err(|error| broken(&error))?;
        Ok(async move { Answer::of(response.await.map_err(|error| broken(&error))?) })
    }

    /// Calls that the server takes at the same time: more would wait here.
    pub fn most_calls(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// A call whose answer is looked at only as far as its status.
    pub async fn call(&mut self, head: &Head, frame: Bytes) -> Result<(), Status> {
        self.send(head, frame).await?.await?.skip().await
    }

    /// A call and its one message.
    pub async fn call_for(&mut self, head: &Head, frame: Bytes) -> Result<Bytes, Status> {
        let mut answer = self.send(head, frame).await?.await?;
        let mut read = BytesMut::new();
        while let Some(bytes) = answer.chunk().await? {
            read.extend_from_slice(&bytes);
        }
        take_message(&mut read).ok_or_else(|| Status::internal("the answer has no message"))
    }

    /// Opens a stream.
    pub async fn stream(&mut self, head: &Head) -> Result<(h2::SendStream<Bytes>, h2::client::ResponseFuture), Status> {
        poll_fn(|cx| self.requests.poll_ready(cx)).await.map_err(|error| broken(&error))?;
        let (response, body) = self.requests.send_request(self.request(head), false).map_err(|error| broken(&error))?;
        Ok((body, response))
    }
}

impl Answer {
    pub fn of(response: Response<RecvStream>) -> Result<Self, Status> {
        let headers = response.headers();
        let early = headers.get(STATUS).map(|_| status(headers).err().unwrap_or_else(|| Status::ok("")));
        Ok(Self { body: response.into_body(), early })
    }

    /// The next bytes; after the last ones the status.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Status> {
        if let Some(early) = self.early.take() {
            return if early.code() == Code::Ok { Ok(None) } else { Err(early) };
        }
        match self.body.data().await {
            Some(Ok(bytes)) => {
                // A window that cannot be given back belongs to a stream that has ended.
                let _ = self.body.flow_control().release_capacity(bytes.len());
                Ok(Some(bytes))
            }
            Some(Err(error)) => Err(broken(&error)),
            None => {
                let trailers = self.body.trailers().await.map_err(|error| broken(&error))?;
                trailers.map_or_else(|| Err(Status::unavailable("the answer ended without a status")), |trailers| status(&trailers))?;
                Ok(None)
            }
        }
    }

    pub async fn skip(mut self) -> Result<(), Status> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }
}

fn status(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(STATUS).map(HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        Some(_) | None => Err(Status::from_header_map(headers).unwrap_or_else(|| Status::unknown("the answer has no status"))),
    }
}

/// The next whole message of what was read of a stream.
pub fn take_message(read: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(read.get(1..PREFIX)?.try_into().expect("four bytes"));
    let end = PREFIX + usize::try_from(length).ok()?;
    if read.len() < end {
        return None;
    }
    let mut message = read.split_to(end).freeze();
    message.advance(PREFIX);
    Some(message)
}

/// Puts the length before a message that was appended behind room for the prefix.
pub fn close_frame(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - PREFIX).expect("a request is small");
    frame[0] = 0;
    frame[1..PREFIX].copy_from_slice(&length.to_be_bytes());
}
