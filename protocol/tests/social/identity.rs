//! `05-fingerprint-identity.json`, and the identity links of `01-fingerprint-identity.json`.

use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::keys::{FingerPrint, KeyHash, PublicSigningKey, SecretSigningKey, SymmetricKey};
use pyrgos_protocol::social::profile::identity::{IdentityLink, IdentityProof, Service};
use serde_json::Value;

use crate::files::structure;
use crate::support::{Cases, KnownBytes, array, bytes, load, system_random, text};

#[test]
fn vectors() {
    let mut cases = Cases::of("05-fingerprint-identity");
    let identity: PublicSigningKey =
        structure(&hex::decode(cases.value("identity_public_key").as_str().unwrap()).unwrap());
    cases.section("fingerprints").iter().for_each(fingerprint);
    for case in cases.section("identity_proofs") {
        proof(&case, &identity);
    }
    cases.finish();
}

fn fingerprint(case: &Value) {
    for keys in ["alice_keys", "bob_keys"] {
        for key in case[keys].as_array().unwrap() {
            structure::<KeyHash>(&hex::decode(key.as_str().unwrap()).unwrap());
        }
    }
    // The halves are those of the Java classes, which hash another way than the clients of people do; what is made of
    // them is the same (`spec/01` §7).
    let [alice, bob]: [FingerPrint; 2] = ["alice_view_cbor", "bob_view_cbor"].map(|key| structure(&bytes(case, key)));
    assert_eq!(alice.digits(), text(case, "display"));
    assert_eq!(bob.digits(), text(case, "display_bob"));
    assert!(alice.matches(&bob) && bob.matches(&alice) && !alice.matches(&alice));
    assert_eq!(hex::encode(alice.to_bytes()), text(case, "qr_text"));
}

fn proof(case: &Value, identity: &PublicSigningKey) {
    let proof: IdentityProof = structure(&bytes(case, "proof_cbor"));
    let claim: IdentityLink = structure(&bytes(case, "claim_cbor"));
    assert_eq!((&proof.claim, proof.signature), (&claim, array(case, "signature")));
    assert!(proof.is_signed_by(identity));
    let other = SecretSigningKey::generate(&mut system_random());
    assert!(!proof.is_signed_by(&other.public()));
    let mut changed = proof.clone();
    changed.claim.other_user.push('x');
    assert!(!changed.is_signed_by(identity));
    assert_eq!(claim.sentence(), text(case, "text"));
    assert_eq!(claim.file_name(), text(case, "filename"));
    let post = proof.post(&claim.public_url("https://peergos.net"));
    assert_eq!(post, text(case, "post_text"));
    let read = IdentityProof::from_post(&post).unwrap();
    assert_eq!((&read.claim, read.signature), (&claim, proof.signature));
    match (&proof.key, case["encrypted_post_text"].as_str()) {
        (Some(key), Some(post)) => {
            let read = IdentityProof::from_encrypted_post(post, key).unwrap();
            assert_eq!((&read.claim, read.signature, read.key.as_ref()), (&claim, proof.signature, Some(key)));
            let post = proof.encrypted_post(&mut system_random()).unwrap();
            assert_eq!(IdentityProof::from_encrypted_post(&post, key).unwrap().claim, claim);
            assert!(IdentityProof::from_encrypted_post(&post, &SymmetricKey::null()).is_err());
        }
        (None, None) => assert_eq!(proof.encrypted_post(&mut system_random()), None),
        _ => panic!("a key without an encrypted post"),
    }
}

#[test]
fn older_vectors() {
    let file = load("01-fingerprint-identity");
    let cases = file["identity_links"].as_array().unwrap();
    for case in cases {
        let Some(file) = case["proof_file_cbor"].as_str() else {
            // The first proof, checked with another key.
            assert_eq!((text(case, "description"), text(case, "reference")), ("wrong identity key", "reject"));
            let proof: IdentityProof = structure(&bytes(&cases[0], "proof_file_cbor"));
            assert!(!proof.is_signed_by(&SecretSigningKey::generate(&mut system_random()).public()));
            continue;
        };
        let proof: IdentityProof = structure(&hex::decode(file).unwrap());
        if let Some(seed) = cases[0]["identity_seed"].as_str() {
            let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
            let secret = SecretSigningKey::generate(&mut KnownBytes(seed.to_vec()));
            assert!(proof.is_signed_by(&secret.public()));
            let signed = IdentityProof::sign(proof.claim.clone(), &secret);
            assert_eq!((signed.claim, signed.signature), (proof.claim.clone(), proof.signature));
        }
        if let Some(name) = case["filename"].as_str() {
            assert_eq!(proof.claim.file_name(), name);
        }
        if let Some(line) = case["post_text_first_line"].as_str() {
            assert_eq!(proof.claim.sentence(), line);
        }
        if let Some(post) = case["post_text"].as_str() {
            assert_eq!(proof.post(&proof.claim.public_url("https://peergos.net")), post);
        }
        if let Some(post) = case["encrypted_post_text"].as_str() {
            let key = proof.key.as_ref().unwrap();
            assert_eq!(key.key.as_bytes(), &array(case, "key_raw"));
            assert_eq!(IdentityProof::from_encrypted_post(post, key).unwrap().claim, proof.claim);
            let again = proof.encrypted_post(&mut KnownBytes(bytes(case, "nonce"))).unwrap();
            assert_eq!(again, post);
        }
    }
    println!("01-fingerprint-identity.json: identity_links: {} cases", cases.len());
}

#[test]
fn words_that_are_no_claim() {
    for post in [
        "",
        "I am a on Peergos and b on Twitter",
        "I am a on Peergos and b on Twitter\nsig: 111",
        "I am  a on Peergos and b on Twitter\nsig: 1",
        "I am a on Peergos and b c on Twitter\nsig: 1",
        "We am a on Peergos and b on Twitter\nsig: 1",
    ] {
        assert!(IdentityProof::from_post(post).is_err(), "{post}");
    }
    assert_eq!(Service::named("gITHUB").name(), "Github");
    assert_eq!(Service::peergos(), Service::named("peergos"));
    for unknown in ["a2616363636162617400", "a26163186361740061", "a261630b617400", "a261632061740061"] {
        assert!(Service::from_bytes(&hex::decode(unknown).unwrap_or_default()).is_err());
    }
    let unmarked = hex::decode("821817a0").unwrap();
    assert!(IdentityProof::from_bytes(&unmarked).is_err());
}
