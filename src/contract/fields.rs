//! The fields of messages by their numbers, with what is to be known of each: for walks over bytes that are not decoded.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Messages, and all messages in them.
#[derive(Debug)]
pub struct Fields<K>(Vec<Message<K>>);

#[derive(Debug)]
struct Message<K> {
    name: String,
    /// By number.
    fields: Vec<Option<Field<K>>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Field<K> {
    pub known: K,
    /// The place of the message that it holds.
    pub inner: Option<usize>,
}

impl<K: Copy> Fields<K> {
    /// The first places are those of `messages`, in their order.
    pub fn of(messages: &[MessageDescriptor], known: impl Fn(&FieldDescriptor) -> K) -> Self {
        let mut waiting = messages.to_vec();
        let mut places: HashMap<String, usize> = waiting.iter().enumerate().map(|(place, it)| (it.full_name().to_owned(), place)).collect();
        let mut list = Vec::new();
        while let Some(message) = waiting.get(list.len()).cloned() {
            let mut fields = Vec::new();
            for field in message.fields() {
                let inner = match field.kind() {
                    Kind::Message(inner) => Some(*places.entry(inner.full_name().to_owned()).or_insert_with(|| {
                        waiting.push(inner);
                        waiting.len() - 1
                    })),
                    _ => None,
                };
                let number = field.number() as usize;
                fields.resize(fields.len().max(number + 1), None);
                fields[number] = Some(Field { known: known(&field), inner });
            }
            list.push(Message { name: message.full_name().to_owned(), fields });
        }
        Self(list)
    }

    /// `None`: the message has no such field.
    pub fn field(&self, message: usize, number: u64) -> Option<Field<K>> {
        let number = usize::try_from(number).ok()?;
        self.0[message].fields.get(number).copied().flatten()
    }

    pub fn name(&self, message: usize) -> &str {
        &self.0[message].name
    }
}
