//! Every decoder of keys, login data and names is total, and what it reads it writes the same way again: real structures
//! from the vectors with bytes changed, cut and repeated.

mod support;

use proptest::prelude::*;
use pyrgos_protocol::encoding::{FromCbor, ToCbor, Value};
use pyrgos_protocol::keys::{
    AsymmetricCipherText, BoxingKeyPair, CipherText, FingerPrint, KeyHash, OwnerProof, PasswordProtected, ProofOfWork,
    PublicBoxingKey, PublicSigningKey, SecretBoxingKey, SecretSigningKey, SignedRequest, SigningKeyPair,
    SigningPrivateKeyAndPublicHash, SourcedAsymmetricCipherText, SymmetricKey,
};
use pyrgos_protocol::login::second_factor::{
    BackupCodes, MultiFactorAuthMethod, MultiFactorAuthRequest, MultiFactorAuthResponse, TotpKey,
};
use pyrgos_protocol::login::{EntryPoints, LoginData, LoginResponse, SecretGenerationAlgorithm};
use pyrgos_protocol::names::{Chain, Date, OperationLog, Username};

/// Reads bytes as one structure; what was read must come back from its own bytes.
fn round_trip<T: FromCbor + ToCbor + PartialEq>(input: &[u8]) -> bool {
    let Ok(value) = T::from_bytes(input) else { return false };
    let written = value.to_bytes();
    assert_eq!(written.len(), value.to_cbor().encoded_len());
    let again = T::from_bytes(&written).unwrap_or_else(|error| panic!("{}: {error}", std::any::type_name::<T>()));
    assert!(again == value, "{}", std::any::type_name::<T>());
    true
}

/// All decoders; a change may turn one structure into another.
const DECODERS: [fn(&[u8]) -> bool; 28] = [
    round_trip::<Value>,
    round_trip::<AsymmetricCipherText>,
    round_trip::<BackupCodes>,
    round_trip::<BoxingKeyPair>,
    round_trip::<Chain>,
    round_trip::<CipherText>,
    round_trip::<EntryPoints>,
    round_trip::<FingerPrint>,
    round_trip::<KeyHash>,
    round_trip::<LoginData>,
    round_trip::<LoginResponse>,
    round_trip::<MultiFactorAuthMethod>,
    round_trip::<MultiFactorAuthRequest>,
    round_trip::<MultiFactorAuthResponse>,
    round_trip::<OperationLog>,
    round_trip::<OwnerProof>,
    round_trip::<PasswordProtected>,
    round_trip::<ProofOfWork>,
    round_trip::<PublicBoxingKey>,
    round_trip::<PublicSigningKey>,
    round_trip::<SecretBoxingKey>,
    round_trip::<SecretGenerationAlgorithm>,
    round_trip::<SecretSigningKey>,
    round_trip::<SignedRequest>,
    round_trip::<SigningKeyPair>,
    round_trip::<SigningPrivateKeyAndPublicHash>,
    round_trip::<SourcedAsymmetricCipherText>,
    round_trip::<SymmetricKey>,
];

/// Every hexadecimal text in the vectors that some decoder reads.
fn structures() -> Vec<Vec<u8>> {
    fn collect(value: &serde_json::Value, found: &mut Vec<Vec<u8>>) {
        match value {
            serde_json::Value::String(text) => found.extend(hex::decode(text)),
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            serde_json::Value::Object(map) => map.values().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for name in ["01-keys-crypto", "01-mlkem-hybrid", "01-login", "01-fingerprint-identity", "06-claims", "06-oplog"] {
        collect(&support::load(name), &mut found);
    }
    // Small ones, so that a change has a chance to hit the structure and not only the random bytes in it.
    found.retain(|bytes| bytes.len() < 2048 && DECODERS[1..].iter().any(|decode| decode(bytes)));
    found.sort();
    found.dedup();
    found
}

#[test]
fn every_decoder_reads_some_structure_of_the_vectors() {
    let structures = structures();
    assert!(structures.len() > 100);
    // Hybrid secrets and login data are above the size; their own tests read them.
    for (at, decode) in DECODERS.iter().enumerate() {
        let read = structures.iter().filter(|structure| decode(structure)).count();
        assert!(read > 0 || [9, 10].contains(&at), "decoder {at}");
    }
}

proptest! {
    #![proptest_config(support::properties())]

    #[test]
    fn changed_structures_are_read_or_refused(
        which: prop::sample::Index,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        thread_local!(static STRUCTURES: Vec<Vec<u8>> = structures());
        let mut input = STRUCTURES.with(|structures| which.get(structures).clone());
        for (at, byte, kind) in edits {
            if input.is_empty() {
                break;
            }
            let at = at.index(input.len());
            match kind {
                0 => input[at] = byte,
                1 => input[at] = input[at].wrapping_add(1),
                2 => input.truncate(at),
                _ => input.insert(at, byte),
            }
        }
        for decode in DECODERS {
            decode(&input);
        }
    }

    #[test]
    fn texts_are_read_or_refused(input in ".{0,40}") {
        if let Ok(name) = Username::new(&input) {
            prop_assert_eq!(Username::existing(&input).unwrap(), name);
        }
        if let Ok(date) = input.parse::<Date>() {
            prop_assert_eq!(date.to_string(), input.as_str());
        }
        let _ = TotpKey::from_secret_text(&input);
        let _ = SigningKeyPair::from_secret_text(&input);
    }

    #[test]
    fn dates_near_the_form_are_read_or_refused(input in "[+-]?[0-9]{1,10}-[0-9]{1,2}-[0-9]{1,2}") {
        if let Ok(date) = input.parse::<Date>() {
            prop_assert_eq!(date.to_string(), input.as_str());
            prop_assert_eq!(Date::from_epoch_day(date.epoch_day()).unwrap(), date);
        }
    }

    #[test]
    fn new_names_keep_the_rule(input in "[a-c0-1-]{0,34}") {
        let hyphens_fit = !input.starts_with('-') && !input.ends_with('-') && !input.contains("--");
        prop_assert_eq!(Username::new(&input).is_ok(), hyphens_fit && (1..=32).contains(&input.len()));
    }
}
