//! Whether a stored message says only what this program knows. A generated type drops a field that it does not know, which is right for a
//! caller's message and wrong for a ledger: an amount that a newer version wrote would be left out of a balance without a word.

use prost::encoding::decode_varint;
use prost_reflect::MessageDescriptor;

use super::fields::Fields;

/// Messages in one another: as deep as the generated types read them.
const MAX_DEPTH: usize = 100;

/// The fields of a message, and of all messages in it.
#[derive(Debug)]
pub struct KnownFields(Fields<()>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// These bytes are no message.
    Malformed,
    Unknown(UnknownField),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {number} of {message}")]
pub struct UnknownField {
    pub message: String,
    pub number: u64,
}

impl KnownFields {
    pub fn of(message: &MessageDescriptor) -> Self {
        Self(Fields::of(std::slice::from_ref(message), |_| ()))
    }

    /// The first field that is not known, wherever in the message it is.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.walk(0, bytes, MAX_DEPTH)
    }

    fn walk(&self, message: usize, mut bytes: &[u8], depth: usize) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Malformed)?;
        while !bytes.is_empty() {
            let (number, wire_type) = key(&mut bytes)?;
            // Before its value, which may be a group: those are passed over by who decodes.
            let Some(field) = self.0.field(message, number) else {
                return Err(Fault::Unknown(UnknownField { message: self.0.name(message).to_owned(), number }));
            };
            let value = value(wire_type, &mut bytes)?;
            if let Some(inner) = field.inner {
                self.walk(inner, value.ok_or(Fault::Malformed)?, depth)?;
            }
        }
        Ok(())
    }
}

/// The number of a field, and how its value is written.
pub fn key(bytes: &mut &[u8]) -> Result<(u64, u64), Fault> {
    let key = varint(bytes)?;
    Ok((key >> 3, key & 7))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Fault> {
    decode_varint(bytes).map_err(|_| Fault::Malformed)
}

/// Passes a field's value by; gives it if it is bytes.
pub fn value<'a>(wire_type: u64, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
    let length = match wire_type {
        0 => return varint(bytes).map(|_| None),
        1 => 8,
        2 => usize::try_from(varint(bytes)?).map_err(|_| Fault::Malformed)?,
        5 => 4,
        _ => return Err(Fault::Malformed),
    };
    let (value, rest) = bytes.split_at_checked(length).ok_or(Fault::Malformed)?;
    *bytes = rest;
    Ok((wire_type == 2).then_some(value))
}
