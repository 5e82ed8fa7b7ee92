//! The agreement of a key to be owned (`spec/01` §3.11).

use bytes::Bytes;

use super::signed::{SignedError, open_value, sign_value};
use super::{KeyHash, PublicSigningKey, SigningPrivateKeyAndPublicHash};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// A key's statement that an owner owns it: `{o: owned key, p: signed(owned key, link of the owner)}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerProof {
    /// The key that is owned.
    pub owned: KeyHash,
    /// The signed link of the owner.
    pub proof: Bytes,
}

impl OwnerProof {
    /// The statement of `owned` that `owner` owns it.
    pub fn sign(owner: &KeyHash, owned: &SigningPrivateKeyAndPublicHash) -> Self {
        OwnerProof { owned: owned.public_key_hash.clone(), proof: sign_value(owner, &owned.secret).into() }
    }

    /// The owner that the statement names, after checking its signature. `owned_key` is the key behind
    /// [`owned`](Self::owned).
    ///
    /// # Errors
    /// [`SignedError::Signature`] or [`SignedError::Decode`].
    pub fn owner(&self, owned_key: &PublicSigningKey) -> Result<KeyHash, SignedError> {
        open_value(&self.proof, owned_key)
    }

    /// Checks that the statement names `owner`, without which a proof for somebody else would do.
    ///
    /// # Errors
    /// As [`owner`](Self::owner), and [`SignedError::Subject`] for another owner.
    pub fn verify(&self, owned_key: &PublicSigningKey, owner: &KeyHash) -> Result<(), SignedError> {
        if self.owner(owned_key)? != *owner {
            return Err(SignedError::Subject("owner"));
        }
        Ok(())
    }
}

impl ToCbor for OwnerProof {
    fn to_cbor(&self) -> Value {
        Value::map([("o", self.owned.to_cbor()), ("p", Value::Bytes(self.proof.clone()))])
    }
}

impl FromCbor for OwnerProof {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("OwnerProof")?;
        Ok(OwnerProof { owned: fields.get("o")?, proof: fields.bytes("p")?.clone() })
    }
}
