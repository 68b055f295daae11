#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| loyaltyd_fuzz::rule_books::run(data));
