//! Generated protobuf types.

pub mod program;

#[allow(clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("loyalty.v1");
}
