//! Key envelopes, key hashes, signed values and cipher texts (`spec/01` §2.6, §3, §5–§7).

mod asymmetric;
mod boxing;
mod cipher_text;
mod fingerprint;
pub mod hash;
mod owner_proof;
mod password_protected;
mod proof_of_work;
pub mod signed;
mod signing;
mod symmetric;

pub use asymmetric::{AsymmetricCipherText, PaddedAsymmetricCipherText, SourcedAsymmetricCipherText};
pub use boxing::{BoxingKeyPair, PublicBoxingKey, SecretBoxingKey};
pub use cipher_text::{CipherError, CipherText, PaddedCipherText};
pub use fingerprint::{FingerPrint, FingerPrinted};
pub use hash::{KeyHash, Owner, Writer};
pub use owner_proof::OwnerProof;
pub use password_protected::PasswordProtected;
pub use proof_of_work::{MAX_PROOF_BYTES, ProofOfWork};
pub use signed::{SignedError, SignedRequest, SignedTime};
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
