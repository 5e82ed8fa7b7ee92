//! Keys and cipher texts against `vectors/01-keys-crypto.json` (`spec/01` §3).

mod support;

use bytes::Bytes;
use pyrgos_crypto::secretbox::{Key, Nonce};
use pyrgos_crypto::{boxes, secretbox};
use pyrgos_protocol::encoding::{DecodeError, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::{
    AsymmetricCipherText, BoxingKeyPair, CipherError, CipherText, KeyHash, OwnerProof, PaddedAsymmetricCipherText,
    PaddedCipherText, PasswordProtected, PublicBoxingKey, PublicSigningKey, SecretBoxingKey, SecretSigningKey,
    SignedError, SigningKeyPair, SigningPrivateKeyAndPublicHash, SourcedAsymmetricCipherText, SymmetricKey,
    SymmetricLink, SymmetricLinkToSigner,
};
use serde_json::Value as Json;
use support::{Cases, KnownBytes, accepts, array, bytes, int, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("01-keys-crypto");
    cases.section("ed25519").iter().for_each(signing_keys);
    cases.section("ed25519_open").iter().for_each(open_signed);
    cases.section("key_cbor_parsing").iter().for_each(parse_key);
    cases.section("secretbox").iter().for_each(symmetric_keys);
    cases.section("secretbox_open").iter().for_each(open_secretbox);
    let boxed = cases.section("box").remove(0);
    box_message(&boxed);
    cases.section("box_open").iter().for_each(open_box);
    cases.section("cipher_texts").iter().for_each(|case| cipher_text(case, &boxed));
    cases.section("owner_proof").iter().for_each(owner_proof);
    cases.section("password_protected").iter().for_each(password_protected);
    cases.section("boxing_key_hash").iter().for_each(boxing_key_hash);
    cases.section("nulls").iter().for_each(nulls);
    cases.skip_section("hashes", "primitives, replayed by the tests of pyrgos-crypto");
    cases.finish();
}

/// Both directions at once.
fn assert_cbor<T: ToCbor + FromCbor + PartialEq + std::fmt::Debug>(value: &T, cbor: &[u8]) {
    assert_eq!(hex::encode(value.to_bytes()), hex::encode(cbor));
    assert_eq!(&T::from_bytes(cbor).unwrap(), value);
}

fn signing_keys(case: &Json) {
    let secret = SecretSigningKey::from_seed(&array(case, "seed"));
    let pair = SigningKeyPair::new(secret.clone());
    assert_eq!(pair.public().as_bytes(), &array(case, "public_key_raw"));
    assert_eq!(secret.as_bytes(), &array(case, "secret_key_raw"));
    assert_cbor(&pair.public(), &bytes(case, "public_signing_key_cbor"));
    assert_cbor(&secret, &bytes(case, "secret_signing_key_cbor"));
    assert_cbor(&pair, &bytes(case, "signing_key_pair_cbor"));
    assert_eq!(*pair.to_secret_text(), text(case, "signing_key_pair_string"));
    assert_eq!(SigningKeyPair::from_secret_text(text(case, "signing_key_pair_string")).unwrap(), pair);
    let base64 = text(case, "public_key_to_string_base64");
    let from_base64 = pyrgos_protocol::encoding::text::from_multibase(&format!("M{base64}")).unwrap();
    assert_eq!(from_base64, pair.public().to_bytes());

    let hash = pair.public_key_hash();
    assert_eq!(hash.cid().to_bytes(), bytes(case, "public_key_hash_cid_bytes"));
    assert_eq!(hash.to_string(), text(case, "public_key_hash_string"));
    assert_cbor(&hash, &bytes(case, "public_key_hash_cbor"));
    assert_eq!(hash.signing_key(), Some(pair.public()));
    assert_cbor(&pair.signer(), &bytes(case, "signing_private_key_and_public_hash_cbor"));

    let message = bytes(case, "message");
    assert_eq!(secret.sign_attached(&message), bytes(case, "signed_message"));
    assert_eq!(secret.sign(&message).to_vec(), bytes(case, "signature_only"));
    assert_eq!(pair.public().open(&bytes(case, "signed_message")).unwrap(), message);
}

fn open_signed(case: &Json) {
    let key = PublicSigningKey::from_bytes(array(case, "public_key_raw"));
    // The reference takes the malleable form; honest signers never make it (`spec/01` §3.2).
    let malleable = text(case, "description").starts_with("S + L");
    assert_eq!(key.open(&bytes(case, "signed_message")).is_ok(), accepts(case) && !malleable, "{case}");
}

/// Keys that the reference reads and that are refused here: their sizes, type numbers or halves are wrong, so that it
/// would fail later (`spec/01` §1.3, §3.3, §12.4).
const REFUSED_EARLIER: [&str; 4] = [
    "public signing key of 31 bytes",
    "public signing key, type 1 + 2^32",
    "secret boxing key of 31 bytes",
    // 64 times the same byte: the second half is not the public key of the first.
    "secret signing key, type 1, 64 bytes",
];

fn parse_key(case: &Json) {
    let (cbor, description) = (bytes(case, "cbor"), text(case, "description"));
    fn parses<T: FromCbor>(cbor: &[u8]) -> bool {
        T::from_bytes(cbor).is_ok()
    }
    let parsed = match description.split([',', ' ']).take(3).collect::<Vec<_>>()[..] {
        ["public", "signing", _] => parses::<PublicSigningKey>(&cbor),
        ["secret", "signing", _] => parses::<SecretSigningKey>(&cbor),
        ["public", "boxing", _] => parses::<PublicBoxingKey>(&cbor),
        ["secret", "boxing", _] => parses::<SecretBoxingKey>(&cbor),
        ["symmetric", "key", _] => parses::<SymmetricKey>(&cbor),
        _ => panic!("unknown kind of key: {description}"),
    };
    let refused_earlier = REFUSED_EARLIER.iter().any(|start| description.starts_with(start));
    assert_eq!(parsed, accepts(case) && !refused_earlier, "{case}");
}

fn symmetric_keys(case: &Json) {
    let key = SymmetricKey::new(Key::from_bytes(array(case, "key_raw")));
    assert_cbor(&key, &bytes(case, "symmetric_key_cbor"));
    assert_ne!(key, key.clone().into_dirty());
    let nonce = Nonce::from_bytes(array(case, "nonce"));
    let (plain, sealed) = (bytes(case, "plaintext"), bytes(case, "secretbox"));
    assert_eq!(secretbox::seal(&key.key, &nonce, &plain), sealed);
    assert_eq!(CipherText::from_parts(nonce, sealed.into()).plaintext(&key).unwrap(), plain);
}

fn open_secretbox(case: &Json) {
    let key = SymmetricKey::new(Key::from_bytes(array(case, "key_raw")));
    // A nonce of another size is refused when the cipher text is read.
    let nonce = Value::bytes(bytes(case, "nonce"));
    let cipher_text = CipherText::from_cbor(&Value::List(vec![nonce, Value::bytes(bytes(case, "secretbox"))]));
    let opened = cipher_text.map_err(CipherError::from).and_then(|cipher_text| cipher_text.plaintext(&key));
    assert_eq!(opened.is_ok(), accepts(case), "{case}");
}

fn curve_secret(case: &Json, key: &str) -> SecretBoxingKey {
    SecretBoxingKey::Curve25519(boxes::SecretKey::from_bytes(array(case, key)))
}

fn curve_public(case: &Json, key: &str) -> PublicBoxingKey {
    PublicBoxingKey::Curve25519(boxes::PublicKey::from_bytes(array(case, key)))
}

fn box_message(case: &Json) {
    let (alice, bob) = (curve_secret(case, "alice_secret_raw"), curve_secret(case, "bob_secret_raw"));
    assert_eq!(alice.public(), curve_public(case, "alice_public_raw"));
    assert_eq!(bob.public(), curve_public(case, "bob_public_raw"));
    assert_cbor(&bob.public(), &bytes(case, "bob_public_boxing_key_cbor"));
    assert_cbor(&bob, &bytes(case, "bob_secret_boxing_key_cbor"));
    assert_cbor(&BoxingKeyPair::new(bob.clone()), &bytes(case, "bob_boxing_key_pair_cbor"));

    let (plain, nonce) = (bytes(case, "plaintext"), bytes(case, "nonce"));
    let message = bob.public().encrypt(&plain, &alice, &mut KnownBytes(nonce.clone())).unwrap();
    assert_eq!(message, bytes(case, "message"));
    assert_eq!(message, [bytes(case, "nacl_box"), nonce].concat());
    assert_eq!(*bob.decrypt(&message, &alice.public()).unwrap(), plain);
}

fn open_box(case: &Json) {
    let opened =
        curve_secret(case, "our_secret_raw").decrypt(&bytes(case, "message"), &curve_public(case, "their_public_raw"));
    assert_eq!(opened.is_ok(), accepts(case), "{case}");
}

/// The first number of a description, which is a padding's block size.
fn block_size(case: &Json) -> usize {
    let description = text(case, "description");
    let digits = description.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty());
    digits.unwrap().parse().unwrap()
}

