//! Hybrid boxing keys and messages against `vectors/01-mlkem-hybrid.json` (`spec/01` §3.5).

mod support;

use std::collections::BTreeMap;

use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::{boxes, hash, hybrid, kem};
use pyrgos_protocol::encoding::{Cid, FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::{
    BoxingKeyPair, CipherError, PaddedAsymmetricCipherText, PublicBoxingKey, SecretBoxingKey, SymmetricKey,
};
use serde_json::Value as Json;
use support::{Cases, KnownBytes, accepts, array, bytes, int, text};

type Keys = BTreeMap<String, SecretBoxingKey>;

#[test]
fn vectors() {
    let mut cases = Cases::of("01-mlkem-hybrid");
    let mut keys: Keys = cases.section("key_pairs").iter().map(key_pair).collect();
    // The Curve25519 keys that some cases mix in are those of the other file.
    let boxed = support::load("01-keys-crypto")["box"][0].clone();
    for name in ["alice", "bob"] {
        let secret = boxes::SecretKey::from_bytes(array(&boxed, &format!("{name}_secret_raw")));
        keys.insert(format!("curve25519 {name}"), SecretBoxingKey::Curve25519(secret));
    }
    cases.section("mlkem").iter().for_each(|case| encapsulate(case, &keys));
    cases.section("encrypt").iter().for_each(|case| encrypt(case, &keys));
    cases.section("decrypt").iter().for_each(|case| decrypt(case, &keys));
    cases.section("padded").iter().for_each(|case| padded(case, &keys));
    cases.section("key_parsing").iter().for_each(parse);
    cases.finish();
}

fn key_pair(case: &Json) -> (String, SecretBoxingKey) {
    let curve = boxes::SecretKey::from_bytes(array(case, "curve25519_secret_raw"));
    assert_eq!(curve.public().as_bytes(), &array(case, "curve25519_public_raw"));
    let kem = kem::SecretKey::from_seeds(&array(case, "mlkem_d"), &array(case, "mlkem_z"));
    assert_eq!(kem.public().as_bytes().to_vec(), bytes(case, "mlkem_encapsulation_key"));
    assert_eq!(kem.as_bytes().to_vec(), bytes(case, "mlkem_decapsulation_key"));

    let secret = SecretBoxingKey::Hybrid(Box::new(hybrid::SecretKey { curve, kem }));
    let public = secret.public();
    assert!(public.is_hybrid());
    let public_cbor = bytes(case, "public_boxing_key_cbor");
    assert_eq!(public.to_bytes(), public_cbor);
    assert_eq!(PublicBoxingKey::from_bytes(&public_cbor).unwrap(), public);
    let secret_cbor = bytes(case, "secret_boxing_key_cbor");
    assert_eq!(secret.to_bytes(), secret_cbor);
    assert_eq!(SecretBoxingKey::from_bytes(&secret_cbor).unwrap(), secret);

    let pair = BoxingKeyPair::new(secret.clone());
    let pair_cbor = pair.to_bytes();
    assert_eq!(pair_cbor.len() as i64, int(case, "boxing_key_pair_cbor_length"));
    assert_eq!(sha256(&pair_cbor), array(case, "boxing_key_pair_cbor_sha256"));
    assert_eq!(BoxingKeyPair::from_bytes(&pair_cbor).unwrap(), pair);
    assert_eq!(public.key_hash().to_string(), text(case, "public_key_block_cid"));
    assert_eq!(public.key_hash().cid(), &Cid::of_cbor(&public_cbor));
    (text(case, "name").to_owned(), secret)
}

fn parts(keys: &Keys, name: &str) -> hybrid::SecretKey {
    match &keys[name] {
        SecretBoxingKey::Hybrid(key) => (**key).clone(),
        SecretBoxingKey::Curve25519(_) => panic!("{name} is not hybrid"),
    }
}

fn encapsulate(case: &Json, keys: &Keys) {
    let bob = parts(keys, "bob").kem;
    let ciphertext = bytes(case, "ciphertext");
    if case.get("m").is_some() {
        let (made, secret) = bob.public().encapsulate_deterministic(&array(case, "m"));
        assert_eq!(made.to_vec(), ciphertext);
        assert_eq!(*secret, array(case, "shared_secret"));
    }
    assert_eq!(*bob.decapsulate(&ciphertext).unwrap(), array(case, "shared_secret"));
}

fn encrypt(case: &Json, keys: &Keys) {
    let (alice, bob) = (&keys["alice"], &keys["bob"]);
    let (first, second) = (bytes(case, "curve25519_shared_secret"), bytes(case, "mlkem_shared_secret"));
    let both = [first.clone(), second].concat();
    assert_eq!(hash::hmac_sha256(&[0; 32], &both), array(case, "hkdf_prk"));
    assert_eq!(*hash::hkdf(&both), array(case, "combined_key"));

    let drawn = [first, bytes(case, "mlkem_m"), bytes(case, "box_nonce"), bytes(case, "symmetric_nonce")].concat();
    let plain = bytes(case, "plaintext");
    let message = bob.public().encrypt(&plain, alice, &mut KnownBytes(drawn)).unwrap();
    assert_eq!(message, bytes(case, "message"));
    let frame = Value::decode(&message).unwrap();
    let fields = frame.fields("message").unwrap();
    for part in ["c", "i", "m", "n"] {
        assert_eq!(fields.bytes(part).unwrap(), &bytes(case, part), "{part}");
    }
    assert_eq!(*bob.decrypt(&message, &alice.public()).unwrap(), plain);
}

fn decrypt(case: &Json, keys: &Keys) {
    match text(case, "description") {
        "encrypt to a hybrid key from a Curve25519 secret key" => {
            return refuse_to_mix(&keys["bob"].public(), &keys["curve25519 alice"]);
        }
        "encrypt to a Curve25519 key from a hybrid secret key" => {
            return refuse_to_mix(&keys["curve25519 bob"].public(), &keys["alice"]);
        }
        _ => {}
    }
    let (recipient, sender) = (&keys[text(case, "recipient")], &keys[text(case, "sender")]);
    assert_eq!(sha256(&recipient.to_bytes()), array(case, "secret_boxing_key_cbor_sha256"), "{case}");
    let opened = recipient.decrypt(&bytes(case, "message"), &sender.public());
    assert_eq!(opened.is_ok(), accepts(case), "{}", text(case, "description"));
}

fn refuse_to_mix(recipient: &PublicBoxingKey, sender: &SecretBoxingKey) {
    assert_eq!(recipient.encrypt(b"", sender, &mut KnownBytes(Vec::new())), Err(CipherError::KeyType));
}

fn padded(case: &Json, keys: &Keys) {
    let cbor = bytes(case, "cbor");
    let cipher_text = PaddedAsymmetricCipherText::from_bytes(&cbor).unwrap();
    assert_eq!(cipher_text.to_bytes(), cbor);
    let (alice, bob) = (keys["alice"].public(), &keys["bob"]);
    let key: SymmetricKey = cipher_text.decrypt(bob, &alice).unwrap();
    assert_eq!(key.to_bytes(), bytes(case, "plaintext_cbor"));
    let message = Value::decode(&cbor).unwrap().as_bytes().unwrap().clone();
    assert_eq!(bob.decrypt(&message, &alice).unwrap().len() as i64, int(case, "padded_length"));
}

fn parse(case: &Json) {
    // The reference does not look at the length and fails later (`spec/01` §3.3).
    let refused_earlier = text(case, "description").contains("1567 bytes");
    let parsed = PublicBoxingKey::from_bytes(&bytes(case, "cbor"));
    assert_eq!(parsed.is_ok(), accepts(case) && !refused_earlier, "{}", text(case, "description"));
}
