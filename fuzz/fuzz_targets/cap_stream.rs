#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pyrgos_fuzz::cap_stream(bytes));
