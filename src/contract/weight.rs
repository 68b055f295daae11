//! What a request will take in memory, reckoned from its bytes before it is decoded. On the wire an element of a list has two bytes and more, as
//! what it is decoded to it has hundreds: so four megabytes become a gigabyte. The walk is as long as the bytes, takes nothing itself, and
//! ends as soon as it is known to be too much.

use std::{collections::HashMap, sync::LazyLock};

use prost::{
    Name,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{
    fields::{Field, Fields},
    json::CONTRACT,
};

/// What the elements of a request's lists may take: a batch of purchases that is as large as it may be in every way takes a third of it, and
/// lists of texts that are not empty, such as a rule book's, take no more in the largest request.
const MOST: usize = 32 << 20;
/// The same for requests that are larger because the service was started so: a text in a list takes 24 bytes beside its own, and on the
/// wire three with them.
const MOST_PER_BYTE: usize = 8;
/// A request of fewer bytes cannot come to so much, whatever is in it.
const LIGHT: usize = 32 << 10;
/// Messages in one another: as deep as the generated types read them.
const MAX_DEPTH: usize = 100;
/// Of a text, of bytes, of a list.
const HANDLE: usize = 24;

/// All requests that there are.
struct Requests {
    places: HashMap<String, usize>,
    fields: Fields<Takes>,
}

static REQUESTS: LazyLock<Requests> = LazyLock::new(|| {
    let mut places = HashMap::new();
    let mut messages = Vec::new();
    for method in CONTRACT.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        places.entry(method.input().full_name().to_owned()).or_insert_with(|| {
            messages.push(method.input());
            messages.len() - 1
        });
    }
    Requests { places, fields: Fields::of(&messages, takes) }
});

/// What a field takes each time that it comes, beside its own bytes and beside what the message takes in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Element(usize),
    /// Several can come together, packed.
    Number(usize),
}

/// It would be too much. Answers are not asked.
pub fn is_too_heavy<M: Name>(bytes: &[u8]) -> bool {
    if bytes.len() < LIGHT {
        return false;
    }
    let Some(place) = REQUESTS.places.get(&M::full_name()) else { return false };
    weigh(*place, bytes, MOST.max(bytes.len().saturating_mul(MOST_PER_BYTE))).is_none()
}

/// What a request's lists take; `None`: more than `most`.
fn weigh(place: usize, bytes: &[u8], most: usize) -> Option<usize> {
    let mut walk = Walk { fields: &REQUESTS.fields, bytes, left: most };
    match walk.message(place, 0, MAX_DEPTH) {
        Err(End::TooHeavy) => None,
        Ok(()) | Err(End::Malformed) => Some(most - walk.left),
    }
}

enum End {
    TooHeavy,
    /// Decoding ends here as well, with words of its own.
    Malformed,
}

/// It goes where decoding would go, and never ends before it: whatever decoding is led to by bytes that are no message was counted.
struct Walk<'a> {
    fields: &'a Fields<Takes>,
    bytes: &'a [u8],
    left: usize,
}

impl Walk<'_> {
    /// A message, up to where so many bytes are left. A field in it that goes beyond that is read all the same: that it was too long is
    /// seen only after it.
    fn message(&mut self, message: usize, end: usize, depth: usize) -> Result<(), End> {
        while self.bytes.len() > end {
            let (number, wire_type) = decode_key(&mut self.bytes).map_err(|_| End::Malformed)?;
            match self.fields.field(message, u64::from(number)) {
                Some(field) => self.field(field, (number, wire_type), depth)?,
                None => self.pass((number, wire_type))?,
            }
        }
        if self.bytes.len() == end { Ok(()) } else { Err(End::Malformed) }
    }

    fn field(&mut self, field: Field<Takes>, key: (u32, WireType), depth: usize) -> Result<(), End> {
        if let (_, WireType::LengthDelimited) = key {
            let length = decode_varint(&mut self.bytes).ok().and_then(|length| usize::try_from(length).ok());
            let rest = length.and_then(|length| self.bytes.len().checked_sub(length)).ok_or(End::Malformed)?;
            match field.known {
                Takes::Nothing => {}
                Takes::Element(bytes) => self.take(bytes)?,
                Takes::Number(bytes) => self.take(bytes.saturating_mul(numbers(&self.bytes[..self.bytes.len() - rest])))?,
            }
            if let Some(inner) = field.inner {
                let depth = depth.checked_sub(1).ok_or(End::Malformed)?;
                return self.message(inner, rest, depth);
            }
            self.bytes = &self.bytes[self.bytes.len() - rest..];
            return Ok(());
        }
        if let Takes::Number(bytes) = field.known {
            self.take(bytes)?;
        }
        self.pass(key)
    }

    /// Passes a value by. Those of fields that there are not take nothing, whatever is in them.
    fn pass(&mut self, (number, wire_type): (u32, WireType)) -> Result<(), End> {
        skip_field(wire_type, number, &mut self.bytes, DecodeContext::default()).map_err(|_| End::Malformed)
    }

    fn take(&mut self, bytes: usize) -> Result<(), End> {
        self.left = self.left.checked_sub(bytes).ok_or(End::TooHeavy)?;
        Ok(())
    }
}

