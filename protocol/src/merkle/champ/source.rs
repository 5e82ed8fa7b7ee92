//! Where the blocks of a tree come from.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, ready};

use bytes::Bytes;

use crate::api::transport::{MaybeSend, MaybeSync};
use crate::encoding::{Cid, Codec};

/// Hands out blocks by address. Nobody trusts it: each block is hashed by who asked for it.
///
/// A source that never waits makes the futures of a [`super::Champ`] ready at their first poll, so that a server can run
/// them with `now_or_never`.
pub trait BlockSource: MaybeSync {
    /// What fails when blocks are fetched. An absent block is no failure.
    type Error: MaybeSend;

    /// The block, or none if the source does not have it.
    fn block(&self, cid: &Cid) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + MaybeSend;
}

impl<S: BlockSource> BlockSource for &S {
    type Error = S::Error;

    fn block(&self, cid: &Cid) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + MaybeSend {
        (**self).block(cid)
    }
}

/// Blocks in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlocks {
    blocks: HashMap<Cid, Bytes>,
}

impl MemoryBlocks {
    /// Blocks under the dag-cbor addresses that they hash to, whatever a server said that they are (`spec/02` §12.2).
    pub fn of_cbor(blocks: impl IntoIterator<Item = Bytes>) -> Self {
        MemoryBlocks { blocks: blocks.into_iter().map(|block| (Cid::of_cbor(&block), block)).collect() }
    }

    /// Hashes and keeps a block.
    pub fn put(&mut self, codec: Codec, block: Bytes) -> Cid {
        let cid = Cid::of_block(codec, &block);
        self.blocks.insert(cid.clone(), block);
        cid
    }

    /// The block of an address.
    pub fn get(&self, cid: &Cid) -> Option<&Bytes> {
        self.blocks.get(cid)
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All blocks, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Cid, &Bytes)> {
        self.blocks.iter()
    }
}

/// Keeps blocks under addresses that are known to be theirs.
impl Extend<(Cid, Bytes)> for MemoryBlocks {
    fn extend<T: IntoIterator<Item = (Cid, Bytes)>>(&mut self, blocks: T) {
        self.blocks.extend(blocks);
    }
}

impl BlockSource for MemoryBlocks {
    type Error = Infallible;

    fn block(&self, cid: &Cid) -> impl Future<Output = Result<Option<Bytes>, Infallible>> + MaybeSend {
        ready(Ok(self.blocks.get(cid).cloned()))
    }
}

/// Blocks in memory in front of another source: a write buffer, or a server's answer that may be incomplete.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a, S> {
    /// Looked at first.
    pub near: &'a MemoryBlocks,
    /// Asked for what is not there.
    pub far: S,
}

impl<S: BlockSource> BlockSource for Overlay<'_, S> {
    type Error = S::Error;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, S::Error> {
        match self.near.get(cid) {
            Some(block) => Ok(Some(block.clone())),
            None => self.far.block(cid).await,
        }
    }
}