fn cipher_text(case: &Json, boxed: &Json) {
    let plain = bytes(case, "plaintext_cbor");
    let value = Value::decode(&plain).unwrap();
    let cbor = bytes(case, "cbor");
    let mut rng = KnownBytes(bytes(case, "nonce"));
    let rng = &mut rng;
    let key = || SymmetricKey::new(Key::from_bytes(array(case, "key_raw")));
    let (alice, bob) = (curve_secret(boxed, "alice_secret_raw"), curve_secret(boxed, "bob_secret_raw"));
    match text(case, "type") {
        "CipherText" => {
            let cipher_text = CipherText::encrypt(&value, &key(), rng);
            assert_cbor(&cipher_text, &cbor);
            assert_eq!(cipher_text.decrypt::<Value>(&key()).unwrap(), value);
            assert_eq!(cipher_text.plaintext(&key()).unwrap(), plain);
            assert!(cipher_text.decrypt::<PublicSigningKey>(&SymmetricKey::null()).is_err());
        }
        "SymmetricLink" => {
            let to = SymmetricKey::from_cbor(&value).unwrap();
            let link = SymmetricLink::new(&key(), &to, rng);
            assert_cbor(&link, &cbor);
            assert_eq!(link.target(&key()).unwrap(), to);
        }
        "SymmetricLinkToSigner" => {
            let to = SigningPrivateKeyAndPublicHash::from_cbor(&value).unwrap();
            let link = SymmetricLinkToSigner::new(&key(), &to, rng);
            assert_cbor(&link, &cbor);
            assert_eq!(link.target(&key()).unwrap(), to);
        }
        "PaddedCipherText" => {
            assert_eq!(plain.len() as i64, int(case, "plaintext_length"));
            let cipher_text = PaddedCipherText::encrypt(&value, &key(), block_size(case), rng);
            assert_cbor(&cipher_text, &cbor);
            let padded = cipher_text.cipher_text().plaintext(&key()).unwrap();
            assert_eq!(padded.len() as i64, int(case, "padded_length"));
            assert!(padded.starts_with(&plain) && padded[plain.len()..].iter().all(|byte| *byte == 0));
            assert_eq!(cipher_text.decrypt::<Value>(&key()).unwrap(), value);
        }
        "AsymmetricCipherText" => {
            let cipher_text = AsymmetricCipherText::encrypt(&value, &bob.public(), &alice, rng).unwrap();
            assert_cbor(&cipher_text, &cbor);
            assert_eq!(cipher_text.decrypt::<Value>(&bob, &alice.public()).unwrap(), value);
        }
        "PaddedAsymmetricCipherText" => {
            let size = block_size(case);
            let cipher_text = PaddedAsymmetricCipherText::encrypt(&value, size, &bob.public(), &alice, rng).unwrap();
            assert_cbor(&cipher_text, &cbor);
            assert_eq!(cipher_text.decrypt::<Value>(&bob, &alice.public()).unwrap(), value);
            let message = Value::decode(&cbor).unwrap().as_bytes().unwrap().clone();
            let padded = bob.decrypt(&message, &alice.public()).unwrap();
            assert_eq!(padded.len() as i64, int(case, "padded_length"));
        }
        "SourcedAsymmetricCipherText" => {
            let cipher_text = SourcedAsymmetricCipherText::encrypt(&value, &bob.public(), &alice, rng).unwrap();
            assert_cbor(&cipher_text, &cbor);
            assert_eq!(cipher_text.decrypt::<Value>(&bob).unwrap(), value);
        }
        other => panic!("unknown type {other}"),
    }
    assert!(rng.0.is_empty());
}

