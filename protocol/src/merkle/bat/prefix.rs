//! Where blocks carry the identifiers of their tokens: a prefix of raw blocks, the top-level key `bats` of cbor blocks
//! (`spec/02` §8.3, §8.4).

use bytes::Bytes;

use super::BatId;
use crate::encoding::{Codec, DecodeError, ToCbor, Value};

/// First bytes of a guarded raw block.
pub const RAW_MAGIC: [u8; 8] = [0x71, 0x1d, 0x10, 0xcf, 0x3d, 0x32, 0x2f, 0x2b];

/// Largest prefix in bytes that the limit of a block leaves room for (`spec/02` §2.1).
pub const MAX_RAW_PREFIX: usize = 100;

/// Key of the list in a cbor block.
pub const BATS_KEY: &str = "bats";

/// Most CBOR items of the list in a cbor block that is read, far above what anybody writes.
const MAX_BATS_ITEMS: usize = 4096;

/// The prefix of a raw block that the given tokens guard; inline first, then the mirror token. Empty for no tokens: such
/// a block is public.
pub fn raw_prefix(ids: &[BatId]) -> Vec<u8> {
    if ids.is_empty() {
        return Vec::new();
    }
    let mut prefix = RAW_MAGIC.to_vec();
    Value::list(ids).encode_into(&mut prefix);
    prefix
}

/// A raw block of the given payload, with its prefix.
pub fn guard_raw(ids: &[BatId], payload: &[u8]) -> Vec<u8> {
    let mut block = raw_prefix(ids);
    block.extend_from_slice(payload);
    block
}

/// The payload of a raw block, sharing its buffer. The identifiers are skipped, not read.
pub fn strip_raw(block: &Bytes) -> Result<Bytes, DecodeError> {
    match after_magic(block)? {
        None => Ok(block.clone()),
        Some(rest) => {
            let (_, used) = Value::decode_first(&rest)?;
            Ok(rest.slice(used..))
        }
    }
}

/// The tokens that guard a raw block; none if it is public. An error for a block that neither a public nor a guarded
/// one can be: shorter than the magic, or with the magic and no list of identifiers.
pub fn raw_bats(block: &Bytes) -> Result<Vec<BatId>, DecodeError> {
    match after_magic(block)? {
        None => Ok(Vec::new()),
        Some(rest) => Value::decode_first(&rest)?.0.as_list_of(),
    }
}

/// The tokens that guard a decoded cbor block: only a list at the top-level key `bats` counts, nested ones hold secrets
/// for other blocks.
pub fn cbor_bats(block: &Value) -> Result<Vec<BatId>, DecodeError> {
    match block {
        Value::Map(map) => map.get(BATS_KEY).map_or(Ok(Vec::new()), |ids| ids.as_list_of()),
        _ => Ok(Vec::new()),
    }
}

/// The tokens that guard a block. A block that is neither raw nor dag-cbor is an error.
pub fn block_bats(codec: Codec, block: &Bytes) -> Result<Vec<BatId>, DecodeError> {
    match codec {
        Codec::Raw => raw_bats(block),
        Codec::DagCbor => {
            Value::decode_entry(block, BATS_KEY, MAX_BATS_ITEMS)?.map_or(Ok(Vec::new()), |ids| ids.as_list_of())
        }
        _ => Err(DecodeError::invalid("block", "neither raw nor dag-cbor")),
    }
}

/// What follows the magic, if it is there.
fn after_magic(block: &Bytes) -> Result<Option<Bytes>, DecodeError> {
    if block.len() < RAW_MAGIC.len() {
        return Err(DecodeError::Truncated);
    }
    Ok(block.starts_with(&RAW_MAGIC).then(|| block.slice(RAW_MAGIC.len()..)))
}

/// Puts tokens' identifiers under `bats` into the map of a cbor block; nothing for no tokens.
pub fn guard_cbor(ids: &[BatId], block: &mut crate::encoding::Map) {
    if !ids.is_empty() {
        block.insert(BATS_KEY, Value::List(ids.iter().map(ToCbor::to_cbor).collect()));
    }
}