/// How many packed numbers these bytes are: the last byte of each is below 128. Those of a fixed width, which take no more than their bytes, can
/// count as several.
fn numbers(packed: &[u8]) -> usize {
    packed.iter().filter(|byte| **byte < 0x80).count()
}

fn takes(field: &FieldDescriptor) -> Takes {
    match field.kind() {
        // With what the map itself needs for it.
        Kind::Message(entry) if field.is_map() => Takes::Element(2 * size(&entry)),
        Kind::Message(element) if field.is_list() => Takes::Element(size(&element)),
        Kind::String | Kind::Bytes if field.is_list() => Takes::Element(HANDLE),
        kind if field.is_list() => Takes::Number(width(&kind)),
        _ => Takes::Nothing,
    }
}

/// Of the type that is generated of a message: never less than it has. No message of a request contains itself, which would be on the heap.
fn size(message: &MessageDescriptor) -> usize {
    let alone = message.fields().filter(|field| field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic()));
    let choices = message.oneofs().filter(|oneof| !oneof.is_synthetic());
    let largest = choices.map(|oneof| 8 + oneof.fields().map(|field| width(&field.kind())).max().unwrap_or(0));
    (alone.map(|field| room(&field)).sum::<usize>() + largest.sum::<usize>()).next_multiple_of(8)
}

fn room(field: &FieldDescriptor) -> usize {
    match field.kind() {
        _ if field.is_map() => 2 * HANDLE,
        _ if field.is_list() => HANDLE,
        // One that is not there is told by a value that it cannot have, or beside it.
        kind @ Kind::Message(_) => width(&kind) + 8,
        Kind::String | Kind::Bytes => HANDLE,
        kind if field.supports_presence() => 2 * width(&kind),
        kind => width(&kind),
    }
}