fn owner_proof(case: &Json) {
    let owner = KeyHash::from_bytes(&bytes(case, "owner_hash_cbor")).unwrap();
    let owned = SigningPrivateKeyAndPublicHash {
        public_key_hash: KeyHash::from_bytes(&bytes(case, "owned_hash_cbor")).unwrap(),
        secret: SecretSigningKey::from_bytes(array(case, "owned_secret_raw")).unwrap(),
    };
    let proof = OwnerProof::sign(&owner, &owned);
    assert_eq!(proof.proof, bytes(case, "signed_owner"));
    assert_cbor(&proof, &bytes(case, "cbor"));
    let key = owned.secret.public();
    assert_eq!(proof.owner(&key).unwrap(), owner);
    assert_eq!(proof.verify(&key, &owner), Ok(()));
    assert_eq!(proof.verify(&key, &owned.public_key_hash), Err(SignedError::Subject("owner")));
    let stranger = PublicSigningKey::from_bytes(*owner.signing_key().unwrap().as_bytes());
    assert!(matches!(proof.verify(&stranger, &owner), Err(SignedError::Signature(_))));
}

fn password_protected(case: &Json) {
    let cbor = bytes(case, "cbor");
    let protected = PasswordProtected::from_bytes(&cbor).unwrap();
    assert_eq!(protected.to_bytes(), cbor);
    let opened = protected.decrypt(text(case, "password"));
    if case.get("reference").is_some() {
        assert_eq!(opened.is_ok(), accepts(case));
        return;
    }
    let plain = bytes(case, "cleartext");
    assert_eq!(*opened.unwrap(), plain);
    assert_eq!(text(case, "scrypt_salt_text"), hex::encode(bytes(case, "salt")));
    let derived = secretbox::Key::from_bytes(array(case, "derived_key"));
    let sealed = secretbox::seal(&derived, &Nonce::from_bytes(array(case, "nonce")), &plain);
    assert!(cbor.ends_with(&sealed));
    let mut drawn = KnownBytes([bytes(case, "salt"), bytes(case, "nonce")].concat());
    let again = PasswordProtected::encrypt(&plain, text(case, "password"), &mut drawn).unwrap();
    assert_eq!(again.to_bytes(), cbor);
}

