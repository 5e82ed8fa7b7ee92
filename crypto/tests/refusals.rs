//! What is refused, and with which error.

use pyrgos_crypto::password::{Params, derive};
use pyrgos_crypto::secretbox::{self, Key, Nonce};
use pyrgos_crypto::{Error, boxes, hybrid, kem, pow, sign};

#[test]
fn wrong_lengths() {
    fn refused<T: std::fmt::Debug>(result: Result<T, Error>, size: usize) {
        match result.unwrap_err() {
            Error::Length { expected, actual, .. } => assert_eq!((expected, actual), (size, 31)),
            other => panic!("{other:?}"),
        }
    }
    let bytes = [1; 31];
    refused(Key::from_slice(&bytes), 32);
    refused(Nonce::from_slice(&bytes), 24);
    refused(sign::SecretKey::from_slice(&bytes), 64);
    refused(sign::PublicKey::from_slice(&bytes), 32);
    refused(sign::PublicKey([0; 32]).verify(&bytes, b""), 64);
    refused(boxes::SecretKey::from_slice(&bytes), 32);
    refused(boxes::PublicKey::from_slice(&bytes), 32);
    refused(kem::SecretKey::from_slice(&bytes), 3168);
    refused(kem::PublicKey::from_slice(&bytes), 1568);
    refused(kem::SecretKey::from_seeds(&[1; 32], &[2; 32]).decapsulate(&bytes), 1568);
}

#[test]
fn hybrid_parts_of_wrong_sizes() {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let key = hybrid::SecretKey::generate(&mut rng);
    let parts = hybrid::seal(b"hello", &key.public(), &key.curve, &mut rng).unwrap();
    let whole = parts.borrow();
    let open = |parts| hybrid::open(parts, &key.curve.public(), &key);
    assert_eq!(open(whole).unwrap(), b"hello");

    let short = |bytes| matches!(open(bytes), Err(Error::Length { .. }));
    let (mut c, mut m, mut n) = (whole, whole, whole);
    c.c = &whole.c[1..];
    m.m = &whole.m[1..];
    n.n = &whole.n[1..];
    assert!(short(c) && short(m) && short(n));
    let mut i = whole;
    i.i = &whole.i[..15];
    assert!(matches!(open(i), Err(Error::TooShort { .. })));
}

#[test]
#[should_panic(expected = "16 bytes for the tag")]
fn no_room_for_the_tag() {
    secretbox::seal_in_place(&Key::from_bytes([0; 32]), &Nonce([0; 24]), &mut [0; 15]);
}

/// The points of low order of Curve25519 and its twist, in each of their encodings below 2^255.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn low_order_boxing_keys() {
    let secret = boxes::SecretKey::from_bytes([9; 32]);
    let message = boxes::seal(b"hello", &Nonce([1; 24]), &secret.public(), &secret).unwrap();
    for point in LOW_ORDER {
        let public = boxes::PublicKey::from_slice(&hex::decode(point).unwrap()).unwrap();
        let sealed = boxes::seal(b"hello", &Nonce([1; 24]), &public, &secret);
        assert_eq!(sealed, Err(Error::LowOrder), "{point}");
        let opened = boxes::open(&message, &public, &secret);
        assert_eq!(opened, Err(Error::LowOrder), "{point}");
    }
}

/// With a key of small order, R equal to the neutral point and S = 0 pass the plain equation for one message in eight
/// at least: a key that "signed" what its owner never saw.
#[test]
fn small_order_signing_keys() {
    let neutral = {
        let mut point = [0; 32];
        point[0] = 1;
        point
    };
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&neutral);
    for key in [neutral, [0; 32]] {
        for message in 0..64_u8 {
            let verified = sign::PublicKey(key).verify(&signature, &[message]);
            assert_eq!(verified, Err(Error::Signature));
        }
    }
}

#[test]
fn unreduced_kem_keys() {
    // Each coefficient is 4095, above the modulus 3329.
    let bytes = [0xff; 1568];
    assert_eq!(kem::PublicKey::from_slice(&bytes), Err(Error::KemKey));
}

#[test]
fn password_parameters() {
    let good = Params::SECRET_LINK;
    let with = |change: fn(&mut Params)| {
        let mut params = good;
        change(&mut params);
        params
    };
    for params in [
        with(|params| params.log2_n = 14),
        with(|params| params.log2_n = 21),
        with(|params| params.log2_n = 255),
        with(|params| params.r = 0),
        with(|params| params.r = 257),
        with(|params| params.r = u32::MAX),
        with(|params| params.p = 0),
        with(|params| params.p = 5),
        with(|params| params.output_len = 0),
        with(|params| params.output_len = 128),
    ] {
        let refused = derive("password", "salt", params);
        assert!(matches!(refused, Err(Error::PasswordParams { .. })), "{params:?}");
    }
    for params in [
        Params::LOGIN,
        Params::LEGACY_LOGIN,
        good,
        with(|params| params.log2_n = 20),
        with(|params| params.r = 256),
        with(|params| params.p = 4),
    ] {
        params.check().unwrap();
    }
}

#[test]
fn closed_servers() {
    for difficulty in [pow::MAX_SOLVABLE + 1, 256, u32::MAX] {
        assert_eq!(pow::solve(b"data", difficulty, 0), Err(Error::Difficulty { difficulty }));
    }
    assert!(pow::satisfies(&[0; 32], 256));
    assert!(!pow::satisfies(&[0; 32], 257));
}

/// Secrets do not print (design §5.6).
#[test]
fn debug_shows_no_secret() {
    let seed = [0xab; 32];
    let secret =
        hybrid::SecretKey { curve: boxes::SecretKey::from_bytes(seed), kem: kem::SecretKey::from_seeds(&seed, &seed) };
    let printed = format!("{:?} {:?} {:?}", Key::from_bytes(seed), sign::SecretKey::from_seed(&seed), secret);
    assert!(!printed.contains("abab") && !printed.contains("171"));
    assert!(!printed.contains(&hex::encode(&secret.kem.as_bytes()[..8])));
}
