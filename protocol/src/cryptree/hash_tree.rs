//! The hash tree over a file's content (`spec/03` §3.9).
//!
//! A leaf is the SHA-256 of one chunk of plain content. Lists of up to 1024 hashes are hashed into lists of up to 1024
//! hashes, until one list is left. Clients that sync compare root hashes; nothing that decrypts a file relies on them.

use std::fmt;

use bytes::Bytes;
use pyrgos_crypto::hash::{Sha256, sha256};

use super::chunk::CHUNK_SIZE;
use crate::encoding::{DecodeError, FromCbor, Map, ToCbor, Value};

/// Most hashes in one list.
pub const HASHES_PER_LIST: usize = 1024;

/// Largest list, in bytes.
pub const MAX_LIST_BYTES: usize = HASHES_PER_LIST * 32;

/// Most levels of lists; the last one is never stored, since it is one list that the root stands for.
const MAX_LEVELS: usize = 4;

/// More chunks than the tree has room for (1024⁴).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file of {chunks} chunks is too large for a hash tree")]
pub struct TooManyChunks {
    /// How many there are.
    pub chunks: u64,
}

/// Up to 1024 hashes of 32 bytes, one after the other.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkHashList(Bytes);

impl ChunkHashList {
    /// The hashes' bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// How many whole hashes the list holds.
    pub fn len(&self) -> usize {
        self.0.len() / 32
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hash at a position.
    pub fn get(&self, at: usize) -> Option<&[u8; 32]> {
        self.0.chunks_exact(32).nth(at)?.try_into().ok()
    }
}

impl fmt::Debug for ChunkHashList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkHashList({} hashes)", self.len())
    }
}

impl ToCbor for ChunkHashList {
    fn to_cbor(&self) -> Value {
        Value::map([("h", Value::Bytes(self.0.clone()))])
    }
}

impl FromCbor for ChunkHashList {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let bytes = value.fields("ChunkHashList")?.bytes("h")?;
        if bytes.len() > MAX_LIST_BYTES {
            return Err(DecodeError::invalid("ChunkHashList", format!("{} bytes of hashes", bytes.len())));
        }
        Ok(ChunkHashList(bytes.clone()))
    }
}

/// The root of a hash tree: two files of equal content have equal roots.
///
/// A hash of plaintext: who knows it can test guesses of the content, so `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootHash(pub [u8; 32]);

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootHash(..)")
    }
}

impl ToCbor for RootHash {
    fn to_cbor(&self) -> Value {
        Value::map([("h", Value::bytes(self.0))])
    }
}

impl FromCbor for RootHash {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        Ok(RootHash(value.fields("RootHash")?.required("h")?.as_array("RootHash")?))
    }
}

/// The whole tree, as an upload transaction keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashTree {
    /// The root.
    pub root: RootHash,
    /// The hashes of the chunks.
    pub level1: Vec<ChunkHashList>,
    /// The hashes of the lists of level 1; none when that is one list.
    pub level2: Vec<ChunkHashList>,
    /// The hashes of the lists of level 2; none when that is one list or none.
    pub level3: Vec<ChunkHashList>,
}

impl HashTree {
    /// The tree over the hashes of all chunks in order.
    ///
    /// # Errors
    /// [`TooManyChunks`] above 1024⁴.
    pub fn of_chunk_hashes(hashes: impl IntoIterator<Item = [u8; 32]>) -> Result<HashTree, TooManyChunks> {
        let mut builder = HashTreeBuilder::default();
        hashes.into_iter().for_each(|hash| builder.push(hash));
        builder.finish()
    }

    /// The part of the tree that the node of a chunk carries. Nodes of chunks 0, 1024, 2048, … together hold all of it.
    pub fn branch(&self, chunk_index: u64) -> HashBranch {
        let list = |level: &[ChunkHashList], divisor: u64| {
            usize::try_from(chunk_index / divisor).ok().and_then(|at| level.get(at)).cloned()
        };
        let width = HASHES_PER_LIST as u64;
        let level1 = list(&self.level1, width);
        let level2 = list(&self.level2, width * width).filter(|_| level1.is_some());
        let level3 = list(&self.level3, width * width * width).filter(|_| level2.is_some());
        HashBranch { root: self.root, level1, level2, level3 }
    }