fn boxing_key_hash(case: &Json) {
    let key = PublicBoxingKey::from_bytes(&bytes(case, "key_cbor")).unwrap();
    assert_eq!(key.key_hash().to_string(), text(case, "hash_string"));
    assert_cbor(&key.key_hash(), &bytes(case, "hash_cbor"));
}

fn nulls(case: &Json) {
    assert_cbor(&SymmetricKey::null(), &bytes(case, "null_symmetric_key_cbor"));
    assert_cbor(&PublicSigningKey::from_bytes([0; 32]), &bytes(case, "null_public_signing_key_cbor"));
    assert_cbor(&KeyHash::null(), &bytes(case, "null_public_key_hash_cbor"));
    assert_eq!(KeyHash::null().to_string(), text(case, "null_public_key_hash_string"));
}

#[test]
fn halves_of_different_keys_are_no_pair() {
    let [one, other] = [1, 2].map(|seed| SigningKeyPair::new(SecretSigningKey::from_seed(&[seed; 32])));
    let mixed = Value::List(vec![one.public().to_cbor(), other.secret.to_cbor()]);
    assert!(matches!(SigningKeyPair::from_cbor(&mixed), Err(DecodeError::Invalid { .. })));
    let mixed = Value::map([("p", one.public_key_hash().to_cbor()), ("s", other.secret.to_cbor())]);
    assert!(matches!(SigningPrivateKeyAndPublicHash::from_cbor(&mixed), Err(DecodeError::Invalid { .. })));
    let [one, other] = [1, 2].map(|byte| SecretBoxingKey::Curve25519(boxes::SecretKey::from_bytes([byte; 32])));
    let mixed = Value::List(vec![one.public().to_cbor(), other.to_cbor()]);
    assert!(matches!(BoxingKeyPair::from_cbor(&mixed), Err(DecodeError::Invalid { .. })));
}

/// Invariant 6 of the design: nothing that may be printed shows a secret.
#[test]
fn secrets_are_not_printed() {
    let rng = &mut KnownBytes(vec![0xa5; 24]);
    let pair = SigningKeyPair::new(SecretSigningKey::from_seed(&[0xa5; 32]));
    let key = SymmetricKey::new(Key::from_bytes([0xa5; 32]));
    let boxing = BoxingKeyPair::new(SecretBoxingKey::Curve25519(boxes::SecretKey::from_bytes([0xa5; 32])));
    let link = SymmetricLink::new(&key, &key, rng);
    let value = key.to_cbor();
    for shown in [
        format!("{pair:?}"),
        format!("{:?}", pair.signer()),
        format!("{key:?}"),
        format!("{boxing:?}"),
        format!("{value:?}"),
        format!("{:?}", link.target(&key)),
        format!("{:?}", link.target(&SymmetricKey::null())),
    ] {
        let shown = shown.to_lowercase();
        assert!(!shown.contains("a5a5") && !shown.contains("165, 165"), "{shown}");
    }
}

#[test]
fn a_decrypted_structure_of_another_kind_is_an_error() {
    let key = SymmetricKey::null();
    let cipher_text = CipherText::encrypt(&Value::Int(1), &key, &mut KnownBytes(vec![0; 24]));
    assert!(matches!(cipher_text.decrypt::<SymmetricKey>(&key), Err(CipherError::Decode(_))));
    let short = CipherText::from_parts(Nonce::from_bytes([0; 24]), Bytes::from_static(&[0; 15]));
    assert!(matches!(short.decrypt::<Value>(&key), Err(CipherError::Crypto(_))));
}
