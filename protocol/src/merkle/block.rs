//! Blocks: their limits, the signatures under which they are written, and the check of what a server hands back
//! (`spec/02` §2).

use bytes::Bytes;
use pyrgos_crypto::hash::sha256;
use pyrgos_crypto::sign::{PublicKey, SecretKey};

use super::bat::prefix;
use crate::encoding::text;
use crate::encoding::{Cid, CidError, Codec, DecodeError, FromCbor, ToCbor, Value};

pub mod direct;

pub use direct::{BlockStoreProperties, PresignedUrl, WriteAuthRequest};

/// Largest block in bytes: 1 MiB and room for a prefix of access tokens.
pub const MAX_BLOCK: usize = (1 << 20) + prefix::MAX_RAW_PREFIX;

/// Raw blocks below this size, in bytes, are uploaded apart from large ones and never straight to object storage.
pub const SMALL_BLOCK: usize = 102_400;

/// Most blocks in one call that asks for direct storage access.
pub const MAX_BLOCKS_PER_AUTH: usize = 50;

/// Largest CBOR item of a request body that a server reads, in bytes (`spec/02` §2.3).
pub const MAX_BODY_ITEM: usize = 2 * MAX_BLOCK;

/// Why a block is not written, or not taken as what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// No bytes.
    #[error("an empty block")]
    Empty,
    /// More than [`MAX_BLOCK`] bytes.
    #[error("Block too big!")]
    TooBig {
        /// Its size in bytes.
        len: usize,
    },
    /// A raw block that is too short to tell whether it has tokens.
    #[error("a raw block of {len} bytes; it needs at least {}", prefix::RAW_MAGIC.len())]
    TooShort {
        /// Its size in bytes.
        len: usize,
    },
    /// A codec that no block of this protocol has.
    #[error("neither a raw nor a dag-cbor block")]
    Codec,
    /// A cbor block that is not one canonical item: it could be stored, but never read back.
    #[error("not a block of canonical CBOR: {0}")]
    NotCanonical(#[source] DecodeError),
    /// The prefix or the key `bats` is malformed.
    #[error("malformed access tokens in the block: {0}")]
    Bats(#[source] DecodeError),
    /// The signature is not the writer's, or not over this block.
    #[error("Invalid signature for block!")]
    Signature,
    /// Other bytes than the identifier names.
    #[error("the bytes are not the block {0}")]
    Hash(Cid),
}

/// Checks what every writer must observe, before a block is signed or stored.
pub fn check_writable(codec: Codec, block: &Bytes) -> Result<(), BlockError> {
    match block.len() {
        0 => return Err(BlockError::Empty),
        len if len > MAX_BLOCK => return Err(BlockError::TooBig { len }),
        len if codec == Codec::Raw && len < prefix::RAW_MAGIC.len() => return Err(BlockError::TooShort { len }),
        _ => {}
    }
    match codec {
        Codec::Raw => prefix::raw_bats(block).map_err(BlockError::Bats)?,
        Codec::DagCbor => {
            let value = Value::decode_canonical(block).map_err(BlockError::NotCanonical)?;
            prefix::cbor_bats(&value).map_err(BlockError::Bats)?
        }
        _ => return Err(BlockError::Codec),
    };
    Ok(())
}

/// Checks that a server's answer is the block that was asked for: its hash, and for cbor the canonical form
/// (`spec/02` §2.1, §12.3).
pub fn verify(cid: &Cid, block: &Bytes) -> Result<(), BlockError> {
    if block.len() > MAX_BLOCK {
        return Err(BlockError::TooBig { len: block.len() });
    }
    if !cid.matches(block) {
        return Err(BlockError::Hash(cid.clone()));
    }
    if cid.codec() == Codec::DagCbor {
        Value::decode_canonical(block).map_err(BlockError::NotCanonical)?;
    }
    Ok(())
}

/// Signs a block: the attached signature over its SHA-256, 96 bytes. Neither codec nor owner are covered.
pub fn sign(writer: &SecretKey, block: &[u8]) -> Vec<u8> {
    writer.sign_attached(&sha256(block))
}

/// Checks that `signature` is the writer's over this block. Answers the block's SHA-256, which names it.
pub fn check_signature(writer: &PublicKey, block: &[u8], signature: &[u8]) -> Result<[u8; 32], BlockError> {
    let digest = sha256(block);
    match writer.open(signature) {
        Ok(signed) if signed == digest => Ok(digest),
        _ => Err(BlockError::Signature),
    }
}

/// A block and the signature under which it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedBlock {
    /// The block.
    pub block: Bytes,
    /// Attached signature over its SHA-256.
    pub signature: Bytes,
}

impl SignedBlock {
    /// Signs a block.
    pub fn sign(writer: &SecretKey, block: Bytes) -> Self {
        let signature = sign(writer, &block).into();
        SignedBlock { block, signature }
    }
}

/// The body of a bulk put: blocks of one codec and one writer (`spec/02` §2.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockWriteGroup {
    /// The blocks, in the order of the answer.
    pub blocks: Vec<SignedBlock>,
}

impl ToCbor for BlockWriteGroup {
    fn to_cbor(&self) -> Value {
        let list = |part: fn(&SignedBlock) -> &Bytes| {
            Value::List(self.blocks.iter().map(|block| Value::Bytes(part(block).clone())).collect())
        };
        Value::map([("b", list(|block| &block.block)), ("s", list(|block| &block.signature))])
    }
}

impl FromCbor for BlockWriteGroup {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("BlockWriteGroup")?;
        let (blocks, signatures) = (fields.required("b")?.as_list()?, fields.required("s")?.as_list()?);
        if blocks.len() != signatures.len() {
            let reason = format!("{} blocks and {} signatures", blocks.len(), signatures.len());
            return Err(DecodeError::invalid("BlockWriteGroup", reason));
        }
        let signed = blocks.iter().zip(signatures).map(|(block, signature)| {
            Ok(SignedBlock { block: block.as_bytes()?.clone(), signature: signature.as_bytes()?.clone() })
        });
        Ok(BlockWriteGroup { blocks: signed.collect::<Result<_, DecodeError>>()? })
    }
}

/// The name of a block in a file system or object store: upper case base32 of the CID without padding
/// (`spec/02` §2.8).
pub fn block_key(cid: &Cid) -> String {
    text::base32_upper(cid.to_bytes())
}

/// Reads the name of a block.
pub fn cid_of_key(key: &str) -> Result<Cid, CidError> {
    // "B" is the multibase prefix of this very base.
    let bytes = text::from_multibase(&format!("B{key}")).map_err(|_| CidError::Text)?;
    let cid = Cid::from_bytes(&bytes)?;
    if block_key(&cid) == key { Ok(cid) } else { Err(CidError::Text) }
}
