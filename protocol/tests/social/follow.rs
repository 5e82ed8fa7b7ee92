//! `05-follow-request.json`: the blind form of each message, for both types of keys.

use pyrgos_crypto::{boxes, hybrid, secretbox};
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value as Cbor};
use pyrgos_protocol::keys::{CipherError, PublicBoxingKey, SecretBoxingKey};
use pyrgos_protocol::social::follow::{FollowError, PADDING};
use pyrgos_protocol::social::{Answer, BlindFollowRequest, FollowRequest, ReceivedFollowRequest};
use serde_json::Value;

use crate::files::structure;
use crate::support::{Cases, array, boolean, bytes, int, system_random, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("05-follow-request");
    cases.section("cases").iter().for_each(case);
    for case in cases.section("negative") {
        let receiver = structure(&bytes(&case, "receiver_secret"));
        let opened = ReceivedFollowRequest::open(bytes(&case, "blind_follow_request").into(), &receiver);
        assert!(matches!(opened, Err(FollowError::Cipher(CipherError::Crypto(_)))), "{opened:?}: {case}");
    }
    cases.finish();
}

fn case(case: &Value) {
    let public: PublicBoxingKey = structure(&bytes(case, "receiver_public"));
    let secret: SecretBoxingKey = structure(&bytes(case, "receiver_secret"));
    assert_eq!(secret.public(), public);
    let plain = bytes(case, "plaintext_cbor");
    assert_eq!(plain.len() as i64, int(case, "plaintext_length"));
    let request: FollowRequest = structure(&plain);
    let padded = [plain.clone(), vec![0; PADDING - plain.len()]].concat();
    assert_eq!(padded, bytes(case, "padded_plaintext"));

    let recorded = bytes(case, "blind_follow_request");
    let blind: BlindFollowRequest = structure(&recorded);
    assert_eq!(recorded.len() as i64, int(case, "blind_length"));
    assert_eq!(blind.throw_away.to_bytes(), bytes(case, "throwaway_public_cbor"));
    assert_eq!(&blind.sealed.to_cbor().as_bytes().unwrap()[..], bytes(case, "f_bytes"));
    assert_eq!(blind.open(&secret).as_ref(), Ok(&request));
    assert_eq!(*secret.decrypt(&bytes(case, "f_bytes"), &blind.throw_away).unwrap(), padded);
    let received = ReceivedFollowRequest::open(recorded.clone().into(), &secret).unwrap();
    assert_eq!((&received.blind[..], &received.request), (&recorded[..], &request));
    assert!(boolean(case, "round_trip_equal"));

    match (&secret, &blind.throw_away) {
        (SecretBoxingKey::Curve25519(own), PublicBoxingKey::Curve25519(sender)) => {
            let sealed = [bytes(case, "crypto_box_output"), bytes(case, "nonce")].concat();
            assert_eq!(sealed, bytes(case, "f_bytes"));
            assert_eq!(boxes::open(&sealed, sender, own).unwrap(), padded);
        }
        (SecretBoxingKey::Hybrid(own), PublicBoxingKey::Hybrid(sender)) => intermediates(case, own, sender, &padded),
        _ => panic!("keys of different types"),
    }

    // A message made here has the same size, opens, and shares nothing with the next one.
    let mut rng = system_random();
    let [first, second] = [(); 2].map(|()| BlindFollowRequest::seal(&request, &public, &mut rng).unwrap());
    assert_eq!(first.to_bytes().len(), recorded.len());
    assert_eq!(BlindFollowRequest::from_bytes(&first.to_bytes()).unwrap().open(&secret), Ok(request.clone()));
    assert_ne!(first.throw_away, second.throw_away);
    assert_ne!(first.sealed, second.sealed);
    assert_eq!(first.throw_away.is_hybrid(), public.is_hybrid());
    kind(text(case, "description"), &request);
}

/// Each part of a hybrid message, from the receiver's keys on.
fn intermediates(case: &Value, own: &hybrid::SecretKey, sender: &hybrid::PublicKey, padded: &[u8]) {
    let message = Cbor::decode(&bytes(case, "f_bytes")).unwrap();
    let fields = message.fields("hybrid message").unwrap();
    for (key, name) in [
        ("c", "hybrid_c_curve25519_ciphertext"),
        ("m", "hybrid_m_mlkem_ciphertext"),
        ("i", "hybrid_i_encrypted_input"),
        ("n", "hybrid_n_nonce"),
    ] {
        assert_eq!(&fields.bytes(key).unwrap()[..], bytes(case, name), "{key}");
    }
    let curve = boxes::open(&bytes(case, "hybrid_c_curve25519_ciphertext"), &sender.curve, &own.curve).unwrap();
    assert_eq!(curve, bytes(case, "curve25519_shared_secret"));
    let encapsulated = bytes(case, "hybrid_m_mlkem_ciphertext");
    let shared = own.kem.decapsulate(&encapsulated).unwrap();
    assert_eq!(&shared[..], bytes(case, "mlkem_shared_secret"));
    let combined = pyrgos_crypto::hash::hkdf(&[&curve[..], &shared[..]].concat());
    assert_eq!(&combined[..], bytes(case, "hkdf_combined_key"));
    let key = secretbox::Key::from_bytes(array(case, "hkdf_combined_key"));
    let nonce = secretbox::Nonce::from_bytes(array(case, "hybrid_n_nonce"));
    assert_eq!(secretbox::open(&key, &nonce, &bytes(case, "hybrid_i_encrypted_input")).unwrap(), padded);
}

/// What the message says, and that it is made again from its parts.
fn kind(description: &str, request: &FollowRequest) {
    let us = request.sender().clone();
    let directory = request.entry.capability.clone();
    if description.contains("initial request") {
        let key = request.key.clone().expect("a first request asks for a key");
        assert_eq!(FollowRequest::first(us, &directory, key), *request);
        return;
    }
    let answer = match description.split_once("; reply ").expect("a reply").1 {
        text if text.starts_with("accept and reciprocate") => Answer::AcceptAndReciprocate,
        text if text.starts_with("accept only") => Answer::Accept,
        text if text.starts_with("reciprocate only") => Answer::ReciprocateOnly,
        text if text.starts_with("deny") => Answer::Deny,
        other => panic!("unknown reply {other}"),
    };
    assert_eq!(request.as_answer(), answer);
    assert_eq!(request.entry().is_some(), answer.accepts());
    // The answer's key is the base key of the directory in the first request.
    let mut first = request.clone();
    if let Some(key) = &request.key {
        first.entry.capability.base_key = key.clone();
    }
    assert_eq!(FollowRequest::answer(answer, &first, us, &directory), *request);
}
