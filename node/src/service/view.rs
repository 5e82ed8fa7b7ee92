//! An owner's blocks: those in the store, and those of a request that is not stored yet.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use pyrgos_protocol::encoding::{Cid, Codec};
use pyrgos_protocol::keys::Owner;
use pyrgos_protocol::merkle::champ::BlockSource;
use pyrgos_store::{Blocks, StoreError};

/// The blocks that a decision about one owner may look at.
pub(super) struct View<'a> {
    blocks: &'a dyn Blocks,
    owner: &'a Owner,
    /// Blocks that come with the request.
    carried: HashMap<Cid, Bytes>,
}

impl<'a> View<'a> {
    pub(super) fn new(blocks: &'a dyn Blocks, owner: &'a Owner) -> Self {
        View { blocks, owner, carried: HashMap::new() }
    }

    /// With blocks that the request carries. Their addresses were computed here.
    pub(super) fn carrying(mut self, blocks: &[(Cid, Bytes)]) -> Self {
        self.carried.extend(blocks.iter().cloned());
        self
    }

    pub(super) fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if let Some(content) = cid.identity_content() {
            return Ok(Some(Bytes::copy_from_slice(content)));
        }
        match self.carried.get(cid) {
            Some(block) => Ok(Some(block.clone())),
            None => self.blocks.get(self.owner, cid),
        }
    }

    /// Length in bytes, without reading a stored block.
    pub(super) fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        match self.carried.get(cid) {
            Some(block) => Ok(Some(block.len() as u64)),
            None => self.blocks.size(self.owner, cid),
        }
    }
}

impl BlockSource for View<'_> {
    type Error = StoreError;

    async fn block(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        self.get(cid)
    }
}

/// Runs a future that never waits for anything outside: a walk over a [`View`]. Such a future may still yield to be
/// polled again at once, which is what happens here.
pub(super) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// Whether blocks of this codec may link to others.
pub(super) fn has_links(codec: Codec) -> bool {
    codec == Codec::DagCbor
}
