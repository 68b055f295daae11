//! Calls without generated types: bytes as they are, so that any method can be called with anything.

use http::uri::PathAndQuery;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::MethodDescriptor;
use tokio_stream::Stream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Such as `/loyalty.v1.MemberService/GetMember`.
pub fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// One request, one answer.
pub async fn unary(client: Grpc<Channel>, path: &str, request: Request<Vec<u8>>) -> Result<Vec<u8>, Status> {
    let (mut client, path) = ready(client, path).await?;
    Ok(client.unary(request, path, Bytes).await?.into_inner())
}

/// Any number of requests and of answers: so every method can be called.
pub async fn streaming(
    client: Grpc<Channel>,
    path: &str,
    requests: Request<impl Stream<Item = Vec<u8>> + Send + 'static>,
) -> Result<Streaming<Vec<u8>>, Status> {
    let (mut client, path) = ready(client, path).await?;
    Ok(client.streaming(requests, path, Bytes).await?.into_inner())
}

async fn ready(mut client: Grpc<Channel>, path: &str) -> Result<(Grpc<Channel>, PathAndQuery), Status> {
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok((client, path.parse().expect("a path")))
}

/// Messages as the bytes that they are on the wire.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}
