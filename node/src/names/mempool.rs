//! Operations that wait to be decided.

use std::collections::{HashSet, VecDeque};

use pyrgos_protocol::encoding::ToCbor;
use pyrgos_protocol::names::{Operation, OperationId};

/// Most operations that wait.
pub(super) const MAX_WAITING: usize = 4096;
/// Most bytes of operations that wait.
pub(super) const MAX_WAITING_BYTES: usize = 8 << 20;
/// For how long an operation waits, in milliseconds. Whoever wants it still sends it again.
pub(super) const WAIT_MILLIS: i64 = 120_000;

/// Who wants an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This node: it sends it again until it is decided.
    Ours,
    /// Another node.
    Others,
}

struct Entry {
    operation: Operation,
    id: OperationId,
    bytes: usize,
    origin: Origin,
    since_millis: i64,
}

/// The waiting operations in the order in which they came, each once.
#[derive(Default)]
pub(super) struct Mempool {
    entries: VecDeque<Entry>,
    ids: HashSet<OperationId>,
    bytes: usize,
}

impl Mempool {
    /// Adds an operation. `false` if it is there already, or if there is no room: half of the room is kept for this node's
    /// own.
    pub(super) fn add(&mut self, operation: Operation, origin: Origin, now_millis: i64) -> bool {
        let share = if origin == Origin::Ours { 1 } else { 2 };
        let (id, bytes) = (operation.id(), operation.to_bytes().len());
        if self.entries.len() >= MAX_WAITING / share || self.bytes + bytes > MAX_WAITING_BYTES / share {
            return false;
        }
        if !self.ids.insert(id) {
            return false;
        }
        self.bytes += bytes;
        self.entries.push_back(Entry { operation, id, bytes, origin, since_millis: now_millis });
        true
    }

    /// Forgets what is decided or refused.
    pub(super) fn remove(&mut self, ids: &HashSet<OperationId>) {
        self.retain(|entry| !ids.contains(&entry.id));
    }

    /// Forgets what waits for too long, and tells this node's own.
    pub(super) fn expire(&mut self, now_millis: i64) {
        self.retain(|entry| now_millis.saturating_sub(entry.since_millis) < WAIT_MILLIS);
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let (ids, bytes) = (&mut self.ids, &mut self.bytes);
        self.entries.retain(|entry| {
            let stays = keep(entry);
            if !stays {
                ids.remove(&entry.id);
                *bytes -= entry.bytes;
            }
            stays
        });
    }

    /// The operations, oldest first.
    pub(super) fn operations(&self) -> Vec<Operation> {
        self.entries.iter().map(|entry| entry.operation.clone()).collect()
    }

    /// This node's own.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Operation> {
        self.entries.iter().filter(|entry| entry.origin == Origin::Ours).map(|entry| &entry.operation)
    }

    /// Whether an operation waits.
    pub(super) fn contains(&self, id: &OperationId) -> bool {
        self.ids.contains(id)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(number: u8) -> Operation {
        Operation::Commit { hash: [number; 32] }
    }

    #[test]
    fn an_operation_waits_once_and_not_for_ever() {
        let mut pool = Mempool::default();
        assert!(pool.add(commit(1), Origin::Others, 0));
        assert!(!pool.add(commit(1), Origin::Ours, 5));
        assert!(pool.add(commit(2), Origin::Ours, 10));
        assert_eq!(pool.ours().count(), 1);
        pool.expire(WAIT_MILLIS);
        assert_eq!(pool.operations(), [commit(2)]);
        pool.remove(&HashSet::from([commit(2).id()]));
        assert!(pool.is_empty());
        assert_eq!(pool.bytes, 0);
    }

    #[test]
    fn others_cannot_fill_the_room_of_this_node() {
        let mut pool = Mempool::default();
        let number = |n: usize| Operation::Commit { hash: pyrgos_crypto::hash::sha256(&n.to_le_bytes()) };
        assert_eq!((0..MAX_WAITING).filter(|n| pool.add(number(*n), Origin::Others, 0)).count(), MAX_WAITING / 2);
        assert!(pool.add(commit(1), Origin::Ours, 0));
    }
}
