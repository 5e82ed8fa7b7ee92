#![no_main]
use pyrgos_protocol::merkle::bat::Bat;
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::{MirrorToken, Notice};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pyrgos_fuzz::structure::<UserSnapshot>(bytes);
    pyrgos_fuzz::secret_text(bytes, str::parse::<MirrorToken>);
    Notice::open(&Bat::from_bytes([1; 32]), bytes);
});
