//! Messages of the contract as proto3 JSON.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

/// All that the contract describes.
pub static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let contract: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));
    DescriptorPool::decode(contract).expect("the build wrote the descriptors")
});

/// On one line. `name`: of the message, without the package.
pub fn to_json(name: &str, message: &impl Message) -> String {
    let descriptor = CONTRACT.get_message_by_name(&format!("loyalty.v1.{name}")).expect("the contract has the message");
    let mut shown = DynamicMessage::new(descriptor);
    shown.transcode_from(message).expect("the message is what its descriptor says");
    serde_json::to_string(&shown).expect("every message has a JSON form")
}
