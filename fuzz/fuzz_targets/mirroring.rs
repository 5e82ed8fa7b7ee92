#![no_main]
use pyrgos_protocol::api::Call;
use pyrgos_protocol::api::mirror::{GetMirrors, MirrorReport};
use pyrgos_protocol::merkle::bat::Bat;
use pyrgos_protocol::migration::UserSnapshot;
use pyrgos_protocol::mirroring::{DifferencePart, DifferenceRequest, MirrorList, MirrorProof, MirrorToken, Notice};
use pyrgos_protocol::names::Username;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pyrgos_fuzz::structure::<UserSnapshot>(bytes);
    pyrgos_fuzz::structure::<DifferenceRequest>(bytes);
    pyrgos_fuzz::structure::<MirrorProof>(bytes);
    pyrgos_fuzz::structure::<MirrorList>(bytes);
    pyrgos_fuzz::secret_text(bytes, str::parse::<MirrorToken>);
    Notice::open(&Bat::from_bytes([1; 32]), bytes);
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    // It ends in one of both, in bounded time and memory.
    let _ = DifferencePart::from_bytes(&bytes);
    let username = Username::existing("alice").expect("a name");
    let call = GetMirrors { username, auth: bytes.clone() };
    let _: Result<MirrorReport, _> = call.read_body(bytes);
});
