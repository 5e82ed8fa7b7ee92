use pyrgos_crypto::password::{Params, derive};
use pyrgos_crypto::secretbox::{self, Key, Nonce};
use pyrgos_crypto::{Error, boxes, hash, sign};

use crate::{Vectors, padded};

const FILE: &str = "01-keys-crypto";

#[test]
fn ed25519_keys_and_signatures() {
    let cases = Vectors::load(FILE).cases("ed25519");
    for case in &cases {
        let secret = sign::SecretKey::from_seed(&case.array("seed"));
        let public = secret.public();
        assert_eq!(public.0, case.array("public_key_raw"));
        assert_eq!(*secret.as_bytes(), case.array("secret_key_raw"));
        assert!(secret == sign::SecretKey::from_bytes(case.array("secret_key_raw")).unwrap());

        let (message, signed) = (case.bytes("message"), case.bytes("signed_message"));
        assert_eq!(secret.sign_attached(&message), signed);
        assert_eq!(secret.sign(&message)[..], case.bytes("signature_only"));
        assert_eq!(public.open(&signed).unwrap(), message);
        public.verify(&case.bytes("signature_only"), &message).unwrap();
    }
    println!("{FILE} ed25519: {} cases", cases.len());
}

#[test]
fn ed25519_open() {
    let cases = Vectors::load(FILE).cases("ed25519_open");
    let mut stricter = 0;
    for case in &cases {
        let public = sign::PublicKey(case.array("public_key_raw"));
        let signed = case.bytes("signed_message");
        let opened = public.open(&signed);
        if case.description().starts_with("S + L") {
            // The reference accepts it; browsers and libsodium do not, and no honest signer makes it (spec/01 §3.2).
            assert!(case.accepted());
            assert_eq!(opened, Err(Error::Signature));
            stricter += 1;
        } else {
            assert_eq!(opened.is_ok(), case.accepted(), "{}", case.description());
        }
    }
    assert_eq!(stricter, 1);
    println!("{FILE} ed25519_open: {} cases", cases.len());
}

#[test]
fn secretboxes() {
    let cases = Vectors::load(FILE).cases("secretbox");
    for case in &cases {
        let (key, nonce) = key_and_nonce(case);
        let (plain, sealed) = (case.bytes("plaintext"), case.bytes("secretbox"));
        assert_eq!(secretbox::seal(&key, &nonce, &plain), sealed);
        assert_eq!(secretbox::open(&key, &nonce, &sealed).unwrap(), plain);
    }
    println!("{FILE} secretbox: {} cases", cases.len());
}

#[test]
fn secretbox_open() {
    let cases = Vectors::load(FILE).cases("secretbox_open");
    for case in &cases {
        let (key, nonce) = key_and_nonce(case);
        let mut sealed = case.bytes("secretbox");
        let opened = secretbox::open(&key, &nonce, &sealed);
        assert_eq!(opened.is_ok(), case.accepted(), "{}", case.description());
        let in_place = secretbox::open_in_place(&key, &nonce, &mut sealed);
        assert_eq!(in_place.map(|plain| plain.to_vec()), opened);
    }
    println!("{FILE} secretbox_open: {} cases", cases.len());
}

#[test]
fn curve25519_box() {
    let cases = Vectors::load(FILE).cases("box");
    for case in &cases {
        let (alice, bob) = alice_and_bob(case);
        assert_eq!(alice.public().0, case.array("alice_public_raw"));
        assert_eq!(bob.public().0, case.array("bob_public_raw"));

        let (plain, message) = (case.bytes("plaintext"), case.bytes("message"));
        let nonce = Nonce(case.array("nonce"));
        let sealed = boxes::seal(&plain, &nonce, &bob.public(), &alice).unwrap();
        assert_eq!(sealed, message);
        assert!(message.starts_with(&case.bytes("nacl_box")));
        assert_eq!(boxes::open(&message, &alice.public(), &bob).unwrap(), plain);
    }
    println!("{FILE} box: {} cases", cases.len());
}

