//! Compiles the protos with protox, so that no protoc is needed, and keeps the contract's descriptors for reflection and rule-book files.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let contract = protox::compile(proto_files("proto/loyalty/v1")?, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("contract.bin"), contract.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(contract)?;
    let storage = protox::compile(proto_files("proto/loyalty/storage/v1")?, ["proto"])?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(storage)?;
    Ok(())
}

fn proto_files(folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    Ok(files)
}
