#![no_main]

mod contract;

use std::sync::LazyLock;

use loyaltyd_fuzz::{files, requests::Shop};

static SHOP: LazyLock<Shop> = LazyLock::new(|| Shop::open(&contract::contract(), false));

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::csv(&SHOP, data));
