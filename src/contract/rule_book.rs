//! Rule-book files: YAML or JSON text in the proto3 JSON form of [`v1::Program`].
//!
//! JSON is read as the YAML that it also is. A number that stands where the contract has a decimal string is taken as it is written,
//! digit by digit, so that `amount: 10000` and `multiplier: 1.25` mean what they say without quotes; no float comes between.

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::Serialize;

use super::{
    json::CONTRACT,
    known_fields::{Fault, KnownFields},
    v1,
};

/// Bound of a rule-book file, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Containers in one another; a rule book needs six.
const MAX_DEPTH: usize = 16;

static PROGRAM: LazyLock<MessageDescriptor> =
    LazyLock::new(|| CONTRACT.get_message_by_name("loyalty.v1.Program").expect("the contract has the message"));

static KNOWN: LazyLock<KnownFields> = LazyLock::new(|| KnownFields::of(&PROGRAM));

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleBookError {
    #[error("the rule book has {found} bytes; at most {MAX_BYTES} are allowed")]
    TooLarge { found: usize },
    /// With line, column and an excerpt.
    #[error("the rule book cannot be read: {0}")]
    Syntax(String),
}

/// Reads a rule book. Whether it makes sense is for [`super::program::parse`] to say.
pub fn read(text: &str) -> Result<v1::Program, RuleBookError> {
    if text.len() > MAX_BYTES {
        return Err(RuleBookError::TooLarge { found: text.len() });
    }
    let read = |yaml: serde_saphyr::Deserializer<'_, '_>| DynamicMessage::deserialize(PROGRAM.clone(), yaml);
    let document = serde_saphyr::with_deserializer_from_str_with_options(text, options(), read)
        .map_err(|error| RuleBookError::Syntax(error.to_string()))?;
    document.transcode_to().map_err(|error| RuleBookError::Syntax(error.to_string()))
}

/// Reads a rule book as it is stored. A field that this version does not know is a fault: rules are not held to by half.
pub fn decode(document: &[u8]) -> Result<v1::Program, Fault> {
    KNOWN.check(document)?;
    v1::Program::decode(document).map_err(|_| Fault::Malformed)
}

/// Writes a rule book as YAML.
pub fn to_yaml(program: &v1::Program) -> String {
    serde_saphyr::to_string(&Document(program)).expect("every rule book has a YAML form")
}

/// Writes a rule book as JSON.
pub fn to_json(program: &v1::Program) -> String {
    serde_json::to_string_pretty(&Document(program)).expect("every rule book has a JSON form")
}

/// Nothing in a rule book needs anchors, merges, several documents or deep nesting: they are refused rather than bounded.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_aliases: 0, max_anchors: 0, max_merge_keys: 0, max_documents: 1 },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
    }
}

struct Document<'a>(&'a v1::Program);

impl Serialize for Document<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = DynamicMessage::new(PROGRAM.clone());
        document.transcode_from(self.0).map_err(serde::ser::Error::custom)?;
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        document.serialize_with_options(serializer, &options)
    }
}
