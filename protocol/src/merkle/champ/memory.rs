//! Nodes that were verified and decoded, for those who look many keys up in the same trees.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Entry, MAX_BUCKET, Node, SLOTS};
use crate::encoding::{Cid, Value};

/// Nodes by their addresses. They never change, so none becomes stale. When they exceed the limit, all are forgotten: what
/// is in use comes back with the next look-up. Nodes that no writer makes, which can be very large once they are decoded,
/// are not kept.
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
    /// Room for nodes that take so many bytes together, those of their blocks included.
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
        let Some(bytes) = size(node).filter(|bytes| *bytes <= self.limit_bytes) else { return };
        let mut state = self.state();
        if state.bytes + bytes > self.limit_bytes {
            *state = State::default();
        }
        if state.nodes.insert(cid.clone(), node.clone()).is_none() {
            state.bytes += bytes;
        }
    }
}

/// The bytes of a decoded node and its block; none if it has more mappings than fit into buckets, or structures as values.
fn size((node, block): &(Node, Bytes)) -> Option<usize> {
    let mut mappings = 0;
    for (_, entry) in node.entries() {
        mappings += 1;
        if mappings > SLOTS * MAX_BUCKET || matches!(entry.value, Value::List(_) | Value::Map(_)) {
            return None;
        }
    }
    Some(size_of::<Node>() + mappings * size_of::<Entry>() + block.len())
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

    use crate::merkle::champ::Slot;

    fn node(entries: usize, value: &Value, block_len: usize) -> (Cid, Arc<(Node, Bytes)>) {
        let block = Bytes::from(vec![entries as u8; block_len]);
        let mut node = Node::default();
        let entry = || Entry { key: Bytes::new(), value: value.clone() };
        node.slots[0] = Slot::Bucket(std::iter::repeat_with(entry).take(entries).collect());
        (Cid::of_cbor(&block), Arc::new((node, block)))
    }

    #[test]
    fn its_size_is_bounded() {
        let one = size_of::<Node>() + size_of::<Entry>();
        let memory = NodeMemory::new(one + 100);
        let [small, other, large] = [60, 50, 101].map(|block_len| node(1, &Value::Int(1), block_len));
        for (cid, node) in [&small, &small, &large] {
            memory.put(cid, node);
        }
        assert!(memory.get(&large.0).is_none(), "what has no room drives nothing out");
        assert_eq!(memory.get(&small.0), Some(small.1.clone()));
        memory.put(&other.0, &other.1);
        assert!(memory.get(&small.0).is_none() && memory.get(&other.0).is_some());
        assert_eq!(format!("{memory:?}"), format!("NodeMemory(1 nodes, {} of {} bytes)", one + 50, one + 100));
    }

    #[test]
    fn what_no_writer_makes_is_not_kept() {
        let memory = NodeMemory::new(1 << 20);
        let is_kept = |entries, value: &Value| {
            let (cid, node) = node(entries, value, 10);
            memory.put(&cid, &node);
            memory.get(&cid).is_some()
        };
        assert!(is_kept(SLOTS * MAX_BUCKET, &Value::Int(1)));
        assert!(!is_kept(SLOTS * MAX_BUCKET + 1, &Value::Int(1)));
        assert!(!is_kept(1, &Value::List(Vec::new())));
    }
}
