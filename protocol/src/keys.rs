//! Key envelopes, key hashes, signed values and cipher texts (`spec/01` §2.6, §3).

mod cipher_text;
pub mod hash;
mod signing;
mod symmetric;

pub use cipher_text::{CipherError, CipherText, PaddedCipherText};
pub use hash::{KeyHash, Owner, Writer};
pub use signing::{KeyTextError, PublicSigningKey, SecretSigningKey, SigningKeyPair, SigningPrivateKeyAndPublicHash};
pub use symmetric::{SymmetricKey, SymmetricLink, SymmetricLinkToSigner};

use crate::encoding::{DecodeError, Value};

/// Refuses any type number but the one that the structure has.
fn check_type(structure: &'static str, found: &Value, expected: i64) -> Result<(), DecodeError> {
    match found.as_int()? {
        number if number == expected => Ok(()),
        other => Err(DecodeError::invalid(structure, format!("unknown type {other}"))),
    }
}
