//! Compiles the protos with protox, so that no protoc is needed, and keeps the contract's descriptors for reflection and rule-book files, and
//! those of what is stored, to read it strictly.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let contract = protox::compile(proto_files("proto/loyalty/v1")?, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("contract.bin"), contract.encode_to_vec())?;
    let mut names = tonic_prost_build::Config::new();
    // By them the codec finds what it has to know of a message.
    names.enable_type_names();
    // What says the same has the same bytes, and a request's fingerprint is made of them.
    let generated = tonic_prost_build::configure().btree_map(".loyalty.v1.TierBenefits");
    generated.codec_path("crate::contract::codec::Codec").compile_fds_with_config(contract, names)?;
    let storage = protox::compile(proto_files("proto/loyalty/storage/v1")?, ["proto"])?;
    fs::write(out.join("storage.bin"), storage.encode_to_vec())?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(storage)?;
    tell_versions();
    tell_revision();
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

/// The commit that a release is built from. Other builds do not ask: each commit would have them built anew.
fn tell_revision() {
    println!("cargo:rerun-if-env-changed=LOYALTYD_REVISION");
    let given = env::var("LOYALTYD_REVISION").ok().filter(|given| !given.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = given.or_else(|| is_release.then(revision).flatten()).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    println!("cargo:rustc-env=LOYALTYD_REVISION={}", revision.as_deref().unwrap_or("unknown"));
}

/// `None`: this is no working copy of its own, or there is no git.
fn revision() -> Option<String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let git = |words: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let places = [git(&["rev-parse", "--git-path", "HEAD"]), git(&["rev-parse", "--symbolic-full-name", "HEAD"])];
    for place in places.into_iter().flatten() {
        let path = if place.starts_with("refs/") { git(&["rev-parse", "--git-path", &place])? } else { place };
        if root.join(&path).exists() {
            println!("cargo:rerun-if-changed={}", root.join(path).display());
        }
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=build.rs");
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    Some(if is_changed { format!("{commit}+changes") } else { commit })
}

fn proto_files(folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    Ok(files)
}
