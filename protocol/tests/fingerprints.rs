//! Friend fingerprints against `vectors/01-fingerprint-identity.json` (`spec/01` §7).

mod support;

use pyrgos_crypto::hash::blake2b_512;
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::{FingerPrint, FingerPrinted, KeyHash};
use serde_json::Value as Json;
use support::{Cases, array, boolean, bytes, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("01-fingerprint-identity");
    cases.section("fingerprints").iter().for_each(fingerprint);
    for case in cases.section("browser_blake2b") {
        // The browser's function is the standard one over a block of zeros and the input.
        let input = [vec![0; 128], bytes(&case, "input")].concat();
        assert_eq!(blake2b_512(&input), array(&case, "web_client_output"));
    }
    cases.skip_section("identity_links", "replayed by the test `social`");
    cases.finish();
}

fn hashes(case: &Json, key: &str) -> [KeyHash; 2] {
    [0, 1].map(|at| KeyHash::from_bytes(&hex::decode(case[key][at].as_str().unwrap()).unwrap()).unwrap())
}

fn fingerprint(case: &Json) {
    let (our_hashes, friend_hashes) = (hashes(case, "our_key_hashes_cbor"), hashes(case, "friend_key_hashes_cbor"));
    let us = FingerPrinted { username: text(case, "our_name"), identity: &our_hashes[0], boxing: &our_hashes[1] };
    let friend =
        FingerPrinted { username: text(case, "friend_name"), identity: &friend_hashes[0], boxing: &friend_hashes[1] };

    // The variant that people meet.
    let ours = FingerPrint::of(us, friend);
    let expected =
        FingerPrint::from_halves(array(case, "browser_our_fingerprint"), array(case, "browser_friend_fingerprint"));
    assert_eq!(ours, expected);
    assert_eq!(ours.digits(), text(case, "browser_display_string"));
    assert_eq!(ours.to_bytes(), bytes(case, "browser_cbor"));
    let theirs = FingerPrint::of(friend, us);
    assert!(ours.matches(&theirs) && theirs.matches(&ours) && !ours.matches(&ours));
    assert_eq!(theirs.digits(), ours.digits());

    // The halves of the Java classes come from another hash, but what is made of them is the same.
    let java = FingerPrint::from_halves(array(case, "our_fingerprint"), array(case, "friend_fingerprint"));
    assert_eq!(java.digits(), text(case, "display_string"));
    assert_eq!(java.to_bytes(), bytes(case, "cbor"));
    assert_eq!(text(case, "qr_text"), hex::encode(java.to_bytes()));
    let friend_side = FingerPrint::from_bytes(&bytes(case, "friend_side_cbor")).unwrap();
    assert_eq!(friend_side.digits(), text(case, "friend_side_display_string"));
    assert_eq!(java.matches(&friend_side), boolean(case, "matches"));
    assert_eq!(java.matches(&java), boolean(case, "matches_itself"));
    assert_ne!(java, ours);
    // Both halves count: a scanned code that has only one of them right is somebody else's.
    let [own, friend] = ["our_fingerprint", "friend_fingerprint"].map(|key| array::<32>(case, key));
    assert!(java.matches(&FingerPrint::from_halves(friend, own)));
    assert!(!java.matches(&FingerPrint::from_halves(friend, [0; 32])));
    assert!(!java.matches(&FingerPrint::from_halves([0; 32], own)));
}
