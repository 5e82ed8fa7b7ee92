use pyrgos_crypto::password::{Params, derive};
use pyrgos_crypto::secretbox::{self, Key, Nonce};
use pyrgos_crypto::{Error, boxes, hash, pow, sign, totp};

use crate::{Vectors, padded, tail};

const FILE: &str = "01-login";

#[test]
fn password_derivations() {
    let cases = Vectors::load(FILE).cases("scrypt");
    for case in &cases {
        let params = Params {
            log2_n: case.number("log2_N").try_into().unwrap(),
            r: case.number("r").try_into().unwrap(),
            p: case.number("p").try_into().unwrap(),
            output_len: case.number("output_bytes").try_into().unwrap(),
        };
        let named = [Params::LOGIN, Params::LEGACY_LOGIN, Params::SECRET_LINK];
        assert!(named.contains(&params), "{}", case.description());

        let (password, salt) = (case.text("password"), case.text("salt_text"));
        assert_eq!(password.as_bytes(), case.bytes("password_utf8"));
        assert_eq!(salt.as_bytes(), case.bytes("salt_utf8"));
        assert_eq!(hash::sha256(password.as_bytes()), case.array("password_sha256"));
        let derived = derive(password, salt, params).unwrap();
        assert_eq!(derived[..], case.bytes("scrypt_output"), "{}", case.description());

        if case.has("login_seed") {
            split(case, &derived);
        }
    }
    println!("{FILE} scrypt: {} cases", cases.len());
}

/// What becomes of the derived bytes (spec/01 §4.3).
fn split(case: &Vectors, derived: &[u8]) {
    let (seed, rest) = derived.split_first_chunk().unwrap();
    assert_eq!(*seed, case.array("login_seed"));
    let login = sign::SecretKey::from_seed(seed);
    assert_eq!(login.public().0, tail(&case.bytes("login_public_signing_key_cbor")));
    assert_eq!(*login.as_bytes(), tail(&case.bytes("login_secret_signing_key_cbor")));

    let root_key = rest.last_chunk::<32>().unwrap();
    // The envelope ends with the dirty flag.
    assert!(case.bytes("root_key_cbor")[..36].ends_with(root_key));

    if derived.len() == 96 {
        let boxing = boxes::SecretKey::from_slice(&rest[..32]).unwrap();
        let pair = case.bytes("boxing_key_pair_cbor");
        assert_eq!(*boxing.as_bytes(), tail(&pair));
        assert!(pair[..37].ends_with(&boxing.public().0));
    }
}

#[test]
fn user_static_data() {
    let cases = Vectors::load(FILE).cases("entry_points");
    let case = cases.iter().find(|case| case.has("root_key_cbor")).unwrap();
    let envelope = case.bytes("root_key_cbor");
    let key = Key::from_slice(&envelope[4..36]).unwrap();
    let plain = padded(case.bytes("plaintext_cbor"), case.number("padded_length"));
    let sealed = secretbox::seal(&key, &Nonce(case.array("nonce")), &plain);
    assert!(case.bytes("cbor").ends_with(&sealed));
    println!("{FILE} entry_points: 1 case");
}

#[test]
fn login_data_authorisation() {
    let cases = Vectors::load(FILE).cases("login_data");
    let identity = sign::PublicKey(tail(&cases[0].bytes("identity_public_signing_key_cbor")));
    for case in &cases {
        let accepted = !case.has("reference") || case.accepted();
        let verified = identity.verify(&case.bytes("auth"), &case.bytes("cbor"));
        let expected = if accepted { Ok(()) } else { Err(Error::Signature) };
        assert_eq!(verified, expected, "{}", case.description());
        if case.has("writer_data_sha256") {
            let digest = hash::sha256(&case.bytes("writer_data_cbor"));
            assert_eq!(digest, case.array("writer_data_sha256"));
        }
    }
    println!("{FILE} login_data: {} cases", cases.len());
}

#[test]
fn one_time_codes() {
    let cases = Vectors::load(FILE).cases("totp_codes");
    for case in &cases {
        let (key, secs, code) = (case.bytes("key"), case.number("unix_seconds"), case.text("code"));
        assert_eq!(totp::code(&key, secs), code);
        assert_eq!(totp::matching_step(&key, code, secs), Some(secs / 30));
        // Good in its step and in the one after, but neither two steps later nor before its time (spec/01 §4.9).
        assert_eq!(totp::matching_step(&key, code, secs + 30), Some(secs / 30));
        assert!(!totp::check(&key, code, secs + 60));
        if secs >= 30 {
            assert!(!totp::check(&key, code, secs - 30));
        }
    }
    println!("{FILE} totp_codes: {} cases", cases.len());
}

#[test]
fn backup_codes() {
    let cases = Vectors::load(FILE).cases("backup_codes");
    for case in &cases {
        let digest = hash::sha256(case.text("code").as_bytes());
        assert_eq!(digest, case.array("stored_sha256"));
    }
    println!("{FILE} backup_codes: {} cases", cases.len());
}

#[test]
fn signed_times() {
    let cases = Vectors::load(FILE).cases("signed_time");
    let secret = sign::SecretKey::from_seed(&cases[0].array("seed"));
    for case in &cases {
        let signed = case.bytes("signed");
        assert_eq!(secret.sign_attached(&case.bytes("cbor")), signed);
        assert_eq!(secret.public().open(&signed).unwrap(), case.bytes("cbor"));
    }
    println!("{FILE} signed_time: {} cases", cases.len());
}

#[test]
fn proofs_of_work() {
    let cases = Vectors::load(FILE).cases("proof_of_work");
    for case in &cases {
        let difficulty = case.number("difficulty").try_into().unwrap();
        let (data, prefix) = (case.bytes("data"), case.array("first_prefix_found"));
        let digest = hash::sha256(&[&prefix[..], &data].concat());
        assert_eq!(digest, case.array("sha256"));
        assert!(case.flag("leading_zero_bits_by_the_reference_rule"));
        assert!(pow::check(&prefix, &data, difficulty));
        assert_eq!(pow::solve(&data, difficulty, 0), Ok(prefix));
    }
    println!("{FILE} proof_of_work: {} cases", cases.len());
}

#[test]
fn difficulties() {
    let cases = Vectors::load(FILE).cases("satisfies_difficulty");
    for case in &cases {
        let difficulty = case.number("difficulty").try_into().unwrap();
        let prefix = case.bytes("hash_prefix");
        let mut hash = [0xff; 32];
        hash[..prefix.len()].copy_from_slice(&prefix);
        assert_eq!(
            pow::satisfies(&hash, difficulty),
            case.flag("satisfied"),
            "{} at {difficulty}",
            case.text("hash_prefix")
        );
    }
    println!("{FILE} satisfies_difficulty: {} cases", cases.len());
}