#[test]
fn curve25519_box_open() {
    let cases = Vectors::load(FILE).cases("box_open");
    for case in &cases {
        let opened = boxes::open(
            &case.bytes("message"),
            &boxes::PublicKey(case.array("their_public_raw")),
            &boxes::SecretKey::from_bytes(case.array("our_secret_raw")),
        );
        assert_eq!(opened.is_ok(), case.accepted(), "{}", case.description());
    }
    println!("{FILE} box_open: {} cases", cases.len());
}

/// Of a cipher text only what is encrypted, not how it is framed.
#[test]
fn cipher_texts() {
    let vectors = Vectors::load(FILE);
    let (alice, bob) = alice_and_bob(&vectors.cases("box")[0]);
    let cases = vectors.cases("cipher_texts");
    for case in &cases {
        let nonce = Nonce(case.array("nonce"));
        let mut plain = case.bytes("plaintext_cbor");
        if case.has("padded_length") {
            plain = padded(plain, case.number("padded_length"));
        }
        let sealed = if case.has("key_raw") {
            secretbox::seal(&Key::from_bytes(case.array("key_raw")), &nonce, &plain)
        } else {
            boxes::seal(&plain, &nonce, &bob.public(), &alice).unwrap()
        };
        let framed = case.bytes("cbor");
        assert!(framed.windows(sealed.len()).any(|window| window == sealed), "{}", case.description());
    }
    println!("{FILE} cipher_texts: {} cases", cases.len());
}

#[test]
fn owner_proof() {
    let proof = Vectors::load(FILE).part("owner_proof");
    let owned = sign::SecretKey::from_bytes(proof.array("owned_secret_raw")).unwrap();
    let owner = proof.bytes("owner_hash_cbor");
    let signed = proof.bytes("signed_owner");
    assert_eq!(owned.sign_attached(&owner), signed);
    assert_eq!(owned.public().open(&signed).unwrap(), owner);
    println!("{FILE} owner_proof: 1 case");
}

#[test]
fn password_protected() {
    let cases = Vectors::load(FILE).cases("password_protected");
    let right = &cases[0];
    let nonce = Nonce(right.array("nonce"));
    let params = Params { output_len: 32, ..Params::LOGIN };
    for case in &cases {
        let salt = right.text("scrypt_salt_text");
        let derived = derive(case.text("password"), salt, params).unwrap();
        let key = Key::from_slice(&derived).unwrap();
        // The sealed bytes are the last element.
        let framed = case.bytes("cbor");
        let sealed = &framed[framed.len() - right.bytes("cleartext").len() - secretbox::OVERHEAD..];
        let opened = secretbox::open(&key, &nonce, sealed);
        if case.has("reference") {
            assert!(!case.accepted());
            assert_eq!(opened, Err(Error::Decrypt), "{}", case.description());
        } else {
            assert_eq!(derived[..], case.bytes("derived_key"));
            assert_eq!(opened.unwrap(), case.bytes("cleartext"));
        }
    }
    println!("{FILE} password_protected: {} cases", cases.len());
}

#[test]
fn hashes() {
    let cases = Vectors::load(FILE).cases("hashes");
    let key: Vec<u8> = (0..32).collect();
    for case in &cases {
        let input = case.bytes("input");
        assert_eq!(hash::sha256(&input), case.array("sha256"));
        assert_eq!(hash::blake2b_512(&input), case.array("blake2b_512"));
        assert_eq!(hash::hmac_sha256(&key, &input), case.array("hmac_sha256_key_000102..1f"));
        assert_eq!(*hash::hkdf(&input), case.array("hkdf_key"));
    }
    println!("{FILE} hashes: {} cases", cases.len());
}

fn key_and_nonce(case: &Vectors) -> (Key, Nonce) {
    (Key::from_bytes(case.array("key_raw")), Nonce(case.array("nonce")))
}

fn alice_and_bob(case: &Vectors) -> (boxes::SecretKey, boxes::SecretKey) {
    (
        boxes::SecretKey::from_bytes(case.array("alice_secret_raw")),
        boxes::SecretKey::from_bytes(case.array("bob_secret_raw")),
    )
}