    /// The hash of a chunk's content.
    pub fn chunk_hash(&self, chunk_index: u64) -> Option<&[u8; 32]> {
        let width = HASHES_PER_LIST as u64;
        let list = self.level1.get(usize::try_from(chunk_index / width).ok()?)?;
        list.get((chunk_index % width) as usize)
    }
}

impl ToCbor for HashTree {
    fn to_cbor(&self) -> Value {
        Value::map([
            ("r", self.root.to_cbor()),
            ("ll1", Value::list(&self.level1)),
            ("ll2", Value::list(&self.level2)),
            ("ll3", Value::list(&self.level3)),
        ])
    }
}

impl FromCbor for HashTree {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("HashTree")?;
        Ok(HashTree {
            root: fields.get("r")?,
            level1: fields.required("ll1")?.as_list_of()?,
            level2: fields.required("ll2")?.as_list_of()?,
            level3: fields.required("ll3")?.as_list_of()?,
        })
    }
}

/// The lists above one chunk (property `th`). Readers must not trust it blindly: a writer may have left an old one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashBranch {
    root: RootHash,
    level1: Option<ChunkHashList>,
    level2: Option<ChunkHashList>,
    level3: Option<ChunkHashList>,
}

impl HashBranch {
    /// The root of the whole tree.
    pub fn root(&self) -> &RootHash {
        &self.root
    }

    /// The list with the hash of the chunk.
    pub fn level1(&self) -> Option<&ChunkHashList> {
        self.level1.as_ref()
    }

    /// The list with the hash of the level 1 list.
    pub fn level2(&self) -> Option<&ChunkHashList> {
        self.level2.as_ref()
    }

    /// The list with the hash of the level 2 list.
    pub fn level3(&self) -> Option<&ChunkHashList> {
        self.level3.as_ref()
    }
}

impl ToCbor for HashBranch {
    fn to_cbor(&self) -> Value {
        let mut map = Map::default();
        map.insert("r", self.root.to_cbor());
        for (key, level) in [("l1", &self.level1), ("l2", &self.level2), ("l3", &self.level3)] {
            if let Some(list) = level {
                map.insert(key, list.to_cbor());
            }
        }
        Value::Map(map)
    }
}

impl FromCbor for HashBranch {
    fn from_cbor(value: &Value) -> Result<Self, DecodeError> {
        let fields = value.fields("HashBranch")?;
        let branch = HashBranch {
            root: fields.get("r")?,
            level1: fields.get_optional("l1")?,
            level2: fields.get_optional("l2")?,
            level3: fields.get_optional("l3")?,
        };
        if branch.level2.is_some() && branch.level1.is_none() || branch.level3.is_some() && branch.level2.is_none() {
            return Err(DecodeError::invalid("HashBranch", "a level without the one below it"));
        }
        Ok(branch)
    }
}

/// Collects the hashes of chunks in order. 32 bytes are kept for each chunk, 6.4 KiB for each GiB of content.
#[derive(Clone, Default)]
pub struct HashTreeBuilder {
    hashes: Vec<u8>,
}

impl HashTreeBuilder {
    /// Appends the SHA-256 of the next chunk's content.
    pub fn push(&mut self, hash: [u8; 32]) {
        self.hashes.extend_from_slice(&hash);
    }

    /// How many chunks were pushed.
    pub fn chunks(&self) -> u64 {
        (self.hashes.len() / 32) as u64
    }

