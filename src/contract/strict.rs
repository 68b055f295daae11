//! Requests of which nothing may be left out. A generated type drops a field that it does not know, which is right for most requests, and wrong for
//! a rule book: a rule of a newer contract would be lost without a word, and the programme would give and take by what is left. So is a
//! field beside the book, which may say that nothing is to be published.

use std::{collections::HashMap, sync::LazyLock};

use prost::Name;
use prost_reflect::{Kind, MessageDescriptor};

use super::{
    json::CONTRACT,
    known_fields::{self, Fault, KnownFields},
    v1,
};

static PUBLISH: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let request = CONTRACT.get_message_by_name(&v1::PublishProgramRequest::full_name());
    request.expect("the contract has the message")
});

static KNOWN: LazyLock<KnownFields> = LazyLock::new(|| KnownFields::of(&PUBLISH));

/// The place of the first field that this version does not know, with its number for a name, as in `program.accrual_rules[0].99`; of a
/// request that is not read so, and of what is no message, which decoding finds, `None`.
pub fn unknown_field<M: Name>(bytes: &[u8]) -> Option<String> {
    if M::NAME != v1::PublishProgramRequest::NAME {
        return None;
    }
    match KNOWN.check(bytes) {
        Ok(()) | Err(Fault::Malformed) => None,
        // It was found, and is found again.
        Err(Fault::Unknown(_)) => place(&PUBLISH, bytes),
    }
}

/// `bytes` were walked before as far as to that field, and are not too deep.
fn place(message: &MessageDescriptor, mut bytes: &[u8]) -> Option<String> {
    let mut seen = HashMap::<u32, usize>::new();
    while !bytes.is_empty() {
        let (number, wire_type) = known_fields::key(&mut bytes).ok()?;
        let Some(field) = u32::try_from(number).ok().and_then(|number| message.get_field(number)) else { return Some(number.to_string()) };
        let value = known_fields::value(wire_type, &mut bytes).ok()?;
        let times = seen.entry(field.number()).or_default();
        if let (Kind::Message(inner), Some(value)) = (field.kind(), value)
            && let Some(rest) = place(&inner, value)
        {
            let index = if field.is_list() || field.is_map() { format!("[{times}]") } else { String::new() };
            return Some(format!("{}{index}.{rest}", field.name()));
        }
        *times += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// A field that there is not, as a newer client writes it: by each wire type, the group too.
    const UNKNOWN: [&[u8]; 5] = [
        &[0xf8, 0x3f, 1],
        &[0xf9, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xfa, 0x3f, 1, b'x'],
        &[0xfd, 0x3f, 0, 0, 0, 0],
        &[0xfb, 0x3f, 0xfc, 0x3f],
    ];

    fn inside(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("it is short");
        assert!(length < 128 && number < 16);
        [&[number << 3 | 2, length][..], content].concat()
    }

    fn of(number: &str) -> u8 {
        let program = PUBLISH.get_field_by_name("program").expect("it has a rule book");
        let Kind::Message(program) = program.kind() else { panic!("the rule book is a message") };
        u8::try_from(program.get_field_by_name(number).expect("a field").number()).expect("a small number")
    }

    #[test]
    fn a_field_that_is_not_known_is_found_wherever_it_is() {
        let program = u8::try_from(PUBLISH.get_field_by_name("program").expect("a field").number()).expect("a small number");
        let rules = of("accrual_rules");
        let rule = v1::AccrualRule { rule_id: "base".into(), ..Default::default() }.encode_to_vec();
        for unknown in UNKNOWN {
            let find = unknown_field::<v1::PublishProgramRequest>;
            assert_eq!(find(unknown).as_deref(), Some("1023"));
            assert_eq!(find(&inside(program, unknown)).as_deref(), Some("program.1023"));
            let second = [inside(rules, &rule), inside(rules, &[&rule, unknown].concat())].concat();
            assert_eq!(find(&inside(program, &second)).as_deref(), Some("program.accrual_rules[1].1023"));
            assert_eq!(find(&inside(program, &inside(rules, &rule))), None);
            assert_eq!(unknown_field::<v1::GetProgramRequest>(unknown), None, "of others what is not known is left out");
        }
    }
}
