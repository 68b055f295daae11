//! The descriptors of the contract, which the tests get from the build.

use std::fs;

use prost::Message as _;

pub fn contract() -> Vec<u8> {
    let protos = loyaltyd_fuzz::root().join("proto");
    let mut files: Vec<_> =
        fs::read_dir(protos.join("loyalty/v1")).expect("the contract is there").map(|item| item.expect("a file").path()).collect();
    files.sort();
    protox::compile(files, [protos]).expect("the contract compiles").encode_to_vec()
}