    /// The tree. Without any chunk it is that of an empty file, whose one leaf is the hash of nothing.
    ///
    /// # Errors
    /// [`TooManyChunks`] above 1024⁴.
    pub fn finish(mut self) -> Result<HashTree, TooManyChunks> {
        if self.hashes.is_empty() {
            self.push(sha256(b""));
        }
        let chunks = self.chunks();
        let mut levels = vec![pack(self.hashes)];
        while levels[levels.len() - 1].len() > 1 {
            if levels.len() == MAX_LEVELS {
                return Err(TooManyChunks { chunks });
            }
            let above = levels[levels.len() - 1].iter().flat_map(|list| sha256(&list.to_bytes())).collect();
            levels.push(pack(above));
        }
        let root = RootHash(sha256(&Value::list(&levels[levels.len() - 1]).encode()));
        let mut levels = levels.into_iter();
        let mut next = || levels.next().unwrap_or_default();
        Ok(HashTree { root, level1: next(), level2: next(), level3: next() })
    }
}

/// Cuts concatenated hashes into lists that share one buffer.
fn pack(hashes: Vec<u8>) -> Vec<ChunkHashList> {
    let hashes = Bytes::from(hashes);
    (0..hashes.len())
        .step_by(MAX_LIST_BYTES)
        .map(|start| ChunkHashList(hashes.slice(start..hashes.len().min(start + MAX_LIST_BYTES))))
        .collect()
}

/// Hashes content that arrives in pieces of any size.
#[derive(Clone, Default)]
pub struct ContentHasher {
    tree: HashTreeBuilder,
    chunk: Sha256,
    filled: u64,
}

impl ContentHasher {
    /// Appends content.
    pub fn update(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            let room = usize::try_from(CHUNK_SIZE - self.filled).unwrap_or(usize::MAX);
            let (part, rest) = content.split_at(content.len().min(room));
            self.chunk.update(part);
            self.filled += part.len() as u64;
            content = rest;
            if self.filled == CHUNK_SIZE {
                self.tree.push(std::mem::take(&mut self.chunk).finish());
                self.filled = 0;
            }
        }
    }

    /// The tree of everything appended.
    ///
    /// # Errors
    /// [`TooManyChunks`] above 1024⁴.
    pub fn finish(mut self) -> Result<HashTree, TooManyChunks> {
        if self.filled > 0 {
            self.tree.push(self.chunk.finish());
        }
        self.tree.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_hashes_alike_however_it_is_cut() {
        let content: Vec<u8> = (0..(2 * CHUNK_SIZE + 77) as u32).map(|n| (n % 251) as u8).collect();
        let whole = HashTree::of_chunk_hashes(content.chunks(CHUNK_SIZE as usize).map(sha256)).unwrap();
        for step in [1_000_003, CHUNK_SIZE as usize, CHUNK_SIZE as usize + 1, content.len()] {
            let mut hasher = ContentHasher::default();
            content.chunks(step).for_each(|part| hasher.update(part));
            assert_eq!(hasher.finish().unwrap(), whole);
        }
        assert_eq!(whole.chunk_hash(2), Some(&sha256(&content[2 * CHUNK_SIZE as usize..])));
        assert_eq!(whole.chunk_hash(3), None);
    }

    #[test]
    fn a_branch_with_a_gap_is_refused() {
        let list = Value::map([("h", Value::bytes([0; 32]))]);
        let branch = |levels: &[&str]| {
            let mut map = Map::default();
            map.insert("r", RootHash([0; 32]).to_cbor());
            levels.iter().for_each(|key| map.insert(*key, list.clone()));
            HashBranch::from_cbor(&Value::Map(map))
        };
        assert!(branch(&[]).is_ok());
        assert!(branch(&["l1", "l2", "l3"]).is_ok());
        assert!(branch(&["l2"]).is_err());
        assert!(branch(&["l1", "l3"]).is_err());
    }

    #[test]
    fn oversized_lists_and_short_roots_are_refused() {
        let list = |len: usize| ChunkHashList::from_cbor(&Value::map([("h", Value::bytes(vec![0; len]))]));
        assert!(list(MAX_LIST_BYTES).is_ok());
        assert!(list(MAX_LIST_BYTES + 1).is_err());
        assert!(RootHash::from_cbor(&Value::map([("h", Value::bytes([0; 31]))])).is_err());
    }
}
