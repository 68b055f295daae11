//! A server that knows its callers, and calls with credentials: typed, or of any method as bytes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use loyaltyd::{
    config::{AccessConfig, Openness},
    grpc::access::key,
    ledger::ManualClock,
};
use prost_reflect::{DescriptorPool, ServiceDescriptor};
use tempfile::TempDir;
use tokio_stream::StreamExt as _;
use tonic::{
    Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::{TestServer, config, noon, raw, rule_book};

/// The credentials of each role, in programme `vietnam` unless something else is said.
pub struct Guarded {
    pub server: TestServer,
    pub file: PathBuf,
}

/// A new key, and its hash for the file.
pub fn key() -> (String, String) {
    let key = key::make().expect("randomness");
    let hash = key::hash_text(&key);
    (key, hash)
}

/// A principal with one key, as the file has it.
pub fn principal(id: &str, role: &str, programs: &str, more: &str) -> (String, String) {
    let (key, hash) = key();
    let line = format!(
        "  - {{principal_id: {id}, roles: [{role}], programs: [{programs}], {more}api_keys: [{{key_id: one, hash: \"{hash}\"}}]}}\n"
    );
    (key, line)
}

pub fn file_of(principals: &[&str]) -> String {
    format!("principals:\n{}", principals.concat())
}

/// With an access file of this text, looked at a hundred times a second.
pub async fn guarded(text: &str) -> Guarded {
    guarded_with(text, Openness::Open).await
}

pub async fn guarded_with(text: &str, openness: Openness) -> Guarded {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("access.yaml");
    std::fs::write(&file, text).expect("a file can be written");
    let access = AccessConfig {
        file: Some(file.clone()),
        look_every: Duration::from_millis(10),
        reflection: openness,
        health: openness,
        ..AccessConfig::default()
    };
    let config = loyaltyd::config::Config { access, ..config(folder.path(), vec![rule_book()]) };
    let server = TestServer::start_with(folder, Arc::new(ManualClock::new(noon())), config).await;
    Guarded { server, file }
}

pub fn bearer(credential: &str) -> MetadataValue<Ascii> {
    format!("Bearer {credential}").parse().expect("a header")
}

/// A request with a credential.
pub fn by<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer(credential));
    request
}

impl Guarded {
    /// Puts another file in the place of the one that is there, and waits until it holds: until a call with `witness`, a key that this
    /// file is the first to have, is let in.
    pub async fn replace(&self, text: &str, witness: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, text).expect("a file can be written");
        std::fs::rename(&next, &self.file).expect("a file can be moved");
        let patience = async {
            while self.list_programs(witness).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), patience).await.expect("the file is read again");
    }

    pub async fn list_programs(&self, credential: &str) -> Result<Vec<String>, Status> {
        let answer = self.server.programs().list_programs(by(credential, Default::default())).await?;
        Ok(answer.into_inner().programs.into_iter().map(|program| program.program_id).collect())
    }
}

pub fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Calls any method, of whatever kind, with one message; all that it answers.
pub async fn call(channel: &Channel, path: &str, credential: Option<&str>, message: Vec<u8>) -> Result<Vec<Vec<u8>>, Status> {
    let mut request = Request::new(tokio_stream::once(message));
    if let Some(credential) = credential {
        request.metadata_mut().insert("authorization", bearer(credential));
    }
    send(channel, path, request).await
}

pub async fn send(
    channel: &Channel,
    path: &str,
    request: Request<impl tokio_stream::Stream<Item = Vec<u8>> + Send + 'static>,
) -> Result<Vec<Vec<u8>>, Status> {
    raw::streaming(Grpc::new(channel.clone()), path, request).await?.collect().await
}

/// The contract as it was compiled.
pub fn contract() -> DescriptorPool {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));
    DescriptorPool::decode(bytes).expect("the build wrote it")
}

pub fn methods(pool: &DescriptorPool) -> Vec<prost_reflect::MethodDescriptor> {
    pool.services().flat_map(|service: ServiceDescriptor| service.methods().collect::<Vec<_>>()).collect()
}
