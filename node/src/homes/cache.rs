//! Blocks of other homes that came by, in memory: each was hashed, the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use pyrgos_protocol::encoding::Cid;
use pyrgos_protocol::keys::Owner;

/// Most bytes of blocks, and most of them, however small.
const MAX_BYTES: usize = 64 << 20;
const MAX_BLOCKS: usize = 1 << 16;

#[derive(Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    blocks: HashMap<(Owner, Cid), Bytes>,
    order: VecDeque<(Owner, Cid)>,
    bytes: usize,
}

impl Cache {
    pub(super) fn get(&self, owner: &Owner, cid: &Cid) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.blocks.get(&(owner.clone(), cid.clone())).cloned()
    }

    /// The caller has hashed the block.
    pub(super) fn put(&self, owner: Owner, cid: Cid, block: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (owner, cid);
        if kept.blocks.contains_key(&key) {
            return;
        }
        kept.bytes += block.len();
        // A copy, since the answer that it is part of may be longer.
        kept.blocks.insert(key.clone(), Bytes::copy_from_slice(&block));
        kept.order.push_back(key);
        while kept.bytes > MAX_BYTES || kept.order.len() > MAX_BLOCKS {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.bytes -= kept.blocks.remove(&oldest).map_or(0, |block| block.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrgos_protocol::keys::KeyHash;

    #[test]
    fn it_is_bounded_and_the_oldest_go_first() {
        let (cache, owner) = (Cache::default(), Owner::new(KeyHash::of_key_cbor(b"owner")));
        let block = |number: usize| Bytes::from(vec![number as u8; 1 << 20]);
        let cid = |number: usize| Cid::of_cbor(&number.to_be_bytes());
        (0..100).for_each(|number| cache.put(owner.clone(), cid(number), block(number)));
        assert_eq!(cache.get(&owner, &cid(35)), None);
        (36..100).for_each(|number| assert_eq!(cache.get(&owner, &cid(number)), Some(block(number))));
        let other = Owner::new(KeyHash::of_key_cbor(b"other"));
        assert_eq!(cache.get(&other, &cid(99)), None);
        (0..2 * MAX_BLOCKS).for_each(|number| cache.put(other.clone(), cid(number), Bytes::new()));
        assert!(cache.0.lock().unwrap().order.len() <= MAX_BLOCKS);
        assert_eq!(cache.0.lock().unwrap().bytes, 0);
    }
}
