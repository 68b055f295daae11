//! How messages of calls become bytes and back: as tonic does it, but that a request which would take far more memory than it has bytes is
//! refused before it is decoded, and so is one of which something would be left out that must not be.

use std::marker::PhantomData;

use prost::{Message, Name, bytes::Buf as _};
use tonic::{
    Status,
    codec::{self, BufferSettings, DecodeBuf},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::{strict::unknown_field, weight::is_too_heavy};

/// What such a request is answered; whoever answers calls says it in its own words.
pub const TOO_HEAVY: &str = "the request would take too much memory";
/// The same of one with a field that is not known; the field's place follows.
pub const UNKNOWN_FIELD: &str = "the request has a field that is not known: ";

/// Generated clients and services have it. What clients read are answers, which nothing is asked of.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(ProstDecoder::default())
    }
}

pub struct Decoder<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message is in one piece here.
        if is_too_heavy::<U>(bytes.chunk()) {
            return Err(Status::internal(TOO_HEAVY));
        }
        if let Some(place) = unknown_field::<U>(bytes.chunk()) {
            return Err(Status::internal(format!("{UNKNOWN_FIELD}{place}")));
        }
        self.0.decode(bytes)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
