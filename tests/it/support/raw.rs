//! Descriptors of this build, and calls without generated types. These calls are the fuzz targets' own, which are a crate that cannot use ours.

use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Request, Status, client::Grpc, transport::Channel};

pub use crate::fuzz::targets::raw::{path, streaming};

/// What is stored, of this build.
pub fn storage() -> DescriptorPool {
    DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/storage.bin"))[..]).expect("the build wrote the descriptors")
}

/// By a path such as `/loyalty.v1.MemberService/GetMember`.
pub fn method(pool: &DescriptorPool, path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    let service = pool.get_service_by_name(service)?;
    service.methods().find(|method| method.name() == name)
}

/// One request, one answer, as stock clients read it.
pub async fn unary(channel: &Channel, path: &str, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    crate::fuzz::targets::raw::unary(Grpc::new(channel.clone()), path, Request::new(request)).await
}
