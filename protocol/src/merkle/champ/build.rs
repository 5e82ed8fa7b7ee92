//! New trees from nothing but their mappings.

use std::convert::Infallible;

use futures_util::FutureExt;

use super::{Champ, ChampError, Change, Changed, KeyHashing, MemoryBlocks, Node};
use crate::encoding::{Cid, Value};

/// The empty tree without a token on its root.
pub fn empty() -> Changed {
    let (root, block) = Node::default().to_block();
    Changed { blocks: vec![(root.clone(), block)], root }
}

/// A tree of the given mappings, with all of its nodes. A key that is given twice is a mismatch.
pub fn build<K: AsRef<[u8]>>(
    hashing: KeyHashing,
    mappings: impl IntoIterator<Item = (K, Value)>,
) -> Result<Changed, ChampError<Infallible>> {
    let put = |(key, value): (K, Value)| Change::put(key.as_ref().to_vec(), None, value);
    let changes: Vec<Change> = mappings.into_iter().map(put).collect();
    let nothing = Champ::new(MemoryBlocks::default(), hashing);
    // A source in memory never waits, and nothing below an empty root is ever asked for.
    let built = nothing.apply_in(&Node::default(), &changes).now_or_never().unwrap_or(Err(ChampError::TooDeep));
    let (node, mut blocks) = built?;
    let (root, block) = node.to_block();
    blocks.push((root.clone(), block));
    Ok(Changed { root, blocks })
}

/// The file tree that has these chunks: map keys and the blocks of the nodes there (`spec/02` §7.1).
pub fn file_tree<K: AsRef<[u8]>>(
    chunks: impl IntoIterator<Item = (K, Cid)>,
) -> Result<Changed, ChampError<Infallible>> {
    build(KeyHashing::Identity, chunks.into_iter().map(|(key, cid)| (key, Value::Link(cid))))
}
