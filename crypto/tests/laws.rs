//! What holds for every input.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use pyrgos_crypto::password::{MAX_MEMORY_BYTES, Params};
use pyrgos_crypto::random::CryptoRng;
use pyrgos_crypto::secretbox::{self, Key, Nonce, rustcrypto};
use pyrgos_crypto::{Error, boxes, hash, hybrid, kem, pow, sign, totp};

/// Failing seeds are kept in one file, beside this crate's manifest.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/laws.txt"))),
        ..ProptestConfig::default()
    }
}

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// `length` bytes that follow from a seed, cheaper than drawing each.
fn bytes_of(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn keys() -> impl Strategy<Value = (Key, Nonce)> {
    (any::<[u8; 32]>(), any::<[u8; 24]>()).prop_map(|(key, nonce)| (Key::from_bytes(key), Nonce(nonce)))
}

/// Around the block sizes of Salsa20 (64) and Poly1305 (16), small, and up to a whole chunk of a file.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 5 << 20]),
        0..5000_usize,
        0..=(5_usize << 20),
    ]
}

proptest! {
    #![proptest_config(config(48))]

    /// libsodium and RustCrypto seal to the same bytes, open each other's and refuse the same.
    #[test]
    fn both_backends_agree(
        (key, nonce) in keys(),
        seed in any::<u64>(),
        size in sizes(),
        flipped in any::<prop::sample::Index>(),
    ) {
        let plain = bytes_of(seed, size);
        let mut sealed = secretbox::seal(&key, &nonce, &plain);
        prop_assert_eq!(sealed.len(), size + secretbox::OVERHEAD);

        let (mut tag, mut body) = ([0; 16], plain.clone());
        rustcrypto::seal(&key, &nonce, &mut tag, &mut body);
        prop_assert!(sealed[..16] == tag);
        prop_assert!(sealed[16..] == body);
        prop_assert!(secretbox::open(&key, &nonce, &sealed).as_ref() == Ok(&plain));
        rustcrypto::open(&key, &nonce, &tag, &mut body).unwrap();
        prop_assert!(body == plain);

        let position = flipped.index(sealed.len() * 8);
        sealed[position / 8] ^= 1 << (position % 8);
        prop_assert_eq!(secretbox::open(&key, &nonce, &sealed), Err(Error::Decrypt));
        let tag = sealed[..16].try_into().unwrap();
        let mut body = sealed[16..].to_vec();
        prop_assert_eq!(rustcrypto::open(&key, &nonce, &tag, &mut body), Err(Error::Decrypt));
        prop_assert!(body == sealed[16..], "a refused body is left as it was");
        let before = sealed.clone();
        prop_assert_eq!(
            secretbox::open_in_place(&key, &nonce, &mut sealed),
            Err(Error::Decrypt)
        );
        prop_assert!(sealed == before, "a refused buffer is left as it was");
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn in_place_is_the_same((key, nonce) in keys(), plain: Vec<u8>) {
        let mut buffer = [&[0xee; 16][..], &plain].concat();
        secretbox::seal_in_place(&key, &nonce, &mut buffer);
        prop_assert_eq!(&buffer, &secretbox::seal(&key, &nonce, &plain));
        let opened = secretbox::open_in_place(&key, &nonce, &mut buffer).unwrap();
        prop_assert_eq!(&*opened, &plain);
    }

    #[test]
    fn secretbox_takes_any_input((key, nonce) in keys(), mut garbage: Vec<u8>) {
        prop_assert!(secretbox::open(&key, &nonce, &garbage).is_err());
        prop_assert!(secretbox::open_in_place(&key, &nonce, &mut garbage).is_err());
    }

    #[test]
    fn pieces_hash_as_the_whole(pieces: Vec<Vec<u8>>) {
        let mut hash = hash::Sha256::new();
        pieces.iter().for_each(|piece| hash.update(piece));
        prop_assert_eq!(hash.finish(), hash::sha256(&pieces.concat()));
    }

    #[test]
    fn signatures_fit_one_message_and_one_key(
        seed: [u8; 32],
        message: Vec<u8>,
        flipped in any::<prop::sample::Index>(),
    ) {
        let secret = sign::SecretKey::from_seed(&seed);
        let mut signed = secret.sign_attached(&message);
        prop_assert_eq!(secret.public().open(&signed), Ok(&message[..]));
        let position = flipped.index(signed.len() * 8);
        signed[position / 8] ^= 1 << (position % 8);
        prop_assert_eq!(secret.public().open(&signed), Err(Error::Signature));
    }

    #[test]
    fn stored_halves_belong_together(seed: [u8; 32], flipped in 0..512_usize) {
        let mut stored = *sign::SecretKey::from_seed(&seed).as_bytes();
        prop_assert!(sign::SecretKey::from_bytes(stored).is_ok());
        stored[flipped / 8] ^= 1 << (flipped % 8);
        prop_assert_eq!(sign::SecretKey::from_bytes(stored).unwrap_err(), Error::KeyHalves);
    }

    #[test]
    fn public_keys_and_signatures_take_any_bytes(key: [u8; 32], signed: Vec<u8>) {
        prop_assert!(sign::PublicKey(key).open(&signed).is_err());
    }

    #[test]
    fn boxes_open_for_both_and_nobody_else(
        (a, b, c) in any::<([u8; 32], [u8; 32], [u8; 32])>(),
        nonce: [u8; 24],
        plain: Vec<u8>,
        flipped in any::<prop::sample::Index>(),
    ) {
        let [a, b, c] = [a, b, c].map(boxes::SecretKey::from_bytes);
        let mut message = boxes::seal(&plain, &Nonce(nonce), &b.public(), &a).unwrap();
        prop_assert_eq!(message.len(), plain.len() + boxes::OVERHEAD);
        prop_assert_eq!(&boxes::open(&message, &a.public(), &b).unwrap(), &plain);
        prop_assert_eq!(&boxes::open(&message, &b.public(), &a).unwrap(), &plain);
        prop_assert_eq!(boxes::open(&message, &a.public(), &c), Err(Error::Decrypt));
        prop_assert_eq!(boxes::open(&message, &c.public(), &b), Err(Error::Decrypt));
        let position = flipped.index(message.len() * 8);
        message[position / 8] ^= 1 << (position % 8);
        prop_assert_eq!(boxes::open(&message, &a.public(), &b), Err(Error::Decrypt));
    }

    #[test]
    fn a_found_proof_is_the_first(data: Vec<u8>, difficulty in 0..11_u32, start in 0..1_u64 << 62) {
        let prefix = pow::solve(&data, difficulty, start).unwrap();
        prop_assert!(pow::check(&prefix, &data, difficulty));
        let found = u64::from_le_bytes(prefix);
        prop_assert_eq!(pow::solve_range(&data, difficulty, start..found), None);
    }

    /// The rule in other words: bit by bit, whole bytes from the front, the last byte from its low end.
    #[test]
    fn difficulties_are_counted_in_low_bits(mut hash: [u8; 32], zeros in 0..33_usize, difficulty in 0..300_u32) {
        hash[..zeros].fill(0);
        let expected = difficulty <= 256
            && (0..difficulty as usize).all(|bit| {
                let whole = difficulty as usize / 8 * 8;
                let mask = if bit < whole { 0xff } else { 1 << (bit % 8) };
                hash[bit / 8] & mask == 0
            });
        prop_assert_eq!(pow::satisfies(&hash, difficulty), expected);
    }

    #[test]
    fn one_time_codes_have_six_digits(key: Vec<u8>, secs: u64, guess: String) {
        let code = totp::code(&key, secs);
        prop_assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()));
        prop_assert!(totp::check(&key, &code, secs));
        prop_assert!(!totp::check(&key, &(code.clone() + "0"), secs));
        prop_assert!(!totp::check(&key, &code[..5], secs));
        if guess.len() != 6 {
            prop_assert!(!totp::check(&key, &guess, secs));
        }
    }

    #[test]
    fn password_parameters_within_bounds_fit_in_memory(log2_n: u8, r: u32, p: u32, output_len: usize) {
        let params = Params { log2_n, r, p, output_len };
        if params.check().is_ok() {
            prop_assert!(params.memory_bytes() <= MAX_MEMORY_BYTES);
        }
    }
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn hybrid_messages_open_for_the_recipient_only(
        plain: Vec<u8>,
        part in 0..4_usize,
        flipped in any::<prop::sample::Index>(),
    ) {
        let mut rng = rng();
        let [a, b, c] = [(); 3].map(|()| hybrid::SecretKey::generate(&mut rng));
        let mut parts = hybrid::seal(&plain, &b.public(), &a.curve, &mut rng).unwrap();
        let from_a = a.curve.public();
        let opened = hybrid::open(parts.borrow(), &from_a, &b);
        prop_assert_eq!(opened.as_ref(), Ok(&plain));
        for (sender, recipient) in [(&a, &c), (&c, &b), (&b, &a)] {
            let opened = hybrid::open(parts.borrow(), &sender.curve.public(), recipient);
            prop_assert_eq!(opened, Err(Error::Decrypt));
        }
        let bytes = match part {
            0 => &mut parts.c[..],
            1 => &mut parts.i[..],
            2 => &mut parts.m[..],
            _ => &mut parts.n.0[..],
        };
        let position = flipped.index(bytes.len() * 8);
        bytes[position / 8] ^= 1 << (position % 8);
        prop_assert_eq!(hybrid::open(parts.borrow(), &from_a, &b), Err(Error::Decrypt));
    }

    #[test]
    fn stored_kem_keys_come_back(d: [u8; 32], z: [u8; 32], flipped in 0..1600_usize * 8) {
        let secret = kem::SecretKey::from_seeds(&d, &z);
        prop_assert!(secret == kem::SecretKey::from_slice(secret.as_bytes()).unwrap());
        let public = secret.public();
        prop_assert_eq!(&kem::PublicKey::from_slice(public.as_bytes()).unwrap(), &public);
        // A bit flipped in the public key inside or in its hash is noticed.
        let mut stored = *secret.as_bytes();
        stored[1536 + flipped / 8] ^= 1 << (flipped % 8);
        prop_assert_eq!(kem::SecretKey::from_slice(&stored).unwrap_err(), Error::KemKey);
    }
}
