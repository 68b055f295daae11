//! Messages of the contract that are nearly right: of their types, with values that a caller could send, and some that none should.

use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};

use super::entropy::Entropy;

const HOSTILE: [&str; 30] = [
    "",
    " ",
    "\0",
    "a\nb",
    "\u{202e}x",
    "điểm",
    "😀",
    "../../etc/passwd",
    "%s%n",
    "'; DROP TABLE members; --",
    "0",
    "-0",
    "-1",
    "+1",
    "1e9",
    ".5",
    "5.",
    "NaN",
    "００１",
    "0.0000000000000000000000000001",
    "79228162514264337593543950335",
    "79228162514264337593543950336",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "999999999999999",
    "true",
    "null",
    "00000000-0000-7000-8000-000000000000",
    "member.purchases > 0 && size(purchase.channel) > 0",
];

const NUMBERS: [i64; 18] =
    [0, 1, 2, 5, 10, 100, 1_000, 100_000, -1, -2, -100, 255, 65_536, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN, i64::MAX - 1];

/// 2026-03-10T05:00:00Z, the time of the service that is called.
const NOW: i64 = 1_773_118_800;

/// Words that mean something to the service, by the field that they are for: `member_id` and such; no field: all others.
pub struct Words(pub Vec<(&'static str, Vec<String>)>);

impl Words {
    fn pick(&self, field: &str, entropy: &mut Entropy<'_>) -> String {
        if entropy.one_in(6) {
            return hostile(entropy);
        }
        let own = self.0.iter().find(|(name, words)| !words.is_empty() && field.ends_with(name));
        let (_, words) = own.unwrap_or_else(|| entropy.pick(&self.0));
        if words.is_empty() { hostile(entropy) } else { entropy.pick(words).clone() }
    }
}

fn hostile(entropy: &mut Entropy<'_>) -> String {
    let word = *entropy.pick(&HOSTILE);
    match entropy.below(12) {
        0 => "x".repeat(*entropy.pick(&[63, 64, 65, 120, 121, 254, 255, 256, 500, 501, 70_000])),
        1 => word.repeat(1 + entropy.below(40)),
        2 => (0..entropy.below(24)).map(|_| char::from_u32(u32::from(entropy.byte()) << 3 | 1).unwrap_or('x')).collect(),
        _ => word.to_owned(),
    }
}

fn number(entropy: &mut Entropy<'_>) -> i64 {
    match entropy.below(4) {
        0 => i64::from(entropy.byte()),
        1 => entropy.number() as i64,
        _ => *entropy.pick(&NUMBERS),
    }
}

/// A message made of nothing.
pub fn made(message: &MessageDescriptor, words: &Words, entropy: &mut Entropy<'_>, depth: usize) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    if matches!(message.full_name(), "google.protobuf.Timestamp" | "google.protobuf.Duration") {
        let day = 86_400 * (entropy.below(80) as i64 - 40);
        let seconds = match entropy.below(8) {
            0 => number(entropy),
            _ if message.name() == "Duration" => day.abs() / 50,
            _ => NOW + day,
        };
        made.set_field_by_name("seconds", Value::I64(seconds));
        if entropy.one_in(4) {
            made.set_field_by_name("nanos", Value::I32(number(entropy) as i32));
        }
        return made;
    }
    for field in message.fields() {
        let wanted = if depth == 0 { !entropy.one_in(6) } else { entropy.below(2) == 0 };
        if wanted && !entropy.is_empty() {
            set(&mut made, &field, words, entropy, depth);
        }
    }
    made
}

fn set(message: &mut DynamicMessage, field: &FieldDescriptor, words: &Words, entropy: &mut Entropy<'_>, depth: usize) {
    // Deeper than any message of the contract needs.
    if depth > 7 {
        return;
    }
    let value = if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let items = (0..entropy.below(4)).map(|_| {
            let key = match entry.map_entry_key_field().kind() {
                Kind::String => MapKey::String(words.pick("", entropy)),
                _ => return None,
            };
            Some((key, one(&entry.map_entry_value_field(), words, entropy, depth)))
        });
        Value::Map(items.flatten().collect())
    } else if field.cardinality() == Cardinality::Repeated {
        let count = if entropy.one_in(40) { 1 + entropy.below(600) } else { entropy.below(4) };
        Value::List((0..count).map(|_| one(field, words, entropy, depth)).collect())
    } else {
        one(field, words, entropy, depth)
    };
    // Sizes of numbers follow from the kind, so that the value fits.
    message.set_field(field, value);
}

fn one(field: &FieldDescriptor, words: &Words, entropy: &mut Entropy<'_>, depth: usize) -> Value {
    match field.kind() {
        Kind::Message(inner) => Value::Message(made(&inner, words, entropy, depth + 1)),
        Kind::String => Value::String(words.pick(field.name(), entropy)),
        Kind::Bytes => Value::Bytes((0..entropy.below(40)).map(|_| entropy.byte()).collect::<Vec<u8>>().into()),
        Kind::Bool => Value::Bool(entropy.below(2) == 1),
        Kind::Enum(of) => Value::EnumNumber(match entropy.below(8) {
            0 => number(entropy) as i32,
            _ => entropy.below(of.values().len()) as i32,
        }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(entropy) as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number(entropy)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number(entropy) as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number(entropy) as u64),
        Kind::Float => Value::F32(f32::from_bits(entropy.number() as u32)),
        Kind::Double => Value::F64(f64::from_bits(entropy.number())),
    }
}

/// Changes a field somewhere in it.
pub fn change(message: &mut DynamicMessage, words: &Words, entropy: &mut Entropy<'_>, depth: usize) {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    if fields.is_empty() {
        return;
    }
    let set_ones: Vec<FieldDescriptor> = fields.iter().filter(|field| message.has_field(field)).cloned().collect();
    // Mostly of those that are there.
    let field = if set_ones.is_empty() || entropy.one_in(4) { entropy.pick(&fields) } else { entropy.pick(&set_ones) }.clone();
    if message.has_field(&field) && !entropy.one_in(6) {
        match message.get_field_mut(&field) {
            Value::Message(inner) => return change(inner, words, entropy, depth + 1),
            Value::List(items) if !items.is_empty() => {
                let place = entropy.below(items.len());
                let what = entropy.below(4);
                if what == 0 {
                    items.remove(place);
                } else if what == 1 {
                    let again = items[place].clone();
                    items.push(again);
                } else if let Value::Message(inner) = &mut items[place] {
                    change(inner, words, entropy, depth + 1);
                } else {
                    items[place] = one(&field, words, entropy, depth);
                }
                return;
            }
            _ => {}
        }
    }
    if entropy.one_in(5) {
        message.clear_field(&field);
    } else {
        set(message, &field, words, entropy, depth);
    }
}
