#![no_main]
use pyrgos_protocol::encoding::Value;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pyrgos_fuzz::structure::<Value>(bytes));
