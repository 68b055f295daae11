//! Messages for the load generator: requests are patched copies of a template, answers are only looked at as far as needed, so that the
//! generator leaves the processors to the server.

use prost::Message;

/// `StreamPurchasesResponse`, of which only errors are looked at.
#[derive(Clone, PartialEq, Message)]
pub struct StreamAnswer {
    #[prost(message, optional, tag = "1")]
    pub result: Option<ItemResult>,
}

/// `BatchRecordPurchasesResponse`, of which only errors are looked at.
#[derive(Clone, PartialEq, Message)]
pub struct BatchAnswer {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<ItemResult>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ItemResult {
    #[prost(message, optional, tag = "3")]
    pub error: Option<ItemError>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ItemError {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// An encoded message with places for a member's number and for the number of the call.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    members: Vec<usize>,
    sequences: Vec<usize>,
}

/// Stands for a member's number, in decimal.
pub const MEMBER: &str = "@@@@@@@@@@";
/// Stands for the number of the call, in hexadecimal.
pub const SEQUENCE: &str = "################";

impl Template {
    pub fn new(message: &impl Message) -> Self {
        let bytes = message.encode_to_vec();
        let places = |mark: &str| {
            let found = bytes.windows(mark.len()).enumerate().filter(|(_, part)| *part == mark.as_bytes());
            found.map(|(place, _)| place).collect()
        };
        let (members, sequences) = (places(MEMBER), places(SEQUENCE));
        Self { bytes, members, sequences }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the message with its places filled in.
    pub fn fill(&self, member: u64, sequence: u64, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&self.bytes);
        let bytes = &mut to[start..];
        for place in &self.members {
            digits(&mut bytes[*place..place + MEMBER.len()], member, 10);
        }
        for place in &self.sequences {
            digits(&mut bytes[*place..place + SEQUENCE.len()], sequence, 16);
        }
    }
}

fn digits(place: &mut [u8], mut number: u64, base: u64) {
    for digit in place.iter_mut().rev() {
        let value = usize::try_from(number % base).expect("a digit is small");
        *digit = b"0123456789abcdef"[value];
        number /= base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::v1;

    #[test]
    fn templates_are_filled() {
        let message = v1::GetPurchaseRequest { program_id: "p".into(), store_id: format!("s{MEMBER}"), order_id: format!("o{SEQUENCE}x") };
        let mut filled = Vec::new();
        Template::new(&message).fill(42, 0xbeef, &mut filled);
        let read = v1::GetPurchaseRequest::decode(filled.as_slice()).expect("it is still a message");
        assert_eq!((read.store_id.as_str(), read.order_id.as_str()), ("s0000000042", "o000000000000beefx"));
    }
}
