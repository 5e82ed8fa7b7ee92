//! Proofs of work as they travel (`spec/01` §6, `spec/06` §1.7).

use bytes::Bytes;
use pyrgos_crypto::pow;

use crate::encoding::{DecodeError, FromCbor, ToCbor, Value};

/// The largest proof that a server reads, in bytes.
pub const MAX_PROOF_BYTES: usize = 100;

/// SHA-256, the only hash function of proofs. Readers do not look at it (`spec/01` §6).
const SHA256: i64 = 0x12;

/// A prefix such that `SHA-256(prefix ‖ data)` meets a difficulty: `{prefix, type}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofOfWork {
    /// The prefix; clients send 8 bytes, any length is valid.
    pub prefix: Bytes,
}

impl ProofOfWork {
    /// The proof that a client sends first, for difficulty 0: eight zero bytes.
    pub fn first_try() -> Self {
        ProofOfWork { prefix: Bytes::from_static(&[0; 8]) }
    }

    /// Solves a difficulty over `data`. Takes 2^difficulty hashes on average: not for an async executor.
    ///
    /// # Errors
    /// [`pyrgos_crypto::Error::Difficulty`] where that is out of reach; a server that is closed asks for 256.
    pub fn solve(data: &[u8], difficulty: u32) -> Result<Self, pyrgos_crypto::Error> {
        Ok(ProofOfWork { prefix: Bytes::copy_from_slice(&pow::solve(data, difficulty, 0)?) })
    }

    /// Whether this proves work of a difficulty over `data`.
    pub fn proves(&self, data: &[u8], difficulty: u32) -> bool {
        pow::check(&self.prefix, data, difficulty)
    }

    /// Reads a proof from the network, at most [`MAX_PROOF_BYTES`] of it.
    pub fn from_request(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(DecodeError::invalid("proof of work", format!("{} bytes", bytes.len())));
        }
        ProofOfWork::from_bytes(bytes)
    }
}

impl ToCbor for ProofOfWork {
    fn to_cbor(&self) -> Value {
        Value::map([("type", Value::Int(SHA256)), ("prefix", Value::Bytes(self.prefix.clone()))])
    }
}

impl FromCbor for ProofOfWork {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("proof of work")?;
        fields.int("type")?;
        Ok(ProofOfWork { prefix: fields.bytes("prefix")?.clone() })
    }
}
