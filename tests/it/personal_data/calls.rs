//! Calls of whatever method with whatever message, made by walking along the contract's descriptors.

use std::collections::HashMap;

use loyaltyd::contract::json::CONTRACT;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value};
use tonic::{Request, Status, client::Grpc, transport::Channel};

use crate::support::raw;

/// Messages in messages that are followed.
const MAX_DEPTH: usize = 7;

/// All methods of the contract. The one behind which nobody is there any more comes last.
pub fn methods() -> Vec<MethodDescriptor> {
    let mut all: Vec<MethodDescriptor> = CONTRACT.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    all.sort_by_key(|method| method.name() == "EraseMember");
    assert!(all.len() > 50, "{} methods", all.len());
    all
}

/// From field to field to one that holds text, or bytes.
pub type Way = Vec<FieldDescriptor>;

/// Every way to a text in a message.
pub fn ways(message: &MessageDescriptor) -> Vec<Way> {
    let mut found = Vec::new();
    follow(message, &mut Vec::new(), &mut found);
    found
}

fn follow(message: &MessageDescriptor, way: &mut Way, found: &mut Vec<Way>) {
    if way.len() == MAX_DEPTH {
        return;
    }
    for field in message.fields() {
        way.push(field.clone());
        match field.kind() {
            Kind::String | Kind::Bytes => found.push(way.clone()),
            Kind::Message(entry) if field.is_map() => {
                let texts = entry.fields().filter(|field| matches!(field.kind(), Kind::String)).count();
                if texts > 0 {
                    found.push(way.clone());
                }
            }
            // Those of Google's have no text of a caller's.
            Kind::Message(inner) if inner.package_name() == "loyalty.v1" || inner.name() == "FieldMask" => follow(&inner, way, found),
            _ => {}
        }
        way.pop();
    }
}

pub fn name(way: &[FieldDescriptor]) -> String {
    way.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// What a request is filled with, so that it is refused late or not at all: by the field's name, or of a message by the message's.
pub struct Filling {
    pub texts: HashMap<&'static str, String>,
}

impl Filling {
    fn text(&self, field: &FieldDescriptor) -> String {
        // A request's own id is another one each time.
        if field.name() == "request_id" {
            return uuid::Uuid::now_v7().to_string();
        }
        self.texts.get(field.name()).cloned().unwrap_or_default()
    }

    /// A message with what it takes to be looked at.
    pub fn message(&self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        match of.name() {
            "Money" => {
                message.set_field_by_name("currency_code", Value::String("VND".into()));
                message.set_field_by_name("amount", Value::String("100000".into()));
                return message;
            }
            "MemberRef" => {
                message.set_field_by_name("member_id", Value::String(self.texts["member_id"].clone()));
                return message;
            }
            "Identifier" => {
                message.set_field_by_name("kind", Value::EnumNumber(1));
                message.set_field_by_name("value", Value::String("some-card".into()));
                return message;
            }
            "FieldMask" => {
                message.set_field_by_name("paths", Value::List(vec![Value::String("display_name".into())]));
                return message;
            }
            // What of it could be said is said by its own way.
            "Program" => {
                message.set_field_by_name("program_id", Value::String(self.texts["program_id"].clone()));
                return message;
            }
            _ => {}
        }
        if depth == MAX_DEPTH {
            return message;
        }
        for field in of.fields().filter(|field| field.containing_oneof().is_none()) {
            let value = match field.kind() {
                _ if field.is_map() => continue,
                Kind::String => match self.text(&field) {
                    text if text.is_empty() => continue,
                    text => Value::String(text),
                },
                Kind::Message(inner) if WANTED.contains(&field.name()) => Value::Message(self.message(&inner, depth + 1)),
                Kind::Int64 if ["points", "sequence", "redemption_sequence"].contains(&field.name()) => Value::I64(1),
                _ => continue,
            };
            message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
        message
    }
}

/// Messages that a request has to have, or that a purchase has.
const WANTED: [&str; 12] =
    ["member", "recipient", "into", "actor", "purchase", "purchases", "lines", "total", "amount", "profile", "identifier", "update_mask"];

/// Puts a text where a way leads to; what lies on it is made if it is missing.
pub fn plant(message: &mut DynamicMessage, way: &[FieldDescriptor], text: &str, filling: &Filling) {
    let Some((field, rest)) = way.split_first() else { return };
    if let Kind::Message(inner) = field.kind()
        && !field.is_map()
    {
        let mut value = match message.get_field(field).into_owned() {
            Value::Message(one) if message.has_field(field) => one,
            Value::List(mut list) if !list.is_empty() => match list.remove(0) {
                Value::Message(one) => one,
                _ => filling.message(&inner, 0),
            },
            _ => filling.message(&inner, 0),
        };
        plant(&mut value, rest, text, filling);
        let value = Value::Message(value);
        message.set_field(field, if field.is_list() { Value::List(vec![value]) } else { value });
        return;
    }
    let value = match field.kind() {
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec().into()),
        Kind::Message(entry) => {
            let of_text = matches!(entry.map_entry_value_field().kind(), Kind::String);
            let value = if of_text { Value::String(text.into()) } else { Value::default_value_for_field(&entry.map_entry_value_field()) };
            let key = match entry.map_entry_key_field().kind() {
                Kind::String => MapKey::String(text.into()),
                _ => MapKey::I32(1),
            };
            return message.set_field(field, Value::Map([(key, value)].into()));
        }
        _ => Value::String(text.into()),
    };
    message.set_field(field, if field.is_list() { Value::List(vec![value]) } else { value });
}

/// Calls a method and reads all its answers; a stream gets one request.
pub async fn call(channel: &Channel, method: &MethodDescriptor, request: &DynamicMessage) -> Result<Vec<DynamicMessage>, Status> {
    let client = Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    let requests = tokio_stream::once(request.encode_to_vec());
    let mut answers = raw::streaming(client, &raw::path(method), Request::new(requests)).await?;
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(DynamicMessage::decode(method.output(), answer.as_slice()).expect("an answer of the method's type"));
    }
    Ok(all)
}
