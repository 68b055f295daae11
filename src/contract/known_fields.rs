//! Whether a stored message says only what this program knows. A generated type drops a field that it does not know, which is right for a
//! caller's message and wrong for a ledger: an amount that a newer version wrote would be left out of a balance without a word.

use std::collections::HashMap;

use prost::encoding::decode_varint;
use prost_reflect::{Kind, MessageDescriptor};

/// Messages in one another: as deep as the generated types read them.
const MAX_DEPTH: usize = 100;

/// The fields of a message, and of all messages in it.
#[derive(Debug)]
pub struct KnownFields {
    /// The first one is the message itself.
    messages: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    name: String,
    /// By number.
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Unknown,
    Plain,
    /// Place in [`KnownFields::messages`].
    Message(usize),
}

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
        let mut places = HashMap::from([(message.full_name().to_owned(), 0)]);
        let mut waiting = vec![message.clone()];
        let mut messages = Vec::new();
        while let Some(message) = waiting.get(messages.len()).cloned() {
            let mut fields = Vec::new();
            for field in message.fields() {
                let known = match field.kind() {
                    Kind::Message(inner) => Field::Message(*places.entry(inner.full_name().to_owned()).or_insert_with(|| {
                        waiting.push(inner);
                        waiting.len() - 1
                    })),
                    _ => Field::Plain,
                };
                let number = field.number() as usize;
                fields.resize(fields.len().max(number + 1), Field::Unknown);
                fields[number] = known;
            }
            messages.push(Known { name: message.full_name().to_owned(), fields });
        }
        Self { messages }
    }

    /// The first field that is not known, wherever in the message it is.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.walk(0, bytes, MAX_DEPTH)
    }

    fn walk(&self, message: usize, mut bytes: &[u8], depth: usize) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Malformed)?;
        let known = &self.messages[message];
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let number = tag >> 3;
            let field = usize::try_from(number).ok().and_then(|number| known.fields.get(number)).copied().unwrap_or(Field::Unknown);
            let value = value(tag & 7, &mut bytes)?;
            match field {
                Field::Unknown => return Err(Fault::Unknown(UnknownField { message: known.name.clone(), number })),
                Field::Plain => {}
                Field::Message(inner) => self.walk(inner, value.ok_or(Fault::Malformed)?, depth)?,
            }
        }
        Ok(())
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Fault> {
    decode_varint(bytes).map_err(|_| Fault::Malformed)
}

/// Passes a field's value by; gives it if it is bytes.
fn value<'a>(wire_type: u64, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
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
