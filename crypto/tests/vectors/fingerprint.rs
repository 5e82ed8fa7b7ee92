use pyrgos_crypto::{Error, fingerprint, hash, sign};

use crate::Vectors;

const FILE: &str = "01-fingerprint-identity";

#[test]
fn halves_and_digits() {
    let cases = Vectors::load(FILE).cases("fingerprints");
    for case in &cases {
        let half = |name: &str, hashes: &str| {
            let [a, b] = key_hashes(case, hashes);
            let half = fingerprint::half(case.text(name), &a, &b);
            assert_eq!(half, fingerprint::half(case.text(name), &b, &a));
            half
        };
        let ours = half("our_name", "our_key_hashes_cbor");
        let friends = half("friend_name", "friend_key_hashes_cbor");
        assert_eq!(ours, case.array("browser_our_fingerprint"));
        assert_eq!(friends, case.array("browser_friend_fingerprint"));
        let digits = case.text("browser_display_string");
        assert_eq!(fingerprint::digits(&ours, &friends), digits);
        assert_eq!(fingerprint::digits(&friends, &ours), digits);

        // The digits of the other build, from its halves.
        let digits = case.text("display_string");
        let (ours, friends) = (case.array("our_fingerprint"), case.array("friend_fingerprint"));
        assert_eq!(fingerprint::digits(&ours, &friends), digits);
        assert_eq!(digits, case.text("friend_side_display_string"));
    }
    println!("{FILE} fingerprints: {} cases", cases.len());
}

/// The other build hashes without the block of zeros; with its halves the vectors prove what surrounds the hash twice.
#[test]
fn halves_of_the_other_build() {
    let cases = Vectors::load(FILE).cases("fingerprints");
    for case in &cases {
        for (name, hashes, expected) in [
            ("our_name", "our_key_hashes_cbor", "our_fingerprint"),
            ("friend_name", "friend_key_hashes_cbor", "friend_fingerprint"),
        ] {
            let name = case.text(name).as_bytes();
            let hashes = key_hashes(case, hashes);
            let half = |first: &[u8], second: &[u8]| {
                let start = [&[0, 0], name, first, second].concat();
                let end = (0..5200).fold(start, |state, _| hash::blake2b_512(&state).to_vec());
                end[..32].to_vec()
            };
            let halves = [half(&hashes[0], &hashes[1]), half(&hashes[1], &hashes[0])];
            assert!(halves.contains(&case.bytes(expected)));
        }
    }
}

#[test]
fn browser_hash() {
    let cases = Vectors::load(FILE).cases("browser_blake2b");
    for case in &cases {
        let input = [vec![0; 128], case.bytes("input")].concat();
        assert_eq!(hash::blake2b_512(&input), case.array("web_client_output"));
    }
    println!("{FILE} browser_blake2b: {} cases", cases.len());
}

#[test]
fn identity_claims() {
    let cases = Vectors::load(FILE).cases("identity_links");
    let identity = sign::SecretKey::from_seed(&cases[0].array("identity_seed"));
    let mut run = 0;
    for case in cases.iter().filter(|case| case.has("signature")) {
        let (claim, signature) = (case.bytes("claim_cbor"), case.bytes("signature"));
        assert_eq!(identity.sign(&claim)[..], signature);
        identity.public().verify(&signature, &claim).unwrap();
        let other = sign::SecretKey::from_seed(&[7; 32]).public();
        assert_eq!(other.verify(&signature, &claim), Err(Error::Signature));
        run += 1;
    }
    assert_eq!(run, 2);
    println!("{FILE} identity_links: {run} cases");
}

fn key_hashes(case: &Vectors, key: &str) -> [Vec<u8>; 2] {
    [0, 1].map(|index| hex::decode(case.0[key][index].as_str().unwrap()).unwrap())
}
