//! What witnesses decide about: operations on names (design §3).
//!
//! A first claim takes two steps, so that nobody who sees which name is wanted can be faster: first a
//! [commitment](mod@super::commitment) is decided, which hides all; then the claim is revealed.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::sign::SIGNATURE_SIZE;

use super::witness::MAX_WITNESSES;
use super::{Chain, Salt, Username, WitnessSet};
use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{MAX_PROOF_BYTES, ProofOfWork, PublicSigningKey};

/// Longest operation, in bytes. A chain of 200 owners fits.
pub const MAX_OPERATION_BYTES: usize = 64 << 10;

/// The SHA-256 of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub [u8; 32]);

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Signatures of witnesses under one statement: each key once, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Signatures(BTreeMap<PublicSigningKey, [u8; SIGNATURE_SIZE]>);

impl Signatures {
    /// Adds a signature, in place of an earlier one of the same key.
    pub fn insert(&mut self, key: PublicSigningKey, signature: [u8; SIGNATURE_SIZE]) {
        self.0.insert(key, signature);
    }

    /// The signatures in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicSigningKey, &[u8; SIGNATURE_SIZE])> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every signature is a witness's and they are a quorum.
    pub fn are_quorum(&self, witnesses: &WitnessSet, message: &[u8]) -> bool {
        self.0.len() >= witnesses.quorum()
            && self.0.keys().all(|key| witnesses.contains(key))
            && self.0.iter().all(|(key, signature)| key.verify(signature, message).is_ok())
    }
}

impl FromIterator<(PublicSigningKey, [u8; SIGNATURE_SIZE])> for Signatures {
    fn from_iter<T: IntoIterator<Item = (PublicSigningKey, [u8; SIGNATURE_SIZE])>>(signatures: T) -> Self {
        Signatures(signatures.into_iter().collect())
    }
}

/// A flat list: key, signature, key, signature, …
impl ToCbor for Signatures {
    fn to_cbor(&self) -> Value {
        let pairs = self.0.iter().flat_map(|(key, signature)| [Value::bytes(key.as_bytes()), Value::bytes(signature)]);
        Value::List(pairs.collect())
    }
}

impl FromCbor for Signatures {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let items = value.as_list()?;
        if items.len() % 2 != 0 || items.len() > 2 * MAX_WITNESSES {
            return Err(DecodeError::invalid("signatures", format!("{} elements", items.len())));
        }
        let pairs = items.chunks_exact(2).map(|pair| {
            Ok((PublicSigningKey::from_bytes(pair[0].as_array("witness")?), pair[1].as_array("signature")?))
        });
        pairs.collect()
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Announces a claim without saying of what.
    Commit {
        /// See [`super::commitment()`].
        hash: [u8; 32],
    },
    /// Reveals the first claim of a name, whose commitment was decided before.
    Claim {
        /// The name.
        name: Username,
        /// Its first chain.
        chain: Chain,
        /// The commitment's.
        salt: Salt,
    },
    /// Extends the chain of a name: a renewal, another key, another home (`spec/06` §1.5, §1.6).
    Update {
        /// The name.
        name: Username,
        /// The whole new chain or its changed links.
        chain: Chain,
        /// Needed when the chain has more than ten links (`spec/06` §1.7).
        proof: Option<ProofOfWork>,
    },
    /// Puts another set of witnesses in place of the present one.
    Witnesses {
        /// The next set.
        set: WitnessSet,
        /// A quorum of the present set over [`super::vote::witnesses_sign_bytes`].
        signatures: Signatures,
    },
}

impl Operation {
    /// The name that it concerns, if it says so.
    pub fn name(&self) -> Option<&Username> {
        match self {
            Operation::Claim { name, .. } | Operation::Update { name, .. } => Some(name),
            Operation::Commit { .. } | Operation::Witnesses { .. } => None,
        }
    }

    /// The SHA-256 of its bytes.
    pub fn id(&self) -> OperationId {
        OperationId(sha256(&self.to_bytes()))
    }
}

/// `[1, hash]`, `[2, name, chain, salt]`, `[3, name, chain, proof or null]` or `[4, set, signatures]`.
impl ToCbor for Operation {
    fn to_cbor(&self) -> Value {
        Value::List(match self {
            Operation::Commit { hash } => vec![Value::Int(1), Value::bytes(hash)],
            Operation::Claim { name, chain, salt } => {
                vec![Value::Int(2), name.to_cbor(), chain.to_cbor(), Value::bytes(salt)]
            }
            Operation::Update { name, chain, proof } => {
                let proof = proof.as_ref().map_or(Value::Null, ToCbor::to_cbor);
                vec![Value::Int(3), name.to_cbor(), chain.to_cbor(), proof]
            }
            Operation::Witnesses { set, signatures } => vec![Value::Int(4), set.to_cbor(), signatures.to_cbor()],
        })
    }
}

impl FromCbor for Operation {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        match value.elements("name operation", 2)? {
            [Value::Int(1), hash] => Ok(Operation::Commit { hash: hash.as_array("commitment")? }),
            [Value::Int(2), name, chain, salt] => Ok(Operation::Claim {
                name: Username::from_cbor(name)?,
                chain: Chain::from_cbor(chain)?,
                salt: salt.as_array("salt")?,
            }),
            [Value::Int(3), name, chain, proof] => Ok(Operation::Update {
                name: Username::from_cbor(name)?,
                chain: Chain::from_cbor(chain)?,
                proof: read_proof(proof)?,
            }),
            [Value::Int(4), set, signatures] => Ok(Operation::Witnesses {
                set: WitnessSet::from_cbor(set)?,
                signatures: Signatures::from_cbor(signatures)?,
            }),
            _ => Err(DecodeError::invalid("name operation", "none of the known kinds")),
        }
    }

    /// At most [`MAX_OPERATION_BYTES`], and only the bytes that [`ToCbor::to_bytes`] gives: an operation has one id.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        exact(bytes, MAX_OPERATION_BYTES)
    }
}

fn read_proof(value: &Value) -> Result<Option<ProofOfWork>, DecodeError> {
    if *value == Value::Null {
        return Ok(None);
    }
    let proof = ProofOfWork::from_cbor(value)?;
    if proof.prefix.len() > MAX_PROOF_BYTES {
        return Err(DecodeError::invalid("proof of work", format!("{} bytes", proof.prefix.len())));
    }
    Ok(Some(proof))
}

/// Reads bytes that must be the only form of what they hold, down to keys that a reader would pass over.
pub(super) fn exact<T: FromCbor + ToCbor>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong(bytes.len() as u64));
    }
    let read = T::from_cbor(&Value::decode_canonical(&Bytes::copy_from_slice(bytes))?)?;
    if read.to_bytes() == bytes { Ok(read) } else { Err(DecodeError::NotCanonical) }
}
