//! Small blocks that were verified, kept in memory. They are immutable, so nothing ever becomes stale.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::encoding::Cid;

/// Larger blocks are not kept: they are fragments of contents, which are read once.
const MAX_BLOCK: usize = 128 * 1024;

/// The least recently used blocks leave when the total exceeds the limit.
pub(crate) struct BlockCache {
    limit_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<Cid, (Bytes, u64)>,
    by_use: BTreeMap<u64, Cid>,
    clock: u64,
    bytes: usize,
}

impl BlockCache {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        BlockCache { limit_bytes, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block, which counts as used now.
    pub(crate) fn get(&self, cid: &Cid) -> Option<Bytes> {
        let state = &mut *self.lock();
        state.clock += 1;
        let (block, used) = state.blocks.get_mut(cid)?;
        state.by_use.remove(used);
        *used = state.clock;
        state.by_use.insert(state.clock, cid.clone());
        Some(block.clone())
    }

    /// Keeps a block whose hash was checked, or that this client made itself.
    pub(crate) fn put(&self, cid: &Cid, block: &Bytes) {
        if block.len() > MAX_BLOCK.min(self.limit_bytes) {
            return;
        }
        let state = &mut *self.lock();
        if state.blocks.contains_key(cid) {
            return;
        }
        state.clock += 1;
        // A slice would keep its whole answer alive.
        state.blocks.insert(cid.clone(), (Bytes::copy_from_slice(block), state.clock));
        state.by_use.insert(state.clock, cid.clone());
        state.bytes += block.len();
        while state.bytes > self.limit_bytes {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some((block, _)) = state.blocks.remove(&oldest) {
                state.bytes -= block.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_leave_first() {
        let blocks: Vec<Bytes> = (0u8..4).map(|n| Bytes::from(vec![n; 10])).collect();
        let cids: Vec<Cid> = blocks.iter().map(|block| Cid::of_raw(block)).collect();
        let cache = BlockCache::new(30);
        for (cid, block) in cids.iter().zip(&blocks).take(3) {
            cache.put(cid, block);
        }
        assert_eq!(cache.get(&cids[0]).as_ref(), Some(&blocks[0]));
        cache.put(&cids[3], &blocks[3]);
        assert_eq!(cache.get(&cids[1]), None);
        for kept in [0, 2, 3] {
            assert_eq!(cache.get(&cids[kept]).as_ref(), Some(&blocks[kept]));
        }
        let large = Bytes::from(vec![9; 31]);
        cache.put(&Cid::of_raw(&large), &large);
        assert_eq!(cache.get(&Cid::of_raw(&large)), None);
        assert_eq!(cache.lock().bytes, 30);
    }
}
