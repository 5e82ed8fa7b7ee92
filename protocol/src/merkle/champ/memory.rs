//! Nodes that were verified and decoded, for those who look many keys up in the same trees.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Node;
use crate::encoding::Cid;

/// Nodes by their addresses. They never change, so none becomes stale. When the bytes of their blocks exceed the limit,
/// all are forgotten: what is in use comes back with the next look-up.
pub struct NodeMemory {
    limit_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: HashMap<Cid, Arc<(Node, Bytes)>>,
    bytes: usize,
}

impl NodeMemory {
    /// Room for nodes whose blocks have so many bytes together. Decoded they take about three times as many.
    pub fn new(limit_bytes: usize) -> Self {
        NodeMemory { limit_bytes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, cid: &Cid) -> Option<Arc<(Node, Bytes)>> {
        self.state().nodes.get(cid).cloned()
    }

    /// Keeps a node whose block was verified to have this address.
    pub(super) fn put(&self, cid: &Cid, node: &Arc<(Node, Bytes)>) {
        let bytes = node.1.len();
        let mut state = self.state();
        if state.bytes + bytes > self.limit_bytes {
            *state = State::default();
        }
        if bytes <= self.limit_bytes && state.nodes.insert(cid.clone(), node.clone()).is_none() {
            state.bytes += bytes;
        }
    }
}

impl fmt::Debug for NodeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "NodeMemory({} nodes, {} of {} bytes)", state.nodes.len(), state.bytes, self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_size_is_bounded() {
        let node = |byte: u8, len: usize| {
            let block = Bytes::from(vec![byte; len]);
            (Cid::of_cbor(&block), Arc::new((Node::default(), block)))
        };
        let memory = NodeMemory::new(100);
        let (large, small, other) = (node(1, 101), node(2, 60), node(3, 50));
        for (cid, node) in [&large, &small, &small] {
            memory.put(cid, node);
        }
        assert!(memory.get(&large.0).is_none());
        assert_eq!(memory.get(&small.0), Some(small.1.clone()));
        assert_eq!(format!("{memory:?}"), "NodeMemory(1 nodes, 60 of 100 bytes)");
        memory.put(&other.0, &other.1);
        assert!(memory.get(&small.0).is_none() && memory.get(&other.0).is_some());
        assert_eq!(format!("{memory:?}"), "NodeMemory(1 nodes, 50 of 100 bytes)");
    }
}
