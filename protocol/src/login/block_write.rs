//! A block write that travels inside login data or an operation log (`spec/01` §4.5, `spec/06` §1.8).

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;

use crate::encoding::{Cid, DecodeError, FromCbor, ToCbor, Value};
use crate::keys::{PublicSigningKey, SigningPrivateKeyAndPublicHash, Writer};

/// A block with its writer's signature over its hash: `{b, r, s, w}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockWrite {
    /// The block. Never empty.
    pub block: Bytes,
    /// Whether it is raw rather than dag-cbor.
    pub is_raw: bool,
    /// `signed(writer, SHA-256 of the block)`.
    pub signed_hash: Bytes,
    /// Who writes it.
    pub writer: Writer,
}

impl BlockWrite {
    /// Signs a write.
    pub fn sign(block: Bytes, is_raw: bool, writer: &SigningPrivateKeyAndPublicHash) -> Self {
        let signed_hash = writer.secret.sign_attached(&sha256(&block)).into();
        BlockWrite { block, is_raw, signed_hash, writer: writer.writer() }
    }

    /// The address of the block.
    pub fn cid(&self) -> Cid {
        if self.is_raw { Cid::of_raw(&self.block) } else { Cid::of_cbor(&self.block) }
    }

    /// Whether `writer_key` signed the hash of exactly this block.
    pub fn is_signed_by(&self, writer_key: &PublicSigningKey) -> bool {
        writer_key.open(&self.signed_hash).is_ok_and(|hash| hash == sha256(&self.block))
    }
}

impl ToCbor for BlockWrite {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("b", Value::Bytes(self.block.clone())),
            ("r", Value::Bool(self.is_raw)),
            ("s", Value::Bytes(self.signed_hash.clone())),
            ("w", self.writer.to_cbor()),
        ])
    }
}

impl FromCbor for BlockWrite {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("block write")?;
        let block = fields.bytes("b")?.clone();
        if block.is_empty() {
            return Err(DecodeError::invalid("block write", "the block is empty"));
        }
        Ok(BlockWrite {
            block,
            is_raw: fields.required("r")?.as_bool()?,
            signed_hash: fields.bytes("s")?.clone(),
            writer: fields.get("w")?,
        })
    }
}
