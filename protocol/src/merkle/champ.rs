//! The CHAMP, a compressed hash-array mapped prefix tree: how a writer's files, owned keys, secret links and the names of
//! the network are kept in blocks (`spec/02` §6, §7).
//!
//! The tree is a function of its mappings and of the token on its root, whatever the order of the changes that led
//! there. [`Champ`] reads and changes trees over any [`BlockSource`]; nothing is written here, changes come out as blocks.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use pyrgos_crypto::hash::{blake2b_512, sha256};

use super::bat::BatId;
use super::block::{self, BlockError};
use crate::encoding::{Cid, DecodeError, FromCbor};

pub mod build;
pub mod bulk;
pub mod change;
pub mod diff;
pub mod memory;
pub mod node;
pub mod source;
pub mod walk;

pub use build::{build, empty, file_tree};
pub use bulk::{BulkLookup, Proof};
pub use change::{Change, Changed, Expected};
pub use diff::Difference;
pub use memory::NodeMemory;
pub use node::{Entry, Node, Slot};
pub use source::{BlockSource, MemoryBlocks, Overlay};
pub use walk::{Entries, Lookup};

/// Bits of the hash that one level takes.
pub const BIT_WIDTH: usize = 3;

/// Slots of a node.
pub const SLOTS: usize = 1 << BIT_WIDTH;

/// Most mappings in one bucket.
pub const MAX_BUCKET: usize = 4;

/// Depth of the deepest node; the root is at 0.
pub const MAX_DEPTH: usize = 31;

/// Most blocks that are asked for at once.
pub(crate) const PARALLEL: usize = 24;

/// How a key becomes the bits that choose its way through the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyHashing {
    /// The key itself: file trees, owned keys, secret links.
    Identity,
    /// SHA-256: published capabilities.
    Sha256,
    /// Unkeyed BLAKE2b with 64 bytes: user names.
    Blake2b512,
}

impl KeyHashing {
    /// The hash of a key.
    pub fn hash(self, key: &[u8]) -> Cow<'_, [u8]> {
        match self {
            KeyHashing::Identity => Cow::Borrowed(key),
            KeyHashing::Sha256 => Cow::Owned(sha256(key).to_vec()),
            KeyHashing::Blake2b512 => Cow::Owned(blake2b_512(key).to_vec()),
        }
    }
}

/// The slot of a hash in a node at some depth (`spec/02` §6.2).
pub fn slot(hash: &[u8], depth: usize) -> usize {
    position(hash, BIT_WIDTH, depth)
}

/// As [`slot`], for nodes of `1 << bit_width` slots: the bits from `bit_width · depth` on, least significant first. Bits
/// past the end of the hash are 0.
pub fn position(hash: &[u8], bit_width: usize, depth: usize) -> usize {
    (0..bit_width).fold(0, |slot, index| {
        let bit = bit_width * depth + index;
        let value = hash.get(bit / 8).map_or(0, |byte| byte >> (bit % 8) & 1);
        slot | usize::from(value) << index
    })
}

/// Why a tree could not be read or changed. `E` is the error of the block source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChampError<E> {
    /// The source failed.
    #[error("cannot read a block of the tree")]
    Source(#[source] E),
    /// The source does not have the block.
    #[error("the block {0} of the tree is missing")]
    Missing(Cid),
    /// The source's bytes are not the block.
    #[error("wrong block in the tree: {0}")]
    Block(#[source] BlockError),
    /// The block is no node.
    #[error("{cid} is no node of a tree: {reason}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A node below the deepest level that writers may make, or keys that only deeper nodes could tell apart.
    #[error("the tree is deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A node holds a key that belongs elsewhere, or nothing at all: its writer did not follow the rules.
    #[error("the tree is not well formed")]
    Misplaced,
    /// The value before the change is not the one that the writer expected; nothing was changed.
    #[error("the mapping has another value than expected")]
    Mismatch {
        /// The mapping's key.
        key: Bytes,
    },
    /// Both sides of a merge changed the same mapping.
    #[error("concurrent modification of the same mapping")]
    Conflict {
        /// The mapping's key.
        key: Bytes,
    },
}

/// Trees of one kind over one source of blocks.
#[derive(Clone, Debug)]
pub struct Champ<S> {
    source: S,
    hashing: KeyHashing,
    root_bat: Option<BatId>,
    memory: Option<Arc<NodeMemory>>,
}

impl<S: BlockSource> Champ<S> {
    /// Trees whose blocks come from `source`.
    pub fn new(source: S, hashing: KeyHashing) -> Self {
        Champ { source, hashing, root_bat: None, memory: None }
    }

    /// The same, with a token on each root that is written: the mirror token of secret links (`spec/02` §7.3).
    pub fn with_root_bat(self, bat: BatId) -> Self {
        Champ { root_bat: Some(bat), ..self }
    }

    /// The same, where look-ups take nodes from a memory that has them, and leave there what they had to fetch.
    pub fn with_memory(self, memory: Arc<NodeMemory>) -> Self {
        Champ { memory: Some(memory), ..self }
    }

    /// Where the blocks come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// How keys choose their way.
    pub fn hashing(&self) -> KeyHashing {
        self.hashing
    }

    /// The empty tree's root and its block, as this kind of tree is written.
    pub fn empty(&self) -> (Cid, Bytes) {
        Node { bat: self.root_bat.clone(), ..Node::default() }.to_block()
    }

    /// Fetches, verifies and decodes one node, and returns its bytes as well.
    async fn load(&self, cid: &Cid) -> Result<(Node, Bytes), ChampError<S::Error>> {
        let block = self.source.block(cid).await.map_err(ChampError::Source)?;
        let block = block.ok_or_else(|| ChampError::Missing(cid.clone()))?;
        block::verify(cid, &block).map_err(ChampError::Block)?;
        let node = crate::encoding::Value::decode_shared(&block).and_then(|value| Node::from_cbor(&value));
        match node {
            Ok(node) => Ok((node, block)),
            Err(reason) => Err(ChampError::Malformed { cid: cid.clone(), reason }),
        }
    }

    /// As [`Self::load`], from memory if it has the node.
    async fn recall(&self, cid: &Cid) -> Result<Arc<(Node, Bytes)>, ChampError<S::Error>> {
        if let Some(known) = self.memory.as_ref().and_then(|memory| memory.get(cid)) {
            return Ok(known);
        }
        let loaded = Arc::new(self.load(cid).await?);
        if let Some(memory) = &self.memory {
            memory.put(cid, &loaded);
        }
        Ok(loaded)
    }

    /// Checks that everything in a node at the end of `path` belongs there. Otherwise a few blocks could describe a
    /// tree of astronomic size, by linking the same child from each slot.
    fn check_place(&self, node: &Node, path: &[u8]) -> Result<(), ChampError<S::Error>> {
        if !path.is_empty() && node.is_empty() {
            return Err(ChampError::Misplaced);
        }
        for (at, entry) in node.entries() {
            let hash = self.hashing.hash(&entry.key);
            let on_path = path.iter().enumerate().all(|(depth, expected)| slot(&hash, depth) == usize::from(*expected));
            if !on_path || slot(&hash, path.len()) != at {
                return Err(ChampError::Misplaced);
            }
        }
        Ok(())
    }
}
