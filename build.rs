//! Compiles the protos with protox, so that no protoc is needed, and keeps the contract's descriptors for reflection and rule-book files.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let contract = protox::compile(proto_files("proto/loyalty/v1")?, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("contract.bin"), contract.encode_to_vec())?;
    // What says the same has the same bytes, and a request's fingerprint is made of them.
    tonic_prost_build::configure().btree_map(".loyalty.v1.TierBenefits").compile_fds(contract)?;
    let storage = protox::compile(proto_files("proto/loyalty/storage/v1")?, ["proto"])?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(storage)?;
    tell_versions();
    Ok(())
}

/// Of what the figures of `loyaltyd bench` depend on.
fn tell_versions() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let compiler = env::var_os("RUSTC").and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty());
    println!("cargo:rustc-env=LOYALTYD_RUSTC={}", compiler.as_deref().unwrap_or("rustc unknown"));
    let locked = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let sled = locked.split("name = \"sled\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    println!("cargo:rustc-env=LOYALTYD_SLED={}", sled.unwrap_or("none"));
}

fn proto_files(folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    Ok(files)
}
