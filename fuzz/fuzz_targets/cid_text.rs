#![no_main]
use pyrgos_protocol::encoding::Cid;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pyrgos_fuzz::text::<Cid>(bytes));
