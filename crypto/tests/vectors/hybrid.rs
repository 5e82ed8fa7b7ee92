use pyrgos_crypto::hybrid::{self, PartsRef, Randomness, SecretKey};
use pyrgos_crypto::secretbox::Nonce;
use pyrgos_crypto::{Error, Zeroizing, boxes, hash, kem};

use crate::{Vectors, padded};

const FILE: &str = "01-mlkem-hybrid";

#[test]
fn key_pairs() {
    let cases = Vectors::load(FILE).cases("key_pairs");
    for case in &cases {
        let curve = boxes::SecretKey::from_bytes(case.array("curve25519_secret_raw"));
        assert_eq!(curve.public().0, case.array("curve25519_public_raw"));

        let secret = kem::SecretKey::from_seeds(&case.array("mlkem_d"), &case.array("mlkem_z"));
        let stored = case.bytes("mlkem_decapsulation_key");
        assert!(secret.as_bytes()[..] == stored);
        assert!(secret == kem::SecretKey::from_slice(&stored).unwrap());

        let public = case.bytes("mlkem_encapsulation_key");
        assert_eq!(secret.public().as_bytes()[..], public);
        assert_eq!(kem::PublicKey::from_slice(&public).unwrap(), secret.public());
    }
    println!("{FILE} key_pairs: {} cases", cases.len());
}

#[test]
fn encapsulations() {
    let vectors = Vectors::load(FILE);
    let bob = key_of(&vectors, "bob").kem;
    let cases = vectors.cases("mlkem");
    for case in &cases {
        let (ciphertext, shared) = (case.bytes("ciphertext"), case.array("shared_secret"));
        if case.has("m") {
            let (made, secret) = bob.public().encapsulate_deterministic(&case.array("m"));
            assert_eq!(made[..], ciphertext);
            assert_eq!(*secret, shared);
        }
        // The last case is a ciphertext with one bit flipped, whose secret is the one of implicit rejection.
        assert_eq!(*bob.decapsulate(&ciphertext).unwrap(), shared);
    }
    println!("{FILE} mlkem: {} cases", cases.len());
}

#[test]
fn encrypt() {
    let vectors = Vectors::load(FILE);
    let (alice, bob) = (key_of(&vectors, "alice"), key_of(&vectors, "bob"));
    let cases = vectors.cases("encrypt");
    for case in &cases {
        let secrets = [case.bytes("curve25519_shared_secret"), case.bytes("mlkem_shared_secret")].concat();
        assert_eq!(hash::hmac_sha256(&[0; 32], &secrets), case.array("hkdf_prk"));
        assert_eq!(*hash::hkdf(&secrets), case.array("combined_key"));

        let randomness = Randomness {
            curve_secret: Zeroizing::new(case.array("curve25519_shared_secret")),
            encapsulation: Zeroizing::new(case.array("mlkem_m")),
            box_nonce: Nonce(case.array("box_nonce")),
            nonce: Nonce(case.array("symmetric_nonce")),
        };
        let plain = case.bytes("plaintext");
        let parts = hybrid::seal_deterministic(&plain, &bob.public(), &alice.curve, &randomness).unwrap();
        assert_eq!(parts.c, case.bytes("c"));
        assert_eq!(parts.i, case.bytes("i"));
        assert_eq!(parts.m, case.bytes("m"));
        assert_eq!(parts.n.0, case.array("n"));

        let opened = hybrid::open(parts.borrow(), &alice.curve.public(), &bob).unwrap();
        assert_eq!(opened, plain);
        let message = case.bytes("message");
        let framed = hybrid::open(cut(&message).unwrap(), &alice.curve.public(), &bob).unwrap();
        assert_eq!(framed, plain);
    }
    println!("{FILE} encrypt: {} cases", cases.len());
}

#[test]
fn decrypt() {
    let vectors = Vectors::load(FILE);
    let cases = vectors.cases("decrypt");
    let (mut run, mut of_the_formats) = (0, 0);
    for case in &cases {
        // Mixtures of key types cannot be written with the types of this crate, and parsing is not its matter:
        // pyrgos-protocol replays these five.
        let message = case.has("message").then(|| case.bytes("message"));
        let keys = ["alice", "bob", "eve"];
        let Some(parts) = message
            .as_deref()
            .filter(|_| keys.contains(&case.text("sender")))
            .filter(|_| keys.contains(&case.text("recipient")))
            .and_then(cut)
        else {
            of_the_formats += 1;
            continue;
        };
        let sender = key_of(&vectors, case.text("sender")).curve.public();
        let recipient = key_of(&vectors, case.text("recipient"));
        let opened = hybrid::open(parts, &sender, &recipient);
        assert_eq!(opened.is_ok(), case.accepted(), "{}", case.description());
        if case.description().contains("tampered") {
            assert_eq!(opened, Err(Error::Decrypt), "{}", case.description());
        }
        run += 1;
    }
    assert_eq!((run, of_the_formats), (9, 5));
    println!("{FILE} decrypt: {run} cases, {of_the_formats} left to the formats");
}

#[test]
fn padded_message() {
    let vectors = Vectors::load(FILE);
    let case = vectors.part("padded");
    let (alice, bob) = (key_of(&vectors, "alice"), key_of(&vectors, "bob"));
    let framed = case.bytes("cbor");
    let parts = cut(&framed[3..]).unwrap();
    assert_eq!(
        hybrid::open(parts, &alice.curve.public(), &bob).unwrap(),
        padded(case.bytes("plaintext_cbor"), case.number("padded_length"))
    );
    println!("{FILE} padded: 1 case");
}

fn key_of(vectors: &Vectors, name: &str) -> SecretKey {
    let pairs = vectors.cases("key_pairs");
    let pair = pairs.iter().find(|pair| pair.text("name") == name);
    let pair = pair.unwrap_or_else(|| panic!("no key of {name}"));
    SecretKey {
        curve: boxes::SecretKey::from_bytes(pair.array("curve25519_secret_raw")),
        kem: kem::SecretKey::from_slice(&pair.bytes("mlkem_decapsulation_key")).unwrap(),
    }
}

/// Cuts the parts out of a message that is framed exactly as the protocol frames it.
fn cut(message: &[u8]) -> Option<PartsRef<'_>> {
    let mut rest = message.strip_prefix(&[0xa4])?;
    let mut part = |name: u8| {
        let length: usize;
        (length, rest) = match rest.strip_prefix(&[0x61, name])? {
            [head @ 0x40..=0x57, rest @ ..] => (usize::from(head - 0x40), rest),
            [0x58, length, rest @ ..] => (usize::from(*length), rest),
            [0x59, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]).into(), rest),
            _ => return None,
        };
        let (bytes, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(bytes)
    };
    Some(PartsRef { c: part(b'c')?, i: part(b'i')?, m: part(b'm')?, n: part(b'n')? })
}
