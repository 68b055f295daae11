#![no_main]

mod contract;

use std::sync::{LazyLock, Mutex};

use loyaltyd_fuzz::requests::{Shop, Tally};

/// One service for all, stopped by nobody: what it holds grows, as it does with a service of long standing.
static SHOP: LazyLock<Mutex<(Shop, Tally)>> = LazyLock::new(|| Mutex::new((Shop::open(&contract::contract(), false), Tally::default())));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut shop = SHOP.lock().expect("nothing goes on after a panic");
    let (shop, tally) = &mut *shop;
    shop.run(data, tally);
});