fn width(kind: &Kind) -> usize {
    match kind {
        Kind::Message(inner) => size(inner),
        Kind::String | Kind::Bytes => HANDLE,
        Kind::Double | Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => 8,
        Kind::Float | Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 | Kind::Enum(_) | Kind::Bool => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use prost::{
        Message,
        encoding::{encode_key, encode_varint},
    };
    use prost_reflect::{DynamicMessage, MapKey, Value};

    use super::*;
    use crate::contract::v1;

    /// What a caller may send, as the contract bounds it.
    const LARGEST: usize = 4 << 20;
    /// With lists of each kind that there is.
    const REQUESTED: [&str; 6] = [
        "BatchRecordPurchasesRequest",
        "QuotePurchaseRequest",
        "PublishProgramRequest",
        "EnrollMemberRequest",
        "ListEntriesRequest",
        "StreamBackupRequest",
    ];

    fn descriptor(name: &str) -> MessageDescriptor {
        CONTRACT.get_message_by_name(&format!("loyalty.v1.{name}")).expect("the contract has the message")
    }

    fn weight(name: &str, bytes: &[u8]) -> usize {
        weigh(REQUESTS.places[&format!("loyalty.v1.{name}")], bytes, usize::MAX).expect("nothing bounds it")
    }

    /// The same, of what was decoded.
    fn counted(message: &DynamicMessage) -> usize {
        let inner = |value: &Value| value.as_message().map_or(0, counted);
        let of_field = |(field, value): (FieldDescriptor, &Value)| {
            let each = match takes(&field) {
                Takes::Nothing => 0,
                Takes::Element(bytes) | Takes::Number(bytes) => bytes,
            };
            match value {
                Value::List(list) => list.len() * each + list.iter().map(inner).sum::<usize>(),
                Value::Map(map) => map.len() * each + map.values().map(inner).sum::<usize>(),
                value => inner(value),
            }
        };
        message.fields().map(of_field).sum()
    }

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn message(&mut self, descriptor: &MessageDescriptor) -> DynamicMessage {
            let mut message = DynamicMessage::new(descriptor.clone());
            for field in descriptor.fields() {
                if self.below(3) > 0 {
                    continue;
                }
                let kind = field.kind();
                let value = match &kind {
                    Kind::Message(entry) if field.is_map() => {
                        let value = entry.map_entry_value_field().kind();
                        Value::Map((0..self.below(4)).map(|key| (MapKey::String(key.to_string()), self.value(&value))).collect())
                    }
                    _ if field.is_list() => Value::List((0..self.below(4)).map(|_| self.value(&kind)).collect()),
                    _ => self.value(&kind),
                };
                message.set_field(&field, value);
            }
            message
        }

        fn value(&mut self, kind: &Kind) -> Value {
            let number = self.below(300);
            match kind {
                Kind::Message(inner) => Value::Message(self.message(inner)),
                Kind::String => Value::String("é".repeat(number as usize / 70)),
                Kind::Bytes => Value::Bytes(vec![7; number as usize / 70].into()),
                Kind::Bool => Value::Bool(number > 100),
                Kind::Enum(_) => Value::EnumNumber(number as i32),
                Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
                Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(-(number as i64)),
                Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
                Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
                Kind::Float => Value::F32(number as f32),
                Kind::Double => Value::F64(number as f64),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_bytes_of_a_message_weigh_what_the_message_does(seed in any::<u64>(), which in 0..REQUESTED.len()) {
            let message = Dice(seed).message(&descriptor(REQUESTED[which]));
            prop_assert_eq!(weight(REQUESTED[which], &message.encode_to_vec()), counted(&message));
        }

        #[test]
        fn whatever_the_bytes_are_no_more_is_decoded_than_was_reckoned(
            seed in any::<u64>(),
            which in 0..REQUESTED.len(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let descriptor = descriptor(REQUESTED[which]);
            let mut bytes = Dice(seed).message(&descriptor).encode_to_vec();
            bytes.extend(rest);
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            let reckoned = weight(REQUESTED[which], &bytes);
            if let Ok(decoded) = DynamicMessage::decode(descriptor, bytes.as_slice()) {
                prop_assert!(counted(&decoded) <= reckoned);
            }
        }
    }

    /// A field's key and length, whatever follows.
    fn begin(number: u32, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut bytes);
        encode_varint(length as u64, &mut bytes);
        bytes
    }

    fn number(message: &str, field: &str) -> u32 {
        descriptor(message).get_field_by_name(field).expect("it is there").number()
    }

    fn lines(count: usize) -> Vec<u8> {
        begin(number("Purchase", "lines"), 0).repeat(count)
    }

    #[test]
    fn what_goes_beyond_its_message_is_counted_since_it_is_decoded_before_that_is_seen() {
        let lines = lines(1_000);
        // The purchase has all of the rest, and is in a request that ends before it.
        let inner = begin(number("RecordPurchaseRequest", "purchase"), lines.len());
        let bytes = [begin(1, 2), inner, lines].concat();
        assert!(v1::BatchRecordPurchasesRequest::decode(bytes.as_slice()).is_err());
        let expected = size(&descriptor("RecordPurchaseRequest")) + 1_000 * size(&descriptor("PurchaseLine"));
        assert_eq!(weight("BatchRecordPurchasesRequest", &bytes), expected);
    }

    #[test]
    fn fields_that_there_are_not_weigh_nothing_and_hide_nothing() {
        let purchase = number("QuotePurchaseRequest", "purchase");
        let quote = [begin(purchase, 2_000), lines(1_000)].concat();
        let unknown = [begin(999, 2_000), lines(1_000)].concat();
        assert_eq!(weight("QuotePurchaseRequest", &unknown), 0);
        let mut group = Vec::new();
        encode_key(998, WireType::StartGroup, &mut group);
        group.extend(&quote);
        encode_key(998, WireType::EndGroup, &mut group);
        assert_eq!(weight("QuotePurchaseRequest", &group), 0);
        let hidden = [unknown, group, quote].concat();
        assert_eq!(weight("QuotePurchaseRequest", &hidden), 1_000 * size(&descriptor("PurchaseLine")));
        // Bytes after which nothing is decoded.
        assert_eq!(weight("QuotePurchaseRequest", &[&[7_u8][..], &hidden].concat()), 0);
    }

    #[test]
    fn numbers_weigh_the_same_packed_and_alone() {
        let kinds = number("ListEntriesRequest", "kinds");
        let packed = [begin(kinds, 300), vec![7; 100], [0x80, 1].repeat(100)].concat();
        assert_eq!(weight("ListEntriesRequest", &packed), 200 * 4);
        let mut alone = Vec::new();
        for kind in 0..200 {
            prost::encoding::int32::encode(kinds, &kind, &mut alone);
        }
        assert_eq!(weight("ListEntriesRequest", &alone), 200 * 4);
    }

    #[test]
    fn a_type_is_taken_for_as_large_as_it_is_or_somewhat_larger() {
        let types = [
            ("RecordPurchaseRequest", size_of::<v1::RecordPurchaseRequest>()),
            ("PurchaseLine", size_of::<v1::PurchaseLine>()),
            ("Tender", size_of::<v1::Tender>()),
            ("PointsPayment", size_of::<v1::PointsPayment>()),
            ("Identifier", size_of::<v1::Identifier>()),
            ("ReturnLine", size_of::<v1::ReturnLine>()),
            ("Promotion", size_of::<v1::Promotion>()),
            ("AccrualRule", size_of::<v1::AccrualRule>()),
            ("ActivityRule", size_of::<v1::ActivityRule>()),
            ("Tier", size_of::<v1::Tier>()),
            ("Reward", size_of::<v1::Reward>()),
            ("Offer", size_of::<v1::Offer>()),
            ("VoucherKind", size_of::<v1::VoucherKind>()),
        ];
        for (name, real) in types {
            let taken = size(&descriptor(name));
            assert!((real..=real * 3 / 2).contains(&taken), "{name}: {taken}, it is {real}");
        }
    }

    #[test]
    fn a_light_request_cannot_come_to_too_much() {
        let mut waiting: Vec<MessageDescriptor> =
            CONTRACT.services().flat_map(|it| it.methods().map(|it| it.input()).collect::<Vec<_>>()).collect();
        let mut seen = HashSet::new();
        while let Some(message) = waiting.pop() {
            if !seen.insert(message.full_name().to_owned()) {
                continue;
            }
            for field in message.fields() {
                // An element has a key and a length, a number may be one byte.
                let per_byte = match takes(&field) {
                    Takes::Nothing => 0,
                    Takes::Element(bytes) => bytes.div_ceil(2),
                    Takes::Number(bytes) => bytes,
                };
                assert!(per_byte * LIGHT <= MOST, "{}: {per_byte}", field.full_name());
                if let Kind::Message(inner) = field.kind() {
                    waiting.push(inner);
                }
            }
        }
        assert!(seen.len() > 60, "{}", seen.len());
    }

    #[test]
    fn what_is_as_large_as_it_may_be_is_far_from_too_much() {
        let texts = |count: usize| vec!["x".to_owned(); count];
        let money = || Some(v1::Money { currency_code: "VND".into(), amount: "1".into() });
        let line = v1::PurchaseLine { labels: texts(20), amount: money(), discount: money(), tax: money(), ..Default::default() };
        let purchase = v1::Purchase {
            lines: vec![line; 10],
            labels: texts(20),
            voucher_codes: texts(10),
            codes: texts(10),
            tenders: vec![v1::Tender::default(); 20],
            points_payments: vec![v1::PointsPayment::default(); 10],
            ..Default::default()
        };
        let request = v1::RecordPurchaseRequest { purchase: Some(purchase), ..Default::default() };
        let batch = v1::BatchRecordPurchasesRequest { purchases: vec![request; 1_000] }.encode_to_vec();
        assert!((LIGHT..LARGEST).contains(&batch.len()), "{}", batch.len());
        let weight = weight("BatchRecordPurchasesRequest", &batch);
        assert!((MOST / 4..MOST / 2).contains(&weight), "{weight}");
        assert!(!is_too_heavy::<v1::BatchRecordPurchasesRequest>(&batch));

        // A rule book of short SKUs alone.
        let skus = vec!["12".to_owned(); (LARGEST - 100) / 4];
        let filter = Some(v1::Filter { skus, ..Default::default() });
        let program = v1::Program { accrual_rules: vec![v1::AccrualRule { filter, ..Default::default() }], ..Default::default() };
        let publish = v1::PublishProgramRequest { program: Some(program), ..Default::default() }.encode_to_vec();
        assert!((LARGEST - 100..=LARGEST).contains(&publish.len()));
        assert!(!is_too_heavy::<v1::PublishProgramRequest>(&publish));
    }

    #[test]
    fn two_million_elements_are_too_much_of_a_request_and_nothing_is_too_much_of_an_answer() {
        let elements = begin(1, 0).repeat(2_000_000);
        assert!(is_too_heavy::<v1::BatchRecordPurchasesRequest>(&elements));
        assert!(!is_too_heavy::<v1::BatchRecordPurchasesResponse>(&elements));
        assert!(!is_too_heavy::<v1::BatchRecordPurchasesRequest>(&elements[..20_000]));
        // Of a service that takes larger ones, too.
        assert!(is_too_heavy::<v1::BatchRecordPurchasesRequest>(&elements.repeat(10)));
    }
}
